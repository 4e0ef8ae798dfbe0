/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * threads: several threads of one vCPU inside the module, which no single-threaded scenario can
 * show: R17 (the first out returns first), R2 and R27 (threads that die in a call-out), P9 (an
 * entry on an IRQ stack meanwhile).
 */
#ifndef CORPUS_THREADS_FLOWS_H
#define CORPUS_THREADS_FLOWS_H

#include "corpus/lib/guest.h"
#include "corpus/modules/counter.h"

GUARDHOUSE(MODULE_LINE "\\n");

#define CALL(function) ENTRY("counter", function)
#define ABANDONED 100

static unsigned long secret_at;
static uint8_t irq_stack[8192] __attribute__((aligned(4096)));
static bool bad;

static bool hidden(void)
{
	return *(volatile unsigned long *)secret_at == 0;
}

/* While the module waits for the answer, the thread sleeps. */
static long callout_sleep(long n)
{
	if (!hidden())
		bad = true;
	thread_yield();
	if (!hidden())
		bad = true;
	return n;
}

struct job {
	struct thread thread;
	long n, got;
};

static void work(void *arg)
{
	struct job *j = arg;

	j->got = CALL(counter_callout)(j->n);
}

static void interleaved(void)
{
	struct job a = { .n = 10 }, b = { .n = 100 };

	hooks.callout = callout_sleep;
	thread_init(&a.thread, "a", work, &a, NULL);
	thread_init(&b.thread, "b", work, &b, NULL);
	thread_switch(&a.thread);
	thread_switch(&b.thread);
	report(!a.thread.done && !b.thread.done && hidden(), "two threads sleep in a call-out");
	thread_switch(&a.thread);
	report(a.thread.done && a.got == 10, "R17: the first that went out returns first");
	report(hidden(), "R17: and leaves nothing open");
	thread_switch(&b.thread);
	report(b.thread.done && b.got == 110, "R17: then the second returns");
	report(hidden() && !bad, "R17: the kernel never saw the secret");
}

static void killed(void)
{
	struct job a = { .n = 1000 }, b = { .n = 1 };

	hooks.callout = callout_sleep;
	thread_init(&a.thread, "dies", work, &a, NULL);
	thread_switch(&a.thread);
	report(!a.thread.done, "a thread sleeps in a call-out and is never woken again");
	hooks.callout = NULL;
	report(CALL(counter_add)(1) == 111 && hidden(),
	       "R2: a later entry works and ends unprivileged");
	thread_init(&b.thread, "reuses", work, &b, a.thread.stack);
	thread_switch(&b.thread);
	report(b.thread.done && b.got == 112 && hidden(),
	       "R2: so does one on the dead thread's stack");
}

static void abandoned(void)
{
	struct job j[4], sleeper = { .n = 7 };
	uint8_t *stack = alloc_pages(THREAD_STACK_BYTES / PAGE_BYTES);
	long total = CALL(counter_get)();
	bool all = true;

	/* One stack, again and again: each new entry finds and buries the one before. */
	hooks.callout = callout_sleep;
	for (unsigned i = 0; i < ABANDONED; i++) {
		j[i % 4] = (struct job){ .n = 5 };
		thread_init(&j[i % 4].thread, "abandoned", work, &j[i % 4], stack);
		thread_switch(&j[i % 4].thread);
		all &= !j[i % 4].thread.done;
	}
	report(all, "R27: %d entries on one stack go out and are abandoned", ABANDONED);
	thread_init(&sleeper.thread, "honest", work, &sleeper, NULL);
	thread_switch(&sleeper.thread);
	report(!sleeper.thread.done, "R27: an honest thread still gets in and out");
	thread_switch(&sleeper.thread);
	report(sleeper.thread.done && sleeper.got == total + 7 && hidden(), "R27: and back");
	hooks.callout = NULL;
}

static long on_irq_stack(void *arg)
{
	return CALL(counter_add)((long)arg);
}

static long callout_irq_stack(long n)
{
	long got = call_on_stack(irq_stack + sizeof(irq_stack), on_irq_stack, (void *)3);

	if (got < 0 || !hidden())
		bad = true;
	return n;
}

static void irq_stacks(void)
{
	long total = CALL(counter_get)();

	hooks.callout = callout_irq_stack;
	report(CALL(counter_callout)(2) == total + 5 && !bad,
	       "P9: an entry on an IRQ stack while its thread is in a call-out");
	hooks.callout = NULL;
	report(hidden(), "P9: and nothing stays open");
}

int main(void)
{
	report_prefix_push("threads");
	report(module_init("counter") == 0, "init_module() succeeds");
	secret_at = CALL(counter_where)();
	interleaved();
	killed();
	abandoned();
	irq_stacks();
	report(CALL(counter_check)(COUNTER_SECRET) == 1, "the secret is what it was");
	report_prefix_pop();
	return report_summary();
}

#endif
