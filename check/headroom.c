// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does each entry's headroom cover what the module can push below its slot? A function's own frame
 * comes from its unwind rows where they count from RSP, and from what its instructions take off RSP
 * elsewhere. Calls add their depth; a jump to another function goes on in the same frame, so that
 * one's depth counts from the same slot. A cycle with a call in it, a variable frame or an indirect
 * branch has no bound: the largest headroom that a manifest may state must do.
 *
 * Tarjan's strongly connected components give callees before callers; without recursion, since an
 * object decides how deep its calls go.
 */
#include "check/internal.h"

#include <stdlib.h>

#define ENDLESS GM_MAX_HEADROOM

struct node {
	uint32_t first; /* of its edges, sorted by `from` */
	uint32_t count;
	uint32_t index, low; /* index 0: not seen */
	uint32_t next;	     /* edge to follow */
	uint32_t parent;
	bool on_stack;
};

struct graph {
	struct ck *ck;
	struct node *node;
	const struct edge *edge;
	uint32_t *stack, depth, counter;
};

static uint32_t add(uint32_t a, uint32_t b)
{
	return a >= ENDLESS || b >= ENDLESS || a + b >= ENDLESS ? ENDLESS : a + b;
}

static uint32_t own(const struct fn *f)
{
	uint32_t pushed = add(f->pushed, f->word);

	if (f->endless)
		return ENDLESS;
	if (f->by_push && pushed > f->own)
		return pushed;
	return f->own < ENDLESS ? f->own : ENDLESS;
}

static uint32_t through(const struct graph *g, const struct edge *e)
{
	const struct fn *f = &g->ck->fn[e->from], *to = &g->ck->fn[e->to];
	uint32_t at = e->frame == NONE ? f->pushed : e->frame;

	return e->call ? add(add(at, 8), to->need) : to->need;
}

/* The component that ends at stack position `from`: all of it has one bound. */
static void component(struct graph *g, uint32_t from)
{
	uint32_t need = 0;

	for (uint32_t i = from; i < g->depth; i++) {
		const struct node *n = &g->node[g->stack[i]];
		uint32_t mine = own(&g->ck->fn[g->stack[i]]);

		need = mine > need ? mine : need;
		for (uint32_t k = n->first; k < n->first + n->count; k++) {
			const struct edge *e = &g->edge[k];
			uint32_t t;

			/* on the stack: of this component, since all others are done */
			if (g->node[e->to].on_stack)
				t = e->call ? ENDLESS : 0;
			else
				t = through(g, e);
			need = t > need ? t : need;
		}
	}
	for (uint32_t i = from; i < g->depth; i++) {
		g->ck->fn[g->stack[i]].need = need;
		g->node[g->stack[i]].on_stack = false;
	}
	g->depth = from;
}

static void enter(struct graph *g, uint32_t i, uint32_t parent)
{
	struct node *n = &g->node[i];

	n->index = n->low = ++g->counter;
	n->next = n->first;
	n->parent = parent;
	n->on_stack = true;
	g->stack[g->depth++] = i;
}

static void walk(struct graph *g, uint32_t root)
{
	uint32_t at = root;

	enter(g, root, NONE);
	while (at != NONE) {
		struct node *n = &g->node[at];

		if (n->next < n->first + n->count) {
			uint32_t to = g->edge[n->next++].to;
			struct node *t = &g->node[to];

			if (!t->index) {
				enter(g, to, at);
				at = to;
			} else if (t->on_stack && t->index < n->low) {
				n->low = t->index;
			}
			continue;
		}
		if (n->low == n->index) {
			uint32_t from = g->depth;

			while (g->stack[from - 1] != at)
				from--;
			component(g, from - 1);
		}
		at = n->parent;
		if (at != NONE && n->low < g->node[at].low)
			g->node[at].low = n->low;
	}
}

static int by_from(const void *a, const void *b)
{
	const struct edge *x = a, *y = b;

	return x->from < y->from ? -1 : x->from > y->from;
}

static void compare(struct ck *ck)
{
	for (uint32_t i = 0; i < ck->nfn; i++) {
		const struct fn *f = &ck->fn[i];
		const struct gm_entry *e;
		uint32_t k;

		if (ck->w.sec[f->section].segment == NONE)
			continue;
		k = entry_at(ck, moff_of(ck, f->section, f->value));
		if (k == NONE)
			continue;
		e = &ck->m.entries[k];
		if (e->headroom < f->need || e->headroom > GM_MAX_HEADROOM)
			fault(ck, CHECK_HEADROOM, ck->m.path, man_at(&ck->m, &e->headroom),
			      "entry %s: headroom %u, but it may push %u bytes",
			      sym_name(&ck->o, f->name), e->headroom, f->need);
		else
			proved(ck, CHECK_HEADROOM, 1);
	}
}

void check_headroom(struct ck *ck)
{
	struct graph g = { .ck = ck, .edge = ck->edges.data };

	if (ck->no_rows)
		return;
	if (ck->edges.count)
		qsort(ck->edges.data, ck->edges.count, sizeof(struct edge), by_from);
	g.node = check_alloc(ck->nfn, sizeof(*g.node));
	g.stack = check_alloc(ck->nfn, sizeof(*g.stack));
	for (uint32_t i = 0, k = 0; i < ck->nfn; i++) {
		g.node[i].first = k;
		while (k < ck->edges.count && g.edge[k].from == i)
			k++;
		g.node[i].count = k - g.node[i].first;
	}
	for (uint32_t i = 0; i < ck->nfn; i++)
		if (!g.node[i].index)
			walk(&g, i);
	compare(ck);
	free(g.node);
	free(g.stack);
}
