// SPDX-License-Identifier: GPL-2.0-only
/*
 * .altinstructions: places whose code the kernel replaces once, when it loads the module, after
 * what the CPU has. Layout and behaviour are those of Linux 6.1 (arch/x86/kernel/alternative.c):
 * entries are applied in the order of the table, a later one over an earlier one; what is left of
 * a place becomes NOPs, and runs of one-byte NOPs become long ones, patched or not.
 */
#include "wrap/module.h"

#include <Zydis/Zydis.h>
#include <stdlib.h>
#include <string.h>

#define RECORD 12u

/* Does a run of whole instructions fill [offset, offset + size)? */
static bool whole_instructions(const struct section *s, uint64_t offset, uint64_t size)
{
	return size == 0 || (insn_at(s, offset) &&
			     (offset + size == s->hdr.sh_size || insn_at(s, offset + size)));
}

/* What the kernel copies without changing it must mean the same elsewhere. */
static bool replacement_moves(struct module *m, const struct alternative *a)
{
	const struct section *s = &m->sections[a->repl_section];
	uint64_t end = a->repl_offset + a->repl_size;
	bool adjusted = a->repl_size == 5 &&
			(s->data[a->repl_offset] == 0xe8 || s->data[a->repl_offset] == 0xe9);

	for (size_t i = rel_from(s, a->repl_offset); i < s->nrels && s->rels[i].offset < end; i++)
		if (!adjusted && s->rels[i].type != R_X86_64_64 &&
		    s->rels[i].type != R_X86_64_32S && s->rels[i].type != R_X86_64_32)
			return refuse(m, s->rels[i].file,
				      "%s+0x%llx: a replacement that is relative to where it lies",
				      s->name, (unsigned long long)s->rels[i].offset);
	if (adjusted || !a->repl_size)
		return true;
	for (const struct insn *in = insn_at(s, a->repl_offset);
	     in < s->insns + s->ninsns && in->offset < end; in++)
		if ((in->kind == INSN_CALL || in->kind == INSN_JMP || in->kind == INSN_JCC) &&
		    (in->target < (int64_t)a->repl_offset || in->target > (int64_t)end))
			return refuse(m, file_at(s, in->offset),
				      "%s+0x%x: a branch out of a replacement", s->name,
				      in->offset);
	return true;
}

/* struct alt_instr { s32 instr, replacement; u16 feature; u8 size, replacement size; } */
static bool read_record(struct module *m, const struct section *s, uint64_t at, uint32_t order)
{
	struct alternative *a = vec_add(&m->alternatives, sizeof(*a), 1);
	const struct rel *r = rel_at(s, at + 4);
	const struct section *code, *repl;
	struct rel_target t;

	a->order = order;
	memcpy(&a->feature, s->data + at + 8, 2);
	a->size = s->data[at + 10];
	a->repl_size = s->data[at + 11];
	if (!code_place(m, s, at, R_X86_64_PC32, &a->section, &a->offset))
		return false;
	if (!r || r->type != R_X86_64_PC32 || !rel_resolve(m, s, r, &t))
		return refuse(m, file_at(s, at + 4), "%s+0x%llx: no replacement", s->name,
			      (unsigned long long)at);
	code = &m->sections[a->section];
	repl = &m->sections[t.section];
	if (a->size == 0 || a->repl_size > a->size || a->size > code->hdr.sh_size - a->offset ||
	    !whole_instructions(code, a->offset, a->size))
		return refuse(m, file_at(s, at),
			      "%s+0x%llx: %u bytes at %s+0x%llx, %u new ones: no alternative",
			      s->name, (unsigned long long)at, a->size, code->name,
			      (unsigned long long)a->offset, a->repl_size);
	if (!t.section || repl->role != ROLE_SPARE || t.offset < 0 ||
	    (uint64_t)t.offset > repl->hdr.sh_size ||
	    a->repl_size > repl->hdr.sh_size - (uint64_t)t.offset ||
	    !whole_instructions(repl, (uint64_t)t.offset, a->repl_size))
		return refuse(m, r->file, "%s+0x%llx: the replacement is no code to be copied",
			      s->name, (unsigned long long)at);
	a->repl_section = t.section;
	a->repl_offset = (uint64_t)t.offset;
	return replacement_moves(m, a);
}

static int by_place(const void *a, const void *b)
{
	const struct alternative *x = a, *y = b;

	if (x->section != y->section)
		return x->section < y->section ? -1 : 1;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

bool alternatives_read(struct module *m, const struct section *s)
{
	struct alternative *a;

	if (!whole_records(m, s, RECORD))
		return false;
	for (uint64_t at = 0; at < s->hdr.sh_size; at += RECORD)
		if (!read_record(m, s, at, (uint32_t)(at / RECORD)))
			return false;
	a = m->alternatives.data;
	if (m->alternatives.count)
		qsort(a, m->alternatives.count, sizeof(*a), by_place);
	for (uint32_t i = 0, first; i < m->alternatives.count;) {
		struct patch_site *p = vec_add(&m->sites, sizeof(*p), 1);

		first = i;
		while (i < m->alternatives.count && a[i].section == a[first].section &&
		       a[i].offset == a[first].offset) {
			if (a[i].size != a[first].size)
				return refuse(m, file_at(s, (uint64_t)a[i].order * RECORD),
					      "%s+0x%llx: alternatives of two sizes at one place",
					      s->name, (unsigned long long)a[i].order * RECORD);
			i++;
		}
		p->section = p->target_section = a[first].section;
		p->offset = p->target = a[first].offset;
		p->size = a[first].size;
		p->first = first;
		p->count = i - first;
	}
	return true;
}

/* The kernel's table of NOPs (arch/x86/include/asm/nops.h), 1 to 8 bytes. */
static const uint8_t nops[9][8] = {
	{ 0 },
	{ 0x90 },
	{ 0x66, 0x90 },
	{ 0x0f, 0x1f, 0x00 },
	{ 0x0f, 0x1f, 0x40, 0x00 },
	{ 0x0f, 0x1f, 0x44, 0x00, 0x00 },
	{ 0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00 },
	{ 0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00 },
	{ 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00 },
};

void optimize_nops(uint8_t *bytes, size_t size)
{
	ZydisDecodedInstruction in;
	ZydisDecoder decoder;
	size_t run;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (size_t i = 0; i < size; i += run) {
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, NULL, bytes + i, size - i,
								&in)))
			return;
		run = in.length;
		if (run != 1 || bytes[i] != 0x90)
			continue;
		while (i + run < size && bytes[i + run] == 0x90)
			run++;
		for (size_t done = 0, n; done < run; done += n) {
			n = run - done < 8 ? run - done : 8;
			memcpy(bytes + i + done, nops[n], n);
		}
	}
}
