/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest memory: the oracle's own walk of the guest's tables (AMD64 manual volume 2, 5.3), whose
 * frames are whose, and words as they were before the core touched them.
 */
#include <string.h>

#include "oracle/state.h"

#define ENTRY_P 1ull
#define ENTRY_W 2ull
#define ENTRY_U 4ull
#define ENTRY_PS 0x80ull
#define ENTRY_FRAME 0xffffffff000ull /* 44 bits; 40 are physical, the rest is reserved */
#define ENTRY_RESERVED 0xfff0000000000ull

static bool ram(const struct oracle *o, uint64_t gpa, void *buf, size_t len)
{
	return o->cb.ram(o->cb.ctx, gpa, buf, len);
}

static bool device_of(const struct oracle *o, uint64_t gpa, const struct o_module **owner)
{
	for (unsigned i = 0; i < o->top; i++) {
		const struct o_module *m = &o->module[i];

		for (unsigned p = 0; m->registered && p < m->man.nprivileges; p++)
			if (m->man.privilege[p].kind == P_DEVICE && (m->binding.bound >> p & 1) &&
			    gpa - m->binding.range[p].base < m->binding.range[p].length) {
				*owner = m;
				return true;
			}
	}
	return false;
}

static enum o_owner owner_kind(uint32_t kind)
{
	if (kind == S_PRIVATE)
		return O_PRIVATE;
	if (kind == S_GATES)
		return O_GATES;
	return m_verified(kind) ? O_VERIFIED : O_SEGMENT;
}

static unsigned bucket(uint64_t gpa)
{
	return (unsigned)(gpa / PAGE * 0x9e3779b1u >> 7) & (O_OWNERS - 1);
}

/* Frames of announced modules change hands: find them by number again, and look at every page. */
void o_frames_moved(struct oracle *o)
{
	o->generation++;
	o->moves++;
	o->seen->now++;
	while (o->nused)
		o->owner[o->used[--o->nused]].gpa = NO_FRAME;
	o->owners_full = false;
	memset(o->owned, 0, sizeof(o->owned));
	for (unsigned i = 0; i < o->top; i++) {
		const struct o_module *m = &o->module[i];
		unsigned n = 0;

		for (uint32_t p = 0; (m->announced || m->half) && p < m->man.pages; p++) {
			unsigned b = bucket(m->frame[p]);

			if (m->frame[p] == NO_FRAME)
				continue;
			for (n = 0; o->owner[b].gpa != NO_FRAME && n < O_OWNERS; n++)
				b = (b + 1) & (O_OWNERS - 1);
			if (n == O_OWNERS) {
				o->owners_full = true;
				continue;
			}
			o->owned[m->frame[p] / PAGE / 64 % 64] |= 1ull << m->frame[p] / PAGE % 64;
			o->used[o->nused++] = (uint16_t)b;
			o->owner[b] = (struct o_frame){ m->frame[p], (uint16_t)i, (uint16_t)p };
		}
	}
}

enum o_owner o_owner(const struct oracle *o, uint64_t gpa, const struct o_module **m,
		     uint32_t *page)
{
	const struct o_module *who = NULL;
	bool may = o->owned[gpa / PAGE / 64 % 64] >> gpa / PAGE % 64 & 1;
	unsigned b = bucket(PAGE_OF(gpa));

	for (unsigned n = 0; may && o->owner[b].gpa != NO_FRAME && n < O_OWNERS; n++) {
		if (o->owner[b].gpa == PAGE_OF(gpa)) {
			who = &o->module[o->owner[b].module];
			if (m)
				*m = who;
			if (page)
				*page = o->owner[b].page;
			return owner_kind(
				who->man.segment[m_segment_of(&who->man, o->owner[b].page * 4096u)]
					.kind);
		}
		b = (b + 1) & (O_OWNERS - 1);
	}
	if (o->seen->on && (gpa < o->seen->device_lo || gpa >= o->seen->device_hi))
		return O_NOBODY;
	if (!device_of(o, gpa, &who))
		return O_NOBODY;
	if (m)
		*m = who;
	return O_DEVICE;
}

