// SPDX-License-Identifier: GPL-2.0-only
/* Mutation by step for the target `ko`, and the honest input that all begins with. */
#include <string.h>

#include "fuzz/afl_mutator.h"
#include "fuzz/drivers/driver.h"
#include "fuzz/steps.h"

static void begin(uint64_t *x, uint8_t *head)
{
	memcpy(head, FK_MAGIC, FK_HEAD - 1);
	head[FK_HEAD - 1] = (uint8_t)fuzz_roll(x, FK_WORLDS);
}

/* Most of what a kernel does is honest, or nothing gets anywhere. */
static void fresh(uint64_t *x, uint8_t *step)
{
	static const uint8_t usual[] = { FK_GO,	    FK_GO,	  FK_CALL, FK_OP,     FK_OP,
					 FK_ANSWER, FK_MISRETURN, FK_JUMP, FK_STRIKE, FK_STORE };

	step[0] = fuzz_roll(x, 2) ? usual[fuzz_roll(x, sizeof(usual))]
				  : (uint8_t)fuzz_roll(x, FK_NSTEPS);
	for (unsigned i = 1; i < FK_STEP; i++)
		step[i] = (uint8_t)(fuzz_roll(x, 2) ? fuzz_roll(x, 16) : fuzz_roll(x, 256));
}

static const struct fuzz_steps shape = { .head = FK_HEAD,
					 .step = FK_STEP,
					 .most = FK_MAX_STEPS,
					 .kinds = FK_NSTEPS,
					 .begin = begin,
					 .fresh = fresh };

size_t fk_mutate(uint8_t *data, size_t size, size_t room, const uint8_t *other, size_t other_size,
		 uint32_t seed)
{
	if (size >= FK_HEAD && memcmp(data, FK_MAGIC, FK_HEAD - 1))
		size = 0;
	return fuzz_steps_mutate(&shape, data, size, room, other, other_size, seed);
}

/* Counts are asked for, a packet goes out and comes back, the watchdog looks, a call from a list. */
size_t fk_seed(unsigned world, uint8_t out[FK_MAX_INPUT])
{
	static const uint8_t steps[][FK_STEP] = {
		{ FK_OP, 0, 0, 0 },	 { FK_GO, 2, 0, 0 }, { FK_GO, 1, 0, 0 }, { FK_OP, 1, 0, 0 },
		{ FK_STRIKE, 40, 0, 0 }, { FK_GO, 0, 0, 0 }, { FK_OP, 4, 0, 0 }, { FK_GO, 0, 0, 0 },
	};

	memcpy(out, FK_MAGIC, FK_HEAD - 1);
	out[FK_HEAD - 1] = (uint8_t)(world % FK_WORLDS);
	memcpy(out + FK_HEAD, steps, sizeof(steps));
	return FK_HEAD + sizeof(steps);
}

#ifdef FUZZ_AFL_MUTATOR
const struct afl_mutator afl_mutator = { fk_mutate, FK_MAX_INPUT };
#endif
