// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unwind rows from .eh_frame, asked of libdw, which knows nothing of relocations: it gets a copy of
 * the object in which every section of code has an address of its own and .eh_frame is relocated.
 */
#include "check/internal.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <stdlib.h>
#include <string.h>

#define DW_RBP 6
#define DW_RA 16

#define FIRST 0x10000000u
#define MAX_CODE (8u << 20) /* bytes are asked for one by one; kernels have ORC */

/* DWARF numbers of the first eight GPRs differ from the encoding's. */
static const uint8_t gpr[16] = { 0, 2, 1, 3, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15 };

/* A fake address for each section of code; .eh_frame is at 0. */
static bool addresses(struct ck *ck, uint64_t *base)
{
	uint64_t at = FIRST;

	for (uint32_t i = 1; i < ck->o.nsec; i++) {
		if (ck->o.sec[i].use != USE_CODE)
			continue;
		base[i] = at;
		at += (ck->o.sec[i].hdr.sh_size + 0x1fff) / 0x1000 * 0x1000;
	}
	return at - FIRST < MAX_CODE;
}

static void relocate(struct ck *ck, const struct sec *eh, const uint64_t *base, uint8_t *copy)
{
	for (uint32_t i = 0; i < eh->nrecords; i++) {
		const Elf64_Rela *r = &eh->records[i];
		const Elf64_Sym *y = &ck->o.sym[ELF64_R_SYM(r->r_info)];
		uint64_t v;

		if (ELF64_R_TYPE(r->r_info) != R_X86_64_PC32 || !sym_defined(y) ||
		    ck->o.sec[y->st_shndx].use != USE_CODE)
			continue;
		v = base[y->st_shndx] + y->st_value + (uint64_t)r->r_addend - r->r_offset;
		memcpy(copy + eh->hdr.sh_offset + r->r_offset, &v, 4);
	}
}

static bool fits(int64_t n)
{
	return n >= INT16_MIN && n <= INT16_MAX;
}

static bool cfa_rule(Dwarf_Frame *frame, struct row *row)
{
	struct gm_unwind *u = &row->rule;
	Dwarf_Op *op;
	size_t n;

	if (dwarf_frame_cfa(frame, &op, &n) != 0 || n == 0)
		return false;
	if (n == 1 && op[0].atom == DW_OP_bregx && op[0].number < 16 &&
	    fits((int64_t)op[0].number2)) {
		u->cfa_rule = GM_CFA_REG;
		u->cfa_reg = gpr[op[0].number];
		u->cfa_offset = (int16_t)op[0].number2;
		return true;
	}
	/* a realigned frame keeps the pointer at RBP */
	if (n == 2 && op[0].atom == DW_OP_breg0 + DW_RBP && op[1].atom == DW_OP_deref &&
	    fits((int64_t)op[0].number)) {
		u->cfa_rule = GM_CFA_DEREF;
		u->cfa_reg = gpr[DW_RBP];
		u->cfa_offset = (int16_t)op[0].number;
		return true;
	}
	return false;
}

static bool at_cfa(const Dwarf_Op *op, size_t n, int64_t *offset)
{
	if (n < 1 || n > 2 || op[0].atom != DW_OP_call_frame_cfa ||
	    (n == 2 && op[1].atom != DW_OP_plus_uconst))
		return false;
	*offset = n == 2 ? (int64_t)op[1].number : 0;
	return fits(*offset);
}

