// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module that was not wrapped. Its object must be the original, byte for byte, so nothing can be
 * wrong with that; all that is left to judge is what the manifest says about it. Since nothing hides
 * the tables of patches from the kernel, each place that they name is a site with the contents that
 * Linux 6.1 writes there: arch/x86/kernel/ftrace.c, alternative.c (apply_returns(),
 * patch_retpoline()), static_call.c.
 */
#include "check/internal.h"

#include <string.h>

static void use(struct object *ob)
{
	for (uint32_t i = 1; i < ob->nsec; i++)
		if (ob->sec[i].use == USE_EMPTIED || (strcmp(ob->sec[i].name, ".eh_frame") == 0 &&
						      ob->sec[i].hdr.sh_flags & SHF_ALLOC))
			ob->sec[i].use = USE_TABLE;
}

void views_uses(struct ck *ck)
{
	use(&ck->o);
	use(&ck->w);
}

/* What lies among code or is written over it in ways that no list of contents can say. */
static bool section(struct ck *ck, uint32_t i)
{
	const struct sec *s = &ck->w.sec[i];
	uint64_t at = elfile_section_at(&ck->w.elf, i);

	if (s->use == USE_UNKNOWN)
		return fault(ck, CHECK_UNKNOWN, ck->w.elf.path, at,
			     "%s is loaded, but what for is not known here", s->name);
	if (s->hdr.sh_size && (s->use == USE_TRAMP || strcmp(s->name, ".parainstructions") == 0))
		return fault(ck, CHECK_SECTIONS, ck->w.elf.path, at,
			     "%s: the kernel writes code there that no manifest can list", s->name);
	if (s->use == USE_PRIVATE && (s->hdr.sh_addralign != GM_PAGE || s->hdr.sh_size % GM_PAGE))
		return fault(ck, CHECK_SECTIONS, ck->w.elf.path, at,
			     "private section %s does not fill pages of its own", s->name);
	if (s->use == USE_PRIVATE && s->hdr.sh_size)
		note(ck, CHECK_NOTE_PRIVATE, "%s, whose initial contents the guest sees", s->name);
	return s->use == USE_FILE || pair_records(ck, i, i);
}

bool views_sections(struct ck *ck)
{
	const uint8_t *a = elfile_bytes(&ck->o.elf, 0), *b = elfile_bytes(&ck->w.elf, 0);
	size_t n = ck->o.elf.size < ck->w.elf.size ? ck->o.elf.size : ck->w.elf.size, at = 0;

	if (ck->o.elf.size != ck->w.elf.size || memcmp(a, b, n) != 0) {
		while (at < n && a[at] == b[at])
			at++;
		return fault(ck, CHECK_SECTIONS, ck->w.elf.path, at,
			     "not the original byte for byte, as an unwrapped module must be");
	}
	for (uint32_t i = 1; i < ck->w.nsec; i++)
		if (!section(ck, i))
			return false;
	proved(ck, CHECK_SECTIONS, ck->w.nsec - 1);
	proved(ck, CHECK_SYMBOLS, ck->w.nsym);
	return true;
}

bool views_private(const struct ck *ck, uint32_t section, uint32_t segment)
{
	const struct sec *s = &ck->w.sec[section];

	return s->use == USE_DATA && !s->nrecords && s->hdr.sh_addralign == GM_PAGE &&
	       s->hdr.sh_size && s->hdr.sh_size % GM_PAGE == 0 &&
	       segment < ck->m.h->segments.count &&
	       ck->m.segments[segment].kind == GM_SEG_PRIVATE &&
	       ck->m.segments[segment].size == s->hdr.sh_size;
}

/* sort_extable(), unwind_module_init(), ftrace_process_locs() */
static bool is_sorted(const struct sec *s)
{
	return s->hdr.sh_size &&
	       (strcmp(s->name, "__ex_table") == 0 || strcmp(s->name, ".orc_unwind") == 0 ||
		strcmp(s->name, ".orc_unwind_ip") == 0 || strcmp(s->name, "__mcount_loc") == 0);
}

