/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hosted kernel: a host-side model of Linux that a real, unmodified driver runs against.
 *
 * The driver's code runs in the guest, behind the guard; what it calls is played here, with the
 * rights of view U and nothing more. docs/hosted.md tells what is modelled.
 */
#ifndef HOSTED_HOSTED_H
#define HOSTED_HOSTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/error.h"
#include "model/manifest.h"
#include "oracle/oracle.h"
#include "vmm/vm.h"

struct log_copy; /* vmm/compare.h */

struct hosted_options {
	const char *module;  /* the .ko as the package has it; wrapped in memory */
	const char *offsets; /* structure offsets; NULL: next to the module, then build/debian */
	const struct engine_ops *engine;
	uint64_t seed;
	uint64_t budget;	 /* guest instructions, 0: the VM's default */
	enum oracle_mode oracle; /* a second judge; engine sim only */
	enum gm_x_kind x;
	bool views;			   /* not wrapped: crossings are execute faults */
	bool measure;			   /* the time in the core, for hosted_result.cost */
	const struct guard_policy *policy; /* NULL: docs/hosted.md's */
	unsigned vcpus;			   /* 0: one */
	FILE *console;			   /* the driver's messages, NULL: nowhere */
	FILE *trace;			   /* NULL: none */
	/* Told of each line of the verdict log as it is logged; NULL: nobody */
	void (*logged)(void *ctx, const struct vm *vm, const struct vm_line *l);
	void *ctx;
	const char *log; /* file for the verdict log, NULL: none */
	/*
	 * Copy of it for a comparison, NULL: none. Then time only passes when the driver waits:
	 * a tick strikes where the engine's clock says, and what its interrupts enter is judged.
	 */
	struct log_copy *copy;
	/* Asked after each attack; true: that one does not count, and it was the last. */
	bool (*stop)(void);
};

struct hosted_count {
	char name[64];
	uint64_t count;
};

struct hosted_counts {
	struct hosted_count *v;
	size_t n;
};

struct hosted_result {
	struct hosted_counts entries;	 /* judged ok, by function */
	struct hosted_counts imports;	 /* call-outs that reached the kernel, by import */
	struct hosted_counts unmodelled; /* those of them that only returned 0 */
	struct hosted_counts verdicts;	 /* all judged events, "EVENT verdict" */
	char module[64];		 /* name in the manifest */
	uint64_t crossings;		 /* log lines of the four crossings */
	uint64_t callbacks;		 /* entries made while a call-out was open */
	uint64_t departures;
	uint64_t by_x, by_fault; /* crossings that an X showed, or a refused fetch */
	uint64_t time;		 /* simulated */
	struct vm_cost cost;
	uint64_t reads, writes;			/* of device registers, from inside */
	uint64_t outside_reads;			/* guest instructions that tried from outside ... */
	uint64_t outside_ones;			/* ... and got all ones */
	uint64_t outside_writes;		/* tried from outside ... */
	uint64_t outside_written;		/* ... and arrived: must be 0 */
	uint32_t status_inside, status_outside; /* the device's first readable register */
	uint64_t packets_sent, packets_received;
	bool probe_called;
	int64_t init_result, probe_result, open_result;
	uint64_t faults; /* exceptions in the guest that no one expected */
	struct vm_exit exit;
	/* Ran to its end, every crossing was judged ok, no fault, nothing showed outside. */
	bool ok;
};

struct hosted_attack_row {
	char id[8];
	char title[96];
	char expected[192]; /* of each case, event and verdict as the contract has them */
	char got[256];	    /* the same from the log lines that were judged */
	bool refused;	    /* every case got what it expected, and no other raised */
	bool kept;	    /* outside reads of the registers gave the stand-in */
	bool honest;	    /* an honest entry still worked afterwards */
	bool ok;
};

/* false: bad input (*err: one line, exit 2). true: see r->ok. Free r in either case. */
bool hosted_run(const struct hosted_options *opt, struct hosted_result *r, struct error *err);
void hosted_result_free(struct hosted_result *r);
/* The summary for people. */
void hosted_print(const struct hosted_result *r, FILE *out);

/*
 * Runs the named attacks (ids NULL: all) against the driver, each in a VM of its own. *rows is
 * malloc'ed. false: bad input or an unknown id.
 */
bool hosted_attack(const struct hosted_options *opt, const char *const *ids, size_t nids,
		   struct hosted_attack_row **rows, size_t *count, struct error *err);
/* The n-th attack's id and title, NULL beyond the last. */
const char *hosted_attack_id(size_t n, const char **title);

#endif
