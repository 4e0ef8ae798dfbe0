/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a kernel writes into a module's memory when it loads it: section contents, relocations
 * (AMD64 psABI 4.4), and patch sites in the state that they have right after loading.
 */
#include <string.h>

#include "vmm/module_place.h"

bool module_fill(struct placing *p)
{
	const uint8_t *data;
	Elf64_Shdr sh;
	uint32_t i;

	for (i = 1; i < p->elf.nsections; i++) {
		if (!p->section[i].loaded)
			continue;
		elfile_section(&p->elf, i, &sh);
		data = elfile_contents(&p->elf, i);
		/* module_layout() saw that sh_size fits; fresh memory is zero. */
		if (data)
			memcpy(placing_host(p, p->section[i].segment, p->section[i].offset), data,
			       sh.sh_size);
	}
	return true;
}

/* What an earlier module exports under this name: a function's enter gate, or a datum. */
static bool exported(const struct vm *vm, const struct vm_module *self, const char *name,
		     uint64_t *gva)
{
	char gate[160];
	unsigned i;

	for (i = 0; i < vm->nloaded; i++) {
		const struct vm_symbols *t = &vm->loaded[i]->symbols;
		const struct vm_symbol *s = vm_symbols_find(t, name), *g;

		if (vm->loaded[i] == self || !s || s->kind != VM_SYM_GLOBAL)
			continue;
		snprintf(gate, sizeof(gate), "enter/%s", name);
		g = vm_symbols_find(t, gate);
		*gva = g ? g->address : s->address;
		return true;
	}
	return false;
}

static bool import(struct placing *p, uint32_t n, const Elf64_Sym *sym, uint64_t at,
		   uint64_t *value)
{
	const char *name = elfile_symbol_name(&p->elf, sym);
	const struct vm_symbol *s;

	if (p->import[n]) {
		*value = p->import[n];
		return true;
	}
	s = vm_symbols_find(&p->vm->symbols, name);
	if (s && s->kind == VM_SYM_GLOBAL)
		*value = s->address;
	else if (!exported(p->vm, p->m, name, value) &&
		 !(p->resolve && p->resolve(p->ctx, name, value))) {
		if (ELF64_ST_BIND(sym->st_info) != STB_WEAK)
			return elfile_bad(&p->elf, at, p->err,
					  "import %s: neither guest nor modules have it", name);
		*value = 0;
	}
	p->import[n] = *value;
	return true;
}

static bool symbol_value(struct placing *p, uint32_t n, uint64_t at, uint64_t *value)
{
	Elf64_Sym sym;

	if (n >= p->elf.nsymbols)
		return elfile_bad(&p->elf, at, p->err, "relocation against symbol %u of %u", n,
				  p->elf.nsymbols);
	elfile_symbol(&p->elf, n, &sym);
	if (sym.st_shndx == SHN_UNDEF) {
		*value = 0;
		return n == 0 || import(p, n, &sym, at, value);
	}
	if (sym.st_shndx == SHN_ABS) {
		*value = sym.st_value;
		return true;
	}
	if (sym.st_shndx >= p->elf.nsections)
		return elfile_bad(&p->elf, at, p->err,
				  "relocation against symbol %u (%s) in section %u of %u", n,
				  elfile_symbol_name(&p->elf, &sym), sym.st_shndx,
				  p->elf.nsections);
	if (!p->section[sym.st_shndx].loaded)
		return elfile_bad(&p->elf, at, p->err,
				  "relocation against symbol %u (%s) in section %s, which is not "
				  "loaded",
				  n, elfile_symbol_name(&p->elf, &sym),
				  elfile_section_name(&p->elf, sym.st_shndx));
	*value = p->base[p->section[sym.st_shndx].segment] + p->section[sym.st_shndx].offset +
		 sym.st_value;
	return true;
}

/* Computes and stores one field at `host`, which lies at gva. false: *reason. */
static bool apply(uint32_t type, uint8_t *host, uint64_t gva, uint64_t value, const char **reason)
{
	uint64_t v = value;
	size_t width = 4;
	bool ok = true;

	switch (type) {
	case R_X86_64_64: width = 8; break;
	case R_X86_64_PC64:
		width = 8;
		v -= gva;
		break;
	case R_X86_64_PC32:
	case R_X86_64_PLT32:
		v -= gva;
		ok = (int64_t)v == (int32_t)v;
		break;
	case R_X86_64_32: ok = v == (uint32_t)v; break;
	case R_X86_64_32S: ok = (int64_t)v == (int32_t)v; break;
	default: *reason = "type is not known"; return false;
	}
	if (!ok) {
		*reason = "the value does not fit into its field";
		return false;
	}
	memcpy(host, &v, width);
	return true;
}

static size_t field_width(uint32_t type)
{
	return type == R_X86_64_64 || type == R_X86_64_PC64 ? 8 : 4;
}

