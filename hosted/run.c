// SPDX-License-Identifier: GPL-2.0-only
/*
 * One whole run and its summary. What is counted about the guard comes from its verdict log, not
 * from what the hosted kernel believes to have done.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "hosted/kernel.h"
#include "vmm/compare.h"

#define GATE_PREFIX "enter/"

static bool count(struct hosted_counts *c, const char *name, uint64_t n)
{
	struct hosted_count *v;
	size_t i;

	for (i = 0; i < c->n; i++) {
		if (!strcmp(c->v[i].name, name)) {
			c->v[i].count += n;
			return true;
		}
	}
	v = realloc(c->v, (c->n + 1) * sizeof(*v));
	if (!v)
		return false;
	c->v = v;
	snprintf(v[i].name, sizeof(v[i].name), "%s", name);
	v[i].count = n;
	c->n++;
	return true;
}

static int by_count(const void *a, const void *b)
{
	const struct hosted_count *l = a, *r = b;

	if (l->count != r->count)
		return l->count < r->count ? 1 : -1;
	return strcmp(l->name, r->name);
}

static void sort(struct hosted_counts *c)
{
	if (c->n)
		qsort(c->v, c->n, sizeof(*c->v), by_count);
}

/* "module:enter/function+0x4" -> "function" */
static void function_name(const struct hosted *h, uint64_t rip, char *out, size_t size)
{
	char text[128], *p, *plus;

	vm_symbolize(h->vm, rip, text, sizeof(text));
	p = strstr(text, GATE_PREFIX);
	p = p ? p + strlen(GATE_PREFIX) : text;
	plus = strrchr(p, '+');
	if (plus)
		*plus = '\0';
	snprintf(out, size, "%.*s", (int)size - 1, p);
}

static void read_log(const struct hosted *h, struct hosted_result *r)
{
	char name[64];

	for (size_t i = 0; i < vm_log_count(h->vm); i++) {
		const struct guard_line *l = &vm_log_line(h->vm, i)->line;

		snprintf(name, sizeof(name), "%s %s", guard_event_string(l->event),
			 guard_verdict_string(l->verdict));
		count(&r->verdicts, name, 1);
		if (l->event <= GUARD_ENTER_RETURN) {
			r->crossings++;
			r->by_x += l->cause == GUARD_CAUSE_X;
			r->by_fault += l->cause == GUARD_CAUSE_FETCH;
		}
		if (l->event == GUARD_DEPART && l->verdict == GUARD_V_OK)
			r->departures++;
		if (l->event == GUARD_ENTER_CALL && l->verdict == GUARD_V_OK) {
			function_name(h, l->rip, name, sizeof(name));
			count(&r->entries, name, 1);
		}
	}
	sort(&r->verdicts);
	sort(&r->entries);
}

/* Every judged crossing of an honest run is ok; what the look from outside touched is TOUCH. */
static bool all_ok(const struct hosted *h)
{
	for (size_t i = 0; i < vm_log_count(h->vm); i++) {
		const struct guard_line *l = &vm_log_line(h->vm, i)->line;

		if (l->verdict != GUARD_V_OK && l->verdict != GUARD_V_AGAIN &&
		    l->event != GUARD_TOUCH)
			return false;
	}
	return true;
}

static void collect(const struct hosted *h, struct hosted_result *r)
{
	read_log(h, r);
	for (size_t i = 0; i < h->nimports; i++) {
		const struct hosted_import *im = &h->imports[i];

		if (!im->calls)
			continue;
		count(&r->imports, im->name, im->calls);
		if (!im->fn)
			count(&r->unmodelled, im->name, im->calls);
	}
	sort(&r->imports);
	sort(&r->unmodelled);
	snprintf(r->module, sizeof(r->module), "%s", vm_module_name(h->vm, h->module));
	r->time = vm_time(h->vm);
	r->cost = vm_cost(h->vm);
	r->callbacks = h->callbacks;
	r->reads = h->nic.reads;
	r->writes = h->nic.writes;
	r->outside_reads = h->outside_reads;
	r->outside_ones = h->outside_ones;
	r->outside_writes = h->outside_writes;
	r->outside_written = h->outside_written;
	r->status_inside = h->status_inside;
	r->status_outside = h->status_outside;
	r->packets_sent = h->nic.sent;
	r->packets_received = h->packets;
	r->probe_called = h->probe_called;
	r->init_result = h->init_result;
	r->probe_result = h->probe_result;
	r->open_result = h->open_result;
	r->faults = h->unexpected;
	r->exit = h->exit;
	if (!h->dead) { /* the story came to its end */
		r->exit.reason = VM_EXIT_GUEST;
		r->exit.status = 0;
		r->exit.message[0] = '\0';
	}
	r->ok = !h->dead && !r->faults && r->entries.n && r->outside_reads &&
		r->outside_ones == r->outside_reads && !r->outside_written && all_ok(h);
}

