/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * cpu_truth: what this machine's CPU does, one line an item.
 *
 *     NAME value=... value=... ok | WRONG want=value:... | told | not-run
 *
 * A probe is a piece of code (Intel syntax, as the manuals have it) that runs from a state of all
 * registers to its end or to the first exception or interrupt; both states are complete. What the
 * manuals demand is written by hand next to each item: "APM" is AMD64 Architecture Programmer's
 * Manual (volume:section), "SDM" Intel's. What they leave open is told, never judged.
 *
 * Values are the same on every run and every build: addresses are told relative to something.
 */
#ifndef CPU_TRUTH_PROBE_H
#define CPU_TRUTH_PROBE_H

#include "corpus/lib/guest.h"

enum {
	F_C = 1,
	F_1 = 2, /* always set */
	F_P = 4,
	F_A = 0x10,
	F_Z = 0x40,
	F_S = 0x80,
	F_T = 0x100,
	F_I = 0x200,
	F_D = 0x400,
	F_O = 0x800,
	F_IOPL = 0x3000,
	F_NT = 0x4000,
	F_RF = 0x10000,
	F_AC = 0x40000,
	F_ID = 0x200000,
	F_STATUS = F_C | F_P | F_A | F_Z | F_S | F_O
};

enum {
	DE = 0,
	DB = 1,
	NMI = 2,
	BP = 3,
	UD = 6,
	NM = 7,
	DF = 8,
	TS = 10,
	NP = 11,
	SS = 12,
	GP = 13,
	PF = 14,
	AC = 17
};
#define FL(flags) (F_1 | (uint64_t)(flags))
#define DONE 0x100 /* "vector" of a probe that came to its end */
#define ONES (~0ull)
#define TOP 0x8000000000000000ull

/* A CPU's state before or after a probe. Order of the first 17 as entry.S has them. */
struct regs {
	uint64_t a, c, d, b, sp, bp, si, di, r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t f;	     /* RFLAGS */
	uint64_t ip, cs, ss; /* after: of the exception's frame */
	uint64_t vec, err;   /* after: DONE, or vector and error code (0 if there is none) */
	uint64_t frame;	     /* after: where RIP was pushed */
	uint64_t cr2;
};

/* Selectors of the GDT that probe_init() loads. */
enum {
	SEL_CODE = 0x08,
	SEL_DATA = 0x10,
	SEL_USER32 = 0x18, /* for STAR: SYSRET adds 8 and 16 */
	SEL_USER_DATA = 0x20 | 3,
	SEL_USER_CODE = 0x28 | 3,
	SEL_CODE_ABSENT = 0x30,
	SEL_DATA_ABSENT = 0x38,
	SEL_CODE_32 = 0x40, /* compatibility mode */
	SEL_DATA_RO = 0x48,
	SEL_DATA_BASE = 0x50,  /* base SEG_BASE */
	SEL_TSS = 0x58,	       /* two slots */
	SEL_TSS_ABSENT = 0x68, /* two slots */
	SEL_TSS_FREE = 0x78,   /* two slots; an available TSS */
	SEL_BEYOND = 0x88      /* first one behind the limit */
};
#define SEG_BASE 0x12345000ull

/* Addresses. Pages from KPAGE and UPAGE are mapped by who uses them; n counts pages. */
#define KPAGE(n) (0xffffc00000000000ull + (n)*PAGE_BYTES)
#define UPAGE(n) (0x50000000ull + (n)*PAGE_BYTES)
#define USER_TEXT 0x40000000ull /* the image once more, for CPL 3 */
#define IMAGE (GH_KERNEL_BASE + 0x100000)
#define NON_CANONICAL 0x8000123456780000ull

extern uint8_t probe_stack[], user_stack[], ist_stack[3][PAGE_BYTES]; /* 4 pages; 1; ... */
#define PROBE_TOP ((uint64_t)probe_stack + 3 * PAGE_BYTES)
#define USER_TOP 0x60000800ull
#define RSP0_TOP ((uint64_t)rsp0_stack + PAGE_BYTES)
#define IST_TOP(n) ((uint64_t)ist_stack[(n)-1] + PAGE_BYTES)
extern uint8_t rsp0_stack[PAGE_BYTES];

