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

#define ALONE_BYTES 400000u  /* slice of the only runnable vCPU */
#define SHORT_BYTES 100u     /* slices of several: this and up to LONG_BYTES more */
#define LONG_BYTES 4000u
#define FINE_ONE_IN 8u	     /* slices that end at an exact instruction */
#define MAX_STUCK 100000u    /* stops in a row without any progress */

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

void sim_save(struct sim_vcpu *v)
{
	if (!v->live)
		return;
	uc_context_save(v->live->uc, v->ctx);
	v->live = NULL;
}

void sim_enter(struct sim_vcpu *v, struct sim_space *s)
{
	if (v->live == s)
		return;
	sim_save(v);
	uc_context_restore(s->uc, v->ctx);
	v->live = s;
}

uint64_t sim_current_rip(struct sim_vcpu *v)
{
	uint64_t rip = 0;

	if (!v->live)
		return *sim_rip(v);
	uc_reg_read(v->live->uc, UC_X86_REG_RIP, &rip);
	return rip;
}

/* ---- one entry into Unicorn ---- */

/* Runs at most about `bytes` of code. Fills s->stop and the like; time passes. */
static uc_err go(struct sim_vcpu *v, struct sim_space *s, int64_t bytes)
{
	struct engine *e = v->e;
	uint64_t rip = sim_current_rip(v), now = 0;
	unsigned insn = 0;
	uint8_t code[15];
	uc_err err;

	if (s->stepping)
		sim_insn_class(code, sim_space_code(s, rip, code), &insn);
	s->left = s->granted = bytes;
	s->stop = STOP_NONE;
	s->stop_rip = 0;
	s->captured = false;
	sim_accel_enter(s);
	e->entered = s;
	err = uc_emu_start(s->uc, rip, 0, 0, 0);
	e->entered = NULL;
	sim_accel_enter(NULL);
	e->in_hook = false;
	if (s->stepping)
		sim_tick(e, s->step_begun ? insn : 0);
	else
		sim_tick(e, (uint64_t)(bytes - s->left));
	if (s->captured) {
		v->live = NULL; /* the context is newer */
		*sim_rip(v) = s->stop_rip;
		return err;
	}
	uc_reg_read(s->uc, UC_X86_REG_RIP, &now);
	if (s->stop == STOP_NONE)
		s->stop_rip = now;
	else if (now != s->stop_rip)
		uc_reg_write(s->uc, UC_X86_REG_RIP, &s->stop_rip);
	return err;
}

/* Blocks that begin at rip are made anew. */
static void forget_block(struct sim_space *s, uint64_t rip)
{
	const struct sim_region *r = sim_space_find(s, rip);

	if (r && (r->prot & UC_PROT_EXEC))
		uc_ctl_remove_cache(s->uc, rip, rip + 1);
}

static void handle(struct sim_vcpu *v, struct sim_space *s, uc_err err);

void sim_step(struct sim_vcpu *v, struct sim_space *s)
{
	uc_err err;

	sim_enter(v, s);
	s->step_rip = sim_current_rip(v);
	s->stepping = true;
	s->step_begun = s->step_code = false;
	if (sim_fast)
		forget_block(s, s->step_rip);
	err = go(v, s, 0);
	s->stepping = false;
	if (sim_fast)
		forget_block(s, s->step_rip);
	if (s->stop != STOP_STEPPED)
		handle(v, s, err);
}

/* ---- what a stop asks for ---- */

static void unicorn_failed(struct sim_vcpu *v, const char *what)
{
	sim_end(v->e, VM_EXIT_ENGINE, v->id, sim_current_rip(v), "Unicorn: %s", what);
}

/* A write to a verified copy is dropped, its instruction executed all the same. */
static void drop_write(struct sim_vcpu *v, struct sim_space *s)
{
	struct sim_region *r;
	struct sim_event ev;
	uint64_t gva = s->stop_gva;

	if (!sim_space_find(s, gva) && sim_mmu_data(s, gva, false, false, &ev) != MMU_DONE) {
		unicorn_failed(v, "a verified page cannot be mapped");
		return;
	}
	r = sim_space_find(s, gva);
	sim_touch(v, r->gpa + (gva - r->gva), s->stop_rip);
	if (r->flags & REGION_SCRATCH || !sim_mmu_scratch(s, gva)) {
		unicorn_failed(v, "a verified page cannot be shielded");
		return;
	}
	sim_step(v, s);
	r = sim_space_find(s, gva);
	if (r && (r->flags & REGION_SCRATCH))
		sim_space_drop_range(s, gva & SIM_PAGE_MASK, SIM_PAGE);
}

