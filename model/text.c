/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Is this the registered code? (spec 3, "Code integrity")
 *
 * ANNOUNCE copies the guest's pages first and proves the copies afterwards, so nothing that the
 * guest does meanwhile matters. Proof: every byte equals the image, but for relocated fields,
 * which must be what the bases imply, and patch sites, which must hold one of their legal
 * contents. Later, pages that the guest wrote are compared with the proved copy; only run-time
 * sites may have changed, and only the legal content that was found is taken over.
 */
#include "model/internal.h"

static bool pc_relative(const struct gm_reloc *r)
{
	return r->type == GM_R_PC32 || r->type == GM_R_PLT32 || r->type == GM_R_PC64;
}

enum access { COPY_READ, COPY_PATCH, GUEST_READ };

/*
 * [at, at + n) of the verified copy, or as the guest's frames beneath have it now; never through
 * a guest address. Page by page: a field may straddle two.
 */
static bool bytes(struct ctx *c, const struct module *m, enum access how, uint32_t at, uint32_t n,
		  uint8_t *buf)
{
	const struct guard_ops *ops = c->g->ops;
	bool ok = true;

	for (uint32_t part; n && ok; at += part, buf += part, n -= part) {
		part = GM_PAGE - at % GM_PAGE < n ? GM_PAGE - at % GM_PAGE : n;
		if (how == COPY_PATCH)
			ok = ops->verified_patch(c->g->vmm, m->index, at, buf, part);
		else if (how == COPY_READ)
			ok = ops->verified_read(c->g->vmm, m->index, at, buf, part);
		else
			ok = m->frame[at / GM_PAGE] != NO_FRAME &&
			     ops->guest_read(c->g->vmm, m->index, at, buf, part);
	}
	return ok;
}

static bool seg_absent(const struct module *m, uint32_t i)
{
	return gm_seg_init(m->segments[i].kind) && m->base[i] == 0;
}

/* The address S that a field of these bytes at guest address p stands for. */
static uint64_t field_decode(const struct gm_reloc *r, uint64_t p, const uint8_t *field)
{
	uint64_t value = 0;
	int32_t low;

	if (gm_field_size(r) == 8) {
		memcpy(&value, field, 8);
	} else {
		memcpy(&low, field, 4);
		value = r->type == GM_R_32 ? (uint32_t)low : (uint64_t)(int64_t)low;
	}
	return value - (uint64_t)r->addend + (pc_relative(r) ? p : 0);
}

/* In a range of m that no data import of anyone may reach. */
static bool guarded_range(const struct module *m, uint64_t at)
{
	uint32_t moff;
	unsigned i;

	return module_moff(m, at, &moff, &i) &&
	       ((gm_seg_verified(m->segments[i].kind) && m->segments[i].kind != GM_SEG_GATES) ||
		m->segments[i].kind == GM_SEG_PRIVATE);
}

/*
 * May m's import lead to `at`? Never into m itself; a data import not into a verified, private or
 * device range of any module, by address or by frame. Gates are code that the kernel may call, so
 * other modules' gates are open to everyone.
 */
static bool import_allowed(struct ctx *c, const struct module *m, uint32_t import, uint64_t at)
{
	struct guard *g = c->g;
	struct guard_mapping map;

	if (module_owns(m, at))
		return false;
	if (!(m->imports[import].flags & GM_IMPORT_DATA))
		return true;
	for (unsigned n = 0; n < g->modules; n++)
		if (g->module[n].state == MODULE_ANNOUNCED && guarded_range(&g->module[n], at))
			return false;
	g->ops->translate(g->vmm, c->vcpu, c->d->cpu.cr3, PAGE_OF(at), 1, &map);
	return !map.flags || map.role < GUARD_ROLE_VERIFIED;
}

/*
 * Is `at` the address of this import? During the proof the first one seen is noted (`learn`), and
 * commit looks whether it is allowed; one that turns up later must be allowed there and then.
 */
static bool import_is(struct ctx *c, struct module *m, uint32_t import, uint64_t at, bool learn)
{
	if (at == NO_ADDRESS)
		return false;
	if (m->import_at[import] != NO_ADDRESS)
		return m->import_at[import] == at;
	if (m->state == MODULE_ANNOUNCED)
		return import_allowed(c, m, import, at);
	if (learn)
		m->import_at[import] = at;
	return true;
}

static bool outside_all(const struct guard *g, uint64_t at)
{
	for (unsigned i = 0; i < g->modules; i++)
		if (g->module[i].state >= MODULE_ANNOUNCING && module_owns(&g->module[i], at))
			return false;
	return true;
}

