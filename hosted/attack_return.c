// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attacks on the way back: while the driver waits in a call-out, the kernel changes what it will
 * find. All by guest instructions: stores, and registers and RSP by guest_misreturn before its
 * `ret`.
 */
#include "hosted/attack.h"
#include "hosted/guest_code.h"

#define MAX_FRAME_WORDS 512u

/*
 * The driver's frames:
 *
 *	RSP       | enter-return gate |  the call-out's slot
 *	RSP + 8   | locals, saved     |
 *	          | return sites ...  |  found by what they are
 *	end       | leave-return gate |  slot of the entry
 */
static bool frames(struct attack *a, uint64_t *first, uint64_t *end)
{
	uint64_t gate = attack_gate(a, GM_GATE_LEAVE_RETURN);
	struct guard_cpu cpu;

	vm_get_cpu(a->h->vm, a->h->vcpu, &cpu);
	*first = cpu.gpr[GUARD_RSP] + 8;
	for (unsigned i = 0; i < MAX_FRAME_WORDS; i++) {
		*end = *first + i * 8;
		if (hosted_get(a->h, *end, 8) == gate)
			return true;
	}
	return false;
}

/* Moves every return address in the frames to another of the driver's. false: there is none. */
static bool redirect(struct attack *a, bool compensate)
{
	uint64_t first, end, word, other = attack_return_site(a, 0), delta = 0;
	bool any = false;

	if (!frames(a, &first, &end))
		return false;
	for (uint64_t at = first; at < end; at += 8) {
		word = hosted_get(a->h, at, 8);
		if (!attack_is_return_site(a, word))
			continue;
		attack_store(a, at, other);
		delta += other - word;
		any = true;
	}
	/* So that any sum over the frames stays what it was. */
	for (uint64_t at = first; any && compensate && at < end; at += 8) {
		word = hosted_get(a->h, at, 8);
		if (word == other)
			continue;
		attack_store(a, at, word - delta);
		break;
	}
	if (any)
		attack_begin(a);
	return any;
}

static bool change_return(struct attack *a)
{
	return redirect(a, false);
}

static bool change_and_compensate(struct attack *a)
{
	return redirect(a, true);
}

static bool change_slot(struct attack *a)
{
	uint64_t first, end;

	if (!frames(a, &first, &end))
		return false;
	attack_store(a, end, image_code(guest_return));
	attack_begin(a);
	return true;
}

static void r3(struct attack *a)
{
	attack_call(a, change_return);
	attack_expect(a, "saved return addresses changed", GUARD_ENTER_RETURN,
		      GUARD_V_STACK_CHANGED);
	attack_call(a, change_slot);
	attack_expect(a, "the entry's own slot changed", GUARD_ENTER_RETURN, GUARD_V_STACK_CHANGED);
}

static void r5(struct attack *a)
{
	attack_call(a, change_and_compensate);
	attack_expect(a, "return addresses changed, the sum kept", GUARD_ENTER_RETURN,
		      GUARD_V_STACK_CHANGED);
}

/* A true copy of the frames, elsewhere: the driver would run on memory that others hold. */
static bool pivot(struct attack *a)
{
	uint64_t first, end, to = a->scratch + 0x800;

	if (!frames(a, &first, &end) || end - first > 0x600)
		return false;
	hosted_call(a->h, image_code(guest_copy), to, first - 8, end - first + 24, 0);
	attack_misreturn(a, ATTACK_NO_REGISTER, to - (first - 8), 0);
	attack_begin(a);
	return true;
}

/* One frame up, as if the innermost call had already returned. */
static bool skip_frame(struct attack *a)
{
	uint64_t first, end, gate = attack_gate(a, GM_GATE_ENTER_RETURN);

	if (!frames(a, &first, &end) || first == end)
		return false;
	attack_store(a, first, gate);
	attack_misreturn(a, ATTACK_NO_REGISTER, 8, 0);
	attack_begin(a);
	return true;
}

static void r4(struct attack *a)
{
	attack_call(a, pivot);
	attack_expect(a, "return on a copy of the stack", GUARD_ENTER_RETURN, GUARD_V_NO_RECORD);
	attack_call(a, skip_frame);
	attack_expect(a, "return one word further up", GUARD_ENTER_RETURN, GUARD_V_NO_RECORD);
}

static unsigned changed_register; /* the callback takes no argument */

static bool change_register(struct attack *a)
{
	attack_misreturn(a, changed_register, 0, 0);
	attack_begin(a);
	return true;
}

static void r7(struct attack *a)
{
	static const struct {
		unsigned reg;
		const char *what;
	} saved[] = { { GUARD_RBX, "RBX changed" }, { GUARD_RBP, "RBP changed" },
		      { GUARD_R12, "R12 changed" }, { GUARD_R13, "R13 changed" },
		      { GUARD_R14, "R14 changed" }, { GUARD_R15, "R15 changed" } };

	for (unsigned i = 0; i < sizeof(saved) / sizeof(saved[0]); i++) {
		changed_register = saved[i].reg;
		attack_call(a, change_register);
		attack_expect(a, saved[i].what, GUARD_ENTER_RETURN, GUARD_V_REGISTERS_CHANGED);
	}
}

const struct attack_case hosted_return_attacks[] = {
	{ "R3", "saved return addresses changed in a call-out", r3 },
	{ "R4", "stack pivoted before the return", r4 },
	{ "R5", "as R3, with compensating changes", r5 },
	{ "R7", "callee-saved registers changed in a call-out", r7 },
	{ NULL, NULL, NULL },
};
