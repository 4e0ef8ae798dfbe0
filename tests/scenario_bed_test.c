/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One VM for many scenarios (vm_set_mark(), vm_rewind()): whatever ran before, each scenario of the
 * corpus has the log and the result that it has in a VM of its own.
 */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fuzz/puppet/puppet.h"
#include "scenario/scn.h"
#include "vmm/engine.h"

#define MAX_CASES 256u

struct one {
	const char *path;
	struct scenario *s;
	char *log; /* of a VM of its own */
	bool passed;
};

static char log_path[] = "/tmp/scenario_bed.XXXXXX"; /* mkstemp() */
static struct one one[MAX_CASES];
static unsigned ones;
static glob_t found;

static struct scenario_options options(void)
{
	static char corpus[512];
	const char *build = getenv("BUILD");

	snprintf(corpus, sizeof(corpus), "%s/corpus", build ? build : "build/release");
	return (struct scenario_options){ .engine = &sim_engine,
					  .corpus = corpus,
					  .seed = 1,
					  .x = GM_X_VMMCALL,
					  .log = log_path,
					  .oracle = ORACLE_MODEL };
}

static char *read_log(void)
{
	struct error err;
	struct blob b;
	char *text;

	if (!blob_read(&b, log_path, 1 << 24, &err))
		fail_msg("%s", err.text);
	text = calloc(1, b.size + 1);
	memcpy(text, b.data, b.size);
	blob_free(&b);
	return text;
}

static int load_all(void **state)
{
	struct scenario_options opt = options();
	struct scenario_result r = { 0 };
	struct error err;
	int fd;

	(void)state;
	fd = mkstemp(log_path);
	if (fd < 0 || close(fd) || glob("corpus/scenarios/*.scn", 0, NULL, &found))
		return -1;
	for (size_t i = 0; i < found.gl_pathc && ones < MAX_CASES; i++) {
		struct one *o = &one[ones++];

		o->path = found.gl_pathv[i];
		if (!scenario_load(o->path, &o->s, &err) || !scenario_run(o->s, &opt, &r, &err))
			fail_msg("%s", err.text);
		o->log = read_log();
		o->passed = r.passed;
	}
	return 0;
}

static int free_all(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ones; i++) {
		scenario_free(one[i].s);
		free(one[i].log);
	}
	globfree(&found);
	remove(log_path);
	return 0;
}

static bool same(struct scenario_bed *bed, const struct one *o, const char *when)
{
	struct scenario_result r;
	struct error err;
	bool equal;
	char *log;

	if (!scenario_bed_play(bed, o->s, 1, &r, &err))
		fail_msg("%s: %s", o->path, err.text);
	log = read_log();
	equal = !strcmp(log, o->log) && r.passed == o->passed;
	if (!equal)
		print_error("%s: %s: %s\n", o->path, when,
			    r.failures ? r.failure[0].text : "another log");
	free(log);
	return equal;
}

/* Each bed plays all scenarios that fit it, forwards, backwards, and each twice in a row. */
static void test_all(void **state)
{
	struct scenario_options opt = options();
	bool done[MAX_CASES] = { false };
	unsigned wrong = 0;
	struct error err;

	(void)state;
	assert_true(ones > 100);
	for (unsigned i = 0; i < ones; i++) {
		struct scenario_bed *bed;

		if (done[i])
			continue;
		bed = scenario_bed_new(one[i].s, &opt, &err);
		if (!bed)
			fail_msg("%s: %s", one[i].path, err.text);
		for (unsigned k = i; k < ones; k++)
			if (scenario_bed_fits(bed, one[k].s)) {
				done[k] = true;
				wrong += !same(bed, &one[k], "first");
				wrong += !same(bed, &one[k], "again");
			}
		for (unsigned k = ones; k-- > i;)
			if (scenario_bed_fits(bed, one[k].s))
				wrong += !same(bed, &one[k], "backwards");
		scenario_bed_free(bed);
	}
	assert_int_equal(wrong, 0);
}

#define HEAD "scenario T\ntitle t\nclass sync\nvcpus 1\nmodule target device\n\nthread 0\n"

static const char *const after[] = {
	/* the device is the kernel's own, and view U has its registers */
	HEAD "\tunregister target\n\texpect UNREGISTER ok\n\tread4 device\n\texpect-none\n",
	/* the guard's again */
	HEAD "\tread4 device\n\texpect-result 0xffffffff\n\texpect TOUCH not-privileged\n",
	/* placed anew: that cannot be taken back, so another VM is made */
	HEAD "\twithdraw target\n\texpect WITHDRAW ok\n\treload target\n\tannounce target\n"
	     "\texpect ANNOUNCE ok\n",
	HEAD "\thonest target:enter/target_check 1 0x7a26e75ec2e70001\n",
};

