// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which registers come back unchanged from an imported function. Ordinary C functions keep RBX,
 * RBP and R12-R15 (x86-64 psABI 3.2.1). Some of the kernel's assembly helpers are called from
 * inline assembly that relies on more, or on less; these are Linux 6.1's.
 */
#include "wrap/module.h"

#include <string.h>

#define R(n) (1u << (n))
#define RAX R(0)
#define RCX R(1)
#define RDX R(2)
#define RBX R(3)
#define RSP R(4)
#define RDI R(7)
#define ALL (0xffffu & ~RSP)
#define C_FUNCTION (RBX | R(5) | R(12) | R(13) | R(14) | R(15))

static const struct {
	const char *name; /* a '*' at the end: any rest */
	uint32_t preserve;
} helpers[] = {
	/* arch/x86/entry/thunk_64.S saves everything that C would not */
	{ "preempt_schedule_thunk", ALL },
	{ "preempt_schedule_notrace_thunk", ALL },
	{ "__SCT__preempt_schedule", ALL },
	{ "__SCT__preempt_schedule_notrace", ALL },
	/* arch/x86/lib/getuser.S: RAX in and out, value in RDX */
	{ "__get_user_*", ALL & ~(RAX | RDX) },
	/* arch/x86/lib/putuser.S: pointer and result in RCX, limit in RBX */
	{ "__put_user_*", ALL & ~(RBX | RCX) },
	/* arch/x86/lib/hweight.S */
	{ "__sw_hweight32", ALL & ~RAX },
	{ "__sw_hweight64", ALL & ~RAX },
	/* arch/x86/lib/clear_page_64.S, called with clobbers RAX, RCX, RDI */
	{ "clear_page_*", ALL & ~(RAX | RCX | RDI) },
	/* arch/x86/lib/clear_page_64.S, called from alternatives that clobber RCX, RDX, RDI */
	{ "clear_user_*", ALL & ~(RAX | RCX | RDX | RDI) },
	/* asm/xen/hypercall.h: what is no argument register, and RAX */
	{ "__SCT__xen_hypercall", ALL & ~(RAX | RDX | R(6) | RDI | R(8) | R(10)) },
	/* arch/x86/lib/cmpxchg16b_emu.S */
	{ "this_cpu_cmpxchg16b_emu", ALL & ~(RAX | RDX) },
};

uint32_t preserve_mask(const char *name)
{
	for (size_t i = 0; i < sizeof(helpers) / sizeof(helpers[0]); i++) {
		size_t n = strlen(helpers[i].name);
		bool any = helpers[i].name[n - 1] == '*';

		if (any ? strncmp(helpers[i].name, name, n - 1) == 0
			: strcmp(helpers[i].name, name) == 0)
			return helpers[i].preserve;
	}
	return C_FUNCTION;
}
