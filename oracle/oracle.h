/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An oracle that does not believe the guard core (docs/oracle.md).
 *
 * It is told facts: what a vCPU executes, what memory its view really shows, what the CPU does on
 * the guest's behalf, which event went to the core and what came of it. From these alone it keeps
 * the truth, who is inside which module since which crossing, and checks the guarantees G1 to G6.
 * A reference model beside it predicts each verdict from the same abstract state.
 *
 * Independent of the core: nothing of model/ but the list of names. Independent of engines: whoever
 * can answer the callbacks may drive it, a fake VMM too. One struct oracle per VM, one thread.
 */
#ifndef ORACLE_ORACLE_H
#define ORACLE_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/names.h"

#define ORACLE_VCPUS 16u
#define ORACLE_MODULES 16u
#define ORACLE_PRIVILEGES 16u
#define ORACLE_LINES 8u
#define ORACLE_OUTSIDE 0xffu /* a view: unprivileged; else the number of a module */

enum { ORACLE_RCX = 1, ORACLE_RDX, ORACLE_RBX, ORACLE_RSP, ORACLE_RBP, ORACLE_GPRS = 16 };

/* Registers, as before the event; gpr[] in x86 encoding order. */
struct oracle_cpu {
	uint64_t gpr[ORACLE_GPRS], rip, rflags, cr0, cr3, cr4, efer;
	uint8_t cpl;
	bool plain64; /* 64-bit mode, neither nested nor SMM */
};

struct oracle_binding {
	uint64_t id; /* first 8 bytes of the manifest's digest */
	uint64_t bound, required;
	struct {
		uint64_t base, length;
	} range[ORACLE_PRIVILEGES];
	uint8_t stack;	   /* 0 returns, 1 exact, 2 none */
	uint8_t registers; /* 0 verify, 1 scrub */
	uint8_t refusal;   /* 0 #GP, 1 quarantine, 2 stop */
	uint32_t chains;
};

struct oracle_callbacks {
	void *ctx;
	/* Guest RAM as it is now. false: some byte of [gpa, gpa + len) is not RAM. */
	bool (*ram)(void *ctx, uint64_t gpa, void *buf, size_t len);
	/* The VMM's own pages of a module, verified copies and private ones. NULL: not asked. */
	bool (*copy)(void *ctx, unsigned module, uint32_t moff, void *buf, size_t len);
	/* Name of a guest address, for reports. NULL: only the number. */
	const char *(*name)(void *ctx, uint64_t gva, char *buf, size_t len);
};

enum oracle_event_kind {
	ORACLE_X,      /* X was executed */
	ORACLE_FETCH,  /* the view refused a fetch */
	ORACLE_DEPART, /* something is about to be delivered */
	ORACLE_TOUCH   /* a stand-in was read or written */
};

struct oracle_event {
	enum oracle_event_kind kind;
	unsigned vcpu;
	enum guard_cause cause;
	uint8_t vector;
	uint64_t gpa; /* TOUCH; ~0: a port or MSR */
	struct oracle_cpu cpu;
};

/* What the core told: one line of the log. */
struct oracle_line {
	enum guard_event_name event;
	enum guard_verdict verdict;
	uint8_t module, from, to;
	uint32_t act;
	uint64_t rip;
};

/* What came of an event: the core's story, and (view, cpu) what the engine has now. */
struct oracle_outcome {
	struct oracle_line line[ORACLE_LINES];
	unsigned lines;
	bool inject_gp, foreign;
	uint32_t stop; /* bit v: vCPU v never runs again */
	uint8_t view;
	struct oracle_cpu cpu;
};

/* What really lies behind a page that a vCPU can reach. */
enum oracle_backing {
	ORACLE_GUEST,  /* guest RAM; at: its guest-physical address */
	ORACLE_COPY,   /* the VMM's page of a module; at: module offset */
	ORACLE_DEVICE, /* a device's registers */
	ORACLE_ZEROS,  /* stand-ins */
	ORACLE_ONES,
	ORACLE_HOLE,
	ORACLE_UNKNOWN
};

struct oracle_place {
	enum oracle_backing backing;
	unsigned module;
	uint64_t at;
};

#define ORACLE_WRITE 1u
#define ORACLE_EXEC 2u

struct oracle;

enum oracle_mode {
	ORACLE_OFF,
	ORACLE_ALONE, /* the truth alone */
	ORACLE_MODEL  /* and the reference model */
};

struct oracle *oracle_new(unsigned vcpus, enum oracle_mode mode, const struct oracle_callbacks *cb);
void oracle_free(struct oracle *o);

/*
 * For a fuzzer. The mark: what is so now, while nobody is inside or waits to come back, once in an
 * oracle's life; false if somebody is, or without memory. Rewinding: all is as it was then (counters
 * and generation aside), with this mode. Costs little if no module was announced or withdrawn.
 */
bool oracle_set_mark(struct oracle *o);
void oracle_rewind(struct oracle *o, enum oracle_mode mode);

/* ---- the administrator ---- */

