/* SPDX-License-Identifier: GPL-2.0-only */
/* Tests of the KVM engine: where there is no usable /dev/kvm they skip, and say why. */
#ifndef TESTS_SUPPORT_KVMTEST_H
#define TESTS_SUPPORT_KVMTEST_H

#include "tests/support/simvm.h"
#include "tests/support/vmtest.h"

/* Chooses the KVM engine for sv_create(). false: there is none here; "SKIP: why" is printed. */
bool kt_usable(void);
/* Open file descriptors of this process. */
unsigned kt_descriptors(void);
/* Ends a run of s after `ms` milliseconds, as Ctrl-C would. */
void kt_run_for(struct simvm *s, unsigned ms);

#endif
