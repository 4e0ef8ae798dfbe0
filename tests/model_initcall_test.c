/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Init code beside init itself, whose address the kernel was given: accepted while init's own
 * activation lives and at no other time, and never from memory that is no longer init's.
 */
#include "tests/support/check.h"

/* vCPU 0, thread 0: init is in a call-out. */
static void init_calls_out(struct world *w, struct wmodule *m)
{
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_INIT));
	w_frame(w, 0, m, FN_INIT);
	expect_ok(w_callout(w, 0, m, FN_INIT, GATE_LEAVE));
}

static void init_returns(struct world *w, struct wmodule *m)
{
	expect_ok(w_back(w, 0, m));
	expect_ok(w_exit(w, 0, m, FN_INIT));
}

static enum guard_role init_role(struct world *w, const struct wmodule *m)
{
	const struct gm_segment *s = mb_record(m->manifest, MB_SEGMENTS, SEG_INIT);

	return w->vmm->frame[m->gpa[s->start / GM_PAGE] / GM_PAGE].role;
}

/* A fresh thread's call of the other init code is refused, and changes nothing. */
static void closed(struct world *w, unsigned v, unsigned thread, struct wmodule *m)
{
	struct guard_cpu before = w->cpu[v];

	w_thread(w, v, thread);
	expect(w_enter(w, v, m, FN_ICALL), GUARD_V_UNANNOUNCED);
	expect_u(w, v);
	w->cpu[v] = before;
}

/* A notifier's callback that init registers, called at once, from init's own call-out. */
static void called_during_init(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu out;

	(void)state;
	closed(w, 0, 0, m);
	init_calls_out(w, m);
	out = w->cpu[0];
	assert_true(w_honest(w, 0, m, FN_ICALL));
	assert_true(w_honest(w, 0, m, FN_ICALL)); /* as often as the kernel likes */
	w->cpu[0] = out;
	/* P8: tail-called from the call-out */
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER + FN_ICALL)));
	w_frame(w, 0, m, FN_ICALL);
	expect_ok(w_exit(w, 0, m, FN_ICALL));
	w->cpu[0] = out;
	/* on another vCPU, also while init itself runs */
	w_thread(w, 1, 1);
	assert_true(w_honest(w, 1, m, FN_ICALL));
	expect_ok(w_back(w, 0, m));
	w_thread(w, 1, 1);
	assert_true(w_honest(w, 1, m, FN_ICALL));
	expect_ok(w_exit(w, 0, m, FN_INIT));
	closed(w, 0, 0, m);
	closed(w, 1, 1, m);
	w_thread(w, 0, 0);
	assert_true(w_honest(w, 0, m, FN_F));
	w_destroy(w);
}

/* E15: a pointer of the module's that was redirected to that gate, and a chain of init's too. */
static void never_from_inside(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];
	unsigned i;

	(void)state;
	init_calls_out(w, m);
	w_thread(w, 1, 1);
	expect_ok(w_enter(w, 1, m, FN_F));
	w_frame(w, 1, m, FN_F);
	expect(w_enter_from(w, 1, m, FN_ICALL, w_fn(m, FN_F, FN_RET)), GUARD_V_UNANNOUNCED);
	expect_view(w, 1, m);
	w->cpu[1].gpr[GUARD_RSP] += 8;
	expect_ok(w_exit(w, 1, m, FN_F));
	expect_ok(w_back(w, 0, m));
	for (i = 0; i < 2; i++) { /* as a call, and in place of init's own return */
		uint64_t rsp = w->cpu[0].gpr[GUARD_RSP];

		if (i)
			w_unframe(w, 0, m, FN_INIT);
		else
			w_push(w, 0, w_fn(m, FN_INIT, FN_RET));
		expect(w_x(w, 0, w_gate_x(m, GATE_ENTER + FN_ICALL)), GUARD_V_UNANNOUNCED);
		expect_view(w, 0, m);
		w->cpu[0].gpr[GUARD_RSP] = rsp;
	}
	expect_ok(w_exit(w, 0, m, FN_INIT));
	w_destroy(w);
}

/*
 * I18: init returns while the other code is suspended, and the kernel frees and reuses the memory
 * under it. No way back may lead there, and its frames stay the guard's until nothing could.
 */
