/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guardhouse attack --interrupt-every: each honest flow over and over, each time with an interrupt
 * at another instruction boundary inside of a module: it must end as it does without, refused
 * nowhere. A flow is honest if it is accepted all through, which its own run says.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/attack.h"
#include "cli/json.h"
#include "cli/progress.h"
#include "cli/verbs.h"

/* One flow. */
struct sweep {
	uint64_t boundaries, struck; /* struck: runs that were as without */
	uint64_t departed;	     /* of these, those with a departure more */
	uint64_t failed_at;	     /* 0: nowhere */
};

static bool honest(const struct attack_case *c)
{
	return !strcmp(c->result.expected, "accepted") && !strcmp(c->result.got, "accepted");
}

/* false: it cannot be run at all. What fails stays in c->result. */
static bool sweep(const struct attack_cases *all, struct attack_case *c,
		  const struct attack_options *o, struct sweep *s, struct error *err)
{
	struct attack_options one = *o;
	uint64_t before = c->result.crossings;
	char what[120];

	/* A run that is struck has some boundaries more or less, where vCPUs wait for each other. */
	for (uint64_t k = 1; k <= s->boundaries && !interrupt_seen(); k++) {
		snprintf(what, sizeof(what), "%.40s: boundary %" PRIu64 " of %" PRIu64,
			 scenario_id(c->scenario), k, s->boundaries);
		progress_set(what);
		one.strike = k;
		if (!attack_run(all, c, &one, NULL, err))
			return false;
		if (!c->result.passed || strcmp(c->result.got, "accepted")) {
			s->failed_at = k;
			return true;
		}
		s->struck++;
		s->departed += c->result.crossings >= before + 2;
	}
	return true;
}

static void print_sweep(const struct attack_cases *all, const struct attack_case *c,
			const struct sweep *s, const char *note, bool markdown)
{
	const struct scenario_result *r = &c->result;

	if (markdown) {
		attack_print_cell(scenario_id(c->scenario));
		attack_print_cell(scenario_title(c->scenario));
		printf("| %" PRIu64 " | %" PRIu64 " | %" PRIu64 " | %s |\n", s->boundaries,
		       s->departed, s->struck, note);
		return;
	}
	attack_print_column(scenario_id(c->scenario), all->id_width);
	attack_print_column(scenario_title(c->scenario), 44);
	printf("%10" PRIu64 " %10" PRIu64 " %10" PRIu64 "  %s\n", s->boundaries, s->departed,
	       s->struck, note);
	if (!s->failed_at)
		return;
	printf("         with an interrupt at boundary %" PRIu64 ":\n", s->failed_at);
	for (unsigned i = 0; i < r->failures && i < SCN_MAX_FAILURES; i++)
		printf("         %s:%u: %s\n", c->path, r->failure[i].line, r->failure[i].text);
	if (r->oracle[0])
		fputs(r->oracle, stdout);
}

static json_t *sweep_json(const struct attack_case *c, const struct sweep *s, const char *note)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:s}", "id", scenario_id(c->scenario),
			 "title", scenario_title(c->scenario), "boundaries",
			 (json_int_t)s->boundaries, "as_without", (json_int_t)s->struck, "departed",
			 (json_int_t)s->departed, "failed_at", (json_int_t)s->failed_at, "result",
			 note);
}

static void print_or_add(const struct attack_cases *all, const struct attack_case *c,
			 const struct sweep *s, const char *note, const struct attack_options *o,
			 json_t *rows)
{
	if (o->json)
		json_array_append_new(rows, sweep_json(c, s, note));
	else
		print_sweep(all, c, s, note, o->markdown);
	fflush(stdout);
}

int attack_every(const struct attack_options *o, uint64_t most, char *const ids[], int nids)
{
	struct attack_cases all;
	struct error err;
	size_t flows = 0, good = 0, passed_over = 0;
	uint64_t runs = 0;
	json_t *rows = json_array();
	int status = EXIT_USAGE;

	if (!attack_cases_load(&all, o->views, ids, nids, &err) ||
	    (o->views && !attack_cases_mark(&all, o, !nids, &err))) {
		verb_error("attack", &err);
		goto out;
	}
	if (!o->json && o->markdown)
		printf("| id | title | boundaries | departures | as without | result |\n"
		       "|---|---|---|---|---|---|\n");
	else if (!o->json)
		printf("%-*s %-44s %10s %10s %10s\n", all.id_width, "ID", "TITLE", "BOUNDARIES",
		       "DEPARTURES", "AS WITHOUT");
	progress_start("interrupts");
	for (size_t i = 0; i < all.count && !interrupt_seen(); i++) {
		struct attack_case *c = &all.item[i];
		struct sweep s = { 0 };
		const char *note = "ok";

		if (c->unrun || scenario_class(c->scenario) == SCN_RACE)
			continue; /* a race's schedule is another one with each interrupt */
		if (!attack_run(&all, c, o, NULL, &err)) {
			progress_stop();
			verb_error("attack", &err);
			goto out;
		}
		if (!c->result.passed) {
			flows++;
			print_or_add(&all, c, &s, "SURPRISE as it is", o, rows);
			continue;
		}
		if (!honest(c))
			continue;
		s.boundaries = c->result.boundaries;
		if (s.boundaries > most) {
			note = "too long, not run";
			passed_over++;
		} else {
			flows++;
			if (!sweep(&all, c, o, &s, &err)) {
				progress_stop();
				verb_error("attack", &err);
				goto out;
			}
			if (interrupt_seen())
				break;
			good += !s.failed_at;
			runs += s.struck;
			if (s.failed_at)
				note = "SURPRISE";
		}
		print_or_add(&all, c, &s, note, o, rows);
	}
	progress_stop();
	status = all.unreadable				       ? EXIT_USAGE
		 : good == flows && flows && !interrupt_seen() ? EXIT_EXPECTED
							       : EXIT_VIOLATION;
	if (!flows && !passed_over && !interrupt_seen() && !all.unreadable)
		status = verb_usage("attack", "--interrupt-every: no honest flow among these");
	if (o->json) {
		if (attack_print_json(json_pack("{s:I, s:I, s:I, s:I, s:b, s:O}", "flows",
						(json_int_t)flows, "as_without", (json_int_t)good,
						"too_long", (json_int_t)passed_over, "runs",
						(json_int_t)runs, "interrupted", interrupt_seen(),
						"rows", rows)) != EXIT_EXPECTED)
			status = EXIT_USAGE;
	} else {
		printf("\n%zu of %zu honest flows as without, in %" PRIu64 " runs", good, flows,
		       runs);
		if (passed_over)
			printf("; %zu too long, not run", passed_over);
		printf("\n");
	}
	if (interrupt_seen())
		attack_tell_interrupted(flows, all.count);
out:
	json_decref(rows);
	attack_cases_free(&all);
	return status;
}
