// SPDX-License-Identifier: GPL-2.0-only
/*
 * A real driver, wrapped as it comes, in a hosted kernel whose part the input plays; the oracle beside
 * the core (fuzz/drivers/driver.h). A find is a guarantee that breaks, or a difference to the
 * reference model: what is seen on a machine that went back to its mark is played once more on a new
 * one, and both must agree.
 *
 *   FUZZ_KO_CORPUS=DIR        the drivers (build/debian)
 *   FUZZ_KO_JUDGE=guarantee   the reference model is not asked
 *   FUZZ_KO_TRACE=1           every crossing, on stderr
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/drivers/driver.h"
#include "fuzz/feedback.h"
#include "fuzz/fuzz.h"
#include "vmm/engine.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
				 uint8_t *out, size_t room, unsigned seed);

static struct fk_bed *bed[FK_WORLDS];
static struct fk_options opt;

static void on_line(void *ctx, const struct vm *vm, const struct vm_line *l)
{
	(void)ctx;
	(void)vm;
	fuzz_feedback(&l->line);
}

static void set_up(void)
{
	const char *folder = getenv("FUZZ_KO_CORPUS"), *judge = getenv("FUZZ_KO_JUDGE");

	opt = (struct fk_options){
		.folder = folder ? folder : "build/debian",
		.oracle = judge && !strcmp(judge, "guarantee") ? ORACLE_ALONE : ORACLE_MODEL,
		.trace = getenv("FUZZ_KO_TRACE") ? stderr : NULL,
		.logged = on_line,
	};
	sim_note_blocks(fuzz_feedback_block);
}

static void story(const char *kind, const char *text)
{
	fprintf(stderr, "fuzz-ko: %s: %s\n", kind, text);
	fuzz_broken("the core does what its contract says, to a driver");
}

/* What a driver needs is there for all, or for nobody. */
static struct fk_bed *new_bed(unsigned world, enum oracle_mode oracle, bool mark)
{
	struct fk_options o = opt;
	struct fk_bed *b;
	struct error err;

	o.oracle = oracle;
	b = fk_bed_new(world, &o, mark, &err);
	if (!b && strstr(err.text, FK_DOWN)) /* honest all the way */
		story("guarantee", err.text);
	if (!b) {
		fprintf(stderr, "fuzz-ko: %s (make corpus-debian, or FUZZ_KO_CORPUS)\n", err.text);
		exit(2);
	}
	return b;
}

static bool same_story(const char *a, const char *b)
{
	const char *end = strstr(a, "\n  last crossings:");
	size_t n = end ? (size_t)(end - a) : strlen(a);

	return !strncmp(a, b, n);
}

/* On a machine of its own, and if the model spoke, without it: can a guarantee break, too? */
static void confirm(unsigned world, const uint8_t *data, size_t size, const struct fk_result *seen)
{
	struct fk_bed *b = new_bed(world, opt.oracle, false);
	struct fk_result r;

	fk_bed_play(b, data, size, NULL, NULL, &r);
	fk_bed_free(b);
	if (!same_story(seen->failure, r.failure)) {
		fprintf(stderr, "here: %salone: %s", seen->failure, r.failure);
		story("bed", "a machine of its own says something else");
	}
	if (seen->model) {
		b = new_bed(world, ORACLE_ALONE, false);
		fk_bed_play(b, data, size, NULL, NULL, &r);
		fk_bed_free(b);
		if (r.failure[0])
			story("guarantee", r.failure);
	}
	story(seen->model ? "model" : "guarantee", seen->failure);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fk_result r;
	unsigned w;

	if (!opt.folder)
		set_up();
	if (size > FK_MAX_INPUT || !fk_world(data, size, &w))
		return 0;
	fuzz_feedback_begin();
	if (!bed[w])
		bed[w] = new_bed(w, opt.oracle, true);
	if (!fk_bed_play(bed[w], data, size, NULL, NULL, &r)) {
		fk_bed_free(bed[w]);
		bed[w] = new_bed(w, opt.oracle, true);
		fk_bed_play(bed[w], data, size, NULL, NULL, &r);
	}
	if (r.failure[0])
		confirm(w, data, size, &r);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
	return fk_mutate(data, size, room, NULL, 0, seed);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
				 uint8_t *out, size_t room, unsigned seed)
{
	a_size = a_size > room ? room : a_size;
	memcpy(out, a, a_size);
	return fk_mutate(out, a_size, room, b, b_size, seed);
}
