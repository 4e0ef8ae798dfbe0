// SPDX-License-Identifier: GPL-2.0-only
/*
 * A fuzz target without an engine: `NAME FILE...` gives it each file once, in order. Built by any
 * compiler, in every variant; the tests replay all that was ever found.
 */
#include <stdio.h>

#include "fuzz/fuzz.h"

#define MAX_INPUT (16u << 20)

int main(int argc, char **argv)
{
	struct error err;
	struct blob b;

	if (argc < 2) {
		fprintf(stderr, "usage: %s FILE...\n", argv[0]);
		return 2;
	}
	for (int i = 1; i < argc; i++) {
		if (!blob_read(&b, argv[i], MAX_INPUT, &err)) {
			fprintf(stderr, "%s: %s\n", argv[0], err.text);
			return 2;
		}
		LLVMFuzzerTestOneInput(b.data, b.size);
		blob_free(&b);
		/* a crash comes before this line, and the line before names the last good one */
		printf("%s\n", argv[i]);
		fflush(stdout);
	}
	return 0;
}
