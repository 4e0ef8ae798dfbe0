/* SPDX-License-Identifier: GPL-2.0-only */
/* Ports: the engine's own (vmm/abi.h), and all others through vmm/. */
#include "sim/insn.h"

static bool port_allowed(struct sim_job *j)
{
	/* The I/O permission bitmap of a TSS is not looked at. */
	if (sim_cpl(j->v) <= (sim_rflags(j->v) & RFLAGS_IOPL) >> 12)
		return true;
	sim_job_gp(j);
	return false;
}

static void port_out(struct sim_job *j, uint16_t port, unsigned width, uint32_t value)
{
	struct sim_vcpu *v = j->v;
	struct engine *e = v->e;

	/* A wide access to a port of ours may reach a bound one behind it. */
	if (port >= GH_PORT_EXIT && port <= GH_PORT_TIMER && port != GH_PORT_START_VCPU &&
	    vm_port_denied(e->vm, v->id, port, width))
		return;
	switch (port) {
	case GH_PORT_EXIT:
		sim_end(e, VM_EXIT_GUEST, v->id, j->rip, "exit %d", (int)value);
		e->exit.status = (int)value;
		break;
	case GH_PORT_RAISE: sim_raise_vector(v, (uint8_t)value); break;
	case GH_PORT_SEND:
		vm_idle_event(e->vm, v->id, VM_IDLE_SENT);
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
	default: vm_port_out(e->vm, v->id, port, width, value); break;
	}
}

void sim_port_io(struct sim_job *j, bool in)
{
	const ZydisDecodedOperand *data = &j->op[in ? 0 : 1], *where = &j->op[in ? 1 : 0];
	unsigned width = data->size / 8u;
	uint64_t mask = width == 4 ? 0xffffffff : (1ull << 8 * width) - 1;
	uint16_t port;

	port = where->type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? (uint8_t)where->imm.value.u
							   : (uint16_t)j->gpr[GUARD_RDX];
	/* X too: where a CPU's rights do not reach, its #GP comes before any exit. */
	if (!port_allowed(j))
		return;
	if (!in && port == GH_PORT_CROSS && where->type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
	    width == 1) {
		j->done = true;
		sim_cross_x(j->v, j->i.length);
		return;
	}
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
void sim_port_string(struct sim_job *j, bool in)
{
	unsigned width = j->i.opcode & 1 ? (j->i.operand_width == 16 ? 2 : 4) : 1;
	uint64_t step = sim_rflags(j->v) & (1u << 10) ? -(uint64_t)width : width, n = 1,
		 ones = ~0ull;
	struct cpu_event ev;

	if (!port_allowed(j))
		return;
	if (j->i.attributes & ZYDIS_ATTRIB_HAS_REP)
		n = j->gpr[GUARD_RCX];
	if (n) /* nothing else is behind a bound port either: a denied access differs by its TOUCH */
		vm_port_denied(j->v->e->vm, j->v->id, (uint16_t)j->gpr[GUARD_RDX], width);
	if (n > 4096)
		n = 4096; /* the rest at the next turn, so that interrupts get in */
	while (n--) {
		uint64_t *at = &j->gpr[in ? GUARD_RDI : GUARD_RSI];

		if (in && j->v->view == GUARD_VIEW_U &&
		    !sim_write_u(j->v, *at, &ones, width, &ev)) {
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
