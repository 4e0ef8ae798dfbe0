/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events on their way to the guest, for engines that deliver them by hand: what is pending, and the
 * way through the guest's own IDT in 64-bit mode (AMD64 manual volume 2, 8.7 and 8.9). An engine
 * fills a struct idt_cpu from its vCPU, calls idt_deliver(), and takes over what has changed.
 */
#ifndef VMM_IDT_H
#define VMM_IDT_H

#include <stdbool.h>
#include <stdint.h>

#include "model/guard.h"

#define RFLAGS_TF (1ull << 8)
#define RFLAGS_IF (1ull << 9)
#define RFLAGS_DF (1ull << 10)
#define RFLAGS_IOPL (3ull << 12)
#define RFLAGS_NT (1ull << 14)
#define RFLAGS_RF (1ull << 16)
#define RFLAGS_VM (1ull << 17)
#define RFLAGS_AC (1ull << 18)

/* Exception vectors (AMD64 manual volume 2, table 8-1). */
enum {
	EXC_DB = 1,
	EXC_NMI = 2,
	EXC_BP = 3,
	EXC_UD = 6,
	EXC_DF = 8,
	EXC_TS = 10,
	EXC_NP = 11,
	EXC_SS = 12,
	EXC_GP = 13,
	EXC_PF = 14
};

/* An event on its way to the guest. */
struct cpu_event {
	uint8_t vector;
	bool has_error;
	bool soft; /* int n, int3: the gate's DPL counts, no EXT bit */
	uint32_t error;
	uint64_t cr2;  /* of #PF */
	uint64_t insn; /* of a soft one: where the instruction is, should it fault instead */
	enum guard_cause cause;
};

/* An exception with this error code, and nothing else. */
void cpu_fault(struct cpu_event *ev, uint8_t vector, uint32_t error);

static inline bool cpu_canonical(uint64_t gva)
{
	return (uint64_t)((int64_t)(gva << 16) >> 16) == gva;
}

/* Vectors raised and not yet delivered. */
struct cpu_pending {
	uint64_t vector[4];
	bool any;
};

void cpu_pending_set(struct cpu_pending *p, uint8_t vector);
/* The highest goes first, as from a local APIC. -1: there is none. */
int cpu_pending_take(struct cpu_pending *p);

/* A segment descriptor as it lies in its table. */
struct cpu_descriptor {
	uint16_t selector;
	uint64_t base;
	uint32_t limit; /* in bytes: G is done with */
	uint32_t flags; /* the upper dword: type, S, DPL, P, AVL, L, D/B, G in their places */
};

#define DESC_CONFORMING (1u << 10)
#define DESC_CODE (1u << 11)
#define DESC_S (1u << 12)
#define DESC_DPL(flags) ((flags) >> 13 & 3)
#define DESC_P (1u << 15)
#define DESC_L (1u << 21)
#define DESC_DB (1u << 22)
#define DESC_G (1u << 23)

struct cpu_table {
	uint64_t base;
	uint32_t limit;
	uint16_t selector;
};

struct idt_cpu {
	void *ctx;
	/*
	 * The CPU's own accesses: implicit, supervisor, in view U (guarantee G3).
	 * Returns: false with the fault in *ev.
	 */
	bool (*read)(void *ctx, uint64_t gva, void *buf, unsigned len, struct cpu_event *ev);
	bool (*write)(void *ctx, uint64_t gva, const void *buf, unsigned len, struct cpu_event *ev);
	const bool *ended; /* an access has ended the run: give up */
	struct cpu_table gdt, ldt, idt, tr;
	uint64_t rip, rsp, rflags, cr2;
	uint16_t cs, ss; /* selectors */
	unsigned cpl;
	struct cpu_descriptor code; /* CS when delivered, if so */
};

enum idt_result { IDT_DELIVERED, IDT_SHUTDOWN, IDT_ENDED };

/*
 * Reads a descriptor of the GDT or LDT. Returns: false with the fault in *ev.
 */
bool idt_descriptor(struct idt_cpu *c, uint16_t selector, struct cpu_descriptor *d,
		    struct cpu_event *ev);

/*
 * Delivers an event; a fault on the way is delivered instead, or a double fault.
 *
 * c: the vCPU as it is, already in view U. IDT_DELIVERED: RIP, RSP, RFLAGS, CPL, code and perhaps
 * CR2 are those of the handler's first instruction; if the CPL has changed, SS is null at that CPL.
 * *ev is what was delivered in the end. Otherwise only CR2 and RIP have perhaps changed.
 */
enum idt_result idt_deliver(struct idt_cpu *c, struct cpu_event *ev);

#endif