static void code_write(struct sim_vcpu *v, struct sim_space *s)
{
	struct sim_region *r = sim_space_find(s, s->stop_gva), *here = sim_space_find(s, s->stop_rip);
	uint64_t gpa = r->gpa + (s->stop_gva - r->gva);

	/* An instruction that writes to its own page must be the last of its block. */
	if (v->e->code[gpa / SIM_PAGE] < SIM_CODE_WRITES && here && (here->flags & REGION_GUEST) &&
	    ((here->gpa + (s->stop_rip - here->gva)) ^ gpa) < SIM_PAGE)
		sim_step(v, s);
	else
		sim_mmu_wrote(v->e, gpa, s->stop_size);
}

static void data_stop(struct sim_vcpu *v, struct sim_space *s)
{
	struct sim_event ev;

	switch (sim_mmu_data(s, s->stop_gva, s->stop_write, false, &ev)) {
	case MMU_DONE:
		break;
	case MMU_FAULT:
		sim_deliver(v, &ev);
		break;
	case MMU_CODE:
		sim_enter(v, s);
		code_write(v, s);
		break;
	case MMU_DROP:
		sim_enter(v, s);
		drop_write(v, s);
		break;
	default:
		unicorn_failed(v, "a page cannot be mapped");
		break;
	}
}

static void fetch_stop(struct sim_vcpu *v, struct sim_space *s)
{
	struct sim_event ev;

	switch (sim_mmu_fetch(s, s->stop_gva, &ev)) {
	case MMU_DONE:
		break;
	case MMU_FAULT:
		sim_deliver(v, &ev);
		break;
	case MMU_REFUSED:
		sim_tick(v->e, SIM_EVENT_BYTES);
		sim_cross_fetch(v);
		break;
	default:
		unicorn_failed(v, "a page of code cannot be mapped");
		break;
	}
}

static void vector_stop(struct sim_vcpu *v, struct sim_space *s)
{
	uint32_t with_error = 1u << EXC_DF | 1u << EXC_TS | 1u << EXC_NP | 1u << EXC_SS |
			      1u << EXC_GP | 1u << EXC_PF | 1u << 17;
	unsigned i;

	if (s->stop_vector > 31) {
		unicorn_failed(v, "an exception that no CPU has");
		return;
	}
	sim_save(v);
	for (i = 0; i < sim_layout.nresidue; i++)
		memcpy(v->blob + sim_layout.residue[i], sim_layout.clean + sim_layout.residue[i], 4);
	if (s->stop_vector == EXC_DB)
		v->sys.dr[6] |= 0x4000;
	/* Unicorn does not tell error codes: 0. */
	sim_exception(v, (uint8_t)s->stop_vector, with_error >> s->stop_vector & 1, 0);
}

/* Unicorn came back by itself. */
static void stray_stop(struct sim_vcpu *v, struct sim_space *s, uc_err err)
{
	struct sim_event ev;

	/* Address 0 is where Unicorn is told to stop: it is no code for us. */
	if (err == UC_ERR_OK && !s->stop_rip && sim_mmu_fetch(s, 0, &ev) == MMU_FAULT)
		sim_deliver(v, &ev);
	else
		unicorn_failed(v, err == UC_ERR_OK ? "stopped by itself" : uc_strerror(err));
}

static void handle(struct sim_vcpu *v, struct sim_space *s, uc_err err)
{
	if (v->e->ended)
		return;
	switch (s->stop) {
	case STOP_SLICE:
	case STOP_STEPPED:
		break;
	case STOP_INSN:
		sim_save(v);
		sim_emulate(v, s);
		break;
	case STOP_FETCH:
		fetch_stop(v, s);
		break;
	case STOP_DATA:
		data_stop(v, s);
		break;
	case STOP_VECTOR:
		vector_stop(v, s);
		break;
	case STOP_UD:
		sim_exception(v, EXC_UD, false, 0);
		break;
	case STOP_NONE:
		stray_stop(v, s, err);
		break;
	}
}

