/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guardhouse run: a guest image, a scenario, or a real driver under the hosted kernel. What a file
 * is, its first bytes say, not its name.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/corpus.h"
#include "cli/guest.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/placement.h"
#include "cli/progress.h"
#include "cli/run.h"
#include "cli/summary.h"
#include "cli/verbs.h"
#include "hosted/hosted.h"
#include "scenario/scenario.h"

#define MAX_INPUT_BYTES (64u << 20)

static void help(void)
{
	printf("usage: guardhouse run GUEST|SCENARIO [OPTION]...\n"
	       "       guardhouse run --module KO [OPTION]...\n\n"
	       "Runs a guest image or a scenario with its modules, guarded; or a kernel module file as\n"
	       "a distribution ships it, under the hosted kernel. A bare name (counter) is looked up\n"
	       "in the corpus.\n\n"
	       "  --vcpus N     so many vCPUs (default: what the input asks for)\n"
	       "  --seed S      schedule of the vCPUs (default 1)\n"
	       "  --log FILE    write the verdict log there\n"
	       "  --json        report in JSON\n"
	       "  --oracle      a second judge watches; engine sim only (docs/oracle.md)\n"
	       "  --trace       tell every crossing: who, verdict, word exchanged, views\n"
	       "  --x KIND      crossing instruction: vmmcall (default; kvm: out), vmcall, out, nop\n"
	       "  --mode MODE   gates (default): modules are wrapped. views: they stay as they are,\n"
	       "                and every crossing is an execute fault (docs/semantics.md)\n"
	       "  --budget N    stop after N guest instructions\n"
	       "  --timeout S   stop after S seconds\n"
	       "  --arg TEXT    for a guest, as a string in its mailbox\n" PLACEMENT_HELP
	       "  --engine E    what runs the guest: sim (default) or kvm\n"
	       "  --engine A,B  run on both, then compare the verdict logs; --log writes FILE.A\n"
	       "                and FILE.B. Exit code 1 also if they differ, or if not one line\n"
	       "                could be compared\n");
}

FILE *run_open_out(const struct run_options *o)
{
	return o->json ? stderr : progress_stdout();
}

void run_close_out(FILE *f)
{
	if (f == stdout || f == stderr)
		fflush(f);
	else
		fclose(f); /* NOLINT(cert-err33-c): nothing is lost that stdout does not tell */
}

int run_print_json(json_t *j)
{
	char *text = json_dumps(j, JSON_INDENT(2) | JSON_ENSURE_ASCII);

	json_decref(j);
	if (!text) {
		fprintf(stderr, "guardhouse run: out of memory\n");
		return EXIT_USAGE;
	}
	puts(text);
	free(text);
	return EXIT_EXPECTED;
}

/* ---- guests ---- */

/* Console bytes may be anything: JSON gets them as Latin-1. */
static json_t *json_bytes(const char *s)
{
	size_t len = strlen(s), n = 0;
	char *utf8 = malloc(2 * len + 1);
	json_t *j;

	if (!utf8)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)s[i];

		if (c >= 0x80)
			utf8[n++] = (char)(0xc0 | c >> 6);
		utf8[n++] = (char)(c >= 0x80 ? 0x80 | (c & 0x3f) : c);
	}
	j = json_stringn(utf8, n);
	free(utf8);
	return j;
}

static int guest_json(const struct run_options *o, const struct guest *g, const struct vm_exit *e,
		      const struct summary *s, bool ok)
{
	char rip[24];

	snprintf(rip, sizeof(rip), "0x%" PRIx64, e->rip);
	return run_print_json(json_pack(
		"{s:o, s:s, s:s, s:s, s:o, s:i, s:{s:s, s:i, s:i, s:s, s:s}, s:I, s:I, s:o, "
		"s:{s:I, s:I}, s:o, s:o, s:b}",
		"input", text_json(o->input), "kind", "guest", "engine", o->engine->name, "x",
		option_x_name(o->x), "seed", number_json(o->seed), "vcpus", (int)g->vcpus, "exit",
		"reason", exit_reason_name(e->reason), "status", e->status, "vcpu", (int)e->vcpu,
		"rip", rip, "message", e->message, "crossings", (json_int_t)s->crossings, "refused",
		(json_int_t)s->refused, "events", summary_json(s), "log", "lines",
		(json_int_t)s->lines, "lost", (json_int_t)s->lost, "console",
		json_bytes(vm_console(g->vm)), "placement", placement_json(g->vm, &o->placement),
		"ok", ok));
}

