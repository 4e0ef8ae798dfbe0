// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guarantees, judged by what the core raised, wrote and decided, and by what the guest itself
 * did; never by the core's state, and with none of the oracle's. It does not know which refusal is
 * right. It knows what must not come true:
 *
 *   G1  somebody is raised who came by no gate, or by a way back that was used up
 *   G2  a view that is not what was decided
 *   G3  a frame given back with something private in it, or under somebody's feet
 *   G4  more raised than bound and granted; copies that change while they run
 *   G5  a module that goes on elsewhere, with other registers, or with another way home
 *   G6  a lower that failed and stops nobody; decisions that cannot be carried out
 */
#include <string.h>

#include "fuzz/events/core.h"

#define FLAG_RF (1ull << 16)

void fc_ledger_before(unsigned v, bool judging)
{
	struct fc_live *l = fc->live;
	struct fc_event *e = &fc->ev;

	*e = (struct fc_event){ .vcpu = v, .judging = judging, .view = l->view[v] };
	for (unsigned u = 0; u < FC_VCPUS; u++)
		e->was |= (uint32_t)(l->view[u] != GUARD_VIEW_U) << u;
	e->at_rsp_ok = judging && fc_get(l->cpu[v].cr3, l->cpu[v].gpr[GUARD_RSP], &e->at_rsp);
}

/* ---- callbacks ---- */

void fc_ledger_raise(unsigned v, unsigned index, uint64_t set, bool ok)
{
	struct fc_live *l = fc->live;
	unsigned m = fc_by_index(index);
	uint64_t may;

	if (m == FC_MODULES) {
		fc_broken(true, "G4 binding: a raise for module number %u, which nobody has bound",
			  index);
		return;
	}
	may = fc->module[m].binding.bound & l->granted[v][m];
	if (v != fc->ev.vcpu)
		fc_broken(true, "G1 entry: vCPU %u is raised in an event of vCPU %u", v,
			  fc->ev.vcpu);
	if (l->stopped[v])
		fc_broken(true, "G6 VMM safety: vCPU %u is raised, and may never run again", v);
	if (l->view[v] != GUARD_VIEW_U && l->view[v] != index)
		fc_broken(true, "G1 entry: vCPU %u is raised from one module into another", v);
	if (set & ~may)
		fc_broken(
			true,
			"G4 binding: 0x%llx is raised for module %u, and only 0x%llx is bound and granted",
			(unsigned long long)set, m, (unsigned long long)may);
	else if (set != may)
		fc_broken(true, "G7 transparency: 0x%llx is raised for module %u, which has 0x%llx",
			  (unsigned long long)set, m, (unsigned long long)may);
	if (!l->of_page[index][FS_TEXT])
		fc_broken(true, "G1 entry: module %u is raised and lies nowhere", m);
	fc->ev.raises += ok && l->view[v] == GUARD_VIEW_U;
}

static bool somebody_in(unsigned index)
{
	for (unsigned v = 0; v < FC_VCPUS; v++)
		if (fc->live->view[v] == index && !fc->live->stopped[v] &&
		    !(fc->ev.lower_failed >> v & 1))
			return true;
	return false;
}

void fc_ledger_role(unsigned index, unsigned page, enum guard_role role)
{
	static const uint8_t zeros[4096];

	fc_places_role(index, page, role);
	if (role != GUARD_ROLE_NONE)
		return;
	if (page != FS_INIT && somebody_in(index))
		fc_broken(
			true,
			"G3 privacy: page %u of module number %u is given back while somebody is inside",
			page, index);
	if (page == FS_PRIVATE && memcmp(fc->copy[index][page], zeros, 4096) != 0)
		fc_broken(
			true,
			"G3 privacy: private memory of module number %u is given back and not wiped",
			index);
}

void fc_ledger_copy_changes(unsigned index, unsigned page)
{
	if (somebody_in(index))
		fc_broken(true, "G4 binding: page %u of module number %u changes while it runs",
			  page, index);
}

/* ---- ways back ---- */

static bool in_text(unsigned m, uint64_t gva)
{
	return gva - fc_seg(m, FS_TEXT) < 4096 || gva - fc_seg(m, FS_INIT) < 4096;
}

static struct fc_record *new_record(void)
{
	struct fc_live *l = fc->live;

	for (unsigned i = 0; i < FC_RECORDS; i++)
		if (!l->record[i].open)
			return &l->record[i];
	/* the oldest are forgotten: what is not found then proves nothing */
	l->vague = true;
	memmove(&l->record[0], &l->record[1], sizeof(l->record[0]) * (FC_RECORDS - 1));
	return &l->record[FC_RECORDS - 1];
}

