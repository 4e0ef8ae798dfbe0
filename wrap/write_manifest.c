// SPDX-License-Identifier: GPL-2.0-only
/*
 * Turns what the other files found into the binary manifest (model/manifest.h). Verified segments
 * go in as they will lie in memory, except for fields that depend on where segments are loaded;
 * what the layout alone decides (a branch inside of one segment) is filled in here.
 */
#include "wrap/module.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t name_of(struct builder *b, const char *name)
{
	uint32_t at = (uint32_t)b->names.count;
	size_t n = strlen(name) + 1;

	memcpy(vec_add(&b->names, 1, n), name, n);
	return at;
}

static uint32_t import_of(struct builder *b, uint32_t sym)
{
	struct import *im = &b->m->imports[sym];

	if (im->manifest == WRAP_NONE) {
		struct gm_import *g;

		im->manifest = (uint32_t)b->imports.count;
		g = vec_add(&b->imports, sizeof(*g), 1);
		/* what is never called may be read or written through: the core checks where it is */
		g->flags = im->calls || im->jumps ? 0 : GM_IMPORT_DATA;
		g->preserve = preserve_mask(b->m->symbols[sym].name);
		g->name = name_of(b, b->m->symbols[sym].name);
	}
	return im->manifest;
}

/* Code that no relocation of the object names: a trampoline, a function pointer of the kernel's. */
static uint32_t callee_of(struct builder *b, const char *name, uint32_t preserve)
{
	struct gm_import *g = vec_add(&b->imports, sizeof(*g), 1);

	g->preserve = preserve;
	g->name = name_of(b, name);
	return (uint32_t)b->imports.count - 1;
}

/* S + A of a relocation, as the manifest says it; moff stays 0. */
bool builder_reloc(struct builder *b, const struct section *s, const struct rel *r,
		   struct gm_reloc *g)
{
	const Elf64_Sym *y = &b->m->symbols[r->sym].sym;
	const struct section *t;

	*g = (struct gm_reloc){ .type = (uint16_t)r->type };
	if (r->sym == 0 || y->st_shndx >= SHN_LORESERVE)
		return refuse(b->m, r->file, "%s: relocation to an absolute address", s->name);
	if (y->st_shndx == SHN_UNDEF) {
		g->kind = GM_TARGET_IMPORT;
		g->target = import_of(b, r->sym);
		g->addend = r->addend;
		return true;
	}
	t = &b->m->sections[y->st_shndx];
	if (t->segment == WRAP_NONE)
		return refuse(b->m, r->file, "%s+0x%llx: relocation to %s, which is not loaded",
			      s->name, (unsigned long long)r->offset, t->name);
	g->kind = GM_TARGET_SEGMENT;
	g->target = t->segment;
	g->addend = (int64_t)t->offset + (int64_t)y->st_value + r->addend;
	return true;
}

/* The patched place that holds this offset. */
static const struct patch_site *site_around(const struct module *m, uint32_t section,
					    uint64_t offset)
{
	const struct patch_site *p = m->sites.data;
	size_t lo = 0, hi = m->sites.count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p[mid].section < section ||
		    (p[mid].section == section && p[mid].offset <= offset))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && p[lo - 1].section == section && offset - p[lo - 1].offset < p[lo - 1].size
		       ? &p[lo - 1]
		       : NULL;
}

