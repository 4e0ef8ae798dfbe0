/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * modes: a known number of calls into each sample module, and of its call-outs, for `guardhouse
 * compare-modes`. The counts are this guest's own: it makes the calls, and the call-outs end here.
 * The mailbox names one module (empty, or no mailbox: all) and takes the counts.
 */
#include "corpus/lib/guest.h"
#include "corpus/modules/counter.h"
#include "corpus/modules/doorbell.h"
#include "corpus/modules/pair.h"
#include "corpus/guests/modes.h"

GUARDHOUSE("module counter\\n");
GUARDHOUSE("module doorbell device=doorbell\\n");
GUARDHOUSE("module pair_b\\n");
GUARDHOUSE("module pair_a\\n");
GUARDHOUSE("module target\\n");
GUARDHOUSE("doorbell 0x0d00be11\\n");

#define ROUNDS 50

long target_registers(long n);
long target_near(long n);

static struct modes_row row[MODES_MAX];
static unsigned rows;
static struct modes_row *now; /* what runs */

static uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static struct modes_row *begin(const char *name)
{
	struct modes_row *r = &row[rows++];

	for (unsigned i = 0; name[i] && i + 1 < sizeof(r->name); i++)
		r->name[i] = name[i];
	return r;
}

static long out(long n)
{
	now->outs++;
	return n;
}

static void fill(long *to)
{
	now->outs++;
	*to = 1;
}

static long called_back(void *ctx, long n)
{
	(void)ctx;
	return out(n);
}

static void counter(void)
{
	struct modes_row *r = now = begin("counter");
	uint64_t start;

	module_init("counter");
	r->calls++;
	r->outs++; /* printk */
	start = rdtsc();
	for (long i = 0; i < ROUNDS; i++) {
		ENTRY("counter", counter_add)(i);
		ENTRY("counter", counter_callout)(i);
		ENTRY("counter", counter_fill)();
		ENTRY("counter", counter_callback)(called_back, NULL);
		ENTRY("counter", counter_self)(1);
		ENTRY("counter", counter_deep)(3);
		ENTRY("counter", counter_tail)(1);
		r->calls += 7;
		r->tails++;
	}
	r->time = rdtsc() - start;
}

static void doorbell(void)
{
	struct modes_row *r = now = begin("doorbell");
	uint64_t start;

	module_init("doorbell");
	ENTRY("doorbell", doorbell_probe)((volatile uint32_t *)boot->device);
	r->calls += 2;
	r->outs++; /* printk */
	start = rdtsc();
	for (unsigned i = 0; i < ROUNDS; i++) {
		ENTRY("doorbell", doorbell_ring)(i);
		ENTRY("doorbell", doorbell_ring_tell)(i, called_back, NULL);
		r->calls += 2;
	}
	r->time = rdtsc() - start;
}

/* Every run of A is one call-out to B, and so one call of B that no kernel makes. */
static void pair(void)
{
	struct modes_row *b = begin("pair_b"), *a = begin("pair_a");
	uint64_t start;

	now = a;
	module_init("pair_b");
	b->calls++;
	module_init("pair_a");
	a->calls++;
	a->outs++; /* it asks B */
	b->calls++;
	start = rdtsc();
	for (unsigned i = 0; i < ROUNDS; i++) {
		ENTRY("pair_a", pair_a_run)(0);
		a->calls++;
		a->outs++;
		b->calls++;
	}
	a->time = b->time = rdtsc() - start;
}

static void target(void)
{
	struct modes_row *r = now = begin("target");
	uint64_t start;

	module_init("target");
	r->calls++;
	start = rdtsc();
	for (long i = 0; i < ROUNDS; i++) {
		ENTRY("target", target_registers)(i);
		ENTRY("target", target_near)(i);
		r->calls += 2;
	}
	r->time = rdtsc() - start;
}

static bool asked(const char *module)
{
	const char *arg = (const char *)boot->mailbox;

	return !arg || !*arg || !strcmp(arg, module);
}

int main(void)
{
	struct modes_row *to = (struct modes_row *)(boot->mailbox + MODES_ROWS);

	report_prefix_push("modes");
	hooks.callout = out;
	hooks.fill = fill;
	if (asked("counter"))
		counter();
	if (asked("doorbell"))
		doorbell();
	if (asked("pair_a") || asked("pair_b"))
		pair();
	if (asked("target"))
		target();
	for (unsigned i = 0; i < rows; i++)
		report(row[i].calls > 0,
		       "%s: %lu calls, %lu call-outs, %lu of them the end of a call", row[i].name,
		       row[i].calls, row[i].outs, row[i].tails);
	if (boot->mailbox && boot->mailbox_size >= MODES_ROWS + sizeof(row))
		for (unsigned i = 0; i < MODES_MAX; i++)
			to[i] = row[i];
	report_prefix_pop();
	return report_summary();
}
