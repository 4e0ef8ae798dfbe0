/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Does the toolchain do what docs/toolchain.md says to an object? Looked at with libelf and by
 * hand, so that nothing of wrap/ confirms itself.
 */
#define _GNU_SOURCE /* memmem */
#include "tests/support/wraptest.h"

#include "model/guard.h"

static const uint8_t x_bytes[GM_X_KINDS][3] = {
	{ 0x0f, 0x01, 0xd9 }, { 0x0f, 0x01, 0xc1 }, { 0xe6, 0xb6, 0x90 }, { 0x0f, 0x1f, 0x00 }
};

static bool is_branch_opcode(const uint8_t *field)
{
	return field[-1] == 0xe8 || field[-1] == 0xe9 ||
	       (field[-2] == 0x0f && (field[-1] & 0xf0) == 0x80);
}

/* Is every gate exactly its template, X of every kind, and does it say the truth about itself? */
static void check_gates(const struct wrap_result *r)
{
	const struct gm_header *h = wt_header(r);
	const struct gm_segment *s = WT_TABLE(r, segments), *text = NULL, *gates = NULL;
	const struct gm_gate *g = WT_TABLE(r, gates);
	const struct gm_entry *e = WT_TABLE(r, entries);
	struct wt_image m = wt_load(r, 0xffffffffc0000000, 0xffffffff80000000);
	unsigned entered = 0;

	for (uint32_t i = 0; i < h->segments.count; i++) {
		if (s[i].kind == GM_SEG_GATES)
			gates = &s[i];
		if (s[i].kind == GM_SEG_TEXT)
			text = &s[i];
	}
	if (!gates || !text) {
		fail_msg("no gates, or no text");
		return;
	}
	assert_int_equal(h->gates.count, gates->size / 16);
	for (uint32_t i = 0; i < h->gates.count; i++) {
		static const uint8_t lea[] = { 0x48, 0x8d, 0x64, 0x24, 0xf8 };
		const uint8_t *at = m.data + gates->start + 16 * i, *p = at;
		int32_t rel;
		uint64_t end, target;

		switch (g[i].kind) {
		case GM_GATE_PAD: break;
		case GM_GATE_LEAVE_RETURN:
		case GM_GATE_ENTER_RETURN:
			assert_memory_equal(p, lea, 5);
			assert_int_equal(g[i].x, 5);
			assert_memory_equal(p + 5, x_bytes[h->x_kind], 3);
			assert_int_equal(p[8], 0xc3);
			p += 9;
			break;
		case GM_GATE_LEAVE_INDIRECT:
			assert_int_equal(g[i].x, 0);
			assert_memory_equal(p, x_bytes[h->x_kind], 3);
			p += 3;
			if (g[i].reg >= 8)
				assert_int_equal(*p++, 0x41);
			assert_int_equal(p[0], 0xff);
			assert_int_equal(p[1], 0xe0 | (g[i].reg & 7));
			p += 2;
			break;
		default:
			if (g[i].x == 4) {
				assert_memory_equal(p, "\xf3\x0f\x1e\xfa", 4);
				p += 4;
			} else {
				assert_int_equal(g[i].x, 0);
			}
			assert_memory_equal(p, x_bytes[h->x_kind], 3);
			assert_int_equal(p[3], 0xe9);
			memcpy(&rel, p + 4, 4);
			p += 8;
			end = m.base + gates->start + 16 * i + (uint64_t)(p - at);
			target = end + (uint64_t)(int64_t)rel;
			if (g[i].kind == GM_GATE_LEAVE) {
				assert_int_equal(target, m.import + 16 * g[i].index);
			} else {
				assert_int_equal(target, m.base + e[g[i].index].moff);
				assert_int_equal(e[g[i].index].gate, i);
				entered++;
			}
			break;
		}
		for (; p < at + 16; p++)
			assert_int_equal(*p, 0xcc);
	}
	assert_int_equal(entered, h->entries.count);
	free(m.data);
}

