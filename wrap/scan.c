// SPDX-License-Identifier: GPL-2.0-only
/*
 * What every relocation leads to, and where it shall lead in the wrapped module (spec 3, "Gates").
 *
 *   branch to an import            its leave gate
 *   branch to a thunk              this module's own thunk
 *   a function's address as data   its enter gate: for the kernel and for the module's own use
 *                                  alike, so that comparisons stay true
 *   data, own labels               unchanged
 *
 * Whatever fits none of these is refused with the file offset of its relocation.
 */
#include "wrap/module.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum thunk_kind { THUNK_NONE, THUNK_INDIRECT, THUNK_RETURN, THUNK_FENTRY, THUNK_UNKNOWN };

static const char *const gpr_names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					   "r8",  "r9",	 "r10", "r11", "r12", "r13", "r14", "r15" };

bool indirect_thunk(const char *name, unsigned *reg)
{
	static const char prefix[] = "__x86_indirect_thunk_";

	if (strncmp(name, prefix, sizeof(prefix) - 1) == 0)
		for (*reg = 0; *reg < 16; (*reg)++)
			if (*reg != 4 && strcmp(name + sizeof(prefix) - 1, gpr_names[*reg]) == 0)
				return true;
	return false;
}

static enum thunk_kind thunk_of(const char *name, unsigned *reg)
{
	if (strcmp(name, "__x86_return_thunk") == 0)
		return THUNK_RETURN;
	if (strcmp(name, "__fentry__") == 0)
		return THUNK_FENTRY;
	if (indirect_thunk(name, reg))
		return THUNK_INDIRECT;
	/* memory forms, call-depth variants: none that we have a replacement for */
	if (strncmp(name, "__x86_", 6) == 0)
		return THUNK_UNKNOWN;
	return THUNK_NONE;
}

static bool is_pcrel(uint32_t type)
{
	return type == R_X86_64_PC32 || type == R_X86_64_PLT32 || type == R_X86_64_PC64;
}

bool rel_resolve(struct module *m, const struct section *s, const struct rel *r,
		 struct rel_target *t)
{
	const Elf64_Sym *y = &m->symbols[r->sym].sym;
	int64_t correction = 0;

	*t = (struct rel_target){ .pcrel = is_pcrel(r->type) };
	if (r->sym == 0 || y->st_shndx >= SHN_LORESERVE)
		return refuse(m, r->file, "%s+0x%llx: relocation to an absolute address", s->name,
			      (unsigned long long)r->offset);
	if (s->role == ROLE_TRAMP && t->pcrel) {
		correction = (int64_t)rel_width(r->type); /* the field ends its jump */
	} else if (section_is_code(s)) {
		const struct insn *in = insn_around(s, r->offset);

		if (!in || r->offset + rel_width(r->type) > (uint64_t)in->offset + in->length)
			return refuse(m, r->file, "%s+0x%llx: relocation across instructions",
				      s->name, (unsigned long long)r->offset);
		if (t->pcrel)
			correction = (int64_t)(in->offset + in->length - r->offset);
	}
	if (r->addend > INT32_MAX || r->addend < INT32_MIN)
		return refuse(m, r->file, "%s+0x%llx: addend %lld is out of range", s->name,
			      (unsigned long long)r->offset, (long long)r->addend);
	t->offset = r->addend + correction;
	if (y->st_shndx == SHN_UNDEF) {
		t->sym = r->sym;
		return true;
	}
	t->section = y->st_shndx;
	t->offset += (int64_t)y->st_value;
	return true;
}

static void take(struct module *m, uint32_t function, const char *why, uint64_t at)
{
	struct function *f = &m->functions[function];
	struct entry *e;

	if (f->entry != WRAP_NONE)
		return;
	f->entry = (uint32_t)m->entries.count;
	e = vec_add(&m->entries, sizeof(*e), 1);
	e->function = function;
	e->gate = WRAP_NONE;
	e->flags = (f->init ? GM_ENTRY_INIT : 0) | (f->exit ? GM_ENTRY_EXIT : 0);
	/* a callback that is only called while init runs: its memory is freed then */
	if (!f->init && section_is_init(&m->sections[f->section]))
		e->flags |= GM_ENTRY_INIT_CALL;
	e->why = why;
	e->why_at = at;
}

