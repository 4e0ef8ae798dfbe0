/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The test guest. What it does between events is what a kernel and a wrapped module would do with
 * their stack and registers; nothing here knows a rule of the guard.
 */
#include "tests/support/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODULE_SPACE 0xffffffffc0000000ull
#define SEGMENT_GAP 0x100000ull
#define MODULE_GAP 0x1000000ull
#define PERCPU_BASE 0x1f0c0ull

/* A broken world, not a failed expectation: there is no point in going on. */
#define MUST(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__, #cond);      \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/*
 * Under ASan nothing lies behind, so that every access beyond the end is seen at once; else a
 * pattern, which an overflow of any size would change.
 */
#ifdef __SANITIZE_ADDRESS__
void *w_guarded_alloc(size_t bytes)
{
	void *mem = aligned_alloc(64, ((bytes ? bytes : 1) + 63) & ~(size_t)63);

	MUST(mem);
	return mem;
}

static void guarded_check(const void *mem, size_t bytes)
{
	(void)mem;
	(void)bytes;
}
#else
#define CANARY 65536u

void *w_guarded_alloc(size_t bytes)
{
	uint8_t *mem = aligned_alloc(64, (bytes + CANARY + 63) & ~(size_t)63);

	MUST(mem);
	memset(mem + bytes, 0xca, CANARY);
	return mem;
}

static void guarded_check(const void *mem, size_t bytes)
{
	const uint8_t *p = mem;
	size_t i;

	for (i = 0; mem && i < CANARY; i++)
		MUST(p[bytes + i] == 0xca);
}
#endif

struct world *w_create(unsigned vcpus)
{
	struct world *w = calloc(1, sizeof(*w));
	uint64_t t, p, gpa;
	unsigned v;

	MUST(w);
	w->vmm = fake_create();
	w->vcpus = vcpus;
	w->cr3 = fake_new_cr3(w->vmm, 0);
	for (p = 0; p < W_KERNEL_PAGES; p++) {
		gpa = fake_alloc(w->vmm, 1);
		fake_map(w->vmm, w->cr3, W_KERNEL + p * GM_PAGE, gpa, PTE_P | PTE_W);
	}
	gpa = fake_alloc(w->vmm, 2);
	fake_map(w->vmm, w->cr3, W_KERNEL_DATA, gpa, PTE_P | PTE_W);
	fake_map(w->vmm, w->cr3, W_KERNEL_DATA + GM_PAGE, gpa + GM_PAGE, PTE_P | PTE_W);
	/* neighbouring stack pages never have neighbouring frames */
	for (p = 0; p < W_STACK_PAGES; p++)
		for (t = 0; t < W_THREADS; t++)
			fake_map(w->vmm, w->cr3, w_stack_top((unsigned)t) - (p + 1) * GM_PAGE,
				 fake_alloc(w->vmm, 1), PTE_P | PTE_W);
	w->guard_bytes = guard_size();
	w->guard = w_guarded_alloc(w->guard_bytes);
	memset(w->guard, 0x5a, w->guard_bytes);
	MUST(guard_init(w->guard, vcpus, &fake_ops, w->vmm) == w->guard);
	for (v = 0; v < vcpus; v++) {
		struct guard_cpu *c = &w->cpu[v];

		c->cr0 = 0x80010033;
		c->cr3 = w->cr3;
		c->cr4 = 0x300020; /* PAE, SMEP, SMAP */
		c->efer = 0xd00;
		c->mode = GUARD_MODE_64;
		w_thread(w, v, v);
	}
	return w;
}

void w_destroy(struct world *w)
{
	unsigned i;

	guarded_check(w->guard, w->guard_bytes);
	for (i = 0; i < w->modules; i++) {
		guarded_check(w->module[i].work, w->module[i].work_len);
		free(w->module[i].manifest);
		free(w->module[i].work);
	}
	free(w->guard);
	fake_destroy(w->vmm);
	free(w);
}

