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
#define DOORBELL_SECRET 0x5ec2e7d0u

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

static bool set_up(struct run *run, struct loaded *loaded)
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
	if (!ok || (device && !vm_add_doorbell(run->vm, DOORBELL_SECRET, run->err)) ||
	    !load_modules(run, loaded))
		return false;
	vm_get_cpu(run->vm, 0, &cpu);
	run->boot = cpu.gpr[GUARD_RDI];
	if (!run_compile(run))
		return false;
	{
		struct pp_program head;
		struct blob whole = { 0 };

		memcpy(&head, run->program.data, sizeof(head));
		whole.data = calloc(1, head.size);
		if (!whole.data)
			return error_set(run->err, "%s: out of memory", run->s->name);
		memcpy(whole.data, run->program.data, run->program.size);
		ok = vm_set_mailbox(run->vm, whole.data, head.size, run->err);
		free(whole.data);
	}
	if (!ok)
		return false;
	if (!vm_read_u(run->vm, 0, run->boot + offsetof(struct gh_boot, mailbox), &run->mailbox, 8))
		return error_set(run->err, "%s: the boot page cannot be read", run->s->name);
	return true;
}

bool scenario_run(const struct scenario *s, const struct scenario_options *opt,
		  struct scenario_result *result, struct error *err)
{
	struct vm_config cfg = {
		.engine = opt->engine,
		.ram_size = (uint64_t)s->ram_mib << 20,
		.seed = opt->seed,
		.budget = opt->budget ? opt->budget : DEFAULT_BUDGET,
		.x_kind = opt->x,
		.trace = opt->trace,
		.oracle = opt->oracle,
	};
	struct loaded loaded[SCN_MAX_MODULES];
	struct run run = { .s = s, .opt = opt, .r = result, .err = err };
	struct vm_exit exit;
	bool ok = false;

	memset(loaded, 0, sizeof(loaded));
	memset(result, 0, sizeof(*result));
	run.loaded = loaded;
	_Static_assert(SCENARIO_MAX_VCPUS == PP_MAX_VCPUS, "the puppet has a stack for each");
	if (opt->vcpus > SCENARIO_MAX_VCPUS)
		return error_set(err, "%s: a scenario has at most %u vCPUs", s->name,
				 SCENARIO_MAX_VCPUS);
	cfg.vcpus = run.vcpus = opt->vcpus > s->vcpus ? opt->vcpus : s->vcpus;
	run.vm = vm_create(&cfg, err);
	if (!run.vm)
		return false;
	if (set_up(&run, loaded)) {
		for (unsigned v = 0; v < PP_MAX_VCPUS; v++)
			run.cursor[v] = vm_log_count(run.vm);
		run.err = NULL;
		run.first_line = vm_log_count(run.vm);
		vm_strike(run.vm, opt->strike, GH_STRIKE_VECTOR);
		vm_on_host_port(run.vm, run_on_port, &run);
		vm_run(run.vm, &exit);
		if (vm_oracle_failure(run.vm))
			snprintf(result->oracle, sizeof(result->oracle), "%s",
				 vm_oracle_failure(run.vm));
		run_finish(&run, &exit);
		ok = (!opt->log || vm_log_write(run.vm, opt->log, err)) &&
		     (!opt->copy || log_copy_take(opt->copy, run.vm, err));
	}
	vm_destroy(run.vm);
	for (unsigned i = 0; i < SCN_MAX_MODULES; i++) {
		blob_free(&loaded[i].object);
		wrap_result_free(&loaded[i].wrapped);
	}
	free(run.program.data);
	free(run.origin);
	return ok;
}
