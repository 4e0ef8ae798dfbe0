// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mutation of scenarios by whole, typed steps: insert (alone, or a call-out or an interrupt with what
 * belongs to it), delete, swap, copy, splice, one operand to a value that means something, now and
 * then the modules' policies. The table of steps (corpus/puppet/program.h) says what a step takes, so
 * what comes out always decodes; that its names exist in these modules is this file's matter.
 */
#include "fuzz/puppet/puppet.h"

#include <stdlib.h>
#include <string.h>

#include "fuzz/afl_mutator.h"
#include "scenario/scn.h"

const char fg_honest[] = "scenario fuzz\n"
			 "title an honest flow\n"
			 "class race\n"
			 "vcpus 1\n"
			 "ram 16\n"
			 "module target\n"
			 "module counter mwait\n"
			 "\n"
			 "thread 0\n"
			 "\tcall counter:enter/counter_callout 5\n"
			 "\tcallout kernel_callout\n"
			 "\treturn 7\n"
			 "\tcall target:enter/target_raise 0x50\n"
			 "\thandler 0x50\n"
			 "\tiret\n"
			 "\tcall target:enter/target_registers 3\n"
			 "\tcallout kernel_callout\n"
			 "\treturn 4\n";

struct work {
	struct scenario *s;
	uint64_t x;
};

static uint32_t roll(struct work *w, uint32_t n)
{
	w->x = w->x * 6364136223846793005ull + 1442695040888963407ull;
	return n ? (uint32_t)((w->x >> 33) % n) : 0;
}

#define PICK(w, a) ((a)[roll((w), sizeof(a) / sizeof((a)[0]))])

/* ---- names ---- */

#define MAX_ENTRIES 20u

static const struct {
	const char *module;
	const char *import;
	unsigned entries;
	const char *entry[MAX_ENTRIES];
} known[] = {
	{ "counter",
	  "kernel_callout",
	  13,
	  { "counter_add", "counter_get", "counter_callout", "counter_deep", "counter_tail",
	    "counter_callback", "counter_self", "counter_spin", "counter_load",
	    "counter_struck_load", "counter_warn", "counter_check", "counter_key_callout" } },
	{ "target",
	  "kernel_callout",
	  16,
	  { "target_check", "target_raise", "target_raise_deep", "target_raise_callout",
	    "target_strike_leave", "target_strike_exit", "target_registers", "target_leak",
	    "target_near", "target_far", "target_hook", "target_nested", "target_nested_far",
	    "target_push_jump", "target_jump", "target_device" } },
};
#define KNOWN (sizeof(known) / sizeof(known[0]))

/* A module of this scenario that the table has; KNOWN: none. */
static unsigned some_module(struct work *w)
{
	for (unsigned tries = 0; w->s->nmodules && tries < 8; tries++) {
		const char *name = scn_word(w->s, w->s->module[roll(w, w->s->nmodules)].word);

		for (unsigned k = 0; k < KNOWN; k++)
			if (!strcmp(known[k].module, name))
				return k;
	}
	return KNOWN;
}

static uint16_t word(struct work *w, const char *format, const char *a, const char *b)
{
	char text[SCN_MAX_WORD];
	int n = snprintf(text, sizeof(text), format, a, b);

	return n > 0 && n < (int)sizeof(text) ? scn_intern(w->s, text, (size_t)n) : 0;
}

/* ---- operands ---- */

static uint64_t near_by(struct work *w)
{
	static const int64_t some[] = { 0, 0, 0, 8, -8, 1, -1, 16, 0x100, -0x100, 0x1000, -0x1000 };

	return (uint64_t)PICK(w, some);
}

static struct scn_operand entry(struct work *w)
{
	unsigned k = some_module(w);
	struct scn_operand o = { 0 };

	if (k < KNOWN)
		o.sym = word(w, "%s:enter/%s", known[k].module,
			     known[k].entry[roll(w, known[k].entries)]);
	return o;
}

