/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Views as the KVM engine makes them of memory slots: what a hidden page answers and at which
 * instruction its TOUCH is reported, what a frame that is not executable does, watched frames, and
 * two vCPUs with different views of one frame. Roles are set by hand, no guard is asked.
 */
#include <sys/mman.h>

#include "tests/support/kvmtest.h"

#define EXIT0 "xor %eax,%eax\n out %eax,$0xf4\n"
#define HIDDEN 0x2000u /* in the data pages */

/* A module of one page that is not registered with the guard, with one privilege: private memory. */
struct fake {
	struct vm_module m;
	struct {
		struct gm_header h;
		struct gm_privilege p;
	} file;
};

static struct simvm *fake_vm(struct fake *f, unsigned vcpus, enum guard_role role, uint8_t flags,
			     uint64_t gpa_offset)
{
	struct simvm *s = sv_create(vcpus, 1, 0);
	void *copy =
		mmap(NULL, VM_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(copy, MAP_FAILED);
	memset(f, 0, sizeof(*f));
	memset(copy, 0x77, VM_PAGE);
	f->file.h.privileges.offset = sizeof(f->file.h);
	f->file.h.privileges.count = 1;
	f->file.p.kind = GM_PRIV_PRIVATE;
	f->m.manifest.data = (uint8_t *)&f->file;
	f->m.manifest.size = sizeof(f->file);
	f->m.copy = copy;
	f->m.pages = 1;
	f->m.dirty = calloc(1, 8);
	assert_non_null(f->m.dirty);
	s->vm->module[0] = &f->m;
	vm_frame_set(s->vm, s->data_gpa + gpa_offset, role, flags, 0, 0);
	return s;
}

static void fake_end(struct simvm *s, struct fake *f)
{
	s->vm->module[0] = NULL;
	sv_destroy(s);
	munmap(f->m.copy, VM_PAGE);
	free(f->m.dirty);
}

/* Runs code with RDI = SV_DATA, RSI = the hidden page; ends by EXIT0. */
static void run_hidden(struct simvm *s, const uint8_t *code, size_t size)
{
	struct guard_cpu cpu;

	sv_code(s, 0, code, size);
	sv_start(s, 0, 0, false);
	vm_get_cpu(s->vm, 0, &cpu);
	cpu.gpr[GUARD_RSI] = SV_DATA + HIDDEN;
	vm_set_cpu(s->vm, 0, &cpu);
	sv_run(s);
	if (s->exit.reason != VM_EXIT_GUEST)
		print_error("ended with %s\n", s->exit.message);
	assert_int_equal(s->exit.reason, VM_EXIT_GUEST);
	assert_int_equal(s->exit.status, 0);
}

/* The TOUCH lines are at these offsets of the snippet, in this order. */
static void touched(const uint8_t *code, size_t size, const unsigned *at, unsigned n)
{
	struct fake f;
	struct simvm *s = fake_vm(&f, 1, GUARD_ROLE_PRIVATE, 0, HIDDEN);
	unsigned i;

	memset(sv_data(s, HIDDEN / 8), 0xaa, VM_PAGE);
	run_hidden(s, code, size);
	for (i = 0; i < n && i < vm_log_count(s->vm); i++) {
		const struct guard_line *l = &vm_log_line(s->vm, i)->line;

		assert_int_equal(l->event, GUARD_TOUCH);
		assert_int_equal(l->verdict, GUARD_V_NOT_PRIVILEGED);
		assert_int_equal(l->rip, SV_CODE + at[i]);
	}
	assert_int_equal(vm_log_count(s->vm), n);
	for (i = 0; i < VM_PAGE / 8; i++)
		assert_int_equal(*sv_data(s, HIDDEN / 8 + i), 0xaaaaaaaaaaaaaaaaull);
	assert_int_equal(f.m.copy[16], 0x77);
	fake_end(s, &f);
}

#define TOUCHED(name, ...)                                                                         \
	do {                                                                                       \
		static const unsigned at_[] = { __VA_ARGS__ };                                     \
		touched(name, SNIPPET_SIZE(name), at_, sizeof(at_) / sizeof(at_[0]));              \
	} while (0)

SNIPPET(loads, "mov 0x10(%rsi),%rax\n cmpb $0,0x11(%rsi)\n movzwl 0xffe(%rsi),%eax\n" EXIT0);
SNIPPET(stores, "mov %rax,0x10(%rsi)\n movb $1,0x20(%rsi)\n mov $8,%ecx\n mov %eax,(%rsi,%rcx,4)\n"
		"movw $5,(%rsi)\n" EXIT0);
SNIPPET(updates, "lock incq 0x30(%rsi)\n xchg %rax,(%rsi)\n lock cmpxchg %rcx,8(%rsi)\n"
		 "addl $1,0x40(%rsi)\n" EXIT0);
SNIPPET(stacks,
	"mov %rsp,%rbx\n lea 0x100(%rsi),%rsp\n push %rdi\n pushq $7\n pop %rax\n mov %rbx,%rsp\n" EXIT0);
SNIPPET(loop3, "mov $3,%ecx\n 1: mov %rcx,(%rsi)\n dec %ecx\n jnz 1b\n 2: mov (%rsi),%rax\n"
	       "inc %ecx\n cmp $2,%ecx\n jne 2b\n" EXIT0);
SNIPPET(strings, "mov %rdi,%rbx\n mov %rsi,%rdi\n mov $64,%ecx\n xor %eax,%eax\n rep stosb\n"
		 "lea 0x2000(%rbx),%rsi\n lea 0x1000(%rbx),%rdi\n mov $16,%ecx\n rep movsq\n"
		 "lea 0x2000(%rbx),%rdi\n lea 0x1000(%rbx),%rsi\n movsb\n" EXIT0);
SNIPPET(copies, "mov %rsi,%rdi\n lea 0x100(%rsi),%rsi\n mov $4,%ecx\n rep movsq\n" EXIT0);
SNIPPET(borders, "mov %rax,-4(%rsi)\n mov 0xffc(%rsi),%rax\n" EXIT0);

static void test_touch(void **state)
{
	(void)state;
	TOUCHED(loads, 0, 4, 8);
	TOUCHED(stores, 0, 4, 13, 16);
	TOUCHED(updates, 0, 5, 8, 14);
	TOUCHED(stacks, 10, 11, 13);
	TOUCHED(loop3, 5, 5, 5, 12, 12);
}

static void test_touch_strings(void **state)
{
	(void)state;
	TOUCHED(strings, 13, 34, 51);
	TOUCHED(copies, 15);
	TOUCHED(borders, 0, 4);
}

/* Hidden words read zero; words beside them on another page are as they are. */
SNIPPET(reads, "mov 0x10(%rsi),%rax\n mov %rax,(%rdi)\n mov 0xffc(%rsi),%rax\n mov %rax,8(%rdi)\n"
	       "movq $-1,0xffc(%rsi)\n" EXIT0);

static void test_stand_in(void **state)
{
	struct fake f;
	struct simvm *s = fake_vm(&f, 1, GUARD_ROLE_PRIVATE, 0, HIDDEN);

	(void)state;
	*sv_data(s, 0) = 1;
	*sv_data(s, 0x3000 / 8) = 0x1122334455667788ull;
	run_hidden(s, reads, SNIPPET_SIZE(reads));
	assert_int_equal(*sv_data(s, 0), 0);
	assert_int_equal(*sv_data(s, 1), 0x5566778800000000ull);
	assert_int_equal(*sv_data(s, 0x3000 / 8), 0x11223344ffffffffull);
	fake_end(s, &f);
}

/* Inside the module's own view the same page is its private one, and no slower than memory. */
SNIPPET(inside,
	"mov (%rsi),%rax\n mov %rax,(%rdi)\n mov $1000,%ecx\n 1: incq 8(%rsi)\n loop 1b\n" EXIT0);

static void go_inside(struct simvm *s, unsigned vcpu)
{
	s->vm->vcpu[vcpu].view = 0;
	s->vm->vcpu[vcpu].raised = 1;
	assert_true(s->vm->ops->set_view(s->vm->engine, vcpu, 0, false));
}

static void test_inside(void **state)
{
	struct fake f;
	struct simvm *s = fake_vm(&f, 1, GUARD_ROLE_PRIVATE, 0, HIDDEN);
	uint64_t word;

	(void)state;
	go_inside(s, 0);
	memset(sv_data(s, HIDDEN / 8), 0xaa, VM_PAGE);
	run_hidden(s, inside, SNIPPET_SIZE(inside));
	assert_int_equal(*sv_data(s, 0), 0x7777777777777777ull);
	memcpy(&word, f.m.copy + 8, 8);
	assert_int_equal(word, 0x7777777777777777ull + 1000);
	assert_int_equal(*sv_data(s, HIDDEN / 8), 0xaaaaaaaaaaaaaaaaull);
	assert_int_equal(vm_log_count(s->vm), 0);
	fake_end(s, &f);
}

/* A watchpoint of the guest's does not strike inside; outside it does, and get_sys() always has it. */
SNIPPET(watched, "mov %dr7,%rax\n mov %rax,(%rdi)\n mov 0x40(%rdi),%rax\n" EXIT0);

static void test_dr7(void **state)
{
	uint64_t armed = 0x000f0402; /* DR0: reads and writes of 4 bytes */
	struct engine_sys sys;
	bool inside_too;

	(void)state;
	for (inside_too = false;; inside_too = true) {
		struct fake f;
		struct simvm *s = fake_vm(&f, 1, GUARD_ROLE_PRIVATE, 0, HIDDEN);

		SV_CODE_AT(s, 0, watched);
		sv_start(s, 0, 0, false);
		s->vm->ops->get_sys(s->vm->engine, 0, &sys);
		sys.dr[0] = SV_DATA + 0x40;
		sys.dr[7] = armed;
		s->vm->ops->set_sys(s->vm->engine, 0, &sys);
		if (inside_too)
			go_inside(s, 0);
		sv_run(s);
		s->vm->ops->get_sys(s->vm->engine, 0, &sys);
		assert_int_equal(sys.dr[7], armed);
		if (inside_too) {
			assert_int_equal(s->exit.status, 0);
			assert_int_equal(*sv_data(s, 0), 0x400);
			assert_true(s->vm->ops->set_view(s->vm->engine, 0, GUARD_VIEW_U, false));
			s->vm->vcpu[0].view = GUARD_VIEW_U;
			sv_start(s, 0, 0, false);
			s->vm->ops->set_sys(s->vm->engine, 0, &sys);
			sv_run(s);
		}
		assert_int_equal(*sv_data(s, 0), armed);
		fake_end(s, &f);
		if (inside_too)
			break;
	}
}

/*
 * vCPU 0 is inside and counts in its private page, vCPU 1 outside and looks at the same address:
 * both go on at the same time, and neither ever sees what is the other's.
 */
SNIPPET(counts, "1: incq (%rsi)\n incq 16(%rdi)\n cmpq $8,24(%rdi)\n jb 1b\n" EXIT0);
SNIPPET(looks, "1: mov (%rsi),%rax\n or %rax,32(%rdi)\n movq $5,(%rsi)\n incq 24(%rdi)\n"
	       "mov 16(%rdi),%rbx\n 2: cmp %rbx,16(%rdi)\n je 2b\n jmp 1b");

static void test_two_views(void **state)
{
	struct fake f;
	struct simvm *s = fake_vm(&f, 2, GUARD_ROLE_PRIVATE, 0, HIDDEN);
	struct guard_cpu cpu;
	uint64_t word;

	(void)state;
	SV_CODE_AT(s, 0x1000, looks);
	sv_start(s, 1, 0x1000, false);
	vm_get_cpu(s->vm, 1, &cpu);
	cpu.gpr[GUARD_RSI] = SV_DATA + HIDDEN;
	vm_set_cpu(s->vm, 1, &cpu);
	go_inside(s, 0);
	run_hidden(s, counts, SNIPPET_SIZE(counts));
	assert_int_equal(*sv_data(s, 4), 0);
	memcpy(&word, f.m.copy, 8);
	assert_int_equal(word - 0x7777777777777777ull, *sv_data(s, 2));
	assert_true(*sv_data(s, 2) > 8);
	fake_end(s, &f);
}

/* A frame of a module's text, outside: data, watched, never executed. */
SNIPPET(text_as_data, "mov 0x10(%rsi),%rax\n mov %rax,(%rdi)\n movq $9,0x18(%rsi)\n"
		      "incq 0x18(%rsi)\n mov 0x18(%rsi),%rax\n mov %rax,8(%rdi)\n" EXIT0);
SNIPPET(text_as_code, "nop\n jmp *%rsi");
SNIPPET(text_across, "lea -1(%rsi),%rax\n jmp *%rax");

static void test_text(void **state)
{
	struct fake f;
	struct simvm *s = fake_vm(&f, 1, GUARD_ROLE_VERIFIED, FRAME_TRACKED, HIDDEN);

	(void)state;
	*sv_data(s, (HIDDEN + 0x10) / 8) = 0x1234;
	run_hidden(s, text_as_data, SNIPPET_SIZE(text_as_data));
	assert_int_equal(*sv_data(s, 0), 0x1234);
	assert_int_equal(*sv_data(s, 1), 10);
	assert_int_equal(*sv_data(s, (HIDDEN + 0x18) / 8), 10);
	assert_int_equal(f.m.dirty[0], 1);
	assert_int_equal(vm_log_count(s->vm), 0);
	fake_end(s, &f);
}

/* The guard hears of the fetch at its exact RIP; here it knows nothing of it, so #GP. */
static void refused_fetch(const uint8_t *code, size_t size, uint64_t at)
{
	struct fake f;
	struct simvm *s = fake_vm(&f, 1, GUARD_ROLE_VERIFIED, FRAME_TRACKED, HIDDEN);
	const struct guard_line *l;
	struct guard_cpu cpu;

	*sv_pte(s, SV_DATA + HIDDEN) &= ~PTE_NX;
	*sv_pte(s, SV_DATA + HIDDEN - VM_PAGE) &= ~PTE_NX;
	memset(sv_data(s, HIDDEN / 8), 0x90, VM_PAGE);
	/* the first byte of a long instruction, on the page before */
	((uint8_t *)sv_data(s, HIDDEN / 8))[-1] = 0x48;
	sv_code(s, 0, code, size);
	sv_start(s, 0, 0, false);
	vm_get_cpu(s->vm, 0, &cpu);
	cpu.gpr[GUARD_RSI] = SV_DATA + HIDDEN;
	vm_set_cpu(s->vm, 0, &cpu);
	sv_run(s);
	sv_expect_trap(s, 13, 0, at - SV_CODE);
	assert_int_equal(vm_log_count(s->vm), 1);
	l = &vm_log_line(s->vm, 0)->line;
	assert_int_equal(l->event, GUARD_RESUME);
	assert_int_equal(l->cause, GUARD_CAUSE_FETCH);
	assert_int_equal(l->rip, at);
	fake_end(s, &f);
}

static void test_refused_fetch(void **state)
{
	(void)state;
	refused_fetch(text_as_code, SNIPPET_SIZE(text_as_code), SV_DATA + HIDDEN);
	refused_fetch(text_across, SNIPPET_SIZE(text_across), SV_DATA + HIDDEN - 1);
}

/* A watched frame that may be executed: the first write is reported, code that it changes is new. */
SNIPPET(patches, "movq $1,(%rsi)\n movq $2,8(%rsi)\n mov (%rsi),%rax\n mov %rax,(%rdi)\n" EXIT0);

static void test_tracked(void **state)
{
	struct fake f;
	struct simvm *s = fake_vm(&f, 1, GUARD_ROLE_NONE, FRAME_TRACKED, HIDDEN);

	(void)state;
	run_hidden(s, patches, SNIPPET_SIZE(patches));
	assert_int_equal(*sv_data(s, 0), 1);
	assert_int_equal(*sv_data(s, HIDDEN / 8 + 1), 2);
	assert_int_equal(f.m.dirty[0], 1);
	/* asked again, told again */
	f.m.dirty[0] = 0;
	vm_frame_of(s->vm, s->data_gpa + HIDDEN)->flags &= (uint8_t)~FRAME_WRITTEN;
	s->vm->ops->track(s->vm->engine, s->data_gpa + HIDDEN, VM_PAGE);
	run_hidden(s, patches, SNIPPET_SIZE(patches));
	assert_int_equal(f.m.dirty[0], 1);
	fake_end(s, &f);
}

/* An interrupt's frame aimed at a hidden page is lost; the handler finds zeros there. */
SNIPPET(interrupted, "mov $0x51,%al\n out %al,$0xf6\n nop\n hlt");

static void test_hidden_stack(void **state)
{
	struct fake f;
	struct simvm *s = fake_vm(&f, 1, GUARD_ROLE_PRIVATE, 0, 0xe000);

	(void)state;
	SV_CODE_AT(s, 0, interrupted);
	sv_start(s, 0, 0, true);
	sv_ist(s, 0x51, 1);
	sv_run(s);
	assert_int_equal(s->exit.status, SV_TRAPPED);
	assert_int_equal(sv_trap(s).rip, 0);
	assert_true(vm_log_count(s->vm) > 0);
	assert_int_equal(f.m.copy[0xfd8], 0x77);
	fake_end(s, &f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		KT_TEST(test_touch),	    KT_TEST(test_touch_strings), KT_TEST(test_stand_in),
		KT_TEST(test_inside),	    KT_TEST(test_dr7),		 KT_TEST(test_two_views),
		KT_TEST(test_text),	    KT_TEST(test_refused_fetch), KT_TEST(test_tracked),
		KT_TEST(test_hidden_stack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
