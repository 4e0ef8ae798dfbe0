// SPDX-License-Identifier: GPL-2.0-only
/*
 * Gates and inner thunks, byte by byte (spec 3, "Gates").
 *
 *	enter           [f3 0f 1e fa] X  e9 ->f      endbr64 where f itself starts with it
 *	leave-return    48 8d 64 24 f8  X  c3        lea -8(%rsp),%rsp; X; ret
 *	leave           X  e9 ->g                    g: an import, or a static-call trampoline
 *	                X  ff 25 ->pv_ops+N          jmp *pv_ops+N(%rip): paravirt.c
 *	leave-indirect  X  [41] ff e0+reg
 *	enter-return    48 8d 64 24 f8  X  c3
 *
 * The stack at the X of each kind; the word at (%rsp) is the one that the guard exchanges:
 *
 *	enter:  | ...        |     leave: | ...          |     both returns, after the lea:
 *	        | to kernel  | <-  rsp    | to module    | <-  | already popped | <- rsp
 *
 * They lie in one page-aligned section: returns, init and exit, all other enter gates in a run,
 * leave gates, indirect ones, int3 up to the page's end.
 *
 * An inner thunk decides whether register R, the target, is one of that run. It keeps the target
 * in R alone, uses no other register and no memory, and changes flags only, which no C convention
 * keeps across a call:
 *
 *	sub  $run, R
 *	test $15, R
 *	jne  out
 *	cmp  $bytes, R
 *	jae  out
 *	add  $stubs, R		one 16-byte stub for each gate of the run
 *	jmp  *R
 * out:	add  $run, R		the target again
 *	jmp  leave-indirect gate of R
 * stub:	mov  $gate, R		R as the caller left it
 *	jmp  f
 *
 * The thunk of a jump table (jump_tables.c) is a tree of
 *
 *	cmp $target, R
 *	je  target
 *	ja  upper half
 *
 * whose leaves jump to the leave-indirect gate of R.
 *
 * Addresses fit in sign-extended 32 bits because the kernel code model puts modules there.
 */
#include "wrap/module.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STUB_BYTES 16u

static const uint8_t x_bytes[GM_X_KINDS][GM_X_BYTES] = {
	[GM_X_VMMCALL] = { 0x0f, 0x01, 0xd9 },
	[GM_X_VMCALL] = { 0x0f, 0x01, 0xc1 },
	[GM_X_OUT] = { 0xe6, 0xb6, 0x90 },
	[GM_X_NOP] = { 0x0f, 0x1f, 0x00 },
};

static const char *const thunk_names[16] = {
	"__guard_thunk_rax",
	"__guard_thunk_rcx",
	"__guard_thunk_rdx",
	"__guard_thunk_rbx",
	NULL,
	"__guard_thunk_rbp",
	"__guard_thunk_rsi",
	"__guard_thunk_rdi",
	"__guard_thunk_r8",
	"__guard_thunk_r9",
	"__guard_thunk_r10",
	"__guard_thunk_r11",
	"__guard_thunk_r12",
	"__guard_thunk_r13",
	"__guard_thunk_r14",
	"__guard_thunk_r15",
};

/* A section in the making. */
struct emit {
	struct vec bytes, rels;
};

static void put(struct emit *e, const void *bytes, size_t n)
{
	memcpy(vec_add(&e->bytes, 1, n), bytes, n);
}

static void put1(struct emit *e, uint8_t byte)
{
	put(e, &byte, 1);
}

static void put32(struct emit *e, uint32_t v)
{
	put(e, &v, 4);
}

static void align(struct emit *e, size_t n)
{
	while (e->bytes.count % n)
		put1(e, 0xcc);
}

/* A 32-bit field that a relocation will fill. */
static void put_rel(struct emit *e, uint32_t type, uint32_t sym, int64_t addend)
{
	struct rel *r = vec_add(&e->rels, sizeof(*r), 1);

	r->offset = e->bytes.count;
	r->type = type;
	r->sym = sym;
	r->addend = addend;
	put32(e, 0);
}

static void put_jmp(struct emit *e, uint32_t sym, int64_t addend)
{
	put1(e, 0xe9);
	put_rel(e, R_X86_64_PLT32, sym, addend - 4);
}

/* REX.W OP /ext id with a register operand. */
static void put_alu(struct emit *e, uint8_t op, unsigned ext, unsigned reg)
{
	put1(e, reg < 8 ? 0x48 : 0x49);
	put1(e, op);
	put1(e, (uint8_t)(0xc0 | ext << 3 | (reg & 7)));
}

static void put_jmp_reg(struct emit *e, unsigned reg)
{
	if (reg >= 8)
		put1(e, 0x41);
	put1(e, 0xff);
	put1(e, (uint8_t)(0xe0 | (reg & 7)));
}

