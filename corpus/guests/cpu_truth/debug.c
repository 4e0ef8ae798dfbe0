/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Single steps and breakpoints (APM 2:13.1, SDM 3:17.2 and 17.3). DR6: B0 to B3 are bits 0 to 3, BD
 * is 13, BS is 14.
 */
#include "corpus/guests/cpu_truth/probe.h"

#define BUF KPAGE(0)
#define DR6_NONE 0xffff0ff0ull
#define B(n) (1ull << (n))
#define BD (1ull << 13)
#define BS (1ull << 14)
#define DR7_ON(n) (1ull << (2 * (n)))
#define DR7_WRITE(n) (1ull << (16 + 4 * (n)))
#define DR7_ACCESS(n) (3ull << (16 + 4 * (n)))
#define DR7_BYTES8(n) (2ull << (18 + 4 * (n)))
#define DR7_GD (1ull << 13)

static uint64_t read_dr6(void)
{
	uint64_t v;

	__asm__ volatile("mov %%dr6, %0" : "=r"(v));
	return v;
}

static void write_dr6(uint64_t v)
{
	__asm__ volatile("mov %0, %%dr6" : : "r"(v));
}

static void write_dr7(uint64_t v)
{
	__asm__ volatile("mov %0, %%dr7" : : "r"(v));
}

/* As PROBE(), with the bits that DR6 must have gained. */
#define STEP(name, state, before, after, gained)                                                   \
	do {                                                                                       \
		if (item(name)) {                                                                  \
			struct regs i = (state), w, got;                                           \
			uint64_t open = 0;                                                         \
                                                                                                   \
			(void)(before);                                                            \
			w = i;                                                                     \
			w.vec = DONE;                                                              \
			(void)(after);                                                             \
			write_dr6(DR6_NONE);                                                       \
			got = probe_run(&i);                                                       \
			write_dr7(0x400);                                                          \
			compare(&i, &got, &w, open);                                               \
			is("dr6", (read_dr6() ^ DR6_NONE) & 0xe00f, gained);                       \
			item_end();                                                                \
		}                                                                                  \
	} while (0)

static void single_steps(void)
{
	STEP("step.first", kernel_regs(CODE("nop; nop")), i.f = FL(F_T), traps(&w, DB, 0, 1), BS);
	STEP("step.after-popf", kernel_regs(CODE("push rbx; popf; nop; nop")), i.b = FL(F_T),
	     (traps(&w, DB, 0, 3), w.f = FL(F_T)), BS);
	STEP("step.jump", kernel_regs(CODE("jmp 1f; nop; nop; 1: nop")), i.f = FL(F_T),
	     traps(&w, DB, 0, 4), BS);
	STEP("step.push", kernel_regs(CODE("push rax; nop")), i.f = FL(F_T),
	     (traps(&w, DB, 0, 1), w.sp -= 8), BS);
	STEP("step.pushf-shows-tf", kernel_regs(CODE("pushf; nop")), (i.f = FL(F_T)),
	     (traps(&w, DB, 0, 1), w.sp -= 8), BS);
	STEP("step.fault", kernel_regs(CODE("ud2")), i.f = FL(F_T), faults(&w, UD, 0, 0), 0);
	STEP("step.mov-from-cr", kernel_regs(CODE("mov cr2, rax; nop")), i.f = FL(F_T),
	     traps(&w, DB, 0, 3), BS);
	STEP("step.out", kernel_regs(CODE("out 0x80, al; nop")), i.f = FL(F_T), traps(&w, DB, 0, 2),
	     BS);
	STEP("step.user", user_regs(USER_CODE("nop; nop")), i.f = FL(F_T),
	     (traps(&w, DB, 0, 1), w.frame = RSP0_TOP - 40), BS);
	/* MOV SS holds a step back, too (SDM 3:6.8.3). */
	STEP("step.mov-ss", kernel_regs(CODE("mov ss, eax; nop; nop")),
	     (i.a = SEL_DATA, i.f = FL(F_T)), traps(&w, DB, 0, 3), BS);
	/* After each iteration (SDM 3:17.3.1.4); RF is open there. */
	STEP("step.rep-movsb", kernel_regs(CODE("rep movsb")),
	     (i.f = FL(F_T), i.c = 3, i.si = BUF, i.di = BUF + 8),
	     (traps(&w, DB, 0, 0), w.c = 2, w.si += 1, w.di += 1, open = F_RF), BS);
	STEP("step.rep-movsb.last", kernel_regs(CODE("rep movsb; nop")),
	     (i.f = FL(F_T), i.c = 1, i.si = BUF, i.di = BUF + 8),
	     (traps(&w, DB, 0, 2), w.c = 0, w.si += 1, w.di += 1), BS);
	/* The gate clears TF: no step in the handler of INT n. */
	STEP("step.int-n", kernel_regs(CODE("int 0x60")), i.f = FL(F_T), traps(&w, 0x60, 0, 2), 0);
	STEP("step.iretq",
	     kernel_regs(CODE("pushf; mov rcx, rsp; push 0x10; push rcx; push 0x102; push 8; "
			      "lea rbx, [rip + 1f]; push rbx; xor ebx, ebx; xor ecx, ecx; "
			      "iretq; 1: popf; nop")),
	     SAME, (traps(&w, DB, 0, 29), w.f = F_1), BS);
}

