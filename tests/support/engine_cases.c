/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/support/engine_cases.h"

/* ---- plain execution ---- */

SNIPPET(ec_sums, "xor %eax,%eax\n mov $100,%ecx\n 1: add %rcx,%rax\n loop 1b\n"
		 "mov %rax,(%rdi)\n mov $5,%eax\n out %eax,$0xf4");

void ec_runs(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);

	(void)state;
	SV_RUN(s, ec_sums);
	assert_int_equal(s->exit.reason, VM_EXIT_GUEST);
	assert_int_equal(s->exit.status, 5);
	assert_int_equal(*sv_data(s, 0), 5050);
	sv_destroy(s);
}

/* ---- interrupts ---- */

SNIPPET(ec_counting, "incq 120(%rdi)\n mov (%rsp),%r15\n mov %r15,112(%rdi)\n iretq");

struct simvm *ec_counting_vm(unsigned vector)
{
	struct simvm *s = sv_create(1, 1, 0);

	SV_CODE_AT(s, 0x800, ec_counting);
	sv_gate(s, vector, 0x800, 0, 0xe, 0);
	return s;
}

SNIPPET(ec_nmi_twice, "mov $2,%al\n out %al,$0xf6\n mov 120(%rdi),%rbx\n" EXIT0);
SNIPPET(ec_nmi_twice_late, "mov $2,%al\n out %al,$0xf6\n nop\n nop\n mov 120(%rdi),%rbx\n" EXIT0);
SNIPPET(ec_nmi_handler,
	"incq 120(%rdi)\n cmpq $1,120(%rdi)\n jne 1f\n mov $2,%al\n out %al,$0xf6\n nop\n"
	"mov 120(%rdi),%rax\n mov %rax,(%rdi)\n 1: iretq");

static void two_nmis(const uint8_t *code, size_t size)
{
	struct simvm *s = sv_create(1, 1, 0);

	SV_CODE_AT(s, 0x800, ec_nmi_handler);
	sv_gate(s, 2, 0x800, 0, 0xe, 0);
	sv_run_code(s, code, size);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 0), 1); /* still one inside the first */
	assert_int_equal(*sv_data(s, 15), 2);
	assert_int_equal(sv_reg(s, 0, GUARD_RBX), 2);
	sv_destroy(s);
}

void ec_nmi(void **state)
{
	(void)state;
	two_nmis(ec_nmi_twice, SNIPPET_SIZE(ec_nmi_twice));
}

void ec_nmi_late(void **state)
{
	(void)state;
	two_nmis(ec_nmi_twice_late, SNIPPET_SIZE(ec_nmi_twice_late));
}

/* The period comes in word 1. */
SNIPPET(ec_timer_wait, "mov 8(%rdi),%eax\n out %eax,$0xf9\n sti\n"
		       "1: incq (%rdi)\n cmpq $10,120(%rdi)\n jb 1b\n" EXIT0);
SNIPPET(ec_timer_sleep, "mov $100000,%eax\n out %eax,$0xf9\n sti\n hlt\n hlt\n" EXIT0);

uint64_t ec_timer(uint32_t period, unsigned most)
{
	struct simvm *s = ec_counting_vm(GH_TIMER_VECTOR);
	uint64_t turns;

	*sv_data(s, 1) = period;
	SV_RUN(s, ec_timer_wait);
	assert_int_equal(s->exit.status, 0);
	assert_in_range(*sv_data(s, 15), 10, most);
	turns = *sv_data(s, 0);
	assert_true(turns >= 10);
	assert_true(vm_time(s->vm) >= 10ull * period);
	sv_destroy(s);
	s = ec_counting_vm(GH_TIMER_VECTOR);
	SV_RUN(s, ec_timer_sleep);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 15), 2);
	assert_true(vm_time(s->vm) >= 200000);
	sv_destroy(s);
	return turns;
}

SNIPPET(ec_sends, "mov $0x0150,%eax\n out %ax,$0xf7\n 1: cmpq $0,120(%rdi)\n je 1b\n" EXIT0);
SNIPPET(ec_sleeper, "sti\n 1: hlt\n jmp 1b");

