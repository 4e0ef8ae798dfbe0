// SPDX-License-Identifier: GPL-2.0-only
/*
 * A relocatable object as the later steps see it. What any ELF file must hold, lib/elf.c has
 * judged; here it is what a module must hold. Nothing behind these two looks at an offset, index or
 * string of the input that was not proved to lie inside it.
 */
#include "wrap/module.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *wrap_alloc(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size ? size : 1);

	if (!p) {
		fprintf(stderr, "guardhouse: out of memory\n");
		exit(2);
	}
	return p;
}

void *vec_add(struct vec *v, size_t size, size_t n)
{
	void *first;

	v->size = size;
	if (v->count + n > v->room) {
		size_t room = v->room ? v->room * 2 : 16;
		void *grown;

		while (room < v->count + n)
			room *= 2;
		grown = wrap_alloc(room, size);
		if (v->count)
			memcpy(grown, v->data, v->count * size);
		free(v->data);
		v->data = grown;
		v->room = room;
	}
	first = (uint8_t *)v->data + v->count * size;
	v->count += n;
	return first;
}

void vec_free(struct vec *v)
{
	free(v->data);
	*v = (struct vec){ 0 };
}

bool refuse(struct module *m, uint64_t file_offset, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_at(m->err, m->path, file_offset, fmt, ap);
	va_end(ap);
	return false;
}

uint64_t file_at(const struct section *s, uint64_t offset)
{
	return s->file + (s->hdr.sh_type == SHT_NOBITS ? 0 : offset);
}

/* libelf's view of it as the later steps want it: their contents are what they may change. */
static bool read_sections(struct module *m)
{
	m->nsections = m->elf.nsections;
	m->sections = wrap_alloc(m->nsections, sizeof(*m->sections));
	for (uint32_t i = 0; i < m->nsections; i++) {
		struct section *s = &m->sections[i];

		elfile_section(&m->elf, i, &s->hdr);
		s->segment = WRAP_NONE;
		s->name = i ? elfile_section_name(&m->elf, i) : "";
		if (s->hdr.sh_type == SHT_NULL)
			continue;
		if (s->hdr.sh_type == SHT_NOBITS &&
		    s->hdr.sh_size > (uint64_t)GM_MAX_PAGES * GM_PAGE)
			return refuse(m, elfile_section_at(&m->elf, i),
				      "section %u of 0x%llx bytes: more than a module has", i,
				      (unsigned long long)s->hdr.sh_size);
		s->file = s->hdr.sh_offset;
		s->data = elfile_contents(&m->elf, i);
	}
	return true;
}

/* Names go into manifests, logs and messages as they are. */
static bool printable(const char *s)
{
	size_t n = 0;

	for (; s[n]; n++)
		if ((unsigned char)s[n] < 0x20 || (unsigned char)s[n] > 0x7e || n >= 4096)
			return false;
	return true;
}

static bool read_symbols(struct module *m)
{
	m->symtab = m->elf.symtab;
	m->nsymbols = m->elf.nsymbols;
	if (!m->nsymbols)
		return refuse(m, m->elf.eh.e_shoff, "no symbol table, or an empty one");
	m->symbols = wrap_alloc(m->nsymbols, sizeof(*m->symbols));
	for (uint32_t i = 0; i < m->nsymbols; i++) {
		struct symbol *y = &m->symbols[i];
		uint64_t at = elfile_symbol_at(&m->elf, i);

		elfile_symbol(&m->elf, i, &y->sym);
		y->name = elfile_symbol_name(&m->elf, &y->sym);
		if (y->sym.st_shndx != SHN_UNDEF && y->sym.st_shndx < SHN_LORESERVE &&
		    y->sym.st_value > m->sections[y->sym.st_shndx].hdr.sh_size)
			return refuse(m, at, "symbol %s lies behind its section's end", y->name);
		if (y->sym.st_shndx == SHN_COMMON)
			return refuse(m, at, "common symbol %s (compile with -fno-common)",
				      y->name);
		if (!printable(y->name))
			return refuse(m, at, "symbol %u: its name is not printable, or too long",
				      i);
	}
	return true;
}

/* 0: a type that the toolchain does not know. */
unsigned rel_width(uint32_t type)
{
	switch (type) {
	case R_X86_64_64:
	case R_X86_64_PC64: return 8;
	case R_X86_64_PC32:
	case R_X86_64_PLT32:
	case R_X86_64_32:
	case R_X86_64_32S: return 4;
	default: return 0;
	}
}

