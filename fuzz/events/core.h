/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the target `core` share: a guest of a few pages, a VMM that only pretends, and
 * three judges of what the guard core does with it. An input is a list of steps (step.c); its bytes
 * mean something whatever they are. docs/fuzzing.md, "The target core".
 *
 *   module.c  manifests of two small modules, built by code      vmm.c     memory, callbacks
 *   guest.c   what kernel and module do between two events       judge.c   core, oracle, ledger
 *   step.c    an input's steps                                   ledger.c  guarantees, seen from
 *   world.c   four worlds made ready, and put back after          the callbacks alone
 *   places.c  the same, of modules: where they lie, init, private memory
 *   mutate.c  mutation by step, for both engines                 seed.c    the honest input
 *
 * One iteration begins with the world made ready: memory by a journal of what was written, the rest
 * by copying. Nothing is announced again.
 */
#ifndef FUZZ_EVENTS_CORE_H
#define FUZZ_EVENTS_CORE_H

#include <setjmp.h>

#include "model/guard.h"
#include "oracle/oracle.h"

#define FC_FRAMES 80u
#define FC_RAM (FC_FRAMES * 4096u)
#define FC_VCPUS 3u
#define FC_MODULES 2u
#define FC_PAGES 6u /* of one module */
#define FC_THREADS 4u
#define FC_SAVED 4u /* contexts that an interrupt handler holds */
#define FC_SLOTS 8u /* places on stacks that crossings used last */
#define FC_CONFIGS 4u
#define FC_STEP 4u /* bytes */
#define FC_MAX_STEPS 64u
#define FC_MAX_INPUT (1u + FC_STEP * FC_MAX_STEPS)
#define FC_CALLS 3000u /* callbacks of one event: beyond this it is a loop */

/* All addresses lie in one table page: index i maps FC_BASE + i * 4096. */
#define FC_BASE 0xffffffffc0000000ull
#define FC_AT(page) (FC_BASE + (uint64_t)(page)*4096u)
#define FC_KERNEL FC_AT(0)
#define FC_KRET (FC_KERNEL + 0x234)
#define FC_HYPERCALL (FC_KERNEL + 0x800)
#define FC_IMPORT(i) (FC_KERNEL + 0x400 + 0x40 * (uint64_t)(i))
#define FC_DATA FC_AT(1) /* the kernel's: tables of segment bases */
#define FC_MMIO_PAGE(m) (2 + (m))
#define FC_STACK_PAGES 3u
#define FC_STACK_PAGE(t) (8u + 8u * (t)) /* the lowest; unmapped around */
#define FC_STACK_TOP(t) FC_AT(FC_STACK_PAGE(t) + FC_STACK_PAGES)
#define FC_MODULE_PAGE(m) (64u + 16u * (m))
#define FC_MOVED 32u /* pages further: where a module is loaded another time */
#define FC_MMIO(m) (0xfe000000ull + 0x10000ull * (m))
#define FC_TABLE_PAGES 128u /* of the address space that are of interest */

#define FC_P 1ull
#define FC_W 2ull
#define FC_U 4ull

/* ---- the modules: one page a segment ---- */

enum { FS_TEXT, FS_GATES, FS_DATA, FS_PRIVATE, FS_INIT, FC_SEGMENTS };
enum { FN_F, FN_G, FN_D, FN_W, FN_INIT, FN_CALLBACK, FN_ENTRIES, FN_H = FN_ENTRIES, FC_FNS };
enum {
	FG_LEAVE_RETURN,
	FG_ENTER_RETURN,
	FG_ENTER,
	FG_LEAVE = FG_ENTER + FN_ENTRIES,
	FG_LEAVE_ASM,
	FG_LEAVE_RAX,
	FC_GATES
};
enum { FI_C, FI_ASM, FC_IMPORTS };
#define FC_PRIVILEGES 3u
#define FC_GIVEN 7ull
/* In each function. The frame stands from BODY to END. */
#define FC_BODY 0x08u
#define FC_CALLBACK 0x100u /* of the init code: what init may hand out, while it runs */
#define FC_RET 0x25u
#define FC_RET2 0x2du
#define FC_END 0x40u
#define FC_FAULT 0x30u /* in W: an instruction with a fixup */
#define FC_FIXUP 0x38u
#define FC_WARN 0x3cu
#define FC_SITE 0xe00u /* of the text: run time, 5-byte NOP or a jump */
#define FC_POOL_ASM (0xffffu & ~((1u << GUARD_RSP) | (1u << GUARD_RBX) | (1u << GUARD_RCX)))
#define FC_POOL_C 0xf028u