/* v has left module m. `above`: words at and above this address count. */
static struct fc_record *left(const struct guard_event *ev, unsigned m, enum fc_kind kind,
			      uint64_t rip, uint64_t rsp, uint32_t compare, uint64_t above)
{
	struct fc_live *l = fc->live;
	struct fc_record *r = new_record();
	unsigned v = ev->vcpu;

	memset(r, 0, offsetof(struct fc_record, word));
	r->open = (uint8_t)kind;
	r->number = ++l->records;
	r->module = (uint8_t)m;
	r->exception = ev->cause == GUARD_CAUSE_EXCEPTION;
	r->vector = ev->vector;
	r->rip = rip;
	r->rsp = rsp;
	r->compare = compare & ~(1u << GUARD_RSP);
	r->rflags = ev->cpu.rflags;
	memcpy(r->gpr, ev->cpu.gpr, sizeof(r->gpr));
	for (unsigned i = 0; i < l->homes[v]; i++) {
		struct fc_word w = l->home[v][i];
		uint64_t now;

		/* another vCPU may have changed what ran: that is then what leads home */
		w.loose |= !fc_get(ev->cpu.cr3, w.gva, &now) || now != w.value;
		/* a module may be struck with RSP above a slot of its own, and return by it later */
		if (w.gva >= above || (kind == FC_DEPARTED && w.entry))
			r->word[r->words++] = w;
	}
	if (r->words && r->word[0].gva / 4096 - rsp / 4096 >= GUARD_EXTENT_PAGES)
		fc_broken(true,
			  "G6 VMM safety: module %u waits with more of a stack than any may have",
			  m);
	l->homes[v] = 0;
	return r;
}

/* The module goes on by this record, which is used up now. `last`: the decision's registers are its. */
static void comes_back(const struct guard_event *ev, struct fc_record *r, uint32_t differ,
		       bool last, uint64_t above)
{
	const struct guard_policy *p = &fc->module[r->module].binding.policy;
	struct fc_live *l = fc->live;
	uint64_t now;

	r->open = 0;
	for (unsigned i = 0; i < GUARD_GPRS; i++) {
		bool same = p->registers == GUARD_REGS_SCRUB
				    ? !last || fc->d.cpu.gpr[i] == r->gpr[i]
				    : ev->cpu.gpr[i] == r->gpr[i] &&
					      (!last || fc->d.cpu.gpr[i] == r->gpr[i]);

		if ((r->compare & ~differ) >> i & 1 && !same)
			fc_broken(
				true,
				"G5 continuity: module %u goes on with another value in register %u",
				r->module, i);
	}
	for (unsigned i = 0; i < r->words; i++)
		if (p->stack != GUARD_STACK_NONE && r->word[i].gva >= above && !r->word[i].loose &&
		    (!fc_get(ev->cpu.cr3, r->word[i].gva, &now) || now != r->word[i].value))
			fc_broken(
				true,
				"G5 continuity: module %u goes on, and the word at 0x%llx no longer leads "
				"home",
				r->module, (unsigned long long)r->word[i].gva);
	l->homes[ev->vcpu] = r->words;
	memcpy(l->home[ev->vcpu], r->word, r->words * sizeof(r->word[0]));
}

/* The activation with this slot, of what runs on v; NULL: none. */
static const struct fc_word *activation(unsigned v, uint64_t slot)
{
	for (unsigned i = 0; i < fc->live->homes[v]; i++)
		if (fc->live->home[v][i].gva == slot && fc->live->home[v][i].entry)
			return &fc->live->home[v][i];
	return NULL;
}

static void enters(const struct guard_event *ev, unsigned m, bool inside)
{
	struct fc_live *l = fc->live;
	uint64_t slot = ev->cpu.gpr[GUARD_RSP], now = 0;
	struct fc_record *parent = NULL;
	unsigned v = ev->vcpu;
	bool raw = ev->type == GUARD_EV_FETCH;

	if (fc->d.cpu.rip == fc_fn(m, FN_CALLBACK, 0))
		fc_places_callback(m);
	if (inside && activation(v, slot))
		return; /* at its own slot: one activation */
	for (unsigned i = 0; i < FC_RECORDS && raw; i++) {
		struct fc_record *r = &l->record[i];

		/* the parent's own return, which goes on at an entry instead */
		if (r->open == FC_CALLOUT && r->raw && r->module == m && r->rsp == slot + 8 &&
		    r->rip == fc->ev.at_rsp && (!parent || r->number > parent->number))
			parent = r;
	}
	if (parent) {
		comes_back(ev, parent, 0, true, slot + 8);
		return;
	}
	if (!inside)
		l->homes[v] = 0;
	fc_get(ev->cpu.cr3, slot, &now);
	if (!raw && now != fc_gate(m, FG_LEAVE_RETURN))
		fc_broken(true, "G2 exit: module %u is entered, and its slot leads to 0x%llx", m,
			  (unsigned long long)now);
	if (l->homes[v] == FC_WORDS) {
		l->vague = true;
		return;
	}
	l->home[v][l->homes[v]++] =
		(struct fc_word){ .gva = slot,
				  .value = now,
				  .entry = true,
				  .caller = fc->ev.at_rsp,
				  .init = fc->d.cpu.rip == fc_fn(m, FN_INIT, 0) };
	if (fc->d.cpu.rip == fc_fn(m, FN_INIT, 0))
		l->init[m] = FC_INIT_RUNS;
}

