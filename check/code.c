// SPDX-License-Identifier: GPL-2.0-only
/*
 * Decodes all code once, front to back, and follows what each instruction leads to. On the way:
 * which bytes start an instruction, which ones follow a call, how deep each function's stack gets.
 */
#include "check/internal.h"

#include <Zydis/Zydis.h>
#include <stdlib.h>
#include <string.h>

/* Where the pass is. */
struct pass {
	struct ck *ck;
	uint32_t section;
	struct sec *s;
	const struct rel *r, *rend; /* the next relocation */
	struct fn *f, *fend;	    /* the function that may hold the instruction, or the next */
	const struct row *row;	    /* the row that may hold, or the next */
	uint32_t rows;
	bool has_row;
	uint32_t at;
	ZydisDecodedInstruction in;
	uint32_t last_at; /* the instruction before */
	ZydisDecodedInstruction last;
};

static int by_place(const void *a, const void *b)
{
	const struct fn *x = a, *y = b;

	if (x->section != y->section)
		return x->section < y->section ? -1 : 1;
	if (x->value != y->value)
		return x->value < y->value ? -1 : 1;
	return x->name < y->name ? -1 : 1;
}

static int by_word(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

void choose(struct ck *ck, const struct check_options *opt)
{
	if (!opt || !opt->entries)
		return;
	ck->chosen = check_alloc(opt->entries_count, sizeof(*ck->chosen));
	ck->chosen_seen = check_alloc(opt->entries_count, 1);
	for (size_t i = 0; i < opt->entries_count; i++)
		ck->chosen[i] = opt->entries[i];
	if (opt->entries_count)
		qsort(ck->chosen, opt->entries_count, sizeof(*ck->chosen), by_word);
	for (size_t i = 0; i < opt->entries_count; i++)
		if (!ck->nchosen || strcmp(ck->chosen[ck->nchosen - 1], ck->chosen[i]) != 0)
			ck->chosen[ck->nchosen++] = ck->chosen[i];
}

static bool is_chosen(struct ck *ck, const char *name)
{
	const char **at =
		ck->nchosen ? bsearch(&name, ck->chosen, ck->nchosen, sizeof(*ck->chosen), by_word)
			    : NULL;

	if (at)
		ck->chosen_seen[at - ck->chosen] = 1;
	return at != NULL;
}

/* Functions of the original by place; what has several names is one. */
static void collect_functions(struct ck *ck)
{
	struct vec v = { 0 };
	struct fn *f;
	uint32_t n = 0;

	for (uint32_t i = 1; i < ck->o.nsym; i++) {
		const Elf64_Sym *y = &ck->o.sym[i];
		const char *name;

		if (ELF64_ST_TYPE(y->st_info) != STT_FUNC || !sym_defined(y) ||
		    ck->w.sec[y->st_shndx].use != USE_CODE ||
		    y->st_value >= ck->w.sec[y->st_shndx].hdr.sh_size)
			continue;
		name = sym_name(&ck->o, i);
		f = vec_more(&v, sizeof(*f), 1);
		*f = (struct fn){ .section = y->st_shndx,
				  .value = (uint32_t)y->st_value,
				  .size = y->st_size > UINT32_MAX ? 0 : (uint32_t)y->st_size,
				  .name = i,
				  .init = strcmp(name, "init_module") == 0,
				  .exit = strcmp(name, "cleanup_module") == 0,
				  .chosen = is_chosen(ck, name),
				  .global = ELF64_ST_BIND(y->st_info) != STB_LOCAL };
		set_bit(ck->w.sec[y->st_shndx].functions, f->value);
	}
	if (v.count)
		qsort(v.data, v.count, sizeof(*f), by_place);
	f = v.data;
	for (uint32_t i = 0; i < v.count; i++) {
		if (n && f[n - 1].section == f[i].section && f[n - 1].value == f[i].value) {
			f[n - 1].init |= f[i].init;
			f[n - 1].exit |= f[i].exit;
			f[n - 1].global |= f[i].global;
			f[n - 1].chosen |= f[i].chosen;
			if (f[i].size > f[n - 1].size)
				f[n - 1].size = f[i].size;
			continue;
		}
		f[n++] = f[i];
	}
	ck->fn = f;
	ck->nfn = n;
}

/* The last function at or before a place. */
static struct fn *fn_before(struct ck *ck, uint32_t section, uint32_t offset)
{
	uint32_t lo = 0, hi = ck->nfn;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		const struct fn *f = &ck->fn[mid];

		if (f->section < section || (f->section == section && f->value <= offset))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && ck->fn[lo - 1].section == section ? &ck->fn[lo - 1] : NULL;
}

struct fn *fn_at(struct ck *ck, uint32_t section, uint32_t offset)
{
	struct fn *f = fn_before(ck, section, offset);

	return f && f->value == offset ? f : NULL;
}

struct fn *fn_around(struct ck *ck, uint32_t section, uint32_t offset)
{
	struct fn *f = fn_before(ck, section, offset);

	return f && offset - f->value < f->size ? f : NULL;
}

static bool bad(struct pass *p, const char *what)
{
	return fault(p->ck, CHECK_CODE, p->ck->w.elf.path, sec_at(p->s, p->at), "%s+0x%x: %s",
		     p->s->name, p->at, what);
}

/* The function and the unwind row that hold at p->at. */
static struct fn *advance(struct pass *p)
{
	while (p->f < p->fend && p->f + 1 < p->fend && p->f[1].value <= p->at)
		p->f++;
	while (p->rows && p->row->offset <= p->at) {
		/* also those within an instruction: an alternative may push there */
		if (p->f < p->fend && p->row->known && p->row->rule.cfa_rule == GM_CFA_REG &&
		    p->row->rule.cfa_reg == 4 && p->row->rule.cfa_offset > (int64_t)p->f->own + 8 &&
		    p->row->offset - p->f->value < p->f->size)
			p->f->own = (uint32_t)p->row->rule.cfa_offset - 8;
		p->has_row = true;
		p->row++;
		p->rows--;
	}
	return p->f < p->fend && p->at >= p->f->value && p->at - p->f->value < p->f->size ? p->f
											  : NULL;
}

/* Bytes below the slot before this instruction; NONE: rows do not count from RSP. */
static uint32_t frame(const struct pass *p)
{
	const struct row *r = p->has_row ? p->row - 1 : NULL;

	if (!r || !r->known || r->rule.cfa_rule != GM_CFA_REG || r->rule.cfa_reg != 4)
		return NONE;
	return r->rule.cfa_offset > 8 ? (uint32_t)r->rule.cfa_offset - 8 : 0;
}

#define ENDLESS UINT32_MAX

/* What an instruction takes off RSP, from its encoding; ENDLESS: an amount that is not fixed. */
static uint32_t taken(const ZydisDecodedInstruction *in)
{
	const ZydisDecodedInstructionRaw *raw = &in->raw;
	bool rm_rsp = in->attributes & ZYDIS_ATTRIB_HAS_MODRM && raw->modrm.mod == 3 &&
		      raw->modrm.rm == 4 && !raw->rex.B && in->operand_width == 64;
	int64_t n = raw->imm[0].value.s;

	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_PUSH:
	case ZYDIS_MNEMONIC_PUSHFQ: return 8;
	case ZYDIS_MNEMONIC_ENTER: return ENDLESS;
	case ZYDIS_MNEMONIC_SUB:
		if (!rm_rsp)
			return 0;
		return raw->imm[0].size && n < GM_MAX_HEADROOM ? n < 0 ? 0 : (uint32_t)n : ENDLESS;
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_AND: /* to a multiple of a power of two */
		return rm_rsp && raw->imm[0].size && n < 0 && n > -(int64_t)GM_MAX_HEADROOM
			       ? (uint32_t)-n
			       : 0;
	default: return 0;
	}
}