static uint32_t add_gate(struct module *m, enum gm_gate_kind kind, uint32_t index)
{
	struct gate *g = vec_add(&m->gates, sizeof(*g), 1);

	g->kind = (uint8_t)kind;
	g->index = index;
	return (uint32_t)m->gates.count - 1;
}

static bool has_endbr(const struct module *m, const struct function *f)
{
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	const struct section *s = &m->sections[f->section];

	return s->hdr.sh_size - f->value >= 4 && memcmp(s->data + f->value, endbr64, 4) == 0;
}

void gates_sections(struct module *m)
{
	const uint64_t code = SHF_ALLOC | SHF_EXECINSTR;

	m->thunks_section = object_add_section(m, ".guard.text", SHT_PROGBITS, code, 16);
	m->gates_section = object_add_section(m, ".guard.gates", SHT_PROGBITS, code, GM_PAGE);
	m->sections[m->thunks_section].role = ROLE_TEXT;
	m->sections[m->gates_section].role = ROLE_GATES;
	m->thunks_sym = object_add_symbol(m, "__guard_text", m->thunks_section, 0, STT_NOTYPE);
	m->gates_sym = object_add_symbol(m, "__guard_gates", m->gates_section, 0, STT_NOTYPE);
	if (m->sections[section_named(m, ".static_call.text")].role == ROLE_TRAMP) {
		m->tramp_section =
			object_add_section(m, ".guard.static_call", SHT_PROGBITS, code, GM_PAGE);
		m->sections[m->tramp_section].role = ROLE_TRAMP;
		m->tramp_sym = object_add_symbol(m, "__guard_static_call", m->tramp_section, 0,
						 STT_NOTYPE);
	}
	if (m->sections[section_named(m, ".parainstructions")].role == ROLE_EMPTIED) {
		m->rodata_section =
			object_add_section(m, ".guard.rodata", SHT_PROGBITS, SHF_ALLOC, 8);
		m->sections[m->rodata_section].role = ROLE_RODATA;
		m->rodata_sym =
			object_add_symbol(m, "__guard_rodata", m->rodata_section, 0, STT_NOTYPE);
	}
}

static uint32_t add_leave(struct module *m, enum gate_target to, uint32_t index)
{
	uint32_t gate = add_gate(m, GM_GATE_LEAVE, index);

	((struct gate *)m->gates.data)[gate].to = (uint8_t)to;
	return gate;
}

/* Gives every gate its place. */
bool gates_plan(struct module *m)
{
	struct entry *e = m->entries.data;
	struct tramp *tramps = m->tramps.data;
	struct pv_op *ops = m->pv_ops.data;

	add_gate(m, GM_GATE_LEAVE_RETURN, GM_NONE);
	add_gate(m, GM_GATE_ENTER_RETURN, GM_NONE);
	for (uint32_t i = 0; i < m->entries.count; i++)
		if (e[i].flags)
			e[i].gate = add_gate(m, GM_GATE_ENTER, i);
	m->first_plain = (uint32_t)m->gates.count;
	for (uint32_t i = 0; i < m->entries.count; i++)
		if (!e[i].flags) {
			e[i].gate = add_gate(m, GM_GATE_ENTER, i);
			m->nplain++;
		}
	for (uint32_t i = 0; i < m->nsymbols; i++) {
		m->imports[i].gate = WRAP_NONE;
		if (m->imports[i].calls || m->imports[i].jumps)
			m->imports[i].gate = add_leave(m, TO_IMPORT, i);
	}
	for (uint32_t i = 0; i < m->tramps.count; i++)
		if (tramps[i].calls || tramps[i].jumps)
			tramps[i].gate = add_leave(m, TO_TRAMP, i);
	for (uint32_t i = 0; i < m->pv_ops.count; i++)
		ops[i].gate = add_leave(m, TO_PV_OP, i);
	for (unsigned reg = 0; reg < 16; reg++)
		if (m->thunk_regs & 1u << reg) {
			struct gate *g;

			m->indirect_gate[reg] = add_gate(m, GM_GATE_LEAVE_INDIRECT, GM_NONE);
			g = (struct gate *)m->gates.data + m->indirect_gate[reg];
			g->reg = (uint8_t)reg;
		}
	if (m->gates.count > GM_MAX_GATES || m->entries.count > GM_MAX_ENTRIES)
		return refuse(m, 0, "%zu gates are more than the %u allowed", m->gates.count,
			      GM_MAX_GATES);
	return true;
}