/* The name of the function that a leave gate goes to, by the relocation of its jump. */
static const char *gate_target(const struct wt_elf *w, int64_t gate)
{
	size_t rela = wt_find(w, ".rela.guard.gates"), n;
	const Elf64_Rela *r = (const void *)wt_bytes(w, rela, &n);

	for (size_t i = 0; i < n / sizeof(*r); i++)
		if ((int64_t)r[i].r_offset / 16 * 16 == gate)
			return wt_symbol_name(w, ELF64_R_SYM(r[i].r_info));
	return "nothing";
}

static bool has_thunk_name(const char *name)
{
	return strncmp(name, "__x86_", 6) == 0 || strcmp(name, "__fentry__") == 0;
}

/* Pure leaf functions have a copy inside, which has a symbol of its own. */
static bool leads_to_copy(const struct wt_elf *w, const char *name, const char *to, int64_t offset)
{
	static const char *const leaves[] = { "memcpy",	       "memset", "memmove",
					      "memcmp",	       "memchr", "strlen",
					      "strnlen",       "strcmp", "strncmp",
					      "strcpy",	       "strchr", "_find_first_bit",
					      "_find_next_bit" };
	char copy[64];

	for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++)
		if (strcmp(name, leaves[i]) == 0) {
			assert_string_equal(to, "__guard_text");
			snprintf(copy, sizeof(copy), "__guard_%s", name + (*name == '_'));
			for (size_t q = 0;; q++)
				if (strcmp(wt_symbol_name(w, q), copy) == 0)
					return wt_symbol(w, q)->st_value == (uint64_t)offset;
		}
	return false;
}

/*
 * Does every branch to an import lead to the leave gate of just that import, every thunk branch
 * to a thunk, and is nothing else of the code changed?
 */
static void check_calls(const struct blob *in, const struct wrap_result *r, size_t *branches)
{
	struct wt_elf o = wt_open(in), w = wt_open(&r->ko);
	size_t n, wn;

	*branches = 0;
	for (size_t i = 1; i < o.nsections; i++) {
		const Elf64_Shdr *s = wt_shdr(&o, i);
		const Elf64_Rela *a, *b;
		const uint8_t *code;

		assert_string_equal(wt_section(&o, i), wt_section(&w, i));
		if (s->sh_type == SHT_PROGBITS && s->sh_flags & SHF_EXECINSTR) {
			const uint8_t *x = wt_bytes(&o, i, &n), *y = wt_bytes(&w, i, &wn);

			assert_int_equal(n, wn);
			if (n)
				assert_memory_equal(x, y, n);
		}
		if (s->sh_type != SHT_RELA || !(wt_shdr(&o, s->sh_info)->sh_flags & SHF_EXECINSTR))
			continue;
		a = (const void *)wt_bytes(&o, i, &n);
		b = (const void *)wt_bytes(&w, i, &wn);
		code = wt_bytes(&o, s->sh_info, NULL);
		assert_int_equal(n, wn);
		for (size_t k = 0; k < n / sizeof(*a); k++) {
			size_t sym = ELF64_R_SYM(a[k].r_info), new = ELF64_R_SYM(b[k].r_info);
			const char *name = wt_symbol_name(&o, sym), *to = wt_symbol_name(&w, new);

			assert_int_equal(a[k].r_offset, b[k].r_offset);
			if (wt_symbol(&o, sym)->st_shndx != SHN_UNDEF ||
			    !is_branch_opcode(code + a[k].r_offset))
				continue;
			++*branches;
			if (has_thunk_name(name)) {
				assert_string_equal(to, "__guard_text");
				continue;
			}
			if (leads_to_copy(&w, name, to, b[k].r_addend + 4))
				continue;
			assert_string_equal(to, "__guard_gates");
			assert_string_equal(gate_target(&w, b[k].r_addend + 4), name);
		}
	}
	wt_close(&o);
	wt_close(&w);
}

