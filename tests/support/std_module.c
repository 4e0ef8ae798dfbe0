/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The standard test module: one of everything that a manifest can hold, laid out so that every
 * address in it follows from world.h's constants.
 */
#include "tests/support/world.h"

#include <stdlib.h>
#include <string.h>

#define TEXT_BYTE(i) ((uint8_t)((i)*7 + ((i) >> 8)))

struct std_options std_default(void)
{
	struct std_options o = {
		.x_kind = GM_X_VMMCALL,
		.headroom = GM_MIN_HEADROOM,
		.policy = { .chains = 8 },
	};

	return o;
}

static uint32_t start_of(const struct mb *b, enum fn fn)
{
	const struct gm_segment *s = (const void *)b->table[MB_SEGMENTS].data;

	if (fn == FN_INIT || fn == FN_ICALL)
		return s[SEG_INIT].start + (fn == FN_ICALL ? INIT_CALL_AT : 0);
	return (uint32_t)fn * 0x100;
}

/* Bytes of locals of an RSP-based function: RSP in the body is slot - locals. */
static int16_t locals_of(enum fn fn)
{
	switch (fn) {
	case FN_B64: return 64;
	case FN_B512: return 512;
	case FN_B4096: return 4096;
	case FN_H: return 0x18;
	default: return 0x28;
	}
}

static void add_unwind(struct mb *b, enum fn fn)
{
	uint32_t at = start_of(b, fn);
	int16_t locals = locals_of(fn);

	mb_unwind(b, at, GM_CFA_REG, GUARD_RSP, 8, GM_BP_SAME, 0);
	switch (fn) {
	case FN_F:
	case FN_I: /* push %rbp; mov %rsp,%rbp; sub $0x20,%rsp */
		mb_unwind(b, at + 1, GM_CFA_REG, GUARD_RSP, 16, GM_BP_AT_CFA, -16);
		mb_unwind(b, at + FN_BODY, GM_CFA_REG, GUARD_RBP, 16, GM_BP_AT_CFA, -16);
		break;
	case FN_D: /* lea 8(%rsp),%r10; and; push -8(%r10); push %rbp; mov; push %r10; sub */
		mb_unwind(b, at + 4, GM_CFA_REG, GUARD_R10, 0, GM_BP_SAME, 0);
		mb_unwind(b, at + FN_BODY, GM_CFA_DEREF, GUARD_RBP, -8, GM_BP_AT_BP, 0);
		break;
	case FN_E: /* push %rbp; sub $0x20,%rsp; RBP is clobbered */
		mb_unwind(b, at + FN_BODY, GM_CFA_REG, GUARD_RSP, 0x30, GM_BP_AT_CFA, -16);
		break;
	case FN_N: mb_unwind(b, at + FN_BODY, GM_CFA_NONE, 0, 0, GM_BP_SAME, 0); break;
	case FN_T: break;
	default:
		mb_unwind(b, at + FN_BODY, GM_CFA_REG, GUARD_RSP, (int16_t)(locals + 8), GM_BP_SAME,
			  0);
	}
	if (fn != FN_T)
		mb_unwind(b, at + FN_END, GM_CFA_REG, GUARD_RSP, 8, GM_BP_SAME, 0);
	mb_unwind(b, at + FN_GAP, GM_CFA_NONE, 0, 0, GM_BP_SAME, 0);
	mb_retsite(b, at + FN_RET);
	mb_retsite(b, at + FN_RET2);
	mb_retsite(b, at + FN_END);
}

