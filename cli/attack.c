/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guardhouse attack: every scenario of the catalogue, or some, and a table of what had to happen
 * and what did. With --module the attacks on a real driver; with --demo a short tour.
 */
#include <dirent.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/attack.h"
#include "cli/corpus.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "hosted/hosted.h"
#include "scenario/scenario.h"

#define MAX_SCENARIOS 1024u

static void help(void)
{
	printf("usage: guardhouse attack [ID]... [OPTION]...\n\n"
	       "Runs the scenarios of the corpus (all, or those with these IDs), compares each with\n"
	       "what the contract says, and prints a table. Exit code 1 if anything surprises.\n\n"
	       "  --module KO   attack this kernel module under the hosted kernel instead\n"
	       "  --list        only list what there is\n"
	       "  --demo        a short tour: sample modules used honestly, then attacked\n"
	       "  --json        report in JSON\n"
	       "  --markdown    print the table as Markdown\n"
	       "  --seed S      schedule of the vCPUs (default 1)\n"
	       "  --x KIND      crossing instruction: vmmcall (default; kvm: out), vmcall, out\n"
	       "  --timeout S   stop after S seconds\n"
	       "  --engine E    what runs the guests: sim (default) or kvm\n");
}

/* "R3" means R3 and R3-b.scn's "R3-b", not R3d. */
static bool wanted(const char *id, char *const ids[], int nids, bool used[])
{
	bool any = nids == 0;

	for (int i = 0; i < nids; i++) {
		size_t len = strlen(ids[i]);

		if (strncmp(id, ids[i], len))
			continue;
		if (id[len] &&
		    strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
			   id[len]))
			continue;
		used[i] = any = true;
	}
	return any;
}

static int is_scenario(const struct dirent *d)
{
	size_t len = strlen(d->d_name);

	return len > 4 && d->d_name[0] != '.' && !strcmp(d->d_name + len - 4, ".scn");
}

/* C0, E2, E10: letter, then number, then the rest. */
static int compare_ids(const void *a, const void *b)
{
	const struct attack_case *x = a, *y = b;
	const char *p = scenario_id(x->scenario), *q = scenario_id(y->scenario);
	long m, n;

	if (p[0] != q[0])
		return p[0] < q[0] ? -1 : 1;
	m = p[0] ? strtol(p + 1, NULL, 10) : 0;
	n = q[0] ? strtol(q + 1, NULL, 10) : 0;
	if (m != n)
		return m < n ? -1 : 1;
	return strcmp(p, q) ? strcmp(p, q) : strcmp(x->path, y->path);
}

bool attack_cases_load(struct attack_cases *all, char *const ids[], int nids, struct error *err)
{
	char folder[CORPUS_PATH];
	struct dirent **names = NULL;
	bool *used = NULL, ok = false;
	int n;

	memset(all, 0, sizeof(*all));
	if (!corpus_find("scenarios", folder, err) ||
	    !corpus_folder("puppet/puppet.elf", all->corpus, err))
		return false;
	n = scandir(folder, &names, is_scenario, alphasort);
	if (n <= 0)
		return error_set(err, "%s: there are no scenarios", folder);
	all->item = calloc((size_t)n, sizeof(*all->item));
	used = calloc((size_t)nids + 1, sizeof(*used));
	if (!all->item || !used) {
		error_set(err, "out of memory");
		goto out;
	}
	for (int i = 0; i < n; i++) {
		struct attack_case *c = &all->item[all->count];
		size_t len = strlen(folder) + strlen(names[i]->d_name) + 2;

		c->path = malloc(len);
		if (!c->path) {
			error_set(err, "out of memory");
			goto out;
		}
		snprintf(c->path, len, "%s/%s", folder, names[i]->d_name);
		all->count++;
		if (!scenario_load(c->path, &c->scenario, err))
			goto out;
		if (!wanted(scenario_id(c->scenario), ids, nids, used)) {
			scenario_free(c->scenario);
			free(c->path);
			memset(c, 0, sizeof(*c));
			all->count--;
		}
	}
	for (int i = 0; i < nids; i++) {
		if (!used[i]) {
			error_set(err, "%s: no scenario has this ID (see guardhouse attack --list)",
				  ids[i]);
			goto out;
		}
	}
	all->id_width = 8;
	for (size_t i = 0; i < all->count; i++) {
		int len = (int)strlen(scenario_id(all->item[i].scenario));

		if (len > all->id_width)
			all->id_width = len;
	}
	qsort(all->item, all->count, sizeof(*all->item), compare_ids);
	ok = true;
out:
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
	free(used);
	return ok;
}

