// SPDX-License-Identifier: GPL-2.0-only
/*
 * A binding, and behind it a manifest that it is used for. The signature would keep an engine out
 * for ever, so the fields are also signed anew: an administrator's hand may slip.
 */
#include <string.h>

#include "fuzz/fuzz.h"
#include "wrap/binding.h"
#include "wrap/wrap.h"

#define BINDING_FILE 392u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t seed[32] = { 1 };
	struct blob in = fuzz_take(&data, &size, BINDING_FILE), m = fuzz_blob(data, size), again;
	struct guard_binding b, c;
	struct binding_key key;
	struct error err;

	fuzz_must(binding_keygen(&key, seed, &err), "a key from a seed");
	binding_open("input", &in, key.public_key, &b, &err);
	if (binding_peek("input", &in, &b, &err)) {
		fuzz_must(binding_sign(&b, &key, &again, &err), "fields in range can be signed");
		fuzz_must(binding_open("signed", &again, key.public_key, &c, &err),
			  "what was signed can be opened");
		fuzz_must(!memcmp(again.data, in.data, BINDING_FILE - 64),
			  "every signed byte comes back");
		if (manifest_check("manifest", &m, &err))
			fuzz_register(&m, &c);
		again.data[BINDING_FILE - 1] ^= 1;
		fuzz_must(!binding_open("forged", &again, key.public_key, &c, &err),
			  "another signature is refused");
		blob_free(&again);
	}
	blob_free(&in);
	blob_free(&m);
	return 0;
}
