/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Code integrity after ANNOUNCE: what runs is the verified copy, whatever is written beneath it;
 * legal run-time patches are taken over; init code is entered once and dropped when it is gone.
 */
#include "tests/support/check.h"

static const uint8_t nop5[] = { 0x0f, 0x1f, 0x44, 0x00, 0x00 };

static void write_text(struct world *w, struct wmodule *m, uint32_t moff, const void *bytes,
		       size_t len)
{
	fake_copy_in(w->vmm, w->cr3, w_moff(m, moff), bytes, len);
}

/* opcode rel32 at moff, to target. */
static void write_jump(struct world *w, struct wmodule *m, uint32_t moff, uint8_t opcode,
		       uint64_t target)
{
	uint32_t rel = (uint32_t)(target - w_moff(m, moff) - 5);

	write_text(w, m, moff, &opcode, 1);
	write_text(w, m, moff + 1, &rel, 4);
}

static bool copy_equals(struct world *w, struct wmodule *m, uint32_t moff, const void *bytes,
			size_t len)
{
	const uint8_t *p = bytes;
	size_t i;

	for (i = 0; i < len; i++) {
		uint32_t at = moff + (uint32_t)i;

		if (w->vmm->module[m->index].verified[at / GM_PAGE][at % GM_PAGE] != p[i])
			return false;
	}
	return true;
}

static bool copy_is_guests(struct world *w, struct wmodule *m, uint32_t moff, size_t len)
{
	uint8_t bytes[64];

	fake_copy_out(w->vmm, w->cr3, w_moff(m, moff), bytes, len);
	return copy_equals(w, m, moff, bytes, len);
}

/* Enters and leaves; *verify tells whether a VERIFY line came first. */
static void visit(struct world *w, struct wmodule *m, unsigned v, bool *verify)
{
	expect_ok(w_enter(w, v, m, FN_G));
	*verify = w->d.nlines == 2;
	if (*verify) {
		expect_line(w, 0, GUARD_VERIFY, GUARD_V_BAD_TEXT);
		assert_int_equal(w->d.line[0].module, m->index);
		expect_line(w, 1, GUARD_ENTER_CALL, GUARD_V_OK);
	} else {
		expect_lines(w, 1);
	}
	assert_false(w->d.inject_gp);
	expect_ok(w_x(w, v, w_gate_x(m, GATE_LEAVE_RETURN)));
	w->cpu[v].gpr[GUARD_RSP] += 8;
}

/* I7: bytes altered after ANNOUNCE never execute with privilege; one line tells, once. */
static void altered_text(void **state)
{
	static const uint32_t places[] = { 0,
					   0x42,
					   0xfff,
					   0x1000 + 0x20,
					   0x2123,
					   RELOC_RODATA64,
					   RELOC_DATA_PC32 + 1,
					   RELOC_STRADDLE64 + 5,
					   0x30ff,
					   STD_TEXT_SIZE + 7,
					   SITE_GROUP_A + 2,
					   SITE_LOCK,
					   SITE_FENTRY,
					   SITE_LABEL,
					   SITE_STATIC,
					   SITE_STRADDLE + 4 };
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	bool verify;
	size_t i;

	(void)state;
	visit(w, m, 0, &verify);
	assert_false(verify);
	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint64_t gpa = m->gpa[places[i] / GM_PAGE] + places[i] % GM_PAGE;
		uint8_t old = *(uint8_t *)fake_ram(w->vmm, gpa, 1), bad = old ^ 0x47;

		fake_poke(w->vmm, gpa, &bad, 1);
		visit(w, m, 0, &verify);
		assert_true(verify);
		assert_true(copy_equals(w, m, places[i], &old, 1));
		visit(w, m, 0, &verify); /* not looked at again until it is written again */
		assert_false(verify);
		fake_poke(w->vmm, gpa, &old, 1);
		visit(w, m, 0, &verify);
		assert_false(verify);
	}
	/* gates and constants as well */
	for (i = 0; i < 2; i++) {
		uint32_t moff = (uint32_t)(i ? 5 : 4) * GM_PAGE + 0x23;
		uint8_t bad = 0xee, old;

		fake_copy_out(w->vmm, w->cr3, w_moff(m, moff), &old, 1);
		write_text(w, m, moff, &bad, 1);
		visit(w, m, 0, &verify);
		assert_true(verify);
		assert_true(copy_equals(w, m, moff, &old, 1));
		write_text(w, m, moff, &old, 1);
	}
	w_destroy(w);
}

