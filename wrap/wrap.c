// SPDX-License-Identifier: GPL-2.0-only
/* The steps of wrapping, in order. Each is a file of its own; module.h tells what they share. */
#include "wrap/module.h"

#include <stdio.h>
#include <string.h>

/* "dir/e1000e.ko" -> "e1000e"; the name may become part of other lines, so it stays printable. */
static void set_name(struct module *m)
{
	const char *base = m->opt->name, *dot;
	size_t n;

	if (!base) {
		base = strrchr(m->path, '/');
		base = base ? base + 1 : m->path;
	}
	dot = m->opt->name ? NULL : strchr(base, '.');
	n = dot ? (size_t)(dot - base) : strlen(base);
	if (n >= sizeof(m->name))
		n = sizeof(m->name) - 1;
	memcpy(m->name, base, n);
	m->name[n] = 0;
	for (char *c = m->name; *c; c++)
		if ((unsigned char)*c <= 0x20 || (unsigned char)*c > 0x7e)
			*c = '_';
}

static bool not_wrapped(struct module *m)
{
	return (!section_named(m, ".guard.gates") && !section_named(m, ".guard.text")) ||
	       refuse(m, m->elf.eh.e_shoff, "this module is already wrapped");
}

static bool private_sections_exist(struct module *m)
{
	for (size_t i = 0; i < m->opt->private_count; i++) {
		uint32_t s = section_named(m, m->opt->private_sections[i]);

		if (!s || m->sections[s].role != ROLE_PRIVATE)
			return refuse(m, m->elf.eh.e_shoff, "no loaded section %s to make private",
				      m->opt->private_sections[i]);
	}
	return true;
}

static bool sections_add(struct module *m)
{
	gates_sections(m);
	return static_calls_move(m);
}

/* The same without gates: nothing is changed, so all of it is reading. */
static bool module_describe(struct module *m, const struct blob *in)
{
	return object_read(m, in) && not_wrapped(m) && roles_assign(m) &&
	       private_sections_exist(m) && views_possible(m) && code_decode(m) && tables_read(m) &&
	       jump_tables_find(m) && views_no_jump_tables(m) && scan_plan(m) && unwind_make(m) &&
	       headroom_measure(m) && layout_make(m);
}

bool module_wrap(struct module *m, const struct wrap_options *opt, const char *path,
		 const struct blob *in, struct error *err)
{
	*m = (struct module){ .path = path, .opt = opt, .err = err };
	set_name(m);
	if (opt->views)
		return module_describe(m, in);
	return object_read(m, in) && not_wrapped(m) && roles_assign(m) &&
	       private_sections_exist(m) && sections_add(m) && code_decode(m) && tables_read(m) &&
	       jump_tables_find(m) && scan_plan(m) && gates_plan(m) && gates_make(m) &&
	       unwind_make(m) && scan_retarget(m) && headroom_measure(m) && layout_make(m);
}

void module_stats(const struct module *m, struct wrap_stats *s)
{
	const struct gate *g = m->gates.data;

	*s = (struct wrap_stats){ .entries = (uint32_t)m->entries.count,
				  .gates = (uint32_t)m->gates.count,
				  .sites = (uint32_t)m->sites.count,
				  .unwind_rows = (uint32_t)m->rows.count,
				  .raw_branches = (uint32_t)m->raw.count,
				  .raw_pointers = m->raw_pointers };
	for (size_t i = 0; i < m->gates.count; i++)
		s->exits += g[i].kind == GM_GATE_LEAVE;
	for (uint32_t i = 1; i < m->nsections; i++)
		if (m->sections[i].role == ROLE_TEXT && (m->opt->views || i != m->thunks_section)) {
			s->code += m->sections[i].hdr.sh_size;
			s->instructions += m->sections[i].ninsns;
		}
	for (uint32_t i = 0; i < m->nsymbols; i++) {
		s->leaving += m->imports[i].calls + m->imports[i].jumps;
		s->exits += m->opt->views && (m->imports[i].calls || m->imports[i].jumps);
	}
	for (size_t i = 0; i < m->tramps.count; i++)
		s->leaving += ((const struct tramp *)m->tramps.data)[i].calls +
			      ((const struct tramp *)m->tramps.data)[i].jumps;
	for (size_t i = 0; i < m->pv_ops.count; i++)
		s->leaving += ((const struct pv_op *)m->pv_ops.data)[i].calls;
	for (unsigned i = 0; i < INNER_COPIES; i++)
		s->inner += m->inner[i].calls + m->inner[i].jumps;
}

/* An unwrapped module is the file as it was, signature and all. */
static bool copy_object(const struct blob *in, struct blob *out)
{
	out->data = wrap_alloc(in->size, 1);
	out->size = in->size;
	memcpy(out->data, in->data, in->size);
	return true;
}

bool wrap_module(const struct wrap_options *opt, const char *path, const struct blob *in,
		 struct wrap_result *out, struct error *err)
{
	struct module m;
	bool ok;

	*out = (struct wrap_result){ 0 };
	ok = module_wrap(&m, opt, path, in, err) && write_manifest(&m, &out->manifest) &&
	     manifest_check(path, &out->manifest, err) &&
	     (opt->views ? copy_object(in, &out->ko) : write_elf(&m, &out->ko));
	if (ok)
		module_stats(&m, &out->stats);
	object_free(&m);
	if (!ok)
		wrap_result_free(out);
	return ok;
}

void wrap_result_free(struct wrap_result *r)
{
	blob_free(&r->ko);
	blob_free(&r->manifest);
}
