/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The core's own state and the functions that its files share.
 *
 * Read in this order: this file, cross.c (the five crossings), check.c (what must hold before a
 * raise), chain.c and walk.c (records), then text.c and announce.c (which code it is).
 */
#ifndef MODEL_INTERNAL_H
#define MODEL_INTERNAL_H

#include "model/guard.h"

/* The only symbols that the core needs from its surroundings. */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);

#define PAGE 4096ull
#define PAGE_OFFSET(a) ((a) & (PAGE - 1))
#define PAGE_OF(a) ((a) & ~(PAGE - 1))
#define KERNEL_HALF 0xffff800000000000ull
#define KERNEL_LAST 0xfffffffffffff000ull /* slots and segments end here: no sum wraps */
#define NO_FRAME (~0ull)
#define NO_ADDRESS (~0ull)

#define RFLAGS_TF (1ull << 8)
#define RFLAGS_DF (1ull << 10)
#define RFLAGS_NT (1ull << 14)
#define RFLAGS_RF (1ull << 16)
#define RFLAGS_AC (1ull << 18)
#define CR0_PE (1ull << 0)
#define CR0_WP (1ull << 16)
#define CR0_PG (1ull << 31)
#define CR4_PAE (1ull << 5)
#define CR4_SMEP (1ull << 20)
#define CR4_SMAP (1ull << 21)
#define EFER_LMA (1ull << 10)
#define EFER_NXE (1ull << 11)

#define GPR_BIT(n) (1u << (n))
#define C_PRESERVED                                                                                \
	(GPR_BIT(GUARD_RBX) | GPR_BIT(GUARD_RBP) | GPR_BIT(GUARD_R12) | GPR_BIT(GUARD_R13) |       \
	 GPR_BIT(GUARD_R14) | GPR_BIT(GUARD_R15))
#define ALL_GPRS 0xffffu

/* Return address, saved RBP and a realigned frame's pointer, for each frame. */
#define MAX_WORDS (3u * GUARD_MAX_FRAMES)
#define EXACT_BYTES (GUARD_EXTENT_PAGES * 4096u)
/* "a page from the slot down to the first unmapped one, 16 KiB at most" (spec 3, bad-stack) */
#define BELOW_SLOT 16384ull
#define MAX_RANGE_PAGES (GUARD_EXTENT_PAGES + 6u)
#define ANNOUNCE_PAGES 16u  /* bounded work per ANNOUNCE call: pages filled ... */
#define ANNOUNCE_STEPS 512u /* ... or pieces of text compared */

/* A stretch of guest-virtual memory with its present translation. */
struct range {
	uint64_t lo, hi; /* bytes of interest */
	uint64_t first;	 /* page address of map[0] */
	unsigned pages;
	struct guard_mapping map[MAX_RANGE_PAGES];
};

struct word {
	uint64_t gva, value;
};

struct activation {
	uint64_t slot;
	uint64_t word; /* the caller's return address, which was in the slot */
	uint32_t headroom;
	uint32_t serial;
	bool raw;      /* entered by an execute fault: the word was never exchanged */
	uint32_t init; /* GM_ENTRY_INIT_CODE flags of the entry; only an outermost one has any */
};

enum chain_state { CHAIN_FREE, CHAIN_RUNNING, CHAIN_CALLOUT, CHAIN_DEPARTED };

/* An activation with its suspension and nested children (spec 3, "Records"). */
struct chain {
	enum chain_state state;
	unsigned depth; /* act[0] is the outermost */
	struct activation act[GUARD_MAX_NEST];

	/* while suspended; key: CALLOUT slot, DEPARTED (rip, slot = RSP) */
	uint64_t slot, rip;
	bool raw;	/* CALLOUT: no word was exchanged */
	bool exception; /* DEPARTED by an exception: may continue at a fixup of `vector` */
	uint8_t vector;
	uint32_t verify; /* GPRs that must be equal, or are restored under scrub */
	uint64_t gpr[GUARD_GPRS];
	uint64_t rflags;
	uint32_t nwords;
	struct word words[MAX_WORDS];
	uint8_t *exact;	   /* policy exact: EXACT_BYTES, else NULL */
	uint64_t exact_lo; /* exact holds the bytes [exact_lo, hi) */

