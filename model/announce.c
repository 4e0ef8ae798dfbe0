/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * ANNOUNCE and WITHDRAW (spec 3, "Gates", "Records"): which guest memory holds a registered
 * module's code. Anyone at CPL 0 may ask; only the code decides.
 *
 *   start   the table is read once; every page must map to plain RAM that nobody owns
 *   fill    the guest's bytes become the verified copy, some pages a call
 *   prove   the copy is the registered code (text.c), some pieces a call
 *   commit  nothing has moved meanwhile, nothing overlaps, imports lead nowhere they may not;
 *           only now do the frames change their role and the gates mean something
 */
#include "model/internal.h"

static bool read_table(struct ctx *c, uint64_t table, unsigned count, uint64_t *base)
{
	struct range r;

	if (!range_map(c, &r, table, table + count * 8ull))
		return false;
	for (unsigned i = 0; i < count; i++)
		if (!range_read(c, &r, table + i * 8ull, &base[i]))
			return false;
	return true;
}

/* Page aligned, in the kernel half, without wrapping; 0 for init memory that is gone. */
static bool bases_ok(const struct module *m, const uint64_t *base)
{
	for (unsigned i = 0; i < m->nsegments; i++) {
		if (m->segments[i].kind == GM_SEG_PERCPU ||
		    (gm_seg_init(m->segments[i].kind) && base[i] == 0))
			continue;
		if (PAGE_OFFSET(base[i]) != 0 || base[i] < KERNEL_HALF ||
		    base[i] > KERNEL_LAST - m->bytes[i])
			return false;
	}
	return true;
}

/* The same place again: init segments may have gone since. */
static bool same_place(const struct module *m, const uint64_t *base)
{
	for (unsigned i = 0; i < m->nsegments; i++)
		if (base[i] != m->base[i] && !(gm_seg_init(m->segments[i].kind) && base[i] == 0))
			return false;
	return true;
}

/* Gives a frame back. The page keeps its number if the VMM could not. */
bool page_release(struct ctx *c, struct module *m, uint32_t page)
{
	if (m->frame[page] == NO_FRAME)
		return true;
	if (!c->g->ops->frame_role(c->g->vmm, m->index, page, m->frame[page], GUARD_ROLE_NONE))
		return false;
	m->frame[page] = NO_FRAME;
	return true;
}

/* Order: nothing executes there any more, then private memory is wiped, then shown. */
static bool release_all(struct ctx *c, struct module *m)
{
	bool all = true;

	for (unsigned pass = 0; pass < 2; pass++) {
		for (unsigned i = 0; i < m->nsegments; i++) {
			bool hidden = m->segments[i].kind == GM_SEG_PRIVATE;
			uint32_t first = m->segments[i].start / GM_PAGE;
			uint32_t n = gm_seg_pages(&m->segments[i]);

			for (uint32_t p = first; hidden == (pass == 1) && p < first + n; p++) {
				if (m->frame[p] == NO_FRAME)
					continue;
				if ((hidden &&
				     !c->g->ops->private_fill(c->g->vmm, m->index, p, NULL, 0)) ||
				    !page_release(c, m, p))
					all = false;
			}
		}
	}
	return all;
}

/* busy: an activation runs, or a callback failed; the rest is done when it is asked again. */
enum guard_verdict withdraw(struct ctx *c, struct module *m)
{
	if (m->running)
		return GUARD_V_BUSY;
	for (uint32_t i = 0; i < m->binding.policy.chains; i++)
		chain_end(m, &m->chains[i]);
	if (m->state == MODULE_ANNOUNCING) /* frames were noted, not taken */
		for (uint32_t p = 0; p < m->pages; p++)
			m->frame[p] = NO_FRAME;
	m->state = MODULE_WITHDRAWING;
	if (!release_all(c, m))
		return GUARD_V_BUSY;
	m->state = MODULE_REGISTERED;
	return GUARD_V_OK;
}

static enum guard_verdict start(struct ctx *c, struct module *m, uint64_t table, uint64_t count)
{
	uint64_t base[GM_MAX_SEGMENTS];

