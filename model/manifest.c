/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Is a manifest sound? The rest of the core indexes with its numbers and relies on what is proved
 * here: every table lies inside, every moff inside a segment of the right kind, every index inside
 * its table, everything sorted, and no two patched places overlap. A flag that is not known, or a
 * reserved field that is not 0, asks for something that this core would not do: refused, never
 * guessed.
 */
#include "model/internal.h"

const void *gm_table_at(const struct gm_header *h, const struct gm_table *t)
{
	return (const uint8_t *)h + t->offset;
}

uint32_t gm_find(const void *records, uint32_t count, uint32_t stride, uint32_t moff)
{
	const uint8_t *base = records;
	uint32_t lo = 0, hi = count;

	/* invariant: record lo - 1 <= moff < record hi; 32 halvings at most */
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		uint32_t at;

		memcpy(&at, base + (size_t)mid * stride, sizeof(at));
		if (at <= moff)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? lo - 1 : count;
}

static bool table_ok(const struct gm_header *h, const struct gm_table *t, uint32_t stride,
		     uint32_t max)
{
	return t->count <= max && t->offset % 8 == 0 && t->offset >= sizeof(*h) &&
	       t->offset <= h->total &&
	       (uint64_t)t->count * stride <= (uint64_t)h->total - t->offset;
}

static bool tables_ok(const struct gm_header *h)
{
	return table_ok(h, &h->segments, sizeof(struct gm_segment), GM_MAX_SEGMENTS) &&
	       table_ok(h, &h->gates, sizeof(struct gm_gate), GM_MAX_GATES) &&
	       table_ok(h, &h->entries, sizeof(struct gm_entry), GM_MAX_ENTRIES) &&
	       table_ok(h, &h->imports, sizeof(struct gm_import), GM_MAX_IMPORTS) &&
	       table_ok(h, &h->relocs, sizeof(struct gm_reloc), GM_MAX_RELOCS) &&
	       table_ok(h, &h->sites, sizeof(struct gm_site), GM_MAX_SITES) &&
	       table_ok(h, &h->choices, sizeof(struct gm_choice), GM_MAX_CHOICES) &&
	       table_ok(h, &h->choice_relocs, sizeof(struct gm_reloc), GM_MAX_CHOICE_RELOCS) &&
	       table_ok(h, &h->retsites, sizeof(uint32_t), GM_MAX_RETSITES) &&
	       table_ok(h, &h->unwind, sizeof(struct gm_unwind), GM_MAX_UNWIND) &&
	       table_ok(h, &h->fixups, sizeof(struct gm_fixup), GM_MAX_FIXUPS) &&
	       table_ok(h, &h->jumps, sizeof(struct gm_jump), GM_MAX_JUMPS) &&
	       table_ok(h, &h->privileges, sizeof(struct gm_privilege), GM_MAX_PRIVILEGES) &&
	       table_ok(h, &h->image, 1, GM_MAX_TOTAL) && table_ok(h, &h->names, 1, GM_MAX_TOTAL);
}

static const struct gm_segment *seg_at(const struct gm_header *h, uint32_t moff)
{
	const struct gm_segment *s = gm_table_at(h, &h->segments);

	for (uint32_t i = 0; i < h->segments.count; i++)
		if (moff - s[i].start < s[i].size) /* sizes are far below where it would wrap */
			return &s[i];
	return NULL;
}

/* [moff, moff + size) lies in one verified segment. */
static bool in_verified(const struct gm_header *h, uint32_t moff, uint32_t size)
{
	const struct gm_segment *s = seg_at(h, moff);

	return s && gm_seg_verified(s->kind) && size <= s->size - (moff - s->start);
}

static bool in_text(const struct gm_header *h, uint32_t moff)
{
	const struct gm_segment *s = seg_at(h, moff);

	return s && (s->kind == GM_SEG_TEXT || s->kind == GM_SEG_INIT_TEXT);
}

static bool image_ok(const struct gm_header *h, uint32_t offset, uint32_t size)
{
	return offset <= h->image.count && size <= h->image.count - offset;
}

static bool segments_ok(const struct gm_header *h)
{
	const struct gm_segment *s = gm_table_at(h, &h->segments);
	unsigned seen[GM_SEG_KINDS] = { 0 };
	uint32_t start = 0;

	for (uint32_t i = 0; i < h->segments.count; i++, s++) {
		if (s->kind >= GM_SEG_KINDS || s->start != start || s->size == 0 ||
		    s->size > GM_MAX_PAGES * GM_PAGE || s->reserved)
			return false;
		start += gm_seg_pages(s) * GM_PAGE;
		if (start > GM_MAX_PAGES * GM_PAGE)
			return false;
		if (gm_seg_verified(s->kind) && s->image == GM_NONE)
			return false;
		if (s->image != GM_NONE && !image_ok(h, s->image, s->size))
			return false;
		seen[s->kind]++;
	}
	return seen[GM_SEG_TEXT] == 1 && seen[GM_SEG_GATES] <= 1 && seen[GM_SEG_INIT_TEXT] <= 1;
}

