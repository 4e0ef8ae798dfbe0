/* SPDX-License-Identifier: GPL-2.0-only */
/* The VM without an engine: walks, views, frame roles, the guard's callbacks, log, host calls. */
#include "tests/support/vmtest.h"

#include <unistd.h>

#define NX PTE_NX

/* ---- walks against hand-made tables ---- */

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

/* ---- views and roles ---- */

static void page_is(struct vm *vm, uint8_t view, uint64_t gpa, enum engine_page_kind kind,
		    uint32_t flags, const uint8_t *host)
{
	struct engine_page p;

	vm_page(vm, 0, view, gpa & ~(VM_PAGE - 1), &p);
	if (p.kind != kind || p.flags != flags || p.host != host)
		fail_msg("gpa 0x%llx view %u: kind %u flags %u, expected %u %u (host %s)",
			 (unsigned long long)gpa, view, p.kind, p.flags, kind, flags,
			 p.host == host ? "right" : "wrong");
	assert_true(p.pages >= 1);
}

#define RAM_U (ENGINE_PAGE_WRITE | ENGINE_PAGE_EXEC | ENGINE_PAGE_GUEST)
#define RAM_P (ENGINE_PAGE_WRITE | ENGINE_PAGE_GUEST)
#define WATCHED ENGINE_PAGE_TRACKED

/* The table of spec section 4, row by row, for a loaded module and its neighbour. */
static void test_views(void **state)
{
	struct vm *vm = vt_guest(1);
	struct vt_module c, d;
	uint64_t text, gates, rodata, data, priv, plain;
	unsigned mc, md, s;
	const uint8_t *copy;

	(void)state;
	assert_true(vm_add_doorbell(vm, 0x5ec2e7, NULL));
	vt_wrap(&c, "counter", false);
	vt_wrap(&d, "doorbell", true);
	mc = vt_load(vm, &c);
	md = vt_load(vm, &d);
	copy = vm->module[mc]->copy;
	text = vt_gpa(vm, vm_module_base(vm, mc, vt_segment(vm, mc, GM_SEG_TEXT)));
	gates = vt_gpa(vm, vm_module_base(vm, mc, vt_segment(vm, mc, GM_SEG_GATES)));
	rodata = vt_gpa(vm, vm_module_base(vm, mc, vt_segment(vm, mc, GM_SEG_RODATA)));
	data = vt_gpa(vm, vm_module_base(vm, mc, vt_segment(vm, mc, GM_SEG_DATA)));
	priv = vt_gpa(vm, vm_module_base(vm, mc, vt_segment(vm, mc, GM_SEG_PRIVATE)));
	plain = vt_gpa(vm, vt_symbol(vm, "start"));

	page_is(vm, GUARD_VIEW_U, text, ENGINE_PAGE_RAM, RAM_P | WATCHED, vm->ram + text);
	page_is(vm, GUARD_VIEW_U, gates, ENGINE_PAGE_RAM, RAM_U | WATCHED, vm->ram + gates);
	page_is(vm, GUARD_VIEW_U, rodata, ENGINE_PAGE_RAM, RAM_P | WATCHED, vm->ram + rodata);
	page_is(vm, GUARD_VIEW_U, data, ENGINE_PAGE_RAM, RAM_U, vm->ram + data);
	page_is(vm, GUARD_VIEW_U, priv, ENGINE_PAGE_ZEROS, 0, NULL);
	page_is(vm, GUARD_VIEW_U, plain, ENGINE_PAGE_RAM, RAM_U, vm->ram + plain);
	page_is(vm, GUARD_VIEW_U, GH_DEVICE_GPA, ENGINE_PAGE_ONES, 0, NULL);
	page_is(vm, GUARD_VIEW_U, vm->ram_size, ENGINE_PAGE_HOLE, 0, NULL);
	page_is(vm, GUARD_VIEW_U, VM_STATUS_GPA, ENGINE_PAGE_DEVICE, 0, NULL);

	/* counter runs: its copies, its private page, nobody's device */
	assert_true(vm_guard_ops.raise(vm, 0, mc, c.binding.bound));
	s = vt_segment(vm, mc, GM_SEG_TEXT);
	page_is(vm, (uint8_t)mc, text, ENGINE_PAGE_RAM, ENGINE_PAGE_EXEC,
		copy + vm_segments(vm->module[mc])[s].start);
	s = vt_segment(vm, mc, GM_SEG_GATES);
	page_is(vm, (uint8_t)mc, gates, ENGINE_PAGE_RAM, ENGINE_PAGE_EXEC,
		copy + vm_segments(vm->module[mc])[s].start);
	s = vt_segment(vm, mc, GM_SEG_RODATA);
	page_is(vm, (uint8_t)mc, rodata, ENGINE_PAGE_RAM, 0,
		copy + vm_segments(vm->module[mc])[s].start);
	s = vt_segment(vm, mc, GM_SEG_PRIVATE);
	page_is(vm, (uint8_t)mc, priv, ENGINE_PAGE_RAM, ENGINE_PAGE_WRITE,
		copy + vm_segments(vm->module[mc])[s].start);
	page_is(vm, (uint8_t)mc, data, ENGINE_PAGE_RAM, RAM_P, vm->ram + data);
	page_is(vm, (uint8_t)mc, plain, ENGINE_PAGE_RAM, RAM_P, vm->ram + plain);
	page_is(vm, (uint8_t)mc, GH_DEVICE_GPA, ENGINE_PAGE_ONES, 0, NULL);
	assert_true(vm_guard_ops.lower(vm, 0, mc));

	/* doorbell runs: its device, not counter's secret, not counter's gates */
	assert_true(vm_guard_ops.raise(vm, 0, md, d.binding.bound));
	page_is(vm, (uint8_t)md, GH_DEVICE_GPA, ENGINE_PAGE_DEVICE, 0, NULL);
	page_is(vm, (uint8_t)md, priv, ENGINE_PAGE_ZEROS, 0, NULL);
	page_is(vm, (uint8_t)md, gates, ENGINE_PAGE_RAM, RAM_P | WATCHED, vm->ram + gates);
	/* a view is nothing without this vCPU being in it */
	page_is(vm, (uint8_t)mc, priv, ENGINE_PAGE_ZEROS, 0, NULL);
	assert_true(vm_guard_ops.lower(vm, 0, md));

	/* without the privilege the view alone gives nothing */
	assert_true(vm_guard_ops.raise(vm, 0, mc, 0));
	page_is(vm, (uint8_t)mc, priv, ENGINE_PAGE_ZEROS, 0, NULL);
	assert_true(vm_guard_ops.lower(vm, 0, mc));
	vt_free(&c);
	vt_free(&d);
	vm_destroy(vm);
}

