/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Back to the mark (vmm/rewind.c): registers, time and schedule. Instances keep what they have
 * translated and mapped; only where a vCPU's control registers differ its translations go. What a
 * page shows that differs from the mark is told by vmm/ afterwards.
 */
#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"

struct sim_mark {
	struct sim_vcpu vcpu[GH_MAX_VCPUS];
	uint8_t *blob[GH_MAX_VCPUS];
	uint64_t clock;
};

void sim_reseed(struct engine *e, uint64_t seed)
{
	e->rng = seed * 0x9e3779b97f4a7c15ull + 0x2545f4914f6cdd1dull;
	if (!e->rng)
		e->rng = 1;
	e->schedule = 0;
}

bool sim_set_mark(struct engine *e)
{
	struct sim_mark *k = calloc(1, sizeof(*k));
	bool ok = k != NULL;

	e->mark = k;
	for (unsigned i = 0; ok && i < e->nvcpus; i++) {
		sim_save(&e->vcpu[i]);
		k->vcpu[i] = e->vcpu[i];
		k->blob[i] = malloc(sim_layout.bytes);
		if (k->blob[i])
			memcpy(k->blob[i], e->vcpu[i].blob, sim_layout.bytes);
		ok = k->blob[i] != NULL;
	}
	if (k) {
		sim_signals_hold();
		k->clock = e->clock;
	}
	return ok;
}

void sim_mark_free(struct engine *e)
{
	if (e->mark)
		sim_signals_release();
	for (unsigned i = 0; e->mark && i < e->nvcpus; i++)
		free(e->mark->blob[i]);
	free(e->mark);
}

static void rewind_vcpu(struct sim_vcpu *v, const struct sim_vcpu *was, const uint8_t *blob)
{
	struct sim_vcpu now = *v;

	if (v->cr0 != was->cr0 || v->cr3 != was->cr3 || v->cr4 != was->cr4 || v->efer != was->efer)
		sim_mmu_flush(v);
	else if (v->user_open && !was->user_open)
		sim_mmu_close_user(v);
	*v = *was;
	memcpy(v->space, now.space, sizeof(v->space));
	memcpy(v->blob, blob, sim_layout.bytes);
}

void sim_recheck(struct engine *e)
{
	for (unsigned i = 0; i < e->nspaces; i++) {
		struct sim_space *s = e->spaces[i];

		for (unsigned k = 0; k < s->nregions;)
			if (sim_mmu_holds(s, &s->region[k]))
				k++;
			else
				sim_space_drop(s, k);
	}
}

bool sim_rewind(struct engine *e, uint64_t seed)
{
	const struct sim_mark *k = e->mark;

	for (unsigned i = 0; i < e->nspaces; i++)
		if (e->spaces[i]->broken)
			return false;
	for (unsigned i = 0; i < e->nvcpus; i++) {
		e->vcpu[i].live = NULL;
		rewind_vcpu(&e->vcpu[i], &k->vcpu[i], k->blob[i]);
	}
	/* these compare with a time that comes once more */
	for (unsigned i = 0; i < e->nspaces; i++) {
		e->spaces[i]->touch_rip = 0;
		e->spaces[i]->store_rip = 0;
	}
	/* what was written too often for code begins to count again; where code lay, it still may */
	for (uint64_t i = 0; e->code_written && i < e->nframes; i++)
		if (e->code[i] > 1)
			e->code[i] = 1;
	e->code_written = false;
	e->clock = k->clock;
	sim_reseed(e, seed);
	if (e->drop_all)
		sim_drop_everything(e);
	e->interrupted = 0;
	return true;
}
