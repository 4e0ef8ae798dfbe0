// SPDX-License-Identifier: GPL-2.0-only
/*
 * .altinstructions: what the kernel leaves at each place when it has loaded the module, written
 * down from Linux 6.1 (arch/x86/kernel/alternative.c, apply_alternatives()):
 *
 * Entries are applied in the order of the table, each if its feature is there (or is not, with the
 * flag). An applied one copies its replacement, moves a 5-byte call or jump to where it now lies,
 * and fills up with 90. Applied or not, every run of two and more 90 becomes the kernel's long NOPs.
 * So the contents are: the original, then each replacement; but none before one that is always
 * applied. Places with the same features in the same order are decided alike: a group.
 */
#include "check/internal.h"

#include <Zydis/Zydis.h>
#include <stdlib.h>
#include <string.h>

#define RECORD 12u
#define FEATURE_ALWAYS (3 * 32 + 21)

/* asm/nops.h, 2 to 8 bytes */
static const uint8_t nops[9][8] = {
	[1] = { 0x90 },
	[2] = { 0x66, 0x90 },
	[3] = { 0x0f, 0x1f, 0x00 },
	[4] = { 0x0f, 0x1f, 0x40, 0x00 },
	[5] = { 0x0f, 0x1f, 0x44, 0x00, 0x00 },
	[6] = { 0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00 },
	[7] = { 0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00 },
	[8] = { 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00 },
};

static bool decode(const uint8_t *bytes, uint32_t n, ZydisDecodedInstruction *in)
{
	ZydisDecoder d;

	ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	return ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&d, NULL, bytes, n, in));
}

/* optimize_nops() */
void lengthen_nops(uint8_t *bytes, uint32_t n)
{
	ZydisDecodedInstruction in;
	uint32_t end;

	for (uint32_t i = 0; i < n;) {
		if (!decode(bytes + i, n - i, &in))
			return;
		if (in.length != 1 || bytes[i] != 0x90) {
			i += in.length;
			continue;
		}
		for (end = i + 1; end < n && bytes[end] == 0x90;)
			end++;
		for (; i < end; i += end - i < 8 ? end - i : 8)
			memcpy(bytes + i, nops[end - i < 8 ? end - i : 8],
			       end - i < 8 ? end - i : 8);
	}
}

static bool bad(struct ck *ck, const struct sec *s, uint64_t at, const char *what)
{
	return fault(ck, CHECK_SITES, ck->w.elf.path, sec_at(s, at), "%s+0x%llx: %s", s->name,
		     (unsigned long long)at, what);
}

/* struct alt_instr { s32 instr, replacement; u16 feature; u8 size, replacement size; } */
static bool record(struct ck *ck, const struct sec *s, uint64_t at, struct alternative *a)
{
	const struct rel *r = sec_rel(s, at + 4);
	struct place p = { 0, 0 }, q;
	const struct sec *t, *u;

	if (!place_at(ck, s, at, &p))
		return false;
	q = r && r->type == R_X86_64_PC32 ? w_place(ck, r->wsym, r->waddend)
					  : (struct place){ 0, 0 };
	memcpy(&a->feature, s->data + at + 8, 2);
	a->size = s->data[at + 10];
	a->rsize = s->data[at + 11];
	a->section = p.section;
	a->offset = p.offset;
	a->rsection = q.section;
	a->roffset = q.offset;
	a->order = (uint32_t)(at / RECORD);
	t = &ck->w.sec[p.section];
	u = &ck->w.sec[q.section];
	if (!a->size || a->rsize > a->size || a->size > t->hdr.sh_size - a->offset ||
	    !bit(t->starts, a->offset + a->size))
		return bad(ck, s, at, "replaces no whole instructions");
	if (!q.section || u->use != USE_SPARE || q.offset > u->hdr.sh_size ||
	    a->rsize > u->hdr.sh_size - q.offset ||
	    (a->rsize && (!bit(u->starts, q.offset) || !bit(u->starts, q.offset + a->rsize))))
		return bad(ck, s, at, "its replacement is no whole instructions to be copied");
	return true;
}

