/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The Unicorn engine: interrupts, privilege levels, several vCPUs, time, ends, what a view shows.
 * Everything runs twice, in fast and in precise mode (sim/accel.c).
 */
#include "tests/support/engine_cases.h"

/* ---- interrupts ---- */

SNIPPET(raise_here, "mov $0x50,%al\n out %al,$0xf6\n nop\n" EXIT0);

static void test_raise(void **state)
{
	struct simvm *s = ec_counting_vm(0x50);

	(void)state;
	SV_CODE_AT(s, 0, raise_here);
	sv_start(s, 0, 0, true);
	sv_run(s);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 15), 1);
	assert_int_equal(*sv_data(s, 14), SV_CODE + 4); /* at the very next instruction */
	sv_destroy(s);
}

/* Held back by IF; after STI one more instruction runs. */
SNIPPET(raise_later, "mov $0x50,%al\n out %al,$0xf6\n mov $100,%ecx\n 1: loop 1b\n"
		     "mov 120(%rdi),%rax\n mov %rax,(%rdi)\n sti\n incq 8(%rdi)\n"
		     "2: mov 120(%rdi),%rax\n test %rax,%rax\n je 2b\n" EXIT0);

static void test_masked(void **state)
{
	struct simvm *s = ec_counting_vm(0x50);

	(void)state;
	SV_CODE_AT(s, 0, raise_later);
	sv_start(s, 0, 0, false);
	sv_run(s);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 0), 0);
	assert_int_equal(*sv_data(s, 1), 1);
	assert_int_equal(*sv_data(s, 15), 1);
	/* mov al, out, mov ecx, loop, mov, mov, sti = 2+2+5+2+4+3+1; incq is 4 more */
	assert_int_equal(*sv_data(s, 14), SV_CODE + 23);
	sv_destroy(s);
}

SNIPPET(sti_hlt, "mov $0x50,%al\n out %al,$0xf6\n sti\n hlt\n" EXIT0);

static void test_sti_hlt(void **state)
{
	struct simvm *s = ec_counting_vm(0x50);

	(void)state;
	SV_CODE_AT(s, 0, sti_hlt);
	sv_start(s, 0, 0, false);
	sv_run(s);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 15), 1);
	assert_int_equal(*sv_data(s, 14), SV_CODE + 6); /* behind HLT */
	sv_destroy(s);
}

static void test_timer(void **state)
{
	(void)state;
	assert_in_range(ec_timer(200, 10), 10, 2000);
}

/* Single-step: one #DB an instruction, emulated ones included. */
SNIPPET(step_code, "pushfq\n orq $0x100,(%rsp)\n popfq\n nop\n cpuid\n inc %ebx\n pushfq\n"
		   "andq $~0x100,(%rsp)\n popfq\n nop\n" EXIT0);

static void test_single_step(void **state)
{
	struct simvm *s = ec_counting_vm(1);

	(void)state;
	SV_RUN(s, step_code);
	assert_int_equal(s->exit.status, 0);
	assert_in_range(*sv_data(s, 15), 5, 7);
	sv_destroy(s);
}

/* ---- privilege levels ---- */

/* To CPL 3 at SV_CODE + 0x1000 with the stack at the end of the second data page. */
SNIPPET(to_user, "pushq $0x1b\n lea 0x2000(%rdi),%rax\n push %rax\n pushq $0x202\n pushq $0x23\n"
		 "mov $0xffffffff90001000,%rax\n push %rax\n iretq");
SNIPPET(user_reads_kernel, "mov 0x3000(%rdi),%rax");
SNIPPET(user_halts, "nop\n hlt");
SNIPPET(user_reads_cr, "nop\n mov %cr3,%rax");
SNIPPET(user_int, "incq (%rdi)\n push %rdi\n int $0x80");
SNIPPET(user_int_closed, "nop\n int $0x81");
SNIPPET(user_syscall, "incq (%rdi)\n syscall\n incq 8(%rdi)\n mov $1,%ebx\n int $0x80");
SNIPPET(sys_setup, "mov $0xc0000080,%ecx\n rdmsr\n or $1,%eax\n wrmsr\n"
		   "mov $0xc0000081,%ecx\n xor %eax,%eax\n mov $0x00100008,%edx\n wrmsr\n"
		   "mov $0xc0000082,%ecx\n mov $0x90002000,%eax\n mov $0xffffffff,%edx\n wrmsr\n"
		   "mov $0xc0000084,%ecx\n mov $0x200,%eax\n xor %edx,%edx\n wrmsr\n"
		   "pushq $0x1b\n lea 0x2000(%rdi),%rax\n push %rax\n pushq $0x202\n pushq $0x23\n"
		   "mov $0xffffffff90001000,%rax\n push %rax\n iretq");
