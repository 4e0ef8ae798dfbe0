/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What Unicorn's public API lacks: exact faults, and stores at full speed.
 *
 * Unicorn runs blocks of instructions and does not know, when a memory access inside of a block
 * fails, which instruction that was; after a failing store it even runs on to the end of the block.
 * Its library exports its internal functions, though, and lets an executable's definitions take
 * precedence (-rdynamic). Four are stepped in front of:
 *
 *   gen_intermediate_code   before a block is translated: insn.c looks for what must be hooked or
 *                           must never reach the translator, and says where the block has to end;
 *                           how full the instance's buffer of translated code is, for space.c;
 *   helper_*_ld*_mmu        slow path of loads: notes the return address into translated code, from
 *                           which the library can tell the instruction;
 *   helper_*_st*_mmu        slow path of stores: before one that crosses into another page writes to
 *                           the first of the two, the second is looked at;
 *   tlb_set_page_with_attrs a writable page never holds translated code here (mmu.c sees to that),
 *                           so its stores need not be watched: 30 times as fast.
 *
 * Other users of Unicorn in the same process see none of this: it works only while one of our
 * spaces is entered. All of it depends on one build of one library, so sim_accel_start() runs a
 * self-test on a scratch instance. If anything is not as expected, sim_fast stays false and hooks
 * on every instruction do the same work.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <execinfo.h>
#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"

bool sim_fast;

static _Thread_local struct sim_space *active;
static _Thread_local uintptr_t load_return; /* into translated code, while a load helper runs */

/* Unicorn's own. */
typedef void gen_fn(void *cpu, void *tb, int max);
typedef uint64_t load_fn(void *env, uint64_t addr, uint32_t oi, uintptr_t ret);
typedef void store_fn(void *env, uint64_t addr, uint64_t value, uint32_t oi, uintptr_t ret);
typedef void set_page_fn(void *cpu, uint64_t vaddr, uint64_t paddr, uint32_t attrs, int prot,
			 int mmu_idx, uint64_t size);
typedef void set_dirty_fn(void *cpu, uint64_t vaddr);
typedef bool restore_fn(void *cpu, uintptr_t host_pc, bool will_exit);
typedef void loop_exit_fn(void *cpu);

gen_fn gen_intermediate_code_x86_64;
load_fn helper_ret_ldub_mmu_x86_64, helper_le_lduw_mmu_x86_64, helper_le_ldul_mmu_x86_64,
	helper_le_ldq_mmu_x86_64;
store_fn helper_le_stw_mmu_x86_64, helper_le_stl_mmu_x86_64, helper_le_stq_mmu_x86_64;
set_page_fn tlb_set_page_with_attrs_x86_64;

static struct {
	gen_fn *gen;
	load_fn *ldub, *lduw, *ldul, *ldq;
	store_fn *stw, *stl, *stq;
	set_page_fn *set_page;
	set_dirty_fn *set_dirty;
	restore_fn *restore;
	loop_exit_fn *loop_exit;
	bool found;
} real;

