/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interrupts, NMIs, the guard's #GP and software interrupts go to the guest through its own IDT by
 * hand, as the CPU would in 64-bit mode (AMD64 manual volume 2, 8.7 and 8.9):
 *
 *   +40  SS          the stack is IST n of the TSS if the gate names one, RSP0 if the CPL changes,
 *   +32  RSP         else the present one; aligned to 16 bytes first
 *   +24  RFLAGS
 *   +16  CS
 *    +8  RIP
 *    +0  error code  (only for some exceptions)
 *
 * Not by KVM_INTERRUPT: a delivery of KVM's that meets a page without a slot (an IDT or a stack
 * aimed at private memory or a module's text) can be neither answered nor begun again, and not all
 * hosts deliver what user space injects alike. Exceptions that the guest itself raises are KVM's.
 *
 * If the vCPU is privileged, the guard hears of it first (DEPART), with the registers as they were:
 * everything below happens in view U.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "hv-port/kvm.h"

struct gate {
	uint64_t target;
	uint16_t selector;
	uint8_t ist, type, dpl;
	bool present;
};

static bool descriptor(struct kv_vcpu *v, uint16_t selector, struct kvm_segment *out,
		       struct kv_event *ev)
{
	const struct kvm_sregs *s = kv_sregs(v);
	uint64_t base = selector & 4 ? s->ldt.base : s->gdt.base;
	uint32_t limit = selector & 4 ? s->ldt.limit : s->gdt.limit, d[2];

	if ((uint32_t)(selector | 7) > limit) {
		kv_fault(ev, EXC_GP, selector & ~3u);
		return false;
	}
	if (!kv_read_u(v, base + (selector & ~7u), d, 8, ev))
		return false;
	memset(out, 0, sizeof(*out));
	out->selector = selector;
	out->base = d[0] >> 16 | (uint64_t)(d[1] & 0xff) << 16 | (d[1] & 0xff000000);
	out->limit = (d[0] & 0xffff) | (d[1] & 0xf0000);
	out->type = d[1] >> 8 & 15;
	out->s = d[1] >> 12 & 1;
	out->dpl = d[1] >> 13 & 3;
	out->present = d[1] >> 15 & 1;
	out->avl = d[1] >> 20 & 1;
	out->l = d[1] >> 21 & 1;
	out->db = d[1] >> 22 & 1;
	out->g = d[1] >> 23 & 1;
	if (out->g)
		out->limit = out->limit << 12 | 0xfff;
	return true;
}

static bool read_gate(struct kv_vcpu *v, const struct kv_event *why, struct gate *g,
		      struct kv_event *ev)
{
	const struct kvm_sregs *s = kv_sregs(v);
	unsigned ext = why->soft ? 0 : 1;
	uint32_t d[4];

	if (why->vector * 16u + 15 > s->idt.limit) {
		kv_fault(ev, EXC_GP, why->vector * 8u + 2 + ext);
		return false;
	}
	if (!kv_read_u(v, s->idt.base + why->vector * 16u, d, 16, ev))
		return false;
	g->target = (d[0] & 0xffff) | (d[1] & 0xffff0000) | (uint64_t)d[2] << 32;
	g->selector = (uint16_t)(d[0] >> 16);
	g->ist = d[1] & 7;
	g->type = d[1] >> 8 & 0x1f;
	g->dpl = d[1] >> 13 & 3;
	g->present = d[1] >> 15 & 1;
	if ((g->type != 0xe && g->type != 0xf) || (why->soft && g->dpl < kv_cpl(v))) {
		kv_fault(ev, EXC_GP, why->vector * 8u + 2 + ext);
		return false;
	}
	if (!g->present) {
		kv_fault(ev, EXC_NP, why->vector * 8u + 2 + ext);
		return false;
	}
	return true;
}

/* Where the frame goes: TSS.RSP0 lies at 4, TSS.IST1 at 36. */
static bool new_stack(struct kv_vcpu *v, const struct gate *g, bool inner, uint64_t *rsp,
		      struct kv_event *ev)
{
	const struct kvm_segment *tr = &kv_sregs(v)->tr;
	unsigned offset = g->ist ? 36u + (g->ist - 1u) * 8 : 4;

	*rsp = kv_regs(v)->rsp;
	if (g->ist || inner) {
		if (offset + 7 > tr->limit) {
			kv_fault(ev, EXC_TS, tr->selector & ~3u);
			return false;
		}
		if (!kv_read_u(v, tr->base + offset, rsp, 8, ev))
			return false;
		if (!kv_canonical(*rsp)) {
			kv_fault(ev, EXC_SS, 0);
			return false;
		}
	}
	*rsp &= ~15ull;
	return true;
}