static void outlives_init(void **state)
{
	unsigned how;

	(void)state;
	for (how = 0; how < 4; how++) {
		struct world *w = w_simple(2, NULL);
		struct wmodule *m = &w->module[0];
		uint64_t *pte = fake_pte(w->vmm, w->cr3, w_seg(m, SEG_INIT, 0)), old = *pte;
		bool departs = how & 1;

		init_calls_out(w, m);
		w_thread(w, 1, 1);
		expect_ok(w_enter(w, 1, m, FN_ICALL));
		w_frame(w, 1, m, FN_ICALL);
		if (departs)
			expect_ok(w_depart(w, 1, GUARD_CAUSE_IRQ, 32));
		else
			expect_ok(w_callout(w, 1, m, FN_ICALL, GATE_LEAVE));
		if (how & 2) { /* init does not return: its thread is dead, its stack used again */
			w_thread(w, 0, 0);
			assert_true(w_honest(w, 0, m, FN_G));
		} else {
			init_returns(w, m);
		}
		closed(w, 0, 2, m); /* what outlives init does not keep the door open */
		*pte = (old & 0xfff) | 0x30000;
		expect(departs ? w_fetch(w, 1, w->cpu[1].rip)
			       : w_x(w, 1, w_gate_x(m, GATE_ENTER_RETURN)),
		       GUARD_V_BAD_MAPPING);
		expect_u(w, 1);
		assert_int_equal(init_role(w, m), GUARD_ROLE_VERIFIED);
		w_thread(w, 0, 0);
		expect(w_enter(w, 0, m, FN_F), GUARD_V_BAD_MAPPING);
		assert_int_equal(init_role(w, m), GUARD_ROLE_VERIFIED);
		*pte = old;
		if (departs)
			expect_ok(w_fetch(w, 1, w->cpu[1].rip));
		else
			expect_ok(w_back(w, 1, m));
		*pte = 0;
		expect_ok(w_exit(w, 1, m, FN_ICALL)); /* a way out asks for nothing */
		w_thread(w, 0, 0);
		assert_true(w_honest(w, 0, m, FN_F));
		assert_int_equal(init_role(w, m), GUARD_ROLE_NONE);
		closed(w, 0, 0, m);
		w_destroy(w);
	}
}

/* Its entry kills the very init whose life opened the gate: it counts all the same. */
static void enters_on_inits_stack(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t *pte = fake_pte(w->vmm, w->cr3, w_seg(m, SEG_INIT, 0)), old = *pte;
	struct guard_cpu in;

	(void)state;
	init_calls_out(w, m);
	w_thread(w, 0, 0); /* the slot is init's own: nobody returns to it */
	expect_ok(w_enter(w, 0, m, FN_ICALL));
	assert_int_equal(w_info(w, m).suspended, 0);
	in = w->cpu[0];
	closed(w, 1, 1, m);
	*pte = 0;
	w_thread(w, 1, 1);
	expect(w_enter(w, 1, m, FN_F), GUARD_V_BAD_MAPPING);
	assert_int_equal(init_role(w, m), GUARD_ROLE_VERIFIED);
	*pte = old;
	w->cpu[0] = in;
	w_frame(w, 0, m, FN_ICALL);
	expect_ok(w_callout(w, 0, m, FN_ICALL, GATE_LEAVE));
	expect_ok(w_back(w, 0, m));
	expect_ok(w_exit(w, 0, m, FN_ICALL));
	*pte = 0;
	w_thread(w, 1, 1);
	assert_true(w_honest(w, 1, m, FN_F));
	assert_int_equal(init_role(w, m), GUARD_ROLE_NONE);
	w_destroy(w);
}

/* WITHDRAW ends all of it, and the next announcement starts from nothing. */
static void next_announcement(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	init_calls_out(w, m);
	w_thread(w, 1, 1);
	expect_ok(w_enter(w, 1, m, FN_ICALL));
	w_frame(w, 1, m, FN_ICALL);
	expect_ok(w_callout(w, 1, m, FN_ICALL, GATE_LEAVE));
	expect_ok(w_withdraw(w, 1, m));
	closed(w, 1, 1, m);
	expect_ok(w_announce(w, 1, m));
	closed(w, 1, 1, m);
	init_calls_out(w, m);
	w_thread(w, 1, 1);
	assert_true(w_honest(w, 1, m, FN_ICALL));
	init_returns(w, m);
	closed(w, 1, 1, m);
	fake_unmap(w->vmm, w->cr3, w_seg(m, SEG_INIT, 0));
	w_thread(w, 1, 1);
	assert_true(w_honest(w, 1, m, FN_F));
	assert_int_equal(init_role(w, m), GUARD_ROLE_NONE);
	w_destroy(w);
}

