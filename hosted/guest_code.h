/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The few instructions that the hosted kernel has in the guest: position independent, copied to
 * one page of the guest's image. Offsets count from guest_code.
 */
#ifndef HOSTED_GUEST_CODE_H
#define HOSTED_GUEST_CODE_H

#include <stdint.h>

extern const uint8_t guest_code[], guest_code_end[];
/* Patched by the image builder: operands of LIDT and LGDT. */
extern const uint8_t guest_idtr[], guest_gdtr[];
/* Entry of vCPU 0; behind it, where its host service returns to. */
extern const uint8_t guest_boot[], guest_booted[];
/* mov $PERIOD,%eax: patched by the image builder for a kernel without a tick. */
extern const uint8_t guest_tick[];
/* Return address of every call that the hosted kernel makes; behind its host service. */
extern const uint8_t guest_return[], guest_returned[];
/* mov (%rdi),%eax; ret */
extern const uint8_t guest_peek[];
/* mov %esi,(%rdi); ret */
extern const uint8_t guest_poke[];
/* mov %rsi,(%rdi); invlpg (%rdx); ret */
extern const uint8_t guest_poke_pte[];
/* Copies %rdx bytes from %rsi to %rdi; ret */
extern const uint8_t guest_copy[];
/* A numbered call, as a C function (number, rbx, rcx, rdx) -> rax; the X is patched in. */
extern const uint8_t guest_call_x[], guest_call_x_site[];

/* Enters code with the registers of a struct guest_launch at %rdi, its return word stored first. */
extern const uint8_t guest_launch[];
/* How every import ends: ret. */
extern const uint8_t guest_import_return[];
/* How one ends that misbehaves: changes what HOSTED_CPU_XOR and the next say; ret. Once. */
extern const uint8_t guest_misreturn[];

struct guest_launch {
	uint64_t slot, word; /* where the return word goes, and the word */
	uint64_t rflags, rip, rsp, rdi, rsi, rdx;
};

/* In each vCPU's page at GS base. guest_code.c has the same numbers. */
#define HOSTED_CPU_RETURN 0x800 /* what imports jump to when they are done */
#define HOSTED_CPU_HONEST 0x808 /* guest_import_return */
#define HOSTED_CPU_XOR 0x810	/* into RBX, RBP, R12, R13, R14, R15 */
#define HOSTED_CPU_RSP 0x840	/* added to RSP */
#define HOSTED_CPU_FLAGS 0x848	/* RFLAGS */

/* PER_CPU_BASE + (vCPU << 32): GS base. Data imports lie at their address plus this, per vCPU. */
#define HOSTED_PERCPU_BASE 0xffffc90000000000ull

#endif
