/* SPDX-License-Identifier: GPL-2.0-only */
/* The operations of vmm/engine.h for Unicorn. */
#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"

static void destroy(struct engine *e)
{
	unsigned i;

	if (!e)
		return;
	for (i = 0; i < e->nspaces; i++)
		sim_space_release(e->spaces[i]);
	for (i = 0; i < e->nvcpus; i++)
		uc_context_free(e->vcpu[i].ctx);
	sim_mark_free(e);
	free(e->code);
	free(e);
}

static uint64_t count_frames(struct vm *vm)
{
	struct engine_page page;
	uint64_t gpa = 0;

	for (;; gpa += page.pages * SIM_PAGE) {
		vm_page(vm, 0, GUARD_VIEW_U, gpa, &page);
		if (page.kind != ENGINE_PAGE_RAM)
			return gpa / SIM_PAGE;
	}
}

static struct engine *create(struct vm *vm, const struct engine_config *cfg, struct error *err)
{
	struct engine *e;
	uc_engine *uc;
	unsigned i;

	if (!sim_layout_find(err))
		return NULL;
	sim_accel_start();
	e = calloc(1, sizeof(*e));
	if (!e) {
		error_set(err, "out of memory");
		return NULL;
	}
	e->vm = vm;
	e->watched = vm_watched(vm);
	e->budget = cfg->budget > UINT64_MAX / SIM_BYTES_PER_TICK
			    ? UINT64_MAX
			    : cfg->budget * SIM_BYTES_PER_TICK;
	sim_reseed(e, cfg->seed);
	e->nframes = count_frames(vm);
	e->code = calloc(e->nframes ? e->nframes : 1, 1);
	if (!e->code || uc_open(UC_ARCH_X86, UC_MODE_64, &uc)) {
		error_set(err, "out of memory");
		destroy(e);
		return NULL;
	}
	for (i = 0; i < cfg->vcpus; i++) {
		struct sim_vcpu *v = &e->vcpu[i];

		v->e = e;
		v->id = i;
		v->view = GUARD_VIEW_U;
		v->state = ENGINE_OFF;
		v->cr0 = 0x80010033;
		v->cr4 = 0x20;
		v->efer = 0xd00;
		e->nvcpus = i + 1;
		if (uc_context_alloc(uc, &v->ctx)) {
			uc_close(uc);
			error_set(err, "out of memory");
			destroy(e);
			return NULL;
		}
		v->blob = (uint8_t *)v->ctx;
		memcpy(v->blob, sim_layout.clean, sim_layout.bytes);
	}
	uc_close(uc);
	return e;
}

static void run(struct engine *e, struct vm_exit *exit)
{
	sim_run(e);
	*exit = e->exit;
}

static void interrupt(struct engine *e)
{
	e->interrupted = 1;
}

static void get_cpu(struct engine *e, unsigned vcpu, struct guard_cpu *cpu)
{
	sim_get_cpu(&e->vcpu[vcpu], cpu);
}

static void set_cpu(struct engine *e, unsigned vcpu, const struct guard_cpu *cpu)
{
	struct sim_vcpu *v = &e->vcpu[vcpu];

	sim_save(v);
	memcpy(sim_gpr(v), cpu->gpr, sizeof(cpu->gpr));
	*sim_rip(v) = cpu->rip;
	sim_set_rflags(v, cpu->rflags);
	if (v->cr0 != cpu->cr0 || v->cr3 != cpu->cr3 || v->cr4 != cpu->cr4 || v->efer != cpu->efer)
		sim_mmu_flush(v);
	v->cr0 = cpu->cr0;
	v->cr3 = cpu->cr3;
	v->cr4 = cpu->cr4;
	v->efer = cpu->efer;
}

static const struct {
	enum sim_segs seg;
	size_t offset;
} segments[] = {
	{ SEG_ES, offsetof(struct engine_sys, es) }, { SEG_CS, offsetof(struct engine_sys, cs) },
	{ SEG_SS, offsetof(struct engine_sys, ss) }, { SEG_DS, offsetof(struct engine_sys, ds) },
	{ SEG_FS, offsetof(struct engine_sys, fs) }, { SEG_GS, offsetof(struct engine_sys, gs) },
};

static void to_engine(const struct sim_seg *s, struct engine_segment *out)
{
	out->base = s->base;
	out->limit = s->limit;
	out->selector = (uint16_t)s->selector;
	out->attr = (uint16_t)((s->flags >> 8 & 0xff) | (s->flags >> 12 & 0xf00));
}

static void from_engine(struct sim_seg *s, const struct engine_segment *in)
{
	s->base = in->base;
	s->limit = in->limit;
	s->selector = in->selector;
	s->pad = 0;
	s->flags = (uint32_t)(in->attr & 0xff) << 8 | (uint32_t)(in->attr & 0xf00) << 12;
}

