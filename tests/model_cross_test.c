/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The four crossings at their gates: what each does to the slot, to registers and to the view when
 * guest and module play by the rules, and what it does when one of the two does not.
 */
#include "tests/support/check.h"

static const unsigned leave_gates[] = { GATE_LEAVE + IMP_C, GATE_LEAVE + IMP_ASM,
					GATE_LEAVE + IMP_NONE, GATE_LEAVE_RAX, GATE_LEAVE_R11 };
#define LEAVE_GATES (sizeof(leave_gates) / sizeof(leave_gates[0]))

static void expect_gprs(const struct world *w, unsigned v, const struct guard_cpu *before)
{
	unsigned i;

	for (i = 0; i < GUARD_GPRS; i++)
		if (w->cpu[v].gpr[i] != before->gpr[i])
			fail_msg("GPR %u changed", i);
	assert_int_equal(w->cpu[v].rflags, before->rflags);
}

/* C0: does every step of an honest visit do just what the contract says, and nothing else? */
static void honest_visit(void **state)
{
	static const enum fn fns[] = { FN_F, FN_G, FN_D, FN_E, FN_B64, FN_B512, FN_B4096, FN_EXIT };
	unsigned i, k, x;

	(void)state;
	for (x = 0; x < GM_X_KINDS; x++) {
		struct std_options o = std_default();
		struct world *w;
		struct wmodule *m;

		o.x_kind = x;
		w = w_simple(1, &o);
		m = &w->module[0];
		for (i = 0; i < sizeof(fns) / sizeof(fns[0]); i++)
			for (k = 0; k < LEAVE_GATES; k++) {
				struct guard_cpu start = w->cpu[0], before;
				uint64_t slot, out;

				expect_ok(w_enter(w, 0, m, fns[i]));
				expect_line(w, 0, GUARD_ENTER_CALL, GUARD_V_OK);
				expect_lines(w, 1);
				expect_gprs(w, 0, &w->ev.cpu);
				slot = w->cpu[0].gpr[GUARD_RSP];
				assert_int_equal(w->cpu[0].rip, w_fn(m, fns[i], 0));
				assert_int_equal(w_word(w, 0, slot), w_gate(m, GATE_LEAVE_RETURN));
				assert_int_equal(w->vmm->vcpu[0].privileges, ALL_PRIVILEGES);
				expect_view(w, 0, m);

				w_frame(w, 0, m, fns[i]);
				before = w->cpu[0];
				expect_ok(w_callout(w, 0, m, fns[i], leave_gates[k]));
				expect_line(w, 0, GUARD_LEAVE_CALL, GUARD_V_OK);
				expect_gprs(w, 0, &w->ev.cpu);
				out = w->cpu[0].gpr[GUARD_RSP];
				assert_int_equal(out, before.gpr[GUARD_RSP] - 8);
				assert_int_equal(w->cpu[0].rip, w_gate_x(m, leave_gates[k]) + 3);
				assert_int_equal(w_word(w, 0, out), w_gate(m, GATE_ENTER_RETURN));
				assert_int_equal(w_info(w, m).suspended, 1);
				expect_u(w, 0);

				if (k == 0)
					expect_ok(w_back(w, 0, m));
				else
					expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)));
				expect_line(w, 0, GUARD_ENTER_RETURN, GUARD_V_OK);
				assert_int_equal(w->cpu[0].rip, w_fn(m, fns[i], FN_RET));
				assert_int_equal(w->cpu[0].gpr[GUARD_RSP], out + 8);
				expect_view(w, 0, m);
				w->cpu[0].gpr[GUARD_RBP] = before.gpr[GUARD_RBP];

				w_unframe(w, 0, m, fns[i]);
				w->cpu[0].gpr[GUARD_RSP] = slot;
				expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
				expect_line(w, 0, GUARD_LEAVE_RETURN, GUARD_V_OK);
				expect_gprs(w, 0, &w->ev.cpu);
				assert_int_equal(w_word(w, 0, slot), W_KRET);
				assert_int_equal(w->cpu[0].rip, w_gate_x(m, GATE_LEAVE_RETURN) + 3);
				expect_u(w, 0);
				assert_int_equal(w_info(w, m).suspended, 0);
				w->cpu[0] = start;
				assert_true(w_honest(w, 0, m, fns[i]));
			}
		w_destroy(w);
	}
}

