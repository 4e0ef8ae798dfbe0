/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Records live as long as their stacks do: threads interleave, migrate, die; several vCPUs are
 * inside at once; tables fill up. Honest threads never notice, abandoned chains never get in.
 */
#include "tests/support/check.h"

/* Thread t of vCPU v goes in and out again; its registers are kept in *out. */
static void go_out(struct world *w, struct wmodule *m, unsigned v, unsigned t, enum fn fn,
		   struct guard_cpu *out)
{
	w_thread(w, v, t);
	expect_ok(w_enter(w, v, m, fn));
	w_frame(w, v, m, fn);
	expect_ok(w_callout(w, v, m, fn, GATE_LEAVE));
	*out = w->cpu[v];
}

static void come_back(struct world *w, struct wmodule *m, unsigned v, enum fn fn,
		      const struct guard_cpu *out)
{
	w->cpu[v] = *out;
	expect_ok(w_back(w, v, m));
	expect_ok(w_exit(w, v, m, fn));
	assert_int_equal(w->cpu[v].rip, W_KRET);
	expect_u(w, v);
}

/* R17: any order of return of three threads on one vCPU. */
static void threads_interleaved(void **state)
{
	static const unsigned orders[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
					      { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu out[3];
	unsigned i, t;

	(void)state;
	for (i = 0; i < 6; i++) {
		for (t = 0; t < 3; t++)
			go_out(w, m, 0, t, t & 1 ? FN_F : FN_G, &out[t]);
		assert_int_equal(w_info(w, m).suspended, 3);
		for (t = 0; t < 3; t++)
			come_back(w, m, 0, orders[i][t] & 1 ? FN_F : FN_G, &out[orders[i][t]]);
		assert_int_equal(w_info(w, m).suspended, 0);
	}
	w_destroy(w);
}

/* R18, C4: two vCPUs inside at once, one leaves; each sees the other's threads come back. */
static void two_vcpus_inside(void **state)
{
	struct world *w = w_simple(4, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu out[4];
	unsigned v;

	(void)state;
	for (v = 0; v < 4; v++)
		expect_ok(w_enter(w, v, m, FN_G));
	assert_int_equal(w_info(w, m).running, 0xf);
	expect_ok(w_x(w, 2, w_gate_x(m, GATE_LEAVE_RETURN)));
	assert_int_equal(w_info(w, m).running, 0xb);
	expect_view(w, 0, m);
	expect_view(w, 1, m);
	expect_u(w, 2);
	expect_view(w, 3, m);
	for (v = 0; v < 4; v++)
		if (v != 2) {
			w_frame(w, v, m, FN_G);
			expect_ok(w_callout(w, v, m, FN_G, GATE_LEAVE));
			out[v] = w->cpu[v];
		}
	come_back(w, m, 1, FN_G, &out[0]);
	come_back(w, m, 3, FN_G, &out[1]);
	come_back(w, m, 2, FN_G, &out[3]);
	w_destroy(w);
}

/* R2: a thread dies in a call-out; entries on the reused stack work and end unprivileged. */
static void thread_dies(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu dead;
	unsigned i;

	(void)state;
	for (i = 0; i < 20; i++) {
		go_out(w, m, 0, 0, FN_B512, &dead);
		/* its stack is a new thread's: entered at a slot inside the dead extent */
		w_thread(w, 0, 0);
		w->cpu[0].gpr[GUARD_RSP] -= 0x100;
		assert_true(w_honest(w, 0, m, FN_G));
		assert_int_equal(w_info(w, m).suspended, 0);
		w->cpu[0] = dead;
		expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_NO_RECORD);
	}
	/* above the dead extent: it dies when the newcomer suspends over it */
	go_out(w, m, 0, 0, FN_G, &dead);
	w_thread(w, 0, 0);
	w->cpu[0].gpr[GUARD_RSP] += 0x80;
	expect_ok(w_enter(w, 0, m, FN_B512));
	assert_int_equal(w_info(w, m).suspended, 1);
	w_frame(w, 0, m, FN_B512);
	expect_ok(w_callout(w, 0, m, FN_B512, GATE_LEAVE));
	assert_int_equal(w_info(w, m).suspended, 1);
	expect_ok(w_back(w, 0, m));
	expect_ok(w_exit(w, 0, m, FN_B512));
	w->cpu[0] = dead;
	expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_NO_RECORD);
	w_destroy(w);
}

/* The same through another address of the same frames: extents are physical. */
static void stack_reused_by_alias(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t alias = 0xffffc9000a000000ull, i;
	struct guard_cpu dead;

	(void)state;
	for (i = 0; i < W_STACK_PAGES; i++)
		fake_map(w->vmm, w->cr3, alias + i * GM_PAGE,
			 fake_walk(w->vmm, w->cr3, w_stack_top(0) - (W_STACK_PAGES - i) * GM_PAGE)
				 .gpa,
			 PTE_P | PTE_W);
	go_out(w, m, 0, 0, FN_B512, &dead);
	w_thread(w, 0, 0);
	w->cpu[0].gpr[GUARD_RSP] += alias - (w_stack_top(0) - W_STACK_PAGES * GM_PAGE) - 0x100;
	expect_ok(w_enter(w, 0, m, FN_G));
	assert_int_equal(w_info(w, m).suspended, 0);
	w_destroy(w);
}

/* A chain dies as well when an inside call of another activation lands in its extent. */
static void entered_by_another_chains_child(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu dead;

	(void)state;
	go_out(w, m, 0, 0, FN_B512, &dead);
	w_thread(w, 0, 0);
	w->cpu[0].gpr[GUARD_RSP] += 0x40;
	expect_ok(w_enter(w, 0, m, FN_G));
	w_frame(w, 0, m, FN_G);
	w->cpu[0].gpr[GUARD_RSP] -= 0x40;
	expect_ok(w_enter_from(w, 0, m, FN_F, w_fn(m, FN_G, FN_RET)));
	assert_int_equal(w_info(w, m).suspended, 0);
	w_destroy(w);
}

/* Its own child never kills a chain: the extent of a suspension ends above its slot. */
static void own_visitors_spare_it(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu out;

	(void)state;
	go_out(w, m, 0, 0, FN_F, &out);
	assert_true(w_honest(w, 0, m, FN_F));
	assert_true(w_honest(w, 0, m, FN_B512));
	assert_int_equal(w_info(w, m).suspended, 1);
	come_back(w, m, 0, FN_F, &out);
	w_destroy(w);
}

/* P9: an entry on an IRQ stack while its thread waits; two kinds of stack at once. */
static void irq_stack(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu out, at;

	(void)state;
	go_out(w, m, 0, 0, FN_F, &out);
	w_thread(w, 0, 5);
	assert_true(w_honest(w, 0, m, FN_G));
	come_back(w, m, 0, FN_F, &out);
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	at = w->cpu[0];
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	w_thread(w, 0, 5);
	assert_true(w_honest(w, 0, m, FN_G));
	w->cpu[0] = at;
	expect_ok(w_fetch(w, 0, at.rip));
	expect_ok(w_exit(w, 0, m, FN_F));
	w_destroy(w);
}

/* R12, R27: the table fills; live chains are kept, stale ones make room, nothing leaks. */
static void full_table(void **state)
{
	struct std_options o = std_default();
	struct guard_cpu out[4];
	struct world *w;
	struct wmodule *m;
	unsigned t;

	(void)state;
	o.policy.chains = 4;
	w = w_simple(2, &o);
	m = &w->module[0];
	for (t = 0; t < 4; t++)
		go_out(w, m, 0, t, FN_G, &out[t]);
	w_thread(w, 0, 4);
	expect(w_enter(w, 0, m, FN_G), GUARD_V_NO_ROOM);
	assert_int_equal(w_info(w, m).suspended, 4);
	/* an entry at a slot inside a chain's extent takes that chain's room */
	w_thread(w, 0, 2);
	expect_ok(w_enter(w, 0, m, FN_G));
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	assert_int_equal(w_info(w, m).suspended, 3);
	go_out(w, m, 0, 2, FN_G, &out[2]);
	/* thread 1 is gone and its stack is written over: its words no longer verify */
	w_set_word(w, 0, w_stack_top(1) - 0x408, 0);
	w_thread(w, 0, 4);
	expect_ok(w_enter(w, 0, m, FN_G));
	assert_int_equal(w_info(w, m).suspended, 3);
	w->cpu[1] = out[1];
	expect(w_x(w, 1, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_NO_RECORD);
	/* running ones are never made room of */
	w_thread(w, 1, 5);
	expect(w_enter(w, 1, m, FN_G), GUARD_V_NO_ROOM);
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	come_back(w, m, 0, FN_G, &out[0]);
	come_back(w, m, 0, FN_G, &out[2]);
	come_back(w, m, 0, FN_G, &out[3]);
	assert_int_equal(w_info(w, m).suspended, 0);
	/* departed ones count alike; a stack that is no longer mapped verifies no more */
	for (t = 0; t < 4; t++) {
		w_thread(w, 0, t);
		expect_ok(w_enter(w, 0, m, FN_G));
		w_frame(w, 0, m, FN_G);
		expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	}
	w_thread(w, 0, 4);
	expect(w_enter(w, 0, m, FN_G), GUARD_V_NO_ROOM);
	fake_unmap(w->vmm, w->cr3, w_stack_top(3) - GM_PAGE);
	expect_ok(w_enter_from(w, 0, m, FN_G, W_KRET));
	assert_int_equal(w_info(w, m).suspended, 3);
	w_destroy(w);
}

/* E18: a departed chain's frame, aliased and entered elsewhere; then the chain resumes. */
static void departed_stack_in_use(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu at;
	uint64_t page;

	(void)state;
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_G));
	w_frame(w, 0, m, FN_G);
	at = w->cpu[0];
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	/* vCPU 1's stack page becomes the same frame; it enters below the departed extent, so the
	 * chain lives on, but its headroom runs into it */
	page = w_stack_top(1) - GM_PAGE;
	fake_map(w->vmm, w->cr3, page, fake_walk(w->vmm, w->cr3, w_stack_top(0) - GM_PAGE).gpa,
		 PTE_P | PTE_W);
	w_thread(w, 1, 1);
	w->cpu[1].gpr[GUARD_RSP] = page + (at.gpr[GUARD_RSP] & 0xfff) - 0x10;
	expect_ok(w_enter(w, 1, m, FN_G));
	assert_int_equal(w_info(w, m).suspended, 1);
	expect(w_fetch(w, 0, at.rip), GUARD_V_BAD_STACK);
	expect_line(w, 0, GUARD_RESUME, GUARD_V_BAD_STACK);
	expect_ok(w_x(w, 1, w_gate_x(m, GATE_LEAVE_RETURN)));
	/* inside its extent the chain dies */
	w->cpu[1].gpr[GUARD_RSP] = page + (at.gpr[GUARD_RSP] & 0xfff) + 0x18;
	expect_ok(w_enter(w, 1, m, FN_G));
	assert_int_equal(w_info(w, m).suspended, 0);
	w_destroy(w);
}

