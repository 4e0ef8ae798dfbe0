/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instructions that some hosts' KVM gives up on, executed by hand: those that guests, puppet and
 * modules here use. What each does is in volume 3 of the AMD64 manual under its name. Any other
 * ends the run: that is a limit of the host, not a finding.
 */
#include <Zydis/Zydis.h>
#include <stdio.h>
#include <string.h>

#include "hv-port/kvm.h"

struct job {
	struct kv_vcpu *v;
	ZydisDecodedInstruction i;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	struct kvm_regs *r;
	uint64_t rip;
	bool done; /* RIP is set already, or an exception was delivered */
};

static void soft_interrupt(struct job *j, uint8_t vector)
{
	struct cpu_event ev;

	memset(&ev, 0, sizeof(ev));
	ev.vector = vector;
	ev.soft = true;
	ev.insn = j->rip;
	ev.cause = GUARD_CAUSE_EXCEPTION;
	j->r->rip = j->rip + j->i.length; /* a trap: the frame points behind it */
	j->done = true;
	kv_deliver(j->v, &ev);
}

static bool privileged(struct job *j)
{
	if (!kv_cpl(j->v))
		return true;
	j->done = true;
	kv_exception(j->v, EXC_GP, true, 0);
	return false;
}

/* Outside of a privileged module MONITOR is a NOP too: only what MWAIT may watch is remembered. */
static void monitor(struct job *j)
{
	struct kv_vcpu *v = j->v;
	struct engine_page p;
	uint64_t gpa;

	if (!privileged(j))
		return;
	v->monitor_armed = false;
	if (!vm_may_mwait(v->e->vm, v->id)) {
		vm_idle_event(v->e->vm, v->id, VM_IDLE_INTERCEPTED);
		return;
	}
	if (!kv_peek(v, j->r->rax & ~63ull, &gpa))
		return;
	vm_page(v->e->vm, v->id, v->view, gpa & KV_PAGE_MASK, &p);
	if (p.kind != ENGINE_PAGE_RAM || !(p.flags & ENGINE_PAGE_GUEST))
		return;
	v->monitor_gpa = gpa;
	memcpy(v->monitor, p.host + gpa % KV_PAGE, sizeof(v->monitor));
	v->monitor_armed = true;
}

static void mwait(struct job *j)
{
	struct kv_vcpu *v = j->v;

	if (!privileged(j))
		return;
	if (!vm_may_mwait(v->e->vm, v->id)) {
		vm_idle_event(v->e->vm, v->id, VM_IDLE_INTERCEPTED);
		return;
	}
	v->state = ENGINE_ASLEEP;
	v->mwait = true;
	vm_idle_event(v->e->vm, v->id, VM_IDLE_SLEPT);
}

static uint64_t *operand_gpr(struct job *j, const ZydisDecodedOperand *op)
{
	return kv_gpr(j->r, (unsigned)ZydisRegisterGetId(op->reg.value) & 15);
}

/* Guest-virtual address of a memory operand. */
static uint64_t operand_address(struct job *j, const ZydisDecodedOperand *op)
{
	uint64_t a = op->mem.disp.has_displacement ? (uint64_t)op->mem.disp.value : 0;

	if (op->mem.base == ZYDIS_REGISTER_RIP)
		a += j->rip + j->i.length;
	else if (op->mem.base != ZYDIS_REGISTER_NONE)
		a += *kv_gpr(j->r, (unsigned)ZydisRegisterGetId(op->mem.base) & 15);
	if (op->mem.index != ZYDIS_REGISTER_NONE)
		a += *kv_gpr(j->r, (unsigned)ZydisRegisterGetId(op->mem.index) & 15) *
		     op->mem.scale;
	if (j->i.address_width == 32)
		a &= 0xffffffff;
	if (op->mem.segment == ZYDIS_REGISTER_FS)
		a += kv_sregs(j->v)->fs.base;
	else if (op->mem.segment == ZYDIS_REGISTER_GS)
		a += kv_sregs(j->v)->gs.base;
	return a;
}

static bool source(struct job *j, const ZydisDecodedOperand *op, uint64_t *value)
{
	struct cpu_event ev;

	*value = 0;
	if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		*value = *operand_gpr(j, op);
	} else if (!kv_read(j->v, operand_address(j, op), value, op->size / 8u, &ev)) {
		j->done = true;
		kv_deliver(j->v, &ev);
		return false;
	}
	if (op->size < 64)
		*value &= (1ull << op->size) - 1;
	return true;
}

static void popcnt(struct job *j)
{
	uint64_t value, *to = operand_gpr(j, &j->op[0]);

	if (!source(j, &j->op[1], &value))
		return;
	j->r->rflags &= ~0x8d5ull; /* OF SF ZF AF PF CF */
	j->r->rflags |= value ? 0 : 0x40;
	value = (uint64_t)__builtin_popcountll(value);
	if (j->op[0].size == 16)
		*to = (*to & ~0xffffull) | value;
	else
		*to = value;
}

static bool execute(struct job *j)
{
	switch (j->i.mnemonic) {
	case ZYDIS_MNEMONIC_UD0:
	case ZYDIS_MNEMONIC_UD1:
		j->done = true;
		kv_exception(j->v, EXC_UD, false, 0);
		return true;
	case ZYDIS_MNEMONIC_INT: soft_interrupt(j, (uint8_t)j->op[0].imm.value.u); return true;
	case ZYDIS_MNEMONIC_INT1: soft_interrupt(j, EXC_DB); return true;
	case ZYDIS_MNEMONIC_INT3: soft_interrupt(j, EXC_BP); return true;
	case ZYDIS_MNEMONIC_MONITOR: monitor(j); return true;
	case ZYDIS_MNEMONIC_MWAIT: mwait(j); return true;
	case ZYDIS_MNEMONIC_POPCNT: popcnt(j); return true;
	default: return false;
	}
}

static void give_up(struct kv_vcpu *v, const uint8_t *code, unsigned len, uint64_t rip)
{
	char bytes[3 * KV_INSN + 1] = "";
	unsigned i;

	for (i = 0; i < len && i < KV_INSN; i++)
		snprintf(bytes + 3 * i, sizeof(bytes) - 3 * i, " %02x", code[i]);
	kv_end(v->e, VM_EXIT_ENGINE, v->id, rip,
	       "this host's KVM cannot execute this instruction: bytes%s",
	       len ? bytes : " unknown");
}

bool kv_emulate(struct kv_vcpu *v)
{
	struct job j = { .v = v, .r = kv_regs_w(v) };
	uint8_t code[KV_INSN];
	ZyanStatus status;
	ZydisDecoder d;
	unsigned len;
	bool trap = j.r->rflags & RFLAGS_TF;

	j.rip = j.r->rip;
	len = kv_code(v, j.rip, code, KV_INSN);
	if (!len ||
	    ZYAN_FAILED(ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64))) {
		give_up(v, code, len, j.rip);
		return false;
	}
	status = ZydisDecoderDecodeFull(&d, code, len, &j.i, j.op);
	if (ZYAN_FAILED(status) && len == KV_INSN) { /* no instruction at all */
		kv_exception(v, EXC_UD, false, 0);
		return true;
	}
	if (ZYAN_FAILED(status) || !execute(&j)) {
		give_up(v, code, len, j.rip);
		return false;
	}
	if (!j.done)
		kv_regs_w(v)->rip = j.rip + j.i.length;
	if (trap && !j.done && !v->e->ended)
		kv_exception(v, EXC_DB, false, 0);
	return true;
}
