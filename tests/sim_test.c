/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The Unicorn engine, snippet by snippet: exceptions and their exact frames, translation, code that
 * changes, ends. Everything runs twice, in fast and in precise mode (sim/accel.c).
 */
#include "tests/support/engine_cases.h"

/* ---- time ---- */

static void test_time(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);

	(void)state;
	SV_RUN(s, ec_sums);
	assert_true(vm_time(s->vm) > 100);
	sv_destroy(s);
}

/* ---- page faults: exact RIP, CR2, error code, and nothing done twice ---- */

/* Counts in memory before the access, so that a repeated block would show. */
#define PF(name, access)                                                                           \
	SNIPPET(name, "incq (%rdi)\n mov %rsi,%r8\n" access "\n incq 8(%rdi)\n"                    \
		      "xor %eax,%eax\n out %eax,$0xf4")
#define PF_AT 6u /* offset of the access */

PF(pf_load, "mov (%rsi),%rax");
PF(pf_store, "mov %rax,(%rsi)");
PF(pf_rmw, "lock addq $1,(%rsi)");
PF(pf_push, "mov %rsi,%rsp; push %rax");
PF(pf_sse, "movups %xmm0,(%rsi)");
PF(pf_fxsave, "fxsave (%rsi)");
PF(pf_byte, "cmpb $1,(%rsi)");
PF(pf_call, "call *(%rsi)");
PF(pf_string, "mov %rdi,%r9; mov $3,%ecx; lea 64(%rdi),%rdi; rep movsb");

static void fault_case(const uint8_t *code, size_t size, uint64_t gva, unsigned error, unsigned at,
		       uint64_t cr2)
{
	struct simvm *s = sv_create(1, 1, 0);
	struct guard_cpu cpu;

	sv_code(s, 0, code, size);
	*sv_pte(s, SV_DATA + 0x3000) = 0;
	*sv_pte(s, SV_DATA + 0x4000) &= ~PTE_W;
	*sv_pte(s, SV_DATA + 0x5000) |= 1ull << 45; /* reserved */
	sv_start(s, 0, 0, false);
	vm_get_cpu(s->vm, 0, &cpu);
	cpu.gpr[GUARD_RSI] = gva;
	vm_set_cpu(s->vm, 0, &cpu);
	sv_ist(s, 14, 1); /* the pushing snippet has no stack */
	sv_run(s);
	sv_expect_trap(s, 14, error, at);
	assert_int_equal(sv_trap(s).cr2, cr2);
	assert_int_equal(*sv_data(s, 0), 1);
	assert_int_equal(*sv_data(s, 1), 0);
	sv_destroy(s);
}

#define FAULT(name, gva, error) fault_case(name, SNIPPET_SIZE(name), gva, error, PF_AT, gva)

static void test_page_faults(void **state)
{
	(void)state;
	FAULT(pf_load, SV_DATA + 0x3010, 0);
	FAULT(pf_store, SV_DATA + 0x3010, 2);
	FAULT(pf_store, SV_DATA + 0x4010, 3);
	FAULT(pf_load, SV_DATA + 0x5010, 9);
	FAULT(pf_store, SV_DATA + 0x5010, 11);
	FAULT(pf_sse, SV_DATA + 0x3010, 2);
	FAULT(pf_fxsave, SV_DATA + 0x3010, 2);
	FAULT(pf_fxsave, SV_DATA + 0x4010, 3);
	FAULT(pf_byte, SV_DATA + 0x3fff, 0);
	FAULT(pf_call, SV_DATA + 0x3010, 0);
	fault_case(pf_push, SNIPPET_SIZE(pf_push), SV_DATA + 0x4010, 3, PF_AT + 3,
		   SV_DATA + 0x4008);
	fault_case(pf_string, SNIPPET_SIZE(pf_string), SV_DATA + 0x3010, 0, PF_AT + 12,
		   SV_DATA + 0x3010);
	/* across the border of a page that is not there */
	fault_case(pf_load, SNIPPET_SIZE(pf_load), SV_DATA + 0x2ffc, 0, PF_AT, SV_DATA + 0x3000);
}

