/* SPDX-License-Identifier: GPL-2.0-only */
/* Bit instructions, the sixteen conditions, and what is atomic (APM 3). */
#include "corpus/guests/cpu_truth/probe.h"

#define BUF KPAGE(0)

static volatile uint64_t *word(unsigned n)
{
	return (volatile uint64_t *)BUF + n;
}

/* CPUID leaf 1, ECX bit 23; without it the instruction is #UD (APM 3, POPCNT). */
static bool has_popcnt(void)
{
	uint32_t a = 1, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return c >> 23 & 1;
}

static void bit_tests(void)
{
	uint64_t rest = F_P | F_A | F_S | F_O; /* ZF is kept */

	K("bit.bt.modulo", "bt rax, rbx", (i.a = 2, i.b = 65, i.f = FL(F_Z)),
	  (w.f = FL(F_C | F_Z), open = rest));
	K("bit.btr", "btr eax, 31", i.a = 0x180000001, (w.a = 1, w.f = FL(F_C), open = rest));
	K("bit.btc", "btc rax, 63", i.a = 1, (w.a = TOP | 1, open = rest));
	/* The bit's number is signed and reaches beyond the operand. */
	K("bit.bts.far", "bts qword ptr [rsi], rbx; mov rax, [rsi - 8]",
	  (i.si = BUF + 64, i.b = ONES, *word(7) = 0), (w.a = TOP, open = rest));
	K("bit.bts.lock", "lock bts dword ptr [rsi], 5; mov eax, [rsi]",
	  (i.si = BUF, *word(0) = 0x20), (w.a = 0x20, w.f = FL(F_C), open = rest));
	K("bit.bsf", "bsf rax, rbx", i.b = 0x10, (w.a = 4, open = F_STATUS & ~F_Z));
	/* Destination unchanged: APM 3, BSF; SDM 2 says so since 2023. */
	K("bit.bsf.zero", "bsf rax, rbx", i.a = 7, (w.f = FL(F_Z), open = F_STATUS & ~F_Z));
	K("bit.bsr", "bsr rax, rbx", i.b = TOP | 1, (w.a = 63, open = F_STATUS & ~F_Z));
	if (has_popcnt())
		K("bit.popcnt", "popcnt rax, rbx", (i.b = 0xf0f0, i.f = FL(F_C | F_O)),
		  (w.a = 8, w.f = FL(0)));
	else
		K("bit.popcnt", "popcnt rax, rbx", i.b = 0xf0f0, faults(&w, UD, 0, 0));
	K("bit.bswap.64", "bswap rax", i.a = 0x0102030405060708, w.a = 0x0807060504030201);
	K("bit.bswap.32", "bswap eax", i.a = 0xff01020304, w.a = 0x04030201);
}

/* With CF, PF, ZF, SF, OF = the bits of n. */
static uint64_t flags_of(unsigned n)
{
	return FL((n & 1 ? F_C : 0) | (n & 2 ? F_P : 0) | (n & 4 ? F_Z : 0) | (n & 8 ? F_S : 0) |
		  (n & 16 ? F_O : 0));
}

/* APM 3, table 1-1: condition codes. */
static bool condition(unsigned cc, uint64_t f)
{
	bool c = f & F_C, p = f & F_P, z = f & F_Z, s = f & F_S, o = f & F_O;
	const bool even[8] = { o, c, z, c || z, s, p, s != o, z || s != o };

	return even[cc / 2] != (cc & 1);
}

/* One bit for each of the 32 combinations of flags. */
static void conditions(const char *name, unsigned cc, uint64_t code, uint64_t yes, uint64_t no)
{
	uint64_t got = 0, expected = 0;
	struct regs i;

	if (!item(name))
		return;
	for (unsigned n = 0; n < 32; n++) {
		i = kernel_regs(code);
		i.a = 0x5500;
		i.b = 0xaa01;
		i.f = flags_of(n);
		i = probe_run(&i);
		got |= (uint64_t)(i.a == yes) << n;
		if (i.f != flags_of(n) || (i.a != yes && i.a != no))
			got |= TOP; /* neither, or flags changed */
		expected |= (uint64_t)condition(cc, i.f) << n;
	}
	is("taken", got, expected);
	item_end();
}

#define SETCC(cc, n) conditions("cond.set" cc, n, CODE("set" cc " al"), 0x5501, 0x5500)
#define JCC(cc, n)                                                                                 \
	conditions("cond.j" cc, n, CODE("j" cc " 1f; jmp 2f; 1: mov al, 1; 2:"), 0x5501, 0x5500)

