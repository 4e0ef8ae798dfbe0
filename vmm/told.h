/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The core's words in the oracle's. The oracle includes nothing of model/ (docs/oracle.md), so whoever
 * drives both translates: vmm/watch.c, the fuzz target core, the unit tests' shim. Only a header, since
 * two of the three link nothing else of vmm/.
 */
#ifndef VMM_TOLD_H
#define VMM_TOLD_H

#include <string.h>

#include "model/guard.h"
#include "oracle/oracle.h"

_Static_assert(ORACLE_OUTSIDE == GUARD_VIEW_U && ORACLE_GPRS == (int)GUARD_GPRS &&
		       ORACLE_LINES == GUARD_MAX_LINES && ORACLE_MODULES == GUARD_MAX_MODULES,
	       "the oracle's numbers are the core's");

static inline void told_cpu(const struct guard_cpu *from, struct oracle_cpu *to)
{
	memcpy(to->gpr, from->gpr, sizeof(to->gpr));
	to->rip = from->rip;
	to->rflags = from->rflags;
	to->cr0 = from->cr0;
	to->cr3 = from->cr3;
	to->cr4 = from->cr4;
	to->efer = from->efer;
	to->cpl = from->cpl;
	to->plain64 = from->mode == GUARD_MODE_64;
}

/* For oracle_before(). */
static inline void told_event(const struct guard_event *from, struct oracle_event *to)
{
	to->kind = from->type == GUARD_EV_X	  ? ORACLE_X
		   : from->type == GUARD_EV_FETCH ? ORACLE_FETCH
		   : from->type == GUARD_EV_TOUCH ? ORACLE_TOUCH
						  : ORACLE_DEPART;
	to->gpa = from->gpa;
	to->vcpu = from->vcpu;
	to->cause = from->cause;
	to->vector = from->vector;
	told_cpu(&from->cpu, &to->cpu);
}

/* Which vCPUs may not run again: bit v. */
static inline uint32_t told_stops(const struct guard_decision *d, unsigned vcpu)
{
	return d->stop | (uint32_t)d->stop_vcpu << vcpu;
}

/*
 * For oracle_after(); view is what the engine has for this vCPU now. Lines beyond out->lines stay as
 * they were.
 */
static inline void told_outcome(const struct guard_decision *d, unsigned vcpu, uint8_t view,
				struct oracle_outcome *out)
{
	out->lines = d->nlines < GUARD_MAX_LINES ? d->nlines : GUARD_MAX_LINES;
	for (unsigned i = 0; i < out->lines; i++)
		out->line[i] = (struct oracle_line){ .event = d->line[i].event,
						     .verdict = d->line[i].verdict,
						     .module = d->line[i].module,
						     .from = d->line[i].from,
						     .to = d->line[i].to,
						     .act = d->line[i].act,
						     .rip = d->line[i].rip };
	out->inject_gp = d->inject_gp;
	out->foreign = d->foreign;
	out->stop = told_stops(d, vcpu);
	out->view = view;
	told_cpu(&d->cpu, &out->cpu);
}

/* A module is announced by the first eight bytes of its manifest's digest (docs/semantics.md, ABI). */
static inline struct oracle_binding told_binding(const struct guard_binding *from)
{
	struct oracle_binding b = {
		.bound = from->bound,
		.required = from->policy.required,
		.stack = from->policy.stack,
		.registers = from->policy.registers,
		.refusal = from->policy.refusal,
		.chains = from->policy.chains,
	};

	memcpy(&b.id, from->digest, sizeof(b.id));
	for (unsigned p = 0; p < GM_MAX_PRIVILEGES; p++) {
		b.range[p].base = from->resource[p].base;
		b.range[p].length = from->resource[p].length;
	}
	return b;
}

#endif
