/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What vCPUs really execute and really reach. None of this comes from the core: views are judged by
 * the memory that they show.
 */
#include <Zydis/Zydis.h>
#include <string.h>

#include "oracle/state.h"

enum { UNKNOWN, OTHER, CALL, RETURN };

void oracle_runs(struct oracle *o, unsigned vcpu, uint8_t view)
{
	const struct o_vcpu *v = &o->vcpu[vcpu];

	if (v->stopped) {
		o_complain(o, "G6 VMM safety", vcpu, 0,
			   "the vCPU runs though it could not be lowered");
		return;
	}
	if (view != (v->module ? v->module->index : ORACLE_OUTSIDE))
		o_complain(o, "G2 exit", vcpu, 0,
			   v->module ? "inside, with another view"
				     : "outside, with a module's view");
}

/* ---- instructions with privilege ---- */

static uint8_t class_of(const uint8_t *code, unsigned len)
{
	static ZydisDecoder decoder;
	static bool ready;
	ZydisDecodedInstruction i;

	if (!ready) {
		ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
		ready = true;
	}
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, NULL, code, len, &i)))
		return OTHER;
	if (i.meta.category == ZYDIS_CATEGORY_CALL)
		return CALL;
	return i.meta.category == ZYDIS_CATEGORY_RET ? RETURN : OTHER;
}

/* A return goes where its call came from, or another vCPU has changed the word meanwhile. */
static void returns(struct oracle *o, struct o_chain *ch, uint64_t slot, uint64_t cr3)
{
	uint64_t word;

	o->counts.returns++;
	o_pop_below(ch, slot);
	o->counts.depth_lost += ch->shadow_lost;
	if (ch->shadow_lost || !o_word(o, cr3, slot, false, &word))
		return;
	if (!ch->nshadow || ch->shadow[ch->nshadow - 1].gva != slot ||
	    ch->shadow[ch->nshadow - 1].value != word)
		o->counts.stack_races++;
}

/*
 * m's own text at an address that is not m's: execute rights go by frame. Only m itself can branch
 * there while privileged, by a pointer that it did not check (CAVEATS.md, G2).
 */
static bool is_alias(const struct o_module *m, const uint8_t *code, unsigned len,
		     const struct oracle_place *where)
{
	if (where->backing != ORACLE_COPY || where->module != m->index ||
	    where->at + len > m->man.pages * PAGE || memcmp(m->good + where->at, code, len) != 0)
		return false;
	/* by whole pages: the rest of a segment's last is zeros, and as executable */
	for (unsigned i = 0; i < m->man.nsegments; i++)
		if (m_executes(m->man.segment[i].kind) &&
		    PAGE_OF(where->at) >= m->man.segment[i].start &&
		    PAGE_OF(where->at) < m->man.segment[i].start + (uint64_t)m->man.segment[i].size)
			return true;
	return false;
}

void oracle_instruction(struct oracle *o, unsigned vcpu, uint8_t view, uint64_t rip, uint64_t rsp,
			uint64_t cr3, const uint8_t *code, unsigned len,
			const struct oracle_place *where)
{
	struct o_vcpu *v = &o->vcpu[vcpu];
	struct o_module *m = v->module;
	unsigned segment;
	uint32_t moff;

	o->counts.instructions++;
	if (!m || m->index != view) {
		o_complain(o, "G1 entry", vcpu, rip,
			   "an instruction runs in the view of module %u and no crossing led there",
			   view);
		return;
	}
	if (!o_moff(m, rip, &moff, &segment) || !m_executes(m->man.segment[segment].kind)) {
		if (is_alias(m, code, len, where)) {
			o->counts.aliased++;
			return;
		}
		o_complain(o, "G2 exit", vcpu, rip,
			   "an instruction outside of module %u runs with its privilege", view);
		return;
	}
	if (where->backing != ORACLE_COPY || where->module != m->index || where->at != moff) {
		o_complain(o, "G3 privacy", vcpu, rip,
			   "module %u does not execute its verified copy", view);
		return;
	}
	/* The gates' own words are the crossings' matter. */
	if (len > m->man.pages * PAGE - moff)
		len = (unsigned)(m->man.pages * PAGE - moff);
	if (memcmp(m->good + moff, code, len) != 0) {
		o_complain(o, "G4 binding", vcpu, rip,
			   "module %u executes bytes that are not the registered ones", view);
		return;
	}
	/* what lies below the stack pointer has been returned from, or never will be */
	o_pop_below(v->chain, rsp);
	if (!m->class[moff])
		m->class[moff] = class_of(code, len);
	if (m->class[moff] == CALL)
		o_push(v->chain, rsp - 8, rip + len);
	else if (m->class[moff] == RETURN)
		returns(o, v->chain, rsp, cr3);
}

