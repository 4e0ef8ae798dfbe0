/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exceptions, interrupts and NMIs of this engine's vCPUs, through the guest's IDT (vmm/idt.h). If the
 * vCPU is privileged, the guard hears of it first (DEPART), with the registers as they were: all
 * that the delivery accesses is in view U.
 */
#include <string.h>

#include "sim/sim.h"

static bool read_u(void *v, uint64_t gva, void *buf, unsigned len, struct cpu_event *ev)
{
	return sim_read_u(v, gva, buf, len, ev);
}

static bool write_u(void *v, uint64_t gva, const void *buf, unsigned len, struct cpu_event *ev)
{
	return sim_write_u(v, gva, buf, len, ev);
}

static struct cpu_table table(struct sim_vcpu *v, unsigned offset)
{
	const struct sim_seg *s = sim_table(v, offset);

	return (struct cpu_table){ s->base, s->limit, (uint16_t)s->selector };
}

static void describe(struct sim_vcpu *v, struct idt_cpu *c)
{
	*c = (struct idt_cpu){
		.ctx = v,
		.read = read_u,
		.write = write_u,
		.ended = &v->e->ended,
		.gdt = table(v, sim_layout.gdt),
		.ldt = table(v, sim_layout.ldt),
		.idt = table(v, sim_layout.idt),
		.tr = table(v, sim_layout.tr),
		.rip = *sim_rip(v),
		.rsp = sim_gpr(v)[GUARD_RSP],
		.rflags = sim_rflags(v),
		.cr2 = v->sys.cr2,
		.cs = (uint16_t)sim_seg(v, SEG_CS)->selector,
		.ss = (uint16_t)sim_seg(v, SEG_SS)->selector,
		.cpl = sim_cpl(v),
	};
}

static void load_descriptor(struct sim_seg *to, const struct cpu_descriptor *d)
{
	to->selector = d->selector;
	to->pad = 0;
	to->base = d->base;
	to->limit = d->limit;
	to->flags = d->flags;
}

bool sim_descriptor(struct sim_vcpu *v, uint16_t selector, struct sim_seg *out,
		    struct cpu_event *ev)
{
	struct cpu_descriptor d;
	struct idt_cpu c;

	describe(v, &c);
	if (!idt_descriptor(&c, selector, &d, ev))
		return false;
	load_descriptor(out, &d);
	return true;
}

/* The handler's first instruction is next. */
static void take_over(struct sim_vcpu *v, const struct idt_cpu *c)
{
	struct sim_seg *ss = sim_seg(v, SEG_SS);

	if (c->cpl != sim_cpl(v)) {
		memset(ss, 0, sizeof(*ss));
		ss->selector = c->cpl;
		ss->flags = 0x00c09300 | c->cpl << 13; /* null in 64-bit mode; DPL is the CPL */
	}
	load_descriptor(sim_seg(v, SEG_CS), &c->code);
	*sim_hflags(v) = (*sim_hflags(v) & ~(HF_CPL | HF_ADDSEG)) | HF_64 | c->cpl;
	sim_gpr(v)[GUARD_RSP] = c->rsp;
	sim_set_rflags(v, c->rflags);
}

void sim_deliver(struct sim_vcpu *v, const struct cpu_event *why)
{
	uint64_t rip = sim_current_rip(v);
	struct cpu_event now = *why;
	enum idt_result result;
	struct idt_cpu c;

	sim_save(v);
	sim_tick(v->e, SIM_EVENT_BYTES);
	if (!sim_depart(v, now.cause, now.vector))
		return;
	if (v->e->watched)
		vm_watch_delivers(v->e->vm, v->id, v->view);
	describe(v, &c);
	result = idt_deliver(&c, &now);
	v->sys.cr2 = c.cr2;
	*sim_rip(v) = c.rip;
	if (result == IDT_DELIVERED)
		take_over(v, &c);
	else if (result == IDT_SHUTDOWN)
		sim_end(v->e, VM_EXIT_TRIPLE_FAULT, v->id, rip,
			"triple fault (vector %u could not be delivered)", why->vector);
	if (result == IDT_DELIVERED && now.cause == GUARD_CAUSE_NMI)
		v->nmi_blocked = true;
}

void sim_exception(struct sim_vcpu *v, uint8_t vector, bool has_error, uint32_t error)
{
	struct cpu_event ev;

	cpu_fault(&ev, vector, error);
	ev.has_error = has_error;
	sim_deliver(v, &ev);
}

void sim_raise_vector(struct sim_vcpu *v, uint8_t vector)
{
	if (vector == EXC_NMI) {
		v->nmi = true;
	} else {
		cpu_pending_set(&v->pending, vector);
	}
	if (v->state == ENGINE_ASLEEP)
		v->e->replan = true;
	if (v->live)
		v->live->left = 0; /* look again at the next block */
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
	struct cpu_event ev;
	int vector;

	memset(&ev, 0, sizeof(ev));
	if (v->nmi && !v->nmi_blocked) {
		v->nmi = false;
		ev.vector = EXC_NMI;
		ev.cause = GUARD_CAUSE_NMI;
		sim_deliver(v, &ev);
		return;
	}
	if (!v->pending.any)
		return;
	if (!(sim_rflags(v) & RFLAGS_IF)) {
		v->if_was_off = true;
		v->shadow = false;
		return;
	}
	if (in_shadow(v))
		return;
	v->if_was_off = false;
	vector = cpu_pending_take(&v->pending);
	if (vector < 0)
		return;
	ev.vector = (uint8_t)vector;
	ev.cause = GUARD_CAUSE_IRQ;
	sim_deliver(v, &ev);
}
