/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The administrator's and the VMM's side: REGISTER, UNREGISTER, GRANT, WITHHOLD, reset, and what a
 * policy does about a refusal.
 */
#include "tests/support/check.h"

static enum guard_verdict grant(struct world *w, unsigned v, struct wmodule *m, uint64_t set,
				bool give)
{
	enum guard_verdict result = guard_grant(w->guard, v, m->index, set, give, &w->d);

	if (v < w->vcpus && w->d.stop & (1u << v))
		w->stopped[v] = true;
	return result;
}

/* A fresh manifest that differs in its digest, with a binding that fits. */
struct candidate {
	void *manifest, *work;
	size_t len, work_len;
	struct guard_binding binding;
	unsigned index;
	struct guard_decision d;
};

static void candidate_init(struct world *w, struct candidate *c, uint32_t seed)
{
	struct std_options o = std_default();

	memset(c, 0, sizeof(*c));
	o.seed = seed;
	c->manifest = std_manifest(&o, &c->len);
	assert_true(fake_ops.digest(w->vmm, c->manifest, c->len, c->binding.digest));
	c->binding.policy.chains = 1;
	c->binding.bound = ALL_PRIVILEGES;
	c->binding.resource[PRIV_DEVICE].base = FAKE_MMIO + 0x100000ull * (seed % 64);
	c->binding.resource[PRIV_DEVICE].length = 0x1000;
	c->work_len = guard_work_size(c->manifest, c->len, &c->binding.policy);
	assert_true(c->work_len > 0);
	c->work = aligned_alloc(64, (c->work_len + 127) & ~(size_t)63);
	assert_non_null(c->work);
	c->index = 77;
}

static enum guard_verdict candidate_register(struct world *w, struct candidate *c)
{
	return guard_register(w->guard, c->manifest, c->len, &c->binding, c->work, c->work_len,
			      &c->index, &c->d);
}

static void candidate_free(struct candidate *c)
{
	free(c->manifest);
	free(c->work);
}

static void init_bounds(void **state)
{
	void *mem = aligned_alloc(64, (guard_size() + 63) & ~(size_t)63);

	(void)state;
	assert_non_null(mem);
	assert_null(guard_init(mem, 0, &fake_ops, NULL));
	assert_null(guard_init(mem, GUARD_MAX_VCPUS + 1, &fake_ops, NULL));
	assert_non_null(guard_init(mem, 1, &fake_ops, NULL));
	assert_non_null(guard_init(mem, GUARD_MAX_VCPUS, &fake_ops, NULL));
	assert_int_equal(guard_view(mem, 0), GUARD_VIEW_U);
	assert_int_equal(guard_view(mem, 99), GUARD_VIEW_U);
	free(mem);
}

/* An event of a vCPU that does not exist is answered, not followed. */
static void unknown_vcpu(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_event ev = { .type = GUARD_EV_X, .vcpu = 2, .cpu = w->cpu[0] };
	struct guard_module_info info;
	unsigned v;

	(void)state;
	ev.cpu.rip = w_gate_x(m, GATE_ENTER);
	guard_judge(w->guard, &ev, &w->d);
	assert_true(w->d.stop_vcpu);
	assert_int_equal(w->d.view, GUARD_VIEW_U);
	assert_int_equal(w_info(w, m).running, 0);
	for (v = 2; v < 4096; v++)
		assert_int_equal(guard_view(w->guard, v), GUARD_VIEW_U);
	expect(grant(w, 2, m, 1, true), GUARD_V_UNKNOWN_MODULE);
	guard_vcpu_reset(w->guard, 2, &w->d);
	assert_false(guard_module_info(w->guard, 1, &info));
	assert_false(guard_module_info(w->guard, GUARD_MAX_MODULES, &info));
	assert_false(guard_module_info(w->guard, ~0u, &info));
	assert_true(w_honest(w, 1, m, FN_F));
	w_destroy(w);
}

