// SPDX-License-Identifier: GPL-2.0-only
/* Feedback from verdict lines (fuzz/feedback.h). */
#include "fuzz/feedback.h"

#define COUNTERS 4096u /* of each of the two kinds */

/* libFuzzer looks here by the name. */
__attribute__((used, section("__libfuzzer_extra_counters"))) static uint8_t counters[2 * COUNTERS];
static uint32_t verdict, place;

static void seen(unsigned kind, uint32_t before, uint32_t now)
{
	uint32_t n = (before * 31 + now) * 0x9e3779b1u;

	counters[kind * COUNTERS + (n >> 20)] = 1; /* how often says nothing */
}

void fuzz_feedback_begin(void)
{
	verdict = place = 0;
}

void fuzz_feedback(const struct guard_line *l)
{
	uint32_t now = (uint32_t)l->event * 64 + (uint32_t)l->verdict;

	seen(0, verdict, now);
	verdict = now;
	now = (uint32_t)l->rip;
	seen(1, place, now);
	place = now;
}
