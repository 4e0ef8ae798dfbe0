/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is inside what. Each line of the core's log claims that something happened at this event;
 * here the claim meets what the oracle knows: the event, the registers, guest memory, its own
 * records. Only then does the truth change. A refusal needs no proof, since nobody gets in by it.
 */
#include <stddef.h>
#include <string.h>

#include "oracle/state.h"

#define PRESERVED_C (1u << 3 | 1u << 5 | 0xf000u) /* RBX, RBP, R12 to R15 */
#define FLAG_RF (1ull << 16)

/* What the handlers of single lines share. */
struct claim {
	struct oracle *o;
	const struct oracle_event *ev;
	struct oracle_event *next; /* the same; for what a line changes for those behind it */
	const struct oracle_outcome *out;
	const struct oracle_line *line;
	bool last; /* of this event: the outcome's registers are this line's doing */
	struct o_vcpu *v;
	struct o_module *m;
	const struct m_gate *gate; /* whose X is at RIP, NULL: none */
};

static void wrong(const struct claim *c, const char *what, const char *why)
{
	o_complain(c->o, what, c->ev->vcpu, c->ev->cpu.rip, "%s %s: %s",
		   o_event_name(c->line->event), o_verdict_name(c->line->verdict), why);
}

static uint64_t rsp(const struct claim *c)
{
	return c->ev->cpu.gpr[ORACLE_RSP];
}

/* ---- records ---- */

/* Do all return addresses of a suspended chain still lie there, seen from here? */
static bool intact(const struct claim *c, const struct o_chain *ch, struct o_word *bad)
{
	for (unsigned i = 0; i < ch->nshadow; i++) {
		uint64_t now;

		*bad = ch->shadow[i];
		if (!o_word(c->o, c->ev->cpu.cr3, bad->gva, true, &now) || now != bad->value)
			return false;
	}
	return true;
}

static bool stale(const struct claim *c, const struct o_chain *ch)
{
	struct o_word bad;

	return (ch->state == O_CALLOUT || ch->state == O_DEPARTED) &&
	       (!intact(c, ch, &bad) || !o_words_hold(c->o, ch, c->ev->cpu.cr3));
}

/* ---- on the way in ---- */

/* What every raise needs. */
static const char *raise_wrong(const struct claim *c, const struct o_chain *record)
{
	const struct o_module *m = c->m;
	const char *why;

	if (!m->announced)
		return "the module is not announced";
	if (m->quarantined)
		return "the module is quarantined";
	why = o_mode_wrong(m, &c->ev->cpu);
	if (!why && c->line->event != GUARD_RESUME)
		why = o_flags_wrong(&c->ev->cpu, record);
	return why ? why : o_mapping_wrong(c->o, m, c->ev->cpu.cr3);
}

static void runs(struct claim *c, struct o_chain *ch, uint64_t lo)
{
	const struct oracle *o = c->o;

	/* one event leads in once at most, and what was raised before that was refused */
	if (!c->v->chain && o->nraises && !o->raise_ok[o->nraises - 1])
		wrong(c, "G6 VMM safety", "the platform could not raise, and yet the module runs");
	ch->state = O_RUNNING;
	c->v->chain = ch;
	c->v->module = c->m;
	o_extent(c->o, ch, c->ev->cpu.cr3, lo, ch->act[0].slot + 8);
}

/* Registers of a record: unchanged, or (scrub) put back. */
static const char *registers_wrong(const struct claim *c, const struct o_chain *ch, uint32_t check)
{
	for (unsigned i = 0; i < ORACLE_GPRS; i++) {
		if (!(check >> i & 1) || i == ORACLE_RSP)
			continue;
		if (c->m->binding.registers == 0 && c->ev->cpu.gpr[i] != ch->gpr[i])
			return "a register is not what it was";
		if (c->m->binding.registers == 1 && c->last && c->out->cpu.gpr[i] != ch->gpr[i])
			return "a register is not put back";
	}
	return NULL;
}

