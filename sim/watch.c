/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What this engine tells the oracle, if the VM has one: which view a vCPU enters, every page that
 * an instance can reach, and each instruction that runs in a module's view. View U needs no hook:
 * an instance belongs to one view, so who enters it is known, and so is all that it shows.
 */
#include "sim/sim.h"

static void tell_region(struct sim_space *s, const struct sim_region *r)
{
	enum engine_page_kind kind = r->flags & REGION_MMIO ? r->mmio->kind : ENGINE_PAGE_RAM;
	uint32_t flags = r->prot & UC_PROT_EXEC ? ENGINE_PAGE_EXEC : 0;

	/* a scratch page is nobody's: what is written there is lost */
	if (r->flags & REGION_SCRATCH)
		return;
	if (r->prot & UC_PROT_WRITE)
		flags |= ENGINE_PAGE_WRITE;
	vm_watch_shows(s->vcpu->e->vm, s->vcpu->id, s->view, r->gpa, r->bytes / SIM_PAGE, kind,
		       r->host, flags);
}

void sim_watch_region(struct sim_space *s, const struct sim_region *r)
{
	if (s->vcpu && s->vcpu->e->watched)
		tell_region(s, r);
}

void sim_watch_entry(struct sim_vcpu *v, struct sim_space *s)
{
	uint64_t now = vm_watch_generation(v->e->vm);
	unsigned i;

	vm_watch_runs(v->e->vm, v->id, s->view);
	if (s->watched == now)
		return;
	s->watched = now;
	for (i = 0; i < s->nregions; i++)
		tell_region(s, &s->region[i]);
}

static void on_instruction(uc_engine *uc, uint64_t address, uint32_t size, void *user)
{
	struct sim_space *s = user;
	const struct sim_region *r;
	const uint8_t *code;
	uint64_t rsp = 0;
	size_t avail;

	if (!s->vcpu || (s->stop != STOP_NONE && (s->stop != STOP_INSN || s->stop_rip != address)))
		return;
	/* A single step must do its instruction: then the next boundary is struck. */
	if (!s->stepping && vm_strikes(s->vcpu->e->vm, s->vcpu->id)) {
		s->stop = STOP_SLICE;
		s->stop_rip = address;
		uc_emu_stop(uc);
		return;
	}
	if (s->stop != STOP_NONE)
		return;
	code = sim_space_bytes(s, address, &avail);
	/* an instruction that writes to its own page, and what it writes is dropped */
	r = sim_space_find(s, address);
	if (r && r->flags & REGION_SCRATCH)
		code = r->behind + (address - r->gva);
	if (!code)
		return; /* cannot be: it has just been translated from there */
	uc_reg_read(uc, UC_X86_REG_RSP, &rsp);
	vm_watch_instruction(s->vcpu->e->vm, s->vcpu->id, s->view, address, rsp, s->vcpu->cr3, code,
			     size && size <= 15 ? size : 1);
}

bool sim_watch_add(struct sim_space *s)
{
	return s->view == GUARD_VIEW_U || !s->vcpu->e->watched ||
	       !uc_hook_add(s->uc, &s->watch, UC_HOOK_CODE, (void *)on_instruction, s, 1, 0);
}

void sim_watch_remove(struct sim_space *s)
{
	if (s->watch)
		uc_hook_del(s->uc, s->watch);
	s->watch = 0;
	s->watched = 0;
}
