/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * DEPART and RESUME: wherever an event strikes inside a module, the vCPU is unprivileged before it
 * is delivered, and the thread goes on exactly there or not at all.
 */
#include "tests/support/check.h"
#include "tests/support/conditions.h"

static const enum guard_cause causes[] = { GUARD_CAUSE_IRQ, GUARD_CAUSE_NMI, GUARD_CAUSE_EXCEPTION,
					   GUARD_CAUSE_KICK, GUARD_CAUSE_OTHER };

/* A departure at rip, an interrupt handler's traffic below RSP, and the way back. */
static void there_and_back(struct world *w, struct wmodule *m, uint64_t rip, unsigned cause)
{
	struct guard_cpu at;

	w->cpu[0].rip = rip;
	at = w->cpu[0];
	expect_ok(w_depart(w, 0, causes[cause % 5], 14));
	expect_line(w, 0, GUARD_DEPART, GUARD_V_OK);
	expect_lines(w, 1);
	assert_int_equal(w->d.line[0].cause, causes[cause % 5]);
	assert_int_equal(w->d.line[0].rip, rip);
	assert_int_equal(w->d.line[0].to, GUARD_VIEW_U);
	assert_memory_equal(&w->cpu[0], &at, sizeof(at));
	assert_false(w->d.inject_gp);
	expect_u(w, 0);
	assert_int_equal(w_info(w, m).suspended, 1);
	w_push(w, 0, 0x11); /* the frame that delivery pushes, and what follows */
	w_push(w, 0, 0x22);
	w->cpu[0] = at;
	expect_ok(w_fetch(w, 0, rip));
	expect_line(w, 0, GUARD_RESUME, GUARD_V_OK);
	expect_lines(w, 1);
	assert_memory_equal(&w->cpu[0], &at, sizeof(at));
	expect_view(w, 0, m);
	assert_int_equal(w_info(w, m).suspended, 0);
}

/* P4: every instruction boundary of several functions, with every cause. */
static void at_every_place(void **state)
{
	static const enum fn fns[] = { FN_F, FN_G, FN_D, FN_E, FN_B4096, FN_INIT };
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	unsigned i, n = 0;

	(void)state;
	for (i = 0; i < sizeof(fns) / sizeof(fns[0]); i++) {
		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, fns[i]));
		there_and_back(w, m, w_fn(m, fns[i], 0), n++);
		w_frame(w, 0, m, fns[i]);
		there_and_back(w, m, w_fn(m, fns[i], FN_BODY), n++);
		there_and_back(w, m, w_fn(m, fns[i], FN_BODY + 1), n++);
		there_and_back(w, m, w_fn(m, fns[i], FN_CALL), n++);
		w_inner(w, 0, m, fns[i], FN_I);
		there_and_back(w, m, w_fn(m, FN_I, FN_RET2), n++);
		w_inner(w, 0, m, FN_I, FN_D);
		there_and_back(w, m, w_fn(m, FN_D, FN_END - 1), n++);
		w_inner_done(w, 0, m, FN_I, FN_D);
		w_inner_done(w, 0, m, fns[i], FN_I);
		there_and_back(w, m, w_fn(m, fns[i], FN_RET2), n++);
		expect_ok(w_callout(w, 0, m, fns[i], GATE_LEAVE));
		expect_ok(w_back(w, 0, m));
		w_unframe(w, 0, m, fns[i]);
		there_and_back(w, m, w_fn(m, fns[i], FN_END), n++);
		expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	}
	w_destroy(w);
}

/* In a realigning prologue the CFA stands in R10: known, since the frame is the innermost. */
static void cfa_in_any_register(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_D));
	w->cpu[0].gpr[GUARD_R10] = w->cpu[0].gpr[GUARD_RSP] + 8;
	w->cpu[0].gpr[GUARD_RSP] &= ~0x3full;
	there_and_back(w, m, w_fn(m, FN_D, 4), 0);
	/* and wrong, it leads nowhere */
	w->cpu[0].gpr[GUARD_R10] += 8;
	expect(w_depart(w, 0, GUARD_CAUSE_IRQ, 32), GUARD_V_STACK_CHANGED);
	expect_u(w, 0);
	assert_int_equal(w_info(w, m).suspended, 0);
	w_destroy(w);
}

