/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The puppet: a kernel without a will of its own. It carries out the steps of a program, each as
 * real guest code, and writes down what came of it.
 *
 * There is one loop, and every way into it starts afresh: a step that starts foreign code (a call,
 * a jump, a return) leaves by puppet_go(); whatever comes in next, that call's return, a call-out,
 * an exception, lands in puppet_arrived() and goes on with the next step. So a program is a plain
 * list, however deep its call-outs nest, and always ends.
 */
#include "corpus/puppet/puppet.h"
#include "model/names.h"

#define PUPPET_LANDING ((uint64_t)puppet_landing)
#define WAIT_SPINS 300000u
#define POST_PORT 0x80
#define AGAIN_LIMIT 100000u
#define FLAGS_DEFAULT 0x202u

struct cpu puppet_cpu[PP_MAX_VCPUS];
const struct gh_boot *puppet_boot;

/* PP_STACKS for each vCPU, then one for each thread that belongs to none. */
#define STACKS (PP_MAX_VCPUS * PP_STACKS + PP_THREADS - PP_MAX_VCPUS)
uint8_t puppet_stacks[STACKS][PUPPET_STACK] __attribute__((aligned(4096)));
uint64_t puppet_shared[PP_SHARED][8] __attribute__((aligned(64)));
uint64_t puppet_scratch[512] __attribute__((aligned(4096)));

static uint8_t engine_stack[PP_MAX_VCPUS][PUPPET_STACK] __attribute__((aligned(4096)));
static struct context contexts[CONTEXTS];
static struct thread threads[PP_THREADS]; /* all but those that run */
static uint32_t signals[PP_LABELS];
static volatile uint8_t finished[PP_MAX_VCPUS];
static struct pp_program *program;
static struct pp_result *results;
static uint32_t lock;

void *memset(void *p, int c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile uint8_t *)p)[i] = (uint8_t)c;
	return p;
}

void *memcpy(void *to, const void *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile uint8_t *)to)[i] = ((const uint8_t *)from)[i];
	return to;
}

static void fail(struct cpu *c, enum pp_fail why, uint64_t got, uint64_t want)
{
	struct pp_result *r = &results[c->t.now];

	if (r->fail != PP_OK)
		return;
	r->got = got;
	r->want = want;
	r->fail = why;
}

/* ---- contexts ---- */

static struct context *innermost(struct cpu *c)
{
	return c->t.depth ? &contexts[c->t.stacked[c->t.depth - 1]] : NULL;
}

static void unlist(struct thread *t, uint8_t n)
{
	unsigned to = 0;

	for (unsigned i = 0; i < t->depth; i++)
		if (t->stacked[i] != n)
			t->stacked[to++] = t->stacked[i];
	t->depth = (uint8_t)to;
}

/* Takes the context off every thread's list; it is found by number, so another may do so. */
static void drop(struct context *x)
{
	uint8_t n = (uint8_t)(x - contexts);

	x->used = 0;
	for (unsigned v = 0; v < PP_MAX_VCPUS; v++)
		unlist(&puppet_cpu[v].t, n);
	for (unsigned i = 0; i < PP_THREADS; i++)
		unlist(&threads[i], n);
}

static void push_context(struct cpu *c, uint8_t kind, uint32_t number, uint8_t engine)
{
	while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
		__asm__ volatile("pause");
	for (unsigned i = 0; i < CONTEXTS; i++) {
		if (contexts[i].used)
			continue;
		contexts[i] = (struct context){ .used = 1,
						.kind = kind,
						.label = PP_NO_LABEL,
						.engine = engine,
						.number = number,
						.regs = c->t.arrived };
		contexts[i].regs.gpr[4] = c->t.arrived.rsp;
		c->t.stacked[c->t.depth++] = (uint8_t)i;
		__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
		return;
	}
	__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
	fail(c, PP_FAIL_FULL, 0, 0);
}

static struct context *find_context(struct cpu *c, uint8_t kind, uint8_t label)
{
	if (label == PP_NO_LABEL) {
		struct context *x = innermost(c);

		return x && x->kind == kind ? x : NULL;
	}
	for (unsigned i = 0; i < CONTEXTS; i++)
		if (contexts[i].used && contexts[i].kind == kind && contexts[i].label == label)
			return &contexts[i];
	return NULL;
}

static uint64_t stack_top(unsigned n)
{
	return (uint64_t)puppet_stacks[n] + PUPPET_STACK - 64;
}

