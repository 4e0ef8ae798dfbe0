/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ports and MSRs that an engine does not know itself: console, vCPU start, and those that a
 * binding gives to a module (nothing stands behind them here but a register that keeps its value).
 */
#include <stdlib.h>
#include <string.h>

#include "vmm/internal.h"

void vm_console_byte(struct vm *vm, char c)
{
	/* The buffer is twice what is kept, so that moving it up is rare. */
	if (vm->console_len == 2 * VM_CONSOLE_BYTES) {
		memcpy(vm->console, vm->console + VM_CONSOLE_BYTES, VM_CONSOLE_BYTES);
		vm->console_len = VM_CONSOLE_BYTES;
	}
	vm->console[vm->console_len++] = c;
	vm->console[vm->console_len] = 0;
	if (vm->cfg.console) {
		fputc(c, vm->cfg.console);
		if (c == '\n')
			fflush(vm->cfg.console);
	}
}

const char *vm_console(const struct vm *vm)
{
	if (vm->console_len > VM_CONSOLE_BYTES)
		return vm->console + (vm->console_len - VM_CONSOLE_BYTES);
	return vm->console;
}

/*
 * Numbers that no binding can guard: ports that are the machine itself (vmm/abi.h), and registers
 * that a guest reaches by other instructions too (RDTSC, RDTSCP, SWAPGS, WRFSBASE, segment loads).
 */
static const struct {
	uint32_t kind, first, last;
	const char *what;
} machine[] = {
	{ GM_PRIV_IOPORT, GH_PORT_CROSS, GH_PORT_CROSS, "the port of crossings" },
	{ GM_PRIV_IOPORT, GH_PORT_CONSOLE, GH_PORT_CONSOLE, "the console" },
	{ GM_PRIV_IOPORT, GH_PORT_EXIT, GH_PORT_TIMER, "the machine's own ports" },
	{ GM_PRIV_IOPORT, 0xcf8, 0xcff, "PCI configuration space, which is emulated" },
	{ GM_PRIV_MSR, 0x10, 0x10, "TSC, which RDTSC reads" },
	{ GM_PRIV_MSR, 0xc0000100, 0xc0000102,
	  "the bases of FS and GS, which WRFSBASE and SWAPGS set" },
	{ GM_PRIV_MSR, 0xc0000103, 0xc0000103, "TSC_AUX, which RDTSCP reads" },
};

bool vm_ports_check(const struct vm_module *m, const char *name, struct error *err)
{
	const struct gm_table *t = &vm_manifest(m)->privileges;
	const struct gm_privilege *p = (const void *)(m->manifest.data + t->offset);
	uint32_t i, k;

	for (i = 0; i < t->count; i++)
		for (k = 0; k < sizeof(machine) / sizeof(machine[0]); k++) {
			if (!(m->binding.bound >> i & 1) || p[i].kind != machine[k].kind ||
			    p[i].first > machine[k].last || p[i].last < machine[k].first)
				continue;
			return error_set(
				err,
				"%s: manifest offset 0x%zx: privilege %s: %s 0x%x to 0x%x cannot be bound: %s",
				name, t->offset + i * sizeof(*p), vm_manifest_name(m, p[i].name),
				p[i].kind == GM_PRIV_MSR ? "MSRs" : "ports", p[i].first, p[i].last,
				machine[k].what);
		}
	return true;
}

/* Is the number in a range of this kind that a registered module is bound to? */
static bool reserved(const struct vm *vm, uint32_t kind, uint32_t number)
{
	unsigned m;

	for (m = 0; m < GUARD_MAX_MODULES; m++) {
		const struct vm_module *mod = vm->module[m];
		const struct gm_privilege *p;
		uint32_t i;

		if (!mod || mod->index != m)
			continue;
		p = (const void *)(mod->manifest.data + vm_manifest(mod)->privileges.offset);
		for (i = 0; i < vm_manifest(mod)->privileges.count; i++)
			if (p[i].kind == kind && (mod->binding.bound >> i & 1) &&
			    number >= p[i].first && number <= p[i].last)
				return true;
	}
	return false;
}

