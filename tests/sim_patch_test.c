/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Code that rewrites itself: random programs patch small functions, on their own page and on others,
 * at their own address and in the direct map, with every kind of store, and call them in between.
 * What a function returns is known to the generator. Fast and precise mode.
 */
#include "tests/support/simvm.h"

#define FUNCTIONS 24
#define STEPS 150
#define PROGRAMS 200

/* Each is: mov $value,%eax; ret; nop; nop. Some lie across the border of two pages. */
#define FUNCTION_BYTES 8u

struct program {
	struct simvm *vm;
	uint8_t code[0x4000];
	unsigned at;
	unsigned function[FUNCTIONS];
	uint32_t value[FUNCTIONS];
	unsigned functions;
	uint64_t sum;
	unsigned seed;
};

static unsigned draw(struct program *p, unsigned n)
{
	p->seed = p->seed * 1664525u + 1013904223u;
	return (p->seed >> 8) % n;
}

static void emit(struct program *p, const void *bytes, unsigned n)
{
	assert_true(p->at + n <= sizeof(p->code));
	memcpy(p->code + p->at, bytes, n);
	p->at += n;
}

#define EMIT(p, ...)                                                                               \
	do {                                                                                       \
		const uint8_t bytes_[] = { __VA_ARGS__ };                                          \
		emit(p, bytes_, sizeof(bytes_));                                                   \
	} while (0)

static void emit_number(struct program *p, uint64_t value, unsigned bytes)
{
	emit(p, &value, bytes);
}

static void add_function(struct program *p)
{
	uint8_t f[FUNCTION_BYTES] = { 0xb8, 0, 0, 0, 0, 0xc3, 0x90, 0x90 };

	p->value[p->functions] = draw(p, 1u << 20);
	memcpy(f + 1, &p->value[p->functions], 4);
	p->function[p->functions++] = p->at;
	emit(p, f, sizeof(f));
}

/* mov $address of byte `offset` of the code,%rsi: its own, or the direct map's. */
static void emit_address(struct program *p, unsigned offset)
{
	EMIT(p, 0x48, 0xbe);
	emit_number(p, draw(p, 2) ? SV_CODE + offset : sv_direct(p->vm, SV_CODE) + offset, 8);
}

/* A store to the 4 bytes at `offset`, which hold `old`; returns what they hold afterwards. */
static uint32_t emit_store(struct program *p, unsigned offset, uint32_t old)
{
	uint32_t value = draw(p, 1u << 24);
	uint8_t low = (uint8_t)value;

	emit_address(p, offset);
	switch (draw(p, 7)) {
	case 0: /* movb $low,(%rsi) */ EMIT(p, 0xc6, 0x06, low); return (old & ~0xffu) | low;
	case 1: /* movl $value,(%rsi) */
		EMIT(p, 0xc7, 0x06);
		emit_number(p, value, 4);
		return value;
	case 2: /* movw $value,1(%rsi) */
		EMIT(p, 0x66, 0xc7, 0x46, 0x01);
		emit_number(p, value, 2);
		return (old & 0xff0000ffu) | (value & 0xffff) << 8;
	case 3: /* lock addl $low,(%rsi) */
		low &= 0x7f;
		EMIT(p, 0xf0, 0x83, 0x06, low);
		return old + low;
	case 4: /* mov $value,%eax; xchg %eax,(%rsi) */
		EMIT(p, 0xb8);
		emit_number(p, value, 4);
		EMIT(p, 0x87, 0x06);
		return value;
	case 5: /* mov %rsi,%rdi; mov $low,%al; mov $4,%ecx; rep stosb */
		EMIT(p, 0x48, 0x89, 0xf7, 0xb0, low, 0xb9, 4, 0, 0, 0, 0xf3, 0xaa);
		return low * 0x01010101u;
	default: /* mov (%rsi),%rax; shr $32,%rax; shl $32,%rax; or $low,%rax; mov %rax,(%rsi) */
		low &= 0x7f;
		EMIT(p, 0x48, 0x8b, 0x06, 0x48, 0xc1, 0xe8, 32, 0x48, 0xc1, 0xe0, 32, 0x48, 0x83,
		     0xc8, low, 0x48, 0x89, 0x06);
		return low;
	}
}

static void emit_step(struct program *p)
{
	unsigned f = draw(p, p->functions), seed, start, end;
	uint32_t value;

	switch (draw(p, 8)) {
	case 0: /* a function in the way */
		if (p->functions < FUNCTIONS) {
			EMIT(p, 0xeb, FUNCTION_BYTES);
			add_function(p);
		}
		return;
	case 1: /* a store into the instruction behind it: mov $old,%eax; add %rax,%rbx */
		value = draw(p, 1u << 20);
		/* Twice, to know its length. */
		seed = p->seed;
		start = p->at;
		emit_store(p, 0, value);
		end = p->at;
		p->at = start;
		p->seed = seed;
		p->sum += emit_store(p, end + 1, value);
		assert_int_equal(p->at, end);
		EMIT(p, 0xb8);
		emit_number(p, value, 4);
		EMIT(p, 0x48, 0x01, 0xc3);
		return;
	case 2:
	case 3:
	case 4: p->value[f] = emit_store(p, p->function[f] + 1, p->value[f]); return;
	default: /* mov $f,%rax; call *%rax; add %rax,%rbx */
		EMIT(p, 0x48, 0xb8);
		emit_number(p, SV_CODE + p->function[f], 8);
		EMIT(p, 0xff, 0xd0, 0x48, 0x01, 0xc3);
		p->sum += p->value[f];
		return;
	}
}

