/* SPDX-License-Identifier: GPL-2.0-only */
/* Segment registers, their bases and MSRs, system tables (APM 2:4.5, 4.8, 12.2; APM 3). */
#include "corpus/guests/cpu_truth/probe.h"

#define BUF KPAGE(0)

static volatile uint64_t *word(unsigned n)
{
	return (volatile uint64_t *)BUF + n;
}

static void loads(void)
{
	K("segment.ds", "mov ds, eax; mov ebx, ds", i.a = SEL_DATA, w.b = SEL_DATA);
	K("segment.ds-null", "mov ds, eax; mov ebx, ds; mov rcx, [rsi]",
	  (i.b = ONES, i.si = BUF, *word(0) = 5), (w.b = 0, w.c = 5));
	K("segment.ds-user-rpl", "mov ds, eax; mov ebx, ds; mov ds, ecx",
	  (i.a = SEL_USER_DATA, i.c = SEL_DATA), w.b = SEL_USER_DATA);
	K("segment.ds-read-only", "mov ds, eax; mov ds, ecx", (i.a = SEL_DATA_RO, i.c = SEL_DATA),
	  SAME);
	K("segment.ds-beyond", "mov ds, eax", i.a = SEL_BEYOND, faults(&w, GP, SEL_BEYOND, 0));
	K("segment.ds-absent", "mov ds, eax", i.a = SEL_DATA_ABSENT,
	  faults(&w, NP, SEL_DATA_ABSENT, 0));
	K("segment.ds-tss", "mov ds, eax", i.a = SEL_TSS, faults(&w, GP, SEL_TSS, 0));
	K("segment.ds-ldt", "mov ds, eax", i.a = 0xc, faults(&w, GP, 0xc, 0));
	K("segment.ss-null", "mov ss, eax; mov ebx, ss; mov ss, ecx", (i.b = ONES, i.c = SEL_DATA),
	  w.b = 0);
	K("segment.ss-rpl", "mov ss, eax", i.a = SEL_DATA | 3, faults(&w, GP, SEL_DATA, 0));
	K("segment.ss-read-only", "mov ss, eax", i.a = SEL_DATA_RO, faults(&w, GP, SEL_DATA_RO, 0));
	K("segment.ss-code", "mov ss, eax", i.a = SEL_CODE, faults(&w, GP, SEL_CODE, 0));
	K("segment.ss-absent", "mov ss, eax", i.a = SEL_DATA_ABSENT,
	  faults(&w, SS, SEL_DATA_ABSENT, 0));
	U("segment.ss-null.user", "mov ss, eax", SAME, faults(&w, GP, 0, 0));
	U("segment.ds-kernel.user", "mov ds, eax", i.a = SEL_DATA, faults(&w, GP, SEL_DATA, 0));
	U("segment.ds.user", "mov ds, eax; mov ebx, ds; mov eax, ebx", i.a = SEL_USER_DATA,
	  w.b = SEL_USER_DATA);
	K("segment.pop-fs", "push 0x50; pop fs; mov eax, fs", SAME, w.a = SEL_DATA_BASE);
	K("segment.pop-fs-beyond", "push 0x88; pop fs", SAME,
	  (faults(&w, GP, SEL_BEYOND, 5), w.sp -= 8));
	K("segment.base-from-descriptor", "mov fs, eax; rdmsr",
	  (i.a = SEL_DATA_BASE, i.c = MSR_FS_BASE), (w.a = SEG_BASE, w.d = 0));
	if (item("segment.fs-null")) { /* Intel clears the base, AMD keeps it: told */
		struct regs i = kernel_regs(CODE("mov fs, edi; rdmsr")), got;

		wrmsr(MSR_FS_BASE, 0x1111);
		i.c = MSR_FS_BASE;
		got = probe_run(&i);
		is("vec", got.vec, DONE);
		told("base", got.a);
		item_end();
	}
	/* DS and SS have no base in 64-bit mode, whatever the descriptor says (APM 2:4.8.2). */
	K("segment.ds-base-ignored", "mov ds, eax; mov rbx, [rsi]; mov ds, ecx",
	  (i.a = SEL_DATA_BASE, i.c = SEL_DATA, i.si = BUF, *word(0) = 9), w.b = 9);
	/* The limit's bits are undefined (APM 3, LAR). */
	K("segment.lar", "lar eax, ebx; setz cl; and eax, 0xf0ff00; movzx ebx, cl", i.b = SEL_DATA,
	  (w.a = 0xc09300, w.b = w.c = 1, open = F_STATUS));
	K("segment.lar-beyond", "lar eax, ebx", (i.b = SEL_BEYOND, i.a = 5, i.f = FL(F_Z)),
	  w.f = FL(0));
	K("segment.lsl", "lsl eax, ebx", i.b = SEL_DATA, (w.a = 0xffffffff, w.f = FL(F_Z)));
	K("segment.verr", "verr bx", i.b = SEL_DATA, w.f = FL(F_Z));
	K("segment.verw-read-only", "verw bx", (i.b = SEL_DATA_RO, i.f = FL(F_Z)), w.f = FL(0));
}

