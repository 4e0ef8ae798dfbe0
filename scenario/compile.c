/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Steps to the puppet's program: names become addresses, composite steps become simple ones.
 *
 * Everything that is known before the guest runs is decided here, so that the puppet knows no
 * names. What only the running guest knows stays an @value.
 */
#include <stdlib.h>
#include <string.h>

#include "model/guard.h"
#include "scenario/run.h"

static const char *const segment_names[GM_SEG_KINDS] = { "text",	"gates",     "rodata",
							 "data",	"private",   "init-text",
							 "init-rodata", "init-data", "percpu" };

static bool fail_at(struct run *run, const struct scn_step *st, const char *what, const char *name)
{
	return error_set(run->err, "%s:%u: %s: '%s'", run->s->name, st->line, what, name);
}

int run_module(const struct run *run, const char *name)
{
	size_t n = strcspn(name, ":");

	for (unsigned i = 0; i < run->s->nmodules; i++) {
		const char *w = scn_word(run->s, run->s->module[i].word);

		if (strlen(w) == n && memcmp(w, name, n) == 0)
			return (int)i;
	}
	return -1;
}

uint64_t run_privileges(const struct gm_header *m, uint8_t kinds)
{
	const struct gm_privilege *p = (const void *)((const uint8_t *)m + m->privileges.offset);
	uint64_t set = 0;

	for (unsigned i = 0; i < m->privileges.count; i++)
		if (p[i].kind < GM_PRIVS && (kinds >> p[i].kind & 1))
			set |= 1ull << i;
	return set;
}

bool run_import(struct run *run, const char *name, bool add, unsigned *n)
{
	for (unsigned i = 0; i < run->nimports; i++) {
		if (strcmp(run->import[i], name) == 0) {
			*n = i;
			return true;
		}
	}
	if (!add || run->nimports >= PP_IMPORTS || strlen(name) >= SCN_MAX_WORD)
		return false;
	*n = run->nimports++;
	snprintf(run->import[*n], SCN_MAX_WORD, "%s", name);
	return true;
}

/* Imports named shared_... are data: 64 bytes of the puppet's each. */
bool run_shared(struct run *run, const char *name, uint64_t *gva)
{
	unsigned i;

	for (i = 0; i < run->nshared; i++)
		if (strcmp(run->shared[i], name) == 0)
			break;
	if (i == run->nshared) {
		if (i >= PP_SHARED || strlen(name) >= SCN_MAX_WORD)
			return false;
		snprintf(run->shared[run->nshared++], SCN_MAX_WORD, "%s", name);
	}
	if (!vm_symbol_address(run->vm, "puppet_shared", gva))
		return false;
	*gva += 64ull * i;
	return true;
}

bool run_resolve(void *ctx, const char *name, uint64_t *gva)
{
	struct run *run = ctx;
	unsigned n;

	if (strncmp(name, "shared_", 7) == 0)
		return run_shared(run, name, gva);
	if (!run_import(run, name, true, &n) || !vm_symbol_address(run->vm, "puppet_imports", gva))
		return false;
	*gva += (uint64_t)PP_IMPORT_STRIDE * n;
	return true;
}

/* ---- names ---- */

/* "seg/KIND" and "size/KIND": the first segment of that kind. */
static bool segment_name(struct run *run, unsigned m, const char *what, uint64_t *v)
{
	const struct gm_header *h = vm_module_manifest(run->vm, run->index[m]);
	bool size = strncmp(what, "size/", 5) == 0;
	const char *kind = strchr(what, '/') + 1;
	const struct gm_segment *seg;

	if (!h)
		return false;
	seg = (const void *)((const uint8_t *)h + h->segments.offset);
	for (unsigned i = 0; i < h->segments.count; i++) {
		if (seg[i].kind >= GM_SEG_KINDS || strcmp(segment_names[seg[i].kind], kind) != 0)
			continue;
		*v = size ? seg[i].size : vm_module_base(run->vm, run->index[m], i);
		return true;
	}
	return false;
}

