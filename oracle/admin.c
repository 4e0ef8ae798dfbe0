/* SPDX-License-Identifier: GPL-2.0-only */
/* The administrator's acts: REGISTER, UNREGISTER, GRANT, WITHHOLD, RESET. */
#include <stdlib.h>
#include <string.h>

#include "oracle/ref.h"

void o_forget(struct o_module *m)
{
	if (m->kept) {
		memset(m, 0, sizeof(*m));
		return;
	}
	m_free(&m->man);
	for (uint32_t i = 0; m->chain && i < m->binding.chains; i++)
		free(m->chain[i].exact);
	free(m->chain);
	free(m->frame);
	free(m->import_at);
	free(m->good);
	free(m->marked);
	free(m->class);
	memset(m, 0, sizeof(*m));
}

/* ---- the reference model's word on each act ---- */

void oracle_admin_begins(struct oracle *o)
{
	o->nraises = o->nlowers = 0;
	o->failed = false;
}

/* `verdict` and `kick` are the core's. After a callback that failed there is nothing to predict. */
static void act_predicted(struct oracle *o, const char *what, unsigned vcpu,
			  enum guard_verdict want, enum guard_verdict verdict, uint32_t want_kick,
			  uint32_t kick)
{
	if (o->mode != ORACLE_MODEL || o->failed || o->lost)
		return;
	o->counts.predicted++;
	if (want != verdict)
		o_complain(o, "reference model", vcpu, 0, "%s: %s, and the core says %s", what,
			   o_verdict_name(want), o_verdict_name(verdict));
	else if (want_kick != kick)
		o_complain(o, "reference model", vcpu, 0,
			   "%s kicks vCPUs 0x%x, and the core kicks 0x%x", what, want_kick, kick);
}

/* Whole pages that no other module is bound to. */
static const char *device_wrong(const struct oracle *o, uint64_t base, uint64_t length)
{
	if (!length || base % PAGE || length % PAGE || base > UINT64_MAX - (length - 1))
		return "a device is bound that is no whole pages";
	for (unsigned i = 0; i < ORACLE_MODULES; i++) {
		const struct o_module *m = &o->module[i];

		for (unsigned p = 0; m->registered && p < m->man.nprivileges; p++)
			if (m->man.privilege[p].kind == P_DEVICE && (m->binding.bound >> p & 1) &&
			    base < m->binding.range[p].base + m->binding.range[p].length &&
			    m->binding.range[p].base < base + length)
				return "a device is bound that is another module's";
	}
	return NULL;
}

const char *o_binding_wrong(const struct oracle *o, const struct m_manifest *man,
			    const struct oracle_request *r)
{
	const struct oracle_binding *b = &r->binding;
	const char *wrong = NULL;

	if (!r->bound)
		return "nobody has bound it";
	if (memcmp(r->names, r->digest, sizeof(r->digest)) != 0)
		return "the binding names other code";
	if (b->bound >> man->nprivileges)
		return "more is bound than it declares";
	for (unsigned p = 0; p < man->nprivileges && !wrong; p++)
		if ((b->bound >> p & 1) && man->privilege[p].kind == P_DEVICE)
			wrong = device_wrong(o, b->range[p].base, b->range[p].length);
	return wrong;
}

/* What is bound, to what code: the root of all that is ever raised. */
static void registration_true(struct oracle *o, const struct m_manifest *man,
			      const struct oracle_request *r)
{
	const char *wrong = man ? o_binding_wrong(o, man, r) : "it has no manifest";

	for (unsigned i = 0; i < ORACLE_MODULES && !wrong; i++)
		if (o->module[i].registered &&
		    !memcmp(&o->module[i].id, r->digest, sizeof(o->module[i].id)))
			wrong = "this very code is bound already";
	if (wrong)
		o_complain(o, "G4 binding", 0, 0, "a module is registered though %s", wrong);
}