SNIPPET(sys_entry, "incq 16(%rdi)\n mov %cs,%rax\n mov %rax,24(%rdi)\n sysretq");

static struct simvm *user_run(const uint8_t *kernel, size_t ksize, const uint8_t *user, size_t size)
{
	struct simvm *s = sv_create(1, 1, 0);

	sv_code(s, 0, kernel, ksize);
	sv_code(s, 0x1000, user, size);
	SV_CODE_AT(s, 0x2000, sys_entry);
	sv_user(s, SV_CODE + 0x1000);
	sv_user(s, SV_DATA);
	sv_user(s, SV_DATA + 0x1000);
	sv_start(s, 0, 0, false);
	{
		/* gate 0x80 may be used by CPL 3 */
		uint32_t *g = (uint32_t *)(void *)(s->vm->ram + s->tables_gpa + 0x80 * 16);

		g[1] |= 3u << 13;
	}
	sv_run(s);
	return s;
}

#define USER(kernel, user) user_run(kernel, SNIPPET_SIZE(kernel), user, SNIPPET_SIZE(user))

static void test_user(void **state)
{
	struct sv_trap t;
	struct simvm *s = USER(to_user, user_reads_kernel);

	(void)state;
	sv_expect_trap(s, 14, 5, 0x1000);
	t = sv_trap(s);
	assert_int_equal(t.cs, SV_USER_CODE);
	assert_int_equal(t.ss, SV_USER_DATA);
	assert_int_equal(t.rsp, SV_DATA + 0x2000);
	/* on RSP0 */
	assert_int_equal(t.handler_rsp & ~0xfffull, SV_DATA + 0xd000);
	sv_destroy(s);
	s = USER(to_user, user_halts);
	sv_expect_trap(s, 13, 0, 0x1001);
	sv_destroy(s);
	s = USER(to_user, user_reads_cr);
	sv_expect_trap(s, 13, 0, 0x1001);
	sv_destroy(s);
	s = USER(to_user, user_int);
	sv_expect_trap(s, 0x80, 0, 0x1000 + 6);
	assert_int_equal(*sv_data(s, 0), 1);
	sv_destroy(s);
	s = USER(to_user, user_int_closed);
	sv_expect_trap(s, 13, 0x81 * 8 + 2, 0x1001);
	sv_destroy(s);
}

static void test_syscall(void **state)
{
	struct simvm *s = USER(sys_setup, user_syscall);

	(void)state;
	sv_expect_trap(s, 0x80, 0, 0x1000 + 3 + 2 + 4 + 5 + 2);
	assert_int_equal(*sv_data(s, 0), 1);
	assert_int_equal(*sv_data(s, 1), 1);
	assert_int_equal(*sv_data(s, 2), 1);
	assert_int_equal(*sv_data(s, 3), 8);
	sv_destroy(s);
}

/* The kernel jumps to a user page: allowed without SMEP, refused with it. */
SNIPPET(user_nop, "mov $3,%eax\n out %eax,$0xf4");
SNIPPET(call_user, "mov $0xffffffff90001000,%rax\n jmp *%rax");
SNIPPET(call_user_smep, "mov %cr4,%rax\n bts $20,%rax\n mov %rax,%cr4\n"
			"mov $0xffffffff90001000,%rax\n jmp *%rax");

static void test_smep(void **state)
{
	struct simvm *s = USER(call_user, user_nop);

	(void)state;
	assert_int_equal(s->exit.status, 3);
	sv_destroy(s);
	s = USER(call_user_smep, user_nop);
	sv_expect_trap(s, 14, 0x11, 0x1000);
	sv_destroy(s);
}

/* ---- registers that no hook sees ---- */

