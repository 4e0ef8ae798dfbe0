/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Does the checker notice? Each plant below is one kind of fault, put into a wrapped module that is
 * otherwise right; the checker must report it under the class that it belongs to.
 */
#include "tests/support/plant.h"

#include <unistd.h>

#define MAX_MODULE (1u << 26)

/* A fault: false if this module has nowhere to put it. */
struct kind {
	const char *what, *class;
	bool (*put)(struct plant *p);
};

/* ---- helpers ---- */

static bool imports(struct blob *b, const Elf64_Rela *r)
{
	return ELF64_R_SYM(r->r_info) &&
	       plant_symbol(b, (uint32_t)ELF64_R_SYM(r->r_info))->st_shndx == SHN_UNDEF;
}

/* The first record of a table that the wrapping changed and that wants() likes; else NULL. */
static Elf64_Rela *changed(struct plant *p, const char *table, const Elf64_Rela **original,
			   bool (*wants)(struct plant *p, const Elf64_Rela *o))
{
	uint32_t n, m;
	Elf64_Rela *w = plant_relas(&p->w, table, &n), *o = plant_relas(&p->o, table, &m);

	for (uint32_t i = 0; i < n && n == m; i++)
		if (memcmp(&w[i], &o[i], sizeof(*w)) != 0 && wants(p, &o[i])) {
			*original = &o[i];
			return &w[i];
		}
	return NULL;
}

static bool plain_import(struct plant *p, const Elf64_Rela *o)
{
	const char *name = plant_symbol_name(&p->o, (uint32_t)ELF64_R_SYM(o->r_info));

	return imports(&p->o, o) && strncmp(name, "__x86", 5) != 0 &&
	       strcmp(name, "__fentry__") != 0;
}

static bool thunk_import(struct plant *p, const Elf64_Rela *o)
{
	return imports(&p->o, o) &&
	       strstr(plant_symbol_name(&p->o, (uint32_t)ELF64_R_SYM(o->r_info)),
		      "__x86_indirect_thunk_");
}

static bool own_function(struct plant *p, const Elf64_Rela *o)
{
	return !imports(&p->o, o);
}

static uint8_t *gate_of(struct plant *p, enum gm_gate_kind kind, uint32_t skip, uint32_t *index)
{
	const struct gm_gate *g = PLANT_TABLE(p, struct gm_gate, gates);

	for (uint32_t i = 0; i < p->h->gates.count; i++)
		if (g[i].kind == kind && !skip--) {
			*index = i;
			return plant_bytes(&p->w, ".guard.gates") + i * 16;
		}
	return NULL;
}

static Elf64_Rela *gate_rela(struct plant *p, uint32_t gate)
{
	uint32_t n;
	Elf64_Rela *r = plant_relas(&p->w, ".rela.guard.gates", &n);

	for (uint32_t i = 0; i < n; i++)
		if (r[i].r_offset / 16 == gate)
			return &r[i];
	return NULL;
}

static const uint8_t vmmcall[3] = { 0x0f, 0x01, 0xd9 };

static uint8_t *image_of(struct plant *p, uint32_t kind)
{
	const struct gm_segment *s = PLANT_TABLE(p, struct gm_segment, segments);

	for (uint32_t i = 0; i < p->h->segments.count; i++)
		if (s[i].kind == kind)
			return PLANT_TABLE(p, uint8_t, image) + s[i].image;
	return NULL;
}

/* ---- the kinds: wrapped object ---- */

static bool call_unwrapped(struct plant *p)
{
	const Elf64_Rela *o;
	Elf64_Rela *r = changed(p, ".rela.text", &o, plain_import);

	return r && (*r = *o, true);
}

static bool thunk_unwrapped(struct plant *p)
{
	const Elf64_Rela *o;
	Elf64_Rela *r = changed(p, ".rela.text", &o, thunk_import);

	return r && (*r = *o, true);
}

static bool other_gate(struct plant *p)
{
	const Elf64_Rela *o;
	Elf64_Rela *r = changed(p, ".rela.text", &o, plain_import);

	return r && (r->r_addend += 16, true);
}

static bool callback_raw(struct plant *p)
{
	static const char *const tables[] = { ".rela.data", ".rela.rodata" };
	const Elf64_Rela *o;

	for (size_t i = 0; i < 2; i++) {
		Elf64_Rela *r = changed(p, tables[i], &o, own_function);

		if (r)
			return *r = *o, true;
	}
	return false;
}

