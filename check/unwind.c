// SPDX-License-Identifier: GPL-2.0-only
/*
 * The unwind map against the original's unwind data, at every instruction boundary. Both are steps
 * of constant value; they are merged, and where they differ no instruction may start.
 *
 * ORC as in Linux 6.1 (arch/x86/include/asm/orc_types.h, kernel/unwind_orc.c): .orc_unwind_ip has
 * the places, .orc_unwind 6 bytes for each: s16 of the CFA, s16 of RBP, 4 bits CFA register, 4 bits
 * RBP register, 2 bits type, 1 bit end. The last record at or before an address holds; of two at
 * one address the kernel sorts the undefined one first.
 */
#include "check/internal.h"

#include <stdlib.h>
#include <string.h>

#define ORC_BYTES 6u

/* By number of the record's CFA register: GPR number, or 0xff. BP_INDIRECT is separate. */
static const uint8_t orc_gpr[16] = {
	0xff, 0xff, 2, 7, 5, 4, 10, 13, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
};
#define ORC_UNDEFINED 0u
#define ORC_BP_INDIRECT 8u
#define ORC_BP_OF_CFA 1u
#define ORC_BP_OF_BP 4u

static void orc_rule(const uint8_t *rec, struct row *row)
{
	struct gm_unwind *u = &row->rule;
	unsigned cfa = rec[4] & 15, bp = rec[4] >> 4;

	*u = (struct gm_unwind){ .cfa_rule = GM_CFA_NONE };
	row->known = cfa != ORC_UNDEFINED;
	row->bad = false;
	if (!row->known)
		return;
	memcpy(&u->cfa_offset, rec, 2);
	u->cfa_rule = cfa == ORC_BP_INDIRECT ? GM_CFA_DEREF : GM_CFA_REG;
	u->cfa_reg = cfa == ORC_BP_INDIRECT ? 5 : orc_gpr[cfa];
	if (bp != ORC_UNDEFINED)
		memcpy(&u->bp_offset, rec + 2, 2);
	u->bp_rule = bp == ORC_UNDEFINED   ? GM_BP_SAME
		     : bp == ORC_BP_OF_CFA ? GM_BP_AT_CFA
					   : GM_BP_AT_BP;
	/* frames that hardware pushed, registers that a manifest cannot name */
	row->bad = u->cfa_reg == 0xff || rec[5] & 3 ||
		   (bp != ORC_UNDEFINED && bp != ORC_BP_OF_CFA && bp != ORC_BP_OF_BP);
}

static bool same_rule(const struct gm_unwind *a, const struct gm_unwind *b)
{
	return a->cfa_rule == b->cfa_rule && a->cfa_reg == b->cfa_reg &&
	       a->cfa_offset == b->cfa_offset && a->bp_rule == b->bp_rule &&
	       a->bp_offset == b->bp_offset;
}

bool orc_says(const uint8_t *record, const struct row *want)
{
	struct row r;

	orc_rule(record, &r);
	/* the byte of type and end, and what is not used, are zero */
	return !r.bad && !record[5] && r.known == want->known && same_rule(&r.rule, &want->rule) &&
	       (record[4] >> 4 != ORC_UNDEFINED || (!record[2] && !record[3]));
}

bool orc_rows(struct ck *ck)
{
	uint32_t data = sec_named(&ck->o, ".orc_unwind"), ip = sec_named(&ck->o, ".orc_unwind_ip");
	const struct sec *d = &ck->o.sec[data], *p = &ck->w.sec[ip];
	uint32_t n = (uint32_t)(ck->o.sec[ip].hdr.sh_size / 4);
	struct row *row;

	if (!data || !ip || !d->data || !p->data || ck->o.sec[ip].hdr.sh_size != 4ull * n ||
	    d->hdr.sh_size != (uint64_t)ORC_BYTES * n || p->nrels != n)
		return fault(ck, CHECK_UNWIND, ck->o.elf.path,
			     elfile_section_at(&ck->o.elf, data ? data : ip),
			     "ORC data whose halves do not fit");
	row = vec_more(&ck->rows, sizeof(*row), n);
	for (uint32_t i = 0; i < n; i++, row++) {
		struct place at = o_place(ck, p->rels[i].sym, p->rels[i].addend);

		if (p->rels[i].offset != 4 * i || p->rels[i].type != R_X86_64_PC32 || !at.section)
			return fault(ck, CHECK_UNWIND, ck->o.elf.path, sec_at(p, 4ull * i),
				     "ORC place %u is no place in a section", i);
		row->section = at.section;
		row->offset = at.offset;
		row->record = i;
		orc_rule(d->data + (size_t)i * ORC_BYTES, row);
	}
	return true;
}

static int by_row(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->section != y->section)
		return x->section < y->section ? -1 : 1;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	if (x->known != y->known)
		return x->known ? 1 : -1;
	return x->record < y->record ? -1 : 1;
}

/* Reads and sorts; of several rows at one place the last one stays. */
void read_rows(struct ck *ck)
{
	bool sorted = true;
	struct row *r;
	uint32_t n = 0;

	if (!(sec_named(&ck->o, ".orc_unwind") ? orc_rows(ck) : eh_rows(ck))) {
		ck->no_rows = true;
		ck->rows.count = 0;
		return;
	}
	r = ck->rows.data;
	for (uint32_t i = 1; i < ck->rows.count && sorted; i++)
		sorted = by_row(&r[i - 1], &r[i]) < 0;
	if (!sorted)
		qsort(r, ck->rows.count, sizeof(*r), by_row);
	for (uint32_t i = 0; i < ck->rows.count; i++) {
		if (n && r[n - 1].section == r[i].section && r[n - 1].offset == r[i].offset) {
			if (r[n - 1].known && !same_rule(&r[n - 1].rule, &r[i].rule))
				r[i].bad = true; /* which one the kernel takes is chance */
			n--;
		}
		r[n++] = r[i];
	}
	ck->rows.count = n;
}

