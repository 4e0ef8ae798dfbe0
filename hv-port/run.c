/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The scheduler and one vCPU's slice. All vCPUs take turns in one thread; one that is privileged
 * may be preempted like any other, the slots then show the next one's view.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hv-port/kvm.h"

#define ALONE_US 20000u /* slice of the only runnable vCPU */
#define SHARED_US 1000u /* slice where others wait */
#define WATCH_US 100u	/* slice where a write may wake from MWAIT, or delays are counted */
#define INSIDE 4u	/* times that, inside of a module */

void kv_end(struct engine *e, enum vm_exit_reason reason, unsigned vcpu, uint64_t rip,
	    const char *fmt, ...)
{
	va_list ap;

	if (e->ended)
		return; /* the first reason counts */
	e->ended = true;
	e->exit.reason = reason;
	e->exit.vcpu = vcpu;
	e->exit.rip = rip;
	e->exit.status = 0;
	va_start(ap, fmt);
	vsnprintf(e->exit.message, sizeof(e->exit.message), fmt, ap);
	va_end(ap);
}

static void enter(struct kv_vcpu *v)
{
	struct engine *e = v->e;
	uint64_t rip = kv_regs(v)->rip;
	int r, error;

	if (!kv_slots_show(v))
		return;
	if (!kv_regs_before_run(v)) {
		kv_end(e, VM_EXIT_ENGINE, v->id, rip, "KVM refuses these registers: %s",
		       strerror(errno));
		return;
	}
	v->run->immediate_exit = 0;
	e->running = v->run;
	/* A signal before this point has only set `interrupted`; after it, immediate_exit too. */
	if (e->interrupted)
		v->run->immediate_exit = 1;
	kv_time_enter(e);
	r = ioctl(v->fd, KVM_RUN, 0);
	error = errno;
	kv_time_leave(e, v->stepping);
	e->running = NULL;
	kv_regs_after_run(v);
	if (!r)
		kv_exit(v);
	else if (error != EINTR && error != EAGAIN)
		kv_end(e, VM_EXIT_ENGINE, v->id, rip, "KVM_RUN: %s", strerror(error));
	else if (v->touch.open && !v->touch.rep)
		v->touch.open = false;
	if (e->ended && e->exit.reason == VM_EXIT_TRIPLE_FAULT && !e->exit.rip)
		e->exit.rip = rip; /* some CPUs lose it */
}

static bool over(struct engine *e)
{
	if (kv_time(e) < e->budget)
		return false;
	kv_end(e, VM_EXIT_BUDGET, e->turn, kv_rip(&e->vcpu[e->turn]),
	       "the budget of %llu instructions is used up (microseconds in KVM_RUN here)",
	       (unsigned long long)e->budget);
	return true;
}

/* Guest time until `end`; inside of a module until `late`, so that short visits are not cut. */
static void slice(struct kv_vcpu *v, uint64_t end, uint64_t late)
{
	struct engine *e = v->e;

	e->replan = false;
	while (!e->ended && !e->replan && !e->interrupted && v->state == ENGINE_RUNNABLE &&
	       kv_time(e) < (v->view == GUARD_VIEW_U ? end : late)) {
		if (v->kick) {
			v->kick = false;
			if (!kv_depart(v, GUARD_CAUSE_KICK, 0))
				return;
		}
		kv_deliver_pending(v);
		if (e->ended || v->state != ENGINE_RUNNABLE)
			return;
		enter(v);
	}
}

static bool monitored_changed(struct kv_vcpu *v)
{
	struct engine_page page;

	if (!v->monitor_armed)
		return true;
	vm_page(v->e->vm, v->id, GUARD_VIEW_U, v->monitor_gpa & KV_PAGE_MASK, &page);
	return page.kind != ENGINE_PAGE_RAM ||
	       memcmp(page.host + v->monitor_gpa % KV_PAGE, v->monitor, sizeof(v->monitor));
}

