/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Where a module lies, and what an address in it is. */
#include "model/internal.h"

/* A dropped or absent init segment has no addresses any more. */
static bool seg_present(const struct module *m, unsigned i)
{
	return !gm_seg_init(m->segments[i].kind) || (!m->init_gone && m->base[i]);
}

/* The one box around all segments: most addresses are not in it. */
void module_place(struct module *m)
{
	uint64_t hi = 0;

	m->lo = KERNEL_LAST;
	for (unsigned i = 0; i < m->nsegments; i++) {
		if (!m->bytes[i] || !seg_present(m, i))
			continue;
		m->lo = m->base[i] < m->lo ? m->base[i] : m->lo;
		hi = m->base[i] + m->bytes[i] > hi ? m->base[i] + m->bytes[i] : hi;
	}
	m->span = hi - m->lo; /* every manifest has a text segment */
}

bool module_moff(const struct module *m, uint64_t gva, uint32_t *moff, unsigned *segment)
{
	if (gva - m->lo >= m->span)
		return false;
	for (unsigned i = 0; i < m->nsegments; i++) {
		if (gva - m->base[i] < m->bytes[i] && seg_present(m, i)) {
			*moff = m->segments[i].start + (uint32_t)(gva - m->base[i]);
			*segment = i;
			return true;
		}
	}
	return false;
}

uint64_t module_gva(const struct module *m, uint32_t moff)
{
	unsigned i = m->nsegments - 1;

	while (i && moff < m->segments[i].start)
		i--;
	return m->base[i] + (moff - m->segments[i].start);
}

/* In one of m's segments, gates included (percpu aside). */
bool module_owns(const struct module *m, uint64_t gva)
{
	uint32_t moff;
	unsigned segment;

	return module_moff(m, gva, &moff, &segment);
}

/* In text, gates or init text. */
bool module_executes(const struct module *m, uint64_t gva, uint32_t *moff)
{
	unsigned segment;

	return module_moff(m, gva, moff, &segment) && gm_seg_exec(m->segments[segment].kind);
}

/* An address right after a call in m's text. */
bool module_retsite(const struct module *m, uint64_t gva)
{
	uint32_t moff, i;

	if (!module_executes(m, gva, &moff))
		return false;
	i = gm_find(m->retsites, m->man->retsites.count, sizeof(uint32_t), moff);
	return i < m->man->retsites.count && m->retsites[i] == moff;
}

struct module *module_by_id(struct guard *g, uint64_t id)
{
	for (unsigned i = 0; i < g->modules; i++)
		if (g->module[i].state != MODULE_NONE && g->module[i].id == id)
			return &g->module[i];
	return NULL;
}