/* G4: without a fitting binding nothing is registered, and nothing is hidden. */
static void not_bound(void **state)
{
	struct world *w = w_create(1);
	struct candidate c;
	unsigned i;

	(void)state;
	candidate_init(w, &c, 1);
	expect(guard_register(w->guard, c.manifest, c.len, NULL, c.work, c.work_len, &c.index,
			      &c.d),
	       GUARD_V_NOT_BOUND);
	for (i = 0; i < 32; i++) {
		c.binding.digest[i] ^= 1;
		expect(candidate_register(w, &c), GUARD_V_NOT_BOUND);
		c.binding.digest[i] ^= 1;
	}
	c.binding.bound = ALL_PRIVILEGES + 1; /* more than the manifest asks for */
	expect(candidate_register(w, &c), GUARD_V_NOT_BOUND);
	c.binding.bound = 1ull << 63;
	expect(candidate_register(w, &c), GUARD_V_NOT_BOUND);
	c.binding.bound = ALL_PRIVILEGES;
	for (i = 0; i < 5; i++) { /* a device range that is none */
		static const struct guard_resource bad[] = {
			{ FAKE_MMIO, 0 },
			{ FAKE_MMIO + 8, 0x1000 },
			{ FAKE_MMIO, 0x1008 },
			{ 0xfffffffffffff000ull, 0x2000 },
			{ 0, 0 },
		};

		c.binding.resource[PRIV_DEVICE] = bad[i];
		expect(candidate_register(w, &c), GUARD_V_NOT_BOUND);
		assert_int_equal(w->vmm->calls[FAKE_DEVICE_ROLE], 0);
	}
	assert_int_equal(c.index, 77);
	/* without the device bound its range means nothing */
	c.binding.bound = ALL_PRIVILEGES & ~(1ull << PRIV_DEVICE);
	expect_ok(candidate_register(w, &c));
	assert_int_equal(w->vmm->calls[FAKE_DEVICE_ROLE], 0);
	assert_int_equal(c.index, 0);
	candidate_free(&c);
	w_destroy(w);
}

/* Policies out of bounds. */
static void bad_policies(void **state)
{
	struct world *w = w_create(1);
	struct candidate c;
	unsigned i;

	(void)state;
	candidate_init(w, &c, 1);
	for (i = 0; i < 6; i++) {
		struct guard_policy *p = &c.binding.policy, good = *p;

		if (i == 0)
			p->stack = GUARD_STACK_NONE + 1;
		else if (i == 1)
			p->registers = GUARD_REGS_SCRUB + 1;
		else if (i == 2)
			p->mapping = GUARD_MAPPING_LOCKED + 1;
		else if (i == 3)
			p->refusal = GUARD_REFUSE_STOP + 1;
		else
			p->chains = i == 4 ? 0 : GUARD_MAX_CHAINS + 1;
		assert_int_equal(guard_work_size(c.manifest, c.len, p), 0);
		expect(candidate_register(w, &c), GUARD_V_NOT_BOUND);
		*p = good;
	}
	c.binding.policy.chains = GUARD_MAX_CHAINS;
	assert_true(guard_work_size(c.manifest, c.len, &c.binding.policy) > c.work_len);
	expect(candidate_register(w, &c), GUARD_V_NO_ROOM);
	candidate_free(&c);
	w_destroy(w);
}

/* no-room: work memory, table of modules, pages to be walked; the same module twice. */
static void no_room(void **state)
{
	struct world *w = w_create(1);
	struct candidate c[GUARD_MAX_MODULES + 1];
	struct std_options o = std_default();
	struct guard_decision d;
	uint8_t *aligned;
	unsigned i;

	(void)state;
	for (i = 0; i <= GUARD_MAX_MODULES; i++) {
		candidate_init(w, &c[i], i + 1);
		c[i].work_len--;
		expect(candidate_register(w, &c[i]), GUARD_V_NO_ROOM);
		c[i].work_len++;
		aligned = c[i].work;
		c[i].work = aligned + 4;
		expect(candidate_register(w, &c[i]), GUARD_V_NO_ROOM);
		c[i].work = aligned;
		if (i == GUARD_MAX_MODULES) {
			expect(candidate_register(w, &c[i]), GUARD_V_NO_ROOM);
			break;
		}
		expect_ok(candidate_register(w, &c[i]));
		assert_int_equal(c[i].index, i);
		expect(candidate_register(w, &c[i]), GUARD_V_NO_ROOM);
	}
	expect_ok(guard_unregister(w->guard, 5, &d));
	expect_ok(candidate_register(w, &c[GUARD_MAX_MODULES]));
	assert_int_equal(c[GUARD_MAX_MODULES].index, 5);
	expect_ok(guard_unregister(w->guard, 0, &d));
	free(c[0].manifest);
	o.text_pages = 250;
	c[0].manifest = std_manifest(&o, &c[0].len);
	assert_true(fake_ops.digest(w->vmm, c[0].manifest, c[0].len, c[0].binding.digest));
	c[0].work_len = guard_work_size(c[0].manifest, c[0].len, &c[0].binding.policy);
	free(c[0].work);
	c[0].work = aligned_alloc(64, (c[0].work_len + 63) & ~(size_t)63);
	expect(candidate_register(w, &c[0]), GUARD_V_NO_ROOM);
	c[0].binding.policy.mapping = GUARD_MAPPING_LOCKED;
	expect_ok(candidate_register(w, &c[0]));
	for (i = 0; i <= GUARD_MAX_MODULES; i++)
		candidate_free(&c[i]);
	w_destroy(w);
}

