// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unwind rules from a Linux module's ORC data: .orc_unwind_ip holds the places (relocated), and
 * .orc_unwind one 6-byte record for each. Layout of Linux 6.1 (arch/x86/include/asm/orc_types.h):
 * s16 sp_offset, s16 bp_offset, then 4 bits sp_reg, 4 bits bp_reg, 2 bits type, 1 bit end.
 */
#include "wrap/module.h"

#include <stdlib.h>
#include <string.h>

#define RECORD 6u

enum {
	ORC_UNDEFINED,
	ORC_PREV_SP,
	ORC_DX,
	ORC_DI,
	ORC_BP,
	ORC_SP,
	ORC_R10,
	ORC_R13,
	ORC_BP_INDIRECT,
	ORC_SP_INDIRECT
};

/* A copy of its contents with room for more. */
static uint8_t *grown(const struct section *s, size_t more)
{
	uint8_t *copy = wrap_alloc(s->hdr.sh_size + more, 1);

	memcpy(copy, s->data, s->hdr.sh_size);
	return copy;
}

static bool rule_of(const uint8_t *record, struct gm_unwind *u)
{
	/* GPR numbers of those ORC registers that CFA = register + offset may name */
	static const int8_t gpr[16] = {
		[ORC_DX] = 2, [ORC_DI] = 7,   [ORC_BP] = 5,
		[ORC_SP] = 4, [ORC_R10] = 10, [ORC_R13] = 13,
	};
	unsigned sp_reg = record[4] & 15, bp_reg = record[4] >> 4, type = record[5] & 3;

	*u = (struct gm_unwind){ 0 };
	if (sp_reg == ORC_UNDEFINED) {
		u->cfa_rule = GM_CFA_NONE;
		return true;
	}
	if (type != 0) /* frames that the hardware pushed: not in a module */
		return false;
	memcpy(&u->cfa_offset, record, 2);
	memcpy(&u->bp_offset, record + 2, 2);
	if (sp_reg == ORC_BP_INDIRECT) {
		u->cfa_rule = GM_CFA_DEREF;
		u->cfa_reg = 5;
	} else if (gpr[sp_reg]) {
		u->cfa_rule = GM_CFA_REG;
		u->cfa_reg = (uint8_t)gpr[sp_reg];
	} else {
		return false;
	}
	switch (bp_reg) {
	case ORC_UNDEFINED:
		u->bp_rule = GM_BP_SAME;
		u->bp_offset = 0;
		return true;
	case ORC_PREV_SP: u->bp_rule = GM_BP_AT_CFA; return true;
	case ORC_BP: u->bp_rule = GM_BP_AT_BP; return true;
	default: return false;
	}
}

/* The record of a rule that rule_of() read. */
static void record_of(const struct gm_unwind *u, uint8_t *record)
{
	static const uint8_t orc[16] = { [2] = ORC_DX, [4] = ORC_SP,   [5] = ORC_BP,
					 [7] = ORC_DI, [10] = ORC_R10, [13] = ORC_R13 };
	static const uint8_t bp[GM_BP_RULES] = {
		[GM_BP_SAME] = ORC_UNDEFINED, [GM_BP_AT_CFA] = ORC_PREV_SP, [GM_BP_AT_BP] = ORC_BP
	};

	memcpy(record, &u->cfa_offset, 2);
	memcpy(record + 2, &u->bp_offset, 2);
	record[4] = u->cfa_rule == GM_CFA_DEREF ? ORC_BP_INDIRECT : orc[u->cfa_reg];
	if (u->cfa_rule == GM_CFA_NONE)
		record[4] = ORC_UNDEFINED;
	record[4] |= (uint8_t)(bp[u->bp_rule] << 4);
	record[5] = 0;
}

/* Room for n more records in both sections. */
static void extend(struct section *d, struct section *p, uint32_t n)
{
	struct rel *rels = wrap_alloc(p->nrels + n, sizeof(*rels));

	memcpy(rels, p->rels, p->nrels * sizeof(*rels));
	free(p->rels);
	p->rels = rels;
	d->own = grown(d, n * RECORD);
	d->data = d->own;
	p->own = grown(p, n * 4ull);
	p->data = p->own;
}

