/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Records (spec 3, "Records"): found by module, kind and slot, never by "the last one", "this
 * vCPU" or "this thread"; used once; dying as a whole.
 */
#include "model/internal.h"

/* The suspension in a call-out whose slot this is. */
struct chain *chain_callout(const struct module *m, uint64_t slot)
{
	for (uint32_t i = 0; m->callouts && i < m->binding.policy.chains; i++)
		if (m->chains[i].state == CHAIN_CALLOUT && m->chains[i].slot == slot)
			return &m->chains[i];
	return NULL;
}

/*
 * Exceptions that an exception-table entry is not for: debug, NMI, breakpoint, double fault and
 * machine check do not come from the instruction that has the entry. WARN is ud2's #UD alone.
 */
static bool fixes(uint32_t kind, uint8_t vector)
{
	const uint32_t never = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 8 | 1u << 18;

	return kind == GM_FIXUP_WARN ? vector == 6 : vector < 32 && !(never & 1u << vector);
}

/*
 * May a departed chain continue at rip? Only at the continuation that is registered for the
 * exception that struck: *differ gets the GPRs that it sets.
 */
static bool continues(const struct module *m, const struct chain *ch, uint64_t rip,
		      uint32_t *differ)
{
	uint32_t from = 0, to = 0, i;

	if (!ch->exception)
		return false;
	/* it departed in m, and m is where it is asked for */
	module_executes(m, ch->rip, &from);
	module_executes(m, rip, &to);
	i = gm_find(m->fixups, m->man->fixups.count, sizeof(struct gm_fixup), from);
	if (i == m->man->fixups.count || m->fixups[i].moff != from || m->fixups[i].target != to ||
	    !fixes(m->fixups[i].kind, ch->vector))
		return false;
	*differ = m->fixups[i].regs;
	return true;
}

struct chain *chain_departed(const struct module *m, uint64_t rip, uint64_t rsp, uint32_t *differ)
{
	*differ = 0;
	for (uint32_t i = 0; m->departures && i < m->binding.policy.chains; i++) {
		struct chain *ch = &m->chains[i];

		if (ch->state == CHAIN_DEPARTED && ch->slot == rsp &&
		    (ch->rip == rip || continues(m, ch, rip, differ)))
			return ch;
	}
	return NULL;
}

/* Remembers [lo, hi) and the frames under it; r covers it. */
void chain_extent(struct chain *ch, const struct range *r, uint64_t lo, uint64_t hi)
{
	unsigned skip = (unsigned)((PAGE_OF(lo) - r->first) / PAGE);
	unsigned n = (unsigned)((hi - 1 - PAGE_OF(lo)) / PAGE) + 1;

	ch->lo = lo;
	ch->hi = hi;
	for (unsigned i = 0; i < n; i++)
		ch->frame[i] = r->map[skip + i].flags ? r->map[skip + i].gpa : NO_FRAME;
}

/* The bytes [*from, *to) of page `page` that lie in [lo, hi). */
static void clip(uint64_t lo, uint64_t hi, uint64_t page, uint64_t *from, uint64_t *to)
{
	*from = lo > page ? lo - page : 0;
	*to = hi < page + PAGE ? hi - page : PAGE;
}

/* Does [lo, hi) in r share a physical byte with the extent of ch? */
static bool overlaps(const struct chain *ch, const struct range *r, uint64_t lo, uint64_t hi)
{
	for (uint64_t p = PAGE_OF(ch->lo); p < ch->hi; p += PAGE) {
		uint64_t frame = ch->frame[(p - PAGE_OF(ch->lo)) / PAGE], a, b;

		clip(ch->lo, ch->hi, p, &a, &b);
		for (uint64_t q = PAGE_OF(lo); q < hi; q += PAGE) {
			const struct guard_mapping *map = &r->map[(q - r->first) / PAGE];
			uint64_t from, to;

			clip(lo, hi, q, &from, &to);
			if (map->flags && map->gpa == frame && a < to && from < b)
				return true;
		}
	}
	return false;
}

