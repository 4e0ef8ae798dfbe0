/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A tiny kernel for guests: console, report(), traps, page tables, threads, more vCPUs, modules.
 *
 * A guest defines main() and says in GUARDHOUSE() which modules it wants (docs/guests.md). main()
 * runs on vCPU 0; what it returns is the guest's exit status, normally report_summary().
 */
#ifndef CORPUS_GUEST_H
#define CORPUS_GUEST_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/abi.h"

#define PAGE_BYTES 4096ul
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Lines for `guardhouse run`, kept in the image's file but not in guest memory. */
#define GUARDHOUSE(lines)                                                                          \
	__asm__(".pushsection .guardhouse, \"\", @progbits\n"                                      \
		".ascii \"" lines "\"\n"                                                           \
		".popsection\n")

/* ---- machine ---- */

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void outw(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline void outl(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline void pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}

static inline uint64_t read_cr3(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr3, %0" : "=r"(v));
	return v;
}

static inline void write_cr3(uint64_t v)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory");
}

static inline uint64_t read_cr2(void)
{
	uint64_t v;

	__asm__ volatile("mov %%cr2, %0" : "=r"(v));
	return v;
}

static inline void invlpg(uint64_t va)
{
	__asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

static inline void irq_enable(void)
{
	__asm__ volatile("sti" : : : "memory");
}

static inline void irq_disable(void)
{
	__asm__ volatile("cli" : : : "memory");
}

static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)));
}

void exit(int status) __attribute__((noreturn));

/* ---- memory and strings ---- */

void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);

/* ---- console and results ---- */