struct fc_module {
	void *manifest; /* never changes */
	size_t len;
	bool views;
	uint32_t chains;
	struct guard_binding binding;
	uint64_t id;
	void *work; /* in the part that is put back by copying */
	size_t work_len;
};

uint64_t fc_seg(unsigned m, unsigned segment); /* where it lies now */
uint64_t fc_fn(unsigned m, unsigned fn, uint32_t offset);
uint64_t fc_gate(unsigned m, unsigned gate);   /* offset 0 */
uint64_t fc_gate_x(unsigned m, unsigned gate); /* its X */
bool fc_manifest(unsigned config, unsigned m, struct fc_module *out);
void fc_load(unsigned m); /* as the kernel's loader would: text, relocations, patch sites */

/* ---- what changes, and is put back ---- */

struct fc_frame {
	uint8_t role, module, page, dirty;
};

struct fc_word {
	uint64_t gva, value;
	bool entry;	 /* an activation's slot: */
	uint64_t caller; /* what was there before */
	bool loose;	 /* changed while it ran: leads wherever it does */
	bool init;	 /* of an activation: it began at the init entry */
};
#define FC_WORDS 32u

/* A way back that the module was left by, as the guest saw it happen. */
struct fc_record {
	uint8_t open; /* 0, else enum fc_kind */
	uint8_t module, vector, raw;
	bool exception;
	uint32_t number;
	uint64_t rip, rsp, rflags; /* where it goes on */
	uint32_t compare;	   /* registers that must be as they were */
	uint64_t gpr[GUARD_GPRS];
	unsigned words;
	struct fc_word word[FC_WORDS]; /* return addresses and saved RBPs above */
};
enum fc_kind { FC_CALLOUT = 1, FC_DEPARTED };
#define FC_RECORDS 12u
enum fc_init { FC_INIT_UNKNOWN, FC_INIT_NEVER, FC_INIT_RUNS, FC_INIT_OVER };

struct fc_live {
	struct guard_cpu cpu[FC_VCPUS], thread[FC_THREADS], saved[FC_SAVED];
	uint8_t on[FC_VCPUS]; /* which thread */
	uint8_t saved_at;
	uint64_t slot[FC_SLOTS];
	unsigned slots;
	bool stopped[FC_VCPUS];
	/* the VMM's */
	uint8_t view[FC_VCPUS];
	uint64_t set[FC_VCPUS];
	struct fc_frame frame[FC_FRAMES];
	uint8_t of_page[FC_MODULES][FC_PAGES]; /* frame with a role, 0: none */
	uint8_t is_private[FC_MODULES];	       /* bit: the page holds private memory */
	uint8_t filled[FC_MODULES];	       /* bit: there is a page */
	bool hidden[FC_MODULES];	       /* by number: the device */
	struct guard_resource device[FC_MODULES];
	/* modules: number in the core, GUARD_MAX_MODULES: none; place */
	uint8_t index[FC_MODULES];
	uint8_t moved[FC_MODULES];
	uint8_t page[FC_MODULES]
		    [FC_SEGMENTS]; /* a segment that lies elsewhere still; 0: it does not */
	bool halt; /* the next crossing: its instruction is reached, and not executed */
	unsigned fail_op, fail_in; /* this callback fails, the fail_in-th time from now; 0: none */
	/* the ledger's */
	uint64_t granted[FC_VCPUS][FC_MODULES]; /* by module, not by number */
	uint32_t records; /* so far: of several at one place the latest counts */
	unsigned homes[FC_VCPUS];
	uint64_t base[FC_MODULES][FC_SEGMENTS]; /* as announced; 0: nowhere */
	bool reading[FC_MODULES];		/* it is being announced at `base` */
	bool lies[FC_MODULES];			/* it is announced there */
	uint8_t init[FC_MODULES];		/* enum fc_init */
	bool torn;  /* a frame could not be given back: the oracle does not know whose it is */
	bool vague; /* a callback failed where the ledger cannot see what that means */
	/* of these nothing counts that is not open, or beyond `homes`: not copied, but closed */
	struct fc_word home[FC_VCPUS][FC_WORDS]; /* of who is inside: words that lead home */
	struct fc_record record[FC_RECORDS];
};

