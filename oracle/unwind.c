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
#define MOST_WORDS 3u /* of one frame: where its CFA is kept, the saved RBP, the return address */
enum { CFA_NONE, CFA_REGISTER, CFA_MEMORY };
enum { BP_SAME, BP_AT_CFA, BP_AT_BP };

/* Someone who climbs the stack of one chain, with the chain's notebook. */
struct climber {
	const struct oracle *o;
	const struct o_module *m;
	struct o_chain *ch;
	uint64_t cr3, lo;
	unsigned frames;
	struct o_place at;
};

/* A word that leads home: on plain memory of the extent, and noted. */
static const uint64_t *note(struct climber *c, uint64_t gva)
{
	struct o_word *w = &c->ch->words[c->ch->nwords];

	if (c->ch->nwords == O_WORDS || gva < c->lo || gva >= c->ch->hi ||
	    !o_stack_word(c->o, c->cr3, gva, &w->value))
		return NULL;
	w->gva = gva;
	c->ch->nwords++;
	return &w->value;
}

struct sought {
	const struct m_manifest *man;
	uint32_t moff;
};

/* A row holds from its own offset up to the next one's; the last for as long as there is text. */
static int against_row(const void *key, const void *element)
{
	const struct sought *s = key;
	const struct m_unwind *u = element;

	if (s->moff < u->moff)
		return -1;
	return u + 1 < s->man->unwind + s->man->nunwind && s->moff >= u[1].moff;
}

/* Rows are the text's: one that begins in another segment says nothing about this one. */
static const struct m_unwind *rules_at(const struct o_module *m, uint64_t gva)
{
	struct sought s = { .man = &m->man };
	const struct m_unwind *u;
	unsigned segment;

	if (!m->man.nunwind || !o_moff(m, gva, &s.moff, &segment) ||
	    s.moff - m->man.segment[segment].start >= m->man.segment[segment].size)
		return NULL;
	u = bsearch(&s, m->man.unwind, m->man.nunwind, sizeof(*u), against_row);
	return u && m_segment_of(&m->man, u->moff) == segment ? u : NULL;
}

/* Beyond the innermost frame of a departure only RSP and RBP are known. */
static const uint64_t *known(const struct o_place *at, unsigned number)
{
	switch (number) {
	case ORACLE_RSP: return &at->rsp;
	case ORACLE_RBP: return &at->rbp;
	default: return at->gpr ? &at->gpr[number] : NULL;
	}
}

/*
 * Where the frame that the climber stands in ends (its CFA), and what RBP was for its caller. An
 * instruction behind a call may belong to the next row, so a return address is looked up one less.
 */
static bool frame_end(struct climber *c, uint64_t *cfa, uint64_t *rbp)
{
	const struct m_unwind *u;
	const uint64_t *from;

	*rbp = c->at.rbp;
	*cfa = c->at.rsp + 8;
	if (c->at.at_gate)
		return true;
	u = rules_at(c->m, c->at.returned ? c->at.rip - 1 : c->at.rip);
	from = u ? known(&c->at, u->cfa_reg) : NULL;
	if (!from)
		return false;
	*cfa = *from + (uint64_t)(int64_t)u->cfa_offset;
	switch (u->cfa_rule) {
	case CFA_REGISTER: break;
	case CFA_MEMORY:
		from = note(c, *cfa);
		if (!from)
			return false;
		*cfa = *from;
		break;
	default: return false;
	}
	if (u->bp_rule != BP_SAME) {
		from = note(c, (u->bp_rule == BP_AT_CFA ? *cfa : *rbp) +
				       (uint64_t)(int64_t)u->bp_offset);
		if (!from)
			return false;
		*rbp = *from;
	}
	return *cfa > c->at.rsp; /* always up, so that it comes to an end */
}

/* From where the climber stands up to the slot of this activation, then into its caller. */
static enum guard_verdict climb_out_of(struct climber *c, const struct o_act *a)
{
	const uint64_t home = a->raw ? a->word : c->m->gates_gva + c->m->leave_return;
	const uint64_t *back;
	uint64_t cfa, rbp;
	bool outside;

	do {
		if (c->frames++ == MAX_FRAMES)
			return GUARD_V_STACK_TOO_DEEP;
		if (!frame_end(c, &cfa, &rbp) || cfa > a->slot + 8)
			return GUARD_V_STACK_CHANGED;
		outside = cfa == a->slot + 8;
		back = note(c, cfa - 8);
		if (!back || (outside ? *back != home : !o_retsite(c->m, *back)))
			return GUARD_V_STACK_CHANGED;
		c->at = (struct o_place){
			.rip = outside ? a->word : *back, .rsp = cfa, .rbp = rbp, .returned = true
		};
	} while (!outside);
	return GUARD_V_OK;
}

static bool copy_bytes(const struct climber *c, uint8_t *to)
{
	for (uint64_t a = c->lo; a < c->ch->hi; a += 8) {
		uint64_t value;

		if (!o_stack_word(c->o, c->cr3, a, &value))
			return false;
		memcpy(to + (a - c->lo), &value, 8);
	}
	return true;
}

enum guard_verdict o_walk(const struct oracle *o, const struct o_module *m, struct o_chain *ch,
			  uint64_t cr3, const struct o_place *from, unsigned depth, uint64_t lo)
{
	struct climber c = { .o = o, .m = m, .ch = ch, .cr3 = cr3, .lo = lo, .at = *from };
	enum guard_verdict verdict = GUARD_V_OK;

	_Static_assert(MAX_FRAMES * MOST_WORDS <= O_WORDS, "every frame's words fit");
	ch->nwords = 0;
	ch->exact_lo = lo;
	ch->has_exact = false;
	if (m->binding.stack == 2)
		return GUARD_V_OK;
	while (depth && verdict == GUARD_V_OK)
		verdict = climb_out_of(&c, &ch->act[--depth]);
	if (verdict == GUARD_V_OK && m->binding.stack == 1 && ch->hi - lo <= O_EXACT && ch->exact) {
		ch->has_exact = copy_bytes(&c, ch->exact);
		if (!ch->has_exact)
			verdict = GUARD_V_STACK_CHANGED;
	}
	return verdict;
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
