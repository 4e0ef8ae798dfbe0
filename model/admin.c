/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The core's door for the administrator and the VMM: REGISTER, UNREGISTER, GRANT, WITHHOLD and
 * vCPU reset.
 */
#include "model/internal.h"

size_t guard_size(void)
{
	return sizeof(struct guard);
}

struct guard *guard_init(void *mem, unsigned vcpus, const struct guard_ops *ops, void *vmm)
{
	struct guard *g = mem;

	if (vcpus == 0 || vcpus > GUARD_MAX_VCPUS)
		return NULL;
	memset(g, 0, sizeof(*g));
	g->ops = ops;
	g->vmm = vmm;
	g->vcpus = vcpus;
	return g;
}

static bool policy_ok(const struct guard_policy *p)
{
	return p->stack <= GUARD_STACK_NONE && p->registers <= GUARD_REGS_SCRUB &&
	       p->mapping <= GUARD_MAPPING_LOCKED && p->refusal <= GUARD_REFUSE_STOP &&
	       p->chains >= 1 && p->chains <= GUARD_MAX_CHAINS;
}

static uint32_t count_pages(const struct gm_header *h)
{
	const struct gm_segment *s = gm_table_at(h, &h->segments);
	uint32_t pages = 0;

	for (uint32_t i = 0; i < h->segments.count; i++)
		pages += gm_seg_pages(&s[i]);
	return pages;
}

/* Cuts `size` bytes, 8-aligned, off the work memory; only counts if there is none yet. */
static void *cut(uint8_t *work, size_t *used, size_t size)
{
	void *at = work ? work + *used : NULL;

	*used += (size + 7) & ~(size_t)7;
	return at;
}

/* Lays out the module's tables; with work NULL this is how its size is found. */
static size_t lay_out(struct module *m, uint8_t *work)
{
	const struct guard_policy *policy = &m->binding.policy;
	size_t used = 0;

	m->frame = cut(work, &used, sizeof(*m->frame) * m->pages);
	m->marked = cut(work, &used, sizeof(*m->marked) * ((m->pages + 63) / 64));
	m->import_at = cut(work, &used, sizeof(*m->import_at) * m->man->imports.count);
	m->group = cut(work, &used, sizeof(*m->group) * m->man->sites.count);
	m->chains = cut(work, &used, sizeof(*m->chains) * policy->chains);
	for (uint32_t i = 0; policy->stack == GUARD_STACK_EXACT && i < policy->chains; i++) {
		uint8_t *bytes = cut(work, &used, EXACT_BYTES);

		if (work)
			m->chains[i].exact = bytes;
	}
	return used;
}

size_t guard_work_size(const void *manifest, size_t len, const struct guard_policy *policy)
{
	struct module m = { .man = manifest };

	if (!gm_validate(manifest, len) || !policy_ok(policy))
		return 0;
	m.binding.policy = *policy;
	m.pages = count_pages(m.man);
	return lay_out(&m, NULL);
}

/* The frames of a bound device: whole pages, not wrapping, not another binding's. */
static bool device_ok(const struct guard *g, const struct guard_binding *b, unsigned p)
{
	const struct guard_resource *r = &b->resource[p];

	if (r->length == 0 || PAGE_OFFSET(r->base | r->length) != 0 ||
	    r->base + r->length - 1 < r->base)
		return false;
	for (unsigned i = 0; i < g->modules; i++) {
		const struct module *o = &g->module[i];

		if (o->state == MODULE_NONE)
			continue;
		for (unsigned k = 0; k < o->man->privileges.count; k++) {
			const struct guard_resource *q = &o->binding.resource[k];

			if (o->privileges[k].kind == GM_PRIV_DEVICE &&
			    o->binding.bound & 1ull << k && r->base < q->base + q->length &&
			    q->base < r->base + r->length)
				return false;
		}
	}
	return true;
}

static bool binding_ok(const struct guard *g, const struct module *m, const struct guard_binding *b,
		       const uint8_t *digest)
{
	if (!b || memcmp(b->digest, digest, sizeof(b->digest)) != 0 ||
	    b->bound >> m->man->privileges.count)
		return false;
	for (unsigned p = 0; p < m->man->privileges.count; p++)
		if (b->bound & 1ull << p && m->privileges[p].kind == GM_PRIV_DEVICE &&
		    !device_ok(g, b, p))
			return false;
	return true;
}

