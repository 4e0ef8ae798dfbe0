/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which words of the stack lead home? For every shape of stack, every word of the chain's extent is
 * changed during a call-out: those that decide where the module goes on must be noticed, locals
 * (out-parameters, P1) must not.
 */
#include "tests/support/check.h"

enum duty { MUST, MAY, FREE };

#define MAX_EXTENT 4096u

struct shape {
	uint64_t lo, hi;	  /* [call-out slot + 8, outermost slot + 8) */
	uint8_t duty[MAX_EXTENT]; /* of each word from lo */
};

static void mark(struct shape *s, uint64_t gva, enum duty duty)
{
	assert_true(gva >= s->lo && gva < s->hi);
	s->duty[(gva - s->lo) / 8] = (uint8_t)duty;
}

/*
 * What frame `fn` at present (RSP, RBP as in its body, its return address at `ret`) adds. A saved
 * RBP is needed only if a frame further out finds its own by RBP; else it is the caller's business.
 */
static void mark_frame(struct shape *s, enum fn fn, uint64_t ret, uint64_t rbp, bool rbp_needed)
{
	enum duty saved = rbp_needed ? MUST : MAY;

	mark(s, ret, MUST);
	if (fn == FN_F || fn == FN_I || fn == FN_E)
		mark(s, ret - 8, saved);
	if (fn == FN_D) {
		mark(s, rbp, saved);
		mark(s, rbp - 8, MUST);
	}
}

static bool uses_rbp(enum fn fn)
{
	return fn == FN_F || fn == FN_I || fn == FN_D;
}

struct frames {
	enum fn fn[3];
	uint64_t ret[3], rbp[3];
	unsigned n;
};

/* Enters fn[0], calls inward to fn[n - 1], calls out. */
static void build(struct world *w, struct wmodule *m, struct frames *f, struct shape *s)
{
	unsigned i, k;

	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, f->fn[0]));
	for (i = 0; i < f->n; i++) {
		if (i)
			w_push(w, 0, w_fn(m, f->fn[i - 1], FN_RET2));
		f->ret[i] = w->cpu[0].gpr[GUARD_RSP];
		w_frame(w, 0, m, f->fn[i]);
		f->rbp[i] = w->cpu[0].gpr[GUARD_RBP];
	}
	s->lo = w->cpu[0].gpr[GUARD_RSP];
	s->hi = f->ret[0] + 8;
	assert_true(s->hi - s->lo < MAX_EXTENT * 8);
	memset(s->duty, FREE, sizeof(s->duty));
	for (i = 0; i < f->n; i++) {
		bool needed = false;

		/* RBP as this frame saved it is still wanted by an outer frame, unless one in
		 * between has a saved one of its own (then that one's counts) */
		for (k = i; k-- > 0 && !needed;) {
			needed = uses_rbp(f->fn[k]);
			if (f->fn[k] == FN_E)
				break;
		}
		mark_frame(s, f->fn[i], f->ret[i], f->rbp[i], needed);
	}
	expect_ok(w_callout(w, 0, m, f->fn[f->n - 1], GATE_LEAVE));
}

static void try_word(struct world *w, struct wmodule *m, const struct shape *s, uint64_t gva)
{
	uint64_t old = w_word(w, 0, gva);
	struct guard_cpu out = w->cpu[0];
	enum guard_verdict got;
	enum duty duty = (enum duty)s->duty[(gva - s->lo) / 8];

	w_set_word(w, 0, gva, old ^ 0x10);
	got = w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN));
	w_set_word(w, 0, gva, old);
	if (duty == MUST)
		assert_int_equal(got, GUARD_V_STACK_CHANGED);
	else if (duty == FREE)
		assert_int_equal(got, GUARD_V_OK);
	if (got == GUARD_V_OK) { /* out again, to the same place */
		w->cpu[0].gpr[GUARD_RSP] = out.gpr[GUARD_RSP];
		w_set_word(w, 0, out.gpr[GUARD_RSP], w->cpu[0].rip);
		expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE)));
	}
	w->cpu[0].gpr[GUARD_RSP] = out.gpr[GUARD_RSP];
}