/* The log line tells the exchange and the activation's serial. */
static void log_lines(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	const struct guard_line *l = &w->d.line[0];
	uint64_t slot;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_G));
	slot = w->cpu[0].gpr[GUARD_RSP];
	assert_int_equal(l->cause, GUARD_CAUSE_X);
	assert_int_equal(l->module, m->index);
	assert_int_equal(l->from, GUARD_VIEW_U);
	assert_int_equal(l->to, m->index);
	assert_int_equal(l->act, 1);
	assert_int_equal(l->rip, w_gate_x(m, GATE_ENTER + FN_G));
	assert_int_equal(l->slot, slot);
	assert_int_equal(l->old_word, W_KRET);
	assert_int_equal(l->new_word, w_gate(m, GATE_LEAVE_RETURN));
	w_frame(w, 0, m, FN_G);
	expect_ok(w_callout(w, 0, m, FN_G, GATE_LEAVE));
	assert_int_equal(l->from, m->index);
	assert_int_equal(l->to, GUARD_VIEW_U);
	assert_int_equal(l->act, 1);
	assert_int_equal(l->old_word, w_fn(m, FN_G, FN_RET));
	assert_int_equal(l->new_word, w_gate(m, GATE_ENTER_RETURN));
	assert_int_equal(l->slot, w->cpu[0].gpr[GUARD_RSP]);
	expect_ok(w_enter(w, 0, m, FN_F));
	assert_int_equal(l->act, 2);
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	assert_int_equal(l->act, 2);
	assert_int_equal(l->slot, w->cpu[0].gpr[GUARD_RSP]);
	assert_int_equal(l->new_word, W_KRET);
	w->cpu[0].gpr[GUARD_RSP] += 8;
	expect_ok(w_back(w, 0, m));
	assert_int_equal(l->act, 1);
	assert_int_equal(l->slot, w->cpu[0].gpr[GUARD_RSP] - 8);
	assert_int_equal(l->to, m->index);
	expect_ok(w_exit(w, 0, m, FN_G));
	assert_int_equal(l->act, 1);
	w_destroy(w);
}

/* P2: a tail call ends the entry: one crossing, no return, whatever the word at the slot says. */
static void tail_call_ends_entry(void **state)
{
	unsigned k;

	(void)state;
	for (k = 0; k < LEAVE_GATES; k++) {
		struct world *w = w_simple(1, NULL);
		struct wmodule *m = &w->module[0];
		uint64_t slot;

		expect_ok(w_enter(w, 0, m, FN_F));
		slot = w->cpu[0].gpr[GUARD_RSP];
		if (k & 1)
			w_set_word(w, 0, slot, 0xdead);
		expect_ok(w_x(w, 0, w_gate_x(m, leave_gates[k])));
		expect_line(w, 0, GUARD_LEAVE_CALL, GUARD_V_OK);
		expect_u(w, 0);
		assert_int_equal(w->cpu[0].rip, w_gate_x(m, leave_gates[k]) + 3);
		assert_int_equal(w->cpu[0].gpr[GUARD_RSP], slot);
		assert_int_equal(w_word(w, 0, slot), W_KRET);
		assert_int_equal(w_info(w, m).suspended, 0);
		expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_NO_RECORD);
		w_destroy(w);
	}
}

/* P3: eight arguments, on the way in and on the way out, stay where they are. */
static void stack_arguments(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t args_in, args_out, i;

	(void)state;
	for (i = 0; i < 8; i++)
		w_push(w, 0, 0xa000 + i);
	args_in = w->cpu[0].gpr[GUARD_RSP];
	expect_ok(w_enter(w, 0, m, FN_F));
	assert_int_equal(w->cpu[0].gpr[GUARD_RSP], args_in - 8);
	w_frame(w, 0, m, FN_F);
	for (i = 0; i < 4; i++) /* RBP-based: pushes move no CFA */
		w_push(w, 0, 0xb000 + i);
	args_out = w->cpu[0].gpr[GUARD_RSP];
	expect_ok(w_callout(w, 0, m, FN_F, GATE_LEAVE));
	for (i = 0; i < 4; i++) {
		assert_int_equal(w_word(w, 0, args_out + 8 * i), 0xb003 - i);
		w_set_word(w, 0, args_out + 8 * i, 0); /* the callee owns them */
	}
	expect_ok(w_back(w, 0, m));
	expect_ok(w_exit(w, 0, m, FN_F));
	for (i = 0; i < 8; i++)
		assert_int_equal(w_word(w, 0, args_in + 8 * i), 0xa007 - i);
	w_destroy(w);
}