static bool exit_raw(struct plant *p)
{
	const Elf64_Rela *o;
	Elf64_Rela *r = changed(p, ".rela.gnu.linkonce.this_module", &o, own_function);

	return r && (*r = *o, true);
}

static bool operand_raw(struct plant *p)
{
	const Elf64_Rela *o;
	Elf64_Rela *r = changed(p, ".rela.text", &o, own_function);

	return r && (*r = *o, true);
}

static bool x_in_gate_page(struct plant *p)
{
	uint32_t i;
	uint8_t *g = gate_of(p, GM_GATE_PAD, 0, &i);

	return g && (memcpy(g, vmmcall, 3), true);
}

static bool x_behind_gate(struct plant *p)
{
	uint32_t i;
	uint8_t *g = gate_of(p, GM_GATE_LEAVE, 0, &i);

	return g && (memcpy(g + 8, vmmcall, 3), true);
}

static bool gate_byte_off(struct plant *p)
{
	uint32_t i;
	uint8_t *g = gate_of(p, GM_GATE_ENTER, 0, &i);

	return g && (memmove(g + 1, g, 8), true);
}

static bool gate_other_import(struct plant *p)
{
	uint32_t i, k;
	Elf64_Rela *a = gate_of(p, GM_GATE_LEAVE, 0, &i) ? gate_rela(p, i) : NULL;
	Elf64_Rela *b = gate_of(p, GM_GATE_LEAVE, 1, &k) ? gate_rela(p, k) : NULL;

	return a && b && (a->r_info = b->r_info, true);
}

static bool gate_past_start(struct plant *p)
{
	uint32_t i;
	Elf64_Rela *r = gate_of(p, GM_GATE_ENTER, 0, &i) ? gate_rela(p, i) : NULL;

	return r && (r->r_addend += 1, true);
}

static bool return_gate_plain(struct plant *p)
{
	uint32_t i;
	uint8_t *g = gate_of(p, GM_GATE_LEAVE_RETURN, 0, &i);

	return g && (g[4] = 0xf0, true); /* lea -16(%rsp) */
}

static bool thunk_bound(struct plant *p)
{
	uint8_t *t = plant_bytes(&p->w, ".guard.text");
	const Elf64_Shdr *s = plant_section(&p->w, ".guard.text");

	for (uint64_t i = 0; i + 8 < s->sh_size; i++)
		if (t[i] == 0x48 && t[i + 1] == 0x81 && (t[i + 2] & 0xf8) == 0xf8)
			return t[i + 3] += 16, true; /* cmp $bytes: one gate too many */
	return false;
}

static bool thunk_code_added(struct plant *p)
{
	uint8_t *t = plant_bytes(&p->w, ".guard.text");

	return t[1] == 0xcc && (t[1] = 0x90, true);
}

static bool stub_elsewhere(struct plant *p)
{
	uint32_t n;
	Elf64_Rela *r = plant_relas(&p->w, ".rela.guard.text", &n);

	/* the last one is a stub's jump */
	return n > 8 && (r[n - 1].r_info = r[n - 3].r_info, r[n - 1].r_addend = -4 + 1, true);
}

static bool text_byte(struct plant *p)
{
	plant_bytes(&p->w, ".text")[7] ^= 1;
	return true;
}

static bool section_flag(struct plant *p)
{
	Elf64_Shdr *s = plant_section(&p->w, ".rodata");

	return s && (s->sh_flags |= SHF_WRITE, true);
}

static bool data_executable(struct plant *p)
{
	Elf64_Shdr *s = plant_section(&p->w, ".data");

	return s && (s->sh_flags |= SHF_EXECINSTR, true);
}

static bool symbol_moved(struct plant *p)
{
	for (uint32_t i = 1;; i++)
		if (ELF64_ST_TYPE(plant_symbol(&p->w, i)->st_info) == STT_FUNC)
			return plant_symbol(&p->w, i)->st_value ^= 4, true;
}

static bool patches_come_back(struct plant *p)
{
	Elf64_Shdr *w = plant_section(&p->w, ".return_sites"),
		   *o = plant_section(&p->o, ".return_sites");

	if (!w || !o)
		return false;
	w->sh_size = o->sh_size;
	w->sh_offset = plant_section(&p->w, ".text")->sh_offset;
	return true;
}

