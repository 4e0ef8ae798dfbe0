// SPDX-License-Identifier: GPL-2.0-only
/*
 * The manifest as JSON and back, without loss: one line a record, names as strings, kinds as words,
 * image bytes in hex. Where a table lies in the file is part of it ("at").
 */
#define _GNU_SOURCE /* qsort_r */
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wrap/manifest_fields.h"
#include "wrap/manifest_file.h"

#define HEX_LINE 32u
#define NAMES_TABLE (MANIFEST_TABLES - 1)

/* ---- names by string ---- */

/* Offsets of all strings of the names table, sorted by string, then offset. */
struct name_index {
	const char *names;
	uint32_t *at;
	size_t count;
};

static int by_string(const void *a, const void *b, void *names)
{
	const uint32_t *x = a, *y = b;
	int d = strcmp((const char *)names + *x, (const char *)names + *y);

	return d ? d : *x < *y ? -1 : *x > *y;
}

static bool index_names(struct name_index *n, const uint8_t *manifest)
{
	const struct gm_header *h = (const void *)manifest;

	*n = (struct name_index){ .names = (const char *)manifest + h->names.offset };
	for (uint32_t i = 0; i < h->names.count; i++)
		n->count += n->names[i] == 0;
	n->at = calloc(n->count + 1, sizeof(*n->at));
	if (!n->at)
		return false;
	n->count = 0;
	for (uint32_t i = 0; i < h->names.count; i += (uint32_t)strlen(n->names + i) + 1)
		n->at[n->count++] = i;
	if (n->count)
		qsort_r(n->at, n->count, sizeof(*n->at), by_string, (void *)(uintptr_t)n->names);
	return true;
}

/* Where the table first has this string; GM_NONE: nowhere. */
static uint32_t first_name(const struct name_index *n, const char *s)
{
	size_t lo = 0, hi = n->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(n->names + n->at[mid], s) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < n->count && strcmp(n->names + n->at[lo], s) == 0 ? n->at[lo] : GM_NONE;
}

/* ---- binary to JSON ---- */

struct text {
	char *data;
	size_t len, room;
	bool failed;
	const struct name_index *names;
};

static bool reserve(struct text *t, size_t n)
{
	if (t->failed)
		return false;
	if (t->room - t->len < n) {
		size_t room = (t->room + n) * 2 + 65536;
		char *grown = realloc(t->data, room);

		if (!grown) {
			t->failed = true;
			return false;
		}
		t->data = grown;
		t->room = room;
	}
	return true;
}

static void put(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Short texts: a line of fields, never a name. */
static void put(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (!reserve(t, 256))
		return;
	va_start(ap, fmt);
	n = vsnprintf(t->data + t->len, 256, fmt, ap);
	va_end(ap);
	if (n < 0 || n >= 256)
		t->failed = true;
	else
		t->len += (size_t)n;
}

/* Names are printable (manifest_check()): quotes and backslashes are all there is to escape. */
static void put_string(struct text *t, const char *s)
{
	if (!reserve(t, 2 * strlen(s) + 2))
		return;
	t->data[t->len++] = '"';
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			t->data[t->len++] = '\\';
		t->data[t->len++] = *s;
	}
	t->data[t->len++] = '"';
}

static uint64_t load(const uint8_t *p, unsigned width)
{
	uint64_t v = 0;

	memcpy(&v, p, width);
	return v;
}

static int64_t load_signed(const uint8_t *p, unsigned width)
{
	unsigned shift = 64 - 8 * width;

	return (int64_t)(load(p, width) << shift) >> shift;
}

static void put_field(struct text *t, const struct blob *m, const struct manifest_field *f,
		      const uint8_t *record)
{
	uint64_t v = load(record + f->offset, f->width);

	put(t, "\"%s\":", f->name);
	switch (f->kind) {
	case FIELD_SIGNED: put(t, "%" PRId64, load_signed(record + f->offset, f->width)); return;
	case FIELD_ENUM:
		for (uint64_t i = 0; f->strings[i]; i++)
			if (i == v) {
				put(t, "\"%s\"", f->strings[v]);
				return;
			}
		break; /* in a record that nothing refers to */
	case FIELD_NAME:
		/* a string that occurs twice, or a part of one, goes by number */
		if (first_name(t->names, manifest_name(m, (uint32_t)v)) == v) {
			put_string(t, manifest_name(m, (uint32_t)v));
			return;
		}
		break;
	default:
		if (f->width == 4 && v == GM_NONE) {
			put(t, "null");
			return;
		}
		break;
	}
	put(t, "%" PRIu64, v);
}

static void put_record(struct text *t, const struct blob *m, const struct manifest_field *f,
		       const uint8_t *record)
{
	put(t, "{");
	for (; f->kind != FIELD_END; f++) {
		put_field(t, m, f, record);
		put(t, f[1].kind == FIELD_END ? "}" : ",");
	}
}

static void put_hex(struct text *t, const uint8_t *bytes, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (i % HEX_LINE == 0)
			put(t, i ? "\",\n    \"" : "\n    \"");
		put(t, "%02x", bytes[i]);
	}
	if (count)
		put(t, "\"");
}

