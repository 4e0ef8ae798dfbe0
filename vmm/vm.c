/* SPDX-License-Identifier: GPL-2.0-only */
/* A VM's life: made, run, interrupted, asked, ended. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/internal.h"

#define DEFAULT_BUDGET 200000000ull
#define HISTORY_LINES 3u

struct vm *vm_create(const struct vm_config *cfg, struct error *err)
{
	struct engine_config ec;
	struct vm *vm;
	unsigned v;

	if (!cfg->engine || !cfg->vcpus || cfg->vcpus > GH_MAX_VCPUS) {
		error_set(err, "%u vCPUs: 1 to %u expected", cfg->vcpus, GH_MAX_VCPUS);
		return NULL;
	}
	if (sodium_init() < 0) {
		error_set(err, "libsodium does not start");
		return NULL;
	}
	vm = calloc(1, sizeof(*vm));
	if (!vm) {
		error_set(err, "out of memory");
		return NULL;
	}
	vm->cfg = *cfg;
	vm->ops = cfg->engine;
	vm->next_module = GH_MODULES_BASE;
	for (v = 0; v < GH_MAX_VCPUS; v++)
		vm->vcpu[v].view = GUARD_VIEW_U;
	vm->console = calloc(1, 2 * VM_CONSOLE_BYTES + 1);
	vm->guard_memory = aligned_alloc(64, (guard_size() + 63) & ~(size_t)63);
	if (!vm->console || !vm->guard_memory) {
		error_set(err, "out of memory");
		goto bad;
	}
	vm->guard = guard_init(vm->guard_memory, cfg->vcpus, &vm_guard_ops, vm);
	if (!vm->guard) {
		error_set(err, "the guard refuses %u vCPUs", cfg->vcpus);
		goto bad;
	}
	if (!vm_watch_create(vm, err) || !vm_memory_create(vm, err) || !vm_log_create(vm, err) ||
	    !vm_boot_create(vm, err) || !vm_status_create(vm, err))
		goto bad;
	ec.vcpus = cfg->vcpus;
	ec.seed = cfg->seed;
	ec.budget = cfg->budget ? cfg->budget : DEFAULT_BUDGET;
	ec.x_kind = cfg->x_kind;
	vm->engine = vm->ops->create(vm, &ec, err);
	if (!vm->engine)
		goto bad;
	vm_boot_update(vm);
	return vm;
bad:
	vm_destroy(vm);
	return NULL;
}

void vm_destroy(struct vm *vm)
{
	unsigned i;

	if (!vm)
		return;
	vm_mark_free(vm);
	if (vm->engine)
		vm->ops->destroy(vm->engine);
	for (i = 0; i < vm->nloaded; i++)
		vm_module_free(vm->loaded[i]);
	vm_symbols_free(&vm->symbols);
	while (vm->old_places)
		vm_symbols_free(&vm->old_place[--vm->old_places].symbols);
	vm_log_destroy(vm);
	vm_memory_destroy(vm);
	oracle_free(vm->oracle);
	free(vm->guard_memory);
	free(vm->console);
	free(vm);
}

/* "WHAT on vCPU 1 at SYM+0x4; last crossings: ..." in place of the engine's WHAT. */
static void explain(const struct vm *vm, struct vm_exit *exit)
{
	char what[sizeof(exit->message)], site[160];
	size_t n = vm_log_count(vm), i = n > HISTORY_LINES ? n - HISTORY_LINES : 0;
	struct vm_exit *e = exit;
	int used;

	if (e->reason == VM_EXIT_GUEST || e->reason == VM_EXIT_HOST)
		return;
	memcpy(what, e->message, sizeof(what));
	used = snprintf(e->message, sizeof(e->message), "%.110s on vCPU %u at %.90s%s",
			what[0] ? what : "stopped", e->vcpu,
			vm_symbolize(vm, e->rip, site, sizeof(site)), n ? "; last crossings:" : "");
	for (; i < n && used > 0 && (size_t)used < sizeof(e->message); i++) {
		const struct guard_line *l = &vm_log_line(vm, i)->line;

		used += snprintf(e->message + used, sizeof(e->message) - (size_t)used, " %s %s %s;",
				 guard_event_string(l->event),
				 l->rip ? vm_symbolize(vm, l->rip, site, sizeof(site)) : "-",
				 guard_verdict_string(l->verdict));
	}
}

static struct vm *volatile running; /* one thread runs VMs; its signal handler reads this */

