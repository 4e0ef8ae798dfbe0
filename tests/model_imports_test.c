/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bases and imports at ANNOUNCE, one rule at a time: addresses that map, but not where they may;
 * what an import of each kind may resolve to; and what a refresh looks at, and how often it tells.
 */
#include "tests/support/check.h"

static struct world *loaded(struct wmodule **m, const struct std_options *options)
{
	struct std_options o = options ? *options : std_default();
	struct world *w = w_create(1);

	*m = w_add(w, &o);
	return w;
}

static uint32_t first_page(const struct wmodule *m, unsigned segment)
{
	return ((struct gm_segment *)mb_record(m->manifest, MB_SEGMENTS, segment))->start / GM_PAGE;
}

/* A segment that nothing refers to, well mapped at an address that is not the kernel half's. */
static void bases_outside_the_kernel_half(void **state)
{
	static const uint64_t bases[] = { 0, 0x400000, 0x00007ffffffff000ull,
					  0xfffffffffffff000ull };
	struct wmodule *m;
	struct world *w = loaded(&m, NULL);
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++) {
		fake_map(w->vmm, w->cr3, bases[i], m->gpa[first_page(m, SEG_LATE)], PTE_P | PTE_W);
		m->base[SEG_LATE] = bases[i];
		expect(w_announce(w, 0, m), GUARD_V_BAD_MAPPING);
	}
	w_destroy(w);
}

/* Percpu base 0 is a base like any other: not an absent segment. */
static void percpu_base_zero(void **state)
{
	struct wmodule *m;
	struct world *w = loaded(&m, NULL);
	uint32_t wrong = 0x123;

	(void)state;
	expect_ok(w_announce(w, 0, m));
	m->base[SEG_PERCPU] = 0;
	expect(w_announce(w, 0, m), GUARD_V_BAD_TEXT); /* another place, for other code */
	w_load(w, m);
	expect_ok(w_announce(w, 0, m));
	expect_ok(w_withdraw(w, 0, m));
	fake_copy_in(w->vmm, w->cr3, w_moff(m, RELOC_PERCPU_32S), &wrong, 4);
	expect(w_announce(w, 0, m), GUARD_V_BAD_TEXT);
	w_destroy(w);
}

/* R_X86_64_32 is zero-extended, 32S sign-extended. */
static void zero_extended(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *m;
	void *manifest;
	size_t len, i;
	unsigned sign;

	(void)state;
	manifest = std_manifest(&o, &len);
	for (i = 0; i < mb_table_of(manifest, MB_RELOCS).count; i++) {
		struct gm_reloc *r = mb_record(manifest, MB_RELOCS, (uint32_t)i);

		if (r->moff == RELOC_PERCPU_32S)
			r->type = GM_R_32;
	}
	m = w_add_manifest(w, &o, manifest, len);
	for (sign = 0; sign < 2; sign++) {
		m->base[SEG_PERCPU] = sign ? 0xfffffffff0000000ull : 0xf0000000ull;
		w_load(w, m);
		expect(w_announce(w, 0, m), sign ? GUARD_V_BAD_TEXT : GUARD_V_OK);
	}
	w_destroy(w);
}

/* Absent init leaves two segments side by side in memory that are not so in the module. */
static void neighbours_in_memory_only(void **state)
{
	struct wmodule *m;
	struct world *w = loaded(&m, NULL);
	unsigned i;

	(void)state;
	for (i = SEG_INIT; i <= SEG_INIT_DATA; i++)
		m->base[i] = 0;
	m->base[SEG_LATE] = w_seg(m, SEG_PRIVATE, 2 * GM_PAGE);
	fake_map(w->vmm, w->cr3, m->base[SEG_LATE], m->gpa[first_page(m, SEG_LATE)], PTE_P | PTE_W);
	expect_ok(w_announce(w, 0, m));
	assert_true(w_honest(w, 0, m, FN_F));
	w_destroy(w);
}

