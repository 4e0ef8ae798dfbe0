// SPDX-License-Identifier: GPL-2.0-only
/* A compressed module: .ko.xz, .ko.zst. */
#include "fuzz/fuzz.h"
#include "lib/unpack.h"

#define MAX_OUTPUT (256u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct blob in = fuzz_blob(data, size);
	struct error err;

	if (blob_unpack(&in, "input", MAX_OUTPUT, &err)) {
		fuzz_must(in.size == size || in.size <= MAX_OUTPUT, "no more than asked for");
		blob_free(&in);
	}
	return 0;
}