/* Extents of running activations never overlap, whichever module's; to the byte. */
static void running_extents(void **state)
{
	struct world *w = w_create(2);
	struct std_options o = std_default();
	struct wmodule *a = w_ready(w, &o), *b = w_ready(w, &o);
	uint64_t page = w_stack_top(1) - GM_PAGE, slot;
	int64_t d;

	(void)state;
	fake_map(w->vmm, w->cr3, page, fake_walk(w->vmm, w->cr3, w_stack_top(0) - GM_PAGE).gpa,
		 PTE_P | PTE_W);
	w_thread(w, 0, 0);
	w->cpu[0].gpr[GUARD_RSP] = w_stack_top(0) - 0x600;
	expect_ok(w_enter(w, 0, a, FN_G));
	slot = w->cpu[0].gpr[GUARD_RSP] & 0xfff;
	for (d = -0x300; d <= 0x300; d += 8) {
		/* [slot - 512, slot + 8) on both sides */
		bool apart = d <= -(int64_t)(GM_MIN_HEADROOM + 8) || d >= GM_MIN_HEADROOM + 8;

		w_thread(w, 1, 1);
		w->cpu[1].gpr[GUARD_RSP] = page + slot + (uint64_t)d + 8;
		if (apart) {
			expect_ok(w_enter(w, 1, d & 8 ? a : b, FN_G));
			expect_ok(w_x(w, 1, w_gate_x(d & 8 ? a : b, GATE_LEAVE_RETURN)));
			continue;
		}
		w->cpu[1].gpr[GUARD_RSP] -= 8;
		expect(w_x(w, 1, w_gate_x(d & 8 ? a : b, GATE_ENTER + FN_G)), GUARD_V_BAD_STACK);
	}
	expect_ok(w_x(w, 0, w_gate_x(a, GATE_LEAVE_RETURN)));
	w_destroy(w);
}

