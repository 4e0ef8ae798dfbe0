/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guardhouse attack: every scenario of the catalogue, or some, and a table of what had to happen
 * and what did. With --module the attacks on a real driver; with --demo a short tour.
 */
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/attack.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "hosted/hosted.h"
#include "scenario/scenario.h"

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
	       "  --no-oracle   without the oracle, which watches on engine sim (docs/oracle.md)\n"
	       "  --without CHECK[,CHECK]  with these checks of the core removed; of the oracle only what it\n"
	       "                sees itself counts, beside the scenario's expectations; needs the test\n"
	       "                build of `make without`; `list` tells the checks\n"
	       "  --oracle-alone  the oracle, but not its reference model\n"
	       "  --seeds N     a race runs with N seeds from S on (default 50); it must end as it\n"
	       "                says with each, nine in ten schedules must differ, and of\n"
	       "                50 or more each end that it names must come\n"
	       "  --vcpus N     at least so many vCPUs in every scenario (up to 4); those that it does not\n"
	       "                use compute, write memory and make calls for nobody meanwhile\n"
	       "  --interrupt-every[=N]  the honest flows again, with an interrupt at each instruction\n"
	       "                boundary inside of the modules in turn; those of more than N\n"
	       "                (default 2000) are told and passed over\n"
	       "  --seed S      schedule of the vCPUs (default 1)\n"
	       "  --x KIND      crossing instruction: vmmcall (default; kvm: out), vmcall, out\n"
	       "  --mode MODE   gates (default), or views: modules stay as they are; what does not apply\n"
	       "                is listed with its reason (corpus/scenarios/views.txt)\n"
	       "  --timeout S   stop after S seconds\n"
	       "  --engine E    what runs the guests: sim (default) or kvm\n"
	       "  --engine A,B  run on both and compare the verdict logs: exit code 1 also if they\n"
	       "                differ, or if not one line could be compared\n");
}

/* ---- output ---- */

void attack_print_cell(const char *text)
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

void attack_print_column(const char *text, int width)
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
		attack_print_cell(scenario_id(c->scenario));
		attack_print_cell(scenario_title(c->scenario));
		if (c->unrun) {
			printf("| | | | | not expressible: %s |\n", c->unrun);
			return;
		}
		attack_print_cell(r->expected);
		attack_print_cell(r->got);
		printf("| %" PRIu64 " | %.1f | %s", r->crossings, c->ms,
		       r->passed ? "ok" : "**surprise**");
		if (c->seeds)
			printf("; %u seeds: %u schedules, %u orders", c->seeds, c->schedules,
			       c->orders);
		printf(" |\n");
		return;
	}
	attack_print_column(scenario_id(c->scenario), all->id_width);
	attack_print_column(scenario_title(c->scenario), 44);
	if (c->unrun) {
		printf("not expressible: %s\n", c->unrun);
		return;
	}
	attack_print_column(r->expected, 30);
	attack_print_column(r->got, 30);
	printf("%9" PRIu64 " %7.1f%s", r->crossings, c->ms, r->passed ? "" : "  SURPRISE");
	if (c->seeds)
		printf("  %u seeds: %u schedules, %u orders", c->seeds, c->schedules, c->orders);
	printf("\n");
	if (r->passed)
		return;
	for (unsigned i = 0; i < r->failures && i < SCN_MAX_FAILURES; i++)
		printf("         %s:%u: %s\n", c->path, r->failure[i].line, r->failure[i].text);
	if (r->exit[0])
		printf("         the run ended: %s\n", r->exit);
	if (r->oracle[0])
		fputs(r->oracle, stdout);
}

