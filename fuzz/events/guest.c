// SPDX-License-Identifier: GPL-2.0-only
/*
 * What guest code does between two events: a kernel that calls, returns and handles interrupts, and
 * a module whose functions build real frames. Beside that it writes down, while a module runs, which
 * words lead home: the ledger looks whether they still do when the module goes on.
 */
#include "fuzz/events/core.h"

int fc_inside(unsigned v)
{
	return fc->live->view[v] == GUARD_VIEW_U ? -1 : (int)fc_by_index(fc->live->view[v]);
}

void fc_x(unsigned v, uint64_t rip)
{
	int in = fc_inside(v);

	fc->live->cpu[v].rip = rip;
	if (fc->live->halt) {
		fc->live->halt = false;
		return;
	}
	/* another module's gates are not executable from inside: that fault comes first */
	for (unsigned m = 0; in >= 0 && m < FC_MODULES; m++)
		if ((int)m != in && !fc->module[m].views && rip - fc_seg(m, FS_GATES) < 4096) {
			fc_fetch(v, rip);
			if (fc->live->cpu[v].rip != rip || fc_inside(v) >= 0)
				return;
			break;
		}
	fc_judge(v, GUARD_EV_X, GUARD_CAUSE_X, 0, 0);
}

void fc_fetch(unsigned v, uint64_t rip)
{
	fc->live->cpu[v].rip = rip;
	if (fc->live->halt) {
		fc->live->halt = false;
		return;
	}
	fc_judge(v, GUARD_EV_FETCH, GUARD_CAUSE_FETCH, 0, 0);
}

void fc_push(unsigned v, uint64_t word)
{
	struct guard_cpu *c = &fc->live->cpu[v];

	c->gpr[GUARD_RSP] -= 8;
	fc_put(c->cr3, c->gpr[GUARD_RSP], word);
}

static uint64_t pop(unsigned v)
{
	struct guard_cpu *c = &fc->live->cpu[v];
	uint64_t word;

	fc_get(c->cr3, c->gpr[GUARD_RSP], &word);
	c->gpr[GUARD_RSP] += 8;
	return word;
}

/* The word just pushed leads home. */
static void leads_home(unsigned v)
{
	struct fc_live *l = fc->live;
	uint64_t gva = l->cpu[v].gpr[GUARD_RSP], word;

	if (l->homes[v] < FC_WORDS && fc_get(l->cpu[v].cr3, gva, &word))
		l->home[v][l->homes[v]++] = (struct fc_word){ .gva = gva, .value = word };
}

/* What lay below RSP leads nowhere any more. An activation's own slot is the ledger's to drop. */
static void below_is_gone(unsigned v)
{
	struct fc_live *l = fc->live;

	while (l->homes[v] && !l->home[v][l->homes[v] - 1].entry &&
	       l->home[v][l->homes[v] - 1].gva < l->cpu[v].gpr[GUARD_RSP])
		l->homes[v]--;
}

/* In which function's body does v stand, of the module that it is inside? -1: in none. */
static int body(unsigned v)
{
	int m = fc_inside(v);
	uint64_t off;

	if (m < 0 || m == FC_MODULES)
		return -1;
	off = fc->live->cpu[v].rip - fc_seg((unsigned)m, FS_TEXT);
	if (off < FC_FNS * 0x100u && off / 0x100 != FN_INIT && off / 0x100 != FN_CALLBACK)
		return off % 0x100 >= FC_BODY && off % 0x100 < FC_END ? (int)(off / 0x100) : -1;
	off = fc->live->cpu[v].rip - fc_seg((unsigned)m, FS_INIT);
	if (off >= FC_CALLBACK + FC_BODY && off < FC_CALLBACK + FC_END)
		return FN_CALLBACK;
	return off >= FC_BODY && off < FC_END ? FN_INIT : -1;
}

uint64_t fc_return_site(unsigned v)
{
	int m = fc_inside(v), fn = body(v);

	return fn < 0 ? FC_KRET : fc_fn((unsigned)m, (unsigned)fn, FC_RET);
}

