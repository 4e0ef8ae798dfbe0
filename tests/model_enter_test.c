/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ENTER-CALL: every combination of the conditions that it looks at. An oracle of a few lines says
 * which verdict comes first; a refusal must leave everything as it was, and change no register.
 */
#include "tests/support/check.h"
#include "tests/support/conditions.h"

enum setting { NORMAL, FULL, QUARANTINED, WITHDRAWN, SETTINGS };

enum ret {
	RET_GOOD,
	RET_OTHER_MODULE,
	RET_BEFORE_TEXT,
	RET_FIRST_BAD,
	RET_ZERO = RET_FIRST_BAD,
	RET_USER,
	RET_NOT_CANONICAL_LOW,
	RET_NOT_CANONICAL_HIGH,
	RET_TEXT,
	RET_TEXT_END,
	RET_RETSITE,
	RET_LEAVE_RETURN,
	RET_ENTER_RETURN,
	RET_DATA,
	RET_PRIVATE,
	RETS
};

struct scene {
	bool site, withheld, raise;
	unsigned mode, flags, mapping;
	enum cond_stack stack;
	enum ret ret;
};

struct stage {
	struct world *w;
	struct wmodule *m, *other;
	enum setting setting;
	uint64_t before;
	uint64_t events;
};

static uint64_t ret_word(const struct stage *s, enum ret ret)
{
	switch (ret) {
	case RET_OTHER_MODULE: return w_fn(s->other, FN_G, FN_RET);
	case RET_BEFORE_TEXT: return w_fn(s->m, 0, 0) - 1;
	case RET_ZERO: return 0;
	case RET_USER: return 0x400000;
	case RET_NOT_CANONICAL_LOW: return 0x0000800000000000ull;
	case RET_NOT_CANONICAL_HIGH: return 0xffff7fffffffffffull;
	case RET_TEXT: return w_fn(s->m, FN_F, 0);
	case RET_TEXT_END: return w_seg(s->m, SEG_TEXT, STD_TEXT_SIZE - 1);
	case RET_RETSITE: return w_fn(s->m, FN_G, FN_RET);
	case RET_LEAVE_RETURN: return w_gate(s->m, GATE_LEAVE_RETURN);
	case RET_ENTER_RETURN: return w_gate(s->m, GATE_ENTER_RETURN);
	case RET_DATA: return w_seg(s->m, SEG_DATA, 0);
	case RET_PRIVATE: return w_seg(s->m, SEG_PRIVATE, 8);
	default: return W_KRET;
	}
}

/* The contract's order, once more. */
static enum guard_verdict oracle(const struct stage *s, const struct scene *c)
{
	if (c->site)
		return GUARD_V_BAD_SITE;
	if (s->setting == WITHDRAWN)
		return GUARD_V_UNANNOUNCED;
	if (s->setting == QUARANTINED)
		return GUARD_V_QUARANTINED;
	if (c->mode)
		return GUARD_V_BAD_MODE;
	if (c->flags) /* SMAP is on, else it is bad-mode */
		return GUARD_V_BAD_FLAGS;
	if (c->mapping)
		return GUARD_V_BAD_MAPPING;
	if (cond_stack_is_bad(c->stack))
		return GUARD_V_BAD_STACK;
	if (c->ret >= RET_FIRST_BAD)
		return GUARD_V_BAD_RETURN;
	if (s->setting == FULL)
		return GUARD_V_NO_ROOM;
	if (c->withheld)
		return GUARD_V_WITHHELD;
	return c->raise ? GUARD_V_RAISE_FAILED : GUARD_V_OK;
}

static void set_withheld(struct stage *s, bool withheld)
{
	struct guard_decision d;

	expect_ok(guard_grant(s->w->guard, 0, s->m->index, 1u << PRIV_MWAIT, !withheld, &d));
}

static struct stage *stage(enum setting setting)
{
	struct stage *s = calloc(1, sizeof(*s));
	struct std_options o = std_default();

