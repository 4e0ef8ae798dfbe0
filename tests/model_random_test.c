/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * G6: long random sequences of events, half of what an honest guest would do next, half not. No
 * verdict is expected; what must hold always is checked by the world after every event: views as
 * the VMM was told, privileges within the binding, nobody privileged in a module that is not
 * announced, no touch of a frame that the contract forbids. Beside that a ledger, kept from the log
 * lines alone, says that every return went where its call came from, and once. Seeded: a failure can
 * be repeated.
 */
#include "tests/support/check.h"
#include "tests/support/conditions.h"

#define VCPUS 3u
#define SAVED 12u
#define LEDGER 256u

/* What a later crossing owes: the word that an activation or a call-out remembers. */
struct owed {
	bool open;
	uint8_t module;
	uint64_t key; /* activation's serial, or the call-out's slot */
	uint64_t word;
};

struct chaos {
	struct world *w;
	uint64_t x;
	struct guard_cpu saved[SAVED];
	struct cond_undo undo;
	uint64_t entered, returned, resumed;
	struct owed home[LEDGER], out[LEDGER];
	uint64_t settled;
};

static uint32_t roll(struct chaos *c, uint32_t n)
{
	c->x = c->x * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((c->x >> 33) % n);
}

static struct owed *owed(struct owed *book, uint8_t module, uint64_t key, bool make)
{
	unsigned i;

	for (i = 0; i < LEDGER; i++)
		if (book[i].open && book[i].module == module && book[i].key == key)
			return &book[i];
	for (i = 0; make && i < LEDGER; i++)
		if (!book[i].open)
			return &book[i];
	return NULL;
}

static void promise(struct owed *book, uint8_t module, uint64_t key, uint64_t word)
{
	struct owed *o = owed(book, module, key, true);

	if (o) /* else the book is full of abandoned ones: this one goes unchecked */
		*o = (struct owed){ true, module, key, word };
}

static void settle(struct chaos *c, struct owed *book, uint8_t module, uint64_t key, uint64_t word,
		   bool must)
{
	struct owed *o = owed(book, module, key, false);

	if (!o) {
		/* unless the book is full, and the promise may have found no line */
		assert_false(must && owed(book, GUARD_VIEW_U, 0, true));
		return;
	}
	assert_int_equal(o->word, word);
	o->open = false;
	c->settled++;
}

/* Reads the exchanges off the lines of the last decision. */
static void keep_books(struct chaos *c)
{
	const struct guard_decision *d = &c->w->d;
	unsigned i;

	for (i = 0; i < d->nlines; i++) {
		const struct guard_line *l = &d->line[i];
		struct wmodule *m = l->module < 2 ? &c->w->module[l->module] : NULL;

		if (!m || m->options.views || l->verdict != GUARD_V_OK || !l->slot)
			continue;
		if (l->event == GUARD_ENTER_CALL)
			promise(c->home, l->module, l->act, l->old_word);
		else if (l->event == GUARD_LEAVE_CALL &&
			 l->new_word == w_gate(m, GATE_ENTER_RETURN))
			promise(c->out, l->module, l->slot, l->old_word);
		else if (l->event == GUARD_LEAVE_RETURN || l->event == GUARD_LEAVE_CALL)
			settle(c, c->home, l->module, l->act, l->new_word, false);
		else if (l->event == GUARD_ENTER_RETURN)
			settle(c, c->out, l->module, l->slot, d->cpu.rip, true);
	}
}

/* As a guest's push: where nothing is mapped, nothing happens. */
static void push(struct chaos *c, unsigned v, uint64_t word)
{
	uint64_t *rsp = &c->w->cpu[v].gpr[GUARD_RSP];

	*rsp -= 8;
	if (!(*rsp & 7) && (*rsp & 0xfff) <= 0xff8)
		fake_put(c->w->vmm, c->w->cpu[v].cr3, *rsp, word);
}

static uint64_t some_word(struct chaos *c, struct wmodule *m)
{
	switch (roll(c, 6)) {
	case 0: return w_fn(m, roll(c, FN_COUNT), FN_RET);
	case 1: return m->options.views ? 0 : w_gate(m, roll(c, GATE_COUNT));
	case 2: return w_seg(m, roll(c, SEG_COUNT), roll(c, 64) * 8);
	default: return W_KRET;
	}
}

