/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files from an attacker: objects, manifests in both forms, bindings. Cut at every length, every
 * bit turned, random, empty, of another kind. Each ends with an error that names file and offset,
 * or with success; under ASan and UBSan never with a report.
 */
#include "tests/support/wraptest.h"

#include "wrap/binding.h"

#define ROUNDS 2500u

/* A small generator: the same files in every run. */
static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

typedef bool (*parse_fn)(const struct blob *b, struct error *err);

/* Feeds a copy of exactly n bytes, so that ASan sees a read behind them. */
static bool feed(parse_fn parse, const uint8_t *bytes, size_t n)
{
	struct blob b = { malloc(n ? n : 1), n };
	struct error err = { "" };
	bool ok;

	assert_non_null(b.data);
	if (n)
		memcpy(b.data, bytes, n);
	ok = parse(&b, &err);
	if (!ok && (strncmp(err.text, "hostile: offset 0x", 18) != 0 || strchr(err.text, '\n')))
		fail_msg("the message \"%s\" does not name file and offset", err.text);
	blob_free(&b);
	return ok;
}

static void attack(parse_fn parse, const struct blob *good, size_t cuts, uint64_t seed)
{
	uint8_t *b = malloc(good->size + 1);
	size_t step;

	assert_non_null(b);
	if (!b || !good->size || !cuts) {
		free(b);
		return;
	}
	step = good->size / cuts + 1;
	assert_true(feed(parse, good->data, good->size));
	for (size_t n = 0; n < good->size; n += n < 4096 || n + 4096 > good->size ? 1 : step)
		assert_false(feed(parse, good->data, n));
	for (unsigned i = 0; i < ROUNDS; i++) {
		memcpy(b, good->data, good->size);
		for (uint64_t k = next(&seed) % 4 + 1; k; k--) {
			uint64_t at = next(&seed) % good->size;

			switch (next(&seed) % 4) {
			case 0: b[at] = (uint8_t)next(&seed); break;
			case 1: b[at] ^= (uint8_t)(1u << next(&seed) % 8); break;
			case 2: b[at] = 0xff; break;
			default:
				memset(b + at, next(&seed) % 2 ? 0xff : 0,
				       at + 4 <= good->size ? 4 : 1);
			}
		}
		feed(parse, b, good->size);
	}
	for (unsigned i = 0; i < 500; i++) {
		size_t n = next(&seed) % good->size;

		for (size_t k = 0; k < n && k < 512; k++)
			b[k] = (uint8_t)next(&seed);
		assert_false(feed(parse, b, n < 512 ? n : 512));
	}
	free(b);
}

static bool parse_object(const struct blob *b, struct error *err)
{
	const struct wrap_options opt = { .name = "m", .x = GM_X_OUT };
	struct wrap_result r;

	if (!wrap_module(&opt, "hostile", b, &r, err))
		return false;
	wrap_result_free(&r);
	return true;
}

static bool parse_manifest(const struct blob *b, struct error *err)
{
	struct error local;
	char *json;

	const struct guard_policy policy = { .chains = 1 };

	if (!manifest_check("hostile", b, err))
		return false;
	/* what the tool believes, the core believes: else wrap would hand out useless files */
	assert_int_not_equal(guard_work_size(b->data, b->size, &policy), 0);
	/* what passes can be shown, unless it hides something between the tables */
	if (manifest_to_json("hostile", b, &json, &local))
		free(json);
	return true;
}

static bool parse_json(const struct blob *b, struct error *err)
{
	struct blob manifest;

	if (!manifest_from_json("hostile", (const char *)b->data, b->size, &manifest, err))
		return false;
	blob_free(&manifest);
	return true;
}

static void test_hostile_objects(void **state)
{
	static const char *const flags[] = { WT_PLAIN, WT_RETPOLINE };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct blob ko = wt_compile(wt_sample, flags[i]);

		attack(parse_object, &ko, 64, 0x1234567 + i);
		/* headers are what decides most: each bit of them */
		for (size_t at = 0; at < 64; at++)
			for (unsigned bit = 0; bit < 8; bit++) {
				ko.data[at] ^= (uint8_t)(1u << bit);
				feed(parse_object, ko.data, ko.size);
				ko.data[at] ^= (uint8_t)(1u << bit);
			}
		for (size_t at = *(uint64_t *)(ko.data + 0x28); at < ko.size; at++) {
			uint8_t old = ko.data[at];

			ko.data[at] ^= 0x80;
			feed(parse_object, ko.data, ko.size);
			ko.data[at] = (uint8_t)(old + 1);
			feed(parse_object, ko.data, ko.size);
			ko.data[at] = old;
		}
		blob_free(&ko);
	}
}