void o_looks(struct oracle *o, bool on)
{
	struct o_seen *s = o->seen;

	s->on = on;
	s->now++;
	s->device_lo = ~0ull;
	s->device_hi = 0;
	for (unsigned i = 0; on && i < o->top; i++) {
		const struct o_module *m = &o->module[i];

		for (unsigned p = 0; m->registered && p < m->man.nprivileges; p++) {
			uint64_t base = m->binding.range[p].base;
			uint64_t end = base + m->binding.range[p].length;

			if (m->man.privilege[p].kind != P_DEVICE || !(m->binding.bound >> p & 1))
				continue;
			s->device_lo = base < s->device_lo ? base : s->device_lo;
			/* one that wraps is no reason to look nowhere */
			s->device_hi = end < base ? ~0ull : end > s->device_hi ? end : s->device_hi;
		}
	}
}

static void walk(const struct oracle *o, uint64_t cr3, uint64_t gva, struct o_map *map)
{
	struct o_seen *s = o->seen;
	uint64_t table = cr3 & ENTRY_FRAME, entry, low;
	bool write = true, user = true;
	bool looked = false; /* at whose frame this table is in */
	unsigned shift = 39, n = (gva >> 21 ^ cr3 >> 12) % O_SEEN_TABLES;
	uint8_t byte;

	memset(map, 0, sizeof(*map));
	if ((uint64_t)((int64_t)(gva << 16) >> 16) != gva)
		return;
	if (s->on && s->table[n].when == s->now && s->table[n].cr3 == cr3 &&
	    s->table[n].region == gva >> 21) {
		table = s->table[n].table;
		write = s->table[n].write;
		user = s->table[n].user;
		shift = 12;
		looked = true;
	}
	for (;; shift -= 9) {
		uint64_t at = table + (gva >> shift & 511) * 8;

		/* what view U hides holds no tables */
		if (!looked && o_owner(o, at, NULL, NULL) == O_PRIVATE)
			return;
		if (s->on && shift == 12 && !looked) {
			s->table[n].when = s->now;
			s->table[n].cr3 = cr3;
			s->table[n].region = gva >> 21;
			s->table[n].table = table;
			s->table[n].write = write;
			s->table[n].user = user;
		}
		if (!ram(o, at, &entry, 8) || !(entry & ENTRY_P) || (entry & ENTRY_RESERVED))
			return;
		write = write && (entry & ENTRY_W);
		user = user && (entry & ENTRY_U);
		if (shift == 39 && (entry & ENTRY_PS))
			return;
		if (shift == 12 || (entry & ENTRY_PS))
			break;
		table = entry & ENTRY_FRAME;
	}
	low = (1ull << shift) - 1;
	if (shift > 12 && (entry & ENTRY_FRAME & low & ~0x1000ull))
		return; /* reserved bits of a large page; bit 12 is PAT */
	map->gpa = PAGE_OF((entry & ENTRY_FRAME & ~low) | (gva & low));
	map->flags = O_PRESENT | (write ? O_MAY_WRITE : 0) | (user ? O_USER : 0);
	if (ram(o, map->gpa, &byte, 1) && ram(o, map->gpa + PAGE - 1, &byte, 1))
		map->flags |= O_RAM;
	map->owner = o_owner(o, map->gpa, NULL, NULL);
}

void o_map(const struct oracle *o, uint64_t cr3, uint64_t gva, struct o_map *map)
{
	struct o_seen *s = o->seen;
	unsigned n = (gva / PAGE ^ cr3 / PAGE) % O_SEEN;

	if (s->on && s->page[n].when == s->now && s->page[n].cr3 == cr3 &&
	    s->page[n].page == gva / PAGE) {
		*map = s->page[n].map;
		return;
	}
	walk(o, cr3, gva, map);
	if (!s->on)
		return;
	s->page[n].when = s->now;
	s->page[n].cr3 = cr3;
	s->page[n].page = gva / PAGE;
	s->page[n].map = *map;
}

