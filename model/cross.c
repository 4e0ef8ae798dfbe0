/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The four crossings (spec 3, "Gates" and "Verdicts").
 *
 * Each reads top-down: the checks in the contract's order, one verdict each, then the effect. The
 * word at (%rsp), the slot, is exchanged:
 *
 *   ENTER-CALL     slot: kernel's return address -> leave-return gate    continue at f
 *   LEAVE-RETURN   slot: -> kernel's return address                      the gate's ret goes home
 *   LEAVE-CALL     slot: return site in m -> enter-return gate           the gate's jmp goes to g
 *   ENTER-RETURN   slot is popped                                        continue at return site
 *
 * "raw" crossings are execute faults without a gate: same rules, no word is exchanged.
 */
#include "model/internal.h"

static void note(struct ctx *c, uint32_t act, uint64_t slot, uint64_t old_word, uint64_t new_word)
{
	c->act = act;
	c->slot = slot;
	c->old_word = old_word;
	c->new_word = new_word;
}

/* Does the return word of an entry lead where it may? (bad-return) */
static bool return_word_ok(const struct ctx *c, const struct module *m, uint64_t word,
			   const struct chain *out)
{
	if (c->v->chain)
		return module_retsite(m, word);
	if (word < KERNEL_HALF)
		return false;
	/* the kernel tail-called from a call-out into this entry: the call-out's own way back */
	return !module_owns(m, word) || (out && word == (out->raw ? out->rip : m->enter_return));
}

/*
 * Init code is entered by the kernel, while it is there: init once per ANNOUNCE, the rest while
 * init's own activation lives.
 */
static bool entry_open(const struct ctx *c, const struct module *m, const struct gm_entry *e)
{
	if (!(e->flags & GM_ENTRY_INIT_CODE))
		return true;
	if (c->v->chain || !module_has(m, module_segment(m, e->moff)))
		return false;
	return e->flags & GM_ENTRY_INIT ? !m->init_used : m->init_open;
}

/*
 * Without gates, a tail call from a call-out into an entry returns straight into the parent, seen
 * by nobody. So that entry is judged as the parent's own return, which goes on at f instead.
 */
static enum guard_verdict enter_as_return(struct ctx *c, struct module *m, struct chain *out,
					  const struct gm_entry *e, uint64_t slot)
{
	uint64_t lo = slot - e->headroom;
	enum guard_verdict v;
	struct range r;

	/* init's memory would not wait for a chain that began elsewhere */
	if (e->flags & GM_ENTRY_INIT_CODE && !out->act[0].init)
		return GUARD_V_BAD_RETURN;
	v = check_stack(c, &r, slot, lo, out->hi, out);
	if (v == GUARD_V_OK)
		v = chain_come_back(c, m, out, &r, lo, out->verify);
	if (v == GUARD_V_OK)
		note(c, out->act[out->depth - 1].serial, 0, 0, 0);
	return v == GUARD_V_STACK_CHANGED || v == GUARD_V_REGISTERS_CHANGED ? GUARD_V_BAD_RETURN
									    : v;
}