static void measure(struct pass *p, struct fn *f)
{
	uint32_t n = frame(p), t = taken(&p->in);

	if (p->in.meta.category == ZYDIS_CATEGORY_CALL) {
		t = 0; /* Zydis or not: the word is there only while the callee runs */
		f->word = 8;
		n += n == NONE ? 0 : 8;
	}
	if (n == NONE)
		f->by_push = 1;
	else if (n > f->own)
		f->own = n;
	if (t == ENDLESS)
		f->endless = 1;
	else
		f->pushed = f->pushed + t > GM_MAX_HEADROOM ? GM_MAX_HEADROOM : f->pushed + t;
}

static void add_edge(struct pass *p, const struct fn *f, struct place to, bool call)
{
	const struct fn *g = fn_around(p->ck, to.section, to.offset);
	struct edge *e;

	if (!f || !g || (g == f && !call))
		return;
	e = vec_more(&p->ck->edges, sizeof(*e), 1);
	*e = (struct edge){ (uint32_t)(f - p->ck->fn), (uint32_t)(g - p->ck->fn), frame(p), call };
}

/* `mov table(,%index,8), %R` before the jump to a thunk of R: the table's place. */
static bool table_jump(struct pass *p, const struct rel *r, uint32_t thunk)
{
	const ZydisDecodedInstructionRaw *raw = &p->last.raw;
	uint32_t reg = thunk_register(sym_name(&p->ck->o, r->sym));
	const struct rel *load;

	if (p->at && p->last.mnemonic == ZYDIS_MNEMONIC_MOV && p->last.opcode == 0x8b &&
	    p->last.operand_width == 64 && raw->modrm.mod == 0 && raw->modrm.rm == 4 &&
	    raw->sib.base == 5 && raw->sib.scale == 3 &&
	    (uint32_t)(raw->modrm.reg | raw->rex.R << 3) == reg && raw->disp.size == 32) {
		load = sec_rel(p->s, p->last_at + raw->disp.offset);
		if (load && load->type == R_X86_64_32S)
			return check_table_jump(p->ck, jump_thunk_at(p->ck, thunk),
						(struct place){ p->section, p->at },
						o_place(p->ck, load->sym, load->addend), reg);
	}
	return bad(p, "leads to the thunk of a jump table, but loads from none");
}

