/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Do the inner thunks decide as the contract says? They are executed, as wrapped, in an emulator:
 * every register that a compiler may use, against every kind of target that a kernel could write
 * into a function pointer. A thunk must leave all registers as they were and touch no memory.
 */
#include "tests/support/wraptest.h"

#include <unicorn/unicorn.h>

#define BASE 0xffffffffc0000000ull
#define IMPORTS 0xffffffffb8000000ull
#define STACK 0xffffc90000000000ull
#define MAX_STEPS 64

static const int uc_reg[16] = { UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RBX,
				UC_X86_REG_RSP, UC_X86_REG_RBP, UC_X86_REG_RSI, UC_X86_REG_RDI,
				UC_X86_REG_R8,	UC_X86_REG_R9,	UC_X86_REG_R10, UC_X86_REG_R11,
				UC_X86_REG_R12, UC_X86_REG_R13, UC_X86_REG_R14, UC_X86_REG_R15 };
static const char *const names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
				       "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };

struct run {
	uc_engine *uc;
	struct wrap_result r;
	struct wt_image m;
	uint64_t thunk[16]; /* address of each register's */
	uint64_t inside;    /* start of .guard.text, its end */
	uint64_t inside_end;
	uint64_t accesses, steps, left;
	uint64_t gates, text, text_end;
};

static void on_access(uc_engine *uc, uc_mem_type type, uint64_t at, int size, int64_t v, void *ctx)
{
	(void)uc;
	(void)type;
	(void)at;
	(void)size;
	(void)v;
	((struct run *)ctx)->accesses++;
}

/* Stops at the first instruction outside of the thunks. */
static void on_code(uc_engine *uc, uint64_t at, uint32_t size, void *ctx)
{
	struct run *r = ctx;

	(void)size;
	if ((at >= r->inside && at < r->inside_end && r->steps++ < MAX_STEPS))
		return;
	r->left = at;
	uc_emu_stop(uc);
}

/* A module with a call through each register and a few entries; NOP gates change nothing here. */
static struct wrap_result wrapped(void)
{
	char source[8192];
	size_t n = 0;
	struct blob ko;
	struct wrap_result r;

	n += (size_t)snprintf(
		source + n, sizeof(source) - n,
		"static long e0(long a) { return a + 1; }\n"
		"static long e1(long a) { return a + 2; }\n"
		"static long e2(long a) { return a + 3; }\n"
		"static long raw(long a) { return a * 5; }\n"
		"long (*const table[])(long) = { e0, e1, e2 };\n"
		"long f(long a) { return raw(a) + 1; }\n"
		"__attribute__((section(\".init.text\"))) static long during(long a)\n"
		"{ return a + 4; }\n"
		"__attribute__((section(\".init.text\"))) int init_module(void)\n"
		"{ extern void reg(void *); reg(during); return 0; }\n"
		"void cleanup_module(void) { }\n"
		"void all(void) {\n");
	for (int i = 0; i < 16; i++)
		if (i != 4)
			n += (size_t)snprintf(
				source + n, sizeof(source) - n,
				"__asm__ volatile(\"call __x86_indirect_thunk_%s\");\n", names[i]);
	snprintf(source + n, sizeof(source) - n, "}\n");
	ko = wt_compile(source, WT_RETPOLINE);
	r = wt_wrap(&ko, GM_X_OUT);
	blob_free(&ko);
	return r;
}

/* A jump through a table, as assembly does it, with a register pushed. Two words are the same. */
static struct wrap_result with_table(void)
{
	struct blob ko = wt_compile(
		"__asm__(\".text\\n.globl jumper\\n.type jumper, @function\\n\"\n"
		"	\"jumper: .cfi_startproc\\npush %rbx\\n.cfi_adjust_cfa_offset 8\\n\"\n"
		"	\"mov table(,%rax,8), %r9\\njmp __x86_indirect_thunk_r9\\n\"\n"
		"	\"0: nop\\n1: nop\\n2: nop\\n3: nop\\n4: nop\\n5: pop %rbx\\n\"\n"
		"	\".cfi_adjust_cfa_offset -8\\njmp __x86_return_thunk\\n.cfi_endproc\\n\"\n"
		"	\".size jumper, . - jumper\\n.section .rodata\\n.balign 8\\n\"\n"
		"	\"table: .quad 5b, 0b, 3b, 1b, 0b\\n.quad 0\\n.text\");\n"
		"int init_module(void) { return 0; }\n",
		WT_RETPOLINE);
	struct wrap_result r = wt_wrap(&ko, GM_X_OUT);

	blob_free(&ko);
	return r;
}

