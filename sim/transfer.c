/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Far transfers of control: software interrupts, IRET, SYSCALL, SYSRET. Only 64-bit code at both
 * ends; a compatibility-mode user gets #GP.
 */
#include <string.h>

#include "sim/insn.h"

void sim_soft_interrupt(struct sim_job *j, uint8_t vector)
{
	struct cpu_event ev;

	memset(&ev, 0, sizeof(ev));
	ev.vector = vector;
	ev.soft = true;
	ev.insn = j->rip;
	ev.cause = GUARD_CAUSE_EXCEPTION;
	*sim_rip(j->v) = j->rip + j->i.length; /* a trap: the frame points behind it */
	j->done = true;
	sim_deliver(j->v, &ev);
}

static void flat(struct sim_seg *s, uint16_t selector, uint32_t flags)
{
	s->selector = selector;
	s->pad = 0;
	s->base = 0;
	s->limit = 0xffffffff;
	s->flags = flags;
}

static void set_cpl(struct sim_vcpu *v, unsigned cpl)
{
	*sim_hflags(v) = (*sim_hflags(v) & ~(HF_CPL | HF_ADDSEG)) | HF_64 | cpl;
}

void sim_syscall(struct sim_job *j)
{
	struct sim_vcpu *v = j->v;
	uint64_t rflags = sim_rflags(v);
	uint16_t cs = (uint16_t)(v->sys.star >> 32) & 0xfffc;

	if (!(v->efer & EFER_SCE)) {
		sim_job_ud(j);
		return;
	}
	j->gpr[GUARD_RCX] = j->rip + j->i.length;
	j->gpr[GUARD_R11] = rflags & ~RFLAGS_RF;
	flat(sim_seg(v, SEG_CS), cs, 0x00af9b00);
	flat(sim_seg(v, SEG_SS), (uint16_t)(cs + 8), 0x00cf9300);
	set_cpl(v, 0);
	*sim_rip(v) = v->sys.lstar;
	sim_set_rflags(v, rflags & ~(v->sys.fmask | RFLAGS_RF));
	j->done = true;
}

void sim_sysret(struct sim_job *j)
{
	struct sim_vcpu *v = j->v;
	uint16_t base = (uint16_t)(v->sys.star >> 48);

	if (!(v->efer & EFER_SCE)) {
		sim_job_ud(j);
		return;
	}
	/* A 32-bit user is not simulated. */
	if (!sim_job_privileged(j))
		return;
	if (j->i.operand_width != 64 || !cpu_canonical(j->gpr[GUARD_RCX])) {
		sim_job_gp(j);
		return;
	}
	flat(sim_seg(v, SEG_CS), (uint16_t)((base + 16) | 3), 0x00affb00);
	flat(sim_seg(v, SEG_SS), (uint16_t)((base + 8) | 3), 0x00cff300);
	set_cpl(v, 3);
	*sim_rip(v) = j->gpr[GUARD_RCX];
	sim_set_rflags(v, j->gpr[GUARD_R11] & ~(RFLAGS_RF | RFLAGS_VM));
	j->done = true;
}

bool sim_job_read(struct sim_job *j, uint64_t gva, void *buf, unsigned len, struct cpu_event *ev)
{
	uint8_t *to = buf;

	while (len) {
		unsigned n = SIM_PAGE - gva % SIM_PAGE < len ? (unsigned)(SIM_PAGE - gva % SIM_PAGE)
							     : len;
		const uint8_t *p;
		size_t avail;

		/* The fault of a page that is there no more is found by a walk, not by what was mapped. */
		if (!sim_space_bytes(j->s, gva, &avail) &&
		    sim_mmu_data(j->s, gva, false, false, ev) == MMU_FAULT)
			return false;
		p = sim_space_bytes(j->s, gva, &avail);
		if (p && avail >= n)
			memcpy(to, p, n);
		else if (!sim_read_u(j->v, gva, to, n, ev)) /* a device */
			return false;
		gva += n;
		to += n;
		len -= n;
	}
	return true;
}

static bool load_return(struct sim_job *j, const uint64_t frame[5], struct sim_seg *cs,
			struct sim_seg *ss, struct cpu_event *ev)
{
	unsigned cpl = sim_cpl(j->v), rpl = frame[1] & 3;

