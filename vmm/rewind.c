/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Back to a moment when nobody was inside a module: for a fuzzer, which gives the same modules in the
 * same VM one program after the other and cannot afford to load and announce them each time.
 *
 * Guest RAM is read-only from the mark on. The first write to a page faults: its bytes are kept, and
 * it is open for good, so that after a few inputs nothing faults any more and going back costs a
 * comparison for each page that was ever written. Pages with the tables of the mark are closed again
 * each time: a write to one means that translations may be stale, even if the bytes are back.
 *
 * The engine keeps what it has translated, which is where the time goes. So what it may hold must
 * not depend on what ran: the tables' A and D bits are set from the start (memory.c), and what
 * differs from the mark, a frame's role, a copy, a table, is dropped there.
 */
#define _GNU_SOURCE /* mremap */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/internal.h"

#define CLOSED 0u
#define OPEN 1u	 /* written since the mark, at some time: `page` lists it */
#define TABLE 2u /* holds page tables of the mark */
#define TABLE_WRITTEN 3u

struct module_mark {
	struct vm_module m;
	uint8_t *copy, *work;
	uint64_t *frame, *dirty;
	size_t work_len;
};

struct vm_mark {
	struct vm vm;
	void *guard;
	struct vm_frame *frame;
	uint16_t *special;
	struct module_mark module[GUARD_MAX_MODULES]; /* in load order */
	struct vm_line *lines;
	char *console;

	uint8_t *before; /* [ram_size]: of OPEN and TABLE_WRITTEN pages, as they were */
	uint8_t *twin;	 /* RAM once more, in one piece whatever is open: see vm_ram_twin() */
	uint8_t *state;	 /* of each page */
	uint32_t *page, *table;
	uint32_t npages, ntables;
	volatile sig_atomic_t tables_written;
};

#define MAX_MARKED 16u /* VMs of this process */

static struct vm *volatile marked[MAX_MARKED]; /* whose RAM may fault */

static void *copy_of(const void *from, size_t bytes)
{
	void *to = malloc(bytes ? bytes : 1);

	if (to && from)
		memcpy(to, from, bytes);
	return to;
}

