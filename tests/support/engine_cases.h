/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What holds on every engine, snippet by snippet: how interrupts, NMIs, software interrupts and the
 * CPU's own exceptions reach a guest. An engine's test names these cases in its table, next to what
 * it alone can show; they run on the engine that sv_create() takes.
 */
#ifndef TESTS_SUPPORT_ENGINE_CASES_H
#define TESTS_SUPPORT_ENGINE_CASES_H

#include "tests/support/simvm.h"

#define EXIT0 "xor %eax,%eax\n out %eax,$0xf4\n"

/* Sums up 1 to 100 in word 0, exits with 5; divides by zero at offset 3; UD2 at offset 1. */
extern const uint8_t ec_sums[], ec_sums_end[], ec_divides[], ec_divides_end[], ec_undefined[],
	ec_undefined_end[];
/* A handler: counts in word 15 and notes the interrupted RIP in word 14. */
extern const uint8_t ec_counting[], ec_counting_end[];
/* A VM of one vCPU with that handler behind `vector`, at SV_CODE + 0x800. */
struct simvm *ec_counting_vm(unsigned vector);

/* Runs a snippet in a VM of its own, where SV_DATA + 0x3000 is not mapped and 0x4000 read only. */
void ec_trap(const uint8_t *code, size_t size, unsigned vector, uint64_t error, uint64_t offset);
#define EC_TRAP(name, vector, error, offset)                                                       \
	ec_trap(name, SNIPPET_SIZE(name), vector, error, offset)

/*
 * The timer, every `period` and ten times: at most `most` interrupts are seen when it ends.
 * Returns how often the code that waited went round.
 */
uint64_t ec_timer(uint32_t period, unsigned most);

void ec_runs(void **state);	    /* a loop, a store, the exit's status */
void ec_nmi(void **state);	    /* ignores IF; a second one waits for IRET */
void ec_nmi_late(void **state);	    /* the second may come up to two instructions behind it */
void ec_sleeps(void **state);	    /* two vCPUs: an interrupt wakes the one in HLT */
void ec_gate_types(void **state);   /* a trap gate leaves IF alone, an interrupt gate clears it */
void ec_exceptions(void **state);   /* vector, error code and RIP of what the CPU raises itself */
void ec_bad_gates(void **state);    /* wrong type, not present, beyond the limit: #GP, #NP */
void ec_double_fault(void **state); /* which two faults make one (table 8-2), and which do not */

#endif
