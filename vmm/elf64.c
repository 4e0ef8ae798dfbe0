/* SPDX-License-Identifier: GPL-2.0-only */
#include "vmm/elf64.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool elf64_bad(const struct elf64 *e, uint64_t offset, struct error *err, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* Names in it come from the file: one printable line all the same. */
	for (size_t i = 0; text[i]; i++)
		if (text[i] < ' ' || text[i] > '~')
			text[i] = '_';
	return error_set(err, "%s: offset 0x%llx: %s", e->path, (unsigned long long)offset, text);
}

uint64_t elf64_section_at(const struct elf64 *e, uint32_t i)
{
	return e->eh.e_shoff + (uint64_t)i * sizeof(Elf64_Shdr);
}

bool elf64_section(const struct elf64 *e, uint32_t i, Elf64_Shdr *sh, struct error *err)
{
	uint64_t at = elf64_section_at(e, i);

	if (i >= e->nsections) {
		elf64_bad(e, e->eh.e_shoff, err, "there is no section %u", i);
		return false;
	}
	memcpy(sh, e->data + at, sizeof(*sh));
	if (sh->sh_type != SHT_NOBITS && sh->sh_type != SHT_NULL &&
	    !elf64_in(e, sh->sh_offset, sh->sh_size)) {
		elf64_bad(e, at, err, "section %u: 0x%llx bytes at 0x%llx are not all in the file",
			  i, (unsigned long long)sh->sh_size, (unsigned long long)sh->sh_offset);
		return false;
	}
	return true;
}

const char *elf64_section_name(const struct elf64 *e, const Elf64_Shdr *sh)
{
	return sh->sh_name < e->names_size ? e->names + sh->sh_name : "";
}

void elf64_symbol(const struct elf64 *e, uint32_t i, Elf64_Sym *sym)
{
	Elf64_Shdr sh;

	memcpy(&sh, e->data + elf64_section_at(e, e->symtab), sizeof(sh));
	memcpy(sym, e->data + sh.sh_offset + (uint64_t)i * sizeof(*sym), sizeof(*sym));
}

const char *elf64_symbol_name(const struct elf64 *e, const Elf64_Sym *sym)
{
	return sym->st_name < e->strings_size ? e->strings + sym->st_name : "";
}

bool elf64_phdr(const struct elf64 *e, uint32_t i, Elf64_Phdr *ph, uint64_t *at, struct error *err)
{
	*at = e->eh.e_phoff + (uint64_t)i * sizeof(*ph);
	if (e->eh.e_phoff > e->size || !elf64_in(e, *at, sizeof(*ph)))
		return elf64_bad(e, *at, err, "program header %u lies beyond the end of the file",
				 i);
	memcpy(ph, e->data + *at, sizeof(*ph));
	return true;
}

/* A string table: in the file, and its last byte 0, so that any index in it is a C string. */
static bool string_table(const struct elf64 *e, uint32_t i, const char **text, size_t *size,
			 struct error *err)
{
	Elf64_Shdr sh;

	if (!elf64_section(e, i, &sh, err))
		return false;
	if (sh.sh_type != SHT_STRTAB || !sh.sh_size || e->data[sh.sh_offset + sh.sh_size - 1])
		return elf64_bad(e, elf64_section_at(e, i), err,
				 "section %u is not a terminated string table", i);
	*text = (const char *)e->data + sh.sh_offset;
	*size = sh.sh_size;
	return true;
}

static bool find_symtab(struct elf64 *e, struct error *err)
{
	Elf64_Shdr sh;
	uint32_t i;

	for (i = 1; i < e->nsections; i++) {
		if (!elf64_section(e, i, &sh, err))
			return false;
		if (sh.sh_type != SHT_SYMTAB)
			continue;
		if (e->symtab)
			return elf64_bad(e, elf64_section_at(e, i), err, "a second symbol table");
		if (sh.sh_entsize != sizeof(Elf64_Sym) || sh.sh_size % sizeof(Elf64_Sym) ||
		    sh.sh_size / sizeof(Elf64_Sym) > ELF64_MAX_SYMBOLS)
			return elf64_bad(e, elf64_section_at(e, i), err,
					 "symbol table of 0x%llx bytes in records of %llu",
					 (unsigned long long)sh.sh_size,
					 (unsigned long long)sh.sh_entsize);
		if (!string_table(e, sh.sh_link, &e->strings, &e->strings_size, err))
			return false;
		e->symtab = i;
		e->nsymbols = (uint32_t)(sh.sh_size / sizeof(Elf64_Sym));
	}
	return true;
}

bool elf64_open(struct elf64 *e, const char *path, const struct blob *file, uint16_t type,
		struct error *err)
{
	static const uint8_t ident[] = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT };

	memset(e, 0, sizeof(*e));
	e->path = path;
	e->data = file->data;
	e->size = file->size;
	if (e->size < sizeof(e->eh))
		return elf64_bad(e, e->size, err, "the file ends inside of the ELF header");
	memcpy(&e->eh, e->data, sizeof(e->eh));
	if (memcmp(e->eh.e_ident, ident, sizeof(ident)) != 0)
		return elf64_bad(e, 0, err, "not a 64-bit little-endian ELF file");
	if (e->eh.e_type != type)
		return elf64_bad(e, offsetof(Elf64_Ehdr, e_type), err,
				 "ELF type %u, expected %u (%s)", e->eh.e_type, type,
				 type == ET_EXEC ? "executable" : "relocatable");
	if (e->eh.e_machine != EM_X86_64)
		return elf64_bad(e, offsetof(Elf64_Ehdr, e_machine), err,
				 "machine %u, expected %u (x86-64)", e->eh.e_machine, EM_X86_64);
	if (e->eh.e_phnum && e->eh.e_phentsize != sizeof(Elf64_Phdr))
		return elf64_bad(e, offsetof(Elf64_Ehdr, e_phentsize), err,
				 "program headers of %u bytes", e->eh.e_phentsize);
	if (!e->eh.e_shnum)
		return true;
	if (e->eh.e_shentsize != sizeof(Elf64_Shdr) || e->eh.e_shnum > ELF64_MAX_SECTIONS)
		return elf64_bad(e, offsetof(Elf64_Ehdr, e_shentsize), err,
				 "%u section headers of %u bytes", e->eh.e_shnum,
				 e->eh.e_shentsize);
	if (!elf64_in(e, e->eh.e_shoff, (uint64_t)e->eh.e_shnum * sizeof(Elf64_Shdr)))
		return elf64_bad(e, offsetof(Elf64_Ehdr, e_shoff), err,
				 "section headers at 0x%llx are not all in the file",
				 (unsigned long long)e->eh.e_shoff);
	e->nsections = e->eh.e_shnum;
	if (!string_table(e, e->eh.e_shstrndx, &e->names, &e->names_size, err))
		return false;
	return find_symtab(e, err);
}