/* ---- modules ---- */

static const struct gm_header *header(const struct wmodule *m)
{
	return m->manifest;
}

static const struct gm_segment *segment(const struct wmodule *m, unsigned i)
{
	return mb_record(m->manifest, MB_SEGMENTS, i);
}

enum guard_verdict w_register(struct world *w, struct wmodule *m)
{
	struct guard_decision d;

	free(m->work);
	m->work_len = guard_work_size(m->manifest, m->len, &m->binding.policy);
	m->work = w_guarded_alloc(m->work_len);
	return guard_register(w->guard, m->manifest, m->len, &m->binding, m->work, m->work_len,
			      &m->index, &d);
}

void w_grant_all(struct world *w, struct wmodule *m)
{
	struct guard_decision d;
	unsigned v;

	for (v = 0; v < w->vcpus; v++)
		MUST(guard_grant(w->guard, v, m->index, ALL_PRIVILEGES, true, &d) == GUARD_V_OK);
}

static void map_segment(struct world *w, struct wmodule *m, unsigned i)
{
	const struct gm_segment *s = segment(m, i);
	uint32_t first = s->start / GM_PAGE, n = (s->size + GM_PAGE - 1) / GM_PAGE, p;

	if (s->kind == GM_SEG_PERCPU)
		return;
	for (p = n; p-- > 0;) { /* downwards: frames are in reverse order */
		if (!m->gpa[first + p])
			m->gpa[first + p] = fake_alloc(w->vmm, 1);
		fake_map(w->vmm, w->cr3, m->base[i] + p * GM_PAGE, m->gpa[first + p],
			 PTE_P | PTE_W);
	}
}

struct wmodule *w_add_manifest(struct world *w, const struct std_options *o, void *manifest,
			       size_t len)
{
	struct wmodule *m = &w->module[w->modules];
	unsigned i;

	MUST(w->modules < W_MODULES);
	m->options = *o;
	m->manifest = manifest;
	m->len = len;
	MUST(fake_ops.digest(w->vmm, manifest, len, m->binding.digest));
	memcpy(&m->id, m->binding.digest, 8);
	m->binding.policy = o->policy;
	m->binding.bound = o->no_bound ? 0 : o->bound ? o->bound : ALL_PRIVILEGES;
	m->binding.resource[PRIV_DEVICE].base = FAKE_MMIO + w->modules * 0x10000;
	m->binding.resource[PRIV_DEVICE].length = 0x2000;
	MUST(w_register(w, m) == GUARD_V_OK);
	w_grant_all(w, m);
	for (i = 0; i < header(m)->segments.count; i++) {
		m->base[i] = MODULE_SPACE + w->modules * MODULE_GAP +
			     (o->contiguous ? segment(m, i)->start
			      : o->reversed ? (15 - i) * SEGMENT_GAP
					    : i * SEGMENT_GAP);
		if (segment(m, i)->kind == GM_SEG_PERCPU)
			m->base[i] = PERCPU_BASE + w->modules * 0x100;
		map_segment(w, m, i);
	}
	m->bases_gva = W_KERNEL_DATA + w->modules * 0x100;
	w->modules++;
	w_load(w, m);
	return m;
}

struct wmodule *w_add(struct world *w, const struct std_options *o)
{
	struct std_options fresh = *o;
	void *manifest;
	size_t len;

	fresh.seed += w->modules;
	manifest = std_manifest(&fresh, &len);
	return w_add_manifest(w, &fresh, manifest, len);
}