static bool may_use(const struct vm *vm, unsigned vcpu, uint32_t kind, uint32_t number)
{
	return vm_raised_kind(vm, vcpu, vm->vcpu[vcpu].view, kind, number);
}

/* A bound port or register number without the privilege: reported, with no address to show. */
void vm_touch_port(struct vm *vm, unsigned vcpu)
{
	struct guard_event ev = { .type = GUARD_EV_TOUCH, .vcpu = vcpu, .gpa = UINT64_MAX };
	struct guard_decision d;

	vm_get_cpu(vm, vcpu, &ev.cpu);
	vm_judge(vm, &ev, &d);
}

/* What a binding says of numbers [first, first + count). */
enum access {
	ACCESS_FREE,  /* none of them is bound */
	ACCESS_BOUND, /* and this vCPU has the privilege for all that are */
	ACCESS_DENIED
};

static enum access access_to(struct vm *vm, unsigned vcpu, uint32_t kind, uint32_t first,
			     unsigned count)
{
	enum access a = ACCESS_FREE;
	unsigned i;

	for (i = 0; i < count; i++) {
		if (!reserved(vm, kind, first + i))
			continue;
		if (!may_use(vm, vcpu, kind, first + i)) {
			vm_touch_port(vm, vcpu);
			return ACCESS_DENIED;
		}
		vm_watch_used(vm, vcpu, kind, first + i);
		a = ACCESS_BOUND;
	}
	return a;
}

/* Every port that the access covers counts, as in an I/O permission bitmap. */
bool vm_port_denied(struct vm *vm, unsigned vcpu, uint16_t port, unsigned width)
{
	return access_to(vm, vcpu, GM_PRIV_IOPORT, port, width) == ACCESS_DENIED;
}

bool vm_msr_denied(struct vm *vm, unsigned vcpu, uint32_t msr)
{
	return access_to(vm, vcpu, GM_PRIV_MSR, msr, 1) == ACCESS_DENIED;
}

uint32_t vm_port_in(struct vm *vm, unsigned vcpu, uint16_t port, unsigned width)
{
	uint32_t value = 0xffffffff;

	switch (access_to(vm, vcpu, GM_PRIV_IOPORT, port, width)) {
	case ACCESS_BOUND: return vm->port_value;
	case ACCESS_FREE: vm_pci_in(vm, port, width, &value); break;
	case ACCESS_DENIED: break;
	}
	return value;
}

/* A vCPU that waits for the turn of a nested run is off, too, but not to be started. */
static bool startable(const struct vm *vm, unsigned vcpu)
{
	unsigned i;

	if (vcpu >= vm->cfg.vcpus || !vm->entry || vm->vcpu[vcpu].stopped ||
	    vm->ops->run_state(vm->engine, vcpu) != ENGINE_OFF)
		return false;
	for (i = 0; i < vm->nested; i++)
		if (vm->level[i].vcpu == vcpu && vm->level[i].reached)
			return false;
	return true;
}

void vm_port_out(struct vm *vm, unsigned vcpu, uint16_t port, unsigned width, uint32_t value)
{
	unsigned n = value & 0xff;

	switch (access_to(vm, vcpu, GM_PRIV_IOPORT, port, width)) {
	case ACCESS_DENIED: return;
	case ACCESS_BOUND: vm->port_value = value; return;
	case ACCESS_FREE: break;
	}
	if (vm_pci_out(vm, vcpu, port, width, value))
		return;
	if (port == GH_PORT_CONSOLE)
		vm_console_byte(vm, (char)value);
	else if (port == GH_PORT_START_VCPU && startable(vm, n))
		vm_boot_vcpu(vm, n);
}

bool vm_msr_read(struct vm *vm, unsigned vcpu, uint32_t msr, uint64_t *value)
{
	if (access_to(vm, vcpu, GM_PRIV_MSR, msr, 1) != ACCESS_BOUND)
		return false;
	*value = vm->msr_value;
	return true;
}

bool vm_msr_write(struct vm *vm, unsigned vcpu, uint32_t msr, uint64_t value)
{
	if (access_to(vm, vcpu, GM_PRIV_MSR, msr, 1) != ACCESS_BOUND)
		return false;
	vm->msr_value = value;
	return true;
}
