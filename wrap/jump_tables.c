// SPDX-License-Identifier: GPL-2.0-only
/*
 * Jumps through a table of places in their own function, as assembly has them:
 *
 *	mov table(,%index,8), %reg
 *	jmp __x86_indirect_thunk_reg
 *
 * The register thunk would send every such target out of the module, since none is an entry. So each
 * of these jumps gets a thunk of its own, which goes on at the table's targets and nowhere else.
 * Nothing is read again: the register is compared with one constant after the other, in a tree.
 */
#include "wrap/module.h"

#include <Zydis/Zydis.h>
#include <stdlib.h>
#include <string.h>

static const ZydisRegister gpr[16] = { ZYDIS_REGISTER_RAX, ZYDIS_REGISTER_RCX, ZYDIS_REGISTER_RDX,
				       ZYDIS_REGISTER_RBX, ZYDIS_REGISTER_RSP, ZYDIS_REGISTER_RBP,
				       ZYDIS_REGISTER_RSI, ZYDIS_REGISTER_RDI, ZYDIS_REGISTER_R8,
				       ZYDIS_REGISTER_R9,  ZYDIS_REGISTER_R10, ZYDIS_REGISTER_R11,
				       ZYDIS_REGISTER_R12, ZYDIS_REGISTER_R13, ZYDIS_REGISTER_R14,
				       ZYDIS_REGISTER_R15 };

/* `mov disp32(,%index,8), %reg`: the relocation of disp32, NULL if it is something else. */
static const struct rel *table_load(const struct section *s, const struct insn *in, unsigned reg)
{
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction d;
	ZydisDecoder decoder;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (!ZYAN_SUCCESS(
		    ZydisDecoderDecodeFull(&decoder, s->data + in->offset, in->length, &d, op)) ||
	    d.mnemonic != ZYDIS_MNEMONIC_MOV || op[0].type != ZYDIS_OPERAND_TYPE_REGISTER ||
	    op[0].reg.value != gpr[reg] || op[1].type != ZYDIS_OPERAND_TYPE_MEMORY ||
	    op[1].mem.base != ZYDIS_REGISTER_NONE || op[1].mem.index == ZYDIS_REGISTER_NONE ||
	    op[1].mem.scale != 8 || d.raw.disp.size != 32)
		return NULL;
	return rel_at(s, (uint64_t)in->offset + d.raw.disp.offset);
}

/* Is the word at `offset` the address of a place in the jump's function? */
static bool is_target(struct module *m, const struct section *table, uint64_t offset,
		      const struct jump_table *j, uint64_t *target)
{
	const struct rel *r = rel_at(table, offset);
	struct rel_target t;

	if (!r || r->type != R_X86_64_64 || !rel_resolve(m, table, r, &t) ||
	    t.section != j->section || t.offset < 0 ||
	    !insn_at(&m->sections[j->section], (uint64_t)t.offset) ||
	    function_around(m, j->section, (uint64_t)t.offset) !=
		    function_around(m, j->section, j->at))
		return false;
	*target = (uint64_t)t.offset;
	return true;
}

static int by_target(const void *a, const void *b)
{
	const struct jump_target *x = a, *y = b;

	if (x->jump != y->jump)
		return x->jump < y->jump ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* The run of such words from the table's start; where it ends, the table does. */
static void read_targets(struct module *m, struct jump_table *j, uint32_t number)
{
	const struct section *table = &m->sections[j->table_section];
	size_t n = m->jump_targets.count;
	struct jump_target *t;
	uint64_t target;

	j->first = (uint32_t)n;
	while (is_target(m, table, j->table + 8 * j->words, j, &target)) {
		t = vec_add(&m->jump_targets, sizeof(*t), 1);
		t->jump = number;
		t->offset = target;
		t->rel = *rel_at(table, j->table + 8 * j->words);
		j->words++;
	}
	t = m->jump_targets.data;
	if (m->jump_targets.count > n)
		qsort(t + n, m->jump_targets.count - n, sizeof(*t), by_target);
	for (size_t i = n; i < m->jump_targets.count; i++)
		if (n == j->first || t[n - 1].offset != t[i].offset)
			t[n++] = t[i];
	m->jump_targets.count = n;
	j->count = (uint32_t)n - j->first;
}

static bool find(struct module *m, uint32_t section, const struct rel *r, unsigned reg)
{
	const struct section *s = &m->sections[section];
	const struct insn *in = insn_around(s, r->offset);
	const struct rel *load;
	struct jump_table j = { .section = section, .reg = (uint8_t)reg };
	struct rel_target t;

	if (!in || in->kind != INSN_JMP || in == s->insns)
		return true;
	load = table_load(s, in - 1, reg);
	if (!load || load->type != R_X86_64_32S)
		return true;
	if (!rel_resolve(m, s, load, &t))
		return false;
	if (!t.section || t.offset < 0 || m->sections[t.section].role != ROLE_RODATA)
		return true;
	j.at = in->offset;
	j.table_section = t.section;
	j.table = (uint64_t)t.offset;
	read_targets(m, &j, (uint32_t)m->jump_tables.count);
	if (j.count)
		*(struct jump_table *)vec_add(&m->jump_tables, sizeof(j), 1) = j;
	return true;
}

bool jump_tables_find(struct module *m)
{
	for (uint32_t i = 1; i < m->nsections; i++) {
		const struct section *s = &m->sections[i];

		if (s->role != ROLE_TEXT)
			continue;
		for (size_t k = 0; k < s->nrels; k++) {
			const struct symbol *y = &m->symbols[s->rels[k].sym];
			unsigned reg;

			if (y->sym.st_shndx == SHN_UNDEF && indirect_thunk(y->name, &reg) &&
			    !find(m, i, &s->rels[k], reg))
				return false;
		}
	}
	return true;
}

/* Tables are few: one in all of Debian's modules. */
const struct jump_table *jump_table_of(const struct module *m, const struct section *s,
				       uint64_t branch)
{
	const struct jump_table *j = m->jump_tables.data;

	for (size_t i = 0; i < m->jump_tables.count; i++)
		if (&m->sections[j[i].section] == s && j[i].at == branch)
			return &j[i];
	return NULL;
}

bool in_jump_table(const struct module *m, const struct section *s, uint64_t offset)
{
	const struct jump_table *j = m->jump_tables.data;

	for (size_t i = 0; i < m->jump_tables.count; i++)
		if (&m->sections[j[i].table_section] == s && offset >= j[i].table &&
		    offset - j[i].table < 8 * j[i].words)
			return true;
	return false;
}