/* Does every stored address of a function lead to that function's enter gate? */
static void check_pointers(const struct blob *in, const struct wrap_result *r, size_t *pointers)
{
	struct wt_elf o = wt_open(in), w = wt_open(&r->ko);
	size_t n, wn;

	*pointers = 0;
	for (size_t i = 1; i < o.nsections; i++) {
		const Elf64_Shdr *s = wt_shdr(&o, i);
		const Elf64_Rela *a, *b;

		if (s->sh_type != SHT_RELA || !(wt_shdr(&o, s->sh_info)->sh_flags & SHF_ALLOC) ||
		    strcmp(wt_section(&o, s->sh_info), "__mcount_loc") == 0)
			continue;
		a = (const void *)wt_bytes(&o, i, &n);
		b = (const void *)wt_bytes(&w, i, &wn);
		if (wt_shdr(&w, i)->sh_size == 0)
			continue; /* an emptied table */
		for (size_t k = 0; k < n / sizeof(*a); k++) {
			const Elf64_Sym *y = wt_symbol(&o, ELF64_R_SYM(a[k].r_info));
			const char *f;

			if ((ELF64_R_TYPE(a[k].r_info) != R_X86_64_64 &&
			     ELF64_R_TYPE(a[k].r_info) != R_X86_64_32S) ||
			    y->st_shndx == SHN_UNDEF || y->st_shndx >= o.nsections ||
			    !(wt_shdr(&o, y->st_shndx)->sh_flags & SHF_EXECINSTR))
				continue;
			++*pointers;
			assert_string_equal(wt_symbol_name(&w, ELF64_R_SYM(b[k].r_info)),
					    "__guard_gates");
			f = gate_target(&w, b[k].r_addend);
			for (size_t q = 0;; q++) { /* a symbol of that name lies just there */
				const Elf64_Sym *z = wt_symbol(&o, q);

				if (strcmp(wt_symbol_name(&o, q), f) == 0 &&
				    z->st_shndx == y->st_shndx &&
				    z->st_value == y->st_value + (uint64_t)a[k].r_addend)
					break;
			}
		}
	}
	wt_close(&o);
	wt_close(&w);
}

static void test_gates_match_their_templates(void **state)
{
	struct blob ko = wt_compile(wt_sample, WT_RETPOLINE);
	struct blob endbr = wt_compile(wt_sample, "-fcf-protection=branch " WT_RETPOLINE);

	(void)state;
	for (int x = 0; x < GM_X_KINDS; x++) {
		struct wrap_result r = wt_wrap(&ko, (enum gm_x_kind)x);

		check_gates(&r);
		wrap_result_free(&r);
		r = wt_wrap(&endbr, (enum gm_x_kind)x);
		check_gates(&r);
		wrap_result_free(&r);
	}
	blob_free(&ko);
	blob_free(&endbr);
}

static void test_calls_and_pointers_lead_to_gates(void **state)
{
	struct blob ko = wt_compile(wt_sample, WT_RETPOLINE);
	struct wrap_result r = wt_wrap(&ko, GM_X_OUT);
	size_t branches, pointers;

	(void)state;
	check_calls(&ko, &r, &branches);
	check_pointers(&ko, &r, &pointers);
	assert_in_range(branches, 10, 1000);
	assert_in_range(pointers, 4, 1000);
	wrap_result_free(&r);
	blob_free(&ko);
}

