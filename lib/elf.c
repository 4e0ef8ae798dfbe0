// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reading: header first, from the file's own 64 bytes, because libelf makes as many sections as a
 * header claims; then section headers, names, symbols. ELF-64 and the x86-64 psABI say what the
 * fields mean.
 */
#include "lib/elf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool elfile_bad(const struct elfile *e, uint64_t offset, struct error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_at(err, e->path, offset, fmt, ap);
	va_end(ap);
	return false;
}

/* What our own checks let pass and libelf does not. */
static bool libelf_says(const struct elfile *e, uint64_t offset, struct error *err)
{
	return elfile_bad(e, offset, err, "malformed: %s", elf_errmsg(-1));
}

static bool check_header(struct elfile *e, const struct blob *file, uint16_t type,
			 struct error *err)
{
	Elf_Data from = { .d_buf = file->data,
			  .d_type = ELF_T_EHDR,
			  .d_version = EV_CURRENT,
			  .d_size = sizeof(e->eh) };
	Elf_Data to = from;
	const Elf64_Ehdr *eh = &e->eh;

	if (e->size < SELFMAG || memcmp(file->data, ELFMAG, SELFMAG) != 0)
		return elfile_bad(e, 0, err, "not an ELF file: no ELF magic");
	if (e->size < sizeof(e->eh))
		return elfile_bad(e, e->size, err, "the file ends inside of the ELF header");
	to.d_buf = &e->eh;
	if (!elf64_xlatetom(&to, &from, ELFDATA2LSB))
		return libelf_says(e, 0, err);
	if (eh->e_ident[EI_CLASS] != ELFCLASS64 || eh->e_ident[EI_DATA] != ELFDATA2LSB ||
	    eh->e_ident[EI_VERSION] != EV_CURRENT)
		return elfile_bad(e, EI_CLASS, err, "not a 64-bit little-endian ELF file");
	if (eh->e_type != type)
		return elfile_bad(e, offsetof(Elf64_Ehdr, e_type), err,
				  "ELF type %u, expected %u (%s)", eh->e_type, type,
				  type == ET_EXEC ? "executable" : "relocatable object");
	if (eh->e_machine != EM_X86_64)
		return elfile_bad(e, offsetof(Elf64_Ehdr, e_machine), err,
				  "machine %u, expected %u (x86-64)", eh->e_machine, EM_X86_64);
	if (eh->e_phnum && type == ET_REL)
		return elfile_bad(e, offsetof(Elf64_Ehdr, e_phnum), err,
				  "program headers in an object");
	if (eh->e_phnum && eh->e_phentsize != sizeof(Elf64_Phdr))
		return elfile_bad(e, offsetof(Elf64_Ehdr, e_phentsize), err,
				  "program headers of %u bytes", eh->e_phentsize);
	/* No sections at all, or a plain number of them: extended numbering is refused. */
	if (!eh->e_shnum && !eh->e_shoff && type == ET_EXEC)
		return true;
	if (eh->e_shentsize != sizeof(Elf64_Shdr) || eh->e_shnum < 2 ||
	    eh->e_shnum >= SHN_LORESERVE)
		return elfile_bad(e, offsetof(Elf64_Ehdr, e_shentsize), err,
				  "%u section headers of %u bytes", eh->e_shnum, eh->e_shentsize);
	if (!elfile_in(e, eh->e_shoff, (uint64_t)eh->e_shnum * sizeof(Elf64_Shdr)))
		return elfile_bad(e, offsetof(Elf64_Ehdr, e_shoff), err,
				  "section headers at 0x%llx are not all in the file",
				  (unsigned long long)eh->e_shoff);
	if (eh->e_shstrndx >= eh->e_shnum)
		return elfile_bad(e, offsetof(Elf64_Ehdr, e_shstrndx), err,
				  "section %u, which has the names, is not there", eh->e_shstrndx);
	return true;
}

static bool check_section(const struct elfile *e, uint32_t i, struct error *err)
{
	uint64_t at = elfile_section_at(e, i);
	Elf_Scn *scn = elf_getscn(e->elf, i);
	Elf64_Shdr sh;

	if (!scn || !gelf_getshdr(scn, &sh))
		return libelf_says(e, at, err);
	if (i == 0 && sh.sh_type != SHT_NULL)
		return elfile_bad(e, at, err, "section 0 has type %u", sh.sh_type);
	/* what has no type means nothing, but a file is as long as its headers say */
	if (sh.sh_type == SHT_NULL)
		return (sh.sh_size == 0 && (i || sh.sh_offset == 0)) ||
		       elfile_bad(e, at, err, "section %u has no type, but 0x%llx bytes at 0x%llx",
				  i, (unsigned long long)sh.sh_size,
				  (unsigned long long)sh.sh_offset);
	if (sh.sh_type != SHT_NOBITS && !elfile_in(e, sh.sh_offset, sh.sh_size))
		return elfile_bad(e, at, err,
				  "section %u: 0x%llx bytes at 0x%llx are not all in the file", i,
				  (unsigned long long)sh.sh_size, (unsigned long long)sh.sh_offset);
	if (sh.sh_addralign & (sh.sh_addralign - 1))
		return elfile_bad(e, at, err, "section %u: alignment 0x%llx is no power of two", i,
				  (unsigned long long)sh.sh_addralign);
	if (sh.sh_link >= e->nsections)
		return elfile_bad(e, at, err, "section %u: link to section %u, which is not there",
				  i, sh.sh_link);
	/* libelf would not write it again */
	if (sh.sh_entsize && sh.sh_size % sh.sh_entsize)
		return elfile_bad(e, at, err, "section %u: 0x%llx bytes in records of %llu", i,
				  (unsigned long long)sh.sh_size,
				  (unsigned long long)sh.sh_entsize);
	if (!elf_rawdata(scn, NULL))
		return libelf_says(e, at, err);
	return true;
}

