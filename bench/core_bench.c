/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What one event costs in the guard core: nanoseconds (least of many), callbacks, page-table
 * entries read. Under callgrind the same program counts instructions instead (bench/run joins the
 * two). The VMM behind it is lean but honest: a real 4-level walk for every translation, which
 * reads a run of entries of one table page at once, a role for every frame, real copies.
 *
 * Output, tab separated: configuration, event, ns, calls, PTE reads.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <valgrind/callgrind.h>
#include <x86intrin.h>

#include "model/guard.h"
#include "tests/support/manifest_builder.h"

#define RAM_PAGES 1024u
#define PTE_P 1ull
#define PTE_W 2ull
#define MODULE_GVA 0xffffffffc0000000ull
#define STACK_GVA 0xffffc90000000000ull
#define TABLE_GVA 0xffffc90000100000ull
#define STACK_PAGES 12u
#define KERNEL_RETURN 0xffffffff81000123ull
#define FUNCTION_CALL 0x20u /* a call here, its return site 5 bytes on */
#define ROUNDS 20000

struct bench_vmm {
	uint8_t *ram;
	uint8_t role[RAM_PAGES];
	uint32_t next; /* free frame */
	uint64_t cr3;
	uint8_t *copy; /* verified */
	uint64_t calls, ptes;
	volatile uint64_t view; /* what a raise or lower writes */
};

/* ---- the VMM ---- */

static uint64_t *table(struct bench_vmm *v, uint64_t gpa)
{
	return (uint64_t *)(v->ram + gpa);
}

/* The last table that maps gva; NULL: not mapped. */
static const uint64_t *leaf_table(struct bench_vmm *v, uint64_t cr3, uint64_t gva)
{
	for (int shift = 39; shift > 12; shift -= 9) {
		uint64_t e = table(v, cr3)[gva >> shift & 511];

		v->ptes++;
		if (!(e & PTE_P))
			return NULL;
		cr3 = e & 0xffffffffff000ull;
	}
	return table(v, cr3);
}

static void bench_translate(void *vmm, unsigned vcpu, uint64_t cr3, uint64_t gva, size_t npages,
			    struct guard_mapping *out)
{
	struct bench_vmm *v = vmm;
	size_t i = 0;

	(void)vcpu;
	v->calls++;
	while (i < npages) {
		unsigned index = (unsigned)(gva >> 12) & 511;
		size_t run = npages - i < 512 - index ? npages - i : 512 - index;
		const uint64_t *leaf = leaf_table(v, cr3, gva);

		gva += run * GM_PAGE;
		if (!leaf) {
			for (; run; run--)
				out[i++].flags = 0;
			continue;
		}
		v->ptes += run;
		for (leaf += index; run; run--, i++) {
			uint64_t pte = *leaf++, gpa = pte & 0xffffffffff000ull;

			out[i].gpa = gpa;
			out[i].flags = GUARD_MAP_PRESENT | GUARD_MAP_RAM | (uint32_t)(pte & PTE_W);
			out[i].role = v->role[gpa / GM_PAGE];
			if (!(pte & PTE_P))
				out[i].flags = 0;
		}
	}
}

static bool bench_read(void *vmm, uint64_t gpa, void *buf, size_t len)
{
	struct bench_vmm *v = vmm;

	v->calls++;
	memcpy(buf, v->ram + gpa, len);
	return true;
}

static bool bench_write(void *vmm, uint64_t gpa, const void *buf, size_t len)
{
	struct bench_vmm *v = vmm;

	v->calls++;
	memcpy(v->ram + gpa, buf, len);
	return true;
}

static bool bench_digest(void *vmm, const void *data, size_t len, uint8_t out[32])
{
	(void)vmm;
	(void)data;
	(void)len;
	memset(out, 7, 32);
	return true;
}

static bool bench_raise(void *vmm, unsigned vcpu, unsigned module, uint64_t privileges)
{
	struct bench_vmm *v = vmm;

	(void)vcpu;
	v->calls++;
	v->view = privileges << 8 | module;
	return true;
}

static bool bench_lower(void *vmm, unsigned vcpu, unsigned module)
{
	struct bench_vmm *v = vmm;

	(void)vcpu;
	(void)module;
	v->calls++;
	v->view = GUARD_VIEW_U;
	return true;
}

