// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inputs of the target `ko` as finds: a new machine with the input's driver for each play. The text form:
 *
 *	guardhouse-ko 1
 *	world 0		# e1000e.ko, stack=returns registers=verify
 *	op 0 0 0
 *	answer 2 0 0
 *
 * Each step has its name and three bytes, which fuzz/drivers/driver.h tells.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/drivers/driver.h"
#include "fuzz/find.h"

#define WAYS 3u

/* ---- the text form ---- */

char *find_ko_print(const struct blob *in)
{
	size_t size = 0, at = FK_HEAD;
	char *text = NULL, name[96];
	unsigned world = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	fk_world(in->data, in->size, &world);
	fprintf(f, "%s1\nworld %u\t# %s\n", FIND_KO_MAGIC, world,
		fk_world_name(world, name, sizeof(name)));
	for (; at + FK_STEP <= in->size; at += FK_STEP)
		fprintf(f, "%s %u %u %u\n", fk_step_names[in->data[at] % FK_NSTEPS],
			in->data[at + 1], in->data[at + 2], in->data[at + 3]);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

static bool number(const char *word, unsigned long most, uint8_t *out)
{
	char *end;
	unsigned long n;

	if (!word || !isdigit((unsigned char)*word))
		return false;
	n = strtoul(word, &end, 0);
	*out = (uint8_t)n;
	return !*end && n <= most;
}

static bool read_line(char *line, uint8_t *out, size_t *size)
{
	static const char space[] = " \t\r";
	char *save = NULL, *word;
	unsigned kind = 0, n = 3;

	line[strcspn(line, "#")] = '\0';
	word = strtok_r(line, space, &save);
	if (!word)
		return true;
	if (*size < FK_HEAD) { /* the head's last byte */
		n = 1;
		if (strcmp(word, "world") != 0)
			return false;
	} else {
		while (kind < FK_NSTEPS && strcmp(fk_step_names[kind], word) != 0)
			kind++;
		if (kind == FK_NSTEPS || *size + FK_STEP > FK_MAX_INPUT)
			return false;
		out[(*size)++] = (uint8_t)kind;
	}
	while (n--)
		if (!number(strtok_r(NULL, space, &save), *size < FK_HEAD ? FK_WORLDS - 1 : 255,
			    &out[*size]))
			return false;
		else
			++*size;
	return !strtok_r(NULL, space, &save);
}

bool find_ko_parse(const char *name, const struct blob *text, struct blob *out, struct error *err)
{
	uint8_t bytes[FK_MAX_INPUT] = FK_MAGIC;
	char *copy = strndup((const char *)text->data, text->size), *line;
	size_t size = FK_HEAD - 1;
	unsigned lines = 0;
	bool ok = true;

	if (!copy)
		return error_set(err, "%s: out of memory", name);
	if (strlen(copy) != text->size)
		ok = error_set(err, "%s: offset 0x%zx: a NUL byte", name, strlen(copy));
	for (char *next = copy; ok && (line = strsep(&next, "\n")); lines++) {
		if (!lines && strcmp(line, FIND_KO_MAGIC "1") != 0)
			ok = error_set(err, "%s:1: only version 1 is known", name);
		else if (lines && !read_line(line, bytes, &size))
			ok = error_set(err, "%s:%u: expected `%s`, at most %u of them", name,
				       lines + 1, size < FK_HEAD ? "world N" : "STEP A B C",
				       FK_MAX_STEPS);
	}
	if (ok && size < FK_HEAD)
		ok = error_set(err, "%s:%u: expected `world N`", name, lines);
	if (ok && !find_copy(&(struct blob){ bytes, size }, out))
		ok = error_set(err, "%s: out of memory", name);
	free(copy);
	return ok;
}

/* ---- fewer and simpler steps ---- */

static unsigned steps(const struct blob *in)
{
	return in->size > FK_HEAD ? (unsigned)((in->size - FK_HEAD) / FK_STEP) : 0;
}

static bool without(const struct blob *in, unsigned at, unsigned n, struct blob *out)
{
	return find_cut(in, FK_HEAD + (size_t)at * FK_STEP, (size_t)n * FK_STEP, out);
}

static int simpler(const struct blob *in, unsigned k, struct blob *out)
{
	unsigned way = k % WAYS, byte = k / WAYS, n;
	size_t at = FK_HEAD - 1 + byte; /* the world, and every byte of every step */
	bool kind = byte && (byte - 1) % FK_STEP == 0;

	if (at >= FK_HEAD + (size_t)steps(in) * FK_STEP || !find_copy(in, out))
		return 0;
	n = in->data[at] % (kind ? FK_NSTEPS : 256u);
	if (kind ? way == 0 && n != in->data[at] : find_less(in->data[at], way, &n)) {
		out->data[at] = (uint8_t)n;
		return 1;
	}
	blob_free(out);
	return -1;
}

/* ---- playing ---- */

struct ko_teller {
	struct find_teller t;
	bool up; /* the driver is: before, nothing of the input's happens */
	bool story;
	unsigned steps;
};

static void logged(void *ctx, const struct vm *vm, const struct vm_line *l)
{
	struct ko_teller *t = ctx;

	if (t->up)
		find_logged(&t->t, vm, l);
}

static void told(void *ctx, const uint8_t *step, unsigned depth)
{
	struct ko_teller *t = ctx;

	t->steps++;
	if (t->story && t->t.log)
		fprintf(t->t.log, "step %u: %s %u %u %u   (%u calls deep)\n", t->steps,
			fk_step_names[step[0] % FK_NSTEPS], step[1], step[2], step[3], depth);
}

static bool run(const struct blob *in, const struct find_options *opt, enum oracle_mode mode,
		FILE *log, struct find_report *r, struct fk_result *res, struct error *err)
{
	const char *folder = getenv("FUZZ_KO_CORPUS");
	struct ko_teller t = { .t = { .log = log, .r = r }, .story = opt->story };
	const struct fk_options o = { .folder = folder ? folder : "build/debian",
				      .oracle = mode,
				      .logged = logged,
				      .ctx = &t };
	struct fk_bed *b;
	unsigned world = 0;

	fk_world(in->data, in->size, &world);
	r->lines = 0;
	b = fk_bed_new(world, &o, false, err);
	if (!b)
		return error_within(err, opt->name);
	t.up = true;
	fk_bed_play(b, in->data, in->size, told, &t, res);
	fk_bed_free(b);
	return true;
}

/* As the target does: where the model speaks first, a guarantee that breaks without it counts instead. */
static bool play(const struct blob *in, const struct find_options *opt, FILE *log,
		 struct find_report *r, struct error *err)
{
	enum oracle_mode mode = opt->guarantees ? ORACLE_ALONE : ORACLE_MODEL;
	struct fk_result res = { .failure = "" };

	if (mode == ORACLE_MODEL) {
		if (!run(in, opt, mode, NULL, r, &res, err))
			return false;
		if (res.failure[0] && res.model) {
			if (!run(in, opt, ORACLE_ALONE, NULL, r, &res, err))
				return false;
			if (res.failure[0])
				mode = ORACLE_ALONE;
		}
	}
	if (!run(in, opt, mode, log, r, &res, err))
		return false;
	if (res.exit[0])
		snprintf(r->note, sizeof(r->note), "the machine ended: %.150s", res.exit);
	if (!res.failure[0])
		return true;
	find_conclude(res.failure, r);
	if (opt->story)
		fputs(res.failure, log);
	return true;
}

const struct find_target find_ko = {
	.name = "ko",
	.print = find_ko_print,
	.steps = steps,
	.without = without,
	.simpler = simpler,
	.play = play,
};