/* Where a kernel function called now would have its stack: below what waits, else at the top. */
static uint64_t stack_now(struct cpu *c)
{
	struct context *x = innermost(c);

	if (x && !x->engine)
		return (x->regs.rsp - 256) & ~15ull;
	return stack_top(c->current < PP_MAX_VCPUS
				 ? c->current * PP_STACKS
				 : c->current - PP_MAX_VCPUS + PP_MAX_VCPUS * PP_STACKS);
}

/* ---- operands ---- */

static uint64_t dynamic(struct cpu *c, uint8_t dyn)
{
	struct context *x = innermost(c);
	const struct regs *r = x ? &x->regs : &c->t.arrived;

	if (dyn >= PP_DYN_SAVED_RAX && dyn <= PP_DYN_SAVED_R15)
		return r->gpr[dyn - PP_DYN_SAVED_RAX];
	if (dyn >= PP_DYN_STACK0 && dyn <= PP_DYN_STACK3)
		return stack_top(c->id * PP_STACKS + dyn - PP_DYN_STACK0);
	if (dyn >= PP_DYN_V0 && dyn <= PP_DYN_V7)
		return c->t.variable[dyn - PP_DYN_V0];
	switch (dyn) {
	case PP_DYN_SAVED_RIP: return r->rip;
	case PP_DYN_SAVED_FLAGS: return r->flags;
	case PP_DYN_RESULT: return c->t.result;
	case PP_DYN_STACK: return stack_now(c);
	case PP_DYN_CR0: return read_cr0();
	case PP_DYN_CR4: return read_cr4();
	case PP_DYN_EFER: return rdmsr(0xc0000080);
	case PP_DYN_FAULT: return c->t.fault;
	default: return 0;
	}
}

static uint64_t value(struct cpu *c, const struct pp_operand *o)
{
	uint64_t v = o->value + dynamic(c, o->dyn), gpa;

	if (o->flags & PP_ALIAS) {
		if (!page_frame(v, &gpa))
			fail(c, PP_FAIL_ABSENT, v, 0);
		else
			v = GH_DIRECT_MAP + gpa + (v & (PAGE - 1));
	}
	if (o->flags & PP_LOAD)
		v = *(volatile uint64_t *)v;
	return v;
}

static uint64_t load(uint64_t a, unsigned width)
{
	switch (width) {
	case 1: return *(volatile uint8_t *)a;
	case 2: return *(volatile uint16_t *)a;
	case 4: return *(volatile uint32_t *)a;
	default: return *(volatile uint64_t *)a;
	}
}

static void store(uint64_t a, unsigned width, uint64_t v)
{
	switch (width) {
	case 1: *(volatile uint8_t *)a = (uint8_t)v; break;
	case 2: *(volatile uint16_t *)a = (uint16_t)v; break;
	case 4: *(volatile uint32_t *)a = (uint32_t)v; break;
	default: *(volatile uint64_t *)a = v;
	}
}

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

static void go(struct cpu *c, struct regs *r) __attribute__((noreturn));
static void go(struct cpu *c, struct regs *r)
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

/* ---- threads ---- */

static void park(struct cpu *c)
{
	struct thread *t = &threads[c->current];

	c->t.vcpu = (uint8_t)c->id;
	c->t.state = c->t.step < c->t.last || c->t.pending || c->t.preempted ? THREAD_PARKED
									     : THREAD_ENDED;
	*t = c->t;
}

/* Takes thread n over, if nobody else has it and its own vCPU has begun it. */
static int take(struct cpu *c, unsigned n)
{
	while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
		__asm__ volatile("pause");
	if (threads[n].state == THREAD_RUNS || threads[n].state == THREAD_ENDED ||
	    (threads[n].state == THREAD_NEW && n < PP_MAX_VCPUS)) {
		__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
		return 0;
	}
	park(c);
	c->t = threads[n];
	c->t.state = threads[n].state = THREAD_RUNS;
	c->current = n;
	__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
	return 1;
}

/* After take(): what was struck goes on by itself; for the rest the caller carries steps out. */
static void go_on(struct cpu *c)
{
	struct regs r;

	if (!c->t.preempted)
		return;
	c->t.preempted = 0;
	r = c->t.frame;
	go(c, &r);
}