/*
 * Are these the right bytes for relocation r at guest address p? 32-bit overflow shows by itself:
 * a truncated field decodes to another address.
 */
static bool field_ok(struct ctx *c, struct module *m, const struct gm_reloc *r, uint64_t p,
		     const uint8_t *field, bool learn)
{
	uint64_t s = field_decode(r, p, field);

	if (r->kind == GM_TARGET_SEGMENT)
		return seg_absent(m, r->target) || s == m->base[r->target];
	if (r->kind == GM_TARGET_IMPORT)
		return import_is(c, m, r->target, s, learn);
	return outside_all(c->g, s);
}

/*
 * Is `actual` (site bytes at guest address p) the site's choice i? Fields are judged by field_ok,
 * everything else by the image. An import's address is learnt only if all the rest fits.
 */
static bool choice_is(struct ctx *c, struct module *m, const struct gm_site *site, uint32_t i,
		      uint64_t p, const uint8_t *actual)
{
	const struct gm_choice *ch = &m->choices[site->first + i];
	const struct gm_reloc *r = m->choice_relocs + ch->first_reloc;
	const uint8_t *legal = m->image + ch->bytes;
	uint32_t at = 0;

	for (uint32_t k = 0; k <= ch->relocs; k++) {
		uint32_t end = k < ch->relocs ? r[k].moff : site->size;

		if (memcmp(actual + at, legal + at, end - at) != 0)
			return false;
		at = k < ch->relocs ? end + gm_field_size(&r[k]) : end;
	}
	/* twice: nothing is learnt from a choice that is not the one */
	for (uint32_t k = 0; k < 2 * ch->relocs; k++) {
		const struct gm_reloc *f = &r[k % ch->relocs];

		if (!field_ok(c, m, f, p + f->moff, actual + f->moff, k >= ch->relocs))
			return false;
	}
	return true;
}

/* The choice that `actual` is, 1-based; 0: none. */
static uint16_t choice_of(struct ctx *c, struct module *m, const struct gm_site *site,
			  const uint8_t *actual)
{
	for (uint32_t i = 0; i < site->count; i++)
		if (choice_is(c, m, site, i, module_gva(m, site->moff), actual))
			return (uint16_t)(i + 1);
	return 0;
}

static bool prove_site(struct ctx *c, struct module *m, uint32_t n)
{
	const struct gm_site *site = &m->sites[n];
	uint8_t actual[GM_MAX_SITE_BYTES];
	uint16_t choice;

	if (!bytes(c, m, COPY_READ, site->moff, site->size, actual))
		return false;
	choice = choice_of(c, m, site, actual);
	if (!choice)
		return false;
	if (site->group == GM_NONE)
		return true;
	if (!m->group[site->group])
		m->group[site->group] = choice;
	return m->group[site->group] == choice;
}

static bool prove_field(struct ctx *c, struct module *m, const struct gm_reloc *r)
{
	uint8_t field[8];

	if (!bytes(c, m, COPY_READ, r->moff, gm_field_size(r), field) ||
	    !field_ok(c, m, r, module_gva(m, r->moff), field, true))
		return false;
	if (r->kind != GM_TARGET_SEGMENT || !seg_absent(m, r->target))
		return true;
	/* what pointed into init code that is gone points nowhere */
	memset(field, 0, sizeof(field));
	return bytes(c, m, COPY_PATCH, r->moff, gm_field_size(r), field);
}

/* [at, end), within a page, equals the image; behind the segment's size it is zero. */
static bool prove_bytes(struct ctx *c, const struct module *m, const struct gm_segment *s,
			uint32_t at, uint32_t end)
{
	uint32_t from = at - s->start, n = end - at, with;
	uint8_t *buf = c->g->scratch;

	if (!bytes(c, m, COPY_READ, at, n, buf))
		return false;
	with = s->size - from < n ? s->size - from : n; /* a page starts before the end */
	if (memcmp(buf, m->image + s->image + from, with) != 0)
		return false;
	while (with < n)
		if (buf[with++])
			return false;
	return true;
}

/*
 * Goes on with the proof of the verified copies from m->job. `again` until all is proved, then
 * `ok`; `bad-text` at the first byte that is not.
 */
enum guard_verdict text_prove(struct ctx *c, struct module *m, unsigned steps)
{
	struct announce_job *j = &m->job;
	unsigned seg = 0;

