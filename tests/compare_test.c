/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When two verdict logs are equal: every class of difference is found, all that is to be ignored
 * is ignored, and what shows nothing is not called equal. Hand-made logs, then a copied one.
 */
#include "tests/support/vmtest.h"
#include "vmm/compare.h"

/* Read and checked by hand, so that a test reads like the log it is about. */
static enum guard_event_name event_of(const char *name)
{
	for (unsigned e = 0; e < GUARD_NEVENTS; e++)
		if (!strcmp(guard_event_string((enum guard_event_name)e), name))
			return (enum guard_event_name)e;
	fail_msg("no event %s", name);
	return GUARD_NEVENTS;
}

static enum guard_cause cause_of(const char *name)
{
	for (unsigned c = 0; c < GUARD_NCAUSES; c++)
		if (!strcmp(guard_cause_string((enum guard_cause)c), name))
			return (enum guard_cause)c;
	fail_msg("no cause %s", name);
	return GUARD_NCAUSES;
}

/* "VCPU EVENT MODULE SITE VERDICT VIEWS ACT CAUSE", one a line; N counts by itself. */
static struct log_copy make(const char *text)
{
	struct log_copy c = { .modules = "counter 00" };
	uint64_t n[GH_MAX_VCPUS] = { 0 };
	char copy[4096], *save = NULL;

	assert_true(snprintf(copy, sizeof(copy), "%s", text) < (int)sizeof(copy));
	for (char *l = strtok_r(copy, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		char line[400], *word[8], *more = NULL;
		struct compare_line cl = { 0 };
		struct error err = { "" };

		for (unsigned i = 0; i < 8; i++) {
			word[i] = strtok_r(i ? NULL : l, " ", &more);
			assert_non_null(word[i]);
		}
		cl.vcpu = (unsigned)strtoul(word[0], NULL, 10);
		cl.event = event_of(word[1]);
		cl.module = (uint8_t)word[2][0];
		cl.act = (uint32_t)strtoul(word[6], NULL, 10);
		cl.cause = cause_of(word[7]);
		assert_in_range(cl.vcpu, 0, GH_MAX_VCPUS - 1);
		cl.n = ++n[cl.vcpu];
		snprintf(line, sizeof(line),
			 "%llu vcpu=%u %s module=%s site=%s verdict=%s view=%s act=%u cause=%s",
			 (unsigned long long)cl.n, cl.vcpu, word[1], word[2], word[3], word[4],
			 word[5], cl.act, word[7]);
		assert_true(log_copy_add(&c, &cl, line, &err));
	}
	return c;
}

static struct compare_result compare(const char *a, const char *b)
{
	struct log_copy x = make(a), y = make(b);
	struct compare_result r, back;
	struct error err = { "" };

	assert_true(log_compare(&x, &y, &r, &err));
	/* It is the same the other way round. */
	assert_true(log_compare(&y, &x, &back, &err));
	assert_int_equal(r.verdict, back.verdict);
	assert_int_equal(r.compared + compare_left(&r, 0) + compare_left(&r, 1),
			 back.compared + compare_left(&back, 0) + compare_left(&back, 1));
	log_copy_free(&x);
	log_copy_free(&y);
	return r;
}

#define ENTER "0 ENTER-CALL m f+0x0 ok U>P 1 x\n"
#define LEAVE "0 LEAVE-CALL m g+0x0 ok P>U 1 x\n"
#define BACK "0 ENTER-RETURN m r+0x0 ok U>P 1 x\n"
#define OUT "0 LEAVE-RETURN m e+0x0 ok P>U 1 x\n"
#define WHOLE ENTER LEAVE BACK OUT
#define OTHER "1 ENTER-CALL m f+0x0 ok U>P 2 x\n1 LEAVE-RETURN m e+0x0 ok P>U 2 x\n"

static void differ(const char *what, const char *a, const char *b, size_t at_a, size_t at_b)
{
	struct compare_result r = compare(a, b);

	if (r.verdict != COMPARE_DIFFERENT)
		fail_msg("%s: %s", what, compare_verdict_string(r.verdict));
	if (r.at[0] != at_a || r.at[1] != at_b)
		fail_msg("%s: first at %zd and %zd, not %zd and %zd", what, (ssize_t)r.at[0],
			 (ssize_t)r.at[1], (ssize_t)at_a, (ssize_t)at_b);
}

static void equal(const char *what, const char *a, const char *b, uint64_t compared,
		  enum compare_class class, uint64_t left_a, uint64_t left_b)
{
	struct compare_result r = compare(a, b);

