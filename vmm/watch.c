/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Between this VM and the oracle (docs/oracle.md): what happens is told in the oracle's own words,
 * and where the core is believed nothing is. If a VM has no oracle, nothing here is called.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/internal.h"
#include "vmm/told.h"

static bool read_ram(void *ctx, uint64_t gpa, void *buf, size_t len)
{
	const struct vm *vm = ctx;

	if (!vm_is_ram(vm, gpa, len))
		return false;
	memcpy(buf, vm->ram + gpa, len);
	return true;
}

static bool read_copy(void *ctx, unsigned module, uint32_t moff, void *buf, size_t len)
{
	const struct vm *vm = ctx;
	const struct vm_module *m = module < GUARD_MAX_MODULES ? vm->module[module] : NULL;

	if (!m || (uint64_t)moff + len > (uint64_t)m->pages * VM_PAGE)
		return false;
	memcpy(buf, m->copy + moff, len);
	return true;
}

static const char *place_name(void *ctx, uint64_t gva, char *buf, size_t len)
{
	return vm_symbolize(ctx, gva, buf, len);
}

bool vm_watch_create(struct vm *vm, struct error *err)
{
	struct oracle_callbacks cb = {
		.ctx = vm, .ram = read_ram, .copy = read_copy, .name = place_name
	};

	if (!vm->cfg.oracle)
		return true;
	vm->oracle = oracle_new(vm->cfg.vcpus, vm->cfg.oracle, &cb);
	return vm->oracle || error_set(err, "out of memory for the oracle");
}

bool vm_watched(const struct vm *vm)
{
	return vm->oracle != NULL;
}

const char *vm_oracle_failure(const struct vm *vm)
{
	return vm->oracle ? oracle_failure(vm->oracle) : NULL;
}

bool vm_oracle_counts(const struct vm *vm, struct oracle_counts *counts)
{
	if (vm->oracle)
		oracle_count(vm->oracle, counts);
	return vm->oracle != NULL;
}

/* After a disagreement nothing more is worth running. */
static void stop_if_failed(struct vm *vm)
{
	if (vm->engine && oracle_failure(vm->oracle))
		vm->ops->interrupt(vm->engine);
}

/* ---- the administrator ---- */

void vm_watch_admin(struct vm *vm)
{
	if (vm->oracle)
		oracle_admin_begins(vm->oracle);
}

void vm_watch_register(struct vm *vm, const struct blob *manifest,
		       const struct guard_binding *binding, enum guard_verdict v, unsigned index)
{
	struct oracle_request r = { .digested = true, .room = true };

	if (!vm->oracle)
		return;
	crypto_hash_sha256(r.digest, manifest->data, manifest->size);
	if (binding) {
		r.bound = true;
		memcpy(r.names, binding->digest, sizeof(r.names));
		r.mapping = binding->policy.mapping;
		r.binding = told_binding(binding);
	}
	oracle_judged_register(vm->oracle, manifest->data, manifest->size, &r, v, index);
	stop_if_failed(vm);
}

void vm_watch_registered(struct vm *vm, const struct vm_module *m)
{
	struct oracle_binding b;

	if (!vm->oracle)
		return;
	b = told_binding(&m->binding);
	oracle_registered(vm->oracle, m->index, m->manifest.data, m->manifest.size, &b);
	stop_if_failed(vm);
}

static uint8_t view_of(const struct vm *vm, unsigned vcpu)
{
	return vm->ops->view(vm->engine, vcpu);
}

void vm_watch_unregistered(struct vm *vm, unsigned module, enum guard_verdict v,
			   const struct guard_decision *d)
{
	if (!vm->oracle)
		return;
	oracle_judged_unregister(vm->oracle, module, v, d->kick);
	oracle_unregistered(vm->oracle, module, v == GUARD_V_OK, d->stop);
	stop_if_failed(vm);
}

void vm_watch_granted(struct vm *vm, unsigned vcpu, unsigned module, uint64_t privileges, bool give,
		      enum guard_verdict v, const struct guard_decision *d)
{
	if (!vm->oracle)
		return;
	oracle_judged_grant(vm->oracle, vcpu, module, give, v, d->kick);
	oracle_granted(vm->oracle, vcpu, module, privileges, give, v == GUARD_V_OK,
		       d->stop | (uint32_t)d->stop_vcpu << vcpu, view_of(vm, vcpu));
	stop_if_failed(vm);
}

