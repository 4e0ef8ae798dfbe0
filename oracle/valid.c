/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What must hold for a vCPU to become privileged (docs/semantics.md, "What they mean for a
 * raise"). Each returns NULL or what is wrong; none of them changes anything.
 */
#include <string.h>

#include "oracle/state.h"

#define FLAG_TF (1ull << 8)
#define FLAG_DF (1ull << 10)
#define FLAG_NT (1ull << 14)
#define FLAG_AC (1ull << 18)
#define NEED_CR0 (1ull << 0 | 1ull << 16 | 1ull << 31) /* PE, WP, PG */
#define NEED_CR4 (1ull << 5)			       /* PAE */
#define CR4_SMAP (1ull << 21)
#define NEED_EFER (1ull << 10 | 1ull << 11) /* LMA, NXE */
#define BELOW 16384ull

const char *o_mode_wrong(const struct o_module *m, const struct oracle_cpu *cpu)
{
	if (cpu->cpl)
		return "not at CPL 0";
	if (!cpu->plain64)
		return "not in plain 64-bit mode";
	if ((cpu->cr0 & NEED_CR0) != NEED_CR0)
		return "CR0.PE, PG or WP is missing";
	if ((cpu->cr4 & (NEED_CR4 | m->cr4)) != (NEED_CR4 | m->cr4))
		return "CR4.PAE is missing, or SMEP or SMAP is weaker than at ANNOUNCE";
	if ((cpu->efer & NEED_EFER) != NEED_EFER)
		return "EFER.LMA or NXE is missing";
	return NULL;
}

const char *o_flags_wrong(const struct oracle_cpu *cpu, const struct o_chain *record)
{
	if (cpu->rflags & (FLAG_TF | FLAG_DF | FLAG_NT))
		return "TF, DF or NT is set";
	if (record ? ((cpu->rflags ^ record->rflags) & FLAG_AC) != 0
		   : (cpu->cr4 & CR4_SMAP) && (cpu->rflags & FLAG_AC))
		return "AC is not what it must be";
	return NULL;
}

const char *o_mapping_wrong(const struct oracle *o, const struct o_module *m, uint64_t cr3)
{
	for (unsigned i = 0; i < m->man.nsegments; i++) {
		const struct m_segment *s = &m->man.segment[i];

		for (uint32_t p = 0; o_has(m, i) && p < s->pages; p++) {
			struct o_map map;

			o_map(o, cr3, m->base[i] + p * PAGE, &map);
			if (!map.flags || map.gpa != m->frame[s->start / PAGE + p])
				return "a page of the module does not map to the frame that was "
				       "verified";
		}
	}
	return NULL;
}

bool o_init_moved(const struct oracle *o, const struct o_module *m, uint64_t cr3)
{
	for (unsigned i = 0; i < m->man.nsegments; i++) {
		const struct m_segment *s = &m->man.segment[i];

		for (uint32_t p = 0; m_init(s->kind) && o_has(m, i) && p < s->pages; p++) {
			struct o_map map;

			o_map(o, cr3, m->base[i] + p * PAGE, &map);
			if (!map.flags || map.gpa != m->frame[s->start / PAGE + p])
				return true;
		}
	}
	return false;
}

/* ---- stacks ---- */

/* The bytes of `page` that lie in [lo, hi). */
static void part(uint64_t lo, uint64_t hi, uint64_t page, uint64_t *from, uint64_t *to)
{
	*from = lo > page ? lo - page : 0;
	*to = hi < page + PAGE ? hi - page : PAGE;
}

void o_extent(const struct oracle *o, struct o_chain *ch, uint64_t cr3, uint64_t lo, uint64_t hi)
{
	unsigned n = 0;

	ch->lo = lo;
	ch->hi = hi;
	for (uint64_t p = PAGE_OF(lo); p < hi && n < O_FRAMES; p += PAGE) {
		struct o_map map;

		o_map(o, cr3, p, &map);
		ch->frame[n++] = map.flags ? map.gpa : NO_FRAME;
	}
}

bool o_extent_holds(const struct o_chain *ch, uint64_t gpa)
{
	unsigned n = 0;

	for (uint64_t p = PAGE_OF(ch->lo); p < ch->hi && n < O_FRAMES; p += PAGE, n++) {
		uint64_t from, to;

		part(ch->lo, ch->hi, p, &from, &to);
		if (ch->frame[n] == PAGE_OF(gpa) && gpa % PAGE >= from && gpa % PAGE < to)
			return true;
	}
	return false;
}

static bool shares(const struct o_chain *ch, uint64_t gpa, uint64_t from, uint64_t to)
{
	unsigned n = 0;

	for (uint64_t p = PAGE_OF(ch->lo); p < ch->hi && n < O_FRAMES; p += PAGE, n++) {
		uint64_t a, b;

		part(ch->lo, ch->hi, p, &a, &b);
		if (ch->frame[n] == gpa && a < to && from < b)
			return true;
	}
	return false;
}

const char *o_overlap_wrong(const struct oracle *o, uint64_t cr3, uint64_t lo, uint64_t hi,
			    const struct o_chain *self)
{
	if (lo < KERNEL_HALF || hi > KERNEL_LAST || lo >= hi ||
	    (hi - 1 - PAGE_OF(lo)) / PAGE >= O_FRAMES)
		return "the stack is not in the kernel half, or longer than a chain may be";
	for (uint64_t p = PAGE_OF(lo); p < hi; p += PAGE) {
		uint64_t from, to;
		struct o_map map;

		part(lo, hi, p, &from, &to);
		o_map(o, cr3, p, &map);
		for (unsigned v = 0; map.flags && v < o->vcpus; v++)
			if (o->vcpu[v].chain && o->vcpu[v].chain != self &&
			    shares(o->vcpu[v].chain, map.gpa, from, to))
				return "another vCPU runs on that stack";
	}
	return NULL;
}

const char *o_stack_wrong(const struct oracle *o, uint64_t cr3, uint64_t slot, uint64_t lo,
			  uint64_t hi, const struct o_chain *self)
{
	uint64_t below = slot - KERNEL_HALF > BELOW ? slot - BELOW : KERNEL_HALF;
	struct o_map map;

	if (slot % 8)
		return "the slot is not aligned";
	below = lo < below ? lo : below;
	if (slot < KERNEL_HALF || below < KERNEL_HALF || hi > KERNEL_LAST || below >= hi ||
	    (hi - 1 - PAGE_OF(below)) / PAGE >= O_FRAMES)
		return "the stack is not in the kernel half, or longer than a chain may be";
	for (uint64_t p = PAGE_OF(slot); p >= PAGE_OF(below); p -= PAGE) {
		o_map(o, cr3, p, &map);
		if (p + PAGE > lo) {
			if (!o_stack_page(&map))
				return "the slot or its headroom is not the guest's plain RAM";
		} else if (!map.flags) {
			break;
		} else if (map.owner == O_PRIVATE || map.owner == O_DEVICE) {
			return "private memory or a device lies close below the slot";
		}
	}
	return o_overlap_wrong(o, cr3, lo, hi, self);
}

/* ---- departures ---- */

bool o_standing(const struct oracle *o, const struct o_module *m, const struct oracle_cpu *cpu,
		struct o_standing *s)
{
	uint64_t off = cpu->rip - m->gates_gva, word;
	const struct m_gate *g;
	uint32_t moff, in;

	*s = (struct o_standing){ .rip = cpu->rip, .rsp = cpu->gpr[ORACLE_RSP] };
	if (!o_in_text(m, cpu->rip, &moff))
		return false;
	if (off >= m->gates_bytes)
		return true;
	if (off / 16 >= m->man.ngates)
		return false;
	g = &m->man.gate[off / 16];
	in = off % 16;
	s->rip = cpu->rip - in + g->x;
	switch (g->kind) {
	case G_ENTER:
		if (in == g->x + 3u) {
			s->rip = o_gva(m, m->man.entry[g->index].moff);
			return true;
		}
		s->at_gate = true;
		return in == 0 || in == g->x;
	case G_LEAVE:
	case G_LEAVE_INDIRECT: s->at_gate = true; return in == g->x;
	case G_LEAVE_RETURN:
		if (in == g->x + 3u) {
			if (!o_word(o, cpu->cr3, s->rsp, true, &word) || !o_retsite(m, word))
				return false;
			s->rip = word;
			s->rsp += 8;
			s->returned = true;
			return true;
		}
		s->popped = true;
		s->rsp -= in == 0 ? 8 : 0;
		return in == 0 || in == g->x;
	default: return false;
	}
}
