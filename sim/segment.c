/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loads of segment registers and of the registers of system tables (AMD64 manual volume 2, 4.5 to
 * 4.7; volume 3, MOV, POP, LTR, LLDT, LGDT). Unicorn would read the descriptor with the rights of
 * the code that runs, where a CPU reads it as a supervisor, and tell no error code.
 */
#include <string.h>

#include "sim/insn.h"

#define DESC_ACCESSED 0x100u
#define DESC_WRITE 0x200u /* of data; readable, of code */
#define DESC_TYPE 0x1f00u
#define TYPE_LDT 0x200u
#define TYPE_TSS 0x900u
#define TYPE_BUSY 0x200u

static bool refuse(struct cpu_event *ev, uint8_t vector, uint16_t selector)
{
	memset(ev, 0, sizeof(*ev));
	ev->vector = vector;
	ev->has_error = true;
	ev->error = selector & ~3u;
	ev->cause = GUARD_CAUSE_EXCEPTION;
	return false;
}

/* The CPU's own write to a descriptor's upper half: "accessed", "busy". */
static bool mark(struct sim_vcpu *v, uint16_t selector, uint32_t bits, struct cpu_event *ev)
{
	const struct sim_seg *table = sim_table(v, selector & 4 ? sim_layout.ldt : sim_layout.gdt);
	uint64_t at = table->base + (selector & ~7u) + 4;
	uint32_t upper;

	if (!sim_read_u(v, at, &upper, 4, ev))
		return false;
	if ((upper & bits) == bits)
		return true;
	upper |= bits;
	return sim_write_u(v, at, &upper, 4, ev);
}

static bool load_ss(struct sim_vcpu *v, uint16_t selector, struct sim_seg *out,
		    struct cpu_event *ev)
{
	unsigned cpl = sim_cpl(v);

	if (!(selector & ~3u)) {
		if (cpl == 3 || (selector & 3) != cpl)
			return refuse(ev, EXC_GP, 0);
		memset(out, 0, sizeof(*out));
		out->selector = selector;
		out->flags = 0x00c09300 | cpl << 13; /* null in 64-bit mode; DPL is the CPL */
		return true;
	}
	if (!sim_descriptor(v, selector, out, ev))
		return false;
	if ((selector & 3) != cpl || (out->flags >> 13 & 3) != cpl ||
	    (out->flags & (DESC_S | DESC_CODE | DESC_WRITE)) != (DESC_S | DESC_WRITE))
		return refuse(ev, EXC_GP, selector);
	if (!(out->flags & DESC_P))
		return refuse(ev, EXC_SS, selector);
	return mark(v, selector, DESC_ACCESSED, ev);
}

static bool load_data(struct sim_vcpu *v, uint16_t selector, struct sim_seg *out,
		      struct cpu_event *ev)
{
	unsigned cpl = sim_cpl(v), rpl = selector & 3, dpl;

	if (!(selector & ~3u)) {
		memset(out, 0, sizeof(*out));
		out->selector = selector;
		return true;
	}
	if (!sim_descriptor(v, selector, out, ev))
		return false;
	dpl = out->flags >> 13 & 3;
	if (!(out->flags & DESC_S) || (out->flags & (DESC_CODE | DESC_WRITE)) == DESC_CODE)
		return refuse(ev, EXC_GP, selector);
	if ((out->flags & (DESC_CODE | DESC_CONFORMING)) != (DESC_CODE | DESC_CONFORMING) &&
	    (dpl < cpl || dpl < rpl))
		return refuse(ev, EXC_GP, selector);
	if (!(out->flags & DESC_P))
		return refuse(ev, EXC_NP, selector);
	return mark(v, selector, DESC_ACCESSED, ev);
}

static void fail(struct sim_job *j, const struct cpu_event *ev)
{
	j->done = true;
	sim_deliver(j->v, ev);
}

/* false: an exception was delivered. */
static bool load(struct sim_job *j, ZydisRegister reg, uint16_t selector)
{
	enum sim_segs seg = reg == ZYDIS_REGISTER_ES   ? SEG_ES
			    : reg == ZYDIS_REGISTER_SS ? SEG_SS
			    : reg == ZYDIS_REGISTER_DS ? SEG_DS
			    : reg == ZYDIS_REGISTER_FS ? SEG_FS
						       : SEG_GS;
	struct cpu_event ev;
	struct sim_seg new;

	if (!(seg == SEG_SS ? load_ss(j->v, selector, &new, &ev)
			    : load_data(j->v, selector, &new, &ev))) {
		fail(j, &ev);
		return false;
	}
	*sim_seg(j->v, seg) = new;
	return true;
}

