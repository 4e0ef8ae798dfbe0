/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The KVM engine, snippet by snippet: that guest code runs, how interrupts and software exceptions
 * reach it, several vCPUs, devices, ports and MSRs, all ways to end, and that nothing stays behind.
 * What it makes of views is in kvm_views_test.c, crossings are in kvm_corpus_test.sh.
 */
#include "tests/support/engine_cases.h"
#include "tests/support/kvmtest.h"

/* Registers that the host sets are the guest's, and come back. */
SNIPPET(registers, "add %rbx,%r15\n mov $0x1111,%ebp\n out %al,$0xf8\n nop\n hlt");

static void test_registers(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);
	struct engine_sys before, after;
	struct guard_cpu cpu;
	unsigned i;

	(void)state;
	SV_CODE_AT(s, 0, registers);
	sv_start(s, 0, 0, false);
	s->vm->ops->get_sys(s->vm->engine, 0, &before);
	vm_get_cpu(s->vm, 0, &cpu);
	for (i = 0; i < GUARD_GPRS; i++)
		if (i != GUARD_RSP && i != GUARD_RDI)
			cpu.gpr[i] = 0x1000000000ull * i + 7;
	vm_set_cpu(s->vm, 0, &cpu);
	sv_run(s);
	assert_int_equal(s->exit.reason, VM_EXIT_HOST);
	vm_get_cpu(s->vm, 0, &cpu);
	assert_int_equal(cpu.rip, SV_CODE + 10); /* behind the OUT, on every host */
	assert_int_equal(cpu.gpr[GUARD_R15], 0x1000000000ull * (15 + GUARD_RBX) + 14);
	assert_int_equal(cpu.gpr[GUARD_RBP], 0x1111);
	assert_int_equal(cpu.gpr[GUARD_R8], 0x8000000007ull);
	assert_int_equal(cpu.cr0, 0x80010033);
	assert_int_equal(cpu.efer, 0xd00);
	assert_int_equal(cpu.cpl, 0);
	assert_int_equal(cpu.mode, GUARD_MODE_64);
	s->vm->ops->get_sys(s->vm->engine, 0, &after);
	assert_int_equal(after.idt.base, before.idt.base);
	assert_int_equal(after.tr.selector, before.tr.selector);
	assert_int_equal(after.dr[7], 0x400);
	/* and the host may send it elsewhere, even to where it stands */
	vm_set_cpu(s->vm, 0, &cpu);
	sv_run(s);
	assert_int_equal(s->exit.reason, VM_EXIT_HALTED);
	assert_int_equal(s->exit.rip, SV_CODE + 12);
	sv_destroy(s);
}

/* ---- interrupts: delivered by the engine ---- */

static void strikes_at(const uint8_t *code, size_t size, bool interrupts, unsigned offset)
{
	struct simvm *s = ec_counting_vm(0x50);

	sv_code(s, 0, code, size);
	sv_start(s, 0, 0, interrupts);
	sv_run(s);
	if (s->exit.reason != VM_EXIT_GUEST)
		print_error("ended with %s\n", s->exit.message);
	assert_int_equal(s->exit.reason, VM_EXIT_GUEST);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 15), 1);
	assert_int_equal(*sv_data(s, 14), SV_CODE + offset);
	sv_destroy(s);
}

#define STRIKES(name, interrupts, offset) strikes_at(name, SNIPPET_SIZE(name), interrupts, offset)

SNIPPET(raise_open, "mov $0x50,%al\n out %al,$0xf6\n nop\n" EXIT0);
SNIPPET(raise_sti, "mov $0x50,%al\n out %al,$0xf6\n mov $20,%ecx\n 1: loop 1b\n"
		   "sti\n nop\n nop\n cli\n" EXIT0);
SNIPPET(raise_popf,
	"mov $0x50,%al\n out %al,$0xf6\n pushfq\n orq $0x200,(%rsp)\n popfq\n cli\n" EXIT0);
SNIPPET(raise_ss,
	"mov %ss,%ebx\n mov $0x50,%al\n out %al,$0xf6\n sti\n mov %ebx,%ss\n nop\n nop\n cli\n" EXIT0);
SNIPPET(sti_hlt, "mov $0x50,%al\n out %al,$0xf6\n sti\n hlt\n cli\n" EXIT0);

/* The very instruction: what a log line of a DEPART names must not depend on the host. */
static void test_exact(void **state)
{
	(void)state;
	STRIKES(raise_open, true, 4);
	STRIKES(raise_sti, false, 13);
	STRIKES(raise_popf, false, 14);
	STRIKES(sti_hlt, false, 6);
}

