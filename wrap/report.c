// SPDX-License-Identifier: GPL-2.0-only
/* Collects what a person needs to know before trusting a module, from the steps of wrapping. */
#include "wrap/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wrap/module.h"

static const char *const segment_kinds[GM_SEG_KINDS] = {
	"text",	     "gates",	    "rodata",	 "data",   "private",
	"init-text", "init-rodata", "init-data", "percpu",
};
static const char *const gate_kinds[GM_GATE_KINDS] = {
	"pad", "enter", "leave-return", "leave", "leave-indirect", "enter-return",
};
static const char *const gprs[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
				      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };

static json_t *segments_of(const struct module *m)
{
	json_t *all = json_array();

	for (uint32_t k = 0; k < m->nsegments; k++) {
		json_t *sections = json_array();

		for (uint32_t i = 1; i < m->nsections; i++)
			if (m->sections[i].segment == k)
				json_array_append_new(
					sections,
					json_pack("{s:s, s:I, s:I}", "name", m->sections[i].name,
						  "offset", (json_int_t)m->sections[i].offset,
						  "size", (json_int_t)m->sections[i].hdr.sh_size));
		json_array_append_new(
			all, json_pack("{s:s, s:s, s:I, s:I, s:o}", "name", m->segments[k].name,
				       "kind", segment_kinds[m->segments[k].kind], "start",
				       (json_int_t)m->segments[k].start, "size",
				       (json_int_t)m->segments[k].size, "sections", sections));
	}
	return all;
}

static json_t *entries_of(const struct module *m)
{
	const struct entry *e = m->entries.data;
	json_t *all = json_array();

	for (size_t i = 0; i < m->entries.count; i++) {
		const struct function *f = &m->functions[e[i].function];
		char source[128];

		snprintf(source, sizeof(source), "%s+0x%llx", e[i].why,
			 (unsigned long long)e[i].why_at);
		json_array_append_new(
			all, json_pack("{s:s, s:s, s:s, s:I, s:b, s:b, s:b}", "name", f->name,
				       "section", m->sections[f->section].name, "source", source,
				       "headroom", (json_int_t)headroom_of(m, e[i].function),
				       "init", (e[i].flags & GM_ENTRY_INIT) != 0, "exit",
				       (e[i].flags & GM_ENTRY_EXIT) != 0, "init_call",
				       (e[i].flags & GM_ENTRY_INIT_CALL) != 0));
	}
	return all;
}

static json_t *exits_of(const struct module *m)
{
	json_t *all = json_array();

	for (uint32_t i = 0; i < m->nsymbols; i++) {
		const struct import *im = &m->imports[i];

		if (im->calls || im->jumps || im->data)
			json_array_append_new(
				all, json_pack("{s:s, s:I, s:I, s:I, s:I}", "import",
					       m->symbols[i].name, "calls", (json_int_t)im->calls,
					       "jumps", (json_int_t)im->jumps, "data",
					       (json_int_t)im->data, "preserves",
					       (json_int_t)preserve_mask(m->symbols[i].name)));
	}
	for (size_t i = 0; i < m->tramps.count; i++) {
		const struct tramp *t = (const struct tramp *)m->tramps.data + i;

		if (t->calls || t->jumps)
			json_array_append_new(all, json_pack("{s:s, s:I, s:I, s:i, s:I}", "import",
							     t->name, "calls", (json_int_t)t->calls,
							     "jumps", (json_int_t)t->jumps, "data",
							     0, "preserves",
							     (json_int_t)preserve_mask(t->name)));
	}
	for (size_t i = 0; i < m->pv_ops.count; i++) {
		const struct pv_op *op = (const struct pv_op *)m->pv_ops.data + i;

		json_array_append_new(all,
				      json_pack("{s:s, s:I, s:i, s:i, s:I}", "import", op->name,
						"calls", (json_int_t)op->calls, "jumps", 0, "data",
						0, "preserves", (json_int_t)op->preserve));
	}
	return all;
}

/* Branches that stay inside: each would be a crossing out and one back. */
static json_t *inner_of(const struct module *m)
{
	json_t *all = json_array();

	for (unsigned i = 0; i < INNER_COPIES; i++)
		if (m->inner[i].calls || m->inner[i].jumps)
			json_array_append_new(all, json_pack("{s:s, s:I, s:I}", "import",
							     inner_copy(i)->import, "calls",
							     (json_int_t)m->inner[i].calls, "jumps",
							     (json_int_t)m->inner[i].jumps));
	return all;
}