/* A suspended chain goes on. `lo`: of its extent from now on. */
static void comes_back(struct claim *c, struct o_chain *ch, uint64_t lo, uint32_t check)
{
	struct o_word bad;
	const char *why;

	if (c->m->binding.stack != 2 && !intact(c, ch, &bad)) {
		o_complain(c->o, "G5 continuity", c->ev->vcpu, c->ev->cpu.rip,
			   "%s is accepted though the return address at 0x%llx has changed",
			   o_event_name(c->line->event), (unsigned long long)bad.gva);
		return;
	}
	why = o_words_hold(c->o, ch, c->ev->cpu.cr3) ? registers_wrong(c, ch, check)
						     : "a word that leads home has changed";
	if (!why && ch->state == O_DEPARTED && ((c->ev->cpu.rflags ^ ch->rflags) & ~FLAG_RF))
		why = "RFLAGS are not what they were";
	if (why)
		wrong(c, "G5 continuity", why);
	runs(c, ch, lo);
}

static uint64_t lowest(const struct o_chain *ch, uint64_t lo)
{
	const struct o_act *tip = &ch->act[ch->depth - 1];

	return tip->slot - tip->headroom < lo ? tip->slot - tip->headroom : lo;
}

static void enter_return(struct claim *c)
{
	bool raw = c->ev->kind == ORACLE_FETCH;
	uint64_t slot = rsp(c) - (raw ? 8 : 0), lo;
	struct o_chain *ch = o_callout_at(c->m, slot);
	const char *why;

	if (!raw && (!c->gate || c->gate->kind != G_ENTER_RETURN)) {
		wrong(c, "G1 entry", "this is no enter-return gate");
		return;
	}
	if (c->v->chain || !ch || ch->raw != raw) {
		wrong(c, "G1 entry", "no live record waits at this slot");
		return;
	}
	lo = lowest(ch, slot - 512);
	why = raise_wrong(c, ch);
	if (!why)
		why = o_stack_wrong(c->o, c->ev->cpu.cr3, slot, lo, ch->hi, NULL);
	if (why) {
		wrong(c, "G1 entry", why);
		return;
	}
	if (c->last && (c->out->cpu.rip != ch->rip || c->out->cpu.gpr[ORACLE_RSP] != slot + 8)) {
		wrong(c, "G5 continuity", "the module goes on elsewhere than after its call");
		return;
	}
	comes_back(c, ch, lo, ch->preserve);
}

static void resume(struct claim *c)
{
	uint32_t set;
	struct o_chain *ch = o_departed_at(c->m, c->ev->cpu.rip, rsp(c), &set);
	const char *why;
	uint64_t lo;

	if (c->v->chain || !ch) {
		wrong(c, "G1 entry", "nobody has departed here");
		return;
	}
	lo = lowest(ch, rsp(c));
	why = raise_wrong(c, NULL);
	if (!why)
		why = o_overlap_wrong(c->o, c->ev->cpu.cr3, lo, ch->hi, ch);
	if (why) {
		wrong(c, "G1 entry", why);
		return;
	}
	if (c->last &&
	    (c->out->cpu.rip != c->ev->cpu.rip || c->out->cpu.gpr[ORACLE_RSP] != rsp(c))) {
		wrong(c, "G5 continuity", "the module goes on elsewhere than where it was");
		return;
	}
	/* Under scrub the crossing that is judged next finds the module's registers, put back. */
	for (unsigned i = 0; c->m->binding.registers == 1 && i < ORACLE_GPRS; i++)
		if (!c->last && i != ORACLE_RSP && !(set >> i & 1))
			c->next->cpu.gpr[i] = ch->gpr[i];
	comes_back(c, ch, lo, 0xffffu & ~set);
}

/* ---- entries ---- */

static const struct m_entry *entry_here(const struct claim *c)
{
	uint32_t moff;

	if (c->gate)
		return c->gate->kind == G_ENTER ? &c->m->man.entry[c->gate->index] : NULL;
	if (!(c->m->man.flags & M_VIEWS) || !o_in_text(c->m, c->ev->cpu.rip, &moff))
		return NULL;
	for (uint32_t i = 0; i < c->m->man.nentries; i++)
		if (c->m->man.entry[i].moff == moff)
			return &c->m->man.entry[i];
	return NULL;
}