/* A place of the module's: gate, X of one, function, segment. */
static struct scn_operand place(struct work *w)
{
	static const char *const forms[] = {
		"%s:leave-return", "%s:leave-return.x", "%s:enter-return", "%s:enter-return.x",
		"%s:seg/text",	   "%s:seg/gates",	"%s:seg/private",  "%s:seg/private",
		"%s:seg/data",	   "%s:leave/%s",	"%s:leave/%s.x"
	};
	unsigned k = some_module(w);
	struct scn_operand o = { 0 };

	if (k == KNOWN)
		return o;
	if (roll(w, 3)) {
		o.sym = word(w, PICK(w, forms), known[k].module, known[k].import);
	} else {
		o.sym = word(w, roll(w, 2) ? "%s:enter/%s.x" : "%s:%s", known[k].module,
			     known[k].entry[roll(w, known[k].entries)]);
	}
	o.addend = near_by(w);
	o.flags = roll(w, 4) ? 0 : PP_ALIAS;
	return o;
}

static struct scn_operand of_stack(struct work *w)
{
	static const uint8_t dyns[] = { PP_DYN_SAVED_RSP, PP_DYN_SAVED_RSP, PP_DYN_SAVED_RSP,
					PP_DYN_STACK,	  PP_DYN_STACK0,    PP_DYN_STACK1,
					PP_DYN_STACK2 };
	struct scn_operand o = { .dyn = PICK(w, dyns), .addend = near_by(w) };

	if (!roll(w, 6)) {
		o.dyn = 0;
		o.sym = word(w, "%s%s", "puppet:stacks", "");
		o.addend = 8ull * roll(w, 0x2000);
	} else if (o.dyn >= PP_DYN_STACK) {
		o.addend -= 8ull * roll(w, 4);
	}
	return o;
}

static struct scn_operand number(struct work *w)
{
	static const uint64_t some[] = {
		0,     1,      2,     3,     4,	     0x40,	0x50, 0x51, 14, 6, 0x800000000000,
		~0ull, 0x1000, 0x7ff, 0x202, 0x1234, 1ull << 63
	};

	return (struct scn_operand){ .addend = PICK(w, some) };
}

static struct scn_operand any(struct work *w)
{
	static const char *const names[] = { "puppet:scratch", "puppet:ret", "puppet:x",
					     "puppet:landing" };

	switch (roll(w, 8)) {
	case 0:
	case 1:
	case 2: return place(w);
	case 3: return of_stack(w);
	case 4:
		return (struct scn_operand){ .sym = word(w, "%s%s", PICK(w, names), ""),
					     .addend = 8ull * roll(w, 4) };
	case 5: return (struct scn_operand){ .dyn = (uint8_t)roll(w, PP_DYN_COUNT) };
	default: return number(w);
	}
}

static struct scn_operand privilege(struct work *w)
{
	static const char *const kinds[] = { "private", "mwait" };

	return (struct scn_operand){ .sym = word(w, "%s%s", PICK(w, kinds), "") };
}

static struct scn_operand flags_word(struct work *w)
{
	static const uint32_t some[] = { 0x202, 2, 0x302, 0x402, 0x4202, 0x40202, 0x3202, 0x10202 };

	return (struct scn_operand){ .addend = PICK(w, some) };
}

static struct scn_operand for_key(struct work *w, uint8_t key)
{
	switch (key) {
	case PP_KEY_RSP: return of_stack(w);
	case PP_KEY_FLAGS: return flags_word(w);
	case PP_KEY_RING: return (struct scn_operand){ .addend = 3 };
	case PP_KEY_RET:
	case PP_KEY_RIP: return any(w);
	default: return roll(w, 2) ? number(w) : any(w);
	}
}

/* ---- steps ---- */

static const uint8_t usual[] = { PP_CALL,   PP_CALL,   PP_CALL,	 PP_CALLOUT, PP_RETURN,
				 PP_RETURN, PP_RETURN, PP_JUMP,	 PP_HANDLER, PP_IRET,
				 PP_IRET,   PP_WRITE,  PP_WRITE, PP_NEVER };
