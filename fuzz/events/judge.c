// SPDX-License-Identifier: GPL-2.0-only
/*
 * One event, three judges: the core decides; the oracle predicts its verdict and keeps its own
 * truth; the ledger looks at what came of it. A decision is carried out as an engine would.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fuzz/events/core.h"
#include "vmm/told.h"

void fc_broken(bool guarantee, const char *fmt, ...)
{
	va_list ap;

	if (fc->broken || !fc->judges)
		return;
	fc->broken = true;
	fc->guarantee = guarantee;
	va_start(ap, fmt);
	vsnprintf(fc->failure, sizeof(fc->failure), fmt, ap);
	va_end(ap);
}

/* What the oracle has to say, once. A prediction is worth less than a guarantee. */
static void heard(void)
{
	const char *line = oracle_failure_line(fc->oracle);
	bool model = line && strstr(line, "reference model");

	/*
	 * The model is asked after the event, and no prediction counts where it cannot know whose a
	 * frame is: one that could not be given back, or one that is given back behind a crossing
	 * in the same event.
	 */
	if (model && fc->ev.released && fc->d.nlines > 1)
		fc->live->torn = true; /* what it said stays said */
	if (line && !fc->broken && fc->judges && !(model && fc->live->torn))
		fc_broken(!model, "%s", line);
}

unsigned fc_by_index(unsigned index)
{
	for (unsigned m = 0; m < FC_MODULES; m++)
		if (fc->live->index[m] == index)
			return m;
	return FC_MODULES;
}

static uint32_t stops(unsigned v)
{
	uint32_t stop = told_stops(&fc->d, v);

	for (unsigned u = 0; u < FC_VCPUS; u++)
		fc->live->stopped[u] |= stop >> u & 1;
	return stop;
}

/* The verdict log, for somebody who reads a find. */
static void tell(void)
{
	const struct guard_decision *d = &fc->d;

	for (unsigned i = 0; i < d->nlines && i < GUARD_MAX_LINES; i++)
		fprintf(stderr,
			"    vcpu=%u %s module=%d rip=0x%llx rsp=0x%llx verdict=%s view=%d>%d\n",
			fc->ev.vcpu, guard_event_string(d->line[i].event),
			(int8_t)d->line[i].module, (unsigned long long)d->line[i].rip,
			(unsigned long long)d->cpu.gpr[GUARD_RSP],
			guard_verdict_string(d->line[i].verdict), (int8_t)d->line[i].from,
			(int8_t)d->line[i].to);
	if (!d->nlines)
		fprintf(stderr, "    vcpu=%u: nothing%s\n", fc->ev.vcpu,
			d->foreign ? ", foreign" : "");
}

static void watched(void)
{
	if (fc_watch)
		fc_watch->told(fc_watch->ctx);
}

static void judge_one(unsigned v, enum guard_event_type type, enum guard_cause cause,
		      uint8_t vector, uint64_t gpa)
{
	struct guard_event ev = {
		.type = type, .vcpu = v, .cause = cause, .vector = vector, .gpa = gpa
	};
	struct oracle_event event;
	struct oracle_outcome out;

	ev.cpu = fc->live->cpu[v];
	told_event(&ev, &event);
	fc_ledger_before(v, true);
	if (fc->judges)
		oracle_before(fc->oracle, &event);
	guard_judge(fc->guard, &ev, &fc->d);
	fc->events++;
	told_outcome(&fc->d, v, fc->live->view[v], &out);
	out.stop = stops(v);
	fc->live->cpu[v] = fc->d.cpu;
	if (!fc->judges)
		return;
	oracle_after(fc->oracle, &event, &out);
	fc_ledger_judged(&ev);
	heard();
	if (fc->trace)
		tell();
	watched();
}

/* Who has to leave leaves, before it executes more. */
static void kicked(unsigned v)
{
	uint32_t kick = fc->d.kick;

	for (unsigned u = 0; u < FC_VCPUS && !fc->broken; u++) {
		struct fc_live *l = fc->live;

		if (u == v || !(kick >> u & 1) || l->view[u] == GUARD_VIEW_U || l->stopped[u])
			continue;
		judge_one(u, GUARD_EV_DEPART, GUARD_CAUSE_KICK, 0, 0);
		l->saved[l->saved_at++ % FC_SAVED] = l->cpu[u];
	}
}

