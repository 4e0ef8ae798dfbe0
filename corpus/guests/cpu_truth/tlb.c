/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Translations that must go, and those that may stay (APM 2:5.5, SDM 3:4.10): INVLPG, CR3, CR4.PGE;
 * code that is changed under its CPU (APM 2:7.6.1, SDM 3:8.1.3).
 */
#include "corpus/guests/cpu_truth/probe.h"

#define VA KPAGE(0x40)
#define PTE_LARGE 0x80ull
#define PTE_GLOBAL 0x100ull
#define LARGE 0x200000ull
#define RW (PTE_PRESENT | PTE_WRITE)

static uint64_t frame_a, frame_b;

static uint64_t load(void)
{
	struct regs i = kernel_regs(CODE("mov rax, [rsi]"));

	i.si = VA;
	i = probe_run(&i);
	return i.vec == DONE ? i.a : i.vec << 32 | i.err;
}

static uint64_t store(uint64_t value)
{
	struct regs i = kernel_regs(CODE("mov [rsi], rax"));

	i.si = VA;
	i.a = value;
	i = probe_run(&i);
	return i.vec == DONE ? DONE : i.vec << 32 | i.err;
}

static void put(uint64_t pte)
{
	*page_entry(read_cr3(), VA, true) = pte;
}

static void must_go(void)
{
	map_page(VA, frame_a, RW);
	if (item("tlb.invlpg.remap")) {
		is("before", load(), 0xa);
		put(frame_b | RW);
		invlpg(VA + 0x123);
		is("after", load(), 0xb);
		item_end();
	}
	if (item("tlb.cr3.remap")) {
		map_page(VA, frame_a, RW);
		is("before", load(), 0xa);
		put(frame_b | RW);
		write_cr3(read_cr3());
		is("after", load(), 0xb);
		item_end();
	}
	if (item("tlb.invlpg.read-only")) {
		map_page(VA, frame_a, RW);
		is("before", store(0xa), DONE);
		put(frame_a | PTE_PRESENT);
		invlpg(VA);
		is("after", store(0xa), (uint64_t)PF << 32 | 3);
		is("read", load(), 0xa);
		item_end();
	}
	if (item("tlb.invlpg.absent")) {
		map_page(VA, frame_a, RW);
		is("before", load(), 0xa);
		put(0);
		invlpg(VA);
		is("after", load(), (uint64_t)PF << 32);
		item_end();
	}
	/* What is not present is never kept (SDM 3:4.10.2.3). */
	if (item("tlb.becomes-present")) {
		unmap_page(VA);
		is("before", load(), (uint64_t)PF << 32);
		put(frame_a | RW);
		is("after", load(), 0xa);
		item_end();
	}
	if (item("tlb.two-spaces")) {
		uint64_t old = read_cr3(), other = new_cr3();

		/* Nothing is mapped there yet: so the two share no table. */
		write_cr3(other);
		map_page(0x400000000000, frame_b, RW);
		is("other", *(volatile uint64_t *)0x400000000000, 0xb);
		write_cr3(old);
		map_page(0x400000000000, frame_a, RW);
		is("first", *(volatile uint64_t *)0x400000000000, 0xa);
		write_cr3(other);
		is("other", *(volatile uint64_t *)0x400000000000, 0xb);
		write_cr3(old);
		unmap_page(0x400000000000);
		item_end();
	}
	/* After a change of rights a fault must show the new state: no INVLPG needed to gain. */
	if (item("tlb.gains-write")) {
		map_page(VA, frame_a, PTE_PRESENT);
		is("before", load(), 0xa);
		put(frame_a | RW);
		told("at-once", store(0xa));
		invlpg(VA);
		is("after", store(0xa), DONE);
		item_end();
	}
}

