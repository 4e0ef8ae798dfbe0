/* SPDX-License-Identifier: GPL-2.0-only */
/* Ports: X, the engine's own (vmm/abi.h), and all others through vmm/. MSRs that KVM asks about. */
#include <string.h>

#include "hv-port/kvm.h"

/* ---- ports ---- */

static void port_out(struct kv_vcpu *v, uint16_t port, unsigned width, uint32_t value)
{
	struct engine *e = v->e;

	/* A wide access to a port of ours may reach a bound one behind it. */
	if (port >= GH_PORT_EXIT && port <= GH_PORT_TIMER && port != GH_PORT_START_VCPU &&
	    vm_port_denied(e->vm, v->id, port, width))
		return;
	switch (port) {
	case GH_PORT_EXIT:
		kv_end(e, VM_EXIT_GUEST, v->id, kv_rip(v), "exit %d", (int)value);
		e->exit.status = (int)value;
		break;
	case GH_PORT_RAISE: kv_raise_vector(v, (uint8_t)value); break;
	case GH_PORT_SEND:
		vm_idle_event(e->vm, v->id, VM_IDLE_SENT);
		if ((value >> 8 & 0xff) < e->nvcpus)
			kv_raise_vector(&e->vcpu[value >> 8 & 0xff], (uint8_t)value);
		break;
	case GH_PORT_HOST: kv_end(e, VM_EXIT_HOST, v->id, kv_regs(v)->rip, "host call"); break;
	case GH_PORT_TIMER:
		v->timer_period = value;
		v->timer_next = kv_time(e) + value;
		e->replan = true;
		break;
	default: vm_port_out(e->vm, v->id, port, width, value); break;
	}
}

/* `out %al,$0xb6` as gates have it: the two bytes before RIP. */
static bool is_x(struct kv_vcpu *v)
{
	uint8_t code[2];

	return kv_code(v, kv_regs(v)->rip - 2, code, 2) == 2 && code[0] == 0xe6 &&
	       code[1] == GH_PORT_CROSS;
}

/*
 * KVM finishes the OUT first: then RIP is behind it on every host, and a single-step trap that the
 * guest asked for is pending. X is no instruction that traps: the guard refuses TF, or goes on.
 */
static void exit_out(struct kv_vcpu *v, uint16_t port, unsigned width, uint32_t value)
{
	uint64_t before = kv_regs(v)->rip;

	if (!kv_complete(v)) {
		kv_end(v->e, VM_EXIT_ENGINE, v->id, before, "KVM: an OUT that does not end");
		return;
	}
	if (port == GH_PORT_CROSS && width == 1 && is_x(v)) {
		if (kv_events(v)->exception.pending || kv_events(v)->exception.injected)
			memset(&kv_events_w(v)->exception, 0, sizeof(kv_events(v)->exception));
		kv_cross_x(v, kv_regs(v)->rip - 2, 2);
		return;
	}
	v->insn = before != kv_regs(v)->rip ? before : kv_origin_out(v, port, width);
	v->at_insn = true;
	port_out(v, port, width, value);
}

/* INS and OUTS: no device of ours has a data port. The guard hears of them once an instruction. */
static void exit_string(struct kv_vcpu *v, uint16_t port, unsigned width, uint8_t *data,
			unsigned bytes, bool in)
{
	struct kv_touch *t = &v->touch;
	uint64_t rcx = kv_regs(v)->rcx, rip = kv_regs(v)->rip;

	v->insn = rip;
	v->at_insn = true;
	if (!(t->open && t->rip == rip && t->rcx > rcx))
		vm_port_denied(v->e->vm, v->id, port, width);
	t->open = true;
	t->rep = false;
	t->rip = rip;
	t->rcx = rcx;
	if (in)
		memset(data, 0xff, bytes);
	kv_complete(v);
}