bool chain_overlaps_running(const struct guard *g, const struct chain *self, const struct range *r,
			    uint64_t lo, uint64_t hi)
{
	for (unsigned v = 0; g->inside && v < g->vcpus; v++) {
		const struct chain *ch = g->vcpu[v].chain;

		if (ch && ch != self && overlaps(ch, r, lo, hi))
			return true;
	}
	return false;
}

/* Does the physical byte gpa lie in the extent of a suspended chain? */
static bool suspended_at(const struct chain *ch, uint64_t gpa)
{
	if (ch->state != CHAIN_CALLOUT && ch->state != CHAIN_DEPARTED)
		return false;
	for (uint64_t p = PAGE_OF(ch->lo); p < ch->hi; p += PAGE) {
		uint64_t from, to;

		clip(ch->lo, ch->hi, p, &from, &to);
		if (ch->frame[(p - PAGE_OF(ch->lo)) / PAGE] == PAGE_OF(gpa) &&
		    PAGE_OFFSET(gpa) >= from && PAGE_OFFSET(gpa) < to)
			return true;
	}
	return false;
}

/* A chain whose stack is being used again by a new entry at slot_gpa has been abandoned. */
void chain_kill_entered(struct module *m, uint64_t slot_gpa)
{
	for (uint32_t i = 0; m->callouts + m->departures && i < m->binding.policy.chains; i++)
		if (suspended_at(&m->chains[i], slot_gpa))
			chain_end(m, &m->chains[i]);
}

/* Keeps keys unique: what overlaps the extent of the chain that suspends now dies. */
static void kill_overlapping(struct module *m, const struct chain *self)
{
	for (uint32_t i = 0; m->callouts + m->departures > 1 && i < m->binding.policy.chains; i++) {
		struct chain *ch = &m->chains[i];

		if (ch != self && (ch->state == CHAIN_CALLOUT || ch->state == CHAIN_DEPARTED) &&
		    ch->lo < self->hi && self->lo < ch->hi)
			chain_end(m, ch);
	}
}

/* Have the words of a suspended chain changed, seen from here? */
static bool stale(struct ctx *c, const struct chain *ch)
{
	struct range r;

	range_fill(c, &r, ch->lo, ch->hi);
	return !walk_verify(c, ch, &r);
}

/*
 * A place for a new chain: a free one, one that dies by this very entry, or, when the table is
 * full, one that could never come back because its words are gone. NULL: no-room. Nothing is
 * changed: the caller reuses what it gets once the entry is certain.
 */
struct chain *chain_room(struct ctx *c, const struct module *m, uint64_t slot_gpa)
{
	for (uint32_t i = 0; i < m->binding.policy.chains; i++)
		if (m->chains[i].state == CHAIN_FREE)
			return &m->chains[i];
	for (uint32_t i = 0; i < m->binding.policy.chains; i++)
		if (suspended_at(&m->chains[i], slot_gpa))
			return &m->chains[i];
	for (uint32_t i = 0; i < m->binding.policy.chains; i++)
		if (m->chains[i].state != CHAIN_RUNNING && stale(c, &m->chains[i]))
			return &m->chains[i];
	return NULL;
}

static void set_state(struct module *m, struct chain *ch, enum chain_state state)
{
	m->callouts -= ch->state == CHAIN_CALLOUT;
	m->departures -= ch->state == CHAIN_DEPARTED;
	ch->state = state;
	m->callouts += ch->state == CHAIN_CALLOUT;
	m->departures += ch->state == CHAIN_DEPARTED;
}

/* Ends a chain in any state. The caller has lowered the vCPU of a running one. */
void chain_end(struct module *m, struct chain *ch)
{
	if (ch->state == CHAIN_FREE)
		return;
	if (ch->act[0].init)
		m->init_live--;
	if (ch->act[0].init & GM_ENTRY_INIT)
		m->init_open = false;
	set_state(m, ch, CHAIN_FREE);
	ch->nwords = 0;
}

void chain_run(struct ctx *c, struct module *m, struct chain *ch)
{
	set_state(m, ch, CHAIN_RUNNING);
	c->v->chain = ch;
	c->v->module = m;
	m->running |= 1u << c->vcpu;
	c->g->inside |= 1u << c->vcpu;
}

