// SPDX-License-Identifier: GPL-2.0-only
/*
 * Builds the guest's ELF file: a text segment (readable, executable), a data segment (writable),
 * and a symbol table, so that traces name imports and vectors.
 */
#include "hosted/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hosted/guest_code.h"
#include "lib/elf.h"
#include "vmm/abi.h"

#define PAGE 4096u
#define VECTORS 256u
#define FIRST_FILE_OFFSET 0x1000u /* of the text: the page behind the headers */

/* The data segment: IDT; GDT and TSS; the stack of faults that may find no other; the imports. */
#define DATA_GDT 0x1000u
#define DATA_TSS 0x1100u
#define DATA_IST_TOP 0x3000u
#define DATA_FILE_BYTES 0x2000u
#define DATA_IMPORTS 0x3000u
#define TSS_BYTES 104u
#define TSS_IST1 36u
#define GDT_BYTES 40u /* null, code 8, data 0x10, TSS 0x18 (two places) */
#define NAME_MAX_BYTES 64u

enum { SEC_NULL, SEC_TEXT, SEC_DATA, SEC_SYMTAB, SEC_STRTAB, SEC_SHSTRTAB, SECTIONS };

static const char section_names[] = "\0.text\0.data\0.symtab\0.strtab\0.shstrtab";

uint64_t image_code(const uint8_t *label)
{
	return IMAGE_BASE + (uint64_t)(label - guest_code);
}

static uint64_t page_up(uint64_t n)
{
	return (n + PAGE - 1) / PAGE * PAGE;
}

/* Sizes, and where contents lie in one buffer; settled before a byte is written. */
struct plan {
	uint64_t text_bytes, data, data_bytes;
	uint64_t data_at, symtab_at, strtab_at, strtab_bytes, total;
	size_t symbols;
};

static void plan_file(struct plan *p, struct image_import *imports, size_t n)
{
	uint64_t stubs = 0, data = DATA_IMPORTS;

	for (size_t i = 0; i < n; i++)
		if (!imports[i].data)
			imports[i].gva = IMAGE_IMPORTS + IMAGE_STUB_BYTES * stubs++;
	p->text_bytes = page_up(IMAGE_IMPORTS - IMAGE_BASE + IMAGE_STUB_BYTES * stubs);
	p->data = IMAGE_BASE + p->text_bytes;
	for (size_t i = 0; i < n; i++) {
		if (imports[i].data) {
			imports[i].gva = p->data + data;
			data += IMAGE_DATUM_BYTES;
		}
	}
	p->data_bytes = data;
	p->symbols = 1 + VECTORS + 2 + n;
	p->strtab_bytes = p->symbols * NAME_MAX_BYTES;
	p->data_at = p->text_bytes;
	p->symtab_at = p->data_at + DATA_FILE_BYTES;
	p->strtab_at = p->symtab_at + p->symbols * sizeof(Elf64_Sym);
	p->total = p->strtab_at + p->strtab_bytes;
}

static void put_stub(uint8_t *at, bool vector)
{
	/* out; jmp *%gs:HOSTED_CPU_RETURN */
	static const uint8_t call[] = { 0xe6,
					GH_PORT_HOST,
					0x65,
					0xff,
					0x24,
					0x25,
					HOSTED_CPU_RETURN & 0xff,
					HOSTED_CPU_RETURN >> 8,
					0,
					0 };
	static const uint8_t event[] = { 0xe6, GH_PORT_HOST, 0x48, 0xcf }; /* out; iretq */

	if (vector)
		memcpy(at, event, sizeof(event));
	else
		memcpy(at, call, sizeof(call));
}

/* The operand of LIDT or LGDT. */
static void put_table(uint8_t *at, uint64_t base, uint16_t bytes)
{
	uint16_t limit = bytes - 1;

	memcpy(at, &limit, 2);
	memcpy(at + 2, &base, 8);
}