static void append(struct section *d, struct section *p, uint32_t sym, int64_t at,
		   const uint8_t *record)
{
	p->rels[p->nrels++] = (struct rel){
		.offset = p->hdr.sh_size, .type = R_X86_64_PC32, .sym = sym, .addend = at
	};
	p->hdr.sh_size += 4;
	memcpy(d->own + d->hdr.sh_size, record, RECORD);
	d->hdr.sh_size += RECORD;
}

/*
 * Rows for what is new. The kernel's own unwinder, which sorts them when it loads the module,
 * follows a thunk or an inner copy like a function that has pushed nothing, and the thunk of a
 * table's jump like that jump. What stands behind a gate is the guard's secret: there the stack
 * ends.
 */
void orc_extend(struct module *m)
{
	static const uint8_t plain[RECORD] = { 8, 0, 0, 0, ORC_SP, 0 };
	static const uint8_t end[RECORD] = { 0, 0, 0, 0, 0, 1 << 2 };
	struct section *d = &m->sections[section_named(m, ".orc_unwind")];
	struct section *p = &m->sections[section_named(m, ".orc_unwind_ip")];
	const struct jump_table *j = m->jump_tables.data;
	uint8_t record[RECORD];

	if (d->role != ROLE_TABLE || p->role != ROLE_TABLE)
		return;
	extend(d, p, 2 + 2 * (uint32_t)m->jump_tables.count);
	append(d, p, m->thunks_sym, 0, plain);
	for (size_t i = 0; i < m->jump_tables.count; i++) {
		const struct gm_unwind *u = unwind_at(m, j[i].section, j[i].at);

		record_of(u ? u : &(const struct gm_unwind){ 0 }, record);
		append(d, p, m->thunks_sym, j[i].thunk, record);
		if (i + 1 == m->jump_tables.count || j[i].end != j[i + 1].thunk)
			append(d, p, m->thunks_sym, j[i].end, plain);
	}
	append(d, p, m->gates_sym, 0, end);
}

/* Reads both sections, if they are there. */
bool orc_read(struct module *m)
{
	uint32_t data = section_named(m, ".orc_unwind"), ip = section_named(m, ".orc_unwind_ip");
	const struct section *d = &m->sections[data], *p = &m->sections[ip];
	uint64_t n;

	if (!data && !ip)
		return true;
	if (!data || !ip || d->role != ROLE_TABLE || p->role != ROLE_TABLE ||
	    d->hdr.sh_type == SHT_NOBITS || p->hdr.sh_type == SHT_NOBITS)
		return refuse(m, m->elf.eh.e_shoff, "ORC data without its other half");
	n = p->hdr.sh_size / 4;
	if (p->hdr.sh_size % 4 || d->hdr.sh_size != n * 6)
		return refuse(m, file_at(d, 0), "0x%llx bytes of ORC records for 0x%llx of places",
			      (unsigned long long)d->hdr.sh_size,
			      (unsigned long long)p->hdr.sh_size);
	if (p->nrels != n)
		return refuse(m, file_at(p, 0), "%s: %zu relocations for %llu places", p->name,
			      p->nrels, (unsigned long long)n);
	for (uint64_t i = 0; i < n; i++) {
		struct gm_unwind rule;
		struct rel_target t;

		if (p->rels[i].offset != i * 4 || p->rels[i].type != R_X86_64_PC32)
			return refuse(m, p->rels[i].file, "%s: place %llu has no relocation",
				      p->name, (unsigned long long)i);
		if (!rel_resolve(m, p, &p->rels[i], &t))
			return false;
		if (t.section && t.section == m->tramp_section)
			continue; /* runs without privilege: the kernel's own business */
		if (!t.section || m->sections[t.section].role != ROLE_TEXT || t.offset < 0 ||
		    (uint64_t)t.offset > m->sections[t.section].hdr.sh_size)
			return refuse(m, p->rels[i].file, "%s: place %llu lies in no code", p->name,
				      (unsigned long long)i);
		if (!rule_of(d->data + i * 6, &rule))
			return refuse(m, file_at(d, i * 6),
				      "ORC record %llu for %s+0x%llx cannot be expressed",
				      (unsigned long long)i, m->sections[t.section].name,
				      (unsigned long long)t.offset);
		unwind_add(m, t.section, (uint64_t)t.offset, &rule);
	}
	return true;
}
