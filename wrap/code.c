// SPDX-License-Identifier: GPL-2.0-only
/*
 * Decodes the code sections, from front to back: kernel code is free of data, and what does not
 * decode is refused. Every later step asks here what kind of instruction a relocation lies in.
 */
#include "wrap/module.h"

#include <Zydis/Zydis.h>
#include <stdlib.h>

/* How far RSP goes down in this instruction; upwards counts as 0. */
static int32_t stack_use(const ZydisDecodedInstruction *in, const ZydisDecodedOperand *op)
{
	const ZydisDecodedOperand *to = NULL, *from = NULL;
	int64_t n;

	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_PUSH:
	case ZYDIS_MNEMONIC_PUSHFQ: return 8;
	case ZYDIS_MNEMONIC_POP:
	case ZYDIS_MNEMONIC_POPFQ:
	case ZYDIS_MNEMONIC_LEAVE:
	case ZYDIS_MNEMONIC_RET:
	case ZYDIS_MNEMONIC_CALL: return 0; /* calls are counted where the callee is known */
	case ZYDIS_MNEMONIC_ENTER: return WRAP_ALLOCA;
	default: break;
	}
	for (unsigned i = 0; i < in->operand_count; i++) {
		if (op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    op[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE &&
		    ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, op[i].reg.value) ==
			    ZYDIS_REGISTER_RSP)
			to = &op[i];
		else if (op[i].visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
			from = &op[i];
	}
	if (!to)
		return 0;
	if (!from)
		return WRAP_ALLOCA;
	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_SUB:
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_AND:
		if (from->type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
			return WRAP_ALLOCA;
		n = from->imm.value.s;
		if (in->mnemonic == ZYDIS_MNEMONIC_ADD)
			n = n < 0 ? (n < -INT32_MAX ? INT32_MAX : -n) : 0;
		else if (in->mnemonic == ZYDIS_MNEMONIC_AND)
			n = n < 0 && n > -65536 ? -n : INT32_MAX;
		return n < 0 ? 0 : n >= INT32_MAX ? WRAP_ALLOCA : (int32_t)n;
	case ZYDIS_MNEMONIC_LEA:
		if (from->type != ZYDIS_OPERAND_TYPE_MEMORY ||
		    from->mem.index != ZYDIS_REGISTER_NONE)
			return WRAP_ALLOCA;
		n = from->mem.disp.has_displacement ? from->mem.disp.value : 0;
		if (from->mem.base != ZYDIS_REGISTER_RSP && from->mem.base != ZYDIS_REGISTER_RBP &&
		    from->mem.base != ZYDIS_REGISTER_R10)
			return WRAP_ALLOCA;
		return n >= 0 ? 0 : n <= -INT32_MAX ? WRAP_ALLOCA : (int32_t)-n;
	case ZYDIS_MNEMONIC_MOV:
		/* back to a frame pointer: upwards */
		if (from->type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    from->reg.value == ZYDIS_REGISTER_RBP)
			return 0;
		return WRAP_ALLOCA;
	default: return WRAP_ALLOCA;
	}
}

static uint8_t branch_kind(const ZydisDecodedInstruction *in)
{
	/* not ZYDIS_ATTRIB_IS_RELATIVE, which `call *disp(%rip)` has as well */
	bool relative = in->raw.imm[0].is_relative;

	switch (in->meta.category) {
	case ZYDIS_CATEGORY_CALL: return relative ? INSN_CALL : INSN_CALL_IND;
	case ZYDIS_CATEGORY_UNCOND_BR: return relative ? INSN_JMP : INSN_JMP_IND;
	case ZYDIS_CATEGORY_COND_BR: return INSN_JCC;
	case ZYDIS_CATEGORY_RET: return INSN_RET;
	default: return INSN_PLAIN;
	}
}