static const uint8_t others[] = { PP_READ,     PP_POKE,	      PP_COPY,	 PP_LET,       PP_MAP,
				  PP_MAP_NEW,  PP_PROTECT,    PP_UNMAP,	 PP_SWAP,      PP_FLUSH,
				  PP_CR3,      PP_CR0,	      PP_CR4,	 PP_EFER,      PP_DR7,
				  PP_RAISE,    PP_SEND,	      PP_IST,	 PP_GATE,      PP_IDT,
				  PP_ANNOUNCE, PP_WITHDRAW,   PP_STATUS, PP_HYPERCALL, PP_GRANT,
				  PP_WITHHOLD, PP_UNREGISTER, PP_RESET,	 PP_START,     PP_FAIL_NEXT,
				  PP_SWITCH,   PP_YIELD,      PP_SIGNAL, PP_WAIT,      PP_SETTLE,
				  PP_RELOAD };

static void operand_of(struct work *w, struct scn_step *st, unsigned n)
{
	struct scn_operand *o = &st->arg[n];

	switch (st->op) {
	case PP_CALL:
		*o = n ? (roll(w, 3) ? number(w) : any(w)) : roll(w, 8) ? entry(w) : place(w);
		break;
	case PP_JUMP: *o = place(w); break;
	case PP_GRANT:
	case PP_WITHHOLD:
		*o = n ? (struct scn_operand){ .addend = roll(w, 2) } : privilege(w);
		break;
	case PP_CR0:
		*o = (struct scn_operand){ .dyn = PP_DYN_CR0,
					   .addend = roll(w, 2) ? 0 : -0x10000ull };
		break;
	case PP_CR4:
		*o = (struct scn_operand){ .dyn = PP_DYN_CR4,
					   .addend = roll(w, 2) ? 0 : 1ull << (20 + roll(w, 2)) };
		break;
	case PP_EFER:
		*o = (struct scn_operand){ .dyn = PP_DYN_EFER,
					   .addend = roll(w, 2) ? 0 : -0x800ull };
		break;
	case PP_RAISE:
	case PP_SEND:
	case PP_HANDLER:
		*o = n ? (struct scn_operand){ .addend = roll(w, 2) }
		       : (struct scn_operand){ .addend = roll(w, 4) ? 0x50 + roll(w, 4) : 2 };
		break;
	case PP_FAIL_NEXT: *o = (struct scn_operand){ .addend = roll(w, 2) }; break;
	case PP_COPY: *o = n == 2 ? (struct scn_operand){ .addend = roll(w, 64) } : any(w); break;
	case PP_POKE: *o = (struct scn_operand){ .addend = roll(w, 3) }; break;
	case PP_MAP_NEW:
		*o = roll(w, 2) ? place(w)
				: (struct scn_operand){ .addend = 0xffffffffd0000000ull };
		break;
	case PP_HYPERCALL:
		*o = n ? any(w) : (struct scn_operand){ .addend = 0x6000ull + roll(w, 4) };
		break;
	case PP_IDT: *o = roll(w, 2) ? any(w) : (struct scn_operand){ 0 }; break;
	default: *o = any(w); break;
	}
}

static uint8_t label_of(struct work *w, uint8_t op)
{
	switch (op) {
	case PP_CR3: return (uint8_t)roll(w, 3);
	case PP_IST:
	case PP_GATE: return (uint8_t)(1 + roll(w, 3));
	case PP_SWITCH: return (uint8_t)(roll(w, 3) ? 4 + roll(w, 2) : roll(w, w->s->vcpus));
	case PP_START:
	case PP_RESET: return (uint8_t)roll(w, w->s->vcpus);
	default: return (uint8_t)roll(w, 4);
	}
}

static void keys_of(struct work *w, struct scn_step *st)
{
	uint32_t may = scn_step_keys(st->op);
	unsigned n = roll(w, 3) ? 0 : 1 + roll(w, 2);

	while (n--) {
		uint8_t key = (uint8_t)(roll(w, 2) ? PP_KEY_RSP : roll(w, PP_KEY_COUNT));

		for (unsigned i = 0; i < st->nkeys; i++)
			if (st->key[i].key == key)
				key = PP_KEY_COUNT;
		if (key == PP_KEY_COUNT || !(may >> key & 1))
			continue;
		st->key[st->nkeys].key = key;
		st->key[st->nkeys++].o = for_key(w, key);
	}
}

