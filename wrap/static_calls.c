// SPDX-License-Identifier: GPL-2.0-only
/*
 * Static calls that a module defines itself. A trampoline (`jmp f; ud1`) is code that the kernel
 * patches at any time, to lead to whatever function was chosen; no list of legal contents could be
 * complete. So the trampolines move into a section of their own behind the gates, which is ordinary
 * memory to the guard: the kernel patches it as ever, and it runs without privilege. The module's
 * calls of a trampoline go through a leave gate; where a trampoline leads to one of the module's
 * functions, it leads to that function's enter gate.
 */
#include "wrap/module.h"

#include <stdlib.h>
#include <string.h>

#define TRAMP_BYTES 8u

/* jmp.d32 f or `ret; int3; nop; nop; nop`, then the signature that the kernel looks for. */
static bool is_trampoline(const struct section *s, uint64_t offset)
{
	static const uint8_t ret[] = { 0xc3, 0xcc, 0x90, 0x90, 0x90 },
			     mark[] = { 0x0f, 0xb9, 0xcc };
	const struct rel *r;

	if (offset > s->hdr.sh_size || s->hdr.sh_size - offset < TRAMP_BYTES ||
	    memcmp(s->data + offset + 5, mark, sizeof(mark)) != 0)
		return false;
	if (memcmp(s->data + offset, ret, sizeof(ret)) == 0)
		return true;
	r = rel_at(s, offset + 1);
	return s->data[offset] == 0xe9 && r &&
	       (r->type == R_X86_64_PC32 || r->type == R_X86_64_PLT32);
}

static int by_offset(const void *a, const void *b)
{
	const struct tramp *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool collect(struct module *m)
{
	const struct section *s = &m->sections[m->tramp_section];
	struct tramp *t;
	size_t n = 0;

	for (uint32_t i = 1; i < m->nsymbols; i++) {
		const Elf64_Sym *y = &m->symbols[i].sym;

		if (y->st_shndx != m->tramp_section || ELF64_ST_TYPE(y->st_info) != STT_FUNC)
			continue;
		if (!is_trampoline(s, y->st_value))
			return refuse(m, file_at(s, y->st_value),
				      "%s is no trampoline of a static call", m->symbols[i].name);
		t = vec_add(&m->tramps, sizeof(*t), 1);
		t->offset = y->st_value;
		t->name = m->symbols[i].name;
		t->gate = WRAP_NONE;
	}
	t = m->tramps.data;
	if (m->tramps.count)
		qsort(t, m->tramps.count, sizeof(*t), by_offset);
	for (size_t i = 0; i < m->tramps.count; i++)
		if (!n || t[n - 1].offset != t[i].offset)
			t[n++] = t[i];
	m->tramps.count = n;
	for (size_t i = 0; i < s->nrels; i++)
		if (s->rels[i].offset == 0 || tramp_at(m, s->rels[i].offset - 1) == WRAP_NONE)
			return refuse(m, s->rels[i].file,
				      ".static_call.text+0x%llx: not the jump of a trampoline",
				      (unsigned long long)s->rels[i].offset);
	return true;
}

uint32_t tramp_at(const struct module *m, uint64_t offset)
{
	const struct tramp *t = m->tramps.data;
	uint32_t lo = 0, hi = (uint32_t)m->tramps.count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (t[mid].offset < offset)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < m->tramps.count && t[lo].offset == offset ? lo : WRAP_NONE;
}

/* Contents, relocations and symbols go to the new section; the old one stays, empty. */
bool static_calls_move(struct module *m)
{
	uint32_t old = section_named(m, ".static_call.text");
	struct section *from = &m->sections[old], *to = &m->sections[m->tramp_section];

	if (!m->tramp_section)
		return true;
	to->data = from->data;
	to->file = from->file;
	to->rels = from->rels;
	to->nrels = from->nrels;
	to->hdr.sh_size = from->hdr.sh_size;
	from->role = ROLE_EMPTIED;
	from->rels = NULL;
	from->nrels = 0;
	for (uint32_t i = 1; i < m->nsymbols; i++)
		if (m->symbols[i].sym.st_shndx == old)
			m->symbols[i].sym.st_shndx = (Elf64_Section)m->tramp_section;
	for (uint32_t i = 1; i < m->tramp_section; i++)
		if (m->sections[i].role == ROLE_TRAMP)
			return refuse(m, file_at(&m->sections[i], 0), "a second .static_call.text");
	return collect(m);
}
