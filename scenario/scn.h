/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A scenario in memory, and what the files of scenario/ give each other.
 *
 * Every step has the same shape; the table in corpus/puppet/program.h says which parts of it a
 * step uses. Parser, printer, encoder and decoder walk that table, so none of them knows a step
 * by name.
 */
#ifndef SCENARIO_SCN_H
#define SCENARIO_SCN_H

#include "corpus/puppet/program.h"
#include "scenario/scenario.h"

struct scn_operand {
	uint64_t addend;
	uint16_t sym; /* index into words; 0: none */
	uint8_t dyn;  /* enum pp_dyn */
	uint8_t flags;
};

struct scn_step {
	uint8_t op, sub, label, flags;
	uint8_t nargs, nkeys;
	uint8_t thread;
	uint16_t word; /* name or rest of the line; 0: none */
	uint32_t line;
	struct scn_operand arg[PP_MAX_ARGS];
	struct {
		uint8_t key;
		struct scn_operand o;
	} key[PP_MAX_KEYS];
};

#define SCN_UNBOUND 1u	   /* registered without a binding: not-bound */
#define SCN_UNANNOUNCED 2u /* loaded, but ANNOUNCE is left to the puppet */
#define SCN_MODULE_FLAGS 3u

/* Privileges go by kind: bit k is enum gm_privilege_kind k. */
#define SCN_KINDS ((1u << GM_PRIVS) - 1)

struct scn_module {
	uint16_t word;
	uint8_t flags;
	uint8_t stack, registers, mapping, refusal; /* guard_policy */
	uint8_t wanted;	  /* kinds besides PRIVATE that wrapping declares */
	uint8_t bound;	  /* kinds that the binding gives */
	uint8_t granted;  /* kinds that are granted at the start */
	uint8_t required; /* kinds that policy requires */
	uint32_t chains;
	uint32_t port_first, port_last, msr_first, msr_last;
	uint8_t config_first, config_last; /* of PCI configuration space; 0 0: nothing */
	uint32_t line;			   /* for messages */
};

#define SCN_DEFAULT_CHAINS 16u

struct scenario {
	char name[256]; /* for messages */
	char id[32];
	char title[SCN_MAX_TEXT];
	uint8_t class;
	uint8_t vcpus;
	uint16_t ram_mib;
	unsigned nremarks;
	char remark[SCN_MAX_REMARKS][SCN_MAX_TEXT];
	unsigned nmodules;
	struct scn_module module[SCN_MAX_MODULES];
	unsigned nsteps;
	struct scn_step *step;
	char **word; /* [0] is unused */
	unsigned nwords;
};

/* ---- table.c ---- */
struct scn_shape {
	const char *word;
	const char *shape;
};
extern const struct scn_shape scn_ops[PP_OP_COUNT];
extern const char *const scn_keys[PP_KEY_COUNT];
extern const char *const scn_dyns[PP_DYN_COUNT];
extern const char *const scn_classes[SCN_CLASSES];
extern const char *const scn_kinds[GM_PRIVS];
/* Names of policies: rows stack, registers, mapping, refusal; NULL behind the last. */
struct scn_policy_names {
	const char *word;
	size_t offset; /* in struct scn_module */
	const char *const *value;
};
extern const struct scn_policy_names scn_policies[4];
/* Right words in the order of their bits. */
extern const char *const scn_rights[7];

struct scenario *scn_new(const char *name);
/* Index of the word, added if new; 0: no memory or too many. */
uint16_t scn_intern(struct scenario *s, const char *word, size_t len);
struct scn_step *scn_add_step(struct scenario *s);
/* May this be a name in the text (letters, digits and _ . : / - where they cannot mislead)? */
bool scn_is_name(const char *word, size_t len);
/* Printable, and neither begins nor ends with a blank. */
bool scn_is_text(const char *text, size_t len);
/* Keys that this step's `k` may hold, as bits. */
uint32_t scn_step_keys(uint8_t op);
/* One step as the text has it, without indentation and newline. */
void scn_print_step(FILE *f, const struct scenario *s, const struct scn_step *st);
/* Gives each step the line that it has in the printed text. */
void scn_number_lines(struct scenario *s);

static inline const char *scn_word(const struct scenario *s, uint16_t n)
{
	return n && n < s->nwords ? s->word[n] : "";
}

#endif