static void use_manifest(struct module *m, const struct gm_header *h)
{
	const struct gm_gate *gates = gm_table_at(h, &h->gates);

	m->man = h;
	m->segments = gm_table_at(h, &h->segments);
	m->gates = gates;
	m->entries = gm_table_at(h, &h->entries);
	m->imports = gm_table_at(h, &h->imports);
	m->relocs = gm_table_at(h, &h->relocs);
	m->sites = gm_table_at(h, &h->sites);
	m->choices = gm_table_at(h, &h->choices);
	m->choice_relocs = gm_table_at(h, &h->choice_relocs);
	m->retsites = gm_table_at(h, &h->retsites);
	m->unwind = gm_table_at(h, &h->unwind);
	m->fixups = gm_table_at(h, &h->fixups);
	m->privileges = gm_table_at(h, &h->privileges);
	m->image = gm_table_at(h, &h->image);
	m->nsegments = h->segments.count;
	m->pages = count_pages(h);
	m->gates_segment = GM_MAX_SEGMENTS;
	for (unsigned i = 0; i < m->nsegments; i++) {
		if (m->segments[i].kind != GM_SEG_PERCPU)
			m->bytes[i] = gm_seg_pages(&m->segments[i]) * PAGE;
		if (m->segments[i].kind == GM_SEG_GATES)
			m->gates_segment = i;
	}
	for (uint32_t i = 0; i < h->entries.count; i++)
		m->has_init |= (m->entries[i].flags & GM_ENTRY_INIT) != 0;
	for (uint32_t i = 0; i < h->gates.count; i++) {
		if (gates[i].kind == GM_GATE_ENTER_RETURN)
			m->enter_return_gate = gates[i].offset;
		if (gates[i].kind == GM_GATE_LEAVE_RETURN)
			m->leave_return_gate = gates[i].offset;
	}
}

/* Hides the bound devices in U, or shows them again: all that can be. */
static bool devices(struct ctx *c, const struct module *m, bool bind)
{
	bool all = true;

	for (unsigned p = 0; p < m->man->privileges.count; p++)
		if (m->binding.bound & 1ull << p && m->privileges[p].kind == GM_PRIV_DEVICE &&
		    !c->g->ops->device_role(c->g->vmm, m->index, p, &m->binding.resource[p], bind))
			all = false;
	return all;
}

static enum guard_verdict do_register(struct ctx *c, const void *manifest, size_t len,
				      const struct guard_binding *b, void *work, size_t work_len,
				      struct module **out)
{
	struct guard *g = c->g;
	struct module *m = NULL;
	uint8_t digest[32];
	uint64_t id;

	if (!gm_validate(manifest, len) || !g->ops->digest(g->vmm, manifest, len, digest))
		return GUARD_V_BAD_MANIFEST;
	memcpy(&id, digest, sizeof(id));
	for (unsigned i = GUARD_MAX_MODULES; i-- > 0;)
		if (g->module[i].state == MODULE_NONE)
			m = &g->module[i];
	if (!m || module_by_id(g, id))
		return GUARD_V_NO_ROOM;
	*m = (struct module){ .index = (unsigned)(m - g->module), .id = id };
	use_manifest(m, manifest);
	if (!binding_ok(g, m, b, digest) || !policy_ok(&b->policy))
		return GUARD_V_NOT_BOUND;
	m->binding = *b;
	if (m->pages > GUARD_MAX_WALKED_PAGES && b->policy.mapping == GUARD_MAPPING_CHECKED)
		return GUARD_V_NO_ROOM;
	if ((uintptr_t)work % 8 != 0 || lay_out(m, NULL) > work_len)
		return GUARD_V_NO_ROOM;
	memset(work, 0, lay_out(m, NULL));
	lay_out(m, work);
	for (uint32_t p = 0; p < m->pages; p++)
		m->frame[p] = NO_FRAME;
	if (!devices(c, m, true)) {
		devices(c, m, false);
		return GUARD_V_NOT_BOUND;
	}
	m->state = MODULE_REGISTERED;
	if (g->modules <= m->index)
		g->modules = m->index + 1;
	*out = m;
	return GUARD_V_OK;
}

enum guard_verdict guard_register(struct guard *g, const void *manifest, size_t len,
				  const struct guard_binding *binding, void *work, size_t work_len,
				  unsigned *index, struct guard_decision *d)
{
	struct module *m = NULL;
	enum guard_verdict v;
	struct ctx c;

	guard_start(&c, g, 0, GUARD_CAUSE_ADMIN, NULL, d);
	v = do_register(&c, manifest, len, binding, work, work_len, &m);
	if (m)
		*index = m->index;
	d->view = guard_ctx_view(&c);
	return guard_log(&c, GUARD_REGISTER, m, d->view, 0, v);
}

