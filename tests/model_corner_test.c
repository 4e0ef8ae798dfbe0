/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Places where two rules meet, and ends of ranges: what the other files' systematic tests cannot
 * reach with one standard situation.
 */
#include "tests/support/check.h"
#include "tests/support/conditions.h"

/* A page that is marked not present keeps its frame's address in the entry: no mapping at all. */
static void not_present(void **state)
{
	unsigned contiguous;

	(void)state;
	for (contiguous = 0; contiguous < 2; contiguous++) {
		struct std_options o = std_default();
		struct world *w;
		struct wmodule *m;
		unsigned i;

		o.contiguous = contiguous;
		w = w_simple(1, &o);
		m = &w->module[0];
		for (i = 0; i < SEG_PERCPU; i++) {
			const struct gm_segment *s = mb_record(m->manifest, MB_SEGMENTS, i);
			uint32_t p;

			for (p = 0; p < (s->size + GM_PAGE - 1) / GM_PAGE; p++) {
				uint64_t *pte = fake_pte(w->vmm, w->cr3, m->base[i] + p * GM_PAGE);

				*pte &= ~PTE_P;
				w_thread(w, 0, 0);
				expect(w_enter(w, 0, m, FN_F), GUARD_V_BAD_MAPPING);
				*pte |= PTE_P;
			}
		}
		w_thread(w, 0, 0);
		assert_true(w_honest(w, 0, m, FN_INIT));
		w_thread(w, 0, 0);
		assert_true(w_honest(w, 0, m, FN_F));
		/* freed init leaves a hole between two stretches that are still there */
		fake_unmap(w->vmm, w->cr3, w_seg(m, SEG_INIT, GM_PAGE));
		assert_true(w_honest(w, 0, m, FN_F));
		fake_unmap(w->vmm, w->cr3, w_seg(m, SEG_LATE, 0));
		expect(w_enter(w, 0, m, FN_F), GUARD_V_BAD_MAPPING);
		w_destroy(w);
	}
}

/* P8 without gates: the entry is judged as the parent's return, and goes on at f. */
static void views_tail_call_into_entry(void **state)
{
	unsigned kind;

	(void)state;
	for (kind = 0; kind < 6; kind++) {
		struct std_options o = std_default();
		struct world *w;
		struct wmodule *m, *other;
		enum guard_verdict want = GUARD_V_OK;
		uint64_t slot;

		o.views = true;
		w = w_simple(2, &o);
		m = &w->module[0];
		other = w_ready(w, &o);
		w->cpu[0].gpr[GUARD_RSP] = w_stack_top(0) - GM_PAGE + 0x800;
		expect_ok(w_enter(w, 0, m, FN_B4096));
		slot = w->cpu[0].gpr[GUARD_RSP];
		w_frame(w, 0, m, FN_B4096);
		expect_ok(w_callout(w, 0, m, FN_B4096, GATE_LEAVE));
		switch (kind) {
		case 1:
			w_set_word(w, 0, slot, W_KRET + 1);
			want = GUARD_V_BAD_RETURN;
			break;
		case 2:
			w->cpu[0].gpr[GUARD_R12]++;
			want = GUARD_V_BAD_RETURN;
			break;
		case 3: /* another module runs on the upper part of that stack */
			fake_map(w->vmm, w->cr3, w_stack_top(1) - GM_PAGE,
				 fake_walk(w->vmm, w->cr3, w_stack_top(0) - GM_PAGE).gpa,
				 PTE_P | PTE_W);
			w->cpu[1].gpr[GUARD_RSP] = w_stack_top(1) - GM_PAGE + 0x400;
			expect_ok(w_enter(w, 1, other, FN_G));
			want = GUARD_V_BAD_STACK;
			break;
		case 4:
			w->vmm->fail_op[FAKE_RAISE] = 1;
			want = GUARD_V_RAISE_FAILED;
			break;
		default: break;
		}
		expect(w_fetch(w, 0, w_fn(m, FN_G, 0)), want);
		expect_line(w, 0, GUARD_ENTER_CALL, want);
		assert_int_equal(w->d.line[0].act, want == GUARD_V_OK);
		if (want == GUARD_V_OK) {
			w_frame(w, 0, m, FN_G);
			expect_ok(w_callout(w, 0, m, FN_G, GATE_LEAVE));
			expect_ok(w_back(w, 0, m));
			w_unframe(w, 0, m, FN_G);
			w->cpu[0].rip = w_pop(w, 0);
			assert_int_equal(w->cpu[0].rip, w_fn(m, FN_B4096, FN_RET));
			expect_ok(w_exit(w, 0, m, FN_B4096));
			assert_int_equal(w->cpu[0].rip, W_KRET);
			assert_int_equal(w_info(w, m).suspended, 0);
		} else {
			expect_u(w, 0);
		}
		w_destroy(w);
	}
}

