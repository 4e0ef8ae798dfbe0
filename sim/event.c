/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exceptions, interrupts and NMIs go to the guest through its own IDT, as the CPU would in 64-bit
 * mode (AMD64 manual volume 2, 8.7 and 8.9):
 *
 *   +40  SS          the stack is IST n of the TSS if the gate names one, RSP0 if the CPL changes,
 *   +32  RSP         else the present one; aligned to 16 bytes first
 *   +24  RFLAGS
 *   +16  CS
 *    +8  RIP
 *    +0  error code  (only for some exceptions)
 *
 * If the vCPU is privileged, the guard hears of it first (DEPART), with the registers as they were:
 * everything below happens in view U.
 */
#include <string.h>

#include "sim/sim.h"

struct gate {
	uint64_t target;
	uint16_t selector;
	uint8_t ist, type, dpl;
	bool present;
};

static void fault(struct sim_event *ev, uint8_t vector, uint32_t error)
{
	memset(ev, 0, sizeof(*ev));
	ev->vector = vector;
	ev->has_error = true;
	ev->error = error;
	ev->cause = GUARD_CAUSE_EXCEPTION;
}

bool sim_descriptor(struct sim_vcpu *v, uint16_t selector, struct sim_seg *out,
		    struct sim_event *ev)
{
	struct sim_seg *table = sim_table(v, selector & 4 ? sim_layout.ldt : sim_layout.gdt);
	uint32_t d[2];

	if ((uint32_t)(selector | 7) > table->limit) {
		fault(ev, EXC_GP, selector & ~3u);
		return false;
	}
	if (!sim_read_u(v, table->base + (selector & ~7u), d, 8, ev))
		return false;
	out->selector = selector;
	out->pad = 0;
	out->base = d[0] >> 16 | (uint64_t)(d[1] & 0xff) << 16 | (d[1] & 0xff000000);
	out->limit = (d[0] & 0xffff) | (d[1] & 0xf0000);
	if (d[1] & (1u << 23))
		out->limit = out->limit << 12 | 0xfff;
	out->flags = d[1] & 0x00f0ff00;
	return true;
}

static bool read_gate(struct sim_vcpu *v, const struct sim_event *why, struct gate *g,
		      struct sim_event *ev)
{
	const struct sim_seg *idt = sim_table(v, sim_layout.idt);
	unsigned ext = why->soft ? 0 : 1;
	uint32_t d[4];

	if (why->vector * 16u + 15 > idt->limit) {
		fault(ev, EXC_GP, why->vector * 8u + 2 + ext);
		return false;
	}
	if (!sim_read_u(v, idt->base + why->vector * 16u, d, 16, ev))
		return false;
	g->target = (d[0] & 0xffff) | (d[1] & 0xffff0000) | (uint64_t)d[2] << 32;
	g->selector = (uint16_t)(d[0] >> 16);
	g->ist = d[1] & 7;
	g->type = d[1] >> 8 & 0x1f;
	g->dpl = d[1] >> 13 & 3;
	g->present = d[1] >> 15 & 1;
	if ((g->type != 0xe && g->type != 0xf) || (why->soft && g->dpl < sim_cpl(v))) {
		fault(ev, EXC_GP, why->vector * 8u + 2 + ext);
		return false;
	}
	if (!g->present) {
		fault(ev, EXC_NP, why->vector * 8u + 2 + ext);
		return false;
	}
	return true;
}

/* Where the frame goes: TSS.RSP0 lies at 4, TSS.IST1 at 36. */
static bool new_stack(struct sim_vcpu *v, const struct gate *g, bool inner, uint64_t *rsp,
		      struct sim_event *ev)
{
	const struct sim_seg *tr = sim_table(v, sim_layout.tr);
	unsigned offset = g->ist ? 36u + (g->ist - 1u) * 8 : 4;

	*rsp = sim_gpr(v)[GUARD_RSP];
	if (g->ist || inner) {
		if (offset + 7 > tr->limit) {
			fault(ev, EXC_TS, tr->selector & ~3u);
			return false;
		}
		if (!sim_read_u(v, tr->base + offset, rsp, 8, ev))
			return false;
		if (!sim_canonical(*rsp)) {
			fault(ev, EXC_SS, 0);
			return false;
		}
	}
	*rsp &= ~15ull;
	return true;
}

