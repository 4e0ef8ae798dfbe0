/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Walks of the guest's own page tables: long mode, 4 levels, pages of 4 KiB, 2 MiB and 1 GiB
 * (AMD64 manual volume 2, 5.3 and 5.4).
 *
 * Tables are read as view U has them: a table in a hidden frame or outside of RAM holds nothing.
 * vm_walk() is what a vCPU's access does, fault codes and accessed bits included; vm_translate()
 * is what the core asks, for runs of pages: within one last-level table, a page costs one read.
 */
#include <string.h>

#include "vmm/internal.h"

#define CR0_WP (1ull << 16)
#define CR4_SMEP (1ull << 20)
#define CR4_SMAP (1ull << 21)
#define EFER_NXE (1ull << 11)
#define RFLAGS_AC (1ull << 18)

#define PF_PRESENT 1u
#define PF_WRITE 2u
#define PF_USER 4u
#define PF_RESERVED 8u
#define PF_FETCH 16u

/* Physical addresses have 40 bits here; the bits above them are reserved in every entry. */
#define PTE_RESERVED 0xfff0000000000ull
#define PTE_RESERVED_2M 0x1fe000ull
#define PTE_RESERVED_1G 0x3fffe000ull

/* The entry at gpa, or NULL where view U shows no RAM. */
static uint8_t *entry_at(const struct vm *vm, uint64_t gpa)
{
	if (!vm_is_ram(vm, gpa, 8) || vm_frame_of(vm, gpa)->role == GUARD_ROLE_PRIVATE)
		return NULL;
	return vm->ram + gpa;
}

static bool reserved_bits(uint64_t entry, unsigned shift, bool nxe)
{
	if ((entry & PTE_RESERVED) || (!nxe && (entry & PTE_NX)))
		return true;
	if (shift == 12 || !(entry & PTE_PS))
		return false;
	return shift == 39 || (shift == 30 && (entry & PTE_RESERVED_1G)) ||
	       (shift == 21 && (entry & PTE_RESERVED_2M));
}

struct steps {
	uint64_t entry_gpa[4]; /* of each level's entry, root first */
	unsigned levels;
	uint64_t leaf;
	unsigned shift; /* of the leaf: 12, 21, 30 */
	bool write, user, nx;
	bool table_write, table_user; /* the same without the leaf */
};

/* Goes down to the leaf for gva. false: *error has PF_PRESENT | PF_RESERVED or 0. */
static bool descend(const struct vm *vm, uint64_t cr3, uint64_t gva, bool nxe, struct steps *s,
		    uint32_t *error)
{
	uint64_t table = cr3 & VM_PAGE_MASK, entry;
	unsigned shift;

	s->levels = 0;
	s->write = s->user = true;
	s->nx = false;
	for (shift = 39;; shift -= 9) {
		uint64_t at = table + ((gva >> shift) & 511) * 8;
		const uint8_t *p = entry_at(vm, at);

		*error = 0;
		if (!p)
			return false;
		memcpy(&entry, p, 8);
		if (!(entry & PTE_P))
			return false;
		if (reserved_bits(entry, shift, nxe)) {
			*error = PF_PRESENT | PF_RESERVED;
			return false;
		}
		s->entry_gpa[s->levels++] = at;
		s->table_write = s->write;
		s->table_user = s->user;
		s->write = s->write && (entry & PTE_W);
		s->user = s->user && (entry & PTE_U);
		s->nx = s->nx || (entry & PTE_NX);
		if (shift == 12 || (entry & PTE_PS))
			break;
		table = entry & VM_PAGE_MASK;
	}
	s->leaf = entry;
	s->shift = shift;
	return true;
}

static uint64_t leaf_gpa(uint64_t leaf, unsigned shift, uint64_t gva)
{
	uint64_t low = (1ull << shift) - 1;

	return (leaf & VM_PAGE_MASK & ~low) | (gva & low);
}

/* May this access use the page? (AMD64 manual volume 2, 5.6) */
static bool allowed(const struct guard_cpu *cpu, const struct steps *s, uint32_t access, bool nxe)
{
	bool user = access & ENGINE_WALK_USER;

	if (user && !s->user)
		return false;
	if ((access & ENGINE_WALK_WRITE) && !s->write && (user || (cpu->cr0 & CR0_WP)))
		return false;
	if ((access & ENGINE_WALK_FETCH) && nxe && s->nx)
		return false;
	if (!user && s->user) {
		if (access & ENGINE_WALK_FETCH)
			return !(cpu->cr4 & CR4_SMEP);
		if ((cpu->cr4 & CR4_SMAP) &&
		    ((access & ENGINE_WALK_IMPLICIT) || !(cpu->rflags & RFLAGS_AC)))
			return false;
	}
	return true;
}