static void frame(unsigned v, unsigned m, unsigned fn)
{
	struct guard_cpu *c = &fc->live->cpu[v];
	uint64_t slot = c->gpr[GUARD_RSP], word;

	switch (fn) {
	case FN_F:
		fc_push(v, c->gpr[GUARD_RBP]);
		leads_home(v);
		c->gpr[GUARD_RBP] = c->gpr[GUARD_RSP];
		c->gpr[GUARD_RSP] -= 0x20;
		break;
	case FN_D:
		fc_get(c->cr3, slot, &word);
		c->gpr[GUARD_RSP] &= ~0x3full;
		fc_push(v, word);
		fc_push(v, c->gpr[GUARD_RBP]);
		leads_home(v);
		c->gpr[GUARD_RBP] = c->gpr[GUARD_RSP];
		fc_push(v, slot + 8);
		leads_home(v);
		c->gpr[GUARD_RSP] -= 0x38;
		break;
	default: c->gpr[GUARD_RSP] -= 0x28;
	}
	c->rip = fc_fn(m, fn, FC_BODY);
}

static void unframe(unsigned v, unsigned m, unsigned fn)
{
	struct fc_live *l = fc->live;
	struct guard_cpu *c = &l->cpu[v];
	uint64_t word;

	switch (fn) {
	case FN_F:
		c->gpr[GUARD_RSP] = c->gpr[GUARD_RBP];
		c->gpr[GUARD_RBP] = pop(v);
		break;
	case FN_D:
		fc_get(c->cr3, c->gpr[GUARD_RBP] - 8, &word);
		c->gpr[GUARD_RSP] = word - 8;
		fc_get(c->cr3, c->gpr[GUARD_RBP], &word);
		c->gpr[GUARD_RBP] = word;
		break;
	default: c->gpr[GUARD_RSP] += 0x28;
	}
	c->rip = fc_fn(m, fn, FC_END);
	below_is_gone(v);
}

/* After a crossing into a function's first byte: its prologue. */
static void prologue(unsigned v)
{
	int m = fc_inside(v);

	for (unsigned fn = 0; m >= 0 && m < (int)FC_MODULES && fn < FN_ENTRIES; fn++)
		if (fc->live->cpu[v].rip == fc_fn((unsigned)m, fn, 0)) {
			frame(v, (unsigned)m, fn);
			return;
		}
}

/* The kernel, or the module's own code, calls an entry. */
void fc_call(unsigned v, unsigned m, unsigned fn, uint64_t word)
{
	if (fc->module[m].views && fc_inside(v) == (int)m) {
		fc_inner(v, fn); /* no gate: nobody sees it */
		return;
	}
	fc_push(v, word);
	if (fc->module[m].views)
		fc_fetch(v, fc_fn(m, fn, 0));
	else
		fc_x(v, fc_gate_x(m, FG_ENTER + fn));
	prologue(v);
}

void fc_callout(unsigned v, unsigned gate, bool tail, bool raw)
{
	int m = fc_inside(v), fn = body(v);
	uint64_t target = FC_IMPORT(gate == FG_LEAVE_ASM ? FI_ASM : FI_C);

	if (m < 0 || m == FC_MODULES || fn < 0)
		return;
	if (tail) {
		unframe(v, (unsigned)m, (unsigned)fn);
	} else {
		fc_push(v, fc_fn((unsigned)m, (unsigned)fn, FC_RET));
	}
	if (raw || fc->module[m].views)
		fc_fetch(v, target);
	else
		fc_x(v, fc_gate_x((unsigned)m, gate));
	if (fc_inside(v) < 0)
		fc->live->cpu[v].rip = target;
}

void fc_inner(unsigned v, unsigned fn)
{
	int m = fc_inside(v), in = body(v);

	if (m < 0 || m == FC_MODULES || in < 0 || fn == FN_INIT || fn == FN_CALLBACK)
		return;
	fc_push(v, fc_fn((unsigned)m, (unsigned)in, FC_RET2));
	leads_home(v);
	oracle_called(fc->oracle, v, fc->live->cpu[v].gpr[GUARD_RSP],
		      fc_fn((unsigned)m, (unsigned)in, FC_RET2));
	frame(v, (unsigned)m, fn);
}

/* Which module's text or gates hold rip? */
static int owner(uint64_t rip, bool *gates)
{
	for (unsigned m = 0; m < FC_MODULES; m++) {
		*gates = !fc->module[m].views && rip - fc_seg(m, FS_GATES) < 4096;
		if (*gates || rip - fc_seg(m, FS_TEXT) < 4096 || rip - fc_seg(m, FS_INIT) < 4096)
			return (int)m;
	}
	return -1;
}