/* A tail jump to an entry that needs less headroom keeps the larger one. */
static void headroom_is_kept(void **state)
{
	static const struct {
		enum fn first, second;
	} order[] = { { FN_E, FN_G }, { FN_G, FN_E } };
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct world *w = w_simple(2, NULL);
		struct wmodule *m = &w->module[0];
		uint64_t page = w_stack_top(1) - GM_PAGE;

		fake_map(w->vmm, w->cr3, page,
			 fake_walk(w->vmm, w->cr3, w_stack_top(0) - GM_PAGE).gpa, PTE_P | PTE_W);
		w->cpu[0].gpr[GUARD_RSP] = w_stack_top(0) - 0x100;
		expect_ok(w_enter(w, 0, m, order[i].first));
		expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER + order[i].second)));
		w->cpu[1].gpr[GUARD_RSP] = page + GM_PAGE - 0x100 - 2 * GM_MIN_HEADROOM;
		expect(w_x(w, 1, w_gate_x(m, GATE_ENTER + FN_G)), GUARD_V_BAD_STACK);
		w->cpu[1].gpr[GUARD_RSP] -= 16;
		w_set_word(w, 1, w->cpu[1].gpr[GUARD_RSP], W_KRET);
		expect_ok(w_x(w, 1, w_gate_x(m, GATE_ENTER + FN_G)));
		w_destroy(w);
	}
}

/* A raise that fails, and then the word cannot be put back: the guest must not run on without. */
static void word_not_restored(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	w->vmm->fail_op[FAKE_RAISE] = 1;
	w->vmm->fail_op[FAKE_WRITE] = 2;
	expect(w_enter(w, 0, m, FN_F), GUARD_V_RAISE_FAILED);
	assert_true(w->d.stop_vcpu);
	expect_u(w, 0);
	assert_true(w_honest(w, 1, m, FN_F));
	w_destroy(w);
}

/* RSP at the ends of the address space, while inside. */
static void rsp_at_the_ends(void **state)
{
	static const uint64_t rsps[] = { ~7ull,
					 ~0xfull,
					 0xfffffffffffff000ull,
					 0,
					 8,
					 0xffff7ffffffffff8ull,
					 0xffff800000000000ull };
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	size_t i;

	(void)state;
	for (i = 0; i < 4 * sizeof(rsps) / sizeof(rsps[0]); i++) {
		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, FN_F));
		w->cpu[0].gpr[GUARD_RSP] = rsps[i / 4];
		if (i % 4 == 0) {
			w_x(w, 0, w_gate_x(m, GATE_LEAVE));
		} else if (i % 4 == 1) {
			w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN));
		} else if (i % 4 == 2) {
			w_depart(w, 0, GUARD_CAUSE_IRQ, 32);
		} else { /* at the leave-return gate's ret */
			w->cpu[0].rip = w_gate_x(m, GATE_LEAVE_RETURN) + 3;
			w_depart(w, 0, GUARD_CAUSE_IRQ, 32);
		}
		assert_int_not_equal(w->d.verdict, GUARD_V_OK);
		expect_u(w, 0);
		assert_int_equal(w_info(w, m).suspended, 0);
	}
	w_destroy(w);
}

/* A stack at the very bottom of the kernel half, and RSP below it. */
static void below_the_kernel_half(void **state)
{
	const uint64_t low = 0xffff800000000000ull;
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	unsigned i;

	(void)state;
	fake_map(w->vmm, w->cr3, low, fake_alloc(w->vmm, 1), PTE_P | PTE_W);
	for (i = 0; i < 3; i++) {
		w_thread(w, 0, 0);
		w->cpu[0].gpr[GUARD_RSP] = low + 0x400;
		expect_ok(w_enter(w, 0, m, FN_F));
		w_frame(w, 0, m, FN_F);
		w->cpu[0].gpr[GUARD_RSP] = low - 0x100;
		if (i == 0)
			expect(w_depart(w, 0, GUARD_CAUSE_IRQ, 32), GUARD_V_STACK_CHANGED);
		else if (i == 1)
			w_x(w, 0, w_gate_x(m, GATE_LEAVE));
		else
			w_fetch(w, 0, W_KERNEL);
		assert_int_not_equal(w->d.verdict, GUARD_V_OK);
		expect_u(w, 0);
	}
	w_destroy(w);
}

