/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the guard core calls: struct guard_ops over this VM. The core has checked what it can; every
 * function here checks again what would hurt the host, and refuses.
 */
#include <sodium.h>
#include <string.h>

#include "vmm/internal.h"

static bool op_read(void *vmm, uint64_t gpa, void *buf, size_t len)
{
	struct vm *vm = vmm;

	uint8_t role;

	if (vm->oracle)
		oracle_core_read(vm->oracle, gpa, len);
	if (!vm_is_ram(vm, gpa, len) || gpa % VM_PAGE + len > VM_PAGE)
		return false;
	role = vm_frame_of(vm, gpa)->role;
	if (role != GUARD_ROLE_NONE && role != GUARD_ROLE_SEGMENT)
		return false;
	memcpy(buf, vm->ram + gpa, len);
	return true;
}

static bool op_write(void *vmm, uint64_t gpa, const void *buf, size_t len)
{
	struct vm *vm = vmm;
	uint8_t role;

	if (!vm_is_ram(vm, gpa, len) || gpa % VM_PAGE + len > VM_PAGE)
		return false;
	if (vm->oracle)
		oracle_core_wrote(vm->oracle, gpa, vm->ram + gpa, len);
	role = vm_frame_of(vm, gpa)->role;
	if (role != GUARD_ROLE_NONE && role != GUARD_ROLE_SEGMENT)
		return false;
	memcpy(vm->ram + gpa, buf, len);
	vm_host_wrote(vm, gpa, len);
	return true;
}

static bool op_digest(void *vmm, const void *data, size_t len, uint8_t out[32])
{
	(void)vmm;
	_Static_assert(crypto_hash_sha256_BYTES == 32, "digest size");
	return crypto_hash_sha256(out, data, len) == 0;
}

/* The mask that `vcpu` last had m's view with decides whether an engine may reuse translations. */
static bool do_raise(void *vmm, unsigned vcpu, unsigned module, uint64_t privileges)
{
	struct vm *vm = vmm;
	struct vm_vcpu *v;
	bool dirty;

	if (vcpu >= vm->cfg.vcpus || module >= GUARD_MAX_MODULES || !vm->module[module])
		return false;
	if (vm->vcpu[vcpu].fail_raise) {
		vm->vcpu[vcpu].fail_raise--;
		return false;
	}
	v = &vm->vcpu[vcpu];
	dirty = v->seen[module] && v->last_raised[module] != privileges;
	v->view = (uint8_t)module;
	v->raised = privileges;
	if (!vm->ops->set_view(vm->engine, vcpu, (uint8_t)module, dirty)) {
		v->view = GUARD_VIEW_U;
		v->raised = 0;
		return false;
	}
	v->seen[module] = true;
	v->last_raised[module] = privileges;
	return true;
}

static bool op_raise(void *vmm, unsigned vcpu, unsigned module, uint64_t privileges)
{
	struct vm *vm = vmm;
	bool done = do_raise(vmm, vcpu, module, privileges);

	if (vm->oracle)
		oracle_platform(vm->oracle, true, done);
	return done;
}

static bool do_lower(void *vmm, unsigned vcpu, unsigned module)
{
	struct vm *vm = vmm;

	if (vcpu >= vm->cfg.vcpus || vm->vcpu[vcpu].view != module)
		return false;
	if (vm->vcpu[vcpu].fail_lower) {
		vm->vcpu[vcpu].fail_lower--;
		return false;
	}
	if (!vm->ops->set_view(vm->engine, vcpu, GUARD_VIEW_U, false))
		return false;
	vm->vcpu[vcpu].view = GUARD_VIEW_U;
	vm->vcpu[vcpu].raised = 0;
	return true;
}

static bool op_lower(void *vmm, unsigned vcpu, unsigned module)
{
	struct vm *vm = vmm;
	bool done = do_lower(vmm, vcpu, module);

	if (vm->oracle)
		oracle_platform(vm->oracle, false, done);
	return done;
}

/* Module `module` if it has `page`, else NULL. */
static struct vm_module *paged(const struct vm *vm, unsigned module, uint32_t page)
{
	struct vm_module *m = module < GUARD_MAX_MODULES ? vm->module[module] : NULL;

	return m && page < m->pages ? m : NULL;
}

/* Forgets what lies under `page` of m unless it is the frame at `gpa`. */
static void forget_other(struct vm *vm, struct vm_module *m, uint32_t page, uint64_t gpa)
{
	uint64_t old = m->frame[page];
	struct vm_frame *f;

	if (!old || old == gpa)
		return;
	f = vm_frame_of(vm, old);
	if (f->module == m->index && f->page == page) {
		vm_frame_set(vm, old, GUARD_ROLE_NONE, 0, 0, 0);
		vm->ops->frames_changed(vm->engine, old, VM_PAGE);
	}
	m->frame[page] = 0;
}