/* "section+0x10 (function+0x4)" */
static json_t *place_of(const struct module *m, uint32_t section, uint64_t offset)
{
	uint32_t f = function_around(m, section, offset);
	char text[256];

	if (f == WRAP_NONE)
		snprintf(text, sizeof(text), "%s+0x%llx", m->sections[section].name,
			 (unsigned long long)offset);
	else
		snprintf(text, sizeof(text), "%s+0x%llx (%s+0x%llx)", m->sections[section].name,
			 (unsigned long long)offset, m->functions[f].name,
			 (unsigned long long)(offset - m->functions[f].value));
	return json_string(text);
}

static json_t *raw_of(const struct module *m)
{
	const struct raw_branch *r = m->raw.data;
	json_t *all = json_array();

	for (size_t i = 0; i < m->raw.count; i++)
		json_array_append_new(all,
				      json_pack("{s:s, s:o}", "kind",
						r[i].kind == INSN_CALL_IND ? "call" : "jump",
						"place", place_of(m, r[i].section, r[i].offset)));
	return all;
}

static json_t *sites_of(const struct module *m)
{
	const struct patch_site *p = m->sites.data;
	json_t *all = json_array();

	for (size_t i = 0; i < m->sites.count; i++) {
		json_t *site = json_pack("{s:s, s:i, s:o}", "kind", p[i].count ? "load" : "label",
					 "size", (int)p[i].size, "place",
					 place_of(m, p[i].section, p[i].offset));

		if (p[i].count)
			json_object_set_new(site, "alternatives", json_integer(p[i].count));
		else
			json_object_set_new(site, "target",
					    place_of(m, p[i].target_section, p[i].target));
		json_array_append_new(all, site);
	}
	return all;
}

static json_t *fixups_of(const struct module *m)
{
	const struct fixup *f = m->fixups.data;
	json_t *all = json_array();

	for (size_t i = 0; i < m->fixups.count; i++)
		json_array_append_new(
			all, json_pack("{s:s, s:o, s:o, s:I}", "kind",
				       f[i].kind == GM_FIXUP_WARN ? "warn" : "extable", "place",
				       place_of(m, f[i].section, f[i].offset), "target",
				       place_of(m, f[i].target_section, f[i].target), "registers",
				       (json_int_t)f[i].regs));
	return all;
}

/* Crossing instructions of the module's own: numbered calls to the VMM, never gates. */
static json_t *crossings_of(const struct module *m)
{
	json_t *all = json_array();

	for (uint32_t i = 1; i < m->nsections; i++)
		for (size_t k = 0; k < m->sections[i].ninsns; k++)
			if (m->sections[i].insns[k].kind == INSN_CROSSING)
				json_array_append_new(
					all, place_of(m, i, m->sections[i].insns[k].offset));
	return all;
}

json_t *report_module(const struct wrap_options *opt, const char *path, const struct blob *in,
		      struct error *err)
{
	json_t *report = NULL, *registers;
	struct module m;
	uint64_t text = 0, insns = 0;

	if (module_wrap(&m, opt, path, in, err)) {
		registers = json_array();
		for (unsigned r = 0; r < 16; r++)
			if (m.thunk_regs & 1u << r)
				json_array_append_new(registers, json_string(gprs[r]));
		for (uint32_t i = 1; i < m.nsections; i++)
			if (m.sections[i].role == ROLE_TEXT && i != m.thunks_section) {
				text += m.sections[i].hdr.sh_size;
				insns += m.sections[i].ninsns;
			}
		report = json_pack(
			"{s:s, s:s, s:s, s:b, s:{s:I, s:I, s:I, s:I, s:I, s:I}, s:o, s:o, s:o, "
			"s:{s:o, s:I, s:I, s:I, s:I}, s:o, s:o, s:o, s:o}",
			"file", path, "kind", "module", "name", m.name, "linux", m.linux_module,
			"sizes", "file", (json_int_t)in->size, "code", (json_int_t)text,
			"instructions", (json_int_t)insns, "gates", (json_int_t)m.gates.count,
			"thunk_bytes", (json_int_t)m.sections[m.thunks_section].hdr.sh_size,
			"unwind_rows", (json_int_t)m.rows.count, "segments", segments_of(&m),
			"entries", entries_of(&m), "exits", exits_of(&m), "thunks", "registers",
			registers, "calls", (json_int_t)m.thunk_calls, "jumps",
			(json_int_t)m.thunk_jumps, "returns", (json_int_t)m.return_thunks, "fentry",
			(json_int_t)m.fentries, "raw_branches", raw_of(&m), "sites", sites_of(&m),
			"fixups", fixups_of(&m), "own_crossings", crossings_of(&m));
		if (report)
			json_object_set_new(report, "inner_copies", inner_of(&m));
		else
			error_set(err, "%s: out of memory", path);
	}
	object_free(&m);
	return report;
}

