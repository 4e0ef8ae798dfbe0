// SPDX-License-Identifier: GPL-2.0-only
/* The order of the steps, and what they say. */
#include "check/internal.h"

#include <ctype.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const check_keys[CHECK_COUNT] = {
#define X(name, key, text) [CHECK_##name] = (key),
	CHECK_CLASSES(X)
#undef X
};

const char *const check_texts[CHECK_COUNT] = {
#define X(name, key, text) [CHECK_##name] = (text),
	CHECK_CLASSES(X)
#undef X
};

const char *const check_note_keys[CHECK_NOTES] = {
	[CHECK_NOTE_CROSSING] = "crossing_bytes", [CHECK_NOTE_RAW] = "raw_branches",
	[CHECK_NOTE_PRIVATE] = "private",	  [CHECK_NOTE_ASKS] = "asks_for",
	[CHECK_NOTE_UNPROVED] = "not_proved",
};

void *check_alloc(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size ? size : 1);

	if (!p) {
		fprintf(stderr, "guardhouse: out of memory\n");
		exit(2);
	}
	return p;
}

void *vec_more(struct vec *v, size_t size, uint32_t n)
{
	if (n > v->room - v->count) {
		size_t room = v->room ? (size_t)v->room * 2 : 64;
		void *grown;

		while (room - v->count < n)
			room *= 2;
		grown = room < NONE ? realloc(v->data, room * size) : NULL;
		if (!grown) {
			fprintf(stderr, "guardhouse: out of memory\n");
			exit(2);
		}
		v->data = grown;
		v->room = (uint32_t)room;
	}
	v->count += n;
	return (uint8_t *)v->data + (size_t)(v->count - n) * size;
}

/* Names in a text are the file's own words. */
static void only_printable(char *text)
{
	for (; *text; text++)
		if (!isprint((unsigned char)*text))
			*text = '?';
}

bool fault(struct ck *ck, enum check_class class, const char *path, uint64_t offset,
	   const char *fmt, ...)
{
	struct check_report *r = ck->report;
	struct check_fault *f;
	struct error err;
	va_list ap;

	if (r->faults++ >= CHECK_MAX_FAULTS)
		return false;
	if (!r->fault)
		r->fault = check_alloc(CHECK_MAX_FAULTS, sizeof(*r->fault));
	f = &r->fault[r->stored_faults++];
	va_start(ap, fmt);
	error_at(&err, path, offset, fmt, ap);
	va_end(ap);
	f->class = class;
	snprintf(f->text, sizeof(f->text), "%s", err.text);
	return false;
}

void note(struct ck *ck, enum check_note_kind kind, const char *fmt, ...)
{
	struct check_report *r = ck->report;
	struct check_note *n;
	va_list ap;

	r->notes[kind]++;
	if (r->stored_notes >= CHECK_MAX_NOTES)
		return;
	if (r->stored_notes % 64 == 0) {
		n = realloc(r->note, (r->stored_notes + 64) * sizeof(*n));
		if (!n)
			return;
		r->note = n;
	}
	n = &r->note[r->stored_notes++];
	n->kind = kind;
	va_start(ap, fmt);
	vsnprintf(n->text, sizeof(n->text), fmt, ap);
	va_end(ap);
	only_printable(n->text);
}

void check_report_free(struct check_report *r)
{
	free(r->fault);
	free(r->note);
	free(r->label);
	*r = (struct check_report){ 0 };
}

struct place w_place(const struct ck *ck, uint32_t sym, int64_t addend)
{
	const struct place none = { 0, 0 };
	const Elf64_Sym *y;
	int64_t at;

	if (sym == 0 || sym >= ck->w.nsym || !sym_defined(&ck->w.sym[sym]))
		return none;
	y = &ck->w.sym[sym];
	/* a section's size, and so a symbol's value, is below 2^32 (object.c) */
	at = (int64_t)y->st_value + addend;
	if (addend > INT32_MAX || addend < INT32_MIN || at < 0 || at > UINT32_MAX)
		return none;
	return (struct place){ y->st_shndx, (uint32_t)at };
}

struct place o_place(const struct ck *ck, uint32_t sym, int64_t addend)
{
	/* the first symbols of the wrapped object are the original's: sections.c compared them */
	return sym < ck->o.nsym ? w_place(ck, sym, addend) : (struct place){ 0, 0 };
}

/* What no check of files can show. */
static void say_limits(struct ck *ck)
{
	note(ck, CHECK_NOTE_UNPROVED,
	     "that the unwind data of the original tells the truth about its code");
	note(ck, CHECK_NOTE_UNPROVED,
	     "that imports preserve the registers which their calling convention names");
	if (ck->report->notes[CHECK_NOTE_RAW])
		note(ck, CHECK_NOTE_UNPROVED,
		     "where %llu raw indirect branches lead: they have no inner thunk",
		     (unsigned long long)ck->report->notes[CHECK_NOTE_RAW]);
	if (ck->report->proved[CHECK_COPY_CALLS])
		note(ck, CHECK_NOTE_UNPROVED,
		     "that inner copies compute what the functions that they replace do");
	if (ck->views)
		views_limits(ck);
	if (ck->report->notes[CHECK_NOTE_ASKS])
		note(ck, CHECK_NOTE_UNPROVED, "that the module needs the privileges it asks for");
}

static void run(struct ck *ck)
{
	if (!check_sections(ck) || !check_layout(ck))
		return;
	check_gates(ck);
	if (!ck->views)
		check_thunks(ck);
	check_code(ck);
	thunk_rows(ck);
	if (!ck->views && !check_orc_rows(ck))
		return;
	check_addresses(ck);
	check_tables(ck);
	check_image(ck);
	check_unwind(ck);
	check_entries(ck);
	check_imports(ck);
	check_headroom(ck);
	check_jumps(ck);
	check_crcs(ck);
	check_accounted(ck);
	say_limits(ck);
}

static void release(struct ck *ck)
{
	void *const all[] = { ck->leave_gate,
			      ck->enter_gate,
			      ck->undefined_used,
			      ck->called,
			      ck->entry_seen,
			      ck->chosen,
			      ck->chosen_seen,
			      ck->import_seen,
			      ck->import_of,
			      ck->rows.data,
			      ck->order,
			      ck->fn,
			      ck->edges.data,
			      ck->retsites.data,
			      ck->sites.data,
			      ck->choices.data,
			      ck->fixups.data,
			      ck->used.data,
			      ck->way,
			      ck->tramp_gate,
			      ck->tramp_sym,
			      ck->jump_thunks.data,
			      ck->jumps.data,
			      ck->thunk_rows.data,
			      ck->preserve,
			      ck->copies.data,
			      ck->alternatives.data,
			      ck->choice_relocs.data,
			      ck->pv.data };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(all[i]);
	free(ck);
}

bool check_module(const struct check_file *original, const struct check_file *wrapped,
		  const struct check_file *manifest, const struct check_options *opt,
		  struct check_report *report, struct error *err)
{
	struct ck *ck = check_alloc(1, sizeof(*ck));
	bool ok;

	*report = (struct check_report){ 0 };
	ck->report = report;
	choose(ck, opt);
	crypto_hash_sha256(report->digest, manifest->blob->data, manifest->blob->size);
	ok = object_open(&ck->o, original, err) && object_open(&ck->w, wrapped, err) &&
	     manifest_open(&ck->m, manifest, err);
	ck->views = ok && ck->m.h->flags & GM_FLAG_VIEWS;
	if (ck->views)
		views_uses(ck);
	if (ok)
		run(ck);
	object_close(&ck->o);
	object_close(&ck->w);
	release(ck);
	return ok;
}
