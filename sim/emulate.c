/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The sensitive instructions, executed by hand on the registers in the context. What an instruction
 * does is in volume 3 of the AMD64 manual under its name; here stand the parts that a 64-bit guest
 * can tell from the outside.
 */
#include "sim/insn.h"

void sim_job_gp(struct sim_job *j)
{
	j->done = true;
	sim_exception(j->v, EXC_GP, true, 0);
}

void sim_job_ud(struct sim_job *j)
{
	j->done = true;
	sim_exception(j->v, EXC_UD, false, 0);
}

bool sim_job_privileged(struct sim_job *j)
{
	if (!sim_cpl(j->v))
		return true;
	sim_job_gp(j);
	return false;
}

unsigned sim_job_gpr(ZydisRegister r)
{
	return (unsigned)ZydisRegisterGetId(r) & 15;
}

/* Guest-virtual address of a memory operand. */
uint64_t sim_job_address(struct sim_job *j, const ZydisDecodedOperand *op)
{
	uint64_t a = op->mem.disp.has_displacement ? (uint64_t)op->mem.disp.value : 0;

	if (op->mem.base == ZYDIS_REGISTER_RIP)
		a += j->rip + j->i.length;
	else if (op->mem.base != ZYDIS_REGISTER_NONE)
		a += j->gpr[sim_job_gpr(op->mem.base)];
	if (op->mem.index != ZYDIS_REGISTER_NONE)
		a += j->gpr[sim_job_gpr(op->mem.index)] * op->mem.scale;
	if (j->i.address_width == 32)
		a &= 0xffffffff;
	if (op->mem.segment == ZYDIS_REGISTER_FS)
		a += sim_seg(j->v, SEG_FS)->base;
	else if (op->mem.segment == ZYDIS_REGISTER_GS)
		a += sim_seg(j->v, SEG_GS)->base;
	return a;
}

