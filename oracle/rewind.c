/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Back to a moment when nobody was inside: for a fuzzer, which begins each input with the same
 * registered and announced modules, and cannot afford to announce them each time.
 */
#include <stdlib.h>
#include <string.h>

#include "oracle/state.h"

/* What a module's arrays held. */
struct arrays {
	uint64_t *frame, *import_at, *marked;
	uint8_t *good;
};

struct oracle_mark {
	struct o_vcpu vcpu[ORACLE_VCPUS];
	struct o_module module[ORACLE_MODULES]; /* these arrays live as long as the mark */
	struct arrays was[ORACLE_MODULES];
	struct o_gone gone[O_GONE];
	unsigned went;
	uint64_t moves;
};

static void *copy_of(const void *from, size_t bytes)
{
	void *to = malloc(bytes ? bytes : 1);

	if (to)
		memcpy(to, from, bytes);
	return to;
}

static size_t bytes_of_good(const struct o_module *m)
{
	return m->man.pages * (size_t)PAGE;
}

static bool remember(struct oracle_mark *k, unsigned i, struct o_module *m)
{
	struct arrays *a = &k->was[i];

	a->frame = copy_of(m->frame, m->man.pages * sizeof(*a->frame));
	a->import_at = copy_of(m->import_at, m->man.nimports * sizeof(*a->import_at));
	a->marked = copy_of(m->marked, (m->man.pages / 64 + 1) * sizeof(*a->marked));
	a->good = copy_of(m->good, bytes_of_good(m));
	m->kept = true;
	m->proved = false;
	k->module[i] = *m;
	return a->frame && a->import_at && a->marked && a->good;
}

bool oracle_set_mark(struct oracle *o)
{
	struct oracle_mark *k;
	bool all = true;

	for (unsigned v = 0; v < o->vcpus; v++)
		if (o->vcpu[v].chain)
			return false;
	for (unsigned i = 0; i < ORACLE_MODULES; i++)
		for (uint32_t c = 0; o->module[i].registered && c < o->module[i].binding.chains;
		     c++)
			if (o->module[i].chain[c].state != O_FREE)
				return false;
	if (o->mark || o->failure || o->lost)
		return false;
	k = calloc(1, sizeof(*k));
	if (!k)
		return false;
	o->mark = k;
	memcpy(k->vcpu, o->vcpu, sizeof(k->vcpu));
	for (unsigned i = 0; i < ORACLE_MODULES; i++)
		if (o->module[i].registered)
			all = remember(k, i, &o->module[i]) && all;
	memcpy(k->gone, o->gone, sizeof(k->gone));
	k->went = o->went;
	k->moves = o->moves;
	return all;
}

static void restore(struct oracle *o, const struct oracle_mark *k, unsigned i)
{
	struct o_module *m = &o->module[i];
	const struct o_module *was = &k->module[i];
	bool proved = m->proved || m->frame != was->frame;

	if (m->frame != was->frame)
		o_forget(m);
	*m = *was;
	if (!m->registered)
		return;
	for (uint32_t c = 0; c < m->binding.chains; c++)
		o_end(&m->chain[c]);
	memcpy(m->frame, k->was[i].frame, m->man.pages * sizeof(*m->frame));
	memcpy(m->import_at, k->was[i].import_at, m->man.nimports * sizeof(*m->import_at));
	memcpy(m->marked, k->was[i].marked, (m->man.pages / 64 + 1) * sizeof(*m->marked));
	if (proved) {
		memcpy(m->good, k->was[i].good, bytes_of_good(m));
		memset(m->class, 0, bytes_of_good(m)); /* of what was seen since */
	}
}

void oracle_rewind(struct oracle *o, enum oracle_mode mode)
{
	struct oracle_mark *k = o->mark;

	if (!k)
		return;
	memcpy(o->vcpu, k->vcpu, sizeof(o->vcpu));
	if (o->went != k->went)
		memcpy(o->gone, k->gone, sizeof(o->gone));
	o->went = k->went;
	for (unsigned i = 0; i < o->top; i++) {
		if (k->module[i].registered || o->module[i].frame)
			restore(o, k, i);
		o->copy_changed[i] = false;
	}
	if (o->moves != k->moves) {
		o_frames_moved(o);
		k->moves = o->moves;
	}
	o->mode = mode;
	o->judging = o->lost = o->failed = o->init_moved = false;
	o->event = NULL;
	o->outcome = NULL;
	o->nundo = o->nraises = o->nlowers = o->npast = 0;
	free(o->failure);
	free(o->line);
	o->failure = o->line = NULL;
}

/* With the oracle: what the mark holds, and what only its modules hold. */
void o_forget_mark(struct oracle *o)
{
	if (!o->mark)
		return;
	for (unsigned i = 0; i < ORACLE_MODULES; i++) {
		struct arrays *a = &o->mark->was[i];

		free(a->frame);
		free(a->import_at);
		free(a->marked);
		free(a->good);
		if (o->module[i].kept)
			memset(&o->module[i], 0, sizeof(o->module[i]));
		o->mark->module[i].kept = false;
		o_forget(&o->mark->module[i]);
	}
	free(o->mark);
	o->mark = NULL;
}
