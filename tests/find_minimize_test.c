// SPDX-License-Identifier: GPL-2.0-only
/*
 * find_minimize() and find_play() by themselves, on a target whose inputs are letters, a step each: an
 * input with a `b` somewhere behind an `a` breaks one guarantee, one with an `x` another; a `!` crashes,
 * a `~` has no end. Capitals are the simpler letters, and show nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/find.h"

static char *print(const struct blob *in)
{
	return strndup((const char *)in->data, in->size);
}

static unsigned steps(const struct blob *in)
{
	return (unsigned)in->size;
}

static bool without(const struct blob *in, unsigned at, unsigned n, struct blob *out)
{
	return find_cut(in, at, n, out);
}

/* The k-th letter as a capital. */
static int simpler(const struct blob *in, unsigned k, struct blob *out)
{
	if (k >= in->size || !find_copy(in, out))
		return 0;
	if (out->data[k] >= 'a' && out->data[k] <= 'z') {
		out->data[k] = (uint8_t)(out->data[k] - 'a' + 'A');
		return 1;
	}
	blob_free(out);
	return -1;
}

static bool play(const struct blob *in, const struct find_options *opt, FILE *log,
		 struct find_report *r, struct error *err)
{
	const uint8_t *a = memchr(in->data, 'a', in->size);

	if (memchr(in->data, '?', in->size))
		return error_set(err, "%s: cannot be played", opt->name);
	fprintf(log, "played %zu\n", in->size);
	if (memchr(in->data, '!', in->size))
		abort(); /* cmocka waits for other signals itself */
	if (memchr(in->data, '~', in->size))
		for (;;)
			;
	if (memchr(in->data, 'x', in->size)) {
		r->broken = r->guarantee = true;
		strcpy(r->id, "G2");
	} else if (a && memchr(a, 'b', in->size - (size_t)(a - in->data))) {
		r->broken = r->guarantee = true;
		strcpy(r->id, "G1");
	}
	return true;
}

static const struct find_target letters = {
	.name = "letters",
	.print = print,
	.steps = steps,
	.without = without,
	.simpler = simpler,
	.play = play,
};
static const struct find_options options = { .name = "in" };

static struct blob letters_of(const char *text)
{
	const struct blob b = { (uint8_t *)(uintptr_t)text, strlen(text) };
	struct blob out;

	assert_true(find_copy(&b, &out));
	return out;
}

struct limit {
	unsigned tries, asked;
};

static bool go_on(void *ctx, unsigned tries, unsigned left)
{
	struct limit *l = ctx;

	assert_true(left > 0);
	assert_int_equal(tries, l->asked);
	l->asked++;
	return tries < l->tries;
}

/* What is left of `in` after so many tries. */
static void left(const char *in, unsigned tries, struct find_minimize *m, char *out, size_t room)
{
	struct limit limit = { .tries = tries };
	struct blob best = letters_of(in);
	struct error err;

	*m = (struct find_minimize){ .go_on = go_on, .ctx = &limit };
	if (!find_minimize(&letters, &best, &options, m, &err))
		fail_msg("%s", err.text);
	snprintf(out, room, "%.*s", (int)best.size, (const char *)best.data);
	blob_free(&best);
}

static void what_breaks_it_is_left(void **state)
{
	struct find_minimize m;
	char out[128];

	(void)state;
	left("qqqqaqqqqqqqbqqqqq", 1000, &m, out, sizeof(out));
	assert_string_equal(out, "ab");
	assert_string_equal(m.report.id, "G1");
	/* without the x it would break something else: that is another find */
	left("qaqqbqxqq", 1000, &m, out, sizeof(out));
	assert_string_equal(out, "x");
	assert_string_equal(m.report.id, "G2");
}

/* Ctrl-C: whenever it comes, the best so far breaks the same. */
static void stopped_at_any_try(void **state)
{
	static const char in[] = "qqqqaqqqqqqqbqqqqq";
	struct find_minimize m;
	size_t before = sizeof(in);
	unsigned all;
	char out[128];

	(void)state;
	left(in, 1000, &m, out, sizeof(out));
	all = m.tries;
	assert_in_range(all, 5, 200);
	for (unsigned n = 0; n <= all; n++) {
		struct blob best;
		struct find_report r;
		struct error err;
		FILE *log = tmpfile();

		left(in, n, &m, out, sizeof(out));
		assert_int_equal(m.tries, n < all ? n : all);
		best = letters_of(out);
		assert_true(find_play(&letters, &best, &options, log, &r, &err));
		assert_true(r.broken && find_same(&r, &m.report));
		assert_true(best.size <= before);
		assert_true(n || best.size == sizeof(in) - 1);
		before = best.size;
		blob_free(&best);
		fclose(log);
	}
	assert_int_equal(before, 2);
}

static void refused(const char *text, const char *want)
{
	struct find_minimize m = { .tries = 0 };
	struct blob best = letters_of(text);
	struct error err;

	assert_false(find_minimize(&letters, &best, &options, &m, &err));
	assert_string_equal(err.text, want);
	assert_int_equal(best.size, strlen(text));
	blob_free(&best);
}

static void nothing_to_minimize(void **state)
{
	(void)state;
	refused("ba", "in: it shows nothing: there is nothing to keep");
	refused("ab?", "in: cannot be played");
}

static void a_crash_is_a_find(void **state)
{
	struct find_minimize m;
	char out[128];

	(void)state;
	left("qqab!qqq", 1000, &m, out, sizeof(out));
	assert_string_equal(out, "!");
	assert_string_equal(m.report.id, "crash");
	assert_false(m.report.guarantee);
}

/* Takes the whole FIND_SECONDS. */
static void no_end_is_a_find(void **state)
{
	struct blob in = letters_of("q~ab");
	struct find_report r;
	struct error err;
	char want[64], log_line[32] = "";
	FILE *log = tmpfile();

	(void)state;
	assert_true(find_play(&letters, &in, &options, log, &r, &err));
	assert_true(r.broken);
	assert_false(r.guarantee);
	snprintf(want, sizeof(want), "crash: no end within %u seconds", FIND_SECONDS);
	assert_memory_equal(r.what, want, strlen(want));
	rewind(log);
	assert_non_null(fgets(log_line, sizeof(log_line), log));
	assert_string_equal(log_line, "played 4\n");
	fclose(log);
	blob_free(&in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_breaks_it_is_left), cmocka_unit_test(stopped_at_any_try),
		cmocka_unit_test(nothing_to_minimize),	  cmocka_unit_test(a_crash_is_a_find),
		cmocka_unit_test(no_end_is_a_find),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