static void add_segments(struct mb *b, const struct std_options *o)
{
	uint32_t size = STD_TEXT_SIZE + o->text_pages * GM_PAGE;
	uint8_t *bytes = malloc(size + GM_PAGE);
	uint32_t i;

	if (!bytes)
		abort();
	for (i = 0; i < size; i++)
		bytes[i] = TEXT_BYTE(i);
	memcpy(bytes + 0xf80, &o->seed, sizeof(o->seed));
	mb_segment(b, GM_SEG_TEXT, size, bytes);
	if (o->views) /* keeps the numbers of the other segments */
		mb_segment(b, GM_SEG_RODATA, 16, bytes);
	else
		mb_segment(b, GM_SEG_GATES, GATE_COUNT * GM_GATE_BYTES, NULL);
	mb_segment(b, GM_SEG_RODATA, 0x180, bytes + 0x40);
	mb_segment(b, GM_SEG_DATA, 0x200, NULL);
	mb_segment(b, GM_SEG_PRIVATE, GM_PAGE + 0x20, bytes + 0x80);
	mb_segment(b, GM_SEG_INIT_TEXT, GM_PAGE + 0x100, bytes + 0x11);
	mb_segment(b, GM_SEG_INIT_RODATA, 0x40, bytes + 0x23);
	mb_segment(b, GM_SEG_INIT_DATA, 0x40, NULL);
	mb_segment(b, GM_SEG_RODATA, 0x100, bytes + 0x37);
	mb_segment(b, GM_SEG_PERCPU, 0x40, NULL);
	free(bytes);
}

/* E needs twice as much, where the format allows it. */
static uint32_t headroom_of(const struct std_options *o, enum fn fn)
{
	uint32_t headroom = o->headroom ? o->headroom : GM_MIN_HEADROOM;

	return fn == FN_E && 2 * headroom <= GM_MAX_HEADROOM ? 2 * headroom : headroom;
}

static void add_code(struct mb *b, const struct std_options *o)
{
	unsigned fn;

	if (!o->views) {
		mb_gate(b, GM_GATE_PAD, 0, 0, GM_NONE);
		mb_gate(b, GM_GATE_LEAVE_RETURN, 5, 0, GM_NONE);
		mb_gate(b, GM_GATE_ENTER_RETURN, 5, 0, GM_NONE);
	}
	for (fn = 0; fn < FN_COUNT; fn++) {
		add_unwind(b, fn);
		if (fn < FN_ENTRIES)
			mb_entry(b, start_of(b, fn), headroom_of(o, fn),
				 fn == FN_INIT	  ? GM_ENTRY_INIT
				 : fn == FN_ICALL ? GM_ENTRY_INIT_CALL
				 : fn == FN_EXIT  ? GM_ENTRY_EXIT
						  : 0,
				 fn == FN_G ? 0 : 4);
	}
	mb_import(b, 0, STD_PRESERVE_C);
	mb_import(b, 0, STD_PRESERVE_ASM);
	mb_import(b, 0, 0);
	mb_import(b, GM_IMPORT_DATA, 0);
	mb_import(b, 0, STD_PRESERVE_C);
	mb_import(b, GM_IMPORT_DATA, 0);
	if (!o->views) {
		mb_gate(b, GM_GATE_LEAVE, 0, 0, IMP_C);
		mb_gate(b, GM_GATE_LEAVE, 0, 0, IMP_ASM);
		mb_gate(b, GM_GATE_LEAVE, 0, 0, IMP_NONE);
		mb_gate(b, GM_GATE_LEAVE_INDIRECT, 0, GUARD_RAX, GM_NONE);
		mb_gate(b, GM_GATE_LEAVE_INDIRECT, 0, GUARD_R11, GM_NONE);
	}
	mb_fixup(b, FN_W * 0x100 + W_WARN, FN_W * 0x100 + W_WARN + 2, GM_FIXUP_WARN, 0);
	mb_fixup(b, FN_W * 0x100 + W_FAULT, FN_W * 0x100 + W_FIXUP, GM_FIXUP_EXTABLE, W_FIXUP_REGS);
	mb_jump(b, FN_G * 0x100 + 0x30, FN_G * 0x100 + 0x34);
	mb_jump(b, FN_G * 0x100 + 0x30, FN_G * 0x100 + 0x38);
}

