/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mutation of inputs that are a head and steps of one size, for targets whose any bytes mean something:
 * insert, delete, swap, copy, splice, one operand. The target says what a new step looks like.
 */
#ifndef FUZZ_STEPS_H
#define FUZZ_STEPS_H

#include <stddef.h>
#include <stdint.h>

struct fuzz_steps {
	size_t head, step, most; /* bytes of the head, of a step; steps of an input */
	uint8_t kinds;		 /* values of a step's first byte */
	/* The head of an input that has none, or of one that is to become another. */
	void (*begin)(uint64_t *x, uint8_t *head);
	void (*fresh)(uint64_t *x, uint8_t *step);
	/* The same step by somebody else; NULL: there is nobody. */
	void (*other)(uint64_t *x, uint8_t *step);
};

#define FUZZ_STEP_MAX 8u /* bytes */

/* A number below n; the same ones from the same *x. */
uint32_t fuzz_roll(uint64_t *x, uint32_t n);
/* In place; returns the new size, at most `room`. `data` has a head already, or is shorter. */
size_t fuzz_steps_mutate(const struct fuzz_steps *shape, uint8_t *data, size_t size, size_t room,
			 const uint8_t *other, size_t other_size, uint32_t seed);

#endif