static void start_with(struct run *t, struct wrap_result wrapped_module)
{
	const struct gm_header *h;
	const struct gm_segment *s;
	struct wt_elf w;
	size_t text, rela, n;
	const Elf64_Rela *r;
	uc_hook hook;

	*t = (struct run){ .r = wrapped_module };
	h = wt_header(&t->r);
	s = WT_TABLE(&t->r, segments);
	t->m = wt_load(&t->r, BASE, IMPORTS);
	for (uint32_t i = 0; i < h->segments.count; i++) {
		if (s[i].kind == GM_SEG_TEXT) {
			t->text = BASE + s[i].start;
			t->text_end = t->text + s[i].size;
		}
		if (s[i].kind == GM_SEG_GATES)
			t->gates = BASE + s[i].start;
	}
	/* .guard.text ends the text segment, 16-aligned, with one byte of room behind it */
	w = wt_open(&t->r.ko);
	text = wt_find(&w, ".guard.text");
	t->inside_end = (t->text_end - 1) / 16 * 16;
	t->inside = t->inside_end - wt_shdr(&w, text)->sh_size;
	rela = wt_find(&w, ".rela.text");
	r = (const void *)wt_bytes(&w, rela, &n);
	for (size_t i = 0, reg = 0; i < n / sizeof(*r) && reg < 16; i++) {
		if (strcmp(wt_symbol_name(&w, ELF64_R_SYM(r[i].r_info)), "__guard_text") != 0 ||
		    r[i].r_addend + 4 == 0)
			continue; /* the return thunk is first */
		if (reg == 4)
			reg++;
		t->thunk[reg++] = t->inside + (uint64_t)(r[i].r_addend + 4);
	}
	wt_close(&w);
	assert_int_equal(uc_open(UC_ARCH_X86, UC_MODE_64, &t->uc), UC_ERR_OK);
	assert_int_equal(uc_mem_map(t->uc, BASE, t->m.pages * GM_PAGE, UC_PROT_ALL), UC_ERR_OK);
	assert_int_equal(uc_mem_write(t->uc, BASE, t->m.data, t->m.pages * GM_PAGE), UC_ERR_OK);
	assert_int_equal(uc_mem_map(t->uc, STACK, GM_PAGE, UC_PROT_READ | UC_PROT_WRITE),
			 UC_ERR_OK);
	assert_int_equal(uc_hook_add(t->uc, &hook, UC_HOOK_CODE, (void *)on_code, t, 1, 0),
			 UC_ERR_OK);
	assert_int_equal(uc_hook_add(t->uc, &hook, UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE,
				     (void *)on_access, t, 1, 0),
			 UC_ERR_OK);
}

static void start(struct run *t)
{
	start_with(t, wrapped());
}

static void stop(struct run *t)
{
	uc_close(t->uc);
	free(t->m.data);
	wrap_result_free(&t->r);
}

/* Runs the thunk of reg with this target; returns where it left to. Checks what must not change. */
static uint64_t go(struct run *t, unsigned reg, uint64_t target)
{
	uint64_t before[16], after;

	for (unsigned i = 0; i < 16; i++) {
		before[i] = i == 4 ? STACK + 0x800 : i == reg ? target : 0x1111111111111111ull * i;
		uc_reg_write(t->uc, uc_reg[i], &before[i]);
	}
	t->accesses = t->steps = t->left = 0;
	uc_emu_start(t->uc, t->thunk[reg], 0, 0, 2 * MAX_STEPS);
	assert_int_not_equal(t->left, 0);
	assert_in_range(t->steps, 1, 16);
	assert_int_equal(t->accesses, 0);
	for (unsigned i = 0; i < 16; i++) {
		uc_reg_read(t->uc, uc_reg[i], &after);
		if (after != before[i])
			fail_msg("thunk of %s, target 0x%llx: %s changed from 0x%llx to 0x%llx",
				 names[reg], (unsigned long long)target, names[i],
				 (unsigned long long)before[i], (unsigned long long)after);
	}
	return t->left;
}

static uint64_t indirect_gate(const struct run *t, unsigned reg)
{
	const struct gm_header *h = wt_header(&t->r);
	const struct gm_gate *g = WT_TABLE(&t->r, gates);

	for (uint32_t i = 0; i < h->gates.count; i++)
		if (g[i].kind == GM_GATE_LEAVE_INDIRECT && g[i].reg == reg)
			return t->gates + 16 * i;
	fail_msg("no leave-indirect gate of %s", names[reg]);
	return 0;
}

/* A target that is exactly a plain enter gate leads to its function, past the X. */
static void test_own_entries_stay_inside(void **state)
{
	struct run t;
	const struct gm_header *h;
	const struct gm_entry *e;
	unsigned tried = 0;

	(void)state;
	start(&t);
	h = wt_header(&t.r);
	e = WT_TABLE(&t.r, entries);
	for (unsigned reg = 0; reg < 16; reg++)
		for (uint32_t i = 0; i < h->entries.count && reg != 4; i++) {
			uint64_t want = e[i].flags ? indirect_gate(&t, reg) : BASE + e[i].moff;

			assert_int_equal(go(&t, reg, t.gates + 16 * e[i].gate), want);
			tried++;
		}
	assert_int_equal(tried, 15 * h->entries.count);
	stop(&t);
}

