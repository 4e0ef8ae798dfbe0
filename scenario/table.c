/* SPDX-License-Identifier: GPL-2.0-only */
/* The language's words, and the small helpers that text and binary form share. */
#include "scenario/scn.h"

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define SHAPE(id, word, shape) { word, shape },
#define WORD(id, word) word,
const struct scn_shape scn_ops[PP_OP_COUNT] = { PP_OPS(SHAPE) };
const char *const scn_keys[PP_KEY_COUNT] = { PP_KEYS(WORD) };
const char *const scn_dyns[PP_DYN_COUNT] = { PP_DYNS(WORD) };
const char *const scn_classes[SCN_CLASSES] = { "sync", "race", "needs-nx" };
const char *const scn_kinds[GM_PRIVS] = { "private", "device", "mwait", "ioport", "msr" };
const char *const scn_rights[7] = { "ro", "rw", "user", "kernel", "nx", "x", "noflush" };

static const char *const stack_names[] = { "returns", "exact", "none", NULL };
static const char *const register_names[] = { "verify", "scrub", NULL };
static const char *const mapping_names[] = { "checked", "locked", NULL };
static const char *const refusal_names[] = { "gp", "quarantine", "stop", NULL };
const struct scn_policy_names scn_policies[4] = {
	{ "stack", offsetof(struct scn_module, stack), stack_names },
	{ "registers", offsetof(struct scn_module, registers), register_names },
	{ "mapping", offsetof(struct scn_module, mapping), mapping_names },
	{ "refusal", offsetof(struct scn_module, refusal), refusal_names },
};

struct scenario *scn_new(const char *name)
{
	struct scenario *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	snprintf(s->name, sizeof(s->name), "%s", name);
	s->vcpus = 1;
	s->word = calloc(1, sizeof(*s->word));
	s->nwords = 1;
	if (!s->word) {
		free(s);
		return NULL;
	}
	return s;
}

void scenario_free(struct scenario *s)
{
	if (!s)
		return;
	for (unsigned i = 1; i < s->nwords; i++)
		free(s->word[i]);
	free(s->word);
	free(s->step);
	free(s);
}

uint16_t scn_intern(struct scenario *s, const char *word, size_t len)
{
	char **grown;

	for (unsigned i = 1; i < s->nwords; i++)
		if (strlen(s->word[i]) == len && memcmp(s->word[i], word, len) == 0)
			return (uint16_t)i;
	if (s->nwords >= UINT16_MAX)
		return 0;
	grown = realloc(s->word, (s->nwords + 1) * sizeof(*grown));
	if (!grown)
		return 0;
	s->word = grown;
	s->word[s->nwords] = strndup(word, len);
	if (!s->word[s->nwords])
		return 0;
	return (uint16_t)s->nwords++;
}

struct scn_step *scn_add_step(struct scenario *s)
{
	struct scn_step *grown;

	if (s->nsteps >= SCN_MAX_STEPS)
		return NULL;
	if ((s->nsteps & (s->nsteps - 1)) == 0) {
		grown = realloc(s->step, (s->nsteps ? 2 * s->nsteps : 1) * sizeof(*grown));
		if (!grown)
			return NULL;
		s->step = grown;
	}
	memset(&s->step[s->nsteps], 0, sizeof(*s->step));
	s->step[s->nsteps].label = PP_NO_LABEL;
	return &s->step[s->nsteps++];
}

static bool name_char(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '.' || c == ':' || c == '/' ||
	       c == '%';
}

bool scn_is_name(const char *word, size_t len)
{
	if (len == 0 || len >= SCN_MAX_WORD || !(isalpha((unsigned char)word[0]) || word[0] == '_'))
		return false;
	/* words that may stand where an operand may, too */
	if (len == 4 && (memcmp(word, "from", 4) == 0 || memcmp(word, "keep", 4) == 0))
		return false;
	for (size_t i = 1; i < len; i++) {
		/* '-' belongs to the name only before a letter: "leave-return", but "text-8" */
		if (word[i] == '-' && i + 1 < len && isalpha((unsigned char)word[i + 1]))
			continue;
		if (!name_char(word[i]))
			return false;
	}
	return true;
}

bool scn_is_text(const char *text, size_t len)
{
	if (len >= SCN_MAX_TEXT)
		return false;
	if (len > 0 && (text[0] == ' ' || text[len - 1] == ' '))
		return false;
	for (size_t i = 0; i < len; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			return false;
	return true;
}

uint32_t scn_step_keys(uint8_t op)
{
	uint32_t gprs = (1u << PP_GPRS) - 1;
	uint32_t flags = 1u << PP_KEY_FLAGS, ring = 1u << PP_KEY_RING;

	switch (op) {
	case PP_CALL: return gprs | flags | ring | 1u << PP_KEY_RET;
	case PP_JUMP: return gprs | flags | ring;
	case PP_RETURN: return gprs | flags;
	case PP_IRET: return gprs | flags | 1u << PP_KEY_RIP;
	case PP_EXPECT:
	case PP_MAYBE:
		return 1u << PP_KEY_OR | 1u << PP_KEY_SITE | 1u << PP_KEY_ACT | 1u << PP_KEY_CAUSE |
		       1u << PP_KEY_MODULE | 1u << PP_KEY_VIEW;
	default: return 0;
	}
}

void scn_number_lines(struct scenario *s)
{
	uint32_t line = s->nremarks + 4 + (s->ram_mib != 0);
	int thread = -1;

	for (unsigned i = 0; i < s->nmodules; i++)
		s->module[i].line = ++line;
	for (unsigned i = 0; i < s->nsteps; i++) {
		if (s->step[i].thread != thread) {
			thread = s->step[i].thread;
			line += 2;
		}
		s->step[i].line = ++line;
	}
}

const char *scenario_id(const struct scenario *s)
{
	return s->id;
}

const char *scenario_title(const struct scenario *s)
{
	return s->title;
}

enum scn_class scenario_class(const struct scenario *s)
{
	return (enum scn_class)s->class;
}

unsigned scenario_vcpus(const struct scenario *s)
{
	return s->vcpus;
}
