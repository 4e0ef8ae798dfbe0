// SPDX-License-Identifier: GPL-2.0-only
/*
 * The worlds, one a configuration: three vCPUs, four stacks of three pages whose frames are never
 * neighbours, two modules registered, loaded and announced. Made once; every input then begins with
 * the same memory, core and oracle.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/events/core.h"
#include "fuzz/fuzz.h"

struct fc *fc;
const struct fc_watch *fc_watch;

#define BEHIND 64u
#define KERNEL_FRAME 1u
#define DATA_FRAME 2u

static struct fc *worlds[FC_CONFIGS];
static struct fc_live images[FC_CONFIGS];
static uint8_t *guts_images[FC_CONFIGS];
static uint8_t copies[FC_CONFIGS][FC_MODULES][FC_PAGES][4096];

unsigned fc_stack_frame(unsigned thread, unsigned page)
{
	return 4 + page * FC_THREADS + thread;
}

unsigned fc_module_frame(unsigned m, unsigned segment)
{
	return 16 + 8 * m + segment;
}

void fc_thread(struct guard_cpu *c, unsigned thread)
{
	for (unsigned i = 0; i < GUARD_GPRS; i++)
		c->gpr[i] = 0x1111111111111111ull * (i + 1) + 0x100 * thread;
	c->gpr[GUARD_RSP] = FC_STACK_TOP(thread) - 0x400;
	c->rip = FC_KERNEL;
	c->rflags = 0x246;
	c->cr0 = 0x80010033;
	c->cr3 = fc->cr3[0];
	c->cr4 = 0x300020; /* PAE, SMEP, SMAP */
	c->efer = 0xd00;
	c->cpl = 0;
	c->mode = GUARD_MODE_64;
}

/* ---- tables ---- */

static void entry(unsigned frame, unsigned index, uint64_t value)
{
	fc_poke(frame * 4096ull + index * 8, &value, 8);
}

static void tables(void)
{
	const uint64_t rights = FC_P | FC_W | FC_U;
	unsigned frame = 48, table = 0;

	for (unsigned i = 0; i < 3; i++, frame += 3) {
		fc->cr3[i] = frame * 4096ull;
		entry(frame, FC_BASE >> 39 & 511, (frame + 1) * 4096ull | rights);
		entry(frame + 1, FC_BASE >> 30 & 511, (frame + 2) * 4096ull | rights);
		/* the second set shares the last level, the third has its own */
		if (i != 1)
			table = 60 + i;
		entry(frame + 2, FC_BASE >> 21 & 511, table * 4096ull | rights);
	}
	fc->table = 60 * 4096ull;
	entry(60, 0, KERNEL_FRAME * 4096ull | FC_P | FC_W);
	entry(60, 1, DATA_FRAME * 4096ull | FC_P | FC_W);
	for (unsigned m = 0; m < FC_MODULES; m++) {
		entry(60, FC_MMIO_PAGE(m), FC_MMIO(m) | FC_P | FC_W);
		for (unsigned s = 0; s < FC_SEGMENTS; s++) {
			uint64_t e = fc_module_frame(m, s) * 4096ull | FC_P | FC_W;

			entry(60, FC_MODULE_PAGE(m) + s, e);
			entry(60, FC_MODULE_PAGE(m) + s + FC_MOVED, e);
		}
	}
	for (unsigned t = 0; t < FC_THREADS; t++)
		for (unsigned p = 0; p < FC_STACK_PAGES; p++)
			entry(60, FC_STACK_PAGE(t) + p,
			      fc_stack_frame(t, p) * 4096ull | FC_P | FC_W);
	/* under the third the first module's text and one stack page are other frames */
	for (unsigned i = 0; i < FC_TABLE_PAGES; i++)
		entry(62, i, fc_pte_now(i));
	entry(62, FC_MODULE_PAGE(0), 40 * 4096ull | FC_P | FC_W);
	entry(62, FC_STACK_PAGE(1) + FC_STACK_PAGES - 1, 41 * 4096ull | FC_P | FC_W);
}