/* Control comes to rip, with nothing but the view to stop it. */
static void go(unsigned v, uint64_t rip)
{
	struct guard_cpu *c = &fc->live->cpu[v];
	int in = fc_inside(v), m;
	uint64_t off;
	bool gates;

	c->rip = rip;
	m = owner(rip, &gates);
	if (gates) {
		off = rip - fc_seg((unsigned)m, FS_GATES);
		if (off / GM_GATE_BYTES < FC_GATES &&
		    off % GM_GATE_BYTES <=
			    fc_gate_x((unsigned)m, (unsigned)off / GM_GATE_BYTES) % 16) {
			if (off % GM_GATE_BYTES == 0 && off / GM_GATE_BYTES <= FG_ENTER_RETURN)
				c->gpr[GUARD_RSP] -= 8; /* the gate's lea */
			fc_x(v, fc_gate_x((unsigned)m, (unsigned)(off / GM_GATE_BYTES)));
			prologue(v);
		}
	} else if (in >= 0 ? m != in : m >= 0) {
		fc_fetch(v, rip);
		prologue(v);
	}
}

/* The rest of the leave-return gate: ret. */
static void gate_ends(unsigned v)
{
	struct guard_cpu *c = &fc->live->cpu[v];

	for (unsigned i = 0; i < FC_MODULES; i++)
		if (!fc->module[i].views && c->rip == fc_gate_x(i, FG_LEAVE_RETURN) + 3 &&
		    fc->d.verdict == GUARD_V_OK)
			c->rip = pop(v);
}

/* A kernel that comes back the other way: by the gate for a return site, or to the latest site. */
static uint64_t other_way(uint64_t word)
{
	const struct fc_record *last = NULL;
	bool gates;
	int m = owner(word, &gates);

	if (m < 0 || fc->module[m].views)
		return word;
	for (unsigned i = 0; gates && i < FC_RECORDS; i++) {
		const struct fc_record *r = &fc->live->record[i];

		if (r->open == FC_CALLOUT && r->module == m && (!last || r->number > last->number))
			last = r;
	}
	if (gates)
		return last ? last->rip : word;
	return fc_gate((unsigned)m, FG_ENTER_RETURN);
}

/*
 * A return, by module or kernel; where the word leads is seen then. other: the kernel follows it in
 * another way.
 */
void fc_ret(unsigned v, bool clobber, bool other)
{
	static const uint8_t scratch[] = { GUARD_RAX, GUARD_RCX, GUARD_RDX, GUARD_RSI, GUARD_RDI,
					   GUARD_R8,  GUARD_R9,	 GUARD_R10, GUARD_R11 };
	struct fc_live *l = fc->live;
	int m = fc_inside(v), fn = body(v);
	uint64_t word;

	if (m >= 0 && m < (int)FC_MODULES && fn >= 0)
		unframe(v, (unsigned)m, (unsigned)fn);
	for (unsigned i = 0; m < 0 && clobber && i < sizeof(scratch); i++)
		l->cpu[v].gpr[scratch[i]] = 0xbacbac0 + i;
	if (m < 0 && clobber)
		l->cpu[v].rflags ^= 0x8d5;
	word = pop(v);
	if (m >= 0)
		below_is_gone(v);
	go(v, other && m < 0 ? other_way(word) : word);
	gate_ends(v);
	if (fc_inside(v) >= 0)
		oracle_returned(fc->oracle, v, l->cpu[v].gpr[GUARD_RSP]);
}

/* Something strikes; the kernel's handler keeps the registers as they are now. */
void fc_depart(unsigned v, enum guard_cause cause, uint8_t vector)
{
	struct fc_live *l = fc->live;

	fc_judge(v, GUARD_EV_DEPART, cause, vector, 0);
	l->saved[l->saved_at++ % FC_SAVED] = l->cpu[v];
	l->cpu[v].gpr[GUARD_RSP] -= 0x100;
	l->cpu[v].rip = FC_KERNEL;
}

/* On from where it stands; at a crossing that is what is executed. */
void fc_resume(unsigned v)
{
	go(v, fc->live->cpu[v].rip);
	gate_ends(v);
}