/* A large alloca over a page that is not mapped: nothing there leads home. */
static void hole_in_the_extent(void **state)
{
	unsigned exact;

	(void)state;
	for (exact = 0; exact < 2; exact++) {
		struct std_options o = std_default();
		struct world *w;
		struct wmodule *m;
		uint64_t hole = w_stack_top(0) - 3 * GM_PAGE;

		o.policy.stack = exact ? GUARD_STACK_EXACT : GUARD_STACK_RETURNS;
		w = w_simple(1, &o);
		m = &w->module[0];
		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, FN_F));
		w_frame(w, 0, m, FN_F);
		w->cpu[0].gpr[GUARD_RSP] = hole - 0x100;
		w->cpu[0].rip = w_fn(m, FN_F, FN_CALL);
		fake_unmap(w->vmm, w->cr3, hole);
		expect(w_depart(w, 0, GUARD_CAUSE_IRQ, 32),
		       exact ? GUARD_V_STACK_CHANGED : GUARD_V_OK);
		if (!exact) {
			assert_int_equal(w_info(w, m).suspended, 1);
			expect_ok(w_fetch(w, 0, w->cpu[0].rip));
			/* a page that comes in meanwhile belongs to nobody's extent */
			fake_map(w->vmm, w->cr3, hole, fake_alloc(w->vmm, 1), PTE_P | PTE_W);
			expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
			expect_ok(w_fetch(w, 0, w->cpu[0].rip));
		}
		w_destroy(w);
	}
}

/* Which exceptions may continue at a fixup. */
static void fixup_vectors(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	unsigned vector, warn;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_W));
	w_frame(w, 0, m, FN_W);
	for (warn = 0; warn < 2; warn++)
		for (vector = 0; vector < 256; vector++) {
			bool ok = warn ? vector == 6
				       : vector < 32 && vector != 1 && vector != 2 && vector != 3 &&
						  vector != 8 && vector != 18;

			w->cpu[0].rip = w_fn(m, FN_W, warn ? W_WARN : W_FAULT);
			expect_ok(w_depart(w, 0, GUARD_CAUSE_EXCEPTION, (uint8_t)vector));
			expect(w_fetch(w, 0, w_fn(m, FN_W, warn ? W_WARN + 2 : W_FIXUP)),
			       ok ? GUARD_V_OK : GUARD_V_NO_RECORD);
			if (!ok)
				expect_ok(w_fetch(w, 0, w_fn(m, FN_W, warn ? W_WARN : W_FAULT)));
		}
	w_destroy(w);
}

/* mapping=checked walks, whatever the VMM could say about locked tables. */
static void checked_is_checked(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	w->vmm->module[0].locked_cr3 = w->cr3;
	fake_unmap(w->vmm, w->cr3, w_fn(m, FN_F, 0));
	expect(w_enter(w, 0, m, FN_F), GUARD_V_BAD_MAPPING);
	w_destroy(w);
}

static void segments_in_reverse(void **state)
{
	struct std_options o = std_default();
	struct world *w;
	struct wmodule *m;

	(void)state;
	o.reversed = true;
	w = w_simple(1, &o);
	m = &w->module[0];
	assert_true(w_honest(w, 0, m, FN_INIT));
	assert_true(w_honest(w, 0, m, FN_F));
	expect(w_enter_from(w, 0, m, FN_F, w_fn(m, FN_F, FN_RET)), GUARD_V_BAD_RETURN);
	w_destroy(w);
}

