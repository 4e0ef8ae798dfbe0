/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The abstract state: what is true, by the oracle's own observation. Its files:
 *
 *   oracle.c    life, events, reports           memory.c  guest memory, own page walk
 *   manifest.c  own reader                      text.c    is this the registered code?
 *   valid.c     what must hold for a raise      truth.c   who is inside what: applies each line
 *   announce.c  where modules lie               facts.c   instructions, pages, deliveries
 *   admin.c     registrations, grants           records.c chains and shadow stacks
 *   unwind.c    words that lead home            ref*.c    the reference model
 *   rewind.c    back to a mark, for fuzzers
 */
#ifndef ORACLE_STATE_H
#define ORACLE_STATE_H

#include "oracle/manifest.h"
#include "oracle/oracle.h"

#define PAGE 4096ull
#define PAGE_OF(a) ((a) & ~(PAGE - 1))
#define KERNEL_HALF 0xffff800000000000ull
#define KERNEL_LAST 0xfffffffffffff000ull
#define NO_FRAME (~0ull)
#define O_NEST 8u
#define O_SHADOW 512u
#define O_FRAMES 14u /* pages that one chain's extent may touch */
#define O_UNDO 64u
#define O_HISTORY 8u
#define O_OWNERS 16384u
#define O_WORDS 192u
#define O_EXACT 32768u
#define O_CALLS 8u
#define O_SEEN 64u
#define O_SEEN_TABLES 4u

enum o_chain_state { O_FREE, O_RUNNING, O_CALLOUT, O_DEPARTED };

struct o_act {
	uint64_t slot, word; /* the caller's return address */
	uint32_t headroom, serial;
	uint32_t init; /* M_INIT_CODE flags of its entry */
	bool raw;
};

/* A return address that the CPU pushed: from here on this word must lead there. */
struct o_word {
	uint64_t gva, value;
};

/* An activation with its suspension and nested children: one thread of control. */
struct o_chain {
	enum o_chain_state state;
	unsigned depth;
	struct o_act act[O_NEST];
	unsigned nshadow; /* outermost first */
	struct o_word shadow[O_SHADOW];
	bool shadow_lost;
	uint64_t slot, rip; /* where it waits */
	bool raw, exception;
	uint8_t vector;
	uint32_t preserve;
	uint64_t gpr[ORACLE_GPRS], rflags;
	uint64_t lo, hi; /* extent */
	uint64_t frame[O_FRAMES];
	unsigned nwords; /* of the unwind rows: what the contract has compared */
	struct o_word words[O_WORDS];
	bool has_exact; /* policy exact: the bytes from exact_lo to hi */
	uint64_t exact_lo;
	uint8_t *exact;
};

struct o_job {
	bool active;
	uint64_t table, count;
	uint64_t base[M_SEGMENTS];
};

struct o_module {
	bool registered, announced, quarantined;
	bool half; /* withdrawn but for the frames that could not be given back */
	bool init_used, init_gone, has_init;
	unsigned index;
	struct m_manifest man;
	struct oracle_binding binding;
	uint64_t id;
	uint64_t base[M_SEGMENTS];
	uint64_t gates_gva, gates_bytes; /* remembered when withdrawn */
	uint32_t enter_return, leave_return;
	uint64_t cr4;
	uint32_t serial;
	struct o_job job;
	struct o_chain *chain;	      /* binding.chains */
	uint64_t *frame;	      /* under each page; NO_FRAME */
	uint64_t *import_at;	      /* ~0: not seen */
	uint8_t *good;		      /* bytes of the copy that were proved */
	uint8_t *class;		      /* of the instruction at a module offset */
	uint64_t *marked;	      /* bit: this page was written, and not looked at since */
	bool asked, ran;	      /* in this event: for written pages; someone was inside */
	bool unsure;		      /* what is marked is not known */
	bool kept;		      /* its arrays are a mark's (rewind.c) */
	bool proved;		      /* its text was looked at since the mark */
	bool released, init_released; /* in this event, while it is announced */
	bool init_left;		      /* ... and no longer lay there before the first was */
};

struct o_vcpu {
	struct o_chain *chain; /* runs on it */
	struct o_module *module;
	bool stopped;
	uint64_t granted[ORACLE_MODULES];
};

/* X of a return gate of a module that was unregistered. */
struct o_gone {
	bool is, enters; /* enters: where call-outs return to, else where entries do */
	uint64_t x;
};
#define O_GONE (2 * ORACLE_MODULES)

struct o_undo {
	uint64_t gpa;
	uint8_t old[8];
	size_t len;
};

struct o_past {
	unsigned vcpu;
	struct oracle_line line;
};

struct o_frame {
	uint64_t gpa;
	uint16_t module, page;
};

#define O_PRESENT 1u
#define O_MAY_WRITE 2u
#define O_USER 4u
#define O_RAM 8u

enum o_owner { O_NOBODY, O_SEGMENT, O_GATES, O_VERIFIED, O_PRIVATE, O_DEVICE };