/* Offset of X in the gate at gva. */
static uint64_t gate_x(struct run *run, unsigned m, uint64_t gva)
{
	const struct gm_header *h = vm_module_manifest(run->vm, run->index[m]);
	const struct gm_segment *seg;
	const struct gm_gate *gate;

	if (!h)
		return 0;
	seg = (const void *)((const uint8_t *)h + h->segments.offset);
	gate = (const void *)((const uint8_t *)h + h->gates.offset);
	for (unsigned i = 0; i < h->segments.count; i++) {
		uint64_t n = (gva - vm_module_base(run->vm, run->index[m], i)) / GM_GATE_BYTES;

		if (seg[i].kind == GM_SEG_GATES && n < h->gates.count)
			return gate[n].x;
	}
	return 0;
}

static bool is_gate(const char *what)
{
	return strncmp(what, "enter/", 6) == 0 || strncmp(what, "leave/", 6) == 0 ||
	       strncmp(what, "leave-return", 12) == 0 || strncmp(what, "enter-return", 12) == 0;
}

static bool module_name(struct run *run, unsigned m, const char *name, bool site, uint64_t *v)
{
	const char *what = strchr(name, ':') + 1;
	size_t n = strlen(name);
	char gate[SCN_MAX_WORD];
	struct gh_boot *b = NULL;

	for (unsigned i = 0; i < GH_MAX_MODULES && strcmp(what, "table") == 0; i++) {
		char loaded[32];
		uint64_t at =
			run->boot + offsetof(struct gh_boot, module) + i * sizeof(b->module[0]);

		if (!vm_read_u(run->vm, 0, at + offsetof(struct gh_boot_module, name), loaded, 32))
			return false;
		if (strncmp(loaded, name, (size_t)(what - 1 - name)) == 0 &&
		    loaded[what - 1 - name] == 0) {
			*v = at + offsetof(struct gh_boot_module, base);
			return true;
		}
	}
	if (strcmp(what, "id") == 0) {
		struct guard_module_info info;

		if (!guard_module_info(vm_guard(run->vm), run->index[m], &info))
			return false;
		*v = info.id;
		return true;
	}
	if (strcmp(what, "segments") == 0) {
		const struct gm_header *h = vm_module_manifest(run->vm, run->index[m]);

		*v = h ? h->segments.count : 0;
		return h != NULL;
	}
	/* the word that an entry's slot holds: without gates the one that `call` put there */
	if (run->opt->views && strcmp(what, "leave-return") == 0)
		return vm_symbol_address(run->vm, "puppet_landing", v);
	if (strncmp(what, "seg/", 4) == 0 || strncmp(what, "size/", 5) == 0)
		return segment_name(run, m, what, v);
	/* "GATE.x" is the address of X, where a crossing is judged */
	if (n > 2 && strcmp(name + n - 2, ".x") == 0 && is_gate(what)) {
		snprintf(gate, sizeof(gate), "%.*s", (int)n - 2, name);
		name = gate;
		site = true;
	}
	if (!vm_symbol_address(run->vm, name, v))
		return false;
	if (site && is_gate(what))
		*v += gate_x(run, m, *v);
	return true;
}