/* C3: inside to inside through a gate: no raise, no lower, and back to privileged. */
static void inside_to_inside(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t slot;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	fake_forget(w->vmm);
	expect_ok(w_enter_from(w, 0, m, FN_G, w_fn(m, FN_F, FN_RET)));
	slot = w->cpu[0].gpr[GUARD_RSP];
	assert_int_equal(w->vmm->calls[FAKE_LOWER] + w->vmm->calls[FAKE_RAISE], 0);
	assert_int_equal(w->cpu[0].rip, w_fn(m, FN_G, 0));
	assert_int_equal(w_word(w, 0, slot), w_gate(m, GATE_LEAVE_RETURN));
	assert_int_equal(w->d.line[0].act, 2);
	w_frame(w, 0, m, FN_G);
	expect_ok(w_callout(w, 0, m, FN_G, GATE_LEAVE));
	expect_u(w, 0);
	expect_ok(w_back(w, 0, m));
	assert_int_equal(w->cpu[0].rip, w_fn(m, FN_G, FN_RET));
	expect_ok(w_exit(w, 0, m, FN_G));
	expect_view(w, 0, m);
	assert_int_equal(w->cpu[0].rip, w_fn(m, FN_F, FN_RET));
	assert_int_equal(w->cpu[0].gpr[GUARD_RSP], slot + 8);
	expect_ok(w_exit(w, 0, m, FN_F));
	expect_u(w, 0);
	assert_int_equal(w->cpu[0].rip, W_KRET);
	w_destroy(w);
}

/* A privileged entry is refused for any word but a return site, and stays where it is. */
static void inside_with_bad_word(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	const uint64_t words[] = { W_KRET,
				   0,
				   w_fn(m, FN_F, 0),
				   w_fn(m, FN_F, FN_RET) - 1,
				   w_fn(m, FN_F, FN_RET) + 1,
				   w_gate(m, GATE_ENTER_RETURN),
				   w_gate(m, GATE_LEAVE_RETURN),
				   w_seg(m, SEG_DATA, 0) };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, FN_F));
		w_frame(w, 0, m, FN_F);
		expect(w_enter_from(w, 0, m, FN_G, words[i]), GUARD_V_BAD_RETURN);
		assert_true(w->d.inject_gp);
		expect_view(w, 0, m);
		assert_int_equal(w->vmm->vcpu[0].view, m->index);
		w->cpu[0].gpr[GUARD_RSP] += 8;
		expect_ok(w_exit(w, 0, m, FN_F));
		expect_u(w, 0);
	}
	w_destroy(w);
}

/* A tail jump from entry to entry: no record of its own, one way home. */
static void tail_jump_inside(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t slot;
	uint32_t act;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	slot = w->cpu[0].gpr[GUARD_RSP];
	act = w->d.line[0].act;
	fake_forget(w->vmm);
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER + FN_G)));
	assert_int_equal(w->vmm->calls[FAKE_WRITE], 0);
	assert_int_equal(w->d.line[0].slot, 0);
	expect_line(w, 0, GUARD_ENTER_CALL, GUARD_V_OK);
	assert_int_equal(w->d.line[0].act, act);
	assert_int_equal(w->cpu[0].rip, w_fn(m, FN_G, 0));
	assert_int_equal(w_word(w, 0, slot), w_gate(m, GATE_LEAVE_RETURN));
	w_frame(w, 0, m, FN_G);
	expect_ok(w_callout(w, 0, m, FN_G, GATE_LEAVE));
	expect_ok(w_back(w, 0, m));
	expect_ok(w_exit(w, 0, m, FN_G));
	expect_u(w, 0);
	assert_int_equal(w->cpu[0].rip, W_KRET);
	w_destroy(w);
}

