/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ENTER-RETURN: every combination of the conditions that it looks at, and what may and may not
 * have changed while the module waited in a call-out.
 */
#include "tests/support/check.h"
#include "tests/support/conditions.h"

enum setting { NORMAL, NOTHING_SUSPENDED, QUARANTINED, WITHDRAWN, SETTINGS };

struct scene {
	bool site, word, reg, raise;
	unsigned mode, flags, mapping;
	enum cond_stack stack;
};

struct stage {
	struct world *w;
	struct wmodule *m;
	enum setting setting;
	struct guard_cpu out; /* right before the X of the enter-return gate */
	uint64_t before;
};

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
	if (c->flags)
		return GUARD_V_BAD_FLAGS;
	if (c->mapping)
		return GUARD_V_BAD_MAPPING;
	if (cond_stack_is_bad(c->stack))
		return GUARD_V_BAD_STACK;
	if (s->setting == NOTHING_SUSPENDED)
		return GUARD_V_NO_RECORD;
	if (c->word)
		return GUARD_V_STACK_CHANGED;
	if (c->reg)
		return GUARD_V_REGISTERS_CHANGED;
	return c->raise ? GUARD_V_RAISE_FAILED : GUARD_V_OK;
}

/* Brings vCPU 0 into a call-out whose slot is cond_slot(). */
static void go_out(struct stage *s)
{
	struct world *w = s->w;

	w_thread(w, 0, 0);
	w->cpu[0].gpr[GUARD_RSP] = cond_slot() + 8 + 0x28 + 8;
	expect_ok(w_enter(w, 0, s->m, FN_G));
	w_frame(w, 0, s->m, FN_G);
	expect_ok(w_callout(w, 0, s->m, FN_G, GATE_LEAVE + IMP_C));
	assert_int_equal(w->cpu[0].gpr[GUARD_RSP], cond_slot());
	s->out = w->cpu[0];
}

static struct stage *stage(enum setting setting)
{
	struct stage *s = calloc(1, sizeof(*s));
	struct std_options o = std_default();

	assert_non_null(s);
	o.policy.chains = 2; /* one runs on vCPU 1 */
	o.policy.refusal = setting == QUARANTINED ? GUARD_REFUSE_QUARANTINE : GUARD_REFUSE_GP;
	s->setting = setting;
	s->w = w_simple(3, &o);
	s->m = &s->w->module[0];
	if (setting == NORMAL || setting == NOTHING_SUSPENDED)
		cond_run_vcpu1(s->w, s->m);
	go_out(s);
	if (setting == NOTHING_SUSPENDED) {
		expect_ok(w_x(s->w, 0, w_gate_x(s->m, GATE_ENTER_RETURN)));
		expect_ok(w_exit(s->w, 0, s->m, FN_G));
	} else if (setting == WITHDRAWN) {
		expect_ok(w_withdraw(s->w, 2, s->m));
	} else if (setting == QUARANTINED) {
		expect(w_enter_from(s->w, 2, s->m, FN_G, 0), GUARD_V_BAD_RETURN);
	}
	s->w->cpu[0] = s->out;
	fake_forget(s->w->vmm);
	s->before = w_snapshot(s->w);
	return s;
}

static void strike(struct stage *s)
{
	w_destroy(s->w);
	free(s);
}

static void play(struct stage *s, const struct scene *c)
{
	struct world *w = s->w;
	struct cond_undo undo = { 0 };
	uint64_t entry_slot = cond_slot() + 0x30, word = w_word(w, 0, entry_slot);
	enum guard_verdict want = oracle(s, c), got;

	w->cpu[0] = s->out;
	if (c->word)
		w_set_word(w, 0, entry_slot, W_KRET);
	if (c->reg)
		w->cpu[0].gpr[GUARD_R13]++;
	cond_stack(w, s->m, c->stack, &undo);
	cond_mapping(w, s->m, c->mapping, &undo);
	cond_mode(&w->cpu[0], c->mode);
	cond_flags(&w->cpu[0], c->flags);
	fake_forget(w->vmm);
	w->vmm->fail_op[FAKE_RAISE] = c->raise;
	got = w_x(w, 0, w_gate_x(s->m, GATE_ENTER_RETURN) + c->site);
	cond_undo(&undo);
	if (got != want)
		fail_msg(
			"setting %u site %u mode %#x flags %#x mapping %#x stack %u word %u reg %u "
			"raise %u: got %s, expected %s",
			s->setting, c->site, c->mode, c->flags, c->mapping, c->stack, c->word,
			c->reg, c->raise, guard_verdict_string(got), guard_verdict_string(want));
	w->vmm->fail_op[FAKE_RAISE] = 0;
	if (c->word)
		w_set_word(w, 0, entry_slot, word);
	if (want == GUARD_V_OK) {
		expect_view(w, 0, s->m);
		assert_int_equal(w->cpu[0].rip, w_fn(s->m, FN_G, FN_RET));
		assert_int_equal(w->cpu[0].gpr[GUARD_RSP], cond_slot() + 8);
		/* used once: from now on it is another suspension */
		expect_ok(w_callout(w, 0, s->m, FN_G, GATE_LEAVE + IMP_C));
		s->out = w->cpu[0];
		fake_forget(w->vmm);
		s->before = w_snapshot(w);
		return;
	}
	assert_true(w->d.inject_gp);
	expect_lines(w, 1);
	assert_memory_equal(&w->d.cpu, &w->ev.cpu, sizeof(w->d.cpu));
	if (want != GUARD_V_RAISE_FAILED)
		assert_int_equal(w->vmm->calls[FAKE_RAISE], 0);
	if (w_snapshot(w) != s->before)
		fail_msg("%s changed something", guard_verdict_string(want));
}