static void set_bits(struct vm *vm, uint64_t gpa, uint64_t bits)
{
	uint64_t entry;

	memcpy(&entry, vm->ram + gpa, 8);
	if ((entry & bits) == bits)
		return;
	entry |= bits;
	memcpy(vm->ram + gpa, &entry, 8);
	vm_host_wrote(vm, gpa, 8);
}

/* Whole runs of code may be fetched after one walk: remember every frame of the page. */
static void mark_fetched(struct vm *vm, uint64_t gpa, uint64_t bytes)
{
	uint64_t a = gpa & ~(bytes - 1), end = a + bytes;

	for (; a < end && vm_is_ram(vm, a, 1); a += VM_PAGE)
		vm_frame_of(vm, a)->flags |= FRAME_FETCHED;
}

bool vm_walk(struct vm *vm, const struct guard_cpu *cpu, uint64_t gva, uint32_t access,
	     struct engine_walk *w)
{
	bool nxe = cpu->efer & EFER_NXE;
	struct steps s;
	uint32_t error;
	unsigned i;

	memset(w, 0, sizeof(*w));
	if (!descend(vm, cpu->cr3, gva, nxe, &s, &error))
		goto fault;
	if (!allowed(cpu, &s, access, nxe)) {
		error = PF_PRESENT;
		goto fault;
	}
	w->gpa = leaf_gpa(s.leaf, s.shift, gva);
	w->page_bytes = 1ull << s.shift;
	w->write = s.write;
	w->user = s.user;
	w->exec = !(nxe && s.nx);
	w->dirty = s.leaf & PTE_D;
	if (!(access & ENGINE_WALK_PEEK)) {
		for (i = 0; i + 1 < s.levels; i++)
			set_bits(vm, s.entry_gpa[i], PTE_A);
		set_bits(vm, s.entry_gpa[i], (access & ENGINE_WALK_WRITE) ? PTE_A | PTE_D : PTE_A);
		w->dirty = w->dirty || (access & ENGINE_WALK_WRITE);
		if (access & ENGINE_WALK_FETCH)
			mark_fetched(vm, w->gpa, w->page_bytes);
	}
	return true;
fault:
	if (access & ENGINE_WALK_WRITE)
		error |= PF_WRITE;
	if (access & ENGINE_WALK_USER)
		error |= PF_USER;
	if ((access & ENGINE_WALK_FETCH) && (nxe || (cpu->cr4 & CR4_SMEP)))
		error |= PF_FETCH;
	w->error = error;
	return false;
}

static void tell(const struct vm *vm, uint64_t gpa, bool write, bool user,
		 struct guard_mapping *out)
{
	out->gpa = gpa;
	out->flags = GUARD_MAP_PRESENT | (write ? GUARD_MAP_WRITE : 0) |
		     (user ? GUARD_MAP_USER : 0);
	if (vm_is_ram(vm, gpa, VM_PAGE)) {
		out->flags |= GUARD_MAP_RAM;
		out->role = vm_frame_of(vm, gpa)->role;
	} else {
		out->role = vm_device_bound(vm, gpa) ? GUARD_ROLE_DEVICE : GUARD_ROLE_NONE;
	}
}

void vm_translate(void *vmm, unsigned vcpu, uint64_t cr3, uint64_t gva, size_t npages,
		  struct guard_mapping *out)
{
	const struct vm *vm = vmm;
	struct steps s;
	uint32_t error;
	size_t i = 0;

	(void)vcpu;
	memset(out, 0, npages * sizeof(*out));
	while (i < npages) {
		if (!vm_canonical(gva) || !descend(vm, cr3, gva, true, &s, &error)) {
			i++;
			gva += VM_PAGE;
			continue;
		}
		tell(vm, leaf_gpa(s.leaf, s.shift, gva), s.write, s.user, &out[i]);
		i++;
		gva += VM_PAGE;
		if (s.shift == 12) {
			/* The rest of this table: same upper levels, so only the leaf changes. */
			const uint8_t *p = vm->ram + s.entry_gpa[3];

			for (; i < npages && ((gva >> 12) & 511); i++, gva += VM_PAGE) {
				uint64_t leaf;

				p += 8;
				memcpy(&leaf, p, 8);
				if (!(leaf & PTE_P) || reserved_bits(leaf, 12, true))
					continue;
				tell(vm, leaf & VM_PAGE_MASK, s.table_write && (leaf & PTE_W),
				     s.table_user && (leaf & PTE_U), &out[i]);
			}
			continue;
		}
		for (; i < npages && (gva & ((1ull << s.shift) - 1)); i++, gva += VM_PAGE)
			tell(vm, leaf_gpa(s.leaf, s.shift, gva), s.write, s.user, &out[i]);
	}
}
