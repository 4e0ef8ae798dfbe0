// SPDX-License-Identifier: GPL-2.0-only
/*
 * The three files of `check`: the sizes of the original and of the wrapped module (32 bits each),
 * these two, and the manifest to the end (fuzz/seeds.c).
 */
#include "check/check.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t first = fuzz_number(&data, &size), second = fuzz_number(&data, &size);
	struct blob o = fuzz_take(&data, &size, first), w = fuzz_take(&data, &size, second),
		    m = fuzz_blob(data, size);
	const struct check_file original = { "original", &o }, wrapped = { "wrapped", &w },
				manifest = { "manifest", &m };
	struct check_report report;
	struct error err;

	check_module(&original, &wrapped, &manifest, NULL, &report, &err);
	check_report_free(&report);
	blob_free(&o);
	blob_free(&w);
	blob_free(&m);
	return 0;
}
