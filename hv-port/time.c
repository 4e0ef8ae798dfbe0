/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Time and slices. KVM counts no instructions, so engine time is the CPU time that this thread
 * spends in KVM_RUN, one unit a microsecond: about an instruction on a host that emulates them, more
 * on others. What the engine does itself is no time of the guest's, or a timer that goes off often
 * would leave it none. Time jumps when every vCPU sleeps until a timer.
 *
 * KVM_RUN comes back by a POSIX timer whose signal goes to this thread and sets immediate_exit;
 * whether the slice is over, guest time says, so a loaded machine does not cut slices short. The
 * timer repeats: a signal that comes at the wrong moment costs one period.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hv-port/kvm.h"

#define SLICE_SIGNAL (SIGRTMIN + 7)
#define EXIT_NS 1000u
#define TICK_NS 3000000 /* entering may take a millisecond after slots have changed */

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static struct engine *volatile active; /* whose slice ends at the signal */

static void on_tick(int sig)
{
	struct engine *e = active;
	struct kvm_run *run;

	(void)sig;
	if (!e)
		return;
	run = e->running;
	if (run)
		run->immediate_exit = 1;
}

static uint64_t cpu_ns(void)
{
	struct timespec t = { 0 };

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t kv_time(struct engine *e)
{
	return e->clock / 1000;
}

void kv_time_skip(struct engine *e, uint64_t to)
{
	if (to > kv_time(e))
		e->clock = to * 1000;
}

void kv_time_enter(struct engine *e)
{
	e->entered = cpu_ns();
}

/*
 * Going in and out is no guest time either; but every entry counts for something, so that a storm of
 * exits uses the budget up too. A step is one instruction, however long it takes.
 */
void kv_time_leave(struct engine *e, bool step)
{
	uint64_t ns = cpu_ns() - e->entered;

	e->clock += EXIT_NS;
	if (!step && ns > e->overhead)
		e->clock += ns - e->overhead;
}

uint64_t kv_time_of_call(int fd, unsigned long request)
{
	uint64_t best = UINT64_MAX, t;
	unsigned i;

	for (i = 0; i < 16; i++) {
		t = cpu_ns();
		ioctl(fd, request, 0);
		t = cpu_ns() - t;
		if (t < best)
			best = t;
	}
	return best;
}

bool kv_time_create(struct engine *e, struct error *err)
{
	struct sigevent ev;

	memset(&ev, 0, sizeof(ev));
	ev.sigev_notify = SIGEV_THREAD_ID;
	ev.sigev_signo = SLICE_SIGNAL;
	ev.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &ev, &e->timer))
		return error_set(err, "engine kvm: no timer for slices: %s", strerror(errno));
	e->has_timer = true;
	return true;
}

void kv_time_destroy(struct engine *e)
{
	if (e->has_timer)
		timer_delete(e->timer);
	e->has_timer = false;
}

static void every(struct engine *e, long ns)
{
	struct itimerspec t = { .it_interval = { 0, ns }, .it_value = { 0, ns } };

	timer_settime(e->timer, 0, &t, NULL);
}

void kv_time_begin(struct engine *e)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = on_tick;
	action.sa_flags = SA_RESTART; /* KVM_RUN comes back all the same */
	sigaction(SLICE_SIGNAL, &action, &e->old_action);
	active = e;
	every(e, TICK_NS);
}

/* Signals that are already under way find the handler idle, not the default action. */
void kv_time_end(struct engine *e)
{
	sigset_t set, old;
	struct timespec none = { 0, 0 };

	every(e, 0);
	active = NULL;
	sigemptyset(&set);
	sigaddset(&set, SLICE_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &set, &old);
	while (sigtimedwait(&set, NULL, &none) > 0)
		;
	sigaction(SLICE_SIGNAL, &e->old_action, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}