static void make_leave(struct module *m, struct emit *e, const struct gate *g)
{
	static const uint8_t jmp_mem[] = { 0xff, 0x25 }; /* jmp *disp32(%rip) */
	const struct tramp *tramps = m->tramps.data;
	const struct pv_op *ops = m->pv_ops.data;

	put(e, x_bytes[m->opt->x], GM_X_BYTES);
	switch (g->to) {
	case TO_TRAMP: put_jmp(e, m->tramp_sym, (int64_t)tramps[g->index].offset); break;
	case TO_PV_OP:
		put(e, jmp_mem, sizeof(jmp_mem));
		put_rel(e, R_X86_64_PC32, ops[g->index].sym, ops[g->index].offset - 4);
		break;
	default: put_jmp(e, g->index, 0); break;
	}
}

static void make_gate(struct module *m, struct emit *e, struct gate *g)
{
	static const uint8_t lea[] = { 0x48, 0x8d, 0x64, 0x24, 0xf8 };
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	const uint8_t *x = x_bytes[m->opt->x];
	const struct function *f;

	switch (g->kind) {
	case GM_GATE_LEAVE_RETURN:
	case GM_GATE_ENTER_RETURN:
		g->x = sizeof(lea);
		put(e, lea, sizeof(lea));
		put(e, x, GM_X_BYTES);
		put1(e, 0xc3);
		break;
	case GM_GATE_ENTER:
		f = &m->functions[((struct entry *)m->entries.data)[g->index].function];
		if (has_endbr(m, f)) {
			g->x = sizeof(endbr64);
			put(e, endbr64, sizeof(endbr64));
		}
		put(e, x, GM_X_BYTES);
		put_jmp(e, f->sym, 0);
		break;
	case GM_GATE_LEAVE: make_leave(m, e, g); break;
	case GM_GATE_LEAVE_INDIRECT:
		put(e, x, GM_X_BYTES);
		put_jmp_reg(e, g->reg);
		break;
	default: break;
	}
	align(e, GM_GATE_BYTES);
}

static void make_thunk(struct module *m, struct emit *e, unsigned reg)
{
	const struct entry *entries = m->entries.data;
	const struct gate *gates = m->gates.data;
	int64_t run = (int64_t)m->first_plain * GM_GATE_BYTES;
	size_t jne, jae, stubs_field, out;
	uint8_t *bytes;

	align(e, 16);
	m->thunk[reg] = (uint32_t)e->bytes.count;
	if (m->nplain == 0) {
		put_jmp(e, m->gates_sym, (int64_t)m->indirect_gate[reg] * GM_GATE_BYTES);
		return;
	}
	put_alu(e, 0x81, 5, reg); /* sub */
	put_rel(e, R_X86_64_32S, m->gates_sym, run);
	put_alu(e, 0xf7, 0, reg); /* test */
	put32(e, GM_GATE_BYTES - 1);
	put1(e, 0x75);
	jne = e->bytes.count;
	put1(e, 0);
	put_alu(e, 0x81, 7, reg); /* cmp */
	put32(e, m->nplain * GM_GATE_BYTES);
	put1(e, 0x73);
	jae = e->bytes.count;
	put1(e, 0);
	put_alu(e, 0x81, 0, reg); /* add */
	stubs_field = e->rels.count;
	put_rel(e, R_X86_64_32S, m->thunks_sym, 0);
	put_jmp_reg(e, reg);
	put1(e, 0xcc);
	out = e->bytes.count;
	bytes = e->bytes.data;
	bytes[jne] = (uint8_t)(out - jne - 1);
	bytes[jae] = (uint8_t)(out - jae - 1);
	put_alu(e, 0x81, 0, reg); /* add */
	put_rel(e, R_X86_64_32S, m->gates_sym, run);
	put_jmp(e, m->gates_sym, (int64_t)m->indirect_gate[reg] * GM_GATE_BYTES);
	align(e, 16);
	((struct rel *)e->rels.data)[stubs_field].addend = (int64_t)e->bytes.count;
	for (uint32_t k = 0; k < m->nplain; k++) {
		const struct gate *g = &gates[m->first_plain + k];

		put_alu(e, 0xc7, 0, reg); /* mov */
		put_rel(e, R_X86_64_32S, m->gates_sym, run + (int64_t)k * GM_GATE_BYTES);
		put_jmp(e, m->functions[entries[g->index].function].sym, 0);
		align(e, STUB_BYTES);
	}
}

/* A name for people and for whoever checks: what starts here in .guard.text. */
static void name_code(struct module *m, const char *name, uint64_t offset, uint64_t size)
{
	uint32_t sym = object_add_symbol(m, name, m->thunks_section, offset, STT_FUNC);

	m->symbols[sym].sym.st_size = size;
}

