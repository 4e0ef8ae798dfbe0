// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inputs of the target `core` as finds: the world of fuzz/events/ plays them, watched. The log has the
 * form of the simulator's, so that both read alike; sites are named by the fake guest's layout.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/events/core.h"
#include "fuzz/find.h"

/* ---- names ---- */

static const char *const fn_names[FC_FNS] = { "f", "g", "d", "w", "init", "callback", "h" };

/* Gates in the order of the enumeration in core.h. */
static const char *gate_name(unsigned gate, char buf[24])
{
	static const char *const outs[] = { "leave", "leave-asm", "leave-rax" };

	if (gate == FG_LEAVE_RETURN)
		return "leave-return";
	if (gate == FG_ENTER_RETURN)
		return "enter-return";
	if (gate >= FG_LEAVE)
		return outs[gate - FG_LEAVE];
	snprintf(buf, 24, "enter/%s", fn_names[gate - FG_ENTER]);
	return buf;
}

static bool in_page(uint64_t gva, uint64_t base, uint64_t *off)
{
	*off = gva - base;
	return *off < 4096;
}

static bool module_name(uint64_t gva, char *buf, size_t len)
{
	static const char *const segments[FC_SEGMENTS] = { "text", "gates", "data", "private",
							   "init" };
	char gate[24];
	uint64_t off;

	for (unsigned m = 0; m < FC_MODULES; m++) {
		for (unsigned s = 0; s < FC_SEGMENTS; s++) {
			if (!in_page(gva, fc_seg(m, s), &off))
				continue;
			if (s == FS_GATES && !fc->module[m].views && off / GM_GATE_BYTES < FC_GATES)
				snprintf(buf, len, "m%u:%s+0x%" PRIx64, m,
					 gate_name((unsigned)(off / GM_GATE_BYTES), gate),
					 off % GM_GATE_BYTES);
			else if (s == FS_TEXT && off / 0x100 < FC_FNS && off / 0x100 != FN_INIT &&
				 off / 0x100 != FN_CALLBACK)
				snprintf(buf, len, "m%u:%s+0x%" PRIx64, m, fn_names[off / 0x100],
					 off % 0x100);
			else
				snprintf(buf, len, "m%u:%s+0x%" PRIx64, m, segments[s], off);
			return true;
		}
	}
	return false;
}

static const char *name(uint64_t gva, char *buf, size_t len)
{
	uint64_t off;

	if (module_name(gva, buf, len))
		return buf;
	for (unsigned i = 0; i < FC_IMPORTS; i++)
		if (gva == FC_IMPORT(i)) {
			snprintf(buf, len, "kernel:import%u", i);
			return buf;
		}
	for (unsigned t = 0; t < FC_THREADS; t++) {
		off = FC_STACK_TOP(t) - gva;
		if (off <= 4096 * FC_STACK_PAGES) {
			snprintf(buf, len, "stack%u-0x%" PRIx64, t, off);
			return buf;
		}
	}
	if (gva == FC_KRET)
		snprintf(buf, len, "kernel:return-site");
	else if (gva == FC_HYPERCALL)
		snprintf(buf, len, "kernel:hypercall");
	else if (in_page(gva, FC_KERNEL, &off))
		snprintf(buf, len, "kernel+0x%" PRIx64, off);
	else
		snprintf(buf, len, "0x%" PRIx64, gva);
	return buf;
}

static const char *view(uint8_t v, char buf[12])
{
	unsigned m = v == GUARD_VIEW_U ? FC_MODULES : fc_by_index(v);

	if (m < FC_MODULES)
		snprintf(buf, 12, "m%u", m);
	else
		snprintf(buf, 12, "%s", v == GUARD_VIEW_U ? "U" : "?");
	return buf;
}

/* ---- telling ---- */

struct teller {
	FILE *log;
	bool story;
	unsigned steps;
	uint64_t events; /* that were told */
	struct find_report *r;
};

