/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pair_a: calls pair_b, which calls back. To each of them the other is the untrusted outside.
 *
 * pair_a_run(3) by the time of the innermost call, oldest first; every arrow is a crossing, or
 * two where one module's way out is the other's way in:
 *
 *	kernel -> A run(3) -> B run(3) -> A step(2) -> B run(2) -> A step(1) -> B run(1) -> A step(0)
 */
#include "corpus/modules/module.h"
#include "corpus/modules/pair.h"

MODULE_INFO(license, "GPL");
MODULE_INFO(description, "sample: first of two modules that call each other");

static unsigned long secret_a __private = PAIR_A_SECRET;
static long steps __private;

/* Called back by pair_b, through a pointer to this module's enter gate. */
long pair_a_step(long depth)
{
	long got = 0;

	if (secret_a != PAIR_A_SECRET)
		return -1;
	steps++;
	if (depth > 0)
		got = pair_b_run(depth, pair_a_step);
	return secret_a == PAIR_A_SECRET ? got + 1 : -1;
}
EXPORT_SYMBOL(pair_a_step);

/* Returns 1 for every step of A and 100 for every one of B, or less than 0. */
long pair_a_run(long depth)
{
	long got;

	steps = 0;
	got = pair_b_run(depth, pair_a_step);
	if (got < 0 || secret_a != PAIR_A_SECRET)
		return -1;
	return steps == got % 100 ? got : -2;
}
EXPORT_SYMBOL(pair_a_run);

long pair_a_check(unsigned long guess)
{
	return guess == secret_a;
}
EXPORT_SYMBOL(pair_a_check);

/* Reads for the kernel with this module's privilege: never the other's (I14). */
long pair_a_peek(const unsigned long *p)
{
	return (long)*(const volatile unsigned long *)p;
}
EXPORT_SYMBOL(pair_a_peek);

/* Where the secret lies is no secret. */
unsigned long pair_a_where(void)
{
	return (unsigned long)&secret_a;
}
EXPORT_SYMBOL(pair_a_where);

int __init init_module(void)
{
	return pair_b_check(PAIR_B_SECRET) ? 0 : -1;
}

void __exit cleanup_module(void)
{
	secret_a = 0;
}
