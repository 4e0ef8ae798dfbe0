/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Delivery: gates, frames, stacks, double faults (APM 2:8.7 to 8.9, 8.2.9; SDM 3:6.12 to 6.14).
 *
 * The frame of five words lies below the 16-byte aligned RSP; the error code below that.
 */
#include "corpus/guests/cpu_truth/probe.h"

#define SOFT 0x60u /* vector that the items use for INT n */
#define FRAME_AT(sp) (((sp) & ~15ull) - 40)
#define GATE_ERROR(vector, ext) ((vector)*8u + 2 + (ext)) /* APM 2:8.4.1: IDT, EXT */

static void frames(void)
{
	static const char *const name[] = { "gate.align.0", "gate.align.8", "gate.align.1",
					    "gate.align.15" };
	static const uint8_t odd[] = { 0, 8, 1, 15 };

	for (unsigned n = 0; n < 4; n++)
		PROBE(name[n], kernel_regs(CODE("ud2")), i.sp -= odd[n],
		      (faults(&w, UD, 0, 0), w.frame = FRAME_AT(i.sp)));
	K("gate.align.error-code", "mov rax, [rsi]", (i.si = NON_CANONICAL, i.sp -= 8),
	  (faults(&w, GP, 0, 0), w.frame = FRAME_AT(i.sp)));
	U("gate.rsp0", "ud2", SAME, (faults(&w, UD, 0, 0), w.frame = FRAME_AT(RSP0_TOP)));
	U("gate.rsp0.error-code", "cli", SAME,
	  (faults(&w, GP, 0, 0), w.frame = FRAME_AT(RSP0_TOP)));
	gate_set(UD, 0, 2, 0x8e);
	K("gate.ist", "ud2", SAME, (faults(&w, UD, 0, 0), w.frame = FRAME_AT(IST_TOP(2))));
	U("gate.ist.user", "ud2", SAME, (faults(&w, UD, 0, 0), w.frame = FRAME_AT(IST_TOP(2))));
	probe_tss.ist[1] = IST_TOP(2) - 3;
	K("gate.ist.unaligned", "ud2", SAME,
	  (faults(&w, UD, 0, 0), w.frame = FRAME_AT(IST_TOP(2) - 3)));
	probe_tss.ist[1] = IST_TOP(2);
	gates_reset();
}

/* Which frames have RF set: those of faults (APM 2:8.2, 13.1.4; SDM 3:17.3.1.1). */
static void resume_flag(const char *name, uint64_t code, uint64_t flags, unsigned vector,
			bool wanted)
{
	struct regs i = kernel_regs(code), got;

	if (!item(name))
		return;
	i.si = KPAGE(9);
	i.f |= flags;
	got = probe_run(&i);
	is("vec", got.vec, vector);
	is("rf", got.f >> 16 & 1, wanted);
	item_end();
}

static void resume_flags(void)
{
	resume_flag("rf.de", CODE("div ecx"), 0, DE, true);
	resume_flag("rf.ud", CODE("ud2"), 0, UD, true);
	resume_flag("rf.pf", CODE("mov rax, [rsi]"), 0, PF, true);
	resume_flag("rf.gp", CODE("mov cr0, rsi"), 0, GP, true);
	resume_flag("rf.int-n", CODE("int 0x60"), 0, SOFT, false);
	resume_flag("rf.int3", CODE("int3"), 0, BP, false);
	resume_flag("rf.step", CODE("nop; nop"), F_T, DB, false);
	resume_flag("rf.int-n-gp", CODE("int 0x61"), 0, GP, true);
	resume_flag("rf.irq", CODE("mov eax, 0x70; out 0xf6, al; nop"), F_I, 0x70, false);
}

static void software(void)
{
	/* INT3 and INT n are traps: RIP behind them, RF not pushed. */
	K("gate.int3", "int3", SAME, traps(&w, BP, 0, 1));
	K("gate.int-n", "int 0x60", SAME, traps(&w, SOFT, 0, 2));
	K("gate.int1", ".byte 0xf1", SAME, traps(&w, DB, 0, 1));
	/* From CPL 3 the gate's DPL counts, for INT n alone. */
	U("gate.int-n.user-dpl0", "nop; int 0x60", SAME, faults(&w, GP, GATE_ERROR(SOFT, 0), 1));
	U("gate.int3.user-dpl0", "int3", SAME, faults(&w, GP, GATE_ERROR(BP, 0), 0));
	gate_set(SOFT, 0, 0, 0xee);
	U("gate.int-n.user", "int 0x60", SAME, traps(&w, SOFT, 0, 2));
	U("gate.int-n.user-13", "int 13", SAME, faults(&w, GP, GATE_ERROR(13, 0), 0));
	gates_reset();
}