static void test_rmw_fault(void **state)
{
	(void)state;
	/* A CPU reports a write; Unicorn reads first. Both are a fault at the same place. */
	FAULT(pf_rmw, SV_DATA + 0x4010, 3);
}

SNIPPET(jump_nowhere, "mov $0xffffffff94000000,%rax\n jmp *%rax");

static void test_fetch_faults(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);

	(void)state;
	SV_RUN(s, jump_nowhere);
	sv_expect_trap(s, 14, 0x10, 0x4000000);
	sv_destroy(s);
}

/* An instruction that begins on one page and ends on the next, which is not there. */
SNIPPET(split_code, "incq (%rdi)\n jmp 1f\n .skip 4096 - 7 - 3\n 1: nop\n mov $1,%eax");

static void test_fetch_across(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);

	(void)state;
	sv_code(s, 0, split_code, SNIPPET_SIZE(split_code));
	*sv_pte(s, SV_CODE + 0x1000) = 0;
	sv_start(s, 0, 0, false);
	sv_run(s);
	assert_int_equal(s->exit.status, SV_TRAPPED);
	assert_int_equal(sv_trap(s).vector, 14);
	assert_int_equal(sv_trap(s).error, 0x10);
	assert_int_equal(sv_trap(s).cr2, SV_CODE + 0x1000);
	assert_true(sv_trap(s).rip >= SV_CODE + 0xff0 && sv_trap(s).rip < SV_CODE + 0x1000);
	assert_int_equal(*sv_data(s, 0), 1);
	sv_destroy(s);
}

SNIPPET(write_protect_off, "mov %cr0,%rax\n btr $16,%rax\n mov %rax,%cr0\n movq $7,0x4000(%rdi)\n"
			   "bts $16,%rax\n mov %rax,%cr0\n movq $8,0x4000(%rdi)");

static void test_write_protect(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);

	(void)state;
	*sv_pte(s, SV_DATA + 0x4000) &= ~PTE_W;
	SV_RUN(s, write_protect_off);
	assert_int_equal(sv_trap(s).vector, 14);
	assert_int_equal(sv_trap(s).error, 3);
	assert_int_equal(*sv_data(s, 0x800), 7);
	sv_destroy(s);
}

SNIPPET(smap_code, "mov %cr4,%rax\n bts $21,%rax\n mov %rax,%cr4\n stac\n movq $1,0x4000(%rdi)\n"
		   "clac\n movq $2,0x4000(%rdi)");

static void test_smap(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);

	(void)state;
	sv_user(s, SV_DATA + 0x4000);
	SV_RUN(s, smap_code);
	assert_int_equal(sv_trap(s).vector, 14);
	assert_int_equal(sv_trap(s).error, 3);
	assert_int_equal(*sv_data(s, 0x800), 1);
	sv_destroy(s);
}

/* ---- other exceptions ---- */

SNIPPET(ss_load, "mov $0x800000000000,%rbp\n mov (%rbp),%rax");
SNIPPET(far_call, "nop\n .byte 0xff,0xd8"); /* lcall with a register: kills Unicorn 2.0 */
SNIPPET(far_jump, "nop\n .byte 0xff,0xeb");
SNIPPET(lock_cmps, "nop\n .byte 0xf0,0xa7");

static void test_stack_fault(void **state)
{
	(void)state;
	EC_TRAP(ss_load, 12, 0, 10);
}

/* In fast mode they are told from instructions before Unicorn sees them; else they end the run. */
static void kill_case(const uint8_t *code, size_t size)
{
	struct simvm *s = sv_create(1, 1, 0);

	sv_run_code(s, code, size);
	if (sim_fast) {
		sv_expect_trap(s, 6, 0, 1);
	} else if (s->exit.reason == VM_EXIT_ENGINE) {
		assert_int_equal(s->exit.vcpu, 0);
		assert_int_equal(s->exit.rip & ~15ull, SV_CODE);
		assert_non_null(strstr(s->exit.message, "crashed Unicorn"));
	}
	sv_destroy(s);
}