/* Where a walk's last level lies: so as long as nobody writes to the levels above. */
struct fc_last_table {
	uint64_t version, cr3, region, entry, rights;
	bool there;
};

struct fc_undo {
	uint32_t gpa;
	uint64_t old;
};
#define FC_JOURNAL 4096u

struct fc_event {
	unsigned vcpu;
	bool judging;	   /* else the administrator's */
	uint32_t was;	   /* bit v: was privileged before */
	unsigned calls;	   /* callbacks so far */
	unsigned raises;   /* of this vCPU, from U */
	unsigned failures; /* callbacks that failed */
	bool released;	   /* a frame was given back */
	bool raise_failed; /* the last one of vcpu */
	uint32_t lower_failed;
	uint64_t at_rsp; /* the word there before */
	bool at_rsp_ok;
	uint8_t view; /* of vcpu, before */
};

enum fc_op {
	FC_TRANSLATE,
	FC_READ,
	FC_WRITE,
	FC_RAISE,
	FC_LOWER,
	FC_FILL,
	FC_PATCH,
	FC_COPY_READ,
	FC_GUEST_READ,
	FC_PRIVATE_FILL,
	FC_WRITTEN,
	FC_ROLE,
	FC_DEVICE,
	FC_OPS
};

enum fc_judges {
	FC_NOBODY, /* to see what the others cost */
	FC_GUARANTEES,
	FC_MODEL /* the guarantees, and the reference model */
};

struct fc {
	uint8_t *ram;
	uint8_t copy[FC_MODULES][FC_PAGES][4096]; /* verified and private pages, by number */
	uint16_t copy_dirty[FC_MODULES];
	uint64_t cr3[3], table; /* frame of the page table that all but cr3[2] share */
	struct fc_module module[FC_MODULES];
	struct guard *guard;
	void *guts; /* guard, work memory, and bytes behind each that nobody touches */
	size_t guts_size;
	struct oracle *oracle;
	struct fc_live *live;
	struct fc_event ev;
	struct guard_decision d; /* of the last event */
	struct fc_undo journal[FC_JOURNAL];
	unsigned journaled;
	struct fc_last_table last[4];
	uint64_t tables;		       /* version of what `last` says */
	uint64_t above[(FC_FRAMES + 63) / 64]; /* bit: this frame is a level above, in `last` */
	enum fc_judges judges;
	bool trace; /* tell every step and verdict on stderr */
	bool ready; /* from here on what is written is taken back */
	/* what is wrong */
	jmp_buf out;
	char failure[512];
	bool broken, guarantee;
	uint64_t events, steps;
};

extern struct fc *fc; /* the world that the input plays in */

/* Somebody who tells what happens (fuzz/find/): each step before it is done, each event and act of the
 * administrator after the core has decided (fc->ev, fc->d). NULL: nobody. */
struct fc_watch {
	void *ctx;
	void (*step)(void *ctx, const uint8_t step[FC_STEP]);
	void (*told)(void *ctx);
};
extern const struct fc_watch *fc_watch;

/* ---- vmm.c ---- */

extern const struct guard_ops fc_ops;
bool fc_ram(void *ctx, uint64_t gpa, void *buf, size_t len);
bool fc_copy(void *ctx, unsigned module, uint32_t moff, void *buf, size_t len);
/* A write by anybody, at most 8 bytes and within an aligned word. */
void fc_poke(uint64_t gpa, const void *buf, size_t len);
struct guard_mapping fc_walk(uint64_t cr3, uint64_t gva);
void fc_tables_moved(void);
bool fc_get(uint64_t cr3, uint64_t gva, uint64_t *word);
bool fc_put(uint64_t cr3, uint64_t gva, uint64_t word);
uint32_t fc_role(uint64_t gpa); /* enum guard_role */
void fc_pte(unsigned page, uint64_t entry);
uint64_t fc_pte_now(unsigned page);

