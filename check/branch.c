// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where a relocation leads in the original, hence where it must lead in the wrapped object:
 *
 *	branch to an import		that import's leave gate
 *	branch to a thunk of Linux	the module's own thunk of that kind
 *	branch to a leaf function	that gate, or the inner copy of that function
 *	branch to a trampoline		that trampoline's leave gate
 *	call through pv_ops		the word that holds that function's leave gate
 *	branch inside			unchanged
 *	address of a function		its enter gate, wherever something calls through it
 *	other addresses			unchanged
 *
 * Nothing is taken from the wrapped object but the answer.
 */
#include "check/internal.h"

#include <string.h>

static bool same(const struct rel *r)
{
	return r->sym == r->wsym && r->addend == r->waddend;
}

static bool wrong(struct ck *ck, enum check_class class, uint32_t section, const struct rel *r,
		  const char *what)
{
	const struct sec *s = &ck->w.sec[section];

	return fault(ck, class, ck->w.elf.path, rec_at(&ck->w, s, r->index), "%s+0x%x (%s): %s",
		     s->name, r->offset, sym_name(&ck->o, r->sym), what);
}

static struct place inner_branch(struct ck *ck, uint32_t section, const struct rel *r, int64_t end)
{
	struct place p = o_place(ck, r->sym, r->addend + (end - r->offset));
	struct sec *t = &ck->w.sec[p.section];

	if (!same(r)) {
		wrong(ck, CHECK_INNER, section, r, "a branch inside of the module was changed");
	} else if (!p.section || t->use != USE_CODE || p.offset >= t->hdr.sh_size) {
		wrong(ck, CHECK_INNER, section, r, "a branch to something that is no code");
	} else {
		set_bit(t->targets, p.offset);
		proved(ck, CHECK_INNER, 1);
		return p;
	}
	return (struct place){ 0, 0 };
}

/* Where the copy of a leaf function is, NONE. */
static uint32_t copy_of(const struct ck *ck, const char *name)
{
	const struct copy *c = ck->copies.data;

	for (uint32_t i = 0; i < ck->copies.count; i++)
		if (strcmp(c[i].name, copy_symbol(name)) == 0)
			return c[i].offset;
	return NONE;
}

static void tramp_branch(struct ck *ck, enum check_class class, uint32_t section,
			 const struct rel *r, int64_t end)
{
	struct place from = o_place(ck, r->sym, r->addend + (end - r->offset));
	struct place to = w_place(ck, r->wsym, r->waddend + (end - r->offset));
	const struct sec *t = &ck->w.sec[ck->tramps];

	if (from.section != ck->tramps || from.offset >= t->hdr.sh_size ||
	    to.section != ck->gates || ck->tramp_gate[from.offset] == NONE ||
	    to.offset != ck->tramp_gate[from.offset] * GM_GATE_BYTES)
		wrong(ck, class, section, r, "does not lead to this trampoline's leave gate");
	else
		proved(ck, class, 1);
}

void follow_paravirt(struct ck *ck, uint32_t section, const struct rel *r, uint32_t end)
{
	struct place p = w_place(ck, r->wsym, r->waddend + (end - r->offset));
	int64_t n = r->addend + (int64_t)(end - r->offset);
	const struct rel *word;
	struct place gate;
	uint32_t i;

	if (!ck->words || p.section != ck->words || p.offset % 8) {
		wrong(ck, CHECK_PARAVIRT, section, r, "a paravirtual call without a gate");
		return;
	}
	word = sec_rel(&ck->w.sec[ck->words], p.offset);
	if (!word || word->type != R_X86_64_64) {
		wrong(ck, CHECK_PARAVIRT, section, r, "leads through a word that names no gate");
		return;
	}
	gate = w_place(ck, word->wsym, word->waddend);
	i = gate.offset / GM_GATE_BYTES;
	if (gate.section != ck->gates || gate.offset % GM_GATE_BYTES || i >= ck->m.h->gates.count ||
	    ck->way[i].kind != WAY_PARAVIRT || ck->way[i].offset != n)
		wrong(ck, CHECK_PARAVIRT, section, r, "leads to another gate than its function's");
	else
		proved(ck, CHECK_PARAVIRT, 1);
}