void attack_cases_free(struct attack_cases *all)
{
	for (size_t i = 0; i < all->count; i++) {
		scenario_free(all->item[i].scenario);
		free(all->item[i].path);
	}
	free(all->item);
	memset(all, 0, sizeof(*all));
}

bool attack_run(const struct attack_cases *all, struct attack_case *c,
		const struct attack_options *o, struct error *err)
{
	struct scenario_options so = {
		.engine = o->engine,
		.corpus = all->corpus,
		.seed = o->seed,
		.x = o->x,
	};
	struct timespec start, end;
	bool ok;

	clock_gettime(CLOCK_MONOTONIC, &start);
	ok = scenario_run(c->scenario, &so, &c->result, err);
	clock_gettime(CLOCK_MONOTONIC, &end);
	c->ms = (double)(end.tv_sec - start.tv_sec) * 1e3 +
		(double)(end.tv_nsec - start.tv_nsec) / 1e6;
	return ok;
}

/* ---- output ---- */

/* A Markdown cell: no bar may end it early. */
static void cell(const char *text)
{
	putchar('|');
	putchar(' ');
	for (; *text; text++) {
		if (*text == '|')
			putchar('\\');
		putchar(*text);
	}
	putchar(' ');
}

void attack_print_header(const struct attack_cases *all, bool markdown)
{
	if (markdown)
		printf("| id | title | expected | got | crossings | ms | result |\n"
		       "|---|---|---|---|---|---|---|\n");
	else
		printf("%-*s %-44s %-30s %-30s %9s %7s\n", all->id_width, "ID", "TITLE", "EXPECTED",
		       "GOT", "CROSSINGS", "MS");
}

/* Cuts to a column; what is cut is in --json and --markdown. */
static void column(const char *text, int width)
{
	int len = (int)strlen(text);

	if (len > width)
		printf("%.*s~ ", width - 1, text);
	else
		printf("%-*s ", width, text);
}

void attack_print_row(const struct attack_cases *all, const struct attack_case *c, bool markdown)
{
	const struct scenario_result *r = &c->result;

	if (markdown) {
		cell(scenario_id(c->scenario));
		cell(scenario_title(c->scenario));
		cell(r->expected);
		cell(r->got);
		printf("| %" PRIu64 " | %.1f | %s |\n", r->crossings, c->ms,
		       r->passed ? "ok" : "**surprise**");
		return;
	}
	column(scenario_id(c->scenario), all->id_width);
	column(scenario_title(c->scenario), 44);
	column(r->expected, 30);
	column(r->got, 30);
	printf("%9" PRIu64 " %7.1f%s\n", r->crossings, c->ms, r->passed ? "" : "  SURPRISE");
	if (r->passed)
		return;
	for (unsigned i = 0; i < r->failures && i < SCN_MAX_FAILURES; i++)
		printf("         %s:%u: %s\n", c->path, r->failure[i].line, r->failure[i].text);
	if (r->exit[0])
		printf("         the run ended: %s\n", r->exit);
}

static json_t *row_json(const struct attack_case *c)
{
	const struct scenario_result *r = &c->result;

	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:f, s:s, s:b}", "id", scenario_id(c->scenario),
			 "title", scenario_title(c->scenario), "expected", r->expected, "got",
			 r->got, "crossings", (json_int_t)r->crossings, "ms", c->ms, "exit",
			 r->exit, "ok", r->passed);
}

static int dump(json_t *j)
{
	char *text = json_dumps(j, JSON_INDENT(2) | JSON_ENSURE_ASCII);

	json_decref(j);
	if (!text) {
		fprintf(stderr, "guardhouse attack: out of memory\n");
		return EXIT_USAGE;
	}
	puts(text);
	free(text);
	return EXIT_EXPECTED;
}

/* ---- the catalogue ---- */

static void list_one(json_t *listed, const char *id, int width, const char *title)
{
	if (listed)
		json_array_append_new(listed, json_pack("{s:s, s:s}", "id", id, "title", title));
	else
		printf("%-*s %s\n", width, id, title);
}

static int list(bool json, char *const ids[], int nids)
{
	struct attack_cases all;
	struct error err;
	json_t *listed;

	if (!attack_cases_load(&all, ids, nids, &err)) {
		attack_cases_free(&all);
		return verb_error("attack", &err);
	}
	listed = json ? json_array() : NULL;
	for (size_t i = 0; i < all.count; i++)
		list_one(listed, scenario_id(all.item[i].scenario), all.id_width,
			 scenario_title(all.item[i].scenario));
	attack_cases_free(&all);
	return json ? dump(listed) : EXIT_EXPECTED;
}

