/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Unicorn's callbacks. Most only note why they were called and stop: what can change registers,
 * regions or views happens in run.c, outside of uc_emu_start(), at an instruction boundary.
 */
#include <string.h>

#include "sim/sim.h"

/* The slice is used up, or one instruction was to be executed and has been. */
static void slow_block(struct sim_space *s, uint64_t address, uint32_t size)
{
	if (s->stop != STOP_NONE)
		return;
	if (s->stepping && !s->step_begun && address == s->step_rip) {
		s->step_begun = true;
		return;
	}
	if (s->pass && !s->stepping) {
		s->pass = false;
		return;
	}
	s->left += size;
	s->stop = s->stepping ? STOP_STEPPED : STOP_SLICE;
	s->stop_rip = address;
	s->stop_size = size;
	uc_emu_stop(s->uc);
}

static void (*note_block)(uint64_t rip);

void sim_note_blocks(void (*note)(uint64_t rip))
{
	note_block = note;
}

static void on_block(uc_engine *uc, uint64_t address, uint32_t size, void *user)
{
	struct sim_space *s = user;

	(void)uc;
	s->block = address;
	s->left -= size;
	if (__builtin_expect(s->left < 0, 0))
		slow_block(s, address, size);
	if (__builtin_expect(note_block != NULL, 0) && s->stop == STOP_NONE)
		note_block(address);
}

/* Precise mode only: every instruction. */
static void on_every_code(uc_engine *uc, uint64_t address, uint32_t size, void *user)
{
	struct sim_space *s = user;
	uint8_t code[15];
	unsigned n, bytes;

	(void)size;
	if (s->stop != STOP_NONE)
		return;
	s->stop_rip = address;
	if (s->stepping && s->step_code) {
		s->stop = STOP_STEPPED;
		uc_emu_stop(uc);
		return;
	}
	s->step_code = s->stepping;
	n = sim_space_code(s, address, code);
	switch (sim_insn_class_in(s, code, n, &bytes)) {
	case INSN_SENSITIVE:
		sim_space_hook(s, address);
		s->stop = STOP_INSN;
		uc_emu_stop(uc);
		break;
	case INSN_BAD:
		s->stop = STOP_UD;
		uc_emu_stop(uc);
		break;
	default: break;
	}
}

/* RIP of the instruction that accesses memory right now. */
static uint64_t access_rip(struct sim_space *s)
{
	uint64_t rip = 0;

	sim_accel_sync(s);
	uc_reg_read(s->uc, UC_X86_REG_RIP, &rip);
	return rip;
}

/* Stops before the instruction at stop_rip. */
static bool leave(struct sim_space *s)
{
	if (sim_fast)
		sim_accel_leave(s);
	/* Unicorn will still finish the instruction: keep what was before. */
	uc_context_save(s->uc, s->vcpu->ctx);
	s->captured = true;
	uc_emu_stop(s->uc);
	return false;
}

static bool stop_data(struct sim_space *s, uint64_t gva, unsigned size, bool write)
{
	s->stop = STOP_DATA;
	s->stop_gva = gva;
	s->stop_size = size;
	s->stop_write = write;
	s->vcpu->e->in_hook = false;
	return leave(s);
}

static bool in_frame(struct sim_space *s, uint64_t gva, uint64_t gpa)
{
	struct sim_region *r = sim_space_find(s, gva);

	return r && (r->flags & REGION_GUEST) && ((r->gpa + (gva - r->gva)) ^ gpa) < SIM_PAGE;
}

/* Then what follows in the block may be stale. Only insn.c ends blocks where their page does. */
bool sim_runs_in_frame(struct sim_space *s, uint64_t rip, uint64_t gpa)
{
	return in_frame(s, rip, gpa) ||
	       (!sim_fast && in_frame(s, (rip & SIM_PAGE_MASK) + SIM_PAGE, gpa));
}

/*
 * An unaligned store comes as its bytes, each through a hook. Only before the first of them may it
 * be stopped: what is repeated from its beginning (an addition to memory) would be done twice.
 */
