/* SPDX-License-Identifier: GPL-2.0-only */
/* ANNOUNCE and WITHDRAW: where modules lie from now on, and whose every frame is. */
#include <string.h>

#include "oracle/state.h"

static struct o_module *by_id(struct oracle *o, uint64_t id)
{
	for (unsigned i = 0; i < ORACLE_MODULES; i++)
		if (o->module[i].registered && o->module[i].id == id)
			return &o->module[i];
	return NULL;
}

static bool runs(const struct oracle *o, const struct o_module *m)
{
	for (unsigned v = 0; v < o->vcpus; v++)
		if (o->vcpu[v].module == m)
			return true;
	return false;
}

/* Records end, frames are the guest's again, and private pages must be wiped. */
void o_withdraw(struct oracle *o, struct o_module *m)
{
	uint8_t page[4096];

	for (uint32_t i = 0; i < m->binding.chains; i++)
		o_end(&m->chain[i]);
	for (unsigned i = 0; i < m->man.nsegments && o->cb.copy && !o->failed; i++) {
		const struct m_segment *s = &m->man.segment[i];

		for (uint32_t p = 0; m->announced && s->kind == S_PRIVATE && p < s->pages; p++) {
			if (!o->cb.copy(o->cb.ctx, m->index, s->start + p * 4096u, page, PAGE))
				continue;
			for (unsigned k = 0; k < PAGE; k++)
				if (page[k]) {
					o_complain(o, "G3 privacy", o->event ? o->event->vcpu : 0,
						   o_gva(m, s->start + p * 4096u + k),
						   "module %u is gone and its private memory is "
						   "not wiped",
						   m->index);
					return;
				}
		}
	}
	m->announced = m->half = false;
	for (uint32_t p = 0; p < m->man.pages; p++)
		m->frame[p] = NO_FRAME;
	o_frames_moved(o);
}

void o_half_withdrawn(struct oracle *o, struct o_module *m)
{
	for (uint32_t i = 0; i < m->binding.chains; i++)
		o_end(&m->chain[i]);
	m->announced = false;
	m->half = true;
	o_frames_moved(o);
}

/* The table of bases as the guest had it. false: it cannot be read, or holds no bases. */
static bool bases(const struct oracle *o, const struct o_module *m, const struct oracle_cpu *cpu,
		  uint64_t *base)
{
	uint64_t table = cpu->gpr[ORACLE_RCX];

	if (cpu->gpr[ORACLE_RDX] != m->man.nsegments || table < KERNEL_HALF)
		return false;
	for (unsigned i = 0; i < m->man.nsegments; i++) {
		uint32_t kind = m->man.segment[i].kind;
		struct o_map map;

		o_map(o, cpu->cr3, table + 8 * i, &map);
		if (!o_stack_page(&map) || !o_word(o, cpu->cr3, table + 8 * i, true, &base[i]))
			return false;
		if (kind == S_PERCPU || (m_init(kind) && !base[i]))
			continue;
		if (base[i] % PAGE || base[i] < KERNEL_HALF ||
		    base[i] > KERNEL_LAST - m->man.segment[i].pages * PAGE)
			return false;
	}
	return true;
}

static bool meet(const struct o_module *m, unsigned i, const struct o_module *n, unsigned k)
{
	return o_has(m, i) && o_has(n, k) &&
	       m->base[i] < n->base[k] + n->man.segment[k].pages * PAGE &&
	       n->base[k] < m->base[i] + m->man.segment[i].pages * PAGE;
}

static const char *place_wrong(struct oracle *o, struct o_module *m)
{
	for (unsigned x = 0; x < ORACLE_MODULES; x++) {
		const struct o_module *n = &o->module[x];

		if (n != m && !n->announced)
			continue;
		for (unsigned i = 0; i < m->man.nsegments; i++)
			for (unsigned k = 0; k < n->man.nsegments; k++)
				/* what was given back in this event: text_after() asks whether it might */
				if (!(n == m && i == k) && meet(m, i, n, k) &&
				    !(n->init_released && m_init(n->man.segment[k].kind)))
					return "its addresses are another segment's";
	}
	return NULL;
}

