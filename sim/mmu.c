/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The shadow MMU: guest tables and the view's pages become regions of a space.
 *
 * A region is made when an access misses, from a walk of the guest's tables (vm_walk) and from what
 * the view has there (vm_page), for as many pages around as are alike. It stays until the guest
 * flushes or the view changes, as a TLB entry may: rights that the tables gain are seen at once
 * (the miss walks again), rights that they lose when the guest flushes.
 *
 * Code. Unicorn keeps translated blocks and does not see writes through another address or another
 * instance. So a guest frame that was fetched from is *code*: no region maps it writable, and each
 * write to it comes through a hook, which drops the translations of those bytes everywhere. A frame
 * that is written often becomes data again until the next fetch.
 */
#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"

#define WINDOW_LARGE 0x40000ull /* regions stay inside of aligned windows of this size */
#define WINDOW_SMALL 0x10000ull

static void walk_cpu(struct sim_vcpu *v, struct guard_cpu *cpu)
{
	cpu->cr0 = v->cr0;
	cpu->cr3 = v->cr3;
	cpu->cr4 = v->cr4;
	cpu->efer = v->efer;
	cpu->rflags = v->cr4 & CR4_SMAP ? sim_rflags(v) : 0;
}

/* #GP(0), or #SS(0) if the address comes from the stack (AMD64 manual volume 2, 8.2.14). */
static enum sim_mmu not_canonical(struct sim_space *s, struct cpu_event *ev)
{
	memset(ev, 0, sizeof(*ev));
	ev->vector = EXC_GP;
	if (s->stop_rip && sim_insn_uses_stack(s, s->stop_rip))
		ev->vector = EXC_SS;
	ev->has_error = true;
	ev->cause = GUARD_CAUSE_EXCEPTION;
	return MMU_FAULT;
}

static enum sim_mmu page_fault(uint64_t gva, uint32_t error, struct cpu_event *ev)
{
	memset(ev, 0, sizeof(*ev));
	ev->vector = EXC_PF;
	ev->has_error = true;
	ev->error = error;
	ev->cr2 = gva;
	ev->cause = GUARD_CAUSE_EXCEPTION;
	return MMU_FAULT;
}

bool sim_mmu_is_code(const struct engine *e, uint64_t gpa)
{
	return gpa / SIM_PAGE < e->nframes && e->code[gpa / SIM_PAGE];
}

/* Is the page at gva + delta like the first one, and next to it in guest and host memory? */
struct like {
	struct sim_vcpu *v;
	uint8_t view;
	uint64_t gva, gpa;
	uint32_t access;
	struct engine_walk walk;
	struct engine_page page;
	struct guard_cpu cpu;
	bool code, dirty_matters;
};

static bool alike(struct like *l, uint64_t gva)
{
	uint64_t delta = gva - l->gva, leaf = l->walk.page_bytes;
	struct engine_walk w;
	struct engine_page p;

	if (leaf == SIM_PAGE || (gva & ~(leaf - 1)) != (l->gva & ~(leaf - 1))) {
		if (!vm_walk(l->v->e->vm, &l->cpu, gva, l->access & ~ENGINE_WALK_WRITE, &w) ||
		    w.gpa != l->gpa + delta || w.page_bytes != leaf || w.write != l->walk.write ||
		    w.user != l->walk.user || (l->dirty_matters && !w.dirty))
			return false;
	}
	vm_page(l->v->e->vm, l->v->id, l->view, l->gpa + delta, &p);
	if (p.kind != l->page.kind || p.flags != l->page.flags)
		return false;
	if (p.kind == ENGINE_PAGE_RAM && p.host - l->page.host != (int64_t)delta)
		return false;
	return !(p.flags & ENGINE_PAGE_GUEST) ||
	       sim_mmu_is_code(l->v->e, l->gpa + delta) == l->code;
}

