// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inner thunks, byte by byte. A thunk of register R goes on inside of the module only if R is the
 * address of one of the enter gates of a run, none of which is init's or exit's; then it jumps to a
 * stub that sets R to just that gate and jumps to its function. Otherwise it restores R and jumps
 * to the leave-indirect gate of R. R is checked and used without ever being in memory:
 *
 *	   sub  $run, R			stub k:	mov $gate k of the run, R
 *	   test $15, R				jmp its function
 *	   jne  out				int3 up to 16 bytes
 *	   cmp  $bytes of the run, R
 *	   jae  out
 *	   add  $stubs, R
 *	   jmp  *R
 *	   int3
 *	out: add $run, R
 *	   jmp  leave-indirect gate of R
 *
 * Everything in .guard.text must be one of: a thunk, its stubs, the inner ret, an inner copy of a
 * leaf function (copies.c), int3.
 */
#include "check/internal.h"

#include <stdlib.h>
#include <string.h>

#define STUB 16u

/* A place in .guard.text while it is matched. */
struct match {
	struct ck *ck;
	const struct sec *s;
	uint32_t at;
	uint32_t next; /* relocation */
	bool ok;
};

/* Stubs that a thunk announced: where, of which register, for which gates. */
struct stubs {
	uint32_t at, reg, gate, count;
	bool seen;
};

static void expect(struct match *m, const void *bytes, uint32_t n)
{
	if (!m->ok || n > m->s->hdr.sh_size - m->at || memcmp(m->s->data + m->at, bytes, n) != 0) {
		m->ok = false;
		return;
	}
	m->at += n;
}

static void expect1(struct match *m, unsigned byte)
{
	const uint8_t b = (uint8_t)byte;

	expect(m, &b, 1);
}

static uint32_t value32(struct match *m)
{
	uint32_t v = 0;

	if (!m->ok || m->s->hdr.sh_size - m->at < 4) {
		m->ok = false;
		return 0;
	}
	memcpy(&v, m->s->data + m->at, 4);
	m->at += 4;
	return v;
}

/* A field of 4 zero bytes with the next relocation on it: where that leads. */
static struct place field(struct match *m, bool branch)
{
	const struct place none = { 0, 0 };
	const struct rel *r = &m->s->rels[m->next];
	uint32_t at = m->at;

	if (value32(m) || !m->ok || m->next == m->s->nrels || r->offset != at ||
	    r->type != (branch ? R_X86_64_PLT32 : R_X86_64_32S)) {
		m->ok = false;
		return none;
	}
	m->next++;
	return w_place(m->ck, r->wsym, r->waddend + (branch ? 4 : 0));
}

/* REX.W OP /ext with register R. */
static void alu(struct match *m, unsigned op, unsigned ext, uint32_t reg)
{
	expect1(m, reg < 8 ? 0x48 : 0x49);
	expect1(m, op);
	expect1(m, 0xc0 | ext << 3 | (reg & 7));
}

static void jump_to_gate(struct match *m, uint32_t reg)
{
	struct place p;
	const struct gm_gate *g;

	expect1(m, 0xe9);
	p = field(m, true);
	if (!m->ok || p.section != m->ck->gates || p.offset % GM_GATE_BYTES ||
	    p.offset / GM_GATE_BYTES >= m->ck->m.h->gates.count) {
		m->ok = false;
		return;
	}
	g = &m->ck->m.gates[p.offset / GM_GATE_BYTES];
	m->ok = g->kind == GM_GATE_LEAVE_INDIRECT && g->reg == reg;
}

/* The whole of a thunk of reg with a run; fills what it announces. */
static void thunk(struct match *m, uint32_t reg, struct stubs *st)
{
	struct place run, stubs, again;
	uint32_t jne, jae, bytes;

	alu(m, 0x81, 5, reg);
	run = field(m, false);
	alu(m, 0xf7, 0, reg);
	if (value32(m) != GM_GATE_BYTES - 1)
		m->ok = false;
	expect1(m, 0x75);
	jne = m->at;
	m->at += m->ok;
	alu(m, 0x81, 7, reg);
	bytes = value32(m);
	expect1(m, 0x73);
	jae = m->at;
	m->at += m->ok;
	alu(m, 0x81, 0, reg);
	stubs = field(m, false);
	if (reg >= 8)
		expect1(m, 0x41);
	expect1(m, 0xff);
	expect1(m, 0xe0 | (reg & 7));
	expect1(m, 0xcc);
	if (!m->ok || m->s->data[jne] != m->at - jne - 1 || m->s->data[jae] != m->at - jae - 1) {
		m->ok = false;
		return;
	}
	alu(m, 0x81, 0, reg);
	again = field(m, false);
	jump_to_gate(m, reg);
	if (run.section != m->ck->gates || again.section != run.section ||
	    again.offset != run.offset || run.offset % GM_GATE_BYTES || bytes % GM_GATE_BYTES ||
	    !bytes || stubs.section != m->ck->text)
		m->ok = false;
	*st = (struct stubs){ stubs.offset, reg, run.offset / GM_GATE_BYTES, bytes / GM_GATE_BYTES,
			      false };
}