static bool bench_fill(void *vmm, unsigned module, uint32_t page, uint64_t gpa)
{
	struct bench_vmm *v = vmm;

	(void)module;
	v->calls++;
	memcpy(v->copy + (size_t)page * GM_PAGE, v->ram + gpa, GM_PAGE);
	return true;
}

static bool bench_patch(void *vmm, unsigned module, uint32_t moff, const void *buf, size_t len)
{
	struct bench_vmm *v = vmm;

	(void)module;
	v->calls++;
	memcpy(v->copy + moff, buf, len);
	return true;
}

static bool bench_copy_read(void *vmm, unsigned module, uint32_t moff, void *buf, size_t len)
{
	struct bench_vmm *v = vmm;

	(void)module;
	v->calls++;
	memcpy(buf, v->copy + moff, len);
	return true;
}

/* Nothing writes text here, so the copy is what the guest has. */
static bool bench_guest_read(void *vmm, unsigned module, uint32_t moff, void *buf, size_t len)
{
	return bench_copy_read(vmm, module, moff, buf, len);
}

static bool bench_private(void *vmm, unsigned module, uint32_t page, const void *bytes, size_t len)
{
	(void)module;
	(void)page;
	(void)bytes;
	(void)len;
	((struct bench_vmm *)vmm)->calls++;
	return true;
}

static bool bench_written(void *vmm, unsigned module, uint32_t first, uint64_t *bits)
{
	(void)module;
	(void)first;
	((struct bench_vmm *)vmm)->calls++;
	*bits = 0;
	return true;
}

static bool bench_role(void *vmm, unsigned module, uint32_t page, uint64_t gpa,
		       enum guard_role role)
{
	struct bench_vmm *v = vmm;

	(void)module;
	(void)page;
	v->calls++;
	v->role[gpa / GM_PAGE] = (uint8_t)role;
	return true;
}

static bool bench_device(void *vmm, unsigned module, unsigned privilege,
			 const struct guard_resource *range, bool bind)
{
	(void)vmm;
	(void)module;
	(void)privilege;
	(void)range;
	(void)bind;
	return true;
}

static bool bench_locked(void *vmm, unsigned vcpu, unsigned module, uint64_t cr3)
{
	(void)vmm;
	(void)vcpu;
	(void)module;
	(void)cr3;
	return false;
}

static const struct guard_ops bench_ops = {
	.translate = bench_translate,
	.read = bench_read,
	.write = bench_write,
	.digest = bench_digest,
	.raise = bench_raise,
	.lower = bench_lower,
	.verified_fill = bench_fill,
	.verified_patch = bench_patch,
	.verified_read = bench_copy_read,
	.guest_read = bench_guest_read,
	.private_fill = bench_private,
	.written = bench_written,
	.frame_role = bench_role,
	.device_role = bench_device,
	.mapping_locked = bench_locked,
};

static uint64_t new_frame(struct bench_vmm *v)
{
	if (v->next == RAM_PAGES) {
		fputs("core_bench: out of guest RAM\n", stderr);
		exit(2);
	}
	return (uint64_t)v->next++ * GM_PAGE;
}

/* Maps gva to a new frame and returns it. */
static uint64_t map(struct bench_vmm *v, uint64_t gva)
{
	uint64_t at = v->cr3, gpa = new_frame(v);

	for (int level = 3; level > 0; level--) {
		uint64_t *e = &table(v, at)[gva >> (12 + 9 * level) & 511];

		if (!(*e & PTE_P))
			*e = new_frame(v) | PTE_P | PTE_W;
		at = *e & 0xffffffffff000ull;
	}
	table(v, at)[gva >> 12 & 511] = gpa | PTE_P | PTE_W;
	return gpa;
}

/* ---- one configuration ---- */

struct config {
	const char *name;
	unsigned text_pages, privileges, stack_bytes;
	uint8_t stack; /* enum guard_stack_policy */
};

struct bench {
	struct bench_vmm v;
	struct guard *g;
	void *manifest, *work;
	uint64_t enter, leave, leave_return, enter_return;
	struct guard_event ev;
	struct guard_decision d;
	const struct config *cfg;
};

enum {
	STEP_ENTER,
	STEP_CALL,
	STEP_RETURN,
	STEP_DEPART,
	STEP_RESUME,
	STEP_LEAVE,
	STEP_EMPTY,
	STEPS
};
static const char *const step_names[STEPS] = { "ENTER-CALL", "LEAVE-CALL", "ENTER-RETURN",
					       "DEPART",     "RESUME",	   "LEAVE-RETURN",
					       "empty" };

