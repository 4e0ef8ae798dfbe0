/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Delivery through the guest's IDT. The frame:
 *
 *   +40  SS          the stack is IST n of the TSS if the gate names one, RSP0 if the CPL changes,
 *   +32  RSP         else the present one; aligned to 16 bytes first
 *   +24  RFLAGS
 *   +16  CS
 *    +8  RIP
 *    +0  error code  (only for some exceptions)
 */
#include "vmm/idt.h"

#include <string.h>

#define PAGE 4096u

struct gate {
	uint64_t target;
	uint16_t selector;
	uint8_t ist, type, dpl;
};

void cpu_fault(struct cpu_event *ev, uint8_t vector, uint32_t error)
{
	memset(ev, 0, sizeof(*ev));
	ev->vector = vector;
	ev->has_error = true;
	ev->error = error;
	ev->cause = GUARD_CAUSE_EXCEPTION;
}

/* ---- what is pending ---- */

void cpu_pending_set(struct cpu_pending *p, uint8_t vector)
{
	p->vector[vector / 64] |= 1ull << (vector % 64);
	p->any = true;
}

int cpu_pending_take(struct cpu_pending *p)
{
	int i, found = -1;

	for (i = 3; i >= 0 && found < 0; i--)
		if (p->vector[i])
			found = i * 64 + 63 - __builtin_clzll(p->vector[i]);
	if (found >= 0)
		p->vector[found / 64] &= ~(1ull << (found % 64));
	p->any = p->vector[0] | p->vector[1] | p->vector[2] | p->vector[3];
	return found;
}

/* ---- the tables ---- */

static bool fault(struct cpu_event *ev, uint8_t vector, uint32_t error)
{
	cpu_fault(ev, vector, error);
	return false;
}

bool idt_descriptor(struct idt_cpu *c, uint16_t selector, struct cpu_descriptor *d,
		    struct cpu_event *ev)
{
	const struct cpu_table *table = selector & 4 ? &c->ldt : &c->gdt;
	uint32_t raw[2];

	if ((uint32_t)(selector | 7) > table->limit)
		return fault(ev, EXC_GP, selector & ~3u);
	if (!c->read(c->ctx, table->base + (selector & ~7u), raw, sizeof(raw), ev))
		return false;
	d->selector = selector;
	d->base = raw[0] >> 16 | (uint64_t)(raw[1] & 0xff) << 16 | (raw[1] & 0xff000000);
	d->limit = (raw[0] & 0xffff) | (raw[1] & 0xf0000);
	if (raw[1] & DESC_G)
		d->limit = d->limit << 12 | 0xfff;
	d->flags = raw[1] & 0x00f0ff00;
	return true;
}

static bool read_gate(struct idt_cpu *c, const struct cpu_event *why, struct gate *g,
		      struct cpu_event *ev)
{
	uint32_t error = why->vector * 8u + 2 + (why->soft ? 0 : 1), raw[4];

	if (why->vector * 16u + 15 > c->idt.limit)
		return fault(ev, EXC_GP, error);
	if (!c->read(c->ctx, c->idt.base + why->vector * 16u, raw, sizeof(raw), ev))
		return false;
	g->target = (raw[0] & 0xffff) | (raw[1] & 0xffff0000) | (uint64_t)raw[2] << 32;
	g->selector = (uint16_t)(raw[0] >> 16);
	g->ist = raw[1] & 7;
	g->type = raw[1] >> 8 & 0x1f;
	g->dpl = DESC_DPL(raw[1]);
	if ((g->type != 0xe && g->type != 0xf) || (why->soft && g->dpl < c->cpl))
		return fault(ev, EXC_GP, error);
	if (!(raw[1] & DESC_P))
		return fault(ev, EXC_NP, error);
	return true;
}

/* The code segment that the gate names, and the CPL behind it. */
static bool code_segment(struct idt_cpu *c, const struct gate *g, bool soft,
			 struct cpu_descriptor *code, unsigned *cpl, struct cpu_event *ev)
{
	unsigned ext = soft ? 0 : 1;

	if (!(g->selector & ~3u))
		return fault(ev, EXC_GP, ext);
	if (!idt_descriptor(c, g->selector, code, ev))
		return false;
	*cpl = DESC_DPL(code->flags);
	if ((code->flags & (DESC_S | DESC_CODE | DESC_L | DESC_DB)) !=
		    (DESC_S | DESC_CODE | DESC_L) ||
	    *cpl > c->cpl)
		return fault(ev, EXC_GP, (g->selector & ~3u) | ext);
	if (!(code->flags & DESC_P))
		return fault(ev, EXC_NP, (g->selector & ~3u) | ext);
	if (code->flags & DESC_CONFORMING) /* conforming: the CPL stays */
		*cpl = c->cpl;
	if (!cpu_canonical(g->target))
		return fault(ev, EXC_GP, ext);
	return true;
}

