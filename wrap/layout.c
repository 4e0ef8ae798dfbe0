// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where every section will lie. The order is that of Linux 6.1's kernel/module/main.c: first what
 * stays, then what is freed after init (".init*"); in each, code, constants, what becomes constant
 * after init, and the rest, a page boundary between them; inside of a category by section number
 * and alignment. Private sections and gates are whole pages, so that they cut their category into
 * segments without moving anything.
 */
#include "wrap/module.h"

#include <stdlib.h>
#include <string.h>

enum category { CAT_TEXT, CAT_RODATA, CAT_RO_AFTER_INIT, CAT_DATA, CATEGORIES };

static const char *const segment_names[2][CATEGORIES] = {
	{ "text", "rodata", "ro_after_init", "data" },
	{ "init.text", "init.rodata", "init.ro_after_init", "init.data" },
};

static enum category category_of(const struct section *s)
{
	if (s->hdr.sh_flags & SHF_EXECINSTR)
		return CAT_TEXT;
	if (!(s->hdr.sh_flags & SHF_WRITE))
		return CAT_RODATA;
	if (strcmp(s->name, ".data..ro_after_init") == 0 || strcmp(s->name, "__jump_table") == 0)
		return CAT_RO_AFTER_INIT;
	return CAT_DATA;
}

/*
 * Sorted by the kernel when it loads the module. A wrapped module has them among its data; in one
 * that stays as it is they share pages with its constants, which then cannot be verified either.
 */
static bool kernel_sorts(const struct section *s)
{
	return s->hdr.sh_size &&
	       (strcmp(s->name, ".orc_unwind") == 0 || strcmp(s->name, ".orc_unwind_ip") == 0 ||
		strcmp(s->name, "__ex_table") == 0 || strcmp(s->name, "__mcount_loc") == 0);
}

/* What a page of this category is, all sections in it alike. */
static uint32_t kind_unwrapped(const struct module *m, const struct section *s, bool init)
{
	bool verified = true;

	if (s->role == ROLE_PRIVATE)
		return GM_SEG_PRIVATE;
	if (s->hdr.sh_flags & SHF_EXECINSTR)
		return init ? GM_SEG_INIT_TEXT : GM_SEG_TEXT;
	for (uint32_t i = 1; i < m->nsections; i++)
		if (section_is_init(&m->sections[i]) == init && kernel_sorts(&m->sections[i]))
			verified = false;
	if (s->hdr.sh_flags & SHF_WRITE || !verified)
		return init ? GM_SEG_INIT_DATA : GM_SEG_DATA;
	return init ? GM_SEG_INIT_RODATA : GM_SEG_RODATA;
}

static uint32_t kind_of(const struct module *m, const struct section *s, bool init)
{
	if (m->opt->views)
		return kind_unwrapped(m, s, init);
	switch (s->role) {
	case ROLE_TEXT: return init ? GM_SEG_INIT_TEXT : GM_SEG_TEXT;
	case ROLE_GATES: return GM_SEG_GATES;
	case ROLE_RODATA: return init ? GM_SEG_INIT_RODATA : GM_SEG_RODATA;
	case ROLE_TRAMP: return GM_SEG_DATA;
	case ROLE_PRIVATE: return GM_SEG_PRIVATE;
	case ROLE_PERCPU: return GM_SEG_PERCPU;
	default: return init ? GM_SEG_INIT_DATA : GM_SEG_DATA;
	}
}

static const char *name_of(uint32_t kind, bool init, enum category cat)
{
	if (kind == GM_SEG_DATA && cat == CAT_TEXT)
		return "static_call";
	if (kind == GM_SEG_GATES)
		return "gates";
	if (kind == GM_SEG_PRIVATE)
		return "private";
	if (kind == GM_SEG_PERCPU)
		return "percpu";
	return segment_names[init][cat];
}

static struct segment *open_segment(struct module *m, const char *name, uint32_t kind)
{
	struct segment *g;

