/* SPDX-License-Identifier: GPL-2.0-only */
#include "cli/show.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/json.h"
#include "cli/verbs.h"
#include "wrap/wrap.h"

const char *const show_stack_policies[] = { "returns", "exact", "none", NULL };
const char *const show_register_policies[] = { "verify", "scrub", NULL };
const char *const show_mapping_policies[] = { "checked", "locked", NULL };
const char *const show_refusal_policies[] = { "gp", "quarantine", "stop", NULL };

const char *show_privilege_kind(uint32_t kind)
{
	static const char *const kinds[GM_PRIVS] = { "private", "device", "mwait", "ioport",
						     "msr" };

	return kind < GM_PRIVS ? kinds[kind] : "?";
}

static void digest_hex(const uint8_t *digest, char hex[65])
{
	for (unsigned i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

static const char *privilege_name(const struct blob *manifest, unsigned i, char number[12])
{
	const struct gm_header *h = manifest ? (const void *)manifest->data : NULL;

	if (h && i < h->privileges.count) {
		const struct gm_privilege *p =
			(const void *)(manifest->data + h->privileges.offset);

		return manifest_name(manifest, p[i].name);
	}
	snprintf(number, 12, "%u", i);
	return number;
}

static int show_json(const char *path, const struct guard_binding *b, bool verified,
		     const struct blob *manifest)
{
	json_t *bound = json_array(), *j;
	char hex[65], number[12], *text;

	digest_hex(b->digest, hex);
	for (unsigned i = 0; i < GM_MAX_PRIVILEGES; i++)
		if (b->bound & 1ull << i)
			json_array_append_new(
				bound, json_pack("{s:s, s:I, s:I, s:b}", "privilege",
						 privilege_name(manifest, i, number), "base",
						 (json_int_t)b->resource[i].base, "length",
						 (json_int_t)b->resource[i].length, "required",
						 (b->policy.required & 1ull << i) != 0));
	j = json_pack("{s:o, s:s, s:b, s:s, s:o, s:s, s:s, s:s, s:s, s:I}", "file", text_json(path),
		      "kind", "binding", "verified", verified, "manifest_sha256", hex, "bound",
		      bound, "stack", show_stack_policies[b->policy.stack], "registers",
		      show_register_policies[b->policy.registers], "mapping",
		      show_mapping_policies[b->policy.mapping], "refusal",
		      show_refusal_policies[b->policy.refusal], "chains",
		      (json_int_t)b->policy.chains);
	text = j ? json_dumps(j, JSON_INDENT(2)) : NULL;
	json_decref(j);
	if (!text) {
		fprintf(stderr, "guardhouse: out of memory\n");
		return EXIT_USAGE;
	}
	puts(text);
	free(text);
	return EXIT_EXPECTED;
}

int show_binding(const char *path, const struct guard_binding *b, bool verified,
		 const struct blob *manifest, bool json)
{
	char hex[65], number[12];

	if (json)
		return show_json(path, b, verified, manifest);
	digest_hex(b->digest, hex);
	printf("%s: binding, %s\n", path,
	       verified ? "signature verified" : "signature NOT verified (bind --show --pub)");
	printf("  manifest   sha256 %s\n", hex);
	for (unsigned i = 0; i < GM_MAX_PRIVILEGES; i++) {
		if (!(b->bound & 1ull << i))
			continue;
		printf("  grants     %s", privilege_name(manifest, i, number));
		if (b->resource[i].length)
			printf(" = 0x%" PRIx64 "+0x%" PRIx64, b->resource[i].base,
			       b->resource[i].length);
		printf("%s\n", b->policy.required & 1ull << i ? " (required)" : "");
	}
	if (!b->bound)
		printf("  grants     nothing\n");
	printf("  policy     stack=%s registers=%s mapping=%s refusal=%s chains=%u\n",
	       show_stack_policies[b->policy.stack], show_register_policies[b->policy.registers],
	       show_mapping_policies[b->policy.mapping], show_refusal_policies[b->policy.refusal],
	       b->policy.chains);
	return EXIT_EXPECTED;
}
