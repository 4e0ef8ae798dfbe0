/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory that changes hands: init segments that the kernel frees, ranges that a module has left,
 * resources that are named but not bound, and hypercalls that come from inside.
 */
#include "tests/support/check.h"

/* Freed init memory that the kernel uses as a stack: no bad-stack for the module's own past. */
static void freed_init_as_stack(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct std_options o = std_default();
	struct wmodule *m = &w->module[0], *other;
	uint64_t gpa, page = w_stack_top(6) - GM_PAGE;

	(void)state;
	other = w_ready(w, &o);
	gpa = fake_walk(w->vmm, w->cr3, w_seg(m, SEG_INIT_DATA, 0)).gpa;
	assert_true(w_honest(w, 0, m, FN_INIT));
	fake_map(w->vmm, w->cr3, page, gpa, PTE_P | PTE_W);
	/* still mapped at its place: it is the module's */
	w_thread(w, 0, 6);
	expect(w_enter(w, 0, other, FN_F), GUARD_V_BAD_STACK);
	fake_unmap(w->vmm, w->cr3, w_seg(m, SEG_INIT_DATA, 0));
	w_thread(w, 0, 6);
	expect_ok(w_enter(w, 0, other, FN_F));
	expect_ok(w_x(w, 0, w_gate_x(other, GATE_LEAVE_RETURN)));
	/* freed, but bad for another reason as well */
	fake_map(w->vmm, w->cr3, page, gpa, PTE_P);
	w_thread(w, 1, 6);
	expect(w_enter(w, 1, other, FN_F), GUARD_V_BAD_STACK);
	w_destroy(w);
}

/* Freed init memory somewhere, and a stack that is bad for a reason of its own. */
static void freed_init_and_bad(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct std_options o = std_default();
	struct wmodule *m = &w->module[0], *other = w_ready(w, &o);
	uint64_t page = w_stack_top(6) - GM_PAGE;

	(void)state;
	assert_true(w_honest(w, 0, m, FN_INIT));
	fake_unmap(w->vmm, w->cr3, w_seg(m, SEG_INIT, 0));
	/* headroom alone: nobody would write there before the module does */
	*fake_pte(w->vmm, w->cr3, w_stack_top(5) - 2 * GM_PAGE) &= ~PTE_W;
	w_thread(w, 1, 5);
	w->cpu[1].gpr[GUARD_RSP] = w_stack_top(5) - GM_PAGE + 0x20;
	expect(w_enter(w, 1, other, FN_F), GUARD_V_BAD_STACK);
	fake_map(w->vmm, w->cr3, page, fake_walk(w->vmm, w->cr3, w_fn(m, FN_F, 0) & ~0xfffull).gpa,
		 PTE_P | PTE_W);
	w_thread(w, 1, 6);
	w->cpu[1].gpr[GUARD_RSP] -= 8;
	expect(w_x(w, 1, w_gate_x(other, GATE_ENTER + FN_F)), GUARD_V_BAD_STACK);
	w_destroy(w);
}

/* Behind the last byte of a segment, but on its page: nothing is known about that place. */
static void tail_of_the_text(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w->cpu[0].rip = w_seg(m, SEG_TEXT, STD_TEXT_SIZE + 8);
	expect(w_depart(w, 0, GUARD_CAUSE_IRQ, 32), GUARD_V_STACK_CHANGED);
	expect_u(w, 0);
	/* init's first row does not reach down to the segment before it */
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_F));
	w->cpu[0].rip = w_seg(m, SEG_INIT, GM_PAGE + 0x200);
	expect(w_depart(w, 0, GUARD_CAUSE_IRQ, 32), GUARD_V_STACK_CHANGED);
	w_destroy(w);
}

/* A return site that is the first byte of the text has no call before it. */
static void return_site_at_start(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *m;
	void *manifest;
	size_t len;

	(void)state;
	manifest = std_manifest(&o, &len);
	*(uint32_t *)mb_record(manifest, MB_RETSITES, 0) = 0;
	m = w_add_manifest(w, &o, manifest, len);
	expect_ok(w_announce(w, 0, m));
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	w_push(w, 0, w_fn(m, FN_F, 0));
	expect(w_x(w, 0, w_gate_x(m, GATE_LEAVE)), GUARD_V_STACK_CHANGED);
	w_destroy(w);
}