static bool add_relocs(struct builder *b, uint32_t index, uint8_t *image)
{
	struct module *m = b->m;
	const struct section *s = &m->sections[index];

	for (size_t i = 0; i < s->nrels; i++) {
		const struct rel *r = &s->rels[i];
		bool pcrel = r->type == R_X86_64_PC32 || r->type == R_X86_64_PLT32 ||
			     r->type == R_X86_64_PC64;
		uint8_t *field = image + s->offset + r->offset;
		const struct patch_site *site = site_around(m, index, r->offset);
		struct gm_reloc g;

		memset(field, 0, rel_width(r->type));
		if (site && (site->count || site->patch))
			continue; /* belongs to the original choice */
		if (!builder_reloc(b, s, r, &g))
			return false;
		g.moff = moff_of(m, index, r->offset);
		if (g.kind == GM_TARGET_SEGMENT && g.target == s->segment && pcrel) {
			int64_t v = g.addend - (int64_t)(s->offset + r->offset);

			if (rel_width(r->type) == 4 && (v > INT32_MAX || v < INT32_MIN))
				return refuse(m, r->file, "%s: branch too far", s->name);
			memcpy(field, &v, rel_width(r->type)); /* little endian */
			continue;
		}
		if (site)
			return refuse(m, r->file,
				      "%s+0x%llx: a patched place with a relocation out of its "
				      "segment",
				      s->name, (unsigned long long)r->offset);
		*(struct gm_reloc *)vec_add(&b->relocs, sizeof(g), 1) = g;
	}
	return true;
}

static bool add_segments(struct builder *b)
{
	struct module *m = b->m;

	for (uint32_t k = 0; k < m->nsegments; k++) {
		const struct segment *g = &m->segments[k];
		struct gm_segment *out = vec_add(&b->segments, sizeof(*out), 1);
		bool verified = g->kind == GM_SEG_TEXT || g->kind == GM_SEG_GATES ||
				g->kind == GM_SEG_RODATA || g->kind == GM_SEG_INIT_TEXT ||
				g->kind == GM_SEG_INIT_RODATA;
		uint8_t *image;

		out->name = name_of(b, g->name);
		out->kind = g->kind;
		out->start = g->start;
		out->size = g->size;
		out->image = GM_NONE;
		for (uint32_t i = 1; i < m->nsections; i++)
			if (g->kind == GM_SEG_PRIVATE && m->sections[i].segment == k &&
			    m->sections[i].data)
				verified = true; /* private memory starts as this */
		if (!verified)
			continue;
		out->image = (uint32_t)b->image.count;
		vec_add(&b->image, 1, g->size);
		image = (uint8_t *)b->image.data + out->image;
		for (uint32_t i = 1; i < m->nsections; i++) {
			const struct section *s = &m->sections[i];

			if (s->segment != k || !s->data)
				continue;
			memcpy(image + s->offset, s->data, s->hdr.sh_size);
			if (!add_relocs(b, i, image))
				return false;
		}
	}
	return true;
}

static int by_u32(const void *a, const void *b)
{
	uint32_t x, y;

	memcpy(&x, a, 4); /* every sorted record starts with its moff */
	memcpy(&y, b, 4);
	return x < y ? -1 : x > y;
}

static int by_jump(const void *a, const void *b)
{
	const struct gm_jump *x = a, *y = b;

	if (x->moff != y->moff)
		return x->moff < y->moff ? -1 : 1;
	return x->target < y->target ? -1 : x->target > y->target;
}

static void sort(struct vec *v)
{
	if (v->count)
		qsort(v->data, v->count, v->size, by_u32);
}

static void add_entries(struct builder *b)
{
	struct module *m = b->m;
	struct entry *e = m->entries.data;

	for (uint32_t i = 0; i < m->entries.count; i++) {
		const struct function *f = &m->functions[e[i].function];
		struct gm_entry *g = vec_add(&b->entries, sizeof(*g), 1);

		g->moff = moff_of(m, f->section, f->value);
		g->name = name_of(b, f->init   ? "init_module"
				     : f->exit ? "cleanup_module"
					       : f->name);
		g->headroom = headroom_of(m, e[i].function);
		g->flags = e[i].flags;
		g->gate = e[i].gate; /* unwrapped: none, which is GM_NONE, too */
	}
	sort(&b->entries);
	for (uint32_t i = 0; i < b->entries.count && !m->opt->views; i++) {
		const struct gate *gates = m->gates.data;

		e[gates[((struct gm_entry *)b->entries.data)[i].gate].index].manifest = i;
	}
}

