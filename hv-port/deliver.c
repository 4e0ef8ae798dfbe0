/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interrupts, NMIs, the guard's #GP and software interrupts go to the guest through its own IDT by
 * hand (vmm/idt.h). Not by KVM_INTERRUPT: a delivery of KVM's that meets a page without a slot (an
 * IDT or a stack aimed at private memory or a module's text) can be neither answered nor begun
 * again, and not all hosts deliver what user space injects alike. Exceptions that the guest itself
 * raises are KVM's.
 *
 * If the vCPU is privileged, the guard hears of it first (DEPART), with the registers as they were:
 * all that the delivery accesses is in view U.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "hv-port/kvm.h"

static bool read_u(void *v, uint64_t gva, void *buf, unsigned len, struct cpu_event *ev)
{
	return kv_read_u(v, gva, buf, len, ev);
}

static bool write_u(void *v, uint64_t gva, const void *buf, unsigned len, struct cpu_event *ev)
{
	return kv_write_u(v, gva, buf, len, ev);
}

static struct cpu_table table(const struct kvm_segment *s)
{
	return (struct cpu_table){ s->base, s->limit, s->selector };
}

static void describe(struct kv_vcpu *v, struct idt_cpu *c)
{
	const struct kvm_sregs *s = kv_sregs(v);
	const struct kvm_regs *r = kv_regs(v);

	*c = (struct idt_cpu){
		.ctx = v,
		.read = read_u,
		.write = write_u,
		.ended = &v->e->ended,
		.gdt = { s->gdt.base, s->gdt.limit, 0 },
		.ldt = table(&s->ldt),
		.idt = { s->idt.base, s->idt.limit, 0 },
		.tr = table(&s->tr),
		.rip = r->rip,
		.rsp = r->rsp,
		.rflags = r->rflags,
		.cr2 = s->cr2,
		.cs = s->cs.selector,
		.ss = s->ss.selector,
		.cpl = kv_cpl(v),
	};
}

static void load_code(struct kvm_segment *to, const struct cpu_descriptor *d)
{
	memset(to, 0, sizeof(*to));
	to->selector = d->selector;
	to->base = d->base;
	to->limit = d->limit;
	to->type = (d->flags >> 8 & 15) | 1; /* accessed */
	to->s = 1;
	to->dpl = DESC_DPL(d->flags);
	to->present = 1;
	to->avl = d->flags >> 20 & 1;
	to->l = 1;
	to->g = d->flags >> 23 & 1;
}

/* The handler's first instruction is next. */
static void take_over(struct kv_vcpu *v, const struct idt_cpu *c)
{
	struct kvm_sregs *s = kv_sregs_w(v);
	struct kvm_regs *r;

	if (c->cpl != kv_cpl(v)) {
		memset(&s->ss, 0, sizeof(s->ss));
		s->ss.selector = (uint16_t)c->cpl;
		s->ss.dpl = (uint8_t)c->cpl; /* null in 64-bit mode; DPL is the CPL */
		s->ss.unusable = 1;
	}
	load_code(&s->cs, &c->code);
	r = kv_regs_w(v);
	r->rsp = c->rsp;
	r->rflags = c->rflags;
}

void kv_deliver(struct kv_vcpu *v, const struct cpu_event *why)
{
	struct cpu_event now = *why;
	uint64_t rip = kv_rip(v);
	enum idt_result result;
	struct idt_cpu c;

	if (!kv_long64(v) && !(kv_sregs(v)->efer & EFER_LMA)) {
		kv_end(v->e, VM_EXIT_ENGINE, v->id, rip,
		       "vector %u outside of long mode: this engine cannot deliver it",
		       why->vector);
		return;
	}
	if (!kv_depart(v, now.cause, now.vector))
		return;
	describe(v, &c);
	result = idt_deliver(&c, &now);
	if (c.cr2 != kv_sregs(v)->cr2)
		kv_sregs_w(v)->cr2 = c.cr2;
	if (c.rip != kv_regs(v)->rip)
		kv_regs_w(v)->rip = c.rip;
	if (result == IDT_DELIVERED)
		take_over(v, &c);
	else if (result == IDT_SHUTDOWN)
		kv_end(v->e, VM_EXIT_TRIPLE_FAULT, v->id, rip,
		       "triple fault (vector %u could not be delivered)", why->vector);
	/* Until the guest's IRET; KVM sees that. */
	if (result == IDT_DELIVERED && now.cause == GUARD_CAUSE_NMI)
		kv_events_w(v)->nmi.masked = 1;
}

void kv_exception(struct kv_vcpu *v, uint8_t vector, bool has_error, uint32_t error)
{
	struct cpu_event ev;

	cpu_fault(&ev, vector, error);
	ev.has_error = has_error;
	kv_deliver(v, &ev);
}

/* ---- what is pending ---- */

void kv_raise_vector(struct kv_vcpu *v, uint8_t vector)
{
	if (vector == EXC_NMI) {
		v->nmi = true;
	} else {
		cpu_pending_set(&v->pending, vector);
	}
	if (v->state == ENGINE_ASLEEP)
		v->e->replan = true;
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
	struct cpu_event ev;
	int vector;

	v->run->request_interrupt_window = 0;
	if (v->stepping && !v->pending.any && !v->nmi)
		step(v, false);
	if ((!v->pending.any && !v->nmi) || busy(v))
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
	vector = cpu_pending_take(&v->pending);
	if (vector < 0)
		return;
	ev.vector = (uint8_t)vector;
	ev.cause = GUARD_CAUSE_IRQ;
	kv_deliver(v, &ev);
}