/* Code in Intel syntax that ends at probe_done; its address. No % { | } within. */
#define CODE_WITH(end, text)                                                                       \
	({                                                                                         \
		uint64_t at_;                                                                      \
		__asm__ volatile(".pushsection .text.probe, \"ax\", @progbits\n"                   \
				 ".intel_syntax noprefix\n"                                        \
				 "771:\n" text "\n" end "\n"                                       \
				 ".att_syntax prefix\n"                                            \
				 ".popsection\n"                                                   \
				 "movq $771b, %0"                                                  \
				 : "=r"(at_));                                                     \
		at_;                                                                               \
	})
#define CODE(text) CODE_WITH("jmp probe_done", text)
/* For CPL 3, at its user address: HLT is the end there. */
#define USER_CODE(text) (CODE_WITH("hlt", text) - IMAGE + USER_TEXT)

void probe_init(void);
/* A fresh state at CPL 0 / CPL 3 for the code at ip. */
struct regs kernel_regs(uint64_t ip);
struct regs user_regs(uint64_t ip);
/* Runs from *in. At DONE the result's ip is in->ip again. */
struct regs probe_run(const struct regs *in);

/* ---- items ---- */

/* Starts one and prints its name; false: it is on the list of those not to run. */
bool item(const char *name);
/* A value that must be so. */
void is(const char *what, uint64_t got, uint64_t want);
/* A value that no manual demands. */
void told(const char *what, uint64_t got);
void item_end(void);
int summary(void);

/* All of *want against *got; bits of `open` in RFLAGS are told only. */
void compare(const struct regs *in, const struct regs *got, const struct regs *want, uint64_t open);
/* *w: this exception, `offset` bytes behind the start. */
void faults(struct regs *w, unsigned vector, uint64_t error, uint64_t offset);
void traps(struct regs *w, unsigned vector, uint64_t error, uint64_t offset);

/*
 * One probe as an item. `before` sets i (state at the start), `after` changes w (what is wanted: i,
 * unless said otherwise) and may set `open` (flags that no manual defines).
 */
#define PROBE(name, state, before, after)                                                          \
	do {                                                                                       \
		if (item(name)) {                                                                  \
			struct regs i = (state), w, got;                                           \
			uint64_t open = 0;                                                         \
                                                                                                   \
			(void)(before);                                                            \
			w = i;                                                                     \
			w.vec = DONE;                                                              \
			(void)(after);                                                             \
			got = probe_run(&i);                                                       \
			compare(&i, &got, &w, open);                                               \
			item_end();                                                                \
		}                                                                                  \
	} while (0)
#define K(name, text, before, after) PROBE(name, kernel_regs(CODE(text)), before, after)
#define U(name, text, before, after) PROBE(name, user_regs(USER_CODE(text)), before, after)
#define SAME 0 /* nothing to set, nothing changes */

/* ---- machine state that items change and put back ---- */

struct gate {
	uint16_t low, selector;
	uint8_t ist, type;
	uint16_t mid;
	uint32_t high, zero;
};
extern struct gate probe_idt[256];
extern uint64_t probe_gdt[17];
extern struct tss {
	uint32_t zero;
	uint64_t rsp[3], zero1, ist[7];
	uint64_t zero2;
	uint16_t zero3, iomap;
} __attribute__((packed)) probe_tss;
/* The gate of a vector; type 0x8e interrupt, 0x8f trap, | 0x60 for DPL 3. target 0: its stub. */
void gate_set(unsigned vector, uint64_t target, unsigned ist, unsigned type);
void gates_reset(void);
void idt_limit(unsigned bytes);
/* Fresh zeroed frame's physical address. */
uint64_t frame_new(void);
uint64_t read_cr0(void);
void write_cr0(uint64_t v);
uint64_t read_cr4(void);
void write_cr4(uint64_t v);
uint64_t rdmsr(uint32_t msr);

#define CR0_AM (1ull << 18)
#define CR0_WP (1ull << 16)
#define CR0_TS 8ull
#define CR4_DE 8ull
#define CR4_PGE 0x80ull
#define CR4_FSGSBASE (1ull << 16)
#define CR4_SMEP (1ull << 20)
#define CR4_SMAP (1ull << 21)
#define EFER_SCE 1ull
#define EFER_NXE (1ull << 11)
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_FMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u

/* ---- topics ---- */

void truth_alu(void);
void truth_bits(void);
void truth_move(void);
void truth_string(void);
void truth_fault(void);
void truth_gate(void);
void truth_page(void);
void truth_tlb(void);
void truth_transfer(void);
void truth_segment(void);
void truth_interrupt(void);
void truth_debug(void);
void truth_system(void);

#endif