/* A driver's tables: ORC, jump labels, __bug_table. Fewer rounds, for it is large. */
static void test_hostile_driver(void **state)
{
	struct blob ko = wt_e1000e();
	uint64_t seed = 99;

	(void)state;
	for (unsigned i = 0; i < 60; i++) {
		struct blob b = { malloc(ko.size), ko.size };

		memcpy(b.data, ko.data, ko.size);
		for (unsigned k = 0; k < 8; k++)
			b.data[next(&seed) % ko.size] = (uint8_t)next(&seed);
		feed(parse_object, b.data, b.size);
		feed(parse_object, b.data, next(&seed) % b.size);
		blob_free(&b);
	}
	blob_free(&ko);
}

static void test_hostile_manifests(void **state)
{
	struct blob ko = wt_compile(wt_sample, WT_RETPOLINE);
	struct wrap_result r = wt_wrap(&ko, GM_X_OUT);
	struct error err;
	char *json;
	struct blob text;

	(void)state;
	attack(parse_manifest, &r.manifest, 64, 42);
	/* every bit of the header and of the first records */
	for (size_t at = 0; at < 1024; at++)
		for (unsigned bit = 0; bit < 8; bit++) {
			r.manifest.data[at] ^= (uint8_t)(1u << bit);
			feed(parse_manifest, r.manifest.data, r.manifest.size);
			r.manifest.data[at] ^= (uint8_t)(1u << bit);
		}
	assert_true(manifest_to_json("hostile", &r.manifest, &json, &err));
	text = (struct blob){ (uint8_t *)json, strlen(json) };
	/* without its last newline it is still JSON */
	text.size--;
	attack(parse_json, &text, 64, 43);
	blob_free(&text);
	wrap_result_free(&r);
	blob_free(&ko);
}

/* Does the check find each kind of lie? One field at a time, to a value that cannot be right. */
static void test_manifest_check_finds(void **state)
{
	struct blob ko = wt_compile(wt_sample, WT_RETPOLINE);
	struct wrap_result r = wt_wrap(&ko, GM_X_OUT);
	const struct gm_header *h = wt_header(&r);
	/* entries are sorted, and init code comes last */
	const size_t init = h->entries.offset + (h->entries.count - 1) * sizeof(struct gm_entry);
	const struct {
		size_t at;
		uint32_t value;
		const char *about;
	} lies[] = {
		{ 0, 0, "not a manifest" },
		{ 8, 2, "version" },
		{ 12, 1, "bytes" },
		{ 16, 9, "crossing kind" },
		{ 20, 2, "flags" },
		{ 24, 0xfffffff0, "names" },
		{ h->segments.offset + offsetof(struct gm_segment, kind), 77, "segment kind" },
		{ h->segments.offset + offsetof(struct gm_segment, start), 4096, "starts at" },
		{ h->segments.offset + offsetof(struct gm_segment, size), 0, "bytes" },
		{ h->segments.offset + offsetof(struct gm_segment, image), GM_NONE, "no image" },
		{ h->gates.offset, 16, "gate 0" },
		{ h->gates.offset + offsetof(struct gm_gate, kind), 0x0000ff00, "gate 0" },
		{ h->gates.offset + offsetof(struct gm_gate, kind), GM_GATE_PAD, "leave-return" },
		{ h->entries.offset, 0x00fffff0, "entry 0" },
		{ h->entries.offset + offsetof(struct gm_entry, headroom), 1, "headroom" },
		{ h->entries.offset + offsetof(struct gm_entry, flags), 8, "flags" },
		{ h->entries.offset + offsetof(struct gm_entry, flags), GM_ENTRY_INIT_CALL,
		  "its segment" },
		{ init + offsetof(struct gm_entry, flags), 0, "its segment" },
		{ init + offsetof(struct gm_entry, flags), GM_ENTRY_INIT_CODE, "its segment" },
		{ h->entries.offset + offsetof(struct gm_entry, gate), 0, "not its own" },
		{ h->imports.offset + offsetof(struct gm_import, preserve), 16, "registers" },
		{ h->relocs.offset, 0x00fffff0, "verified" },
		{ h->relocs.offset + offsetof(struct gm_reloc, type), 3, "relocation" },
		{ h->retsites.offset, 0x00fffff0, "return site" },
		{ h->unwind.offset + sizeof(struct gm_unwind), 0, "unwind" },
		{ h->privileges.offset, 99, "privilege" },
	};
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		uint32_t old;
		size_t at = lies[i].at;

		memcpy(&old, r.manifest.data + at, 4);
		memcpy(r.manifest.data + at, &lies[i].value, 4);
		if (manifest_check("hostile", &r.manifest, &err))
			fail_msg("lie %zu about %s was believed", i, lies[i].about);
		assert_non_null(strstr(err.text, "hostile: offset 0x"));
		if (!strstr(err.text, lies[i].about))
			fail_msg("lie %zu: \"%s\" says nothing about \"%s\"", i, err.text,
				 lies[i].about);
		memcpy(r.manifest.data + at, &old, 4);
	}
	assert_true(manifest_check("hostile", &r.manifest, &err));
	wrap_result_free(&r);
	blob_free(&ko);
}

