/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the target `ko` share: a real driver in the hosted kernel (hosted/), whose part an
 * input plays: which entry it calls with what, what each call-out answers and changes, when an
 * interrupt comes. docs/fuzzing.md, "The target ko".
 *
 *   bed.c    a machine with the driver up, marked, where each input begins
 *   play.c   an input's steps: calls, answers, interrupts
 *   act.c    what a step does to memory, tables, registers and the guard
 *   place.c  operands: addresses and values that mean something
 *   mutate.c mutation by step, for both engines; the honest input
 *
 * An input is FK_MAGIC, one byte that chooses driver and policy, and steps of FK_STEP bytes. Whatever
 * these are they mean something.
 */
#ifndef FUZZ_DRIVERS_DRIVER_H
#define FUZZ_DRIVERS_DRIVER_H

#include "hosted/attack.h"

#define FK_MAGIC "GHKO"
#define FK_HEAD 5u
#define FK_STEP 4u
#define FK_MAX_STEPS 48u
#define FK_MAX_INPUT (FK_HEAD + FK_STEP * FK_MAX_STEPS)
#define FK_DRIVERS 3u
#define FK_POLICIES 4u
#define FK_WORLDS (FK_DRIVERS * FK_POLICIES)
#define FK_PAGES 256u
#define FK_DOWN ": does not come up: " /* in fk_bed_new()'s error: all was there, and honest */

/* The first four steps end a call-out or an interrupt handler; elsewhere they do nothing. */
enum fk_step {
	FK_GO,	      /* a: so many later call-outs are answered as the kernel would */
	FK_ANSWER,    /* a, b: the value; c: as GO's a */
	FK_MISRETURN, /* a: register, b: RSP, c: flags; the value is the kernel's */
	FK_IRET,      /* a: what of the frame or which register, b, c: the value */
	FK_CALL,      /* a: entry, b: arguments, c: interrupts on, and of b */
	FK_OP,	      /* a: what an honest kernel does */
	FK_JUMP,      /* a: place, b: bytes off and which, c: RSP, return word, flags */
	FK_STORE,     /* a: word of the stack or of the driver, b, c: the value */
	FK_PTE,	      /* a: page of the driver, b: how */
	FK_ALIAS,     /* a: page, b: where in it, c: what, and whether by a device */
	FK_STRIKE,    /* a, b: after so many instructions inside, c: vector */
	FK_CALLX,     /* a: numbered call, b, c: of it */
	FK_GRANT,     /* a: give or take */
	FK_FAIL,      /* a: raises and lowers that fail */
	FK_PEEK,      /* a, b: device register, read and written from outside */
	FK_NSTEPS
};
extern const char *const fk_step_names[FK_NSTEPS];

struct fk_bed {
	unsigned world;
	struct hosted_options opt;
	struct hosted h, mark; /* now, and when the driver was up */
	struct heap_block *blocks;
	struct attack a, attack_mark;
	struct hosted_attack_row row;
	uint64_t pte[FK_PAGES]; /* of the driver's pages, as the loader made them */
	uint64_t page[FK_PAGES];
	unsigned pages;
	uint64_t id;
	bool marked, opened, ready;
};

struct fk_options {
	const char *folder;	 /* with e1000e.ko and modules/: build/debian */
	enum oracle_mode oracle; /* ORACLE_MODEL, ORACLE_ALONE */
	FILE *trace;		 /* every crossing; NULL: nowhere */
	void (*logged)(void *ctx, const struct vm *vm, const struct vm_line *l);
	void *ctx;
};

/* What an input showed. */
struct fk_result {
	char failure[4096]; /* empty: nothing */
	bool model;	    /* a mere difference to the reference model */
	bool engine;	    /* the guest killed or confused the engine: its limit */
	size_t lines;	    /* of the log when the driver was up: the input's come behind them */
	char exit[160];
};

/* The world's driver and policy, for people. */
const char *fk_world_name(unsigned world, char *buf, size_t len);
/*
 * A machine with this world's driver up. `mark`: inputs go back to that moment, as often as you like;
 * else one input may be played. NULL: *err says why.
 */
struct fk_bed *fk_bed_new(unsigned world, const struct fk_options *opt, bool mark,
			  struct error *err);
void fk_bed_free(struct fk_bed *bed);
/*
 * Plays an input of this world. false: what ran before cannot be taken back, make a new bed.
 * The step told (NULL: nobody) before each step is done.
 */
bool fk_bed_play(struct fk_bed *bed, const uint8_t *data, size_t size,
		 void (*told)(void *ctx, const uint8_t *step, unsigned depth), void *ctx,
		 struct fk_result *r);
/* The world of an input; false: it is none. */
bool fk_world(const uint8_t *data, size_t size, unsigned *world);

/* ---- play.c, act.c, place.c ---- */

struct fk_play {
	struct fk_bed *bed;
	const uint8_t *step;
	unsigned steps, at, skip, callouts;
	bool quiet; /* whatever comes takes no steps */
	struct fk_result *r;
	void (*told)(void *ctx, const uint8_t *step, unsigned depth);
	void *ctx;
};

/* The story of hosted_boot(): arg is a struct fk_play. */
void fk_story(struct hosted *h, void *arg);
/* A guarantee that is broken: only the first counts. */
void fk_broken(struct fk_play *p, const char *what);
/* A step that is not one of the four, wherever the kernel is. */
void fk_act(struct fk_play *p, const uint8_t *step);
/* Of the kernel's flags, at rest or while it answers; returns what it was. */
bool fk_flag(struct hosted *h, uint64_t flag, bool on);
/* Registers outside are all ones, and what is written there does not arrive. */
void fk_peek(struct fk_play *p, uint32_t offset);

/* What a value is; several of a kind are chosen by the high half of `off`, its low half adds some bytes. */
enum fk_value_kind {
	FK_V_ZERO,
	FK_V_ONE,
	FK_V_ALL_ONES,
	FK_V_ENOMEM,
	FK_V_NETDEV,
	FK_V_BUFFER,
	FK_V_SCRATCH,
	FK_V_PDEV,
	FK_V_LEAVE_RETURN,
	FK_V_ENTER_RETURN,
	FK_V_LEAVE,
	FK_V_LEAVE_INDIRECT,
	FK_V_ENTRY,
	FK_V_BODY,
	FK_V_RETURN_SITE,
	FK_V_DATA,
	FK_V_CARD,
	FK_V_NON_CANONICAL,
	FK_V_USER,
	FK_V_KERNEL_RETURN,
	FK_V_RSP,
	FK_V_TEXT,
	FK_V_PRIVATE,
	FK_V_TOP_BIT,
	FK_V_STATS,
	FK_V_HANDLER,
	FK_V_DEVICE_ID,
	FK_V_NAPI,
	FK_V_WORK,
	FK_V_TIMER,
	FK_V_RODATA,
	FK_V_NUMBER,
	FK_VALUES
};

uint64_t fk_value(struct fk_bed *b, uint8_t what, uint8_t off);
uint64_t fk_entry(struct fk_bed *b, unsigned n);
int64_t fk_delta(uint8_t k);

/* In place; returns the new size. The same sequence from the same seed. */
size_t fk_mutate(uint8_t *data, size_t size, size_t room, const uint8_t *other, size_t other_size,
		 uint32_t seed);
size_t fk_seed(unsigned world, uint8_t out[FK_MAX_INPUT]);

#endif