/* Extends r, one page so far, within its window and between its neighbours. */
static void extend(struct sim_space *s, struct like *l, struct sim_region *r)
{
	uint64_t window = l->walk.page_bytes == SIM_PAGE ? WINDOW_SMALL : WINDOW_LARGE;
	uint64_t low = r->gva & ~(window - 1), high = low + (window - 1);
	unsigned at = sim_space_at(s, r->gva);
	uint64_t first = r->gva, last = r->gva;

	if (at > 0) {
		uint64_t end = s->region[at - 1].gva + s->region[at - 1].bytes;

		if (end > low)
			low = end;
	}
	if (at < s->nregions && s->region[at].gva - 1 < high)
		high = s->region[at].gva - 1;
	while (first > low && alike(l, first - SIM_PAGE))
		first -= SIM_PAGE;
	while (high - last >= SIM_PAGE && last + (SIM_PAGE - 1) < high && alike(l, last + SIM_PAGE))
		last += SIM_PAGE;
	r->gpa -= r->gva - first;
	if (r->host)
		r->host -= r->gva - first;
	r->bytes = last - first + SIM_PAGE;
	r->gva = first;
}

/* Adds r. A full space starts over, if nothing runs in it. */
static enum sim_mmu add(struct sim_space *s, struct sim_region *r, bool in_hook)
{
	if (s->nregions == SIM_MAX_REGIONS) {
		if (in_hook)
			return MMU_LATER;
		sim_space_clear(s);
	}
	if (r->flags & REGION_MMIO) {
		struct sim_mmio *m = calloc(1, sizeof(*m));

		if (!m)
			return MMU_LATER;
		*m = *r->mmio;
		m->gva = r->gva;
		m->gpa = r->gpa;
		r->mmio = m;
	}
	if (sim_space_map(s, r))
		return MMU_DONE;
	if (r->flags & REGION_MMIO)
		free(r->mmio);
	return MMU_LATER;
}

enum sim_mmu sim_mmu_data(struct sim_space *s, uint64_t gva, bool write, bool in_hook,
			  struct cpu_event *ev)
{
	struct sim_vcpu *v = s->vcpu;
	struct vm *vm = v->e->vm;
	struct sim_region *old, r;
	struct sim_mmio mmio;
	struct like l = { 0 };

	if (!cpu_canonical(gva))
		return not_canonical(s, ev);
	l.v = v;
	l.view = s->view;
	l.access = (s->user ? ENGINE_WALK_USER : 0) | (write ? ENGINE_WALK_WRITE : 0);
	walk_cpu(v, &l.cpu);
	if (!vm_walk(vm, &l.cpu, gva, l.access, &l.walk))
		return page_fault(gva, l.walk.error, ev);
	l.gva = gva & SIM_PAGE_MASK;
	l.gpa = l.walk.gpa & SIM_PAGE_MASK;
	vm_page(vm, v->id, s->view, l.gpa, &l.page);
	if (write && l.page.kind == ENGINE_PAGE_RAM && (l.page.flags & ENGINE_PAGE_TRACKED)) {
		vm_frame_written(vm, l.gpa);
		vm_page(vm, v->id, s->view, l.gpa, &l.page);
	}
	l.code = (l.page.flags & ENGINE_PAGE_GUEST) && sim_mmu_is_code(v->e, l.gpa);
	if (write && l.page.kind == ENGINE_PAGE_RAM) {
		if (!(l.page.flags & ENGINE_PAGE_WRITE))
			return MMU_DROP;
		if (l.code) {
			old = sim_space_find(s, gva);
			if (old)
				return MMU_CODE;
		}
	}
	old = sim_space_find(s, gva);
	if (old && in_hook)
		return MMU_LATER; /* rights grew: the region must go first */
	if (old)
		sim_space_drop_range(s, l.gva, SIM_PAGE);
	memset(&r, 0, sizeof(r));
	r.gva = l.gva;
	r.gpa = l.gpa;
	r.bytes = SIM_PAGE;
	r.page_bytes = l.walk.page_bytes;
	if (l.walk.user && !s->user) {
		r.flags = REGION_USER;
		v->user_open = true;
	}
	if (l.page.kind == ENGINE_PAGE_RAM) {
		bool open = (l.page.flags & ENGINE_PAGE_WRITE) && !l.code &&
			    !(l.page.flags & ENGINE_PAGE_TRACKED);

		/* A page becomes writable here when its D bit is set, as in a TLB. */
		l.dirty_matters = open && l.walk.dirty && (write || l.walk.write);
		r.prot = UC_PROT_READ | (l.dirty_matters ? UC_PROT_WRITE : 0);
		r.host = l.page.host;
		if (l.page.flags & ENGINE_PAGE_GUEST)
			r.flags |= REGION_GUEST;
	} else {
		l.dirty_matters = write || (l.walk.write && l.walk.dirty);
		mmio.space = s;
		mmio.kind = l.page.kind;
		mmio.write = l.dirty_matters;
		r.prot = UC_PROT_READ | UC_PROT_WRITE;
		r.flags |= REGION_MMIO;
		r.mmio = &mmio;
	}
	extend(s, &l, &r);
	return add(s, &r, in_hook);
}