/* Inside a gate: the place that is recorded is the next crossing or the body. */
static void inside_gates(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t slot, ret = w_fn(m, FN_F, FN_RET);

	(void)state;
	/* a leave gate's X: the call has pushed its return site, the CFA is RSP + 8 */
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	w_push(w, 0, ret);
	w->cpu[0].rip = w_gate_x(m, GATE_LEAVE);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	expect_u(w, 0);
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE)));
	expect_lines(w, 2);
	expect_line(w, 0, GUARD_RESUME, GUARD_V_OK);
	expect_line(w, 1, GUARD_LEAVE_CALL, GUARD_V_OK);
	assert_int_equal(w->d.line[0].to, m->index);
	assert_int_equal(w->d.line[1].from, m->index);
	expect_ok(w_back(w, 0, m));

	/* an enter gate, called from inside: before endbr64, at the X, at the jmp */
	w_push(w, 0, ret);
	w->cpu[0].rip = w_gate(m, GATE_ENTER + FN_E);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER + FN_E)));
	expect_lines(w, 2);
	expect_line(w, 0, GUARD_RESUME, GUARD_V_OK);
	expect_line(w, 1, GUARD_ENTER_CALL, GUARD_V_OK);
	assert_int_equal(w->d.line[1].from, m->index);
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	expect_view(w, 0, m);
	w->cpu[0].rip = w_gate_x(m, GATE_ENTER + FN_E);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_NMI, 2));
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER + FN_E)));
	expect_line(w, 1, GUARD_ENTER_CALL, GUARD_V_OK);
	expect_view(w, 0, m);
	slot = w->cpu[0].gpr[GUARD_RSP];
	w->cpu[0].rip = w_gate_x(m, GATE_ENTER + FN_E) + 3; /* the jmp: thunks go past the X */
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	expect_ok(w_fetch(w, 0, w_fn(m, FN_E, 0)));
	expect_line(w, 0, GUARD_RESUME, GUARD_V_OK);

	/* the child's leave-return gate: before the lea, at the X, at the ret */
	w->cpu[0].gpr[GUARD_RSP] = slot + 8;
	w->cpu[0].rip = w_gate(m, GATE_LEAVE_RETURN);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	w_set_word(w, 0, slot, 0xdead); /* below RSP: an interrupt frame lay there */
	w->cpu[0].gpr[GUARD_RSP] = slot;
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	expect_lines(w, 2);
	expect_line(w, 0, GUARD_RESUME, GUARD_V_OK);
	expect_line(w, 1, GUARD_LEAVE_RETURN, GUARD_V_OK);
	expect_view(w, 0, m);
	assert_int_equal(w_word(w, 0, slot), ret);
	w->cpu[0].rip = w_gate_x(m, GATE_LEAVE_RETURN) + 3;
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	w->cpu[0].gpr[GUARD_RSP] = slot + 8;
	expect_ok(w_fetch(w, 0, ret));
	expect_line(w, 0, GUARD_RESUME, GUARD_V_OK);

	/* the outermost one's: nothing of its own is saved or verified */
	w_unframe(w, 0, m, FN_F);
	slot = w->cpu[0].gpr[GUARD_RSP];
	w->cpu[0].rip = w_gate_x(m, GATE_LEAVE_RETURN);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	w_set_word(w, 0, slot, 0xdead);
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	expect_lines(w, 2);
	expect_line(w, 1, GUARD_LEAVE_RETURN, GUARD_V_OK);
	assert_int_equal(w_word(w, 0, slot), W_KRET);
	expect_u(w, 0);
	w_destroy(w);
}