/* Section `index` has relocations of section `of`, which was placed. */
static bool relocate_section(struct placing *p, uint32_t index, uint32_t of)
{
	const struct place *to = &p->section[of];
	struct elfile_relas relas;
	const char *reason;
	Elf64_Shdr target;
	Elf64_Rela r;
	uint64_t at, value = 0, gva;
	uint32_t i, type;

	if (!elfile_relas(&p->elf, index, &relas, p->err))
		return false;
	elfile_section(&p->elf, of, &target);
	for (i = 0; i < relas.count; i++) {
		at = elfile_rela(&relas, i, &r);
		type = ELF64_R_TYPE(r.r_info);
		if (type == R_X86_64_NONE)
			continue;
		if (r.r_offset > target.sh_size || field_width(type) > target.sh_size - r.r_offset)
			return elfile_bad(&p->elf, at, p->err,
					  "relocation at 0x%llx lies outside of section %s",
					  (unsigned long long)r.r_offset,
					  elfile_section_name(&p->elf, of));
		if (!symbol_value(p, (uint32_t)ELF64_R_SYM(r.r_info), at, &value))
			return false;
		gva = p->base[to->segment] + to->offset + r.r_offset;
		if (!apply(type, placing_host(p, to->segment, to->offset + r.r_offset), gva,
			   value + (uint64_t)r.r_addend, &reason))
			return elfile_bad(&p->elf, at, p->err,
					  "relocation of type %u in %s+0x%llx: %s", type,
					  elfile_section_name(&p->elf, of),
					  (unsigned long long)r.r_offset, reason);
	}
	return true;
}

bool module_relocate(struct placing *p)
{
	Elf64_Shdr sh;
	uint32_t i;

	for (i = 1; i < p->elf.nsections; i++) {
		elfile_section(&p->elf, i, &sh);
		if (sh.sh_type != SHT_RELA || sh.sh_info >= p->elf.nsections ||
		    !p->section[sh.sh_info].loaded)
			continue;
		if (!relocate_section(p, i, sh.sh_info))
			return false;
	}
	return true;
}

/* Segment and offset of a moff that the core has validated. */
static uint32_t segment_of(const struct vm_module *m, uint32_t moff)
{
	const struct gm_segment *s = vm_segments(m);
	uint32_t i = vm_manifest(m)->segments.count - 1;

	while (i && s[i].start > moff)
		i--;
	return i;
}

/* A choice with a target that only a running kernel knows is not what loading leaves behind. */
static bool at_load(const struct gm_choice *c, const struct gm_reloc *relocs)
{
	uint32_t i;

	for (i = 0; i < c->relocs; i++)
		if (relocs[c->first_reloc + i].kind != GM_TARGET_SEGMENT)
			return false;
	return true;
}

/* Has relocating left this content there? Fields that name an import have got its address. */
static bool is_there(struct placing *p, const struct gm_site *site, const struct gm_choice *c,
		     const struct gm_reloc *relocs, const uint8_t *image)
{
	const struct gm_segment *s = vm_segments(p->m);
	uint32_t seg = segment_of(p->m, site->moff);
	const uint8_t *host = placing_host(p, seg, site->moff - s[seg].start);
	uint32_t at = 0, i;

	for (i = 0; i <= c->relocs; i++) {
		const struct gm_reloc *r = &relocs[c->first_reloc + i];
		uint32_t end = i < c->relocs ? r->moff : site->size;

		if (i < c->relocs && r->kind != GM_TARGET_IMPORT)
			return false;
		if (end < at || end > site->size ||
		    memcmp(host + at, image + c->bytes + at, end - at))
			return false;
		at = i < c->relocs ? end + (uint32_t)field_width(r->type) : end;
	}
	return c->relocs > 0;
}

static bool patch(struct placing *p, const struct gm_site *site, const struct gm_choice *c,
		  const struct gm_reloc *relocs, const uint8_t *image)
{
	const struct gm_segment *s = vm_segments(p->m);
	uint32_t seg = segment_of(p->m, site->moff), off = site->moff - s[seg].start, i;
	uint8_t *host = placing_host(p, seg, off);
	const char *reason = "";

	memcpy(host, image + c->bytes, site->size);
	for (i = 0; i < c->relocs; i++) {
		const struct gm_reloc *r = &relocs[c->first_reloc + i];

		if (r->moff > site->size || field_width(r->type) > site->size - r->moff ||
		    r->target >= vm_manifest(p->m)->segments.count ||
		    !apply(r->type, host + r->moff, p->base[seg] + off + r->moff,
			   p->base[r->target] + (uint64_t)r->addend, &reason))
			return error_set(p->err, "%s: patch site at module offset 0x%x: %s",
					 p->elf.path, site->moff, reason);
	}
	return true;
}

/*
 * The first choice is what stands there after loading. One that leads to an import stays if the file
 * has it; any other that needs a kernel is passed over.
 */
bool module_patch_sites(struct placing *p)
{
	const struct gm_header *h = vm_manifest(p->m);
	const uint8_t *file = p->m->manifest.data;
	const struct gm_site *site = (const void *)(file + h->sites.offset);
	const struct gm_choice *choice = (const void *)(file + h->choices.offset);
	const struct gm_reloc *relocs = (const void *)(file + h->choice_relocs.offset);
	uint32_t i, k;

	for (i = 0; i < h->sites.count; i++)
		for (k = 0; k < site[i].count; k++) {
			const struct gm_choice *c = &choice[site[i].first + k];

			if (is_there(p, &site[i], c, relocs, file + h->image.offset))
				break;
			if (!at_load(c, relocs))
				continue;
			if (!patch(p, &site[i], c, relocs, file + h->image.offset))
				return false;
			break;
		}
	return true;
}