static bool begins_store(struct sim_space *s)
{
	uint64_t now = s->vcpu->e->clock + (uint64_t)(s->granted - s->left);
	bool begins = s->store_rip != s->stop_rip || s->store_time != now;

	s->store_rip = s->stop_rip;
	s->store_time = now;
	return begins;
}

/* A write to a frame of code: its translations go, then Unicorn writes. */
static bool code_write(struct sim_space *s, uint64_t gva, unsigned size)
{
	struct engine *e = s->vcpu->e;
	struct sim_region *r = sim_space_find(s, gva);
	uint64_t gpa = r->gpa + (gva - r->gva), page = SIM_PAGE - gva % SIM_PAGE;

	if (!s->stepping && sim_runs_in_frame(s, s->stop_rip, gpa))
		return stop_data(s, gva, size, true);
	if (begins_store(s)) {
		if (e->code[gpa / SIM_PAGE] >= SIM_CODE_WRITES)
			return stop_data(s, gva, size, true);
		e->code[gpa / SIM_PAGE]++;
		e->code_written = true;
	}
	sim_mmu_wrote(e, gpa, size < page ? size : page);
	sim_space_hold_page(s, gva);
	e->in_hook = false;
	return true;
}

static bool on_data(struct sim_space *s, uc_mem_type type, uint64_t gva, unsigned size)
{
	bool write = type == UC_MEM_WRITE_UNMAPPED || type == UC_MEM_WRITE_PROT;
	struct engine *e = s->vcpu->e;
	struct cpu_event ev;

	s->stop_rip = access_rip(s);
	e->in_hook = true;
	switch (sim_mmu_data(s, gva, write, true, &ev)) {
	case MMU_DONE:
		if (e->drop_all)
			return stop_data(s, gva, size, write);
		e->in_hook = false;
		return true;
	case MMU_CODE: return code_write(s, gva, size);
	default:
		/* Work for outside; faults are found again there. */
		return stop_data(s, gva, size, write);
	}
}

/* Can gva's page be written to without stopping again before all bytes are stored? */
static bool store_ready(struct sim_space *s, uint64_t gva, unsigned size)
{
	struct sim_region *r = sim_space_find(s, gva);

	if (r && (r->flags & REGION_MMIO ? r->mmio->write : (r->prot & UC_PROT_WRITE) != 0))
		return true;
	return on_data(s, UC_MEM_WRITE_PROT, gva, size);
}

bool sim_split_store(struct sim_space *s, uint64_t gva, unsigned size)
{
	uint64_t second = (gva & SIM_PAGE_MASK) + SIM_PAGE;

	if (s->stop != STOP_NONE)
		return false;
	return store_ready(s, gva, (unsigned)(second - gva)) &&
	       store_ready(s, second, (unsigned)(gva + size - second));
}

static bool on_invalid_memory(uc_engine *uc, uc_mem_type type, uint64_t gva, int size,
			      int64_t value, void *user)
{
	struct sim_space *s = user;

	(void)value;
	if (!s->vcpu || s->stop != STOP_NONE)
		return false;
	if (type != UC_MEM_FETCH_UNMAPPED && type != UC_MEM_FETCH_PROT)
		return on_data(s, type, gva, (unsigned)size);
	/* While a block is translated; RIP is at its first instruction. */
	uc_reg_read(uc, UC_X86_REG_RIP, &s->stop_rip);
	s->stop = STOP_FETCH;
	s->stop_gva = gva;
	if (sim_fast && s->cpu)
		sim_accel_leave(s);
	return false;
}