bool sim_mmu_holds(struct sim_space *s, const struct sim_region *r)
{
	uint32_t access =
		ENGINE_WALK_PEEK | (s->user ? ENGINE_WALK_USER : 0) |
		(r->prot & UC_PROT_WRITE && !(r->flags & REGION_MMIO) ? ENGINE_WALK_WRITE : 0) |
		(r->prot & UC_PROT_EXEC ? ENGINE_WALK_FETCH : 0);
	struct engine_walk w;
	struct guard_cpu cpu;

	walk_cpu(s->vcpu, &cpu);
	for (uint64_t off = 0; off < r->bytes; off += SIM_PAGE)
		if (!vm_walk(s->vcpu->e->vm, &cpu, r->gva + off, access, &w) ||
		    w.gpa != r->gpa + off || w.page_bytes != r->page_bytes ||
		    (!s->user && w.user != !!(r->flags & REGION_USER)) ||
		    (access & ENGINE_WALK_WRITE && !w.dirty) ||
		    (r->flags & REGION_MMIO && w.write != r->mmio->write))
			return false;
	return true;
}

/* The frame is fetched from from now on: no space may write to it unseen. */
static void becomes_code(struct engine *e, uint64_t gpa)
{
	unsigned i, k;

	if (gpa / SIM_PAGE >= e->nframes)
		return;
	if (e->code[gpa / SIM_PAGE]) {
		e->code[gpa / SIM_PAGE] = 1;
		return;
	}
	e->code[gpa / SIM_PAGE] = 1;
	for (i = 0; i < e->nspaces; i++) {
		struct sim_space *s = e->spaces[i];

		for (k = 0; k < s->nregions;) {
			struct sim_region *r = &s->region[k];

			if ((r->flags & REGION_GUEST) && (r->prot & UC_PROT_WRITE) &&
			    gpa - r->gpa < r->bytes)
				sim_space_drop(s, k);
			else
				k++;
		}
	}
}

enum sim_mmu sim_mmu_fetch(struct sim_space *s, uint64_t gva, struct cpu_event *ev)
{
	struct sim_vcpu *v = s->vcpu;
	struct vm *vm = v->e->vm;
	struct sim_region r;
	struct like l = { 0 };
	uint64_t a;

	if (!cpu_canonical(gva)) {
		s->stop_rip = 0;
		return not_canonical(s, ev);
	}
	l.v = v;
	l.view = s->view;
	l.access = (s->user ? ENGINE_WALK_USER : 0) | ENGINE_WALK_FETCH;
	walk_cpu(v, &l.cpu);
	if (!vm_walk(vm, &l.cpu, gva, l.access, &l.walk))
		return page_fault(gva, l.walk.error, ev);
	l.gva = gva & SIM_PAGE_MASK;
	l.gpa = l.walk.gpa & SIM_PAGE_MASK;
	vm_page(vm, v->id, s->view, l.gpa, &l.page);
	if (l.page.kind != ENGINE_PAGE_RAM || !(l.page.flags & ENGINE_PAGE_EXEC))
		return MMU_REFUSED;
	sim_space_drop_range(s, l.gva, SIM_PAGE);
	memset(&r, 0, sizeof(r));
	r.gva = l.gva;
	r.gpa = l.gpa;
	r.bytes = SIM_PAGE;
	r.page_bytes = l.walk.page_bytes;
	r.host = l.page.host;
	r.prot = UC_PROT_READ | UC_PROT_EXEC;
	r.flags = l.page.flags & ENGINE_PAGE_GUEST ? REGION_GUEST : 0;
	/* SMAP: what a supervisor may fetch it may not read, unless AC is set. */
	if (l.walk.user && !s->user && (v->cr4 & CR4_SMAP)) {
		if (l.cpu.rflags & RFLAGS_AC) {
			r.flags |= REGION_USER;
			v->user_open = true;
		} else {
			r.prot = UC_PROT_EXEC;
		}
	}
	l.code = (r.flags & REGION_GUEST) && sim_mmu_is_code(v->e, l.gpa);
	l.dirty_matters = false;
	/* Writable pages may be data: only read-only text is taken in runs. */
	if (!l.walk.write || !(r.flags & REGION_GUEST))
		extend(s, &l, &r);
	if (r.flags & REGION_GUEST)
		for (a = r.gpa; a < r.gpa + r.bytes; a += SIM_PAGE)
			becomes_code(v->e, a);
	return add(s, &r, false);
}