/* Runs of ordinary frames end exactly before the first special one. */
static void test_page_runs(void **state)
{
	struct vm *vm = vt_create(1, 0);
	struct engine_page p;
	uint64_t last = vm->ram_size / VM_PAGE;

	(void)state;
	vm_page(vm, 0, GUARD_VIEW_U, 0, &p);
	assert_int_equal(p.pages, last);
	vm_frame_set(vm, 0x403000, GUARD_ROLE_SEGMENT, 0, 0, 0);
	vm_page(vm, 0, GUARD_VIEW_U, 0x1000, &p);
	assert_int_equal(p.pages, 0x402);
	vm_page(vm, 0, GUARD_VIEW_U, 0x404000, &p);
	assert_int_equal(p.pages, last - 0x404);
	vm_frame_set(vm, 0x403000, GUARD_ROLE_NONE, 0, 0, 0);
	vm_page(vm, 0, GUARD_VIEW_U, 0x1000, &p);
	assert_int_equal(p.pages, last - 1);
	vm_destroy(vm);
}

/* What host-side models and devices read is what view U shows. */
static void test_stand_ins_for_the_host(void **state)
{
	struct vm *vm = vt_guest(1);
	uint64_t secret, gva, text, word = 0, under = 0;
	struct vt_module c, d;
	unsigned m;

	(void)state;
	assert_true(vm_add_doorbell(vm, 0x5ec2e7, NULL));
	vt_wrap(&c, "counter", false);
	vt_wrap(&d, "doorbell", true);
	gva = GH_DIRECT_MAP + GH_DEVICE_GPA;
	/* not bound yet: an ordinary device */
	assert_true(vm_read_u(vm, 0, gva + GH_DOORBELL_SECRET, &word, 4));
	assert_int_equal(word, 0x5ec2e7);
	word = 9;
	assert_true(vm_write_u(vm, 0, gva + GH_DOORBELL_RING, &word, 4));
	assert_int_equal(vm_doorbell_rings(vm), 1);
	m = vt_load(vm, &c);
	vt_load(vm, &d);
	word = 0;
	assert_true(vm_read_u(vm, 0, gva + GH_DOORBELL_SECRET, &word, 4));
	assert_int_equal(word, 0xffffffff);
	assert_true(vm_write_u(vm, 0, gva + GH_DOORBELL_RING, &word, 4));
	assert_int_equal(vm_doorbell_rings(vm), 1);

	gva = vm_module_base(vm, m, vt_segment(vm, m, GM_SEG_PRIVATE));
	secret = vt_gpa(vm, gva);
	memcpy(&under, vm->ram + secret, 8);
	word = 1;
	assert_true(vm_read_u(vm, 0, gva, &word, 8));
	assert_int_equal(word, 0);
	word = 0x1111;
	assert_true(vm_write_u(vm, 0, gva, &word, 8));
	assert_true(vm_dma_write(vm, secret, &word, 8));
	assert_true(vm_dma_read(vm, secret, &word, 8));
	assert_int_equal(word, 0);
	assert_memory_equal(vm->ram + secret, &under, 8);
	assert_false(vm_dma_read(vm, vm->ram_size - 4, &word, 8));
	assert_false(vm_dma_write(vm, ~0ull, &word, 8));

	/* a device that writes text changes the guest's frame and is noticed; the copy stays */
	text = vt_gpa(vm, vt_symbol(vm, "counter:counter_get"));
	word = 0xcccccccccccccccc;
	assert_true(vm_dma_write(vm, text, &word, 8));
	assert_memory_equal(vm->ram + text, &word, 8);
	word = 0;
	assert_true(vm_guard_ops.written(vm, m, 0, &word));
	assert_int_not_equal(word, 0);
	vt_free(&c);
	vt_free(&d);
	vm_destroy(vm);
}

/* ---- the guard's callbacks ---- */

