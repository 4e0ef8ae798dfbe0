// SPDX-License-Identifier: GPL-2.0-only
/*
 * Is the wrapped object the original plus gates? Every section of the original must be there under
 * its number, header and bytes the same, except for a fixed list of changes that its use allows.
 * Relocation records may differ in symbol and addend; where they lead is followed later.
 */
#include "check/internal.h"

#include <stdlib.h>
#include <string.h>

static uint64_t header_at(const struct object *ob, uint32_t i)
{
	return elfile_section_at(&ob->elf, i);
}

/* A table of patches that must not happen: empty, without relocations. */
static bool emptied(struct ck *ck, uint32_t i)
{
	const struct sec *w = &ck->w.sec[i], *o = &ck->o.sec[i];

	if (w->hdr.sh_size || w->nrecords)
		return fault(ck, CHECK_EMPTIED, ck->w.elf.path, header_at(&ck->w, i),
			     "%s is not empty: the kernel would patch what it names", w->name);
	proved(ck, CHECK_EMPTIED, o->nrecords);
	proved(ck, CHECK_CHANGED, 1);
	return true;
}

static bool zero(const uint8_t *p, uint64_t n)
{
	while (n && !*p)
		p++, n--;
	return n == 0;
}

/*
 * A section that became private: pages of its own, contents moved to the manifest (but not in a
 * module whose crossings are NOPs). true: it is one, and in order.
 */
static bool is_private(struct ck *ck, uint32_t i)
{
	const struct sec *o = &ck->o.sec[i];
	struct sec *w = &ck->w.sec[i];
	uint64_t padded = (o->hdr.sh_size + GM_PAGE - 1) / GM_PAGE * GM_PAGE;
	bool hidden;

	if (w->hdr.sh_addralign != GM_PAGE || w->hdr.sh_size != padded || !padded ||
	    w->hdr.sh_type != o->hdr.sh_type)
		return false;
	if (o->use != USE_PRIVATE && (o->use != USE_DATA || o->nrecords ||
				      (o->hdr.sh_addralign == GM_PAGE && o->hdr.sh_size == padded &&
				       (!o->data || memcmp(o->data, w->data, padded) == 0))))
		return false;
	hidden = ck->m.h->x_kind != GM_X_NOP;
	if (w->data && (hidden ? !zero(w->data, padded)
			       : memcmp(w->data, o->data, o->hdr.sh_size) != 0 ||
					 !zero(w->data + o->hdr.sh_size, padded - o->hdr.sh_size)))
		return false;
	w->use = USE_PRIVATE;
	note(ck, CHECK_NOTE_PRIVATE, "%s", w->name);
	return true;
}

/* The header as this section's use allows it to be; contents are compared by the caller. */
static bool same_header(struct ck *ck, uint32_t i, bool *changed)
{
	struct sec *w = &ck->w.sec[i];
	const struct sec *o = &ck->o.sec[i];
	Elf64_Shdr want = o->hdr, have = w->hdr;

	*changed = false;
	if ((o->use == USE_TABLE || o->use == USE_POINTER) && have.sh_flags & SHF_WRITE &&
	    !(want.sh_flags & SHF_WRITE)) {
		/* only the kernel reads it, and it sorts or patches some of them in place */
		want.sh_flags |= SHF_WRITE;
		*changed = true;
	}
	if (o->use == USE_SPARE) {
		/* copied into place by the kernel; nothing runs where it lies */
		want.sh_flags = (want.sh_flags | SHF_WRITE) & ~(uint64_t)SHF_EXECINSTR;
		*changed = true;
	}
	if (strcmp(o->name, ".eh_frame") == 0 && !(have.sh_flags & SHF_ALLOC)) {
		*changed = (want.sh_flags & SHF_ALLOC) != 0;
		want.sh_flags &= ~(uint64_t)SHF_ALLOC;
	}
	if (want.sh_size == 0 && have.sh_size == 0 && have.sh_addralign == 1) {
		/* nothing to align: it takes no room */
		*changed |= want.sh_addralign != 1;
		want.sh_addralign = 1;
	}
	/* where it lies in the file, and its name's offset, are the writer's; names are compared */
	have.sh_offset = want.sh_offset;
	if (memcmp(&have, &want, sizeof(want)) == 0 && strcmp(o->name, w->name) == 0)
		return true;
	return fault(ck, CHECK_SECTIONS, ck->w.elf.path, header_at(&ck->w, i),
		     "section %u (%s): its header is not that of %s in the original", i, w->name,
		     o->name);
}

static bool same_bytes(struct ck *ck, uint32_t i)
{
	const struct sec *w = &ck->w.sec[i], *o = &ck->o.sec[i];
	uint64_t at = 0;

	if (!o->data || memcmp(o->data, w->data, o->hdr.sh_size) == 0)
		return true;
	while (o->data[at] == w->data[at])
		at++;
	return fault(ck, CHECK_SECTIONS, ck->w.elf.path, sec_at(w, at),
		     "%s+0x%llx: byte %02x, the original has %02x", w->name, (unsigned long long)at,
		     w->data[at], o->data[at]);
}