struct o_map {
	uint64_t gpa;
	uint32_t flags; /* 0: not mapped */
	enum o_owner owner;
};

/*
 * What walks have found since the outcome of an event is being looked at: nobody writes meanwhile. Any
 * other time nothing is remembered.
 */
struct o_seen {
	bool on;
	uint64_t now;		       /* what is of another time does not count */
	uint64_t device_lo, device_hi; /* no bound device lies outside */
	struct {
		uint64_t when;
		uint64_t cr3, page;
		struct o_map map;
	} page[O_SEEN];
	struct {
		uint64_t when;
		uint64_t cr3, region, table;
		bool write, user;
	} table[O_SEEN_TABLES]; /* last levels, of 2 MiB each */
};

struct oracle {
	struct oracle_callbacks cb;
	struct o_seen *seen;
	enum oracle_mode mode;
	unsigned vcpus;
	struct o_vcpu vcpu[ORACLE_VCPUS];
	struct o_module module[ORACLE_MODULES];
	struct o_gone gone[O_GONE]; /* the oldest is overwritten */
	unsigned went;
	unsigned top; /* those beyond were never registered */
	uint64_t generation;
	/* open hash of the frames of modules that are announced or half withdrawn */
	struct o_frame owner[O_OWNERS];
	bool owners_full;	 /* more frames than fit: some are not known */
	uint16_t used[O_OWNERS]; /* buckets of owner[] that are */
	unsigned nused;
	uint64_t owned[64]; /* bit: perhaps owner[] has such a frame; most it has not */
	uint64_t moves;	    /* of frames: times that owner[] was made anew */
	struct oracle_mark *mark;
	bool judging;
	unsigned event_vcpu;
	unsigned nundo;
	struct o_undo undo[O_UNDO];
	bool copy_changed[ORACLE_MODULES];
	bool raise_ok[O_CALLS], lower_ok[O_CALLS]; /* the platform's answers in this event */
	unsigned nraises, nlowers;
	bool lost;	 /* after such a failure nobody can tell what the core holds */
	bool failed;	 /* a callback of the core was not answered: the model is not asked */
	bool init_moved; /* before this event some init segment had been freed, and still counted */
	struct o_past past[O_HISTORY];
	unsigned npast;
	const struct oracle_event *event; /* being looked at */
	const struct oracle_outcome *outcome;
	struct oracle_counts counts;
	char *failure, *line;
};

/* ---- oracle.c ---- */

/* Notes the first disagreement. `what` names the guarantee or class. */
void o_complain(struct oracle *o, const char *what, unsigned vcpu, uint64_t rip, const char *fmt,
		...) __attribute__((format(printf, 5, 6)));
const char *o_event_name(enum guard_event_name e);
const char *o_verdict_name(enum guard_verdict v);

/* ---- memory.c ---- */

/* A guest-virtual page as a CPL-0 access of view U finds it. */
void o_map(const struct oracle *o, uint64_t cr3, uint64_t gva, struct o_map *map);
void o_frames_moved(struct oracle *o);
/* From here on nobody writes guest memory; or somebody may again. */
void o_looks(struct oracle *o, bool on);
/* Whose frame is this? *m and *page (if not NULL) are set unless nobody's. */
enum o_owner o_owner(const struct oracle *o, uint64_t gpa, const struct o_module **m,
		     uint32_t *page);
/* An 8-byte word of the guest's RAM; `before`: as it was before this event. */
bool o_word(const struct oracle *o, uint64_t cr3, uint64_t gva, bool before, uint64_t *value);
/* As it was before the event, and only on plain stack memory. */
bool o_stack_word(const struct oracle *o, uint64_t cr3, uint64_t gva, uint64_t *value);
bool o_stack_page(const struct o_map *map);

/* ---- places in a module ---- */

bool o_has(const struct o_module *m, unsigned segment);
/* Module offset of gva in an announced or announcing m. */
bool o_moff(const struct o_module *m, uint64_t gva, uint32_t *moff, unsigned *segment);
uint64_t o_gva(const struct o_module *m, uint32_t moff);
bool o_in_text(const struct o_module *m, uint64_t gva, uint32_t *moff);
bool o_retsite(const struct o_module *m, uint64_t gva);
/* The gate whose X is at gva, NULL: none. */
const struct m_gate *o_gate_at(const struct o_module *m, uint64_t gva);
/* Whose gate pages hold gva: announced ones first, then memories. */
struct o_module *o_gates_of(struct oracle *o, uint64_t gva);
struct o_module *o_text_of(struct oracle *o, uint64_t gva);

/* ---- text.c ---- */

/* All verified pages that m now shows: NULL, or what is wrong with them. */
const char *o_text_wrong(struct oracle *o, struct o_module *m, uint32_t *where);
/* Bytes that begin with cc, and are else one of the site's contents. */
bool o_site_poke(struct oracle *o, struct o_module *m, const struct m_site *site,
		 const uint8_t *now);