/* Every page on plain RAM that is nobody's; the frames are noted. */
static const char *frames_wrong(struct oracle *o, struct o_module *m, uint64_t cr3)
{
	for (unsigned i = 0; i < m->man.nsegments; i++) {
		const struct m_segment *s = &m->man.segment[i];

		for (uint32_t p = 0; o_has(m, i) && p < s->pages; p++) {
			struct o_map map;

			o_map(o, cr3, m->base[i] + p * PAGE, &map);
			if (!(map.flags & O_RAM))
				return "a page of it is not mapped to RAM";
			if (map.owner != O_NOBODY)
				return "a page of it lies on a frame of another module";
			for (uint32_t q = 0; q < m->man.pages; q++)
				if (m->frame[q] == map.gpa)
					return "two pages of it lie on one frame";
			m->frame[s->start / PAGE + p] = map.gpa;
		}
	}
	return NULL;
}

/* A data import whose frame is private, verified or a device, by whatever address. */
static const char *imports_wrong(const struct oracle *o, const struct o_module *m, uint64_t cr3)
{
	for (uint32_t i = 0; i < m->man.nimports; i++) {
		struct o_map map;

		if (!(m->man.import[i].flags & M_IMPORT_DATA) || m->import_at[i] == ~0ull)
			continue;
		o_map(o, cr3, m->import_at[i], &map);
		if (map.flags && map.owner >= O_GATES)
			return "a data import leads into a guarded frame";
	}
	return NULL;
}

/* What others import as data, where this module's guarded memory now lies. */
static const char *others_wrong(const struct oracle *o, const struct o_module *m)
{
	for (unsigned x = 0; x < ORACLE_MODULES; x++) {
		const struct o_module *n = &o->module[x];

		for (uint32_t i = 0; n->announced && n != m && i < n->man.nimports; i++) {
			uint32_t moff, kind;
			unsigned segment;

			if (!(n->man.import[i].flags & M_IMPORT_DATA) ||
			    !o_moff(m, n->import_at[i], &moff, &segment))
				continue;
			kind = m->man.segment[segment].kind;
			if (kind == S_PRIVATE || (m_verified(kind) && kind != S_GATES))
				return "another module's data import leads into it";
		}
	}
	return NULL;
}

/* Who is told `ok` takes it that the module lies where the table in its hand says. */
static const char *table_wrong(struct oracle *o, const struct o_module *m,
			       const struct oracle_cpu *cpu)
{
	uint64_t base[M_SEGMENTS] = { 0 };

	if (cpu->gpr[ORACLE_RCX] == m->job.table && cpu->gpr[ORACLE_RDX] == m->job.count)
		return NULL;
	if (!bases(o, m, cpu, base))
		return "the caller's table holds no bases";
	for (unsigned i = 0; i < m->man.nsegments; i++)
		if (base[i] != m->job.base[i])
			return "nobody has looked where the caller's table says";
	return NULL;
}

static void announced(struct oracle *o, struct o_module *m, const struct oracle_event *ev)
{
	const char *wrong;
	uint32_t where;

	wrong = table_wrong(o, m, &ev->cpu);
	memcpy(m->base, m->job.base, sizeof(m->base));
	m->init_used = m->init_gone = false;
	m->job.active = false;
	for (uint32_t p = 0; p < m->man.pages; p++)
		m->frame[p] = NO_FRAME;
	if (!wrong)
		wrong = place_wrong(o, m);
	if (!wrong)
		wrong = frames_wrong(o, m, ev->cpu.cr3);
	m->gates_gva = m->gates_bytes = 0;
	for (unsigned i = 0; i < m->man.nsegments; i++)
		if (m->man.segment[i].kind == S_GATES) {
			m->gates_gva = m->base[i];
			m->gates_bytes = m->man.segment[i].pages * PAGE;
		}
	m->cr4 = ev->cpu.cr4 & (1ull << 20 | 1ull << 21);
	m->announced = true;
	memset(m->marked, 0xff, (m->man.pages / 64 + 1) * sizeof(*m->marked));
	m->unsure = false;
	o_frames_moved(o);
	memset(m->class, 0, m->man.pages * PAGE);
	if (!wrong)
		wrong = o_text_wrong(o, m, &where);
	if (!wrong)
		wrong = imports_wrong(o, m, ev->cpu.cr3);
	if (!wrong)
		wrong = others_wrong(o, m);
	o->copy_changed[m->index] = false;
	if (wrong)
		o_complain(o, "G4 binding", ev->vcpu, ev->cpu.rip,
			   "module %u is announced though %s", m->index, wrong);
}

