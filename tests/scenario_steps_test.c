/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Steps that change who runs: guest threads and their scheduler, vCPUs that stop, are reset and
 * started again; configuration space; manifests as data; what a race may come to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scenario/run.h"
#include "vmm/engine.h"

#define HEAD1 "scenario T\ntitle t\nclass sync\nvcpus 1\nmodule counter\nthread 0\n"
#define HEAD2 "scenario T\ntitle t\nclass sync\nvcpus 2\nmodule target device\nthread 0\n"
#define RACE2 "scenario T\ntitle t\nclass race\nvcpus 2\nmodule target device\nthread 0\n"

static char corpus_build[512];

static bool run_text(const char *text, struct scenario_result *r, struct error *err)
{
	struct scenario_options opt = {
		.engine = &sim_engine, .corpus = corpus_build, .seed = 1, .oracle = ORACLE_MODEL
	};
	struct scenario *s = NULL;
	bool ok;

	memset(r, 0, sizeof(*r));
	ok = scenario_parse("t", text, strlen(text), &s, err) && scenario_run(s, &opt, r, err);
	scenario_free(s);
	return ok;
}

static const char *story(const struct scenario_result *r)
{
	static char text[4096];
	size_t n = 0;

	text[0] = 0;
	for (unsigned i = 0; i < r->failures && i < SCN_MAX_FAILURES && n < sizeof(text); i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "\n%u: %s", r->failure[i].line,
				      r->failure[i].text);
	return text;
}

static void passes(const char *text)
{
	struct scenario_result r;
	struct error err;

	if (!run_text(text, &r, &err))
		fail_msg("%s", err.text);
	if (!r.passed)
		fail_msg("%s", story(&r));
}

/* It runs, and one failure is on this line and has these words. */
static void fails(const char *text, uint32_t line, const char *words)
{
	struct scenario_result r;
	struct error err;

	if (!run_text(text, &r, &err))
		fail_msg("%s", err.text);
	assert_false(r.passed);
	for (unsigned i = 0; i < r.failures && i < SCN_MAX_FAILURES; i++)
		if (r.failure[i].line == line && strstr(r.failure[i].text, words))
			return;
	fail_msg("no failure on line %u with '%s' in:%s", line, words, story(&r));
}

static void refused(const char *text, const char *words)
{
	struct scenario_result r;
	struct error err = { "" };

	assert_false(run_text(text, &r, &err));
	if (!strstr(err.text, words))
		fail_msg("'%s' does not say '%s'", err.text, words);
}

/* ---- threads ---- */

static void test_switch(void **state)
{
	(void)state;
	/* each has its own variables, stack and open call-outs; it goes on behind its switch */
	passes(HEAD1
	       "let 0 5\nswitch 4\nwrite8 puppet:scratch+8 @v0\nexpect-read8 puppet:scratch 7\n"
	       "expect-read8 puppet:scratch+8 5\nswitch 4\nexpect-read8 puppet:scratch+16 7\n"
	       "thread 4\nlet 0 7\nwrite8 puppet:scratch @v0\nswitch 0\n"
	       "write8 puppet:scratch+16 @v0\nswitch 0\n");
	/* the list's end brings the vCPU back to its own thread */
	passes(HEAD1 "switch 5\nexpect-read8 puppet:scratch 1\nswitch 4\n"
		     "expect-read8 puppet:scratch 2\nthread 4\nwrite8 puppet:scratch 2\n"
		     "thread 5\nwrite8 puppet:scratch 1\n");
	passes(HEAD1 "write8 puppet:scratch @stack\nswitch 4\nexpect-read8 puppet:scratch @stack0\n"
		     "expect-read8 puppet:scratch+8 puppet:stacks+0x43fc0\n"
		     "thread 4\nwrite8 puppet:scratch+8 @stack\n");
}

static void test_switch_in_a_callout(void **state)
{
	(void)state;
	passes(HEAD1
	       "call counter:enter/counter_callout 1\ncallout kernel_callout\nswitch 4\n"
	       "expect ENTER-CALL ok act=1\nexpect LEAVE-CALL ok act=1\n"
	       "expect ENTER-CALL ok act=2\nexpect LEAVE-CALL ok act=2\nreturn 5\n"
	       "expect ENTER-RETURN ok act=1\nexpect LEAVE-RETURN ok act=1\nreturns 6\nswitch 4\n"
	       "expect ENTER-RETURN ok act=2\nexpect LEAVE-RETURN ok act=2\n"
	       "thread 4\ncall counter:enter/counter_callout 2\ncallout kernel_callout\nswitch 0\n"
	       "return 7\nreturns 13\n");
}

static void test_switch_to_another_vcpu(void **state)
{
	(void)state;
	passes(HEAD2 "switch 4\nsignal 1\nwait 2\nexpect-read8 puppet:scratch 3\n"
		     "thread 1\nwait 1\nswitch 4\nsignal 2\n"
		     "thread 4\nwrite8 puppet:scratch 2\nswitch 0\nwrite8 puppet:scratch 3\n");
}