static int by_offset(const void *a, const void *b)
{
	const struct rel *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Relocations of sections that a kernel would load; the others' stay untouched bytes. */
static bool read_relocations(struct module *m, uint32_t index)
{
	struct section *rs = &m->sections[index], *s;
	uint64_t at = elfile_section_at(&m->elf, index);
	struct elfile_relas relas;

	if (rs->hdr.sh_info == 0 || rs->hdr.sh_info >= m->nsections || rs->hdr.sh_info == index)
		return refuse(m, at, "%s: relocates section %u, which is not there", rs->name,
			      rs->hdr.sh_info);
	s = &m->sections[rs->hdr.sh_info];
	if (!(s->hdr.sh_flags & SHF_ALLOC))
		return true;
	if (rs->hdr.sh_type == SHT_REL)
		return refuse(m, rs->file, "%s: relocations without addends", rs->name);
	if (rs->hdr.sh_link != m->symtab)
		return refuse(m, at, "%s: relocations with symbols of section %u", rs->name,
			      rs->hdr.sh_link);
	if (rs->hdr.sh_flags & SHF_ALLOC)
		return refuse(m, at, "%s: relocation section that is to be loaded", rs->name);
	if (s->rela)
		return refuse(m, at, "%s: a second relocation section of %s", rs->name, s->name);
	if (!elfile_relas(&m->elf, index, &relas, m->err))
		return false;
	s->rela = index;
	s->rels = wrap_alloc(relas.count, sizeof(*s->rels));
	for (uint32_t i = 0; i < relas.count; i++) {
		Elf64_Rela r;
		struct rel *out = &s->rels[s->nrels];
		uint64_t file = elfile_rela(&relas, i, &r);

		*out = (struct rel){ r.r_offset, (uint32_t)ELF64_R_TYPE(r.r_info),
				     (uint32_t)ELF64_R_SYM(r.r_info), r.r_addend, file };
		if (out->type == R_X86_64_NONE)
			continue;
		if (!rel_width(out->type))
			return refuse(m, out->file, "relocation type %u in %s is not known",
				      out->type, s->name);
		if (out->sym >= m->nsymbols)
			return refuse(m, out->file,
				      "%s: relocation to symbol %u, which is not there", rs->name,
				      out->sym);
		if (s->hdr.sh_type == SHT_NOBITS || r.r_offset > s->hdr.sh_size ||
		    rel_width(out->type) > s->hdr.sh_size - r.r_offset)
			return refuse(m, out->file, "%s: relocation outside its section", rs->name);
		s->nrels++;
	}
	if (s->nrels)
		qsort(s->rels, s->nrels, sizeof(*s->rels), by_offset);
	for (size_t i = 1; i < s->nrels; i++)
		if (s->rels[i].offset - s->rels[i - 1].offset < rel_width(s->rels[i - 1].type))
			return refuse(m, s->rels[i].file, "%s: two relocations of the same bytes",
				      rs->name);
	return true;
}

static int by_place(const void *a, const void *b)
{
	const struct function *x = a, *y = b;

	if (x->section != y->section)
		return x->section < y->section ? -1 : 1;
	if (x->value != y->value)
		return x->value < y->value ? -1 : 1;
	/* of aliases the local one is the name that people wrote; then any fixed order */
	if (x->global != y->global)
		return x->global < y->global ? -1 : 1;
	return x->sym < y->sym ? -1 : x->sym > y->sym;
}

static void collect_functions(struct module *m)
{
	uint32_t n = 0;

	m->functions = wrap_alloc(m->nsymbols, sizeof(*m->functions));
	for (uint32_t i = 0; i < m->nsymbols; i++) {
		const Elf64_Sym *y = &m->symbols[i].sym;
		const struct section *s;

		if (ELF64_ST_TYPE(y->st_info) != STT_FUNC || y->st_shndx == SHN_UNDEF ||
		    y->st_shndx >= SHN_LORESERVE)
			continue;
		s = &m->sections[y->st_shndx];
		if (!(s->hdr.sh_flags & SHF_EXECINSTR) || y->st_value >= s->hdr.sh_size)
			continue;
		m->functions[n++] = (struct function){
			.section = y->st_shndx,
			.entry = WRAP_NONE,
			.value = y->st_value,
			.size = y->st_size,
			.sym = i,
			.name = m->symbols[i].name,
			.init = strcmp(m->symbols[i].name, "init_module") == 0,
			.exit = strcmp(m->symbols[i].name, "cleanup_module") == 0,
			.global = ELF64_ST_BIND(y->st_info) != STB_LOCAL,
		};
	}
	if (n)
		qsort(m->functions, n, sizeof(*m->functions), by_place);
	/* aliases become one */
	for (uint32_t i = 0; i < n; i++) {
		struct function *last = m->nfunctions ? &m->functions[m->nfunctions - 1] : NULL;

		if (last && last->section == m->functions[i].section &&
		    last->value == m->functions[i].value) {
			last->init |= m->functions[i].init;
			last->exit |= m->functions[i].exit;
			last->global |= m->functions[i].global;
			if (m->functions[i].size > last->size)
				last->size = m->functions[i].size;
		} else {
			m->functions[m->nfunctions++] = m->functions[i];
		}
	}
}

bool object_read(struct module *m, const struct blob *in)
{
	if (!elfile_open(&m->elf, m->path, in, ET_REL, m->err) || !read_sections(m) ||
	    !read_symbols(m))
		return false;
	for (uint32_t i = 1; i < m->nsections; i++)
		if ((m->sections[i].hdr.sh_type == SHT_RELA ||
		     m->sections[i].hdr.sh_type == SHT_REL) &&
		    !read_relocations(m, i))
			return false;
	collect_functions(m);
	m->linux_module = section_named(m, ".gnu.linkonce.this_module") != 0;
	m->imports = wrap_alloc(m->nsymbols, sizeof(*m->imports));
	return true;
}

void object_free(struct module *m)
{
	for (uint32_t i = 0; i < m->nsections; i++) {
		free(m->sections[i].rels);
		free(m->sections[i].insns);
		free(m->sections[i].own);
	}
	free(m->sections);
	free(m->symbols);
	free(m->functions);
	free(m->imports);
	elfile_close(&m->elf);
	vec_free(&m->entries);
	vec_free(&m->gates);
	vec_free(&m->raw);
	vec_free(&m->sites);
	vec_free(&m->alternatives);
	vec_free(&m->fixups);
	vec_free(&m->pv_ops);
	vec_free(&m->pv_sites);
	vec_free(&m->tramps);
	vec_free(&m->jump_tables);
	vec_free(&m->jump_targets);
	vec_free(&m->rows);
}

uint32_t object_add_section(struct module *m, const char *name, uint32_t type, uint64_t flags,
			    uint64_t align)
{
	struct section *grown = wrap_alloc(m->nsections + 1, sizeof(*grown));
	struct section *s = &grown[m->nsections];

	memcpy(grown, m->sections, m->nsections * sizeof(*grown));
	free(m->sections);
	m->sections = grown;
	*s = (struct section){ .name = name, .segment = WRAP_NONE, .file = m->elf.size };
	s->hdr.sh_type = type;
	s->hdr.sh_flags = flags;
	s->hdr.sh_addralign = align;
	return m->nsections++;
}

uint32_t object_add_symbol(struct module *m, const char *name, uint32_t section, uint64_t value,
			   uint8_t type)
{
	struct symbol *grown = wrap_alloc(m->nsymbols + 1, sizeof(*grown));
	struct import *imports = wrap_alloc(m->nsymbols + 1, sizeof(*imports));
	struct symbol *y = &grown[m->nsymbols];

	memcpy(grown, m->symbols, m->nsymbols * sizeof(*grown));
	memcpy(imports, m->imports, m->nsymbols * sizeof(*imports));
	free(m->symbols);
	free(m->imports);
	m->symbols = grown;
	m->imports = imports;
	y->name = name;
	y->sym.st_info = ELF64_ST_INFO(STB_GLOBAL, type);
	y->sym.st_other = STV_HIDDEN;
	y->sym.st_shndx = (Elf64_Section)section;
	y->sym.st_value = value;
	return m->nsymbols++;
}

/* Index of the last function at or before the place, WRAP_NONE. */
static uint32_t function_before(const struct module *m, uint32_t section, uint64_t offset)
{
	uint32_t lo = 0, hi = m->nfunctions;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		const struct function *f = &m->functions[mid];

		if (f->section < section || (f->section == section && f->value <= offset))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && m->functions[lo - 1].section == section ? lo - 1 : WRAP_NONE;
}

uint32_t function_at(const struct module *m, uint32_t section, uint64_t offset)
{
	uint32_t f = function_before(m, section, offset);

	return f != WRAP_NONE && m->functions[f].value == offset ? f : WRAP_NONE;
}

uint32_t function_around(const struct module *m, uint32_t section, uint64_t offset)
{
	uint32_t f = function_before(m, section, offset);

	return f != WRAP_NONE && offset - m->functions[f].value < m->functions[f].size ? f
										       : WRAP_NONE;
}

size_t rel_from(const struct section *s, uint64_t offset)
{
	size_t lo = 0, hi = s->nrels;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->rels[mid].offset < offset)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct rel *rel_at(const struct section *s, uint64_t offset)
{
	size_t i = rel_from(s, offset);

	return i < s->nrels && s->rels[i].offset == offset ? &s->rels[i] : NULL;
}

uint32_t section_named(const struct module *m, const char *name)
{
	for (uint32_t i = 1; i < m->nsections; i++)
		if (strcmp(m->sections[i].name, name) == 0)
			return i;
	return 0;
}

/* Linux 6.1 kernel/module/main.c places by this prefix what it frees after init. */
bool section_is_init(const struct section *s)
{
	return strncmp(s->name, ".init", 5) == 0;
}
