// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the toolchain says the kernel does to registers: at exception fixups, by type (Linux 6.1's
 * asm/extable_fixup_types.h and mm/extable.c), and in imported functions. Values are literal.
 */
#include "tests/support/wraptest.h"

#include "wrap/module.h"

#define RAX 0x0001u
#define RDX 0x0004u
#define REG(n) ((n) << 8) /* EX_DATA_REG */

static char *with_entry(char *source, size_t size, uint32_t data)
{
	snprintf(source, size,
		 "long f(long *p) {\n"
		 "	long v;\n"
		 "	__asm__ volatile(\"1: mov (%%1), %%0\\n2:\\n\"\n"
		 "		\".pushsection __ex_table, \\\"a\\\"\\n\"\n"
		 "		\".long 1b - ., 2b - ., 0x%x\\n.popsection\\n\"\n"
		 "		: \"=r\"(v) : \"r\"(p));\n"
		 "	return v;\n"
		 "}\n"
		 "int init_module(void) { return 0; }\n"
		 "long (*const table[])(long *) = { f };\n",
		 data);
	return source;
}

static void fixups_set_the_registers_of_their_type(void **state)
{
	static const struct {
		uint32_t data, regs;
	} known[] = {
		{ 1, 0 },	       /* DEFAULT */
		{ 2, RAX },	       /* FAULT: the trap's number */
		{ 3, 0 },	       /* UACCESS */
		{ 8, 0 },	       /* WRMSR */
		{ 9, RAX | RDX },      /* RDMSR: 0 */
		{ 10, RAX },	       /* WRMSR_SAFE: -EIO in the named one, */
		{ 10 | REG(6), 0x40 }, /* which need not be RAX */
		{ 11, RAX | RDX },     /* RDMSR_SAFE: 0, and -EIO in the named one */
		{ 11 | REG(9), RAX | RDX | 0x200 },
		{ 14, 0 },   /* DEFAULT_MCE_SAFE */
		{ 15, RAX }, /* FAULT_MCE_SAFE */
		{ 17, RAX }, /* IMM_REG */
		{ 17 | REG(3) | 0xfff20000, 0x0008 },
		{ 17 | REG(15), 0x8000 },
	};
	char source[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		struct blob ko =
			wt_compile(with_entry(source, sizeof(source), known[i].data), WT_PLAIN);
		struct wrap_result r = wt_wrap(&ko, GM_X_OUT);
		const struct gm_fixup *f = WT_TABLE(&r, fixups);

		assert_int_equal(wt_header(&r)->fixups.count, 1);
		assert_int_equal(f->kind, GM_FIXUP_EXTABLE);
		assert_int_equal(f->regs, known[i].regs);
		wrap_result_free(&r);
		blob_free(&ko);
	}
}

/* Types that do more than set registers, and RSP as the register. */
static void other_fixups_are_refused(void **state)
{
	static const uint32_t unknown[] = { 0,	 4,	      5,	   6,	       7,  12,
					    13,	 16,	      18,	   19,	       20, 21,
					    255, 17 | REG(4), 10 | REG(4), 11 | REG(4) };
	struct wrap_options options = { .x = GM_X_OUT };
	char source[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		struct blob ko =
			wt_compile(with_entry(source, sizeof(source), unknown[i]), WT_PLAIN);
		struct wrap_result r = { 0 };
		struct error err;

		assert_false(wrap_module(&options, "t.ko", &ko, &r, &err));
		assert_non_null(strstr(err.text, "exception fixup type"));
		blob_free(&ko);
	}
}

static void imports_preserve_what_their_convention_says(void **state)
{
	static const struct {
		const char *name;
		uint32_t preserve;
	} known[] = {
		{ "kmalloc", 0xf028 }, /* RBX, RBP, R12-R15 */
		{ "get_user", 0xf028 },
		{ "__get_user", 0xf028 },
		{ "__sw_hweight", 0xf028 },
		{ "__sw_hweight320", 0xf028 },
		{ "preempt_schedule", 0xf028 },
		/* all but RSP */
		{ "preempt_schedule_thunk", 0xffef },
		{ "preempt_schedule_notrace_thunk", 0xffef },
		{ "__SCT__preempt_schedule", 0xffef },
		{ "__SCT__preempt_schedule_notrace", 0xffef },
		/* but RAX, RDX */
		{ "__get_user_1", 0xffea },
		{ "__get_user_8", 0xffea },
		{ "__get_user_nocheck_4", 0xffea },
		{ "this_cpu_cmpxchg16b_emu", 0xffea },
		/* but RCX, RBX */
		{ "__put_user_1", 0xffe5 },
		{ "__put_user_8", 0xffe5 },
		{ "__put_user_nocheck_2", 0xffe5 },
		/* but RAX */
		{ "__sw_hweight32", 0xffee },
		{ "__sw_hweight64", 0xffee },
		/* but RAX, RCX, RDI */
		{ "clear_page_rep", 0xff6c },
		{ "clear_page_erms", 0xff6c },
		{ "clear_page_orig", 0xff6c },
		/* but RAX, RCX, RDX, RDI */
		{ "clear_user_erms", 0xff68 },
		/* but RAX, RDX, RSI, RDI, R8, R10 */
		{ "__SCT__xen_hypercall", 0xfa2a },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (preserve_mask(known[i].name) != known[i].preserve)
			fail_msg("%s: 0x%x, not 0x%x", known[i].name, preserve_mask(known[i].name),
				 known[i].preserve);
	}
}

/* A symbol behind the end of what is left of a section would make the wrapped module unreadable. */
static void symbols_in_emptied_tables_are_refused(void **state)
{
	struct blob ko = wt_compile(
		"int init_module(void) { return 0; }\n"
		"__asm__(\".pushsection .return_sites,\\\"a\\\"\\n.long 0\\nmark: .long 0\\n\"\n"
		"\".popsection\");\n",
		WT_PLAIN);

	(void)state;
	wt_refused(&ko, "symbol mark names a place in .return_sites, which is emptied");
	blob_free(&ko);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fixups_set_the_registers_of_their_type),
		cmocka_unit_test(other_fixups_are_refused),
		cmocka_unit_test(symbols_in_emptied_tables_are_refused),
		cmocka_unit_test(imports_preserve_what_their_convention_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