/* Each target has one leave gate. */
static uint32_t left_to(struct builder *b, const struct gate *g)
{
	const struct tramp *tramps = b->m->tramps.data;
	const struct pv_op *ops = b->m->pv_ops.data;

	switch (g->to) {
	case TO_TRAMP:
		return callee_of(b, tramps[g->index].name, preserve_mask(tramps[g->index].name));
	case TO_PV_OP: return callee_of(b, ops[g->index].name, ops[g->index].preserve);
	default: return import_of(b, g->index);
	}
}

static void add_gates(struct builder *b)
{
	struct module *m = b->m;
	const struct gate *gates = m->gates.data;
	const struct entry *e = m->entries.data;
	size_t room = m->sections[m->gates_section].hdr.sh_size / GM_GATE_BYTES;

	for (size_t i = 0; i < room; i++) {
		struct gm_gate *g = vec_add(&b->gates, sizeof(*g), 1);

		g->offset = (uint32_t)i * GM_GATE_BYTES;
		g->index = GM_NONE;
		if (i >= m->gates.count)
			continue; /* PAD */
		g->kind = gates[i].kind;
		g->x = gates[i].x;
		g->reg = gates[i].reg;
		if (g->kind == GM_GATE_ENTER)
			g->index = e[gates[i].index].manifest;
		else if (g->kind == GM_GATE_LEAVE)
			g->index = left_to(b, &gates[i]);
	}
}

static void add_retsite(struct builder *b, uint32_t section, uint64_t offset)
{
	const struct module *m = b->m;
	const struct segment *g = &m->segments[m->sections[section].segment];
	uint32_t moff = moff_of(m, section, offset);

	if (moff - g->start < g->size)
		*(uint32_t *)vec_add(&b->retsites, 4, 1) = moff;
}

/* Calls that a replacement may bring. */
static void add_replaced_retsites(struct builder *b)
{
	const struct module *m = b->m;
	const struct alternative *a = m->alternatives.data;

	for (size_t i = 0; i < m->alternatives.count; i++) {
		const struct section *s = &m->sections[a[i].repl_section];
		const struct insn *in = a[i].repl_size ? insn_at(s, a[i].repl_offset) : NULL;

		for (; in && in < s->insns + s->ninsns &&
		       in->offset < a[i].repl_offset + a[i].repl_size;
		     in++)
			if (in->kind == INSN_CALL || in->kind == INSN_CALL_IND)
				add_retsite(b, a[i].section,
					    a[i].offset + (in->offset - a[i].repl_offset) +
						    in->length);
	}
}

/* Behind the branches that the kernel may put in place of calls of thunks. */
static void add_direct_retsites(struct builder *b)
{
	const struct module *m = b->m;
	const struct patch_site *p = m->sites.data;

	for (size_t i = 0; i < m->sites.count; i++) {
		uint8_t direct[3];
		unsigned n;

		if (p[i].patch != PATCH_THUNK ||
		    insn_at(&m->sections[p[i].section], p[i].offset)->kind != INSN_CALL)
			continue;
		n = views_direct(m, &p[i], direct);
		add_retsite(b, p[i].section, p[i].offset + n);
		if (n + 3 <= p[i].size) /* behind an LFENCE */
			add_retsite(b, p[i].section, p[i].offset + n + 3);
	}
}

static void add_retsites(struct builder *b)
{
	const struct module *m = b->m;
	uint32_t *r;
	size_t n = 0;

	for (uint32_t i = 1; i < m->nsections; i++) {
		const struct section *s = &m->sections[i];

		if (s->role != ROLE_TEXT || s->segment == WRAP_NONE)
			continue;
		for (size_t k = 0; k < s->ninsns; k++)
			if (s->insns[k].kind == INSN_CALL || s->insns[k].kind == INSN_CALL_IND)
				add_retsite(b, i,
					    (uint64_t)s->insns[k].offset + s->insns[k].length);
	}
	add_replaced_retsites(b);
	add_direct_retsites(b);
	sort(&b->retsites);
	r = b->retsites.data;
	for (size_t i = 0; i < b->retsites.count; i++)
		if (!n || r[n - 1] != r[i])
			r[n++] = r[i];
	b->retsites.count = n;
}

