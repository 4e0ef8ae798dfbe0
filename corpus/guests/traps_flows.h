/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * traps: events that strike inside the module. P4 (interrupt), P5 (its handler calls an entry),
 * P10 (page fault with a fixup, WARN), P13 (a user watchpoint in DR7), E12 (handlers see view U
 * only), N1 and N3 (a handler that resumes elsewhere, changed, or twice).
 */
#ifndef CORPUS_TRAPS_FLOWS_H
#define CORPUS_TRAPS_FLOWS_H

#include "corpus/lib/guest.h"
#include "corpus/modules/counter.h"

#ifndef REGISTERS_SCRUB /* registers are hidden from handlers, and put right instead of compared */
#define REGISTERS_SCRUB 0
#endif
GUARDHOUSE(MODULE_LINE "\\n");

#define CALL(function) ENTRY("counter", function)
#define UNMAPPED 0xffffea0000000000ull
#define PERIOD 509

static unsigned long secret_at;
static long balance, hits, inside, open, nested_bad, leaked;
static bool nested;

static bool hidden(void)
{
	return *(volatile unsigned long *)secret_at == 0;
}

static bool in_module(const struct trap_frame *f)
{
	return f->rip >= GH_MODULES_BASE && f->rip < GH_MODULES_BASE + 0x10000000;
}

static void on_timer(struct trap_frame *f)
{
	hits++;
	if (!in_module(f))
		return;
	inside++;
	open += !hidden();
	leaked += (f->rax | f->rcx | f->rdx | f->rsi | f->rdi | f->r8) != 0;
	if (nested) {
		balance++;
		nested_bad += CALL(counter_add)(1) < 0;
		open += !hidden();
	}
}

static long spin(long loops)
{
	long got;

	hits = inside = 0;
	trap_handler(GH_TIMER_VECTOR, on_timer);
	outl(GH_PORT_TIMER, PERIOD);
	irq_enable();
	got = CALL(counter_spin)(loops);
	irq_disable();
	outl(GH_PORT_TIMER, 0);
	balance++;
	return got;
}

static void interrupts(void)
{
	long got = spin(20000);

	report(got == balance && inside >= 10, "P4: %ld interrupts inside, handled and resumed",
	       inside);
	report(open == 0, "E12: no handler saw the secret");
	if (REGISTERS_SCRUB)
		report(leaked == 0, "R21: nor any register of the module");
	else
		report(leaked > 0, "registers show: only registers=scrub hides them");
	nested = true;
	got = spin(20000);
	nested = false;
	/* a handler may strike between the module's last look at its total and its return */
	report(got <= balance && CALL(counter_get)() == balance && inside >= 10 && !nested_bad,
	       "P5: handlers call an entry");
	report(open == 0 && hidden(), "P5: and end unprivileged");
}

static void nmi(struct trap_frame *f)
{
	on_timer(f);
}

static long callout_nmi(long n)
{
	raise_here(VECTOR_NMI);
	return n;
}

static void on_fault(struct trap_frame *f)
{
	inside += in_module(f);
	open += !hidden();
	f->rip += 3; /* the load in counter_load() */
	f->rax = (uint64_t)-14;
}

static void on_fault_wrong(struct trap_frame *f)
{
	on_fault(f);
	f->rbx ^= 1;
}

static void on_ud(struct trap_frame *f)
{
	inside += in_module(f);
	open += !hidden();
	f->rip += 2;
}