static int run_guest(const struct run_options *o, const struct blob *elf)
{
	FILE *to = run_open_out(o);
	struct vm_config cfg = {
		.engine = o->engine,
		.vcpus = o->vcpus,
		.seed = o->seed,
		.budget = o->budget,
		.x_kind = o->x,
		.console = o->json ? NULL : to,
		.trace = o->trace ? to : NULL,
		.oracle = o->oracle,
	};
	struct guest g = { .views = o->views };
	struct vm_exit e;
	char site[96];
	struct summary s;
	struct error err;
	int status = EXIT_USAGE;
	bool ok;

	if (!guest_build(&g, o->input, elf, &cfg, &err)) {
		verb_error("run", &err);
		goto out;
	}
	if (o->arg && !vm_set_mailbox(g.vm, o->arg, strlen(o->arg) + 1, &err)) {
		verb_error("run", &err);
		goto out;
	}
	if (o->placed && !vm_place(g.vm, &o->placement, &err)) {
		verb_error("run", &err);
		goto out;
	}
	progress_start("the guest runs (Ctrl-C ends it)");
	vm_run(g.vm, &e);
	progress_stop();
	fflush(to);
	if (o->log && !vm_log_write(g.vm, o->log, &err)) {
		verb_error("run", &err);
		goto out;
	}
	ok = e.reason == VM_EXIT_GUEST && e.status == 0;
	status = ok ? EXIT_EXPECTED : EXIT_VIOLATION;
	summary_take(&s, g.vm);
	if (o->json) {
		if (guest_json(o, &g, &e, &s, ok) != EXIT_EXPECTED)
			status = EXIT_USAGE;
		goto out;
	}
	printf("--- %s: ", o->input);
	if (e.reason == VM_EXIT_GUEST)
		printf("exit status %d", e.status);
	else
		printf("%s", exit_reason_name(e.reason));
	printf(" (%u vCPU%s, seed %" PRIu64 ", X %s)\n", g.vcpus, g.vcpus == 1 ? "" : "s", o->seed,
	       option_x_name(o->x));
	summary_print(&s, stdout);
	summary_oracle(g.vm, stdout);
	placement_print(g.vm, &o->placement, stdout);
	if (e.reason != VM_EXIT_GUEST) {
		fflush(stdout);
		if (e.reason == VM_EXIT_HOST)
			fprintf(stderr,
				"guardhouse run: vCPU %u at %s: a host call, which only a scenario, "
				"a driver or a benchmark answers\n",
				e.vcpu, vm_symbolize(g.vm, e.rip, site, sizeof(site)));
		else
			fprintf(stderr, "guardhouse run: %s\n%s", e.message,
				e.reason == VM_EXIT_ORACLE ? vm_oracle_failure(g.vm) : "");
		summary_last_lines(g.vm, 8, stderr);
	}
out:
	guest_free(&g);
	run_close_out(to);
	return status;
}

/* ---- scenarios ---- */

static int scenario_json(const struct run_options *o, const struct scenario *sc,
			 const struct scenario_result *r)
{
	json_t *failures = json_array();

	for (unsigned i = 0; i < r->failures && i < SCN_MAX_FAILURES; i++)
		json_array_append_new(failures,
				      json_pack("{s:i, s:s}", "line", (int)r->failure[i].line,
						"text", r->failure[i].text));
	return run_print_json(
		json_pack("{s:o, s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:I, s:i, s:i, s:o, "
			  "s:s, s:b}",
			  "input", text_json(o->input), "kind", "scenario", "id", scenario_id(sc),
			  "title", scenario_title(sc), "x", option_x_name(o->x), "seed",
			  number_json(o->seed), "expected", r->expected, "got", r->got, "crossings",
			  (json_int_t)r->crossings, "checks", (int)r->checks, "failures",
			  (int)r->failures, "failure", failures, "exit", r->exit, "ok", r->passed));
}

