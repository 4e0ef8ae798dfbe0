/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Arithmetic and logic with their flags: APM 3 under each instruction's name; flags that a manual
 * calls undefined are `open`. 32-bit results are zero-extended, smaller ones leave the rest alone
 * (APM 1:3.1.2).
 */
#include "corpus/guests/cpu_truth/probe.h"

static void add_and_sub(void)
{
	K("alu.add.overflow", "add rax, rbx", (i.a = TOP - 1, i.b = 1),
	  (w.a = TOP, w.f = FL(F_P | F_A | F_S | F_O)));
	K("alu.add.carry", "add rax, rbx", (i.a = ONES, i.b = 1),
	  (w.a = 0, w.f = FL(F_C | F_P | F_A | F_Z)));
	K("alu.add.byte", "add al, bl", (i.a = 0x1122334455667780, i.b = 0x80),
	  (w.a = 0x1122334455667700, w.f = FL(F_C | F_P | F_Z | F_O)));
	K("alu.add.high-byte", "add ah, bl", (i.a = 0xff00ff, i.b = 1),
	  (w.a = 0xff01ff, w.f = FL(0)));
	K("alu.add.word", "add ax, bx", (i.a = 0x1122334455667fff, i.b = 1),
	  (w.a = 0x1122334455668000, w.f = FL(F_P | F_A | F_S | F_O)));
	K("alu.add.dword", "add eax, ebx", (i.a = 0xffffffff80000000, i.b = 0x80000000),
	  (w.a = 0, w.f = FL(F_C | F_P | F_Z | F_O)));
	K("alu.add.imm8-signed", "add rax, -1", (i.a = 1),
	  (w.a = 0, w.f = FL(F_C | F_P | F_A | F_Z)));
	K("alu.adc.carry-in", "adc rax, rbx", (i.a = ONES, i.f = FL(F_C)),
	  (w.a = 0, w.f = FL(F_C | F_P | F_A | F_Z)));
	K("alu.adc.full", "adc al, bl", (i.a = 0xff, i.b = 0xff, i.f = FL(F_C)),
	  (w.a = 0xff, w.f = FL(F_C | F_P | F_A | F_S)));
	K("alu.adc.overflow", "adc eax, ebx", (i.a = 0x7fffffff, i.f = FL(F_C)),
	  (w.a = 0x80000000, w.f = FL(F_P | F_A | F_S | F_O)));
	K("alu.sub.borrow", "sub rax, rbx", (i.b = 1),
	  (w.a = ONES, w.f = FL(F_C | F_P | F_A | F_S)));
	K("alu.sub.overflow", "sub rax, rbx", (i.a = TOP, i.b = 1),
	  (w.a = TOP - 1, w.f = FL(F_P | F_A | F_O)));
	K("alu.sbb.borrow-in", "sbb rax, rbx", (i.f = FL(F_C)),
	  (w.a = ONES, w.f = FL(F_C | F_P | F_A | F_S)));
	K("alu.sbb.self", "sbb eax, eax", (i.a = 0x123456789, i.f = FL(F_C)),
	  (w.a = 0xffffffff, w.f = FL(F_C | F_P | F_A | F_S)));
	K("alu.sbb.full", "sbb al, bl", (i.a = 0x7f, i.b = 0xff, i.f = FL(F_C)),
	  (w.a = 0x7f, w.f = FL(F_C | F_A)));
	K("alu.cmp.below", "cmp rax, rbx", (i.a = 1, i.b = 2), w.f = FL(F_C | F_P | F_A | F_S));
	K("alu.cmp.less-overflow", "cmp rax, rbx", (i.a = TOP, i.b = 1), w.f = FL(F_P | F_A | F_O));
	K("alu.inc.keeps-carry", "inc rax", (i.a = TOP - 1, i.f = FL(F_C)),
	  (w.a = TOP, w.f = FL(F_C | F_P | F_A | F_S | F_O)));
	K("alu.dec.keeps-carry", "dec al", (i.a = 0x100, i.f = FL(F_C)),
	  (w.a = 0x1ff, w.f = FL(F_C | F_P | F_A | F_S)));
	K("alu.neg.zero", "neg rax", i.f = FL(F_C), w.f = FL(F_P | F_Z));
	K("alu.neg.one", "neg rax", i.a = 1, (w.a = ONES, w.f = FL(F_C | F_P | F_A | F_S)));
	K("alu.neg.min", "neg rax", i.a = TOP, w.f = FL(F_C | F_P | F_S | F_O));
}

