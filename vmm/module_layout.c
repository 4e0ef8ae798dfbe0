/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a module's sections lie, as Linux 6.1 lays them out (kernel/module/main.c): what stays,
 * then ".init*"; in each code, constants, what becomes constant after init, the rest; inside of
 * one of these by section number and alignment. Per-CPU sections come last.
 *
 * The manifest cuts the same order into segments. A segment ends where its size says; if sections
 * do not fill it exactly, object and manifest do not belong together.
 */
#include <inttypes.h>
#include <string.h>

#include "vmm/module_place.h"

enum category { TEXT, RODATA, RO_AFTER_INIT, DATA, PERCPU, CATEGORIES };

static bool starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Marked to be loaded, and really loaded: some only serve the kernel's loader. */
static bool loaded(const struct elfile *e, uint32_t i, const Elf64_Shdr *sh)
{
	const char *name = elfile_section_name(e, i);

	return (sh->sh_flags & SHF_ALLOC) && strcmp(name, ".modinfo") != 0 &&
	       strcmp(name, "__versions") != 0 && !starts(name, ".discard");
}

static enum category category_of(const struct elfile *e, uint32_t i, const Elf64_Shdr *sh)
{
	const char *name = elfile_section_name(e, i);

	if (starts(name, ".data..percpu"))
		return PERCPU;
	if (sh->sh_flags & SHF_EXECINSTR)
		return TEXT;
	if (!(sh->sh_flags & SHF_WRITE))
		return RODATA;
	if (!strcmp(name, ".data..ro_after_init") || !strcmp(name, "__jump_table"))
		return RO_AFTER_INIT;
	return DATA;
}

/*
 * Among code DATA is trampolines of static calls; among constants, of an unwrapped module, what shares
 * pages with tables that the kernel sorts.
 */
static bool fits_category(uint32_t kind, enum category cat, bool init)
{
	switch (kind) {
	case GM_SEG_TEXT:
	case GM_SEG_GATES: return cat == TEXT && !init;
	case GM_SEG_RODATA: return cat == RODATA && !init;
	case GM_SEG_DATA: return cat != PERCPU && !init;
	case GM_SEG_PRIVATE: return (cat == DATA || cat == RO_AFTER_INIT) && !init;
	case GM_SEG_INIT_TEXT: return cat == TEXT && init;
	case GM_SEG_INIT_RODATA: return cat == RODATA && init;
	case GM_SEG_INIT_DATA: return cat != TEXT && cat != PERCPU && init;
	default: return cat == PERCPU;
	}
}

/* The segment being filled. */
struct cursor {
	uint32_t segment; /* the one after the last opened */
	uint64_t used;
};

/* Code may have one byte behind it, so that the address after a last call lies inside. */
static bool full(const struct placing *p, const struct cursor *c)
{
	const struct gm_segment *s = &vm_segments(p->m)[c->segment - 1];
	bool code = s->kind == GM_SEG_TEXT || s->kind == GM_SEG_INIT_TEXT;

	return c->used == s->size || (code && c->used + 1 == s->size);
}

static bool close_segment(const struct placing *p, const struct cursor *c)
{
	const struct gm_segment *s;

	if (!c->segment || full(p, c))
		return true;
	s = &vm_segments(p->m)[c->segment - 1];
	return error_set(
		p->err,
		"%s: offset 0x%llx: sections fill 0x%llx bytes of segment %u (%s), the manifest says 0x%x",
		p->elf.path, (unsigned long long)p->elf.eh.e_shoff, (unsigned long long)c->used,
		c->segment - 1, vm_manifest_name(p->m, s->name), s->size);
}

static bool place(struct placing *p, struct cursor *c, uint32_t i, const Elf64_Shdr *sh,
		  enum category cat, bool init, bool fresh)
{
	const struct elfile *e = &p->elf;
	uint64_t align = sh->sh_addralign ? sh->sh_addralign : 1, at;
	const struct gm_segment *s;

	if (align > VM_PAGE)
		return elfile_bad(e, elfile_section_at(e, i), p->err,
				  "section %s: alignment 0x%llx", elfile_section_name(e, i),
				  (unsigned long long)align);
	if (fresh || full(p, c)) {
		if (c->segment == vm_manifest(p->m)->segments.count)
			return elfile_bad(e, elfile_section_at(e, i), p->err,
					  "section %s is in no segment of the manifest",
					  elfile_section_name(e, i));
		c->segment++;
		c->used = 0;
	}
	s = &vm_segments(p->m)[c->segment - 1];
	at = (c->used + align - 1) & ~(align - 1);
	if (!fits_category(s->kind, cat, init) || at > s->size || sh->sh_size > s->size - at)
		return elfile_bad(
			e, elfile_section_at(e, i), p->err,
			"section %s (0x%llx bytes) does not go into segment %u (%s) of the manifest",
			elfile_section_name(e, i), (unsigned long long)sh->sh_size, c->segment - 1,
			vm_manifest_name(p->m, s->name));
	p->section[i].loaded = true;
	p->section[i].segment = c->segment - 1;
	p->section[i].offset = (uint32_t)at;
	p->code[c->segment - 1] = cat == TEXT;
	c->used = at + sh->sh_size;
	return true;
}

