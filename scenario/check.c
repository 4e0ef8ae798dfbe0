/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Expectations against the verdict log and the puppet's results.
 *
 * Each vCPU's log lines are accounted for one by one, in order: an `expect` takes the next one,
 * and behind the last expectation of a group none may be left. Passed over are only the DEPART and
 * RESUME that come from kicks, since no step says when they strike, and ANNOUNCE `again`.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "model/guard.h"
#include "scenario/run.h"

#define STEP_TEXT 120u

void run_fail(struct run *run, uint32_t line, const char *fmt, ...)
{
	struct scenario_result *r = run->r;
	va_list ap;

	if (r->failures < SCN_MAX_FAILURES) {
		struct scenario_failure *f = &r->failure[r->failures];

		f->line = line;
		va_start(ap, fmt);
		vsnprintf(f->text, sizeof(f->text), fmt, ap);
		va_end(ap);
	}
	r->failures++;
}

/* Adds a word to a comma-separated list, unless it is there or there is no room. */
static void note(char list[160], const char *word)
{
	size_t len = strlen(list), n = strlen(word);

	for (const char *p = list; *p;) {
		size_t k = strcspn(p, ",");

		if (k == n && memcmp(p, word, n) == 0)
			return;
		p += k;
		p += strspn(p, ", ");
	}
	if (n && len + n + 3 < 160)
		snprintf(list + len, 160 - len, "%s%s", len ? ", " : "", word);
}

/* What the attack table shows of a line: nothing for what goes well. */
static void note_line(char list[160], enum guard_event_name event, enum guard_verdict verdict)
{
	if (event == GUARD_TOUCH)
		note(list, "TOUCH");
	else if (verdict != GUARD_V_OK && verdict < GUARD_NVERDICTS)
		note(list, guard_verdict_string(verdict));
}

/*
 * How often ANNOUNCE says `again` is the core's business. No step says where the timer of
 * `preempt` strikes, so departures that go well are passed over with it.
 */
static bool passed_over(const struct run *run, const struct guard_line *l)
{
	if ((run->preempts || run->opt->strike) && l->verdict == GUARD_V_OK &&
	    ((l->event == GUARD_DEPART && l->cause == GUARD_CAUSE_IRQ) || l->event == GUARD_RESUME))
		return true;
	return l->cause == GUARD_CAUSE_KICK || l->verdict == GUARD_V_AGAIN;
}

/* The next line of this vCPU that is not accounted for; NULL: none. */
static const struct vm_line *next_line(struct run *run, unsigned vcpu, bool take)
{
	const struct vm_line *l;

	for (size_t i = run->cursor[vcpu]; (l = vm_log_line(run->vm, i)) != NULL; i++) {
		if (l->vcpu != vcpu || passed_over(run, &l->line)) {
			if (i == run->cursor[vcpu])
				run->cursor[vcpu]++;
			continue;
		}
		if (take)
			run->cursor[vcpu] = i + 1;
		return l;
	}
	return NULL;
}

static void leftovers(struct run *run, unsigned vcpu, uint32_t line)
{
	const struct vm_line *l;
	char text[200];
	unsigned n = 0;

	while ((l = next_line(run, vcpu, true)) != NULL) {
		if (n++ < 3) {
			vm_log_format(run->vm, l, text, sizeof(text));
			run_fail(run, line, "judged, but not expected: %s", text);
		}
		note_line(run->r->got, l->line.event, l->line.verdict);
	}
}

static const struct scn_operand *find_key(const struct scn_step *st, uint8_t key)
{
	for (unsigned i = 0; i < st->nkeys; i++)
		if (st->key[i].key == key)
			return &st->key[i].o;
	return NULL;
}

static uint8_t module_index(const struct run *run, const struct scn_operand *o)
{
	int m = run_module(run, scn_word(run->s, o->sym));

	return m < 0 ? GUARD_VIEW_U : (uint8_t)run->index[m];
}

/*
 * Without gates a site that the scenario names by its gate is, for entries and call-outs, the
 * function that the gate leads to. The return kinds are judged where they come back to, which the
 * scenario does not name: any place will do.
 */