static void mode_and_flags(void **state)
{
	struct stage *s = stage(NORMAL);
	struct scene c = { 0 };
	unsigned rest;

	(void)state;
	for (c.mode = 0; c.mode < 1u << COND_MODES; c.mode++)
		for (c.flags = 0; c.flags < 1u << COND_FLAGS; c.flags++)
			for (rest = 0; rest < 3; rest++) {
				c.mapping = rest == 1;
				c.reg = rest == 2;
				play(s, &c);
			}
	strike(s);
}

static void everything_else(void **state)
{
	unsigned setting, bits, stack, mapping;

	(void)state;
	for (setting = 0; setting < SETTINGS; setting++) {
		struct stage *s = stage(setting);

		for (bits = 0; bits < 64; bits++)
			for (stack = 0; stack < COND_STACKS; stack++)
				for (mapping = 0; mapping < 1u << COND_MAPPINGS;
				     mapping += setting == NORMAL ? 1 : 9) {
					struct scene c = {
						.site = bits & 1,
						.word = bits & 2,
						.reg = bits & 4,
						.raise = bits & 8,
						.mode = bits & 16 ? 1u << (stack % 12) : 0,
						.flags = bits & 32 ? 1u << (stack % 4) : 0,
						.mapping = mapping,
						.stack = stack,
					};

					play(s, &c);
				}
		strike(s);
	}
}

static const uint32_t preserved[] = {
	[IMP_C] = STD_PRESERVE_C, [IMP_ASM] = STD_PRESERVE_ASM, [IMP_NONE] = 0
};

/* R7: each register, each kind of callee: what it has to preserve is compared, no more. */
static void registers_verified(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	unsigned k, i, gates[] = { GATE_LEAVE, GATE_LEAVE + 1, GATE_LEAVE + 2, GATE_LEAVE_R11 };

	(void)state;
	for (k = 0; k < 4; k++)
		for (i = 0; i < GUARD_GPRS; i++) {
			uint32_t keep = k < 3 ? preserved[k] : STD_PRESERVE_C;
			struct guard_cpu out;

			if (i == GUARD_RSP)
				continue;
			w_thread(w, 0, 0);
			expect_ok(w_enter(w, 0, m, FN_G));
			w_frame(w, 0, m, FN_G);
			expect_ok(w_callout(w, 0, m, FN_G, gates[k]));
			out = w->cpu[0];
			w->cpu[0].gpr[i] ^= 1ull << (i * 3);
			expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)),
			       keep & (1u << i) ? GUARD_V_REGISTERS_CHANGED : GUARD_V_OK);
			if (keep & (1u << i)) {
				/* the record is as it was: an honest return still works */
				w->cpu[0] = out;
				expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)));
			} else {
				assert_int_equal(w->cpu[0].gpr[i], out.gpr[i] ^ 1ull << (i * 3));
			}
			expect_ok(w_exit(w, 0, m, FN_G));
		}
	w_destroy(w);
}

/* R21: under scrub nothing of the module's leaves in preserved registers, R10 or R11. */
static void registers_scrubbed(void **state)
{
	struct std_options o = std_default();
	unsigned k, i,
		gates[] = { GATE_LEAVE, GATE_LEAVE + 1, GATE_LEAVE + 2, GATE_LEAVE_R11,
			    GATE_LEAVE_RAX };

	(void)state;
	o.policy.registers = GUARD_REGS_SCRUB;
	for (k = 0; k < 5; k++) {
		struct world *w = w_simple(1, &o);
		struct wmodule *m = &w->module[0];
		uint32_t keep = k < 3 ? preserved[k] : STD_PRESERVE_C;
		uint32_t gone = keep | 1u << GUARD_R10 | 1u << GUARD_R11;
		struct guard_cpu in;

		if (k == 3)
			gone &= ~(1u << GUARD_R11); /* the gate jumps through it */
		expect_ok(w_enter(w, 0, m, FN_F));
		w_frame(w, 0, m, FN_F);
		in = w->cpu[0];
		expect_ok(w_callout(w, 0, m, FN_F, gates[k]));
		for (i = 0; i < GUARD_GPRS; i++)
			if (i != GUARD_RSP &&
			    w->cpu[0].gpr[i] != (gone & (1u << i) ? 0 : in.gpr[i]))
				fail_msg("gate %u: GPR %u leaves as %#llx", gates[k], i,
					 (unsigned long long)w->cpu[0].gpr[i]);
		for (i = 0; i < GUARD_GPRS; i++)
			if (i != GUARD_RSP)
				w->cpu[0].gpr[i] = 0x7777 + i;
		expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)));
		for (i = 0; i < GUARD_GPRS; i++)
			if (i != GUARD_RSP)
				assert_int_equal(w->cpu[0].gpr[i],
						 keep & (1u << i) ? in.gpr[i] : 0x7777 + i);
		w->cpu[0].gpr[GUARD_RBP] = in.gpr[GUARD_RBP];
		expect_ok(w_exit(w, 0, m, FN_F));
		for (i = 0; i < GUARD_GPRS; i++) { /* what a caller may not rely on is zero */
			bool kept = (STD_PRESERVE_C | 1u << GUARD_RSP | 1u << GUARD_RAX |
				     1u << GUARD_RDX) &
				    1u << i;

			if (!kept)
				assert_int_equal(w->cpu[0].gpr[i], 0);
			else
				assert_int_not_equal(w->cpu[0].gpr[i], 0);
		}
		w_destroy(w);
	}
}