void fc_judge(unsigned v, enum guard_event_type type, enum guard_cause cause, uint8_t vector,
	      uint64_t gpa)
{
	struct fc_live *l = fc->live;
	struct guard_decision first;

	if (l->stopped[v] || fc->broken)
		return;
	if (type == GUARD_EV_X)
		l->slot[l->slots++ % FC_SLOTS] = l->cpu[v].gpr[GUARD_RSP];
	judge_one(v, type, cause, vector, gpa);
	if (!fc->d.kick && !fc->d.inject_gp)
		return;
	first = fc->d;
	if (first.kick)
		kicked(v);
	/* #GP inside: its delivery is an event like any other */
	if (first.inject_gp && !l->stopped[v] && !fc->broken && l->view[v] != GUARD_VIEW_U)
		judge_one(v, GUARD_EV_DEPART, GUARD_CAUSE_EXCEPTION, 13, 0);
	fc->d = first;
	if (first.inject_gp)
		l->cpu[v].rip = FC_KERNEL;
}

/* ---- the administrator ---- */

static void admin_begins(void)
{
	fc_ledger_before(0, false);
	oracle_admin_begins(fc->oracle);
	fc->events++;
}

void fc_grant(unsigned v, unsigned m, uint64_t set, bool give)
{
	struct fc_live *l = fc->live;
	uint64_t before = l->granted[v][m];
	unsigned index = l->index[m];
	enum guard_verdict verdict;

	if (l->stopped[v] || fc->broken)
		return;
	admin_begins();
	fc->ev.vcpu = v;
	if (index < FC_MODULES)
		l->granted[v][m] = give ? before | set : before & ~set;
	verdict = guard_grant(fc->guard, v, index, set, give, &fc->d);
	if (give && verdict != GUARD_V_OK)
		l->granted[v][m] = before;
	oracle_judged_grant(fc->oracle, v, index, give, verdict, fc->d.kick);
	oracle_granted(fc->oracle, v, index, set, give, verdict == GUARD_V_OK, stops(v),
		       l->view[v]);
	fc_ledger_admin(verdict);
	heard();
	watched();
}

void fc_register(unsigned m)
{
	struct fc_module *mod = &fc->module[m];
	struct oracle_request r = { .digested = true, .bound = true, .room = true };
	unsigned index = GUARD_MAX_MODULES;
	enum guard_verdict v;

	/* two registrations would share the memory for tables */
	if (fc->live->index[m] < FC_MODULES || fc->broken)
		return;
	admin_begins();
	v = guard_register(fc->guard, mod->manifest, mod->len, &mod->binding, mod->work,
			   mod->work_len, &index, &fc->d);
	memcpy(r.digest, mod->binding.digest, sizeof(r.digest));
	memcpy(r.names, mod->binding.digest, sizeof(r.names));
	r.binding = told_binding(&mod->binding);
	oracle_judged_register(fc->oracle, mod->manifest, mod->len, &r, v, index);
	if (v == GUARD_V_OK) {
		oracle_registered(fc->oracle, index, mod->manifest, mod->len, &r.binding);
		if (index >= FC_MODULES) {
			fc_broken(true, "G6 VMM safety: REGISTER gives number %u", index);
			return;
		}
		fc->live->index[m] = (uint8_t)index;
		for (unsigned u = 0; u < FC_VCPUS; u++)
			fc->live->granted[u][m] = 0;
	}
	fc_ledger_admin(v);
	heard();
	watched();
}

void fc_unregister(unsigned m)
{
	unsigned index = fc->live->index[m];
	enum guard_verdict v;

	if (fc->broken)
		return;
	admin_begins();
	v = guard_unregister(fc->guard, index, &fc->d);
	oracle_judged_unregister(fc->oracle, index, v, fc->d.kick);
	oracle_unregistered(fc->oracle, index, v == GUARD_V_OK, stops(0));
	fc_ledger_admin(v);
	watched(); /* while the number still names the module */
	if (v == GUARD_V_OK) {
		fc_ledger_forget(m);
		fc->live->index[m] = GUARD_MAX_MODULES;
	}
	heard();
}

void fc_reset(unsigned v)
{
	enum guard_verdict verdict;

	if (fc->broken || fc->live->stopped[v])
		return;
	admin_begins();
	fc->ev.vcpu = v;
	verdict = guard_vcpu_reset(fc->guard, v, &fc->d);
	oracle_judged_reset(fc->oracle, v, verdict);
	oracle_vcpu_reset(fc->oracle, v, stops(v), fc->live->view[v]);
	fc_ledger_admin(verdict);
	heard();
	watched();
}
