/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What libFuzzer gets to know beside the core's edges: which verdict came after which, and from which place
 * in the guest to which its crossings went.
 */
#ifndef FUZZ_FEEDBACK_H
#define FUZZ_FEEDBACK_H

#include "model/guard.h"

/* A new input: nothing came before. */
void fuzz_feedback_begin(void);
void fuzz_feedback(const struct guard_line *l);

#endif
