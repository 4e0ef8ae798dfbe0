// SPDX-License-Identifier: GPL-2.0-only
/*
 * The unwind map: for every instruction boundary of text, init and thunks, where the caller's frame
 * is. From ORC or from .eh_frame, whichever the module has; what neither locates is refused, since
 * a walk that stops there would refuse an honest call-out.
 */
#include "wrap/module.h"

#include <stdlib.h>
#include <string.h>

void unwind_add(struct module *m, uint32_t section, uint64_t offset, const struct gm_unwind *rule)
{
	struct unwind_row *row = vec_add(&m->rows, sizeof(*row), 1);

	row->section = section;
	row->offset = offset;
	row->rule = *rule;
}

static int by_place(const void *a, const void *b)
{
	const struct unwind_row *x = a, *y = b;

	if (x->section != y->section)
		return x->section < y->section ? -1 : 1;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	/* "nothing known" marks an end; a rule at the same place is the next function's start */
	return (x->rule.cfa_rule != GM_CFA_NONE) - (y->rule.cfa_rule != GM_CFA_NONE);
}

static bool same_rule(const struct gm_unwind *a, const struct gm_unwind *b)
{
	return a->cfa_rule == b->cfa_rule && a->cfa_reg == b->cfa_reg &&
	       a->cfa_offset == b->cfa_offset && a->bp_rule == b->bp_rule &&
	       a->bp_offset == b->bp_offset;
}

/* Sorts; one row a place, no two rows in sequence that say the same. */
static bool tidy(struct module *m)
{
	struct unwind_row *rows = m->rows.data;
	size_t n = 0;

	if (!m->rows.count)
		return true;
	qsort(rows, m->rows.count, sizeof(*rows), by_place);
	for (size_t i = 0; i < m->rows.count; i++) {
		struct unwind_row *last = n ? &rows[n - 1] : NULL;

		if (last && last->section == rows[i].section && last->offset == rows[i].offset) {
			if (last->rule.cfa_rule != GM_CFA_NONE &&
			    !same_rule(&last->rule, &rows[i].rule))
				return refuse(
					m, file_at(&m->sections[rows[i].section], rows[i].offset),
					"%s+0x%llx: unwind data says two things",
					m->sections[rows[i].section].name,
					(unsigned long long)rows[i].offset);
			*last = rows[i];
			continue;
		}
		rows[n++] = rows[i];
	}
	m->rows.count = n;
	n = 0;
	for (size_t i = 0; i < m->rows.count; i++)
		if (!n || rows[n - 1].section != rows[i].section ||
		    !same_rule(&rows[n - 1].rule, &rows[i].rule))
			rows[n++] = rows[i];
	m->rows.count = n;
	return true;
}

size_t unwind_from(const struct module *m, uint32_t section, uint64_t offset)
{
	const struct unwind_row *rows = m->rows.data;
	size_t lo = 0, hi = m->rows.count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (rows[mid].section < section ||
		    (rows[mid].section == section && rows[mid].offset <= offset))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && rows[lo - 1].section == section ? lo - 1 : m->rows.count;
}

const struct gm_unwind *unwind_at(const struct module *m, uint32_t section, uint64_t offset)
{
	size_t i = unwind_from(m, section, offset);

	return i < m->rows.count ? &((const struct unwind_row *)m->rows.data)[i].rule : NULL;
}

/* Does control go on behind this instruction? */
static bool falls_through(const struct insn *in)
{
	return in->kind != INSN_JMP && in->kind != INSN_JMP_IND && in->kind != INSN_RET &&
	       in->kind != INSN_UD2;
}

/*
 * Nothing between functions runs, so only named functions are asked for; nor does the int3 that a
 * compiler puts behind a jump against straight-line speculation, nor the NOPs with which assembly
 * aligns what follows a jump.
 */
