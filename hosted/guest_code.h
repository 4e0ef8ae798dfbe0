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

/* PER_CPU_BASE + (vCPU << 32): GS base. Data imports lie at their address plus this, per vCPU. */
#define HOSTED_PERCPU_BASE 0xffffc90000000000ull

#endif