struct place follow_branch(struct ck *ck, uint32_t section, const struct rel *r, uint32_t end,
			   bool call, bool *indirect, uint32_t *table)
{
	const Elf64_Sym *y = &ck->w.sym[r->sym];
	const struct place outside = { 0, 0 };
	enum check_class class = call ? CHECK_CALLS : CHECK_JUMPS;
	uint32_t want_section = ck->text, want = NONE, reg;
	const char *name = sym_name(&ck->o, r->sym);
	struct place p;

	*indirect = false;
	*table = NONE;
	if (r->type != R_X86_64_PC32 && r->type != R_X86_64_PLT32) {
		wrong(ck, class, section, r, "a branch by another relocation than PC32 or PLT32");
		return outside;
	}
	if (r->sym && sym_defined(y) && y->st_shndx == ck->tramps) {
		tramp_branch(ck, class, section, r, end);
		return outside;
	}
	if (r->sym && sym_defined(y))
		return inner_branch(ck, section, r, end);
	if (!r->sym || y->st_shndx != SHN_UNDEF || r->addend + (int64_t)(end - r->offset) != 0) {
		wrong(ck, class, section, r, "a branch to no import and no place of the module");
		return outside;
	}
	p = w_place(ck, r->wsym, r->waddend + (int64_t)(end - r->offset));
	reg = thunk_register(name);
	if (ck->views) {
		*indirect = reg != NONE;
		ck->called[r->sym] = 1;
		proved(ck, CHECK_OUTSIDE, 1);
		return outside;
	}
	if (reg != NONE) {
		class = call ? CHECK_THUNK_CALLS : CHECK_THUNK_JUMPS;
		want = ck->thunk[reg];
		*indirect = true;
	} else if (strcmp(name, "__x86_return_thunk") == 0) {
		class = CHECK_RETURNS;
		want = ck->ret_thunk;
	} else if (strcmp(name, "__fentry__") == 0) {
		class = CHECK_FENTRY;
		want = ck->ret_thunk;
	} else if (p.section == ck->text && copy_symbol(name)) {
		class = CHECK_COPY_CALLS;
		want = copy_of(ck, name);
	} else {
		want_section = ck->gates;
		if (ck->leave_gate[r->sym] != NONE)
			want = ck->leave_gate[r->sym] * GM_GATE_BYTES;
	}
	if (class == CHECK_THUNK_JUMPS && p.section == ck->text && p.offset != want &&
	    jump_thunk_at(ck, p.offset)) {
		*table = p.offset;
		return outside;
	}
	if (want == NONE || p.section != want_section || p.offset != want)
		wrong(ck, class, section, r,
		      want_section == ck->gates ? "does not lead to the leave gate of this import"
						: "does not lead to the inner thunk for this");
	else
		proved(ck, class, 1);
	return outside;
}

/* An import's address stays what it is: whoever calls it leaves by an indirect gate. */
static void import_address(struct ck *ck, uint32_t section, const struct rel *r)
{
	const char *name = sym_name(&ck->o, r->sym);

	if ((strncmp(name, "__x86_", 6) == 0 || strcmp(name, "__fentry__") == 0) &&
	    ck->w.sec[section].use != USE_TRAMP)
		wrong(ck, CHECK_RAW_IMPORTS, section, r, "the address of a thunk is taken");
	else if (!same(r))
		wrong(ck, CHECK_RAW_IMPORTS, section, r, "the address of an import was changed");
	else
		proved(ck, CHECK_RAW_IMPORTS, 1);
}

