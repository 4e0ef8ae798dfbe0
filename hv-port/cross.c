/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What looks like a crossing goes to the guard, and what it decides is carried out to the letter:
 * registers, kicks, #GP, a vCPU or the VM stopped. The view has been set meanwhile, by set_view().
 */
#include <string.h>

#include "hv-port/kvm.h"

void kv_kick(struct engine *e, uint32_t vcpus)
{
	unsigned i;

	for (i = 0; i < e->nvcpus; i++) {
		struct kv_vcpu *v = &e->vcpu[i];

		if (!(vcpus >> i & 1))
			continue;
		v->kick = true;
		if (v->mwait && v->state == ENGINE_ASLEEP) {
			v->mwait = false;
			v->state = ENGINE_RUNNABLE;
			e->replan = true;
		}
	}
}

static void judge(struct kv_vcpu *v, enum guard_event_type type, enum guard_cause cause,
		  uint8_t vector, struct guard_event *ev, struct guard_decision *d)
{
	memset(ev, 0, sizeof(*ev));
	ev->type = type;
	ev->vcpu = v->id;
	ev->cause = cause;
	ev->vector = vector;
	kv_get_cpu(v, &ev->cpu);
	vm_judge(v->e->vm, ev, d);
}

/* Their lower failed: they never run again. */
static void stop_vcpus(struct engine *e, uint32_t vcpus)
{
	unsigned i;

	for (i = 0; i < e->nvcpus; i++) {
		if (!(vcpus >> i & 1))
			continue;
		e->vcpu[i].state = ENGINE_OFF;
		e->vcpu[i].guard_stopped = true;
	}
}

/* Loads what the decision names. false: v does not go on. */
static bool carry_out(struct kv_vcpu *v, const struct guard_event *ev,
		      const struct guard_decision *d)
{
	struct kvm_regs *r = kv_regs_w(v);
	unsigned i;

	v->at_insn = false;
	for (i = 0; i < GUARD_GPRS; i++)
		*kv_gpr(r, i) = d->cpu.gpr[i];
	r->rip = d->cpu.rip;
	r->rflags = d->cpu.rflags;
	kv_kick(v->e, d->kick);
	if (d->stop_vm) {
		kv_end(v->e, VM_EXIT_STOPPED, v->id, ev->cpu.rip, "stopped by the guard");
		return false;
	}
	stop_vcpus(v->e, d->stop | (d->stop_vcpu ? 1u << v->id : 0));
	return v->state != ENGINE_OFF;
}

void kv_cross_x(struct kv_vcpu *v, uint64_t x, unsigned bytes)
{
	struct guard_decision d;
	struct guard_event ev;

	v->insn = x;
	v->at_insn = true;
	judge(v, GUARD_EV_X, GUARD_CAUSE_X, 0, &ev, &d);
	if (d.foreign) {
		/* an exit may have been judged before it */
		if (!carry_out(v, &ev, &d))
			return;
		kv_regs_w(v)->rax = vm_foreign_x(v->e->vm, &ev);
		kv_regs_w(v)->rip += bytes;
		return;
	}
	if (carry_out(v, &ev, &d) && d.inject_gp)
		kv_exception(v, EXC_GP, true, 0);
}

void kv_cross_fetch(struct kv_vcpu *v)
{
	struct guard_decision d;
	struct guard_event ev;
	uint8_t view = v->view;

	judge(v, GUARD_EV_FETCH, GUARD_CAUSE_FETCH, 0, &ev, &d);
	/* foreign: the guard gave frames back meanwhile, and the fetch is repeated */
	if (!carry_out(v, &ev, &d) || d.foreign)
		return;
	/* Unchanged: nobody takes this fetch, from a device or a hole, which a CPU would have to read. */
	if (d.inject_gp || (view == v->view && d.cpu.rip == ev.cpu.rip))
		kv_exception(v, EXC_GP, true, 0);
}

bool kv_depart(struct kv_vcpu *v, enum guard_cause cause, uint8_t vector)
{
	struct guard_decision d;
	struct guard_event ev;

	if (v->view == GUARD_VIEW_U)
		return true;
	judge(v, GUARD_EV_DEPART, cause, vector, &ev, &d);
	return carry_out(v, &ev, &d);
}

/*
 * A repeated instruction goes on next to where it was, while RCX runs down. RCX is counted down by
 * the time a turn's write is seen, so the next turn's read finds it unchanged.
 */
static bool same_instruction(struct kv_vcpu *v, uint64_t gpa, uint64_t rip, bool write)
{
	const struct kv_touch *t = &v->touch;
	uint64_t done;

	if (!t->open || !t->rep)
		return t->open;
	done = t->rcx - kv_regs(v)->rcx;
	return t->rip == rip && (done || (t->write && !write)) && done < KV_PAGE &&
	       gpa - t->gpa + KV_PAGE < 2 * KV_PAGE;
}

void kv_touch(struct kv_vcpu *v, uint64_t gpa, uint64_t rip, bool write)
{
	struct kv_touch *t = &v->touch;
	struct guard_decision d;
	struct guard_event ev;
	bool same = same_instruction(v, gpa, rip, write);

	t->open = true;
	t->rep = false;
	t->write = write;
	t->rip = rip;
	t->gpa = gpa;
	t->rcx = kv_regs(v)->rcx;
	if (same)
		return;
	memset(&ev, 0, sizeof(ev));
	ev.type = GUARD_EV_TOUCH;
	ev.vcpu = v->id;
	ev.cause = GUARD_CAUSE_ACCESS;
	ev.gpa = gpa;
	kv_get_cpu(v, &ev.cpu);
	ev.cpu.rip = rip;
	vm_judge(v->e->vm, &ev, &d);
	kv_kick(v->e, d.kick);
	if (d.stop_vm)
		kv_end(v->e, VM_EXIT_STOPPED, v->id, rip, "stopped by the guard");
}
