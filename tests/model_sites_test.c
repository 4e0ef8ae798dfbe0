/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Imports and init code in patch sites and relocations: addresses that are learnt late, contents
 * that belong to a segment which is gone, and announcements of many small pieces.
 */
#include "tests/support/check.h"

static void write_at(struct world *w, struct wmodule *m, uint32_t moff, const void *bytes,
		     size_t len)
{
	fake_copy_in(w->vmm, w->cr3, w_moff(m, moff), bytes, len);
}

static void write_jump(struct world *w, struct wmodule *m, uint32_t moff, uint8_t opcode,
		       uint64_t target)
{
	uint32_t rel = (uint32_t)(target - w_moff(m, moff) - 5);

	write_at(w, m, moff, &opcode, 1);
	write_at(w, m, moff + 1, &rel, 4);
}

static void write_mov(struct world *w, struct wmodule *m, uint64_t address)
{
	static const uint8_t opcode[] = { 0x48, 0xb8 };
	uint64_t value = address + 8; /* the addend */

	write_at(w, m, SITE_MOV, opcode, 2);
	write_at(w, m, SITE_MOV + 2, &value, 8);
}

/* Enters, tells whether a VERIFY line came first, and leaves. */
static bool visit_warns(struct world *w, struct wmodule *m)
{
	bool warned;

	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_G));
	warned = w->d.nlines == 2;
	if (warned)
		expect_line(w, 0, GUARD_VERIFY, GUARD_V_BAD_TEXT);
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	return warned;
}

static bool copy_is_guests(struct world *w, struct wmodule *m, uint32_t moff, size_t len)
{
	uint8_t bytes[32];

	fake_copy_out(w->vmm, w->cr3, w_moff(m, moff), bytes, len);
	return !memcmp(w->vmm->module[m->index].verified[moff / GM_PAGE] + moff % GM_PAGE, bytes,
		       len);
}

/* A code import that only a run-time content names may lie anywhere but in the module. */
static void late_code_import(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	write_jump(w, m, SITE_STATIC, 0xe9, W_KERNEL + 0x123);
	assert_false(visit_warns(w, m));
	assert_true(copy_is_guests(w, m, SITE_STATIC, 5));
	write_jump(w, m, SITE_STATIC, 0xe9, W_KERNEL + 0x456);
	assert_false(visit_warns(w, m));
	assert_true(copy_is_guests(w, m, SITE_STATIC, 5));
	write_jump(w, m, SITE_STATIC, 0xe9, w_fn(m, FN_F, 0x10));
	assert_true(visit_warns(w, m));
	assert_false(copy_is_guests(w, m, SITE_STATIC, 5));
	w_destroy(w);
}

/* I9 at run time: a data import that turns up late is judged like one that is there at ANNOUNCE. */
static void late_data_import(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0], *other = w_ready(w, &o);
	const struct {
		uint64_t at;
		bool ok;
	} targets[] = {
		{ W_KERNEL_DATA + 0x40, true },
		{ w_seg(other, SEG_PRIVATE, 0), false },
		{ w_seg(m, SEG_PRIVATE, 0x10), false },
		{ W_KERNEL_DATA + 0x80, true },
		{ w_seg(other, SEG_RODATA, 0), false },
		{ FAKE_DIRECT_MAP + other->gpa[1], false },
		{ FAKE_DIRECT_MAP + 0x1000, true },
		{ w_seg(other, SEG_DATA, 0), true },
		{ w_gate(other, GATE_ENTER), true }, /* the kernel calls it as well */
		{ w_seg(m, SEG_DATA, 0), false },    /* its own is no import */
		{ ~0ull, false },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		write_mov(w, m, targets[i].at);
		assert_int_equal(visit_warns(w, m), !targets[i].ok);
		assert_int_equal(copy_is_guests(w, m, SITE_MOV, 10), targets[i].ok);
	}
	w_destroy(w);
}