void sim_touch(struct sim_vcpu *v, uint64_t gpa, uint64_t rip)
{
	struct sim_space *s = v->live;
	struct guard_decision d;
	struct guard_event ev;

	if (s) {
		uint64_t now = v->e->clock + (uint64_t)(s->granted - s->left);
		bool same =
			s->touch_rip == rip &&
			(s->touch_time == now ||
			 /* A repeated string instruction is one; each of its turns is a block. */
			 (now - s->touch_time < 16 && sim_insn_is_rep(s, rip)));

		s->touch_rip = rip;
		s->touch_time = now;
		if (same)
			return;
	}
	memset(&ev, 0, sizeof(ev));
	ev.type = GUARD_EV_TOUCH;
	ev.vcpu = v->id;
	ev.cause = GUARD_CAUSE_ACCESS;
	ev.gpa = gpa;
	sim_get_cpu(v, &ev.cpu);
	ev.cpu.rip = rip;
	vm_judge(v->e->vm, &ev, &d);
	sim_kick(v->e, d.kick);
	if (d.stop_vm)
		sim_end(v->e, VM_EXIT_STOPPED, v->id, rip, "stopped by the guard");
	if (s && (d.stop_vm || d.kick))
		s->left = 0;
}

uint64_t sim_mmio_read(uc_engine *uc, uint64_t offset, unsigned size, void *user)
{
	struct sim_mmio *m = user;
	struct sim_space *s = m->space;
	struct sim_vcpu *v = s->vcpu;
	uint64_t gpa = m->gpa + offset, value = ~0ull;

	(void)uc;
	if (s->stop != STOP_NONE)
		return 0;
	v->e->in_hook = true;
	switch (m->kind) {
	case ENGINE_PAGE_DEVICE:
		access_rip(s);
		value = vm_mmio_read(v->e->vm, v->id, gpa, size);
		break;
	case ENGINE_PAGE_ZEROS:
		value = 0;
		sim_touch(v, gpa, access_rip(s));
		break;
	case ENGINE_PAGE_ONES: sim_touch(v, gpa, access_rip(s)); break;
	default: break;
	}
	v->e->in_hook = false;
	return size < 8 ? value & ((1ull << 8 * size) - 1) : value;
}

void sim_mmio_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *user)
{
	struct sim_mmio *m = user;
	struct sim_space *s = m->space;
	struct sim_vcpu *v = s->vcpu;
	uint64_t gpa = m->gpa + offset;

	(void)uc;
	if (s->stop != STOP_NONE)
		return;
	if (!m->write) {
		/* The tables did not allow this write when the region was made. */
		s->stop_rip = access_rip(s);
		stop_data(s, m->gva + offset, size, true);
		return;
	}
	v->e->in_hook = true;
	if (m->kind == ENGINE_PAGE_DEVICE) {
		access_rip(s);
		vm_mmio_write(v->e->vm, v->id, gpa, size, value);
	} else if (m->kind != ENGINE_PAGE_HOLE) {
		sim_touch(v, gpa, access_rip(s));
	}
	v->e->in_hook = false;
}

static void on_vector(uc_engine *uc, uint32_t vector, void *user)
{
	struct sim_space *s = user;

	if (s->stop != STOP_NONE)
		return;
	s->stop = STOP_VECTOR;
	s->stop_vector = vector;
	uc_reg_read(uc, UC_X86_REG_RIP, &s->stop_rip);
	uc_emu_stop(uc);
}

static bool on_invalid_insn(uc_engine *uc, void *user)
{
	struct sim_space *s = user;

	if (s->stop == STOP_NONE) {
		s->stop = STOP_UD;
		uc_reg_read(uc, UC_X86_REG_RIP, &s->stop_rip);
	}
	return false;
}

bool sim_hooks_add(struct sim_space *s)
{
	const struct {
		int type;
		void *callback;
	} hook[] = {
		{ UC_HOOK_BLOCK, (void *)on_block },
		{ UC_HOOK_MEM_INVALID, (void *)on_invalid_memory },
		{ UC_HOOK_INTR, (void *)on_vector },
		{ UC_HOOK_INSN_INVALID, (void *)on_invalid_insn },
		{ UC_HOOK_CODE, (void *)on_every_code },
	};
	unsigned i, n = sizeof(hook) / sizeof(hook[0]) - (sim_fast ? 1 : 0);
	uc_hook handle;

	for (i = 0; i < n; i++)
		if (uc_hook_add(s->uc, &handle, hook[i].type, hook[i].callback, s, 1, 0))
			return false;
	return true;
}
