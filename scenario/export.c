/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A scenario as a C file: the puppet's program, compiled, with a comment for each step. Together with
 * the puppet's sources it is a guest like any other (docs/fuzzing.md, "A find"). Addresses are compiled as
 * for a run; each that lies in a module, in the puppet or in the boot page is then written as what it
 * means, since the guest's own loader may place things elsewhere.
 *
 * What only the host can do has no place in a guest: acts of the administrator, and bindings that no line
 * of a guest's can ask for. Both are refused.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "corpus/puppet/own.h"
#include "scenario/run.h"

struct exporter {
	struct run *run;
	FILE *f;
	struct gh_boot boot;
	uint64_t shared; /* address of the puppet's memory for data imports */
	uint64_t image_end;
	char (*extern_name)[SCN_MAX_WORD];
	unsigned externs;
	struct puppet_patch *patch;
	unsigned patches;
};

static bool refuse(const struct run *run, uint32_t line, const char *what, const char *why)
{
	return error_set(run->err, "%s:%u: cannot be exported: %s: %s", run->s->name, line, what,
			 why);
}

static bool exportable(const struct run *run)
{
	const struct scenario *s = run->s;

	for (unsigned i = 0; i < s->nmodules; i++) {
		const struct scn_module *m = &s->module[i];
		const char *name = scn_word(s, m->word);

		if (m->wanted & (1u << GM_PRIV_IOPORT | 1u << GM_PRIV_MSR) || m->required ||
		    m->config_last || (m->bound & SCN_KINDS) != SCN_KINDS ||
		    (m->granted && (m->granted & SCN_KINDS) != SCN_KINDS))
			return refuse(run, m->line, name,
				      "a guest cannot ask for ports, MSRs, configuration space, or "
				      "a part of its privileges");
	}
	if (s->ram_mib > 64)
		return refuse(run, 1, "ram", "a guest has 64 MiB");
	for (unsigned i = 0; i < s->nsteps; i++) {
		const struct scn_step *st = &s->step[i];

		switch (st->op) {
		case PP_GRANT:
		case PP_WITHHOLD:
		case PP_UNREGISTER:
		case PP_RESET:
		case PP_REGISTER:
		case PP_FAIL_NEXT:
		case PP_RELOAD:
			return refuse(run, st->line, scn_ops[st->op].word,
				      "the administrator or the loader does that, not the guest");
		case PP_STOPS:
			return refuse(run, st->line, scn_ops[st->op].word,
				      "only the host sees that a vCPU is off");
		default: break;
		}
	}
	return true;
}

/* ---- words ---- */

static bool note(struct exporter *e, size_t word, uint8_t kind, unsigned module, unsigned segment)
{
	struct puppet_patch *grown = realloc(e->patch, (e->patches + 1) * sizeof(*grown));

	if (!grown)
		return error_set(e->run->err, "%s: out of memory", e->run->s->name);
	e->patch = grown;
	e->patch[e->patches++] =
		(struct puppet_patch){ (uint32_t)word, kind, (uint8_t)module, (uint8_t)segment };
	return true;
}

static bool in_module(struct exporter *e, size_t word, uint64_t v, uint64_t *rest, bool *found)
{
	*found = true;
	for (unsigned m = 0; m < e->run->s->nmodules; m++) {
		const struct gh_boot_module *b = &e->boot.module[m];
		const struct gm_header *h = vm_module_manifest(e->run->vm, e->run->index[m]);
		const struct gm_segment *seg =
			h ? (const void *)((const uint8_t *)h + h->segments.offset) : NULL;
		uint64_t table = e->run->boot + offsetof(struct gh_boot, module) + m * sizeof(*b) +
				 offsetof(struct gh_boot_module, base);

		if (v == b->id) {
			*rest = 0;
			return note(e, word, OWN_ID, m, 0);
		}
		if (v - table < sizeof(b->base)) {
			*rest = v - table;
			return note(e, word, OWN_TABLE, m, 0);
		}
		for (unsigned i = 0; seg && i < h->segments.count; i++) {
			*rest = v - b->base[i];
			if (*rest < ((uint64_t)seg[i].size + 4095) / 4096 * 4096)
				return note(e, word, OWN_SEGMENT, m, i);
		}
	}
	*found = false;
	return true;
}