static bool crc_missing(struct plant *p)
{
	uint8_t *w = plant_bytes(&p->w, "__versions"), *o = plant_bytes(&p->o, "__versions");

	/* a module that never had it: what a new import would be */
	return w && o && (memcpy(w + 64 + 8, "zzz", 4), memcpy(o + 64 + 8, "zzz", 4), true);
}

static bool relocation_gone(struct plant *p)
{
	uint32_t n;
	Elf64_Rela *r = plant_relas(&p->w, ".rela.text", &n);

	return n && (r[0].r_info = ELF64_R_INFO(0, R_X86_64_NONE), true);
}

static bool data_addend(struct plant *p)
{
	uint32_t n, m;
	Elf64_Rela *w = plant_relas(&p->w, ".rela.text", &n),
		   *o = plant_relas(&p->o, ".rela.text", &m);

	for (uint32_t i = 0; i < n; i++)
		if (memcmp(&w[i], &o[i], sizeof(*w)) == 0 && !imports(&p->o, &o[i]) &&
		    ELF64_R_TYPE(w[i].r_info) == R_X86_64_32S)
			return w[i].r_addend += 8, true;
	return false;
}

/* ---- the kinds: manifest ---- */

static bool unwind_row(struct plant *p)
{
	PLANT_TABLE(p, struct gm_unwind, unwind)[5].cfa_offset += 8;
	return true;
}

static bool unwind_bp(struct plant *p)
{
	struct gm_unwind *u = PLANT_TABLE(p, struct gm_unwind, unwind);

	for (uint32_t i = 0; i < p->h->unwind.count; i++)
		if (u[i].bp_rule == GM_BP_AT_CFA)
			return u[i].bp_rule = GM_BP_SAME, u[i].bp_offset = 0, true;
	return false;
}

static bool unwind_one_byte_late(struct plant *p)
{
	struct gm_unwind *u = PLANT_TABLE(p, struct gm_unwind, unwind);

	for (uint32_t i = 0; i + 1 < p->h->unwind.count; i++)
		if (u[i].cfa_offset == 16 && u[i + 1].moff > u[i].moff + 1)
			return u[i].moff++, true;
	return false;
}

static bool image_byte(struct plant *p)
{
	image_of(p, GM_SEG_TEXT)[3] ^= 0x10;
	return true;
}

static bool image_constant(struct plant *p)
{
	uint8_t *c = image_of(p, GM_SEG_RODATA);

	return c && (c[0] ^= 0x10, true);
}

static bool image_gate(struct plant *p)
{
	image_of(p, GM_SEG_GATES)[8] = 0x90;
	return true;
}

static bool mask_too_wide(struct plant *p)
{
	struct gm_site *s = PLANT_TABLE(p, struct gm_site, sites);

	return p->h->sites.count && (s[0].size++, true);
}

static bool content_too_many(struct plant *p)
{
	struct gm_site *s = PLANT_TABLE(p, struct gm_site, sites);

	for (uint32_t i = 0; i + 1 < p->h->sites.count; i++)
		if (s[i + 1].first == s[i].first + s[i].count)
			return s[i].count++, true;
	return false;
}

static bool content_wrong(struct plant *p)
{
	const struct gm_choice *c = PLANT_TABLE(p, struct gm_choice, choices);

	return p->h->choices.count && (PLANT_TABLE(p, uint8_t, image)[c[1].bytes + 1] ^= 4, true);
}

static bool content_missing(struct plant *p)
{
	struct gm_site *s = PLANT_TABLE(p, struct gm_site, sites);

	return p->h->sites.count && (s[0].count = 1, true);
}

static bool site_moved(struct plant *p)
{
	struct gm_site *s = PLANT_TABLE(p, struct gm_site, sites);

	return p->h->sites.count && (s[0].moff--, true);
}

static bool site_at_load_only(struct plant *p)
{
	struct gm_site *s = PLANT_TABLE(p, struct gm_site, sites);

	return p->h->sites.count && (s[0].flags = 0, true);
}

static bool entry_elsewhere(struct plant *p)
{
	struct gm_entry *e = PLANT_TABLE(p, struct gm_entry, entries);

	return p->h->entries.count && (e[0].moff += 1, true);
}

