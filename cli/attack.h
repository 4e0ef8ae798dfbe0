/* SPDX-License-Identifier: GPL-2.0-only */
/* The scenarios of the corpus as attacks: what `guardhouse attack` and its --demo share. */
#ifndef CLI_ATTACK_H
#define CLI_ATTACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/corpus.h"
#include "lib/error.h"
#include "model/manifest.h"
#include "scenario/scenario.h"
#include "vmm/engine.h"

struct attack_options {
	const struct engine_ops *engine;
	uint64_t seed;
	enum gm_x_kind x;
	bool json, markdown;
};

struct attack_case {
	char *path;
	struct scenario *scenario;
	struct scenario_result result;
	double ms;
};

struct attack_cases {
	char corpus[CORPUS_PATH]; /* folder with the puppet and the modules */
	struct attack_case *item;
	size_t count;
	int id_width; /* of the longest ID */
};

/* All scenarios with one of these IDs (none given: all), in order. Free in either case. */
bool attack_cases_load(struct attack_cases *all, char *const ids[], int nids, struct error *err);
void attack_cases_free(struct attack_cases *all);
/* false: it could not be run at all. */
bool attack_run(const struct attack_cases *all, struct attack_case *c,
		const struct attack_options *o, struct error *err);
void attack_print_header(const struct attack_cases *all, bool markdown);
void attack_print_row(const struct attack_cases *all, const struct attack_case *c, bool markdown);

/* cli/demo.c: what `make run` shows. */
int attack_demo(const struct attack_options *o);

#endif
