// SPDX-License-Identifier: GPL-2.0-only
/*
 * Gates, byte by byte against the contract's templates (docs/semantics.md, "Gates"):
 *
 *	enter           [f3 0f 1e fa] X  e9 ->f      endbr64 where f starts with it
 *	leave-return    48 8d 64 24 f8  X  c3
 *	leave           X  e9 ->g		g: an import, a trampoline of a static call
 *	                X  ff 25 ->pv_ops+N	jmp *pv_ops+N(%rip)
 *	leave-indirect  X  [41] ff e0+reg
 *	enter-return    48 8d 64 24 f8  X  c3
 *
 * All that is left of 16 bytes is int3, and so are unused gates. Each gate's jump is followed
 * through its relocation: an enter gate to the entry that the manifest says, a leave gate to the
 * import of that name.
 */
#include "check/internal.h"

#include <stdio.h>
#include <string.h>

static const uint8_t crossing[GM_X_KINDS][GM_X_BYTES] = {
	{ 0x0f, 0x01, 0xd9 }, /* vmmcall */
	{ 0x0f, 0x01, 0xc1 }, /* vmcall */
	{ 0xe6, 0xb6, 0x90 }, /* out %al,$0xb6; nop */
	{ 0x0f, 0x1f, 0x00 }, /* nopl (%rax) */
};

static const uint8_t endbr64[4] = { 0xf3, 0x0f, 0x1e, 0xfa };

/* What a gate must look like: 16 bytes, and where its jump's field is (0: it has no jump). */
struct want {
	uint8_t bytes[GM_GATE_BYTES];
	unsigned n, x, field;
};

static void put(struct want *t, const void *bytes, unsigned n)
{
	memcpy(t->bytes + t->n, bytes, n);
	t->n += n;
}

static void put_x(struct ck *ck, struct want *t)
{
	t->x = t->n;
	put(t, crossing[ck->m.h->x_kind], GM_X_BYTES);
}

static void put_jump(struct want *t)
{
	put(t, "\xe9\0\0\0\0", 5);
	t->field = t->n - 4;
}

static bool starts_with_endbr(const struct ck *ck, struct place p)
{
	const struct sec *s = &ck->w.sec[p.section];

	return s->data && s->hdr.sh_size - p.offset >= sizeof(endbr64) &&
	       memcmp(s->data + p.offset, endbr64, sizeof(endbr64)) == 0;
}

static void template_of(struct ck *ck, const struct gm_gate *g, struct place f, struct want *t)
{
	static const uint8_t lea[] = { 0x48, 0x8d, 0x64, 0x24, 0xf8 };
	const uint8_t jump[] = { 0x41, 0xff, (uint8_t)(0xe0 | (g->reg & 7)) };

	*t = (struct want){ .n = 0 };
	switch (g->kind) {
	case GM_GATE_ENTER:
		if (starts_with_endbr(ck, f))
			put(t, endbr64, sizeof(endbr64));
		put_x(ck, t);
		put_jump(t);
		break;
	case GM_GATE_LEAVE:
		put_x(ck, t);
		if (ck->way[g - ck->m.gates].kind == WAY_PARAVIRT) {
			put(t, "\xff\x25\0\0\0\0", 6);
			t->field = t->n - 4;
		} else {
			put_jump(t);
		}
		break;
	case GM_GATE_LEAVE_RETURN:
	case GM_GATE_ENTER_RETURN:
		put(t, lea, sizeof(lea));
		put_x(ck, t);
		put(t, "\xc3", 1);
		break;
	case GM_GATE_LEAVE_INDIRECT:
		put_x(ck, t);
		put(t, jump + (g->reg < 8), g->reg < 8 ? 2 : 3);
		break;
	default: break;
	}
	memset(t->bytes + t->n, 0xcc, sizeof(t->bytes) - t->n);
}

