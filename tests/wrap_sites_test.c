// SPDX-License-Identifier: GPL-2.0-only
/*
 * Places that the kernel patches: alternatives, paravirtual calls, static calls. Modules are written
 * for the purpose; expected bytes are those that Linux 6.1 leaves, literal.
 */
#include "tests/support/wraptest.h"

#include "wrap/module.h"

/* "repl" replaces "orig" if the CPU has `feature`. */
#define ALTS                                                                                       \
	"#define STR_(x) #x\n"                                                                     \
	"#define STR(x) STR_(x)\n"                                                                 \
	"#define REPL(n, code, feature) \".pushsection .altinstructions,\\\"a\\\"\\n\" \\\n"       \
	"	\".long 771b - ., 88\" #n \"1f - .\\n.word \" STR(feature) \"\\n\" \\\n"                 \
	"	\".byte 772b - 771b, 88\" #n \"2f - 88\" #n \"1f\\n.popsection\\n\" \\\n"                \
	"	\".pushsection .altinstr_replacement,\\\"ax\\\"\\n\" \\\n"                               \
	"	\"88\" #n \"1: \" code \"\\n88\" #n \"2:\\n.popsection\\n\"\n"                           \
	"#define SITE(orig) \"771: \" orig \"\\n772:\\n\"\n"                                       \
	"int init_module(void) { return 0; }\n"                                                    \
	"void g(void); void h(void);\n"

struct made {
	struct blob ko;
	struct wrap_result r;
	const struct gm_site *sites;
	const struct gm_choice *choices;
	const struct gm_reloc *relocs;
	const uint8_t *image;
	uint32_t nsites;
};

static struct made make_module(const char *body, const char *flags)
{
	char source[8192];
	struct made k;

	snprintf(source, sizeof(source), "%s%s", ALTS, body);
	k.ko = wt_compile(source, flags);
	k.r = wt_wrap(&k.ko, GM_X_OUT);
	k.sites = WT_TABLE(&k.r, sites);
	k.choices = WT_TABLE(&k.r, choices);
	k.relocs = WT_TABLE(&k.r, choice_relocs);
	k.image = WT_TABLE(&k.r, image);
	k.nsites = wt_header(&k.r)->sites.count;
	return k;
}

static void drop(struct made *k)
{
	wrap_result_free(&k->r);
	blob_free(&k->ko);
}

static void choice_is(const struct made *k, unsigned site, unsigned choice, const char *bytes)
{
	const struct gm_site *s = &k->sites[site];

	assert_in_range(choice, 0, s->count - 1);
	assert_memory_equal(k->image + k->choices[s->first + choice].bytes, bytes, s->size);
}

