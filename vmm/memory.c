/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest RAM: the mapping itself, who owns a frame, allocation, the page tables that we build, and
 * access by host-side models with the rights of view U.
 *
 * Before the first run frames are handed out from the low end (the boot page tells the guest where
 * that stops), afterwards from the high end, where a small guest kernel does not look.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/internal.h"

bool vm_memory_create(struct vm *vm, struct error *err)
{
	uint64_t size = vm->cfg.ram_size ? vm->cfg.ram_size : VM_DEFAULT_RAM;
	void *p;

	if (size % VM_LARGE || size > VM_MAX_RAM)
		return error_set(
			err, "guest RAM of %llu bytes: must be a multiple of 2 MiB, at most %llu",
			(unsigned long long)size, (unsigned long long)VM_MAX_RAM);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		 0);
	if (p == MAP_FAILED)
		return error_set(err, "out of memory for %llu bytes of guest RAM",
				 (unsigned long long)size);
	vm->ram = p;
	vm->ram_size = size;
	vm->frame = calloc(size / VM_PAGE, sizeof(*vm->frame));
	vm->special = calloc(size / VM_LARGE, sizeof(*vm->special));
	if (!vm->frame || !vm->special)
		return error_set(err, "out of memory for the frame table");
	/* Frame 0 is never given out, so that 0 can mean "none". */
	vm->alloc_low = VM_PAGE;
	vm->alloc_high = size;
	return true;
}

void vm_memory_destroy(struct vm *vm)
{
	if (vm->ram)
		munmap(vm->ram, vm->ram_size);
	free(vm->frame);
	free(vm->special);
}

void vm_frame_set(struct vm *vm, uint64_t gpa, enum guard_role role, uint8_t flags, uint8_t module,
		  uint32_t page)
{
	struct vm_frame *f = vm_frame_of(vm, gpa);
	bool before = f->role || (f->flags & FRAME_TRACKED);
	bool after = role || (flags & FRAME_TRACKED);

	f->role = (uint8_t)role;
	f->flags = (uint8_t)(flags | (f->flags & FRAME_FETCHED));
	f->module = module;
	f->page = page;
	vm->frames_moved = true;
	if (after && !before)
		vm->special[gpa / VM_LARGE]++;
	else if (before && !after)
		vm->special[gpa / VM_LARGE]--;
}

void vm_frame_written(struct vm *vm, uint64_t gpa)
{
	struct vm_frame *f;

	if (!vm_is_ram(vm, gpa, 1))
		return;
	f = vm_frame_of(vm, gpa);
	if ((f->flags & (FRAME_TRACKED | FRAME_WRITTEN)) == FRAME_TRACKED) {
		f->flags |= FRAME_WRITTEN;
		vm->frames_moved = true;
		if (vm->module[f->module] && f->page < vm->module[f->module]->pages)
			vm->module[f->module]->dirty[f->page / 64] |= 1ull << (f->page % 64);
	}
}

void vm_host_wrote(struct vm *vm, uint64_t gpa, size_t len)
{
	vm_frame_written(vm, gpa);
	if (vm_frame_of(vm, gpa)->flags & FRAME_FETCHED)
		vm->ops->frames_changed(vm->engine, gpa, len);
}

/* Is every frame of [gpa, gpa + len) ordinary? The host builds nothing on a module's frames. */
static bool ordinary(const struct vm *vm, uint64_t gpa, uint64_t len)
{
	uint64_t a;

	for (a = gpa; a < gpa + len; a += VM_PAGE)
		if (vm_frame_of(vm, a)->role)
			return false;
	return true;
}

uint64_t vm_alloc_gpa(struct vm *vm, size_t bytes)
{
	uint64_t len = (bytes + VM_PAGE - 1) & ~(VM_PAGE - 1), gpa;

	if (!bytes || len < bytes || len > vm->alloc_high - vm->alloc_low)
		return 0;
	if (!vm->started) {
		gpa = vm->alloc_low;
		vm->alloc_low += len;
		return gpa;
	}
	for (gpa = vm->alloc_high - len; gpa >= vm->alloc_low; gpa -= VM_PAGE) {
		if (!ordinary(vm, gpa, len))
			continue;
		vm->alloc_high = gpa;
		memset(vm->ram + gpa, 0, len);
		for (uint64_t a = gpa; a < gpa + len; a += VM_PAGE)
			vm_host_wrote(vm, a, VM_PAGE);
		return gpa;
	}
	return 0;
}

/*
 * The table below *entry, made if there is none. The tables lie where the guest can write, so what
 * they say is checked like any guest input.
 */
static bool next_table(struct vm *vm, uint64_t entry_gpa, uint64_t *table)
{
	uint64_t entry, gpa;

	memcpy(&entry, vm->ram + entry_gpa, 8);
	if (entry & PTE_P) {
		gpa = entry & VM_PAGE_MASK;
		if ((entry & PTE_PS) || !vm_is_ram(vm, gpa, VM_PAGE) || vm_frame_of(vm, gpa)->role)
			return false;
		*table = gpa;
		return true;
	}
	gpa = vm_alloc_gpa(vm, VM_PAGE);
	if (!gpa)
		return false;
	/* Rights are decided in the leaves; user access stays off for the kernel half. */
	entry = gpa | PTE_P | PTE_W | PTE_A;
	memcpy(vm->ram + entry_gpa, &entry, 8);
	vm_host_wrote(vm, entry_gpa, 8);
	*table = gpa;
	return true;
}

