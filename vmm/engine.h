/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Between vmm/ and an engine: what vmm/ asks of it, and what it reports and asks back.
 *
 * An engine runs vCPUs, translates their addresses, switches views and delivers events; it knows
 * no rule. All of it happens in one thread: an engine calls vmm/ only from inside run(), with every
 * vCPU at an instruction boundary and its state in reach of get_cpu()/get_sys(). vmm/ may call any
 * operation but run() from there. interrupt() alone may come from a signal handler.
 *
 * Nested runs need nothing here: run() returns at every `out %al,$0xf8`, so vmm/ calls it again
 * from a host service and looks whether it came back on the right vCPU at the right RIP.
 */
#ifndef VMM_ENGINE_H
#define VMM_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"
#include "model/guard.h"
#include "vmm/vm.h"

struct engine; /* the engine's own */

#define ENGINE_ALL_VCPUS 0xffffffffu

/* A segment register with its hidden part; attr: bits 0-7 type,S,DPL,P; 8-11 AVL,L,D/B,G. */
struct engine_segment {
	uint64_t base;
	uint32_t limit; /* in bytes, already scaled by G */
	uint16_t selector;
	uint16_t attr;
};

struct engine_table {
	uint64_t base;
	uint16_t limit;
};

enum engine_run_state {
	ENGINE_OFF, /* not started, or stopped for good */
	ENGINE_RUNNABLE,
	ENGINE_ASLEEP /* HLT or MWAIT: an event wakes it */
};

/* All of a vCPU that struct guard_cpu does not carry. */
struct engine_sys {
	struct engine_segment cs, ss, ds, es, fs, gs, tr, ldt;
	struct engine_table gdt, idt;
	uint64_t cr2, cr8;
	uint64_t dr[8]; /* 0-3, 6, 7 used; as the guest sees them, also while they are taken away */
	uint64_t kernel_gs_base, star, lstar, cstar, fmask;
	uint64_t tsc_aux;
};

struct engine_config {
	unsigned vcpus; /* 1..GH_MAX_VCPUS */
	uint64_t seed;
	uint64_t budget; /* guest instructions of all run() calls together, > 0 */
	uint32_t x_kind; /* enum gm_x_kind: an engine may not have all */
};

struct engine_ops {
	const char *name;
	const char *note;   /* what it cannot show: one line for people, NULL: nothing to say */
	uint32_t default_x; /* enum gm_x_kind if nobody asks for another */
	/*
	 * What it runs on, where that makes a difference to what it can show: "pvm", "svm", "vmx".
	 * NULL, or no such operation: it makes none, or is not known.
	 */
	const char *(*host)(void);

	/* All vCPUs start OFF and in view U. NULL with *err: the host lacks something. */
	struct engine *(*create)(struct vm *vm, const struct engine_config *cfg, struct error *err);
	void (*destroy)(struct engine *e);

	/*
	 * Runs all runnable vCPUs until something ends it; fills *exit but for symbols and history,
	 * which vmm/ adds to the message. VM_EXIT_HOST: exit->vcpu stands behind its `out $0xf8`,
	 * and run() may be called again, from wherever. Also again after BUDGET or INTERRUPTED.
	 */
	void (*run)(struct engine *e, struct vm_exit *exit);
	/* Makes run() return VM_EXIT_INTERRUPTED soon; now or, if none runs, at the next call. */
	void (*interrupt)(struct engine *e);

	/*
	 * set_cpu() loads gpr, rip, rflags, cr0, cr3, cr4, efer; cpl and mode follow from
	 * set_sys()'s CS. Changed control registers flush as the instructions would.
	 */
	void (*get_cpu)(struct engine *e, unsigned vcpu, struct guard_cpu *cpu);
	void (*set_cpu)(struct engine *e, unsigned vcpu, const struct guard_cpu *cpu);
	void (*get_sys)(struct engine *e, unsigned vcpu, struct engine_sys *sys);
	void (*set_sys)(struct engine *e, unsigned vcpu, const struct engine_sys *sys);
	enum engine_run_state (*run_state)(struct engine *e, unsigned vcpu);
	void (*set_run_state)(struct engine *e, unsigned vcpu, enum engine_run_state state);

