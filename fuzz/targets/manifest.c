// SPDX-License-Identifier: GPL-2.0-only
/*
 * A manifest, binary or JSON (then it starts with a brace), for everything that reads one: the
 * toolchain's check, the core's REGISTER, and the way to JSON and back.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "wrap/report.h"
#include "wrap/wrap.h"

static void there_and_back(const struct blob *m)
{
	struct error err;
	struct blob back;
	char *json;

	/* refused if bytes that no field shows are not zero: JSON would lose them */
	if (!manifest_to_json("input", m, &json, &err))
		return;
	fuzz_must(manifest_from_json("input", json, strlen(json), &back, &err),
		  "what was shown can be read");
	fuzz_must(back.size == m->size && !memcmp(back.data, m->data, m->size),
		  "JSON has the whole manifest");
	blob_free(&back);
	free(json);
}

static void binary(const struct blob *m)
{
	const struct guard_binding binding = { .policy.chains = 1 };
	struct error err;
	bool good = manifest_check("input", m, &err);
	enum guard_verdict v = fuzz_register(m, &binding);

	fuzz_must(!good || v == GUARD_V_OK || v == GUARD_V_NO_ROOM,
		  "the core takes what the toolchain calls good");
	if (good)
		there_and_back(m);
	json_decref(report_manifest("input", m, &err));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct blob in = fuzz_blob(data, size), m;
	struct error err;

	if (size && data[0] == '{') {
		if (manifest_from_json("input", (const char *)in.data, in.size, &m, &err)) {
			binary(&m);
			blob_free(&m);
		}
	} else {
		binary(&in);
	}
	blob_free(&in);
	return 0;
}
