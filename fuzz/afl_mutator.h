/* SPDX-License-Identifier: GPL-2.0-only */
/* A target's mutation, as AFL++ gets it: one library for each, of afl_mutator.c and the mutation. */
#ifndef FUZZ_AFL_MUTATOR_H
#define FUZZ_AFL_MUTATOR_H

#include <stddef.h>
#include <stdint.h>

struct afl_mutator {
	/* Changes data[size] in place, with pieces of other[]; returns the new size, at most room. */
	size_t (*mutate)(uint8_t *data, size_t size, size_t room, const uint8_t *other,
			 size_t other_size, uint32_t seed);
	size_t most; /* bytes of an input */
};

extern const struct afl_mutator afl_mutator;

#endif
