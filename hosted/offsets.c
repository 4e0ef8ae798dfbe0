// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads the offsets that tools/hosted-offsets.sh wrote. Every name of offsets.def must be there:
 * an old file is told apart from a broken one by the name that it lacks.
 */
#include "hosted/offsets.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/file.h"

#define OFFSETS_FILE "hosted-offsets.txt"
#define OFFSETS_MAX_BYTES 65536u
#define OFFSETS_MAX_VALUE 65536u
#define FETCH "`make corpus-debian` makes it"

static const struct {
	const char *name;
	size_t at;
} names[] = {
#define O(id, type, member) { #id, offsetof(struct offsets, id) },
#define S(id, type) { #id, offsetof(struct offsets, id) },
#define C(id, value) { #id, offsetof(struct offsets, id) },
#include "hosted/offsets.def"
#undef O
#undef S
#undef C
};

#define NAMES (sizeof(names) / sizeof(names[0]))

static bool parse_line(struct offsets *off, bool *seen, char *line, const char *path, size_t at,
		       struct error *err)
{
	char *value = strchr(line, ' ');
	char *end;
	unsigned long n;
	size_t i;

	if (!value)
		return error_set(err, "%s: offset 0x%zx: expected \"name value\"", path, at);
	*value++ = '\0';
	if (!strcmp(line, "release")) {
		snprintf(off->release, sizeof(off->release), "%s", value);
		return true;
	}
	for (i = 0; i < NAMES && strcmp(names[i].name, line); i++)
		;
	if (i == NAMES)
		return true; /* of a newer list: not needed */
	n = strtoul(value, &end, 10);
	if (end == value || *end || n > OFFSETS_MAX_VALUE)
		return error_set(err, "%s: offset 0x%zx: %s: not a number up to %u", path, at, line,
				 OFFSETS_MAX_VALUE);
	*(uint32_t *)((char *)off + names[i].at) = (uint32_t)n;
	seen[i] = true;
	return true;
}

static bool parse(struct offsets *off, const char *path, const struct blob *b, struct error *err)
{
	bool seen[NAMES] = { false };
	size_t at = 0, len;
	char line[128];
	const char *nl;

	while (at < b->size) {
		nl = memchr(b->data + at, '\n', b->size - at);
		len = (nl ? (size_t)(nl - (const char *)b->data) : b->size) - at;
		if (len >= sizeof(line))
			return error_set(err, "%s: offset 0x%zx: line too long", path, at);
		memcpy(line, b->data + at, len);
		line[len] = '\0';
		if (len && !parse_line(off, seen, line, path, at, err))
			return false;
		at += len + 1;
	}
	if (!off->release[0])
		return error_set(err, "%s: no \"release\" line: %s", path, FETCH);
	for (size_t i = 0; i < NAMES; i++)
		if (!seen[i])
			return error_set(err, "%s: lacks %s: %s anew", path, names[i].name, FETCH);
	return true;
}

bool offsets_load(struct offsets *off, const char *path, const char *module, struct error *err)
{
	char found[PATH_MAX];
	const char *slash = strrchr(module, '/');
	struct blob b = { 0 };
	bool ok;

	memset(off, 0, sizeof(*off));
	if (!path) {
		snprintf(found, sizeof(found), "%.*s" OFFSETS_FILE,
			 slash ? (int)(slash - module + 1) : 0, module);
		if (access(found, R_OK))
			snprintf(found, sizeof(found), "build/debian/" OFFSETS_FILE);
		if (access(found, R_OK))
			return error_set(err,
					 "%s: no structure offsets of its kernel beside it or in "
					 "build/debian: `make corpus-debian` makes them",
					 module);
		path = found;
	}
	if (!blob_read(&b, path, OFFSETS_MAX_BYTES, err))
		return false;
	ok = parse(off, path, &b, err);
	blob_free(&b);
	return ok;
}