/* A relative branch, with its relocation or without. */
static void branch(struct pass *p, struct fn *f, const struct rel *r, bool call)
{
	struct place to = { p->section, 0 };
	bool indirect = false;
	uint32_t table = NONE;

	if (r) {
		to = follow_branch(p->ck, p->section, r, p->at + p->in.length, call, &indirect,
				   &table);
		/* gates and thunks have rows that say so */
		if (!call && p->ck->w.sym[r->sym].st_shndx == SHN_UNDEF && !p->ck->no_rows &&
		    p->s->use == USE_CODE && table == NONE && frame(p) != 0)
			fault(p->ck, CHECK_UNWIND, p->ck->w.elf.path, sec_at(p->s, p->at),
			      "%s+0x%x: a jump out of the function that is no tail call",
			      p->s->name, p->at);
	} else {
		int64_t t = (int64_t)p->at + p->in.length + p->in.raw.imm[0].value.s;

		if (t < 0 || t >= (int64_t)p->s->hdr.sh_size) {
			bad(p, "a branch out of its section without a relocation");
			return;
		}
		to.offset = (uint32_t)t;
		set_bit(p->s->targets, to.offset);
		proved(p->ck, CHECK_INNER, 1);
	}
	if (table != NONE && !table_jump(p, r, table))
		return;
	if (indirect && f)
		f->endless = 1;
	if (to.section)
		add_edge(p, f, to, call);
}

/* What no gate can be put around. */
static bool forbidden(const ZydisDecodedInstruction *in)
{
	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
	case ZYDIS_MNEMONIC_SYSRET:
	case ZYDIS_MNEMONIC_SYSEXIT:
	case ZYDIS_MNEMONIC_RSM:
	/* a guest of the module's own would run outside of any gate */
	case ZYDIS_MNEMONIC_VMRUN:
	case ZYDIS_MNEMONIC_VMLAUNCH:
	case ZYDIS_MNEMONIC_VMRESUME: return true;
	default: return in->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
	}
}

/* A relocation that is no branch's: an immediate, or an address relative to RIP. */
static void operand(struct pass *p, const struct rel *r)
{
	const ZydisDecodedInstruction *in = &p->in;
	bool rip = in->attributes & ZYDIS_ATTRIB_HAS_MODRM && in->raw.modrm.mod == 0 &&
		   in->raw.modrm.rm == 5;
	const Elf64_Sym *y = &p->ck->w.sym[r->sym];

	if (rel_is_pc(r->type)) {
		if (!rip || r->offset != p->at + in->raw.disp.offset || in->raw.disp.size != 32) {
			bad(p, "a PC-relative relocation that is no operand");
			return;
		}
		if (sym_defined(y) && p->ck->w.sec[y->st_shndx].use == USE_CODE &&
		    in->mnemonic != ZYDIS_MNEMONIC_LEA) {
			bad(p, "code is read or written as data");
			return;
		}
		if (p->s->paravirt && bit(p->s->paravirt, p->at))
			follow_paravirt(p->ck, p->section, r, p->at + in->length);
		else
			follow_address(p->ck, p->section, r,
				       (int64_t)(p->at + in->length - r->offset));
		return;
	}
	follow_address(p->ck, p->section, r, 0);
}

