/* SPDX-License-Identifier: GPL-2.0-only */
/* pair_b: the second of two modules that call each other; see pair_a.c. Loaded first. */
#include "corpus/modules/module.h"
#include "corpus/modules/pair.h"

MODULE_INFO(license, "GPL");
MODULE_INFO(description, "sample: second of two modules that call each other");

static unsigned long secret_b __private = PAIR_B_SECRET;

long pair_b_run(long depth, long (*back)(long depth))
{
	long got = 0;

	if (secret_b != PAIR_B_SECRET)
		return -1;
	if (depth > 0)
		got = back(depth - 1);
	if (got < 0 || secret_b != PAIR_B_SECRET)
		return -1;
	return got + 100;
}
EXPORT_SYMBOL(pair_b_run);

long pair_b_check(unsigned long guess)
{
	return guess == secret_b;
}
EXPORT_SYMBOL(pair_b_check);

long pair_b_peek(const unsigned long *p)
{
	return (long)*(const volatile unsigned long *)p;
}
EXPORT_SYMBOL(pair_b_peek);

unsigned long pair_b_where(void)
{
	return (unsigned long)&secret_b;
}
EXPORT_SYMBOL(pair_b_where);

int __init init_module(void)
{
	return 0;
}

void __exit cleanup_module(void)
{
	secret_b = 0;
}
