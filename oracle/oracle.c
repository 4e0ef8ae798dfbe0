/* SPDX-License-Identifier: GPL-2.0-only */
/* An oracle's life, one event from before to after, and what it has to say. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle/ref.h"

#define NAME(id, string) string,
static const char *const event_names[] = { GUARD_EVENTS(NAME) };
static const char *const verdict_names[] = { GUARD_VERDICTS(NAME) };
static const char *const cause_names[] = { GUARD_CAUSES(NAME) };

const char *o_event_name(enum guard_event_name e)
{
	return e < GUARD_NEVENTS ? event_names[e] : "?";
}

const char *o_verdict_name(enum guard_verdict v)
{
	return v < GUARD_NVERDICTS ? verdict_names[v] : "?";
}

struct oracle *oracle_new(unsigned vcpus, enum oracle_mode mode, const struct oracle_callbacks *cb)
{
	struct oracle *o = vcpus && vcpus <= ORACLE_VCPUS ? calloc(1, sizeof(*o)) : NULL;

	if (!o)
		return NULL;
	o->seen = calloc(1, sizeof(*o->seen));
	if (!o->seen) {
		free(o);
		return NULL;
	}
	o->cb = *cb;
	o->mode = mode;
	o->vcpus = vcpus;
	for (unsigned i = 0; i < O_OWNERS; i++)
		o->owner[i].gpa = NO_FRAME;
	o_frames_moved(o);
	return o;
}

void oracle_free(struct oracle *o)
{
	if (!o)
		return;
	o_forget_mark(o);
	for (unsigned i = 0; i < ORACLE_MODULES; i++)
		o_forget(&o->module[i]);
	free(o->failure);
	free(o->line);
	free(o->seen);
	free(o);
}

/* ---- reports ---- */

static const char *place_name(const struct oracle *o, uint64_t gva, char *buf, size_t len)
{
	if (o->cb.name)
		return o->cb.name(o->cb.ctx, gva, buf, len);
	snprintf(buf, len, "0x%llx", (unsigned long long)gva);
	return buf;
}

static void print_view(FILE *f, uint8_t view)
{
	if (view == ORACLE_OUTSIDE)
		fputs("U", f);
	else
		fprintf(f, "P(%u)", view);
}

static void print_line(const struct oracle *o, FILE *f, unsigned vcpu, const struct oracle_line *l)
{
	char site[160];

	fprintf(f, "vcpu=%u %s at %s: %s, ", vcpu, o_event_name(l->event),
		place_name(o, l->rip, site, sizeof(site)), o_verdict_name(l->verdict));
	print_view(f, l->from);
	fputc('>', f);
	print_view(f, l->to);
	fprintf(f, " act=%u\n", l->act);
}

static void print_registers(FILE *f, const struct oracle_cpu *c)
{
	static const char *const names[ORACLE_GPRS] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp",
							"rsi", "rdi", "r8",  "r9",  "r10", "r11",
							"r12", "r13", "r14", "r15" };

	for (unsigned i = 0; i < ORACLE_GPRS; i++)
		fprintf(f, "%s%s=0x%llx", i % 4 ? " " : "\n    ", names[i],
			(unsigned long long)c->gpr[i]);
	fprintf(f, "\n    rip=0x%llx rflags=0x%llx cr0=0x%llx cr3=0x%llx cr4=0x%llx cpl=%u\n",
		(unsigned long long)c->rip, (unsigned long long)c->rflags,
		(unsigned long long)c->cr0, (unsigned long long)c->cr3, (unsigned long long)c->cr4,
		c->cpl);
}

static void core_story(const struct oracle *o, FILE *f)
{
	static const char *const kinds[] = {
		[ORACLE_X] = "an X was executed",
		[ORACLE_FETCH] = "the view refused a fetch",
		[ORACLE_DEPART] = "an event is about to be delivered",
		[ORACLE_TOUCH] = "a stand-in was read or written",
	};

	if (!o->event) {
		fputs("  no event was being judged\n", f);
		return;
	}
	fprintf(f, "  event: %s", kinds[o->event->kind]);
	if (o->event->kind == ORACLE_DEPART && o->event->cause < GUARD_NCAUSES)
		fprintf(f, " (%s, vector %u)", cause_names[o->event->cause], o->event->vector);
	print_registers(f, &o->event->cpu);
	if (!o->outcome)
		return;
	fputs("  the core said:\n", f);
	for (unsigned i = 0; i < o->outcome->lines; i++) {
		fputs("    ", f);
		print_line(o, f, o->event->vcpu, &o->outcome->line[i]);
	}
	if (!o->outcome->lines)
		fputs("    nothing\n", f);
	fputs("  the engine then has view ", f);
	print_view(f, o->outcome->view);
	print_registers(f, &o->outcome->cpu);
}

