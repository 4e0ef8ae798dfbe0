// SPDX-License-Identifier: GPL-2.0-only
/*
 * The manifest's entries, imports, return sites and privileges against what the code pass found,
 * and the CRC of every symbol that the wrapped object needs.
 */
#include "check/internal.h"

#include <stdlib.h>
#include <string.h>

uint32_t entry_at(const struct ck *ck, uint32_t moff)
{
	uint32_t lo = 0, hi = ck->m.h->entries.count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (ck->m.entries[mid].moff < moff)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < ck->m.h->entries.count && ck->m.entries[lo].moff == moff ? lo : NONE;
}

/* Which entries bear the name of a function at their place. */
static uint8_t *named(struct ck *ck)
{
	uint8_t *ok = check_alloc(ck->m.h->entries.count, 1);

	for (uint32_t i = 1; i < ck->o.nsym; i++) {
		const Elf64_Sym *y = &ck->o.sym[i];
		const char *name;
		uint32_t k;

		if (ELF64_ST_TYPE(y->st_info) != STT_FUNC || !sym_defined(y) ||
		    ck->w.sec[y->st_shndx].use != USE_CODE ||
		    ck->w.sec[y->st_shndx].segment == NONE)
			continue;
		k = entry_at(ck, moff_of(ck, y->st_shndx, (uint32_t)y->st_value));
		if (k == NONE)
			continue;
		name = man_name(&ck->m, ck->m.entries[k].name);
		if (name && strcmp(name, sym_name(&ck->o, i)) == 0)
			ok[k] = 1;
	}
	return ok;
}

static void bad_entry(struct ck *ck, uint32_t i, const char *what)
{
	const char *name = man_name(&ck->m, ck->m.entries[i].name);

	fault(ck, CHECK_ENTRIES, ck->m.path, man_at(&ck->m, &ck->m.entries[i]), "entry %u (%s): %s",
	      i, name ? name : "", what);
}

/* Code that is freed after init is called while init lives, or is init itself. */
static uint32_t entry_flags(const struct ck *ck, const struct fn *f)
{
	uint32_t flags = (f->init ? GM_ENTRY_INIT : 0) | (f->exit ? GM_ENTRY_EXIT : 0);

	if (!f->init && is_init_section(ck->w.sec[f->section].name))
		flags |= GM_ENTRY_INIT_CALL;
	return flags;
}

static void entry(struct ck *ck, uint32_t i, const struct fn *f, bool has_name)
{
	const struct gm_entry *e = &ck->m.entries[i];
	uint32_t flags = entry_flags(ck, f);

	if (!has_name)
		bad_entry(ck, i, "no function there has this name");
	else if (e->flags != flags)
		bad_entry(ck, i, "its flags are not those of init, exit, init code or none");
	else if (ck->enter_gate[i] != e->gate)
		bad_entry(ck, i, "no gate leads to it");
	else if (!may_enter(ck, f))
		bad_entry(ck, i, "is not among the chosen entries");
	else if (!f->taken && !f->chosen && (ck->linux_module || !f->global))
		bad_entry(ck, i, "nothing takes the address of this function");
	else
		proved(ck, CHECK_ENTRIES, 1);
}

