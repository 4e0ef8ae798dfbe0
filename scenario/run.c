/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs one scenario: a VM with the puppet, the modules wrapped and bound in memory, the program.
 *
 * A log line is a step of the story; what a scenario may not use up is bounded by the budget.
 */
#include <stdlib.h>
#include <string.h>

#include "scenario/run.h"
#include "vmm/compare.h"

#define MAX_MODULE_BYTES (4u << 20)
#define DEFAULT_BUDGET 20000000ull

static bool read_corpus(const struct run *run, const char *rel, struct blob *b)
{
	char path[4096];

	if (snprintf(path, sizeof(path), "%s/%s", run->opt->corpus, rel) >= (int)sizeof(path))
		return error_set(run->err, "%s/...: path too long", run->opt->corpus);
	return blob_read(b, path, MAX_MODULE_BYTES, run->err);
}

static bool wrap(struct run *run, const struct scn_module *m, struct loaded *l)
{
	const char *name = scn_word(run->s, m->word);
	struct wrap_privilege p[GM_PRIVS];
	struct wrap_options opt = {
		.name = name, .x = run->opt->x, .privileges = p, .views = run->opt->views
	};
	char rel[SCN_MAX_WORD + 16];
	char where[sizeof(run->s->name) + 16];

	for (unsigned k = 0; k < GM_PRIVS; k++) {
		if (!(m->wanted >> k & 1))
			continue;
		p[opt.privilege_count++] = (struct wrap_privilege){
			.kind = (enum gm_privilege_kind)k,
			.name = scn_kinds[k],
			.first = k == GM_PRIV_IOPORT ? m->port_first : m->msr_first,
			.last = k == GM_PRIV_IOPORT ? m->port_last : m->msr_last,
		};
	}
	snprintf(rel, sizeof(rel), "%s/%s.ko", run->opt->views ? "views" : "modules", name);
	snprintf(where, sizeof(where), "%s:%u", run->s->name, m->line);
	return (read_corpus(run, rel, &l->object) &&
		wrap_module(&opt, rel, &l->object, &l->wrapped, run->err)) ||
	       error_within(run->err, where);
}

static void bind(const struct scn_module *m, struct loaded *l)
{
	const struct gm_header *h = (const void *)l->wrapped.manifest.data;
	const struct gm_privilege *p =
		(const void *)(l->wrapped.manifest.data + h->privileges.offset);
	struct guard_binding *b = &l->binding;

	manifest_digest(&l->wrapped.manifest, b->digest);
	b->bound = run_privileges(h, m->bound);
	for (unsigned i = 0; i < h->privileges.count && i < GM_MAX_PRIVILEGES; i++)
		if (p[i].kind == GM_PRIV_DEVICE)
			b->resource[i] = (struct guard_resource){ GH_DEVICE_GPA, GH_DOORBELL_SIZE };
	b->policy = (struct guard_policy){ .stack = m->stack,
					   .registers = m->registers,
					   .mapping = m->mapping,
					   .refusal = m->refusal,
					   .chains = m->chains,
					   .required = run_privileges(h, m->required) };
}

static bool load_modules(struct run *run, struct loaded *loaded)
{
	const struct gm_header *h;

	for (unsigned i = 0; i < run->s->nmodules; i++) {
		const struct scn_module *m = &run->s->module[i];
		struct vm_module_source src = { .name = scn_word(run->s, m->word) };

		if (!wrap(run, m, &loaded[i]))
			return false;
		bind(m, &loaded[i]);
		src.ko = loaded[i].wrapped.ko;
		src.manifest = loaded[i].wrapped.manifest;
		src.binding = m->flags & SCN_UNBOUND ? NULL : &loaded[i].binding;
		if (!vm_load_module(run->vm, &src, !(m->flags & SCN_UNANNOUNCED), run_resolve, run,
				    &run->index[i], run->err))
			return error_within(run->err, run->s->name);
		/* the loader grants all that is bound */
		h = vm_module_manifest(run->vm, run->index[i]);
		for (unsigned v = 0; h && m->granted != SCN_KINDS && v < run->vcpus; v++)
			vm_grant(run->vm, v, run->index[i],
				 run_privileges(h, (uint8_t)(SCN_KINDS & ~m->granted)), false);
	}
	return true;
}

