/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What must hold before a raise, in the contract's order (spec 3, "Verdicts"): mode, flags,
 * mapping, stack. None of these changes anything, but for dropping an init segment that is gone.
 */
#include "model/internal.h"

/* SMEP and SMAP may not be weaker than they were at ANNOUNCE. */
enum guard_verdict check_mode(const struct ctx *c, const struct module *m)
{
	const struct guard_cpu *cpu = &c->d->cpu;
	const uint64_t cr0 = CR0_PE | CR0_PG | CR0_WP, efer = EFER_LMA | EFER_NXE;
	const uint64_t cr4 = CR4_PAE | m->cr4;

	if (cpu->cpl != 0 || cpu->mode != GUARD_MODE_64 || (cpu->cr0 & cr0) != cr0 ||
	    (cpu->cr4 & cr4) != cr4 || (cpu->efer & efer) != efer)
		return GUARD_V_BAD_MODE;
	return GUARD_V_OK;
}

/* record: the call-out that is returned from, whose AC must stand again; NULL for an entry. */
enum guard_verdict check_flags(const struct ctx *c, const struct chain *record)
{
	const struct guard_cpu *cpu = &c->d->cpu;
	uint64_t bad = cpu->rflags & (RFLAGS_TF | RFLAGS_DF | RFLAGS_NT);

	if (record)
		bad |= (cpu->rflags ^ record->rflags) & RFLAGS_AC;
	else if (cpu->cr4 & CR4_SMAP)
		bad |= cpu->rflags & RFLAGS_AC;
	return bad ? GUARD_V_BAD_FLAGS : GUARD_V_OK;
}

/* Do all pages of the run map to the frames that were verified? */
static bool run_maps(struct ctx *c, const struct module *m, const struct run *run)
{
	struct guard_mapping map[32];
	const uint64_t *frame = m->frame + run->page;

	for (uint32_t done = 0; done < run->pages;) {
		uint32_t n = run->pages - done < 32 ? run->pages - done : 32;

		c->g->ops->translate(c->g->vmm, c->vcpu, c->d->cpu.cr3, run->gva + done * PAGE, n,
				     map);
		for (uint32_t i = 0; i < n; i++)
			if (map[i].gpa != frame[done + i] || !(map[i].flags & GUARD_MAP_PRESENT))
				return false;
		done += n;
	}
	return true;
}

/* Nothing of init's runs or can come back: its memory may be the kernel's again. */
static bool init_done(const struct module *m)
{
	return (m->init_used || !m->has_init) && m->init_live == 0;
}

/*
 * Drops the init segments once what ran there has returned and they no longer lie where they were
 * verified: the kernel has freed them and may put anything there.
 */
bool init_drop_if_moved(struct ctx *c, struct module *m)
{
	bool moved = false;

	if (m->state != MODULE_ANNOUNCED || !init_done(m) || m->init_gone)
		return false;
	for (unsigned i = 0; i < m->runs; i++)
		if (m->run[i].init && !run_maps(c, m, &m->run[i]))
			moved = true;
	if (!moved)
		return false;
	for (uint32_t p = 0; p < m->pages; p++)
		if (gm_seg_init(m->segments[module_segment(m, p * GM_PAGE)].kind) &&
		    !page_release(c, m, p))
			return false;
	m->init_gone = true;
	return true;
}

/* Of every module: what the kernel has freed may be anybody's stack or text by now. */
bool init_drop_all(struct ctx *c)
{
	bool any = false;

	for (unsigned i = 0; i < c->g->modules; i++)
		any |= init_drop_if_moved(c, &c->g->module[i]);
	return any;
}

enum guard_verdict check_mapping(struct ctx *c, struct module *m)
{
	if (init_done(m) && !m->init_gone)
		init_drop_if_moved(c, m);
	if (m->binding.policy.mapping == GUARD_MAPPING_LOCKED &&
	    c->g->ops->mapping_locked(c->g->vmm, c->vcpu, m->index, c->d->cpu.cr3))
		return GUARD_V_OK;
	for (unsigned i = 0; i < m->runs; i++)
		if (!(m->run[i].init && m->init_gone) && !run_maps(c, m, &m->run[i]))
			return GUARD_V_BAD_MAPPING;
	return GUARD_V_OK;
}

/* [lo, slot + 8) usable as a stack, and nothing private or of a device close below it? */
static bool pages_ok(const struct range *r, uint64_t slot, uint64_t lo)
{
	for (uint64_t p = PAGE_OF(slot); p >= r->first; p -= PAGE) {
		const struct guard_mapping *map = &r->map[(p - r->first) / PAGE];

		if (p + PAGE > lo) {
			if (!range_stack_page(map))
				return false;
		} else if (!map->flags) {
			break;
		} else if (map->role == GUARD_ROLE_PRIVATE || map->role == GUARD_ROLE_DEVICE) {
			return false;
		}
	}
	return true;
}

/*
 * The stack of an entry or return at `slot`: [lo, slot + 8) plain writable supervisor RAM, no
 * private or device frame within 16 KiB below the slot, and the extent [lo, hi) of this chain
 * clear of what runs elsewhere. r is left covering at least [lo, hi).
 */
enum guard_verdict check_stack(struct ctx *c, struct range *r, uint64_t slot, uint64_t lo,
			       uint64_t hi, const struct chain *self)
{
	uint64_t below;

	if (slot % 8 != 0)
		return GUARD_V_BAD_STACK;
	/* what is not of the kernel half is refused by range_map() */
	below = slot - KERNEL_HALF > BELOW_SLOT ? slot - BELOW_SLOT : KERNEL_HALF;
	below = lo < below ? lo : below;
	if (!range_map(c, r, below, hi))
		return GUARD_V_BAD_STACK;
	if (!pages_ok(r, slot, lo)) {
		/* perhaps it is init memory of a module that nobody has entered since */
		init_drop_all(c);
		range_fill(c, r, below, hi);
		if (!pages_ok(r, slot, lo))
			return GUARD_V_BAD_STACK;
	}
	if (chain_overlaps_running(c->g, self, r, lo, hi))
		return GUARD_V_BAD_STACK;
	return GUARD_V_OK;
}

/* RESUME asks for less: only that nobody else runs on that stack. */
enum guard_verdict check_overlap(struct ctx *c, struct range *r, uint64_t lo, uint64_t hi,
				 const struct chain *self)
{
	if (!range_map(c, r, lo, hi) || chain_overlaps_running(c->g, self, r, lo, hi))
		return GUARD_V_BAD_STACK;
	return GUARD_V_OK;
}

/* The raise itself: what is bound and granted now, here. The last thing that can fail. */
enum guard_verdict raise_now(struct ctx *c, struct module *m)
{
	uint64_t set = m->binding.bound & c->v->granted[m->index];

	return c->g->ops->raise(c->g->vmm, c->vcpu, m->index, set) ? GUARD_V_OK
								   : GUARD_V_RAISE_FAILED;
}