/* The tree of comparisons for targets [lo, hi): 16 levels at most, by GM_MAX_JUMPS. */
static void make_tree(struct module *m, struct emit *e, unsigned reg, uint32_t lo, uint32_t hi)
{
	const struct jump_target *t = m->jump_targets.data;
	uint32_t mid = lo + (hi - lo) / 2;
	size_t above, at;
	int32_t skip;

	if (lo == hi) {
		put_jmp(e, m->gates_sym, (int64_t)m->indirect_gate[reg] * GM_GATE_BYTES);
		return;
	}
	put_alu(e, 0x81, 7, reg); /* cmp $target, R */
	put_rel(e, R_X86_64_32S, t[mid].rel.sym, t[mid].rel.addend);
	put(e, (const uint8_t[]){ 0x0f, 0x84 }, 2); /* je target */
	put_rel(e, R_X86_64_PLT32, t[mid].rel.sym, t[mid].rel.addend - 4);
	put(e, (const uint8_t[]){ 0x0f, 0x87 }, 2); /* ja */
	above = e->bytes.count;
	put32(e, 0);
	make_tree(m, e, reg, lo, mid);
	at = e->bytes.count;
	skip = (int32_t)(at - above - 4);
	memcpy((uint8_t *)e->bytes.data + above, &skip, 4);
	make_tree(m, e, reg, mid + 1, hi);
}

static void make_jump_thunks(struct module *m, struct emit *e)
{
	struct jump_table *j = m->jump_tables.data;

	for (size_t i = 0; i < m->jump_tables.count; i++) {
		align(e, 16);
		j[i].thunk = (uint32_t)e->bytes.count;
		make_tree(m, e, j[i].reg, j[i].first, j[i].first + j[i].count);
		j[i].end = (uint32_t)e->bytes.count;
		snprintf(j[i].name, sizeof(j[i].name), "__guard_jump_%u", (unsigned)i);
		name_code(m, j[i].name, j[i].thunk, j[i].end - j[i].thunk);
	}
}

static void finish(struct section *s, struct emit *e)
{
	s->own = e->bytes.data ? e->bytes.data : wrap_alloc(1, 1);
	s->data = s->own;
	s->hdr.sh_size = e->bytes.count;
	s->rels = e->rels.data;
	s->nrels = e->rels.count;
}

/* The constants that paravirtual calls go through. */
static void make_rodata(struct module *m)
{
	const struct pv_op *ops = m->pv_ops.data;
	struct emit words = { 0 };

	for (uint32_t i = 0; i < m->pv_ops.count; i++) {
		put_rel(&words, R_X86_64_64, m->gates_sym, (int64_t)ops[i].gate * GM_GATE_BYTES);
		put32(&words, 0);
	}
	finish(&m->sections[m->rodata_section], &words);
}

int gates_inner(const struct module *m, const char *import)
{
	return m->opt->no_inner_lib || m->opt->views ? -1 : inner_find(import);
}

/* The copies that are used, in the order of their list; aliases are one. */
static void make_inner(struct module *m, struct emit *e)
{
	const uint8_t *last = NULL;

	for (unsigned i = 0; i < INNER_COPIES; i++) {
		const struct inner_copy *c = inner_copy(i);

		if (!m->inner[i].calls && !m->inner[i].jumps)
			continue;
		if (c->code == last) {
			m->inner[i].offset = m->inner[i - 1].offset;
			continue;
		}
		align(e, 16);
		m->inner[i].offset = (uint32_t)e->bytes.count;
		put(e, c->code, (size_t)(c->end - c->code));
		name_code(m, c->symbol, m->inner[i].offset, (uint64_t)(c->end - c->code));
		last = c->code;
	}
	m->leaf_end = (uint32_t)e->bytes.count;
}

/* Makes the contents of the new sections. A branch to f needs f's own symbol at offset 0 of it. */
bool gates_make(struct module *m)
{
	struct emit gates = { 0 }, thunks = { 0 };

	put1(&thunks, 0xc3); /* the return thunk, __fentry__ too */
	put1(&thunks, 0xcc);
	m->ret_thunk = 0;
	name_code(m, "__guard_return", 0, 1);
	make_inner(m, &thunks);
	for (unsigned reg = 0; reg < 16; reg++)
		if (m->thunk_regs & 1u << reg) {
			make_thunk(m, &thunks, reg);
			name_code(m, thunk_names[reg], m->thunk[reg],
				  thunks.bytes.count - m->thunk[reg]);
		}
	make_jump_thunks(m, &thunks);
	align(&thunks, 16);
	for (size_t i = 0; i < m->gates.count; i++)
		make_gate(m, &gates, (struct gate *)m->gates.data + i);
	align(&gates, GM_PAGE);
	finish(&m->sections[m->gates_section], &gates);
	finish(&m->sections[m->thunks_section], &thunks);
	if (m->rodata_section)
		make_rodata(m);
	return true;
}
