/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The sensitive instructions, executed by hand on the registers in the context. What an instruction
 * does is in volume 3 of the AMD64 manual under its name; here stand the parts that a 64-bit guest
 * can tell from the outside.
 */
#include <string.h>

#include "sim/insn.h"

struct job {
	struct sim_vcpu *v;
	struct sim_space *s;
	ZydisDecodedInstruction i;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	uint64_t *gpr, rip;
	bool done; /* RIP is set already, or an exception was delivered */
};

static void gp(struct job *j)
{
	j->done = true;
	sim_exception(j->v, EXC_GP, true, 0);
}

static void ud(struct job *j)
{
	j->done = true;
	sim_exception(j->v, EXC_UD, false, 0);
}

static bool privileged(struct job *j)
{
	if (!sim_cpl(j->v))
		return true;
	gp(j);
	return false;
}

static unsigned gpr_of(ZydisRegister r)
{
	return (unsigned)ZydisRegisterGetId(r) & 15;
}

/* Guest-virtual address of a memory operand. */
static uint64_t address_of(struct job *j, const ZydisDecodedOperand *op)
{
	uint64_t a = op->mem.disp.has_displacement ? (uint64_t)op->mem.disp.value : 0;

	if (op->mem.base == ZYDIS_REGISTER_RIP)
		a += j->rip + j->i.length;
	else if (op->mem.base != ZYDIS_REGISTER_NONE)
		a += j->gpr[gpr_of(op->mem.base)];
	if (op->mem.index != ZYDIS_REGISTER_NONE)
		a += j->gpr[gpr_of(op->mem.index)] * op->mem.scale;
	if (j->i.address_width == 32)
		a &= 0xffffffff;
	if (op->mem.segment == ZYDIS_REGISTER_FS)
		a += sim_seg(j->v, SEG_FS)->base;
	else if (op->mem.segment == ZYDIS_REGISTER_GS)
		a += sim_seg(j->v, SEG_GS)->base;
	return a;
}

/* ---- ports ---- */

static bool port_allowed(struct job *j)
{
	/* The I/O permission bitmap of a TSS is not looked at. */
	if (sim_cpl(j->v) <= (sim_rflags(j->v) & RFLAGS_IOPL) >> 12)
		return true;
	gp(j);
	return false;
}

static void port_out(struct job *j, uint16_t port, unsigned width, uint32_t value)
{
	struct sim_vcpu *v = j->v;
	struct engine *e = v->e;

	switch (port) {
	case GH_PORT_EXIT:
		sim_end(e, VM_EXIT_GUEST, v->id, j->rip, "exit %d", (int)value);
		e->exit.status = (int)value;
		break;
	case GH_PORT_RAISE:
		sim_raise_vector(v, (uint8_t)value);
		break;
	case GH_PORT_SEND:
		if ((value >> 8 & 0xff) < e->nvcpus)
			sim_raise_vector(&e->vcpu[value >> 8 & 0xff], (uint8_t)value);
		break;
	case GH_PORT_HOST:
		sim_end(e, VM_EXIT_HOST, v->id, j->rip + j->i.length, "host call");
		break;
	case GH_PORT_TIMER:
		v->timer_period = (uint64_t)value * SIM_BYTES_PER_TICK;
		v->timer_next = e->clock + v->timer_period;
		e->replan = true;
		break;
	default:
		vm_port_out(e->vm, v->id, port, width, value);
		break;
	}
}

static void port_io(struct job *j, bool in)
{
	const ZydisDecodedOperand *data = &j->op[in ? 0 : 1], *where = &j->op[in ? 1 : 0];
	unsigned width = data->size / 8u;
	uint64_t mask = width == 4 ? 0xffffffff : (1ull << 8 * width) - 1;
	uint16_t port;

	port = where->type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? (uint8_t)where->imm.value.u :
							     (uint16_t)j->gpr[GUARD_RDX];
	if (!in && port == GH_PORT_CROSS && where->type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
	    width == 1) {
		j->done = true;
		sim_cross_x(j->v, j->i.length);
		return;
	}
	if (!port_allowed(j))
		return;
	if (!in) {
		port_out(j, port, width, (uint32_t)(j->gpr[GUARD_RAX] & mask));
		return;
	}
	if (width == 4)
		j->gpr[GUARD_RAX] = 0;
	j->gpr[GUARD_RAX] = (j->gpr[GUARD_RAX] & ~mask) |
			    (vm_port_in(j->v->e->vm, j->v->id, port, width) & mask);
}

