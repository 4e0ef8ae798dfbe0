/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A virtual machine as every engine sees it: guest RAM, the loaded image and modules, devices,
 * the guard and its callbacks, the verdict log. An engine only runs vCPUs and switches views.
 *
 * Who calls whom: a verb builds a struct vm, loads into it, calls vm_run(). vm_run() drives the
 * engine (vmm/engine.h); the engine reports crossings to vm_judge(), which asks model/ and logs.
 * The hosted kernel and the scenario runner hang on vm_on_host_port().
 */
#ifndef VMM_VM_H
#define VMM_VM_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/error.h"
#include "lib/file.h"
#include "model/guard.h"
#include "oracle/oracle.h"
#include "vmm/abi.h"

struct engine_ops; /* vmm/engine.h: sim now, kvm later */
struct vm;
struct vm_line;

struct vm_config {
	const struct engine_ops *engine;
	uint64_t ram_size; /* bytes; 0: 64 MiB */
	unsigned vcpus;	   /* 1..GH_MAX_VCPUS */
	uint64_t seed;	   /* schedule */
	uint64_t budget;   /* instructions in all, 0: 200 million */
	uint32_t x_kind;   /* enum gm_x_kind that the modules were wrapped with */
	FILE *console;	   /* guest console, NULL: kept for vm_console() only */
	FILE *trace;	   /* --trace story, NULL: none */
	/* Told of each line as it is logged; NULL: nobody */
	void (*logged)(void *ctx, const struct vm *vm, const struct vm_line *l);
	void *ctx;
	bool explain;		 /* the story also shows code and stacks (vmm/explain.c) */
	size_t log_lines;	 /* ring size, 0: 1 << 20 */
	enum oracle_mode oracle; /* a second judge (docs/oracle.md); engine sim only */
	bool measure;		 /* the host's time in the core, for vm_cost() */
};

/* A module ready to load: the wrapped object, its manifest, what the administrator binds. */
struct vm_module_source {
	const char *name;
	struct blob ko;			     /* wrapped ET_REL */
	struct blob manifest;		     /* binary */
	const struct guard_binding *binding; /* NULL: registered as not-bound */
};

enum vm_exit_reason {
	VM_EXIT_GUEST,	      /* port 0xf4: status */
	VM_EXIT_HALTED,	      /* every vCPU sleeps and nothing can wake it */
	VM_EXIT_TRIPLE_FAULT, /* vcpu, rip */
	VM_EXIT_ENGINE,	      /* the guest killed or confused the engine: message says how */
	VM_EXIT_BUDGET,
	VM_EXIT_INTERRUPTED, /* Ctrl-C (vm_interrupt()) */
	VM_EXIT_STOPPED,     /* guard: stop_vm, or lower-failed on the last running vCPU */
	VM_EXIT_HOST,	     /* a host port handler asked to stop */
	VM_EXIT_ORACLE	     /* the oracle and the core disagree: vm_oracle_failure() */
};

struct vm_exit {
	enum vm_exit_reason reason;
	unsigned vcpu;
	int status;
	uint64_t rip;
	char message[256]; /* one line for people, with symbol */
};

/* One log line as kept: the core's line, numbered. */
struct vm_line {
	uint64_t n; /* per vCPU, from 1 */
	unsigned vcpu;
	struct guard_line line;
};

struct vm *vm_create(const struct vm_config *cfg, struct error *err);
void vm_destroy(struct vm *vm);

/* Loads the guest ELF (high half), builds page tables, GDT, boot page, stacks. Call first. */
bool vm_load_guest(struct vm *vm, const char *path, const struct blob *elf, struct error *err);

/* How a module's imports become addresses: guest symbols and earlier modules' exports come first. */
typedef bool (*vm_resolve_fn)(void *ctx, const char *symbol, uint64_t *gva);

/*
 * As insmod: places the segments, relocates, patches as a kernel would at load, REGISTERs with the
 * guard, grants all bound privileges on every vCPU, and (if announce) issues ANNOUNCE as vCPU 0
 * would. *index is the guard's module index; GUARD_VIEW_U without a binding: then the module is
 * loaded as an ordinary one. On an error the VM is as before, except that a module which only
 * failed at ANNOUNCE stays loaded and registered.
 */
bool vm_load_module(struct vm *vm, const struct vm_module_source *src, bool announce,
		    vm_resolve_fn resolve, void *ctx, unsigned *index, struct error *err);

/*
 * The guest's loader places a module again, at new addresses and frames (unload and reload, P6).
 * Nothing is registered or announced: with `announce` it is, as by vm_load_module(). The old place
 * stays mapped as it is. `index` is the guard's; the boot page gets the new bases.
 */
bool vm_reload_module(struct vm *vm, unsigned index, bool announce, vm_resolve_fn resolve,
		      void *ctx, struct error *err);

