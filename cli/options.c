/* SPDX-License-Identifier: GPL-2.0-only */
#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/file.h"

static const char *const x_names[GM_X_KINDS] = {
	[GM_X_VMMCALL] = "vmmcall",
	[GM_X_VMCALL] = "vmcall",
	[GM_X_OUT] = "out",
	[GM_X_NOP] = "nop",
};

bool option_number(const char *text, uint64_t max, uint64_t *value)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	*value = strtoull(text, &end, text[0] == '0' && (text[1] | 32) == 'x' ? 16 : 10);
	return !errno && !*end && *value <= max;
}

bool option_x(const char *text, enum gm_x_kind *x)
{
	for (unsigned i = 0; i < GM_X_KINDS; i++) {
		if (!strcmp(text, x_names[i])) {
			*x = (enum gm_x_kind)i;
			return true;
		}
	}
	return false;
}

const char *option_x_name(enum gm_x_kind x)
{
	return x < GM_X_KINDS ? x_names[x] : "?";
}

bool option_mode(const char *text, bool *views)
{
	*views = strcmp(text, "views") == 0;
	return *views || strcmp(text, "gates") == 0;
}

const char *option_mode_name(bool views)
{
	return views ? "views" : "gates";
}

static const struct engine_ops *const engines[] = { &sim_engine, &kvm_engine };

#define ENGINES (sizeof(engines) / sizeof(engines[0]))

static bool bad_engine(struct error *err, const char *name, size_t len)
{
	char known[64] = "";
	size_t used = 0;

	for (size_t i = 0; i < ENGINES && used < sizeof(known); i++)
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "",
					 engines[i]->name);
	return error_set(err, "--engine %.*s: expected one of %s, or two with a comma",
			 (int)(len < 40 ? len : 40), name, known);
}

bool option_engines(const char *text, struct engine_list *list, struct error *err)
{
	list->count = 0;
	for (const char *name = text;; name++) {
		size_t len = strcspn(name, ","), i = 0;

		while (i < ENGINES &&
		       (strncmp(name, engines[i]->name, len) != 0 || engines[i]->name[len]))
			i++;
		if (i == ENGINES)
			return bad_engine(err, name, len);
		if (list->count == 2)
			return error_set(err, "--engine %.80s: two engines at most", text);
		list->engine[list->count++] = engines[i];
		name += len;
		if (!*name)
			return true;
	}
}

bool option_mode_fits(bool views, const struct engine_list *list, struct error *err)
{
	for (unsigned i = 0; views && i < list->count; i++)
		if (list->engine[i] != &sim_engine)
			return error_set(
				err,
				"--mode views: engine %s has no execute control of what is "
				"outside of a module, so no call-out would be seen",
				list->engine[i]->name);
	return true;
}

const char *engine_place(const struct engine_ops *engine, char *buf, size_t len)
{
	const char *host = engine->host ? engine->host() : NULL;

	snprintf(buf, len, "%s%s%s", engine->name, host ? " on " : "", host ? host : "");
	return buf;
}

enum gm_x_kind option_default_x(const struct engine_list *list)
{
	for (unsigned i = 0; i < list->count; i++)
		if (list->engine[i]->default_x != sim_engine.default_x)
			return (enum gm_x_kind)list->engine[i]->default_x;
	return (enum gm_x_kind)sim_engine.default_x;
}

void option_engine_note(const struct engine_ops *engine)
{
	if (engine->note)
		fprintf(stderr, "engine %s: %s\n", engine->name, engine->note);
}

bool option_outputs(const char *const path[], size_t inputs, size_t n, struct error *err)
{
	for (size_t out = inputs; out < n; out++)
		for (size_t i = 0; path[out] && i < out; i++)
			if (path[i] && path_same(path[i], path[out]))
				return error_set(err, "%s: cannot write there: %s is %s", path[out],
						 path[i],
						 i < inputs ? "an input" : "another output");
	return true;
}
