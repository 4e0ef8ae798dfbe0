/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The sample module `counter` used honestly, then attacked: the whole guest, which counter.c and
 * its variants for other policies include.
 *
 * Honest flows of the catalogue that need one thread and no interrupt: C0 C3 R1 R6 P1 P2 P3.
 * Attacks: E1 E2 E3 E4 E8 E9 E10 R3 R4 R7 and plain access to the secret. After every attack the
 * secret must still be hidden and an honest entry must still work.
 */
#ifndef CORPUS_COUNTER_FLOWS_H
#define CORPUS_COUNTER_FLOWS_H

#include "corpus/lib/guest.h"
#include "corpus/modules/counter.h"

/* MODULE_LINE is the includer's. */
/* What the module's policy changes in what is expected: */
#ifndef STACK_EXACT /* the kernel may not even write an out-parameter */
#define STACK_EXACT 0
#endif
#ifndef REGISTERS_SCRUB /* a changed register is put right instead of refused */
#define REGISTERS_SCRUB 0
#endif
GUARDHOUSE(MODULE_LINE "\\n");

#define CALL(function) ENTRY("counter", function)
#define RFLAGS_DF 0x400u
#define RFLAGS_NT 0x4000u

static uint8_t other_stack[8192] __attribute__((aligned(4096)));
static unsigned long secret_at;
static long balance; /* what the module's total must be */

/* The secret from outside: private memory answers with zeros, and writes go nowhere. */
static bool hidden(void)
{
	volatile unsigned long *secret = (volatile unsigned long *)secret_at;
	bool zero = *secret == 0;

	*secret = 0x1234;
	return zero && *secret == 0 && CALL(counter_check)(COUNTER_SECRET) == 1;
}

static void still_sound(const char *after)
{
	balance += 1;
	report(hidden() && CALL(counter_add)(1) == balance,
	       "after %s the secret is hidden and an honest entry works", after);
}

/* ---- honest ---- */

static long callout_again(long n)
{
	static int depth;
	long got;

	if (depth == 3)
		return 0;
	depth++;
	got = CALL(counter_callout)(n);
	depth--;
	return got < 0 ? -1000000 : 0;
}

static bool callout_hidden;

/* R1: while the module waits, the kernel calls a second entry, and ends unprivileged. */
static long callout_second_entry(long n)
{
	long got = CALL(counter_add)(n);

	callout_hidden = got >= 0 && *(volatile unsigned long *)secret_at == 0;
	return 0;
}

static long callback(void *ctx, long n)
{
	*(long *)ctx = n;
	return 5;
}

static void honest(void)
{
	long told = 0;

	report_prefix_push("honest");
	report(CALL(counter_get)() == 0, "C0: an entry returns");
	report(CALL(counter_add)(7) == 7, "C0: and keeps what it was given");
	balance = 7;
	report(CALL(counter_check)(COUNTER_SECRET) == 1, "the module knows its secret");
	report(CALL(counter_check)(COUNTER_SECRET + 1) == 0, "and no other");
	report(hidden(), "the secret reads zero from outside");

	balance += 3;
	report(CALL(counter_say)(3) == balance, "P3: a variadic call-out with stack arguments");
	balance += 4;
	report(CALL(counter_callout)(4) == balance, "C0: a call-out comes back");
	balance += 5;
	report(CALL(counter_callback)(callback, &told) == balance && told == balance - 5,
	       "a callback gets the total and gives its answer");
	balance += 6;
	report(CALL(counter_tail)(6) == balance, "P2: a tail call ends the entry");
	balance += 204;
	report(CALL(counter_sum8)(1, 2, 3, 4, 5, 6, 7, 8) == balance,
	       "P3: eight arguments in, eight out, in order");
	if (STACK_EXACT) {
		report(call_refused(CALL(counter_fill), 0, 0, 0),
		       "P1: under stack=exact an out-parameter is refused");
	} else {
		balance += 42;
		report(CALL(counter_fill)() == balance, "P1: the kernel writes an out-parameter");
	}
	balance += 8;
	report(CALL(counter_self)(8) == balance, "C3: the module calls its own entry by pointer");
	report(CALL(counter_deep)(10) == balance, "a call-out below ten frames");

	hooks.callout = callout_again;
	report(CALL(counter_callout)(0) == balance, "R6: call-outs nested four deep");
	hooks.callout = callout_second_entry;
	report(CALL(counter_callout)(2) == balance + 2 && callout_hidden,
	       "R1: a second entry during a call-out leaves the kernel unprivileged");
	balance += 2;
	hooks.callout = NULL;
	report_prefix_pop();
}

/* ---- attacks ---- */

static void attack_gates(void)
{
	const struct gh_boot_module *m = module_find("counter");
	const struct gh_symbol *s = (const struct gh_symbol *)m->symbols;
	uint8_t *body = module_symbol("counter", "text/counter_get");
	long leaves = 0, refused = 0;

	report_prefix_push("E2");
	report(call_refused((uint8_t *)CALL(counter_get) + 3, 0, 0, 0),
	       "a jump past a gate's X is refused");
	report(call_refused(body, 0, 0, 0), "a jump to the function itself is refused");
	report(call_refused(body + 1, 0, 0, 0), "a jump into its middle is refused");
	report_prefix_pop();
	still_sound("E2");

	report(call_refused(module_symbol("counter", "leave-return"), 0, 0, 0),
	       "E1: the leave-return gate refuses a call");
	report(call_refused(module_symbol("counter", "enter-return"), 0, 0, 0),
	       "E3: the enter-return gate refuses a call when nothing is suspended");
	for (unsigned i = 0; i < m->symbol_count; i++) {
		if (memcmp(s[i].name, "leave/", 6))
			continue;
		leaves++;
		refused += call_refused((void *)s[i].address, 0, 0, 0);
	}
	report(leaves >= 4 && refused == leaves,
	       "E4: no leave gate works for the kernel (%ld of %ld)", refused, leaves);
	still_sound("E1, E3 and E4");
}

