/* SPDX-License-Identifier: GPL-2.0-only */
/* Entries of the sample module `counter`, as a guest calls them (through their enter gates). */
#ifndef CORPUS_COUNTER_H
#define CORPUS_COUNTER_H

#define COUNTER_SECRET 0x5ec2e7c0de15900dul

long counter_add(long n);
long counter_get(void);
long counter_check(unsigned long guess);
long counter_set(unsigned long value);
long counter_say(long n);
long counter_callout(long n);
long counter_callback(long (*fn)(void *ctx, long n), void *ctx);
long counter_tail(long n);
long counter_sum8(long a, long b, long c, long d, long e, long f, long g, long h);
long counter_fill(void);
long counter_self(long n);
long counter_deep(long levels);
long counter_spin(long loops);
long counter_wait(volatile long *flag, long limit);
long counter_load(const long *from);
long counter_warn(long n);
long counter_key(void);
long counter_key_callout(long n);
unsigned long counter_where(void);

#endif
