/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Records of threads of control (docs/semantics.md, "Records"): found by module, kind and slot, used
 * once, dying as a whole; and the shadow stack that each has, of the return addresses pushed inside.
 */
#include <string.h>

#include "oracle/state.h"

struct o_chain *o_callout_at(const struct o_module *m, uint64_t slot)
{
	for (uint32_t i = 0; i < m->binding.chains; i++)
		if (m->chain[i].state == O_CALLOUT && m->chain[i].slot == slot)
			return &m->chain[i];
	return NULL;
}

/* May an exception that struck at `from` go on at `to`? *set: registers that this changes. */
static bool fixup(const struct o_module *m, const struct o_chain *ch, uint64_t to, uint32_t *set)
{
	const uint32_t never = 1u << 1 | 1u << 2 | 1u << 3 | 1u << 8 | 1u << 18;
	uint32_t from_moff, to_moff;

	if (!ch->exception || !o_in_text(m, ch->rip, &from_moff) || !o_in_text(m, to, &to_moff))
		return false;
	for (uint32_t i = 0; i < m->man.nfixups; i++) {
		const struct m_fixup *f = &m->man.fixup[i];

		if (f->moff != from_moff || f->target != to_moff)
			continue;
		if (f->kind == 1 ? ch->vector != 6 : ch->vector > 31 || (never >> ch->vector & 1))
			return false;
		*set = f->regs;
		return true;
	}
	return false;
}

struct o_chain *o_departed_at(const struct o_module *m, uint64_t rip, uint64_t sp, uint32_t *set)
{
	*set = 0;
	for (uint32_t i = 0; i < m->binding.chains; i++) {
		struct o_chain *ch = &m->chain[i];

		if (ch->state == O_DEPARTED && ch->slot == sp &&
		    (ch->rip == rip || fixup(m, ch, rip, set)))
			return ch;
	}
	return NULL;
}

bool o_init_lives(const struct o_module *m, uint32_t kind)
{
	for (uint32_t i = 0; i < m->binding.chains; i++)
		if (m->chain[i].state != O_FREE && m->chain[i].act[0].init & kind)
			return true;
	return false;
}

bool o_init_done(const struct o_module *m)
{
	return (m->init_used || !m->has_init) && !o_init_lives(m, M_INIT_CODE);
}

void o_end(struct o_chain *ch)
{
	if (ch->state == O_FREE)
		return;
	ch->state = O_FREE;
	ch->nshadow = 0;
}

void o_leaves(struct o_vcpu *v)
{
	v->chain = NULL;
	v->module = NULL;
}

void o_outside(struct oracle *o, unsigned vcpu)
{
	struct o_vcpu *v = &o->vcpu[vcpu];

	if (v->chain && v->module)
		o_end(v->chain);
	o_leaves(v);
}

/* Who is suspended on memory that this one now uses has been abandoned. */
void o_kill_overlapping(struct o_module *m, const struct o_chain *self)
{
	for (uint32_t i = 0; i < m->binding.chains; i++) {
		struct o_chain *ch = &m->chain[i];

		if (ch != self && (ch->state == O_CALLOUT || ch->state == O_DEPARTED) &&
		    ch->lo < self->hi && self->lo < ch->hi)
			o_end(ch);
	}
}

void o_kill_entered(struct o_module *m, uint64_t gpa)
{
	for (uint32_t i = 0; i < m->binding.chains; i++) {
		struct o_chain *ch = &m->chain[i];

		if ((ch->state == O_CALLOUT || ch->state == O_DEPARTED) && o_extent_holds(ch, gpa))
			o_end(ch);
	}
}

/* ---- the shadow stack ---- */

void o_push(struct o_chain *ch, uint64_t gva, uint64_t value)
{
	while (ch->nshadow && ch->shadow[ch->nshadow - 1].gva <= gva)
		ch->nshadow--;
	if (ch->nshadow == O_SHADOW)
		ch->shadow_lost = true;
	else
		ch->shadow[ch->nshadow++] = (struct o_word){ gva, value };
}

void o_pop_below(struct o_chain *ch, uint64_t sp)
{
	while (ch->nshadow && ch->shadow[ch->nshadow - 1].gva < sp)
		ch->nshadow--;
}