static int run_scenario(const struct run_options *o)
{
	FILE *to = run_open_out(o);
	struct scenario_options so = {
		.engine = o->engine,
		.seed = o->seed,
		.budget = o->budget,
		.vcpus = o->vcpus,
		.x = o->x,
		.views = o->views,
		.trace = o->trace ? to : NULL,
		.log = o->log,
		.oracle = o->oracle,
	};
	struct scenario *sc = NULL;
	struct scenario_result r;
	char corpus[CORPUS_PATH];
	struct error err;
	int status = EXIT_USAGE;

	if (!scenario_load(o->input, &sc, &err) ||
	    !corpus_folder("puppet/puppet.elf", corpus, &err)) {
		verb_error("run", &err);
		goto out;
	}
	so.corpus = corpus;
	progress_start("the scenario runs (Ctrl-C ends it)");
	if (!scenario_run(sc, &so, &r, &err)) {
		progress_stop();
		verb_error("run", &err);
		goto out;
	}
	progress_stop();
	fflush(to);
	status = r.passed ? EXIT_EXPECTED : EXIT_VIOLATION;
	if (o->json) {
		if (scenario_json(o, sc, &r) != EXIT_EXPECTED)
			status = EXIT_USAGE;
		goto out;
	}
	for (unsigned i = 0; i < r.failures && i < SCN_MAX_FAILURES; i++)
		printf("%s:%u: %s\n", o->input, r.failure[i].line, r.failure[i].text);
	if (r.failures > SCN_MAX_FAILURES)
		printf("%u more failures\n", r.failures - SCN_MAX_FAILURES);
	if (r.exit[0])
		printf("the run ended: %s\n", r.exit);
	fputs(r.oracle, stdout);
	printf("--- %s %s: %s; expected %s; got %s; %u checks, %" PRIu64 " crossings\n",
	       scenario_id(sc), scenario_title(sc), r.passed ? "as expected" : "NOT AS EXPECTED",
	       r.expected, r.got, r.checks, r.crossings);
out:
	scenario_free(sc);
	run_close_out(to);
	return status;
}

/* ---- a real driver ---- */

static json_t *counts_json(const struct hosted_counts *c)
{
	json_t *j = json_object();

	for (size_t i = 0; i < c->n; i++)
		json_object_set_new(j, c->v[i].name, json_integer((json_int_t)c->v[i].count));
	return j;
}

static json_t *hosted_json(const struct run_options *o, const struct hosted_result *r)
{
	json_t *j = json_pack("{s:o, s:s, s:s, s:o, s:s}", "input", text_json(o->input), "kind",
			      "module", "x", option_x_name(o->x), "seed", number_json(o->seed),
			      "module", r->module);
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "crossings", r->crossings },
		{ "callbacks", r->callbacks },
		{ "departures", r->departures },
		{ "reads", r->reads },
		{ "writes", r->writes },
		{ "outside_reads", r->outside_reads },
		{ "outside_ones", r->outside_ones },
		{ "outside_writes", r->outside_writes },
		{ "outside_written", r->outside_written },
		{ "status_inside", r->status_inside },
		{ "status_outside", r->status_outside },
		{ "packets_sent", r->packets_sent },
		{ "packets_received", r->packets_received },
		{ "faults", r->faults },
	};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_set_new(j, numbers[i].name, json_integer((json_int_t)numbers[i].value));
	json_object_set_new(j, "probe_called", json_boolean(r->probe_called));
	json_object_set_new(j, "init_result", json_integer(r->init_result));
	json_object_set_new(j, "probe_result", json_integer(r->probe_result));
	json_object_set_new(j, "open_result", json_integer(r->open_result));
	json_object_set_new(j, "entries", counts_json(&r->entries));
	json_object_set_new(j, "imports", counts_json(&r->imports));
	json_object_set_new(j, "unmodelled", counts_json(&r->unmodelled));
	json_object_set_new(j, "verdicts", counts_json(&r->verdicts));
	json_object_set_new(j, "exit",
			    json_pack("{s:s, s:s}", "reason", exit_reason_name(r->exit.reason),
				      "message", r->exit.message));
	json_object_set_new(j, "ok", json_boolean(r->ok));
	return j;
}

static int run_module(const struct run_options *o)
{
	FILE *to = run_open_out(o);
	struct hosted_options ho = {
		.module = o->input,
		.engine = o->engine,
		.seed = o->seed,
		.budget = o->budget,
		.x = o->x,
		.views = o->views,
		.oracle = o->oracle,
		.vcpus = o->vcpus,
		.console = o->json ? NULL : to,
		.trace = o->trace ? to : NULL,
		.log = o->log,
	};
	struct hosted_result r;
	struct error err;
	int status = EXIT_USAGE;
	bool ran;

	memset(&r, 0, sizeof(r));
	progress_start("the driver runs (Ctrl-C ends it)");
	ran = hosted_run(&ho, &r, &err);
	progress_stop();
	fflush(to);
	if (!ran) {
		verb_error("run", &err);
		goto out;
	}
	status = r.ok ? EXIT_EXPECTED : EXIT_VIOLATION;
	if (o->json) {
		if (run_print_json(hosted_json(o, &r)) != EXIT_EXPECTED)
			status = EXIT_USAGE;
		goto out;
	}
	hosted_print(&r, stdout);
	if (r.exit.reason != VM_EXIT_GUEST && r.exit.message[0]) {
		fflush(stdout);
		fprintf(stderr, "guardhouse run: %s\n", r.exit.message);
	}
out:
	hosted_result_free(&r);
	run_close_out(to);
	return status;
}