static void fresh(struct work *w, struct scn_step *st, uint8_t op)
{
	static const uint8_t rights[] = { PP_RO, PP_RW, PP_USER, PP_KERNEL, PP_NX, PP_X };
	static const uint8_t widths[] = { 8, 8, 8, 1, 2, 4 };
	uint8_t thread = st->thread;
	unsigned k;

	*st = (struct scn_step){ .thread = thread, .op = op, .label = PP_NO_LABEL };
	for (const char *c = scn_ops[op].shape; *c; c++) {
		switch (*c) {
		case 'o': operand_of(w, st, st->nargs++); break;
		case 'O':
			if (roll(w, 2))
				operand_of(w, st, st->nargs++);
			break;
		case '*':
			for (unsigned n = roll(w, 4); n--;)
				operand_of(w, st, st->nargs++);
			break;
		case 'n': st->label = label_of(w, op); break;
		case 'A':
		case 'F': st->label = roll(w, 2) ? PP_NO_LABEL : (uint8_t)roll(w, 3); break;
		case 'K': st->flags = roll(w, 3) ? 0 : PP_KEEP; break;
		case 'P':
			st->flags = (uint8_t)(PICK(w, rights) | (roll(w, 3) ? 0 : PP_NOFLUSH));
			break;
		case 'w': st->sub = PICK(w, widths); break;
		case 's':
			k = some_module(w);
			if (k < KNOWN)
				st->word = op == PP_CALLOUT ? word(w, "%s%s", known[k].import, "")
							    : word(w, "%s%s", known[k].module, "");
			break;
		case 'k': keys_of(w, st); break;
		default: break;
		}
	}
	/* a step that needs a name and got none says nothing */
	if (strchr(scn_ops[op].shape, 's') && !st->word)
		*st = (struct scn_step){ .thread = thread, .op = PP_NEVER, .label = PP_NO_LABEL };
}

/* Room for n steps of one thread at `at`; NULL: there is none. */
static struct scn_step *open_up(struct work *w, unsigned at, unsigned n, uint8_t thread)
{
	struct scenario *s = w->s;

	if (s->nsteps + n > FG_MAX_STEPS)
		return NULL;
	for (unsigned i = 0; i < n; i++)
		if (!scn_add_step(s))
			return NULL;
	memmove(&s->step[at + n], &s->step[at], (s->nsteps - n - at) * sizeof(*s->step));
	for (unsigned i = 0; i < n; i++)
		s->step[at + i] =
			(struct scn_step){ .thread = thread, .op = PP_NEVER, .label = PP_NO_LABEL };
	return &s->step[at];
}

static void insert(struct work *w, unsigned at, uint8_t thread)
{
	struct scn_step *st = open_up(w, at, 1, thread);

	if (st)
		fresh(w, st, roll(w, 2) ? PICK(w, usual) : PICK(w, others));
}

/* A call with what comes of it: a call-out and its return, or an interrupt and its IRET. */
static void insert_flow(struct work *w, unsigned at, uint8_t thread)
{
	unsigned k = some_module(w);
	struct scn_step *st = k < KNOWN ? open_up(w, at, 3, thread) : NULL;
	bool struck = roll(w, 2);
	uint8_t label = (uint8_t)(roll(w, 2) ? PP_NO_LABEL : roll(w, 3));
	static const char *const out[KNOWN] = { "counter_callout", "target_registers" };

	if (!st)
		return;
	fresh(w, &st[0], PP_CALL);
	fresh(w, &st[1], struck ? PP_HANDLER : PP_CALLOUT);
	fresh(w, &st[2], struck ? PP_IRET : PP_RETURN);
	st[1].label = st[2].label = label;
	if (struck) {
		st[0].arg[0] = (struct scn_operand){ .sym = word(w, "%s%s",
								 "target:enter/target_raise", "") };
		st[0].arg[1] = (struct scn_operand){ .addend = 0x50 };
		st[1].arg[0] = (struct scn_operand){ .addend = 0x50 };
		if (st[0].nargs < 2)
			st[0].nargs = 2;
	} else {
		st[0].arg[0] = (struct scn_operand){ .sym = word(w, "%s:enter/%s", known[k].module,
								 out[k]) };
	}
	if (roll(w, 2)) { /* the plain way, where the keys do no harm */
		st[0].nkeys = st[2].nkeys = 0;
		st[2].flags = 0;
	}
}

