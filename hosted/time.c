// SPDX-License-Identifier: GPL-2.0-only
/*
 * Time, and what happens in it: delays, timers, work, interrupts.
 *
 * Time passes when the driver waits, when the tick interrupts it, and when nothing runs. Interrupts
 * come whenever time passes with the interrupt flag set; timers and work only when nothing runs.
 */
#include "hosted/kernel.h"

#define US_PER_S 1000000ull
#define NS_PER_US 1000ull
#define RFLAGS_IF 0x200ull
#define XLOOPS_PER_US 4295u /* 2^32 / 10^6: what __const_udelay() counts in */
#define WORK_PENDING 1u
#define IRQ_ROUNDS 8

static uint64_t us_per_jiffy(const struct hosted *h)
{
	return US_PER_S / h->off.hz;
}

static uint64_t now_ns(const struct hosted *h)
{
	return (h->jiffies * us_per_jiffy(h) + h->subtick_us) * NS_PER_US;
}

static bool interrupts_on(struct hosted *h)
{
	struct guard_cpu cpu;

	vm_get_cpu(h->vm, h->vcpu, &cpu);
	return cpu.rflags & RFLAGS_IF;
}

void hosted_delay(struct hosted *h, uint64_t us)
{
	h->subtick_us += us < 10 * US_PER_S ? us : 10 * US_PER_S;
	h->jiffies += h->subtick_us / us_per_jiffy(h);
	h->subtick_us %= us_per_jiffy(h);
	if (h->jiffies_gva)
		hosted_put(h, h->jiffies_gva, 8, h->jiffies);
	if (interrupts_on(h))
		hosted_interrupts(h);
}

static bool dma_read(void *ctx, uint64_t gpa, void *buf, uint32_t len)
{
	struct hosted *h = ctx;

	return vm_dma_read(h->vm, gpa, buf, len);
}

static bool dma_write(void *ctx, uint64_t gpa, const void *buf, uint32_t len)
{
	struct hosted *h = ctx;

	return vm_dma_write(h->vm, gpa, buf, len);
}

static void one_interrupt(struct hosted *h)
{
	for (unsigned i = 0; i < HOSTED_MAX_IRQS; i++) {
		struct hosted_irq *irq = &h->irq[i];

		if (irq->used && !irq->disabled)
			hosted_call(h, irq->handler, irq->line, irq->dev_id, 0, 0);
	}
}

/* The card works, its interrupt is handled, then the polling that the handler asked for is done. */
void hosted_interrupts(struct hosted *h)
{
	const struct nic_dma dma = { dma_read, dma_write, h };

	if (h->in_irq || h->dead)
		return;
	for (int i = 0; i < IRQ_ROUNDS && !h->dead; i++) {
		nic_run_rings(&h->nic, &dma);
		if (!nic_irq(&h->nic))
			break;
		h->in_irq++;
		one_interrupt(h);
		hosted_napi_poll(h);
		h->in_irq--;
	}
}

/* ---- timers ---- */

static struct hosted_timer *timer_slot(struct hosted *h, uint64_t gva)
{
	struct hosted_timer *free_slot = NULL;

	for (unsigned i = 0; i < HOSTED_MAX_TIMERS; i++) {
		if (h->timer[i].pending && h->timer[i].gva == gva)
			return &h->timer[i];
		if (!h->timer[i].pending && !free_slot)
			free_slot = &h->timer[i];
	}
	return free_slot;
}

/* Linux's own "is it pending" looks at this link. */
static void mark_timer(struct hosted *h, uint64_t gva, bool pending)
{
	hosted_put(h, gva + h->off.timer_entry_pprev, 8, pending ? gva : 0);
}

static uint64_t init_timer(struct hosted *h, const uint64_t *a)
{
	hosted_put(h, a[0] + h->off.timer_function, 8, a[1]);
	mark_timer(h, a[0], false);
	return 0;
}

static uint64_t mod_timer(struct hosted *h, const uint64_t *a)
{
	struct hosted_timer *t = timer_slot(h, a[0]);
	bool was;

	if (!t)
		return 0;
	was = t->pending;
	*t = (struct hosted_timer){ a[0], a[1], true };
	hosted_put(h, a[0] + h->off.timer_expires, 8, a[1]);
	mark_timer(h, a[0], true);
	return was;
}

static uint64_t add_timer(struct hosted *h, const uint64_t *a)
{
	const uint64_t args[2] = { a[0], hosted_get(h, a[0] + h->off.timer_expires, 8) };

	mod_timer(h, args);
	return 0;
}