/* An enter gate without endbr64, and places in gates where nothing of the module can stand. */
static void odd_places_in_gates(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	const uint64_t places[] = {
		w_gate(m, GATE_PAD),
		w_gate(m, GATE_ENTER + FN_F) + 1,
		w_gate(m, GATE_ENTER_RETURN) + 5,
		w_gate_x(m, GATE_LEAVE_RETURN) + 1,
		w_gate_x(m, GATE_LEAVE) + 1,
		w_gate(m, GATE_COUNT) + 5,
		w_seg(m, SEG_RODATA, 0),
		w_seg(m, SEG_DATA, 0),
		W_KERNEL,
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, FN_F));
		w_frame(w, 0, m, FN_F);
		w->cpu[0].rip = places[i];
		w_depart(w, 0, GUARD_CAUSE_IRQ, 32);
		expect_u(w, 0); /* G2, whatever the line says */
		assert_int_not_equal(w->d.verdict, GUARD_V_OK);
		if (places[i] >= w_seg(m, SEG_RODATA, 0) || places[i] == W_KERNEL)
			expect_line(w, 0, GUARD_LEAVE_CALL, GUARD_V_WILD_EXIT);
		assert_int_equal(w_info(w, m).suspended, 0);
	}
	/* G's gate starts with its X */
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	w_push(w, 0, w_fn(m, FN_F, FN_RET));
	w->cpu[0].rip = w_gate(m, GATE_ENTER + FN_G);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	expect_ok(w_x(w, 0, w_gate(m, GATE_ENTER + FN_G)));
	expect_lines(w, 2);
	/* a leave-return gate's ret whose word leads nowhere */
	w->cpu[0].rip = w_gate_x(m, GATE_LEAVE_RETURN) + 3;
	w_push(w, 0, 0xbad);
	expect(w_depart(w, 0, GUARD_CAUSE_IRQ, 32), GUARD_V_WILD_EXIT);
	expect_u(w, 0);
	/* the leave-return gate with RSP elsewhere than at the slot */
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_F));
	w->cpu[0].rip = w_gate_x(m, GATE_LEAVE_RETURN);
	w->cpu[0].gpr[GUARD_RSP] -= 8;
	expect(w_depart(w, 0, GUARD_CAUSE_IRQ, 32), GUARD_V_STACK_CHANGED);
	expect_u(w, 0);
	w_destroy(w);
}

/* Behind the last gate its page goes on, but nothing of the module can stand there. */
static void behind_the_gates(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint32_t off;

	(void)state;
	for (off = GATE_COUNT * GM_GATE_BYTES; off < GM_PAGE; off++) {
		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, FN_F));
		w_frame(w, 0, m, FN_F);
		w_push(w, 0, w_fn(m, FN_F, FN_RET));
		w->cpu[0].rip = w_gate(m, 0) + off;
		w_depart(w, 0, GUARD_CAUSE_IRQ, 32);
		expect_line(w, 0, GUARD_LEAVE_CALL, GUARD_V_OK); /* a call to there: outside */
		expect_u(w, 0);
	}
	w_destroy(w);
}

/* N1: other registers or flags. RF alone may differ. */
static void registers_on_resume(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu at;
	unsigned i;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_G));
	w_frame(w, 0, m, FN_G);
	for (i = 0; i < GUARD_GPRS; i++) {
		expect_ok(w_depart(w, 0, GUARD_CAUSE_EXCEPTION, 14));
		at = w->cpu[0];
		w->cpu[0].gpr[i] ^= 0x8000;
		expect(w_fetch(w, 0, at.rip),
		       i == GUARD_RSP ? GUARD_V_NO_RECORD : GUARD_V_REGISTERS_CHANGED);
		expect_line(w, 0, GUARD_RESUME, w->d.verdict);
		assert_true(w->d.inject_gp);
		w->cpu[0] = at;
		expect_ok(w_fetch(w, 0, at.rip));
	}
	for (i = 0; i < 64; i++) {
		expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
		at = w->cpu[0];
		w->cpu[0].rflags ^= 1ull << i;
		expect(w_fetch(w, 0, at.rip), i == 16 ? GUARD_V_OK : GUARD_V_REGISTERS_CHANGED);
		if (i != 16) {
			w->cpu[0] = at;
			expect_ok(w_fetch(w, 0, at.rip));
		}
		w->cpu[0].rflags = at.rflags;
	}
	/* N1: at another place */
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	at = w->cpu[0];
	expect(w_fetch(w, 0, at.rip + 1), GUARD_V_NO_RECORD);
	expect(w_fetch(w, 0, w_fn(m, FN_F, 0)), GUARD_V_NO_RECORD);
	w->cpu[0] = at;
	expect_ok(w_fetch(w, 0, at.rip));
	/* N3: once */
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	expect_ok(w_fetch(w, 0, at.rip));
	expect_ok(w_callout(w, 0, m, FN_G, GATE_LEAVE));
	w->cpu[0] = at;
	expect(w_fetch(w, 0, at.rip), GUARD_V_NO_RECORD);
	w_destroy(w);
}

