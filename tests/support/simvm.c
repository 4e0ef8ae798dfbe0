/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tables page of a snippet VM, from SV_TABLES:
 *
 *	0x0000  IDT, 256 gates
 *	0x1000  TSS: RSP0 and IST1 both near the end of the data pages
 *	0x1800  the record of the last trap, struct sv_trap
 */
#include "tests/support/simvm.h"

#define STUB 16u
#define COMMON (256u * STUB)
#define TSS 0x1000u
#define RECORD 0x1800u

/* On the stack: vector, error, RIP, CS, RFLAGS, RSP, SS. */
SNIPPET(sv_common, "push %rax\n push %rbx\n"
		   "mov $0xffffffff93001800,%rbx\n"
		   "mov 0x10(%rsp),%rax\n mov %rax,(%rbx)\n"
		   "mov 0x18(%rsp),%rax\n mov %rax,8(%rbx)\n"
		   "mov 0x20(%rsp),%rax\n mov %rax,16(%rbx)\n"
		   "mov 0x28(%rsp),%rax\n mov %rax,24(%rbx)\n"
		   "mov 0x30(%rsp),%rax\n mov %rax,32(%rbx)\n"
		   "mov 0x38(%rsp),%rax\n mov %rax,40(%rbx)\n"
		   "mov 0x40(%rsp),%rax\n mov %rax,48(%rbx)\n"
		   "mov %rsp,56(%rbx)\n"
		   "mov %cr2,%rax\n mov %rax,64(%rbx)\n"
		   "mov $77,%eax\n out %eax,$0xf4\n"
		   "1: hlt\n jmp 1b");

static void *tables(struct simvm *s, uint64_t offset)
{
	return s->vm->ram + s->tables_gpa + offset;
}

static void map(struct simvm *s, uint64_t gva, size_t bytes, bool exec, uint64_t *gpa)
{
	assert_true(vm_map_ram(s->vm, gva, bytes, exec, gpa));
}

static void put_gate(struct simvm *s, unsigned vector, uint64_t target, unsigned ist, unsigned type,
		     unsigned dpl)
{
	uint32_t g[4] = { (uint32_t)(target & 0xffff) | 8u << 16,
			  (uint32_t)(target & 0xffff0000) | 0x8000u | dpl << 13 | type << 8 | ist,
			  (uint32_t)(target >> 32), 0 };

	memcpy(tables(s, vector * 16), g, sizeof(g));
}

void sv_gate(struct simvm *s, unsigned vector, uint64_t offset, unsigned ist, unsigned type,
	     unsigned dpl)
{
	put_gate(s, vector, SV_CODE + offset, ist, type, dpl);
}

void sv_ist(struct simvm *s, unsigned vector, unsigned ist)
{
	put_gate(s, vector, SV_TRAPS + vector * STUB, ist, 0xe, 0);
}

static bool pushes_error(unsigned v)
{
	return v == 8 || (v >= 10 && v <= 14) || v == 17;
}

static void make_stubs(struct simvm *s)
{
	uint8_t *p = s->vm->ram + s->traps_gpa;
	unsigned v;

	for (v = 0; v < 256; v++) {
		uint8_t *q = p + v * STUB;
		int32_t rel;

		if (!pushes_error(v)) {
			*q++ = 0x6a; /* push $0 */
			*q++ = 0;
		}
		*q++ = 0x68; /* push $vector */
		memcpy(q, &v, 4);
		q += 4;
		*q++ = 0xe9; /* jmp common */
		rel = (int32_t)(p + COMMON - (q + 4));
		memcpy(q, &rel, 4);
		put_gate(s, v, SV_TRAPS + v * STUB, 0, 0xe, 0);
	}
	memcpy(p + COMMON, sv_common, SNIPPET_SIZE(sv_common));
}

static void make_tss(struct simvm *s)
{
	uint64_t rsp0 = SV_DATA + 0xe000, ist1 = SV_IST1;

	memcpy(tables(s, TSS + 4), &rsp0, 8);
	memcpy(tables(s, TSS + 36), &ist1, 8);
}

const struct engine_ops *sv_engine = &sim_engine;

struct simvm *sv_create(unsigned vcpus, uint64_t seed, uint64_t budget)
{
	struct vm_config cfg = { .engine = sv_engine,
				 .ram_size = 8u << 20,
				 .vcpus = vcpus,
				 .seed = seed,
				 .budget = budget,
				 .x_kind = sv_engine->default_x,
				 .log_lines = 4096 };
	struct simvm *s = calloc(1, sizeof(*s));
	struct error err = { "" };