/* An activation ends, and with it the caller's address comes back. */
static void ends(const struct guard_event *ev, unsigned m, const struct fc_word *a, bool raw)
{
	struct fc_live *l = fc->live;
	uint64_t slot = a->gva, now = 0;

	if (a->init)
		l->init[m] = FC_INIT_OVER;
	if (!raw && (!fc_get(ev->cpu.cr3, slot, &now) || now != a->caller))
		fc_broken(true,
			  "G5 continuity: module %u ends, and its caller's address is not "
			  "back at 0x%llx",
			  m, (unsigned long long)slot);
	while (l->homes[ev->vcpu] && l->home[ev->vcpu][l->homes[ev->vcpu] - 1].gva <= slot)
		l->homes[ev->vcpu]--;
}

static uint32_t preserved(const struct guard_event *ev, unsigned m)
{
	if (ev->type == GUARD_EV_X && !fc->module[m].views) /* else there are no gates */
		return ev->cpu.rip == fc_gate_x(m, FG_LEAVE_ASM) ? FC_POOL_ASM : FC_POOL_C;
	/* of its own way out: only what all have in common is certain */
	return FC_POOL_C & FC_POOL_ASM;
}

/* Nothing of what runs on v entered before a did. */
static bool outermost(unsigned v, const struct fc_word *a)
{
	for (const struct fc_word *w = fc->live->home[v]; w < a; w++)
		if (w->entry)
			return false;
	return true;
}

static void leaves(const struct guard_event *ev, unsigned m, bool raw)
{
	uint64_t slot = ev->cpu.gpr[GUARD_RSP], word = fc->ev.at_rsp;
	const struct fc_word *a = activation(ev->vcpu, slot);

	/* the kernel may have gone on from a call-out to an entry: then the call-out's way back holds */
	if (a && (!in_text(m, a->caller) || outermost(ev->vcpu, a))) {
		ends(ev, m, a, raw);
		return;
	}
	/* a child that ended: its word is where its parent waits */
	if (a)
		word = a->caller;
	if (a || fc->ev.at_rsp_ok)
		left(ev, m, FC_CALLOUT, word, slot + 8, preserved(ev, m), slot + 8)->raw = raw;
}

static void returns(const struct guard_event *ev, unsigned m, bool raw)
{
	uint64_t slot = ev->cpu.gpr[GUARD_RSP] - (raw ? 8 : 0);
	const struct fc_word *a = activation(ev->vcpu, slot);

	if (a)
		ends(ev, m, a, raw);
	else if (!fc->live->vague)
		fc_broken(true, "G5 continuity: module %u returns at 0x%llx, where nobody entered",
			  m, (unsigned long long)slot);
}

static void returned_to(const struct guard_event *ev, unsigned m, bool last, bool raw, bool inside)
{
	struct fc_live *l = fc->live;
	struct fc_record *found = NULL;

	for (unsigned i = 0; i < FC_RECORDS; i++) {
		struct fc_record *r = &l->record[i];

		if (r->open == FC_CALLOUT && r->module == m && r->raw == raw &&
		    r->rip == fc->d.cpu.rip && r->rsp == fc->d.cpu.gpr[GUARD_RSP] &&
		    (!found || r->number > found->number))
			found = r;
	}
	if (inside)
		fc_broken(true,
			  "G1 entry: module %u goes on after a call-out where it runs already", m);
	if (found)
		comes_back(ev, found, 0, last, found->rsp);
	else if (!l->vague && last)
		fc_broken(true, "G1 entry: module %u goes on at 0x%llx, where no call-out waits", m,
			  (unsigned long long)fc->d.cpu.rip);
}