static bool symbol(struct run *run, const struct scn_step *st, const char *name, bool site,
		   uint64_t *v)
{
	char guest[SCN_MAX_WORD + 8];
	unsigned n;
	int m;

	if (st->op == PP_EXPECT_RESULT && strncmp(name, "status-", 7) == 0) {
		const char *state = name + 7;

		*v = strcmp(state, "registered") == 0	 ? GUARD_STATUS_REGISTERED
		     : strcmp(state, "announced") == 0	 ? GUARD_STATUS_ANNOUNCED
		     : strcmp(state, "quarantined") == 0 ? GUARD_STATUS_QUARANTINED
							 : 0;
		return *v != 0;
	}
	for (unsigned i = 0; st->op == PP_EXPECT_RESULT && i < GUARD_NVERDICTS; i++) {
		if (strcmp(name, guard_verdict_string((enum guard_verdict)i)) == 0) {
			*v = i;
			return true;
		}
	}
	for (unsigned i = 0; (st->op == PP_GRANT || st->op == PP_WITHHOLD) && i < GM_PRIVS; i++) {
		if (strcmp(name, scn_kinds[i]) == 0) {
			*v = 1ull << i;
			return true;
		}
	}
	if (strcmp(name, "device") == 0)
		return vm_read_u(run->vm, 0, run->boot + offsetof(struct gh_boot, device), v, 8);
	if (strncmp(name, "import/", 7) == 0) {
		if (!run_import(run, name + 7, false, &n) ||
		    !vm_symbol_address(run->vm, "puppet_imports", v))
			return false;
		*v += (uint64_t)PP_IMPORT_STRIDE * n;
		return true;
	}
	if (strncmp(name, "shared/", 7) == 0)
		return run_shared(run, name + 7, v);
	m = run_module(run, name);
	if (m >= 0 && strchr(name, ':'))
		return module_name(run, (unsigned)m, name, site, v);
	if (strncmp(name, "puppet:", 7) == 0) {
		snprintf(guest, sizeof(guest), "puppet_%s", name + 7);
		return vm_symbol_address(run->vm, guest, v);
	}
	return false;
}

bool run_constant(struct run *run, const struct scn_step *st, const struct scn_operand *o,
		  uint64_t *v)
{
	*v = 0;
	if (o->sym && !symbol(run, st, scn_word(run->s, o->sym), st->op == PP_EXPECT, v))
		return fail_at(run, st, "no such name here", scn_word(run->s, o->sym));
	*v += o->addend;
	return true;
}

/* ---- the program ---- */

static bool put(struct run *run, const void *p, size_t n)
{
	uint8_t *grown = realloc(run->program.data, run->program.size + n);

	if (!grown)
		return error_set(run->err, "%s: out of memory", run->s->name);
	run->program.data = grown;
	memcpy(grown + run->program.size, p, n);
	run->program.size += n;
	return true;
}

/* A step for the puppet, with operands that are resolved already. */
static bool emit(struct run *run, const struct scn_step *st, struct pp_step *pp,
		 const struct pp_operand *o, enum run_check check, bool last)
{
	struct run_origin *grown = realloc(run->origin, (run->norigin + 1) * sizeof(*run->origin));
	size_t n = (size_t)pp->nargs + pp->nkeys;

	if (!grown)
		return error_set(run->err, "%s: out of memory", run->s->name);
	run->origin = grown;
	run->origin[run->norigin++] = (struct run_origin){ .step = (uint16_t)(st - run->s->step),
							   .check = (uint8_t)check,
							   .op = pp->op,
							   .last = last };
	pp->check = check != CHECK_NONE;
	pp->size = (uint32_t)(sizeof(*pp) + n * sizeof(*o));
	return put(run, pp, sizeof(*pp)) && put(run, o, n * sizeof(*o));
}

static bool resolve(struct run *run, const struct scn_step *st, const struct scn_operand *o,
		    uint8_t key, struct pp_operand *out)
{
	*out = (struct pp_operand){ .dyn = o->dyn, .flags = o->flags, .key = key };
	return run_constant(run, st, o, &out->value);
}

static enum run_check check_of(uint8_t op)
{
	switch (op) {
	case PP_EXPECT: return CHECK_LINE;
	case PP_MAYBE: return CHECK_MAYBE;
	case PP_EXPECT_OK: return CHECK_OK;
	case PP_EXPECT_NONE: return CHECK_NOTHING;
	case PP_EXPECT_UNPRIVILEGED: return CHECK_UNPRIVILEGED;
	case PP_EXPECT_SUSPENDED: return CHECK_SUSPENDED;
	case PP_EXPECT_RINGS: return CHECK_RINGS;
	case PP_OUTSIDE: return CHECK_OUTSIDE;
	case PP_GRANT: return CHECK_GRANT;
	case PP_WITHHOLD: return CHECK_WITHHOLD;
	case PP_UNREGISTER: return CHECK_UNREGISTER;
	case PP_RESET: return CHECK_RESET;
	case PP_FAIL_NEXT: return CHECK_FAIL_NEXT;
	case PP_REGISTER: return CHECK_REGISTER;
	case PP_RELOAD: return CHECK_RELOAD;
	default: return CHECK_NONE;
	}
}