	memset(ev, 0, sizeof(*ev));
	ev->vector = EXC_GP;
	ev->has_error = true;
	ev->cause = GUARD_CAUSE_EXCEPTION;
	ev->error = (uint16_t)frame[1] & ~3u;
	if (!(frame[1] & 0xfffc) || rpl < cpl)
		return false;
	if (!sim_descriptor(j->v, (uint16_t)frame[1], cs, ev))
		return false;
	ev->error = (uint16_t)frame[1] & ~3u;
	ev->vector = EXC_GP;
	/* 64-bit code only: a compatibility-mode user is not simulated. */
	if ((cs->flags & 0x1800) != 0x1800 || !(cs->flags & (1u << 21)) ||
	    (cs->flags & 0x400 ? (cs->flags >> 13 & 3) > rpl : (cs->flags >> 13 & 3) != rpl))
		return false;
	if (!(cs->flags & 0x8000)) {
		ev->vector = EXC_NP;
		return false;
	}
	ev->vector = EXC_GP;
	ev->error = (uint16_t)frame[4] & ~3u;
	if (!(frame[4] & 0xfffc)) {
		if (rpl == 3 || (frame[4] & 3) != rpl)
			return false;
		memset(ss, 0, sizeof(*ss));
		ss->selector = (uint32_t)frame[4] & 0xffff;
		ss->flags = 0x00c09300 | rpl << 13;
	} else {
		if (!sim_descriptor(j->v, (uint16_t)frame[4], ss, ev))
			return false;
		ev->vector = EXC_GP;
		ev->error = (uint16_t)frame[4] & ~3u;
		if ((frame[4] & 3) != rpl || (ss->flags & 0x1a00) != 0x1200 ||
		    (ss->flags >> 13 & 3) != rpl)
			return false;
		if (!(ss->flags & 0x8000)) {
			ev->vector = EXC_SS;
			return false;
		}
	}
	ev->error = 0;
	return cpu_canonical(frame[0]);
}

/* Flags that a program may set: only CPL 0 changes IOPL, and IF is for whom IOPL allows it. */
static uint64_t may_change(uint64_t rflags, unsigned cpl)
{
	uint64_t allowed = 0x244dd5; /* CF PF AF ZF SF TF DF OF NT AC ID */

	if (!cpl)
		allowed |= RFLAGS_IOPL;
	if (cpl <= (rflags & RFLAGS_IOPL) >> 12)
		allowed |= RFLAGS_IF;
	return allowed;
}

/* RF is always cleared (AMD64 manual volume 3, POPF). */
void sim_popf(struct sim_job *j)
{
	uint64_t rflags = sim_rflags(j->v), allowed = may_change(rflags, sim_cpl(j->v)), word = 0;
	unsigned bytes = j->i.operand_width == 16 ? 2 : 8;
	struct cpu_event ev;

	if (!sim_job_read(j, j->gpr[GUARD_RSP], &word, bytes, &ev)) {
		j->done = true;
		sim_deliver(j->v, &ev);
		return;
	}
	if (bytes == 2)
		allowed &= 0xffff;
	sim_set_rflags(j->v, (rflags & ~(allowed | RFLAGS_RF)) | (word & allowed));
	j->gpr[GUARD_RSP] += bytes;
}

void sim_iret(struct sim_job *j)
{
	struct sim_vcpu *v = j->v;
	uint64_t frame[5], rflags = sim_rflags(v), allowed, rsp = j->gpr[GUARD_RSP];
	struct sim_seg cs, ss;
	struct cpu_event ev;
	unsigned cpl = sim_cpl(v);

	j->done = true;
	if (j->i.operand_width != 64 || (rflags & RFLAGS_NT)) {
		/* IRET and IRETD have other frames; 64-bit kernels use IRETQ. NT: no task switch here. */
		sim_job_gp(j);
		return;
	}
	v->nmi_blocked = false;
	if (!sim_job_read(j, rsp, frame, sizeof(frame), &ev) ||
	    !load_return(j, frame, &cs, &ss, &ev)) {
		sim_deliver(v, &ev);
		return;
	}
	*sim_rip(v) = frame[0];
	j->gpr[GUARD_RSP] = frame[3];
	*sim_seg(v, SEG_CS) = cs;
	*sim_seg(v, SEG_SS) = ss;
	set_cpl(v, frame[1] & 3);
	allowed = may_change(rflags, cpl) | RFLAGS_RF;
	sim_set_rflags(v, (rflags & ~allowed) | (frame[2] & allowed));
}