static void test_manifest_says_what_the_source_says(void **state)
{
	struct blob ko = wt_compile(wt_sample, WT_RETPOLINE);
	struct wrap_result r = wt_wrap(&ko, GM_X_OUT);
	const struct gm_header *h = wt_header(&r);
	const struct gm_entry *e = WT_TABLE(&r, entries);
	const struct gm_import *im = WT_TABLE(&r, imports);
	const struct gm_privilege *p = WT_TABLE(&r, privileges);
	const struct gm_segment *s = WT_TABLE(&r, segments);
	struct guard_policy policy = { .chains = 1 };
	unsigned seen = 0;

	(void)state;
	for (uint32_t i = 0; i < h->entries.count; i++) {
		const char *name = manifest_name(&r.manifest, e[i].name);

		assert_string_not_equal(name, "inner"); /* its address is never taken */
		if (strcmp(name, "cb_one") == 0 || strcmp(name, "cb_two") == 0 ||
		    strcmp(name, "cb_early") == 0)
			seen++;
		if (strcmp(name, "init_module") == 0)
			assert_int_equal(e[i].flags, GM_ENTRY_INIT);
		else if (strcmp(name, "cleanup_module") == 0)
			assert_int_equal(e[i].flags, GM_ENTRY_EXIT);
		else if (strcmp(name, "cb_early") == 0) /* init gives its address away */
			assert_int_equal(e[i].flags, GM_ENTRY_INIT_CALL);
		else
			assert_int_equal(e[i].flags, 0);
		/* bounds: a leaf, a known frame, a frame of unknown size, an indirect call */
		if (strcmp(name, "cb_one") == 0)
			assert_int_equal(e[i].headroom, 512);
		if (strcmp(name, "big") == 0)
			assert_in_range(e[i].headroom, 640, 768);
		if (strcmp(name, "vla") == 0 || strcmp(name, "call_now") == 0)
			assert_int_equal(e[i].headroom, GM_MAX_HEADROOM);
	}
	assert_int_equal(seen, 3);
	seen = 0;
	for (uint32_t i = 0; i < h->imports.count; i++) {
		const char *name = manifest_name(&r.manifest, im[i].name);

		seen++;
		assert_int_equal(im[i].flags, strcmp(name, "shared") ? 0 : GM_IMPORT_DATA);
		assert_int_equal(im[i].preserve, 0xf028); /* RBX, RBP, R12-R15 */
	}
	assert_int_equal(seen, 4);
	assert_int_equal(h->privileges.count, 1);
	assert_int_equal(p[0].kind, GM_PRIV_PRIVATE);
	for (uint32_t i = 0; i < h->segments.count; i++)
		if (s[i].kind == GM_SEG_PRIVATE) {
			const uint8_t *image = WT_TABLE(&r, image);
			uint64_t secret;

			memcpy(&secret, image + s[i].image, 8);
			assert_int_equal(secret, 0x1234567);
			seen = 100;
		}
	assert_int_equal(seen, 100);
	assert_int_not_equal(guard_work_size(r.manifest.data, r.manifest.size, &policy), 0);
	wrap_result_free(&r);
	blob_free(&ko);
}

static uint32_t headroom_of(const struct wrap_result *r, const char *name)
{
	const struct gm_entry *e = WT_TABLE(r, entries);

	for (uint32_t i = 0; i < wt_header(r)->entries.count; i++)
		if (strcmp(manifest_name(&r->manifest, e[i].name), name) == 0)
			return e[i].headroom;
	fail_msg("no entry %s", name);
	return 0;
}

