/* SPDX-License-Identifier: GPL-2.0-only */
/* Entries of the two sample modules `pair_a` and `pair_b`, which call each other. */
#ifndef CORPUS_PAIR_H
#define CORPUS_PAIR_H

#define PAIR_A_SECRET 0xaaaa5ec2e7a0a0a0ul
#define PAIR_B_SECRET 0xbbbb5ec2e7b0b0b0ul

long pair_a_run(long depth);
long pair_a_step(long depth);
long pair_a_check(unsigned long guess);
long pair_a_peek(const unsigned long *p);
long pair_b_run(long depth, long (*back)(long depth));
long pair_b_check(unsigned long guess);
long pair_b_peek(const unsigned long *p);
unsigned long pair_a_where(void);
unsigned long pair_b_where(void);

#endif
