/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which instructions Unicorn may execute by itself.
 *
 * Sensitive ones are those that it would execute silently and wrongly (control registers, MSRs,
 * time, ports, far transfers of control) or not at all (VMMCALL, MWAIT): they are stopped at, and
 * emulate.c executes them. What the decoder does not know is #UD: Unicorn aborts the whole process
 * on some such encodings, and while translating, so they must not even get there.
 */
#include "sim/insn.h"

static const ZydisDecoder *decoder(void)
{
	static ZydisDecoder d;
	static bool ready;

	if (!ready) {
		ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
		ready = true;
	}
	return &d;
}

static enum sim_class class_of(const ZydisDecodedInstruction *i)
{
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_VMCALL:
	case ZYDIS_MNEMONIC_VMMCALL:
	case ZYDIS_MNEMONIC_IN:
	case ZYDIS_MNEMONIC_OUT:
	case ZYDIS_MNEMONIC_INSB:
	case ZYDIS_MNEMONIC_INSW:
	case ZYDIS_MNEMONIC_INSD:
	case ZYDIS_MNEMONIC_OUTSB:
	case ZYDIS_MNEMONIC_OUTSW:
	case ZYDIS_MNEMONIC_OUTSD:
	case ZYDIS_MNEMONIC_CPUID:
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDTSCP:
	case ZYDIS_MNEMONIC_RDPMC:
	case ZYDIS_MNEMONIC_RDMSR:
	case ZYDIS_MNEMONIC_WRMSR:
	case ZYDIS_MNEMONIC_CLTS:
	case ZYDIS_MNEMONIC_LMSW:
	case ZYDIS_MNEMONIC_SMSW:
	case ZYDIS_MNEMONIC_INVLPG:
	case ZYDIS_MNEMONIC_INVPCID:
	case ZYDIS_MNEMONIC_HLT:
	case ZYDIS_MNEMONIC_MONITOR:
	case ZYDIS_MNEMONIC_MWAIT:
	case ZYDIS_MNEMONIC_INT:
	case ZYDIS_MNEMONIC_INT1:
	case ZYDIS_MNEMONIC_INT3:
	case ZYDIS_MNEMONIC_SYSCALL:
	case ZYDIS_MNEMONIC_SYSRET:
	case ZYDIS_MNEMONIC_SYSENTER:
	case ZYDIS_MNEMONIC_SYSEXIT:
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
	case ZYDIS_MNEMONIC_SWAPGS:
	case ZYDIS_MNEMONIC_CLAC:
	case ZYDIS_MNEMONIC_STAC:
	case ZYDIS_MNEMONIC_RDFSBASE:
	case ZYDIS_MNEMONIC_RDGSBASE:
	case ZYDIS_MNEMONIC_WRFSBASE:
	case ZYDIS_MNEMONIC_WRGSBASE:
	case ZYDIS_MNEMONIC_XGETBV:
	case ZYDIS_MNEMONIC_XSETBV:
	case ZYDIS_MNEMONIC_RSM:
	case ZYDIS_MNEMONIC_LGDT:
	case ZYDIS_MNEMONIC_LIDT:
	case ZYDIS_MNEMONIC_LLDT:
	case ZYDIS_MNEMONIC_LTR:
	case ZYDIS_MNEMONIC_GETSEC: return INSN_SENSITIVE;
	case ZYDIS_MNEMONIC_POP: /* FS and GS: 0f a1, 0f a9 */
		return i->opcode_map == ZYDIS_OPCODE_MAP_0F ? INSN_SENSITIVE : INSN_PLAIN;
	case ZYDIS_MNEMONIC_MOV:
		/* to a segment register: 8e; to and from control and debug registers: 0f 20 to 0f 23 */
		return (i->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && i->opcode == 0x8e) ||
				       (i->opcode_map == ZYDIS_OPCODE_MAP_0F && i->opcode >= 0x20 &&
					i->opcode <= 0x23)
			       ? INSN_SENSITIVE
			       : INSN_PLAIN;
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ: return INSN_POPF;
	default: break;
	}
	switch (i->meta.category) {
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_UNCOND_BR:
		/* Far ones change segments, so possibly the CPL. */
		if (i->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
			return INSN_SENSITIVE;
		return INSN_END;
	case ZYDIS_CATEGORY_COND_BR: return INSN_END;
	default: return INSN_PLAIN;
	}
}

