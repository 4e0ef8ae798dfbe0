/* SPDX-License-Identifier: GPL-2.0-only */
/* Conditions, set up by what a guest could do: registers and page-table entries. */
#include "tests/support/conditions.h"

#include <stdlib.h>

uint64_t cond_slot(void)
{
	return w_stack_top(0) - 2 * GM_PAGE + COND_SLOT_OFFSET;
}

void cond_mode(struct guard_cpu *c, unsigned bits)
{
	if (bits & 1)
		c->cpl = 3;
	if (bits & 2)
		c->mode &= (uint8_t)~GUARD_MODE_64;
	if (bits & 4)
		c->mode |= GUARD_MODE_NESTED;
	if (bits & 8)
		c->mode |= GUARD_MODE_SMM;
	if (bits & 0x10)
		c->cr0 &= ~1ull; /* PE */
	if (bits & 0x20)
		c->cr0 &= ~(1ull << 31); /* PG */
	if (bits & 0x40)
		c->cr0 &= ~(1ull << 16); /* WP */
	if (bits & 0x80)
		c->cr4 &= ~(1ull << 5); /* PAE */
	if (bits & 0x100)
		c->cr4 &= ~(1ull << 20); /* SMEP */
	if (bits & 0x200)
		c->cr4 &= ~(1ull << 21); /* SMAP */
	if (bits & 0x400)
		c->efer &= ~(1ull << 10); /* LMA */
	if (bits & 0x800)
		c->efer &= ~(1ull << 11); /* NXE */
}

void cond_flags(struct guard_cpu *c, unsigned bits)
{
	c->rflags |= bits & 1 ? 1ull << 8 : 0;	/* TF */
	c->rflags |= bits & 2 ? 1ull << 10 : 0; /* DF */
	c->rflags |= bits & 4 ? 1ull << 14 : 0; /* NT */
	c->rflags |= bits & 8 ? 1ull << 18 : 0; /* AC */
}

void cond_remap(struct world *w, uint64_t gva, uint64_t entry, struct cond_undo *u)
{
	uint64_t *pte = fake_pte(w->vmm, w->cr3, gva);

	if (!pte || u->n == sizeof(u->edit) / sizeof(u->edit[0]))
		abort();
	u->edit[u->n].pte = pte;
	u->edit[u->n].old = *pte;
	u->n++;
	*pte = entry;
}

void cond_undo(struct cond_undo *u)
{
	while (u->n) {
		u->n--;
		*u->edit[u->n].pte = u->edit[u->n].old;
	}
}

void cond_mapping(struct world *w, struct wmodule *m, unsigned bits, struct cond_undo *u)
{
	const uint64_t spare = 0x10000; /* below the frames that are handed out */

	if (bits & 1)
		cond_remap(w, w_seg(m, SEG_TEXT, 0x1000), spare | PTE_P | PTE_W, u);
	if (bits & 2)
		cond_remap(w, w_seg(m, SEG_GATES, 0), 0, u);
	if (bits & 4)
		cond_remap(w, w_seg(m, SEG_RODATA, 0), spare | PTE_P | PTE_W, u);
	if (bits & 8)
		cond_remap(w, w_seg(m, SEG_DATA, 0), (spare + GM_PAGE) | PTE_P | PTE_W, u);
	if (bits & 0x10)
		cond_remap(w, w_seg(m, SEG_PRIVATE, GM_PAGE), spare | PTE_P | PTE_W, u);
	if (bits & 0x20)
		cond_remap(w, w_seg(m, SEG_INIT, 0), 0, u);
}

bool cond_stack_is_bad(enum cond_stack kind)
{
	return kind != STACK_GOOD && kind < STACK_FIRST_GOOD;
}

static uint64_t frame_of(struct world *w, uint64_t gva)
{
	return fake_walk(w->vmm, w->cr3, gva & ~0xfffull).gpa;
}

