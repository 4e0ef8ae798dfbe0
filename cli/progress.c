/* SPDX-License-Identifier: GPL-2.0-only */
#define _GNU_SOURCE /* fopencookie() */
#include "cli/progress.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "vmm/vm.h"

#define SILENT_SECONDS 2

static struct {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool on, stop, shown;
	char what[100];
} progress = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

static void *show(void *arg)
{
	struct timespec start, now;

	(void)arg;
	clock_gettime(CLOCK_REALTIME, &start);
	pthread_mutex_lock(&progress.lock);
	while (!progress.stop) {
		clock_gettime(CLOCK_REALTIME, &now);
		if (now.tv_sec - start.tv_sec >= SILENT_SECONDS) {
			fprintf(stderr, "\r\033[K%s, %ld s", progress.what,
				(long)(now.tv_sec - start.tv_sec));
			fflush(stderr);
			progress.shown = true;
		}
		now.tv_sec += 1;
		pthread_cond_timedwait(&progress.wake, &progress.lock, &now);
	}
	pthread_mutex_unlock(&progress.lock);
	return NULL;
}

void progress_set(const char *what)
{
	pthread_mutex_lock(&progress.lock);
	snprintf(progress.what, sizeof(progress.what), "%s", what);
	pthread_mutex_unlock(&progress.lock);
}

void progress_start(const char *what)
{
	if (progress.on || !isatty(STDERR_FILENO))
		return;
	progress_set(what);
	progress.stop = progress.shown = false;
	progress.on = pthread_create(&progress.thread, NULL, show, NULL) == 0;
}

void progress_stop(void)
{
	if (!progress.on)
		return;
	pthread_mutex_lock(&progress.lock);
	progress.stop = true;
	pthread_cond_signal(&progress.wake);
	pthread_mutex_unlock(&progress.lock);
	pthread_join(progress.thread, NULL);
	if (progress.shown)
		fprintf(stderr, "\r\033[K");
	progress.on = false;
}

static ssize_t write_after_wipe(void *cookie, const char *buf, size_t size)
{
	size_t done;

	(void)cookie;
	pthread_mutex_lock(&progress.lock);
	if (progress.shown) {
		fprintf(stderr, "\r\033[K");
		fflush(stderr);
		progress.shown = false;
	}
	done = fwrite(buf, 1, size, stdout);
	fflush(stdout);
	pthread_mutex_unlock(&progress.lock);
	return (ssize_t)done;
}

FILE *progress_stdout(void)
{
	static const cookie_io_functions_t io = { .write = write_after_wipe };
	FILE *f;

	if (!isatty(STDERR_FILENO))
		return stdout;
	f = fopencookie(NULL, "w", io);
	if (!f)
		return stdout;
	setvbuf(f, NULL, _IOLBF, 0);
	return f;
}

static volatile sig_atomic_t interrupted, timed, over;

static void on_signal(int sig)
{
	static const struct itimerval often = { { 0, 20000 }, { 0, 20000 } };
	struct vm *vm = vm_running();

	if (interrupted)
		_exit(128 + sig);
	interrupted = 1;
	if (vm)
		vm_interrupt(vm);
	setitimer(ITIMER_REAL, &often, NULL);
}

/* What is still being loaded is stopped once it runs. */
static void on_alarm(int sig)
{
	struct vm *vm = vm_running();

	(void)sig;
	/* Alarms come for a timeout, and repeat after it or after Ctrl-C. */
	if (timed && !interrupted)
		interrupted = over = 1;
	if (vm)
		vm_interrupt(vm);
}

void interrupt_catch(void)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct sigaction again = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };

	sigemptyset(&sa.sa_mask);
	sigemptyset(&again.sa_mask);
	sigaction(SIGALRM, &again, NULL);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

bool interrupt_seen(void)
{
	return interrupted;
}

void timeout_start(unsigned seconds)
{
	struct itimerval t = { .it_interval = { 0, 20000 }, .it_value = { seconds, 0 } };

	if (!seconds)
		return;
	timed = 1;
	setitimer(ITIMER_REAL, &t, NULL);
}

bool timeout_seen(void)
{
	return over;
}
