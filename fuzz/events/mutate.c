// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mutation by whole steps, for libFuzzer (LLVMFuzzerCustomMutator in the target) and AFL++ (the
 * library core-mutator.so, docs/fuzzing.md) alike: insert, delete, swap, copy, splice, repeat, and
 * one operand to a value that means something.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/events/core.h"

static uint32_t roll(uint64_t *x, uint32_t n)
{
	*x = *x * 6364136223846793005ull + 1442695040888963407ull;
	return n ? (uint32_t)((*x >> 33) % n) : 0;
}

/* Most of what a guest does is honest, or nothing gets anywhere. */
static void fresh(uint64_t *x, uint8_t *step)
{
	static const uint8_t usual[] = { ST_CALL,   ST_CALL,  ST_CALLOUT, ST_CALLOUT,
					 ST_RET,    ST_RET,   ST_RET,	  ST_DEPART,
					 ST_RESUME, ST_INNER, ST_SWITCH,  ST_TAIL };

	step[0] = roll(x, 2) ? usual[roll(x, sizeof(usual))] : (uint8_t)roll(x, FC_NSTEPS);
	step[1] = (uint8_t)(roll(x, 3) | roll(x, 2) << 2 | roll(x, 32) << 3);
	step[2] = (uint8_t)(roll(x, 2) ? roll(x, 8) : roll(x, 256));
	step[3] = (uint8_t)(roll(x, 2) ? roll(x, 8) : roll(x, 256));
	if (step[0] == ST_CALL && roll(x, 4))
		step[3] = 0;
}

static void operand(uint64_t *x, uint8_t *step)
{
	unsigned at = roll(x, FC_STEP);

	switch (roll(x, 5)) {
	case 0: step[at] = (uint8_t)roll(x, 256); break;
	case 1: step[at] = (uint8_t)(step[at] + 1); break;
	case 2: step[at] = (uint8_t)(step[at] - 1); break;
	case 3: step[at] ^= (uint8_t)(1u << roll(x, 8)); break;
	default:
		/* another vCPU, or the other module, does the same */
		step[1] = roll(x, 2) ? (uint8_t)(step[1] ^ 4)
				     : (uint8_t)((step[1] & ~3u) | roll(x, 3));
	}
	step[0] %= FC_NSTEPS;
}

/* Room for `n` steps at step `at`; returns how many there is room for. */
static size_t open_up(uint8_t *steps, size_t *count, size_t most, size_t at, size_t n)
{
	if (n > most - *count)
		n = most - *count;
	memmove(steps + (at + n) * FC_STEP, steps + at * FC_STEP, (*count - at) * FC_STEP);
	*count += n;
	return n;
}

static void once(uint64_t *x, uint8_t *data, size_t *count, size_t most, const uint8_t *other,
		 size_t others)
{
	uint8_t *steps = data + 1, tmp[FC_STEP * 8];
	size_t at = roll(x, (uint32_t)*count + 1), from, n;

	switch (*count ? roll(x, 16) : 0) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		if (open_up(steps, count, most, at, 1))
			fresh(x, steps + at * FC_STEP);
		return;
	case 5:
	case 6: /* delete some */
		at %= *count;
		n = 1 + roll(x, 3);
		n = n > *count - at ? *count - at : n;
		memmove(steps + at * FC_STEP, steps + (at + n) * FC_STEP,
			(*count - at - n) * FC_STEP);
		*count -= n;
		return;
	case 7: /* swap */
		at %= *count;
		from = roll(x, (uint32_t)*count);
		memcpy(tmp, steps + at * FC_STEP, FC_STEP);
		memcpy(steps + at * FC_STEP, steps + from * FC_STEP, FC_STEP);
		memcpy(steps + from * FC_STEP, tmp, FC_STEP);
		return;
	case 8: /* the same again, elsewhere */
		from = roll(x, (uint32_t)*count);
		n = 1 + roll(x, 4);
		n = n > *count - from ? *count - from : n;
		memcpy(tmp, steps + from * FC_STEP, n * FC_STEP);
		n = open_up(steps, count, most, at, n);
		memcpy(steps + at * FC_STEP, tmp, n * FC_STEP);
		return;
	case 9: /* a piece of another input */
		if (!others)
			return;
		from = roll(x, (uint32_t)others);
		n = 1 + roll(x, 8);
		n = n > others - from ? others - from : n;
		n = open_up(steps, count, most, at, n);
		memcpy(steps + at * FC_STEP, other + 1 + from * FC_STEP, n * FC_STEP);
		return;
	case 10: data[0] = (uint8_t)roll(x, FC_CONFIGS); return;
	case 11: fresh(x, steps + at % *count * FC_STEP); return;
	default: operand(x, steps + at % *count * FC_STEP);
	}
}

size_t fc_mutate(uint8_t *data, size_t size, size_t room, const uint8_t *other, size_t other_size,
		 uint32_t seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;
	size_t count, most, others;
	unsigned times;

	if (!room)
		return 0;
	if (room > FC_MAX_INPUT)
		room = FC_MAX_INPUT;
	if (!size)
		data[0] = 0;
	size = size > room ? room : size;
	most = (room - 1) / FC_STEP;
	count = size > 1 ? (size - 1) / FC_STEP : 0;
	others = other_size > 1 ? (other_size - 1) / FC_STEP : 0;
	roll(&x, 2);
	for (times = 1 + roll(&x, 4); times--;)
		once(&x, data, &count, most, other, others);
	return 1 + count * FC_STEP;
}

/* ---- AFL++'s custom mutator (its docs/custom_mutators.md): a library of this file alone ---- */

#ifdef FC_AFL_MUTATOR
struct mutator {
	uint8_t out[FC_MAX_INPUT];
	uint64_t x;
};

void *afl_custom_init(void *afl, unsigned seed);
size_t afl_custom_fuzz(struct mutator *m, uint8_t *buf, size_t size, uint8_t **out, uint8_t *add,
		       size_t add_size, size_t room);
void afl_custom_deinit(struct mutator *m);

void *afl_custom_init(void *afl, unsigned seed)
{
	struct mutator *m = calloc(1, sizeof(*m));

	(void)afl;
	if (m)
		m->x = seed;
	return m;
}

size_t afl_custom_fuzz(struct mutator *m, uint8_t *buf, size_t size, uint8_t **out, uint8_t *add,
		       size_t add_size, size_t room)
{
	size = size > sizeof(m->out) ? sizeof(m->out) : size;
	memcpy(m->out, buf, size);
	*out = m->out;
	return fc_mutate(m->out, size, room < sizeof(m->out) ? room : sizeof(m->out), add,
			 add ? add_size : 0, roll(&m->x, 1u << 31));
}

void afl_custom_deinit(struct mutator *m)
{
	free(m);
}
#endif
