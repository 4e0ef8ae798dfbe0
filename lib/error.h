/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One error: what, where, what was expected. Filled by whoever finds it, printed once by a verb.
 */
#ifndef LIB_ERROR_H
#define LIB_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

struct error {
	char text[512]; /* one line without newline: "FILE: offset 0x1c: ..." */
};

/*
 * Formats into err (if not NULL) and returns false, so that `return error_set(...)` reads well. Paths are
 * somebody's words: a control character becomes '?'.
 */
bool error_set(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool error_vset(struct error *err, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));
/*
 * "PATH: offset 0x..: TEXT" about a place in a file. Names in the text may be the file's own words:
 * what is not printable becomes '?'.
 */
bool error_at(struct error *err, const char *path, uint64_t offset, const char *fmt, va_list ap)
	__attribute__((format(printf, 4, 0)));

/* Puts "PATH: " before what err says, for an error found in what the file at PATH led to. false. */
bool error_within(struct error *err, const char *path);

#endif