/* R21 for departures: the handler sees none of the module's registers, and they come back. */
static void scrubbed_departure(void **state)
{
	struct std_options o = std_default();
	struct guard_cpu at;
	struct world *w;
	struct wmodule *m;
	unsigned i;

	(void)state;
	o.policy.registers = GUARD_REGS_SCRUB;
	w = w_simple(1, &o);
	m = &w->module[0];
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	at = w->cpu[0];
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	for (i = 0; i < GUARD_GPRS; i++)
		assert_int_equal(w->cpu[0].gpr[i], i == GUARD_RSP ? at.gpr[GUARD_RSP] : 0);
	for (i = 0; i < GUARD_GPRS; i++)
		if (i != GUARD_RSP)
			w->cpu[0].gpr[i] = 0x123 + i;
	w->cpu[0].rflags ^= 1;
	expect(w_fetch(w, 0, at.rip), GUARD_V_REGISTERS_CHANGED); /* flags still count */
	w->cpu[0].rflags ^= 1;
	expect_ok(w_fetch(w, 0, at.rip));
	assert_memory_equal(&w->cpu[0], &at, sizeof(at));
	expect_ok(w_exit(w, 0, m, FN_F));
	w_destroy(w);
}

/* P10: a fixup and a WARN, just for the exception that struck, just with the registers it sets. */
static void fixups(void **state)
{
	unsigned scrub, i;

	(void)state;
	for (scrub = 0; scrub < 2; scrub++) {
		struct std_options o = std_default();
		struct guard_cpu at;
		struct world *w;
		struct wmodule *m;

		o.policy.registers = scrub ? GUARD_REGS_SCRUB : GUARD_REGS_VERIFY;
		w = w_simple(1, &o);
		m = &w->module[0];
		expect_ok(w_enter(w, 0, m, FN_W));
		w_frame(w, 0, m, FN_W);
		for (i = 0; i < GUARD_GPRS; i++) {
			bool sets = W_FIXUP_REGS & (1u << i);

			if (i == GUARD_RSP)
				continue;
			w->cpu[0].rip = w_fn(m, FN_W, W_FAULT);
			at = w->cpu[0];
			expect_ok(w_depart(w, 0, GUARD_CAUSE_EXCEPTION, 14));
			if (!scrub)
				w->cpu[0] = at;
			w->cpu[0].gpr[i] = 0xfffffffffffffff2ull;
			expect(w_fetch(w, 0, w_fn(m, FN_W, W_FIXUP)),
			       sets || scrub ? GUARD_V_OK : GUARD_V_REGISTERS_CHANGED);
			if (sets)
				assert_int_equal(w->cpu[0].gpr[i], 0xfffffffffffffff2ull);
			if (scrub && !sets)
				assert_int_equal(w->cpu[0].gpr[i], at.gpr[i]);
			if (!sets && !scrub) {
				w->cpu[0] = at;
				expect_ok(w_fetch(w, 0, w_fn(m, FN_W, W_FAULT)));
			}
			w->cpu[0] = at;
		}
		/* WARN: ud2 continues two bytes on, with all registers */
		w->cpu[0].rip = w_fn(m, FN_W, W_WARN);
		at = w->cpu[0];
		expect_ok(w_depart(w, 0, GUARD_CAUSE_EXCEPTION, 6));
		if (!scrub) {
			w->cpu[0].gpr[GUARD_RAX]++;
			expect(w_fetch(w, 0, at.rip + 2), GUARD_V_REGISTERS_CHANGED);
		}
		w->cpu[0] = at;
		expect_ok(w_fetch(w, 0, at.rip + 2));
		w_destroy(w);
	}
}