	/*
	 * The view of a vCPU, GUARD_VIEW_U or a module's index: called from ops->raise and
	 * ops->lower. false: could not, nothing changed. Going in, DR7 and TF are taken away;
	 * coming out they are given back. `dirty`: what vm_page() says for this view on this vCPU
	 * has changed since it last had the view (other privileges), so nothing may be reused.
	 */
	bool (*set_view)(struct engine *e, unsigned vcpu, uint8_t view, bool dirty);
	uint8_t (*view)(struct engine *e, unsigned vcpu);

	/* Guest-virtual [gva, gva + bytes) must be walked again, in every view. bytes 0: all. */
	void (*invalidate)(struct engine *e, uint32_t vcpus, uint64_t gva, uint64_t bytes);
	/*
	 * What vm_page() says for [gpa, gpa + bytes) has changed (role, verified or private page
	 * behind it), or the host wrote bytes there that may have been executed. When it returns,
	 * no vCPU in any view uses an old translation, data or code.
	 */
	void (*frames_changed)(struct engine *e, uint64_t gpa, uint64_t bytes);
	/* Report the next write to these frames again, by vm_frame_written(). */
	void (*track)(struct engine *e, uint64_t gpa, uint64_t bytes);

	/* These vCPUs, if privileged, DEPART (cause kick) before they execute more; MWAIT ends. */
	void (*kick)(struct engine *e, uint32_t vcpus);
	/* As ports 0xf6/0xf7: vector becomes pending on vcpu; 2 is an NMI. */
	void (*raise_vector)(struct engine *e, unsigned vcpu, uint8_t vector);

	/* Instructions executed by all vCPUs so far: the simulated time. */
	uint64_t (*time)(struct engine *e);
	/*
	 * A hash of the schedule so far: which vCPU ran up to where, each time that another one could
	 * have run in its place. 0, or no such operation: it makes none, or cannot tell.
	 */
	uint64_t (*schedule)(struct engine *e);

	/* The schedule from here on is that of this seed. No such operation: there is none. */
	void (*reseed)(struct engine *e, uint64_t seed);

	/*
	 * For vm_set_mark() and vm_rewind(), before which frames_changed() and invalidate() tell
	 * nothing: all vCPUs as they were, time and schedule as at the start with this seed. false: no
	 * memory; or an instance of the engine is beyond repair. Or no such operations.
	 */
	bool (*set_mark)(struct engine *e);
	bool (*rewind)(struct engine *e, uint64_t seed);
	/* After rewind(): tables were written. What they do not say now goes. */
	void (*recheck)(struct engine *e);
};

extern const struct engine_ops sim_engine; /* sim/: Unicorn */
extern const struct engine_ops kvm_engine; /* hv-port/: a stock /dev/kvm */

/*
 * From here on, of all simulated VMs, `note` hears where each basic block begins that is executed, in
 * order: a fuzzer's feedback. NULL: nobody does. It may call nothing of a VM.
 */
void sim_note_blocks(void (*note)(uint64_t rip));

/* ---- what an engine calls; vmm/ implements all of it ---- */

/*
 * A crossing X, a refused fetch, an event about to be delivered, a touch: judged and logged.
 * set_view(), frames_changed(), track() may be called meanwhile. The engine then carries *d out:
 * loads d->cpu (gpr, rip, rflags), kicks d->kick, injects #GP, stops the vCPU or the VM. The view
 * is set by then. d->foreign: the engine calls vm_foreign_x() instead of carrying out.
 */
void vm_judge(struct vm *vm, const struct guard_event *ev, struct guard_decision *d);
/* An X that is no crossing and no numbered call of the guard: X is passed over, RAX = result. */
uint64_t vm_foreign_x(struct vm *vm, const struct guard_event *ev);

/*
 * Async-signal-safe; an engine with set_mark() calls it for every SIGSEGV from then on. A write to
 * guest RAM at this host address has faulted: true if it is because of a mark (vm_set_mark()), and
 * may now be done again.
 */