static const char *return_wrong(const struct claim *c, uint64_t word, const struct o_chain *out)
{
	unsigned segment;
	uint32_t moff;

	if (c->v->chain)
		return o_retsite(c->m, word) ? NULL : "it would return to no return site";
	if (word < KERNEL_HALF)
		return "it would return outside of the kernel half";
	if (!o_moff(c->m, word, &moff, &segment))
		return NULL;
	if (out && word == (out->raw ? out->rip : c->m->gates_gva + c->m->enter_return))
		return NULL;
	return "it would return into the module";
}

/*
 * A record's place: a free one, one that dies by this entry at gpa, or one that could not come back
 * any more: of several the first, and places as they were before the entry. Which one it is shows,
 * where init waits in one of them.
 */
static struct o_chain *room(const struct claim *c, uint64_t gpa)
{
	for (unsigned pass = 0; pass < 3; pass++)
		for (uint32_t i = 0; i < c->m->binding.chains; i++) {
			struct o_chain *ch = &c->m->chain[i];
			bool waits = ch->state == O_CALLOUT || ch->state == O_DEPARTED;

			if (pass == 0	? ch->state == O_FREE
			    : pass == 1 ? waits && o_extent_holds(ch, gpa)
					: stale(c, ch)) {
				/* one that could not be read seemed stale, too: which it took? */
				c->o->lost |= pass == 2 && c->o->failed;
				o_end(ch);
				return ch;
			}
		}
	return NULL;
}

static void begin(struct claim *c, const struct m_entry *e, bool raw, uint64_t word)
{
	struct o_module *m = c->m;
	struct o_chain *ch = c->v->chain;
	uint64_t slot = rsp(c), headroom = e->headroom;
	struct o_act *tip = ch ? &ch->act[ch->depth - 1] : NULL;
	bool own = tip && slot == tip->slot;
	struct o_map map;

	if (own && tip->headroom > headroom)
		headroom = tip->headroom;
	o_map(c->o, c->ev->cpu.cr3, slot, &map);
	if (ch) {
		o_kill_entered(m, map.gpa + slot % PAGE);
	} else {
		ch = room(c, map.gpa + slot % PAGE);
		if (!ch) {
			if (c->o->failed) /* it took one that it could not read */
				c->o->lost = true;
			else
				wrong(c, "G6 VMM safety",
				      "there is no room for another activation");
			return;
		}
		o_kill_entered(m, map.gpa + slot % PAGE);
		{
			uint8_t *exact = ch->exact;

			/* of the shadow stack and the words nothing counts beyond their numbers */
			memset(ch, 0, offsetof(struct o_chain, shadow));
			memset(&ch->shadow_lost, 0,
			       offsetof(struct o_chain, words) -
				       offsetof(struct o_chain, shadow_lost));
			ch->has_exact = false;
			ch->exact_lo = 0;
			ch->exact = exact;
		}
	}
	if (!own) {
		if (ch->depth == O_NEST) {
			wrong(c, "G6 VMM safety", "activations are nested too deeply");
			return;
		}
		ch->act[ch->depth++] = (struct o_act){ .slot = slot,
						       .word = word,
						       .serial = ++m->serial,
						       .raw = raw,
						       .init = e->flags & M_INIT_CODE };
		o_push(ch, slot, raw ? word : m->gates_gva + m->leave_return);
	}
	tip = &ch->act[ch->depth - 1];
	tip->headroom = (uint32_t)headroom;
	m->init_used |= (e->flags & M_ENTRY_INIT) != 0;
	runs(c, ch, slot - headroom);
}

/* Init code is there, is not entered from inside, and its time has come and is not over. */
static const char *init_wrong(const struct claim *c, const struct m_entry *e)
{
	if (c->v->chain)
		return "init code is entered from inside";
	if (!o_has(c->m, m_segment_of(&c->m->man, e->moff)))
		return "init code is gone";
	if (e->flags & M_ENTRY_INIT)
		return c->m->init_used ? "init is entered a second time" : NULL;
	return o_init_lives(c->m, M_ENTRY_INIT) ? NULL : "init code is called, and init is not";
}

