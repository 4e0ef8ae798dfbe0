/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/support/kvmtest.h"

#include <dirent.h>
#include <signal.h>
#include <sys/time.h>

void kt_run(void **state)
{
	static const struct vm_config cfg = { .engine = &kvm_engine,
					      .vcpus = 1,
					      .x_kind = GM_X_OUT };
	struct error err = { "" };
	struct vm *vm = vm_create(&cfg, &err);
	CMUnitTestFunction test;

	memcpy(&test, state, sizeof(test));
	sv_engine = &kvm_engine;
	if (!vm) {
		printf("SKIP: %s\n", err.text);
		skip();
	}
	vm_destroy(vm);
	test(state);
}

unsigned kt_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void on_alarm(int sig)
{
	struct vm *vm = vm_running();

	(void)sig;
	if (vm)
		vm_interrupt(vm);
}

void kt_run_for(struct simvm *s, unsigned ms)
{
	struct itimerval t = { .it_interval = { 0, 20000 },
			       .it_value = { ms / 1000, ms % 1000 * 1000 } };
	const struct itimerval off = { 0 };
	struct sigaction sa = { .sa_handler = on_alarm }, old;

	sigaction(SIGALRM, &sa, &old);
	setitimer(ITIMER_REAL, &t, NULL);
	sv_run(s);
	setitimer(ITIMER_REAL, &off, NULL);
	sigaction(SIGALRM, &old, NULL);
}
