/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the target `guest` share: scenarios for the puppet in the simulator, with the
 * oracle beside the core (docs/fuzzing.md, "The target guest").
 *
 *   mutate.c  mutation by typed steps, for both engines     ../targets/guest.c  plays them
 */
#ifndef FUZZ_PUPPET_PUPPET_H
#define FUZZ_PUPPET_PUPPET_H

#include <stddef.h>
#include <stdint.h>

#include "scenario/scenario.h"

#define FG_MAX_INPUT 8192u
#define FG_MAX_STEPS 32u

/* The honest scenario that all begins with, in the text form. */
extern const char fg_honest[];

/*
 * The steps of a scenario, without expectations, in the honest one's world: a seed. false: it asks for
 * more than that has, or nothing is left.
 */
bool fg_seed(const struct scenario *from, struct blob *out);

/*
 * Changes the scenario in data[size] in place, with pieces of other[other_size] now and then; returns
 * its new size, at most `room`. What is no scenario in binary form becomes the honest one first.
 */
size_t fg_mutate(uint8_t *data, size_t size, size_t room, const uint8_t *other, size_t other_size,
		 uint32_t seed);

#endif
