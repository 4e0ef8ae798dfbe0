/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * String instructions: both directions, page borders, and faults in the middle of a repetition,
 * where RCX, RSI and RDI must tell exactly what is left (APM 3:1.2.6, SDM 2 "REP").
 */
#include "corpus/guests/cpu_truth/probe.h"

/* Four pages: 0 to 2 are mapped, 3 is not. The frames are not in a row. */
#define BUF KPAGE(0)
#define END KPAGE(3)

static uint64_t spare;

static uint8_t *bytes(void)
{
	return (uint8_t *)BUF;
}

/* Byte n of the buffer is n * 7 + 1. */
static int fill(void)
{
	for (unsigned n = 0; n < 3 * PAGE_BYTES; n++)
		bytes()[n] = (uint8_t)(n * 7 + 1);
	return 0;
}

/* Is [to, to + n) a copy of what fill() wrote at [from, from + n)? */
static bool copied(uint64_t to, uint64_t from, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		if (*(uint8_t *)(to + k) != (uint8_t)((from - BUF + k) * 7 + 1))
			return false;
	return true;
}

/* A probe and what memory holds then. */
#define STRING(name, text, before, after, memory)                                                  \
	do {                                                                                       \
		if (item(name)) {                                                                  \
			struct regs i = kernel_regs(CODE(text)), w, got;                           \
			uint64_t open = 0;                                                         \
                                                                                                   \
			fill();                                                                    \
			(void)(before);                                                            \
			w = i;                                                                     \
			w.vec = DONE;                                                              \
			(void)(after);                                                             \
			got = probe_run(&i);                                                       \
			compare(&i, &got, &w, open);                                               \
			is("memory", (memory), true);                                              \
			item_end();                                                                \
		}                                                                                  \
	} while (0)

static void whole(void)
{
	STRING("string.movsb", "movsb", (i.si = BUF, i.di = BUF + 100), (w.si += 1, w.di += 1),
	       copied(BUF + 100, BUF, 1) && bytes()[101] == (uint8_t)(101 * 7 + 1));
	STRING("string.movsq.down", "movsq", (i.si = BUF + 8, i.di = BUF + 100, i.f = FL(F_D)),
	       (w.si -= 8, w.di -= 8), copied(BUF + 100, BUF + 8, 8));
	STRING("string.rep-movsb", "rep movsb", (i.si = BUF, i.di = BUF + 200, i.c = 10),
	       (w.si += 10, w.di += 10, w.c = 0), copied(BUF + 200, BUF, 10));
	STRING("string.rep-movsw.down", "rep movsw",
	       (i.si = BUF + 18, i.di = BUF + 218, i.c = 10, i.f = FL(F_D)),
	       (w.si -= 20, w.di -= 20, w.c = 0), copied(BUF + 200, BUF, 20));
	STRING("string.rep-movsd", "rep movsd", (i.si = BUF, i.di = BUF + 201, i.c = 5),
	       (w.si += 20, w.di += 20, w.c = 0), copied(BUF + 201, BUF, 20));
	STRING("string.rep-movsq.page-border", "rep movsq",
	       (i.si = BUF + 0xff4, i.di = KPAGE(2) - 20, i.c = 6),
	       (w.si += 48, w.di += 48, w.c = 0), copied(KPAGE(2) - 20, BUF + 0xff4, 48));
	STRING("string.rep-movsb.overlap", "rep movsb", (i.si = BUF, i.di = BUF + 1, i.c = 50),
	       (w.si += 50, w.di += 50, w.c = 0),
	       bytes()[1] == 1 && bytes()[25] == 1 && bytes()[50] == 1);
	STRING("string.rep-movsb.none", "rep movsb", (i.si = NON_CANONICAL, i.di = END), SAME,
	       true);
	STRING("string.stosb", "stosb", (i.di = BUF, i.a = 0x1155), w.di += 1,
	       bytes()[0] == 0x55 && bytes()[1] == 8);
	STRING("string.rep-stosd", "rep stosd", (i.di = BUF, i.c = 3, i.a = ONES),
	       (w.di += 12, w.c = 0), bytes()[11] == 0xff && bytes()[12] == 85);
	STRING("string.rep-stosq.page-border", "rep stosq",
	       (i.di = KPAGE(1) - 12, i.c = 2, i.a = 0x1111111111111111), (w.di += 16, w.c = 0),
	       bytes()[0xff4] == 0x11 && bytes()[0x1003] == 0x11 && bytes()[0x1004] != 0x11);
	STRING("string.rep-stosb.down", "rep stosb",
	       (i.di = KPAGE(1) + 3, i.c = 8, i.a = 0, i.f = FL(F_D)), (w.di -= 8, w.c = 0),
	       !bytes()[0xffc] && !bytes()[0x1003] && bytes()[0xffb]);
	STRING("string.lodsw", "lodsw", (i.si = BUF, i.a = ONES),
	       (w.a = 0xffffffffffff0801, w.si += 2), true);
	STRING("string.lodsd", "lodsd", (i.si = BUF, i.a = ONES), (w.a = 0x160f0801, w.si += 4),
	       true);
	STRING("string.rep-lodsb", "rep lodsb", (i.si = BUF, i.c = 3),
	       (w.a = 15, w.si += 3, w.c = 0), true);
}

