// SPDX-License-Identifier: GPL-2.0-only
/*
 * The image and relocations of the manifest against the wrapped object, as the kernel will load
 * it: every byte of every verified segment, every relocation of it, and nothing else.
 *
 * A branch from a segment to itself does not depend on where the module is loaded; its field is
 * filled in. Every other field is zero in the image and has a relocation.
 */
#include "check/internal.h"

#include <string.h>

struct cursor {
	struct ck *ck;
	uint32_t next; /* relocation of the manifest */
	uint32_t site; /* the next patch site */
	bool ok;
};

static bool differs(struct cursor *c, const struct sec *s, uint32_t offset, const uint8_t *image)
{
	c->ok = false;
	return fault(c->ck, CHECK_IMAGE, c->ck->m.path, man_at(&c->ck->m, image),
		     "image of %s+0x%x: not the object's bytes", s->name, offset);
}

bool sym_segment(const struct ck *ck, uint32_t sym, uint32_t *segment, int64_t *offset)
{
	const Elf64_Sym *y = &ck->w.sym[sym];
	const struct sec *t;

	if (!sym || !sym_defined(y))
		return false;
	t = &ck->w.sec[y->st_shndx];
	*segment = t->segment;
	*offset = (int64_t)t->offset + (int64_t)y->st_value;
	return t->segment != NONE;
}

bool import_is(struct ck *ck, uint32_t i, uint32_t sym)
{
	const char *name;

	if (ck->import_of[sym] == i)
		return true;
	name = man_name(&ck->m, ck->m.imports[i].name);
	if (ck->import_of[sym] != NONE || !name || strcmp(name, sym_name(&ck->w, sym)) != 0)
		return false;
	ck->import_of[sym] = i;
	return true;
}

static bool record(struct cursor *c, uint32_t section, const struct rel *r, uint32_t segment,
		   int64_t offset)
{
	struct ck *ck = c->ck;
	const struct gm_reloc *g = &ck->m.relocs[c->next];
	uint32_t moff = moff_of(ck, section, r->offset);
	bool import = ck->w.sym[r->wsym].st_shndx == SHN_UNDEF;
	const char *what = NULL;

	if (c->next == ck->m.h->relocs.count || g->moff > moff)
		what = "is missing";
	else if (g->moff < moff)
		what = "is preceded by one that the object does not have";
	else if (g->type != r->type)
		what = "has another type";
	else if (import ? g->kind != GM_TARGET_IMPORT || !import_is(ck, g->target, r->wsym) ||
				  g->addend != r->waddend
			: g->kind != GM_TARGET_SEGMENT || g->target != segment ||
				  g->addend != offset + r->waddend)
		what = "leads elsewhere";
	if (what) {
		c->ok = false;
		return fault(ck, CHECK_RELOCS, ck->m.path,
			     c->next < ck->m.h->relocs.count ? man_at(&ck->m, g)
							     : ck->m.h->relocs.offset,
			     "relocation of %s+0x%x %s", ck->w.sec[section].name, r->offset, what);
	}
	if (import)
		ck->import_seen[g->target] |= 2;
	c->next++;
	proved(ck, CHECK_RELOCS, 1);
	return true;
}

/* A field inside of a place that is decided at load belongs to its contents; here it is zero. */
static bool in_load_site(struct cursor *c, uint32_t moff)
{
	const struct site *s = c->ck->sites.data;

	while (c->site < c->ck->sites.count && s[c->site].moff + s[c->site].size <= moff)
		c->site++;
	return c->site < c->ck->sites.count && moff >= s[c->site].moff && s[c->site].owns;
}

static bool one(struct cursor *c, uint32_t section, const struct rel *r, const uint8_t *image)
{
	struct ck *ck = c->ck;
	const struct sec *s = &ck->w.sec[section];
	uint32_t segment = NONE;
	int64_t offset = 0, v = 0;
	bool import = r->wsym && ck->w.sym[r->wsym].st_shndx == SHN_UNDEF;
	bool inside;

	if (in_load_site(c, moff_of(ck, section, r->offset)))
		return memcmp(image, &v, rel_bytes(r->type)) == 0 ||
		       differs(c, s, r->offset, image);
	inside = !import && sym_segment(ck, r->wsym, &segment, &offset);

	if (!import && !inside) {
		c->ok = false;
		return fault(ck, CHECK_RELOCS, ck->w.elf.path, rec_at(&ck->w, s, r->index),
			     "%s+0x%x: leads to nothing that is loaded", s->name, r->offset);
	}
	if (inside && segment == s->segment && rel_is_pc(r->type)) {
		v = offset + r->waddend - (int64_t)(s->offset + r->offset);
		if (rel_bytes(r->type) == 4 && (v > INT32_MAX || v < INT32_MIN)) {
			c->ok = false;
			return fault(ck, CHECK_RELOCS, ck->w.elf.path, rec_at(&ck->w, s, r->index),
				     "%s+0x%x: too far", s->name, r->offset);
		}
	} else if (!record(c, section, r, segment, offset)) {
		return false;
	}
	if (memcmp(image, &v, rel_bytes(r->type)) != 0) /* little endian */
		return differs(c, s, r->offset, image);
	return true;
}

