/* SPDX-License-Identifier: GPL-2.0-only */
/* Moves, extensions, stack and near control transfers (APM 3). */
#include "corpus/guests/cpu_truth/probe.h"

#define BUF KPAGE(0)

static volatile uint64_t *word(unsigned n)
{
	return (volatile uint64_t *)BUF + n;
}

static void extensions(void)
{
	K("move.mov32-zero-extends", "mov eax, eax", i.a = ONES, w.a = 0xffffffff);
	K("move.mov16-keeps", "mov ax, bx", (i.a = ONES, i.b = 0), w.a = 0xffffffffffff0000);
	K("move.mov8-high", "mov ah, bl", (i.a = 0x1111, i.b = 0x22), w.a = 0x2211);
	K("move.mov8-rex", "mov sil, bl", (i.si = 0x1111, i.b = 0x22), w.si = 0x1122);
	K("move.movzx", "movzx eax, bl", (i.a = ONES, i.b = 0x1ff), w.a = 0xff);
	K("move.movsx.byte", "movsx rax, bl", i.b = 0x80, w.a = -0x80ull);
	K("move.movsx.word32", "movsx eax, bx", (i.a = ONES, i.b = 0x8000), w.a = 0xffff8000);
	K("move.movsxd", "movsxd rax, ebx", i.b = 0x80000000, w.a = 0xffffffff80000000);
	K("move.imm32-signed", "mov rax, -2", SAME, w.a = -2ull);
	K("move.imm64", "movabs rax, 0x1122334455667788", SAME, w.a = 0x1122334455667788);
	K("move.cbw", "cbw", i.a = 0x1180, w.a = 0xff80);
	K("move.cwde", "cwde", i.a = 0xff00008000, w.a = 0xffff8000);
	K("move.cdqe", "cdqe", i.a = 0x80000000, w.a = 0xffffffff80000000);
	K("move.cwd", "cwd", (i.a = 0x8000, i.d = 0x110000), w.d = 0x11ffff);
	K("move.cdq", "cdq", (i.a = 0x80000000, i.d = ONES), w.d = 0xffffffff);
	K("move.cqo", "cqo", i.a = TOP, w.d = ONES);
	K("move.lea.scale", "lea rax, [rbx + rcx*8 - 8]", (i.b = 0x100, i.c = 3), w.a = 0x110);
	K("move.lea.address32", "lea rax, [ebx - 1]", i.b = 0xff00000000, w.a = 0xffffffff);
	K("move.moffs", "movabs rax, [0xffffc00000000000]", *word(0) = 77, w.a = 77);
	K("move.xlat", "xlatb", (i.b = BUF, i.a = 0x1109, *word(1) = 0x5a00), w.a = 0x115a);
	K("move.misaligned", "mov rax, [rsi]",
	  (i.si = BUF + 0xffd, *(volatile uint8_t *)(BUF + 0xffd) = 1,
	   *(volatile uint8_t *)(BUF + 0x1004) = 2),
	  w.a = 0x0200000000000001);
}

static void stack(void)
{
	K("stack.push.imm-signed", "push -1; mov rax, [rsp]", SAME, (w.a = ONES, w.sp -= 8));
	K("stack.push.rsp", "push rsp; pop rax; sub rax, rsp", SAME,
	  (w.a = 0, w.f = FL(F_P | F_Z)));
	K("stack.pop.rsp", "push rbx; pop rsp", i.b = BUF + 0x100, w.sp = BUF + 0x100);
	K("stack.pop.rsp-relative", "push 5; pop qword ptr [rsp]; mov rax, [rsp]", SAME, w.a = 5);
	K("stack.push16", ".byte 0x66; push 5; movzx eax, word ptr [rsp]", SAME,
	  (w.a = 5, w.sp -= 2));
	K("stack.push.fs", "push fs; mov rax, [rsp]", SAME, (w.a = SEL_DATA, w.sp -= 8));
	K("stack.enter", "enter 16, 0; mov rax, [rbp]; lea rbx, [rbp]; sub rbx, rsp; mov ebp, 0",
	  i.bp = 0x1234, (w.a = 0x1234, w.b = 16, w.bp = 0, w.sp -= 24, w.f = FL(0)));
	K("stack.leave", "push rbp; mov rbp, rsp; sub rsp, 64; leave", (i.bp = 7, i.f = FL(0)),
	  (w.f = FL(0), open = F_STATUS));
	/* APM 3, PUSHF: RF and VM are read as 0. */
	K("stack.pushf", "pushf; pop rax", i.f = FL(F_C | F_O | F_D), w.a = FL(F_C | F_O | F_D));
}