static void compare_and_scan(void)
{
	STRING("string.cmpsb", "cmpsb", (i.si = BUF, i.di = BUF + 1),
	       (w.si += 1, w.di += 1, w.f = FL(F_C | F_P | F_S | F_A)), true); /* 1 - 8 = f9 */
	STRING("string.repe-cmpsb.equal", "repe cmpsb", (i.si = BUF, i.di = BUF + 256, i.c = 20),
	       (w.si += 20, w.di += 20, w.c = 0, w.f = FL(F_P | F_Z)), true);
	STRING("string.repe-cmpsb.differs", "repe cmpsb",
	       (i.si = BUF, i.di = BUF + 256, i.c = 20, bytes()[261] = 35),
	       (w.si += 6, w.di += 6, w.c = 14, w.f = FL(0)), true); /* 36 - 35 */
	STRING("string.repe-cmpsq.page-border", "repe cmpsq",
	       (i.si = KPAGE(1) - 12, i.di = KPAGE(2) - 12, i.c = 3),
	       (w.si += 24, w.di += 24, w.c = 0, w.f = FL(F_P | F_Z)), true);
	STRING("string.repe-cmpsb.none", "repe cmpsb", i.f = FL(F_C | F_Z), SAME, true);
	STRING("string.repne-cmpsb", "repne cmpsb",
	       (i.si = BUF, i.di = BUF + 10, i.c = 9, bytes()[14] = 29),
	       (w.si += 5, w.di += 5, w.c = 4, w.f = FL(F_P | F_Z)), true);
	STRING("string.repne-scasb.found", "repne scasb", (i.di = BUF, i.c = 100, i.a = 0x24),
	       (w.di += 6, w.c = 94, w.f = FL(F_P | F_Z)), true);
	STRING("string.repne-scasb.missing", "repne scasb", (i.di = BUF, i.c = 3, i.a = 0),
	       (w.di += 3, w.c = 0, w.f = FL(F_C | F_S | F_A)), true); /* 0 - 15 = f1 */
	STRING("string.repe-scasd.down", "repe scasd",
	       (i.di = BUF + 12, i.c = 4, i.f = FL(F_D), memset(bytes(), 0, 16), bytes()[4] = 1),
	       (w.di -= 12, w.c = 1, w.f = FL(F_D | F_C | F_P | F_S | F_A)), true); /* 0 - 1 */
}