/* R3, R5, P1, R9: each word of each shape; frames straddle pages that are not neighbours. */
static void every_word_of_every_shape(void **state)
{
	static const enum fn outer[] = { FN_F, FN_G, FN_D, FN_E, FN_B4096 };
	static const enum fn inner[] = { FN_I, FN_H, FN_D, FN_E, FN_T, FN_F };
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	unsigned i, j, k, n;

	(void)state;
	for (i = 0; i < 5; i++)
		for (j = 0; j < 6; j++)
			for (k = 0; k < 6; k++)
				for (n = 1; n <= 3; n++) {
					struct frames f = {
						{ outer[i], inner[j], inner[k] }, { 0 }, { 0 }, n
					};
					struct shape s;
					uint64_t gva;

					if ((n < 3 && k) || (n < 2 && j))
						continue;
					if (f.fn[n - 1] == FN_T)
						continue; /* a thunk calls nobody out */
					build(w, m, &f, &s);
					for (gva = s.lo; gva < s.hi; gva += 8)
						if (s.duty[(gva - s.lo) / 8] != FREE ||
						    s.hi - s.lo < 0x200)
							try_word(w, m, &s, gva);
					expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)));
					w->cpu[0].gpr[GUARD_RSP] = f.ret[0];
					expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
				}
	w_destroy(w);
}

/* E17: the parent's frames of a nested chain, while the child is out. */
static void parents_words(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t slots[3], rets[3], locals, old;
	unsigned i;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	slots[0] = w->cpu[0].gpr[GUARD_RSP];
	w_frame(w, 0, m, FN_F);
	for (i = 1; i < 3; i++) {
		w_inner(w, 0, m, i == 1 ? FN_F : FN_G, FN_H);
		rets[i] = w->cpu[0].gpr[GUARD_RSP] + 0x18;
		expect_ok(w_enter_from(w, 0, m, FN_G, w_fn(m, FN_H, FN_RET)));
		slots[i] = w->cpu[0].gpr[GUARD_RSP];
		w_frame(w, 0, m, FN_G);
	}
	locals = w->cpu[0].gpr[GUARD_RSP] + 8;
	expect_ok(w_callout(w, 0, m, FN_G, GATE_LEAVE));
	for (i = 0; i < 5; i++) {
		uint64_t gva = i < 3 ? slots[i] : rets[i - 2];

		old = w_word(w, 0, gva);
		w_set_word(w, 0, gva, i < 3 ? W_KRET : old + 8);
		expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_STACK_CHANGED);
		/* even what the child remembers is no legal content of its slot */
		if (i == 1) {
			w_set_word(w, 0, gva, w_fn(m, FN_H, FN_RET));
			expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_STACK_CHANGED);
		}
		w_set_word(w, 0, gva, old);
	}
	w_set_word(w, 0, locals, 0);
	expect_ok(w_back(w, 0, m));
	expect_ok(w_exit(w, 0, m, FN_G));
	assert_int_equal(w->cpu[0].rip, w_fn(m, FN_H, FN_RET));
	w_destroy(w);
}

/* Policy exact: every byte between the call-out's slot and the outermost one, and none beyond. */
static void policy_exact(void **state)
{
	static const enum fn fns[] = { FN_F, FN_G, FN_B512, FN_B4096 };
	struct std_options o = std_default();
	struct world *w;
	struct wmodule *m;
	unsigned i;

	(void)state;
	o.policy.stack = GUARD_STACK_EXACT;
	w = w_simple(1, &o);
	m = &w->module[0];
	for (i = 0; i < 4; i++) {
		uint64_t slot, out, gva, old;

		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, fns[i]));
		slot = w->cpu[0].gpr[GUARD_RSP];
		w_frame(w, 0, m, fns[i]);
		expect_ok(w_callout(w, 0, m, fns[i], GATE_LEAVE));
		out = w->cpu[0].gpr[GUARD_RSP];
		for (gva = out + 8; gva < slot + 8; gva += 8) {
			old = w_word(w, 0, gva);
			w_set_word(w, 0, gva, old ^ 1ull << (gva / 8 % 64));
			expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_STACK_CHANGED);
			w_set_word(w, 0, gva, old);
		}
		w_set_word(w, 0, out, 1);
		w_set_word(w, 0, out - 8, 1);
		w_set_word(w, 0, slot + 8, 1);
		expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)));
		expect_ok(w_exit(w, 0, m, fns[i]));
	}
	/* a departure: from RSP on */
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_G));
	w_frame(w, 0, m, FN_G);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	w_set_word(w, 0, w->cpu[0].gpr[GUARD_RSP], 3);
	expect(w_fetch(w, 0, w->cpu[0].rip), GUARD_V_STACK_CHANGED);
	w_set_word(w, 0, w->cpu[0].gpr[GUARD_RSP], 0x10ca100000000020ull);
	w_set_word(w, 0, w->cpu[0].gpr[GUARD_RSP] - 8, 3);
	expect_ok(w_fetch(w, 0, w->cpu[0].rip));
	w_destroy(w);
}