const struct row *rows_of(const struct ck *ck, uint32_t section, uint32_t *n)
{
	const struct row *r = ck->rows.data;
	uint32_t lo = 0, hi = ck->rows.count, end;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (r[mid].section < section)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (end = lo, hi = ck->rows.count; end < hi;) {
		uint32_t mid = end + (hi - end) / 2;

		if (r[mid].section <= section)
			end = mid + 1;
		else
			hi = mid;
	}
	*n = end - lo;
	return *n ? r + lo : NULL;
}

/* The first instruction that starts in [from, to), or `to`. */
static uint32_t first_start(const struct sec *s, uint32_t from, uint32_t to)
{
	while (from < to && !bit(s->starts, from))
		from += from % 8 == 0 && !s->starts[from / 8] ? 8 : 1;
	return from < to ? from : to;
}

static uint64_t count_starts(const struct sec *s)
{
	uint64_t n = 0, size = s->hdr.sh_size;

	for (uint64_t i = 0; i < size / 8; i++)
		n += (unsigned)__builtin_popcount(s->starts[i]);
	for (uint64_t i = size / 8 * 8; i < size; i++)
		n += bit(s->starts, (uint32_t)i);
	return n;
}

static const struct gm_unwind none = { .cfa_rule = GM_CFA_NONE };

/* The section of code in which an instruction starts at moff, or that ends there; from *k on. */
static const struct sec *code_at(struct ck *ck, uint32_t *k, uint32_t moff, uint32_t *offset)
{
	const struct sec *end = NULL;

	for (; *k < ck->norder; ++*k) {
		const struct sec *s = &ck->w.sec[ck->order[*k]];
		uint32_t base = moff_of(ck, ck->order[*k], 0);

		if (moff < base)
			break;
		*offset = moff - base;
		/* unwrapped: what is copied to its place, and never runs here, follows the code */
		if (moff == base && s->use == USE_SPARE && end)
			break;
		if (moff - base < s->hdr.sh_size)
			return s->use == USE_CODE && bit(s->starts, *offset) ? s : NULL;
		if (moff - base == s->hdr.sh_size && s->use == USE_CODE)
			end = s;
	}
	if (end)
		*offset = (uint32_t)end->hdr.sh_size;
	return end;
}

/* Rows lie where an instruction starts, or say nothing where a section of code ends. */
static void rows_at_starts(struct ck *ck)
{
	const struct gm_unwind *u = ck->m.unwind;
	uint32_t k = 0;

	for (uint32_t i = 0; i < ck->m.h->unwind.count; i++, u++) {
		uint32_t offset = 0;
		const struct sec *s = code_at(ck, &k, u->moff, &offset);

		if (!s || (offset == s->hdr.sh_size && !same_rule(u, &none)))
			fault(ck, CHECK_UNWIND, ck->m.path, man_at(&ck->m, u),
			      "unwind row %u at module offset 0x%x: no instruction starts there", i,
			      u->moff);
	}
}

static bool differs(const struct row *e, const struct gm_unwind *g)
{
	return (e && e->bad) || !same_rule(e ? &e->rule : &none, g ? g : &none);
}

/* One section of code; *g: the next row of the map. */
static void compare(struct ck *ck, uint32_t section, uint32_t *g)
{
	const struct sec *s = &ck->w.sec[section];
	const struct gm_segment *seg = &ck->m.segments[s->segment];
	const struct gm_unwind *u = ck->m.unwind, *gu;
	uint32_t base = moff_of(ck, section, 0), at = 0, size = (uint32_t)s->hdr.sh_size, n;
	const struct row *e, *eu = NULL;
	bool ok = true;

	e = rows_of(ck, section, &n);
	if (section == ck->text) {
		e = ck->thunk_rows.data;
		n = ck->thunk_rows.count;
	}
	while (at < size) {
		uint32_t next = size;

		for (; n && e->offset <= at; e++, n--)
			eu = e;
		while (*g < ck->m.h->unwind.count && u[*g].moff <= base + at)
			++*g;
		gu = *g && u[*g - 1].moff >= seg->start ? &u[*g - 1] : NULL;
		if (n && e->offset < next)
			next = e->offset;
		if (*g < ck->m.h->unwind.count && u[*g].moff - base < next)
			next = u[*g].moff - base;
		if (differs(eu, gu)) {
			uint32_t start = first_start(s, at, next);

			if (start < next)
				ok = fault(ck, CHECK_UNWIND, ck->m.path,
					   gu ? man_at(&ck->m, gu) : ck->m.h->unwind.offset,
					   "%s+0x%x: the unwind map says another thing than the "
					   "unwind data",
					   s->name, start);
		}
		at = next;
	}
	if (ok)
		proved(ck, CHECK_UNWIND, count_starts(s));
}

void check_unwind(struct ck *ck)
{
	uint32_t g = 0;

	rows_at_starts(ck);
	if (ck->no_rows)
		return; /* said already */
	for (uint32_t k = 0; k < ck->norder; k++)
		if (ck->w.sec[ck->order[k]].use == USE_CODE)
			compare(ck, ck->order[k], &g);
}
