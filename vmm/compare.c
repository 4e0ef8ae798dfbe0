/* SPDX-License-Identifier: GPL-2.0-only */
#include "vmm/compare.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/internal.h"

#define CONTEXT_BEFORE 4u
#define CONTEXT_AFTER 2u

#define STRING(id, string) string,
static const char *const classes[] = { COMPARE_CLASSES(STRING) };

const char *compare_class_string(enum compare_class c)
{
	return (unsigned)c < COMPARE_NCLASSES ? classes[c] : "?";
}

const char *compare_verdict_string(enum compare_verdict v)
{
	switch (v) {
	case COMPARE_EQUAL: return "equal";
	case COMPARE_DIFFERENT: return "different";
	case COMPARE_NOTHING: return "nothing-compared";
	case COMPARE_LOST: return "lines-lost";
	case COMPARE_MODULES: return "other-modules";
	default: return "?";
	}
}

/* ---- copies ---- */

static bool grow(void **p, size_t *room, size_t need, size_t each, struct error *err)
{
	size_t more = *room ? *room : 64;
	void *q;

	if (need <= *room)
		return true;
	while (more < need && more <= SIZE_MAX / 2 / each)
		more *= 2;
	q = more < need ? NULL : realloc(*p, more * each);
	if (!q)
		return error_set(err, "out of memory for a copy of the verdict log");
	*p = q;
	*room = more;
	return true;
}

bool log_copy_add(struct log_copy *c, const struct compare_line *line, const char *text,
		  struct error *err)
{
	const char *rest = strchr(text, ' ');
	size_t len;

	rest = rest ? rest + 1 : text;
	len = strlen(rest) + 1;
	if (!grow((void **)&c->line, &c->room, c->count + 1, sizeof(*c->line), err) ||
	    !grow((void **)&c->text, &c->text_room, c->size + len, 1, err))
		return false;
	c->line[c->count] = *line;
	c->line[c->count].left = COMPARE_KEPT;
	c->line[c->count++].text = c->size;
	memcpy(c->text + c->size, rest, len);
	c->size += len;
	return true;
}

bool log_copy_take(struct log_copy *c, const struct vm *vm, struct error *err)
{
	const struct vm_line *l;
	char text[512];
	size_t used = 0;

	c->lost = vm_log_lost(vm);
	for (unsigned i = 0; i < vm->nloaded && used < sizeof(c->modules); i++)
		used += (size_t)snprintf(c->modules + used, sizeof(c->modules) - used,
					 "%s%s %016" PRIx64, i ? ", " : "", vm->loaded[i]->name,
					 vm->loaded[i]->id);
	for (size_t i = 0; (l = vm_log_line(vm, i)) != NULL; i++) {
		const struct compare_line line = {
			.n = l->n,
			.vcpu = l->vcpu,
			.event = l->line.event,
			.cause = l->line.cause,
			.module = l->line.module,
			.act = l->line.act,
		};

		vm_log_format(vm, l, text, sizeof(text));
		if (!log_copy_add(c, &line, text, err))
			return false;
	}
	return true;
}

void log_copy_free(struct log_copy *c)
{
	free(c->line);
	free(c->text);
	memset(c, 0, sizeof(*c));
}

/* ---- what is left out ---- */

static uint8_t depart_class(const struct compare_line *l)
{
	switch (l->cause) {
	case GUARD_CAUSE_IRQ: return COMPARE_DEPART_IRQ;
	case GUARD_CAUSE_NMI: return COMPARE_DEPART_NMI;
	case GUARD_CAUSE_KICK: return COMPARE_DEPART_KICK;
	case GUARD_CAUSE_OTHER: return COMPARE_DEPART_OTHER;
	default: return COMPARE_KEPT;
	}
}

/* A DEPART: the activation that departed, and when. */
struct departure {
	uint8_t module;
	uint32_t act;
	size_t at;
	uint8_t left;
};

static int by_activation(const void *a, const void *b)
{
	const struct departure *p = a, *q = b;

	if (p->module != q->module)
		return p->module < q->module ? -1 : 1;
	if (p->act != q->act)
		return p->act < q->act ? -1 : 1;
	return p->at < q->at ? -1 : p->at > q->at;
}