static void bad_gates(void)
{
	struct gate *g = &probe_idt[SOFT];

	idt_limit(SOFT * 16 + 15);
	K("gate.beyond-limit", "int 0x60", SAME, faults(&w, GP, GATE_ERROR(SOFT, 0), 0));
	idt_limit(sizeof(probe_idt));
	gate_set(SOFT, 0, 0, 0x0e);
	K("gate.absent", "int 0x60", SAME, faults(&w, NP, GATE_ERROR(SOFT, 0), 0));
	gate_set(SOFT, 0, 0, 0x82);
	K("gate.bad-type", "int 0x60", SAME, faults(&w, GP, GATE_ERROR(SOFT, 0), 0));
	gate_set(SOFT, 0, 0, 0x85);
	K("gate.task", "int 0x60", SAME, faults(&w, GP, GATE_ERROR(SOFT, 0), 0));
	gate_set(SOFT, 0, 0, 0x8e);
	g->selector = 0;
	K("gate.selector.null", "int 0x60", SAME, faults(&w, GP, 0, 0));
	g->selector = SEL_BEYOND;
	K("gate.selector.beyond", "int 0x60", SAME, faults(&w, GP, SEL_BEYOND, 0));
	g->selector = SEL_DATA;
	K("gate.selector.data", "int 0x60", SAME, faults(&w, GP, SEL_DATA, 0));
	g->selector = SEL_CODE_ABSENT;
	K("gate.selector.absent", "int 0x60", SAME, faults(&w, NP, SEL_CODE_ABSENT, 0));
	g->selector = SEL_CODE_32;
	K("gate.selector.32-bit", "int 0x60", SAME, faults(&w, GP, SEL_CODE_32, 0));
	g->selector = SEL_USER_CODE;
	K("gate.selector.less-privileged", "int 0x60", SAME,
	  faults(&w, GP, SEL_USER_CODE & ~3u, 0));
	gate_set(SOFT, NON_CANONICAL, 0, 0x8e);
	K("gate.target.non-canonical", "int 0x60", SAME, faults(&w, GP, 0, 0));
	gates_reset();
	/* A fault's own gate: the same, with EXT (APM 2:8.4.1). */
	gate_set(UD, 0, 0, 0x0e);
	K("gate.absent.fault", "nop; ud2", SAME, faults(&w, NP, GATE_ERROR(UD, 1), 1));
	gate_set(UD, 0, 0, 0x82);
	K("gate.bad-type.fault", "ud2", SAME, faults(&w, GP, GATE_ERROR(UD, 1), 0));
	gate_set(UD, 0, 0, 0x8e);
	probe_idt[UD].selector = SEL_DATA;
	K("gate.selector.data.fault", "ud2", SAME, faults(&w, GP, SEL_DATA | 1, 0));
	gates_reset();
}

