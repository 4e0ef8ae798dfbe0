/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Page protection: every combination of present, writable, user, no-execute with CPL, CR0.WP, SMEP,
 * SMAP and AC, for read, write and fetch (APM 2:5.6, 8.4.2; SDM 3:4.6, 4.7), then what the upper
 * levels add, reserved bits, A and D bits.
 */
#include "corpus/guests/cpu_truth/probe.h"

#define VA 0x50000000ull
#define PTE_ACCESSED 0x20ull
#define PTE_DIRTY 0x40ull
#define PTE_LARGE 0x80ull
#define LARGE 0x200000ull

enum access { READ, WRITE, FETCH };
enum mode { PLAIN, NO_WP, WITH_SMEP, WITH_SMAP, WITH_SMAP_AC };

/* Where 0 (PML4) .. 3 (PT) hold the entry for va. */
static uint64_t *entry_of(uint64_t va, unsigned level)
{
	uint64_t *table = phys_to_virt(read_cr3() & PTE_ADDRESS);

	for (unsigned k = 0;; k++) {
		uint64_t *e = &table[(va >> (39 - 9 * k)) & 511];

		if (k == level)
			return e;
		table = phys_to_virt(*e & PTE_ADDRESS);
	}
}

static struct regs do_access(enum access a, bool user, uint64_t va, uint64_t flags)
{
	uint64_t code = a == READ    ? CODE("mov rax, [rsi]")
			: a == WRITE ? CODE("mov byte ptr [rsi + 8], 1")
				     : CODE("nop");
	struct regs i;

	if (user) {
		code = a == READ    ? USER_CODE("mov rax, [rsi]")
		       : a == WRITE ? USER_CODE("mov byte ptr [rsi + 8], 1")
				    : USER_CODE("nop");
		i = user_regs(a == FETCH ? va : code);
	} else {
		i = kernel_regs(a == FETCH ? va : code);
	}
	i.si = va;
	i.f |= flags;
	i = probe_run(&i);
	i.si = va;
	return i;
}

#define FINE 0x100u
#define STRANGE 0xbadu

/* FINE, or the error code of a #PF that names va. The page begins with UD2. */
static uint64_t outcome(enum access a, const struct regs *got, uint64_t va)
{
	if (got->vec == PF)
		return got->cr2 == (a == WRITE ? va + 8 : va) ? got->err : STRANGE;
	return got->vec == (a == FETCH ? UD : DONE) ? FINE : STRANGE;
}

static uint64_t expected(uint64_t pte, enum access a, bool user, enum mode m)
{
	uint64_t error = (a == WRITE ? 2u : 0u) | (user ? 4u : 0u) | (a == FETCH ? 0x10u : 0u);

	if (!(pte & PTE_PRESENT))
		return error;
	error |= 1;
	if (user && !(pte & PTE_USER))
		return error;
	if (a == WRITE && !(pte & PTE_WRITE) && (user || m != NO_WP))
		return error;
	if (a == FETCH && (pte & PTE_NX))
		return error;
	if (!user && (pte & PTE_USER)) {
		if (a == FETCH && m == WITH_SMEP)
			return error;
		if (a != FETCH && m == WITH_SMAP)
			return error;
	}
	return FINE;
}

static void enter_mode(enum mode m, uint64_t cr0, uint64_t cr4)
{
	write_cr0(m == NO_WP ? cr0 & ~CR0_WP : cr0);
	write_cr4(m == WITH_SMEP ? cr4 | CR4_SMEP : m >= WITH_SMAP ? cr4 | CR4_SMAP : cr4);
}

static bool has_leaf7(unsigned bit)
{
	uint32_t a = 0, b = 0, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	if (a < 7)
		return false;
	a = 7;
	c = 0;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return b >> bit & 1;
}

static void one_entry(const char *mode_name, enum mode m, bool user, unsigned n, uint64_t frame)
{
	static const char *const what[] = { "read", "write", "fetch" };
	uint64_t pte = n < 8 ? PTE_PRESENT | (n & 1 ? PTE_WRITE : 0) | (n & 2 ? PTE_USER : 0) |
				       (n & 4 ? PTE_NX : 0)
			     : 0;
	uint64_t cr0 = read_cr0(), cr4 = read_cr4();
	char name[40];
	size_t at = 0;

	for (const char *s = mode_name; *s; s++)
		name[at++] = *s;
	name[at++] = '.';
	name[at++] = pte & PTE_PRESENT ? 'p' : '-';
	name[at++] = pte & PTE_WRITE ? 'w' : '-';
	name[at++] = pte & PTE_USER ? 'u' : '-';
	name[at++] = pte & PTE_NX ? 'n' : '-';
	name[at] = '\0';
	if (!item(name))
		return;
	for (enum access a = READ; a <= FETCH; a++) {
		struct regs got;

		map_page(VA, frame, pte);
		enter_mode(m, cr0, cr4);
		got = do_access(a, user, VA, m == WITH_SMAP_AC ? F_AC : 0);
		write_cr0(cr0);
		write_cr4(cr4);
		is(what[a], outcome(a, &got, VA), expected(pte, a, user, m));
	}
	item_end();
}