/* Relative to where it lies, so that the copy would lead elsewhere? All but a 5-byte e8 or e9. */
static bool copy_moves(struct ck *ck, const struct alternative *a)
{
	const struct sec *u = &ck->w.sec[a->rsection];
	const uint8_t *code = u->data + a->roffset;
	ZydisDecodedInstruction in;

	if (a->rsize == 5 && (code[0] == 0xe8 || code[0] == 0xe9))
		return true;
	for (uint32_t i = 0; i < u->nrels; i++)
		if (u->rels[i].offset >= a->roffset && u->rels[i].offset < a->roffset + a->rsize &&
		    rel_is_pc(u->rels[i].type))
			return false;
	for (uint32_t i = 0; i < a->rsize; i += in.length) {
		int64_t t;

		if (!decode(code + i, a->rsize - i, &in))
			return false;
		t = (int64_t)i + in.length + in.raw.imm[0].value.s;
		if (in.raw.imm[0].is_relative && (t < 0 || t > a->rsize))
			return false;
	}
	return true;
}

/* Relocations in [from, from + n) of s, as they will be in the copy at `to` of section t. */
static void move(struct ck *ck, const struct sec *s, uint32_t from, uint32_t n, const struct sec *t,
		 uint32_t to, struct choice *c)
{
	c->first = ck->choice_relocs.count;
	for (uint32_t i = 0; i < s->nrels; i++) {
		const struct rel *r = &s->rels[i];
		struct choice_reloc out = { .type = r->type };
		int64_t v;

		if (r->offset < from || r->offset >= from + n)
			continue;
		out.offset = r->offset - from;
		memset(c->bytes + out.offset, 0, rel_bytes(r->type));
		if (sym_segment(ck, r->wsym, &out.segment, &out.addend)) {
			out.addend += r->waddend;
			v = out.addend - (int64_t)(t->offset + to + out.offset);
			if (out.segment == t->segment && rel_is_pc(r->type)) {
				memcpy(c->bytes + out.offset, &v, rel_bytes(r->type));
				continue;
			}
		} else {
			out.sym = r->wsym;
			out.addend = r->waddend;
		}
		*(struct choice_reloc *)vec_more(&ck->choice_relocs, sizeof(out), 1) = out;
	}
	c->count = ck->choice_relocs.count - c->first;
}

/* recompute_jump(): a jump of 5 bytes to what is at most 129 ahead becomes one of 2. */
static void shorten(struct choice *c)
{
	int32_t distance;

	memcpy(&distance, c->bytes + 1, 4);
	distance += 5;
	if (distance < 0 || distance - 2 > 127)
		return;
	c->bytes[0] = 0xeb;
	c->bytes[1] = (uint8_t)(distance - 2);
	memcpy(c->bytes + 2, nops[3], 3);
}

/* Where instructions of a content start: unwind data covers those, too. */
static void mark(struct sec *s, uint32_t offset, const uint8_t *bytes, uint32_t n)
{
	ZydisDecodedInstruction in;

	if (!s->contents)
		s->contents = check_alloc(s->hdr.sh_size / 8 + 1, 1);
	for (uint32_t i = 0; i < n && decode(bytes + i, n - i, &in); i += in.length)
		set_bit(s->contents, offset + i);
}

/* One content of a place: NULL, the original. */
static void content(struct ck *ck, const struct alternative *at, const struct alternative *a)
{
	const struct sec *t = &ck->w.sec[at->section], *s = a ? &ck->w.sec[a->rsection] : t;
	uint32_t from = a ? a->roffset : at->offset, n = a ? a->rsize : at->size;
	struct choice c;

	memset(c.bytes, 0x90, sizeof(c.bytes));
	if (n)
		memcpy(c.bytes, s->data + from, n);
	move(ck, s, from, n, t, at->offset, &c);
	if (a && n == 5 && c.bytes[0] == 0xe9 && !c.count)
		shorten(&c);
	lengthen_nops(c.bytes, at->size);
	mark(&ck->w.sec[at->section], at->offset, c.bytes, at->size);
	*(struct choice *)vec_more(&ck->choices, sizeof(c), 1) = c;
}

void original_content(struct ck *ck, struct place at, uint32_t n)
{
	const struct sec *s = &ck->w.sec[at.section];
	struct choice c = { 0 };

	memcpy(c.bytes, s->data + at.offset, n);
	move(ck, s, at.offset, n, s, at.offset, &c);
	*(struct choice *)vec_more(&ck->choices, sizeof(c), 1) = c;
}

/* Addresses after the calls that a replacement brings. */
static void returns(struct ck *ck, const struct alternative *a)
{
	const uint8_t *code = ck->w.sec[a->rsection].data + a->roffset;
	ZydisDecodedInstruction in;

	for (uint32_t i = 0; i < a->rsize && decode(code + i, a->rsize - i, &in); i += in.length)
		if (in.meta.category == ZYDIS_CATEGORY_CALL)
			*(uint32_t *)vec_more(&ck->retsites, 4, 1) =
				moff_of(ck, a->section, a->offset + i + in.length);
}