static void test_switch_refused(void **state)
{
	(void)state;
	/* never begun, as it belongs to a vCPU; ended; running elsewhere */
	fails(HEAD2 "switch 1\nthread 1\nwait 1\n", 7, "switch 1: it runs elsewhere, has ended");
	fails(HEAD1 "switch 4\nswitch 4\nthread 4\nsignal 1\n", 8, "has ended");
	refused(HEAD1 "switch 8\n", "threads are 0 to 7");
	fails(HEAD1 "signal 1\nthread 4\nsignal 2\n", 9, "not reached");
}

static void test_yield(void **state)
{
	(void)state;
	passes(HEAD1 "yield\nyield\nexpect-read8 puppet:scratch 0x2121\nthread 4\n"
		     "write1 puppet:scratch 0x21\nthread 6\nwrite1 puppet:scratch+1 0x21\n");
	passes(HEAD1 "yield\nexpect-read8 puppet:scratch 0\n");
}

/* Timer interrupts alone move the vCPU between two loops inside the module. */
static void test_preempt(void **state)
{
	struct scenario_result r;
	struct error err;

	(void)state;
	if (!run_text(
		    "scenario T\ntitle t\nclass race\nvcpus 1\nmodule target\nmodule counter\nthread 0\n"
		    "preempt 300\ncall target:enter/target_meet puppet:scratch puppet:scratch+8\n"
		    "returns 1\npreempt 0\nmaybe ENTER-CALL ok\nmaybe ENTER-CALL ok\n"
		    "expect LEAVE-RETURN ok\nmaybe LEAVE-RETURN ok\n"
		    "expect-read8 puppet:scratch+8 1\n"
		    "thread 4\ncall counter:enter/counter_spin 2000\nwrite8 puppet:scratch+8 1\n",
		    &r, &err))
		fail_msg("%s", err.text);
	if (!r.passed)
		fail_msg("%s", story(&r));
}

/* ---- vCPUs that stop ---- */

static void test_stops(void **state)
{
	(void)state;
	passes(HEAD2 "wait 1\nreset-vcpu 1\n"
		     "thread 1\nsignal 1\nawait8 puppet:scratch 1\nstops reset\nexpect RESET ok\n");
	fails(HEAD1 "honest counter:enter/counter_get 1\nstops triple-fault\n", 8,
	      "this vCPU went on");
	fails(HEAD2 "fail-next 0 1\ncall target:enter/target_check\nstops triple-fault\n"
		    "expect ENTER-CALL ok\nexpect LEAVE-RETURN lower-failed\n",
	      9, "vCPU 0 did not stop so");
	fails(HEAD2 "fail-next 0 1\ncall target:enter/target_check\nstops stopped\n"
		    "expect ENTER-CALL ok\nexpect LEAVE-RETURN ok\n",
	      11, "expected LEAVE-RETURN ok; got");
	/* a vCPU that stops by itself is no longer in order because another one was told to */
	fails(HEAD2
	      "wait 1\nthread 1\nfail-next 0 1\nsignal 1\ncall target:enter/target_check\nstops reset\n"
	      "expect ENTER-CALL ok\nexpect LEAVE-RETURN lower-failed\n",
	      12, "vCPU 1 did not stop so");
	refused(HEAD1 "stops dead\n", "not a way to stop: 'dead'");
	refused(HEAD1 "stops reset\nread8 0\n", "t:8: behind 'stops' come only expectations");
	refused(HEAD1 "signal 1\nthread 4\nstops reset\n", "only a vCPU's own thread");
	refused(HEAD1 "start-vcpu 1\n", "not so many vCPUs");
}

static void test_guard_stops_the_vm(void **state)
{
	(void)state;
	passes("scenario T\ntitle t\nmodule counter refusal=stop\nthread 0\n"
	       "honest counter:enter/counter_get 1\ncall counter:enter-return\nstops vm\n"
	       "expect ENTER-RETURN no-record\nexpect-unprivileged\n");
}

static void test_start_again(void **state)
{
	(void)state;
	/* what was open is gone, the list goes on, tables and segments are as at the start */
	passes(HEAD2 "wait 1\nreset-vcpu 1\nexpect-read8 puppet:scratch+8 0\nstart-vcpu 1\nwait 2\n"
		     "expect-read8 puppet:scratch+8 9\nthread 1\nidt 0x1000\n"
		     "call target:enter/target_registers 1\ncallout kernel_callout\nsignal 1\n"
		     "await8 puppet:scratch 1\nexpect ENTER-CALL ok\nexpect LEAVE-CALL ok\n"
		     "expect RESET ok\nread8 0x1000\nexpect-pf 0x1000\nwrite8 puppet:scratch+8 9\n"
		     "signal 2\n");
}

/* ---- configuration space ---- */

