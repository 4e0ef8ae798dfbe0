// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the wrapped object has and the original has not: sections of gates and thunks, their
 * relocations and symbols, the trampolines of static calls in their new place, ORC rows.
 */
#include "check/internal.h"

#include <string.h>

static uint64_t header_at(const struct object *ob, uint32_t i)
{
	return elfile_section_at(&ob->elf, i);
}

enum { TEXT, GATES, TRAMPS, WORDS, KINDS };

static const struct {
	const char *name, *rela;
	uint64_t flags, align;
} added[KINDS] = {
	[TEXT] = { ".guard.text", ".rela.guard.text", SHF_ALLOC | SHF_EXECINSTR, 16 },
	[GATES] = { ".guard.gates", ".rela.guard.gates", SHF_ALLOC | SHF_EXECINSTR, GM_PAGE },
	[TRAMPS] = { ".guard.static_call", ".rela.guard.static_call", SHF_ALLOC | SHF_EXECINSTR,
		     GM_PAGE },
	[WORDS] = { ".guard.rodata", ".rela.guard.rodata", SHF_ALLOC, 8 },
};

static bool section(struct ck *ck, uint32_t i, uint32_t *index, bool *rela)
{
	struct sec *s = &ck->w.sec[i];

	for (unsigned k = 0; k < KINDS; k++) {
		if (strcmp(s->name, added[k].name) == 0 && !index[k] &&
		    s->hdr.sh_type == SHT_PROGBITS && s->hdr.sh_flags == added[k].flags &&
		    s->hdr.sh_addralign == added[k].align && s->use != USE_UNKNOWN) {
			index[k] = i;
			return true;
		}
		if (strcmp(s->name, added[k].rela) == 0 && !rela[k] && s->hdr.sh_type == SHT_RELA &&
		    s->hdr.sh_flags == SHF_INFO_LINK) {
			rela[k] = true;
			return true;
		}
	}
	return fault(ck, CHECK_SECTIONS, ck->w.elf.path, header_at(&ck->w, i),
		     "section %u (%s) is not in the original, nor one that wrapping adds", i,
		     s->name);
}

/* Relocations of a section that is all new, in order and none without effect. */
static bool own_records(struct ck *ck, struct sec *s)
{
	s->rels = check_alloc(s->nrecords, sizeof(*s->rels));
	for (uint32_t n = 0; n < s->nrecords; n++) {
		const Elf64_Rela *r = &s->records[n];

		if (ELF64_R_TYPE(r->r_info) == R_X86_64_NONE ||
		    (n && r->r_offset < s->rels[n - 1].offset + rel_bytes(s->rels[n - 1].type)))
			return fault(ck, CHECK_GATES, ck->w.elf.path, rec_at(&ck->w, s, n),
				     "%s: relocations that do nothing, or out of order", s->name);
		s->rels[s->nrels++] = (struct rel){ .offset = (uint32_t)r->r_offset,
						    .type = ELF64_R_TYPE(r->r_info),
						    .wsym = ELF64_R_SYM(r->r_info),
						    .waddend = r->r_addend,
						    .index = n };
	}
	return true;
}

/* The trampolines in their new place are those of the original. */
static bool trampolines(struct ck *ck)
{
	const struct sec *o = &ck->o.sec[ck->old_tramps], *w = &ck->w.sec[ck->tramps];

	if (!ck->old_tramps != !ck->tramps)
		return fault(ck, CHECK_SECTIONS, ck->w.elf.path, offsetof(Elf64_Ehdr, e_shnum),
			     "trampolines of static calls did not move, or there are none");
	if (!ck->tramps)
		return true;
	if (w->hdr.sh_size != o->hdr.sh_size || memcmp(w->data, o->data, o->hdr.sh_size) != 0)
		return fault(ck, CHECK_SECTIONS, ck->w.elf.path, sec_at(w, 0),
			     "%s: not the bytes of %s", w->name, o->name);
	proved(ck, CHECK_CHANGED, 1);
	return true;
}

