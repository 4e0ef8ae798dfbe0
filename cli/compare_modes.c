/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guardhouse compare-modes: the same work in both modes, wrapped (gates) and unwrapped (views), side
 * by side. The sample modules are driven by the guest `modes`, which counts its own calls and the
 * call-outs that reach it; a driver by the hosted kernel, which does so too. What is counted of the
 * guard comes from the verdict log, so the two must agree.
 */
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/corpus.h"
#include "cli/guest.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "corpus/guests/modes.h"
#include "hosted/hosted.h"

#define GUEST "guests/modes.elf"
#define DRIVER                                                                                     \
	"../../debian/e1000e.ko" /* where `make corpus-debian` puts it, from the built corpus */
#define MAX_GUEST_BYTES (64u << 20)
#define MODES 2

static const char *const samples[] = { "counter", "doorbell", "pair_a", "pair_b", "target" };
#define SAMPLES (sizeof(samples) / sizeof(samples[0]))

/* One module in one mode. */
struct cost {
	uint64_t calls, outs, tails; /* as the guest counted; a driver: entries, call-outs, 0 */
	uint64_t crossings, by_x, by_fault, departures, refused; /* from the log */
	uint64_t events, core_ns;				 /* of the whole run */
	uint64_t time; /* simulated: a sample's rounds, a driver's whole run */
	bool ok;
};

static void help(void)
{
	printf("usage: guardhouse compare-modes [MODULE]... [OPTION]...\n\n"
	       "Runs the same work on a module twice, wrapped (gates) and as it is (views), and prints\n"
	       "crossings, how they showed, and what they cost. MODULE is a sample (counter, doorbell,\n"
	       "pair_a, pair_b, target) or the file of a driver, as for run --module. Default: all\n"
	       "samples, and e1000e if `make corpus-debian` has fetched it.\n\n"
	       "  CALLS, OUTS  entries by the kernel and call-outs that reached it, as it counted\n"
	       "  X, FAULTS    crossings that an X showed, and those that a refused fetch showed\n"
	       "  EVENTS       what the core judged, and NS, the host's time in it, for each\n"
	       "  TIME         simulated time, for each call\n\n"
	       "  --json       the same, with all numbers\n"
	       "  --seed S     schedule (default 1)\n"
	       "  --timeout S  stop after S seconds\n\n"
	       "Exit codes: 0 both modes ran as expected, 1 one did not, 2 bad input.\n");
}

static void count_lines(const struct vm *vm, const char *module, struct cost *c)
{
	for (size_t i = 0; i < vm_log_count(vm); i++) {
		const struct guard_line *l = &vm_log_line(vm, i)->line;

		if (l->module >= GUARD_MAX_MODULES || strcmp(vm_module_name(vm, l->module), module))
			continue;
		c->departures += l->event == GUARD_DEPART;
		if (l->event > GUARD_ENTER_RETURN)
			continue;
		c->crossings++;
		c->by_x += l->cause == GUARD_CAUSE_X;
		c->by_fault += l->cause == GUARD_CAUSE_FETCH;
		c->refused += l->verdict != GUARD_V_OK;
	}
}

/* What the guest has left in its mailbox about this module. */
static bool read_row(struct vm *vm, const char *module, struct cost *c)
{
	struct modes_row row;
	struct guard_cpu cpu;
	uint64_t mailbox;

	/* the boot page does not move: its address is in the direct map from the start */
	vm_get_cpu(vm, 0, &cpu);
	if (!vm_symbol_address(vm, "boot", &mailbox) || !vm_read_u(vm, 0, mailbox, &mailbox, 8) ||
	    !vm_read_u(vm, 0, mailbox + offsetof(struct gh_boot, mailbox), &mailbox, 8))
		return false;
	for (unsigned i = 0; i < MODES_MAX; i++) {
		if (!vm_read_u(vm, 0, mailbox + MODES_ROWS + i * sizeof(row), &row, sizeof(row)))
			return false;
		if (strncmp(row.name, module, sizeof(row.name)) != 0)
			continue;
		c->calls = row.calls;
		c->outs = row.outs;
		c->tails = row.tails;
		c->time = row.time;
		return true;
	}
	return false;
}

