/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which instruction ends in which exception, with which error code and RIP (APM 2:8.2 and APM 3
 * under each name). At CPL 3 all that is privileged is #GP(0).
 */
#include "corpus/guests/cpu_truth/probe.h"

#define LAST 0xffcull /* of a page: four bytes are left */

static void undefined(void)
{
	K("fault.ud2", "nop; ud2", SAME, faults(&w, UD, 0, 1));
	K("fault.ud1", "ud1 eax, eax", SAME, faults(&w, UD, 0, 0));
	K("fault.push-es", ".byte 0x06", SAME, faults(&w, UD, 0, 0));
	K("fault.daa", ".byte 0x27", SAME, faults(&w, UD, 0, 0));
	K("fault.into", ".byte 0xce", SAME, faults(&w, UD, 0, 0));
	K("fault.pusha", ".byte 0x60", SAME, faults(&w, UD, 0, 0));
	K("fault.aam", ".byte 0xd4, 0x0a", SAME, faults(&w, UD, 0, 0));
	K("fault.far-call-direct", ".byte 0x9a, 0, 0, 0, 0, 8, 0", SAME, faults(&w, UD, 0, 0));
	K("fault.mov-to-cs", "mov cs, eax", i.a = SEL_CODE, faults(&w, UD, 0, 0));
	K("fault.mov-cr1", ".byte 0x0f, 0x20, 0xc8", SAME, faults(&w, UD, 0, 0));
	K("fault.lea-register", ".byte 0x8d, 0xc0", SAME, faults(&w, UD, 0, 0));
	U("fault.ud2.user", "ud2", SAME, faults(&w, UD, 0, 0));
	/* Longer than 15 bytes: #GP(0) (APM 3:1.1). */
	K("fault.16-bytes", ".fill 15, 1, 0x66; nop", SAME, faults(&w, GP, 0, 0));
	K("fault.15-bytes", ".fill 14, 1, 0x66; nop", SAME, SAME);
}

/* #GP(0) at CPL 3 each: APM 2:4.9 and APM 3. HLT is how U() ends, so it must be #GP there. */
static void privileged(void)
{
	U("user.hlt", "hlt", SAME, SAME);
	U("user.cli", "cli", SAME, faults(&w, GP, 0, 0));
	U("user.sti", "sti", SAME, faults(&w, GP, 0, 0));
	U("user.cli.iopl3", "cli; sti; pushf; pop rax", i.f = FL(F_IOPL | F_I),
	  w.a = FL(F_IOPL | F_I));
	U("user.in", "in al, 0xe9", SAME, faults(&w, GP, 0, 0));
	U("user.out", "out 0xe9, al", SAME, faults(&w, GP, 0, 0));
	U("user.lgdt", "lgdt [rsp]", SAME, faults(&w, GP, 0, 0));
	U("user.lidt", "lidt [rsp]", SAME, faults(&w, GP, 0, 0));
	U("user.ltr", "ltr ax", SAME, faults(&w, GP, 0, 0));
	U("user.lldt", "lldt ax", SAME, faults(&w, GP, 0, 0));
	U("user.mov-from-cr0", "mov rax, cr0", SAME, faults(&w, GP, 0, 0));
	U("user.mov-to-cr3", "mov cr3, rax", SAME, faults(&w, GP, 0, 0));
	U("user.mov-dr7", "mov rax, dr7", SAME, faults(&w, GP, 0, 0));
	U("user.clts", "clts", SAME, faults(&w, GP, 0, 0));
	U("user.lmsw", "lmsw ax", SAME, faults(&w, GP, 0, 0));
	U("user.invlpg", "invlpg [rsp]", SAME, faults(&w, GP, 0, 0));
	U("user.rdmsr", "rdmsr", i.c = MSR_LSTAR, faults(&w, GP, 0, 0));
	U("user.wrmsr", "wrmsr", i.c = MSR_LSTAR, faults(&w, GP, 0, 0));
	U("user.swapgs", "swapgs", SAME, faults(&w, GP, 0, 0));
	U("user.wbinvd", "wbinvd", SAME, faults(&w, GP, 0, 0));
}