/* The last byte is 0, so that any index inside is a C string. */
static bool check_strings(const struct elfile *e, uint32_t i, struct error *err)
{
	const uint8_t *text = elfile_contents(e, i);
	Elf64_Shdr sh;

	elfile_section(e, i, &sh);
	if (sh.sh_type != SHT_STRTAB || (sh.sh_flags & SHF_COMPRESSED) || !sh.sh_size ||
	    text[sh.sh_size - 1])
		return elfile_bad(e, elfile_section_at(e, i), err,
				  "section %u is not a terminated string table", i);
	return true;
}

static bool check_names(const struct elfile *e, struct error *err)
{
	Elf64_Shdr sh;

	if (!check_strings(e, e->eh.e_shstrndx, err))
		return false;
	for (uint32_t i = 1; i < e->nsections; i++) {
		elfile_section(e, i, &sh);
		if (!elf_strptr(e->elf, e->eh.e_shstrndx, sh.sh_name))
			return elfile_bad(e, elfile_section_at(e, i), err,
					  "section %u: its name lies outside the string table", i);
	}
	return true;
}

/* A section of whole records of one size. */
static Elf_Data *records(const struct elfile *e, uint32_t i, Elf_Type type, size_t entsize,
			 struct error *err)
{
	uint64_t at = elfile_section_at(e, i);
	Elf_Data *data;
	Elf64_Shdr sh;

	elfile_section(e, i, &sh);
	if (sh.sh_entsize != entsize || sh.sh_size % entsize || (sh.sh_flags & SHF_COMPRESSED)) {
		elfile_bad(e, at, err, "section %s: 0x%llx bytes in records of %llu",
			   elfile_section_name(e, i), (unsigned long long)sh.sh_size,
			   (unsigned long long)sh.sh_entsize);
		return NULL;
	}
	data = elf_getdata(elf_getscn(e->elf, i), NULL);
	if (!data || data->d_type != type || data->d_size != sh.sh_size) {
		libelf_says(e, at, err);
		return NULL;
	}
	return data;
}

static bool check_symbols(const struct elfile *e, struct error *err)
{
	Elf64_Sym sym;

	for (uint32_t i = 0; i < e->nsymbols; i++) {
		elfile_symbol(e, i, &sym);
		if (!elf_strptr(e->elf, e->strtab, sym.st_name))
			return elfile_bad(e, elfile_symbol_at(e, i), err,
					  "symbol %u: its name lies outside the string table", i);
		if (sym.st_shndx >= e->nsections && sym.st_shndx < SHN_LORESERVE)
			return elfile_bad(e, elfile_symbol_at(e, i), err,
					  "symbol %s in section %u, which is not there",
					  elfile_symbol_name(e, &sym), sym.st_shndx);
	}
	return true;
}

static bool find_symbols(struct elfile *e, struct error *err)
{
	Elf64_Shdr sh;

	for (uint32_t i = 1; i < e->nsections; i++) {
		uint64_t at = elfile_section_at(e, i);

		elfile_section(e, i, &sh);
		if (sh.sh_type == SHT_SYMTAB_SHNDX)
			return elfile_bad(e, at, err, "section %u: extended section numbers", i);
		if (sh.sh_type != SHT_SYMTAB)
			continue;
		if (e->symtab)
			return elfile_bad(e, at, err, "a second symbol table");
		e->symbols = records(e, i, ELF_T_SYM, sizeof(Elf64_Sym), err);
		if (!e->symbols)
			return false;
		if (sh.sh_size / sizeof(Elf64_Sym) > ELFILE_MAX_SYMBOLS ||
		    sh.sh_info > sh.sh_size / sizeof(Elf64_Sym))
			return elfile_bad(e, at, err, "%llu symbols, %u of them local",
					  (unsigned long long)(sh.sh_size / sizeof(Elf64_Sym)),
					  sh.sh_info);
		if (!check_strings(e, sh.sh_link, err))
			return false;
		e->symtab = i;
		e->strtab = sh.sh_link;
		e->nsymbols = (uint32_t)(sh.sh_size / sizeof(Elf64_Sym));
	}
	return check_symbols(e, err);
}

