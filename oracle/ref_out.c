/* SPDX-License-Identifier: GPL-2.0-only */
/* Predictions of LEAVE-CALL, LEAVE-RETURN and DEPART: every one ends unprivileged, or in a parent. */
#include <stdlib.h>
#include <stddef.h>
#include <string.h>

#include "oracle/ref.h"

#define EXTENT_PAGES 8u

static bool scrubs(const struct ref *r)
{
	return ref_vcpu(r)->module->binding.registers == 1;
}

static void zero(struct ref *r, uint32_t registers)
{
	for (unsigned i = 0; scrubs(r) && i < ORACLE_GPRS; i++)
		if (registers >> i & 1)
			r->now.gpr[i] = 0;
}

/* A refused way out is no way back: nothing of m's registers is left. */
static enum guard_verdict drop(struct ref *r, enum guard_verdict v)
{
	zero(r, 0xffffu & ~(1u << ORACLE_RSP));
	return ref_lowered(r) ? v : GUARD_V_LOWER_FAILED;
}

/* The slot at `at` fit for a word, and all up to hi in the kernel half. */
static bool slot_ok(const struct ref *r, uint64_t at, uint64_t hi)
{
	struct o_map map;

	if (at % 8 || at < KERNEL_HALF || hi > KERNEL_LAST || at >= hi ||
	    (hi - 1 - PAGE_OF(at)) / PAGE >= O_FRAMES)
		return false;
	o_map(r->o, r->ev->cpu.cr3, at, &map);
	return o_stack_page(&map);
}

/* The unwind walk on a record of its own: the state is not touched. */
static enum guard_verdict walk(const struct ref *r, const struct o_place *from, unsigned depth,
			       uint64_t lo, const struct o_standing *at)
{
	const struct o_vcpu *v = ref_vcpu(r);
	struct o_chain *copy = malloc(sizeof(*copy));
	enum guard_verdict verdict = GUARD_V_NO_ROOM;

	if (!copy)
		return verdict;
	/* all but the shadow stack, which is the truth's business */
	memcpy(copy, v->chain, offsetof(struct o_chain, shadow));
	memcpy(&copy->shadow_lost, &v->chain->shadow_lost,
	       sizeof(*copy) - offsetof(struct o_chain, shadow_lost));
	copy->exact = v->module->binding.stack == 1 ? malloc(O_EXACT + 8) : NULL;
	copy->depth = at ? copy->depth : depth;
	if (at)
		verdict = o_walk_departed(r->o, v->module, copy, &r->ev->cpu, at);
	else
		verdict = o_walk(r->o, v->module, copy, r->ev->cpu.cr3, from, depth, lo);
	free(copy->exact);
	free(copy);
	return verdict;
}

/* The outermost activation or a child ends by its own slot. */
static enum guard_verdict finish(struct ref *r)
{
	if (ref_vcpu(r)->chain->depth > 1)
		return GUARD_V_OK;
	return ref_lowered(r) ? GUARD_V_OK : GUARD_V_LOWER_FAILED;
}

enum guard_verdict ref_leave_return(struct ref *r, bool raw, const char **why)
{
	const struct o_chain *ch = ref_vcpu(r)->chain;
	uint64_t slot = ref_rsp(r) - (raw ? 8 : 0);
	enum guard_verdict v;

	if (!ch)
		return GUARD_V_NOT_PRIVILEGED;
	if (slot != ch->act[ch->depth - 1].slot) {
		*why = "this is not the slot of the activation that runs";
		return drop(r, GUARD_V_NO_RECORD);
	}
	if (!slot_ok(r, slot, slot + 8)) {
		*why = "the slot is not the guest's plain RAM";
		return drop(r, GUARD_V_BAD_STACK);
	}
	v = finish(r);
	if (v != GUARD_V_OK)
		return v;
	if (!raw)
		r->now.rip += 3;
	if (ch->depth == 1)
		zero(r, 0xffffu & ~(REF_C_PRESERVED | 1u << ORACLE_RSP | 1u << ORACLE_RDX | 1u));
	return GUARD_V_OK;
}

static void after_call(struct ref *r, bool raw, uint32_t preserve, uint32_t keep)
{
	if (!raw)
		r->now.rip += 3;
	zero(r, (preserve | 1u << 10 | 1u << 11) & ~keep);
}

