/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * IRETQ, SYSCALL, SYSRET, POPF, far returns (APM 3 under each name). A refused IRETQ leaves RSP
 * where it was.
 */
#include "corpus/guests/cpu_truth/probe.h"

#define FRAME ((volatile uint64_t *)(PROBE_TOP - 0x100))
#define IRETQ "iretq"

/* A frame on the probe's stack; RSP points at it. */
static uint64_t frame(uint64_t ip, uint64_t cs, uint64_t f, uint64_t sp, uint64_t ss)
{
	FRAME[0] = ip;
	FRAME[1] = cs;
	FRAME[2] = f;
	FRAME[3] = sp;
	FRAME[4] = ss;
	return PROBE_TOP - 0x100;
}

/* IRETQ to this; want: an exception with error, or DONE. */
static void refused(const char *name, uint64_t ip, uint64_t cs, uint64_t ss, unsigned vec,
		    uint64_t err)
{
	K(name, IRETQ, i.sp = frame(ip, cs, F_1, PROBE_TOP, ss), faults(&w, vec, err, 0));
}

static void iretq(void)
{
	uint64_t land = CODE("pushf; pop rax"), user = USER_CODE("nop");

	K("iretq.same-level", IRETQ,
	  i.sp = frame(land, SEL_CODE, FL(F_C | F_D), PROBE_TOP - 8, SEL_DATA),
	  (w.sp = PROBE_TOP - 8, w.a = w.f = FL(F_C | F_D)));
	K("iretq.flags", IRETQ,
	  i.sp = frame(land, SEL_CODE, FL(F_STATUS | F_D | F_I | F_IOPL | F_NT | F_AC | F_ID),
		       PROBE_TOP, SEL_DATA),
	  (w.sp = PROBE_TOP, w.a = w.f = FL(F_STATUS | F_D | F_I | F_IOPL | F_NT | F_AC | F_ID)));
	K("iretq.null-ss", IRETQ, i.sp = frame(land, SEL_CODE, F_1, PROBE_TOP, 0),
	  (w.sp = PROBE_TOP, w.a = F_1, w.ss = 0));
	K("iretq.rsp-is-any", "iretq",
	  i.sp = frame(CODE("mov rax, rsp"), SEL_CODE, F_1, 0x123, SEL_DATA),
	  (w.sp = 0x123, w.a = 0x123));
	refused("iretq.rip-non-canonical", NON_CANONICAL, SEL_CODE, SEL_DATA, GP, 0);
	refused("iretq.cs-null", land, 0, SEL_DATA, GP, 0);
	refused("iretq.cs-null-rpl3", land, 3, SEL_USER_DATA, GP, 0);
	refused("iretq.cs-beyond", land, SEL_BEYOND, SEL_DATA, GP, SEL_BEYOND);
	refused("iretq.cs-data", land, SEL_DATA, SEL_DATA, GP, SEL_DATA);
	refused("iretq.cs-absent", land, SEL_CODE_ABSENT, SEL_DATA, NP, SEL_CODE_ABSENT);
	refused("iretq.cs-dpl-above-rpl", land, SEL_USER_CODE & ~3u, SEL_DATA, GP,
		SEL_USER_CODE & ~3u);
	refused("iretq.cs-dpl-below-rpl", user, SEL_CODE | 3, SEL_USER_DATA, GP, SEL_CODE);
	refused("iretq.ss-null-for-user", user, SEL_USER_CODE, 0, GP, 0);
	refused("iretq.ss-null-rpl3-for-user", user, SEL_USER_CODE, 3, GP, 0);
	refused("iretq.ss-rpl", land, SEL_CODE, SEL_USER_DATA, GP, SEL_USER_DATA & ~3u);
	refused("iretq.ss-kernel-for-user", user, SEL_USER_CODE, SEL_DATA, GP, SEL_DATA);
	refused("iretq.ss-code", land, SEL_CODE, SEL_CODE, GP, SEL_CODE);
	refused("iretq.ss-read-only", land, SEL_CODE, SEL_DATA_RO, GP, SEL_DATA_RO);
	refused("iretq.ss-absent", land, SEL_CODE, SEL_DATA_ABSENT, SS, SEL_DATA_ABSENT);
	refused("iretq.ss-beyond", land, SEL_CODE, SEL_BEYOND, GP, SEL_BEYOND);
	K("iretq.nt", IRETQ,
	  (i.sp = frame(land, SEL_CODE, F_1, PROBE_TOP, SEL_DATA), i.f = FL(F_NT)),
	  faults(&w, GP, 0, 0));
	gate_set(PF, 0, 2, 0x8e);
	gate_set(SS, 0, 2, 0x8e);
	K("iretq.frame-unmapped", IRETQ, i.sp = KPAGE(9), (faults(&w, PF, 0, 0), w.cr2 = KPAGE(9)));
	K("iretq.frame-non-canonical", IRETQ, i.sp = NON_CANONICAL, faults(&w, SS, 0, 0));
	gates_reset();
}

