/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * counter: a module that keeps a secret and a total in private memory.
 *
 * Each entry is one way across the border that real drivers use: a plain call, a call-out with
 * fixed, many or variable arguments, a callback through a pointer, a tail call, deep frames, a
 * loop that gets interrupted, a load that faults, a warning, a static key. Every entry touches
 * private memory after the last event, so that a lost privilege shows in its result.
 *
 * An entry that calls out, seen from the stack (higher addresses first; `slot` is the word that
 * the guard exchanges at that crossing):
 *
 *	| kernel's frame        |
 *	+-----------------------+
 *	| return to kernel      | <- slot of ENTER-CALL: holds the leave-return gate meanwhile
 *	+-----------------------+
 *	| saved RBX, locals     |    counter_callout()
 *	+-----------------------+
 *	| return into module    | <- slot of LEAVE-CALL: holds the enter-return gate meanwhile
 *	+-----------------------+
 *	| kernel_callout()      |    unprivileged from here on down
 */
#include "corpus/modules/counter.h"
#include "corpus/modules/module.h"

MODULE_INFO(license, "GPL");
MODULE_INFO(description, "sample: a secret in private memory");

static unsigned long secret __private = COUNTER_SECRET;
static long total __private = 1;
static struct static_key fast_key;

/* The total, or -1 if private memory does not answer: then this code is not privileged. */
static noinline long answer(void)
{
	return secret ? total : -1;
}

long counter_add(long n)
{
	total += n;
	return answer();
}
EXPORT_SYMBOL(counter_add);

long counter_get(void)
{
	return answer();
}
EXPORT_SYMBOL(counter_get);

/* The one thing that the outside may learn about the secret. */
long counter_check(unsigned long guess)
{
	return guess == secret;
}
EXPORT_SYMBOL(counter_check);

long counter_set(unsigned long value)
{
	secret = value;
	return answer();
}
EXPORT_SYMBOL(counter_set);

/* A variadic call-out with more arguments than registers. */
long counter_say(long n)
{
	total += n;
	printk("counter: %s %ld %ld %ld %ld %ld %ld %ld\n", "total", total, n, 3l, 4l, 5l, 6l, 7l);
	return answer();
}
EXPORT_SYMBOL(counter_say);

long counter_callout(long n)
{
	long got = kernel_callout(n);

	total += got;
	return answer();
}
EXPORT_SYMBOL(counter_callout);

/* A call-out by pointer: where it goes is the guest's choice, so never with privilege. */
long counter_callback(long (*fn)(void *ctx, long n), void *ctx)
{
	total += fn(ctx, total);
	return answer();
}
EXPORT_SYMBOL(counter_callback);

/* Ends in a jump to the kernel: one crossing out, no return. */
long counter_tail(long n)
{
	total += n;
	return kernel_callout(total);
}
EXPORT_SYMBOL(counter_tail);

/* Two of eight arguments lie on the stack, above the slot, both on the way in and out. */
long counter_sum8(long a, long b, long c, long d, long e, long f, long g, long h)
{
	long sum = kernel_sum8(h, g, f, e, d, c, b, a);

	if (sum != a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h)
		return -2;
	total += sum;
	return answer();
}
EXPORT_SYMBOL(counter_sum8);

/* The kernel writes into this frame during the call-out, as it may. */
long counter_fill(void)
{
	long local = 0;

	kernel_fill(&local);
	total += local;
	return answer();
}
EXPORT_SYMBOL(counter_fill);

/* The module calls its own entry through a pointer in ordinary memory. */
static long (*volatile self_op)(long) = counter_add;

long counter_self(long n)
{
	long got = self_op(n);

	return got == total ? answer() : -3;
}
EXPORT_SYMBOL(counter_self);

/* `levels` frames of this module, then a call-out at the bottom. */
static noinline long descend(long levels)
{
	volatile long local = levels;
	long got;

	if (levels <= 0)
		got = kernel_callout(total);
	else
		got = descend(levels - 1);
	return got + (local - levels) + (secret ? 0 : 1000000);
}

long counter_deep(long levels)
{
	return descend(levels);
}
EXPORT_SYMBOL(counter_deep);

/* Long enough to be interrupted. */
long counter_spin(long loops)
{
	for (long i = 0; i < loops; i++)
		__asm__ volatile("" : "+r"(i));
	total++;
	return answer();
}
EXPORT_SYMBOL(counter_spin);

/* Stays inside until another vCPU says so. Returns the loops that it took, -1 after `limit`. */
long counter_wait(volatile long *flag, long limit)
{
	for (long i = 0; i < limit; i++) {
		if (!secret)
			return -4;
		if (*flag)
			return i;
		__asm__ volatile("pause");
	}
	return -1;
}
EXPORT_SYMBOL(counter_wait);

/*
 * A load that may fault; the kernel then continues behind it with RAX = -EFAULT. Registers are
 * fixed so that the load is 3 bytes, which is how the guest's handler finds the fixup.
 */
long counter_load(const long *from)
{
	long value = 0, error = 0;

	__asm__ volatile("1: mov (%%rdi), %%rdx\n"
			 "2:\n" EXTABLE_EFAULT("1b", "2b", 0)
			 : "+a"(error), "+d"(value)
			 : "D"(from));
	if (!secret)
		return -4;
	return error ? error : value;
}
EXPORT_SYMBOL(counter_load);

#define STRUCK_BY(insns)                                                                           \
	__asm__ volatile(insns "1: mov (%%rdi), %%rdx\n"                                           \
			       "2:\n" EXTABLE_EFAULT("1b", "2b", 0)                                \
			 : "+a"(error), "+d"(value)                                                \
			 : "D"(from), "S"(vector))

/* At the load with the fixup strikes an interrupt, or int1's or int3's exception; RAX stays. */
long counter_struck_load(const long *from, long vector)
{
	long error = 0, value = 0;

	switch (vector) {
	case 1: STRUCK_BY(".byte 0xf1\n"); break;
	case 3: STRUCK_BY("int3\n"); break;
	default: STRUCK_BY("mov %%rsi, %%rax; outb %%al, $0xf6\n");
	}
	return secret ? error : -4;
}
EXPORT_SYMBOL(counter_struck_load);

long counter_warn(long n)
{
	if (n > 0)
		WARN_HERE();
	total += n;
	return answer();
}
EXPORT_SYMBOL(counter_warn);

static noinline long key_value(void)
{
	return static_branch(fast_key);
}

long counter_key(void)
{
	return secret ? key_value() : -1;
}
EXPORT_SYMBOL(counter_key);

/* The kernel may switch the key while this waits. Returns 10 * before + after. */
long counter_key_callout(long n)
{
	long before = key_value();

	kernel_callout(n);
	return secret ? 10 * before + key_value() : -1;
}
EXPORT_SYMBOL(counter_key_callout);

/* Where the secret lies is no secret. */
unsigned long counter_where(void)
{
	return (unsigned long)&secret;
}
EXPORT_SYMBOL(counter_where);

int __init init_module(void)
{
	total = 0;
	printk("counter: ready\n");
	return 0;
}

void __exit cleanup_module(void)
{
	secret = 0;
	printk("counter: gone\n");
}