static json_t *row_json(const struct attack_case *c)
{
	const struct scenario_result *r = &c->result;
	json_t *failures;

	if (c->unrun)
		return json_pack("{s:s, s:s, s:o, s:n}", "id", scenario_id(c->scenario), "title",
				 scenario_title(c->scenario), "not_expressible",
				 text_json(c->unrun), "ok");
	failures = json_array();
	for (unsigned i = 0; i < r->failures && i < SCN_MAX_FAILURES; i++)
		json_array_append_new(failures,
				      json_pack("{s:i, s:o}", "line", (int)r->failure[i].line,
						"text", text_json(r->failure[i].text)));
	return json_pack(
		"{s:s, s:s, s:o, s:s, s:s, s:I, s:I, s:i, s:i, s:i, s:f, s:s, s:s, s:b, s:o}", "id",
		scenario_id(c->scenario), "title", scenario_title(c->scenario), "path",
		text_json(c->path), "expected", r->expected, "got", r->got, "crossings",
		(json_int_t)r->crossings, "company", (json_int_t)r->company, "seeds", (int)c->seeds,
		"schedules", (int)c->schedules, "orders", (int)c->orders, "ms", c->ms, "exit",
		r->exit, "oracle", r->oracle, "ok", r->passed, "failures", failures);
}

int attack_print_json(json_t *j)
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

static int list(bool json, bool views, char *const ids[], int nids)
{
	struct attack_cases all;
	struct error err;
	json_t *listed;
	bool bad;

	if (!attack_cases_load(&all, views, ids, nids, &err)) {
		attack_cases_free(&all);
		return verb_error("attack", &err);
	}
	listed = json ? json_array() : NULL;
	for (size_t i = 0; i < all.count; i++)
		list_one(listed, scenario_id(all.item[i].scenario), all.id_width,
			 scenario_title(all.item[i].scenario));
	bad = all.unreadable != 0;
	attack_cases_free(&all);
	if (json && attack_print_json(listed) != EXIT_EXPECTED)
		return EXIT_USAGE;
	return bad ? EXIT_USAGE : EXIT_EXPECTED;
}

void attack_tell_interrupted(size_t ran, size_t all)
{
	fflush(stdout);
	fprintf(stderr, "guardhouse attack: %s after %zu of %zu\n",
		timeout_seen() ? "--timeout is over" : "interrupted", ran, all);
}

/* Of a report: who judges, on this engine. */
static const char *judge(const struct attack_options *o)
{
	static const char *const names[] = { [ORACLE_OFF] = "expectations alone",
					     [ORACLE_ALONE] = "oracle alone",
					     [ORACLE_MODEL] = "oracle and reference model" };

	return names[o->engine == &sim_engine ? o->oracle : ORACLE_OFF];
}