static void may_stay(void)
{
	if (item("tlb.stale")) {
		map_page(VA, frame_a, RW);
		load();
		put(frame_b | RW);
		told("without-flush", load());
		invlpg(VA);
		is("after", load(), 0xb);
		item_end();
	}
	if (item("tlb.global")) {
		uint64_t cr4 = read_cr4();

		write_cr4(cr4 | CR4_PGE);
		map_page(VA, frame_a, RW | PTE_GLOBAL);
		load();
		put(frame_b | RW | PTE_GLOBAL);
		write_cr3(read_cr3());
		told("after-cr3", load());
		write_cr4(cr4);
		write_cr4(cr4 | CR4_PGE);
		is("after-pge", load(), 0xb);
		put(frame_a | RW | PTE_GLOBAL);
		invlpg(VA);
		is("after-invlpg", load(), 0xa);
		write_cr4(cr4);
		unmap_page(VA);
		item_end();
	}
	/* INVLPG of any address in a large page drops all of it. */
	if (item("tlb.invlpg.2m")) {
		uint64_t va = 0x58000000, *pde;
		struct regs i = kernel_regs(CODE("mov rax, [rsi]"));

		page_entry(read_cr3(), va, true);
		pde = phys_to_virt(read_cr3() & PTE_ADDRESS);
		pde = phys_to_virt(pde[va >> 39 & 511] & PTE_ADDRESS);
		pde = phys_to_virt(pde[va >> 30 & 511] & PTE_ADDRESS);
		pde += va >> 21 & 511;
		*pde = (frame_a & ~(LARGE - 1)) | RW | PTE_LARGE;
		write_cr3(read_cr3());
		i.si = va + (frame_a & (LARGE - 1));
		is("before", *(volatile uint64_t *)i.si, 0xa);
		*pde = 0;
		invlpg(va + PAGE_BYTES);
		i = probe_run(&i);
		is("vec", i.vec, PF);
		is("err", i.err, 0);
		item_end();
	}
}

static void changed_code(void)
{
	volatile uint8_t *code = (volatile uint8_t *)KPAGE(0x50);
	const uint8_t first[] = { 0xb8, 1, 0, 0, 0, 0x0f, 0x0b }; /* mov eax, 1; ud2 */
	uint64_t frame = frame_new();
	struct regs i, got;

	map_page(KPAGE(0x50), frame, RW);
	map_page(KPAGE(0x51), frame, RW);
	for (unsigned n = 0; n < sizeof(first); n++)
		code[n] = first[n];
	i = kernel_regs(KPAGE(0x50));
	if (item("smc.run-change-run")) {
		got = probe_run(&i);
		is("first", got.a, 1);
		code[1] = 2;
		got = probe_run(&i);
		is("second", got.a, 2);
		item_end();
	}
	if (item("smc.through-alias")) {
		code[1] = 3;
		got = probe_run(&i);
		is("first", got.a, 3);
		*(volatile uint8_t *)KPAGE(0x51) = 0xb8;
		*(volatile uint8_t *)(KPAGE(0x51) + 1) = 4;
		got = probe_run(&i); /* the IRETQ that starts it serialises */
		is("second", got.a, 4);
		item_end();
	}
	/* The next instruction but one, from within the same page: seen without a branch. */
	if (item("smc.next-instruction")) {
		static const uint8_t self[] = { 0xc6, 0x05, 1, 0, 0, 0, 7, /* mov byte [rip+1], 7 */
						0xb8, 1,    0, 0, 0,	   /* mov eax, 1 */
						0x0f, 0x0b };

		for (unsigned n = 0; n < sizeof(self); n++)
			code[n] = self[n];
		got = probe_run(&i);
		is("a", got.a, 7);
		is("vec", got.vec, UD);
		item_end();
	}
	if (item("smc.by-string")) {
		static const uint8_t self[] = { 0xf3, 0xa4, 0xb8, 1, 0, 0, 0, 0x0f, 0x0b };
		static const uint8_t with[] = { 0x31, 0xc0, 0xb0, 9, 0x90 }; /* xor, mov al */

		for (unsigned n = 0; n < sizeof(self); n++)
			code[n] = self[n];
		i.c = sizeof(with);
		i.di = KPAGE(0x50) + 2;
		i.si = KPAGE(0x50) + 0x800;
		memcpy((void *)i.si, with, sizeof(with));
		got = probe_run(&i);
		is("a", got.a, 9);
		is("vec", got.vec, UD);
		item_end();
	}
	/* Other bytes at the same address by INVLPG alone. */
	if (item("smc.remap")) {
		uint64_t other = frame_new();

		memcpy(phys_to_virt(other), "\xb8\x0b\0\0\0\x0f\x0b", 7);
		map_page(KPAGE(0x50), other, PTE_PRESENT);
		i = kernel_regs(KPAGE(0x50));
		got = probe_run(&i);
		is("a", got.a, 0xb);
		item_end();
	}
}

void truth_tlb(void)
{
	frame_a = frame_new();
	frame_b = frame_new();
	*(uint64_t *)phys_to_virt(frame_a) = 0xa;
	*(uint64_t *)phys_to_virt(frame_b) = 0xb;
	must_go();
	may_stay();
	changed_code();
}