static void execute(struct sim_job *j)
{
	switch (j->i.mnemonic) {
	case ZYDIS_MNEMONIC_VMCALL:
	case ZYDIS_MNEMONIC_VMMCALL:
		j->done = true;
		sim_cross_x(j->v, j->i.length);
		break;
	case ZYDIS_MNEMONIC_IN:
	case ZYDIS_MNEMONIC_OUT: sim_port_io(j, j->i.mnemonic == ZYDIS_MNEMONIC_IN); break;
	case ZYDIS_MNEMONIC_INSB:
	case ZYDIS_MNEMONIC_INSW:
	case ZYDIS_MNEMONIC_INSD: sim_port_string(j, true); break;
	case ZYDIS_MNEMONIC_OUTSB:
	case ZYDIS_MNEMONIC_OUTSW:
	case ZYDIS_MNEMONIC_OUTSD: sim_port_string(j, false); break;
	case ZYDIS_MNEMONIC_CPUID: sim_cpuid(j); break;
	case ZYDIS_MNEMONIC_RDTSC: sim_rdtsc(j, false); break;
	case ZYDIS_MNEMONIC_RDTSCP: sim_rdtsc(j, true); break;
	case ZYDIS_MNEMONIC_RDMSR: sim_msr(j, false); break;
	case ZYDIS_MNEMONIC_WRMSR: sim_msr(j, true); break;
	case ZYDIS_MNEMONIC_MOV:
		if (j->i.opcode == 0x8e)
			sim_mov_segment(j);
		else if (j->i.opcode & 1)
			sim_mov_dr(j);
		else
			sim_mov_cr(j);
		break;
	case ZYDIS_MNEMONIC_POP: sim_pop_segment(j); break;
	case ZYDIS_MNEMONIC_LTR: sim_load_task(j); break;
	case ZYDIS_MNEMONIC_LLDT: sim_load_ldt(j); break;
	case ZYDIS_MNEMONIC_LGDT: sim_load_table(j, false); break;
	case ZYDIS_MNEMONIC_LIDT: sim_load_table(j, true); break;
	case ZYDIS_MNEMONIC_CLTS:
		if (sim_job_privileged(j))
			j->v->cr0 &= ~8ull;
		break;
	case ZYDIS_MNEMONIC_LMSW: sim_machine_status(j, true); break;
	case ZYDIS_MNEMONIC_SMSW: sim_machine_status(j, false); break;
	case ZYDIS_MNEMONIC_INVLPG:
		if (sim_job_privileged(j))
			sim_mmu_invlpg(j->v, sim_job_address(j, &j->op[0]));
		break;
	case ZYDIS_MNEMONIC_HLT: sim_hlt(j); break;
	case ZYDIS_MNEMONIC_MONITOR: sim_monitor(j); break;
	case ZYDIS_MNEMONIC_MWAIT: sim_mwait(j); break;
	case ZYDIS_MNEMONIC_INT: sim_soft_interrupt(j, (uint8_t)j->op[0].imm.value.u); break;
	case ZYDIS_MNEMONIC_INT1: sim_soft_interrupt(j, EXC_DB); break;
	case ZYDIS_MNEMONIC_INT3: sim_soft_interrupt(j, EXC_BP); break;
	case ZYDIS_MNEMONIC_SYSCALL: sim_syscall(j); break;
	case ZYDIS_MNEMONIC_SYSRET: sim_sysret(j); break;
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ: sim_iret(j); break;
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ: sim_popf(j); break;
	case ZYDIS_MNEMONIC_SWAPGS: sim_swapgs(j); break;
	case ZYDIS_MNEMONIC_STAC:
	case ZYDIS_MNEMONIC_CLAC:
		sim_access_control(j, j->i.mnemonic == ZYDIS_MNEMONIC_STAC);
		break;
	case ZYDIS_MNEMONIC_RDFSBASE:
	case ZYDIS_MNEMONIC_WRFSBASE:
		sim_fsgsbase(j, SEG_FS, j->i.mnemonic == ZYDIS_MNEMONIC_WRFSBASE);
		break;
	case ZYDIS_MNEMONIC_RDGSBASE:
	case ZYDIS_MNEMONIC_WRGSBASE:
		sim_fsgsbase(j, SEG_GS, j->i.mnemonic == ZYDIS_MNEMONIC_WRGSBASE);
		break;
	case ZYDIS_MNEMONIC_RDPMC: sim_job_gp(j); break;
	default:
		if (j->i.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
			sim_job_gp(
				j); /* far calls, jumps and returns: no 64-bit kernel needs them here */
		else
			sim_job_ud(j);
		break;
	}
}

/* The crossings as gates have them, without prefixes: most of what comes here. */
static bool is_plain_x(const uint8_t *code, unsigned len, unsigned *size)
{
	*size = len >= 3 && code[0] == 0x0f && code[1] == 0x01 &&
				(code[2] == 0xd9 || code[2] == 0xc1)
			? 3
		: len >= 2 && code[0] == 0xe6 && code[1] == GH_PORT_CROSS ? 2
									  : 0;
	return *size;
}

void sim_emulate(struct sim_vcpu *v, struct sim_space *s)
{
	struct sim_job j;
	uint8_t code[15];
	bool trap;
	unsigned len, size;

	j.v = v;
	j.s = s;
	j.gpr = sim_gpr(v);
	j.rip = *sim_rip(v);
	j.done = j.shadow = false;
	len = sim_space_code(s, j.rip, code);
	if (is_plain_x(code, len, &size)) {
		sim_tick(v->e, size);
		sim_cross_x(v, size);
		return;
	}
	if (sim_insn_class_in(s, code, len, &size) != INSN_SENSITIVE) {
		/* Something else lies there by now. */
		sim_space_not_sensitive(s, j.rip);
		return;
	}
	if (!sim_insn_decode(code, len, &j.i, j.op))
		return;
	sim_tick(v->e, size);
	trap = sim_rflags(v) & RFLAGS_TF;
	execute(&j);
	if (j.shadow) {
		*sim_hflags(v) |= HF_SHADOW;
		v->mov_ss = true;
		trap = false;
	}
	if (!j.done)
		*sim_rip(v) = j.rip + j.i.length;
	if (trap && !j.done && !v->e->ended) {
		v->sys.dr[6] |= 0x4000;
		sim_exception(v, EXC_DB, false, 0);
	}
}
