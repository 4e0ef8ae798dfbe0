// SPDX-License-Identifier: GPL-2.0-only
/*
 * The honest input, one for each configuration: every flow that a guest and its modules have between
 * them, and nothing that is refused. Engines start from it.
 */
#include <string.h>

#include "fuzz/events/core.h"

#define V(v, m) ((v) | (m) << 2)

size_t fc_seed(unsigned config, uint8_t out[FC_MAX_INPUT])
{
	static const uint8_t steps[][FC_STEP] = {
		/* enter, call out, come back, exit */
		{ ST_CALL, V(0, 0), FN_F },
		{ ST_CALLOUT, V(0, 0) },
		{ ST_RET, V(0, 0) },
		{ ST_RET, V(0, 0) },
		/* an inner call, an interrupt inside, a thread that migrates in its call-out */
		{ ST_CALL, V(0, 0), FN_D },
		{ ST_INNER, V(0, 0), FN_F },
		{ ST_DEPART, V(0, 0), 0, 5 },
		{ ST_RESUME, V(0, 0) },
		{ ST_CALLOUT, V(0, 0), 1 },
		{ ST_MIGRATE, V(0, 0), 1 },
		{ ST_RET, V(1, 0), 1 },
		{ ST_RET, V(1, 0) },
		{ ST_RET, V(1, 0) },
		/* from a call-out into the other module, which ends by a tail call */
		{ ST_CALL, V(0, 0), FN_G },
		{ ST_CALLOUT, V(0, 0) },
		{ ST_CALL, V(0, 1), FN_W },
		{ ST_TAIL, V(0, 1) },
		{ ST_RET, V(0, 0) },
		{ ST_RET, V(0, 0) },
		{ ST_RET, V(0, 0) },
		/* two threads interleaved on one vCPU */
		{ ST_CALL, V(2, 0), FN_F },
		{ ST_CALLOUT, V(2, 0) },
		{ ST_SWITCH, V(2, 0), 3 },
		{ ST_CALL, V(2, 0), FN_G },
		{ ST_CALLOUT, V(2, 0) },
		{ ST_SWITCH, V(2, 0), 2 },
		{ ST_RET, V(2, 0) },
		{ ST_RET, V(2, 0) },
		{ ST_SWITCH, V(2, 0), 3 },
		{ ST_RET, V(2, 0) },
		{ ST_RET, V(2, 0) },
		/* unload, reload elsewhere, init */
		{ ST_HYPER, V(0, 0), 0 },
		{ ST_HYPER, V(0, 0), 1, 2 },
		{ ST_CALL, V(0, 0), FN_INIT },
		{ ST_CALLOUT, V(0, 0) },
		{ ST_CALL, V(0, 0), FN_CALLBACK },
		{ ST_RET, V(0, 0) },
		{ ST_RET, V(0, 0) },
		{ ST_RET, V(0, 0) },
		{ ST_TEXT, V(0, 0), 0 },
		{ ST_CALL, V(0, 0), FN_W },
		{ ST_RET, V(0, 0) },
	};

	out[0] = (uint8_t)config;
	memcpy(out + 1, steps, sizeof(steps));
	return 1 + sizeof(steps);
}