int printk(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int vsnprintf(char *buf, size_t len, const char *fmt, va_list ap);

/* One checked claim: "PASS: prefix: sentence". A failure makes the guest's status 1. */
void report(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void report_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void report_prefix_push(const char *prefix);
void report_prefix_pop(void);
/* Prints the totals; 0 if nothing failed and something was checked. */
int report_summary(void);

/* ---- traps ---- */

#define VECTOR_DB 1
#define VECTOR_NMI 2
#define VECTOR_UD 6
#define VECTOR_GP 13
#define VECTOR_PF 14

/* As trap_common in start.S pushes it. */
struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
	uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

typedef void (*trap_fn)(struct trap_frame *f);
/* NULL gives the default back: exceptions are caught by try_call() or end the guest. */
void trap_handler(unsigned vector, trap_fn fn);

/*
 * A call that may fault. Inputs: target, and what the registers, flags and stack hold when it is
 * jumped to. Outputs: result (RAX), or the exception that ended it.
 */
struct attempt {
	/* saved and restored by start.S */
	uint64_t home;		  /* 0x00 */
	struct attempt *previous; /* 0x08 */
	/* in */
	uint64_t target; /* 0x10 */
	uint64_t rsp;	 /* 0x18: 0: an ordinary call; else RSP at target, and the word is `word` */
	uint64_t word;	 /* 0x20: written at rsp; 0: the address that comes back here */
	uint64_t rflags; /* 0x28 */
	uint64_t arg[8]; /* 0x30: 6 in registers, 2 on the stack (ordinary calls) */
	/* out */
	uint64_t result; /* 0x70 */
	uint64_t vector; /* 0x78 */
	uint64_t error;	 /* 0x80 */
	uint64_t rip;	 /* 0x88: of the exception */
	uint64_t cr2;	 /* 0x90 */
	bool faulted;	 /* 0x98 */
};

/* Runs it; true if it came back without an exception. */
bool attempt(struct attempt *a);
/* The usual short form: true if fn(x, y, z) ended in #GP. */
bool call_refused(void *fn, uint64_t x, uint64_t y, uint64_t z);

/* ---- page tables ---- */

#define PTE_PRESENT 1ull
#define PTE_WRITE 2ull
#define PTE_USER 4ull
#define PTE_NX (1ull << 63)
#define PTE_ADDRESS 0x000ffffffffff000ull

static inline void *phys_to_virt(uint64_t pa)
{
	return (void *)(GH_DIRECT_MAP + pa);
}

/* Physical address behind va in the present tables; ~0 if unmapped. */
uint64_t virt_to_phys(const void *va);
/* Entry of va's 4 KiB page under this CR3, larger pages split; NULL: no table (and !create). */
uint64_t *page_entry(uint64_t cr3, uint64_t va, bool create);
void map_page(uint64_t va, uint64_t pa, uint64_t flags);
void unmap_page(uint64_t va);
/* A new address space with the present kernel half. Entries below it are shared. */
uint64_t new_cr3(void);
/* Zeroed pages from free RAM, as direct-map addresses. Never given back. */
void *alloc_pages(unsigned n);

/* ---- threads and vCPUs ---- */

#define THREAD_STACK_BYTES 16384u

struct thread {
	uint64_t rsp;		 /* 0x00, while it does not run */
	struct attempt *attempt; /* 0x08 */
	uint32_t on_cpu;	 /* 0x10 */
	void (*fn)(void *arg);
	void *arg;
	uint8_t *stack;
	const char *name;
	bool done;
};

struct cpu {
	struct thread *thread; /* %gs:0 */
	unsigned id;	       /* %gs:8 */
	struct thread idle;    /* the thread that the vCPU started with */
};

struct cpu *this_cpu(void);
static inline unsigned cpu_id(void)
{
	return this_cpu()->id;
}

/* A thread with a stack of its own, not yet run. `stack` NULL: a new one. */
void thread_init(struct thread *t, const char *name, void (*fn)(void *), void *arg, uint8_t *stack);
/* Runs t here and now; comes back when someone switches to the caller again. */
void thread_switch(struct thread *t);
/* From inside a thread: back to this vCPU's first thread. */
void thread_yield(void);
/* Calls fn(arg) on a stack (address of its end) and comes back, as an IRQ stack is used. */
long call_on_stack(void *stack_end, long (*fn)(void *), void *arg);

/* Starts vCPU n; fn runs on it once, then it halts. */
void cpu_start(unsigned n, void (*fn)(void *), void *arg);
/* Waits until *flag >= value; ends the guest with a message if that never comes. */
void wait_for(volatile long *flag, long value, const char *what);
/* Raises the vector here / on another vCPU. */
void raise_here(uint8_t vector);
void raise_on(unsigned cpu, uint8_t vector);

/* ---- modules and the guard ---- */

extern const struct gh_boot *boot;

/* End the guest with a message if there is no such module or symbol. */
const struct gh_boot_module *module_find(const char *name);
void *module_symbol(const char *module, const char *symbol);
/*
 * Enter gate of a module's function, with the type of its declaration. Other names in the boot
 * page: "text/f" is the function itself, "leave/g" the gate to import g, "leave/%rax" that of an
 * inner thunk, "leave-return" and "enter-return" the two return gates.
 */
#define ENTRY(module, function) ((__typeof__(function) *)module_symbol(module, #function))
/* Runs the module's init entry: what init_module() returned. */
long module_init(const char *name);

/* Numbered calls to the guard through this machine's kind of X. */
#define CALL_ANNOUNCE 0x6000u
#define CALL_WITHDRAW 0x6001u
#define CALL_STATUS 0x6002u
#define STATUS_REGISTERED 0x100u
#define STATUS_ANNOUNCED 0x200u
#define STATUS_QUARANTINED 0x400u
uint64_t guard_call(uint64_t number, uint64_t rbx, uint64_t rcx, uint64_t rdx);
/* Repeats while the guard answers `again`. */
uint64_t module_announce(const struct gh_boot_module *m, const uint64_t *bases);
uint64_t module_withdraw(const struct gh_boot_module *m);
uint64_t module_status(const struct gh_boot_module *m);
/* The host loads it again, at new addresses, neither announced nor initialised; false: it did not. */
bool module_reload(const struct gh_boot_module *m);

/* ---- what modules import; a guest changes the hooks (corpus/modules/module.h) ---- */

struct kernel_hooks {
	long (*callout)(long n);
	void (*fill)(long *out);
};
extern struct kernel_hooks hooks;

long kernel_callout(long n);
void kernel_fill(long *out);
long kernel_sum8(long a, long b, long c, long d, long e, long f, long g, long h);

#endif
