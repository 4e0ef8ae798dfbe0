/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of the hosted kernel: one struct hosted per VM, and what its parts call of each other.
 *
 * The kernel's state that Linux would keep in guest memory and that no driver looks into lives
 * here, on the host. What drivers read or write themselves lives in guest memory, at the offsets
 * of hosted/offsets.h. All guest memory is reached by vm_read_u() and vm_write_u().
 */
#ifndef HOSTED_KERNEL_H
#define HOSTED_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "hosted/heap.h"
#include "hosted/hosted.h"
#include "hosted/image.h"
#include "hosted/nic.h"
#include "hosted/offsets.h"
#include "vmm/vm.h"
#include "wrap/wrap.h"

#define HOSTED_MAX_DEPTH 14u /* calls inside call-outs; vm_run_nested() has 16 */
#define HOSTED_MAX_TIMERS 64u
#define HOSTED_MAX_WORKS 64u
#define HOSTED_MAX_NAPIS 16u
#define HOSTED_MAX_IRQS 8u
#define HOSTED_STRING 256u
#define HOSTED_MAX_CALLOUTS 100000u /* of one run; an honest one makes some thousand */

#define HOSTED_NIC_GPA 0xd0100000ull /* beside the sample device of vmm/abi.h */
#define HOSTED_NIC_GVA (GH_DIRECT_MAP + HOSTED_NIC_GPA)
#define HOSTED_VMEMMAP 0xffffea0000000000ull

struct hosted;

/* Plays an import: a[0..5] are the argument registers. The result goes into RAX. */
typedef uint64_t (*hosted_fn)(struct hosted *h, const uint64_t *a);

struct hosted_symbol {
	const char *name;
	hosted_fn fn;
};

/* One import of the module at hand. */
struct hosted_import {
	const char *name;
	hosted_fn fn; /* NULL: not modelled, returns 0 */
	uint64_t calls;
	bool keeps_rax; /* an assembly helper that preserves RAX */
};

struct hosted_timer {
	uint64_t gva; /* struct timer_list, 0: free */
	uint64_t expires;
	bool pending;
};

struct hosted_work {
	uint64_t gva; /* struct work_struct, 0: free */
	uint64_t due; /* jiffies */
};

struct hosted_irq {
	uint64_t handler, dev_id;
	uint32_t line;
	bool used, disabled;
};

/* A fault that the guest took while the hosted kernel had called into it. */
struct hosted_fault {
	uint8_t vector;
	uint64_t error, rip;
};

struct hosted {
	const struct hosted_options *opt;
	struct offsets off;
	struct wrap_result wrapped;
	struct vm *vm;
	unsigned module, vcpu;
	struct image image;
	struct image_import *addresses;
	struct hosted_import *imports; /* addresses[i] belongs to imports[i] */
	size_t nimports;
	struct heap heap;
	struct nic nic;

	/* what runs when vCPU 0 has booted */
	void (*story)(struct hosted *h, void *arg);
	void *story_arg;
	bool story_done;

	uint64_t jiffies, jiffies_gva, subtick_us;
	unsigned depth; /* calls into the guest that are open */
	uint64_t callouts;
	unsigned callout; /* imports that are being played */
	unsigned in_irq;
	struct hosted_fault fault;	  /* the last one */
	bool taken[HOSTED_MAX_DEPTH + 1]; /* a fault ended the call of this depth */
	uint64_t unexpected;		  /* faults that no attack asked for */
	bool expect_fault, stepping;
	bool dead; /* the VM ended inside a nested call: unwind */
	struct vm_exit exit;

	uint64_t pdev, bus, netdev, driver, next_irq;
	bool registered, up;
	struct hosted_timer timer[HOSTED_MAX_TIMERS];
	struct hosted_work work[HOSTED_MAX_WORKS];
	struct hosted_irq irq[HOSTED_MAX_IRQS];
	uint64_t napi[HOSTED_MAX_NAPIS];
	uint32_t napi_queued; /* bit i: napi[i] wants to be polled */
	uint8_t config[256];  /* of the card, as PCI configuration space */

	bool probe_called;
	int64_t init_result, probe_result, open_result;
	uint64_t callbacks, packets; /* packets: received */
	uint8_t packet[128];	     /* the last one's start */
	uint32_t packet_len;
	uint64_t outside_reads, outside_ones, outside_writes, outside_written;
	uint32_t status_inside, status_outside;
	char line[1024]; /* of the console, until its newline */
	size_t line_len;

	bool in_look;
	/* called at each import, before it is played; true: *answer is its result, and it is not */
	bool (*on_callout)(struct hosted *h, const char *import, uint64_t *answer, void *arg);
	/* called when an interrupt has come, before it is handled; RSP is its frame */
	void (*on_interrupt)(struct hosted *h, void *arg);
	void *hook_arg; /* of both */
};

/* ---- kernel.c: the machine ---- */