/* ---- slices ---- */

static void drop_everything(struct engine *e)
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
			drop_everything(e);
		if (v->kick) {
			v->kick = false;
			if (!sim_depart(v, GUARD_CAUSE_KICK, 0))
				return;
		}
		if (v->npending || v->nmi) {
			sim_deliver_pending(v);
			if (e->ended || v->state != ENGINE_RUNNABLE)
				return;
		}
		s = sim_space_for(v);
		if (!s)
			return;
		sim_enter(v, s);
		/* With an interrupt held back by IF, look after every block. */
		s->pass = !fine || v->npending;
		err = go(v, s, v->npending || v->nmi ? 0 : (int64_t)(end - e->clock));
		if (s->stop == STOP_SLICE && fine && e->clock == before)
			sim_step(v, s);
		else
			handle(v, s, err);
		stuck = e->clock == before ? stuck + 1 : 0;
		if (stuck > MAX_STUCK)
			unicorn_failed(v, "no progress");
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
		v->timer_next += ((e->clock - v->timer_next) / v->timer_period + 1) * v->timer_period;
		if (v->state != ENGINE_OFF)
			sim_raise_vector(v, GH_TIMER_VECTOR);
	}
	if (v->state != ENGINE_ASLEEP)
		return;
	if ((v->nmi && !v->nmi_blocked) || (v->npending && (sim_rflags(v) & RFLAGS_IF)) ||
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

/* Nothing can run: time jumps to the next timer, or this is the end. */
static void idle(struct engine *e)
{
	uint64_t next = next_timer(e);
	unsigned i, last = 0;
	bool stopped = false;

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
	uint64_t end, timer;
	bool fine = false;

	for (i = 0; i < e->nvcpus; i++) {
		wake(&e->vcpu[i]);
		if (e->vcpu[i].state == ENGINE_RUNNABLE)
			runnable[n++] = i;
	}
	if (!n) {
		idle(e);
		return;
	}
	i = runnable[0];
	end = e->clock + ALONE_BYTES;
	if (n > 1) {
		i = runnable[draw(e) % n];
		end = e->clock + SHORT_BYTES + draw(e) % LONG_BYTES;
		fine = draw(e) % FINE_ONE_IN == 0;
	}
	timer = next_timer(e);
	if (timer && timer > e->clock && timer < end) {
		end = timer;
		fine = true;
	}
	if (end > e->budget)
		end = e->budget;
	slice(&e->vcpu[i], end, fine);
	if (!e->ended && e->clock >= e->budget)
		sim_end(e, VM_EXIT_BUDGET, i, sim_current_rip(&e->vcpu[i]),
			"the budget of %llu instructions is used up",
			(unsigned long long)(e->budget / SIM_BYTES_PER_TICK));
}

/* ---- a guest that kills Unicorn ---- */

static const int fatal_signals[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL};
#define FATAL_SIGNALS (sizeof(fatal_signals) / sizeof(fatal_signals[0]))

static struct engine *volatile running;

static void on_fatal(int sig)
{
	struct engine *e = running;
	sigset_t set;

	if (!e || !e->entered || e->in_hook) {
		/* Our own bug: let it be seen. */
		signal(sig, SIG_DFL);
		raise(sig);
		return;
	}
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	siglongjmp(e->crash, sig);
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
	struct sigaction action, old[FATAL_SIGNALS];
	struct engine *outer = running;
	unsigned i;
	int sig;

	memset(&e->exit, 0, sizeof(e->exit));
	e->ended = false;
	memset(&action, 0, sizeof(action));
	action.sa_handler = on_fatal;
	for (i = 0; i < FATAL_SIGNALS; i++)
		sigaction(fatal_signals[i], &action, &old[i]);
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
	running = outer;
	for (i = 0; i < FATAL_SIGNALS; i++)
		sigaction(fatal_signals[i], &old[i], NULL);
}