/* P12, I14, R16: A calls B calls back A; each has its own privileges and its own way home. */
static void modules_nested(void **state)
{
	struct world *w = w_create(1);
	struct std_options o = std_default();
	struct wmodule *a, *b;

	(void)state;
	o.bound = 1u << PRIV_PRIVATE;
	a = w_ready(w, &o);
	o.bound = 1u << PRIV_MWAIT | 1u << PRIV_MSR;
	b = w_ready(w, &o);
	expect_ok(w_enter(w, 0, a, FN_F));
	assert_int_equal(w->vmm->vcpu[0].privileges, 1u << PRIV_PRIVATE);
	w_frame(w, 0, a, FN_F);
	/* A's import is B's gate: out of A, then into B */
	expect_ok(w_callout(w, 0, a, FN_F, GATE_LEAVE));
	expect_ok(w_x(w, 0, w_gate_x(b, GATE_ENTER + FN_F)));
	expect_view(w, 0, b);
	assert_int_equal(w->vmm->vcpu[0].privileges, 1u << PRIV_MWAIT | 1u << PRIV_MSR);
	w_frame(w, 0, b, FN_F);
	expect_ok(w_callout(w, 0, b, FN_F, GATE_LEAVE));
	expect_ok(w_x(w, 0, w_gate_x(a, GATE_ENTER + FN_G)));
	expect_view(w, 0, a);
	w_frame(w, 0, a, FN_G);
	expect_ok(w_exit(w, 0, a, FN_G)); /* home to B's enter-return gate */
	assert_int_equal(w->cpu[0].rip, w_gate(b, GATE_ENTER_RETURN));
	expect_u(w, 0);
	w->cpu[0].gpr[GUARD_RSP] -= 8;
	expect_ok(w_x(w, 0, w->cpu[0].rip + 5));
	expect_view(w, 0, b);
	expect_ok(w_exit(w, 0, b, FN_F));
	assert_int_equal(w->cpu[0].rip, w_gate(a, GATE_ENTER_RETURN));
	w->cpu[0].gpr[GUARD_RSP] -= 8;
	expect_ok(w_x(w, 0, w->cpu[0].rip + 5));
	expect_view(w, 0, a);
	assert_int_equal(w->vmm->vcpu[0].privileges, 1u << PRIV_PRIVATE);
	expect_ok(w_exit(w, 0, a, FN_F));
	assert_int_equal(w->cpu[0].rip, W_KRET);
	w_destroy(w);
}

