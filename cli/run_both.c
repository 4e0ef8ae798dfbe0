/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guardhouse run --engine A,B: the same input on two engines, one after the other, with the same X
 * and seed, so that both run the same bytes; then their verdict logs are compared.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/comparison.h"
#include "cli/guest.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "cli/run.h"
#include "cli/summary.h"
#include "cli/verbs.h"
#include "hosted/hosted.h"
#include "scenario/scenario.h"

/* How the run on one engine went. */
struct side {
	const struct engine_ops *engine;
	char place[48]; /* the engine and its host */
	const char *log;
	bool ok;
	uint64_t crossings;
	char ended[300];
};

bool run_both_logs(const struct run_options *o, char path[2][CORPUS_PATH], struct error *err)
{
	const struct engine_ops *const *e = o->engines.engine;

	for (unsigned s = 0; o->log && s < 2; s++)
		if (snprintf(path[s], CORPUS_PATH, "%s.%s%s", o->log, e[s]->name,
			     e[0] != e[1] ? ""
			     : s	  ? "-2"
					  : "-1") >= CORPUS_PATH)
			return error_set(err, "%.200s...: path too long", o->log);
	return true;
}

static bool guest_side(const struct run_options *o, const struct blob *elf, FILE *to,
		       struct side *side, struct log_copy *copy, struct error *err)
{
	struct vm_config cfg = {
		.engine = side->engine,
		.vcpus = o->vcpus,
		.seed = o->seed,
		.budget = o->budget,
		.x_kind = o->x,
		.console = o->json ? NULL : to,
	};
	struct guest g = { .views = o->views };
	struct vm_exit e;
	struct summary s;
	bool ran;

	ran = guest_build(&g, o->input, elf, &cfg, err) &&
	      (!o->arg || vm_set_mailbox(g.vm, o->arg, strlen(o->arg) + 1, err));
	if (ran) {
		vm_run(g.vm, &e);
		fflush(to);
		summary_take(&s, g.vm);
		side->ok = e.reason == VM_EXIT_GUEST && e.status == 0;
		side->crossings = s.crossings;
		if (e.reason == VM_EXIT_GUEST)
			snprintf(side->ended, sizeof(side->ended), "exit status %d", e.status);
		else
			snprintf(side->ended, sizeof(side->ended), "%s: %s",
				 exit_reason_name(e.reason), e.message);
		ran = log_copy_take(copy, g.vm, err) &&
		      (!side->log || vm_log_write(g.vm, side->log, err));
	}
	guest_free(&g);
	return ran;
}

static bool scenario_side(const struct run_options *o, struct side *side, struct log_copy *copy,
			  struct error *err)
{
	struct scenario_options so = {
		.engine = side->engine,
		.seed = o->seed,
		.budget = o->budget,
		.vcpus = o->vcpus,
		.x = o->x,
		.views = o->views,
		.log = side->log,
		.copy = copy,
	};
	struct scenario *sc = NULL;
	struct scenario_result r;
	char corpus[CORPUS_PATH];
	bool ran;

	so.corpus = corpus;
	ran = scenario_load(o->input, &sc, err) &&
	      corpus_folder("puppet/puppet.elf", corpus, err) && scenario_run(sc, &so, &r, err);
	scenario_free(sc);
	if (!ran)
		return false;
	side->ok = r.passed;
	side->crossings = r.crossings;
	snprintf(side->ended, sizeof(side->ended), "%s%s%s",
		 r.passed ? "as expected" : "NOT AS EXPECTED",
		 r.exit[0]    ? "; the run ended: "
		 : r.failures ? ": "
			      : "",
		 r.exit[0]    ? r.exit
		 : r.failures ? r.failure[0].text
			      : "");
	return true;
}

static bool module_side(const struct run_options *o, FILE *to, struct side *side,
			struct log_copy *copy, struct error *err)
{
	struct hosted_options ho = {
		.module = o->input,
		.engine = side->engine,
		.seed = o->seed,
		.budget = o->budget,
		.x = o->x,
		.views = o->views,
		.vcpus = o->vcpus,
		.console = o->json ? NULL : to,
		.log = side->log,
		.copy = copy,
	};
	struct hosted_result r;
	bool ran;