/* ---- which of them ---- */

static int run_file(const struct run_options *o)
{
	struct blob file;
	struct error err;
	int status;

	if (o->module && o->arg)
		return verb_usage("run", "--arg %s: only a guest takes it", o->arg);
	if (o->module && o->placed)
		return verb_usage("run", "--placement: only a guest takes it");
	if (o->module)
		return o->engines.count == 2 ? run_both(o, RUN_MODULE, NULL) : run_module(o);
	if (!blob_read(&file, o->input, MAX_INPUT_BYTES, &err))
		return verb_error("run", &err);
	if (file.size >= 4 && !memcmp(file.data, "\177ELF", 4)) {
		if (file.size > 17 && file.data[16] == 1 && !file.data[17]) { /* ET_REL */
			error_set(
				&err,
				"%s: offset 0x10: a relocatable object is no guest; a driver runs "
				"by --module %s",
				o->input, o->input);
			status = verb_error("run", &err);
		} else {
			status = o->engines.count == 2 ? run_both(o, RUN_GUEST, &file)
						       : run_guest(o, &file);
		}
		blob_free(&file);
		return status;
	}
	if (!file.size) {
		error_set(&err, "%s: offset 0x0: the file is empty", o->input);
		status = verb_error("run", &err);
	} else if (o->placed) {
		status = verb_usage("run", "--placement: only a guest takes it");
	} else if (o->arg) {
		status = verb_usage("run", "--arg %s: only a guest takes it", o->arg);
	} else {
		status = o->engines.count == 2 ? run_both(o, RUN_SCENARIO, NULL) : run_scenario(o);
	}
	blob_free(&file);
	return status;
}

/* A bare name that is no file: a guest or scenario of the corpus. */
static const char *find_input(const char *name, char path[CORPUS_PATH])
{
	static const char *const patterns[] = { "guests/%s.elf", "guests/%s", "scenarios/%s.scn",
						"scenarios/%s" };
	char rel[256];
	struct stat st;

	if (strchr(name, '/') || (!stat(name, &st) && !S_ISDIR(st.st_mode)))
		return name;
	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		if (snprintf(rel, sizeof(rel), patterns[i], name) < (int)sizeof(rel) &&
		    corpus_find(rel, path, NULL))
			return path;
#pragma GCC diagnostic pop
	}
	return name;
}

enum {
	OPT_MODULE = 256,
	OPT_VCPUS,
	OPT_SEED,
	OPT_LOG,
	OPT_JSON,
	OPT_TRACE,
	OPT_X,
	OPT_BUDGET,
	OPT_ENGINE,
	OPT_TIMEOUT,
	OPT_ARG,
	OPT_ORACLE,
	OPT_PLACEMENT,
	OPT_NO_ORACLE,
	OPT_MODE
};