bool vm_write_fault(const void *address);
/*
 * The same bytes of guest RAM where neighbours lie in one mapping, whatever the mark has protected:
 * for who maps them once more. Other memory: as given.
 */
const uint8_t *vm_ram_twin(const struct vm *vm, const uint8_t *host);

/* What lies behind a guest-physical page in a view. */
enum engine_page_kind {
	ENGINE_PAGE_RAM,    /* host memory with read, and write/exec as the flags say */
	ENGINE_PAGE_DEVICE, /* vm_mmio() answers */
	ENGINE_PAGE_ZEROS,  /* stand-in of private memory: reads zero, writes dropped, TOUCH */
	ENGINE_PAGE_ONES,   /* stand-in of bound registers: reads all ones, dropped, TOUCH */
	ENGINE_PAGE_HOLE    /* nothing there: reads all ones, writes dropped, no TOUCH */
};

#define ENGINE_PAGE_WRITE 1u   /* else a write is dropped, with TOUCH (verified copies) */
#define ENGINE_PAGE_EXEC 2u    /* else a fetch is GUARD_EV_FETCH */
#define ENGINE_PAGE_TRACKED 4u /* report writes: vm_frame_written(), then let them through */
#define ENGINE_PAGE_GUEST 8u   /* guest RAM itself (not a verified copy or private page) */

struct engine_page {
	enum engine_page_kind kind;
	uint32_t flags;
	uint8_t *host;	/* RAM: of this page */
	uint64_t pages; /* >= 1: so many from here on are alike, host memory contiguous */
};

/* `view` GUARD_VIEW_U, or a module: then by what is raised on this vCPU now. gpa page aligned. */
void vm_page(struct vm *vm, unsigned vcpu, uint8_t view, uint64_t gpa, struct engine_page *page);

/* A walk of the guest's tables, which are read and written (A/D bits) as in view U. */
#define ENGINE_WALK_WRITE 1u
#define ENGINE_WALK_FETCH 2u
#define ENGINE_WALK_USER 4u	 /* CPL 3; otherwise a supervisor access */
#define ENGINE_WALK_PEEK 8u	 /* set no A/D bits */
#define ENGINE_WALK_IMPLICIT 16u /* implicit supervisor access: SMAP ignores RFLAGS.AC */

struct engine_walk {
	uint64_t gpa;		/* of the byte asked for */
	uint64_t page_bytes;	/* 4 KiB, 2 MiB, 1 GiB */
	bool write, user, exec; /* what all levels together allow (NX only with EFER.NXE) */
	bool dirty;		/* D bit of the leaf, after this walk */
	uint32_t error;		/* #PF error code if it failed */
};

/*
 * Long mode, 4 levels. Uses cpu's cr0 (WP), cr3, cr4 (SMEP, SMAP), efer (NXE), rflags (AC).
 * false: page fault, w->error says which; a non-canonical gva is the caller's matter (#GP, #SS).
 * Sets A, and on a write D.
 */
bool vm_walk(struct vm *vm, const struct guard_cpu *cpu, uint64_t gva, uint32_t access,
	     struct engine_walk *w);

/* Registers of a device, width 1, 2, 4 or 8, inside one page that vm_page() calls DEVICE. */
uint64_t vm_mmio_read(struct vm *vm, unsigned vcpu, uint64_t gpa, unsigned width);
void vm_mmio_write(struct vm *vm, unsigned vcpu, uint64_t gpa, unsigned width, uint64_t value);

/* First write to a TRACKED page since track(). */
void vm_frame_written(struct vm *vm, uint64_t gpa);

/*
 * Bindings come first, also for ports and MSRs that the engine knows itself: true if one of the
 * ports [port, port + width), or the MSR, is bound and not raised on this vCPU; TOUCH is judged
 * then. A denied port reads all ones and drops writes, a denied MSR is #GP.
 */
bool vm_port_denied(struct vm *vm, unsigned vcpu, uint16_t port, unsigned width);
bool vm_msr_denied(struct vm *vm, unsigned vcpu, uint32_t msr);