static void lossless(const struct blob *manifest)
{
	struct blob back = { 0 };
	struct error err;
	char *json = NULL;

	if (!manifest_to_json("m", manifest, &json, &err) ||
	    !manifest_from_json("m", json, strlen(json), &back, &err))
		fail_msg("%s", err.text);
	assert_int_equal(back.size, manifest->size);
	assert_memory_equal(back.data, manifest->data, back.size);
	blob_free(&back);
	free(json);
}

static void test_json_is_lossless(void **state)
{
	static const char *const flags[] = { WT_PLAIN, WT_RETPOLINE, "-O0" };

	(void)state;
	for (size_t i = 0; i < 3; i++)
		for (int x = 0; x < GM_X_KINDS; x++) {
			struct blob ko = wt_compile(wt_sample, flags[i]);
			struct wrap_result r = wt_wrap(&ko, (enum gm_x_kind)x);

			lossless(&r.manifest);
			wrap_result_free(&r);
			blob_free(&ko);
		}
}

static void test_driver_json_is_lossless(void **state)
{
	struct blob ko = wt_e1000e();
	struct wrap_result r = wt_wrap(&ko, GM_X_OUT);

	(void)state;
	lossless(&r.manifest);
	wrap_result_free(&r);
	blob_free(&ko);
}

/* A byte that no field shows would get lost: so it is refused. */
static void test_json_hides_nothing(void **state)
{
	struct blob ko = wt_compile(wt_sample, WT_PLAIN);
	struct wrap_result r = wt_wrap(&ko, GM_X_OUT);
	struct gm_header *h;
	struct error err;
	char *json;

	(void)state;
	r.manifest.data[offsetof(struct gm_header, reserved)] = 1;
	assert_false(manifest_to_json("m", &r.manifest, &json, &err));
	assert_non_null(strstr(err.text, "offset 0x1c"));
	r.manifest.data[offsetof(struct gm_header, reserved)] = 0;
	h = (struct gm_header *)r.manifest.data;
	assert_true(manifest_to_json("m", &r.manifest, &json, &err));
	free(json);
	((struct gm_segment *)(r.manifest.data + h->segments.offset))->reserved = 1;
	assert_false(manifest_to_json("m", &r.manifest, &json, &err));
	assert_non_null(strstr(err.text, "a reserved field is 0x1"));
	wrap_result_free(&r);
	blob_free(&ko);
}

/* ---- bindings ---- */

static const uint8_t seed[32] = "a key for tests, known to all";
static struct binding_key key;

static bool parse_binding(const struct blob *b, struct error *err)
{
	struct guard_binding binding;

	return binding_open("hostile", b, key.public_key, &binding, err);
}

static bool parse_peek(const struct blob *b, struct error *err)
{
	struct guard_binding binding;

	return binding_peek("hostile", b, &binding, err);
}

