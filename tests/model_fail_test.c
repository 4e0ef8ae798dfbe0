/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * R20, G6: a callback fails, at every call of every event, once or for good. The vCPU ends
 * unprivileged or stopped, a refusal says so, nothing is half done, and the module goes on.
 */
#include "tests/support/check.h"

struct play {
	struct world *w;
	struct wmodule *m;
};

/* One event: what leads up to it, the event, and how it may end when a callback fails. */
struct event {
	const char *name;
	struct std_options options;
	void (*before)(struct play *p);
	enum guard_verdict (*strike)(struct play *p);
	bool stays; /* privileged before: a refusal leaves it so */
};

static void inside(struct play *p)
{
	expect_ok(w_enter(p->w, 0, p->m, FN_F));
	w_frame(p->w, 0, p->m, FN_F);
}

static void outside(struct play *p)
{
	inside(p);
	expect_ok(w_callout(p->w, 0, p->m, FN_F, GATE_LEAVE));
}

static void outside_patched(struct play *p)
{
	outside(p);
	fake_copy_in(p->w->vmm, p->w->cr3, w_moff(p->m, SITE_STATIC), "\x0f\x1f\x44\0\0", 5);
}

static void departed(struct play *p)
{
	inside(p);
	expect_ok(w_depart(p->w, 0, GUARD_CAUSE_IRQ, 32));
}

static void departed_at_gate(struct play *p)
{
	inside(p);
	w_push(p->w, 0, w_fn(p->m, FN_F, FN_RET));
	p->w->cpu[0].rip = w_gate_x(p->m, GATE_LEAVE);
	expect_ok(w_depart(p->w, 0, GUARD_CAUSE_IRQ, 32));
}

static void at_child_ret(struct play *p)
{
	inside(p);
	w_push(p->w, 0, w_fn(p->m, FN_F, FN_RET));
	p->w->cpu[0].rip = w_gate_x(p->m, GATE_LEAVE_RETURN) + 3;
}

static void in_child(struct play *p)
{
	inside(p);
	expect_ok(w_enter_from(p->w, 0, p->m, FN_G, w_fn(p->m, FN_F, FN_RET)));
}

static void patched(struct play *p)
{
	static const uint8_t jmp = 0xe9;
	uint64_t at = w_moff(p->m, SITE_LABEL);
	uint32_t rel = (uint32_t)(w_fn(p->m, FN_G, 0) - at - 5);

	assert_true(w_honest(p->w, 0, p->m, FN_F));
	fake_copy_in(p->w->vmm, p->w->cr3, at, &jmp, 1);
	fake_copy_in(p->w->vmm, p->w->cr3, at + 1, &rel, 4);
	fake_copy_in(p->w->vmm, p->w->cr3, w_moff(p->m, SITE_STRADDLE), "\xcc", 1);
	fake_copy_in(p->w->vmm, p->w->cr3, w_moff(p->m, 0x80), "\xcc", 1);
}

static void init_freed(struct play *p)
{
	assert_true(w_honest(p->w, 0, p->m, FN_INIT));
	fake_unmap(p->w->vmm, p->w->cr3, w_seg(p->m, SEG_INIT, 0));
}

static void withdrawn(struct play *p)
{
	expect_ok(w_withdraw(p->w, 0, p->m));
}

static void moved(struct play *p)
{
	w_move(p->w, p->m, 0x8000000);
}

static void unregistered(struct play *p)
{
	expect_ok(guard_unregister(p->w->guard, p->m->index, &p->w->d));
}

static void all_busy(struct play *p)
{
	unsigned t;

	for (t = 0; t < 8; t++) {
		w_thread(p->w, 0, t);
		outside(p);
	}
	w_thread(p->w, 0, 0);
	p->w->cpu[0].gpr[GUARD_RSP] -= 0x800;
}

static void nothing(struct play *p)
{
	(void)p;
}

static enum guard_verdict enter(struct play *p)
{
	return w_enter(p->w, 0, p->m, FN_F);
}

static enum guard_verdict enter_inside(struct play *p)
{
	return w_enter_from(p->w, 0, p->m, FN_G, w_fn(p->m, FN_F, FN_RET));
}

static enum guard_verdict call_out(struct play *p)
{
	return w_callout(p->w, 0, p->m, FN_F, GATE_LEAVE);
}

