/* SPDX-License-Identifier: GPL-2.0-only */
/* The guest's own page tables, through the direct map. */
#include "corpus/lib/guest.h"

#define PTE_HUGE 0x80ull

static uint64_t next_free;

void *alloc_pages(unsigned n)
{
	uint64_t pa = next_free ? next_free
				: (boot->image_end + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);

	if (pa + n * PAGE_BYTES > boot->ram_size) {
		printk("alloc_pages: out of memory\n");
		exit(3);
	}
	next_free = pa + n * PAGE_BYTES;
	return memset(phys_to_virt(pa), 0, n * PAGE_BYTES);
}

/* A 2 MiB page becomes a table of 4 KiB pages with the same rights. */
static void split(uint64_t *entry)
{
	uint64_t *table = alloc_pages(1);

	for (unsigned i = 0; i < 512; i++)
		table[i] = (*entry & ~PTE_HUGE) + i * PAGE_BYTES;
	*entry = ((uint64_t)table - GH_DIRECT_MAP) | PTE_PRESENT | PTE_WRITE | (*entry & PTE_USER);
}

uint64_t *page_entry(uint64_t cr3, uint64_t va, bool create)
{
	uint64_t *table = phys_to_virt(cr3 & PTE_ADDRESS);

	for (int shift = 39; shift > 12; shift -= 9) {
		uint64_t *e = &table[(va >> shift) & 511];

		if (!(*e & PTE_PRESENT)) {
			if (!create)
				return NULL;
			*e = ((uint64_t)alloc_pages(1) - GH_DIRECT_MAP) | PTE_PRESENT | PTE_WRITE |
			     PTE_USER;
		}
		if (*e & PTE_HUGE) {
			if (shift != 21)
				return NULL;
			split(e);
		}
		table = phys_to_virt(*e & PTE_ADDRESS);
	}
	return &table[(va >> 12) & 511];
}

/* Looks only: a large page stays one. */
uint64_t virt_to_phys(const void *p)
{
	uint64_t va = (uint64_t)p;
	uint64_t *table = phys_to_virt(read_cr3() & PTE_ADDRESS);

	for (int shift = 39;; shift -= 9) {
		uint64_t e = table[(va >> shift) & 511];
		uint64_t mask = (1ull << shift) - 1;

		if (!(e & PTE_PRESENT))
			return ~0ull;
		if (shift == 12 || (e & PTE_HUGE))
			return (e & PTE_ADDRESS & ~mask) | (va & mask);
		table = phys_to_virt(e & PTE_ADDRESS);
	}
}

void map_page(uint64_t va, uint64_t pa, uint64_t flags)
{
	*page_entry(read_cr3(), va, true) = (pa & PTE_ADDRESS) | flags;
	invlpg(va);
}

void unmap_page(uint64_t va)
{
	uint64_t *e = page_entry(read_cr3(), va, false);

	if (e)
		*e = 0;
	invlpg(va);
}

uint64_t new_cr3(void)
{
	uint64_t *root = alloc_pages(1);

	memcpy(root, phys_to_virt(read_cr3() & PTE_ADDRESS), PAGE_BYTES);
	return (uint64_t)root - GH_DIRECT_MAP;
}