static void add_sites(struct mb *b)
{
	static const uint8_t nop5[] = { 0x0f, 0x1f, 0x44, 0x00, 0x00 };
	static const uint8_t call[] = { 0xe8, 0, 0, 0, 0 };
	static const uint8_t jmp[] = { 0xe9, 0, 0, 0, 0 };
	static const uint8_t nop10[10] = { 0x66, 0x2e, 0x0f, 0x1f, 0x84 };
	static const uint8_t mov[10] = { 0x48, 0xb8 };
	static const uint8_t calls[10] = { 0xe8, 0, 0, 0, 0, 0xe8 };
	static const uint8_t ret[] = { 0xc3, 0xcc, 0xcc, 0xcc, 0xcc };

	mb_site(b, SITE_FENTRY, 5, 0, GM_NONE);
	mb_choice(b, nop5);
	mb_choice(b, call);
	mb_choice_reloc(b, 1, GM_R_PLT32, GM_TARGET_OUTSIDE, 0, -4);
	mb_site(b, SITE_GROUP_A, 5, 0, 1);
	mb_choice(b, ret);
	mb_choice(b, jmp);
	mb_choice_reloc(b, 1, GM_R_PC32, GM_TARGET_SEGMENT, SEG_TEXT, FN_T * 0x100 - 4);
	mb_site(b, SITE_GROUP_B, 5, 0, 1);
	mb_choice(b, ret);
	mb_choice(b, jmp);
	mb_choice_reloc(b, 1, GM_R_PC32, GM_TARGET_SEGMENT, SEG_TEXT, FN_T * 0x100 - 4);
	mb_site(b, SITE_LABEL, 5, GM_SITE_RUNTIME, GM_NONE);
	mb_choice(b, nop5);
	mb_choice(b, jmp);
	mb_choice_reloc(b, 1, GM_R_PC32, GM_TARGET_SEGMENT, SEG_TEXT, FN_G * 0x100 - 4);
	mb_site(b, SITE_STATIC, 5, GM_SITE_RUNTIME, GM_NONE);
	mb_choice(b, call);
	mb_choice_reloc(b, 1, GM_R_PLT32, GM_TARGET_OUTSIDE, 0, -4);
	mb_choice(b, nop5);
	mb_choice(b, jmp);
	mb_choice_reloc(b, 1, GM_R_PLT32, GM_TARGET_IMPORT, IMP_LATE, -4);
	mb_site(b, SITE_MOV, 10, GM_SITE_RUNTIME, GM_NONE);
	mb_choice(b, nop10);
	mb_choice(b, mov);
	mb_choice_reloc(b, 2, GM_R_64, GM_TARGET_IMPORT, IMP_LATE_DATA, 8);
	mb_site(b, mb_moff(b, SEG_INIT, SITE_INIT), 5, GM_SITE_RUNTIME, GM_NONE);
	mb_choice(b, nop5);
	mb_choice(b, call);
	mb_choice_reloc(b, 1, GM_R_PLT32, GM_TARGET_OUTSIDE, 0, -4);
	mb_site(b, SITE_TWO, 10, 0, GM_NONE);
	mb_choice(b, nop10);
	mb_choice(b, calls);
	mb_choice_reloc(b, 1, GM_R_PLT32, GM_TARGET_IMPORT, IMP_LATE, -4);
	mb_choice_reloc(b, 6, GM_R_PLT32, GM_TARGET_SEGMENT, SEG_TEXT, FN_F * 0x100 - 4);
	mb_choice(b, calls);
	mb_choice_reloc(b, 1, GM_R_PLT32, GM_TARGET_OUTSIDE, 0, -4);
	mb_choice_reloc(b, 6, GM_R_PLT32, GM_TARGET_OUTSIDE, 0, -4);
	mb_site(b, SITE_LOCK, 1, 0, GM_NONE);
	mb_choice(b, "\xf0");
	mb_choice(b, "\x3e");
	mb_site(b, SITE_STRADDLE, 5, GM_SITE_RUNTIME, GM_NONE);
	mb_choice(b, nop5);
	mb_choice(b, jmp);
	mb_choice_reloc(b, 1, GM_R_PC32, GM_TARGET_SEGMENT, SEG_TEXT, FN_F * 0x100 - 4);
}

