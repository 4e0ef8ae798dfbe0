/* SPDX-License-Identifier: GPL-2.0-only */
/* Walks of the guest's page tables, and the guard's translation, against hand-made tables. */
#include "tests/support/vmtest.h"

#define NX PTE_NX

#define GVA 0x0000123456789000ull

struct tables {
	struct vm *vm;
	uint64_t root, pdpt, pd, pt, page; /* gpa */
	struct guard_cpu cpu;
};

static void put(struct vm *vm, uint64_t table, unsigned index, uint64_t entry)
{
	memcpy(vm->ram + table + index * 8, &entry, 8);
}

static uint64_t get(struct vm *vm, uint64_t table, unsigned index)
{
	uint64_t entry;

	memcpy(&entry, vm->ram + table + index * 8, 8);
	return entry;
}

static unsigned index_of(uint64_t gva, unsigned shift)
{
	return (gva >> shift) & 511;
}

/* Four levels with all rights down to one page. */
static void tables_make(struct tables *t)
{
	struct vm *vm = vt_create(1, 0);

	memset(t, 0, sizeof(*t));
	t->vm = vm;
	t->root = vm_alloc_gpa(vm, VM_PAGE);
	t->pdpt = vm_alloc_gpa(vm, VM_PAGE);
	t->pd = vm_alloc_gpa(vm, VM_PAGE);
	t->pt = vm_alloc_gpa(vm, VM_PAGE);
	t->page = vm_alloc_gpa(vm, VM_PAGE);
	put(vm, t->root, index_of(GVA, 39), t->pdpt | PTE_P | PTE_W | PTE_U);
	put(vm, t->pdpt, index_of(GVA, 30), t->pd | PTE_P | PTE_W | PTE_U);
	put(vm, t->pd, index_of(GVA, 21), t->pt | PTE_P | PTE_W | PTE_U);
	put(vm, t->pt, index_of(GVA, 12), t->page | PTE_P | PTE_W | PTE_U);
	t->cpu.cr0 = 0x80010033;
	t->cpu.cr3 = t->root;
	t->cpu.cr4 = 0x20;
	t->cpu.efer = 0xd00;
}

#define ACCESSES 6

/* What the manual says of one access, told from the conditions rather than from a walk. */
static uint32_t expected_error(bool present, bool w, bool u, bool nx, uint32_t access, bool wp,
			       bool smep, bool smap, bool ac, bool nxe)
{
	bool user = access & ENGINE_WALK_USER, fetch = access & ENGINE_WALK_FETCH;
	bool write = access & ENGINE_WALK_WRITE, bad = false;
	uint32_t code = 0;

	if (nx && !nxe && present)
		return 1 | 8 | (write ? 2 : 0) | (user ? 4 : 0) | (fetch && smep ? 16 : 0);
	if (user && !u)
		bad = true;
	if (write && !w && (user || wp))
		bad = true;
	if (fetch && nx)
		bad = true;
	if (!user && u && fetch && smep)
		bad = true;
	if (!user && u && !fetch && smap && (!ac || (access & ENGINE_WALK_IMPLICIT)))
		bad = true;
	if (present && !bad)
		return ~0u;
	code = (present ? 1 : 0) | (write ? 2 : 0) | (user ? 4 : 0);
	if (fetch && (nxe || smep))
		code |= 16;
	return code;
}

/* All rights at every level, all accesses, all control bits: 2^18 walks against the rules. */
static void test_walk_rights(void **state)
{
	static const uint32_t accesses[ACCESSES] = {
		0,
		ENGINE_WALK_WRITE,
		ENGINE_WALK_FETCH,
		ENGINE_WALK_USER,
		ENGINE_WALK_USER | ENGINE_WALK_WRITE,
		ENGINE_WALK_IMPLICIT,
	};
	struct engine_walk walk;
	struct tables t;

	(void)state;
	tables_make(&t);
	for (unsigned c = 0; c < 1u << 14; c++) {
		bool present = !(c & 1), nxe = !(c & 2), wp = !(c & 4);
		bool smep = c & 8, smap = c & 16, ac = c & 32;
		unsigned level = c >> 6 & 3; /* where the right is missing */
		bool w = !(c & 256), u = !(c & 512), nx = c & 1024;
		const uint64_t table[4] = { t.root, t.pdpt, t.pd, t.pt };
		const uint64_t next[4] = { t.pdpt, t.pd, t.pt, t.page };
		uint32_t access = accesses[(c >> 11) % ACCESSES], want;
		unsigned index = index_of(GVA, 39 - 9 * level);

		put(t.vm, table[level], index,
		    next[level] | (present ? PTE_P : 0) | (w ? PTE_W : 0) | (u ? PTE_U : 0) |
			    (nx ? NX : 0));
		t.cpu.cr0 = wp ? 0x80010033 : 0x80000033;
		t.cpu.cr4 = 0x20 | (smep ? 1u << 20 : 0) | (smap ? 1u << 21 : 0);
		t.cpu.efer = nxe ? 0xd00 : 0x500;
		t.cpu.rflags = ac ? 2 | 1u << 18 : 2;
		want = expected_error(present, w, u, nx, access, wp, smep, smap, ac, nxe);
		if (vm_walk(t.vm, &t.cpu, GVA + 5, access | ENGINE_WALK_PEEK, &walk)) {
			assert_int_equal(want, ~0u);
			assert_int_equal(walk.gpa, t.page + 5);
			assert_int_equal(walk.write, w);
			assert_int_equal(walk.user, u);
			assert_int_equal(walk.exec, !nx);
		} else if (walk.error != want) {
			fail_msg("case 0x%x: error %u, expected %u", c, walk.error, want);
		}
		put(t.vm, table[level], index, next[level] | PTE_P | PTE_W | PTE_U);
	}
	vm_destroy(t.vm);
}

