/* SPDX-License-Identifier: GPL-2.0-only */
/* Open call-outs and events, and what an operand is worth now. */
#include "corpus/puppet/puppet.h"

static struct context contexts[CONTEXTS];

void fail(struct cpu *c, enum pp_fail why, uint64_t got, uint64_t want)
{
	struct pp_result *r = &puppet_results[c->t.now];

	if (r->fail != PP_OK)
		return;
	r->got = got;
	r->want = want;
	r->fail = why;
}

/* ---- contexts ---- */

struct context *innermost(struct cpu *c)
{
	return c->t.depth ? &contexts[c->t.stacked[c->t.depth - 1]] : NULL;
}

/* A list that does not have it is not written: its own vCPU may be at it. */
static void unlist(struct thread *t, uint8_t n)
{
	unsigned i = 0;

	while (i < t->depth && t->stacked[i] != n)
		i++;
	if (i >= t->depth)
		return;
	for (; i + 1u < t->depth; i++)
		t->stacked[i] = t->stacked[i + 1];
	t->depth--;
}

/* Takes the context off every thread's list; it is found by number, so another may do so. */
void drop(struct context *x)
{
	uint8_t n = (uint8_t)(x - contexts);

	x->used = 0;
	for (unsigned v = 0; v < PP_MAX_VCPUS; v++)
		unlist(&puppet_cpu[v].t, n);
	for (unsigned i = 0; i < PP_THREADS; i++)
		unlist(&puppet_threads[i], n);
}

void push_context(struct cpu *c, uint8_t kind, uint32_t number, uint8_t engine)
{
	while (__atomic_exchange_n(&puppet_lock, 1, __ATOMIC_ACQUIRE))
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
		__atomic_store_n(&puppet_lock, 0, __ATOMIC_RELEASE);
		return;
	}
	__atomic_store_n(&puppet_lock, 0, __ATOMIC_RELEASE);
	fail(c, PP_FAIL_FULL, 0, 0);
}

struct context *find_context(struct cpu *c, uint8_t kind, uint8_t label)
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

uint64_t stack_top(unsigned n)
{
	return (uint64_t)puppet_stacks[n] + PUPPET_STACK - 64;
}

/* Where a kernel function called now would have its stack: below what waits, else at the top. */
uint64_t stack_now(struct cpu *c)
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

uint64_t value(struct cpu *c, const struct pp_operand *o)
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

uint64_t load(uint64_t a, unsigned width)
{
	switch (width) {
	case 1: return *(volatile uint8_t *)a;
	case 2: return *(volatile uint16_t *)a;
	case 4: return *(volatile uint32_t *)a;
	default: return *(volatile uint64_t *)a;
	}
}

void store(uint64_t a, unsigned width, uint64_t v)
{
	switch (width) {
	case 1: *(volatile uint8_t *)a = (uint8_t)v; break;
	case 2: *(volatile uint16_t *)a = (uint16_t)v; break;
	case 4: *(volatile uint32_t *)a = (uint32_t)v; break;
	default: *(volatile uint64_t *)a = v;
	}
}
