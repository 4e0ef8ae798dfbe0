/* SPDX-License-Identifier: GPL-2.0-only */
/* What the guest `modes` counts, and where in its mailbox the host finds it (cli/compare_modes.c). */
#ifndef CORPUS_GUESTS_MODES_H
#define CORPUS_GUESTS_MODES_H

#include <stdint.h>

#define MODES_ROWS 64u /* offset; the name of a module lies before */
#define MODES_MAX 5u

struct modes_row {
	char name[16];
	uint64_t calls; /* of the module's entries, from outside */
	uint64_t outs;	/* of the module, that arrived outside */
	uint64_t tails; /* those of them that ended the call */
	uint64_t time;	/* simulated, of the rounds */
};

_Static_assert(sizeof(struct modes_row) == 48, "layout");

#endif