static void double_faults(void)
{
	/*
	 * Table 8-2 of APM 2. #DF runs on IST1; its saved RIP is that of the first instruction (SDM
	 * calls it undefined, all CPUs save it), its error code 0. RF: open.
	 */
	probe_idt[GP].type = 0x0e;
	K("double.gp-absent", "nop; mov rax, [rsi]", i.si = NON_CANONICAL,
	  (traps(&w, DF, 0, 1), w.frame = FRAME_AT(IST_TOP(1)), open = F_RF));
	gates_reset();
	/* Its own stack cannot be written: #SS again on the same one. */
	K("double.push-non-canonical", "push rax", i.sp = NON_CANONICAL,
	  (traps(&w, DF, 0, 0), w.frame = FRAME_AT(IST_TOP(1)), open = F_RF));
	gate_set(SS, 0, 2, 0x8e);
	K("double.push-non-canonical.ist", "push rax", i.sp = NON_CANONICAL,
	  (faults(&w, SS, 0, 0), w.frame = FRAME_AT(IST_TOP(2))));
	K("double.ud-on-non-canonical", "ud2", i.sp = NON_CANONICAL,
	  (faults(&w, SS, 0, 0), w.frame = FRAME_AT(IST_TOP(2))));
	gates_reset();
	/* #UD is benign: what goes wrong with it is served first; #PF within #PF is not. */
	K("double.ud-on-unmapped", "ud2", i.sp = KPAGE(9),
	  (traps(&w, DF, 0, 0), w.frame = FRAME_AT(IST_TOP(1)), open = F_RF));
	gate_set(PF, 0, 2, 0x8e);
	K("double.ud-on-unmapped.ist", "ud2", i.sp = KPAGE(9),
	  (faults(&w, PF, 2, 0), w.cr2 = KPAGE(9) - 8, w.frame = FRAME_AT(IST_TOP(2))));
	K("double.ud-on-read-only", "ud2", i.sp = KPAGE(1),
	  (faults(&w, PF, 3, 0), w.cr2 = KPAGE(1) - 8, w.frame = FRAME_AT(IST_TOP(2))));
	gates_reset();
	K("double.pf-on-unmapped", "mov rax, [rsi]", (i.sp = KPAGE(9), i.si = KPAGE(10)),
	  (traps(&w, DF, 0, 0), open = F_RF));
	/* A gate's target that cannot be fetched: its handler's own #PF. */
	gate_set(SOFT, KPAGE(9), 0, 0x8e);
	K("double.handler-unmapped", "int 0x60", SAME,
	  (faults(&w, PF, 0x10, 0), w.ip = KPAGE(9), w.cr2 = KPAGE(9), w.sp = FRAME_AT(i.sp)));
	gates_reset();
	probe_tss.rsp[0] = NON_CANONICAL;
	gate_set(SS, 0, 2, 0x8e);
	/* SDM 3:6.14.2: #SS(0); APM 3 INT: #SS(selector of the new SS, which is null). */
	U("double.rsp0-non-canonical", "ud2", SAME,
	  (faults(&w, SS, 0, 0), w.frame = FRAME_AT(IST_TOP(2)), open = F_RF));
	probe_tss.rsp[0] = RSP0_TOP;
	gates_reset();
}

/* What the handler finds: flags, SS, RSP. The handler is a probe's code that ends in probe_done. */
static void handlers(void)
{
	uint64_t see = CODE("pushf; pop rax; mov ebx, ss; mov ecx, cs");

	gate_set(UD, see, 0, 0x8e);
	K("handler.interrupt-gate", "ud2", i.f = FL(F_I | F_D | F_C | F_AC),
	  (w.a = w.f = FL(F_D | F_C | F_AC), w.b = SEL_DATA, w.c = SEL_CODE,
	   w.sp = FRAME_AT(i.sp)));
	gate_set(UD, see, 0, 0x8f);
	K("handler.trap-gate", "cli; ud2", i.f = FL(F_D | F_C),
	  (w.a = w.f = FL(F_D | F_C), w.b = SEL_DATA, w.c = SEL_CODE, w.sp = FRAME_AT(i.sp)));
	K("handler.trap-gate.keeps-if", "ud2", i.f = FL(F_I),
	  (w.a = w.f = FL(F_I), w.b = SEL_DATA, w.c = SEL_CODE, w.sp = FRAME_AT(i.sp)));
	K("handler.clears-nt", "ud2", i.f = FL(F_NT | F_C),
	  (w.a = w.f = FL(F_C), w.b = SEL_DATA, w.c = SEL_CODE, w.sp = FRAME_AT(i.sp)));
	/* From CPL 3 SS becomes null with RPL 0 (APM 2:8.9.3). */
	if (item("handler.from-user")) {
		struct regs i = user_regs(USER_CODE("ud2")), got = probe_run(&i);

		is("vec", got.vec, DONE);
		is("ss", got.b, 0);
		is("cs", got.c, SEL_CODE);
		is("sp", RSP0_TOP - got.sp, 40);
		is("fl", got.a, F_1);
		item_end();
	}
	gates_reset();
}

void truth_gate(void)
{
	map_page(KPAGE(0), frame_new(), PTE_PRESENT);
	unmap_page(KPAGE(8));
	unmap_page(KPAGE(9));
	unmap_page(KPAGE(10));
	frames();
	gate_set(0x61, 0, 0, 0x82);
	resume_flags();
	gates_reset();
	software();
	bad_gates();
	double_faults();
	handlers();
}