static enum guard_verdict tail_call(struct play *p)
{
	if (p->m->options.views)
		return w_fetch(p->w, 0, w_import(IMP_C));
	return w_x(p->w, 0, w_gate_x(p->m, GATE_LEAVE));
}

static enum guard_verdict come_back(struct play *p)
{
	return w_back(p->w, 0, p->m);
}

static enum guard_verdict leave(struct play *p)
{
	return w_exit(p->w, 0, p->m, FN_F);
}

static enum guard_verdict depart(struct play *p)
{
	return w_depart(p->w, 0, GUARD_CAUSE_EXCEPTION, 14);
}

static enum guard_verdict resume(struct play *p)
{
	return w_fetch(p->w, 0, p->w->cpu[0].rip);
}

static enum guard_verdict resume_and_leave(struct play *p)
{
	return w_x(p->w, 0, w_gate_x(p->m, GATE_LEAVE));
}

static enum guard_verdict raw_call(struct play *p)
{
	w_push(p->w, 0, w_fn(p->m, FN_F, FN_RET));
	return w_fetch(p->w, 0, w_import(IMP_C));
}

static enum guard_verdict raw_child_tail(struct play *p)
{
	return w_fetch(p->w, 0, w_import(IMP_C));
}

static enum guard_verdict wild(struct play *p)
{
	return w_fetch(p->w, 0, W_KERNEL);
}

static enum guard_verdict withdraw(struct play *p)
{
	return w_withdraw(p->w, 1, p->m);
}

static enum guard_verdict announce(struct play *p)
{
	return w_announce(p->w, 1, p->m);
}

static enum guard_verdict register_again(struct play *p)
{
	return w_register(p->w, p->m);
}

static enum guard_verdict unregister(struct play *p)
{
	enum guard_verdict v = guard_unregister(p->w->guard, p->m->index, &p->w->d);

	p->w->stopped[0] |= p->w->d.stop & 1;
	return v;
}

static enum guard_verdict withhold(struct play *p)
{
	enum guard_verdict v = guard_grant(p->w->guard, 0, p->m->index, 1, false, &p->w->d);

	p->w->stopped[0] |= p->w->d.stop & 1;
	return v;
}

static enum guard_verdict reset(struct play *p)
{
	enum guard_verdict v = guard_vcpu_reset(p->w->guard, 0, &p->w->d);

	p->w->stopped[0] |= p->w->d.stop & 1;
	return v;
}

static enum guard_verdict refused(struct play *p)
{
	return w_enter_from(p->w, 1, p->m, FN_F, 0);
}

static enum guard_verdict init_fetched(struct play *p)
{
	return w_fetch(p->w, 0, w_fn(p->m, FN_INIT, 4));
}

#define POLICY(...)                                                                                \
	{                                                                                          \
		.headroom = GM_MIN_HEADROOM, .policy = {.chains = 8, __VA_ARGS__ }                 \
	}
#define PLAIN POLICY(.stack = GUARD_STACK_RETURNS)
#define EXACT POLICY(.stack = GUARD_STACK_EXACT, .registers = GUARD_REGS_SCRUB)
#define LOCKED POLICY(.mapping = GUARD_MAPPING_LOCKED)
#define QUARANTINE POLICY(.refusal = GUARD_REFUSE_QUARANTINE)
#define VIEWS                                                                                      \
	{                                                                                          \
		.views = true, .headroom = GM_MIN_HEADROOM, .policy = {.chains = 8 }               \
	}