static void add_unwind(struct builder *b)
{
	struct module *m = b->m;
	const struct unwind_row *rows = m->rows.data;
	const struct gm_unwind none = { .cfa_rule = GM_CFA_NONE };
	size_t n = 0;

	for (size_t i = 0; i < m->rows.count; i++) {
		const struct section *s = &m->sections[rows[i].section];
		struct gm_unwind *u;

		if (s->segment == WRAP_NONE || rows[i].offset >= s->hdr.sh_size)
			continue;
		u = vec_add(&b->unwind, sizeof(*u), 1);
		*u = rows[i].rule;
		u->moff = moff_of(m, rows[i].section, rows[i].offset);
	}
	/* a section's last rule ends with it, unless another one starts right there */
	for (uint32_t i = 1; i < m->nsections; i++) {
		const struct section *s = &m->sections[i];
		struct gm_unwind *u;
		uint32_t end;

		if (s->role != ROLE_TEXT || s->segment == WRAP_NONE)
			continue;
		end = moff_of(m, i, s->hdr.sh_size);
		if (end - m->segments[s->segment].start >= m->segments[s->segment].size)
			continue;
		u = vec_add(&b->unwind, sizeof(*u), 1);
		*u = none;
		u->moff = end;
	}
	sort(&b->unwind);
	for (size_t i = 0; i < b->unwind.count; i++) {
		struct gm_unwind *u = b->unwind.data;

		if (n && u[n - 1].moff == u[i].moff) {
			if (u[i].cfa_rule != GM_CFA_NONE)
				u[n - 1] = u[i];
			continue;
		}
		u[n++] = u[i];
	}
	b->unwind.count = n;
}

static void add_fixups(struct builder *b)
{
	struct module *m = b->m;
	const struct fixup *f = m->fixups.data;

	for (size_t i = 0; i < m->fixups.count; i++) {
		struct gm_fixup *g = vec_add(&b->fixups, sizeof(*g), 1);

		g->moff = moff_of(m, f[i].section, f[i].offset);
		g->target = moff_of(m, f[i].target_section, f[i].target);
		g->kind = f[i].kind;
		g->regs = f[i].regs;
	}
	sort(&b->fixups);
}

static void add_jumps(struct builder *b)
{
	struct module *m = b->m;
	const struct jump_table *j = m->jump_tables.data;
	const struct jump_target *t = m->jump_targets.data;

	for (size_t i = 0; i < m->jump_targets.count; i++) {
		struct gm_jump *g = vec_add(&b->jumps, sizeof(*g), 1);

		g->moff = moff_of(m, j[t[i].jump].section, j[t[i].jump].at);
		g->target = moff_of(m, j[t[i].jump].section, t[i].offset);
	}
	if (b->jumps.count)
		qsort(b->jumps.data, b->jumps.count, sizeof(struct gm_jump), by_jump);
}

static bool add_privileges(struct builder *b)
{
	const struct wrap_options *opt = b->m->opt;
	bool wanted = false;

	for (uint32_t k = 0; k < b->m->nsegments; k++)
		wanted |= b->m->segments[k].kind == GM_SEG_PRIVATE;
	for (size_t i = 0; i < opt->privilege_count; i++)
		wanted &= opt->privileges[i].kind != GM_PRIV_PRIVATE;
	if (opt->privilege_count + wanted > GM_MAX_PRIVILEGES)
		return refuse(b->m, 0, "more than %u privileges", GM_MAX_PRIVILEGES);
	if (wanted) {
		struct gm_privilege *p = vec_add(&b->privileges, sizeof(*p), 1);

		p->kind = GM_PRIV_PRIVATE;
		p->name = name_of(b, "private");
	}
	for (size_t i = 0; i < opt->privilege_count; i++) {
		const struct wrap_privilege *o = &opt->privileges[i];
		struct gm_privilege *p = vec_add(&b->privileges, sizeof(*p), 1);

		p->kind = o->kind;
		p->name = name_of(b, o->name);
		p->first = o->first;
		p->last = o->last;
	}
	return true;
}