/* Tables that hold code addresses which are places, not things to call. */
static bool holds_places(const struct section *s)
{
	return s->role == ROLE_TABLE && strncmp(s->name, "__ksymtab", 9) != 0 &&
	       strcmp(s->name, "__param") != 0 && strcmp(s->name, ".gnu.linkonce.this_module") != 0;
}

/* Without a choice by the developer, whatever has its address taken is an entry. */
static bool may_enter(const struct module *m, uint32_t function)
{
	const struct function *f = &m->functions[function];

	return !m->opt->entries || f->chosen || f->init || f->exit;
}

/* Finds the functions of --entries. */
static bool choose_entries(struct module *m)
{
	for (size_t n = 0; n < m->opt->entries_count; n++) {
		bool found = false;

		for (uint32_t i = 1; i < m->nsymbols; i++) {
			const struct symbol *y = &m->symbols[i];
			uint32_t f;

			if (ELF64_ST_TYPE(y->sym.st_info) != STT_FUNC ||
			    strcmp(y->name, m->opt->entries[n]) != 0)
				continue;
			f = function_at(m, y->sym.st_shndx, y->sym.st_value);
			if (f == WRAP_NONE)
				continue;
			m->functions[f].chosen = 1;
			found = true;
		}
		if (!found)
			return refuse(m, m->elf.eh.e_shoff, "no function %s to be an entry",
				      m->opt->entries[n]);
	}
	return true;
}

/*
 * A place of a function as an operand of the same function: a number for messages (_THIS_IP_).
 * It stays as it is, and nothing that jumps there is judged otherwise for it.
 */
static bool is_own_label(const struct module *m, const struct section *s, const struct rel *r,
			 const struct rel_target *t)
{
	uint32_t section = (uint32_t)(s - m->sections), f;

	if (s->role != ROLE_TEXT || t->section != section || t->offset < 0 ||
	    !insn_at(s, (uint64_t)t->offset))
		return false;
	f = function_around(m, section, r->offset);
	return f != WRAP_NONE && f == function_around(m, section, (uint64_t)t->offset);
}

/* The function whose address a relocation takes; WRAP_NONE: it does not; refused: false. */
static bool taken_function(struct module *m, const struct section *s, const struct rel *r,
			   const struct rel_target *t, uint32_t *function)
{
	*function = WRAP_NONE;
	if (!t->section || m->sections[t->section].role != ROLE_TEXT || holds_places(s))
		return true;
	if (t->offset >= 0)
		*function = function_at(m, t->section, (uint64_t)t->offset);
	if (*function == WRAP_NONE && (is_own_label(m, s, r, t) || in_jump_table(m, s, r->offset)))
		return true;
	if (*function == WRAP_NONE)
		return refuse(m, r->file,
			      "%s+0x%llx: address of %s+0x%llx, which is no function's start "
			      "(a jump table? compile with -fno-jump-tables)",
			      s->name, (unsigned long long)r->offset, m->sections[t->section].name,
			      (unsigned long long)t->offset);
	/* what a label leads to is for the code that computes with it to know: fastops in kvm */
	if (s->role != ROLE_TRAMP && m->symbols[r->sym].sym.st_name &&
	    ELF64_ST_TYPE(m->symbols[r->sym].sym.st_info) == STT_NOTYPE)
		return refuse(m, r->file,
			      "%s+0x%llx: address of %s, a label in code that is no function",
			      s->name, (unsigned long long)r->offset, m->symbols[r->sym].name);
	if (section_is_code(s)) {
		const struct insn *in = insn_around(s, r->offset);

		if (t->pcrel && (in->kind != INSN_LEA || r->offset != in->offset + in->field))
			return refuse(m, r->file, "%s+0x%llx: code is read as data", s->name,
				      (unsigned long long)r->offset);
	} else if (r->type != R_X86_64_64 && s->role != ROLE_TRAMP &&
		   !(strncmp(s->name, "__ksymtab", 9) == 0 && r->type == R_X86_64_PC32)) {
		return refuse(m, r->file, "%s+0x%llx: relocation type %u to a function", s->name,
			      (unsigned long long)r->offset, r->type);
	}
	if (!may_enter(m, *function))
		*function = WRAP_NONE;
	return true;
}