static void test_killers(void **state)
{
	(void)state;
	kill_case(far_call, SNIPPET_SIZE(far_call));
	kill_case(far_jump, SNIPPET_SIZE(far_jump));
	kill_case(lock_cmps, SNIPPET_SIZE(lock_cmps));
	EC_TRAP(ec_undefined, 6, 0, 1); /* and the next VM runs */
}

/* The handler at 0x800 skips a two-byte instruction; Unicorn must not see a double fault. */
SNIPPET(skip_two, "addq $2,(%rsp)\n incq (%rdi)\n iretq");
SNIPPET(many_divides, "xor %ecx,%ecx\n div %ecx\n div %ecx\n ud2\n div %ecx\n ud2\n"
		      "xor %eax,%eax\n out %eax,$0xf4");

static void test_repeated_exceptions(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);

	(void)state;
	SV_CODE_AT(s, 0x800, skip_two);
	sv_gate(s, 0, 0x800, 0, 0xe, 0);
	sv_gate(s, 6, 0x800, 0, 0xe, 0);
	SV_RUN(s, many_divides);
	assert_int_equal(s->exit.reason, VM_EXIT_GUEST);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 0), 5);
	sv_destroy(s);
}

static void test_ist(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);
	struct sv_trap t;

	(void)state;
	SV_CODE_AT(s, 0, ec_divides);
	sv_start(s, 0, 0, false);
	sv_ist(s, 0, 1);
	sv_run(s);
	sv_expect_trap(s, 0, 0, 3);
	t = sv_trap(s);
	assert_int_equal(t.handler_rsp, SV_IST1 - 5 * 8 - 2 * 8 - 2 * 8);
	assert_int_equal(t.cs, 8);
	assert_int_equal(t.ss, 0x10);
	assert_int_equal(t.rflags & 0x10202, 0x10002); /* RF, as for every fault */
	sv_destroy(s);
}

SNIPPET(no_stack, "xor %esp,%esp\n ud2");

static void test_double_and_triple(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);

	(void)state;
	/* #UD cannot push: #PF, which cannot either: #DF, on IST 1. */
	sv_code(s, 0, no_stack, SNIPPET_SIZE(no_stack));
	sv_start(s, 0, 0, false);
	sv_ist(s, 8, 1);
	sv_run(s);
	sv_expect_trap(s, 8, 0, 2);
	sv_destroy(s);
	s = sv_create(1, 1, 0);
	SV_RUN(s, no_stack);
	assert_int_equal(s->exit.reason, VM_EXIT_TRIPLE_FAULT);
	assert_int_equal(s->exit.vcpu, 0);
	assert_int_equal(s->exit.rip, SV_CODE + 2);
	sv_destroy(s);
}

/* ---- translations ---- */

/* RSI: last-level entry of SV_DATA + 0x1000 in the direct map, RDX: its new value. */
SNIPPET(remap, "mov 0x1000(%rdi),%rax\n mov %rax,(%rdi)\n"
	       "mov %rdx,(%rsi)\n invlpg 0x1000(%rdi)\n mov 0x1000(%rdi),%rax\n mov %rax,8(%rdi)\n"
	       "xor %eax,%eax\n out %eax,$0xf4");
SNIPPET(remap_cr3, "mov 0x1000(%rdi),%rax\n mov %rax,(%rdi)\n"
		   "mov %rdx,(%rsi)\n mov %cr3,%rax\n mov %rax,%cr3\n"
		   "mov 0x1000(%rdi),%rax\n mov %rax,8(%rdi)\n xor %eax,%eax\n out %eax,$0xf4");
/* From not present to present: seen at once. */
SNIPPET(map_new, "mov %rdx,(%rsi)\n mov 0x1000(%rdi),%rax\n mov %rax,8(%rdi)\n"
		 "xor %eax,%eax\n out %eax,$0xf4");