static bool gates_ok(const struct gm_header *h)
{
	const struct gm_gate *g = gm_table_at(h, &h->gates);
	const struct gm_segment *s = gm_table_at(h, &h->segments);
	unsigned leave_returns = 0, enter_returns = 0;
	uint32_t room = 0;

	for (uint32_t i = 0; i < h->segments.count; i++)
		if (s[i].kind == GM_SEG_GATES)
			room = s[i].size / GM_GATE_BYTES;
	if (h->gates.count > room)
		return false;
	for (uint32_t i = 0; i < h->gates.count; i++, g++) {
		if (g->offset != i * GM_GATE_BYTES || g->kind >= GM_GATE_KINDS)
			return false;
		if (g->x > GM_GATE_BYTES - GM_X_BYTES || g->reg >= GUARD_GPRS || g->reserved)
			return false;
		if (g->kind == GM_GATE_ENTER && g->index >= h->entries.count)
			return false;
		if (g->kind == GM_GATE_LEAVE && g->index >= h->imports.count)
			return false;
		leave_returns += g->kind == GM_GATE_LEAVE_RETURN;
		enter_returns += g->kind == GM_GATE_ENTER_RETURN;
	}
	if (h->flags & GM_FLAG_VIEWS)
		return leave_returns <= 1 && enter_returns <= 1;
	return leave_returns == 1 && enter_returns == 1;
}

/*
 * Init memory is the kernel's again one day: what leads there is init itself, or is open only while
 * init lives. Neither both nor, elsewhere, the latter.
 */
static bool init_flags_ok(const struct gm_header *h, const struct gm_entry *e)
{
	uint32_t kind = e->flags & GM_ENTRY_INIT_CODE;

	if (seg_at(h, e->moff)->kind == GM_SEG_INIT_TEXT)
		return kind == GM_ENTRY_INIT || kind == GM_ENTRY_INIT_CALL;
	return !(kind & GM_ENTRY_INIT_CALL);
}

static bool entries_ok(const struct gm_header *h)
{
	const struct gm_entry *e = gm_table_at(h, &h->entries);
	const struct gm_gate *g = gm_table_at(h, &h->gates);

	for (uint32_t i = 0; i < h->entries.count; i++, e++) {
		if (!in_text(h, e->moff) || (i && e->moff <= e[-1].moff) || !init_flags_ok(h, e))
			return false;
		if (e->headroom < GM_MIN_HEADROOM || e->headroom > GM_MAX_HEADROOM ||
		    e->flags & ~(GM_ENTRY_INIT_CODE | GM_ENTRY_EXIT))
			return false;
		if (e->gate == GM_NONE) {
			if (!(h->flags & GM_FLAG_VIEWS))
				return false;
		} else if (e->gate >= h->gates.count || g[e->gate].kind != GM_GATE_ENTER ||
			   g[e->gate].index != i) {
			return false;
		}
	}
	return true;
}

static bool imports_ok(const struct gm_header *h)
{
	const struct gm_import *im = gm_table_at(h, &h->imports);

	for (uint32_t i = 0; i < h->imports.count; i++, im++)
		if (im->flags & ~GM_IMPORT_DATA || im->preserve & ~ALL_GPRS ||
		    im->preserve & GPR_BIT(GUARD_RSP))
			return false;
	return true;
}

uint32_t gm_field_size(const struct gm_reloc *r)
{
	return r->type == GM_R_64 || r->type == GM_R_PC64 ? 8 : 4;
}

static bool reloc_ok(const struct gm_header *h, const struct gm_reloc *r, bool in_site)
{
	if (r->type != GM_R_64 && r->type != GM_R_PC32 && r->type != GM_R_PLT32 &&
	    r->type != GM_R_32 && r->type != GM_R_32S && r->type != GM_R_PC64)
		return false;
	if (r->reserved)
		return false;
	if (r->kind == GM_TARGET_SEGMENT)
		return r->target < h->segments.count;
	if (r->kind == GM_TARGET_IMPORT)
		return r->target < h->imports.count;
	return r->kind == GM_TARGET_OUTSIDE && in_site;
}

/* All of them, also what no choice refers to. */
static bool choice_relocs_ok(const struct gm_header *h)
{
	const struct gm_reloc *r = gm_table_at(h, &h->choice_relocs);

	for (uint32_t i = 0; i < h->choice_relocs.count; i++)
		if (!reloc_ok(h, &r[i], true))
			return false;
	return true;
}