/* Where there is no fixup, or no exception, RIP is RIP. */
static void no_fixup(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu at;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_W));
	w_frame(w, 0, m, FN_W);
	w->cpu[0].rip = w_fn(m, FN_W, W_FAULT);
	at = w->cpu[0];
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	expect(w_fetch(w, 0, w_fn(m, FN_W, W_FIXUP)), GUARD_V_NO_RECORD);
	expect_ok(w_fetch(w, 0, at.rip));
	w->cpu[0].rip = at.rip; /* an interrupt's number is no exception's */
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 14));
	expect(w_fetch(w, 0, w_fn(m, FN_W, W_FIXUP)), GUARD_V_NO_RECORD);
	expect_ok(w_fetch(w, 0, at.rip));
	expect_ok(w_depart(w, 0, GUARD_CAUSE_EXCEPTION, 14));
	expect(w_fetch(w, 0, w_fn(m, FN_W, W_WARN) + 2), GUARD_V_NO_RECORD); /* another's */
	expect_ok(w_fetch(w, 0, at.rip));
	w->cpu[0].rip = w_fn(m, FN_W, W_WARN);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_EXCEPTION, 6));
	expect(w_fetch(w, 0, w_fn(m, FN_W, W_FIXUP)), GUARD_V_NO_RECORD);
	expect_ok(w_fetch(w, 0, w_fn(m, FN_W, W_WARN)));
	/* before the first fixup, where a table of another kind would be read as one */
	w->cpu[0].rip = w_fn(m, FN_G, 0x30);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_EXCEPTION, 14));
	expect(w_fetch(w, 0, w_fn(m, FN_G, 0x34)), GUARD_V_NO_RECORD);
	expect_ok(w_fetch(w, 0, w_fn(m, FN_G, 0x30)));
	w->cpu[0].rip = w_fn(m, FN_W, W_WARN);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_EXCEPTION, 14));
	expect(w_fetch(w, 0, w_fn(m, FN_W, W_FIXUP)), GUARD_V_NO_RECORD); /* another's */
	expect(w_fetch(w, 0, w_fn(m, FN_W, W_WARN) + 3), GUARD_V_NO_RECORD);
	expect_ok(w_fetch(w, 0, w_fn(m, FN_W, W_WARN)));
	w->cpu[0].rip = w_fn(m, FN_W, FN_BODY); /* before all fixups, and with none */
	expect_ok(w_depart(w, 0, GUARD_CAUSE_EXCEPTION, 14));
	expect(w_fetch(w, 0, w_fn(m, FN_W, FN_BODY) + 2), GUARD_V_NO_RECORD);
	expect(w_fetch(w, 0, w_fn(m, FN_W, W_FIXUP)), GUARD_V_NO_RECORD);
	expect_ok(w_fetch(w, 0, w_fn(m, FN_W, FN_BODY)));
	w->cpu[0].rip = w_fn(m, FN_W, W_FAULT) + 1;
	expect_ok(w_depart(w, 0, GUARD_CAUSE_EXCEPTION, 14));
	expect(w_fetch(w, 0, w_fn(m, FN_W, W_FIXUP)), GUARD_V_NO_RECORD);
	w_destroy(w);
}

/* P5, R1: the handler itself calls an entry; a departure in a visit during a departure. */
static void handler_enters(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu at[4];
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++) {
		expect_ok(w_enter(w, 0, m, FN_F));
		w_frame(w, 0, m, FN_F);
		at[i] = w->cpu[0];
		expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
		w->cpu[0].gpr[GUARD_RSP] -= 0x28; /* the interrupt frame */
		assert_int_equal(w_info(w, m).suspended, i + 1);
	}
	assert_true(w_honest(w, 0, m, FN_G));
	while (i-- > 0) {
		w->cpu[0] = at[i];
		expect_ok(w_fetch(w, 0, at[i].rip));
		expect_ok(w_exit(w, 0, m, FN_F));
		expect_u(w, 0);
	}
	assert_int_equal(w_info(w, m).suspended, 0);
	w_destroy(w);
}

