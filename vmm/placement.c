/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which vCPU sits on which physical core: a model that changes at run time and drives GRANT and
 * WITHHOLD of MWAIT (spec sections 3 and 4: MWAIT only while no other vCPU shares the core).
 *
 * A vCPU asleep in HLT has given its core away; one asleep in MWAIT keeps it, so whoever shares the
 * core waits for the VMM's scheduler. Here that takes turns: in every second turn a core belongs to
 * those that sleep in MWAIT on it, in the others to those that run. Cores do not run at the same
 * time: engine time is what all vCPUs execute, one after the other.
 */
#include <string.h>

#include "vmm/internal.h"

/* xorshift64*, as schedules are drawn: a run depends on the seed alone. */
static uint64_t draw(struct vm_place *p)
{
	p->rng ^= p->rng >> 12;
	p->rng ^= p->rng << 25;
	p->rng ^= p->rng >> 27;
	return (p->rng * 0x2545f4914f6cdd1dull) >> 16;
}

static bool shared(const struct vm *vm, unsigned vcpu)
{
	unsigned w;

	for (w = 0; w < vm->cfg.vcpus; w++)
		if (w != vcpu && vm->place.core[w] == vm->place.core[vcpu])
			return true;
	return false;
}

static bool asleep_in_mwait(const struct vm *vm, unsigned vcpu)
{
	return vm->place.slept[vcpu] == VM_SLEPT_MWAIT &&
	       vm->ops->run_state(vm->engine, vcpu) == ENGINE_ASLEEP;
}

/* The privileges of m that are MWAIT, among those bound. */
static uint64_t mwait_privileges(const struct vm_module *m)
{
	const struct gm_table *t = &vm_manifest(m)->privileges;
	const struct gm_privilege *p = (const void *)(m->manifest.data + t->offset);
	uint64_t set = 0;
	uint32_t i;

	for (i = 0; i < t->count && i < GM_MAX_PRIVILEGES; i++)
		if (p[i].kind == GM_PRIV_MWAIT)
			set |= 1ull << i;
	return set & m->binding.bound;
}

/* Makes MWAIT on a vCPU what it must be, for every module that has it. */
static void allow(struct vm *vm, unsigned vcpu, bool give)
{
	struct vm_idle_counts *n = &vm->place.counts;
	unsigned i;

	for (i = 0; i < GUARD_MAX_MODULES; i++) {
		const struct vm_module *m = vm->module[i];
		uint64_t set, change;
		bool slept;

		if (!m || m->index != i)
			continue;
		set = mwait_privileges(m);
		change = give ? set & ~m->granted[vcpu] : set & m->granted[vcpu];
		if (!change)
			continue;
		slept = asleep_in_mwait(vm, vcpu);
		if (!vm_grant(vm, vcpu, i, change, give))
			continue; /* lowered, or as before: the core has logged why */
		if (give)
			n->granted++;
		else
			n->withheld++;
		if (!give && slept && !asleep_in_mwait(vm, vcpu))
			n->woken++;
	}
}

/* What is taken away goes first: at no moment do two vCPUs of one core have it. */
static void apply(struct vm *vm)
{
	struct vm_place *p = &vm->place;
	unsigned v;

	for (v = 0; v < vm->cfg.vcpus; v++)
		if (p->cfg.policy == VM_IDLE_HLT ||
		    (p->cfg.policy == VM_IDLE_ADAPTIVE && shared(vm, v)))
			allow(vm, v, false);
	for (v = 0; v < vm->cfg.vcpus; v++)
		if (p->cfg.policy == VM_IDLE_ADAPTIVE && !shared(vm, v))
			allow(vm, v, true);
	for (v = 0; v < vm->cfg.vcpus; v++)
		if (asleep_in_mwait(vm, v) && shared(vm, v))
			p->counts.mwait_shared++;
}

bool vm_place(struct vm *vm, const struct vm_placement *cfg, struct error *err)
{
	struct vm_place *p = &vm->place;
	unsigned v;

	if (!cfg->cores || cfg->cores > VM_MAX_CORES)
		return error_set(err, "%u physical cores: 1 to %u expected", cfg->cores,
				 VM_MAX_CORES);
	if (!cfg->turn)
		return error_set(err, "a turn of a shared core must take some time");
	memset(p, 0, sizeof(*p));
	p->on = true;
	p->cfg = *cfg;
	p->rng = cfg->seed * 0x9e3779b97f4a7c15ull + 1;
	if (!p->rng)
		p->rng = 1;
	for (v = 0; v < vm->cfg.vcpus; v++)
		p->core[v] = v % cfg->cores;
	p->next_move = vm->ops->time(vm->engine) + cfg->period;
	apply(vm);
	return true;
}

