// SPDX-License-Identifier: GPL-2.0-only
/*
 * lib/elf.c: what is written reads back the same, and what libelf alone would let pass is refused
 * with the offset of the record that lies. (Random damage is the business of the loaders' tests.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/elf.h"

enum { TEXT = 1, BSS, RELA, SYMTAB, STRTAB, NAMES, SECTIONS };

static const char names[] = "\0.text\0.bss\0.rela.text\0.symtab\0.strtab";
static const char strings[] = "\0f\0imported";
static const uint8_t text[] = { 0xe8, 0, 0, 0, 0, 0xc3 };
static const Elf64_Sym symbols[] = {
	{ 0 },
	{ .st_name = 1,
	  .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
	  .st_shndx = TEXT,
	  .st_size = sizeof(text) },
	{ .st_name = 3, .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_NOTYPE) },
};
static const Elf64_Rela relas[] = { { 1, ELF64_R_INFO(2ull, R_X86_64_PLT32), -4 } };

static struct blob object(Elf64_Shdr sh[SECTIONS])
{
	static const Elf64_Shdr good[SECTIONS] = {
		[TEXT] = { 1, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, 0, 0, sizeof(text), 0, 0, 16,
			   0 },
		[BSS] = { 7, SHT_NOBITS, SHF_ALLOC | SHF_WRITE, 0, 0, 1 << 20, 0, 0, 8192, 0 },
		[RELA] = { 12, SHT_RELA, SHF_INFO_LINK, 0, 0, sizeof(relas), SYMTAB, TEXT, 8,
			   sizeof(Elf64_Rela) },
		[SYMTAB] = { 23, SHT_SYMTAB, 0, 0, 0, sizeof(symbols), STRTAB, 1, 8,
			     sizeof(Elf64_Sym) },
		[STRTAB] = { 31, SHT_STRTAB, 0, 0, 0, sizeof(strings), 0, 0, 1, 0 },
		[NAMES] = { 31, SHT_STRTAB, 0, 0, 0, sizeof(names), 0, 0, 1, 0 },
	};
	const void *data[SECTIONS] = { NULL, text, NULL, relas, symbols, strings, names };
	const Elf64_Ehdr eh = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT },
		.e_type = ET_REL,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_shstrndx = NAMES,
	};
	struct elfile_part parts[SECTIONS];
	struct error err = { "" };
	struct blob out;

	memcpy(sh, good, sizeof(good));
	for (unsigned i = 0; i < SECTIONS; i++)
		parts[i] = (struct elfile_part){ &sh[i], data[i] };
	if (!elfile_write("o.ko", &eh, NULL, parts, SECTIONS, &out, &err))
		fail_msg("%s", err.text);
	return out;
}

static void test_written_is_read(void **state)
{
	Elf64_Shdr sh[SECTIONS], got;
	struct blob file = object(sh);
	struct elfile_relas r;
	struct elfile e;
	struct error err;
	Elf64_Rela rela;
	Elf64_Sym sym;

	(void)state;
	assert_true(elfile_open(&e, "o.ko", &file, ET_REL, &err));
	assert_int_equal(e.nsections, SECTIONS);
	for (uint32_t i = 0; i < SECTIONS; i++) {
		elfile_section(&e, i, &got);
		assert_memory_equal(&got, &sh[i], sizeof(got));
		assert_memory_equal(file.data + elfile_section_at(&e, i), &sh[i], sizeof(got));
	}
	/* in order, aligned, the largest alignment a page; nothing for what is not in the file */
	assert_int_equal(sh[TEXT].sh_offset, 64);
	assert_int_equal(sh[BSS].sh_offset, 4096);
	assert_int_equal(sh[RELA].sh_offset, 4096);
	assert_int_equal(e.eh.e_shoff % 8, 0);
	assert_int_equal(file.size, e.eh.e_shoff + SECTIONS * sizeof(got));
	assert_string_equal(elfile_section_name(&e, RELA), ".rela.text");
	assert_memory_equal(elfile_contents(&e, TEXT), text, sizeof(text));
	assert_null(elfile_contents(&e, BSS));
	assert_null(elfile_contents(&e, 0));
	assert_int_equal(e.nsymbols, 3);
	elfile_symbol(&e, 2, &sym);
	assert_string_equal(elfile_symbol_name(&e, &sym), "imported");
	assert_memory_equal(file.data + elfile_symbol_at(&e, 2), &sym, sizeof(sym));
	assert_true(elfile_relas(&e, RELA, &r, &err));
	assert_int_equal(r.count, 1);
	assert_int_equal(elfile_rela(&r, 0, &rela), sh[RELA].sh_offset);
	assert_memory_equal(&rela, relas, sizeof(rela));
	elfile_close(&e);
	/* an addend to which nothing can be added */
	rela.r_addend = INT64_MAX - 2;
	memcpy(file.data + sh[RELA].sh_offset, &rela, sizeof(rela));
	assert_true(elfile_open(&e, "o.ko", &file, ET_REL, &err));
	assert_false(elfile_relas(&e, RELA, &r, &err));
	assert_non_null(strstr(err.text, "o.ko: offset 0x1000: an addend of 0x7ffffffffffffffd"));
	elfile_close(&e);
	/* an object is no executable */
	assert_false(elfile_open(&e, "o.ko", &file, ET_EXEC, &err));
	assert_non_null(strstr(err.text, "o.ko: offset 0x10: ELF type 1, expected 2"));
	blob_free(&file);
}