static bool classify(struct module *m, const struct section *s, struct insn *out,
		     const ZydisDecodedInstruction *in, const ZydisDecodedOperand *op)
{
	out->kind = branch_kind(in);
	out->pushes = stack_use(in, op);
	if (in->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return refuse(m, file_at(s, out->offset), "%s+0x%x: far branch", s->name,
			      out->offset);
	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_VMRUN:
	case ZYDIS_MNEMONIC_VMLOAD:
	case ZYDIS_MNEMONIC_VMSAVE:
	case ZYDIS_MNEMONIC_VMLAUNCH:
	case ZYDIS_MNEMONIC_VMRESUME:
	case ZYDIS_MNEMONIC_VMXON:
		return refuse(m, file_at(s, out->offset),
			      "%s+0x%x: %s: a hypervisor, whose guests run outside of any gate",
			      s->name, out->offset, ZydisMnemonicGetString(in->mnemonic));
	case ZYDIS_MNEMONIC_UD2: out->kind = INSN_UD2; break;
	case ZYDIS_MNEMONIC_LEA: out->kind = INSN_LEA; break;
	case ZYDIS_MNEMONIC_NOP: out->kind = INSN_NOP; break;
	case ZYDIS_MNEMONIC_VMCALL:
	case ZYDIS_MNEMONIC_VMMCALL: out->kind = INSN_CROSSING; break;
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
	case ZYDIS_MNEMONIC_SYSRET:
	case ZYDIS_MNEMONIC_SYSEXIT:
	case ZYDIS_MNEMONIC_RSM:
		return refuse(m, file_at(s, out->offset), "%s+0x%x: %s in a module", s->name,
			      out->offset, ZydisMnemonicGetString(in->mnemonic));
	default: break;
	}
	if (out->kind == INSN_CALL || out->kind == INSN_JMP || out->kind == INSN_JCC) {
		out->pcrel = 1;
		if (in->raw.imm[0].size == 32)
			out->field = in->raw.imm[0].offset;
		out->target = (int64_t)out->offset + in->length + in->raw.imm[0].value.s;
		return true;
	}
	for (unsigned i = 0; i < in->operand_count; i++)
		if (op[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    op[i].mem.base == ZYDIS_REGISTER_RIP) {
			out->pcrel = 1;
			out->field = in->raw.disp.offset;
		}
	return true;
}

static bool decode_section(struct module *m, uint32_t index, const ZydisDecoder *decoder)
{
	struct section *s = &m->sections[index];
	ZydisDecodedInstruction in;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	struct vec insns = { 0 };

	for (uint64_t at = 0; at < s->hdr.sh_size; at += in.length) {
		struct insn *out;

		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(decoder, s->data + at, s->hdr.sh_size - at,
							 &in, op))) {
			vec_free(&insns);
			return refuse(m, file_at(s, at),
				      "%s+0x%llx: these bytes are no instruction", s->name,
				      (unsigned long long)at);
		}
		out = vec_add(&insns, sizeof(*out), 1);
		out->offset = (uint32_t)at;
		out->length = in.length;
		if (!classify(m, s, out, &in, op)) {
			vec_free(&insns);
			return false;
		}
	}
	s->insns = insns.data;
	s->ninsns = insns.count;
	return true;
}

/* A relative branch that the assembler resolved must stay in its section. */
static bool check_branches(struct module *m, uint32_t index)
{
	const struct section *s = &m->sections[index];
	size_t r = 0;

	for (size_t i = 0; i < s->ninsns; i++) {
		const struct insn *in = &s->insns[i];

		if (s->role == ROLE_TEXT &&
		    (in->kind == INSN_CALL_IND || in->kind == INSN_JMP_IND)) {
			struct raw_branch *raw = vec_add(&m->raw, sizeof(*raw), 1);

			*raw = (struct raw_branch){ index, in->offset, in->kind };
		}
		if (in->kind != INSN_CALL && in->kind != INSN_JMP && in->kind != INSN_JCC)
			continue;
		while (r < s->nrels && s->rels[r].offset < in->offset)
			r++;
		if (r < s->nrels && s->rels[r].offset < (uint64_t)in->offset + in->length)
			continue; /* scan.c looks at it */
		if (in->target < 0 || (uint64_t)in->target > s->hdr.sh_size)
			return refuse(m, file_at(s, in->offset),
				      "%s+0x%x: branch out of its section without a relocation",
				      s->name, in->offset);
	}
	return true;
}

bool code_decode(struct module *m)
{
	ZydisDecoder decoder;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (uint32_t i = 1; i < m->nsections; i++)
		if (section_is_code(&m->sections[i]) &&
		    (!decode_section(m, i, &decoder) || !check_branches(m, i)))
			return false;
	return true;
}

const struct insn *insn_around(const struct section *s, uint64_t offset)
{
	size_t lo = 0, hi = s->ninsns;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->insns[mid].offset <= offset)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo || offset - s->insns[lo - 1].offset >= s->insns[lo - 1].length)
		return NULL;
	return &s->insns[lo - 1];
}

const struct insn *insn_at(const struct section *s, uint64_t offset)
{
	const struct insn *in = insn_around(s, offset);

	return in && in->offset == offset ? in : NULL;
}