/* The limit on walked pages, to the page. */
static void walked_pages(void **state)
{
	unsigned extra;

	(void)state;
	for (extra = 200; extra < 260; extra++) {
		struct std_options o = std_default();
		struct world *w = w_create(1);
		struct candidate c;
		struct gm_segment *last;
		uint32_t pages;

		candidate_init(w, &c, 1);
		candidate_free(&c);
		o.text_pages = extra;
		c.manifest = std_manifest(&o, &c.len);
		last = mb_record(c.manifest, MB_SEGMENTS, SEG_PERCPU);
		pages = last->start / GM_PAGE + 1;
		assert_true(fake_ops.digest(w->vmm, c.manifest, c.len, c.binding.digest));
		c.work_len = guard_work_size(c.manifest, c.len, &c.binding.policy);
		c.work = aligned_alloc(64, (c.work_len + 63) & ~(size_t)63);
		expect(candidate_register(w, &c),
		       pages <= GUARD_MAX_WALKED_PAGES ? GUARD_V_OK : GUARD_V_NO_ROOM);
		candidate_free(&c);
		w_destroy(w);
	}
}

/* I14: one device range is bound to one module only. */
static void devices_are_exclusive(void **state)
{
	static const struct {
		uint64_t base, length;
		enum guard_verdict want;
	} second[] = {
		{ FAKE_MMIO + 0x100000, 0x1000, GUARD_V_NOT_BOUND },
		{ FAKE_MMIO + 0x0ff000, 0x2000, GUARD_V_NOT_BOUND },
		{ FAKE_MMIO + 0x0ff000, 0x1000, GUARD_V_OK },
		{ FAKE_MMIO + 0x101000, 0x1000, GUARD_V_OK },
		{ FAKE_MMIO, 0x1000000, GUARD_V_NOT_BOUND },
	};
	unsigned i;

	(void)state;
	for (i = 0; i < 5; i++) {
		struct world *w = w_create(1);
		struct candidate a, b;
		struct guard_decision d;

		candidate_init(w, &a, 1);
		candidate_init(w, &b, 2);
		expect_ok(candidate_register(w, &a));
		assert_true(w->vmm->module[a.index].device_hidden[PRIV_DEVICE]);
		b.binding.resource[PRIV_DEVICE].base = second[i].base;
		b.binding.resource[PRIV_DEVICE].length = second[i].length;
		expect(candidate_register(w, &b), second[i].want);
		expect_ok(guard_unregister(w->guard, a.index, &d));
		assert_false(w->vmm->module[a.index].device_hidden[PRIV_DEVICE]);
		if (second[i].want != GUARD_V_OK)
			expect_ok(candidate_register(w, &b));
		candidate_free(&a);
		candidate_free(&b);
		w_destroy(w);
	}
}

/* Places in the table are used again: what was there means nothing, what is beside it stays. */
static void places_used_again(void **state)
{
	struct world *w = w_create(1);
	struct candidate a, b, c;
	struct guard_module_info info;
	struct guard_decision d;

	(void)state;
	candidate_init(w, &a, 1);
	candidate_init(w, &b, 2);
	candidate_init(w, &c, 3);
	expect_ok(candidate_register(w, &a));
	expect_ok(candidate_register(w, &b));
	expect_ok(guard_unregister(w->guard, a.index, &d));
	expect_ok(candidate_register(w, &c));
	assert_int_equal(c.index, 0);
	expect(candidate_register(w, &b), GUARD_V_NO_ROOM); /* it is still there */
	assert_true(guard_module_info(w->guard, b.index, &info));
	/* both go; the second one's range is free, though its place still names it */
	expect_ok(guard_unregister(w->guard, c.index, &d));
	expect_ok(guard_unregister(w->guard, b.index, &d));
	a.binding.resource[PRIV_DEVICE] = b.binding.resource[PRIV_DEVICE];
	expect_ok(candidate_register(w, &a));
	/* a range beside another privilege than a device is none */
	expect_ok(guard_unregister(w->guard, a.index, &d));
	a.binding.resource[PRIV_MWAIT] = c.binding.resource[PRIV_DEVICE];
	expect_ok(candidate_register(w, &a));
	expect_ok(candidate_register(w, &c));
	candidate_free(&a);
	candidate_free(&b);
	candidate_free(&c);
	w_destroy(w);
}

