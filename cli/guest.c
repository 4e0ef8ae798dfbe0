/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads what a guest image asks for, wraps and binds its modules, and loads all of it. */
#include "cli/guest.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/corpus.h"
#include "cli/options.h"
#include "lib/elf.h"

#define MAX_SPEC_BYTES 65536u
#define MAX_LINE 400u
#define MAX_MODULE_BYTES (64u << 20)
#define DEFAULT_CHAINS 64u
#define DEFAULT_SECRET 0x0d00be11u

/* Where a parser stands: the line's words and its place in the file. */
struct line {
	const char *path;
	uint64_t offset;
	char text[MAX_LINE];
	char *rest;
};

static bool bad_line(const struct line *l, struct error *err, const char *what, const char *word)
{
	return error_set(err, "%s: offset 0x%llx: section .guardhouse: %s '%s'", l->path,
			 (unsigned long long)l->offset, what, word);
}

static char *next_word(struct line *l)
{
	return strtok_r(NULL, " \t", &l->rest);
}

static bool choose(const char *value, const char *const names[], uint8_t *choice)
{
	for (uint8_t i = 0; names[i]; i++) {
		if (!strcmp(value, names[i])) {
			*choice = i;
			return true;
		}
	}
	return false;
}

static bool module_option(struct guest_module *m, const char *key, const char *value)
{
	static const char *const stack[] = { "returns", "exact", "none", NULL };
	static const char *const registers[] = { "verify", "scrub", NULL };
	static const char *const mapping[] = { "checked", "locked", NULL };
	static const char *const refusal[] = { "gp", "quarantine", "stop", NULL };
	static const char *const no_yes[] = { "no", "yes", NULL };
	uint8_t yes;
	uint64_t n;

	if (!strcmp(key, "stack"))
		return choose(value, stack, &m->policy.stack);
	if (!strcmp(key, "registers"))
		return choose(value, registers, &m->policy.registers);
	if (!strcmp(key, "mapping"))
		return choose(value, mapping, &m->policy.mapping);
	if (!strcmp(key, "refusal"))
		return choose(value, refusal, &m->policy.refusal);
	if (!strcmp(key, "chains") && option_number(value, GUARD_MAX_CHAINS, &n) && n) {
		m->policy.chains = (uint32_t)n;
		return true;
	}
	if (!strcmp(key, "device") && !strcmp(value, "doorbell")) {
		m->device = true;
		return true;
	}
	if (!strcmp(key, "file") && *value && strlen(value) < sizeof(m->file)) {
		memcpy(m->file, value, strlen(value) + 1);
		return true;
	}
	if (!choose(value, no_yes, &yes))
		return false;
	if (!strcmp(key, "mwait"))
		m->mwait = yes;
	else if (!strcmp(key, "bind"))
		m->bind = yes;
	else if (!strcmp(key, "grant"))
		m->grant = yes;
	else if (!strcmp(key, "announce"))
		m->announce = yes;
	else
		return false;
	return true;
}

static bool module_line(struct line *l, struct guest_spec *spec, struct error *err)
{
	struct guest_module *m = &spec->module[spec->modules];
	char *word = next_word(l), *value;

	if (spec->modules == GH_MAX_MODULES)
		return bad_line(l, err, "one module too many:", word ? word : "");
	if (!word || strlen(word) >= sizeof(m->name))
		return bad_line(l, err, "module name missing or too long:", word ? word : "");
	memset(m, 0, sizeof(*m));
	memcpy(m->name, word, strlen(word) + 1);
	snprintf(m->file, sizeof(m->file), "%s.ko", word);
	m->bind = m->grant = m->announce = true;
	m->policy.chains = DEFAULT_CHAINS;
	for (word = next_word(l); word; word = next_word(l)) {
		value = strchr(word, '=');
		if (!value)
			return bad_line(l, err, "expected key=value, got", word);
		*value++ = '\0';
		if (!module_option(m, word, value)) {
			value[-1] = '=';
			return bad_line(l, err, "no such option or value:", word);
		}
	}
	if (m->device && !spec->doorbell) {
		spec->doorbell = true;
		spec->doorbell_secret = DEFAULT_SECRET;
	}
	spec->modules++;
	return true;
}

