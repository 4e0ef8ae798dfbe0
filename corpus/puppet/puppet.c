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
#include "corpus/puppet/own.h"
#include "corpus/puppet/puppet.h"

struct cpu puppet_cpu[PP_MAX_VCPUS];
const struct gh_boot *puppet_boot;

uint8_t puppet_stacks[STACKS][PUPPET_STACK] __attribute__((aligned(4096)));
uint64_t puppet_shared[PP_SHARED][8] __attribute__((aligned(64)));
uint64_t puppet_scratch[512] __attribute__((aligned(4096)));

static uint8_t engine_stack[PP_MAX_VCPUS][PUPPET_STACK] __attribute__((aligned(4096)));
struct thread puppet_threads[PP_THREADS];
static volatile uint8_t finished[PP_MAX_VCPUS];
struct pp_program *puppet_program;
struct pp_result *puppet_results;
uint32_t puppet_lock;

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

/* vCPUs that wait for vCPU 0 to begin; it has. */
static volatile uint8_t booted[PP_MAX_VCPUS], begun;

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

static volatile uint64_t *rounds(unsigned vcpu)
{
	return (uint64_t *)((uint8_t *)puppet_program + puppet_program->rounds) + vcpu;
}

/*
 * A vCPU that no thread of the scenario belongs to: it computes and writes memory of its own between
 * all that the others do, and makes calls that are for nobody, so that the core judges it, too.
 */
static void keep_company(struct cpu *c) __attribute__((noreturn));
static void keep_company(struct cpu *c)
{
	volatile uint64_t own[16] = { 0 };

	for (unsigned i = 0;; i++) {
		uint64_t abcd[4] = { PP_NOBODYS_CALL, i, 0, 0 };

		own[i % 16] += own[(i + 1) % 16] + i;
		if (i % 32 == 0)
			puppet_hypercall(abcd);
		++*rounds(c->id);
		pause_once(i);
	}
}

/* Until each of those has gone round once more. */
static void see_company(void)
{
	for (unsigned v = puppet_program->vcpus; v < puppet_program->company; v++) {
		uint64_t before = *rounds(v);

		for (unsigned i = 0; i < WAIT_SPINS && *rounds(v) == before; i++)
			pause_once(i);
	}
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
		uint8_t status = 0;

		for (unsigned v = 1; v < puppet_program->vcpus; v++)
			for (unsigned i = 0; i < 8 * WAIT_SPINS && !finished[v]; i++) {
				if (puppet_program->thread[v].stops && is_off(v))
					break;
				pause_once(i);
			}
		see_company();
		/* who has a program of its own has no host that looks at the results */
		for (uint32_t i = 0; &puppet_own && i < puppet_program->steps; i++)
			status |= puppet_results[i].fail != PP_OK;
		outb(GH_PORT_EXIT, status);
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
		puppet_results[n].done = 1;
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
	if (c->id >= puppet_program->vcpus) { /* nothing has any business there */
		*rounds(c->id) = PP_STRUCK | (kind == PP_ARRIVED_EVENT ? c->vector : 0);
		for (;;)
			__asm__ volatile("cli; hlt");
	}
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

static struct pp_program *own_program(const struct gh_boot *boot, unsigned vcpu)
{
	uint64_t *program = puppet_own.program;

	for (uint32_t i = 0; vcpu == 0 && i < puppet_own.patches; i++) {
		const struct puppet_patch *p = &puppet_own.patch[i];
		const struct gh_boot_module *m = &boot->module[p->module];

		switch (p->kind) {
		case OWN_SEGMENT: program[p->word] += m->base[p->segment]; break;
		case OWN_ID: program[p->word] += m->id; break;
		case OWN_TABLE: program[p->word] += (uint64_t)m->base; break;
		default: program[p->word] += boot->device; break;
		}
	}
	return (struct pp_program *)program;
}

void puppet_start(const struct gh_boot *boot, unsigned vcpu)
{
	struct cpu *c = &puppet_cpu[vcpu];

	puppet_boot = boot;
	if (vcpu < PP_MAX_VCPUS) {
		tables_load(vcpu);
		wrmsr(0xc0000101, (uint64_t)c);
		c->inside = 1;
	}
	if (vcpu == 0 && c->t.state != THREAD_RUNS) {
		page_init();
		set_x(puppet_hypercall_x);
		set_x(puppet_x);
		for (unsigned v = 1; v < boot->vcpus && v < PP_MAX_VCPUS; v++) {
			outb(GH_PORT_START_VCPU, (uint8_t)v);
			for (unsigned i = 0; i < WAIT_SPINS && !booted[v]; i++)
				pause_once(i);
		}
		/* up to here all programs are alike; who has one of its own has no host */
		if (!&puppet_own)
			tell_host(PP_READY);
	} else if (vcpu < PP_MAX_VCPUS && c->t.state != THREAD_RUNS) {
		booted[vcpu] = 1;
		for (unsigned i = 0; !begun; i++)
			pause_once(i);
	}
	puppet_program = &puppet_own ? own_program(boot, vcpu) : (struct pp_program *)boot->mailbox;
	if (vcpu >= PP_MAX_VCPUS || puppet_program->magic != PP_MAGIC) {
		outb(GH_PORT_EXIT, 1);
		for (;;)
			__asm__ volatile("hlt");
	}
	puppet_results = (struct pp_result *)((uint8_t *)puppet_program + puppet_program->results);
	if (c->t.state == THREAD_RUNS) {
		restart(c);
		run(c);
	}
	c->id = c->current = vcpu;
	c->stack = (uint64_t)engine_stack[vcpu] + PUPPET_STACK;
	if (vcpu >= puppet_program->vcpus)
		keep_company(c);
	if (vcpu == 0)
		threads_init();
	c->t = puppet_threads[vcpu];
	c->t.state = puppet_threads[vcpu].state = THREAD_RUNS;
	if (vcpu == 0) {
		begun = 1;
		see_company();
	}
	run(c);
}
