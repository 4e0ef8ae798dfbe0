/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The scheduler and one vCPU's slice.
 *
 * One thread runs all vCPUs in turn; which one and for how long comes from the seed, and time is
 * counted in bytes of executed code. So a run depends on nothing but guest, seed and version.
 * Slices end between blocks; now and then, and for a timer, at an exact instruction inside of one.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"

#define ALONE_BYTES 400000u /* slice of the only runnable vCPU */
#define SHORT_BYTES 100u    /* slices of several: this and up to LONG_BYTES more */
#define LONG_BYTES 4000u
#define WATCH_BYTES                                                                                \
	200u	       /* this much more where a write may wake from MWAIT, or delays are counted */
#define FINE_ONE_IN 8u /* slices that end at an exact instruction */
#define MAX_STUCK 100000u /* stops in a row without any progress */

void sim_end(struct engine *e, enum vm_exit_reason reason, unsigned vcpu, uint64_t rip,
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

void sim_tick(struct engine *e, uint64_t bytes)
{
	e->clock += bytes;
}

/* ---- slices ---- */

void sim_drop_everything(struct engine *e)
{
	unsigned i;

	e->drop_all = false;
	for (i = 0; i < e->nspaces; i++)
		sim_space_clear(e->spaces[i]);
}

/* Until the clock reaches `end`; `fine`: to the instruction. */
static void slice(struct sim_vcpu *v, uint64_t end, bool fine)
{
	struct engine *e = v->e;
	unsigned stuck = 0;

	e->replan = false;
	while (!e->ended && !e->replan && v->state == ENGINE_RUNNABLE && e->clock < end) {
		uint64_t before = e->clock;
		struct sim_space *s;
		uc_err err;

		if (e->drop_all)
			sim_drop_everything(e);
		if (v->kick) {
			v->kick = false;
			if (!sim_depart(v, GUARD_CAUSE_KICK, 0))
				return;
		}
		if (v->pending.any || v->nmi) {
			sim_deliver_pending(v);
			if (e->ended || v->state != ENGINE_RUNNABLE)
				return;
		}
		s = sim_space_for(v);
		if (!s)
			return;
		if (v->user_open && (v->cr4 & CR4_SMAP) && !(sim_rflags(v) & RFLAGS_AC))
			sim_mmu_close_user(v);
		sim_enter(v, s);
		/* With an interrupt held back by IF, look after every block. */
		s->pass = !fine || v->pending.any;
		err = sim_go(v, s, v->pending.any || v->nmi ? 0 : (int64_t)(end - e->clock));
		if (s->stop == STOP_SLICE && fine && e->clock == before)
			sim_step(v, s);
		else
			sim_handle(v, s, err);
		stuck = e->clock == before ? stuck + 1 : 0;
		if (stuck > MAX_STUCK)
			sim_unicorn_failed(v, "no progress");
	}
}

/* xorshift64*: every bit of the seed matters after the first draw. */
static uint64_t draw(struct engine *e)
{
	e->rng ^= e->rng >> 12;
	e->rng ^= e->rng << 25;
	e->rng ^= e->rng >> 27;
	return (e->rng * 0x2545f4914f6cdd1dull) >> 16;
}

static bool monitored_changed(struct sim_vcpu *v)
{
	struct engine_page page;

	if (!v->monitor_armed)
		return true;
	vm_page(v->e->vm, v->id, GUARD_VIEW_U, v->monitor_gpa & SIM_PAGE_MASK, &page);
	return page.kind != ENGINE_PAGE_RAM ||
	       memcmp(page.host + v->monitor_gpa % SIM_PAGE, v->monitor, sizeof(v->monitor));
}

static void wake(struct sim_vcpu *v)
{
	struct engine *e = v->e;

	if (v->timer_period && e->clock >= v->timer_next) {
		v->timer_next +=
			((e->clock - v->timer_next) / v->timer_period + 1) * v->timer_period;
		if (v->state != ENGINE_OFF)
			sim_raise_vector(v, GH_TIMER_VECTOR);
	}
	if (v->state != ENGINE_ASLEEP)
		return;
	if ((v->nmi && !v->nmi_blocked) || (v->pending.any && (sim_rflags(v) & RFLAGS_IF)) ||
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
		struct sim_vcpu *v = &e->vcpu[i];

		if (!v->timer_period || v->state == ENGINE_OFF)
			continue;
		if (v->state == ENGINE_ASLEEP && !(sim_rflags(v) & RFLAGS_IF))
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
		if (next > e->clock)
			e->clock = next;
		return;
	}
	for (i = 0; i < e->nvcpus; i++) {
		if (e->vcpu[i].state == ENGINE_ASLEEP)
			last = i;
		stopped |= e->vcpu[i].guard_stopped;
	}
	if (e->vcpu[last].state == ENGINE_ASLEEP || !stopped)
		sim_end(e, VM_EXIT_HALTED, last, sim_current_rip(&e->vcpu[last]),
			"every vCPU sleeps and nothing can wake it");
	else
		sim_end(e, VM_EXIT_STOPPED, last, sim_current_rip(&e->vcpu[last]),
			"the guard stopped the last running vCPU");
}

static void turn(struct engine *e)
{
	unsigned i, runnable[GH_MAX_VCPUS], n = 0;
	uint64_t end, timer, until, held = 0, next;
	bool fine = false, watched = vm_placed(e->vm);

	vm_placement_turn(e->vm);
	for (i = 0; i < e->nvcpus; i++) {
		wake(&e->vcpu[i]);
		watched |= e->vcpu[i].mwait && e->vcpu[i].state == ENGINE_ASLEEP;
		if (e->vcpu[i].state != ENGINE_RUNNABLE)
			continue;
		if (vm_has_core(e->vm, i, &until))
			runnable[n++] = i;
		else if (!held || until * SIM_BYTES_PER_TICK < held)
			held = until * SIM_BYTES_PER_TICK;
	}
	if (!n) {
		idle(e, held);
		return;
	}
	i = runnable[0];
	end = e->clock + ALONE_BYTES;
	if (n > 1 || watched) {
		i = runnable[draw(e) % n];
		end = e->clock + SHORT_BYTES + draw(e) % (watched ? WATCH_BYTES : LONG_BYTES);
		fine = draw(e) % FINE_ONE_IN == 0;
	}
	next = vm_next_move(e->vm) * SIM_BYTES_PER_TICK;
	if (next > e->clock && next < end)
		end = next;
	if (held > e->clock && held < end)
		end = held;
	timer = next_timer(e);
	if (timer && timer > e->clock && timer < end) {
		end = timer;
		fine = true;
	}
	if (end > e->budget)
		end = e->budget;
	slice(&e->vcpu[i], end, fine);
	if (n > 1) {
		/* splitmix64's step over what this turn did */
		e->schedule += 0x9e3779b97f4a7c15ull + i + sim_current_rip(&e->vcpu[i]);
		e->schedule = (e->schedule ^ e->schedule >> 30) * 0xbf58476d1ce4e5b9ull;
		e->schedule ^= e->schedule >> 27;
	}
	if (!e->ended && e->clock >= e->budget)
		sim_end(e, VM_EXIT_BUDGET, i, sim_current_rip(&e->vcpu[i]),
			"the budget of %llu instructions is used up",
			(unsigned long long)(e->budget / SIM_BYTES_PER_TICK));
}

/* ---- a guest that kills Unicorn ---- */

static const int fatal_signals[] = { SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL };
#define FATAL_SIGNALS (sizeof(fatal_signals) / sizeof(fatal_signals[0]))

static struct engine *volatile running;
static struct sigaction outer[FATAL_SIGNALS]; /* whose handlers these were */
static unsigned held;

static void on_fatal(int sig, siginfo_t *info, void *context)
{
	struct engine *e = running;
	sigset_t set;

	(void)context;
	if (sig == SIGSEGV && vm_write_fault(info->si_addr))
		return;
	if (!e || !e->entered || e->in_hook) {
		/* Our own bug: let it be seen, when it strikes again or by whoever asked for it. */
		for (unsigned i = 0; i < FATAL_SIGNALS; i++)
			if (fatal_signals[i] == sig)
				sigaction(sig, &outer[i], NULL);
		if (sig == SIGABRT)
			raise(sig);
		return;
	}
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	siglongjmp(e->crash, sig);
}

void sim_signals_hold(void)
{
	struct sigaction action;

	if (held++)
		return;
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = on_fatal;
	action.sa_flags = SA_SIGINFO;
	for (unsigned i = 0; i < FATAL_SIGNALS; i++)
		sigaction(fatal_signals[i], &action, &outer[i]);
}

void sim_signals_release(void)
{
	if (--held)
		return;
	for (unsigned i = 0; i < FATAL_SIGNALS; i++)
		sigaction(fatal_signals[i], &outer[i], NULL);
}

static void crashed(struct engine *e, int sig)
{
	struct sim_space *s = e->entered;
	struct sim_vcpu *v = s->vcpu;
	uint64_t rip = 0;

	e->entered = NULL;
	sim_accel_enter(NULL);
	uc_reg_read(s->uc, UC_X86_REG_RIP, &rip);
	/* The instance is never touched again, and the vCPU cannot go on without it. */
	s->broken = true;
	v->live = NULL;
	v->state = ENGINE_OFF;
	*sim_rip(v) = rip;
	sim_end(e, VM_EXIT_ENGINE, v->id, rip, "the guest's code crashed Unicorn (%s)",
		strsignal(sig));
}

void sim_run(struct engine *e)
{
	struct engine *before = running;
	unsigned i;
	int sig;

	memset(&e->exit, 0, sizeof(e->exit));
	e->ended = false;
	sim_signals_hold();
	running = e;
	sig = sigsetjmp(e->crash, 0);
	if (sig)
		crashed(e, sig);
	while (!e->ended) {
		if (e->interrupted) {
			e->interrupted = 0;
			for (i = 0; i + 1 < e->nvcpus && e->vcpu[i].state != ENGINE_RUNNABLE; i++)
				;
			sim_end(e, VM_EXIT_INTERRUPTED, i, sim_current_rip(&e->vcpu[i]),
				"interrupted");
			break;
		}
		if (e->clock >= e->budget) {
			sim_end(e, VM_EXIT_BUDGET, 0, sim_current_rip(&e->vcpu[0]),
				"the budget of %llu instructions is used up",
				(unsigned long long)(e->budget / SIM_BYTES_PER_TICK));
			break;
		}
		turn(e);
	}
	running = before;
	sim_signals_release();
}
