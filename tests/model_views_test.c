/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Without gates: an unwrapped module, or an import left raw. Execute faults are judged by the same
 * rules, and no word of the stack is exchanged.
 */
#include "tests/support/check.h"

static struct world *views_world(unsigned vcpus)
{
	struct std_options o = std_default();

	o.views = true;
	return w_simple(vcpus, &o);
}

/* C0 for an unwrapped module, step by step: nothing is written at all. */
static void honest_visit(void **state)
{
	static const enum fn fns[] = { FN_F, FN_G, FN_D, FN_E, FN_B4096 };
	struct world *w = views_world(1);
	struct wmodule *m = &w->module[0];
	unsigned i;

	(void)state;
	for (i = 0; i < 5; i++) {
		uint64_t slot, out;

		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, fns[i]));
		expect_line(w, 0, GUARD_ENTER_CALL, GUARD_V_OK);
		assert_int_equal(w->d.line[0].cause, GUARD_CAUSE_FETCH);
		assert_int_equal(w->d.line[0].slot, 0);
		slot = w->cpu[0].gpr[GUARD_RSP];
		assert_int_equal(w->cpu[0].rip, w_fn(m, fns[i], 0));
		assert_int_equal(w_word(w, 0, slot), W_KRET);
		expect_view(w, 0, m);
		w_frame(w, 0, m, fns[i]);
		expect_ok(w_callout(w, 0, m, fns[i], GATE_LEAVE + IMP_C));
		expect_line(w, 0, GUARD_LEAVE_CALL, GUARD_V_OK);
		assert_int_equal(w->cpu[0].rip, w_import(IMP_C));
		out = w->cpu[0].gpr[GUARD_RSP];
		assert_int_equal(w_word(w, 0, out), w_fn(m, fns[i], FN_RET));
		expect_u(w, 0);
		assert_int_equal(w->d.line[0].slot, 0);
		expect_ok(w_back(w, 0, m));
		expect_line(w, 0, GUARD_ENTER_RETURN, GUARD_V_OK);
		assert_int_equal(w->d.line[0].slot, 0);
		assert_int_equal(w->cpu[0].rip, w_fn(m, fns[i], FN_RET));
		assert_int_equal(w->cpu[0].gpr[GUARD_RSP], out + 8);
		expect_view(w, 0, m);
		w_unframe(w, 0, m, fns[i]);
		w->cpu[0].rip = w_pop(w, 0);
		expect_ok(w_fetch(w, 0, w->cpu[0].rip));
		expect_line(w, 0, GUARD_LEAVE_RETURN, GUARD_V_OK);
		assert_int_equal(w->d.line[0].slot, 0);
		assert_int_equal(w->cpu[0].rip, W_KRET);
		assert_int_equal(w->cpu[0].gpr[GUARD_RSP], slot + 8);
		expect_u(w, 0);
	}
	assert_int_equal(w->vmm->calls[FAKE_WRITE], 0);
	w_destroy(w);
}

/* N4, E13: a fetch outside that is no call, no return: lowered, dropped, nothing comes back. */
static void wild_exit(void **state)
{
	struct world *w = views_world(1);
	struct wmodule *m = &w->module[0];
	unsigned i;

	(void)state;
	for (i = 0; i < 7; i++) {
		uint64_t slot;

		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, FN_F));
		slot = w->cpu[0].gpr[GUARD_RSP];
		w_frame(w, 0, m, FN_F);
		if (i == 1)
			w_push(w, 0, w_fn(m, FN_F, FN_RET) + 1);
		if (i == 2)
			w->cpu[0].gpr[GUARD_RSP] = slot + 16; /* beside the slot */
		if (i == 3)
			w->cpu[0].gpr[GUARD_RSP] += 4;
		if (i == 4)
			w->cpu[0].gpr[GUARD_RSP] = 0x1000;
		if (i == 6) /* as after its return, but elsewhere */
			w->cpu[0].gpr[GUARD_RSP] = slot + 8;
		if (i == 5) /* where it came from, but with another RSP */
			w->cpu[0].gpr[GUARD_RSP] = slot - 8;
		w_set_word(w, 0, slot - 8, 0x123);
		expect(w_fetch(w, 0, i == 5 ? W_KRET : W_KERNEL + 0x77), GUARD_V_WILD_EXIT);
		expect_line(w, 0, GUARD_LEAVE_CALL, GUARD_V_WILD_EXIT);
		expect_u(w, 0);
		assert_int_equal(w_info(w, m).suspended, 0);
		assert_false(w->d.inject_gp); /* it goes on outside, as any jump does */
		assert_int_equal(w->d.cpu.rip, w->ev.cpu.rip);
	}
	assert_int_equal(w->vmm->calls[FAKE_WRITE], 0);
	w_destroy(w);
}

