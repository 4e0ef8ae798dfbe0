/* SPDX-License-Identifier: GPL-2.0-only */
/* What the attacks on a driver share: the state of one attack, and how it counts its cases. */
#ifndef HOSTED_ATTACK_H
#define HOSTED_ATTACK_H

#include "hosted/kernel.h"

struct attack {
	struct hosted *h;
	struct hosted_attack_row *row;
	uint64_t mark; /* log lines before the present case */
	bool raised;   /* something ran with privilege that should not have */
	unsigned cases, good;
	uint64_t stats;	  /* the entry that is attacked: ndo_get_stats64 */
	uint64_t buffer;  /* its second argument */
	uint64_t scratch; /* a page of the attacker */
	/* attacks during a call-out: what to do at the first that fits */
	bool (*at_callout)(struct attack *a);
	bool struck;
};

struct attack_case {
	const char *id, *title, *expected;
	void (*run)(struct attack *a);
};

extern const struct attack_case hosted_entry_attacks[], hosted_return_attacks[],
	hosted_code_attacks[]; /* each ended by a NULL id */

/* One case of an attack: between the two, the guest does something that must be refused. */
void attack_begin(struct attack *a);
/* `what` for people; the line (event, verdict) must have been logged since attack_begin(). */
void attack_expect(struct attack *a, const char *what, enum guard_event_name event,
		   enum guard_verdict verdict);
/* Adds to what the row says that it got. */
void attack_got(struct attack *a, const char *text);
/* A line since attack_begin(). */
bool attack_logged(struct attack *a, enum guard_event_name event, enum guard_verdict verdict);
/* A line since attack_begin() after which this vCPU was privileged. */
bool attack_raised(struct attack *a);
void attack_result(struct attack *a, const char *what, bool good);

/* Registers for a call of fn(netdev, buffer) as hosted_call() would make it. */
void attack_cpu(struct attack *a, uint64_t fn, struct guard_cpu *cpu);
/* Lets the guest run from there; comes back to where it was. true: without a fault. */
bool attack_go(struct attack *a, struct guard_cpu *cpu);
/* An honest call; `at` (NULL: none) strikes once while one of its call-outs is open. */
bool attack_call(struct attack *a, bool (*at)(struct attack *a));

/* The module's places, from its manifest. 0: there is none. */
uint64_t attack_gate(struct attack *a, enum gm_gate_kind kind);
uint64_t attack_segment(struct attack *a, enum gm_segment_kind kind, uint64_t *bytes);
uint64_t attack_body(struct attack *a, uint64_t enter_gate);
uint64_t attack_return_site(struct attack *a);
bool attack_is_return_site(struct attack *a, uint64_t gva);

/* Page tables, as the kernel edits them: by guest stores through the direct map, then INVLPG. */
uint64_t attack_pte(struct attack *a, uint64_t gva, uint64_t *value); /* GVA of the entry */
void attack_set_pte(struct attack *a, uint64_t gva, uint64_t value);
/* A guest store of one word. */
void attack_store(struct attack *a, uint64_t gva, uint64_t value);

#define PTE_ADDRESS 0x000ffffffffff000ull
#define PTE_WRITE 2ull

#endif
