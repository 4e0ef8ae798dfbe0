// SPDX-License-Identifier: GPL-2.0-only
/*
 * The manifest as a file: bounds first, then every byte accounted for. What the core would refuse
 * is refused here with the offset of the reason, so that all later steps may index freely.
 */
#include "check/internal.h"

#include <stdlib.h>
#include <string.h>

/* The core's own judgement (model/internal.h): what it would refuse is no manifest. */
bool gm_validate(const void *manifest, size_t len);

struct table {
	const char *name;
	uint32_t offset; /* of its struct gm_table in the header */
	uint32_t record, max;
};

#define TABLE(name, record, max)                                                                   \
	{                                                                                          \
#name, offsetof(struct gm_header, name), record, max                               \
	}
static const struct table tables[] = {
	TABLE(segments, sizeof(struct gm_segment), GM_MAX_SEGMENTS),
	TABLE(gates, sizeof(struct gm_gate), GM_MAX_GATES),
	TABLE(entries, sizeof(struct gm_entry), GM_MAX_ENTRIES),
	TABLE(imports, sizeof(struct gm_import), GM_MAX_IMPORTS),
	TABLE(relocs, sizeof(struct gm_reloc), GM_MAX_RELOCS),
	TABLE(sites, sizeof(struct gm_site), GM_MAX_SITES),
	TABLE(choices, sizeof(struct gm_choice), GM_MAX_CHOICES),
	TABLE(choice_relocs, sizeof(struct gm_reloc), GM_MAX_CHOICE_RELOCS),
	TABLE(retsites, 4, GM_MAX_RETSITES),
	TABLE(unwind, sizeof(struct gm_unwind), GM_MAX_UNWIND),
	TABLE(fixups, sizeof(struct gm_fixup), GM_MAX_FIXUPS),
	TABLE(jumps, sizeof(struct gm_jump), GM_MAX_JUMPS),
	TABLE(privileges, sizeof(struct gm_privilege), GM_MAX_PRIVILEGES),
	TABLE(image, 1, GM_MAX_TOTAL),
	TABLE(names, 1, GM_MAX_TOTAL),
};
#define TABLES (sizeof(tables) / sizeof(tables[0]))

