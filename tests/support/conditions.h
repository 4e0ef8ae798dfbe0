/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The conditions that the checks before a raise look at, each of which can be set up alone or
 * with any other, and undone. Which verdict they lead to is the tests' oracle's business.
 */
#ifndef TESTS_SUPPORT_CONDITIONS_H
#define TESTS_SUPPORT_CONDITIONS_H

#include "tests/support/world.h"

#define COND_MODES 12u /* bits of cond_mode() */
#define COND_FLAGS 4u  /* bits of cond_flags(): TF, DF, NT, AC */
#define COND_FLAG_AC 8u
#define COND_MAPPINGS 6u /* bits of cond_mapping(): text ... init */

enum cond_stack {
	STACK_GOOD,
	STACK_NOT_CANONICAL,
	STACK_USER_HALF,
	STACK_UNALIGNED,
	STACK_UNMAPPED,
	STACK_READ_ONLY,
	STACK_USER_PAGE,
	STACK_MMIO,
	STACK_BOUND_DEVICE,
	STACK_ON_DATA,
	STACK_ON_TEXT,
	STACK_ON_GATES,
	STACK_ON_PRIVATE,
	STACK_HEADROOM_UNMAPPED,
	STACK_HEADROOM_READ_ONLY,
	STACK_HEADROOM_DATA,
	STACK_BELOW_PRIVATE,
	STACK_BELOW_DEVICE,
	STACK_LOWEST_PRIVATE, /* in the last of the 16 KiB */
	STACK_OVERLAP,	      /* the frames of an activation that runs on vCPU 1 */
	STACK_FIRST_GOOD,     /* from here on nothing is wrong */
	STACK_HOLE_THEN_PRIVATE = STACK_FIRST_GOOD,
	STACK_BEYOND_16K_PRIVATE,
	STACK_BELOW_DATA, /* ordinary data of a module, below the headroom */
	STACK_BELOW_READ_ONLY,
	COND_STACKS
};

/* The slot for which the stack conditions are made: page offset 0x100 of thread 0's 2nd page. */
#define COND_SLOT_OFFSET 0x100u
uint64_t cond_slot(void);

struct cond_undo {
	unsigned n;
	struct {
		uint64_t *pte, old;
	} edit[32];
};

void cond_mode(struct guard_cpu *c, unsigned bits);
void cond_flags(struct guard_cpu *c, unsigned bits);
void cond_mapping(struct world *w, struct wmodule *m, unsigned bits, struct cond_undo *u);
/* Sets vCPU 0's RSP too. */
void cond_stack(struct world *w, struct wmodule *m, enum cond_stack kind, struct cond_undo *u);
bool cond_stack_is_bad(enum cond_stack kind);
void cond_undo(struct cond_undo *u);
/* Points the leaf of gva elsewhere, to be undone. */
void cond_remap(struct world *w, uint64_t gva, uint64_t entry, struct cond_undo *u);
/* vCPU 1 enters on thread 1 with its slot at COND_SLOT_OFFSET too, and stays inside. */
void cond_run_vcpu1(struct world *w, struct wmodule *m);

#endif