/* A place in the puppet as C: SYMBOL + OFFSET. */
static bool in_puppet(struct exporter *e, const struct scn_step *st, uint64_t v, char text[160])
{
	struct run *run = e->run;
	char name[128], *plus;
	uint64_t imports = 0;

	vm_symbol_address(run->vm, "puppet_imports", &imports);
	for (unsigned i = 0; i < run->nimports; i++)
		if (v == imports + (uint64_t)PP_IMPORT_STRIDE * i) {
			snprintf(text, 160, "(uint64_t)%s", run->import[i]);
			return true;
		}
	for (unsigned i = 0; i < run->nshared; i++)
		if (v - e->shared - 64ull * i < 64) {
			snprintf(text, 160, "(uint64_t)%s + %u", run->shared[i],
				 (unsigned)((v - e->shared) % 64));
			return true;
		}
	vm_symbolize(run->vm, v, name, sizeof(name));
	if (name[0] == '?') {
		snprintf(text, 160, "0x%" PRIx64, v);
		return true;
	}
	plus = strchr(name, '+');
	if (strncmp(name, "puppet_", 7) != 0 || !plus)
		return refuse(run, st->line, name, "an address without a name of its own");
	*plus++ = '\0';
	for (unsigned i = 0; i < e->externs; i++)
		if (!strcmp(e->extern_name[i], name))
			goto known;
	e->extern_name = realloc(e->extern_name, (e->externs + 1) * sizeof(*e->extern_name));
	if (!e->extern_name)
		return error_set(run->err, "%s: out of memory", run->s->name);
	snprintf(e->extern_name[e->externs++], SCN_MAX_WORD, "%.90s", name);
known:
	snprintf(text, 160, "(uint64_t)%s + %s", name, plus);
	return true;
}

/* The first word of an operand. */
static bool put_value(struct exporter *e, const struct scn_step *st, size_t word, uint64_t v)
{
	char text[160];
	uint64_t rest;
	bool found;

	if (!in_module(e, word, v, &rest, &found))
		return false;
	if (found) {
		fprintf(e->f, " 0x%" PRIx64 ",", rest);
	} else if (e->boot.device && v - e->boot.device < e->boot.device_size) {
		fprintf(e->f, " 0x%" PRIx64 ",", v - e->boot.device);
		return note(e, word, OWN_DEVICE, 0, 0);
	} else if (v >= GH_KERNEL_BASE && v < e->image_end) {
		if (!in_puppet(e, st, v, text))
			return false;
		fprintf(e->f, " %s,", text);
	} else {
		fprintf(e->f, " 0x%" PRIx64 ",", v);
	}
	return true;
}

/* Text of the scenario's, in a comment that it must not end. */
static void put_comment(FILE *f, const char *text)
{
	for (; *text; text++) {
		fputc(*text, f);
		if (text[0] == '*' && text[1] == '/')
			fputc(' ', f);
	}
}

static bool put_step(struct exporter *e, const struct scn_step *st)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return error_set(e->run->err, "%s: out of memory", e->run->s->name);
	scn_print_step(f, e->run->s, st);
	if (!fclose(f))
		put_comment(e->f, text);
	free(text);
	return true;
}

static bool put_program(struct exporter *e)
{
	struct run *run = e->run;
	const uint8_t *p = run->program.data;
	size_t at = sizeof(struct pp_program);
	struct pp_program head;
	uint64_t w;

	_Static_assert(sizeof(struct pp_program) % 8 == 0 && sizeof(struct pp_step) == 16 &&
			       sizeof(struct pp_operand) == 16,
		       "a program is words");
	memcpy(&head, p, sizeof(head));
	head.company = head.vcpus;
	fprintf(e->f, "static uint64_t program[%u] = {\n\t/* header */\n\t", head.size / 8);
	for (size_t i = 0; i < sizeof(head); i += 8) {
		memcpy(&w, (uint8_t *)&head + i, 8);
		fprintf(e->f, "0x%" PRIx64 ",%s", w, i + 8 < sizeof(head) ? " " : "\n");
	}
	for (unsigned n = 0; n < run->norigin; n++) {
		const struct scn_step *st = &run->s->step[run->origin[n].step];
		struct pp_step step;

		memcpy(&step, p + at, sizeof(step));
		step.check = 0; /* nobody listens */
		if (!n || run->origin[n - 1].step != run->origin[n].step) {
			fprintf(e->f, "\t/* thread %u: ", st->thread);
			if (!put_step(e, st))
				return false;
			fputs(" */\n", e->f);
		}
		fputc('\t', e->f);
		for (size_t i = 0; i < sizeof(step); i += 8) {
			memcpy(&w, (uint8_t *)&step + i, 8);
			fprintf(e->f, "%s0x%" PRIx64 ",", i ? " " : "", w);
		}
		for (size_t i = sizeof(step); i < step.size; i += sizeof(struct pp_operand)) {
			memcpy(&w, p + at + i, 8);
			if (!put_value(e, st, (at + i) / 8, w))
				return false;
			memcpy(&w, p + at + i + 8, 8);
			fprintf(e->f, " 0x%" PRIx64 ",", w);
		}
		fputc('\n', e->f);
		at += step.size;
	}
	fputs("};\n\n", e->f);
	return true;
}

/* ---- the rest of the file ---- */