static void near_transfers(void)
{
	K("near.call",
	  "lea rbx, [rip + 1f]; call 2f; 1: ud2; 2: pop rax; sub rax, rbx; xor ebx, ebx", SAME,
	  (w.f = FL(F_P | F_Z), open = F_A));
	/* The target is read before the return address is written. */
	K("near.call.rsp",
	  "lea rbx, [rip + 1f]; push rbx; call qword ptr [rsp]; ud2; 1: pop rax; pop rcx; xor eax, eax; "
	  "sub rcx, rbx; xor ebx, ebx",
	  SAME, (w.f = FL(F_P | F_Z), open = F_A));
	K("near.ret.imm",
	  "lea rbx, [rip + 1f]; push 1; push 2; push rbx; xor ebx, ebx; ret 16; 1:", SAME,
	  (w.f = FL(F_P | F_Z), open = F_A));
	K("near.jmp.table",
	  "lea rbx, [rip + 1f]; mov [rsi], rbx; xor ebx, ebx; jmp qword ptr [rsi]; ud2; 1:",
	  i.si = BUF, (w.f = FL(F_P | F_Z), open = F_A));
	K("near.loop", "mov ecx, 3; 1: inc eax; loop 1b", i.f = FL(F_C),
	  (w.a = 3, w.f = FL(F_C | F_P)));
	K("near.loope", "mov ecx, 3; 1: inc eax; cmp eax, 2; loopne 1b", SAME,
	  (w.a = 2, w.c = 1, w.f = FL(F_P | F_Z)));
	K("near.jrcxz", "jrcxz 1f; mov eax, 1; 1:", i.c = 0x100000000, w.a = 1);
	K("near.jecxz", "jecxz 1f; mov eax, 1; 1:", i.c = 0x100000000, SAME);
	/*
	 * A target that is not canonical is the branch's #GP(0): APM 3 and SDM 2, JMP, CALL, RET.
	 * (A CPU that loads RIP first tells the target as RIP.)
	 */
	K("near.jmp.non-canonical", "nop; jmp rbx", i.b = NON_CANONICAL, faults(&w, GP, 0, 1));
	K("near.call.non-canonical", "nop; call rbx", i.b = NON_CANONICAL, faults(&w, GP, 0, 1));
	K("near.call.non-canonical-memory", "mov [rsi], rbx; call qword ptr [rsi]",
	  (i.b = NON_CANONICAL, i.si = BUF), faults(&w, GP, 0, 3));
	K("near.ret.non-canonical", "push rbx; ret", i.b = NON_CANONICAL,
	  (faults(&w, GP, 0, 1), w.sp -= 8));
	K("near.ret-imm.non-canonical", "push rbx; ret 8", i.b = NON_CANONICAL,
	  (faults(&w, GP, 0, 1), w.sp -= 8));
	U("near.jmp.non-canonical.user", "jmp rbx", i.b = NON_CANONICAL, faults(&w, GP, 0, 0));
	U("near.ret.non-canonical.user", "push rbx; ret", i.b = NON_CANONICAL,
	  (faults(&w, GP, 0, 1), w.sp -= 8));
	/* A canonical target that is not mapped is the fetch's #PF, RIP there (APM 2:8.2.15). */
	K("near.jmp.unmapped", "jmp rbx", i.b = KPAGE(9),
	  (faults(&w, PF, 0x10, 0), w.ip = KPAGE(9), w.cr2 = KPAGE(9)));
	K("near.call.unmapped", "call rbx", i.b = KPAGE(9),
	  (faults(&w, PF, 0x10, 0), w.ip = KPAGE(9), w.cr2 = KPAGE(9), w.sp -= 8));
}

static void canonical(void)
{
	/* APM 2:8.2.14 and 8.2.13: #GP(0), or #SS(0) where the stack segment is meant. */
	K("canonical.load", "mov rax, [rsi]", i.si = NON_CANONICAL, faults(&w, GP, 0, 0));
	K("canonical.store", "mov [rsi], rax", i.si = NON_CANONICAL, faults(&w, GP, 0, 0));
	K("canonical.store.user-end", "mov [rsi], rax", i.si = 0x800000000000,
	  faults(&w, GP, 0, 0));
	K("canonical.load.rbp", "mov rax, [rbp]", i.bp = NON_CANONICAL, faults(&w, SS, 0, 0));
	/* A DS prefix is ignored in 64-bit mode (APM 3:1.2.4), so whose exception it is stays open. */
	if (item("canonical.load.rbp-ds")) {
		struct regs i = kernel_regs(CODE("mov rax, ds:[rbp]"));

		i.bp = NON_CANONICAL;
		told("vec", probe_run(&i).vec);
		item_end();
	}
	K("canonical.index", "mov rax, [rsi + rcx*8]",
	  (i.si = BUF, i.c = 1ull << 61, *word(0) = 0x77), w.a = 0x77);
	K("canonical.lea", "lea rax, [rsi]", i.si = NON_CANONICAL, w.a = NON_CANONICAL);
	K("canonical.invlpg", "invlpg [rsi]", i.si = NON_CANONICAL, SAME);
	U("canonical.load.user", "mov rax, [rsi]", i.si = NON_CANONICAL, faults(&w, GP, 0, 0));
	U("canonical.push.user", "push rax", i.sp = NON_CANONICAL, faults(&w, SS, 0, 0));
	U("canonical.pop.user", "pop rax", i.sp = NON_CANONICAL, faults(&w, SS, 0, 0));
	U("canonical.call.user", "call 1f; 1:", i.sp = NON_CANONICAL, faults(&w, SS, 0, 0));
	U("canonical.ret.user", "ret", i.sp = NON_CANONICAL, faults(&w, SS, 0, 0));
}

void truth_move(void)
{
	map_page(BUF, frame_new(), PTE_PRESENT | PTE_WRITE);
	map_page(BUF + PAGE_BYTES, frame_new(), PTE_PRESENT | PTE_WRITE);
	extensions();
	stack();
	near_transfers();
	canonical();
}