static void add_relocs(struct mb *b, const struct std_options *o)
{
	unsigned percpu = (unsigned)b->table[MB_SEGMENTS].count - 1;
	uint32_t i;

	mb_reloc(b, RELOC_RODATA64, GM_R_64, GM_TARGET_SEGMENT, SEG_RODATA, 0x10);
	mb_reloc(b, RELOC_DATA_PC32, GM_R_PC32, GM_TARGET_SEGMENT, SEG_DATA, 0x8 - 4);
	mb_reloc(b, RELOC_TEXT_32S, GM_R_32S, GM_TARGET_SEGMENT, SEG_TEXT, 0x100);
	mb_reloc(b, RELOC_PERCPU_32S, GM_R_32S, GM_TARGET_SEGMENT, percpu, 0x8);
	mb_reloc(b, RELOC_32, GM_R_32, GM_TARGET_SEGMENT, percpu, 0x4);
	mb_reloc(b, RELOC_IMPORT_64, GM_R_64, GM_TARGET_IMPORT, IMP_DATA, 0x18);
	mb_reloc(b, RELOC_IMPORT_PC32, GM_R_PC32, GM_TARGET_IMPORT, IMP_C, -4);
	mb_reloc(b, RELOC_GATE_PLT32, GM_R_PLT32, GM_TARGET_SEGMENT, SEG_GATES, 0x10 - 4);
	mb_reloc(b, RELOC_PC64, GM_R_PC64, GM_TARGET_SEGMENT, SEG_RODATA, 0x20);
	mb_reloc(b, RELOC_STRADDLE64, GM_R_64, GM_TARGET_SEGMENT, SEG_TEXT, 0x123);
	mb_reloc(b, mb_moff(b, SEG_RODATA, 0x20), GM_R_64, GM_TARGET_SEGMENT, SEG_TEXT, 0x200);
	mb_reloc(b, mb_moff(b, SEG_RODATA, 0x28), GM_R_64, GM_TARGET_IMPORT, IMP_DATA, 0);
	/* up to the last byte of its segment, and to init memory that may be gone */
	mb_reloc(b, mb_moff(b, SEG_RODATA, 0x178), GM_R_64, GM_TARGET_SEGMENT, SEG_INIT, 0x30);
	mb_reloc(b, mb_moff(b, SEG_INIT, RELOC_INIT64), GM_R_64, GM_TARGET_SEGMENT, SEG_INIT_RODATA,
		 0x10);
	mb_reloc(b, mb_moff(b, SEG_LATE, 0x40), GM_R_64, GM_TARGET_SEGMENT, SEG_TEXT, 0x300);
	for (i = 0; i < o->relocs; i++)
		mb_reloc(b, 0x4000 + 16 * i, GM_R_64, GM_TARGET_SEGMENT, SEG_DATA, i);
}

void *std_manifest(const struct std_options *o, size_t *len)
{
	struct mb b;
	void *out;

	mb_init(&b, o->x_kind, o->views ? GM_FLAG_VIEWS : 0);
	add_segments(&b, o);
	add_code(&b, o);
	add_sites(&b);
	add_relocs(&b, o);
	mb_privilege(&b, GM_PRIV_PRIVATE, 0, 0);
	mb_privilege(&b, GM_PRIV_DEVICE, 0, 0);
	mb_privilege(&b, GM_PRIV_MWAIT, 0, 0);
	mb_privilege(&b, GM_PRIV_IOPORT, 0x60, 0x64);
	mb_privilege(&b, GM_PRIV_MSR, 0x10, 0x10);
	out = mb_finish(&b, len);
	mb_free(&b);
	return out;
}