	memset(&r, 0, sizeof(r));
	ran = hosted_run(&ho, &r, err);
	fflush(to);
	if (ran) {
		side->ok = r.ok;
		side->crossings = r.crossings;
		snprintf(side->ended, sizeof(side->ended), "%s%s%s",
			 r.ok ? "as expected" : "NOT AS EXPECTED", r.exit.message[0] ? ": " : "",
			 r.exit.message);
	}
	hosted_result_free(&r);
	return ran;
}

static bool run_side(const struct run_options *o, enum run_kind kind, const struct blob *elf,
		     FILE *to, struct side *side, struct log_copy *copy, struct error *err)
{
	char what[100];
	bool ran;

	snprintf(what, sizeof(what), "on %s (Ctrl-C ends it)", side->place);
	progress_start(what);
	switch (kind) {
	case RUN_GUEST: ran = guest_side(o, elf, to, side, copy, err); break;
	case RUN_SCENARIO: ran = scenario_side(o, side, copy, err); break;
	default: ran = module_side(o, to, side, copy, err);
	}
	progress_stop();
	return ran || error_within(err, side->place);
}

static int both_json(const struct run_options *o, enum run_kind kind, const struct side side[2],
		     const struct comparison *c, bool ok)
{
	static const char *const kinds[] = { "guest", "scenario", "module" };
	json_t *runs = json_array();

	for (unsigned s = 0; s < 2; s++)
		json_array_append_new(runs,
				      json_pack("{s:s, s:s, s:o, s:I, s:b}", "engine",
						side[s].engine->name, "place", side[s].place,
						"ended", text_json(side[s].ended), "crossings",
						(json_int_t)side[s].crossings, "ok", side[s].ok));
	return run_print_json(json_pack("{s:o, s:s, s:s, s:o, s:o, s:o, s:b}", "input",
					text_json(o->input), "kind", kinds[kind], "x",
					option_x_name(o->x), "seed", number_json(o->seed), "runs",
					runs, "comparison", comparison_json(c), "ok", ok));
}

int run_both(const struct run_options *o, enum run_kind kind, const struct blob *elf)
{
	struct side side[2] = { { 0 } };
	struct comparison c = { 0 };
	char logs[2][CORPUS_PATH];
	FILE *to = run_open_out(o);
	struct error err;
	int status = EXIT_USAGE;
	bool ok;

	if (!run_both_logs(o, logs, &err)) {
		verb_error("run", &err);
		goto out;
	}
	for (unsigned s = 0; s < 2; s++) {
		side[s].engine = o->engines.engine[s];
		side[s].log = o->log ? logs[s] : NULL;
		engine_place(side[s].engine, side[s].place, sizeof(side[s].place));
		c.name[s] = side[s].engine->name;
		if (!run_side(o, kind, elf, to, &side[s], &c.log[s], &err)) {
			verb_error("run", &err);
			goto out;
		}
		if (!o->json)
			printf("--- %s on %s: %s; %" PRIu64 " crossings (seed %" PRIu64 ", X %s)\n",
			       o->input, side[s].place, side[s].ended, side[s].crossings, o->seed,
			       option_x_name(o->x));
		if (interrupt_seen()) {
			fflush(stdout);
			fprintf(stderr, "guardhouse run: interrupted; nothing was compared\n");
			status = EXIT_VIOLATION;
			goto out;
		}
	}
	if (!comparison_make(&c, &err)) {
		verb_error("run", &err);
		goto out;
	}
	ok = side[0].ok && side[1].ok && c.result.verdict == COMPARE_EQUAL;
	status = ok ? EXIT_EXPECTED : EXIT_VIOLATION;
	if (!o->json)
		comparison_print(&c, stdout);
	else if (both_json(o, kind, side, &c, ok) != EXIT_EXPECTED)
		status = EXIT_USAGE;
out:
	comparison_free(&c);
	run_close_out(to);
	return status;
}
