// SPDX-License-Identifier: GPL-2.0-only
/*
 * .parainstructions: calls through the kernel's table pv_ops, `call *pv_ops+N(%rip)`. The kernel
 * would turn each into a direct call, past any gate, and the table is the kernel's to write. A
 * wrapped module calls through a constant of its own instead: the call's displacement is
 * retargeted to a word of .guard.rodata which holds the address of a leave gate, and that gate
 * reads pv_ops when privilege is gone:
 *
 *	call *slot(%rip)  ->  slot: .quad gate  ->  gate: X; jmp *pv_ops+N(%rip)
 *
 * Layout of Linux 6.1: struct paravirt_patch_site { u8 *instr; u8 type, len; u16 clobbers; }.
 */
#include "wrap/module.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD 16u
#define CALL_BYTES 6u

/* Registers that a site's clobber mask (CLBR_* of asm/paravirt_types.h) leaves alone. */
static uint32_t preserved(uint16_t clobbers)
{
	static const uint8_t gpr[9] = { 0, 1, 2, 7, 6, 8, 9, 10, 11 };
	uint32_t mask = 0xffffu & ~(1u << 4);

	for (unsigned i = 0; i < 9; i++)
		if (clobbers & 1u << i)
			mask &= ~(1u << gpr[i]);
	return mask;
}

/* Sites of one function may differ in what they can bear to lose; the least holds. */
static uint32_t op_of(struct module *m, uint32_t sym, int64_t offset, uint32_t preserve)
{
	struct pv_op *op = m->pv_ops.data;

	for (uint32_t i = 0; i < m->pv_ops.count; i++)
		if (op[i].offset == offset && op[i].sym == sym) {
			op[i].preserve &= preserve;
			op[i].calls++;
			return i;
		}
	op = vec_add(&m->pv_ops, sizeof(*op), 1);
	op->offset = offset;
	op->sym = sym;
	op->preserve = preserve;
	op->calls = 1;
	snprintf(op->name, sizeof(op->name), "pv_ops+0x%x", (uint32_t)offset);
	return (uint32_t)m->pv_ops.count - 1;
}

static bool read_record(struct module *m, const struct section *s, uint64_t at)
{
	struct pv_site *p = vec_add(&m->pv_sites, sizeof(*p), 1);
	const struct section *code;
	const struct insn *in;
	struct rel_target t;
	const struct rel *r;
	uint16_t clobbers;
	uint64_t place;

	if (!code_place(m, s, at, R_X86_64_64, &p->section, &place))
		return false;
	memcpy(&clobbers, s->data + at + 10, 2);
	code = &m->sections[p->section];
	in = insn_at(code, place);
	r = rel_at(code, place + 2);
	if (in->kind != INSN_CALL_IND || in->length != CALL_BYTES ||
	    s->data[at + 9] != CALL_BYTES || code->data[place] != 0xff ||
	    code->data[place + 1] != 0x15 || !r || r->type != R_X86_64_PC32)
		return refuse(m, file_at(code, place),
			      "%s+0x%llx: a paravirtual site that is no `call *pv_ops+N(%%rip)`",
			      code->name, (unsigned long long)place);
	if (!rel_resolve(m, code, r, &t))
		return false;
	if (t.section || strcmp(m->symbols[t.sym].name, "pv_ops") != 0 || t.offset < 0 ||
	    t.offset % 8)
		return refuse(m, r->file, "%s+0x%llx: a paravirtual site that calls through %s",
			      code->name, (unsigned long long)place,
			      t.section ? "the module's own data" : m->symbols[t.sym].name);
	p->field = place + 2;
	p->op = op_of(m, t.sym, t.offset, preserved(clobbers));
	return true;
}

static int by_place(const void *a, const void *b)
{
	const struct pv_site *x = a, *y = b;

	if (x->section != y->section)
		return x->section < y->section ? -1 : 1;
	return x->field < y->field ? -1 : x->field > y->field;
}

/* They have a gate now. */
static void forget_raw(struct module *m)
{
	struct raw_branch *raw = m->raw.data;
	size_t n = 0;

	for (size_t i = 0; i < m->raw.count; i++)
		if (pv_op_at(m, &m->sections[raw[i].section], (uint64_t)raw[i].offset + 2) ==
		    WRAP_NONE)
			raw[n++] = raw[i];
	m->raw.count = n;
}

bool paravirt_read(struct module *m, const struct section *s)
{
	struct pv_site *p;

	if (!whole_records(m, s, RECORD))
		return false;
	for (uint64_t at = 0; at < s->hdr.sh_size; at += RECORD)
		if (!read_record(m, s, at))
			return false;
	p = m->pv_sites.data;
	if (m->pv_sites.count)
		qsort(p, m->pv_sites.count, sizeof(*p), by_place);
	for (size_t i = 1; i < m->pv_sites.count; i++)
		if (p[i].section == p[i - 1].section && p[i].field == p[i - 1].field)
			return refuse(m, file_at(s, 0), "%s: two entries for %s+0x%llx", s->name,
				      m->sections[p[i].section].name,
				      (unsigned long long)p[i].field - 2);
	forget_raw(m);
	return true;
}

uint32_t pv_op_at(const struct module *m, const struct section *s, uint64_t field)
{
	const struct pv_site *p = m->pv_sites.data;
	uint32_t section = (uint32_t)(s - m->sections);
	size_t lo = 0, hi = m->pv_sites.count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p[mid].section < section || (p[mid].section == section && p[mid].field < field))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < m->pv_sites.count && p[lo].section == section && p[lo].field == field
		       ? p[lo].op
		       : WRAP_NONE;
}