	while (steps--) {
		const struct gm_segment *s;
		uint32_t end, reloc = GM_NONE, site = GM_NONE;

		while (seg < m->nsegments &&
		       (j->pos >= m->segments[seg].start +
					  gm_seg_pages(&m->segments[seg]) * GM_PAGE ||
			!gm_seg_verified(m->segments[seg].kind) || seg_absent(m, seg)))
			seg++;
		if (seg == m->nsegments)
			return GUARD_V_OK;
		s = &m->segments[seg];
		if (j->pos < s->start)
			j->pos = s->start;
		if (j->reloc < m->man->relocs.count)
			reloc = m->relocs[j->reloc].moff;
		if (j->site < m->man->sites.count)
			site = m->sites[j->site].moff;
		if (reloc < j->pos) { /* of an absent segment */
			j->reloc++;
		} else if (site < j->pos) {
			j->site++;
		} else if (reloc == j->pos) {
			if (!prove_field(c, m, &m->relocs[j->reloc]))
				return GUARD_V_BAD_TEXT;
			j->pos += gm_field_size(&m->relocs[j->reloc++]);
		} else if (site == j->pos) {
			if (!prove_site(c, m, j->site))
				return GUARD_V_BAD_TEXT;
			j->pos += m->sites[j->site++].size;
		} else {
			end = reloc < site ? reloc : site;
			if (end > j->pos - j->pos % GM_PAGE + GM_PAGE)
				end = j->pos - j->pos % GM_PAGE + GM_PAGE;
			if (!prove_bytes(c, m, s, j->pos, end))
				return GUARD_V_BAD_TEXT;
			j->pos = end;
		}
	}
	return GUARD_V_AGAIN;
}

/* All imports of m, and what others import where m now lies. */
bool text_imports_allowed(struct ctx *c, const struct module *m)
{
	for (uint32_t i = 0; i < m->man->imports.count; i++)
		if (m->import_at[i] != NO_ADDRESS && !import_allowed(c, m, i, m->import_at[i]))
			return false;
	for (unsigned k = 0; k < c->g->modules; k++) {
		const struct module *o = &c->g->module[k];

		if (o->state != MODULE_ANNOUNCED)
			continue;
		for (uint32_t i = 0; i < o->man->imports.count; i++)
			if (o->imports[i].flags & GM_IMPORT_DATA &&
			    guarded_range(m, o->import_at[i]))
				return false;
	}
	return true;
}

/* Legal as it is, or a poke in progress: first byte cc, the rest old or new. */
enum site_now { SITE_LEGAL, SITE_POKE, SITE_ILLEGAL };

static enum site_now site_now(struct ctx *c, struct module *m, const struct gm_site *site,
			      const uint8_t *actual)
{
	uint8_t legal[GM_MAX_SITE_BYTES];

	if (choice_of(c, m, site, actual))
		return SITE_LEGAL;
	if (actual[0] != 0xcc)
		return SITE_ILLEGAL;
	memcpy(legal, actual, site->size);
	for (uint32_t i = 0; i < site->count; i++) {
		legal[0] = m->image[m->choices[site->first + i].bytes];
		if (choice_is(c, m, site, i, module_gva(m, site->moff), legal))
			return SITE_POKE;
	}
	return SITE_ILLEGAL;
}

/*
 * Puts the verified bytes of [at, at + n) over the page in scratch, where they overlap: what has
 * been judged one by one no longer counts as a difference.
 */
static bool settle(struct ctx *c, const struct module *m, uint32_t page, uint32_t at, uint32_t n)
{
	uint32_t lo = page * GM_PAGE, hi = lo + GM_PAGE;
	uint32_t from = at > lo ? at : lo, to = at + n < hi ? at + n : hi;

	return from >= to || bytes(c, m, COPY_READ, from, to - from, c->g->scratch + (from - lo));
}

/* First record that may touch `moff`: one that starts before it may reach into it. */
static uint32_t first_near(const void *records, uint32_t count, uint32_t stride, uint32_t moff)
{
	uint32_t i = gm_find(records, count, stride, moff);

	return i == count ? 0 : i;
}

/* A legal content, whichever it is: the same choice may lead elsewhere than before. */
static bool take_over(struct ctx *c, const struct module *m, const struct gm_site *site,
		      uint8_t *legal)
{
	uint8_t held[GM_MAX_SITE_BYTES];

	return bytes(c, m, COPY_READ, site->moff, site->size, held) &&
	       (memcmp(held, legal, site->size) == 0 ||
		bytes(c, m, COPY_PATCH, site->moff, site->size, legal));
}

enum page_now { PAGE_FAILED, PAGE_SETTLED, PAGE_POKE, PAGE_BAD };

