// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module's own tables that tell what the kernel does to its code: jump labels (bytes that
 * change while the module runs), exception-table fixups and WARNs (where it may continue elsewhere
 * after an exception). Layouts are those of Linux 6.1 on x86-64.
 */
#include "wrap/module.h"

#include <stdlib.h>
#include <string.h>

bool code_place(struct module *m, const struct section *s, uint64_t field, uint32_t type,
		uint32_t *section, uint64_t *offset)
{
	const struct rel *r = rel_at(s, field);
	struct rel_target t;

	if (!r || r->type != type)
		return refuse(m, file_at(s, field), "%s+0x%llx: a code address was expected",
			      s->name, (unsigned long long)field);
	if (!rel_resolve(m, s, r, &t))
		return false;
	if (!t.section || m->sections[t.section].role != ROLE_TEXT || t.offset < 0 ||
	    !insn_at(&m->sections[t.section], (uint64_t)t.offset))
		return refuse(m, r->file,
			      "%s+0x%llx: does not lead to an instruction of the module", s->name,
			      (unsigned long long)field);
	*section = t.section;
	*offset = (uint64_t)t.offset;
	return true;
}

bool whole_records(struct module *m, const struct section *s, uint64_t size)
{
	if (s->hdr.sh_type == SHT_NOBITS || s->hdr.sh_size % size)
		return refuse(m, file_at(s, 0), "%s: 0x%llx bytes are no whole records of %llu",
			      s->name, (unsigned long long)s->hdr.sh_size,
			      (unsigned long long)size);
	return true;
}

/* struct jump_entry { s32 code, target; s64 key; }: code is a NOP or a jump to target. */
static bool read_jump_labels(struct module *m, const struct section *s)
{
	if (!whole_records(m, s, 16))
		return false;
	for (uint64_t at = 0; at < s->hdr.sh_size; at += 16) {
		struct patch_site *p = vec_add(&m->sites, sizeof(*p), 1);
		const struct section *code;
		const struct insn *in;
		int64_t distance;

		if (!code_place(m, s, at, R_X86_64_PC32, &p->section, &p->offset) ||
		    !code_place(m, s, at + 4, R_X86_64_PC32, &p->target_section, &p->target))
			return false;
		code = &m->sections[p->section];
		in = insn_at(code, p->offset);
		if (in->length != 2 && in->length != 5)
			return refuse(m, file_at(code, p->offset),
				      "%s+0x%llx: a jump label of %u bytes", code->name,
				      (unsigned long long)p->offset, in->length);
		p->size = in->length;
		if (section_is_init(code) != section_is_init(&m->sections[p->target_section]))
			return refuse(m, file_at(s, at),
				      "%s+0x%llx: a jump label between init and other code",
				      s->name, (unsigned long long)at);
		distance = (int64_t)p->target - (int64_t)(p->offset + p->size);
		if (p->size == 2 &&
		    (p->section != p->target_section || distance < INT8_MIN || distance > INT8_MAX))
			return refuse(m, file_at(s, at),
				      "%s+0x%llx: a short jump label that cannot reach its target",
				      s->name, (unsigned long long)at);
	}
	return true;
}

#define EX_TYPE_MASK 0xffu
#define EX_REG_SHIFT 8

/* Registers that the kernel's handler for this type of entry sets: bit n is GPR n. */
static bool fixup_registers(uint32_t data, uint32_t *regs)
{
	const uint32_t rax = 1u << 0, rdx = 1u << 2, rsp = 1u << 4;
	const uint32_t named = 1u << (data >> EX_REG_SHIFT & 15);

	switch (data & EX_TYPE_MASK) {
	case 1: /* DEFAULT */
	case 3: /* UACCESS */
	case 14: /* DEFAULT_MCE_SAFE */ *regs = 0; return true;
	case 2: /* FAULT */
	case 15: /* FAULT_MCE_SAFE */ *regs = rax; return true;
	case 8: /* WRMSR */ *regs = 0; return true;
	case 9: /* RDMSR */ *regs = rax | rdx; return true;
	case 11: /* RDMSR_SAFE: the register of the error code is named in the entry */
		*regs = rax | rdx | named;
		return named != rsp;
	case 10: /* WRMSR_SAFE: so it is here */
	case 17: /* IMM_REG */ *regs = named; return named != rsp;
	default: return false;
	}
}

/* struct exception_table_entry { s32 insn, fixup; u32 data; } */
static bool read_ex_table(struct module *m, const struct section *s)
{
	if (!whole_records(m, s, 12))
		return false;
	for (uint64_t at = 0; at < s->hdr.sh_size; at += 12) {
		struct fixup *f = vec_add(&m->fixups, sizeof(*f), 1);
		uint32_t data;

		f->kind = GM_FIXUP_EXTABLE;
		if (!code_place(m, s, at, R_X86_64_PC32, &f->section, &f->offset) ||
		    !code_place(m, s, at + 4, R_X86_64_PC32, &f->target_section, &f->target))
			return false;
		memcpy(&data, s->data + at + 8, 4);
		if (rel_at(s, at + 8) || !fixup_registers(data, &f->regs))
			return refuse(m, file_at(s, at + 8),
				      "%s+0x%llx: exception fixup type %u is not known", s->name,
				      (unsigned long long)at + 8, data & EX_TYPE_MASK);
	}
	return true;
}

