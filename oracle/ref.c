/* SPDX-License-Identifier: GPL-2.0-only */
/* Which event is this, and what must come of it: line by line. */
#include <string.h>

#include "oracle/ref.h"

#define CALL_ANNOUNCE 0x6000u
#define CALL_WITHDRAW 0x6001u
#define CALL_STATUS 0x6002u

void ref_begin(struct ref *r, struct oracle *o, const struct oracle_event *ev)
{
	*r = (struct ref){ .o = o, .ev = ev, .now = ev->cpu, .registers = true };
}

bool ref_raised(struct ref *r)
{
	unsigned n = r->raises++;

	return n >= r->o->nraises || r->o->raise_ok[n];
}

bool ref_lowered(struct ref *r)
{
	unsigned n = r->lowers++;

	return n >= r->o->nlowers || r->o->lower_ok[n];
}

static void line(struct ref_line *want, enum guard_event_name event, const struct o_module *m,
		 enum guard_verdict verdict)
{
	want->none = false;
	want->event = event;
	want->module = m ? (uint8_t)m->index : ORACLE_OUTSIDE;
	want->verdict = verdict;
}

static struct o_module *by_id(struct oracle *o, uint64_t id)
{
	for (unsigned i = 0; i < ORACLE_MODULES; i++)
		if (o->module[i].registered && o->module[i].id == id)
			return &o->module[i];
	return NULL;
}

/* ---- numbered calls: STATUS has no line; what ANNOUNCE finds is announce.c's to judge ---- */

static void hypercall(struct ref *r, struct ref_line *want)
{
	const struct oracle_cpu *cpu = &r->ev->cpu;
	uint64_t number = cpu->gpr[0];
	const struct o_module *m = by_id(r->o, cpu->gpr[ORACLE_RBX]);
	enum guard_event_name e = number == CALL_WITHDRAW ? GUARD_WITHDRAW : GUARD_ANNOUNCE;

	r->done = true;
	if (number < CALL_ANNOUNCE || number > CALL_STATUS) {
		r->foreign = true;
		return;
	}
	if (cpu->cpl || !cpu->plain64) {
		line(want, e, m, GUARD_V_BAD_MODE);
		r->gp = true;
		return;
	}
	r->now.rip += 3;
	if (number == CALL_STATUS) {
		r->now.gpr[0] = !m ? (uint64_t)GUARD_V_UNKNOWN_MODULE
				   : 0x100u | (m->announced ? 0x200u : 0) |
						(m->quarantined ? 0x400u : 0);
		return;
	}
	line(want, e, m, m ? GUARD_V_OK : GUARD_V_UNKNOWN_MODULE);
	for (unsigned v = 0; m && v < r->o->vcpus && number == CALL_WITHDRAW; v++)
		if (r->o->vcpu[v].module == m)
			want->verdict = GUARD_V_BUSY;
	if (m && number == CALL_ANNOUNCE)
		want->verdict = o_announce_must(r->o, m, cpu);
	r->now.gpr[0] = want->verdict;
	r->registers = want->verdict != GUARD_NVERDICTS; /* RAX is one of several */
}

/* ---- crossings ---- */

static enum guard_event_name crossing_name(const struct m_gate *g)
{
	switch (g->kind) {
	case G_LEAVE_RETURN: return GUARD_LEAVE_RETURN;
	case G_LEAVE:
	case G_LEAVE_INDIRECT: return GUARD_LEAVE_CALL;
	case G_ENTER_RETURN: return GUARD_ENTER_RETURN;
	default: return GUARD_ENTER_CALL;
	}
}

static enum guard_verdict cross(struct ref *r, const struct o_module *m, const struct m_gate *g,
				const char **why)
{
	switch (g->kind) {
	case G_ENTER: return ref_enter_call(r, m, &m->man.entry[g->index], false, why);
	case G_LEAVE_RETURN: return ref_leave_return(r, false, why);
	case G_LEAVE: return ref_leave_call(r, false, m->man.import[g->index].preserve, 0, why);
	case G_LEAVE_INDIRECT: return ref_leave_call(r, false, REF_C_PRESERVED, 1u << g->reg, why);
	default: return ref_enter_return(r, m, false, why);
	}
}

/* Nobody's gate: one that was somebody's return gate until UNREGISTER, or a numbered call. */
static void nobodys(struct ref *r, struct ref_line *want)
{
	for (unsigned i = 0; i < O_GONE && !o_text_of(r->o, r->ev->cpu.rip); i++) {
		const struct o_gone *g = &r->o->gone[i];

		if (!g->is || g->x != r->ev->cpu.rip)
			continue;
		line(want, g->enters ? GUARD_ENTER_RETURN : GUARD_LEAVE_RETURN, NULL,
		     GUARD_V_UNANNOUNCED);
		r->gp = r->done = true;
		return;
	}
	hypercall(r, want);
}

