/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an engine gets to know beside the core's edges: which verdict came after which, from which place
 * in the guest to which its crossings went, and which branches the guest took in between.
 */
#ifndef FUZZ_FEEDBACK_H
#define FUZZ_FEEDBACK_H

#include "model/guard.h"

/* A new input: nothing came before. */
void fuzz_feedback_begin(void);
void fuzz_feedback(const struct guard_line *l);
/* A basic block of the guest is executed: for sim_note_blocks(). */
void fuzz_feedback_block(uint64_t rip);

#endif