static volatile uint64_t *user_stack_page(void)
{
	return (volatile uint64_t *)(USER_TOP - 0x100);
}

static uint64_t user_frame(uint64_t ip, uint64_t cs, uint64_t f, uint64_t ss)
{
	user_stack_page()[0] = ip;
	user_stack_page()[1] = cs;
	user_stack_page()[2] = f;
	user_stack_page()[3] = USER_TOP;
	user_stack_page()[4] = ss;
	return USER_TOP - 0x100;
}

static void from_user(void)
{
	uint64_t land = USER_CODE("pushf; pop rax");

	/* IF and IOPL are not a user's to change (APM 3, IRET and POPF). */
	U("iretq.user", IRETQ,
	  i.sp = user_frame(land, SEL_USER_CODE, FL(F_C | F_I | F_IOPL), SEL_USER_DATA),
	  (w.sp = USER_TOP, w.a = w.f = FL(F_C)));
	U("iretq.user-keeps-if", IRETQ,
	  (i.f = FL(F_I), i.sp = user_frame(land, SEL_USER_CODE, F_1, SEL_USER_DATA)),
	  (w.sp = USER_TOP, w.a = w.f = FL(F_I)));
	U("iretq.user-to-kernel", IRETQ, i.sp = user_frame(land, SEL_CODE, F_1, SEL_DATA),
	  faults(&w, GP, SEL_CODE, 0));
	U("popf.user", "push rbx; popf; pushf; pop rax", (i.f = FL(F_I), i.b = FL(F_C | F_IOPL)),
	  (w.a = w.f = FL(F_C | F_I)));
	U("popf.user-iopl3", "push rbx; popf; pushf; pop rax",
	  (i.f = FL(F_I | F_IOPL), i.b = FL(F_C)), (w.a = w.f = FL(F_C | F_IOPL)));
	K("popf.kernel", "push rbx; popf; pushf; pop rax",
	  i.b = FL(F_STATUS | F_D | F_I | F_IOPL | F_NT | F_AC | F_ID | F_RF),
	  (w.a = w.f = FL(F_STATUS | F_D | F_I | F_IOPL | F_NT | F_AC | F_ID)));
	K("popf.reserved", "push rbx; popf; pushf; pop rax",
	  i.b = 0xffffffffffc0802aull & ~(uint64_t)F_T, (w.a = w.f = F_1));
	K("popf16", "push rbx; popfw; pushf; pop rax", (i.f = FL(F_AC), i.b = FL(F_C | F_IOPL)),
	  (w.sp -= 6, w.a = w.f = FL(F_C | F_IOPL | F_AC)));
}

