/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What looks like a crossing goes to the guard, and what it decides is carried out to the letter:
 * registers, kicks, #GP, a vCPU or the VM stopped. The view has been set meanwhile, by set_view().
 */
#include <string.h>

#include "sim/sim.h"

/* Registers may be live: then the context takes a copy and stays secondary. */
void sim_get_cpu(struct sim_vcpu *v, struct guard_cpu *cpu)
{
	if (v->live)
		uc_context_save(v->live->uc, v->ctx);
	memcpy(cpu->gpr, sim_gpr(v), sizeof(cpu->gpr));
	cpu->rip = *sim_rip(v);
	cpu->rflags = sim_rflags(v);
	cpu->cr0 = v->cr0;
	cpu->cr3 = v->cr3;
	cpu->cr4 = v->cr4;
	cpu->efer = v->efer;
	cpu->cpl = (uint8_t)sim_cpl(v);
	cpu->mode = *sim_hflags(v) & HF_CS64 ? GUARD_MODE_64 : 0;
}

void sim_kick(struct engine *e, uint32_t vcpus)
{
	unsigned i;

	for (i = 0; i < e->nvcpus; i++) {
		struct sim_vcpu *v = &e->vcpu[i];

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

static void judge(struct sim_vcpu *v, enum guard_event_type type, enum guard_cause cause,
		  uint8_t vector, struct guard_event *ev, struct guard_decision *d)
{
	sim_save(v);
	memset(ev, 0, sizeof(*ev));
	ev->type = type;
	ev->vcpu = v->id;
	ev->cause = cause;
	ev->vector = vector;
	sim_get_cpu(v, &ev->cpu);
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
static bool carry_out(struct sim_vcpu *v, const struct guard_event *ev,
		      const struct guard_decision *d)
{
	memcpy(sim_gpr(v), d->cpu.gpr, sizeof(d->cpu.gpr));
	*sim_rip(v) = d->cpu.rip;
	if (d->cpu.rflags != ev->cpu.rflags)
		sim_set_rflags(v, d->cpu.rflags);
	sim_kick(v->e, d->kick);
	if (d->stop_vm) {
		sim_end(v->e, VM_EXIT_STOPPED, v->id, ev->cpu.rip, "stopped by the guard");
		return false;
	}
	stop_vcpus(v->e, d->stop | (d->stop_vcpu ? 1u << v->id : 0));
	return v->state != ENGINE_OFF;
}

static void inject_gp(struct sim_vcpu *v)
{
	sim_exception(v, EXC_GP, true, 0);
}

void sim_cross_x(struct sim_vcpu *v, unsigned bytes)
{
	struct guard_decision d;
	struct guard_event ev;

	judge(v, GUARD_EV_X, GUARD_CAUSE_X, 0, &ev, &d);
	if (d.foreign) {
		/* an exit may have been judged before it */
		if (!carry_out(v, &ev, &d))
			return;
		sim_gpr(v)[GUARD_RAX] = vm_foreign_x(v->e->vm, &ev);
		*sim_rip(v) += bytes;
		return;
	}
	if (carry_out(v, &ev, &d) && d.inject_gp)
		inject_gp(v);
}

void sim_cross_fetch(struct sim_vcpu *v)
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
		inject_gp(v);
}

bool sim_depart(struct sim_vcpu *v, enum guard_cause cause, uint8_t vector)
{
	struct guard_decision d;
	struct guard_event ev;

	if (v->view == GUARD_VIEW_U)
		return true;
	judge(v, GUARD_EV_DEPART, cause, vector, &ev, &d);
	return carry_out(v, &ev, &d);
}