SNIPPET(machine,
	"mov $0xc0000101,%ecx\n mov $0x1000,%eax\n xor %edx,%edx\n wrmsr\n"
	"mov $0xc0000102,%ecx\n mov $0x2000,%eax\n wrmsr\n swapgs\n"
	"mov $0xc0000101,%ecx\n rdmsr\n mov %rax,(%rdi)\n"
	"xor %eax,%eax\n cpuid\n mov %rbx,8(%rdi)\n mov %rcx,16(%rdi)\n mov %rdx,24(%rdi)\n"
	"rdtsc\n shl $32,%rdx\n or %rdx,%rax\n mov %rax,32(%rdi)\n"
	"rdtscp\n shl $32,%rdx\n or %rdx,%rax\n mov %rax,40(%rdi)\n"
	"mov $0x401,%eax\n mov %rax,%dr7\n mov $0x1234,%eax\n mov %rax,%dr0\n"
	"mov %dr0,%rax\n mov %rax,48(%rdi)\n mov %cr0,%rax\n mov %rax,56(%rdi)\n"
	"smsw %eax\n mov %rax,64(%rdi)\n"
	"monitor\n mwait\n" EXIT0);

static void test_machine_registers(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);

	(void)state;
	SV_RUN(s, machine);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 0), 0x2000);
	assert_memory_equal(sv_data(s, 1), "Guar", 4);
	assert_memory_equal(sv_data(s, 3), "dhou", 4);
	assert_memory_equal(sv_data(s, 2), "seVM", 4);
	assert_true(*sv_data(s, 4) > 0 && *sv_data(s, 5) > *sv_data(s, 4));
	assert_int_equal(*sv_data(s, 6), 0x1234);
	assert_int_equal(*sv_data(s, 7), 0x80010033);
	assert_int_equal(*sv_data(s, 8), 0x80010033);
	sv_destroy(s);
}

/* ---- several vCPUs ---- */

/* Each takes numbers from a shared counter and signs for them in an array. */
SNIPPET(racer,
	"mov $200,%ecx\n 1: mov $1,%eax\n lock xadd %rax,(%rdi)\n mov %bl,0x1000(%rdi,%rax)\n"
	"mov %rax,%rdx\n 2: dec %rdx\n jns 2b\n loop 1b\n lock incq 8(%rdi)\n"
	"3: cmpq $3,8(%rdi)\n jne 3b\n mov $0,%eax\n out %eax,$0xf4");

static void race(uint64_t seed, char order[600])
{
	struct simvm *s = sv_create(3, seed, 0);
	struct guard_cpu cpu;
	unsigned v;

	SV_CODE_AT(s, 0, racer);
	for (v = 0; v < 3; v++) {
		sv_start(s, v, 0, false);
		vm_get_cpu(s->vm, v, &cpu);
		cpu.gpr[GUARD_RBX] = 'a' + v;
		vm_set_cpu(s->vm, v, &cpu);
	}
	sv_run(s);
	assert_int_equal(s->exit.reason, VM_EXIT_GUEST);
	assert_int_equal(*sv_data(s, 0), 600);
	memcpy(order, sv_data(s, 0x200), 600);
	sv_destroy(s);
}

static void test_schedule(void **state)
{
	char a[600], b[600], c[600];

	(void)state;
	race(7, a);
	race(7, b);
	race(8, c);
	assert_memory_equal(a, b, 600);
	assert_memory_not_equal(a, c, 600);
	/* fair: nobody ran alone */
	assert_true(memchr(a, 'a', 600) && memchr(a, 'b', 600) && memchr(a, 'c', 600));
}

/* ---- ends ---- */

SNIPPET(forever, "1: jmp 1b");
SNIPPET(rep_forever, "mov %rdi,%rsi\n 1: mov $256,%ecx\n mov %rsi,%rdi\n rep stosb\n jmp 1b");
SNIPPET(sleeps, "nop\n hlt");
SNIPPET(storm, "nop\n ud2");
SNIPPET(ud_again, "ud2");

static bool interrupt_it(void *ctx, struct vm *vm, unsigned vcpu)
{
	(void)ctx;
	(void)vcpu;
	vm_interrupt(vm);
	return true;
}

SNIPPET(host_then_spin, "out %al,$0xf8\n 1: jmp 1b");