static bool is_branch(const struct section *s, const struct rel *r)
{
	const struct insn *in;

	if (!section_is_code(s))
		return false;
	in = insn_around(s, r->offset);
	return (in->kind == INSN_CALL || in->kind == INSN_JMP || in->kind == INSN_JCC) &&
	       r->offset == in->offset + in->field && in->field;
}

static bool plan_branch(struct module *m, const struct section *s, const struct rel *r,
			const struct rel_target *t)
{
	bool call = insn_around(s, r->offset)->kind == INSN_CALL;
	const char *name = m->symbols[r->sym].name;
	unsigned reg = 0;
	int inner;

	if (r->type != R_X86_64_PC32 && r->type != R_X86_64_PLT32)
		return refuse(m, r->file, "%s+0x%llx: branch by relocation type %u", s->name,
			      (unsigned long long)r->offset, r->type);
	if (t->section && t->section == m->tramp_section) {
		uint32_t n = t->offset < 0 ? WRAP_NONE : tramp_at(m, (uint64_t)t->offset);
		struct tramp *tramp = (struct tramp *)m->tramps.data + n;

		if (n == WRAP_NONE)
			return refuse(m, r->file,
				      "%s+0x%llx: branch into the middle of a trampoline", s->name,
				      (unsigned long long)r->offset);
		*(call ? &tramp->calls : &tramp->jumps) += 1;
		return true;
	}
	if (t->section) {
		if (m->sections[t->section].role != ROLE_TEXT || t->offset < 0 ||
		    (uint64_t)t->offset > m->sections[t->section].hdr.sh_size)
			return refuse(m, r->file, "%s+0x%llx: branch to something that is no code",
				      s->name, (unsigned long long)r->offset);
		return true;
	}
	if (t->offset != 0)
		return refuse(m, r->file, "%s+0x%llx: branch into the middle of %s", s->name,
			      (unsigned long long)r->offset, name);
	/* unwrapped: the kernel's own, imports like any other */
	switch (thunk_of(name, &reg)) {
	case THUNK_INDIRECT:
		m->thunk_regs |= 1u << reg;
		*(call ? &m->thunk_calls : &m->thunk_jumps) += 1;
		if (m->opt->views)
			break;
		return true;
	case THUNK_RETURN:
		m->return_thunks++;
		if (m->opt->views)
			break;
		return true;
	case THUNK_FENTRY:
		m->fentries++;
		if (m->opt->views)
			break;
		return true;
	case THUNK_UNKNOWN:
		return refuse(m, r->file, "%s+0x%llx: thunk %s has no replacement", s->name,
			      (unsigned long long)r->offset, name);
	case THUNK_NONE: break;
	}
	inner = gates_inner(m, name);
	if (inner >= 0) {
		*(call ? &m->inner[inner].calls : &m->inner[inner].jumps) += 1;
		return true;
	}
	m->imports[r->sym].sym = r->sym;
	*(call ? &m->imports[r->sym].calls : &m->imports[r->sym].jumps) += 1;
	return true;
}

static bool plan_section(struct module *m, const struct section *s)
{
	for (size_t i = 0; i < s->nrels; i++) {
		const struct rel *r = &s->rels[i];
		struct rel_target t;
		uint32_t f;
		unsigned reg;

		if (!rel_resolve(m, s, r, &t))
			return false;
		if (is_branch(s, r)) {
			if (!plan_branch(m, s, r, &t))
				return false;
			continue;
		}
		if (t.section) {
			if (!taken_function(m, s, r, &t, &f))
				return false;
			if (f != WRAP_NONE)
				take(m, f, s->name, r->offset);
			else if (m->opt->entries && m->sections[t.section].role == ROLE_TEXT &&
				 !holds_places(s))
				m->raw_pointers++;
			continue;
		}
		if (s->role != ROLE_TRAMP && thunk_of(m->symbols[r->sym].name, &reg) != THUNK_NONE)
			return refuse(m, r->file, "%s+0x%llx: address of %s taken", s->name,
				      (unsigned long long)r->offset, m->symbols[r->sym].name);
		if (section_verified(s)) {
			m->imports[r->sym].sym = r->sym;
			m->imports[r->sym].data++;
		}
	}
	return true;
}