static void test_ops_refuse(void **state)
{
	struct vm *vm = vt_guest(1);
	uint64_t text, priv, data, word = 0;
	const struct guard_ops *o = &vm_guard_ops;
	struct vt_module c;
	uint32_t pages;
	unsigned m;

	(void)state;
	vt_wrap(&c, "counter", false);
	m = vt_load(vm, &c);
	pages = vm->module[m]->pages;
	text = vt_gpa(vm, vm_module_base(vm, m, vt_segment(vm, m, GM_SEG_TEXT)));
	data = vt_gpa(vm, vm_module_base(vm, m, vt_segment(vm, m, GM_SEG_DATA)));
	priv = vt_gpa(vm, vm_module_base(vm, m, vt_segment(vm, m, GM_SEG_PRIVATE)));
	assert_true(o->read(vm, data, &word, 8));
	assert_true(o->write(vm, data, &word, 8));
	assert_false(o->read(vm, priv, &word, 8));
	assert_false(o->write(vm, priv, &word, 8));
	assert_false(o->write(vm, text, &word, 8));
	assert_false(o->read(vm, vm->ram_size, &word, 8));
	assert_false(o->read(vm, GH_DEVICE_GPA, &word, 8));
	assert_false(o->write(vm, ~0ull - 3, &word, 8));
	assert_false(o->read(vm, data + 4092, &word, 8));
	assert_false(o->write(vm, data + 4092, &word, 8));
	assert_false(o->verified_fill(vm, m, pages, data));
	assert_false(o->verified_fill(vm, m, 0, priv));
	assert_false(o->verified_fill(vm, m, 0, data + 8));
	assert_false(o->verified_fill(vm, m, 0, vm->ram_size));
	assert_false(o->verified_fill(vm, 7, 0, data));
	assert_false(o->verified_fill(vm, 99, 0, data));
	assert_false(o->verified_patch(vm, m, pages * 4096 - 4, &word, 8));
	assert_false(o->verified_read(vm, m, pages * 4096 - 4, &word, 8));
	assert_true(o->verified_read(vm, m, pages * 4096 - 8, &word, 8));
	assert_false(o->guest_read(vm, m, 4092, &word, 8));
	assert_false(o->guest_read(vm, m, pages * 4096, &word, 8));
	assert_false(o->guest_read(
		vm, m, vm_segments(vm->module[m])[vt_segment(vm, m, GM_SEG_PRIVATE)].start, &word,
		8));
	assert_true(o->guest_read(vm, m, 0, &word, 8));
	assert_false(o->private_fill(vm, m, pages, NULL, 0));
	assert_false(o->private_fill(vm, m, 0, &word, 4097));
	assert_false(o->written(vm, m, pages, &word));
	assert_false(o->frame_role(vm, m, 0, data, GUARD_ROLE_DEVICE));
	assert_false(o->frame_role(vm, m, 0, priv, GUARD_ROLE_VERIFIED));
	assert_false(o->frame_role(vm, m, pages, data, GUARD_ROLE_SEGMENT));
	assert_false(o->frame_role(vm, m, 0, vm->ram_size, GUARD_ROLE_SEGMENT));
	/* taking a role away from a frame that is not this page's does nothing */
	assert_true(o->frame_role(vm, m, 0, priv, GUARD_ROLE_NONE));
	assert_int_equal(vm_frame_of(vm, priv)->role, GUARD_ROLE_PRIVATE);
	assert_false(o->mapping_locked(vm, 0, m, vm->cr3));
	assert_false(o->raise(vm, 1, m, 0));
	assert_false(o->raise(vm, 0, 5, 0));
	assert_false(o->lower(vm, 0, m));
	assert_false(o->device_role(
		vm, m, 0, &(struct guard_resource){ .base = 0x1000, .length = 0x1000 }, true));
	assert_false(o->device_role(vm, m, 0, &(struct guard_resource){ ~0xfffull, 0x2000 }, true));
	assert_false(o->device_role(vm, m, GM_MAX_PRIVILEGES,
				    &(struct guard_resource){ GH_DEVICE_GPA, 0x1000 }, true));
	vt_free(&c);
	vm_destroy(vm);
}

/* Any write to a frame under a verified page is noticed once, and again after it was asked for. */
static void test_written(void **state)
{
	struct vm *vm = vt_guest(1);
	uint64_t text, bits, word = 0xc3;
	struct engine_page p;
	struct vt_module c;
	uint32_t page;
	unsigned m, tracked;

	(void)state;
	vt_wrap(&c, "counter", false);
	m = vt_load(vm, &c);
	page = vm_segments(vm->module[m])[vt_segment(vm, m, GM_SEG_GATES)].start / 4096;
	text = vt_gpa(vm, vm_module_base(vm, m, vt_segment(vm, m, GM_SEG_GATES)));
	assert_true(vm_guard_ops.written(vm, m, 0, &bits));
	assert_int_equal(bits, 0);

	vm_frame_written(vm, text + 100);
	vm_page(vm, 0, GUARD_VIEW_U, text, &p);
	assert_false(p.flags & ENGINE_PAGE_TRACKED);
	tracked = fake_last->tracked;
	assert_true(vm_guard_ops.written(vm, m, 0, &bits));
	assert_int_equal(bits, 1ull << page);
	assert_int_equal(fake_last->tracked, tracked + 1);
	assert_int_equal(fake_last->last_tracked, text);
	vm_page(vm, 0, GUARD_VIEW_U, text, &p);
	assert_true(p.flags & ENGINE_PAGE_TRACKED);
	assert_true(vm_guard_ops.written(vm, m, 0, &bits));
	assert_int_equal(bits, 0);

	/* by an alias, through the host; asked from another first page */
	assert_true(vm_write_u(vm, 0, GH_DIRECT_MAP + text, &word, 1));
	assert_true(vm_guard_ops.written(vm, m, page, &bits));
	assert_int_equal(bits, 1);
	vm_frame_written(vm, vm->ram_size + 5);

	/* after WITHDRAW the frames are ordinary again */
	assert_true(vm_unregister(vm, m));
	vm_page(vm, 0, GUARD_VIEW_U, text, &p);
	assert_int_equal(p.flags, RAM_U);
	assert_false(vm_unregister(vm, m));
	assert_false(vm_grant(vm, 0, m, 1, true));
	vt_free(&c);
	vm_destroy(vm);
}

