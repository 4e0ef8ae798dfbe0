/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The Unicorn engine: what its files share.
 *
 *   engine.c  the operations of vmm/engine.h          run.c     scheduler, slices, crashes
 *   stops.c   one entry and what its stop asks for    space.c   a Unicorn instance and its regions
 *   layout.c  registers inside a uc_context
 *   accel.c   exact faults and fast stores            mmu.c     guest tables -> regions, code frames
 *   hooks.c   Unicorn's callbacks                     access.c  the engine's own accesses in view U
 *   insn.c    which instructions are ours             emulate.c ... and what they do, with
 *             ports.c, msr.c, control.c, segment.c, transfer.c
 *   rewind.c  back to a mark
 *   event.c   delivery through the IDT                cross.c   judge, carry the decision out
 *   watch.c   what the oracle is told
 *
 * Unicorn neither translates addresses nor delivers exceptions. So its address space is taken as
 * the guest-virtual one of one vCPU in one view at one privilege level: a "space". Regions of it
 * are filled on demand by a walk of the guest's own tables and dropped where a TLB would be
 * flushed; they are this engine's TLB. A vCPU's registers are in one space (live) or in its context.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <unicorn/unicorn.h>

#include "vmm/engine.h"
#include "vmm/idt.h"

#define SIM_PAGE 4096ull
#define SIM_PAGE_MASK (~(SIM_PAGE - 1))
#define SIM_MAX_REGIONS 128u /* a call of uc_mem_map_ptr slows with every region: then start over */
#define SIM_MAX_SPACES 64u   /* of one VM; each is 3 MB */
#define SIM_MAX_HOOKS 48u    /* ranges of sensitive instructions in a space */
#define SIM_MAX_CODE (64ul << 20) /* bytes of translated code in an instance */
#define SIM_BYTES_PER_TICK 4u /* time is counted in bytes of code; this many are an instruction */
#define SIM_EVENT_BYTES 64u   /* what delivering an event counts for: storms exhaust the budget */
#define SIM_CODE_WRITES 64u   /* writes to a frame of code until it is taken for data again */

#define CR4_FSGSBASE (1ull << 16)
#define CR4_SMAP (1ull << 21)
#define EFER_SCE 1ull
#define EFER_NXE (1ull << 11)

/* Why uc_emu_start() came back; stop_rip says where. */
enum sim_stop {
	STOP_NONE,
	STOP_SLICE,  /* quantum used up, before the block at stop_rip */
	STOP_INSN,   /* before a sensitive instruction */
	STOP_FETCH,  /* stop_gva cannot be fetched yet, or at all */
	STOP_DATA,   /* an access to stop_gva needs work that no hook can do, or faults */
	STOP_VECTOR, /* the CPU model raised exception stop_vector */
	STOP_UD,     /* no instruction of this CPU */
	STOP_STEPPED
};

enum {
	REGION_GUEST = 1, /* host memory is guest RAM: gpa counts for code and writes */
	REGION_MMIO = 2,
	REGION_USER = 4,   /* user page, mapped for a supervisor: SMAP */
	REGION_SCRATCH = 8 /* stands in for a verified page while one write to it is dropped */
};

struct sim_mmio;

struct sim_region {
	uint64_t gva, bytes, gpa;
	uint64_t page_bytes; /* of the guest's leaf entry: INVLPG drops whole pages */
	uint8_t *host;
	uint8_t *own; /* the same memory, mapped for this region alone: what can be executed */
	const uint8_t *behind; /* REGION_SCRATCH: the page that it stands in for */
	struct sim_mmio *mmio;
	uint8_t prot;  /* UC_PROT_* */
	uint8_t flags; /* REGION_* */
};

struct sim_vcpu;

/* One Unicorn instance. */
struct sim_space {
	/* Touched by every block: keep together. */
	int64_t left; /* bytes of code until the slice ends */
	enum sim_stop stop;
	bool stepping, step_begun, step_code;
	bool pass; /* the block that uses the slice up may still run */
	uint64_t step_rip;

