// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sequences of events straight into the guard core (fuzz/events/core.h tells what an input is). A find
 * says who found it: a guarantee that is broken, or a mere difference to the reference model. Where
 * the model differs, the same input is played once more without it: a guarantee may be broken, too.
 *
 *   FUZZ_CORE_JUDGE=guarantee   the model is not asked at all
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/events/core.h"
#include "fuzz/fuzz.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
				 uint8_t *out, size_t room, unsigned seed);

static void story(void)
{
	fprintf(stderr, "fuzz-core: %s: %s\n", fc->guarantee ? "guarantee" : "model", fc->failure);
	if (oracle_failure(fc->oracle))
		fputs(oracle_failure(fc->oracle), stderr);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static enum fc_judges judges;

	if (!judges) {
		const char *judge = getenv("FUZZ_CORE_JUDGE");

		judges = judge && strcmp(judge, "guarantee") == 0 ? FC_GUARANTEES : FC_MODEL;
	}
	if (fc_run(data, size, judges))
		return 0;
	if (!fc->guarantee && !fc_run(data, size, FC_GUARANTEES)) {
		story();
	} else {
		fc_run(data, size, judges);
		story();
	}
	fuzz_broken("the core does what its contract says");
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed)
{
	return fc_mutate(data, size, room, NULL, 0, seed);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
				 uint8_t *out, size_t room, unsigned seed)
{
	a_size = a_size > room ? room : a_size;
	memcpy(out, a, a_size);
	return fc_mutate(out, a_size, room, b, b_size, seed);
}
