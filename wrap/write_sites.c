// SPDX-License-Identifier: GPL-2.0-only
/*
 * The legal contents of every patched place, byte for byte as the kernel leaves them.
 *
 * A jump label is a NOP or a jump, at any time. An alternative is decided once, while the module is
 * loaded: the original, or the last replacement whose feature the CPU has. Sites that ask for the
 * same features in the same order form a group: the same choice everywhere.
 */
#include "wrap/module.h"

#include <stdlib.h>
#include <string.h>

static uint8_t *image_at(struct builder *b, uint32_t at)
{
	return (uint8_t *)b->image.data + at;
}

static struct gm_choice *add_choice(struct builder *b, const uint8_t *bytes, size_t n)
{
	struct gm_choice *c = vec_add(&b->choices, sizeof(*c), 1);

	c->bytes = (uint32_t)b->image.count;
	c->first_reloc = (uint32_t)b->choice_relocs.count;
	memcpy(vec_add(&b->image, 1, n), bytes, n);
	return c;
}

/* Contents that a jump label may have: a NOP of its size, or a jump to its target. */
static void jump_label(struct builder *b, const struct patch_site *p, uint32_t moff)
{
	static const uint8_t nop2[] = { 0x66, 0x90 }, nop5[] = { 0x0f, 0x1f, 0x44, 0x00, 0x00 };
	uint8_t jump[5] = { p->size == 2 ? 0xeb : 0xe9 };
	int32_t distance =
		(int32_t)(moff_of(b->m, p->target_section, p->target) - (moff + p->size));

	memcpy(jump + 1, &distance, p->size == 2 ? 1 : 4);
	add_choice(b, p->size == 2 ? nop2 : nop5, p->size);
	add_choice(b, jump, p->size);
}

/* What the file has at a jump label must be one of its contents: else the table lies. */
static bool check_label(struct builder *b, const struct patch_site *p, const struct gm_site *site)
{
	const struct section *s = &b->m->sections[p->section];
	const struct gm_segment *seg = (struct gm_segment *)b->segments.data + s->segment;
	const uint8_t *now = image_at(b, seg->image + (site->moff - seg->start));
	const struct gm_choice *c = (struct gm_choice *)b->choices.data + site->first;

	for (uint32_t k = 0; k < site->count; k++)
		if (memcmp(now, image_at(b, c[k].bytes), site->size) == 0)
			return true;
	return refuse(b->m, file_at(s, p->offset),
		      "%s+0x%llx: a jump label that is neither NOP nor a jump to its target",
		      s->name, (unsigned long long)p->offset);
}

/*
 * Moves the relocations of [from, from + n) in section src to `bytes`, which will lie at `at` in
 * section dst: as records of the choice, or filled in where the layout decides.
 */
static bool move_relocs(struct builder *b, const struct section *src, uint64_t from, uint32_t n,
			const struct section *dst, uint64_t at, uint8_t *bytes)
{
	for (size_t i = rel_from(src, from); i < src->nrels && src->rels[i].offset < from + n;
	     i++) {
		const struct rel *r = &src->rels[i];
		uint32_t field = (uint32_t)(r->offset - from);
		struct gm_reloc g = { 0 };

		if (!builder_reloc(b, src, r, &g))
			return false;
		memset(bytes + field, 0, rel_width(r->type));
		if (g.kind == GM_TARGET_SEGMENT && g.target == dst->segment &&
		    (r->type == R_X86_64_PC32 || r->type == R_X86_64_PLT32)) {
			int32_t v = (int32_t)(g.addend - (int64_t)(dst->offset + at + field));

			memcpy(bytes + field, &v, 4);
			continue;
		}
		g.moff = field;
		*(struct gm_reloc *)vec_add(&b->choice_relocs, sizeof(g), 1) = g;
	}
	return true;
}

/* A 5-byte jump to what lies close ahead becomes a short one (recompute_jump() of Linux 6.1). */
static void shorten_jump(uint8_t *bytes)
{
	int32_t distance;

	memcpy(&distance, bytes + 1, 4);
	if (distance < -5 || distance + 5 - 2 > 127)
		return;
	bytes[0] = 0xeb;
	bytes[1] = (uint8_t)(distance + 5 - 2);
	memcpy(bytes + 2, (const uint8_t[]){ 0x0f, 0x1f, 0x00 }, 3);
}