static void test_ends(void **state)
{
	struct simvm *s = sv_create(2, 1, 1000000);

	(void)state;
	SV_RUN(s, forever);
	assert_int_equal(s->exit.reason, VM_EXIT_BUDGET);
	assert_int_equal(s->exit.rip, SV_CODE);
	assert_in_range(s->vm->ops->time(s->vm->engine), 1000000, 1100000);
	sv_run(s); /* and stays used up */
	assert_int_equal(s->exit.reason, VM_EXIT_BUDGET);
	sv_destroy(s);
	s = sv_create(1, 1, 1000000);
	SV_RUN(s, rep_forever);
	assert_int_equal(s->exit.reason, VM_EXIT_BUDGET);
	sv_destroy(s);
	s = sv_create(1, 1, 0);
	SV_RUN(s, sleeps);
	assert_int_equal(s->exit.reason, VM_EXIT_HALTED);
	assert_int_equal(s->exit.rip, SV_CODE + 2);
	sv_destroy(s);
	/* A storm of exceptions on a stack that never ends costs budget, too. */
	s = sv_create(1, 1, 100000);
	SV_CODE_AT(s, 0x800, ud_again);
	SV_CODE_AT(s, 0, storm);
	sv_gate(s, 6, 0x800, 1, 0xe, 0);
	sv_start(s, 0, 0, false);
	sv_run(s);
	assert_int_equal(s->exit.reason, VM_EXIT_BUDGET);
	sv_destroy(s);
	s = sv_create(1, 1, 0);
	vm_on_host_port(s->vm, interrupt_it, NULL);
	SV_RUN(s, host_then_spin);
	assert_int_equal(s->exit.reason, VM_EXIT_INTERRUPTED);
	sv_destroy(s);
}

/* ---- what a view shows ---- */

static struct {
	uint64_t reads, writes, offset, value;
	unsigned width;
} seen;

static uint64_t device_read(void *ctx, uint64_t offset, unsigned width)
{
	(void)ctx;
	seen.reads++;
	seen.offset = offset;
	seen.width = width;
	return 0x1122334455667788ull;
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
		    "mov %rax,8(%rdi)\n movb $0x5a,0x21(%rsi)\n movl $7,0x20(%rsi)\n" EXIT0);

static void test_device(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);
	struct vm_device d = { .name = "box",
			       .gpa = GH_DEVICE_GPA,
			       .size = 0x1000,
			       .read = device_read,
			       .write = device_write };
	struct guard_cpu cpu;
	struct error err;

	(void)state;
	memset(&seen, 0, sizeof(seen));
	assert_true(vm_add_device(s->vm, &d, &err));
	SV_CODE_AT(s, 0, use_device);
	sv_start(s, 0, 0, false);
	vm_get_cpu(s->vm, 0, &cpu);
	cpu.gpr[GUARD_RSI] = GH_DIRECT_MAP + GH_DEVICE_GPA;
	vm_set_cpu(s->vm, 0, &cpu);
	sv_run(s);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 0), 0x55667788);
	assert_int_equal(*sv_data(s, 1), 0x7788);
	assert_int_equal(seen.reads, 2);
	assert_int_equal(seen.writes, 2);
	assert_int_equal(seen.offset, 0x20);
	assert_int_equal(seen.width, 4);
	assert_int_equal(seen.value, 7);
	sv_destroy(s);
}

/* A hidden page at SV_DATA + 0x2000: reads zero, writes vanish, one TOUCH an instruction. */
SNIPPET(touch_hidden, "mov 0x2010(%rdi),%rax\n mov %rax,(%rdi)\n movq $5,0x2010(%rdi)\n"
		      "lea 0x2000(%rdi),%rsi\n mov %rdi,%rbx\n lea 0x1000(%rdi),%rdi\n"
		      "mov $64,%ecx\n rep movsb\n mov %rbx,%rdi\n"
		      "movups 0x2020(%rdi),%xmm0\n lock incq 0x2030(%rdi)\n" EXIT0);

static unsigned touches(const struct vm *vm)
{
	unsigned n = 0;
	size_t i;

	for (i = 0; i < vm_log_count(vm); i++)
		n += vm_log_line(vm, i)->line.event == GUARD_TOUCH;
	return n;
}

static void test_hidden(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);
	static uint8_t copy[SIM_PAGE];
	struct vm_module m;

	(void)state;
	memset(&m, 0, sizeof(m));
	memset(copy, 0x77, sizeof(copy));
	m.copy = copy;
	m.pages = 1;
	m.index = GUARD_VIEW_U;
	s->vm->module[0] = &m;
	memset(sv_data(s, 0x400), 0xaa, SIM_PAGE);
	memset(sv_data(s, 0x200), 0xbb, 64);
	vm_frame_set(s->vm, s->data_gpa + 0x2000, GUARD_ROLE_PRIVATE, 0, 0, 0);
	SV_RUN(s, touch_hidden);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 0), 0);
	assert_int_equal(*sv_data(s, 0x200), 0);
	assert_int_equal(*sv_data(s, 0x402), 0xaaaaaaaaaaaaaaaaull); /* the frame beneath */
	assert_int_equal(copy[0x10], 0x77);
	assert_int_equal(touches(s->vm), 5);
	vm_frame_set(s->vm, s->data_gpa + 0x2000, GUARD_ROLE_NONE, 0, 0, 0);
	s->vm->module[0] = NULL;
	sv_destroy(s);
}