static int by_function(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return x->function < y->function ? -1 : x->function > y->function;
}

bool scan_plan(struct module *m)
{
	struct entry *e;

	if (!choose_entries(m))
		return false;
	for (uint32_t i = 1; i < m->nsections; i++)
		if (section_loaded(&m->sections[i]) && !plan_section(m, &m->sections[i]))
			return false;
	/* without Linux' struct module, a loader finds entries by their global names */
	for (uint32_t i = 0; i < m->nfunctions; i++)
		if (m->functions[i].chosen)
			take(m, i, "--entries", m->functions[i].value);
	for (uint32_t i = 0; i < m->nfunctions && !m->linux_module; i++)
		if (m->functions[i].global && may_enter(m, i) &&
		    m->sections[m->functions[i].section].role == ROLE_TEXT)
			take(m, i, "global symbol", m->functions[i].value);
	e = m->entries.data;
	if (m->entries.count)
		qsort(e, m->entries.count, sizeof(*e), by_function);
	for (uint32_t i = 0; i < m->entries.count; i++)
		m->functions[e[i].function].entry = i;
	return true;
}

static void point(struct rel *r, uint32_t sym, int64_t addend)
{
	r->sym = sym;
	r->addend = addend;
}

static bool retarget_section(struct module *m, struct section *s)
{
	const struct entry *entries = m->entries.data;

	for (size_t i = 0; i < s->nrels; i++) {
		struct rel *r = &s->rels[i];
		struct rel_target t;
		int64_t correction;
		uint32_t f;
		unsigned reg = 0;
		const struct jump_table *table;
		int inner;

		if (!rel_resolve(m, s, r, &t))
			return false;
		/* what rel_resolve() added to the addend */
		correction = t.offset - r->addend -
			     (t.section ? (int64_t)m->symbols[r->sym].sym.st_value : 0);
		if (is_branch(s, r)) {
			if (t.section && t.section == m->tramp_section) {
				const struct tramp *tramps = m->tramps.data;

				point(r, m->gates_sym,
				      (int64_t)tramps[tramp_at(m, (uint64_t)t.offset)].gate *
						      GM_GATE_BYTES -
					      correction);
				continue;
			}
			if (t.section)
				continue;
			switch (thunk_of(m->symbols[r->sym].name, &reg)) {
			case THUNK_INDIRECT:
				table = jump_table_of(m, s, insn_around(s, r->offset)->offset);
				point(r, m->thunks_sym,
				      (int64_t)(table ? table->thunk : m->thunk[reg]) - correction);
				break;
			case THUNK_RETURN:
			case THUNK_FENTRY:
				point(r, m->thunks_sym, (int64_t)m->ret_thunk - correction);
				break;
			default:
				inner = gates_inner(m, m->symbols[r->sym].name);
				if (inner >= 0) {
					point(r, m->thunks_sym,
					      (int64_t)m->inner[inner].offset - correction);
					break;
				}
				point(r, m->gates_sym,
				      (int64_t)m->imports[r->sym].gate * GM_GATE_BYTES -
					      correction);
				break;
			}
			continue;
		}
		if (section_is_code(s)) {
			uint32_t op = pv_op_at(m, s, r->offset);

			if (op != WRAP_NONE) {
				point(r, m->rodata_sym, (int64_t)op * 8 - correction);
				continue;
			}
		}
		if (!taken_function(m, s, r, &t, &f))
			return false;
		if (f != WRAP_NONE)
			point(r, m->gates_sym,
			      (int64_t)entries[m->functions[f].entry].gate * GM_GATE_BYTES -
				      correction);
	}
	return true;
}

bool scan_retarget(struct module *m)
{
	for (uint32_t i = 1; i < m->nsections; i++)
		if (section_loaded(&m->sections[i]) && i != m->gates_section &&
		    i != m->thunks_section && i != m->rodata_section &&
		    !retarget_section(m, &m->sections[i]))
			return false;
	return true;
}