static bool parse_line(struct line *l, struct guest_spec *spec, struct error *err)
{
	char *word = strtok_r(l->text, " \t", &l->rest), *value;
	uint64_t n;

	if (!word || word[0] == '#')
		return true;
	if (!strcmp(word, "module"))
		return module_line(l, spec, err);
	value = next_word(l);
	if (!value || next_word(l))
		return bad_line(l, err, "expected one value after", word);
	if (!strcmp(word, "vcpus") && option_number(value, GH_MAX_VCPUS, &n) && n) {
		spec->vcpus = (unsigned)n;
	} else if (!strcmp(word, "budget") && option_number(value, UINT64_MAX, &n) && n) {
		spec->budget = n;
	} else if (!strcmp(word, "doorbell") && option_number(value, UINT32_MAX, &n)) {
		spec->doorbell = true;
		spec->doorbell_secret = (uint32_t)n;
	} else {
		return bad_line(l, err, "no such line, or a bad value:", word);
	}
	return true;
}

/* Section s of the file, line by line. */
static bool read_spec(const struct elfile *e, uint32_t s, struct guest_spec *spec,
		      struct error *err)
{
	const char *text = (const char *)elfile_contents(e, s);
	Elf64_Shdr sh;

	elfile_section(e, s, &sh);
	if (!text || sh.sh_size > MAX_SPEC_BYTES)
		return elfile_bad(e, elfile_section_at(e, s), err,
				  "section .guardhouse must have contents of at most %u bytes",
				  MAX_SPEC_BYTES);
	for (uint64_t at = 0; at < sh.sh_size;) {
		const char *start = text + at, *end = memchr(start, '\n', sh.sh_size - at);
		size_t len = end ? (size_t)(end - start) : sh.sh_size - at;
		struct line l = { .path = e->path, .offset = sh.sh_offset + at };

		if (len >= sizeof(l.text) || memchr(start, '\0', len))
			return elfile_bad(e, l.offset, err,
					  "section .guardhouse: a line of %zu bytes, or not text",
					  len);
		memcpy(l.text, start, len);
		if (!parse_line(&l, spec, err))
			return false;
		at += len + 1;
	}
	return true;
}

bool guest_spec_read(const char *path, const struct blob *file, struct guest_spec *spec,
		     struct error *err)
{
	struct elfile e;
	bool ok = true; /* a guest without modules need not say anything */

	memset(spec, 0, sizeof(*spec));
	if (!elfile_open(&e, path, file, ET_EXEC, err))
		return false;
	for (uint32_t s = 1; s < e.nsections; s++) {
		if (strcmp(elfile_section_name(&e, s), ".guardhouse") != 0)
			continue;
		ok = read_spec(&e, s, spec, err);
		break;
	}
	elfile_close(&e);
	return ok;
}

/*
 * Beside the guest, in the modules' folder next to that, or in the corpus. Those that stay as they
 * are have a folder of their own, since they were compiled for it.
 */
static bool find_module(const char *guest, const char *file, bool views, char path[CORPUS_PATH],
			struct error *err)
{
	const char *folder = views ? "views" : "modules";
	char copy[CORPUS_PATH], rel[CORPUS_PATH];
	const char *dir;

	snprintf(copy, sizeof(copy), "%s", guest);
	dir = dirname(copy);
	if (snprintf(path, CORPUS_PATH, "%s/%s", dir, file) < CORPUS_PATH && !access(path, R_OK))
		return true;
	if (snprintf(path, CORPUS_PATH, "%s/../%s/%s", dir, folder, file) < CORPUS_PATH &&
	    !access(path, R_OK))
		return true;
	snprintf(rel, sizeof(rel), "%s/%s", folder, file);
	if (corpus_find(rel, path, NULL))
		return true;
	return error_set(err, "offset 0x0: module %s is neither beside the guest nor in the corpus",
			 file);
}

static bool wrap_one(const struct guest_module *m, const char *guest, enum gm_x_kind x, bool views,
		     struct wrap_result *out, struct error *err)
{
	struct wrap_privilege asks[2];
	struct wrap_options opt = { .name = m->name, .x = x, .views = views, .privileges = asks };
	char path[CORPUS_PATH];
	struct blob ko;
	bool ok;

