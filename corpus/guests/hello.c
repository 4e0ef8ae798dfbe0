/* SPDX-License-Identifier: GPL-2.0-only */
/* hello: the guest library alone, without a module: console, traps, page tables, threads. */
#include "corpus/lib/guest.h"

static void set_flag(void *arg)
{
	*(long *)arg = 1;
	thread_yield();
	*(long *)arg = 2;
}

static long twice(void *arg)
{
	return 2 * (long)arg;
}

static void jump_nowhere(void)
{
	__asm__ volatile("ud2");
}

static volatile long seen;

static void on_timer(struct trap_frame *f)
{
	seen = (long)f->vector;
}

int main(void)
{
	struct attempt a = { .target = (uint64_t)jump_nowhere };
	struct thread t;
	long flag = 0;
	uint64_t *page = alloc_pages(1), *other = (uint64_t *)0xffffea0000000000ull;

	report_prefix_push("library");
	report(boot->vcpus >= 1 && boot->ram_size >= (1 << 20), "the boot page is plausible");
	report(!attempt(&a) && a.vector == VECTOR_UD, "ud2 is caught as exception 6");
	a = (struct attempt){ .target = (uint64_t)twice, .arg = { 21 } };
	report(attempt(&a) && a.result == 42, "a call that does not fault returns 42");

	trap_handler(0x50, on_timer);
	raise_here(0x50);
	__asm__ volatile("nop");
	report(seen == 0, "a raised vector waits while interrupts are off");
	irq_enable();
	__asm__ volatile("nop; nop");
	irq_disable();
	report(seen == 0x50, "and comes once they are on");

	thread_init(&t, "t", set_flag, &flag, NULL);
	thread_switch(&t);
	report(flag == 1 && !t.done, "a thread runs until it yields");
	thread_switch(&t);
	report(flag == 2 && t.done, "and goes on until it is done");
	report(call_on_stack((uint8_t *)alloc_pages(1) + PAGE_BYTES, twice, (void *)4) == 8,
	       "a call on another stack returns");

	*page = 0x1234;
	map_page((uint64_t)other, virt_to_phys(page), PTE_PRESENT | PTE_WRITE);
	report(*other == 0x1234, "a new mapping shows the same page");
	*other = 0x5678;
	report(*page == 0x5678, "and writes go there");
	unmap_page((uint64_t)other);
	a = (struct attempt){ .target = (uint64_t)memcpy,
			      .arg = { (uint64_t)page, (uint64_t)other, 1 } };
	report(!attempt(&a) && a.vector == VECTOR_PF && a.cr2 == (uint64_t)other,
	       "after unmapping it, a read faults there");
	write_cr3(new_cr3());
	report(*page == 0x5678, "another CR3 with the same kernel half works");
	report_prefix_pop();
	return report_summary();
}