/* New symbols: places in the new sections, hidden; or imports that the original has not. */
static bool symbols(struct ck *ck)
{
	for (uint32_t i = ck->o.nsym; i < ck->w.nsym; i++) {
		const Elf64_Sym *y = &ck->w.sym[i];
		bool own = y->st_shndx != SHN_UNDEF &&
			   (y->st_shndx == ck->text || y->st_shndx == ck->gates ||
			    y->st_shndx == ck->tramps || y->st_shndx == ck->words);
		bool import = y->st_shndx == SHN_UNDEF && ELF64_ST_BIND(y->st_info) == STB_GLOBAL;

		if (!(own && strncmp(sym_name(&ck->w, i), "__guard_", 8) == 0 &&
		      y->st_other == STV_HIDDEN) &&
		    !(import && y->st_value == 0 && *sym_name(&ck->w, i)))
			return fault(ck, CHECK_SYMBOLS, ck->w.elf.path,
				     elfile_symbol_at(&ck->w.elf, i),
				     "symbol %s is not in the original and names nothing that was "
				     "added",
				     sym_name(&ck->w, i));
	}
	proved(ck, CHECK_SYMBOLS, ck->w.nsym);
	return true;
}

bool check_added(struct ck *ck)
{
	uint32_t index[KINDS] = { 0 };
	bool rela[KINDS] = { false };

	if (ck->w.nsym < ck->o.nsym)
		return fault(ck, CHECK_SYMBOLS, ck->w.elf.path, 0, "fewer symbols than before");
	for (uint32_t i = ck->o.nsec; i < ck->w.nsec; i++)
		if (!section(ck, i, index, rela))
			return false;
	ck->text = index[TEXT];
	ck->gates = index[GATES];
	ck->tramps = index[TRAMPS];
	ck->words = index[WORDS];
	if (!ck->text || !ck->gates || !ck->w.sec[ck->gates].hdr.sh_size ||
	    ck->w.sec[ck->gates].hdr.sh_size % GM_PAGE ||
	    (ck->words && ck->w.sec[ck->words].hdr.sh_size % 8))
		return fault(ck, CHECK_SECTIONS, ck->w.elf.path, offsetof(Elf64_Ehdr, e_shnum),
			     "no %s, or no whole pages of %s", added[TEXT].name, added[GATES].name);
	if (!own_records(ck, &ck->w.sec[ck->text]) || !own_records(ck, &ck->w.sec[ck->gates]) ||
	    (ck->words && !own_records(ck, &ck->w.sec[ck->words])))
		return false;
	return trampolines(ck) && symbols(ck);
}

/*
 * ORC rows more, so that the kernel's own unwinder guesses nothing: those of .guard.text, and one
 * that says that at a gate the stack ends.
 */
bool check_orc_rows(struct ck *ck)
{
	static const uint8_t end[6] = { 0, 0, 0, 0, 0, 1 << 2 };
	uint32_t data = sec_named(&ck->o, ".orc_unwind"), ip = sec_named(&ck->o, ".orc_unwind_ip");
	const struct sec *od = &ck->o.sec[data], *wd = &ck->w.sec[data];
	const struct sec *oi = &ck->o.sec[ip], *wi = &ck->w.sec[ip];
	const struct row *row = ck->thunk_rows.data;
	uint32_t n = ck->thunk_rows.count;

	if (!data && !ip)
		return true;
	if (!data || !ip || wd->hdr.sh_size != od->hdr.sh_size + 6ull * (n + 1) ||
	    wi->hdr.sh_size != oi->hdr.sh_size + 4ull * (n + 1) ||
	    wi->nrecords != oi->nrecords + n + 1)
		return fault(ck, CHECK_SECTIONS, ck->w.elf.path, header_at(&ck->w, data),
			     "ORC data without just %u rows more, of thunks and gates", n + 1);
	for (uint32_t k = 0; k <= n; k++) {
		const Elf64_Rela *r = &wi->records[oi->nrecords + k];
		struct place p = w_place(ck, (uint32_t)ELF64_R_SYM(r->r_info), r->r_addend);
		const uint8_t *rec = wd->data + od->hdr.sh_size + 6ull * k;
		const uint8_t *zero = wi->data + oi->hdr.sh_size + 4ull * k;

		if (r->r_offset != oi->hdr.sh_size + 4ull * k ||
		    ELF64_R_TYPE(r->r_info) != R_X86_64_PC32 ||
		    p.section != (k < n ? ck->text : ck->gates) ||
		    p.offset != (k < n ? row[k].offset : 0) ||
		    !(k < n ? orc_says(rec, &row[k]) : memcmp(rec, end, sizeof(end)) == 0) ||
		    zero[0] || zero[1] || zero[2] || zero[3])
			return fault(ck, CHECK_SECTIONS, ck->w.elf.path,
				     rec_at(&ck->w, wi, oi->nrecords + k),
				     "an ORC row that is not that of thunks or gates");
	}
	proved(ck, CHECK_CHANGED, 1);
	return true;
}
