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

const struct engine_ops *option_engine(const char *text)
{
	static const struct engine_ops *const engines[] = { &sim_engine, &kvm_engine };

	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		if (!strcmp(text, engines[i]->name))
			return engines[i];
	return NULL;
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