	assert_non_null(s);
	s->vm = vm_create(&cfg, &err);
	if (!s->vm)
		print_error("%s\n", err.text);
	assert_non_null(s->vm);
	map(s, SV_CODE, 0x4000, true, &s->code_gpa);
	map(s, SV_DATA, 0x10000, false, &s->data_gpa);
	map(s, SV_TRAPS, 0x2000, true, &s->traps_gpa);
	map(s, SV_TABLES, 0x2000, false, &s->tables_gpa);
	make_stubs(s);
	make_tss(s);
	return s;
}

void sv_destroy(struct simvm *s)
{
	vm_destroy(s->vm);
	free(s);
}

void sv_code(struct simvm *s, uint64_t offset, const uint8_t *code, size_t size)
{
	assert_true(offset + size <= 0x4000);
	memcpy(s->vm->ram + s->code_gpa + offset, code, size);
	s->vm->ops->frames_changed(s->vm->engine, s->code_gpa, 0x4000);
}

void sv_start(struct simvm *s, unsigned v, uint64_t offset, bool interrupts)
{
	const struct engine_ops *ops = s->vm->ops;
	static const uint64_t user[] = { 0, 0x00cff3000000ffffull, 0x00affb000000ffffull };
	struct guard_cpu cpu;
	struct engine_sys sys;

	vm_boot_state(s->vm, v, &cpu, &sys);
	cpu.rip = SV_CODE + offset;
	cpu.gpr[GUARD_RDI] = SV_DATA;
	cpu.rflags = interrupts ? 0x202 : 2;
	/* Behind the boot GDT's code and data: user data at 0x18, user code at 0x20. */
	memcpy(s->vm->ram + sv_gpa(s, sys.gdt.base) + 0x18, &user[1], 16);
	sys.idt.base = SV_TABLES;
	sys.idt.limit = 0xfff;
	sys.tr.base = SV_TABLES + TSS;
	sys.tr.limit = 0x67;
	sys.tr.selector = SV_TSS_SELECTOR;
	ops->set_sys(s->vm->engine, v, &sys);
	ops->set_cpu(s->vm->engine, v, &cpu);
	ops->set_run_state(s->vm->engine, v, ENGINE_RUNNABLE);
}

void sv_run(struct simvm *s)
{
	vm_run(s->vm, &s->exit);
}

void sv_run_code(struct simvm *s, const uint8_t *code, size_t size)
{
	sv_code(s, 0, code, size);
	sv_start(s, 0, 0, false);
	sv_run(s);
}

uint64_t sv_reg(struct simvm *s, unsigned v, enum guard_gpr r)
{
	struct guard_cpu cpu;

	vm_get_cpu(s->vm, v, &cpu);
	return cpu.gpr[r];
}

uint64_t *sv_data(struct simvm *s, unsigned i)
{
	return (uint64_t *)(void *)(s->vm->ram + s->data_gpa) + i;
}

struct sv_trap sv_trap(struct simvm *s)
{
	struct sv_trap t;

	memcpy(&t, tables(s, RECORD), sizeof(t));
	return t;
}

void sv_expect_trap(struct simvm *s, unsigned vector, uint64_t error, uint64_t offset)
{
	struct sv_trap t = sv_trap(s);

	if (s->exit.reason != VM_EXIT_GUEST || s->exit.status != SV_TRAPPED)
		print_error("ended with %s\n", s->exit.message);
	assert_int_equal(s->exit.reason, VM_EXIT_GUEST);
	assert_int_equal(s->exit.status, SV_TRAPPED);
	assert_int_equal(t.vector, vector);
	assert_int_equal(t.error, error);
	assert_int_equal(t.rip, SV_CODE + offset);
}

uint64_t *sv_pte(struct simvm *s, uint64_t gva)
{
	uint64_t table = s->vm->cr3 & VM_PAGE_MASK, *e;
	unsigned shift;

	for (shift = 39;; shift -= 9) {
		e = (uint64_t *)(void *)(s->vm->ram + table) + (gva >> shift & 511);
		if (shift == 12 || (*e & PTE_PS))
			return e;
		assert_true(*e & PTE_P);
		table = *e & VM_PAGE_MASK;
	}
}

uint64_t sv_gpa(struct simvm *s, uint64_t gva)
{
	uint64_t e = *sv_pte(s, gva);

	return e & PTE_PS ? (e & VM_PAGE_MASK & ~(VM_LARGE - 1)) | (gva & (VM_LARGE - 1))
			  : (e & VM_PAGE_MASK) | (gva & 0xfff);
}

void sv_user(struct simvm *s, uint64_t gva)
{
	uint64_t table = s->vm->cr3 & VM_PAGE_MASK;
	unsigned shift;

	for (shift = 39; shift >= 12; shift -= 9) {
		uint64_t *e = (uint64_t *)(void *)(s->vm->ram + table) + (gva >> shift & 511);

		*e |= PTE_U;
		table = *e & VM_PAGE_MASK;
	}
}
