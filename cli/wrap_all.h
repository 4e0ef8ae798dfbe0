/* SPDX-License-Identifier: GPL-2.0-only */
/* `guardhouse wrap --all`: a folder of modules at once. */
#ifndef CLI_WRAP_ALL_H
#define CLI_WRAP_ALL_H

#include "lib/error.h"
#include "wrap/wrap.h"

#define MAX_MODULE_BYTES (256u << 20)

/* Reads a module, unpacked if it is compressed. */
bool wrap_read(struct blob *in, const char *path, struct error *err);

/*
 * Wraps every .ko, .ko.xz and .ko.zst below `input` into the same place below `output`, as NAME.ko
 * and NAME.manifest, in `jobs` processes; prints a summary, to `json` (if not NULL) with one record
 * for each module. Refused modules are no failure: they are listed. false: err says what went wrong.
 */
bool wrap_all(const struct wrap_options *opt, const char *input, const char *output, unsigned jobs,
	      const char *json, struct error *err);

#endif