void chain_stop(struct ctx *c, unsigned vcpu)
{
	c->g->vcpu[vcpu].stopped = true;
	c->d->stop |= 1u << vcpu;
}

/* Takes the privilege of a vCPU away; one that cannot be lowered never runs again. */
enum guard_verdict chain_lower(struct ctx *c, struct module *m, unsigned vcpu)
{
	struct vcpu *v = &c->g->vcpu[vcpu];

	v->chain = NULL;
	v->module = NULL;
	m->running &= ~(1u << vcpu);
	c->g->inside &= ~(1u << vcpu);
	if (c->g->ops->lower(c->g->vmm, vcpu, m->index))
		return GUARD_V_OK;
	chain_stop(c, vcpu);
	return GUARD_V_LOWER_FAILED;
}

/*
 * Lowers and forgets what runs here. A refused way out is no way back, so under scrub nothing of
 * m's registers is left for whoever handles the refusal.
 */
enum guard_verdict chain_drop_running(struct ctx *c, enum guard_verdict verdict)
{
	struct module *m = c->v->module;
	struct chain *ch = c->v->chain;
	enum guard_verdict lowered = chain_lower(c, m, c->vcpu);

	chain_end(m, ch);
	if (c->ev && verdict != GUARD_V_OK && m->binding.policy.registers == GUARD_REGS_SCRUB)
		for (unsigned i = 0; i < GUARD_GPRS; i++)
			if (i != GUARD_RSP)
				c->d->cpu.gpr[i] = 0;
	return lowered == GUARD_V_OK ? verdict : lowered;
}

/*
 * What runs here waits from now on, its words saved, until somebody comes with this slot (and, if
 * it departed, this rip). r covers [slot, hi); `verify` are the GPRs that must be equal then.
 */
enum guard_verdict chain_suspend(struct ctx *c, enum chain_state state, const struct range *r,
				 uint64_t slot, uint64_t rip, uint32_t verify)
{
	const struct guard_cpu *cpu = &c->d->cpu;
	struct module *m = c->v->module;
	struct chain *ch = c->v->chain;
	enum guard_verdict v = chain_lower(c, m, c->vcpu);

	if (v != GUARD_V_OK) {
		chain_end(m, ch);
		return v;
	}
	ch->slot = slot;
	ch->rip = rip;
	ch->verify = verify;
	ch->rflags = cpu->rflags;
	memcpy(ch->gpr, cpu->gpr, sizeof(ch->gpr));
	/* a call-out's own slot is remembered, not part of the extent */
	chain_extent(ch, r, state == CHAIN_CALLOUT ? slot + 8 : slot, ch->hi);
	set_state(m, ch, state);
	kill_overlapping(m, ch);
	return GUARD_V_OK;
}

/*
 * The last part of every way back into a suspended chain: the words through the present mapping,
 * the registers in `verify` (compared, or put back under scrub), the raise. Then it runs, with
 * [lo, hi) as its extent; r covers that.
 */
enum guard_verdict chain_come_back(struct ctx *c, struct module *m, struct chain *ch,
				   const struct range *r, uint64_t lo, uint32_t verify)
{
	bool scrub = m->binding.policy.registers == GUARD_REGS_SCRUB;
	struct guard_cpu *cpu = &c->d->cpu;

	if (!walk_verify(c, ch, r))
		return GUARD_V_STACK_CHANGED;
	if (ch->state == CHAIN_DEPARTED && (cpu->rflags ^ ch->rflags) & ~RFLAGS_RF)
		return GUARD_V_REGISTERS_CHANGED;
	for (unsigned i = 0; i < GUARD_GPRS; i++)
		if (!scrub && verify & GPR_BIT(i) && cpu->gpr[i] != ch->gpr[i])
			return GUARD_V_REGISTERS_CHANGED;
	if (!text_refresh(c, m) || raise_now(c, m) != GUARD_V_OK)
		return GUARD_V_RAISE_FAILED;

	chain_run(c, m, ch);
	chain_extent(ch, r, lo, ch->hi);
	for (unsigned i = 0; i < GUARD_GPRS; i++)
		if (scrub && verify & GPR_BIT(i))
			cpu->gpr[i] = ch->gpr[i];
	return GUARD_V_OK;
}