static void refused(const struct blob *file, uint64_t offset, const char *about)
{
	char where[64];
	struct error err = { "" };
	struct elfile e;

	if (elfile_open(&e, "o.ko", file, ET_REL, &err))
		fail_msg("accepted, in spite of \"%s\"", about);
	snprintf(where, sizeof(where), "o.ko: offset 0x%llx: ", (unsigned long long)offset);
	if (strncmp(err.text, where, strlen(where)) != 0 || !strstr(err.text, about))
		fail_msg("\"%s\" is not about \"%s\" at 0x%llx", err.text, about,
			 (unsigned long long)offset);
}

/* What if one field of one section header says something else? */
static void test_lying_section_headers(void **state)
{
#define FIELD(f) offsetof(Elf64_Shdr, f), sizeof(((Elf64_Shdr *)0)->f)
	static const struct {
		uint32_t section;
		size_t at, width;
		uint64_t value;
		const char *about;
	} lies[] = {
		{ 0, FIELD(sh_type), SHT_PROGBITS, "section 0 has type 1" },
		{ 0, FIELD(sh_size), 8, "section 0 has no type, but 0x8 bytes at 0x0" },
		{ 0, FIELD(sh_offset), 1ull << 60, "section 0 has no type" },
		{ TEXT, FIELD(sh_type), SHT_NULL, "has no type, but" },
		{ TEXT, FIELD(sh_offset), UINT64_MAX, "not all in the file" },
		{ TEXT, FIELD(sh_size), UINT64_MAX - 32, "not all in the file" },
		{ TEXT, FIELD(sh_addralign), 24, "no power of two" },
		{ TEXT, FIELD(sh_entsize), 4, "records of 4" },
		{ TEXT, FIELD(sh_type), SHT_SYMTAB_SHNDX, "malformed" },
		{ RELA, FIELD(sh_type), SHT_SYMTAB_SHNDX, "extended section numbers" },
		{ TEXT, FIELD(sh_name), sizeof(names), "its name lies outside" },
		{ RELA, FIELD(sh_link), SECTIONS, "section 7, which is not there" },
		{ SYMTAB, FIELD(sh_entsize), 12, "records of 12" },
		{ SYMTAB, FIELD(sh_size), 3 * sizeof(Elf64_Sym) - 1, "records of 24" },
		{ SYMTAB, FIELD(sh_info), 4, "3 symbols, 4 of them local" },
		{ SYMTAB, FIELD(sh_flags), SHF_COMPRESSED, "records" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		Elf64_Shdr sh[SECTIONS];
		struct blob file = object(sh);
		uint64_t at = file.size - (SECTIONS - lies[i].section) * sizeof(sh[0]);

		memcpy(file.data + at + lies[i].at, &lies[i].value, lies[i].width);
		refused(&file, at, lies[i].about);
		blob_free(&file);
	}
#undef FIELD
}

/* Without an end, compressed, of another type, empty. */
static void test_string_tables(void **state)
{
	static const uint32_t tables[] = { STRTAB, NAMES };

	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		Elf64_Shdr sh[SECTIONS];
		struct blob file = object(sh);
		uint64_t at = file.size - (SECTIONS - tables[k]) * sizeof(sh[0]);
		uint64_t end = sh[tables[k]].sh_offset + sh[tables[k]].sh_size - 1;
		Elf64_Shdr lie = sh[tables[k]];

		file.data[end] = 'x';
		refused(&file, at, "not a terminated string table");
		file.data[end] = 0;
		lie.sh_flags = SHF_COMPRESSED;
		memcpy(file.data + at, &lie, sizeof(lie));
		refused(&file, at, "not a terminated string table");
		lie = sh[tables[k]];
		lie.sh_type = SHT_PROGBITS;
		memcpy(file.data + at, &lie, sizeof(lie));
		refused(&file, at, "not a terminated string table");
		lie = sh[tables[k]];
		lie.sh_size = 0;
		memcpy(file.data + at, &lie, sizeof(lie));
		refused(&file, at, "not a terminated string table");
		blob_free(&file);
	}
}

