// SPDX-License-Identifier: GPL-2.0-only
/*
 * A machine with a driver up. Making one takes a tenth of a second or more, so inputs go back to the
 * moment behind that: the VM by vm_rewind(), the hosted kernel's own state by copying.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/drivers/driver.h"
#include "vmm/engine.h"

#define BUDGET 400000u /* instructions of one input */
#define PAGE 4096u
#define SEED 1u

static const char *const drivers[FK_DRIVERS] = {
	"e1000e.ko",
	"modules/drivers/net/ethernet/atheros/atlx/atl2.ko",
	"modules/drivers/net/ethernet/intel/igbvf/igbvf.ko",
};

/* stack=exact is not for drivers: they hand out pointers into their frames, to be written to. */
static const struct guard_policy policies[FK_POLICIES] = {
	{ GUARD_STACK_RETURNS, GUARD_REGS_VERIFY, GUARD_MAPPING_CHECKED, GUARD_REFUSE_GP, 32, 1 },
	{ GUARD_STACK_RETURNS, GUARD_REGS_SCRUB, GUARD_MAPPING_CHECKED, GUARD_REFUSE_GP, 32, 1 },
	{ GUARD_STACK_RETURNS, GUARD_REGS_VERIFY, GUARD_MAPPING_LOCKED, GUARD_REFUSE_GP, 4, 0 },
	{ GUARD_STACK_NONE, GUARD_REGS_VERIFY, GUARD_MAPPING_CHECKED, GUARD_REFUSE_QUARANTINE, 8,
	  0 },
};

const char *fk_world_name(unsigned world, char *buf, size_t len)
{
	static const char *const what[FK_POLICIES] = {
		"stack=returns registers=verify",
		"stack=returns registers=scrub",
		"mapping=locked chains=4",
		"stack=none refusal=quarantine chains=8",
	};
	const char *name = drivers[world % FK_DRIVERS], *slash = strrchr(name, '/');

	snprintf(buf, len, "%s, %s", slash ? slash + 1 : name,
		 what[world / FK_DRIVERS % FK_POLICIES]);
	return buf;
}

bool fk_world(const uint8_t *data, size_t size, unsigned *world)
{
	if (size < FK_HEAD || memcmp(data, FK_MAGIC, FK_HEAD - 1) || data[FK_HEAD - 1] >= FK_WORLDS)
		return false;
	*world = data[FK_HEAD - 1];
	return true;
}

static void bring_up(struct hosted *h, void *arg)
{
	struct fk_bed *b = arg;

	hosted_bring_up(h);
	b->a = (struct attack){ .h = h, .row = &b->row };
	b->ready = !h->dead && !h->init_result && attack_ready(&b->a) && !h->dead;
}

/* The loader's entries for each page of the driver, and where the pages lie. */
static void note_pages(struct fk_bed *b)
{
	const struct gm_header *m = (const void *)b->h.wrapped.manifest.data;
	const struct gm_segment *s = (const void *)((const uint8_t *)m + m->segments.offset);

	b->id = attack_module_id(&b->a);
	b->pages = 0;
	for (unsigned i = 0; i < m->segments.count; i++) {
		uint64_t base = vm_module_base(b->h.vm, b->h.module, i);

		for (uint32_t at = 0; base && at < s[i].size && b->pages < FK_PAGES; at += PAGE) {
			b->page[b->pages] = base + at;
			attack_pte(&b->a, base + at, &b->pte[b->pages++]);
		}
	}
}

static bool start(struct fk_bed *b, struct error *err)
{
	b->ready = false;
	b->opened = true; /* half of it, too */
	if (!hosted_open(&b->h, &b->opt, err))
		return false;
	hosted_boot(&b->h, bring_up, b);
	return b->ready || error_set(err, "%s" FK_DOWN "%.200s", b->opt.module, b->h.exit.message);
}

static void stop(struct fk_bed *b)
{
	if (b->opened)
		hosted_close(&b->h);
	b->opened = b->ready = false;
}