/* Policy none gives up G5, but no more: records are still found by their slot. */
static void policy_none(void **state)
{
	struct std_options o = std_default();
	struct world *w;
	struct wmodule *m;
	uint64_t slot;

	(void)state;
	o.policy.stack = GUARD_STACK_NONE;
	w = w_simple(1, &o);
	m = &w->module[0];
	expect_ok(w_enter(w, 0, m, FN_F));
	slot = w->cpu[0].gpr[GUARD_RSP];
	w_frame(w, 0, m, FN_F);
	w_inner(w, 0, m, FN_F, FN_N); /* no unwind information is asked for */
	expect_ok(w_callout(w, 0, m, FN_N, GATE_LEAVE));
	w_set_word(w, 0, slot, 0x999);
	w_set_word(w, 0, slot - 8, 0x999);
	w->cpu[0].gpr[GUARD_RSP] -= 8;
	expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_NO_RECORD);
	w->cpu[0].gpr[GUARD_RSP] += 8;
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)));
	w->cpu[0].gpr[GUARD_RSP] = slot;
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	w_destroy(w);
}

/* R10: at most 64 frames for a whole chain, counted over all its activations. */
static void frames_bound(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	unsigned inner, n;

	(void)state;
	for (inner = GUARD_MAX_FRAMES - 2; inner <= GUARD_MAX_FRAMES; inner++) {
		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, FN_G));
		w_frame(w, 0, m, FN_G);
		for (n = 0; n < inner; n++)
			w_inner(w, 0, m, n ? FN_H : FN_G, FN_H);
		expect(w_callout(w, 0, m, FN_H, GATE_LEAVE),
		       inner + 1 <= GUARD_MAX_FRAMES ? GUARD_V_OK : GUARD_V_STACK_TOO_DEEP);
		expect_u(w, 0);
		assert_int_equal(w_info(w, m).suspended, inner + 1 <= GUARD_MAX_FRAMES);
		if (inner + 1 <= GUARD_MAX_FRAMES)
			expect_ok(w_back(w, 0, m));
		else
			assert_true(w->d.inject_gp);
		expect(w_depart(w, 0, GUARD_CAUSE_IRQ, 32), GUARD_V_OK);
	}
	/* two activations together */
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_G));
	w_frame(w, 0, m, FN_G);
	for (n = 0; n < 31; n++)
		w_inner(w, 0, m, n ? FN_H : FN_G, FN_H);
	expect_ok(w_enter_from(w, 0, m, FN_G, w_fn(m, FN_H, FN_RET)));
	w_frame(w, 0, m, FN_G);
	for (n = 0; n < 31; n++)
		w_inner(w, 0, m, n ? FN_H : FN_G, FN_H);
	expect_ok(w_callout(w, 0, m, FN_H, GATE_LEAVE));
	expect_ok(w_back(w, 0, m));
	w_inner(w, 0, m, FN_H, FN_H);
	expect(w_callout(w, 0, m, FN_H, GATE_LEAVE), GUARD_V_STACK_TOO_DEEP);
	w_destroy(w);
}

/* 64 frames that each save all they can: nothing overflows. */
static void most_words(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	unsigned n;

	(void)state;
	w->cpu[0].gpr[GUARD_RSP] = w_stack_top(0) - 8;
	expect_ok(w_enter(w, 0, m, FN_D));
	w_frame(w, 0, m, FN_D);
	for (n = 1; n < GUARD_MAX_FRAMES; n++)
		w_inner(w, 0, m, FN_D, FN_D);
	expect_ok(w_callout(w, 0, m, FN_D, GATE_LEAVE));
	expect_ok(w_back(w, 0, m));
	expect_view(w, 0, m);
	w_destroy(w);
}