/* Where a withdrawn module's gates were, another module's text may lie now. */
static void remembered_and_reused(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *a = w_ready(w, &o), *b = w_add(w, &o);
	uint64_t gates = w_gate(a, 0);
	unsigned i;

	(void)state;
	expect_ok(w_withdraw(w, 0, a));
	expect(w_x(w, 0, gates + 1), GUARD_V_BAD_SITE);
	b->base[SEG_TEXT] = gates;
	for (i = 0; i < 4; i++)
		fake_map(w->vmm, w->cr3, gates + i * GM_PAGE, b->gpa[i], PTE_P | PTE_W);
	w_load(w, b);
	expect_ok(w_announce(w, 0, b));
	w_x(w, 0, gates + 1);
	assert_true(w->d.foreign);
	/* unregistered, its gates are no memory at all */
	expect_ok(w_withdraw(w, 0, b));
	expect_ok(guard_unregister(w->guard, a->index, &w->d));
	w_x(w, 0, gates + 1);
	assert_true(w->d.foreign);
	w_destroy(w);
}

/* Without execute control: a hypercall from inside is an exit first; if that fails, no more. */
static void hypercall_from_inside(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w->cpu[0].gpr[GUARD_RAX] = GUARD_CALL_WITHDRAW;
	w->cpu[0].gpr[GUARD_RBX] = m->id;
	w->cpu[0].gpr[GUARD_RSP] -= 8;
	w_set_word(w, 0, w->cpu[0].gpr[GUARD_RSP], 0);
	w_x(w, 0, W_HYPERCALL);
	expect_lines(w, 2);
	expect_line(w, 0, GUARD_LEAVE_CALL, GUARD_V_WILD_EXIT);
	expect_line(w, 1, GUARD_WITHDRAW, GUARD_V_OK);
	expect_ok(w_announce(w, 0, m));
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_F));
	w->cpu[0].gpr[GUARD_RAX] = GUARD_CALL_WITHDRAW;
	w->cpu[0].gpr[GUARD_RBX] = m->id;
	w->cpu[0].gpr[GUARD_RSP] += 8;
	w->vmm->fail_op[FAKE_LOWER] = 1;
	w_x(w, 0, W_HYPERCALL);
	assert_true(w->d.stop_vcpu);
	expect_lines(w, 1);
	assert_true(w_info(w, m).announced);
	w_destroy(w);
}

/* TOUCH where a privilege is declared but not bound, or the module is gone. */
static void touch_of_the_unbound(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct guard_event ev = { .type = GUARD_EV_TOUCH, .vcpu = 0, .cpu = w->cpu[0] };
	struct wmodule *a, *b;

	(void)state;
	a = w_ready(w, &o);
	o.bound = ALL_PRIVILEGES & ~(1u << PRIV_DEVICE);
	b = w_ready(w, &o);
	ev.gpa = b->binding.resource[PRIV_DEVICE].base;
	w_judge(w, &ev);
	assert_int_equal(w_info(w, b).touches, 0);
	assert_int_equal(w->d.line[0].module, GUARD_VIEW_U);
	ev.gpa = a->binding.resource[PRIV_DEVICE].base;
	w_judge(w, &ev);
	assert_int_equal(w_info(w, a).touches, 1);
	expect_ok(guard_unregister(w->guard, a->index, &w->d));
	w_judge(w, &ev);
	assert_int_equal(w->d.line[0].module, GUARD_VIEW_U);
	ev.gpa = b->gpa[0]; /* of the module, but nothing that is hidden */
	w_judge(w, &ev);
	assert_int_equal(w->d.line[0].module, GUARD_VIEW_U);
	w_destroy(w);
}

/* I14 with a range that the first module names but does not get. */
static void device_named_but_not_bound(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *a;

	(void)state;
	o.bound = ALL_PRIVILEGES & ~(1u << PRIV_DEVICE);
	a = w_ready(w, &o);
	expect_ok(guard_unregister(w->guard, a->index, &w->d));
	a->binding.resource[PRIV_DEVICE].base = FAKE_MMIO + 0x10000; /* the next one's */
	expect_ok(w_register(w, a));
	o.bound = ALL_PRIVILEGES;
	w_ready(w, &o); /* would abort if refused */
	assert_true(w->vmm->module[1].device_hidden[PRIV_DEVICE]);
	w_destroy(w);
}

/* Announced again with init memory elsewhere: that is another place. */
static void init_elsewhere(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	const struct gm_segment *s = mb_record(m->manifest, MB_SEGMENTS, SEG_INIT_DATA);

	(void)state;
	m->base[SEG_INIT_DATA] += 0x40000;
	fake_map(w->vmm, w->cr3, m->base[SEG_INIT_DATA], m->gpa[s->start / GM_PAGE], PTE_P | PTE_W);
	fake_forget(w->vmm);
	expect_ok(w_announce(w, 0, m));
	assert_true(w->vmm->calls[FAKE_FRAME_ROLE] > 0);
	assert_int_equal(w_info(w, m).base[SEG_INIT_DATA], m->base[SEG_INIT_DATA]);
	w_destroy(w);
}