static void *build_manifest(const struct config *cfg, size_t *len)
{
	static uint8_t text[256 * GM_PAGE];
	uint32_t headroom = GM_MIN_HEADROOM + cfg->stack_bytes;
	struct mb b;
	void *m;

	memset(text, 0x90, sizeof(text));
	mb_init(&b, GM_X_VMMCALL, 0);
	mb_segment(&b, GM_SEG_TEXT, cfg->text_pages * GM_PAGE, text);
	b.gates_segment = (int)mb_segment(&b, GM_SEG_GATES, GM_PAGE, NULL);
	mb_segment(&b, GM_SEG_PRIVATE, GM_PAGE, NULL);
	mb_gate(&b, GM_GATE_LEAVE_RETURN, 5, 0, GM_NONE);
	mb_gate(&b, GM_GATE_ENTER_RETURN, 5, 0, GM_NONE);
	mb_import(&b, 0, 0xf028); /* RBX RBP R12-R15 */
	mb_gate(&b, GM_GATE_LEAVE, 0, 0, 0);
	mb_entry(&b, 0, headroom, 0, 0);
	mb_retsite(&b, FUNCTION_CALL + 5);
	mb_unwind(&b, 0, GM_CFA_REG, GUARD_RSP, 8, GM_BP_SAME, 0);
	mb_unwind(&b, 8, GM_CFA_REG, GUARD_RSP, (int16_t)(8 + cfg->stack_bytes), GM_BP_SAME, 0);
	mb_privilege(&b, GM_PRIV_PRIVATE, 0, 0);
	for (unsigned i = 1; i < cfg->privileges; i++)
		mb_privilege(&b, GM_PRIV_MSR, i, i);
	m = mb_finish(&b, len);
	mb_free(&b);
	return m;
}

static void die(const char *what, enum guard_verdict v)
{
	fprintf(stderr, "core_bench: %s: %s\n", what, guard_verdict_string(v));
	exit(1);
}

static void judge(struct bench *b, enum guard_event_type type, uint64_t rip, uint64_t rsp)
{
	b->ev.type = type;
	b->ev.cpu.rip = rip;
	b->ev.cpu.gpr[GUARD_RSP] = rsp;
	guard_judge(b->g, &b->ev, &b->d);
}

static void put(struct bench *b, uint64_t gva, uint64_t word)
{
	struct guard_mapping m = { 0 };

	bench_translate(&b->v, 0, b->v.cr3, gva & ~0xfffull, 1, &m);
	memcpy(b->v.ram + m.gpa + (gva & 0xfff), &word, 8);
}

/* As a loader: the gates' jumps to f and to the import. All are 32-bit PC-relative. */
static void relocate(struct bench *b, const struct gm_header *h)
{
	const struct gm_reloc *r = (const void *)((const uint8_t *)h + h->relocs.offset);
	const struct gm_segment *seg = (const void *)((const uint8_t *)h + h->segments.offset);

	for (uint32_t i = 0; i < h->relocs.count; i++) {
		uint64_t at = MODULE_GVA + r[i].moff, target = KERNEL_RETURN;
		struct guard_mapping m = { 0 };
		uint32_t field;

		if (r[i].kind == GM_TARGET_SEGMENT)
			target = MODULE_GVA + seg[r[i].target].start;
		field = (uint32_t)(target + (uint64_t)r[i].addend - at);
		bench_translate(&b->v, 0, b->v.cr3, at & ~0xfffull, 1, &m);
		memcpy(b->v.ram + m.gpa + (at & 0xfff), &field, 4);
	}
}

