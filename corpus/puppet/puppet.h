/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside the puppet: its state, and what its files give each other. */
#ifndef PUPPET_PUPPET_H
#define PUPPET_PUPPET_H

/* Offsets into struct cpu that entry.S uses. */
#define CPU_STACK 0
#define CPU_INSIDE 8
#define CPU_IMPORT 16
#define CPU_VECTOR 24
#define CPU_ERROR 32
#define CPU_GPR 40
#define CPU_RIP 168
#define CPU_CS 176
#define CPU_FLAGS 184
#define CPU_RSP 192 /* as an event's frame has it; the same as gpr[4] */
#define CPU_SS 200
#define CPU_EVENT 168 /* what is added to these for an event's */

#define KERNEL_CS 0x08
#define KERNEL_SS 0x10
#define USER_SS 0x1b
#define USER_CS 0x23
#define TSS_SEL 0x28

#define PUPPET_STACK 16384
#define WAIT_SPINS 300000u
#define PUPPET_LANDING ((uint64_t)puppet_landing)

#ifndef __ASSEMBLY__

#include <stddef.h>
#include <stdint.h>

#include "corpus/puppet/program.h"
#include "vmm/abi.h"

#define PAGE 4096ull
#define RESULT_GPRS PP_GPRS

/* Every register of whatever the puppet starts or interrupts. */
struct regs {
	uint64_t gpr[PP_GPRS]; /* x86 encoding order; [4] is RSP */
	uint64_t rip, cs, flags, rsp, ss;
};

/* A call-out or an event that waits for `return` or `iret`. */
struct context {
	uint8_t used;
	uint8_t kind; /* enum pp_arrival: CALLOUT or EVENT */
	uint8_t label;
	uint8_t engine;	 /* the event struck the puppet itself: nothing to go back to */
	uint32_t number; /* import or vector */
	struct regs regs;
};

#define CONTEXTS 32u

enum thread_state { THREAD_NEW, THREAD_RUNS, THREAD_PARKED, THREAD_ENDED };

/* What a switch from one thread to another exchanges. There is no C stack among it. */
struct thread {
	uint8_t state;	     /* enum thread_state */
	uint8_t vcpu;	     /* where it ran last */
	uint8_t preempted;   /* it goes on at `frame`, not with its next step */
	uint8_t arrival;     /* enum pp_arrival of the last */
	uint8_t pending;     /* it is a call-out or event that no step has claimed yet */
	uint8_t depth;	     /* contexts of this thread, innermost last */
	uint32_t step, last; /* index of the next step, and of the one behind the last */
	uint32_t now;	     /* the step that is carried out */
	const uint8_t *next;
	uint8_t stacked[CONTEXTS];
	uint64_t result; /* RAX of the last return or hypercall */
	uint64_t fault;	 /* CR2 of the last page fault */
	uint64_t variable[PP_VARIABLES];
	uint32_t waited[PP_LABELS];
	struct regs arrived; /* as of the last arrival */
	struct regs frame;   /* what a timer interrupt struck */
};

struct cpu {
	/* Where arrivals start afresh: nothing on the engine's stack outlives a step. */
	uint64_t stack;
	uint64_t inside; /* the puppet itself runs, not what it started */
	uint64_t import;
	uint64_t vector, error;
	struct regs arrived; /* gpr at CPU_GPR */
	struct regs event;

	unsigned id;
	unsigned current;   /* the thread that runs here */
	uint32_t preempt;   /* timer interrupts switch threads, after so many ticks; 0: off */
	uint8_t timer_ours; /* not a step's: one may still be pending when it is off */
	struct thread t;    /* its state while it runs here */
};

_Static_assert(offsetof(struct cpu, stack) == CPU_STACK, "entry.S");
_Static_assert(offsetof(struct cpu, inside) == CPU_INSIDE, "entry.S");
_Static_assert(offsetof(struct cpu, import) == CPU_IMPORT, "entry.S");
_Static_assert(offsetof(struct cpu, vector) == CPU_VECTOR, "entry.S");
_Static_assert(offsetof(struct cpu, error) == CPU_ERROR, "entry.S");
_Static_assert(offsetof(struct cpu, arrived.gpr) == CPU_GPR, "entry.S");
_Static_assert(offsetof(struct cpu, arrived.rip) == CPU_RIP, "entry.S");
_Static_assert(offsetof(struct cpu, arrived.cs) == CPU_CS, "entry.S");
_Static_assert(offsetof(struct cpu, arrived.flags) == CPU_FLAGS, "entry.S");
_Static_assert(offsetof(struct cpu, arrived.rsp) == CPU_RSP, "entry.S");
_Static_assert(offsetof(struct cpu, arrived.ss) == CPU_SS, "entry.S");
_Static_assert(offsetof(struct cpu, event.gpr) == CPU_EVENT + CPU_GPR, "entry.S");

