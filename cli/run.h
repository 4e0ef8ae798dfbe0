/* SPDX-License-Identifier: GPL-2.0-only */
/* What `guardhouse run` on one engine (run.c) and on two (run_both.c) share. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/corpus.h"
#include "cli/options.h"
#include "lib/file.h"
#include "oracle/oracle.h"
#include "vmm/vm.h"

struct run_options {
	const char *input;
	bool module;
	struct engine_list engines;
	const struct engine_ops *engine; /* the first of them */
	unsigned vcpus;
	uint64_t seed, budget;
	const char *log, *arg;
	bool json, trace;
	enum oracle_mode oracle;
	enum gm_x_kind x;
	bool placed; /* --placement */
	struct vm_placement placement;
	bool views; /* --mode views */
};

enum run_kind { RUN_GUEST, RUN_SCENARIO, RUN_MODULE };

/* Where console and trace go: to stdout, but that is JSON's with --json. */
FILE *run_open_out(const struct run_options *o);
void run_close_out(FILE *f);
/* Prints and frees; returns an exit code. */
int run_print_json(json_t *j);

/* Runs on both engines and compares their verdict logs. elf: of a guest. Returns an exit code. */
int run_both(const struct run_options *o, enum run_kind kind, const struct blob *elf);
/* FILE.ENGINE, for each; two of one kind get a number as well. */
bool run_both_logs(const struct run_options *o, char path[2][CORPUS_PATH], struct error *err);

#endif
