// SPDX-License-Identifier: GPL-2.0-only
/*
 * Jumps through a table of places in their own function:
 *
 *	mov table(,%index,8), %R
 *	jmp __x86_indirect_thunk_R
 *
 * Each has a thunk of its own, a tree of `cmp $target, R; je target; ja upper half` whose leaves
 * jump to the leave-indirect gate of R. Whatever the shape, R goes on inside only where it equals a
 * target; that every target is found is tried out. The table is the run of R_X86_64_64 words from
 * the displacement on that name places of the same function.
 */
#include "check/internal.h"

#include <stdlib.h>
#include <string.h>

#define NODE_MIN 5u    /* jmp rel32 */
#define NODE_BYTES 19u /* cmp, je, ja */
#define MAX_DEPTH 64u

static bool bad(struct ck *ck, uint32_t at, const char *what)
{
	const struct sec *s = &ck->w.sec[ck->text];

	return fault(ck, CHECK_THUNKS, ck->w.elf.path, sec_at(s, at), "%s+0x%x: %s", s->name, at,
		     what);
}

static struct place field(struct ck *ck, uint32_t at, uint32_t type)
{
	const struct sec *s = &ck->w.sec[ck->text];
	const struct rel *r = sec_rel(s, at);
	uint32_t v;

	memcpy(&v, s->data + at, 4);
	if (v || !r || r->type != type)
		return (struct place){ 0, 0 };
	return w_place(ck, r->wsym, r->waddend + (type == R_X86_64_PLT32 ? 4 : 0));
}

/* A node or leaf at `at`: its size, 0: neither. A leaf has no section. */
static uint32_t node(struct ck *ck, uint32_t at, uint32_t end, uint32_t reg, struct place *target,
		     uint32_t *above)
{
	const uint8_t cmp[] = { reg < 8 ? 0x48 : 0x49, 0x81, (uint8_t)(0xf8 | (reg & 7)) };
	const uint8_t *d = ck->w.sec[ck->text].data + at;
	struct place p;
	int32_t skip;

	*target = (struct place){ 0, 0 };
	if (end - at >= NODE_MIN && d[0] == 0xe9) {
		p = field(ck, at + 1, R_X86_64_PLT32);
		if (p.section == ck->gates && p.offset % GM_GATE_BYTES == 0 &&
		    p.offset / GM_GATE_BYTES < ck->m.h->gates.count &&
		    ck->m.gates[p.offset / GM_GATE_BYTES].kind == GM_GATE_LEAVE_INDIRECT &&
		    ck->m.gates[p.offset / GM_GATE_BYTES].reg == reg)
			return NODE_MIN;
		return 0;
	}
	if (end - at < NODE_BYTES || memcmp(d, cmp, sizeof(cmp)) != 0 || d[7] != 0x0f ||
	    d[8] != 0x84 || d[13] != 0x0f || d[14] != 0x87)
		return 0;
	*target = field(ck, at + 3, R_X86_64_32S);
	p = field(ck, at + 9, R_X86_64_PLT32);
	memcpy(&skip, d + 15, 4);
	if (!p.section || p.section == ck->gates || p.section != target->section ||
	    p.offset != target->offset || skip < 0 || (uint32_t)skip >= end - at - NODE_BYTES)
		return 0;
	*above = at + NODE_BYTES + (uint32_t)skip;
	return NODE_BYTES;
}

/* Does the tree find this place? */
static bool finds(struct ck *ck, const struct jump_thunk *t, struct place want)
{
	uint32_t at = t->offset, above = 0;
	struct place p;

	for (unsigned depth = 0; depth < MAX_DEPTH; depth++) {
		uint32_t n = node(ck, at, t->end, t->reg, &p, &above);

		if (!n || !p.section || p.section != want.section)
			return false;
		if (p.offset == want.offset)
			return true;
		at = want.offset > p.offset ? above : at + n;
	}
	return false;
}

bool check_jump_thunk(struct ck *ck, uint32_t offset, uint32_t size)
{
	const uint8_t *d = ck->w.sec[ck->text].data + offset;
	struct jump_thunk t = { .offset = offset, .end = offset + size, .at = { 0, 0 } };
	uint8_t *starts = check_alloc(size / 8 + 1, 1);
	uint32_t above = 0, n;
	struct place p;
	bool ok = size >= NODE_BYTES + 2 * NODE_MIN;

	t.reg = (d[0] == 0x49 ? 8u : 0u) + (d[2 % size] & 7);
	for (uint32_t at = offset; ok && at < t.end; at += n) {
		n = node(ck, at, t.end, t.reg, &p, &above);
		ok = n != 0;
		set_bit(starts, at - offset);
		t.targets += ok && p.section;
	}
	for (uint32_t at = offset; ok && at < t.end; at += n) {
		n = node(ck, at, t.end, t.reg, &p, &above);
		/* a node goes on right behind itself or above; both are nodes or leaves */
		if (p.section)
			ok = bit(starts, above - offset) && at + n < t.end;
	}
	free(starts);
	if (!ok)
		return bad(ck, offset, "no tree of comparisons that leads to targets or out");
	*(struct jump_thunk *)vec_more(&ck->jump_thunks, sizeof(t), 1) = t;
	proved(ck, CHECK_THUNKS, 1);
	return true;
}