/* P2 without gates: a tail jump out of the entry itself. */
static void tail_jump_out(void **state)
{
	struct world *w = views_world(1);
	struct wmodule *m = &w->module[0];
	uint64_t slot;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	slot = w->cpu[0].gpr[GUARD_RSP];
	expect_ok(w_fetch(w, 0, w_import(IMP_C)));
	expect_line(w, 0, GUARD_LEAVE_CALL, GUARD_V_OK);
	expect_u(w, 0);
	assert_int_equal(w->cpu[0].rip, w_import(IMP_C));
	assert_int_equal(w_word(w, 0, slot), W_KRET);
	assert_int_equal(w_info(w, m).suspended, 0);
	w_destroy(w);
}

/* The registers an import preserves are known by its address; an unknown target is C. */
static void preserved_by_address(void **state)
{
	static const uint32_t keep[] = { STD_PRESERVE_C, STD_PRESERVE_C };
	struct world *w = views_world(1);
	struct wmodule *m = &w->module[0];
	unsigned k, i;

	(void)state;
	for (k = 0; k < 2; k++)
		for (i = 0; i < GUARD_GPRS; i++) {
			struct guard_cpu out;

			if (i == GUARD_RSP)
				continue;
			w_thread(w, 0, 0);
			expect_ok(w_enter(w, 0, m, FN_G));
			w_frame(w, 0, m, FN_G);
			w_push(w, 0, w_fn(m, FN_G, FN_RET));
			expect_ok(w_fetch(w, 0, k ? W_KERNEL + 0x900 : w_import(IMP_C)));
			out = w->cpu[0];
			w->cpu[0].gpr[i] ^= 4;
			w->cpu[0].gpr[GUARD_RSP] += 8;
			expect(w_fetch(w, 0, w_fn(m, FN_G, FN_RET)),
			       keep[k] & (1u << i) ? GUARD_V_REGISTERS_CHANGED : GUARD_V_OK);
			w->cpu[0] = out;
			if (keep[k] & (1u << i)) {
				w->cpu[0].gpr[GUARD_RSP] += 8;
				expect_ok(w_fetch(w, 0, w_fn(m, FN_G, FN_RET)));
			}
			w->cpu[0].gpr[GUARD_RSP] = out.gpr[GUARD_RSP] + 8 + 0x28 + 8;
			expect_ok(w_fetch(w, 0, W_KRET));
		}
	w_destroy(w);
}

/* E9, P8: what an entry accepts as a return word when there are no gates. */
static void return_words(void **state)
{
	struct world *w = views_world(1);
	struct wmodule *m = &w->module[0];
	uint64_t out;

	(void)state;
	expect(w_enter_from(w, 0, m, FN_F, w_fn(m, FN_F, FN_RET)), GUARD_V_BAD_RETURN);
	assert_true(w->d.inject_gp);
	expect(w_enter_from(w, 0, m, FN_F, w_fn(m, FN_F, 0)), GUARD_V_BAD_RETURN);
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_callout(w, 0, m, FN_F, GATE_LEAVE));
	out = w->cpu[0].gpr[GUARD_RSP];
	/* the kernel tail-calls: the return site remembered just here, and only that */
	w_set_word(w, 0, out, w_fn(m, FN_F, FN_RET2));
	expect(w_fetch(w, 0, w_fn(m, FN_G, 0)), GUARD_V_BAD_RETURN);
	w_set_word(w, 0, out, w_fn(m, FN_F, FN_RET));
	expect_ok(w_fetch(w, 0, w_fn(m, FN_G, 0)));
	w_frame(w, 0, m, FN_G);
	w_unframe(w, 0, m, FN_G);
	w->cpu[0].gpr[GUARD_RSP] += 8;
	/* its return stays in the text: no fault shows it, and the view stays */
	expect_view(w, 0, m);
	w_destroy(w);
}

