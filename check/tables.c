// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel will do to the wrapped module's text, and where it may continue after an
 * exception, from the tables that it will read; then the manifest's sites and fixups, which must
 * say exactly that. Layouts are those of Linux 6.1 on x86-64.
 */
#include "check/internal.h"

#include <stdlib.h>
#include <string.h>

bool place_at(struct ck *ck, const struct sec *s, uint64_t offset, struct place *p)
{
	const struct rel *r = sec_rel(s, offset);
	const struct sec *t;

	if (r && r->type == R_X86_64_PC32) {
		*p = w_place(ck, r->wsym, r->waddend);
		t = &ck->w.sec[p->section];
		if (p->section && t->use == USE_CODE && t->segment != NONE &&
		    p->offset < t->hdr.sh_size && bit(t->starts, p->offset))
			return true;
	}
	fault(ck, CHECK_PLACES, ck->w.elf.path, sec_at(s, offset),
	      "%s+0x%llx: does not name an instruction of the module", s->name,
	      (unsigned long long)offset);
	return false;
}

bool check_whole(struct ck *ck, const struct sec *s, uint64_t size)
{
	if (s->data && s->hdr.sh_size % size == 0)
		return true;
	return fault(ck, CHECK_PLACES, ck->w.elf.path, sec_at(s, 0),
		     "%s: no whole records of %llu bytes", s->name, (unsigned long long)size);
}

/* Bytes up to the next instruction. */
static uint32_t length_at(const struct sec *s, uint32_t offset)
{
	uint32_t n = 1;

	while (n < 16 && offset + n < s->hdr.sh_size && !bit(s->starts, offset + n))
		n++;
	return n;
}

/*
 * struct jump_entry { s32 code, target; s64 key; }. The kernel writes a NOP of 2 or 5 bytes, or a
 * jump of that size to the target (arch/x86/kernel/jump_label.c). What is there now is one of them.
 */
static void jump_label(struct ck *ck, const struct sec *s, uint64_t at)
{
	static const uint8_t nops[2][5] = { { 0x66, 0x90 }, { 0x0f, 0x1f, 0x44, 0x00, 0x00 } };
	struct choice c[2] = { 0 };
	struct place code = { 0, 0 }, target = { 0, 0 };
	const struct sec *t;
	struct site *site;
	int64_t distance;
	uint32_t n;

	if (!place_at(ck, s, at, &code) || !place_at(ck, s, at + 4, &target))
		return;
	t = &ck->w.sec[code.section];
	n = length_at(t, code.offset);
	distance = (int64_t)moff_of(ck, target.section, target.offset) -
		   (int64_t)moff_of(ck, code.section, code.offset) - n;
	if ((n != 2 && n != 5) || t->segment != ck->w.sec[target.section].segment ||
	    (n == 2 && (distance < INT8_MIN || distance > INT8_MAX))) {
		fault(ck, CHECK_SITES, ck->w.elf.path, sec_at(s, at),
		      "%s+0x%llx: a jump label of %u bytes that the kernel could not write",
		      s->name, (unsigned long long)at, n);
		return;
	}
	memcpy(c[0].bytes, nops[n == 5], n);
	c[1].bytes[0] = n == 2 ? 0xeb : 0xe9;
	memcpy(c[1].bytes + 1, &distance, n - 1); /* little endian */
	site = vec_more(&ck->sites, sizeof(*site), 1);
	*site = (struct site){ .moff = moff_of(ck, code.section, code.offset),
			       .size = n,
			       .first = ck->choices.count,
			       .count = 2,
			       .runtime = true };
	memcpy(vec_more(&ck->choices, sizeof(*c), 2), c, sizeof(c));
}

/* Linux 6.1 arch/x86/mm/extable.c: which registers each handler sets. false: not known. */
static bool handler_sets(uint32_t data, uint32_t *regs)
{
	const uint32_t rax = 1, rdx = 4, named = 1u << (data >> 8 & 15);

	switch (data & 0xff) {
	case 1: /* EX_TYPE_DEFAULT */
	case 3: /* UACCESS */
	case 8: /* WRMSR */
	case 14: /* DEFAULT_MCE_SAFE */ *regs = 0; return true;
	case 2: /* FAULT: the vector in AX */
	case 15: /* FAULT_MCE_SAFE */ *regs = rax; return true;
	case 9: /* RDMSR */ *regs = rax | rdx; return true;
	case 10: /* WRMSR_SAFE */
	case 17: /* IMM_REG */ *regs = named; return true;
	case 11: /* RDMSR_SAFE */ *regs = named | rax | rdx; return true;
	default: return false;
	}
}

static void add_fixup(struct ck *ck, struct place at, struct place to, uint32_t kind, uint32_t regs)
{
	struct gm_fixup *f = vec_more(&ck->fixups, sizeof(*f), 1);

	*f = (struct gm_fixup){ moff_of(ck, at.section, at.offset),
				moff_of(ck, to.section, to.offset), kind, regs };
}