static void again(struct work *w, const struct scenario *other, uint16_t *name)
{
	if (*name)
		*name = word(w, "%s%s", scn_word(other, *name), "");
}

/*
 * A step of another scenario, whose words are the other's. Expectations stay behind, and timers: they
 * strike at exact instructions, which is slow.
 */
static bool bring(struct work *w, const struct scenario *other, unsigned from, struct scn_step *to)
{
	struct scn_step st = other->step[from];

	if (strpbrk(scn_ops[st.op].shape, "Eg#") || st.op == PP_STOPS || st.op == PP_PREEMPT ||
	    st.op == PP_TIMER)
		return false;
	again(w, other, &st.word);
	for (unsigned k = 0; k < st.nargs; k++)
		again(w, other, &st.arg[k].sym);
	for (unsigned k = 0; k < st.nkeys; k++)
		again(w, other, &st.key[k].o.sym);
	st.thread = to->thread;
	*to = st;
	return true;
}

static void splice(struct work *w, unsigned at, uint8_t thread, const struct scenario *other)
{
	unsigned from, n;

	if (!other || !other->nsteps)
		return;
	from = roll(w, other->nsteps);
	n = 1 + roll(w, 8);
	n = n > other->nsteps - from ? other->nsteps - from : n;
	if (!open_up(w, at, n, thread))
		return;
	for (unsigned i = 0; i < n; i++)
		bring(w, other, from + i, &w->s->step[at + i]);
}

static void change(struct work *w, struct scn_step *st)
{
	unsigned n = st->nargs + st->nkeys;
	struct scn_operand *o;

	if (!n || !roll(w, 5)) {
		/* what is expected breaks nothing: not worth making */
		fresh(w, st,
		      strpbrk(scn_ops[st->op].shape, "Eg#") || st->op == PP_STOPS ? PP_NEVER
										  : st->op);
		return;
	}
	n = roll(w, n);
	if (n < st->nargs && roll(w, 2)) {
		operand_of(w, st, n);
		return;
	}
	o = n < st->nargs ? &st->arg[n] : &st->key[n - st->nargs].o;
	switch (roll(w, 4)) {
	case 0: o->addend += near_by(w); break;
	case 1: o->addend ^= 1ull << roll(w, 64); break;
	case 2: o->flags ^= PP_ALIAS; break;
	default:
		if (n >= st->nargs)
			*o = for_key(w, st->key[n - st->nargs].key);
		else
			*o = any(w);
	}
}

/* A few worlds alone: each is a VM that is kept ready (fuzz/targets/guest.c). */
static void policies(struct work *w)
{
	unsigned world = roll(w, 4);

	for (unsigned i = 0; i < w->s->nmodules; i++) {
		struct scn_module *m = &w->s->module[i];

		m->stack = world == 1;
		m->registers = world == 2;
		m->refusal = world == 3;
		m->chains = world == 3 ? 2 : SCN_DEFAULT_CHAINS;
	}
}

static void once(struct work *w, const struct scenario *other)
{
	struct scenario *s = w->s;
	unsigned at = roll(w, s->nsteps + 1), from, n;
	uint8_t thread = at < s->nsteps ? s->step[at].thread
			 : s->nsteps	? s->step[s->nsteps - 1].thread
					: 0;
	struct scn_step tmp;

	switch (s->nsteps ? roll(w, 20) : 0) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4: insert(w, at, thread); break;
	case 5:
	case 6:
	case 7: insert_flow(w, at, thread); break;
	case 8:
	case 9: /* delete some */
		at %= s->nsteps;
		n = 1 + roll(w, 3);
		n = n > s->nsteps - at ? s->nsteps - at : n;
		memmove(&s->step[at], &s->step[at + n], (s->nsteps - at - n) * sizeof(*s->step));
		s->nsteps -= n;
		break;
	case 10: /* swap */
		at %= s->nsteps;
		from = roll(w, s->nsteps);
		tmp = s->step[at];
		n = tmp.thread;
		s->step[at] = s->step[from];
		s->step[at].thread = (uint8_t)n;
		n = s->step[from].thread;
		s->step[from] = tmp;
		s->step[from].thread = (uint8_t)n;
		break;
	case 11: /* the same again, elsewhere */
		from = roll(w, s->nsteps);
		tmp = s->step[from];
		if (open_up(w, at, 1, thread)) {
			s->step[at] = tmp;
			s->step[at].thread = thread;
		}
		break;
	case 12: splice(w, at, thread, other); break;
	case 13: /* another vCPU's, or a thread that nobody runs yet */
		if (!roll(w, 4))
			s->vcpus = 2;
		if (open_up(w, s->nsteps, 1, (uint8_t)(roll(w, 2) ? 4 : s->vcpus - 1u)))
			fresh(w, &s->step[s->nsteps - 1], PP_CALL);
		break;
	case 14:
		if (!roll(w, 8))
			policies(w);
		break;
	default: change(w, &s->step[at % s->nsteps]);
	}
}