/* No device of ours has a data port: INS reads all ones, OUTS is dropped, memory untouched. */
static void port_string(struct job *j, bool in)
{
	unsigned width = j->i.opcode & 1 ? (j->i.operand_width == 16 ? 2 : 4) : 1;
	uint64_t step = sim_rflags(j->v) & (1u << 10) ? -(uint64_t)width : width, n = 1, ones = ~0ull;
	struct sim_event ev;

	if (!port_allowed(j))
		return;
	if (j->i.attributes & ZYDIS_ATTRIB_HAS_REP)
		n = j->gpr[GUARD_RCX];
	if (n > 4096)
		n = 4096; /* the rest at the next turn, so that interrupts get in */
	while (n--) {
		uint64_t *at = &j->gpr[in ? GUARD_RDI : GUARD_RSI];

		if (in && j->v->view == GUARD_VIEW_U && !sim_write_u(j->v, *at, &ones, width, &ev)) {
			j->done = true;
			sim_deliver(j->v, &ev);
			return;
		}
		*at += step;
		if (j->i.attributes & ZYDIS_ATTRIB_HAS_REP)
			j->gpr[GUARD_RCX]--;
	}
	if ((j->i.attributes & ZYDIS_ATTRIB_HAS_REP) && j->gpr[GUARD_RCX])
		j->done = true;
}

/* ---- CPUID and MSRs ---- */