static int catalogue(const struct attack_options *o, char *const ids[], int nids)
{
	struct attack_cases all;
	struct error err;
	size_t surprises = 0, ran = 0, unrun = 0;
	json_t *rows = json_array();
	int status = EXIT_USAGE;

	if (!attack_cases_load(&all, o->views, ids, nids, &err) ||
	    !attack_cases_mark(&all, o, !nids, &err)) {
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
		if (!c->unrun && !attack_run(&all, c, o, NULL, &err)) {
			progress_stop();
			verb_error("attack", &err);
			goto out;
		}
		if (interrupt_seen())
			break;
		if (c->unrun) {
			unrun++;
		} else {
			ran++;
			surprises += !c->result.passed;
		}
		if (o->json)
			json_array_append_new(rows, row_json(c));
		else
			attack_print_row(&all, c, o->markdown);
	}
	progress_stop();
	status = all.unreadable			 ? EXIT_USAGE
		 : surprises || interrupt_seen() ? EXIT_VIOLATION
						 : EXIT_EXPECTED;
	if (o->json) {
		json_t *j = json_pack(
			"{s:s, s:s, s:s, s:s?, s:s, s:o, s:I, s:I, s:I, s:I, s:b, s:O}", "engine",
			o->engine->name, "mode", o->views ? "views" : "gates", "judge", judge(o),
			"without", o->without, "x", option_x_name(o->x), "seed",
			number_json(o->seed), "ran", (json_int_t)ran, "surprises",
			(json_int_t)surprises, "not_expressible", (json_int_t)unrun, "unreadable",
			(json_int_t)all.unreadable, "interrupted", interrupt_seen(), "attacks",
			rows);

		if (attack_print_json(j) != EXIT_EXPECTED)
			status = EXIT_USAGE;
	} else {
		printf("\n%zu of %zu as expected", ran - surprises, all.count - unrun);
		if (unrun)
			printf("; %zu not expressible on %s%s", unrun, o->engine->name,
			       o->views ? " in views mode" : "");
		printf("\n");
		if (o->without)
			printf("without %s; mode %s; judged by: %s\n", o->without,
			       o->views ? "views" : "gates", judge(o));
	}
	if (interrupt_seen())
		attack_tell_interrupted(ran, all.count);
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
	return json ? attack_print_json(listed) : EXIT_EXPECTED;
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
		attack_print_cell(r->id);
		attack_print_cell(r->title);
		attack_print_cell(r->expected);
		attack_print_cell(r->got);
		printf("| %s | %s | %s |\n", r->kept ? "yes" : "**no**",
		       r->honest ? "yes" : "**no**", r->ok ? "ok" : "**surprise**");
		return;
	}
	attack_print_column(r->id, 7);
	attack_print_column(r->title, 52);
	attack_print_column(r->expected, 56);
	attack_print_column(r->got, 56);
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
		.views = o->views,
		.oracle = o->engine == &sim_engine ? o->oracle : ORACLE_OFF,
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
		if (attack_print_json(
			    json_pack("{s:o, s:s, s:I, s:I, s:b, s:O}", "module", text_json(module),
				      "x", option_x_name(o->x), "ran", (json_int_t)count,
				      "surprises", (json_int_t)(count - good), "interrupted",
				      interrupt_seen(), "attacks", list_json)) != EXIT_EXPECTED)
			good = 0;
	} else {
		printf("\n%zu of %zu as expected\n", good,
		       interrupt_seen() ? (nids ? (size_t)nids : all) : count);
	}
	json_decref(list_json);
	if (interrupt_seen())
		attack_tell_interrupted(count, nids ? (size_t)nids : all);
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
	OPT_TIMEOUT,
	OPT_ORACLE,
	OPT_NO_ORACLE,
	OPT_SEEDS,
	OPT_VCPUS,
	OPT_EVERY,
	OPT_ORACLE_ALONE,
	OPT_MODE,
	OPT_WITHOUT
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
		{ "seeds", required_argument, NULL, OPT_SEEDS },
		{ "vcpus", required_argument, NULL, OPT_VCPUS },
		{ "interrupt-every", optional_argument, NULL, OPT_EVERY },
		{ "x", required_argument, NULL, OPT_X },
		{ "mode", required_argument, NULL, OPT_MODE },
		{ "engine", required_argument, NULL, OPT_ENGINE },
		{ "timeout", required_argument, NULL, OPT_TIMEOUT },
		{ "oracle", no_argument, NULL, OPT_ORACLE },
		{ "no-oracle", no_argument, NULL, OPT_NO_ORACLE },
		{ "oracle-alone", no_argument, NULL, OPT_ORACLE_ALONE },
		{ "without", required_argument, NULL, OPT_WITHOUT },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct attack_options o = { .engines = { { &sim_engine }, 1 },
				    .seed = 1,
				    .seeds = ATTACK_SEEDS,
				    .oracle = ORACLE_MODEL };
	const char *module = NULL, *without = NULL;
	bool only_list = false, demo = false, x_given = false, seed_given = false;
	unsigned given = 0, judges = 0, withouts = 0;
	uint64_t timeout = 0, n = 0, every = 0;
	struct error err;
	char **ids;
	int nids, c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		given++;
		judges += c == OPT_ORACLE || c == OPT_NO_ORACLE || c == OPT_ORACLE_ALONE;
		switch (c) {
		case OPT_MODULE: module = optarg; break;
		case OPT_LIST: only_list = true; break;
		case OPT_DEMO: demo = true; break;
		case OPT_JSON: o.json = true; break;
		case OPT_ORACLE: o.oracle = ORACLE_MODEL; break;
		case OPT_NO_ORACLE: o.oracle = ORACLE_OFF; break;
		case OPT_ORACLE_ALONE: o.oracle = ORACLE_ALONE; break;
		case OPT_WITHOUT:
			without = optarg;
			withouts++;
			break;
		case OPT_MARKDOWN: o.markdown = true; break;
		case OPT_SEED:
			if (!option_number(optarg, UINT64_MAX, &o.seed))
				return verb_usage("attack", "--seed %s: not a number", optarg);
			seed_given = true;
			break;
		case OPT_SEEDS:
			if (!option_number(optarg, 100000, &n) || !n)
				return verb_usage("attack", "--seeds %s: 1 to 100000", optarg);
			o.seeds = (unsigned)n;
			break;
		case OPT_VCPUS:
			if (!option_number(optarg, SCENARIO_MAX_VCPUS, &n) || !n)
				return verb_usage("attack", "--vcpus %s: 1 to %u", optarg,
						  SCENARIO_MAX_VCPUS);
			o.vcpus = (unsigned)n;
			break;
		case OPT_EVERY:
			every = 2000;
			if (optarg && (!option_number(optarg, UINT64_MAX, &every) || !every))
				return verb_usage("attack", "--interrupt-every=%s: not a number",
						  optarg);
			break;
		case OPT_X:
			if (!option_x(optarg, &o.x) || o.x == GM_X_NOP)
				return verb_usage("attack", "--x %s: vmmcall, vmcall or out",
						  optarg);
			x_given = true;
			break;
		case OPT_MODE:
			if (!option_mode(optarg, &o.views))
				return verb_usage("attack", "--mode %s: gates or views", optarg);
			break;
		case OPT_ENGINE:
			if (!option_engines(optarg, &o.engines, &err))
				return verb_usage("attack", "%s", err.text);
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
	if (withouts > 1)
		return verb_usage("attack", "--without: once, with commas between the checks");
	if (judges > 1)
		return verb_usage("attack", "one of --oracle, --no-oracle and --oracle-alone");
	if (o.json && o.markdown)
		return verb_usage("attack", "--json or --markdown");
	if (without && !attack_is_without(without))
		return attack_without(without, argc, argv);
	if (without && o.oracle == ORACLE_MODEL)
		o.oracle = ORACLE_ALONE;
	o.without = without;
	ids = argv + optind;
	nids = argc - optind;
	if (!x_given)
		o.x = option_default_x(&o.engines);
	o.engine = o.engines.engine[0];
	if (!option_mode_fits(o.views, &o.engines, &err))
		return verb_usage("attack", "%s", err.text);
	if (o.views && (module || demo))
		return verb_usage("attack",
				  "--mode views: for the catalogue, not with --module or --demo");
	if (o.engines.count == 2 && (module || only_list || demo))
		return verb_usage("attack", "two engines: not with --module, --list or --demo");
	for (unsigned i = 0; i < o.engines.count && !only_list; i++)
		option_engine_note(o.engines.engine[i]);
	interrupt_catch();
	timeout_start((unsigned)timeout);
	if (demo)
		return nids || given > 1u + seed_given + x_given
			       ? verb_usage("attack", "--demo goes with --seed and --x only")
			       : attack_demo(&o);
	if (only_list)
		return module ? driver_list(o.json) : list(o.json, o.views, ids, nids);
	if (every)
		return demo || module || o.engine != &sim_engine || o.oracle == ORACLE_OFF
			       ? verb_usage("attack",
					    "--interrupt-every: the simulator's scenarios, "
					    "with the oracle")
			       : attack_every(&o, every, ids, nids);
	if (o.engines.count == 2)
		return attack_both(&o, ids, nids);
	return module ? driver(&o, module, ids, nids) : catalogue(&o, ids, nids);
}
