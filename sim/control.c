/* SPDX-License-Identifier: GPL-2.0-only */
/* Control and debug registers, and sleep. */
#include <string.h>

#include "sim/insn.h"

static void set_cr0(struct sim_job *j, uint64_t value)
{
	/* Leaving long mode or protection is more than this engine simulates. */
	if ((value >> 32) || !(value & 1) || !(value & (1ull << 31)) ||
	    (value & 3ull << 29) == 1ull << 29) { /* NW without CD */
		sim_job_gp(j);
		return;
	}
	j->v->cr0 = value | 0x10;
	sim_mmu_flush(j->v);
}

static void set_cr(struct sim_job *j, unsigned n, uint64_t value)
{
	struct sim_vcpu *v = j->v;

	switch (n) {
	case 0: set_cr0(j, value); return;
	case 2: v->sys.cr2 = value; return;
	case 3:
		if (value >> 52) {
			sim_job_gp(j);
			return;
		}
		v->cr3 = value;
		sim_mmu_flush(v);
		return;
	case 4:
		/* PAE stays on; LA57, VMXE, PCIDE, OSXSAVE are not there. */
		if (!(value & 0x20) || (value & ~0x3107ffull)) {
			sim_job_gp(j);
			return;
		}
		v->cr4 = value;
		sim_mmu_flush(v);
		return;
	default:
		if (value > 15)
			sim_job_gp(j);
		else
			v->sys.cr8 = value;
		return;
	}
}

void sim_mov_cr(struct sim_job *j)
{
	struct sim_vcpu *v = j->v;
	bool to = j->i.opcode == 0x22;
	unsigned n = (j->i.raw.modrm.reg & 7u) | (j->i.raw.rex.R ? 8 : 0);
	uint64_t *r = &j->gpr[(j->i.raw.modrm.rm & 7u) | (j->i.raw.rex.B ? 8 : 0)];

	if (j->i.attributes & ZYDIS_ATTRIB_HAS_LOCK)
		n |= 8; /* another way to write CR8 */
	if (n != 0 && n != 2 && n != 3 && n != 4 && n != 8) {
		sim_job_ud(j);
		return;
	}
	if (!sim_job_privileged(j))
		return;
	if (to) {
		set_cr(j, n, *r);
		return;
	}
	*r = n == 0 ? v->cr0 : n == 2 ? v->sys.cr2 : n == 3 ? v->cr3 : n == 4 ? v->cr4 : v->sys.cr8;
}

#define DR6_BD (1ull << 13)
#define DR7_GD (1ull << 13)

/* Kept, never armed (but for GD): no breakpoint fires here, so none is seen in P(m) either. */
void sim_mov_dr(struct sim_job *j)
{
	bool to = j->i.opcode == 0x23;
	unsigned n = j->i.raw.modrm.reg & 7u;
	uint64_t *r = &j->gpr[(j->i.raw.modrm.rm & 7u) | (j->i.raw.rex.B ? 8 : 0)];

	if (j->i.raw.rex.R || ((n == 4 || n == 5) && (j->v->cr4 & 8))) {
		sim_job_ud(j);
		return;
	}
	if (!sim_job_privileged(j))
		return;
	if (j->v->sys.dr[7] & DR7_GD) {
		j->v->sys.dr[7] &= ~DR7_GD;
		j->v->sys.dr[6] |= DR6_BD;
		j->done = true;
		sim_exception(j->v, EXC_DB, false, 0);
		return;
	}
	if (n == 4 || n == 5)
		n += 2;
	if (!to) {
		*r = j->v->sys.dr[n];
		return;
	}
	if (n >= 6 && (*r >> 32)) {
		sim_job_gp(j);
		return;
	}
	j->v->sys.dr[n] = n == 6   ? (*r & 0xe00f) | 0xffff0ff0
			  : n == 7 ? (*r & 0xffff2bff) | 0x400
				   : *r;
}

void sim_machine_status(struct sim_job *j, bool load)
{
	const ZydisDecodedOperand *op = &j->op[0];
	struct cpu_event ev;
	uint64_t value = j->v->cr0;

	if (load && !sim_job_privileged(j))
		return;
	if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		uint64_t *r = &j->gpr[sim_job_gpr(op->reg.value)];

		if (load)
			value = *r;
		else if (op->size == 16)
			*r = (*r & ~0xffffull) | (value & 0xffff);
		else
			*r = op->size == 32 ? value & 0xffffffff : value;
	} else if (load ? !sim_read_u(j->v, sim_job_address(j, op), &value, 2, &ev)
			: !sim_write_u(j->v, sim_job_address(j, op), &value, 2, &ev)) {
		j->done = true;
		sim_deliver(j->v, &ev);
		return;
	}
	if (load) /* PE can be set, never cleared */
		j->v->cr0 = (j->v->cr0 & ~0xeull) | (value & 0xe);
}

void sim_access_control(struct sim_job *j, bool set)
{
	uint64_t rflags = sim_rflags(j->v);

	if (sim_cpl(j->v)) {
		sim_job_ud(j);
		return;
	}
	sim_set_rflags(j->v, set ? rflags | RFLAGS_AC : rflags & ~RFLAGS_AC);
}

/* ---- sleep ---- */

void sim_hlt(struct sim_job *j)
{
	if (!sim_job_privileged(j))
		return;
	j->v->state = ENGINE_ASLEEP;
	j->v->mwait = false;
	vm_idle_event(j->v->e->vm, j->v->id, VM_IDLE_HALTED);
}

/* Outside of a privileged module MONITOR is a NOP too: only what MWAIT may watch is remembered. */
void sim_monitor(struct sim_job *j)
{
	struct sim_vcpu *v = j->v;
	struct sim_region *r;
	size_t avail;
	const uint8_t *p;
	uint64_t a = j->gpr[GUARD_RAX] & ~63ull;

	if (!sim_job_privileged(j))
		return;
	v->monitor_armed = false;
	if (!vm_may_mwait(v->e->vm, v->id)) {
		vm_idle_event(v->e->vm, v->id, VM_IDLE_INTERCEPTED);
		return;
	}
	r = sim_space_find(j->s, a);
	p = sim_space_bytes(j->s, a, &avail);
	if (!p || !(r->flags & REGION_GUEST))
		return;
	v->monitor_gpa = r->gpa + (a - r->gva);
	memcpy(v->monitor, p, sizeof(v->monitor));
	v->monitor_armed = true;
}

void sim_mwait(struct sim_job *j)
{
	struct sim_vcpu *v = j->v;

	if (!sim_job_privileged(j))
		return;
	if (!vm_may_mwait(v->e->vm, v->id)) {
		vm_idle_event(v->e->vm, v->id, VM_IDLE_INTERCEPTED);
		return;
	}
	if (v->e->watched)
		vm_watch_used(v->e->vm, v->id, GM_PRIV_MWAIT, 0);
	v->state = ENGINE_ASLEEP;
	v->mwait = true;
	vm_idle_event(v->e->vm, v->id, VM_IDLE_SLEPT);
}