/* A nested child that ends in a tail call out: its parent is the one that waits. */
static void child_tail_call(void **state)
{
	static const unsigned depths[] = { 1, 2, 3 };
	size_t i;

	(void)state;
	for (i = 0; i < 3; i++) {
		struct world *w = w_simple(1, NULL);
		struct wmodule *m = &w->module[0];
		uint64_t slot = 0;
		unsigned d;

		expect_ok(w_enter(w, 0, m, FN_F));
		w_frame(w, 0, m, FN_F);
		for (d = 0; d < depths[i]; d++) {
			expect_ok(w_enter_from(w, 0, m, FN_G, w_fn(m, d ? FN_G : FN_F, FN_RET)));
			slot = w->cpu[0].gpr[GUARD_RSP];
			if (d + 1 < depths[i])
				w_frame(w, 0, m, FN_G);
		}
		expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE)));
		expect_line(w, 0, GUARD_LEAVE_CALL, GUARD_V_OK);
		expect_u(w, 0);
		assert_int_equal(w_word(w, 0, slot), w_gate(m, GATE_ENTER_RETURN));
		assert_int_equal(w->d.line[0].act, depths[i]);
		expect_ok(w_back(w, 0, m));
		assert_int_equal(w->cpu[0].rip, w_fn(m, depths[i] == 1 ? FN_F : FN_G, FN_RET));
		assert_int_equal(w->cpu[0].gpr[GUARD_RSP], slot + 8);
		for (d = depths[i]; d-- > 1;)
			expect_ok(w_exit(w, 0, m, FN_G));
		expect_view(w, 0, m);
		expect_ok(w_exit(w, 0, m, FN_F));
		expect_u(w, 0);
		w_destroy(w);
	}
}

/* P8: the kernel tail-calls from a call-out into an entry; both ends find their way. */
static void tail_call_into_entry(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t out;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_callout(w, 0, m, FN_F, GATE_LEAVE));
	out = w->cpu[0].gpr[GUARD_RSP];
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER + FN_G)));
	assert_int_equal(w_word(w, 0, out), w_gate(m, GATE_LEAVE_RETURN));
	assert_int_equal(w_info(w, m).suspended, 1);
	w_frame(w, 0, m, FN_G);
	expect_ok(w_exit(w, 0, m, FN_G));
	expect_u(w, 0);
	assert_int_equal(w->cpu[0].rip, w_gate(m, GATE_ENTER_RETURN));
	assert_int_equal(w->cpu[0].gpr[GUARD_RSP], out + 8);
	w->cpu[0].gpr[GUARD_RSP] -= 8;
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)));
	assert_int_equal(w->cpu[0].rip, w_fn(m, FN_F, FN_RET));
	expect_ok(w_exit(w, 0, m, FN_F));
	/* and the word alone is no ticket: nothing is suspended at this slot */
	expect(w_enter_from(w, 0, m, FN_G, w_gate(m, GATE_ENTER_RETURN)), GUARD_V_BAD_RETURN);
	/* nor is it at another slot than that of the suspension */
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_callout(w, 0, m, FN_F, GATE_LEAVE));
	expect(w_enter_from(w, 0, m, FN_G, w_gate(m, GATE_ENTER_RETURN)), GUARD_V_BAD_RETURN);
	w_destroy(w);
}

/* R1, R6, P5: visits inside call-outs; every one ends where it came from. */
static void nested_visits(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++) {
		expect_ok(w_enter(w, 0, m, i & 1 ? FN_G : FN_F));
		w_frame(w, 0, m, i & 1 ? FN_G : FN_F);
		expect_ok(w_callout(w, 0, m, i & 1 ? FN_G : FN_F, GATE_LEAVE));
		assert_int_equal(w_info(w, m).suspended, i + 1);
	}
	expect_ok(w_enter(w, 0, m, FN_E));
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	expect_u(w, 0); /* the kernel made that entry: it ends unprivileged */
	w->cpu[0].gpr[GUARD_RSP] += 8;
	while (i-- > 0) {
		expect_ok(w_back(w, 0, m));
		assert_int_equal(w->cpu[0].rip, w_fn(m, i & 1 ? FN_G : FN_F, FN_RET));
		expect_ok(w_exit(w, 0, m, i & 1 ? FN_G : FN_F));
		expect_u(w, 0);
		assert_int_equal(w->cpu[0].rip, W_KRET);
		assert_int_equal(w_info(w, m).suspended, i);
	}
	w_destroy(w);
}