bool views_sorted(const struct ck *ck, bool init)
{
	for (uint32_t i = 1; i < ck->w.nsec; i++)
		if (is_init_section(ck->w.sec[i].name) == init && is_sorted(&ck->w.sec[i]))
			return true;
	return false;
}

/* ---- what the kernel writes ---- */

struct branch {
	struct place at;
	uint32_t length;
	bool call;
	const char *to;
};

/* The branch to an import that starts there: [2e] e8 or e9 with a field that is relocated. */
static bool branch_at(const struct ck *ck, struct place p, struct branch *b)
{
	const struct sec *s = &ck->w.sec[p.section];
	uint32_t prefix = s->data[p.offset] == 0x2e;
	const struct rel *r;
	uint8_t op;

	if (s->hdr.sh_size - p.offset < prefix + 5)
		return false;
	op = s->data[p.offset + prefix];
	r = sec_rel(s, p.offset + prefix + 1);
	if ((op != 0xe8 && op != 0xe9) || !r || r->addend != -4 || !r->sym ||
	    ck->w.sym[r->sym].st_shndx != SHN_UNDEF)
		return false;
	*b = (struct branch){ p, prefix + 5, op == 0xe8, sym_name(&ck->w, r->sym) };
	return bit(s->starts, p.offset + b->length);
}

static void bytes(struct ck *ck, const void *from, uint32_t n)
{
	struct choice *c = vec_more(&ck->choices, sizeof(*c), 1);

	*c = (struct choice){ .first = ck->choice_relocs.count };
	memcpy(c->bytes, from, n);
}

static void to_outside(struct ck *ck, uint8_t op)
{
	struct choice_reloc r = {
		.offset = 1, .type = R_X86_64_PC32, .outside = true, .addend = -4
	};

	bytes(ck, &op, 1);
	((struct choice *)ck->choices.data)[ck->choices.count - 1].count = 1;
	*(struct choice_reloc *)vec_more(&ck->choice_relocs, sizeof(r), 1) = r;
}

static const uint8_t nop[5] = { 0x0f, 0x1f, 0x44, 0x00, 0x00 };
static const uint8_t ret[5] = { 0xc3, 0xcc, 0xcc, 0xcc, 0xcc };

static bool fentry(struct ck *ck, const struct branch *b)
{
	if (!b->call || b->length != 5 || strcmp(b->to, "__fentry__") != 0)
		return false;
	bytes(ck, nop, 5);
	original_content(ck, b->at, 5);
	to_outside(ck, 0xe8);
	return true;
}

static bool return_site(struct ck *ck, const struct branch *b)
{
	if (b->call || b->length != 5 || strcmp(b->to, "__x86_return_thunk") != 0)
		return false;
	bytes(ck, ret, 5);
	original_content(ck, b->at, 5);
	return true;
}

/* emit_indirect() [after LFENCE], INT3 behind a jump, then NOPs; not if it does not fit. */
static void emit(struct ck *ck, const struct branch *b, uint32_t reg, bool fence)
{
	static const uint8_t lfence[3] = { 0x0f, 0xae, 0xe8 };
	uint8_t code[8] = { 0 };
	uint32_t i = 0;

	if (fence) {
		memcpy(code, lfence, sizeof(lfence));
		i = 3;
	}
	if (i + (reg >= 8 ? 3 : 2) > b->length)
		return;
	if (reg >= 8)
		code[i++] = 0x41;
	code[i++] = 0xff;
	code[i++] = (uint8_t)((b->call ? 0xd0 : 0xe0) + (reg & 7));
	if (b->call)
		*(uint32_t *)vec_more(&ck->retsites, 4, 1) =
			moff_of(ck, b->at.section, b->at.offset + i);
	else if (i < b->length)
		code[i++] = 0xcc;
	while (i < b->length)
		code[i++] = 0x90;
	lengthen_nops(code, b->length);
	bytes(ck, code, b->length);
}

static bool retpoline(struct ck *ck, const struct branch *b)
{
	uint32_t reg = thunk_register(b->to);

	if (reg == NONE)
		return false;
	emit(ck, b, reg, false);
	emit(ck, b, reg, true);
	original_content(ck, b->at, b->length);
	return true;
}