/* Reads what a gate is from its bytes; what fits no template is told as such. */
static const char *gate_kind(const uint8_t *g, unsigned *x)
{
	static const uint8_t lea[] = { 0x48, 0x8d, 0x64, 0x24, 0xf8 };
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };

	*x = 0;
	if (g[0] == 0xcc)
		return gate_kinds[GM_GATE_PAD];
	if (memcmp(g, lea, sizeof(lea)) == 0) {
		*x = 5;
		return g[8] == 0xc3 ? "return" : "?";
	}
	if (memcmp(g, endbr64, sizeof(endbr64)) == 0)
		*x = 4;
	if (g[*x + 3] == 0xe9)
		return "direct";
	return g[3] == 0xff || (g[3] == 0x41 && g[4] == 0xff) ? gate_kinds[GM_GATE_LEAVE_INDIRECT]
							      : "?";
}

static json_t *gates_of(const struct module *m, const struct section *s)
{
	json_t *all = json_array();
	size_t r = 0;

	for (uint64_t at = 0; at + GM_GATE_BYTES <= s->hdr.sh_size; at += GM_GATE_BYTES) {
		unsigned x;
		const char *kind = gate_kind(s->data + at, &x), *target = "";

		while (r < s->nrels && s->rels[r].offset < at)
			r++;
		if (r < s->nrels && s->rels[r].offset < at + GM_GATE_BYTES) {
			const struct symbol *y = &m->symbols[s->rels[r].sym];

			target = y->name;
			kind = y->sym.st_shndx == SHN_UNDEF ? gate_kinds[GM_GATE_LEAVE]
							    : gate_kinds[GM_GATE_ENTER];
		}
		if (strcmp(kind, "return") == 0)
			kind = gate_kinds[at ? GM_GATE_ENTER_RETURN : GM_GATE_LEAVE_RETURN];
		if (strcmp(kind, "pad") != 0)
			json_array_append_new(all, json_pack("{s:I, s:s, s:i, s:s}", "offset",
							     (json_int_t)at, "kind", kind, "x",
							     (int)x, "target", target));
	}
	return all;
}

json_t *report_wrapped(const char *path, const struct blob *in, struct error *err)
{
	const struct wrap_options opt = { 0 };
	struct module m = { .path = path, .opt = &opt, .err = err };
	json_t *report = NULL;

	if (object_read(&m, in)) {
		const struct section *s = &m.sections[section_named(&m, ".guard.gates")];

		if (s->hdr.sh_type != SHT_PROGBITS || s->hdr.sh_size % GM_PAGE)
			refuse(&m, s->file, ".guard.gates is no whole pages of gates");
		else
			report = json_pack("{s:s, s:s, s:o}", "file", path, "kind", "wrapped",
					   "gates", gates_of(&m, s));
	}
	object_free(&m);
	return report;
}

bool report_is_wrapped(const char *path, const struct blob *in)
{
	const struct wrap_options opt = { 0 };
	struct module m = { .path = path, .opt = &opt };
	bool wrapped = object_read(&m, in) && section_named(&m, ".guard.gates") != 0;

	object_free(&m);
	return wrapped;
}

json_t *report_manifest(const char *path, const struct blob *in, struct error *err)
{
	const struct gm_header *h = (const void *)in->data;
	json_t *privileges, *segments;
	const struct gm_privilege *p;
	const struct gm_segment *s;
	uint8_t digest[32];
	char hex[65];

	if (!manifest_check(path, in, err))
		return NULL;
	manifest_digest(in, digest);
	for (unsigned i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	privileges = json_array();
	p = (const void *)(in->data + h->privileges.offset);
	for (uint32_t i = 0; i < h->privileges.count; i++)
		json_array_append_new(privileges, json_string(manifest_name(in, p[i].name)));
	segments = json_array();
	s = (const void *)(in->data + h->segments.offset);
	for (uint32_t i = 0; i < h->segments.count; i++)
		json_array_append_new(segments, json_pack("{s:s, s:s, s:I, s:I}", "name",
							  manifest_name(in, s[i].name), "kind",
							  segment_kinds[s[i].kind], "start",
							  (json_int_t)s[i].start, "size",
							  (json_int_t)s[i].size));
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			 "file", path, "kind", "manifest", "name", manifest_name(in, h->name),
			 "sha256", hex, "segments", segments, "privileges", privileges, "gates",
			 (json_int_t)h->gates.count, "entries", (json_int_t)h->entries.count,
			 "imports", (json_int_t)h->imports.count, "relocations",
			 (json_int_t)h->relocs.count, "sites", (json_int_t)h->sites.count,
			 "return_sites", (json_int_t)h->retsites.count, "unwind_rows",
			 (json_int_t)h->unwind.count, "fixups", (json_int_t)h->fixups.count);
}