/* P11: run-time sites go from one legal content to another, in both directions, any number. */
static void runtime_sites(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	bool verify;
	unsigned i;

	(void)state;
	for (i = 0; i < 6; i++) {
		if (i & 1) {
			write_text(w, m, SITE_LABEL, nop5, 5);
			write_text(w, m, SITE_STATIC, nop5, 5);
			write_text(w, m, SITE_STRADDLE, nop5, 5);
		} else {
			write_jump(w, m, SITE_LABEL, 0xe9, w_fn(m, FN_G, 0));
			write_jump(w, m, SITE_STATIC, 0xe8, W_KERNEL + 0x100 * i);
			write_jump(w, m, SITE_STRADDLE, 0xe9, w_fn(m, FN_F, 0));
		}
		visit(w, m, 0, &verify);
		assert_false(verify);
		assert_true(copy_is_guests(w, m, SITE_LABEL, 5));
		assert_true(copy_is_guests(w, m, SITE_STATIC, 5));
		assert_true(copy_is_guests(w, m, SITE_STRADDLE, 5));
	}
	w_destroy(w);
}

/* The same choice with another operand: a static call that is aimed elsewhere. */
static void static_call_retargeted(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	const uint64_t targets[] = { W_KERNEL + 0x700, W_KERNEL + 0x900 };
	bool verify;
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		write_jump(w, m, SITE_STATIC, 0xe8, targets[i]);
		visit(w, m, 0, &verify);
		assert_false(verify);
		assert_true(copy_is_guests(w, m, SITE_STATIC, 5));
	}
	/* never into this or any announced module's own code */
	write_jump(w, m, SITE_STATIC, 0xe8, w_fn(m, FN_F, 0x10));
	visit(w, m, 0, &verify);
	assert_true(verify);
	assert_false(copy_is_guests(w, m, SITE_STATIC, 5));
	w_destroy(w);
}

/* A run-time site never takes what is not in its list, even a legal content of another site. */
static void illegal_site_contents(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint8_t before[5];
	bool verify;

	(void)state;
	fake_copy_out(w->vmm, w->cr3, w_moff(m, SITE_LABEL), before, 5);
	write_jump(w, m, SITE_LABEL, 0xe9, w_fn(m, FN_G, 1));
	visit(w, m, 0, &verify);
	assert_true(verify);
	assert_true(copy_equals(w, m, SITE_LABEL, before, 5));
	write_jump(w, m, SITE_LABEL, 0xe8, w_fn(m, FN_G, 0));
	visit(w, m, 0, &verify);
	assert_true(verify);
	assert_true(copy_equals(w, m, SITE_LABEL, before, 5));
	/* load-time sites are settled: even another legal choice is no longer one */
	write_text(w, m, SITE_LABEL, before, 5);
	write_jump(w, m, SITE_FENTRY, 0xe8, W_KERNEL + 0x3000);
	visit(w, m, 0, &verify);
	assert_true(verify);
	assert_true(copy_equals(w, m, SITE_FENTRY, nop5, 5));
	w_destroy(w);
}

