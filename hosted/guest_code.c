// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest instructions, assembled into the host program as bytes. They run in the guest only.
 *
 * Host services are `out %al,$0xf8` (GH_PORT_HOST); the host knows which by RIP.
 */
#include "hosted/guest_code.h"

__asm__("	.pushsection .rodata, \"a\"\n"
	"	.balign 16\n"
	"	.globl guest_code\n"
	"guest_code:\n"

	/* RDI = boot page, RSI = vCPU 0. GS base first: the stack protector lies there. */
	"	.globl guest_boot\n"
	"guest_boot:\n"
	"	movl $0xc0000101, %ecx\n"
	"	leal 0xffffc900(%rsi), %edx\n"
	"	xorl %eax, %eax\n"
	"	wrmsr\n"
	"	lidt guest_idtr(%rip)\n"
	"	lgdt guest_gdtr(%rip)\n"
	"	movl $0x18, %eax\n"
	"	ltr %ax\n"
	"	movl $9973, %eax\n" /* instructions from tick to tick */
	"	outl %eax, $0xf9\n"
	"	outb %al, $0xf8\n"
	"	.globl guest_booted\n"
	"guest_booted:\n"
	"1:	hlt\n"
	"	jmp 1b\n"

	"	.balign 16\n"
	"	.globl guest_return\n"
	"guest_return:\n"
	"	outb %al, $0xf8\n"
	"	.globl guest_returned\n"
	"guest_returned:\n"
	"	hlt\n"

	"	.balign 16\n"
	"	.globl guest_peek\n"
	"guest_peek:\n"
	"	movl (%rdi), %eax\n"
	"	ret\n"

	"	.balign 16\n"
	"	.globl guest_poke\n"
	"guest_poke:\n"
	"	movl %esi, (%rdi)\n"
	"	ret\n"

	"	.balign 16\n"
	"	.globl guest_poke_pte\n"
	"guest_poke_pte:\n"
	"	movq %rsi, (%rdi)\n"
	"	invlpg (%rdx)\n"
	"	ret\n"

	"	.balign 16\n"
	"	.globl guest_copy\n"
	"guest_copy:\n"
	"	movq %rdx, %rcx\n"
	"	rep movsb\n"
	"	ret\n"

	"	.balign 16\n"
	"	.globl guest_call_x\n"
	"guest_call_x:\n"
	"	pushq %rbx\n"
	"	movq %rsi, %rbx\n" /* (number, rbx, rcx, rdx) as a C function */
	"	movq %rcx, %r8\n"
	"	movq %rdx, %rcx\n"
	"	movq %r8, %rdx\n"
	"	movq %rdi, %rax\n"
	"	.globl guest_call_x_site\n"
	"guest_call_x_site:\n"
	"	.byte 0x0f, 0x1f, 0x00\n"
	"	popq %rbx\n"
	"	ret\n"

	"	.balign 16\n"
	"	.globl guest_idtr\n"
	"guest_idtr:\n"
	"	.word 0\n"
	"	.quad 0\n"
	"	.balign 16\n"
	"	.globl guest_gdtr\n"
	"guest_gdtr:\n"
	"	.word 0\n"
	"	.quad 0\n"
	"	.balign 16\n"
	"	.globl guest_code_end\n"
	"guest_code_end:\n"
	"	.popsection\n");
