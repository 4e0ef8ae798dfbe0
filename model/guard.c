/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The core's door for guests: which event is this, whose is it, and what is told afterwards.
 * Everything that a guest does comes in through guard_judge().
 */
#include "model/internal.h"

void guard_start(struct ctx *c, struct guard *g, unsigned vcpu, enum guard_cause cause,
		 const struct guard_event *ev, struct guard_decision *d)
{
	*c = (struct ctx){
		.g = g, .d = d, .ev = ev, .vcpu = vcpu, .v = &g->vcpu[vcpu], .cause = cause
	};
	d->verdict = GUARD_V_OK;
	d->inject_gp = d->foreign = d->stop_vcpu = d->stop_vm = false;
	d->kick = d->stop = 0;
	d->nlines = 0;
}

uint8_t guard_ctx_view(const struct ctx *c)
{
	return c->v->module ? (uint8_t)c->v->module->index : GUARD_VIEW_U;
}

/*
 * Adds the line of one judged event and returns its verdict. What was noted about the exchange
 * belongs to this line alone.
 */
enum guard_verdict guard_log(struct ctx *c, enum guard_event_name e, const struct module *m,
			     uint8_t from, uint64_t rip, enum guard_verdict verdict)
{
	struct guard_decision *d = c->d;
	struct guard_line *l;

	d->verdict = verdict;
	/* one event makes at most an exit, a resumption, two text warnings and a crossing */
	l = &d->line[d->nlines++];
	l->event = e;
	l->verdict = verdict;
	l->cause = c->cause;
	l->module = m ? (uint8_t)m->index : GUARD_VIEW_U;
	l->from = from;
	l->to = guard_ctx_view(c);
	l->act = c->act;
	l->rip = rip;
	l->slot = c->slot;
	l->old_word = c->old_word;
	l->new_word = c->new_word;
	c->act = 0;
	c->slot = c->old_word = c->new_word = 0;
	return verdict;
}

static void finish(struct ctx *c)
{
	c->d->view = guard_ctx_view(c);
	c->d->stop_vcpu = c->v->stopped;
}

static struct module *text_at(struct guard *g, uint64_t rip)
{
	uint32_t moff;

	for (unsigned i = 0; i < g->modules; i++)
		if (g->module[i].state == MODULE_ANNOUNCED &&
		    module_executes(&g->module[i], rip, &moff))
			return &g->module[i];
	return NULL;
}

/* The module whose gate pages hold this address; one that is announced goes before a memory. */
static struct module *gates_at(struct guard *g, uint64_t rip)
{
	struct module *remembered = NULL;

	for (unsigned i = 0; i < g->modules; i++) {
		struct module *m = &g->module[i];

		if (rip - m->gates_gva >= m->gates_bytes)
			continue;
		if (m->state == MODULE_ANNOUNCED)
			return m;
		if (m->state != MODULE_NONE)
			remembered = m;
	}
	/* other code may lie there by now */
	return text_at(g, rip) ? NULL : remembered;
}

/* The return gate of a module that was unregistered, if no other's code lies there by now. */
static const struct gone *gone_at(struct guard *g, uint64_t rip)
{
	for (unsigned i = 0; i < 2 * GUARD_MAX_MODULES; i++)
		if (g->gone[i].kind != GM_GATE_PAD && g->gone[i].x == rip)
			return text_at(g, rip) ? NULL : &g->gone[i];
	return NULL;
}

static enum guard_verdict status(struct ctx *c, uint64_t id)
{
	const struct module *m = module_by_id(c->g, id);

	if (!m) {
		c->d->cpu.gpr[GUARD_RAX] = GUARD_V_UNKNOWN_MODULE;
		return GUARD_V_UNKNOWN_MODULE;
	}
	c->d->cpu.gpr[GUARD_RAX] = GUARD_STATUS_REGISTERED |
				   (m->state == MODULE_ANNOUNCED ? GUARD_STATUS_ANNOUNCED : 0) |
				   (m->quarantined ? GUARD_STATUS_QUARANTINED : 0);
	return GUARD_V_OK;
}