static bool without_gates(struct run *run, const struct scn_operand *o, uint64_t rip, bool *met)
{
	const char *name = scn_word(run->s, o->sym), *what = strchr(name, ':');
	size_t n = strlen(name);
	char symbol[SCN_MAX_WORD];
	uint64_t gva = 0;

	if (!run->opt->views || !what)
		return false;
	what++;
	if (strncmp(what, "leave-return", 12) == 0 || strncmp(what, "enter-return", 12) == 0 ||
	    strncmp(what, "leave/%", 7) == 0)
		return *met = true;
	if (n > 2 && strcmp(name + n - 2, ".x") == 0)
		n -= 2;
	if (strncmp(what, "leave/", 6) == 0) {
		unsigned import;

		snprintf(symbol, sizeof(symbol), "%.*s", (int)(name + n - what - 6), what + 6);
		*met = run_import(run, symbol, false, &import) &&
		       vm_symbol_address(run->vm, "puppet_imports", &gva) &&
		       gva + (uint64_t)PP_IMPORT_STRIDE * import == rip;
		return true;
	}
	if (strncmp(what, "enter/", 6) != 0)
		return false;
	snprintf(symbol, sizeof(symbol), "%.*s", (int)n, name);
	*met = vm_symbol_address(run->vm, symbol, &gva) && gva == rip;
	return true;
}

static bool site_met(struct run *run, const struct scn_step *st, const struct scn_operand *o,
		     uint64_t rip)
{
	uint64_t v;
	bool met = false;

	if (without_gates(run, o, rip, &met))
		return met;
	return run_constant(run, st, o, &v) && v == rip;
}

/* The first of the step's keys that the line does not meet; NULL: it meets all. */
static const char *unmet(struct run *run, const struct scn_step *st, const struct guard_line *l)
{
	const struct scn_operand *o;

	if ((o = find_key(st, PP_KEY_SITE)) && !site_met(run, st, o, l->rip))
		return "site";
	if ((o = find_key(st, PP_KEY_ACT)) && o->addend != l->act)
		return "act";
	if ((o = find_key(st, PP_KEY_MODULE)) && module_index(run, o) != l->module)
		return "module";
	if ((o = find_key(st, PP_KEY_VIEW)) && module_index(run, o) != l->to)
		return "view";
	if ((o = find_key(st, PP_KEY_CAUSE)) &&
	    strcmp(scn_word(run->s, o->sym), guard_cause_string(l->cause)) != 0 &&
	    !(run->opt->views && l->cause == GUARD_CAUSE_FETCH &&
	      strcmp(scn_word(run->s, o->sym), guard_cause_string(GUARD_CAUSE_X)) == 0))
		return "cause";
	return NULL;
}

/* The verdict, or one of those that `or=` names besides. */
static bool one_of(struct run *run, const struct scn_step *st, enum guard_verdict verdict)
{
	if (verdict == (enum guard_verdict)st->label)
		return true;
	for (unsigned i = 0; i < st->nkeys; i++)
		if (st->key[i].key == PP_KEY_OR &&
		    strcmp(scn_word(run->s, st->key[i].o.sym), guard_verdict_string(verdict)) == 0)
			return true;
	return false;
}

/* What may come, for the table: in a race every one of it must come with some seed. */
static void note_expected(struct run *run, const struct scn_step *st)
{
	enum guard_event_name event = (enum guard_event_name)st->sub;

	note_line(run->r->expected, event, (enum guard_verdict)st->label);
	for (unsigned i = 0; i < st->nkeys; i++) {
		const char *w = scn_word(run->s, st->key[i].o.sym);

		if (st->key[i].key == PP_KEY_OR && event != GUARD_TOUCH && strcmp(w, "ok") != 0)
			note(run->r->expected, w);
	}
}

static void check_maybe(struct run *run, unsigned vcpu, const struct scn_step *st)
{
	const struct vm_line *l = next_line(run, vcpu, false);

	run->r->checks++;
	if (!l || l->line.event != (enum guard_event_name)st->sub ||
	    !one_of(run, st, l->line.verdict) || unmet(run, st, &l->line))
		return;
	/* it need not come, so only where it does is it a thing to be told */
	note_line(run->r->expected, l->line.event, l->line.verdict);
	note_line(run->r->got, l->line.event, l->line.verdict);
	next_line(run, vcpu, true);
}