static void aim_data_import(struct world *w, struct wmodule *m, uint64_t at)
{
	uint64_t value = at + 0x18;

	fake_copy_in(w->vmm, w->cr3, w_moff(m, RELOC_IMPORT_64), &value, 8);
	fake_copy_in(w->vmm, w->cr3, w_seg(m, SEG_RODATA, 0x28), &at, 8);
}

/* Points both fields of the code import IMP_C. */
static void aim_code_import(struct world *w, struct wmodule *m, uint64_t at)
{
	uint64_t places[] = { w_moff(m, RELOC_IMPORT_PC32), w_gate(m, GATE_LEAVE + IMP_C) + 4 };
	unsigned i;

	for (i = 0; i < 2; i++) {
		uint32_t rel = (uint32_t)(at - 4 - places[i]);

		fake_copy_in(w->vmm, w->cr3, places[i], &rel, 4);
	}
}

/* By address, though nothing is mapped there just now; and not where a module only once was. */
static void imports_by_address(void **state)
{
	struct std_options o = std_default();
	struct wmodule *other, *m;
	struct world *w = loaded(&other, NULL);
	uint64_t private = w_seg(other, SEG_PRIVATE, 0x20);

	(void)state;
	expect_ok(w_announce(w, 0, other));
	m = w_add(w, &o);
	aim_data_import(w, m, private);
	fake_unmap(w->vmm, w->cr3, private & ~0xfffull);
	expect(w_announce(w, 0, m), GUARD_V_BAD_TEXT);
	aim_data_import(w, m, w_seg(other, SEG_RODATA, 0x20));
	fake_unmap(w->vmm, w->cr3, w_seg(other, SEG_RODATA, 0));
	expect(w_announce(w, 0, m), GUARD_V_BAD_TEXT);
	expect_ok(w_withdraw(w, 0, other));
	expect_ok(w_announce(w, 0, m));
	w_destroy(w);
}

/* Code imports need no trust, whoever's they are; data imports of the gone count no more. */
static void code_imports_are_free(void **state)
{
	struct std_options o = std_default();
	struct wmodule *other, *m, *late;
	struct world *w = loaded(&other, NULL);

	(void)state;
	expect_ok(w_announce(w, 0, other));
	m = w_add(w, &o);
	late = w_add(w, &o);
	aim_code_import(w, m, w_fn(other, FN_F, 0));
	expect_ok(w_announce(w, 0, m));
	expect_ok(w_withdraw(w, 0, m));
	aim_code_import(w, m, w_fn(m, FN_F, 0)); /* but never into itself */
	expect(w_announce(w, 0, m), GUARD_V_BAD_TEXT);
	aim_code_import(w, m, w_fn(late, FN_F, 0));
	expect_ok(w_announce(w, 0, m));
	expect_ok(w_announce(w, 0, late));
	expect_ok(w_withdraw(w, 0, late));
	expect_ok(w_withdraw(w, 0, m));
	aim_data_import(w, m, w_seg(late, SEG_PRIVATE, 0));
	expect_ok(w_announce(w, 0, m));
	expect(w_announce(w, 0, late), GUARD_V_BAD_TEXT);
	expect_ok(w_withdraw(w, 0, m));
	expect_ok(w_announce(w, 0, late));
	w_destroy(w);
}

/* A call "outside" may lead where a module was before it was withdrawn. */
static void outside_of_the_gone(void **state)
{
	struct std_options o = std_default();
	struct wmodule *other, *m;
	struct world *w = loaded(&other, NULL);
	uint32_t rel;
	uint8_t call = 0xe8;

	(void)state;
	expect_ok(w_announce(w, 0, other));
	m = w_add(w, &o);
	rel = (uint32_t)(w_fn(other, FN_F, 0) - w_moff(m, SITE_FENTRY) - 5);
	fake_copy_in(w->vmm, w->cr3, w_moff(m, SITE_FENTRY), &call, 1);
	fake_copy_in(w->vmm, w->cr3, w_moff(m, SITE_FENTRY) + 1, &rel, 4);
	expect(w_announce(w, 0, m), GUARD_V_BAD_TEXT);
	expect_ok(w_withdraw(w, 0, other));
	expect_ok(w_announce(w, 0, m));
	w_destroy(w);
}