static void bases(void)
{
	uint64_t gs = rdmsr(MSR_GS_BASE), cr4 = read_cr4();

	K("base.fs", "wrmsr; mov rbx, fs:[8]",
	  (i.c = MSR_FS_BASE, i.a = (uint32_t)BUF, i.d = BUF >> 32, *word(1) = 0x77), w.b = 0x77);
	K("base.gs", "wrmsr; mov rbx, gs:[8]; mov qword ptr gs:[16], 3; mov rdi, [rsi + 16]",
	  (i.si = BUF, i.c = MSR_GS_BASE, i.a = (uint32_t)BUF, i.d = BUF >> 32, *word(1) = 0x78),
	  (w.b = 0x78, w.di = 3));
	/* The sum wraps at 64 bits. */
	K("base.gs.negative", "wrmsr; mov rbx, gs:[rsi]",
	  (i.si = -8ull, i.c = MSR_GS_BASE, i.a = (uint32_t)BUF + 16, i.d = BUF >> 32), w.b = 0x78);
	K("base.gs.lea-ignores", ".byte 0x65; lea rax, [rsi]", i.si = 5, w.a = 5);
	wrmsr(MSR_GS_BASE, 0x1000);
	wrmsr(MSR_KERNEL_GS, BUF);
	K("base.swapgs", "swapgs; mov rbx, gs:[8]; mov ecx, 0xc0000102; rdmsr", SAME,
	  (w.b = 0x78, w.c = MSR_KERNEL_GS, w.a = 0x1000));
	K("base.swapgs.back", "swapgs; mov ecx, 0xc0000101; rdmsr", SAME,
	  (w.c = MSR_GS_BASE, w.a = 0x1000));
	K("base.kernel-gs-non-canonical", "wrmsr", (i.c = MSR_KERNEL_GS, i.d = 0x80001234),
	  faults(&w, GP, 0, 0));
	K("base.fsgsbase-off", "rdfsbase rax", SAME, faults(&w, UD, 0, 0));
	write_cr4(cr4 | CR4_FSGSBASE);
	K("base.wrgsbase", "wrgsbase rax; mov rbx, gs:[8]; rdgsbase rcx", i.a = BUF,
	  (w.b = 0x78, w.c = BUF));
	U("base.wrfsbase.user", "wrfsbase rax; rdfsbase rbx", i.a = 0x123456789a,
	  w.b = 0x123456789a);
	K("base.wrfsbase-32", "wrfsbase eax; rdfsbase rbx", i.a = 0xff11111111, w.b = 0x11111111);
	K("base.wrgsbase-non-canonical", "wrgsbase rax", i.a = NON_CANONICAL, faults(&w, GP, 0, 0));
	write_cr4(cr4);
	wrmsr(MSR_FS_BASE, 0);
	wrmsr(MSR_GS_BASE, gs);
	/* An address that is not canonical only with its base. */
	K("base.fs.non-canonical", "mov rax, fs:[rsi]", i.si = NON_CANONICAL, faults(&w, GP, 0, 0));
	K("msr.star", "wrmsr; xor eax, eax; xor edx, edx; rdmsr",
	  (i.c = MSR_STAR, i.a = 0x11223344, i.d = 0x00180008), (w.f = FL(F_P | F_Z), open = F_A));
	K("msr.lstar", "wrmsr; xor eax, eax; xor edx, edx; rdmsr",
	  (i.c = MSR_LSTAR, i.a = 0x80001000, i.d = 0xffffffff), (w.f = FL(F_P | F_Z), open = F_A));
	K("msr.fmask", "wrmsr; xor eax, eax; rdmsr", (i.c = MSR_FMASK, i.a = 0x47700),
	  (w.f = FL(F_P | F_Z), open = F_A));
	K("msr.tsc-aux", "wrmsr; rdtscp; xor eax, eax; xor edx, edx",
	  (i.c = MSR_TSC_AUX, i.a = 0x1234),
	  (w.a = 0, w.c = 0x1234, w.f = FL(F_P | F_Z), open = F_A));
	/* The upper halves of RAX and RDX go away with RDMSR and do not count with WRMSR. */
	K("msr.upper-halves", "wrmsr; rdmsr",
	  (i.c = MSR_KERNEL_GS, i.a = 0xff00000007, i.d = 0xff00000000), (w.a = 7, w.d = 0));
}