	if (count != m->nsegments || !read_table(c, table, m->nsegments, base) ||
	    !bases_ok(m, base))
		return GUARD_V_BAD_MAPPING;
	if (m->state == MODULE_ANNOUNCED && same_place(m, base))
		return GUARD_V_OK;
	if (withdraw(c, m) != GUARD_V_OK)
		return GUARD_V_BUSY;
	memcpy(m->base, base, sizeof(uint64_t) * m->nsegments);
	m->init_used = m->init_gone = false;
	module_place(m);
	m->job = (struct announce_job){ .table = table, .count = count };
	for (uint32_t i = 0; i < m->man->imports.count; i++)
		m->import_at[i] = NO_ADDRESS;
	memset(m->group, 0, sizeof(*m->group) * m->man->sites.count);
	m->state = MODULE_ANNOUNCING;
	return GUARD_V_AGAIN;
}

/* The frame under a page of the module, if nobody owns it. */
static enum guard_verdict page_frame(struct ctx *c, const struct module *m, uint32_t page,
				     uint64_t *gpa)
{
	const uint32_t need = GUARD_MAP_PRESENT | GUARD_MAP_RAM;
	struct guard_mapping map;

	c->g->ops->translate(c->g->vmm, c->vcpu, c->d->cpu.cr3, module_gva(m, page * GM_PAGE), 1,
			     &map);
	if ((map.flags & need) != need)
		return GUARD_V_BAD_MAPPING;
	*gpa = map.gpa;
	return map.role == GUARD_ROLE_NONE ? GUARD_V_OK : GUARD_V_OVERLAP;
}

static enum guard_verdict fill(struct ctx *c, struct module *m)
{
	for (unsigned n = 0; n < ANNOUNCE_PAGES && m->job.page < m->pages; n++, m->job.page++) {
		uint32_t p = m->job.page;
		unsigned i = module_segment(m, p * GM_PAGE);
		enum guard_verdict v;
		uint64_t gpa;

		if (!module_has(m, i))
			continue;
		v = page_frame(c, m, p, &gpa);
		if (v != GUARD_V_OK)
			return v;
		m->frame[p] = gpa;
		if (gm_seg_verified(m->segments[i].kind) &&
		    !c->g->ops->verified_fill(c->g->vmm, m->index, p, gpa))
			return GUARD_V_BAD_MAPPING;
	}
	return GUARD_V_OK;
}

/* Do segment i of m and segment k of o share an address? */
static bool addresses_meet(const struct module *m, unsigned i, const struct module *o, unsigned k)
{
	return module_has(m, i) && module_has(o, k) && m->base[i] < o->base[k] + o->bytes[k] &&
	       o->base[k] < m->base[i] + m->bytes[i];
}

static bool overlaps_any(const struct guard *g, const struct module *m)
{
	for (unsigned n = 0; n < g->modules; n++) {
		const struct module *o = &g->module[n];

		if (o != m && o->state != MODULE_ANNOUNCED)
			continue;
		for (unsigned i = 0; i < m->nsegments; i++)
			for (unsigned k = 0; k < o->nsegments; k++)
				if (!(o == m && k == i) && addresses_meet(m, i, o, k))
					return true;
	}
	return false;
}

static enum guard_role role_of(uint32_t kind)
{
	if (kind == GM_SEG_GATES)
		return GUARD_ROLE_GATES;
	if (kind == GM_SEG_PRIVATE)
		return GUARD_ROLE_PRIVATE;
	return gm_seg_verified(kind) ? GUARD_ROLE_VERIFIED : GUARD_ROLE_SEGMENT;
}

/* Takes one page: still the frame that was filled from, and still nobody's. */
static enum guard_verdict take_page(struct ctx *c, struct module *m, unsigned i, uint32_t page,
				    uint64_t noted)
{
	const struct gm_segment *s = &m->segments[i];
	uint32_t from = (page - s->start / GM_PAGE) * GM_PAGE;
	const uint8_t *bytes = NULL;
	enum guard_verdict v;
	uint32_t len = 0;
	uint64_t gpa;

	v = page_frame(c, m, page, &gpa);
	if (v != GUARD_V_OK)
		return v;
	if (gpa != noted)
		return GUARD_V_BAD_MAPPING;
	if (s->kind == GM_SEG_PRIVATE) {
		if (s->image != GM_NONE) {
			bytes = m->image + s->image + from;
			len = s->size - from < GM_PAGE ? s->size - from : GM_PAGE;
		}
		if (!c->g->ops->private_fill(c->g->vmm, m->index, page, bytes, len))
			return GUARD_V_BAD_MAPPING;
	}
	if (!c->g->ops->frame_role(c->g->vmm, m->index, page, gpa, role_of(s->kind)))
		return GUARD_V_BAD_MAPPING;
	m->frame[page] = gpa;
	return GUARD_V_OK;
}