static void test_symbols(void **state)
{
	Elf64_Shdr sh[SECTIONS];
	struct blob file = object(sh);
	uint64_t at = sh[SYMTAB].sh_offset + 2 * sizeof(Elf64_Sym);
	Elf64_Sym sym = symbols[2];

	(void)state;
	sym.st_name = sizeof(strings);
	memcpy(file.data + at, &sym, sizeof(sym));
	refused(&file, at, "its name lies outside");
	sym = symbols[2];
	sym.st_shndx = SECTIONS;
	memcpy(file.data + at, &sym, sizeof(sym));
	refused(&file, at, "symbol imported in section 7, which is not there");
	at = file.size - (SECTIONS - RELA) * sizeof(sh[0]);
	memcpy(file.data + at, &sh[SYMTAB], sizeof(sh[0]));
	refused(&file, at + sizeof(sh[0]), "a second symbol table");
	blob_free(&file);
}

/* A header that lets libelf look for the number of sections in section 0, where it may be huge. */
static void test_extended_numbering(void **state)
{
	Elf64_Shdr sh[SECTIONS];
	struct blob file = object(sh);
	uint64_t zero = file.size - SECTIONS * sizeof(sh[0]), claim = 0xfffffff0;
	Elf64_Ehdr eh;

	(void)state;
	memcpy(&eh, file.data, sizeof(eh));
	eh.e_shnum = 0;
	memcpy(file.data, &eh, sizeof(eh));
	memcpy(file.data + zero + offsetof(Elf64_Shdr, sh_size), &claim, sizeof(claim));
	refused(&file, offsetof(Elf64_Ehdr, e_shentsize), "0 section headers");
	eh.e_shnum = SECTIONS;
	eh.e_shstrndx = SHN_XINDEX;
	memcpy(file.data, &eh, sizeof(eh));
	refused(&file, offsetof(Elf64_Ehdr, e_shstrndx), "which has the names");
	blob_free(&file);
}

/* Does it matter where in memory the file lies, or its headers in the file? */
static void test_misaligned(void **state)
{
	Elf64_Shdr sh[SECTIONS];
	struct blob file = object(sh), moved;
	uint8_t *room = calloc(1, file.size + 64);
	struct elfile e;
	struct error err;
	Elf64_Sym sym;

	(void)state;
	assert_non_null(room);
	for (size_t by = 1; by < 16; by++) {
		moved = (struct blob){ room + by, file.size };
		memcpy(moved.data, file.data, file.size);
		assert_true(elfile_open(&e, "o.ko", &moved, ET_REL, &err));
		elfile_symbol(&e, 1, &sym);
		assert_memory_equal(&sym, &symbols[1], sizeof(sym));
		assert_string_equal(elfile_symbol_name(&e, &sym), "f");
		elfile_close(&e);
	}
	free(room);
	blob_free(&file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_written_is_read),
		cmocka_unit_test(test_lying_section_headers),
		cmocka_unit_test(test_string_tables),
		cmocka_unit_test(test_symbols),
		cmocka_unit_test(test_extended_numbering),
		cmocka_unit_test(test_misaligned),
	};

	return cmocka_run_group_tests_name("lib: ELF", tests, NULL, NULL);
}
