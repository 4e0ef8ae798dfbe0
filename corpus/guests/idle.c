/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * idle: vCPU 0 makes work for the others, which sleep in between: by module `idle`, or with
 * `--arg kernel` by HLT in the kernel itself, as without any guard. Run with `--placement` it tells
 * what each way costs (docs/guests.md). Delays are in the guest's own clock, RDTSC: instructions on
 * the simulator.
 */
#include "corpus/lib/guest.h"
#include "corpus/modules/idle.h"

GUARDHOUSE("module idle mwait=yes\\n");
GUARDHOUSE("vcpus 4\\n");
GUARDHOUSE("budget 400000000\\n");

#define ROUNDS 600u
#define VECTOR_WAKE 0x51
#define GAP_STEP 37u
#define AWAKE 2 /* line.polling, until who sleeps on it has decided how */
#define SPINS 20000000l

static struct worker {
	struct idle_line line;
	uint64_t sent; /* when its work was given */
	volatile long done;
	uint64_t sum, max;
} worker[GH_MAX_VCPUS];

static bool in_kernel;
static volatile long gone;
static volatile bool stop;
static long bad;

static uint64_t now(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

static void woken(struct trap_frame *f)
{
	(void)f;
}

/* The kernel's own idle loop. */
static long kernel_wait(struct idle_line *line)
{
	__atomic_store_n(&line->polling, 0, __ATOMIC_SEQ_CST);
	while (!line->work)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	return (long)line->work;
}

static void work(void *arg)
{
	unsigned id = cpu_id();
	struct worker *w = &worker[id];
	const volatile uint64_t *status = (const volatile uint64_t *)boot->status_page[id];
	uint64_t took;
	long got;

	(void)arg;
	irq_disable();
	for (;;) {
		got = in_kernel ? kernel_wait(&w->line)
				: ENTRY("idle", idle_wait)(&w->line, status, 1);
		took = now() - w->sent;
		if (got != 1)
			__atomic_add_fetch(&bad, 1, __ATOMIC_RELAXED);
		w->line.work = 0;
		if (stop)
			break;
		w->sum += took;
		if (took > w->max)
			w->max = took;
		w->line.polling = AWAKE;
		__atomic_store_n(&w->done, w->done + 1, __ATOMIC_RELEASE);
	}
	__atomic_add_fetch(&gone, 1, __ATOMIC_RELEASE);
}

/* Nobody is woken who has not gone to sleep, or is just about to: one order of entries. */
static void wait_asleep(unsigned id)
{
	for (long i = 0; i < SPINS; i++) {
		if (__atomic_load_n(&worker[id].line.polling, __ATOMIC_ACQUIRE) != AWAKE)
			return;
		pause();
	}
	printk("FAIL: vCPU %u never sleeps\n", id);
	exit(3);
}

/* As a kernel does: an interrupt only for a vCPU that does not watch the line. */
static void wake(unsigned id)
{
	struct worker *w = &worker[id];

	w->sent = now();
	__atomic_store_n(&w->line.work, 1, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&w->line.polling, __ATOMIC_SEQ_CST))
		raise_on(id, VECTOR_WAKE);
}

static void busy(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		__asm__ volatile("" : "+r"(i));
}

int main(void)
{
	unsigned workers = boot->vcpus - 1;
	uint64_t sum = 0, max = 0;

	in_kernel = !strcmp((const char *)boot->mailbox, "kernel");
	report_prefix_push("idle");
	if (!workers) {
		printk("idle needs two vCPUs or more\n");
		return 3;
	}
	report(module_init("idle") == 0, "init_module() succeeds");
	trap_handler(VECTOR_WAKE, woken);
	for (unsigned id = 1; id <= workers; id++) {
		worker[id].line.polling = AWAKE;
		cpu_start(id, work, NULL);
		wait_asleep(id);
	}
	for (unsigned n = 0; n < ROUNDS; n++) {
		unsigned id = 1 + n % workers;

		busy(500 + n * GAP_STEP % 3000);
		wake(id);
		wait_for(&worker[id].done, n / workers + 1, "work to be done");
		wait_asleep(id);
	}
	stop = true;
	for (unsigned id = 1; id <= workers; id++) {
		wake(id);
		wait_for(&gone, id, "a vCPU to end");
	}
	for (unsigned id = 1; id <= workers; id++) {
		sum += worker[id].sum;
		if (worker[id].max > max)
			max = worker[id].max;
	}
	report(bad == 0, "every sleep ended by work, inside the module where it was slept there");
	report(ENTRY("idle", idle_count)(IDLE_MWAIT) >= 0, "the module's counts are its own");
	printk("idle: wake-ups %u, delay mean %lu max %lu\n", ROUNDS, sum / ROUNDS, max);
	printk("idle: chosen inside: MWAIT %ld, HLT %ld\n", ENTRY("idle", idle_count)(IDLE_MWAIT),
	       ENTRY("idle", idle_count)(IDLE_HLT));
	report_prefix_pop();
	return report_summary();
}