static void stack(unsigned v, const struct guard_line *l)
{
	const struct guard_cpu *c = &fc->live->cpu[v];
	uint64_t rsp = c->gpr[GUARD_RSP], from = ((l->slot ? l->slot : rsp) & ~7ull) - 16, word;
	char a[64], b[64];
	FILE *f = ((struct teller *)fc_watch->ctx)->log;

	for (unsigned i = 0; i < 6; i++) {
		uint64_t at = from + 8 * i;

		if (!fc_get(c->cr3, at, &word))
			continue;
		fprintf(f, "      %s %-14s ", at == rsp ? "rsp>" : "    ", name(at, a, sizeof(a)));
		if (l->slot && at == l->slot)
			fprintf(f, "%s -> %s   <- the slot\n", name(l->old_word, a, sizeof(a)),
				name(l->new_word, b, sizeof(b)));
		else
			fprintf(f, "%s\n", name(word, a, sizeof(a)));
	}
}

static void line(struct teller *t, const struct guard_line *l)
{
	char site[64], from[12], to[12], module[12];
	struct find_report *r = t->r;

	snprintf(r->event, sizeof(r->event), "%s", guard_event_string(l->event));
	snprintf(r->verdict, sizeof(r->verdict), "%s", guard_verdict_string(l->verdict));
	snprintf(r->place, sizeof(r->place), "%s", l->rip ? name(l->rip, site, sizeof(site)) : "-");
	r->lines++;
	view(l->from, from);
	view(l->to, to);
	view(l->module, module);
	if (!t->story) {
		fprintf(t->log,
			"%u vcpu=%u %s module=%s site=%s verdict=%s view=%s>%s act=%" PRIu32
			" cause=%s\n",
			r->lines, fc->ev.vcpu, r->event, l->module == GUARD_VIEW_U ? "-" : module,
			r->place, r->verdict, from, to, l->act, guard_cause_string(l->cause));
		return;
	}
	fprintf(t->log, "    the core: %s of %s at %s: %s; ", r->event,
		l->module == GUARD_VIEW_U ? "no module" : module, r->place, r->verdict);
	if (l->from == l->to)
		fprintf(t->log, "vCPU %u stays %s\n", fc->ev.vcpu,
			l->to == GUARD_VIEW_U ? "outside" : "inside");
	else
		fprintf(t->log, "vCPU %u was in view %s, is in view %s\n", fc->ev.vcpu, from, to);
	if (fc->ev.judging && l->event <= GUARD_RESUME)
		stack(fc->ev.vcpu, l);
}

static void told(void *ctx)
{
	struct teller *t = ctx;

	t->events = fc->events;
	for (unsigned i = 0; i < fc->d.nlines && i < GUARD_MAX_LINES; i++)
		line(t, &fc->d.line[i]);
	if (t->story && !fc->d.nlines)
		fprintf(t->log, "    the core: nobody's event%s\n",
			fc->d.foreign ? ", a hypercall of somebody else's" : "");
}

static void step(void *ctx, const uint8_t s[FC_STEP])
{
	struct teller *t = ctx;
	const struct guard_cpu *c = &fc->live->cpu[s[1] % 4 % FC_VCPUS];
	char rip[64], rsp[64];
	int in;

	t->steps++;
	if (!t->story)
		return;
	in = fc_inside(s[1] % 4 % FC_VCPUS);
	fprintf(t->log, "step %u: ", t->steps);
	find_core_step(t->log, s);
	fprintf(t->log, "   (rip %s, rsp %s, ", name(c->rip, rip, sizeof(rip)),
		name(c->gpr[GUARD_RSP], rsp, sizeof(rsp)));
	if (fc->live->stopped[s[1] % 4 % FC_VCPUS])
		fputs("stopped)\n", t->log);
	else if (in < 0)
		fputs("outside)\n", t->log);
	else
		fprintf(t->log, "inside m%d)\n", in);
}

/* "oracle: G1 entry: ..." and "G1 entry: ..." are one guarantee. */
static void conclude(struct find_report *r)
{
	const char *what = fc->failure;

	if (!strncmp(what, "oracle: ", 8))
		what += 8;
	r->broken = true;
	r->guarantee = fc->guarantee;
	snprintf(r->what, sizeof(r->what), "%s", what);
	if (fc->guarantee && what[0] == 'G')
		snprintf(r->id, sizeof(r->id), "%.2s", what);
	else
		snprintf(r->id, sizeof(r->id), "%s", fc->guarantee ? "guarantee" : "model");
}