static void wake(struct kv_vcpu *v, uint64_t now)
{
	if (v->timer_period && now >= v->timer_next) {
		v->timer_next += ((now - v->timer_next) / v->timer_period + 1) * v->timer_period;
		if (v->state != ENGINE_OFF)
			kv_raise_vector(v, GH_TIMER_VECTOR);
	}
	if (v->state != ENGINE_ASLEEP)
		return;
	if ((v->nmi && !kv_events(v)->nmi.masked) ||
	    (v->pending.any && (kv_regs(v)->rflags & RFLAGS_IF)) ||
	    (v->mwait && monitored_changed(v)) || v->kick) {
		v->state = ENGINE_RUNNABLE;
		v->mwait = false;
	}
}

/* When the next timer goes off on a vCPU that it can wake or interrupt; 0: never. */
static uint64_t next_timer(struct engine *e)
{
	uint64_t next = 0;
	unsigned i;

	for (i = 0; i < e->nvcpus; i++) {
		struct kv_vcpu *v = &e->vcpu[i];

		if (!v->timer_period || v->state == ENGINE_OFF)
			continue;
		if (v->state == ENGINE_ASLEEP && !(kv_regs(v)->rflags & RFLAGS_IF))
			continue;
		if (!next || v->timer_next < next)
			next = v->timer_next;
	}
	return next;
}

/*
 * Nothing can run: time jumps to the next timer, or to when a vCPU has its core (`held`, 0: none
 * waits for it), or this is the end.
 */
static void idle(struct engine *e, uint64_t held)
{
	uint64_t next = next_timer(e);
	unsigned i, last = 0;
	bool stopped = false;

	if (held && (!next || held < next))
		next = held;

	if (next) {
		kv_time_skip(e, next);
		return;
	}
	for (i = 0; i < e->nvcpus; i++) {
		if (e->vcpu[i].state == ENGINE_ASLEEP)
			last = i;
		stopped |= e->vcpu[i].guard_stopped;
	}
	if (e->vcpu[last].state == ENGINE_ASLEEP || !stopped)
		kv_end(e, VM_EXIT_HALTED, last, kv_rip(&e->vcpu[last]),
		       "every vCPU sleeps and nothing can wake it");
	else
		kv_end(e, VM_EXIT_STOPPED, last, kv_rip(&e->vcpu[last]),
		       "the guard stopped the last running vCPU");
}

static void turn(struct engine *e)
{
	uint64_t now = kv_time(e), us = ALONE_US, end, late, timer, until, held = 0, next;
	bool ready[GH_MAX_VCPUS], watched = vm_placed(e->vm);
	unsigned i, n = 0;

	vm_placement_turn(e->vm);
	for (i = 0; i < e->nvcpus; i++) {
		wake(&e->vcpu[i], now);
		watched |= e->vcpu[i].mwait && e->vcpu[i].state == ENGINE_ASLEEP;
		ready[i] = e->vcpu[i].state == ENGINE_RUNNABLE;
		if (ready[i] && !vm_has_core(e->vm, i, &until)) {
			ready[i] = false;
			if (!held || until < held)
				held = until;
		}
		n += ready[i];
	}
	if (!n) {
		idle(e, held);
		return;
	}
	do
		e->turn = (e->turn + 1) % e->nvcpus;
	while (!ready[e->turn]);
	if (n > 1 || e->vcpu[e->turn].nmi)
		us = SHARED_US;
	if (watched)
		us = WATCH_US;
	next = vm_next_move(e->vm);
	if (held > now && held - now < us)
		us = held - now;
	if (next > now && next - now < us)
		us = next - now;
	end = now + us;
	late = now + us * INSIDE;
	timer = next_timer(e);
	if (timer && timer < late)
		late = timer > now ? timer : now + 1;
	slice(&e->vcpu[e->turn], end < late ? end : late, late);
}

void kv_run(struct engine *e)
{
	memset(&e->exit, 0, sizeof(e->exit));
	e->ended = false;
	kv_time_begin(e);
	while (!e->ended && !over(e)) {
		if (e->interrupted) {
			e->interrupted = 0;
			kv_end(e, VM_EXIT_INTERRUPTED, e->turn, kv_rip(&e->vcpu[e->turn]),
			       "interrupted");
			break;
		}
		turn(e);
	}
	kv_time_end(e);
}
