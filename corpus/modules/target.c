/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * target: what the attack scenarios need and counter does not have. Entries in which an interrupt
 * strikes at a known instruction, which wait for another vCPU, which keep the secret in registers
 * across a call-out, and text on more than one page.
 */
#include "corpus/modules/module.h"
#include "vmm/abi.h"

MODULE_INFO(license, "GPL");
MODULE_INFO(description, "sample: a victim for scenarios");

#define TARGET_SECRET 0x7a26e75ec2e70001ul

static unsigned long secret __private = TARGET_SECRET;
static volatile unsigned long stored __private;

/* Pointers that the kernel can write: to an entry, and to a function that is none. */
static long (*volatile hook)(long) = 0;

long target_check(unsigned long guess)
{
	return guess == secret;
}
EXPORT_SYMBOL(target_check);

/* Interrupts itself: the vector strikes at the instruction behind the OUT, on any engine. */
static inline __attribute__((always_inline)) void raise(long vector)
{
	__asm__ volatile("outb %%al, %1" : : "a"(vector), "Nd"((uint16_t)GH_PORT_RAISE) : "memory");
}

long target_raise(long vector)
{
	raise(vector);
	return secret ? 1 : -1;
}
EXPORT_SYMBOL(target_raise);

static noinline long raise_below(long vector, long levels)
{
	volatile long local = levels;
	long got = 0;

	if (levels <= 0)
		raise(vector);
	else
		got = raise_below(vector, levels - 1);
	return got + local;
}

/* The same, `levels` frames further down. Returns the sum of the levels. */
long target_raise_deep(long vector, long levels)
{
	long got = raise_below(vector, levels);

	return secret ? got : -1;
}
EXPORT_SYMBOL(target_raise_deep);

/* The interrupt strikes, then a call-out follows. */
long target_raise_callout(long vector)
{
	raise(vector);
	return kernel_callout(vector) + (secret ? 0 : -1000);
}
EXPORT_SYMBOL(target_raise_callout);

/*
 * The interrupt strikes at a gate: STI holds it back for one instruction more, the CALL or the RET.
 *
 *	OUT (pending, IF = 0) | STI | CALL kernel_callout | X of the leave gate <- here
 *	OUT (pending, IF = 0) | STI | RET                 | LEA of the leave-return gate <- here
 */
long target_strike_leave(long vector);
long target_strike_exit(long vector);
__asm__(".pushsection .text\n"
	".globl target_strike_leave, target_strike_exit\n"
	".type target_strike_leave, @function\n"
	".type target_strike_exit, @function\n"
	"target_strike_leave:\n"
	".cfi_startproc\n"
	"	sub	$8, %rsp\n"
	".cfi_adjust_cfa_offset 8\n"
	"	cli\n"
	"	mov	%edi, %eax\n"
	"	outb	%al, $0xf6\n"
	"	sti\n"
	"	call	kernel_callout\n"
	"	add	$8, %rsp\n"
	".cfi_adjust_cfa_offset -8\n"
	"	jmp	__x86_return_thunk\n"
	".cfi_endproc\n"
	".size target_strike_leave, . - target_strike_leave\n"
	"target_strike_exit:\n"
	".cfi_startproc\n"
	"	cli\n"
	"	mov	%edi, %eax\n"
	"	outb	%al, $0xf6\n"
	"	sti\n"
	"	ret\n"
	".cfi_endproc\n"
	".size target_strike_exit, . - target_strike_exit\n"
	".popsection\n");
EXPORT_SYMBOL(target_strike_leave);
EXPORT_SYMBOL(target_strike_exit);

/*
 * Calls what the kernel says, by a branch without a thunk, as old assembly does: at an enter gate
 * of this module that is an entry of its own, nested in this one.
 */
long target_nested(long (*fn)(long), long n);
__asm__(".pushsection .text\n"
	".globl target_nested\n"
	".type target_nested, @function\n"
	"target_nested:\n"
	".cfi_startproc\n"
	"	sub	$8, %rsp\n"
	".cfi_adjust_cfa_offset 8\n"
	"	mov	%rdi, %rax\n"
	"	mov	%rsi, %rdi\n"
	"	call	*%rax\n"
	"	add	$8, %rsp\n"
	".cfi_adjust_cfa_offset -8\n"
	"	jmp	__x86_return_thunk\n"
	".cfi_endproc\n"
	".size target_nested, . - target_nested\n"
	".popsection\n");
