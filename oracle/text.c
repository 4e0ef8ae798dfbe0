/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Is this the registered code? Judged from the registered image, the bases and nothing else
 * (docs/semantics.md, "Code integrity"): bytes as registered, internal fields as the bases imply,
 * each import one address everywhere, patch sites one of their legal contents.
 */
#include <stdlib.h>
#include <string.h>

#include "oracle/state.h"

static bool relative(const struct m_reloc *r)
{
	return r->type == 2 || r->type == 4 || r->type == 24;
}

/* The address that a field of these bytes at guest address p stands for. */
static uint64_t address_in(const struct m_reloc *r, uint64_t p, const uint8_t *field)
{
	uint64_t v = 0;
	int32_t low = 0;

	if (m_field(r) == 8) {
		memcpy(&v, field, 8);
	} else {
		memcpy(&low, field, 4);
		v = r->type == 10 ? (uint32_t)low : (uint64_t)(int64_t)low;
	}
	return v - (uint64_t)r->addend + (relative(r) ? p : 0);
}

static bool absent(const struct o_module *m, uint32_t segment)
{
	return m_init(m->man.segment[segment].kind) && !m->base[segment];
}

/* Private memory, text and constants of anyone: no data import leads there. */
static bool guarded(const struct oracle *o, uint64_t at)
{
	for (unsigned i = 0; i < ORACLE_MODULES; i++) {
		const struct o_module *m = &o->module[i];
		uint32_t moff, kind;
		unsigned segment;

		if (!m->announced || !o_moff(m, at, &moff, &segment))
			continue;
		kind = m->man.segment[segment].kind;
		if (kind == S_PRIVATE || (m_verified(kind) && kind != S_GATES))
			return true;
	}
	return false;
}

static bool import_fits(struct oracle *o, struct o_module *m, uint32_t n, uint64_t at)
{
	unsigned segment;
	uint32_t moff;

	if (m->import_at[n] == ~0ull) {
		if (o_moff(m, at, &moff, &segment))
			return false;
		if ((m->man.import[n].flags & M_IMPORT_DATA) && guarded(o, at))
			return false;
		m->import_at[n] = at;
	}
	return m->import_at[n] == at;
}

static bool field_fits(struct oracle *o, struct o_module *m, const struct m_reloc *r, uint64_t p,
		       const uint8_t *field)
{
	static const uint8_t zero[8];
	uint64_t s = address_in(r, p, field);

	if (r->kind == R_SEGMENT) {
		if (absent(m, r->target))
			return memcmp(field, zero, m_field(r)) == 0;
		return s == m->base[r->target];
	}
	if (r->kind == R_IMPORT)
		return import_fits(o, m, r->target, s);
	for (unsigned i = 0; i < ORACLE_MODULES; i++) {
		uint32_t moff;
		unsigned segment;

		if (o->module[i].announced && o_moff(&o->module[i], s, &moff, &segment))
			return false;
	}
	return true;
}

static bool choice_fits(struct oracle *o, struct o_module *m, const struct m_site *site,
			const struct m_choice *ch, const uint8_t *now)
{
	const uint8_t *legal = m->man.image + ch->bytes;
	uint64_t p = o_gva(m, site->moff);
	bool field[255] = { false };

	for (uint32_t n = 0; n < ch->relocs; n++) {
		const struct m_reloc *r = &m->man.choice_reloc[ch->first_reloc + n];

		memset(&field[r->moff], true, m_field(r));
	}
	for (unsigned i = 0; i < site->size; i++)
		if (!field[i] && now[i] != legal[i])
			return false;
	for (uint32_t n = 0; n < ch->relocs; n++) {
		const struct m_reloc *r = &m->man.choice_reloc[ch->first_reloc + n];

		if (!field_fits(o, m, r, p + r->moff, now + r->moff))
			return false;
	}
	return true;
}

static bool site_fits(struct oracle *o, struct o_module *m, const struct m_site *site,
		      const uint8_t *now, uint16_t *group)
{
	for (uint32_t i = 0; i < site->count; i++) {
		if (!choice_fits(o, m, site, &m->man.choice[site->first + i], now))
			continue;
		if (site->group == M_NONE || site->group >= m->man.nsites)
			return true;
		if (!group[site->group])
			group[site->group] = (uint16_t)(i + 1);
		return group[site->group] == i + 1;
	}
	return false;
}