/* One module's gates on a vCPU that is privileged in another: left first, then judged. */
static void other_modules_gates(void **state)
{
	static const unsigned gates[] = { GATE_ENTER + FN_F, GATE_LEAVE_RETURN, GATE_LEAVE,
					  GATE_ENTER_RETURN };
	struct world *w = w_create(1);
	struct std_options o = std_default();
	struct wmodule *a = w_ready(w, &o), *b = w_ready(w, &o);
	size_t i;

	(void)state;
	for (i = 0; i < 4; i++) {
		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, a, FN_F));
		w_frame(w, 0, a, FN_F);
		w_x(w, 0, w_gate_x(b, gates[i])); /* a wild exit into it */
		assert_int_equal(w_info(w, a).running, 0);
		expect_lines(w, 2);
		expect_line(w, 0, GUARD_LEAVE_CALL, GUARD_V_WILD_EXIT);
		assert_int_equal(w->d.line[0].module, a->index);
		assert_int_equal(w->d.line[1].module, b->index);
		assert_int_not_equal(w->d.line[1].verdict, GUARD_V_OK);
		expect_u(w, 0);
	}
	/* and a call there is a call-out, then an entry: what execute control would show in two */
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, a, FN_F));
	w_frame(w, 0, a, FN_F);
	w_push(w, 0, w_fn(a, FN_F, FN_RET));
	w_x(w, 0, w_gate_x(b, GATE_ENTER + FN_F));
	expect_line(w, 0, GUARD_LEAVE_CALL, GUARD_V_OK);
	assert_int_equal(w->d.line[1].module, b->index);
	w_destroy(w);
}