static void apply(struct world *w, struct wmodule *m, const struct gm_reloc *r, uint32_t moff)
{
	uint64_t s = 0, place = w_moff(m, moff);

	if (r->kind == GM_TARGET_SEGMENT)
		s = m->base[r->target];
	else if (r->kind == GM_TARGET_IMPORT)
		s = r->target == IMP_DATA || r->target == IMP_LATE_DATA ? W_KERNEL_DATA + 0x800
									: w_import(r->target);
	else
		s = W_KERNEL + 0x3000;
	s += (uint64_t)r->addend;
	if (r->type == GM_R_PC32 || r->type == GM_R_PLT32 || r->type == GM_R_PC64)
		s -= place;
	fake_copy_in(w->vmm, w->cr3, place, &s, r->type == GM_R_64 || r->type == GM_R_PC64 ? 8 : 4);
}

void w_load(struct world *w, struct wmodule *m)
{
	static const uint8_t zeros[GM_PAGE];
	const struct gm_header *h = header(m);
	const uint8_t *image = (const uint8_t *)m->manifest + h->image.offset;
	uint32_t i, k;

	for (i = 0; i < h->segments.count; i++) {
		const struct gm_segment *s = segment(m, i);

		if (s->kind == GM_SEG_PERCPU || !m->base[i])
			continue;
		for (k = 0; k < s->size; k += GM_PAGE)
			fake_copy_in(w->vmm, w->cr3, m->base[i] + k, zeros, GM_PAGE);
		if (s->image != GM_NONE)
			fake_copy_in(w->vmm, w->cr3, m->base[i], image + s->image, s->size);
	}
	for (i = 0; i < h->relocs.count; i++) {
		const struct gm_reloc *r = mb_record(m->manifest, MB_RELOCS, i);

		apply(w, m, r, r->moff);
	}
	for (i = 0; i < h->sites.count; i++) {
		const struct gm_site *s = mb_record(m->manifest, MB_SITES, i);
		const struct gm_choice *c = mb_record(m->manifest, MB_CHOICES, s->first);

		fake_copy_in(w->vmm, w->cr3, w_moff(m, s->moff), image + c->bytes, s->size);
		for (k = 0; k < c->relocs; k++) {
			const struct gm_reloc *r =
				mb_record(m->manifest, MB_CHOICE_RELOCS, c->first_reloc + k);

			apply(w, m, r, s->moff + r->moff);
		}
	}
}

void w_move(struct world *w, struct wmodule *m, uint64_t delta)
{
	uint32_t i;

	for (i = 0; i < header(m)->segments.count; i++)
		if (segment(m, i)->kind != GM_SEG_PERCPU && m->base[i]) {
			m->base[i] += delta;
			map_segment(w, m, i);
		}
	w_load(w, m);
}

struct wmodule *w_ready(struct world *w, const struct std_options *o)
{
	struct wmodule *m = w_add(w, o);

	MUST(w_announce(w, 0, m) == GUARD_V_OK);
	return m;
}

struct world *w_simple(unsigned vcpus, const struct std_options *o)
{
	struct std_options standard = std_default();
	struct world *w = w_create(vcpus);

	w_ready(w, o ? o : &standard);
	fake_forget(w->vmm);
	return w;
}

/* ---- addresses ---- */

uint64_t w_moff(const struct wmodule *m, uint32_t moff)
{
	unsigned i = header(m)->segments.count;

	while (i-- > 0)
		if (segment(m, i)->start <= moff)
			return m->base[i] + moff - segment(m, i)->start;
	abort();
}

uint64_t w_seg(const struct wmodule *m, unsigned seg, uint32_t offset)
{
	return m->base[seg] + offset;
}

uint64_t w_fn(const struct wmodule *m, enum fn fn, uint32_t offset)
{
	if (fn == FN_INIT || fn == FN_ICALL)
		return m->base[SEG_INIT] + (fn == FN_ICALL ? INIT_CALL_AT : 0) + offset;
	return m->base[SEG_TEXT] + (uint32_t)fn * 0x100 + offset;
}

uint64_t w_gate(const struct wmodule *m, unsigned gate)
{
	return m->base[SEG_GATES] + gate * GM_GATE_BYTES;
}