/* One content: the original (a is NULL), or a replacement. */
static bool alternative(struct builder *b, const struct patch_site *p, const struct alternative *a)
{
	const struct section *dst = &b->m->sections[p->section];
	const struct section *src = a ? &b->m->sections[a->repl_section] : dst;
	uint64_t from = a ? a->repl_offset : p->offset;
	uint32_t n = a ? a->repl_size : p->size;
	uint32_t first_reloc = (uint32_t)b->choice_relocs.count;
	uint8_t bytes[GM_MAX_SITE_BYTES];
	struct gm_choice *c;

	memset(bytes, 0x90, sizeof(bytes));
	if (n)
		memcpy(bytes, src->data + from, n);
	if (!move_relocs(b, src, from, n, dst, p->offset, bytes))
		return false;
	if (a && n == 5 && bytes[0] == 0xe9 && b->choice_relocs.count == first_reloc)
		shorten_jump(bytes);
	optimize_nops(bytes, p->size);
	c = add_choice(b, bytes, p->size);
	c->first_reloc = first_reloc;
	c->relocs = (uint32_t)b->choice_relocs.count - first_reloc;
	return true;
}

static bool same_choice(const struct builder *b, const struct gm_choice *x,
			const struct gm_choice *y, size_t size)
{
	const uint8_t *image = b->image.data;
	const struct gm_reloc *r = b->choice_relocs.data;

	return memcmp(image + x->bytes, image + y->bytes, size) == 0 && x->relocs == y->relocs &&
	       (!x->relocs ||
		memcmp(r + x->first_reloc, r + y->first_reloc, x->relocs * sizeof(*r)) == 0);
}

/* Two equal contents would not tell which choice was made. */
static bool choices_differ(const struct builder *b, const struct gm_site *site)
{
	const struct gm_choice *c = (const struct gm_choice *)b->choices.data + site->first;

	for (uint32_t i = 1; i < site->count; i++)
		for (uint32_t k = 0; k < i; k++)
			if (same_choice(b, &c[i], &c[k], site->size))
				return false;
	return true;
}

static bool same_features(const struct module *m, const struct patch_site *x,
			  const struct patch_site *y)
{
	const struct alternative *a = m->alternatives.data;

	for (uint32_t i = 0; i < x->count; i++)
		if (a[x->first + i].feature != a[y->first + i].feature)
			return false;
	return x->count == y->count;
}

/* Site numbers that are the first of their group. A module has few. */
static uint32_t group_of(struct builder *b, struct vec *leaders, uint32_t index)
{
	const struct patch_site *sites = b->m->sites.data;
	const uint32_t *leader = leaders->data;

	for (size_t i = 0; i < leaders->count; i++)
		if (same_features(b->m, &sites[leader[i]], &sites[index]))
			return (uint32_t)i;
	*(uint32_t *)vec_add(leaders, sizeof(index), 1) = index;
	return (uint32_t)leaders->count - 1;
}

/*
 * The original is no legal content if a replacement is always made; then neither is what came
 * before that one.
 */
static bool alternatives_of(struct builder *b, const struct patch_site *p)
{
	const struct alternative *a = (struct alternative *)b->m->alternatives.data + p->first;
	uint32_t from = 0;

	for (uint32_t i = 0; i < p->count; i++)
		if (a[i].feature == ALT_ALWAYS)
			from = i + 1;
	if (!from && !alternative(b, p, NULL))
		return false;
	for (uint32_t i = from ? from - 1 : 0; i < p->count; i++)
		if (!alternative(b, p, &a[i]))
			return false;
	return true;
}

/* A branch to whatever the kernel likes: it runs without privilege there. */
static void add_outside(struct builder *b, uint8_t opcode)
{
	const uint8_t bytes[5] = { opcode };
	struct gm_choice *c = add_choice(b, bytes, sizeof(bytes));
	struct gm_reloc *r = vec_add(&b->choice_relocs, sizeof(*r), 1);

	c->relocs = 1;
	r->moff = 1;
	r->type = GM_R_PC32;
	r->kind = GM_TARGET_OUTSIDE;
	r->addend = -4;
}