static bool bad(struct ck *ck, uint32_t i, const char *what)
{
	const struct sec *s = &ck->w.sec[ck->gates];

	return fault(ck, CHECK_GATES, ck->w.elf.path, sec_at(s, (uint64_t)i * GM_GATE_BYTES),
		     "gate %u: %s", i, what);
}

static bool bad_record(struct ck *ck, uint32_t i, const char *what)
{
	return fault(ck, CHECK_GATES, ck->m.path, man_at(&ck->m, &ck->m.gates[i]), "gate %u: %s", i,
		     what);
}

/* The record's fields that the kind decides. */
static bool record(struct ck *ck, uint32_t i, const struct want *t)
{
	const struct gm_gate *g = &ck->m.gates[i];
	bool named = g->kind == GM_GATE_ENTER || g->kind == GM_GATE_LEAVE;

	if (g->x != t->x)
		return bad_record(ck, i, "its X is not where the record says");
	if (g->kind != GM_GATE_LEAVE_INDIRECT && g->reg)
		return bad_record(ck, i, "a register that it does not use");
	if (!named && g->index != GM_NONE)
		return bad_record(ck, i, "a field that must be unused is not");
	return true;
}

static bool enter(struct ck *ck, uint32_t i, const struct rel *r, struct place *f)
{
	const struct gm_gate *g = &ck->m.gates[i];

	*f = w_place(ck, r->wsym, r->waddend + 4);
	if (!f->section || ck->w.sec[f->section].segment == NONE ||
	    f->offset >= ck->w.sec[f->section].hdr.sh_size ||
	    moff_of(ck, f->section, f->offset) != ck->m.entries[g->index].moff)
		return bad(ck, i, "does not lead to the function of its entry");
	ck->enter_gate[g->index] = i;
	return true;
}

/* To a trampoline of the module's own, in its new place. */
static bool leave_tramp(struct ck *ck, uint32_t i, const struct rel *r, const char *name)
{
	const struct gm_gate *g = &ck->m.gates[i];
	struct place p = w_place(ck, r->wsym, r->waddend + 4);

	if (!ck->tramps || p.section != ck->tramps ||
	    p.offset >= ck->w.sec[ck->tramps].hdr.sh_size || ck->tramp_gate[p.offset] != NONE)
		return bad(ck, i, "leads to no trampoline, or is a second gate of one");
	if (!ck->tramp_sym[p.offset] ||
	    strcmp(sym_name(&ck->w, ck->tramp_sym[p.offset]), name) != 0)
		return bad(ck, i, "leads to another trampoline than its record says");
	ck->tramp_gate[p.offset] = i;
	ck->way[i] = (struct way){ WAY_TRAMP, p.offset };
	ck->import_seen[g->index] |= 1;
	return true;
}

/* To a function of pv_ops, the kernel's table. */
static bool leave_paravirt(struct ck *ck, uint32_t i, const struct rel *r, const char *name)
{
	const struct gm_gate *g = &ck->m.gates[i];
	int64_t n = r->waddend + 4;
	char want[32];

	if (n < 0 || n > UINT16_MAX || n % 8)
		return bad(ck, i, "leads to no function of pv_ops");
	snprintf(want, sizeof(want), "pv_ops+0x%x", (unsigned)n);
	if (strcmp(name, want) != 0)
		return bad(ck, i, "leads to another function of pv_ops than its record says");
	for (uint32_t k = 0; k < i; k++)
		if (ck->way[k].kind == WAY_PARAVIRT && ck->way[k].offset == n)
			return bad(ck, i, "a second leave gate of one function of pv_ops");
	ck->way[i] = (struct way){ WAY_PARAVIRT, (uint32_t)n };
	ck->preserve[g->index] = pv_preserves(ck, (uint32_t)n);
	ck->import_seen[g->index] |= 1;
	return true;
}