static bool entry_not_init(struct plant *p)
{
	struct gm_entry *e = PLANT_TABLE(p, struct gm_entry, entries);

	for (uint32_t i = 0; i < p->h->entries.count; i++)
		if (e[i].flags == GM_ENTRY_EXIT)
			return e[i].flags = 0, true;
	return false;
}

static bool init_call_as(struct plant *p, uint32_t flags)
{
	struct gm_entry *e = PLANT_TABLE(p, struct gm_entry, entries);

	for (uint32_t i = 0; i < p->h->entries.count; i++)
		if (e[i].flags == GM_ENTRY_INIT_CALL)
			return e[i].flags = flags, true;
	return false;
}

static bool init_call_is_init(struct plant *p)
{
	return init_call_as(p, GM_ENTRY_INIT);
}

static bool init_call_at_any_time(struct plant *p)
{
	return init_call_as(p, 0);
}

static bool flag_of_nobody(struct plant *p)
{
	PLANT_TABLE(p, struct gm_entry, entries)[0].flags |= 8;
	return true;
}

static bool reserved_in_use(struct plant *p)
{
	PLANT_TABLE(p, struct gm_unwind, unwind)[p->h->unwind.count - 1].reserved = 1;
	return true;
}

static bool entry_headroom(struct plant *p)
{
	struct gm_entry *e = PLANT_TABLE(p, struct gm_entry, entries);

	for (uint32_t i = 0; i < p->h->entries.count; i++)
		if (e[i].headroom > GM_MIN_HEADROOM)
			return e[i].headroom = GM_MIN_HEADROOM, true;
	return false;
}

static bool import_preserves_more(struct plant *p)
{
	PLANT_TABLE(p, struct gm_import, imports)[0].preserve |= 1;
	return true;
}

static bool import_called_is_data(struct plant *p)
{
	PLANT_TABLE(p, struct gm_import, imports)[0].flags ^= GM_IMPORT_DATA;
	return true;
}

static bool reloc_addend(struct plant *p)
{
	PLANT_TABLE(p, struct gm_reloc, relocs)[3].addend += 8;
	return true;
}

static bool reloc_import(struct plant *p)
{
	struct gm_reloc *r = PLANT_TABLE(p, struct gm_reloc, relocs);

	for (uint32_t i = 0; i < p->h->relocs.count; i++)
		if (r[i].kind == GM_TARGET_IMPORT && p->h->imports.count > 1)
			return r[i].target = r[i].target ? r[i].target - 1 : 1, true;
	return false;
}

static bool retsite_moved(struct plant *p)
{
	PLANT_TABLE(p, uint32_t, retsites)[2]++;
	return true;
}

static bool fixup_target(struct plant *p)
{
	struct gm_fixup *f = PLANT_TABLE(p, struct gm_fixup, fixups);

	return p->h->fixups.count && (f[0].moff -= 1, f[0].target -= 1, true);
}

static bool segment_longer(struct plant *p)
{
	struct gm_segment *s = PLANT_TABLE(p, struct gm_segment, segments);

	for (uint32_t i = 0; i < p->h->segments.count; i++)
		if (s[i].kind == GM_SEG_DATA && s[i].size % GM_PAGE)
			return s[i].size++, true;
	return false;
}

static bool constants_as_data(struct plant *p)
{
	struct gm_segment *s = PLANT_TABLE(p, struct gm_segment, segments);

	for (uint32_t i = 0; i < p->h->segments.count; i++)
		if (s[i].kind == GM_SEG_DATA)
			return s[i].kind = GM_SEG_PERCPU, true;
	return false;
}

static bool gate_record_x(struct plant *p)
{
	uint32_t i;

	return gate_of(p, GM_GATE_LEAVE, 0, &i) &&
	       (PLANT_TABLE(p, struct gm_gate, gates)[i].x = 3, true);
}

/* ---- what only some modules have ---- */

static const struct gm_site *load_site(struct plant *p)
{
	const struct gm_site *s = PLANT_TABLE(p, struct gm_site, sites);

	for (uint32_t i = 0; i < p->h->sites.count; i++)
		if (!(s[i].flags & GM_SITE_RUNTIME) && s[i].count > 1)
			return &s[i];
	return NULL;
}

static bool alternative_bytes(struct plant *p)
{
	const struct gm_site *s = load_site(p);

	return s &&
	       (PLANT_TABLE(p, uint8_t,
			    image)[PLANT_TABLE(p, struct gm_choice, choices)[s->first + 1].bytes] ^=
		1,
		true);
}