/* Pages that follow each other both in the module and in memory are walked together. */
static void plan_runs(struct module *m)
{
	m->runs = 0;
	for (unsigned i = 0; i < m->nsegments; i++) {
		const struct gm_segment *s = &m->segments[i];
		struct run *last = m->runs ? &m->run[m->runs - 1] : NULL;
		bool init = gm_seg_init(s->kind);

		if (!module_has(m, i))
			continue;
		if (last && last->init == init && last->page + last->pages == s->start / GM_PAGE &&
		    last->gva + last->pages * PAGE == m->base[i]) {
			last->pages += gm_seg_pages(s);
			continue;
		}
		m->run[m->runs++] = (struct run){ .gva = m->base[i],
						  .page = s->start / GM_PAGE,
						  .pages = gm_seg_pages(s),
						  .init = init };
	}
}

static enum guard_verdict commit(struct ctx *c, struct module *m)
{
	enum guard_verdict v = GUARD_V_OK;

	/* other modules' init memory may be what now holds this one */
	init_drop_all(c);
	if (overlaps_any(c->g, m))
		return GUARD_V_OVERLAP;
	if (!text_imports_allowed(c, m))
		return GUARD_V_BAD_TEXT;
	for (uint32_t p = 0; p < m->pages; p++) {
		uint64_t noted = m->frame[p];
		unsigned i = module_segment(m, p * GM_PAGE);

		if (!module_has(m, i))
			continue;
		m->frame[p] = NO_FRAME;
		v = take_page(c, m, i, p, noted);
		if (v == GUARD_V_OK)
			continue;
		while (++p < m->pages) /* noted, never taken */
			m->frame[p] = NO_FRAME;
	}
	if (v != GUARD_V_OK) {
		m->state = MODULE_WITHDRAWING; /* gives back what was taken */
		return v;
	}
	plan_runs(m);
	m->cr4 = c->d->cpu.cr4 & (CR4_SMEP | CR4_SMAP);
	m->enter_return = m->leave_return = 0;
	if (m->gates_segment != GM_MAX_SEGMENTS) {
		m->gates_gva = m->base[m->gates_segment];
		m->gates_bytes = m->bytes[m->gates_segment];
		m->enter_return = m->gates_gva + m->enter_return_gate;
		m->leave_return = m->gates_gva + m->leave_return_gate;
	}
	/* the copies are of an earlier moment: all pages are looked at before the first raise */
	memset(m->marked, 0xff, (m->pages + 63) / 64 * sizeof(uint64_t));
	m->kicked = 0;
	m->state = MODULE_ANNOUNCED;
	return GUARD_V_OK;
}

/* One call's worth of work. */
static enum guard_verdict go_on(struct ctx *c, struct module *m)
{
	enum guard_verdict v;

	if (m->job.page < m->pages) {
		v = fill(c, m);
		return v == GUARD_V_OK ? GUARD_V_AGAIN : v;
	}
	v = text_prove(c, m, ANNOUNCE_STEPS);
	return v == GUARD_V_OK ? commit(c, m) : v;
}

enum guard_verdict announce(struct ctx *c, uint64_t id, uint64_t table, uint64_t count)
{
	struct module *m = module_by_id(c->g, id);
	enum guard_verdict v;

	if (!m)
		return GUARD_V_UNKNOWN_MODULE;
	init_drop_all(c);
	if (m->state == MODULE_ANNOUNCING) {
		if (table != m->job.table || count != m->job.count)
			return GUARD_V_BUSY;
	} else {
		v = start(c, m, table, count);
		if (v != GUARD_V_AGAIN)
			return v;
	}
	v = go_on(c, m);
	if (v != GUARD_V_OK && v != GUARD_V_AGAIN)
		withdraw(c, m);
	return v;
}