struct table {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

static void tables(void)
{
	struct table *good;

	if (item("table.sgdt")) {
		struct table t = { 0, 0 };

		__asm__ volatile("sgdt %0" : "=m"(t));
		is("limit", t.limit, sizeof(probe_gdt) - 1);
		is("base", t.base - (uint64_t)probe_gdt, 0);
		item_end();
	}
	if (item("table.sidt")) {
		struct table t = { 0, 0 };

		__asm__ volatile("sidt %0" : "=m"(t));
		is("limit", t.limit, 256 * 16 - 1);
		is("base", t.base - (uint64_t)probe_idt, 0);
		item_end();
	}
	/* A CPU that takes it would not come home: so the good one follows at once. */
	*word(0) = 0x12345678ull << 16 | 0xff;
	*word(1) = 0x8000;
	good = (struct table *)(BUF + 32);
	*good = (struct table){ sizeof(probe_gdt) - 1, (uint64_t)probe_gdt };
	K("table.lgdt-non-canonical", "lgdt [rsi]; lgdt [rsi + 32]", i.si = BUF,
	  faults(&w, GP, 0, 0));
	*good = (struct table){ 256 * 16 - 1, (uint64_t)probe_idt };
	K("table.lidt-non-canonical", "lidt [rsi]; lidt [rsi + 32]", i.si = BUF,
	  faults(&w, GP, 0, 0));
	K("table.str", "str eax", i.a = ONES, w.a = SEL_TSS);
	K("table.sldt", "sldt eax", i.a = ONES, w.a = 0);
	K("table.lldt-null", "lldt ax", SAME, SAME);
	/* LTR marks the descriptor busy; a busy one is refused (APM 3, LTR). */
	if (item("table.ltr-marks-busy")) {
		is("type", probe_gdt[SEL_TSS / 8] >> 40 & 0xff, 0x8b);
		item_end();
	}
	K("table.ltr-busy", "ltr ax", i.a = SEL_TSS, faults(&w, GP, SEL_TSS, 0));
	K("table.ltr-null", "ltr ax", SAME, faults(&w, GP, 0, 0));
	K("table.ltr-data", "ltr ax", i.a = SEL_DATA, faults(&w, GP, SEL_DATA, 0));
	K("table.ltr-absent", "ltr ax", i.a = SEL_TSS_ABSENT, faults(&w, NP, SEL_TSS_ABSENT, 0));
	K("table.ltr-beyond", "ltr ax", i.a = SEL_BEYOND, faults(&w, GP, SEL_BEYOND, 0));
	K("table.ltr", "ltr ax; str ecx", i.a = SEL_TSS_FREE, w.c = SEL_TSS_FREE);
	/* The new TSS is the one that counts. */
	U("table.ltr.rsp0", "ud2", SAME, (faults(&w, UD, 0, 0), w.frame = RSP0_TOP - 40));
	/* A descriptor that is used becomes "accessed" (APM 2:4.7.3). */
	if (item("table.accessed-bit")) {
		struct regs i = kernel_regs(CODE("mov ds, eax; mov ds, ecx"));

		probe_gdt[SEL_DATA_RO / 8] &= ~(1ull << 40);
		i.a = SEL_DATA_RO;
		i.c = SEL_DATA;
		probe_run(&i);
		is("accessed", probe_gdt[SEL_DATA_RO / 8] >> 40 & 1, 1);
		item_end();
	}
}

void truth_segment(void)
{
	map_page(BUF, frame_new(), PTE_PRESENT | PTE_WRITE);
	loads();
	bases();
	tables();
}