/* Legal load-time choices, with groups that must agree. */
static void load_time_choices(void **state)
{
	static const uint8_t ds = 0x3e;
	unsigned bits;

	(void)state;
	for (bits = 0; bits < 32; bits++) {
		struct std_options o = std_default();
		struct world *w = w_create(1);
		struct wmodule *m = w_add(w, &o);

		if (bits & 1)
			write_jump(w, m, SITE_FENTRY, 0xe8, W_KERNEL + 0x55);
		if (bits & 2)
			write_jump(w, m, SITE_GROUP_A, 0xe9, w_fn(m, FN_T, 0));
		if (bits & 4)
			write_jump(w, m, SITE_GROUP_B, 0xe9, w_fn(m, FN_T, 0));
		if (bits & 8)
			write_text(w, m, SITE_LOCK, &ds, 1);
		if (bits & 16)
			write_jump(w, m, SITE_STRADDLE, 0xe9, w_fn(m, FN_F, 0));
		if (!(bits & 2) == !(bits & 4)) {
			expect_ok(w_announce(w, 0, m));
			assert_true(copy_is_guests(w, m, SITE_FENTRY, 0x40));
			assert_true(copy_is_guests(w, m, SITE_STRADDLE, 5));
			assert_true(w_honest(w, 0, m, FN_F));
		} else {
			expect(w_announce(w, 0, m), GUARD_V_BAD_TEXT);
		}
		w_destroy(w);
	}
}

/* A fentry call must lead outside of every announced module, by whoever's address. */
static void call_into_a_module(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *other = w_ready(w, &o), *m = w_add(w, &o);

	(void)state;
	write_jump(w, m, SITE_FENTRY, 0xe8, w_fn(other, FN_F, 0));
	expect(w_announce(w, 0, m), GUARD_V_BAD_TEXT);
	write_jump(w, m, SITE_FENTRY, 0xe8, w_fn(m, FN_F, 0));
	expect(w_announce(w, 0, m), GUARD_V_BAD_TEXT);
	write_jump(w, m, SITE_FENTRY, 0xe8, w_fn(other, FN_F, 0) - 0x1000);
	expect_ok(w_announce(w, 0, m));
	w_destroy(w);
}

/* A poke in progress: first byte cc, the rest old or new. The last content goes on meanwhile. */
static void poke_in_progress(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint8_t jmp[5], rest;
	bool verify;

	(void)state;
	visit(w, m, 0, &verify);
	/* the three steps of text_poke_bp(): cc; new tail; new first byte */
	write_text(w, m, SITE_LABEL, "\xcc", 1);
	visit(w, m, 0, &verify);
	assert_false(verify);
	assert_true(copy_equals(w, m, SITE_LABEL, nop5, 5));
	write_jump(w, m, SITE_LABEL, 0xcc, w_fn(m, FN_G, 0));
	visit(w, m, 0, &verify);
	assert_false(verify);
	assert_true(copy_equals(w, m, SITE_LABEL, nop5, 5));
	visit(w, m, 0, &verify); /* the page stays marked, without a new write */
	assert_false(verify);
	w->vmm->frame[m->gpa[1] / GM_PAGE].dirty = false;
	write_jump(w, m, SITE_LABEL, 0xe9, w_fn(m, FN_G, 0));
	w->vmm->frame[m->gpa[1] / GM_PAGE].dirty = false; /* as if nobody had told */
	visit(w, m, 0, &verify);
	assert_false(verify);
	fake_copy_out(w->vmm, w->cr3, w_moff(m, SITE_LABEL), jmp, 5);
	assert_true(copy_equals(w, m, SITE_LABEL, jmp, 5));
	/* cc with a tail that is neither old nor new */
	write_text(w, m, SITE_LABEL, "\xcc", 1);
	rest = 0x99;
	write_text(w, m, SITE_LABEL + 3, &rest, 1);
	visit(w, m, 0, &verify);
	assert_true(verify);
	assert_true(copy_equals(w, m, SITE_LABEL, jmp, 5));
	/* cc at a load-time site is no poke */
	write_text(w, m, SITE_LABEL, jmp, 5);
	visit(w, m, 0, &verify);
	write_text(w, m, SITE_FENTRY, "\xcc", 1);
	visit(w, m, 0, &verify);
	assert_true(verify);
	w_destroy(w);
}