/* C4 for departures: the thread migrates. */
static void resumes_on_another_vcpu(void **state)
{
	struct world *w = w_simple(3, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t other = fake_new_cr3(w->vmm, 0);

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	w->cpu[1] = w->cpu[2] = w->cpu[0];
	w->cpu[2].cr3 = other; /* E14 */
	expect(w_fetch(w, 2, w->cpu[2].rip), GUARD_V_BAD_MAPPING);
	expect_ok(w_fetch(w, 1, w->cpu[1].rip));
	w->cpu[2].cr3 = w->cr3;
	expect(w_fetch(w, 2, w->cpu[2].rip), GUARD_V_BAD_STACK); /* N3: and it runs there */
	expect_ok(w_exit(w, 1, m, FN_F));
	expect(w_fetch(w, 2, w->cpu[2].rip), GUARD_V_NO_RECORD);
	w_destroy(w);
}

/* Conditions of RESUME, all combinations; only the overlap counts among those of the stack. */
static void resume_conditions(void **state)
{
	struct world *w;
	struct wmodule *m;
	struct guard_cpu at;
	struct std_options o = std_default();
	unsigned mode, rest, stack;
	uint64_t slot;

	(void)state;
	o.policy.chains = 2;
	w = w_simple(2, &o);
	m = &w->module[0];
	cond_run_vcpu1(w, m);
	w_thread(w, 0, 0);
	w->cpu[0].gpr[GUARD_RSP] = cond_slot() + 0x28 + 8;
	expect_ok(w_enter(w, 0, m, FN_G));
	slot = w->cpu[0].gpr[GUARD_RSP];
	w_frame(w, 0, m, FN_G);
	at = w->cpu[0];
	assert_int_equal(at.gpr[GUARD_RSP], cond_slot());
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	for (mode = 0; mode < 1u << COND_MODES; mode++)
		for (rest = 0; rest < 128; rest++)
			for (stack = 0; stack < 2; stack++) {
				struct cond_undo undo = { 0 };
				enum guard_verdict want = GUARD_V_OK;
				bool raise = rest & 1, reg = rest & 2, word = rest & 4;
				bool flag = rest & 8, place = rest & 16;
				unsigned mapping = rest & 32 ? 1u << (mode % COND_MAPPINGS) : 0;

				if (mode && mode & (mode - 1) && rest % 9)
					continue; /* several at once: with some of the rest */
				if (raise)
					want = GUARD_V_RAISE_FAILED;
				if (reg || flag)
					want = GUARD_V_REGISTERS_CHANGED;
				if (word)
					want = GUARD_V_STACK_CHANGED;
				if (place)
					want = GUARD_V_NO_RECORD;
				if (stack)
					want = GUARD_V_BAD_STACK;
				if (mapping)
					want = GUARD_V_BAD_MAPPING;
				if (mode)
					want = GUARD_V_BAD_MODE;
				w->cpu[0] = at;
				w_set_word(w, 0, slot, word ? 1 : w_gate(m, GATE_LEAVE_RETURN));
				cond_stack(w, m, stack ? STACK_OVERLAP : STACK_GOOD, &undo);
				cond_mapping(w, m, mapping, &undo);
				cond_mode(&w->cpu[0], mode);
				w->cpu[0].gpr[GUARD_RBX] ^= reg;
				w->cpu[0].rflags ^= flag ? 1u << 10 : 0;
				w->vmm->fail_op[FAKE_RAISE] = raise;
				expect(w_fetch(w, 0, at.rip + place), want);
				w->vmm->fail_op[FAKE_RAISE] = 0;
				cond_undo(&undo);
				assert_int_equal(w->d.inject_gp, want != GUARD_V_OK);
				if (want != GUARD_V_OK)
					continue;
				w->cpu[0] = at;
				expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
			}
	w_destroy(w);
}

/* R3d: the words that lead home, changed during a departure, also between call and leave gate. */
static void words_changed(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t slot, ret, rbp;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	slot = w->cpu[0].gpr[GUARD_RSP];
	w_frame(w, 0, m, FN_F);
	w_inner(w, 0, m, FN_F, FN_I);
	rbp = w->cpu[0].gpr[GUARD_RBP];
	w_push(w, 0, w_fn(m, FN_I, FN_RET));
	ret = w->cpu[0].gpr[GUARD_RSP];
	w->cpu[0].rip = w_gate_x(m, GATE_LEAVE);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	{
		const uint64_t words[] = { ret, rbp, rbp + 8, slot };
		size_t i;

		for (i = 0; i < 4; i++) {
			uint64_t old = w_word(w, 0, words[i]);

			w_set_word(w, 0, words[i], old + 0x100);
			expect(w_x(w, 0, w_gate_x(m, GATE_LEAVE)), GUARD_V_STACK_CHANGED);
			expect_line(w, 0, GUARD_RESUME, GUARD_V_STACK_CHANGED);
			assert_true(w->d.inject_gp);
			w_set_word(w, 0, words[i], old);
		}
	}
	w_set_word(w, 0, ret + 8, 0x1234); /* a local */
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE)));
	w_destroy(w);
}