	uc_engine *uc;
	void *cpu; /* Unicorn's CPU object, once code was translated (accel.c) */
	uintptr_t code_low, code_high; /* where blocks were translated to (accel.c); 0: unknown */
	struct sim_vcpu *vcpu;	       /* NULL: in the pool */
	uint8_t view;
	bool user;     /* CPL 3 */
	bool broken;   /* crashed inside: never to be entered again */
	bool fast;     /* made for fast mode */
	uint64_t used; /* for replacing the least recently used one */

	uint64_t
		block; /* where the last block that ran began; 0: none since the instance was entered */
	uint64_t stop_rip, stop_gva, stop_value;
	unsigned stop_size;
	bool stop_write;
	bool captured; /* the vCPU's context was saved in the hook (precise mode) */
	uint32_t stop_vector;

	uint64_t touch_rip; /* the last instruction that was reported to touch something */
	uint64_t touch_time;
	uint64_t store_rip; /* the last instruction that began to write to a frame of code */
	uint64_t store_time;
	int64_t granted; /* `left` when the instance was entered */

	unsigned nregions, last;
	struct sim_region region[SIM_MAX_REGIONS]; /* by gva */

	unsigned nhooks;
	struct {
		uint64_t begin, end;
		uc_hook handle;
	} hook[SIM_MAX_HOOKS];
	uc_hook watch;	     /* of every instruction, for the oracle; 0: none */
	uint64_t watched;    /* generation of the oracle that saw all regions; 0: none */
	uint64_t *sensitive; /* open hash of addresses, 0: free */
	unsigned nsensitive, room;
	uint8_t *scratch;
	struct sim_space *next; /* in the pool */
};

struct sim_mmio {
	struct sim_space *space;
	uint64_t gva, gpa;
	enum engine_page_kind kind;
	bool write; /* the guest's tables allow writes */
};

#define SIM_VIEWS (GUARD_MAX_MODULES + 2)

struct sim_vcpu {
	struct engine *e;
	unsigned id;
	enum engine_run_state state;
	bool mwait; /* asleep in MWAIT: a write to what is watched wakes too */
	bool guard_stopped;
	uint8_t view;

	struct sim_space *live; /* registers are there; NULL: in ctx */
	uc_context *ctx;
	uint8_t *blob; /* ctx, at sim_layout offsets */
	struct sim_space *space[SIM_VIEWS];

	uint64_t cr0, cr3, cr4, efer;
	struct engine_sys sys; /* cr2, cr8, dr, MSRs; segments and tables are in the context */

	struct cpu_pending pending;
	bool nmi, nmi_blocked, kick;
	bool if_was_off, shadow; /* STI shadow: one more instruction before an interrupt */
	bool mov_ss;	/* the same after a load of SS; HF_SHADOW says whether it still holds */
	bool user_open; /* pages of the user may be mapped for the supervisor: SMAP */
	uint64_t timer_period, timer_next; /* bytes of code */
	uint64_t monitor_gpa;
	bool monitor_armed;
	uint8_t monitor[64];
};

struct engine {
	struct vm *vm;
	unsigned nvcpus;
	struct sim_vcpu vcpu[GH_MAX_VCPUS];
	uint64_t clock; /* bytes of code executed: time */
	uint64_t budget;
	uint64_t rng;
	uint64_t schedule; /* hash of the turns in which several could have run */
	uint64_t uses;
	struct sim_space *spaces[SIM_MAX_SPACES];
	unsigned nspaces;
	uint8_t *code; /* per guest frame: 0 data, else 1 + writes since it was fetched from */
	uint64_t nframes;
	bool code_written; /* some count in `code` is above 1 */

	bool watched;  /* the VM has an oracle: watch.c */
	bool in_hook;  /* a callback of Unicorn runs: spaces must not be changed */
	bool drop_all; /* asked for meanwhile */
	bool replan;   /* the slice ends: a timer or another vCPU wants its turn */
	bool ended;
	struct vm_exit exit;
	volatile sig_atomic_t interrupted;

	struct sim_mark *mark; /* rewind.c; NULL: none */

	struct sim_space *volatile entered; /* uc_emu_start() runs in it */
	sigjmp_buf crash;
};