static bool is_fault_with_rf(uint8_t vector)
{
	return vector != EXC_DB && vector != EXC_NMI && vector != EXC_BP && vector != 4 &&
	       vector < 32;
}

/* The code segment that the gate names, and the CPL behind it. */
static bool code_segment(struct kv_vcpu *v, const struct gate *g, bool soft,
			 struct kvm_segment *code, unsigned *dpl, struct kv_event *ev)
{
	unsigned cpl = kv_cpl(v), ext = soft ? 0 : 1;

	if (!(g->selector & ~3u)) {
		kv_fault(ev, EXC_GP, ext);
		return false;
	}
	if (!descriptor(v, g->selector, code, ev))
		return false;
	*dpl = code->dpl;
	if (!code->s || !(code->type & 8) || code->dpl > cpl || !code->l || code->db) {
		kv_fault(ev, EXC_GP, (g->selector & ~3u) | ext);
		return false;
	}
	if (!code->present) {
		kv_fault(ev, EXC_NP, (g->selector & ~3u) | ext);
		return false;
	}
	if (code->type & 4) /* conforming: the CPL stays */
		*dpl = cpl;
	if (!kv_canonical(g->target)) {
		kv_fault(ev, EXC_GP, ext);
		return false;
	}
	return true;
}

/* One try. false: *ev is what went wrong, and no register has changed. */
static bool deliver_once(struct kv_vcpu *v, const struct kv_event *why, struct kv_event *ev)
{
	uint64_t frame[6], rflags = kv_regs(v)->rflags, rsp;
	unsigned cpl = kv_cpl(v), dpl, first = why->has_error ? 0 : 1;
	struct kvm_segment code;
	struct kvm_sregs *s;
	struct kvm_regs *r;
	struct gate g;

	if (!read_gate(v, why, &g, ev) || !code_segment(v, &g, why->soft, &code, &dpl, ev) ||
	    !new_stack(v, &g, dpl != cpl, &rsp, ev))
		return false;
	frame[0] = why->error;
	frame[1] = kv_regs(v)->rip;
	frame[2] = kv_sregs(v)->cs.selector;
	frame[3] = why->cause == GUARD_CAUSE_EXCEPTION && !why->soft &&
				   is_fault_with_rf(why->vector)
			   ? rflags | RFLAGS_RF
			   : rflags;
	frame[4] = kv_regs(v)->rsp;
	frame[5] = kv_sregs(v)->ss.selector;
	rsp -= 8 * (6 - first);
	if (!kv_write_u(v, rsp, &frame[first], 8 * (6 - first), ev)) {
		if (ev->vector == EXC_GP)
			ev->vector = EXC_SS;
		return false;
	}
	s = kv_sregs_w(v);
	r = kv_regs_w(v);
	if (dpl != cpl) {
		memset(&s->ss, 0, sizeof(s->ss));
		s->ss.selector = (uint16_t)dpl;
		s->ss.dpl = (uint8_t)dpl; /* null in 64-bit mode; DPL is the CPL */
		s->ss.unusable = 1;
	}
	s->cs = code;
	s->cs.selector = (uint16_t)((g.selector & ~3u) | dpl);
	s->cs.type |= 1;
	r->rsp = rsp;
	r->rip = g.target;
	rflags &= ~(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM);
	if (g.type == 0xe)
		rflags &= ~RFLAGS_IF;
	r->rflags = rflags;
	return true;
}

static bool contributory(uint8_t vector)
{
	return vector == 0 || (vector >= EXC_TS && vector <= EXC_GP);
}

void kv_deliver(struct kv_vcpu *v, const struct kv_event *why)
{
	struct kv_event now = *why, next;
	uint64_t rip = kv_rip(v);

	if (!kv_long64(v) && !(kv_sregs(v)->efer & EFER_LMA)) {
		kv_end(v->e, VM_EXIT_ENGINE, v->id, rip,
		       "vector %u outside of long mode: this engine cannot deliver it",
		       why->vector);
		return;
	}
	if (now.vector == EXC_PF && now.cause == GUARD_CAUSE_EXCEPTION)
		kv_sregs_w(v)->cr2 = now.cr2;
	if (!kv_depart(v, now.cause, now.vector))
		return;
	while (!deliver_once(v, &now, &next)) {
		if (v->e->ended)
			return;
		if (now.cause == GUARD_CAUSE_EXCEPTION && now.vector == EXC_DF) {
			kv_end(v->e, VM_EXIT_TRIPLE_FAULT, v->id, rip,
			       "triple fault (vector %u could not be delivered)", why->vector);
			return;
		}
		if (next.vector == EXC_PF)
			kv_sregs_w(v)->cr2 = next.cr2;
		if (now.soft)
			kv_regs_w(v)->rip = now.insn;
		/* Table 8-2: two contributory ones, or one during a page fault. */
		if (now.cause == GUARD_CAUSE_EXCEPTION && !now.soft &&
		    ((contributory(now.vector) && contributory(next.vector)) ||
		     (now.vector == EXC_PF &&
		      (contributory(next.vector) || next.vector == EXC_PF))))
			kv_fault(&next, EXC_DF, 0);
		now = next;
	}
	/* Until the guest's IRET; KVM sees that. */
	if (now.vector == EXC_NMI && now.cause == GUARD_CAUSE_NMI)
		kv_events_w(v)->nmi.masked = 1;
}