/* What a run that Ctrl-C ended has done. */
static void tell_interrupted(size_t ran, size_t all)
{
	fflush(stdout);
	fprintf(stderr, "guardhouse attack: %s after %zu of %zu\n",
		timeout_seen() ? "--timeout is over" : "interrupted", ran, all);
}

static int catalogue(const struct attack_options *o, char *const ids[], int nids)
{
	struct attack_cases all;
	struct error err;
	size_t surprises = 0, ran = 0;
	json_t *rows = json_array();
	int status = EXIT_USAGE;

	if (!attack_cases_load(&all, ids, nids, &err)) {
		verb_error("attack", &err);
		goto out;
	}
	if (!o->json)
		attack_print_header(&all, o->markdown);
	progress_start("attacks");
	for (size_t i = 0; i < all.count && !interrupt_seen(); i++) {
		struct attack_case *c = &all.item[i];
		char what[100];

		snprintf(what, sizeof(what), "attack %zu of %zu: %.40s", i + 1, all.count,
			 scenario_id(c->scenario));
		progress_set(what);
		if (!attack_run(&all, c, o, &err)) {
			progress_stop();
			verb_error("attack", &err);
			goto out;
		}
		if (interrupt_seen())
			break;
		ran++;
		surprises += !c->result.passed;
		if (o->json)
			json_array_append_new(rows, row_json(c));
		else
			attack_print_row(&all, c, o->markdown);
	}
	progress_stop();
	status = surprises || interrupt_seen() ? EXIT_VIOLATION : EXIT_EXPECTED;
	if (o->json) {
		json_t *j = json_pack("{s:s, s:o, s:I, s:I, s:b, s:O}", "x", option_x_name(o->x),
				      "seed", number_json(o->seed), "ran", (json_int_t)ran,
				      "surprises", (json_int_t)surprises, "interrupted",
				      interrupt_seen(), "attacks", rows);

		if (dump(j) != EXIT_EXPECTED)
			status = EXIT_USAGE;
	} else {
		printf("\n%zu of %zu as expected\n", ran - surprises, all.count);
	}
	if (interrupt_seen())
		tell_interrupted(ran, all.count);
out:
	json_decref(rows);
	attack_cases_free(&all);
	return status;
}

/* ---- a real driver ---- */

static int driver_list(bool json)
{
	json_t *listed = json ? json_array() : NULL;
	const char *title, *id;

	for (size_t n = 0; (id = hosted_attack_id(n, &title)); n++)
		list_one(listed, id, 8, title);
	return json ? dump(listed) : EXIT_EXPECTED;
}

static json_t *driver_json(const struct hosted_attack_row *r)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:b}", "id", r->id, "title", r->title,
			 "expected", r->expected, "got", r->got, "refused", r->refused, "kept",
			 r->kept, "honest", r->honest, "ok", r->ok);
}

static void driver_row(const struct hosted_attack_row *r, bool markdown)
{
	if (markdown) {
		cell(r->id);
		cell(r->title);
		cell(r->expected);
		cell(r->got);
		printf("| %s | %s | %s |\n", r->kept ? "yes" : "**no**",
		       r->honest ? "yes" : "**no**", r->ok ? "ok" : "**surprise**");
		return;
	}
	column(r->id, 7);
	column(r->title, 52);
	column(r->expected, 56);
	column(r->got, 56);
	printf("%s\n", r->ok	    ? "ok"
		       : !r->kept   ? "SURPRISE: registers showed"
		       : !r->honest ? "SURPRISE: honest entry failed"
				    : "SURPRISE");
}