/* Symbols stay, but for those of trampolines that have moved. */
static bool same_symbols(struct ck *ck)
{
	for (uint32_t i = 0; i < ck->o.nsym; i++) {
		Elf64_Sym y = ck->o.sym[i];

		if (y.st_shndx != SHN_UNDEF && y.st_shndx == ck->old_tramps && ck->tramps)
			y.st_shndx = (Elf64_Section)ck->tramps;
		if (memcmp(&y, &ck->w.sym[i], sizeof(y)) != 0)
			return fault(ck, CHECK_SECTIONS, ck->w.elf.path,
				     elfile_symbol_at(&ck->w.elf, i),
				     "symbol %u (%s) is not that of the original", i,
				     sym_name(&ck->o, i));
	}
	return true;
}

/*
 * Symbols and names grow at their end; the versions table, too, and ORC data, whose new rows are
 * looked at later.
 */
static bool grown(struct ck *ck, uint32_t i)
{
	const struct sec *w = &ck->w.sec[i], *o = &ck->o.sec[i];
	Elf64_Shdr want = o->hdr;

	want.sh_size = w->hdr.sh_size;
	want.sh_offset = w->hdr.sh_offset;
	if (o->use == USE_TABLE)
		want.sh_flags |= SHF_WRITE;
	if (memcmp(&w->hdr, &want, sizeof(want)) != 0 || w->hdr.sh_size < o->hdr.sh_size ||
	    strcmp(o->name, w->name) != 0)
		return fault(ck, CHECK_SECTIONS, ck->w.elf.path, header_at(&ck->w, i),
			     "section %u (%s) is not %s of the original with more at its end", i,
			     w->name, o->name);
	if (i == ck->o.elf.symtab ? !same_symbols(ck) : !same_bytes(ck, i))
		return false;
	proved(ck, o->hdr.sh_size == w->hdr.sh_size ? CHECK_SECTIONS : CHECK_CHANGED, 1);
	return true;
}

static bool may_grow(const struct ck *ck, uint32_t i)
{
	return i == ck->o.elf.symtab || i == ck->o.elf.strtab || i == ck->o.elf.eh.e_shstrndx ||
	       ((strcmp(ck->o.sec[i].name, "__versions") == 0 ||
		 strcmp(ck->o.sec[i].name, ".orc_unwind") == 0 ||
		 strcmp(ck->o.sec[i].name, ".orc_unwind_ip") == 0) &&
		ck->o.sec[i].data);
}

static int by_rel(const void *a, const void *b)
{
	const struct rel *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return x->index < y->index ? -1 : 1;
}

/*
 * Record for record the same place and type; the pairs, sorted, are what later steps follow. Of
 * trampolines the wrapped object's section (k0) is another one than the original's.
 */
bool pair_records(struct ck *ck, uint32_t i, uint32_t k0)
{
	const struct sec *o = &ck->o.sec[i];
	struct sec *w = &ck->w.sec[k0];
	bool sorted = true, orc = strcmp(o->name, ".orc_unwind_ip") == 0;
	uint32_t end = 0;

	if (orc ? w->nrecords < o->nrecords : w->nrecords != o->nrecords)
		return fault(ck, CHECK_KEPT, ck->w.elf.path, header_at(&ck->w, i),
			     "%s has %u relocations, the original has %u", w->name, w->nrecords,
			     o->nrecords);
	w->rels = check_alloc(o->nrecords, sizeof(*w->rels));
	for (uint32_t k = 0; k < o->nrecords; k++) {
		const Elf64_Rela *a = &o->records[k], *b = &w->records[k];
		struct rel *r = &w->rels[w->nrels];

		if (a->r_offset != b->r_offset ||
		    ELF64_R_TYPE(a->r_info) != ELF64_R_TYPE(b->r_info))
			return fault(ck, CHECK_KEPT, ck->w.elf.path, rec_at(&ck->w, w, k),
				     "%s: relocation %u is of another place or type", w->name, k);
		if (ELF64_R_TYPE(a->r_info) == R_X86_64_NONE) {
			if (memcmp(a, b, sizeof(*a)) != 0)
				return fault(ck, CHECK_KEPT, ck->w.elf.path, rec_at(&ck->w, w, k),
					     "%s: relocation %u, which is none, differs", w->name,
					     k);
			continue;
		}
		*r = (struct rel){ .offset = (uint32_t)a->r_offset,
				   .type = ELF64_R_TYPE(a->r_info),
				   .sym = ELF64_R_SYM(a->r_info),
				   .wsym = ELF64_R_SYM(b->r_info),
				   .addend = a->r_addend,
				   .waddend = b->r_addend,
				   .index = k };
		sorted &= !w->nrels || r[-1].offset <= r->offset;
		w->nrels++;
	}
	if (!sorted)
		qsort(w->rels, w->nrels, sizeof(*w->rels), by_rel);
	for (uint32_t k = 0; k < w->nrels; k++) {
		if (w->rels[k].offset < end)
			return fault(ck, CHECK_KEPT, ck->w.elf.path,
				     rec_at(&ck->w, w, w->rels[k].index),
				     "%s+0x%x: two relocations of the same bytes", w->name,
				     w->rels[k].offset);
		end = w->rels[k].offset + rel_bytes(w->rels[k].type);
	}
	return true;
}

