/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Physical accesses that no memory slot answers: stand-ins, devices, holes, frames that have no
 * slot because they must not be executed, and frames whose writes are watched.
 */
#include <string.h>

#include "hv-port/kvm.h"

/* Devices know registers of 1, 2, 4 and 8 bytes. */
static void device(struct kv_vcpu *v, uint64_t gpa, uint8_t *data, unsigned len, bool write)
{
	unsigned width = len == 1 || len == 2 || len == 4 || len == 8 ? len : 1;
	uint64_t value;

	for (; len; len -= width, gpa += width, data += width) {
		value = 0;
		if (write) {
			memcpy(&value, data, width);
			vm_mmio_write(v->e->vm, v->id, gpa, width, value);
		} else {
			value = vm_mmio_read(v->e->vm, v->id, gpa, width);
			memcpy(data, &value, width);
		}
	}
}

void kv_physical(struct kv_vcpu *v, uint8_t view, uint64_t gpa, uint8_t *data, unsigned len,
		 bool write)
{
	struct engine_page p;

	vm_page(v->e->vm, v->id, view, gpa & KV_PAGE_MASK, &p);
	switch (p.kind) {
	case ENGINE_PAGE_RAM:
		if (!write) {
			memcpy(data, p.host + gpa % KV_PAGE, len);
			break;
		}
		if (!(p.flags & ENGINE_PAGE_WRITE)) {
			kv_touch(v, gpa, kv_rip(v), write);
			break;
		}
		if (p.flags & ENGINE_PAGE_TRACKED) {
			vm_frame_written(v->e->vm, gpa & KV_PAGE_MASK);
			v->e->slots.stale = true;
		}
		memcpy(p.host + gpa % KV_PAGE, data, len);
		break;
	case ENGINE_PAGE_DEVICE: device(v, gpa, data, len, write); break;
	case ENGINE_PAGE_ZEROS:
	case ENGINE_PAGE_ONES:
		if (!write)
			memset(data, p.kind == ENGINE_PAGE_ZEROS ? 0 : 0xff, len);
		kv_touch(v, gpa, kv_rip(v), write);
		break;
	case ENGINE_PAGE_HOLE:
		if (!write)
			memset(data, 0xff, len);
		break;
	}
}

/* Will this access be a TOUCH? Then RIP of its instruction is wanted. */
static bool touches(struct kv_vcpu *v, uint64_t gpa, bool write)
{
	struct engine_page p;

	vm_page(v->e->vm, v->id, v->view, gpa & KV_PAGE_MASK, &p);
	return p.kind == ENGINE_PAGE_ZEROS || p.kind == ENGINE_PAGE_ONES ||
	       (write && p.kind == ENGINE_PAGE_RAM && !(p.flags & ENGINE_PAGE_WRITE));
}

void kv_exit_mmio(struct kv_vcpu *v)
{
	struct kvm_run *run = v->run;
	uint64_t gpa = run->mmio.phys_addr;
	unsigned len = run->mmio.len;
	bool write = run->mmio.is_write;

	if (!len || len > 8 || gpa % KV_PAGE + len > KV_PAGE) {
		kv_end(v->e, VM_EXIT_ENGINE, v->id, kv_rip(v), "KVM: an MMIO exit of %u bytes",
		       len);
		return;
	}
	/* A write is reported with RIP behind its instruction, unless that also reads or repeats. */
	if (write && !v->at_insn && touches(v, gpa, true)) {
		v->insn = kv_origin_store(v, gpa, run->mmio.data, len);
		v->at_insn = true;
	} else if (!write && !v->at_insn) {
		v->insn = kv_regs(v)->rip;
		v->at_insn = true;
	}
	kv_physical(v, v->view, gpa, run->mmio.data, len, write);
}
