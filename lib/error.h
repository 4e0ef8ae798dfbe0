/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One error: what, where, what was expected. Filled by whoever finds it, printed once by a verb.
 */
#ifndef LIB_ERROR_H
#define LIB_ERROR_H

#include <stdbool.h>

struct error {
	char text[512]; /* one line without newline: "FILE: offset 0x1c: ..." */
};

/* Formats into err (if not NULL) and returns false, so that `return error_set(...)` reads well. */
bool error_set(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
