/* SPDX-License-Identifier: GPL-2.0-only */
/* What the attacks on a driver share: the state of one attack, and how it counts its cases. */
#ifndef HOSTED_ATTACK_H
#define HOSTED_ATTACK_H

#include "hosted/kernel.h"

struct attack {
	struct hosted *h;
	struct hosted_attack_row *row;
	uint64_t mark; /* log lines before the present case */
	unsigned cases, good;
	uint64_t stats;	     /* the entry that is attacked: ndo_get_stats64 */
	uint64_t buffer;     /* its second argument */
	uint64_t scratch;    /* a page of the attacker */
	uint64_t block;	     /* struct guest_launch */
	uint64_t slot, word; /* of the next attack_go(): the return word and where it goes */
	/* attacks during a call-out: what to do at the first that fits */
	bool (*at_callout)(struct attack *a);
	bool struck;
};

struct attack_case {
	const char *id, *title;
	void (*run)(struct attack *a);
};

extern const struct attack_case hosted_entry_attacks[], hosted_return_attacks[],
	hosted_code_attacks[]; /* each ended by a NULL id */

/*
 * One case of an attack: attack_begin(), the guest does something, one of the attack_expect*().
 * A case is good if what was judged since attack_begin() is what it names: every line that is not
 * ok shows (TOUCH and AGAIN aside), and only an expected `ok` or VERIFY may have raised. The row's
 * EXPECTED and GOT are made here and nowhere else.
 */
void attack_begin(struct attack *a);
bool attack_expect(struct attack *a, const char *what, enum guard_event_name event,
		   enum guard_verdict verdict);
/* Nothing was judged: the guest's own page tables stopped it, by this exception. */
bool attack_expect_fault(struct attack *a, const char *what, unsigned vector);
/* What must hold besides; a failure is added to GOT. */
void attack_check(struct attack *a, const char *what, bool good);
/* Adds to what the row says that it got. */
void attack_got(struct attack *a, const char *text);
/* A line since attack_begin(). */
bool attack_logged(struct attack *a, enum guard_event_name event, enum guard_verdict verdict);

/* Registers for a call of fn(netdev, buffer) as hosted_call() would make it. */
void attack_cpu(struct attack *a, uint64_t fn, struct guard_cpu *cpu);
/*
 * guest_launch goes there with these RIP, RSP, RFLAGS, RDI, RSI and RDX, a->word at a->slot; comes
 * back to where it was. true: without a fault.
 */
bool attack_go(struct attack *a, struct guard_cpu *cpu);
/* An honest call; `at` (NULL: none) strikes once while one of its call-outs is open. */
bool attack_call(struct attack *a, bool (*at)(struct attack *a));

/* The attacker's memory, with the driver up; ticks end, so that what happens now is the attack's doing. */
bool attack_ready(struct attack *a);
/* ANNOUNCE with these bases, as guest code issues it, until it is done; what the guest was told. */
uint64_t attack_announce(struct attack *a, uint64_t id, const uint64_t *base, size_t n);
uint64_t attack_module_id(struct attack *a);

/* During a call-out: it returns with this register changed, RSP moved and flags set. By the guest. */
#define ATTACK_NO_REGISTER GUARD_GPRS
void attack_misreturn(struct attack *a, unsigned reg, uint64_t rsp_delta, uint64_t flags);

/* The module's places, from its manifest. 0: there is none. */
uint64_t attack_gate(struct attack *a, enum gm_gate_kind kind);
uint64_t attack_segment(struct attack *a, enum gm_segment_kind kind, uint64_t *bytes);
uint64_t attack_body(struct attack *a, uint64_t enter_gate);
uint64_t attack_return_site(struct attack *a, unsigned n); /* n modulo their number */
bool attack_is_return_site(struct attack *a, uint64_t gva);

/* Page tables, as the kernel edits them: by guest stores through the direct map, then INVLPG. */
uint64_t attack_pte(struct attack *a, uint64_t gva, uint64_t *value); /* GVA of the entry */
void attack_set_pte(struct attack *a, uint64_t gva, uint64_t value);
/* A guest store of one word. */
void attack_store(struct attack *a, uint64_t gva, uint64_t value);

/* One attack in a VM of its own. false: bad input. */
bool hosted_attack_one(const struct hosted_options *opt, const struct attack_case *c,
		       struct hosted_attack_row *row, struct error *err);

#define PTE_ADDRESS 0x000ffffffffff000ull
#define PTE_WRITE 2ull

#endif
