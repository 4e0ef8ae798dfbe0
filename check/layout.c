// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where Linux 6.1 will put the wrapped object's sections (kernel/module/main.c, layout_sections()),
 * made again from their headers alone, and the segments that follow from it.
 *
 * The kernel fills two areas, one that stays and one that is freed after init. In each it goes four
 * times through all sections in order: code, constants, constants after init, all other. Each round
 * starts on a page. Gates and private sections are whole pages and so segments of their own.
 */
#include "check/internal.h"

#include <string.h>

struct plan {
	struct ck *ck;
	uint32_t n; /* segments so far */
	struct {
		uint32_t kind, size;
		uint64_t first; /* offset of its first section in the round */
		uint32_t section;
	} segment[GM_MAX_SEGMENTS];
	uint64_t at;   /* in the round */
	uint32_t open; /* segment that grows, NONE */
};

static bool is_loaded(const struct sec *s)
{
	return s->hdr.sh_flags & SHF_ALLOC && s->use != USE_FILE && s->use != USE_PERCPU;
}

static int round_of(const struct sec *s)
{
	if (s->hdr.sh_flags & SHF_EXECINSTR)
		return 0;
	if (!(s->hdr.sh_flags & SHF_WRITE))
		return 1;
	return strcmp(s->name, ".data..ro_after_init") == 0 || strcmp(s->name, "__jump_table") == 0
		       ? 2
		       : 3;
}

static uint32_t kind_of(const struct ck *ck, const struct sec *s, bool init)
{
	if (s->use == USE_PERCPU)
		return GM_SEG_PERCPU;
	if (s->use == USE_GATES)
		return GM_SEG_GATES;
	if (s->use == USE_PRIVATE)
		return GM_SEG_PRIVATE;
	if (s->use == USE_TRAMP)
		return GM_SEG_DATA; /* the kernel patches it at any time */
	if (s->hdr.sh_flags & SHF_EXECINSTR)
		return init ? GM_SEG_INIT_TEXT : GM_SEG_TEXT;
	if (!(s->hdr.sh_flags & SHF_WRITE) && !(ck->views && views_sorted(ck, init)))
		return init ? GM_SEG_INIT_RODATA : GM_SEG_RODATA;
	return init ? GM_SEG_INIT_DATA : GM_SEG_DATA;
}

static bool open_segment(struct plan *p, uint32_t i, uint32_t kind, uint64_t at)
{
	struct ck *ck = p->ck;

	if (p->n == GM_MAX_SEGMENTS || at % GM_PAGE)
		return fault(ck, CHECK_SEGMENTS, ck->w.elf.path, elfile_section_at(&ck->w.elf, i),
			     "%s: one segment too many, or one that starts within a page",
			     ck->w.sec[i].name);
	p->segment[p->n].kind = kind;
	p->segment[p->n].first = at;
	p->segment[p->n].size = 0;
	p->segment[p->n].section = i;
	p->open = p->n++;
	return true;
}

static bool place(struct plan *p, uint32_t i, bool init)
{
	struct ck *ck = p->ck;
	struct sec *s = &ck->w.sec[i];
	uint64_t align = s->hdr.sh_addralign ? s->hdr.sh_addralign : 1;
	uint32_t kind;

	if (ck->views && views_private(ck, i, p->n))
		s->use = USE_PRIVATE;
	kind = kind_of(ck, s, init);
	if (align > GM_PAGE)
		return fault(ck, CHECK_SEGMENTS, ck->w.elf.path, elfile_section_at(&ck->w.elf, i),
			     "%s is aligned to more than a page", s->name);
	p->at = (p->at + align - 1) / align * align;
	if (s->hdr.sh_size == 0) {
		/* a place for its symbols, if what is around it is of its kind */
		if (p->open != NONE && p->segment[p->open].kind == kind) {
			s->segment = p->open;
			s->offset = (uint32_t)(p->at - p->segment[p->open].first);
		}
		return true;
	}
	if ((p->open == NONE || p->segment[p->open].kind != kind || kind == GM_SEG_PRIVATE) &&
	    !open_segment(p, i, kind, p->at))
		return false;
	s->segment = p->open;
	s->offset = (uint32_t)(p->at - p->segment[p->open].first);
	p->at += s->hdr.sh_size;
	if (p->at > (uint64_t)GM_MAX_PAGES * GM_PAGE)
		return fault(ck, CHECK_SEGMENTS, ck->w.elf.path, elfile_section_at(&ck->w.elf, i),
			     "%s: the module is larger than %u pages", s->name, GM_MAX_PAGES);
	p->segment[p->open].size = s->offset + (uint32_t)s->hdr.sh_size;
	ck->order[ck->norder++] = i;
	return true;
}