bool o_stack_page(const struct o_map *map)
{
	return (map->flags & (O_PRESENT | O_MAY_WRITE | O_RAM | O_USER)) ==
		       (O_PRESENT | O_MAY_WRITE | O_RAM) &&
	       map->owner == O_NOBODY;
}

/* Takes back what the core wrote during this event, the latest first. */
static void undo(const struct oracle *o, uint64_t gpa, uint8_t *buf, size_t len)
{
	for (unsigned i = o->nundo; i-- > 0;)
		for (size_t k = 0; k < o->undo[i].len; k++)
			if (o->undo[i].gpa + k - gpa < len)
				buf[o->undo[i].gpa + k - gpa] = o->undo[i].old[k];
}

bool o_word(const struct oracle *o, uint64_t cr3, uint64_t gva, bool before, uint64_t *value)
{
	uint8_t buf[8];
	struct o_map map;

	o_map(o, cr3, gva, &map);
	if (gva % 8 || !(map.flags & O_RAM) || !ram(o, map.gpa + gva % PAGE, buf, 8))
		return false;
	if (before)
		undo(o, map.gpa + gva % PAGE, buf, 8);
	memcpy(value, buf, 8);
	return true;
}

bool o_stack_word(const struct oracle *o, uint64_t cr3, uint64_t gva, uint64_t *value)
{
	struct o_map map;

	o_map(o, cr3, gva, &map);
	return gva % 8 == 0 && o_stack_page(&map) && o_word(o, cr3, gva, true, value);
}

/* ---- places in a module ---- */

bool o_has(const struct o_module *m, unsigned segment)
{
	uint32_t kind = m->man.segment[segment].kind;

	return kind != S_PERCPU && !(m_init(kind) && (m->init_gone || !m->base[segment]));
}

bool o_moff(const struct o_module *m, uint64_t gva, uint32_t *moff, unsigned *segment)
{
	for (unsigned i = 0; i < m->man.nsegments; i++)
		if (o_has(m, i) && gva - m->base[i] < m->man.segment[i].pages * PAGE) {
			*moff = m->man.segment[i].start + (uint32_t)(gva - m->base[i]);
			*segment = i;
			return true;
		}
	return false;
}

uint64_t o_gva(const struct o_module *m, uint32_t moff)
{
	unsigned i = m_segment_of(&m->man, moff);

	return i == M_SEGMENTS ? 0 : m->base[i] + (moff - m->man.segment[i].start);
}

bool o_in_text(const struct o_module *m, uint64_t gva, uint32_t *moff)
{
	unsigned segment;

	return o_moff(m, gva, moff, &segment) && m_executes(m->man.segment[segment].kind);
}

bool o_retsite(const struct o_module *m, uint64_t gva)
{
	uint32_t moff, low = 0, high = m->man.nretsites;
	unsigned segment;

	if (!o_moff(m, gva, &moff, &segment))
		return false;
	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (m->man.retsite[mid] == moff)
			return true;
		if (m->man.retsite[mid] < moff)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

const struct m_gate *o_gate_at(const struct o_module *m, uint64_t gva)
{
	uint64_t off = gva - m->gates_gva;
	const struct m_gate *g;

	if (off >= m->gates_bytes || off / 16 >= m->man.ngates)
		return NULL;
	g = &m->man.gate[off / 16];
	return g->kind != G_PAD && off % 16 == g->x ? g : NULL;
}

struct o_module *o_text_of(struct oracle *o, uint64_t gva)
{
	uint32_t moff;

	for (unsigned i = 0; i < o->top; i++)
		if (o->module[i].announced && o_in_text(&o->module[i], gva, &moff))
			return &o->module[i];
	return NULL;
}

struct o_module *o_gates_of(struct oracle *o, uint64_t gva)
{
	struct o_module *memory = NULL;

	for (unsigned i = 0; i < o->top; i++) {
		struct o_module *m = &o->module[i];

		if (gva - m->gates_gva >= m->gates_bytes)
			continue;
		if (m->announced)
			return m;
		if (m->registered)
			memory = m;
	}
	return o_text_of(o, gva) ? NULL : memory;
}