static void put_text(uint8_t *text, const struct image_import *imports, size_t n, uint64_t idt,
		     enum gm_x_kind x)
{
	static const uint8_t xs[GM_X_KINDS][GM_X_BYTES] = {
		[GM_X_VMMCALL] = { 0x0f, 0x01, 0xd9 },
		[GM_X_VMCALL] = { 0x0f, 0x01, 0xc1 },
		[GM_X_OUT] = { 0xe6, GH_PORT_CROSS, 0x90 },
		[GM_X_NOP] = { 0x0f, 0x1f, 0x00 },
	};

	memset(text, 0xcc, IMAGE_IMPORTS - IMAGE_BASE);
	memcpy(text, guest_code, (size_t)(guest_code_end - guest_code));
	put_table(text + (guest_idtr - guest_code), idt, VECTORS * 16);
	put_table(text + (guest_gdtr - guest_code), idt + DATA_GDT, GDT_BYTES);
	memcpy(text + (guest_call_x_site - guest_code), xs[x], GM_X_BYTES);
	for (unsigned v = 0; v < VECTORS; v++)
		put_stub(text + (IMAGE_VECTORS - IMAGE_BASE) + v * IMAGE_STUB_BYTES, true);
	for (size_t i = 0; i < n; i++)
		if (!imports[i].data)
			put_stub(text + (imports[i].gva - IMAGE_BASE), false);
}

/* Faults whose cause may be the stack itself: #DF, #SS, #GP, #PF. */
static bool needs_stack(unsigned vector)
{
	return vector == 8 || (vector >= 12 && vector <= 14);
}

static void put_tss(uint8_t *data, uint64_t gva)
{
	static const uint64_t code = 0x00af9b000000ffffull, flat = 0x00cf93000000ffffull;
	uint64_t tss = gva + DATA_TSS, ist = gva + DATA_IST_TOP, descriptor;
	uint16_t iomap = TSS_BYTES;

	descriptor = (TSS_BYTES - 1) | (tss & 0xffffff) << 16 | 0x89ull << 40 |
		     (tss >> 24 & 0xff) << 56;
	memcpy(data + DATA_GDT + 8, &code, 8);
	memcpy(data + DATA_GDT + 16, &flat, 8);
	memcpy(data + DATA_GDT + 24, &descriptor, 8);
	tss >>= 32;
	memcpy(data + DATA_GDT + 32, &tss, 8);
	memcpy(data + DATA_TSS + TSS_IST1, &ist, 8);
	memcpy(data + DATA_TSS + TSS_BYTES - 2, &iomap, 2);
}

/* Interrupt gates, selector 8, present, DPL 0. */
static void put_idt(uint8_t *idt)
{
	uint64_t handler, gate[2];

	for (unsigned v = 0; v < VECTORS; v++) {
		handler = IMAGE_VECTORS + v * IMAGE_STUB_BYTES;
		gate[0] = (handler & 0xffff) | 8ull << 16 | 0x8e00ull << 32 |
			  (handler >> 16 & 0xffff) << 48 | (needs_stack(v) ? 1ull << 32 : 0);
		gate[1] = handler >> 32;
		memcpy(idt + v * 16, gate, 16);
	}
}

static void put_symbol(uint8_t *contents, const struct plan *p, size_t i, const char *name,
		       uint64_t value, uint64_t size, bool data)
{
	Elf64_Sym sym = {
		.st_name = (Elf64_Word)(i * NAME_MAX_BYTES),
		.st_info = ELF64_ST_INFO(STB_GLOBAL, data ? STT_OBJECT : STT_FUNC),
		.st_shndx = data ? SEC_DATA : SEC_TEXT,
		.st_value = value,
		.st_size = size,
	};

	memcpy(contents + p->symtab_at + i * sizeof(sym), &sym, sizeof(sym));
	snprintf((char *)contents + p->strtab_at + i * NAME_MAX_BYTES, NAME_MAX_BYTES, "%s", name);
}

static void put_symbols(uint8_t *contents, const struct plan *p, const struct image_import *imports,
			size_t n)
{
	char name[32];
	size_t i = 1;

	put_symbol(contents, p, i++, "hosted_boot", image_code(guest_boot), 32, false);
	put_symbol(contents, p, i++, "hosted_return", image_code(guest_return), 8, false);
	for (unsigned v = 0; v < VECTORS; v++) {
		snprintf(name, sizeof(name), "vector_%u", v);
		put_symbol(contents, p, i++, name, IMAGE_VECTORS + v * IMAGE_STUB_BYTES,
			   IMAGE_STUB_BYTES, false);
	}
	for (size_t k = 0; k < n; k++)
		put_symbol(contents, p, i++, imports[k].name, imports[k].gva,
			   imports[k].data ? IMAGE_DATUM_BYTES : IMAGE_STUB_BYTES, imports[k].data);
}

