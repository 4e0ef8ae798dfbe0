/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reference model of VERIFY: pages of a module that the guest has written are looked at before
 * the next raise with no activation running, and the first one that holds what it must not is told,
 * once (docs/semantics.md, "Code integrity"). Which pages were written, the platform says; what
 * they hold is judged from guest memory and the verified copy.
 */
#include <stdlib.h>
#include <string.h>

#include "oracle/ref.h"

#define LOOKED_AT 256u /* pages at one raise */

/* Bytes of the guest's own frames, from a module offset on. */
static bool guest_bytes(const struct oracle *o, const struct o_module *m, uint32_t moff,
			uint8_t *buf, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		uint32_t page = (moff + i) / 4096u;

		if (page >= m->man.pages || m->frame[page] == NO_FRAME ||
		    !o->cb.ram(o->cb.ctx, m->frame[page] + (moff + i) % PAGE, buf + i, 1))
			return false;
	}
	return true;
}

static void allow(bool *may, uint32_t page, uint32_t moff, uint32_t len)
{
	for (uint32_t at = moff; at < moff + len; at++)
		if (at / 4096u == page)
			may[at % PAGE] = true;
}

/*
 * What may differ from the copy, once the core has looked: a poke in progress, and fields that speak
 * of init memory which is gone. Legal contents do not: they have been taken over.
 */
static bool poke_or_gone(struct oracle *o, struct o_module *m, uint32_t page, bool *may, bool *poke)
{
	for (uint32_t i = 0; i < m->man.nsites; i++) {
		const struct m_site *s = &m->man.site[i];
		uint8_t now[256] = { 0 };

		if (!(s->flags & M_SITE_RUNTIME) || s->moff >= (page + 1) * 4096u ||
		    s->moff + s->size <= page * 4096u || s->size > sizeof(now))
			continue;
		if (!guest_bytes(o, m, s->moff, now, s->size))
			return false;
		if (now[0] == 0xcc && o_site_poke(o, m, s, now)) {
			allow(may, page, s->moff, s->size);
			*poke = true;
		}
	}
	for (uint32_t i = 0; i < m->man.nrelocs; i++) {
		const struct m_reloc *r = &m->man.reloc[i];

		if (r->kind == R_SEGMENT && m_init(m->man.segment[r->target].kind) &&
		    !m->base[r->target])
			allow(may, page, r->moff, m_field(r));
	}
	return true;
}

static enum ref_page differs(struct oracle *o, struct o_module *m, uint32_t page,
			     const uint8_t *guest, const uint8_t *copy)
{
	bool may[PAGE] = { false }, poke = false;

	if (!poke_or_gone(o, m, page, may, &poke))
		return REF_PAGE_UNKNOWN;
	for (unsigned i = 0; i < PAGE; i++)
		if (guest[i] != copy[i] && !may[i])
			return REF_PAGE_BAD;
	return poke ? REF_PAGE_POKE : REF_PAGE_FINE;
}

enum ref_page ref_page_now(struct oracle *o, struct o_module *m, uint32_t page)
{
	uint8_t guest[PAGE], copy[PAGE];

	if (page >= m->man.pages || m->frame[page] == NO_FRAME ||
	    !m_verified(m->man.segment[m_segment_of(&m->man, page * 4096u)].kind))
		return REF_PAGE_FINE;
	if (!o->cb.copy || !o->cb.copy(o->cb.ctx, m->index, page * 4096u, copy, PAGE) ||
	    !o->cb.ram(o->cb.ctx, m->frame[page], guest, PAGE))
		return REF_PAGE_UNKNOWN;
	return memcmp(guest, copy, PAGE) ? differs(o, m, page, guest, copy) : REF_PAGE_FINE;
}

/* The pages that count as written, in order: the first bad one, or NO_PAGE. Settles their marks. */
static uint32_t first_bad(struct oracle *o, struct o_module *m)
{
	uint32_t bad = REF_NO_PAGE, looked = 0;

	for (uint32_t p = 0; p < m->man.pages && looked < LOOKED_AT; p++) {
		enum ref_page now;

		if (!(m->marked[p / 64] >> p % 64 & 1))
			continue;
		looked++;
		now = ref_page_now(o, m, p);
		if (now == REF_PAGE_UNKNOWN)
			m->unsure = true;
		if (now != REF_PAGE_POKE)
			m->marked[p / 64] &= ~(1ull << p % 64);
		if (now == REF_PAGE_BAD && bad == REF_NO_PAGE)
			bad = p;
	}
	return bad;
}

/* An exit was judged before the raise: whether someone still ran then is not known here. */
static bool left_first(const struct o_module *m, const struct oracle_outcome *out)
{
	return out->lines > 1 && out->line[0].module == m->index &&
	       (out->line[0].event == GUARD_LEAVE_CALL ||
		out->line[0].event == GUARD_LEAVE_RETURN || out->line[0].event == GUARD_DEPART);
}

static void verified(struct oracle *o, struct o_module *m, const struct oracle_event *ev,
		     const struct oracle_outcome *out)
{
	uint32_t want = REF_NO_PAGE, got = REF_NO_PAGE, unsure = 0;
	const struct oracle_line *line = NULL;
	unsigned segment;

	for (unsigned i = 0; i < out->lines; i++)
		if (out->line[i].event == GUARD_VERIFY && out->line[i].module == m->index)
			line = &out->line[i];
	if (line && (line->verdict != GUARD_V_BAD_TEXT || line->rip % PAGE ||
		     !o_moff(m, line->rip, &got, &segment))) {
		o_complain(o, "reference model", ev->vcpu, line->rip,
			   "VERIFY tells of a page of the module, bad-text");
		return;
	}
	if (line)
		got /= 4096u;
	if (m->asked && m->ran && left_first(m, out)) {
		memset(m->marked, 0, (m->man.pages / 64 + 1) * sizeof(*m->marked));
		m->unsure = true;
	} else if (m->asked && !m->ran) {
		unsure = m->unsure;
		m->unsure = false;
		want = first_bad(o, m);
	}
	unsure |= m->unsure;
	if (unsure && got != REF_NO_PAGE && ref_page_now(o, m, got) == REF_PAGE_FINE)
		o_complain(o, "reference model", ev->vcpu, line->rip,
			   "this page of module %u is as it must be", m->index);
	if (unsure || got == want)
		return;
	if (want == REF_NO_PAGE)
		o_complain(o, "reference model", ev->vcpu, line->rip,
			   "there is nothing new to tell of the text of module %u", m->index);
	else
		o_complain(o, "reference model", ev->vcpu, ev->cpu.rip,
			   "VERIFY bad-text of module %u must be told, at 0x%llx", m->index,
			   (unsigned long long)o_gva(m, want * 4096u));
}

void ref_verify(struct oracle *o, const struct oracle_event *ev, const struct oracle_outcome *out)
{
	for (unsigned i = 0; i < o->top && !o->failure; i++) {
		struct o_module *m = &o->module[i];

		if (!m->registered || !m->announced)
			continue;
		if (o->failed) {
			m->unsure = true;
			memset(m->marked, 0, (m->man.pages / 64 + 1) * sizeof(*m->marked));
		} else {
			verified(o, m, ev, out);
		}
	}
}
