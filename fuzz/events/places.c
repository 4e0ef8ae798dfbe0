// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ledger's second part: modules. Where one lies is what the guest asked for when it announced it;
 * what its private memory begins with says its manifest; init's callbacks are open while init runs.
 */
#include <string.h>

#include "fuzz/events/core.h"
#include "tests/support/manifest_builder.h"

/* ---- announced ---- */

/* One address is one segment's: else a gate there is two modules' gates. */
static void alone(unsigned m)
{
	const struct fc_live *l = fc->live;

	for (unsigned s = 0; s < FC_SEGMENTS; s++)
		for (unsigned o = 0; o < FC_MODULES; o++)
			for (unsigned k = 0; k < FC_SEGMENTS; k++)
				if ((o != m || k != s) && l->lies[o] && l->base[m][s] &&
				    l->base[m][s] == l->base[o][k])
					fc_broken(
						true,
						"G1 entry: page %u of module %u and page %u of module %u "
						"are announced at 0x%llx",
						s, m, k, o, (unsigned long long)l->base[m][s]);
}

/*
 * The table is read by the first call of several: what it says later is nothing to the core. An ok
 * without such a call is that of a module that stays where it is.
 */
static void announced(const struct guard_event *ev, unsigned m, enum guard_verdict verdict)
{
	struct fc_live *l = fc->live;

	if (fc->ev.failures) { /* half withdrawn, perhaps */
		fc_places_forget(m);
		return;
	}
	if (verdict == GUARD_V_AGAIN && !l->reading[m]) {
		for (unsigned s = 0; s < FC_SEGMENTS; s++)
			fc_get(ev->cpu.cr3, ev->cpu.gpr[GUARD_RCX] + 8ull * s, &l->base[m][s]);
		l->init[m] = FC_INIT_NEVER;
		l->lies[m] = false;
	}
	if (verdict == GUARD_V_OK && l->reading[m]) {
		l->lies[m] = true;
		alone(m);
	}
	l->reading[m] = verdict == GUARD_V_AGAIN;
}

void fc_places_forget(unsigned m)
{
	fc->live->reading[m] = fc->live->lies[m] = false;
	fc->live->init[m] = FC_INIT_UNKNOWN;
}

/* ---- whose registers leave ---- */

static bool is_of(unsigned m, uint64_t rip)
{
	const struct fc_live *l = fc->live;
	bool in = rip - l->base[m][FS_TEXT] < 4096 || rip - l->base[m][FS_INIT] < 4096;

	return in || (!fc->module[m].views && rip - l->base[m][FS_GATES] < 4096);
}

/* Under scrub whoever handles a refusal finds nothing in registers; RAX is a numbered call's answer. */
static void refused_out(const struct guard_event *ev, unsigned m, const struct guard_line *g)
{
	bool last = g == &fc->d.line[fc->d.nlines - 1];

	if (fc->module[m].binding.policy.registers != GUARD_REGS_SCRUB || !last ||
	    g->verdict == GUARD_V_LOWER_FAILED || g->from == GUARD_VIEW_U || g->to != GUARD_VIEW_U)
		return;
	for (unsigned i = 0; i < GUARD_GPRS; i++)
		if (i != GUARD_RSP && fc->d.cpu.gpr[i] && (i != GUARD_RAX || is_of(m, ev->cpu.rip)))
			fc_broken(
				true,
				"G3 privacy: module %u is refused a way out, and register %u shows "
				"what it had",
				m, i);
}

/*
 * Who has left its frames and stands at the leave-return gate of the one entry that there is has
 * nothing more on the stack that could be wrong: an interrupt there is an interrupt like any other.
 */
