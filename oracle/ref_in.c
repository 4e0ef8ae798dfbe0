/* SPDX-License-Identifier: GPL-2.0-only */
/* Predictions of ENTER-CALL, ENTER-RETURN and RESUME: docs/semantics.md, "Verdicts", in order. */
#include <string.h>

#include "oracle/ref.h"

#define FLAG_RF (1ull << 16)
#define MIN_HEADROOM 512u

static uint64_t low_end(const struct o_chain *ch, uint64_t lo)
{
	const struct o_act *tip = &ch->act[ch->depth - 1];

	return tip->slot - tip->headroom < lo ? tip->slot - tip->headroom : lo;
}

/* Words, registers, raise: the last part of every way back. `check`: registers that count. */
static enum guard_verdict come_back(struct ref *r, const struct o_module *m,
				    const struct o_chain *ch, uint32_t check, const char **why)
{
	const struct oracle_cpu *cpu = &r->ev->cpu;

	if (!o_words_hold(r->o, ch, cpu->cr3)) {
		*why = "a saved word has changed";
		return GUARD_V_STACK_CHANGED;
	}
	if (ch->state == O_DEPARTED && ((cpu->rflags ^ ch->rflags) & ~FLAG_RF)) {
		*why = "RFLAGS differ";
		return GUARD_V_REGISTERS_CHANGED;
	}
	for (unsigned i = 0; i < ORACLE_GPRS; i++) {
		if (!(check >> i & 1) || i == ORACLE_RSP)
			continue;
		if (m->binding.registers == 0 && cpu->gpr[i] != ch->gpr[i]) {
			*why = "a register differs";
			return GUARD_V_REGISTERS_CHANGED;
		}
	}
	if (!ref_raised(r))
		return GUARD_V_RAISE_FAILED;
	for (unsigned i = 0; m->binding.registers == 1 && i < ORACLE_GPRS; i++)
		if ((check >> i & 1) && i != ORACLE_RSP)
			r->now.gpr[i] = ch->gpr[i];
	return GUARD_V_OK;
}

/* Room for one more activation of the kernel's: free, abandoned by this entry, or stale. */
static bool has_room(const struct ref *r, const struct o_module *m, uint64_t slot_gpa)
{
	for (uint32_t i = 0; i < m->binding.chains; i++) {
		const struct o_chain *ch = &m->chain[i];

		if (ch->state == O_FREE)
			return true;
		if (ch->state != O_RUNNING &&
		    (o_extent_holds(ch, slot_gpa) || !o_words_hold(r->o, ch, r->ev->cpu.cr3)))
			return true;
	}
	return false;
}

static bool word_ok(const struct ref *r, const struct o_module *m, uint64_t word,
		    const struct o_chain *out)
{
	unsigned segment;
	uint32_t moff;

	if (ref_vcpu(r)->chain)
		return o_retsite(m, word);
	if (word < KERNEL_HALF)
		return false;
	return !o_moff(m, word, &moff, &segment) ||
	       (out && word == (out->raw ? out->rip : m->gates_gva + m->enter_return));
}

static bool open_now(const struct ref *r, const struct o_module *m, const struct m_entry *e)
{
	bool once = e->flags & M_ENTRY_INIT, within = e->flags & M_ENTRY_INIT_CALL;

	if (!once && !within)
		return true;
	if (ref_vcpu(r)->chain || !o_has(m, m_segment_of(&m->man, e->moff)))
		return false;
	return (once && !m->init_used) || (!once && o_init_lives(m, M_ENTRY_INIT));
}