static bool rule_of(Dwarf_Frame *frame, struct row *row)
{
	struct gm_unwind *u = &row->rule;
	Dwarf_Op mem[3], *op;
	int64_t offset;
	size_t n;

	if (!cfa_rule(frame, row))
		return false;
	if (dwarf_frame_register(frame, DW_RA, mem, &op, &n) != 0 || !at_cfa(op, n, &offset) ||
	    offset != -8)
		return false;
	if (dwarf_frame_register(frame, DW_RBP, mem, &op, &n) != 0)
		return false;
	u->bp_rule = GM_BP_SAME;
	if (n == 0)
		return true;
	if (at_cfa(op, n, &offset)) {
		u->bp_rule = GM_BP_AT_CFA;
		u->bp_offset = (int16_t)offset;
		return true;
	}
	/* libdw puts the CFA before an expression, as DWARF says; this one has no use for it */
	if (n == 2 && op[0].atom == DW_OP_call_frame_cfa && op[1].atom == DW_OP_breg0 + DW_RBP &&
	    fits((int64_t)op[1].number)) {
		u->bp_rule = GM_BP_AT_BP;
		u->bp_offset = (int16_t)op[1].number;
		return true;
	}
	return false;
}

/* The row that holds from `offset` on; returns where it ends. */
static uint32_t row_at(struct ck *ck, Dwarf_CFI *cfi, uint32_t section, uint32_t offset,
		       uint64_t base, uint32_t record)
{
	const struct row *last = ck->rows.count ? (struct row *)ck->rows.data + ck->rows.count - 1
						: NULL;
	struct row row = { .section = section, .offset = offset, .record = record };
	uint64_t size = ck->o.sec[section].hdr.sh_size, start = 0, end = 0;
	Dwarf_Frame *frame = NULL;
	bool signal;

	row.rule.cfa_rule = GM_CFA_NONE;
	row.known = dwarf_cfi_addrframe(cfi, base + offset, &frame) == 0;
	if (!row.known && last && last->section == section && !last->known)
		return offset + 1;
	if (row.known)
		row.bad = !rule_of(frame, &row);
	*(struct row *)vec_more(&ck->rows, sizeof(row), 1) = row;
	if (!row.known)
		return offset + 1;
	dwarf_frame_info(frame, &start, &end, &signal);
	free(frame);
	if (end <= base + offset)
		return offset + 1;
	return end - base > size ? (uint32_t)size : (uint32_t)(end - base);
}

static void rows_of_section(struct ck *ck, Dwarf_CFI *cfi, uint32_t section, uint64_t base)
{
	const struct sec *s = &ck->o.sec[section];

	for (uint32_t at = 0; at < s->hdr.sh_size;)
		at = row_at(ck, cfi, section, at, base, ck->rows.count);
}

bool eh_rows(struct ck *ck)
{
	uint32_t index = sec_named(&ck->o, ".eh_frame");
	const struct sec *eh = &ck->o.sec[index];
	uint64_t *base = check_alloc(ck->o.nsec, sizeof(*base));
	Dwarf_CFI *cfi = NULL;
	uint8_t *copy = NULL;
	Elf *elf = NULL;
	bool ok, has_code = false;

	for (uint32_t i = 1; !has_code && i < ck->o.nsec; i++)
		has_code = ck->o.sec[i].use == USE_CODE && ck->o.sec[i].hdr.sh_size;
	if (!has_code) {
		free(base);
		return true;
	}
	ok = index && eh->data && addresses(ck, base);

	if (ok) {
		copy = check_alloc(ck->o.elf.size, 1);
		memcpy(copy, elfile_bytes(&ck->o.elf, 0), ck->o.elf.size);
		relocate(ck, eh, base, copy);
		elf = elf_memory((char *)copy, ck->o.elf.size);
		cfi = elf ? dwarf_getcfi_elf(elf) : NULL;
		ok = cfi != NULL;
	}
	if (!ok)
		fault(ck, CHECK_UNWIND, ck->o.elf.path, elfile_section_at(&ck->o.elf, index),
		      "neither ORC data nor an .eh_frame that libdw can read");
	for (uint32_t i = 1; ok && i < ck->o.nsec; i++)
		if (ck->o.sec[i].use == USE_CODE)
			rows_of_section(ck, cfi, i, base[i]);
	if (cfi)
		dwarf_cfi_end(cfi);
	if (elf)
		elf_end(elf);
	free(copy);
	free(base);
	return ok;
}
