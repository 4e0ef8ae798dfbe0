/* SPDX-License-Identifier: GPL-2.0-only */
/* What the reason of an exit from KVM_RUN asks for. Registers are as KVM left them. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hv-port/kvm.h"

#define MAX_PIECES 100000u /* exits of one instruction */

uint64_t kv_rip(struct kv_vcpu *v)
{
	return v->at_insn ? v->insn : kv_regs(v)->rip;
}

/* Is the instruction that touched something about to go on with its REP? */
static bool repeats(struct kv_vcpu *v)
{
	uint8_t code[KV_INSN];
	unsigned n, i;

	if (kv_regs(v)->rip != v->touch.rip || !kv_regs(v)->rcx)
		return false;
	n = kv_code(v, v->touch.rip, code, KV_INSN);
	for (i = 0; i < n; i++)
		if (code[i] == 0xf2 || code[i] == 0xf3)
			return true;
		else if (code[i] != 0x66 && code[i] != 0x67 && code[i] >> 4 != 4)
			return false;
	return false;
}

bool kv_complete(struct kv_vcpu *v)
{
	struct kvm_run *run = v->run;
	unsigned pieces;
	int r;

	for (pieces = 0; pieces < MAX_PIECES; pieces++) {
		if (!kv_regs_before_run(v))
			return false;
		run->immediate_exit = 1;
		r = ioctl(v->fd, KVM_RUN, 0);
		run->immediate_exit = 0;
		kv_regs_after_run(v);
		/* Finished; or finished and stepped. */
		if (r < 0 || run->exit_reason == KVM_EXIT_DEBUG) {
			if (r < 0 && errno != EINTR)
				return false;
			if (v->touch.open)
				v->touch.open = v->touch.rep = repeats(v);
			v->at_insn = false;
			return true;
		}
		/* Another piece of the same instruction. */
		if (run->exit_reason != KVM_EXIT_MMIO || v->e->ended)
			return false;
		kv_exit_mmio(v);
	}
	return false;
}

/* Does v's view refuse the fetch of one of the instruction's first bytes? */
static bool refused(struct kv_vcpu *v, uint64_t rip)
{
	struct engine_page p;
	struct engine_walk w;
	struct guard_cpu cpu;
	unsigned i;

	kv_get_cpu(v, &cpu);
	for (i = 0; i < KV_INSN; i++) {
		uint64_t a = rip + i;

		if (i && a % KV_PAGE)
			continue;
		if (!cpu_canonical(a) || !vm_walk(v->e->vm, &cpu, a,
						  ENGINE_WALK_PEEK | ENGINE_WALK_FETCH |
							  (kv_cpl(v) == 3 ? ENGINE_WALK_USER : 0),
						  &w))
			return false;
		vm_page(v->e->vm, v->id, v->view, w.gpa & KV_PAGE_MASK, &p);
		if (p.kind != ENGINE_PAGE_RAM)
			return true;
		if (p.flags & ENGINE_PAGE_EXEC)
			continue;
		if (v->view == GUARD_VIEW_U || !(p.flags & ENGINE_PAGE_GUEST))
			return true;
		/* Inside, only what U does not execute either has no slot (slots.c). */
		vm_page(v->e->vm, v->id, GUARD_VIEW_U, w.gpa & KV_PAGE_MASK, &p);
		if (p.kind != ENGINE_PAGE_RAM || !(p.flags & ENGINE_PAGE_EXEC))
			return true;
	}
	return false;
}

static void emulation_failed(struct kv_vcpu *v)
{
	struct kvm_vcpu_events *ev = kv_events(v);
	uint64_t rip = kv_regs(v)->rip;

	/* Hosts without KVM_CAP_EXIT_ON_EMULATION_FAILURE have queued #UD besides. */
	if ((ev->exception.pending || ev->exception.injected) && ev->exception.nr == EXC_UD)
		memset(&kv_events_w(v)->exception, 0, sizeof(ev->exception));
	if (!kv_long64(v)) {
		kv_end(v->e, VM_EXIT_ENGINE, v->id, rip,
		       "KVM cannot go on here, and the guest has left 64-bit mode");
		return;
	}
	if (!refused(v, rip)) {
		kv_emulate(v);
		return;
	}
	kv_cross_fetch(v);
}

static void internal_error(struct kv_vcpu *v)
{
	if (v->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
		emulation_failed(v);
	else
		kv_end(v->e, VM_EXIT_ENGINE, v->id, kv_rip(v), "KVM: internal error %u",
		       v->run->internal.suberror);
}

static void exit_mmio(struct kv_vcpu *v)
{
	kv_exit_mmio(v);
	if (!v->e->ended && !kv_complete(v) && !v->e->ended)
		kv_end(v->e, VM_EXIT_ENGINE, v->id, kv_rip(v),
		       "KVM: an access that does not end (exit %u)", v->run->exit_reason);
}

void kv_exit(struct kv_vcpu *v)
{
	struct engine *e = v->e;

	v->at_insn = false;
	switch (v->run->exit_reason) {
	case KVM_EXIT_IO: kv_exit_io(v); break;
	case KVM_EXIT_MMIO: exit_mmio(v); break;
	case KVM_EXIT_X86_RDMSR: kv_exit_msr(v, false); break;
	case KVM_EXIT_X86_WRMSR: kv_exit_msr(v, true); break;
	case KVM_EXIT_HLT:
		v->state = ENGINE_ASLEEP;
		v->mwait = false;
		vm_idle_event(e->vm, v->id, VM_IDLE_HALTED);
		break;
	case KVM_EXIT_INTERNAL_ERROR: internal_error(v); break;
	case KVM_EXIT_SHUTDOWN:
		kv_end(e, VM_EXIT_TRIPLE_FAULT, v->id, kv_rip(v), "triple fault");
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_DEBUG: /* a step (deliver.c) */
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_SET_TPR: break;
	case KVM_EXIT_FAIL_ENTRY:
		kv_end(e, VM_EXIT_ENGINE, v->id, kv_rip(v),
		       "KVM: the CPU refuses this state (0x%llx)",
		       (unsigned long long)v->run->fail_entry.hardware_entry_failure_reason);
		break;
	default:
		kv_end(e, VM_EXIT_ENGINE, v->id, kv_rip(v), "KVM: exit %u", v->run->exit_reason);
		break;
	}
	v->at_insn = false;
}
