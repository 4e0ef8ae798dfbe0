/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Guest memory by guest address, never on a frame that any module owns (spec 3: "The guard never
 * touches a device, stand-in, verified or private frame of any module through a guest address").
 * Every access goes through a range that was translated in the same event, so what was checked is
 * what is used.
 */
#include "model/internal.h"

/* Translates the pages of a stretch that range_map() accepts; single pages may be unmapped. */
void range_fill(struct ctx *c, struct range *r, uint64_t lo, uint64_t hi)
{
	r->lo = lo;
	r->hi = hi;
	r->first = PAGE_OF(lo);
	r->pages = (unsigned)((hi - 1 - r->first) / PAGE) + 1;
	c->g->ops->translate(c->g->vmm, c->vcpu, c->d->cpu.cr3, r->first, r->pages, r->map);
}

/* The same for any [lo, hi); false if it is not of the kernel half, or more than a chain spans. */
bool range_map(struct ctx *c, struct range *r, uint64_t lo, uint64_t hi)
{
	if (lo < KERNEL_HALF || hi > KERNEL_LAST || lo >= hi ||
	    (hi - 1 - PAGE_OF(lo)) / PAGE >= MAX_RANGE_PAGES)
		return false;
	range_fill(c, r, lo, hi);
	return true;
}

/* Plain supervisor RAM of the guest that it may write, and nobody's. */
bool range_stack_page(const struct guard_mapping *p)
{
	const uint32_t need = GUARD_MAP_PRESENT | GUARD_MAP_WRITE | GUARD_MAP_RAM;

	return (p->flags & (need | GUARD_MAP_USER)) == need && p->role == GUARD_ROLE_NONE;
}

/* Every caller stays in r: what comes from the stack itself was compared with r->lo and r->hi. */
static const struct guard_mapping *page_at(const struct range *r, uint64_t gva)
{
	const struct guard_mapping *p = &r->map[(gva - r->first) / PAGE];

	return range_stack_page(p) ? p : NULL;
}

/* An aligned word of the stack. */
bool range_read(struct ctx *c, const struct range *r, uint64_t gva, uint64_t *value)
{
	const struct guard_mapping *p = gva % 8 == 0 ? page_at(r, gva) : NULL;

	return p && c->g->ops->read(c->g->vmm, p->gpa + PAGE_OFFSET(gva), value, sizeof(*value));
}

/* A slot, whose page was found fit for it. */
bool range_write(struct ctx *c, const struct range *r, uint64_t gva, uint64_t value)
{
	uint64_t gpa = r->map[(gva - r->first) / PAGE].gpa + PAGE_OFFSET(gva);

	return c->g->ops->write(c->g->vmm, gpa, &value, sizeof(value));
}

bool range_copy(struct ctx *c, const struct range *r, uint64_t lo, uint64_t hi, uint8_t *out)
{
	while (lo < hi) {
		uint64_t n = PAGE - PAGE_OFFSET(lo);
		const struct guard_mapping *p = page_at(r, lo);

		if (n > hi - lo)
			n = hi - lo;
		if (!p || !c->g->ops->read(c->g->vmm, p->gpa + PAGE_OFFSET(lo), out, (size_t)n))
			return false;
		out += n;
		lo += n;
	}
	return true;
}

bool range_equal(struct ctx *c, const struct range *r, uint64_t lo, uint64_t hi,
		 const uint8_t *with)
{
	uint8_t *buf = c->g->scratch;

	while (lo < hi) {
		uint64_t n = PAGE - PAGE_OFFSET(lo);

		if (n > hi - lo)
			n = hi - lo;
		if (!range_copy(c, r, lo, lo + n, buf) || memcmp(buf, with, (size_t)n) != 0)
			return false;
		with += n;
		lo += n;
	}
	return true;
}
