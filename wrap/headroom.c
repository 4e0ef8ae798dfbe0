// SPDX-License-Identifier: GPL-2.0-only
/*
 * How deep each entry's stack can get inside the module: the bytes below its slot.
 *
 * A function's own frame is bounded by its unwind rows where they count from RSP, and by the sum of
 * all that its instructions push where they count from another register. Calls add the callee's
 * depth. Recursion, variable-size frames and indirect calls (which may come back to any entry) have
 * no bound; they get the largest headroom that a manifest may state.
 */
#include "wrap/module.h"

#include <stdlib.h>

#define UNBOUNDED GM_MAX_HEADROOM
#define MAX_CHAIN 1024u /* calls in a row; each takes 8 bytes, so more is unbounded anyway */

enum { STATE_NEW, STATE_ACTIVE, STATE_DONE };

static uint32_t add(uint32_t a, uint32_t b)
{
	return a + b > UNBOUNDED ? UNBOUNDED : a + b;
}

/* Bytes of f's own frame below its slot. */
static uint32_t own_frame(const struct module *m, const struct function *f, size_t first,
			  size_t end)
{
	const struct section *s = &m->sections[f->section];
	const struct unwind_row *rows = m->rows.data;
	uint32_t by_rows = 0, by_pushes = 0;
	bool rows_do = true;

	/* rows, not instructions: an alternative may push where the original has none */
	for (size_t i = unwind_from(m, f->section, f->value);
	     i < m->rows.count && rows[i].section == f->section &&
	     rows[i].offset < f->value + f->size;
	     i++) {
		const struct gm_unwind *u = &rows[i].rule;

		if (u->cfa_rule == GM_CFA_REG && u->cfa_reg == 4) {
			if (u->cfa_offset > 8 && (uint32_t)u->cfa_offset - 8 > by_rows)
				by_rows = (uint32_t)u->cfa_offset - 8;
		} else if (u->cfa_rule != GM_CFA_NONE) {
			rows_do = false;
		}
	}
	for (size_t i = first; i < end; i++) {
		if (s->insns[i].pushes == WRAP_ALLOCA || s->insns[i].pushes >= (int32_t)UNBOUNDED)
			by_pushes = UNBOUNDED;
		else
			by_pushes = add(by_pushes, (uint32_t)s->insns[i].pushes);
	}
	if (!rows_do)
		return by_pushes;
	return by_rows > UNBOUNDED ? UNBOUNDED : by_rows;
}

static const struct rel *rel_of(const struct section *s, const struct insn *in)
{
	return in->field ? rel_at(s, (uint64_t)in->offset + in->field) : NULL;
}

static uint32_t measure(struct module *m, uint32_t index, unsigned depth);

/* What a branch adds below the frame that makes it. */
static uint32_t branch_depth(struct module *m, uint32_t self, const struct insn *in, unsigned depth)
{
	const struct section *s = &m->sections[m->functions[self].section];
	const struct rel *r = rel_of(s, in);
	uint32_t section = m->functions[self].section, callee;
	uint32_t pushed = in->kind == INSN_CALL ? 8 : 0;
	int64_t target = in->target;

	if (r) {
		/* already retargeted: gates lead out, thunks in or out */
		if (m->gates_sym && r->sym == m->gates_sym)
			return pushed;
		if (m->thunks_sym && r->sym == m->thunks_sym)
			return (uint64_t)(r->addend + 4) < m->leaf_end ? pushed : UNBOUNDED;
		if (m->symbols[r->sym].sym.st_shndx == SHN_UNDEF) {
			unsigned reg;

			/* unwrapped: an import; only a pointer may lead back in */
			return indirect_thunk(m->symbols[r->sym].name, &reg) ? UNBOUNDED : pushed;
		}
		section = m->symbols[r->sym].sym.st_shndx;
		target = r->addend + 4 + (int64_t)m->symbols[r->sym].sym.st_value;
	}
	callee = target < 0 ? WRAP_NONE : function_around(m, section, (uint64_t)target);
	if (callee == WRAP_NONE)
		return UNBOUNDED;
	if (callee == self && in->kind != INSN_CALL)
		return 0;
	/*
	 * A jump back into the middle of a function that is being measured is the cold part of a
	 * split one: that function's own frame is counted there.
	 */
	if (in->kind != INSN_CALL && m->functions[callee].value != (uint64_t)target &&
	    m->functions[callee].state == STATE_ACTIVE)
		return 0;
	return add(pushed, measure(m, callee, depth + 1));
}

static size_t first_insn(const struct section *s, uint64_t offset)
{
	size_t lo = 0, hi = s->ninsns;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->insns[mid].offset < offset)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static uint32_t measure(struct module *m, uint32_t index, unsigned depth)
{
	struct function *f = &m->functions[index];
	const struct section *s = &m->sections[f->section];
	uint32_t own, below = 0;
	size_t first, end;

	if (f->state == STATE_DONE)
		return f->depth;
	if (f->state == STATE_ACTIVE || depth > MAX_CHAIN || f->size == 0)
		return UNBOUNDED;
	f->state = STATE_ACTIVE;
	first = first_insn(s, f->value);
	end = first_insn(s, f->value + f->size);
	own = own_frame(m, f, first, end);
	for (size_t i = first; i < end && below < UNBOUNDED; i++) {
		const struct insn *in = &s->insns[i];
		uint32_t d = 0;

		if (in->kind == INSN_CALL || in->kind == INSN_JMP || in->kind == INSN_JCC)
			d = branch_depth(m, index, in, depth);
		else if (in->kind == INSN_CALL_IND || in->kind == INSN_JMP_IND)
			d = UNBOUNDED;
		if (d > below)
			below = d;
	}
	f->depth = add(own, below);
	f->state = STATE_DONE;
	return f->depth;
}

/* Fills depth of every entry's function. Needs unwind rows and retargeted relocations. */
bool headroom_measure(struct module *m)
{
	const struct entry *e = m->entries.data;

	for (size_t i = 0; i < m->entries.count; i++)
		measure(m, e[i].function, 0);
	return true;
}

uint32_t headroom_of(const struct module *m, uint32_t function)
{
	uint32_t d = (m->functions[function].depth + 63) / 64 * 64;

	if (d < GM_MIN_HEADROOM)
		return GM_MIN_HEADROOM;
	return d > GM_MAX_HEADROOM ? GM_MAX_HEADROOM : d;
}
