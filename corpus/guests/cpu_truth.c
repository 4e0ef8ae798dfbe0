/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the CPU of this machine does, in a few hundred lines that can be compared with another's:
 * see cpu_truth/probe.h and docs/engines.md. The argument "skip=NAME,NAME..." leaves items out that
 * would end this machine.
 */
#include "corpus/guests/cpu_truth/probe.h"

int main(void)
{
	probe_init();
	truth_alu();
	truth_bits();
	truth_move();
	truth_string();
	truth_fault();
	truth_gate();
	truth_page();
	truth_tlb();
	truth_transfer();
	truth_segment();
	truth_interrupt();
	truth_debug();
	truth_system();
	return summary();
}