static struct guard_binding example(void)
{
	struct guard_binding b = { .bound = 5,
				   .resource[2] = { 0xd0000000, 0x1000 },
				   .policy = { .stack = GUARD_STACK_EXACT,
					       .registers = GUARD_REGS_SCRUB,
					       .mapping = GUARD_MAPPING_LOCKED,
					       .refusal = GUARD_REFUSE_QUARANTINE,
					       .chains = 17,
					       .required = 4 } };

	for (unsigned i = 0; i < 32; i++)
		b.digest[i] = (uint8_t)i;
	return b;
}

static void test_binding_round_trip(void **state)
{
	struct guard_binding b = example(), c;
	struct binding_key other;
	struct blob file;
	struct error err;

	(void)state;
	assert_true(binding_keygen(&key, seed, &err));
	assert_true(binding_sign(&b, &key, &file, &err));
	assert_true(binding_open("f", &file, key.public_key, &c, &err));
	assert_memory_equal(b.digest, c.digest, 32);
	assert_int_equal(b.bound, c.bound);
	assert_memory_equal(b.resource, c.resource, sizeof(b.resource));
	assert_int_equal(b.policy.stack, c.policy.stack);
	assert_int_equal(b.policy.registers, c.policy.registers);
	assert_int_equal(b.policy.mapping, c.policy.mapping);
	assert_int_equal(b.policy.refusal, c.policy.refusal);
	assert_int_equal(b.policy.chains, c.policy.chains);
	assert_int_equal(b.policy.required, c.policy.required);
	/* another administrator's key, and none */
	assert_true(binding_keygen(&other, NULL, &err));
	assert_false(binding_open("f", &file, other.public_key, &c, &err));
	assert_non_null(strstr(err.text, "signature"));
	assert_false(binding_open("f", &file, NULL, &c, &err));
	blob_free(&file);
}

/* Is every single bit covered by the signature, its own included? */
static void test_binding_signature_covers_all(void **state)
{
	struct guard_binding b = example();
	struct blob file;
	struct error err;

	(void)state;
	assert_true(binding_keygen(&key, seed, &err));
	assert_true(binding_sign(&b, &key, &file, &err));
	for (size_t at = 0; at < file.size; at++)
		for (unsigned bit = 0; bit < 8; bit++) {
			file.data[at] ^= (uint8_t)(1u << bit);
			assert_false(feed(parse_binding, file.data, file.size));
			feed(parse_peek, file.data, file.size);
			file.data[at] ^= (uint8_t)(1u << bit);
		}
	attack(parse_binding, &file, file.size, 7);
	attack(parse_peek, &file, file.size, 8);
	blob_free(&file);
}

/* A signature does not make nonsense sensible: it is not even signed. */
static void test_binding_ranges(void **state)
{
	struct guard_binding good = example(), b;
	struct blob file;
	struct error err;

	(void)state;
	assert_true(binding_keygen(&key, seed, &err));
#define BAD(change)                                                                                \
	do {                                                                                       \
		b = good;                                                                          \
		change;                                                                            \
		assert_false(binding_sign(&b, &key, &file, &err));                                 \
		assert_non_null(strstr(err.text, "offset 0x"));                                    \
	} while (0)
	BAD(b.bound = 1u << 16);
	BAD(b.policy.required = 2);
	BAD(b.policy.stack = 3);
	BAD(b.policy.registers = 2);
	BAD(b.policy.mapping = 2);
	BAD(b.policy.refusal = 3);
	BAD(b.policy.chains = 0);
	BAD(b.policy.chains = GUARD_MAX_CHAINS + 1);
	BAD(b.resource[2].base = 0x10);
	BAD(b.resource[2].length = 0x10);
	BAD(b.resource[2].base = ~0xfffull; b.resource[2].length = 0x2000);
	BAD(b.resource[1].length = 0x1000);
#undef BAD
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile_objects),
		cmocka_unit_test(test_hostile_driver),
		cmocka_unit_test(test_hostile_manifests),
		cmocka_unit_test(test_manifest_check_finds),
		cmocka_unit_test(test_json_is_lossless),
		cmocka_unit_test(test_driver_json_is_lossless),
		cmocka_unit_test(test_json_hides_nothing),
		cmocka_unit_test(test_binding_round_trip),
		cmocka_unit_test(test_binding_signature_covers_all),
		cmocka_unit_test(test_binding_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