	/* extent in bytes, with the frames under it; valid in every state but FREE */
	uint64_t lo, hi;
	uint64_t frame[MAX_RANGE_PAGES]; /* of the pages from PAGE_OF(lo); NO_FRAME: none */
};

enum module_state {
	MODULE_NONE,
	MODULE_REGISTERED,
	MODULE_ANNOUNCING,
	MODULE_ANNOUNCED,
	MODULE_WITHDRAWING
};

/* Pages of the module that follow each other in guest-virtual memory. */
struct run {
	uint64_t gva;
	uint32_t page, pages;
	bool init;
};

struct announce_job {
	uint64_t table, count;
	uint32_t page;	      /* next to fill */
	uint32_t pos;	      /* moff: text before it is proved */
	uint32_t reloc, site; /* next ones */
};

struct module {
	enum module_state state;
	bool quarantined;
	bool init_used;	    /* the init entry was accepted in this announcement */
	bool init_open;	    /* ... and its chain lives: the kernel may call into init code */
	bool init_gone;	    /* init segments have been dropped */
	bool has_init;	    /* there is an init entry: until it has ended, init segments stay */
	uint32_t init_live; /* chains that began in init code: so do they until these have */
	unsigned index;
	uint64_t id;

	const struct gm_header *man;
	const struct gm_segment *segments;
	const struct gm_gate *gates;
	const struct gm_entry *entries;
	const struct gm_import *imports;
	const struct gm_reloc *relocs;
	const struct gm_site *sites;
	const struct gm_choice *choices;
	const struct gm_reloc *choice_relocs;
	const uint32_t *retsites;
	const struct gm_unwind *unwind;
	const struct gm_fixup *fixups;
	const struct gm_privilege *privileges;
	const uint8_t *image;
	unsigned nsegments;
	uint32_t pages;
	uint64_t bytes[GM_MAX_SEGMENTS];	       /* of each segment, whole pages; PERCPU: 0 */
	unsigned gates_segment;			       /* GM_MAX_SEGMENTS: none */
	uint32_t enter_return_gate, leave_return_gate; /* offsets in it */

	struct guard_binding binding;
	uint64_t base[GM_MAX_SEGMENTS];
	uint64_t lo, span;		 /* all segments lie in [lo, lo + span) */
	uint64_t gates_gva, gates_bytes; /* 0 bytes: nobody listens */
	struct run run[GM_MAX_SEGMENTS];
	unsigned runs;
	uint64_t enter_return, leave_return; /* addresses of the two gates, 0: none */
	uint64_t cr4;			     /* SMEP and SMAP at ANNOUNCE */
	struct announce_job job;
	uint32_t serial;
	uint64_t touches;
	uint32_t running;  /* bit v: vCPU v */
	uint32_t kicked;   /* bit v: was asked to leave for the pages that are marked now */
	uint32_t callouts; /* chains in this state: most searches end before they start */
	uint32_t departures;

	/* in the caller's work memory */
	uint64_t *frame;      /* [pages] guest frame under each page */
	uint64_t *marked;     /* [pages / 64] verified pages to look at before the next raise */
	uint64_t *import_at;  /* [imports] address; NO_ADDRESS: not seen yet */
	uint16_t *group;      /* [sites] choice of each group, 1-based; 0: not seen yet */
	struct chain *chains; /* [policy.chains] */
};

struct vcpu {
	struct chain *chain; /* running on it, or NULL */
	struct module *module;
	bool stopped;
	uint64_t granted[GUARD_MAX_MODULES];
};

/* X of a return gate of a module that was unregistered; a thread may still come back there. */
struct gone {
	uint64_t x;
	uint8_t kind; /* enum gm_gate_kind; PAD: none */
};