static bool leave(struct ck *ck, uint32_t i, const struct rel *r)
{
	const struct gm_gate *g = &ck->m.gates[i];
	const char *name = man_name(&ck->m, ck->m.imports[g->index].name);

	if (!name || ck->import_seen[g->index] & 1)
		return bad(ck, i, "a second leave gate of one import");
	if (r->wsym && sym_defined(&ck->w.sym[r->wsym]))
		return leave_tramp(ck, i, r, name);
	if (!r->wsym || ck->w.sym[r->wsym].st_shndx != SHN_UNDEF)
		return bad(ck, i, "does not lead to an import");
	if (r->type == R_X86_64_PC32 && strcmp(sym_name(&ck->w, r->wsym), "pv_ops") == 0)
		return leave_paravirt(ck, i, r, name);
	if (r->waddend != -4 || strcmp(name, sym_name(&ck->w, r->wsym)) != 0)
		return bad(ck, i, "leads to another import than its record says");
	if (ck->leave_gate[r->wsym] != NONE)
		return bad(ck, i, "a second leave gate of one import");
	ck->leave_gate[r->wsym] = i;
	ck->import_of[r->wsym] = g->index;
	ck->import_seen[g->index] |= 1;
	ck->undefined_used[r->wsym] = 1;
	return true;
}

/* Gate i with the relocations [r, r + n) that lie in it. */
static bool gate(struct ck *ck, uint32_t i, const struct rel *r, uint32_t n)
{
	const uint8_t *bytes = ck->w.sec[ck->gates].data + (size_t)i * GM_GATE_BYTES;
	const struct gm_gate *g = &ck->m.gates[i];
	bool jumps = g->kind == GM_GATE_ENTER || g->kind == GM_GATE_LEAVE;
	struct place f = { 0, 0 };
	struct want t;

	if (n != (jumps ? 1 : 0))
		return bad(ck, i, "another number of relocations than its kind has");
	if (g->kind == GM_GATE_ENTER && !enter(ck, i, r, &f))
		return false;
	if (g->kind == GM_GATE_LEAVE && !leave(ck, i, r))
		return false;
	template_of(ck, g, f, &t);
	if (memcmp(bytes, t.bytes, sizeof(t.bytes)) != 0)
		return bad(ck, i, "its bytes are not those of its kind");
	if (jumps &&
	    (r->offset != i * GM_GATE_BYTES + t.field ||
	     r->type != (ck->way[i].kind == WAY_PARAVIRT ? R_X86_64_PC32 : R_X86_64_PLT32)))
		return bad(ck, i, "its relocation is not that of its jump");
	if (!record(ck, i, &t))
		return false;
	proved(ck, CHECK_GATES, g->kind != GM_GATE_PAD);
	proved(ck, CHECK_CROSSINGS, g->kind != GM_GATE_PAD);
	return true;
}

/* One gate for each register, one entry gate for each entry. */
static void once(struct ck *ck)
{
	const struct gm_gate *g = ck->m.gates;
	uint32_t regs = 0;

	for (uint32_t i = 0; i < ck->m.h->gates.count; i++) {
		if (g[i].kind == GM_GATE_ENTER && ck->m.entries[g[i].index].gate != i)
			bad_record(ck, i, "a second gate of one entry");
		if (g[i].kind != GM_GATE_LEAVE_INDIRECT)
			continue;
		if (regs & 1u << g[i].reg || g[i].reg == 4)
			bad_record(ck, i, "a second gate of one register, or of RSP");
		regs |= 1u << g[i].reg;
	}
}