/* Two activations of one chain on one stack never lose each other over sixteen rounds. */
static void many_rounds(void **state)
{
	struct world *w = w_simple(3, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu out[W_THREADS];
	unsigned i, t;

	(void)state;
	for (t = 0; t < 6; t++)
		go_out(w, m, t % 3, t, t & 1 ? FN_F : FN_D, &out[t]);
	for (i = 0; i < 200; i++) {
		unsigned v = (i + 1) % 3;

		t = i * 5 % 6;
		w->cpu[v] = out[t];
		expect_ok(w_back(w, v, m));
		expect_ok(w_depart(w, v, GUARD_CAUSE_IRQ, 32));
		w->cpu[(v + 1) % 3] = w->cpu[v];
		v = (v + 1) % 3;
		expect_ok(w_fetch(w, v, w->cpu[v].rip));
		expect_ok(w_callout(w, v, m, t & 1 ? FN_F : FN_D, GATE_LEAVE));
		out[t] = w->cpu[v];
		assert_int_equal(w_info(w, m).suspended, 6);
	}
	for (t = 0; t < 6; t++)
		come_back(w, m, 0, t & 1 ? FN_F : FN_D, &out[t]);
	w_destroy(w);
}

static void foreign_at(struct world *w, uint64_t rip)
{
	w_thread(w, 0, 0);
	w_x(w, 0, rip);
	assert_true(w->d.foreign);
	assert_false(w->d.inject_gp);
	expect_lines(w, 0);
}

static void refused_at(struct world *w, uint64_t rip, enum guard_event_name e)
{
	w_thread(w, 0, 0);
	expect(w_x(w, 0, rip), GUARD_V_UNANNOUNCED);
	expect_lines(w, 1);
	expect_line(w, 0, e, GUARD_V_UNANNOUNCED);
	assert_int_equal(w->d.line[0].module, GUARD_VIEW_U);
	assert_true(w->d.inject_gp);
	assert_false(w->d.foreign);
	assert_int_equal(w->d.cpu.rip, rip);
	expect_u(w, 0);
}

/*
 * A thread that waits outside while its module is unregistered comes back to a gate whose `ret` leads to
 * itself: so the two return gates are remembered, and nothing else is.
 */
static void unregistered_meanwhile(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t enter_return = w_gate_x(m, GATE_ENTER_RETURN);
	uint64_t leave_return = w_gate_x(m, GATE_LEAVE_RETURN);
	struct guard_cpu out;
	unsigned i;

	(void)state;
	go_out(w, m, 0, 0, FN_F, &out);
	expect_ok(guard_unregister(w->guard, m->index, &w->d));
	refused_at(w, enter_return, GUARD_ENTER_RETURN);
	refused_at(w, leave_return, GUARD_LEAVE_RETURN);
	for (i = 1; i < 3; i++) {
		foreign_at(w, enter_return + i);
		foreign_at(w, leave_return - i);
	}
	foreign_at(w, w_gate_x(m, GATE_ENTER + FN_F));
	foreign_at(w, w_gate_x(m, GATE_LEAVE));
	foreign_at(w, w_gate_x(m, GATE_LEAVE_RAX));
	foreign_at(w, 0);
	/* a numbered call's number there makes it none */
	w_thread(w, 0, 0);
	w->cpu[0].gpr[GUARD_RAX] = GUARD_CALL_STATUS;
	expect(w_x(w, 0, enter_return), GUARD_V_UNANNOUNCED);
	/* one that was never announced had no gates */
	for (i = 0; i < 2 * GUARD_MAX_MODULES; i++) {
		expect_ok(w_register(w, m));
		expect_ok(guard_unregister(w->guard, m->index, &w->d));
	}
	foreign_at(w, enter_return - w_gate(m, 0));
	refused_at(w, enter_return, GUARD_ENTER_RETURN);
	/* back at the same place its gates are its own; withdrawn, they are remembered as before */
	expect_ok(w_register(w, m));
	refused_at(w, enter_return, GUARD_ENTER_RETURN);
	expect_ok(w_announce(w, 0, m));
	w_thread(w, 0, 0);
	expect(w_x(w, 0, enter_return), GUARD_V_NO_RECORD);
	assert_true(w_honest(w, 0, m, FN_F));
	expect_ok(w_withdraw(w, 0, m));
	w_thread(w, 0, 0);
	expect(w_x(w, 0, enter_return), GUARD_V_UNANNOUNCED);
	assert_int_equal(w->d.line[0].module, m->index);
	/* somebody's text lies there now */
	w_move(w, m, (enter_return & ~(uint64_t)0xfff) - w_seg(m, SEG_TEXT, 0));
	expect_ok(w_announce(w, 0, m));
	foreign_at(w, enter_return);
	foreign_at(w, leave_return);
	w_destroy(w);
}

/* The gates of the last sixteen are remembered; the oldest is forgotten. */
static void unregistered_long_ago(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t first = w_gate_x(m, GATE_ENTER_RETURN);
	uint64_t home = w_gate_x(m, GATE_LEAVE_RETURN);
	unsigned i;

	(void)state;
	for (i = 0; i < GUARD_MAX_MODULES; i++) {
		expect_ok(guard_unregister(w->guard, m->index, &w->d));
		refused_at(w, first, GUARD_ENTER_RETURN);
		refused_at(w, home, GUARD_LEAVE_RETURN);
		refused_at(w, w_gate_x(m, GATE_ENTER_RETURN), GUARD_ENTER_RETURN);
		refused_at(w, w_gate_x(m, GATE_LEAVE_RETURN), GUARD_LEAVE_RETURN);
		expect_ok(w_register(w, m));
		w_move(w, m, 0x100000);
		expect_ok(w_announce(w, 0, m));
	}
	expect_ok(guard_unregister(w->guard, m->index, &w->d));
	foreign_at(w, first);
	foreign_at(w, home);
	refused_at(w, w_gate_x(m, GATE_ENTER_RETURN), GUARD_ENTER_RETURN);
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_interleaved),
		cmocka_unit_test(two_vcpus_inside),
		cmocka_unit_test(thread_dies),
		cmocka_unit_test(stack_reused_by_alias),
		cmocka_unit_test(entered_by_another_chains_child),
		cmocka_unit_test(own_visitors_spare_it),
		cmocka_unit_test(irq_stack),
		cmocka_unit_test(full_table),
		cmocka_unit_test(departed_stack_in_use),
		cmocka_unit_test(running_extents),
		cmocka_unit_test(modules_nested),
		cmocka_unit_test(other_modules_gates),
		cmocka_unit_test(many_rounds),
		cmocka_unit_test(unregistered_meanwhile),
		cmocka_unit_test(unregistered_long_ago),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