/* What cannot be given back stays registered, closed to everyone, until it can. */
static void unregister_half_way(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_module_info info;
	struct guard_decision d;

	(void)state;
	w->vmm->fail_op[FAKE_FRAME_ROLE] = 1;
	expect(guard_unregister(w->guard, m->index, &d), GUARD_V_BUSY);
	assert_true(guard_module_info(w->guard, m->index, &info));
	assert_true(info.quarantined);
	assert_true(w->vmm->module[0].device_hidden[PRIV_DEVICE]);
	w_enter(w, 0, m, FN_F);
	assert_int_not_equal(w->d.verdict, GUARD_V_OK);
	expect_ok(guard_unregister(w->guard, m->index, &d));
	assert_false(guard_module_info(w->guard, m->index, &info));
	w_destroy(w);
}

/* UNREGISTER lowers those inside first, withdraws, forgets; its decision names whom to kick. */
static void unregister(void **state)
{
	struct world *w = w_simple(4, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_decision d;
	struct guard_cpu out;
	unsigned v;

	(void)state;
	w_thread(w, 3, 3);
	expect_ok(w_enter(w, 3, m, FN_F));
	w_frame(w, 3, m, FN_F);
	expect_ok(w_callout(w, 3, m, FN_F, GATE_LEAVE));
	out = w->cpu[3];
	for (v = 0; v < 3; v++)
		expect_ok(w_enter(w, v, m, FN_G));
	fake_forget(w->vmm);
	expect_ok(guard_unregister(w->guard, m->index, &d));
	assert_int_equal(d.kick, 7);
	assert_int_equal(d.nlines, 1);
	assert_int_equal(d.line[0].event, GUARD_UNREGISTER);
	assert_int_equal(d.line[0].cause, GUARD_CAUSE_ADMIN);
	assert_true(fake_find_last(w->vmm, FAKE_LOWER, -1) <
		    fake_find(w->vmm, FAKE_FRAME_ROLE, -1));
	for (v = 0; v < 4; v++)
		expect_u(w, v);
	assert_int_equal(fake_frames_of(w->vmm, 0), 0);
	assert_false(w->vmm->module[0].device_hidden[PRIV_DEVICE]);
	expect(guard_unregister(w->guard, m->index, &d), GUARD_V_UNKNOWN_MODULE);
	expect(guard_unregister(w->guard, GUARD_MAX_MODULES, &d), GUARD_V_UNKNOWN_MODULE);
	expect(guard_unregister(w->guard, ~0u, &d), GUARD_V_UNKNOWN_MODULE);
	expect(w_announce(w, 0, m), GUARD_V_UNKNOWN_MODULE);
	/* who waited outside has nowhere to return to; grants do not outlive it */
	w->cpu[3] = out;
	expect(w_x(w, 3, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_UNANNOUNCED);
	expect_ok(w_register(w, m));
	expect_ok(w_announce(w, 0, m));
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_G));
	assert_int_equal(w->vmm->vcpu[0].privileges, 0);
	w_destroy(w);
}