/*
 * For a fuzzer. The mark: what is so now, between runs, while nobody is inside or waits to come back
 * and the guest has made no page tables of its own; once in a VM's
 * life, engine sim only, at most 16 VMs of a process. false: not so, or no memory.
 * Rewinding: all is as it was then, with this seed of the schedule. false: something cannot be taken
 * back (a module was placed anew, the guest killed an instance of the engine); then only
 * vm_destroy() is left.
 */
bool vm_set_mark(struct vm *vm, struct error *err);
bool vm_rewind(struct vm *vm, uint64_t seed);

/* Runs until something ends it. May be called again after VM_EXIT_HOST. Not from a handler. */
void vm_run(struct vm *vm, struct vm_exit *exit);
/* The schedule from here on is that of this seed, whatever was before. */
void vm_reseed(struct vm *vm, uint64_t seed);
/* Async-signal-safe. */
void vm_interrupt(struct vm *vm);
/* The VM whose engine runs now, or NULL: for a signal handler that wants to interrupt it. */
struct vm *vm_running(void);

/*
 * Host services: called with the vCPU stopped right after `out %al,$0xf8` (rip already past it),
 * outside of the engine's run loop: the handler may read and change registers and memory, and may
 * call vm_run_nested(). Return false to end vm_run() with VM_EXIT_HOST.
 */
typedef bool (*vm_host_fn)(void *ctx, struct vm *vm, unsigned vcpu);
void vm_on_host_port(struct vm *vm, vm_host_fn fn, void *ctx);

/* Runs vCPU `vcpu` (others interleave) until it executes `out $0xf8` with RIP == stop_rip after it.
 * For hosted call-backs while a call-out is open. Bounded depth (16). */
bool vm_run_nested(struct vm *vm, unsigned vcpu, uint64_t stop_rip, struct vm_exit *exit);

/* Registers of a stopped vCPU. */
void vm_get_cpu(struct vm *vm, unsigned vcpu, struct guard_cpu *cpu);
void vm_set_cpu(struct vm *vm, unsigned vcpu, const struct guard_cpu *cpu);

/* Guest-virtual access as a CPL-0 access in view U of that vCPU: private memory and devices answer
 * with their stand-ins. false: not mapped (or not writable). For host-side models of the guest. */
bool vm_read_u(struct vm *vm, unsigned vcpu, uint64_t gva, void *buf, size_t len);
bool vm_write_u(struct vm *vm, unsigned vcpu, uint64_t gva, const void *buf, size_t len);
/* Maps fresh zeroed guest RAM (pages) at a kernel-half gva, writable, not executable by default. */
bool vm_map_ram(struct vm *vm, uint64_t gva, size_t bytes, bool executable, uint64_t *gpa);
/* Allocates guest-physical pages from the free end of RAM. 0: none left. */
uint64_t vm_alloc_gpa(struct vm *vm, size_t bytes);

/* As a device without an IOMMU accesses RAM; what view U hides stays hidden. false: not RAM. */
bool vm_dma_read(struct vm *vm, uint64_t gpa, void *buf, size_t len);
bool vm_dma_write(struct vm *vm, uint64_t gpa, const void *buf, size_t len);
/* Fills the mailbox of the boot page (64 KiB, or as much as len needs). Before the first run. */
bool vm_set_mailbox(struct vm *vm, const void *data, size_t len, struct error *err);

/* A memory-mapped register range, gpa page aligned outside RAM. width 1,2,4,8. */
struct vm_device {
	const char *name;
	uint64_t gpa, size;
	uint64_t (*read)(void *ctx, uint64_t offset, unsigned width);
	void (*write)(void *ctx, uint64_t offset, unsigned width, uint64_t value);
	void *ctx;
};
bool vm_add_device(struct vm *vm, const struct vm_device *dev, struct error *err);
/* The sample device of vmm/abi.h. *rings (if not NULL) reads back its state. */
bool vm_add_doorbell(struct vm *vm, uint32_t secret, struct error *err);
uint64_t vm_doorbell_rings(const struct vm *vm);
/* The binding lets the guest write bytes first..last of the doorbell's configuration space. */
void vm_pci_allow(struct vm *vm, unsigned first, unsigned last);

/* ---- which vCPU sits on which physical core (placement.c) ---- */

#define VM_MAX_CORES 64u

/* Who decides that a module may use MWAIT where it is bound. */
enum vm_idle_policy {
	VM_IDLE_ADAPTIVE, /* granted while no other vCPU sits on the same core */
	VM_IDLE_MWAIT,	  /* always granted */
	VM_IDLE_HLT	  /* never granted */
};

/* All times are the engine's: instructions on sim, microseconds on kvm. */
struct vm_placement {
	enum vm_idle_policy policy;
	unsigned cores;	 /* 1..VM_MAX_CORES; vCPU n begins on core n modulo this */
	uint64_t seed;	 /* of the moves */
	uint64_t period; /* from one move of some vCPU to the next; 0: none moves */
	uint64_t turn;	 /* > 0: every second turn a core is kept by who sleeps in MWAIT on it */
	uint64_t wake;	 /* from the event that ends HLT until the vCPU has a core again */
};