static bool site_ok(const struct gm_header *h, const struct gm_site *s)
{
	const struct gm_choice *c = gm_table_at(h, &h->choices);
	const struct gm_reloc *r = gm_table_at(h, &h->choice_relocs);

	if (s->size == 0 || s->size > GM_MAX_SITE_BYTES || s->flags & ~GM_SITE_RUNTIME ||
	    !in_verified(h, s->moff, s->size))
		return false;
	if (s->group != GM_NONE && (s->group >= h->sites.count || s->flags & GM_SITE_RUNTIME))
		return false;
	if (s->count == 0 || s->count > GM_MAX_SITE_CHOICES || s->first > h->choices.count ||
	    s->count > h->choices.count - s->first)
		return false;
	for (uint32_t i = s->first; i < s->first + s->count; i++) {
		uint32_t end = 0;

		if (!image_ok(h, c[i].bytes, s->size) ||
		    c[i].first_reloc > h->choice_relocs.count ||
		    c[i].relocs > h->choice_relocs.count - c[i].first_reloc)
			return false;
		for (uint32_t k = c[i].first_reloc; k < c[i].first_reloc + c[i].relocs; k++) {
			if (r[k].moff < end || r[k].moff > s->size ||
			    gm_field_size(&r[k]) > s->size - r[k].moff)
				return false;
			end = r[k].moff + gm_field_size(&r[k]);
		}
	}
	return true;
}

/* Relocated fields and sites, merged in order, never touch each other. */
static bool patched_ok(const struct gm_header *h)
{
	const struct gm_reloc *r = gm_table_at(h, &h->relocs);
	const struct gm_site *s = gm_table_at(h, &h->sites);
	uint32_t nr = h->relocs.count, ns = h->sites.count, end = 0;

	while (nr || ns) {
		uint32_t at, size;

		if (ns == 0 || (nr && r->moff < s->moff)) {
			at = r->moff;
			size = gm_field_size(r);
			if (!reloc_ok(h, r, false) || !in_verified(h, at, size))
				return false;
			r++;
			nr--;
		} else {
			at = s->moff;
			size = s->size;
			if (!site_ok(h, s))
				return false;
			s++;
			ns--;
		}
		if (at < end)
			return false;
		end = at + size;
	}
	return true;
}

static bool unwind_ok(const struct gm_header *h)
{
	const struct gm_unwind *u = gm_table_at(h, &h->unwind);

	for (uint32_t i = 0; i < h->unwind.count; i++, u++)
		if (u->cfa_rule >= GM_CFA_RULES || u->cfa_reg >= GUARD_GPRS ||
		    u->bp_rule >= GM_BP_RULES || u->reserved || (i && u->moff <= u[-1].moff))
			return false;
	return true;
}

static bool retsites_ok(const struct gm_header *h)
{
	const uint32_t *r = gm_table_at(h, &h->retsites);

	for (uint32_t i = 0; i < h->retsites.count; i++)
		if (!in_text(h, r[i]) || (i && r[i] <= r[i - 1]))
			return false;
	return true;
}

static bool fixups_ok(const struct gm_header *h)
{
	const struct gm_fixup *f = gm_table_at(h, &h->fixups);

	for (uint32_t i = 0; i < h->fixups.count; i++, f++)
		if (!in_text(h, f->moff) || !in_text(h, f->target) || f->kind >= GM_FIXUP_KINDS ||
		    f->regs & ~ALL_GPRS || f->regs & GPR_BIT(GUARD_RSP) ||
		    (f->kind == GM_FIXUP_WARN && (f->target != f->moff + 2 || f->regs)) ||
		    (i && f->moff <= f[-1].moff))
			return false;
	return true;
}

static bool privileges_ok(const struct gm_header *h)
{
	const struct gm_privilege *p = gm_table_at(h, &h->privileges);

	for (uint32_t i = 0; i < h->privileges.count; i++, p++)
		if (p->kind >= GM_PRIVS || p->first > p->last ||
		    (p->kind == GM_PRIV_IOPORT && p->last > 0xffff))
			return false;
	return true;
}

/* The whole of it. Linear in the manifest's size but for seg_at()'s 16 segments. */
bool gm_validate(const void *manifest, size_t len)
{
	const struct gm_header *h = manifest;

	if (len < sizeof(*h) || (uintptr_t)manifest % 8 != 0)
		return false;
	if (memcmp(h->magic, GM_MAGIC, sizeof(h->magic)) != 0 || h->version != GM_VERSION)
		return false;
	if (h->total != len || h->total > GM_MAX_TOTAL || h->x_kind >= GM_X_KINDS ||
	    h->flags & ~GM_FLAG_VIEWS || h->reserved)
		return false;
	return tables_ok(h) && segments_ok(h) && gates_ok(h) && entries_ok(h) && imports_ok(h) &&
	       choice_relocs_ok(h) && patched_ok(h) && unwind_ok(h) && retsites_ok(h) &&
	       fixups_ok(h) && privileges_ok(h);
}