/* ---- once ---- */

static void hypercall(uint64_t number, unsigned m)
{
	struct guard_cpu *c = &fc->live->cpu[0];

	do {
		c->gpr[GUARD_RAX] = number;
		c->gpr[GUARD_RBX] = fc->module[m].id;
		c->gpr[GUARD_RCX] = FC_DATA + 64 * m;
		c->gpr[GUARD_RDX] = FC_SEGMENTS;
		fc_x(0, FC_HYPERCALL);
	} while (c->gpr[GUARD_RAX] == GUARD_V_AGAIN && !fc->broken);
	if (fc->broken || c->gpr[GUARD_RAX] != GUARD_V_OK) {
		if (fc->broken)
			fprintf(stderr, "fuzz-core: %s: %s\n",
				fc->guarantee ? "guarantee" : "model", fc->failure);
		fprintf(stderr, "fuzz: module %u is not announced: %s\n", m,
			guard_verdict_string((enum guard_verdict)c->gpr[GUARD_RAX]));
		fuzz_must(false, "an honest module is announced");
	}
}

static void lay_out_guts(unsigned config)
{
	size_t at[FC_MODULES], size = (guard_size() + BEHIND + 63) / 64 * 64;

	for (unsigned m = 0; m < FC_MODULES; m++) {
		fuzz_must(fc_manifest(config, m, &fc->module[m]), "a manifest that the core takes");
		at[m] = size;
		size = (size + fc->module[m].work_len + BEHIND + 63) / 64 * 64;
	}
	fc->guts_size = size;
	fc->guts = aligned_alloc(64, size);
	guts_images[config] = malloc(size);
	fuzz_must(fc->guts && guts_images[config], "there is memory");
	memset(fc->guts, 0xca, size);
	for (unsigned m = 0; m < FC_MODULES; m++)
		fc->module[m].work = (uint8_t *)fc->guts + at[m];
}

static void make(unsigned config)
{
	struct oracle_callbacks cb = { .ram = fc_ram, .copy = fc_copy };
	struct fc_live *l;

	fc = worlds[config] = calloc(1, sizeof(*fc));
	fuzz_must(fc != NULL, "there is memory");
	fc->ram = aligned_alloc(4096, FC_RAM);
	l = fc->live = calloc(1, sizeof(*fc->live));
	fc->judges = FC_MODEL;
	fc->oracle = oracle_new(FC_VCPUS, ORACLE_MODEL, &cb);
	fuzz_must(fc->ram && l && fc->oracle, "there is memory");
	memset(fc->ram, 0, FC_RAM);
	tables();
	lay_out_guts(config);
	fc->guard = guard_init(fc->guts, FC_VCPUS, &fc_ops, fc);
	fuzz_must(fc->guard != NULL, "a guard for three vCPUs");
	for (unsigned v = 0; v < FC_VCPUS; v++) {
		l->view[v] = GUARD_VIEW_U;
		l->on[v] = (uint8_t)v;
		fc_thread(&l->cpu[v], v);
	}
	for (unsigned t = 0; t < FC_THREADS; t++)
		fc_thread(&l->thread[t], t);
	for (unsigned i = 0; i < FC_SAVED; i++)
		l->saved[i] = l->thread[0];
	for (unsigned m = 0; m < FC_MODULES; m++)
		l->index[m] = GUARD_MAX_MODULES;
	for (unsigned m = 0; m < FC_MODULES; m++) {
		fc_register(m);
		for (unsigned v = 0; v < FC_VCPUS; v++)
			fc_grant(v, m, FC_GIVEN, true);
		fc_load(m);
		for (unsigned s = 0; s < FC_SEGMENTS; s++) {
			uint64_t base = fc_seg(m, s);

			fc_poke(DATA_FRAME * 4096ull + 64 * m + 8 * s, &base, 8);
		}
		hypercall(GUARD_CALL_ANNOUNCE, m);
		/* the first who enters has all its pages looked at: that is done */
		fc_call(0, m, FN_F, FC_KRET);
		fc_ret(0, false, false);
		fuzz_must(!fc->broken && fc->live->cpu[0].rip == FC_KRET, "it is entered and left");
	}
	for (unsigned v = 0; v < FC_VCPUS; v++)
		fc_thread(&l->cpu[v], v);
	l->slots = 0;
	for (unsigned i = 0; i < FC_SLOTS; i++)
		l->slot[i] = FC_STACK_TOP(i % FC_THREADS) - 0x408;
	fuzz_must(oracle_set_mark(fc->oracle), "nobody is inside at the start");
	images[config] = *l;
	memcpy(guts_images[config], fc->guts, fc->guts_size);
	memcpy(copies[config], fc->copy, sizeof(fc->copy));
	fc->copy_dirty[0] = fc->copy_dirty[1] = 0;
	fc->ready = true;
}