static bool assemble(struct builder *b, struct blob *out)
{
	static const uint8_t zero[8] = { 0 };
	struct gm_header h = { .version = GM_VERSION,
			       .x_kind = b->m->opt->x,
			       .flags = b->m->opt->views ? GM_FLAG_VIEWS : 0 };
	const struct {
		struct gm_table *table;
		const struct vec *v;
		uint32_t max;
	} tables[] = {
		{ &h.segments, &b->segments, GM_MAX_SEGMENTS },
		{ &h.gates, &b->gates, GM_MAX_GATES },
		{ &h.entries, &b->entries, GM_MAX_ENTRIES },
		{ &h.imports, &b->imports, GM_MAX_IMPORTS },
		{ &h.relocs, &b->relocs, GM_MAX_RELOCS },
		{ &h.sites, &b->sites, GM_MAX_SITES },
		{ &h.choices, &b->choices, GM_MAX_CHOICES },
		{ &h.choice_relocs, &b->choice_relocs, GM_MAX_CHOICE_RELOCS },
		{ &h.retsites, &b->retsites, GM_MAX_RETSITES },
		{ &h.unwind, &b->unwind, GM_MAX_UNWIND },
		{ &h.fixups, &b->fixups, GM_MAX_FIXUPS },
		{ &h.jumps, &b->jumps, GM_MAX_JUMPS },
		{ &h.privileges, &b->privileges, GM_MAX_PRIVILEGES },
		{ &h.image, &b->image, GM_MAX_TOTAL },
		{ &h.names, &b->names, GM_MAX_TOTAL },
	};
	struct vec file = { 0 };

	memcpy(h.magic, GM_MAGIC, sizeof(h.magic));
	h.name = name_of(b, b->m->name);
	vec_add(&file, 1, sizeof(h));
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		size_t bytes = tables[i].v->count * tables[i].v->size;

		if (tables[i].v->count > tables[i].max || file.count + bytes > GM_MAX_TOTAL - 16) {
			vec_free(&file);
			return refuse(b->m, 0, "table %zu of the manifest would be too large", i);
		}
		tables[i].table->offset = (uint32_t)file.count;
		tables[i].table->count = (uint32_t)tables[i].v->count;
		if (bytes)
			memcpy(vec_add(&file, 1, bytes), tables[i].v->data, bytes);
		if (file.count % 8) {
			size_t pad = 8 - file.count % 8;

			memcpy(vec_add(&file, 1, pad), zero, pad);
		}
	}
	h.total = (uint32_t)file.count;
	memcpy(file.data, &h, sizeof(h));
	out->data = file.data;
	out->size = file.count;
	return true;
}

bool write_manifest(struct module *m, struct blob *out)
{
	struct builder b = { .m = m };
	struct vec *all[] = { &b.segments, &b.gates,   &b.entries,	 &b.imports,  &b.relocs,
			      &b.sites,	   &b.choices, &b.choice_relocs, &b.retsites, &b.unwind,
			      &b.fixups,   &b.jumps,   &b.privileges,	 &b.image,    &b.names };
	bool ok;

	for (uint32_t i = 0; i < m->nsymbols; i++)
		m->imports[i].manifest = WRAP_NONE;
	name_of(&b, ""); /* offset 0: no name */
	ok = add_segments(&b) && add_privileges(&b);
	if (ok) {
		add_entries(&b);
		if (!m->opt->views)
			add_gates(&b);
		add_retsites(&b);
		add_unwind(&b);
		add_fixups(&b);
		add_jumps(&b);
		sort(&b.relocs);
		ok = add_sites(&b);
		sort(&b.sites);
		ok = ok && assemble(&b, out);
	}
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		vec_free(all[i]);
	return ok;
}