/* Whatever was judged is accepted. */
static void check_ok(struct run *run, unsigned vcpu, const struct scn_step *st)
{
	const struct vm_line *l;
	char text[200];

	run->r->checks++;
	while ((l = next_line(run, vcpu, true)) != NULL) {
		if (l->line.verdict == GUARD_V_OK)
			continue;
		vm_log_format(run->vm, l, text, sizeof(text));
		run_fail(run, st->line, "expected ok; got %s", text);
		note_line(run->r->got, l->line.event, l->line.verdict);
	}
}

/*
 * With an interrupt anywhere, what passed_over() passes over is not expected either. A departure
 * of another cause, an NMI's say, is no interrupt's: its line stands there, and is compared.
 */
static bool struck_over(struct run *run, unsigned vcpu, const struct scn_step *st)
{
	const struct scn_operand *cause = find_key(st, PP_KEY_CAUSE);
	const struct vm_line *l;

	if (!run->opt->strike || st->label != GUARD_V_OK)
		return false;
	if (st->sub == GUARD_RESUME)
		return true;
	if (st->sub != GUARD_DEPART)
		return false;
	if (cause)
		return !strcmp(scn_word(run->s, cause->sym), guard_cause_string(GUARD_CAUSE_IRQ));
	l = next_line(run, vcpu, false);
	return !l || l->line.event != GUARD_DEPART;
}

static void check_line(struct run *run, unsigned vcpu, const struct scn_step *st)
{
	enum guard_event_name event = (enum guard_event_name)st->sub;
	enum guard_verdict verdict = (enum guard_verdict)st->label;
	const struct vm_line *l;
	const char *key;
	char text[200];

	run->r->checks++;
	if (struck_over(run, vcpu, st))
		return;
	l = next_line(run, vcpu, true);
	note_expected(run, st);
	if (!l) {
		run_fail(run, st->line, "expected %s %s; nothing was judged",
			 guard_event_string(event), guard_verdict_string(verdict));
		return;
	}
	note_line(run->r->got, l->line.event, l->line.verdict);
	vm_log_format(run->vm, l, text, sizeof(text));
	if (l->line.event != event || !one_of(run, st, l->line.verdict))
		run_fail(run, st->line, "expected %s %s; got %s", guard_event_string(event),
			 guard_verdict_string(verdict), text);
	else if ((key = unmet(run, st, &l->line)) != NULL)
		run_fail(run, st->line, "expected another %s; got %s", key, text);
}

static void check_honest(struct run *run, unsigned vcpu, const struct scn_step *st)
{
	static const enum guard_event_name want[2] = { GUARD_ENTER_CALL, GUARD_LEAVE_RETURN };
	const struct vm_line *l;
	char text[200];

	run->r->checks++;
	for (unsigned i = 0; i < 2; i++) {
		l = next_line(run, vcpu, true);
		if (!l) {
			run_fail(run, st->line, "an honest entry: %s was not judged",
				 guard_event_string(want[i]));
			return;
		}
		if (l->line.event == want[i] && l->line.verdict == GUARD_V_OK)
			continue;
		vm_log_format(run->vm, l, text, sizeof(text));
		run_fail(run, st->line, "an honest entry: expected %s ok; got %s",
			 guard_event_string(want[i]), text);
		note_line(run->r->got, l->line.event, l->line.verdict);
		return;
	}
}

/* The reads from outside must have been seen, and nothing else. */
static void check_outside(struct run *run, unsigned vcpu, const struct scn_step *st)
{
	const struct vm_line *l;
	unsigned touches = 0;

	run->r->checks++;
	while ((l = next_line(run, vcpu, false)) != NULL && l->line.event == GUARD_TOUCH) {
		next_line(run, vcpu, true);
		touches++;
	}
	if (!touches)
		run_fail(run, st->line, "the reads from outside were not reported as TOUCH");
	leftovers(run, vcpu, st->line);
}

static void check_suspended(struct run *run, const struct scn_step *st)
{
	int m = run_module(run, scn_word(run->s, st->word));
	struct guard_module_info info;

	run->r->checks++;
	if (m < 0 || !guard_module_info(vm_guard(run->vm), run->index[m], &info))
		run_fail(run, st->line, "no such module");
	else if (info.suspended != st->arg[0].addend)
		run_fail(run, st->line, "expected %" PRIu64 " suspended chains; got %u",
			 st->arg[0].addend, info.suspended);
}