/* The IST points into a hidden page: the frame is lost, and nothing of it shows. */
static void test_hidden_stack(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);
	static uint8_t copy[SIM_PAGE];
	struct vm_module m;

	(void)state;
	memset(&m, 0, sizeof(m));
	memset(copy, 0x77, sizeof(copy));
	m.copy = copy;
	m.pages = 1;
	m.index = GUARD_VIEW_U;
	s->vm->module[0] = &m;
	vm_frame_set(s->vm, s->data_gpa + 0xe000, GUARD_ROLE_PRIVATE, 0, 0, 0);
	SV_CODE_AT(s, 0, storm);
	sv_start(s, 0, 0, false);
	sv_ist(s, 6, 1);
	sv_run(s);
	assert_int_equal(s->exit.status, SV_TRAPPED);
	assert_int_equal(sv_trap(s).rip, 0);
	assert_true(touches(s->vm) > 0);
	assert_int_equal(copy[0xfd8], 0x77);
	vm_frame_set(s->vm, s->data_gpa + 0xe000, GUARD_ROLE_NONE, 0, 0, 0);
	s->vm->module[0] = NULL;
	sv_destroy(s);
}

/* MSRs and ports that the engine serves itself, bound to a module that does not run. */
SNIPPET(msr_bound, "movl $0,(%rdi)\n mov 0x100(%rdi),%rcx\n rdmsr\n mov %rax,8(%rdi)\n"
		   "mov $0x1000,%eax\n xor %edx,%edx\n wrmsr\n" EXIT0);
SNIPPET(skip_and_count, "addq $2,8(%rsp)\n add $8,%rsp\n incq (%rdi)\n iretq");
SNIPPET(port_behind, "mov $1,%eax\n mov $0xf9,%edx\n outl %eax,(%dx)\n outb %al,(%dx)\n"
		     "mov $0x300,%edx\n insb\n mov $3,%ecx\n rep outsb\n"
		     "mov $0x2ff,%edx\n in (%dx),%ax\n inb (%dx),%al\n" EXIT0);

struct bound_module {
	struct vm_module m;
	struct {
		struct gm_header h;
		struct gm_privilege p;
	} file;
};

static void bind_range(struct simvm *s, struct bound_module *b, uint32_t kind, uint32_t first,
		       uint32_t last)
{
	memset(b, 0, sizeof(*b));
	b->file.h.privileges.offset = sizeof(b->file.h);
	b->file.h.privileges.count = 1;
	b->file.p.kind = kind;
	b->file.p.first = first;
	b->file.p.last = last;
	b->m.manifest.data = (uint8_t *)&b->file;
	b->m.manifest.size = sizeof(b->file);
	b->m.binding.bound = 1;
	s->vm->module[0] = &b->m;
}

static void bound_msr(uint32_t msr, bool raised)
{
	struct simvm *s = sv_create(1, 1, 0);
	struct engine_sys before, after;
	struct bound_module b;
	struct guard_cpu cpu;

	bind_range(s, &b, GM_PRIV_MSR, msr, msr);
	if (raised) {
		s->vm->vcpu[0].view = 0;
		s->vm->vcpu[0].raised = 1;
	}
	SV_CODE_AT(s, 0x800, skip_and_count);
	sv_gate(s, 13, 0x800, 0, 0xe, 0);
	SV_CODE_AT(s, 0, msr_bound);
	*sv_data(s, 32) = msr;
	sv_start(s, 0, 0, false);
	s->vm->ops->get_sys(s->vm->engine, 0, &before);
	sv_run(s);
	s->vm->ops->get_sys(s->vm->engine, 0, &after);
	vm_get_cpu(s->vm, 0, &cpu);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(*sv_data(s, 0), raised ? 0 : 2); /* RDMSR and WRMSR: #GP */
	assert_int_equal(touches(s->vm), raised ? 0 : 2);
	if (!raised) {
		assert_memory_equal(&before, &after, sizeof(after));
	} else if (msr == 0xc0000082) {
		assert_int_equal(after.lstar, 0x1000);
	}
	assert_int_equal(cpu.efer, 0xd00);
	s->vm->module[0] = NULL;
	sv_destroy(s);
}