static bool alternatives_swapped(struct plant *p)
{
	const struct gm_site *s = load_site(p);
	struct gm_choice *c = PLANT_TABLE(p, struct gm_choice, choices), old;

	if (!s)
		return false;
	old = c[s->first];
	c[s->first] = c[s->first + 1];
	c[s->first + 1] = old;
	return true;
}

static bool group_split(struct plant *p)
{
	struct gm_site *s = PLANT_TABLE(p, struct gm_site, sites);

	for (uint32_t i = 0; i < p->h->sites.count; i++)
		if (s[i].group != GM_NONE)
			return s[i].group = GM_NONE, true;
	return false;
}

static bool choice_reloc(struct plant *p)
{
	return p->h->choice_relocs.count &&
	       (PLANT_TABLE(p, struct gm_reloc, choice_relocs)[0].addend += 4, true);
}

static bool paravirt_raw(struct plant *p)
{
	uint32_t n, m;
	Elf64_Rela *w = plant_relas(&p->w, ".rela.text", &n),
		   *o = plant_relas(&p->o, ".rela.text", &m);

	for (uint32_t i = 0; i < n; i++)
		if (memcmp(&w[i], &o[i], sizeof(*w)) != 0 && imports(&p->o, &o[i]) &&
		    strcmp(plant_symbol_name(&p->o, (uint32_t)ELF64_R_SYM(o[i].r_info)),
			   "pv_ops") == 0)
			return w[i] = o[i], true;
	return false;
}

static bool paravirt_word(struct plant *p)
{
	uint32_t n;
	Elf64_Rela *r = plant_relas(&p->w, ".rela.guard.rodata", &n);

	return n && (r[0].r_addend += 16, true);
}

static bool tramp_elsewhere(struct plant *p)
{
	uint32_t n;
	Elf64_Rela *r = plant_relas(&p->w, ".rela.guard.static_call", &n);

	return n && (r[0].r_addend += 16, true);
}

static bool jump_target(struct plant *p)
{
	struct gm_jump *j = PLANT_TABLE(p, struct gm_jump, jumps);

	return p->h->jumps.count && (j[0].target++, true);
}

static bool orc_row(struct plant *p)
{
	Elf64_Shdr *s = plant_section(&p->w, ".orc_unwind");

	/* of the gates: no more the end of the stack */
	return s && (p->w.data[s->sh_offset + s->sh_size - 1] = 0, true);
}

static bool padding(struct plant *p)
{
	/* between a table of 12-byte records and the next one */
	uint32_t end = p->h->imports.offset + p->h->imports.count * 12;

	return end % 8 && (p->m.data[end] = 1, true);
}

#define K(name, class)                                                                             \
	{                                                                                          \
#name, class, name                                                                 \
	}