/* X outside of gates is no crossing, but a person should know of it. */
static void scan(struct ck *ck)
{
	const uint8_t *x = crossing[ck->m.h->x_kind];
	uint64_t nops = 0;

	for (uint32_t k = 0; k < ck->norder; k++) {
		const struct sec *s = &ck->w.sec[ck->order[k]];
		const uint8_t *at = s->data, *end;

		if (!(s->hdr.sh_flags & SHF_EXECINSTR) || ck->order[k] == ck->gates || !at)
			continue;
		end = at + s->hdr.sh_size;
		while (end - at >= GM_X_BYTES &&
		       (at = memchr(at, x[0], (size_t)(end - at) - 2)) != NULL) {
			if (at[1] == x[1] && at[2] == x[2]) {
				if (ck->m.h->x_kind == GM_X_NOP)
					nops++;
				else
					note(ck, CHECK_NOTE_CROSSING, "%s+0x%llx", s->name,
					     (unsigned long long)(at - s->data));
			}
			at++;
		}
	}
	if (nops)
		note(ck, CHECK_NOTE_CROSSING, "%llu NOPs of three bytes, as X is one",
		     (unsigned long long)nops);
}

/* Trampolines are functions by name. */
static void find_tramps(struct ck *ck)
{
	size_t size = ck->tramps ? ck->w.sec[ck->tramps].hdr.sh_size : 0;

	ck->tramp_gate = check_alloc(size, sizeof(uint32_t));
	memset(ck->tramp_gate, 0xff, size * sizeof(uint32_t));
	ck->tramp_sym = check_alloc(size, sizeof(uint32_t));
	for (uint32_t i = 1; size && i < ck->o.nsym; i++) {
		const Elf64_Sym *y = &ck->w.sym[i];

		if (y->st_shndx == ck->tramps && y->st_value < size &&
		    ELF64_ST_TYPE(y->st_info) == STT_FUNC && !ck->tramp_sym[y->st_value])
			ck->tramp_sym[y->st_value] = i;
	}
}

void check_gates(struct ck *ck)
{
	const struct sec *s = &ck->w.sec[ck->gates];
	uint32_t n = ck->m.h->gates.count, r = 0;

	ck->leave_gate = check_alloc(ck->w.nsym, sizeof(uint32_t));
	ck->called = check_alloc(ck->w.nsym, 1);
	ck->import_of = check_alloc(ck->w.nsym, sizeof(uint32_t));
	ck->undefined_used = check_alloc(ck->w.nsym, 1);
	memset(ck->leave_gate, 0xff, ck->w.nsym * sizeof(uint32_t));
	memset(ck->import_of, 0xff, ck->w.nsym * sizeof(uint32_t));
	ck->enter_gate = check_alloc(ck->m.h->entries.count, sizeof(uint32_t));
	memset(ck->enter_gate, 0xff, ck->m.h->entries.count * sizeof(uint32_t));
	ck->entry_seen = check_alloc(ck->m.h->entries.count, 1);
	ck->import_seen = check_alloc(ck->m.h->imports.count, 1);
	ck->way = check_alloc(n, sizeof(*ck->way));
	find_tramps(ck);
	ck->preserve = check_alloc(ck->m.h->imports.count, sizeof(uint32_t));
	memset(ck->preserve, 0xff, ck->m.h->imports.count * sizeof(uint32_t));
	read_paravirt(ck);
	if (n != s->hdr.sh_size / GM_GATE_BYTES)
		fault(ck, CHECK_GATES, ck->m.path, offsetof(struct gm_header, gates),
		      "%u gates, but the gate pages have room for %llu", n,
		      (unsigned long long)s->hdr.sh_size / GM_GATE_BYTES);
	for (uint32_t i = 0; i < n && i < s->hdr.sh_size / GM_GATE_BYTES; i++) {
		uint32_t first = r;

		while (r < s->nrels && s->rels[r].offset < (i + 1) * GM_GATE_BYTES)
			r++;
		gate(ck, i, s->rels + first, r - first);
	}
	if (r < s->nrels)
		fault(ck, CHECK_GATES, ck->w.elf.path, rec_at(&ck->w, s, s->rels[r].index),
		      "a relocation in a gate that the manifest does not have");
	if (!ck->views)
		once(ck);
	scan(ck);
}