/* A plain 64-bit CPU without anything that Unicorn would have to guess. */
static void cpuid(struct job *j)
{
	static const struct {
		uint32_t leaf, a, b, c, d;
	} table[] = {
		{0x0, 7, 0x72617547, 0x4d566573, 0x756f6864}, /* "GuardhouseVM" in EBX EDX ECX */
		{0x1, 0x00060f01, 0x00000800, 0x80802001, 0x0f8bfb7f}, /* SSE3 CX16 POPCNT HV */
		{0x7, 0, 0x00100081, 0, 0},			    /* FSGSBASE SMEP SMAP */
		{0x40000000, 0x40000000, 0x72617547, 0x756f6864, 0x4d566573},
		{0x80000000, 0x80000008, 0x72617547, 0x4d566573, 0x756f6864},
		{0x80000001, 0x00060f01, 0, 0x00000001, 0x2c100800}, /* LAHF; SYSCALL NX 1G RDTSCP LM */
		{0x80000008, 0x00003028, 0, 0, 0},		    /* 48 and 40 address bits */
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

/* Where an MSR that is a plain register lives; NULL: not one of those. */
static uint64_t *msr_register(struct sim_vcpu *v, uint32_t msr)
{
	switch (msr) {
	case MSR_STAR:
		return &v->sys.star;
	case MSR_LSTAR:
		return &v->sys.lstar;
	case MSR_CSTAR:
		return &v->sys.cstar;
	case MSR_FMASK:
		return &v->sys.fmask;
	case MSR_FS_BASE:
		return &sim_seg(v, SEG_FS)->base;
	case MSR_GS_BASE:
		return &sim_seg(v, SEG_GS)->base;
	case MSR_KERNEL_GS_BASE:
		return &v->sys.kernel_gs_base;
	case MSR_TSC_AUX:
		return &v->sys.tsc_aux;
	default:
		return NULL;
	}
}

static bool msr_read(struct sim_vcpu *v, uint32_t msr, uint64_t *value)
{
	const uint64_t *r = msr_register(v, msr);

	if (r) {
		*value = *r;
		return true;
	}
	switch (msr) {
	case MSR_TSC:
		*value = v->e->clock / SIM_BYTES_PER_TICK;
		return true;
	case MSR_EFER:
		*value = v->efer;
		return true;
	case MSR_APIC_BASE:
		*value = 0xfee00000 | (v->id ? 0x800 : 0x900);
		return true;
	case MSR_PAT:
		*value = 0x0007040600070406ull;
		return true;
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
	uint64_t *r = msr_register(v, msr);

	if (r) {
		bool address = msr == MSR_LSTAR || msr == MSR_CSTAR ||
			       (msr >= MSR_FS_BASE && msr <= MSR_KERNEL_GS_BASE);

		if (address && !sim_canonical(value))
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
	case MSR_PAT:
		return true; /* kept as they are */
	default:
		if (msr >= MSR_SYSENTER_CS && msr <= MSR_SYSENTER_EIP)
			return true;
		return vm_msr_write(v->e->vm, v->id, msr, value);
	}
}

static void msr(struct job *j, bool write)
{
	uint32_t number = (uint32_t)j->gpr[GUARD_RCX];
	uint64_t value = (j->gpr[GUARD_RAX] & 0xffffffff) | j->gpr[GUARD_RDX] << 32;

	if (!privileged(j))
		return;
	if (write ? !msr_write(j->v, number, value) : !msr_read(j->v, number, &value)) {
		gp(j);
		return;
	}
	if (!write) {
		j->gpr[GUARD_RAX] = value & 0xffffffff;
		j->gpr[GUARD_RDX] = value >> 32;
	}
}

static void rdtsc(struct job *j, bool aux)
{
	uint64_t t = j->v->e->clock / SIM_BYTES_PER_TICK;

	if (sim_cpl(j->v) && (j->v->cr4 & 4)) {
		gp(j);
		return;
	}
	j->gpr[GUARD_RAX] = t & 0xffffffff;
	j->gpr[GUARD_RDX] = t >> 32;
	if (aux)
		j->gpr[GUARD_RCX] = (uint32_t)j->v->sys.tsc_aux;
}

/* ---- control and debug registers ---- */

static void set_cr0(struct job *j, uint64_t value)
{
	/* Leaving long mode or protection is more than this engine simulates. */
	if ((value >> 32) || !(value & 1) || !(value & (1ull << 31))) {
		gp(j);
		return;
	}
	j->v->cr0 = value | 0x10;
	sim_mmu_flush(j->v);
}

static void set_cr(struct job *j, unsigned n, uint64_t value)
{
	struct sim_vcpu *v = j->v;

	switch (n) {
	case 0:
		set_cr0(j, value);
		return;
	case 2:
		v->sys.cr2 = value;
		return;
	case 3:
		if (value >> 52) {
			gp(j);
			return;
		}
		v->cr3 = value;
		sim_mmu_flush(v);
		return;
	case 4:
		/* PAE stays on; LA57, VMXE, PCIDE, OSXSAVE are not there. */
		if (!(value & 0x20) || (value & ~0x3107ffull)) {
			gp(j);
			return;
		}
		v->cr4 = value;
		sim_mmu_flush(v);
		return;
	default:
		if (value > 15)
			gp(j);
		else
			v->sys.cr8 = value;
		return;
	}
}

static void mov_cr(struct job *j)
{
	struct sim_vcpu *v = j->v;
	bool to = j->i.opcode == 0x22;
	unsigned n = (j->i.raw.modrm.reg & 7u) | (j->i.raw.rex.R ? 8 : 0);
	uint64_t *r = &j->gpr[(j->i.raw.modrm.rm & 7u) | (j->i.raw.rex.B ? 8 : 0)];

	if (j->i.attributes & ZYDIS_ATTRIB_HAS_LOCK)
		n |= 8; /* another way to write CR8 */
	if (n != 0 && n != 2 && n != 3 && n != 4 && n != 8) {
		ud(j);
		return;
	}
	if (!privileged(j))
		return;
	if (to) {
		set_cr(j, n, *r);
		return;
	}
	*r = n == 0 ? v->cr0 :
	     n == 2 ? v->sys.cr2 :
	     n == 3 ? v->cr3 :
	     n == 4 ? v->cr4 :
		      v->sys.cr8;
}

/* Kept, never armed: no breakpoint fires here, so none is seen in P(m) either. */
static void mov_dr(struct job *j)
{
	bool to = j->i.opcode == 0x23;
	unsigned n = j->i.raw.modrm.reg & 7u;
	uint64_t *r = &j->gpr[(j->i.raw.modrm.rm & 7u) | (j->i.raw.rex.B ? 8 : 0)];

	if (j->i.raw.rex.R || ((n == 4 || n == 5) && (j->v->cr4 & 8))) {
		ud(j);
		return;
	}
	if (!privileged(j))
		return;
	if (n == 4 || n == 5)
		n += 2;
	if (!to) {
		*r = j->v->sys.dr[n];
		return;
	}
	if (n >= 6 && (*r >> 32)) {
		gp(j);
		return;
	}
	j->v->sys.dr[n] = n == 6 ? (*r & 0xe00f) | 0xffff0ff0 : n == 7 ? (*r & 0xffff2bff) | 0x400 : *r;
}

static void machine_status(struct job *j, bool load)
{
	const ZydisDecodedOperand *op = &j->op[0];
	struct sim_event ev;
	uint64_t value = j->v->cr0;

	if (load && !privileged(j))
		return;
	if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		uint64_t *r = &j->gpr[gpr_of(op->reg.value)];

		if (load)
			value = *r;
		else if (op->size == 16)
			*r = (*r & ~0xffffull) | (value & 0xffff);
		else
			*r = op->size == 32 ? value & 0xffffffff : value;
	} else if (load ? !sim_read_u(j->v, address_of(j, op), &value, 2, &ev) :
			  !sim_write_u(j->v, address_of(j, op), &value, 2, &ev)) {
		j->done = true;
		sim_deliver(j->v, &ev);
		return;
	}
	if (load) /* PE can be set, never cleared */
		j->v->cr0 = (j->v->cr0 & ~0xeull) | (value & 0xe);
}

/* ---- sleep ---- */

static void hlt(struct job *j)
{
	if (!privileged(j))
		return;
	j->v->state = ENGINE_ASLEEP;
	j->v->mwait = false;
}

/* Outside of a privileged module MONITOR is a NOP too: only what MWAIT may watch is remembered. */
static void monitor(struct job *j)
{
	struct sim_vcpu *v = j->v;
	struct sim_region *r;
	size_t avail;
	const uint8_t *p;
	uint64_t a = j->gpr[GUARD_RAX] & ~63ull;

	if (!privileged(j))
		return;
	v->monitor_armed = false;
	if (!vm_may_mwait(v->e->vm, v->id))
		return;
	r = sim_space_find(j->s, a);
	p = sim_space_bytes(j->s, a, &avail);
	if (!r || !p || !(r->flags & REGION_GUEST))
		return;
	v->monitor_gpa = r->gpa + (a - r->gva);
	memcpy(v->monitor, p, sizeof(v->monitor));
	v->monitor_armed = true;
}

static void mwait(struct job *j)
{
	if (!privileged(j) || !vm_may_mwait(j->v->e->vm, j->v->id))
		return;
	j->v->state = ENGINE_ASLEEP;
	j->v->mwait = true;
}

/* ---- far transfers ---- */

static void soft_interrupt(struct job *j, uint8_t vector)
{
	struct sim_event ev;

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

static void syscall_insn(struct job *j)
{
	struct sim_vcpu *v = j->v;
	uint64_t rflags = sim_rflags(v);
	uint16_t cs = (uint16_t)(v->sys.star >> 32) & 0xfffc;

	if (!(v->efer & EFER_SCE)) {
		ud(j);
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

static void sysret_insn(struct job *j)
{
	struct sim_vcpu *v = j->v;
	uint16_t base = (uint16_t)(v->sys.star >> 48);

	if (!(v->efer & EFER_SCE)) {
		ud(j);
		return;
	}
	/* A 32-bit user is not simulated. */
	if (!privileged(j))
		return;
	if (j->i.operand_width != 64 || !sim_canonical(j->gpr[GUARD_RCX])) {
		gp(j);
		return;
	}
	flat(sim_seg(v, SEG_CS), (uint16_t)((base + 16) | 3), 0x00affb00);
	flat(sim_seg(v, SEG_SS), (uint16_t)((base + 8) | 3), 0x00cff300);
	set_cpl(v, 3);
	*sim_rip(v) = j->gpr[GUARD_RCX];
	sim_set_rflags(v, j->gpr[GUARD_R11] & ~(RFLAGS_RF | RFLAGS_VM));
	j->done = true;
}

/* Reads the stack with the rights of the instruction: that is the present view, not view U. */
static bool pop_frame(struct job *j, uint64_t at, uint64_t *word, unsigned n, struct sim_event *ev)
{
	unsigned k, tries;

	for (k = 0; k < n; k++) {
		uint64_t a = at + 8 * k;
		size_t avail;
		const uint8_t *p;

		for (tries = 0; tries < 2; tries++) {
			p = sim_space_bytes(j->s, a, &avail);
			if (p && avail >= 8)
				break;
			if (sim_mmu_data(j->s, a, false, false, ev) == MMU_FAULT)
				return false;
		}
		p = sim_space_bytes(j->s, a, &avail);
		if (p && avail >= 8)
			memcpy(&word[k], p, 8);
		else if (!sim_read_u(j->v, a, &word[k], 8, ev)) /* a device, or across regions */
			return false;
	}
	return true;
}

static bool load_return(struct job *j, const uint64_t frame[5], struct sim_seg *cs,
			struct sim_seg *ss, struct sim_event *ev)
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
	if ((cs->flags & 0x1800) != 0x1800 || !(cs->flags & (1u << 21)) || !(cs->flags & 0x8000) ||
	    (cs->flags & 0x400 ? (cs->flags >> 13 & 3) > rpl : (cs->flags >> 13 & 3) != rpl))
		return false;
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
	return sim_canonical(frame[0]);
}

static void iret(struct job *j)
{
	struct sim_vcpu *v = j->v;
	uint64_t frame[5], rflags = sim_rflags(v), allowed, rsp = j->gpr[GUARD_RSP];
	struct sim_seg cs, ss;
	struct sim_event ev;
	unsigned cpl = sim_cpl(v);

	j->done = true;
	if (j->i.operand_width != 64 || (rflags & RFLAGS_NT)) {
		/* IRET and IRETD have other frames; 64-bit kernels use IRETQ. NT: no task switch here. */
		gp(j);
		return;
	}
	v->nmi_blocked = false;
	if (!pop_frame(j, rsp, frame, 5, &ev) || !load_return(j, frame, &cs, &ss, &ev)) {
		sim_deliver(v, &ev);
		return;
	}
	*sim_rip(v) = frame[0];
	j->gpr[GUARD_RSP] = frame[3];
	*sim_seg(v, SEG_CS) = cs;
	*sim_seg(v, SEG_SS) = ss;
	set_cpl(v, frame[1] & 3);
	allowed = 0x254dd5; /* CF PF AF ZF SF TF DF OF NT RF AC ID */
	if (!cpl)
		allowed |= RFLAGS_IOPL;
	if (cpl <= (rflags & RFLAGS_IOPL) >> 12)
		allowed |= RFLAGS_IF;
	sim_set_rflags(v, (rflags & ~allowed) | (frame[2] & allowed));
}

static void fsgsbase(struct job *j, enum sim_segs seg, bool write)
{
	uint64_t *r = &j->gpr[gpr_of(j->op[0].reg.value)], *base = &sim_seg(j->v, seg)->base;
	uint64_t mask = j->op[0].size == 64 ? ~0ull : 0xffffffff;

	if (!(j->v->cr4 & CR4_FSGSBASE)) {
		ud(j);
		return;
	}
	if (!write) {
		*r = *base & mask;
	} else if (!sim_canonical(*r & mask)) {
		gp(j);
	} else {
		*base = *r & mask;
	}
}

static void swapgs(struct job *j)
{
	uint64_t base = sim_seg(j->v, SEG_GS)->base;

	if (!privileged(j))
		return;
	sim_seg(j->v, SEG_GS)->base = j->v->sys.kernel_gs_base;
	j->v->sys.kernel_gs_base = base;
}

static void access_control(struct job *j, bool set)
{
	uint64_t rflags = sim_rflags(j->v);

	if (sim_cpl(j->v)) {
		ud(j);
		return;
	}
	sim_set_rflags(j->v, set ? rflags | RFLAGS_AC : rflags & ~RFLAGS_AC);
	if (!set && (j->v->cr4 & CR4_SMAP))
		sim_mmu_flush(j->v); /* user pages were open meanwhile */
}

static void execute(struct job *j)
{
	switch (j->i.mnemonic) {
	case ZYDIS_MNEMONIC_VMCALL:
	case ZYDIS_MNEMONIC_VMMCALL:
		j->done = true;
		sim_cross_x(j->v, j->i.length);
		break;
	case ZYDIS_MNEMONIC_IN:
	case ZYDIS_MNEMONIC_OUT:
		port_io(j, j->i.mnemonic == ZYDIS_MNEMONIC_IN);
		break;
	case ZYDIS_MNEMONIC_INSB:
	case ZYDIS_MNEMONIC_INSW:
	case ZYDIS_MNEMONIC_INSD:
		port_string(j, true);
		break;
	case ZYDIS_MNEMONIC_OUTSB:
	case ZYDIS_MNEMONIC_OUTSW:
	case ZYDIS_MNEMONIC_OUTSD:
		port_string(j, false);
		break;
	case ZYDIS_MNEMONIC_CPUID:
		cpuid(j);
		break;
	case ZYDIS_MNEMONIC_RDTSC:
		rdtsc(j, false);
		break;
	case ZYDIS_MNEMONIC_RDTSCP:
		rdtsc(j, true);
		break;
	case ZYDIS_MNEMONIC_RDMSR:
		msr(j, false);
		break;
	case ZYDIS_MNEMONIC_WRMSR:
		msr(j, true);
		break;
	case ZYDIS_MNEMONIC_MOV:
		if (j->i.opcode & 1)
			mov_dr(j);
		else
			mov_cr(j);
		break;
	case ZYDIS_MNEMONIC_CLTS:
		if (privileged(j))
			j->v->cr0 &= ~8ull;
		break;
	case ZYDIS_MNEMONIC_LMSW:
		machine_status(j, true);
		break;
	case ZYDIS_MNEMONIC_SMSW:
		machine_status(j, false);
		break;
	case ZYDIS_MNEMONIC_INVLPG:
		if (privileged(j))
			sim_mmu_invlpg(j->v, address_of(j, &j->op[0]));
		break;
	case ZYDIS_MNEMONIC_HLT:
		hlt(j);
		break;
	case ZYDIS_MNEMONIC_MONITOR:
		monitor(j);
		break;
	case ZYDIS_MNEMONIC_MWAIT:
		mwait(j);
		break;
	case ZYDIS_MNEMONIC_INT:
		soft_interrupt(j, (uint8_t)j->op[0].imm.value.u);
		break;
	case ZYDIS_MNEMONIC_INT1:
		soft_interrupt(j, EXC_DB);
		break;
	case ZYDIS_MNEMONIC_INT3:
		soft_interrupt(j, EXC_BP);
		break;
	case ZYDIS_MNEMONIC_SYSCALL:
		syscall_insn(j);
		break;
	case ZYDIS_MNEMONIC_SYSRET:
		sysret_insn(j);
		break;
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
		iret(j);
		break;
	case ZYDIS_MNEMONIC_SWAPGS:
		swapgs(j);
		break;
	case ZYDIS_MNEMONIC_STAC:
	case ZYDIS_MNEMONIC_CLAC:
		access_control(j, j->i.mnemonic == ZYDIS_MNEMONIC_STAC);
		break;
	case ZYDIS_MNEMONIC_RDFSBASE:
	case ZYDIS_MNEMONIC_WRFSBASE:
		fsgsbase(j, SEG_FS, j->i.mnemonic == ZYDIS_MNEMONIC_WRFSBASE);
		break;
	case ZYDIS_MNEMONIC_RDGSBASE:
	case ZYDIS_MNEMONIC_WRGSBASE:
		fsgsbase(j, SEG_GS, j->i.mnemonic == ZYDIS_MNEMONIC_WRGSBASE);
		break;
	case ZYDIS_MNEMONIC_RDPMC:
		gp(j);
		break;
	default:
		if (j->i.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
			gp(j); /* far calls, jumps and returns: no 64-bit kernel needs them here */
		else
			ud(j);
		break;
	}
}

void sim_emulate(struct sim_vcpu *v, struct sim_space *s)
{
	struct job j;
	uint8_t code[15];
	bool trap;
	unsigned len, size;

	j.v = v;
	j.s = s;
	j.gpr = sim_gpr(v);
	j.rip = *sim_rip(v);
	j.done = false;
	len = sim_space_code(s, j.rip, code);
	if (sim_insn_class(code, len, &size) != INSN_SENSITIVE) {
		/* Something else lies there by now. */
		sim_space_not_sensitive(s, j.rip);
		return;
	}
	if (!sim_insn_decode(code, len, &j.i, j.op))
		return;
	sim_tick(v->e, size);
	trap = sim_rflags(v) & RFLAGS_TF;
	execute(&j);
	if (!j.done)
		*sim_rip(v) = j.rip + j.i.length;
	if (trap && !j.done && !v->e->ended) {
		v->sys.dr[6] |= 0x4000;
		sim_exception(v, EXC_DB, false, 0);
	}
}