/* ---- for each input ---- */

static void put_back(unsigned config)
{
	while (fc->journaled) {
		const struct fc_undo *u = &fc->journal[--fc->journaled];

		memcpy(fc->ram + u->gpa, &u->old, 8);
	}
	fc_tables_moved();
	memcpy(fc->live, &images[config], offsetof(struct fc_live, home));
	for (unsigned i = 0; i < FC_RECORDS; i++)
		fc->live->record[i].open = 0;
	memcpy(fc->guts, guts_images[config], fc->guts_size);
	for (unsigned m = 0; m < FC_MODULES; m++) {
		for (unsigned p = 0; fc->copy_dirty[m] && p < FC_PAGES; p++)
			if (fc->copy_dirty[m] >> p & 1)
				memcpy(fc->copy[m][p], copies[config][m][p], 4096);
		fc->copy_dirty[m] = 0;
	}
}

void fc_begin(unsigned config, enum fc_judges judges)
{
	static int tracing = -1;

	if (tracing < 0)
		tracing = getenv("FUZZ_CORE_TRACE") != NULL;
	if (!worlds[config])
		make(config);
	fc = worlds[config];
	put_back(config);
	oracle_rewind(fc->oracle, judges == FC_MODEL ? ORACLE_MODEL : ORACLE_ALONE);
	fc->judges = judges;
	memset(&fc->d, 0, sizeof(fc->d));
	fc->trace = tracing;
	fc->broken = false;
	fc->failure[0] = 0;
}

/* What lies behind the core's memory is nobody's. */
static bool behind_is_untouched(void)
{
	static const uint8_t pattern[8] = { 0xca, 0xca, 0xca, 0xca, 0xca, 0xca, 0xca, 0xca };
	const uint8_t *ends[1 + FC_MODULES];

	ends[0] = (uint8_t *)fc->guts + guard_size();
	for (unsigned m = 0; m < FC_MODULES; m++)
		ends[1 + m] = (uint8_t *)fc->module[m].work + fc->module[m].work_len;
	for (unsigned i = 0; i <= FC_MODULES; i++)
		for (unsigned k = 0; k < BEHIND; k += 8)
			if (memcmp(ends[i] + k, pattern, 8) != 0)
				return false;
	return true;
}

bool fc_run(const uint8_t *data, size_t size, enum fc_judges judges)
{
	fc_begin(size ? data[0] % FC_CONFIGS : 0, judges);
	if (!setjmp(fc->out))
		for (size_t at = 1; at + FC_STEP <= size && at < FC_MAX_INPUT && !fc->broken;
		     at += FC_STEP) {
			fc->steps++;
			if (fc->trace)
				fprintf(stderr, "%s vcpu=%u module=%u %u, %u, %u\n",
					fc_step_names[data[at] % FC_NSTEPS],
					data[at + 1] % 4 % FC_VCPUS, data[at + 1] >> 2 & 1,
					data[at + 1] >> 3, data[at + 2], data[at + 3]);
			if (fc_watch)
				fc_watch->step(fc_watch->ctx, data + at);
			fc_step(data + at);
		}
	if (!behind_is_untouched())
		fc_broken(true, "G6 VMM safety: the core writes beyond its memory");
	return !fc->broken || judges == FC_NOBODY;
}