uint64_t w_gate_x(const struct wmodule *m, unsigned gate)
{
	const struct gm_gate *g = mb_record(m->manifest, MB_GATES, gate);

	return w_gate(m, gate) + g->x;
}

uint64_t w_stack_top(unsigned thread)
{
	return W_STACKS + (thread + 1) * 0x10000ull;
}

uint64_t w_import(unsigned import)
{
	return W_IMPORTS + import * 0x40;
}

uint64_t w_word(struct world *w, unsigned v, uint64_t gva)
{
	uint64_t word;

	MUST(fake_get(w->vmm, w->cpu[v].cr3, gva, &word));
	return word;
}

void w_set_word(struct world *w, unsigned v, uint64_t gva, uint64_t word)
{
	MUST(fake_put(w->vmm, w->cpu[v].cr3, gva, word));
}

struct guard_module_info w_info(struct world *w, const struct wmodule *m)
{
	struct guard_module_info info;

	MUST(guard_module_info(w->guard, m->index, &info));
	return info;
}

/* ---- events ---- */

/* What holds after every event, whatever happened (G1, G2, G6 as far as they can be seen). */
static void check_invariants(struct world *w)
{
	unsigned v, i;

	for (v = 0; v < w->vcpus; v++) {
		uint8_t view = guard_view(w->guard, v);

		MUST(view == w->vmm->vcpu[v].view || w->stopped[v]);
		for (i = 0; i < w->modules; i++) {
			struct guard_module_info info;

			if (!guard_module_info(w->guard, w->module[i].index, &info))
				continue;
			MUST(((info.running >> v) & 1) == (view == w->module[i].index));
			MUST(!(view == w->module[i].index && !info.announced) || w->stopped[v]);
			if (view == w->module[i].index)
				MUST(!(w->vmm->vcpu[v].privileges & ~w->module[i].binding.bound));
		}
	}
}

static void check_decision(struct world *w, unsigned v, const struct guard_event *ev,
			   bool was_inside)
{
	const struct guard_decision *d = &w->d;
	unsigned i;

	MUST(d->nlines <= GUARD_MAX_LINES);
	MUST(d->view == guard_view(w->guard, v));
	MUST(!(d->kick & (1u << v)));
	MUST(!(d->kick >> w->vcpus));
	for (i = 0; i < d->nlines; i++) {
		MUST((unsigned)d->line[i].verdict < GUARD_NVERDICTS);
		MUST((unsigned)d->line[i].event < GUARD_NEVENTS);
		MUST((unsigned)d->line[i].cause < GUARD_NCAUSES);
	}
	if (d->nlines && !was_inside) /* STATUS has no line; one that was inside has left first */
		MUST(d->verdict == d->line[d->nlines - 1].verdict);
	if (d->foreign && !was_inside) /* else it has left first, and a line tells */
		MUST(!d->nlines && !memcmp(&d->cpu, &ev->cpu, sizeof(d->cpu)));
	if (d->inject_gp) {
		MUST(d->verdict != GUARD_V_OK);
		MUST(d->cpu.rip == ev->cpu.rip && d->cpu.gpr[GUARD_RSP] == ev->cpu.gpr[GUARD_RSP]);
	}
	/* control registers and mode are the guest's own business */
	MUST(d->cpu.cr0 == ev->cpu.cr0 && d->cpu.cr3 == ev->cpu.cr3 && d->cpu.cr4 == ev->cpu.cr4);
	MUST(d->cpu.efer == ev->cpu.efer && d->cpu.cpl == ev->cpu.cpl);
}

static void note_stopped(struct world *w)
{
	unsigned v;

	for (v = 0; v < w->vcpus; v++)
		w->stopped[v] |= (w->d.stop >> v) & 1;
}

enum guard_verdict w_judge(struct world *w, const struct guard_event *ev)
{
	bool was_inside = guard_view(w->guard, ev->vcpu) != GUARD_VIEW_U;