static bool bad(const struct manifest *m, uint64_t offset, struct error *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static bool bad(const struct manifest *m, uint64_t offset, struct error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_at(err, m->path, offset, fmt, ap);
	va_end(ap);
	return false;
}

static const void *at(const struct manifest *m, const struct gm_table *t)
{
	return m->bytes + t->offset;
}

static const struct gm_table *table_of(const struct manifest *m, const struct table *t)
{
	return (const void *)(m->bytes + t->offset);
}

/* Tables lie one behind the other, in order, with less than 8 zero bytes between them. */
static bool bounds(const struct manifest *m, struct error *err)
{
	uint64_t end = sizeof(struct gm_header);

	for (size_t i = 0; i < TABLES; i++) {
		const struct gm_table *t = table_of(m, &tables[i]);

		if (t->count > tables[i].max)
			return bad(m, tables[i].offset, err, "%u %s are more than %u", t->count,
				   tables[i].name, tables[i].max);
		if (t->offset != (end + 7) / 8 * 8 || t->offset > m->h->total ||
		    (uint64_t)t->count * tables[i].record > m->h->total - t->offset)
			return bad(m, tables[i].offset, err,
				   "%u %s at 0x%x: not in the file, or not behind the table before",
				   t->count, tables[i].name, t->offset);
		for (; end < t->offset; end++)
			if (m->bytes[end])
				return bad(m, end, err, "a byte between two tables is not zero");
		end = t->offset + (uint64_t)t->count * tables[i].record;
	}
	for (; end < m->h->total; end++)
		if (m->bytes[end] || m->h->total - end >= 8)
			return bad(m, end, err, "bytes behind the last table");
	return true;
}

/* The first of n records whose byte, half or word at `field` has bits beyond `known`. */
static bool only_known(const struct manifest *m, const struct gm_table *t, uint32_t stride,
		       uint32_t field, uint32_t width, uint32_t known, struct error *err)
{
	for (uint32_t i = 0; i < t->count; i++) {
		uint64_t where = t->offset + (uint64_t)i * stride + field;
		uint32_t value = 0;

		memcpy(&value, m->bytes + where, width);
		if (value & ~known)
			return bad(m, where, err,
				   "bits 0x%x are not known: the guard core "
				   "refuses a manifest that asks for what it cannot do",
				   value & ~known);
	}
	return true;
}

/* Flags that have no name, and reserved fields that are not 0. */
static bool all_known(const struct manifest *m, struct error *err)
{
#define KNOWN(table, record, field, bits)                                                          \
	only_known(m, &m->h->table, sizeof(struct record), offsetof(struct record, field),         \
		   sizeof(((struct record *)0)->field), bits, err)
	return KNOWN(segments, gm_segment, reserved, 0) && KNOWN(gates, gm_gate, reserved, 0) &&
	       KNOWN(entries, gm_entry, flags, GM_ENTRY_INIT_CODE | GM_ENTRY_EXIT) &&
	       KNOWN(imports, gm_import, flags, GM_IMPORT_DATA) &&
	       KNOWN(relocs, gm_reloc, reserved, 0) &&
	       KNOWN(sites, gm_site, flags, GM_SITE_RUNTIME) &&
	       KNOWN(choice_relocs, gm_reloc, reserved, 0) && KNOWN(unwind, gm_unwind, reserved, 0);
#undef KNOWN
}

/* gm_validate() names no place: it has the last word, after what can be named. */
static bool core_says(const struct manifest *m, struct error *err)
{
	const struct gm_segment *s = m->segments;
	uint32_t start = 0;

	for (uint32_t i = 0; i < m->h->segments.count; i++, s++) {
		if (s->kind >= GM_SEG_KINDS || s->start != start || s->size == 0 ||
		    s->size > GM_MAX_PAGES * GM_PAGE - start)
			return bad(m, man_at(m, s), err,
				   "segment %u of kind %u: 0x%x bytes at 0x%x, expected at 0x%x", i,
				   s->kind, s->size, s->start, start);
		if (s->image != GM_NONE &&
		    (s->image > m->h->image.count || s->size > m->h->image.count - s->image))
			return bad(m, man_at(m, s), err, "segment %u: its image is not there", i);
		start += (s->size + GM_PAGE - 1) / GM_PAGE * GM_PAGE;
	}
	for (uint32_t i = 0; i < m->h->entries.count; i++)
		for (uint32_t k = 0; k < m->h->segments.count; k++)
			if (m->segments[k].kind == GM_SEG_INIT_TEXT &&
			    m->entries[i].moff >= m->segments[k].start &&
			    m->entries[i].moff - m->segments[k].start < m->segments[k].size &&
			    !(m->entries[i].flags & GM_ENTRY_INIT_CODE))
				return bad(
					m, man_at(m, &m->entries[i]), err,
					"entry %u (%s) lies in init code, which is freed, and is "
					"not marked so: the guard core refuses that",
					i, man_name(m, m->entries[i].name));
	if (!gm_validate(m->bytes, m->h->total))
		return bad(m, 0, err, "the guard core would refuse this manifest");
	return true;
}

bool manifest_open(struct manifest *m, const struct check_file *file, struct error *err)
{
	const struct gm_header *h = (const void *)file->blob->data;

	*m = (struct manifest){ .path = file->path, .bytes = file->blob->data, .h = h };
	if (file->blob->size < sizeof(*h) || memcmp(h->magic, GM_MAGIC, sizeof(h->magic)) != 0)
		return bad(m, 0, err, "not a manifest");
	if (h->version != GM_VERSION)
		return bad(m, offsetof(struct gm_header, version), err, "version %u, expected %u",
			   h->version, GM_VERSION);
	if (h->total != file->blob->size || h->total > GM_MAX_TOTAL)
		return bad(m, offsetof(struct gm_header, total), err,
			   "says that it has %u bytes, but has %zu", h->total, file->blob->size);
	if (h->x_kind >= GM_X_KINDS)
		return bad(m, offsetof(struct gm_header, x_kind), err,
			   "crossing instruction %u is not known", h->x_kind);
	if (h->flags & ~GM_FLAG_VIEWS)
		return bad(m, offsetof(struct gm_header, flags), err, "flags 0x%x are not known",
			   h->flags);
	if (h->reserved)
		return bad(m, offsetof(struct gm_header, reserved), err,
			   "a reserved field is not 0");
	if (!bounds(m, err))
		return false;
	m->segments = at(m, &h->segments);
	m->gates = at(m, &h->gates);
	m->entries = at(m, &h->entries);
	m->imports = at(m, &h->imports);
	m->relocs = at(m, &h->relocs);
	m->sites = at(m, &h->sites);
	m->choices = at(m, &h->choices);
	m->choice_relocs = at(m, &h->choice_relocs);
	m->retsites = at(m, &h->retsites);
	m->unwind = at(m, &h->unwind);
	m->fixups = at(m, &h->fixups);
	m->jumps = at(m, &h->jumps);
	m->privileges = at(m, &h->privileges);
	m->image = at(m, &h->image);
	m->names = at(m, &h->names);
	if (h->names.count && m->names[0])
		return bad(m, h->names.offset, err, "name 0 stands for none, and is not empty");
	if (h->names.count && m->names[h->names.count - 1])
		return bad(m, h->names.offset + h->names.count - 1, err,
			   "the last name does not end");
	return all_known(m, err) && core_says(m, err);
}

const char *man_name(const struct manifest *m, uint32_t n)
{
	return n < m->h->names.count ? m->names + n : NULL;
}

uint64_t man_at(const struct manifest *m, const void *record)
{
	return (uint64_t)((const uint8_t *)record - m->bytes);
}

void man_uses(struct ck *ck, const void *bytes, uint32_t size, const char *why)
{
	struct check_label *l = vec_more(&ck->used, sizeof(*l), 1);

	*l = (struct check_label){ (uint32_t)man_at(&ck->m, bytes), size, why };
}

void man_uses_name(struct ck *ck, uint32_t n, const char *why)
{
	const char *name = man_name(&ck->m, n);

	if (name)
		man_uses(ck, name, (uint32_t)strlen(name) + 1, why);
}

static int by_offset(const void *a, const void *b)
{
	const struct check_label *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return x->size < y->size ? -1 : x->size > y->size;
}

static void add_label(struct check_report *r, const struct check_label *l)
{
	struct check_label *grown;

	if (!l->why)
		return;
	grown = realloc(r->label, (r->stored_labels + 1) * sizeof(*grown));
	if (!grown)
		return;
	r->label = grown;
	grown[r->stored_labels++] = *l;
}

/*
 * Header and tables were looked at field by field. What is left is the image and the names: every
 * byte belongs to something that was compared, or to a name that only a person reads.
 */
void check_accounted(struct ck *ck)
{
	const struct gm_header *h = ck->m.h;
	struct check_label *u = ck->used.data;
	uint32_t at = h->image.offset, limit;

	if (ck->used.count)
		qsort(u, ck->used.count, sizeof(*u), by_offset);
	proved(ck, CHECK_MANIFEST, h->image.offset);
	for (uint32_t i = 0; i <= ck->used.count; i++) {
		uint32_t next = i < ck->used.count ? u[i].offset : h->total;

		/* from one table into the next: padding, which is known to be zero */
		limit = h->image.offset + h->image.count;
		if (at <= limit && next >= h->names.offset) {
			if (at < limit)
				fault(ck, CHECK_MANIFEST, ck->m.path, at,
				      "bytes of the image that nothing uses");
			at = h->names.offset;
		}
		limit = i < ck->used.count ? next : h->names.offset + h->names.count;
		if (at < limit)
			fault(ck, CHECK_MANIFEST, ck->m.path, at,
			      "bytes of image or names that nothing uses");
		if (i == ck->used.count)
			break;
		if (u[i].offset + u[i].size > at)
			at = u[i].offset + u[i].size;
		proved(ck, CHECK_MANIFEST, u[i].size);
		add_label(ck->report, &u[i]);
	}
}
