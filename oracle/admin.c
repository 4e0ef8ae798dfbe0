/* SPDX-License-Identifier: GPL-2.0-only */
/* The administrator's acts: REGISTER, UNREGISTER, GRANT, WITHHOLD, RESET. */
#include <stdlib.h>
#include <string.h>

#include "oracle/state.h"

void o_forget(struct o_module *m)
{
	m_free(&m->man);
	for (uint32_t i = 0; m->chain && i < m->binding.chains; i++)
		free(m->chain[i].exact);
	free(m->chain);
	free(m->frame);
	free(m->import_at);
	free(m->good);
	free(m->class);
	memset(m, 0, sizeof(*m));
}

void oracle_registered(struct oracle *o, unsigned index, const void *manifest, size_t len,
		       const struct oracle_binding *b)
{
	struct o_module *m = &o->module[index % ORACLE_MODULES];
	size_t bytes;

	if (index >= ORACLE_MODULES || m->registered) {
		o_complain(o, "G6 registration", 0, 0, "module number %u is given twice", index);
		return;
	}
	o_forget(m);
	if (!m_read(&m->man, manifest, len)) {
		o_complain(o, "G4 binding", 0, 0, "a manifest is registered that is none");
		return;
	}
	m->index = index;
	m->binding = *b;
	m->id = b->id;
	bytes = m->man.pages * (size_t)PAGE;
	m->chain = calloc(b->chains, sizeof(*m->chain));
	m->frame = calloc(m->man.pages + 1u, sizeof(*m->frame));
	m->import_at = calloc(m->man.nimports + 1u, sizeof(*m->import_at));
	m->good = calloc(1, bytes + 16);
	m->class = calloc(1, bytes + 16);
	if (!m->chain || !m->frame || !m->import_at || !m->good || !m->class) {
		o_forget(m);
		o_complain(o, "oracle", 0, 0, "out of memory");
		return;
	}
	for (uint32_t i = 0; b->stack == 1 && i < b->chains; i++)
		m->chain[i].exact = malloc(O_EXACT + 8);
	for (uint32_t p = 0; p < m->man.pages; p++)
		m->frame[p] = NO_FRAME;
	for (uint32_t i = 0; i < m->man.nentries; i++)
		m->has_init |= (m->man.entry[i].flags & M_ENTRY_INIT) != 0;
	for (uint32_t i = 0; i < m->man.ngates; i++) {
		if (m->man.gate[i].kind == G_ENTER_RETURN)
			m->enter_return = i * 16;
		if (m->man.gate[i].kind == G_LEAVE_RETURN)
			m->leave_return = i * 16;
	}
	for (unsigned v = 0; v < o->vcpus; v++)
		o->vcpu[v].granted[index] = 0;
	m->registered = true;
	o->generation++;
}

void o_stopped(struct oracle *o, uint32_t stop)
{
	for (unsigned v = 0; v < o->vcpus; v++)
		if (stop >> v & 1)
			o->vcpu[v].stopped = true;
}

void oracle_unregistered(struct oracle *o, unsigned index, bool ok, uint32_t stop)
{
	struct o_module *m = &o->module[index % ORACLE_MODULES];

	if (index >= ORACLE_MODULES || !m->registered)
		return;
	for (unsigned v = 0; v < o->vcpus; v++)
		if (o->vcpu[v].module == m)
			o_outside(o, v);
	o_stopped(o, stop);
	m->quarantined = true;
	o_withdraw(o, m);
	if (ok)
		m->registered = false;
	o->generation++;
}

/* What the engine shows must be what the truth says, once a decision is carried out. */
void o_view_is_true(struct oracle *o, unsigned vcpu, uint64_t rip, uint8_t view)
{
	const struct o_vcpu *v = &o->vcpu[vcpu];
	uint8_t is = v->module ? (uint8_t)v->module->index : ORACLE_OUTSIDE;

	if (v->stopped || view == is)
		return;
	if (is == ORACLE_OUTSIDE)
		o_complain(o, "G2 exit", vcpu, rip,
			   "the vCPU is outside of every module and has the view of module %u",
			   view);
	else
		o_complain(o, "G7 transparency", vcpu, rip,
			   "the vCPU is inside module %u and has another view", is);
}

void oracle_granted(struct oracle *o, unsigned vcpu, unsigned index, uint64_t privileges, bool give,
		    bool ok, uint32_t stop, uint8_t view)
{
	struct o_module *m = &o->module[index % ORACLE_MODULES];
	uint64_t *granted;

	if (index >= ORACLE_MODULES || vcpu >= o->vcpus || !m->registered)
		return;
	o_stopped(o, stop);
	granted = &o->vcpu[vcpu].granted[index];
	if (give && ok)
		*granted |= privileges;
	else if (!give)
		*granted &= ~privileges;
	/* what cannot be taken away ends what runs */
	if (!give && !ok && o->vcpu[vcpu].module == m)
		o_outside(o, vcpu);
	o_view_is_true(o, vcpu, 0, view);
	o->generation++;
}

void oracle_vcpu_reset(struct oracle *o, unsigned vcpu, uint32_t stop, uint8_t view)
{
	if (vcpu >= o->vcpus)
		return;
	o_stopped(o, stop);
	o_outside(o, vcpu);
	o_view_is_true(o, vcpu, 0, view);
}