static void put_lines(struct exporter *e)
{
	const struct scenario *s = e->run->s;
	bool device = false;

	fprintf(e->f, "PUPPET_GUARDHOUSE(\"vcpus %u\");\n", s->vcpus);
	for (unsigned i = 0; i < s->nmodules; i++) {
		const struct scn_module *m = &s->module[i];

		fprintf(e->f, "PUPPET_GUARDHOUSE(\"module %s chains=%u", scn_word(s, m->word),
			m->chains);
		for (unsigned k = 0; k < 4; k++)
			fprintf(e->f, " %s=%s", scn_policies[k].word,
				scn_policies[k]
					.value[*((const uint8_t *)m + scn_policies[k].offset)]);
		if (m->wanted >> GM_PRIV_DEVICE & 1)
			fputs(" device=doorbell", e->f);
		if (m->wanted >> GM_PRIV_MWAIT & 1)
			fputs(" mwait=yes", e->f);
		fprintf(e->f, "%s%s%s\");\n", m->flags & SCN_UNBOUND ? " bind=no" : "",
			m->granted ? "" : " grant=no",
			m->flags & SCN_UNANNOUNCED ? " announce=no" : "");
		device |= m->wanted >> GM_PRIV_DEVICE & 1;
	}
	if (device)
		fprintf(e->f, "PUPPET_GUARDHOUSE(\"doorbell 0x%x\");\n", RUN_DOORBELL_SECRET);
}

static void put_head(struct exporter *e, FILE *f)
{
	const struct run *run = e->run;

	fprintf(f, "/* SPDX-License-Identifier: GPL-2.0-only */\n/*\n * ");
	put_comment(f, run->s->id);
	fputs(": ", f);
	put_comment(f, run->s->title);
	fprintf(f,
		".\n *\n"
		" * Made by guardhouse export --c. To build, with the puppet's sources, and to run it:\n"
		" *   make exported C=THIS.c ELF=GUEST.elf && build/release/guardhouse run GUEST.elf --trace\n"
		" * Exit status 1: a value or an event was not what the scenario expects inside the guest.\n"
		" * What it expects of verdicts only the verdict log can tell.\n */\n"
		"#include \"corpus/puppet/own.h\"\n\n");
	for (unsigned i = 0; i < e->externs; i++)
		fprintf(f, "extern char %s[];\n", e->extern_name[i]);
	for (unsigned i = 0; i < run->nimports; i++)
		fprintf(f, "extern char %s[];\nPUPPET_IMPORT(%s, %u);\n", run->import[i],
			run->import[i], PP_IMPORT_STRIDE * i);
	for (unsigned i = 0; i < run->nshared; i++)
		fprintf(f, "uint64_t %s[8];\n", run->shared[i]);
}

static void put_tail(struct exporter *e, FILE *f)
{
	static const char *const kinds[] = { "OWN_SEGMENT", "OWN_ID", "OWN_TABLE", "OWN_DEVICE" };

	fputs("static const struct puppet_patch patches[] = {\n", f);
	for (unsigned i = 0; i < e->patches; i++)
		fprintf(f, "\t{ %u, %s, %u, %u },\n", e->patch[i].word, kinds[e->patch[i].kind],
			e->patch[i].module, e->patch[i].segment);
	fprintf(f,
		"\t{ 0, 0, 0, 0 },\n};\n\n"
		"const struct puppet_own puppet_own = { program, patches, %u };\n",
		e->patches);
}

static bool put_all(struct exporter *e, FILE *f, char **body, size_t *size)
{
	struct run *run = e->run;

	if (!vm_read_u(run->vm, 0, run->boot, &e->boot, sizeof(e->boot)) ||
	    !vm_symbol_address(run->vm, "puppet_shared", &e->shared))
		return error_set(run->err, "%s: the puppet is not as expected", run->s->name);
	e->image_end = GH_KERNEL_BASE + e->boot.image_end;
	e->f = open_memstream(body, size);
	if (!e->f)
		return error_set(run->err, "%s: out of memory", run->s->name);
	put_lines(e);
	fputc('\n', e->f);
	if (!put_program(e)) {
		fclose(e->f);
		return false;
	}
	if (fclose(e->f))
		return error_set(run->err, "%s: out of memory", run->s->name);
	put_head(e, f);
	fputs(*body, f);
	put_tail(e, f);
	return true;
}

bool scenario_export(const struct scenario *s, const struct scenario_options *opt, FILE *f,
		     struct error *err)
{
	struct loaded loaded[SCN_MAX_MODULES];
	struct scenario_result *result = calloc(1, sizeof(*result));
	struct run run = { .s = s, .opt = opt, .r = result, .err = err, .loaded = loaded };
	struct exporter e = { .run = &run };
	char *body = NULL;
	size_t size = 0;
	bool ok;

	memset(loaded, 0, sizeof(loaded));
	run.vcpus = s->vcpus;
	ok = result || error_set(err, "%s: out of memory", s->name);
	ok = ok && exportable(&run) && run_create(&run) && run_compile(&run) &&
	     put_all(&e, f, &body, &size);
	run_end(&run);
	run_free_program(&run);
	free(body);
	free(e.patch);
	free(e.extern_name);
	free(result);
	return ok;
}
