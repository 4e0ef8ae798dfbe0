/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * idle: puts a vCPU to sleep, the "adaptive" example of the paper. MWAIT wakes at a mere write, but
 * keeps the physical core; HLT gives the core away and needs an interrupt. Which of them is allowed
 * changes while the guest runs, and the status page tells it without an exit.
 *
 * The page is a hint. If MWAIT is withheld after it was read, MWAIT does nothing, and the next
 * look at the page finds HLT.
 */
#include "corpus/modules/idle.h"
#include "corpus/modules/module.h"

MODULE_INFO(license, "GPL");
MODULE_INFO(description, "sample: MWAIT or HLT, by what is granted now");

static unsigned long key __private = 0x1d1e5ec2e7000001ul;
static long counts[2] __private;

static void mwait(const struct idle_line *line)
{
	__atomic_add_fetch(&counts[IDLE_MWAIT], 1, __ATOMIC_RELAXED);
	__asm__ volatile("monitor" : : "a"(line), "c"(0), "d"(0) : "memory");
	if (!line->work)
		__asm__ volatile("mwait" : : "a"(0), "c"(0) : "memory");
}

/* With interrupts off since the last look: what is sent from now on ends HLT. */
static void hlt(const struct idle_line *line)
{
	if (line->work)
		return;
	__atomic_add_fetch(&counts[IDLE_HLT], 1, __ATOMIC_RELAXED);
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

long idle_wait(struct idle_line *line, const volatile uint64_t *status, uint64_t bit)
{
	while (!line->work) {
		uint64_t may = *status & bit;

		/* Said before `work` is read again: a waker sees either this, or a sleeper that saw it. */
		__atomic_store_n(&line->polling, may, __ATOMIC_SEQ_CST);
		if (may)
			mwait(line);
		else
			hlt(line);
	}
	__atomic_store_n(&line->polling, 1, __ATOMIC_SEQ_CST);
	return key ? (long)line->work : -1;
}
EXPORT_SYMBOL(idle_wait);

long idle_count(long how)
{
	return key ? counts[how & 1] : -1;
}
EXPORT_SYMBOL(idle_count);

int __init init_module(void)
{
	return 0;
}

void __exit cleanup_module(void)
{
	key = 0;
}
