// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module for `views` mode stays as it is: no gate, no thunk, every byte the maker's. So nothing
 * hides its tables of patches from the kernel, and what the kernel writes because of them has to be
 * among a site's legal contents. What cannot be described so is refused here.
 *
 * Layouts are those of Linux 6.1 on x86-64: include/linux/static_call_types.h, objtool's sections
 * of 32-bit distances, and __mcount_loc's plain addresses.
 */
#include "wrap/module.h"

#include <string.h>

bool views_possible(struct module *m)
{
	for (uint32_t i = 1; i < m->nsections; i++) {
		const struct section *s = &m->sections[i];

		if (!section_loaded(s) || !s->hdr.sh_size)
			continue;
		if (s->role == ROLE_TRAMP)
			return refuse(m, file_at(s, 0),
				      "%s: trampolines that the kernel patches lie among code: "
				      "not without gates",
				      s->name);
		if (strcmp(s->name, ".parainstructions") == 0)
			return refuse(m, file_at(s, 0),
				      "%s: the kernel writes code of its own over these places: "
				      "not without gates",
				      s->name);
		if (s->role == ROLE_PRIVATE &&
		    (s->hdr.sh_addralign != GM_PAGE || s->hdr.sh_size % GM_PAGE))
			return refuse(
				m, file_at(s, 0),
				"private section %s is not whole pages (0x%llx bytes, aligned "
				"to 0x%llx): without gates nothing can be moved",
				s->name, (unsigned long long)s->hdr.sh_size,
				(unsigned long long)s->hdr.sh_addralign);
	}
	return true;
}

bool views_no_jump_tables(struct module *m)
{
	const struct jump_table *j = m->jump_tables.data;

	if (!m->jump_tables.count)
		return true;
	return refuse(
		m, file_at(&m->sections[j->section], j->at),
		"%s+0x%llx: a jump through a table by the kernel's thunk, which would have to "
		"come back to a place that is no entry: not without gates",
		m->sections[j->section].name, (unsigned long long)j->at);
}

/* The import that the branch at the site leads to; NULL: it is none. */
static const char *leads_to(const struct module *m, const struct patch_site *p)
{
	const struct section *s = &m->sections[p->section];
	const struct insn *in = insn_at(s, p->offset);
	const struct rel *r = rel_at(s, p->offset + in->field);

	if (!r || (in->kind != INSN_CALL && in->kind != INSN_JMP) ||
	    m->symbols[r->sym].sym.st_shndx != SHN_UNDEF || r->addend != -4)
		return NULL;
	return m->symbols[r->sym].name;
}

static bool is_expected(const struct module *m, const struct patch_site *p, const char *to)
{
	const struct insn *in = insn_at(&m->sections[p->section], p->offset);
	unsigned reg;

	/* a prefix fills calls of the thunks of R8 to R15 up to the size of their replacement */
	if (!to || (p->size != 5 && (p->patch != PATCH_THUNK || p->size != 6)))
		return false;
	switch (p->patch) {
	case PATCH_FENTRY: return in->kind == INSN_CALL && strcmp(to, "__fentry__") == 0;
	case PATCH_RETURN: return in->kind == INSN_JMP && strcmp(to, "__x86_return_thunk") == 0;
	case PATCH_THUNK: return indirect_thunk(to, &reg);
	default: return strncmp(to, "__SCT__", 7) == 0;
	}
}

static bool add_site(struct module *m, const struct section *s, uint64_t at, enum patch patch)
{
	uint32_t type = patch == PATCH_FENTRY ? R_X86_64_64 : R_X86_64_PC32;
	struct patch_site p = { .patch = (uint8_t)patch };

	if (!code_place(m, s, at, type, &p.section, &p.offset))
		return false;
	p.size = insn_at(&m->sections[p.section], p.offset)->length;
	if (!is_expected(m, &p, leads_to(m, &p)))
		return refuse(m, file_at(s, at),
			      "%s+0x%llx: names %s+0x%llx, which is not the branch that belongs "
			      "there",
			      s->name, (unsigned long long)at, m->sections[p.section].name,
			      (unsigned long long)p.offset);
	*(struct patch_site *)vec_add(&m->sites, sizeof(p), 1) = p;
	return true;
}

bool views_sites(struct module *m)
{
	static const struct {
		const char *name;
		uint32_t record;
		enum patch patch;
	} tables[] = {
		{ "__mcount_loc", 8, PATCH_FENTRY },
		{ ".return_sites", 4, PATCH_RETURN },
		{ ".retpoline_sites", 4, PATCH_THUNK },
		{ ".static_call_sites", 8, PATCH_STATIC },
	};

	for (size_t k = 0; k < sizeof(tables) / sizeof(tables[0]); k++) {
		const struct section *s = &m->sections[section_named(m, tables[k].name)];

		if (s->role != ROLE_TABLE || !s->hdr.sh_size)
			continue;
		if (!whole_records(m, s, tables[k].record))
			return false;
		for (uint64_t at = 0; at < s->hdr.sh_size; at += tables[k].record)
			if (!add_site(m, s, at, tables[k].patch))
				return false;
	}
	return true;
}

unsigned views_direct(const struct module *m, const struct patch_site *p, uint8_t out[3])
{
	bool call = insn_at(&m->sections[p->section], p->offset)->kind == INSN_CALL;
	unsigned reg = 0, n = 0;

	indirect_thunk(leads_to(m, p), &reg); /* is_expected() saw that it is one */
	if (reg >= 8)
		out[n++] = 0x41;
	out[n++] = 0xff;
	out[n++] = (uint8_t)((call ? 0xd0 : 0xe0) | (reg & 7));
	return n;
}