/* Raw indirect calls may come back in anywhere; frames by RBP are measured by their pushes. */
static void test_headroom(void **state)
{
	struct blob plain = wt_compile(wt_sample, WT_PLAIN);
	struct blob frames = wt_compile(wt_sample, "-fno-omit-frame-pointer");
	struct blob chain =
		wt_compile("extern void g(char *);\n"
			   "static __attribute__((noinline)) void c(void)\n"
			   "{ char b[1000]; g(b); }\n"
			   "static __attribute__((noinline)) void d(void)\n"
			   "{ char b[1000]; g(b); c(); g(b); }\n"
			   "void f(void) { char b[1000]; g(b); d(); g(b); }\n"
			   "void loop(int n) { char b[8]; g(b); if (n) loop(n - 1); g(b); }\n",
			   "-fno-optimize-sibling-calls");
	struct wrap_result r = wt_wrap(&plain, GM_X_OUT);

	(void)state;
	assert_int_equal(headroom_of(&r, "call_now"), GM_MAX_HEADROOM);
	assert_int_equal(headroom_of(&r, "tail_now"), GM_MAX_HEADROOM);
	assert_int_equal(headroom_of(&r, "get_ops"), GM_MIN_HEADROOM);
	wrap_result_free(&r);
	r = wt_wrap(&frames, GM_X_OUT);
	assert_in_range(headroom_of(&r, "big"), 640, 1024);
	assert_int_equal(headroom_of(&r, "vla"), GM_MAX_HEADROOM);
	wrap_result_free(&r);
	r = wt_wrap(&chain, GM_X_OUT);
	assert_in_range(headroom_of(&r, "f"), 3008, 3264);
	assert_int_equal(headroom_of(&r, "loop"), GM_MAX_HEADROOM);
	wrap_result_free(&r);
	blob_free(&plain);
	blob_free(&frames);
	blob_free(&chain);
}

/* Is what the guest gets free of the private memory's first contents? Unless there is no guard. */
static void test_private_contents_stay_out_of_the_object(void **state)
{
	struct blob ko = wt_compile(wt_sample, WT_PLAIN);

	(void)state;
	for (int x = 0; x < GM_X_KINDS; x++) {
		struct wrap_result r = wt_wrap(&ko, (enum gm_x_kind)x);
		struct wt_elf e = wt_open(&r.ko);
		size_t n, i = wt_find(&e, ".guard_private");
		const uint8_t *b = wt_bytes(&e, i, &n);
		uint64_t secret;

		assert_int_equal(n, GM_PAGE);
		assert_int_equal(wt_shdr(&e, i)->sh_addralign, GM_PAGE);
		memcpy(&secret, b, 8);
		assert_int_equal(secret, x == GM_X_NOP ? 0x1234567 : 0);
		wt_close(&e);
		wrap_result_free(&r);
	}
	blob_free(&ko);
}

/* The same input gives the same bytes. */
static void test_output_is_deterministic(void **state)
{
	struct blob ko = wt_compile(wt_sample, WT_RETPOLINE);
	struct wrap_result a = wt_wrap(&ko, GM_X_VMCALL), b = wt_wrap(&ko, GM_X_VMCALL);

	(void)state;
	assert_int_equal(a.ko.size, b.ko.size);
	assert_memory_equal(a.ko.data, b.ko.data, a.ko.size);
	assert_int_equal(a.manifest.size, b.manifest.size);
	assert_memory_equal(a.manifest.data, b.manifest.data, a.manifest.size);
	wrap_result_free(&a);
	wrap_result_free(&b);
	blob_free(&ko);
}

static void refuse_source(const char *source, const char *flags, const char *about)
{
	struct blob ko = wt_compile(source, flags);

	wt_refused(&ko, about);
	blob_free(&ko);
}

