// SPDX-License-Identifier: GPL-2.0-only
/*
 * How many scenarios a second the simulator plays, three ways: a new VM for each, a child process
 * for each from a VM that is ready (what a fuzzer without its own save and restore does), and one
 * VM that goes back to its mark (scenario_bed_play()). Without and with the oracle.
 *
 *	scenario_bench [SECONDS [SCENARIO]]
 *
 * Prints "way, judges, scenarios/s, times the first row of these judges", tab separated.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "scenario/scenario.h"
#include "vmm/engine.h"

enum way { NEW_VM, FORK, MARK };

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "scenario_bench: %s\n", what);
	exit(1);
}

static void once(enum way way, const struct scenario *s, const struct scenario_options *opt,
		 struct scenario_bed *bed)
{
	struct scenario_result r;
	struct error err;
	int status = 0;
	pid_t child;
	bool ok;

	if (way == FORK) {
		child = fork();
		if (!child)
			_exit(scenario_bed_play(bed, s, 1, &r, &err) && r.passed ? 0 : 1);
		if (child < 0 || waitpid(child, &status, 0) != child || status)
			die("the child failed");
		return;
	}
	ok = way == MARK ? scenario_bed_play(bed, s, 1, &r, &err) : scenario_run(s, opt, &r, &err);
	if (!ok || !r.passed)
		die(ok ? "the scenario does not pass" : err.text);
}

static double row(enum way way, const struct scenario *s, const struct scenario_options *opt,
		  double seconds, double first)
{
	static const char *const ways[] = { "a VM for each", "a process for each",
					    "back to a mark" };
	static const char *const judges[] = { "none", "truth", "and model" };
	struct scenario_bed *bed = NULL;
	double start, took, rate;
	struct error err;
	uint64_t n = 0;

	if (way != NEW_VM) {
		bed = scenario_bed_new(s, opt, &err);
		if (!bed)
			die(err.text);
		once(MARK, s, opt, bed); /* translated already, in the children, too */
	}
	once(way, s, opt, bed);
	start = now();
	do {
		once(way, s, opt, bed);
		n++;
		took = now() - start;
	} while (took < seconds);
	scenario_bed_free(bed);
	rate = (double)n / took;
	printf("%s\t%s\t%.0f\t%.1f\n", ways[way], judges[opt->oracle], rate,
	       first > 0 ? rate / first : 1.0);
	fflush(stdout);
	return rate;
}

int main(int argc, char **argv)
{
	const char *build = getenv("BUILD");
	double seconds = argc > 1 ? strtod(argv[1], NULL) : 1.0;
	struct scenario_options opt = {
		.engine = &sim_engine, .seed = 1, .x = GM_X_VMMCALL, .log_lines = 4096
	};
	struct scenario *s;
	struct error err;
	char corpus[512];

	snprintf(corpus, sizeof(corpus), "%s/corpus", build ? build : "build/release");
	opt.corpus = corpus;
	if (!scenario_load(argc > 2 ? argv[2] : "corpus/scenarios/C0.scn", &s, &err))
		die(err.text);
	puts("way\tjudges\tscenarios/s\tx a VM for each");
	for (opt.oracle = ORACLE_OFF; opt.oracle <= ORACLE_MODEL; opt.oracle++) {
		double first = row(NEW_VM, s, &opt, seconds, 0);

		row(FORK, s, &opt, seconds, first);
		row(MARK, s, &opt, seconds, first);
	}
	scenario_free(s);
	return 0;
}