/* ---- world.c ---- */

/* The world of this configuration as it was made ready. */
void fc_begin(unsigned config, enum fc_judges judges);
/* Frame numbers in every world. */
unsigned fc_module_frame(unsigned m, unsigned segment);
unsigned fc_stack_frame(unsigned thread, unsigned page);
void fc_thread(struct guard_cpu *c, unsigned thread);

/* ---- judge.c ---- */

/* Something does not hold: a guarantee, or the model's prediction. Only the first counts. */
void fc_broken(bool guarantee, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fc_judge(unsigned v, enum guard_event_type type, enum guard_cause cause, uint8_t vector,
	      uint64_t gpa);
void fc_grant(unsigned v, unsigned m, uint64_t set, bool give);
void fc_register(unsigned m);
void fc_unregister(unsigned m);
void fc_reset(unsigned v);
unsigned fc_by_index(unsigned index); /* which module has this number; FC_MODULES: none */

/* ---- ledger.c ---- */

void fc_ledger_before(unsigned v, bool judging);
void fc_ledger_judged(const struct guard_event *ev);
void fc_ledger_admin(enum guard_verdict verdict);
void fc_ledger_raise(unsigned v, unsigned index, uint64_t set, bool ok);
void fc_ledger_role(unsigned index, unsigned page, enum guard_role role);
void fc_ledger_copy_changes(unsigned index, unsigned page);
void fc_ledger_forget(unsigned m);

/* ---- places.c ---- */

/* The ledger's view of modules: where they lie, what their private memory begins with, init. */
void fc_places_line(const struct guard_event *ev, unsigned m, const struct guard_line *g);
void fc_places_role(unsigned index, unsigned page, enum guard_role role);
void fc_places_left(const struct guard_event *ev);
void fc_places_callback(unsigned m);
void fc_places_forget(unsigned m);

/* ---- guest.c ---- */

int fc_inside(unsigned v); /* the module that v is privileged in, -1: none */
void fc_x(unsigned v, uint64_t rip);
void fc_fetch(unsigned v, uint64_t rip);
void fc_push(unsigned v, uint64_t word);
void fc_call(unsigned v, unsigned m, unsigned fn, uint64_t word);
uint64_t fc_return_site(unsigned v); /* of the function whose body v stands in */
/* raw: the module's code jumps there itself, by no gate */
void fc_callout(unsigned v, unsigned gate, bool tail, bool raw);
void fc_ret(unsigned v, bool clobber, bool other);
void fc_inner(unsigned v, unsigned fn);
void fc_depart(unsigned v, enum guard_cause cause, uint8_t vector);
void fc_resume(unsigned v);

/* ---- step.c, mutate.c, seed.c ---- */

enum fc_step {
	ST_CALL,
	ST_CALLOUT,
	ST_RET,
	ST_TAIL,
	ST_INNER,
	ST_DEPART,
	ST_RESUME,
	ST_SWITCH,
	ST_JUMP,
	ST_X,
	ST_FETCH,
	ST_POKE,
	ST_PTE,
	ST_REG,
	ST_FLAG,
	ST_MODE,
	ST_RSP,
	ST_HYPER,
	ST_GRANT,
	ST_REGISTER,
	ST_RESET,
	ST_TOUCH,
	ST_FAIL,
	ST_TEXT,
	ST_CR3,
	ST_MIGRATE,
	ST_HEAL,
	FC_NSTEPS
};

void fc_step(const uint8_t step[FC_STEP]);
extern const char *const fc_step_names[FC_NSTEPS];
/* Plays a whole input; false: fc->failure says what is wrong. */
bool fc_run(const uint8_t *data, size_t size, enum fc_judges judges);

/* In place; returns the new size. The same sequence from the same seed. */
size_t fc_mutate(uint8_t *data, size_t size, size_t room, const uint8_t *other, size_t other_size,
		 uint32_t seed);
/* The honest input for a configuration. Returns its size. The last FC_SEED_RELOAD steps load again. */
#define FC_SEED_RELOAD 11u
size_t fc_seed(unsigned config, uint8_t out[FC_MAX_INPUT]);

#endif