static bool layout(struct plan *p)
{
	struct ck *ck = p->ck;

	for (int k = 0; k < 8; k++) {
		uint32_t first = p->n;

		p->at = 0;
		p->open = NONE;
		for (uint32_t i = 1; i < ck->w.nsec; i++)
			if (is_loaded(&ck->w.sec[i]) && round_of(&ck->w.sec[i]) == k % 4 &&
			    is_init_section(ck->w.sec[i].name) == k / 4 && !place(p, i, k / 4))
				return false;
		/* empty sections before all others: at the start of what came */
		for (uint32_t i = 1; i < ck->w.nsec; i++) {
			struct sec *s = &ck->w.sec[i];

			if (!is_loaded(s) || s->segment != NONE || round_of(s) != k % 4 ||
			    is_init_section(s->name) != k / 4)
				continue;
			for (uint32_t g = p->n; g-- > first;)
				if (p->segment[g].kind == kind_of(ck, s, k / 4))
					s->segment = g;
		}
	}
	for (uint32_t i = 1; i < ck->w.nsec; i++) {
		p->at = 0;
		p->open = NONE;
		if (ck->w.sec[i].use == USE_PERCPU && ck->w.sec[i].hdr.sh_size &&
		    !place(p, i, false))
			return false;
	}
	return true;
}

static bool compare(struct plan *p)
{
	struct ck *ck = p->ck;
	const struct gm_segment *g = ck->m.segments;

	for (uint32_t i = 0; i < p->n && i < ck->m.h->segments.count; i++, g++) {
		bool code = g->kind == GM_SEG_TEXT || g->kind == GM_SEG_INIT_TEXT;
		uint32_t size = p->segment[i].size;

		/* code may be one byte longer: a call can be its last instruction */
		if (g->kind != p->segment[i].kind ||
		    (g->size != size && !(code && size % GM_PAGE && g->size == size + 1)))
			return fault(ck, CHECK_SEGMENTS, ck->m.path, man_at(&ck->m, g),
				     "segment %u: kind %u, 0x%x bytes; the object has kind %u, "
				     "0x%x bytes from %s on",
				     i, g->kind, g->size, p->segment[i].kind, size,
				     ck->w.sec[p->segment[i].section].name);
		if (!man_name(&ck->m, g->name))
			fault(ck, CHECK_SEGMENTS, ck->m.path, man_at(&ck->m, g),
			      "segment %u: its name is not there", i);
		man_uses_name(ck, g->name, "name of a segment");
	}
	if (p->n != ck->m.h->segments.count)
		return fault(ck, CHECK_SEGMENTS, ck->m.path, offsetof(struct gm_header, segments),
			     "%u segments, the object has %u", ck->m.h->segments.count, p->n);
	proved(ck, CHECK_SEGMENTS, p->n);
	return true;
}

bool check_layout(struct ck *ck)
{
	struct plan p = { .ck = ck };

	ck->order = check_alloc(ck->w.nsec, sizeof(*ck->order));
	if (!layout(&p) || !compare(&p))
		return false;
	man_uses(ck, ck->m.names, ck->m.h->names.count ? 1 : 0, NULL); /* offset 0: no name */
	if (!man_name(&ck->m, ck->m.h->name))
		fault(ck, CHECK_MANIFEST, ck->m.path, offsetof(struct gm_header, name),
		      "the module's name is not there");
	man_uses_name(ck, ck->m.h->name, "name of the module");
	return true;
}