/*
 * A CPU pushes from the top, so a fault names the upper of two pages first, and in it the highest
 * word. One write for each page: what it touches counts once.
 */
static bool push_frame(struct sim_vcpu *v, uint64_t rsp, const uint64_t *word, unsigned n,
		       struct sim_event *ev)
{
	unsigned below = (unsigned)((SIM_PAGE - rsp % SIM_PAGE) / 8); /* words on the first page */
	unsigned from = below < n ? below : 0, to = n;

	for (;;) {
		if (!sim_write_u(v, rsp + 8 * from, &word[from], 8 * (to - from), ev)) {
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

static bool is_fault_with_rf(uint8_t vector)
{
	return vector != EXC_DB && vector != EXC_NMI && vector != EXC_BP && vector != 4 &&
	       vector < 32;
}

/* One try. false: *ev is what went wrong, and no register has changed. */
static bool deliver_once(struct sim_vcpu *v, const struct sim_event *why, struct sim_event *ev)
{
	struct sim_seg code, *cs = sim_seg(v, SEG_CS), *ss = sim_seg(v, SEG_SS);
	uint64_t frame[6], rflags = sim_rflags(v), rsp;
	unsigned cpl = sim_cpl(v), dpl, first = why->has_error ? 0 : 1;
	struct gate g;

	if (!read_gate(v, why, &g, ev))
		return false;
	if (!(g.selector & ~3u)) {
		fault(ev, EXC_GP, why->soft ? 0 : 1);
		return false;
	}
	if (!sim_descriptor(v, g.selector, &code, ev))
		return false;
	dpl = code.flags >> 13 & 3;
	if ((code.flags & 0x1800) != 0x1800 || dpl > cpl || !(code.flags & (1u << 21)) ||
	    (code.flags & (1u << 22))) {
		fault(ev, EXC_GP, (g.selector & ~3u) | (why->soft ? 0 : 1));
		return false;
	}
	if (!(code.flags & 0x8000)) {
		fault(ev, EXC_NP, (g.selector & ~3u) | (why->soft ? 0 : 1));
		return false;
	}
	if (code.flags & 0x400) /* conforming: the CPL stays */
		dpl = cpl;
	if (!sim_canonical(g.target)) {
		fault(ev, EXC_GP, why->soft ? 0 : 1);
		return false;
	}
	if (!new_stack(v, &g, dpl != cpl, &rsp, ev))
		return false;
	frame[0] = why->error;
	frame[1] = *sim_rip(v);
	frame[2] = cs->selector;
	frame[3] = why->cause == GUARD_CAUSE_EXCEPTION && !why->soft &&
				   is_fault_with_rf(why->vector)
			   ? rflags | RFLAGS_RF
			   : rflags;
	frame[4] = sim_gpr(v)[GUARD_RSP];
	frame[5] = ss->selector;
	rsp -= 8 * (6 - first);
	if (!push_frame(v, rsp, &frame[first], 6 - first, ev))
		return false;
	if (dpl != cpl) {
		memset(ss, 0, sizeof(*ss));
		ss->selector = dpl;
		ss->flags = 0x00c09300 | dpl << 13; /* null in 64-bit mode; DPL is the CPL */
	}
	*cs = code;
	cs->selector = (g.selector & ~3u) | dpl;
	*sim_hflags(v) = (*sim_hflags(v) & ~(HF_CPL | HF_ADDSEG)) | HF_64 | dpl;
	sim_gpr(v)[GUARD_RSP] = rsp;
	*sim_rip(v) = g.target;
	rflags &= ~(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM);
	if (g.type == 0xe)
		rflags &= ~RFLAGS_IF;
	sim_set_rflags(v, rflags);
	return true;
}

static bool contributory(uint8_t vector)
{
	return vector == 0 || (vector >= EXC_TS && vector <= EXC_GP);
}

void sim_deliver(struct sim_vcpu *v, const struct sim_event *why)
{
	struct sim_event now = *why, next;
	uint64_t rip = sim_current_rip(v);

	sim_save(v);
	sim_tick(v->e, SIM_EVENT_BYTES);
	if (now.vector == EXC_PF && now.cause == GUARD_CAUSE_EXCEPTION)
		v->sys.cr2 = now.cr2;
	if (!sim_depart(v, now.cause, now.vector))
		return;
	if (v->e->watched)
		vm_watch_delivers(v->e->vm, v->id, v->view);
	while (!deliver_once(v, &now, &next)) {
		if (v->e->ended)
			return;
		if (now.cause == GUARD_CAUSE_EXCEPTION && now.vector == EXC_DF) {
			sim_end(v->e, VM_EXIT_TRIPLE_FAULT, v->id, rip,
				"triple fault (vector %u could not be delivered)", why->vector);
			return;
		}
		if (next.vector == EXC_PF)
			v->sys.cr2 = next.cr2;
		if (now.soft)
			*sim_rip(v) = now.insn;
		/* Table 8-2: two contributory ones, or one during a page fault. */
		if (now.cause == GUARD_CAUSE_EXCEPTION && !now.soft &&
		    ((contributory(now.vector) && contributory(next.vector)) ||
		     (now.vector == EXC_PF &&
		      (contributory(next.vector) || next.vector == EXC_PF)))) {
			fault(&next, EXC_DF, 0);
		}
		now = next;
	}
	if (now.vector == EXC_NMI)
		v->nmi_blocked = true;
}

void sim_exception(struct sim_vcpu *v, uint8_t vector, bool has_error, uint32_t error)
{
	struct sim_event ev;

	fault(&ev, vector, error);
	ev.has_error = has_error;
	sim_deliver(v, &ev);
}

void sim_raise_vector(struct sim_vcpu *v, uint8_t vector)
{
	if (vector == EXC_NMI) {
		v->nmi = true;
	} else {
		v->pending[vector / 64] |= 1ull << (vector % 64);
		v->npending = true;
	}
	if (v->state == ENGINE_ASLEEP)
		v->e->replan = true;
	if (v->live)
		v->live->left = 0; /* look again at the next block */
}

/* Highest vector first, as a local APIC would. */
static int take_pending(struct sim_vcpu *v)
{
	int i, found = -1;

	for (i = 3; i >= 0 && found < 0; i--)
		if (v->pending[i])
			found = i * 64 + 63 - __builtin_clzll(v->pending[i]);
	if (found >= 0)
		v->pending[found / 64] &= ~(1ull << (found % 64));
	v->npending = v->pending[0] | v->pending[1] | v->pending[2] | v->pending[3];
	return found;
}

/* STI holds interrupts back for one more instruction (volume 3, STI). */
static bool in_shadow(struct sim_vcpu *v)
{
	struct sim_space *s = v->live;
	uint64_t rip = sim_current_rip(v);
	const uint8_t *p;
	size_t avail;

	if (v->mov_ss) {
		v->mov_ss = false;
		if (s)
			uc_context_save(s->uc, v->ctx);
		if (*sim_hflags(v) & HF_SHADOW)
			return true;
	}
	if (v->shadow || !v->if_was_off || !s)
		return v->shadow = false;
	p = sim_space_bytes(s, rip - 1, &avail);
	return v->shadow = p && *p == 0xfb;
}

void sim_deliver_pending(struct sim_vcpu *v)
{
	struct sim_event ev;
	int vector;

	memset(&ev, 0, sizeof(ev));
	if (v->nmi && !v->nmi_blocked) {
		v->nmi = false;
		ev.vector = EXC_NMI;
		ev.cause = GUARD_CAUSE_NMI;
		sim_deliver(v, &ev);
		return;
	}
	if (!v->npending)
		return;
	if (!(sim_rflags(v) & RFLAGS_IF)) {
		v->if_was_off = true;
		v->shadow = false;
		return;
	}
	if (in_shadow(v))
		return;
	v->if_was_off = false;
	vector = take_pending(v);
	if (vector < 0)
		return;
	ev.vector = (uint8_t)vector;
	ev.cause = GUARD_CAUSE_IRQ;
	sim_deliver(v, &ev);
}