/* At an enter gate a record that does not fit leads to a fresh, unprivileged entry (E1). */
static void fresh_entry_after_refusal(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu at;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	w_push(w, 0, w_fn(m, FN_F, FN_RET));
	w->cpu[0].rip = w_gate_x(m, GATE_ENTER + FN_G);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	at = w->cpu[0];
	w->cpu[0].gpr[GUARD_R12] ^= 1;
	expect(w_x(w, 0, at.rip), GUARD_V_BAD_RETURN);
	expect_lines(w, 2);
	expect_line(w, 0, GUARD_RESUME, GUARD_V_REGISTERS_CHANGED);
	expect_line(w, 1, GUARD_ENTER_CALL, GUARD_V_BAD_RETURN);
	w_set_word(w, 0, at.gpr[GUARD_RSP], W_KRET);
	expect_ok(w_x(w, 0, at.rip));
	expect_lines(w, 2);
	expect_line(w, 0, GUARD_RESUME, GUARD_V_STACK_CHANGED);
	expect_line(w, 1, GUARD_ENTER_CALL, GUARD_V_OK);
	assert_int_equal(w_info(w, m).suspended, 0); /* entered at a slot in its extent */
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	expect_u(w, 0);
	w_destroy(w);
}

/* A departed chain's stack that leads nowhere, or too far, is dropped; the guest goes on. */
static void departures_refused(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	unsigned i;

	(void)state;
	for (i = 0; i < 5; i++) {
		enum guard_verdict want = GUARD_V_STACK_CHANGED;

		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, FN_F));
		w_frame(w, 0, m, FN_F);
		switch (i) {
		case 0: w->cpu[0].rip = w_fn(m, FN_N, FN_BODY); break;
		case 1: w->cpu[0].gpr[GUARD_RBP] = 0x1000; break;
		case 2: w->cpu[0].gpr[GUARD_RSP] += 4; break;
		case 3: w->cpu[0].gpr[GUARD_RSP] += 4096; break;
		default: w->cpu[0].gpr[GUARD_RSP] -= 9 * GM_PAGE; want = GUARD_V_STACK_TOO_DEEP;
		}
		expect(w_depart(w, 0, GUARD_CAUSE_EXCEPTION, 14), want);
		expect_line(w, 0, GUARD_DEPART, want);
		expect_u(w, 0);
		assert_false(w->d.inject_gp); /* an event is being delivered already */
		assert_int_equal(w_info(w, m).suspended, 0);
	}
	w_thread(w, 0, 0);
	assert_true(w_honest(w, 0, m, FN_F));
	w_destroy(w);
}

/* An event on a vCPU that is not inside is none of the guard's business. */
static void departure_outside(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct guard_cpu before = w->cpu[0];

	(void)state;
	w_depart(w, 0, GUARD_CAUSE_IRQ, 32);
	assert_int_equal(w->d.nlines, 0);
	assert_memory_equal(&w->cpu[0], &before, sizeof(before));
	assert_int_equal(w->vmm->total, 0);
	w_destroy(w);
}

/* E2: the kernel jumps past a gate's X, to f itself, into the middle of f. */
static void jumps_into_text(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint32_t off;

	(void)state;
	for (off = 0; off < 0x40; off++) {
		expect(w_fetch(w, 0, w_fn(m, FN_F, off)), GUARD_V_NO_RECORD);
		assert_true(w->d.inject_gp);
		expect_u(w, 0);
	}
	expect(w_fetch(w, 0, w_fn(m, FN_INIT, 0)), GUARD_V_NO_RECORD);
	assert_int_equal(w->vmm->calls[FAKE_RAISE], 0);
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(at_every_place),
		cmocka_unit_test(cfa_in_any_register),
		cmocka_unit_test(inside_gates),
		cmocka_unit_test(odd_places_in_gates),
		cmocka_unit_test(behind_the_gates),
		cmocka_unit_test(registers_on_resume),
		cmocka_unit_test(scrubbed_departure),
		cmocka_unit_test(fixups),
		cmocka_unit_test(no_fixup),
		cmocka_unit_test(handler_enters),
		cmocka_unit_test(resumes_on_another_vcpu),
		cmocka_unit_test(resume_conditions),
		cmocka_unit_test(words_changed),
		cmocka_unit_test(fresh_entry_after_refusal),
		cmocka_unit_test(departures_refused),
		cmocka_unit_test(departure_outside),
		cmocka_unit_test(jumps_into_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
