/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A find: an input that shows something wrong, whoever made it. Three kinds of inputs, a scenario and
 * inputs of the fuzz targets `core` and `ko`, give the verbs replay, minimize, explain and export the
 * same small interface. Each is kept in its binary form, one step behind the other; docs/fuzzing.md, "A find".
 *
 *   find/find.c       reads a file, plays an input in a process of its own
 *   find/scenario.c   scenarios
 *   find/core.c, core_text.c   inputs of the target `core`, and their text form
 *   find/ko.c         inputs of the target `ko`
 *   find/machine.c    what scenarios and `ko` share
 *   find/minimize.c   fewer and simpler steps that still show the same
 */
#ifndef FUZZ_FIND_H
#define FUZZ_FIND_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/file.h"

struct vm;
struct vm_line;

#define FIND_MAX_BYTES (1u << 20)
#define FIND_SECONDS 20u /* an input that plays longer has no end */

/* What an input shows. Event, verdict and place are of the last line that was judged. */
struct find_report {
	bool broken;
	bool guarantee; /* else a difference to the reference model, or a crash */
	char id[16];	/* "G5", "model", "crash" */
	char what[520];
	char event[32], verdict[32];
	char site[96];	 /* of a crash: a function of ours */
	char place[160]; /* of the guest, as a symbol: nothing that changes with a step more */
	char note[200];	 /* what else there is to say, if anything */
	unsigned lines;	 /* of the verdict log */
};

struct find_options {
	const char *name;   /* of the file, for messages */
	const char *corpus; /* folder with the puppet; for scenarios */
	uint64_t seed;
	bool guarantees; /* the reference model is not asked */
	bool story;	 /* the log is the story in words, not the verdict log */
};

struct find_target {
	const char *name;
	/* Malloc'ed text; NULL: no memory. */
	char *(*print)(const struct blob *in);
	unsigned (*steps)(const struct blob *in);
	/* Without n steps from `at` on; false: that is no input. */
	bool (*without)(const struct blob *in, unsigned at, unsigned n, struct blob *out);
	/* The k-th way to make one thing simpler. 0: there are no more; -1: nothing changes; 1: *out. */
	int (*simpler)(const struct blob *in, unsigned k, struct blob *out);
	/* false: it cannot be played, *err says why. Fills the report as it goes on. */
	bool (*play)(const struct blob *in, const struct find_options *opt, FILE *log,
		     struct find_report *r, struct error *err);
};

extern const struct find_target find_scenario, find_core, find_ko;

struct find {
	const struct find_target *target;
	struct blob in; /* in the binary form */
	bool text;	/* the file has the text form */
	const char *as; /* what the file was taken for, in words */
	bool assumed;	/* its content does not tell */
};

/* `target`: a name, or NULL: what the content says. */
bool find_load(const char *path, const char *target, struct find *f, struct error *err);
void find_free(struct find *f);

/*
 * In a process of its own, so that a crash and an endless run are finds, too. The log goes to `log` as it
 * is written. false: it cannot be played.
 */
bool find_play(const struct find_target *t, const struct blob *in, const struct find_options *opt,
	       FILE *log, struct find_report *r, struct error *err);
/* Both show the same: guarantee, event and verdict; of a crash, where it was. */
bool find_same(const struct find_report *a, const struct find_report *b);
/* "G5/ENTER-RETURN/ok/m0:enter-return+0x5": two finds with one key are most likely one bug. */
void find_key(const struct find_report *r, char *buf, size_t len);

struct find_minimize {
	/* Asked before each try; false: stop, with the best so far. */
	bool (*go_on)(void *ctx, unsigned tries, unsigned steps);
	void *ctx;
	unsigned tries;
	struct find_report report; /* of the result */
};

/* *best begins as the input. false: the input shows nothing, or it cannot be played. */
bool find_minimize(const struct find_target *t, struct blob *best, const struct find_options *opt,
		   struct find_minimize *m, struct error *err);

/* ---- find/core_text.c ---- */

#define FIND_CORE_MAGIC "guardhouse-core "
bool find_core_parse(const char *name, const struct blob *text, struct blob *out,
		     struct error *err);
char *find_core_print(const struct blob *in);
/* One step as the text has it. */
void find_core_step(FILE *f, const uint8_t *step);

/* ---- find/ko.c ---- */

#define FIND_KO_MAGIC "guardhouse-ko "
bool find_ko_parse(const char *name, const struct blob *text, struct blob *out, struct error *err);
char *find_ko_print(const struct blob *in);

/* ---- find/machine.c ---- */

struct find_teller {
	FILE *log; /* NULL: the story is there already */
	struct find_report *r;
};

/* For vm_config.logged; ctx is a struct find_teller. */
void find_logged(void *ctx, const struct vm *vm, const struct vm_line *l);
/* The first lines of the oracle's report: what is broken; who and where, and why. */
void find_conclude(const char *story, struct find_report *r);

/* Copies; false: no memory. */
bool find_copy(const struct blob *in, struct blob *out);
/* Without these bytes; false: there are not so many, or no memory. */
bool find_cut(const struct blob *in, size_t from, size_t len, struct blob *out);
/* 0, half, one less: the first that differs from all before it. */
bool find_less(unsigned value, unsigned way, unsigned *out);

#endif