/* The module goes: nothing may point to its pages any more, not even a watched frame. */
void vm_forget_frames(struct vm *vm, struct vm_module *m)
{
	uint32_t page;

	for (page = 0; page < m->pages; page++)
		forget_other(vm, m, page, 0);
}

static void set_dirty(struct vm_module *m, uint32_t page, bool dirty)
{
	uint64_t bit = 1ull << (page % 64);

	if (dirty)
		m->dirty[page / 64] |= bit;
	else
		m->dirty[page / 64] &= ~bit;
}

/*
 * Takes the guest frame's bytes. From here on its writes are tracked, not only from the role on:
 * ANNOUNCE goes over several calls and the guest runs in between.
 */
static bool op_verified_fill(void *vmm, unsigned module, uint32_t page, uint64_t gpa)
{
	struct vm *vm = vmm;
	struct vm_module *m = paged(vm, module, page);
	struct vm_frame *f;

	if (!m || gpa % VM_PAGE || !vm_is_ram(vm, gpa, VM_PAGE))
		return false;
	if (vm->oracle)
		oracle_core_read(vm->oracle, gpa, VM_PAGE);
	f = vm_frame_of(vm, gpa);
	if (f->role && (f->module != module || f->page != page || f->role == GUARD_ROLE_PRIVATE))
		return false;
	forget_other(vm, m, page, gpa);
	memcpy(m->copy + (uint64_t)page * VM_PAGE, vm->ram + gpa, VM_PAGE);
	if (vm->oracle)
		oracle_copy_changed(vm->oracle, module, page * (uint32_t)VM_PAGE, VM_PAGE);
	m->frame[page] = gpa;
	set_dirty(m, page, false);
	vm_frame_set(vm, gpa, f->role, FRAME_TRACKED, (uint8_t)module, page);
	vm->ops->frames_changed(vm->engine, gpa, VM_PAGE);
	return true;
}

static bool copy_range(const struct vm_module *m, uint32_t moff, size_t len)
{
	return (uint64_t)moff + len <= (uint64_t)m->pages * VM_PAGE;
}

static bool op_verified_patch(void *vmm, unsigned module, uint32_t moff, const void *buf,
			      size_t len)
{
	struct vm *vm = vmm;
	struct vm_module *m = paged(vm, module, moff / VM_PAGE);
	uint32_t page;

	if (!m || !len || !copy_range(m, moff, len))
		return false;
	memcpy(m->copy + moff, buf, len);
	if (vm->oracle)
		oracle_copy_changed(vm->oracle, module, moff, len);
	for (page = moff / VM_PAGE; page <= (moff + len - 1) / VM_PAGE; page++)
		if (m->frame[page])
			vm->ops->frames_changed(vm->engine, m->frame[page], VM_PAGE);
	return true;
}

static bool op_verified_read(void *vmm, unsigned module, uint32_t moff, void *buf, size_t len)
{
	struct vm *vm = vmm;
	struct vm_module *m = paged(vm, module, moff / VM_PAGE);

	if (!m || !copy_range(m, moff, len))
		return false;
	memcpy(buf, m->copy + moff, len);
	return true;
}

/* As the guest has it now, whatever it wrote since the copy was taken. */
static bool op_guest_read(void *vmm, unsigned module, uint32_t moff, void *buf, size_t len)
{
	struct vm *vm = vmm;
	uint32_t page = moff / VM_PAGE, off = moff % VM_PAGE;
	struct vm_module *m = paged(vm, module, page);
	const struct vm_frame *f;

	if (!m || !m->frame[page] || len > VM_PAGE - off)
		return false;
	f = vm_frame_of(vm, m->frame[page]);
	if (f->module != module || f->page != page ||
	    (f->role != GUARD_ROLE_VERIFIED && f->role != GUARD_ROLE_GATES &&
	     !(f->flags & FRAME_TRACKED)))
		return false;
	memcpy(buf, vm->ram + m->frame[page] + off, len);
	return true;
}

static bool op_private_fill(void *vmm, unsigned module, uint32_t page, const void *bytes,
			    size_t len)
{
	struct vm *vm = vmm;
	struct vm_module *m = paged(vm, module, page);
	uint8_t *p;

	if (!m || len > VM_PAGE)
		return false;
	p = m->copy + (uint64_t)page * VM_PAGE;
	if (len)
		memcpy(p, bytes, len);
	memset(p + len, 0, VM_PAGE - len);
	return true;
}

