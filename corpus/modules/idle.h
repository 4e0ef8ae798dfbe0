/* SPDX-License-Identifier: GPL-2.0-only */
/* Entries of the sample module `idle`. */
#ifndef CORPUS_IDLE_H
#define CORPUS_IDLE_H

#include <stdint.h>

/* What a vCPU sleeps on: one cache line, which MONITOR watches. */
struct idle_line {
	volatile uint64_t work; /* != 0: wake up */
	volatile uint64_t
		polling; /* != 0: writing `work` is enough; 0: it needs an interrupt, too */
	uint64_t reserved[6];
} __attribute__((aligned(64)));

enum idle_how { IDLE_MWAIT, IDLE_HLT };

/*
 * Sleeps until line->work is not 0; called and left with interrupts off. `status`: word 0 of the
 * vCPU's status page, `bit` this module's in it. Returns line->work, -1 if it is not privileged.
 */
long idle_wait(struct idle_line *line, const volatile uint64_t *status, uint64_t bit);
/* How often idle_wait() chose that, on all vCPUs; -1: not privileged. */
long idle_count(long how);

#endif
