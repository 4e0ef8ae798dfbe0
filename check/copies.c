// SPDX-License-Identifier: GPL-2.0-only
/*
 * Inner copies of leaf functions. What a copy computes is not proved here, but that it can do no
 * harm: its bytes decode, it has no relocation, it branches only within itself, it touches neither
 * the stack nor a register that C wants kept, no segment, port, MSR or control register, and it
 * ends in `ret`. So it runs as a part of the module that reaches what its arguments reach.
 */
#include "check/internal.h"

#include <Zydis/Zydis.h>
#include <string.h>

/* Registers that a C function may change: RAX, RCX, RDX, RSI, RDI, R8 to R11. */
#define MAY_CHANGE 0x0fc7u

void find_copies(struct ck *ck)
{
	for (uint32_t i = ck->o.nsym; i < ck->w.nsym; i++) {
		const Elf64_Sym *y = &ck->w.sym[i];
		const char *name = sym_name(&ck->w, i);
		const struct sec *s = &ck->w.sec[ck->text];
		struct copy *c = ck->copies.data;
		bool known = false;

		if (y->st_shndx != ck->text || !is_copy_symbol(name))
			continue;
		for (uint32_t k = 0; k < ck->copies.count; k++)
			known |= strcmp(c[k].name, name) == 0 || c[k].offset == y->st_value;
		if (known || y->st_size == 0 || y->st_value > s->hdr.sh_size ||
		    y->st_size > s->hdr.sh_size - y->st_value) {
			fault(ck, CHECK_COPIES, ck->w.elf.path, elfile_symbol_at(&ck->w.elf, i),
			      "%s: a second one, or not inside of %s", name, s->name);
			continue;
		}
		c = vec_more(&ck->copies, sizeof(*c), 1);
		*c = (struct copy){ name, (uint32_t)y->st_value, (uint32_t)y->st_size };
	}
}

uint32_t copy_at(const struct ck *ck, uint32_t offset)
{
	const struct copy *c = ck->copies.data;

	for (uint32_t i = 0; i < ck->copies.count; i++)
		if (c[i].offset == offset)
			return c[i].size;
	return 0;
}

static bool bad(struct ck *ck, uint32_t at, const char *what)
{
	const struct sec *s = &ck->w.sec[ck->text];

	return fault(ck, CHECK_COPIES, ck->w.elf.path, sec_at(s, at), "%s+0x%x: %s", s->name, at,
		     what);
}

static bool operands(const ZydisDecodedInstruction *in, const ZydisDecodedOperand *op)
{
	for (unsigned i = 0; i < in->operand_count; i++) {
		ZydisRegister r = op[i].reg.value;
		ZydisRegisterClass class;

		if (op[i].type == ZYDIS_OPERAND_TYPE_MEMORY) {
			/* strings name ES, which is flat in 64-bit mode */
			if (op[i].mem.segment == ZYDIS_REGISTER_FS ||
			    op[i].mem.segment == ZYDIS_REGISTER_GS ||
			    op[i].mem.base == ZYDIS_REGISTER_NONE ||
			    op[i].mem.base == ZYDIS_REGISTER_RIP ||
			    op[i].mem.base == ZYDIS_REGISTER_RSP)
				return false;
			continue;
		}
		if (op[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		class = ZydisRegisterGetClass(r);
		if (class == ZYDIS_REGCLASS_FLAGS || class == ZYDIS_REGCLASS_IP)
			continue;
		if (class < ZYDIS_REGCLASS_GPR8 || class > ZYDIS_REGCLASS_GPR64)
			return false;
		if (!(op[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			continue;
		r = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r);
		if (ZydisRegisterGetClass(r) != ZYDIS_REGCLASS_GPR64 ||
		    !(MAY_CHANGE >> ZydisRegisterGetId(r) & 1))
			return false;
	}
	return true;
}

/* Only what computes, moves, compares and branches: nothing that a hypervisor or kernel sees. */
static bool harmless(const ZydisDecodedInstruction *in)
{
	switch (in->meta.category) {
	case ZYDIS_CATEGORY_BINARY:
	case ZYDIS_CATEGORY_BITBYTE:
	case ZYDIS_CATEGORY_LOGICAL:
	case ZYDIS_CATEGORY_SHIFT:
	case ZYDIS_CATEGORY_ROTATE:
	case ZYDIS_CATEGORY_DATAXFER:
	case ZYDIS_CATEGORY_STRINGOP:
	case ZYDIS_CATEGORY_CMOV:
	case ZYDIS_CATEGORY_SETCC:
	case ZYDIS_CATEGORY_NOP: return true;
	case ZYDIS_CATEGORY_MISC: return in->mnemonic == ZYDIS_MNEMONIC_LEA;
	default: return false;
	}
}

bool check_copy(struct ck *ck, uint32_t offset, uint32_t size)
{
	const uint8_t *data = ck->w.sec[ck->text].data;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	uint8_t starts[1024 / 8] = { 0 }, targets[1024 / 8] = { 0 };
	ZydisDecodedInstruction in;
	ZydisDecoder decoder;
	bool ends = false;

	if (size > 1023)
		return bad(ck, offset, "an inner copy of more than 1023 bytes");
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (uint32_t at = 0; at < size; at += in.length) {
		bool jump;

		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, data + offset + at, size - at,
							 &in, op)))
			return bad(ck, offset + at, "not an instruction of an inner copy");
		set_bit(starts, at);
		jump = in.meta.category == ZYDIS_CATEGORY_COND_BR ||
		       in.meta.category == ZYDIS_CATEGORY_UNCOND_BR;
		ends = in.meta.category == ZYDIS_CATEGORY_RET ||
		       in.meta.category == ZYDIS_CATEGORY_UNCOND_BR;
		if (in.meta.category == ZYDIS_CATEGORY_RET) {
			if (in.length != 1 || data[offset + at] != 0xc3)
				return bad(ck, offset + at, "a return that is no `ret`");
		} else if (jump) {
			int64_t t = (int64_t)at + in.length + in.raw.imm[0].value.s;

			if (!in.raw.imm[0].is_relative || t < 0 || t >= (int64_t)size)
				return bad(ck, offset + at, "a branch out of an inner copy");
			set_bit(targets, (uint32_t)t);
		} else if (!harmless(&in) || !operands(&in, op)) {
			return bad(ck, offset + at,
				   "an instruction that an inner copy must not have");
		}
	}
	for (uint32_t i = 0; i < sizeof(starts); i++)
		if (targets[i] & ~starts[i])
			return bad(ck, offset, "a branch into an instruction");
	if (!ends)
		return bad(ck, offset, "an inner copy that does not end");
	proved(ck, CHECK_COPIES, 1);
	return true;
}