static void test_walk_large(void **state)
{
	struct engine_walk w;
	struct tables t;

	(void)state;
	tables_make(&t);
	put(t.vm, t.pd, index_of(GVA, 21), 0x400000 | PTE_P | PTE_PS);
	assert_true(vm_walk(t.vm, &t.cpu, GVA, 0, &w));
	assert_int_equal(w.gpa, 0x400000 + (GVA & 0x1fffff));
	assert_int_equal(w.page_bytes, 0x200000);
	assert_false(w.write);
	assert_true(w.exec);
	/* PAT is bit 12 there and no address bit; the ones above it are reserved */
	put(t.vm, t.pd, index_of(GVA, 21), 0x401000 | PTE_P | PTE_PS);
	assert_true(vm_walk(t.vm, &t.cpu, GVA, 0, &w));
	assert_int_equal(w.gpa, 0x400000 + (GVA & 0x1fffff));
	put(t.vm, t.pd, index_of(GVA, 21), 0x402000 | PTE_P | PTE_PS);
	assert_false(vm_walk(t.vm, &t.cpu, GVA, 0, &w));
	assert_int_equal(w.error, 9);

	put(t.vm, t.pdpt, index_of(GVA, 30), 0x40000000 | PTE_P | PTE_PS | PTE_W);
	assert_true(vm_walk(t.vm, &t.cpu, GVA, ENGINE_WALK_WRITE, &w));
	assert_int_equal(w.gpa, 0x40000000 + (GVA & 0x3fffffff));
	assert_int_equal(w.page_bytes, 0x40000000);
	put(t.vm, t.pdpt, index_of(GVA, 30), 0x40200000 | PTE_P | PTE_PS);
	assert_false(vm_walk(t.vm, &t.cpu, GVA, ENGINE_WALK_WRITE, &w));
	assert_int_equal(w.error, 11);
	/* no page that large */
	put(t.vm, t.root, index_of(GVA, 39), t.pdpt | PTE_P | PTE_PS);
	assert_false(vm_walk(t.vm, &t.cpu, GVA, 0, &w));
	assert_int_equal(w.error, 9);
	/* beyond the physical addresses that there are */
	put(t.vm, t.root, index_of(GVA, 39), t.pdpt | 1ull << 45 | PTE_P);
	assert_false(vm_walk(t.vm, &t.cpu, GVA, 0, &w));
	assert_int_equal(w.error, 9);
	vm_destroy(t.vm);
}

/* Tables that lie where there is no RAM, or that are their own tables. */
static void test_walk_hostile(void **state)
{
	struct engine_walk w;
	struct tables t;

	(void)state;
	tables_make(&t);
	t.cpu.cr3 = 0xfffffff000;
	assert_false(vm_walk(t.vm, &t.cpu, GVA, 0, &w));
	assert_int_equal(w.error, 0);
	t.cpu.cr3 = t.vm->ram_size - VM_PAGE;
	assert_false(vm_walk(t.vm, &t.cpu, 0xfffffffffffff000ull, 0, &w));
	t.cpu.cr3 = t.vm->ram_size;
	assert_false(vm_walk(t.vm, &t.cpu, 0, 0, &w));
	for (unsigned i = 0; i < 512; i++)
		put(t.vm, t.root, i, t.root | PTE_P | PTE_W);
	t.cpu.cr3 = t.root;
	assert_true(vm_walk(t.vm, &t.cpu, GVA, ENGINE_WALK_WRITE, &w));
	assert_int_equal(w.gpa, t.root);
	vm_destroy(t.vm);
}

/* A table in a hidden frame holds nothing, for a walk and for the guard alike. */
static void test_walk_hidden_table(void **state)
{
	struct guard_mapping map;
	struct engine_walk w;
	struct tables t;

	(void)state;
	tables_make(&t);
	const uint64_t table[4] = { t.root, t.pdpt, t.pd, t.pt };

	for (unsigned i = 0; i < 4; i++) {
		vm_frame_set(t.vm, table[i], GUARD_ROLE_PRIVATE, 0, 0, 0);
		assert_false(vm_walk(t.vm, &t.cpu, GVA, 0, &w));
		assert_int_equal(w.error, 0);
		vm_translate(t.vm, 0, t.root, GVA, 1, &map);
		assert_int_equal(map.flags, 0);
		vm_frame_set(t.vm, table[i], GUARD_ROLE_NONE, 0, 0, 0);
		assert_true(vm_walk(t.vm, &t.cpu, GVA, 0, &w));
	}
	vm_destroy(t.vm);
}