static void remap_case(const uint8_t *code, size_t size, bool present)
{
	struct simvm *s = sv_create(1, 1, 0);
	uint64_t *pte = sv_pte(s, SV_DATA + 0x1000), entry = *pte;
	struct guard_cpu cpu;

	*sv_data(s, 0x200) = 11;
	*sv_data(s, 0x400) = 22;
	sv_code(s, 0, code, size);
	sv_start(s, 0, 0, false);
	vm_get_cpu(s->vm, 0, &cpu);
	cpu.gpr[GUARD_RSI] = GH_DIRECT_MAP + (uint64_t)((uint8_t *)pte - s->vm->ram);
	cpu.gpr[GUARD_RDX] = entry + 0x1000; /* the next frame */
	vm_set_cpu(s->vm, 0, &cpu);
	if (!present)
		*pte = 0;
	sv_run(s);
	assert_int_equal(s->exit.reason, VM_EXIT_GUEST);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 0), present ? 11 : 0);
	assert_int_equal(*sv_data(s, 1), 22);
	sv_destroy(s);
}

static void test_remap(void **state)
{
	(void)state;
	remap_case(remap, SNIPPET_SIZE(remap), true);
	remap_case(remap_cr3, SNIPPET_SIZE(remap_cr3), true);
	remap_case(map_new, SNIPPET_SIZE(map_new), false);
}

SNIPPET(touch_bits,
	"mov 0x1000(%rdi),%rax\n mov %rax,0x2000(%rdi)\n xor %eax,%eax\n out %eax,$0xf4");

static void test_accessed_dirty(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);
	unsigned i;

	(void)state;
	for (i = 0; i < 16; i++)
		*sv_pte(s, SV_DATA + i * 0x1000) &= ~(PTE_A | PTE_D);
	SV_RUN(s, touch_bits);
	assert_int_equal(*sv_pte(s, SV_DATA + 0x1000) & (PTE_A | PTE_D), PTE_A);
	assert_int_equal(*sv_pte(s, SV_DATA + 0x2000) & (PTE_A | PTE_D), PTE_A | PTE_D);
	assert_int_equal(*sv_pte(s, SV_DATA + 0x3000) & PTE_D, 0);
	sv_destroy(s);
}

/* More pages than regions: the space starts over, and every word stays right. */
SNIPPET(sparse, "mov $0xffff888000000000,%rsi\n xor %ecx,%ecx\n"
		"1: mov (%rdi),%rax\n inc %rax\n mov %rax,(%rdi)\n add $0x1000,%rsi\n"
		"mov (%rsi),%rax\n inc %ecx\n cmp $1500,%ecx\n jne 1b\n"
		"xor %eax,%eax\n out %eax,$0xf4");

static void test_many_pages(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);

	(void)state;
	SV_RUN(s, sparse);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 0), 1500);
	sv_destroy(s);
}

/* ---- code that changes ---- */

/* f at 0x800 returns 1; RSI: f in the direct map. Calls it, patches its immediate, calls again. */
SNIPPET(returns_one, "mov $1,%eax\n ret");
SNIPPET(alias_patch, "lea 0x800 + alias_patch(%rip),%rbx\n call *%rbx\n mov %rax,(%rdi)\n"
		     "movb $2,1(%rsi)\n call *%rbx\n mov %rax,8(%rdi)\n"
		     "movb $3,1(%rbx)\n call *%rbx\n mov %rax,16(%rdi)\n"
		     "xor %eax,%eax\n out %eax,$0xf4");

static void test_alias_patch(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);
	struct guard_cpu cpu;

	(void)state;
	SV_CODE_AT(s, 0x800, returns_one);
	SV_CODE_AT(s, 0, alias_patch);
	sv_start(s, 0, 0, false);
	vm_get_cpu(s->vm, 0, &cpu);
	cpu.gpr[GUARD_RSI] = sv_direct(s, SV_CODE) + 0x800;
	vm_set_cpu(s->vm, 0, &cpu);
	sv_run(s);
	assert_int_equal(s->exit.reason, VM_EXIT_GUEST);
	assert_int_equal(*sv_data(s, 0), 1);
	assert_int_equal(*sv_data(s, 1), 2);
	assert_int_equal(*sv_data(s, 2), 3);
	sv_destroy(s);
}

/* Writes into the very next instructions of its own block: mov $1,%ecx becomes mov $9,%ecx. */
SNIPPET(own_block, "mov $1,%ebx\n lea 1f(%rip),%rsi\n movb $9,1(%rsi)\n 1: mov $1,%ecx\n"
		   "mov %rcx,(%rdi)\n xor %eax,%eax\n out %eax,$0xf4");