static bool run_sample(const char *path, const struct blob *elf, const char *module, uint64_t seed,
		       bool views, struct cost *c, struct error *err)
{
	struct vm_config cfg = {
		.engine = &sim_engine, .seed = seed, .x_kind = GM_X_VMMCALL, .measure = true
	};
	char mailbox[MODES_ROWS + MODES_MAX * sizeof(struct modes_row)] = "";
	struct guest g = { .views = views };
	struct vm_exit e;
	bool ran;

	snprintf(mailbox, MODES_ROWS, "%s", module);
	ran = guest_build(&g, path, elf, &cfg, err) &&
	      vm_set_mailbox(g.vm, mailbox, sizeof(mailbox), err);
	if (ran) {
		vm_run(g.vm, &e);
		count_lines(g.vm, module, c);
		c->events = vm_cost(g.vm).events;
		c->core_ns = vm_cost(g.vm).ns;
		c->ok = e.reason == VM_EXIT_GUEST && e.status == 0 && read_row(g.vm, module, c) &&
			!c->refused;
	}
	guest_free(&g);
	return ran;
}

static uint64_t sum(const struct hosted_counts *counts)
{
	uint64_t n = 0;

	for (size_t i = 0; i < counts->n; i++)
		n += counts->v[i].count;
	return n;
}

static bool run_driver(const char *path, uint64_t seed, bool views, struct cost *c,
		       struct error *err)
{
	struct hosted_options o = { .module = path,
				    .engine = &sim_engine,
				    .seed = seed,
				    .x = GM_X_VMMCALL,
				    .views = views,
				    .measure = true };
	struct hosted_result r;
	bool ran = hosted_run(&o, &r, err);

	if (ran) {
		*c = (struct cost){ .calls = sum(&r.entries),
				    .outs = sum(&r.imports),
				    .crossings = r.crossings,
				    .by_x = r.by_x,
				    .by_fault = r.by_fault,
				    .departures = r.departures,
				    .events = r.cost.events,
				    .core_ns = r.cost.ns,
				    .time = r.time,
				    .ok = r.ok };
	}
	hosted_result_free(&r);
	return ran;
}

/* ---- output ---- */

static void print_row(const char *name, const char *mode, const struct cost *c)
{
	printf("%-12s %-5s %7" PRIu64 " %7" PRIu64 " %9" PRIu64 " %7" PRIu64 " %7" PRIu64
	       " %7" PRIu64 " %8" PRIu64 " %6" PRIu64 " %9" PRIu64 "%s\n",
	       name, mode, c->calls, c->outs, c->crossings, c->by_x, c->by_fault, c->departures,
	       c->events, c->events ? c->core_ns / c->events : 0, c->calls ? c->time / c->calls : 0,
	       c->ok ? "" : "  NOT AS EXPECTED");
}

static json_t *cost_json(const struct cost *c)
{
	const struct {
		const char *name;
		uint64_t value;
	} numbers[] = {
		{ "calls", c->calls },
		{ "callouts", c->outs },
		{ "tail_callouts", c->tails },
		{ "crossings", c->crossings },
		{ "by_x", c->by_x },
		{ "by_fault", c->by_fault },
		{ "departures", c->departures },
		{ "refused", c->refused },
		{ "events", c->events },
		{ "core_ns", c->core_ns },
		{ "simulated_time", c->time },
	};
	json_t *j = json_object();

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_set_new(j, numbers[i].name, number_json(numbers[i].value));
	json_object_set_new(j, "ok", json_boolean(c->ok));
	return j;
}

/* The part of a path that names a driver. */
static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool is_sample(const char *name)
{
	for (size_t i = 0; i < SAMPLES; i++)
		if (!strcmp(samples[i], name))
			return true;
	return false;
}

struct compare {
	char guest[CORPUS_PATH];
	struct blob elf;
	uint64_t seed;
	json_t *rows; /* NULL: a table */
	bool surprise;
};