void o_announce_line(struct oracle *o, const struct oracle_event *ev,
		     const struct oracle_line *line)
{
	struct o_module *m = by_id(o, ev->cpu.gpr[ORACLE_RBX]);
	uint64_t base[M_SEGMENTS] = { 0 };

	if (!m) {
		if (line->verdict != GUARD_V_UNKNOWN_MODULE && line->verdict != GUARD_V_BAD_MODE)
			o_complain(o, "G4 binding", ev->vcpu, ev->cpu.rip,
				   "nobody has registered this module");
		return;
	}
	if (line->verdict == GUARD_V_BAD_MODE)
		return;
	if (ev->cpu.cpl || !ev->cpu.plain64) {
		o_complain(o, "G1 entry", ev->vcpu, ev->cpu.rip,
			   "an announcement from CPL %u%s is heard", ev->cpu.cpl,
			   ev->cpu.plain64 ? "" : ", not in plain 64-bit mode,");
		return;
	}
	if (line->event == GUARD_WITHDRAW) {
		m->job.active = m->job.active && line->verdict != GUARD_V_OK;
		if (line->verdict == GUARD_V_OK && runs(o, m))
			o_complain(o, "G6 VMM safety", ev->vcpu, ev->cpu.rip,
				   "module %u is withdrawn while it runs", m->index);
		else if (line->verdict == GUARD_V_OK)
			o_withdraw(o, m);
		else if (line->verdict == GUARD_V_BUSY && !runs(o, m))
			o_half_withdrawn(o, m);
		return;
	}
	if (line->verdict == GUARD_V_BUSY && (m->job.active || runs(o, m)))
		return;
	if (o->failed && line->verdict != GUARD_V_OK && line->verdict != GUARD_V_AGAIN) {
		o->lost = true; /* at which of its steps it failed cannot be seen */
		return;
	}
	if (!m->job.active && !bases(o, m, &ev->cpu, base)) {
		if (line->verdict == GUARD_V_OK || line->verdict == GUARD_V_AGAIN)
			o_complain(o, "G6 VMM safety", ev->vcpu, ev->cpu.rip,
				   "an announcement without possible bases is taken");
		return;
	}
	if (!m->job.active && line->verdict == GUARD_V_OK) {
		for (unsigned i = 0; i < m->man.nsegments; i++)
			if (!m->announced || (base[i] != m->base[i] &&
					      !(m_init(m->man.segment[i].kind) && !base[i]))) {
				o_complain(o, "G4 binding", ev->vcpu, ev->cpu.rip,
					   "module %u is announced and nobody has looked at it",
					   m->index);
				return;
			}
		return; /* the same place again */
	}
	if (!m->job.active) {
		/* it was withdrawn first */
		if (runs(o, m)) {
			o_complain(o, "G6 VMM safety", ev->vcpu, ev->cpu.rip,
				   "module %u is announced elsewhere while it runs", m->index);
			return;
		}
		o_withdraw(o, m);
		m->job.active = true;
		m->job.table = ev->cpu.gpr[ORACLE_RCX];
		m->job.count = ev->cpu.gpr[ORACLE_RDX];
		memcpy(m->job.base, base, sizeof(base));
	}
	if (line->verdict == GUARD_V_OK)
		announced(o, m, ev);
	else if (line->verdict != GUARD_V_AGAIN)
		m->job.active = false;
}

enum guard_verdict o_announce_must(struct oracle *o, const struct o_module *m,
				   const struct oracle_cpu *cpu)
{
	uint64_t base[M_SEGMENTS] = { 0 };
	bool same = m->announced;

	if (m->job.active)
		return cpu->gpr[ORACLE_RCX] != m->job.table || cpu->gpr[ORACLE_RDX] != m->job.count
			       ? GUARD_V_BUSY
			       : GUARD_NVERDICTS;
	if (!bases(o, m, cpu, base))
		return GUARD_V_BAD_MAPPING;
	for (unsigned i = 0; i < m->man.nsegments; i++)
		same &= base[i] == m->base[i] || (m_init(m->man.segment[i].kind) && !base[i]);
	if (same)
		return GUARD_V_OK;
	return runs(o, m) ? GUARD_V_BUSY : GUARD_NVERDICTS;
}