/* Anything else leads to the leave-indirect gate: also one byte beside a gate, f itself, init's. */
static void test_everything_else_leaves(void **state)
{
	struct run t;
	uint64_t targets[600];
	unsigned n = 0;

	(void)state;
	start(&t);
	for (uint64_t at = t.gates - 32; at < t.gates + 288; at++) {
		const struct gm_gate *g = WT_TABLE(&t.r, gates);
		uint64_t i = (at - t.gates) / 16;

		if (at < t.gates || at % 16 || g[i].kind != GM_GATE_ENTER)
			targets[n++] = at;
	}
	for (uint64_t at = t.text; at < t.text + 64; at += 7)
		targets[n++] = at;
	for (uint64_t at = t.inside; at < t.inside + 256; at += 13)
		targets[n++] = at;
	targets[n++] = 0;
	targets[n++] = 1;
	targets[n++] = ~0ull;
	targets[n++] = 0x8000000000000000;
	targets[n++] = 0x7fffffffffffffff;
	targets[n++] = IMPORTS;
	/* the run's addresses, but for bits that a 32-bit compare would lose */
	targets[n++] = (t.gates + 0x50) & 0xffffffff;
	targets[n++] = (t.gates + 0x50) ^ (1ull << 40);
	targets[n++] = (t.gates + 0x50) ^ (1ull << 63);
	for (unsigned reg = 0; reg < 16; reg++)
		for (unsigned i = 0; i < n && reg != 4; i++)
			assert_int_equal(go(&t, reg, targets[i]), indirect_gate(&t, reg));
	stop(&t);
}

/* Does every thunk's byte have an unwind row that says: nothing pushed? */
static void test_thunks_have_unwind_rows(void **state)
{
	struct run t;
	const struct gm_unwind *u, *row = NULL;
	const struct gm_header *h;

	(void)state;
	start(&t);
	h = wt_header(&t.r);
	u = WT_TABLE(&t.r, unwind);
	for (uint32_t i = 0; i < h->unwind.count; i++) {
		if (u[i].moff <= t.inside - BASE)
			row = &u[i];
		else
			assert_true(u[i].moff >= t.inside_end - BASE);
	}
	if (!row) {
		fail_msg("no row");
		return;
	}
	assert_int_equal(row->cfa_rule, GM_CFA_REG);
	assert_int_equal(row->cfa_reg, 4);
	assert_int_equal(row->cfa_offset, 8);
	assert_int_equal(row->bp_rule, GM_BP_SAME);
	stop(&t);
}

/* The thunk of a table's jump goes on at the table's targets, and with the jump's frame. */
static void test_a_table_leads_to_its_targets(void **state)
{
	const struct gm_unwind *u, *row = NULL;
	const struct gm_header *h;
	const struct gm_jump *j;
	struct run t;

	(void)state;
	start_with(&t, with_table());
	h = wt_header(&t.r);
	j = WT_TABLE(&t.r, jumps);
	t.thunk[9] = t.thunk[0]; /* there is one */
	assert_int_equal(h->jumps.count, 4);
	for (unsigned i = 0, k = 0; i < 8; i++) {
		uint64_t at = BASE + j[0].target + i;
		bool target = k < 4 && BASE + j[k].target == at;

		assert_int_equal(target, i == 0 || i == 1 || i == 3 || i == 5);
		assert_int_equal(go(&t, 9, at), target ? at : indirect_gate(&t, 9));
		k += target;
	}
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(j[i].moff, j[0].target - 5);
		assert_int_equal(go(&t, 9, (BASE + j[i].target) & 0xffffffff),
				 indirect_gate(&t, 9));
		assert_int_equal(go(&t, 9, t.gates + 16ul * i), indirect_gate(&t, 9));
	}
	u = WT_TABLE(&t.r, unwind);
	for (uint32_t i = 0; i < h->unwind.count; i++)
		if (u[i].moff <= t.thunk[9] - BASE)
			row = &u[i];
	if (!row)
		fail_msg("no row");
	else
		assert_int_equal(row->cfa_offset, 16);
	stop(&t);
}

/* What is no table of the function's own, and no tail call, has no thunk that would be right. */
static void test_other_jumps_are_refused(void **state)
{
	struct blob ko = wt_compile(
		"__asm__(\".text\\n.globl jumper\\n.type jumper, @function\\n\"\n"
		"	\"jumper: .cfi_startproc\\npush %rbx\\n.cfi_adjust_cfa_offset 8\\n\"\n"
		"	\"jmp __x86_indirect_thunk_r9\\n.cfi_endproc\\n\"\n"
		"	\".size jumper, . - jumper\\n\");\n"
		"int init_module(void) { return 0; }\n",
		WT_RETPOLINE);

	(void)state;
	wt_refused(&ko, "no tail call");
	blob_free(&ko);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_entries_stay_inside),
		cmocka_unit_test(test_everything_else_leaves),
		cmocka_unit_test(test_thunks_have_unwind_rows),
		cmocka_unit_test(test_a_table_leads_to_its_targets),
		cmocka_unit_test(test_other_jumps_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