/* ---- pages ---- */

static bool has_privilege(const struct oracle *o, unsigned vcpu, const struct o_module *m,
			  unsigned p)
{
	return (m->binding.bound & o->vcpu[vcpu].granted[m->index]) >> p & 1;
}

static bool has_kind(const struct oracle *o, unsigned vcpu, const struct o_module *m, uint32_t kind,
		     uint64_t number)
{
	for (unsigned p = 0; p < m->man.nprivileges; p++) {
		const struct m_privilege *q = &m->man.privilege[p];

		if (q->kind != kind || !has_privilege(o, vcpu, m, p))
			continue;
		if (kind == P_DEVICE) {
			if (number - m->binding.range[p].base < m->binding.range[p].length)
				return true;
		} else if (kind == P_PRIVATE || kind == P_MWAIT ||
			   (number >= q->first && number <= q->last)) {
			return true;
		}
	}
	return false;
}

/* One page of view U, or of a view for somebody else's pages: NULL or what is wrong. */
static const char *stranger_wrong(enum o_owner owner, const struct oracle_place *w, unsigned access,
				  bool inside)
{
	if (w->backing == ORACLE_COPY)
		return "a page of the VMM's is shown";
	if (owner == O_PRIVATE && w->backing != ORACLE_ZEROS)
		return "the frame under private memory is not hidden by zeros";
	if (owner == O_DEVICE && w->backing != ORACLE_ONES)
		return "a bound device does not answer with ones";
	if ((access & ORACLE_EXEC) && (inside || owner == O_VERIFIED))
		return inside ? "a page that is not the module's is executable inside"
			      : "a frame of verified text is executable outside";
	return NULL;
}

/* A page whose frame lies under the module whose view this is. */
static const char *own_wrong(const struct oracle *o, unsigned vcpu, const struct o_module *m,
			     enum o_owner owner, uint32_t page, const struct oracle_place *w,
			     unsigned access)
{
	uint32_t kind = m->man.segment[m_segment_of(&m->man, page * 4096u)].kind;
	bool copy = w->backing == ORACLE_COPY && w->module == m->index && w->at == page * PAGE;

	if (owner == O_PRIVATE) {
		if (!has_kind(o, vcpu, m, P_PRIVATE, 0))
			return w->backing == ORACLE_ZEROS
				       ? NULL
				       : "private memory is shown without the privilege";
		if (!copy || (access & ORACLE_EXEC))
			return "private memory is not the module's own page";
		return NULL;
	}
	if (owner == O_SEGMENT)
		return w->backing != ORACLE_GUEST || (access & ORACLE_EXEC)
			       ? "the module's data are not the guest's plain memory"
			       : NULL;
	if (!copy)
		return "verified text or constants are not the verified copy";
	if (access & ORACLE_WRITE)
		return "the verified copy can be written to";
	if ((access & ORACLE_EXEC) && !m_executes(kind))
		return "constants are executable";
	return NULL;
}

void oracle_shows(struct oracle *o, unsigned vcpu, uint8_t view, uint64_t gpa, uint64_t pages,
		  const struct oracle_place *where, unsigned access)
{
	for (uint64_t i = 0; i < pages && !o->failure; i++) {
		struct oracle_place w = *where;
		const struct o_module *m = NULL;
		const char *why;
		uint32_t page = 0;
		enum o_owner owner = o_owner(o, gpa + i * PAGE, &m, &page);

		o->counts.pages++;
		w.at += i * PAGE;
		if (owner == O_DEVICE && m->index == view &&
		    has_kind(o, vcpu, m, P_DEVICE, gpa + i * PAGE))
			why = w.backing == ORACLE_DEVICE || w.backing == ORACLE_ONES
				      ? NULL
				      : "the device is something else";
		else if (m && m->index == view && owner != O_DEVICE)
			why = own_wrong(o, vcpu, m, owner, page, &w, access);
		else
			why = stranger_wrong(owner, &w, access, view != ORACLE_OUTSIDE);
		if (why)
			o_complain(o, "G3 privacy", vcpu, 0,
				   "page 0x%llx of view %u: %s (owner %u, backing %u)",
				   (unsigned long long)(gpa + i * PAGE), view, why, owner,
				   w.backing);
	}
}

/* ---- uses of a privilege ---- */

void oracle_used(struct oracle *o, unsigned vcpu, uint32_t kind, uint64_t number)
{
	const struct o_module *m = o->vcpu[vcpu].module, *owner;

	if (kind == P_DEVICE && o_owner(o, number, &owner, NULL) != O_DEVICE)
		return; /* nobody's: free for all */
	if (m && has_kind(o, vcpu, m, kind, number))
		return;
	o_complain(o, "G3 privacy", vcpu, 0,
		   "privilege of kind %u, number 0x%llx, is used by one that does not have it",
		   kind, (unsigned long long)number);
}