/* E1, E3, E4: gates used by the kernel for what they are not. */
static void gates_abused_by_kernel(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu before;
	unsigned k;

	(void)state;
	w_push(w, 0, w_fn(m, FN_F, FN_RET)); /* a word that a leave would take */
	before = w->cpu[0];
	for (k = 0; k < LEAVE_GATES; k++) {
		expect(w_x(w, 0, w_gate_x(m, leave_gates[k])), GUARD_V_NOT_PRIVILEGED);
		expect_line(w, 0, GUARD_LEAVE_CALL, GUARD_V_NOT_PRIVILEGED);
		assert_true(w->d.inject_gp);
	}
	expect(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)), GUARD_V_NOT_PRIVILEGED);
	expect_line(w, 0, GUARD_LEAVE_RETURN, GUARD_V_NOT_PRIVILEGED);
	expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_NO_RECORD);
	expect_line(w, 0, GUARD_ENTER_RETURN, GUARD_V_NO_RECORD);
	assert_int_equal(w_word(w, 0, w->cpu[0].gpr[GUARD_RSP]), w_fn(m, FN_F, FN_RET));
	expect_gprs(w, 0, &before);
	assert_int_equal(w->vmm->calls[FAKE_RAISE] + w->vmm->calls[FAKE_LOWER] +
				 w->vmm->calls[FAKE_WRITE],
			 0);
	w_destroy(w);
}

/* A privileged vCPU has no business at the enter-return gate: no-record, and as it was. */
static void enter_return_when_privileged(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	/* even at the slot of a live record */
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_callout(w, 0, m, FN_F, GATE_LEAVE));
	expect_ok(w_enter(w, 0, m, FN_G));
	w->cpu[0].gpr[GUARD_RSP] += 8;
	expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_NO_RECORD);
	expect_view(w, 0, m);
	assert_true(w->d.inject_gp);
	w->cpu[0].gpr[GUARD_RSP] -= 8;
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	w->cpu[0].gpr[GUARD_RSP] += 8;
	expect_ok(w_back(w, 0, m));
	expect_ok(w_exit(w, 0, m, FN_F));
	w_destroy(w);
}

/* R4 and others: LEAVE-RETURN anywhere but at the activation's own slot ends it unprivileged. */
static void leave_return_elsewhere(void **state)
{
	static const int64_t offsets[] = { -4096, -16, -8, -4, 1, 4, 8, 16, 4096, 1 << 20 };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		struct world *w = w_simple(1, NULL);
		struct wmodule *m = &w->module[0];
		uint64_t slot;

		expect_ok(w_enter(w, 0, m, FN_F));
		slot = w->cpu[0].gpr[GUARD_RSP];
		w->cpu[0].gpr[GUARD_RSP] += (uint64_t)offsets[i];
		fake_forget(w->vmm);
		expect(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)), GUARD_V_NO_RECORD);
		assert_true(w->d.inject_gp);
		expect_u(w, 0);
		assert_int_equal(w->vmm->calls[FAKE_WRITE], 0);
		w->cpu[0].gpr[GUARD_RSP] = slot;
		expect(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)), GUARD_V_NOT_PRIVILEGED);
		w_thread(w, 0, 0);
		assert_true(w_honest(w, 0, m, FN_F));
		w_destroy(w);
	}
}

