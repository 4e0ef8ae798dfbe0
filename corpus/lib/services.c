/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the sample modules import (besides printk). A guest decides through the hooks what its
 * kernel does while a module waits for it.
 */
#include "corpus/lib/guest.h"

struct kernel_hooks hooks;

long kernel_callout(long n)
{
	return hooks.callout ? hooks.callout(n) : n;
}

void kernel_fill(long *out)
{
	if (hooks.fill)
		hooks.fill(out);
	else
		*out = 42;
}

/* Weights, so that swapped arguments show. The caller passes them in reverse. */
long kernel_sum8(long a, long b, long c, long d, long e, long f, long g, long h)
{
	return h + 2 * g + 3 * f + 4 * e + 5 * d + 6 * c + 7 * b + 8 * a;
}