static void step_switch(struct cpu *c, const struct pp_step *s)
{
	unsigned n = s->label & (PP_THREADS - 1);

	if (n == c->current || take(c, n))
		go_on(c);
	else
		fail(c, PP_FAIL_ABSENT, n, 0);
}

/*
 * The scheduler: round robin over the threads that ran here last, and with `begin` those that
 * never ran and belong to no vCPU. 0: there is none but the one that runs.
 */
static int schedule(struct cpu *c, int begin)
{
	unsigned from = c->current;

	for (unsigned i = 1; i < PP_THREADS; i++) {
		unsigned n = (from + i) % PP_THREADS;
		const struct thread *t = &threads[n];
		int mine = t->state == THREAD_PARKED && t->vcpu == c->id;
		int nobodys = begin && t->state == THREAD_NEW && n >= PP_MAX_VCPUS;

		if ((mine || (nobodys && t->step < t->last)) && take(c, n))
			return 1;
	}
	return 0;
}

static void step_preempt(struct cpu *c, const struct pp_operand *a)
{
	c->preempt = (uint32_t)value(c, a);
	c->timer_ours = 1;
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
static void pause_once(unsigned turn)
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

static void carry_out(struct cpu *c, const struct pp_step *s)
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

/* Which steps may come while a call-out or an event is not claimed yet. */
static int claims(uint8_t op)
{
	switch (op) {
	case PP_CALLOUT:
	case PP_RETURN:
	case PP_NEVER:
	case PP_HANDLER:
	case PP_IRET:
	case PP_RETURNS:
	case PP_SETTLE:
	case PP_STOPS:
	case PP_EXPECT:
	case PP_MAYBE:
	case PP_EXPECT_OK:
	case PP_EXPECT_NONE:
	case PP_EXPECT_GP:
	case PP_EXPECT_PF:
	case PP_EXPECT_FAULT:
	case PP_COMMENT: return 1;
	default: return 0;
	}
}

static void unclaimed(struct cpu *c)
{
	struct context *x = innermost(c);

	c->t.pending = 0;
	if (!x)
		return;
	if (x->kind == PP_ARRIVED_EVENT) {
		fail(c, PP_FAIL_EVENT, x->number, x->regs.rip);
		drop(x);
	} else {
		fail(c, PP_FAIL_CALLOUT, x->number, ~0ull);
	}
}

static void tell_host(uint32_t step)
{
	__asm__ volatile("outb %%al, %1" : : "a"(step), "Nd"((uint16_t)GH_PORT_HOST) : "memory");
}

/* A vCPU that its thread says stops: the run shall not end before it has. */
static int is_off(unsigned vcpu)
{
	uint32_t v = PP_ASK_OFF + vcpu;

	__asm__ volatile("outb %%al, %1" : "+a"(v) : "Nd"((uint16_t)GH_PORT_HOST) : "memory");
	return v == 1;
}

/* The list of the present thread is at its end: another one's turn, or none is left here. */
static void finish(struct cpu *c)
{
	if (c->t.pending && c->t.last > 0) {
		c->t.now = c->t.last - 1;
		unclaimed(c);
	}
	c->t.pending = 0;
	if (c->current != c->id && take(c, c->id)) {
		go_on(c);
		return;
	}
	if (schedule(c, 0)) {
		go_on(c);
		return;
	}
	finished[c->id] = 1;
	if (c->id == 0) {
		for (unsigned v = 1; v < program->vcpus; v++)
			for (unsigned i = 0; i < 8 * WAIT_SPINS && !finished[v]; i++) {
				if (program->thread[v].stops && is_off(v))
					break;
				pause_once(i);
			}
		outb(GH_PORT_EXIT, 0);
	}
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void run(struct cpu *c) __attribute__((noreturn));
static void run(struct cpu *c)
{
	for (;;) {
		const struct pp_step *s = (const struct pp_step *)c->t.next;
		uint32_t n = c->t.step;

		if (n >= c->t.last) {
			finish(c);
			continue;
		}
		/* a reset may come between any two of these: see restart() */
		c->t.now = n;
		results[n].done = 1;
		c->t.next += s->size;
		__atomic_store_n(&c->t.step, n + 1, __ATOMIC_RELEASE);
		if (c->t.pending && !claims(s->op))
			unclaimed(c);
		carry_out(c, s);
		if (s->check)
			tell_host(n);
	}
}

void puppet_arrived(unsigned kind)
{
	struct cpu *c;

	/* struct cpu lies at the GS base, but its address is needed, too */
	c = (struct cpu *)rdmsr(0xc0000101);
	/* The timer runs for foreign code alone: a switch takes longer than many a period. */
	if (c->preempt)
		outl(GH_PORT_TIMER, 0);
	if (kind == PP_ARRIVED_EVENT)
		c->event.gpr[4] = c->event.rsp;
	if (kind == PP_ARRIVED_EVENT && c->vector == GH_TIMER_VECTOR && c->timer_ours &&
	    !c->inside) {
		c->t.frame = c->event;
		c->t.preempted = 1;
		c->inside = 1;
		/* one that has just come back is let through: its registers are half stored */
		if (c->preempt &&
		    c->event.rip - PUPPET_LANDING >= (uint64_t)puppet_landed - PUPPET_LANDING)
			schedule(c, 1);
		go_on(c);
		run(c);
	}
	c->t.arrived = kind == PP_ARRIVED_EVENT ? c->event : c->arrived;
	c->t.arrival = (uint8_t)kind;
	if (kind == PP_ARRIVED_RETURN) {
		c->t.result = c->t.arrived.gpr[0];
	} else if (kind == PP_ARRIVED_CALLOUT) {
		/* as a function finds itself called; an event's frame brings its own */
		c->t.arrived.cs = KERNEL_CS;
		c->t.arrived.ss = KERNEL_SS;
		push_context(c, PP_ARRIVED_CALLOUT, (uint32_t)c->import, 0);
		c->t.pending = 1;
	} else {
		if (c->vector == 14)
			c->t.fault = read_cr2();
		push_context(c, PP_ARRIVED_EVENT, (uint32_t)c->vector, (uint8_t)c->inside);
		c->t.pending = 1;
	}
	c->inside = 1;
	run(c);
}

/* Once, before anything is called there. */
static void set_x(volatile uint8_t *where)
{
	static const uint8_t x[][3] = { { 0x0f, 0x01, 0xd9 },
					{ 0x0f, 0x01, 0xc1 },
					{ 0xe6, GH_PORT_CROSS, 0x90 } };

	if (puppet_boot->x_kind >= sizeof(x) / sizeof(x[0]))
		return;
	for (unsigned i = 0; i < sizeof(x[0]); i++)
		where[i] = x[puppet_boot->x_kind][i];
}

/* Reset and started again: nothing is open any more, the list goes on with the step not begun. */
static void restart(struct cpu *c)
{
	const struct pp_thread *p = &program->thread[c->current];
	const uint8_t *at = (const uint8_t *)program + p->offset;

	while (c->t.depth)
		drop(innermost(c));
	c->t.pending = 0;
	c->t.arrival = PP_ARRIVED_START;
	for (uint32_t n = p->first; n < c->t.step; n++)
		at += ((const struct pp_step *)at)->size;
	c->t.next = at;
}

static void threads_init(void)
{
	for (unsigned n = 0; n < PP_THREADS; n++) {
		const struct pp_thread *p = &program->thread[n];

		threads[n].step = p->first;
		threads[n].last = p->first + p->count;
		threads[n].next = (const uint8_t *)program + p->offset;
	}
}

void puppet_start(const struct gh_boot *boot, unsigned vcpu)
{
	struct cpu *c = &puppet_cpu[vcpu];

	puppet_boot = boot;
	program = (struct pp_program *)boot->mailbox;
	if (vcpu >= PP_MAX_VCPUS || program->magic != PP_MAGIC) {
		outb(GH_PORT_EXIT, 1);
		for (;;)
			__asm__ volatile("hlt");
	}
	results = (struct pp_result *)((uint8_t *)program + program->results);
	tables_load(vcpu);
	wrmsr(0xc0000101, (uint64_t)c);
	c->inside = 1;
	if (c->t.state == THREAD_RUNS) {
		restart(c);
		run(c);
	}
	c->id = c->current = vcpu;
	c->stack = (uint64_t)engine_stack[vcpu] + PUPPET_STACK;
	if (vcpu == 0)
		threads_init();
	c->t = threads[vcpu];
	c->t.state = threads[vcpu].state = THREAD_RUNS;
	if (vcpu == 0) {
		page_init();
		set_x(puppet_hypercall_x);
		set_x(puppet_x);
		for (unsigned v = 1; v < program->vcpus; v++)
			outb(GH_PORT_START_VCPU, (uint8_t)v);
	}
	run(c);
}