/* Next section of this category after *i; false: there is none. */
static bool next(const struct placing *p, enum category cat, bool init, uint32_t *i, Elf64_Shdr *sh)
{
	while (++*i < p->elf.nsections) {
		elfile_section(&p->elf, *i, sh);
		if (loaded(&p->elf, *i, sh) && category_of(&p->elf, *i, sh) == cat &&
		    (cat == PERCPU || starts(elfile_section_name(&p->elf, *i), ".init") == init))
			return true;
	}
	return false;
}

/* Would a section of no size lie in segment k, had it one? */
static bool empty_fits(const struct placing *p, uint32_t k, uint32_t i, enum category cat,
		       bool init)
{
	uint32_t kind = vm_segments(p->m)[k].kind;
	bool private = !strcmp(elfile_section_name(&p->elf, i), ".guard_private");

	return fits_category(kind, cat, init) && kind != GM_SEG_GATES &&
	       (kind == GM_SEG_PRIVATE) == private;
}

/*
 * Sections of no size take no room, not even for alignment, but objects of no size lie there and
 * code refers to them: where the open segment ends or, if none is open, where one begins.
 */
static void place_empty(struct placing *p, uint32_t i, uint32_t segment, uint64_t offset)
{
	p->section[i].loaded = true;
	p->section[i].segment = segment;
	p->section[i].offset = (uint32_t)offset;
}

static void place_left_over(struct placing *p, const struct cursor *c, uint32_t first,
			    enum category cat, bool init)
{
	Elf64_Shdr sh;
	uint32_t i = 0, k;

	while (next(p, cat, init, &i, &sh))
		for (k = c->segment; k-- > first && !p->section[i].loaded;)
			if (empty_fits(p, k, i, cat, init))
				place_empty(p, i, k, 0);
}

static bool place_category(struct placing *p, struct cursor *c, enum category cat, bool init)
{
	uint32_t i = 0, first = c->segment;
	bool fresh = true;
	Elf64_Shdr sh;

	while (next(p, cat, init, &i, &sh)) {
		if (!sh.sh_size) {
			if (c->segment > first && empty_fits(p, c->segment - 1, i, cat, init))
				place_empty(p, i, c->segment - 1, c->used);
			continue;
		}
		if (fresh && !close_segment(p, c))
			return false;
		if (!place(p, c, i, &sh, cat, init, fresh))
			return false;
		fresh = cat == PERCPU;
	}
	place_left_over(p, c, first, cat, init);
	return true;
}

bool module_layout(struct placing *p)
{
	struct cursor c = { 0 };
	unsigned cat, init;

	for (init = 0; init < 2; init++)
		for (cat = TEXT; cat < PERCPU; cat++)
			if (!place_category(p, &c, (enum category)cat, init))
				return false;
	if (!place_category(p, &c, PERCPU, false) || !close_segment(p, &c))
		return false;
	if (c.segment != vm_manifest(p->m)->segments.count)
		return error_set(
			p->err, "%s: offset 0x%llx: the manifest has %u segments, sections fill %u",
			p->elf.path, (unsigned long long)p->elf.eh.e_shoff,
			vm_manifest(p->m)->segments.count, c.segment);
	return true;
}

/* Rights in the guest's tables, as Linux sets them under STRICT_MODULE_RWX. */
static uint64_t rights(uint32_t kind, bool code)
{
	if (code)
		return 0;
	switch (kind) {
	case GM_SEG_RODATA:
	case GM_SEG_INIT_RODATA: return PTE_NX;
	default: return PTE_W | PTE_NX;
	}
}

/* What stays, what is freed after init, and per-CPU data are three allocations. */
static unsigned allocation(uint32_t kind)
{
	if (kind == GM_SEG_PERCPU)
		return 2;
	return kind == GM_SEG_INIT_TEXT || kind == GM_SEG_INIT_RODATA || kind == GM_SEG_INIT_DATA;
}

bool module_map(struct placing *p)
{
	const struct gm_segment *s = vm_segments(p->m);
	uint32_t i, n = vm_manifest(p->m)->segments.count;
	uint64_t gva = p->vm->next_module, off, size;

	for (i = 0; i < n; i++) {
		size = (s[i].size + VM_PAGE - 1) & ~(VM_PAGE - 1);
		/* An unmapped page between allocations. */
		if (i && allocation(s[i].kind) != allocation(s[i - 1].kind))
			gva += VM_PAGE;
		p->base[i] = gva;
		p->gpa[i] = vm_alloc_gpa(p->vm, size);
		if (!p->gpa[i])
			return error_set(p->err,
					 "%s: no guest memory left for segment %s of 0x%llx bytes",
					 p->elf.path, vm_manifest_name(p->m, s[i].name),
					 (unsigned long long)size);
		for (off = 0; off < size; off += VM_PAGE)
			if (!vm_map_page(p->vm, gva + off, p->gpa[i] + off,
					 rights(s[i].kind, p->code[i])))
				return error_set(
					p->err,
					"%s: the guest's page tables have no room at 0x%" PRIx64,
					p->elf.path, gva + off);
		gva += size;
	}
	p->vm->next_module = gva + VM_PAGE;
	return true;
}
