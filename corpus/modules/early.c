/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * early: a module whose init code is called back by the kernel while init runs, as a network
 * driver's setup function is when it registers its device. All of it is freed after init.
 */
#include "corpus/modules/module.h"

MODULE_INFO(license, "GPL");
MODULE_INFO(description, "sample: callbacks in init code");

#define EARLY_SECRET 0xea51ea51ea51ea51ul

static unsigned long secret __private = EARLY_SECRET;
static long total __private;

/* A pointer that the kernel can write; init aims it at init code. */
static long (*volatile hook)(long) = 0;

/* The total, or -1 if private memory does not answer: then this code is not privileged. */
static noinline long answer(void)
{
	return secret ? total : -1;
}

long early_check(unsigned long guess)
{
	return guess == secret;
}
EXPORT_SYMBOL(early_check);

long early_get(void)
{
	return answer();
}
EXPORT_SYMBOL(early_get);

long early_hook(long n)
{
	long got = hook ? hook(n) : 0;

	return secret ? got : -1;
}
EXPORT_SYMBOL(early_hook);

long __init early_setup(long n)
{
	total += n;
	return answer();
}

/* The same, and it calls out in between. */
long __init early_probe(long n)
{
	total += kernel_callout(n);
	return answer();
}

/* Registers, and is called back before this returns. */
int __init init_module(void)
{
	hook = early_setup;
	total += kernel_callout((long)early_probe);
	return (int)answer();
}

void __exit cleanup_module(void)
{
	hook = 0;
}
