/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The words that lead home (spec 3, "Stack validity").
 *
 *      higher addresses
 *   | kernel's frames            |
 *   | slot of the outermost entry|  must hold the leave-return gate; saved, and the walk ends
 *   |   frame of f               |
 *   | return address into f      |  saved: must be a return site
 *   |   frame of g, saved RBP    |  saved if the unwind rules use it
 *   | slot of the call-out       |  not saved: the guard remembers its word
 *      lower addresses
 *
 * The stack is the guest's and may change under the walk: every step goes strictly up, every
 * address lies in the chain's extent, every word is read once, and the number of steps is bounded.
 */
#include "model/internal.h"

struct walk {
	struct ctx *c;
	const struct module *m;
	struct chain *ch;
	const struct range *r;
	struct place at;
};

static bool save_word(struct walk *w, uint64_t gva, uint64_t *value)
{
	/* MAX_WORDS holds three a frame, and a frame saves at most three */
	if (gva < w->r->lo || gva >= w->r->hi || !range_read(w->c, w->r, gva, value))
		return false;
	w->ch->words[w->ch->nwords].gva = gva;
	w->ch->words[w->ch->nwords].value = *value;
	w->ch->nwords++;
	return true;
}

static const struct gm_unwind *row_at(const struct walk *w)
{
	uint64_t rip = w->at.rip - (w->at.returned ? 1 : 0);
	uint32_t moff = GM_NONE, i, end, first; /* that lies behind every segment */
	unsigned seg = 0;

	module_moff(w->m, rip, &moff, &seg);
	first = w->m->segments[seg].start;
	end = first + w->m->segments[seg].size;
	i = gm_find(w->m->unwind, w->m->man->unwind.count, sizeof(struct gm_unwind), moff);
	/* a row of another segment says nothing about this one */
	if (i == w->m->man->unwind.count || w->m->unwind[i].moff < first || moff >= end)
		return NULL;
	return &w->m->unwind[i];
}

/* One frame up: *cfa is the address above the return address; RBP becomes the caller's. */
static bool step(struct walk *w, uint64_t *cfa)
{
	const struct gm_unwind *u;
	uint64_t base, at;

	if (w->at.at_gate) {
		*cfa = w->at.rsp + 8;
		return true;
	}
	u = row_at(w);
	if (!u || u->cfa_rule == GM_CFA_NONE)
		return false;
	if (u->cfa_reg == GUARD_RSP)
		base = w->at.rsp;
	else if (u->cfa_reg == GUARD_RBP)
		base = w->at.rbp;
	else if (w->at.gpr)
		base = w->at.gpr[u->cfa_reg];
	else
		return false;
	base += (uint64_t)(int64_t)u->cfa_offset;
	if (u->cfa_rule == GM_CFA_REG)
		*cfa = base;
	else if (!save_word(w, base, cfa))
		return false;
	if (*cfa <= w->at.rsp)
		return false;
	at = (u->bp_rule == GM_BP_AT_BP ? w->at.rbp : *cfa) + (uint64_t)(int64_t)u->bp_offset;
	if (u->bp_rule != GM_BP_SAME && !save_word(w, at, &w->at.rbp))
		return false;
	return true;
}

/*
 * Saves the words from `from` up to the outermost slot into ch->words, starting below activation
 * depth - 1. r covers the extent. With policy none nothing is saved, with exact the bytes too.
 */
enum guard_verdict walk_save(struct ctx *c, const struct module *m, struct chain *ch,
			     const struct range *r, const struct place *from, unsigned depth)
{
	struct walk w = { c, m, ch, r, *from };

	ch->nwords = 0;
	if (m->binding.policy.stack == GUARD_STACK_NONE)
		return GUARD_V_OK;
	for (unsigned n = 0; depth > 0; n++) {
		const struct activation *a = &ch->act[depth - 1];
		uint64_t cfa = 0, word = 0;

		if (n == GUARD_MAX_FRAMES)
			return GUARD_V_STACK_TOO_DEEP;
		if (!step(&w, &cfa) || cfa - 8 > a->slot || !save_word(&w, cfa - 8, &word))
			return GUARD_V_STACK_CHANGED;
		if (cfa - 8 == a->slot) {
			if (word != (a->raw ? a->word : m->leave_return))
				return GUARD_V_STACK_CHANGED;
			word = a->word;
			depth--;
		} else if (!module_retsite(m, word)) {
			return GUARD_V_STACK_CHANGED;
		}
		w.at = (struct place){ .rip = word, .rsp = cfa, .rbp = w.at.rbp, .returned = true };
	}
	ch->exact_lo = r->lo;
	if (ch->exact && !range_copy(c, r, r->lo, r->hi, ch->exact))
		return GUARD_V_STACK_CHANGED;
	return GUARD_V_OK;
}

/* The same words, re-read through the present mapping. */
bool walk_verify(struct ctx *c, const struct chain *ch, const struct range *r)
{
	uint64_t value = 0;

	for (uint32_t i = 0; i < ch->nwords; i++)
		if (!range_read(c, r, ch->words[i].gva, &value) || value != ch->words[i].value)
			return false;
	return !ch->exact || range_equal(c, r, ch->exact_lo, ch->hi, ch->exact);
}