void oracle_judged_register(struct oracle *o, const void *manifest, size_t len,
			    const struct oracle_request *r, enum guard_verdict verdict,
			    unsigned index)
{
	unsigned want_index = index;
	struct m_manifest man;
	bool is = m_read(&man, manifest, len);
	enum guard_verdict want = ref_register(o, is ? &man : NULL, r, &want_index);

	/* our reader is no validator: a manifest that it can read may be refused all the same */
	if (verdict == GUARD_V_BAD_MANIFEST && is && r->digested)
		want = verdict;
	/* the platform will not hide that device */
	if (want == GUARD_V_OK && o->failed)
		want = GUARD_V_NOT_BOUND;
	o->failed = false;
	act_predicted(o, "REGISTER", 0, want, verdict, 0, 0);
	if (o->mode == ORACLE_MODEL && verdict == GUARD_V_OK && index != want_index)
		o_complain(o, "reference model", 0, 0,
			   "REGISTER gives module number %u, and the core gives %u", want_index,
			   index);
	if (verdict == GUARD_V_OK)
		registration_true(o, is ? &man : NULL, r);
	if (is)
		m_free(&man);
}

void oracle_judged_unregister(struct oracle *o, unsigned index, enum guard_verdict verdict,
			      uint32_t kick)
{
	uint32_t want_kick;
	enum guard_verdict want = ref_unregister(o, index, &want_kick);

	act_predicted(o, "UNREGISTER", 0, want, verdict, want_kick, kick);
}

void oracle_judged_grant(struct oracle *o, unsigned vcpu, unsigned index, bool give,
			 enum guard_verdict verdict, uint32_t kick)
{
	uint32_t want_kick;
	enum guard_verdict want = ref_grant(o, vcpu, index, give, &want_kick);
	unsigned v = vcpu < o->vcpus ? vcpu : 0;
	bool inside = want != GUARD_V_UNKNOWN_MODULE && o->vcpu[v].module == &o->module[index];

	act_predicted(o, give ? "GRANT" : "WITHHOLD", v, want, verdict, want_kick, kick);
	if (o->mode == ORACLE_MODEL && !o->lost && o->nraises != inside)
		o_complain(o, "reference model", v, 0,
			   inside ? "the new set must take effect at once, inside"
				  : "nothing is raised on a vCPU that is outside");
}

void oracle_judged_reset(struct oracle *o, unsigned vcpu, enum guard_verdict verdict)
{
	if (vcpu < o->vcpus)
		act_predicted(o, "RESET", vcpu, ref_reset(o, vcpu), verdict, 0, 0);
}

/* ---- what is so from then on ---- */

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
	m->marked = calloc(m->man.pages / 64 + 1u, sizeof(*m->marked));
	if (!m->marked || !m->chain || !m->frame || !m->import_at || !m->good || !m->class) {
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
	o->top = index >= o->top ? index + 1 : o->top;
	o->generation++;
}

void o_stopped(struct oracle *o, uint32_t stop)
{
	for (unsigned v = 0; v < o->vcpus; v++)
		if (stop >> v & 1)
			o->vcpu[v].stopped = true;
}

/* Who waits outside comes back to a gate that nobody has any more; that must not go on unseen. */
static void return_gates_go(struct oracle *o, const struct o_module *m)
{
	for (uint32_t i = 0; m->gates_bytes && i < m->man.ngates; i++) {
		const struct m_gate *g = &m->man.gate[i];

		if (g->kind == G_LEAVE_RETURN || g->kind == G_ENTER_RETURN)
			o->gone[o->went++ % O_GONE] =
				(struct o_gone){ true, g->kind == G_ENTER_RETURN,
						 m->gates_gva + i * 16 + g->x };
	}
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
	if (ok)
		o_withdraw(o, m);
	else
		o_half_withdrawn(o, m);
	m->job.active = false; /* gone half way, too: it begins anew */
	if (ok) {
		m->registered = false;
		return_gates_go(o, m);
	}
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