/* Threads ascend, and those of vCPUs that are not there are nobody's. */
static void tidy(struct scenario *s)
{
	for (unsigned i = 0; i < s->nsteps; i++)
		if (s->step[i].thread >= s->vcpus && s->step[i].thread < PP_MAX_VCPUS)
			s->step[i].thread = PP_MAX_VCPUS;
	for (unsigned i = 1; i < s->nsteps; i++)
		if (s->step[i].thread < s->step[i - 1].thread)
			s->step[i].thread = s->step[i - 1].thread;
}

static struct scenario *read(const uint8_t *data, size_t size)
{
	struct scenario *s = NULL;
	struct error err;

	return size && scenario_decode("input", data, size, &s, &err) ? s : NULL;
}

/* Are all its modules of those that the honest scenario has, asking for nothing more? */
static bool fits(const struct scenario *s)
{
	for (unsigned i = 0; i < s->nmodules; i++) {
		const char *name = scn_word(s, s->module[i].word);
		bool there = false;

		for (unsigned k = 0; k < KNOWN; k++)
			there |= !strcmp(known[k].module, name);
		if (!there || s->module[i].flags || s->module[i].wanted & ~(1u << GM_PRIV_MWAIT))
			return false;
	}
	return s->vcpus <= 2;
}

bool fg_seed(const struct scenario *from, struct blob *out)
{
	struct work w = { 0 };
	struct error err;
	bool ok = false;

	*out = (struct blob){ 0 };
	if (!fits(from) || !scenario_parse("honest", fg_honest, strlen(fg_honest), &w.s, &err))
		return false;
	w.s->nsteps = 0;
	w.s->vcpus = from->vcpus;
	for (unsigned i = 0; i < from->nsteps && w.s->nsteps < FG_MAX_STEPS; i++) {
		struct scn_step *st = scn_add_step(w.s);

		if (!st)
			break;
		st->thread = from->step[i].thread;
		if (!bring(&w, from, i, st))
			w.s->nsteps--;
		else
			st->thread = from->step[i].thread;
	}
	ok = w.s->nsteps && scenario_encode(w.s, out) && out->size <= FG_MAX_INPUT;
	if (!ok)
		blob_free(out);
	scenario_free(w.s);
	return ok;
}

size_t fg_mutate(uint8_t *data, size_t size, size_t room, const uint8_t *other, size_t other_size,
		 uint32_t seed)
{
	struct work w = { .s = read(data, size), .x = seed * 0x9e3779b97f4a7c15ull + 1 };
	struct scenario *o = other ? read(other, other_size) : NULL;
	struct blob out = { 0 };
	struct error err;

	if (!w.s && !scenario_parse("honest", fg_honest, strlen(fg_honest), &w.s, &err))
		return size;
	roll(&w, 2);
	for (unsigned times = 1 + roll(&w, 4); times--;)
		once(&w, o);
	tidy(w.s);
	if (scenario_encode(w.s, &out) && out.size <= room) {
		memcpy(data, out.data, out.size);
		size = out.size;
	}
	blob_free(&out);
	scenario_free(w.s);
	scenario_free(o);
	return size;
}

#ifdef FUZZ_AFL_MUTATOR
const struct afl_mutator afl_mutator = { fg_mutate, FG_MAX_INPUT };
#endif