struct jump_thunk *jump_thunk_at(struct ck *ck, uint32_t offset)
{
	struct jump_thunk *t = ck->jump_thunks.data;

	for (uint32_t i = 0; i < ck->jump_thunks.count; i++)
		if (t[i].offset == offset)
			return &t[i];
	return NULL;
}

static int by_target(const void *a, const void *b)
{
	const struct gm_jump *x = a, *y = b;

	if (x->moff != y->moff)
		return x->moff < y->moff ? -1 : 1;
	return x->target < y->target ? -1 : x->target > y->target;
}

/* Word k of the table: a place of function f? */
static bool word(struct ck *ck, struct place table, uint32_t k, const struct fn *f, struct place *p)
{
	const struct rel *r = sec_rel(&ck->w.sec[table.section], table.offset + 8ull * k);

	if (!r || r->type != R_X86_64_64)
		return false;
	*p = o_place(ck, r->sym, r->addend);
	return p->section == f->section && fn_around(ck, p->section, p->offset) == f;
}

bool check_table_jump(struct ck *ck, struct jump_thunk *t, struct place at, struct place table,
		      uint32_t reg)
{
	const struct fn *f = fn_around(ck, at.section, at.offset);
	uint32_t first = ck->jumps.count, words = 0, distinct = 0;
	struct gm_jump *j;
	struct place p;

	if (!f || t->at.section || t->reg != reg || !table.section ||
	    ck->w.sec[table.section].use != USE_CONST)
		return bad(ck, t->offset, "the thunk of another jump, or of no table");
	for (; word(ck, table, words, f, &p); words++) {
		if (!finds(ck, t, p))
			return bad(ck, t->offset, "does not find a target of its table");
		set_bit(ck->w.sec[p.section].targets, p.offset);
		j = vec_more(&ck->jumps, sizeof(*j), 1);
		*j = (struct gm_jump){ moff_of(ck, at.section, at.offset),
				       moff_of(ck, p.section, p.offset) };
	}
	j = (struct gm_jump *)ck->jumps.data + first;
	if (words)
		qsort(j, words, sizeof(*j), by_target);
	for (uint32_t i = 0; i < words; i++)
		if (!distinct || j[distinct - 1].target != j[i].target)
			j[distinct++] = j[i];
	ck->jumps.count = first + distinct;
	if (!distinct || distinct != t->targets)
		return bad(ck, t->offset, "has targets that are not in its table");
	t->at = at;
	t->table = table;
	t->words = words;
	return true;
}

bool word_of_table(const struct ck *ck, uint32_t section, uint32_t offset)
{
	const struct jump_thunk *t = ck->jump_thunks.data;

	for (uint32_t i = 0; i < ck->jump_thunks.count; i++)
		if (t[i].at.section && t[i].table.section == section &&
		    offset >= t[i].table.offset && offset - t[i].table.offset < 8 * t[i].words)
			return true;
	return false;
}

void check_jumps(struct ck *ck)
{
	const struct jump_thunk *t = ck->jump_thunks.data;
	uint32_t n = ck->jumps.count;

	for (uint32_t i = 0; i < ck->jump_thunks.count; i++)
		if (!t[i].at.section)
			bad(ck, t[i].offset, "the thunk of no jump");
	if (n)
		qsort(ck->jumps.data, n, sizeof(struct gm_jump), by_target);
	if (n != ck->m.h->jumps.count ||
	    (n && memcmp(ck->jumps.data, ck->m.jumps, n * sizeof(struct gm_jump)) != 0))
		fault(ck, CHECK_THUNKS, ck->m.path, offsetof(struct gm_header, jumps),
		      "%u targets of jump tables, not just the %u that the object has",
		      ck->m.h->jumps.count, n);
	else
		proved(ck, CHECK_TABLE_JUMPS, n);
}

/* Unwind rows of .guard.text: nothing is pushed, but a table's thunk has the frame of its jump. */
void thunk_rows(struct ck *ck)
{
	const struct row plain = {
		.section = ck->text,
		.known = true,
		.rule = { .cfa_rule = GM_CFA_REG, .cfa_reg = 4, .cfa_offset = 8 }
	};
	const struct jump_thunk *t = ck->jump_thunks.data;
	uint32_t n = ck->jump_thunks.count;

	*(struct row *)vec_more(&ck->thunk_rows, sizeof(plain), 1) = plain;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t left;
		const struct row *r = rows_of(ck, t[i].at.section, &left), *last = NULL;
		struct row row = plain;

		for (; left && r->offset <= t[i].at.offset; r++, left--)
			last = r;
		if (last)
			row = *last;
		row.section = ck->text;
		row.offset = t[i].offset;
		*(struct row *)vec_more(&ck->thunk_rows, sizeof(row), 1) = row;
		if (i + 1 < n && t[i + 1].offset == t[i].end)
			continue;
		row = plain;
		row.offset = t[i].end;
		*(struct row *)vec_more(&ck->thunk_rows, sizeof(row), 1) = row;
	}
}
