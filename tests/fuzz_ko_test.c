// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fuzz target `ko`: honest inputs run without a refusal on every driver and policy; what ran before
 * on a machine leaves nothing behind (the same log twice, and on a new machine). Needs `make corpus-debian`, skips without it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz/drivers/driver.h"
#include "vmm/vm.h"

#define FOLDER "build/debian"
#define INPUTS 400u
#define ALONE 16u /* of them also on a machine of their own */

struct seen {
	uint64_t hash;
	unsigned lines, refused;
};

static void on_line(void *ctx, const struct vm *vm, const struct vm_line *l)
{
	struct seen *s = ctx;
	char text[512];

	vm_log_format(vm, l, text, sizeof(text));
	for (const char *c = text; *c; c++)
		s->hash = (s->hash ^ (uint8_t)*c) * 0x100000001b3ull;
	s->lines++;
	s->refused += l->line.verdict != GUARD_V_OK && l->line.event != GUARD_TOUCH;
}

static struct fk_bed *new_bed(unsigned world, bool mark, struct seen *s)
{
	const struct fk_options o = {
		.folder = FOLDER, .oracle = ORACLE_MODEL, .logged = on_line, .ctx = s
	};
	struct fk_bed *b;
	struct error err;

	if (access(FOLDER "/e1000e.ko", R_OK) != 0) {
		printf("SKIP: " FOLDER "/e1000e.ko is not here: make corpus-debian\n");
		skip();
	}
	b = fk_bed_new(world, &o, mark, &err);
	if (!b)
		fail_msg("%s", err.text);
	return b;
}

static struct fk_result play(struct fk_bed *b, struct seen *s, const uint8_t *data, size_t size)
{
	struct fk_result r;

	memset(s, 0, sizeof(*s));
	assert_true(fk_bed_play(b, data, size, NULL, NULL, &r));
	return r;
}

static void test_honest(void **state)
{
	uint8_t input[FK_MAX_INPUT];
	struct fk_result r;
	struct seen s;

	(void)state;
	for (unsigned w = 0; w < FK_WORLDS; w++) {
		struct fk_bed *b = new_bed(w, true, &s);

		r = play(b, &s, input, fk_seed(w, input));
		assert_string_equal(r.failure, "");
		assert_string_equal(r.exit, "");
		assert_true(s.lines > 4 || w % FK_DRIVERS); /* igbvf has no device to open */
		assert_int_equal(s.refused, 0);
		fk_bed_free(b);
	}
}

static void test_nothing_left(void **state)
{
	static uint8_t input[INPUTS][FK_MAX_INPUT];
	struct seen seen, first[INPUTS];
	struct fk_bed *bed[FK_WORLDS] = { NULL }, *alone;
	unsigned lines = 0, refused = 0, w;
	size_t size[INPUTS];

	(void)state;
	for (unsigned i = 0; i < INPUTS; i++) {
		size[i] = fk_seed(i % FK_POLICIES * FK_DRIVERS, input[i]);
		for (unsigned k = 0; k < 12; k++)
			size[i] = fk_mutate(input[i], size[i], FK_MAX_INPUT, NULL, 0, i * 12 + k);
	}
	for (unsigned i = 0; i < 2 * INPUTS; i++) {
		unsigned n = i < INPUTS ? i : 2 * INPUTS - 1 - i; /* the other way round */
		struct fk_result r;

		assert_true(fk_world(input[n], size[n], &w));
		if (!bed[w])
			bed[w] = new_bed(w, true, &seen);
		r = play(bed[w], &seen, input[n], size[n]);
		assert_string_equal(r.failure, "");
		if (i < INPUTS) {
			first[n] = seen;
			lines += seen.lines;
			refused += seen.refused;
		} else {
			assert_int_equal(seen.lines, first[n].lines);
			assert_true(seen.hash == first[n].hash);
		}
		if (i < INPUTS && n % (INPUTS / ALONE) == 0) {
			alone = new_bed(w, false, &seen);
			play(alone, &seen, input[n], size[n]);
			assert_true(seen.hash == first[n].hash);
			fk_bed_free(alone);
		}
	}
	/* inputs that do nothing, or nothing bad, would prove nothing */
	assert_true(lines > 20 * INPUTS);
	assert_true(refused > INPUTS / 4);
	for (w = 0; w < FK_WORLDS; w++)
		fk_bed_free(bed[w]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_honest),
					    cmocka_unit_test(test_nothing_left) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