static void instruction(struct pass *p)
{
	const ZydisDecodedInstruction *in = &p->in;
	/* not ZYDIS_ATTRIB_IS_RELATIVE, which an operand relative to RIP has as well */
	bool relative = in->raw.imm[0].is_relative;
	bool call = in->meta.category == ZYDIS_CATEGORY_CALL;
	bool jump = in->meta.category == ZYDIS_CATEGORY_UNCOND_BR ||
		    in->meta.category == ZYDIS_CATEGORY_COND_BR;
	uint32_t end = p->at + in->length;
	const struct rel *field = NULL;
	struct fn *f = advance(p);

	if (forbidden(in))
		bad(p, "a far branch, a return from an interrupt, or the entry of a guest");
	for (; p->r < p->rend && p->r->offset < end; p->r++) {
		if (p->r->offset < p->at || p->r->offset + rel_bytes(p->r->type) > end)
			bad(p, "a relocation across instructions");
		else if ((call || jump) && relative && in->raw.imm[0].size == 32 &&
			 p->r->offset == p->at + in->raw.imm[0].offset)
			field = p->r;
		else
			operand(p, p->r);
	}
	if (f)
		measure(p, f);
	if ((call || jump) && relative)
		branch(p, f, field, call);
	if ((call || jump) && !relative && p->s->paravirt && bit(p->s->paravirt, p->at)) {
		if (f) /* a leave gate is near: only the word of the call */
			f->word = 8;
	} else if ((call || jump) && !relative) {
		note(p->ck, CHECK_NOTE_RAW, "%s %s+0x%x", call ? "call" : "jump", p->s->name,
		     p->at);
		if (f)
			f->endless = 1;
	}
	if (call && p->s->use == USE_CODE) {
		uint32_t moff = moff_of(p->ck, p->section, end);
		const struct gm_segment *g = &p->ck->m.segments[p->s->segment];

		if (moff - g->start < g->size)
			*(uint32_t *)vec_more(&p->ck->retsites, 4, 1) = moff;
		else
			note(p->ck, CHECK_NOTE_UNPROVED,
			     "that the call which ends %s never returns", p->s->name);
	}
}

static void decode(struct ck *ck, const ZydisDecoder *decoder, uint32_t section)
{
	struct pass p = { .ck = ck, .section = section, .s = &ck->w.sec[section] };
	uint64_t n = 0;

	p.r = p.s->rels;
	p.rend = p.r + p.s->nrels;
	p.f = fn_before(ck, section, UINT32_MAX);
	p.fend = p.f ? p.f + 1 : NULL;
	while (p.f && p.f > ck->fn && p.f[-1].section == section)
		p.f--;
	p.row = rows_of(ck, section, &p.rows);
	for (p.at = 0; p.at < p.s->hdr.sh_size; p.at += p.in.length, n++) {
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(decoder, NULL, p.s->data + p.at,
								p.s->hdr.sh_size - p.at, &p.in))) {
			bad(&p, "these bytes are no instruction");
			break;
		}
		set_bit(p.s->starts, p.at);
		if (section == ck->text)
			continue; /* thunks.c followed those */
		instruction(&p);
		p.last = p.in;
		p.last_at = p.at;
	}
	set_bit(p.s->starts, (uint32_t)p.s->hdr.sh_size);
	proved(ck, CHECK_CODE, n);
}

/* Every branch leads to the start of an instruction. */
static void check_targets(struct ck *ck, const struct sec *s)
{
	for (uint32_t i = 0; i <= s->hdr.sh_size / 8; i++) {
		uint8_t odd = s->targets[i] & (uint8_t)~s->starts[i];

		for (uint32_t k = 0; odd && k < 8; k++)
			if (odd & 1u << k)
				fault(ck, CHECK_INNER, ck->w.elf.path, sec_at(s, i * 8 + k),
				      "%s+0x%x: a branch leads here, into an instruction", s->name,
				      i * 8 + k);
	}
}

void check_code(struct ck *ck)
{
	ZydisDecoder decoder;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (uint32_t i = 1; i < ck->w.nsec; i++) {
		struct sec *s = &ck->w.sec[i];

		if (s->use != USE_CODE && s->use != USE_SPARE)
			continue;
		s->starts = check_alloc(s->hdr.sh_size / 8 + 1, 1);
		s->targets = check_alloc(s->hdr.sh_size / 8 + 1, 1);
		s->functions = check_alloc(s->hdr.sh_size / 8 + 1, 1);
	}
	collect_functions(ck);
	read_rows(ck);
	for (uint32_t k = 0; k < ck->norder; k++)
		if (ck->w.sec[ck->order[k]].use == USE_CODE ||
		    ck->w.sec[ck->order[k]].use == USE_SPARE)
			decode(ck, &decoder, ck->order[k]);
	for (uint32_t i = 1; i < ck->w.nsec; i++)
		if (ck->w.sec[i].use == USE_CODE || ck->w.sec[i].use == USE_SPARE)
			check_targets(ck, &ck->w.sec[i]);
}