/* A 16-bit operand, register or memory. */
static bool operand16(struct sim_job *j, const ZydisDecodedOperand *op, uint16_t *value)
{
	struct cpu_event ev;

	if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		*value = (uint16_t)j->gpr[sim_job_gpr(op->reg.value)];
		return true;
	}
	if (sim_job_read(j, sim_job_address(j, op), value, 2, &ev))
		return true;
	fail(j, &ev);
	return false;
}

void sim_mov_segment(struct sim_job *j)
{
	uint16_t selector;

	if (j->op[0].reg.value == ZYDIS_REGISTER_CS) {
		sim_job_ud(j);
		return;
	}
	if (!operand16(j, &j->op[1], &selector) || !load(j, j->op[0].reg.value, selector))
		return;
	if (j->op[0].reg.value == ZYDIS_REGISTER_SS)
		j->shadow = true;
}

void sim_pop_segment(struct sim_job *j)
{
	unsigned bytes = j->i.operand_width == 16 ? 2 : 8;
	uint64_t word = 0;
	struct cpu_event ev;

	if (!sim_job_read(j, j->gpr[GUARD_RSP], &word, bytes, &ev)) {
		fail(j, &ev);
		return;
	}
	if (load(j, j->op[0].reg.value, (uint16_t)word))
		j->gpr[GUARD_RSP] += bytes;
}

void sim_load_task(struct sim_job *j)
{
	struct cpu_event ev;
	struct sim_seg tr;
	uint16_t selector;
	uint32_t upper;

	if (!sim_job_privileged(j) || !operand16(j, &j->op[0], &selector))
		return;
	if (!(selector & ~3u) || (selector & 4)) {
		refuse(&ev, EXC_GP, selector);
		fail(j, &ev);
		return;
	}
	if (!sim_descriptor(j->v, selector, &tr, &ev)) {
		fail(j, &ev);
		return;
	}
	if ((tr.flags & DESC_TYPE) != TYPE_TSS ||
	    (selector | 7u) + 8 > sim_table(j->v, sim_layout.gdt)->limit)
		refuse(&ev, EXC_GP, selector);
	else if (!(tr.flags & DESC_P))
		refuse(&ev, EXC_NP, selector);
	else if (sim_read_u(j->v, sim_table(j->v, sim_layout.gdt)->base + (selector & ~7u) + 8,
			    &upper, 4, &ev) &&
		 mark(j->v, selector, TYPE_BUSY, &ev)) {
		tr.base |= (uint64_t)upper << 32;
		tr.flags |= TYPE_BUSY;
		if (cpu_canonical(tr.base)) {
			*sim_table(j->v, sim_layout.tr) = tr;
			return;
		}
		refuse(&ev, EXC_GP, selector);
	}
	fail(j, &ev);
}

void sim_load_ldt(struct sim_job *j)
{
	struct cpu_event ev;
	struct sim_seg ldt;
	uint16_t selector;
	uint32_t upper;

	if (!sim_job_privileged(j) || !operand16(j, &j->op[0], &selector))
		return;
	if (!(selector & ~3u)) {
		memset(&ldt, 0, sizeof(ldt));
		ldt.selector = selector;
		*sim_table(j->v, sim_layout.ldt) = ldt;
		return;
	}
	refuse(&ev, EXC_GP, selector);
	if (!(selector & 4) && sim_descriptor(j->v, selector, &ldt, &ev)) {
		if ((ldt.flags & DESC_TYPE) != TYPE_LDT ||
		    (selector | 7u) + 8 > sim_table(j->v, sim_layout.gdt)->limit)
			refuse(&ev, EXC_GP, selector);
		else if (!(ldt.flags & DESC_P))
			refuse(&ev, EXC_NP, selector);
		else if (sim_read_u(j->v,
				    sim_table(j->v, sim_layout.gdt)->base + (selector & ~7u) + 8,
				    &upper, 4, &ev)) {
			ldt.base |= (uint64_t)upper << 32;
			if (cpu_canonical(ldt.base)) {
				*sim_table(j->v, sim_layout.ldt) = ldt;
				return;
			}
			refuse(&ev, EXC_GP, selector);
		}
	}
	fail(j, &ev);
}

void sim_load_table(struct sim_job *j, bool idt)
{
	struct sim_seg *table = sim_table(j->v, idt ? sim_layout.idt : sim_layout.gdt);
	struct cpu_event ev;
	uint8_t raw[10];
	uint16_t limit;
	uint64_t base;

	if (!sim_job_privileged(j))
		return;
	if (!sim_job_read(j, sim_job_address(j, &j->op[0]), raw, sizeof(raw), &ev)) {
		fail(j, &ev);
		return;
	}
	memcpy(&limit, raw, 2);
	memcpy(&base, raw + 2, 8);
	if (!cpu_canonical(base)) {
		sim_job_gp(j);
		return;
	}
	table->base = base;
	table->limit = limit;
}
