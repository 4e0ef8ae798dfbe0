// SPDX-License-Identifier: GPL-2.0-only
/*
 * How many events a second go through the fuzz target `core`, and what its judges cost: the same
 * inputs with the core alone, with the guarantees, and with the reference model beside them. An
 * engine's own work, choosing and counting, comes on top of that.
 *
 *	fuzz_bench [SECONDS]
 *
 * Prints "inputs, judges, inputs/s, events/s, times the core alone", tab separated, one row each.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fuzz/events/core.h"

#define INPUTS 512u
#define AIM 1e6

static uint8_t inputs[INPUTS][FC_MAX_INPUT];
static size_t sizes[INPUTS];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t all_events(void)
{
	static uint64_t sum;

	sum += fc->events;
	fc->events = 0;
	return sum;
}

/* Events a second. */
static double row(const char *name, unsigned n, enum fc_judges judges, const char *judge,
		  double seconds, double alone)
{
	static const char *const head = "inputs\tjudges\tinputs/s\tevents/s\tx core alone\n";
	static bool told;
	uint64_t runs = 0, first;
	double start, took, rate;

	if (!told)
		fputs(head, stdout);
	told = true;
	for (unsigned i = 0; i < n; i++) /* warm, and every world made */
		fc_run(inputs[i], sizes[i], judges);
	first = all_events();
	start = now();
	do {
		for (unsigned i = 0; i < n; i++, runs++) {
			if (!fc_run(inputs[i], sizes[i], judges)) {
				fprintf(stderr, "fuzz_bench: input %u: %s\n", i, fc->failure);
				exit(1);
			}
			all_events();
		}
		took = now() - start;
	} while (took < seconds);
	rate = (double)(all_events() - first) / took;
	printf("%s\t%s\t%.0f\t%.0f\t%.2f\n", name, judge, (double)runs / took, rate,
	       alone > 0 ? alone / rate : 1.0);
	return rate;
}

static double rows(const char *name, unsigned n, double seconds)
{
	double alone = row(name, n, FC_NOBODY, "none", seconds, 0);

	row(name, n, FC_GUARANTEES, "guarantees", seconds, alone);
	return row(name, n, FC_MODEL, "and model", seconds, alone);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? strtod(argv[1], NULL) : 1.0, rate;

	/* the first world's honest input, without its reload: crossings alone */
	sizes[0] = fc_seed(0, inputs[0]) - FC_SEED_RELOAD * FC_STEP;
	rate = rows("crossings", 1, seconds);
	for (unsigned i = 0; i < FC_CONFIGS; i++)
		sizes[i] = fc_seed(i, inputs[i]);
	rows("honest", FC_CONFIGS, seconds);
	for (unsigned i = 0; i < INPUTS; i++) {
		sizes[i] = fc_seed(i % FC_CONFIGS, inputs[i]);
		for (unsigned k = 0; k < 8; k++)
			sizes[i] = fc_mutate(inputs[i], sizes[i], FC_MAX_INPUT, NULL, 0, i * 8 + k);
	}
	rows("mutated", INPUTS, seconds);
	printf("events a second with all judges: %.0f, aim %.0f: %s\n", rate, AIM,
	       rate >= AIM ? "met" : "MISSED");
	return 0;
}