/* What REGISTER is given. */
struct oracle_request {
	bool bound;	   /* there is a binding: the next three */
	uint8_t names[32]; /* the digest that it names */
	uint8_t mapping;   /* 0 checked, 1 locked */
	struct oracle_binding binding;
	bool digested; /* the platform could compute the manifest's digest */
	uint8_t digest[32];
	bool room; /* the memory for the module's tables is large enough */
};
/* Before each act: what the platform answers from here on belongs to it. */
void oracle_admin_begins(struct oracle *o);
/* The core's verdict on an act, before its outcome is told below. `kick`: whom it kicks. */
void oracle_judged_register(struct oracle *o, const void *manifest, size_t len,
			    const struct oracle_request *r, enum guard_verdict verdict,
			    unsigned index);
void oracle_judged_unregister(struct oracle *o, unsigned index, enum guard_verdict verdict,
			      uint32_t kick);
void oracle_judged_grant(struct oracle *o, unsigned vcpu, unsigned index, bool give,
			 enum guard_verdict verdict, uint32_t kick);
void oracle_judged_reset(struct oracle *o, unsigned vcpu, enum guard_verdict verdict);

/* The core has accepted this manifest as module `index`. */
void oracle_registered(struct oracle *o, unsigned index, const void *manifest, size_t len,
		       const struct oracle_binding *b);
/* The outcome of UNREGISTER. */
void oracle_unregistered(struct oracle *o, unsigned index, bool ok, uint32_t stop);
/* GRANT or WITHHOLD on a vCPU; `view`: what it has now. */
void oracle_granted(struct oracle *o, unsigned vcpu, unsigned index, uint64_t privileges, bool give,
		    bool ok, uint32_t stop, uint8_t view);
void oracle_vcpu_reset(struct oracle *o, unsigned vcpu, uint32_t stop, uint8_t view);

/* ---- what the guest did ---- */

/* Before the core judges: what it reads and writes from here on belongs to this event. */
void oracle_before(struct oracle *o, const struct oracle_event *ev);
/* The core wrote guest RAM; `old` is what was there. Also if the VMM refuses to do it. */
void oracle_core_wrote(struct oracle *o, uint64_t gpa, const void *old, size_t len);
void oracle_core_read(struct oracle *o, uint64_t gpa, size_t len);
/* The platform was asked to raise or lower, and has done it or not. */
void oracle_platform(struct oracle *o, bool raise, bool done);
/* It was asked which of 64 pages were written since it was asked last; !done: it cannot tell. */
void oracle_written(struct oracle *o, unsigned module, uint32_t first, uint64_t bits, bool done);
/* Anything else that the core asked for could not be done: no prediction for this event. */
void oracle_platform_failed(struct oracle *o);
/* After such a failure it may not know any more what the core knows: then it has nothing to say. */
bool oracle_lost(const struct oracle *o);
/* Bytes of a module's verified copy changed. */
void oracle_copy_changed(struct oracle *o, unsigned module, uint32_t moff, size_t len);
/* The frame under a page of a module is the guest's again. */
void oracle_frame_released(struct oracle *o, unsigned module, uint32_t page);
void oracle_after(struct oracle *o, const struct oracle_event *ev,
		  const struct oracle_outcome *out);

/* A vCPU is about to run code in this view. */
void oracle_runs(struct oracle *o, unsigned vcpu, uint8_t view);
/* In a view of a module: an instruction, its bytes and where they really are. RSP before it. */
void oracle_instruction(struct oracle *o, unsigned vcpu, uint8_t view, uint64_t rip, uint64_t rsp,
			uint64_t cr3, const uint8_t *code, unsigned len,
			const struct oracle_place *where);
/* The same without code, for who has none: inside, a call has pushed `word` at gva; RSP after a return. */
void oracle_called(struct oracle *o, unsigned vcpu, uint64_t gva, uint64_t word);
void oracle_returned(struct oracle *o, unsigned vcpu, uint64_t rsp);
/* What `pages` pages from guest-physical gpa on really show in a view. */
void oracle_shows(struct oracle *o, unsigned vcpu, uint8_t view, uint64_t gpa, uint64_t pages,
		  const struct oracle_place *where, unsigned access);
/* Changes when all that oracle_shows() was told must be told again. */
uint64_t oracle_generation(const struct oracle *o);
/* A device register, or (kind: see manifest) a bound port, MSR or MWAIT was really used. */
void oracle_used(struct oracle *o, unsigned vcpu, uint32_t kind, uint64_t number);
/* The CPU's own access for the guest, as event delivery. */
void oracle_implicit(struct oracle *o, unsigned vcpu, uint64_t gpa,
		     const struct oracle_place *where);
void oracle_delivers(struct oracle *o, unsigned vcpu, uint8_t view);

/* ---- what it has to say ---- */

/* NULL, or both stories of the first disagreement, several lines. */
const char *oracle_failure(const struct oracle *o);
/* The same in one line. */
const char *oracle_failure_line(const struct oracle *o);

struct oracle_counts {
	uint64_t events, lines, predicted, instructions, returns, pages;
	uint64_t aliased;     /* instructions of m that ran at an address that is not m's */
	uint64_t stack_races; /* returns that another vCPU redirected while the module ran */
	uint64_t depth_lost;  /* shadow stacks that grew beyond their room */
};
void oracle_count(const struct oracle *o, struct oracle_counts *c);

#endif
