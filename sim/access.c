/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory that the CPU itself accesses to deliver an event: IDT, GDT, TSS, stacks. Always as an
 * implicit supervisor access in view U (guarantee G3): private memory and bound devices answer
 * with their stand-ins and a TOUCH, whatever ran a moment ago.
 */
#include <string.h>

#include "sim/sim.h"

/* The page under gva in view U. */
static bool resolve(struct sim_vcpu *v, uint64_t gva, bool write, uint64_t *gpa,
		    struct engine_page *page, struct cpu_event *ev)
{
	struct guard_cpu cpu = { .cr0 = v->cr0, .cr3 = v->cr3, .cr4 = v->cr4, .efer = v->efer };
	struct engine_walk w;

	if (!cpu_canonical(gva)) {
		cpu_fault(ev, EXC_GP, 0);
		return false;
	}
	if (!vm_walk(v->e->vm, &cpu, gva, ENGINE_WALK_IMPLICIT | (write ? ENGINE_WALK_WRITE : 0),
		     &w)) {
		cpu_fault(ev, EXC_PF, w.error);
		ev->cr2 = gva;
		return false;
	}
	*gpa = w.gpa;
	vm_page(v->e->vm, v->id, GUARD_VIEW_U, w.gpa & SIM_PAGE_MASK, page);
	if (v->e->watched)
		vm_watch_implicit(v->e->vm, v->id, w.gpa & SIM_PAGE_MASK, page);
	if (write && page->kind == ENGINE_PAGE_RAM && (page->flags & ENGINE_PAGE_TRACKED))
		vm_frame_written(v->e->vm, w.gpa & SIM_PAGE_MASK);
	return true;
}

static unsigned in_page(uint64_t gva, unsigned len)
{
	uint64_t left = SIM_PAGE - gva % SIM_PAGE;

	return left < len ? (unsigned)left : len;
}

bool sim_read_u(struct sim_vcpu *v, uint64_t gva, void *buf, unsigned len, struct cpu_event *ev)
{
	uint8_t *to = buf;

	while (len) {
		unsigned n = in_page(gva, len), i;
		struct engine_page page;
		uint64_t gpa;

		if (!resolve(v, gva, false, &gpa, &page, ev))
			return false;
		switch (page.kind) {
		case ENGINE_PAGE_RAM: memcpy(to, page.host + gpa % SIM_PAGE, n); break;
		case ENGINE_PAGE_DEVICE:
			for (i = 0; i < n; i++)
				to[i] = (uint8_t)vm_mmio_read(v->e->vm, v->id, gpa + i, 1);
			break;
		case ENGINE_PAGE_ZEROS:
			memset(to, 0, n);
			sim_touch(v, gpa, sim_current_rip(v));
			break;
		case ENGINE_PAGE_ONES:
			memset(to, 0xff, n);
			sim_touch(v, gpa, sim_current_rip(v));
			break;
		case ENGINE_PAGE_HOLE: memset(to, 0xff, n); break;
		}
		gva += n;
		to += n;
		len -= n;
	}
	return true;
}

bool sim_write_u(struct sim_vcpu *v, uint64_t gva, const void *buf, unsigned len,
		 struct cpu_event *ev)
{
	const uint8_t *from = buf;

	while (len) {
		unsigned n = in_page(gva, len), i;
		struct engine_page page;
		uint64_t gpa;

		if (!resolve(v, gva, true, &gpa, &page, ev))
			return false;
		switch (page.kind) {
		case ENGINE_PAGE_RAM:
			if (!(page.flags & ENGINE_PAGE_WRITE)) {
				sim_touch(v, gpa, sim_current_rip(v));
				break;
			}
			memcpy(page.host + gpa % SIM_PAGE, from, n);
			if (page.flags & ENGINE_PAGE_GUEST)
				sim_mmu_wrote(v->e, gpa, n);
			break;
		case ENGINE_PAGE_DEVICE:
			for (i = 0; i < n; i++)
				vm_mmio_write(v->e->vm, v->id, gpa + i, 1, from[i]);
			break;
		case ENGINE_PAGE_ZEROS:
		case ENGINE_PAGE_ONES: sim_touch(v, gpa, sim_current_rip(v)); break;
		case ENGINE_PAGE_HOLE: break;
		}
		gva += n;
		from += n;
		len -= n;
	}
	return true;
}
