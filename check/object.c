// SPDX-License-Identifier: GPL-2.0-only
/*
 * An object as the checks see it: plain arrays. lib/elf.c has judged headers, names and symbols;
 * here is what a module must hold so that later steps can use 32-bit numbers and index freely.
 */
#include "check/internal.h"

#include <stdlib.h>
#include <string.h>

#define MAX_SECTION (1u << 30)

unsigned rel_bytes(uint32_t type)
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

static bool read_sections(struct object *ob, struct error *err)
{
	ob->nsec = ob->elf.nsections;
	ob->sec = check_alloc(ob->nsec, sizeof(*ob->sec));
	for (uint32_t i = 0; i < ob->nsec; i++) {
		struct sec *s = &ob->sec[i];

		elfile_section(&ob->elf, i, &s->hdr);
		s->name = i ? elfile_section_name(&ob->elf, i) : "";
		s->segment = NONE;
		if (s->hdr.sh_size > MAX_SECTION)
			return elfile_bad(&ob->elf, elfile_section_at(&ob->elf, i), err,
					  "section %u of 0x%llx bytes", i,
					  (unsigned long long)s->hdr.sh_size);
		s->data = elfile_contents(&ob->elf, i);
		s->use = s->hdr.sh_flags & SHF_ALLOC ? use_of(s->name) : USE_FILE;
		if (s->use == USE_CONST && s->hdr.sh_flags & SHF_WRITE)
			s->use = USE_DATA; /* the kernel will not protect it */
		if (s->use != USE_FILE && s->use != USE_SPARE &&
		    (s->use == USE_TRAMP || s->use == USE_CODE || s->use == USE_GATES) !=
			    ((s->hdr.sh_flags & SHF_EXECINSTR) != 0))
			s->use = USE_UNKNOWN;
		if ((s->use == USE_CODE || s->use == USE_CONST || s->use == USE_TRAMP ||
		     s->use == USE_SPARE) &&
		    (!s->data || (s->use != USE_SPARE && s->hdr.sh_flags & SHF_WRITE)))
			s->use = USE_UNKNOWN;
	}
	return true;
}

static bool read_symbols(struct object *ob, struct error *err)
{
	ob->nsym = ob->elf.nsymbols;
	if (!ob->nsym)
		return elfile_bad(&ob->elf, ob->elf.eh.e_shoff, err, "no symbols");
	ob->sym = ob->elf.symbols->d_buf;
	for (uint32_t i = 0; i < ob->nsym; i++) {
		const Elf64_Sym *y = &ob->sym[i];

		if (sym_defined(y) && y->st_value > ob->sec[y->st_shndx].hdr.sh_size)
			return elfile_bad(&ob->elf, elfile_symbol_at(&ob->elf, i), err,
					  "symbol %u lies behind its section's end", i);
	}
	return true;
}

/* Records of loaded sections: symbol and place are in bounds, the type is known. */
static bool read_relocations(struct object *ob, uint32_t index, struct error *err)
{
	const struct sec *rs = &ob->sec[index];
	uint64_t at = elfile_section_at(&ob->elf, index);
	struct elfile_relas relas;
	struct sec *s;

	if (rs->hdr.sh_info == 0 || rs->hdr.sh_info >= ob->nsec)
		return elfile_bad(&ob->elf, at, err, "%s relocates section %u, which is not there",
				  rs->name, rs->hdr.sh_info);
	s = &ob->sec[rs->hdr.sh_info];
	if (!(s->hdr.sh_flags & SHF_ALLOC) && strcmp(s->name, ".eh_frame") != 0)
		return true;
	if (rs->hdr.sh_type != SHT_RELA || rs->hdr.sh_link != ob->elf.symtab || s->rela)
		return elfile_bad(&ob->elf, at, err,
				  "%s: not the one table of relocations with addends of %s",
				  rs->name, s->name);
	if (!elfile_relas(&ob->elf, index, &relas, err))
		return false;
	s->rela = index;
	s->records = relas.data->d_buf;
	s->nrecords = relas.count;
	for (uint32_t i = 0; i < s->nrecords; i++) {
		const Elf64_Rela *r = &s->records[i];
		uint32_t type = ELF64_R_TYPE(r->r_info);

		if (type == R_X86_64_NONE)
			continue;
		if (!rel_bytes(type))
			return elfile_bad(&ob->elf, rec_at(ob, s, i), err,
					  "relocation type %u is not known", type);
		if (ELF64_R_SYM(r->r_info) >= ob->nsym)
			return elfile_bad(&ob->elf, rec_at(ob, s, i), err,
					  "relocation to symbol %u, which is not there",
					  (uint32_t)ELF64_R_SYM(r->r_info));
		if (!s->data || r->r_offset > s->hdr.sh_size ||
		    rel_bytes(type) > s->hdr.sh_size - r->r_offset)
			return elfile_bad(&ob->elf, rec_at(ob, s, i), err,
					  "relocation outside of %s", s->name);
	}
	return true;
}

bool object_open(struct object *ob, const struct check_file *file, struct error *err)
{
	if (!elfile_open(&ob->elf, file->path, file->blob, ET_REL, err))
		return false;
	if (!read_sections(ob, err) || !read_symbols(ob, err))
		return false;
	for (uint32_t i = 1; i < ob->nsec; i++)
		if ((ob->sec[i].hdr.sh_type == SHT_RELA || ob->sec[i].hdr.sh_type == SHT_REL) &&
		    !read_relocations(ob, i, err))
			return false;
	return true;
}

void object_close(struct object *ob)
{
	for (uint32_t i = 0; i < ob->nsec; i++) {
		free(ob->sec[i].rels);
		free(ob->sec[i].starts);
		free(ob->sec[i].targets);
		free(ob->sec[i].functions);
		free(ob->sec[i].paravirt);
		free(ob->sec[i].contents);
	}
	free(ob->sec);
	if (ob->elf.elf)
		elfile_close(&ob->elf);
}

const char *sym_name(const struct object *ob, uint32_t i)
{
	const Elf64_Sym *y = &ob->sym[i];

	if (ELF64_ST_TYPE(y->st_info) == STT_SECTION && sym_defined(y))
		return ob->sec[y->st_shndx].name;
	return elfile_symbol_name(&ob->elf, y);
}

uint64_t sec_at(const struct sec *s, uint64_t offset)
{
	return s->hdr.sh_offset + (s->data ? offset : 0);
}

uint64_t rec_at(const struct object *ob, const struct sec *s, uint32_t i)
{
	return ob->sec[s->rela].hdr.sh_offset + (uint64_t)i * sizeof(Elf64_Rela);
}

uint32_t sec_named(const struct object *ob, const char *name)
{
	for (uint32_t i = 1; i < ob->nsec; i++)
		if (strcmp(ob->sec[i].name, name) == 0)
			return i;
	return 0;
}

const struct rel *sec_rel(const struct sec *s, uint64_t offset)
{
	uint32_t lo = 0, hi = s->nrels;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (s->rels[mid].offset < offset)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < s->nrels && s->rels[lo].offset == offset ? &s->rels[lo] : NULL;
}
