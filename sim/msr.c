/* SPDX-License-Identifier: GPL-2.0-only */
/* CPUID, MSRs, time, and the segment bases that are MSRs too. All the same on every host. */
#include "sim/insn.h"

/* A plain 64-bit CPU without anything that Unicorn would have to guess. */
void sim_cpuid(struct sim_job *j)
{
	static const struct {
		uint32_t leaf, a, b, c, d;
	} table[] = {
		{ 0x0, 7, 0x72617547, 0x4d566573, 0x756f6864 }, /* "GuardhouseVM" in EBX EDX ECX */
		{ 0x1, 0x00060f01, 0x00000800, 0x80002001, 0x0f8bfb7f }, /* SSE3 CX16 HV */
		{ 0x7, 0, 0x00100081, 0, 0 },				 /* FSGSBASE SMEP SMAP */
		{ 0x40000000, 0x40000000, 0x72617547, 0x756f6864, 0x4d566573 },
		{ 0x80000000, 0x80000008, 0x72617547, 0x4d566573, 0x756f6864 },
		{ 0x80000001, 0x00060f01, 0, 0x00000001,
		  0x2c100800 },			     /* LAHF; SYSCALL NX 1G RDTSCP LM */
		{ 0x80000008, 0x00003028, 0, 0, 0 }, /* 48 and 40 address bits */
	};
	uint32_t leaf = (uint32_t)j->gpr[GUARD_RAX];
	uint64_t a = 0, b = 0, c = 0, d = 0;
	unsigned k;

	for (k = 0; k < sizeof(table) / sizeof(table[0]); k++)
		if (table[k].leaf == leaf && (leaf != 7 || !(uint32_t)j->gpr[GUARD_RCX])) {
			a = table[k].a;
			b = table[k].b;
			c = table[k].c;
			d = table[k].d;
		}
	if (leaf == 1)
		b |= (uint64_t)j->v->id << 24;
	j->gpr[GUARD_RAX] = a;
	j->gpr[GUARD_RBX] = b;
	j->gpr[GUARD_RCX] = c;
	j->gpr[GUARD_RDX] = d;
}

enum {
	MSR_TSC = 0x10,
	MSR_APIC_BASE = 0x1b,
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_EIP = 0x176,
	MSR_PAT = 0x277,
	MSR_EFER = 0xc0000080,
	MSR_STAR,
	MSR_LSTAR,
	MSR_CSTAR,
	MSR_FMASK,
	MSR_FS_BASE = 0xc0000100,
	MSR_GS_BASE,
	MSR_KERNEL_GS_BASE,
	MSR_TSC_AUX
};

/* Where an MSR that is a plain register lives. false: it is not one of those. */
static bool msr_register(struct sim_vcpu *v, uint32_t msr, uint64_t **where)
{
	switch (msr) {
	case MSR_STAR: *where = &v->sys.star; return true;
	case MSR_LSTAR: *where = &v->sys.lstar; return true;
	case MSR_CSTAR: *where = &v->sys.cstar; return true;
	case MSR_FMASK: *where = &v->sys.fmask; return true;
	case MSR_FS_BASE: *where = &sim_seg(v, SEG_FS)->base; return true;
	case MSR_GS_BASE: *where = &sim_seg(v, SEG_GS)->base; return true;
	case MSR_KERNEL_GS_BASE: *where = &v->sys.kernel_gs_base; return true;
	case MSR_TSC_AUX: *where = &v->sys.tsc_aux; return true;
	default: return false;
	}
}

static bool msr_read(struct sim_vcpu *v, uint32_t msr, uint64_t *value)
{
	uint64_t *r;

	if (msr_register(v, msr, &r)) {
		*value = *r;
		return true;
	}
	switch (msr) {
	case MSR_TSC: *value = v->e->clock / SIM_BYTES_PER_TICK; return true;
	case MSR_EFER: *value = v->efer; return true;
	case MSR_APIC_BASE: *value = 0xfee00000 | (v->id ? 0x800 : 0x900); return true;
	case MSR_PAT: *value = 0x0007040600070406ull; return true;
	default:
		if (msr >= MSR_SYSENTER_CS && msr <= MSR_SYSENTER_EIP) {
			*value = 0;
			return true;
		}
		return vm_msr_read(v->e->vm, v->id, msr, value);
	}
}

static bool msr_write(struct sim_vcpu *v, uint32_t msr, uint64_t value)
{
	uint64_t *r;

	if (msr_register(v, msr, &r)) {
		bool address = msr == MSR_LSTAR || msr == MSR_CSTAR ||
			       (msr >= MSR_FS_BASE && msr <= MSR_KERNEL_GS_BASE);

		if (address && !cpu_canonical(value))
			return false;
		*r = value;
		return true;
	}
	switch (msr) {
	case MSR_EFER:
		/* LME cannot change while paging is on; LMA follows it. */
		if ((value & ~0xd01ull) || ((value ^ v->efer) & 0x100))
			return false;
		v->efer = (value & ~0x400ull) | (v->efer & 0x400);
		sim_mmu_flush(v);
		return true;
	case MSR_TSC:
	case MSR_APIC_BASE:
	case MSR_PAT: return true; /* kept as they are */
	default:
		if (msr >= MSR_SYSENTER_CS && msr <= MSR_SYSENTER_EIP)
			return true;
		return vm_msr_write(v->e->vm, v->id, msr, value);
	}
}

void sim_msr(struct sim_job *j, bool write)
{
	uint32_t number = (uint32_t)j->gpr[GUARD_RCX];
	uint64_t value = (j->gpr[GUARD_RAX] & 0xffffffff) | j->gpr[GUARD_RDX] << 32;

	if (!sim_job_privileged(j))
		return;
	if (vm_msr_denied(j->v->e->vm, j->v->id, number)) {
		sim_job_gp(j);
		return;
	}
	if (write ? !msr_write(j->v, number, value) : !msr_read(j->v, number, &value)) {
		sim_job_gp(j);
		return;
	}
	if (!write) {
		j->gpr[GUARD_RAX] = value & 0xffffffff;
		j->gpr[GUARD_RDX] = value >> 32;
	}
}

void sim_rdtsc(struct sim_job *j, bool aux)
{
	uint64_t t = j->v->e->clock / SIM_BYTES_PER_TICK;

	if (sim_cpl(j->v) && (j->v->cr4 & 4)) {
		sim_job_gp(j);
		return;
	}
	j->gpr[GUARD_RAX] = t & 0xffffffff;
	j->gpr[GUARD_RDX] = t >> 32;
	if (aux)
		j->gpr[GUARD_RCX] = (uint32_t)j->v->sys.tsc_aux;
}

void sim_fsgsbase(struct sim_job *j, enum sim_segs seg, bool write)
{
	uint64_t *r = &j->gpr[sim_job_gpr(j->op[0].reg.value)], *base = &sim_seg(j->v, seg)->base;
	uint64_t mask = j->op[0].size == 64 ? ~0ull : 0xffffffff;

	if (!(j->v->cr4 & CR4_FSGSBASE)) {
		sim_job_ud(j);
		return;
	}
	if (!write) {
		*r = *base & mask;
	} else if (!cpu_canonical(*r & mask)) {
		sim_job_gp(j);
	} else {
		*base = *r & mask;
	}
}

void sim_swapgs(struct sim_job *j)
{
	uint64_t base = sim_seg(j->v, SEG_GS)->base;

	if (!sim_job_privileged(j))
		return;
	sim_seg(j->v, SEG_GS)->base = j->v->sys.kernel_gs_base;
	j->v->sys.kernel_gs_base = base;
}