static bool compare(struct ck *ck, uint32_t i)
{
	struct sec *w = &ck->w.sec[i];
	const struct sec *o = &ck->o.sec[i];
	bool changed;

	if (o->use == USE_UNKNOWN)
		return fault(ck, CHECK_UNKNOWN, ck->o.elf.path, header_at(&ck->o, i),
			     "%s is loaded, but what for is not known here", o->name);
	/* relocations of a loaded section: paired by their section */
	if (o->hdr.sh_type == SHT_RELA && o->hdr.sh_info < ck->o.nsec &&
	    ck->o.sec[o->hdr.sh_info].rela == i && ck->o.sec[o->hdr.sh_info].use != USE_FILE) {
		Elf64_Shdr want = o->hdr;

		want.sh_offset = w->hdr.sh_offset;
		if (ck->o.sec[o->hdr.sh_info].use == USE_EMPTIED ||
		    ck->o.sec[o->hdr.sh_info].use == USE_TRAMP)
			want.sh_size = 0;
		if (strcmp(ck->o.sec[o->hdr.sh_info].name, ".orc_unwind_ip") == 0)
			want.sh_size = w->hdr.sh_size; /* two rows more */
		if (memcmp(&want, &w->hdr, sizeof(want)) != 0 || strcmp(o->name, w->name) != 0)
			return fault(ck, CHECK_SECTIONS, ck->w.elf.path, header_at(&ck->w, i),
				     "section %u (%s): its header is not that of %s in the "
				     "original",
				     i, w->name, o->name);
		proved(ck, CHECK_CHANGED, 1);
		return true;
	}
	if (may_grow(ck, i))
		return grown(ck, i);
	if (o->use == USE_EMPTIED || o->use == USE_TRAMP) {
		Elf64_Shdr want = o->hdr;

		want.sh_offset = w->hdr.sh_offset;
		want.sh_size = 0;
		want.sh_addralign = 1;
		if (memcmp(&want, &w->hdr, sizeof(want)) == 0 && strcmp(o->name, w->name) == 0)
			return emptied(ck, i);
		return fault(ck, CHECK_EMPTIED, ck->w.elf.path, header_at(&ck->w, i),
			     "%s is not empty: the kernel would patch what it names", o->name);
	}
	if (is_private(ck, i)) {
		Elf64_Shdr want = o->hdr;

		want.sh_offset = w->hdr.sh_offset;
		want.sh_size = w->hdr.sh_size;
		want.sh_addralign = GM_PAGE;
		if (memcmp(&want, &w->hdr, sizeof(want)) != 0 || o->nrecords || w->nrecords)
			return fault(ck, CHECK_SECTIONS, ck->w.elf.path, header_at(&ck->w, i),
				     "private section %s is not that of the original", w->name);
		proved(ck, CHECK_CHANGED, 1);
		return true;
	}
	if (o->use == USE_PRIVATE && o->hdr.sh_size)
		return fault(ck, CHECK_SECTIONS, ck->w.elf.path, header_at(&ck->w, i),
			     "%s does not fill pages of its own, or shows its contents", w->name);
	if (!same_header(ck, i, &changed) || !same_bytes(ck, i))
		return false;
	proved(ck, changed ? CHECK_CHANGED : CHECK_SECTIONS, 1);
	return true;
}

static bool same_elf_header(struct ck *ck)
{
	Elf64_Ehdr want = ck->o.elf.eh;
	const Elf64_Ehdr *have = &ck->w.elf.eh;

	want.e_shoff = have->e_shoff;
	want.e_shnum = have->e_shnum;
	if (memcmp(&want, have, sizeof(want)) != 0 || have->e_shnum <= ck->o.elf.eh.e_shnum)
		return fault(ck, CHECK_SECTIONS, ck->w.elf.path, 0,
			     "its ELF header is not that of the original with more sections");
	return true;
}

bool check_sections(struct ck *ck)
{
	bool ok = true;

	ck->linux_module = sec_named(&ck->o, ".gnu.linkonce.this_module") != 0;
	if (ck->views)
		return views_sections(ck);
	ck->old_tramps = sec_named(&ck->o, ".static_call.text");
	if (!same_elf_header(ck) || !check_added(ck))
		return false;
	for (uint32_t i = 1; i < ck->o.nsec; i++)
		if (!compare(ck, i))
			ok = false;
	/* what follows looks at the wrapped object's sections under the original's numbers */
	if (!ok)
		return false;
	for (uint32_t i = 1; i < ck->o.nsec; i++)
		if (ck->o.sec[i].use == USE_TRAMP) {
			if (!pair_records(ck, i, ck->tramps))
				return false;
		} else if (ck->o.sec[i].use != USE_FILE && ck->o.sec[i].use != USE_EMPTIED &&
			   !pair_records(ck, i, i)) {
			return false;
		}
	return true;
}
