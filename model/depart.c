/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * DEPART: an interrupt, exception or NMI strikes inside. RESUME: the departed thread continues.
 * (spec 3, "Records", "Gates", RESUME in "Verdicts")
 */
#include "model/internal.h"

/*
 * Where a departed thread will be seen again. Inside a gate no instruction needs privilege, so a
 * thread that is interrupted there walks on unprivileged to the gate's next crossing or to the
 * body; that is the place which is recorded:
 *
 *   enter         endbr64 | X      -> X            jmp f -> f
 *   leave         X                -> X
 *   leave-return  lea     | X      -> X (RSP at the slot); own frame and slot are already popped
 *                 ret (child only) -> the return site, RSP past the slot
 */
struct standing {
	struct place at;
	bool popped; /* at the leave-return gate */
};

static bool standing_at(struct ctx *c, const struct module *m, struct standing *s)
{
	const struct guard_cpu *cpu = &c->d->cpu;
	const struct gm_gate *gate;
	uint64_t gva, word = 0;
	uint32_t moff, off;
	struct range r;

	*s = (struct standing){ .at = { .rip = cpu->rip,
					.rsp = cpu->gpr[GUARD_RSP],
					.rbp = cpu->gpr[GUARD_RBP],
					.gpr = cpu->gpr } };
	if (!module_executes(m, cpu->rip, &moff))
		return false;
	if (cpu->rip - m->gates_gva >= m->gates_bytes) /* none without a gates segment */
		return true;
	moff = (uint32_t)(cpu->rip - m->gates_gva);
	if (moff / GM_GATE_BYTES >= m->man->gates.count)
		return false;
	gate = &m->gates[moff / GM_GATE_BYTES];
	off = moff % GM_GATE_BYTES;
	gva = m->gates_gva + gate->offset;
	switch (gate->kind) {
	case GM_GATE_ENTER:
		if (off == gate->x + GM_X_BYTES) {
			s->at.rip = module_gva(m, m->entries[gate->index].moff);
			return true;
		}
		s->at.rip = gva + gate->x;
		s->at.at_gate = true;
		return off == 0 || off == gate->x;
	case GM_GATE_LEAVE:
	case GM_GATE_LEAVE_INDIRECT: s->at.at_gate = true; return off == gate->x;
	case GM_GATE_LEAVE_RETURN:
		if (off == gate->x + GM_X_BYTES) {
			if (!range_map(c, &r, s->at.rsp, s->at.rsp + 8) ||
			    !range_read(c, &r, s->at.rsp, &word) || !module_retsite(m, word))
				return false;
			s->at.rip = word;
			s->at.rsp += 8;
			s->at.returned = true;
			return true;
		}
		s->popped = true;
		s->at.rip = gva + gate->x;
		s->at.rsp -= off == 0 ? 8 : 0;
		return off == 0 || off == gate->x;
	default: return false;
	}
}

/* Saves what leads home. r is left covering the extent, from RSP on. */
static enum guard_verdict save(struct ctx *c, const struct module *m, struct chain *ch,
			       const struct standing *s, struct range *r)
{
	const struct activation *tip = &ch->act[ch->depth - 1];
	struct place from = s->at;
	unsigned depth = ch->depth;

	if (from.rsp % 8 != 0 || from.rsp >= ch->hi || from.rsp < KERNEL_HALF)
		return GUARD_V_STACK_CHANGED;
	if (PAGE_OF(ch->hi - 1) - PAGE_OF(from.rsp) >= GUARD_EXTENT_PAGES * PAGE)
		return GUARD_V_STACK_TOO_DEEP;
	range_fill(c, r, from.rsp, ch->hi);
	if (s->popped) {
		if (from.rsp != tip->slot)
			return GUARD_V_STACK_CHANGED;
		from = (struct place){ .rip = tip->word,
				       .rsp = tip->slot + 8,
				       .rbp = s->at.rbp,
				       .gpr = NULL,
				       .returned = true };
		r->lo = tip->slot + 8;
		depth--;
	}
	return walk_save(c, m, ch, r, &from, depth);
}

/* Logs its own line, or that of the exit which the departure found half done. */
enum guard_verdict depart(struct ctx *c)
{
	struct module *m = c->v->module;
	struct guard_cpu *cpu = &c->d->cpu;
	struct chain *ch = c->v->chain;
	uint8_t from = guard_ctx_view(c);
	uint64_t rip = cpu->rip;
	const uint32_t verify = ALL_GPRS & ~GPR_BIT(GUARD_RSP);
	enum guard_verdict v;
	struct standing s;
	struct range r;

	if (!standing_at(c, m, &s))
		return cross_fetch_outside(c);
	c->act = ch->act[ch->depth - 1].serial;
	v = save(c, m, ch, &s, &r);
	if (v != GUARD_V_OK) {
		v = chain_drop_running(c, v);
		return cross_done(c, GUARD_DEPART, m, from, rip, v);
	}
	ch->exception = c->cause == GUARD_CAUSE_EXCEPTION;
	ch->vector = c->ev->vector;
	v = chain_suspend(c, CHAIN_DEPARTED, &r, s.at.rsp, s.at.rip, verify);
	if (m->binding.policy.registers == GUARD_REGS_SCRUB)
		for (unsigned i = 0; i < GUARD_GPRS; i++)
			if (verify & GPR_BIT(i))
				cpu->gpr[i] = 0;
	return cross_done(c, GUARD_DEPART, m, from, rip, v);
}

static enum guard_verdict resume_judge(struct ctx *c, struct module *m)
{
	struct guard_cpu *cpu = &c->d->cpu;
	uint64_t rsp = cpu->gpr[GUARD_RSP], lo = rsp, hi = rsp + 8;
	uint32_t differ;
	struct chain *ch = chain_departed(m, cpu->rip, rsp, &differ);
	enum guard_verdict v;
	struct range r;

	if (ch) {
		const struct activation *tip = &ch->act[ch->depth - 1];

		c->act = tip->serial;
		hi = ch->hi;
		if (tip->slot - tip->headroom < lo)
			lo = tip->slot - tip->headroom;
	}
	if (m->quarantined)
		return GUARD_V_QUARANTINED;
	if ((v = check_mode(c, m)) != GUARD_V_OK)
		return v;
	if ((v = check_mapping(c, m)) != GUARD_V_OK)
		return v;
	if ((v = check_overlap(c, &r, lo, hi, ch)) != GUARD_V_OK)
		return v;
	if (!ch)
		return GUARD_V_NO_RECORD;
	return chain_come_back(c, m, ch, &r, lo, ch->verify & ~differ);
}

/*
 * The caller has seen that this vCPU is unprivileged. last: nothing else is judged if this is
 * refused, so the policy applies.
 */
enum guard_verdict resume(struct ctx *c, struct module *m, bool last)
{
	uint8_t from = guard_ctx_view(c);
	enum guard_verdict v = resume_judge(c, m);

	if (!last)
		return guard_log(c, GUARD_RESUME, m, from, c->d->cpu.rip, v);
	return cross_done(c, GUARD_RESUME, m, from, c->d->cpu.rip, v);
}