static void faults(void)
{
	long value = 0x1234;
	struct attempt a = { .target = (uint64_t)CALL(counter_load), .arg = { UNMAPPED } };

	inside = 0;
	report(CALL(counter_load)(&value) == value, "P10: a load that does not fault");
	report(!attempt(&a) && a.vector == VECTOR_PF && a.cr2 == UNMAPPED,
	       "P10: a fault inside that the kernel does not fix ends the call");
	trap_handler(VECTOR_PF, on_fault);
	report(CALL(counter_load)((long *)UNMAPPED) == -14 && inside == 1,
	       "P10: with the fixup the module gets -EFAULT");
	trap_handler(VECTOR_PF, on_fault_wrong);
	if (REGISTERS_SCRUB)
		report(attempt(&a) && (long)a.result == -14,
		       "N1: another register that a fixup changes is put right");
	else
		report(!attempt(&a) && a.vector == VECTOR_GP,
		       "N1: a fixup that changes another register is refused");
	trap_handler(VECTOR_PF, NULL);

	inside = 0;
	trap_handler(VECTOR_UD, on_ud);
	balance += 3;
	report(CALL(counter_warn)(3) == balance && inside == 1, "P10: a WARN is stepped over");
	trap_handler(VECTOR_UD, NULL);
	report(open == 0 && hidden(), "E12: and no handler saw the secret");

	hooks.callout = callout_nmi;
	trap_handler(VECTOR_NMI, nmi);
	hits = 0;
	balance += 2;
	report(CALL(counter_callout)(2) == balance && hits == 1, "an NMI in a call-out");
	hooks.callout = NULL;
}

static uint64_t change_rip, change_rbx, change_flags;

/* N1: strikes once, at the first interrupt inside. */
static void on_timer_change(struct trap_frame *f)
{
	if (!in_module(f))
		return;
	outl(GH_PORT_TIMER, 0);
	inside++;
	f->rip += change_rip;
	f->rbx += change_rbx;
	f->rflags ^= change_flags;
}

static bool resume_refused(uint64_t rip, uint64_t rbx, uint64_t flags)
{
	struct attempt a = { .target = (uint64_t)CALL(counter_spin),
			     .arg = { 20000 },
			     .rflags = 0x200 };
	bool refused;

	change_rip = rip;
	change_rbx = rbx;
	change_flags = flags;
	inside = 0;
	trap_handler(GH_TIMER_VECTOR, on_timer_change);
	outl(GH_PORT_TIMER, PERIOD);
	refused = !attempt(&a) && a.vector == VECTOR_GP && inside == 1;
	irq_disable();
	outl(GH_PORT_TIMER, 0);
	return refused && hidden() && CALL(counter_get)() == balance;
}

/* Under scrub, what a handler leaves in RBX never arrives. */
static bool resume_put_right(void)
{
	struct attempt a = { .target = (uint64_t)CALL(counter_spin),
			     .arg = { 20000 },
			     .rflags = 0x200 };

	change_rip = change_flags = 0;
	change_rbx = 1;
	inside = 0;
	balance++;
	trap_handler(GH_TIMER_VECTOR, on_timer_change);
	outl(GH_PORT_TIMER, PERIOD);
	return attempt(&a) && (long)a.result == balance && inside == 1 && hidden();
}

static void resumes(void)
{
	report(resume_refused(1, 0, 0), "N1: a handler that resumes elsewhere is refused");
	if (REGISTERS_SCRUB)
		report(resume_put_right(), "N1: one that changes RBX: it is put right");
	else
		report(resume_refused(0, 1, 0), "N1: so is one that changes RBX");
	report(resume_refused(0, 0, 1), "N1: so is one that changes the carry flag");
	report(resume_refused((uint64_t)-0x100, 0, 0), "N1: so is one that goes back");
	balance += 0;
	report(spin(5000) == balance, "and honest interrupts still work");
}

static void watchpoint(void)
{
	uint64_t dr7 = 1 | 3ull << 16 | 3ull << 18; /* DR0: reads and writes of 4 bytes */
	uint64_t user = 0x400000, now;

	__asm__ volatile("mov %0, %%dr0" : : "r"(user));
	__asm__ volatile("mov %0, %%dr7" : : "r"(dr7));
	balance += 1;
	report(CALL(counter_add)(1) == balance, "P13: an entry while a user watchpoint is armed");
	__asm__ volatile("mov %%dr7, %0" : "=r"(now));
	report((now & 0xffff00ff) == dr7, "P13: and it is still armed afterwards");
	__asm__ volatile("mov %0, %%dr7" : : "r"(0x400ull));
}

int main(void)
{
	report_prefix_push("traps");
	report(module_init("counter") == 0, "init_module() succeeds");
	secret_at = CALL(counter_where)();
	interrupts();
	faults();
	resumes();
	watchpoint();
	report(CALL(counter_check)(COUNTER_SECRET) == 1, "the secret is what it was");
	report_prefix_pop();
	return report_summary();
}

#endif
