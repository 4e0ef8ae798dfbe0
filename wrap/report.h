/* SPDX-License-Identifier: GPL-2.0-only */
/* What `guardhouse inspect` tells, as JSON; the verb turns it into text. */
#ifndef WRAP_REPORT_H
#define WRAP_REPORT_H

#include <jansson.h>

#include "wrap/wrap.h"

/*
 * A kernel module as wrapping sees it: entries with their source, exits by function, indirect
 * branches that stay raw, patch sites, sizes. NULL: it would be refused, *err says why.
 */
json_t *report_module(const struct wrap_options *opt, const char *path, const struct blob *in,
		      struct error *err);
/* The gates of an object that is already wrapped. NULL: *err. */
json_t *report_wrapped(const char *path, const struct blob *in, struct error *err);
/* Is this ELF object already wrapped? false also if it cannot be read. */
bool report_is_wrapped(const char *path, const struct blob *in);
/* A manifest in short; its whole content is manifest_to_json()'s. NULL: *err. */
json_t *report_manifest(const char *path, const struct blob *in, struct error *err);

#endif