/* E16: the slot's page is no longer fit for a write: nothing is written, the view is U. */
static void slot_remapped(void **state)
{
	unsigned kind, crossing;

	(void)state;
	for (crossing = 0; crossing < 3; crossing++)
		for (kind = 0; kind < 8; kind++) {
			struct world *w = w_simple(1, NULL);
			struct wmodule *m = &w->module[0];
			uint64_t page, entry[8], rw = PTE_P | PTE_W;

			w->cpu[0].gpr[GUARD_RSP] = w_stack_top(0) - 0x100;
			expect_ok(w_enter(w, 0, m, FN_F));
			if (crossing == 1) {
				w_frame(w, 0, m, FN_F);
				w_push(w, 0, w_fn(m, FN_F, FN_RET));
			}
			page = w->cpu[0].gpr[GUARD_RSP] & ~0xfffull;
			entry[0] = 0;
			entry[1] = fake_walk(w->vmm, w->cr3, page).gpa | PTE_P;
			entry[2] = m->binding.resource[PRIV_DEVICE].base | rw;
			entry[3] = (FAKE_MMIO + 0x900000) | rw;
			entry[4] = fake_walk(w->vmm, w->cr3, w_fn(m, FN_F, 0) & ~0xfffull).gpa | rw;
			entry[5] = fake_walk(w->vmm, w->cr3, w_seg(m, SEG_PRIVATE, 0)).gpa | rw;
			entry[6] = fake_walk(w->vmm, w->cr3, w_seg(m, SEG_DATA, 0)).gpa | rw;
			entry[7] = fake_walk(w->vmm, w->cr3, page).gpa | rw | PTE_U;
			fake_map(w->vmm, w->cr3, page, entry[kind] & PTE_ADDR, entry[kind] & 0xfff);
			fake_forget(w->vmm);
			expect(w_x(w, 0, w_gate_x(m, crossing ? GATE_LEAVE : GATE_LEAVE_RETURN)),
			       GUARD_V_BAD_STACK);
			assert_true(w->d.inject_gp);
			expect_u(w, 0);
			assert_int_equal(w->vmm->calls[FAKE_WRITE], 0);
			assert_int_equal(w_info(w, m).suspended, 0);
			fake_map(w->vmm, w->cr3, page, entry[1] & PTE_ADDR, rw);
			w_thread(w, 0, 0);
			assert_true(w_honest(w, 0, m, FN_F));
			w_destroy(w);
		}
}

/* LEAVE-CALL with a word that is no return site: refused, lowered, dropped. */
static void leave_call_bad_word(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	const uint64_t words[] = { 0,
				   W_KRET,
				   w_fn(m, FN_F, FN_RET) + 1,
				   w_fn(m, FN_F, FN_CALL),
				   w_gate(m, GATE_LEAVE_RETURN),
				   w_gate(m, GATE_ENTER_RETURN),
				   w_seg(m, SEG_RODATA, 0),
				   w_seg(m, SEG_DATA, 0x25) };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, FN_F));
		w_frame(w, 0, m, FN_F);
		w_push(w, 0, words[i]);
		expect(w_x(w, 0, w_gate_x(m, GATE_LEAVE)), GUARD_V_BAD_RETURN);
		assert_true(w->d.inject_gp);
		expect_u(w, 0);
		assert_int_equal(w_info(w, m).suspended, 0);
		assert_int_equal(w_word(w, 0, w->cpu[0].gpr[GUARD_RSP]), words[i]);
	}
	/* above the activation's own slot there is nothing of the module's */
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_F));
	w_set_word(w, 0, w->cpu[0].gpr[GUARD_RSP] + 8, w_fn(m, FN_F, FN_RET));
	w->cpu[0].gpr[GUARD_RSP] += 8;
	expect(w_x(w, 0, w_gate_x(m, GATE_LEAVE)), GUARD_V_STACK_CHANGED);
	expect_u(w, 0);
	assert_true(w_honest(w, 0, m, FN_F));
	w_destroy(w);
}

/* R20: a lower that fails stops the vCPU, on every path out; the module itself lives on. */
static void lower_fails(void **state)
{
	unsigned kind;

	(void)state;
	for (kind = 0; kind < 5; kind++) {
		struct world *w = w_simple(2, NULL);
		struct wmodule *m = &w->module[0];

		expect_ok(w_enter(w, 0, m, FN_F));
		if (kind < 2)
			w_frame(w, 0, m, FN_F);
		w->vmm->fail_op[FAKE_LOWER] = 1;
		switch (kind) {
		case 0: expect(w_callout(w, 0, m, FN_F, GATE_LEAVE), GUARD_V_LOWER_FAILED); break;
		case 1: expect(w_depart(w, 0, GUARD_CAUSE_IRQ, 32), GUARD_V_LOWER_FAILED); break;
		case 2:
			expect(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)), GUARD_V_LOWER_FAILED);
			break;
		case 3: /* tail call */
			expect(w_x(w, 0, w_gate_x(m, GATE_LEAVE)), GUARD_V_LOWER_FAILED);
			break;
		default: /* a refusal lowers as well */
			w->cpu[0].gpr[GUARD_RSP] += 8;
			expect(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)), GUARD_V_LOWER_FAILED);
		}
		assert_true(w->d.stop_vcpu);
		assert_int_equal(w_info(w, m).suspended, 0);
		assert_true(w_honest(w, 1, m, FN_F));
		w_destroy(w);
	}
}