/* A load of SS holds interrupts back for one more instruction. */
static void test_ss_shadow(void **state)
{
	struct simvm *s = ec_counting_vm(0x50);

	(void)state;
	SV_CODE_AT(s, 0, raise_ss);
	sv_start(s, 0, 0, false);
	sv_run(s);
	assert_int_equal(s->exit.reason, VM_EXIT_GUEST);
	assert_int_equal(*sv_data(s, 15), 1);
	/* at the load itself STI's shadow ends; some hosts let it strike there */
	assert_in_range(*sv_data(s, 14), SV_CODE + 7, SV_CODE + 10);
	sv_destroy(s);
}

SNIPPET(masked_for_ever, "mov $0x50,%al\n out %al,$0xf6\n cli\n hlt");

static void test_masked(void **state)
{
	struct simvm *s = ec_counting_vm(0x50);

	(void)state;
	SV_RUN(s, masked_for_ever);
	assert_int_equal(s->exit.reason, VM_EXIT_HALTED);
	assert_int_equal(*sv_data(s, 15), 0);
	sv_destroy(s);
}

static void test_timer(void **state)
{
	(void)state;
	ec_timer(2000, 12);
}

/* X is no instruction that traps: a host that has a #DB pending behind it must not deliver it. */
SNIPPET(step_x, "pushfq\n orq $0x100,(%rsp)\n popfq\n out %al,$0xb6\n nop\n nop\n" EXIT0);
SNIPPET(step_once, "incq 120(%rdi)\n mov (%rsp),%r15\n mov %r15,112(%rdi)\n"
		   "andq $~0x100,16(%rsp)\n iretq");

static void test_step_over_x(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);

	(void)state;
	SV_CODE_AT(s, 0x800, step_once);
	sv_gate(s, 1, 0x800, 0, 0xe, 0);
	SV_RUN(s, step_x);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 15), 1);
	assert_int_equal(*sv_data(s, 14), SV_CODE + 13);
	sv_destroy(s);
}

/* ---- faults in delivery ---- */

/* A guest's own exception without any IDT is delivered by KVM. */
static void test_triple(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);
	struct engine_sys sys;

	(void)state;
	SV_CODE_AT(s, 0, ec_undefined);
	sv_start(s, 0, 0, false);
	s->vm->ops->get_sys(s->vm->engine, 0, &sys);
	sys.idt.limit = 0;
	s->vm->ops->set_sys(s->vm->engine, 0, &sys);
	sv_run(s);
	assert_int_equal(s->exit.reason, VM_EXIT_TRIPLE_FAULT);
	assert_int_equal(s->exit.vcpu, 0);
	sv_destroy(s);
}

/* ---- what is no instruction in 64-bit mode ---- */

SNIPPET(undefined_1, "nop\n ud1 %eax,%ebx");
SNIPPET(undefined_daa, "nop\n .byte 0x27\n .skip 16, 0x90");

static void test_undefined(void **state)
{
	(void)state;
	EC_TRAP(undefined_1, 6, 0, 1);
	EC_TRAP(undefined_daa, 6, 0, 1);
}

/* ---- several vCPUs ---- */

SNIPPET(ping,
	"1: mov 8(%rdi),%rax\n cmp (%rdi),%rax\n jne 1b\n incq (%rdi)\n cmpq $20,(%rdi)\n jb 1b\n"
	"2: cmpq $20,8(%rdi)\n jb 2b\n" EXIT0);
SNIPPET(pong, "1: mov (%rdi),%rax\n cmp 8(%rdi),%rax\n je 1b\n incq 8(%rdi)\n jmp 1b");
SNIPPET(spins, "1: jmp 1b");

static void test_vcpus(void **state)
{
	struct simvm *s = sv_create(3, 1, 0);

	(void)state;
	SV_CODE_AT(s, 0, ping);
	SV_CODE_AT(s, 0x1000, pong);
	SV_CODE_AT(s, 0x2000, spins);
	sv_start(s, 0, 0, false);
	sv_start(s, 1, 0x1000, false);
	sv_start(s, 2, 0x2000, false); /* costs the others no more than its slices */
	sv_run(s);
	assert_int_equal(s->exit.reason, VM_EXIT_GUEST);
	assert_int_equal(*sv_data(s, 1), 20);
	sv_destroy(s);
}

/* ---- devices, ports, MSRs ---- */

static struct {
	unsigned reads, writes, width;
	uint64_t offset, value;
} seen;