enum guard_verdict ref_leave_call(struct ref *r, bool raw, uint32_t preserve, uint32_t keep,
				  const char **why)
{
	const struct oracle_cpu *cpu = &r->ev->cpu;
	const struct o_vcpu *v = ref_vcpu(r);
	const struct o_chain *ch = v->chain;
	uint64_t slot = ref_rsp(r), word = 0;
	const struct o_act *tip;
	enum guard_verdict verdict;
	unsigned depth;
	bool deep;

	if (!ch)
		return GUARD_V_NOT_PRIVILEGED;
	depth = ch->depth;
	tip = &ch->act[depth - 1];
	deep = slot >= ch->hi || PAGE_OF(ch->hi - 1) - PAGE_OF(slot) >= EXTENT_PAGES * PAGE;
	if (!slot_ok(r, slot, deep ? slot + 8 : ch->hi)) {
		*why = "the slot is not the guest's plain RAM";
		return drop(r, GUARD_V_BAD_STACK);
	}
	if (slot == tip->slot && depth == 1) {
		verdict = finish(r);
		if (verdict == GUARD_V_OK)
			after_call(r, raw, 0, keep);
		return verdict;
	}
	if (slot == tip->slot) {
		word = tip->word;
		depth--;
		tip--;
	} else if (!o_stack_word(r->o, cpu->cr3, slot, &word)) {
		return drop(r, GUARD_V_BAD_STACK);
	}
	if (!o_retsite(v->module, word)) {
		*why = "its return word is no return site";
		return drop(r, GUARD_V_BAD_RETURN);
	}
	if (slot >= tip->slot)
		return drop(r, GUARD_V_STACK_CHANGED);
	if (deep)
		return drop(r, GUARD_V_STACK_TOO_DEEP);
	verdict = walk(r,
		       &(struct o_place){ .rip = word,
					  .rsp = slot + 8,
					  /* what was resumed first has its registers back */
					  .rbp = r->now.gpr[ORACLE_RBP],
					  .returned = true },
		       depth, slot + 8, NULL);
	if (verdict != GUARD_V_OK)
		return drop(r, verdict);
	if (!ref_lowered(r))
		return GUARD_V_LOWER_FAILED;
	after_call(r, raw, preserve, keep);
	return GUARD_V_OK;
}

static uint32_t preserved_at(const struct o_module *m, uint64_t gva)
{
	for (uint32_t i = 0; i < m->man.nimports; i++)
		if (m->import_at[i] == gva)
			return m->man.import[i].preserve;
	return REF_C_PRESERVED;
}

enum guard_verdict ref_fetch_outside(struct ref *r, enum guard_event_name *event, const char **why)
{
	const struct oracle_cpu *cpu = &r->ev->cpu;
	const struct o_vcpu *v = ref_vcpu(r);
	const struct o_act *tip = &v->chain->act[v->chain->depth - 1];
	uint64_t rsp = ref_rsp(r), word = 0;

	*event = GUARD_LEAVE_CALL;
	if (cpu->rip == tip->word && rsp == tip->slot + 8) {
		*event = GUARD_LEAVE_RETURN;
		return ref_leave_return(r, true, why);
	}
	if (rsp == tip->slot ||
	    (slot_ok(r, rsp, rsp + 8) && o_stack_word(r->o, cpu->cr3, rsp, &word) &&
	     o_retsite(v->module, word)))
		return ref_leave_call(r, true, preserved_at(v->module, cpu->rip), 0, why);
	return drop(r, GUARD_V_WILD_EXIT);
}

enum guard_verdict ref_depart(struct ref *r, const struct o_standing *at, const char **why)
{
	const struct o_chain *ch = ref_vcpu(r)->chain;
	enum guard_verdict v = GUARD_V_OK;

	if (at->rsp % 8 || at->rsp >= ch->hi || at->rsp < KERNEL_HALF) {
		*why = "RSP is not in the chain's stack";
		v = GUARD_V_STACK_CHANGED;
	} else if (PAGE_OF(ch->hi - 1) - PAGE_OF(at->rsp) >= EXTENT_PAGES * PAGE) {
		v = GUARD_V_STACK_TOO_DEEP;
	} else if (at->popped && at->rsp != ch->act[ch->depth - 1].slot) {
		*why = "it stands at the leave-return gate with another slot";
		v = GUARD_V_STACK_CHANGED;
	} else {
		v = walk(r, NULL, 0, 0, at);
	}
	if (v != GUARD_V_OK)
		return drop(r, v);
	zero(r, 0xffffu & ~(1u << ORACLE_RSP));
	return ref_lowered(r) ? GUARD_V_OK : GUARD_V_LOWER_FAILED;
}
