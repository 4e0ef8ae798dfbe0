/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reference model: what docs/semantics.md says must come of an event. Pure functions of the
 * abstract state, guest memory as it was before the event, and what the platform answered when it
 * was asked to raise or lower. Nothing here changes the state: the lines that come true do.
 */
#ifndef ORACLE_REF_H
#define ORACLE_REF_H

#include "oracle/state.h"

/* The next line that must be there; none: no more. */
struct ref_line {
	bool none;
	enum guard_event_name event;
	enum guard_verdict verdict;
	uint8_t module;
	const char *why; /* of a refusal, NULL: no more to say */
};

/* Where the judgement of one event stands, between two lines. */
struct ref {
	struct oracle *o;
	const struct oracle_event *ev;
	struct oracle_cpu now; /* registers after the lines so far */
	bool gp, foreign, done;
	bool resumed;		 /* a RESUME has been judged */
	bool registers;		 /* `now` says what they must be */
	unsigned raises, lowers; /* platform's answers used up */
};

void ref_begin(struct ref *r, struct oracle *o, const struct oracle_event *ev);
void ref_next(struct ref *r, struct ref_line *want);

/* ref_in.c: the ways in */
enum guard_verdict ref_enter_call(struct ref *r, const struct o_module *m, const struct m_entry *e,
				  bool raw, const char **why);
enum guard_verdict ref_enter_return(struct ref *r, const struct o_module *m, bool raw,
				    const char **why);
enum guard_verdict ref_resume(struct ref *r, const struct o_module *m, const char **why);
/* ref_out.c: the ways out */
enum guard_verdict ref_leave_call(struct ref *r, bool raw, uint32_t preserve, uint32_t keep,
				  const char **why);
enum guard_verdict ref_leave_return(struct ref *r, bool raw, const char **why);
enum guard_verdict ref_fetch_outside(struct ref *r, enum guard_event_name *event, const char **why);
enum guard_verdict ref_depart(struct ref *r, const struct o_standing *at, const char **why);

/* ref_admin.c: no crossings. `kick`: the vCPUs that must not execute more before they know. */
const struct o_module *ref_touched(const struct oracle *o, unsigned vcpu, uint64_t gpa);
/* man NULL: it is none. *index is set if it is accepted. */
enum guard_verdict ref_register(const struct oracle *o, const struct m_manifest *man,
				const struct oracle_request *r, unsigned *index);
enum guard_verdict ref_unregister(const struct oracle *o, unsigned index, uint32_t *kick);
enum guard_verdict ref_grant(const struct oracle *o, unsigned vcpu, unsigned index, bool give,
			     uint32_t *kick);
enum guard_verdict ref_reset(const struct oracle *o, unsigned vcpu);

/* ref_text.c: VERIFY lines of an event that has been judged, its other lines not yet applied */
enum ref_page { REF_PAGE_FINE, REF_PAGE_POKE, REF_PAGE_BAD, REF_PAGE_UNKNOWN };
#define REF_NO_PAGE 0xffffffffu
/* The guest's frame of a verified page against the copy, after the core has looked at it. */
enum ref_page ref_page_now(struct oracle *o, struct o_module *m, uint32_t page);
void ref_verify(struct oracle *o, const struct oracle_event *ev, const struct oracle_outcome *out);

/* Did the platform do it? Taken in the order of its answers. */
bool ref_raised(struct ref *r);
bool ref_lowered(struct ref *r);

static inline const struct o_vcpu *ref_vcpu(const struct ref *r)
{
	return &r->o->vcpu[r->ev->vcpu];
}
static inline uint64_t ref_rsp(const struct ref *r)
{
	return r->ev->cpu.gpr[ORACLE_RSP];
}
#define REF_C_PRESERVED (1u << 3 | 1u << 5 | 0xf000u) /* RBX, RBP, R12 to R15 */

#endif