/* N3 beside another departed chain: found by its own place and state, not by any. */
static void resumed_twice_beside_another(void **state)
{
	struct world *w = w_simple(3, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu at;

	(void)state;
	w_thread(w, 2, 2);
	expect_ok(w_enter(w, 2, m, FN_G));
	w_frame(w, 2, m, FN_G);
	expect_ok(w_depart(w, 2, GUARD_CAUSE_IRQ, 32));
	expect_ok(w_enter(w, 0, m, FN_G));
	w_frame(w, 0, m, FN_G);
	at = w->cpu[0];
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	expect_ok(w_fetch(w, 0, at.rip));
	w->cpu[1] = at;
	expect(w_fetch(w, 1, at.rip), GUARD_V_BAD_STACK);
	expect_u(w, 1);
	expect_ok(w_exit(w, 0, m, FN_G));
	w->cpu[1] = at;
	expect(w_fetch(w, 1, at.rip), GUARD_V_NO_RECORD);
	expect_ok(w_fetch(w, 2, w->cpu[2].rip));
	w_destroy(w);
}

/* A page of an extent that is not mapped is no frame, whatever address its entry still holds. */
static void hole_keeps_an_address(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t hole = w_stack_top(0) - 3 * GM_PAGE, page = w_stack_top(1) - GM_PAGE;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	w->cpu[0].gpr[GUARD_RSP] = hole - 0x100;
	w->cpu[0].rip = w_fn(m, FN_F, FN_CALL);
	*fake_pte(w->vmm, w->cr3, hole) &= ~PTE_P;
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	/* the frame is somebody else's stack now */
	fake_map(w->vmm, w->cr3, page, *fake_pte(w->vmm, w->cr3, hole) & PTE_ADDR, PTE_P | PTE_W);
	w_thread(w, 1, 1);
	expect_ok(w_enter(w, 1, m, FN_G));
	assert_int_equal(w_info(w, m).suspended, 1);
	expect_ok(w_fetch(w, 0, w->cpu[0].rip)); /* no overlap either */
	w_destroy(w);
}

/* A suspension ends what waits at the same addresses, not what runs there on other frames. */
static void same_addresses_elsewhere(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t other = fake_new_cr3(w->vmm, 0), i;

	(void)state;
	for (i = 0; i < SEG_PERCPU; i++) {
		const struct gm_segment *s = mb_record(m->manifest, MB_SEGMENTS, (uint32_t)i);
		uint32_t p;

		for (p = 0; p < (s->size + GM_PAGE - 1) / GM_PAGE; p++)
			fake_map(w->vmm, other, m->base[i] + p * GM_PAGE,
				 m->gpa[s->start / GM_PAGE + p], PTE_P | PTE_W);
	}
	for (i = 1; i <= 4; i++)
		fake_map(w->vmm, other, w_stack_top(0) - i * GM_PAGE, fake_alloc(w->vmm, 1),
			 PTE_P | PTE_W);
	w->cpu[1].cr3 = other;
	w->cpu[1].gpr[GUARD_RSP] = w->cpu[0].gpr[GUARD_RSP];
	expect_ok(w_enter(w, 1, m, FN_G));
	w_frame(w, 1, m, FN_G);
	/* two more, so that there is something to look for */
	w_thread(w, 0, 3);
	expect_ok(w_enter(w, 0, m, FN_G));
	w_frame(w, 0, m, FN_G);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_G));
	w_frame(w, 0, m, FN_G);
	expect_ok(w_callout(w, 0, m, FN_G, GATE_LEAVE));
	assert_int_equal(w_info(w, m).suspended, 2);
	w->cpu[0].gpr[GUARD_RSP] -= 0x400; /* another activation, in a place of its own */
	expect_ok(w_enter(w, 0, m, FN_F));
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	w->cpu[0].gpr[GUARD_RSP] += 8 + 0x400;
	expect_ok(w_exit(w, 1, m, FN_G));
	assert_int_equal(w->cpu[1].rip, W_KRET);
	expect_ok(w_back(w, 0, m));
	expect_ok(w_exit(w, 0, m, FN_G));
	w_destroy(w);
}

/* An abandoned departure dies by address as an abandoned call-out does. */
static void departed_and_abandoned(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu at;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_G));
	w_frame(w, 0, m, FN_G);
	at = w->cpu[0];
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	w_thread(w, 0, 0);
	w->cpu[0].gpr[GUARD_RSP] += 0x80;
	expect_ok(w_enter(w, 0, m, FN_B512));
	w_frame(w, 0, m, FN_B512);
	expect_ok(w_callout(w, 0, m, FN_B512, GATE_LEAVE));
	assert_int_equal(w_info(w, m).suspended, 1);
	w->cpu[0] = at;
	expect(w_fetch(w, 0, at.rip), GUARD_V_NO_RECORD);
	w_destroy(w);
}

