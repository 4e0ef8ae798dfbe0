/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Views: what lies behind a guest-physical page for a vCPU (the table of spec section 4), and the
 * switch from one view to another.
 *
 *                         in U                     in P(m)
 *   m's private memory    zeros, TOUCH             the private page
 *   bound registers       ones, TOUCH              the device, if that privilege is raised
 *   m's text, constants   guest frame, no exec     verified copy, no write
 *   m's gates             guest frame              verified copy, no write
 *   all else              guest frame              guest frame, no exec
 */
#include <string.h>

#include "vmm/internal.h"

bool vm_device_bound(const struct vm *vm, uint64_t gpa)
{
	unsigned m, p;

	for (m = 0; m < GUARD_MAX_MODULES; m++)
		for (p = 0; p < GM_MAX_PRIVILEGES; p++) {
			const struct vm_bound_range *r = &vm->range[m][p];

			if (r->bound && gpa >= r->base && gpa - r->base < r->length)
				return true;
		}
	return false;
}

bool vm_device_open(const struct vm *vm, unsigned vcpu, uint8_t view, uint64_t gpa)
{
	const struct vm_vcpu *v = &vm->vcpu[vcpu];
	unsigned p;

	if (!vm_device_bound(vm, gpa))
		return true;
	if (view >= GUARD_MAX_MODULES || v->view != view)
		return false;
	for (p = 0; p < GM_MAX_PRIVILEGES; p++) {
		const struct vm_bound_range *r = &vm->range[view][p];

		if (r->bound && (v->raised >> p & 1) && gpa >= r->base && gpa - r->base < r->length)
			return true;
	}
	return false;
}

/* Is one of m's privileges of this kind raised on the vCPU, for `number` where it has a range? */
bool vm_raised_kind(const struct vm *vm, unsigned vcpu, uint8_t view, uint32_t kind,
		    uint32_t number)
{
	const struct vm_vcpu *v = &vm->vcpu[vcpu];
	const struct vm_module *m;
	const struct gm_privilege *p;
	uint32_t i, n;

	if (view >= GUARD_MAX_MODULES || v->view != view || !vm->module[view])
		return false;
	m = vm->module[view];
	p = (const void *)(m->manifest.data + vm_manifest(m)->privileges.offset);
	n = vm_manifest(m)->privileges.count;
	for (i = 0; i < n; i++)
		if ((v->raised >> i & 1) && p[i].kind == kind &&
		    (kind == GM_PRIV_PRIVATE || kind == GM_PRIV_MWAIT ||
		     (number >= p[i].first && number <= p[i].last)))
			return true;
	return false;
}

/* Segment kind of a page of m. */
static uint32_t kind_of_page(const struct vm_module *m, uint32_t page)
{
	const struct gm_segment *s = vm_segments(m);
	uint32_t n = vm_manifest(m)->segments.count;

	while (n > 1 && s[n - 1].start / VM_PAGE > page)
		n--;
	return s[n - 1].kind;
}

/* A page whose frame has a role or is watched. */
static void special_page(struct vm *vm, unsigned vcpu, uint8_t view, uint64_t gpa,
			 struct engine_page *page)
{
	const struct vm_frame *f = vm_frame_of(vm, gpa);
	const struct vm_module *m = vm->module[f->module];
	bool own = view == f->module;
	uint32_t kind;

	page->pages = 1;
	page->kind = ENGINE_PAGE_RAM;
	switch ((enum guard_role)f->role) {
	case GUARD_ROLE_PRIVATE:
		if (own && vm_raised_kind(vm, vcpu, view, GM_PRIV_PRIVATE, 0)) {
			page->host = m->copy + (uint64_t)f->page * VM_PAGE;
			page->flags = ENGINE_PAGE_WRITE;
		} else {
			page->kind = ENGINE_PAGE_ZEROS;
			page->flags = 0;
			page->host = NULL;
		}
		return;
	case GUARD_ROLE_VERIFIED:
	case GUARD_ROLE_GATES:
		if (own) {
			kind = kind_of_page(m, f->page);
			page->host = m->copy + (uint64_t)f->page * VM_PAGE;
			page->flags = 0;
			if (kind == GM_SEG_TEXT || kind == GM_SEG_INIT_TEXT || kind == GM_SEG_GATES)
				page->flags = ENGINE_PAGE_EXEC;
			return;
		}
		break;
	case GUARD_ROLE_NONE:
	case GUARD_ROLE_SEGMENT:
	case GUARD_ROLE_DEVICE: break;
	}
	page->host = vm->ram + gpa;
	page->flags = ENGINE_PAGE_WRITE | ENGINE_PAGE_GUEST;
	if (view == GUARD_VIEW_U && f->role != GUARD_ROLE_VERIFIED)
		page->flags |= ENGINE_PAGE_EXEC;
	if ((f->flags & (FRAME_TRACKED | FRAME_WRITTEN)) == FRAME_TRACKED)
		page->flags |= ENGINE_PAGE_TRACKED;
}

/* Ordinary frames from gpa on; whole blocks of 2 MiB are skipped where none is special. */
static uint64_t ordinary_run(const struct vm *vm, uint64_t gpa)
{
	uint64_t a = gpa;

	while (a < vm->ram_size) {
		if (!vm->special[a / VM_LARGE]) {
			a = (a / VM_LARGE + 1) * VM_LARGE;
			continue;
		}
		if (vm_frame_of(vm, a)->role || (vm_frame_of(vm, a)->flags & FRAME_TRACKED))
			break;
		a += VM_PAGE;
	}
	return (a - gpa) / VM_PAGE;
}

void vm_page(struct vm *vm, unsigned vcpu, uint8_t view, uint64_t gpa, struct engine_page *page)
{
	const struct vm_frame *f;

	if (!vm_is_ram(vm, gpa, VM_PAGE)) {
		page->host = NULL;
		page->flags = 0;
		page->pages = 1;
		if (!vm_device_at(vm, gpa))
			page->kind = vm_device_bound(vm, gpa) ? ENGINE_PAGE_ONES : ENGINE_PAGE_HOLE;
		else if (vm_device_open(vm, vcpu, view, gpa))
			page->kind = ENGINE_PAGE_DEVICE;
		else
			page->kind = ENGINE_PAGE_ONES;
		return;
	}
	f = vm_frame_of(vm, gpa);
	if (f->role || (f->flags & FRAME_TRACKED)) {
		special_page(vm, vcpu, view, gpa, page);
		return;
	}
	page->kind = ENGINE_PAGE_RAM;
	page->host = vm->ram + gpa;
	page->flags = ENGINE_PAGE_WRITE | ENGINE_PAGE_GUEST;
	if (view == GUARD_VIEW_U)
		page->flags |= ENGINE_PAGE_EXEC;
	page->pages = ordinary_run(vm, gpa);
}

bool vm_may_mwait(struct vm *vm, unsigned vcpu)
{
	return vm_raised_kind(vm, vcpu, vm->vcpu[vcpu].view, GM_PRIV_MWAIT, 0);
}