static void run_program(unsigned seed)
{
	struct program *p = calloc(1, sizeof(*p));
	unsigned start;

	assert_non_null(p);
	p->seed = seed;
	p->vm = sv_create(1, 1, 0);
	add_function(p);
	p->at = 0x1000 - 3; /* across a border, twice */
	add_function(p);
	p->at = 0x2000 - 1;
	add_function(p);
	p->at = draw(p, 2) ? 0x2010 : 0x3000 - draw(p, 64);
	start = p->at;
	for (unsigned i = 0; i < STEPS && p->at < sizeof(p->code) - 64; i++)
		emit_step(p);
	/* mov %rbx,SV_DATA; exit 0 */
	EMIT(p, 0x48, 0xbf);
	emit_number(p, SV_DATA, 8);
	EMIT(p, 0x48, 0x89, 0x1f, 0x31, 0xc0, 0xe7, 0xf4);
	sv_code(p->vm, 0, p->code, sizeof(p->code));
	sv_start(p->vm, 0, start, false);
	sv_run(p->vm);
	if (p->vm->exit.reason != VM_EXIT_GUEST || p->vm->exit.status ||
	    *sv_data(p->vm, 0) != p->sum)
		fail_msg("program %u: status %d, \"%s\", sum 0x%llx, expected 0x%llx", seed,
			 p->vm->exit.status, p->vm->exit.message,
			 (unsigned long long)*sv_data(p->vm, 0), (unsigned long long)p->sum);
	sv_destroy(p->vm);
	free(p);
}

static void test_random_programs(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= PROGRAMS; seed++)
		run_program(seed);
}

/* ---- a store over the border of two pages ---- */

SNIPPET(add_split, "incq (%rdi)\n lea 0x2ffe(%rdi),%rsi\n lock addl $0x01010101,(%rsi)");
SNIPPET(store_split, "incq (%rdi)\n lea 0x2ffc(%rdi),%rsi\n mov %rsi,(%rsi)\n nop\n nop");

/* If the second page cannot be written to, the first one is as it was. */
static void split_case(const uint8_t *code, size_t size, bool present)
{
	struct simvm *s = sv_create(1, 1, 0);
	uint64_t before;

	if (present)
		*sv_pte(s, SV_DATA + 0x3000) &= ~PTE_W;
	else
		*sv_pte(s, SV_DATA + 0x3000) = 0;
	before = *sv_data(s, 0x2ff8 / 8) = 0x1122334455667788;
	sv_run_code(s, code, size);
	assert_int_equal(s->exit.status, SV_TRAPPED);
	assert_int_equal(sv_trap(s).vector, 14);
	assert_int_equal(sv_trap(s).cr2, SV_DATA + 0x3000);
	assert_int_equal(sv_trap(s).rip, SV_CODE + 3 + 7);
	assert_int_equal(*sv_data(s, 0), 1);
	assert_int_equal(*sv_data(s, 0x2ff8 / 8), before);
	sv_destroy(s);
}

static void test_split_stores(void **state)
{
	(void)state;
	split_case(add_split, SNIPPET_SIZE(add_split), true);
	split_case(store_split, SNIPPET_SIZE(store_split), true);
	split_case(store_split, SNIPPET_SIZE(store_split), false);
}

/* ---- two pages in one place of Unicorn's TLB ---- */

/* mov $1,%al; ret: what is patched, on the second page of the code */
SNIPPET(patched, "mov $1,%al\n ret");
/* calls it, patches it through the alias at SV_DATA + 0x1000, calls it again, and so on */
SNIPPET(patch_alias, "mov $100,%ecx\n"
		     "lea 0x1000(%rdi),%rsi\n"
		     "mov $0xffffffff90001000,%rbx\n"
		     "1: call *%rbx\n"
		     "cmp 1(%rsi),%al\n"
		     "jne 2f\n"
		     "incb 1(%rsi)\n"
		     "incq (%rdi)\n"
		     "dec %ecx\n"
		     "jnz 1b\n"
		     "2: xor %eax,%eax\n"
		     "out %eax,$0xf4");

/*
 * Both pages have the same place in a TLB of up to 4096 entries. Removing the code that a store
 * changes, on the one, must not make the store on the other go astray.
 */
static void test_same_tlb_entry(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);

	(void)state;
	*sv_pte(s, SV_DATA + 0x1000) = (*sv_pte(s, SV_CODE + 0x1000) | PTE_W) & ~PTE_NX;
	SV_CODE_AT(s, 0x1000, patched);
	sv_run_code(s, patch_alias, SNIPPET_SIZE(patch_alias));
	assert_int_equal(s->exit.reason, VM_EXIT_GUEST);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 0), 100);
	sv_destroy(s);
}

static int fast_mode(void **state)
{
	(void)state;
	unsetenv("GUARDHOUSE_PRECISE");
	return 0;
}

static int precise_mode(void **state)
{
	(void)state;
	return setenv("GUARDHOUSE_PRECISE", "1", 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_programs),
		cmocka_unit_test(test_split_stores),
		cmocka_unit_test(test_same_tlb_entry),
	};
	int failed = cmocka_run_group_tests_name("fast", tests, fast_mode, NULL);

	return failed + cmocka_run_group_tests_name("precise", tests, precise_mode, NULL);
}
