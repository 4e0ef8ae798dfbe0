/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The manifest builder. Tables that have to be sorted are sorted at the end, so that a test may
 * add records in whatever order reads best.
 */
#include "tests/support/manifest_builder.h"

#include <stdlib.h>
#include <string.h>

static const size_t record_size[MB_TABLES] = {
	[MB_SEGMENTS] = sizeof(struct gm_segment),
	[MB_GATES] = sizeof(struct gm_gate),
	[MB_ENTRIES] = sizeof(struct gm_entry),
	[MB_IMPORTS] = sizeof(struct gm_import),
	[MB_RELOCS] = sizeof(struct gm_reloc),
	[MB_SITES] = sizeof(struct gm_site),
	[MB_CHOICES] = sizeof(struct gm_choice),
	[MB_CHOICE_RELOCS] = sizeof(struct gm_reloc),
	[MB_RETSITES] = sizeof(uint32_t),
	[MB_UNWIND] = sizeof(struct gm_unwind),
	[MB_FIXUPS] = sizeof(struct gm_fixup),
	[MB_JUMPS] = sizeof(struct gm_jump),
	[MB_PRIVILEGES] = sizeof(struct gm_privilege),
	[MB_IMAGE] = 1,
	[MB_NAMES] = 1,
};

static const uint8_t x_code[GM_X_KINDS][GM_X_BYTES] = {
	[GM_X_VMMCALL] = { 0x0f, 0x01, 0xd9 },
	[GM_X_VMCALL] = { 0x0f, 0x01, 0xc1 },
	[GM_X_OUT] = { 0xe6, 0xb6, 0x90 },
	[GM_X_NOP] = { 0x0f, 0x1f, 0x00 },
};

/* Adds `n` records, zeroed if data is NULL; returns the first one's number. */
static uint32_t add(struct mb *b, enum mb_table t, const void *data, size_t n)
{
	struct mb_array *a = &b->table[t];
	size_t first = a->count;

	if (a->count + n > a->room) {
		a->room = 2 * (a->count + n);
		a->data = realloc(a->data, a->room * a->size);
		if (!a->data)
			abort();
	}
	if (data)
		memcpy(a->data + first * a->size, data, n * a->size);
	else
		memset(a->data + first * a->size, 0, n * a->size);
	a->count += n;
	return (uint32_t)first;
}

static void *at(struct mb *b, enum mb_table t, size_t i)
{
	if (i >= b->table[t].count)
		abort();
	return b->table[t].data + i * b->table[t].size;
}

void mb_init(struct mb *b, uint32_t x_kind, uint32_t flags)
{
	unsigned t;

	memset(b, 0, sizeof(*b));
	b->x_kind = x_kind;
	b->flags = flags;
	b->gates_segment = -1;
	for (t = 0; t < MB_TABLES; t++)
		b->table[t].size = record_size[t];
	add(b, MB_NAMES, "m", 2); /* every name is "m": the core reads none */
}

void mb_free(struct mb *b)
{
	unsigned t;

	for (t = 0; t < MB_TABLES; t++)
		free(b->table[t].data);
}

unsigned mb_segment(struct mb *b, uint32_t kind, uint32_t size, const void *image)
{
	struct gm_segment s = { .kind = kind, .start = b->end, .size = size, .image = GM_NONE };

	if (kind == GM_SEG_GATES)
		b->gates_segment = (int)b->table[MB_SEGMENTS].count;
	if (image)
		s.image = add(b, MB_IMAGE, image, size);
	b->end += (size + GM_PAGE - 1) & ~(GM_PAGE - 1);
	return add(b, MB_SEGMENTS, &s, 1);
}

struct gm_segment *mb_seg(struct mb *b, unsigned segment)
{
	return at(b, MB_SEGMENTS, segment);
}

uint32_t mb_moff(struct mb *b, unsigned segment, uint32_t offset)
{
	return mb_seg(b, segment)->start + offset;
}

void mb_image(struct mb *b, uint32_t moff, const void *bytes, size_t len)
{
	size_t i;

	for (i = 0; i < b->table[MB_SEGMENTS].count; i++) {
		struct gm_segment *s = mb_seg(b, (unsigned)i);

		if (s->image != GM_NONE && moff - s->start < s->size) {
			memcpy(at(b, MB_IMAGE, s->image + moff - s->start), bytes, len);
			return;
		}
	}
	abort();
}

unsigned mb_gate(struct mb *b, uint8_t kind, uint8_t x, uint8_t reg, uint32_t index)
{
	uint32_t n = (uint32_t)b->table[MB_GATES].count;
	struct gm_gate gate = {
		.offset = n * GM_GATE_BYTES, .kind = kind, .x = x, .reg = reg, .index = index
	};

	return add(b, MB_GATES, &gate, 1);
}