/* Where may a thread that departed go on? *differ: registers that this sets. */
static bool goes_on(const struct fc_record *r, const struct guard_cpu *cpu, uint32_t *differ)
{
	uint64_t w = fc_fn(r->module, FN_W, 0), rsp = cpu->gpr[GUARD_RSP];

	*differ = 0;
	if (!in_text(r->module, r->rip)) { /* in a gate: at its next crossing, or past it */
		if (r->rip == fc_gate(r->module, FG_LEAVE_RETURN))
			return rsp == r->rsp - 8;
		return rsp ==
		       r->rsp + (r->rip == fc_gate_x(r->module, FG_LEAVE_RETURN) + 3 ? 8 : 0);
	}
	if (rsp != r->rsp)
		return false;
	if (cpu->rip == r->rip)
		return true;
	if (!r->exception)
		return false;
	*differ = r->rip == w + FC_FAULT ? 1u << GUARD_RAX | 1u << GUARD_RCX : 0;
	return (r->rip == w + FC_FAULT && cpu->rip == w + FC_FIXUP) ||
	       (r->rip == w + FC_WARN && cpu->rip == w + FC_WARN + 2 && r->vector == 6);
}

static void resumes(struct guard_event *ev, unsigned m, bool last)
{
	struct fc_live *l = fc->live;
	struct fc_record *found = NULL;
	uint32_t differ = 0, d;

	for (unsigned i = 0; i < FC_RECORDS; i++) {
		struct fc_record *r = &l->record[i];

		if (r->open == FC_DEPARTED && r->module == m && goes_on(r, &ev->cpu, &d) &&
		    (!found || r->number > found->number)) {
			found = r;
			differ = d;
		}
	}
	if (!found) {
		if (!l->vague)
			fc_broken(true,
				  "G1 entry: module %u resumes at 0x%llx, where nobody departed", m,
				  (unsigned long long)ev->cpu.rip);
		return;
	}
	if ((ev->cpu.rflags ^ found->rflags) & ~FLAG_RF)
		fc_broken(true, "G5 continuity: module %u resumes with other flags", m);
	if (last && fc->d.cpu.rip != ev->cpu.rip)
		fc_broken(true, "G5 continuity: module %u resumes elsewhere than where it was", m);
	comes_back(ev, found, differ, last,
		   ev->cpu.gpr[GUARD_RSP] + (in_text(m, found->rip) ? 0 : 8));
	/* the crossing that is judged next finds the module's registers, put back */
	for (unsigned i = 0; !last && i < GUARD_GPRS; i++)
		if (fc->module[m].binding.policy.registers == GUARD_REGS_SCRUB &&
		    (found->compare & ~differ) >> i & 1)
			ev->cpu.gpr[i] = found->gpr[i];
}

static void no_way_back(unsigned m)
{
	for (unsigned i = 0; i < FC_RECORDS; i++)
		if (fc->live->record[i].module == m)
			fc->live->record[i].open = 0;
}

/* ---- after an event ---- */

static bool has_frames(unsigned m)
{
	const struct fc_live *l = fc->live;

	for (unsigned p = 0; l->index[m] < FC_MODULES && p < FC_PAGES; p++)
		if (l->of_page[l->index[m]][p])
			return true;
	return false;
}

static void line(struct guard_event *ev, const struct guard_line *g, bool last, bool inside)
{
	unsigned m = fc_by_index(g->module);
	uint64_t in;
	bool raw;

	if (m == FC_MODULES)
		return;
	fc_places_line(ev, m, g);
	/* what is read anew, or was refused while it was read, has no way back to where it lay before */
	if (g->event == GUARD_ANNOUNCE && g->verdict != GUARD_V_OK && !has_frames(m))
		no_way_back(m);
	if (g->verdict != GUARD_V_OK)
		return;
	in = ev->cpu.rip - fc_seg(m, FS_GATES);
	raw = ev->type != GUARD_EV_X || fc->module[m].views || in >= 4096;
	switch (g->event) {
	case GUARD_ENTER_CALL: enters(ev, m, inside); break;
	case GUARD_ENTER_RETURN: returned_to(ev, m, last, raw, inside); break;
	case GUARD_RESUME: resumes(ev, m, last); break;
	case GUARD_LEAVE_CALL: leaves(ev, m, raw); break;
	case GUARD_LEAVE_RETURN: returns(ev, m, raw); break;
	case GUARD_DEPART:
		left(ev, m, FC_DEPARTED, ev->cpu.rip, ev->cpu.gpr[GUARD_RSP], 0xffffu,
		     ev->cpu.gpr[GUARD_RSP]);
		break;
	case GUARD_WITHDRAW: fc_ledger_forget(m); break;
	default: break;
	}
}