/* `image`: where the section's first byte should be. */
static bool section_image(struct cursor *c, uint32_t section, const uint8_t *image)
{
	const struct sec *s = &c->ck->w.sec[section];
	uint32_t at = 0, size = (uint32_t)s->hdr.sh_size;

	for (uint32_t i = 0; i <= s->nrels; i++) {
		uint32_t end = i < s->nrels ? s->rels[i].offset : size;

		if (memcmp(image + at, s->data + at, end - at) != 0) {
			while (image[at] == s->data[at])
				at++;
			return differs(c, s, at, image + at);
		}
		if (i == s->nrels)
			break;
		if (!one(c, section, &s->rels[i], image + end))
			return false;
		at = end + rel_bytes(s->rels[i].type);
	}
	return true;
}

static bool zeros(const uint8_t *p, uint32_t n)
{
	while (n && !*p)
		p++, n--;
	return n == 0;
}

/* Bytes between sections, which nothing fills. */
static void gap(struct cursor *c, const struct sec *s, const uint8_t *from, uint32_t n)
{
	if (c->ok && !zeros(from, n))
		differs(c, s, 0, from);
}

/* Private memory starts as the original's section; the wrapped object may hide it. */
static void private_image(struct cursor *c, uint32_t section, const uint8_t *image)
{
	const struct sec *o = &c->ck->o.sec[section], *w = &c->ck->w.sec[section];

	if (section >= c->ck->o.nsec || !o->data || memcmp(image, o->data, o->hdr.sh_size) != 0 ||
	    !zeros(image + o->hdr.sh_size, (uint32_t)(w->hdr.sh_size - o->hdr.sh_size)))
		differs(c, w, 0, image);
}

static void segment_image(struct cursor *c, uint32_t i, uint32_t *k)
{
	struct ck *ck = c->ck;
	const struct gm_segment *g = &ck->m.segments[i];
	const uint8_t *image = g->image == GM_NONE ? NULL : ck->m.image + g->image;
	const struct sec *s = NULL;
	bool verified = g->kind == GM_SEG_TEXT || g->kind == GM_SEG_GATES ||
			g->kind == GM_SEG_RODATA || g->kind == GM_SEG_INIT_TEXT ||
			g->kind == GM_SEG_INIT_RODATA;
	uint32_t at = 0, from = *k;

	for (; *k < ck->norder && ck->w.sec[ck->order[*k]].segment == i; ++*k)
		s = &ck->w.sec[ck->order[*k]];
	if (g->kind == GM_SEG_PRIVATE)
		verified = s && s->data;
	if (verified != (image != NULL)) {
		fault(ck, CHECK_IMAGE, ck->m.path, man_at(&ck->m, &g->image), "segment %u: %s", i,
		      verified ? "without an image" : "an image of data");
		return;
	}
	if (!image)
		return;
	man_uses(ck, image, g->size, NULL);
	for (uint32_t n = from; n < *k && c->ok; n++) {
		s = &ck->w.sec[ck->order[n]];
		gap(c, s, image + at, s->offset - at);
		if (g->kind == GM_SEG_PRIVATE)
			private_image(c, ck->order[n], image + s->offset);
		else if (c->ok)
			section_image(c, ck->order[n], image + s->offset);
		at = s->offset + (uint32_t)s->hdr.sh_size;
	}
	if (s)
		gap(c, s, image + at, g->size - at);
	if (c->ok)
		proved(ck, CHECK_IMAGE, g->size);
}

void check_image(struct ck *ck)
{
	struct cursor c = { .ck = ck, .ok = true };
	uint32_t k = 0;

	for (uint32_t i = 0; i < ck->m.h->segments.count; i++)
		segment_image(&c, i, &k);
	if (c.ok && c.next != ck->m.h->relocs.count)
		fault(ck, CHECK_RELOCS, ck->m.path, man_at(&ck->m, &ck->m.relocs[c.next]),
		      "a relocation that the object does not have");
}