static const struct event events[] = {
	{ "enter", PLAIN, nothing, enter, false },
	{ "enter, exact", EXACT, nothing, enter, false },
	{ "enter, locked", LOCKED, nothing, enter, false },
	{ "enter, views", VIEWS, nothing, enter, false },
	{ "enter, patched", PLAIN, patched, enter, false },
	{ "enter, init freed", PLAIN, init_freed, enter, false },
	{ "enter, table full", PLAIN, all_busy, enter, false },
	{ "enter, table full, exact", EXACT, all_busy, enter, false },
	{ "enter from inside", PLAIN, inside, enter_inside, true },
	{ "leave-call", PLAIN, inside, call_out, false },
	{ "leave-call, exact", EXACT, inside, call_out, false },
	{ "leave-call, views", VIEWS, inside, call_out, false },
	{ "leave-call, raw", PLAIN, inside, raw_call, false },
	{ "tail call of a child", PLAIN, in_child, tail_call, false },
	{ "raw tail call of a child", PLAIN, in_child, raw_child_tail, false },
	{ "enter-return", PLAIN, outside, come_back, false },
	{ "enter-return, exact", EXACT, outside, come_back, false },
	{ "enter-return, views", VIEWS, outside, come_back, false },
	{ "enter-return, patched", PLAIN, outside_patched, come_back, false },
	{ "leave-return", PLAIN, inside, leave, false },
	{ "leave-return, views", VIEWS, inside, leave, false },
	{ "depart", PLAIN, inside, depart, false },
	{ "depart, exact", EXACT, inside, depart, false },
	{ "depart at a child's ret", PLAIN, at_child_ret, depart, false },
	{ "resume", PLAIN, departed, resume, false },
	{ "resume, exact", EXACT, departed, resume, false },
	{ "resume at a gate", PLAIN, departed_at_gate, resume_and_leave, false },
	{ "wild exit", PLAIN, inside, wild, false },
	{ "withdraw", PLAIN, outside, withdraw, false },
	{ "announce", PLAIN, withdrawn, announce, false },
	{ "announce elsewhere", PLAIN, moved, announce, false },
	{ "announce again", PLAIN, nothing, announce, false },
	{ "announce, init freed", PLAIN, init_freed, announce, false },
	{ "register", PLAIN, unregistered, register_again, false },
	{ "unregister", PLAIN, inside, unregister, false },
	{ "withhold", PLAIN, inside, withhold, true },
	{ "reset", PLAIN, inside, reset, false },
	{ "quarantine", QUARANTINE, inside, refused, false },
	{ "fetch of freed init", PLAIN, init_freed, init_fetched, false },
};
#define EVENTS (sizeof(events) / sizeof(events[0]))

/* Whatever state the failure left: it can be brought back to one where honest visits work. */
static void check_recovers(struct play *p, const struct event *e, uint64_t n)
{
	struct world *w = p->w;
	struct wmodule *m = p->m;
	struct guard_module_info info;
	unsigned tries;

	if (!guard_module_info(w->guard, m->index, &info)) {
		expect_ok(w_register(w, m));
		w_grant_all(w, m);
	}
	if (w_info(w, m).quarantined)
		return;
	if (w_info(w, m).running && !w->stopped[0])
		expect_ok(guard_vcpu_reset(w->guard, 0, &w->d));
	if (e->before == moved) /* it may have stayed where it was */
		w_announce(w, 1, m);
	for (tries = 0; tries < 3 && !w_info(w, m).announced; tries++) {
		w_withdraw(w, 1, m);
		w_announce(w, 1, m);
	}
	assert_true(w_info(w, m).announced);
	w_thread(w, 1, 6);
	w->cpu[1].gpr[GUARD_RSP] += 0x300; /* not on anybody's stack */
	if (e->before == all_busy) {
		w->cpu[1].gpr[GUARD_RSP] -= 0x300;
		w->cpu[1].gpr[GUARD_RSP] -= 0x10; /* on that of a dead thread */
	}
	if (!w_honest(w, 1, m, FN_G))
		fail_msg("%s, call %llu fails: no honest visit afterwards: %s", e->name,
			 (unsigned long long)n, guard_verdict_string(w->d.verdict));
}