static void *pages_of(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* ---- writes ---- */

static bool open_page(struct vm *vm, size_t at)
{
	struct vm_mark *k = vm->mark;
	uint32_t p = (uint32_t)(at / VM_PAGE);

	if (k->state[p] == OPEN || k->state[p] == TABLE_WRITTEN)
		return false;
	memcpy(k->before + at, vm->ram + at, VM_PAGE);
	if (mprotect(vm->ram + at, VM_PAGE, PROT_READ | PROT_WRITE))
		return false;
	if (k->state[p] == TABLE) {
		k->state[p] = TABLE_WRITTEN;
		k->tables_written = 1;
	} else {
		k->state[p] = OPEN;
		k->page[k->npages++] = p;
	}
	return true;
}

bool vm_write_fault(const void *address)
{
	const uint8_t *p = address;

	for (unsigned i = 0; i < MAX_MARKED; i++) {
		struct vm *vm = marked[i];

		if (vm && p >= vm->ram && p < vm->ram + vm->ram_size)
			return open_page(vm, (size_t)(p - vm->ram) & ~(VM_PAGE - 1));
	}
	return false;
}

const uint8_t *vm_ram_twin(const struct vm *vm, const uint8_t *host)
{
	if (!vm->mark || host < vm->ram || host >= vm->ram + vm->ram_size)
		return host;
	return vm->mark->twin + (host - vm->ram);
}

/* Tables below `table`, itself of level `shift`. Bounded: each frame is taken once. */
static void note_tables(struct vm *vm, uint64_t table, unsigned shift)
{
	struct vm_mark *k = vm->mark;

	if (!vm_is_ram(vm, table, VM_PAGE) || k->state[table / VM_PAGE] == TABLE)
		return;
	k->state[table / VM_PAGE] = TABLE;
	k->table[k->ntables++] = (uint32_t)(table / VM_PAGE);
	for (unsigned i = 0; shift > 12 && i < 512; i++) {
		uint64_t entry;

		memcpy(&entry, vm->ram + table + i * 8ull, 8);
		if ((entry & PTE_P) && !(entry & PTE_PS))
			note_tables(vm, entry & VM_PAGE_MASK, shift - 9);
	}
}

static bool watch_ram(struct vm *vm)
{
	struct vm_mark *k = vm->mark;
	void *twin;

	k->before = pages_of(vm->ram_size);
	twin = mremap(vm->ram, 0, vm->ram_size, MREMAP_MAYMOVE);
	k->twin = twin == MAP_FAILED ? NULL : twin;
	k->state = calloc(vm->ram_size / VM_PAGE, 1);
	k->page = calloc(vm->ram_size / VM_PAGE, sizeof(*k->page));
	k->table = calloc(vm->ram_size / VM_PAGE, sizeof(*k->table));
	if (!k->before || !k->twin || !k->state || !k->page || !k->table)
		return false;
	note_tables(vm, vm->cr3, 39);
	for (unsigned v = 0; v < vm->cfg.vcpus; v++) {
		struct guard_cpu cpu;

		vm_get_cpu(vm, v, &cpu);
		note_tables(vm, cpu.cr3 & VM_PAGE_MASK, 39);
	}
	for (unsigned i = 0; i < MAX_MARKED; i++)
		if (!marked[i]) {
			marked[i] = vm;
			return mprotect(vm->ram, vm->ram_size, PROT_READ) == 0;
		}
	return false;
}

/* ---- the mark ---- */

static bool keep_module(struct vm *vm, unsigned i)
{
	struct module_mark *k = &vm->mark->module[i];
	const struct vm_module *m = vm->loaded[i];
	size_t bits = (m->pages + 63) / 64 * sizeof(uint64_t);

	k->m = *m;
	if (m->work)
		k->work_len =
			guard_work_size(m->manifest.data, m->manifest.size, &m->binding.policy);
	k->copy = copy_of(m->copy, (size_t)m->pages * VM_PAGE);
	k->work = copy_of(m->work, k->work_len);
	k->frame = copy_of(m->frame, m->pages * sizeof(*m->frame));
	k->dirty = copy_of(m->dirty, bits);
	return k->copy && k->work && k->frame && k->dirty;
}

bool vm_set_mark(struct vm *vm, struct error *err)
{
	struct vm_mark *k;
	bool ok;

	if (vm->nested || vm->place.on || vm->mark || !vm->ops->set_mark)
		return error_set(err, "this VM cannot be marked: it is, or its engine cannot");
	k = calloc(1, sizeof(*k));
	if (!k)
		return error_set(err, "out of memory");
	vm->mark = k;
	if (!vm->started) {
		/* what the first run would do: the guest may use what follows the image */
		vm->started = true;
		vm_boot_update(vm);
	}
	k->guard = copy_of(vm->guard_memory, guard_size());
	k->frame = copy_of(vm->frame, vm->ram_size / VM_PAGE * sizeof(*vm->frame));
	k->special = copy_of(vm->special, vm->ram_size / VM_LARGE * sizeof(*vm->special));
	k->lines = copy_of(vm->log.ring, vm->log.count * sizeof(*k->lines));
	k->console = copy_of(vm->console, 2 * VM_CONSOLE_BYTES + 1);
	ok = k->guard && k->frame && k->special && k->lines && k->console && !vm->log.first;
	for (unsigned i = 0; i < vm->nloaded; i++)
		ok = keep_module(vm, i) && ok;
	ok = ok && vm->ops->set_mark(vm->engine) && (!vm->oracle || oracle_set_mark(vm->oracle)) &&
	     watch_ram(vm);
	vm->frames_moved = false;
	k->vm = *vm;
	return ok || error_set(err, "out of memory for a mark, or too many VMs have one");
}

void vm_mark_free(struct vm *vm)
{
	struct vm_mark *k = vm->mark;

	if (!k)
		return;
	mprotect(vm->ram, vm->ram_size, PROT_READ | PROT_WRITE);
	for (unsigned i = 0; i < MAX_MARKED; i++)
		if (marked[i] == vm)
			marked[i] = NULL;
	if (k->before)
		munmap(k->before, vm->ram_size);
	if (k->twin)
		munmap(k->twin, vm->ram_size);
	for (unsigned i = 0; i < GUARD_MAX_MODULES; i++) {
		free(k->module[i].copy);
		free(k->module[i].work);
		free(k->module[i].frame);
		free(k->module[i].dirty);
	}
	free(k->guard);
	free(k->frame);
	free(k->special);
	free(k->lines);
	free(k->console);
	free(k->state);
	free(k->page);
	free(k->table);
	free(k);
	vm->mark = NULL;
}

/* ---- back ---- */

static void put_page(struct vm *vm, uint32_t page)
{
	uint64_t gpa = page * VM_PAGE;

	if (!memcmp(vm->ram + gpa, vm->mark->before + gpa, VM_PAGE))
		return;
	memcpy(vm->ram + gpa, vm->mark->before + gpa, VM_PAGE);
	if (vm_frame_of(vm, gpa)->flags & FRAME_FETCHED)
		vm->ops->frames_changed(vm->engine, gpa, VM_PAGE);
}

static void put_ram(struct vm *vm)
{
	struct vm_mark *k = vm->mark;

	for (uint32_t i = 0; i < k->npages; i++)
		put_page(vm, k->page[i]);
	if (!k->tables_written)
		return;
	k->tables_written = 0;
	for (uint32_t i = 0; i < k->ntables; i++) {
		uint32_t p = k->table[i];

		if (k->state[p] != TABLE_WRITTEN)
			continue;
		put_page(vm, p);
		mprotect(vm->ram + p * VM_PAGE, VM_PAGE, PROT_READ);
		k->state[p] = TABLE;
	}
	vm->ops->recheck(vm->engine);
}

/* Frames were fetched from, and still are in the engine's eyes: that flag stays. */
static void put_frames(struct vm *vm)
{
	const struct vm_mark *k = vm->mark;

	for (uint64_t i = 0; i < vm->ram_size / VM_PAGE; i++) {
		struct vm_frame *f = &vm->frame[i], was = k->frame[i];

		was.flags |= f->flags & FRAME_FETCHED;
		if (!memcmp(f, &was, sizeof(was)))
			continue;
		*f = was;
		vm->ops->frames_changed(vm->engine, i * VM_PAGE, VM_PAGE);
	}
	memcpy(vm->special, k->special, vm->ram_size / VM_LARGE * sizeof(*vm->special));
}

static void put_module(struct vm *vm, unsigned i)
{
	const struct module_mark *k = &vm->mark->module[i];
	struct vm_module *m = vm->loaded[i];

	*m = k->m;
	memcpy(m->frame, k->frame, m->pages * sizeof(*m->frame));
	memcpy(m->dirty, k->dirty, (m->pages + 63) / 64 * sizeof(*m->dirty));
	if (m->work)
		memcpy(m->work, k->work, k->work_len);
	for (uint32_t p = 0; p < m->pages; p++) {
		uint8_t *to = m->copy + p * VM_PAGE;

		if (!memcmp(to, k->copy + p * VM_PAGE, VM_PAGE))
			continue;
		memcpy(to, k->copy + p * VM_PAGE, VM_PAGE);
		/* private memory is data, and its address stays */
		if (m->frame[p] && vm_frame_of(vm, m->frame[p])->role != GUARD_ROLE_PRIVATE)
			vm->ops->frames_changed(vm->engine, m->frame[p], VM_PAGE);
	}
}

/* A module that was placed anew has other symbols, and the old ones are kept elsewhere. */
static bool same_places(const struct vm *vm)
{
	const struct vm *was = &vm->mark->vm;

	return vm->nloaded == was->nloaded && vm->old_places == was->old_places &&
	       !memcmp(vm->module, was->module, sizeof(vm->module)) && !vm->nested;
}

bool vm_rewind(struct vm *vm, uint64_t seed)
{
	const struct vm_mark *k = vm->mark;
	struct vm_bound_range ranges[GUARD_MAX_MODULES][GM_MAX_PRIVILEGES];
	struct vm_vcpu now[GH_MAX_VCPUS];
	bool moved = vm->frames_moved, wrapped = vm->log.lost;

	if (!k || !same_places(vm))
		return false;
	memcpy(now, vm->vcpu, sizeof(now));
	memcpy(ranges, vm->range, sizeof(ranges));
	*vm = k->vm;
	/* what the engine's translations were made for, and still are */
	for (unsigned v = 0; v < vm->cfg.vcpus; v++) {
		memcpy(vm->vcpu[v].seen, now[v].seen, sizeof(now[v].seen));
		memcpy(vm->vcpu[v].last_raised, now[v].last_raised, sizeof(now[v].last_raised));
	}
	memcpy(vm->guard_memory, k->guard, guard_size());
	if (!vm->ops->rewind(vm->engine, seed))
		return false;
	/* devices that were bound or given back */
	if (memcmp(ranges, vm->range, sizeof(ranges)))
		vm->ops->invalidate(vm->engine, ENGINE_ALL_VCPUS, 0, 0);
	if (moved)
		put_frames(vm);
	for (unsigned i = 0; i < vm->nloaded; i++)
		put_module(vm, i);
	put_ram(vm);
	if (wrapped) /* else what came since stands behind */
		memcpy(vm->log.ring, k->lines, vm->log.count * sizeof(*k->lines));
	if (vm->oracle)
		oracle_rewind(vm->oracle, vm->cfg.oracle);
	return true;
}