/* Operands that the puppet gets in place of the step's own. */
static bool special_operands(struct run *run, const struct scn_step *st, struct pp_step *pp,
			     struct pp_operand *o)
{
	const char *w = scn_word(run->s, st->word);
	int m = run_module(run, w);
	const struct gm_header *h;
	char name[SCN_MAX_WORD + 16];
	uint64_t v = 0;

	if (m < 0 || strchr(w, ':'))
		return fail_at(run, st, "no such module in this scenario", w);
	h = vm_module_manifest(run->vm, run->index[m]);
	if (!h)
		return fail_at(run, st, "this module is not registered", w);
	if (st->op == PP_OUTSIDE) {
		memset(o, 0, 3 * sizeof(*o));
		pp->nargs = 3;
		if (segment_name(run, (unsigned)m, "seg/private", &o[0].value)) {
			segment_name(run, (unsigned)m, "size/private", &v);
			o[1].value = v > 64 ? 64 : v & ~7ull;
		}
		if (run_privileges(h, 1u << GM_PRIV_DEVICE))
			return vm_read_u(run->vm, 0, run->boot + offsetof(struct gh_boot, device),
					 &o[2].value, 8);
		return true;
	}
	/* ANNOUNCE, WITHDRAW, STATUS: RAX RBX RCX RDX */
	memset(o, 0, 4 * sizeof(*o));
	pp->nargs = 4;
	o[0].value = st->op == PP_WITHDRAW ? GUARD_CALL_WITHDRAW
		     : st->op == PP_STATUS ? GUARD_CALL_STATUS
					   : GUARD_CALL_ANNOUNCE;
	snprintf(name, sizeof(name), "%s:id", w);
	if (!module_name(run, (unsigned)m, name, false, &o[1].value))
		return fail_at(run, st, "this module has no ID now", w);
	if (st->op == PP_ANNOUNCE) {
		snprintf(name, sizeof(name), "%s:table", w);
		o[3].value = h->segments.count;
		return module_name(run, (unsigned)m, name, false, &o[2].value) ||
		       fail_at(run, st, "this module is not in the boot page", w);
	}
	if (st->op == PP_ANNOUNCE_AT)
		return resolve(run, st, &st->arg[0], 0, &o[2]) &&
		       resolve(run, st, &st->arg[1], 0, &o[3]);
	return true;
}

/*
 * The kernel rewrites one of the sites that it may rewrite at run time: a breakpoint first, then
 * the rest, then the first byte. Through the direct map, as the text itself is read-only.
 */
static bool compile_poke(struct run *run, const struct scn_step *st)
{
	int m = run_module(run, scn_word(run->s, st->word));
	const struct gm_header *h = m < 0 ? NULL : vm_module_manifest(run->vm, run->index[m]);
	const struct gm_segment *seg;
	const struct gm_choice *choice;
	const struct gm_site *site;
	const uint8_t *bytes;
	uint64_t n = st->arg[0].addend, k = st->arg[1].addend;
	uint32_t i, s;

	if (!h)
		return fail_at(run, st, "no such module in this scenario",
			       scn_word(run->s, st->word));
	seg = (const void *)((const uint8_t *)h + h->segments.offset);
	site = (const void *)((const uint8_t *)h + h->sites.offset);
	choice = (const void *)((const uint8_t *)h + h->choices.offset);
	for (i = 0; i < h->sites.count; i++)
		if (site[i].flags & GM_SITE_RUNTIME && n-- == 0)
			break;
	if (i == h->sites.count || k >= site[i].count || choice[site[i].first + k].relocs)
		return fail_at(run, st, "no such patch site or content in this module",
			       scn_word(run->s, st->word));
	site += i;
	bytes = (const uint8_t *)h + h->image.offset + choice[site->first + k].bytes;
	for (s = 0; s + 1 < h->segments.count && seg[s + 1].start <= site->moff; s++)
		;
	for (i = 0; i <= site->size; i++) {
		uint32_t at = i == site->size ? 0 : i;
		struct pp_step pp = { .op = PP_WRITE, .sub = 1, .label = PP_NO_LABEL, .nargs = 2 };
		struct pp_operand o[2] = {
			{ .value = vm_module_base(run->vm, run->index[m], s) + site->moff -
				   seg[s].start + at,
			  .flags = PP_ALIAS },
			{ .value = i == 0 ? 0xcc : bytes[at] },
		};

		if (!emit(run, st, &pp, o, CHECK_NONE, false))
			return false;
	}
	return true;
}