	assert_non_null(s);
	o.policy.chains = 2; /* one runs on vCPU 1 */
	o.policy.required = 1u << PRIV_MWAIT;
	o.policy.refusal = setting == QUARANTINED ? GUARD_REFUSE_QUARANTINE : GUARD_REFUSE_GP;
	s->setting = setting;
	s->w = w_create(3);
	s->m = w_ready(s->w, &o);
	s->other = w_ready(s->w, &o);
	if (setting == WITHDRAWN) {
		expect_ok(w_withdraw(s->w, 0, s->m));
	} else if (setting == QUARANTINED) {
		expect(w_enter_from(s->w, 0, s->m, FN_G, 0), GUARD_V_BAD_RETURN);
		assert_true(w_info(s->w, s->m).quarantined);
	} else {
		cond_run_vcpu1(s->w, s->m);
	}
	if (setting == FULL) {
		expect_ok(w_enter(s->w, 2, s->m, FN_G));
		w_frame(s->w, 2, s->m, FN_G);
		expect_ok(w_callout(s->w, 2, s->m, FN_G, GATE_LEAVE + IMP_C));
	}
	fake_forget(s->w->vmm);
	s->before = w_snapshot(s->w);
	return s;
}

static void strike(struct stage *s)
{
	w_destroy(s->w);
	free(s);
}

/* The word goes where a kernel's call would have put it, unless that is no memory of its own. */
static void put_word(struct stage *s, const struct scene *c)
{
	uint64_t rsp = s->w->cpu[0].gpr[GUARD_RSP];
	struct guard_mapping map = fake_walk(s->w->vmm, s->w->cr3, rsp & ~0xfffull);

	if (map.flags & GUARD_MAP_RAM && map.role == GUARD_ROLE_NONE && c->stack != STACK_OVERLAP)
		w_set_word(s->w, 0, rsp, ret_word(s, c->ret));
}

static void check_refused(struct stage *s, enum guard_verdict want)
{
	struct world *w = s->w;

	assert_true(w->d.inject_gp);
	assert_false(w->d.stop_vm);
	expect_lines(w, 1);
	expect_line(w, 0, GUARD_ENTER_CALL, want);
	assert_int_equal(w->d.line[0].module, s->m->index);
	assert_int_equal(w->d.line[0].from, GUARD_VIEW_U);
	assert_int_equal(w->d.line[0].to, GUARD_VIEW_U);
	assert_int_equal(w->d.kick, 0);
	assert_memory_equal(&w->d.cpu, &w->ev.cpu, sizeof(w->d.cpu));
	/* a raise-failed has written the slot and has written it back */
	if (want == GUARD_V_RAISE_FAILED)
		w->vmm->written_bytes = 0;
	else
		assert_int_equal(w->vmm->calls[FAKE_RAISE], 0);
	if (w_snapshot(w) != s->before)
		fail_msg("%s changed something", guard_verdict_string(want));
}

static void check_entered(struct stage *s, const struct scene *c)
{
	struct world *w = s->w;
	uint64_t slot = cond_slot();

	expect_view(w, 0, s->m);
	assert_false(w->d.inject_gp);
	assert_int_equal(w->cpu[0].rip, w_fn(s->m, FN_F, 0));
	assert_int_equal(w->cpu[0].gpr[GUARD_RSP], slot);
	assert_int_equal(w_word(w, 0, slot), w_gate(s->m, GATE_LEAVE_RETURN));
	expect_ok(w_x(w, 0, w_gate_x(s->m, GATE_LEAVE_RETURN)));
	assert_int_equal(w_word(w, 0, slot), ret_word(s, c->ret));
	expect_u(w, 0);
	w->vmm->written_bytes = 0;
	s->before = w_snapshot(w); /* the serial counts on */
}