static void in_the_middle(void)
{
	/* What came before the fault is done and stays done; RIP is the instruction, RF is set. */
	STRING("string.rep-movsb.write-fault", "nop; rep movsb",
	       (i.si = BUF, i.di = END - 5, i.c = 12),
	       (w.si += 5, w.di += 5, w.c = 7, faults(&w, PF, 2, 1), w.cr2 = END),
	       copied(END - 5, BUF, 5));
	STRING("string.rep-movsb.read-fault", "rep movsb", (i.si = END - 3, i.di = BUF, i.c = 9),
	       (w.si += 3, w.di += 3, w.c = 6, faults(&w, PF, 0, 0), w.cr2 = END),
	       copied(BUF, END - 3, 3));
	STRING("string.rep-movsb.fault-down", "rep movsb",
	       (i.si = KPAGE(4) + 2, i.di = BUF + 50, i.c = 9, i.f = FL(F_D)),
	       (w.si -= 3, w.di -= 3, w.c = 6, faults(&w, PF, 0, 0), w.cr2 = KPAGE(4) - 1), true);
	STRING("string.rep-stosb.write-fault-down", "rep stosb",
	       (i.di = KPAGE(4) + 1, i.c = 5, i.a = 7, i.f = FL(F_D)),
	       (w.di -= 2, w.c = 3, faults(&w, PF, 2, 0), w.cr2 = KPAGE(4) - 1),
	       *(uint8_t *)KPAGE(4) == 7);
	STRING("string.rep-stosq.straddles", "rep stosq", (i.di = END - 20, i.c = 4, i.a = ONES),
	       (w.di += 16, w.c = 2, faults(&w, PF, 2, 0), w.cr2 = END), bytes()[0x2ffb] == 0xff);
	STRING("string.repe-cmpsb.fault", "repe cmpsb",
	       (i.si = END - 2, i.di = BUF, i.c = 9, memcpy(bytes(), (void *)(END - 2), 2)),
	       (w.si += 2, w.di += 2, w.c = 7, w.f = FL(F_P | F_Z), faults(&w, PF, 0, 0),
		w.cr2 = END, open = F_STATUS),
	       true);
	STRING("string.repne-scasb.fault", "repne scasb", (i.di = END - 4, i.c = 9, i.a = 0x1ff),
	       (w.di += 4, w.c = 5, faults(&w, PF, 0, 0), w.cr2 = END, open = F_STATUS), true);
	STRING("string.rep-movsb.non-canonical", "rep movsb",
	       (i.si = BUF, i.di = 0x7ffffffffffd, i.c = 9, map_page(0x7ffffffff000, spare, 7)),
	       (w.si += 3, w.di += 3, w.c = 6, faults(&w, GP, 0, 0)), true);
	STRING("string.movsb.fault", "movsb", (i.si = BUF, i.di = END),
	       (faults(&w, PF, 2, 0), w.cr2 = END), true);
}

/* The handler maps the page and returns: the instruction goes on with what is left. */
static void resumed(void)
{
	struct regs i = kernel_regs(CODE("rep movsb")), got;

	if (!item("string.rep-movsb.resumed"))
		return;
	fill();
	i.si = BUF;
	i.di = END - 5;
	i.c = 40;
	got = probe_run(&i);
	is("vec", got.vec, PF);
	map_page(END, spare, PTE_PRESENT | PTE_WRITE);
	got.f &= ~(uint64_t)F_RF;
	got = probe_run(&got);
	is("vec", got.vec, DONE);
	is("c", got.c, 0);
	is("si", got.si, BUF + 40);
	is("di", got.di, END + 35);
	is("memory", copied(END - 5, BUF, 40), true);
	unmap_page(END);
	item_end();
}

void truth_string(void)
{
	spare = frame_new();
	map_page(KPAGE(2), frame_new(), PTE_PRESENT | PTE_WRITE);
	frame_new();
	map_page(KPAGE(1), frame_new(), PTE_PRESENT | PTE_WRITE);
	map_page(KPAGE(0), frame_new(), PTE_PRESENT | PTE_WRITE);
	unmap_page(KPAGE(3));
	map_page(KPAGE(4), frame_new(), PTE_PRESENT | PTE_WRITE);
	whole();
	compare_and_scan();
	in_the_middle();
	resumed();
}
