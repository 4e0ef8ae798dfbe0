/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest memory by guest-virtual address, for what this engine does in the guest's place.
 *
 * Event delivery accesses IDT, GDT, TSS and stacks as an implicit supervisor access in view U
 * (guarantee G3): private memory and bound devices answer with their stand-ins and a TOUCH,
 * whatever ran a moment ago. Instructions that are executed by hand have the view of their vCPU.
 */
#include <string.h>

#include "hv-port/kvm.h"

static bool resolve(struct kv_vcpu *v, uint64_t gva, uint32_t access, uint64_t *gpa,
		    struct cpu_event *ev)
{
	struct engine_walk w;
	struct guard_cpu cpu;

	if (!cpu_canonical(gva)) {
		cpu_fault(ev, EXC_GP, 0);
		return false;
	}
	kv_get_cpu(v, &cpu);
	if (!vm_walk(v->e->vm, &cpu, gva, access, &w)) {
		cpu_fault(ev, EXC_PF, w.error);
		ev->cr2 = gva;
		return false;
	}
	*gpa = w.gpa;
	return true;
}

/* Every call is an access of its own: a TOUCH for each page. */
static bool transfer(struct kv_vcpu *v, uint8_t view, uint32_t access, uint64_t gva, uint8_t *buf,
		     unsigned len, struct cpu_event *ev)
{
	while (len) {
		uint64_t left = KV_PAGE - gva % KV_PAGE, gpa;
		unsigned n = len < left ? len : (unsigned)left;

		if (!resolve(v, gva, access, &gpa, ev))
			return false;
		v->touch.open = false;
		kv_physical(v, view, gpa, buf, n, access & ENGINE_WALK_WRITE);
		v->touch.open = false;
		gva += n;
		buf += n;
		len -= n;
	}
	return true;
}

bool kv_read_u(struct kv_vcpu *v, uint64_t gva, void *buf, unsigned len, struct cpu_event *ev)
{
	return transfer(v, GUARD_VIEW_U, ENGINE_WALK_IMPLICIT, gva, buf, len, ev);
}

bool kv_write_u(struct kv_vcpu *v, uint64_t gva, const void *buf, unsigned len,
		struct cpu_event *ev)
{
	/* The cast is for the shared loop: with WRITE, buf is only read. */
	return transfer(v, GUARD_VIEW_U, ENGINE_WALK_IMPLICIT | ENGINE_WALK_WRITE, gva,
			(uint8_t *)(uintptr_t)buf, len, ev);
}

static uint32_t own_rights(struct kv_vcpu *v)
{
	return kv_cpl(v) == 3 ? ENGINE_WALK_USER : 0;
}

bool kv_read(struct kv_vcpu *v, uint64_t gva, void *buf, unsigned len, struct cpu_event *ev)
{
	return transfer(v, v->view, own_rights(v), gva, buf, len, ev);
}

bool kv_write(struct kv_vcpu *v, uint64_t gva, const void *buf, unsigned len, struct cpu_event *ev)
{
	return transfer(v, v->view, own_rights(v) | ENGINE_WALK_WRITE, gva,
			(uint8_t *)(uintptr_t)buf, len, ev);
}

bool kv_peek(struct kv_vcpu *v, uint64_t gva, uint64_t *gpa)
{
	struct cpu_event ev;

	return resolve(v, gva, own_rights(v) | ENGINE_WALK_PEEK, gpa, &ev);
}

unsigned kv_code(struct kv_vcpu *v, uint64_t gva, uint8_t *buf, unsigned len)
{
	unsigned done = 0;

	if (!kv_long64(v))
		return 0;
	while (done < len) {
		uint64_t left = KV_PAGE - (gva + done) % KV_PAGE, gpa;
		unsigned n = len - done;
		struct engine_page p;
		struct cpu_event ev;

		if (n > left)
			n = (unsigned)left;
		if (!resolve(v, gva + done, own_rights(v) | ENGINE_WALK_PEEK | ENGINE_WALK_FETCH,
			     &gpa, &ev))
			break;
		vm_page(v->e->vm, v->id, v->view, gpa & KV_PAGE_MASK, &p);
		if (p.kind != ENGINE_PAGE_RAM)
			break;
		memcpy(buf + done, p.host + gpa % KV_PAGE, n);
		done += n;
	}
	return done;
}