/* R4, E3: returns into the text that match no record are no entries. */
static void returns_without_record(void **state)
{
	struct world *w = views_world(2);
	struct wmodule *m = &w->module[0];
	struct guard_cpu out;

	(void)state;
	expect(w_fetch(w, 0, w_fn(m, FN_F, FN_RET)), GUARD_V_NO_RECORD);
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_callout(w, 0, m, FN_F, GATE_LEAVE));
	out = w->cpu[0];
	w->cpu[0].gpr[GUARD_RSP] += 16;
	expect(w_fetch(w, 0, w_fn(m, FN_F, FN_RET)), GUARD_V_NO_RECORD);
	w->cpu[0].gpr[GUARD_RSP] = out.gpr[GUARD_RSP] + 8;
	expect(w_fetch(w, 0, w_fn(m, FN_F, FN_RET2)), GUARD_V_NO_RECORD);
	w->cpu[1] = out; /* C4 */
	expect_ok(w_back(w, 1, m));
	expect_ok(w_exit(w, 1, m, FN_F));
	w->cpu[0] = out;
	w->cpu[0].gpr[GUARD_RSP] += 8;
	expect(w_fetch(w, 0, w_fn(m, FN_F, FN_RET)), GUARD_V_NO_RECORD);
	w_destroy(w);
}

/* Departures: the same places, and RIP of a resume lies in m. */
static void departures(void **state)
{
	struct world *w = views_world(1);
	struct wmodule *m = &w->module[0];
	struct guard_cpu at;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_D));
	w_frame(w, 0, m, FN_D);
	w_inner(w, 0, m, FN_D, FN_I);
	at = w->cpu[0];
	expect_ok(w_depart(w, 0, GUARD_CAUSE_NMI, 2));
	expect_ok(w_fetch(w, 0, at.rip));
	expect_line(w, 0, GUARD_RESUME, GUARD_V_OK);
	expect_lines(w, 1);
	/* an event right after the call, before the first instruction outside: an exit by fetch */
	w_push(w, 0, w_fn(m, FN_I, FN_RET));
	w->cpu[0].rip = w_import(IMP_C);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	expect_line(w, 0, GUARD_LEAVE_CALL, GUARD_V_OK);
	expect_u(w, 0);
	expect_ok(w_back(w, 0, m));
	w_inner_done(w, 0, m, FN_D, FN_I);
	w_unframe(w, 0, m, FN_D);
	w->cpu[0].rip = w_pop(w, 0);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	expect_line(w, 0, GUARD_LEAVE_RETURN, GUARD_V_OK);
	expect_u(w, 0);
	w_destroy(w);
}

/* An unwrapped module has no inner entries: a call to its own text needs no crossing. */
static void policies(void **state)
{
	struct std_options o = std_default();
	struct world *w;
	struct wmodule *m;
	struct guard_cpu in;

	(void)state;
	o.views = true;
	o.policy.stack = GUARD_STACK_EXACT;
	o.policy.registers = GUARD_REGS_SCRUB;
	w = w_simple(1, &o);
	m = &w->module[0];
	expect_ok(w_enter(w, 0, m, FN_G));
	w_frame(w, 0, m, FN_G);
	in = w->cpu[0];
	expect_ok(w_callout(w, 0, m, FN_G, GATE_LEAVE));
	assert_int_equal(w->cpu[0].gpr[GUARD_RBX], 0);
	assert_int_equal(w->cpu[0].gpr[GUARD_R11], 0);
	expect_ok(w_back(w, 0, m));
	assert_int_equal(w->cpu[0].gpr[GUARD_RBX], in.gpr[GUARD_RBX]);
	expect_ok(w_exit(w, 0, m, FN_G));
	assert_int_equal(w->cpu[0].gpr[GUARD_R11], 0);
	assert_int_equal(w->cpu[0].gpr[GUARD_RBX], in.gpr[GUARD_RBX]);
	assert_int_equal(w->cpu[0].rip, W_KRET);
	w_destroy(w);
}