/* The "adaptive" of the title: a set is computed at each raise, and while inside at once. */
static void grant_and_withhold(void **state)
{
	struct std_options o = std_default();
	struct world *w;
	struct wmodule *m;

	(void)state;
	o.bound = 1u << PRIV_MWAIT | 1u << PRIV_MSR;
	w = w_simple(2, &o);
	m = &w->module[0];
	expect_ok(grant(w, 0, m, ~0ull, false));
	expect_ok(w_enter(w, 0, m, FN_F));
	assert_int_equal(w->vmm->vcpu[0].privileges, 0); /* privileged, with an empty set */
	expect_view(w, 0, m);
	expect_ok(grant(w, 0, m, 1u << PRIV_MWAIT, true));
	assert_int_equal(w->d.nlines, 1);
	assert_int_equal(w->d.line[0].event, GUARD_GRANT);
	assert_int_equal(w->d.kick, 0);
	assert_int_equal(w->vmm->vcpu[0].privileges, 1u << PRIV_MWAIT);
	expect_ok(grant(w, 0, m, ALL_PRIVILEGES, true)); /* bound is bound */
	assert_int_equal(w->vmm->vcpu[0].privileges, 1u << PRIV_MWAIT | 1u << PRIV_MSR);
	expect_ok(grant(w, 0, m, 1u << PRIV_MWAIT, false));
	assert_int_equal(w->d.line[0].event, GUARD_WITHHOLD);
	assert_int_equal(w->d.kick & 1, 1); /* it may be asleep in MWAIT */
	assert_int_equal(w->vmm->vcpu[0].privileges, 1u << PRIV_MSR);
	/* A1: not in a nested chain, not after a return either; other vCPUs have their own */
	w_frame(w, 0, m, FN_F);
	expect_ok(w_enter_from(w, 0, m, FN_G, w_fn(m, FN_F, FN_RET)));
	assert_int_equal(w->vmm->vcpu[0].privileges, 1u << PRIV_MSR);
	w_frame(w, 0, m, FN_G);
	expect_ok(w_callout(w, 0, m, FN_G, GATE_LEAVE));
	expect_ok(grant(w, 0, m, 1u << PRIV_MSR, false));
	expect_ok(w_back(w, 0, m));
	assert_int_equal(w->vmm->vcpu[0].privileges, 0);
	w_thread(w, 1, 1);
	expect_ok(w_enter(w, 1, m, FN_F));
	assert_int_equal(w->vmm->vcpu[1].privileges, 1u << PRIV_MWAIT | 1u << PRIV_MSR);
	w_destroy(w);
}

static void grant_to_unknown(void **state)
{
	struct world *w = w_simple(1, NULL);

	(void)state;
	expect(guard_grant(w->guard, 0, 1, 1, true, &w->d), GUARD_V_UNKNOWN_MODULE);
	expect(guard_grant(w->guard, 0, GUARD_MAX_MODULES, 1, true, &w->d), GUARD_V_UNKNOWN_MODULE);
	expect(guard_grant(w->guard, 1, 0, 1, true, &w->d), GUARD_V_UNKNOWN_MODULE);
	w_destroy(w);
}

/* A raise that fails: GRANT gives nothing; WITHHOLD takes all rather than leave too much. */
static void grant_fails(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	expect_ok(grant(w, 0, m, 1u << PRIV_MSR, false));
	expect_ok(w_enter(w, 0, m, FN_F));
	w->vmm->fail_op[FAKE_RAISE] = 1;
	expect(grant(w, 0, m, 1u << PRIV_MSR, true), GUARD_V_RAISE_FAILED);
	assert_int_equal(w->vmm->vcpu[0].privileges, ALL_PRIVILEGES & ~(1u << PRIV_MSR));
	expect_view(w, 0, m);
	expect_ok(w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN)));
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_F));
	assert_int_equal(w->vmm->vcpu[0].privileges, ALL_PRIVILEGES & ~(1u << PRIV_MSR));
	w->vmm->fail_op[FAKE_RAISE] = 1;
	expect(grant(w, 0, m, 1u << PRIV_MWAIT, false), GUARD_V_RAISE_FAILED);
	expect_u(w, 0);
	assert_int_equal(w->vmm->vcpu[0].view, GUARD_VIEW_U);
	assert_int_equal(w->d.view, GUARD_VIEW_U);
	w_thread(w, 0, 0);
	expect_ok(w_enter(w, 0, m, FN_F));
	assert_int_equal(w->vmm->vcpu[0].privileges & 1u << PRIV_MWAIT, 0);
	w->vmm->fail_op[FAKE_RAISE] = 1;
	w->vmm->fail_op[FAKE_LOWER] = 1;
	expect(grant(w, 0, m, 1u << PRIV_IOPORT, false), GUARD_V_LOWER_FAILED);
	assert_true(w->d.stop_vcpu);
	w_thread(w, 1, 1);
	assert_true(w_honest(w, 1, m, FN_F));
	w_destroy(w);
}

