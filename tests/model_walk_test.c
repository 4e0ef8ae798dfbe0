/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The stack walk, check by check: stacks on which just one of its conditions stands between the
 * module and a walk that would seem to reach the slot.
 */
#include "tests/support/check.h"

/* The standard module with its unwind rows changed before it is registered. */
static struct world *with_rows(void (*change)(void *manifest, struct gm_unwind *u, uint32_t n))
{
	struct std_options o = std_default();
	struct world *w = w_create(2);
	struct wmodule *m;
	void *manifest;
	size_t len;

	manifest = std_manifest(&o, &len);
	change(manifest, mb_record(manifest, MB_UNWIND, 0), mb_table_of(manifest, MB_UNWIND).count);
	m = w_add_manifest(w, &o, manifest, len);
	expect_ok(w_announce(w, 0, m));
	return w;
}

static struct gm_unwind *row(struct gm_unwind *u, uint32_t n, uint32_t moff)
{
	while (n-- > 0)
		if (u[n].moff == moff)
			return &u[n];
	fail_msg("no row at %#x", moff);
	return NULL;
}

/* RBP saved where RBP points: nowhere, or at an address that is not aligned. */
static void g_saves_at_bp(void *manifest, struct gm_unwind *u, uint32_t n)
{
	(void)manifest;
	row(u, n, FN_G * 0x100 + FN_BODY)->bp_rule = GM_BP_AT_BP;
}

static void saved_rbp_out_of_reach(void **state)
{
	struct world *w = with_rows(g_saves_at_bp);
	struct wmodule *m = &w->module[0];
	unsigned i;

	(void)state;
	for (i = 0; i < 5; i++) {
		uint64_t slot;

		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, FN_G));
		slot = w->cpu[0].gpr[GUARD_RSP];
		w_frame(w, 0, m, FN_G);
		w->cpu[0].gpr[GUARD_RBP] = i == 0   ? 0x1111
					   : i == 1 ? slot + 8
					   : i == 2 ? slot - 12
					   : i == 3 ? slot - 0x400
						    : slot - 16;
		expect(w_callout(w, 0, m, FN_G, GATE_LEAVE),
		       i == 4 ? GUARD_V_OK : GUARD_V_STACK_CHANGED);
		expect_u(w, 0);
	}
	w_destroy(w);
}

/* An RBP off by four from which a well-formed frame could be read all the same. */
static void unaligned_frame(void **state)
{
	struct world *w = with_rows(g_saves_at_bp);
	struct wmodule *m = &w->module[0];
	uint64_t slot, cfa, rbp;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_D));
	slot = w->cpu[0].gpr[GUARD_RSP];
	w_frame(w, 0, m, FN_D);
	cfa = slot + 8;
	rbp = w->cpu[0].gpr[GUARD_RBP] - 20;
	fake_copy_in(w->vmm, w->cr3, rbp - 8, &cfa, 8);
	w->cpu[0].gpr[GUARD_RBP] = rbp;
	expect(w_callout(w, 0, m, FN_D, GATE_LEAVE), GUARD_V_STACK_CHANGED);
	w_destroy(w);
}

/* A call that never comes back stands at the end of the body: its own row counts, not the next. */
static void call_at_the_end(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_G));
	w_frame(w, 0, m, FN_G);
	w_push(w, 0, w_fn(m, FN_G, FN_END));
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE)));
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)));
	/* a departure there stands at the next row, which says that the frame is gone */
	expect(w_depart(w, 0, GUARD_CAUSE_IRQ, 32), GUARD_V_STACK_CHANGED);
	w_destroy(w);
}

static void last_rows_say_plain(void *manifest, struct gm_unwind *u, uint32_t n)
{
	uint32_t init = 0, i;
	struct gm_unwind *last = row(u, n, FN_T * 0x100 + FN_GAP);

	for (i = 0; i < n; i++)
		if (&u[i] > last && !init)
			init = u[i].moff;
	last->cfa_rule = GM_CFA_REG;
	last->cfa_reg = GUARD_RSP;
	last->cfa_offset = 8;
	for (i = 0; i < n; i++) /* init's rows start a little late */
		u[i].moff += &u[i] > last ? 0x10 : 0;
	(void)manifest;
	assert_true(init);
}

/* A row holds in its own segment, and up to its last byte. */
static void rows_end_with_their_segment(void **state)
{
	struct world *w = with_rows(last_rows_say_plain);
	struct wmodule *m = &w->module[0];
	const uint64_t rips[] = { w_seg(m, SEG_TEXT, STD_TEXT_SIZE - 8),
				  w_seg(m, SEG_TEXT, STD_TEXT_SIZE + 8), w_fn(m, FN_INIT, 0),
				  w_fn(m, FN_INIT, 0x10) };
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++) {
		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, FN_F));
		w->cpu[0].rip = rips[i];
		expect(w_depart(w, 0, GUARD_CAUSE_IRQ, 32),
		       i == 0 || i == 3 ? GUARD_V_OK : GUARD_V_STACK_CHANGED);
	}
	w_destroy(w);
}