static void play(struct stage *s, const struct scene *c)
{
	struct world *w = s->w;
	struct guard_cpu clean = w->cpu[0];
	struct cond_undo undo = { 0 };
	enum guard_verdict want = oracle(s, c), got;

	cond_stack(w, s->m, c->stack, &undo);
	put_word(s, c);
	cond_mapping(w, s->m, c->mapping, &undo);
	cond_mode(&w->cpu[0], c->mode);
	cond_flags(&w->cpu[0], c->flags);
	fake_forget(w->vmm);
	w->vmm->fail_op[FAKE_RAISE] = c->raise;
	got = w_x(w, 0, w_gate_x(s->m, GATE_ENTER + FN_F) + c->site);
	if (got != want)
		fail_msg("setting %u site %u mode %#x flags %#x mapping %#x stack %u ret %u "
			 "withheld %u raise %u: got %s, expected %s",
			 s->setting, c->site, c->mode, c->flags, c->mapping, c->stack, c->ret,
			 c->withheld, c->raise, guard_verdict_string(got),
			 guard_verdict_string(want));
	w->vmm->fail_op[FAKE_RAISE] = 0;
	if (want == GUARD_V_OK)
		check_entered(s, c);
	else
		check_refused(s, want);
	cond_undo(&undo);
	w->cpu[0] = clean;
	s->events++;
}

/* Each mode bit with each flag, alone and with something wrong further down the list. */
static void mode_and_flags(void **state)
{
	struct stage *s = stage(NORMAL);
	struct scene c = { 0 };
	unsigned rest;

	(void)state;
	for (c.mode = 0; c.mode < 1u << COND_MODES; c.mode++)
		for (c.flags = 0; c.flags < 1u << COND_FLAGS; c.flags++)
			for (rest = 0; rest < 4; rest++) {
				c.mapping = rest & 1;
				c.stack = rest & 2 ? STACK_UNALIGNED : STACK_GOOD;
				play(s, &c);
			}
	assert_int_equal(s->events, 4096 * 16 * 4);
	strike(s);
}

/* All mappings, stacks, return words, room, privileges and the raise itself. */
static void mapping_stack_and_return(void **state)
{
	struct scene c = { 0 };
	unsigned setting, stack, ret, last;

	(void)state;
	for (setting = NORMAL; setting <= FULL; setting++) {
		struct stage *s = stage(setting);

		for (last = 0; last < 4; last++) {
			c.withheld = last & 1;
			c.raise = last & 2;
			set_withheld(s, c.withheld);
			for (stack = 0; stack < COND_STACKS; stack++)
				for (ret = 0; ret < RETS; ret++)
					for (c.mapping = 0; c.mapping < 1u << COND_MAPPINGS;
					     c.mapping++) {
						c.stack = stack;
						c.ret = ret;
						play(s, &c);
					}
		}
		strike(s);
	}
}

/* One condition of each group with one of every other, in every setting. */
static void all_groups(void **state)
{
	unsigned setting, bits, stack, ret;

	(void)state;
	for (setting = 0; setting < SETTINGS; setting++) {
		struct stage *s = stage(setting);

		for (bits = 0; bits < 64; bits++) {
			struct scene c = {
				.site = bits & 1,
				.mode = bits & 2 ? 1u << (bits % COND_MODES) : 0,
				.flags = bits & 4 ? 1u << (bits % COND_FLAGS) : 0,
				.mapping = bits & 8 ? 1u << (bits % COND_MAPPINGS) : 0,
				.withheld = bits & 16,
				.raise = bits & 32,
			};

			set_withheld(s, c.withheld);
			for (stack = 0; stack < COND_STACKS; stack++)
				for (ret = 0; ret < RETS; ret++) {
					c.stack = stack;
					c.ret = ret;
					play(s, &c);
				}
		}
		strike(s);
	}
}

/* What was off at ANNOUNCE may be off later, and AC means nothing without SMAP. */
static void weak_machine(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *m;
	unsigned bits;

	(void)state;
	w->cpu[0].cr4 = 0x20;
	m = w_ready(w, &o);
	for (bits = 0; bits < 16; bits++) {
		w_thread(w, 0, 0);
		w->cpu[0].cr4 = 0x20 | (bits & 1 ? 1u << 20 : 0) | (bits & 2 ? 1u << 21 : 0);
		cond_flags(&w->cpu[0], bits & 4 ? COND_FLAG_AC : 0);
		expect(w_enter(w, 0, m, bits & 8 ? FN_F : FN_G),
		       (bits & 6) == 6 ? GUARD_V_BAD_FLAGS : GUARD_V_OK);
		if (guard_view(w->guard, 0) != GUARD_VIEW_U)
			expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	}
	w_destroy(w);
}

