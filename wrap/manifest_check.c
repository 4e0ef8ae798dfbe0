// SPDX-License-Identifier: GPL-2.0-only
/*
 * Is a manifest file sound? For hosted tools: the same limits that the core enforces for itself,
 * names and their bounds too, and a message that names the byte that is wrong.
 */
#include "wrap/manifest_file.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct check {
	const char *path;
	const uint8_t *data;
	const struct gm_header *h;
	struct error *err;
};

static bool bad(const struct check *c, uint64_t offset, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static bool bad(const struct check *c, uint64_t offset, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return error_set(c->err, "%s: offset 0x%llx: %s", c->path, (unsigned long long)offset,
			 text);
}

static const void *table(const struct check *c, const struct gm_table *t)
{
	return c->data + t->offset;
}

/* Byte offset of a field of record i of a table. */
#define AT(c, t, type, i, field)                                                                   \
	((c)->h->t.offset + (uint64_t)(i) * sizeof(struct type) + offsetof(struct type, field))

static bool check_name(const struct check *c, uint32_t name, uint64_t at)
{
	if (name >= c->h->names.count)
		return bad(c, at, "name %u lies outside the names", name);
	return true; /* the table ends with NUL: every name is terminated */
}

/* The core refuses what a later format may put there, so no tool lets it pass either. */
static bool reserved_ok(const struct check *c, uint32_t value, uint64_t at)
{
	return !value || bad(c, at, "a reserved field is 0x%x, not 0", value);
}

static bool check_header(struct check *c, size_t size)
{
	const struct gm_header *h = c->h;

	if (size < sizeof(*h))
		return bad(c, size, "a manifest has at least %zu bytes", sizeof(*h));
	if (memcmp(h->magic, GM_MAGIC, sizeof(h->magic)) != 0)
		return bad(c, 0, "not a manifest: no %s", GM_MAGIC);
	if (h->version != GM_VERSION)
		return bad(c, offsetof(struct gm_header, version), "version %u is not %u",
			   h->version, GM_VERSION);
	if (h->total != size || h->total > GM_MAX_TOTAL)
		return bad(c, offsetof(struct gm_header, total),
			   "says 0x%x bytes, the file has 0x%zx", h->total, size);
	if (h->x_kind >= GM_X_KINDS)
		return bad(c, offsetof(struct gm_header, x_kind), "crossing kind %u", h->x_kind);
	if (h->flags & ~GM_FLAG_VIEWS)
		return bad(c, offsetof(struct gm_header, flags), "flags 0x%x", h->flags);
	return reserved_ok(c, h->reserved, offsetof(struct gm_header, reserved));
}

static bool check_tables(const struct check *c)
{
	const struct gm_header *h = c->h;

	for (size_t i = 0; i < MANIFEST_TABLES; i++) {
		const struct manifest_table *d = &manifest_tables[i];
		const struct gm_table *t = (const void *)(c->data + d->header_offset);

		if (t->count > d->max)
			return bad(c, d->header_offset + 4, "%s: %u records are more than %u",
				   d->name, t->count, d->max);
		if (t->offset % 8 || t->offset < sizeof(*h) || t->offset > h->total ||
		    (uint64_t)t->count * d->stride > h->total - t->offset)
			return bad(c, d->header_offset, "%s: table at 0x%x lies outside the file",
				   d->name, t->offset);
	}
	if (h->names.count && c->data[h->names.offset + h->names.count - 1] != 0)
		return bad(c, (uint64_t)h->names.offset + h->names.count - 1,
			   "the names end without NUL");
	for (uint32_t i = 0; i < h->names.count; i++) {
		uint8_t ch = c->data[h->names.offset + i];

		if (ch && (ch < 0x20 || ch > 0x7e))
			return bad(c, h->names.offset + i, "byte 0x%02x in a name", ch);
	}
	return check_name(c, h->name, offsetof(struct gm_header, name));
}

static const struct gm_segment *segment_at(const struct check *c, uint32_t moff)
{
	const struct gm_segment *s = table(c, &c->h->segments);

	for (uint32_t i = 0; i < c->h->segments.count; i++)
		if (moff >= s[i].start && moff - s[i].start < s[i].size)
			return &s[i];
	return NULL;
}

static bool verified(uint32_t kind)
{
	return kind == GM_SEG_TEXT || kind == GM_SEG_GATES || kind == GM_SEG_RODATA ||
	       kind == GM_SEG_INIT_TEXT || kind == GM_SEG_INIT_RODATA;
}

static bool is_text(const struct check *c, uint32_t moff)
{
	const struct gm_segment *s = segment_at(c, moff);

	return s && (s->kind == GM_SEG_TEXT || s->kind == GM_SEG_INIT_TEXT);
}

static bool check_segments(const struct check *c)
{
	const struct gm_segment *s = table(c, &c->h->segments);
	uint32_t start = 0, n = c->h->segments.count, seen[GM_SEG_KINDS] = { 0 };

	for (uint32_t i = 0; i < n; i++) {
		if (!check_name(c, s[i].name, AT(c, segments, gm_segment, i, name)))
			return false;
		if (s[i].kind >= GM_SEG_KINDS)
			return bad(c, AT(c, segments, gm_segment, i, kind), "segment kind %u",
				   s[i].kind);
		if (s[i].start != start)
			return bad(c, AT(c, segments, gm_segment, i, start),
				   "segment %u starts at 0x%x, 0x%x was expected", i, s[i].start,
				   start);
		if (s[i].size == 0 || s[i].size > GM_MAX_PAGES * GM_PAGE - start)
			return bad(c, AT(c, segments, gm_segment, i, size),
				   "segment %u has 0x%x bytes", i, s[i].size);
		start += (s[i].size + GM_PAGE - 1) / GM_PAGE * GM_PAGE;
		if (s[i].image == GM_NONE ? verified(s[i].kind)
					  : (s[i].image > c->h->image.count ||
					     s[i].size > c->h->image.count - s[i].image))
			return bad(c, AT(c, segments, gm_segment, i, image),
				   "segment %u has no image, or one outside the table", i);
		if (!reserved_ok(c, s[i].reserved, AT(c, segments, gm_segment, i, reserved)))
			return false;
		seen[s[i].kind]++;
	}
	if (seen[GM_SEG_TEXT] != 1 || seen[GM_SEG_GATES] > 1 || seen[GM_SEG_INIT_TEXT] > 1)
		return bad(c, c->h->segments.offset, "%u text, %u gate and %u init text segments",
			   seen[GM_SEG_TEXT], seen[GM_SEG_GATES], seen[GM_SEG_INIT_TEXT]);
	return true;
}

static bool check_gates(const struct check *c)
{
	const struct gm_segment *s = table(c, &c->h->segments);
	const struct gm_gate *g = table(c, &c->h->gates);
	uint32_t room = 0, returns[2] = { 0 };

	for (uint32_t i = 0; i < c->h->segments.count; i++)
		if (s[i].kind == GM_SEG_GATES)
			room = s[i].size / GM_GATE_BYTES;
	for (uint32_t i = 0; i < c->h->gates.count; i++) {
		uint64_t at = AT(c, gates, gm_gate, i, index);

		if (i >= room || g[i].offset != i * GM_GATE_BYTES)
			return bad(c, AT(c, gates, gm_gate, i, offset),
				   "gate %u lies at 0x%x of 0x%x gate bytes", i, g[i].offset,
				   room * GM_GATE_BYTES);
		if (g[i].kind >= GM_GATE_KINDS || g[i].x > GM_GATE_BYTES - GM_X_BYTES ||
		    g[i].reg > 15)
			return bad(c, AT(c, gates, gm_gate, i, kind),
				   "gate %u: kind %u, X at %u, register %u", i, g[i].kind, g[i].x,
				   g[i].reg);
		if (!reserved_ok(c, g[i].reserved, AT(c, gates, gm_gate, i, reserved)))
			return false;
		if (g[i].kind == GM_GATE_ENTER && g[i].index >= c->h->entries.count)
			return bad(c, at, "gate %u: no entry %u", i, g[i].index);
		if (g[i].kind == GM_GATE_LEAVE && g[i].index >= c->h->imports.count)
			return bad(c, at, "gate %u: no import %u", i, g[i].index);
		returns[0] += g[i].kind == GM_GATE_LEAVE_RETURN;
		returns[1] += g[i].kind == GM_GATE_ENTER_RETURN;
	}
	if (c->h->flags & GM_FLAG_VIEWS ? returns[0] > 1 || returns[1] > 1
					: returns[0] != 1 || returns[1] != 1)
		return bad(c, c->h->gates.offset, "%u leave-return and %u enter-return gates",
			   returns[0], returns[1]);
	return true;
}

/* In init code just one of the two flags that tell when it is open; elsewhere not init code's. */
static bool init_flags_fit(const struct check *c, const struct gm_entry *e)
{
	uint32_t init = e->flags & GM_ENTRY_INIT_CODE;

	if (segment_at(c, e->moff)->kind == GM_SEG_INIT_TEXT)
		return init == GM_ENTRY_INIT || init == GM_ENTRY_INIT_CALL;
	return init == 0 || init == GM_ENTRY_INIT;
}

static bool check_entries(const struct check *c)
{
	const struct gm_entry *e = table(c, &c->h->entries);
	const struct gm_gate *g = table(c, &c->h->gates);

	for (uint32_t i = 0; i < c->h->entries.count; i++) {
		if (!is_text(c, e[i].moff) || (i && e[i].moff <= e[i - 1].moff))
			return bad(c, AT(c, entries, gm_entry, i, moff),
				   "entry %u at 0x%x: outside text, or not in order", i, e[i].moff);
		if (!check_name(c, e[i].name, AT(c, entries, gm_entry, i, name)))
			return false;
		if (e[i].headroom < GM_MIN_HEADROOM || e[i].headroom > GM_MAX_HEADROOM)
			return bad(c, AT(c, entries, gm_entry, i, headroom),
				   "entry %u: headroom %u", i, e[i].headroom);
		if (e[i].flags & ~(GM_ENTRY_INIT_CODE | GM_ENTRY_EXIT))
			return bad(c, AT(c, entries, gm_entry, i, flags), "entry %u: flags 0x%x", i,
				   e[i].flags);
		if (!init_flags_fit(c, &e[i]))
			return bad(c, AT(c, entries, gm_entry, i, flags),
				   "entry %u at 0x%x: flags 0x%x do not fit its segment", i,
				   e[i].moff, e[i].flags);
		if (e[i].gate == GM_NONE
			    ? !(c->h->flags & GM_FLAG_VIEWS)
			    : (e[i].gate >= c->h->gates.count ||
			       g[e[i].gate].kind != GM_GATE_ENTER || g[e[i].gate].index != i))
			return bad(c, AT(c, entries, gm_entry, i, gate),
				   "entry %u: gate %u is not its own", i, e[i].gate);
	}
	return true;
}

static bool check_imports(const struct check *c)
{
	const struct gm_import *im = table(c, &c->h->imports);

	for (uint32_t i = 0; i < c->h->imports.count; i++) {
		if (!check_name(c, im[i].name, AT(c, imports, gm_import, i, name)))
			return false;
		if (im[i].flags & ~GM_IMPORT_DATA)
			return bad(c, AT(c, imports, gm_import, i, flags), "import %u: flags 0x%x",
				   i, im[i].flags);
		if (im[i].preserve & ~0xffefu)
			return bad(c, AT(c, imports, gm_import, i, preserve),
				   "import %u: registers 0x%x", i, im[i].preserve);
	}
	return true;
}

static uint32_t width(const struct gm_reloc *r)
{
	return r->type == GM_R_64 || r->type == GM_R_PC64 ? 8 : 4;
}

static bool check_reloc(const struct check *c, const struct gm_reloc *r, uint64_t at, bool choice)
{
	if (r->type != GM_R_64 && r->type != GM_R_PC32 && r->type != GM_R_PLT32 &&
	    r->type != GM_R_32 && r->type != GM_R_32S && r->type != GM_R_PC64)
		return bad(c, at, "relocation type %u", r->type);
	if (r->kind == GM_TARGET_SEGMENT  ? r->target >= c->h->segments.count
	    : r->kind == GM_TARGET_IMPORT ? r->target >= c->h->imports.count
					  : !(r->kind == GM_TARGET_OUTSIDE && choice))
		return bad(c, at, "relocation target kind %u number %u", r->kind, r->target);
	return reserved_ok(c, r->reserved, at + offsetof(struct gm_reloc, reserved));
}

static bool check_choice(const struct check *c, const struct gm_site *s, uint32_t i)
{
	const struct gm_choice *k = (const struct gm_choice *)table(c, &c->h->choices) + i;
	const struct gm_reloc *r = table(c, &c->h->choice_relocs);
	uint64_t at = AT(c, choices, gm_choice, i, bytes);
	uint32_t end = 0;

	if (k->bytes > c->h->image.count || s->size > c->h->image.count - k->bytes)
		return bad(c, at, "choice %u lies outside the image", i);
	if (k->first_reloc > c->h->choice_relocs.count ||
	    k->relocs > c->h->choice_relocs.count - k->first_reloc || k->relocs > s->size)
		return bad(c, at, "choice %u: relocations outside their table", i);
	for (uint32_t n = k->first_reloc; n < k->first_reloc + k->relocs; n++) {
		uint64_t where = AT(c, choice_relocs, gm_reloc, n, moff);

		if (!check_reloc(c, &r[n], where, true))
			return false;
		if (r[n].moff < end || r[n].moff > s->size || width(&r[n]) > s->size - r[n].moff)
			return bad(c, where, "relocation outside its choice");
		end = r[n].moff + width(&r[n]);
	}
	return true;
}

static bool check_site(const struct check *c, uint32_t i)
{
	const struct gm_site *s = (const struct gm_site *)table(c, &c->h->sites) + i;
	uint64_t at = AT(c, sites, gm_site, i, moff);

	if (s->size == 0 || s->size > GM_MAX_SITE_BYTES || s->flags & ~GM_SITE_RUNTIME)
		return bad(c, at, "site %u: %u bytes, flags 0x%x", i, s->size, s->flags);
	if (s->group != GM_NONE && (s->group >= c->h->sites.count || s->flags & GM_SITE_RUNTIME))
		return bad(c, at, "site %u: group %u", i, s->group);
	if (s->count == 0 || s->count > 0xffff || s->first > c->h->choices.count ||
	    s->count > c->h->choices.count - s->first)
		return bad(c, at, "site %u: choices %u + %u", i, s->first, s->count);
	for (uint32_t k = s->first; k < s->first + s->count; k++)
		if (!check_choice(c, s, k))
			return false;
	return true;
}

/* Relocated fields and sites: each inside a verified segment, in order, none touches another. */
static bool check_patched(const struct check *c)
{
	const struct gm_reloc *r = table(c, &c->h->relocs);
	const struct gm_site *s = table(c, &c->h->sites);
	const struct gm_reloc *k = table(c, &c->h->choice_relocs);
	uint32_t nr = 0, ns = 0, end = 0;

	for (uint32_t i = 0; i < c->h->choice_relocs.count; i++)
		if (!check_reloc(c, &k[i], AT(c, choice_relocs, gm_reloc, i, moff), true))
			return false;
	while (nr < c->h->relocs.count || ns < c->h->sites.count) {
		bool reloc = ns == c->h->sites.count ||
			     (nr < c->h->relocs.count && r[nr].moff < s[ns].moff);
		uint64_t at = reloc ? AT(c, relocs, gm_reloc, nr, moff)
				    : AT(c, sites, gm_site, ns, moff);
		uint32_t moff = reloc ? r[nr].moff : s[ns].moff;
		uint32_t size = reloc ? width(&r[nr]) : s[ns].size;
		const struct gm_segment *g = segment_at(c, moff);

		if (reloc ? !check_reloc(c, &r[nr], at, false) : !check_site(c, ns))
			return false;
		if (!g || !verified(g->kind) || size > g->size - (moff - g->start))
			return bad(c, at, "0x%x lies in no verified segment", moff);
		if (moff < end)
			return bad(c, at, "0x%x: not in order, or patched twice", moff);
		end = moff + size;
		if (reloc)
			nr++;
		else
			ns++;
	}
	return true;
}

static bool check_flow(const struct check *c)
{
	const struct gm_unwind *u = table(c, &c->h->unwind);
	const struct gm_fixup *f = table(c, &c->h->fixups);
	const struct gm_jump *j = table(c, &c->h->jumps);
	const uint32_t *r = table(c, &c->h->retsites);

	for (uint32_t i = 0; i < c->h->retsites.count; i++)
		if (!is_text(c, r[i]) || (i && r[i] <= r[i - 1]))
			return bad(c, c->h->retsites.offset + i * 4ull,
				   "return site 0x%x: outside text, or not in order", r[i]);
	for (uint32_t i = 0; i < c->h->unwind.count; i++) {
		if (u[i].cfa_rule >= GM_CFA_RULES || u[i].cfa_reg > 15 ||
		    u[i].bp_rule >= GM_BP_RULES || (i && u[i].moff <= u[i - 1].moff))
			return bad(c, AT(c, unwind, gm_unwind, i, moff),
				   "unwind row %u: unknown rule, or not in order", i);
		if (!reserved_ok(c, u[i].reserved, AT(c, unwind, gm_unwind, i, reserved)))
			return false;
	}
	for (uint32_t i = 0; i < c->h->fixups.count; i++)
		if (!is_text(c, f[i].moff) || !is_text(c, f[i].target) ||
		    f[i].kind >= GM_FIXUP_KINDS || f[i].regs & ~0xffefu ||
		    (i && f[i].moff <= f[i - 1].moff))
			return bad(c, AT(c, fixups, gm_fixup, i, moff),
				   "fixup %u: outside text, not in order, or unknown", i);
	for (uint32_t i = 0; i < c->h->fixups.count; i++)
		if (f[i].kind == GM_FIXUP_WARN && (f[i].target != f[i].moff + 2 || f[i].regs))
			return bad(c, AT(c, fixups, gm_fixup, i, target),
				   "fixup %u: a WARN goes on behind its UD2 and sets nothing", i);
	for (uint32_t i = 0; i < c->h->jumps.count; i++)
		if (!is_text(c, j[i].moff) || !is_text(c, j[i].target) ||
		    (i && (j[i].moff < j[i - 1].moff ||
			   (j[i].moff == j[i - 1].moff && j[i].target <= j[i - 1].target))))
			return bad(c, AT(c, jumps, gm_jump, i, moff),
				   "jump %u: outside text, or not in order", i);
	return true;
}

static bool check_privileges(const struct check *c)
{
	const struct gm_privilege *p = table(c, &c->h->privileges);

	for (uint32_t i = 0; i < c->h->privileges.count; i++) {
		if (!check_name(c, p[i].name, AT(c, privileges, gm_privilege, i, name)))
			return false;
		if (p[i].kind >= GM_PRIVS || p[i].first > p[i].last ||
		    (p[i].kind == GM_PRIV_IOPORT && p[i].last > 0xffff))
			return bad(c, AT(c, privileges, gm_privilege, i, kind),
				   "privilege %u: kind %u, 0x%x-0x%x", i, p[i].kind, p[i].first,
				   p[i].last);
	}
	return true;
}

bool manifest_check(const char *path, const struct blob *manifest, struct error *err)
{
	struct check c = { path, manifest->data, (const void *)manifest->data, err };

	return check_header(&c, manifest->size) && check_tables(&c) && check_segments(&c) &&
	       check_gates(&c) && check_entries(&c) && check_imports(&c) && check_patched(&c) &&
	       check_flow(&c) && check_privileges(&c);
}

const char *manifest_name(const struct blob *manifest, uint32_t n)
{
	const struct gm_header *h = (const void *)manifest->data;

	return n < h->names.count ? (const char *)manifest->data + h->names.offset + n : "";
}

void manifest_digest(const struct blob *manifest, uint8_t out[32])
{
	crypto_hash_sha256(out, manifest->data, manifest->size);
}

#define TABLE(field, record, limit)                                                                \
	{                                                                                          \
#field, offsetof(struct gm_header, field), sizeof(record), limit                   \
	}
const struct manifest_table manifest_tables[MANIFEST_TABLES] = {
	TABLE(segments, struct gm_segment, GM_MAX_SEGMENTS),
	TABLE(gates, struct gm_gate, GM_MAX_GATES),
	TABLE(entries, struct gm_entry, GM_MAX_ENTRIES),
	TABLE(imports, struct gm_import, GM_MAX_IMPORTS),
	TABLE(relocs, struct gm_reloc, GM_MAX_RELOCS),
	TABLE(sites, struct gm_site, GM_MAX_SITES),
	TABLE(choices, struct gm_choice, GM_MAX_CHOICES),
	TABLE(choice_relocs, struct gm_reloc, GM_MAX_CHOICE_RELOCS),
	TABLE(retsites, uint32_t, GM_MAX_RETSITES),
	TABLE(unwind, struct gm_unwind, GM_MAX_UNWIND),
	TABLE(fixups, struct gm_fixup, GM_MAX_FIXUPS),
	TABLE(jumps, struct gm_jump, GM_MAX_JUMPS),
	TABLE(privileges, struct gm_privilege, GM_MAX_PRIVILEGES),
	TABLE(image, uint8_t, GM_MAX_TOTAL),
	TABLE(names, char, GM_MAX_TOTAL),
};