unsigned mb_entry(struct mb *b, uint32_t moff, uint32_t headroom, uint32_t flags, uint8_t x)
{
	uint32_t n = (uint32_t)b->table[MB_ENTRIES].count;
	struct gm_entry e = { .moff = moff, .headroom = headroom, .flags = flags, .gate = GM_NONE };

	if (!(b->flags & GM_FLAG_VIEWS))
		e.gate = mb_gate(b, GM_GATE_ENTER, x, 0, n);
	return add(b, MB_ENTRIES, &e, 1);
}

unsigned mb_import(struct mb *b, uint32_t flags, uint32_t preserve)
{
	struct gm_import i = { .flags = flags, .preserve = preserve };

	return add(b, MB_IMPORTS, &i, 1);
}

void mb_reloc(struct mb *b, uint32_t moff, uint16_t type, uint16_t kind, uint32_t target,
	      int64_t addend)
{
	struct gm_reloc r = {
		.moff = moff, .type = type, .kind = kind, .target = target, .addend = addend
	};

	add(b, MB_RELOCS, &r, 1);
}

unsigned mb_site(struct mb *b, uint32_t moff, uint16_t size, uint16_t flags, uint32_t group)
{
	struct gm_site s = { .moff = moff, .size = size, .flags = flags, .group = group };

	s.first = (uint32_t)b->table[MB_CHOICES].count;
	return add(b, MB_SITES, &s, 1);
}

unsigned mb_choice(struct mb *b, const void *bytes)
{
	struct gm_site *s = at(b, MB_SITES, b->table[MB_SITES].count - 1);
	struct gm_choice c = { .first_reloc = (uint32_t)b->table[MB_CHOICE_RELOCS].count };

	c.bytes = add(b, MB_IMAGE, bytes, s->size);
	s->count++;
	return add(b, MB_CHOICES, &c, 1);
}

void mb_choice_reloc(struct mb *b, uint32_t offset, uint16_t type, uint16_t kind, uint32_t target,
		     int64_t addend)
{
	struct gm_choice *c = at(b, MB_CHOICES, b->table[MB_CHOICES].count - 1);
	struct gm_reloc r = {
		.moff = offset, .type = type, .kind = kind, .target = target, .addend = addend
	};

	c->relocs++;
	add(b, MB_CHOICE_RELOCS, &r, 1);
}

void mb_retsite(struct mb *b, uint32_t moff)
{
	add(b, MB_RETSITES, &moff, 1);
}

void mb_unwind(struct mb *b, uint32_t moff, uint8_t cfa_rule, uint8_t cfa_reg, int16_t cfa_offset,
	       uint8_t bp_rule, int16_t bp_offset)
{
	struct gm_unwind u = {
		.moff = moff,
		.cfa_rule = cfa_rule,
		.cfa_reg = cfa_reg,
		.cfa_offset = cfa_offset,
		.bp_rule = bp_rule,
		.bp_offset = bp_offset,
	};

	add(b, MB_UNWIND, &u, 1);
}

void mb_fixup(struct mb *b, uint32_t moff, uint32_t target, uint32_t kind, uint32_t regs)
{
	struct gm_fixup f = { .moff = moff, .target = target, .kind = kind, .regs = regs };

	add(b, MB_FIXUPS, &f, 1);
}

void mb_jump(struct mb *b, uint32_t moff, uint32_t target)
{
	struct gm_jump j = { .moff = moff, .target = target };

	add(b, MB_JUMPS, &j, 1);
}

unsigned mb_privilege(struct mb *b, uint32_t kind, uint32_t first, uint32_t last)
{
	struct gm_privilege p = { .kind = kind, .first = first, .last = last };

	return add(b, MB_PRIVILEGES, &p, 1);
}

/* ---- finishing ---- */

static unsigned segment_of(struct mb *b, uint32_t moff)
{
	size_t i = b->table[MB_SEGMENTS].count;

	while (i-- > 0)
		if (mb_seg(b, (unsigned)i)->start <= moff)
			return (unsigned)i;
	abort();
}

