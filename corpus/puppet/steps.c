/* SPDX-License-Identifier: GPL-2.0-only */
/* Each step as real guest code. What starts foreign code leaves by puppet_go(). */
#include "corpus/puppet/puppet.h"
#include "model/names.h"

#define AGAIN_LIMIT 100000u
#define POST_PORT 0x80
#define FLAGS_DEFAULT 0x202u

static uint32_t signals[PP_LABELS];

/* ---- steps that start foreign code ---- */

static void set_keys(struct cpu *c, const struct pp_step *s, struct regs *r)
{
	const struct pp_operand *o = (const struct pp_operand *)(s + 1) + s->nargs;

	for (unsigned i = 0; i < s->nkeys; i++) {
		uint64_t v = value(c, &o[i]);

		if (o[i].key == PP_KEY_RSP)
			r->rsp = v;
		else if (o[i].key < PP_GPRS)
			r->gpr[o[i].key] = v;
		else if (o[i].key == PP_KEY_RIP)
			r->rip = v;
		else if (o[i].key == PP_KEY_FLAGS)
			r->flags = v;
		else if (o[i].key == PP_KEY_RING && v == 3) {
			r->cs = USER_CS;
			r->ss = USER_SS;
		}
	}
}

static const struct pp_operand *find_key(const struct pp_step *s, uint8_t key)
{
	const struct pp_operand *o = (const struct pp_operand *)(s + 1) + s->nargs;

	for (unsigned i = 0; i < s->nkeys; i++)
		if (o[i].key == key)
			return &o[i];
	return NULL;
}

void go(struct cpu *c, struct regs *r) __attribute__((noreturn));
void go(struct cpu *c, struct regs *r)
{
	static struct regs out[PP_MAX_VCPUS]; /* the engine's stack starts over */

	c->t.pending = 0;
	out[c->id] = *r;
	if (c->preempt)
		outl(GH_PORT_TIMER, c->preempt);
	puppet_go(&out[c->id]);
}

static void step_call(struct cpu *c, const struct pp_step *s, const struct pp_operand *a)
{
	static const uint8_t order[] = { 7, 6, 2, 1, 8, 9 }; /* RDI RSI RDX RCX R8 R9 */
	struct regs r = { .cs = KERNEL_CS, .ss = KERNEL_SS, .flags = FLAGS_DEFAULT };
	unsigned first = s->op == PP_HONEST ? 2 : 1, onstack = 0;
	const struct pp_operand *ret = find_key(s, PP_KEY_RET), *rsp = find_key(s, PP_KEY_RSP);
	uint64_t word, gpa;

	r.rip = value(c, &a[0]);
	if (s->op == PP_JUMP) {
		r.rsp = stack_now(c) - 8;
		set_keys(c, s, &r);
		go(c, &r);
	}
	if (s->nargs > first + 6)
		onstack = s->nargs - first - 6;
	if (rsp)
		r.rsp = value(c, rsp);
	else
		r.rsp = ((stack_now(c) - 8ull * onstack) & ~15ull) - 8;
	for (unsigned i = first; i < s->nargs; i++) {
		uint64_t v = value(c, &a[i]);

		if (i < first + 6)
			r.gpr[order[i - first]] = v;
		else
			store(r.rsp + 8 + 8ull * (i - first - 6), 8, v);
	}
	set_keys(c, s, &r);
	/* What a CALL would push. Where that would fault, the gate is entered without it. */
	word = ret ? value(c, ret) : PUPPET_LANDING;
	if ((r.rsp & 7) == 0 && page_frame(r.rsp, &gpa) == 2)
		store(r.rsp, 8, word);
	go(c, &r);
}

static void step_return(struct cpu *c, const struct pp_step *s, const struct pp_operand *a)
{
	uint8_t kind = s->op == PP_RETURN ? PP_ARRIVED_CALLOUT : PP_ARRIVED_EVENT;
	struct context *x = find_context(c, kind, s->label);
	struct regs r;

	if (!x) {
		fail(c, PP_FAIL_ABSENT, s->label, kind);
		return;
	}
	r = x->regs;
	if (s->op == PP_RETURN) {
		r.rip = (uint64_t)puppet_ret;
		if (s->nargs)
			r.gpr[0] = value(c, &a[0]);
	}
	set_keys(c, s, &r);
	c->t.pending = 0;
	if (x->engine) {
		drop(x);
		return;
	}
	if (!(s->flags & PP_KEEP))
		drop(x);
	go(c, &r);
}

