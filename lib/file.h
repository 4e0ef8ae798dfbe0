/* SPDX-License-Identifier: GPL-2.0-only */
/* Whole files in and out of memory, bounded, with errors that name the file. */
#ifndef LIB_FILE_H
#define LIB_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/error.h"

struct blob {
	uint8_t *data; /* malloc'ed, 16-aligned; blob_free() */
	size_t size;
};

/* Reads a regular file of at most max bytes. */
bool blob_read(struct blob *b, const char *path, size_t max, struct error *err);
/*
 * Writes to a temporary beside path, then renames: a reader never sees half a file. Symlinks are
 * followed and stay; so does the mode of a file that is replaced. What is no regular file (a
 * device, a FIFO) is written in place.
 */
bool blob_write(const char *path, const void *data, size_t size, struct error *err);
/* Makes a new file of this mode, less the umask: whole or not at all, and never over another. */
bool blob_create(const char *path, const void *data, size_t size, mode_t mode, struct error *err);
/* Could blob_write() write there? Leaves what is there alone. */
bool blob_writable(const char *path, struct error *err);
/* Do both name one regular file, or one place where there is none yet? */
bool path_same(const char *a, const char *b);
void blob_free(struct blob *b);

#endif