static bool is_expectation(const struct scn_step *st)
{
	return st->op == PP_EXPECT || st->op == PP_MAYBE || st->op == PP_EXPECT_OK ||
	       st->op == PP_EXPECT_NONE;
}

/* What the host alone can look at, so that no vCPU has to reach it. */
static bool is_hosts(const struct scn_step *st)
{
	return is_expectation(st) || st->op == PP_EXPECT_UNPRIVILEGED ||
	       st->op == PP_EXPECT_SUSPENDED || st->op == PP_EXPECT_RINGS || st->op == PP_COMMENT;
}

/* Does a further expectation of the same thread follow directly? */
static bool group_ends(const struct run *run, unsigned i)
{
	const struct scenario *s = run->s;

	for (unsigned k = i + 1; k < s->nsteps && s->step[k].thread == s->step[i].thread; k++) {
		if (s->step[k].op == PP_COMMENT)
			continue;
		return !is_expectation(&s->step[k]);
	}
	return true;
}

static bool alternatives(struct run *run, const struct scn_step *st)
{
	for (unsigned i = 0; i < st->nkeys; i++) {
		const char *w = scn_word(run->s, st->key[i].o.sym);
		unsigned v = 0;

		if (st->key[i].key != PP_KEY_OR)
			continue;
		while (v < GUARD_NVERDICTS &&
		       strcmp(w, guard_verdict_string((enum guard_verdict)v)) != 0)
			v++;
		if (v == GUARD_NVERDICTS)
			return fail_at(run, st, "not a verdict", w);
	}
	return true;
}

/* Bounds that the shapes do not know, and what may stand where. */
static bool check_place(struct run *run, unsigned i)
{
	const struct scenario *s = run->s;
	const struct scn_step *st = &s->step[i];
	const char *w = scn_word(s, st->word);

	switch (st->op) {
	case PP_LET:
	case PP_FIND:
		return st->label < PP_VARIABLES ||
		       error_set(run->err, "%s:%u: variables are 0 to %u", s->name, st->line,
				 PP_VARIABLES - 1);
	case PP_SWITCH:
		return st->label < PP_THREADS || error_set(run->err, "%s:%u: threads are 0 to %u",
							   s->name, st->line, PP_THREADS - 1);
	case PP_START:
	case PP_RESET:
		return st->label < s->vcpus ||
		       error_set(run->err, "%s:%u: there are not so many vCPUs", s->name, st->line);
	case PP_CONFIG_READ:
	case PP_CONFIG_WRITE:
	case PP_EXPECT_CONFIG:
		return st->sub <= 4 || error_set(run->err,
						 "%s:%u: configuration space is reached in "
						 "1, 2 or 4 bytes",
						 s->name, st->line);
	case PP_EXPECT:
	case PP_MAYBE: return alternatives(run, st);
	case PP_PREEMPT:
		run->preempts = true;
		return s->class == SCN_RACE ||
		       error_set(run->err, "%s:%u: 'preempt' makes a race: 'class race' above",
				 s->name, st->line);
	case PP_STOPS: break;
	default: return true;
	}
	if (run_stop_of(w) == STOP_NONE)
		return fail_at(run, st, "not a way to stop", w);
	if (st->thread >= PP_MAX_VCPUS)
		return fail_at(run, st, "only a vCPU's own thread stops", w);
	for (i++; i < s->nsteps && s->step[i].thread == st->thread; i++)
		if (!is_hosts(&s->step[i]))
			return fail_at(run, &s->step[i],
				       "behind 'stops' come only expectations of verdicts",
				       scn_ops[s->step[i].op].word);
	return true;
}