struct vm_idle_counts {
	uint64_t exits;		    /* sum of the next six: what ends guest mode on hardware */
	uint64_t crossings, faults; /* X executed; execute faults (RESUME) */
	uint64_t departures;	    /* of what ran, or slept in MWAIT */
	uint64_t hlt, intercepted;  /* HLT; MONITOR and MWAIT that did nothing */
	uint64_t sent;		    /* interrupts sent to a vCPU */

	uint64_t mwait;	       /* times that a vCPU slept in MWAIT: no exit */
	uint64_t mwait_shared; /* of those, and of moves: the core was shared while it slept */
	uint64_t moves, granted, withheld;
	uint64_t woken; /* WITHHOLD found the vCPU asleep in MWAIT */
	uint64_t held;	/* engine time that runnable vCPUs waited for such a sleeper's core */
	uint64_t status_reads; /* a device here; a page of memory would make no exit */
};

/* After all modules are loaded, before the first run. */
bool vm_place(struct vm *vm, const struct vm_placement *cfg, struct error *err);
/* false: this VM has no placement, and nothing was counted. */
bool vm_idle_counts(const struct vm *vm, struct vm_idle_counts *counts);

/* The guard's side. */
struct guard *vm_guard(struct vm *vm);
bool vm_grant(struct vm *vm, unsigned vcpu, unsigned module, uint64_t privileges, bool give);
/* The administrator's UNREGISTER, logged for vCPU 0. */
bool vm_unregister(struct vm *vm, unsigned module);
/*
 * The administrator's REGISTER of another manifest, whose code nobody has loaded: judged, logged
 * for vCPU 0, and unregistered at once if it was accepted. Nothing else of the VM changes. false:
 * no memory.
 */
bool vm_try_register(struct vm *vm, const struct blob *manifest,
		     const struct guard_binding *binding, enum guard_verdict *verdict);
/* INIT or removal of a vCPU: lowered, its running chain dropped, off until port 0xf5 starts it. */
bool vm_reset_vcpu(struct vm *vm, unsigned vcpu);
/* The vCPU executes nothing: `stopped` by the guard for good, or else off and can be started. */
bool vm_is_off(const struct vm *vm, unsigned vcpu, bool stopped);
/* The guard has stopped the vCPU, and the engine would run it on. */
bool vm_runs_stopped(const struct vm *vm, unsigned vcpu);
/* The next so many raises and lowers of this vCPU fail (R20). */
void vm_fail_next(struct vm *vm, unsigned vcpu, unsigned raises, unsigned lowers);
/*
 * An interrupt strikes at the n-th instruction boundary inside any module, counted over all vCPUs
 * from 1; needs the oracle, whose engine tells instructions. 0: none. vm_boundaries() counts on.
 */
void vm_strike(struct vm *vm, uint64_t n, uint8_t vector);
uint64_t vm_boundaries(const struct vm *vm);
/* Which vCPU ran how far in which order, as a hash; 0: the engine cannot tell. */
uint64_t vm_schedule(struct vm *vm);
/* Simulated time: instructions executed so far. */
uint64_t vm_time(struct vm *vm);

/* What judging has cost so far. */
struct vm_cost {
	uint64_t events; /* of the engine, judged by the core */
	uint64_t ns;	 /* of the host, in the core and its callbacks; 0 without cfg.measure */
};
struct vm_cost vm_cost(const struct vm *vm);

/*
 * Symbols: guest symbols by name; of a module "module:function" (the body itself), and its gates
 * "module:enter/function", "module:leave/import", "module:leave/%rax", "module:leave-return",
 * "module:enter-return".
 */
bool vm_symbol_address(const struct vm *vm, const char *name, uint64_t *gva);
/* Formats "name+0x12" into buf; returns buf. */
const char *vm_symbolize(const struct vm *vm, uint64_t gva, char *buf, size_t len);
uint64_t vm_module_base(const struct vm *vm, unsigned module, unsigned segment);
const char *vm_module_name(const struct vm *vm, unsigned module);
const struct gm_header *vm_module_manifest(const struct vm *vm, unsigned module);

/* Both stories of the first disagreement between oracle and core, several lines; NULL: none. */
const char *vm_oracle_failure(const struct vm *vm);
/* false: this VM has no oracle. */
bool vm_oracle_counts(const struct vm *vm, struct oracle_counts *counts);

/* The log (a ring). Lines are in global order; index 0 is the oldest kept. */
size_t vm_log_count(const struct vm *vm);
uint64_t vm_log_lost(const struct vm *vm);
const struct vm_line *vm_log_line(const struct vm *vm, size_t i);
/* "N vcpu=V EVENT module=M site=S verdict=NAME view=A>B act=K cause=C" */
void vm_log_format(const struct vm *vm, const struct vm_line *l, char *buf, size_t len);
bool vm_log_write(const struct vm *vm, const char *path, struct error *err);

/* What went over the console so far (NUL-terminated, bounded to the last 64 KiB). */
const char *vm_console(const struct vm *vm);

#endif
