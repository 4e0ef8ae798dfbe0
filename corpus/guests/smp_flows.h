/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * smp: two vCPUs in one module: R18 (one leaves, the other stays privileged), E11 (the outside
 * looks while someone is inside), C4 (a call-out that returns on the other vCPU).
 */
#ifndef CORPUS_SMP_FLOWS_H
#define CORPUS_SMP_FLOWS_H

#include "corpus/lib/guest.h"
#include "corpus/modules/counter.h"

GUARDHOUSE(MODULE_LINE "\\n");
GUARDHOUSE("vcpus 2\\n");

#define CALL(function) ENTRY("counter", function)

static unsigned long secret_at;
static volatile long ready, go, inside, finished, looked, migrate, home;
static long waited, got, hits;

static bool hidden(void)
{
	return *(volatile unsigned long *)secret_at == 0;
}

static long callout_on_zero;

static long callout(long n)
{
	callout_on_zero += cpu_id() == 0;
	if (n == 50) {
		/* C4: asleep here, woken by the other vCPU. */
		thread_yield();
		home = cpu_id();
		hits += hidden();
	}
	return n;
}

static struct thread wanderer;

static void wander(void *arg)
{
	(void)arg;
	got = CALL(counter_callout)(50);
}

static void second(void *arg)
{
	(void)arg;
	ready = 1;
	wait_for(&go, 1, "the first round");
	/* R18: vCPU 0 is inside meanwhile. */
	wait_for(&inside, 1, "vCPU 0 to be inside");
	for (unsigned i = 0; i < 20; i++) {
		CALL(counter_add)(1);
		looked += hidden();
	}
	finished = 1;
	wait_for(&migrate, 1, "a thread to take over");
	thread_switch(&wanderer);
	migrate = 2;
}

/* Enters, says so by the flag that the module itself waits for elsewhere, and waits. */
static void announce_inside(struct trap_frame *f)
{
	if (f->rip >= GH_MODULES_BASE)
		inside = 1;
}

int main(void)
{
	report_prefix_push("smp");
	report(module_init("counter") == 0, "init_module() succeeds");
	secret_at = CALL(counter_where)();
	hooks.callout = callout;
	cpu_start(1, second, NULL);
	wait_for(&ready, 1, "vCPU 1");
	report(true, "vCPU 1 runs");

	/* The timer tells that this vCPU was caught inside the module. */
	trap_handler(GH_TIMER_VECTOR, announce_inside);
	outl(GH_PORT_TIMER, 700);
	irq_enable();
	go = 1;
	waited = CALL(counter_wait)(&finished, 10000000);
	irq_disable();
	outl(GH_PORT_TIMER, 0);
	report(waited >= 0,
	       "R18: vCPU 1 came and went while vCPU 0 was inside, and kept its secret");
	report(looked == 20, "E11: vCPU 1 read zero all the while");
	report(CALL(counter_get)() == 20 && hidden(), "R18: its entries counted");

	thread_init(&wanderer, "wanderer", wander, NULL, NULL);
	thread_switch(&wanderer);
	report(!wanderer.done && hidden(), "C4: a thread goes out on vCPU 0");
	migrate = 1;
	wait_for(&migrate, 2, "the thread to end on vCPU 1");
	report(wanderer.done && home == 1 && hits == 1, "C4: and comes back on vCPU 1");
	report(got == 70 && hidden(), "C4: with the right result");
	report(CALL(counter_check)(COUNTER_SECRET) == 1, "the secret is what it was");
	report_prefix_pop();
	return report_summary();
}

#endif