static void put_names(struct text *t, const char *names, uint32_t count)
{
	for (uint32_t at = 0; at < count; at += (uint32_t)strlen(names + at) + 1) {
		put(t, at ? ",\n    " : "\n    ");
		put_string(t, names + at);
	}
}

static void put_table(struct text *t, const struct blob *m, size_t i)
{
	const struct manifest_table *d = &manifest_tables[i];
	const struct gm_table *g = (const void *)(m->data + d->header_offset);
	const uint8_t *records = m->data + g->offset;

	put(t, ",\n  \"%s\": {\"at\": %u, \"records\": [", d->name, g->offset);
	if (i == NAMES_TABLE) {
		put_names(t, (const char *)records, g->count);
	} else if (d->stride == 1) {
		put_hex(t, records, g->count);
	} else {
		for (uint32_t k = 0; k < g->count; k++) {
			put(t, k ? ",\n    " : "\n    ");
			if (manifest_fields[i])
				put_record(t, m, manifest_fields[i], records + k * d->stride);
			else
				put(t, "%" PRIu64, load(records + k * d->stride, d->stride));
		}
	}
	put(t, "]}");
}

bool manifest_to_json(const char *path, const struct blob *manifest, char **json, struct error *err)
{
	struct name_index names;
	struct text t = { 0 };
	struct blob back;
	size_t same = 0;
	bool ok;

	*json = NULL;
	if (!manifest_check(path, manifest, err))
		return false;
	if (!index_names(&names, manifest->data))
		return error_set(err, "%s: out of memory", path);
	t.names = &names;
	put(&t, "{\n  \"format\": \"%s\"", GM_MAGIC);
	for (const struct manifest_field *f = manifest_header_fields; f->kind != FIELD_END; f++) {
		put(&t, ",\n  ");
		put_field(&t, manifest, f, manifest->data);
	}
	for (size_t i = 0; i < MANIFEST_TABLES; i++)
		put_table(&t, manifest, i);
	put(&t, "\n}\n");
	free(names.at);
	if (t.failed) {
		free(t.data);
		return error_set(err, "%s: out of memory", path);
	}
	/* what no field shows (reserved bytes, gaps between tables) must be zero: prove it */
	if (!manifest_from_json(path, t.data, t.len, &back, err)) {
		free(t.data);
		return false;
	}
	while (same < manifest->size && same < back.size && manifest->data[same] == back.data[same])
		same++;
	ok = same == manifest->size && same == back.size;
	blob_free(&back);
	if (!ok) {
		free(t.data);
		return error_set(err,
				 "%s: offset 0x%zx: a byte that belongs to no field is not zero",
				 path, same);
	}
	*json = t.data;
	return true;
}

/* ---- JSON to binary ---- */

struct reader {
	const char *path;
	uint8_t *data;
	size_t size;
	struct error *err;
	struct name_index names;
	const char *table; /* what is being read, for messages */
	size_t record;
};

static bool wrong(const struct reader *r, const char *field, const char *what)
{
	return error_set(r->err, "%s: offset 0x0: JSON: %s, record %zu, \"%s\": %s", r->path,
			 r->table, r->record, field, what);
}

static bool fits(int64_t v, const struct manifest_field *f)
{
	if (f->width == 8)
		return true;
	if (f->kind == FIELD_SIGNED)
		return v >= -(1ll << (8 * f->width - 1)) && v < 1ll << (8 * f->width - 1);
	return v >= 0 && v < 1ll << (8 * f->width);
}