/* What one leaves behind that the next would trip over, in pairs. */
static void test_left_behind(void **state)
{
	struct scenario_options opt = options();
	struct scenario_bed *bed = NULL;
	struct scenario *s;
	struct error err;

	(void)state;
	for (unsigned i = 0; i < 2 * sizeof(after) / sizeof(after[0]); i++) {
		struct scenario_result r;
		const char *text = after[i / 2];

		if (!scenario_parse("t", text, strlen(text), &s, &err))
			fail_msg("%s", err.text);
		if (!bed)
			bed = scenario_bed_new(s, &opt, &err);
		assert_non_null(bed);
		if (!scenario_bed_play(bed, s, 1, &r, &err))
			fail_msg("%s", err.text);
		if (!r.passed)
			fail_msg("%s: line %u: %s", text, r.failure[0].line, r.failure[0].text);
		scenario_free(s);
	}
	assert_int_equal(scenario_bed_made(bed), 3);
	scenario_bed_free(bed);
}

/* ---- inputs of a fuzzer ---- */

#define RANDOM 1000u
#define ALONE 25u /* so many of them also in a VM of their own */

static uint64_t told;

static void on_line(void *ctx, const struct guard_line *l)
{
	const uint64_t words[] = { l->event, l->verdict, l->cause, l->module,
				   l->rip,   l->from,	 l->to,	   l->act };

	(void)ctx;
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		told = (told ^ words[i]) * 0x100000001b3ull;
}

static uint64_t log_of(struct scenario_bed *bed, const struct scenario *s,
		       const struct scenario_options *opt)
{
	struct scenario_result r;
	struct error err = { "" };

	told = 0xcbf29ce484222325ull;
	if (!(bed ? scenario_bed_play(bed, s, 1, &r, &err) : scenario_run(s, opt, &r, &err)))
		told = 1; /* a name that does not exist: so it is each time */
	if (r.oracle[0])
		fail_msg("%s", r.oracle);
	return told;
}

/* Each plays twice, with others between; some in a VM of their own, too: the same log each time. */
static void test_random(void **state)
{
	struct scenario_options opt = options();
	struct scenario *s[RANDOM];
	static uint8_t data[FG_MAX_INPUT];
	uint64_t first[RANDOM];
	struct scenario_bed *bed[8] = { NULL };
	unsigned different = 0, lines = 0;
	struct blob honest;
	struct error err;
	size_t size;

	(void)state;
	opt.log = NULL;
	opt.budget = 300000;
	opt.on_line = on_line;
	assert_true(scenario_parse("honest", fg_honest, strlen(fg_honest), &s[0], &err));
	assert_true(scenario_encode(s[0], &honest));
	scenario_free(s[0]);
	size = 0;
	for (unsigned i = 0; i < 2 * RANDOM; i++) {
		unsigned n = i % RANDOM, k;

		if (i < RANDOM) {
			if (i % 16 == 0) {
				memcpy(data, honest.data, honest.size);
				size = honest.size;
			}
			size = fg_mutate(data, size, sizeof(data), NULL, 0, i);
			if (!scenario_decode("input", data, size, &s[n], &err))
				fail_msg("%s", err.text);
		}
		for (k = 0; k < 8 && bed[k] && !scenario_bed_fits(bed[k], s[n]); k++)
			;
		assert_true(k < 8); /* two numbers of vCPUs, four sets of policies */
		if (!bed[k])
			bed[k] = scenario_bed_new(s[n], &opt, &err);
		assert_non_null(bed[k]);
		if (i < RANDOM) {
			first[n] = log_of(bed[k], s[n], &opt);
			lines += first[n] != 1;
			if (n % (RANDOM / ALONE) == 0)
				different += log_of(NULL, s[n], &opt) != first[n];
		} else {
			different += log_of(bed[k], s[n], &opt) != first[n];
		}
	}
	assert_in_range(lines, RANDOM / 2, RANDOM);
	assert_int_equal(different, 0);
	for (unsigned k = 0; k < 8; k++)
		scenario_bed_free(bed[k]);
	for (unsigned n = 0; n < RANDOM; n++)
		scenario_free(s[n]);
	blob_free(&honest);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_all),
					    cmocka_unit_test(test_left_behind),
					    cmocka_unit_test(test_random) };

	return cmocka_run_group_tests(tests, load_all, free_all);
}
