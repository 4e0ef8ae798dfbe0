/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Page-table edits, as a hostile kernel makes them: entries are reached through the direct map.
 *
 * A space is a copy of the tables in which some pages differ. Tables are shared with the original
 * until an edit needs its own copy; the AVL bits of an entry say which space the table below it
 * was copied for, so that each is copied once.
 */
#include "corpus/puppet/puppet.h"

#define P 1ull
#define W 2ull
#define U 4ull
#define PS 0x80ull
#define NX (1ull << 63)
#define FRAME_MASK 0xffffffffff000ull
#define OWNER_SHIFT 9 /* AVL bits 9-11 */
#define OWNER_MASK (7ull << OWNER_SHIFT)
#define POOL 192u

static uint8_t pool[POOL][PAGE] __attribute__((aligned(4096)));
static unsigned pool_used;
static uint64_t pool_gpa[POOL];
static uint64_t root[PP_SPACES];

static uint64_t *table(uint64_t entry)
{
	return (uint64_t *)(GH_DIRECT_MAP + (entry & FRAME_MASK));
}

static unsigned level_index(uint64_t gva, unsigned level)
{
	return (unsigned)(gva >> (12 + 9 * level)) & 511;
}

/* The frames are found once, before anything can have been edited. */
void page_init(void)
{
	root[0] = read_cr3() & FRAME_MASK;
	for (unsigned i = 0; i < POOL; i++)
		page_frame((uint64_t)pool[i], &pool_gpa[i]);
}

uint64_t page_new(void)
{
	unsigned i = __atomic_fetch_add(&pool_used, 1, __ATOMIC_SEQ_CST);
	uint64_t *page;

	if (i >= POOL)
		return 0;
	page = (uint64_t *)(GH_DIRECT_MAP + pool_gpa[i]);
	for (unsigned k = 0; k < 512; k++)
		page[k] = 0;
	return pool_gpa[i];
}

int page_frame(uint64_t gva, uint64_t *gpa)
{
	uint64_t e = read_cr3() | P, all = W;

	if ((uint64_t)((int64_t)(gva << 16) >> 16) != gva)
		return 0;
	for (unsigned level = 4; level-- > 0;) {
		uint64_t span = (PAGE << (9 * level)) - 1;

		e = table(e)[level_index(gva, level)];
		if (!(e & P))
			return 0;
		all &= e;
		if (level == 0 || (e & PS)) {
			*gpa = (e & FRAME_MASK & ~span) | (gva & span & FRAME_MASK);
			return all & W ? 2 : 1;
		}
	}
	return 0;
}

/* Makes the table below *entry one of this space, splitting a large page into 512 small ones. */
static int own_table(uint64_t *entry, unsigned level, unsigned space)
{
	uint64_t old = *entry, gpa;
	uint64_t *to;

	if ((old & P) && !(old & PS) && (!space || (old & OWNER_MASK) >> OWNER_SHIFT == space))
		return 1;
	gpa = page_new();
	if (!gpa)
		return 0;
	to = table(gpa);
	if ((old & P) && (old & PS)) {
		for (unsigned i = 0; i < 512; i++)
			to[i] = (old & ~(level == 1 ? PS : 0ull)) +
				(uint64_t)i * (PAGE << (9 * (level - 1)));
	} else if (old & P) {
		for (unsigned i = 0; i < 512; i++)
			to[i] = table(old)[i] & ~OWNER_MASK;
	}
	/* Rights are the leaf's matter; the tables above allow everything. */
	*entry = gpa | P | W | U | (uint64_t)space << OWNER_SHIFT;
	return 1;
}

static uint64_t *leaf(unsigned space, uint64_t gva)
{
	uint64_t *entry;
	uint64_t cr3 = space ? root[space] : read_cr3();

	/* The tables that CR3 names are edited in place, but those of space 0 are not space N's. */
	for (unsigned i = 1; i < PP_SPACES && !space; i++)
		if (root[i] && root[i] == (cr3 & FRAME_MASK))
			space = i;
	entry = &table(cr3)[level_index(gva, 3)];
	for (unsigned level = 3; level > 0; level--) {
		if (!own_table(entry, level, space))
			return NULL;
		*entry = (*entry | W | U) & ~NX; /* as above, also for the loader's own */
		entry = &table(*entry)[level_index(gva, level - 1)];
	}
	return entry;
}

static int space_exists(unsigned space)
{
	uint64_t gpa;

	if (space >= PP_SPACES)
		return 0;
	if (root[space])
		return 1;
	gpa = page_new();
	if (!gpa)
		return 0;
	for (unsigned i = 0; i < 512; i++)
		table(gpa)[i] = table(root[0])[i] & ~OWNER_MASK;
	root[space] = gpa;
	return 1;
}

static uint64_t with_rights(uint64_t e, unsigned rights)
{
	if (rights & PP_RO)
		e &= ~W;
	if (rights & PP_RW)
		e |= W;
	if (rights & PP_USER)
		e |= U;
	if (rights & PP_KERNEL)
		e &= ~U;
	if (rights & PP_NX)
		e |= NX;
	if (rights & PP_X)
		e &= ~NX;
	return e;
}

int page_edit(unsigned space, uint64_t gva, enum page_edit edit, uint64_t frame, unsigned rights)
{
	uint64_t *e;

	if (space && !space_exists(space))
		return 0;
	e = leaf(space, gva);
	if (!e)
		return 0;
	if (edit == EDIT_UNMAP)
		*e &= ~P;
	else if (edit == EDIT_FRAME && !(*e & ~OWNER_MASK))
		*e = with_rights((frame & FRAME_MASK) | P | W, rights);
	else if (edit == EDIT_FRAME)
		*e = with_rights((*e & ~FRAME_MASK) | (frame & FRAME_MASK) | P, rights);
	else
		*e = with_rights(*e | P, rights);
	if (!(rights & PP_NOFLUSH))
		invlpg(gva);
	return 1;
}

int page_swap(unsigned space, uint64_t a, uint64_t b, unsigned rights)
{
	uint64_t *ea, *eb, fa, fb;

	if (space && !space_exists(space))
		return 0;
	ea = leaf(space, a);
	eb = leaf(space, b);
	if (!ea || !eb)
		return 0;
	fa = *ea & FRAME_MASK;
	fb = *eb & FRAME_MASK;
	*ea = (*ea & ~FRAME_MASK) | fb;
	*eb = (*eb & ~FRAME_MASK) | fa;
	if (!(rights & PP_NOFLUSH)) {
		invlpg(a);
		invlpg(b);
	}
	return 1;
}

int page_switch(unsigned space)
{
	if (!space_exists(space))
		return 0;
	write_cr3(root[space]);
	return 1;
}

static void clear_nx(uint64_t *entries, unsigned level)
{
	for (unsigned i = 0; i < 512; i++) {
		if (!(entries[i] & P))
			continue;
		if (entries[i] & NX)
			entries[i] &= ~NX;
		if (level > 0 && !(entries[i] & PS))
			clear_nx(table(entries[i]), level - 1);
	}
}

/* Without EFER.NXE the NX bit is reserved (AMD64 manual volume 2, 5.6.1): a page with it faults. */
void page_without_nx(void)
{
	clear_nx(table(read_cr3()), 3);
	write_cr3(read_cr3());
}