static void control_registers(void)
{
	uint64_t cr0 = read_cr0(), cr4 = read_cr4(), efer = rdmsr(MSR_EFER);

	/* APM 2:3.1.1 to 3.1.3 and 3.1.7: reserved bits, and states that may not be. */
	K("control.cr0.upper", "mov cr0, rax", i.a = cr0 | 1ull << 32, faults(&w, GP, 0, 0));
	K("control.cr0.no-pe", "mov cr0, rax", i.a = cr0 & ~1ull, faults(&w, GP, 0, 0));
	K("control.cr0.nw-without-cd", "mov cr0, rax", i.a = cr0 | 1ull << 29,
	  faults(&w, GP, 0, 0));
	K("control.cr4.reserved", "mov cr4, rax", i.a = cr4 | 1ull << 63, faults(&w, GP, 0, 0));
	K("control.cr4.no-pae", "mov cr4, rax", i.a = cr4 & ~0x20ull, faults(&w, GP, 0, 0));
	K("control.cr3.upper", "mov cr3, rax", i.a = read_cr3() | 1ull << 62, faults(&w, GP, 0, 0));
	K("control.cr2", "mov cr2, rax; mov rbx, cr2", i.a = 0xdead0000, w.b = 0xdead0000);
	K("control.cr8", "mov cr8, rax; mov rbx, cr8; mov ecx, 0; mov cr8, rcx", i.a = 5, w.b = 5);
	K("control.cr8.reserved", "mov cr8, rax", i.a = 16, faults(&w, GP, 0, 0));
	K("control.clts", "mov cr0, rax; clts; mov rbx, cr0", i.a = cr0 | CR0_TS,
	  w.b = cr0 & ~CR0_TS);
	K("control.smsw", "smsw eax", SAME, w.a = (uint32_t)cr0);
	K("control.lmsw-keeps-pe", "lmsw bx; mov rax, cr0; mov cr0, rcx", (i.c = cr0, i.b = CR0_TS),
	  w.a = (cr0 & ~0xeull) | CR0_TS);
	K("control.efer.reserved", "wrmsr", (i.c = MSR_EFER, i.a = efer | 2), faults(&w, GP, 0, 0));
	/* LME cannot change while paging is on (APM 2:3.1.7). */
	K("control.efer.no-lme", "wrmsr", (i.c = MSR_EFER, i.a = efer & ~0x100ull),
	  faults(&w, GP, 0, 0));
	K("control.efer", "rdmsr", (i.c = MSR_EFER, i.d = ONES), (w.a = 0xd00, w.d = 0));
	K("control.msr.unknown-read", "rdmsr", i.c = 0x12345678, faults(&w, GP, 0, 0));
	K("control.msr.unknown-write", "wrmsr", i.c = 0x12345678, faults(&w, GP, 0, 0));
	K("control.msr.lstar-non-canonical", "wrmsr", (i.c = MSR_LSTAR, i.d = 0x80001234),
	  faults(&w, GP, 0, 0));
	K("control.msr.fs-base-non-canonical", "wrmsr", (i.c = MSR_FS_BASE, i.d = 0x80001234),
	  faults(&w, GP, 0, 0));
	write_cr0(cr0);
	write_cr4(cr4);
}

/* x87 and SSE that the kernel has switched off (APM 2:3.1.2, 11.3.1; APM 2:8.2.8). */
static void switched_off(void)
{
	uint64_t cr0 = read_cr0();

	K("fpu.sse-without-osfxsr", "xorps xmm0, xmm0", SAME, faults(&w, UD, 0, 0));
	if (item("fpu.ts")) {
		struct regs i = kernel_regs(CODE("fnop")), w = i, got;

		faults(&w, NM, 0, 0);
		write_cr0(cr0 | CR0_TS);
		got = probe_run(&i);
		write_cr0(cr0);
		compare(&i, &got, &w, 0);
		item_end();
	}
	/* CR0.AM and RFLAGS.AC: #AC(0) at CPL 3 only (APM 2:8.2.18). */
	if (item("fault.alignment.user")) {
		struct regs i = user_regs(USER_CODE("mov rax, [rsp + 1]")), w = i, got;

		i.f = w.f = FL(F_AC);
		faults(&w, AC, 0, 0);
		write_cr0(cr0 | CR0_AM);
		got = probe_run(&i);
		write_cr0(cr0);
		compare(&i, &got, &w, 0);
		item_end();
	}
	if (item("fault.alignment.kernel")) {
		struct regs i = kernel_regs(CODE("mov rax, [rsp + 1]")), w = i, got;

		i.f = w.f = FL(F_AC);
		w.vec = DONE;
		write_cr0(cr0 | CR0_AM);
		got = probe_run(&i);
		write_cr0(cr0);
		compare(&i, &got, &w, 0);
		item_end();
	}
}

/* An instruction whose second half lies on a page that cannot be fetched. */
static void across_pages(void)
{
	static const uint8_t start[] = { 0x90, 0x48, 0xb8, 0x01 }; /* nop; movabs rax, ... */
	static const uint8_t rest[] = { 2, 0, 0, 0, 0, 0, 0, 0x0f, 0x0b };
	static const uint8_t whole[] = { 0x90, 0x90, 0x0f, 0x0b };
	uint8_t *end = (uint8_t *)(KPAGE(0) + LAST);

	map_page(KPAGE(0), frame_new(), PTE_PRESENT | PTE_WRITE);
	unmap_page(KPAGE(1));
	memcpy(end, start, sizeof(start));
	PROBE("fault.fetch-across", kernel_regs(KPAGE(0) + LAST), SAME,
	      (faults(&w, PF, 0x10, 1), w.cr2 = KPAGE(1)));
	map_page(KPAGE(1), frame_new(), PTE_PRESENT | PTE_WRITE);
	memcpy((void *)KPAGE(1), rest, sizeof(rest));
	PROBE("fetch-across", kernel_regs(KPAGE(0) + LAST), SAME,
	      (w.a = 0x201, faults(&w, UD, 0, 11)));
	/* The last byte of an instruction may be the last of a page. */
	memcpy(end, whole, sizeof(whole));
	unmap_page(KPAGE(1));
	PROBE("fetch-to-the-end", kernel_regs(KPAGE(0) + LAST), SAME, faults(&w, UD, 0, 2));
}

void truth_fault(void)
{
	undefined();
	privileged();
	control_registers();
	switched_off();
	across_pages();
}
