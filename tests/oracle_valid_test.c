/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the oracle calls a valid state, G1: each bit of the control registers and of RFLAGS changed
 * alone, each way a stack can be wrong, each way a page of a module can. So also states that no CPU
 * reaches and no scenario can ask for. What a raise that failed is: tests/without_test.sh, R20.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "oracle/state.h"

#define TABLES 0x1000u /* PML4, then PDPT, PD, PT */
#define CR3 TABLES
#define PT 0x4000u
#define STACKS 0xffffc90000000000ull /* page n of it: entry n of the page table */
#define RAM_BYTES 0x40000u
#define FRAME(n) (0x10000ull + (n)*PAGE)
#define DEVICE 0xfe000000ull
#define SMEP_SMAP (1ull << 20 | 1ull << 21)

static uint8_t memory[RAM_BYTES];

static bool ram(void *ctx, uint64_t gpa, void *buf, size_t len)
{
	(void)ctx;
	if (gpa >= RAM_BYTES || len > RAM_BYTES - gpa)
		return false;
	memcpy(buf, memory + gpa, len);
	return true;
}

static void put(uint64_t gpa, uint64_t value)
{
	memcpy(memory + gpa, &value, 8);
}

/* Pages 0 to 31 of STACKS on frames of their own, writable, the kernel's; the user half likewise. */
static struct oracle *start(void)
{
	struct oracle_callbacks cb = { .ram = ram };
	struct oracle *o = oracle_new(2, ORACLE_ALONE, &cb);

	assert_non_null(o);
	memset(memory, 0, sizeof(memory));
	put(TABLES + (STACKS >> 39 & 511) * 8, (TABLES + PAGE) | 7);
	put(TABLES, (TABLES + PAGE) | 7);
	put(TABLES + PAGE, (TABLES + 2 * PAGE) | 7);
	put(TABLES + 2 * PAGE, PT | 7);
	for (unsigned n = 0; n < 32; n++)
		put(PT + n * 8, FRAME(n) | 3);
	return o;
}

/* ---- control registers and flags ---- */

static struct oracle_cpu good(void)
{
	return (struct oracle_cpu){ .cr0 = 0x80010033,
				    .cr4 = 0x20 | SMEP_SMAP,
				    .efer = 0xd00,
				    .rflags = 0x202,
				    .plain64 = true };
}

static void mode(void **state)
{
	const uint64_t cr0 = 1ull << 0 | 1ull << 16 | 1ull << 31, efer = 1ull << 10 | 1ull << 11;
	struct o_module m = { .cr4 = SMEP_SMAP }, weak = { 0 };
	struct oracle_cpu cpu = good();

	(void)state;
	assert_null(o_mode_wrong(&m, &cpu));
	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t one = 1ull << bit;

		cpu = good();
		cpu.cr0 ^= one;
		assert_int_equal(!o_mode_wrong(&m, &cpu), !(cr0 & one));
		cpu = good();
		cpu.efer ^= one;
		assert_int_equal(!o_mode_wrong(&m, &cpu), !(efer & one));
		cpu = good();
		cpu.cr4 ^= one;
		assert_int_equal(!o_mode_wrong(&m, &cpu), !((SMEP_SMAP | 0x20) & one));
		/* off at ANNOUNCE, off now */
		assert_int_equal(!o_mode_wrong(&weak, &cpu), one != 0x20);
	}
	for (uint8_t cpl = 1; cpl < 4; cpl++) {
		cpu = good();
		cpu.cpl = cpl;
		assert_non_null(o_mode_wrong(&m, &cpu));
	}
	cpu = good();
	cpu.plain64 = false;
	assert_non_null(o_mode_wrong(&m, &cpu));
}

static void flags(void **state)
{
	const uint64_t never = 1ull << 8 | 1ull << 10 | 1ull << 14, ac = 1ull << 18;
	struct o_chain with = { .rflags = 0x202 | ac }, without = { .rflags = 0x202 };
	struct oracle_cpu cpu = good();

	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t one = 1ull << bit;

		cpu = good();
		cpu.rflags ^= one;
		assert_int_equal(!o_flags_wrong(&cpu, NULL), !((never | ac) & one));
		assert_int_equal(!o_flags_wrong(&cpu, &without), !((never | ac) & one));
		/* AC was set at the leave: then it must be set */
		assert_int_equal(!o_flags_wrong(&cpu, &with), one == ac);
		cpu.cr4 = 0x20;
		assert_int_equal(!o_flags_wrong(&cpu, NULL), !(never & one));
	}
}

/* ---- stacks ---- */

#define HEADROOM 512u

static const char *stack(const struct oracle *o, uint64_t slot)
{
	return o_stack_wrong(o, CR3, slot, slot - HEADROOM, slot + 8, NULL);
}

