/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guardhouse attack --engine A,B: each scenario on two engines, judged on each, and their verdict
 * logs compared. What an engine cannot express is listed with its reason and counts for nothing.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/attack.h"
#include "cli/comparison.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/verbs.h"

struct totals {
	size_t ran, good, unrun, ids;
	uint64_t compared, left[2][COMPARE_NCLASSES];
	char last_id[SCN_MAX_WORD]; /* of the catalogue, that `ids` counted */
};

/* One scenario on both engines. */
struct pair {
	struct scenario_result result[2];
	double ms[2];
	struct comparison c;
	bool ok;
};

static bool run_pair(const struct attack_cases *all, struct attack_case *c,
		     const struct attack_options *o, struct pair *p, struct error *err)
{
	struct attack_options one = *o;

	memset(p, 0, sizeof(*p));
	for (unsigned s = 0; s < 2; s++) {
		one.engine = o->engines.engine[s];
		p->c.name[s] = one.engine->name;
		if (!attack_run(all, c, &one, &p->c.log[s], err))
			return error_within(err, one.engine->name);
		p->result[s] = c->result;
		p->ms[s] = c->ms;
		if (interrupt_seen())
			return true;
	}
	if (!comparison_make(&p->c, err))
		return false;
	p->ok = p->result[0].passed && p->result[1].passed && p->c.result.verdict == COMPARE_EQUAL;
	return true;
}

/* Scenarios R3 and R3-b are one ID of the catalogue; they stand next to each other. */
static void count(struct totals *t, const struct attack_case *c, const struct pair *p)
{
	const char *id = scenario_id(c->scenario);
	size_t len = strcspn(id, "-");

	t->ran++;
	t->good += p->ok;
	t->compared += p->c.result.compared;
	comparison_sum(t->left, &p->c.result);
	if (!p->c.result.compared || (strlen(t->last_id) == len && !memcmp(t->last_id, id, len)))
		return;
	t->ids++;
	snprintf(t->last_id, sizeof(t->last_id), "%.*s", (int)len, id);
}

/* ---- output ---- */

static void print_header(const struct attack_cases *all, const struct attack_options *o)
{
	const char *a = o->engines.engine[0]->name, *b = o->engines.engine[1]->name;

	if (o->markdown)
		printf("| id | title | got | compared | left out (%s/%s) | ms (%s/%s) | result |\n"
		       "|---|---|---|---|---|---|---|\n",
		       a, b, a, b);
	else
		printf("%-*s %-44s %-30s %8s %11s %13s %s\n", all->id_width, "ID", "TITLE", "GOT",
		       "COMPARED", "LEFT OUT", "MS", "RESULT");
}

/* "equal", or what is wrong, most telling first. */
static void result_text(const struct pair *p, char *buf, size_t len)
{
	if (!p->result[0].passed || !p->result[1].passed)
		snprintf(buf, len, "SURPRISE on %s%s%s", p->result[0].passed ? "" : p->c.name[0],
			 p->result[0].passed || p->result[1].passed ? "" : " and ",
			 p->result[1].passed ? "" : p->c.name[1]);
	else
		snprintf(buf, len, "%s", compare_verdict_string(p->c.result.verdict));
}

static void print_failures(const struct attack_case *c, const struct pair *p)
{
	for (unsigned s = 0; s < 2; s++) {
		const struct scenario_result *r = &p->result[s];

		for (unsigned i = 0; i < r->failures && i < SCN_MAX_FAILURES; i++)
			printf("         %s: %s:%u: %s\n", p->c.name[s], c->path,
			       r->failure[i].line, r->failure[i].text);
		if (!r->passed && r->exit[0])
			printf("         %s: the run ended: %s\n", p->c.name[s], r->exit);
	}
	compare_print_difference(&p->c.result, &p->c.log[0], &p->c.log[1], p->c.name, stdout);
}

static void print_unrun(const struct attack_cases *all, const struct attack_case *c, bool markdown)
{
	if (markdown) {
		attack_print_cell(scenario_id(c->scenario));
		attack_print_cell(scenario_title(c->scenario));
		printf("| | | | | not expressible: %s |\n", c->unrun);
		return;
	}
	attack_print_column(scenario_id(c->scenario), all->id_width);
	attack_print_column(scenario_title(c->scenario), 44);
	printf("not expressible: %s\n", c->unrun);
}

static void print_pair(const struct attack_cases *all, const struct attack_case *c,
		       const struct pair *p, bool markdown)
{
	const struct compare_result *r = &p->c.result;
	char left[48], ms[48], text[64];

	snprintf(left, sizeof(left), "%" PRIu64 "/%" PRIu64, compare_left(r, 0),
		 compare_left(r, 1));
	snprintf(ms, sizeof(ms), "%.0f/%.0f", p->ms[0], p->ms[1]);
	result_text(p, text, sizeof(text));
	if (markdown) {
		attack_print_cell(scenario_id(c->scenario));
		attack_print_cell(scenario_title(c->scenario));
		attack_print_cell(p->result[1].got);
		printf("| %" PRIu64 " | %s | %s | %s%s%s |\n", r->compared, left, ms,
		       p->ok ? "" : "**", text, p->ok ? "" : "**");
		return;
	}
	attack_print_column(scenario_id(c->scenario), all->id_width);
	attack_print_column(scenario_title(c->scenario), 44);
	attack_print_column(p->result[1].got, 30);
	printf("%8" PRIu64 " %11s %13s %s\n", r->compared, left, ms, text);
	if (!p->ok)
		print_failures(c, p);
}

