// SPDX-License-Identifier: GPL-2.0-only
/*
 * Are the inner copies what they stand for? They run here, natively, against the C library, on
 * random data that ends right before an unmapped page; and are they leaves, as the unwind map and
 * the headroom take for granted?
 */
#define _GNU_SOURCE
#include "tests/support/wraptest.h"

#include <Zydis/Zydis.h>
#include <sys/mman.h>

#include "wrap/inner.h"

#define ROUNDS 20000
#define MAX 200

static uint32_t seed = 1;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

/* The last MAX bytes before a page that faults. */
static uint8_t *edge(void)
{
	uint8_t *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	assert_int_equal(mprotect(p + 4096, 4096, PROT_NONE), 0);
	return p + 4096 - MAX;
}

static const void *code_of(const char *import)
{
	static uint8_t *page;
	static size_t used;
	const struct inner_copy *c = inner_copy((unsigned)inner_find(import));
	size_t n = (size_t)(c->end - c->code);
	uint8_t *at;

	if (!page)
		page = mmap(NULL, 65536, PROT_READ | PROT_WRITE | PROT_EXEC,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(page != MAP_FAILED && used + n <= 65536);
	at = page + used;
	memcpy(at, c->code, n);
	used += (n + 15) & ~(size_t)15;
	return at;
}

static int sign(int n)
{
	return (n > 0) - (n < 0);
}

static void fill(uint8_t *p, size_t n, unsigned letters)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(rnd(letters) ? 'a' + rnd(letters) : 0x80 + rnd(3));
}

static void memory_functions(void **state)
{
	void *(*copy)(void *, const void *, size_t) = code_of("memcpy");
	void *(*move)(void *, const void *, size_t) = code_of("memmove");
	void *(*set)(void *, int, size_t) = code_of("memset");
	int (*cmp)(const void *, const void *, size_t) = code_of("memcmp");
	void *(*chr)(const void *, int, size_t) = code_of("memchr");
	uint8_t *a = edge(), *b = edge(), other[MAX];

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		size_t n = rnd(MAX / 2), from = rnd(MAX / 2) + MAX / 2 - n, to = MAX - n;
		int c = (int)rnd(256) | 0x5500;

		fill(a, MAX, 4);
		memcpy(other, a, MAX);
		assert_ptr_equal(move(a + to, a + from, n), a + to);
		memmove(other + to, other + from, n);
		assert_memory_equal(a, other, MAX);
		assert_ptr_equal(move(a + from, a + to, n), a + from);
		memmove(other + from, other + to, n);
		assert_memory_equal(a, other, MAX);

		assert_ptr_equal(copy(b + to, a + to, n), b + to);
		assert_memory_equal(b + to, a + to, n);
		assert_int_equal(cmp(b + to, a + to, n), 0);
		if (n) {
			b[to + rnd((uint32_t)n)] ^= (uint8_t)(1 + rnd(255));
			assert_int_equal(sign(cmp(b + to, a + to, n)),
					 sign(memcmp(b + to, a + to, n)));
		}
		assert_ptr_equal(chr(a + to, c, n), memchr(a + to, c, n));
		memcpy(other, b, MAX);
		assert_ptr_equal(set(b + to, c, n), b + to);
		memset(other + to, c, n);
		assert_memory_equal(b, other, MAX);
	}
}

static void string_functions(void **state)
{
	size_t (*len)(const char *) = code_of("strlen");
	size_t (*nlen)(const char *, size_t) = code_of("strnlen");
	int (*cmp)(const char *, const char *) = code_of("strcmp");
	int (*ncmp)(const char *, const char *, size_t) = code_of("strncmp");
	char *(*cpy)(char *, const char *) = code_of("strcpy");
	char *(*chr)(const char *, int) = code_of("strchr");
	uint8_t *x = edge(), *y = edge();

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		size_t n = 1 + rnd(12), k = 1 + rnd(12), limit = rnd(16);
		char *a = (char *)x + MAX - n, *b = (char *)y + MAX - k;
		int c = rnd(4) ? (int)('a' + rnd(2)) | 0x100 : 0;

		fill((uint8_t *)a, n, 2);
		fill((uint8_t *)b, k, 2);
		assert_int_equal(nlen(a, n), n); /* none ends it but the bound */
		a[n - 1] = b[k - 1] = 0;
		assert_int_equal(len(a), n - 1);
		assert_int_equal(nlen(a, limit), strnlen(a, limit));
		assert_int_equal(cmp(a, b), sign(strcmp(a, b)));
		assert_int_equal(cmp(a, a), 0);
		assert_int_equal(ncmp(a, b, limit), sign(strncmp(a, b, limit)));
		assert_ptr_equal(chr(a, c), strchr(a, c));
		if (n <= k) {
			assert_ptr_equal(cpy(b, a), b);
			assert_string_equal(b, a);
		}
	}
}