void oracle_implicit(struct oracle *o, unsigned vcpu, uint64_t gpa,
		     const struct oracle_place *where)
{
	oracle_shows(o, vcpu, ORACLE_OUTSIDE, PAGE_OF(gpa), 1, where, 0);
}

void oracle_delivers(struct oracle *o, unsigned vcpu, uint8_t view)
{
	if (view != ORACLE_OUTSIDE || o->vcpu[vcpu].chain)
		o_complain(o, "G3 privacy", vcpu, 0,
			   "an event is delivered to a vCPU that is still inside a module");
}

/* ---- what the core does ---- */

static void core_touches(struct oracle *o, uint64_t gpa, const char *how)
{
	enum o_owner owner = o_owner(o, gpa, NULL, NULL);

	if (o->judging && owner >= O_GATES)
		o_complain(o, "G6 VMM safety", o->event ? o->event->vcpu : 0, 0,
			   "the guard %s 0x%llx, a module's frame or a device, by a guest address",
			   how, (unsigned long long)gpa);
}

void oracle_core_read(struct oracle *o, uint64_t gpa, size_t len)
{
	(void)len;
	core_touches(o, gpa, "reads");
}

void oracle_core_wrote(struct oracle *o, uint64_t gpa, const void *old, size_t len)
{
	struct o_undo *u;

	core_touches(o, gpa, "writes");
	if (!o->judging || len > sizeof(u->old))
		return;
	if (o->nundo == O_UNDO) {
		o_complain(o, "G6 VMM safety", o->event ? o->event->vcpu : 0, 0,
			   "the guard writes more than %u words for one event", O_UNDO);
		return;
	}
	u = &o->undo[o->nundo++];
	u->gpa = gpa;
	u->len = len;
	memcpy(u->old, old, len);
}

void oracle_platform(struct oracle *o, bool raise, bool done)
{
	if (raise && o->nraises < O_CALLS)
		o->raise_ok[o->nraises++] = done;
	else if (!raise && o->nlowers < O_CALLS)
		o->lower_ok[o->nlowers++] = done;
}

void oracle_written(struct oracle *o, unsigned module, uint32_t first, uint64_t bits, bool done)
{
	struct o_module *m = &o->module[module % ORACLE_MODULES];

	if (module >= ORACLE_MODULES || !m->registered || first % 64 || first >= m->man.pages)
		return;
	m->asked = true;
	m->marked[first / 64] |= done ? bits : ~0ull;
}

void oracle_platform_failed(struct oracle *o)
{
	o->failed = true;
}

void oracle_called(struct oracle *o, unsigned vcpu, uint64_t gva, uint64_t word)
{
	if (vcpu < o->vcpus && o->vcpu[vcpu].chain)
		o_push(o->vcpu[vcpu].chain, gva, word);
}

void oracle_returned(struct oracle *o, unsigned vcpu, uint64_t rsp)
{
	if (vcpu < o->vcpus && o->vcpu[vcpu].chain)
		o_pop_below(o->vcpu[vcpu].chain, rsp);
}

bool oracle_lost(const struct oracle *o)
{
	return o->lost;
}

void oracle_copy_changed(struct oracle *o, unsigned module, uint32_t moff, size_t len)
{
	(void)moff;
	(void)len;
	if (module < ORACLE_MODULES)
		o->copy_changed[module] = true;
}

void oracle_frame_released(struct oracle *o, unsigned module, uint32_t page)
{
	struct o_module *m = &o->module[module % ORACLE_MODULES];
	bool init;

	if (module >= ORACLE_MODULES || !(m->announced || m->half) || page >= m->man.pages ||
	    m->frame[page] == NO_FRAME)
		return;
	init = m_init(m->man.segment[m_segment_of(&m->man, page * 4096u)].kind);
	/*
	 * The kernel may have its init memory back once that has run and is unmapped, or seems so
	 * by a translation that failed.
	 */
	if (init && !m->init_gone && o_init_done(m) && o->event &&
	    (o->failed || o_init_moved(o, m, o->event->cpu.cr3)))
		m->init_gone = true;
	else if (!init)
		m->released = true;
	else if (!m->init_gone) {
		/* who began there may end in this very event: its lines will tell */
		if (!m->init_released)
			m->init_left = o->event && o_init_moved(o, m, o->event->cpu.cr3);
		m->init_released = true;
	}
	m->frame[page] = NO_FRAME;
	o_frames_moved(o);
}