extern struct cpu puppet_cpu[PP_MAX_VCPUS];
extern const struct gh_boot *puppet_boot;

/* entry.S */
void puppet_go(const struct regs *r) __attribute__((noreturn));
void puppet_landing(void);
extern char puppet_landed[]; /* the end of what stores the registers of returns and call-outs */
void puppet_ret(void);
void puppet_strike(void);
void puppet_strike(void);
void puppet_hypercall(uint64_t *abcd);
extern uint8_t puppet_hypercall_x[3], puppet_x[3];
extern char puppet_imports[]; /* PP_IMPORTS stubs */
extern char puppet_events[];  /* 256 stubs of 16 bytes */
void puppet_start(const struct gh_boot *boot, unsigned vcpu) __attribute__((noreturn));
void puppet_arrived(unsigned kind) __attribute__((noreturn));

/* PP_STACKS for each vCPU, then one for each thread that belongs to none. */
#define STACKS (PP_MAX_VCPUS * PP_STACKS + PP_THREADS - PP_MAX_VCPUS)

/* puppet.c */
extern uint8_t puppet_stacks[STACKS][PUPPET_STACK];
extern struct thread puppet_threads[PP_THREADS]; /* all but those that run */
extern struct pp_program *puppet_program;
extern struct pp_result *puppet_results;
extern uint32_t puppet_lock; /* of the lists that vCPUs share */

/* context.c */
void fail(struct cpu *c, enum pp_fail why, uint64_t got, uint64_t want);
struct context *innermost(struct cpu *c);
/* Takes the context off every thread's list; it is found by number, so another may do so. */
void drop(struct context *x);
void push_context(struct cpu *c, uint8_t kind, uint32_t number, uint8_t engine);
struct context *find_context(struct cpu *c, uint8_t kind, uint8_t label);
uint64_t stack_top(unsigned n);
/* Where a kernel function called now would have its stack: below what waits, else at the top. */
uint64_t stack_now(struct cpu *c);
uint64_t value(struct cpu *c, const struct pp_operand *o);
uint64_t load(uint64_t a, unsigned width);
void store(uint64_t a, unsigned width, uint64_t v);

/* steps.c */
void carry_out(struct cpu *c, const struct pp_step *s);
void go(struct cpu *c, struct regs *r) __attribute__((noreturn));
void pause_once(unsigned turn);

/* threads.c */
int take(struct cpu *c, unsigned n);
void go_on(struct cpu *c);
int schedule(struct cpu *c, int begin);
void step_switch(struct cpu *c, const struct pp_step *s);
void step_preempt(struct cpu *c, const struct pp_operand *a);
void restart(struct cpu *c);
void threads_init(void);

/* tables.c: descriptor tables */
void tables_load(unsigned vcpu);
void tables_ist(unsigned vcpu, unsigned n, uint64_t rsp);
void tables_gate_ist(uint8_t vector, unsigned n);
void tables_idt(uint64_t base);		       /* 0: the puppet's own */
void tables_tss(unsigned vcpu, uint64_t base); /* likewise */

/* paging.c */
enum page_edit { EDIT_PROTECT, EDIT_UNMAP, EDIT_FRAME };
/* space 0: the tables of CR3 as it is now. */
int page_edit(unsigned space, uint64_t gva, enum page_edit edit, uint64_t frame, unsigned rights);
/* The frame under gva by the tables of CR3: 0 if there is none, 2 if it is writable, else 1. */
int page_frame(uint64_t gva, uint64_t *gpa);
int page_swap(unsigned space, uint64_t a, uint64_t b, unsigned rights);
uint64_t page_new(void); /* gpa of a zeroed page, 0: none left */
int page_switch(unsigned space);
void page_without_nx(void);
void page_init(void);

static inline uint64_t read_cr0(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr0, %0" : "=r"(v));
	return v;
}

static inline uint64_t read_cr2(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr2, %0" : "=r"(v));
	return v;
}

static inline uint64_t read_cr3(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr3, %0" : "=r"(v));
	return v;
}

static inline uint64_t read_cr4(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}

static inline void write_cr0(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr0" : : "r"(v) : "memory");
}

static inline void write_cr3(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory");
}

static inline void write_cr4(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr4" : : "r"(v) : "memory");
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))
			 : "memory");
}

static inline void invlpg(uint64_t gva)
{
	__asm__ volatile("invlpg (%0)" : : "r"(gva) : "memory");
}

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outw(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline uint32_t inl(uint16_t port, unsigned width)
{
	uint32_t v = 0;

	if (width == 1)
		__asm__ volatile("inb %1, %b0" : "+a"(v) : "Nd"(port) : "memory");
	else if (width == 2)
		__asm__ volatile("inw %1, %w0" : "+a"(v) : "Nd"(port) : "memory");
	else
		__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

#endif
#endif
