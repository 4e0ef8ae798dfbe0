/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The binary manifest, field by field. Refused is what would hurt this reader, and what no reader can
 * know: a flag without a name, a reserved field that is not 0. Whether a manifest is sound otherwise is
 * judged by model/ alone.
 */
#include <stdlib.h>
#include <string.h>

#include "oracle/manifest.h"

#define HEADER 152u
#define PAGE 4096u

struct cursor {
	const uint8_t *p;
};

static uint64_t take(struct cursor *c, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)c->p[i] << (8 * i);
	c->p += bytes;
	return v;
}

static uint32_t take32(struct cursor *c)
{
	return (uint32_t)take(c, 4);
}

/* Table number `n` of the header: where it starts and how many records of `size` bytes. */
static bool table(const uint8_t *data, size_t len, unsigned n, uint32_t size, struct cursor *c,
		  uint32_t *count)
{
	struct cursor h = { data + 32 + 8 * (size_t)n };
	uint32_t offset = take32(&h);

	*count = take32(&h);
	if (offset > len || (uint64_t)*count * size > len - offset)
		return false;
	c->p = data + offset;
	return true;
}

static bool room(void *out, uint32_t count, size_t size)
{
	void **p = out;

	*p = calloc((size_t)count + 1, size);
	return *p != NULL;
}

static bool segments(struct m_manifest *m, const uint8_t *data, size_t len)
{
	struct cursor c;

	if (!table(data, len, 0, 24, &c, &m->nsegments) || m->nsegments > M_SEGMENTS)
		return false;
	for (uint32_t i = 0; i < m->nsegments; i++) {
		struct m_segment *s = &m->segment[i];

		take32(&c);
		s->kind = take32(&c);
		s->start = take32(&c);
		s->size = take32(&c);
		s->image = take32(&c);
		if (take32(&c)) /* reserved */
			return false;
		if (!s->size || s->size > 32u << 20 || s->start != m->pages * PAGE)
			return false;
		s->pages = (s->size + PAGE - 1) / PAGE;
		m->pages += s->pages;
		if (m->pages > 8192)
			return false;
	}
	return true;
}

static bool gates(struct m_manifest *m, const uint8_t *data, size_t len)
{
	struct cursor c;

	if (!table(data, len, 1, 12, &c, &m->ngates) ||
	    !room(&m->gate, m->ngates, sizeof(*m->gate)))
		return false;
	for (uint32_t i = 0; i < m->ngates; i++) {
		if (take32(&c) != i * 16)
			return false;
		m->gate[i].kind = (uint8_t)take(&c, 1);
		m->gate[i].x = (uint8_t)take(&c, 1);
		m->gate[i].reg = take(&c, 1) & 15;
		if (take(&c, 1)) /* reserved */
			return false;
		m->gate[i].index = take32(&c);
	}
	return true;
}

static bool entries(struct m_manifest *m, const uint8_t *data, size_t len)
{
	struct cursor c;

	if (!table(data, len, 2, 20, &c, &m->nentries) ||
	    !room(&m->entry, m->nentries, sizeof(*m->entry)))
		return false;
	for (uint32_t i = 0; i < m->nentries; i++) {
		m->entry[i].moff = take32(&c);
		take32(&c);
		m->entry[i].headroom = take32(&c);
		m->entry[i].flags = take32(&c);
		take32(&c);
		if (m->entry[i].flags & ~M_ENTRY_FLAGS)
			return false;
	}
	if (!table(data, len, 3, 12, &c, &m->nimports) ||
	    !room(&m->import, m->nimports, sizeof(*m->import)))
		return false;
	for (uint32_t i = 0; i < m->nimports; i++) {
		take32(&c);
		m->import[i].flags = take32(&c);
		m->import[i].preserve = take32(&c);
		if (m->import[i].flags & ~M_IMPORT_DATA)
			return false;
	}
	for (uint32_t i = 0; i < m->ngates; i++)
		if ((m->gate[i].kind == G_ENTER && m->gate[i].index >= m->nentries) ||
		    (m->gate[i].kind == G_LEAVE && m->gate[i].index >= m->nimports))
			return false;
	return true;
}

static bool relocs(const uint8_t *data, size_t len, unsigned n, struct m_reloc **out,
		   uint32_t *count)
{
	struct cursor c;

	if (!table(data, len, n, 24, &c, count) || !room(out, *count, sizeof(**out)))
		return false;
	for (uint32_t i = 0; i < *count; i++) {
		struct m_reloc *r = &(*out)[i];

		r->moff = take32(&c);
		r->type = (uint16_t)take(&c, 2);
		r->kind = (uint16_t)take(&c, 2);
		r->target = take32(&c);
		if (take32(&c)) /* reserved */
			return false;
		r->addend = (int64_t)take(&c, 8);
	}
	return true;
}

static bool leads_somewhere(const struct m_manifest *m, const struct m_reloc *r)
{
	return (r->kind != R_SEGMENT || r->target < m->nsegments) &&
	       (r->kind != R_IMPORT || r->target < m->nimports);
}

static bool sites(struct m_manifest *m, const uint8_t *data, size_t len)
{
	struct cursor c;

	if (!table(data, len, 5, 20, &c, &m->nsites) ||
	    !room(&m->site, m->nsites, sizeof(*m->site)))
		return false;
	for (uint32_t i = 0; i < m->nsites; i++) {
		m->site[i].moff = take32(&c);
		m->site[i].size = (uint16_t)take(&c, 2);
		m->site[i].flags = (uint16_t)take(&c, 2);
		if (m->site[i].flags & ~M_SITE_RUNTIME)
			return false;
		m->site[i].group = take32(&c);
		m->site[i].first = take32(&c);
		m->site[i].count = take32(&c);
	}
	if (!table(data, len, 6, 12, &c, &m->nchoices) ||
	    !room(&m->choice, m->nchoices, sizeof(*m->choice)))
		return false;
	for (uint32_t i = 0; i < m->nchoices; i++) {
		m->choice[i].bytes = take32(&c);
		m->choice[i].first_reloc = take32(&c);
		m->choice[i].relocs = take32(&c);
	}
	return true;
}

