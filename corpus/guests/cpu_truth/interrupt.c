/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When an interrupt, an NMI or a wake-up comes: port 0xf6 raises a vector at the next instruction
 * boundary (vmm/abi.h). IF, the shadows of STI and MOV SS, NMI blocking, HLT (APM 2:8.1.4, 8.2.2,
 * 8.5.5; APM 3 STI, MOV, HLT, IRET).
 */
#include "corpus/guests/cpu_truth/probe.h"

#define BUF KPAGE(0)
#define IRQ 0x71u
#define RAISE "mov eax, 0x71; out 0xf6, al; " /* 7 bytes */
#define NMI_HERE "mov eax, 2; out 0xf6, al; " /* 7 bytes */

static void masked(void)
{
	K("irq.at-once", RAISE "nop; nop", i.f = FL(F_I), (traps(&w, IRQ, 0, 7), w.a = IRQ));
	K("irq.masked", RAISE "nop; nop", SAME, w.a = IRQ);
	/* It waits: the same one comes as soon as IF is set. One more instruction runs after STI. */
	K("irq.sti-shadow", "sti; nop; nop; nop", SAME, (traps(&w, IRQ, 0, 2), w.f = FL(F_I)));
	K("irq.sti-ret", RAISE "call 1f; nop; jmp 2f; 1: sti; ret; 2:", SAME,
	  (traps(&w, IRQ, 0, 12), w.a = IRQ, w.f = FL(F_I)));
	K("irq.sti-cli", RAISE "sti; cli; nop; nop", SAME, w.a = IRQ);
	K("irq.popf", "nop; push rbx; popf; nop", i.b = FL(F_I),
	  (traps(&w, IRQ, 0, 3), w.f = FL(F_I)));
	K("irq.popf-no-shadow", RAISE "push rbx; popf; nop; nop", i.b = FL(F_I),
	  (traps(&w, IRQ, 0, 9), w.a = IRQ, w.f = FL(F_I)));
	K("irq.iretq-no-shadow",
	  RAISE
	  "mov rcx, rsp; push 0x10; push rcx; push 0x202; push 8; lea rbx, [rip + 1f]; push rbx; "
	  "xor ebx, ebx; xor ecx, ecx; iretq; 1: nop; nop",
	  SAME, (traps(&w, IRQ, 0, 34), w.a = IRQ, w.f = FL(F_I)));
	/* MOV SS holds off interrupts for one instruction (APM 2:8.1.4): here both shadows in a row. */
	if (item("irq.sti-mov-ss")) {
		struct regs i = kernel_regs(CODE(RAISE "sti; mov ss, ecx; nop; nop")), got;

		i.c = SEL_DATA;
		got = probe_run(&i);
		is("vec", got.vec, IRQ);
		told("ip", got.ip - i.ip); /* one or both */
		item_end();
	}
	U("irq.user", RAISE "nop", i.f = FL(F_I | F_IOPL),
	  (traps(&w, IRQ, 0, 7), w.a = IRQ, w.frame = RSP0_TOP - 40));
	K("irq.rf-clear", "sti; " RAISE "nop", SAME,
	  (traps(&w, IRQ, 0, 8), w.a = IRQ, w.f = FL(F_I)));
}

static void priorities(void)
{
	/* Two at once: the higher vector first, as a local APIC would (APM 2:16.6.3). */
	K("irq.two", "mov eax, 0x71; out 0xf6, al; mov eax, 0x81; out 0xf6, al; sti; nop; nop",
	  SAME, (traps(&w, 0x81, 0, 16), w.a = 0x81, w.f = FL(F_I)));
	K("irq.two.rest", "sti; nop; nop", SAME, (traps(&w, IRQ, 0, 2), w.f = FL(F_I)));
	K("irq.frame", RAISE "nop", (i.f = FL(F_I), i.sp -= 8),
	  (traps(&w, IRQ, 0, 7), w.a = IRQ, w.frame = (i.sp & ~15ull) - 40));
	/* An instruction that faults before the boundary: the fault goes first, IF is then off. */
	K("irq.fault-first", RAISE "sti; ud2", SAME,
	  (faults(&w, UD, 0, 8), w.a = IRQ, w.f = FL(F_I | F_RF)));
	K("irq.fault-first.rest", "sti; nop; nop", SAME, (traps(&w, IRQ, 0, 2), w.f = FL(F_I)));
}

static void nmis(void)
{
	K("nmi.at-once", NMI_HERE "nop; nop", SAME, (traps(&w, NMI, 0, 7), w.a = 2));
	/* Inside the handler the next one waits, until IRETQ. */
	gate_set(NMI,
		 CODE("inc dword ptr [r15]; cmp dword ptr [r15], 1; jne 2f; " NMI_HERE
		      "nop; nop; mov ebx, [r15]; 2: iretq"),
		 0, 0x8e);
	K("nmi.blocked", NMI_HERE "nop; mov ecx, [r15]",
	  (i.r15 = BUF, *(volatile uint32_t *)BUF = 0), (w.a = 2, w.b = 1, w.c = 2));
	gates_reset();
}

static void halts(void)
{
	K("hlt.wakes", RAISE "sti; hlt; nop", SAME,
	  (traps(&w, IRQ, 0, 9), w.a = IRQ, w.f = FL(F_I)));
}

void truth_interrupt(void)
{
	map_page(BUF, frame_new(), PTE_PRESENT | PTE_WRITE);
	masked();
	priorities();
	halts();
	nmis();
}
