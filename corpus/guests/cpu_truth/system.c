/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is left: CPUID, time, ports, fences, and switches of protection that must hold from the next
 * instruction on. Feature bits and times are not told: they may differ.
 */
#include "corpus/guests/cpu_truth/probe.h"

#define VA 0x50000000ull
#define CR4_TSD 4ull

static void identity(void)
{
	if (item("cpuid.leaf0")) {
		struct regs i = kernel_regs(CODE("cpuid")), got;

		i.a = i.c = 0xff00000000;
		i.b = i.d = ONES;
		i.f = FL(F_C | F_Z);
		got = probe_run(&i);
		is("vec", got.vec, DONE);
		is("upper", (got.a | got.b | got.c | got.d) >> 32, 0);
		is("has-leaf-1", got.a >= 1, true);
		is("fl", got.f, i.f);
		item_end();
	}
	if (item("cpuid.long-mode")) {
		struct regs i = kernel_regs(CODE("cpuid")), got;

		i.a = 0x80000001;
		got = probe_run(&i);
		is("lm", got.d >> 29 & 1, 1);
		is("nx", got.d >> 20 & 1, 1);
		item_end();
	}
	U("cpuid.user", "cpuid; xor eax, eax; xor ebx, ebx; xor ecx, ecx; xor edx, edx", SAME,
	  (w.f = FL(F_P | F_Z), open = F_A));
}

static void time(void)
{
	uint64_t cr4 = read_cr4();

	if (item("rdtsc.grows")) {
		struct regs i = kernel_regs(CODE("rdtsc; shl rdx, 32; lea rbx, [rax + rdx]; "
						 "mov ecx, 100; 1: loop 1b; rdtsc; shl rdx, 32; "
						 "lea rcx, [rax + rdx]"));
		struct regs got = probe_run(&i);

		is("vec", got.vec, DONE);
		is("grows", got.c > got.b, true);
		item_end();
	}
	K("rdtsc.upper-halves", "rdtsc; shr rax, 32; shr rdx, 32", (i.a = ONES, i.d = ONES),
	  (w.a = w.d = 0, w.f = FL(F_P | F_Z), open = F_A | F_O | F_C));
	write_cr4(cr4 | CR4_TSD);
	U("rdtsc.tsd.user", "rdtsc; mov eax, 0; mov edx, 0", SAME, faults(&w, GP, 0, 0));
	K("rdtsc.tsd.kernel", "rdtsc; xor eax, eax; xor edx, edx", SAME,
	  (w.f = FL(F_P | F_Z), open = F_A));
	write_cr4(cr4);
}

static void ports(void)
{
	K("port.in-byte-keeps", "in al, 0x80; mov al, 0", i.a = 0x1122334455667788,
	  w.a = 0x1122334455667700);
	K("port.in-word-keeps", "in ax, dx; mov ax, 0", (i.d = 0x80, i.a = 0x1122334455667788),
	  w.a = 0x1122334455660000);
	K("port.in-dword-extends", "in eax, dx; shr rax, 32", (i.d = 0x80, i.a = ONES),
	  (w.a = 0, w.f = FL(F_P | F_Z), open = F_STATUS));
	K("port.out-flags", "out dx, al", (i.d = 0x80, i.f = FL(F_C | F_O)), SAME);
}

static void harmless(void)
{
	K("system.fences", "mfence; lfence; sfence", i.f = FL(F_C), SAME);
	K("system.nops",
	  "pause; .byte 0x0f, 0x1f, 0x84, 0, 0, 2, 0, 0; .byte 0xf3, 0x0f, 0x1e, 0xfa",
	  i.f = FL(F_C), SAME);
	K("system.prefetch", "prefetcht0 [rsi]", i.si = NON_CANONICAL, SAME);
	K("system.wbinvd", "wbinvd", SAME, SAME);
	/* CR4.OSXSAVE is off (APM 3, XGETBV). */
	K("system.xgetbv", "xgetbv", SAME, faults(&w, UD, 0, 0));
}