static bool rest(struct m_manifest *m, const uint8_t *data, size_t len)
{
	struct cursor c;

	if (!table(data, len, 8, 4, &c, &m->nretsites) ||
	    !room(&m->retsite, m->nretsites, sizeof(*m->retsite)))
		return false;
	for (uint32_t i = 0; i < m->nretsites; i++)
		m->retsite[i] = take32(&c);
	if (!table(data, len, 9, 12, &c, &m->nunwind) ||
	    !room(&m->unwind, m->nunwind, sizeof(*m->unwind)))
		return false;
	for (uint32_t i = 0; i < m->nunwind; i++) {
		m->unwind[i].moff = take32(&c);
		m->unwind[i].cfa_offset = (int16_t)take(&c, 2);
		m->unwind[i].bp_offset = (int16_t)take(&c, 2);
		m->unwind[i].cfa_rule = (uint8_t)take(&c, 1);
		m->unwind[i].cfa_reg = take(&c, 1) & 15;
		m->unwind[i].bp_rule = (uint8_t)take(&c, 1);
		if (take(&c, 1)) /* reserved */
			return false;
	}
	if (!table(data, len, 10, 16, &c, &m->nfixups) ||
	    !room(&m->fixup, m->nfixups, sizeof(*m->fixup)))
		return false;
	for (uint32_t i = 0; i < m->nfixups; i++) {
		m->fixup[i].moff = take32(&c);
		m->fixup[i].target = take32(&c);
		m->fixup[i].kind = take32(&c);
		m->fixup[i].regs = take32(&c);
	}
	if (!table(data, len, 12, 16, &c, &m->nprivileges) || m->nprivileges > 16)
		return false;
	for (uint32_t i = 0; i < m->nprivileges; i++) {
		m->privilege[i].kind = take32(&c);
		take32(&c);
		m->privilege[i].first = take32(&c);
		m->privilege[i].last = take32(&c);
	}
	if (!table(data, len, 13, 1, &c, &m->nimage) || !room(&m->image, m->nimage, 1))
		return false;
	memcpy(m->image, c.p, m->nimage);
	return true;
}

/* What the text checks index with. */
static bool image_inside(const struct m_manifest *m)
{
	for (uint32_t i = 0; i < m->nsegments; i++) {
		const struct m_segment *s = &m->segment[i];

		if (s->image == M_NONE ? m_verified(s->kind)
				       : s->image > m->nimage || s->size > m->nimage - s->image)
			return false;
	}
	for (uint32_t i = 0; i < m->nsites; i++) {
		const struct m_site *s = &m->site[i];

		if (!s->size || s->size > 255 || (uint64_t)s->moff + s->size > m->pages * PAGE ||
		    (uint64_t)s->first + s->count > m->nchoices)
			return false;
		for (uint32_t k = s->first; k < s->first + s->count; k++) {
			const struct m_choice *ch = &m->choice[k];

			if ((uint64_t)ch->bytes + s->size > m->nimage ||
			    (uint64_t)ch->first_reloc + ch->relocs > m->nchoice_relocs)
				return false;
			for (uint32_t n = 0; n < ch->relocs; n++) {
				const struct m_reloc *r = &m->choice_reloc[ch->first_reloc + n];

				if (!leads_somewhere(m, r) ||
				    (uint64_t)r->moff + m_field(r) > s->size)
					return false;
			}
		}
	}
	for (uint32_t i = 0; i < m->nrelocs; i++)
		if (!leads_somewhere(m, &m->reloc[i]) ||
		    (uint64_t)m->reloc[i].moff + m_field(&m->reloc[i]) > m->pages * PAGE)
			return false;
	return true;
}

bool m_read(struct m_manifest *m, const uint8_t *data, size_t len)
{
	struct cursor c = { data + 8 };

	memset(m, 0, sizeof(*m));
	if (len < HEADER || memcmp(data, "GHMANIF1", 8) != 0 || take32(&c) != 1 ||
	    take32(&c) != len)
		return false;
	take32(&c);
	m->flags = take32(&c);
	take32(&c);
	if (m->flags & ~M_VIEWS || take32(&c)) /* reserved */
		return false;
	if (segments(m, data, len) && gates(m, data, len) && entries(m, data, len) &&
	    relocs(data, len, 4, &m->reloc, &m->nrelocs) && sites(m, data, len) &&
	    relocs(data, len, 7, &m->choice_reloc, &m->nchoice_relocs) && rest(m, data, len) &&
	    image_inside(m))
		return true;
	m_free(m);
	return false;
}

void m_free(struct m_manifest *m)
{
	free(m->gate);
	free(m->entry);
	free(m->import);
	free(m->reloc);
	free(m->choice_reloc);
	free(m->site);
	free(m->choice);
	free(m->retsite);
	free(m->unwind);
	free(m->fixup);
	free(m->image);
	memset(m, 0, sizeof(*m));
}

unsigned m_segment_of(const struct m_manifest *m, uint32_t moff)
{
	for (unsigned i = 0; i < m->nsegments; i++)
		if (moff - m->segment[i].start < m->segment[i].pages * PAGE)
			return i;
	return M_SEGMENTS;
}
