/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guests that mean harm, on the KVM engine: random code, triple faults, leaving long mode, absurd
 * tables and stacks, storms of exits. Each run must end by itself, by its budget or by the clock,
 * with a message; the next VM must run. Random code may end in any way but a hang or a crash.
 *
 * KVM_TEST_SECONDS (default 4): how long random code runs.
 */
#include <time.h>

#include "tests/support/kvmtest.h"

#define RUN_MS 300u /* no run here is let go on for longer */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Runs for RUN_MS at most; it may take longer only by a slice. */
static void run_bounded(struct simvm *s)
{
	double start = now();

	kt_run_for(s, RUN_MS);
	if (now() - start > 10)
		fail_msg("a run of %u ms took %.1f s: %s", RUN_MS, now() - start, s->exit.message);
}

static void ends(const char *what, const uint8_t *code, size_t size, enum vm_exit_reason reason)
{
	struct simvm *s = sv_create(1, 1, 0);

	sv_code(s, 0, code, size);
	sv_start(s, 0, 0, true);
	run_bounded(s);
	if (s->exit.reason != reason)
		print_error("%s: reason %d: %s (vector %u at 0x%llx)\n", what, s->exit.reason,
			    s->exit.message, (unsigned)sv_trap(s).vector,
			    (unsigned long long)sv_trap(s).rip);
	assert_int_equal(s->exit.reason, reason);
	assert_true(reason == VM_EXIT_GUEST || strlen(s->exit.message) > 10);
	sv_destroy(s);
}

#define ENDS(name, reason) ends(#name, name, SNIPPET_SIZE(name), reason)

SNIPPET(spin, "1: jmp 1b");
SNIPPET(spin_off, "cli\n 1: jmp 1b");
SNIPPET(no_idt, "push $0\n push $0\n lidt (%rsp)\n ud2");
SNIPPET(no_idt_int, "push $0\n push $0\n lidt (%rsp)\n mov $0x50,%al\n out %al,$0xf6\n nop");
SNIPPET(halt_off, "cli\n hlt");
SNIPPET(mmio_storm, "mov $0xffff8880cff00000,%rax\n 1: mov %rax,(%rax)\n mov (%rax),%rbx\n jmp 1b");
SNIPPET(rep_storm,
	"mov $0xffff8880cff00000,%rdi\n 1: mov $512,%ecx\n push %rdi\n rep stosq\n pop %rdi\n jmp 1b");
SNIPPET(port_storm, "1: out %al,$0x80\n in $0x80,%al\n jmp 1b");
SNIPPET(ins_storm,
	"mov $0x80,%edx\n cld\n 1: mov %rdi,%rbx\n mov $100000000,%rcx\n lea 0x1000(%rbx),%rdi\n"
	"std\n rep insb\n mov %rbx,%rdi\n jmp 1b");
SNIPPET(self_irq, "1: mov $0x50,%al\n out %al,$0xf6\n jmp 1b");
SNIPPET(timer_storm, "mov $1,%eax\n out %eax,$0xf9\n sti\n 1: jmp 1b");
SNIPPET(cr3_away, "xor %eax,%eax\n mov %rax,%cr3\n nop\n hlt");
SNIPPET(cr3_odd, "mov $0xfffffff000,%rax\n mov %rax,%cr3\n nop\n hlt");
SNIPPET(x_storm, "1: out %al,$0xb6\n nop\n jmp 1b");

/* They end by their own doing, or by the clock: nothing else may come of them. */
static void test_ends(void **state)
{
	(void)state;
	ENDS(spin, VM_EXIT_INTERRUPTED);
	ENDS(spin_off, VM_EXIT_INTERRUPTED);
	ENDS(no_idt, VM_EXIT_TRIPLE_FAULT);
	ENDS(no_idt_int, VM_EXIT_TRIPLE_FAULT);
	ENDS(halt_off, VM_EXIT_HALTED);
	ENDS(mmio_storm, VM_EXIT_INTERRUPTED);
	ENDS(rep_storm, VM_EXIT_INTERRUPTED);
	ENDS(port_storm, VM_EXIT_INTERRUPTED);
	ENDS(x_storm, VM_EXIT_INTERRUPTED);
	ENDS(cr3_away, VM_EXIT_TRIPLE_FAULT);
}

/* How they end is the host's matter. */
SNIPPET(vmcall_insn, "1: vmcall\n jmp 1b");
SNIPPET(vmmcall_insn, "1: vmmcall\n jmp 1b");
SNIPPET(paging_off, "mov %cr0,%rax\n btr $31,%rax\n mov %rax,%cr0\n nop\n hlt");
SNIPPET(protection_off, "mov %cr0,%rax\n and $0x7ffffffe,%eax\n mov %rax,%cr0\n nop\n hlt");
SNIPPET(pae_off, "mov %cr4,%rax\n btr $5,%rax\n mov %rax,%cr4\n nop\n hlt");
SNIPPET(la57, "mov %cr4,%rax\n bts $12,%rax\n mov %rax,%cr4\n nop\n hlt");
SNIPPET(compat, "pushq $0x10\n pushq $0x1000\n pushq $2\n pushq $0x18\n pushq $0x1000\n iretq");
SNIPPET(to_32, "sub $16,%rsp\n movl $0x1000,(%rsp)\n movl $0x18,4(%rsp)\n lretl");
SNIPPET(task, "mov $0x28,%eax\n ltr %ax\n lldt %ax\n str %eax\n hlt");
SNIPPET(stack_away,
	"mov $0x1234567812345678,%rsp\n push %rax\n mov $0x50,%al\n out %al,$0xf6\n nop");
