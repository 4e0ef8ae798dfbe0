/* SPDX-License-Identifier: GPL-2.0-only */
/* The operations of vmm/engine.h for KVM. */
#include "hv-port/kvm.h"

static void run(struct engine *e, struct vm_exit *exit)
{
	kv_run(e);
	*exit = e->exit;
}

/* From a signal handler, perhaps in another thread: then the slice's timer brings it through. */
static void interrupt(struct engine *e)
{
	struct kvm_run *r;

	e->interrupted = 1;
	r = e->running;
	if (r)
		r->immediate_exit = 1;
}

static void get_cpu(struct engine *e, unsigned vcpu, struct guard_cpu *cpu)
{
	kv_get_cpu(&e->vcpu[vcpu], cpu);
}

static void set_cpu(struct engine *e, unsigned vcpu, const struct guard_cpu *cpu)
{
	kv_set_cpu(&e->vcpu[vcpu], cpu);
}

static void get_sys(struct engine *e, unsigned vcpu, struct engine_sys *sys)
{
	kv_get_sys(&e->vcpu[vcpu], sys);
}

static void set_sys(struct engine *e, unsigned vcpu, const struct engine_sys *sys)
{
	kv_set_sys(&e->vcpu[vcpu], sys);
}

static enum engine_run_state run_state(struct engine *e, unsigned vcpu)
{
	return e->vcpu[vcpu].state;
}

static void set_run_state(struct engine *e, unsigned vcpu, enum engine_run_state state)
{
	e->vcpu[vcpu].state = state;
	e->vcpu[vcpu].mwait = false;
	e->replan = true;
}

static bool set_view(struct engine *e, unsigned vcpu, uint8_t view, bool dirty)
{
	struct kv_vcpu *v = &e->vcpu[vcpu];

	/* The slots follow before the vCPU runs again. The guard accepts no entry with TF set. */
	v->view = view;
	if (dirty)
		e->slots.stale = true;
	kv_hide_dr7(v, view != GUARD_VIEW_U);
	return true;
}

static uint8_t view_of(struct engine *e, unsigned vcpu)
{
	return e->vcpu[vcpu].view;
}

/*
 * KVM may keep shadows of the guest's page tables and takes no notice of what we write there. They
 * go with any deleted slot, and translations with them.
 */
static void invalidate(struct engine *e, uint32_t vcpus, uint64_t gva, uint64_t bytes)
{
	(void)vcpus;
	(void)gva;
	(void)bytes;
	e->slots.flush = true;
}

/* No vCPU runs while vmm/ does: the slots follow before one does again. */
static void frames_changed(struct engine *e, uint64_t gpa, uint64_t bytes)
{
	(void)gpa;
	(void)bytes;
	e->slots.stale = true;
}

static void raise_vector(struct engine *e, unsigned vcpu, uint8_t vector)
{
	kv_raise_vector(&e->vcpu[vcpu], vector);
}

const struct engine_ops kvm_engine = {
	.name = "kvm",
	.note = "\"gates\" mode (a stock KVM has no execute control of the outside and shows no guest "
		"exceptions): keeps G1, G4, G6, and G2 for honest control flow; gives up the rest. It "
		"validates verdicts, not isolation",
	.default_x = GM_X_OUT,
	.host = kv_host,
	.create = kv_create,
	.destroy = kv_destroy,
	.run = run,
	.interrupt = interrupt,
	.get_cpu = get_cpu,
	.set_cpu = set_cpu,
	.get_sys = get_sys,
	.set_sys = set_sys,
	.run_state = run_state,
	.set_run_state = set_run_state,
	.set_view = set_view,
	.view = view_of,
	.invalidate = invalidate,
	.frames_changed = frames_changed,
	.track = frames_changed,
	.kick = kv_kick,
	.raise_vector = raise_vector,
	.time = kv_time,
};