	if (m->nsegments == GM_MAX_SEGMENTS) {
		refuse(m, m->elf.eh.e_shoff, "more than %u segments (too many private sections)",
		       GM_MAX_SEGMENTS);
		return NULL;
	}
	g = &m->segments[m->nsegments++];
	*g = (struct segment){ .name = name, .kind = kind };
	return g;
}

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* Appends a section to the open segment; total bounds were checked section by section. */
static bool place(struct module *m, struct section *s, struct segment *g)
{
	uint64_t at = round_up(g->size, s->hdr.sh_addralign ? s->hdr.sh_addralign : 1);

	if (at + s->hdr.sh_size > (uint64_t)GM_MAX_PAGES * GM_PAGE)
		return refuse(m, file_at(s, 0), "%s: the module is larger than %u pages", s->name,
			      GM_MAX_PAGES);
	s->segment = (uint32_t)(g - m->segments);
	s->offset = (uint32_t)at;
	g->size = (uint32_t)(at + s->hdr.sh_size);
	return true;
}

static bool in_category(const struct section *s, bool init, enum category cat)
{
	return section_loaded(s) && s->role != ROLE_PERCPU && section_is_init(s) == init &&
	       category_of(s) == cat;
}

static bool place_category(struct module *m, bool init, enum category cat)
{
	uint32_t first = m->nsegments;
	struct segment *g = NULL;

	for (uint32_t i = 1; i < m->nsections; i++) {
		struct section *s = &m->sections[i];
		uint32_t kind = kind_of(m, s, init);

		if (!in_category(s, init, cat))
			continue;
		if (s->hdr.sh_size == 0) {
			/* takes no room, not even for alignment; objects of no size lie here */
			s->hdr.sh_addralign = 1;
			if (g && g->kind == kind && !place(m, s, g))
				return false;
			continue;
		}
		if (!g || g->kind != kind || kind == GM_SEG_PRIVATE)
			g = open_segment(m, name_of(kind, init, cat), kind);
		if (!g || !place(m, s, g))
			return false;
	}
	/* those that came before anything: at the start of what came */
	for (uint32_t i = 1; i < m->nsections; i++) {
		struct section *s = &m->sections[i];

		if (in_category(s, init, cat) && s->segment == WRAP_NONE)
			for (uint32_t k = m->nsegments; k-- > first;)
				if (m->segments[k].kind == kind_of(m, s, init))
					s->segment = k;
	}
	return true;
}

/* Private sections fill their pages; their contents are for the guard, not for the guest. */
static void pad_private(struct module *m)
{
	for (uint32_t i = 1; i < m->nsections; i++) {
		struct section *s = &m->sections[i];
		uint64_t size = round_up(s->hdr.sh_size, GM_PAGE);

		if (s->role != ROLE_PRIVATE || size == s->hdr.sh_size)
			continue;
		if (s->data) {
			s->own = wrap_alloc(size, 1);
			memcpy(s->own, s->data, s->hdr.sh_size);
			s->data = s->own;
		}
		s->hdr.sh_size = size;
	}
}

/*
 * A return site may be the address right behind the last instruction (a call that does not
 * return); it has to lie inside the segment.
 */
static void extend_code(struct segment *g)
{
	if ((g->kind == GM_SEG_TEXT || g->kind == GM_SEG_INIT_TEXT) && g->size % GM_PAGE)
		g->size++;
}

bool layout_make(struct module *m)
{
	uint32_t start = 0;

	pad_private(m);
	for (int init = 0; init < 2; init++)
		for (int cat = 0; cat < CATEGORIES; cat++)
			if (!place_category(m, init, (enum category)cat))
				return false;
	for (uint32_t i = 1; i < m->nsections; i++) {
		struct section *s = &m->sections[i];
		struct segment *g;

		if (s->role != ROLE_PERCPU || s->hdr.sh_size == 0)
			continue;
		g = open_segment(m, "percpu", GM_SEG_PERCPU);
		if (!g || !place(m, s, g))
			return false;
	}
	for (uint32_t i = 0; i < m->nsegments; i++) {
		struct segment *g = &m->segments[i];

		extend_code(g);
		g->start = start;
		start += (uint32_t)round_up(g->size, GM_PAGE);
		if (start > GM_MAX_PAGES * GM_PAGE)
			return refuse(m, 0, "the module is larger than %u pages", GM_MAX_PAGES);
	}
	return true;
}
