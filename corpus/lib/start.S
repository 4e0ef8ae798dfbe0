/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a vCPU starts, where its traps arrive, and the switches of stacks that C cannot say.
 * Long mode, CPL 0, flat segments, paging and a 16 KiB stack are there already (vmm/abi.h).
 */
	.section .text.start, "ax"
	.globl start
start:					/* RDI: boot page, RSI: vCPU */
	xor	%ebp, %ebp
	and	$-16, %rsp
	call	guest_start
1:	cli
	hlt
	jmp	1b

/*
 * Traps. The CPU and the stub leave:
 *
 *	| SS RSP RFLAGS CS RIP |	pushed by the CPU
 *	| error code           |	by the CPU, or 0 by the stub
 *	| vector               |	by the stub
 *	| RAX ... R15          |	here: struct trap_frame
 */
	.text
	.globl trap_stubs
	.balign 16
trap_stubs:
	.set	vector, 0
	.rept	256
	.balign	16
	.if	(vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
	.else
	pushq	$0
	.endif
	pushq	$vector
	jmp	trap_common
	.set	vector, vector + 1
	.endr

	.balign	16
trap_common:
	push	%rax
	push	%rbx
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	push	%rbp
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	cld
	mov	%rsp, %rdi
	call	trap_dispatch
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rbp
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	pop	%rbx
	pop	%rax
	add	$16, %rsp
	iretq

/*
 * attempt_enter(RDI: struct attempt): jumps to its target as asked. Offsets as in guest.h.
 *
 *	| return to attempt()    |
 *	| RBX RBP R12 ... R15    | <- home: both landings restore RSP from there
 *	| arg[7] arg[6]          |    an ordinary call only
 *	| attempt_landing        | <- RSP at the target
 */
	.globl	attempt_enter
attempt_enter:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, 0x00(%rdi)
	pushq	0x28(%rdi)
	popfq
	mov	0x18(%rdi), %rax
	mov	0x10(%rdi), %r11
	mov	0x38(%rdi), %rsi
	mov	0x40(%rdi), %rdx
	mov	0x48(%rdi), %rcx
	mov	0x50(%rdi), %r8
	mov	0x58(%rdi), %r9
	xchg	%rax, %rcx
	jrcxz	1f			/* `test` would change the flags that were just loaded */
	mov	%rcx, %rsp
	xchg	%rax, %rcx
	mov	0x30(%rdi), %rdi
	jmp	*%r11
1:	xchg	%rax, %rcx
	pushq	0x68(%rdi)
	pushq	0x60(%rdi)
	mov	0x30(%rdi), %rdi
	pushq	$attempt_landing
	jmp	*%r11

	.globl	attempt_landing
attempt_landing:			/* the target returned: RAX */
	mov	%gs:0, %rdi
	mov	0x08(%rdi), %rdi
	mov	%rax, 0x70(%rdi)
	.globl	attempt_fault
attempt_fault:				/* trap_dispatch() has noted the exception */
	mov	%gs:0, %rdi
	mov	0x08(%rdi), %rdi
	mov	0x00(%rdi), %rsp
	cld
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret

/*
 * thread_swap(RDI: from, RSI: to). `from` may run on another vCPU as soon as on_cpu is 0, so that
 * comes after its stack is left for good.
 */
	.globl	thread_swap
thread_swap:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, 0x00(%rdi)
	mov	0x00(%rsi), %rsp
	mov	%rsi, %gs:0
	movl	$0, 0x10(%rdi)
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret

	.globl	thread_begin
thread_begin:				/* first switch to a thread */
	xor	%ebp, %ebp
	call	thread_main
	ud2

/* call_on_stack(RDI: end of stack, RSI: fn, RDX: arg) */
	.globl	call_on_stack
call_on_stack:
	push	%rbp
	mov	%rsp, %rbp
	mov	%rdi, %rsp
	mov	%rdx, %rdi
	call	*%rsi
	mov	%rbp, %rsp
	pop	%rbp
	ret

/*
 * guard_call(RDI: number, RSI: for RBX, RDX: for RCX, RCX: for RDX). module_start() replaces the X
 * by the kind that this machine's guard answers: so logs name the same site for all of them.
 */
	.section .patched, "awx"
	.globl	guard_call, guard_call_x
	.type	guard_call, @function
guard_call:
	push	%rbx
	mov	%rdi, %rax
	mov	%rsi, %rbx
	xchg	%rcx, %rdx
guard_call_x:
	.byte	0x0f, 0x01, 0xd9
	pop	%rbx
	ret
	.size	guard_call, . - guard_call

	.section .note.GNU-stack, "", @progbits