static unsigned long slow_next(const unsigned long *map, unsigned long bits, unsigned long from)
{
	while (from < bits && !(map[from / 64] >> from % 64 & 1))
		from++;
	return from < bits ? from : bits;
}

static void bit_functions(void **state)
{
	unsigned long (*first)(const unsigned long *, unsigned long) = code_of("_find_first_bit");
	unsigned long (*next)(const unsigned long *, unsigned long, unsigned long) =
		code_of("_find_next_bit");
	unsigned long *end = (unsigned long *)(void *)(edge() + MAX);

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		unsigned long words = 1 + rnd(3), bits = words * 64 - rnd(64), from = rnd(200);
		unsigned long *map = end - words;

		for (unsigned long w = 0; w < words; w++) {
			map[w] = rnd(3) ? 0 : 1ul << rnd(64);
			map[w] |= rnd(3) ? 0 : 1ul << rnd(64);
		}
		assert_int_equal(first(map, bits), slow_next(map, bits, 0));
		assert_int_equal(next(map, bits, from), slow_next(map, bits, from));
	}
	assert_int_equal(first(end, 0), 0);
	assert_int_equal(next(end, 0, 0), 0);
}

/* Nothing but registers that C lets a callee change; no stack, no call, every branch inside. */
static void copies_are_leaves(void **state)
{
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction in;
	ZydisDecoder decoder;

	(void)state;
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (unsigned i = 0; i < INNER_COPIES; i++) {
		const struct inner_copy *c = inner_copy(i);
		size_t n = (size_t)(c->end - c->code), at;

		assert_in_range(n, 1, 256);
		for (at = 0; at < n; at += in.length) {
			assert_true(ZYAN_SUCCESS(
				ZydisDecoderDecodeFull(&decoder, c->code + at, n - at, &in, op)));
			if (in.mnemonic == ZYDIS_MNEMONIC_RET)
				continue;
			assert_int_not_equal(in.meta.category, ZYDIS_CATEGORY_CALL);
			if (in.raw.imm[0].is_relative)
				assert_in_range((int64_t)(at + in.length) + in.raw.imm[0].value.s,
						0, n - 1);
			for (unsigned k = 0; k < in.operand_count; k++) {
				ZydisRegister r = ZydisRegisterGetLargestEnclosing(
					ZYDIS_MACHINE_MODE_LONG_64,
					op[k].type == ZYDIS_OPERAND_TYPE_MEMORY ? op[k].mem.base
										: op[k].reg.value);

				assert_int_not_equal(r, ZYDIS_REGISTER_RSP);
				assert_int_not_equal(r, ZYDIS_REGISTER_RBX);
				assert_int_not_equal(r, ZYDIS_REGISTER_RBP);
				assert_false(r >= ZYDIS_REGISTER_R12 && r <= ZYDIS_REGISTER_R15);
			}
		}
		assert_int_equal(c->end[-1], 0xc3);
	}
	assert_null(inner_copy(INNER_COPIES));
}

/* With the switch off, the same call leaves. */
static void the_switch_turns_them_off(void **state)
{
	struct blob ko = wt_compile("void *memcpy(void *, const void *, unsigned long);\n"
				    "void f(void *a, void *b, long n) { memcpy(a, b, n); }\n"
				    "int init_module(void) { return 0; }\n"
				    "void (*const t[])(void *, void *, long) = { f };\n",
				    "-fno-builtin " WT_PLAIN);
	struct wrap_options opt = { .x = GM_X_OUT };

	(void)state;
	for (int off = 0; off < 2; off++) {
		struct wrap_result r;
		struct error err;
		unsigned leaves = 0;
		const struct gm_gate *g;

		opt.no_inner_lib = off;
		assert_true(wrap_module(&opt, "t.ko", &ko, &r, &err));
		g = WT_TABLE(&r, gates);
		for (uint32_t i = 0; i < wt_header(&r)->gates.count; i++)
			leaves += g[i].kind == GM_GATE_LEAVE;
		assert_int_equal(leaves, off);
		wrap_result_free(&r);
	}
	blob_free(&ko);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_functions),
		cmocka_unit_test(string_functions),
		cmocka_unit_test(bit_functions),
		cmocka_unit_test(copies_are_leaves),
		cmocka_unit_test(the_switch_turns_them_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