/* Policy may require privileges: an entry without them is withheld, a return is not. */
static void required(void **state)
{
	struct std_options o = std_default();
	struct world *w;
	struct wmodule *m;

	(void)state;
	o.policy.required = 1u << PRIV_MWAIT | 1u << PRIV_MSR;
	w = w_simple(1, &o);
	m = &w->module[0];
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_callout(w, 0, m, FN_F, GATE_LEAVE));
	expect_ok(grant(w, 0, m, 1u << PRIV_MSR, false));
	expect(w_enter(w, 0, m, FN_G), GUARD_V_WITHHELD);
	w->cpu[0].gpr[GUARD_RSP] += 8;
	expect_ok(w_back(w, 0, m));
	expect(w_enter_from(w, 0, m, FN_G, w_fn(m, FN_F, FN_RET)), GUARD_V_WITHHELD);
	expect_view(w, 0, m);
	w_destroy(w);
}

/* Reset of a vCPU: lowered, its chain gone; suspended chains of its threads live on. */
static void vcpu_reset(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu out;

	(void)state;
	expect_ok(guard_vcpu_reset(w->guard, 0, &w->d));
	assert_int_equal(w->d.nlines, 1);
	assert_int_equal(w->d.line[0].event, GUARD_RESET);
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_callout(w, 0, m, FN_F, GATE_LEAVE));
	out = w->cpu[0];
	expect_ok(w_enter(w, 0, m, FN_G));
	guard_vcpu_reset(w->guard, 2, &w->d); /* nobody */
	expect_view(w, 0, m);
	expect_ok(guard_vcpu_reset(w->guard, 0, &w->d));
	assert_int_equal(w->d.line[0].module, m->index);
	assert_int_equal(w->d.line[0].from, m->index);
	assert_int_equal(w->d.line[0].to, GUARD_VIEW_U);
	assert_int_equal(w->d.view, GUARD_VIEW_U);
	expect_u(w, 0);
	assert_int_equal(w_info(w, m).suspended, 1);
	w->cpu[1] = out;
	expect_ok(w_back(w, 1, m));
	w->vmm->fail_op[FAKE_LOWER] = 1;
	expect(guard_vcpu_reset(w->guard, 1, &w->d), GUARD_V_LOWER_FAILED);
	assert_true(w->d.stop_vcpu);
	assert_int_equal(w->d.stop, 2);
	w_destroy(w);
}

/* A vCPU that could not be lowered never runs again, whatever it says. */
static void stopped_for_good(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_event ev = { .type = GUARD_EV_X, .vcpu = 0 };

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w->vmm->fail_op[FAKE_LOWER] = 1;
	expect(w_depart(w, 0, GUARD_CAUSE_IRQ, 32), GUARD_V_LOWER_FAILED);
	ev.cpu = w->cpu[0];
	ev.cpu.rip = w_gate_x(m, GATE_ENTER + FN_F);
	fake_forget(w->vmm);
	guard_judge(w->guard, &ev, &w->d);
	assert_true(w->d.stop_vcpu);
	assert_int_equal(w->vmm->total, 0);
	ev.type = GUARD_EV_FETCH;
	ev.cpu.rip = w_fn(m, FN_F, 0);
	guard_judge(w->guard, &ev, &w->d);
	assert_true(w->d.stop_vcpu);
	assert_int_equal(w->d.nlines, 0);
	assert_int_equal(w->vmm->total, 0);
	assert_int_equal(w_info(w, m).running, 0);
	w_destroy(w);
}

/* Refusal policies: quarantine lowers everyone inside and refuses all ways in; stop stops. */
static void quarantine(void **state)
{
	struct std_options o = std_default();
	struct guard_cpu out, at;
	struct world *w;
	struct wmodule *m;

	(void)state;
	o.policy.refusal = GUARD_REFUSE_QUARANTINE;
	w = w_simple(4, &o);
	m = &w->module[0];
	w_thread(w, 1, 1);
	expect_ok(w_enter(w, 1, m, FN_F));
	w_frame(w, 1, m, FN_F);
	expect_ok(w_callout(w, 1, m, FN_F, GATE_LEAVE));
	out = w->cpu[1];
	w_thread(w, 1, 4);
	expect_ok(w_enter(w, 1, m, FN_F));
	at = w->cpu[1];
	expect_ok(w_depart(w, 1, GUARD_CAUSE_IRQ, 32));
	expect_ok(w_enter(w, 2, m, FN_F));
	expect_ok(w_enter(w, 3, m, FN_F));
	expect(w_enter_from(w, 0, m, FN_F, 0), GUARD_V_BAD_RETURN);
	assert_int_equal(w->d.kick, 0xc);
	assert_false(w->d.stop_vm);
	assert_true(w_info(w, m).quarantined);
	assert_int_equal(w_info(w, m).running, 0);
	assert_int_equal(w_info(w, m).suspended, 0);
	expect_u(w, 2);
	expect_u(w, 3);
	assert_int_equal(w_status(w, 0, m), GUARD_STATUS_REGISTERED | GUARD_STATUS_ANNOUNCED |
						    GUARD_STATUS_QUARANTINED);
	w_thread(w, 0, 0);
	expect(w_enter(w, 0, m, FN_F), GUARD_V_QUARANTINED);
	w->cpu[1] = out;
	expect(w_back(w, 1, m), GUARD_V_QUARANTINED);
	w->cpu[1] = at;
	expect(w_fetch(w, 1, at.rip), GUARD_V_QUARANTINED);
	/* reloading does not clear it, unregistering does */
	expect_ok(w_withdraw(w, 0, m));
	expect_ok(w_announce(w, 0, m));
	w_thread(w, 0, 0);
	expect(w_enter(w, 0, m, FN_F), GUARD_V_QUARANTINED);
	expect_ok(guard_unregister(w->guard, m->index, &w->d));
	expect_ok(w_register(w, m));
	expect_ok(w_announce(w, 0, m));
	w_thread(w, 0, 0);
	assert_true(w_honest(w, 0, m, FN_F));
	w_destroy(w);
}