/* struct exception_table_entry { s32 insn, fixup; u32 data; } */
static void exception(struct ck *ck, const struct sec *s, uint64_t at)
{
	struct place insn = { 0, 0 }, to = { 0, 0 };
	uint32_t data, regs;

	if (!place_at(ck, s, at, &insn) || !place_at(ck, s, at + 4, &to))
		return;
	memcpy(&data, s->data + at + 8, 4);
	if (!handler_sets(data, &regs) || regs & 1u << 4)
		fault(ck, CHECK_FIXUPS, ck->w.elf.path, sec_at(s, at + 8),
		      "%s+0x%llx: exception type %u is not known", s->name,
		      (unsigned long long)at + 8, data & 0xff);
	else
		add_fixup(ck, insn, to, GM_FIXUP_EXTABLE, regs);
}

/* struct bug_entry { s32 addr, file; u16 line, flags; }: with flag 1 ud2 is a WARN and returns. */
static void bug(struct ck *ck, const struct sec *s, uint64_t at)
{
	struct place p = { 0, 0 }, to;
	const uint8_t *code;
	uint16_t flags;

	if (!place_at(ck, s, at, &p))
		return;
	code = ck->w.sec[p.section].data + p.offset;
	memcpy(&flags, s->data + at + 10, 2);
	if (length_at(&ck->w.sec[p.section], p.offset) != 2 || code[0] != 0x0f || code[1] != 0x0b) {
		fault(ck, CHECK_FIXUPS, ck->w.elf.path, sec_at(s, at),
		      "%s+0x%llx: no ud2 where it says", s->name, (unsigned long long)at);
		return;
	}
	to = (struct place){ p.section, p.offset + 2 };
	if (flags & 1)
		add_fixup(ck, p, to, GM_FIXUP_WARN, 0);
}

static const struct {
	const char *name;
	uint32_t record;
	void (*read)(struct ck *ck, const struct sec *s, uint64_t at);
} readers[] = {
	{ "__jump_table", 16, jump_label },
	{ "__ex_table", 12, exception },
	{ "__bug_table", 12, bug },
};

static int by_u32(const void *a, const void *b)
{
	uint32_t x, y;

	memcpy(&x, a, 4); /* both kinds of record start with their moff */
	memcpy(&y, b, 4);
	return x < y ? -1 : x > y;
}

/* How often each content and relocation of one was used. */
struct used {
	uint8_t *choice, *reloc;
};

static bool same_relocs(struct ck *ck, const struct gm_choice *g, const struct choice *c,
			uint8_t *used)
{
	const struct choice_reloc *r;
	const struct gm_reloc *m;

	if (g->relocs != c->count)
		return false;
	if (!c->count)
		return true;
	r = (struct choice_reloc *)ck->choice_relocs.data + c->first;
	m = ck->m.choice_relocs + g->first_reloc;
	for (uint32_t i = 0; i < c->count; i++, r++, m++)
		if (m->moff != r->offset || m->type != r->type || m->addend != r->addend ||
		    (r->outside ? m->kind != GM_TARGET_OUTSIDE || m->target
		     : r->sym	? m->kind != GM_TARGET_IMPORT || !import_is(ck, m->target, r->sym)
				: m->kind != GM_TARGET_SEGMENT || m->target != r->segment))
			return false;
		else if (r->sym)
			ck->import_seen[m->target] |= 2;
	for (uint32_t i = 0; i < g->relocs; i++)
		if (used[g->first_reloc + i]++)
			return false;
	return true;
}

/* The contents of a site, in their order. */
static bool same_choices(struct ck *ck, const struct gm_site *g, const struct site *s,
			 struct used *used)
{
	const struct choice *want = (struct choice *)ck->choices.data + s->first;

	if (g->count != s->count)
		return false;
	for (uint32_t i = 0; i < g->count; i++) {
		const struct gm_choice *c = &ck->m.choices[g->first + i];

		man_uses(ck, ck->m.image + c->bytes, s->size, NULL);
		if (memcmp(ck->m.image + c->bytes, want[i].bytes, s->size) != 0 ||
		    !same_relocs(ck, c, &want[i], used->reloc) || used->choice[g->first + i]++)
			return false;
	}
	return true;
}

/* What the file has at a jump label is one of its two contents. */
static bool label_is_legal(struct ck *ck, const struct gm_site *g)
{
	const struct gm_segment *s = ck->m.segments;

	while (g->moff - s->start >= s->size)
		s++; /* gm_validate(): it lies in one that has an image */
	for (uint32_t i = 0; i < g->count; i++)
		if (memcmp(ck->m.image + s->image + (g->moff - s->start),
			   ck->m.image + ck->m.choices[g->first + i].bytes, g->size) == 0)
			return true;
	return false;
}