static void system_calls(void)
{
	uint64_t efer = rdmsr(MSR_EFER), entry = CODE("mov ebx, ss; mov edx, cs");

	wrmsr(MSR_EFER, efer | EFER_SCE);
	wrmsr(MSR_STAR, (uint64_t)(SEL_USER32 | 3) << 48 | (uint64_t)SEL_CODE << 32);
	wrmsr(MSR_LSTAR, entry);
	wrmsr(MSR_FMASK, F_I | F_D | F_AC | F_C);
	/* RCX = RIP behind, R11 = RFLAGS, RFLAGS &= ~FMASK, RSP as it was (APM 3, SYSCALL). */
	if (item("syscall.user")) {
		struct regs i = user_regs(USER_CODE("syscall")), got;

		i.f = FL(F_I | F_D | F_AC | F_C | F_Z);
		got = probe_run(&i);
		is("vec", got.vec, DONE);
		is("cs", got.cs, SEL_CODE);
		is("ss", got.ss, SEL_DATA);
		is("rcx", got.c - i.ip, 2);
		is("r11", got.r11, i.f);
		is("fl", got.f, FL(F_Z));
		is("sp", got.sp - i.sp, 0);
		item_end();
	}
	if (item("syscall.kernel")) {
		struct regs i = kernel_regs(CODE("syscall")), got = probe_run(&i);

		is("vec", got.vec, DONE);
		is("rcx", got.c - i.ip, 2);
		is("r11", got.r11, F_1);
		item_end();
	}
	/* CS = STAR[63:48] + 16, SS + 8, both with RPL 3; RFLAGS from R11 (APM 3, SYSRET). */
	if (item("sysretq")) {
		struct regs i = kernel_regs(CODE("sysretq")), got;

		i.c = USER_CODE("mov ebx, ss; mov edx, cs; pushf; pop rax");
		i.r11 = FL(F_C | F_I | F_RF | F_ID);
		i.sp = USER_TOP;
		got = probe_run(&i);
		is("vec", got.vec, GP); /* the HLT */
		is("cs", got.cs, SEL_USER_CODE);
		is("ss", got.ss, SEL_USER_DATA);
		is("seen-cs", got.d, SEL_USER_CODE);
		is("seen-ss", got.b, SEL_USER_DATA);
		is("fl", got.a, FL(F_C | F_I | F_ID));
		is("sp", got.sp - i.sp, 0);
		item_end();
	}
	/*
	 * RCX not canonical: Intel refuses at SYSRET with CPL 0 (SDM 2, SYSRET), AMD goes to CPL 3 and
	 * faults there (APM 3, SYSRET): told.
	 */
	if (item("sysretq.non-canonical")) {
		struct regs i = kernel_regs(CODE("sysretq")), got;

		i.c = NON_CANONICAL;
		i.r11 = F_1;
		got = probe_run(&i);
		is("vec", got.vec, GP);
		is("err", got.err, 0);
		told("cpl", got.cs & 3);
		item_end();
	}
	U("sysretq.user", "sysretq", i.c = USER_TEXT, faults(&w, GP, 0, 0));
	/* FMASK masks TF like any bit; RF is always cleared. */
	wrmsr(MSR_FMASK, 0);
	if (item("syscall.no-mask")) {
		struct regs i = user_regs(USER_CODE("syscall")), got;

		i.f = FL(F_D | F_S | F_AC);
		got = probe_run(&i);
		is("fl", got.f, i.f);
		item_end();
	}
	/* The first fetch fails at CPL 0 on the user's stack. */
	wrmsr(MSR_LSTAR, KPAGE(9));
	if (item("syscall.unmapped-entry")) {
		struct regs i = user_regs(USER_CODE("syscall")), got = probe_run(&i);

		is("vec", got.vec, PF);
		is("err", got.err, 0x10);
		is("cs", got.cs, SEL_CODE);
		is("cr2", got.cr2, KPAGE(9));
		is("sp", got.sp - i.sp, 0);
		is("frame", got.frame, i.sp - 40);
		item_end();
	}
	wrmsr(MSR_EFER, efer & ~EFER_SCE);
	K("syscall.without-sce", "syscall", SAME, faults(&w, UD, 0, 0));
	U("syscall.without-sce.user", "syscall", SAME, faults(&w, UD, 0, 0));
	K("sysretq.without-sce", "sysretq", i.c = USER_TEXT, faults(&w, UD, 0, 0));
	wrmsr(MSR_EFER, efer);
}

/* Far transfers to the same level, as boot code uses them. */
static void far_transfers(void)
{
	K("far.lretq", "push 8; lea rax, [rip + 1f]; push rax; xor eax, eax; retfq; 1:", SAME,
	  (w.f = FL(F_P | F_Z), open = F_A));
	K("far.lretq.null", "push 0; push rax; retfq", SAME, (faults(&w, GP, 0, 3), w.sp -= 16));
	K("far.jmp-indirect",
	  "lea rax, [rip + 1f]; push 8; push rax; xor eax, eax; .byte 0x48, 0xff, 0x2c, 0x24; 1: pop rax; "
	  "pop rbx; xor eax, eax; xor ebx, ebx",
	  SAME, (w.f = FL(F_P | F_Z), open = F_A));
	K("far.jmp-data-segment", "push 0x10; push rax; .byte 0x48, 0xff, 0x2c, 0x24", SAME,
	  (faults(&w, GP, SEL_DATA, 3), w.sp -= 16));
}

void truth_transfer(void)
{
	unmap_page(KPAGE(9));
	iretq();
	from_user();
	system_calls();
	far_transfers();
}