/* A refused way out is no way back: under scrub nothing of the module's is left, else all is. */
static void registers_of_a_refused_exit(void **state)
{
	unsigned scrub, i;

	(void)state;
	for (scrub = 0; scrub < 2; scrub++) {
		struct std_options o = std_default();
		struct guard_cpu before;
		struct world *w;
		struct wmodule *m;

		o.policy.registers = scrub ? GUARD_REGS_SCRUB : GUARD_REGS_VERIFY;
		w = w_simple(1, &o);
		m = &w->module[0];
		expect_ok(w_enter(w, 0, m, FN_F));
		w->cpu[0].gpr[GUARD_RSP] -= 8;
		before = w->cpu[0];
		expect(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)), GUARD_V_NO_RECORD);
		for (i = 0; i < GUARD_GPRS; i++)
			assert_int_equal(w->cpu[0].gpr[i],
					 scrub && i != GUARD_RSP ? 0 : before.gpr[i]);
		/* the administrator's calls carry no registers */
		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, FN_F));
		memset(&w->d, 0x77, sizeof(w->d));
		w->vmm->fail_op[FAKE_RAISE] = 1;
		expect(guard_grant(w->guard, 0, m->index, 1, false, &w->d), GUARD_V_RAISE_FAILED);
		assert_int_equal(w->d.cpu.gpr[GUARD_RAX], 0x7777777777777777ull);
		w_destroy(w);
	}
}

/* exact copies just the extent: no byte more is read. */
static void exact_reads_no_more(void **state)
{
	struct std_options o = std_default();
	struct world *w;
	struct wmodule *m;
	size_t i;

	(void)state;
	o.policy.stack = GUARD_STACK_EXACT;
	w = w_simple(1, &o);
	m = &w->module[0];
	expect_ok(w_enter(w, 0, m, FN_G));
	w_frame(w, 0, m, FN_G);
	fake_forget(w->vmm);
	expect_ok(w_callout(w, 0, m, FN_G, GATE_LEAVE));
	expect_ok(w_back(w, 0, m));
	for (i = 0; i < w->vmm->njournal; i++)
		if (w->vmm->journal[i].op == FAKE_READ)
			assert_in_range(w->vmm->journal[i].arg, 1, 0x30);
	w_destroy(w);
}

/* A privileged vCPU never seeks RESUME, whatever stands at that place. */
static void no_resume_from_inside(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	w_push(w, 0, w_fn(m, FN_F, FN_RET));
	w->cpu[0].rip = w_gate_x(m, GATE_LEAVE);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	w_thread(w, 1, 1);
	expect_ok(w_enter(w, 1, m, FN_F));
	w->cpu[1] = w->cpu[0];
	w_x(w, 1, w_gate_x(m, GATE_LEAVE));
	expect_lines(w, 1);
	expect_line(w, 0, GUARD_LEAVE_CALL, w->d.verdict);
	assert_int_not_equal(w->d.verdict, GUARD_V_OK);
	expect_u(w, 1);
	w_destroy(w);
}

/* An inside call at a slot above the running activation's own is none. */
static void inside_call_above(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_enter_from(w, 0, m, FN_G, w_fn(m, FN_F, FN_RET)));
	w->cpu[0].gpr[GUARD_RSP] += 8;
	w_set_word(w, 0, w->cpu[0].gpr[GUARD_RSP], w_fn(m, FN_F, FN_RET));
	expect(w_x(w, 0, w_gate_x(m, GATE_ENTER + FN_E)), GUARD_V_BAD_STACK);
	expect_view(w, 0, m);
	w_destroy(w);
}

/* A chain of one that was dropped at full depth starts anew. */
static void depth_starts_anew(void **state)
{
	struct std_options o = std_default();
	struct world *w;
	struct wmodule *m;
	unsigned i;

	(void)state;
	o.policy.chains = 1;
	w = w_simple(1, &o);
	m = &w->module[0];
	expect_ok(w_enter(w, 0, m, FN_G));
	for (i = 1; i < GUARD_MAX_NEST; i++) {
		w_frame(w, 0, m, FN_G);
		expect_ok(w_enter_from(w, 0, m, FN_G, w_fn(m, FN_G, FN_RET)));
	}
	w->cpu[0].gpr[GUARD_RSP] -= 8;
	expect(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)), GUARD_V_NO_RECORD);
	w_thread(w, 0, 0);
	assert_true(w_honest(w, 0, m, FN_G));
	w_destroy(w);
}

