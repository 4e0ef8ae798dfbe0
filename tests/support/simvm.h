/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small VM, on the Unicorn engine if no other is chosen, that runs snippets of assembly, and tells of exceptions.
 *
 * Snippets are assembled into the test program by SNIPPET() and copied into the guest: they must
 * not depend on where they lie. Every vector leads to a stub that writes what happened to a record
 * and exits with status SV_TRAPPED; a test may put handlers of its own in front of it.
 */
#ifndef TESTS_SUPPORT_SIMVM_H
#define TESTS_SUPPORT_SIMVM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/sim.h"
#include "vmm/internal.h"

#define SV_CODE 0xffffffff90000000ull	/* 4 pages, writable and executable */
#define SV_DATA 0xffffffff91000000ull	/* 16 pages */
#define SV_TRAPS 0xffffffff92000000ull	/* stubs */
#define SV_TABLES 0xffffffff93000000ull /* IDT, TSS, record: see simvm.c */
#define SV_IST1 (SV_DATA + 0xf000ull)
#define SV_TRAPPED 77
#define SV_TSS_SELECTOR 0x28
#define SV_USER_DATA 0x1b
#define SV_USER_CODE 0x23

#define SNIPPET(name, text)                                                                        \
	extern const uint8_t name[], name##_end[];                                                 \
	__asm__(".pushsection .rodata\n.global " #name ", " #name "_end\n" #name ":\n" text        \
		"\n" #name "_end:\n.popsection\n")
#define SNIPPET_SIZE(name) ((size_t)(name##_end - (name)))

/* What a stub wrote down. */
struct sv_trap {
	uint64_t vector, error, rip, cs, rflags, rsp, ss, handler_rsp, cr2;
};

struct simvm {
	struct vm *vm;
	struct vm_exit exit;
	uint64_t code_gpa, data_gpa, traps_gpa, tables_gpa;
};

/* What runs the snippets: sim_engine, unless a test sets another. */
extern const struct engine_ops *sv_engine;

struct simvm *sv_create(unsigned vcpus, uint64_t seed, uint64_t budget);
void sv_destroy(struct simvm *s);
/* Copies a snippet to SV_CODE + offset. */
void sv_code(struct simvm *s, uint64_t offset, const uint8_t *code, size_t size);
#define SV_CODE_AT(s, offset, name) sv_code(s, offset, name, SNIPPET_SIZE(name))
/* vCPU v is to start at SV_CODE + offset: RDI = SV_DATA, IF as told. */
void sv_start(struct simvm *s, unsigned v, uint64_t offset, bool interrupts);
/* Loads snippet `name` at SV_CODE, starts vCPU 0 there, runs until the end. */
void sv_run_code(struct simvm *s, const uint8_t *code, size_t size);
#define SV_RUN(s, name) sv_run_code(s, name, SNIPPET_SIZE(name))
void sv_run(struct simvm *s);
uint64_t sv_reg(struct simvm *s, unsigned v, enum guard_gpr r);
/* Word i of the data pages, as they lie in RAM. */
uint64_t *sv_data(struct simvm *s, unsigned i);
struct sv_trap sv_trap(struct simvm *s);
/* The run ended in a stub: this vector, error code, RIP = SV_CODE + offset. */
void sv_expect_trap(struct simvm *s, unsigned vector, uint64_t error, uint64_t offset);
/* A gate: handler at SV_CODE + offset; type 0xe interrupt, 0xf trap. */
void sv_gate(struct simvm *s, unsigned vector, uint64_t offset, unsigned ist, unsigned type,
	     unsigned dpl);
/* The stub of this vector runs on that stack of the TSS. */
void sv_ist(struct simvm *s, unsigned vector, unsigned ist);
/* The last-level entry for gva. */
uint64_t *sv_pte(struct simvm *s, uint64_t gva);
/* GPA behind gva, and the same byte's address in the direct map. */
uint64_t sv_gpa(struct simvm *s, uint64_t gva);
/* Sets U at every level above gva. */
void sv_user(struct simvm *s, uint64_t gva);
static inline uint64_t sv_direct(struct simvm *s, uint64_t gva)
{
	return GH_DIRECT_MAP + sv_gpa(s, gva);
}

#endif