/* Learnt at ANNOUNCE, it stays what it was. */
static void import_learnt_at_announce(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *m = w_add(w, &o);

	(void)state;
	write_mov(w, m, w_seg(m, SEG_PRIVATE, 0));
	expect(w_announce(w, 0, m), GUARD_V_BAD_TEXT);
	write_mov(w, m, ~0ull);
	expect(w_announce(w, 0, m), GUARD_V_BAD_TEXT);
	write_mov(w, m, W_KERNEL_DATA + 0x40);
	expect_ok(w_announce(w, 0, m));
	assert_false(visit_warns(w, m));
	write_mov(w, m, W_KERNEL_DATA + 0x48);
	assert_true(visit_warns(w, m));
	assert_false(copy_is_guests(w, m, SITE_MOV, 10));
	write_mov(w, m, W_KERNEL_DATA + 0x40);
	assert_false(visit_warns(w, m));
	/* a field of its own that decodes to no address at all */
	expect_ok(w_withdraw(w, 0, m));
	{
		uint64_t none = ~0ull + 0x18;

		write_at(w, m, RELOC_IMPORT_64, &none, 8);
	}
	expect(w_announce(w, 0, m), GUARD_V_BAD_TEXT);
	w_destroy(w);
}

/* Announced without its init segments: what refers to them is wiped; beneath it is anything. */
static void init_absent(void **state)
{
	static const uint8_t zeros[8];
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *m = w_add(w, &o);
	uint32_t rodata = 5 * GM_PAGE; /* after four pages of text and the gates */
	uint64_t junk = 0x1122334455667788ull;
	unsigned i, n;

	(void)state;
	for (i = SEG_INIT; i <= SEG_INIT_DATA; i++)
		m->base[i] = 0;
	expect_ok(w_announce(w, 0, m));
	assert_memory_equal(w->vmm->module[0].verified[5] + 0x178, zeros, 8);
	assert_false(visit_warns(w, m));
	/* pages with such fields are compared without them; neighbours as ever */
	write_at(w, m, rodata + 0x178, &junk, 8);
	assert_false(visit_warns(w, m));
	assert_memory_equal(w->vmm->module[0].verified[5] + 0x178, zeros, 8);
	write_at(w, m, rodata + 0x170, &junk, 8);
	assert_true(visit_warns(w, m));
	{
		uint32_t late =
			((struct gm_segment *)mb_record(m->manifest, MB_SEGMENTS, SEG_LATE))->start;

		write_at(w, m, late + 0x10, &junk, 8);
		assert_true(visit_warns(w, m));
	}
	/* each callback of such a refresh may fail */
	for (n = 1; n < 200; n++) {
		enum guard_verdict v;

		write_at(w, m, rodata + 0x178, &junk, 8);
		w_thread(w, 0, 0);
		fake_forget(w->vmm);
		w->vmm->fail_op[FAKE_VERIFIED_READ] = n;
		v = w_enter(w, 0, m, FN_G);
		if (!w->vmm->failed)
			break;
		expect(v, GUARD_V_RAISE_FAILED);
		expect_u(w, 0);
	}
	assert_true(n > 2 && n < 200);
	w_destroy(w);
}

/* Many small pieces: the proof is spread over calls, wherever they happen to end. */
static void many_pieces(void **state)
{
	uint32_t relocs;

	(void)state;
	for (relocs = 200; relocs < 800; relocs += 37) {
		struct std_options o = std_default();
		struct world *w = w_create(1);
		struct wmodule *m;
		uint8_t *byte;

		o.text_pages = 8;
		o.relocs = relocs;
		m = w_add(w, &o);
		byte = fake_ram(w->vmm, m->gpa[4] + 16 * (relocs < 250 ? relocs - 1 : 255) + 3, 1);
		*byte ^= 1; /* in the last one of its page */
		expect(w_announce(w, 0, m), GUARD_V_BAD_TEXT);
		*byte ^= 1;
		fake_forget(w->vmm);
		expect(w_hypercall(w, 0, GUARD_CALL_ANNOUNCE, m->id, m->bases_gva,
				   mb_table_of(m->manifest, MB_SEGMENTS).count),
		       GUARD_V_AGAIN);
		while (w->d.verdict == GUARD_V_AGAIN) {
			fake_forget(w->vmm);
			w_hypercall(w, 0, GUARD_CALL_ANNOUNCE, m->id, m->bases_gva,
				    mb_table_of(m->manifest, MB_SEGMENTS).count);
			assert_true(w->vmm->calls[FAKE_VERIFIED_READ] <= 530);
		}
		expect_ok(w->d.verdict);
		assert_false(visit_warns(w, m));
		w_destroy(w);
	}
}