/* The VM with the puppet and the modules; then run->boot is known. */
static bool set_up(struct run *run)
{
	struct blob elf = { 0 };
	struct guard_cpu cpu;
	bool device = false, ok;

	for (unsigned i = 0; i < run->s->nmodules; i++)
		device |= run->s->module[i].wanted >> GM_PRIV_DEVICE & 1;
	if (!read_corpus(run, "puppet/puppet.elf", &elf))
		return false;
	ok = vm_load_guest(run->vm, "puppet.elf", &elf, run->err);
	blob_free(&elf);
	for (unsigned i = 0; i < run->s->nmodules; i++)
		if (run->s->module[i].config_last)
			vm_pci_allow(run->vm, run->s->module[i].config_first,
				     run->s->module[i].config_last);
	if (!ok || (device && !vm_add_doorbell(run->vm, RUN_DOORBELL_SECRET, run->err)) ||
	    !load_modules(run, run->loaded))
		return false;
	vm_get_cpu(run->vm, 0, &cpu);
	run->boot = cpu.gpr[GUARD_RDI];
	return true;
}

bool run_create(struct run *run)
{
	const struct scenario_options *opt = run->opt;
	const struct vm_config cfg = {
		.engine = opt->engine,
		.ram_size = (uint64_t)run->s->ram_mib << 20,
		.vcpus = run->vcpus,
		.seed = opt->seed,
		.budget = opt->budget ? opt->budget : DEFAULT_BUDGET,
		.x_kind = opt->x,
		.trace = opt->trace,
		.oracle = opt->oracle,
		.log_lines = opt->log_lines,
		.explain = opt->explain,
		.logged = opt->logged,
		.ctx = opt->ctx,
	};

	_Static_assert(SCENARIO_MAX_VCPUS == PP_MAX_VCPUS, "the puppet has a stack for each");
	run->vm = vm_create(&cfg, run->err);
	return run->vm && set_up(run);
}

static bool load_program(struct run *run)
{
	struct pp_program head;
	struct blob whole = { 0 };
	bool ok;

	if (!run_compile(run))
		return false;
	memcpy(&head, run->program.data, sizeof(head));
	whole.data = calloc(1, head.size);
	if (!whole.data)
		return error_set(run->err, "%s: out of memory", run->s->name);
	memcpy(whole.data, run->program.data, run->program.size);
	ok = vm_set_mailbox(run->vm, whole.data, head.size, run->err);
	free(whole.data);
	if (!ok)
		return false;
	if (!vm_read_u(run->vm, 0, run->boot + offsetof(struct gh_boot, mailbox), &run->mailbox, 8))
		return error_set(run->err, "%s: the boot page cannot be read", run->s->name);
	return true;
}

static void tell_lines(struct run *run)
{
	const struct vm_line *l;

	for (size_t i = run->first_line; (l = vm_log_line(run->vm, i)) != NULL; i++)
		run->opt->on_line(run->opt->line_ctx, &l->line);
}

/* The program, from the VM's first instruction on. */
static bool play(struct run *run, struct error *err)
{
	struct scenario_result *result = run->r;
	struct vm_exit exit;

	for (unsigned v = 0; v < PP_MAX_VCPUS; v++)
		run->cursor[v] = vm_log_count(run->vm);
	run->err = NULL;
	run->first_line = vm_log_count(run->vm);
	vm_strike(run->vm, run->opt->strike, GH_STRIKE_VECTOR);
	vm_on_host_port(run->vm, run_on_port, run);
	vm_run(run->vm, &exit);
	result->killed = exit.reason == VM_EXIT_ENGINE;
	if (vm_oracle_failure(run->vm))
		snprintf(result->oracle, sizeof(result->oracle), "%s", vm_oracle_failure(run->vm));
	if (run->opt->on_line) {
		tell_lines(run);
		return true;
	}
	run_finish(run, &exit);
	return (!run->opt->log || vm_log_write(run->vm, run->opt->log, err)) &&
	       (!run->opt->copy || log_copy_take(run->opt->copy, run->vm, err));
}

void run_end(struct run *run)
{
	vm_destroy(run->vm);
	run->vm = NULL;
	for (unsigned i = 0; i < SCN_MAX_MODULES; i++) {
		blob_free(&run->loaded[i].object);
		wrap_result_free(&run->loaded[i].wrapped);
	}
	memset(run->loaded, 0, SCN_MAX_MODULES * sizeof(*run->loaded));
}

void run_free_program(struct run *run)
{
	free(run->program.data);
	free(run->origin);
	run->program = (struct blob){ 0 };
	run->origin = NULL;
	run->norigin = 0;
}

bool scenario_run(const struct scenario *s, const struct scenario_options *opt,
		  struct scenario_result *result, struct error *err)
{
	struct loaded loaded[SCN_MAX_MODULES];
	struct run run = { .s = s, .opt = opt, .r = result, .err = err, .loaded = loaded };
	bool ok;

	memset(loaded, 0, sizeof(loaded));
	memset(result, 0, sizeof(*result));
	if (opt->vcpus > SCENARIO_MAX_VCPUS)
		return error_set(err, "%s: a scenario has at most %u vCPUs", s->name,
				 SCENARIO_MAX_VCPUS);
	run.vcpus = opt->vcpus > s->vcpus ? opt->vcpus : s->vcpus;
	ok = run_create(&run) && load_program(&run) && play(&run, err);
	run_end(&run);
	run_free_program(&run);
	return ok;
}