/* Extents reach up to the outermost slot: for an inside call, and on the way back. */
static void overlap_above(void **state)
{
	unsigned back;

	(void)state;
	for (back = 0; back < 2; back++) {
		struct std_options o = std_default();
		struct world *w = w_simple(2, NULL);
		struct wmodule *m = &w->module[0], *other = w_ready(w, &o);
		uint64_t page = w_stack_top(1) - GM_PAGE;

		fake_map(w->vmm, w->cr3, page,
			 fake_walk(w->vmm, w->cr3, w_stack_top(0) - GM_PAGE).gpa, PTE_P | PTE_W);
		w->cpu[0].gpr[GUARD_RSP] = w_stack_top(0) - 0x100;
		w->cpu[1].gpr[GUARD_RSP] = page + GM_PAGE - 0x100;
		expect_ok(w_enter(w, 0, m, FN_B4096));
		w_frame(w, 0, m, FN_B4096);
		if (back) {
			expect_ok(w_callout(w, 0, m, FN_B4096, GATE_LEAVE));
			expect_ok(w_enter_from(w, 1, other, FN_G, W_KRET));
			expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_BAD_STACK);
		} else {
			expect_ok(w_enter_from(w, 0, m, FN_G, w_fn(m, FN_B4096, FN_RET)));
			expect(w_enter_from(w, 1, other, FN_G, W_KRET), GUARD_V_BAD_STACK);
		}
		w_destroy(w);
	}
}

/* Headroom on the way back: the entry's own, and always the least there may be. */
static void headroom_on_return(void **state)
{
	unsigned deep;

	(void)state;
	for (deep = 0; deep < 2; deep++) {
		struct world *w = w_simple(1, NULL);
		struct wmodule *m = &w->module[0];
		enum fn fn = deep ? FN_B4096 : FN_E;
		uint64_t page, out;

		w->cpu[0].gpr[GUARD_RSP] = w_stack_top(0) - GM_PAGE + (deep ? 0x200 : 0x300);
		expect_ok(w_enter(w, 0, m, fn));
		w_frame(w, 0, m, fn);
		expect_ok(w_callout(w, 0, m, fn, GATE_LEAVE));
		out = w->cpu[0].gpr[GUARD_RSP];
		page = (out & ~0xfffull) - GM_PAGE;
		fake_unmap(w->vmm, w->cr3, page);
		/* deep: 512 bytes below the slot; else 1024 below the activation's own */
		assert_true((out & 0xfff) < GM_MIN_HEADROOM || !deep);
		expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_BAD_STACK);
		w_destroy(w);
	}
}

/* exact over several pages, and with a read that fails when the last comparison still stands. */
static void exact_and_deep(void **state)
{
	struct std_options o = std_default();
	struct guard_cpu out;
	struct world *w;
	struct wmodule *m;
	unsigned n;

	(void)state;
	o.policy.stack = GUARD_STACK_EXACT;
	w = w_simple(1, &o);
	m = &w->module[0];
	w->cpu[0].gpr[GUARD_RSP] = w_stack_top(0) - 0x100;
	expect_ok(w_enter(w, 0, m, FN_B4096));
	w_frame(w, 0, m, FN_B4096);
	w_inner(w, 0, m, FN_B4096, FN_B4096);
	expect_ok(w_callout(w, 0, m, FN_B4096, GATE_LEAVE));
	expect_ok(w_back(w, 0, m));
	expect_ok(w_callout(w, 0, m, FN_B4096, GATE_LEAVE));
	out = w->cpu[0];
	for (n = 1; n < 100; n++) {
		w->cpu[0] = out;
		fake_forget(w->vmm);
		w->vmm->fail_op[FAKE_READ] = n;
		w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN));
		if (!w->vmm->failed)
			break;
		assert_int_equal(w->d.verdict, GUARD_V_STACK_CHANGED);
	}
	assert_true(n > 3);
	expect_ok(w->d.verdict);
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(not_present),
		cmocka_unit_test(views_tail_call_into_entry),
		cmocka_unit_test(headroom_is_kept),
		cmocka_unit_test(word_not_restored),
		cmocka_unit_test(rsp_at_the_ends),
		cmocka_unit_test(below_the_kernel_half),
		cmocka_unit_test(hole_in_the_extent),
		cmocka_unit_test(fixup_vectors),
		cmocka_unit_test(checked_is_checked),
		cmocka_unit_test(segments_in_reverse),
		cmocka_unit_test(resumed_twice_beside_another),
		cmocka_unit_test(hole_keeps_an_address),
		cmocka_unit_test(same_addresses_elsewhere),
		cmocka_unit_test(departed_and_abandoned),
		cmocka_unit_test(registers_of_a_refused_exit),
		cmocka_unit_test(exact_reads_no_more),
		cmocka_unit_test(no_resume_from_inside),
		cmocka_unit_test(inside_call_above),
		cmocka_unit_test(depth_starts_anew),
		cmocka_unit_test(overlap_above),
		cmocka_unit_test(headroom_on_return),
		cmocka_unit_test(exact_and_deep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