/* A quarantine that cannot lower someone stops that vCPU. */
static void quarantine_lower_fails(void **state)
{
	struct std_options o = std_default();
	struct world *w;
	struct wmodule *m;

	(void)state;
	o.policy.refusal = GUARD_REFUSE_QUARANTINE;
	w = w_simple(3, &o);
	m = &w->module[0];
	expect_ok(w_enter(w, 1, m, FN_F));
	expect_ok(w_enter(w, 2, m, FN_F));
	w->vmm->fail_op[FAKE_LOWER] = 1;
	expect(w_enter_from(w, 0, m, FN_F, 0), GUARD_V_BAD_RETURN);
	assert_int_equal(w->d.stop, 2);
	assert_false(w->d.stop_vcpu);
	expect_u(w, 2);
	assert_int_equal(w_info(w, m).running, 0);
	w_destroy(w);
}

/* A refused LEAVE of one's own quarantines as well. */
static void quarantined_from_inside(void **state)
{
	struct std_options o = std_default();
	struct world *w;
	struct wmodule *m;

	(void)state;
	o.policy.refusal = GUARD_REFUSE_QUARANTINE;
	w = w_simple(2, &o);
	m = &w->module[0];
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect(w_enter_from(w, 0, m, FN_G, W_KRET), GUARD_V_BAD_RETURN); /* privileged, refused */
	expect_u(w, 0);
	assert_int_equal(w->d.view, GUARD_VIEW_U);
	assert_int_equal(w->d.line[0].to, GUARD_VIEW_U);
	assert_true(w_info(w, m).quarantined);
	expect(w_enter(w, 1, m, FN_F), GUARD_V_QUARANTINED);
	w_destroy(w);
}

/* What the VMM could not do, or grants no more, is nobody's attack. */
static void no_quarantine_for(void **state)
{
	struct std_options o = std_default();
	struct world *w;
	struct wmodule *m;

	(void)state;
	o.policy.refusal = GUARD_REFUSE_QUARANTINE;
	o.policy.chains = 1;
	o.policy.required = 1u << PRIV_MWAIT;
	w = w_simple(3, &o);
	m = &w->module[0];
	w->vmm->fail_op[FAKE_RAISE] = 1;
	expect(w_enter(w, 0, m, FN_F), GUARD_V_RAISE_FAILED);
	assert_false(w_info(w, m).quarantined);
	expect_ok(grant(w, 0, m, 1u << PRIV_MWAIT, false));
	expect(w_enter(w, 0, m, FN_F), GUARD_V_WITHHELD);
	assert_false(w_info(w, m).quarantined);
	expect_ok(grant(w, 0, m, 1u << PRIV_MWAIT, true));
	expect_ok(w_enter(w, 0, m, FN_F));
	expect(w_enter(w, 1, m, FN_F), GUARD_V_NO_ROOM);
	assert_false(w_info(w, m).quarantined);
	w->vmm->fail_op[FAKE_LOWER] = 1;
	expect(w_depart(w, 0, GUARD_CAUSE_IRQ, 32), GUARD_V_LOWER_FAILED);
	assert_false(w_info(w, m).quarantined);
	w_thread(w, 1, 1);
	assert_true(w_honest(w, 1, m, FN_F));
	w_destroy(w);
}