/* ---- one VM for many ---- */

struct scenario_bed {
	struct scenario_options opt;
	struct scenario *like; /* its header is what the VM was made for */
	struct loaded loaded[SCN_MAX_MODULES];
	struct run run;	  /* as it was at the mark */
	bool ready, used; /* marked; something has run since */
	uint64_t made;
};

static bool same_module(const struct scenario *a, const struct scenario *b, unsigned i)
{
	struct scn_module m = a->module[i], n = b->module[i];
	bool same = !strcmp(scn_word(a, m.word), scn_word(b, n.word));

	m.word = n.word = 0;
	m.line = n.line = 0;
	return same && m.flags == n.flags && m.stack == n.stack && m.registers == n.registers &&
	       m.mapping == n.mapping && m.refusal == n.refusal && m.wanted == n.wanted &&
	       m.bound == n.bound && m.granted == n.granted && m.required == n.required &&
	       m.chains == n.chains && m.port_first == n.port_first && m.port_last == n.port_last &&
	       m.msr_first == n.msr_first && m.msr_last == n.msr_last &&
	       m.config_first == n.config_first && m.config_last == n.config_last;
}

bool scenario_bed_fits(const struct scenario_bed *bed, const struct scenario *s)
{
	const struct scenario *l = bed->like;

	if (l->vcpus != s->vcpus || l->ram_mib != s->ram_mib || l->nmodules != s->nmodules)
		return false;
	for (unsigned i = 0; i < l->nmodules; i++)
		if (!same_module(l, s, i))
			return false;
	return true;
}

static bool at_ready(void *ctx, struct vm *vm, unsigned vcpu)
{
	struct guard_cpu cpu;

	(void)ctx;
	vm_get_cpu(vm, vcpu, &cpu);
	return (uint32_t)cpu.gpr[GUARD_RAX] != PP_READY;
}

/* Up to where all programs are alike. */
static bool boot(struct run *run)
{
	struct vm_exit exit;

	vm_on_host_port(run->vm, at_ready, NULL);
	vm_run(run->vm, &exit);
	return exit.reason == VM_EXIT_HOST ||
	       error_set(run->err, "%s: the puppet does not start: %.200s", run->s->name,
			 exit.message);
}

static bool make(struct scenario_bed *bed, struct error *err)
{
	struct run *run = &bed->run;

	*run = (struct run){ .s = bed->like,
			     .opt = &bed->opt,
			     .err = err,
			     .loaded = bed->loaded,
			     .vcpus = bed->like->vcpus };
	bed->used = false;
	bed->made++;
	bed->ready = run_create(run) && boot(run) && vm_set_mark(run->vm, err);
	if (!bed->ready)
		run_end(run);
	return bed->ready;
}

struct scenario_bed *scenario_bed_new(const struct scenario *s, const struct scenario_options *opt,
				      struct error *err)
{
	struct scenario_bed *bed = calloc(1, sizeof(*bed));
	struct blob b = { 0 };

	if (!bed || !scenario_encode(s, &b)) {
		error_set(err, "%s: out of memory", s->name);
	} else {
		bed->opt = *opt;
		if (scenario_decode(s->name, b.data, b.size, &bed->like, err) && make(bed, err)) {
			blob_free(&b);
			return bed;
		}
	}
	blob_free(&b);
	scenario_bed_free(bed);
	return NULL;
}

void scenario_bed_free(struct scenario_bed *bed)
{
	if (!bed)
		return;
	if (bed->ready)
		run_end(&bed->run);
	scenario_free(bed->like);
	free(bed);
}

uint64_t scenario_bed_made(const struct scenario_bed *bed)
{
	return bed->made;
}

bool scenario_bed_play(struct scenario_bed *bed, const struct scenario *s, uint64_t seed,
		       struct scenario_result *result, struct error *err)
{
	struct run run;
	bool ok;

	memset(result, 0, sizeof(*result));
	if (!scenario_bed_fits(bed, s))
		return error_set(err, "%s: made for other modules or vCPUs", s->name);
	if (bed->ready && !vm_rewind(bed->run.vm, seed)) {
		run_end(&bed->run);
		bed->ready = false;
	}
	if (!bed->ready && (!make(bed, err) || !vm_rewind(bed->run.vm, seed)))
		return false;
	run = bed->run;
	run.ready = true;
	run.s = s;
	run.r = result;
	run.err = err;
	ok = load_program(&run) && play(&run, err);
	run_free_program(&run);
	return ok;
}