static bool do_written(void *vmm, unsigned module, uint32_t first, uint64_t *bits)
{
	struct vm *vm = vmm;
	struct vm_module *m = paged(vm, module, first);
	uint32_t i;

	if (!m)
		return false;
	*bits = m->dirty[first / 64] >> (first % 64);
	if (first % 64 && first / 64 + 1 < (m->pages + 63) / 64)
		*bits |= m->dirty[first / 64 + 1] << (64 - first % 64);
	if (!*bits)
		return true;
	for (i = 0; i < 64 && first + i < m->pages; i++) {
		uint64_t gpa = m->frame[first + i];

		if (!(*bits >> i & 1))
			continue;
		set_dirty(m, first + i, false);
		if (gpa) {
			vm_frame_of(vm, gpa)->flags &= (uint8_t)~FRAME_WRITTEN;
			vm->frames_moved = true;
			vm->ops->track(vm->engine, gpa, VM_PAGE);
		}
	}
	return true;
}

static bool op_written(void *vmm, unsigned module, uint32_t first, uint64_t *bits)
{
	struct vm *vm = vmm;
	bool done = do_written(vmm, module, first, bits);

	if (vm->oracle)
		oracle_written(vm->oracle, module, first, *bits, done);
	return done;
}

static bool op_frame_role(void *vmm, unsigned module, uint32_t page, uint64_t gpa,
			  enum guard_role role)
{
	struct vm *vm = vmm;
	struct vm_module *m = paged(vm, module, page);
	struct vm_frame *f;
	bool ours, verified = role == GUARD_ROLE_VERIFIED || role == GUARD_ROLE_GATES;

	if (!m || gpa % VM_PAGE || !vm_is_ram(vm, gpa, VM_PAGE) || role == GUARD_ROLE_DEVICE)
		return false;
	f = vm_frame_of(vm, gpa);
	ours = (f->role || (f->flags & FRAME_TRACKED)) && f->module == module && f->page == page;
	if (role == GUARD_ROLE_NONE) {
		if (!ours)
			return true;
		if (vm->oracle)
			oracle_frame_released(vm->oracle, module, page);
		vm_frame_set(vm, gpa, GUARD_ROLE_NONE, 0, 0, 0);
		if (m->frame[page] == gpa)
			m->frame[page] = 0;
		set_dirty(m, page, false);
	} else {
		uint8_t flags = verified ? FRAME_TRACKED : 0;

		if (f->role && !ours)
			return false;
		forget_other(vm, m, page, gpa);
		if (ours && verified)
			flags |= f->flags & FRAME_WRITTEN;
		else if (verified)
			set_dirty(m, page, true); /* nobody watched: assume the worst */
		m->frame[page] = gpa;
		vm_frame_set(vm, gpa, role, flags, (uint8_t)module, page);
	}
	vm->ops->frames_changed(vm->engine, gpa, VM_PAGE);
	return true;
}

static bool do_device_role(void *vmm, unsigned module, unsigned privilege,
			   const struct guard_resource *range, bool bind)
{
	struct vm *vm = vmm;
	struct vm_bound_range *r;

	if (module >= GUARD_MAX_MODULES || privilege >= GM_MAX_PRIVILEGES)
		return false;
	r = &vm->range[module][privilege];
	if (bind) {
		if (range->base % VM_PAGE || range->length % VM_PAGE || !range->length ||
		    range->base + range->length < range->base || range->base < vm->ram_size)
			return false;
		r->base = range->base;
		r->length = range->length;
	}
	r->bound = bind;
	if (r->length)
		vm->ops->frames_changed(vm->engine, r->base, r->length);
	return true;
}

static bool op_device_role(void *vmm, unsigned module, unsigned privilege,
			   const struct guard_resource *range, bool bind)
{
	struct vm *vm = vmm;
	bool done = do_device_role(vmm, module, privilege, range, bind);

	if (vm->oracle && !done)
		oracle_platform_failed(vm->oracle);
	return done;
}

/* Table pages are not write-trapped here, so nothing is ever known to be unchanged. */
static bool op_mapping_locked(void *vmm, unsigned vcpu, unsigned module, uint64_t cr3)
{
	(void)vmm;
	(void)vcpu;
	(void)module;
	(void)cr3;
	return false;
}

const struct guard_ops vm_guard_ops = {
	.translate = vm_translate,
	.read = op_read,
	.write = op_write,
	.digest = op_digest,
	.raise = op_raise,
	.lower = op_lower,
	.verified_fill = op_verified_fill,
	.verified_patch = op_verified_patch,
	.verified_read = op_verified_read,
	.guest_read = op_guest_read,
	.private_fill = op_private_fill,
	.written = op_written,
	.frame_role = op_frame_role,
	.device_role = op_device_role,
	.mapping_locked = op_mapping_locked,
};
