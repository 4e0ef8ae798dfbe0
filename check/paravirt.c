// SPDX-License-Identifier: GPL-2.0-only
/*
 * .parainstructions of the original: calls through pv_ops, which the kernel would make direct. The
 * wrapped module has an empty table, so that each of these calls must go through a gate. Linux 6.1
 * (asm/paravirt_types.h): struct paravirt_patch_site { u8 *instr; u8 type, len; u16 clobbers; }.
 */
#include "check/internal.h"

#include <string.h>

#define RECORD 16u
#define CALL_BYTES 6u /* ff 15 disp32 */

/* CLBR_* by bit: RAX, RCX, RDX, RDI, RSI, R8 to R11. */
static uint32_t preserves(uint16_t clobbers)
{
	static const uint8_t gpr[9] = { 0, 1, 2, 7, 6, 8, 9, 10, 11 };
	uint32_t mask = 0xffffu & ~(1u << 4);

	for (unsigned i = 0; i < 9; i++)
		if (clobbers >> i & 1)
			mask &= ~(1u << gpr[i]);
	return mask;
}

/* What all sites of a function can bear to lose is what it may not preserve. */
static void add(struct ck *ck, uint32_t offset, uint32_t preserve)
{
	struct pv_op *op = ck->pv.data;

	for (uint32_t i = 0; i < ck->pv.count; i++)
		if (op[i].offset == offset) {
			op[i].preserve &= preserve;
			return;
		}
	*(struct pv_op *)vec_more(&ck->pv, sizeof(*op), 1) = (struct pv_op){ offset, preserve };
}

uint32_t pv_preserves(const struct ck *ck, uint32_t offset)
{
	const struct pv_op *op = ck->pv.data;

	for (uint32_t i = 0; i < ck->pv.count; i++)
		if (op[i].offset == offset)
			return op[i].preserve;
	return 0; /* no site: nothing leads to its gate */
}

static bool site(struct ck *ck, const struct sec *o, const Elf64_Rela *r)
{
	struct place p = o_place(ck, (uint32_t)ELF64_R_SYM(r->r_info), r->r_addend);
	struct sec *s = &ck->w.sec[p.section];
	const struct rel *f;
	uint16_t clobbers;
	int64_t n;

	if (r->r_offset % RECORD || ELF64_R_TYPE(r->r_info) != R_X86_64_64 || !p.section ||
	    s->use != USE_CODE || s->hdr.sh_size < CALL_BYTES ||
	    p.offset > s->hdr.sh_size - CALL_BYTES)
		return false;
	f = sec_rel(s, p.offset + 2ull);
	if (!f || f->type != R_X86_64_PC32 || s->data[p.offset] != 0xff ||
	    s->data[p.offset + 1] != 0x15 || o->data[r->r_offset + 9] != CALL_BYTES ||
	    ck->o.sym[f->sym].st_shndx != SHN_UNDEF ||
	    strcmp(sym_name(&ck->o, f->sym), "pv_ops") != 0)
		return false;
	n = f->addend + 4;
	if (n < 0 || n > UINT16_MAX || n % 8)
		return false;
	memcpy(&clobbers, o->data + r->r_offset + 10, 2);
	add(ck, (uint32_t)n, preserves(clobbers));
	if (!s->paravirt)
		s->paravirt = check_alloc(s->hdr.sh_size / 8 + 1, 1);
	set_bit(s->paravirt, p.offset);
	return true;
}

void read_paravirt(struct ck *ck)
{
	uint32_t index = sec_named(&ck->o, ".parainstructions");
	const struct sec *o = &ck->o.sec[index];

	if (!index)
		return;
	if (!o->data || o->hdr.sh_size % RECORD || o->nrecords != o->hdr.sh_size / RECORD) {
		fault(ck, CHECK_PARAVIRT, ck->o.elf.path, elfile_section_at(&ck->o.elf, index),
		      "%s: no whole records with a place each", o->name);
		return;
	}
	for (uint32_t i = 0; i < o->nrecords; i++)
		if (!site(ck, o, &o->records[i]))
			fault(ck, CHECK_PARAVIRT, ck->o.elf.path, rec_at(&ck->o, o, i),
			      "%s: record %u is no call through pv_ops", o->name, i);
}