/* WITHDRAW and UNREGISTER wipe private memory; a page has one frame, and none once it is let go. */
static void test_wipe_and_forget(void **state)
{
	const struct guard_ops *o = &vm_guard_ops;
	struct vm *vm = vt_guest(1);
	uint64_t other = vm_alloc_gpa(vm, VM_PAGE), gates;
	struct vt_module c;
	uint8_t *secret;
	uint32_t page;
	unsigned m, s;

	(void)state;
	vt_wrap(&c, "counter", false);
	m = vt_load(vm, &c);
	s = vt_segment(vm, m, GM_SEG_GATES);
	page = vm_segments(vm->module[m])[s].start / 4096;
	gates = vt_gpa(vm, vm_module_base(vm, m, s));
	/* filled from elsewhere: the old frame is nobody's */
	assert_true(o->verified_fill(vm, m, page, other));
	assert_int_equal(vm_frame_of(vm, gates)->role, GUARD_ROLE_NONE);
	assert_int_equal(vm_frame_of(vm, gates)->flags, 0);
	assert_int_equal(vm->module[m]->frame[page], other);
	assert_true(o->frame_role(vm, m, page, other, GUARD_ROLE_GATES));
	assert_true(o->frame_role(vm, m, page, other, GUARD_ROLE_NONE));
	assert_int_equal(vm->module[m]->frame[page], 0);

	secret = vm->module[m]->copy +
		 vm_segments(vm->module[m])[vt_segment(vm, m, GM_SEG_PRIVATE)].start;
	memset(secret, 0x5e, VM_PAGE);
	assert_true(vm_unregister(vm, m));
	for (unsigned i = 0; i < VM_PAGE; i++)
		assert_int_equal(secret[i], 0);
	vt_free(&c);
	vm_destroy(vm);
}

/* What the engine hears of a switch, and what happens if it cannot. */
static void test_raise_and_lower(void **state)
{
	struct vm *vm = vt_guest(2);
	const struct guard_ops *o = &vm_guard_ops;
	struct vt_module c;
	unsigned m;

	(void)state;
	vt_wrap(&c, "counter", false);
	m = vt_load(vm, &c);
	assert_true(o->raise(vm, 1, m, 1));
	assert_int_equal(fake_last->view[1], m);
	assert_int_equal(fake_last->view[0], GUARD_VIEW_U);
	assert_false(fake_last->dirty[1]);
	assert_false(vm_may_mwait(vm, 1));
	assert_true(o->lower(vm, 1, m));
	assert_int_equal(fake_last->view[1], GUARD_VIEW_U);
	assert_true(o->raise(vm, 1, m, 0));
	assert_true(fake_last->dirty[1]);
	assert_true(o->lower(vm, 1, m));
	assert_true(o->raise(vm, 1, m, 0));
	assert_false(fake_last->dirty[1]);
	fake_last->refuse_view = true;
	assert_false(o->lower(vm, 1, m));
	assert_int_equal(vm->vcpu[1].view, m);
	fake_last->refuse_view = false;
	assert_true(o->lower(vm, 1, m));
	fake_last->refuse_view = true;
	assert_false(o->raise(vm, 1, m, 1));
	assert_int_equal(vm->vcpu[1].view, GUARD_VIEW_U);
	assert_int_equal(vm->vcpu[1].raised, 0);
	fake_last->refuse_view = false;
	vm_fail_next(vm, 1, 1);
	assert_false(o->raise(vm, 1, m, 1));
	assert_true(o->raise(vm, 1, m, 1));
	assert_false(o->lower(vm, 1, m));
	assert_true(o->lower(vm, 1, m));
	vt_free(&c);
	vm_destroy(vm);
}

static enum guard_event_name last_event(const struct vm *vm)
{
	return vm_log_line(vm, vm_log_count(vm) - 1)->line.event;
}

/* MWAIT, ports and MSRs: free where raised, denied and reported elsewhere, shown when granted. */
static void test_other_privileges(void **state)
{
	static const struct wrap_privilege kinds[] = {
		{ .kind = GM_PRIV_MWAIT, .name = "mwait" },
		{ .kind = GM_PRIV_IOPORT, .name = "ports", .first = 0x300, .last = 0x30f },
		{ .kind = GM_PRIV_MSR, .name = "msrs", .first = 0x123, .last = 0x123 },
	};
	struct vm *vm = vt_guest(2);
	const struct gh_boot *b = (const void *)(vm->ram + vm->boot_gpa);
	uint64_t value = 0, word = 0;
	struct vt_module c;
	unsigned m;

	(void)state;
	vt_wrap_with(&c, "counter", kinds, 3);
	m = vt_load(vm, &c);
	/* outside: nothing, and a line in the log */
	assert_int_equal(vm_port_in(vm, 0, 0x300, 4), 0xffffffff);
	assert_int_equal(last_event(vm), GUARD_TOUCH);
	value = vm_log_count(vm);
	vm_port_out(vm, 0, 0x30f, 4, 5);
	assert_int_equal(vm_log_count(vm), value + 1);
	assert_false(vm_msr_read(vm, 0, 0x123, &value));
	assert_false(vm_msr_write(vm, 0, 0x123, 1));
	value = vm_log_count(vm);
	vm_port_in(vm, 0, 0x310, 4);
	assert_false(vm_msr_read(vm, 0, 0x124, &word));
	assert_int_equal(vm_log_count(vm), value);
	assert_false(vm_may_mwait(vm, 0));
	/* every port that an access covers counts: the bound ones begin at its last byte */
	vm_port_in(vm, 0, 0x2ff, 1);
	vm_port_out(vm, 0, 0x2fe, 2, 5);
	vm_port_in(vm, 0, 0x2fc, 4);
	assert_int_equal(vm_log_count(vm), value);
	assert_int_equal(vm_port_in(vm, 0, 0x2ff, 2), 0xffffffff);
	assert_int_equal(vm_log_count(vm), value + 1);
	vm_port_out(vm, 0, 0x2fd, 4, 5);
	assert_int_equal(vm_log_count(vm), value + 2);
	assert_int_equal(last_event(vm), GUARD_TOUCH);
	/* inside, on this vCPU only */
	assert_true(vm_guard_ops.raise(vm, 0, m, c.binding.bound));
	assert_true(vm_may_mwait(vm, 0));
	assert_false(vm_may_mwait(vm, 1));
	vm_port_out(vm, 0, 0x30f, 4, 5);
	assert_int_equal(vm_port_in(vm, 0, 0x300, 4), 5);
	assert_int_equal(vm_port_in(vm, 1, 0x300, 4), 0xffffffff);
	assert_true(vm_msr_write(vm, 0, 0x123, 9));
	assert_true(vm_msr_read(vm, 0, 0x123, &value));
	assert_int_equal(value, 9);
	assert_false(vm_msr_read(vm, 0, 0x124, &value));
	assert_true(vm_guard_ops.lower(vm, 0, m));
	assert_false(vm_may_mwait(vm, 0));
	/* the status page of a vCPU says what is granted there */
	assert_true(vm_read_u(vm, 0, b->status_page[1], &word, 8));
	assert_int_equal(word, 1ull << m);
	fake_last->kicked = 0;
	assert_true(vm_grant(vm, 1, m, c.binding.bound, false));
	assert_int_equal(fake_last->kicked, 2); /* it may sleep in MWAIT */
	assert_true(vm_read_u(vm, 0, b->status_page[1], &word, 8));
	assert_int_equal(word, 0);
	assert_true(vm_read_u(vm, 0, b->status_page[0], &word, 8));
	assert_int_equal(word, 1ull << m);
	vt_free(&c);
	vm_destroy(vm);
}