static uint64_t timer_delete(struct hosted *h, const uint64_t *a)
{
	struct hosted_timer *t = timer_slot(h, a[0]);
	bool was = t && t->pending;

	if (was) {
		t->pending = false;
		mark_timer(h, a[0], false);
	}
	return was;
}

static void run_timers(struct hosted *h)
{
	for (unsigned i = 0; i < HOSTED_MAX_TIMERS && !h->dead; i++) {
		struct hosted_timer *t = &h->timer[i];

		if (!t->pending || (int64_t)(t->expires - h->jiffies) > 0)
			continue;
		t->pending = false;
		mark_timer(h, t->gva, false);
		hosted_call(h, hosted_get(h, t->gva + h->off.timer_function, 8), t->gva, 0, 0, 0);
	}
}

/* ---- work ---- */

static bool queue(struct hosted *h, uint64_t gva, uint64_t delay)
{
	uint64_t data = hosted_get(h, gva + h->off.work_data, 8);

	if (data & WORK_PENDING)
		return false;
	for (unsigned i = 0; i < HOSTED_MAX_WORKS; i++) {
		if (!h->work[i].gva) {
			h->work[i] = (struct hosted_work){ gva, h->jiffies + delay };
			hosted_put(h, gva + h->off.work_data, 8, data | WORK_PENDING);
			return true;
		}
	}
	return false;
}

static bool unqueue(struct hosted *h, uint64_t gva)
{
	for (unsigned i = 0; i < HOSTED_MAX_WORKS; i++) {
		if (h->work[i].gva == gva) {
			h->work[i].gva = 0;
			hosted_put(h, gva + h->off.work_data, 8,
				   hosted_get(h, gva + h->off.work_data, 8) &
					   ~(uint64_t)WORK_PENDING);
			return true;
		}
	}
	return false;
}

/* (cpu, queue, work) */
static uint64_t queue_work(struct hosted *h, const uint64_t *a)
{
	return queue(h, a[2], 0);
}

/* (cpu, queue, delayed work, delay): its work_struct comes first in it */
static uint64_t queue_delayed_work(struct hosted *h, const uint64_t *a)
{
	return queue(h, a[2], a[3]);
}

static uint64_t mod_delayed_work(struct hosted *h, const uint64_t *a)
{
	bool was = unqueue(h, a[2]);

	queue(h, a[2], a[3]);
	return was;
}

static uint64_t cancel_work(struct hosted *h, const uint64_t *a)
{
	return unqueue(h, a[0]);
}

static void run_work(struct hosted *h)
{
	for (unsigned i = 0; i < HOSTED_MAX_WORKS && !h->dead; i++) {
		uint64_t gva = h->work[i].gva;

		if (!gva || (int64_t)(h->work[i].due - h->jiffies) > 0)
			continue;
		unqueue(h, gva);
		hosted_call(h, hosted_get(h, gva + h->off.work_func, 8), gva, 0, 0, 0);
	}
}

void hosted_idle(struct hosted *h, uint64_t ms)
{
	for (uint64_t us = 0; us < ms * 1000 && !h->dead; us += us_per_jiffy(h)) {
		hosted_delay(h, us_per_jiffy(h));
		run_timers(h);
		run_work(h);
	}
}

/* ---- waiting ---- */

static uint64_t udelay(struct hosted *h, const uint64_t *a)
{
	hosted_delay(h, a[0]);
	return 0;
}

static uint64_t const_udelay(struct hosted *h, const uint64_t *a)
{
	hosted_delay(h, a[0] / XLOOPS_PER_US);
	return 0;
}

static uint64_t msleep(struct hosted *h, const uint64_t *a)
{
	hosted_delay(h, (a[0] & 0xffffffff) * 1000);
	return 0;
}

static uint64_t round_jiffies(struct hosted *h, const uint64_t *a)
{
	return (a[0] + h->off.hz - 1) / h->off.hz * h->off.hz;
}

/* ---- clocks ---- */

static uint64_t ktime_get(struct hosted *h, const uint64_t *a)
{
	(void)a;
	return now_ns(h);
}

static uint64_t ktime_get_ts64(struct hosted *h, const uint64_t *a)
{
	hosted_put(h, a[0], 8, now_ns(h) / (US_PER_S * NS_PER_US));
	hosted_put(h, a[0] + 8, 8, now_ns(h) % (US_PER_S * NS_PER_US));
	return 0;
}

static uint64_t cycles(struct hosted *h, uint64_t cc)
{
	return hosted_call(h, hosted_get(h, cc + h->off.cyclecounter_read, 8), cc, 0, 0, 0);
}