static int by_value(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void retsites(struct ck *ck)
{
	const uint32_t *have = ck->m.retsites;
	uint32_t *want = ck->retsites.data, n = 0;

	/* those of replacements came last, and may be where the original has a call, too */
	if ((ck->alternatives.count || ck->views) && ck->retsites.count)
		qsort(want, ck->retsites.count, sizeof(*want), by_value);
	for (uint32_t i = 0; i < ck->retsites.count; i++)
		if (!n || want[n - 1] != want[i])
			want[n++] = want[i];

	for (uint32_t i = 0; i < n && i < ck->m.h->retsites.count; i++)
		if (want[i] != have[i]) {
			fault(ck, CHECK_RETSITES, ck->m.path, man_at(&ck->m, &have[i]),
			      "return site %u at module offset 0x%x, expected 0x%x", i, have[i],
			      want[i]);
			return;
		}
	if (n != ck->m.h->retsites.count)
		fault(ck, CHECK_RETSITES, ck->m.path, offsetof(struct gm_header, retsites),
		      "%u return sites, but %u calls", ck->m.h->retsites.count, n);
	else
		proved(ck, CHECK_RETSITES, n);
}

static void privileges(struct ck *ck)
{
	const struct gm_privilege *p = ck->m.privileges;
	bool segment = false, asked = false;

	for (uint32_t i = 0; i < ck->m.h->segments.count; i++)
		segment |= ck->m.segments[i].kind == GM_SEG_PRIVATE;
	for (uint32_t i = 0; i < ck->m.h->privileges.count; i++, p++) {
		static const char *const kinds[GM_PRIVS] = { "private", "device", "mwait", "ioport",
							     "msr" };
		const char *name = man_name(&ck->m, p->name);
		bool range = p->kind == GM_PRIV_IOPORT || p->kind == GM_PRIV_MSR;

		asked |= p->kind == GM_PRIV_PRIVATE;
		if (!name || (!range && (p->first || p->last)))
			fault(ck, CHECK_PRIVILEGES, ck->m.path, man_at(&ck->m, p),
			      "privilege %u: without a name, or with a range that it has not", i);
		else
			proved(ck, CHECK_PRIVILEGES, 1);
		if (range)
			note(ck, CHECK_NOTE_ASKS, "%s %s 0x%x-0x%x", kinds[p->kind],
			     name ? name : "", p->first, p->last);
		else
			note(ck, CHECK_NOTE_ASKS, "%s %s", kinds[p->kind], name ? name : "");
		man_uses_name(ck, p->name, "name of a privilege");
	}
	if (segment != asked)
		fault(ck, CHECK_PRIVILEGES, ck->m.path, offsetof(struct gm_header, privileges),
		      "private memory and the privilege for it do not go together");
}

/* Each name that was chosen is a function's. */
static void chosen_names(struct ck *ck)
{
	for (size_t i = 0; i < ck->nchosen; i++)
		if (!ck->chosen_seen[i])
			fault(ck, CHECK_ENTRIES, ck->o.elf.path, ck->o.elf.eh.e_shoff,
			      "no function %s, which was chosen as an entry", ck->chosen[i]);
}

void check_entries(struct ck *ck)
{
	uint8_t *names = named(ck), *found = check_alloc(ck->m.h->entries.count, 1);

	for (uint32_t i = 0; i < ck->nfn; i++) {
		const struct fn *f = &ck->fn[i];
		uint32_t k;

		if (ck->w.sec[f->section].segment == NONE)
			continue;
		k = entry_at(ck, moff_of(ck, f->section, f->value));
		if (k != NONE) {
			found[k] = 1;
			entry(ck, k, f, names[k]);
		} else if (f->chosen) {
			fault(ck, CHECK_ENTRIES, ck->m.path, ck->m.h->entries.offset,
			      "no entry for %s, which was chosen", sym_name(&ck->o, f->name));
		} else if (!ck->linux_module && f->global && may_enter(ck, f)) {
			fault(ck, CHECK_ENTRIES, ck->m.path, ck->m.h->entries.offset,
			      "no entry for %s, which a loader finds by its name",
			      sym_name(&ck->o, f->name));
		}
	}
	for (uint32_t i = 0; i < ck->m.h->entries.count; i++) {
		if (!found[i])
			bad_entry(ck, i, "no function starts there");
		man_uses_name(ck, ck->m.entries[i].name, NULL);
	}
	chosen_names(ck);
	retsites(ck);
	privileges(ck);
	free(names);
	free(found);
}

void check_imports(struct ck *ck)
{
	const struct gm_import *im = ck->m.imports;

	for (uint32_t i = 1; ck->views && i < ck->w.nsym; i++)
		if (ck->called[i] && ck->import_of[i] != NONE)
			ck->import_seen[ck->import_of[i]] |= 1;
	for (uint32_t i = 0; i < ck->m.h->imports.count; i++, im++) {
		const char *name = man_name(&ck->m, im->name);
		uint32_t flags = ck->import_seen[i] & 1 ? 0 : GM_IMPORT_DATA;
		const char *what = NULL;

		if (!name || !ck->import_seen[i])
			what = "nothing uses it";
		else if (im->flags != flags)
			what = "is data and called, or neither";
		else if (im->preserve !=
			 (ck->preserve[i] != NONE ? ck->preserve[i] : preserved_by(name)))
			what = "does not preserve just these registers";
		if (what)
			fault(ck, CHECK_IMPORTS, ck->m.path, man_at(&ck->m, im),
			      "import %u (%s): %s", i, name ? name : "", what);
		else
			proved(ck, CHECK_IMPORTS, 1);
		man_uses_name(ck, im->name, NULL);
	}
}

/* struct modversion_info { unsigned long crc; char name[56]; } */
#define VERSION_BYTES 64u
#define VERSION_NAME 8u

static int by_name(const void *a, const void *b)
{
	const uint8_t *const *x = a, *const *y = b;

	return strncmp((const char *)*x + VERSION_NAME, (const char *)*y + VERSION_NAME,
		       VERSION_BYTES - VERSION_NAME);
}

static bool has_version(const uint8_t *const *v, size_t n, const char *name)
{
	size_t lo = 0, hi = n;

	if (strlen(name) >= VERSION_BYTES - VERSION_NAME)
		return false;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strncmp((const char *)v[mid] + VERSION_NAME, name,
				VERSION_BYTES - VERSION_NAME);

		if (c == 0)
			return true;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

/* A kernel with module versions refuses a symbol that has none. */
void check_crcs(struct ck *ck)
{
	uint32_t index = sec_named(&ck->o, "__versions"), undefined = 0;
	const struct sec *w = &ck->w.sec[index];
	const uint8_t **v;
	size_t n, old;

	if (!index) {
		for (uint32_t i = 1; i < ck->w.nsym; i++)
			undefined += ck->w.sym[i].st_shndx == SHN_UNDEF;
		if (undefined)
			note(ck, CHECK_NOTE_UNPROVED,
			     "that a kernel takes %u symbols without a CRC: the original has none",
			     undefined);
		return;
	}
	if (w->hdr.sh_size && !w->data) {
		fault(ck, CHECK_CRCS, ck->w.elf.path, elfile_section_at(&ck->w.elf, index),
		      "%s: without contents", w->name);
		return;
	}
	n = w->hdr.sh_size / VERSION_BYTES;
	old = ck->o.sec[index].hdr.sh_size / VERSION_BYTES;
	if (w->hdr.sh_size % VERSION_BYTES) {
		fault(ck, CHECK_CRCS, ck->w.elf.path, sec_at(w, 0), "%s: no whole records",
		      w->name);
		return;
	}
	v = check_alloc(n, sizeof(*v));
	for (size_t i = 0; i < n; i++)
		v[i] = w->data + i * VERSION_BYTES;
	if (n)
		qsort(v, n, sizeof(*v), by_name);
	for (size_t i = 1; i < n; i++)
		if (by_name(&v[i - 1], &v[i]) == 0)
			fault(ck, CHECK_CRCS, ck->w.elf.path, sec_at(w, (uint64_t)(v[i] - w->data)),
			      "%s: a second CRC of one symbol", w->name);
	for (uint32_t i = 1; i < ck->w.nsym; i++) {
		if (ck->w.sym[i].st_shndx != SHN_UNDEF)
			continue;
		if (has_version(v, n, sym_name(&ck->w, i)))
			proved(ck, CHECK_CRCS, 1);
		else
			fault(ck, CHECK_CRCS, ck->w.elf.path, elfile_symbol_at(&ck->w.elf, i),
			      "symbol %s has no CRC in %s", sym_name(&ck->w, i), w->name);
	}
	if (n > old)
		note(ck, CHECK_NOTE_UNPROVED,
		     "that the CRCs of %zu symbols which the original does not use are right",
		     n - old);
	free(v);
}