/* The init function need not lie in init memory; what does may be gone before it is called. */
static void init_lies_elsewhere(void **state)
{
	unsigned gone;

	(void)state;
	for (gone = 0; gone < 2; gone++) {
		struct std_options o = std_default();
		struct world *w = w_create(1);
		struct wmodule *m;
		struct gm_entry *e;
		size_t len;
		void *manifest = std_manifest(&o, &len);

		e = mb_record(manifest, MB_ENTRIES, FN_G);
		e->flags = GM_ENTRY_INIT;
		e = mb_record(manifest, MB_ENTRIES, FN_INIT);
		e->flags = GM_ENTRY_INIT_CALL | GM_ENTRY_EXIT;
		m = w_add_manifest(w, &o, manifest, len);
		for (unsigned i = SEG_INIT; gone && i <= SEG_INIT_DATA; i++)
			m->base[i] = 0;
		expect_ok(w_announce(w, 0, m));
		expect_ok(w_enter(w, 0, m, FN_G));
		w_frame(w, 0, m, FN_G);
		expect_ok(w_callout(w, 0, m, FN_G, GATE_LEAVE));
		if (gone)
			expect(w_enter(w, 0, m, FN_INIT), GUARD_V_UNANNOUNCED);
		else
			assert_true(w_honest(w, 0, m, FN_INIT));
		w_destroy(w);
	}
}

/* Init code in a module that has no init function: nobody may call it, and it need not stay. */
static void nobodys_init(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *m;
	size_t len;
	void *manifest = std_manifest(&o, &len);

	(void)state;
	((struct gm_entry *)mb_record(manifest, MB_ENTRIES, FN_INIT))->flags = GM_ENTRY_INIT_CALL;
	m = w_add_manifest(w, &o, manifest, len);
	expect_ok(w_announce(w, 0, m));
	closed(w, 0, 0, m);
	fake_unmap(w->vmm, w->cr3, w_seg(m, SEG_INIT, 0));
	w_thread(w, 0, 0);
	assert_true(w_honest(w, 0, m, FN_F));
	assert_int_equal(init_role(w, m), GUARD_ROLE_NONE);
	w_destroy(w);
}

/* Without gates, a tail call from a call-out is that call-out's return: only init's own goes on. */
static void tail_called_without_gates(void **state)
{
	struct std_options o = std_default();
	struct world *w;
	struct wmodule *m;
	struct guard_cpu out;

	(void)state;
	o.views = true;
	w = w_simple(2, &o);
	m = &w->module[0];
	w_thread(w, 1, 1);
	expect_ok(w_enter(w, 1, m, FN_G));
	w_frame(w, 1, m, FN_G);
	expect_ok(w_callout(w, 1, m, FN_G, GATE_LEAVE));
	out = w->cpu[1];
	expect(w_fetch(w, 1, w_fn(m, FN_ICALL, 0)), GUARD_V_UNANNOUNCED);
	expect(w_fetch(w, 1, w_fn(m, FN_INIT, 0)), GUARD_V_BAD_RETURN);
	expect_u(w, 1);
	init_calls_out(w, m); /* nothing was used up */
	expect(w_fetch(w, 1, w_fn(m, FN_ICALL, 0)), GUARD_V_BAD_RETURN);
	expect_u(w, 1);
	expect_ok(w_fetch(w, 0, w_fn(m, FN_ICALL, 0)));
	assert_int_equal(w->cpu[0].rip, w_fn(m, FN_ICALL, 0));
	w_frame(w, 0, m, FN_ICALL);
	w_unframe(w, 0, m, FN_ICALL);
	assert_int_equal(w_pop(w, 0), w_fn(m, FN_INIT, FN_RET));
	expect_ok(w_exit(w, 0, m, FN_INIT));
	w->cpu[1] = out;
	expect_ok(w_back(w, 1, m));
	expect_ok(w_exit(w, 1, m, FN_G));
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(called_during_init), cmocka_unit_test(never_from_inside),
		cmocka_unit_test(outlives_init),      cmocka_unit_test(enters_on_inits_stack),
		cmocka_unit_test(next_announcement),  cmocka_unit_test(init_lies_elsewhere),
		cmocka_unit_test(nobodys_init),	      cmocka_unit_test(tail_called_without_gates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