void o_complain(struct oracle *o, const char *what, unsigned vcpu, uint64_t rip, const char *fmt,
		...)
{
	char text[400], site[160];
	size_t size = 0;
	va_list ap;
	FILE *f;

	if (o->failure || o->lost)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	f = open_memstream(&o->line, &size);
	if (f) {
		fprintf(f, "oracle: %s: %s", what, text);
		fclose(f);
	}
	f = open_memstream(&o->failure, &size);
	if (!f)
		return;
	fprintf(f, "the oracle and the core disagree: %s\n", what);
	fprintf(f, "  the oracle says: vcpu=%u at %s: %s\n", vcpu,
		place_name(o, rip, site, sizeof(site)), text);
	if (vcpu < o->vcpus) {
		const struct o_vcpu *v = &o->vcpu[vcpu];

		fputs("  by its own account the vCPU is ", f);
		if (v->chain)
			fprintf(f,
				"inside module %u, activation %u, since a crossing at slot 0x%llx\n",
				v->module->index, v->chain->act[v->chain->depth - 1].serial,
				(unsigned long long)v->chain->act[v->chain->depth - 1].slot);
		else
			fputs("outside\n", f);
	}
	core_story(o, f);
	fputs("  last crossings:\n", f);
	for (unsigned i = o->npast > O_HISTORY ? o->npast - O_HISTORY : 0; i < o->npast; i++) {
		const struct o_past *p = &o->past[i % O_HISTORY];

		fputs("    ", f);
		print_line(o, f, p->vcpu, &p->line);
	}
	fclose(f);
}

const char *oracle_failure(const struct oracle *o)
{
	return o->failure;
}

const char *oracle_failure_line(const struct oracle *o)
{
	return o->failure ? o->line : NULL;
}

uint64_t oracle_generation(const struct oracle *o)
{
	return o->generation;
}

void oracle_count(const struct oracle *o, struct oracle_counts *c)
{
	*c = o->counts;
}

/* ---- events ---- */

void oracle_before(struct oracle *o, const struct oracle_event *ev)
{
	o->nundo = o->nraises = o->nlowers = 0;
	o->judging = true;
	o->event = ev;
	o->outcome = NULL;
	o->init_moved = o->failed = false;
	for (unsigned i = 0; i < o->top; i++)
		o->module[i].asked = o->module[i].ran = false;
	for (unsigned v = 0; v < o->vcpus; v++)
		if (o->vcpu[v].module)
			o->vcpu[v].module->ran = true;
	for (unsigned i = 0; ev->kind == ORACLE_FETCH && i < o->top; i++) {
		const struct o_module *m = &o->module[i];

		o->init_moved |= m->announced && o_init_done(m) && !m->init_gone &&
				 o_init_moved(o, m, ev->cpu.cr3);
	}
}

/* ---- the reference model's word ---- */

static const char *verdict_or_text(enum guard_verdict v)
{
	return v == GUARD_NVERDICTS ? "again, or what its text deserves" : o_verdict_name(v);
}

static bool text_verdict(enum guard_verdict v)
{
	return v == GUARD_V_OK || v == GUARD_V_AGAIN || v == GUARD_V_BAD_TEXT ||
	       v == GUARD_V_BAD_MAPPING || v == GUARD_V_OVERLAP;
}