/* A page that the guest wrote. PAGE_FAILED: a callback did; nothing can be said. */
static enum page_now refresh_page(struct ctx *c, struct module *m, uint32_t page)
{
	const uint32_t lo = page * GM_PAGE, hi = lo + GM_PAGE;
	uint8_t part[GM_MAX_SITE_BYTES + 1] = { 0 };
	enum page_now result = PAGE_SETTLED;
	uint32_t i;

	if (!bytes(c, m, GUEST_READ, lo, GM_PAGE, c->g->scratch))
		return PAGE_FAILED;
	i = first_near(m->sites, m->man->sites.count, sizeof(struct gm_site), lo);
	for (; i < m->man->sites.count && m->sites[i].moff < hi; i++) {
		const struct gm_site *site = &m->sites[i];
		enum site_now now;

		if (!(site->flags & GM_SITE_RUNTIME) || site->moff + site->size <= lo)
			continue;
		if (!bytes(c, m, GUEST_READ, site->moff, site->size, part))
			return PAGE_FAILED;
		now = site_now(c, m, site, part);
		if (now == SITE_ILLEGAL)
			continue;
		if (now == SITE_POKE) {
			result = PAGE_POKE;
		} else if (!take_over(c, m, site, part)) {
			return PAGE_FAILED;
		}
		if (!settle(c, m, page, site->moff, site->size))
			return PAGE_FAILED;
	}
	i = first_near(m->relocs, m->man->relocs.count, sizeof(struct gm_reloc), lo);
	for (; i < m->man->relocs.count && m->relocs[i].moff < hi; i++)
		if (m->relocs[i].kind == GM_TARGET_SEGMENT && seg_absent(m, m->relocs[i].target) &&
		    !settle(c, m, page, m->relocs[i].moff, gm_field_size(&m->relocs[i])))
			return PAGE_FAILED;
	for (uint32_t at = 0; at < GM_PAGE; at += sizeof(part)) {
		if (!bytes(c, m, COPY_READ, lo + at, sizeof(part), part))
			return PAGE_FAILED;
		if (memcmp(part, c->g->scratch + at, sizeof(part)) != 0)
			return PAGE_BAD;
	}
	return result;
}

static bool page_verified(const struct module *m, uint32_t page)
{
	return gm_seg_verified(m->segments[module_segment(m, page * GM_PAGE)].kind) &&
	       m->frame[page] != NO_FRAME;
}

/* A line of its own, before that of the crossing, which it does not touch. */
static void log_bad_text(struct ctx *c, const struct module *m, uint32_t page)
{
	uint32_t act = c->act;

	c->act = 0;
	guard_log(c, GUARD_VERIFY, m, guard_ctx_view(c), module_gva(m, page * GM_PAGE),
		  GUARD_V_BAD_TEXT);
	c->act = act;
}

/*
 * Before a raise: looks at the pages that were written since the last one, unless an activation
 * runs (it is asked to leave). One VERIFY line tells of the first page that is not legal; the last
 * proved copy goes on and the raise is unaffected. False: the copies could not be kept right.
 */
bool text_refresh(struct ctx *c, struct module *m)
{
	bool any = false, bad_seen = false;
	uint32_t looked = 0; /* a bounded number a raise; the others stay marked */

	for (uint32_t w = 0; w * 64 < m->pages; w++) {
		uint32_t left = m->pages - w * 64;
		uint64_t bits = 0;

		if (!c->g->ops->written(c->g->vmm, m->index, w * 64, &bits))
			bits = ~0ull; /* unknown: look at everything */
		m->marked[w] |= bits;
		m->marked[w] &= left < 64 ? (1ull << left) - 1 : ~0ull;
		any |= m->marked[w] != 0;
	}
	if (!any)
		return true;
	if (m->running) {
		/* once each: two that kick each other would never let it happen */
		c->d->kick |= m->running & ~m->kicked;
		m->kicked |= m->running;
		return true;
	}
	m->kicked = 0;
	for (uint32_t p = 0; p < m->pages && looked < GUARD_MAX_WALKED_PAGES; p++) {
		uint64_t bit = 1ull << (p % 64);
		enum page_now now = PAGE_SETTLED;

		if (!(m->marked[p / 64] & bit))
			continue;
		looked++;
		if (page_verified(m, p))
			now = refresh_page(c, m, p);
		if (now == PAGE_FAILED)
			return false;
		if (now != PAGE_POKE)
			m->marked[p / 64] &= ~bit;
		if (now == PAGE_BAD && !bad_seen) {
			bad_seen = true;
			log_bad_text(c, m, p);
		}
	}
	return true;
}
