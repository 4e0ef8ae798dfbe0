/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pair: two modules that call each other (P12) and do not trust each other either (I14, R16).
 */
#include "corpus/lib/guest.h"
#include "corpus/modules/pair.h"

GUARDHOUSE("module pair_b\\n");
GUARDHOUSE("module pair_a\\n");

#define A(function) ENTRY("pair_a", function)
#define B(function) ENTRY("pair_b", function)

static unsigned long a_at, b_at;
static bool seen_in_back;

/* R16: called by B, which the kernel called: nobody's secret may show here. */
static long look_around(long depth)
{
	seen_in_back = *(volatile unsigned long *)a_at == 0 && *(volatile unsigned long *)b_at == 0;
	return A(pair_a_run)(depth) == 101 * depth ? 0 : -1;
}

int main(void)
{
	report_prefix_push("pair");
	report(module_init("pair_b") == 0, "pair_b starts");
	report(module_init("pair_a") == 0, "pair_a starts, and reaches pair_b while it does");
	a_at = A(pair_a_where)();
	b_at = B(pair_b_where)();
	report(A(pair_a_check)(PAIR_A_SECRET) == 1 && B(pair_b_check)(PAIR_B_SECRET) == 1,
	       "each knows its own secret");
	report(A(pair_a_check)(0) == 0 && B(pair_b_check)(PAIR_A_SECRET) == 0, "and no other's");

	report(A(pair_a_run)(0) == 100, "A calls B");
	report(A(pair_a_run)(1) == 101, "P12: A calls B calls back A");
	report(A(pair_a_run)(3) == 303, "P12: and so on, seven deep");
	report(B(pair_b_run)(2, look_around) == 100 && seen_in_back,
	       "R16: B calls the kernel, which calls A, which calls B");

	report(A(pair_a_peek)((unsigned long *)a_at) == (long)PAIR_A_SECRET,
	       "A's instructions read A's secret");
	report(B(pair_b_peek)((unsigned long *)b_at) == (long)PAIR_B_SECRET,
	       "B's instructions read B's secret");
	report(A(pair_a_peek)((unsigned long *)b_at) == 0, "I14: A reads zero where B's secret is");
	report(B(pair_b_peek)((unsigned long *)a_at) == 0, "I14: B reads zero where A's secret is");
	report(*(volatile unsigned long *)a_at == 0 && *(volatile unsigned long *)b_at == 0,
	       "the kernel reads zero at both");
	report(A(pair_a_run)(2) == 202, "and honest calls go on");
	report_prefix_pop();
	return report_summary();
}