SNIPPET(stack_device,
	"mov $0xffff8880cff00800,%rsp\n sti\n mov $0x50,%al\n out %al,$0xf6\n call . + 5\n ud2");
SNIPPET(gdt_device,
	"mov $0xffff8880cff00000,%rax\n sub $16,%rsp\n movw $0xffff,6(%rsp)\n mov %rax,8(%rsp)\n"
	"lgdt 6(%rsp)\n mov $0x50,%al\n out %al,$0xf6\n mov %eax,%ss\n hlt");
SNIPPET(idt_device,
	"mov $0xffff8880cff00000,%rax\n sub $16,%rsp\n movw $0xffff,6(%rsp)\n mov %rax,8(%rsp)\n"
	"lidt 6(%rsp)\n sti\n mov $0x50,%al\n out %al,$0xf6\n ud2");
SNIPPET(code_device, "mov $0xffff8880cff00000,%rax\n jmp *%rax");
/* Not where other tests run: QEMU 7.2, emulating an SVM host, keeps it for later VMs. */
SNIPPET(breakpoints, "mov $0xffffffff90003ff0,%rax\n movw $0xfeeb,(%rax)\n mov %rax,%dr0\n"
		     "mov $0x403,%ebx\n mov %rbx,%dr7\n jmp *%rax");
SNIPPET(trap_flag,
	"pushfq\n orq $0x100,(%rsp)\n popfq\n 1: out %al,$0xb6\n nop\n out %al,$0x80\n jmp 1b");
SNIPPET(smi, "out %al,$0xb2\n mov $0x1b,%ecx\n rdmsr\n btr $11,%eax\n wrmsr\n rsm\n hlt");
SNIPPET(x87, "fninit\n fld1\n vxorps %ymm0,%ymm0,%ymm0\n xgetbv\n xsetbv\n hlt");
SNIPPET(virtual_machine,
	"mov $0xc0000080,%ecx\n rdmsr\n bts $12,%eax\n wrmsr\n vmrun\n vmxon (%rdi)\n hlt");

#define ANY(name) any(#name, name, SNIPPET_SIZE(name))

static void any(const char *what, const uint8_t *code, size_t size)
{
	struct simvm *s = sv_create(1, 1, 0);
	struct vm_exit *e = &s->exit;

	sv_code(s, 0, code, size);
	sv_start(s, 0, 0, true);
	run_bounded(s);
	if (e->reason != VM_EXIT_GUEST && strlen(e->message) < 10)
		fail_msg("%s: reason %d without a message", what, e->reason);
	sv_destroy(s);
}

static void test_survives(void **state)
{
	(void)state;
	ANY(vmcall_insn);
	ANY(vmmcall_insn);
	ANY(paging_off);
	ANY(protection_off);
	ANY(pae_off);
	ANY(la57);
	ANY(compat);
	ANY(to_32);
	ANY(task);
	ANY(stack_away);
	ANY(stack_device);
	ANY(gdt_device);
	ANY(idt_device);
	ANY(code_device);
	ANY(breakpoints);
	ANY(trap_flag);
	ANY(smi);
	ANY(x87);
	ANY(virtual_machine);
	ANY(self_irq);
	ANY(timer_storm);
	ANY(cr3_odd);
	ANY(ins_storm);
	ENDS(halt_off, VM_EXIT_HALTED); /* and the next VM runs */
}

/* xorshift64*: the same programs on every host. */
static uint64_t draw(uint64_t *rng)
{
	*rng ^= *rng >> 12;
	*rng ^= *rng << 25;
	*rng ^= *rng >> 27;
	return *rng * 0x2545f4914f6cdd1dull;
}

static void test_random_code(void **state)
{
	const char *text = getenv("KVM_TEST_SECONDS");
	double end = now() + (text ? strtod(text, NULL) : 4);
	unsigned n, reasons[VM_EXIT_HOST + 1] = { 0 };
	uint64_t rng = 0x9e3779b97f4a7c15ull;
	unsigned before = kt_descriptors();

	(void)state;
	for (n = 0; now() < end; n++) {
		struct simvm *s = sv_create(1 + n % 2, 1, 20000);
		uint8_t code[256];
		unsigned v, i;

		for (v = 0; v < 1 + n % 2; v++) {
			for (i = 0; i < sizeof(code); i++)
				code[i] = (uint8_t)(draw(&rng) >> 32);
			sv_code(s, v * 0x1000, code, sizeof(code));
			sv_start(s, v, v * 0x1000, draw(&rng) >> 63);
		}
		run_bounded(s);
		assert_in_range(s->exit.reason, VM_EXIT_GUEST, VM_EXIT_HOST);
		reasons[s->exit.reason]++;
		sv_destroy(s);
	}
	printf("# %u random programs: %u exits, %u halted, %u triple faults, %u ended by the engine, "
	       "%u by their budget, %u by the clock, %u host calls\n",
	       n, reasons[VM_EXIT_GUEST], reasons[VM_EXIT_HALTED], reasons[VM_EXIT_TRIPLE_FAULT],
	       reasons[VM_EXIT_ENGINE], reasons[VM_EXIT_BUDGET], reasons[VM_EXIT_INTERRUPTED],
	       reasons[VM_EXIT_HOST]);
	assert_true(n > 10);
	assert_int_equal(kt_descriptors(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KT_TEST(test_ends),
		KT_TEST(test_survives),
		KT_TEST(test_random_code),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