void ec_sleeps(void **state)
{
	struct simvm *s = sv_create(2, 5, 0);

	(void)state;
	SV_CODE_AT(s, 0, ec_sends);
	SV_CODE_AT(s, 0x400, ec_sleeper);
	SV_CODE_AT(s, 0x800, ec_counting);
	sv_gate(s, 0x50, 0x800, 0, 0xe, 0);
	sv_start(s, 0, 0, false);
	sv_start(s, 1, 0x400, false);
	sv_run(s);
	assert_int_equal(s->exit.reason, VM_EXIT_GUEST);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(s->exit.vcpu, 0);
	assert_int_equal(*sv_data(s, 15), 1);
	sv_destroy(s);
}

/* ---- gates ---- */

SNIPPET(ec_int_80, "int $0x80\n" EXIT0);
SNIPPET(ec_show_flags, "pushfq\n pop %rax\n mov %rax,(%rdi)\n iretq");

void ec_gate_types(void **state)
{
	unsigned type;

	(void)state;
	for (type = 0xe; type <= 0xf; type++) {
		struct simvm *s = sv_create(1, 1, 0);

		SV_CODE_AT(s, 0x800, ec_show_flags);
		SV_CODE_AT(s, 0, ec_int_80);
		sv_gate(s, 0x80, 0x800, 0, type, 3);
		sv_start(s, 0, 0, true);
		sv_run(s);
		assert_int_equal(s->exit.status, 0);
		assert_int_equal(*sv_data(s, 0) & 0x200, type == 0xf ? 0x200 : 0);
		sv_destroy(s);
	}
}

SNIPPET(ec_raise, "mov $0x51,%al\n out %al,$0xf6\n nop\n hlt");
#define RAISED_AT 4u /* where interrupt 0x51 strikes */

static void edit_gate(struct simvm *s, unsigned vector, uint32_t clear, uint32_t set)
{
	uint32_t *g = (uint32_t *)(void *)(s->vm->ram + s->tables_gpa + vector * 16);

	g[1] = (g[1] & ~clear) | set;
}

static void absent(struct simvm *s, unsigned vector)
{
	edit_gate(s, vector, 0x8000, 0);
}

/* The error code has IDT and EXT set. */
static void odd_gate(uint32_t clear, uint32_t set, uint16_t limit, unsigned vector)
{
	struct simvm *s = sv_create(1, 1, 0);
	struct engine_sys sys;

	edit_gate(s, 0x51, clear, set);
	SV_CODE_AT(s, 0, ec_raise);
	sv_start(s, 0, 0, true);
	s->vm->ops->get_sys(s->vm->engine, 0, &sys);
	sys.idt.limit = limit;
	s->vm->ops->set_sys(s->vm->engine, 0, &sys);
	sv_run(s);
	sv_expect_trap(s, vector, 0x51 * 8 + 3, RAISED_AT);
	sv_destroy(s);
}

void ec_bad_gates(void **state)
{
	(void)state;
	odd_gate(0xf00, 0x500, 0xfff, 13);
	odd_gate(0x8000, 0, 0xfff, 11);
	odd_gate(0, 0, 0x50f, 13);
}

/* Interrupt 0x51 is raised with RSP below the data pages, where nothing is mapped. */
SNIPPET(ec_no_stack, "lea -0x1000(%rdi),%rsp\n mov $0x51,%al\n out %al,$0xf6\n nop\n hlt");
SNIPPET(ec_bad_stack, "movabs $0x800000001000,%rsp\n mov $0x51,%al\n out %al,$0xf6\n nop\n hlt");
#define STRUCK_AT 11u
#define BAD_STACK_AT 14u

static struct simvm *raised(const uint8_t *code, size_t size)
{
	struct simvm *s = sv_create(1, 1, 0);

	sv_code(s, 0, code, size);
	sv_start(s, 0, 0, true);
	return s;
}