static void grant(struct run *run, unsigned vcpu, const struct scn_step *st, bool give)
{
	int m = run_module(run, scn_word(run->s, st->word));
	uint64_t kinds = 0, set;

	if (m < 0 || !run_constant(run, st, &st->arg[0], &kinds)) {
		run_fail(run, st->line, "no such module or privilege");
		return;
	}
	if (st->nargs > 1)
		vcpu = (unsigned)st->arg[1].addend;
	set = run_privileges(vm_module_manifest(run->vm, run->index[m]), (uint8_t)kinds);
	if (!vm_grant(run->vm, vcpu, run->index[m], set, give))
		run_fail(run, st->line, "refused: no such vCPU or module now");
}

/* The loader places the module anew; what has not run yet of the program gets the new addresses. */
static void reload(struct run *run, const struct scn_step *st)
{
	int m = run_module(run, scn_word(run->s, st->word));
	struct error err = { "" };
	struct pp_program head;

	run->err = &err;
	if (m < 0 || !vm_reload_module(run->vm, run->index[m], false, run_resolve, run, &err) ||
	    !run_compile(run)) {
		run_fail(run, st->line, "reload: %s", err.text[0] ? err.text : "no such module");
	} else {
		memcpy(&head, run->program.data, sizeof(head));
		if (!vm_write_u(run->vm, 0, run->mailbox, run->program.data, head.results))
			run_fail(run, st->line, "reload: the program cannot be rewritten");
	}
	run->err = NULL;
}

/* Only if there is such a field and record does the guard hear of it. */
static void try_register(struct run *run, const struct scn_step *st)
{
	const char *word = scn_word(run->s, st->word), *field = strchr(word, ':');
	int m = run_module(run, word);
	enum guard_verdict verdict;
	struct error err = { "" };

	if (m < 0 || !field ||
	    !run_register(run, (unsigned)m, field + 1, st->arg[0].addend, st->arg[1].addend,
			  &verdict, &err))
		run_fail(run, st->line, "register: %s",
			 err.text[0] ? err.text : "no such module, or no field named");
}

static void administrator(struct run *run, unsigned vcpu, const struct scn_step *st,
			  enum run_check what)
{
	int m = run_module(run, scn_word(run->s, st->word));

	switch (what) {
	case CHECK_GRANT:
	case CHECK_WITHHOLD: grant(run, vcpu, st, what == CHECK_GRANT); break;
	case CHECK_UNREGISTER:
		if (m < 0 || !vm_unregister(run->vm, run->index[m]))
			run_fail(run, st->line, "unregister: refused");
		break;
	case CHECK_RESET:
		if (!vm_reset_vcpu(run->vm, st->label))
			run_fail(run, st->line, "reset-vcpu: refused");
		break;
	case CHECK_REGISTER: try_register(run, st); break;
	case CHECK_FAIL_NEXT:
		vm_fail_next(run->vm, vcpu, (unsigned)st->arg[0].addend,
			     (unsigned)st->arg[1].addend);
		break;
	default: reload(run, st);
	}
}

/* What the host does at a step of the program. */
static void perform(struct run *run, unsigned vcpu, const struct run_origin *o)
{
	const struct scn_step *st = &run->s->step[o->step];
	struct vm *vm = run->vm;

	switch ((enum run_check)o->check) {
	case CHECK_LINE: check_line(run, vcpu, st); break;
	case CHECK_MAYBE: check_maybe(run, vcpu, st); break;
	case CHECK_OK: check_ok(run, vcpu, st); break;
	case CHECK_NOTHING: run->r->checks++; break;
	case CHECK_HONEST: check_honest(run, vcpu, st); break;
	case CHECK_OUTSIDE: check_outside(run, vcpu, st); break;
	case CHECK_UNPRIVILEGED:
		run->r->checks++;
		if (guard_view(vm_guard(vm), vcpu) != GUARD_VIEW_U)
			run_fail(run, st->line, "this vCPU is privileged outside of the module");
		break;
	case CHECK_SUSPENDED: check_suspended(run, st); break;
	case CHECK_RINGS:
		run->r->checks++;
		if (vm_doorbell_rings(vm) != st->arg[0].addend)
			run_fail(run, st->line, "expected %" PRIu64 " rings; got %" PRIu64,
				 st->arg[0].addend, vm_doorbell_rings(vm));
		break;
	default: administrator(run, vcpu, st, (enum run_check)o->check); return;
	}
	if (o->last)
		leftovers(run, vcpu, st->line);
}