/* Is this line what the model says comes next? */
static void line_predicted(struct oracle *o, struct ref *r, const struct oracle_line *l)
{
	struct ref_line want;

	if (l->event == GUARD_VERIFY)
		return;
	ref_next(r, &want);
	o->counts.predicted++;
	if (want.none)
		o_complain(o, "reference model", r->ev->vcpu, l->rip,
			   "nothing more is judged here");
	else if (want.event != l->event || want.module != l->module ||
		 (want.verdict == GUARD_NVERDICTS ? !text_verdict(l->verdict)
						  : want.verdict != l->verdict))
		o_complain(o, "reference model", r->ev->vcpu, l->rip, "%s of module %u: %s%s%s",
			   o_event_name(want.event), want.module, verdict_or_text(want.verdict),
			   want.why ? ", since " : "", want.why ? want.why : "");
}

static void rest_predicted(struct oracle *o, struct ref *r, const struct oracle_outcome *out)
{
	struct ref_line want;
	unsigned vcpu = r->ev->vcpu;
	uint64_t rip = r->ev->cpu.rip;

	ref_next(r, &want);
	if (!want.none) {
		o_complain(o, "reference model", vcpu, rip, "%s of module %u must be judged: %s",
			   o_event_name(want.event), want.module, verdict_or_text(want.verdict));
		return;
	}
	if (o->vcpu[vcpu].stopped || out->stop >> vcpu & 1)
		return;
	if (out->inject_gp != r->gp)
		o_complain(o, "reference model", vcpu, rip,
			   r->gp ? "the guest gets #GP" : "the guest gets no #GP");
	if (out->foreign != r->foreign)
		o_complain(o, "reference model", vcpu, rip,
			   r->foreign ? "this is nobody's event" : "this is the guard's event");
	if (out->cpu.rip != r->now.rip)
		o_complain(o, "reference model", vcpu, rip, "RIP is 0x%llx then",
			   (unsigned long long)r->now.rip);
	if (out->cpu.rflags != r->now.rflags)
		o_complain(o, "reference model", vcpu, rip, "RFLAGS are 0x%llx then",
			   (unsigned long long)r->now.rflags);
	for (unsigned i = 0; i < ORACLE_GPRS; i++)
		if ((i || r->registers) && out->cpu.gpr[i] != r->now.gpr[i])
			o_complain(o, "reference model", vcpu, rip, "register %u is 0x%llx then", i,
				   (unsigned long long)r->now.gpr[i]);
}

/* A refused raise changes nothing; nothing but slots is ever written. */
static void writes_allowed(struct oracle *o, const struct oracle_event *ev,
			   const struct oracle_outcome *out)
{
	uint64_t slot = ev->cpu.gpr[ORACLE_RSP];
	bool may = false;

	for (unsigned i = 0; i < out->lines; i++) {
		const struct oracle_line *l = &out->line[i];

		may |= l->event == GUARD_LEAVE_CALL || l->event == GUARD_LEAVE_RETURN ||
		       (l->event == GUARD_ENTER_CALL && l->verdict == GUARD_V_OK);
		/* a return by no gate has popped its slot already */
		if (l->event == GUARD_LEAVE_RETURN && l->verdict == GUARD_V_OK &&
		    l->module < ORACLE_MODULES && !o_gate_at(&o->module[l->module], ev->cpu.rip))
			slot -= 8;
	}
	/* a word that could not be put back stops the vCPU */
	for (unsigned i = 0; i < o->nundo && !(out->stop >> ev->vcpu & 1); i++) {
		struct o_undo *u = &o->undo[i];
		bool again = false;
		uint8_t now[8];
		struct o_map map;

		/* the first write has the bytes from before; a later one may have put them back */
		for (unsigned k = 0; k < i; k++)
			again |= o->undo[k].gpa == u->gpa;
		if (again)
			continue;
		if (!o->cb.ram(o->cb.ctx, u->gpa, now, u->len) || !memcmp(now, u->old, u->len))
			continue;
		o_map(o, ev->cpu.cr3, slot, &map);
		if (!may)
			o_complain(o, "G5 continuity", ev->vcpu, ev->cpu.rip,
				   "the guard refuses and has written to 0x%llx all the same",
				   (unsigned long long)u->gpa);
		else if (!map.flags || map.gpa + slot % PAGE != u->gpa)
			o_complain(o, "G6 VMM safety", ev->vcpu, ev->cpu.rip,
				   "the guard writes to 0x%llx, which is not the slot",
				   (unsigned long long)u->gpa);
	}
}

