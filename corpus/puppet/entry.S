/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ways into the puppet and the one way out.
 *
 * Whatever comes in, a call that returns, a call-out, an interrupt or exception, has all its
 * registers stored in this vCPU's struct cpu (at the GS base) before anything of it is used. RSP
 * may point anywhere then, so the engine's stack is loaded before the first push. puppet_arrived()
 * goes on with the program; nothing is ever returned to by way of the C stack.
 */
#include "corpus/puppet/puppet.h"

	.text
	.globl _start
_start:
	/* RDI boot page, RSI vCPU, a stack of 16 KiB */
	xor	%ebp, %ebp
	call	puppet_start
1:	hlt
	jmp	1b

	.macro store_gprs to=0
	movq	%rax, %gs:\to+CPU_GPR+8*0
	movq	%rcx, %gs:\to+CPU_GPR+8*1
	movq	%rdx, %gs:\to+CPU_GPR+8*2
	movq	%rbx, %gs:\to+CPU_GPR+8*3
	movq	%rbp, %gs:\to+CPU_GPR+8*5
	movq	%rsi, %gs:\to+CPU_GPR+8*6
	movq	%rdi, %gs:\to+CPU_GPR+8*7
	movq	%r8,  %gs:\to+CPU_GPR+8*8
	movq	%r9,  %gs:\to+CPU_GPR+8*9
	movq	%r10, %gs:\to+CPU_GPR+8*10
	movq	%r11, %gs:\to+CPU_GPR+8*11
	movq	%r12, %gs:\to+CPU_GPR+8*12
	movq	%r13, %gs:\to+CPU_GPR+8*13
	movq	%r14, %gs:\to+CPU_GPR+8*14
	movq	%r15, %gs:\to+CPU_GPR+8*15
	.endm

	/* On the engine's stack, with flags that C code may run under: kind in EDI. */
	.macro arrive kind
	movq	%gs:CPU_STACK, %rsp
	pushq	$2
	popfq
	movl	$\kind, %edi
	xorl	%ebp, %ebp
	call	puppet_arrived
	.endm

	/*
	 * A call that the puppet made has come back: its return address was this. Up to the POPFQ an
	 * interrupt may strike, so events have a struct regs of their own.
	 */
	.globl puppet_landing, puppet_landed
	.balign 16
puppet_landing:
	store_gprs
	movq	%rsp, %gs:CPU_RSP
	movq	%gs:CPU_STACK, %rsp
	pushfq
	popq	%gs:CPU_FLAGS
	arrive	1

	/* The import stubs: a call-out of a module has come in. RSP points at the slot. */
	.globl puppet_imports
	.balign 32
puppet_imports:
	.set	n, 0
	.rept	64 /* PP_IMPORTS */
	.balign 32 /* PP_IMPORT_STRIDE */
	movq	$n, %gs:CPU_IMPORT
	jmp	callout
	.set	n, n + 1
	.endr
	.balign 16
callout:
	store_gprs
	movq	%rsp, %gs:CPU_RSP
	movq	%gs:CPU_STACK, %rsp
	pushfq
	popq	%gs:CPU_FLAGS
	arrive	2

	/*
	 * Interrupts and exceptions. The CPU has pushed, from high to low: SS RSP RFLAGS CS RIP and
	 * for some vectors an error code; the others push a zero in its place.
	 */
	.globl puppet_events
puppet_landed:
	.balign 16
puppet_events:
	.set	n, 0
	.rept	256
	.balign 16
	.if	(n == 8) || (n >= 10 && n <= 14) || (n == 17) || (n == 21) || (n == 29) || (n == 30)
	.else
	pushq	$0
	.endif
	pushq	$n
	jmp	event
	.set	n, n + 1
	.endr
	.balign 16
event:
	store_gprs CPU_EVENT
	popq	%gs:CPU_VECTOR
	popq	%gs:CPU_ERROR
	popq	%gs:CPU_EVENT+CPU_RIP
	popq	%gs:CPU_EVENT+CPU_CS
	popq	%gs:CPU_EVENT+CPU_FLAGS
	popq	%gs:CPU_EVENT+CPU_RSP
	popq	%gs:CPU_EVENT+CPU_SS
	arrive	3

	/*
	 * An interrupt that no step knows of (vm_strike()): an honest handler, which uses every
	 * register and some stack and goes back where it came from.
	 */
	.globl puppet_strike
	.balign 16
puppet_strike:
	.irp	r, rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
	pushq	%\r
	.endr
	.irp	r, rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
	movq	$-1, %\r
	.endr
	subq	$128, %rsp
	movq	%rsp, (%rsp)
	addq	$128, %rsp
	.irp	r, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax
	popq	%\r
	.endr
	iretq

	/*
	 * Out: everything at once, by IRETQ, so that no register has to be spared. RDI: struct regs.
	 * From here on what happens is not the puppet's own doing.
	 */
	.globl puppet_go
	.balign 16
puppet_go:
	movq	%gs:CPU_STACK, %rsp
	pushq	CPU_SS-CPU_GPR(%rdi)
	pushq	CPU_RSP-CPU_GPR(%rdi)
	pushq	CPU_FLAGS-CPU_GPR(%rdi)
	pushq	CPU_CS-CPU_GPR(%rdi)
	pushq	CPU_RIP-CPU_GPR(%rdi)
	movq	8*0(%rdi), %rax
	movq	8*1(%rdi), %rcx
	movq	8*2(%rdi), %rdx
	movq	8*3(%rdi), %rbx
	movq	8*5(%rdi), %rbp
	movq	8*6(%rdi), %rsi
	movq	8*8(%rdi), %r8
	movq	8*9(%rdi), %r9
	movq	8*10(%rdi), %r10
	movq	8*11(%rdi), %r11
	movq	8*12(%rdi), %r12
	movq	8*13(%rdi), %r13
	movq	8*14(%rdi), %r14
	movq	8*15(%rdi), %r15
	movq	8*7(%rdi), %rdi
	movq	$0, %gs:CPU_INSIDE
	iretq

	/* The end of a function that a module called: `return` arrives here with RSP = slot. */
	.globl puppet_ret
	.balign 16
puppet_ret:
	ret

	/*
	 * RAX RBX RCX RDX from and to uint64_t[4]. puppet_start() replaces the X by the kind that the
	 * modules were wrapped with: so logs name the same site for all of them.
	 */
	.section .patched, "awx"
	.globl puppet_hypercall, puppet_hypercall_x
	.balign 16
puppet_hypercall:
	pushq	%rbx
	pushq	%rdi
	movq	0(%rdi), %rax
	movq	8(%rdi), %rbx
	movq	16(%rdi), %rcx
	movq	24(%rdi), %rdx
puppet_hypercall_x:
	.byte	0x0f, 0x01, 0xd9
	popq	%rdi
	movq	%rax, 0(%rdi)
	movq	%rbx, 8(%rdi)
	movq	%rcx, 16(%rdi)
	movq	%rdx, 24(%rdi)
	popq	%rbx
	ret

	/* An X that is nobody's gate, for whoever jumps here; puppet_start() replaces it, too. */
	.globl puppet_x
	.balign 16
puppet_x:
	.byte	0x0f, 0x01, 0xd9
	ret

	.section .note.GNU-stack, "", @progbits