static bool set_mark(struct fk_bed *b, struct error *err)
{
	b->blocks = malloc(HEAP_MAX_BLOCKS * sizeof(*b->blocks));
	if (!b->blocks)
		return error_set(err, "out of memory for a copy of the heap's list");
	memcpy(b->blocks, b->h.heap.block, HEAP_MAX_BLOCKS * sizeof(*b->blocks));
	b->marked = true;
	return vm_set_mark(b->h.vm, err);
}

struct fk_bed *fk_bed_new(unsigned world, const struct fk_options *opt, bool mark,
			  struct error *err)
{
	static uint64_t up[FK_WORLDS]; /* instructions until the driver is up */
	struct fk_bed *b = calloc(1, sizeof(*b));
	struct guard_cpu cpu;
	char path[512];
	bool ok = true;

	if (!b) {
		error_set(err, "out of memory for the hosted kernel");
		return NULL;
	}
	snprintf(path, sizeof(path), "%s/%s", opt->folder, drivers[world % FK_DRIVERS]);
	b->world = world;
	b->opt = (struct hosted_options){ .module = path,
					  .engine = &sim_engine,
					  .seed = SEED,
					  .oracle = opt->oracle,
					  .x = GM_X_VMMCALL,
					  .policy = &policies[world / FK_DRIVERS % FK_POLICIES],
					  .vcpus = 1 };
	if (!up[world]) {
		ok = start(b, err);
		if (ok)
			up[world] = vm_time(b->h.vm);
		stop(b);
	}
	b->opt.budget = up[world] + BUDGET;
	b->opt.trace = opt->trace;
	b->opt.logged = opt->logged;
	b->opt.ctx = opt->ctx;
	if (ok && start(b, err)) {
		note_pages(b);
		/* so that a run begins with the story's host call, once more */
		vm_get_cpu(b->h.vm, 0, &cpu);
		cpu.rip -= IMAGE_OUT_BYTES;
		vm_set_cpu(b->h.vm, 0, &cpu);
		b->h.story_done = false;
		b->h.callouts = 0;
		b->opt.module = drivers[world % FK_DRIVERS]; /* `path` ends here */
		ok = !mark || set_mark(b, err);
		b->mark = b->h;
		b->attack_mark = b->a;
		if (ok)
			return b;
	}
	fk_bed_free(b);
	return NULL;
}

void fk_bed_free(struct fk_bed *b)
{
	if (!b)
		return;
	stop(b);
	free(b->blocks);
	free(b);
}

static bool rewind_bed(struct fk_bed *b)
{
	if (!b->marked)
		return true;
	if (!vm_rewind(b->h.vm, SEED))
		return false;
	memcpy(b->h.heap.block, b->blocks,
	       (b->h.heap.blocks > b->mark.heap.blocks ? b->h.heap.blocks : b->mark.heap.blocks) *
		       sizeof(*b->blocks));
	b->h = b->mark;
	b->a = b->attack_mark;
	return true;
}

static void judge(struct fk_bed *b, struct fk_result *r)
{
	const char *oracle = vm_oracle_failure(b->h.vm);

	if (oracle && !r->failure[0]) {
		snprintf(r->failure, sizeof(r->failure), "%s", oracle);
		r->model = strstr(oracle, "reference model") != NULL;
	}
	r->engine = b->h.dead && b->h.exit.reason == VM_EXIT_ENGINE;
	if (b->h.dead)
		snprintf(r->exit, sizeof(r->exit), "%.159s", b->h.exit.message);
}

bool fk_bed_play(struct fk_bed *b, const uint8_t *data, size_t size,
		 void (*told)(void *ctx, const uint8_t *step, unsigned depth), void *ctx,
		 struct fk_result *r)
{
	struct fk_play p = { .bed = b,
			     .step = data + FK_HEAD,
			     .steps = size > FK_HEAD ? (unsigned)((size - FK_HEAD) / FK_STEP) : 0,
			     .r = r,
			     .told = told,
			     .ctx = ctx };

	memset(r, 0, sizeof(*r));
	if (!rewind_bed(b))
		return false;
	r->lines = vm_log_count(b->h.vm);
	hosted_boot(&b->h, fk_story, &p);
	judge(b, r);
	return true;
}