static bool one_site(struct ck *ck, const struct gm_site *g, const struct site *s,
		     struct used *used)
{
	const char *what = NULL;

	if (g->size != s->size || g->flags != (s->runtime ? GM_SITE_RUNTIME : 0))
		what = "is not as wide as what the kernel patches, or not at that time";
	else if (!same_choices(ck, g, s, used))
		what = "has not just the contents that the kernel can write there";
	else if (!s->alternatives && !label_is_legal(ck, g))
		what = "has other bytes in the file than its contents";
	if (!what)
		proved(ck, CHECK_SITES, 1);
	return !what || fault(ck, CHECK_SITES, ck->m.path, man_at(&ck->m, g),
			      "the site at module offset 0x%x %s", g->moff, what);
}

static bool all_used(const uint8_t *used, uint32_t n)
{
	while (n && *used == 1)
		used++, n--;
	return n == 0;
}

/* Sites one for one; each content belongs to one of them. */
static bool each_site(struct ck *ck, struct used *used)
{
	const struct site *s = ck->sites.data;
	const struct gm_site *g = ck->m.sites;
	uint32_t n = ck->sites.count;
	bool ok = true;

	for (uint32_t i = 0; i < n && i < ck->m.h->sites.count; i++) {
		if (g[i].moff != s[i].moff)
			return fault(ck, CHECK_SITES, ck->m.path, man_at(&ck->m, &g[i]),
				     "a site at module offset 0x%x, the kernel patches 0x%x",
				     g[i].moff, s[i].moff);
		ok &= one_site(ck, &g[i], &s[i], used);
	}
	if (n != ck->m.h->sites.count)
		return fault(ck, CHECK_SITES, ck->m.path, offsetof(struct gm_header, sites),
			     "%u sites, the kernel patches %u places", ck->m.h->sites.count, n);
	return ok;
}

static void compare_sites(struct ck *ck)
{
	uint32_t choices = ck->m.h->choices.count, relocs = ck->m.h->choice_relocs.count;
	struct used used = { check_alloc(choices, 1), check_alloc(relocs, 1) };

	if (each_site(ck, &used)) {
		if (!all_used(used.choice, choices) || !all_used(used.reloc, relocs))
			fault(ck, CHECK_SITES, ck->m.path, offsetof(struct gm_header, choices),
			      "contents that belong to no site");
		same_groups(ck);
	}
	free(used.choice);
	free(used.reloc);
}

static void compare_fixups(struct ck *ck)
{
	const struct gm_fixup *f = ck->fixups.data, *g = ck->m.fixups;
	uint32_t n = ck->fixups.count;

	for (uint32_t i = 0; i < n && i < ck->m.h->fixups.count; i++)
		if (memcmp(&f[i], &g[i], sizeof(f[i])) != 0) {
			fault(ck, CHECK_FIXUPS, ck->m.path, man_at(&ck->m, &g[i]),
			      "fixup %u at module offset 0x%x: the tables say 0x%x to 0x%x", i,
			      g[i].moff, f[i].moff, f[i].target);
			return;
		}
	if (n != ck->m.h->fixups.count)
		fault(ck, CHECK_FIXUPS, ck->m.path, offsetof(struct gm_header, fixups),
		      "%u fixups, the tables have %u", ck->m.h->fixups.count, n);
	else
		proved(ck, CHECK_FIXUPS, n);
}

void check_tables(struct ck *ck)
{
	for (uint32_t i = 1; i < ck->o.nsec; i++) {
		const struct sec *s = &ck->w.sec[i];

		if (s->use != USE_TABLE || !s->hdr.sh_size)
			continue;
		for (size_t k = 0; k < sizeof(readers) / sizeof(readers[0]); k++)
			if (strcmp(s->name, readers[k].name) == 0 &&
			    check_whole(ck, s, readers[k].record))
				for (uint64_t at = 0; at < s->hdr.sh_size; at += readers[k].record)
					readers[k].read(ck, s, at);
		if (strcmp(s->name, ".altinstructions") == 0 && check_whole(ck, s, 12))
			read_alternatives(ck, s);
	}
	if (ck->views)
		views_patches(ck);
	for (uint32_t i = 1; i < ck->w.nsec; i++)
		for (uint64_t k = 0; ck->w.sec[i].contents && k <= ck->w.sec[i].hdr.sh_size / 8;
		     k++)
			ck->w.sec[i].starts[k] |= ck->w.sec[i].contents[k];
	if (ck->sites.count)
		qsort(ck->sites.data, ck->sites.count, sizeof(struct site), by_u32);
	if (ck->fixups.count)
		qsort(ck->fixups.data, ck->fixups.count, sizeof(struct gm_fixup), by_u32);
	compare_sites(ck);
	compare_fixups(ck);
}