/* Inside to inside, scrub takes nothing away: nothing leaves. */
static void scrub_spares_children(void **state)
{
	struct std_options o = std_default();
	struct guard_cpu in;
	struct world *w;
	struct wmodule *m;
	unsigned i;

	(void)state;
	o.policy.registers = GUARD_REGS_SCRUB;
	w = w_simple(1, &o);
	m = &w->module[0];
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_enter_from(w, 0, m, FN_G, w_fn(m, FN_F, FN_RET)));
	in = w->cpu[0];
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	for (i = 0; i < GUARD_GPRS; i++)
		assert_int_equal(w->cpu[0].gpr[i], in.gpr[i]);
	expect_view(w, 0, m);
	w_destroy(w);
}

/* AC must be as it was at LEAVE-CALL, whichever way that was. */
static void ac_as_it_was(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	unsigned bits;

	(void)state;
	for (bits = 0; bits < 4; bits++) {
		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, FN_G));
		w_frame(w, 0, m, FN_G);
		w->cpu[0].rflags |= bits & 1 ? 1u << 18 : 0; /* stac inside */
		expect_ok(w_callout(w, 0, m, FN_G, GATE_LEAVE));
		w->cpu[0].rflags &= ~(1ull << 18);
		w->cpu[0].rflags |= bits & 2 ? 1u << 18 : 0;
		expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)),
		       bits == 0 || bits == 3 ? GUARD_V_OK : GUARD_V_BAD_FLAGS);
		if (guard_view(w->guard, 0) == GUARD_VIEW_U) {
			w->cpu[0].rflags ^= 1ull << 18;
			expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)));
		}
		w->cpu[0].rflags &= ~(1ull << 18);
		expect_ok(w_exit(w, 0, m, FN_G));
	}
	w_destroy(w);
}

/* C4, P7, E14: another vCPU, another CR3 over the same frames, another CR3 over others. */
static void returns_elsewhere(void **state)
{
	struct world *w = w_simple(3, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t same = fake_new_cr3(w->vmm, w->cr3), other = fake_new_cr3(w->vmm, 0);
	struct guard_cpu out;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_callout(w, 0, m, FN_F, GATE_LEAVE));
	out = w->cpu[0];
	w->cpu[0].gpr[GUARD_RSP] -= 0x200; /* that thread is elsewhere */
	w->cpu[1] = out;
	w->cpu[1].cr3 = other;
	expect(w_x(w, 1, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_BAD_MAPPING);
	w->cpu[1].cr3 = same;
	expect_ok(w_back(w, 1, m));
	expect_view(w, 1, m);
	expect_u(w, 0);
	w->cpu[2] = out; /* used once */
	expect(w_x(w, 2, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_BAD_STACK);
	expect_ok(w_exit(w, 1, m, FN_F));
	assert_int_equal(w->cpu[1].rip, W_KRET);
	expect(w_x(w, 2, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_NO_RECORD);
	w_destroy(w);
}

/* R4: any other slot than the recorded one. */
static void pivoted(void **state)
{
	static const int64_t offsets[] = { -16, -8, 8, 16, 0x30, 4096, -4096 };
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	size_t i;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_callout(w, 0, m, FN_F, GATE_LEAVE));
	for (i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		struct guard_cpu out = w->cpu[0];

		w->cpu[0].gpr[GUARD_RSP] += (uint64_t)offsets[i];
		if (w->cpu[0].gpr[GUARD_RSP] >= w_stack_top(0))
			expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_BAD_STACK);
		else
			expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_NO_RECORD);
		w->cpu[0] = out;
	}
	/* the return kinds never read the slot: an interrupt may have overwritten it */
	w_set_word(w, 0, w->cpu[0].gpr[GUARD_RSP], 0x5555);
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)));
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mode_and_flags),	 cmocka_unit_test(everything_else),
		cmocka_unit_test(registers_verified),	 cmocka_unit_test(registers_scrubbed),
		cmocka_unit_test(scrub_spares_children), cmocka_unit_test(ac_as_it_was),
		cmocka_unit_test(returns_elsewhere),	 cmocka_unit_test(pivoted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