/*
 * Ports that the engine does not know itself (it knows 0xb6, 0xf4, 0xf6, 0xf7, 0xf8, 0xf9), 0xe9 and
 * 0xf5 among them: width 1, 2, 4. Reads without privilege give all ones; TOUCH is vmm's matter.
 */
uint32_t vm_port_in(struct vm *vm, unsigned vcpu, uint16_t port, unsigned width);
void vm_port_out(struct vm *vm, unsigned vcpu, uint16_t port, unsigned width, uint32_t value);

/* MSRs that the engine does not know itself (EFER, FS/GS/KERNEL_GS, STAR.., TSC, TSC_AUX, PAT,
 * APIC base). false: #GP. */
bool vm_msr_read(struct vm *vm, unsigned vcpu, uint32_t msr, uint64_t *value);
bool vm_msr_write(struct vm *vm, unsigned vcpu, uint32_t msr, uint64_t value);

/* MWAIT is bound, granted and raised on this vCPU now. */
bool vm_may_mwait(struct vm *vm, unsigned vcpu);

/*
 * Physical cores (placement.c). What a vCPU does that is idling; nothing of it changes what the
 * engine does next.
 */
enum vm_idle_event {
	VM_IDLE_HALTED,	     /* HLT put it to sleep */
	VM_IDLE_SLEPT,	     /* MWAIT did */
	VM_IDLE_INTERCEPTED, /* MONITOR or MWAIT without privilege */
	VM_IDLE_SENT	     /* it sends an interrupt to some vCPU */
};
void vm_idle_event(struct vm *vm, unsigned vcpu, enum vm_idle_event what);
/* Cores are modelled: slices are short, so that delays are those of idling and not of slices. */
bool vm_placed(const struct vm *vm);
/* Before an engine chooses who runs next: vCPUs may move, GRANT and WITHHOLD be judged. */
void vm_placement_turn(struct vm *vm);
/* Time of the next move, where a slice should end; 0: none. */
uint64_t vm_next_move(const struct vm *vm);
/* Of a runnable vCPU: may it run now? Else *until when it waits. */
bool vm_has_core(struct vm *vm, unsigned vcpu, uint64_t *until);

/*
 * Facts for the oracle (docs/oracle.md), from an engine that can tell them; only if vm_watched(),
 * which does not change while the engine lives. Views are those that the engine really shows.
 */
bool vm_watched(const struct vm *vm);
/*
 * In a module's view, at an instruction boundary: is this the one that vm_strike() named? Then the
 * interrupt is pending, and the engine delivers it before the instruction.
 */
bool vm_strikes(struct vm *vm, unsigned vcpu);
/* The vCPU runs guest code from here on. */
void vm_watch_runs(struct vm *vm, unsigned vcpu, uint8_t view);
/* In a module's view: before each instruction. `code`: its `len` bytes where they really lie. */
void vm_watch_instruction(struct vm *vm, unsigned vcpu, uint8_t view, uint64_t rip, uint64_t rsp,
			  uint64_t cr3, const uint8_t *code, unsigned len);
/* What pages a view can reach without asking again; flags: ENGINE_PAGE_WRITE, _EXEC. */
void vm_watch_shows(struct vm *vm, unsigned vcpu, uint8_t view, uint64_t gpa, uint64_t pages,
		    enum engine_page_kind kind, const uint8_t *host, uint32_t flags);
/* When it changes, everything that a view can reach is told again before it runs. */
uint64_t vm_watch_generation(const struct vm *vm);
/* The CPU's own access on the guest's behalf, to a page of view U. */
void vm_watch_implicit(struct vm *vm, unsigned vcpu, uint64_t gpa, const struct engine_page *page);
/* An event is put on the guest's stack now. */
void vm_watch_delivers(struct vm *vm, unsigned vcpu, uint8_t view);
/* A privilege of this kind was used (enum gm_privilege_kind; the port, MSR or address). */
void vm_watch_used(struct vm *vm, unsigned vcpu, uint32_t kind, uint64_t number);

#endif