static void contents_are_what_the_kernel_leaves(void **state)
{
	struct made k = make_module(
		"void a(void) { __asm__ volatile(SITE(\".byte 0x90,0x90,0x90\")"
		" REPL(1, \"clac\", 9*32+20)); }\n"
		"void b(void) { __asm__ volatile(SITE(\"rdtsc\\n.byte 0x90,0x90,0x90\")"
		" REPL(1, \"lfence\\nrdtsc\", 3*32+18) REPL(2, \"rdtscp\", 1*32+27)); }\n"
		"void c(void) { __asm__ volatile(SITE(\".fill 12,1,0x90\")"
		" REPL(1, \"sti\", 0x8000|(8*32+16)) REPL(2, \"\", 7*32+1)); }\n",
		WT_PLAIN);

	(void)state;
	assert_int_equal(k.nsites, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(k.sites[i].flags, 0);
	assert_int_equal(k.sites[0].count, 2);
	choice_is(&k, 0, 0, "\x0f\x1f\x00");
	choice_is(&k, 0, 1, "\x0f\x01\xca");
	assert_int_equal(k.sites[1].count, 3);
	choice_is(&k, 1, 0, "\x0f\x31\x0f\x1f\x00");
	choice_is(&k, 1, 1, "\x0f\xae\xe8\x0f\x31");
	choice_is(&k, 1, 2, "\x0f\x01\xf9\x66\x90");
	/* the original and the empty replacement look alike: no group can be told from it */
	assert_int_equal(k.sites[2].count, 3);
	choice_is(&k, 2, 0, "\x0f\x1f\x84\0\0\0\0\0\x0f\x1f\x40\0");
	choice_is(&k, 2, 1, "\xfb\x0f\x1f\x84\0\0\0\0\0\x0f\x1f\0");
	choice_is(&k, 2, 2, "\x0f\x1f\x84\0\0\0\0\0\x0f\x1f\x40\0");
	assert_int_equal(k.sites[2].group, GM_NONE);
	drop(&k);
}

static void same_features_choose_together(void **state)
{
	struct made k = make_module(
		"#define SMAP SITE(\"nop;nop;nop\") REPL(1, \"clac\", 9*32+20)\n"
		"void a(void) { __asm__ volatile(SMAP); }\n"
		"void b(void) { __asm__ volatile(SITE(\"nop;nop\") REPL(1, \"wrmsr\", 7*32+21)); }\n"
		"void c(void) { __asm__ volatile(SMAP); }\n"
		"void d(void) { __asm__ volatile(SITE(\"nop;nop;nop\")"
		" REPL(1, \"stac\", 0x8000|(9*32+20))); }\n",
		WT_PLAIN);

	(void)state;
	assert_int_equal(k.nsites, 4);
	assert_int_not_equal(k.sites[0].group, GM_NONE);
	assert_int_equal(k.sites[2].group, k.sites[0].group);
	assert_int_not_equal(k.sites[1].group, k.sites[0].group);
	assert_int_not_equal(k.sites[3].group, k.sites[0].group);
	drop(&k);
}

/* static_cpu_has(): its first replacement is always made, so the original is not legal. */
static void what_is_always_replaced_is_not_legal(void **state)
{
	struct made k = make_module(
		"long a(void) {\n"
		" __asm__ goto(SITE(\"jmp 6f\")"
		"  REPL(1, \".byte 0xe9\\n.long %l[no] - . - 4\", 3*32+21) REPL(2, \"\", 16*32+16)"
		"  \".pushsection .altinstr_aux,\\\"ax\\\"\\n6: jmp %l[no]\\n.popsection\\n\""
		"  : : : : no);\n"
		" return 1;\n"
		"no: return 2;\n"
		"}\n"
		"__attribute__((section(\".text.far\"))) void far_away(void) { g(); }\n"
		"void b(void) { __asm__ volatile(SITE(\".fill 5,1,0x90\")"
		" REPL(1, \"jmp far_away\", 7*32+16)); }\n",
		"-O2 " WT_PLAIN);
	const uint8_t *c = k.image + k.choices[k.sites[0].first].bytes;
	int32_t distance;

	(void)state;
	assert_int_equal(k.nsites, 2);
	assert_int_equal(k.sites[0].count, 2);
	/* the jump is close: two bytes and a NOP */
	assert_int_equal(c[0], 0xeb);
	assert_in_range(c[1], 1, 40);
	assert_memory_equal(c + 2, "\x0f\x1f\x00", 3);
	choice_is(&k, 0, 1, "\x0f\x1f\x44\x00\x00");
	assert_int_equal(k.sites[1].count, 2);
	choice_is(&k, 1, 0, "\x0f\x1f\x44\x00\x00");
	c = k.image + k.choices[k.sites[1].first + 1].bytes;
	if (c[0] == 0xe9) {
		memcpy(&distance, c + 1, 4);
		assert_in_range(k.sites[1].moff + 5 + (uint32_t)distance, 1, 4095);
		assert_true(distance < 0 || distance > 129 - 5);
	} else {
		assert_int_equal(c[0], 0xeb);
	}
	drop(&k);
}

/* Original and replacement call imports: each through the gate of its own. */
static void replaced_calls_lead_to_gates(void **state)
{
	struct made k = make_module(
		"void a(void) { __asm__ volatile(SITE(\"call g\") REPL(1, \"call h\", 3*32+16)"
		" : : : \"memory\"); }\n"
		"void (*const t[])(void) = { a };\n",
		WT_PLAIN);
	const struct gm_gate *gates = WT_TABLE(&k.r, gates);
	const struct gm_import *imports = WT_TABLE(&k.r, imports);
	const struct gm_segment *segs = WT_TABLE(&k.r, segments);
	const uint32_t *retsites = WT_TABLE(&k.r, retsites);

	(void)state;
	assert_int_equal(k.nsites, 1);
	assert_int_equal(k.sites[0].count, 2);
	for (unsigned i = 0; i < 2; i++) {
		const struct gm_choice *c = &k.choices[k.sites[0].first + i];
		const struct gm_reloc *r = &k.relocs[c->first_reloc];
		const struct gm_gate *g;

		choice_is(&k, 0, i, "\xe8\0\0\0\0");
		assert_int_equal(c->relocs, 1);
		assert_int_equal(r->moff, 1);
		assert_int_equal(r->kind, GM_TARGET_SEGMENT);
		assert_int_equal(segs[r->target].kind, GM_SEG_GATES);
		g = &gates[(r->addend + 4) / 16];
		assert_int_equal(g->kind, GM_GATE_LEAVE);
		assert_string_equal(manifest_name(&k.r.manifest, imports[g->index].name),
				    i ? "h" : "g");
	}
	/* both calls end at the same address */
	assert_int_equal(wt_header(&k.r)->retsites.count, 1);
	assert_int_equal(retsites[0], k.sites[0].moff + 5);
	drop(&k);
}

static void alternatives_that_are_none_are_refused(void **state)
{
	static const struct {
		const char *body, *about;
	} bad[] = {
		{ "void a(void) { __asm__ volatile(SITE(\"nop\") REPL(1, \"clac\", 1)); }\n",
		  "no alternative" },
		{ "void a(void) { __asm__ volatile(SITE(\".byte 0x90,0x90,0x90\")"
		  " \".pushsection .altinstructions,\\\"a\\\"\\n.long 771b + 1 - .\\n"
		  ".long 771b - .\\n.word 1\\n.byte 2, 2\\n.popsection\"); }\n",
		  "no code to be copied" },
		{ "void a(void) { __asm__ volatile(SITE(\".fill 9,1,0x90\")"
		  " REPL(1, \"lea g(%rip), %rax; nop; nop\", 1)); }\n",
		  "relative to where it lies" },
		{ "void a(void) { __asm__ volatile(SITE(\".fill 9,1,0x90\")"
		  " REPL(1, \"nop\", 1) REPL(2, \"nop; jmp .-2\", 1)); }\n",
		  "out of a replacement" },
		{ "void a(void) { __asm__ volatile(SITE(\".fill 3,1,0x90\") REPL(1, \"clac\", 1)"
		  " \"773: .pushsection .altinstructions,\\\"a\\\"\\n.long 771b + 1 - .\\n"
		  ".long 8811b - .\\n.word 1\\n.byte 2, 0\\n.popsection\"); }\n",
		  "overlap" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char source[8192];
		struct blob ko;

		snprintf(source, sizeof(source), "%s%s", ALTS, bad[i].body);
		ko = wt_compile(source, WT_PLAIN);
		wt_refused(&ko, bad[i].about);
		blob_free(&ko);
	}
}

static const char pv_source[] =
	"extern void *pv_ops[];\n"
	"#define PV(n, clobbers) \"771: call *pv_ops + \" #n \"(%%rip)\\n\" \\\n"
	"	\".pushsection .parainstructions,\\\"a\\\"\\n.balign 8\\n.quad 771b\\n\" \\\n"
	"	\".byte \" #n \"/8, 6\\n.short \" #clobbers \"\\n.balign 8\\n.popsection\\n\"\n"
	"void a(void) { __asm__ volatile(PV(0, 0x1ff) PV(240, 1) PV(0, 0x1ff) : : : \"memory\"); }\n"
	"int init_module(void) { return 0; }\n";

/* A call through pv_ops goes through a verified word to a leave gate, which reads pv_ops. */
static void paravirtual_calls_have_gates(void **state)
{
	struct blob ko = wt_compile(pv_source, WT_PLAIN);
	struct wrap_result r = wt_wrap(&ko, GM_X_VMMCALL);
	const struct gm_gate *g = WT_TABLE(&r, gates);
	const struct gm_import *im = WT_TABLE(&r, imports);
	struct wt_elf w = wt_open(&r.ko), o = wt_open(&ko);
	size_t n, k = 0, words = wt_find(&w, ".guard.rodata");
	const Elf64_Rela *calls = (const void *)wt_bytes(&w, wt_find(&w, ".rela.text"), &n);
	const uint8_t *gates = wt_bytes(&w, wt_find(&w, ".guard.gates"), NULL);
	const Elf64_Rela *slots = (const void *)wt_bytes(&w, wt_find(&w, ".rela.guard.rodata"), &k);
	static const uint64_t slot[] = { 0, 8, 0 };
	static const uint32_t preserve[] = { 0xf028, 0xffee };
	const uint8_t *text;

	(void)state;
	assert_int_equal(n / sizeof(*calls), 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_string_equal(wt_symbol_name(&w, ELF64_R_SYM(calls[i].r_info)),
				    "__guard_rodata");
		assert_int_equal(calls[i].r_addend, (int64_t)slot[i] - 4);
	}
	text = wt_bytes(&w, wt_find(&w, ".text"), &n);
	assert_memory_equal(text, wt_bytes(&o, wt_find(&o, ".text"), NULL), n);
	assert_int_equal(wt_shdr(&w, words)->sh_size, 16);
	assert_false(wt_shdr(&w, words)->sh_flags & SHF_WRITE);
	assert_int_equal(k / sizeof(*slots), 2);
	for (unsigned i = 0; i < 2; i++) {
		uint32_t gate = (uint32_t)slots[i].r_addend / 16;

		assert_string_equal(wt_symbol_name(&w, ELF64_R_SYM(slots[i].r_info)),
				    "__guard_gates");
		assert_memory_equal(gates + 16ul * gate, "\x0f\x01\xd9\xff\x25", 5);
		assert_int_equal(g[gate].kind, GM_GATE_LEAVE);
		assert_string_equal(manifest_name(&r.manifest, im[g[gate].index].name),
				    i ? "pv_ops+0xf0" : "pv_ops+0x0");
		assert_int_equal(im[g[gate].index].preserve, preserve[i]);
	}
	assert_int_equal(wt_shdr(&w, wt_find(&w, ".parainstructions"))->sh_size, 0);
	wt_close(&w);
	wt_close(&o);
	wrap_result_free(&r);
	blob_free(&ko);
}

static const char sc_source[] =
	"__asm__(\".pushsection .static_call.text, \\\"ax\\\"\\n.align 4\\n.globl __SCT__own\\n\"\n"
	"	\"__SCT__own: .byte 0xe9; .long f - (. + 4)\\n.byte 0x0f, 0xb9, 0xcc\\n\"\n"
	"	\".type __SCT__own, @function\\n.size __SCT__own, . - __SCT__own\\n.popsection\");\n"
	"long __SCT__own(long); long f(long a) { return a + 1; }\n"
	"long caller(long a) { return __SCT__own(a) + 2; }\n"
	"void *const tramp = __SCT__own;\n"
	"int init_module(void) { return 0; }\n";

/* Trampolines are ordinary memory; the module's calls leave; the trampoline enters. */
static void trampolines_run_without_privilege(void **state)
{
	struct blob ko = wt_compile(sc_source, "-O2 " WT_PLAIN);
	struct wrap_result r = wt_wrap(&ko, GM_X_VMMCALL);
	const struct gm_segment *s = WT_TABLE(&r, segments);
	const struct gm_gate *g = WT_TABLE(&r, gates);
	const struct gm_import *im = WT_TABLE(&r, imports);
	struct wt_elf w = wt_open(&r.ko);
	size_t n, to = wt_find(&w, ".guard.static_call");
	const Elf64_Rela *jump =
		(const void *)wt_bytes(&w, wt_find(&w, ".rela.guard.static_call"), &n);
	const Elf64_Rela *call = (const void *)wt_bytes(&w, wt_find(&w, ".rela.text"), NULL);
	bool data = false;

	(void)state;
	assert_int_equal(wt_shdr(&w, wt_find(&w, ".static_call.text"))->sh_size, 0);
	assert_int_equal(wt_shdr(&w, to)->sh_size, 8);
	assert_int_equal(wt_shdr(&w, to)->sh_addralign, 4096);
	assert_int_equal(n / sizeof(*jump), 1);
	assert_int_equal(jump->r_offset, 1);
	assert_string_equal(wt_symbol_name(&w, ELF64_R_SYM(jump->r_info)), "__guard_gates");
	assert_int_equal(g[(jump->r_addend + 4) / 16].kind, GM_GATE_ENTER);
	assert_string_equal(wt_symbol_name(&w, ELF64_R_SYM(call->r_info)), "__guard_gates");
	g += (call->r_addend + 4) / 16;
	assert_int_equal(g->kind, GM_GATE_LEAVE);
	assert_string_equal(manifest_name(&r.manifest, im[g->index].name), "__SCT__own");
	for (uint32_t i = 0; i < wt_header(&r)->segments.count; i++)
		if (strcmp(manifest_name(&r.manifest, s[i].name), "static_call") == 0) {
			assert_int_equal(s[i].kind, GM_SEG_DATA);
			data = true;
		}
	assert_true(data);
	for (size_t i = 0;; i++)
		if (strcmp(wt_symbol_name(&w, i), "__SCT__own") == 0) {
			assert_int_equal(wt_symbol(&w, i)->st_shndx, to);
			break;
		}
	wt_close(&w);
	wrap_result_free(&r);
	blob_free(&ko);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(contents_are_what_the_kernel_leaves),
		cmocka_unit_test(same_features_choose_together),
		cmocka_unit_test(what_is_always_replaced_is_not_legal),
		cmocka_unit_test(replaced_calls_lead_to_gates),
		cmocka_unit_test(alternatives_that_are_none_are_refused),
		cmocka_unit_test(paravirtual_calls_have_gates),
		cmocka_unit_test(trampolines_run_without_privilege),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