static void matrix(uint64_t frame)
{
	bool smep = has_leaf7(7), smap = has_leaf7(20);

	for (unsigned n = 0; n < 9; n++) {
		one_entry("page.kernel", PLAIN, false, n, frame);
		one_entry("page.user", PLAIN, true, n, frame);
		one_entry("page.kernel-no-wp", NO_WP, false, n, frame);
		if (smep)
			one_entry("page.kernel-smep", WITH_SMEP, false, n, frame);
		if (smap) {
			one_entry("page.kernel-smap", WITH_SMAP, false, n, frame);
			one_entry("page.kernel-smap-ac", WITH_SMAP_AC, false, n, frame);
		}
	}
}

/* An access after the entry at `level` was changed by clearing and setting bits. */
static void upper(const char *name, unsigned level, uint64_t clear, uint64_t set, enum access a,
		  bool user, uint64_t want)
{
	uint64_t *e = entry_of(VA, level), old = *e;
	struct regs got;

	if (!item(name))
		return;
	*e = (old & ~clear) | set;
	write_cr3(read_cr3());
	got = do_access(a, user, VA, 0);
	*e = old;
	write_cr3(read_cr3());
	is("result", outcome(a, &got, VA), want);
	item_end();
}

static void upper_levels(uint64_t frame)
{
	const uint64_t reserved = 1ull << 51;

	map_page(VA, frame, PTE_PRESENT | PTE_WRITE | PTE_USER);
	upper("page.pde.read-only", 2, PTE_WRITE, 0, WRITE, false, 3);
	upper("page.pde.read-only.user", 2, PTE_WRITE, 0, WRITE, true, 7);
	upper("page.pde.supervisor", 2, PTE_USER, 0, READ, true, 5);
	upper("page.pde.nx", 2, 0, PTE_NX, FETCH, false, 0x11);
	upper("page.pde.absent", 2, PTE_PRESENT, 0, READ, false, 0);
	upper("page.pdpe.read-only", 1, PTE_WRITE, 0, WRITE, false, 3);
	upper("page.pdpe.supervisor", 1, PTE_USER, 0, FETCH, true, 0x15);
	upper("page.pdpe.nx", 1, 0, PTE_NX, FETCH, true, 0x15);
	/* Reserved bits: RSVD, and P with it (APM 2:8.4.2). */
	upper("page.pte.reserved", 3, 0, reserved, READ, false, 9);
	upper("page.pte.reserved.write", 3, 0, reserved, WRITE, true, 0xf);
	upper("page.pte.reserved.fetch", 3, 0, reserved, FETCH, false, 0x19);
	upper("page.pte.reserved-absent", 3, PTE_PRESENT, reserved, READ, false, 0);
	upper("page.pde.reserved", 2, 0, reserved, READ, false, 9);
	upper("page.pdpe.reserved", 1, 0, reserved, READ, false, 9);
	map_page(VA, frame, PTE_PRESENT | PTE_WRITE | PTE_USER);
}

static void large_pages(uint64_t frame)
{
	uint64_t *e, base = frame & ~(LARGE - 1), va = VA + LARGE + (frame & (LARGE - 1));
	struct regs got;

	page_entry(read_cr3(), VA + LARGE, true);
	e = entry_of(VA + LARGE, 2);
	*e = base | PTE_PRESENT | PTE_LARGE | PTE_WRITE | PTE_USER;
	write_cr3(read_cr3());
	if (item("page.2m")) {
		got = do_access(READ, true, va, 0);
		is("same-memory", got.a, *(uint64_t *)phys_to_virt(frame));
		is("a", *e >> 5 & 3, 1);
		got = do_access(WRITE, true, va, 0);
		is("write", outcome(WRITE, &got, va), FINE);
		is("ad", *e >> 5 & 3, 3);
		item_end();
	}
	if (item("page.2m.read-only")) {
		*e = base | PTE_PRESENT | PTE_LARGE | PTE_NX;
		invlpg(va);
		got = do_access(WRITE, false, va, 0);
		is("write", outcome(WRITE, &got, va), 3);
		got = do_access(FETCH, false, va, 0);
		is("fetch", outcome(FETCH, &got, va), 0x11);
		got = do_access(READ, true, va, 0);
		is("user", outcome(READ, &got, va), 5);
		is("ad", *e >> 5 & 2, 0);
		item_end();
	}
	/* Bits 20:13 are reserved in a large page's entry (APM 2:5.3.4). */
	if (item("page.2m.reserved")) {
		*e = base | PTE_PRESENT | PTE_LARGE | PTE_WRITE | 1ull << 13;
		invlpg(va);
		got = do_access(READ, false, va, 0);
		is("read", outcome(READ, &got, va), 9);
		item_end();
	}
	*e = 0;
	write_cr3(read_cr3());
}

