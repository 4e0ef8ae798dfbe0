/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reference model of what is no crossing: TOUCH, and the acts of the administrator and the VMM
 * (docs/semantics.md, "Verdicts"). Pure functions; what the platform answered is an input.
 */
#include <string.h>

#include "oracle/ref.h"

#define MAX_CHECKED_PAGES 256u
#define MAX_CHAINS 256u

static bool hides(const struct o_module *m, uint64_t gpa)
{
	for (unsigned p = 0; p < m->man.nprivileges; p++)
		if (m->man.privilege[p].kind == P_DEVICE && (m->binding.bound >> p & 1) &&
		    gpa >= m->binding.range[p].base &&
		    gpa - m->binding.range[p].base < m->binding.range[p].length)
			return true;
	for (uint32_t p = 0; p < m->man.pages; p++)
		if (m->frame[p] != NO_FRAME && m->frame[p] == PAGE_OF(gpa) &&
		    m->man.segment[m_segment_of(&m->man, p * 4096u)].kind == S_PRIVATE)
			return true;
	return false;
}

/* Whose it is that was touched; else who runs there. */
const struct o_module *ref_touched(const struct oracle *o, unsigned vcpu, uint64_t gpa)
{
	for (unsigned i = 0; i < ORACLE_MODULES; i++)
		if (o->module[i].registered && hides(&o->module[i], gpa))
			return &o->module[i];
	return o->vcpu[vcpu].module;
}

static bool policy_wrong(const struct oracle_request *r)
{
	const struct oracle_binding *b = &r->binding;

	return b->stack > 2 || b->registers > 1 || r->mapping > 1 || b->refusal > 2 || !b->chains ||
	       b->chains > MAX_CHAINS;
}

enum guard_verdict ref_register(const struct oracle *o, const struct m_manifest *man,
				const struct oracle_request *r, unsigned *index)
{
	unsigned free_index = ORACLE_MODULES;

	if (!man || !r->digested)
		return GUARD_V_BAD_MANIFEST;
	for (unsigned i = ORACLE_MODULES; i-- > 0;) {
		if (!o->module[i].registered)
			free_index = i;
		else if (!memcmp(&o->module[i].id, r->digest, sizeof(o->module[i].id)))
			return GUARD_V_NO_ROOM;
	}
	if (free_index == ORACLE_MODULES)
		return GUARD_V_NO_ROOM;
	if (o_binding_wrong(o, man, r) || policy_wrong(r))
		return GUARD_V_NOT_BOUND;
	if ((man->pages > MAX_CHECKED_PAGES && !r->mapping) || !r->room)
		return GUARD_V_NO_ROOM;
	*index = free_index;
	return GUARD_V_OK;
}

static const struct o_module *registered(const struct oracle *o, unsigned index)
{
	return index < ORACLE_MODULES && o->module[index].registered ? &o->module[index] : NULL;
}

enum guard_verdict ref_unregister(const struct oracle *o, unsigned index, uint32_t *kick)
{
	const struct o_module *m = registered(o, index);

	*kick = 0;
	if (!m)
		return GUARD_V_UNKNOWN_MODULE;
	for (unsigned v = 0; v < o->vcpus; v++)
		if (o->vcpu[v].module == m)
			*kick |= 1u << v;
	return GUARD_V_OK;
}

enum guard_verdict ref_grant(const struct oracle *o, unsigned vcpu, unsigned index, bool give,
			     uint32_t *kick)
{
	const struct o_module *m = registered(o, index);

	*kick = 0;
	if (!m || vcpu >= o->vcpus)
		return GUARD_V_UNKNOWN_MODULE;
	*kick = give ? 0 : 1u << vcpu; /* asleep in MWAIT, it must see it */
	if (o->vcpu[vcpu].module != m || (o->nraises && o->raise_ok[0]))
		return GUARD_V_OK;
	if (give || (o->nlowers && o->lower_ok[0]))
		return GUARD_V_RAISE_FAILED;
	return GUARD_V_LOWER_FAILED;
}

enum guard_verdict ref_reset(const struct oracle *o, unsigned vcpu)
{
	if (!o->vcpu[vcpu].module || (o->nlowers && o->lower_ok[0]))
		return GUARD_V_OK;
	return GUARD_V_LOWER_FAILED;
}