static void honest_step(struct chaos *c, unsigned v, struct wmodule *m)
{
	struct world *w = c->w;
	enum fn fn = roll(c, FN_COUNT);
	enum fn callee = roll(c, 3) ? FN_G : fn;

	if (guard_view(w->guard, v) == GUARD_VIEW_U) {
		switch (roll(c, 4)) {
		case 0:
			push(c, v, W_KRET);
			if (m->options.views)
				w_fetch(w, v, w_fn(m, fn, 0));
			else if (fn < FN_ENTRIES)
				w_x(w, v, w_gate_x(m, GATE_ENTER + fn));
			c->entered += w->d.verdict == GUARD_V_OK;
			break;
		case 1:
			if (m->options.views)
				break;
			w_x(w, v, w_gate_x(m, GATE_ENTER_RETURN));
			c->returned += w->d.verdict == GUARD_V_OK;
			break;
		case 2:
			w_fetch(w, v, w->cpu[v].rip);
			c->resumed += w->d.verdict == GUARD_V_OK && w->d.nlines;
			break;
		default: w->cpu[v] = c->saved[roll(c, SAVED)];
		}
		return;
	}
	m = &w->module[guard_view(w->guard, v)];
	switch (roll(c, 6)) {
	case 0:
		w->cpu[v].gpr[GUARD_RSP] -= 0x28; /* G's frame */
		push(c, v, w_fn(m, callee, FN_RET));
		if (m->options.views || !roll(c, 8))
			w_fetch(w, v, w_import(roll(c, 3)));
		else
			w_x(w, v, w_gate_x(m, GATE_LEAVE + roll(c, 5)));
		c->saved[roll(c, SAVED)] = w->cpu[v];
		break;
	case 1:
		if (m->options.views)
			w_fetch(w, v, W_KRET);
		else
			w_x(w, v, w_gate_x(m, GATE_LEAVE_RETURN));
		break;
	case 2:
		w->cpu[v].rip = w_fn(m, callee, roll(c, 0x48));
		w_depart(w, v, GUARD_CAUSE_IRQ + roll(c, 5), (uint8_t)roll(c, 256));
		c->saved[roll(c, SAVED)] = w->cpu[v];
		break;
	case 3:
		if (m->options.views)
			break;
		w->cpu[v].rip = w_gate(m, roll(c, GATE_COUNT)) + roll(c, 16);
		w_depart(w, v, GUARD_CAUSE_IRQ + roll(c, 5), (uint8_t)roll(c, 256));
		break;
	case 4:
		w->cpu[v].gpr[GUARD_RSP] -= 0x28;
		push(c, v, w_fn(m, callee, FN_RET));
		if (!m->options.views)
			w_x(w, v, w_gate_x(m, GATE_ENTER + roll(c, FN_ENTRIES)));
		break;
	default: w->cpu[v].gpr[GUARD_RSP] += 0x28;
	}
}

static void edit_tables(struct chaos *c, struct wmodule *m)
{
	static const uint64_t flags[] = { 0, PTE_P, PTE_P | PTE_W, PTE_P | PTE_W | PTE_U };
	uint64_t gva = roll(c, 2) ? w_stack_top(roll(c, 4)) - (1 + roll(c, 3)) * GM_PAGE
				  : m->base[roll(c, SEG_PERCPU)];
	uint64_t frame = roll(c, FAKE_FRAMES) * (uint64_t)GM_PAGE;

	if (c->undo.n == 8)
		cond_undo(&c->undo);
	if (gva && fake_pte(c->w->vmm, c->w->cr3, gva))
		cond_remap(c->w, gva,
			   (roll(c, 2) ? frame : m->gpa[roll(c, 12)]) | flags[roll(c, 4)],
			   &c->undo);
}