static void struck_on_the_way_home(const struct guard_event *ev, unsigned m,
				   const struct guard_line *g)
{
	const struct fc_live *l = fc->live;
	uint64_t off = ev->cpu.rip - l->base[m][FS_GATES], slot = ev->cpu.gpr[GUARD_RSP];
	const struct fc_word *only = &l->home[ev->vcpu][0];

	if (g->verdict == GUARD_V_LOWER_FAILED || l->vague || !l->lies[m] || fc->module[m].views ||
	    l->homes[ev->vcpu] != 1 || !only->entry ||
	    (off && ev->cpu.rip != fc_gate_x(m, FG_LEAVE_RETURN)))
		return;
	if (only->gva == slot - (off ? 0 : 8))
		fc_broken(true,
			  "G7 transparency: who is struck at the leave-return gate of module %u is "
			  "refused: %s",
			  m, guard_verdict_string(g->verdict));
}

void fc_places_line(const struct guard_event *ev, unsigned m, const struct guard_line *g)
{
	switch (g->event) {
	case GUARD_ANNOUNCE: announced(ev, m, g->verdict); break;
	case GUARD_WITHDRAW:
		fc->live->reading[m] = false;
		if (fc->ev.failures)
			fc_places_forget(m);
		break;
	case GUARD_LEAVE_CALL:
	case GUARD_LEAVE_RETURN:
	case GUARD_DEPART:
		if (g->verdict != GUARD_V_OK)
			refused_out(ev, m, g);
		if (g->verdict != GUARD_V_OK && g->event == GUARD_DEPART)
			struck_on_the_way_home(ev, m, g);
		break;
	default: break;
	}
}

/* Who executes what is not the module's is not in it any more. */
void fc_places_left(const struct guard_event *ev)
{
	const struct fc_live *l = fc->live;
	unsigned m = fc->ev.view == GUARD_VIEW_U ? FC_MODULES : fc_by_index(fc->ev.view);

	if (m < FC_MODULES && l->lies[m] && !l->stopped[ev->vcpu] &&
	    (ev->type == GUARD_EV_X || ev->type == GUARD_EV_FETCH) && !is_of(m, ev->cpu.rip) &&
	    l->view[ev->vcpu] == fc->ev.view)
		fc_broken(true,
			  "G2 exit: vCPU %u executes 0x%llx, and is still inside of module %u",
			  ev->vcpu, (unsigned long long)ev->cpu.rip, m);
}

/* ---- pages ---- */

/* What begins as private memory: the registered bytes, zeros, and nothing that lay there before. */
static void begins(unsigned m, unsigned index, unsigned page)
{
	const struct gm_segment *s = mb_record(fc->module[m].manifest, MB_SEGMENTS, page);
	const struct gm_header *h = fc->module[m].manifest;
	const uint8_t *image = (const uint8_t *)h + h->image.offset;
	uint32_t size = s->image == GM_NONE ? 0 : s->size;
	static const uint8_t zeros[4096];

	if (memcmp(fc->copy[index][page], image + (size ? s->image : 0), size) != 0 ||
	    memcmp(fc->copy[index][page] + size, zeros, sizeof(zeros) - size) != 0)
		fc_broken(
			true,
			"G4 binding: private memory of module %u begins with what the guest had there",
			m);
}

void fc_places_role(unsigned index, unsigned page, enum guard_role role)
{
	unsigned m = fc_by_index(index);

	if (m == FC_MODULES || page >= FC_SEGMENTS)
		return;
	if (role == GUARD_ROLE_PRIVATE)
		begins(m, index, page);
	if (role != GUARD_ROLE_NONE)
		return;
	if (page == FS_INIT) /* the kernel's again, while the module stays */
		fc->live->base[m][FS_INIT] = 0;
	else
		fc->live->lies[m] = false;
}

/* An entry that init has handed out is called. */
void fc_places_callback(unsigned m)
{
	if (fc->live->init[m] == FC_INIT_NEVER || fc->live->init[m] == FC_INIT_OVER)
		fc_broken(true, "G1 entry: init code of module %u is called %s", m,
			  fc->live->init[m] == FC_INIT_OVER ? "after init has ended"
							    : "before init");
}