void cond_stack(struct world *w, struct wmodule *m, enum cond_stack kind, struct cond_undo *u)
{
	uint64_t *rsp = &w->cpu[0].gpr[GUARD_RSP], page = cond_slot() & ~0xfffull;
	uint64_t own = frame_of(w, page), rw = PTE_P | PTE_W;
	uint64_t private = frame_of(w, w_seg(m, SEG_PRIVATE, 0));
	uint64_t device = m->binding.resource[PRIV_DEVICE].base;

	*rsp = cond_slot();
	switch (kind) {
	case STACK_NOT_CANONICAL: *rsp = 0x0000900000000100ull; break;
	case STACK_USER_HALF: *rsp = 0x00007fff00000100ull; break;
	case STACK_UNALIGNED: *rsp += 4; break;
	case STACK_UNMAPPED: cond_remap(w, page, 0, u); break;
	case STACK_READ_ONLY: cond_remap(w, page, own | PTE_P, u); break;
	case STACK_USER_PAGE: cond_remap(w, page, own | rw | PTE_U, u); break;
	case STACK_MMIO: cond_remap(w, page, (FAKE_MMIO + 0x800000) | rw, u); break;
	case STACK_BOUND_DEVICE: cond_remap(w, page, device | rw, u); break;
	case STACK_ON_DATA: cond_remap(w, page, frame_of(w, w_seg(m, SEG_DATA, 0)) | rw, u); break;
	case STACK_ON_TEXT: cond_remap(w, page, frame_of(w, w_seg(m, SEG_TEXT, 0)) | rw, u); break;
	case STACK_ON_GATES:
		cond_remap(w, page, frame_of(w, w_seg(m, SEG_GATES, 0)) | rw, u);
		break;
	case STACK_ON_PRIVATE: cond_remap(w, page, private | rw, u); break;
	case STACK_HEADROOM_UNMAPPED: cond_remap(w, page - GM_PAGE, 0, u); break;
	case STACK_HEADROOM_READ_ONLY:
		cond_remap(w, page - GM_PAGE, frame_of(w, page - GM_PAGE) | PTE_P, u);
		break;
	case STACK_HEADROOM_DATA:
		cond_remap(w, page - GM_PAGE, frame_of(w, w_seg(m, SEG_DATA, 0)) | rw, u);
		break;
	case STACK_BELOW_PRIVATE: cond_remap(w, page - 2 * GM_PAGE, private | rw, u); break;
	case STACK_BELOW_DEVICE: cond_remap(w, page - 3 * GM_PAGE, device | rw, u); break;
	case STACK_LOWEST_PRIVATE: cond_remap(w, page - 4 * GM_PAGE, private | rw, u); break;
	case STACK_OVERLAP:
		cond_remap(w, page, frame_of(w, w_stack_top(1) - 2 * GM_PAGE) | rw, u);
		break;
	case STACK_HOLE_THEN_PRIVATE:
		cond_remap(w, page - 2 * GM_PAGE, 0, u);
		cond_remap(w, page - 3 * GM_PAGE, private | rw, u);
		break;
	case STACK_BEYOND_16K_PRIVATE: cond_remap(w, page - 5 * GM_PAGE, private | rw, u); break;
	case STACK_BELOW_DATA:
		cond_remap(w, page - 2 * GM_PAGE, frame_of(w, w_seg(m, SEG_DATA, 0)) | rw, u);
		break;
	case STACK_BELOW_READ_ONLY:
		cond_remap(w, page - 2 * GM_PAGE, frame_of(w, page - 2 * GM_PAGE) | PTE_P, u);
		break;
	default: break;
	}
}

void cond_run_vcpu1(struct world *w, struct wmodule *m)
{
	w_thread(w, 1, 1);
	w->cpu[1].gpr[GUARD_RSP] = w_stack_top(1) - 2 * GM_PAGE + COND_SLOT_OFFSET + 8;
	if (w_enter(w, 1, m, FN_G) != GUARD_V_OK)
		abort();
}
