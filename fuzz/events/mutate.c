// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mutation by whole steps, for libFuzzer (LLVMFuzzerCustomMutator in the target) and AFL++ (the
 * library core-mutator.so, docs/fuzzing.md) alike; fuzz/steps.h does what is common.
 */
#include "fuzz/afl_mutator.h"
#include "fuzz/events/core.h"
#include "fuzz/steps.h"

static void begin(uint64_t *x, uint8_t *head)
{
	head[0] = (uint8_t)fuzz_roll(x, FC_CONFIGS);
}

/* Most of what a guest does is honest, or nothing gets anywhere. */
static void fresh(uint64_t *x, uint8_t *step)
{
	static const uint8_t usual[] = { ST_CALL,   ST_CALL,  ST_CALLOUT, ST_CALLOUT,
					 ST_RET,    ST_RET,   ST_RET,	  ST_DEPART,
					 ST_RESUME, ST_INNER, ST_SWITCH,  ST_TAIL };

	step[0] = fuzz_roll(x, 2) ? usual[fuzz_roll(x, sizeof(usual))]
				  : (uint8_t)fuzz_roll(x, FC_NSTEPS);
	step[1] = (uint8_t)(fuzz_roll(x, 3) | fuzz_roll(x, 2) << 2 |
			    (fuzz_roll(x, 4) ? 0 : fuzz_roll(x, 32)) << 3);
	if (step[0] != ST_CALL && step[0] != ST_CALLOUT && step[0] != ST_RET && step[0] != ST_TAIL)
		step[1] = (uint8_t)((step[1] & 7) | fuzz_roll(x, 32) << 3);
	step[2] = (uint8_t)(fuzz_roll(x, 2) ? fuzz_roll(x, 8) : fuzz_roll(x, 256));
	step[3] = (uint8_t)(fuzz_roll(x, 2) ? fuzz_roll(x, 8) : fuzz_roll(x, 256));
	if (step[0] == ST_CALL && fuzz_roll(x, 4))
		step[3] = 0;
}

/* Another vCPU, or the other module, does the same. */
static void other(uint64_t *x, uint8_t *step)
{
	step[1] = fuzz_roll(x, 2) ? (uint8_t)(step[1] ^ 4)
				  : (uint8_t)((step[1] & ~3u) | fuzz_roll(x, 3));
}

static const struct fuzz_steps shape = { .head = 1,
					 .step = FC_STEP,
					 .most = FC_MAX_STEPS,
					 .kinds = FC_NSTEPS,
					 .begin = begin,
					 .fresh = fresh,
					 .other = other };

size_t fc_mutate(uint8_t *data, size_t size, size_t room, const uint8_t *from, size_t from_size,
		 uint32_t seed)
{
	return fuzz_steps_mutate(&shape, data, size, room, from, from_size, seed);
}

#ifdef FUZZ_AFL_MUTATOR
const struct afl_mutator afl_mutator = { fc_mutate, FC_MAX_INPUT };
#endif
