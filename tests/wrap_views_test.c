// SPDX-License-Identifier: GPL-2.0-only
/*
 * Manifests of modules that stay as they are. The module is written for the purpose, with each kind
 * of place that Linux patches; expected bytes are those that Linux 6.1 leaves there, literal.
 */
#include "tests/support/wraptest.h"

#include "wrap/module.h"

/* One function: every kind of branch that objtool lists, and the tables as objtool writes them. */
static const char patched[] =
	"__asm__(\".text\\n.globl f\\n.type f, @function\\nf:\\n.cfi_startproc\\n\"\n"
	"\"1: call __fentry__\\n\"\n"
	"\"sub $8, %rsp\\n.cfi_adjust_cfa_offset 8\\n\"\n"
	"\"2: call __x86_indirect_thunk_rax\\n\"\n"
	"\"3: .byte 0x2e\\n call __x86_indirect_thunk_r9\\n\"\n"
	"\"4: call __SCT__might\\n call out1\\n\"\n"
	"\"add $8, %rsp\\n.cfi_adjust_cfa_offset -8\\n\"\n"
	"\"test %edi, %edi\\n je 9f\\n\"\n"
	"\"5: jmp __x86_return_thunk\\n int3\\n\"\n"
	"\"9: test %esi, %esi\\n je 8f\\n\"\n"
	"\"6: jmp __x86_indirect_thunk_rdx\\n\"\n"
	"\"8: jmp __SCT__tail\\n.cfi_endproc\\n.size f, .-f\\n\"\n"
	"\".pushsection __mcount_loc, \\\"a\\\"\\n.quad 1b\\n.popsection\\n\"\n"
	"\".pushsection .retpoline_sites, \\\"a\\\"\\n.long 2b-., 3b-., 6b-.\\n.popsection\\n\"\n"
	"\".pushsection .return_sites, \\\"a\\\"\\n.long 5b-.\\n.popsection\\n\"\n"
	"\".pushsection .static_call_sites, \\\"aw\\\"\\n.long 4b-., 0, 8b-., 0\\n.popsection\\n\");\n"
	"int init_module(void) { return 0; }\n";

static bool describe(const struct blob *ko, struct wrap_result *r, struct error *err)
{
	const struct wrap_options opt = { .name = "test", .x = GM_X_OUT, .views = true };

	return wrap_module(&opt, "test.ko", ko, r, err);
}

static struct wrap_result described(const struct blob *ko)
{
	struct wrap_result r;
	struct error err;

	if (!describe(ko, &r, &err))
		fail_msg("refused: %s", err.text);
	return r;
}

static void refused(const char *source, const char *flags, const char *about)
{
	struct blob ko = wt_compile(source, flags);
	struct wrap_result r;
	struct error err;

	if (describe(&ko, &r, &err))
		fail_msg("accepted, in spite of \"%s\"", about);
	assert_non_null(strstr(err.text, "test.ko: offset 0x"));
	if (!strstr(err.text, about))
		fail_msg("\"%s\" says nothing about \"%s\"", err.text, about);
	blob_free(&ko);
}

struct content {
	const char *bytes; /* NULL: no more */
	int kind;	   /* of its one relocation, -1: none */
};

static void site_is(const struct wrap_result *r, uint32_t n, uint32_t size, uint32_t flags,
		    const struct content *want)
{
	const struct gm_site *s = (const struct gm_site *)WT_TABLE(r, sites) + n;
	const struct gm_choice *c = (const struct gm_choice *)WT_TABLE(r, choices) + s->first;
	const struct gm_reloc *rel = WT_TABLE(r, choice_relocs);
	const uint8_t *image = WT_TABLE(r, image);
	uint32_t k = 0;

	assert_int_equal(s->size, size);
	assert_int_equal(s->flags, flags);
	assert_int_equal(s->group, GM_NONE);
	for (; want[k].bytes; k++) {
		assert_in_range(k, 0, s->count - 1);
		assert_memory_equal(image + c[k].bytes, want[k].bytes, size);
		assert_int_equal(c[k].relocs, want[k].kind >= 0);
		if (want[k].kind >= 0)
			assert_int_equal(rel[c[k].first_reloc].kind, want[k].kind);
	}
	assert_int_equal(s->count, k);
}

#define NOP5 "\x0f\x1f\x44\x00\x00"
#define CALL "\xe8\x00\x00\x00\x00"
#define JMP "\xe9\x00\x00\x00\x00"
#define RET "\xc3\xcc\xcc\xcc\xcc"