/* ---- steps that look at what arrived ---- */

static void step_callout(struct cpu *c, const struct pp_step *s)
{
	struct context *x = innermost(c);

	if (c->t.arrival != PP_ARRIVED_CALLOUT || !x || x->kind != PP_ARRIVED_CALLOUT) {
		fail(c, PP_FAIL_CALLOUT, ~0ull, s->import);
		return;
	}
	if (x->number != s->import)
		fail(c, PP_FAIL_CALLOUT, x->number, s->import);
	x->label = s->label;
	c->t.pending = 0;
}

static void step_handler(struct cpu *c, const struct pp_step *s, const struct pp_operand *a)
{
	uint64_t vector = s->op == PP_EXPECT_GP ? 13 : s->op == PP_EXPECT_PF ? 14 : value(c, &a[0]);
	struct context *x = innermost(c);

	if (!c->t.pending || c->t.arrival != PP_ARRIVED_EVENT || !x) {
		fail(c, PP_FAIL_NO_EVENT, c->t.arrival, vector);
		return;
	}
	c->t.pending = 0;
	if (x->number != vector)
		fail(c, PP_FAIL_EVENT, x->number, x->regs.rip);
	else if (s->op == PP_EXPECT_PF && s->nargs && c->t.fault != value(c, &a[0]))
		fail(c, PP_FAIL_VALUE, c->t.fault, value(c, &a[0]));
	if (s->op == PP_HANDLER)
		x->label = s->label;
	else
		drop(x);
}

/* Whatever came last is done with: a race may have gone either way. */
static void step_settle(struct cpu *c)
{
	if (c->t.pending && innermost(c))
		drop(innermost(c));
	c->t.pending = 0;
	c->t.arrival = PP_ARRIVED_START;
}

static void step_returns(struct cpu *c, const struct pp_step *s, const struct pp_operand *a)
{
	if (c->t.arrival != PP_ARRIVED_RETURN)
		fail(c, PP_FAIL_RETURNED, c->t.arrival, 0);
	else if (s->nargs && c->t.result != value(c, &a[0]))
		fail(c, PP_FAIL_VALUE, c->t.result, value(c, &a[0]));
}

static void step_expect_reg(struct cpu *c, const struct pp_step *s, const struct pp_operand *a)
{
	const struct regs *r = &c->t.arrived;
	uint64_t got;

	if (c->t.arrival != PP_ARRIVED_RETURN && innermost(c))
		r = &innermost(c)->regs;
	got = s->sub == PP_KEY_RIP     ? r->rip
	      : s->sub == PP_KEY_FLAGS ? r->flags
	      : s->sub == PP_KEY_RSP   ? r->rsp
				       : r->gpr[s->sub & 15];
	if (got != value(c, a))
		fail(c, PP_FAIL_VALUE, got, value(c, a));
}

/* ---- memory ---- */

static void step_find(struct cpu *c, const struct pp_step *s, const struct pp_operand *a)
{
	uint64_t at = value(c, &a[0]), low = value(c, &a[1]), len = value(c, &a[2]);

	for (unsigned i = 0; i < 512; i++, at += 8) {
		if (load(at, 8) - low < len) {
			c->t.variable[s->label & 7] = at;
			return;
		}
	}
	fail(c, PP_FAIL_ABSENT, at, low);
}

/* OUTSIDE: args are private base, bytes to look at, device base (0: none). */
static void step_outside(struct cpu *c, const struct pp_operand *a)
{
	uint64_t private = value(c, &a[0]), len = value(c, &a[1]), device = value(c, &a[2]), got;

	for (uint64_t i = 0; i < len; i += 8) {
		got = load(private + i, 8);
		if (got)
			fail(c, PP_FAIL_VALUE, got, 0);
	}
	if (!device)
		return;
	for (unsigned i = 0; i < 4; i++) {
		got = load(device + 4 * i, 4);
		if (got != 0xffffffff)
			fail(c, PP_FAIL_VALUE, got, 0xffffffff);
	}
}

