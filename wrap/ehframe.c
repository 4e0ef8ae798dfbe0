// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unwind rules from .eh_frame (DWARF call frame information as the x86-64 psABI and the LSB define
 * it), for modules without ORC. What a compiler emits for kernel code is understood; expressions
 * are, where they are one dereference of RBP (realigned frames). The rest is refused.
 */
#include "wrap/module.h"

#include <string.h>

#define DW_RBP 6
#define DW_RSP 7
#define DW_RA 16
#define MAX_STATES 32u /* nesting of remember_state */

/* DWARF register numbers differ from the encoding's for the first eight. */
static const uint8_t gpr_of[16] = { 0, 2, 1, 3, 6, 7, 5, 4, 8, 9, 10, 11, 12, 13, 14, 15 };

struct cursor {
	struct module *m;
	const struct section *s;
	uint64_t at, end;
	bool bad;
};

/* Rules of one place: those of RBP and the CFA are all that a walk needs. */
struct state {
	bool deref;
	uint64_t cfa_reg;
	int64_t cfa_offset;
	bool bp_saved, bp_at_bp;
	int64_t bp_offset;
};

struct cie {
	uint64_t code_align;
	int64_t data_align;
	uint8_t pointer; /* encoding of FDE addresses */
	bool augmented;
	struct state initial;
};

static bool fail(struct cursor *c, const char *what)
{
	c->bad = true;
	return refuse(c->m, file_at(c->s, c->at), "%s+0x%llx: %s", c->s->name,
		      (unsigned long long)c->at, what);
}

static uint64_t get(struct cursor *c, unsigned n)
{
	uint64_t v = 0;

	if (c->bad || c->end - c->at < n) {
		if (!c->bad)
			fail(c, "unwind data ends inside a record");
		return 0;
	}
	memcpy(&v, c->s->data + c->at, n);
	c->at += n;
	return v;
}

static uint64_t uleb(struct cursor *c)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 63; shift += 7) {
		uint8_t b = (uint8_t)get(c, 1);

		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80) || c->bad)
			return v;
	}
	fail(c, "a number is too long");
	return 0;
}

static int64_t sleb(struct cursor *c)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 63; shift += 7) {
		uint8_t b = (uint8_t)get(c, 1);

		v |= (uint64_t)(b & 0x7f) << shift;
		if (c->bad)
			return 0;
		if (!(b & 0x80)) {
			if (b & 0x40)
				v |= ~0ull << (shift + 7);
			return (int64_t)v;
		}
	}
	fail(c, "a number is too long");
	return 0;
}

/* Frames and saved registers lie within 32 KiB of each other; products cannot overflow then. */
static int64_t factored(struct cursor *c, int64_t n, int64_t factor)
{
	if (n > 32767 || n < -32768 || factor > 8 || factor < -8 || n * factor > 32767 ||
	    n * factor < -32768) {
		fail(c, "an offset is out of range");
		return 0;
	}
	return n * factor;
}

/* breg6 N; deref: the CFA of a realigned frame. breg6 N: RBP's save slot in one. */
static void expression(struct cursor *c, struct state *st, bool cfa)
{
	uint64_t len = uleb(c), stop;
	int64_t n;

	if (c->bad)
		return;
	if (len > c->end - c->at) {
		fail(c, "an expression reaches behind its record");
		return;
	}
	stop = c->at + len;
	if (get(c, 1) != 0x70 + DW_RBP) {
		fail(c, "an expression that is not understood");
		return;
	}
	n = factored(c, sleb(c), 1);
	if (cfa && get(c, 1) != 0x06 && !c->bad)
		fail(c, "an expression that is not understood");
	if (!c->bad && c->at != stop)
		fail(c, "an expression that is not understood");
	if (cfa) {
		st->deref = true;
		st->cfa_reg = DW_RBP;
		st->cfa_offset = n;
	} else {
		st->bp_saved = st->bp_at_bp = true;
		st->bp_offset = n;
	}
}

static void saved(struct cursor *c, const struct cie *cie, struct state *st, uint64_t reg,
		  int64_t n)
{
	int64_t offset = factored(c, n, cie->data_align);

	if (reg == DW_RA && offset != -8 && !c->bad)
		fail(c, "the return address is not at CFA - 8");
	if (reg == DW_RBP) {
		st->bp_saved = true;
		st->bp_at_bp = false;
		st->bp_offset = offset;
	}
}

static void restored(struct state *st, const struct state *initial, uint64_t reg)
{
	if (reg == DW_RBP) {
		st->bp_saved = initial->bp_saved;
		st->bp_at_bp = initial->bp_at_bp;
		st->bp_offset = initial->bp_offset;
	}
}