/* How this space treats it. */
enum sim_class sim_insn_class_in(const struct sim_space *s, const uint8_t *code, unsigned len,
				 unsigned *size)
{
	enum sim_class class = sim_insn_class(code, len, size);

	if (class != INSN_POPF)
		return class;
	return !s->user && (s->vcpu->cr4 & CR4_SMAP) ? INSN_SENSITIVE : INSN_END;
}

enum sim_class sim_insn_class(const uint8_t *code, unsigned len, unsigned *size)
{
	ZydisDecodedInstruction i;
	ZyanStatus status;

	*size = 0;
	if (!len)
		return INSN_SHORT;
	/* By far the most common first bytes: mov, lea, push, pop, short jumps ... decode alike. */
	status = ZydisDecoderDecodeInstruction(decoder(), NULL, code, len, &i);
	if (status == ZYDIS_STATUS_NO_MORE_DATA)
		return len < 15 ? INSN_SHORT : INSN_BAD;
	if (!ZYAN_SUCCESS(status))
		return INSN_BAD;
	*size = i.length;
	return class_of(&i);
}

int sim_insn_plan(struct sim_space *s, uint64_t pc, int max)
{
	uint64_t at = pc;
	int n = 0;

	if (s->stepping && pc == s->step_rip)
		max = 1;
	while (n < max) {
		uint8_t code[15];
		unsigned len = sim_space_code(s, at, code), size;
		enum sim_class class = sim_insn_class_in(s, code, len, &size);

		if (class == INSN_SHORT)
			return n ? n : 1; /* the fetch itself will fail */
		if (class == INSN_BAD)
			return n;
		/* Only a first instruction may cross a page: a failing fetch is at its RIP then. */
		if (n && at % SIM_PAGE + size > SIM_PAGE)
			return n;
		n++;
		if (class == INSN_SENSITIVE)
			sim_space_hook(s, at);
		if (class != INSN_PLAIN)
			return n;
		at += size;
		if (at % SIM_PAGE == 0 || (at ^ pc) >= SIM_PAGE)
			return n;
	}
	return n;
}

bool sim_insn_is_rep(struct sim_space *s, uint64_t rip)
{
	ZydisDecodedInstruction i;
	uint8_t code[15];
	unsigned len = sim_space_code(s, rip, code);

	return len && ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(decoder(), NULL, code, len, &i)) &&
	       (i.attributes &
		(ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE));
}

bool sim_insn_too_long(struct sim_space *s, uint64_t rip)
{
	ZydisDecodedInstruction i;
	uint8_t code[15];
	unsigned len = sim_space_code(s, rip, code);
	ZyanStatus status;

	if (len < sizeof(code))
		return false;
	status = ZydisDecoderDecodeInstruction(decoder(), NULL, code, len, &i);
	return status == ZYDIS_STATUS_NO_MORE_DATA || status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG;
}

bool sim_insn_last_branch(struct sim_space *s, uint64_t gva, uint64_t *rip, int64_t *pushed)
{
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	uint64_t at = gva;

	while (at - gva < SIM_PAGE) {
		ZydisDecodedInstruction i;
		uint8_t code[15];
		unsigned len = sim_space_code(s, at, code);

		if (!len || !sim_insn_decode(code, len, &i, op))
			return false;
		*rip = at;
		switch (i.meta.category) {
		case ZYDIS_CATEGORY_UNCOND_BR: *pushed = 0; return true;
		case ZYDIS_CATEGORY_CALL: *pushed = 8; return true;
		case ZYDIS_CATEGORY_RET:
			*pushed = -8;
			if (op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
				*pushed -= (int64_t)op[0].imm.value.u;
			return true;
		default: at += i.length;
		}
	}
	return false;
}

bool sim_insn_decode(const uint8_t *code, unsigned len, ZydisDecodedInstruction *i,
		     ZydisDecodedOperand *op)
{
	return ZYAN_SUCCESS(ZydisDecoderDecodeFull(decoder(), code, len, i, op));
}

bool sim_insn_uses_stack(struct sim_space *s, uint64_t rip)
{
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction i;
	uint8_t code[15];
	unsigned len = sim_space_code(s, rip, code), k;

	if (!len || !sim_insn_decode(code, len, &i, op))
		return false;
	for (k = 0; k < i.operand_count; k++)
		if (op[k].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    op[k].mem.type == ZYDIS_MEMOP_TYPE_MEM &&
		    op[k].mem.segment == ZYDIS_REGISTER_SS)
			return true;
	return false;
}