/* A: set by any use; D: by a write that is allowed (APM 2:5.4.2). */
static void accessed_and_dirty(uint64_t frame)
{
	static const char *const name[] = { "page.ad.read", "page.ad.write", "page.ad.fetch" };
	uint64_t *e = page_entry(read_cr3(), VA, true), *pde = entry_of(VA, 2);

	for (enum access a = READ; a <= FETCH; a++) {
		if (!item(name[a]))
			continue;
		*pde &= ~PTE_ACCESSED;
		map_page(VA, frame, PTE_PRESENT | PTE_WRITE);
		write_cr3(read_cr3());
		do_access(a, false, VA, 0);
		is("pte", *e >> 5 & 3, a == WRITE ? 3 : 1);
		is("pde", *pde >> 5 & 1, 1);
		item_end();
	}
	if (item("page.ad.denied-write")) {
		map_page(VA, frame, PTE_PRESENT);
		do_access(WRITE, false, VA, 0);
		is("d", *e >> 6 & 1, 0);
		told("a", *e >> 5 & 1);
		item_end();
	}
	if (item("page.ad.read-then-write")) {
		map_page(VA, frame, PTE_PRESENT | PTE_WRITE);
		do_access(READ, false, VA, 0);
		do_access(WRITE, false, VA, 0);
		is("pte", *e >> 5 & 3, 3);
		item_end();
	}
	if (item("page.ad.neighbour")) {
		uint64_t *next = page_entry(read_cr3(), VA + PAGE_BYTES, true);

		map_page(VA + PAGE_BYTES, frame, PTE_PRESENT | PTE_WRITE);
		map_page(VA, frame, PTE_PRESENT | PTE_WRITE);
		do_access(READ, false, VA, 0);
		told("a", *next >> 5 & 1);
		is("d", *next >> 6 & 1, 0);
		unmap_page(VA + PAGE_BYTES);
		item_end();
	}
}

/* CR2 names the first byte that cannot be had. */
static void across(uint64_t frame)
{
	map_page(KPAGE(0), frame, PTE_PRESENT | PTE_WRITE);
	unmap_page(KPAGE(1));
	K("page.across.read", "mov rax, [rsi]", i.si = KPAGE(1) - 4,
	  (faults(&w, PF, 0, 0), w.cr2 = KPAGE(1)));
	if (item("page.across.write")) {
		struct regs i = kernel_regs(CODE("mov [rsi], rax")), w, got;

		*(volatile uint32_t *)(KPAGE(1) - 4) = 0x11111111;
		i.si = KPAGE(1) - 4;
		i.a = ONES;
		w = i;
		faults(&w, PF, 2, 0);
		w.cr2 = KPAGE(1);
		got = probe_run(&i);
		compare(&i, &got, &w, 0);
		/* Nothing of it was written: a fault leaves memory as it was (SDM 3:6.5). */
		is("memory", *(volatile uint32_t *)(KPAGE(1) - 4), 0x11111111);
		item_end();
	}
	map_page(KPAGE(1), frame, PTE_PRESENT);
	K("page.across.read-modify-write", "add [rsi], rax", (i.si = KPAGE(1) - 4, i.a = 1),
	  (faults(&w, PF, 3, 0), w.cr2 = KPAGE(1)));
	unmap_page(KPAGE(1));
}

void truth_page(void)
{
	uint64_t frame = frame_new();

	memcpy(phys_to_virt(frame), "\x0f\x0b\x0f\x0b\x0f\x0b\x0f\x0b", 8);
	matrix(frame);
	upper_levels(frame);
	large_pages(frame);
	accessed_and_dirty(frame);
	across(frame);
	unmap_page(VA);
}
