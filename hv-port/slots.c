/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Views as memory slots. For the vCPU that is to run, the guest's memory is walked by vm_page(); what
 * differs from the slots that are set is deleted, then added (a slot's memory cannot be exchanged).
 *
 *                                    in U               in P(m)
 *   ordinary RAM                     slot               the same slot: no execute control here
 *   m's text, constants              none (see below)   verified copy, read-only
 *   m's gates                        guest's frame      verified copy, read-only
 *   m's private memory               none               the private page
 *   frames whose writes are watched  read-only slot     read-only slot
 *   other modules' text              none               none
 *   devices, stand-ins, holes        none               none
 *
 * No slot: a fetch is an emulation failure with exact RIP, a data access an MMIO exit, which is
 * answered from the frame if the view does have it. Stand-ins and devices need that anyway.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hv-port/kvm.h"

bool kv_slots_create(struct engine *e, struct error *err)
{
	struct kv_slots *s = &e->slots;
	int n = ioctl(e->fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
	unsigned i;

	/* Bounded: a guest decides how scattered the frames of its modules are. */
	s->limit = n <= 0 ? 32 : n > 4096 ? 4096 : (unsigned)n;
	s->room = s->limit;
	s->now = calloc(s->room, sizeof(*s->now));
	s->want = calloc(s->room, sizeof(*s->want));
	s->free = calloc(s->limit, sizeof(*s->free));
	if (!s->now || !s->want || !s->free)
		return error_set(err, "out of memory");
	for (i = 0; i < s->limit; i++)
		s->free[i] = s->limit - 1 - i;
	s->nfree = s->limit;
	s->stale = true;
	return true;
}

void kv_slots_destroy(struct engine *e)
{
	free(e->slots.now);
	free(e->slots.want);
	free(e->slots.free);
}

static bool set_slot(struct engine *e, const struct kv_slot *s, bool present)
{
	struct kvm_userspace_memory_region r = {
		.slot = s->id,
		.flags = present && s->readonly ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = s->gpa,
		.memory_size = present ? s->bytes : 0,
		.userspace_addr = (uint64_t)(uintptr_t)s->host,
	};

	return !ioctl(e->fd, KVM_SET_USER_MEMORY_REGION, &r);
}

/* Does this page have a slot in the view? */
static bool wanted(struct kv_vcpu *v, uint64_t gpa, const struct engine_page *p)
{
	struct engine_page u;

	if (p->kind != ENGINE_PAGE_RAM)
		return false;
	if ((p->flags & ENGINE_PAGE_EXEC) || !(p->flags & ENGINE_PAGE_GUEST))
		return true;
	if (v->view == GUARD_VIEW_U)
		return false;
	/* Inside, guest RAM must be readable at full speed; KVM then lets it be executed too. */
	vm_page(v->e->vm, v->id, GUARD_VIEW_U, gpa, &u);
	return u.kind == ENGINE_PAGE_RAM && (u.flags & ENGINE_PAGE_EXEC);
}

/* Single pages join if they are alike; whole runs stay apart, so that every view has the same. */
static bool joins(const struct kv_slot *a, bool a_single, const struct kv_slot *b, bool b_single)
{
	return a_single && b_single && a->gpa + a->bytes == b->gpa &&
	       a->host + a->bytes == b->host && a->readonly == b->readonly;
}

/* Fills slots.want. false: too many. */
static bool plan(struct kv_vcpu *v)
{
	struct engine *e = v->e;
	struct kv_slots *s = &e->slots;
	bool single = false;
	uint64_t gpa = 0;

	s->nwant = 0;
	while (gpa < e->ram_size) {
		struct engine_page p;
		struct kv_slot slot;

		vm_page(e->vm, v->id, v->view, gpa, &p);
		if (p.pages > (e->ram_size - gpa) / KV_PAGE)
			p.pages = (e->ram_size - gpa) / KV_PAGE;
		slot.gpa = gpa;
		slot.bytes = p.pages * KV_PAGE;
		slot.host = p.host;
		slot.readonly = !(p.flags & ENGINE_PAGE_WRITE) || (p.flags & ENGINE_PAGE_TRACKED);
		slot.id = 0;
		gpa += slot.bytes;
		if (!wanted(v, slot.gpa, &p)) {
			single = false;
			continue;
		}
		if (s->nwant && joins(&s->want[s->nwant - 1], single, &slot, p.pages == 1)) {
			s->want[s->nwant - 1].bytes += slot.bytes;
			continue;
		}
		if (s->nwant == s->room)
			return false;
		single = p.pages == 1;
		s->want[s->nwant++] = slot;
	}
	return true;
}

static bool same(const struct kv_slot *a, const struct kv_slot *b)
{
	return a->gpa == b->gpa && a->bytes == b->bytes && a->host == b->host &&
	       a->readonly == b->readonly;
}

/* Deletes what is not wanted any more; what stays gives its id to its twin in `want`. */
static bool delete_old(struct engine *e)
{
	struct kv_slots *s = &e->slots;
	unsigned i, k = 0;

	for (i = 0; i < s->nwant; i++)
		s->want[i].id = UINT32_MAX;
	for (i = 0; i < s->nnow; i++) {
		while (k < s->nwant && s->want[k].gpa < s->now[i].gpa)
			k++;
		if (k < s->nwant && same(&s->want[k], &s->now[i]) && !(s->flush && i == 0)) {
			s->want[k].id = s->now[i].id;
			continue;
		}
		if (!set_slot(e, &s->now[i], false))
			return false;
		s->free[s->nfree++] = s->now[i].id;
	}
	return true;
}

static bool add_new(struct engine *e)
{
	struct kv_slots *s = &e->slots;
	struct kv_slot *list;
	unsigned i;

	for (i = 0; i < s->nwant; i++) {
		if (s->want[i].id != UINT32_MAX)
			continue;
		s->want[i].id = s->free[--s->nfree];
		if (!set_slot(e, &s->want[i], true))
			return false;
	}
	list = s->now;
	s->now = s->want;
	s->want = list;
	s->nnow = s->nwant;
	return true;
}

bool kv_slots_show(struct kv_vcpu *v)
{
	struct engine *e = v->e;
	struct kv_slots *s = &e->slots;

	if (!s->stale && !s->flush && s->view == v->view &&
	    (v->view == GUARD_VIEW_U || s->vcpu == v->id))
		return true;
	if (!plan(v)) {
		kv_end(e, VM_EXIT_ENGINE, v->id, kv_rip(v),
		       "KVM: this view needs more than %u memory slots", s->limit);
		return false;
	}
	if (!delete_old(e) || !add_new(e)) {
		kv_end(e, VM_EXIT_ENGINE, v->id, kv_rip(v), "KVM: memory slots: %s",
		       strerror(errno));
		return false;
	}
	s->stale = s->flush = false;
	s->view = v->view;
	s->vcpu = v->id;
	return true;
}