static bool run(const struct blob *in, enum fc_judges judges, struct teller *t, FILE *log)
{
	struct fc_watch watch = { .ctx = t, .step = step, .told = told };
	bool ok;

	/* The world is made by events of its own: nobody tells those. */
	fc_begin(in->size ? in->data[0] % FC_CONFIGS : 0, judges);
	t->log = log;
	t->events = fc->events;
	t->steps = 0;
	t->r->lines = 0;
	fc_watch = &watch;
	ok = fc_run(in->data, in->size, judges);
	fc_watch = NULL;
	return ok;
}

/*
 * As the target does: where the model speaks first, the input is played once more without it, and a
 * guarantee that breaks then counts instead. So which judges are to be asked is found out first.
 */
static bool play(const struct blob *in, const struct find_options *opt, FILE *log,
		 struct find_report *r, struct error *err)
{
	struct teller t = { .story = opt->story, .r = r };
	enum fc_judges judges = opt->guarantees ? FC_GUARANTEES : FC_MODEL;
	FILE *null = fopen("/dev/null", "w");

	if (!null)
		return error_set(err, "no log can be written");
	if (judges == FC_MODEL && !run(in, FC_MODEL, &t, null) && !fc->guarantee &&
	    !run(in, FC_GUARANTEES, &t, null))
		judges = FC_GUARANTEES;
	fclose(null);
	if (run(in, judges, &t, log))
		return true;
	/* A callback of the core's is what broke: then the core never came to a verdict. */
	if (t.events != fc->events || strcmp(r->event, "-") == 0)
		snprintf(r->verdict, sizeof(r->verdict), "none");
	conclude(r);
	if (opt->story && oracle_failure(fc->oracle))
		fputs(oracle_failure(fc->oracle), log);
	return true;
}

/* ---- steps ---- */

static unsigned steps(const struct blob *in)
{
	return in->size ? (unsigned)((in->size - 1) / FC_STEP) : 0;
}

static bool without(const struct blob *in, unsigned at, unsigned n, struct blob *out)
{
	return find_cut(in, 1 + (size_t)at * FC_STEP, (size_t)n * FC_STEP, out);
}

#define WAYS 3u

static int simpler(const struct blob *in, unsigned k, struct blob *out)
{
	unsigned way = k % WAYS, field = k / WAYS % 6, at = k / WAYS / 6, n, v;
	uint8_t *s;

	if (!in->size || at > steps(in))
		return 0;
	if (!find_copy(in, out))
		return 0;
	if (!at) { /* the world, and bytes behind the last step */
		size_t whole = 1 + (size_t)steps(in) * FC_STEP;

		if (field == 0 && find_less(in->data[0], way, &n)) {
			out->data[0] = (uint8_t)n;
			return 1;
		}
		if (field == 1 && !way && in->size > whole) {
			out->size = whole;
			return 1;
		}
		goto same;
	}
	s = out->data + 1 + (size_t)(at - 1) * FC_STEP;
	switch (field) {
	case 0: /* the same step by its smallest number */
		if (way || s[0] < FC_NSTEPS)
			goto same;
		s[0] %= FC_NSTEPS;
		return 1;
	case 1: v = s[1] & 3; break;
	case 2: v = s[1] >> 2 & 1; break;
	case 3: v = s[1] >> 3; break;
	default: v = s[field - 2];
	}
	if (!find_less(v, way, &n))
		goto same;
	switch (field) {
	case 1: s[1] = (uint8_t)((s[1] & ~3) | n); break;
	case 2: s[1] = (uint8_t)((s[1] & ~4) | n << 2); break;
	case 3: s[1] = (uint8_t)((s[1] & 7) | n << 3); break;
	default: s[field - 2] = (uint8_t)n;
	}
	return 1;
same:
	blob_free(out);
	return -1;
}

const struct find_target find_core = {
	.name = "core",
	.print = find_core_print,
	.steps = steps,
	.without = without,
	.simpler = simpler,
	.play = play,
};