	w->ev = *ev;
	MUST(ev->vcpu >= w->vcpus || !w->stopped[ev->vcpu]);
	memset(&w->d, 0xa5, sizeof(w->d));
	guard_judge(w->guard, &w->ev, &w->d);
	note_stopped(w);
	MUST(w->d.stop_vcpu == ((w->d.stop >> ev->vcpu) & 1));
	check_decision(w, ev->vcpu, &w->ev, was_inside);
	w->cpu[ev->vcpu] = w->d.cpu;
	check_invariants(w);
	return w->d.verdict;
}

static enum guard_verdict event(struct world *w, unsigned v, enum guard_event_type type,
				enum guard_cause cause, uint8_t vector)
{
	struct guard_event ev = {
		.type = type, .vcpu = v, .cause = cause, .vector = vector, .cpu = w->cpu[v]
	};

	return w_judge(w, &ev);
}

enum guard_verdict w_x(struct world *w, unsigned v, uint64_t rip)
{
	w->cpu[v].rip = rip;
	return event(w, v, GUARD_EV_X, GUARD_CAUSE_X, 0);
}

enum guard_verdict w_fetch(struct world *w, unsigned v, uint64_t rip)
{
	w->cpu[v].rip = rip;
	return event(w, v, GUARD_EV_FETCH, GUARD_CAUSE_FETCH, 0);
}

enum guard_verdict w_depart(struct world *w, unsigned v, enum guard_cause cause, uint8_t vector)
{
	return event(w, v, GUARD_EV_DEPART, cause, vector);
}

uint64_t w_hypercall(struct world *w, unsigned v, uint64_t rax, uint64_t rbx, uint64_t rcx,
		     uint64_t rdx)
{
	struct guard_cpu *c = &w->cpu[v], before = *c;
	uint64_t result;

	c->gpr[GUARD_RAX] = rax;
	c->gpr[GUARD_RBX] = rbx;
	c->gpr[GUARD_RCX] = rcx;
	c->gpr[GUARD_RDX] = rdx;
	w_x(w, v, W_HYPERCALL);
	result = c->gpr[GUARD_RAX];
	*c = before;
	return result;
}

uint64_t w_announce(struct world *w, unsigned v, struct wmodule *m)
{
	uint32_t n = header(m)->segments.count, i, calls;
	uint64_t result = GUARD_V_AGAIN;

	for (i = 0; i < n; i++)
		w_set_word(w, v, m->bases_gva + 8 * i, m->base[i]);
	for (calls = 0; calls < 100000 && result == GUARD_V_AGAIN; calls++)
		result = w_hypercall(w, v, GUARD_CALL_ANNOUNCE, m->id, m->bases_gva, n);
	return result;
}

uint64_t w_withdraw(struct world *w, unsigned v, struct wmodule *m)
{
	return w_hypercall(w, v, GUARD_CALL_WITHDRAW, m->id, 0, 0);
}

uint64_t w_status(struct world *w, unsigned v, struct wmodule *m)
{
	return w_hypercall(w, v, GUARD_CALL_STATUS, m->id, 0, 0);
}

/* ---- guest code ---- */

void w_thread(struct world *w, unsigned v, unsigned thread)
{
	struct guard_cpu *c = &w->cpu[v];
	unsigned i;

	for (i = 0; i < GUARD_GPRS; i++)
		c->gpr[i] = 0x1111111111111111ull * (i + 1) + 0x100 * thread;
	c->gpr[GUARD_RSP] = w_stack_top(thread) - 0x400;
	c->rip = W_KERNEL;
	c->rflags = 0x246;
}

void w_push(struct world *w, unsigned v, uint64_t word)
{
	w->cpu[v].gpr[GUARD_RSP] -= 8;
	w_set_word(w, v, w->cpu[v].gpr[GUARD_RSP], word);
}