/* Is each place that the kernel patches a site with just what the kernel writes? */
static void test_sites(void **state)
{
	const int import = GM_TARGET_IMPORT, outside = GM_TARGET_OUTSIDE;
	struct blob ko = wt_compile(patched, WT_PLAIN);
	struct wrap_result r = described(&ko);

	(void)state;
	assert_int_equal(wt_header(&r)->sites.count, 7);
	site_is(&r, 0, 5, GM_SITE_RUNTIME,
		(const struct content[]){
			{ NOP5, -1 }, { CALL, import }, { CALL, outside }, { NULL, 0 } });
	site_is(&r, 1, 5, 0,
		(const struct content[]){ { "\xff\xd0\x0f\x1f\x00", -1 },
					  { "\x0f\xae\xe8\xff\xd0", -1 },
					  { CALL, import },
					  { NULL, 0 } });
	site_is(&r, 2, 6, 0,
		(const struct content[]){ { "\x41\xff\xd1\x0f\x1f\x00", -1 },
					  { "\x0f\xae\xe8\x41\xff\xd1", -1 },
					  { "\x2e" CALL, import },
					  { NULL, 0 } });
	site_is(&r, 3, 5, GM_SITE_RUNTIME,
		(const struct content[]){ { CALL, import },
					  { CALL, outside },
					  { NOP5, -1 },
					  { "\x2e\x2e\x2e\x31\xc0", -1 },
					  { NULL, 0 } });
	site_is(&r, 4, 5, 0, (const struct content[]){ { RET, -1 }, { JMP, import }, { NULL, 0 } });
	site_is(&r, 5, 5, 0,
		(const struct content[]){ { "\xff\xe2\xcc\x66\x90", -1 },
					  { "\x0f\xae\xe8\xff\xe2", -1 },
					  { JMP, import },
					  { NULL, 0 } });
	site_is(&r, 6, 5, GM_SITE_RUNTIME,
		(const struct content[]){
			{ JMP, import }, { JMP, outside }, { RET, -1 }, { NULL, 0 } });
	wrap_result_free(&r);
	blob_free(&ko);
}

/* Where may a call-out come back to? Behind the calls of the file, and behind their replacements. */
static void test_return_sites(void **state)
{
	struct blob ko = wt_compile(patched, WT_PLAIN);
	struct wrap_result r = described(&ko);
	const struct gm_site *s = WT_TABLE(&r, sites);
	const uint32_t *have = WT_TABLE(&r, retsites);
	const uint32_t want[] = {
		s[0].moff + 5,				     /* __fentry__ */
		s[1].moff + 2, s[1].moff + 5,		     /* call *%rax; the thunk, LFENCE */
		s[2].moff + 3, s[2].moff + 6, s[3].moff + 5, /* call *%r9; the static call */
		s[3].moff + 10				     /* out1 */
	};

	(void)state;
	assert_int_equal(wt_header(&r)->retsites.count, 7);
	assert_memory_equal(have, want, sizeof(want));
	wrap_result_free(&r);
	blob_free(&ko);
}

/* The object is the maker's, the manifest has no gates, and imports know what they preserve. */
static void test_description(void **state)
{
	static const char source[] =
		"extern long out1(long); extern void __put_user_8(void);\n"
		"long global(long n) { __put_user_8(); return out1(n); }\n"
		"static long hidden(long n) { return n; }\n"
		"long (*volatile taken)(long) = hidden;\n"
		"static long never(long n) { return n + 1; }\n"
		"long calls(long n) { return never(n); }\n"
		"int __attribute__((section(\".init.text\"))) init_module(void) { return 0; }\n"
		"void __attribute__((section(\".exit.text\"))) cleanup_module(void) {}\n";
	struct blob ko = wt_compile(source, WT_PLAIN " -fno-inline");
	struct wrap_result r = described(&ko);
	const struct gm_header *h = wt_header(&r);
	const struct gm_entry *e = WT_TABLE(&r, entries);
	const struct gm_import *im = WT_TABLE(&r, imports);
	const struct gm_segment *seg = WT_TABLE(&r, segments);
	unsigned init = 0, left = 0;

	(void)state;
	assert_int_equal(r.ko.size, ko.size);
	assert_memory_equal(r.ko.data, ko.data, ko.size);
	assert_int_equal(h->flags, GM_FLAG_VIEWS);
	assert_int_equal(h->gates.count, 0);
	assert_int_equal(h->entries.count, 5); /* global, hidden, calls, init, exit */
	for (uint32_t i = 0; i < h->entries.count; i++) {
		assert_string_not_equal(manifest_name(&r.manifest, e[i].name), "never");
		assert_int_equal(e[i].gate, GM_NONE);
		init += (e[i].flags & GM_ENTRY_INIT) != 0;
		left += (e[i].flags & GM_ENTRY_EXIT) != 0;
	}
	assert_int_equal(init, 1);
	assert_int_equal(left, 1);
	assert_int_equal(h->imports.count, 2);
	for (uint32_t i = 0; i < 2; i++) {
		bool c = strcmp(manifest_name(&r.manifest, im[i].name), "out1") == 0;

		assert_int_equal(im[i].flags, 0);
		/* RBX, RBP, R12 to R15; or all but RBX, RCX and RSP */
		assert_int_equal(im[i].preserve, c ? 0xf028 : 0xffe5);
	}
	for (uint32_t i = 0; i < h->segments.count; i++)
		assert_int_not_equal(seg[i].kind, GM_SEG_GATES);
	wrap_result_free(&r);
	blob_free(&ko);
}

