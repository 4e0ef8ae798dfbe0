/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The KVM engine, snippet by snippet: that guest code runs, what the CPU does with its exceptions,
 * interrupts that the engine delivers, devices, ends, and that nothing of it stays behind. What it
 * makes of views and crossings is in kvm_views_test.c.
 */
#include "tests/support/kvmtest.h"

#define KT_SKIP_UNLESS_USABLE()                                                                    \
	do {                                                                                       \
		if (!kt_usable())                                                                  \
			skip();                                                                    \
	} while (0)

SNIPPET(sums, "xor %eax,%eax\n mov $100,%ecx\n 1: add %rcx,%rax\n loop 1b\n"
	      "mov %rax,(%rdi)\n mov $5,%eax\n out %eax,$0xf4");

static void test_runs(void **state)
{
	struct simvm *s;

	(void)state;
	KT_SKIP_UNLESS_USABLE();
	s = sv_create(1, 1, 0);
	SV_RUN(s, sums);
	assert_int_equal(s->exit.reason, VM_EXIT_GUEST);
	assert_int_equal(s->exit.status, 5);
	assert_int_equal(*sv_data(s, 0), 5050);
	sv_destroy(s);
}

SNIPPET(spins, "1: jmp 1b");

static void test_budget(void **state)
{
	struct simvm *s;

	(void)state;
	KT_SKIP_UNLESS_USABLE();
	s = sv_create(1, 1, 50000);
	SV_RUN(s, spins);
	assert_int_equal(s->exit.reason, VM_EXIT_BUDGET);
	assert_true(vm_time(s->vm) >= 50000);
	sv_destroy(s);
}

static void test_interrupted(void **state)
{
	struct simvm *s;

	(void)state;
	KT_SKIP_UNLESS_USABLE();
	s = sv_create(1, 1, 0);
	SV_CODE_AT(s, 0, spins);
	sv_start(s, 0, 0, false);
	kt_run_for(s, 30);
	assert_int_equal(s->exit.reason, VM_EXIT_INTERRUPTED);
	assert_int_equal(s->exit.rip, SV_CODE);
	/* and goes on from there */
	kt_run_for(s, 30);
	assert_int_equal(s->exit.reason, VM_EXIT_INTERRUPTED);
	sv_destroy(s);
}

static void test_nothing_stays(void **state)
{
	unsigned before, i;

	(void)state;
	KT_SKIP_UNLESS_USABLE();
	before = kt_descriptors();
	for (i = 0; i < 50; i++) {
		struct simvm *s = sv_create(1 + i % 3, 1, 0);

		if (i % 5 == 0)
			SV_RUN(s, sums);
		sv_destroy(s);
	}
	assert_int_equal(kt_descriptors(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_interrupted),
		cmocka_unit_test(test_nothing_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