bool o_site_poke(struct oracle *o, struct o_module *m, const struct m_site *site,
		 const uint8_t *now)
{
	size_t bytes = (m->man.nimports + 1u) * sizeof(*m->import_at);
	uint64_t *seen = malloc(bytes);
	uint8_t whole[256];
	bool fits = false;

	if (seen && site->size <= sizeof(whole)) {
		/* an import that no byte has named before is not decided by a poke */
		memcpy(seen, m->import_at, bytes);
		memcpy(whole, now, site->size);
		for (uint32_t i = 0; i < site->count && !fits; i++) {
			const struct m_choice *ch = &m->man.choice[site->first + i];

			whole[0] = m->man.image[ch->bytes];
			fits = choice_fits(o, m, site, ch, whole);
			memcpy(m->import_at, seen, bytes);
		}
	}
	free(seen);
	return fits;
}

/* Bytes [at, end) of a verified segment, none of them patched. */
static bool plain_fits(const struct o_module *m, const uint8_t *all, uint32_t at, uint32_t end,
		       uint32_t *where)
{
	const struct m_segment *s = &m->man.segment[m_segment_of(&m->man, at)];

	for (; at < end; at++) {
		uint32_t from = at - s->start;
		uint8_t want = from < s->size ? m->man.image[s->image + from] : 0;

		if (all[at] != want) {
			*where = at;
			return false;
		}
	}
	return true;
}

/* The patched places of a segment in order, with what lies between. */
static const char *segment_wrong(struct oracle *o, struct o_module *m, const uint8_t *all,
				 const struct m_segment *s, uint16_t *group, uint32_t *where)
{
	uint32_t end = s->start + s->pages * (uint32_t)PAGE, at = s->start, r = 0, t = 0;

	while (r < m->man.nrelocs && m->man.reloc[r].moff < at)
		r++;
	while (t < m->man.nsites && m->man.site[t].moff < at)
		t++;
	while (at < end) {
		uint32_t reloc = r < m->man.nrelocs ? m->man.reloc[r].moff : end;
		uint32_t site = t < m->man.nsites ? m->man.site[t].moff : end;
		uint32_t next = reloc < site ? reloc : site;

		if (!plain_fits(m, all, at, next < end ? next : end, where))
			return "a byte is not the registered one";
		if (next >= end)
			break;
		*where = next;
		if (reloc < site) {
			if (!field_fits(o, m, &m->man.reloc[r], o_gva(m, next), all + next))
				return "a relocated field leads elsewhere than it must";
			at = next + m_field(&m->man.reloc[r++]);
		} else {
			if (!site_fits(o, m, &m->man.site[t], all + next, group))
				return "a patch site holds none of its legal contents";
			at = next + m->man.site[t++].size;
		}
	}
	return NULL;
}

const char *o_text_wrong(struct oracle *o, struct o_module *m, uint32_t *where)
{
	size_t bytes = m->man.pages * (size_t)PAGE;
	uint8_t *all = calloc(1, bytes + 8);
	uint16_t *group = calloc(m->man.nsites + 1u, sizeof(*group));
	const char *wrong = NULL;

	*where = 0;
	if (!all || !group || !o->cb.copy) {
		free(all);
		free(group);
		return NULL;
	}
	for (uint32_t i = 0; i < m->man.nimports; i++)
		m->import_at[i] = ~0ull;
	for (unsigned i = 0; i < m->man.nsegments && !wrong; i++) {
		const struct m_segment *s = &m->man.segment[i];

		if (!m_verified(s->kind) || !o_has(m, i))
			continue;
		for (uint32_t p = 0; p < s->pages; p++)
			if (!o->cb.copy(o->cb.ctx, m->index, s->start + p * (uint32_t)PAGE,
					all + s->start + p * PAGE, PAGE))
				wrong = "a verified page cannot be read";
	}
	for (unsigned i = 0; i < m->man.nsegments && !wrong; i++)
		if (m_verified(m->man.segment[i].kind) && o_has(m, i))
			wrong = segment_wrong(o, m, all, &m->man.segment[i], group, where);
	if (!wrong)
		m->proved = true, memcpy(m->good, all, bytes);
	free(all);
	free(group);
	return wrong;
}