/* Bytes [gpa, gpa + bytes) changed: blocks made from them go; a frame written often is data. */
void sim_mmu_wrote(struct engine *e, uint64_t gpa, uint64_t bytes)
{
	uint64_t frame = gpa / SIM_PAGE;
	unsigned i, k;
	bool again = false;

	if (frame >= e->nframes || !e->code[frame])
		return;
	if (!e->in_hook)
		e->code_written = true;
	if (!e->in_hook && ++e->code[frame] > SIM_CODE_WRITES) {
		e->code[frame] = 0;
		again = true;
	}
	for (i = 0; i < e->nspaces; i++) {
		struct sim_space *s = e->spaces[i];

		for (k = 0; k < s->nregions;) {
			struct sim_region *r = &s->region[k];
			uint64_t low = gpa > r->gpa ? gpa : r->gpa;
			uint64_t high = r->gpa + r->bytes < gpa + bytes ? r->gpa + r->bytes
									: gpa + bytes;

			k++;
			if (!(r->flags & REGION_GUEST) || low >= high)
				continue;
			if (again) {
				sim_space_drop(s, --k);
				continue;
			}
			if (r->prot & UC_PROT_EXEC)
				uc_ctl_remove_cache(s->uc, r->gva + (low - r->gpa),
						    r->gva + (high - r->gpa));
		}
	}
}

/* Puts a copy of the verified page under gva, for one instruction's writes to get lost in. */
bool sim_mmu_scratch(struct sim_space *s, uint64_t gva)
{
	size_t avail;
	const uint8_t *host = sim_space_bytes(s, gva & SIM_PAGE_MASK, &avail);
	struct sim_region *old = sim_space_find(s, gva), r;

	if (!host || !old)
		return false;
	memcpy(s->scratch, host, SIM_PAGE);
	r = *old;
	r.gpa += (gva & SIM_PAGE_MASK) - r.gva;
	r.gva = gva & SIM_PAGE_MASK;
	r.bytes = SIM_PAGE;
	r.host = s->scratch;
	r.behind = host;
	r.flags = REGION_SCRATCH;
	r.prot |= UC_PROT_WRITE;
	sim_space_drop_range(s, r.gva, SIM_PAGE);
	return sim_space_map(s, &r);
}

/* A new CR3, CR0, CR4, EFER: all of the vCPU's translations in all views. */
void sim_mmu_flush(struct sim_vcpu *v)
{
	unsigned i;

	for (i = 0; i < SIM_VIEWS; i++)
		if (v->space[i])
			sim_space_clear(v->space[i]);
}

void sim_mmu_close_user(struct sim_vcpu *v)
{
	unsigned i, k;

	v->user_open = false;
	for (i = 0; i < SIM_VIEWS; i++) {
		struct sim_space *s = v->space[i];

		for (k = 0; s && !s->user && k < s->nregions;) {
			if (s->region[k].flags & REGION_USER)
				sim_space_drop(s, k);
			else
				k++;
		}
	}
}

void sim_mmu_invlpg(struct sim_vcpu *v, uint64_t gva)
{
	unsigned i, k;

	for (i = 0; i < SIM_VIEWS; i++) {
		struct sim_space *s = v->space[i];

		for (k = 0; s && k < s->nregions;) {
			struct sim_region *r = &s->region[k];
			uint64_t low = r->gva & ~(r->page_bytes - 1);
			uint64_t high = r->gva + (r->bytes - 1);

			/* The whole guest page goes, whatever part of it the region shows. */
			high |= r->page_bytes - 1;
			if (gva >= low && gva <= high)
				sim_space_drop(s, k);
			else
				k++;
		}
	}
}