/* R12: nesting has a bound, and the way back from it works. */
static void nesting_bound(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	unsigned depth;

	(void)state;
	w->cpu[0].gpr[GUARD_RSP] = w_stack_top(0) - 8;
	expect_ok(w_enter(w, 0, m, FN_G));
	w_frame(w, 0, m, FN_G);
	for (depth = 1; depth < GUARD_MAX_NEST; depth++) {
		expect_ok(w_enter_from(w, 0, m, FN_G, w_fn(m, FN_G, FN_RET)));
		w_frame(w, 0, m, FN_G);
	}
	expect(w_enter_from(w, 0, m, FN_G, w_fn(m, FN_G, FN_RET)), GUARD_V_NO_ROOM);
	expect_view(w, 0, m);
	w->cpu[0].gpr[GUARD_RSP] += 8;
	expect_ok(w_callout(w, 0, m, FN_G, GATE_LEAVE));
	expect_ok(w_back(w, 0, m));
	/* a tail jump to an entry makes no record: it always has room */
	w_unframe(w, 0, m, FN_G);
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER + FN_G)));
	w_frame(w, 0, m, FN_G);
	for (; depth > 0; depth--) {
		expect_view(w, 0, m);
		expect_ok(w_exit(w, 0, m, FN_G));
	}
	expect_u(w, 0);
	assert_int_equal(w->cpu[0].rip, W_KRET);
	w_destroy(w);
}

/* TOUCH is denied, counted and reported; it changes nothing. */
static void touches(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_event ev = { .type = GUARD_EV_TOUCH, .vcpu = 1, .cause = GUARD_CAUSE_ACCESS };
	uint64_t private = fake_walk(w->vmm, w->cr3, w_seg(m, SEG_PRIVATE, 0)).gpa;
	struct guard_cpu before = w->cpu[1];

	(void)state;
	ev.cpu = w->cpu[1];
	ev.gpa = private + 0x10;
	w_judge(w, &ev);
	expect_lines(w, 1);
	assert_int_equal(w->d.line[0].event, GUARD_TOUCH);
	assert_int_equal(w->d.line[0].module, m->index);
	assert_int_equal(w->d.line[0].cause, GUARD_CAUSE_ACCESS);
	assert_int_equal(w_info(w, m).touches, 1);
	ev.gpa = m->binding.resource[PRIV_DEVICE].base + 0x1ffc;
	w_judge(w, &ev);
	assert_int_equal(w->d.line[0].module, m->index);
	assert_int_equal(w_info(w, m).touches, 2);
	ev.gpa = m->binding.resource[PRIV_DEVICE].base + 0x2000; /* nobody's */
	w_judge(w, &ev);
	assert_int_equal(w_info(w, m).touches, 2);
	assert_memory_equal(&w->cpu[1], &before, sizeof(before));
	assert_false(w->d.inject_gp);
	expect_u(w, 1);
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(honest_visit),
		cmocka_unit_test(log_lines),
		cmocka_unit_test(tail_call_ends_entry),
		cmocka_unit_test(stack_arguments),
		cmocka_unit_test(inside_to_inside),
		cmocka_unit_test(inside_with_bad_word),
		cmocka_unit_test(tail_jump_inside),
		cmocka_unit_test(child_tail_call),
		cmocka_unit_test(tail_call_into_entry),
		cmocka_unit_test(nested_visits),
		cmocka_unit_test(gates_abused_by_kernel),
		cmocka_unit_test(enter_return_when_privileged),
		cmocka_unit_test(leave_return_elsewhere),
		cmocka_unit_test(slot_remapped),
		cmocka_unit_test(leave_call_bad_word),
		cmocka_unit_test(lower_fails),
		cmocka_unit_test(nesting_bound),
		cmocka_unit_test(touches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
