/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One sensitive instruction on its way: decoded, with its vCPU's registers at hand. emulate.c finds
 * who does it: ports.c, msr.c (and CPUID, time), control.c, segment.c, transfer.c.
 */
#ifndef SIM_INSN_H
#define SIM_INSN_H

#include <Zydis/Zydis.h>

#include "sim/sim.h"

struct sim_job {
	struct sim_vcpu *v;
	struct sim_space *s;
	ZydisDecodedInstruction i;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	uint64_t *gpr, rip;
	bool done;   /* RIP is set already, or an exception was delivered */
	bool shadow; /* neither interrupt nor single step before the next instruction is done */
};

/* All operands (ZYDIS_MAX_OPERAND_COUNT), hidden ones too. */
bool sim_insn_decode(const uint8_t *code, unsigned len, ZydisDecodedInstruction *i,
		     ZydisDecodedOperand *op);
unsigned sim_job_gpr(ZydisRegister r);
/* Guest-virtual address of a memory operand. */
uint64_t sim_job_address(struct sim_job *j, const ZydisDecodedOperand *op);
/* Reads memory with the rights of the instruction: in the present view, not in view U. */
bool sim_job_read(struct sim_job *j, uint64_t gva, void *buf, unsigned len, struct cpu_event *ev);
/* #GP(0), #UD at the instruction; CPL 0 or #GP(0). */
void sim_job_gp(struct sim_job *j);
void sim_job_ud(struct sim_job *j);
bool sim_job_privileged(struct sim_job *j);

/* ports.c: IN and OUT, INS and OUTS */
void sim_port_io(struct sim_job *j, bool in);
void sim_port_string(struct sim_job *j, bool in);

/* msr.c */
void sim_cpuid(struct sim_job *j);
void sim_rdtsc(struct sim_job *j, bool aux);
void sim_msr(struct sim_job *j, bool write);
void sim_fsgsbase(struct sim_job *j, enum sim_segs seg, bool write);
void sim_swapgs(struct sim_job *j);

/* control.c */
void sim_mov_cr(struct sim_job *j);
void sim_mov_dr(struct sim_job *j);
void sim_machine_status(struct sim_job *j, bool load);
void sim_access_control(struct sim_job *j, bool set);
void sim_hlt(struct sim_job *j);
void sim_monitor(struct sim_job *j);
void sim_mwait(struct sim_job *j);

/* segment.c */
void sim_mov_segment(struct sim_job *j);
void sim_pop_segment(struct sim_job *j);
void sim_load_task(struct sim_job *j);
void sim_load_ldt(struct sim_job *j);
void sim_load_table(struct sim_job *j, bool idt);

/* transfer.c: what changes CS and SS */
void sim_soft_interrupt(struct sim_job *j, uint8_t vector);
void sim_syscall(struct sim_job *j);
void sim_sysret(struct sim_job *j);
void sim_iret(struct sim_job *j);
void sim_popf(struct sim_job *j);

#endif