/* Raw crossings of a wrapped module: an import that was left raw, under execute control. */
static void raw_import_of_wrapped(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu out;
	uint64_t slot;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	slot = w->cpu[0].gpr[GUARD_RSP];
	w_frame(w, 0, m, FN_F);
	w_push(w, 0, w_fn(m, FN_F, FN_RET));
	expect_ok(w_fetch(w, 0, w_import(IMP_C)));
	expect_line(w, 0, GUARD_LEAVE_CALL, GUARD_V_OK);
	expect_u(w, 0);
	out = w->cpu[0];
	assert_int_equal(w_word(w, 0, out.gpr[GUARD_RSP]), w_fn(m, FN_F, FN_RET));
	/* through the gate it finds nothing: the word was not exchanged */
	expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_NO_RECORD);
	w->cpu[0] = out;
	w->cpu[0].gpr[GUARD_RSP] += 8;
	expect_ok(w_fetch(w, 0, w_fn(m, FN_F, FN_RET)));
	expect_line(w, 0, GUARD_ENTER_RETURN, GUARD_V_OK);
	/* and the reverse: a gated call-out does not come back by a raw return */
	expect_ok(w_callout(w, 0, m, FN_F, GATE_LEAVE));
	out = w->cpu[0];
	w->cpu[0].gpr[GUARD_RSP] += 8;
	expect(w_fetch(w, 0, w_fn(m, FN_F, FN_RET)), GUARD_V_NO_RECORD);
	expect_line(w, 0, GUARD_RESUME, GUARD_V_NO_RECORD);
	w->cpu[0] = out;
	expect_ok(w_back(w, 0, m));
	/* a raw tail jump at the slot: the kernel's address goes back to it */
	w_unframe(w, 0, m, FN_F);
	assert_int_equal(w->cpu[0].gpr[GUARD_RSP], slot);
	expect_ok(w_fetch(w, 0, w_import(IMP_C)));
	assert_int_equal(w_word(w, 0, slot), W_KRET);
	assert_int_equal(w->cpu[0].rip, w_import(IMP_C));
	expect_u(w, 0);
	/* a child that ends so: its parent waits, and its word stands at the slot */
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_enter_from(w, 0, m, FN_G, w_fn(m, FN_F, FN_RET)));
	slot = w->cpu[0].gpr[GUARD_RSP];
	expect_ok(w_fetch(w, 0, w_import(IMP_C)));
	assert_int_equal(w_word(w, 0, slot), w_fn(m, FN_F, FN_RET));
	w->cpu[0].gpr[GUARD_RSP] += 8;
	expect_ok(w_fetch(w, 0, w_fn(m, FN_F, FN_RET)));
	expect_ok(w_exit(w, 0, m, FN_F));
	w_destroy(w);
}

/* An event on the very first instruction of an entry: first a resumption, then perhaps an entry. */
static void departed_at_the_entry(void **state)
{
	struct world *w = views_world(1);
	struct wmodule *m = &w->module[0];
	struct guard_cpu at;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	at = w->cpu[0];
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	expect_ok(w_fetch(w, 0, at.rip));
	expect_lines(w, 1);
	expect_line(w, 0, GUARD_RESUME, GUARD_V_OK);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	w->cpu[0].gpr[GUARD_RBX]++;
	expect_ok(w_fetch(w, 0, at.rip));
	expect_lines(w, 2);
	expect_line(w, 0, GUARD_RESUME, GUARD_V_REGISTERS_CHANGED);
	expect_line(w, 1, GUARD_ENTER_CALL, GUARD_V_OK);
	w_destroy(w);
}

/* A thread that died in a call-out, and a fresh caller at the very same slot. */
static void fresh_caller_at_the_slot(void **state)
{
	struct world *w = views_world(1);
	struct wmodule *m = &w->module[0];
	uint64_t out;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_callout(w, 0, m, FN_F, GATE_LEAVE));
	out = w->cpu[0].gpr[GUARD_RSP];
	w->cpu[0].gpr[GUARD_RSP] = out + 8;
	expect_ok(w_enter(w, 0, m, FN_G));
	assert_int_equal(w_info(w, m).suspended, 1);
	w->cpu[0].gpr[GUARD_RSP] += 8;
	expect_ok(w_fetch(w, 0, W_KRET));
	expect_line(w, 0, GUARD_LEAVE_RETURN, GUARD_V_OK);
	w_destroy(w);
}

