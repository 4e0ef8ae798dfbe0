/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How a probe starts and how it ends. It starts by IRETQ, whatever its privilege level, and ends at
 * probe_done or by any exception or interrupt, whose gate leads to its stub here. Both ends note
 * every register before they change one, and go home. Nothing here needs GS, a stack of the probe's
 * or more than the frame that the CPU has just pushed. Offsets are those of struct probe.
 */
#define GPR(n)	probe_now + 8 * (n)
#define RFLAGS	probe_now + 0x80
#define RIP	probe_now + 0x88
#define CS	probe_now + 0x90
#define SS	probe_now + 0x98
#define VECTOR	probe_now + 0xa0
#define ERROR	probe_now + 0xa8
#define FRAME	probe_now + 0xb0
#define CR2	probe_now + 0xb8

	.text
/* probe_enter(): registers, RFLAGS, RIP, CS and SS are those in probe_now. */
	.globl	probe_enter
probe_enter:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, probe_home
	pushq	SS
	pushq	GPR(4)
	pushq	RFLAGS
	pushq	CS
	pushq	RIP
	mov	GPR(0), %rax
	mov	GPR(1), %rcx
	mov	GPR(2), %rdx
	mov	GPR(3), %rbx
	mov	GPR(5), %rbp
	mov	GPR(6), %rsi
	mov	GPR(7), %rdi
	mov	GPR(8), %r8
	mov	GPR(9), %r9
	mov	GPR(10), %r10
	mov	GPR(11), %r11
	mov	GPR(12), %r12
	mov	GPR(13), %r13
	mov	GPR(14), %r14
	mov	GPR(15), %r15
	movl	$1, probe_runs
	iretq

	.macro	note_gprs
	mov	%rax, GPR(0)
	mov	%rcx, GPR(1)
	mov	%rdx, GPR(2)
	mov	%rbx, GPR(3)
	mov	%rbp, GPR(5)
	mov	%rsi, GPR(6)
	mov	%rdi, GPR(7)
	mov	%r8, GPR(8)
	mov	%r9, GPR(9)
	mov	%r10, GPR(10)
	mov	%r11, GPR(11)
	mov	%r12, GPR(12)
	mov	%r13, GPR(13)
	mov	%r14, GPR(14)
	mov	%r15, GPR(15)
	.endm

	.globl	probe_done
probe_done:				/* the probe fell through */
	note_gprs
	mov	%rsp, GPR(4)
	mov	probe_home, %rsp
	pushfq
	popq	RFLAGS
	mov	%cs, %eax
	mov	%rax, CS
	mov	%ss, %eax
	mov	%rax, SS
	movq	$0x100, VECTOR
	jmp	probe_back

	.balign	32
	.globl	probe_stubs
probe_stubs:
	.set	vector, 0
	.rept	256
	.balign	32
	.if	(vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
	popq	ERROR
	.endif
	movq	$vector, VECTOR
	jmp	probe_trapped
	.set	vector, vector + 1
	.endr

/*
 *	+32 SS, +24 RSP, +16 RFLAGS, +8 CS, +0 RIP <- RSP: as the CPU pushed them
 */
probe_trapped:
	note_gprs
	mov	%rsp, FRAME
	popq	RIP
	popq	CS
	popq	RFLAGS
	popq	GPR(4)
	popq	SS
	mov	%cr2, %rax
	mov	%rax, CR2
	cmpl	$0, probe_runs
	jne	probe_back
	mov	probe_home, %rsp
	call	probe_stray
probe_back:				/* by IRETQ: it ends an NMI, too */
	cld
	movl	$0, probe_runs
	mov	probe_home, %rsp
	pushq	$2			/* NT would refuse IRETQ */
	popfq
	mov	%rsp, %rax
	pushq	$0x10
	push	%rax
	pushq	$2
	pushq	$8
	pushq	$1f
	iretq
1:	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret

	.bss
	.balign	8
	.globl	probe_runs
probe_home:
	.quad	0
probe_runs:
	.quad	0

	.section .note.GNU-stack, "", @progbits
