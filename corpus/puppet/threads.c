/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest threads. One that is not running is what it would go on with: a place in its list, or what
 * a timer interrupt struck. So a switch is a copy, and any vCPU may take a thread over.
 */
#include "corpus/puppet/puppet.h"

/* ---- threads ---- */

static void park(struct cpu *c)
{
	struct thread *t = &puppet_threads[c->current];

	c->t.vcpu = (uint8_t)c->id;
	c->t.state = c->t.step < c->t.last || c->t.pending || c->t.preempted ? THREAD_PARKED
									     : THREAD_ENDED;
	*t = c->t;
}

/* Takes thread n over, if nobody else has it and its own vCPU has begun it. */
int take(struct cpu *c, unsigned n)
{
	while (__atomic_exchange_n(&puppet_lock, 1, __ATOMIC_ACQUIRE))
		__asm__ volatile("pause");
	if (puppet_threads[n].state == THREAD_RUNS || puppet_threads[n].state == THREAD_ENDED ||
	    (puppet_threads[n].state == THREAD_NEW && n < PP_MAX_VCPUS)) {
		__atomic_store_n(&puppet_lock, 0, __ATOMIC_RELEASE);
		return 0;
	}
	park(c);
	c->t = puppet_threads[n];
	c->t.state = puppet_threads[n].state = THREAD_RUNS;
	c->current = n;
	__atomic_store_n(&puppet_lock, 0, __ATOMIC_RELEASE);
	return 1;
}

/* After take(): what was struck goes on by itself; for the rest the caller carries steps out. */
void go_on(struct cpu *c)
{
	struct regs r;

	if (!c->t.preempted)
		return;
	c->t.preempted = 0;
	r = c->t.frame;
	go(c, &r);
}

void step_switch(struct cpu *c, const struct pp_step *s)
{
	unsigned n = s->label & (PP_THREADS - 1);

	if (n == c->current || take(c, n))
		go_on(c);
	else
		fail(c, PP_FAIL_ABSENT, n, 0);
}

/*
 * The scheduler: round robin over the threads that ran here last, and with `begin` those that
 * never ran and belong to no vCPU. 0: there is none but the one that runs.
 */
int schedule(struct cpu *c, int begin)
{
	unsigned from = c->current;

	for (unsigned i = 1; i < PP_THREADS; i++) {
		unsigned n = (from + i) % PP_THREADS;
		const struct thread *t = &puppet_threads[n];
		int mine = t->state == THREAD_PARKED && t->vcpu == c->id;
		int nobodys = begin && t->state == THREAD_NEW && n >= PP_MAX_VCPUS;

		if ((mine || (nobodys && t->step < t->last)) && take(c, n))
			return 1;
	}
	return 0;
}

void step_preempt(struct cpu *c, const struct pp_operand *a)
{
	c->preempt = (uint32_t)value(c, a);
	c->timer_ours = 1;
}

/* Reset and started again: nothing is open any more, the list goes on with the step not begun. */
void restart(struct cpu *c)
{
	const struct pp_thread *p = &puppet_program->thread[c->current];
	const uint8_t *at = (const uint8_t *)puppet_program + p->offset;

	while (c->t.depth)
		drop(innermost(c));
	c->t.pending = 0;
	c->t.arrival = PP_ARRIVED_START;
	for (uint32_t n = p->first; n < c->t.step; n++)
		at += ((const struct pp_step *)at)->size;
	c->t.next = at;
}

void threads_init(void)
{
	for (unsigned n = 0; n < PP_THREADS; n++) {
		const struct pp_thread *p = &puppet_program->thread[n];

		puppet_threads[n].step = p->first;
		puppet_threads[n].last = p->first + p->count;
		puppet_threads[n].next = (const uint8_t *)puppet_program + p->offset;
	}
}
