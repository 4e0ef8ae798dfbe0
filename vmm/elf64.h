/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bounded reading of ELF64 files for the two loaders. Nothing in the file is believed before it
 * was compared with the file's size, and nothing is assumed to be aligned.
 */
#ifndef VMM_ELF64_H
#define VMM_ELF64_H

#include <elf.h>

#include "lib/error.h"
#include "lib/file.h"

#define ELF64_MAX_SECTIONS 4096u
#define ELF64_MAX_SYMBOLS 1048576u

struct elf64 {
	const char *path; /* for messages */
	const uint8_t *data;
	size_t size;
	Elf64_Ehdr eh;
	uint32_t nsections;
	uint32_t symtab;     /* section index, 0: none */
	const char *strings; /* of symtab: strings_size bytes, the last one 0 */
	size_t strings_size;
	uint32_t nsymbols;
	const char *names; /* of sections */
	size_t names_size;
};

/* Header, section headers' place, symbol table. type: ET_EXEC or ET_REL. */
bool elf64_open(struct elf64 *e, const char *path, const struct blob *file, uint16_t type,
		struct error *err);
/* Is [offset, offset + len) in the file? */
static inline bool elf64_in(const struct elf64 *e, uint64_t offset, uint64_t len)
{
	return offset <= e->size && len <= e->size - offset;
}
/* "PATH: offset 0x..: TEXT"; always false. */
bool elf64_bad(const struct elf64 *e, uint64_t offset, struct error *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Header i < nsections; its contents are in the file unless NOBITS. */
bool elf64_section(const struct elf64 *e, uint32_t i, Elf64_Shdr *sh, struct error *err);
uint64_t elf64_section_at(const struct elf64 *e, uint32_t i);
/* Always NUL-terminated; "" if out of range. */
const char *elf64_section_name(const struct elf64 *e, const Elf64_Shdr *sh);
/* Symbol i < nsymbols. */
void elf64_symbol(const struct elf64 *e, uint32_t i, Elf64_Sym *sym);
const char *elf64_symbol_name(const struct elf64 *e, const Elf64_Sym *sym);
bool elf64_phdr(const struct elf64 *e, uint32_t i, Elf64_Phdr *ph, uint64_t *at, struct error *err);

#endif