/* struct bug_entry { s32 bug_addr, file; u16 line, flags; }: flag 1 is a WARN, which returns. */
static bool read_bug_table(struct module *m, const struct section *s)
{
	if (!whole_records(m, s, 12))
		return false;
	for (uint64_t at = 0; at < s->hdr.sh_size; at += 12) {
		struct fixup f = { .kind = GM_FIXUP_WARN };
		const struct section *code;
		uint16_t flags;

		if (!code_place(m, s, at, R_X86_64_PC32, &f.section, &f.offset))
			return false;
		code = &m->sections[f.section];
		if (insn_at(code, f.offset)->kind != INSN_UD2)
			return refuse(m, file_at(code, f.offset), "%s+0x%llx: %s says ud2 here",
				      code->name, (unsigned long long)f.offset, s->name);
		memcpy(&flags, s->data + at + 10, 2);
		if (!(flags & 1))
			continue; /* BUG: never continues */
		f.target_section = f.section;
		f.target = f.offset + 2;
		*(struct fixup *)vec_add(&m->fixups, sizeof(f), 1) = f;
	}
	return true;
}

static int by_site(const void *a, const void *b)
{
	const struct patch_site *x = a, *y = b;

	if (x->section != y->section)
		return x->section < y->section ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int by_fixup(const void *a, const void *b)
{
	const struct fixup *x = a, *y = b;

	if (x->section != y->section)
		return x->section < y->section ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* One continuation for one instruction; one pair of contents for one site. */
static bool unique(struct module *m)
{
	struct patch_site *p = m->sites.data;
	struct fixup *f = m->fixups.data;

	if (m->sites.count)
		qsort(p, m->sites.count, sizeof(*p), by_site);
	if (m->fixups.count)
		qsort(f, m->fixups.count, sizeof(*f), by_fixup);
	for (size_t i = 1; i < m->sites.count; i++)
		if (p[i].section == p[i - 1].section &&
		    p[i].offset - p[i - 1].offset < p[i - 1].size)
			return refuse(m, file_at(&m->sections[p[i].section], p[i].offset),
				      "%s+0x%llx: two patched places overlap",
				      m->sections[p[i].section].name,
				      (unsigned long long)p[i].offset);
	for (size_t i = 1; i < m->fixups.count; i++)
		if (f[i].section == f[i - 1].section && f[i].offset == f[i - 1].offset)
			return refuse(m, file_at(&m->sections[f[i].section], f[i].offset),
				      "%s+0x%llx: two fixups of one instruction",
				      m->sections[f[i].section].name,
				      (unsigned long long)f[i].offset);
	return true;
}

/* Empties what must not be patched: no contents, no relocations, no alignment to fill. */
static bool empty_tables(struct module *m)
{
	for (uint32_t i = 1; i < m->nsections; i++) {
		struct section *s = &m->sections[i];

		if (s->role != ROLE_EMPTIED)
			continue;
		s->hdr.sh_size = 0;
		s->hdr.sh_addralign = 1;
		s->nrels = 0;
		if (s->rela)
			m->sections[s->rela].hdr.sh_size = 0;
	}
	for (uint32_t i = 1; i < m->nsymbols; i++) {
		const Elf64_Sym *y = &m->symbols[i].sym;

		if (y->st_shndx && y->st_shndx < m->elf.nsections &&
		    y->st_value > m->sections[y->st_shndx].hdr.sh_size)
			return refuse(m, elfile_symbol_at(&m->elf, i),
				      "symbol %s names a place in %s, which is emptied",
				      m->symbols[i].name, m->sections[y->st_shndx].name);
	}
	return true;
}

bool tables_read(struct module *m)
{
	static const struct {
		const char *name;
		bool (*read)(struct module *m, const struct section *s);
	} tables[] = {
		{ "__jump_table", read_jump_labels },	{ "__ex_table", read_ex_table },
		{ "__bug_table", read_bug_table },	{ ".altinstructions", alternatives_read },
		{ ".parainstructions", paravirt_read },
	};

	for (uint32_t i = 1; i < m->nsections; i++)
		for (size_t k = 0; k < sizeof(tables) / sizeof(tables[0]); k++)
			if ((m->sections[i].role == ROLE_TABLE ||
			     m->sections[i].role == ROLE_EMPTIED) &&
			    strcmp(m->sections[i].name, tables[k].name) == 0 &&
			    !tables[k].read(m, &m->sections[i]))
				return false;
	return (!m->opt->views || views_sites(m)) && unique(m) && empty_tables(m);
}