uint64_t w_pop(struct world *w, unsigned v)
{
	uint64_t word = w_word(w, v, w->cpu[v].gpr[GUARD_RSP]);

	w->cpu[v].gpr[GUARD_RSP] += 8;
	return word;
}

enum guard_verdict w_enter_from(struct world *w, unsigned v, struct wmodule *m, enum fn fn,
				uint64_t ret)
{
	w_push(w, v, ret);
	return m->options.views ? w_fetch(w, v, w_fn(m, fn, 0))
				: w_x(w, v, w_gate_x(m, GATE_ENTER + fn));
}

enum guard_verdict w_enter(struct world *w, unsigned v, struct wmodule *m, enum fn fn)
{
	return w_enter_from(w, v, m, fn, W_KRET);
}

static uint64_t locals(enum fn fn)
{
	switch (fn) {
	case FN_B64: return 64;
	case FN_B512: return 512;
	case FN_B4096: return 4096;
	case FN_H: return 0x18;
	case FN_T: return 0;
	default: return 0x28;
	}
}

/* Locals: recognisable rubbish. */
static void take(struct world *w, unsigned v, uint64_t bytes)
{
	uint64_t i;

	for (i = 0; i < bytes; i += 8)
		w_push(w, v, 0x10ca100000000000ull + i);
}

void w_frame(struct world *w, unsigned v, struct wmodule *m, enum fn fn)
{
	uint64_t *gpr = w->cpu[v].gpr, slot = gpr[GUARD_RSP];

	switch (fn) {
	case FN_F:
	case FN_I:
		w_push(w, v, gpr[GUARD_RBP]);
		gpr[GUARD_RBP] = gpr[GUARD_RSP];
		take(w, v, 0x20);
		break;
	case FN_D:
		gpr[GUARD_R10] = slot + 8;
		gpr[GUARD_RSP] &= ~0x3full;
		w_push(w, v, w_word(w, v, slot));
		w_push(w, v, gpr[GUARD_RBP]);
		gpr[GUARD_RBP] = gpr[GUARD_RSP];
		w_push(w, v, gpr[GUARD_R10]);
		take(w, v, 0x38);
		break;
	case FN_E:
		w_push(w, v, gpr[GUARD_RBP]);
		take(w, v, 0x20);
		gpr[GUARD_RBP] = 0xeeeeeeeeeeeeeeeeull;
		break;
	default: take(w, v, locals(fn));
	}
	w->cpu[v].rip = w_fn(m, fn, FN_BODY);
}

void w_unframe(struct world *w, unsigned v, struct wmodule *m, enum fn fn)
{
	uint64_t *gpr = w->cpu[v].gpr;

	switch (fn) {
	case FN_F:
	case FN_I:
		gpr[GUARD_RSP] = gpr[GUARD_RBP];
		gpr[GUARD_RBP] = w_pop(w, v);
		break;
	case FN_D:
		gpr[GUARD_RSP] = w_word(w, v, gpr[GUARD_RBP] - 8) - 8;
		gpr[GUARD_RBP] = w_word(w, v, gpr[GUARD_RBP]);
		break;
	case FN_E:
		gpr[GUARD_RSP] += 0x20;
		gpr[GUARD_RBP] = w_pop(w, v);
		break;
	default: gpr[GUARD_RSP] += locals(fn);
	}
	w->cpu[v].rip = w_fn(m, fn, FN_END);
}

void w_inner(struct world *w, unsigned v, struct wmodule *m, enum fn fn, enum fn callee)
{
	w_push(w, v, w_fn(m, fn, FN_RET2));
	w_frame(w, v, m, callee);
}

void w_inner_done(struct world *w, unsigned v, struct wmodule *m, enum fn fn, enum fn callee)
{
	w_unframe(w, v, m, callee);
	w->cpu[v].rip = w_pop(w, v);
	MUST(w->cpu[v].rip == w_fn(m, fn, FN_RET2));
}