static void function_address(struct ck *ck, uint32_t section, const struct rel *r,
			     int64_t correction, struct place p)
{
	struct place gate = w_place(ck, r->wsym, r->waddend + correction);
	uint32_t i = gate.offset / GM_GATE_BYTES, moff = moff_of(ck, p.section, p.offset);
	struct fn *f = fn_at(ck, p.section, p.offset);

	if (f)
		f->taken = 1;
	if (f && !may_enter(ck, f)) {
		if (same(r))
			proved(ck, CHECK_RAW_ADDRESSES, 1);
		else
			wrong(ck, CHECK_RAW_ADDRESSES, section, r,
			      "the address of a function that is no chosen entry was changed");
		return;
	}
	if (ck->views) {
		if (entry_at(ck, moff) == NONE)
			wrong(ck, CHECK_TAKEN, section, r,
			      "the address of a function that is no entry");
		else
			proved(ck, CHECK_TAKEN, 1);
		return;
	}
	if (gate.section != ck->gates || gate.offset % GM_GATE_BYTES || i >= ck->m.h->gates.count ||
	    ck->m.gates[i].kind != GM_GATE_ENTER ||
	    ck->m.entries[ck->m.gates[i].index].moff != moff) {
		wrong(ck, CHECK_ADDRESSES, section, r,
		      "the address of a function does not lead to its enter gate");
		return;
	}
	ck->entry_seen[ck->m.gates[i].index] = 1;
	proved(ck, CHECK_ADDRESSES, 1);
}

/* A place of a function as an operand in that same function: a number for messages. */
static bool own_label(struct ck *ck, uint32_t section, const struct rel *r, struct place p)
{
	const struct fn *f = fn_around(ck, section, r->offset);

	return ck->w.sec[section].use == USE_CODE && p.section == section && same(r) && f &&
	       f == fn_around(ck, p.section, p.offset);
}

void follow_address(struct ck *ck, uint32_t section, const struct rel *r, int64_t correction)
{
	const struct sec *s = &ck->w.sec[section];
	const Elf64_Sym *y = &ck->w.sym[r->sym];
	struct place p;
	struct sec *t;

	if (r->sym && y->st_shndx == SHN_UNDEF) {
		import_address(ck, section, r);
		return;
	}
	if (!r->sym || !sym_defined(y)) {
		wrong(ck, CHECK_KEPT, section, r, "an absolute address");
		return;
	}
	t = &ck->w.sec[y->st_shndx];
	if (t->use != USE_CODE) {
		if (!same(r))
			wrong(ck, CHECK_KEPT, section, r, "the address of data was changed");
		else if (t->segment == NONE && s->use != USE_TABLE)
			wrong(ck, CHECK_KEPT, section, r, "the address of what is not loaded");
		else
			proved(ck, CHECK_KEPT, 1);
		return;
	}
	p = o_place(ck, r->sym, r->addend + correction);
	if (!p.section || p.offset > t->hdr.sh_size || t->segment == NONE)
		wrong(ck, CHECK_ADDRESSES, section, r, "an address behind the code's end");
	else if (s->use == USE_TABLE && !same(r))
		wrong(ck, CHECK_PLACES, section, r, "a place in a table was changed");
	else if (s->use == USE_TABLE)
		proved(ck, CHECK_PLACES, 1);
	else if (p.offset < t->hdr.sh_size && bit(t->functions, p.offset))
		function_address(ck, section, r, correction, p);
	else if (own_label(ck, section, r, p) ||
		 (same(r) && word_of_table(ck, section, r->offset))) {
		set_bit(t->targets, p.offset); /* an instruction */
		proved(ck, CHECK_PLACES, 1);
	} else
		wrong(ck, CHECK_ADDRESSES, section, r,
		      "the address of code that is no function's start");
}

/* All relocations of loaded sections but code, which code.c follows as it decodes. */
void check_addresses(struct ck *ck)
{
	for (uint32_t k = 0; k < ck->norder; k++) {
		const struct sec *s = &ck->w.sec[ck->order[k]];

		/* code.c follows its own; gates.c and follow_paravirt() what was added */
		if (s->use == USE_CODE || s->use == USE_GATES || s->use == USE_SPARE ||
		    ck->order[k] == ck->words)
			continue;
		for (uint32_t i = 0; i < s->nrels; i++)
			follow_address(ck, ck->order[k], &s->rels[i],
				       s->use == USE_TRAMP && rel_is_pc(s->rels[i].type) ? 4 : 0);
	}
}