/* What guarding would not guard is refused, by file, offset and name, before anything is placed. */
static void test_unguardable(void **state)
{
	static const struct wrap_privilege bad[] = {
		{ .kind = GM_PRIV_IOPORT, .name = "exit", .first = 0xf4, .last = 0xf4 },
		{ .kind = GM_PRIV_IOPORT, .name = "timer", .first = 0xf9, .last = 0x100 },
		{ .kind = GM_PRIV_IOPORT, .name = "serial", .first = 0xe8, .last = 0xef },
		{ .kind = GM_PRIV_IOPORT, .name = "cross", .first = 0xb0, .last = 0xb6 },
		{ .kind = GM_PRIV_MSR, .name = "time", .first = 0, .last = 0x10 },
		{ .kind = GM_PRIV_MSR, .name = "base", .first = 0xc0000101, .last = 0xc0000101 },
		{ .kind = GM_PRIV_MSR, .name = "aux", .first = 0xc0000103, .last = 0xc0000103 },
	};
	static const struct wrap_privilege good[] = {
		{ .kind = GM_PRIV_IOPORT, .name = "near", .first = 0xfa, .last = 0xff },
		{ .kind = GM_PRIV_MSR, .name = "syscall", .first = 0xc0000080, .last = 0xc0000084 },
	};
	struct vm *vm = vt_guest(1);
	struct vt_module c;
	struct error err;
	unsigned index;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		vt_wrap_with(&c, "counter", &bad[i], 1);
		assert_false(vm_load_module(vm, &c.source, true, NULL, NULL, &index, &err));
		if (strncmp(err.text, "counter: manifest offset 0x", 27) ||
		    !strstr(err.text, bad[i].name) || !strstr(err.text, "cannot be bound"))
			fail_msg("%s", err.text);
		/* a range that is not bound hurts nobody */
		if (i == 0) {
			c.binding.bound = 0;
			vt_load(vm, &c);
			assert_true(vm_unregister(vm, 0));
		}
		vt_free(&c);
	}
	vt_wrap_with(&c, "counter", good, 2);
	vt_load(vm, &c);
	vt_free(&c);
	vm_destroy(vm);
}

/* ---- memory given out while the guest runs ---- */

static void test_alloc(void **state)
{
	struct vm *vm = vt_guest(1);
	struct vm_exit exit;
	uint64_t a, b, gpa = 0, top = vm->ram_size, word = 1;

	(void)state;
	a = vm_alloc_gpa(vm, 1);
	b = vm_alloc_gpa(vm, 4097);
	assert_int_equal(b, a + VM_PAGE);
	assert_int_equal(vm->alloc_low, b + 2 * VM_PAGE);
	assert_int_equal(vm_alloc_gpa(vm, 0), 0);
	assert_int_equal(vm_alloc_gpa(vm, ~(size_t)0), 0);
	assert_int_equal(vm_alloc_gpa(vm, vm->ram_size), 0);
	vm_run(vm, &exit);
	assert_int_equal(exit.reason, VM_EXIT_HALTED);
	/* from the top, zeroed, around frames that a module owns */
	vm_frame_set(vm, top - 2 * VM_PAGE, GUARD_ROLE_PRIVATE, 0, 0, 0);
	memset(vm->ram + top - 5 * VM_PAGE, 0xee, VM_PAGE);
	assert_int_equal(vm_alloc_gpa(vm, VM_PAGE), top - VM_PAGE);
	a = vm_alloc_gpa(vm, 3 * VM_PAGE);
	assert_int_equal(a, top - 5 * VM_PAGE);
	assert_int_equal(vm->ram[a], 0);
	assert_int_equal(vm->ram[top - 2 * VM_PAGE], 0);
	vm_frame_set(vm, top - 2 * VM_PAGE, GUARD_ROLE_NONE, 0, 0, 0);

	assert_true(vm_map_ram(vm, 0xffffd00000000000ull, 8192, false, &gpa));
	assert_int_equal(vt_gpa(vm, 0xffffd00000001000ull), gpa + VM_PAGE);
	assert_true(vm_write_u(vm, 0, 0xffffd00000000ff8ull, &word, 8));
	assert_true(vm_read_u(vm, 0, 0xffffd00000000ffcull, &word, 8));
	assert_false(vm_read_u(vm, 0, 0xffffd00000001ff8ull, &word, 16));
	assert_false(vm_map_ram(vm, 0x400000, 4096, false, &gpa));
	assert_false(vm_map_ram(vm, 0xffffd00000000001ull, 4096, false, &gpa));
	/* the guest's tables may lead anywhere: into nothing, into a module's frame */
	put(vm, vm->cr3, 300, 0xfffffff000 | PTE_P);
	assert_false(vm_map_ram(vm, 0xffff960000000000ull, 4096, false, &gpa));
	vm_frame_set(vm, 0x700000, GUARD_ROLE_VERIFIED, 0, 0, 0);
	put(vm, vm->cr3, 300, 0x700000 | PTE_P);
	assert_false(vm_map_ram(vm, 0xffff960000000000ull, 4096, false, &gpa));
	vm_destroy(vm);
}