static void enter_call(struct claim *c)
{
	const struct m_entry *e = entry_here(c);
	bool raw = !c->gate;
	uint64_t slot = rsp(c), word = 0, now = 0, headroom;
	struct o_chain *ch = c->v->chain, *out = o_callout_at(c->m, slot);
	struct o_act *tip = ch ? &ch->act[ch->depth - 1] : NULL;
	bool own = tip && slot == tip->slot;
	const char *why;

	if (!e || (ch && c->v->module != c->m)) {
		wrong(c, "G1 entry", "this is no enter gate of the module");
		return;
	}
	headroom = own && tip->headroom > e->headroom ? tip->headroom : e->headroom;
	why = raise_wrong(c, NULL);
	if (!why && (e->flags & M_INIT_CODE))
		why = init_wrong(c, e);
	if (!why && tip && slot > tip->slot)
		why = "the slot is above the running activation";
	if (!why)
		why = o_stack_wrong(c->o, c->ev->cpu.cr3, slot, slot - headroom,
				    ch ? ch->hi : slot + 8, ch);
	if (!why && !o_word(c->o, c->ev->cpu.cr3, slot, true, &word))
		why = "the slot cannot be read";
	if (!why && !own)
		why = return_wrong(c, word, out);
	if (!why && (c->m->binding.required & ~(c->m->binding.bound & c->v->granted[c->m->index])))
		why = "a required privilege is withheld";
	if (why) {
		wrong(c, "G1 entry", why);
		return;
	}
	if (c->last &&
	    (c->out->cpu.rip != o_gva(c->m, e->moff) || c->out->cpu.gpr[ORACLE_RSP] != slot)) {
		wrong(c, "G1 entry", "the vCPU does not go on at the entry");
		return;
	}
	if (raw && out && word == out->rip) {
		if (e->flags & M_INIT_CODE && !out->act[0].init)
			wrong(c, "G1 entry", "init code goes on in what began elsewhere");
		comes_back(c, out, slot - e->headroom, out->preserve);
		return;
	}
	if (!raw && !own &&
	    (!o_word(c->o, c->ev->cpu.cr3, slot, false, &now) ||
	     now != c->m->gates_gva + c->m->leave_return)) {
		wrong(c, "G2 exit", "the slot does not lead to the leave-return gate");
		return;
	}
	begin(c, e, raw, word);
}

/* ---- on the way out ---- */

static bool slot_holds(const struct claim *c, uint64_t slot, uint64_t value)
{
	uint64_t now;

	return o_word(c->o, c->ev->cpu.cr3, slot, false, &now) && now == value;
}

/* Under scrub no register of the module leaves with its value. */
static void scrubbed(const struct claim *c, uint32_t zero)
{
	for (unsigned i = 0; c->m->binding.registers == 1 && i < ORACLE_GPRS; i++)
		if (c->last && (zero >> i & 1) && c->out->cpu.gpr[i])
			wrong(c, "G3 privacy", "a register leaves with what the module had in it");
}

/* An activation ends; the one that it was nested in, or nobody, runs on. */
static void finish(struct claim *c)
{
	struct o_chain *ch = c->v->chain;
	struct o_act tip = ch->act[ch->depth - 1];

	if (!tip.raw && !slot_holds(c, tip.slot, tip.word)) {
		wrong(c, "G5 continuity", "the caller's return address is not back in its slot");
		return;
	}
	if (ch->depth == 1) {
		o_outside(c->o, c->ev->vcpu);
		return;
	}
	ch->depth--;
	o_push(ch, tip.slot, tip.word);
}

/* Not at a crossing of the module's: it was left by a way of its own. */
static bool outside(const struct claim *c)
{
	uint32_t moff;

	return c->ev->kind != ORACLE_X || (!c->gate && !o_in_text(c->m, c->ev->cpu.rip, &moff));
}

static void leave_return(struct claim *c)
{
	bool raw = outside(c);
	uint64_t slot = rsp(c) - (raw ? 8 : 0);
	struct o_chain *ch = c->v->chain;

	if (!ch || (!raw && (!c->gate || c->gate->kind != G_LEAVE_RETURN))) {
		wrong(c, "G2 exit", "nobody returns here");
		return;
	}
	if (slot != ch->act[ch->depth - 1].slot) {
		wrong(c, "G5 continuity", "this is not the slot of the activation that runs");
		return;
	}
	if (raw && c->ev->cpu.rip != ch->act[ch->depth - 1].word) {
		wrong(c, "G5 continuity", "this is not where the activation was called from");
		return;
	}
	finish(c);
	if (!c->v->chain)
		scrubbed(c, 0xffffu & ~(PRESERVED_C | 1u << ORACLE_RSP | 1u << ORACLE_RDX | 1u));
}