/* Init is dropped for its own mapping's sake only, once, and only where it is announced. */
static void init_dropped_once(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0], *other = w_ready(w, &o);
	uint64_t *pte = fake_pte(w->vmm, w->cr3, w_fn(m, FN_F, 0)), old = *pte;
	uint64_t init = fake_walk(w->vmm, w->cr3, w_seg(m, SEG_INIT, 0)).gpa;

	(void)state;
	assert_true(w_honest(w, 0, m, FN_INIT));
	*pte = 0; /* E7, not a freed init */
	expect(w_enter(w, 0, m, FN_F), GUARD_V_BAD_MAPPING);
	*pte = old;
	assert_int_equal(w->vmm->frame[init / GM_PAGE].role, GUARD_ROLE_VERIFIED);
	fake_unmap(w->vmm, w->cr3, w_seg(m, SEG_INIT, 0));
	w_thread(w, 0, 0);
	assert_true(w_honest(w, 0, m, FN_F));
	assert_int_equal(w->vmm->frame[init / GM_PAGE].role, GUARD_ROLE_NONE);
	expect(w_fetch(w, 0, w_fn(m, FN_F, 0x10)), GUARD_V_NO_RECORD);
	assert_false(w->d.foreign);
	w_thread(w, 0, 0);
	expect_ok(w_withdraw(w, 0, m));
	expect(w_fetch(w, 0, w_fn(other, FN_F, 0x10)), GUARD_V_NO_RECORD);
	assert_false(w->d.foreign);
	w_destroy(w);
}

/* What the last announcement's init did says nothing about this one's. */
static void init_of_the_next_announcement(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	assert_true(w_honest(w, 0, m, FN_INIT));
	expect_ok(w_withdraw(w, 0, m));
	expect_ok(w_announce(w, 0, m));
	w_thread(w, 0, 0);
	assert_true(w_honest(w, 0, m, FN_F));
	fake_unmap(w->vmm, w->cr3, w_seg(m, SEG_INIT, 0));
	expect(w_enter(w, 0, m, FN_F), GUARD_V_BAD_MAPPING);
	w_destroy(w);
}

/* The module's own text may ask the VMM for something, and stays inside. */
static void hypercall_of_the_module(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w->cpu[0].gpr[GUARD_RAX] = GUARD_CALL_STATUS;
	w->cpu[0].gpr[GUARD_RBX] = m->id;
	w_x(w, 0, w_fn(m, FN_F, 4));
	expect_lines(w, 0);
	expect_view(w, 0, m);
	assert_int_equal(w->cpu[0].gpr[GUARD_RAX],
			 GUARD_STATUS_REGISTERED | GUARD_STATUS_ANNOUNCED);
	w_destroy(w);
}

/* Only device privileges have a range: what stands beside others means nothing. */
static void range_of_no_device(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct guard_event ev = { .type = GUARD_EV_TOUCH, .vcpu = 0, .cpu = w->cpu[0] };
	struct wmodule *m = w_ready(w, &o);

	(void)state;
	expect_ok(guard_unregister(w->guard, m->index, &w->d));
	m->binding.resource[PRIV_MWAIT].base = FAKE_MMIO + 0x500000;
	m->binding.resource[PRIV_MWAIT].length = 0x1000;
	expect_ok(w_register(w, m));
	ev.gpa = FAKE_MMIO + 0x500010;
	w_judge(w, &ev);
	assert_int_equal(w->d.line[0].module, GUARD_VIEW_U);
	w_destroy(w);
}

/* A module that is not announced has no init to drop, whatever it had. */
static void init_of_the_withdrawn(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0], *other = w_ready(w, &o);

	(void)state;
	assert_true(w_honest(w, 0, m, FN_INIT));
	expect_ok(w_withdraw(w, 0, m));
	w_thread(w, 0, 0);
	expect(w_fetch(w, 0, w_fn(other, FN_F, 0x10)), GUARD_V_NO_RECORD);
	assert_false(w->d.foreign);
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(freed_init_as_stack),
		cmocka_unit_test(freed_init_and_bad),
		cmocka_unit_test(tail_of_the_text),
		cmocka_unit_test(return_site_at_start),
		cmocka_unit_test(remembered_and_reused),
		cmocka_unit_test(hypercall_from_inside),
		cmocka_unit_test(touch_of_the_unbound),
		cmocka_unit_test(device_named_but_not_bound),
		cmocka_unit_test(init_elsewhere),
		cmocka_unit_test(init_dropped_once),
		cmocka_unit_test(init_of_the_next_announcement),
		cmocka_unit_test(hypercall_of_the_module),
		cmocka_unit_test(range_of_no_device),
		cmocka_unit_test(init_of_the_withdrawn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