/* A numbered hypercall: an X that is nobody's gate. */
static void hypercall(struct ctx *c)
{
	/* the arguments as they were: an exit that was judged first may have scrubbed them */
	const uint64_t *arg = c->ev->cpu.gpr;
	struct guard_cpu *cpu = &c->d->cpu;
	uint64_t number = arg[GUARD_RAX], id = arg[GUARD_RBX], rip = cpu->rip;
	struct module *m = module_by_id(c->g, id);
	uint8_t from = guard_ctx_view(c);
	enum guard_event_name e = GUARD_ANNOUNCE;
	enum guard_verdict v;

	if (number < GUARD_CALL_ANNOUNCE || number > GUARD_CALL_STATUS) {
		c->d->foreign = true;
		return;
	}
	if (number == GUARD_CALL_WITHDRAW)
		e = GUARD_WITHDRAW;
	if (cpu->cpl != 0 || cpu->mode != GUARD_MODE_64) {
		guard_log(c, e, m, from, rip, GUARD_V_BAD_MODE);
		c->d->inject_gp = true;
		return;
	}
	cpu->rip += GM_X_BYTES;
	if (number == GUARD_CALL_STATUS) {
		c->d->verdict = status(c, id);
		return;
	}
	if (number == GUARD_CALL_ANNOUNCE)
		v = announce(c, id, arg[GUARD_RCX], arg[GUARD_RDX]);
	else
		v = m ? withdraw(c, m) : GUARD_V_UNKNOWN_MODULE;
	cpu->gpr[GUARD_RAX] = v;
	guard_log(c, e, m, from, rip, v);
}

static void judge_x(struct ctx *c)
{
	uint64_t rip = c->d->cpu.rip;
	struct module *m = gates_at(c->g, rip);
	const struct gone *gone;
	uint32_t moff;

	/* an engine without execute control of the outside shows an exit only here */
	if (c->v->chain && c->v->module != m && !module_executes(c->v->module, rip, &moff))
		cross_fetch_outside(c);
	if (c->v->stopped)
		return;
	if (m) {
		if (cross_at_gate(c, m, rip) != GUARD_V_OK)
			c->d->inject_gp = true;
		return;
	}
	gone = gone_at(c->g, rip);
	if (!gone) {
		hypercall(c);
		return;
	}
	guard_log(c, gone->kind == GM_GATE_LEAVE_RETURN ? GUARD_LEAVE_RETURN : GUARD_ENTER_RETURN,
		  NULL, GUARD_VIEW_U, rip, GUARD_V_UNANNOUNCED);
	c->d->inject_gp = true;
}

/* An unprivileged fetch of m's text: a way back in, an entry of an unwrapped module, or nothing. */
static enum guard_verdict fetch_inside(struct ctx *c, struct module *m)
{
	const struct guard_cpu *cpu = &c->d->cpu;
	uint64_t rip = cpu->rip, rsp = cpu->gpr[GUARD_RSP];
	const struct chain *out = chain_callout(m, rsp - 8);
	const struct gm_entry *entry = NULL;
	uint32_t differ, moff = 0, i;

	if (m->man->flags & GM_FLAG_VIEWS) {
		module_executes(m, rip, &moff); /* it does: this is how m was found */
		i = gm_find(m->entries, m->man->entries.count, sizeof(struct gm_entry), moff);
		if (i < m->man->entries.count && m->entries[i].moff == moff)
			entry = &m->entries[i];
	}
	if (chain_departed(m, rip, rsp, &differ)) {
		enum guard_verdict v = resume(c, m, !entry);

		/* as at a gate's X: who departed here and died may have left a fresh caller */
		if (v == GUARD_V_OK || !entry)
			return v;
	}
	if (out && out->raw && out->rip == rip)
		return cross_done(c, GUARD_ENTER_RETURN, m, GUARD_VIEW_U, rip,
				  cross_enter_return(c, m, true));
	if (entry)
		return cross_done(c, GUARD_ENTER_CALL, m, GUARD_VIEW_U, rip,
				  cross_enter_call(c, m, entry, true));
	return resume(c, m, true);
}