static void hostile_step(struct chaos *c, unsigned v, struct wmodule *m)
{
	struct world *w = c->w;
	struct guard_cpu *cpu = &w->cpu[v];
	uint64_t word = some_word(c, m);
	struct guard_event ev = { .type = GUARD_EV_TOUCH, .vcpu = v, .cpu = *cpu };

	switch (roll(c, 16)) {
	case 0: cpu->gpr[roll(c, GUARD_GPRS)] ^= 1ull << roll(c, 64); break;
	case 1: cpu->rflags ^= 1ull << roll(c, 20); break;
	case 2: cond_mode(cpu, roll(c, 8) ? 0 : 1u << roll(c, COND_MODES)); break;
	case 3:
		fake_put(w->vmm, w->cr3, w_stack_top(roll(c, 4)) - 0x600 + roll(c, 0x80) * 8, word);
		break;
	case 4: edit_tables(c, m); break;
	case 5: cond_undo(&c->undo); break;
	case 6: fake_poke(w->vmm, m->gpa[roll(c, 4)] + roll(c, GM_PAGE), "\xcc", 1); break;
	case 7: w_x(w, v, word + roll(c, 8)); break;
	case 8: w_fetch(w, v, word + roll(c, 8)); break;
	case 9:
		guard_grant(w->guard, v, m->index, roll(c, 32), roll(c, 2), &w->d);
		w->stopped[v] |= w->d.stop_vcpu;
		break;
	case 10:
		if (!roll(c, 8))
			guard_vcpu_reset(w->guard, v, &w->d);
		w->stopped[v] |= w->d.stop_vcpu;
		break;
	case 11:
		ev.gpa = roll(c, 2) ? FAKE_MMIO + roll(c, 0x40000) : roll(c, FAKE_RAM);
		w_judge(w, &ev);
		break;
	case 12: w->vmm->fail_total = 1 + roll(c, 30); break;
	case 13:
		if (!roll(c, 6))
			w_hypercall(w, v, GUARD_CALL_ANNOUNCE + roll(c, 4), m->id, m->bases_gva,
				    mb_table_of(m->manifest, MB_SEGMENTS).count);
		break;
	case 14: w_thread(w, v, roll(c, 4)); break;
	default: cpu->gpr[GUARD_RSP] = c->saved[roll(c, SAVED)].gpr[GUARD_RSP] + 8 * roll(c, 16);
	}
}

/* Puts guest memory and module back to what an honest guest has. */
static void repair(struct chaos *c, struct wmodule *m)
{
	struct world *w = c->w;
	struct guard_decision d;
	unsigned v, tries, i;

	cond_undo(&c->undo);
	fake_forget(w->vmm);
	for (v = 0; v < VCPUS; v++)
		if (!w->stopped[v]) {
			guard_vcpu_reset(w->guard, v, &d);
			w_thread(w, v, v);
			w->cpu[v].cr0 = 0x80010033;
			w->cpu[v].cr4 = 0x300020;
			w->cpu[v].efer = 0xd00;
			w->cpu[v].mode = GUARD_MODE_64;
			w->cpu[v].cpl = 0;
		}
	if (roll(c, 3) == 0) {
		expect_ok(guard_unregister(w->guard, m->index, &d));
		expect_ok(w_register(w, m));
		w_grant_all(w, m);
		for (i = 0; i < LEDGER; i++) {
			c->home[i].open &= c->home[i].module != m->index;
			c->out[i].open &= c->out[i].module != m->index;
		}
	}
	for (v = 0; v < VCPUS && w->stopped[v];)
		v++;
	if (v == VCPUS)
		return;
	w_load(w, m);
	for (tries = 0; tries < 2 && !w_info(w, m).announced; tries++) {
		w_withdraw(w, v, m);
		w_announce(w, v, m);
	}
}

static void run(uint64_t seed, unsigned steps, const struct std_options *o)
{
	struct chaos c = { .x = seed, .w = w_create(VCPUS) };
	struct std_options views = *o;
	unsigned i;

	w_ready(c.w, o);
	views.views = true;
	w_ready(c.w, &views);
	for (i = 0; i < SAVED; i++)
		c.saved[i] = c.w->cpu[i % VCPUS];
	for (i = 0; i < steps; i++) {
		unsigned v = roll(&c, VCPUS);
		struct wmodule *m = &c.w->module[roll(&c, 4) ? 0 : 1];

		if (i % 64 == 63)
			repair(&c, m);
		if (c.w->stopped[v])
			continue;
		if (roll(&c, 8))
			honest_step(&c, v, m);
		else
			hostile_step(&c, v, m);
		c.w->vmm->njournal = 0;
		keep_books(&c);
		c.w->d.nlines = 0;
	}
	assert_true(c.w->stopped[0] || o->policy.refusal || c.settled > steps / 400);
	assert_true(c.w->stopped[0] || o->policy.refusal || c.entered > steps / 200);
	w_destroy(c.w);
}

static void default_policy(void **state)
{
	struct std_options o = std_default();
	unsigned i;

	(void)state;
	for (i = 0; i < 50; i++)
		run(1000 + i, 2000, &o);
}

static void other_policies(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < 36; i++) {
		struct std_options o = std_default();

		o.policy.stack = (uint8_t)(i % 3);
		o.policy.registers = i / 3 % 2;
		o.policy.refusal = i / 6 % 2;
		o.policy.chains = 1 + i % 4;
		run(5000 + i, 1500, &o);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(default_policy),
		cmocka_unit_test(other_policies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