/* What the guard stops is off from that decision on, also where it stopped another vCPU. */
static void stopped_are_off(struct run *run, uint32_t line)
{
	for (unsigned v = 0; v < run->s->vcpus; v++)
		if (vm_runs_stopped(run->vm, v))
			run_fail(run, line, "vCPU %u is stopped, but would run on", v);
}

/* The story's other half: what the guest's kernel has just done. */
static void tell_step(const struct run *run, unsigned vcpu, const struct scn_step *st)
{
	fprintf(run->opt->trace, "vCPU %u has done line %u: ", vcpu, st->line);
	scn_print_step(run->opt->trace, run->s, st);
	fputc('\n', run->opt->trace);
}

bool run_on_port(void *ctx, struct vm *vm, unsigned vcpu)
{
	struct run *run = ctx;
	struct guard_cpu cpu;
	struct run_origin o;
	uint32_t n;

	vm_get_cpu(vm, vcpu, &cpu);
	n = (uint32_t)cpu.gpr[GUARD_RAX];
	if (n - PP_ASK_OFF < PP_MAX_VCPUS) {
		cpu.gpr[GUARD_RAX] = vm_is_off(vm, n - PP_ASK_OFF, true) ||
				     vm_is_off(vm, n - PP_ASK_OFF, false);
		vm_set_cpu(vm, vcpu, &cpu);
		return true;
	}
	if (n == PP_READY && !run->ready) {
		run->ready = true;
		vm_reseed(vm, run->opt->seed);
		return true;
	}
	/* Guest code that a step jumped to may knock here, too: then nothing is due. */
	if (vcpu >= PP_MAX_VCPUS || n >= run->norigin || run->origin[n].check == CHECK_NONE)
		return true;
	o = run->origin[n];
	if (run->opt->explain && run->opt->trace)
		tell_step(run, vcpu, &run->s->step[o.step]);
	perform(run, vcpu, &o);
	stopped_are_off(run, run->s->step[o.step].line);
	return true;
}

/* ---- vCPUs that do not come back ---- */

static const char *const stop_words[] = { "", "stopped", "reset", "triple-fault", "vm" };

enum run_stop run_stop_of(const char *word)
{
	for (unsigned i = 1; i < sizeof(stop_words) / sizeof(stop_words[0]); i++)
		if (strcmp(word, stop_words[i]) == 0)
			return (enum run_stop)i;
	return STOP_NONE;
}

static bool stopped_so(struct run *run, unsigned vcpu, enum run_stop how,
		       const struct vm_exit *exit)
{
	switch (how) {
	case STOP_TRIPLE: return exit->reason == VM_EXIT_TRIPLE_FAULT && exit->vcpu == vcpu;
	case STOP_VM: return exit->reason == VM_EXIT_STOPPED;
	case STOP_STOPPED: return vm_is_off(run->vm, vcpu, true);
	default: return vm_is_off(run->vm, vcpu, false);
	}
}

/* The `stops` of a thread and what is expected behind it. *how: its kind, else STOP_NONE. */
static void check_stop(struct run *run, unsigned thread, const struct vm_exit *exit,
		       enum run_stop *how)
{
	struct pp_program head;
	uint32_t i, end;

	*how = STOP_NONE;
	memcpy(&head, run->program.data, sizeof(head));
	i = head.thread[thread].first;
	for (end = i + head.thread[thread].count; i < end; i++) {
		const struct scn_step *st = &run->s->step[run->origin[i].step];

		if (*how != STOP_NONE) {
			perform(run, thread, &run->origin[i]);
		} else if (run->origin[i].op == PP_STOPS) {
			*how = run_stop_of(scn_word(run->s, st->word));
			run->r->checks++;
			if (!stopped_so(run, thread, *how, exit))
				run_fail(run, st->line, "vCPU %u did not stop so", thread);
		}
	}
}

/* Does the run end as its threads say? Without `stops` in thread 0 the puppet ends it. */
static bool ended_so(const struct vm_exit *exit, const enum run_stop how[PP_MAX_VCPUS])
{
	for (unsigned t = 0; t < PP_MAX_VCPUS; t++)
		if (how[t] == STOP_TRIPLE || how[t] == STOP_VM)
			return true; /* looked at already */
	if (how[0] != STOP_NONE)
		return exit->reason == VM_EXIT_HALTED || exit->reason == VM_EXIT_STOPPED;
	return exit->reason == VM_EXIT_GUEST && exit->status == 0;
}