/* A site that crosses a page, poked: both of its pages stay marked. */
static void straddling_poke(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	bool verify;

	(void)state;
	visit(w, m, 0, &verify);
	write_jump(w, m, SITE_STRADDLE, 0xcc, w_fn(m, FN_F, 0));
	visit(w, m, 0, &verify);
	assert_false(verify);
	assert_true(copy_equals(w, m, SITE_STRADDLE, nop5, 5));
	write_jump(w, m, SITE_STRADDLE, 0xe9, w_fn(m, FN_F, 0));
	visit(w, m, 0, &verify);
	assert_false(verify);
	assert_true(copy_is_guests(w, m, SITE_STRADDLE, 5));
	/* only its second page is reported */
	write_text(w, m, SITE_STRADDLE, nop5, 5);
	w->vmm->frame[m->gpa[1] / GM_PAGE].dirty = false;
	visit(w, m, 0, &verify);
	assert_false(verify);
	assert_true(copy_equals(w, m, SITE_STRADDLE, nop5, 5));
	w_destroy(w);
}

/* While an activation runs nothing is re-verified; those that run are asked to leave. */
static void kicked_for_verification(void **state)
{
	struct world *w = w_simple(4, NULL);
	struct wmodule *m = &w->module[0];
	bool verify;

	(void)state;
	visit(w, m, 0, &verify);
	expect_ok(w_enter(w, 1, m, FN_F));
	expect_ok(w_enter(w, 2, m, FN_F));
	assert_int_equal(w->d.kick, 0);
	write_text(w, m, SITE_LABEL, "\0", 1);
	expect_ok(w_enter(w, 0, m, FN_G));
	expect_lines(w, 1);
	assert_int_equal(w->d.kick, 6);
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	w->cpu[0].gpr[GUARD_RSP] += 8;
	expect_ok(w_depart(w, 1, GUARD_CAUSE_KICK, 0));
	expect_ok(w_depart(w, 2, GUARD_CAUSE_KICK, 0));
	visit(w, m, 0, &verify);
	assert_true(verify);
	expect_ok(w_fetch(w, 1, w->cpu[1].rip));
	assert_int_equal(w->d.kick, 0);
	w_destroy(w);
}

/* Returns and resumes re-verify as entries do. */
static void verified_on_every_raise(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_callout(w, 0, m, FN_F, GATE_LEAVE));
	write_text(w, m, 0x20, "\xbb", 1);
	expect_ok(w_back(w, 0, m));
	expect_lines(w, 2);
	expect_line(w, 0, GUARD_VERIFY, GUARD_V_BAD_TEXT);
	expect_line(w, 1, GUARD_ENTER_RETURN, GUARD_V_OK);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	write_text(w, m, 0x20, "\xbc", 1);
	expect_ok(w_fetch(w, 0, w->cpu[0].rip));
	expect_lines(w, 2);
	expect_line(w, 0, GUARD_VERIFY, GUARD_V_BAD_TEXT);
	expect_line(w, 1, GUARD_RESUME, GUARD_V_OK);
	assert_int_equal(w->d.line[1].act, 1);
	w_destroy(w);
}

/* I18, E15: the init entry, once per ANNOUNCE, and from outside only. */
static void init_once(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect(w_enter_from(w, 0, m, FN_INIT, w_fn(m, FN_F, FN_RET)), GUARD_V_UNANNOUNCED);
	expect_view(w, 0, m);
	w->cpu[0].gpr[GUARD_RSP] += 8;
	expect_ok(w_exit(w, 0, m, FN_F));
	w_thread(w, 0, 0);
	assert_true(w_honest(w, 0, m, FN_INIT));
	expect(w_enter(w, 0, m, FN_INIT), GUARD_V_UNANNOUNCED);
	w_thread(w, 0, 0);
	assert_true(w_honest(w, 0, m, FN_F));
	/* a refused entry uses nothing up */
	expect_ok(w_withdraw(w, 0, m));
	expect_ok(w_announce(w, 0, m));
	expect(w_enter_from(w, 0, m, FN_INIT, 0), GUARD_V_BAD_RETURN);
	w_thread(w, 0, 0);
	w->vmm->fail_op[FAKE_RAISE] = 1;
	expect(w_enter(w, 0, m, FN_INIT), GUARD_V_RAISE_FAILED);
	w_thread(w, 0, 0);
	assert_true(w_honest(w, 0, m, FN_INIT));
	w_destroy(w);
}

