// SPDX-License-Identifier: GPL-2.0-only
/* Mutation by whole steps (fuzz/steps.h). */
#include "fuzz/steps.h"

#include <string.h>

#define PIECE 8u /* steps that move at once */

struct input {
	const struct fuzz_steps *s;
	uint8_t *head, *steps;
	size_t count, most;
	const uint8_t *other; /* another input's steps */
	size_t others;
};

uint32_t fuzz_roll(uint64_t *x, uint32_t n)
{
	*x = *x * 6364136223846793005ull + 1442695040888963407ull;
	return n ? (uint32_t)((*x >> 33) % n) : 0;
}

static uint8_t *at(const struct input *in, size_t n)
{
	return in->steps + n * in->s->step;
}

/* Room for `n` steps at `where`; returns how many there is room for. */
static size_t open_up(struct input *in, size_t where, size_t n)
{
	if (n > in->most - in->count)
		n = in->most - in->count;
	memmove(at(in, where + n), at(in, where), (in->count - where) * in->s->step);
	in->count += n;
	return n;
}

static void operand(struct input *in, uint64_t *x, uint8_t *step)
{
	uint8_t *b = &step[fuzz_roll(x, (uint32_t)in->s->step)];

	switch (fuzz_roll(x, in->s->other ? 5 : 4)) {
	case 0: *b = (uint8_t)fuzz_roll(x, 256); break;
	case 1: ++*b; break;
	case 2: --*b; break;
	case 3: *b ^= (uint8_t)(1u << fuzz_roll(x, 8)); break;
	default: in->s->other(x, step);
	}
	step[0] %= in->s->kinds;
}

static void insert_piece(struct input *in, size_t where, const uint8_t *from, size_t n)
{
	uint8_t piece[PIECE * FUZZ_STEP_MAX];

	memcpy(piece, from, n * in->s->step);
	n = open_up(in, where, n);
	memcpy(at(in, where), piece, n * in->s->step);
}

static void swap(struct input *in, size_t a, size_t b)
{
	uint8_t tmp[FUZZ_STEP_MAX];

	memcpy(tmp, at(in, a), in->s->step);
	memmove(at(in, a), at(in, b), in->s->step);
	memcpy(at(in, b), tmp, in->s->step);
}

static void delete (struct input *in, size_t where, size_t n)
{
	n = n > in->count - where ? in->count - where : n;
	memmove(at(in, where), at(in, where + n), (in->count - where - n) * in->s->step);
	in->count -= n;
}

static void once(struct input *in, uint64_t *x)
{
	size_t where = fuzz_roll(x, (uint32_t)in->count + 1), from, n;

	switch (in->count ? fuzz_roll(x, 16) : 0) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		if (open_up(in, where, 1))
			in->s->fresh(x, at(in, where));
		return;
	case 5:
	case 6: delete (in, where % in->count, 1 + fuzz_roll(x, 3)); return;
	case 7: swap(in, where % in->count, fuzz_roll(x, (uint32_t)in->count)); return;
	case 8: /* the same again, elsewhere */
		from = fuzz_roll(x, (uint32_t)in->count);
		n = 1 + fuzz_roll(x, 4);
		n = n > in->count - from ? in->count - from : n;
		insert_piece(in, where, at(in, from), n);
		return;
	case 9: /* a piece of another input */
		if (!in->others)
			return;
		from = fuzz_roll(x, (uint32_t)in->others);
		n = 1 + fuzz_roll(x, PIECE);
		n = n > in->others - from ? in->others - from : n;
		insert_piece(in, where, in->other + from * in->s->step, n);
		return;
	case 10: in->s->begin(x, in->head); return;
	case 11: in->s->fresh(x, at(in, where % in->count)); return;
	default: operand(in, x, at(in, where % in->count));
	}
}

size_t fuzz_steps_mutate(const struct fuzz_steps *s, uint8_t *data, size_t size, size_t room,
			 const uint8_t *other, size_t other_size, uint32_t seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;
	struct input in = { .s = s, .head = data, .steps = data + s->head };

	if (room < s->head)
		return 0;
	fuzz_roll(&x, 2);
	if (size < s->head) {
		s->begin(&x, data);
		size = s->head;
	}
	in.most = (room - s->head) / s->step;
	in.most = in.most > s->most ? s->most : in.most;
	in.count = (size - s->head) / s->step;
	in.count = in.count > in.most ? in.most : in.count;
	if (other_size > s->head) {
		in.other = other + s->head;
		in.others = (other_size - s->head) / s->step;
	}
	for (unsigned times = 1 + fuzz_roll(&x, 4); times--;)
		once(&in, &x);
	return s->head + in.count * s->step;
}