static bool take_field(struct reader *r, const json_t *object, const struct manifest_field *f,
		       uint8_t *record)
{
	const json_t *j = json_object_get(object, f->name);
	uint64_t v = 0;

	if (!j)
		return wrong(r, f->name, "is missing");
	if (f->kind == FIELD_ENUM && json_is_string(j)) {
		while (f->strings[v] && strcmp(f->strings[v], json_string_value(j)) != 0)
			v++;
		if (!f->strings[v])
			return wrong(r, f->name, "this word is not known");
	} else if (f->kind == FIELD_NAME && json_is_string(j)) {
		v = first_name(&r->names, json_string_value(j));
		if (v == GM_NONE)
			return wrong(r, f->name, "this name is not in the table of names");
	} else if (f->kind == FIELD_NUMBER && f->width == 4 && json_is_null(j)) {
		v = GM_NONE;
	} else if (json_is_integer(j)) {
		if (!fits(json_integer_value(j), f))
			return wrong(r, f->name, "number out of range");
		v = (uint64_t)json_integer_value(j);
	} else {
		return wrong(r, f->name, "another type was expected");
	}
	memcpy(record + f->offset, &v, f->width);
	return true;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Bytes of an array of strings: hex, or names with their NULs. dst NULL: only counts. */
static bool take_bytes(struct reader *r, const json_t *array, bool names, uint8_t *dst,
		       size_t *count)
{
	*count = 0;
	for (r->record = 0; r->record < json_array_size(array); r->record++) {
		const json_t *j = json_array_get(array, r->record);
		const char *s = json_string_value(j);
		size_t len = json_string_length(j);

		if (!s || strlen(s) != len)
			return wrong(r, "bytes", "a string was expected");
		if (names) {
			if (dst)
				memcpy(dst + *count, s, len + 1);
			*count += len + 1;
			continue;
		}
		for (size_t i = 0; i < len; i += 2) {
			int hi = hex_digit(s[i]), lo = hi < 0 ? -1 : hex_digit(s[i + 1]);

			if (lo < 0)
				return wrong(r, "bytes", "pairs of hex digits were expected");
			if (dst)
				dst[*count] = (uint8_t)(hi << 4 | lo);
			++*count;
		}
	}
	return true;
}

/* Where a table is and how large, into the header. */
static bool take_place(struct reader *r, const json_t *root, size_t i, const json_t **records)
{
	const struct manifest_table *d = &manifest_tables[i];
	const json_t *o = json_object_get(root, d->name), *at = json_object_get(o, "at");
	struct gm_table t;
	size_t count;

	r->table = d->name;
	r->record = 0;
	*records = json_object_get(o, "records");
	if (!json_is_array(*records) || !json_is_integer(at))
		return wrong(r, "records", "a table with \"at\" and \"records\" was expected");
	if (json_integer_value(at) < (json_int_t)sizeof(struct gm_header) ||
	    json_integer_value(at) > (json_int_t)r->size || json_integer_value(at) % 8)
		return wrong(r, "at", "outside the manifest");
	count = json_array_size(*records);
	if (d->stride == 1 && !take_bytes(r, *records, i == NAMES_TABLE, NULL, &count))
		return false;
	t.offset = (uint32_t)json_integer_value(at);
	if (count > d->max || count * d->stride > r->size - t.offset)
		return wrong(r, "records", "more than fit");
	t.count = (uint32_t)count;
	memcpy(r->data + d->header_offset, &t, sizeof(t));
	return true;
}

static bool take_records(struct reader *r, size_t i, const json_t *records)
{
	const struct manifest_table *d = &manifest_tables[i];
	struct gm_table t;
	size_t n;

	memcpy(&t, r->data + d->header_offset, sizeof(t));
	r->table = d->name;
	if (d->stride == 1)
		return take_bytes(r, records, i == NAMES_TABLE, r->data + t.offset, &n);
	for (r->record = 0; r->record < t.count; r->record++) {
		const json_t *j = json_array_get(records, r->record);
		uint8_t *record = r->data + t.offset + r->record * d->stride;

		if (!manifest_fields[i]) {
			uint32_t v = (uint32_t)json_integer_value(j);

			if (!json_is_integer(j) || json_integer_value(j) != (json_int_t)v)
				return wrong(r, "record", "a number was expected");
			memcpy(record, &v, sizeof(v));
			continue;
		}
		for (const struct manifest_field *f = manifest_fields[i]; f->kind != FIELD_END; f++)
			if (!take_field(r, j, f, record))
				return false;
	}
	return true;
}

static bool build(struct reader *r, const json_t *root)
{
	const json_t *records[MANIFEST_TABLES];
	struct gm_header *h = (void *)r->data;

	memcpy(h->magic, GM_MAGIC, sizeof(h->magic));
	h->version = GM_VERSION;
	for (size_t i = 0; i < MANIFEST_TABLES; i++)
		if (!take_place(r, root, i, &records[i]))
			return false;
	/* names first: others refer to them */
	if (!take_records(r, NAMES_TABLE, records[NAMES_TABLE]))
		return false;
	if (!index_names(&r->names, r->data))
		return error_set(r->err, "%s: out of memory", r->path);
	for (size_t i = 0; i < NAMES_TABLE; i++)
		if (!take_records(r, i, records[i]))
			return false;
	r->table = "header";
	r->record = 0;
	for (const struct manifest_field *f = manifest_header_fields; f->kind != FIELD_END; f++)
		if (!take_field(r, root, f, r->data))
			return false;
	return true;
}

bool manifest_from_json(const char *path, const char *json, size_t len, struct blob *manifest,
			struct error *err)
{
	struct reader r = { .path = path, .err = err, .table = "header" };
	const json_t *total;
	json_error_t e;
	json_t *root;
	bool ok;

	*manifest = (struct blob){ 0 };
	root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &e);
	if (!root)
		return error_set(err, "%s: offset 0x%x: line %d: %s", path, (unsigned)e.position,
				 e.line, e.text);
	total = json_object_get(root, "total");
	if (!json_is_integer(total) ||
	    json_integer_value(total) < (json_int_t)sizeof(struct gm_header) ||
	    json_integer_value(total) > (json_int_t)GM_MAX_TOTAL) {
		json_decref(root);
		return wrong(&r, "total", "a manifest's size in bytes was expected");
	}
	r.size = (size_t)json_integer_value(total);
	r.data = calloc(r.size, 1);
	if (!r.data) {
		json_decref(root);
		return error_set(err, "%s: out of memory", path);
	}
	manifest->data = r.data;
	manifest->size = r.size;
	ok = build(&r, root) && manifest_check(path, manifest, err);
	free(r.names.at);
	json_decref(root);
	if (!ok)
		blob_free(manifest);
	return ok;
}