static void places_of_a_stack(void **state)
{
	struct oracle *o = start();
	const uint64_t slot = STACKS + 16 * PAGE + 0xf00;

	(void)state;
	assert_null(stack(o, slot));
	for (unsigned n = 1; n < 8; n++)
		assert_non_null(stack(o, slot + n));
	assert_null(stack(o, slot + 8));
	/* the same frames, in the user half, and not canonical */
	assert_non_null(stack(o, 16 * PAGE + 0xf00));
	assert_non_null(stack(o, (1ull << 47) + 16 * PAGE + 0xf00));
	assert_non_null(stack(o, 0));
	assert_non_null(stack(o, ~0ull - 7));
	/* farther up than a chain may span, counted from what is looked at below the slot */
	assert_null(o_stack_wrong(o, CR3, slot, slot - HEADROOM, slot + 9 * PAGE, NULL));
	assert_non_null(o_stack_wrong(o, CR3, slot, slot - HEADROOM, slot + 10 * PAGE, NULL));
	oracle_free(o);
}

static void pages_of_a_stack(void **state)
{
	/* what page 16 or the headroom's, page 15, is: an entry of the page table */
	static const uint64_t bad[] = {
		FRAME(16) | 2,		    /* absent */
		FRAME(16) | 1,		    /* read-only */
		FRAME(16) | 7,		    /* user space's */
		0xf0000000 | 3,		    /* no RAM */
		FRAME(16) | 3 | 1ull << 48, /* reserved */
	};
	struct oracle *o = start();
	const uint64_t slot = STACKS + 16 * PAGE + 0x100; /* the headroom reaches into page 15 */

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (unsigned page = 15; page <= 16; page++) {
			put(PT + page * 8, bad[i]);
			assert_non_null(stack(o, slot));
			put(PT + page * 8, FRAME(page) | 3);
			assert_null(stack(o, slot));
		}
	/* further down a page may be absent, or anything but private memory and a device */
	put(PT + 13 * 8, 0xf0000000 | 3);
	assert_null(stack(o, slot));
	o->top = 1;
	o->module[0].registered = true;
	o->module[0].man.nprivileges = 1;
	o->module[0].man.privilege[0].kind = P_DEVICE;
	o->module[0].binding.bound = 1;
	o->module[0].binding.range[0].base = DEVICE;
	o->module[0].binding.range[0].length = PAGE;
	put(PT + 13 * 8, DEVICE | 3);
	assert_non_null(stack(o, slot));
	/* below one that is absent nothing is reached by pushing */
	put(PT + 14 * 8, 0);
	assert_null(stack(o, slot));
	/* 16 KiB below the slot and not farther */
	put(PT + 14 * 8, FRAME(14) | 3);
	put(PT + 13 * 8, FRAME(13) | 3);
	put(PT + 12 * 8, DEVICE | 3);
	assert_non_null(stack(o, slot));
	put(PT + 12 * 8, FRAME(12) | 3);
	put(PT + 11 * 8, DEVICE | 3);
	assert_null(stack(o, slot));
	o->module[0] = (struct o_module){ 0 };
	oracle_free(o);
}

/* Who runs on page 20 is met by its bytes, from whatever address. */
static void a_stack_in_use(void **state)
{
	struct oracle *o = start();
	struct o_chain ch = { .state = O_RUNNING };
	const uint64_t at = STACKS + 20 * PAGE;

	(void)state;
	o_extent(o, &ch, CR3, at + 0x800, at + 0xa08);
	o->vcpu[1].chain = &ch;
	put(PT + 28 * 8, FRAME(20) | 3); /* an alias of it */
	for (unsigned page = 20; page <= 28; page += 8) {
		uint64_t p = STACKS + page * PAGE;

		assert_non_null(o_overlap_wrong(o, CR3, p + 0xa00, p + 0xa10, NULL));
		assert_non_null(o_overlap_wrong(o, CR3, p + 0x7f8, p + 0x801, NULL));
		assert_null(o_overlap_wrong(o, CR3, p + 0xa08, p + 0xa10, NULL));
		assert_null(o_overlap_wrong(o, CR3, p + 0x700, p + 0x800, NULL));
		assert_null(o_overlap_wrong(o, CR3, p + 0xa00, p + 0xa10, &ch));
	}
	assert_null(o_overlap_wrong(o, CR3, at + PAGE + 0x800, at + PAGE + 0xa08, NULL));
	o->vcpu[1].chain = NULL;
	oracle_free(o);
}

/* ---- pages of a module ---- */

static void pages_of_a_module(void **state)
{
	uint64_t frame[2] = { 0, FRAME(9) };
	struct oracle *o = start();
	struct o_module m = { .frame = frame };

	(void)state;
	m.man.segment[0] = (struct m_segment){ .kind = S_DATA, .pages = 2 };
	m.man.nsegments = 1;
	m.base[0] = STACKS + 8 * PAGE;
	put(PT + 8 * 8, 0 | 3);
	assert_null(o_mapping_wrong(o, &m, CR3));
	/* frame 0 and nothing are two things */
	put(PT + 8 * 8, 0 | 2);
	assert_non_null(o_mapping_wrong(o, &m, CR3));
	put(PT + 8 * 8, 0 | 3);
	put(PT + 9 * 8, FRAME(10) | 3);
	assert_non_null(o_mapping_wrong(o, &m, CR3));
	put(PT + 9 * 8, FRAME(9) | 1);
	assert_null(o_mapping_wrong(o, &m, CR3));
	oracle_free(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mode),
		cmocka_unit_test(flags),
		cmocka_unit_test(places_of_a_stack),
		cmocka_unit_test(pages_of_a_stack),
		cmocka_unit_test(a_stack_in_use),
		cmocka_unit_test(pages_of_a_module),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