static bool check_sections(struct elfile *e, struct error *err)
{
	size_t n;

	if (elf_getshdrnum(e->elf, &n) != 0 || n != e->eh.e_shnum)
		return libelf_says(e, offsetof(Elf64_Ehdr, e_shnum), err);
	e->nsections = e->eh.e_shnum;
	for (uint32_t i = 0; i < e->nsections; i++)
		if (!check_section(e, i, err))
			return false;
	return !e->nsections || (check_names(e, err) && find_symbols(e, err));
}

bool elfile_open(struct elfile *e, const char *path, const struct blob *file, uint16_t type,
		 struct error *err)
{
	*e = (struct elfile){ .path = path, .size = file->size };
	elf_version(EV_CURRENT);
	if (!check_header(e, file, type, err))
		return false;
	e->elf = elf_memory((char *)file->data, file->size);
	if (!e->elf)
		return libelf_says(e, 0, err);
	if (check_sections(e, err))
		return true;
	elfile_close(e);
	return false;
}

void elfile_close(struct elfile *e)
{
	elf_end(e->elf);
	e->elf = NULL;
}

bool elfile_phdr(const struct elfile *e, uint32_t i, Elf64_Phdr *ph, uint64_t *at,
		 struct error *err)
{
	*at = e->eh.e_phoff + (uint64_t)i * sizeof(*ph);
	if (e->eh.e_phoff > e->size || !elfile_in(e, *at, sizeof(*ph)))
		return elfile_bad(e, *at, err, "program header %u lies beyond the end of the file",
				  i);
	return gelf_getphdr(e->elf, (int)i, ph) || libelf_says(e, *at, err);
}

const uint8_t *elfile_bytes(const struct elfile *e, uint64_t offset)
{
	return (const uint8_t *)elf_rawfile(e->elf, NULL) + offset;
}

void elfile_section(const struct elfile *e, uint32_t i, Elf64_Shdr *sh)
{
	if (!gelf_getshdr(elf_getscn(e->elf, i), sh))
		memset(sh, 0, sizeof(*sh)); /* not after elfile_open() */
}

const char *elfile_section_name(const struct elfile *e, uint32_t i)
{
	const char *name;
	Elf64_Shdr sh;

	elfile_section(e, i, &sh);
	name = elf_strptr(e->elf, e->eh.e_shstrndx, sh.sh_name);
	return name ? name : "";
}

const uint8_t *elfile_contents(const struct elfile *e, uint32_t i)
{
	Elf_Data *data;
	Elf64_Shdr sh;

	elfile_section(e, i, &sh);
	if (sh.sh_type == SHT_NULL || sh.sh_type == SHT_NOBITS)
		return NULL;
	data = elf_rawdata(elf_getscn(e->elf, i), NULL);
	return data && data->d_size ? data->d_buf : (const uint8_t *)"";
}

void elfile_symbol(const struct elfile *e, uint32_t i, Elf64_Sym *sym)
{
	if (!gelf_getsym(e->symbols, (int)i, sym))
		memset(sym, 0, sizeof(*sym)); /* not below nsymbols */
}

const char *elfile_symbol_name(const struct elfile *e, const Elf64_Sym *sym)
{
	const char *name = elf_strptr(e->elf, e->strtab, sym->st_name);

	return name ? name : "";
}

uint64_t elfile_symbol_at(const struct elfile *e, uint32_t i)
{
	Elf64_Shdr sh;

	elfile_section(e, e->symtab, &sh);
	return sh.sh_offset + (uint64_t)i * sizeof(Elf64_Sym);
}

bool elfile_relas(const struct elfile *e, uint32_t i, struct elfile_relas *r, struct error *err)
{
	Elf64_Shdr sh;

	elfile_section(e, i, &sh);
	r->file = sh.sh_offset;
	r->count = (uint32_t)(sh.sh_size / sizeof(Elf64_Rela));
	r->data = records(e, i, ELF_T_RELA, sizeof(Elf64_Rela), err);
	if (!r->data)
		return false;
	for (uint32_t k = 0; k < r->count; k++) {
		Elf64_Rela rela;
		uint64_t at = elfile_rela(r, k, &rela);

		if (rela.r_addend > ELFILE_MAX_ADDEND || rela.r_addend < -ELFILE_MAX_ADDEND)
			return elfile_bad(e, at, err, "an addend of 0x%llx leads nowhere",
					  (unsigned long long)rela.r_addend);
	}
	return true;
}

uint64_t elfile_rela(const struct elfile_relas *r, uint32_t k, Elf64_Rela *rela)
{
	if (!gelf_getrela(r->data, (int)k, rela))
		memset(rela, 0, sizeof(*rela)); /* not below count */
	return r->file + (uint64_t)k * sizeof(*rela);
}