/* A wrapped module's raw call-out, from which the kernel tail-calls into an entry gate. */
static void gate_from_a_raw_callout(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t out;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	w_push(w, 0, w_fn(m, FN_F, FN_RET));
	out = w->cpu[0].gpr[GUARD_RSP];
	expect_ok(w_fetch(w, 0, w_import(IMP_C)));
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER + FN_G)));
	assert_int_equal(w_word(w, 0, out), w_gate(m, GATE_LEAVE_RETURN));
	assert_int_equal(w_info(w, m).suspended, 1);
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	expect_u(w, 0);
	w->cpu[0].gpr[GUARD_RSP] += 8;
	expect_ok(w_fetch(w, 0, w_word(w, 0, out)));
	expect_line(w, 0, GUARD_ENTER_RETURN, GUARD_V_OK);
	expect_ok(w_exit(w, 0, m, FN_F));
	w_destroy(w);
}

/* A raw call to an import whose address is known: its own convention counts. */
static void raw_call_to_a_helper(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	unsigned asm_one;

	(void)state;
	for (asm_one = 0; asm_one < 2; asm_one++) {
		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, FN_F));
		w_frame(w, 0, m, FN_F);
		w_push(w, 0, w_fn(m, FN_F, FN_RET));
		expect_ok(w_fetch(w, 0, w_import(asm_one ? IMP_ASM : IMP_C)));
		w->cpu[0].gpr[GUARD_RSP] += 8;
		w->cpu[0].gpr[GUARD_RDX]++;
		expect(w_fetch(w, 0, w_fn(m, FN_F, FN_RET)),
		       asm_one ? GUARD_V_REGISTERS_CHANGED : GUARD_V_OK);
		if (!asm_one)
			expect_ok(w_exit(w, 0, m, FN_F));
	}
	w_destroy(w);
}

/* A raise that fails writes nothing where no word is exchanged. */
static void raise_fails_raw(void **state)
{
	struct world *w = views_world(1);
	struct wmodule *m = &w->module[0];

	(void)state;
	w->vmm->fail_op[FAKE_RAISE] = 1;
	expect(w_enter(w, 0, m, FN_F), GUARD_V_RAISE_FAILED);
	assert_int_equal(w->vmm->calls[FAKE_WRITE], 0);
	w_destroy(w);
}

/* Text before the first entry is no entry. */
static void before_the_first_entry(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct gm_header *h;
	struct wmodule *m;
	void *manifest;
	size_t len;

	(void)state;
	o.views = true;
	manifest = std_manifest(&o, &len);
	h = manifest;
	h->entries.offset += 2 * (uint32_t)sizeof(struct gm_entry);
	h->entries.count -= 2;
	m = w_add_manifest(w, &o, manifest, len);
	expect_ok(w_announce(w, 0, m));
	expect(w_enter(w, 0, m, FN_F), GUARD_V_NO_RECORD);
	expect(w_enter(w, 0, m, FN_G), GUARD_V_NO_RECORD);
	w_thread(w, 0, 0);
	assert_true(w_honest(w, 0, m, FN_D));
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(honest_visit),
		cmocka_unit_test(wild_exit),
		cmocka_unit_test(tail_jump_out),
		cmocka_unit_test(preserved_by_address),
		cmocka_unit_test(return_words),
		cmocka_unit_test(returns_without_record),
		cmocka_unit_test(departures),
		cmocka_unit_test(policies),
		cmocka_unit_test(raw_import_of_wrapped),
		cmocka_unit_test(departed_at_the_entry),
		cmocka_unit_test(fresh_caller_at_the_slot),
		cmocka_unit_test(gate_from_a_raw_callout),
		cmocka_unit_test(raw_call_to_a_helper),
		cmocka_unit_test(raise_fails_raw),
		cmocka_unit_test(before_the_first_entry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