/* ---- valid.c ---- */

const char *o_mode_wrong(const struct o_module *m, const struct oracle_cpu *cpu);
const char *o_flags_wrong(const struct oracle_cpu *cpu, const struct o_chain *record);
const char *o_mapping_wrong(const struct oracle *o, const struct o_module *m, uint64_t cr3);
/* [lo, slot + 8) a usable stack, [lo, hi) clear of what runs elsewhere. */
const char *o_stack_wrong(const struct oracle *o, uint64_t cr3, uint64_t slot, uint64_t lo,
			  uint64_t hi, const struct o_chain *self);
const char *o_overlap_wrong(const struct oracle *o, uint64_t cr3, uint64_t lo, uint64_t hi,
			    const struct o_chain *self);
void o_extent(const struct oracle *o, struct o_chain *ch, uint64_t cr3, uint64_t lo, uint64_t hi);
bool o_extent_holds(const struct o_chain *ch, uint64_t gpa);
/* Have the init segments moved away from where they were announced? */
bool o_init_moved(const struct oracle *o, const struct o_module *m, uint64_t cr3);
/* Where a vCPU that departs here will be seen again. false: it stands outside or nowhere. */
struct o_standing {
	uint64_t rip, rsp;
	bool popped; /* at the leave-return gate */
	bool at_gate, returned;
};
bool o_standing(const struct oracle *o, const struct o_module *m, const struct oracle_cpu *cpu,
		struct o_standing *s);

/* ---- unwind.c ---- */

struct o_place {
	uint64_t rip, rsp, rbp;
	const uint64_t *gpr; /* innermost frame of a departure; else NULL */
	bool at_gate;	     /* CFA = RSP + 8 */
	bool returned;	     /* rip is a return address */
};

/* Fills ch->words from `from` up, with memory as before the event; [lo, ch->hi) is looked at. */
enum guard_verdict o_walk(const struct oracle *o, const struct o_module *m, struct o_chain *ch,
			  uint64_t cr3, const struct o_place *from, unsigned depth, uint64_t lo);
enum guard_verdict o_walk_departed(const struct oracle *o, const struct o_module *m,
				   struct o_chain *ch, const struct oracle_cpu *cpu,
				   const struct o_standing *at);
bool o_words_hold(const struct oracle *o, const struct o_chain *ch, uint64_t cr3);

/* ---- rewind.c ---- */

void o_forget_mark(struct oracle *o);

/* ---- admin.c ---- */

void o_forget(struct o_module *m);
/* Why this binding gives what it must not; NULL: it does not. */
const char *o_binding_wrong(const struct oracle *o, const struct m_manifest *man,
			    const struct oracle_request *r);
void o_stopped(struct oracle *o, uint32_t stop);
/* What the engine shows must be what the truth says, once a decision is carried out. */
void o_view_is_true(struct oracle *o, unsigned vcpu, uint64_t rip, uint8_t view);

/* ---- records.c ---- */

/* Nobody runs on this vCPU any more; the chain's state is the caller's matter. */
void o_leaves(struct o_vcpu *v);
/* Who is suspended on memory that this one now uses, by address, has been abandoned. */
void o_kill_overlapping(struct o_module *m, const struct o_chain *self);
/* The same for an entry whose slot is at this physical address. */
void o_kill_entered(struct o_module *m, uint64_t gpa);
/* A return address was pushed at gva; what lies at or below it is used up. */
void o_push(struct o_chain *ch, uint64_t gva, uint64_t value);
void o_pop_below(struct o_chain *ch, uint64_t sp);

struct o_chain *o_callout_at(const struct o_module *m, uint64_t slot);
/* `set`: registers that a fixup may have changed. */
struct o_chain *o_departed_at(const struct o_module *m, uint64_t rip, uint64_t rsp, uint32_t *set);
void o_end(struct o_chain *ch);
/* Lives a thread of control that an entry of this kind (M_ENTRY_ flags) began, in any state? */
bool o_init_lives(const struct o_module *m, uint32_t kind);
/* Init has run, and nothing that began in init code can come back. */
bool o_init_done(const struct o_module *m);
void o_outside(struct oracle *o, unsigned vcpu);

/* ---- truth.c ---- */

void o_line(struct oracle *o, struct oracle_event *ev, const struct oracle_outcome *out,
	    unsigned n);

/* ---- announce.c ---- */

void o_announce_line(struct oracle *o, const struct oracle_event *ev,
		     const struct oracle_line *line);
void o_withdraw(struct oracle *o, struct o_module *m);
/* It began, and some frames could not be given back: they are the module's still, and hold nothing. */
void o_half_withdrawn(struct oracle *o, struct o_module *m);
/* What ANNOUNCE must answer here; GUARD_NVERDICTS: it has to look at text first. */
enum guard_verdict o_announce_must(struct oracle *o, const struct o_module *m,
				   const struct oracle_cpu *cpu);

#endif
