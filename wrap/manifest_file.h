/* SPDX-License-Identifier: GPL-2.0-only */
/* The manifest's tables as data: for the check and for JSON. */
#ifndef WRAP_MANIFEST_FILE_H
#define WRAP_MANIFEST_FILE_H

#include <stddef.h>

#include "wrap/wrap.h"

#define MANIFEST_TABLES 15u

struct manifest_table {
	const char *name;
	size_t header_offset; /* of its struct gm_table */
	uint32_t stride, max;
};
extern const struct manifest_table manifest_tables[MANIFEST_TABLES];

#endif