static void emit(struct cursor *c, uint32_t section, uint64_t at, const struct state *st)
{
	struct gm_unwind u = { .cfa_rule = st->deref ? GM_CFA_DEREF : GM_CFA_REG };

	if (c->bad)
		return;
	if (st->cfa_reg >= 16) {
		fail(c, "a frame is based on no general register");
		return;
	}
	u.cfa_reg = gpr_of[st->cfa_reg];
	u.cfa_offset = (int16_t)st->cfa_offset;
	u.bp_rule = !st->bp_saved ? GM_BP_SAME : st->bp_at_bp ? GM_BP_AT_BP : GM_BP_AT_CFA;
	u.bp_offset = st->bp_saved ? (int16_t)st->bp_offset : 0;
	unwind_add(c->m, section, at, &u);
}

/*
 * Runs a call frame program. With `section` != 0 a row is emitted before each advance; a CIE's
 * program has no places.
 */
static void run(struct cursor *c, const struct cie *cie, struct state *st, uint32_t section,
		uint64_t at, uint64_t stop)
{
	struct state stack[MAX_STATES] = { 0 };
	unsigned depth = 0;

	while (!c->bad && c->at < c->end) {
		uint8_t op = (uint8_t)get(c, 1);
		uint64_t advance = 0, reg;

		switch (op >> 6) {
		case 1: advance = op & 63; break;
		case 2: saved(c, cie, st, op & 63, (int64_t)uleb(c)); continue;
		case 3: restored(st, &cie->initial, op & 63); continue;
		default: break;
		}
		switch (op >> 6 ? 0x100 : op) {
		case 0x100: break;
		case 0x00: continue; /* nop */
		case 0x02: advance = get(c, 1); break;
		case 0x03: advance = get(c, 2); break;
		case 0x04: advance = get(c, 4); break;
		case 0x05: /* offset_extended */
			reg = uleb(c);
			saved(c, cie, st, reg, (int64_t)uleb(c));
			continue;
		case 0x06: restored(st, &cie->initial, uleb(c)); continue;
		case 0x07: /* undefined, same_value: RBP would be lost or intact */
		case 0x08:
			reg = uleb(c);
			if (reg == DW_RBP && op == 0x07)
				fail(c, "RBP is lost");
			else if (reg == DW_RBP)
				st->bp_saved = false;
			else if (reg == DW_RA)
				fail(c, "the return address is lost");
			continue;
		case 0x09: /* register */
			reg = uleb(c);
			uleb(c);
			if (reg == DW_RBP || reg == DW_RA)
				fail(c, "a register that leads home is kept in another");
			continue;
		case 0x0a: /* remember_state */
			if (depth == MAX_STATES)
				fail(c, "states are nested too deep");
			else
				stack[depth++] = *st;
			continue;
		case 0x0b:
			if (depth == 0)
				fail(c, "a state is restored that was not remembered");
			else
				*st = stack[--depth];
			continue;
		case 0x0c: /* def_cfa */
			st->cfa_reg = uleb(c);
			st->cfa_offset = factored(c, (int64_t)uleb(c), 1);
			st->deref = false;
			continue;
		case 0x0d:
			st->cfa_reg = uleb(c);
			if (st->deref)
				fail(c, "a register for an expression");
			continue;
		case 0x0e:
			st->cfa_offset = factored(c, (int64_t)uleb(c), 1);
			if (st->deref)
				fail(c, "an offset for an expression");
			continue;
		case 0x0f: expression(c, st, true); continue;
		case 0x10: /* expression */
			reg = uleb(c);
			if (reg == DW_RBP) {
				expression(c, st, false);
			} else {
				uint64_t len = uleb(c);

				if (reg == DW_RA)
					fail(c, "the return address is not at CFA - 8");
				else if (!c->bad && len > c->end - c->at)
					fail(c, "an expression reaches behind its record");
				else if (!c->bad)
					c->at += len;
			}
			continue;
		case 0x11: /* offset_extended_sf */
			reg = uleb(c);
			saved(c, cie, st, reg, sleb(c));
			continue;
		case 0x12: /* def_cfa_sf */
			st->cfa_reg = uleb(c);
			st->cfa_offset = factored(c, sleb(c), cie->data_align);
			st->deref = false;
			continue;
		case 0x13: st->cfa_offset = factored(c, sleb(c), cie->data_align); continue;
		case 0x2e: uleb(c); continue; /* GNU_args_size */
		default: fail(c, "a call frame instruction that is not known"); continue;
		}
		if (c->bad)
			return;
		if (!section) {
			fail(c, "a place in a record that has none");
			return;
		}
		emit(c, section, at, st);
		if (advance > stop || at + advance * cie->code_align > stop ||
		    cie->code_align > 16) {
			fail(c, "unwind data reaches behind its function");
			return;
		}
		at += advance * cie->code_align;
	}
	if (section && at < stop)
		emit(c, section, at, st);
}