static uint32_t page_of_segment(const struct wmodule *m, unsigned i)
{
	return ((struct gm_segment *)mb_record(m->manifest, MB_SEGMENTS, i))->start / GM_PAGE;
}

/* The kernel frees init memory and uses it for something else: dropped, and nobody notices. */
static void init_dropped(void **state)
{
	unsigned how;

	(void)state;
	for (how = 0; how < 5; how++) {
		struct std_options o = std_default();
		struct world *w = w_simple(2, NULL);
		struct wmodule *m = &w->module[0], *late;
		uint32_t page = page_of_segment(m, SEG_INIT);
		uint64_t gpa = m->gpa[page];

		/* not before its entry has returned: that is an attack on running code */
		expect_ok(w_enter(w, 0, m, FN_INIT));
		w_frame(w, 0, m, FN_INIT);
		expect_ok(w_callout(w, 0, m, FN_INIT, GATE_LEAVE));
		{
			uint64_t *pte = fake_pte(w->vmm, w->cr3, w_seg(m, SEG_INIT, 0));
			uint64_t old = *pte;

			*pte = 0;
			expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_BAD_MAPPING);
			w_thread(w, 1, 1);
			expect(w_enter(w, 1, m, FN_F), GUARD_V_BAD_MAPPING);
			*pte = old;
		}
		expect_ok(w_back(w, 0, m));
		expect_ok(w_exit(w, 0, m, FN_INIT));
		assert_int_equal(w->vmm->frame[gpa / GM_PAGE].role, GUARD_ROLE_VERIFIED);
		/* while it maps, it stays */
		w_thread(w, 0, 0);
		assert_true(w_honest(w, 0, m, FN_F));
		assert_int_equal(w->vmm->frame[gpa / GM_PAGE].role, GUARD_ROLE_VERIFIED);
		fake_unmap(w->vmm, w->cr3, w_seg(m, how == 4 ? SEG_INIT_DATA : SEG_INIT, 0));
		w_thread(w, 0, 0);
		switch (how) {
		case 0:
		case 4: expect_ok(w_enter(w, 0, m, FN_F)); break;
		case 1: /* someone executes there: fetched again, without the guard */
			w->cpu[0].rip = w_fn(m, FN_INIT, 0x10);
			w_fetch(w, 0, w->cpu[0].rip);
			assert_true(w->d.foreign);
			assert_false(w->d.inject_gp);
			break;
		case 2: /* the frame is another module's now */
			late = w_add(w, &o);
			fake_map(w->vmm, w->cr3, w_fn(late, FN_F, 0), gpa, PTE_P | PTE_W);
			late->gpa[0] = gpa;
			w_load(w, late);
			expect_ok(w_announce(w, 0, late));
			break;
		default: /* or its address is: the same gva, another module's frame */
			expect(w_announce(w, 0, m), GUARD_V_OK);
		}
		if (how != 2)
			assert_int_equal(w->vmm->frame[gpa / GM_PAGE].role, GUARD_ROLE_NONE);
		assert_int_equal(w->vmm->module[0].gpa[page], 0);
		assert_int_equal(w->vmm->module[0].gpa[page_of_segment(m, SEG_INIT_RODATA)], 0);
		assert_int_equal(w->vmm->module[0].gpa[page_of_segment(m, SEG_INIT_DATA)], 0);
		/* the rest goes on; what lies there now is outside */
		w_thread(w, 1, 1);
		assert_true(w_honest(w, 1, m, FN_F));
		w_thread(w, 1, 1);
		expect_ok(w_enter_from(w, 1, m, FN_F, w_fn(m, FN_INIT, 0x10)));
		w_destroy(w);
	}
}

/* Base 0: init is gone already when the module is announced (again). */
static void init_absent(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *m = w_add(w, &o);
	unsigned i;

	(void)state;
	for (i = SEG_INIT; i <= SEG_INIT_DATA; i++)
		m->base[i] = 0;
	expect_ok(w_announce(w, 0, m));
	assert_int_equal(w->vmm->module[0].gpa[page_of_segment(m, SEG_INIT)], 0);
	expect(w_enter(w, 0, m, FN_INIT), GUARD_V_UNANNOUNCED);
	w_thread(w, 0, 0);
	assert_true(w_honest(w, 0, m, FN_F));
	/* the enter gate of init jumps to where it was: that field is not judged, and is wiped */
	assert_int_equal(w_info(w, m).base[SEG_INIT], 0);
	expect_ok(w_announce(w, 0, m)); /* the same */
	w_destroy(w);
}