enum guard_verdict cross_enter_call(struct ctx *c, struct module *m, const struct gm_entry *e,
				    bool raw)
{
	struct guard_cpu *cpu = &c->d->cpu;
	uint64_t slot = cpu->gpr[GUARD_RSP], headroom = e->headroom, word = 0, gpa;
	struct chain *ch = c->v->chain; /* inside to inside */
	struct chain *out = chain_callout(m, slot);
	struct activation *tip = ch ? &ch->act[ch->depth - 1] : NULL;
	bool own_slot = tip && slot == tip->slot;
	enum guard_verdict v;
	struct range r;

	if (!entry_open(c, m, e))
		return GUARD_V_UNANNOUNCED;
	if (m->quarantined)
		return GUARD_V_QUARANTINED;
	if ((v = check_mode(c, m)) != GUARD_V_OK)
		return v;
	if ((v = check_flags(c, NULL)) != GUARD_V_OK)
		return v;
	if ((v = check_mapping(c, m)) != GUARD_V_OK)
		return v;
	if (tip && slot > tip->slot)
		return GUARD_V_BAD_STACK;
	if (own_slot && tip->headroom > headroom)
		headroom = tip->headroom;
	v = check_stack(c, &r, slot, slot - headroom, ch ? ch->hi : slot + 8, ch);
	if (v != GUARD_V_OK)
		return v;
	if (!range_read(c, &r, slot, &word))
		return GUARD_V_BAD_STACK;
	if (!own_slot && !return_word_ok(c, m, word, out))
		return GUARD_V_BAD_RETURN;
	gpa = r.map[(PAGE_OF(slot) - r.first) / PAGE].gpa + PAGE_OFFSET(slot);
	if (!tip)
		ch = chain_room(c, m, gpa);
	if (!ch || (tip && !own_slot && ch->depth == GUARD_MAX_NEST))
		return GUARD_V_NO_ROOM;
	if (m->binding.policy.required & ~(m->binding.bound & c->v->granted[m->index]))
		return GUARD_V_WITHHELD;
	if (raw && out && word == out->rip)
		return enter_as_return(c, m, out, e, slot);
	if (!tip && !text_refresh(c, m))
		return GUARD_V_RAISE_FAILED;
	if (!raw && !own_slot && !range_write(c, &r, slot, m->leave_return))
		return GUARD_V_BAD_STACK;
	if (!tip && raise_now(c, m) != GUARD_V_OK) {
		/* a guest whose word cannot be put back must not run on without it */
		if (!raw && !range_write(c, &r, slot, word))
			chain_stop(c, c->vcpu);
		return GUARD_V_RAISE_FAILED;
	}

	chain_kill_entered(m, gpa);
	if (!tip) {
		chain_end(m, ch);
		ch->depth = 0;
		chain_run(c, m, ch);
	}
	if (!own_slot) {
		m->serial++;
		ch->act[ch->depth++] = (struct activation){
			.slot = slot,
			.word = word,
			.serial = m->serial,
			.raw = raw,
			.init = e->flags & GM_ENTRY_INIT_CODE,
		};
	}
	/* from outside, so that they began this chain */
	if (e->flags & GM_ENTRY_INIT)
		m->init_used = m->init_open = true;
	if (e->flags & GM_ENTRY_INIT_CODE)
		m->init_live++;
	tip = &ch->act[ch->depth - 1];
	tip->headroom = (uint32_t)headroom;
	chain_extent(ch, &r, slot - headroom, ch->act[0].slot + 8);
	cpu->rip = module_gva(m, e->moff);
	note(c, tip->serial, raw || own_slot ? 0 : slot, word, m->leave_return);
	return GUARD_V_OK;
}

/*
 * The end of an activation: its remembered word goes back to the slot. The outermost one lowers;
 * a child returns to its parent, still privileged.
 */
static enum guard_verdict finish_tip(struct ctx *c, const struct range *r)
{
	struct module *m = c->v->module;
	struct chain *ch = c->v->chain;
	const struct activation *tip = &ch->act[ch->depth - 1];

	if (!tip->raw && !range_write(c, r, tip->slot, tip->word))
		return chain_drop_running(c, GUARD_V_BAD_STACK);
	note(c, tip->serial, tip->raw ? 0 : tip->slot, m->leave_return, tip->word);
	if (ch->depth == 1)
		return chain_drop_running(c, GUARD_V_OK);
	ch->depth--;
	return GUARD_V_OK;
}

/* Maps the slot at `at` for writing; what is refused there is bad-stack and ends the chain. */
static bool map_slot(struct ctx *c, struct range *r, uint64_t at, uint64_t hi)
{
	return at % 8 == 0 && range_map(c, r, at, hi) && range_stack_page(&r->map[0]);
}

enum guard_verdict cross_leave_return(struct ctx *c, bool raw)
{
	struct module *m = c->v->module;
	struct guard_cpu *cpu = &c->d->cpu;
	uint64_t slot = cpu->gpr[GUARD_RSP] - (raw ? 8 : 0);
	struct chain *ch = c->v->chain;
	enum guard_verdict v;
	struct range r;