/* A site of the init segment that crosses its pages, patched while init is there. */
static void init_site(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint32_t start =
		((struct gm_segment *)mb_record(m->manifest, MB_SEGMENTS, SEG_INIT))->start;

	(void)state;
	write_jump(w, m, start + SITE_INIT, 0xe8, W_KERNEL + 0x99);
	assert_false(visit_warns(w, m));
	assert_true(copy_is_guests(w, m, start + SITE_INIT, 3));
	assert_true(copy_is_guests(w, m, start + GM_PAGE, 2));
	w_destroy(w);
}

/* Init is dropped half way, its second page written meanwhile; the mapping is not walked. */
static void init_half_dropped(void **state)
{
	struct std_options o = std_default();
	struct world *w;
	struct wmodule *m;
	uint32_t start;

	(void)state;
	o.policy.mapping = GUARD_MAPPING_LOCKED;
	w = w_simple(1, &o);
	m = &w->module[0];
	start = ((struct gm_segment *)mb_record(m->manifest, MB_SEGMENTS, SEG_INIT))->start;
	w->vmm->module[0].locked_cr3 = w->cr3;
	assert_true(w_honest(w, 0, m, FN_INIT));
	write_jump(w, m, start + SITE_INIT, 0xe8, W_KERNEL + 0x99);
	fake_unmap(w->vmm, w->cr3, w_seg(m, SEG_INIT, 0));
	w->vmm->fail_op[FAKE_FRAME_ROLE] = 2;
	w_thread(w, 0, 0);
	expect(w_enter(w, 0, m, FN_G), GUARD_V_RAISE_FAILED);
	expect_u(w, 0);
	w_thread(w, 0, 0);
	assert_true(w_honest(w, 0, m, FN_G)); /* dropped whole, this time */
	assert_int_equal(w->vmm->module[0].gpa[start / GM_PAGE + 1], 0);
	w_destroy(w);
}

/* The standard module with its manifest changed; loaded as that says, not announced. */
static struct world *changed(void (*change)(struct gm_header *h, struct gm_reloc *r, uint32_t n))
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct gm_header *h;
	size_t len;

	h = std_manifest(&o, &len);
	change(h, mb_record(h, MB_RELOCS, 0), h->relocs.count);
	w_add_manifest(w, &o, h, len);
	return w;
}

static void no_relocs(struct gm_header *h, struct gm_reloc *r, uint32_t n)
{
	(void)r;
	(void)n;
	h->relocs.count = 0;
}

static void no_sites(struct gm_header *h, struct gm_reloc *r, uint32_t n)
{
	(void)r;
	(void)n;
	h->sites.count = 0;
}

static void first_sites_missing(struct gm_header *h, struct gm_reloc *r, uint32_t n)
{
	(void)r;
	(void)n;
	h->sites.offset += 2 * (uint32_t)sizeof(struct gm_site);
	h->sites.count -= 2;
}

static void import_with_a_segments_number(struct gm_header *h, struct gm_reloc *r, uint32_t n)
{
	(void)h;
	while (n-- > 0)
		if (r[n].moff == RELOC_IMPORT_PC32)
			r[n].target = IMP_LATE_DATA; /* as init text has among the segments */
}

/* Tables end where they say. */
static void shorter_tables(void **state)
{
	static const uint8_t nop5[] = { 0x0f, 0x1f, 0x44, 0x00, 0x00 };
	struct world *w = changed(no_relocs);

	(void)state;
	expect_ok(w_announce(w, 0, &w->module[0]));
	w_destroy(w);
	w = changed(no_sites);
	expect_ok(w_announce(w, 0, &w->module[0]));
	assert_false(visit_warns(w, &w->module[0]));
	write_at(w, &w->module[0], SITE_LABEL, nop5, 5);
	assert_true(visit_warns(w, &w->module[0]));
	w_destroy(w);
	/* the first site of a page, with none before it anywhere */
	w = changed(first_sites_missing);
	expect_ok(w_announce(w, 0, &w->module[0]));
	write_jump(w, &w->module[0], SITE_LABEL, 0xe9, w_fn(&w->module[0], FN_G, 0));
	assert_false(visit_warns(w, &w->module[0]));
	assert_true(copy_is_guests(w, &w->module[0], SITE_LABEL, 5));
	w_destroy(w);
}

