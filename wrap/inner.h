/* SPDX-License-Identifier: GPL-2.0-only */
/* Code that wrapped modules get instead of some imports: leaf functions without a stack. */
#ifndef WRAP_INNER_H
#define WRAP_INNER_H

#include <stdint.h>

#define INNER_COPIES 16

struct inner_copy {
	const char *import; /* what it stands for */
	const char *symbol; /* its name in a wrapped module */
	const uint8_t *code, *end;
};

/* Copy i < INNER_COPIES; aliases follow each other and share code. NULL: there is none such. */
const struct inner_copy *inner_copy(unsigned i);
/* Index of the copy for an import, -1: none. */
int inner_find(const char *import);

#endif
