/* SPDX-License-Identifier: GPL-2.0-only */
/* The scenarios of the corpus as attacks: what attack.c, attack_both.c and demo.c share. */
#ifndef CLI_ATTACK_H
#define CLI_ATTACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "cli/corpus.h"
#include "cli/expressible.h"
#include "cli/options.h"
#include "lib/error.h"
#include "model/manifest.h"
#include "oracle/oracle.h"
#include "scenario/scenario.h"
#include "vmm/engine.h"

struct log_copy;

#define ATTACK_SEEDS 50u /* of a race, if nothing else is said */

struct attack_options {
	struct engine_list engines;
	const struct engine_ops *engine; /* the one that runs now */
	uint64_t seed;
	unsigned seeds;	 /* of each race */
	unsigned vcpus;	 /* at least */
	uint64_t strike; /* scenario_options.strike */
	enum gm_x_kind x;
	bool views; /* --mode views */
	bool json, markdown;
	enum oracle_mode oracle; /* where the engine can tell it all: sim */
	const char *without;	 /* checks that this program's core lacks; NULL: it is whole */
};

struct attack_case {
	char *path;
	struct scenario *scenario;
	struct scenario_result result;
	double ms;
	/* A race: so many seeds, schedules and orders of crossings that differ; else 0. */
	unsigned seeds, schedules, orders;
	const char *unrun; /* why these engines do not run it; NULL: they do */
};

struct attack_cases {
	char corpus[CORPUS_PATH]; /* folder with the puppet and the modules */
	struct attack_case *item;
	size_t count;
	int id_width; /* of the longest ID */
	/* Files that should be among them and are no scenarios: told already. */
	size_t unreadable;
	struct inexpressible list, views_list; /* where `unrun` points to */
};

/*
 * All scenarios with one of these IDs (none given: all), in order. A file that cannot be read is
 * told and passed over; with IDs it only counts if its name is one of them. Free in either case.
 */
bool attack_cases_load(struct attack_cases *all, bool views, char *const ids[], int nids,
		       struct error *err);
/*
 * Marks what does not apply in this mode, and what the engines cannot show: what the lists of
 * inexpressible scenarios say, and races. whole: `all` is the whole corpus, so a line of a list that
 * names none of it is an error.
 */
bool attack_cases_mark(struct attack_cases *all, const struct attack_options *o, bool whole,
		       struct error *err);
void attack_cases_free(struct attack_cases *all);
/* On o->engine; copy: its verdict log goes there, NULL: nowhere. false: it cannot be run at all. */
bool attack_run(const struct attack_cases *all, struct attack_case *c,
		const struct attack_options *o, struct log_copy *copy, struct error *err);
void attack_print_header(const struct attack_cases *all, bool markdown);
void attack_print_row(const struct attack_cases *all, const struct attack_case *c, bool markdown);
/* Cuts to a column; what is cut is in --json and --markdown. */
void attack_print_column(const char *text, int width);
/* A Markdown cell: no bar may end it early. */
void attack_print_cell(const char *text);
/* Prints and frees; returns an exit code. */
int attack_print_json(json_t *j);
/* What a run that Ctrl-C ended has done. */
void attack_tell_interrupted(size_t ran, size_t all);

/* cli/attack_every.c: honest flows with an interrupt at each instruction boundary, up to `most`. */
int attack_every(const struct attack_options *o, uint64_t most, char *const ids[], int nids);

/* cli/attack_both.c: the catalogue on two engines, with their verdict logs compared. */
int attack_both(const struct attack_options *o, char *const ids[], int nids);

/*
 * cli/attack_without.c: runs the test build whose core lacks these checks (names with commas;
 * "list" prints them) with the verb's arguments. Returns an exit code, if at all.
 */
int attack_without(const char *checks, int argc, char **argv);
/* Is this that very test build, with these checks removed? */
bool attack_is_without(const char *checks);

/* cli/demo.c: what `make run` shows. */
int attack_demo(const struct attack_options *o);

#endif
