// SPDX-License-Identifier: GPL-2.0-only
/*
 * Facts about Linux 6.1 on x86-64 that a module's bytes do not tell: what the kernel does with a
 * section of a certain name (kernel/module/main.c, arch/x86/kernel/module.c, and who registers for
 * the rest), and which registers an imported function preserves. Written down from the kernel, not
 * from the toolchain: a disagreement of the two is a finding.
 */
#include "check/internal.h"

#include <string.h>

static const struct {
	const char *name; /* a '*' at the end: any rest */
	enum use use;
} uses[] = {
	{ ".modinfo", USE_FILE },   /* SHF_ALLOC is taken away when loading */
	{ "__versions", USE_FILE }, /* so here */
	{ ".eh_frame", USE_FILE },  /* x86-64 kernels ignore it */
	{ ".text*", USE_CODE },
	{ ".init.text*", USE_CODE },
	{ ".exit.text*", USE_CODE },
	{ ".ref.text", USE_CODE },
	{ ".noinstr.text", USE_CODE },
	{ ".sched.text", USE_CODE },
	{ ".static_call.text", USE_TRAMP },
	{ ".guard.static_call", USE_TRAMP },
	{ ".altinstr_aux", USE_CODE },
	{ ".altinstr_replacement", USE_SPARE },
	{ ".guard.text", USE_CODE },
	{ ".guard.gates", USE_GATES },
	{ ".rodata*", USE_CONST },
	{ ".guard.rodata", USE_CONST },
	{ ".init.rodata*", USE_CONST },
	{ ".exit.rodata*", USE_CONST },
	/* sites that a wrapped module must not have patched */
	{ "__mcount_loc", USE_EMPTIED },
	{ ".return_sites", USE_EMPTIED },
	{ ".retpoline_sites", USE_EMPTIED },
	{ ".static_call_sites", USE_EMPTIED },
	{ ".smp_locks", USE_EMPTIED },
	{ ".parainstructions", USE_EMPTIED },
	/* code addresses here are places: the kernel looks them up, or patches there */
	{ ".orc_unwind", USE_TABLE },
	{ ".orc_unwind_ip", USE_TABLE },
	{ "__ex_table", USE_TABLE },
	{ "__bug_table", USE_TABLE },
	{ "__jump_table", USE_TABLE },
	{ ".altinstructions", USE_TABLE },
	/* read by the kernel alone, no code addresses expected; if there is one, it is called */
	{ ".note.*", USE_POINTER },
	{ ".BTF_ids", USE_POINTER },
	{ "__kcrctab*", USE_POINTER },
	{ "__ksymtab*", USE_POINTER },
	{ "__param", USE_POINTER },
	{ ".gnu.linkonce.this_module", USE_POINTER },
	{ "___srcu_struct_ptrs", USE_POINTER },
	{ "__tracepoints_ptrs", USE_POINTER },
	{ "__tracepoints_strings", USE_POINTER },
	/* memory */
	{ ".data..percpu", USE_PERCPU },
	{ ".data*", USE_DATA },
	{ ".bss*", USE_DATA },
	{ ".init.data*", USE_DATA },
	{ ".exit.data*", USE_DATA },
	{ ".ref.data", USE_DATA },
	{ "__dyndbg", USE_DATA },
	{ "__dyndbg_classes", USE_DATA },
	{ "__tracepoints", USE_DATA },
	{ "__tracepoint_str", USE_DATA },
	{ "__bpf_raw_tp_map", USE_DATA },
	{ "_ftrace_events", USE_DATA },
	{ "_ftrace_eval_map", USE_DATA },
	{ ".guard_private", USE_PRIVATE },
};

static bool matches(const char *rule, const char *name)
{
	size_t n = strlen(rule) - 1;

	return rule[n] == '*' ? strncmp(rule, name, n) == 0 : strcmp(rule, name) == 0;
}

enum use use_of(const char *name)
{
	for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++)
		if (matches(uses[i].name, name))
			return uses[i].use;
	return USE_UNKNOWN;
}

/* Linux 6.1 module_init_layout_section(); modules can be unloaded in Debian's kernel. */
bool is_init_section(const char *name)
{
	return strncmp(name, ".init", 5) == 0;
}