	if (!ch)
		return GUARD_V_NOT_PRIVILEGED;
	c->act = ch->act[ch->depth - 1].serial;
	if (slot != ch->act[ch->depth - 1].slot)
		return chain_drop_running(c, GUARD_V_NO_RECORD);
	if (!map_slot(c, &r, slot, slot + 8))
		return chain_drop_running(c, GUARD_V_BAD_STACK);
	v = finish_tip(c, &r);
	if (v != GUARD_V_OK)
		return v;
	if (!raw)
		cpu->rip += GM_X_BYTES;
	if (!c->v->chain && m->binding.policy.registers == GUARD_REGS_SCRUB)
		for (unsigned i = 0; i < GUARD_GPRS; i++)
			if (!((C_PRESERVED | GPR_BIT(GUARD_RSP) | GPR_BIT(GUARD_RAX) |
			       GPR_BIT(GUARD_RDX)) &
			      GPR_BIT(i)))
				cpu->gpr[i] = 0;
	return GUARD_V_OK;
}

/*
 * Past the X, and under scrub without what a call-out may not see: the registers that come back
 * anyway, and R10, R11. `keep` holds an indirect jump's target.
 */
static void after_call(struct ctx *c, const struct module *m, bool raw, uint32_t preserve,
		       uint32_t keep)
{
	uint32_t zero = (preserve | GPR_BIT(GUARD_R10) | GPR_BIT(GUARD_R11)) & ~keep;

	if (!raw)
		c->d->cpu.rip += GM_X_BYTES;
	for (unsigned i = 0; i < GUARD_GPRS; i++)
		if (m->binding.policy.registers == GUARD_REGS_SCRUB && zero & GPR_BIT(i))
			c->d->cpu.gpr[i] = 0;
}

/*
 * preserve: GPRs that come back unchanged; keep: GPRs that the gate still needs (leave-indirect).
 * Every path lowers, refusals too.
 */
enum guard_verdict cross_leave_call(struct ctx *c, bool raw, uint32_t preserve, uint32_t keep)
{
	struct module *m = c->v->module;
	struct guard_cpu *cpu = &c->d->cpu;
	uint64_t slot = cpu->gpr[GUARD_RSP], word = 0;
	struct chain *ch = c->v->chain;
	const struct activation *tip;
	bool child_ended = false, deep;
	struct place from;
	enum guard_verdict v;
	struct range r;

	if (!ch)
		return GUARD_V_NOT_PRIVILEGED;
	tip = &ch->act[ch->depth - 1];
	c->act = tip->serial;
	deep = slot >= ch->hi || PAGE_OF(ch->hi - 1) - PAGE_OF(slot) >= GUARD_EXTENT_PAGES * PAGE;
	if (!map_slot(c, &r, slot, deep ? slot + 8 : ch->hi))
		return chain_drop_running(c, GUARD_V_BAD_STACK);
	if (slot == tip->slot && ch->depth == 1) {
		/* a tail call that ends the entry: one crossing, no return */
		v = finish_tip(c, &r);
		if (v == GUARD_V_OK)
			after_call(c, m, raw, 0, keep);
		return v;
	}
	if (slot == tip->slot) {
		/* a nested child that ended so: its word stands here for its parent */
		word = tip->word;
		child_ended = true;
		ch->depth--;
		tip--;
		c->act = tip->serial;
	} else if (!range_read(c, &r, slot, &word)) {
		return chain_drop_running(c, GUARD_V_BAD_STACK);
	}
	if (!module_retsite(m, word))
		return chain_drop_running(c, GUARD_V_BAD_RETURN);
	if (slot >= tip->slot)
		return chain_drop_running(c, GUARD_V_STACK_CHANGED);
	if (deep)
		return chain_drop_running(c, GUARD_V_STACK_TOO_DEEP);
	r.lo = slot + 8;
	from = (struct place){
		.rip = word, .rsp = slot + 8, .rbp = cpu->gpr[GUARD_RBP], .returned = true
	};
	v = walk_save(c, m, ch, &r, &from, ch->depth);
	if (v != GUARD_V_OK)
		return chain_drop_running(c, v);
	if ((!raw && !range_write(c, &r, slot, m->enter_return)) ||
	    (raw && child_ended && !range_write(c, &r, slot, word)))
		return chain_drop_running(c, GUARD_V_BAD_STACK);
	v = chain_suspend(c, CHAIN_CALLOUT, &r, slot, word, preserve);
	if (v != GUARD_V_OK)
		return v;
	ch->raw = raw;
	note(c, tip->serial, raw ? 0 : slot, word, m->enter_return);
	after_call(c, m, raw, preserve, keep);
	return GUARD_V_OK;
}

