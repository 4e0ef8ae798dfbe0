/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory-mapped devices: a table of ranges outside of RAM, each also in the direct map; the sample
 * device "doorbell"; and the status pages, read-only because they are a device and no memory.
 */
#include <string.h>

#include "vmm/internal.h"

#define DOORBELL_MAGIC 0x4c4c4542u

const struct vm_device *vm_device_at(const struct vm *vm, uint64_t gpa)
{
	unsigned i;

	for (i = 0; i < vm->ndevices; i++)
		if (gpa >= vm->device[i].gpa && gpa - vm->device[i].gpa < vm->device[i].size)
			return &vm->device[i];
	return NULL;
}

bool vm_add_device(struct vm *vm, const struct vm_device *dev, struct error *err)
{
	uint64_t end = dev->gpa + dev->size, off;
	unsigned i;

	if (!dev->size || dev->gpa % VM_PAGE || dev->size % VM_PAGE || end < dev->gpa ||
	    dev->gpa < vm->ram_size || end > 1ull << 40)
		return error_set(
			err,
			"device %s: 0x%llx bytes at 0x%llx: whole pages outside of RAM expected",
			dev->name, (unsigned long long)dev->size, (unsigned long long)dev->gpa);
	if (vm->ndevices == VM_MAX_DEVICES)
		return error_set(err, "device %s: more than %u devices", dev->name, VM_MAX_DEVICES);
	for (i = 0; i < vm->ndevices; i++)
		if (dev->gpa < vm->device[i].gpa + vm->device[i].size && vm->device[i].gpa < end)
			return error_set(err, "device %s overlaps device %s", dev->name,
					 vm->device[i].name);
	for (off = 0; off < dev->size; off += VM_PAGE)
		if (!vm_map_page(vm, vm_direct(dev->gpa + off), dev->gpa + off,
				 PTE_W | PTE_NX | PTE_PCD))
			return error_set(err, "device %s: no guest memory left for page tables",
					 dev->name);
	vm->device[vm->ndevices++] = *dev;
	if (vm->engine)
		vm->ops->frames_changed(vm->engine, dev->gpa, dev->size);
	return true;
}

uint64_t vm_mmio_read(struct vm *vm, unsigned vcpu, uint64_t gpa, unsigned width)
{
	const struct vm_device *d = vm_device_at(vm, gpa);
	uint64_t value = ~0ull;

	vm_watch_used(vm, vcpu, GM_PRIV_DEVICE, gpa);
	if (d && d->read && gpa - d->gpa <= d->size - width)
		value = d->read(d->ctx, gpa - d->gpa, width);
	return width < 8 ? value & ((1ull << (8 * width)) - 1) : value;
}

void vm_mmio_write(struct vm *vm, unsigned vcpu, uint64_t gpa, unsigned width, uint64_t value)
{
	const struct vm_device *d = vm_device_at(vm, gpa);

	vm_watch_used(vm, vcpu, GM_PRIV_DEVICE, gpa);
	if (width < 8)
		value &= (1ull << (8 * width)) - 1;
	if (d && d->write && gpa - d->gpa <= d->size - width)
		d->write(d->ctx, gpa - d->gpa, width, value);
}

/* ---- doorbell: 32-bit registers; another width sees the register that it starts in ---- */

static uint64_t doorbell_read(void *ctx, uint64_t offset, unsigned width)
{
	const struct vm_doorbell *d = ctx;
	uint32_t value;

	(void)width;
	switch (offset & ~3ull) {
	case GH_DOORBELL_ID: value = DOORBELL_MAGIC; break;
	case GH_DOORBELL_RING: value = d->value; break;
	case GH_DOORBELL_COUNT: value = (uint32_t)d->rings; break;
	case GH_DOORBELL_SECRET: value = d->secret; break;
	default: value = 0;
	}
	return value >> (8 * (offset & 3));
}

static void doorbell_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	struct vm_doorbell *d = ctx;

	(void)width;
	if (offset == GH_DOORBELL_RING) {
		d->value = (uint32_t)value;
		d->rings++;
	}
}

bool vm_add_doorbell(struct vm *vm, uint32_t secret, struct error *err)
{
	struct vm_device dev = {
		.name = "doorbell",
		.gpa = GH_DEVICE_GPA,
		.size = GH_DOORBELL_SIZE,
		.read = doorbell_read,
		.write = doorbell_write,
		.ctx = &vm->doorbell,
	};

	if (!vm_add_device(vm, &dev, err))
		return false;
	vm->doorbell.secret = secret;
	vm->doorbell.gpa = dev.gpa;
	vm_pci_create(vm);
	vm_boot_update(vm);
	return true;
}

uint64_t vm_doorbell_rings(const struct vm *vm)
{
	return vm->doorbell.rings;
}

/* ---- status pages: word 0 has bit m set while module m has MWAIT on that vCPU ---- */

static uint64_t status_read(void *ctx, uint64_t offset, unsigned width)
{
	struct vm *vm = ctx;
	uint64_t word = 0;
	unsigned m, v = (unsigned)(offset / VM_PAGE);

	(void)width;
	vm->place.counts.status_reads++;
	if (offset % VM_PAGE >= 8)
		return 0;
	for (m = 0; m < GUARD_MAX_MODULES; m++) {
		const struct vm_module *mod = vm->module[m];
		const struct gm_privilege *p;
		uint32_t i;

		if (!mod || mod->index != m)
			continue;
		p = (const void *)(mod->manifest.data + vm_manifest(mod)->privileges.offset);
		for (i = 0; i < vm_manifest(mod)->privileges.count; i++)
			if (p[i].kind == GM_PRIV_MWAIT &&
			    (mod->granted[v] & mod->binding.bound) >> i & 1)
				word |= 1ull << m;
	}
	return word >> (8 * (offset % VM_PAGE));
}

bool vm_status_create(struct vm *vm, struct error *err)
{
	struct vm_device dev = {
		.name = "status",
		.gpa = VM_STATUS_GPA,
		.size = vm->cfg.vcpus * VM_PAGE,
		.read = status_read,
		.ctx = vm,
	};

	return vm_add_device(vm, &dev, err);
}