static int driver(const struct attack_options *o, const char *module, char *const ids[], int nids)
{
	struct hosted_options ho = {
		.module = module,
		.engine = o->engine,
		.seed = o->seed,
		.x = o->x,
		.stop = interrupt_seen,
	};
	struct hosted_attack_row *rows = NULL;
	struct error err;
	size_t count = 0, good = 0, all = 0;
	json_t *list_json;
	bool ran;

	progress_start("attacks on the driver");
	ran = hosted_attack(&ho, (const char *const *)ids, (size_t)nids, &rows, &count, &err);
	progress_stop();
	if (!ran) {
		free(rows);
		return verb_error("attack", &err);
	}
	while (hosted_attack_id(all, NULL))
		all++;
	list_json = json_array();
	if (!o->json && !o->markdown)
		printf("%-7s %-52s %-56s %s\n", "ID", "TITLE", "EXPECTED", "GOT");
	if (!o->json && o->markdown)
		printf("| id | title | expected | got | registers hidden | honest entry works | "
		       "result |\n|---|---|---|---|---|---|---|\n");
	for (size_t i = 0; i < count; i++) {
		good += rows[i].ok;
		if (o->json)
			json_array_append_new(list_json, driver_json(&rows[i]));
		else
			driver_row(&rows[i], o->markdown);
	}
	free(rows);
	if (o->json) {
		if (dump(json_pack("{s:o, s:s, s:I, s:I, s:b, s:O}", "module", text_json(module),
				   "x", option_x_name(o->x), "ran", (json_int_t)count, "surprises",
				   (json_int_t)(count - good), "interrupted", interrupt_seen(),
				   "attacks", list_json)) != EXIT_EXPECTED)
			good = 0;
	} else {
		printf("\n%zu of %zu as expected\n", good,
		       interrupt_seen() ? (nids ? (size_t)nids : all) : count);
	}
	json_decref(list_json);
	if (interrupt_seen())
		tell_interrupted(count, nids ? (size_t)nids : all);
	return good == count && count && !interrupt_seen() ? EXIT_EXPECTED : EXIT_VIOLATION;
}

enum {
	OPT_MODULE = 256,
	OPT_LIST,
	OPT_DEMO,
	OPT_JSON,
	OPT_MARKDOWN,
	OPT_SEED,
	OPT_X,
	OPT_ENGINE,
	OPT_TIMEOUT
};

int verb_attack(int argc, char **argv)
{
	static const struct option options[] = {
		{ "module", required_argument, NULL, OPT_MODULE },
		{ "list", no_argument, NULL, OPT_LIST },
		{ "demo", no_argument, NULL, OPT_DEMO },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "markdown", no_argument, NULL, OPT_MARKDOWN },
		{ "seed", required_argument, NULL, OPT_SEED },
		{ "x", required_argument, NULL, OPT_X },
		{ "engine", required_argument, NULL, OPT_ENGINE },
		{ "timeout", required_argument, NULL, OPT_TIMEOUT },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct attack_options o = { .engine = &sim_engine, .seed = 1 };
	const char *module = NULL;
	bool only_list = false, demo = false;
	uint64_t timeout = 0;
	bool x_given = false;
	char **ids;
	int nids, c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		switch (c) {
		case OPT_MODULE: module = optarg; break;
		case OPT_LIST: only_list = true; break;
		case OPT_DEMO: demo = true; break;
		case OPT_JSON: o.json = true; break;
		case OPT_MARKDOWN: o.markdown = true; break;
		case OPT_SEED:
			if (!option_number(optarg, UINT64_MAX, &o.seed))
				return verb_usage("attack", "--seed %s: not a number", optarg);
			break;
		case OPT_X:
			x_given = true;
			if (!option_x(optarg, &o.x) || o.x == GM_X_NOP)
				return verb_usage("attack", "--x %s: vmmcall, vmcall or out",
						  optarg);
			break;
		case OPT_ENGINE:
			o.engine = option_engine(optarg);
			if (!o.engine)
				return verb_usage("attack", "--engine %s: sim or kvm", optarg);
			break;
		case OPT_TIMEOUT:
			if (!option_number(optarg, MAX_TIMEOUT, &timeout) || !timeout)
				return verb_usage("attack", "--timeout %s: 1 to %u seconds", optarg,
						  MAX_TIMEOUT);
			break;
		case 'h': help(); return EXIT_EXPECTED;
		case ':': return verb_usage("attack", "%s needs a value", argv[optind - 1]);
		default: return verb_usage("attack", "no option %s", argv[optind - 1]);
		}
	}
	ids = argv + optind;
	nids = argc - optind;
	if (!x_given)
		o.x = (enum gm_x_kind)o.engine->default_x;
	if (!only_list)
		option_engine_note(o.engine);
	interrupt_catch();
	timeout_start((unsigned)timeout);
	if (demo)
		return nids || module || only_list
			       ? verb_usage("attack", "--demo goes with --seed and --x only")
			       : attack_demo(&o);
	if (only_list)
		return module ? driver_list(o.json) : list(o.json, ids, nids);
	return module ? driver(&o, module, ids, nids) : catalogue(&o, ids, nids);
}