	if (m->device)
		asks[opt.privilege_count++] =
			(struct wrap_privilege){ .kind = GM_PRIV_DEVICE, .name = "doorbell" };
	if (m->mwait)
		asks[opt.privilege_count++] =
			(struct wrap_privilege){ .kind = GM_PRIV_MWAIT, .name = "mwait" };
	if (!find_module(guest, m->file, views, path, err) ||
	    !blob_read(&ko, path, MAX_MODULE_BYTES, err))
		return false;
	ok = wrap_module(&opt, path, &ko, out, err);
	blob_free(&ko);
	return ok;
}

/* All that the manifest asks for; the doorbell's registers for a device. */
static void bind_all(struct guard_binding *b, const struct guest_module *m,
		     const struct blob *manifest)
{
	const struct gm_header *h = (const struct gm_header *)(const void *)manifest->data;
	const struct gm_privilege *p = (const void *)(manifest->data + h->privileges.offset);

	memset(b, 0, sizeof(*b));
	manifest_digest(manifest, b->digest);
	b->policy = m->policy;
	for (uint32_t i = 0; i < h->privileges.count && i < GM_MAX_PRIVILEGES; i++) {
		b->bound |= 1ull << i;
		if (p[i].kind == GM_PRIV_DEVICE) {
			b->resource[i].base = GH_DEVICE_GPA;
			b->resource[i].length = GH_DOORBELL_SIZE;
		}
	}
}

static bool load_one(struct guest *g, unsigned n, const char *path, enum gm_x_kind x,
		     struct error *err)
{
	const struct guest_module *m = &g->spec.module[n];
	struct vm_module_source src = { .name = m->name };
	unsigned *index = &g->index[n];

	if (!wrap_one(m, path, x, g->views, &g->wrapped[n], err))
		return error_within(err, path);
	bind_all(&g->binding[n], m, &g->wrapped[n].manifest);
	src.ko = g->wrapped[n].ko;
	src.manifest = g->wrapped[n].manifest;
	src.binding = m->bind ? &g->binding[n] : NULL;
	if (!vm_load_module(g->vm, &src, m->announce, NULL, NULL, index, err))
		return error_within(err, path);
	/* The VM grants what is bound. */
	for (unsigned v = 0; m->bind && !m->grant && v < g->vcpus; v++)
		if (!vm_grant(g->vm, v, *index, g->binding[n].bound, false))
			return error_set(err, "%s: privileges of %s could not be withheld", path,
					 m->name);
	return true;
}

/* What a guest may ask of its host: RAX is the service, then the result (0: done). */
static bool serve(void *ctx, struct vm *vm, unsigned vcpu)
{
	struct guest *g = ctx;
	struct guard_cpu cpu;
	uint64_t n;

	vm_get_cpu(vm, vcpu, &cpu);
	n = cpu.gpr[GUARD_RBX];
	if (cpu.gpr[GUARD_RAX] != GH_HOST_RELOAD)
		return false; /* no such service: the run ends */
	cpu.gpr[GUARD_RAX] = n >= g->spec.modules ||
			     !vm_reload_module(vm, g->index[n], false, NULL, NULL, NULL);
	vm_set_cpu(vm, vcpu, &cpu);
	return true;
}

bool guest_build(struct guest *g, const char *path, const struct blob *elf,
		 const struct vm_config *config, struct error *err)
{
	struct vm_config cfg = *config;

	if (!guest_spec_read(path, elf, &g->spec, err))
		return false;
	if (!cfg.vcpus)
		cfg.vcpus = g->spec.vcpus ? g->spec.vcpus : 1;
	if (!cfg.budget)
		cfg.budget = g->spec.budget;
	g->vcpus = cfg.vcpus;
	g->vm = vm_create(&cfg, err);
	if (!g->vm)
		return false;
	vm_on_host_port(g->vm, serve, g);
	if (g->spec.doorbell && !vm_add_doorbell(g->vm, g->spec.doorbell_secret, err))
		return false;
	if (!vm_load_guest(g->vm, path, elf, err))
		return false;
	for (unsigned n = 0; n < g->spec.modules; n++)
		if (!load_one(g, n, path, (enum gm_x_kind)cfg.x_kind, err))
			return false;
	return true;
}

void guest_free(struct guest *g)
{
	if (g->vm)
		vm_destroy(g->vm);
	for (unsigned n = 0; n < GH_MAX_MODULES; n++)
		wrap_result_free(&g->wrapped[n]);
	memset(g, 0, sizeof(*g));
}