bool vm_placed(const struct vm *vm)
{
	return vm->place.on;
}

void vm_placement_turn(struct vm *vm)
{
	struct vm_place *p = &vm->place;
	uint64_t now;
	unsigned v;

	if (!p->on || !p->cfg.period)
		return;
	now = vm->ops->time(vm->engine);
	if (now < p->next_move)
		return;
	p->next_move = now + p->cfg.period;
	v = (unsigned)(draw(p) % vm->cfg.vcpus);
	p->core[v] = (unsigned)(draw(p) % p->cfg.cores);
	p->counts.moves++;
	apply(vm);
}

uint64_t vm_next_move(const struct vm *vm)
{
	return vm->place.on && vm->place.cfg.period ? vm->place.next_move : 0;
}

/* Until when its core belongs to someone asleep in MWAIT; 0: to nobody. */
static uint64_t held_until(const struct vm *vm, unsigned vcpu, uint64_t now)
{
	const struct vm_place *p = &vm->place;
	uint64_t turn = now / p->cfg.turn;
	unsigned w;

	if (turn % 2)
		return 0;
	for (w = 0; w < vm->cfg.vcpus; w++)
		if (w != vcpu && p->core[w] == p->core[vcpu] && asleep_in_mwait(vm, w))
			return (turn + 1) * p->cfg.turn;
	return 0;
}

bool vm_has_core(struct vm *vm, unsigned vcpu, uint64_t *until)
{
	struct vm_place *p = &vm->place;
	uint64_t now, held;

	if (!p->on)
		return true;
	now = vm->ops->time(vm->engine);
	if (p->slept[vcpu] == VM_SLEPT_HLT)
		p->ready[vcpu] = now + p->cfg.wake;
	p->slept[vcpu] = VM_AWAKE;
	held = held_until(vm, vcpu, now);
	if (held && !p->held[vcpu]) {
		p->held[vcpu] = true;
		p->held_since[vcpu] = now;
	} else if (!held && p->held[vcpu]) {
		p->held[vcpu] = false;
		p->counts.held += now - p->held_since[vcpu];
	}
	*until = held > p->ready[vcpu] ? held : p->ready[vcpu];
	return *until <= now;
}

void vm_idle_event(struct vm *vm, unsigned vcpu, enum vm_idle_event what)
{
	struct vm_place *p = &vm->place;

	if (!p->on)
		return;
	switch (what) {
	case VM_IDLE_HALTED:
		p->counts.hlt++;
		p->slept[vcpu] = VM_SLEPT_HLT;
		p->exited[vcpu] = true;
		break;
	case VM_IDLE_SLEPT:
		p->counts.mwait++;
		p->counts.mwait_shared += shared(vm, vcpu);
		p->slept[vcpu] = VM_SLEPT_MWAIT;
		break;
	case VM_IDLE_INTERCEPTED: p->counts.intercepted++; break;
	case VM_IDLE_SENT: p->counts.sent++; break;
	}
}

void vm_place_judged(struct vm *vm, const struct guard_event *ev)
{
	struct vm_place *p = &vm->place;

	if (!p->on || ev->vcpu >= vm->cfg.vcpus)
		return;
	switch (ev->type) {
	case GUARD_EV_X: p->counts.crossings++; break;
	case GUARD_EV_FETCH: p->counts.faults++; break;
	case GUARD_EV_DEPART:
		/* what strikes after HLT comes with the entry: that exit is counted */
		p->counts.departures += !p->exited[ev->vcpu];
		break;
	default: return;
	}
	p->exited[ev->vcpu] = false;
}

bool vm_idle_counts(const struct vm *vm, struct vm_idle_counts *counts)
{
	*counts = vm->place.counts;
	counts->exits = counts->crossings + counts->faults + counts->departures + counts->hlt +
			counts->intercepted + counts->sent;
	return vm->place.on;
}