void kv_exit_io(struct kv_vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset, code[KV_INSN];
	uint16_t port = run->io.port;
	unsigned width = run->io.size, n;
	bool in = run->io.direction == KVM_EXIT_IO_IN;
	uint64_t rip = kv_regs(v)->rip;
	uint32_t value = 0;

	if ((width != 1 && width != 2 && width != 4) || !run->io.count ||
	    run->io.data_offset > v->e->run_bytes ||
	    (uint64_t)width * run->io.count > v->e->run_bytes - run->io.data_offset) {
		kv_end(v->e, VM_EXIT_ENGINE, v->id, rip, "KVM: an I/O exit of no known form");
		return;
	}
	for (n = kv_code(v, rip, code, KV_INSN);
	     n > 1 && (code[0] == 0xf2 || code[0] == 0xf3 || code[0] == 0x66 || code[0] >> 4 == 4);
	     n--)
		memmove(code, code + 1, n - 1);
	/* OUTS whose RIP has moved on is an OUT like any other here. */
	if (run->io.count > 1 || (n && in && (code[0] == 0x6c || code[0] == 0x6d)) ||
	    (n && !in && (code[0] == 0x6e || code[0] == 0x6f))) {
		exit_string(v, port, width, data, width * run->io.count, in);
		return;
	}
	if (!in) {
		memcpy(&value, data, width);
		exit_out(v, port, width, value);
		return;
	}
	v->insn = rip;
	v->at_insn = true;
	value = vm_port_in(v->e->vm, v->id, port, width);
	memcpy(data, &value, width);
	kv_complete(v);
}

/* ---- MSRs ---- */

enum {
	MSR_APIC_BASE = 0x1b,
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_EIP = 0x176,
	MSR_PAT = 0x277,
	MSR_EFER = 0xc0000080,
	MSR_STAR,
	MSR_LSTAR,
	MSR_CSTAR,
	MSR_FMASK
};

static bool msr_read(struct kv_vcpu *v, uint32_t msr, uint64_t *value)
{
	if (msr == MSR_EFER) {
		*value = kv_sregs(v)->efer;
		return true;
	}
	if ((msr >= MSR_STAR && msr <= MSR_FMASK) || msr == MSR_PAT || msr == MSR_APIC_BASE ||
	    (msr >= MSR_SYSENTER_CS && msr <= MSR_SYSENTER_EIP))
		return kv_msr_get(v, msr, value);
	return vm_msr_read(v->e->vm, v->id, msr, value);
}

static bool msr_write(struct kv_vcpu *v, uint32_t msr, uint64_t value)
{
	if (msr == MSR_EFER) {
		uint64_t efer = kv_sregs(v)->efer;

		/* LME cannot change while paging is on; LMA follows it. No SVM, no other bits. */
		if ((value & ~0xd01ull) || ((value ^ efer) & 0x100))
			return false;
		kv_sregs_w(v)->efer = (value & ~EFER_LMA) | (efer & EFER_LMA);
		return true;
	}
	if (msr >= MSR_STAR && msr <= MSR_FMASK)
		return ((msr != MSR_LSTAR && msr != MSR_CSTAR) || cpu_canonical(value)) &&
		       kv_msr_set(v, msr, value);
	if (msr == MSR_PAT || msr == MSR_APIC_BASE ||
	    (msr >= MSR_SYSENTER_CS && msr <= MSR_SYSENTER_EIP))
		return true; /* kept as they are */
	return vm_msr_write(v->e->vm, v->id, msr, value);
}

/* Nothing but the bases of FS and GS, TSC and TSC_AUX is KVM's own to decide (see create.c). */
void kv_exit_msr(struct kv_vcpu *v, bool write)
{
	struct kvm_run *run = v->run;
	uint32_t msr = run->msr.index;
	uint64_t value = run->msr.data;
	bool ok;

	v->insn = kv_regs(v)->rip;
	v->at_insn = true;
	ok = !vm_msr_denied(v->e->vm, v->id, msr) &&
	     (write ? msr_write(v, msr, value) : msr_read(v, msr, &value));
	run->msr.error = !ok;
	run->msr.data = value;
	if (!kv_complete(v) || ok)
		return;
	/* KVM has a #GP pending now; it must not be delivered before the guard knows. */
	memset(&kv_events_w(v)->exception, 0, sizeof(kv_events(v)->exception));
	v->at_insn = false;
	kv_exception(v, EXC_GP, true, 0);
}
