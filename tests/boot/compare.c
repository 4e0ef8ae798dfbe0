/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Does the memory of a loaded module hold what our own relocation of its file makes, byte by byte?
 *
 * Every import must be at the address that the kernel itself gives for its name. Only patch sites
 * may differ, and each must hold one of the manifest's legal contents, sites of a group the same
 * one. Whole pages are compared: behind a segment's end there are zeros.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/boot/truth.h"
#include "vmm/module_place.h"

#define TABLE(t, field) ((const void *)((t)->m.manifest.data + vm_manifest(&(t)->m)->field.offset))

uint8_t *relocated(const struct truth *t, struct error *err)
{
	const struct gm_segment *s = vm_segments(&t->m);
	uint32_t n = vm_manifest(&t->m)->segments.count, i;
	struct vm_module m = t->m;
	struct vm vm = { .ram = NULL };
	struct placing p = { .vm = &vm,
			     .m = &m,
			     .err = err,
			     .resolve = kallsyms_resolve,
			     .ctx = (void *)(uintptr_t)&t->symbols };
	bool ok = false;

	vm.ram = calloc(1, s[n - 1].start + (size_t)s[n - 1].size + 2 * VM_PAGE);
	for (i = 0; i < n; i++) {
		p.gpa[i] = s[i].start;
		/* What points into freed init memory is not known; nothing of it is compared. */
		p.base[i] = t->dump.base[i];
	}
	if (!vm.ram || !elfile_open(&p.elf, t->name, &m.ko, ET_REL, err)) {
		free(vm.ram);
		return NULL;
	}
	p.section = calloc(p.elf.nsections + 1, sizeof(*p.section));
	p.import = calloc((size_t)p.elf.nsymbols + 1, sizeof(*p.import));
	if (p.section && p.import)
		ok = module_layout(&p) && module_fill(&p) && module_relocate(&p);
	free(p.section);
	free(p.import);
	elfile_close(&p.elf);
	if (!ok) {
		free(vm.ram);
		return NULL;
	}
	return vm.ram;
}

static unsigned width(uint16_t type)
{
	return type == GM_R_64 || type == GM_R_PC64 ? 8 : 4;
}

/* Does this field, at guest address p, lead where its relocation says? */
static bool field_is(const struct truth *t, const struct gm_reloc *r, uint64_t p,
		     const uint8_t *field)
{
	const struct gm_import *import = TABLE(t, imports);
	uint64_t value = 0, at;
	int32_t low;

	if (width(r->type) == 8) {
		memcpy(&value, field, 8);
	} else {
		memcpy(&low, field, 4);
		value = r->type == GM_R_32 ? (uint32_t)low : (uint64_t)(int64_t)low;
	}
	at = value - (uint64_t)r->addend;
	if (r->type == GM_R_PC32 || r->type == GM_R_PLT32 || r->type == GM_R_PC64)
		at += p;
	switch (r->kind) {
	case GM_TARGET_SEGMENT: return at == t->dump.base[r->target];
	case GM_TARGET_IMPORT:
		return kallsyms_has(&t->symbols, vm_manifest_name(&t->m, import[r->target].name),
				    &at);
	default: return true;
	}
}

static bool content_is(const struct truth *t, const struct gm_site *site, const struct gm_choice *c,
		       uint64_t p, const uint8_t *actual)
{
	const uint8_t *legal = (const uint8_t *)TABLE(t, image) + c->bytes;
	const struct gm_reloc *r =
		(const struct gm_reloc *)TABLE(t, choice_relocs) + c->first_reloc;
	uint32_t at = 0, k, end;

	for (k = 0; k <= c->relocs; k++) {
		end = k < c->relocs ? r[k].moff : site->size;
		if (memcmp(actual + at, legal + at, end - at) != 0)
			return false;
		if (k < c->relocs && !field_is(t, &r[k], p + r[k].moff, actual + r[k].moff))
			return false;
		at = k < c->relocs ? end + width(r[k].type) : end;
	}
	return true;
}

/* The content that the site holds, from 0; -1: none that is legal. */
static int content_of(const struct truth *t, const struct gm_site *site, uint64_t p,
		      const uint8_t *actual)
{
	const struct gm_choice *c = TABLE(t, choices);
	uint32_t i;

	for (i = 0; i < site->count; i++)
		if (content_is(t, site, &c[site->first + i], p, actual))
			return (int)i;
	return -1;
}

/* The first site of the group in manifest order decides what the others must hold. */
static bool with_its_group(const struct truth *t, const struct gm_site *site, int content)
{
	const struct gm_site *all = TABLE(t, sites);
	const struct gm_segment *s = vm_segments(&t->m);
	uint32_t i, n = vm_manifest(&t->m)->sites.count, seg = 0;

	if (site->group == GM_NONE)
		return true;
	for (i = 0; i < n; i++) {
		if (all[i].group != site->group)
			continue;
		for (seg = 0; s[seg].start + (uint64_t)s[seg].size <= all[i].moff; seg++)
			;
		if (segment_verified(&s[seg]))
			break;
	}
	return content == content_of(t, &all[i], t->dump.base[seg] + (all[i].moff - s[seg].start),
				     t->dump.memory[seg].data + (all[i].moff - s[seg].start));
}

struct compared compare_segment(const struct truth *t, const uint8_t *own, uint32_t segment)
{
	const struct gm_segment *s = &vm_segments(&t->m)[segment];
	const struct gm_site *site = TABLE(t, sites), *end = site + vm_manifest(&t->m)->sites.count;
	const struct blob *mem = &t->dump.memory[segment];
	struct compared c = { .bytes = mem->size };
	uint64_t at = 0, base = t->dump.base[segment], where;
	int content;

	while (site < end && site->moff < s->start)
		site++;
	while (at < mem->size) {
		where = site < end ? site->moff - s->start : mem->size;
		if (where > at || where >= s->size) {
			if (mem->data[at] == (at < s->size ? own[s->start + at] : 0))
				c.equal++;
			else if (!c.unexplained++)
				c.first_bad = base + at;
			at++;
			continue;
		}
		content = content_of(t, site, base + at, mem->data + at);
		c.sites++;
		c.moved += memcmp(mem->data + at, own + s->start + at, site->size) != 0;
		if (content >= 0 && with_its_group(t, site, content)) {
			c.in_sites += site->size;
		} else {
			if (!c.unexplained)
				c.first_bad = base + at;
			c.unexplained += site->size;
		}
		at += site->size;
		site++;
	}
	return c;
}
