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
static void touch(struct vm *vm, unsigned vcpu)
{
	struct guard_event ev = { .type = GUARD_EV_TOUCH, .vcpu = vcpu, .gpa = UINT64_MAX };
	struct guard_decision d;

	vm_get_cpu(vm, vcpu, &ev.cpu);
	vm_judge(vm, &ev, &d);
}

uint32_t vm_port_in(struct vm *vm, unsigned vcpu, uint16_t port, unsigned width)
{
	(void)width;
	if (may_use(vm, vcpu, GM_PRIV_IOPORT, port))
		return vm->port_value;
	if (reserved(vm, GM_PRIV_IOPORT, port))
		touch(vm, vcpu);
	return 0xffffffff;
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

	(void)width;
	if (reserved(vm, GM_PRIV_IOPORT, port)) {
		if (may_use(vm, vcpu, GM_PRIV_IOPORT, port))
			vm->port_value = value;
		else
			touch(vm, vcpu);
		return;
	}
	if (port == GH_PORT_CONSOLE)
		vm_console_byte(vm, (char)value);
	else if (port == GH_PORT_START_VCPU && startable(vm, n))
		vm_boot_vcpu(vm, n);
}

bool vm_msr_read(struct vm *vm, unsigned vcpu, uint32_t msr, uint64_t *value)
{
	if (!may_use(vm, vcpu, GM_PRIV_MSR, msr)) {
		if (reserved(vm, GM_PRIV_MSR, msr))
			touch(vm, vcpu);
		return false;
	}
	*value = vm->msr_value;
	return true;
}

bool vm_msr_write(struct vm *vm, unsigned vcpu, uint32_t msr, uint64_t value)
{
	if (!may_use(vm, vcpu, GM_PRIV_MSR, msr)) {
		if (reserved(vm, GM_PRIV_MSR, msr))
			touch(vm, vcpu);
		return false;
	}
	vm->msr_value = value;
	return true;
}