static json_t *pair_json(const struct attack_case *c, const struct pair *p)
{
	json_t *runs = json_array();

	for (unsigned s = 0; s < 2; s++) {
		const struct scenario_result *r = &p->result[s];
		json_t *failures = json_array();

		for (unsigned i = 0; i < r->failures && i < SCN_MAX_FAILURES; i++)
			json_array_append_new(failures, json_pack("{s:i, s:o}", "line",
								  (int)r->failure[i].line, "text",
								  text_json(r->failure[i].text)));
		json_array_append_new(
			runs, json_pack("{s:s, s:s, s:s, s:I, s:f, s:s, s:o, s:b}", "engine",
					p->c.name[s], "expected", r->expected, "got", r->got,
					"crossings", (json_int_t)r->crossings, "ms", p->ms[s],
					"exit", r->exit, "failure", failures, "ok", r->passed));
	}
	return json_pack("{s:s, s:s, s:o, s:o, s:b}", "id", scenario_id(c->scenario), "title",
			 scenario_title(c->scenario), "runs", runs, "comparison",
			 comparison_json(&p->c), "ok", p->ok);
}

static int print_totals(const struct attack_options *o, const struct attack_cases *all,
			const struct totals *t, json_t *rows)
{
	const struct engine_ops *const *e = o->engines.engine;
	const char *const name[2] = { e[0]->name, e[1]->name };
	char place[2][48];
	json_t *left;

	for (unsigned s = 0; s < 2; s++)
		engine_place(e[s], place[s], sizeof(place[s]));
	if (!o->json) {
		printf("\n%zu of %zu as expected on both and equal (%s, %s; %zu IDs of the "
		       "catalogue)",
		       t->good, all->count - t->unrun, place[0], place[1], t->ids);
		if (t->unrun)
			printf("; %zu not expressible, not counted", t->unrun);
		printf("\n");
		printf("%" PRIu64 " lines compared; ", t->compared);
		comparison_print_left(t->left, name, stdout);
		if (!t->compared)
			printf("not one line was compared: that shows nothing\n");
		return EXIT_EXPECTED;
	}
	left = json_array();
	for (unsigned s = 0; s < 2; s++)
		json_array_append_new(left, comparison_left_json(t->left[s]));
	return attack_print_json(json_pack(
		"{s:[s,s], s:[s,s], s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:b, s:O}",
		"engines", name[0], name[1], "places", place[0], place[1], "x", option_x_name(o->x),
		"seed", number_json(o->seed), "ran", (json_int_t)t->ran, "surprises",
		(json_int_t)(t->ran - t->good), "not_expressible", (json_int_t)t->unrun,
		"unreadable", (json_int_t)all->unreadable, "ids", (json_int_t)t->ids, "compared",
		(json_int_t)t->compared, "left_out", left, "interrupted", interrupt_seen(),
		"attacks", rows));
}

static json_t *unrun_json(const struct attack_case *c)
{
	return json_pack("{s:s, s:s, s:o, s:n}", "id", scenario_id(c->scenario), "title",
			 scenario_title(c->scenario), "not_expressible", text_json(c->unrun), "ok");
}

/* One row of the table; false: it could not be run, or Ctrl-C ended it. */
static bool one_row(const struct attack_cases *all, struct attack_case *c,
		    const struct attack_options *o, struct totals *t, json_t *rows,
		    struct error *err)
{
	struct pair p;
	bool ran;

	if (c->unrun) {
		t->unrun++;
		if (o->json)
			json_array_append_new(rows, unrun_json(c));
		else
			print_unrun(all, c, o->markdown);
		return true;
	}
	ran = run_pair(all, c, o, &p, err);
	if (ran && !interrupt_seen()) {
		count(t, c, &p);
		if (o->json)
			json_array_append_new(rows, pair_json(c, &p));
		else
			print_pair(all, c, &p, o->markdown);
	}
	comparison_free(&p.c);
	return ran;
}

int attack_both(const struct attack_options *o, char *const ids[], int nids)
{
	struct attack_cases all;
	struct totals t = { 0 };
	struct error err;
	json_t *rows = json_array();
	int status = EXIT_USAGE;

	if (!attack_cases_load(&all, o->views, ids, nids, &err) ||
	    !attack_cases_mark(&all, o, !nids, &err)) {
		verb_error("attack", &err);
		goto out;
	}
	if (!o->json)
		print_header(&all, o);
	progress_start("attacks on two engines");
	for (size_t i = 0; i < all.count && !interrupt_seen(); i++) {
		char what[100];

		snprintf(what, sizeof(what), "attack %zu of %zu on two engines: %.40s", i + 1,
			 all.count, scenario_id(all.item[i].scenario));
		progress_set(what);
		if (!one_row(&all, &all.item[i], o, &t, rows, &err)) {
			progress_stop();
			verb_error("attack", &err);
			goto out;
		}
		if (!o->json)
			fflush(stdout);
	}
	progress_stop();
	status = t.good == t.ran && t.compared && !interrupt_seen() ? EXIT_EXPECTED
								    : EXIT_VIOLATION;
	if (print_totals(o, &all, &t, rows) != EXIT_EXPECTED || all.unreadable)
		status = EXIT_USAGE;
	if (interrupt_seen())
		attack_tell_interrupted(t.ran, all.count - t.unrun);
out:
	json_decref(rows);
	attack_cases_free(&all);
	return status;
}