static void set_breakpoint(unsigned n, uint64_t address, uint64_t kind)
{
	switch (n) {
	case 0: __asm__ volatile("mov %0, %%dr0" : : "r"(address)); break;
	case 1: __asm__ volatile("mov %0, %%dr1" : : "r"(address)); break;
	case 2: __asm__ volatile("mov %0, %%dr2" : : "r"(address)); break;
	default: __asm__ volatile("mov %0, %%dr3" : : "r"(address)); break;
	}
	write_dr7(0x400 | DR7_ON(n) | kind);
}

static void breakpoints(void)
{
	/* On execution: a fault, but RF is pushed as it was (SDM 3:17.3.1.1). */
	STEP("break.execute", kernel_regs(CODE("nop; inc eax")),
	     (set_breakpoint(0, i.ip + 1, 0), i.si = 0), traps(&w, DB, 0, 1), B(0));
	STEP("break.execute.rf", kernel_regs(CODE("inc eax; nop")),
	     (set_breakpoint(0, i.ip, 0), i.f = FL(F_RF)), (w.a = 1, w.f = FL(0)), 0);
	STEP("break.execute.user", user_regs(USER_CODE("nop; nop")),
	     (set_breakpoint(3, i.ip + 1, 0), i.si = 0),
	     (traps(&w, DB, 0, 1), w.frame = RSP0_TOP - 40), B(3));
	/* On data: a trap, after the instruction. */
	STEP("break.write", kernel_regs(CODE("mov [rsi], eax; inc ebx")),
	     (set_breakpoint(1, BUF, DR7_WRITE(1) | DR7_BYTES8(1)), i.si = BUF + 4),
	     traps(&w, DB, 0, 2), B(1));
	STEP("break.write.not-read", kernel_regs(CODE("mov rax, [rsi]")),
	     (set_breakpoint(1, BUF + 64, DR7_WRITE(1) | DR7_BYTES8(1)), i.si = BUF + 64), SAME, 0);
	STEP("break.access.read", kernel_regs(CODE("mov bl, [rsi]; nop")),
	     (set_breakpoint(2, BUF + 65, DR7_ACCESS(2)), i.si = BUF + 65), traps(&w, DB, 0, 2),
	     B(2));
	STEP("break.access.beside", kernel_regs(CODE("mov bl, [rsi]; nop")),
	     (set_breakpoint(2, BUF + 65, DR7_ACCESS(2)), i.si = BUF + 66), SAME, 0);
	STEP("break.off", kernel_regs(CODE("mov [rsi], eax")),
	     (set_breakpoint(1, BUF, DR7_WRITE(1)), write_dr7(0x400 | DR7_WRITE(1)), i.si = BUF),
	     SAME, 0);
	/* GD: any use of a debug register is #DB before it, and GD is cleared. */
	STEP("break.general-detect", kernel_regs(CODE("mov dr7, rbx; mov rax, dr0")),
	     (set_breakpoint(0, 0x77, 0), i.b = 0x400 | DR7_GD, i.a = 5),
	     (traps(&w, DB, 0, 3), open = F_RF), BD);
}

static void registers(void)
{
	uint64_t cr4 = read_cr4();

	K("debug.dr0", "mov dr0, rax; mov rbx, dr0", i.a = 0xffffc12345678000,
	  w.b = 0xffffc12345678000);
	K("debug.dr3", "mov dr3, rax; mov rbx, dr3", i.a = 7, w.b = 7);
	K("debug.dr6", "mov dr6, rax; mov rbx, dr6", i.a = 0x400f, w.b = DR6_NONE | 0x400f);
	K("debug.dr7", "mov dr7, rax; mov rbx, dr7", i.a = 0, w.b = 0x400);
	K("debug.dr6.upper", "mov dr6, rax", i.a = 1ull << 32, faults(&w, GP, 0, 0));
	K("debug.dr7.upper", "mov dr7, rax", i.a = 1ull << 32, faults(&w, GP, 0, 0));
	K("debug.dr4-alias", "mov rax, dr6; mov rbx, dr4; sub rax, rbx; xor ebx, ebx", SAME,
	  (w.f = FL(F_P | F_Z), open = F_A));
	write_cr4(cr4 | CR4_DE);
	K("debug.dr4-de", ".byte 0x0f, 0x21, 0xe3", SAME, faults(&w, UD, 0, 0));
	K("debug.dr5-de", ".byte 0x0f, 0x21, 0xeb", SAME, faults(&w, UD, 0, 0));
	write_cr4(cr4);
}

void truth_debug(void)
{
	map_page(BUF, frame_new(), PTE_PRESENT | PTE_WRITE);
	single_steps();
	breakpoints();
	registers();
}