/* Where the frame goes: TSS.RSP0 lies at 4, TSS.IST1 at 36. */
static bool new_stack(struct idt_cpu *c, const struct gate *g, bool inner, uint64_t *rsp,
		      struct cpu_event *ev)
{
	unsigned offset = g->ist ? 36u + (g->ist - 1u) * 8 : 4;

	*rsp = c->rsp;
	if (g->ist || inner) {
		if (offset + 7 > c->tr.limit)
			return fault(ev, EXC_TS, c->tr.selector & ~3u);
		if (!c->read(c->ctx, c->tr.base + offset, rsp, 8, ev))
			return false;
		if (!cpu_canonical(*rsp))
			return fault(ev, EXC_SS, 0);
	}
	*rsp &= ~15ull;
	return true;
}

/* ---- the frame ---- */

/*
 * A CPU pushes from the top, so a fault names the upper of two pages first, and in it the highest
 * word. One write for each page: what it touches counts once.
 */
static bool push_frame(struct idt_cpu *c, uint64_t rsp, const uint64_t *word, unsigned n,
		       struct cpu_event *ev)
{
	unsigned below = (unsigned)((PAGE - rsp % PAGE) / 8); /* words on the first page */
	unsigned from = below < n ? below : 0, to = n;

	for (;;) {
		if (!c->write(c->ctx, rsp + 8 * from, &word[from], 8 * (to - from), ev)) {
			if (ev->vector == EXC_GP)
				ev->vector = EXC_SS;
			else if (ev->vector == EXC_PF)
				ev->cr2 = rsp + 8 * (to - 1);
			return false;
		}
		if (!from)
			return true;
		to = from;
		from = 0;
	}
}

static bool is_fault_with_rf(const struct cpu_event *ev)
{
	return ev->cause == GUARD_CAUSE_EXCEPTION && !ev->soft && ev->vector != EXC_DB &&
	       ev->vector != EXC_NMI && ev->vector != EXC_BP && ev->vector != 4 && ev->vector < 32;
}

/* One try. false: *ev is what went wrong, and nothing has changed. */
static bool deliver_once(struct idt_cpu *c, const struct cpu_event *why, struct cpu_event *ev)
{
	unsigned cpl, first = why->has_error ? 0 : 1;
	struct cpu_descriptor code;
	uint64_t frame[6], rsp;
	struct gate g;

	if (!read_gate(c, why, &g, ev) || !code_segment(c, &g, why->soft, &code, &cpl, ev) ||
	    !new_stack(c, &g, cpl != c->cpl, &rsp, ev))
		return false;
	frame[0] = why->error;
	frame[1] = c->rip;
	frame[2] = c->cs;
	frame[3] = c->rflags | (is_fault_with_rf(why) ? RFLAGS_RF : 0);
	frame[4] = c->rsp;
	frame[5] = c->ss;
	rsp -= 8 * (6 - first);
	if (!push_frame(c, rsp, &frame[first], 6 - first, ev))
		return false;
	c->code = code;
	c->code.selector = (uint16_t)((g.selector & ~3u) | cpl);
	c->cpl = cpl;
	c->rsp = rsp;
	c->rip = g.target;
	c->rflags &= ~(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM);
	if (g.type == 0xe)
		c->rflags &= ~RFLAGS_IF;
	return true;
}

static bool contributory(uint8_t vector)
{
	return vector == 0 || (vector >= EXC_TS && vector <= EXC_GP);
}

/* Table 8-2: two contributory ones, or one during a page fault. */
static bool doubles(const struct cpu_event *first, const struct cpu_event *second)
{
	if (first->cause != GUARD_CAUSE_EXCEPTION || first->soft)
		return false;
	return (contributory(first->vector) && contributory(second->vector)) ||
	       (first->vector == EXC_PF &&
		(contributory(second->vector) || second->vector == EXC_PF));
}

enum idt_result idt_deliver(struct idt_cpu *c, struct cpu_event *ev)
{
	struct cpu_event next;

	if (ev->vector == EXC_PF && ev->cause == GUARD_CAUSE_EXCEPTION)
		c->cr2 = ev->cr2;
	/* Ends: a fault is no soft one, doubles with the next, and a double fault is the last. */
	while (!deliver_once(c, ev, &next)) {
		if (*c->ended)
			return IDT_ENDED;
		if (ev->cause == GUARD_CAUSE_EXCEPTION && ev->vector == EXC_DF && !ev->soft)
			return IDT_SHUTDOWN;
		if (next.vector == EXC_PF)
			c->cr2 = next.cr2;
		if (ev->soft)
			c->rip = ev->insn;
		if (doubles(ev, &next))
			cpu_fault(&next, EXC_DF, 0);
		*ev = next;
	}
	return IDT_DELIVERED;
}