/* Announced whole, then again with base 0: still the same place. */
static void init_gone_since(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	unsigned i;

	(void)state;
	assert_true(w_honest(w, 0, m, FN_INIT));
	for (i = SEG_INIT; i <= SEG_INIT_DATA; i++) {
		fake_unmap(w->vmm, w->cr3, m->base[i]);
		m->base[i] = 0;
	}
	fake_forget(w->vmm);
	expect_ok(w_announce(w, 0, m));
	assert_int_equal(w->vmm->calls[FAKE_VERIFIED_FILL], 0);
	w_thread(w, 0, 0);
	assert_true(w_honest(w, 0, m, FN_F));
	w_destroy(w);
}

/* Kernel init thread that never returns from init's call-out: dropping waits for the record. */
static void init_thread_dies(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_INIT));
	w_frame(w, 0, m, FN_INIT);
	expect_ok(w_callout(w, 0, m, FN_INIT, GATE_LEAVE));
	/* its stack is used again: with the record, init is over */
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_G));
	assert_int_equal(w_info(w, m).suspended, 0);
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	fake_unmap(w->vmm, w->cr3, w_seg(m, SEG_INIT, 0));
	w_thread(w, 0, 0);
	assert_true(w_honest(w, 0, m, FN_G));
	assert_int_equal(w->vmm->module[0].gpa[page_of_segment(m, SEG_INIT)], 0);
	w_destroy(w);
}

/* P7 and E7 by another road: mapping=locked spares the walk under the CR3 that is locked. */
static void mapping_locked(void **state)
{
	struct std_options o = std_default();
	uint64_t other, *pte, old;
	struct world *w;
	struct wmodule *m;

	(void)state;
	o.policy.mapping = GUARD_MAPPING_LOCKED;
	o.text_pages = 250; /* with the rest, more than may be walked */
	w = w_create(1);
	m = w_ready(w, &o);
	other = fake_new_cr3(w->vmm, w->cr3);
	w->vmm->module[0].locked_cr3 = w->cr3;
	pte = fake_pte(w->vmm, w->cr3, w_fn(m, FN_F, 0));
	old = *pte;
	*pte = 0; /* cannot be: it is trapped; shows that nobody looks */
	fake_forget(w->vmm);
	expect_ok(w_enter(w, 0, m, FN_F));
	assert_true(w->vmm->pte_reads < 64);
	assert_in_range(w->vmm->calls[FAKE_GUEST_READ], 200, 300); /* bounded: the rest is next */
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	fake_forget(w->vmm);
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_F));
	assert_in_range(w->vmm->calls[FAKE_GUEST_READ], 1, 50); /* ... and then it is done */
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	w->cpu[0].cr3 = other;
	w_thread(w, 0, 0);
	w->cpu[0].cr3 = other;
	expect(w_enter(w, 0, m, FN_F), GUARD_V_BAD_MAPPING);
	*pte = old;
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_F));
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(altered_text),
		cmocka_unit_test(runtime_sites),
		cmocka_unit_test(static_call_retargeted),
		cmocka_unit_test(illegal_site_contents),
		cmocka_unit_test(load_time_choices),
		cmocka_unit_test(call_into_a_module),
		cmocka_unit_test(poke_in_progress),
		cmocka_unit_test(straddling_poke),
		cmocka_unit_test(kicked_for_verification),
		cmocka_unit_test(verified_on_every_raise),
		cmocka_unit_test(init_once),
		cmocka_unit_test(init_dropped),
		cmocka_unit_test(init_absent),
		cmocka_unit_test(init_gone_since),
		cmocka_unit_test(init_thread_dies),
		cmocka_unit_test(mapping_locked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