/* The gates of a run: entries all, neither init nor exit, inside of the table. */
static bool run_is_plain(struct ck *ck, const struct stubs *st)
{
	if (st->gate > ck->m.h->gates.count || st->count > ck->m.h->gates.count - st->gate)
		return false;
	for (uint32_t i = st->gate; i < st->gate + st->count; i++)
		if (ck->m.gates[i].kind != GM_GATE_ENTER ||
		    ck->m.entries[ck->m.gates[i].index].flags)
			return false;
	return true;
}

static void stub(struct match *m, const struct stubs *st, uint32_t k)
{
	uint32_t start = m->at;
	struct place gate, f;

	alu(m, 0xc7, 0, st->reg);
	gate = field(m, false);
	expect1(m, 0xe9);
	f = field(m, true);
	if (!m->ok || gate.section != m->ck->gates ||
	    gate.offset != (st->gate + k) * GM_GATE_BYTES || !f.section ||
	    m->ck->w.sec[f.section].segment == NONE ||
	    f.offset >= m->ck->w.sec[f.section].hdr.sh_size ||
	    moff_of(m->ck, f.section, f.offset) !=
		    m->ck->m.entries[m->ck->m.gates[st->gate + k].index].moff) {
		m->ok = false;
		return;
	}
	while (m->ok && m->at < start + STUB)
		expect1(m, 0xcc);
}

static bool at_stubs(struct match *m, struct vec *all)
{
	struct stubs *st = all->data;

	for (uint32_t i = 0; i < all->count; i++, st++) {
		if (st->at != m->at || st->seen)
			continue;
		st->seen = true;
		for (uint32_t k = 0; k < st->count && m->ok; k++)
			stub(m, st, k);
		if (m->ok)
			proved(m->ck, CHECK_THUNKS, st->count);
		return true;
	}
	return false;
}

static bool at_thunk(struct match *m, struct vec *all)
{
	struct match start = *m;

	for (uint32_t reg = 0; reg < 16; reg++) {
		struct stubs st = { 0 };

		*m = start;
		if (reg == 4)
			continue;
		thunk(m, reg, &st);
		if (m->ok && run_is_plain(m->ck, &st))
			*(struct stubs *)vec_more(all, sizeof(st), 1) = st;
		else
			m->ok = false;
		if (!m->ok) {
			/* no run: out at once */
			*m = start;
			jump_to_gate(m, reg);
		}
		if (m->ok && m->ck->thunk[reg] == NONE) {
			m->ck->thunk[reg] = start.at;
			proved(m->ck, CHECK_THUNKS, 1);
			return true;
		}
	}
	*m = start;
	return false;
}

static bool at_copy(struct match *m)
{
	uint32_t n = copy_at(m->ck, m->at);

	if (!n)
		return false;
	m->ok = check_copy(m->ck, m->at, n) &&
		(m->next == m->s->nrels || m->s->rels[m->next].offset >= m->at + n);
	m->at += n;
	return true;
}

/* The thunk of a jump table says by its symbol where it ends. */
static bool at_jump(struct match *m)
{
	for (uint32_t i = m->ck->o.nsym; i < m->ck->w.nsym; i++) {
		const Elf64_Sym *y = &m->ck->w.sym[i];

		if (y->st_shndx != m->ck->text || y->st_value != m->at || !y->st_size ||
		    y->st_size > m->s->hdr.sh_size - m->at ||
		    strncmp(sym_name(&m->ck->w, i), "__guard_jump_", 13) != 0)
			continue;
		m->ok = check_jump_thunk(m->ck, m->at, (uint32_t)y->st_size);
		m->at += (uint32_t)y->st_size;
		while (m->next < m->s->nrels && m->s->rels[m->next].offset < m->at)
			m->next++;
		return true;
	}
	return false;
}

static void step(struct match *m, struct vec *all)
{
	if (m->s->data[m->at] == 0xcc) {
		m->at++;
	} else if (at_stubs(m, all) || at_copy(m) || at_jump(m)) {
		return; /* m->ok says whether they were in order */
	} else if (m->s->data[m->at] == 0xc3 && m->ck->ret_thunk == NONE) {
		m->ck->ret_thunk = m->at++;
		proved(m->ck, CHECK_THUNKS, 1);
	} else {
		m->ok = at_thunk(m, all);
	}
}

void check_thunks(struct ck *ck)
{
	struct match m = { .ck = ck, .s = &ck->w.sec[ck->text], .ok = true };
	const struct stubs *st;
	struct vec all = { 0 };

	ck->ret_thunk = NONE;
	memset(ck->thunk, 0xff, sizeof(ck->thunk));
	find_copies(ck);
	while (m.at < m.s->hdr.sh_size && m.ok) {
		uint32_t at = m.at;

		step(&m, &all);
		if (!m.ok)
			fault(ck, CHECK_THUNKS, ck->w.elf.path, sec_at(m.s, at),
			      "%s+0x%x: no thunk, stub or ret that is known", m.s->name, at);
	}
	if (m.ok && m.next != m.s->nrels)
		fault(ck, CHECK_THUNKS, ck->w.elf.path,
		      rec_at(&ck->w, m.s, m.s->rels[m.next].index),
		      "a relocation that belongs to no thunk");
	st = all.data;
	for (uint32_t i = 0; m.ok && i < all.count; i++)
		if (!st[i].seen)
			fault(ck, CHECK_THUNKS, ck->w.elf.path, sec_at(m.s, st[i].at),
			      "the stubs of a thunk are not where it leads");
	free(all.data);
}