static void all_conditions(void)
{
	SETCC("o", 0);
	SETCC("no", 1);
	SETCC("b", 2);
	SETCC("ae", 3);
	SETCC("e", 4);
	SETCC("ne", 5);
	SETCC("be", 6);
	SETCC("a", 7);
	SETCC("s", 8);
	SETCC("ns", 9);
	SETCC("p", 10);
	SETCC("np", 11);
	SETCC("l", 12);
	SETCC("ge", 13);
	SETCC("le", 14);
	SETCC("g", 15);
	JCC("b", 2);
	JCC("be", 6);
	JCC("l", 12);
	JCC("g", 15);
	conditions("cond.cmovle", 14, CODE("cmovle rax, rbx"), 0xaa01, 0x5500);
	conditions("cond.cmova", 7, CODE("cmova ax, bx"), 0xaa01, 0x5500);
	/* A 32-bit CMOV zero-extends, moved or not. */
	K("cond.cmov.not-taken", "cmovz eax, ebx", (i.a = 0xff00000005, i.b = 7), w.a = 5);
}

static void atomics(void)
{
	K("atomic.xchg", "xchg rax, rbx", (i.a = 1, i.b = 2), (w.a = 2, w.b = 1));
	K("atomic.xchg.memory", "xchg [rsi], rax; mov rbx, [rsi]",
	  (i.si = BUF, i.a = 1, *word(0) = 2), (w.a = 2, w.b = 1));
	K("atomic.xchg.byte", "xchg ah, bl", (i.a = 0x1122, i.b = 0x33),
	  (w.a = 0x3322, w.b = 0x11));
	K("atomic.cmpxchg.equal", "lock cmpxchg [rsi], rbx; mov rcx, [rsi]",
	  (i.si = BUF, i.a = 5, i.b = 6, *word(0) = 5), (w.c = 6, w.f = FL(F_P | F_Z)));
	K("atomic.cmpxchg.other", "lock cmpxchg [rsi], rbx; mov rcx, [rsi]",
	  (i.si = BUF, i.a = 1, i.b = 6, *word(0) = 2),
	  (w.a = 2, w.c = 2, w.f = FL(F_C | F_P | F_A | F_S)));
	K("atomic.xadd", "lock xadd [rsi], rbx; mov rax, [rsi]",
	  (i.si = BUF, i.b = 2, *word(0) = 1), (w.a = 3, w.b = 1, w.f = FL(F_P)));
	K("atomic.xadd.register", "xadd eax, ebx", (i.a = 0xffffffff, i.b = 1),
	  (w.a = 0, w.b = 0xffffffff, w.f = FL(F_C | F_P | F_A | F_Z)));
	K("atomic.inc.lock", "lock inc dword ptr [rsi]; mov eax, [rsi]",
	  (i.si = BUF, *word(0) = 0xffffffff), (w.a = 0, w.f = FL(F_P | F_A | F_Z)));
	K("atomic.cmpxchg8b.equal", "lock cmpxchg8b [rsi]; mov r8, [rsi]",
	  (i.si = BUF, i.d = 1, i.a = 2, i.c = 3, i.b = 4, *word(0) = 0x100000002),
	  (w.r8 = 0x300000004, w.f = FL(F_Z)));
	K("atomic.cmpxchg8b.other", "lock cmpxchg8b [rsi]",
	  (i.si = BUF, i.f = FL(F_Z | F_C), *word(0) = 0x100000002),
	  (w.d = 1, w.a = 2, w.f = FL(F_C)));
	K("atomic.cmpxchg16b.equal", "lock cmpxchg16b [rsi]; mov r8, [rsi]; mov r9, [rsi + 8]",
	  (i.si = BUF, i.a = 1, i.d = 2, i.b = 3, i.c = 4, *word(0) = 1, *word(1) = 2),
	  (w.r8 = 3, w.r9 = 4, w.f = FL(F_Z)));
	/* Not on 16 bytes: #GP(0) (APM 3, CMPXCHG16B). */
	K("atomic.cmpxchg16b.odd", "lock cmpxchg16b [rsi]", i.si = BUF + 8, faults(&w, GP, 0, 0));
	/* LOCK on a register or on what cannot be locked: #UD (APM 3:1.2.5). */
	K("atomic.lock.register", ".byte 0xf0; add rax, rbx", SAME, faults(&w, UD, 0, 0));
	K("atomic.lock.mov", ".byte 0xf0; mov [rsi], rax", i.si = BUF, faults(&w, UD, 0, 0));
	/* A write to read-only memory faults as a write even if the comparison would fail. */
	K("atomic.cmpxchg.read-only", "lock cmpxchg [rsi], rbx",
	  (i.si = KPAGE(1), i.a = 1, i.b = 2, i.f = FL(F_C)),
	  (faults(&w, PF, 3, 0), w.cr2 = KPAGE(1)));
}

void truth_bits(void)
{
	uint64_t frame = frame_new();

	map_page(BUF, frame, PTE_PRESENT | PTE_WRITE);
	map_page(KPAGE(1), frame_new(), PTE_PRESENT);
	bit_tests();
	all_conditions();
	atomics();
}