static void check_refusal(struct play *p, const struct event *e, uint64_t n, enum guard_verdict v,
			  uint64_t before)
{
	struct world *w = p->w;
	bool entered = v == GUARD_V_OK;
	enum fake_op op = w->vmm->failed_op;

	if (op == FAKE_LOWER && v != GUARD_V_LOWER_FAILED && !w->stopped[0])
		fail_msg("%s, call %llu: a failed lower gives %s", e->name, (unsigned long long)n,
			 guard_verdict_string(v));
	if (v == GUARD_V_LOWER_FAILED)
		assert_true(w->stopped[0]);
	if ((op == FAKE_READ || op == FAKE_WRITE || op == FAKE_VERIFIED_READ ||
	     op == FAKE_VERIFIED_PATCH || op == FAKE_GUEST_READ || op == FAKE_PRIVATE_FILL ||
	     op == FAKE_VERIFIED_FILL || op == FAKE_DIGEST) &&
	    /* a stale chain makes room; a return that cannot be read is a call-out's, and as safe */
	    e->before != all_busy && e->before != at_child_ret && v == GUARD_V_OK)
		fail_msg("%s, call %llu (callback %u) fails, and nobody cares", e->name,
			 (unsigned long long)n, op);
	if ((op == FAKE_WRITE || (op == FAKE_READ && e->before == nothing)) && !e->stays &&
	    e->strike != announce && v != GUARD_V_BAD_STACK &&
	    e->options.policy.refusal == GUARD_REFUSE_GP)
		fail_msg("%s, call %llu: a slot that cannot be used gives %s", e->name,
			 (unsigned long long)n, guard_verdict_string(v));
	if (op == FAKE_DIGEST)
		assert_int_equal(v, GUARD_V_BAD_MANIFEST);
	if (op == FAKE_READ && e->strike == call_out && !e->options.views)
		assert_true(v == GUARD_V_BAD_STACK || v == GUARD_V_STACK_CHANGED);
	if (op == FAKE_RAISE && e->strike != resume_and_leave)
		assert_int_equal(v, GUARD_V_RAISE_FAILED);
	if (v == GUARD_V_RAISE_FAILED && op == FAKE_RAISE && !e->stays && e->before != init_freed &&
	    e->before != patched) {
		w->vmm->written_bytes = 0;
		if (w_snapshot(w) != before)
			fail_msg("%s: raise-failed changed something", e->name);
	}
	if (!entered && !e->stays && guard_view(w->guard, 0) != GUARD_VIEW_U)
		fail_msg("%s, call %llu (callback %u) fails: %s, still privileged", e->name,
			 (unsigned long long)n, op, guard_verdict_string(v));
	if (!w->stopped[0])
		assert_int_equal(w->vmm->vcpu[0].view, guard_view(w->guard, 0));
}

static void strike_all(bool forever)
{
	uint64_t n, struck = 0;
	size_t i;

	for (i = 0; i < EVENTS; i++)
		for (n = 1;; n++) {
			const struct event *e = &events[i];
			struct play p;
			enum guard_verdict v;
			uint64_t before;
			bool failed;

			p.w = w_simple(2, &e->options);
			p.m = &p.w->module[0];
			if (e->options.policy.mapping == GUARD_MAPPING_LOCKED)
				p.w->vmm->module[0].locked_cr3 = p.w->cr3;
			assert_true(w_honest(p.w, 0, p.m, FN_G)); /* all pages looked at */
			e->before(&p);
			fake_forget(p.w->vmm);
			before = w_snapshot(p.w);
			p.w->vmm->fail_total = n;
			p.w->vmm->fail_forever = forever;
			v = e->strike(&p);
			failed = p.w->vmm->failed;
			if (failed)
				check_refusal(&p, e, n, v, before);
			fake_forget(p.w->vmm);
			struck += failed;
			if (failed)
				check_recovers(&p, e, n);
			w_destroy(p.w);
			if (!failed)
				break;
			assert_true(n < 5000);
		}
	assert_true(struck > 300);
}

static void once(void **state)
{
	(void)state;
	strike_all(false);
}

static void for_good(void **state)
{
	(void)state;
	strike_all(true);
}

/* A failed raise leaves the kernel's own word in the slot. */
static void slot_restored(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	w->vmm->fail_op[FAKE_RAISE] = 1;
	expect(w_enter(w, 0, m, FN_F), GUARD_V_RAISE_FAILED);
	assert_int_equal(w_word(w, 0, w->cpu[0].gpr[GUARD_RSP]), W_KRET);
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER + FN_F)));
	w_destroy(w);
}

/* Devices that cannot be hidden are not bound, and none stays hidden. */
static void devices_fail(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	expect_ok(guard_unregister(w->guard, m->index, &w->d));
	w->vmm->fail_op[FAKE_DEVICE_ROLE] = 1;
	expect(w_register(w, m), GUARD_V_NOT_BOUND);
	assert_false(w->vmm->module[0].device_hidden[PRIV_DEVICE]);
	expect_ok(w_register(w, m));
	w->vmm->fail_op[FAKE_DEVICE_ROLE] = 1;
	expect(guard_unregister(w->guard, m->index, &w->d), GUARD_V_BUSY);
	expect_ok(guard_unregister(w->guard, m->index, &w->d));
	assert_false(w->vmm->module[0].device_hidden[PRIV_DEVICE]);
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(once),
		cmocka_unit_test(for_good),
		cmocka_unit_test(slot_restored),
		cmocka_unit_test(devices_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