/* A chain may span so many pages of stack and no more. */
static void extent_bound(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t slot;
	unsigned pages;

	(void)state;
	for (pages = GUARD_EXTENT_PAGES - 1; pages <= GUARD_EXTENT_PAGES + 1; pages++) {
		w_thread(w, 0, 1); /* the stack below is thread 0's guard gap */
		w->cpu[0].gpr[GUARD_RSP] = w_stack_top(1);
		expect_ok(w_enter(w, 0, m, FN_F));
		slot = w->cpu[0].gpr[GUARD_RSP];
		w_frame(w, 0, m, FN_F);
		/* a large alloca: RBP finds the frame all the same */
		w->cpu[0].gpr[GUARD_RSP] = (slot & ~0xfffull) - (pages - 1) * GM_PAGE + 8;
		if (pages == GUARD_EXTENT_PAGES + 1)
			fake_map(w->vmm, w->cr3, w->cpu[0].gpr[GUARD_RSP] & ~0xfffull,
				 fake_alloc(w->vmm, 1), PTE_P | PTE_W);
		expect(w_callout(w, 0, m, FN_F, GATE_LEAVE),
		       pages <= GUARD_EXTENT_PAGES ? GUARD_V_OK : GUARD_V_STACK_TOO_DEEP);
		expect_u(w, 0);
	}
	w_destroy(w);
}

/* At LEAVE-CALL: stacks from which the walk does not reach the slot. */
static void walks_that_fail(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	unsigned i;

	(void)state;
	for (i = 0; i < 14; i++) {
		enum fn fn = FN_F;
		uint64_t slot;

		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, i == 6 || i == 7 ? FN_D : FN_F));
		slot = w->cpu[0].gpr[GUARD_RSP];
		if (i == 6 || i == 7)
			fn = FN_D;
		w_frame(w, 0, m, fn);
		switch (i) {
		case 0: /* RBP is anything */ w->cpu[0].gpr[GUARD_RBP] = 0xdeadbeef; break;
		case 1: /* a frame that does not grow */
			w->cpu[0].gpr[GUARD_RBP] = w->cpu[0].gpr[GUARD_RSP] - 64;
			break;
		case 2: /* a CFA beyond the slot */ w->cpu[0].gpr[GUARD_RBP] = slot; break;
		case 3: /* not aligned */ w->cpu[0].gpr[GUARD_RBP] += 4; break;
		case 4: /* the slot no longer holds the leave-return gate */
			w_set_word(w, 0, slot, W_KRET);
			break;
		case 5: /* nothing is known about that frame */
			w_inner(w, 0, m, FN_F, FN_N);
			fn = FN_N;
			break;
		case 6: /* the realigned frame's pointer is anything */
			w_set_word(w, 0, w->cpu[0].gpr[GUARD_RBP] - 8, 0x10);
			break;
		case 7: /* RBP points nowhere: no pointer to read */
			w->cpu[0].gpr[GUARD_RBP] = w_stack_top(0) + 0x800;
			break;
		case 8: /* a return address that is no return site */
			w_inner(w, 0, m, FN_F, FN_I);
			w_set_word(w, 0, w->cpu[0].gpr[GUARD_RBP] + 8, w_fn(m, FN_F, FN_BODY));
			fn = FN_I;
			break;
		case 9: /* the saved RBP of an inner frame is anything */
			w_inner(w, 0, m, FN_F, FN_I);
			w_set_word(w, 0, w->cpu[0].gpr[GUARD_RBP], 0x77);
			fn = FN_I;
			break;
		case 10: /* RSP-based frame too short by a word */
			w_inner(w, 0, m, FN_F, FN_H);
			w->cpu[0].gpr[GUARD_RSP] += 8;
			fn = FN_H;
			break;
		case 11: /* a return address into another module or the kernel */
			w_inner(w, 0, m, FN_F, FN_H);
			w_set_word(w, 0, w->cpu[0].gpr[GUARD_RSP] + 0x18, W_KRET);
			fn = FN_H;
			break;
		case 12: /* saved RBP beyond the extent: cannot be read */
			w_inner(w, 0, m, FN_F, FN_D);
			w->cpu[0].gpr[GUARD_RBP] = slot + 16;
			fn = FN_D;
			break;
		default: /* an inner frame whose return address is the activation's own slot */
			w_inner(w, 0, m, FN_F, FN_H);
			w->cpu[0].gpr[GUARD_RSP] = slot - 8;
			fn = FN_H;
		}
		expect(w_callout(w, 0, m, fn, GATE_LEAVE), GUARD_V_STACK_CHANGED);
		assert_true(w->d.inject_gp);
		expect_u(w, 0);
		assert_int_equal(w_info(w, m).suspended, 0);
		w_thread(w, 0, 0);
		assert_true(w_honest(w, 0, m, FN_F));
	}
	w_destroy(w);
}