struct guard {
	const struct guard_ops *ops;
	void *vmm;
	unsigned vcpus;
	unsigned modules; /* module[] beyond these is unused */
	uint32_t inside;  /* bit v: vCPU v is privileged in some module */
	uint32_t went;	  /* of gone[]: the next place */
	struct vcpu vcpu[GUARD_MAX_VCPUS];
	struct module module[GUARD_MAX_MODULES];
	struct gone gone[2 * GUARD_MAX_MODULES]; /* a ring: the last modules that went */
	uint8_t scratch[4096]; /* text that is being compared; last: tests see a byte behind it */
};

/* What a judgement carries along. */
struct ctx {
	struct guard *g;
	struct guard_decision *d;
	unsigned vcpu;
	struct vcpu *v;
	const struct guard_event *ev; /* NULL: the administrator's */
	enum guard_cause cause;
	/* for the log line of the event that is being judged */
	uint32_t act;
	uint64_t slot, old_word, new_word;
};

/* guard.c */
void guard_start(struct ctx *c, struct guard *g, unsigned vcpu, enum guard_cause cause,
		 const struct guard_event *ev, struct guard_decision *d);
enum guard_verdict guard_log(struct ctx *c, enum guard_event_name e, const struct module *m,
			     uint8_t from, uint64_t rip, enum guard_verdict verdict);
uint8_t guard_ctx_view(const struct ctx *c);

/* manifest.c */
bool gm_validate(const void *manifest, size_t len);
const void *gm_table_at(const struct gm_header *h, const struct gm_table *t);

static inline bool gm_seg_verified(uint32_t kind)
{
	return kind == GM_SEG_TEXT || kind == GM_SEG_GATES || kind == GM_SEG_RODATA ||
	       kind == GM_SEG_INIT_TEXT || kind == GM_SEG_INIT_RODATA;
}

static inline bool gm_seg_exec(uint32_t kind)
{
	return kind == GM_SEG_TEXT || kind == GM_SEG_GATES || kind == GM_SEG_INIT_TEXT;
}

static inline bool gm_seg_init(uint32_t kind)
{
	return kind == GM_SEG_INIT_TEXT || kind == GM_SEG_INIT_RODATA || kind == GM_SEG_INIT_DATA;
}

static inline uint32_t gm_seg_pages(const struct gm_segment *s)
{
	return (s->size + GM_PAGE - 1) / GM_PAGE;
}
uint32_t gm_field_size(const struct gm_reloc *r);
/* Index of the last record whose first field (a u32 moff) is <= moff; count if none. */
uint32_t gm_find(const void *records, uint32_t count, uint32_t stride, uint32_t moff);

/* module.c: addresses of a module */
bool module_moff(const struct module *m, uint64_t gva, uint32_t *moff, unsigned *segment);
uint64_t module_gva(const struct module *m, uint32_t moff);
bool module_owns(const struct module *m, uint64_t gva);
bool module_executes(const struct module *m, uint64_t gva, uint32_t *moff);
bool module_retsite(const struct module *m, uint64_t gva);
void module_place(struct module *m);
bool module_has(const struct module *m, unsigned segment);
unsigned module_segment(const struct module *m, uint32_t moff);
struct module *module_by_id(struct guard *g, uint64_t id);

/* memory.c: guest memory through guest addresses */
void range_fill(struct ctx *c, struct range *r, uint64_t lo, uint64_t hi);
bool range_map(struct ctx *c, struct range *r, uint64_t lo, uint64_t hi);
bool range_stack_page(const struct guard_mapping *p);
bool range_read(struct ctx *c, const struct range *r, uint64_t gva, uint64_t *value);
bool range_write(struct ctx *c, const struct range *r, uint64_t gva, uint64_t value);
bool range_copy(struct ctx *c, const struct range *r, uint64_t lo, uint64_t hi, uint8_t *out);
bool range_equal(struct ctx *c, const struct range *r, uint64_t lo, uint64_t hi,
		 const uint8_t *with);

