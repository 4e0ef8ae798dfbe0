/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One entry into Unicorn, and what the reason for its return asks for. Here, between entries, is
 * where registers, regions and views change.
 */
#include <string.h>

#include "sim/sim.h"

void sim_save(struct sim_vcpu *v)
{
	if (!v->live)
		return;
	uc_context_save(v->live->uc, v->ctx);
	v->live = NULL;
}

void sim_enter(struct sim_vcpu *v, struct sim_space *s)
{
	if (v->live == s)
		return;
	sim_save(v);
	uc_context_restore(s->uc, v->ctx);
	v->live = s;
}

uint64_t sim_current_rip(struct sim_vcpu *v)
{
	uint64_t rip = 0;

	if (!v->live)
		return *sim_rip(v);
	uc_reg_read(v->live->uc, UC_X86_REG_RIP, &rip);
	return rip;
}

/* ---- one entry into Unicorn ---- */

/* Runs at most about `bytes` of code. Fills s->stop and the like; time passes. */
uc_err sim_go(struct sim_vcpu *v, struct sim_space *s, int64_t bytes)
{
	struct engine *e = v->e;
	uint64_t rip = sim_current_rip(v), now = 0;
	unsigned insn = 0;
	uint8_t code[15];
	uc_err err;

	if (s->stepping)
		sim_insn_class(code, sim_space_code(s, rip, code), &insn);
	s->left = s->granted = bytes;
	s->stop = STOP_NONE;
	s->stop_rip = 0;
	s->block = 0;
	s->captured = false;
	if (e->watched)
		sim_watch_entry(v, s);
	sim_accel_enter(s);
	e->entered = s;
	err = uc_emu_start(s->uc, rip, 0, 0, 0);
	e->entered = NULL;
	sim_accel_enter(NULL);
	e->in_hook = false;
	if (s->stepping)
		sim_tick(e, s->step_begun ? insn : 0);
	else
		sim_tick(e, (uint64_t)(bytes - s->left));
	if (s->captured) {
		v->live = NULL; /* the context is newer */
		*sim_rip(v) = s->stop_rip;
		return err;
	}
	uc_reg_read(s->uc, UC_X86_REG_RIP, &now);
	if (s->stop == STOP_NONE)
		s->stop_rip = now;
	else if (now != s->stop_rip)
		uc_reg_write(s->uc, UC_X86_REG_RIP, &s->stop_rip);
	return err;
}

/* Blocks that begin at rip are made anew. */
static void forget_block(struct sim_space *s, uint64_t rip)
{
	const struct sim_region *r = sim_space_find(s, rip);

	if (r && (r->prot & UC_PROT_EXEC))
		uc_ctl_remove_cache(s->uc, rip, rip + 1);
}

void sim_step(struct sim_vcpu *v, struct sim_space *s)
{
	uc_err err;

	sim_enter(v, s);
	s->step_rip = sim_current_rip(v);
	s->stepping = true;
	s->step_begun = s->step_code = false;
	if (sim_fast)
		forget_block(s, s->step_rip);
	err = sim_go(v, s, 0);
	s->stepping = false;
	if (sim_fast)
		forget_block(s, s->step_rip);
	if (s->stop != STOP_STEPPED)
		sim_handle(v, s, err);
}

/* ---- what a stop asks for ---- */

void sim_unicorn_failed(struct sim_vcpu *v, const char *what)
{
	sim_end(v->e, VM_EXIT_ENGINE, v->id, sim_current_rip(v), "Unicorn: %s", what);
}

/* A write to a verified copy is dropped, its instruction executed all the same. */
static void drop_write(struct sim_vcpu *v, struct sim_space *s)
{
	struct sim_region *r;
	struct cpu_event ev;
	uint64_t gva = s->stop_gva;

	if (!sim_space_find(s, gva) && sim_mmu_data(s, gva, false, false, &ev) != MMU_DONE) {
		sim_unicorn_failed(v, "a verified page cannot be mapped");
		return;
	}
	r = sim_space_find(s, gva);
	sim_touch(v, r->gpa + (gva - r->gva), s->stop_rip);
	if (r->flags & REGION_SCRATCH || !sim_mmu_scratch(s, gva)) {
		sim_unicorn_failed(v, "a verified page cannot be shielded");
		return;
	}
	sim_step(v, s);
	r = sim_space_find(s, gva);
	if (r && (r->flags & REGION_SCRATCH))
		sim_space_drop_range(s, gva & SIM_PAGE_MASK, SIM_PAGE);
}

