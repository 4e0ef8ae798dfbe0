/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Scenarios: programs for the puppet with expectations (docs/scenarios.md).
 *
 * A scenario has two forms, text (.scn) and binary (a fuzz input), which convert to each other
 * without loss. Running one builds a VM with the puppet and the scenario's modules, compiles the
 * steps against the addresses found there, and judges the verdict log as the puppet goes.
 */
#ifndef SCENARIO_SCENARIO_H
#define SCENARIO_SCENARIO_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/error.h"
#include "lib/file.h"
#include "model/guard.h"
#include "model/manifest.h"
#include "oracle/oracle.h"

#define SCN_MAX_BYTES (1u << 20)
#define SCN_MAGIC "GHSCN02\n" /* the binary form begins so */
#define SCN_MAX_STEPS 1024u
#define SCN_MAX_MODULES 4u
#define SCN_MAX_REMARKS 32u
#define SCN_MAX_WORD 96u  /* a name */
#define SCN_MAX_TEXT 160u /* a title or comment */

enum scn_class { SCN_SYNC, SCN_RACE, SCN_NEEDS_NX, SCN_CLASSES };

struct scenario; /* scenario/scn.h */
struct engine_ops;
struct vm;
struct vm_line;
struct log_copy; /* vmm/compare.h */

/* Reads a file, in whichever form it is: text unless it starts with the binary form's magic. */
bool scenario_load(const char *path, struct scenario **s, struct error *err);
/* From memory; `name` is for messages. */
bool scenario_parse(const char *name, const char *text, size_t len, struct scenario **s,
		    struct error *err);
bool scenario_decode(const char *name, const void *data, size_t len, struct scenario **s,
		     struct error *err);
/* Both give malloc'ed memory; false only if there is none left. */
bool scenario_print(const struct scenario *s, char **text);
bool scenario_encode(const struct scenario *s, struct blob *out);
void scenario_free(struct scenario *s);

const char *scenario_id(const struct scenario *s);
const char *scenario_title(const struct scenario *s);
enum scn_class scenario_class(const struct scenario *s);
unsigned scenario_vcpus(const struct scenario *s);

#define SCENARIO_MAX_VCPUS 4u

struct scenario_options {
	const struct engine_ops *engine;
	const char *corpus; /* folder with puppet/puppet.elf and modules/NAME.ko (not wrapped) */
	uint64_t seed;
	uint64_t budget; /* instructions, 0: 20 million */
	unsigned
		vcpus; /* at least, up to 4; 0: as the scenario says. More than it says keep company */
	enum gm_x_kind x;
	bool views;		 /* modules stay as they are: views/NAME.ko, crossings are faults */
	FILE *trace;		 /* NULL: none */
	const char *log;	 /* verdict log goes there; NULL: nowhere */
	struct log_copy *copy;	 /* and there, for a comparison; NULL: nowhere */
	enum oracle_mode oracle; /* a second judge; engine sim only */
	/*
	 * Not 0: an interrupt strikes at this instruction boundary inside modules, from 1, and DEPART
	 * and RESUME that go well are neither expected nor looked at. Needs the oracle.
	 */
	uint64_t strike;
	/*
	 * Told of each line that is judged, after the run; then nothing else is asked: the result holds
	 * what the oracle said and whether the engine was killed. For a fuzzer. NULL: not so.
	 */
	void (*on_line)(void *ctx, const struct guard_line *line);
	void *line_ctx;
	size_t log_lines; /* of the verdict log that are kept; 0: a million */
	bool explain;	  /* `trace` also has the steps, code and stacks */
	/* Told of each line of the log at once: who plays what may crash has what there is. NULL: nobody. */
	void (*logged)(void *ctx, const struct vm *vm, const struct vm_line *l);
	void *ctx;
};

#define SCN_MAX_FAILURES 16u

struct scenario_failure {
	uint32_t line;
	char text[240]; /* "got ..., expected ..." */
};

struct scenario_result {
	bool passed;
	unsigned failures; /* all; the first SCN_MAX_FAILURES are told below */
	struct scenario_failure failure[SCN_MAX_FAILURES];
	uint64_t crossings; /* judged lines */
	unsigned checks;    /* expectations that were looked at */
	uint64_t company;   /* rounds of the added vCPU that made fewest; 0: none was added */
	uint64_t schedule; /* hashes: who ran how far in which order; of the judged lines' order; */
	uint64_t order;	   /* 0: no such thing */
	uint64_t boundaries; /* of instructions inside modules, if the oracle was there */
	char expected[160];  /* the refusals that the scenario asks for, or "accepted" */
	char got[160];	     /* what there was in their place */
	char exit[256];	     /* how the run ended, if not by the program's end */
	bool killed;	     /* the guest crashed or confused the engine: its limit, not a find */
	char oracle[4096];   /* both stories if oracle and core disagree, else empty */
};

/* false: it could not be run at all (*err says why). A failed expectation is in *result. */
bool scenario_run(const struct scenario *s, const struct scenario_options *opt,
		  struct scenario_result *result, struct error *err);

/*
 * The scenario as a C file that makes a guest with the puppet's sources (export.c). false: *err names the
 * line that no guest can do.
 */
bool scenario_export(const struct scenario *s, const struct scenario_options *opt, FILE *f,
		     struct error *err);

/*
 * For a fuzzer: one VM, loaded and announced once, for all scenarios with the same header; each plays
 * as scenario_run() would with this seed, only faster (vm_set_mark()). A few beds at a time (vm_set_mark()).
 * The options' `vcpus` and `strike` are not for beds.
 */
struct scenario_bed;
struct scenario_bed *scenario_bed_new(const struct scenario *s, const struct scenario_options *opt,
				      struct error *err);
void scenario_bed_free(struct scenario_bed *bed);
bool scenario_bed_fits(const struct scenario_bed *bed, const struct scenario *s);
/* As scenario_run(); false also if the VM could not be made anew after something beyond repair. */
bool scenario_bed_play(struct scenario_bed *bed, const struct scenario *s, uint64_t seed,
		       struct scenario_result *result, struct error *err);
/* How often the VM was made, the first time included. */
uint64_t scenario_bed_made(const struct scenario_bed *bed);

#endif