static bool compile_step(struct run *run, unsigned i)
{
	const struct scn_step *st = &run->s->step[i];
	struct pp_operand o[PP_MAX_ARGS + PP_MAX_KEYS];
	struct pp_step pp = { .op = st->op,
			      .sub = st->sub,
			      .label = st->label,
			      .flags = st->flags,
			      .nargs = st->nargs,
			      .nkeys = st->nkeys };
	const char *w = scn_word(run->s, st->word);
	unsigned n = 0;

	if (st->op == PP_COMMENT)
		return true;
	if (!check_place(run, i))
		return false;
	if (st->op == PP_CALLOUT) {
		if (!run_import(run, w, false, &n))
			return fail_at(run, st, "no module of this scenario imports that", w);
		pp.import = (uint16_t)n;
	}
	if (st->op == PP_POKE)
		return compile_poke(run, st);
	if (st->op == PP_OUTSIDE || (st->op >= PP_ANNOUNCE && st->op <= PP_STATUS)) {
		if (!special_operands(run, st, &pp, o))
			return false;
		return emit(run, st, &pp, o, check_of(st->op), false);
	}
	if (st->op == PP_STOPS || (check_of(st->op) != CHECK_NONE && st->op != PP_EXPECT_NONE)) {
		/* all of it is the host's */
		pp.nargs = pp.nkeys = 0;
		return emit(run, st, &pp, o, check_of(st->op), group_ends(run, i));
	}
	for (n = 0; n < st->nargs; n++)
		if (!resolve(run, st, &st->arg[n], 0, &o[n]))
			return false;
	for (n = 0; n < st->nkeys; n++)
		if (!resolve(run, st, &st->key[n].o, st->key[n].key, &o[st->nargs + n]))
			return false;
	if (!emit(run, st, &pp, o, check_of(st->op), group_ends(run, i)))
		return false;
	if (st->op != PP_HONEST)
		return true;
	/* ... and then it must have returned this value */
	o[0] = o[1];
	pp = (struct pp_step){ .op = PP_RETURNS, .label = PP_NO_LABEL, .nargs = 1 };
	return emit(run, st, &pp, o, CHECK_HONEST, true);
}

bool run_compile(struct run *run)
{
	const struct scenario *s = run->s;
	struct pp_program head = { .magic = PP_MAGIC, .vcpus = s->vcpus, .company = run->vcpus };

	free(run->program.data);
	free(run->origin);
	memset(&run->program, 0, sizeof(run->program));
	run->origin = NULL;
	run->norigin = 0;
	if (!put(run, &head, sizeof(head)))
		return false;
	for (unsigned i = 0, t = 0; t < PP_THREADS; t++) {
		head.thread[t].offset = (uint32_t)run->program.size;
		head.thread[t].first = run->norigin;
		for (; i < s->nsteps && s->step[i].thread == t; i++) {
			if (!compile_step(run, i))
				return false;
			head.thread[t].stops |= s->step[i].op == PP_STOPS;
		}
		head.thread[t].count = run->norigin - head.thread[t].first;
	}
	head.steps = run->norigin;
	head.results = (uint32_t)run->program.size;
	head.rounds = head.results + head.steps * (uint32_t)sizeof(struct pp_result);
	head.size = head.rounds + PP_MAX_VCPUS * (uint32_t)sizeof(uint64_t);
	memcpy(run->program.data, &head, sizeof(head));
	return true;
}
