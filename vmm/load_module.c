/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The course of an insmod in a guest, played by the host: register (the administrator), place and
 * relocate (the guest's kernel), announce (the guest's loader, as vCPU 0).
 *
 * Registration comes first: it validates the manifest, and everything after relies on that.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/module_place.h"

/* Bounded work per call of the core; a module beyond this many calls is a bug, not a big one. */
#define MAX_ANNOUNCE_CALLS 1000000u

void vm_module_free(struct vm_module *m)
{
	if (!m)
		return;
	if (m->copy)
		munmap(m->copy, (size_t)m->pages * VM_PAGE);
	blob_free(&m->ko);
	blob_free(&m->manifest);
	vm_symbols_free(&m->symbols);
	free(m->work);
	free(m->frame);
	free(m->dirty);
	free(m);
}

static bool copy_blob(struct blob *to, const struct blob *from)
{
	to->data = calloc(1, from->size ? from->size : 1);
	if (!to->data)
		return false;
	if (from->size)
		memcpy(to->data, from->data, from->size);
	to->size = from->size;
	return true;
}

static struct vm_module *module_new(const struct vm_module_source *src, struct error *err)
{
	struct vm_module *m = calloc(1, sizeof(*m));
	uint8_t digest[crypto_hash_sha256_BYTES];

	if (!m || !copy_blob(&m->ko, &src->ko) || !copy_blob(&m->manifest, &src->manifest)) {
		error_set(err, "%s: out of memory", src->name ? src->name : "module");
		vm_module_free(m);
		return NULL;
	}
	m->index = GUARD_VIEW_U;
	crypto_hash_sha256(digest, m->manifest.data, m->manifest.size);
	memcpy(&m->id, digest, sizeof(m->id));
	if (src->binding)
		m->binding = *src->binding;
	return m;
}

/* REGISTER. Afterwards the manifest is valid, whether a binding was there or not. */
static bool register_module(struct vm *vm, struct vm_module *m, const char *name, bool bound,
			    struct guard_decision *d, struct error *err)
{
	enum guard_verdict v;
	unsigned index = GUARD_VIEW_U;
	size_t work_len = 0;

	/* 0 if manifest or policy is out of bounds; then registering refuses it. */
	if (bound)
		work_len = guard_work_size(m->manifest.data, m->manifest.size, &m->binding.policy);
	if (work_len) {
		m->work = aligned_alloc(64, (work_len + 63) & ~(size_t)63);
		if (!m->work)
			return error_set(err, "%s: out of memory", name);
	}
	vm_watch_admin(vm);
	v = guard_register(vm->guard, m->manifest.data, m->manifest.size,
			   bound ? &m->binding : NULL, m->work, work_len, &index, d);
	vm_watch_register(vm, &m->manifest, bound ? &m->binding : NULL, v, index);
	if (v == GUARD_V_OK) {
		m->index = index;
		return true;
	}
	if (v == GUARD_V_NOT_BOUND && !bound)
		return true;
	vm_record(vm, 0, d);
	return error_set(err, "%s: offset 0x0: REGISTER refused: %s", name,
			 guard_verdict_string(v));
}

/* The names table must end in 0, so that each offset in it is a C string: the core reads none. */
static bool check_names(const struct vm_module *m, const char *name, struct error *err)
{
	const struct gm_table *t = &vm_manifest(m)->names;

	if (t->count && m->manifest.data[t->offset + t->count - 1])
		return error_set(err, "%s: manifest offset 0x%x: names do not end in a 0 byte",
				 name, t->offset + t->count - 1);
	return true;
}

