// SPDX-License-Identifier: GPL-2.0-only
/* Attacks on the ways in: wrong gates, wrong places, wrong stacks, return words and flags. */
#include "hosted/attack.h"
#include "hosted/guest_code.h"

#define NON_CANONICAL 0x0000900000000000ull
#define VECTOR_PF 14u
#define USER_HALF 0x0000000000401000ull

/* fn is jumped to with a return word that leads to the hosted kernel. true: it came back. */
static bool jump(struct attack *a, uint64_t fn)
{
	struct guard_cpu cpu;

	attack_begin(a);
	attack_cpu(a, fn, &cpu);
	return attack_go(a, &cpu);
}

/* While the driver waits in a call-out, its return gate is used at another place. */
static bool return_elsewhere(struct attack *a)
{
	jump(a, attack_gate(a, GM_GATE_ENTER_RETURN));
	attack_expect(a, "enter-return gate at a slot of nobody", GUARD_ENTER_RETURN,
		      GUARD_V_NO_RECORD);
	jump(a, attack_gate(a, GM_GATE_LEAVE_RETURN));
	attack_expect(a, "leave-return gate during a call-out", GUARD_LEAVE_RETURN,
		      GUARD_V_NOT_PRIVILEGED);
	attack_begin(a); /* from here on, the suspended chain must go on as if nothing had been */
	return true;
}

static void e1(struct attack *a)
{
	bool returned;

	jump(a, attack_gate(a, GM_GATE_LEAVE_RETURN));
	attack_expect(a, "leave-return gate as an entry", GUARD_LEAVE_RETURN,
		      GUARD_V_NOT_PRIVILEGED);
	returned = attack_call(a, return_elsewhere);
	attack_expect(a, "the suspended call-out went on", GUARD_ENTER_RETURN, GUARD_V_OK);
	attack_check(a, "the attacked call came back", returned);
}

static void e2(struct attack *a)
{
	uint64_t body = attack_body(a, a->stats), bytes;
	const struct {
		const char *what;
		uint64_t at;
	} places[] = {
		{ "behind the gate's X", a->stats + GM_X_BYTES },
		{ "the function itself", body },
		{ "the middle of the function", body + 21 },
		{ "the last byte of its first page", (body | 0xfff) },
	};
	uint64_t rodata = attack_segment(a, GM_SEG_RODATA, &bytes);
	uint64_t data = attack_segment(a, GM_SEG_DATA, &bytes);

	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (!places[i].at)
			continue;
		jump(a, places[i].at);
		attack_expect(a, places[i].what, GUARD_RESUME, GUARD_V_NO_RECORD);
	}
	/* Not executable in the guest's own tables. */
	if (rodata) {
		jump(a, rodata);
		attack_expect_fault(a, "a constant", VECTOR_PF);
	}
	if (data) {
		jump(a, data);
		attack_expect_fault(a, "its data", VECTOR_PF);
	}
}

static void e3(struct attack *a)
{
	jump(a, attack_gate(a, GM_GATE_ENTER_RETURN));
	attack_expect(a, "enter-return with nothing suspended", GUARD_ENTER_RETURN,
		      GUARD_V_NO_RECORD);
}

static void e4(struct attack *a)
{
	jump(a, attack_gate(a, GM_GATE_LEAVE));
	attack_expect(a, "leave gate by the kernel", GUARD_LEAVE_CALL, GUARD_V_NOT_PRIVILEGED);
	jump(a, attack_gate(a, GM_GATE_LEAVE_INDIRECT));
	attack_expect(a, "indirect leave gate by the kernel", GUARD_LEAVE_CALL,
		      GUARD_V_NOT_PRIVILEGED);
	jump(a, attack_gate(a, GM_GATE_ENTER_RETURN));
	attack_expect(a, "its return", GUARD_ENTER_RETURN, GUARD_V_NO_RECORD);
}

/* Two pages, of which the upper one is mapped: a stack with nothing below it. */
#define CLIFF 0xffffa00000001000ull