EXPORT_SYMBOL(target_nested);

/* The same, the stack pointer first moved down by so many bytes: further than a chain may span. */
long target_nested_far(long (*fn)(long), long n, unsigned long bytes);
__asm__(".pushsection .text\n"
	".globl target_nested_far\n"
	".type target_nested_far, @function\n"
	"target_nested_far:\n"
	".cfi_startproc\n"
	"	push	%rbp\n"
	".cfi_def_cfa_offset 16\n"
	".cfi_offset %rbp, -16\n"
	"	mov	%rsp, %rbp\n"
	".cfi_def_cfa_register %rbp\n"
	"	sub	%rdx, %rsp\n"
	"	mov	%rdi, %rax\n"
	"	mov	%rsi, %rdi\n"
	"	call	*%rax\n"
	"	leave\n"
	".cfi_def_cfa %rsp, 8\n"
	".cfi_restore %rbp\n"
	"	jmp	__x86_return_thunk\n"
	".cfi_endproc\n"
	".size target_nested_far, . - target_nested_far\n"
	".popsection\n");
EXPORT_SYMBOL(target_nested_far);

/*
 * Goes where the kernel says, with the word that it says as return address: a module that is made to
 * do so still leaves and enters by the guard's rules.
 */
long target_push_jump(long (*fn)(long), unsigned long word);
__asm__(".pushsection .text\n"
	".globl target_push_jump\n"
	".type target_push_jump, @function\n"
	"target_push_jump:\n"
	".cfi_startproc\n"
	"	push	%rsi\n"
	".cfi_adjust_cfa_offset 8\n"
	"	jmp	*%rdi\n"
	".cfi_endproc\n"
	".size target_push_jump, . - target_push_jump\n"
	".popsection\n");
EXPORT_SYMBOL(target_push_jump);

/* Sleeps until *flag is written, if it may; where MWAIT does nothing it goes on at once. */
long target_mwait(volatile long *in, volatile long *flag)
{
	*in = 1;
	__asm__ volatile("monitor" : : "a"(flag), "c"(0), "d"(0) : "memory");
	if (!*flag)
		__asm__ volatile("mwait" : : "a"(0), "c"(0) : "memory");
	return secret ? *flag : -1;
}
EXPORT_SYMBOL(target_mwait);

/* The same with one argument, for target_nested(): line[0] is `in`, line[8] the flag. */
long target_mwait_line(volatile long *line)
{
	return target_mwait(line, line + 8);
}
EXPORT_SYMBOL(target_mwait_line);

/* Says that it is inside, then stays there until it may go on. */
long target_meet(volatile long *in, volatile long *go)
{
	*in = 1;
	while (!*go)
		__asm__ volatile("pause");
	return secret ? 1 : -1;
}
EXPORT_SYMBOL(target_meet);

/* The same, and then it ends in a jump to the kernel. */
long target_meet_tail(volatile long *in, volatile long *go)
{
	*in = 1;
	while (!*go)
		__asm__ volatile("pause");
	return kernel_callout(1);
}
EXPORT_SYMBOL(target_meet_tail);

/* Says that it is inside and never leaves by itself: always at the same instruction. */
long target_stay(volatile long *in)
{
	*in = 1;
	__asm__ volatile("1: jmp 1b");
	return secret ? 1 : -1;
}
EXPORT_SYMBOL(target_stay);

static noinline void stay(volatile long *in, volatile long *go)
{
	*in = 1;
	while (!*go)
		__asm__ volatile("pause");
}

/* The same, a frame further down. */
long target_meet_below(volatile long *in, volatile long *go)
{
	stay(in, go);
	return secret ? 1 : -1;
}
EXPORT_SYMBOL(target_meet_below);

