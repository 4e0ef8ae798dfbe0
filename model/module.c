/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Where a module lies, and what an address in it is. */
#include "model/internal.h"

/* Has addresses: percpu has none, nor has an init segment that is absent or dropped. */
bool module_has(const struct module *m, unsigned segment)
{
	if (gm_seg_init(m->segments[segment].kind) && (m->init_gone || !m->base[segment]))
		return false;
	return m->bytes[segment] != 0;
}

/* The one box around all segments: most addresses are not in it. */
void module_place(struct module *m)
{
	uint64_t hi = 0;

	m->lo = KERNEL_LAST;
	for (unsigned i = 0; i < m->nsegments; i++) {
		if (!module_has(m, i))
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
		if (gva - m->base[i] < m->bytes[i] && module_has(m, i)) {
			*moff = m->segments[i].start + (uint32_t)(gva - m->base[i]);
			*segment = i;
			return true;
		}
	}
	return false;
}

/* The segment in which moff lies, or which it is nearest behind. */
unsigned module_segment(const struct module *m, uint32_t moff)
{
	unsigned i = m->nsegments - 1;

	while (moff < m->segments[i].start) /* the first one starts at 0 */
		i--;
	return i;
}

uint64_t module_gva(const struct module *m, uint32_t moff)
{
	unsigned i = module_segment(m, moff);

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

/* An address right after a call in m's text: the table holds nothing else. */
bool module_retsite(const struct module *m, uint64_t gva)
{
	uint32_t moff = GM_NONE, i;
	unsigned segment;

	module_moff(m, gva, &moff, &segment);
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