void kv_exception(struct kv_vcpu *v, uint8_t vector, bool has_error, uint32_t error)
{
	struct kv_event ev;

	kv_fault(&ev, vector, error);
	ev.has_error = has_error;
	kv_deliver(v, &ev);
}

/* ---- what is pending ---- */

void kv_raise_vector(struct kv_vcpu *v, uint8_t vector)
{
	if (vector == EXC_NMI) {
		v->nmi = true;
	} else {
		v->pending[vector / 64] |= 1ull << (vector % 64);
		v->npending = true;
	}
	if (v->state == ENGINE_ASLEEP)
		v->e->replan = true;
}

/* Highest vector first, as a local APIC would. */
static int take_pending(struct kv_vcpu *v)
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

/* KVM has an event of its own half delivered: that one goes first. */
static bool busy(struct kv_vcpu *v)
{
	const struct kvm_vcpu_events *ev = kv_events(v);

	return ev->exception.injected || ev->exception.pending || ev->interrupt.injected ||
	       ev->nmi.injected;
}

static void step(struct kv_vcpu *v, bool on)
{
	struct kvm_guest_debug d = { .control = on ? KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP
						   : 0 };

	if (v->stepping == on)
		return;
	v->stepping = on;
	if (ioctl(v->fd, KVM_SET_GUEST_DEBUG, &d))
		v->stepping = false;
}

/*
 * Not now: KVM is to come back as soon as it is possible. A host that comes back late is made to
 * step, unless the guest steps itself; so is any that is to come back behind the IRET of an NMI's
 * handler, for which there is no such request. Not over HLT, which comes back anyway; stepped, a
 * late host reports it once more later.
 */
static void wait_for_window(struct kv_vcpu *v)
{
	uint8_t code = 0;
	bool hlt = kv_code(v, kv_regs(v)->rip, &code, 1) && code == 0xf4;
	bool unmask = v->nmi && kv_events(v)->nmi.masked;

	v->run->request_interrupt_window = 1;
	v->waited = true;
	step(v, (v->e->late_windows || unmask) && !hlt && !(kv_regs(v)->rflags & RFLAGS_TF));
}

/*
 * A window right behind STI: the host has lost the shadow, as an emulated SVM does when the next
 * instruction had to wait for a page. One instruction is stepped, then the interrupt may come.
 */
static bool lost_shadow(struct kv_vcpu *v)
{
	uint64_t rip = kv_regs(v)->rip;
	uint8_t before = 0;

	if (v->shadow_rip)
		return v->shadow_rip == rip;
	if (!v->waited || v->e->late_windows || !kv_code(v, rip - 1, &before, 1) || before != 0xfb)
		return false;
	v->shadow_rip = rip;
	return true;
}

void kv_deliver_pending(struct kv_vcpu *v)
{
	struct kv_event ev;
	int vector;

	v->run->request_interrupt_window = 0;
	if (v->stepping && !v->npending && !v->nmi)
		step(v, false);
	if ((!v->npending && !v->nmi) || busy(v))
		return;
	memset(&ev, 0, sizeof(ev));
	if (v->nmi && !kv_events(v)->nmi.masked && !kv_events(v)->interrupt.shadow) {
		v->nmi = false;
		step(v, false);
		ev.vector = EXC_NMI;
		ev.cause = GUARD_CAUSE_NMI;
		kv_deliver(v, &ev);
		return;
	}
	if (v->nmi || !(kv_regs(v)->rflags & RFLAGS_IF) || kv_events(v)->interrupt.shadow) {
		wait_for_window(v);
		return;
	}
	if (lost_shadow(v)) {
		step(v, true);
		return;
	}
	v->waited = false;
	v->shadow_rip = 0;
	step(v, false);
	vector = take_pending(v);
	if (vector < 0)
		return;
	ev.vector = (uint8_t)vector;
	ev.cause = GUARD_CAUSE_IRQ;
	kv_deliver(v, &ev);
}