static bool has_smap(void)
{
	uint32_t a = 7, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return b >> 20 & 1;
}

/* From the very next instruction (APM 2:5.5.2 for WP, 5.6.6 for AC). */
static void protection(void)
{
	uint64_t cr0 = read_cr0(), cr4 = read_cr4(), frame = frame_new();

	map_page(KPAGE(0), frame, PTE_PRESENT);
	K("protect.wp-on", "mov cr0, rax; mov [rsi], ecx; mov cr0, rbx; mov [rsi], ecx",
	  (i.a = cr0 & ~CR0_WP, i.b = cr0, i.si = KPAGE(0)),
	  (faults(&w, PF, 3, 8), w.cr2 = KPAGE(0)));
	map_page(VA, frame, PTE_PRESENT | PTE_WRITE | PTE_USER);
	if (!has_smap())
		return;
	write_cr4(cr4 | CR4_SMAP);
	K("protect.stac", "stac; mov rax, [rsi]; clac", i.si = VA, SAME);
	K("protect.clac", "stac; mov rax, [rsi]; clac; mov rax, [rsi]", i.si = VA,
	  (faults(&w, PF, 1, 9), w.cr2 = VA));
	K("protect.popf-clears-ac", "stac; mov rax, [rsi]; push 2; popf; mov rax, [rsi]", i.si = VA,
	  (faults(&w, PF, 1, 9), w.cr2 = VA));
	K("protect.popf-sets-ac", "push rbx; popf; mov rax, [rsi]", (i.b = FL(F_AC), i.si = VA),
	  w.f = FL(F_AC));
	/* AC survives into a handler; SYSCALL clears what FMASK says. */
	gate_set(UD, CODE("mov rax, [rsi]"), 0, 0x8e);
	K("protect.handler-keeps-ac", "ud2", (i.f = FL(F_AC), i.si = VA), (w.sp -= 40));
	gates_reset();
	if (item("protect.syscall-clears-ac")) {
		struct regs i = kernel_regs(CODE("mov rbx, [rsi]; syscall")), got;
		uint64_t efer = rdmsr(MSR_EFER);

		wrmsr(MSR_EFER, efer | EFER_SCE);
		wrmsr(MSR_STAR, (uint64_t)SEL_CODE << 32);
		wrmsr(MSR_LSTAR, CODE("mov rbx, [rsi]"));
		wrmsr(MSR_FMASK, F_AC);
		i.f = FL(F_AC);
		i.si = VA;
		got = probe_run(&i);
		is("vec", got.vec, PF);
		is("err", got.err, 1);
		is("cr2", got.cr2, VA);
		wrmsr(MSR_EFER, efer);
		item_end();
	}
	if (item("protect.iretq-clears-ac")) {
		struct regs i = kernel_regs(CODE("mov rbx, [rsi]")), got;

		i.f = FL(F_AC);
		i.si = VA;
		got = probe_run(&i);
		is("vec", got.vec, DONE);
		i.f = F_1;
		got = probe_run(&i);
		is("vec", got.vec, PF);
		is("err", got.err, 1);
		item_end();
	}
	/* The CPU's own accesses heed SMAP whatever AC says: a frame on a user page (APM 2:5.6.6). */
	gate_set(PF, 0, 2, 0x8e);
	K("protect.frame-on-user-page", "ud2", (i.f = FL(F_AC), i.sp = VA + 0x800),
	  (faults(&w, PF, 3, 0), w.cr2 = VA + 0x7f8));
	gates_reset();
	U("protect.stac.user", "stac", SAME, faults(&w, UD, 0, 0));
	write_cr4(cr4);
	write_cr4(cr4 | CR4_SMEP);
	memcpy(phys_to_virt(frame), "\x0f\x0b", 2);
	K("protect.smep.call", "call rsi", i.si = VA,
	  (faults(&w, PF, 0x11, 0), w.ip = VA, w.cr2 = VA, w.sp -= 8));
	write_cr4(cr4);
}

void truth_system(void)
{
	identity();
	time();
	ports();
	harmless();
	protection();
	unmap_page(VA);
}