/* What cannot be guarded is refused, with the construct in the message. */
static void test_refusals(void **state)
{
	struct blob ko = wt_compile(wt_sample, WT_PLAIN);
	struct wrap_result r = wt_wrap(&ko, GM_X_OUT);

	(void)state;
	wt_refused(&r.ko, "already wrapped");
	wt_refused(&r.manifest, "no ELF magic");
	wrap_result_free(&r);
	blob_free(&ko);
	refuse_source("__attribute__((section(\".strange\"))) int x = 1;\n"
		      "int f(void) { return x; }\n",
		      WT_PLAIN, ".strange");
	refuse_source(
		"extern int a(void), b(void), c(void), d(void), e(void);\n"
		"int f(int n) { switch (n) { case 0: return a() + 1; case 1: return b() + 2;\n"
		"case 2: return c() + 3; case 3: return d() + 4; case 4: return e() + 5;\n"
		"case 5: return a() + 9; } return 0; }\n",
		"-fjump-tables", "-fno-jump-tables");
	refuse_source("void f(void) { __asm__ volatile(\"call __x86_indirect_thunk\"); }\n",
		      WT_PLAIN, "__x86_indirect_thunk");
	refuse_source("void f(void) { __asm__ volatile(\"call out + 4\"); }\n", WT_PLAIN,
		      "middle of out");
	refuse_source("int x;\nint *p __attribute__((section(\".guard_private\"))) = &x;\n"
		      "int f(void) { return *p; }\n",
		      WT_PLAIN, "private section");
	refuse_source("int f(void) { return 1; }\n",
		      "-fno-asynchronous-unwind-tables -fno-exceptions", "unwind");
	refuse_source("extern _Thread_local int t;\nint f(void) { return t; }\n",
		      "-ftls-model=initial-exec", "relocation type");
	refuse_source("void f(void) { __asm__ volatile(\"iretq\"); }\n", WT_PLAIN, "iret");
	refuse_source("void f(void) { __asm__ volatile(\".byte 0x06\"); }\n", WT_PLAIN,
		      "no instruction");
}

/* Lock classes of a kernel without lockdep: objects of no size, in a section of no size. */
static void test_objects_of_no_size(void **state)
{
	struct blob ko = wt_compile("static struct {} key;\nint d = 1;\nextern void g(void *);\n"
				    "void f(void) { g(&key); d++; }\n",
				    WT_PLAIN);
	struct wt_elf e = wt_open(&ko);
	struct wrap_result r = wt_wrap(&ko, GM_X_OUT);

	(void)state;
	assert_int_equal(wt_shdr(&e, wt_find(&e, ".bss"))->sh_size, 0);
	assert_int_not_equal(wt_header(&r)->relocs.count, 0);
	wt_close(&e);
	wrap_result_free(&r);
	blob_free(&ko);
}

static void test_debian_driver(void **state)
{
	struct blob ko = wt_e1000e();
	struct wrap_result r = wt_wrap(&ko, GM_X_VMMCALL);
	const struct gm_header *h = wt_header(&r);
	struct guard_policy policy = { .chains = 1 };
	size_t branches, pointers;
	struct wt_elf e;

	(void)state;
	check_gates(&r);
	check_calls(&ko, &r, &branches);
	check_pointers(&ko, &r, &pointers);
	assert_in_range(branches, 2000, 10000);
	assert_in_range(pointers, 200, 10000);
	assert_in_range(h->entries.count, 200, 400);
	assert_in_range(h->sites.count, 200, 400);
	assert_in_range(h->fixups.count, 5, 30);
	assert_int_not_equal(guard_work_size(r.manifest.data, r.manifest.size, &policy), 0);
	e = wt_open(&r.ko);
	assert_int_equal(wt_shdr(&e, wt_find(&e, ".return_sites"))->sh_size, 0);
	assert_int_equal(wt_shdr(&e, wt_find(&e, ".rela.return_sites"))->sh_size, 0);
	assert_int_equal(wt_shdr(&e, wt_find(&e, "__mcount_loc"))->sh_size, 0);
	/* the kernel sorts it: so it must not lie among the constants */
	assert_true(wt_shdr(&e, wt_find(&e, ".orc_unwind"))->sh_flags & SHF_WRITE);
	assert_null(memmem(r.ko.data, r.ko.size, "~Module signature appended~", 27));
	wt_close(&e);
	wrap_result_free(&r);
	blob_free(&ko);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gates_match_their_templates),
		cmocka_unit_test(test_calls_and_pointers_lead_to_gates),
		cmocka_unit_test(test_manifest_says_what_the_source_says),
		cmocka_unit_test(test_headroom),
		cmocka_unit_test(test_private_contents_stay_out_of_the_object),
		cmocka_unit_test(test_output_is_deterministic),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_objects_of_no_size),
		cmocka_unit_test(test_debian_driver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