enum guard_verdict cross_enter_return(struct ctx *c, struct module *m, bool raw)
{
	struct guard_cpu *cpu = &c->d->cpu;
	uint64_t slot = cpu->gpr[GUARD_RSP] - (raw ? 8 : 0), lo = slot - GM_MIN_HEADROOM;
	/* what runs here already has nothing to come back to, and its own stack is no one else's */
	struct chain *ch = c->v->chain ? NULL : chain_callout(m, slot);
	const struct activation *tip = NULL;
	enum guard_verdict v;
	struct range r;

	if (ch && ch->raw != raw)
		ch = NULL;
	if (ch) {
		tip = &ch->act[ch->depth - 1];
		c->act = tip->serial;
		if (tip->slot - tip->headroom < lo)
			lo = tip->slot - tip->headroom;
	}
	if (m->quarantined)
		return GUARD_V_QUARANTINED;
	if ((v = check_mode(c, m)) != GUARD_V_OK)
		return v;
	if ((v = check_flags(c, ch)) != GUARD_V_OK)
		return v;
	if ((v = check_mapping(c, m)) != GUARD_V_OK)
		return v;
	v = check_stack(c, &r, slot, lo, ch ? ch->hi : slot + 8, c->v->chain);
	if (v != GUARD_V_OK)
		return v;
	if (!ch)
		return GUARD_V_NO_RECORD;
	v = chain_come_back(c, m, ch, &r, lo, ch->verify);
	if (v != GUARD_V_OK)
		return v;
	cpu->rip = ch->rip;
	cpu->gpr[GUARD_RSP] = slot + 8;
	note(c, tip->serial, raw ? 0 : slot, m->enter_return, ch->rip);
	return GUARD_V_OK;
}

/* The registers that the import at `gva` preserves; an unknown target is ordinary C. */
static uint32_t preserved_by(const struct module *m, uint64_t gva)
{
	for (uint32_t i = 0; i < m->man->imports.count; i++)
		if (m->import_at[i] == gva)
			return m->imports[i].preserve;
	return C_PRESERVED;
}

/*
 * The module fetched outside of itself: a raw call or tail jump, a raw return, or a wild exit.
 * Unprivileged afterwards, before that instruction executes. Logs its own line.
 */
enum guard_verdict cross_fetch_outside(struct ctx *c)
{
	const struct guard_cpu *cpu = &c->d->cpu;
	struct module *m = c->v->module;
	struct chain *ch = c->v->chain;
	const struct activation *tip = &ch->act[ch->depth - 1];
	uint64_t rip = cpu->rip, rsp = cpu->gpr[GUARD_RSP], word = 0;
	enum guard_event_name name = GUARD_LEAVE_CALL;
	uint8_t from = guard_ctx_view(c);
	enum guard_verdict v;
	struct range r;

	c->act = tip->serial;
	if (rip == tip->word && rsp == tip->slot + 8) {
		name = GUARD_LEAVE_RETURN;
		v = cross_leave_return(c, true);
	} else if (rsp == tip->slot || (map_slot(c, &r, rsp, rsp + 8) &&
					range_read(c, &r, rsp, &word) && module_retsite(m, word))) {
		v = cross_leave_call(c, true, preserved_by(m, rip), 0);
	} else {
		v = chain_drop_running(c, GUARD_V_WILD_EXIT);
	}
	return cross_done(c, name, m, from, rip, v);
}