/* The last departure of this activation before line `at`; NULL: there is none. */
static const struct departure *departed(const struct departure *d, size_t n,
					const struct compare_line *l, size_t at)
{
	const struct departure key = { .module = l->module, .act = l->act, .at = at };
	size_t low = 0, high = n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (by_activation(&d[mid], &key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	if (!low || d[low - 1].module != l->module || d[low - 1].act != l->act)
		return NULL;
	return &d[low - 1];
}

/*
 * A RESUME says nothing about what made its thread depart: the departure of the same activation
 * does, on whichever vCPU that was. One of no activation (no-record) is always compared.
 */
static bool mark_events(struct log_copy *c, struct error *err)
{
	struct departure *d;
	size_t n = 0;

	for (size_t i = 0; i < c->count; i++)
		n += c->line[i].event == GUARD_DEPART;
	d = calloc(n + 1, sizeof(*d));
	if (!d)
		return error_set(err, "out of memory to compare the verdict logs");
	n = 0;
	for (size_t i = 0; i < c->count; i++) {
		struct compare_line *l = &c->line[i];

		l->left = l->event == GUARD_DEPART ? depart_class(l) : COMPARE_KEPT;
		if (l->event == GUARD_DEPART)
			d[n++] = (struct departure){ l->module, l->act, i, l->left };
	}
	qsort(d, n, sizeof(*d), by_activation);
	for (size_t i = 0; i < c->count; i++) {
		struct compare_line *l = &c->line[i];
		const struct departure *from;

		if (l->event != GUARD_RESUME || !l->act)
			continue;
		from = departed(d, n, l, i);
		if (from && from->left != COMPARE_KEPT)
			l->left = COMPARE_RESUME;
	}
	free(d);
	return true;
}

static bool mark(struct log_copy *c, uint64_t left[COMPARE_NCLASSES], struct error *err)
{
	for (size_t i = 0; i < c->count; i++)
		if (c->line[i].vcpu >= GH_MAX_VCPUS)
			return error_set(err, "line %zu of a verdict log: vCPU %u", i + 1,
					 c->line[i].vcpu);
	if (!mark_events(c, err))
		return false;
	for (size_t i = 0; i < c->count; i++)
		if (c->line[i].left != COMPARE_KEPT)
			left[c->line[i].left]++;
	return true;
}

/* ---- the comparison ---- */

/* The first line from i on that is compared on this vCPU. */
static size_t next(const struct log_copy *c, unsigned vcpu, size_t i)
{
	while (i < c->count && (c->line[i].vcpu != vcpu || c->line[i].left != COMPARE_KEPT))
		i++;
	return i < c->count ? i : COMPARE_END;
}

static const char *text_of(const struct log_copy *c, size_t i)
{
	return c->text + c->line[i].text;
}

/*
 * One instruction may touch often, and engines may report that once or often. So where both have
 * the same TOUCH, and one of them has it again, that does not count. Returns the line behind.
 */
static size_t pass_touches(struct log_copy *c, unsigned vcpu, size_t i, const char *touch,
			   uint64_t *left)
{
	while (i != COMPARE_END && !strcmp(text_of(c, i), touch)) {
		c->line[i].left = COMPARE_TOUCH;
		++*left;
		i = next(c, vcpu, i + 1);
	}
	return i;
}

static void compare_vcpu(struct log_copy *a, struct log_copy *b, unsigned vcpu,
			 struct compare_result *r)
{
	size_t i = next(a, vcpu, 0), j = next(b, vcpu, 0), here;
	size_t first = r->at[0] != COMPARE_END ? r->at[0] : r->at[1];

	while (i != COMPARE_END || j != COMPARE_END) {
		const char *touch = NULL;

		if (i == COMPARE_END || j == COMPARE_END || strcmp(text_of(a, i), text_of(b, j)))
			break;
		r->compared++;
		if (a->line[i].event == GUARD_TOUCH)
			touch = text_of(a, i);
		i = next(a, vcpu, i + 1);
		j = next(b, vcpu, j + 1);
		if (!touch ||
		    (i != COMPARE_END && j != COMPARE_END && !strcmp(text_of(a, i), text_of(b, j))))
			continue;
		i = pass_touches(a, vcpu, i, touch, &r->left[0][COMPARE_TOUCH]);
		j = pass_touches(b, vcpu, j, touch, &r->left[1][COMPARE_TOUCH]);
	}
	if (i == COMPARE_END && j == COMPARE_END)
		return;
	here = i != COMPARE_END ? i : j;
	if (r->verdict == COMPARE_DIFFERENT && first <= here)
		return;
	r->verdict = COMPARE_DIFFERENT;
	r->vcpu = vcpu;
	r->at[0] = i;
	r->at[1] = j;
}

bool log_compare(struct log_copy *a, struct log_copy *b, struct compare_result *r,
		 struct error *err)
{
	memset(r, 0, sizeof(*r));
	r->lines[0] = a->count;
	r->lines[1] = b->count;
	r->at[0] = r->at[1] = COMPARE_END;
	if (!mark(a, r->left[0], err) || !mark(b, r->left[1], err))
		return false;
	for (unsigned v = 0; v < GH_MAX_VCPUS; v++)
		compare_vcpu(a, b, v, r);
	/* What else is wrong explains a difference, so it is told in its place. */
	if (a->lost || b->lost)
		r->verdict = COMPARE_LOST;
	else if (strcmp(a->modules, b->modules) != 0)
		r->verdict = COMPARE_MODULES;
	else if (r->verdict == COMPARE_EQUAL && !r->compared)
		r->verdict = COMPARE_NOTHING;
	return true;
}

uint64_t compare_left(const struct compare_result *r, unsigned side)
{
	uint64_t n = 0;

	for (unsigned c = 0; c < COMPARE_NCLASSES; c++)
		n += r->left[side][c];
	return n;
}

/* ---- the first difference ---- */

static void print_side(const struct log_copy *c, unsigned vcpu, size_t at, const char *name,
		       FILE *to)
{
	size_t from = at == COMPARE_END ? c->count : at, before = 0, after = 0;

	while (from > 0 && before < CONTEXT_BEFORE)
		before += c->line[--from].vcpu == vcpu;
	for (size_t i = from; i < c->count && after <= CONTEXT_AFTER; i++) {
		const struct compare_line *l = &c->line[i];

		if (l->vcpu != vcpu)
			continue;
		after += at != COMPARE_END && i >= at;
		fprintf(to, "%s %s line %zu: %" PRIu64 " %s%s%s%s\n", i == at ? ">" : " ", name,
			i + 1, l->n, c->text + l->text,
			l->left != COMPARE_KEPT ? "  (left out: " : "",
			l->left != COMPARE_KEPT ? classes[l->left] : "",
			l->left != COMPARE_KEPT ? ")" : "");
	}
	if (at == COMPARE_END)
		fprintf(to, "> %s has no further line of vCPU %u\n", name, vcpu);
}

void compare_print_difference(const struct compare_result *r, const struct log_copy *a,
			      const struct log_copy *b, const char *const name[2], FILE *to)
{
	const struct log_copy *const side[2] = { a, b };

	switch (r->verdict) {
	case COMPARE_DIFFERENT:
		fprintf(to, "the logs differ first on vCPU %u:\n", r->vcpu);
		for (unsigned s = 0; s < 2; s++)
			print_side(side[s], r->vcpu, r->at[s], name[s], to);
		break;
	case COMPARE_NOTHING: fprintf(to, "no line of the logs can be compared\n"); break;
	case COMPARE_LOST:
		fprintf(to, "the logs are not whole: %s lost %" PRIu64 " lines, %s %" PRIu64 "\n",
			name[0], a->lost, name[1], b->lost);
		break;
	case COMPARE_MODULES:
		fprintf(to, "not the same modules: %s had %s; %s had %s\n", name[0],
			a->modules[0] ? a->modules : "none", name[1],
			b->modules[0] ? b->modules : "none");
		break;
	default: break;
	}
}