static void *next_symbol(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

static void find_real(void)
{
	if (real.found)
		return;
	real.gen = (gen_fn *)next_symbol("gen_intermediate_code_x86_64");
	real.ldub = (load_fn *)next_symbol("helper_ret_ldub_mmu_x86_64");
	real.lduw = (load_fn *)next_symbol("helper_le_lduw_mmu_x86_64");
	real.ldul = (load_fn *)next_symbol("helper_le_ldul_mmu_x86_64");
	real.ldq = (load_fn *)next_symbol("helper_le_ldq_mmu_x86_64");
	real.stw = (store_fn *)next_symbol("helper_le_stw_mmu_x86_64");
	real.stl = (store_fn *)next_symbol("helper_le_stl_mmu_x86_64");
	real.stq = (store_fn *)next_symbol("helper_le_stq_mmu_x86_64");
	real.set_page = (set_page_fn *)next_symbol("tlb_set_page_with_attrs_x86_64");
	real.set_dirty = (set_dirty_fn *)next_symbol("tlb_set_dirty_x86_64");
	real.restore = (restore_fn *)next_symbol("cpu_restore_state_x86_64");
	real.loop_exit = (loop_exit_fn *)next_symbol("cpu_loop_exit_x86_64");
	real.found = true;
}

/* Mapped as data, what stands there is no code, however it decodes: the fetch is refused first. */
static bool may_run(struct sim_space *s, uint64_t pc)
{
	const struct sim_region *r = sim_space_find(s, pc);

	return !r || r->prot & UC_PROT_EXEC;
}

/* A block's description lies before its translation, in the buffer that is filled upwards. */
static void note_code(struct sim_space *s, uintptr_t at)
{
	if (!s->code_low || at < s->code_low)
		s->code_low = at;
	if (at > s->code_high)
		s->code_high = at;
}

void gen_intermediate_code_x86_64(void *cpu, void *tb, int max)
{
	find_real();
	if (active) {
		uint64_t pc;
		int n;

		note_code(active, (uintptr_t)tb);
		active->cpu = cpu;
		memcpy(&pc, tb, sizeof(pc)); /* the first member of a block */
		n = sim_fast && active->vcpu ? sim_insn_plan(active, pc, max) : max;
		if (!n && !may_run(active, pc))
			n = max;
		if (!n) {
			active->stop = STOP_UD;
			active->stop_rip = pc;
			sim_accel_leave(active);
		}
		max = n;
	}
	real.gen(cpu, tb, max);
}

#define LOAD_HELPER(name, function)                                                                \
	uint64_t name(void *env, uint64_t addr, uint32_t oi, uintptr_t ret)                        \
	{                                                                                          \
		uint64_t value;                                                                    \
                                                                                                   \
		find_real();                                                                       \
		load_return = ret;                                                                 \
		value = real.function(env, addr, oi, ret);                                         \
		load_return = 0;                                                                   \
		return value;                                                                      \
	}

LOAD_HELPER(helper_ret_ldub_mmu_x86_64, ldub)
LOAD_HELPER(helper_le_lduw_mmu_x86_64, lduw)
LOAD_HELPER(helper_le_ldul_mmu_x86_64, ldul)
LOAD_HELPER(helper_le_ldq_mmu_x86_64, ldq)

/* A CPU writes nothing of a store whose second page faults. Unicorn writes a byte at a time. */
#define STORE_HELPER(name, function, size, type)                                                   \
	void name(void *env, uint64_t addr, uint64_t value, uint32_t oi, uintptr_t ret)            \
	{                                                                                          \
		find_real();                                                                       \
		if (addr % SIM_PAGE + (size) > SIM_PAGE && active && active->vcpu) {               \
			bool go;                                                                   \
                                                                                                   \
			load_return = ret;                                                         \
			go = sim_split_store(active, addr, size);                                  \
			load_return = 0;                                                           \
			if (!go)                                                                   \
				return;                                                            \
		}                                                                                  \
		real.function(env, addr, (type)value, oi, ret);                                    \
	}

STORE_HELPER(helper_le_stw_mmu_x86_64, stw, 2, uint16_t)
STORE_HELPER(helper_le_stl_mmu_x86_64, stl, 4, uint32_t)
STORE_HELPER(helper_le_stq_mmu_x86_64, stq, 8, uint64_t)

void tlb_set_page_with_attrs_x86_64(void *cpu, uint64_t vaddr, uint64_t paddr, uint32_t attrs,
				    int prot, int mmu_idx, uint64_t size)
{
	const struct sim_region *r;

	find_real();
	real.set_page(cpu, vaddr, paddr, attrs, prot, mmu_idx, size);
	if (!active || !active->vcpu)
		return;
	/* Unicorn's own check of write permission sits on the path that this skips. */
	r = sim_space_find(active, vaddr);
	if (r && (r->prot & (UC_PROT_WRITE | UC_PROT_EXEC)) == UC_PROT_WRITE &&
	    !(r->flags & REGION_MMIO))
		real.set_dirty(cpu, vaddr);
}

/*
 * The innermost return address in translated code. A load's slow path was told it; all other
 * helpers were called from there, so it is the last frame that the unwinder can see.
 */
static uintptr_t translated_pc(void)
{
	void *frame[64];
	int n;

	if (load_return)
		return load_return;
	n = backtrace(frame, 64);
	return n > 0 ? (uintptr_t)frame[n - 1] : 0;
}

void sim_accel_enter(struct sim_space *s)
{
	active = s;
	load_return = 0;
}

void sim_accel_sync(struct sim_space *s)
{
	if (sim_fast && s->cpu)
		real.restore(s->cpu, translated_pc(), false);
}

void sim_accel_leave(struct sim_space *s)
{
	load_return = 0;
	uc_emu_stop(s->uc);
	real.loop_exit(s->cpu);
	abort();
}

/* ---- the self-test ---- */

/* inc %rbx; mov %rbx,(%rax); inc %rbx; mov (%rdx),%rcx; inc %rbx; fxsave (%rsi); inc %rbx; push %rbx;
 * inc %rbx; hlt */
static const uint8_t test_code[] = { 0x48, 0xff, 0xc3, 0x48, 0x89, 0x18, 0x48, 0xff, 0xc3,
				     0x48, 0x8b, 0x0a, 0x48, 0xff, 0xc3, 0x0f, 0xae, 0x06,
				     0x48, 0xff, 0xc3, 0x53, 0x48, 0xff, 0xc3, 0xf4 };
#define TEST_BASE 0xffffffff80000000ull

struct self_test {
	struct sim_space space;
	uint64_t rip, rbx;
	bool bad;
};

static bool test_fault(uc_engine *uc, uc_mem_type type, uint64_t addr, int size, int64_t value,
		       void *user)
{
	struct self_test *t = user;

	(void)type;
	(void)addr;
	(void)size;
	(void)value;
	if (!t->space.cpu) {
		t->bad = true;
		return false;
	}
	real.restore(t->space.cpu, translated_pc(), false);
	uc_reg_read(uc, UC_X86_REG_RIP, &t->rip);
	uc_reg_read(uc, UC_X86_REG_RBX, &t->rbx);
	sim_accel_leave(&t->space);
}

/* Each of the accesses must stop before its instruction, with what came before it done. */
static bool self_test(void)
{
	static const struct {
		uint8_t offset, rbx;
	} expect[] = { { 3, 1 }, { 9, 2 }, { 15, 3 }, { 21, 4 } };
	static const int pointer[] = { UC_X86_REG_RAX, UC_X86_REG_RDX, UC_X86_REG_RSI,
				       UC_X86_REG_RSP };
	struct self_test *t = calloc(1, sizeof(*t));
	uint8_t *page = aligned_alloc(SIM_PAGE, 2 * SIM_PAGE);
	uint64_t good = 0xffff888000000800ull, bad = 0xffff999000000000ull, rbx, rip;
	uc_engine *uc = NULL;
	uc_hook hook;
	unsigned i, j;
	bool ok = false;

	if (!t || !page || uc_open(UC_ARCH_X86, UC_MODE_64, &uc))
		goto out;
	memset(page, 0, 2 * SIM_PAGE);
	memcpy(page, test_code, sizeof(test_code));
	t->space.uc = uc;
	if (uc_mem_map_ptr(uc, TEST_BASE, SIM_PAGE, UC_PROT_READ | UC_PROT_EXEC, page) ||
	    uc_mem_map_ptr(uc, good & SIM_PAGE_MASK, SIM_PAGE, UC_PROT_READ | UC_PROT_WRITE,
			   page + SIM_PAGE) ||
	    uc_hook_add(uc, &hook, UC_HOOK_MEM_INVALID, (void *)test_fault, t, 1, 0))
		goto out;
	for (i = 0; i <= 4; i++) {
		t->rip = t->rbx = rbx = 0;
		for (j = 0; j < 4; j++)
			uc_reg_write(uc, pointer[j], j == i ? &bad : &good);
		uc_reg_write(uc, UC_X86_REG_RBX, &rbx);
		sim_accel_enter(&t->space);
		uc_emu_start(uc, TEST_BASE, 0, 0, 0);
		sim_accel_enter(NULL);
		uc_reg_read(uc, UC_X86_REG_RIP, &rip);
		uc_reg_read(uc, UC_X86_REG_RBX, &rbx);
		if (t->bad || !t->space.cpu)
			goto out;
		if (i == 4 ? rip != TEST_BASE + sizeof(test_code) || rbx != 5
			   : rip != TEST_BASE + expect[i].offset || t->rip != rip ||
				     t->rbx != expect[i].rbx || rbx != t->rbx)
			goto out;
	}
	ok = true;
out:
	sim_accel_enter(NULL);
	if (uc)
		uc_close(uc);
	free(page);
	free(t);
	return ok;
}

/* The test runs once a process. GUARDHOUSE_PRECISE=1 in the environment forces precise mode, for comparison. */
void sim_accel_start(void)
{
	static bool tested, able;
	const char *precise = getenv("GUARDHOUSE_PRECISE");

	if (!tested) {
		tested = true;
		find_real();
		able = real.gen && real.ldub && real.lduw && real.ldul && real.ldq && real.stw &&
		       real.stl && real.stq && real.set_page && real.set_dirty && real.restore &&
		       real.loop_exit && self_test();
	}
	sim_fast = able && !(precise && *precise == '1');
}
