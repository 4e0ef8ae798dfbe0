// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes the wrapped object: every original section keeps its index and its contents, but for
 * relocations that were retargeted, tables that were emptied and private contents; new sections,
 * symbols and names come behind. What follows the original's last section header or section (a
 * signature, which no longer fits) is left out.
 */
#include "wrap/module.h"

#include <stdlib.h>
#include <string.h>

/* A table made anew: its bytes, owned by its section from then on. */
static void replace(struct section *s, struct vec *bytes)
{
	free(s->own);
	s->own = bytes->data ? bytes->data : wrap_alloc(1, 1);
	s->data = s->own;
	s->hdr.sh_size = bytes->count;
}

static uint32_t add_name(struct vec *names, const char *name)
{
	uint32_t at = (uint32_t)names->count;
	size_t n = strlen(name) + 1;

	memcpy(vec_add(names, 1, n), name, n);
	return at;
}

/*
 * The relocation section of one that we made or changed. An original one keeps its order, and the
 * records that say nothing.
 */
static void make_rela(struct module *m, uint32_t target)
{
	struct section *s = &m->sections[target], *rs = &m->sections[s->rela];
	bool original = rs->data != NULL;
	struct vec bytes = { 0 };

	if (original && rs->hdr.sh_size)
		memcpy(vec_add(&bytes, 1, rs->hdr.sh_size), rs->data, rs->hdr.sh_size);
	for (size_t i = 0; i < s->nrels; i++) {
		Elf64_Rela r = { .r_offset = s->rels[i].offset,
				 .r_info = ELF64_R_INFO((uint64_t)s->rels[i].sym, s->rels[i].type),
				 .r_addend = s->rels[i].addend };

		if (original && bytes.data && s->rels[i].file)
			memcpy((uint8_t *)bytes.data + (s->rels[i].file - rs->file), &r, sizeof(r));
		else
			memcpy(vec_add(&bytes, 1, sizeof(r)), &r, sizeof(r));
	}
	replace(rs, &bytes);
}

static void add_rela_section(struct module *m, uint32_t target, const char *name)
{
	uint32_t index = object_add_section(m, name, SHT_RELA, SHF_INFO_LINK, 8);
	struct section *rs = &m->sections[index];

	rs->hdr.sh_entsize = sizeof(Elf64_Rela);
	rs->hdr.sh_link = m->symtab;
	rs->hdr.sh_info = target;
	m->sections[target].rela = index;
}

static void make_symtab(struct module *m, uint32_t first_new)
{
	struct section *st = &m->sections[m->symtab];
	struct section *str = &m->sections[st->hdr.sh_link];
	struct vec names = { 0 }, syms = { 0 };

	memcpy(vec_add(&names, 1, str->hdr.sh_size), str->data, str->hdr.sh_size);
	for (uint32_t i = 0; i < m->nsymbols; i++) {
		Elf64_Sym y = m->symbols[i].sym;

		if (i >= first_new)
			y.st_name = add_name(&names, m->symbols[i].name);
		memcpy(vec_add(&syms, 1, sizeof(y)), &y, sizeof(y));
	}
	replace(str, &names);
	replace(st, &syms);
}

static void make_section_names(struct module *m, uint32_t first_new)
{
	struct section *str = &m->sections[m->elf.eh.e_shstrndx];
	struct vec names = { 0 };

	memcpy(vec_add(&names, 1, str->hdr.sh_size), str->data, str->hdr.sh_size);
	for (uint32_t i = first_new; i < m->nsections; i++)
		m->sections[i].hdr.sh_name = add_name(&names, m->sections[i].name);
	replace(str, &names);
}

/* The initial contents of private memory are the guard's business; a NOP module has no guard. */
static void hide_private(struct module *m, struct section *s)
{
	if (s->role != ROLE_PRIVATE || !s->data || m->opt->x == GM_X_NOP)
		return;
	free(s->own);
	s->own = wrap_alloc(s->hdr.sh_size, 1);
	s->data = s->own;
}

/* m is spent afterwards: private contents are gone, tables are replaced. */
bool write_elf(struct module *m, struct blob *out)
{
	uint32_t old_sections = m->elf.nsections, old_symbols = m->elf.nsymbols;
	struct elfile_part *parts;
	bool ok;

	add_rela_section(m, m->thunks_section, ".rela.guard.text");
	add_rela_section(m, m->gates_section, ".rela.guard.gates");
	if (m->tramp_section)
		add_rela_section(m, m->tramp_section, ".rela.guard.static_call");
	if (m->rodata_section)
		add_rela_section(m, m->rodata_section, ".rela.guard.rodata");
	for (uint32_t i = 1; i < m->nsections; i++)
		if (m->sections[i].rela && section_loaded(&m->sections[i]))
			make_rela(m, i);
	make_symtab(m, old_symbols);
	make_section_names(m, old_sections);

	parts = wrap_alloc(m->nsections, sizeof(*parts));
	for (uint32_t i = 0; i < m->nsections; i++) {
		hide_private(m, &m->sections[i]);
		parts[i] = (struct elfile_part){ &m->sections[i].hdr, m->sections[i].data };
	}
	ok = elfile_write(m->path, &m->elf.eh, NULL, parts, m->nsections, out, m->err);
	free(parts);
	return ok;
}