static bool read_cie(struct cursor *c, struct cie *cie)
{
	char augmentation[8] = "";
	unsigned n = 0;

	*cie = (struct cie){ .pointer = 0 };
	if (get(c, 1) != 1 && !c->bad)
		return fail(c, "a version of unwind data that is not known");
	for (;;) {
		char ch = (char)get(c, 1);

		if (c->bad)
			return false;
		if (n == sizeof(augmentation))
			return fail(c, "an augmentation that is not known");
		augmentation[n++] = ch;
		if (!ch)
			break;
	}
	cie->code_align = uleb(c);
	cie->data_align = sleb(c);
	if (uleb(c) != DW_RA && !c->bad)
		return fail(c, "another return address column than 16");
	if (augmentation[0] == 'z') {
		uint64_t len = uleb(c), stop;

		if (c->bad || len > c->end - c->at)
			return c->bad ? false
				      : fail(c, "an augmentation reaches behind its record");
		stop = c->at + len;
		for (unsigned i = 1; augmentation[i]; i++) {
			if (augmentation[i] != 'R')
				return fail(c, "an augmentation that is not known");
			cie->pointer = (uint8_t)get(c, 1);
		}
		if (c->at != stop)
			return fail(c, "an augmentation that is not known");
		cie->augmented = true;
	} else if (augmentation[0]) {
		return fail(c, "an augmentation that is not known");
	}
	if (cie->pointer != 0x1b && !c->bad) /* pcrel, signed 4 bytes */
		return fail(c, "an address encoding that is not known");
	cie->initial = (struct state){ .cfa_reg = 16 };
	run(c, cie, &cie->initial, 0, 0, 0);
	return !c->bad;
}

static bool read_fde(struct cursor *c, const struct cie *cie, const struct rel *r)
{
	struct module *m = c->m;
	const struct gm_unwind none = { .cfa_rule = GM_CFA_NONE };
	struct state st = cie->initial;
	struct rel_target t;
	uint64_t size;

	if (r->offset != c->at || r->type != R_X86_64_PC32)
		return fail(c, "an FDE without a relocated address");
	if (!rel_resolve(m, c->s, r, &t))
		return false;
	get(c, 4);
	size = get(c, 4);
	if (cie->augmented) {
		uint64_t len = uleb(c);

		if (c->bad || len > c->end - c->at)
			return c->bad ? false
				      : fail(c, "an augmentation reaches behind its record");
		c->at += len;
	}
	if (c->bad)
		return false;
	if (!t.section || m->sections[t.section].role != ROLE_TEXT || t.offset < 0 ||
	    (uint64_t)t.offset > m->sections[t.section].hdr.sh_size ||
	    size > m->sections[t.section].hdr.sh_size - (uint64_t)t.offset)
		return fail(c, "an FDE for something that is no code");
	if (size == 0)
		return true;
	run(c, cie, &st, t.section, (uint64_t)t.offset, (uint64_t)t.offset + size);
	/* behind the function nothing is known, unless another one starts there */
	unwind_add(m, t.section, (uint64_t)t.offset + size, &none);
	return !c->bad;
}

/* The CIE that an FDE names by its distance. Bounded: each FDE reads its own again. */
static bool find_cie(struct cursor *c, uint64_t id_at, uint64_t id, struct cie *cie)
{
	struct cursor k = { c->m, c->s, 0, c->s->hdr.sh_size, false };
	uint64_t len;

	if (id > id_at)
		return fail(c, "an FDE's CIE lies before the section");
	k.at = id_at - id;
	len = get(&k, 4);
	if (k.bad)
		return false;
	if (len < 4 || len > 4096 || len > c->s->hdr.sh_size - k.at)
		return fail(c, "an FDE's CIE has no sensible length");
	k.end = k.at + len;
	if (get(&k, 4) != 0 || k.bad)
		return k.bad ? false : fail(c, "an FDE's CIE is none");
	return read_cie(&k, cie);
}

/* Reads .eh_frame; every record's length and back reference is bounded by the section. */
bool ehframe_read(struct module *m)
{
	uint32_t index = section_named(m, ".eh_frame");
	const struct section *s = &m->sections[index];
	uint64_t at = 0;
	size_t r = 0;

	if (!index)
		return refuse(m, m->elf.eh.e_shoff,
			      "neither ORC nor .eh_frame: nothing says where frames are "
			      "(compile with -fasynchronous-unwind-tables)");
	if (!s->data)
		return refuse(m, s->file, ".eh_frame has no contents");
	while (at < s->hdr.sh_size) {
		struct cursor c = { m, s, at, s->hdr.sh_size, false };
		uint64_t len = get(&c, 4), id_at = c.at, id;
		struct cie cie = { 0 };

		if (c.bad)
			return false;
		if (len == 0) { /* the terminator; ld -r keeps those in the middle */
			at += 4;
			continue;
		}
		if (len >= 0xfffffff0u || len > s->hdr.sh_size - id_at)
			return fail(&c, "a record reaches behind the section");
		c.end = id_at + len;
		at = c.end;
		id = get(&c, 4);
		if (c.bad)
			return false;
		if (id == 0) {
			if (!read_cie(&c, &cie))
				return false;
			continue;
		}
		if (!find_cie(&c, id_at, id, &cie))
			return false;
		while (r < s->nrels && s->rels[r].offset < c.at)
			r++;
		if (r == s->nrels)
			return fail(&c, "an FDE without a relocated address");
		if (!read_fde(&c, &cie, &s->rels[r]))
			return false;
	}
	return true;
}
