/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The toolchain: turns a relocatable kernel module (ET_REL) into a guarded one and describes it.
 *
 * All in memory, so that `guardhouse run --module` can wrap what it loads. The input is hostile:
 * anything that is not understood is refused with file, offset and construct.
 */
#ifndef WRAP_WRAP_H
#define WRAP_WRAP_H

#include "lib/error.h"
#include "lib/file.h"
#include "model/manifest.h"

struct wrap_privilege {
	enum gm_privilege_kind kind;
	const char *name;
	uint32_t first, last; /* I/O ports or MSRs */
};

struct wrap_options {
	const char *name; /* module name in the manifest; NULL: from the file name */
	enum gm_x_kind x;
	const char *const *private_sections; /* ".guard_private" is always private */
	size_t private_count;
	const struct wrap_privilege
		*privileges; /* PRIVATE is added if there is a private section */
	size_t privilege_count;
	/* The developer's own choice of entries, by function name; NULL: all whose address is taken. */
	const char *const *entries;
	size_t entries_count;
	bool no_inner_lib; /* calls of memcpy and the like leave, as all others do */
	bool views;	   /* only describe it: the object stays, crossings are execute faults */
};

/* What wrapping found, for summaries. */
struct wrap_stats {
	uint64_t code, instructions; /* bytes */
	uint32_t entries, gates, exits, sites, unwind_rows, raw_branches;
	uint32_t leaving; /* branches to leave gates */
	uint32_t inner;	  /* branches to inner copies: as many crossings out and in are saved */
	uint32_t raw_pointers; /* taken addresses that --entries left as they are */
};

struct wrap_result {
	struct blob ko;	      /* wrapped ET_REL; views: a copy of the input */
	struct blob manifest; /* binary, passes gm_validate() */
	struct wrap_stats stats;
};

bool wrap_module(const struct wrap_options *opt, const char *path, const struct blob *in,
		 struct wrap_result *out, struct error *err);
void wrap_result_free(struct wrap_result *r);

/* Binary manifest <-> JSON for people: same content, either way (tested). Caller frees *json. */
bool manifest_to_json(const char *path, const struct blob *manifest, char **json,
		      struct error *err);
bool manifest_from_json(const char *path, const char *json, size_t len, struct blob *manifest,
			struct error *err);

/* The whole validation of hostile manifests for hosted tools; names and their bounds included,
 * which the core does not look at. Error text names file and byte offset. */
bool manifest_check(const char *path, const struct blob *manifest, struct error *err);
/* A string of the names table; "" if n is out of range. */
const char *manifest_name(const struct blob *manifest, uint32_t n);
/* SHA-256; its first 8 bytes, little endian, are the module's id. */
void manifest_digest(const struct blob *manifest, uint8_t out[32]);

#endif
