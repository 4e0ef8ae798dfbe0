/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a guest finds when it starts (spec section 5): page tables, GDT, stacks, the boot page, and
 * the registers of a vCPU.
 *
 *   GH_KERNEL_BASE            image, rights as its program headers say
 *   GH_MODULES_BASE           modules (load_module.c)
 *   GH_DIRECT_MAP             RAM in pages of 2 MiB, devices in pages of 4 KiB; writable, no exec
 *   VM_STACKS + v * stride    16 KiB for vCPU v, unmapped below
 */
#include <string.h>

#include "vmm/internal.h"

#define GDT_ENTRIES 16u /* null, code, data; the rest is for the guest's own segments and TSS */
#define GDT_CODE 0x00af9b000000ffffull /* 64-bit, DPL 0, accessed */
#define GDT_DATA 0x00cf93000000ffffull

_Static_assert(sizeof(struct gh_boot) <= VM_PAGE, "the boot page is one page");

bool vm_boot_create(struct vm *vm, struct error *err)
{
	static const uint64_t gdt[GDT_ENTRIES] = { 0, GDT_CODE, GDT_DATA };
	uint64_t gpa, off;
	unsigned v, p;

	vm->cr3 = vm_alloc_gpa(vm, VM_PAGE);
	vm->boot_gpa = vm_alloc_gpa(vm, VM_PAGE);
	vm->gdt_gpa = vm_alloc_gpa(vm, VM_PAGE * vm->cfg.vcpus);
	vm->mailbox_size = VM_MAILBOX_BYTES;
	vm->mailbox_gpa = vm_alloc_gpa(vm, vm->mailbox_size);
	if (!vm->cr3 || !vm->boot_gpa || !vm->gdt_gpa || !vm->mailbox_gpa)
		return error_set(err, "guest RAM is too small to start a guest");
	for (gpa = 0; gpa < vm->ram_size; gpa += VM_LARGE)
		if (!vm_map_page(vm, vm_direct(gpa), gpa, PTE_W | PTE_NX | PTE_PS))
			return error_set(err, "guest RAM is too small for its direct map");
	for (v = 0; v < vm->cfg.vcpus; v++) {
		uint64_t top = VM_STACKS + (v + 1) * VM_STACK_STRIDE;

		memcpy(vm->ram + vm->gdt_gpa + v * VM_PAGE, gdt, sizeof(gdt));
		gpa = vm_alloc_gpa(vm, GH_STACK_BYTES);
		if (!gpa)
			return error_set(err, "guest RAM is too small for the stack of vCPU %u", v);
		for (p = 0, off = 0; p < GH_STACK_BYTES / VM_PAGE; p++, off += VM_PAGE)
			if (!vm_map_page(vm, top - GH_STACK_BYTES + off, gpa + off, PTE_W | PTE_NX))
				return error_set(err, "guest RAM is too small for page tables");
	}
	return true;
}

void vm_boot_state(const struct vm *vm, unsigned vcpu, struct guard_cpu *cpu,
		   struct engine_sys *sys)
{
	static const struct engine_segment code = { 0, 0xffffffff, 8, 0xa9b };
	static const struct engine_segment data = { 0, 0xffffffff, 0x10, 0xc93 };

	memset(cpu, 0, sizeof(*cpu));
	cpu->gpr[GUARD_RDI] = vm_direct(vm->boot_gpa);
	cpu->gpr[GUARD_RSI] = vcpu;
	cpu->gpr[GUARD_RSP] = VM_STACKS + (vcpu + 1) * VM_STACK_STRIDE;
	cpu->rip = vm->entry;
	cpu->rflags = 2;
	cpu->cr0 = 0x80010033;
	cpu->cr3 = vm->cr3;
	cpu->cr4 = 0x20;
	cpu->efer = 0xd00;
	cpu->mode = GUARD_MODE_64;
	memset(sys, 0, sizeof(*sys));
	sys->cs = code;
	sys->ss = sys->ds = sys->es = sys->fs = sys->gs = data;
	/* No task: a busy 64-bit TSS of no bytes, as after reset in long mode. */
	sys->tr.attr = 0x8b;
	sys->ldt.attr = 0x82;
	sys->gdt.base = vm_direct(vm->gdt_gpa + vcpu * VM_PAGE);
	sys->gdt.limit = GDT_ENTRIES * 8 - 1;
	sys->dr[6] = 0xffff0ff0;
	sys->dr[7] = 0x400;
	sys->tsc_aux = vcpu;
}

void vm_boot_vcpu(struct vm *vm, unsigned vcpu)
{
	struct engine_sys sys;
	struct guard_cpu cpu;

	vm_boot_state(vm, vcpu, &cpu, &sys);
	vm->ops->set_sys(vm->engine, vcpu, &sys);
	vm->ops->set_cpu(vm->engine, vcpu, &cpu);
	vm->ops->set_run_state(vm->engine, vcpu, ENGINE_RUNNABLE);
}

/* Writes the boot page anew. It is the guest's memory: nothing is ever read back from it. */
void vm_boot_update(struct vm *vm)
{
	struct gh_boot *b = (struct gh_boot *)(void *)(vm->ram + vm->boot_gpa);
	unsigned i, j;

	memset(b, 0, sizeof(*b));
	b->magic = GH_BOOT_MAGIC;
	b->version = GH_BOOT_VERSION;
	b->vcpus = vm->cfg.vcpus;
	b->ram_size = vm->ram_size;
	b->image_end = vm->alloc_low;
	b->x_kind = vm->cfg.x_kind;
	b->mailbox = vm_direct(vm->mailbox_gpa);
	b->mailbox_size = vm->mailbox_size;
	if (vm->doorbell.gpa) {
		b->device = vm_direct(vm->doorbell.gpa);
		b->device_size = GH_DOORBELL_SIZE;
	}
	for (i = 0; i < vm->cfg.vcpus; i++)
		b->status_page[i] = vm_direct(VM_STATUS_GPA + i * VM_PAGE);
	for (i = 0; i < vm->nloaded && i < GH_MAX_MODULES; i++) {
		const struct vm_module *m = vm->loaded[i];
		struct gh_boot_module *bm = &b->module[i];
		const struct gm_segment *s = vm_segments(m);

		memcpy(bm->name, m->name, sizeof(bm->name));
		bm->id = m->id;
		bm->segments = vm_manifest(m)->segments.count;
		memcpy(bm->base, m->base, sizeof(bm->base));
		bm->symbols = m->boot_symbols ? vm_direct(m->boot_symbols) : 0;
		bm->symbol_count = m->boot_symbol_count;
		for (j = 0; j < bm->segments; j++)
			if (s[j].kind == GM_SEG_GATES) {
				bm->gates = m->base[j];
				bm->gates_size = s[j].size;
			}
		b->modules = i + 1;
	}
	vm_host_wrote(vm, vm->boot_gpa, VM_PAGE);
}

bool vm_set_mailbox(struct vm *vm, const void *data, size_t len, struct error *err)
{
	uint64_t gpa;

	if (len > vm->mailbox_size) {
		gpa = vm_alloc_gpa(vm, len);
		if (!gpa)
			return error_set(err, "guest RAM has no room for a mailbox of %zu bytes",
					 len);
		vm->mailbox_gpa = gpa;
		vm->mailbox_size = (len + VM_PAGE - 1) & ~(VM_PAGE - 1);
	}
	memset(vm->ram + vm->mailbox_gpa, 0, vm->mailbox_size);
	if (len)
		memcpy(vm->ram + vm->mailbox_gpa, data, len);
	vm_boot_update(vm);
	return true;
}