/* ---- layout.c ---- */

struct sim_layout {
	size_t bytes; /* of a whole uc_context */
	unsigned regs, rip, hflags, segs, ldt, tr, gdt, idt;
	unsigned nresidue, residue[16]; /* dwords that a raised exception leaves behind */
	uint8_t *clean;			/* a context after reset */
};

extern struct sim_layout sim_layout;
bool sim_layout_find(struct error *err);

/* One segment register as it lies in a context. */
struct sim_seg {
	uint32_t selector, pad;
	uint64_t base;
	uint32_t limit, flags; /* flags: bits of the descriptor's upper half */
};

enum sim_segs { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS };

#define HF_CPL 3u
#define HF_SHADOW 8u  /* the next instruction is a block of its own */
#define HF_64 0xc0b0u /* SS32, CS32, PE, LMA, CS64 */
#define HF_CS64 0x8000u
#define HF_ADDSEG 0x40u

static inline uint64_t *sim_gpr(struct sim_vcpu *v)
{
	return (uint64_t *)(void *)(v->blob + sim_layout.regs);
}
static inline uint64_t *sim_rip(struct sim_vcpu *v)
{
	return (uint64_t *)(void *)(v->blob + sim_layout.rip);
}
static inline uint32_t *sim_hflags(struct sim_vcpu *v)
{
	return (uint32_t *)(void *)(v->blob + sim_layout.hflags);
}
static inline struct sim_seg *sim_seg(struct sim_vcpu *v, enum sim_segs s)
{
	return (struct sim_seg *)(void *)(v->blob + sim_layout.segs) + s;
}
static inline struct sim_seg *sim_table(struct sim_vcpu *v, unsigned offset)
{
	return (struct sim_seg *)(void *)(v->blob + offset);
}
static inline unsigned sim_cpl(struct sim_vcpu *v)
{
	return *sim_hflags(v) & HF_CPL;
}
uint64_t sim_rflags(struct sim_vcpu *v);
void sim_set_rflags(struct sim_vcpu *v, uint64_t rflags);

/* ---- accel.c ---- */

/*
 * True: faults inside a block can be made exact and left at once, blocks are looked at before they
 * are translated. False ("precise mode"): a hook on every instruction serves instead, slowly.
 */
extern bool sim_fast;
void sim_accel_start(void);
/* The space whose Unicorn instance may translate now, or NULL. */
void sim_accel_enter(struct sim_space *s);
/* In a memory hook: sets Unicorn's RIP and flags to the instruction that accesses memory. */
void sim_accel_sync(struct sim_space *s);
/* Leaves uc_emu_start() from a hook, with the state before the instruction. Fast mode only. */
void sim_accel_leave(struct sim_space *s) __attribute__((noreturn));

/* ---- hooks.c ---- */

bool sim_hooks_add(struct sim_space *s);
/* Is the block that runs at rip made from this frame? */
bool sim_runs_in_frame(struct sim_space *s, uint64_t rip, uint64_t gpa);
/* Before a store that ends on the next page: false if it must not be done now. */
bool sim_split_store(struct sim_space *s, uint64_t gva, unsigned size);
uint64_t sim_mmio_read(uc_engine *uc, uint64_t offset, unsigned size, void *user);
void sim_mmio_write(uc_engine *uc, uint64_t offset, unsigned size, uint64_t value, void *user);
/* Judges a TOUCH of gpa by the instruction at rip, once for each execution. */
void sim_touch(struct sim_vcpu *v, uint64_t gpa, uint64_t rip);

/* ---- space.c ---- */