/* ---- after the run ---- */

static void step_text(const struct scenario *s, const struct scn_step *st, char text[STEP_TEXT])
{
	FILE *f;

	memset(text, 0, STEP_TEXT);
	f = fmemopen(text, STEP_TEXT - 1, "w");
	if (!f)
		return;
	scn_print_step(f, s, st);
	fclose(f); /* NOLINT(cert-err33-c): a step that is too long is cut */
}

static void absent(struct run *run, const struct scn_step *st, const struct pp_result *r)
{
	char text[STEP_TEXT], site[96];

	step_text(run->s, st, text);
	switch (st->op) {
	case PP_RETURN: run_fail(run, st->line, "%s: no such call-out is open", text); break;
	case PP_IRET: run_fail(run, st->line, "%s: no such event is being handled", text); break;
	case PP_SWITCH:
		run_fail(run, st->line, "%s: it runs elsewhere, has ended, or was never begun",
			 text);
		break;
	case PP_CR3: run_fail(run, st->line, "%s: there is no such address space", text); break;
	case PP_FIND: run_fail(run, st->line, "%s: no such word is there", text); break;
	default:
		run_fail(run, st->line, "%s: nothing is mapped at 0x%" PRIx64 " (%s)", text, r->got,
			 vm_symbolize(run->vm, r->got, site, sizeof(site)));
	}
}

static void explain(struct run *run, const struct scn_step *st, const struct pp_result *r)
{
	static const char *const arrival[] = { "nothing yet", "a return", "a call-out",
					       "an event" };
	char site[96], text[STEP_TEXT];
	uint32_t line = st->line;
	const char *got = r->got < run->nimports ? run->import[r->got] : "none";
	const char *want = r->want < run->nimports ? run->import[r->want] : "none";
	const char *kind = r->got < 4 ? arrival[r->got] : "?";

	switch (r->fail) {
	case PP_FAIL_VALUE:
		run_fail(run, line, "got 0x%" PRIx64 ", expected 0x%" PRIx64, r->got, r->want);
		break;
	case PP_FAIL_EVENT:
		run_fail(run, line, "exception or interrupt %" PRIu64 " at %s", r->got,
			 vm_symbolize(run->vm, r->want, site, sizeof(site)));
		break;
	case PP_FAIL_NO_EVENT:
		run_fail(run, line, "expected exception or interrupt %" PRIu64 "; %s arrived last",
			 r->want, kind);
		break;
	case PP_FAIL_CALLOUT:
		run_fail(run, line, "expected call-out '%s'; got '%s'", want, got);
		break;
	case PP_FAIL_ABSENT: absent(run, st, r); break;
	case PP_FAIL_TIMEOUT:
		step_text(run->s, st, text);
		if (st->op == PP_AWAIT)
			run_fail(run, line, "%s: it never had this value at 0x%" PRIx64 " (%s)",
				 text, r->got, vm_symbolize(run->vm, r->got, site, sizeof(site)));
		else
			run_fail(run, line, "%s: signal %" PRIu64 " never came", text, r->got);
		break;
	case PP_FAIL_RETURNED:
		run_fail(run, line, "the call should have returned; %s arrived last", kind);
		break;
	default: run_fail(run, line, "the puppet ran out of room");
	}
}

static void puppet_results(struct run *run)
{
	struct pp_program head;
	bool lost[PP_THREADS] = { false }, stops[PP_THREADS] = { false };
	char faults_expected[160] = "", faults_got[160] = "";

	memcpy(&head, run->program.data, sizeof(head));
	for (unsigned i = 0; i < run->norigin; i++) {
		const struct scn_step *st = &run->s->step[run->origin[i].step];
		struct pp_result r;

		if (!vm_read_u(run->vm, 0, run->mailbox + head.results + i * sizeof(r), &r,
			       sizeof(r))) {
			run_fail(run, st->line, "the puppet's results cannot be read");
			return;
		}
		stops[st->thread] |= run->origin[i].op == PP_STOPS;
		if (r.done && stops[st->thread])
			run_fail(run, st->line, "this vCPU went on");
		if (!r.done && !stops[st->thread] && !lost[st->thread]) {
			run_fail(run, st->line, "not reached");
			lost[st->thread] = true;
		}
		if (r.fail != PP_OK)
			explain(run, st, &r);
		if (run->origin[i].op == PP_EXPECT_GP || run->origin[i].op == PP_EXPECT_PF) {
			const char *word = run->origin[i].op == PP_EXPECT_GP ? "#GP" : "#PF";

			run->r->checks++;
			note(faults_expected, word);
			if (r.done && r.fail == PP_OK)
				note(faults_got, word);
		} else if (strchr(scn_ops[run->origin[i].op].word, '-') ||
			   run->origin[i].op == PP_RETURNS) {
			run->r->checks += run->origin[i].check == CHECK_NONE;
		}
	}
	/* a refusal brings its #GP; a fault is a story of its own only where no verdict is */
	if (!run->r->expected[0])
		note(run->r->expected, faults_expected);
	if (!run->r->got[0])
		note(run->r->got, faults_got);
}