static uint64_t device_read(void *ctx, uint64_t offset, unsigned width)
{
	(void)ctx;
	seen.reads++;
	seen.offset = offset;
	seen.width = width;
	return 0x1122334455667788ull >> (offset % 8 * 8);
}

static void device_write(void *ctx, uint64_t offset, unsigned width, uint64_t value)
{
	(void)ctx;
	seen.writes++;
	seen.offset = offset;
	seen.width = width;
	seen.value = value;
}

/* RSI: device */
SNIPPET(use_device, "mov 0x10(%rsi),%eax\n mov %rax,(%rdi)\n movzwl 0x12(%rsi),%eax\n"
		    "mov %rax,8(%rdi)\n mov 8(%rsi),%rax\n mov %rax,16(%rdi)\n"
		    "movb $0x5a,0x21(%rsi)\n movl $7,0x20(%rsi)\n" EXIT0);
SNIPPET(device_string,
	"mov %rdi,%rbx\n mov %rsi,%rdi\n mov $300,%ecx\n mov $0x41,%al\n rep stosb\n"
	"mov %rcx,8(%rbx)\n mov %rdi,16(%rbx)\n mov $100,%ecx\n lea 0x1000(%rbx),%rdi\n"
	"rep movsq\n mov %rcx,24(%rbx)\n" EXIT0);

static struct simvm *device_vm(const uint8_t *code, size_t size)
{
	struct simvm *s = sv_create(1, 1, 0);
	struct vm_device d = { .name = "box",
			       .gpa = GH_DEVICE_GPA,
			       .size = 0x1000,
			       .read = device_read,
			       .write = device_write };
	struct guard_cpu cpu;
	struct error err;

	memset(&seen, 0, sizeof(seen));
	assert_true(vm_add_device(s->vm, &d, &err));
	sv_code(s, 0, code, size);
	sv_start(s, 0, 0, false);
	vm_get_cpu(s->vm, 0, &cpu);
	cpu.gpr[GUARD_RSI] = GH_DIRECT_MAP + GH_DEVICE_GPA;
	vm_set_cpu(s->vm, 0, &cpu);
	sv_run(s);
	assert_int_equal(s->exit.reason, VM_EXIT_GUEST);
	assert_int_equal(s->exit.status, 0);
	return s;
}

static void test_device(void **state)
{
	struct simvm *s = device_vm(use_device, SNIPPET_SIZE(use_device));

	(void)state;
	assert_int_equal(*sv_data(s, 0), 0x55667788);
	assert_int_equal(*sv_data(s, 1), 0x5566);
	assert_int_equal(*sv_data(s, 2), 0x1122334455667788ull);
	assert_int_equal(seen.reads, 3);
	assert_int_equal(seen.writes, 2);
	assert_int_equal(seen.offset, 0x20);
	assert_int_equal(seen.width, 4);
	assert_int_equal(seen.value, 7);
	sv_destroy(s);
	s = device_vm(device_string, SNIPPET_SIZE(device_string));
	assert_int_equal(seen.writes, 300);
	assert_int_equal(*sv_data(s, 1), 0);
	assert_int_equal(*sv_data(s, 2), GH_DIRECT_MAP + GH_DEVICE_GPA + 300);
	assert_int_equal(seen.reads, 100);
	assert_int_equal(*sv_data(s, 3), 0);
	assert_int_equal(*sv_data(s, 0x200 + 99), 0x1122334455667788ull);
	sv_destroy(s);
}

SNIPPET(ports,
	"mov $0x1234,%edx\n in (%dx),%eax\n mov %rax,(%rdi)\n out %eax,(%dx)\n out %ax,(%dx)\n"
	"mov %rdi,%rbx\n lea 8(%rdi),%rdi\n mov $3,%ecx\n rep insb\n mov %rbx,%rsi\n"
	"mov $3,%ecx\n rep outsb\n mov %rcx,16(%rbx)\n" EXIT0);
SNIPPET(msrs, "mov $0xc0000082,%ecx\n mov $0x5678,%eax\n xor %edx,%edx\n wrmsr\n"
	      "xor %eax,%eax\n rdmsr\n mov %rax,(%rdi)\n"
	      "mov $0xc0000101,%ecx\n mov $0x9000,%eax\n wrmsr\n rdmsr\n mov %rax,8(%rdi)\n"
	      "mov $0xc0000080,%ecx\n rdmsr\n or $1,%eax\n wrmsr\n rdmsr\n mov %rax,16(%rdi)\n"
	      "or $0x1000,%eax\n wrmsr");