void vm_watch_reset(struct vm *vm, unsigned vcpu, enum guard_verdict v,
		    const struct guard_decision *d)
{
	if (!vm->oracle)
		return;
	oracle_judged_reset(vm->oracle, vcpu, v);
	oracle_vcpu_reset(vm->oracle, vcpu, d->stop | (uint32_t)d->stop_vcpu << vcpu,
			  view_of(vm, vcpu));
	stop_if_failed(vm);
}

/* ---- events ---- */

void vm_watch_judge(struct vm *vm, const struct guard_event *ev, struct guard_decision *d)
{
	struct oracle_outcome out;
	struct oracle_event event;

	if (ev->vcpu >= vm->cfg.vcpus) {
		guard_judge(vm->guard, ev, d);
		return;
	}
	told_event(ev, &event);
	oracle_before(vm->oracle, &event);
	guard_judge(vm->guard, ev, d);
	told_outcome(d, ev->vcpu, view_of(vm, ev->vcpu), &out);
	oracle_after(vm->oracle, &event, &out);
	stop_if_failed(vm);
}

/* ---- facts ---- */

/* Whose byte of host memory is this? */
static void place_for(const struct vm *vm, enum engine_page_kind kind, const uint8_t *host,
		      struct oracle_place *w)
{
	unsigned i;

	*w = (struct oracle_place){ .backing = ORACLE_UNKNOWN };
	switch (kind) {
	case ENGINE_PAGE_DEVICE: w->backing = ORACLE_DEVICE; return;
	case ENGINE_PAGE_ZEROS: w->backing = ORACLE_ZEROS; return;
	case ENGINE_PAGE_ONES: w->backing = ORACLE_ONES; return;
	case ENGINE_PAGE_HOLE: w->backing = ORACLE_HOLE; return;
	case ENGINE_PAGE_RAM: break;
	}
	if (host >= vm->ram && host < vm->ram + vm->ram_size) {
		w->backing = ORACLE_GUEST;
		w->at = (uint64_t)(host - vm->ram);
		return;
	}
	for (i = 0; i < GUARD_MAX_MODULES; i++) {
		const struct vm_module *m = vm->module[i];

		if (m && host >= m->copy && host < m->copy + m->pages * VM_PAGE) {
			w->backing = ORACLE_COPY;
			w->module = i;
			w->at = (uint64_t)(host - m->copy);
			return;
		}
	}
}

void vm_watch_runs(struct vm *vm, unsigned vcpu, uint8_t view)
{
	oracle_runs(vm->oracle, vcpu, view);
	stop_if_failed(vm);
}

void vm_watch_instruction(struct vm *vm, unsigned vcpu, uint8_t view, uint64_t rip, uint64_t rsp,
			  uint64_t cr3, const uint8_t *code, unsigned len)
{
	struct oracle_place w;

	place_for(vm, ENGINE_PAGE_RAM, code, &w);
	oracle_instruction(vm->oracle, vcpu, view, rip, rsp, cr3, code, len, &w);
	stop_if_failed(vm);
}

uint64_t vm_watch_generation(const struct vm *vm)
{
	return oracle_generation(vm->oracle);
}

void vm_watch_shows(struct vm *vm, unsigned vcpu, uint8_t view, uint64_t gpa, uint64_t pages,
		    enum engine_page_kind kind, const uint8_t *host, uint32_t flags)
{
	struct oracle_place w;

	place_for(vm, kind, host, &w);
	oracle_shows(vm->oracle, vcpu, view, gpa, pages, &w,
		     (flags & ENGINE_PAGE_WRITE ? ORACLE_WRITE : 0) |
			     (flags & ENGINE_PAGE_EXEC ? ORACLE_EXEC : 0));
	stop_if_failed(vm);
}

void vm_watch_implicit(struct vm *vm, unsigned vcpu, uint64_t gpa, const struct engine_page *page)
{
	struct oracle_place w;

	place_for(vm, page->kind, page->host, &w);
	oracle_implicit(vm->oracle, vcpu, gpa, &w);
	stop_if_failed(vm);
}

void vm_watch_delivers(struct vm *vm, unsigned vcpu, uint8_t view)
{
	oracle_delivers(vm->oracle, vcpu, view);
	stop_if_failed(vm);
}

void vm_watch_used(struct vm *vm, unsigned vcpu, uint32_t kind, uint64_t number)
{
	if (!vm->oracle)
		return;
	oracle_used(vm->oracle, vcpu, kind, number);
	stop_if_failed(vm);
}