/* Has init memory some frame left, though it may have lost others? */
static bool init_kept(const struct o_module *m)
{
	for (uint32_t p = 0; p < m->man.pages; p++)
		if (m_init(m->man.segment[m_segment_of(&m->man, p * PAGE)].kind) &&
		    m->frame[p] != NO_FRAME)
			return true;
	return false;
}

static void text_after(struct oracle *o, const struct oracle_event *ev)
{
	for (unsigned i = 0; i < o->top; i++) {
		struct o_module *m = &o->module[i];
		const char *wrong = NULL;
		uint32_t where;

		if (o->copy_changed[i] && m->announced)
			wrong = o_text_wrong(o, m, &where);
		o->copy_changed[i] = false;
		if (wrong)
			o_complain(o, "G4 binding", ev->vcpu, ev->cpu.rip,
				   "module %u now runs what was not registered, at 0x%llx: %s", i,
				   (unsigned long long)o_gva(m, where), wrong);
		if (m->released && m->announced)
			o_complain(o, "G3 privacy", ev->vcpu, ev->cpu.rip,
				   "frames of module %u are given back while it is announced", i);
		if (m->init_released && m->announced &&
		    (o->failed || (m->init_left && o_init_done(m))))
			m->init_gone = true; /* or by a translation that failed it seemed so */
		else if (m->init_released && m->announced)
			o_complain(o, "G3 privacy", ev->vcpu, ev->cpu.rip,
				   "init memory of module %u is given back and still lies there",
				   i);
		/* a frame that could not be given back: it is tried again another time */
		if (o->failed && m->announced && init_kept(m))
			m->init_gone = false;
		m->released = m->init_released = m->init_left = false;
	}
}

/* The view that the line tells is the one that it leads to. */
static void line_ends(struct oracle *o, const struct oracle_event *ev,
		      const struct oracle_outcome *out, unsigned n)
{
	const struct o_vcpu *v = &o->vcpu[ev->vcpu];
	const struct oracle_line *l = &out->line[n];
	uint8_t is = v->module ? (uint8_t)v->module->index : ORACLE_OUTSIDE;

	if (l->to != is && !(out->stop >> ev->vcpu & 1))
		o_complain(o, "G2 exit", ev->vcpu, l->rip, "%s %s leads to view %u, not %u",
			   o_event_name(l->event), o_verdict_name(l->verdict), is, l->to);
	if (l->verdict == GUARD_V_OK && v->chain && l->event <= GUARD_RESUME &&
	    l->act != v->chain->act[v->chain->depth - 1].serial && l->event != GUARD_LEAVE_RETURN)
		o_complain(o, "G7 transparency", ev->vcpu, l->rip,
			   "this is activation %u, and the log says %u",
			   v->chain->act[v->chain->depth - 1].serial, l->act);
}

void oracle_after(struct oracle *o, const struct oracle_event *ev, const struct oracle_outcome *out)
{
	bool model = o->mode == ORACLE_MODEL && !o->failed;
	struct oracle_event now = *ev; /* as the line finds it: one may change it for the next */
	struct ref r;

	o->counts.events++;
	o->outcome = out;
	o_looks(o, true);
	ref_begin(&r, o, ev);
	if (o->vcpu[ev->vcpu].stopped && out->lines)
		o_complain(o, "G6 VMM safety", ev->vcpu, ev->cpu.rip,
			   "a vCPU that could not be lowered is judged again");
	if (o->mode == ORACLE_MODEL)
		ref_verify(o, ev, out);
	for (unsigned i = 0; i < out->lines && !o->failure; i++) {
		o->counts.lines++;
		if (model)
			line_predicted(o, &r, &out->line[i]);
		if (!o->failure)
			o_line(o, &now, out, i);
		if (!o->failure)
			line_ends(o, ev, out, i);
		o->past[o->npast++ % O_HISTORY] = (struct o_past){ ev->vcpu, out->line[i] };
	}
	if (model && !o->failure)
		rest_predicted(o, &r, out);
	o_stopped(o, out->stop);
	if (!o->failure) {
		writes_allowed(o, ev, out);
		text_after(o, ev);
		o_view_is_true(o, ev->vcpu, ev->cpu.rip, out->view);
	}
	o_looks(o, false);
	o->judging = false;
	o->event = NULL;
	o->outcome = NULL;
	o->nundo = 0;
}