static void setup(struct bench *b, const struct config *cfg)
{
	static const uint64_t any_call = 0xffffffff81000800ull;
	struct guard_binding binding = { .policy = { .stack = cfg->stack, .chains = 16 } };
	const struct gm_header *h;
	size_t len, work_len;
	unsigned index;
	uint32_t pages = cfg->text_pages + 2;
	enum guard_verdict v;

	memset(b, 0, sizeof(*b));
	b->cfg = cfg;
	b->v.ram = aligned_alloc(GM_PAGE, RAM_PAGES * GM_PAGE);
	b->v.copy = calloc(pages, GM_PAGE);
	b->g = aligned_alloc(64, (guard_size() + 63) & ~63ul);
	b->manifest = build_manifest(cfg, &len);
	if (!b->v.ram || !b->v.copy || !b->g)
		abort();
	memset(b->v.ram, 0, RAM_PAGES * GM_PAGE);
	b->v.next = 1;
	b->v.cr3 = new_frame(&b->v);
	h = b->manifest;
	guard_init(b->g, 1, &bench_ops, &b->v);
	memset(binding.digest, 7, 32);
	binding.bound = (1ull << cfg->privileges) - 1;
	work_len = guard_work_size(b->manifest, len, &binding.policy);
	b->work = malloc(work_len ? work_len : 1);
	v = guard_register(b->g, b->manifest, len, &binding, b->work, work_len, &index, &b->d);
	if (v != GUARD_V_OK)
		die("REGISTER", v);
	guard_grant(b->g, 0, index, binding.bound, true, &b->d);
	for (uint32_t p = 0; p < pages; p++) {
		uint64_t gpa = map(&b->v, MODULE_GVA + (uint64_t)p * GM_PAGE);
		const struct gm_segment *s =
			(const void *)((const uint8_t *)h + h->segments.offset);
		const uint8_t *image = (const uint8_t *)h + h->image.offset;

		if (p < cfg->text_pages)
			memcpy(b->v.ram + gpa, image + s[0].image + (size_t)p * GM_PAGE, GM_PAGE);
		else if (p == cfg->text_pages)
			memcpy(b->v.ram + gpa, image + s[1].image, s[1].size);
	}
	relocate(b, h);
	for (unsigned p = 0; p < STACK_PAGES; p++)
		map(&b->v, STACK_GVA + (uint64_t)p * GM_PAGE);
	map(&b->v, TABLE_GVA);
	b->ev.cpu.cr0 = 0x80010033;
	b->ev.cpu.cr3 = b->v.cr3;
	b->ev.cpu.cr4 = 0x20;
	b->ev.cpu.efer = 0xd00;
	b->ev.cpu.mode = GUARD_MODE_64;
	b->ev.cpu.rflags = 2;
	put(b, TABLE_GVA, MODULE_GVA);
	put(b, TABLE_GVA + 8, MODULE_GVA + cfg->text_pages * GM_PAGE);
	put(b, TABLE_GVA + 16, MODULE_GVA + (cfg->text_pages + 1) * GM_PAGE);
	b->ev.cpu.gpr[GUARD_RAX] = GUARD_CALL_ANNOUNCE;
	b->ev.cpu.gpr[GUARD_RBX] = 0x0707070707070707ull;
	b->ev.cpu.gpr[GUARD_RCX] = TABLE_GVA;
	b->ev.cpu.gpr[GUARD_RDX] = 3;
	do
		judge(b, GUARD_EV_X, any_call, STACK_GVA + 64);
	while (b->d.verdict == GUARD_V_AGAIN);
	if (b->d.verdict != GUARD_V_OK)
		die("ANNOUNCE", b->d.verdict);
	b->ev.cpu.gpr[GUARD_RAX] = 0;
	b->leave_return = MODULE_GVA + cfg->text_pages * GM_PAGE + 5;
	b->enter_return = b->leave_return + 16;
	b->leave = b->leave_return + 27;
	b->enter = b->leave + 16;
}

static void teardown(struct bench *b)
{
	free(b->v.ram);
	free(b->v.copy);
	free(b->g);
	free(b->manifest);
	free(b->work);
}

/* The event of one step; what guest code does in between is done before. */
static void prepare(struct bench *b, int step)
{
	uint64_t slot = STACK_GVA + (STACK_PAGES - 1) * GM_PAGE, text = MODULE_GVA;
	uint64_t out = slot - b->cfg->stack_bytes - 8;

	switch (step) {
	case STEP_ENTER:
		put(b, slot, KERNEL_RETURN);
		b->ev.type = GUARD_EV_X;
		b->ev.cpu.rip = b->enter;
		b->ev.cpu.gpr[GUARD_RSP] = slot;
		break;
	case STEP_CALL:
		put(b, out, text + FUNCTION_CALL + 5);
		b->ev.cpu.rip = b->leave;
		b->ev.cpu.gpr[GUARD_RSP] = out;
		break;
	case STEP_RETURN: b->ev.cpu.rip = b->enter_return; break;
	case STEP_DEPART:
		b->ev.type = GUARD_EV_DEPART;
		b->ev.cause = GUARD_CAUSE_IRQ;
		b->ev.cpu.rip = text + FUNCTION_CALL;
		b->ev.cpu.gpr[GUARD_RSP] = out + 8;
		break;
	case STEP_RESUME: b->ev.type = GUARD_EV_FETCH; break;
	case STEP_LEAVE:
		b->ev.type = GUARD_EV_X;
		b->ev.cpu.rip = b->leave_return;
		b->ev.cpu.gpr[GUARD_RSP] = slot;
		break;
	default: /* an X that is the VMM's own: the core only says so */
		b->ev.cpu.rip = KERNEL_RETURN;
		break;
	}
	b->v.calls = b->v.ptes = 0;
}