static void first_rows_are_missing(void *manifest, struct gm_unwind *u, uint32_t n)
{
	struct gm_header *h = manifest;

	u[n - 1].cfa_rule = GM_CFA_REG; /* what would be read behind the table */
	u[n - 1].cfa_reg = GUARD_RSP;
	u[n - 1].cfa_offset = 8;
	h->unwind.offset += 2 * (uint32_t)sizeof(struct gm_unwind);
	h->unwind.count -= 3;
}

/* Before the first row nothing is known. */
static void before_the_first_row(void **state)
{
	struct world *w = with_rows(first_rows_are_missing);
	struct wmodule *m = &w->module[0];

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	expect(w_depart(w, 0, GUARD_CAUSE_IRQ, 32), GUARD_V_STACK_CHANGED);
	w_destroy(w);
}

/* "Nothing is known" means so, whatever the row's other fields would make of the registers. */
static void none_is_none(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t slot;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	slot = w->cpu[0].gpr[GUARD_RSP];
	w_push(w, 0, slot + 8);
	w->cpu[0].gpr[GUARD_RAX] = slot - 8;
	w->cpu[0].rip = w_fn(m, FN_N, FN_BODY);
	expect(w_depart(w, 0, GUARD_CAUSE_IRQ, 32), GUARD_V_STACK_CHANGED);
	w_destroy(w);
}

/* A frame that finds itself again: refused as such, not after 64 rounds. */
static void frame_in_a_circle(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	w_inner(w, 0, m, FN_F, FN_I);
	w_set_word(w, 0, w->cpu[0].gpr[GUARD_RBP], w->cpu[0].gpr[GUARD_RBP]);
	expect(w_callout(w, 0, m, FN_I, GATE_LEAVE), GUARD_V_STACK_CHANGED);
	w_destroy(w);
}

/* A child's frame that leads past the child's slot, into a stack too deep to be walked. */
static void past_the_childs_slot(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t ret = 0;
	unsigned n;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_G));
	w_frame(w, 0, m, FN_G);
	for (n = 0; n < GUARD_MAX_FRAMES + 4; n++) {
		w_push(w, 0, w_fn(m, n ? FN_H : FN_G, FN_RET2));
		ret = w->cpu[0].gpr[GUARD_RSP];
		w_frame(w, 0, m, FN_H);
	}
	expect_ok(w_enter_from(w, 0, m, FN_F, w_fn(m, FN_H, FN_RET)));
	w_frame(w, 0, m, FN_F);
	w->cpu[0].gpr[GUARD_RBP] = ret - 8;
	expect(w_callout(w, 0, m, FN_F, GATE_LEAVE), GUARD_V_STACK_CHANGED);
	w_destroy(w);
}

/* A return address in the middle of a body that is no return site, but would be walked well. */
static void no_return_site(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_G));
	w_frame(w, 0, m, FN_G);
	w_inner(w, 0, m, FN_G, FN_H);
	w_set_word(w, 0, w->cpu[0].gpr[GUARD_RSP] + 0x18, w_fn(m, FN_G, FN_CALL));
	expect(w_callout(w, 0, m, FN_H, GATE_LEAVE), GUARD_V_STACK_CHANGED);
	w_destroy(w);
}

/* Many equal return addresses over three pages; the middle page is not there (any more). */
static void page_missing(void **state)
{
	unsigned late;

	(void)state;
	for (late = 0; late < 2; late++) {
		struct world *w = w_simple(1, NULL);
		struct wmodule *m = &w->module[0];
		uint64_t hole = w_stack_top(0) - 2 * GM_PAGE, old;
		unsigned n;

		w->cpu[0].gpr[GUARD_RSP] = hole + GM_PAGE + 0x300;
		expect_ok(w_enter(w, 0, m, FN_G));
		w_frame(w, 0, m, FN_G);
		for (n = 0; n < 12; n++)
			w_inner(w, 0, m, n ? FN_B512 : FN_G, FN_B512);
		assert_true(w->cpu[0].gpr[GUARD_RSP] < hole - 0x300);
		old = *fake_pte(w->vmm, w->cr3, hole);
		if (!late)
			*fake_pte(w->vmm, w->cr3, hole) = 0;
		w_callout(w, 0, m, FN_B512, GATE_LEAVE);
		if (late) {
			expect_ok(w->d.verdict);
			*fake_pte(w->vmm, w->cr3, hole) = 0;
			w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN));
		}
		expect(w->d.verdict, GUARD_V_STACK_CHANGED);
		*fake_pte(w->vmm, w->cr3, hole) = old;
		w_destroy(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(saved_rbp_out_of_reach),
		cmocka_unit_test(unaligned_frame),
		cmocka_unit_test(call_at_the_end),
		cmocka_unit_test(rows_end_with_their_segment),
		cmocka_unit_test(before_the_first_row),
		cmocka_unit_test(none_is_none),
		cmocka_unit_test(frame_in_a_circle),
		cmocka_unit_test(past_the_childs_slot),
		cmocka_unit_test(no_return_site),
		cmocka_unit_test(page_missing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
