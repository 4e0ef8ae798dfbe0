/* SPDX-License-Identifier: GPL-2.0-only */
/* Offsets, sizes and constants of Linux's structures, read from a file: never typed in. */
#ifndef HOSTED_OFFSETS_H
#define HOSTED_OFFSETS_H

#include <stdint.h>

#include "lib/error.h"

struct offsets {
	char release[64]; /* of the kernel that they belong to */
#define O(id, type, member) uint32_t id;
#define S(id, type) uint32_t id;
#define C(id, value) uint32_t id;
#include "hosted/offsets.def"
#undef O
#undef S
#undef C
};

/* path NULL: hosted-offsets.txt beside the module, then under build/debian. */
bool offsets_load(struct offsets *off, const char *path, const char *module, struct error *err);

#endif