static void step_edit(struct cpu *c, const struct pp_step *s, const struct pp_operand *a)
{
	uint64_t gva = value(c, &a[0]), gpa = 0;
	int ok = 1;

	switch (s->op) {
	case PP_MAP:
		ok = page_frame(value(c, &a[1]), &gpa) &&
		     page_edit(s->sub, gva, EDIT_FRAME, gpa, s->flags);
		break;
	case PP_MAP_GPA: ok = page_edit(s->sub, gva, EDIT_FRAME, value(c, &a[1]), s->flags); break;
	case PP_MAP_NEW:
		gpa = page_new();
		ok = gpa && page_edit(s->sub, gva, EDIT_FRAME, gpa, s->flags);
		break;
	case PP_PROTECT: ok = page_edit(s->sub, gva, EDIT_PROTECT, 0, s->flags); break;
	case PP_UNMAP: ok = page_edit(s->sub, gva, EDIT_UNMAP, 0, s->flags); break;
	default: ok = page_swap(s->sub, gva, value(c, &a[1]), s->flags);
	}
	if (!ok)
		fail(c, PP_FAIL_ABSENT, gva, 0);
}

/* The device's PCI configuration space: bus 0, device 1, by the two ports of old. */
static uint16_t config_port(uint64_t offset)
{
	outl(0xcf8, 0x80000800u | ((uint32_t)offset & 0xfc));
	return (uint16_t)(0xcfc + (offset & 3));
}

static void config_write(uint64_t offset, unsigned width, uint64_t v)
{
	uint16_t port = config_port(offset);

	if (width == 1)
		outb(port, (uint8_t)v);
	else if (width == 2)
		outw(port, (uint16_t)v);
	else
		outl(port, (uint32_t)v);
}

static void step_config(struct cpu *c, const struct pp_step *s, const struct pp_operand *a)
{
	uint64_t offset = value(c, a), want;
	unsigned width = s->sub < 4 ? s->sub : 4;

	if (s->op == PP_CONFIG_WRITE) {
		config_write(offset, width, value(c, &a[1]));
		return;
	}
	c->t.result = inl(config_port(offset), width);
	if (s->op != PP_EXPECT_CONFIG)
		return;
	want = value(c, &a[1]) & ((1ull << 8 * width) - 1);
	if (c->t.result != want)
		fail(c, PP_FAIL_VALUE, c->t.result, want);
}

/* ---- the guard's numbered calls, signals, the CPU ---- */

static void hypercall(struct cpu *c, uint64_t a, uint64_t b, uint64_t cx, uint64_t d)
{
	for (unsigned i = 0; i < AGAIN_LIMIT; i++) {
		uint64_t abcd[4] = { a, b, cx, d };

		puppet_hypercall(abcd);
		c->t.result = abcd[0];
		if (c->t.result != GUARD_V_AGAIN)
			return;
	}
}

/*
 * Now and then a write to the POST port: an exit on every engine, so that a wait of so many turns
 * takes as long as some thousand exits do, and not some microseconds where crossings are slow.
 */
void pause_once(unsigned turn)
{
	__asm__ volatile("pause");
	if (turn % 16 == 15)
		outb(POST_PORT, 0);
}

static void step_wait(struct cpu *c, const struct pp_step *s)
{
	unsigned n = s->label & (PP_LABELS - 1);

	c->t.waited[n]++;
	for (unsigned i = 0; i < WAIT_SPINS; i++) {
		if (__atomic_load_n(&signals[n], __ATOMIC_ACQUIRE) >= c->t.waited[n])
			return;
		pause_once(i);
	}
	fail(c, PP_FAIL_TIMEOUT, n, 0);
}

static void step_await(struct cpu *c, const struct pp_step *s, const struct pp_operand *a)
{
	uint64_t at = value(c, &a[0]), want = value(c, &a[1]);

	for (unsigned i = 0; i < WAIT_SPINS; i++) {
		if (load(at, s->sub) == want)
			return;
		pause_once(i);
	}
	fail(c, PP_FAIL_TIMEOUT, at, 0);
}

static void write_dr(unsigned n, uint64_t v)
{
	if (n == 0)
		__asm__ volatile("mov %0, %%db0" : : "r"(v));
	else
		__asm__ volatile("mov %0, %%db7" : : "r"(v));
}