static void e8(struct attack *a)
{
	uint64_t text_bytes, gpa, pte;
	const struct {
		const char *what;
		uint64_t rsp;
	} stacks[] = {
		{ "RSP not canonical", NON_CANONICAL },
		{ "RSP in the user half", USER_HALF },
		{ "RSP in the driver's text", attack_segment(a, GM_SEG_TEXT, &text_bytes) + 0x800 },
		{ "RSP in the registers", HOSTED_NIC_GVA + 0x1000 },
		{ "RSP not mapped", CLIFF - 0x100000 },
		{ "RSP above an unmapped page", CLIFF + 0x40 },
		{ "RSP not aligned", CLIFF + 0xf03 },
		{ "RSP read-only", CLIFF + 0xf00 },
	};
	struct guard_cpu cpu;

	if (!vm_map_ram(a->h->vm, CLIFF, 0x1000, false, &gpa)) {
		attack_check(a, "no memory for a stack", false);
		return;
	}
	attack_pte(a, CLIFF, &pte);
	for (unsigned i = 0; i < sizeof(stacks) / sizeof(stacks[0]); i++) {
		if (i + 1 == sizeof(stacks) / sizeof(stacks[0]))
			attack_set_pte(a, CLIFF, pte & ~PTE_WRITE);
		attack_begin(a);
		attack_cpu(a, a->stats, &cpu);
		cpu.gpr[GUARD_RSP] = stacks[i].rsp;
		attack_go(a, &cpu);
		attack_expect(a, stacks[i].what, GUARD_ENTER_CALL, GUARD_V_BAD_STACK);
	}
}

static void e9(struct attack *a)
{
	const struct {
		const char *what;
		uint64_t word;
	} words[] = {
		{ "return word in the driver", attack_return_site(a, 0) },
		{ "return word at its entry", attack_body(a, a->stats) },
		{ "return word at its leave-return gate", attack_gate(a, GM_GATE_LEAVE_RETURN) },
		{ "return word at its enter-return gate", attack_gate(a, GM_GATE_ENTER_RETURN) },
		{ "return word at its enter gate", a->stats },
		{ "return word in the user half", USER_HALF },
		{ "return word not canonical", NON_CANONICAL },
	};
	struct guard_cpu cpu;

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		attack_begin(a);
		attack_cpu(a, a->stats, &cpu);
		a->word = words[i].word;
		attack_go(a, &cpu);
		attack_expect(a, words[i].what, GUARD_ENTER_CALL, GUARD_V_BAD_RETURN);
	}
}

static const struct {
	const char *entry, *back;
	uint64_t flag;
} flags[] = {
	{ "TF at entry", "TF at return", 0x100 },
	{ "DF at entry", "DF at return", 0x400 },
	{ "NT at entry", "NT at return", 0x4000 },
};

static unsigned flag_at_return; /* index of flags: the callback takes no argument */

static bool set_flag(struct attack *a)
{
	attack_misreturn(a, ATTACK_NO_REGISTER, 0, flags[flag_at_return].flag);
	attack_begin(a);
	return true;
}

static void e10(struct attack *a)
{
	struct guard_cpu cpu;

	for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		attack_begin(a);
		attack_cpu(a, a->stats, &cpu);
		cpu.rflags |= flags[i].flag;
		a->h->stepping = true; /* TF traps before the gate's X, too: go on with it */
		attack_go(a, &cpu);
		attack_expect(a, flags[i].entry, GUARD_ENTER_CALL, GUARD_V_BAD_FLAGS);
		flag_at_return = i;
		attack_call(a, set_flag);
		a->h->stepping = false;
		attack_expect(a, flags[i].back, GUARD_ENTER_RETURN, GUARD_V_BAD_FLAGS);
	}
}

const struct attack_case hosted_entry_attacks[] = {
	{ "E1", "return-kind gates used as entries", e1 },
	{ "E2", "jumps past X, to the function, into it", e2 },
	{ "E3", "enter-return with nothing suspended", e3 },
	{ "E4", "leave gates executed by the kernel", e4 },
	{ "E8", "entry on stacks that are none", e8 },
	{ "E9", "entry with return words of the wrong kind", e9 },
	{ "E10", "TF, DF, NT set at entry and at return", e10 },
	{ NULL, NULL, NULL },
};