static void test_devices(void **state)
{
	struct vm *vm = vt_guest(1);
	struct vm_device d = { .name = "d", .gpa = 0xe0000000, .size = 4096 };
	struct error err;
	uint64_t word = 0;

	(void)state;
	assert_true(vm_add_device(vm, &d, &err));
	assert_true(vm_read_u(vm, 0, GH_DIRECT_MAP + d.gpa, &word, 8));
	assert_int_equal(word, ~0ull); /* nobody answers */
	assert_false(vm_add_device(vm, &d, &err));
	assert_non_null(strstr(err.text, "overlaps"));
	d.gpa = 0x1000;
	assert_false(vm_add_device(vm, &d, &err));
	d.gpa = 0xe1000800;
	assert_false(vm_add_device(vm, &d, &err));
	d.gpa = ~0xfffull;
	assert_false(vm_add_device(vm, &d, &err));

	assert_true(vm_add_doorbell(vm, 77, &err));
	assert_int_equal(vm_mmio_read(vm, 0, GH_DEVICE_GPA + GH_DOORBELL_ID, 4), 0x4c4c4542);
	assert_int_equal(vm_mmio_read(vm, 0, GH_DEVICE_GPA + GH_DOORBELL_ID + 1, 1), 0x45);
	assert_int_equal(vm_mmio_read(vm, 0, GH_DEVICE_GPA + GH_DOORBELL_SECRET, 2), 77);
	vm_mmio_write(vm, 0, GH_DEVICE_GPA + GH_DOORBELL_RING, 4, 0x123456789);
	assert_int_equal(vm_mmio_read(vm, 0, GH_DEVICE_GPA + GH_DOORBELL_RING, 4), 0x23456789);
	assert_int_equal(vm_mmio_read(vm, 0, GH_DEVICE_GPA + GH_DOORBELL_COUNT, 4), 1);
	assert_int_equal(vm_mmio_read(vm, 0, GH_DEVICE_GPA + 4092, 8), 0xffffffffffffffff);
	assert_int_equal(vm_port_in(vm, 0, 0x60, 1), 0xffffffff);
	assert_false(vm_msr_read(vm, 0, 0x10, &word));
	vm_destroy(vm);
}

/* ---- console ---- */

static void test_console(void **state)
{
	struct vm *vm = vt_create(1, 0);

	(void)state;
	assert_string_equal(vm_console(vm), "");
	for (const char *s = "hello\n"; *s; s++)
		vm_port_out(vm, 0, GH_PORT_CONSOLE, 1, (uint8_t)*s);
	assert_string_equal(vm_console(vm), "hello\n");
	for (unsigned i = 0; i < 500000; i++)
		vm_console_byte(vm, (char)('a' + i % 26));
	assert_int_equal(strlen(vm_console(vm)), VM_CONSOLE_BYTES);
	assert_int_equal(vm_console(vm)[VM_CONSOLE_BYTES - 1], 'a' + 499999 % 26);
	vm_destroy(vm);
}

/* ---- the log ---- */

static void test_log(void **state)
{
	struct vm *vm = vt_guest(2);
	struct guard_line line = {
		.event = GUARD_ENTER_CALL,
		.verdict = GUARD_V_BAD_STACK,
		.cause = GUARD_CAUSE_FETCH,
		.act = 7,
		.from = GUARD_VIEW_U,
	};
	char text[512], path[] = "/tmp/vmm_log_XXXXXX";
	struct vt_module c;
	struct error err;
	struct blob b;
	size_t before;
	int fd;

	(void)state;
	vt_wrap(&c, "counter", false);
	line.module = line.to = (uint8_t)vt_load(vm, &c);
	line.rip = vt_symbol(vm, "counter:enter/counter_get") + 4;
	before = vm_log_count(vm);
	vm_log_append(vm, 1, &line);
	assert_int_equal(vm_log_count(vm), before + 1);
	vm_log_format(vm, vm_log_line(vm, before), text, sizeof(text));
	/* the second vCPU's first line after its GRANT */
	assert_string_equal(text, "2 vcpu=1 ENTER-CALL module=counter "
				  "site=counter:enter/counter_get+0x4 verdict=bad-stack "
				  "view=U>P(counter) act=7 cause=fetch");
	line.module = GUARD_VIEW_U;
	line.to = GUARD_VIEW_U;
	line.rip = 0x1234;
	vm_log_append(vm, 0, &line);
	vm_log_format(vm, vm_log_line(vm, before + 1), text, sizeof(text));
	assert_non_null(strstr(text, " vcpu=0 ENTER-CALL module=- site=?+0x1234 "));
	assert_non_null(strstr(text, " view=U>U "));
	line.rip = 0;
	vm_log_append(vm, 0, &line);
	vm_log_format(vm, vm_log_line(vm, before + 2), text, sizeof(text));
	assert_non_null(strstr(text, " site=- "));
	assert_null(vm_log_line(vm, before + 3));
	vm_log_format(vm, vm_log_line(vm, 0), text, 12); /* short buffers are respected */
	assert_int_equal(strlen(text), 11);

	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	assert_true(vm_log_write(vm, path, &err));
	assert_true(blob_read(&b, path, 1 << 20, &err));
	assert_memory_equal(b.data, "1 vcpu=0 REGISTER module=counter site=- verdict=ok", 50);
	assert_int_equal(b.data[b.size - 1], '\n');
	blob_free(&b);
	unlink(path);
	assert_false(vm_log_write(vm, "/nonexistent/log", &err));
	vt_free(&c);
	vm_destroy(vm);
}

