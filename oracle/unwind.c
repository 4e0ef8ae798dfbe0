/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The words that lead home, as docs/semantics.md ("Stack validity") names them: found by the
 * manifest's unwind rows, from where the module stands up to its outermost slot. The shadow stack
 * knows the return addresses from execution; this knows which words the contract has compared.
 */
#include <stdlib.h>
#include <string.h>

#include "oracle/state.h"

#define MAX_FRAMES 64u
enum { CFA_NONE, CFA_REGISTER, CFA_MEMORY };
enum { BP_SAME, BP_AT_CFA, BP_AT_BP };

struct walk {
	const struct oracle *o;
	const struct o_module *m;
	struct o_chain *ch;
	uint64_t cr3, lo, hi;
	struct o_place at;
};

static bool keep(struct walk *w, uint64_t gva, uint64_t *value)
{
	if (gva < w->lo || gva >= w->hi || w->ch->nwords == O_WORDS ||
	    !o_stack_word(w->o, w->cr3, gva, value))
		return false;
	w->ch->words[w->ch->nwords++] = (struct o_word){ gva, *value };
	return true;
}

static const struct m_unwind *row(const struct walk *w)
{
	const struct m_manifest *man = &w->m->man;
	uint32_t moff, low = 0, high = man->nunwind;
	const struct m_segment *s;
	unsigned segment;

	if (!o_moff(w->m, w->at.rip - (w->at.returned ? 1 : 0), &moff, &segment))
		return NULL;
	s = &man->segment[segment];
	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (man->unwind[mid].moff <= moff)
			low = mid + 1;
		else
			high = mid;
	}
	if (!low || man->unwind[low - 1].moff < s->start || moff >= s->start + s->size)
		return NULL;
	return &man->unwind[low - 1];
}

/* To the caller: *cfa is the address above the return address. */
static bool up(struct walk *w, uint64_t *cfa)
{
	const struct m_unwind *u;
	uint64_t base;

	if (w->at.at_gate) {
		*cfa = w->at.rsp + 8;
		return true;
	}
	u = row(w);
	if (!u || u->cfa_rule == CFA_NONE)
		return false;
	if (u->cfa_reg == ORACLE_RSP)
		base = w->at.rsp;
	else if (u->cfa_reg == ORACLE_RBP)
		base = w->at.rbp;
	else if (w->at.gpr)
		base = w->at.gpr[u->cfa_reg];
	else
		return false;
	base += (uint64_t)(int64_t)u->cfa_offset;
	if (u->cfa_rule == CFA_REGISTER)
		*cfa = base;
	else if (!keep(w, base, cfa))
		return false;
	if (*cfa <= w->at.rsp)
		return false;
	if (u->bp_rule == BP_SAME)
		return true;
	base = u->bp_rule == BP_AT_BP ? w->at.rbp : *cfa;
	return keep(w, base + (uint64_t)(int64_t)u->bp_offset, &w->at.rbp);
}

static bool copy_bytes(const struct walk *w, uint8_t *to)
{
	for (uint64_t a = w->lo; a < w->hi; a += 8) {
		uint64_t value;

		if (!o_stack_word(w->o, w->cr3, a, &value))
			return false;
		memcpy(to + (a - w->lo), &value, 8);
	}
	return true;
}

enum guard_verdict o_walk(const struct oracle *o, const struct o_module *m, struct o_chain *ch,
			  uint64_t cr3, const struct o_place *from, unsigned depth, uint64_t lo)
{
	struct walk w = { o, m, ch, cr3, lo, ch->hi, *from };

	ch->nwords = 0;
	ch->exact_lo = lo;
	ch->has_exact = false;
	if (m->binding.stack == 2)
		return GUARD_V_OK;
	for (unsigned n = 0; depth; n++) {
		const struct o_act *a = &ch->act[depth - 1];
		uint64_t cfa = 0, word = 0;

		if (n == MAX_FRAMES)
			return GUARD_V_STACK_TOO_DEEP;
		if (!up(&w, &cfa) || cfa - 8 > a->slot || !keep(&w, cfa - 8, &word))
			return GUARD_V_STACK_CHANGED;
		if (cfa - 8 == a->slot) {
			if (word != (a->raw ? a->word : m->gates_gva + m->leave_return))
				return GUARD_V_STACK_CHANGED;
			word = a->word;
			depth--;
		} else if (!o_retsite(m, word)) {
			return GUARD_V_STACK_CHANGED;
		}
		w.at = (struct o_place){
			.rip = word, .rsp = cfa, .rbp = w.at.rbp, .returned = true
		};
	}
	if (m->binding.stack == 1 && ch->hi - lo <= O_EXACT && ch->exact) {
		if (!copy_bytes(&w, ch->exact))
			return GUARD_V_STACK_CHANGED;
		ch->has_exact = true;
	}
	return GUARD_V_OK;
}

enum guard_verdict o_walk_departed(const struct oracle *o, const struct o_module *m,
				   struct o_chain *ch, const struct oracle_cpu *cpu,
				   const struct o_standing *at)
{
	const struct o_act *tip = &ch->act[ch->depth - 1];
	struct o_place from = { .rip = at->rip,
				.rsp = at->rsp,
				.rbp = cpu->gpr[ORACLE_RBP],
				.gpr = cpu->gpr,
				.at_gate = at->at_gate,
				.returned = at->returned };

	if (!at->popped)
		return o_walk(o, m, ch, cpu->cr3, &from, ch->depth, at->rsp);
	/* its own frame and slot are popped already: the caller's counts */
	from.rip = tip->word;
	from.rsp = tip->slot + 8;
	from.gpr = NULL;
	from.at_gate = false;
	from.returned = true;
	return o_walk(o, m, ch, cpu->cr3, &from, ch->depth - 1, tip->slot + 8);
}

bool o_words_hold(const struct oracle *o, const struct o_chain *ch, uint64_t cr3)
{
	uint64_t value;

	for (unsigned i = 0; i < ch->nwords; i++)
		if (!o_stack_word(o, cr3, ch->words[i].gva, &value) || value != ch->words[i].value)
			return false;
	for (uint64_t a = ch->exact_lo; ch->has_exact && a < ch->hi; a += 8)
		if (!o_stack_word(o, cr3, a, &value) ||
		    memcmp(&value, ch->exact + (a - ch->exact_lo), 8) != 0)
			return false;
	return true;
}