bool hosted_open(struct hosted *h, const struct hosted_options *opt, struct error *err);
/* Boots vCPU 0 and runs the story to its end. */
void hosted_boot(struct hosted *h, void (*story)(struct hosted *h, void *arg), void *arg);
void hosted_close(struct hosted *h);

/*
 * Calls fn(a0, a1, a2, a3) in the guest on the stack of whatever called out last. Returns RAX;
 * ~0 if the guest faulted (h->fault) or cannot go on (h->dead).
 */
uint64_t hosted_call(struct hosted *h, uint64_t fn, uint64_t a0, uint64_t a1, uint64_t a2,
		     uint64_t a3);
/*
 * Lets the guest run from these registers until it comes back to guest_return or faults. *cpu gets
 * the registers at that point; true: came back.
 */
bool hosted_go(struct hosted *h, struct guard_cpu *cpu);
/* Address of an entry's gate by function name, 0: none; by its flag (GM_ENTRY_INIT ...). */
uint64_t hosted_entry(const struct hosted *h, const char *function);
uint64_t hosted_entry_flag(const struct hosted *h, uint32_t flag);
/* Of the n-th, modulo their number. */
uint64_t hosted_entry_at(const struct hosted *h, unsigned n);

/* The innermost call into the guest ends with a fault, whatever it was doing. */
void hosted_abandon(struct hosted *h, struct guard_cpu *cpu);

/* ---- memory, as view U has it ---- */

uint64_t hosted_get(struct hosted *h, uint64_t gva, unsigned width);
void hosted_put(struct hosted *h, uint64_t gva, unsigned width, uint64_t value);
bool hosted_read(struct hosted *h, uint64_t gva, void *buf, size_t len);
bool hosted_write(struct hosted *h, uint64_t gva, const void *buf, size_t len);
void hosted_fill(struct hosted *h, uint64_t gva, uint8_t byte, uint64_t len);
/* Copies at most size - 1 bytes up to the NUL; always terminates. Returns the length. */
size_t hosted_string(struct hosted *h, uint64_t gva, char *buf, size_t size);
/* Zeroed memory in the direct map; 0: none left. */
uint64_t hosted_alloc(struct hosted *h, uint64_t bytes);
uint64_t hosted_alloc_pages(struct hosted *h, uint64_t bytes);
void hosted_free(struct hosted *h, uint64_t gva);

/* ---- console and formats (format.c) ---- */

void hosted_console(struct hosted *h, const char *text);
void hosted_printf(struct hosted *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Where a variadic function's arguments come from. */
struct hosted_args {
	struct hosted *h;
	uint64_t reg[6];
	unsigned next;	/* register arguments used up */
	uint64_t stack; /* GVA of the next one on the stack */
	uint64_t list;	/* or: GVA of a va_list, 0: none */
};

/* As snprintf() with the guest's format and arguments; returns the full length. */
size_t hosted_format(struct hosted_args *args, uint64_t fmt, char *out, size_t size);
/* The arguments behind the n named ones of the import being played. */
void hosted_varargs(struct hosted *h, const uint64_t *a, unsigned n, struct hosted_args *args);

/* ---- time (time.c): timers, work, interrupts ---- */

extern const struct hosted_symbol hosted_time_symbols[];
/* Lets so much time pass; interrupts come if the caller has them enabled. */
void hosted_delay(struct hosted *h, uint64_t us);
/* Nothing runs: timers and work come too. */
void hosted_idle(struct hosted *h, uint64_t ms);
void hosted_interrupts(struct hosted *h);

/* ---- the other groups of imports, each ended by a NULL name ---- */

extern const struct hosted_symbol hosted_core_symbols[];
extern const struct hosted_symbol hosted_pci_symbols[];
extern const struct hosted_symbol hosted_net_symbols[];

uint64_t hosted_zero(struct hosted *h, const uint64_t *a); /* right to do nothing */

/* pci.c */
bool hosted_pci_init(struct hosted *h);
/* net.c */
uint64_t hosted_skb(struct hosted *h, uint32_t size);
void hosted_net_stop(struct hosted *h);
void hosted_napi_poll(struct hosted *h);

/* story.c: what a machine does with a driver, from insmod to rmmod */
void hosted_story(struct hosted *h, void *arg);
/* Up to ndo_open, for attacks; true: probed and open. */
bool hosted_bring_up(struct hosted *h);
void hosted_take_down(struct hosted *h);
void hosted_net_open(struct hosted *h);
/* A packet goes out, and may come back; the driver's counts; ethtool's questions. */
void hosted_send(struct hosted *h);
void hosted_stats(struct hosted *h);
void hosted_ethtool(struct hosted *h);
/* From outside, by a guest instruction. */
uint32_t hosted_peek(struct hosted *h, uint64_t gva);
void hosted_poke(struct hosted *h, uint64_t gva, uint32_t value);

#endif