/* The branch without a thunk, behind `fence` bytes of LFENCE if there is room. */
static void add_direct(struct builder *b, const struct patch_site *p, bool call, unsigned fence)
{
	uint8_t bytes[8] = { 0x0f, 0xae, 0xe8 }, insn[3];
	unsigned n = views_direct(b->m, p, insn);

	if (fence + n > p->size)
		return;
	memset(bytes + fence, 0x90, sizeof(bytes) - fence);
	memcpy(bytes + fence, insn, n);
	if (!call && fence + n < p->size)
		bytes[fence + n] = 0xcc;
	optimize_nops(bytes, p->size);
	add_choice(b, bytes, p->size);
}

/*
 * What Linux 6.1 makes of an unwrapped module's places: the branch of the file stays among them,
 * since whether it is replaced depends on the CPU's faults and on how the kernel was started.
 * Sources: arch/x86/kernel/ftrace.c, alternative.c (apply_returns, patch_retpoline), static_call.c.
 */
static bool patched(struct builder *b, const struct patch_site *p)
{
	static const uint8_t nop[5] = { 0x0f, 0x1f, 0x44, 0x00, 0x00 };
	static const uint8_t ret[5] = { 0xc3, 0xcc, 0xcc, 0xcc, 0xcc };
	static const uint8_t zero_rax[5] = { 0x2e, 0x2e, 0x2e, 0x31, 0xc0 };
	bool call = insn_at(&b->m->sections[p->section], p->offset)->kind == INSN_CALL;

	switch (p->patch) {
	case PATCH_FENTRY:
		add_choice(b, nop, sizeof(nop));
		if (!alternative(b, p, NULL))
			return false;
		add_outside(b, 0xe8);
		return true;
	case PATCH_RETURN: add_choice(b, ret, sizeof(ret)); return alternative(b, p, NULL);
	case PATCH_THUNK:
		add_direct(b, p, call, 0);
		add_direct(b, p, call, 3);
		return alternative(b, p, NULL);
	default: /* PATCH_STATIC */
		if (!alternative(b, p, NULL))
			return false;
		add_outside(b, call ? 0xe8 : 0xe9);
		add_choice(b, call ? nop : ret, sizeof(nop));
		if (call)
			add_choice(b, zero_rax, sizeof(zero_rax));
		return true;
	}
}

bool add_sites(struct builder *b)
{
	struct module *m = b->m;
	const struct patch_site *p = m->sites.data;
	struct vec leaders = { 0 };
	bool ok = true;

	for (uint32_t i = 0; i < m->sites.count && ok; i++) {
		struct gm_site s = { .moff = moff_of(m, p[i].section, p[i].offset),
				     .size = p[i].size,
				     .group = GM_NONE,
				     .first = (uint32_t)b->choices.count };

		if (p[i].count) {
			ok = alternatives_of(b, &p[i]);
		} else if (p[i].patch) {
			if (p[i].patch == PATCH_FENTRY || p[i].patch == PATCH_STATIC)
				s.flags = GM_SITE_RUNTIME;
			ok = patched(b, &p[i]);
		} else {
			s.flags = GM_SITE_RUNTIME;
			jump_label(b, &p[i], s.moff);
		}
		s.count = (uint32_t)b->choices.count - s.first;
		if (ok && !p[i].count && !p[i].patch)
			ok = check_label(b, &p[i], &s);
		if (ok && s.count > GM_MAX_SITE_CHOICES)
			ok = refuse(m, file_at(&m->sections[p[i].section], p[i].offset),
				    "%s+0x%llx: %u alternatives at one place",
				    m->sections[p[i].section].name, (unsigned long long)p[i].offset,
				    s.count);
		if (ok && p[i].count && s.count > 1 && choices_differ(b, &s))
			s.group = group_of(b, &leaders, i);
		*(struct gm_site *)vec_add(&b->sites, sizeof(s), 1) = s;
	}
	vec_free(&leaders);
	return ok;
}