/*
 * What suspends is remembered by the words that lead home: each a return site of m, the slots as the
 * guard left them, in no more frames than a walk may take (docs/semantics.md, "Stack validity").
 */
static void leads_home(struct claim *c, enum guard_verdict walked)
{
	struct o_chain *ch = c->v->chain;

	if (walked == GUARD_V_STACK_TOO_DEEP)
		wrong(c, "G6 VMM safety", "the way home has more frames than a walk may take");
	else if (walked != GUARD_V_OK)
		wrong(c, "G5 continuity", "what suspends has no way home");
	/* changed by another vCPU while it ran, to another return site: that is how it goes on */
	for (unsigned i = 0; walked == GUARD_V_OK && i < ch->nshadow; i++)
		for (unsigned k = 0; k < ch->nwords; k++)
			if (ch->words[k].gva == ch->shadow[i].gva &&
			    ch->words[k].value != ch->shadow[i].value) {
				ch->shadow[i].value = ch->words[k].value;
				c->o->counts.stack_races++;
			}
}

static void suspend(struct claim *c, enum o_chain_state state, uint64_t slot, uint64_t rip)
{
	struct o_chain *ch = c->v->chain;

	ch->state = state;
	ch->slot = slot;
	ch->rip = rip;
	memcpy(ch->gpr, c->ev->cpu.gpr, sizeof(ch->gpr));
	ch->rflags = c->ev->cpu.rflags;
	o_leaves(c->v);
	o_extent(c->o, ch, c->ev->cpu.cr3, state == O_CALLOUT ? slot + 8 : slot, ch->hi);
	o_kill_overlapping(c->m, ch);
}

/* Registers that come back from where this crossing leads. */
static uint32_t preserved(const struct claim *c)
{
	if (c->gate && c->gate->kind == G_LEAVE)
		return c->m->man.import[c->gate->index].preserve;
	for (uint32_t i = 0; !c->gate && i < c->m->man.nimports; i++)
		if (c->m->import_at[i] == c->ev->cpu.rip)
			return c->m->man.import[i].preserve;
	return PRESERVED_C;
}

static void leave_call(struct claim *c)
{
	bool raw = outside(c);
	uint64_t slot = rsp(c), word = 0;
	struct o_chain *ch = c->v->chain;
	struct o_act *tip;
	uint32_t keep = 0;

	if (!ch || (!raw && (!c->gate ||
			     (c->gate->kind != G_LEAVE && c->gate->kind != G_LEAVE_INDIRECT)))) {
		wrong(c, "G2 exit", "nobody calls out here");
		return;
	}
	if (c->gate && c->gate->kind == G_LEAVE_INDIRECT)
		keep = 1u << c->gate->reg;
	tip = &ch->act[ch->depth - 1];
	if (slot == tip->slot && ch->depth == 1) {
		finish(c);
		scrubbed(c, (1u << 10 | 1u << 11) & ~keep);
		return;
	}
	if (slot == tip->slot) {
		word = tip->word;
		ch->depth--;
		tip--;
	} else if (!o_word(c->o, c->ev->cpu.cr3, slot, true, &word)) {
		wrong(c, "G6 VMM safety", "the slot cannot be read");
		return;
	} else {
		o_pop_below(ch, slot);
		if (!ch->shadow_lost && (!ch->nshadow || ch->shadow[ch->nshadow - 1].gva != slot ||
					 ch->shadow[ch->nshadow - 1].value != word))
			c->o->counts.stack_races++;
	}
	if (!o_retsite(c->m, word) || slot >= tip->slot) {
		wrong(c, "G5 continuity", "the call-out would come back to no return site");
		return;
	}
	if (!raw && !slot_holds(c, slot, c->m->gates_gva + c->m->enter_return)) {
		wrong(c, "G5 continuity", "the slot does not lead to the enter-return gate");
		return;
	}
	o_pop_below(ch, slot + 8);
	leads_home(c, o_walk(c->o, c->m, ch, c->ev->cpu.cr3,
			     &(struct o_place){ .rip = word,
						.rsp = slot + 8,
						.rbp = c->ev->cpu.gpr[ORACLE_RBP],
						.returned = true },
			     ch->depth, slot + 8));
	ch->raw = raw;
	ch->preserve = preserved(c);
	suspend(c, O_CALLOUT, slot, word);
	scrubbed(c, (ch->preserve | 1u << 10 | 1u << 11) & ~keep);
}