/* (timecounter, cyclecounter, start): asks the driver for its clock, as Linux does. */
static uint64_t timecounter_init(struct hosted *h, const uint64_t *a)
{
	hosted_put(h, a[0] + h->off.timecounter_cc, 8, a[1]);
	hosted_put(h, a[0] + h->off.timecounter_nsec, 8, a[2]);
	hosted_put(h, a[0] + h->off.timecounter_cycle_last, 8, cycles(h, a[1]));
	return 0;
}

static uint64_t timecounter_read(struct hosted *h, const uint64_t *a)
{
	uint64_t cc = hosted_get(h, a[0] + h->off.timecounter_cc, 8);
	uint64_t last = hosted_get(h, a[0] + h->off.timecounter_cycle_last, 8);
	uint64_t now = cycles(h, cc);
	uint64_t passed = (now - last) & hosted_get(h, cc + h->off.cyclecounter_mask, 8);
	uint64_t ns = hosted_get(h, a[0] + h->off.timecounter_nsec, 8);

	ns += passed * hosted_get(h, cc + h->off.cyclecounter_mult, 4) >>
	      (hosted_get(h, cc + h->off.cyclecounter_shift, 4) & 63);
	hosted_put(h, a[0] + h->off.timecounter_nsec, 8, ns);
	hosted_put(h, a[0] + h->off.timecounter_cycle_last, 8, now);
	return ns;
}

/* ---- interrupts ---- */

/* (line, handler, thread, flags, name, dev_id) */
static uint64_t request_irq(struct hosted *h, const uint64_t *a)
{
	for (unsigned i = 0; i < HOSTED_MAX_IRQS; i++) {
		if (!h->irq[i].used) {
			h->irq[i] = (struct hosted_irq){ .handler = a[1],
							 .dev_id = a[5],
							 .line = (uint32_t)a[0],
							 .used = true };
			return 0;
		}
	}
	return (uint64_t)-16; /* EBUSY */
}

static uint64_t free_irq(struct hosted *h, const uint64_t *a)
{
	for (unsigned i = 0; i < HOSTED_MAX_IRQS; i++)
		if (h->irq[i].used && h->irq[i].line == (uint32_t)a[0] && h->irq[i].dev_id == a[1])
			h->irq[i].used = false;
	return 0;
}

static uint64_t set_irq(struct hosted *h, uint32_t line, bool disabled)
{
	for (unsigned i = 0; i < HOSTED_MAX_IRQS; i++)
		if (h->irq[i].used && h->irq[i].line == line)
			h->irq[i].disabled = disabled;
	return 1;
}

static uint64_t disable_irq(struct hosted *h, const uint64_t *a)
{
	return set_irq(h, (uint32_t)a[0], true);
}

static uint64_t enable_irq(struct hosted *h, const uint64_t *a)
{
	return set_irq(h, (uint32_t)a[0], false);
}

const struct hosted_symbol hosted_time_symbols[] = {
	{ "init_timer_key", init_timer },
	{ "mod_timer", mod_timer },
	{ "add_timer", add_timer },
	{ "timer_delete", timer_delete },
	{ "timer_delete_sync", timer_delete },
	{ "timer_shutdown_sync", timer_delete },
	{ "round_jiffies", round_jiffies },
	{ "round_jiffies_relative", round_jiffies },
	{ "queue_work_on", queue_work },
	{ "queue_delayed_work_on", queue_delayed_work },
	{ "mod_delayed_work_on", mod_delayed_work },
	{ "cancel_work_sync", cancel_work },
	{ "cancel_delayed_work", cancel_work },
	{ "cancel_delayed_work_sync", cancel_work },
	{ "delayed_work_timer_fn", hosted_zero },
	{ "__udelay", udelay },
	{ "__const_udelay", const_udelay },
	{ "usleep_range_state", udelay },
	{ "msleep", msleep },
	{ "msleep_interruptible", msleep },
	{ "ktime_get", ktime_get },
	{ "ktime_get_with_offset", ktime_get },
	{ "ktime_get_real_ts64", ktime_get_ts64 },
	{ "timecounter_init", timecounter_init },
	{ "timecounter_read", timecounter_read },
	{ "request_threaded_irq", request_irq },
	{ "free_irq", free_irq },
	{ "synchronize_irq", hosted_zero },
	{ "disable_irq", disable_irq },
	{ "disable_irq_nosync", disable_irq },
	{ "disable_hardirq", disable_irq },
	{ "enable_irq", enable_irq },
	{ NULL, NULL },
};
