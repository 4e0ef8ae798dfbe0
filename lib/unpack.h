/* SPDX-License-Identifier: GPL-2.0-only */
/* Compressed files, as distributions ship kernel modules: .xz and .zst. */
#ifndef LIB_UNPACK_H
#define LIB_UNPACK_H

#include "lib/error.h"
#include "lib/file.h"

/*
 * If b starts like an xz or zstd file, replaces it by what it unpacks to, at most max bytes; any
 * other contents stay as they are. The first bytes decide, not the name. On an error b is freed.
 */
bool blob_unpack(struct blob *b, const char *path, size_t max, struct error *err);

#endif