static void get_sys(struct engine *e, unsigned vcpu, struct engine_sys *sys)
{
	struct sim_vcpu *v = &e->vcpu[vcpu];
	unsigned i;

	if (v->live)
		uc_context_save(v->live->uc, v->ctx);
	*sys = v->sys;
	for (i = 0; i < sizeof(segments) / sizeof(segments[0]); i++)
		to_engine(sim_seg(v, segments[i].seg),
			  (struct engine_segment *)(void *)((char *)sys + segments[i].offset));
	to_engine(sim_table(v, sim_layout.tr), &sys->tr);
	to_engine(sim_table(v, sim_layout.ldt), &sys->ldt);
	sys->gdt.base = sim_table(v, sim_layout.gdt)->base;
	sys->gdt.limit = (uint16_t)sim_table(v, sim_layout.gdt)->limit;
	sys->idt.base = sim_table(v, sim_layout.idt)->base;
	sys->idt.limit = (uint16_t)sim_table(v, sim_layout.idt)->limit;
}

static void set_sys(struct engine *e, unsigned vcpu, const struct engine_sys *sys)
{
	struct sim_vcpu *v = &e->vcpu[vcpu];
	unsigned i;

	sim_save(v);
	v->sys = *sys;
	for (i = 0; i < sizeof(segments) / sizeof(segments[0]); i++)
		from_engine(sim_seg(v, segments[i].seg),
			    (const struct engine_segment *)(const void *)((const char *)sys +
									  segments[i].offset));
	from_engine(sim_table(v, sim_layout.tr), &sys->tr);
	from_engine(sim_table(v, sim_layout.ldt), &sys->ldt);
	sim_table(v, sim_layout.gdt)->base = sys->gdt.base;
	sim_table(v, sim_layout.gdt)->limit = sys->gdt.limit;
	sim_table(v, sim_layout.idt)->base = sys->idt.base;
	sim_table(v, sim_layout.idt)->limit = sys->idt.limit;
	*sim_hflags(v) = (*sim_hflags(v) & ~(HF_CPL | HF_ADDSEG)) | HF_64 | (sys->cs.selector & 3);
}

static enum engine_run_state run_state(struct engine *e, unsigned vcpu)
{
	return e->vcpu[vcpu].state;
}

static void set_run_state(struct engine *e, unsigned vcpu, enum engine_run_state state)
{
	e->vcpu[vcpu].state = state;
	e->vcpu[vcpu].mwait = false;
	e->replan = true;
}

static bool set_view(struct engine *e, unsigned vcpu, uint8_t view, bool dirty)
{
	struct sim_vcpu *v = &e->vcpu[vcpu];

	/*
	 * Nothing to take away going in: DR7 never arms anything here, and the guard accepts no
	 * entry with TF set.
	 */
	v->view = view;
	if (dirty && view < GUARD_MAX_MODULES && v->space[view])
		sim_space_clear(v->space[view]);
	return true;
}

static uint8_t view_of(struct engine *e, unsigned vcpu)
{
	return e->vcpu[vcpu].view;
}

static void invalidate(struct engine *e, uint32_t vcpus, uint64_t gva, uint64_t bytes)
{
	unsigned i, k;

	for (i = 0; i < e->nvcpus; i++) {
		struct sim_vcpu *v = &e->vcpu[i];

		if (!(vcpus >> i & 1))
			continue;
		if (e->in_hook) {
			e->drop_all = true;
			continue;
		}
		if (!bytes)
			sim_mmu_flush(v);
		for (k = 0; bytes && k < SIM_VIEWS; k++)
			if (v->space[k])
				sim_space_drop_range(v->space[k], gva, bytes);
	}
}

static void frames_changed(struct engine *e, uint64_t gpa, uint64_t bytes)
{
	unsigned i;

	/* Within a callback of the running instance: it stops, and all goes before it runs again. */
	if (e->in_hook) {
		e->drop_all = true;
		if (e->entered)
			e->entered->left = 0;
		return;
	}
	for (i = 0; i < e->nspaces; i++)
		sim_space_drop_frames(e->spaces[i], gpa, bytes);
}

static void track(struct engine *e, uint64_t gpa, uint64_t bytes)
{
	frames_changed(e, gpa, bytes);
}

static void raise_vector(struct engine *e, unsigned vcpu, uint8_t vector)
{
	sim_raise_vector(&e->vcpu[vcpu], vector);
}

static uint64_t engine_time(struct engine *e)
{
	return e->clock / SIM_BYTES_PER_TICK;
}

static uint64_t engine_schedule(struct engine *e)
{
	return e->schedule;
}

const struct engine_ops sim_engine = {
	.name = "sim",
	.default_x = GM_X_VMMCALL,
	.create = create,
	.destroy = destroy,
	.run = run,
	.interrupt = interrupt,
	.get_cpu = get_cpu,
	.set_cpu = set_cpu,
	.get_sys = get_sys,
	.set_sys = set_sys,
	.run_state = run_state,
	.set_run_state = set_run_state,
	.set_view = set_view,
	.view = view_of,
	.invalidate = invalidate,
	.frames_changed = frames_changed,
	.track = track,
	.kick = sim_kick,
	.raise_vector = raise_vector,
	.time = engine_time,
	.schedule = engine_schedule,
	.reseed = sim_reseed,
	.set_mark = sim_set_mark,
	.rewind = sim_rewind,
	.recheck = sim_recheck,
};