/* A CFA register other than RSP and RBP is known in the innermost frame of a departure alone. */
static void unknown_cfa_register(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *m;
	size_t len, i;
	void *manifest;

	(void)state;
	manifest = std_manifest(&o, &len);
	for (i = 0; i < mb_table_of(manifest, MB_UNWIND).count; i++) {
		struct gm_unwind *u = mb_record(manifest, MB_UNWIND, (uint32_t)i);

		if (u->moff == FN_G * 0x100 + FN_BODY) {
			u->cfa_reg = GUARD_RBX;
			u->cfa_offset = 0;
		}
	}
	m = w_add_manifest(w, &o, manifest, len);
	expect_ok(w_announce(w, 0, m));
	expect_ok(w_enter(w, 0, m, FN_G));
	w->cpu[0].gpr[GUARD_RBX] = w->cpu[0].gpr[GUARD_RSP] + 8;
	w_frame(w, 0, m, FN_G);
	expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
	expect_ok(w_fetch(w, 0, w->cpu[0].rip));
	expect(w_callout(w, 0, m, FN_G, GATE_LEAVE), GUARD_V_STACK_CHANGED);
	w_destroy(w);
}

/* R9: the pages are re-read through the present mapping: other frames, same words, is no change. */
static void stack_moves(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t page, gpa, old;
	uint8_t bytes[GM_PAGE];

	(void)state;
	w->cpu[0].gpr[GUARD_RSP] = w_stack_top(0) - GM_PAGE + 0x20;
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_callout(w, 0, m, FN_F, GATE_LEAVE));
	page = w_stack_top(0) - GM_PAGE;
	old = fake_walk(w->vmm, w->cr3, page).gpa;
	gpa = fake_alloc(w->vmm, 1);
	fake_map(w->vmm, w->cr3, page, gpa, PTE_P | PTE_W); /* zeros now */
	expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_STACK_CHANGED);
	fake_unmap(w->vmm, w->cr3, page);
	expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_STACK_CHANGED);
	memcpy(bytes, fake_ram(w->vmm, old, GM_PAGE), GM_PAGE);
	fake_poke(w->vmm, gpa, bytes, GM_PAGE);
	fake_map(w->vmm, w->cr3, page, gpa, PTE_P | PTE_W);
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)));
	w_destroy(w);
}

/*
 * Policy exact: bytes that cannot be read are not those that were there, even if the guard has just
 * seen the very same ones.
 */
static void exact_unreadable(void **state)
{
	struct std_options o = std_default();
	struct world *w;
	struct wmodule *m;
	unsigned n;

	(void)state;
	o.policy.stack = GUARD_STACK_EXACT;
	w = w_simple(1, &o);
	m = &w->module[0];
	assert_true(w_honest(w, 0, m, FN_G));
	for (n = 1;; n++) {
		w_thread(w, 0, 0);
		expect_ok(w_enter(w, 0, m, FN_G));
		w_frame(w, 0, m, FN_G);
		expect_ok(w_callout(w, 0, m, FN_G, GATE_LEAVE));
		fake_forget(w->vmm);
		w->vmm->fail_op[FAKE_READ] = n;
		w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN));
		if (!w->vmm->failed)
			break;
		expect(w->d.verdict, GUARD_V_STACK_CHANGED);
		fake_forget(w->vmm);
		expect_ok(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)));
		expect_ok(w_exit(w, 0, m, FN_G));
	}
	assert_true(n > 1);
	w_destroy(w);
}

/* E8: a stack in the user half, though it is the supervisor's own and writable. */
static void user_half(void **state)
{
	const uint64_t top = 0x00007ffff0004000ull;
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	unsigned i;

	(void)state;
	for (i = 1; i <= 8; i++)
		fake_map(w->vmm, w->cr3, top - i * GM_PAGE, fake_alloc(w->vmm, 1), PTE_P | PTE_W);
	for (i = 0; i < 2; i++) {
		w_thread(w, 0, 0);
		w->cpu[0].gpr[GUARD_RSP] = i ? w_stack_top(0) - 0x100 : top - 0x100;
		expect(w_enter(w, 0, m, FN_G), i ? GUARD_V_OK : GUARD_V_BAD_STACK);
	}
	expect_view(w, 0, m);
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_word_of_every_shape),
		cmocka_unit_test(parents_words),
		cmocka_unit_test(policy_exact),
		cmocka_unit_test(exact_unreadable),
		cmocka_unit_test(user_half),
		cmocka_unit_test(policy_none),
		cmocka_unit_test(frames_bound),
		cmocka_unit_test(most_words),
		cmocka_unit_test(extent_bound),
		cmocka_unit_test(walks_that_fail),
		cmocka_unit_test(unknown_cfa_register),
		cmocka_unit_test(stack_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
