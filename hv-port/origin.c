/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where an instruction began whose exit is reported with RIP behind it. KVM's emulator does so for
 * stores, and on some hosts for OUT; the verdict log names the instruction's first byte.
 *
 * The bytes before RIP are decoded at every possible length; what decodes to an instruction of just
 * that length with just that effect is the one. The shortest wins: a longer one would have a prefix
 * without meaning. If nothing fits (the guest overwrote it), RIP itself is as good as it gets.
 */
#include <Zydis/Zydis.h>
#include <string.h>

#include "hv-port/kvm.h"

struct insn {
	ZydisDecodedInstruction i;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
};

static bool decode(const uint8_t *code, unsigned len, struct insn *n)
{
	ZydisDecoder d;

	return ZYAN_SUCCESS(
		       ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)) &&
	       ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, code, len, &n->i, n->op));
}

static uint64_t address(struct kv_vcpu *v, const struct insn *n, const ZydisDecodedOperand *op,
			uint64_t next)
{
	uint64_t a = op->mem.disp.has_displacement ? (uint64_t)op->mem.disp.value : 0;
	struct kvm_regs *r = kv_regs(v);

	if (op->mem.base == ZYDIS_REGISTER_RIP)
		a += next;
	else if (op->mem.base != ZYDIS_REGISTER_NONE)
		a += *kv_gpr(r, (unsigned)ZydisRegisterGetId(op->mem.base) & 15);
	if (op->mem.index != ZYDIS_REGISTER_NONE)
		a += *kv_gpr(r, (unsigned)ZydisRegisterGetId(op->mem.index) & 15) * op->mem.scale;
	if (n->i.address_width == 32)
		a &= 0xffffffff;
	if (op->mem.segment == ZYDIS_REGISTER_FS)
		a += kv_sregs(v)->fs.base;
	else if (op->mem.segment == ZYDIS_REGISTER_GS)
		a += kv_sregs(v)->gs.base;
	return a;
}

/* Does this operand lie where the store went? Its registers are as after the instruction. */
static bool stores_at(struct kv_vcpu *v, const struct insn *n, uint64_t next, uint64_t gpa,
		      unsigned len)
{
	unsigned k;

	for (k = 0; k < n->i.operand_count; k++) {
		const ZydisDecodedOperand *op = &n->op[k];
		uint64_t a, step = op->size / 8u, found, off;

		if (op->type != ZYDIS_OPERAND_TYPE_MEMORY ||
		    !(op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) || step < len)
			continue;
		a = address(v, n, op, next);
		/* A string instruction has moved RDI on. */
		if (op->mem.base == ZYDIS_REGISTER_RDI &&
		    op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
			a += kv_regs(v)->rflags & RFLAGS_DF ? step : -step;
		/* A fragment of a wide store lies within it. */
		for (off = 0; off + len <= step; off += len)
			if (kv_peek(v, a + off, &found) && found == gpa)
				return true;
	}
	return false;
}

/*
 * Could it have stored that? `push $0x52` ends in a byte that is a PUSH itself, to the same place:
 * what was stored tells them apart, where PUSH and MOV say what that is.
 */
static bool stores_value(struct kv_vcpu *v, const struct insn *n, const uint8_t *data, unsigned len)
{
	const ZydisDecodedOperand *from;
	uint64_t value;

	if (n->i.mnemonic != ZYDIS_MNEMONIC_PUSH && n->i.mnemonic != ZYDIS_MNEMONIC_MOV)
		return true;
	from = &n->op[n->i.mnemonic == ZYDIS_MNEMONIC_PUSH ? 0 : 1];
	if (from->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		value = from->imm.value.u;
	else if (from->type == ZYDIS_OPERAND_TYPE_REGISTER && from->size == 64 &&
		 ZydisRegisterGetClass(from->reg.value) == ZYDIS_REGCLASS_GPR64 &&
		 from->reg.value != ZYDIS_REGISTER_RSP)
		value = *kv_gpr(kv_regs(v), (unsigned)ZydisRegisterGetId(from->reg.value) & 15);
	else
		return true;
	return n->i.operand_width / 8u != len || !memcmp(data, &value, len);
}

static bool fits(struct kv_vcpu *v, const uint8_t *code, unsigned bytes, uint64_t gpa,
		 const uint8_t *data, unsigned len)
{
	uint64_t next = kv_regs(v)->rip;
	struct insn n;

	return decode(code, bytes, &n) && n.i.length == bytes && stores_at(v, &n, next, gpa, len) &&
	       stores_value(v, &n, data, len);
}

uint64_t kv_origin_store(struct kv_vcpu *v, uint64_t gpa, const uint8_t *data, unsigned len)
{
	uint64_t rip = kv_regs(v)->rip;
	uint8_t code[2 * KV_INSN];
	struct insn n;
	unsigned have, k;

	/* A repeated one that is not finished stays at its RIP. */
	have = kv_code(v, rip, code, KV_INSN);
	if (have && decode(code, have, &n) && (n.i.attributes & ZYDIS_ATTRIB_HAS_REP) &&
	    stores_at(v, &n, rip + n.i.length, gpa, len))
		return rip;
	for (k = 1; k <= KV_INSN; k++)
		if (kv_code(v, rip - k, code, k) == k && fits(v, code, k, gpa, data, len))
			return rip - k;
	return rip;
}

uint64_t kv_origin_out(struct kv_vcpu *v, uint16_t port, unsigned width)
{
	uint64_t rip = kv_regs(v)->rip;
	uint8_t code[KV_INSN];
	struct insn n;
	unsigned k;

	for (k = 1; k <= 4; k++) {
		if (kv_code(v, rip - k, code, k) != k || !decode(code, k, &n) || n.i.length != k ||
		    n.i.mnemonic != ZYDIS_MNEMONIC_OUT || n.op[1].size / 8u != width)
			continue;
		/* `out %al, $imm` may end in a byte that is an OUT itself. */
		if (n.op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE
			    ? n.op[0].imm.value.u == port
			    : (uint16_t)kv_regs(v)->rdx == port && !(k == 1 && port == code[0]))
			return rip - k;
	}
	return rip;
}