static void views_are_told(void)
{
	struct fc_live *l = fc->live;
	const struct guard_decision *d = &fc->d;
	unsigned v = fc->ev.vcpu;

	if (d->view != l->view[v] && !l->stopped[v])
		fc_broken(true, "G2 exit: vCPU %u has view %u, and the decision says %u", v,
			  l->view[v], d->view);
	for (unsigned u = 0; u < FC_VCPUS; u++) {
		bool was = fc->ev.was >> u & 1, is = l->view[u] != GUARD_VIEW_U;

		unsigned in = is ? fc_by_index(l->view[u]) : FC_MODULES;

		if (in < FC_MODULES && !l->stopped[u] &&
		    l->set[u] & ~(fc->module[in].binding.bound & l->granted[u][in]))
			fc_broken(
				true,
				"G4 binding: vCPU %u has 0x%llx inside of module %u, and 0x%llx is granted",
				u, (unsigned long long)l->set[u], in,
				(unsigned long long)l->granted[u][in]);
		if (u != v && was && !is && !((d->kick | d->stop) >> u & 1))
			fc_broken(
				true,
				"G2 exit: vCPU %u is lowered under way, and nobody makes it leave",
				u);
		if (is && !l->stopped[u] && !l->of_page[l->view[u] % FC_MODULES][FS_TEXT])
			fc_broken(true,
				  "G1 entry: vCPU %u is privileged in a module that lies nowhere",
				  u);
	}
	if (fc->ev.lower_failed & ~(d->stop | (uint32_t)d->stop_vcpu << v))
		fc_broken(true, "G6 VMM safety: a lower fails and vCPU 0x%x runs on",
			  fc->ev.lower_failed);
}

void fc_ledger_judged(const struct guard_event *ev)
{
	const struct guard_decision *d = &fc->d;
	bool inside = fc->ev.was >> ev->vcpu & 1;
	struct guard_event now = *ev; /* as each line finds it */
	bool raised = false;

	if (d->nlines > GUARD_MAX_LINES || d->kick >> FC_VCPUS || d->kick >> ev->vcpu & 1) {
		fc_broken(true, "G6 VMM safety: a decision that cannot be: %u lines, kicks 0x%x",
			  d->nlines, d->kick);
		return;
	}
	for (unsigned i = 0; i < d->nlines; i++) {
		const struct guard_line *g = &d->line[i];

		raised |= g->verdict == GUARD_V_OK &&
			  (g->event == GUARD_ENTER_CALL || g->event == GUARD_ENTER_RETURN ||
			   g->event == GUARD_RESUME);
		line(&now, g, i + 1 == d->nlines, inside);
		/* one event may lead out of one module and into the other */
		inside = g->to != GUARD_VIEW_U;
	}
	fc_places_left(ev);
	if (fc->ev.raises && !raised)
		fc_broken(true, "G1 entry: vCPU %u is raised, and nothing was accepted", ev->vcpu);
	if (fc->ev.raises && ev->type != GUARD_EV_X && ev->type != GUARD_EV_FETCH)
		fc_broken(true, "G1 entry: vCPU %u is raised by what is no way in", ev->vcpu);
	if (d->cpu.cr0 != ev->cpu.cr0 || d->cpu.cr3 != ev->cpu.cr3 || d->cpu.cr4 != ev->cpu.cr4 ||
	    d->cpu.efer != ev->cpu.efer || d->cpu.cpl != ev->cpu.cpl ||
	    d->cpu.rflags != ev->cpu.rflags)
		fc_broken(true,
			  "G7 transparency: the core changes what is the guest's own business");
	if (d->inject_gp &&
	    (d->cpu.rip != ev->cpu.rip || d->cpu.gpr[GUARD_RSP] != ev->cpu.gpr[GUARD_RSP]))
		fc_broken(true, "G7 transparency: a refusal moves the guest");
	views_are_told();
}

void fc_ledger_admin(enum guard_verdict verdict)
{
	(void)verdict;
	for (unsigned m = 0; fc->ev.failures && m < FC_MODULES; m++)
		fc_places_forget(m); /* half withdrawn, perhaps */
	views_are_told();
}

/* Module m is gone from where it was: no way leads back, and no frame is left (each was looked at). */
void fc_ledger_forget(unsigned m)
{
	const struct fc_live *l = fc->live;
	unsigned index = l->index[m];

	fc_places_forget(m);
	no_way_back(m);
	if (index >= FC_MODULES)
		return;
	for (unsigned p = 0; p < FC_PAGES; p++)
		if (l->of_page[index][p])
			fc_broken(true, "G3 privacy: module %u is withdrawn and still has page %u",
				  m, p);
}