/* Writes one gate's code and the relocation of its jump. */
static void encode_gate(struct mb *b, const struct gm_gate *g, uint32_t moff, uint8_t *code)
{
	static const uint8_t endbr[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	static const uint8_t lea[] = { 0x48, 0x8d, 0x64, 0x24, 0xf8 };
	uint8_t *after = code + g->x + GM_X_BYTES;
	const struct gm_entry *e;
	unsigned seg;

	memset(code, 0xcc, GM_GATE_BYTES);
	if (g->kind == GM_GATE_PAD)
		return;
	if (g->x == sizeof(endbr))
		memcpy(code, endbr, sizeof(endbr));
	if (g->x == sizeof(lea))
		memcpy(code, lea, sizeof(lea));
	memcpy(code + g->x, x_code[b->x_kind], GM_X_BYTES);
	switch (g->kind) {
	case GM_GATE_ENTER:
		e = at(b, MB_ENTRIES, g->index);
		seg = segment_of(b, e->moff);
		after[0] = 0xe9;
		memset(after + 1, 0, 4);
		mb_reloc(b, moff + g->x + 4, GM_R_PC32, GM_TARGET_SEGMENT, seg,
			 (int64_t)(e->moff - mb_seg(b, seg)->start) - 4);
		break;
	case GM_GATE_LEAVE:
		after[0] = 0xe9;
		memset(after + 1, 0, 4);
		mb_reloc(b, moff + g->x + 4, GM_R_PLT32, GM_TARGET_IMPORT, g->index, -4);
		break;
	case GM_GATE_LEAVE_INDIRECT:
		if (g->reg >= 8)
			*after++ = 0x41;
		*after++ = 0xff;
		*after = 0xe0 | (g->reg & 7);
		break;
	default: after[0] = 0xc3;
	}
}

static void encode_gates(struct mb *b)
{
	size_t i, n = b->table[MB_GATES].count;
	struct gm_segment *s;
	uint32_t image;

	if (b->gates_segment < 0)
		return;
	s = mb_seg(b, (unsigned)b->gates_segment);
	if (n * GM_GATE_BYTES > ((s->size + GM_PAGE - 1) & ~(GM_PAGE - 1)))
		abort();
	s->size = (uint32_t)n * GM_GATE_BYTES;
	image = add(b, MB_IMAGE, NULL, s->size);
	s->image = image;
	for (i = 0; i < n; i++)
		encode_gate(b, at(b, MB_GATES, i), s->start + (uint32_t)i * GM_GATE_BYTES,
			    at(b, MB_IMAGE, image + i * GM_GATE_BYTES));
}

/* All sorted records start with their moff; fixups and jumps go on with the target. */
static int by_moff(const void *a, const void *c)
{
	uint32_t x, y;

	memcpy(&x, a, 4);
	memcpy(&y, c, 4);
	return x < y ? -1 : x > y;
}

static int by_moff_and_target(const void *a, const void *c)
{
	int order = by_moff(a, c);

	return order ? order : by_moff((const uint8_t *)a + 4, (const uint8_t *)c + 4);
}

static void sort(struct mb *b, enum mb_table t, int (*order)(const void *, const void *))
{
	struct mb_array *a = &b->table[t];

	if (a->count)
		qsort(a->data, a->count, a->size, order);
}

void *mb_finish(struct mb *b, size_t *len)
{
	struct gm_header h = { .version = GM_VERSION, .x_kind = b->x_kind, .flags = b->flags };
	struct gm_table *tables = &h.segments;
	uint32_t offset = sizeof(h);
	uint8_t *out;
	unsigned t;

	encode_gates(b);
	sort(b, MB_RELOCS, by_moff);
	sort(b, MB_SITES, by_moff);
	sort(b, MB_RETSITES, by_moff);
	sort(b, MB_UNWIND, by_moff);
	sort(b, MB_FIXUPS, by_moff_and_target);
	sort(b, MB_JUMPS, by_moff_and_target);
	memcpy(h.magic, GM_MAGIC, sizeof(h.magic));
	for (t = 0; t < MB_TABLES; t++) {
		tables[t].offset = offset;
		tables[t].count = (uint32_t)b->table[t].count;
		offset += (uint32_t)(b->table[t].count * b->table[t].size);
		offset = (offset + 7) & ~7u;
	}
	h.total = offset;
	out = calloc(1, offset);
	if (!out)
		abort();
	memcpy(out, &h, sizeof(h));
	for (t = 0; t < MB_TABLES; t++)
		if (b->table[t].count)
			memcpy(out + tables[t].offset, b->table[t].data,
			       b->table[t].count * b->table[t].size);
	*len = offset;
	return out;
}

/* ---- taking apart ---- */

#define HEADER(f)                                                                                  \
	{                                                                                          \
		MB_TABLES, #f, offsetof(struct gm_header, f), 4                                    \
	}
#define TABLE(f)                                                                                   \
	{ MB_TABLES, #f ".offset", offsetof(struct gm_header, f) + 0, 4 },                         \
	{                                                                                          \
		MB_TABLES, #f ".count", offsetof(struct gm_header, f) + 4, 4                       \
	}
#define FIELD(t, s, f)                                                                             \
	{                                                                                          \
		t, #s "." #f, offsetof(struct gm_##s, f), sizeof(((struct gm_##s *)0)->f)          \
	}

const struct mb_field mb_fields[] = {
	HEADER(magic),
	HEADER(version),
	HEADER(total),
	HEADER(x_kind),
	HEADER(flags),
	HEADER(name),
	HEADER(reserved),
	TABLE(segments),
	TABLE(gates),
	TABLE(entries),
	TABLE(imports),
	TABLE(relocs),
	TABLE(sites),
	TABLE(choices),
	TABLE(choice_relocs),
	TABLE(retsites),
	TABLE(unwind),
	TABLE(fixups),
	TABLE(jumps),
	TABLE(privileges),
	TABLE(image),
	TABLE(names),
	FIELD(MB_SEGMENTS, segment, name),
	FIELD(MB_SEGMENTS, segment, kind),
	FIELD(MB_SEGMENTS, segment, start),
	FIELD(MB_SEGMENTS, segment, size),
	FIELD(MB_SEGMENTS, segment, image),
	FIELD(MB_SEGMENTS, segment, reserved),
	FIELD(MB_GATES, gate, offset),
	FIELD(MB_GATES, gate, kind),
	FIELD(MB_GATES, gate, x),
	FIELD(MB_GATES, gate, reg),
	FIELD(MB_GATES, gate, reserved),
	FIELD(MB_GATES, gate, index),
	FIELD(MB_ENTRIES, entry, moff),
	FIELD(MB_ENTRIES, entry, name),
	FIELD(MB_ENTRIES, entry, headroom),
	FIELD(MB_ENTRIES, entry, flags),
	FIELD(MB_ENTRIES, entry, gate),
	FIELD(MB_IMPORTS, import, name),
	FIELD(MB_IMPORTS, import, flags),
	FIELD(MB_IMPORTS, import, preserve),
	FIELD(MB_RELOCS, reloc, moff),
	FIELD(MB_RELOCS, reloc, type),
	FIELD(MB_RELOCS, reloc, kind),
	FIELD(MB_RELOCS, reloc, target),
	FIELD(MB_RELOCS, reloc, reserved),
	FIELD(MB_RELOCS, reloc, addend),
	FIELD(MB_SITES, site, moff),
	FIELD(MB_SITES, site, size),
	FIELD(MB_SITES, site, flags),
	FIELD(MB_SITES, site, group),
	FIELD(MB_SITES, site, first),
	FIELD(MB_SITES, site, count),
	FIELD(MB_CHOICES, choice, bytes),
	FIELD(MB_CHOICES, choice, first_reloc),
	FIELD(MB_CHOICES, choice, relocs),
	FIELD(MB_CHOICE_RELOCS, reloc, moff),
	FIELD(MB_CHOICE_RELOCS, reloc, type),
	FIELD(MB_CHOICE_RELOCS, reloc, kind),
	FIELD(MB_CHOICE_RELOCS, reloc, target),
	FIELD(MB_CHOICE_RELOCS, reloc, reserved),
	FIELD(MB_CHOICE_RELOCS, reloc, addend),
	{ MB_RETSITES, "retsite", 0, 4 },
	FIELD(MB_UNWIND, unwind, moff),
	FIELD(MB_UNWIND, unwind, cfa_offset),
	FIELD(MB_UNWIND, unwind, bp_offset),
	FIELD(MB_UNWIND, unwind, cfa_rule),
	FIELD(MB_UNWIND, unwind, cfa_reg),
	FIELD(MB_UNWIND, unwind, bp_rule),
	FIELD(MB_UNWIND, unwind, reserved),
	FIELD(MB_FIXUPS, fixup, moff),
	FIELD(MB_FIXUPS, fixup, target),
	FIELD(MB_FIXUPS, fixup, kind),
	FIELD(MB_FIXUPS, fixup, regs),
	FIELD(MB_JUMPS, jump, moff),
	FIELD(MB_JUMPS, jump, target),
	FIELD(MB_PRIVILEGES, privilege, kind),
	FIELD(MB_PRIVILEGES, privilege, name),
	FIELD(MB_PRIVILEGES, privilege, first),
	FIELD(MB_PRIVILEGES, privilege, last),
};
const size_t mb_nfields = sizeof(mb_fields) / sizeof(mb_fields[0]);

struct gm_table mb_table_of(const void *manifest, enum mb_table t)
{
	const struct gm_header *h = manifest;

	return (&h->segments)[t];
}

void *mb_record(void *manifest, enum mb_table t, uint32_t i)
{
	if (t == MB_TABLES)
		return manifest;
	return (uint8_t *)manifest + mb_table_of(manifest, t).offset + i * record_size[t];
}

uint64_t mb_get_field(const void *record, const struct mb_field *f)
{
	uint64_t value = 0;

	memcpy(&value, (const uint8_t *)record + f->offset, f->size);
	return value;
}

void mb_set_field(void *record, const struct mb_field *f, uint64_t value)
{
	memcpy((uint8_t *)record + f->offset, &value, f->size);
}