int verb_run(int argc, char **argv)
{
	static const struct option options[] = {
		{ "module", required_argument, NULL, OPT_MODULE },
		{ "vcpus", required_argument, NULL, OPT_VCPUS },
		{ "seed", required_argument, NULL, OPT_SEED },
		{ "log", required_argument, NULL, OPT_LOG },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "trace", no_argument, NULL, OPT_TRACE },
		{ "x", required_argument, NULL, OPT_X },
		{ "mode", required_argument, NULL, OPT_MODE },
		{ "budget", required_argument, NULL, OPT_BUDGET },
		{ "engine", required_argument, NULL, OPT_ENGINE },
		{ "timeout", required_argument, NULL, OPT_TIMEOUT },
		{ "arg", required_argument, NULL, OPT_ARG },
		{ "placement", required_argument, NULL, OPT_PLACEMENT },
		{ "oracle", no_argument, NULL, OPT_ORACLE },
		{ "no-oracle", no_argument, NULL, OPT_NO_ORACLE },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct run_options o = { .engines = { { &sim_engine }, 1 }, .seed = 1 };
	const char *paths[3];
	char path[CORPUS_PATH];
	char logs[2][CORPUS_PATH];
	const char *placement = NULL;
	struct error err;
	uint64_t n, timeout = 0;
	bool x_given = false;
	int c, status;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		switch (c) {
		case OPT_MODULE:
			if (o.input)
				return verb_usage("run", "one --module only");
			o.input = optarg;
			o.module = true;
			break;
		case OPT_VCPUS:
			if (!option_number(optarg, GH_MAX_VCPUS, &n) || !n)
				return verb_usage("run", "--vcpus %s: 1 to %u", optarg,
						  GH_MAX_VCPUS);
			o.vcpus = (unsigned)n;
			break;
		case OPT_SEED:
			if (!option_number(optarg, UINT64_MAX, &o.seed))
				return verb_usage("run", "--seed %s: not a number", optarg);
			break;
		case OPT_LOG: o.log = optarg; break;
		case OPT_JSON: o.json = true; break;
		case OPT_ORACLE: o.oracle = ORACLE_MODEL; break;
		case OPT_NO_ORACLE: o.oracle = ORACLE_OFF; break;
		case OPT_TRACE: o.trace = true; break;
		case OPT_X:
			x_given = true;
			if (!option_x(optarg, &o.x))
				return verb_usage("run", "--x %s: vmmcall, vmcall, out or nop",
						  optarg);
			break;
		case OPT_MODE:
			if (!option_mode(optarg, &o.views))
				return verb_usage("run", "--mode %s: gates or views", optarg);
			break;
		case OPT_BUDGET:
			if (!option_number(optarg, UINT64_MAX, &o.budget) || !o.budget)
				return verb_usage("run", "--budget %s: not a number", optarg);
			break;
		case OPT_ENGINE:
			if (!option_engines(optarg, &o.engines, &err))
				return verb_usage("run", "%s", err.text);
			break;
		case OPT_TIMEOUT:
			if (!option_number(optarg, MAX_TIMEOUT, &timeout) || !timeout)
				return verb_usage("run", "--timeout %s: 1 to %u seconds", optarg,
						  MAX_TIMEOUT);
			break;
		case OPT_ARG: o.arg = optarg; break;
		case OPT_PLACEMENT: placement = optarg; break;
		case 'h': help(); return EXIT_EXPECTED;
		case ':': return verb_usage("run", "%s needs a value", argv[optind - 1]);
		default: return verb_usage("run", "no option %s", argv[optind - 1]);
		}
	}
	if (!o.input && optind < argc)
		o.input = find_input(argv[optind++], path);
	if (!o.input)
		return verb_usage("run", "which guest, scenario or --module?");
	if (optind < argc)
		return verb_usage("run", "one input only, not also %s", argv[optind]);
	if (placement) {
		o.placed = true;
		placement_default(&o.placement);
		o.placement.seed = o.seed;
		if (!placement_parse(placement, &o.placement, &err))
			return verb_usage("run", "%s", err.text);
	}
	if (!x_given)
		o.x = option_default_x(&o.engines);
	o.engine = o.engines.engine[0];
	if (!option_mode_fits(o.views, &o.engines, &err))
		return verb_usage("run", "%s", err.text);
	if (o.oracle && (o.engines.count == 2 || o.engine != &sim_engine))
		return verb_usage("run", "--oracle goes with engine sim alone");
	paths[0] = o.input;
	paths[1] = o.log;
	paths[2] = NULL;
	if (o.engines.count == 2) {
		if (o.trace || o.placed)
			return verb_usage("run", "%s goes with one engine",
					  o.trace ? "--trace" : "--placement");
		if (!run_both_logs(&o, logs, &err))
			return verb_error("run", &err);
		paths[1] = o.log ? logs[0] : NULL;
		paths[2] = o.log ? logs[1] : NULL;
	}
	if (!option_outputs(paths, 1, 3, &err))
		return verb_error("run", &err);
	for (unsigned i = 1; i < 3; i++)
		if (paths[i] && !blob_writable(paths[i], &err))
			return verb_error("run", &err);
	for (unsigned i = 0; i < o.engines.count; i++)
		option_engine_note(o.engines.engine[i]);
	interrupt_catch();
	timeout_start((unsigned)timeout);
	status = run_file(&o);
	if (timeout_seen() && status != EXIT_EXPECTED)
		fprintf(stderr, "guardhouse run: the --timeout of %u s is over\n",
			(unsigned)timeout);
	return status;
}