/* A full ring loses the oldest, counts them, and keeps each vCPU's numbering. */
static void test_log_ring(void **state)
{
	struct vm *vm = vt_create(2, 5);
	struct guard_line line = { .event = GUARD_TOUCH, .module = GUARD_VIEW_U };
	char path[] = "/tmp/vmm_log_XXXXXX";
	struct error err;
	struct blob b;
	int fd = mkstemp(path);

	(void)state;
	for (unsigned i = 0; i < 12; i++)
		vm_log_append(vm, i % 2, &line);
	assert_int_equal(vm_log_count(vm), 5);
	assert_int_equal(vm_log_lost(vm), 7);
	assert_int_equal(vm_log_line(vm, 0)->n, 4);
	assert_int_equal(vm_log_line(vm, 0)->vcpu, 1);
	assert_int_equal(vm_log_line(vm, 4)->n, 6);
	assert_true(fd >= 0);
	close(fd);
	assert_true(vm_log_write(vm, path, &err));
	assert_true(blob_read(&b, path, 1 << 20, &err));
	assert_memory_equal(b.data + b.size - 7, "lost 7\n", 7);
	blob_free(&b);
	unlink(path);
	vm_destroy(vm);
}

static void test_trace(void **state)
{
	struct vm_config cfg = { .engine = &fake_engine, .ram_size = 16u << 20, .vcpus = 1 };
	struct guard_line line = {
		.event = GUARD_LEAVE_CALL,
		.module = GUARD_VIEW_U,
		.from = GUARD_VIEW_U,
		.to = GUARD_VIEW_U,
		.act = 3,
		.slot = 0xffffc90000007ff0ull,
		.old_word = 0x1111,
		.new_word = 0x2222,
		.rip = 0x3333,
	};
	struct guard_decision d = { .nlines = 1 };
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	struct vm *vm;

	(void)state;
	cfg.trace = f;
	vm = vm_create(&cfg, NULL);
	assert_non_null(vm);
	d.line[0] = line;
	d.stop = 1;
	vm_record(vm, 0, &d);
	assert_int_equal(vm_log_count(vm), 1);
	assert_true(vm->vcpu[0].stopped);
	vm_destroy(vm);
	fclose(f);
	assert_non_null(strstr(text, "vCPU 0 calls out of"));
	assert_non_null(strstr(text, "LEAVE-CALL"));
	assert_non_null(strstr(text, "0xffffc90000007ff0: ?+0x1111 -> ?+0x2222"));
	free(text);
}

static void test_symbols(void **state)
{
	struct vm *vm = vt_guest(1);
	uint64_t start = vt_symbol(vm, "start");
	char buf[64], small[8];

	(void)state;
	assert_string_equal(vm_symbolize(vm, start + 2, buf, sizeof(buf)), "start+0x2");
	assert_string_equal(vm_symbolize(vm, 0xdeadull, buf, sizeof(buf)), "?+0xdead");
	assert_string_equal(vm_symbolize(vm, start, small, sizeof(small)), "start+0");
	vm_destroy(vm);
}

/* ---- running ---- */

struct host {
	unsigned calls;
	unsigned last;
	uint64_t stop;
	bool nest, nested_ok, answer;
	struct vm_exit exit;
};

static bool host_service(void *ctx, struct vm *vm, unsigned vcpu)
{
	struct host *h = ctx;

	h->calls++;
	h->last = vcpu;
	if (h->nest) {
		h->nest = false;
		h->nested_ok = vm_run_nested(vm, vcpu, h->stop, &h->exit);
	}
	return h->answer;
}

static void test_host_calls(void **state)
{
	struct vm *vm = vt_guest(2);
	struct host h = { .answer = true, .stop = 0x500 };
	struct vm_exit exit;

	(void)state;
	/* nobody serves: the run ends there, and can go on */
	fake_script(fake_last, VM_EXIT_HOST, 0, 0x100, NULL);
	vm_run(vm, &exit);
	assert_int_equal(exit.reason, VM_EXIT_HOST);
	assert_int_equal(exit.rip, 0x100);
	vm_on_host_port(vm, host_service, &h);
	/* three services; the second is another vCPU's; then the guest ends */
	fake_script(fake_last, VM_EXIT_HOST, 0, 0x100, NULL);
	fake_script(fake_last, VM_EXIT_HOST, 1, 0x200, NULL);
	fake_script(fake_last, VM_EXIT_GUEST, 1, 0x300, NULL);
	vm_run(vm, &exit);
	assert_int_equal(exit.reason, VM_EXIT_GUEST);
	assert_int_equal(h.calls, 2);
	assert_int_equal(h.last, 1);
	/* a nested run: other calls are served meanwhile, it ends at its own stop only */
	h.nest = true;
	h.calls = 0;
	fake_script(fake_last, VM_EXIT_HOST, 0, 0x100, NULL);
	fake_script(fake_last, VM_EXIT_HOST, 1, 0x500, NULL);
	fake_script(fake_last, VM_EXIT_HOST, 0, 0x400, NULL);
	fake_script(fake_last, VM_EXIT_HOST, 0, 0x500, NULL);
	fake_script(fake_last, VM_EXIT_GUEST, 0, 0x600, NULL);
	vm_run(vm, &exit);
	assert_true(h.nested_ok);
	assert_int_equal(h.calls, 3);
	assert_int_equal(exit.reason, VM_EXIT_GUEST);
	assert_int_equal(vm->nested, 0);
	/* the guest ends inside of it */
	h.nest = true;
	h.answer = false;
	fake_script(fake_last, VM_EXIT_HOST, 0, 0x100, NULL);
	fake_script(fake_last, VM_EXIT_TRIPLE_FAULT, 0, 0x777, "triple fault");
	vm_run(vm, &exit);
	assert_false(h.nested_ok);
	assert_int_equal(h.exit.reason, VM_EXIT_TRIPLE_FAULT);
	assert_non_null(strstr(h.exit.message, "triple fault on vCPU 0 at ?+0x777"));
	assert_int_equal(exit.reason, VM_EXIT_HOST);
	vm_destroy(vm);
}

