/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guardhouse attack --demo, which `make run` shows: one entry and one call-out told step by step,
 * the sample modules used honestly, then a short table of attacks.
 */
#include <stdio.h>
#include <string.h>

#include "cli/attack.h"
#include "cli/guest.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/summary.h"
#include "cli/verbs.h"

#define MAX_GUEST_BYTES (16u << 20)

/* Runs one guest of the corpus; *ok is whether it ended as it should. */
static bool run_guest(const struct attack_options *o, const char *name, bool tell, bool *ok,
		      struct error *err)
{
	struct vm_config cfg = {
		.engine = o->engine,
		.seed = o->seed,
		.x_kind = o->x,
		.console = tell ? stdout : NULL,
		.trace = tell ? stdout : NULL,
	};
	struct guest g = { 0 };
	struct vm_exit e;
	struct summary s;
	struct blob elf;
	char rel[64], path[CORPUS_PATH];
	bool built;

	*ok = false;
	snprintf(rel, sizeof(rel), "guests/%s.elf", name);
	if (!corpus_find(rel, path, err) || !blob_read(&elf, path, MAX_GUEST_BYTES, err))
		return false;
	built = guest_build(&g, path, &elf, &cfg, err);
	if (built) {
		vm_run(g.vm, &e);
		summary_take(&s, g.vm);
		*ok = e.reason == VM_EXIT_GUEST && e.status == 0;
		if (!tell && !interrupt_seen()) {
			const char *console = vm_console(g.vm), *line = console, *next;
			unsigned claims = 0;

			for (; line && *line; line = next ? next + 1 : NULL) {
				next = strchr(line, '\n');
				claims += !strncmp(line, "PASS: ", 6);
			}
			printf("  %-10s %4u claims checked, %6llu crossings, %4llu events refused: %s\n",
			       name, claims, (unsigned long long)s.crossings,
			       (unsigned long long)s.refused,
			       *ok ? "as expected" : "NOT AS EXPECTED");
		}
		if (!*ok && e.reason != VM_EXIT_GUEST && !interrupt_seen())
			printf("  %s: %s\n", name, e.message);
	}
	guest_free(&g);
	blob_free(&elf);
	return built;
}

static bool guests(const struct attack_options *o, size_t *ran, size_t *surprises,
		   struct error *err)
{
	static const char *const names[] = { "counter", "doorbell", "pair",  "traps",
					     "threads", "smp",	    "patch", "reload" };
	bool ok;

	printf("1. A guarded module is entered, calls out, and comes home. Each crossing is told:\n"
	       "   who, verdict, the view before and after, the word exchanged on the stack.\n\n");
	if (!run_guest(o, "tour", true, &ok, err))
		return false;
	if (interrupt_seen())
		return true;
	++*ran;
	*surprises += !ok;
	printf("\n2. Sample modules under guests that use them honestly and also try tricks:\n\n");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !interrupt_seen(); i++) {
		if (!run_guest(o, names[i], false, &ok, err))
			return false;
		if (interrupt_seen())
			break;
		++*ran;
		*surprises += !ok;
	}
	return true;
}

/* One of each kind; the whole catalogue is `guardhouse attack`. */
static char *const shown[] = { "C0",  "E2", "E3", "E4", "E7", "E8", "E9", "E10",
			       "E12", "R3", "R4", "R5", "R7", "I1", "I7", "N1" };

static int interrupted(size_t guests_ran, size_t attacks_ran, size_t surprises)
{
	fflush(stdout);
	fprintf(stderr,
		"guardhouse attack: interrupted after %zu guests and %zu attacks, %zu surprises\n",
		guests_ran, attacks_ran, surprises);
	return EXIT_VIOLATION;
}

int attack_demo(const struct attack_options *o)
{
	struct attack_cases all;
	struct error err;
	size_t surprises = 0, ran_guests = 0, ran = 0;

	memset(&all, 0, sizeof(all));
	if (!guests(o, &ran_guests, &surprises, &err))
		return verb_error("attack", &err);
	if (interrupt_seen())
		return interrupted(ran_guests, ran, surprises);
	printf("\n3. Attacks, each by guest code on the simulated CPU (guardhouse attack runs all):\n\n");
	if (!attack_cases_load(&all, false, shown, (int)(sizeof(shown) / sizeof(shown[0])), &err)) {
		attack_cases_free(&all);
		return verb_error("attack", &err);
	}
	attack_print_header(&all, false);
	for (size_t i = 0; i < all.count && !interrupt_seen(); i++) {
		if (!attack_run(&all, &all.item[i], o, NULL, &err)) {
			attack_cases_free(&all);
			return verb_error("attack", &err);
		}
		if (interrupt_seen())
			break;
		attack_print_row(&all, &all.item[i], false);
		surprises += !all.item[i].result.passed;
		ran++;
	}
	attack_cases_free(&all);
	if (interrupt_seen())
		return interrupted(ran_guests, ran, surprises);
	printf("\n%zu attacks and flows, %zu surprises\n", ran, surprises);
	return surprises ? EXIT_VIOLATION : EXIT_EXPECTED;
}