/*
 * Leaf functions of the kernel that take and change only what their arguments name. Nothing else
 * may be copied into a module.
 */
static const struct {
	const char *name, *symbol;
} leaves[] = {
	{ "memcpy", "__guard_memcpy" },
	{ "__memcpy", "__guard_memcpy" },
	{ "memset", "__guard_memset" },
	{ "__memset", "__guard_memset" },
	{ "memmove", "__guard_memmove" },
	{ "__memmove", "__guard_memmove" },
	{ "memcmp", "__guard_memcmp" },
	{ "memchr", "__guard_memchr" },
	{ "strlen", "__guard_strlen" },
	{ "strnlen", "__guard_strnlen" },
	{ "strcmp", "__guard_strcmp" },
	{ "strncmp", "__guard_strncmp" },
	{ "strcpy", "__guard_strcpy" },
	{ "strchr", "__guard_strchr" },
	{ "_find_first_bit", "__guard_find_first_bit" },
	{ "_find_next_bit", "__guard_find_next_bit" },
};

const char *copy_symbol(const char *name)
{
	for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++)
		if (strcmp(leaves[i].name, name) == 0)
			return leaves[i].symbol;
	return NULL;
}

bool is_copy_symbol(const char *symbol)
{
	for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++)
		if (strcmp(leaves[i].symbol, symbol) == 0)
			return true;
	return false;
}

static const char *const gprs[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
				      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };

uint32_t thunk_register(const char *name)
{
	static const char prefix[] = "__x86_indirect_thunk_";

	if (strncmp(name, prefix, sizeof(prefix) - 1) != 0)
		return NONE;
	for (uint32_t i = 0; i < 16; i++)
		if (i != 4 && strcmp(name + sizeof(prefix) - 1, gprs[i]) == 0)
			return i;
	return NONE;
}

/* Registers that come back changed; all others but RSP are preserved. */
#define BIT(n) (1u << (n))
#define RAX BIT(0)
#define RCX BIT(1)
#define RDX BIT(2)
#define RBX BIT(3)
#define RSP BIT(4)
#define RDI BIT(7)

static const struct {
	const char *name;
	uint32_t changed;
} helpers[] = {
	/* entry/thunk_64.S: pushes and pops all that C would lose */
	{ "preempt_schedule_thunk", 0 },
	{ "preempt_schedule_notrace_thunk", 0 },
	{ "__SCT__preempt_schedule", 0 },
	{ "__SCT__preempt_schedule_notrace", 0 },
	/* lib/getuser.S: address and result in RAX, the value in RDX */
	{ "__get_user_*", RAX | RDX },
	/* lib/putuser.S: address and result in RCX, a limit in RBX */
	{ "__put_user_*", RCX | RBX },
	/* lib/hweight.S: pushes what it uses, result in RAX */
	{ "__sw_hweight*", RAX },
	/* lib/clear_page_64.S, in line as alternative_call(..., "=D", "rax", "rcx") */
	{ "clear_page_*", RAX | RCX | RDI },
	/* lib/clear_page_64.S, in line with "+c", "+D", rdx; the plain one uses RAX for the rest */
	{ "clear_user_*", RAX | RCX | RDX | RDI },
	/* asm/xen/hypercall.h: a hypercall's result and arguments */
	{ "__SCT__xen_hypercall", RAX | RDX | BIT(6) | RDI | BIT(8) | BIT(10) },
	/* lib/cmpxchg16b_emu.S, as the instruction would */
	{ "this_cpu_cmpxchg16b_emu", RAX | RDX },
};

uint32_t preserved_by(const char *name)
{
	/* psABI 3.2.1: RBX, RBP, R12 to R15 belong to the caller */
	const uint32_t c = RBX | BIT(5) | BIT(12) | BIT(13) | BIT(14) | BIT(15);

	for (size_t i = 0; i < sizeof(helpers) / sizeof(helpers[0]); i++)
		if (matches(helpers[i].name, name))
			return 0xffffu & ~RSP & ~helpers[i].changed;
	return c;
}