/* ---- refreshing ---- */

static unsigned verify_lines(struct world *w, struct wmodule *m)
{
	unsigned i, n = 0;

	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_G));
	for (i = 0; i < w->d.nlines; i++)
		n += w->d.line[i].event == GUARD_VERIFY;
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	return n;
}

/* Pages beyond the first 64 count like the others; one line tells of several. */
static void many_pages(void **state)
{
	struct std_options o = std_default();
	struct wmodule *m;
	struct world *w;
	unsigned i;

	(void)state;
	o.text_pages = 130;
	w = loaded(&m, &o);
	expect_ok(w_announce(w, 0, m));
	assert_int_equal(verify_lines(w, m), 0);
	for (i = 5; i < 130; i += 31) {
		fake_poke(w->vmm, m->gpa[i] + 9, "\xee", 1);
		assert_int_equal(verify_lines(w, m), 1);
		assert_int_equal(verify_lines(w, m), 0);
	}
	for (i = 5; i < 130; i += 31)
		fake_poke(w->vmm, m->gpa[i] + 9, "\xed", 1);
	assert_int_equal(verify_lines(w, m), 1);
	assert_int_equal(verify_lines(w, m), 0);
	w_destroy(w);
}

/* Just the page that was written is read, and written over only if it differs. */
static void only_what_was_written(void **state)
{
	struct wmodule *m;
	struct world *w = loaded(&m, NULL);
	size_t i;
	unsigned pages = 0;

	(void)state;
	expect_ok(w_announce(w, 0, m));
	assert_int_equal(verify_lines(w, m), 0);
	w->vmm->frame[m->gpa[1] / GM_PAGE].dirty = true; /* written with what it held */
	fake_forget(w->vmm);
	assert_int_equal(verify_lines(w, m), 0);
	assert_int_equal(w->vmm->calls[FAKE_VERIFIED_PATCH], 0);
	for (i = 0; i < w->vmm->njournal; i++)
		pages += w->vmm->journal[i].op == FAKE_GUEST_READ &&
			 w->vmm->journal[i].arg == GM_PAGE;
	assert_int_equal(pages, 1);
	fake_forget(w->vmm);
	assert_int_equal(verify_lines(w, m), 0);
	assert_int_equal(w->vmm->calls[FAKE_GUEST_READ], 0);
	w_destroy(w);
}

/* If the VMM cannot tell what was written, everything is looked at. */
static void unknown_writes(void **state)
{
	struct wmodule *m;
	struct world *w = loaded(&m, NULL);

	(void)state;
	expect_ok(w_announce(w, 0, m));
	assert_int_equal(verify_lines(w, m), 0);
	fake_poke(w->vmm, m->gpa[2] + 9, "\xee", 1);
	w->vmm->frame[m->gpa[2] / GM_PAGE].dirty = false;
	assert_int_equal(verify_lines(w, m), 0);
	w->vmm->fail_op[FAKE_WRITTEN] = 1;
	assert_int_equal(verify_lines(w, m), 1);
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bases_outside_the_kernel_half),
		cmocka_unit_test(percpu_base_zero),
		cmocka_unit_test(zero_extended),
		cmocka_unit_test(neighbours_in_memory_only),
		cmocka_unit_test(imports_by_address),
		cmocka_unit_test(code_imports_are_free),
		cmocka_unit_test(outside_of_the_gone),
		cmocka_unit_test(many_pages),
		cmocka_unit_test(only_what_was_written),
		cmocka_unit_test(unknown_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