static void judge_fetch(struct ctx *c)
{
	struct module *m;

	if (c->v->chain) {
		/* lowered in any case; a wild exit simply goes on outside */
		enum guard_verdict v = cross_fetch_outside(c);

		c->d->inject_gp = v != GUARD_V_OK && v != GUARD_V_WILD_EXIT;
		return;
	}
	m = text_at(c->g, c->d->cpu.rip);
	if (init_drop_all(c)) {
		c->d->foreign = true; /* its frames are the guest's again: fetch once more */
		return;
	}
	if (!m)
		guard_log(c, GUARD_RESUME, NULL, GUARD_VIEW_U, c->d->cpu.rip, GUARD_V_BAD_MAPPING);
	else
		fetch_inside(c, m);
	c->d->inject_gp = c->d->verdict != GUARD_V_OK;
}

static bool hides(const struct module *m, uint64_t gpa)
{
	for (unsigned p = 0; p < m->man->privileges.count; p++)
		if (m->privileges[p].kind == GM_PRIV_DEVICE && m->binding.bound & 1ull << p &&
		    gpa - m->binding.resource[p].base < m->binding.resource[p].length)
			return true;
	for (unsigned s = 0; s < m->nsegments; s++) {
		uint32_t first = m->segments[s].start / GM_PAGE;

		for (uint32_t n = 0; n < gm_seg_pages(&m->segments[s]); n++)
			if (m->segments[s].kind == GM_SEG_PRIVATE &&
			    m->frame[first + n] == PAGE_OF(gpa))
				return true;
	}
	return false;
}

/* Whose resource was touched: a bound device's or a hidden page's, else of who runs here. */
static struct module *owner_of(struct ctx *c, uint64_t gpa)
{
	for (unsigned i = 0; i < c->g->modules; i++)
		if (c->g->module[i].state != MODULE_NONE && hides(&c->g->module[i], gpa))
			return &c->g->module[i];
	return c->v->module;
}

static void judge_touch(struct ctx *c, uint64_t gpa)
{
	struct module *m = owner_of(c, gpa);

	if (m)
		m->touches++;
	guard_log(c, GUARD_TOUCH, m, guard_ctx_view(c), c->d->cpu.rip, GUARD_V_NOT_PRIVILEGED);
}

static enum guard_cause cause_of(const struct guard_event *ev)
{
	switch (ev->type) {
	case GUARD_EV_X: return GUARD_CAUSE_X;
	case GUARD_EV_FETCH: return GUARD_CAUSE_FETCH;
	case GUARD_EV_TOUCH: return GUARD_CAUSE_ACCESS;
	default: return ev->cause;
	}
}

void guard_judge(struct guard *g, const struct guard_event *ev, struct guard_decision *d)
{
	struct ctx c;

	guard_start(&c, g, ev->vcpu < g->vcpus ? ev->vcpu : 0, cause_of(ev), ev, d);
	d->cpu = ev->cpu;
	if (ev->vcpu >= g->vcpus || c.v->stopped) {
		/* no such vCPU, or one that may never run again */
		d->stop_vcpu = true;
		d->view = GUARD_VIEW_U;
		d->verdict = GUARD_V_LOWER_FAILED;
		return;
	}
	switch (ev->type) {
	case GUARD_EV_X: judge_x(&c); break;
	case GUARD_EV_FETCH: judge_fetch(&c); break;
	case GUARD_EV_TOUCH: judge_touch(&c, ev->gpa); break;
	default:
		if (c.v->chain)
			depart(&c);
		else
			d->foreign = true;
		break;
	}
	finish(&c);
}

bool guard_module_info(const struct guard *g, unsigned index, struct guard_module_info *info)
{
	const struct module *m = &g->module[index % GUARD_MAX_MODULES];

	if (index >= GUARD_MAX_MODULES || m->state == MODULE_NONE)
		return false;
	*info = (struct guard_module_info){ .id = m->id,
					    .announced = m->state == MODULE_ANNOUNCED,
					    .quarantined = m->quarantined,
					    .running = m->running,
					    .touches = m->touches };
	memcpy(info->base, m->base, sizeof(info->base));
	for (uint32_t i = 0; i < m->binding.policy.chains; i++)
		info->suspended += m->chains[i].state == CHAIN_CALLOUT ||
				   m->chains[i].state == CHAIN_DEPARTED;
	return true;
}

uint8_t guard_view(const struct guard *g, unsigned vcpu)
{
	if (vcpu >= g->vcpus || !g->vcpu[vcpu].chain)
		return GUARD_VIEW_U;
	return (uint8_t)g->vcpu[vcpu].module->index;
}