static void test_ports_and_msrs(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);
	struct engine_sys sys;

	(void)state;
	SV_RUN(s, ports);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 0), 0xffffffff);
	assert_int_equal(*sv_data(s, 1), 0xffffff);
	assert_int_equal(*sv_data(s, 2), 0);
	sv_destroy(s);
	s = sv_create(1, 1, 0);
	SV_RUN(s, msrs);
	assert_int_equal(*sv_data(s, 0), 0x5678);
	assert_int_equal(*sv_data(s, 1), 0x9000);
	assert_int_equal(*sv_data(s, 2), 0xd01);
	/* EFER.SVME is not there */
	sv_expect_trap(s, 13, 0, SNIPPET_SIZE(msrs) - 2);
	s->vm->ops->get_sys(s->vm->engine, 0, &sys);
	assert_int_equal(sys.lstar, 0x5678);
	assert_int_equal(sys.gs.base, 0x9000);
	sv_destroy(s);
}

/* What some hosts' KVM cannot execute and the engine does. */
SNIPPET(by_hand, "mov $0xff00ff0f,%eax\n popcnt %rax,%rbx\n mov %rbx,(%rdi)\n mov %rax,8(%rdi)\n"
		 "popcnt 8(%rdi),%ecx\n mov %rcx,16(%rdi)\n xor %ecx,%ecx\n popcnt %rcx,%rdx\n"
		 "setz 24(%rdi)\n mov %rdi,%rax\n xor %ecx,%ecx\n xor %edx,%edx\n monitor\n"
		 "xor %eax,%eax\n mwait\n" EXIT0);

static void test_by_hand(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);

	(void)state;
	SV_RUN(s, by_hand);
	if (s->exit.reason != VM_EXIT_GUEST)
		print_error("ended with %s\n", s->exit.message);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 0), 20);
	assert_int_equal(*sv_data(s, 2), 20);
	assert_int_equal(*sv_data(s, 3), 1);
	sv_destroy(s);
}

/* ---- ends ---- */

static void test_budget(void **state)
{
	struct simvm *s = sv_create(1, 1, 50000);

	(void)state;
	SV_RUN(s, spins);
	assert_int_equal(s->exit.reason, VM_EXIT_BUDGET);
	assert_true(vm_time(s->vm) >= 50000);
	sv_destroy(s);
}

static void test_interrupted(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);

	(void)state;
	SV_CODE_AT(s, 0, spins);
	sv_start(s, 0, 0, false);
	kt_run_for(s, 30);
	assert_int_equal(s->exit.reason, VM_EXIT_INTERRUPTED);
	assert_int_equal(s->exit.rip, SV_CODE);
	/* and goes on from there */
	kt_run_for(s, 30);
	assert_int_equal(s->exit.reason, VM_EXIT_INTERRUPTED);
	/* asked for while none runs: at once at the next */
	vm_interrupt(s->vm);
	sv_run(s);
	assert_int_equal(s->exit.reason, VM_EXIT_INTERRUPTED);
	sv_destroy(s);
}

static void test_nothing_stays(void **state)
{
	unsigned before, i;

	(void)state;
	before = kt_descriptors();
	for (i = 0; i < 50; i++) {
		struct simvm *s = sv_create(1 + i % 3, 1, 0);

		if (i % 5 == 0)
			SV_RUN(s, ec_sums);
		sv_destroy(s);
	}
	assert_int_equal(kt_descriptors(), before);
}

static void test_refuses_x(void **state)
{
	struct vm_config cfg = { .engine = &kvm_engine, .vcpus = 1, .x_kind = GM_X_VMMCALL };
	unsigned before = kt_descriptors();
	struct error err = { "" };

	(void)state;
	assert_null(vm_create(&cfg, &err));
	assert_non_null(strstr(err.text, "--x out"));
	assert_int_equal(kt_descriptors(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KT_TEST(ec_runs),	   KT_TEST(test_registers),
		KT_TEST(test_exact),	   KT_TEST(test_ss_shadow),
		KT_TEST(test_masked),	   KT_TEST(ec_nmi_late),
		KT_TEST(test_timer),	   KT_TEST(test_step_over_x),
		KT_TEST(ec_gate_types),	   KT_TEST(ec_bad_gates),
		KT_TEST(ec_double_fault),  KT_TEST(test_triple),
		KT_TEST(ec_exceptions),	   KT_TEST(test_undefined),
		KT_TEST(test_vcpus),	   KT_TEST(ec_sleeps),
		KT_TEST(test_device),	   KT_TEST(test_ports_and_msrs),
		KT_TEST(test_by_hand),	   KT_TEST(test_budget),
		KT_TEST(test_interrupted), KT_TEST(test_nothing_stays),
		KT_TEST(test_refuses_x),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