enum guard_verdict w_callout(struct world *w, unsigned v, struct wmodule *m, enum fn fn,
			     unsigned gate)
{
	w_push(w, v, w_fn(m, fn, FN_RET));
	return m->options.views ? w_fetch(w, v, w_import(gate - GATE_LEAVE))
				: w_x(w, v, w_gate_x(m, gate));
}

enum guard_verdict w_back(struct world *w, unsigned v, struct wmodule *m)
{
	static const uint8_t scratch[] = { GUARD_RAX, GUARD_RCX, GUARD_RDX, GUARD_RSI, GUARD_RDI,
					   GUARD_R8,  GUARD_R9,	 GUARD_R10, GUARD_R11 };
	unsigned i;

	for (i = 0; i < sizeof(scratch); i++)
		w->cpu[v].gpr[scratch[i]] = 0xbacbacbac0ull + i;
	w->cpu[v].rflags ^= 0x8d5; /* arithmetic flags are nobody's */
	w->cpu[v].rip = w_pop(w, v);
	if (m->options.views)
		return w_fetch(w, v, w->cpu[v].rip);
	w->cpu[v].gpr[GUARD_RSP] -= 8; /* the gate's lea */
	return w_x(w, v, w->cpu[v].rip + 5);
}

enum guard_verdict w_exit(struct world *w, unsigned v, struct wmodule *m, enum fn fn)
{
	enum guard_verdict verdict;

	w_unframe(w, v, m, fn);
	w->cpu[v].rip = w_pop(w, v);
	if (m->options.views)
		return w_fetch(w, v, w->cpu[v].rip);
	w->cpu[v].gpr[GUARD_RSP] -= 8;
	verdict = w_x(w, v, w->cpu[v].rip + 5);
	if (verdict == GUARD_V_OK)
		w->cpu[v].rip = w_pop(w, v); /* the gate's ret */
	return verdict;
}

bool w_honest(struct world *w, unsigned v, struct wmodule *m, enum fn fn)
{
	uint64_t rsp = w->cpu[v].gpr[GUARD_RSP], rbp = w->cpu[v].gpr[GUARD_RBP];

	if (w_enter(w, v, m, fn) != GUARD_V_OK)
		return false;
	w_frame(w, v, m, fn);
	if (w_callout(w, v, m, fn, GATE_LEAVE + IMP_C) != GUARD_V_OK ||
	    w_back(w, v, m) != GUARD_V_OK)
		return false;
	if (w->cpu[v].rip != w_fn(m, fn, FN_RET) || w_exit(w, v, m, fn) != GUARD_V_OK)
		return false;
	return w->cpu[v].rip == W_KRET && w->cpu[v].gpr[GUARD_RSP] == rsp &&
	       w->cpu[v].gpr[GUARD_RBP] == rbp && guard_view(w->guard, v) == GUARD_VIEW_U;
}

/* FNV over words: fast enough to take around every refusal. */
static uint64_t hash(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t word;
	size_t i;

	for (i = 0; i + 8 <= len; i += 8) {
		memcpy(&word, p + i, 8);
		h = (h ^ word) * 0x100000001b3ull;
		h ^= h >> 32;
	}
	return h;
}

uint64_t w_snapshot(struct world *w)
{
	uint64_t h = 0xcbf29ce484222325ull;
	unsigned v, i;

	h = hash(h, &w->vmm->written_bytes, 8);
	for (v = 0; v < w->vcpus; v++) {
		uint64_t view = w->vmm->vcpu[v].view;

		h = hash(h, &view, 8);
		h = hash(h, &w->vmm->vcpu[v].privileges, 8);
	}
	for (i = 0; i < w->modules; i++) {
		struct guard_module_info info;

		memset(&info, 0, sizeof(info));
		if (guard_module_info(w->guard, w->module[i].index, &info))
			h = hash(h, &info, sizeof(info));
		h = hash(h, w->module[i].work, w->module[i].work_len);
	}
	return h;
}