static bool compare(struct compare *all, const char *module, struct error *err)
{
	struct cost c[MODES] = { { 0 } };
	char what[100];

	for (unsigned views = 0; views < MODES; views++) {
		bool ran;

		snprintf(what, sizeof(what), "%.60s in %s mode", base_name(module),
			 option_mode_name(views));
		progress_set(what);
		ran = is_sample(module) ? run_sample(all->guest, &all->elf, module, all->seed,
						     views, &c[views], err)
					: run_driver(module, all->seed, views, &c[views], err);
		if (!ran)
			return false;
		if (interrupt_seen())
			c[views].ok = false;
		all->surprise |= !c[views].ok;
	}
	if (all->rows)
		json_array_append_new(
			all->rows, json_pack("{s:o, s:o, s:o}", "module", text_json(module),
					     "gates", cost_json(&c[0]), "views", cost_json(&c[1])));
	else
		for (unsigned views = 0; views < MODES; views++)
			print_row(views ? "" : base_name(module), option_mode_name(views),
				  &c[views]);
	return true;
}

static int finish(struct compare *all)
{
	char *text;

	if (all->rows) {
		text = json_dumps(all->rows, JSON_INDENT(2));
		if (!text) {
			fprintf(stderr, "guardhouse compare-modes: out of memory\n");
			return EXIT_USAGE;
		}
		puts(text);
		free(text);
	}
	if (interrupt_seen())
		fprintf(stderr, "guardhouse compare-modes: %s\n",
			timeout_seen() ? "--timeout is over" : "interrupted");
	return all->surprise || interrupt_seen() ? EXIT_VIOLATION : EXIT_EXPECTED;
}

static int compare_modules(struct compare *all, char *const modules[], int n)
{
	char driver[CORPUS_PATH];
	struct error err;
	bool ok = true;

	if (!corpus_find(GUEST, all->guest, &err) ||
	    !blob_read(&all->elf, all->guest, MAX_GUEST_BYTES, &err))
		return verb_error("compare-modes", &err);
	if (!all->rows)
		printf("%-12s %-5s %7s %7s %9s %7s %7s %7s %8s %6s %9s\n", "MODULE", "MODE",
		       "CALLS", "OUTS", "CROSSINGS", "X", "FAULTS", "DEPARTS", "EVENTS", "NS",
		       "TIME");
	progress_start("both modes");
	for (int i = 0; i < n && ok && !interrupt_seen(); i++)
		ok = compare(all, modules[i], &err);
	for (size_t i = 0; !n && i < SAMPLES && ok && !interrupt_seen(); i++)
		ok = compare(all, samples[i], &err);
	if (!n && ok && !interrupt_seen()) {
		if (corpus_find(DRIVER, driver, NULL))
			ok = compare(all, driver, &err);
		else
			fprintf(stderr, "guardhouse compare-modes: e1000e is left out: `make "
					"corpus-debian` fetches it\n");
	}
	progress_stop();
	blob_free(&all->elf);
	return ok ? finish(all) : verb_error("compare-modes", &err);
}

int verb_compare_modes(int argc, char **argv)
{
	enum { OPT_JSON = 256, OPT_SEED, OPT_TIMEOUT };
	static const struct option options[] = {
		{ "json", no_argument, NULL, OPT_JSON },
		{ "seed", required_argument, NULL, OPT_SEED },
		{ "timeout", required_argument, NULL, OPT_TIMEOUT },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct compare all = { .seed = 1 };
	uint64_t timeout = 0;
	bool json = false;
	int c, status;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		switch (c) {
		case OPT_JSON: json = true; break;
		case OPT_SEED:
			if (!option_number(optarg, UINT64_MAX, &all.seed))
				return verb_usage("compare-modes", "--seed %s: not a number",
						  optarg);
			break;
		case OPT_TIMEOUT:
			if (!option_number(optarg, MAX_TIMEOUT, &timeout) || !timeout)
				return verb_usage("compare-modes", "--timeout %s: 1 to %u seconds",
						  optarg, MAX_TIMEOUT);
			break;
		case 'h': help(); return EXIT_EXPECTED;
		case ':': return verb_usage("compare-modes", "%s needs a value", argv[optind - 1]);
		default: return verb_usage("compare-modes", "no option %s", argv[optind - 1]);
		}
	}
	for (int i = optind; i < argc; i++)
		if (!is_sample(argv[i]) && !strchr(argv[i], '.') && !strchr(argv[i], '/'))
			return verb_usage("compare-modes", "%s: no sample module, nor a file",
					  argv[i]);
	all.rows = json ? json_array() : NULL;
	interrupt_catch();
	timeout_start((unsigned)timeout);
	status = compare_modules(&all, argv + optind, argc - optind);
	json_decref(all.rows);
	return status;
}