/* The writer puts the text at the first page behind the headers, and the data behind the text. */
static bool write_file(struct blob *out, const uint8_t *contents, const struct plan *p,
		       struct error *err)
{
	const Elf64_Ehdr eh = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = image_code(guest_boot),
		.e_phnum = 2,
		.e_shstrndx = SEC_SHSTRTAB,
	};
	const Elf64_Phdr ph[2] = {
		{ PT_LOAD, PF_R | PF_X, FIRST_FILE_OFFSET, IMAGE_BASE, IMAGE_BASE - GH_KERNEL_BASE,
		  p->text_bytes, p->text_bytes, PAGE },
		{ PT_LOAD, PF_R | PF_W, FIRST_FILE_OFFSET + p->text_bytes, p->data,
		  p->data - GH_KERNEL_BASE, DATA_FILE_BYTES, p->data_bytes, PAGE },
	};
	Elf64_Shdr sh[SECTIONS] = {
		[SEC_TEXT] = { 1, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, IMAGE_BASE, 0,
			       p->text_bytes, 0, 0, PAGE, 0 },
		[SEC_DATA] = { 7, SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, p->data, 0, DATA_FILE_BYTES,
			       0, 0, PAGE, 0 },
		[SEC_SYMTAB] = { 13, SHT_SYMTAB, 0, 0, 0, p->symbols * sizeof(Elf64_Sym),
				 SEC_STRTAB, 1, 8, sizeof(Elf64_Sym) },
		[SEC_STRTAB] = { 21, SHT_STRTAB, 0, 0, 0, p->strtab_bytes, 0, 0, 1, 0 },
		[SEC_SHSTRTAB] = { 29, SHT_STRTAB, 0, 0, 0, sizeof(section_names), 0, 0, 1, 0 },
	};
	struct elfile_part parts[SECTIONS] = {
		[SEC_NULL] = { &sh[SEC_NULL], NULL },
		[SEC_TEXT] = { &sh[SEC_TEXT], contents },
		[SEC_DATA] = { &sh[SEC_DATA], contents + p->data_at },
		[SEC_SYMTAB] = { &sh[SEC_SYMTAB], contents + p->symtab_at },
		[SEC_STRTAB] = { &sh[SEC_STRTAB], contents + p->strtab_at },
		[SEC_SHSTRTAB] = { &sh[SEC_SHSTRTAB], section_names },
	};

	return elfile_write("hosted kernel", &eh, ph, parts, SECTIONS, out, err);
}

bool image_build(struct image *img, struct image_import *imports, size_t n, enum gm_x_kind x,
		 struct error *err)
{
	struct plan p = { 0 };
	uint8_t *contents;
	bool ok;

	for (size_t i = 0; i < n; i++)
		if (strlen(imports[i].name) >= NAME_MAX_BYTES)
			return error_set(err, "import %s: name longer than %u bytes",
					 imports[i].name, NAME_MAX_BYTES - 1);
	plan_file(&p, imports, n);
	if ((size_t)(guest_code_end - guest_code) > PAGE)
		return error_set(err, "the hosted kernel's guest code outgrew its page");
	contents = calloc(1, p.total);
	if (!contents)
		return error_set(err, "out of memory for the hosted kernel's image");
	put_text(contents, imports, n, p.data, x);
	if (img->tickless) /* the immediate behind the opcode */
		memset(contents + (guest_tick - guest_code) + 1, 0, 4);
	put_idt(contents + p.data_at);
	put_tss(contents + p.data_at, p.data);
	put_symbols(contents, &p, imports, n);
	ok = write_file(&img->elf, contents, &p, err);
	free(contents);
	img->data = p.data;
	img->data_bytes = p.data_bytes;
	return ok;
}