static void x(struct ref *r, struct ref_line *want)
{
	struct o_module *m = o_gates_of(r->o, r->ev->cpu.rip);
	const struct m_gate *g;
	uint32_t set;

	if (!m) {
		nobodys(r, want);
		return;
	}
	g = o_gate_at(m, r->ev->cpu.rip);
	if (!g || !m->announced) {
		line(want, g ? crossing_name(g) : GUARD_ENTER_CALL, m,
		     g ? GUARD_V_UNANNOUNCED : GUARD_V_BAD_SITE);
		r->gp = r->done = true;
		return;
	}
	if (!r->resumed && !ref_vcpu(r)->chain &&
	    o_departed_at(m, r->ev->cpu.rip, ref_rsp(r), &set)) {
		line(want, GUARD_RESUME, m, ref_resume(r, m, &want->why));
		r->resumed = true;
		if (want->verdict != GUARD_V_OK && g->kind != G_ENTER)
			r->gp = r->done = true;
		return;
	}
	line(want, crossing_name(g), m, cross(r, m, g, &want->why));
	r->gp = want->verdict != GUARD_V_OK;
	r->done = true;
}

static const struct m_entry *entry_at(const struct o_module *m, uint64_t gva)
{
	uint32_t moff;

	if (!(m->man.flags & M_VIEWS) || !o_in_text(m, gva, &moff))
		return NULL;
	for (uint32_t i = 0; i < m->man.nentries; i++)
		if (m->man.entry[i].moff == moff)
			return &m->man.entry[i];
	return NULL;
}

static void fetch_inside(struct ref *r, struct o_module *m, struct ref_line *want)
{
	const struct oracle_cpu *cpu = &r->ev->cpu;
	const struct m_entry *e = entry_at(m, cpu->rip);
	const struct o_chain *out = o_callout_at(m, ref_rsp(r) - 8);
	uint32_t set;

	r->done = true;
	if (!r->resumed && o_departed_at(m, cpu->rip, ref_rsp(r), &set)) {
		line(want, GUARD_RESUME, m, ref_resume(r, m, &want->why));
		r->resumed = true;
		r->done = want->verdict == GUARD_V_OK || !e;
	} else if (out && out->raw && out->rip == cpu->rip) {
		line(want, GUARD_ENTER_RETURN, m, ref_enter_return(r, m, true, &want->why));
	} else if (e) {
		line(want, GUARD_ENTER_CALL, m, ref_enter_call(r, m, e, true, &want->why));
	} else {
		line(want, GUARD_RESUME, m, ref_resume(r, m, &want->why));
	}
	r->gp = want->verdict != GUARD_V_OK;
}

static void fetch(struct ref *r, struct ref_line *want)
{
	struct o_module *m;

	if (ref_vcpu(r)->chain) {
		m = ref_vcpu(r)->module;
		want->verdict = ref_fetch_outside(r, &want->event, &want->why);
		line(want, want->event, m, want->verdict);
		r->gp = want->verdict != GUARD_V_OK && want->verdict != GUARD_V_WILD_EXIT;
		r->done = true;
		return;
	}
	if (r->o->init_moved) {
		/* init memory is the kernel's again: it fetches once more */
		r->foreign = r->done = true;
		return;
	}
	m = o_text_of(r->o, r->ev->cpu.rip);
	if (m) {
		fetch_inside(r, m, want);
		return;
	}
	line(want, GUARD_RESUME, NULL, GUARD_V_BAD_MAPPING);
	r->gp = r->done = true;
}

static void departure(struct ref *r, struct ref_line *want)
{
	struct o_module *m = ref_vcpu(r)->module;
	struct o_standing at;

	r->done = true;
	if (!m) {
		r->foreign = true;
		return;
	}
	if (o_standing(r->o, m, &r->ev->cpu, &at)) {
		line(want, GUARD_DEPART, m, ref_depart(r, &at, &want->why));
		return;
	}
	want->verdict = ref_fetch_outside(r, &want->event, &want->why);
	line(want, want->event, m, want->verdict);
}

void ref_next(struct ref *r, struct ref_line *want)
{
	const struct o_vcpu *v = ref_vcpu(r);
	uint32_t moff;

	memset(want, 0, sizeof(*want));
	want->none = true;
	if (r->done || v->stopped)
		return;
	switch (r->ev->kind) {
	case ORACLE_X:
		/* an engine without execute control shows an exit only here */
		if (v->chain && v->module != o_gates_of(r->o, r->ev->cpu.rip) &&
		    !o_in_text(v->module, r->ev->cpu.rip, &moff)) {
			struct o_module *m = v->module;

			want->verdict = ref_fetch_outside(r, &want->event, &want->why);
			line(want, want->event, m, want->verdict);
			r->done = want->verdict == GUARD_V_LOWER_FAILED;
			return;
		}
		x(r, want);
		break;
	case ORACLE_FETCH: fetch(r, want); break;
	case ORACLE_DEPART: departure(r, want); break;
	case ORACLE_TOUCH:
		line(want, GUARD_TOUCH, ref_touched(r->o, r->ev->vcpu, r->ev->gpa),
		     GUARD_V_NOT_PRIVILEGED);
		r->done = true;
		break;
	}
}
