/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every field of every manifest record as data, for JSON: what it is called and how to show it.
 */
#ifndef WRAP_MANIFEST_FIELDS_H
#define WRAP_MANIFEST_FIELDS_H

#include <stddef.h>
#include <stdint.h>

enum field_kind {
	FIELD_NUMBER, /* GM_NONE is null */
	FIELD_SIGNED,
	FIELD_NAME, /* offset into names, shown as the string */
	FIELD_ENUM,
	FIELD_END
};

struct manifest_field {
	const char *name;
	size_t offset;
	uint8_t width, kind;
	const char *const *strings; /* FIELD_ENUM: NULL-terminated */
};

/* One list for each table of manifest_tables[], in its order; NULL: bytes or bare numbers. */
extern const struct manifest_field *const manifest_fields[];
/* The header's scalar fields. */
extern const struct manifest_field manifest_header_fields[];

#endif