/* Imports and absent segments are numbered alike, and have nothing to do with each other. */
static void import_beside_absent_init(void **state)
{
	struct world *w = changed(import_with_a_segments_number);
	struct wmodule *m = &w->module[0];
	unsigned i;

	(void)state;
	for (i = SEG_INIT; i <= SEG_INIT_DATA; i++)
		m->base[i] = 0;
	expect_ok(w_announce(w, 0, m));
	assert_true(copy_is_guests(w, m, RELOC_IMPORT_PC32, 4));
	write_at(w, m, RELOC_IMPORT_PC32, "\x11\x22\x33\x44", 4);
	assert_true(visit_warns(w, m));
	w_destroy(w);
}

/* From a choice that is not the one nothing is learnt, though its first field would fit. */
static void nothing_learnt_from_the_wrong_choice(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *m = w_add(w, &o);

	(void)state;
	write_jump(w, m, SITE_TWO, 0xe8, W_KERNEL + 0x111);
	write_jump(w, m, SITE_TWO + 5, 0xe8, W_KERNEL + 0x222);
	expect_ok(w_announce(w, 0, m));
	write_jump(w, m, SITE_STATIC, 0xe9, W_KERNEL + 0x333);
	assert_false(visit_warns(w, m));
	expect_ok(w_withdraw(w, 0, m));
	/* the right one teaches */
	write_jump(w, m, SITE_TWO + 5, 0xe8, w_fn(m, FN_F, 0));
	expect(w_announce(w, 0, m), GUARD_V_BAD_TEXT); /* IMP_LATE lies in two places */
	write_jump(w, m, SITE_STATIC, 0xe9, W_KERNEL + 0x111);
	expect_ok(w_announce(w, 0, m));
	w_destroy(w);
}

/* An import that nobody has seen yet is at no address, not at the last one. */
static void import_not_seen(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *m = w_add(w, &o);

	(void)state;
	fake_map(w->vmm, w->cr3, 0xfffffffffffff000ull, m->binding.resource[PRIV_DEVICE].base,
		 PTE_P | PTE_W);
	expect_ok(w_announce(w, 0, m));
	w_destroy(w);
}

/* A module of two pages: its tables have just that many places. */
static void small_module(void **state)
{
	static const uint8_t code[16] = { 0xc3 };
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *m;
	struct mb b;
	size_t len;
	void *manifest;

	(void)state;
	mb_init(&b, GM_X_VMMCALL, 0);
	mb_segment(&b, GM_SEG_TEXT, sizeof(code), code);
	mb_segment(&b, GM_SEG_GATES, 4 * GM_GATE_BYTES, NULL);
	mb_gate(&b, GM_GATE_LEAVE_RETURN, 5, 0, GM_NONE);
	mb_gate(&b, GM_GATE_ENTER_RETURN, 5, 0, GM_NONE);
	mb_entry(&b, 0, GM_MIN_HEADROOM, 0, 0);
	mb_privilege(&b, GM_PRIV_MWAIT, 0, 0);
	manifest = mb_finish(&b, &len);
	mb_free(&b);
	o.bound = 1;
	m = w_add_manifest(w, &o, manifest, len);
	expect_ok(w_announce(w, 0, m));
	assert_int_equal(w->vmm->calls[FAKE_VERIFIED_FILL], 2);
	w_push(w, 0, W_KRET);
	expect_ok(w_x(w, 0, m->base[1] + 2 * GM_GATE_BYTES));
	assert_int_equal(w->cpu[0].rip, m->base[0]);
	expect_ok(w_x(w, 0, m->base[1] + 5));
	w_destroy(w);
}

/* Without a gates segment no X is a gate's, at whatever address. */
static void no_gates_no_sites(void **state)
{
	struct std_options o = std_default();
	struct world *w;
	uint64_t rip;

	(void)state;
	o.views = true;
	w = w_simple(1, &o);
	for (rip = 0; rip < 0x200000; rip += 0x400) {
		w_x(w, 0, rip);
		assert_true(w->d.foreign);
	}
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(late_code_import),
		cmocka_unit_test(late_data_import),
		cmocka_unit_test(import_learnt_at_announce),
		cmocka_unit_test(init_absent),
		cmocka_unit_test(many_pieces),
		cmocka_unit_test(init_site),
		cmocka_unit_test(init_half_dropped),
		cmocka_unit_test(shorter_tables),
		cmocka_unit_test(import_beside_absent_init),
		cmocka_unit_test(nothing_learnt_from_the_wrong_choice),
		cmocka_unit_test(import_not_seen),
		cmocka_unit_test(small_module),
		cmocka_unit_test(no_gates_no_sites),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
