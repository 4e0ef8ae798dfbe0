// SPDX-License-Identifier: GPL-2.0-only
/* A scenario, in whichever form: text, or the binary one, which its magic tells. */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "scenario/scenario.h"

/* Both forms say the same, whichever it came from. */
static void other_form(const struct scenario *s)
{
	struct blob binary, again;
	struct scenario *b, *t;
	struct error err;
	char *text = NULL;

	fuzz_must(scenario_encode(s, &binary) && scenario_print(s, &text), "there is memory");
	fuzz_must(scenario_decode("binary", binary.data, binary.size, &b, &err),
		  "what was encoded can be decoded");
	fuzz_must(scenario_encode(b, &again) && again.size == binary.size &&
			  !memcmp(again.data, binary.data, binary.size),
		  "the binary form is lossless");
	scenario_free(b);
	blob_free(&again);
	fuzz_must(scenario_parse("text", text, strlen(text), &t, &err),
		  "what was printed can be read");
	fuzz_must(scenario_encode(t, &again) && again.size == binary.size &&
			  !memcmp(again.data, binary.data, binary.size),
		  "the text form is lossless");
	scenario_free(t);
	blob_free(&again);
	blob_free(&binary);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct blob in = fuzz_blob(data, size);
	struct scenario *s = NULL;
	struct error err;
	bool ok;

	if (size >= strlen(SCN_MAGIC) && !memcmp(data, SCN_MAGIC, strlen(SCN_MAGIC)))
		ok = scenario_decode("input", in.data, in.size, &s, &err);
	else
		ok = scenario_parse("input", (const char *)in.data, in.size, &s, &err);
	if (ok) {
		other_form(s);
		scenario_free(s);
	}
	blob_free(&in);
	return 0;
}