	if (r.verdict != COMPARE_EQUAL)
		fail_msg("%s: %s", what, compare_verdict_string(r.verdict));
	if (r.compared != compared)
		fail_msg("%s: %llu lines compared", what, (unsigned long long)r.compared);
	if (class != COMPARE_KEPT && (r.left[0][class] != left_a || r.left[1][class] != left_b ||
				      compare_left(&r, 0) < left_a))
		fail_msg("%s: %llu and %llu left out as %s", what,
			 (unsigned long long)r.left[0][class], (unsigned long long)r.left[1][class],
			 compare_class_string(class));
	if (class == COMPARE_KEPT && (compare_left(&r, 0) || compare_left(&r, 1)))
		fail_msg("%s: something was left out", what);
}

static void test_equal(void **state)
{
	(void)state;
	equal("the same", WHOLE, WHOLE, 4, COMPARE_KEPT, 0, 0);
	equal("vCPUs interleaved otherwise", ENTER OTHER LEAVE BACK OUT, OTHER WHOLE, 6,
	      COMPARE_KEPT, 0, 0);
}

static void test_n_is_ignored(void **state)
{
	struct log_copy a = make(WHOLE), b = make(WHOLE);
	struct compare_line l = b.line[0];
	struct compare_result r;
	struct error err = { "" };

	(void)state;
	l.n = 77;
	assert_true(log_copy_add(&a, &l, "5 the same", &err));
	assert_true(log_copy_add(&b, &l, "77 the same", &err));
	assert_true(log_compare(&a, &b, &r, &err));
	assert_int_equal(r.verdict, COMPARE_EQUAL);
	assert_int_equal(r.compared, 5);
	log_copy_free(&a);
	log_copy_free(&b);
}

static void test_each_difference(void **state)
{
	(void)state;
	differ("another verdict", WHOLE,
	       ENTER LEAVE "0 ENTER-RETURN m r+0x0 no-record U>U 1 x\n" OUT, 2, 2);
	differ("only the verdict", "0 TOUCH m f+0x0 ok U>U 0 access\n",
	       "0 TOUCH m f+0x0 not-privileged U>U 0 access\n", 0, 0);
	differ("another event", WHOLE, ENTER LEAVE "0 RESUME m r+0x0 ok U>P 1 x\n" OUT, 2, 2);
	differ("a line is missing", WHOLE, ENTER BACK OUT, 1, 1);
	differ("the last line is missing", WHOLE, ENTER LEAVE BACK, 3, COMPARE_END);
	differ("a line too many", WHOLE, ENTER ENTER LEAVE BACK OUT, 1, 1);
	differ("a line too many at the end", WHOLE, WHOLE OUT, COMPARE_END, 4);
	differ("one has no line at all", WHOLE, "", 0, COMPARE_END);
	differ("two lines in the other order", WHOLE, ENTER BACK LEAVE OUT, 1, 1);
	differ("another vCPU", WHOLE, ENTER LEAVE BACK "1 LEAVE-RETURN m e+0x0 ok P>U 1 x\n", 3,
	       COMPARE_END);
	differ("another activation", WHOLE, ENTER LEAVE BACK "0 LEAVE-RETURN m e+0x0 ok P>U 2 x\n",
	       3, 3);
	differ("another view before", WHOLE, "0 ENTER-CALL m f+0x0 ok P>P 1 x\n" LEAVE BACK OUT, 0,
	       0);
	differ("another view after", WHOLE, ENTER "0 LEAVE-CALL m g+0x0 ok P>P 1 x\n" BACK OUT, 1,
	       1);
	differ("another site", WHOLE, ENTER LEAVE BACK "0 LEAVE-RETURN m e+0x8 ok P>U 1 x\n", 3, 3);
	differ("another module", WHOLE, ENTER LEAVE BACK "0 LEAVE-RETURN n e+0x0 ok P>U 1 x\n", 3,
	       3);
	differ("another cause", WHOLE, ENTER LEAVE "0 ENTER-RETURN m r+0x0 ok U>P 1 fetch\n" OUT, 2,
	       2);
	differ("the second vCPU alone", WHOLE OTHER, WHOLE "1 ENTER-CALL m f+0x0 ok U>P 2 x\n", 5,
	       COMPARE_END);
}

static void test_first_difference(void **state)
{
	struct compare_result r;

	(void)state;
	/* Both vCPUs differ: vCPU 1's comes first in the first log. */
	r = compare(ENTER OTHER LEAVE, "0 ENTER-CALL m f+0x0 ok U>P 1 x\n"
				       "1 ENTER-CALL m f+0x0 ok U>P 9 x\n"
				       "1 LEAVE-RETURN m e+0x0 ok P>U 2 x\n"
				       "0 LEAVE-CALL m g+0x0 ok P>U 9 x\n");
	assert_int_equal(r.verdict, COMPARE_DIFFERENT);
	assert_int_equal(r.vcpu, 1);
	assert_int_equal(r.at[0], 1);
	assert_int_equal(r.at[1], 1);
	assert_int_equal(r.compared, 1);
}

#define DEPART_BY(cause) "0 DEPART m f+0x7 ok P>U 1 " cause "\n"
#define RESUMED "0 RESUME m f+0x7 ok U>P 1 fetch\n"

static void test_asynchronous_is_ignored(void **state)
{
	(void)state;
	equal("interrupt", ENTER DEPART_BY("irq") RESUMED OUT, ENTER OUT, 2, COMPARE_DEPART_IRQ, 1,
	      0);
	equal("its RESUME", ENTER DEPART_BY("irq") RESUMED OUT, ENTER OUT, 2, COMPARE_RESUME, 1, 0);
	equal("NMI", ENTER OUT, ENTER DEPART_BY("nmi") RESUMED OUT, 2, COMPARE_DEPART_NMI, 0, 1);
	equal("kick", ENTER DEPART_BY("kick") RESUMED OUT, ENTER OUT, 2, COMPARE_DEPART_KICK, 1, 0);
	equal("SMI", ENTER DEPART_BY("other") RESUMED OUT, ENTER OUT, 2, COMPARE_DEPART_OTHER, 1,
	      0);
	equal("interrupts elsewhere and more often", ENTER DEPART_BY("irq") RESUMED OUT,
	      ENTER
	      "0 DEPART m f+0x9 ok P>U 1 irq\n0 RESUME m f+0x9 ok U>P 1 fetch\n" DEPART_BY("irq")
		      RESUMED OUT,
	      2, COMPARE_RESUME, 1, 2);
	equal("resumed on another vCPU",
	      ENTER DEPART_BY("irq") "1 RESUME m f+0x7 ok U>P 1 fetch\n" OUT, ENTER OUT, 2,
	      COMPARE_RESUME, 1, 0);
	equal("what an interrupt's handler enters is compared",
	      ENTER DEPART_BY("irq") "0 ENTER-CALL m f+0x0 ok U>P 2 x\n" RESUMED OUT,
	      ENTER "0 ENTER-CALL m f+0x0 ok U>P 2 x\n" OUT, 3, COMPARE_DEPART_IRQ, 1, 0);
}

static void test_synchronous_is_compared(void **state)
{
	(void)state;
	equal("an exception is compared", ENTER DEPART_BY("exception") RESUMED OUT,
	      ENTER DEPART_BY("exception") RESUMED OUT, 4, COMPARE_KEPT, 0, 0);
	differ("an exception on one side", ENTER DEPART_BY("exception") RESUMED OUT, ENTER OUT, 1,
	       1);
	differ("its cause", ENTER DEPART_BY("exception") RESUMED OUT,
	       ENTER DEPART_BY("irq") RESUMED OUT, 1, 3);
	differ("its place", ENTER DEPART_BY("exception") RESUMED OUT,
	       ENTER "0 DEPART m f+0x9 ok P>U 1 exception\n" RESUMED OUT, 1, 1);
	differ("its RESUME is missing", ENTER DEPART_BY("exception") RESUMED OUT,
	       ENTER DEPART_BY("exception") OUT, 2, 2);
	differ("its RESUME's verdict", ENTER DEPART_BY("exception") RESUMED OUT,
	       ENTER DEPART_BY("exception") "0 RESUME m f+0x7 registers-changed U>U 1 fetch\n" OUT,
	       2, 2);
	differ("the last departure decides",
	       ENTER DEPART_BY("irq") RESUMED DEPART_BY("exception") RESUMED OUT,
	       ENTER DEPART_BY("exception") OUT, 4, 2);
	differ("another activation's interrupt says nothing",
	       ENTER DEPART_BY("irq") "0 RESUME m f+0x7 ok U>P 2 fetch\n" OUT, ENTER OUT, 2, 1);
	differ("another module's neither",
	       ENTER DEPART_BY("irq") "0 RESUME n f+0x7 ok U>P 1 fetch\n" OUT, ENTER OUT, 2, 1);
	differ("a RESUME of nobody is compared",
	       ENTER DEPART_BY("irq") "0 RESUME m f+0x7 no-record U>U 0 fetch\n" OUT, ENTER OUT, 2,
	       1);
	differ("a RESUME before any departure", ENTER RESUMED DEPART_BY("irq") OUT, ENTER OUT, 1,
	       1);
	/* Only DEPART and RESUME may be asynchronous. */
	differ("an exit by interrupt", ENTER "0 LEAVE-CALL m f+0x7 wild-exit P>U 1 irq\n",
	       ENTER "0 LEAVE-CALL m f+0x7 wild-exit P>U 1 kick\n", 1, 1);
}

#define TOUCHED "0 TOUCH m f+0x0 not-privileged U>U 0 access\n"
#define TOUCHED_ELSEWHERE "0 TOUCH m f+0x4 not-privileged U>U 0 access\n"

static void test_touches(void **state)
{
	(void)state;
	equal("once and thrice", ENTER TOUCHED OUT, ENTER TOUCHED TOUCHED TOUCHED OUT, 3,
	      COMPARE_TOUCH, 0, 2);
	equal("thrice and once, at the end", TOUCHED TOUCHED TOUCHED, TOUCHED, 1, COMPARE_TOUCH, 2,
	      0);
	equal("as often on both: all are compared", TOUCHED TOUCHED OUT, TOUCHED TOUCHED OUT, 3,
	      COMPARE_KEPT, 0, 0);
	differ("none", ENTER TOUCHED OUT, ENTER OUT, 1, 1);
	differ("of two instructions, one is missing", TOUCHED TOUCHED_ELSEWHERE OUT,
	       TOUCHED TOUCHED OUT, 1, 2);
	differ("in the other order", TOUCHED TOUCHED_ELSEWHERE, TOUCHED_ELSEWHERE TOUCHED, 0, 0);
	differ("again after something else", ENTER TOUCHED OUT TOUCHED, ENTER TOUCHED OUT, 3,
	       COMPARE_END);
	differ("repeated lines that are no TOUCH", ENTER OUT, ENTER OUT OUT, COMPARE_END, 2);
	equal("the other vCPU's lines do not come between",
	      TOUCHED "1 ENTER-CALL m f+0x0 ok U>P 1 x\n" TOUCHED,
	      TOUCHED "1 ENTER-CALL m f+0x0 ok U>P 1 x\n", 2, COMPARE_TOUCH, 1, 0);
}

static void test_nothing_compared(void **state)
{
	(void)state;
	assert_int_equal(compare("", "").verdict, COMPARE_NOTHING);
	assert_int_equal(compare(DEPART_BY("irq") RESUMED, "").verdict, COMPARE_NOTHING);
}

static void test_lost_lines(void **state)
{
	struct log_copy a = make(WHOLE), b = make(WHOLE);
	struct compare_result r;
	struct error err = { "" };

	(void)state;
	b.lost = 1;
	assert_true(log_compare(&a, &b, &r, &err));
	assert_int_equal(r.verdict, COMPARE_LOST);
	b.lost = 0;
	a.lost = 1;
	assert_true(log_compare(&a, &b, &r, &err));
	assert_int_equal(r.verdict, COMPARE_LOST);
	a.lost = 0;
	snprintf(b.modules, sizeof(b.modules), "counter 01");
	assert_true(log_compare(&a, &b, &r, &err));
	assert_int_equal(r.verdict, COMPARE_MODULES);
	log_copy_free(&a);
	log_copy_free(&b);
}

static void test_a_vcpu_out_of_range(void **state)
{
	struct log_copy a = make(WHOLE), b = make(WHOLE);
	struct compare_result r;
	struct error err = { "" };

	(void)state;
	b.line[2].vcpu = GH_MAX_VCPUS;
	assert_false(log_compare(&a, &b, &r, &err));
	assert_non_null(strstr(err.text, "line 3"));
	log_copy_free(&a);
	log_copy_free(&b);
}

static char *difference(const char *x, const char *y)
{
	static const char *const name[2] = { "left", "right" };
	struct log_copy a = make(x), b = make(y);
	struct compare_result r;
	struct error err = { "" };
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	assert_true(log_compare(&a, &b, &r, &err));
	compare_print_difference(&r, &a, &b, name, f);
	assert_int_equal(fclose(f), 0);
	log_copy_free(&a);
	log_copy_free(&b);
	return text;
}

static void contains(char *text, const char *want)
{
	if (!strstr(text, want))
		fail_msg("no \"%s\" in:\n%s", want, text);
}

static void test_the_difference_is_shown(void **state)
{
	char *text = difference(OTHER ENTER DEPART_BY("irq") RESUMED LEAVE BACK OUT,
				ENTER LEAVE OTHER OUT);

	(void)state;
	contains(text, "differ first on vCPU 0");
	contains(text, "> left line 7: 5 vcpu=0 ENTER-RETURN");
	contains(text, "> right line 5: 3 vcpu=0 LEAVE-RETURN");
	/* What stands before it, on that vCPU, with what was left out. */
	contains(text, "  left line 6: 4 vcpu=0 LEAVE-CALL");
	contains(text, "left line 4: 2 vcpu=0 DEPART");
	contains(text, "(left out: DEPART by interrupt)");
	contains(text, "  right line 2: 2 vcpu=0 LEAVE-CALL");
	/* And behind. */
	contains(text, "  left line 8: 6 vcpu=0 LEAVE-RETURN");
	assert_null(strstr(text, "vcpu=1"));
	free(text);

	text = difference(WHOLE, ENTER);
	contains(text, "> left line 2: 2 vcpu=0 LEAVE-CALL");
	contains(text, "> right has no further line of vCPU 0");
	free(text);
}

/* A copy of a VM's own log: lines as the log file has them, modules by name and id. */
static void test_copy_of_a_vm(void **state)
{
	struct vt_module m;
	struct vm *vm = vt_guest(2);
	struct log_copy a = { 0 }, b = { 0 };
	struct compare_result r;
	struct guard_decision d = { .nlines = 1 };
	struct error err = { "" };
	char text[512];

	(void)state;
	vt_wrap(&m, "counter", false);
	d.line[0] = (struct guard_line){ .event = GUARD_ENTER_CALL,
					 .verdict = GUARD_V_BAD_FLAGS,
					 .module = (uint8_t)vt_load(vm, &m),
					 .from = GUARD_VIEW_U,
					 .to = GUARD_VIEW_U,
					 .act = 3,
					 .rip = vt_symbol(vm, "counter:enter/counter_add") };
	vm_record(vm, 1, &d);
	assert_true(log_copy_take(&a, vm, &err));
	assert_int_equal(a.count, vm_log_count(vm));
	for (size_t i = 0; i < a.count; i++) {
		vm_log_format(vm, vm_log_line(vm, i), text, sizeof(text));
		assert_string_equal(strchr(text, ' ') + 1, a.text + a.line[i].text);
		assert_int_equal(a.line[i].n, vm_log_line(vm, i)->n);
	}
	contains(a.text + a.line[a.count - 1].text,
		 "vcpu=1 ENTER-CALL module=counter site=counter:enter/counter_add+0x0 "
		 "verdict=bad-flags view=U>U act=3 cause=x");
	contains(a.modules, "counter ");
	assert_true(log_copy_take(&b, vm, &err));
	assert_true(log_compare(&a, &b, &r, &err));
	assert_int_equal(r.verdict, COMPARE_EQUAL);
	assert_int_equal(r.compared, a.count);
	log_copy_free(&b);

	/* Another line on the same VM, and they are no longer equal. */
	d.line[0].verdict = GUARD_V_BAD_MODE;
	vm_record(vm, 1, &d);
	assert_true(log_copy_take(&b, vm, &err));
	assert_true(log_compare(&a, &b, &r, &err));
	assert_int_equal(r.verdict, COMPARE_DIFFERENT);
	assert_int_equal(r.at[1], b.count - 1);
	log_copy_free(&b);
	log_copy_free(&a);
	vm_destroy(vm);
	vt_free(&m);
}

static void test_copy_knows_lost_lines(void **state)
{
	struct vm *vm = vt_create(1, 2);
	struct guard_decision d = { .nlines = 3 };
	struct log_copy c = { 0 };
	struct error err = { "" };

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		d.line[i] = (struct guard_line){ .event = GUARD_TOUCH, .module = GUARD_VIEW_U };
	vm_record(vm, 0, &d);
	assert_true(log_copy_take(&c, vm, &err));
	assert_int_equal(c.count, 2);
	assert_int_equal(c.lost, 1);
	log_copy_free(&c);
	vm_destroy(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_n_is_ignored),
		cmocka_unit_test(test_each_difference),
		cmocka_unit_test(test_first_difference),
		cmocka_unit_test(test_asynchronous_is_ignored),
		cmocka_unit_test(test_synchronous_is_compared),
		cmocka_unit_test(test_touches),
		cmocka_unit_test(test_nothing_compared),
		cmocka_unit_test(test_lost_lines),
		cmocka_unit_test(test_a_vcpu_out_of_range),
		cmocka_unit_test(test_the_difference_is_shown),
		cmocka_unit_test(test_copy_of_a_vm),
		cmocka_unit_test(test_copy_knows_lost_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