/* The same, with frame pointers: where the upper frame ends is what the lower one saved of RBP. */
long target_meet_rbp(volatile long *in, volatile long *go);
__asm__(".pushsection .text\n"
	".globl target_meet_rbp\n"
	".type target_meet_rbp, @function\n"
	"target_meet_rbp:\n"
	".cfi_startproc\n"
	"	push	%rbp\n"
	".cfi_def_cfa_offset 16\n"
	".cfi_offset %rbp, -16\n"
	"	mov	%rsp, %rbp\n"
	".cfi_def_cfa_register %rbp\n"
	"	call	stay_rbp\n"
	"	pop	%rbp\n"
	".cfi_def_cfa %rsp, 8\n"
	".cfi_restore %rbp\n"
	"	jmp	__x86_return_thunk\n"
	".cfi_endproc\n"
	".size target_meet_rbp, . - target_meet_rbp\n"
	".type stay_rbp, @function\n"
	"stay_rbp:\n"
	".cfi_startproc\n"
	"	push	%rbp\n"
	".cfi_def_cfa_offset 16\n"
	".cfi_offset %rbp, -16\n"
	"	movq	$1, (%rdi)\n"
	"1:	pause\n"
	"	cmpq	$0, (%rsi)\n"
	"	je	1b\n"
	"	mov	$1, %eax\n"
	"	pop	%rbp\n"
	".cfi_def_cfa_offset 8\n"
	".cfi_restore %rbp\n"
	"	jmp	__x86_return_thunk\n"
	".cfi_endproc\n"
	".size stay_rbp, . - stay_rbp\n"
	".popsection\n");
EXPORT_SYMBOL(target_meet_rbp);

/*
 * Moves the stack pointer by so many bytes, then jumps where the kernel says, without a thunk. With a
 * vector an interrupt strikes at the first instruction there: STI holds it back for one more.
 */
long target_jump(void (*to)(void), long bytes, long vector);
__asm__(".pushsection .text\n"
	".globl target_jump\n"
	".type target_jump, @function\n"
	"target_jump:\n"
	".cfi_startproc\n"
	"	cli\n"
	"	mov	%edx, %eax\n"
	"	add	%rsi, %rsp\n"
	"	test	%eax, %eax\n"
	"	jz	1f\n"
	"	outb	%al, $0xf6\n"
	"1:	sti\n"
	"	jmp	*%rdi\n"
	".cfi_endproc\n"
	".size target_jump, . - target_jump\n"
	".popsection\n");
EXPORT_SYMBOL(target_jump);

/* The secret is in callee-saved registers while the kernel runs. */
long target_registers(long n)
{
	unsigned long a = secret, b = ~secret, c = secret + 1, d = secret ^ 0xff, e = secret << 1;

	__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e));
	n = kernel_callout(n);
	__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e));
	if (a != secret || b != ~secret || c != secret + 1 || d != (secret ^ 0xff) ||
	    e != secret << 1)
		return -1;
	return n;
}
EXPORT_SYMBOL(target_registers);

/* Leaves the secret in scratch registers on the way out. */
long target_leak(void)
{
	unsigned long s = secret;

	__asm__ volatile("mov %0, %%rcx; mov %0, %%rsi; mov %0, %%r8; mov %0, %%r11"
			 :
			 : "r"(s)
			 : "rcx", "rsi", "r8", "r11");
	return 1;
}
EXPORT_SYMBOL(target_leak);

long target_hook(long n)
{
	long got = hook ? hook(n) : 0;

	return secret ? got : -1;
}
EXPORT_SYMBOL(target_hook);

/* A register of a device, if this module is bound to it. */
long target_device(volatile uint32_t *reg)
{
	return *reg;
}
EXPORT_SYMBOL(target_device);

/* On a page of its own. */
long __attribute__((aligned(4096), __noinline__)) target_far(long n)
{
	stored = (unsigned long)n;
	return secret ? (long)stored + 1 : -1;
}
EXPORT_SYMBOL(target_far);

long target_near(long n)
{
	long got = target_far(n);

	return secret ? got : -1;
}
EXPORT_SYMBOL(target_near);

int __init init_module(void)
{
	stored = 0;
	return 0;
}

void __exit cleanup_module(void)
{
	secret = 0;
}

/*
 * Objects of no size, as a kernel's locks are without lockdep, alone in their sections: one in front
 * of all other data, one behind. Both have an address that must be right.
 */
static const struct {
} nothing_first __attribute__((section(".data"))),
	nothing_last __attribute__((section(".data.last")));

long target_nothing(void)
{
	const char *first = (const char *)&nothing_first, *last = (const char *)&nothing_last;

	__asm__ volatile("" : "+r"(first), "+r"(last));
	return last - first;
}
EXPORT_SYMBOL(target_nothing);