static void test_bound_msrs(void **state)
{
	static const uint32_t msrs[] = { 0x1b,	     0x174,	 0x277,	     0xc0000080, 0xc0000081,
					 0xc0000082, 0xc0000083, 0xc0000084, 0x4711 };

	(void)state;
	for (unsigned i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++)
		bound_msr(msrs[i], false);
	bound_msr(0xc0000082, true);
}

/* An access that begins at a free port and ends in a bound one, also by INS and OUTS. */
static void test_bound_ports(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);
	struct bound_module b;

	(void)state;
	bind_range(s, &b, GM_PRIV_IOPORT, 0xfa, 0x300);
	SV_RUN(s, port_behind);
	assert_int_equal(s->exit.status, 0);
	/* outl to the timer, insb, rep outsb once, both reads */
	assert_int_equal(touches(s->vm), 5);
	s->vm->module[0] = NULL;
	sv_destroy(s);
}

/* INVLPG in view U drops what the vCPU has seen in a module's view, too. */
SNIPPET(invlpg_all, "mov 0x4000(%rdi),%rax\n mov %rax,(%rdi)\n out %al,$0xf8\n"
		    "lea 0x4000(%rdi),%rax\n invlpg (%rax)\n out %al,$0xf8\n" EXIT0);

static bool has_region(struct sim_vcpu *v, uint8_t view, uint64_t gva)
{
	for (unsigned i = 0; i < SIM_VIEWS; i++)
		if (v->space[i] && v->space[i]->view == view && sim_space_find(v->space[i], gva))
			return true;
	return false;
}

static struct sim_space *other_view;

static bool look(void *ctx, struct vm *vm, unsigned vcpu)
{
	struct sim_vcpu *v = &vm->engine->vcpu[vcpu];
	unsigned *calls = ctx;
	struct cpu_event ev;

	if (++*calls == 1) {
		/* the same vCPU has been in a module's view and has seen the page there */
		v->view = 0;
		other_view = sim_space_for(v);
		assert_non_null(other_view);
		assert_int_equal(sim_mmu_data(other_view, SV_DATA + 0x4000, false, false, &ev),
				 MMU_DONE);
		v->view = GUARD_VIEW_U;
		assert_true(has_region(v, 0, SV_DATA + 0x4000));
		assert_true(has_region(v, GUARD_VIEW_U, SV_DATA + 0x4000));
	} else {
		assert_false(has_region(v, 0, SV_DATA + 0x4000));
		assert_false(has_region(v, GUARD_VIEW_U, SV_DATA + 0x4000));
	}
	return true;
}

static void test_invlpg_views(void **state)
{
	struct simvm *s = sv_create(1, 1, 0);
	unsigned calls = 0;

	(void)state;
	vm_on_host_port(s->vm, look, &calls);
	SV_RUN(s, invlpg_all);
	assert_int_equal(s->exit.status, 0);
	assert_int_equal(calls, 2);
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
		cmocka_unit_test(test_raise),
		cmocka_unit_test(test_masked),
		cmocka_unit_test(test_sti_hlt),
		cmocka_unit_test(ec_nmi),
		cmocka_unit_test(test_timer),
		cmocka_unit_test(ec_gate_types),
		cmocka_unit_test(ec_bad_gates),
		cmocka_unit_test(ec_double_fault),
		cmocka_unit_test(test_single_step),
		cmocka_unit_test(test_user),
		cmocka_unit_test(test_syscall),
		cmocka_unit_test(test_smep),
		cmocka_unit_test(test_machine_registers),
		cmocka_unit_test(test_schedule),
		cmocka_unit_test(ec_sleeps),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_device),
		cmocka_unit_test(test_hidden),
		cmocka_unit_test(test_hidden_stack),
		cmocka_unit_test(test_invlpg_views),
		cmocka_unit_test(test_bound_msrs),
		cmocka_unit_test(test_bound_ports),
	};
	int failed = cmocka_run_group_tests_name("fast", tests, fast_mode, NULL);

	return failed + cmocka_run_group_tests_name("precise", tests, precise_mode, NULL);
}
