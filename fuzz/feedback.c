// SPDX-License-Identifier: GPL-2.0-only
/*
 * Feedback from verdict lines and from the guest's branches (fuzz/feedback.h). libFuzzer looks at
 * counters in a section that it knows. AFL++ looks at edges alone, so there these are edges of a
 * module that no compiler made.
 */
#include "fuzz/feedback.h"

enum kind { VERDICTS, CROSSINGS, BRANCHES, KINDS };

#define ENTRIES 4096u /* of each kind; two things in one entry are told as one */

__attribute__((used,
	       section("__libfuzzer_extra_counters"))) static uint8_t counters[KINDS * ENTRIES];
static uint32_t last[KINDS];

/* AFL++'s runtime, where it is linked: its map, and who gives out places in it. */
extern uint8_t *__afl_area_ptr __attribute__((weak));
extern void __sanitizer_cov_trace_pc_guard_init(uint32_t *begin, uint32_t *end)
	__attribute__((weak));
static uint32_t places[KINDS * ENTRIES];

/* Before main(), where AFL++ asks how large the map is. */
__attribute__((constructor)) static void ask_for_places(void)
{
	if (&__afl_area_ptr)
		__sanitizer_cov_trace_pc_guard_init(places, places + KINDS * ENTRIES);
}

/* How often says nothing. */
static void seen(enum kind kind, uint32_t now)
{
	uint32_t n = kind * ENTRIES + (((last[kind] * 31 + now) * 0x9e3779b1u) >> 20);

	last[kind] = now;
	if (&__afl_area_ptr)
		__afl_area_ptr[places[n]] = 1;
	else
		counters[n] = 1;
}

void fuzz_feedback_begin(void)
{
	for (unsigned i = 0; i < KINDS; i++)
		last[i] = 0;
}

void fuzz_feedback(const struct guard_line *l)
{
	seen(VERDICTS, (uint32_t)l->event * 64 + (uint32_t)l->verdict);
	seen(CROSSINGS, (uint32_t)l->rip);
}

void fuzz_feedback_block(uint64_t rip)
{
	seen(BRANCHES, (uint32_t)rip);
}