enum guard_verdict ref_enter_call(struct ref *r, const struct o_module *m, const struct m_entry *e,
				  bool raw, const char **why)
{
	const struct oracle_cpu *cpu = &r->ev->cpu;
	uint64_t slot = ref_rsp(r), word = 0, headroom = e->headroom;
	const struct o_chain *ch = ref_vcpu(r)->chain, *out = o_callout_at(m, slot);
	const struct o_act *tip = ch ? &ch->act[ch->depth - 1] : NULL;
	bool own = tip && slot == tip->slot;
	enum guard_verdict v;
	struct o_map map;

	if (!open_now(r, m, e))
		return GUARD_V_UNANNOUNCED;
	if (m->quarantined)
		return GUARD_V_QUARANTINED;
	if ((*why = o_mode_wrong(m, cpu)))
		return GUARD_V_BAD_MODE;
	if ((*why = o_flags_wrong(cpu, NULL)))
		return GUARD_V_BAD_FLAGS;
	if ((*why = o_mapping_wrong(r->o, m, cpu->cr3)))
		return GUARD_V_BAD_MAPPING;
	if (tip && slot > tip->slot)
		return GUARD_V_BAD_STACK;
	if (own && tip->headroom > headroom)
		headroom = tip->headroom;
	*why = o_stack_wrong(r->o, cpu->cr3, slot, slot - headroom, ch ? ch->hi : slot + 8, ch);
	if (*why || !o_stack_word(r->o, cpu->cr3, slot, &word))
		return GUARD_V_BAD_STACK;
	if (!own && !word_ok(r, m, word, out))
		return GUARD_V_BAD_RETURN;
	o_map(r->o, cpu->cr3, slot, &map);
	if (tip ? !own && ch->depth == O_NEST : !has_room(r, m, map.gpa + slot % PAGE))
		return GUARD_V_NO_ROOM;
	if (m->binding.required & ~(m->binding.bound & ref_vcpu(r)->granted[m->index]))
		return GUARD_V_WITHHELD;
	if (raw && out && word == out->rip) {
		/* judged as the call-out's return, which goes on at f */
		if (e->flags & M_INIT_CODE && !out->act[0].init)
			return GUARD_V_BAD_RETURN;
		*why = o_stack_wrong(r->o, cpu->cr3, slot, slot - e->headroom, out->hi, out);
		if (*why)
			return GUARD_V_BAD_STACK;
		v = come_back(r, m, out, out->preserve, why);
		return v == GUARD_V_STACK_CHANGED || v == GUARD_V_REGISTERS_CHANGED
			       ? GUARD_V_BAD_RETURN
			       : v;
	}
	if (!tip && !ref_raised(r))
		return GUARD_V_RAISE_FAILED;
	r->now.rip = o_gva(m, e->moff);
	return GUARD_V_OK;
}

enum guard_verdict ref_enter_return(struct ref *r, const struct o_module *m, bool raw,
				    const char **why)
{
	const struct oracle_cpu *cpu = &r->ev->cpu;
	uint64_t slot = ref_rsp(r) - (raw ? 8 : 0), lo = slot - MIN_HEADROOM;
	const struct o_chain *runs = ref_vcpu(r)->chain;
	const struct o_chain *ch = runs ? NULL : o_callout_at(m, slot);
	enum guard_verdict v;

	if (ch && ch->raw != raw)
		ch = NULL;
	if (ch)
		lo = low_end(ch, lo);
	if (m->quarantined)
		return GUARD_V_QUARANTINED;
	if ((*why = o_mode_wrong(m, cpu)))
		return GUARD_V_BAD_MODE;
	if ((*why = o_flags_wrong(cpu, ch)))
		return GUARD_V_BAD_FLAGS;
	if ((*why = o_mapping_wrong(r->o, m, cpu->cr3)))
		return GUARD_V_BAD_MAPPING;
	if ((*why = o_stack_wrong(r->o, cpu->cr3, slot, lo, ch ? ch->hi : slot + 8, runs)))
		return GUARD_V_BAD_STACK;
	if (!ch)
		return GUARD_V_NO_RECORD;
	v = come_back(r, m, ch, ch->preserve, why);
	if (v == GUARD_V_OK) {
		r->now.rip = ch->rip;
		r->now.gpr[ORACLE_RSP] = slot + 8;
	}
	return v;
}

enum guard_verdict ref_resume(struct ref *r, const struct o_module *m, const char **why)
{
	const struct oracle_cpu *cpu = &r->ev->cpu;
	uint64_t lo = ref_rsp(r), hi = lo + 8;
	uint32_t set;
	const struct o_chain *ch = o_departed_at(m, cpu->rip, lo, &set);

	if (ch) {
		hi = ch->hi;
		lo = low_end(ch, lo);
	}
	if (m->quarantined)
		return GUARD_V_QUARANTINED;
	if ((*why = o_mode_wrong(m, cpu)))
		return GUARD_V_BAD_MODE;
	if ((*why = o_mapping_wrong(r->o, m, cpu->cr3)))
		return GUARD_V_BAD_MAPPING;
	if ((*why = o_overlap_wrong(r->o, cpu->cr3, lo, hi, ch)))
		return GUARD_V_BAD_STACK;
	if (!ch)
		return GUARD_V_NO_RECORD;
	return come_back(r, m, ch, 0xffffu & ~set, why);
}