/* Constants are verified, unless the kernel sorts a table on the same pages. */
static void test_constants(void **state)
{
	static const char plain[] = "const int k[64] = { 1, 2 }; int f(int n) { return k[n]; }\n";
	static const char table[] =
		"const int k[64] = { 1, 2 }; int f(int n) { return k[n]; }\n"
		"__asm__(\".pushsection __ex_table, \\\"a\\\"\\n.long f - ., f - ., 1\\n.popsection\");\n";

	(void)state;
	for (int sorted = 0; sorted < 2; sorted++) {
		struct blob ko = wt_compile(sorted ? table : plain, WT_PLAIN);
		struct wrap_result r = described(&ko);
		const struct gm_segment *seg = WT_TABLE(&r, segments);

		assert_int_equal(seg[1].kind, sorted ? GM_SEG_DATA : GM_SEG_RODATA);
		assert_int_equal(seg[1].image == GM_NONE, sorted);
		wrap_result_free(&r);
		blob_free(&ko);
	}
}

/* What cannot be done without gates is refused by name. */
static void test_refused(void **state)
{
	(void)state;
	refused("long secret __attribute__((section(\".guard_private\"))) = 1;\n"
		"long f(void) { return secret; }\n",
		WT_PLAIN, "private section .guard_private is not whole pages");
	refused("int f(void) { return 0; }\n"
		"__asm__(\".pushsection .static_call.text, \\\"ax\\\"\\njmp f\\n.popsection\");\n",
		WT_PLAIN, ".static_call.text: trampolines");
	refused("int f(void) { return 0; }\n"
		"__asm__(\".pushsection .parainstructions, \\\"a\\\"\\n.quad f\\n.popsection\");\n",
		WT_PLAIN, ".parainstructions: the kernel writes code");
	/* a table that names another place than the branch it is for */
	refused("int f(void) { return 0; }\n"
		"__asm__(\".pushsection .return_sites, \\\"a\\\"\\n.long f - .\\n.popsection\");\n",
		WT_PLAIN, "which is not the branch that belongs there");
	refused("int f(void) { return 0; }\n"
		"__asm__(\".pushsection __mcount_loc, \\\"a\\\"\\n.long 0\\n.popsection\");\n",
		WT_PLAIN, "__mcount_loc: 0x4 bytes are no whole records of 8");
}

/* Debian's driver: each of its tables' records is a site, and the file is untouched. */
static void test_e1000e(void **state)
{
	struct blob ko = wt_e1000e();
	struct wrap_result r = described(&ko);
	struct wt_elf e = wt_open(&ko);
	static const struct {
		const char *table;
		size_t record;
	} tables[] = { { "__mcount_loc", 8 },
		       { ".retpoline_sites", 4 },
		       { ".return_sites", 4 },
		       { ".static_call_sites", 8 },
		       { "__jump_table", 16 } };
	size_t places = 0, n;

	(void)state;
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		wt_bytes(&e, wt_find(&e, tables[i].table), &n);
		assert_in_range(n, tables[i].record, SIZE_MAX);
		places += n / tables[i].record;
	}
	assert_int_equal(wt_header(&r)->sites.count, places);
	assert_int_equal(r.ko.size, ko.size);
	assert_memory_equal(r.ko.data, ko.data, ko.size);
	wt_close(&e);
	wrap_result_free(&r);
	blob_free(&ko);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sites),	    cmocka_unit_test(test_return_sites),
		cmocka_unit_test(test_description), cmocka_unit_test(test_constants),
		cmocka_unit_test(test_refused),	    cmocka_unit_test(test_e1000e),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