static bool covered(struct module *m, uint32_t index)
{
	const struct section *s = &m->sections[index];
	bool reached = true;

	for (size_t i = 0; i < s->ninsns; i++) {
		const struct insn *in = &s->insns[i];
		const struct gm_unwind *u = unwind_at(m, index, in->offset);

		reached = in->kind != INSN_NOP || reached;
		if (!reached)
			continue;
		reached = falls_through(in);
		if (u && u->cfa_rule != GM_CFA_NONE)
			continue;
		if (s->data[in->offset] == 0xcc ||
		    function_around(m, index, in->offset) == WRAP_NONE)
			continue;
		return refuse(m, file_at(s, in->offset),
			      "%s+0x%x: no unwind data says where the caller's frame is", s->name,
			      in->offset);
	}
	return true;
}

static bool has_code(const struct module *m)
{
	for (uint32_t i = 1; i < m->nsections; i++)
		if (m->sections[i].ninsns)
			return true;
	return false;
}

/*
 * A jump to a register's thunk is a tail call, or the thunk's row would be wrong. A jump through a
 * table is none: its thunk has the frame that the jump has.
 */
static bool jumps_to_thunks(struct module *m)
{
	const struct gm_unwind plain = { .cfa_rule = GM_CFA_REG, .cfa_reg = 4, .cfa_offset = 8 };
	const struct jump_table *j = m->jump_tables.data;

	for (size_t i = 0; i < m->jump_tables.count; i++) {
		struct gm_unwind rule = { 0 };
		const struct gm_unwind *u = unwind_at(m, j[i].section, j[i].at);

		if (u)
			rule = *u;
		unwind_add(m, m->thunks_section, j[i].thunk, &rule);
		if (i + 1 == m->jump_tables.count || j[i].end != j[i + 1].thunk)
			unwind_add(m, m->thunks_section, j[i].end, &plain);
	}
	return tidy(m);
}

static bool tail_jumps_only(struct module *m)
{
	for (uint32_t i = 1; i < m->nsections; i++) {
		const struct section *s = &m->sections[i];

		for (size_t k = 0; s->role == ROLE_TEXT && k < s->nrels; k++) {
			const struct symbol *y = &m->symbols[s->rels[k].sym];
			const struct gm_unwind *u;
			const struct insn *in;
			unsigned reg;

			if (y->sym.st_shndx != SHN_UNDEF || !indirect_thunk(y->name, &reg))
				continue;
			in = insn_around(s, s->rels[k].offset);
			u = unwind_at(m, i, in->offset);
			if (in->kind == INSN_CALL || jump_table_of(m, s, in->offset) || !u ||
			    (u->cfa_rule == GM_CFA_REG && u->cfa_reg == 4 && u->cfa_offset == 8))
				continue;
			return refuse(m, s->rels[k].file,
				      "%s+0x%x: a jump by register that is no tail call, nor "
				      "through a table of the function's",
				      s->name, in->offset);
		}
	}
	return true;
}

/* Reads what there is, adds the thunks, and checks that nothing is missing. */
bool unwind_make(struct module *m)
{
	/* thunks push nothing: all along, the word at RSP is the return address */
	const struct gm_unwind plain = { .cfa_rule = GM_CFA_REG, .cfa_reg = 4, .cfa_offset = 8 };
	bool orc = section_named(m, ".orc_unwind") != 0;

	if (orc ? !orc_read(m) : has_code(m) && !ehframe_read(m))
		return false;
	if (!m->opt->views)
		unwind_add(m, m->thunks_section, 0, &plain);
	if (!tidy(m) || !jumps_to_thunks(m) || !tail_jumps_only(m))
		return false;
	if (m->rows.count > GM_MAX_UNWIND)
		return refuse(m, 0, "%zu unwind rows are more than the %u allowed", m->rows.count,
			      GM_MAX_UNWIND);
	for (uint32_t i = 1; i < m->nsections; i++)
		if (m->sections[i].role == ROLE_TEXT && !covered(m, i))
			return false;
	if (!m->opt->views)
		orc_extend(m);
	return true;
}
