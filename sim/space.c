/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Spaces: Unicorn instances, their regions and their hooked instructions.
 *
 * Instances take milliseconds to make, so they go back to a pool when a VM ends or another vCPU
 * needs one. Regions are kept sorted by address and never split: Unicorn would copy what it splits,
 * so a region goes as a whole and comes back when it is next used.
 */
#define _GNU_SOURCE /* mremap */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sim/sim.h"

static struct sim_space *pool;
static struct sim_space *graveyard; /* crashed inside: nobody touches them again */

/* ---- regions ---- */

unsigned sim_space_at(struct sim_space *s, uint64_t gva)
{
	unsigned low = 0, high = s->nregions;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		/* Never wraps: a region may end at the very top of the address space. */
		if (s->region[mid].gva + (s->region[mid].bytes - 1) < gva)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct sim_region *sim_space_find(struct sim_space *s, uint64_t gva)
{
	struct sim_region *r;

	if (s->last < s->nregions) {
		r = &s->region[s->last];
		if (gva - r->gva < r->bytes)
			return r;
	}
	s->last = sim_space_at(s, gva);
	if (s->last == s->nregions)
		return NULL;
	r = &s->region[s->last];
	return gva - r->gva < r->bytes ? r : NULL;
}

/*
 * Unicorn files translated code under the host memory that it was made from. Where two regions show
 * one host page it may look in the wrong one's file: then code that was to go stays, and is run
 * again by whoever maps something at its address next. So what can be executed is mapped once more
 * in this process, for its region alone.
 */
static bool map_own(const struct vm *vm, struct sim_region *r)
{
	void *p;

	r->own = NULL;
	if (!(r->prot & UC_PROT_EXEC) || r->flags & (REGION_MMIO | REGION_SCRATCH))
		return true;
	/* Of 0 bytes: shared memory is not moved but mapped again (mremap(2)). */
	p = mremap((void *)(uintptr_t)(vm ? vm_ram_twin(vm, r->host) : r->host), 0, r->bytes,
		   MREMAP_MAYMOVE);
	if (p == MAP_FAILED)
		return false;
	r->own = p;
	return true;
}

static void unmap_own(struct sim_region *r)
{
	if (r->own)
		munmap(r->own, r->bytes);
}

bool sim_space_map(struct sim_space *s, const struct sim_region *region)
{
	struct sim_region r = *region;
	unsigned at;
	uc_err err;

	if (s->nregions == SIM_MAX_REGIONS || !map_own(s->vcpu ? s->vcpu->e->vm : NULL, &r))
		return false;
	if (r.flags & REGION_MMIO)
		err = uc_mmio_map(s->uc, r.gva, r.bytes, sim_mmio_read, r.mmio, sim_mmio_write,
				  r.mmio);
	else
		err = uc_mem_map_ptr(s->uc, r.gva, r.bytes, r.prot, r.own ? r.own : r.host);
	if (err) {
		unmap_own(&r);
		return false;
	}
	at = sim_space_at(s, r.gva);
	memmove(&s->region[at + 1], &s->region[at], (s->nregions - at) * sizeof(r));
	s->region[at] = r;
	s->nregions++;
	sim_watch_region(s, &r);
	return true;
}

void sim_space_drop(struct sim_space *s, unsigned index)
{
	struct sim_region *r = &s->region[index];

	if (!s->broken) {
		/* Unmapping alone leaves translated code behind, to be found again at this address. */
		if (r->prot & UC_PROT_EXEC)
			uc_ctl_remove_cache(s->uc, r->gva, r->gva + r->bytes);
		uc_mem_unmap(s->uc, r->gva, r->bytes);
	}
	unmap_own(r);
	free(r->mmio);
	s->nregions--;
	memmove(r, r + 1, (s->nregions - index) * sizeof(*r));
}

/*
 * While a store waits in a callback, Unicorn holds a pointer to its page's entry in the TLB. Looking
 * for translations that are to go, it fetches from their page, which may have put another page into
 * that very entry: the store would go to the sum of two addresses. A fetch from the store's own page
 * brings its entry back to where it was. There is no code to remove.
 */
void sim_space_hold_page(struct sim_space *s, uint64_t gva)
{
	uc_ctl_remove_cache(s->uc, gva, gva + 1);
}

void sim_space_drop_range(struct sim_space *s, uint64_t gva, uint64_t bytes)
{
	unsigned i = sim_space_at(s, gva);

	while (i < s->nregions && s->region[i].gva <= gva + (bytes - 1))
		sim_space_drop(s, i);
}

void sim_space_drop_frames(struct sim_space *s, uint64_t gpa, uint64_t bytes)
{
	unsigned i = 0;

	while (i < s->nregions) {
		struct sim_region *r = &s->region[i];

		if (r->gpa < gpa + bytes && gpa < r->gpa + r->bytes)
			sim_space_drop(s, i);
		else
			i++;
	}
}

void sim_space_clear(struct sim_space *s)
{
	while (s->nregions)
		sim_space_drop(s, s->nregions - 1);
}

const uint8_t *sim_space_bytes(struct sim_space *s, uint64_t gva, size_t *avail)
{
	struct sim_region *r = sim_space_find(s, gva);

	if (!r || (r->flags & REGION_MMIO))
		return NULL;
	*avail = r->bytes - (gva - r->gva);
	return r->host + (gva - r->gva);
}

unsigned sim_space_code(struct sim_space *s, uint64_t gva, uint8_t out[15])
{
	unsigned n = 0;

	while (n < 15) {
		size_t avail;
		const uint8_t *p = sim_space_bytes(s, gva + n, &avail);

		if (!p)
			break;
		if (avail > 15u - n)
			avail = 15u - n;
		memcpy(out + n, p, avail);
		n += (unsigned)avail;
	}
	return n;
}

/* ---- hooked instructions ---- */

static void on_code(uc_engine *uc, uint64_t address, uint32_t size, void *user)
{
	struct sim_space *s = user;

	(void)size;
	if (s->stop != STOP_NONE || !sim_space_is_sensitive(s, address))
		return;
	s->stop = STOP_INSN;
	s->stop_rip = address;
	uc_emu_stop(uc);
}

static unsigned slot_of(const struct sim_space *s, uint64_t gva)
{
	return (unsigned)((gva * 0x9e3779b97f4a7c15ull) >> 40) & (s->room - 1);
}

bool sim_space_is_sensitive(const struct sim_space *s, uint64_t gva)
{
	unsigned i;

	if (!s->room)
		return false;
	for (i = slot_of(s, gva); s->sensitive[i]; i = (i + 1) & (s->room - 1))
		if (s->sensitive[i] == gva)
			return true;
	return false;
}

static bool remember(struct sim_space *s, uint64_t gva)
{
	unsigned i;

	if (2 * (s->nsensitive + 1) > s->room) {
		unsigned room = s->room ? 2 * s->room : 256, old_room = s->room;
		uint64_t *table = calloc(room, sizeof(*table)), *old = s->sensitive;

		if (!table)
			return false;
		s->sensitive = table;
		s->room = room;
		for (i = 0; i < old_room; i++)
			if (old[i]) {
				unsigned j = slot_of(s, old[i]);

				while (table[j])
					j = (j + 1) & (room - 1);
				table[j] = old[i];
			}
		free(old);
	}
	i = slot_of(s, gva);
	while (s->sensitive[i])
		i = (i + 1) & (s->room - 1);
	s->sensitive[i] = gva;
	s->nsensitive++;
	return true;
}

/* The bytes there have changed. Address 1 is never fetched from, so it can stand for nothing. */
void sim_space_not_sensitive(struct sim_space *s, uint64_t gva)
{
	unsigned i;

	if (!s->room)
		return;
	for (i = slot_of(s, gva); s->sensitive[i]; i = (i + 1) & (s->room - 1))
		if (s->sensitive[i] == gva) {
			s->sensitive[i] = 1;
			return;
		}
}

/*
 * Unicorn walks the list of all hooks at every callback, so near ones share a range (gates lie 16
 * bytes apart), and when there are too many all of them do.
 */
void sim_space_hook(struct sim_space *s, uint64_t gva)
{
	uint64_t begin = gva, end = gva;
	unsigned i, kept = 0;
	bool covered = false, all;

	if (!gva || sim_space_is_sensitive(s, gva))
		return;
	if (!remember(s, gva) || !sim_fast)
		return;
	for (i = 0; i < s->nhooks; i++)
		if (gva >= s->hook[i].begin && gva <= s->hook[i].end)
			covered = true;
	if (covered)
		return;
	all = s->nhooks == SIM_MAX_HOOKS;
	for (i = 0; i < s->nhooks; i++) {
		if (!all && (begin > s->hook[i].end + 16 || s->hook[i].begin > end + 16)) {
			s->hook[kept++] = s->hook[i];
			continue;
		}
		if (s->hook[i].begin < begin)
			begin = s->hook[i].begin;
		if (s->hook[i].end > end)
			end = s->hook[i].end;
		uc_hook_del(s->uc, s->hook[i].handle);
	}
	s->hook[kept].begin = begin;
	s->hook[kept].end = end;
	uc_hook_add(s->uc, &s->hook[kept].handle, UC_HOOK_CODE, (void *)on_code, s, begin, end);
	s->nhooks = kept + 1;
}

static void unhook_all(struct sim_space *s)
{
	unsigned i;

	for (i = 0; i < s->nhooks; i++)
		uc_hook_del(s->uc, s->hook[i].handle);
	s->nhooks = 0;
	if (s->room)
		memset(s->sensitive, 0, s->room * sizeof(*s->sensitive));
	s->nsensitive = 0;
}

/* ---- instances ---- */

static void destroy(struct sim_space *s)
{
	if (s->uc)
		uc_close(s->uc);
	free(s->sensitive);
	free(s->scratch);
	free(s);
}

static bool open_instance(struct sim_space *s)
{
	s->cpu = NULL;
	s->code_low = s->code_high = 0;
	if (uc_open(UC_ARCH_X86, UC_MODE_64, &s->uc)) {
		s->uc = NULL;
		return false;
	}
	return sim_hooks_add(s);
}

static struct sim_space *create(void)
{
	struct sim_space *s, **link;

	for (link = &pool; *link; link = &(*link)->next) {
		s = *link;
		if (s->fast != sim_fast)
			continue;
		*link = s->next;
		s->next = NULL;
		return s;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->fast = sim_fast;
	s->scratch = aligned_alloc(SIM_PAGE, SIM_PAGE);
	if (!s->scratch || !open_instance(s)) {
		destroy(s);
		return NULL;
	}
	return s;
}

static void forget(struct sim_space *s)
{
	sim_space_clear(s);
	unhook_all(s);
	sim_watch_remove(s);
}

/*
 * Code that is gone keeps its place among the translated, which is given back only when all 1 GiB
 * of it are full: and then Unicorn links a new block to one that is no more, and crashes. So an
 * instance is replaced long before.
 */
static bool worn(const struct sim_space *s)
{
	return s->code_high - s->code_low > SIM_MAX_CODE;
}

static bool renew(struct sim_space *s)
{
	forget(s);
	uc_close(s->uc);
	if (open_instance(s) && sim_watch_add(s))
		return true;
	s->broken = true;
	return false;
}

void sim_space_release(struct sim_space *s)
{
	if (!s->broken) {
		forget(s);
	} else {
		while (s->nregions) {
			unmap_own(&s->region[--s->nregions]);
			free(s->region[s->nregions].mmio);
		}
	}
	s->vcpu = NULL;
	s->next = s->broken ? graveyard : pool;
	if (s->broken)
		graveyard = s;
	else
		pool = s;
}

/* Takes the least recently used space away from its vCPU. */
static bool steal(struct engine *e)
{
	unsigned i, view, best = e->nspaces;
	struct sim_vcpu *v;

	for (i = 0; i < e->nspaces; i++)
		if (best == e->nspaces || e->spaces[i]->used < e->spaces[best]->used)
			best = i;
	if (best == e->nspaces)
		return false;
	v = e->spaces[best]->vcpu;
	if (v->live == e->spaces[best])
		sim_save(v);
	for (view = 0; view < SIM_VIEWS; view++)
		if (v->space[view] == e->spaces[best])
			v->space[view] = NULL;
	sim_space_release(e->spaces[best]);
	e->spaces[best] = e->spaces[--e->nspaces];
	return true;
}

/* The space of what the vCPU executes now, if there is one; which that is. */
static struct sim_space *current(struct sim_vcpu *v, unsigned *view, unsigned *cpl)
{
	uint64_t cs = 0;

	if (v->live) {
		/* Only emulated instructions and events change the CPL, and those save first. */
		if (v->live->view == v->view)
			return v->live;
		uc_reg_read(v->live->uc, UC_X86_REG_CS, &cs);
		*cpl = cs & 3;
	} else {
		*cpl = sim_cpl(v);
	}
	*view = v->view != GUARD_VIEW_U ? v->view : GUARD_MAX_MODULES + (*cpl == 3);
	return v->space[*view];
}

static struct sim_space *failed(struct sim_vcpu *v, const char *why)
{
	sim_end(v->e, VM_EXIT_ENGINE, v->id, sim_current_rip(v), "%s", why);
	return NULL;
}

struct sim_space *sim_space_for(struct sim_vcpu *v)
{
	struct engine *e = v->e;
	unsigned view = 0, cpl = 0;
	struct sim_space *s = current(v, &view, &cpl);

	if (s && worn(s)) {
		if (v->live == s)
			sim_save(v);
		if (!renew(s))
			return failed(v, "Unicorn cannot be made anew");
	}
	if (!s) {
		if (e->nspaces == SIM_MAX_SPACES && !steal(e))
			return NULL;
		s = create();
		if (!s)
			return failed(v, "Unicorn cannot make another instance");
		s->vcpu = v;
		s->view = v->view;
		s->user = cpl == 3;
		s->touch_rip = 0;
		e->spaces[e->nspaces++] = s;
		v->space[view] = s;
		if (!sim_watch_add(s))
			return failed(v, "Unicorn takes no hook for the oracle");
	}
	s->used = ++e->uses;
	return s;
}
