// SPDX-License-Identifier: GPL-2.0-only
/*
 * Scenarios for the puppet in the simulator, the oracle beside the core: an input is the binary form.
 * A find is a guarantee that breaks, or a difference to the reference model, in the input's own VM:
 * what is seen in one that went back to its mark is played once more in a new one, and both must
 * agree. A guest that kills the engine is that engine's limit and no find.
 *
 *   FUZZ_GUEST_CORPUS=DIR        puppet and modules (build/release/corpus)
 *   FUZZ_GUEST_JUDGE=guarantee   the reference model is not asked
 *   FUZZ_GUEST_TRACE=1           every crossing, on stderr
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/feedback.h"
#include "fuzz/fuzz.h"
#include "fuzz/puppet/puppet.h"
#include "scenario/scenario.h"
#include "vmm/engine.h"

#define BEDS 12u
#define BUDGET 100000u /* instructions: an honest flow has ten thousand */

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
				 uint8_t *out, size_t room, unsigned seed);

static struct scenario_bed *bed[BEDS];
static uint64_t used[BEDS], uses;
static struct scenario_options opt;

static void on_line(void *ctx, const struct guard_line *l)
{
	(void)ctx;
	fuzz_feedback(l);
}

static bool guarantee_only(void)
{
	const char *judge = getenv("FUZZ_GUEST_JUDGE");

	return judge && !strcmp(judge, "guarantee");
}

static void set_up(void)
{
	const char *corpus = getenv("FUZZ_GUEST_CORPUS");

	opt = (struct scenario_options){ .engine = &sim_engine,
					 .corpus = corpus ? corpus : "build/release/corpus",
					 .seed = 1,
					 .budget = BUDGET,
					 .x = GM_X_VMMCALL,
					 .log_lines = 4096,
					 .oracle = guarantee_only() ? ORACLE_ALONE : ORACLE_MODEL,
					 .trace = getenv("FUZZ_GUEST_TRACE") ? stderr : NULL,
					 .on_line = on_line };
	sim_note_blocks(fuzz_feedback_block);
}

static struct scenario_bed *bed_for(const struct scenario *s)
{
	struct error err;
	unsigned old = 0;

	for (unsigned i = 0; i < BEDS; i++) {
		if (bed[i] && scenario_bed_fits(bed[i], s)) {
			used[i] = ++uses;
			return bed[i];
		}
		if (used[i] < used[old])
			old = i;
	}
	scenario_bed_free(bed[old]);
	bed[old] = scenario_bed_new(s, &opt, &err);
	used[old] = ++uses;
	if (!bed[old] && uses == 1) {
		fprintf(stderr, "fuzz-guest: %s (make, or FUZZ_GUEST_CORPUS)\n", err.text);
		exit(2);
	}
	return bed[old];
}

static void story(const char *kind, const char *text)
{
	fprintf(stderr, "fuzz-guest: %s: %s\n", kind, text);
	fuzz_broken("the core does what its contract says, in a guest");
}

/* What went before is told in another way: a mark forgets what led to it. */
static bool same_story(const char *a, const char *b)
{
	const char *end = strstr(a, "\n  last crossings:");

	return end && !strncmp(a, b, (size_t)(end - a) + 1);
}

/* In a VM of its own, and if the model spoke, without it: can a guarantee break, too? */
static void confirm(const struct scenario *s, const struct scenario_result *seen)
{
	struct scenario_options alone = opt;
	struct scenario_result r;
	struct error err;
	bool model = strstr(seen->oracle, "reference model") != NULL;

	if (!scenario_run(s, &alone, &r, &err) || !same_story(r.oracle, seen->oracle)) {
		fprintf(stderr, "here: %salone: %s", seen->oracle, r.oracle);
		story("bed", "a VM of its own says something else");
	}
	alone.oracle = ORACLE_ALONE;
	if (model && scenario_run(s, &alone, &r, &err) && r.oracle[0])
		story("guarantee", r.oracle);
	story(model ? "model" : "guarantee", seen->oracle);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct scenario *s = NULL;
	struct scenario_bed *b;
	struct scenario_result r;
	struct error err;

	if (!opt.engine)
		set_up();
	if (size > FG_MAX_INPUT || !scenario_decode("input", data, size, &s, &err))
		return 0;
	b = bed_for(s);
	fuzz_feedback_begin();
	if (b && scenario_bed_play(b, s, opt.seed, &r, &err) && r.oracle[0])
		confirm(s, &r);
	scenario_free(s);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
	return fg_mutate(data, size, room, NULL, 0, seed);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
				 uint8_t *out, size_t room, unsigned seed)
{
	a_size = a_size > room ? room : a_size;
	memcpy(out, a, a_size);
	return fg_mutate(out, a_size, room, b, b_size, seed);
}