static void test_walk_accessed_dirty(void **state)
{
	struct engine_walk w;
	struct tables t;
	unsigned leaf = index_of(GVA, 12);

	(void)state;
	tables_make(&t);
	assert_true(vm_walk(t.vm, &t.cpu, GVA, ENGINE_WALK_PEEK | ENGINE_WALK_WRITE, &w));
	assert_int_equal(get(t.vm, t.pt, leaf) & (PTE_A | PTE_D), 0);
	assert_false(w.dirty);
	assert_true(vm_walk(t.vm, &t.cpu, GVA, 0, &w));
	assert_int_equal(get(t.vm, t.pt, leaf) & (PTE_A | PTE_D), PTE_A);
	assert_true(get(t.vm, t.root, index_of(GVA, 39)) & PTE_A);
	assert_true(get(t.vm, t.pdpt, index_of(GVA, 30)) & PTE_A);
	assert_true(get(t.vm, t.pd, index_of(GVA, 21)) & PTE_A);
	assert_false(w.dirty);
	assert_true(vm_walk(t.vm, &t.cpu, GVA, ENGINE_WALK_WRITE, &w));
	assert_int_equal(get(t.vm, t.pt, leaf) & (PTE_A | PTE_D), PTE_A | PTE_D);
	assert_false(get(t.vm, t.pd, index_of(GVA, 21)) & PTE_D);
	assert_true(w.dirty);
	/* a walk that faults marks nothing */
	put(t.vm, t.pt, leaf, t.page | PTE_P);
	assert_false(vm_walk(t.vm, &t.cpu, GVA, ENGINE_WALK_WRITE, &w));
	assert_int_equal(get(t.vm, t.pt, leaf) & (PTE_A | PTE_D), 0);
	vm_destroy(t.vm);
}

/* A run of pages tells of each what a walk of that page alone tells. */
static void test_translate_runs(void **state)
{
	struct guard_mapping run[600], one;
	uint64_t from = (GVA & ~0x1fffffull) - 64 * VM_PAGE, pt2;
	struct tables t;

	(void)state;
	tables_make(&t);
	srand(7);
	for (unsigned i = 0; i < 512; i++) {
		uint64_t e = t.page | PTE_P;

		if (rand() % 4 == 0)
			e = 0;
		if (rand() % 4 == 0)
			e |= PTE_W;
		if (rand() % 4 == 0)
			e |= PTE_U;
		if (rand() % 8 == 0)
			e |= 1ull << 44; /* reserved */
		if (rand() % 8 == 0)
			e = (GH_DEVICE_GPA) | PTE_P;
		put(t.vm, t.pt, i, e);
	}
	/* before it a large page, after it another table with fewer rights */
	put(t.vm, t.pd, index_of(GVA, 21) - 1, 0x600000 | PTE_P | PTE_PS | PTE_W);
	pt2 = vm_alloc_gpa(t.vm, VM_PAGE);
	for (unsigned i = 0; i < 512; i++)
		put(t.vm, pt2, i, t.page | PTE_P | PTE_W | PTE_U);
	put(t.vm, t.pd, index_of(GVA, 21) + 1, pt2 | PTE_P);
	vm_translate(t.vm, 0, t.root, from, 600, run);
	for (unsigned i = 0; i < 600; i++) {
		vm_translate(t.vm, 0, t.root, from + i * VM_PAGE, 1, &one);
		assert_memory_equal(&run[i], &one, sizeof(one));
	}
	assert_int_equal(run[0].gpa, 0x600000 + 0x1c0000);
	assert_int_equal(run[0].flags, GUARD_MAP_PRESENT | GUARD_MAP_WRITE | GUARD_MAP_RAM);
	assert_int_equal(run[599].flags, GUARD_MAP_PRESENT | GUARD_MAP_RAM);
	/* the hole between the halves, and around the end of all addresses */
	vm_translate(t.vm, 0, t.root, 0x0000800000000000ull, 2, run);
	assert_int_equal(run[0].flags, 0);
	vm_translate(t.vm, 0, t.root, 0xfffffffffffff000ull, 3, run);
	assert_int_equal(run[0].flags, 0);
	vm_destroy(t.vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walk_rights),
		cmocka_unit_test(test_walk_large),
		cmocka_unit_test(test_walk_hostile),
		cmocka_unit_test(test_walk_hidden_table),
		cmocka_unit_test(test_walk_accessed_dirty),
		cmocka_unit_test(test_translate_runs),
	};

	return cmocka_run_group_tests_name("vmm walks", tests, NULL, NULL);
}