/* Of a thread's last step. */
static uint32_t last_line(const struct scenario *s, unsigned thread)
{
	uint32_t line = 0;

	for (unsigned i = 0; i < s->nsteps; i++)
		if (s->step[i].thread == thread)
			line = s->step[i].line;
	return line;
}

/* The order in which the vCPUs were judged since the program began: FNV-1a over the lines. */
static uint64_t order_of_lines(struct run *run)
{
	uint64_t h = 0xcbf29ce484222325ull;
	const struct vm_line *l;

	for (size_t i = run->first_line; (l = vm_log_line(run->vm, i)) != NULL; i++) {
		h = (h ^ l->vcpu) * 0x100000001b3ull;
		h = (h ^ l->line.event) * 0x100000001b3ull;
		h = (h ^ l->line.verdict) * 0x100000001b3ull;
	}
	return h;
}

/* Those that no thread belongs to (--vcpus) have executed, undisturbed, or they were no company. */
static void company(struct run *run)
{
	struct pp_program head;
	uint64_t rounds;

	memcpy(&head, run->program.data, sizeof(head));
	for (unsigned v = run->s->vcpus; v < run->vcpus; v++) {
		if (!vm_read_u(run->vm, 0, run->mailbox + head.rounds + v * sizeof(rounds), &rounds,
			       sizeof(rounds)))
			run_fail(run, 0, "what vCPU %u did cannot be read", v);
		else if (rounds & PP_STRUCK)
			run_fail(run, 0, "vector %" PRIu64 " struck vCPU %u, which has no thread",
				 (uint64_t)(rounds & ~PP_STRUCK), v);
		else if (rounds < 2)
			run_fail(run, 0, "vCPU %u, which has no thread, did not run", v);
		else if (!run->r->company || rounds < run->r->company)
			run->r->company = rounds;
	}
}

void run_finish(struct run *run, const struct vm_exit *exit)
{
	struct scenario_result *r = run->r;
	enum run_stop how[PP_MAX_VCPUS];

	for (unsigned v = 0; v < PP_MAX_VCPUS; v++)
		check_stop(run, v, exit, &how[v]);
	for (unsigned v = 0; v < run->vcpus; v++) {
		leftovers(run, v, last_line(run->s, v));
		/* One that is stopped could not be lowered, and executes nothing any more. */
		if (how[v] != STOP_STOPPED && guard_view(vm_guard(run->vm), v) != GUARD_VIEW_U)
			run_fail(run, 0, "vCPU %u is privileged at the end", v);
	}
	puppet_results(run);
	company(run);
	if (!ended_so(exit, how)) {
		snprintf(r->exit, sizeof(r->exit), "%s",
			 exit->message[0] ? exit->message : "the puppet gave up");
		run_fail(run, 0, "the run did not end as it should: %.200s", r->exit);
	}
	r->schedule = vm_schedule(run->vm);
	r->order = order_of_lines(run);
	r->boundaries = vm_boundaries(run->vm);
	r->crossings = vm_log_count(run->vm) + vm_log_lost(run->vm);
	if (vm_log_lost(run->vm))
		run_fail(run, 0, "the verdict log overflowed");
	if (!r->expected[0])
		note(r->expected, "accepted");
	if (!r->got[0])
		note(r->got, r->failures ? "failure" : "accepted");
	if (!r->checks && !r->failures)
		run_fail(run, 0, "nothing is expected: this scenario can only pass");
	r->passed = r->failures == 0;
}