/* Policy on a refusal: quarantine lowers every vCPU inside and ends all chains. */
static void refuse(struct ctx *c, struct module *m)
{
	if (m->binding.policy.refusal == GUARD_REFUSE_STOP)
		c->d->stop_vm = true;
	if (m->binding.policy.refusal != GUARD_REFUSE_QUARANTINE)
		return;
	m->quarantined = true;
	for (unsigned v = 0; v < c->g->vcpus; v++) {
		if (c->g->vcpu[v].module != m)
			continue;
		chain_lower(c, m, v);
		if (v != c->vcpu)
			c->d->kick |= 1u << v;
	}
	for (uint32_t i = 0; i < m->binding.policy.chains; i++)
		chain_end(m, &m->chains[i]);
}

/*
 * The end of every judgement of a crossing: its line, and the policy if it was refused for what
 * the guest did. What the VMM could not do, or does not grant at present, is nobody's attack.
 */
enum guard_verdict cross_done(struct ctx *c, enum guard_event_name e, struct module *m,
			      uint8_t from, uint64_t rip, enum guard_verdict verdict)
{
	if (verdict != GUARD_V_OK && verdict != GUARD_V_WITHHELD && verdict != GUARD_V_NO_ROOM &&
	    verdict != GUARD_V_RAISE_FAILED && verdict != GUARD_V_LOWER_FAILED)
		refuse(c, m);
	return guard_log(c, e, m, from, rip, verdict);
}

/* A crossing instruction in m's gate pages. Logs one line, or two after a departure. */
enum guard_verdict cross_at_gate(struct ctx *c, struct module *m, uint64_t rip)
{
	static const enum guard_event_name names[GM_GATE_KINDS] = {
		[GM_GATE_PAD] = GUARD_ENTER_CALL,
		[GM_GATE_ENTER] = GUARD_ENTER_CALL,
		[GM_GATE_LEAVE_RETURN] = GUARD_LEAVE_RETURN,
		[GM_GATE_LEAVE] = GUARD_LEAVE_CALL,
		[GM_GATE_LEAVE_INDIRECT] = GUARD_LEAVE_CALL,
		[GM_GATE_ENTER_RETURN] = GUARD_ENTER_RETURN,
	};
	uint64_t off = rip - m->gates_gva;
	const struct gm_gate *gate = NULL;
	uint8_t from = guard_ctx_view(c);
	enum guard_verdict v = GUARD_V_OK;
	uint32_t differ;

	if (off / GM_GATE_BYTES < m->man->gates.count)
		gate = &m->gates[off / GM_GATE_BYTES];
	if (!gate || gate->kind == GM_GATE_PAD || off % GM_GATE_BYTES != gate->x)
		return cross_done(c, GUARD_ENTER_CALL, m, from, rip, GUARD_V_BAD_SITE);
	if (m->state != MODULE_ANNOUNCED)
		return cross_done(c, names[gate->kind], m, from, rip, GUARD_V_UNANNOUNCED);
	if (!c->v->chain && chain_departed(m, rip, c->d->cpu.gpr[GUARD_RSP], &differ)) {
		v = resume(c, m, gate->kind != GM_GATE_ENTER);
		if (v != GUARD_V_OK && gate->kind != GM_GATE_ENTER)
			return v;
		from = guard_ctx_view(c);
	}
	switch (gate->kind) {
	case GM_GATE_ENTER: v = cross_enter_call(c, m, &m->entries[gate->index], false); break;
	case GM_GATE_LEAVE_RETURN: v = cross_leave_return(c, false); break;
	case GM_GATE_LEAVE:
		v = cross_leave_call(c, false, m->imports[gate->index].preserve, 0);
		break;
	case GM_GATE_LEAVE_INDIRECT:
		v = cross_leave_call(c, false, C_PRESERVED, GPR_BIT(gate->reg));
		break;
	default: v = cross_enter_return(c, m, false); break;
	}
	return cross_done(c, names[gate->kind], m, from, rip, v);
}
