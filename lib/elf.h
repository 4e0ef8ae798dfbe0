/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * 64-bit x86 ELF files, read and written with libelf: the one place that knows the format.
 *
 * libelf keeps reads inside of the file, but it serves tools that show broken files, so it lets
 * pass what a loader must not believe: links to sections that are not there, tables that overlap
 * the header, records of a wrong size. Files are hostile here. elfile_open() therefore judges all
 * headers, names and symbols once, with a message that has the exact offset; what is read from an
 * opened file afterwards cannot fail. Contents of sections are no business of this file.
 */
#ifndef LIB_ELF_H
#define LIB_ELF_H

#include <gelf.h>

#include "lib/error.h"
#include "lib/file.h"

#define ELFILE_MAX_SYMBOLS 1048576u
/* Of either sign, far beyond any address: so sums with places in a file do not overflow. */
#define ELFILE_MAX_ADDEND (INT64_C(1) << 60)

struct elfile {
	const char *path; /* for messages */
	Elf *elf;	  /* reads in place: the bytes given to elfile_open() must stay */
	size_t size;
	Elf64_Ehdr eh;
	uint32_t nsections; /* 0: an executable without section headers */
	uint32_t symtab;    /* section index, 0: none */
	uint32_t strtab;    /* section with the symbols' names */
	uint32_t nsymbols;
	Elf_Data *symbols;
};

/* Records of a relocation section. */
struct elfile_relas {
	Elf_Data *data;
	uint32_t count;
	uint64_t file; /* offset of the first one */
};

/* type: ET_EXEC or ET_REL. After a false nothing is left to close. */
bool elfile_open(struct elfile *e, const char *path, const struct blob *file, uint16_t type,
		 struct error *err);
void elfile_close(struct elfile *e);
/* "PATH: offset 0x..: TEXT", one printable line; always false. */
bool elfile_bad(const struct elfile *e, uint64_t offset, struct error *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Is [offset, offset + len) in the file? */
static inline bool elfile_in(const struct elfile *e, uint64_t offset, uint64_t len)
{
	return offset <= e->size && len <= e->size - offset;
}

/* Program header i < eh.e_phnum, and where it is. The caller judges what it says. */
bool elfile_phdr(const struct elfile *e, uint32_t i, Elf64_Phdr *ph, uint64_t *at,
		 struct error *err);
/* Bytes [offset, offset + len) of the file, which the caller has proved to be there. */
const uint8_t *elfile_bytes(const struct elfile *e, uint64_t offset);

/* Section i < nsections, and the file offset of its header. */
void elfile_section(const struct elfile *e, uint32_t i, Elf64_Shdr *sh);
static inline uint64_t elfile_section_at(const struct elfile *e, uint32_t i)
{
	return e->eh.e_shoff + (uint64_t)i * sizeof(Elf64_Shdr);
}
/* Never NULL, always terminated. */
const char *elfile_section_name(const struct elfile *e, uint32_t i);
/* sh_size bytes, not NULL if that is 0; NULL: none in the file (NOBITS, NULL). */
const uint8_t *elfile_contents(const struct elfile *e, uint32_t i);

/* Symbol i < nsymbols; its name (never NULL); the file offset of its record. */
void elfile_symbol(const struct elfile *e, uint32_t i, Elf64_Sym *sym);
const char *elfile_symbol_name(const struct elfile *e, const Elf64_Sym *sym);
uint64_t elfile_symbol_at(const struct elfile *e, uint32_t i);

/* The records of SHT_RELA section i; then record k < count, whose file offset it returns. */
bool elfile_relas(const struct elfile *e, uint32_t i, struct elfile_relas *r, struct error *err);
uint64_t elfile_rela(const struct elfile_relas *r, uint32_t k, Elf64_Rela *rela);

/* A section to write. sh_offset is the writer's. */
struct elfile_part {
	Elf64_Shdr *hdr;
	const void *data; /* sh_size bytes; NULL: nothing in the file */
};
/*
 * Writes a file: header, program headers, sections 1 to n - 1 in this order and each at its
 * alignment (but at most at a page), section headers. eh says all that does not follow from this;
 * path is for messages.
 */
bool elfile_write(const char *path, const Elf64_Ehdr *eh, const Elf64_Phdr *ph,
		  struct elfile_part *parts, uint32_t n, struct blob *out, struct error *err);

#endif
