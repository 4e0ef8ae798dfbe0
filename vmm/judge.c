/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The one way from an engine to the guard core: judge, log, tell. What the decision says is the
 * engine's to carry out; the view is already set when this returns (ops.c).
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmm/internal.h"

void vm_record(struct vm *vm, unsigned vcpu, const struct guard_decision *d)
{
	unsigned i;

	for (i = 0; i < vm->cfg.vcpus; i++)
		if (d->stop >> i & 1)
			vm->vcpu[i].stopped = true;
	if (d->stop_vcpu)
		vm->vcpu[vcpu].stopped = true;
	for (i = 0; i < d->nlines && i < GUARD_MAX_LINES; i++) {
		vm_log_append(vm, vcpu, &d->line[i]);
		if (vm->cfg.logged)
			vm->cfg.logged(vm->cfg.ctx, vm, vm_log_line(vm, vm->log.count - 1));
		if (vm->cfg.trace)
			vm_trace_line(vm, vm_log_line(vm, vm->log.count - 1));
		if (vm->cfg.trace && vm->cfg.explain)
			vm_explain_line(vm, vcpu, &d->line[i], d);
	}
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void vm_judge(struct vm *vm, const struct guard_event *ev, struct guard_decision *d)
{
	uint64_t start;

	vm_place_judged(vm, ev);
	start = vm->cfg.measure ? now() : 0;
	if (vm->oracle)
		vm_watch_judge(vm, ev, d);
	else
		guard_judge(vm->guard, ev, d);
	if (vm->cfg.measure)
		vm->cost.ns += now() - start;
	vm->cost.events++;
	vm_record(vm, ev->vcpu, d);
}

struct vm_cost vm_cost(const struct vm *vm)
{
	return vm->cost;
}

/* No hypercalls of our own: as an ordinary kernel sees a crossing that nobody knows, a no-op. */
uint64_t vm_foreign_x(struct vm *vm, const struct guard_event *ev)
{
	(void)vm;
	return ev->cpu.gpr[GUARD_RAX];
}

struct guard *vm_guard(struct vm *vm)
{
	return vm->guard;
}

bool vm_grant(struct vm *vm, unsigned vcpu, unsigned module, uint64_t privileges, bool give)
{
	struct vm_module *m = module < GUARD_MAX_MODULES ? vm->module[module] : NULL;
	struct guard_decision d;
	enum guard_verdict v;

	if (!m || m->index != module || vcpu >= vm->cfg.vcpus)
		return false;
	vm_watch_admin(vm);
	v = guard_grant(vm->guard, vcpu, module, privileges, give, &d);
	vm_record(vm, vcpu, &d);
	vm_watch_granted(vm, vcpu, module, privileges, give, v, &d);
	if (v != GUARD_V_OK)
		return false;
	if (give)
		m->granted[vcpu] |= privileges;
	else
		m->granted[vcpu] &= ~privileges;
	if (d.kick)
		vm->ops->kick(vm->engine, d.kick);
	return true;
}

bool vm_unregister(struct vm *vm, unsigned module)
{
	struct vm_module *m = module < GUARD_MAX_MODULES ? vm->module[module] : NULL;
	struct guard_decision d;
	enum guard_verdict v;

	if (!m || m->index != module)
		return false;
	vm_watch_admin(vm);
	v = guard_unregister(vm->guard, module, &d);
	vm_record(vm, 0, &d);
	vm_watch_unregistered(vm, module, v, &d);
	if (d.kick)
		vm->ops->kick(vm->engine, d.kick);
	if (v != GUARD_V_OK)
		return false;
	/* vm->module[] keeps it, for the names in the log, until the index is given again. */
	vm_forget_frames(vm, m);
	m->index = GUARD_VIEW_U;
	return true;
}

bool vm_reset_vcpu(struct vm *vm, unsigned vcpu)
{
	struct guard_decision d;
	enum guard_verdict v;

	if (vcpu >= vm->cfg.vcpus)
		return false;
	vm_watch_admin(vm);
	v = guard_vcpu_reset(vm->guard, vcpu, &d);
	vm_record(vm, vcpu, &d);
	vm_watch_reset(vm, vcpu, v, &d);
	vm->ops->set_run_state(vm->engine, vcpu, ENGINE_OFF);
	return v == GUARD_V_OK;
}

bool vm_try_register(struct vm *vm, const struct blob *manifest,
		     const struct guard_binding *binding, enum guard_verdict *verdict)
{
	/* 0 if manifest or policy is out of bounds; then registering refuses it. */
	size_t len = guard_work_size(manifest->data, manifest->size, &binding->policy);
	void *work = len ? aligned_alloc(64, (len + 63) & ~(size_t)63) : NULL;
	unsigned index = GUARD_VIEW_U;
	struct guard_decision d;

	if (len && !work)
		return false;
	vm_watch_admin(vm);
	*verdict = guard_register(vm->guard, manifest->data, manifest->size, binding, work, len,
				  &index, &d);
	vm_record(vm, 0, &d);
	vm_watch_register(vm, manifest, binding, *verdict, index);
	if (*verdict == GUARD_V_OK) {
		guard_unregister(vm->guard, index, &d);
		vm_record(vm, 0, &d);
	}
	free(work);
	return true;
}

bool vm_is_off(const struct vm *vm, unsigned vcpu, bool stopped)
{
	return vcpu < vm->cfg.vcpus && vm->vcpu[vcpu].stopped == stopped &&
	       (stopped || vm->ops->run_state(vm->engine, vcpu) == ENGINE_OFF);
}

bool vm_runs_stopped(const struct vm *vm, unsigned vcpu)
{
	return vcpu < vm->cfg.vcpus && vm->vcpu[vcpu].stopped &&
	       vm->ops->run_state(vm->engine, vcpu) != ENGINE_OFF;
}

void vm_fail_next(struct vm *vm, unsigned vcpu, unsigned raises, unsigned lowers)
{
	if (vcpu >= vm->cfg.vcpus)
		return;
	vm->vcpu[vcpu].fail_raise = raises;
	vm->vcpu[vcpu].fail_lower = lowers;
}