bool hosted_run(const struct hosted_options *opt, struct hosted_result *r, struct error *err)
{
	struct hosted_options o = *opt;
	struct hosted *h = calloc(1, sizeof(*h));
	bool ran = false;

	memset(r, 0, sizeof(*r));
	if (!o.vcpus)
		o.vcpus = 1;
	if (!h)
		return error_set(err, "out of memory for the hosted kernel");
	if (hosted_open(h, &o, err)) {
		hosted_boot(h, hosted_story, NULL);
		collect(h, r);
		ran = (!o.log || vm_log_write(h->vm, o.log, err)) &&
		      (!o.copy || log_copy_take(o.copy, h->vm, err));
	}
	hosted_close(h);
	free(h);
	return ran;
}

void hosted_result_free(struct hosted_result *r)
{
	free(r->entries.v);
	free(r->imports.v);
	free(r->unmodelled.v);
	free(r->verdicts.v);
	memset(r, 0, sizeof(*r));
}

static void print_counts(const struct hosted_counts *c, const char *what, FILE *out)
{
	size_t column = 0;

	fprintf(out, "%s:", what);
	for (size_t i = 0; i < c->n; i++) {
		if (column > 80) {
			fprintf(out, "\n   ");
			column = 0;
		}
		column += (size_t)fprintf(out, " %s %" PRIu64 "%s", c->v[i].name, c->v[i].count,
					  i + 1 < c->n ? "," : "");
	}
	fprintf(out, "%s\n", c->n ? "" : " none");
}

static uint64_t total(const struct hosted_counts *c)
{
	uint64_t n = 0;

	for (size_t i = 0; i < c->n; i++)
		n += c->v[i].count;
	return n;
}

void hosted_print(const struct hosted_result *r, FILE *out)
{
	char what[96];

	fprintf(out, "\nmodule %s: init returned %" PRId64, r->module, r->init_result);
	if (r->probe_called)
		fprintf(out, ", probe %" PRId64 ", open %" PRId64, r->probe_result, r->open_result);
	fprintf(out,
		"\n%" PRIu64 " crossings, %" PRIu64 " departures, %" PRIu64
		" callbacks while a call-out was open\n",
		r->crossings, r->departures, r->callbacks);
	snprintf(what, sizeof(what), "%zu entries, %" PRIu64 " times", r->entries.n,
		 total(&r->entries));
	print_counts(&r->entries, what, out);
	snprintf(what, sizeof(what), "%zu imports, %" PRIu64 " call-outs", r->imports.n,
		 total(&r->imports));
	print_counts(&r->imports, what, out);
	print_counts(&r->unmodelled, "not modelled, returned 0", out);
	print_counts(&r->verdicts, "verdicts", out);
	fprintf(out,
		"registers, inside:  %" PRIu64 " reads, %" PRIu64 " writes; STATUS 0x%08" PRIx32
		"\n",
		r->reads, r->writes, r->status_inside);
	fprintf(out,
		"registers, outside: %" PRIu64 " reads, %" PRIu64 " of them all ones; %" PRIu64
		" writes, %" PRIu64 " arrived; STATUS 0x%08" PRIx32 "\n",
		r->outside_reads, r->outside_ones, r->outside_writes, r->outside_written,
		r->status_outside);
	fprintf(out, "packets: %" PRIu64 " sent, %" PRIu64 " received\n", r->packets_sent,
		r->packets_received);
	if (r->faults)
		fprintf(out, "unexpected faults: %" PRIu64 "\n", r->faults);
	fprintf(out, "%s\n", r->ok ? "as expected" : "NOT as expected");
}