/* The space that v runs in now (view, CPL); NULL with e->exit filled if there is none to have. */
struct sim_space *sim_space_for(struct sim_vcpu *v);
void sim_space_release(struct sim_space *s);
struct sim_region *sim_space_find(struct sim_space *s, uint64_t gva);
/* The index of the first region that ends behind gva. */
unsigned sim_space_at(struct sim_space *s, uint64_t gva);
/* Adds a region that overlaps none. false: full, or Unicorn refuses. */
bool sim_space_map(struct sim_space *s, const struct sim_region *r);
void sim_space_drop(struct sim_space *s, unsigned index);
/* In a callback of a store to gva that is to go on: to be called after uc_ctl_remove_cache(). */
void sim_space_hold_page(struct sim_space *s, uint64_t gva);
void sim_space_drop_range(struct sim_space *s, uint64_t gva, uint64_t bytes);
void sim_space_drop_frames(struct sim_space *s, uint64_t gpa, uint64_t bytes);
void sim_space_clear(struct sim_space *s);
/* Host memory behind gva as the space sees it now: *avail bytes in a row. NULL: not mapped. */
const uint8_t *sim_space_bytes(struct sim_space *s, uint64_t gva, size_t *avail);
/* Up to 15 bytes of the instruction at gva, across a page border; returns how many. */
unsigned sim_space_code(struct sim_space *s, uint64_t gva, uint8_t out[15]);
/* Calls on_code() for every instruction at gva from now on. */
void sim_space_hook(struct sim_space *s, uint64_t gva);
bool sim_space_is_sensitive(const struct sim_space *s, uint64_t gva);
void sim_space_not_sensitive(struct sim_space *s, uint64_t gva);

/* ---- mmu.c ---- */

enum sim_mmu {
	MMU_DONE,    /* mapped: do it again */
	MMU_FAULT,   /* *ev is to be delivered */
	MMU_REFUSED, /* the view refuses the fetch */
	MMU_LATER,   /* not from a hook */
	MMU_CODE,    /* a write to a frame that holds code: see sim_mmu_code_write() */
	MMU_DROP     /* a write that the view drops: step over a scratch page */
};

enum sim_mmu sim_mmu_data(struct sim_space *s, uint64_t gva, bool write, bool in_hook,
			  struct cpu_event *ev);
/* Is the region what a walk would make of it now? A and D bits are not set for that. */
bool sim_mmu_holds(struct sim_space *s, const struct sim_region *r);
enum sim_mmu sim_mmu_fetch(struct sim_space *s, uint64_t gva, struct cpu_event *ev);
/* Stale translations of these bytes of guest RAM go, in every space; `write`: by the guest. */
void sim_mmu_wrote(struct engine *e, uint64_t gpa, uint64_t bytes);
bool sim_mmu_is_code(const struct engine *e, uint64_t gpa);
bool sim_mmu_scratch(struct sim_space *s, uint64_t gva);
void sim_mmu_flush(struct sim_vcpu *v);
/* AC is clear by now: what was open because of it goes. */
void sim_mmu_close_user(struct sim_vcpu *v);
void sim_mmu_invlpg(struct sim_vcpu *v, uint64_t gva);
/* ---- access.c ---- */

/* The CPU's own accesses for event delivery: in view U, as a supervisor. false: *ev says why. */
bool sim_read_u(struct sim_vcpu *v, uint64_t gva, void *buf, unsigned len, struct cpu_event *ev);
bool sim_write_u(struct sim_vcpu *v, uint64_t gva, const void *buf, unsigned len,
		 struct cpu_event *ev);

/* ---- insn.c ---- */

enum sim_class {
	INSN_PLAIN,	/* Unicorn executes it */
	INSN_SENSITIVE, /* emulate.c does */
	INSN_END,	/* PLAIN, and ends a block */
	INSN_POPF,	/* SENSITIVE where SMAP is on (AC closes pages), else END */
	INSN_BAD,	/* no instruction: #UD, and Unicorn must not even translate it */
	INSN_SHORT	/* bytes are missing */
};

enum sim_class sim_insn_class(const uint8_t *code, unsigned len, unsigned *size);
/* The same for the vCPU of s as it is now: never INSN_POPF. */
enum sim_class sim_insn_class_in(const struct sim_space *s, const uint8_t *code, unsigned len,
				 unsigned *size);
/* How many instructions from pc on Unicorn may translate as one block, at most max; 0: #UD. */
int sim_insn_plan(struct sim_space *s, uint64_t pc, int max);
/* Is the instruction at rip `rep` something? */
bool sim_insn_is_rep(struct sim_space *s, uint64_t rip);
/*
 * The jump, call or return that ends the block at gva: where it is, and what to add to RSP to take
 * back what it has pushed (negative: popped). false: none within a page.
 */