static void depart(struct claim *c)
{
	struct o_chain *ch = c->v->chain;
	struct o_standing at;

	if (!ch || c->ev->kind != ORACLE_DEPART) {
		wrong(c, "G2 exit", "nobody departs here");
		return;
	}
	if (!o_standing(c->o, c->m, &c->ev->cpu, &at)) {
		wrong(c, "G5 continuity", "the vCPU does not stand in the module");
		return;
	}
	if (at.rsp % 8 || at.rsp >= ch->hi || at.rsp >> 63 == 0)
		wrong(c, "G5 continuity", "its stack pointer is not on its stack");
	o_pop_below(ch, at.popped ? at.rsp + 8 : at.rsp);
	leads_home(c, o_walk_departed(c->o, c->m, ch, &c->ev->cpu, &at));
	ch->exception = c->ev->cause == GUARD_CAUSE_EXCEPTION;
	ch->vector = c->ev->vector;
	suspend(c, O_DEPARTED, at.rsp, at.rip);
	scrubbed(c, 0xffffu & ~(1u << ORACLE_RSP));
}

/* ---- one line ---- */

/* Policy: what was refused for the guest's doing. */
static void refused(struct claim *c)
{
	switch (c->line->verdict) {
	case GUARD_V_WITHHELD:
	case GUARD_V_NO_ROOM:
	case GUARD_V_RAISE_FAILED:
	case GUARD_V_LOWER_FAILED: return;
	default: break;
	}
	/* after a refused RESUME a fresh entry is judged: the policy waits for that */
	if (c->line->event == GUARD_RESUME && !c->last)
		return;
	if (c->m->binding.refusal != 1)
		return;
	c->m->quarantined = true;
	for (unsigned v = 0; v < c->o->vcpus; v++)
		if (c->o->vcpu[v].module == c->m)
			o_outside(c->o, v);
	for (uint32_t i = 0; i < c->m->binding.chains; i++)
		o_end(&c->m->chain[i]);
}

static void accepted(struct claim *c)
{
	switch (c->line->event) {
	case GUARD_ENTER_CALL: enter_call(c); break;
	case GUARD_LEAVE_RETURN: leave_return(c); break;
	case GUARD_LEAVE_CALL: leave_call(c); break;
	case GUARD_ENTER_RETURN: enter_return(c); break;
	case GUARD_DEPART: depart(c); break;
	case GUARD_RESUME: resume(c); break;
	default: break;
	}
}

void o_line(struct oracle *o, struct oracle_event *ev, const struct oracle_outcome *out, unsigned n)
{
	const struct oracle_line *line = &out->line[n];
	struct claim c = {
		.o = o,
		.ev = ev,
		.next = ev,
		.out = out,
		.line = line,
		.last = n + 1 == out->lines,
		.v = &o->vcpu[ev->vcpu],
	};
	uint8_t is = c.v->module ? (uint8_t)c.v->module->index : ORACLE_OUTSIDE;

	if (line->event == GUARD_ANNOUNCE || line->event == GUARD_WITHDRAW) {
		o_announce_line(o, ev, line);
		return;
	}
	if (line->event == GUARD_VERIFY || line->event == GUARD_TOUCH ||
	    line->module >= ORACLE_MODULES)
		return;
	c.m = &o->module[line->module];
	if (!c.m->registered) {
		wrong(&c, "G1 entry", "there is no such module");
		return;
	}
	if (line->from != is) {
		wrong(&c, "G2 exit", "the core believes the vCPU elsewhere than it is");
		return;
	}
	if (ev->kind == ORACLE_X)
		c.gate = o_gate_at(c.m, ev->cpu.rip);
	if (line->verdict == GUARD_V_OK) {
		accepted(&c);
	} else {
		/* a way out that is refused is a way out */
		if (c.v->chain &&
		    (line->event == GUARD_LEAVE_CALL || line->event == GUARD_LEAVE_RETURN ||
		     line->event == GUARD_DEPART))
			o_outside(o, ev->vcpu);
		refused(&c);
	}
}