struct two {
	unsigned depth;
	bool ok[2];
	uint64_t first, second;
};

/* vCPU 0 waits for 0xa00; meanwhile vCPU 1 asks and waits for 0xb00. */
static bool two_services(void *ctx, struct vm *vm, unsigned vcpu)
{
	struct two *t = ctx;
	struct vm_exit exit;
	unsigned mine = t->depth++;

	if (mine > 1)
		return true;
	t->ok[mine] = vm_run_nested(vm, vcpu, vcpu ? 0xb00 : 0xa00, &exit);
	return true;
}

/* The outer run's stop comes while the inner one waits: it is kept for its turn. */
static void test_nested_crossed(void **state)
{
	struct vm *vm = vt_guest(2);
	struct two t = { 0 };
	struct vm_exit exit;

	(void)state;
	vm_on_host_port(vm, two_services, &t);
	fake_script(fake_last, VM_EXIT_HOST, 0, 0x100, NULL);
	fake_script(fake_last, VM_EXIT_HOST, 1, 0x200, NULL);
	fake_script(fake_last, VM_EXIT_HOST, 0, 0xa00, NULL);
	fake_script(fake_last, VM_EXIT_HOST, 1, 0xb00, NULL);
	fake_script(fake_last, VM_EXIT_GUEST, 1, 0x300, NULL);
	vm_run(vm, &exit);
	assert_int_equal(exit.reason, VM_EXIT_GUEST);
	assert_true(t.ok[0]);
	assert_true(t.ok[1]);
	assert_int_equal(t.depth, 2);
	assert_int_equal(fake_last->state[0], ENGINE_RUNNABLE);
	vm_destroy(vm);
}

static bool too_deep(void *ctx, struct vm *vm, unsigned vcpu)
{
	struct vm_exit exit;
	unsigned *depth = ctx;

	++*depth;
	if (vm_run_nested(vm, vcpu, 0xffff, &exit))
		fail_msg("came back");
	return false;
}

static void test_nested_bounded(void **state)
{
	struct vm *vm = vt_guest(1);
	struct vm_exit exit;
	unsigned depth = 0;

	(void)state;
	vm_on_host_port(vm, too_deep, &depth);
	for (unsigned i = 0; i < 40; i++)
		fake_script(fake_last, VM_EXIT_HOST, 0, 0x100, NULL);
	vm_run(vm, &exit);
	assert_int_equal(depth, VM_MAX_NESTED + 1);
	vm_destroy(vm);
}

/* A message names vCPU, place and the last crossings, in one line and within its bounds. */
static void test_exit_message(void **state)
{
	struct guard_line line = { .event = GUARD_LEAVE_RETURN, .module = GUARD_VIEW_U };
	struct vm *vm = vt_guest(2);
	char noise[256];
	struct vm_exit exit;

	(void)state;
	line.rip = vt_symbol(vm, "start");
	memset(noise, 'x', sizeof(noise));
	noise[255] = 0;
	for (unsigned i = 0; i < 5; i++)
		vm_log_append(vm, 0, &line);
	fake_script(fake_last, VM_EXIT_BUDGET, 1, line.rip + 1, "budget exhausted");
	vm_run(vm, &exit);
	assert_string_equal(exit.message,
			    "budget exhausted on vCPU 1 at start+0x1; last crossings: "
			    "LEAVE-RETURN start+0x0 ok; LEAVE-RETURN start+0x0 ok; "
			    "LEAVE-RETURN start+0x0 ok;");
	fake_script(fake_last, VM_EXIT_ENGINE, 0, 0, noise);
	vm_run(vm, &exit);
	assert_true(strlen(exit.message) < sizeof(exit.message));
	vm_interrupt(vm);
	assert_int_equal(fake_last->interrupts, 1);
	vm_destroy(vm);
}

static void test_create_refuses(void **state)
{
	struct vm_config cfg = { .engine = &fake_engine, .vcpus = 1 };
	struct error err;

	(void)state;
	cfg.vcpus = 0;
	assert_null(vm_create(&cfg, &err));
	cfg.vcpus = GH_MAX_VCPUS + 1;
	assert_null(vm_create(&cfg, &err));
	cfg.vcpus = 16;
	cfg.ram_size = 4096;
	assert_null(vm_create(&cfg, &err));
	cfg.ram_size = ~0ull << 21;
	assert_null(vm_create(&cfg, &err));
	cfg.ram_size = 2u << 20;
	cfg.log_lines = SIZE_MAX;
	assert_null(vm_create(&cfg, &err));
	cfg.log_lines = 1;
	cfg.engine = NULL;
	assert_null(vm_create(&cfg, &err));
	vm_destroy(NULL);
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
		cmocka_unit_test(test_views),
		cmocka_unit_test(test_page_runs),
		cmocka_unit_test(test_stand_ins_for_the_host),
		cmocka_unit_test(test_ops_refuse),
		cmocka_unit_test(test_written),
		cmocka_unit_test(test_wipe_and_forget),
		cmocka_unit_test(test_raise_and_lower),
		cmocka_unit_test(test_other_privileges),
		cmocka_unit_test(test_unguardable),
		cmocka_unit_test(test_alloc),
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_console),
		cmocka_unit_test(test_log),
		cmocka_unit_test(test_log_ring),
		cmocka_unit_test(test_trace),
		cmocka_unit_test(test_symbols),
		cmocka_unit_test(test_host_calls),
		cmocka_unit_test(test_nested_crossed),
		cmocka_unit_test(test_nested_bounded),
		cmocka_unit_test(test_exit_message),
		cmocka_unit_test(test_create_refuses),
	};

	return cmocka_run_group_tests_name("vmm", tests, NULL, NULL);
}