static struct module *registered(struct guard *g, unsigned index)
{
	if (index >= GUARD_MAX_MODULES || g->module[index].state == MODULE_NONE)
		return NULL;
	return &g->module[index];
}

/*
 * The return gates end in `lea; X; ret` and stand in the slots of those who wait outside: an X that does
 * nothing would lead them to itself for ever. So two addresses outlive the module.
 */
static void remember_return_gates(struct guard *g, const struct module *m)
{
	for (uint32_t i = 0; m->gates_bytes && i < m->man->gates.count; i++) {
		const struct gm_gate *gate = &m->gates[i];

		if (gate->kind == GM_GATE_LEAVE_RETURN || gate->kind == GM_GATE_ENTER_RETURN)
			g->gone[g->went++ % (2 * GUARD_MAX_MODULES)] =
				(struct gone){ .x = m->gates_gva + gate->offset + gate->x,
					       .kind = gate->kind };
	}
}

enum guard_verdict guard_unregister(struct guard *g, unsigned index, struct guard_decision *d)
{
	struct module *m = registered(g, index);
	enum guard_verdict v = GUARD_V_UNKNOWN_MODULE;
	uint8_t from;
	struct ctx c;

	guard_start(&c, g, 0, GUARD_CAUSE_ADMIN, NULL, d);
	from = guard_ctx_view(&c);
	if (m) {
		m->quarantined = true; /* if this ends half way, nobody enters any more */
		for (unsigned i = 0; i < g->vcpus; i++) {
			if (g->vcpu[i].module != m)
				continue;
			chain_lower(&c, m, i);
			d->kick |= 1u << i;
		}
		v = withdraw(&c, m);
		if (v == GUARD_V_OK && !devices(&c, m, false))
			v = GUARD_V_BUSY;
		if (v == GUARD_V_OK) {
			remember_return_gates(g, m);
			m->state = MODULE_NONE;
			for (unsigned i = 0; i < g->vcpus; i++)
				g->vcpu[i].granted[index] = 0;
		}
	}
	guard_log(&c, GUARD_UNREGISTER, m, from, 0, v);
	d->view = guard_ctx_view(&c);
	return v;
}

enum guard_verdict guard_grant(struct guard *g, unsigned vcpu, unsigned index, uint64_t privileges,
			       bool give, struct guard_decision *d)
{
	struct module *m = registered(g, index);
	enum guard_verdict v = GUARD_V_UNKNOWN_MODULE;
	uint64_t before;
	uint8_t from;
	struct ctx c;

	guard_start(&c, g, vcpu < g->vcpus ? vcpu : 0, GUARD_CAUSE_ADMIN, NULL, d);
	from = guard_ctx_view(&c);
	if (m && vcpu < g->vcpus) {
		v = GUARD_V_OK;
		before = c.v->granted[index];
		c.v->granted[index] = give ? before | privileges : before & ~privileges;
		/* inside right now: takes effect at once, and a privilege that stays is no option */
		if (c.v->module == m && raise_now(&c, m) != GUARD_V_OK) {
			c.act = c.v->chain->act[c.v->chain->depth - 1].serial;
			if (give) {
				c.v->granted[index] = before;
				v = GUARD_V_RAISE_FAILED;
			} else {
				v = chain_drop_running(&c, GUARD_V_RAISE_FAILED);
			}
		}
		if (!give)
			d->kick |= 1u << vcpu; /* wakes it from MWAIT */
	}
	guard_log(&c, give ? GUARD_GRANT : GUARD_WITHHOLD, m, from, 0, v);
	d->view = guard_ctx_view(&c);
	d->stop_vcpu = c.v->stopped;
	return v;
}

enum guard_verdict guard_vcpu_reset(struct guard *g, unsigned vcpu, struct guard_decision *d)
{
	enum guard_verdict v = GUARD_V_OK;
	struct module *m;
	uint8_t from;
	struct ctx c;

	guard_start(&c, g, vcpu < g->vcpus ? vcpu : 0, GUARD_CAUSE_ADMIN, NULL, d);
	from = guard_ctx_view(&c);
	m = c.v->module;
	if (vcpu < g->vcpus && c.v->chain)
		v = chain_drop_running(&c, GUARD_V_OK);
	guard_log(&c, GUARD_RESET, m, from, 0, v);
	d->view = guard_ctx_view(&c);
	d->stop_vcpu = c.v->stopped;
	return v;
}