static void code_write(struct sim_vcpu *v, struct sim_space *s)
{
	struct sim_region *r = sim_space_find(s, s->stop_gva);
	uint64_t gpa = r->gpa + (s->stop_gva - r->gva);

	/* An instruction that writes to its own page must be the last of its block. */
	if (v->e->code[gpa / SIM_PAGE] < SIM_CODE_WRITES && sim_runs_in_frame(s, s->stop_rip, gpa))
		sim_step(v, s);
	else
		sim_mmu_wrote(v->e, gpa, s->stop_size);
}

static void data_stop(struct sim_vcpu *v, struct sim_space *s)
{
	struct cpu_event ev;

	switch (sim_mmu_data(s, s->stop_gva, s->stop_write, false, &ev)) {
	case MMU_DONE: break;
	case MMU_FAULT: sim_deliver(v, &ev); break;
	case MMU_CODE:
		sim_enter(v, s);
		code_write(v, s);
		break;
	case MMU_DROP:
		sim_enter(v, s);
		drop_write(v, s);
		break;
	default: sim_unicorn_failed(v, "a page cannot be mapped"); break;
	}
}

/*
 * A branch to an address that is not canonical has been carried out by Unicorn; a CPU refuses it
 * where it stands (AMD64 manual volume 3, JMP, CALL, RET): RIP and RSP go back there.
 */
static void undo_branch(struct sim_vcpu *v, struct sim_space *s)
{
	uint64_t rip, rsp = 0;
	int64_t pushed;

	if (v->live != s || !s->block || !sim_insn_last_branch(s, s->block, &rip, &pushed))
		return;
	uc_reg_read(s->uc, UC_X86_REG_RSP, &rsp);
	rsp += (uint64_t)pushed;
	uc_reg_write(s->uc, UC_X86_REG_RSP, &rsp);
	uc_reg_write(s->uc, UC_X86_REG_RIP, &rip);
}

static void fetch_stop(struct sim_vcpu *v, struct sim_space *s)
{
	struct cpu_event ev;

	switch (sim_mmu_fetch(s, s->stop_gva, &ev)) {
	case MMU_DONE: break;
	case MMU_FAULT:
		if (!cpu_canonical(s->stop_gva))
			undo_branch(v, s);
		sim_deliver(v, &ev);
		break;
	case MMU_REFUSED:
		sim_tick(v->e, SIM_EVENT_BYTES);
		sim_cross_fetch(v);
		break;
	default: sim_unicorn_failed(v, "a page of code cannot be mapped"); break;
	}
}

static void vector_stop(struct sim_vcpu *v, struct sim_space *s)
{
	uint32_t with_error = 1u << EXC_DF | 1u << EXC_TS | 1u << EXC_NP | 1u << EXC_SS |
			      1u << EXC_GP | 1u << EXC_PF | 1u << 17;
	unsigned i;

	if (s->stop_vector > 31) {
		sim_unicorn_failed(v, "an exception that no CPU has");
		return;
	}
	sim_save(v);
	for (i = 0; i < sim_layout.nresidue; i++)
		memcpy(v->blob + sim_layout.residue[i], sim_layout.clean + sim_layout.residue[i],
		       4);
	if (s->stop_vector == EXC_DB)
		v->sys.dr[6] |= 0x4000;
	/* Unicorn does not tell error codes: 0. */
	sim_exception(v, (uint8_t)s->stop_vector, with_error >> s->stop_vector & 1, 0);
}

/* Unicorn came back by itself. */
static void stray_stop(struct sim_vcpu *v, struct sim_space *s, uc_err err)
{
	struct cpu_event ev;

	/* Address 0 is where Unicorn is told to stop: it is no code for us. */
	if (err == UC_ERR_OK && !s->stop_rip && sim_mmu_fetch(s, 0, &ev) == MMU_FAULT)
		sim_deliver(v, &ev);
	else
		sim_unicorn_failed(v, err == UC_ERR_OK ? "stopped by itself" : uc_strerror(err));
}

void sim_handle(struct sim_vcpu *v, struct sim_space *s, uc_err err)
{
	if (v->e->ended)
		return;
	switch (s->stop) {
	case STOP_SLICE:
	case STOP_STEPPED: break;
	case STOP_INSN:
		sim_save(v);
		sim_emulate(v, s);
		break;
	case STOP_FETCH: fetch_stop(v, s); break;
	case STOP_DATA: data_stop(v, s); break;
	case STOP_VECTOR: vector_stop(v, s); break;
	case STOP_UD:
		if (sim_insn_too_long(s, s->stop_rip))
			sim_exception(v, EXC_GP, true, 0);
		else
			sim_exception(v, EXC_UD, false, 0);
		break;
	case STOP_NONE: stray_stop(v, s, err); break;
	}
}