/* Where an X is no gate's X, in every byte of the gate page. */
static void every_site(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint32_t off;

	(void)state;
	for (off = 0; off < GM_PAGE; off++) {
		uint64_t rip = w_gate(m, 0) + off;
		unsigned gate = off / GM_GATE_BYTES;
		bool x = gate < GATE_COUNT && gate != GATE_PAD && rip == w_gate_x(m, gate);

		w_thread(w, 0, 0);
		w_push(w, 0, W_KRET);
		w_x(w, 0, rip);
		if (!x)
			assert_int_equal(w->d.verdict, GUARD_V_BAD_SITE);
		else
			assert_int_not_equal(w->d.verdict, GUARD_V_BAD_SITE);
		assert_int_equal(w->d.inject_gp, w->d.verdict != GUARD_V_OK);
		if (w->d.verdict == GUARD_V_OK)
			expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	}
	w_destroy(w);
}

/* Slots at the edges of what can be addressed: no sum may wrap. */
static void slots_at_the_edge(void **state)
{
	static const uint64_t slots[] = {
		0,
		8,
		0x1f8,
		0x3ff8,
		0x00007ffffffffff8ull,
		0x0000800000000000ull,
		0xffff7ffffffffff8ull,
		0xffff800000000000ull,
		0xffff800000000008ull,
		0xffff8000000001f8ull,
		0xffff800000000200ull,
		0xffff800000003ff8ull,
		0xffff800000004000ull,
		0xfffffffffffff000ull,
		0xffffffffffffeff8ull,
		0xfffffffffffffff8ull,
		0xfffffffffffffff0ull,
	};
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t before = w_snapshot(w);
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(slots) / sizeof(slots[0]); i++) {
		w->cpu[0].gpr[GUARD_RSP] = slots[i];
		expect(w_x(w, 0, w_gate_x(m, GATE_ENTER + FN_G)), GUARD_V_BAD_STACK);
		expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_BAD_STACK);
		expect(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)), GUARD_V_NOT_PRIVILEGED);
		expect(w_x(w, 0, w_gate_x(m, GATE_LEAVE)), GUARD_V_NOT_PRIVILEGED);
	}
	assert_int_equal(w_snapshot(w), before);
	w_destroy(w);
}

/* A kernel half that is mapped from its very first page on. */
static void lowest_stack(void **state)
{
	const uint64_t low = 0xffff800000000000ull;
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	fake_map(w->vmm, w->cr3, low, fake_alloc(w->vmm, 1), PTE_P | PTE_W);
	fake_map(w->vmm, w->cr3, low - GM_PAGE, fake_alloc(w->vmm, 1), PTE_P | PTE_W);
	w->cpu[0].gpr[GUARD_RSP] = low + GM_MIN_HEADROOM;
	expect(w_enter(w, 0, m, FN_G), GUARD_V_BAD_STACK);
	w->cpu[0].gpr[GUARD_RSP] = low + GM_MIN_HEADROOM + 8;
	expect_ok(w_enter(w, 0, m, FN_G));
	w_destroy(w);
}

/* The headroom is the entry's own figure. */
static void headroom(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	uint64_t bottom = w_stack_top(0) - W_STACK_PAGES * GM_PAGE;
	struct wmodule *m;

	(void)state;
	o.headroom = GM_MAX_HEADROOM;
	m = w_ready(w, &o);
	w->cpu[0].gpr[GUARD_RSP] = bottom + GM_MAX_HEADROOM;
	expect(w_enter(w, 0, m, FN_G), GUARD_V_BAD_STACK);
	w->cpu[0].gpr[GUARD_RSP] = bottom + GM_MAX_HEADROOM + 8;
	expect_ok(w_enter(w, 0, m, FN_G));
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mode_and_flags), cmocka_unit_test(mapping_stack_and_return),
		cmocka_unit_test(all_groups),	  cmocka_unit_test(weak_machine),
		cmocka_unit_test(every_site),	  cmocka_unit_test(slots_at_the_edge),
		cmocka_unit_test(lowest_stack),	  cmocka_unit_test(headroom),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