static void attack_entry_state(void)
{
	struct attempt a;
	uint64_t top = (uint64_t)other_stack + sizeof(other_stack) - 64;

	a = (struct attempt){ .target = (uint64_t)CALL(counter_get), .rsp = top };
	report(attempt(&a) && (long)a.result == balance, "an entry on another good stack works");

	a = (struct attempt){ .target = (uint64_t)CALL(counter_get), .rsp = top + 4 };
	report(!attempt(&a) && a.vector == VECTOR_GP, "E8: an unaligned stack is refused");
	still_sound("E8");

	a = (struct attempt){ .target = (uint64_t)CALL(counter_get),
			      .rsp = top,
			      .word = secret_at };
	report(!attempt(&a) && a.vector == VECTOR_GP, "E9: a return into the module is refused");
	a = (struct attempt){ .target = (uint64_t)CALL(counter_get),
			      .rsp = top,
			      .word = module_find("counter")->gates };
	report(!attempt(&a) && a.vector == VECTOR_GP, "E9: a return to a gate is refused");
	a = (struct attempt){ .target = (uint64_t)CALL(counter_get), .rsp = top, .word = 0x400000 };
	report(!attempt(&a) && a.vector == VECTOR_GP, "E9: a return to the user half is refused");
	still_sound("E9");

	a = (struct attempt){ .target = (uint64_t)CALL(counter_get), .rflags = RFLAGS_DF };
	report(!attempt(&a) && a.vector == VECTOR_GP, "E10: DF set at entry is refused");
	a = (struct attempt){ .target = (uint64_t)CALL(counter_get), .rflags = RFLAGS_NT };
	report(!attempt(&a) && a.vector == VECTOR_GP, "E10: NT set at entry is refused");
	still_sound("E10");
}

static unsigned long changed_words;

/* R3: turns every word above that looks like an address of the module by 16 bytes. */
static long callout_change_returns(long n)
{
	uint64_t *p = __builtin_frame_address(0);
	const struct gh_boot_module *m = module_find("counter");

	for (unsigned i = 0; i < 64; i++) {
		if (p[i] < GH_MODULES_BASE || p[i] >= GH_MODULES_BASE + 0x10000000)
			continue;
		if (p[i] >= m->gates && p[i] < m->gates + m->gates_size)
			continue;
		p[i] += 16;
		changed_words++;
	}
	return n;
}

long change_rbx(void *ctx, long n);
__asm__(".pushsection .text\n"
	"change_rbx:\n"
	"	mov $0x666, %ebx\n"
	"	mov $9, %eax\n"
	"	ret\n"
	".popsection");

/* R4: gives the call-out's answer on another stack. */
long pivot(void *ctx, long n);
__asm__(".pushsection .text\n"
	"pivot:\n"
	"	pop %rax\n"
	"	mov %rdi, %rsp\n"
	"	push %rax\n"
	"	mov $9, %eax\n"
	"	ret\n"
	".popsection");

static void attack_callouts(void)
{
	struct attempt a = { .target = (uint64_t)CALL(counter_deep), .arg = { 4 } };

	hooks.callout = callout_change_returns;
	report(!attempt(&a) && a.vector == VECTOR_GP && changed_words >= 4,
	       "R3: changed return addresses (%lu) are refused", changed_words);
	hooks.callout = NULL;
	still_sound("R3");

	a = (struct attempt){ .target = (uint64_t)CALL(counter_callback),
			      .arg = { (uint64_t)change_rbx } };
	if (REGISTERS_SCRUB) {
		balance += 9;
		report(attempt(&a) && (long)a.result == balance, "R7: RBX is put right");
	} else {
		report(!attempt(&a) && a.vector == VECTOR_GP, "R7: a changed RBX is refused");
	}
	still_sound("R7");

	a = (struct attempt){ .target = (uint64_t)CALL(counter_callback),
			      .arg = { (uint64_t)pivot, (uint64_t)other_stack + 4096 } };
	report(!attempt(&a) && a.vector == VECTOR_GP, "R4: a pivoted stack is refused");
	still_sound("R4");
}

int main(void)
{
	report_prefix_push("counter");
	report(module_init("counter") == 0, "init_module() succeeds");
	report(call_refused(module_symbol("counter", "init_module"), 0, 0, 0),
	       "I18: and is not enterable twice");
	secret_at = CALL(counter_where)();
	honest();
	report_prefix_push("attack");
	attack_gates();
	attack_entry_state();
	attack_callouts();
	report_prefix_pop();
	((void (*)(void))module_symbol("counter", "cleanup_module"))();
	report(CALL(counter_check)(COUNTER_SECRET) == 0, "cleanup_module() forgets the secret");
	report_prefix_pop();
	return report_summary();
}

#endif
