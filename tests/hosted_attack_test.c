// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does the judge of the attacks on a driver notice? Real attacks against a guard that was told not
 * to look, cases with a wrong expectation, registers that show: no such row may be ok. Needs
 * `make corpus-debian`, skips without it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hosted/attack.h"
#include "vmm/engine.h"

#define DRIVER "build/debian/e1000e.ko"

static struct hosted_options options(void)
{
	struct hosted_options o = { .module = DRIVER, .engine = &sim_engine, .vcpus = 1 };

	if (access(DRIVER, R_OK) != 0) {
		printf("SKIP: %s is not here: make corpus-debian\n", DRIVER);
		skip();
	}
	return o;
}

static struct hosted_attack_row attack_with(void (*run)(struct attack *a))
{
	const struct attack_case c = { "T", "of the test", run };
	struct hosted_options o = options();
	struct hosted_attack_row row;
	struct error err;

	if (!hosted_attack_one(&o, &c, &row, &err))
		fail_msg("%s", err.text);
	return row;
}

static struct hosted_attack_row attack_by_id(const char *id, const struct guard_policy *policy)
{
	struct hosted_attack_row *rows, row;
	struct hosted_options o = options();
	struct error err;
	size_t count;

	o.policy = policy;
	if (!hosted_attack(&o, &id, 1, &rows, &count, &err))
		fail_msg("%s", err.text);
	assert_int_equal(count, 1);
	row = rows[0];
	free(rows);
	return row;
}

static void jump_to_return_gate(struct attack *a)
{
	struct guard_cpu cpu;

	attack_begin(a);
	attack_cpu(a, attack_gate(a, GM_GATE_ENTER_RETURN), &cpu);
	attack_go(a, &cpu);
}

static void right(struct attack *a)
{
	jump_to_return_gate(a);
	assert_true(attack_expect(a, "right", GUARD_ENTER_RETURN, GUARD_V_NO_RECORD));
}

static void wrong_verdict(struct attack *a)
{
	jump_to_return_gate(a);
	assert_false(attack_expect(a, "verdict", GUARD_ENTER_RETURN, GUARD_V_STACK_CHANGED));
}

static void wrong_event(struct attack *a)
{
	jump_to_return_gate(a);
	assert_false(attack_expect(a, "event", GUARD_ENTER_CALL, GUARD_V_NO_RECORD));
}

static void wrong_ok(struct attack *a)
{
	jump_to_return_gate(a);
	assert_false(attack_expect(a, "ok", GUARD_ENTER_RETURN, GUARD_V_OK));
}

static void wrong_fault(struct attack *a)
{
	jump_to_return_gate(a);
	assert_false(attack_expect_fault(a, "fault", 13));
}

static void nothing_done(struct attack *a)
{
	attack_begin(a);
	assert_false(attack_expect(a, "nothing", GUARD_ENTER_RETURN, GUARD_V_NO_RECORD));
}

static void one_of_two(struct attack *a)
{
	right(a);
	wrong_verdict(a);
}

static void no_case(struct attack *a)
{
	(void)a;
}

static void unmet(struct attack *a)
{
	right(a);
	attack_check(a, "the moon is up", false);
}

static void too_much(struct attack *a)
{
	struct guard_cpu cpu;

	jump_to_return_gate(a);
	attack_cpu(a, attack_gate(a, GM_GATE_LEAVE), &cpu);
	attack_go(a, &cpu);
	assert_false(attack_expect(a, "two lines", GUARD_ENTER_RETURN, GUARD_V_NO_RECORD));
}

static void cases(void **state)
{
	static const struct {
		void (*run)(struct attack *a);
		const char *expected, *got;
	} wrong[] = {
		{ wrong_verdict, "ENTER-RETURN stack-changed", "ENTER-RETURN no-record" },
		{ wrong_event, "ENTER-CALL no-record", "ENTER-RETURN no-record" },
		{ wrong_ok, "ENTER-RETURN ok", "ENTER-RETURN no-record" },
		{ wrong_fault, "exception 13", "ENTER-RETURN no-record" },
		{ nothing_done, "ENTER-RETURN no-record", "nothing judged" },
		{ one_of_two, "ENTER-RETURN no-record, ENTER-RETURN stack-changed",
		  "ENTER-RETURN no-record" },
		{ no_case, "", "" },
		{ unmet, "ENTER-RETURN no-record",
		  "ENTER-RETURN no-record, not so: the moon is up" },
		{ too_much, "ENTER-RETURN no-record",
		  "ENTER-RETURN no-record + LEAVE-CALL not-privileged" },
	};
	struct hosted_attack_row row = attack_with(right);

	(void)state;
	assert_true(row.refused && row.kept && row.honest && row.ok);
	assert_string_equal(row.expected, "ENTER-RETURN no-record");
	assert_string_equal(row.got, "ENTER-RETURN no-record");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		row = attack_with(wrong[i].run);
		assert_false(row.refused);
		assert_false(row.ok);
		assert_true(row.kept && row.honest);
		assert_string_equal(row.expected, wrong[i].expected);
		assert_string_equal(row.got, wrong[i].got);
	}
}

/* The attack succeeds, since the guard was told not to look. */
static void blind(void **state)
{
	const struct guard_policy no_stack = { .stack = GUARD_STACK_NONE,
					       .chains = 32,
					       .required = 1 };
	const struct guard_policy scrub = { .registers = GUARD_REGS_SCRUB,
					    .chains = 32,
					    .required = 1 };
	struct hosted_attack_row row = attack_by_id("R7", NULL);

	(void)state;
	assert_true(row.ok);
	row = attack_by_id("R7", &scrub);
	assert_false(row.refused);
	assert_false(row.ok);
	assert_string_equal(row.expected, "ENTER-RETURN registers-changed");
	assert_non_null(strstr(row.got, "ENTER-RETURN ok"));
	row = attack_by_id("R3", &no_stack);
	assert_false(row.refused);
	assert_false(row.ok);
	row = attack_by_id("R5", &no_stack);
	assert_false(row.refused);
	assert_false(row.ok);
}

/* The case itself is as expected, but from then on nothing hides the registers. */
static void unhide(struct attack *a)
{
	right(a);
	assert_true(vm_unregister(a->h->vm, a->h->module));
}

static void withhold(struct attack *a)
{
	right(a);
	assert_true(vm_grant(a->h->vm, 0, a->h->module, 1, false));
}

static void afterwards(void **state)
{
	struct hosted_attack_row row = attack_with(unhide);

	(void)state;
	assert_true(row.refused);
	assert_false(row.kept);
	assert_false(row.ok);
	row = attack_with(withhold);
	assert_true(row.refused && row.kept);
	assert_false(row.honest);
	assert_false(row.ok);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cases),
		cmocka_unit_test(blind),
		cmocka_unit_test(afterwards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