void ec_double_fault(void **state)
{
	struct simvm *s;

	(void)state;
	/* #NP for the interrupt, #NP for that: #DF */
	s = raised(ec_raise, SNIPPET_SIZE(ec_raise));
	absent(s, 0x51);
	absent(s, 11);
	sv_run(s);
	sv_expect_trap(s, 8, 0, RAISED_AT);
	sv_destroy(s);
	/* #SS for its frame, which is not canonical, and for that one's */
	s = raised(ec_bad_stack, SNIPPET_SIZE(ec_bad_stack));
	sv_ist(s, 8, 1);
	sv_run(s);
	sv_expect_trap(s, 8, 0, BAD_STACK_AT);
	sv_destroy(s);
	/* #NP for #DF: shutdown */
	s = raised(ec_raise, SNIPPET_SIZE(ec_raise));
	absent(s, 0x51);
	absent(s, 11);
	absent(s, 8);
	sv_run(s);
	assert_int_equal(s->exit.reason, VM_EXIT_TRIPLE_FAULT);
	sv_destroy(s);
	/* #NP, then #PF for its frame: the page fault alone is delivered */
	s = raised(ec_no_stack, SNIPPET_SIZE(ec_no_stack));
	absent(s, 0x51);
	sv_ist(s, 14, 1);
	sv_run(s);
	sv_expect_trap(s, 14, 2, STRUCK_AT);
	sv_destroy(s);
	/* #PF for the interrupt's frame, #NP for the page fault: #DF */
	s = raised(ec_no_stack, SNIPPET_SIZE(ec_no_stack));
	absent(s, 14);
	sv_ist(s, 8, 1);
	sv_run(s);
	sv_expect_trap(s, 8, 0, STRUCK_AT);
	sv_destroy(s);
	/* two page faults: #DF, which has no stack either */
	s = raised(ec_no_stack, SNIPPET_SIZE(ec_no_stack));
	sv_ist(s, 8, 1);
	sv_run(s);
	sv_expect_trap(s, 8, 0, STRUCK_AT);
	sv_destroy(s);
	s = raised(ec_no_stack, SNIPPET_SIZE(ec_no_stack));
	sv_run(s);
	assert_int_equal(s->exit.reason, VM_EXIT_TRIPLE_FAULT);
	sv_destroy(s);
}

/* ---- the CPU's own exceptions ---- */

SNIPPET(ec_pf_load, "nop\n mov 0x3010(%rdi),%rax");
SNIPPET(ec_pf_store, "nop\n mov %rax,0x4010(%rdi)");
SNIPPET(ec_gp_load, "mov $0x800000000000,%rsi\n mov (%rsi),%rax");
SNIPPET(ec_divides, "xor %ecx,%ecx\n nop\n div %ecx");
SNIPPET(ec_undefined, "nop\n ud2");
SNIPPET(ec_breakpoint, "nop\n int3");
SNIPPET(ec_jump_data, "mov %rdi,%rax\n jmp *%rax");
SNIPPET(ec_msr_unknown, "nop\n mov $0x4711,%ecx\n rdmsr");

void ec_trap(const uint8_t *code, size_t size, unsigned vector, uint64_t error, uint64_t offset)
{
	struct simvm *s = sv_create(1, 1, 0);

	*sv_pte(s, SV_DATA + 0x3000) = 0;
	*sv_pte(s, SV_DATA + 0x4000) &= ~PTE_W;
	sv_run_code(s, code, size);
	sv_expect_trap(s, vector, error, offset);
	sv_destroy(s);
}

void ec_exceptions(void **state)
{
	(void)state;
	EC_TRAP(ec_pf_load, 14, 0, 1);
	EC_TRAP(ec_pf_store, 14, 3, 1);
	EC_TRAP(ec_gp_load, 13, 0, 10);
	EC_TRAP(ec_divides, 0, 0, 3);
	EC_TRAP(ec_undefined, 6, 0, 1);
	EC_TRAP(ec_breakpoint, 3, 0, 2);
	EC_TRAP(ec_jump_data, 14, 0x11, SV_DATA - SV_CODE);
	EC_TRAP(ec_msr_unknown, 13, 0, 6);
}