static const struct kind kinds[] = {
	K(call_unwrapped, "calls"),
	K(thunk_unwrapped, "thunk_"),
	K(other_gate, "calls"),
	K(callback_raw, "addresses"),
	K(exit_raw, "addresses"),
	K(operand_raw, "addresses"),
	K(x_in_gate_page, "gates"),
	K(x_behind_gate, "gates"),
	K(gate_byte_off, "gates"),
	K(gate_other_import, "gates"),
	K(gate_past_start, "gates"),
	K(return_gate_plain, "gates"),
	K(thunk_bound, "thunks"),
	K(thunk_code_added, "thunks"),
	K(stub_elsewhere, "thunks"),
	K(text_byte, "sections"),
	K(section_flag, "sections"),
	K(data_executable, "sections"),
	K(symbol_moved, "sections"),
	K(patches_come_back, "emptied"),
	K(crc_missing, "crcs"),
	K(relocation_gone, "kept"),
	K(data_addend, "kept"),
	K(unwind_row, "unwind"),
	K(unwind_bp, "unwind"),
	K(unwind_one_byte_late, "unwind"),
	K(image_byte, "image"),
	K(image_constant, "image"),
	K(image_gate, "image"),
	K(mask_too_wide, "sites"),
	K(content_too_many, "sites"),
	K(content_wrong, "sites"),
	K(content_missing, "sites"),
	K(site_moved, "sites"),
	K(site_at_load_only, "sites"),
	K(entry_elsewhere, "gates"),
	K(entry_not_init, "entries"),
	K(init_call_is_init, "entries"),
	K(init_call_at_any_time, NULL), /* bad input: the core refuses such a manifest */
	K(flag_of_nobody, NULL),
	K(reserved_in_use, NULL),
	K(entry_headroom, "headroom"),
	K(import_preserves_more, "imports"),
	K(import_called_is_data, "imports"),
	K(reloc_addend, "relocations"),
	K(reloc_import, "relocations"),
	K(retsite_moved, "return_sites"),
	K(fixup_target, "fixups"),
	K(segment_longer, "segments"),
	K(constants_as_data, "segments"),
	K(gate_record_x, "gates"),
	K(alternative_bytes, "sites"),
	K(alternatives_swapped, "sites"),
	K(group_split, "sites"),
	K(choice_reloc, "sites"),
	K(paravirt_raw, "paravirt"),
	K(paravirt_word, "paravirt"),
	K(tramp_elsewhere, "addresses"),
	K(jump_target, "thunks"),
	K(orc_row, "sections"),
	K(padding, NULL), /* bad input: no table may have anything behind it */
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static bool says(const struct check_report *r, const char *class)
{
	for (uint32_t i = 0; i < r->stored_faults; i++)
		if (strncmp(check_keys[r->fault[i].class], class, strlen(class)) == 0)
			return true;
	return false;
}

/* Plants each kind; returns how many had a place. */
static unsigned plant_all(const struct plant *good, bool *put)
{
	struct check_report r = { 0 };
	unsigned caught = 0;
	struct error err;

	if (plant_check(good, &r, &err) != PLANT_PROVED)
		fail_msg("unchanged, but: %s", r.faults ? r.fault[0].text : err.text);
	check_report_free(&r);
	for (size_t k = 0; k < KINDS; k++) {
		struct plant p = plant_copy(good);
		enum plant_verdict v;

		if (!kinds[k].put(&p)) {
			plant_free(&p);
			continue;
		}
		v = plant_check(&p, &r, &err);
		if (kinds[k].class && (v != PLANT_FAULT || !says(&r, kinds[k].class)))
			fail_msg("%s: not reported as %s, but: %s", kinds[k].what, kinds[k].class,
				 v == PLANT_PROVED	? "proved"
				 : v == PLANT_BAD_INPUT ? err.text
							: r.fault[0].text);
		if (!kinds[k].class)
			assert_int_equal(v, PLANT_BAD_INPUT);
		check_report_free(&r);
		plant_free(&p);
		put[k] = true;
		caught++;
	}
	return caught;
}

/* Is each kind of fault reported as what it is, in a sample with private memory and .eh_frame? */
static void test_sample(void **state)
{
	(void)state;
	struct blob ko = wt_compile(wt_sample, WT_RETPOLINE);
	struct wrap_result r = wt_wrap(&ko, GM_X_VMMCALL);
	struct plant p = plant_make(&ko, &r);
	bool put[KINDS] = { false };

	assert_in_range(plant_all(&p, put), 12, KINDS);
	plant_free(&p);
	wrap_result_free(&r);
	blob_free(&ko);
}

/*
 * And in real modules, where every kind has a place: a driver, one with alternatives, paravirtual
 * and static calls, one with a jump table, one whose init code is called back.
 */
static void test_kernel_modules(void **state)
{
	static const char *const paths[] = {
		WT_E1000E,
		"build/debian/modules/fs/erofs/erofs.ko",
		"build/debian/modules/arch/x86/crypto/crc32c-intel.ko",
		"build/debian/modules/net/sched/sch_teql.ko",
	};
	bool put[KINDS] = { false };
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct blob ko;
		struct wrap_result r;
		struct plant p;

		if (access(paths[i], R_OK) != 0) {
			printf("SKIP: no %s (make corpus-debian)\n", paths[i]);
			skip();
		}
		if (!blob_read(&ko, paths[i], MAX_MODULE, &err))
			fail_msg("%s", err.text);
		r = wt_wrap(&ko, GM_X_VMMCALL);
		p = plant_make(&ko, &r);
		plant_all(&p, put);
		plant_free(&p);
		wrap_result_free(&r);
		blob_free(&ko);
	}
	for (size_t k = 0; k < KINDS; k++)
		if (!put[k])
			fail_msg("no place for %s", kinds[k].what);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sample),
		cmocka_unit_test(test_kernel_modules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