/* walk.c: the words that lead home */
struct place {
	uint64_t rip, rsp, rbp;
	const uint64_t *gpr; /* innermost frame of a departure: all registers; else NULL */
	bool at_gate;	     /* standing at a gate's X: CFA = RSP + 8 */
	bool returned;	     /* rip is a return address: its call's row counts */
};
enum guard_verdict walk_save(struct ctx *c, const struct module *m, struct chain *ch,
			     const struct range *r, const struct place *from, unsigned depth);
bool walk_verify(struct ctx *c, const struct chain *ch, const struct range *r);

/* chain.c */
struct chain *chain_callout(const struct module *m, uint64_t slot);
struct chain *chain_departed(const struct module *m, uint64_t rip, uint64_t rsp, uint32_t *differ);
struct chain *chain_room(struct ctx *c, const struct module *m, uint64_t slot_gpa);
void chain_extent(struct chain *ch, const struct range *r, uint64_t lo, uint64_t hi);
bool chain_overlaps_running(const struct guard *g, const struct chain *self, const struct range *r,
			    uint64_t lo, uint64_t hi);
void chain_kill_entered(struct module *m, uint64_t slot_gpa);
void chain_end(struct module *m, struct chain *ch);
enum guard_verdict chain_suspend(struct ctx *c, enum chain_state state, const struct range *r,
				 uint64_t slot, uint64_t rip, uint32_t verify);
/* Registers that differ are wrong, or are put back under scrub. */
enum guard_verdict chain_come_back(struct ctx *c, struct module *m, struct chain *ch,
				   const struct range *r, uint64_t lo, uint32_t verify);
void chain_run(struct ctx *c, struct module *m, struct chain *ch);
/* Lowers and forgets what runs here. Returns verdict, or lower-failed. */
enum guard_verdict chain_drop_running(struct ctx *c, enum guard_verdict verdict);
/* This vCPU never runs again. */
void chain_stop(struct ctx *c, unsigned vcpu);
enum guard_verdict chain_lower(struct ctx *c, struct module *m, unsigned vcpu);

/* check.c: what must hold before a raise, in the contract's order */
bool init_drop_if_moved(struct ctx *c, struct module *m);
bool init_drop_all(struct ctx *c);
enum guard_verdict check_mode(const struct ctx *c, const struct module *m);
enum guard_verdict check_flags(const struct ctx *c, const struct chain *record);
enum guard_verdict check_mapping(struct ctx *c, struct module *m);
enum guard_verdict check_stack(struct ctx *c, struct range *r, uint64_t slot, uint64_t lo,
			       uint64_t hi, const struct chain *self);
enum guard_verdict check_overlap(struct ctx *c, struct range *r, uint64_t lo, uint64_t hi,
				 const struct chain *self);
enum guard_verdict raise_now(struct ctx *c, struct module *m);

/* cross.c */
enum guard_verdict cross_at_gate(struct ctx *c, struct module *m, uint64_t rip);
enum guard_verdict cross_enter_call(struct ctx *c, struct module *m, const struct gm_entry *e,
				    bool raw);
enum guard_verdict cross_leave_call(struct ctx *c, bool raw, uint32_t preserve, uint32_t keep);
enum guard_verdict cross_leave_return(struct ctx *c, bool raw);
enum guard_verdict cross_enter_return(struct ctx *c, struct module *m, bool raw);
enum guard_verdict cross_fetch_outside(struct ctx *c);
enum guard_verdict cross_done(struct ctx *c, enum guard_event_name e, struct module *m,
			      uint8_t from, uint64_t rip, enum guard_verdict verdict);

/* depart.c */
enum guard_verdict depart(struct ctx *c);
enum guard_verdict resume(struct ctx *c, struct module *m, bool last);

/* text.c: is it the registered code? */
enum guard_verdict text_prove(struct ctx *c, struct module *m, unsigned steps);
bool text_refresh(struct ctx *c, struct module *m);
bool text_imports_allowed(struct ctx *c, const struct module *m);

/* announce.c */
enum guard_verdict announce(struct ctx *c, uint64_t id, uint64_t table, uint64_t count);
enum guard_verdict withdraw(struct ctx *c, struct module *m);
bool page_release(struct ctx *c, struct module *m, uint32_t page);

#endif
