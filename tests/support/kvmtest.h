/* SPDX-License-Identifier: GPL-2.0-only */
/* Tests of the KVM engine: where there is no usable /dev/kvm they skip, and say why. */
#ifndef TESTS_SUPPORT_KVMTEST_H
#define TESTS_SUPPORT_KVMTEST_H

#include "tests/support/simvm.h"
#include "tests/support/vmtest.h"

/* A test on the KVM engine: sv_create() takes it. Skips with "SKIP: why" if there is none here. */
#define KT_TEST(f)                                                                                 \
	{                                                                                          \
#f, kt_run, NULL, NULL, (void *)(f)                                                \
	}
/* *state is the test. */
void kt_run(void **state);
/* Open file descriptors of this process. */
unsigned kt_descriptors(void);
/* Ends a run of s after `ms` milliseconds, as Ctrl-C would. */
void kt_run_for(struct simvm *s, unsigned ms);

#endif