static void logic(void)
{
	K("alu.not.flags", "not eax", (i.a = 0x123456780000ffff, i.f = FL(F_C | F_O)),
	  w.a = 0xffff0000);
	K("alu.and", "and eax, ebx", (i.a = 0xff00, i.b = 0x0ff0, i.f = FL(F_C | F_O)),
	  (w.a = 0x0f00, w.f = FL(F_P), open = F_A));
	K("alu.or", "or al, bl", (i.a = 0x80, i.b = 1, i.f = FL(F_C | F_O)),
	  (w.a = 0x81, w.f = FL(F_P | F_S), open = F_A));
	K("alu.xor.self", "xor eax, eax", (i.a = ONES, i.f = FL(F_C | F_S)),
	  (w.a = 0, w.f = FL(F_P | F_Z), open = F_A));
	K("alu.test.byte", "test al, al", i.a = 0x180, (w.f = FL(F_S), open = F_A));
	K("alu.cmc", "cmc", i.f = FL(F_C | F_Z), w.f = FL(F_Z));
	K("alu.stc", "stc", SAME, w.f = FL(F_C));
	K("alu.clc", "clc", i.f = FL(F_C | F_O), w.f = FL(F_O));
	K("alu.std", "std", SAME, w.f = FL(F_D));
	K("alu.cld", "cld", i.f = FL(F_D), w.f = FL(0));
	K("alu.lahf", "lahf", i.f = FL(F_C | F_A | F_S | F_O), w.a = 0x9300);
	K("alu.sahf", "sahf", (i.a = 0xff00, i.f = FL(F_O)),
	  w.f = FL(F_C | F_P | F_A | F_Z | F_S | F_O));
}