/* __static_call_transform(): CALL or JMP to the function, NOP, RET, or "xor %eax, %eax". */
static bool static_call(struct ck *ck, const struct branch *b)
{
	if (b->length != 5 || strncmp(b->to, "__SCT__", 7) != 0)
		return false;
	original_content(ck, b->at, 5);
	to_outside(ck, b->call ? 0xe8 : 0xe9);
	bytes(ck, b->call ? nop : ret, 5);
	if (b->call)
		bytes(ck, "\x2e\x2e\x2e\x31\xc0", 5);
	return true;
}

static const struct patcher {
	const char *table;
	uint32_t record;
	bool runtime;
	bool (*contents)(struct ck *ck, const struct branch *b);
} patchers[] = {
	{ "__mcount_loc", 8, true, fentry },
	{ ".return_sites", 4, false, return_site },
	{ ".retpoline_sites", 4, false, retpoline },
	{ ".static_call_sites", 8, true, static_call },
};

/* __mcount_loc has addresses, the others distances. */
static bool names(struct ck *ck, const struct sec *s, uint64_t at, struct place *p)
{
	const struct rel *r = sec_rel(s, at);

	if (!r || r->type != R_X86_64_64)
		return place_at(ck, s, at, p);
	*p = w_place(ck, r->wsym, r->waddend);
	return p->section && ck->w.sec[p->section].use == USE_CODE &&
	       p->offset < ck->w.sec[p->section].hdr.sh_size &&
	       bit(ck->w.sec[p->section].starts, p->offset);
}

static void one_patch(struct ck *ck, const struct sec *s, uint64_t at, const struct patcher *t)
{
	struct site site = { .runtime = t->runtime, .owns = true, .first = ck->choices.count };
	struct place p = { 0, 0 };
	struct branch b;

	if (!names(ck, s, at, &p) || !branch_at(ck, p, &b) || !t->contents(ck, &b)) {
		fault(ck, CHECK_SITES, ck->w.elf.path, sec_at(s, at),
		      "%s+0x%llx: does not name a branch of its kind", s->name,
		      (unsigned long long)at);
		return;
	}
	site.moff = moff_of(ck, p.section, p.offset);
	site.size = b.length;
	site.count = ck->choices.count - site.first;
	*(struct site *)vec_more(&ck->sites, sizeof(site), 1) = site;
}

void views_patches(struct ck *ck)
{
	for (size_t k = 0; k < sizeof(patchers) / sizeof(patchers[0]); k++) {
		const struct sec *s = &ck->w.sec[sec_named(&ck->w, patchers[k].table)];

		if (s->use != USE_TABLE || !s->hdr.sh_size ||
		    !check_whole(ck, s, patchers[k].record))
			continue;
		for (uint64_t at = 0; at < s->hdr.sh_size; at += patchers[k].record)
			one_patch(ck, s, at, &patchers[k]);
	}
}

void views_limits(struct ck *ck)
{
	uint64_t constants = 0;

	note(ck, CHECK_NOTE_UNPROVED,
	     "where indirect branches lead inside of the module: without inner thunks a pointer that "
	     "the kernel can write may lead anywhere in it");
	for (uint32_t i = 1; i < ck->w.nsec; i++)
		if (ck->w.sec[i].use == USE_CONST && !(ck->w.sec[i].hdr.sh_flags & SHF_WRITE) &&
		    views_sorted(ck, is_init_section(ck->w.sec[i].name)))
			constants += ck->w.sec[i].hdr.sh_size;
	if (constants)
		note(ck, CHECK_NOTE_UNPROVED,
		     "%llu bytes of constants: they share pages with tables that the kernel sorts, so "
		     "they are ordinary memory",
		     (unsigned long long)constants);
	if (ck->w.sec[sec_named(&ck->w, ".smp_locks")].hdr.sh_size)
		note(ck, CHECK_NOTE_UNPROVED,
		     "that a kernel on one CPU announces it: one that takes LOCK prefixes away is "
		     "refused (bad-text)");
}