static bool module_memory(struct vm_module *m, const char *name, struct error *err)
{
	uint32_t n = vm_manifest(m)->segments.count;
	const struct gm_segment *last;
	void *p;

	if (!n)
		return error_set(err, "%s: offset 0x0: a manifest without segments", name);
	last = &vm_segments(m)[n - 1];
	m->pages = last->start / VM_PAGE + (uint32_t)((last->size + VM_PAGE - 1) / VM_PAGE);
	p = mmap(NULL, (size_t)m->pages * VM_PAGE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	m->copy = p == MAP_FAILED ? NULL : p;
	m->frame = calloc(m->pages, sizeof(*m->frame));
	m->dirty = calloc((m->pages + 63) / 64, sizeof(*m->dirty));
	if (!m->copy || !m->frame || !m->dirty)
		return error_set(err, "%s: out of memory for %u pages", name, m->pages);
	return true;
}

static void set_name(struct vm_module *m, const char *name)
{
	size_t i;

	if (!name || !*name)
		name = vm_manifest_name(m, vm_manifest(m)->name);
	for (i = 0; name[i] && i < sizeof(m->name) - 1; i++)
		m->name[i] = name[i] > ' ' && name[i] < 0x7f && name[i] != ':' ? name[i] : '_';
	m->name[i] = 0;
	if (!i)
		strcpy(m->name, "module");
}

/* The kernel's part: memory, contents, relocations, patches, names. */
static bool place_module(struct vm *vm, struct vm_module *m, vm_resolve_fn resolve, void *ctx,
			 struct error *err)
{
	struct placing p = { .vm = vm, .m = m, .err = err, .resolve = resolve, .ctx = ctx };
	bool ok = false;

	if (!elfile_open(&p.elf, m->name, &m->ko, ET_REL, err))
		return false;
	p.section = calloc(p.elf.nsections + 1, sizeof(*p.section));
	p.import = calloc((size_t)p.elf.nsymbols + 1, sizeof(*p.import));
	if (!p.section || !p.import)
		error_set(err, "%s: out of memory", m->name);
	else
		ok = module_layout(&p) && module_map(&p) && module_fill(&p) &&
		     module_relocate(&p) && module_patch_sites(&p) && module_names(&p);
	free(p.section);
	free(p.import);
	elfile_close(&p.elf);
	if (ok)
		memcpy(m->base, p.base, sizeof(m->base));
	return ok;
}

/* ANNOUNCE as code of the guest on vCPU 0 at CPL 0 would: the table is in the boot page. */
static bool announce(struct vm *vm, const struct vm_module *m, unsigned slot, struct error *err)
{
	struct guard_event ev = { .type = GUARD_EV_X, .vcpu = 0, .cause = GUARD_CAUSE_X };
	struct guard_decision d;
	struct engine_sys sys;
	uint64_t result;
	unsigned calls = 0;

	if (vm->vcpu[0].view != GUARD_VIEW_U)
		return error_set(err, "%s: ANNOUNCE while vCPU 0 is inside a module", m->name);
	vm_boot_state(vm, 0, &ev.cpu, &sys);
	ev.cpu.gpr[GUARD_RBX] = m->id;
	ev.cpu.gpr[GUARD_RCX] = vm_direct(vm->boot_gpa) + offsetof(struct gh_boot, module) +
				slot * sizeof(struct gh_boot_module) +
				offsetof(struct gh_boot_module, base);
	ev.cpu.gpr[GUARD_RDX] = vm_manifest(m)->segments.count;
	do {
		ev.cpu.gpr[GUARD_RAX] = GUARD_CALL_ANNOUNCE;
		vm_judge(vm, &ev, &d);
		result = d.foreign || d.inject_gp ? (uint64_t)d.verdict : d.cpu.gpr[GUARD_RAX];
	} while (result == GUARD_V_AGAIN && ++calls < MAX_ANNOUNCE_CALLS);
	if (result != GUARD_V_OK)
		return error_set(err, "%s: ANNOUNCE refused: %s", m->name,
				 guard_verdict_string((enum guard_verdict)result));
	return true;
}

static void grant_all(struct vm *vm, const struct vm_module *m)
{
	unsigned v;

	if (!m->binding.bound)
		return;
	for (v = 0; v < vm->cfg.vcpus; v++)
		vm_grant(vm, v, m->index, m->binding.bound, true);
}

static bool load_steps(struct vm *vm, struct vm_module *m, const struct vm_module_source *src,
		       bool do_announce, vm_resolve_fn resolve, void *ctx, struct error *err)
{
	const char *name = src->name ? src->name : "module";
	struct guard_decision d;

	if (!register_module(vm, m, name, src->binding != NULL, &d, err))
		return false;
	if (m->index < GUARD_MAX_MODULES)
		vm->module[m->index] = m;
	if (!check_names(m, name, err) || !vm_ports_check(m, name, err) ||
	    !module_memory(m, name, err))
		return false;
	set_name(m, src->name);
	vm_record(vm, 0, &d);
	if (m->index < GUARD_MAX_MODULES)
		vm_watch_registered(vm, m);
	if (!place_module(vm, m, resolve, ctx, err))
		return false;
	vm->loaded[vm->nloaded++] = m;
	vm_boot_update(vm);
	if (m->index >= GUARD_MAX_MODULES)
		return true;
	grant_all(vm, m);
	return !do_announce || announce(vm, m, vm->nloaded - 1, err);
}

bool vm_load_module(struct vm *vm, const struct vm_module_source *src, bool do_announce,
		    vm_resolve_fn resolve, void *ctx, unsigned *index, struct error *err)
{
	struct vm_module *m;
	struct guard_decision d;

	if (vm->nloaded == GH_MAX_MODULES)
		return error_set(err, "%s: more than %u modules", src->name ? src->name : "module",
				 GH_MAX_MODULES);
	m = module_new(src, err);
	if (!m)
		return false;
	if (load_steps(vm, m, src, do_announce, resolve, ctx, err)) {
		*index = m->index;
		return true;
	}
	/* What has become visible stays, as after an insmod that failed late; else it never was. */
	if (vm->nloaded && vm->loaded[vm->nloaded - 1] == m) {
		*index = m->index;
		return false;
	}
	if (m->index < GUARD_MAX_MODULES) {
		vm_watch_unregistered(vm, m->index,
				      guard_unregister(vm->guard, m->index, &d) == GUARD_V_OK, &d);
		vm->module[m->index] = NULL;
	}
	vm_module_free(m);
	return false;
}

bool vm_reload_module(struct vm *vm, unsigned index, bool do_announce, vm_resolve_fn resolve,
		      void *ctx, struct error *err)
{
	struct vm_module *m = index < GUARD_MAX_MODULES ? vm->module[index] : NULL;
	uint64_t base[GM_MAX_SEGMENTS];
	struct vm_symbols symbols;
	unsigned i;

	for (i = 0; i < vm->nloaded; i++)
		if (vm->loaded[i] == m)
			break;
	if (!m || i == vm->nloaded || m->index != index)
		return error_set(err, "module %u is not loaded", index);
	symbols = m->symbols;
	memset(&m->symbols, 0, sizeof(m->symbols));
	memcpy(base, m->base, sizeof(base));
	if (!place_module(vm, m, resolve, ctx, err)) {
		m->symbols = symbols;
		return false;
	}
	vm_symbols_retire(vm, m, base, &symbols);
	vm_boot_update(vm);
	return !do_announce || announce(vm, m, i, err);
}