static void shifts(void)
{
	K("alu.shl.one", "shl rax, 1", i.a = 0xc000000000000000,
	  (w.a = TOP, w.f = FL(F_C | F_P | F_S), open = F_A));
	K("alu.shl.overflow", "shl eax, 1", i.a = 0x40000000,
	  (w.a = 0x80000000, w.f = FL(F_P | F_S | F_O), open = F_A));
	K("alu.shl.by-64", "shl rax, cl", (i.a = 5, i.c = 64, i.f = FL(F_C | F_Z | F_O)), SAME);
	K("alu.shl.dword-by-32", "shl eax, cl",
	  (i.a = 0xffffffff00000001, i.c = 32, i.f = FL(F_C | F_O)), w.a = 1);
	K("alu.shl.four", "shl rax, 4", i.a = 0x1000000000000001,
	  (w.a = 0x10, w.f = FL(F_C), open = F_A | F_O));
	K("alu.shr.one", "shr rax, 1", i.a = TOP | 1,
	  (w.a = TOP >> 1, w.f = FL(F_C | F_P | F_O), open = F_A));
	K("alu.shr.byte-by-9", "shr al, 9", i.a = 0xff,
	  (w.a = 0, w.f = FL(F_P | F_Z), open = F_A | F_O | F_C));
	K("alu.sar.one", "sar rax, 1", i.a = TOP | 1,
	  (w.a = 0xc000000000000000, w.f = FL(F_C | F_P | F_S), open = F_A));
	K("alu.sar.all", "sar rax, 63", i.a = TOP,
	  (w.a = ONES, w.f = FL(F_P | F_S), open = F_A | F_O));
	K("alu.rol.one", "rol al, 1", (i.a = 0x81, i.f = FL(F_P | F_A | F_Z | F_S)),
	  (w.a = 3, w.f = FL(F_C | F_P | F_A | F_Z | F_S | F_O)));
	K("alu.ror.one", "ror al, 1", i.a = 1, (w.a = 0x80, w.f = FL(F_C | F_O)));
	K("alu.rol.byte-by-8", "rol al, cl", (i.a = 1, i.c = 8), (w.f = FL(F_C), open = F_O));
	K("alu.ror.by-12", "ror rax, 12", i.a = 0xabc,
	  (w.a = 0xabc0000000000000, w.f = FL(F_C), open = F_O));
	K("alu.rcl.one", "rcl al, 1", (i.a = 0x80, i.f = FL(F_C)), (w.a = 1, w.f = FL(F_C | F_O)));
	K("alu.rcr.one", "rcr al, 1", (i.a = 1, i.f = FL(F_C)), (w.a = 0x80, w.f = FL(F_C | F_O)));
	K("alu.rcl.byte-by-9", "rcl al, cl", (i.a = 0x5a, i.c = 9, i.f = FL(F_C)), open = F_O);
	K("alu.shld", "shld rax, rbx, 4", (i.a = 0x123456789abcdef0, i.b = 0xf000000000000000),
	  (w.a = 0x23456789abcdef0f, w.f = FL(F_C | F_P), open = F_A | F_O));
	K("alu.shrd.one", "shrd rax, rbx, 1", (i.a = 1, i.b = 1),
	  (w.a = TOP, w.f = FL(F_C | F_P | F_S | F_O), open = F_A));
}

static void multiply_and_divide(void)
{
	uint64_t rest = F_P | F_A | F_Z | F_S, all = F_STATUS;

	K("alu.mul.wide", "mul rbx", (i.a = ONES, i.b = ONES),
	  (w.a = 1, w.d = ONES - 1, w.f = FL(F_C | F_O), open = rest));
	K("alu.mul.fits", "mul rbx", (i.a = 2, i.b = 3, i.d = 9), (w.a = 6, w.d = 0, open = rest));
	K("alu.mul.byte", "mul bl", (i.a = 0xff, i.b = 0xff),
	  (w.a = 0xfe01, w.f = FL(F_C | F_O), open = rest));
	K("alu.imul.wide", "imul rbx", (i.a = ONES, i.b = ONES), (w.a = 1, open = rest));
	K("alu.imul.overflow", "imul eax, ebx", (i.a = 0x10000, i.b = 0x10000),
	  (w.a = 0, w.f = FL(F_C | F_O), open = rest));
	K("alu.imul.immediate", "imul rax, rbx, -3", i.b = 5, (w.a = -15ull, open = rest));
	K("alu.div.wide", "div rbx", (i.d = 1, i.b = 2), (w.a = TOP, w.d = 0, open = all));
	K("alu.div.byte", "div bl", (i.a = 0x107, i.b = 0x10), (w.a = 0x0710, open = all));
	K("alu.idiv.truncates", "idiv ebx", (i.a = 0xfffffff9, i.d = 0xffffffff, i.b = 2),
	  (w.a = 0xfffffffd, open = all));
	/* #DE is a fault: nothing has changed (APM 2:8.2.1). */
	K("alu.div.zero", "div rbx", (i.a = 1, i.d = 2), faults(&w, DE, 0, 0));
	K("alu.div.too-big", "div rbx", (i.d = 1, i.b = 1), faults(&w, DE, 0, 0));
	K("alu.idiv.min", "nop; idiv rbx", (i.a = TOP, i.d = ONES, i.b = ONES),
	  faults(&w, DE, 0, 1));
}

void truth_alu(void)
{
	add_and_sub();
	logic();
	shifts();
	multiply_and_divide();
}
