/* SPDX-License-Identifier: GPL-2.0-only */
/* Whole files in and out of memory, bounded, with errors that name the file. */
#ifndef LIB_FILE_H
#define LIB_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

struct blob {
	uint8_t *data; /* malloc'ed, 16-aligned; blob_free() */
	size_t size;
};

/* Reads a regular file of at most max bytes. */
bool blob_read(struct blob *b, const char *path, size_t max, struct error *err);
/* Writes to a temporary beside path, then renames: a reader never sees half a file. */
bool blob_write(const char *path, const void *data, size_t size, struct error *err);
void blob_free(struct blob *b);

#endif
