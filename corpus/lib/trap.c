/* SPDX-License-Identifier: GPL-2.0-only */
/* The IDT, handlers in C, and calls that may fault. */
#include "corpus/lib/guest.h"

_Static_assert(offsetof(struct attempt, rsp) == 0x18, "start.S");
_Static_assert(offsetof(struct attempt, rflags) == 0x28, "start.S");
_Static_assert(offsetof(struct attempt, arg) == 0x30, "start.S");
_Static_assert(offsetof(struct attempt, result) == 0x70, "start.S");
_Static_assert(offsetof(struct thread, attempt) == 0x08, "start.S");
_Static_assert(offsetof(struct thread, on_cpu) == 0x10, "start.S");

#define RFLAGS_FIXED 2u
#define RFLAGS_IF 0x200u

struct idt_entry {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_mid;
	uint32_t offset_high, reserved;
};

extern const uint8_t trap_stubs[], attempt_landing[], attempt_fault[];
void attempt_enter(struct attempt *a);
void trap_dispatch(struct trap_frame *f);
void trap_init(void);

static struct idt_entry idt[256] __attribute__((aligned(16)));
static trap_fn handlers[256];

void trap_init(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) idtr = { sizeof(idt) - 1, (uint64_t)idt };

	for (unsigned i = 0; i < 256; i++) {
		uint64_t stub = (uint64_t)trap_stubs + 16 * i;

		idt[i].offset_low = (uint16_t)stub;
		idt[i].selector = 8;
		idt[i].type = 0x8e; /* interrupt gate, DPL 0 */
		idt[i].offset_mid = (uint16_t)(stub >> 16);
		idt[i].offset_high = (uint32_t)(stub >> 32);
	}
	__asm__ volatile("lidt %0" : : "m"(idtr));
}

void trap_handler(unsigned vector, trap_fn fn)
{
	handlers[vector & 255] = fn;
}

void trap_dispatch(struct trap_frame *f)
{
	struct attempt *a = this_cpu()->thread->attempt;

	if (handlers[f->vector & 255]) {
		handlers[f->vector & 255](f);
		return;
	}
	if (f->vector >= 32)
		return;
	if (!a) {
		printk("vCPU %u: exception %lu, error %lx, rip %p, cr2 %p\n", cpu_id(), f->vector,
		       f->error, (void *)f->rip, (void *)read_cr2());
		exit(3);
	}
	a->faulted = true;
	a->vector = f->vector;
	a->error = f->error;
	a->rip = f->rip;
	a->cr2 = read_cr2();
	f->rip = (uint64_t)attempt_fault;
	f->rsp = a->home;
	f->rflags = RFLAGS_FIXED | (f->rflags & RFLAGS_IF);
}

bool attempt(struct attempt *a)
{
	struct thread *t = this_cpu()->thread;

	a->previous = t->attempt;
	a->faulted = false;
	a->rflags |= RFLAGS_FIXED;
	/* Through a fault if need be: a stack that cannot be written is the target's to judge. */
	if (a->rsp && virt_to_phys((void *)a->rsp) != ~0ull)
		*(uint64_t *)a->rsp = a->word ? a->word : (uint64_t)attempt_landing;
	t->attempt = a;
	attempt_enter(a);
	this_cpu()->thread->attempt = a->previous;
	return !a->faulted;
}

bool call_refused(void *fn, uint64_t x, uint64_t y, uint64_t z)
{
	struct attempt a = { .target = (uint64_t)fn, .arg = { x, y, z } };

	return !attempt(&a) && a.vector == VECTOR_GP;
}