static void engine_run(struct vm *vm, struct vm_exit *exit)
{
	memset(exit, 0, sizeof(*exit));
	if (!vm->started) {
		/* From here on the guest may use what follows the image. */
		vm->started = true;
		vm_boot_update(vm);
	}
	running = vm;
	vm->ops->run(vm->engine, exit);
	running = NULL;
}

struct vm *vm_running(void)
{
	return running;
}

/* Did this host call end a nested run further out? Then its vCPU waits for that run's turn. */
static bool parked(struct vm *vm, unsigned vcpu, uint64_t rip)
{
	unsigned i;

	for (i = 0; i < vm->nested; i++)
		if (vm->level[i].vcpu == vcpu && vm->level[i].stop_rip == rip &&
		    !vm->level[i].reached) {
			vm->level[i].reached = true;
			vm->ops->set_run_state(vm->engine, vcpu, ENGINE_OFF);
			return true;
		}
	return false;
}

/* Runs on until something other than a served host call ends it, or `level` is reached. */
static bool run_until(struct vm *vm, struct vm_level *level, struct vm_exit *exit)
{
	struct guard_cpu cpu;

	for (;;) {
		if (level && level->reached) {
			vm->ops->set_run_state(vm->engine, level->vcpu, ENGINE_RUNNABLE);
			return true;
		}
		engine_run(vm, exit);
		if (vm->oracle && oracle_failure(vm->oracle)) {
			exit->reason = VM_EXIT_ORACLE;
			snprintf(exit->message, sizeof(exit->message), "%s",
				 oracle_failure_line(vm->oracle));
			return false;
		}
		if (exit->reason != VM_EXIT_HOST)
			break;
		vm->ops->get_cpu(vm->engine, exit->vcpu, &cpu);
		exit->rip = cpu.rip;
		if (level && exit->vcpu == level->vcpu && cpu.rip == level->stop_rip)
			return true;
		if (parked(vm, exit->vcpu, cpu.rip))
			continue;
		if (!vm->host_fn || !vm->host_fn(vm->host_ctx, vm, exit->vcpu)) {
			exit->reason = VM_EXIT_HOST;
			return false;
		}
	}
	explain(vm, exit);
	return false;
}

void vm_run(struct vm *vm, struct vm_exit *exit)
{
	run_until(vm, NULL, exit);
}

bool vm_run_nested(struct vm *vm, unsigned vcpu, uint64_t stop_rip, struct vm_exit *exit)
{
	struct vm_level *level;
	bool ok;

	if (vm->nested == VM_MAX_NESTED || vcpu >= vm->cfg.vcpus) {
		memset(exit, 0, sizeof(*exit));
		exit->reason = VM_EXIT_ENGINE;
		exit->vcpu = vcpu;
		snprintf(exit->message, sizeof(exit->message),
			 "host calls nested more than %u deep", VM_MAX_NESTED);
		return false;
	}
	level = &vm->level[vm->nested++];
	level->vcpu = vcpu;
	level->stop_rip = stop_rip;
	level->reached = false;
	ok = run_until(vm, level, exit);
	vm->nested--;
	return ok;
}

void vm_interrupt(struct vm *vm)
{
	vm->ops->interrupt(vm->engine);
}

void vm_on_host_port(struct vm *vm, vm_host_fn fn, void *ctx)
{
	vm->host_fn = fn;
	vm->host_ctx = ctx;
}

void vm_get_cpu(struct vm *vm, unsigned vcpu, struct guard_cpu *cpu)
{
	vm->ops->get_cpu(vm->engine, vcpu, cpu);
}

void vm_set_cpu(struct vm *vm, unsigned vcpu, const struct guard_cpu *cpu)
{
	vm->ops->set_cpu(vm->engine, vcpu, cpu);
}

void vm_strike(struct vm *vm, uint64_t n, uint8_t vector)
{
	vm->strike_at = n;
	vm->strike_vector = vector;
}

uint64_t vm_boundaries(const struct vm *vm)
{
	return vm->boundaries;
}

bool vm_strikes(struct vm *vm, unsigned vcpu)
{
	if (++vm->boundaries != vm->strike_at)
		return false;
	vm->ops->raise_vector(vm->engine, vcpu, vm->strike_vector);
	return true;
}

void vm_reseed(struct vm *vm, uint64_t seed)
{
	if (vm->ops->reseed)
		vm->ops->reseed(vm->engine, seed);
}

uint64_t vm_schedule(struct vm *vm)
{
	return vm->ops->schedule ? vm->ops->schedule(vm->engine) : 0;
}

uint64_t vm_time(struct vm *vm)
{
	return vm->ops->time(vm->engine);
}