void carry_out(struct cpu *c, const struct pp_step *s)
{
	const struct pp_operand *a = (const struct pp_operand *)(s + 1);

	switch (s->op) {
	case PP_CALL:
	case PP_HONEST:
	case PP_JUMP: step_call(c, s, a); break;
	case PP_RETURN:
	case PP_IRET: step_return(c, s, a); break;
	case PP_CALLOUT: step_callout(c, s); break;
	case PP_NEVER:
		while (c->t.depth)
			drop(innermost(c));
		c->t.pending = 0;
		break;
	case PP_HANDLER:
	case PP_EXPECT_GP:
	case PP_EXPECT_PF:
	case PP_EXPECT_FAULT: step_handler(c, s, a); break;
	case PP_RETURNS: step_returns(c, s, a); break;
	case PP_SETTLE: step_settle(c); break;
	case PP_CONFIG_READ:
	case PP_CONFIG_WRITE:
	case PP_EXPECT_CONFIG: step_config(c, s, a); break;
	case PP_SWITCH: step_switch(c, s); break;
	case PP_YIELD:
		if (schedule(c, 1))
			go_on(c);
		break;
	case PP_PREEMPT: step_preempt(c, a); break;
	case PP_TSS: tables_tss(c->id, value(c, a)); break;
	case PP_START: outb(GH_PORT_START_VCPU, s->label); break;
	case PP_EXPECT_REG: step_expect_reg(c, s, a); break;
	case PP_EXPECT_RESULT:
		if (c->t.result != value(c, a))
			fail(c, PP_FAIL_VALUE, c->t.result, value(c, a));
		break;
	case PP_OUTSIDE: step_outside(c, a); break;
	case PP_READ: c->t.result = load(value(c, a), s->sub); break;
	case PP_EXPECT_READ: {
		uint64_t got = load(value(c, a), s->sub), want = value(c, &a[1]);

		if (s->sub < 8)
			want &= (1ull << 8 * s->sub) - 1;
		if (got != want)
			fail(c, PP_FAIL_VALUE, got, want);
		break;
	}
	case PP_WRITE: {
		uint64_t v = value(c, &a[1]);

		store(value(c, a), s->sub, v);
		break;
	}
	case PP_AWAIT: step_await(c, s, a); break;
	case PP_COPY: {
		uint64_t to = value(c, a), from = value(c, &a[1]), n = value(c, &a[2]);

		for (uint64_t i = 0; i < n && i < (1u << 20); i++)
			store(to + i, 1, load(from + i, 1));
		break;
	}
	case PP_LET: c->t.variable[s->label & 7] = value(c, a); break;
	case PP_FIND: step_find(c, s, a); break;
	case PP_MAP:
	case PP_MAP_GPA:
	case PP_MAP_NEW:
	case PP_PROTECT:
	case PP_UNMAP:
	case PP_SWAP: step_edit(c, s, a); break;
	case PP_FLUSH: invlpg(value(c, a)); break;
	case PP_CR3:
		if (!page_switch(s->label))
			fail(c, PP_FAIL_ABSENT, s->label, 0);
		break;
	case PP_CR0: write_cr0(value(c, a)); break;
	case PP_CR4: write_cr4(value(c, a)); break;
	case PP_EFER:
		if (!(value(c, a) & 1u << 11)) /* NXE */
			page_without_nx();
		wrmsr(0xc0000080, value(c, a));
		break;
	case PP_DR0: write_dr(0, value(c, a)); break;
	case PP_DR7: write_dr(7, value(c, a)); break;
	case PP_RAISE:
		/* it strikes here, in the puppet, and nowhere later */
		outb(GH_PORT_RAISE, (uint8_t)value(c, a));
		__asm__ volatile("sti; hlt; cli" : : : "memory");
		break;
	case PP_SEND:
		outw(GH_PORT_SEND, (uint16_t)((value(c, a) & 0xff) | value(c, &a[1]) << 8));
		break;
	case PP_TIMER:
		c->timer_ours = 0;
		outl(GH_PORT_TIMER, (uint32_t)value(c, a));
		break;
	case PP_IST: tables_ist(c->id, s->label, value(c, a)); break;
	case PP_GATE: tables_gate_ist((uint8_t)value(c, a), s->label); break;
	case PP_IDT: tables_idt(value(c, a)); break;
	case PP_ANNOUNCE:
	case PP_ANNOUNCE_AT:
	case PP_WITHDRAW:
	case PP_STATUS:
	case PP_HYPERCALL:
		hypercall(c, value(c, a), value(c, &a[1]), value(c, &a[2]), value(c, &a[3]));
		break;
	case PP_SIGNAL:
		__atomic_fetch_add(&signals[s->label & (PP_LABELS - 1)], 1, __ATOMIC_SEQ_CST);
		break;
	case PP_WAIT: step_wait(c, s); break;
	default: /* what only the host does */ break;
	}
}