/* A refused resumption is one only if nothing else is judged at that place. */
static void quarantine_and_resume(void **state)
{
	unsigned leave;

	(void)state;
	for (leave = 0; leave < 2; leave++) {
		struct std_options o = std_default();
		struct world *w;
		struct wmodule *m;
		uint64_t x;

		o.policy.refusal = GUARD_REFUSE_QUARANTINE;
		w = w_simple(1, &o);
		m = &w->module[0];
		x = w_gate_x(m, leave ? GATE_LEAVE : GATE_ENTER + FN_G);
		expect_ok(w_enter(w, 0, m, FN_F));
		w_frame(w, 0, m, FN_F);
		w_push(w, 0, w_fn(m, FN_F, FN_RET));
		w->cpu[0].rip = x;
		expect_ok(w_depart(w, 0, GUARD_CAUSE_IRQ, 32));
		w_set_word(w, 0, w->cpu[0].gpr[GUARD_RSP], W_KRET);
		expect(w_x(w, 0, x), leave ? GUARD_V_STACK_CHANGED : GUARD_V_OK);
		expect_line(w, 0, GUARD_RESUME, GUARD_V_STACK_CHANGED);
		assert_int_equal(w_info(w, m).quarantined, leave);
		w_destroy(w);
	}
}

static void refusal_stops(void **state)
{
	struct std_options o = std_default();
	struct world *w;
	struct wmodule *m;

	(void)state;
	o.policy.refusal = GUARD_REFUSE_STOP;
	w = w_simple(1, &o);
	m = &w->module[0];
	assert_true(w_honest(w, 0, m, FN_F));
	assert_false(w->d.stop_vm);
	expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_NO_RECORD);
	assert_true(w->d.stop_vm);
	assert_false(w_info(w, m).quarantined);
	w_destroy(w);
}

/* Names: each of its own, and none for what is no event, verdict or cause. */
static void names(void **state)
{
	unsigned i, k;

	(void)state;
	for (i = 0; i < GUARD_NVERDICTS; i++)
		for (k = 0; k < i; k++)
			assert_string_not_equal(guard_verdict_string(i), guard_verdict_string(k));
	for (i = 0; i < GUARD_NEVENTS; i++)
		for (k = 0; k < i; k++)
			assert_string_not_equal(guard_event_string(i), guard_event_string(k));
	for (i = 0; i < GUARD_NCAUSES; i++)
		for (k = 0; k < i; k++)
			assert_string_not_equal(guard_cause_string(i), guard_cause_string(k));
	assert_string_equal(guard_verdict_string(GUARD_V_OK), "ok");
	assert_string_equal(guard_verdict_string(GUARD_V_NOT_BOUND), "not-bound");
	assert_string_equal(guard_event_string(GUARD_ENTER_CALL), "ENTER-CALL");
	assert_string_equal(guard_cause_string(GUARD_CAUSE_X), "x");
	assert_string_equal(guard_cause_string(GUARD_CAUSE_ADMIN), "admin");
	assert_string_equal(guard_verdict_string(GUARD_NVERDICTS), "?");
	assert_string_equal(guard_event_string(GUARD_NEVENTS), "?");
	assert_string_equal(guard_cause_string(GUARD_NCAUSES), "?");
	assert_string_equal(guard_cause_string((enum guard_cause) - 1), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(init_bounds),
		cmocka_unit_test(unknown_vcpu),
		cmocka_unit_test(not_bound),
		cmocka_unit_test(bad_policies),
		cmocka_unit_test(no_room),
		cmocka_unit_test(walked_pages),
		cmocka_unit_test(devices_are_exclusive),
		cmocka_unit_test(places_used_again),
		cmocka_unit_test(unregister_half_way),
		cmocka_unit_test(unregister),
		cmocka_unit_test(grant_and_withhold),
		cmocka_unit_test(grant_to_unknown),
		cmocka_unit_test(grant_fails),
		cmocka_unit_test(required),
		cmocka_unit_test(vcpu_reset),
		cmocka_unit_test(stopped_for_good),
		cmocka_unit_test(quarantine),
		cmocka_unit_test(quarantine_lower_fails),
		cmocka_unit_test(quarantined_from_inside),
		cmocka_unit_test(no_quarantine_for),
		cmocka_unit_test(quarantine_and_resume),
		cmocka_unit_test(refusal_stops),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