static void test_config_steps(void **state)
{
	(void)state;
	passes(HEAD2 "config-read4 0\nexpect-result 0x14847\nexpect-config2 2 1\n"
		     "expect-config1 0x34 0x40\nconfig-write1 0x3c 11\nexpect-config1 0x3c 11\n"
		     "expect-config4 0xfc 0\nexpect-none\n");
	fails(HEAD2 "expect-config4 0 1\n", 7, "got 0x14847, expected 0x1");
	refused(HEAD2 "config-read8 0\n", "in 1, 2 or 4 bytes");
	/* without the device there is none; without a binding nobody is told */
	passes(HEAD1 "expect-config4 0 0xffffffff\nconfig-write4 0 0\nexpect-none\n");
	passes("scenario T\ntitle t\nmodule target device bound=private\nthread 0\n"
	       "config-write4 0 0\nexpect-none\nexpect-config4 0 0x14847\n");
}

/* ---- what a race may come to ---- */

static void test_alternatives(void **state)
{
	(void)state;
	passes(HEAD1 "call counter:enter/counter_get\nsettle\nexpect ENTER-CALL bad-stack or=ok\n"
		     "maybe LEAVE-CALL ok\nmaybe LEAVE-RETURN stack-changed or=no-record or=ok\n");
	passes(HEAD1 "call counter:enter-return\nsettle\nexpect ENTER-RETURN no-record\nlet 1 1\n");
	passes(HEAD1 "call counter:enter/counter_callout\nsettle\nexpect ENTER-CALL ok\n"
		     "expect LEAVE-CALL ok\nexpect-suspended counter 1\n");
	fails(HEAD1
	      "call counter:enter/counter_get\nsettle\nexpect ENTER-CALL bad-stack or=no-room\n"
	      "expect LEAVE-RETURN ok\n",
	      9, "expected ENTER-CALL bad-stack; got");
	fails(HEAD1 "call counter:enter/counter_get\nsettle\nmaybe ENTER-CALL bad-stack\n", 9,
	      "judged, but not expected");
	passes(HEAD1 "call counter:enter/counter_get\nexpect-ok\nexpect-none\n");
	fails(HEAD1 "call counter:enter-return\nexpect-gp\nexpect-ok\n", 9, "expected ok; got");
	refused(HEAD1 "expect ENTER-CALL ok or=fine\n", "not a verdict: 'fine'");
}

/* ---- manifests as data ---- */

/* Values that an attacker would try: around zero, the sign, the end, and a page or so. */
static const char *const values[] = { "0",
				      "1",
				      "2",
				      "7",
				      "16",
				      "4096",
				      "0x7fffffff",
				      "0x80000000",
				      "0xfffffffe",
				      "0xffffffff",
				      "0x7fffffffffffffff",
				      "0xffffffffffffffff" };
#define VALUES (sizeof(values) / sizeof(values[0]))

/* Each field of manifest and binding with each value: a verdict, and an honest entry still works. */
static void test_every_field(void **state)
{
	static char text[16384];
	unsigned refusals = 0, absent = 0;

	(void)state;
	for (unsigned n = 0; run_field(n); n++) {
		struct scenario_result r;
		struct error err;
		size_t len = (size_t)sprintf(
			text,
			"scenario T\ntitle t\nmodule counter ioport 16 31\nmodule target device\nthread 0\n");

		for (unsigned m = 0; m < 2 * VALUES; m++)
			len += (size_t)sprintf(
				text + len,
				"register %s:%s 0 %s\nexpect REGISTER bad-manifest or=not-bound "
				"or=no-room or=ok\nmaybe UNREGISTER ok\n",
				m % 2 ? "target" : "counter", run_field(n), values[m / 2]);
		sprintf(text + len, "honest counter:enter/counter_check 1 0x5ec2e7c0de15900d\n"
				    "honest target:enter/target_check 1 0x7a26e75ec2e70001\n");
		if (!run_text(text, &r, &err))
			fail_msg("%s: %s", run_field(n), err.text);
		refusals += strstr(r.got, "bad-manifest") || strstr(r.got, "not-bound");
		if (!r.passed && strstr(story(&r), "there is no record 0")) {
			absent++; /* these modules have no such table */
			continue;
		}
		if (!r.passed)
			fail_msg("%s:%s", run_field(n), story(&r));
	}
	print_message("# %u fields refused with some value, %u not in these modules\n", refusals,
		      absent);
	assert_true(refusals > 70);
	assert_true(absent < 25);
	fails(HEAD1 "register counter:gate.colour 0 1\n", 7, "no such field: 'gate.colour'");
	fails(HEAD1 "register counter:gate.x 100000 1\n", 7, "there is no record 100000");
	fails(HEAD1 "register counter 0 1\n", 7, "no field named");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_switch),
		cmocka_unit_test(test_switch_in_a_callout),
		cmocka_unit_test(test_switch_to_another_vcpu),
		cmocka_unit_test(test_switch_refused),
		cmocka_unit_test(test_yield),
		cmocka_unit_test(test_preempt),
		cmocka_unit_test(test_stops),
		cmocka_unit_test(test_guard_stops_the_vm),
		cmocka_unit_test(test_start_again),
		cmocka_unit_test(test_config_steps),
		cmocka_unit_test(test_alternatives),
		cmocka_unit_test(test_every_field),
	};
	const char *build = getenv("BUILD");

	snprintf(corpus_build, sizeof(corpus_build), "%s/corpus", build ? build : "build/release");
	return cmocka_run_group_tests_name("steps", tests, NULL, NULL);
}