static double ns_per_tick(void)
{
	struct timespec a, z;
	uint64_t t = __rdtsc();

	clock_gettime(CLOCK_MONOTONIC, &a);
	do
		clock_gettime(CLOCK_MONOTONIC, &z);
	while ((z.tv_sec - a.tv_sec) * 1000000000ll + (z.tv_nsec - a.tv_nsec) < 50000000);
	return (double)((z.tv_sec - a.tv_sec) * 1000000000ll + (z.tv_nsec - a.tv_nsec)) /
	       (double)(__rdtsc() - t);
}

static uint64_t least(uint64_t *best, uint64_t now)
{
	if (!*best || now < *best)
		*best = now;
	return *best;
}

static void run_config(const struct config *cfg, double tick)
{
	uint64_t best[STEPS] = { 0 }, calls[STEPS], ptes[STEPS], timer = 0;
	int rounds = RUNNING_ON_VALGRIND ? 2 : ROUNDS;
	struct bench b;

	setup(&b, cfg);
	for (int i = 0; i < 1000; i++) {
		uint64_t t = __rdtsc();

		_mm_lfence();
		least(&timer, __rdtsc() - t);
	}
	for (int i = 0; i < rounds; i++) {
		for (int s = 0; s < STEPS; s++) {
			bool count = RUNNING_ON_VALGRIND && i == rounds - 1;
			uint64_t t;

			prepare(&b, s);
			if (count) {
				CALLGRIND_ZERO_STATS;
				CALLGRIND_TOGGLE_COLLECT;
			}
			_mm_lfence();
			t = __rdtsc();
			guard_judge(b.g, &b.ev, &b.d);
			_mm_lfence();
			t = __rdtsc() - t;
			if (count) {
				char name[96];

				CALLGRIND_TOGGLE_COLLECT;
				snprintf(name, sizeof(name), "%s:%s", cfg->name, step_names[s]);
				CALLGRIND_DUMP_STATS_AT(name);
			}
			if (b.d.verdict != GUARD_V_OK)
				die(step_names[s], b.d.verdict);
			least(&best[s], t > timer ? t - timer : 1);
			calls[s] = b.v.calls;
			ptes[s] = b.v.ptes;
		}
	}
	for (int s = 0; s < STEPS; s++)
		printf("%s\t%s\t%.0f\t%llu\t%llu\n", cfg->name, step_names[s],
		       (double)best[s] * tick, (unsigned long long)calls[s],
		       (unsigned long long)ptes[s]);
	teardown(&b);
}

int main(void)
{
	static const struct config configs[] = {
		{ "base", 1, 1, 0, GUARD_STACK_RETURNS },
		{ "text-64", 64, 1, 0, GUARD_STACK_RETURNS },
		{ "privileges-4", 1, 4, 0, GUARD_STACK_RETURNS },
		{ "returns-64", 1, 1, 64, GUARD_STACK_RETURNS },
		{ "returns-512", 1, 1, 512, GUARD_STACK_RETURNS },
		{ "returns-4096", 1, 1, 4096, GUARD_STACK_RETURNS },
		{ "exact-0", 1, 1, 0, GUARD_STACK_EXACT },
		{ "exact-64", 1, 1, 64, GUARD_STACK_EXACT },
		{ "exact-512", 1, 1, 512, GUARD_STACK_EXACT },
		{ "exact-4096", 1, 1, 4096, GUARD_STACK_EXACT },
	};
	double tick = ns_per_tick();

	for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]); i++)
		run_config(&configs[i], tick);
	return 0;
}