static void test_own_block(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);

	(void)state;
	SV_RUN(s, own_block);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 0), 9);
	sv_destroy(s);
}

/* Data beside code, written so often that the frame changes sides again and again. */
SNIPPET(mixed, "lea 2f(%rip),%rsi\n mov $1000,%ecx\n 1: incq (%rsi)\n loop 1b\n"
	       "mov (%rsi),%rax\n mov %rax,(%rdi)\n xor %eax,%eax\n out %eax,$0xf4\n"
	       ".balign 8\n 2: .quad 0");

static void test_mixed_page(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);

	(void)state;
	SV_RUN(s, mixed);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 0), 1000);
	sv_destroy(s);
}

/* vCPU 1 patches the loop that vCPU 0 runs. */
SNIPPET(loop_until, "1: mov $0,%eax\n test %eax,%eax\n je 1b\n out %eax,$0xf4");
SNIPPET(patch_other, "mov $2000,%ecx\n 1: loop 1b\n movb $6,1(%rsi)\n 2: hlt\n jmp 2b");

static void test_other_vcpu_patches(void **state)
{
	struct simvm *s = sv_create(2, 3, 0);
	struct guard_cpu cpu;

	(void)state;
	SV_CODE_AT(s, 0, loop_until);
	SV_CODE_AT(s, 0x1000, patch_other);
	sv_start(s, 0, 0, false);
	sv_start(s, 1, 0x1000, false);
	vm_get_cpu(s->vm, 1, &cpu);
	cpu.gpr[GUARD_RSI] = sv_direct(s, SV_CODE);
	vm_set_cpu(s->vm, 1, &cpu);
	sv_run(s);
	assert_int_equal(s->exit.reason, VM_EXIT_GUEST);
	assert_int_equal(s->exit.status, 6);
	sv_destroy(s);
}

/* The host rewrites the code between two runs. */
SNIPPET(ask_host, "1: mov $1,%eax\n mov %rax,(%rdi)\n out %al,$0xf8\n jmp 1b");

static bool host_patches(void *ctx, struct vm *vm, unsigned vcpu)
{
	struct simvm *s = ctx;
	uint8_t five = 5;

	if (*sv_data(s, 0) == 5)
		return false;
	return vm_write_u(vm, vcpu, SV_CODE + 1, &five, 1);
}

static void test_host_patches(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);

	(void)state;
	vm_on_host_port(s->vm, host_patches, s);
	SV_RUN(s, ask_host);
	assert_int_equal(s->exit.reason, VM_EXIT_HOST);
	assert_int_equal(*sv_data(s, 0), 5);
	sv_destroy(s);
}

static int fast_mode(void **state)
{
	(void)state;
	unsetenv("GUARDHOUSE_PRECISE");
	return 0;
}

static int precise_mode(void **state)
{
	(void)state;
	return setenv("GUARDHOUSE_PRECISE", "1", 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ec_runs),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_page_faults),
		cmocka_unit_test(test_rmw_fault),
		cmocka_unit_test(test_fetch_faults),
		cmocka_unit_test(test_fetch_across),
		cmocka_unit_test(test_write_protect),
		cmocka_unit_test(test_smap),
		cmocka_unit_test(ec_exceptions),
		cmocka_unit_test(test_stack_fault),
		cmocka_unit_test(test_killers),
		cmocka_unit_test(test_repeated_exceptions),
		cmocka_unit_test(test_ist),
		cmocka_unit_test(test_double_and_triple),
		cmocka_unit_test(test_remap),
		cmocka_unit_test(test_accessed_dirty),
		cmocka_unit_test(test_many_pages),
		cmocka_unit_test(test_alias_patch),
		cmocka_unit_test(test_own_block),
		cmocka_unit_test(test_mixed_page),
		cmocka_unit_test(test_other_vcpu_patches),
		cmocka_unit_test(test_host_patches),
	};
	int failed = cmocka_run_group_tests_name("fast", tests, fast_mode, NULL);

	return failed + cmocka_run_group_tests_name("precise", tests, precise_mode, NULL);
}