static int by_place(const void *a, const void *b)
{
	const struct alternative *x = a, *y = b;

	if (x->section != y->section)
		return x->section < y->section ? -1 : 1;
	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

/* Entries [first, first + n) are one place's. */
static void site(struct ck *ck, const struct sec *s, uint32_t first, uint32_t n)
{
	const struct alternative *a = (struct alternative *)ck->alternatives.data + first;
	struct site out = { .moff = moff_of(ck, a->section, a->offset),
			    .size = a->size,
			    .first = ck->choices.count,
			    .first_alt = first,
			    .alternatives = n,
			    .owns = true };
	uint32_t from = 0; /* 0: the original may remain; k: entry k - 1 is always applied */

	for (uint32_t i = 0; i < n; i++) {
		if (a[i].size != a->size)
			bad(ck, s, (uint64_t)a[i].order * RECORD, "another size at the same place");
		if (a[i].feature == FEATURE_ALWAYS)
			from = i + 1;
	}
	if (!from)
		content(ck, a, NULL);
	for (uint32_t i = from ? from - 1 : 0; i < n; i++)
		content(ck, a, &a[i]);
	out.count = ck->choices.count - out.first;
	*(struct site *)vec_more(&ck->sites, sizeof(out), 1) = out;
}

void read_alternatives(struct ck *ck, const struct sec *s)
{
	struct alternative *a;
	uint32_t n;

	for (uint64_t at = 0; at < s->hdr.sh_size; at += RECORD) {
		struct alternative one;

		if (!record(ck, s, at, &one))
			continue;
		if (!copy_moves(ck, &one))
			bad(ck, s, at, "a replacement that is relative to where it lies");
		returns(ck, &one);
		*(struct alternative *)vec_more(&ck->alternatives, sizeof(one), 1) = one;
	}
	a = ck->alternatives.data;
	n = ck->alternatives.count;
	if (n)
		qsort(a, n, sizeof(*a), by_place);
	for (uint32_t i = 0, k; i < n; i = k) {
		for (k = i + 1;
		     k < n && a[k].section == a[i].section && a[k].offset == a[i].offset;)
			k++;
		site(ck, s, i, k - i);
	}
}

static bool same_features(const struct ck *ck, const struct site *x, const struct site *y)
{
	const struct alternative *a = ck->alternatives.data;

	if (x->alternatives != y->alternatives)
		return false;
	for (uint32_t i = 0; i < x->alternatives; i++)
		if (a[x->first_alt + i].feature != a[y->first_alt + i].feature)
			return false;
	return true;
}

/* Two contents that are equal would not tell which choice was made: such a site stands alone. */
static bool contents_differ(const struct ck *ck, const struct site *s)
{
	const struct choice *c = (struct choice *)ck->choices.data + s->first;
	const struct choice_reloc *r = ck->choice_relocs.data;

	for (uint32_t i = 1; i < s->count; i++)
		for (uint32_t k = 0; k < i; k++)
			if (c[i].count == c[k].count &&
			    memcmp(c[i].bytes, c[k].bytes, s->size) == 0 &&
			    (!c[i].count ||
			     memcmp(r + c[i].first, r + c[k].first, c[i].count * sizeof(*r)) == 0))
				return false;
	return true;
}

/* Sites are one for one the manifest's. Groups: same features exactly if same number. */
bool same_groups(struct ck *ck)
{
	const struct site *s = ck->sites.data;
	const struct gm_site *g = ck->m.sites;
	uint32_t n = ck->sites.count, leaders = 0;
	uint32_t *leader = check_alloc(n, sizeof(*leader)); /* the first site of each group */
	bool ok = true;

	for (uint32_t i = 0; i < n && ok; i++) {
		bool grouped = s[i].alternatives && s[i].count > 1 && contents_differ(ck, &s[i]);
		uint32_t k = 0;

		if (!grouped) {
			ok = g[i].group == GM_NONE;
		} else {
			while (k < leaders && !same_features(ck, &s[leader[k]], &s[i]))
				k++;
			if (k == leaders) {
				for (uint32_t j = 0; j < leaders; j++)
					ok &= g[leader[j]].group != g[i].group;
				leader[leaders++] = i;
			}
			ok &= g[i].group != GM_NONE && g[i].group == g[leader[k]].group;
		}
		if (!ok)
			fault(ck, CHECK_SITES, ck->m.path, man_at(&ck->m, &g[i].group),
			      "the site at module offset 0x%x is not grouped by its features",
			      g[i].moff);
	}
	free(leader);
	return ok;
}