bool sim_insn_last_branch(struct sim_space *s, uint64_t gva, uint64_t *rip, int64_t *pushed);
/* Is it an instruction but for its length? Then #GP, not #UD. */
bool sim_insn_too_long(struct sim_space *s, uint64_t rip);
/* Does a fault of this instruction's memory operand go to #SS? */
bool sim_insn_uses_stack(struct sim_space *s, uint64_t rip);

/* ---- emulate.c ---- */

/* Executes the sensitive instruction at RIP. Registers are in the context. */
void sim_emulate(struct sim_vcpu *v, struct sim_space *s);

/* ---- event.c ---- */

/* Delivers an event, a double fault in its place, or ends the VM with a triple fault. */
void sim_deliver(struct sim_vcpu *v, const struct cpu_event *ev);
void sim_exception(struct sim_vcpu *v, uint8_t vector, bool has_error, uint32_t error);
/* Delivers what is pending and allowed. Registers may be live or not. */
void sim_deliver_pending(struct sim_vcpu *v);
void sim_raise_vector(struct sim_vcpu *v, uint8_t vector);
/* Loads a descriptor from the GDT. false: outside of it, or *ev. */
bool sim_descriptor(struct sim_vcpu *v, uint16_t selector, struct sim_seg *out,
		    struct cpu_event *ev);

/* ---- cross.c ---- */

void sim_get_cpu(struct sim_vcpu *v, struct guard_cpu *cpu);
void sim_cross_x(struct sim_vcpu *v, unsigned bytes);
void sim_cross_fetch(struct sim_vcpu *v);
/* DEPART, if v is privileged. false: v must not go on (stopped, VM ends). */
bool sim_depart(struct sim_vcpu *v, enum guard_cause cause, uint8_t vector);
void sim_kick(struct engine *e, uint32_t vcpus);

/* ---- stops.c ---- */

/* Registers go to the context (save) or to a space (enter). */
void sim_save(struct sim_vcpu *v);
void sim_enter(struct sim_vcpu *v, struct sim_space *s);
uint64_t sim_current_rip(struct sim_vcpu *v);
/* Runs at most about `bytes` of code in s. Fills s->stop and the like; time passes. */
uc_err sim_go(struct sim_vcpu *v, struct sim_space *s, int64_t bytes);
/* Does what s->stop asks for. */
void sim_handle(struct sim_vcpu *v, struct sim_space *s, uc_err err);
/* Executes one instruction of v in s, alone in its block. */
void sim_step(struct sim_vcpu *v, struct sim_space *s);
void sim_unicorn_failed(struct sim_vcpu *v, const char *what);

/* ---- watch.c: nothing of it runs unless e->watched ---- */

bool sim_watch_add(struct sim_space *s);
void sim_watch_remove(struct sim_space *s);
/* The vCPU is about to run in this space. */
void sim_watch_entry(struct sim_vcpu *v, struct sim_space *s);
void sim_watch_region(struct sim_space *s, const struct sim_region *r);

/* ---- rewind.c: the operations reseed, set_mark and rewind of vmm/engine.h ---- */

void sim_reseed(struct engine *e, uint64_t seed);
bool sim_set_mark(struct engine *e);
bool sim_rewind(struct engine *e, uint64_t seed);
void sim_recheck(struct engine *e);
void sim_mark_free(struct engine *e);

/* ---- run.c ---- */

/* All translations of all spaces go. Not from a hook. */
void sim_drop_everything(struct engine *e);
void sim_end(struct engine *e, enum vm_exit_reason reason, unsigned vcpu, uint64_t rip,
	     const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void sim_run(struct engine *e);
/*
 * A guest that kills Unicorn is survived while these signals are held: within sim_run(), and with a
 * mark all the time, as ten system calls for each run are dear then. They count.
 */
void sim_signals_hold(void);
void sim_signals_release(void);
void sim_tick(struct engine *e, uint64_t bytes);

#endif