/* Maps one page of 4 KiB, or with PTE_PS of 2 MiB. */
bool vm_map_page(struct vm *vm, uint64_t gva, uint64_t gpa, uint64_t flags)
{
	unsigned shift, leaf = (flags & PTE_PS) ? 21 : 12;
	uint64_t table = vm->cr3, at, entry, old;

	for (shift = 39; shift > leaf; shift -= 9)
		if (!next_table(vm, table + ((gva >> shift) & 511) * 8, &table))
			return false;
	at = table + ((gva >> leaf) & 511) * 8;
	entry = gpa | flags | PTE_P | PTE_A | PTE_D;
	memcpy(&old, vm->ram + at, 8);
	memcpy(vm->ram + at, &entry, 8);
	vm_host_wrote(vm, at, 8);
	if ((old & PTE_P) && vm->engine)
		vm->ops->invalidate(vm->engine, ENGINE_ALL_VCPUS, gva, VM_PAGE);
	return true;
}

bool vm_map_ram(struct vm *vm, uint64_t gva, size_t bytes, bool executable, uint64_t *gpa)
{
	uint64_t len = (bytes + VM_PAGE - 1) & ~(VM_PAGE - 1), first, off;

	/* Bit 47 set and canonical: the kernel half. */
	if (gva % VM_PAGE || gva < 0xffff800000000000ull || len < bytes || gva + len - 1 < gva)
		return false;
	first = vm_alloc_gpa(vm, bytes);
	if (!first)
		return false;
	for (off = 0; off < len; off += VM_PAGE)
		if (!vm_map_page(vm, gva + off, first + off, PTE_W | (executable ? 0 : PTE_NX)))
			return false;
	if (gpa)
		*gpa = first;
	return true;
}

/* Bytes of a page as view U has them, in or out. Writes to stand-ins are dropped. */
static void access_u(struct vm *vm, unsigned vcpu, uint64_t gpa, uint8_t *buf, size_t len,
		     bool write)
{
	uint64_t page_gpa = gpa & ~(VM_PAGE - 1), off = gpa - page_gpa, value;
	struct engine_page page;
	size_t width;

	vm_page(vm, vcpu, GUARD_VIEW_U, page_gpa, &page);
	switch (page.kind) {
	case ENGINE_PAGE_RAM:
		if (write) {
			memcpy(page.host + off, buf, len);
			vm_host_wrote(vm, gpa, len);
		} else {
			memcpy(buf, page.host + off, len);
		}
		return;
	case ENGINE_PAGE_DEVICE:
		/* One register access where it looks like one, else byte by byte. */
		width = (len == 2 || len == 4 || len == 8) && gpa % len == 0 ? len : 1;
		for (; len; len -= width, buf += width, gpa += width) {
			value = 0;
			if (write) {
				memcpy(&value, buf, width);
				vm_mmio_write(vm, vcpu, gpa, (unsigned)width, value);
			} else {
				value = vm_mmio_read(vm, vcpu, gpa, (unsigned)width);
				memcpy(buf, &value, width);
			}
		}
		return;
	case ENGINE_PAGE_ZEROS:
	case ENGINE_PAGE_ONES:
	case ENGINE_PAGE_HOLE:
		if (!write)
			memset(buf, page.kind == ENGINE_PAGE_ZEROS ? 0 : 0xff, len);
		return;
	}
}

static bool virtual_u(struct vm *vm, unsigned vcpu, uint64_t gva, uint8_t *buf, size_t len,
		      bool write)
{
	struct engine_walk w;
	struct guard_cpu cpu;
	size_t n;

	if (vcpu >= vm->cfg.vcpus)
		return false;
	vm_get_cpu(vm, vcpu, &cpu);
	for (; len; len -= n, gva += n, buf += n) {
		n = VM_PAGE - gva % VM_PAGE;
		if (n > len)
			n = len;
		if (!vm_canonical(gva) ||
		    !vm_walk(vm, &cpu, gva, ENGINE_WALK_PEEK | (write ? ENGINE_WALK_WRITE : 0), &w))
			return false;
		access_u(vm, vcpu, w.gpa, buf, n, write);
	}
	return true;
}

bool vm_read_u(struct vm *vm, unsigned vcpu, uint64_t gva, void *buf, size_t len)
{
	return virtual_u(vm, vcpu, gva, buf, len, false);
}

bool vm_write_u(struct vm *vm, unsigned vcpu, uint64_t gva, const void *buf, size_t len)
{
	/* The cast is for the shared loop: with write set, buf is only read. */
	return virtual_u(vm, vcpu, gva, (uint8_t *)(uintptr_t)buf, len, true);
}

/* Device access to RAM, as without an IOMMU but never to what a view hides. */
static bool dma(struct vm *vm, uint64_t gpa, uint8_t *buf, size_t len, bool write)
{
	size_t n;

	if (!vm_is_ram(vm, gpa, len))
		return false;
	for (; len; len -= n, gpa += n, buf += n) {
		n = VM_PAGE - gpa % VM_PAGE;
		if (n > len)
			n = len;
		access_u(vm, 0, gpa, buf, n, write);
	}
	return true;
}

bool vm_dma_read(struct vm *vm, uint64_t gpa, void *buf, size_t len)
{
	return dma(vm, gpa, buf, len, false);
}

bool vm_dma_write(struct vm *vm, uint64_t gpa, const void *buf, size_t len)
{
	return dma(vm, gpa, (uint8_t *)(uintptr_t)buf, len, true);
}
