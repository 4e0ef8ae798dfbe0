// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two modules of five pages each, with what the core looks at: three shapes of frames, a fixup and a
 * WARN, init code, gates of every kind, a patch site, relocations, private memory, a device. Which
 * policy each has, and whether the second one is unwrapped, is the world's configuration.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/events/core.h"
#include "tests/support/manifest_builder.h"

#define RELOC_DATA 0xd00u
#define RELOC_CALL 0xd10u

static const struct {
	struct guard_policy policy[FC_MODULES];
	bool views; /* the second one */
} configs[FC_CONFIGS] = {
	{ { { .chains = 3 }, { .chains = 2, .registers = GUARD_REGS_SCRUB } }, false },
	{ { { .chains = 3, .registers = GUARD_REGS_SCRUB, .refusal = GUARD_REFUSE_QUARANTINE },
	    { .chains = 3 } },
	  true },
	{ { { .chains = 2, .stack = GUARD_STACK_EXACT }, { .chains = 2, .required = 2 } }, false },
	{ { { .chains = 3, .stack = GUARD_STACK_NONE },
	    { .chains = 1, .refusal = GUARD_REFUSE_QUARANTINE } },
	  false },
};

static uint32_t start_of(struct mb *b, unsigned fn)
{
	return fn == FN_INIT || fn == FN_CALLBACK
		       ? mb_moff(b, FS_INIT, fn == FN_INIT ? 0 : FC_CALLBACK)
		       : fn * 0x100;
}

static void add_function(struct mb *b, unsigned fn)
{
	uint32_t at = start_of(b, fn);

	mb_unwind(b, at, GM_CFA_REG, GUARD_RSP, 8, GM_BP_SAME, 0);
	if (fn == FN_F) { /* push %rbp; mov %rsp,%rbp; sub $0x20,%rsp */
		mb_unwind(b, at + FC_BODY, GM_CFA_REG, GUARD_RBP, 16, GM_BP_AT_CFA, -16);
	} else if (fn == FN_D) { /* realigned: CFA through memory */
		mb_unwind(b, at + 4, GM_CFA_REG, GUARD_R10, 0, GM_BP_SAME, 0);
		mb_unwind(b, at + FC_BODY, GM_CFA_DEREF, GUARD_RBP, -8, GM_BP_AT_BP, 0);
	} else { /* sub $0x28,%rsp */
		mb_unwind(b, at + FC_BODY, GM_CFA_REG, GUARD_RSP, 0x30, GM_BP_SAME, 0);
	}
	mb_unwind(b, at + FC_END, GM_CFA_REG, GUARD_RSP, 8, GM_BP_SAME, 0);
	mb_unwind(b, at + 0x80, GM_CFA_NONE, 0, 0, GM_BP_SAME, 0);
	mb_retsite(b, at + FC_RET);
	mb_retsite(b, at + FC_RET2);
}

static void add_code(struct mb *b, bool views)
{
	for (unsigned fn = 0; fn < FC_FNS; fn++)
		add_function(b, fn);
	if (!views) {
		mb_gate(b, GM_GATE_LEAVE_RETURN, 5, 0, GM_NONE);
		mb_gate(b, GM_GATE_ENTER_RETURN, 5, 0, GM_NONE);
	}
	for (unsigned fn = 0; fn < FN_ENTRIES; fn++)
		mb_entry(b, start_of(b, fn), GM_MIN_HEADROOM + 256 * fn,
			 fn == FN_INIT	     ? GM_ENTRY_INIT
			 : fn == FN_CALLBACK ? GM_ENTRY_INIT_CALL
					     : 0,
			 fn == FN_G ? 0 : 4);
	mb_import(b, 0, FC_POOL_C);
	mb_import(b, 0, FC_POOL_ASM);
	if (!views) {
		mb_gate(b, GM_GATE_LEAVE, 0, 0, FI_C);
		mb_gate(b, GM_GATE_LEAVE, 0, 0, FI_ASM);
		mb_gate(b, GM_GATE_LEAVE_INDIRECT, 0, GUARD_RAX, GM_NONE);
	}
	mb_fixup(b, FN_W * 0x100 + FC_FAULT, FN_W * 0x100 + FC_FIXUP, GM_FIXUP_EXTABLE,
		 1u << GUARD_RAX | 1u << GUARD_RCX);
	mb_fixup(b, FN_W * 0x100 + FC_WARN, FN_W * 0x100 + FC_WARN + 2, GM_FIXUP_WARN, 0);
}

static void *build(unsigned config, unsigned m, bool views, size_t *len)
{
	static const uint8_t nop5[] = { 0x0f, 0x1f, 0x44, 0, 0 }, jmp[] = { 0xe9, 0, 0, 0, 0 };
	uint8_t text[4096];
	struct mb b;
	void *out;

	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 7 + (i >> 8) + m * 3 + config);
	mb_init(&b, GM_X_VMMCALL, views ? GM_FLAG_VIEWS : 0);
	mb_segment(&b, GM_SEG_TEXT, 0x1000, text);
	if (views)
		mb_segment(&b, GM_SEG_RODATA, 0x40, text);
	else
		mb_segment(&b, GM_SEG_GATES, FC_GATES * GM_GATE_BYTES, NULL);
	mb_segment(&b, GM_SEG_DATA, 0x200, NULL);
	/* with bytes of its own, and with none */
	mb_segment(&b, GM_SEG_PRIVATE, 0x100, m ? NULL : text + 0x20);
	mb_segment(&b, GM_SEG_INIT_TEXT, 0x200, text + 0x30);
	add_code(&b, views);
	mb_reloc(&b, RELOC_DATA, GM_R_64, GM_TARGET_SEGMENT, FS_DATA, 8);
	mb_reloc(&b, RELOC_CALL, GM_R_PLT32, GM_TARGET_IMPORT, FI_C, -4);
	mb_site(&b, FC_SITE, 5, GM_SITE_RUNTIME, GM_NONE);
	mb_choice(&b, nop5);
	mb_choice(&b, jmp);
	mb_choice_reloc(&b, 1, GM_R_PC32, GM_TARGET_SEGMENT, FS_TEXT, -4);
	mb_privilege(&b, GM_PRIV_PRIVATE, 0, 0);
	mb_privilege(&b, GM_PRIV_DEVICE, 0, 0);
	mb_privilege(&b, GM_PRIV_MWAIT, 0, 0);
	out = mb_finish(&b, len);
	mb_free(&b);
	return out;
}

bool fc_manifest(unsigned config, unsigned m, struct fc_module *out)
{
	uint64_t h = 0x9e3779b97f4a7c15ull + config * 16 + m;

	memset(out, 0, sizeof(*out));
	out->views = m == 1 && configs[config].views;
	out->manifest = build(config, m, out->views, &out->len);
	/* any digest does that tells these few apart */
	for (unsigned i = 0; i < 4; i++) {
		h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ull;
		memcpy(out->binding.digest + 8 * i, &h, 8);
	}
	memcpy(&out->id, out->binding.digest, 8);
	out->binding.policy = configs[config].policy[m];
	out->chains = out->binding.policy.chains;
	/* the second one does not get all that it asks for */
	out->binding.bound = m ? 3 : 7;
	out->binding.resource[1] = (struct guard_resource){ FC_MMIO(m), 0x1000 };
	out->work_len = guard_work_size(out->manifest, out->len, &out->binding.policy);
	return out->work_len != 0;
}

/* ---- where it is ---- */

uint64_t fc_seg(unsigned m, unsigned segment)
{
	unsigned page = fc->live->page[m][segment];

	return FC_AT(page ? page
			  : FC_MODULE_PAGE(m) + segment + (fc->live->moved[m] ? FC_MOVED : 0));
}

uint64_t fc_fn(unsigned m, unsigned fn, uint32_t offset)
{
	if (fn == FN_INIT || fn == FN_CALLBACK)
		return fc_seg(m, FS_INIT) + (fn == FN_INIT ? 0 : FC_CALLBACK) + offset;
	return fc_seg(m, FS_TEXT) + fn * 0x100ull + offset;
}

uint64_t fc_gate(unsigned m, unsigned gate)
{
	return fc_seg(m, FS_GATES) + gate * (uint64_t)GM_GATE_BYTES;
}

uint64_t fc_gate_x(unsigned m, unsigned gate)
{
	const struct gm_gate *g;

	if (fc->module[m].views)
		return fc_gate(m, gate);
	g = mb_record(fc->module[m].manifest, MB_GATES, gate);
	return fc_gate(m, gate) + g->x;
}

/* ---- loading ---- */

static void put_bytes(unsigned frame, uint32_t offset, const void *bytes, size_t len)
{
	for (size_t i = 0, n; i < len; i += n) {
		n = len - i < 8 ? len - i : 8;
		if (memcmp(fc->ram + frame * 4096ull + offset + i, (const uint8_t *)bytes + i, n) !=
		    0)
			fc_poke(frame * 4096ull + offset + i, (const uint8_t *)bytes + i, n);
	}
}

static void relocate(unsigned m, const struct gm_reloc *r)
{
	unsigned segment = r->moff / 4096; /* one page each */
	uint64_t s = r->kind == GM_TARGET_SEGMENT ? fc_seg(m, r->target) : FC_IMPORT(r->target);

	s += (uint64_t)r->addend;
	if (r->type == GM_R_PC32 || r->type == GM_R_PLT32)
		s -= fc_seg(m, segment) + r->moff % 4096;
	/* byte by byte: a gate's fields are not aligned */
	for (unsigned i = 0; i < (r->type == GM_R_64 ? 8 : 4); i++)
		fc_poke(fc_module_frame(m, segment) * 4096ull + r->moff % 4096 + i,
			(uint8_t *)&s + i, 1);
}

void fc_load(unsigned m)
{
	const struct gm_header *h = fc->module[m].manifest;
	const uint8_t *image = (const uint8_t *)fc->module[m].manifest + h->image.offset;
	static const uint8_t nop5[8] = { 0x0f, 0x1f, 0x44, 0, 0 };
	static const uint8_t zeros[4096];
	static uint8_t old[4096];

	/* memory that is not asked to be anything holds what somebody left there */
	memset(old, 0x5e, sizeof(old));
	for (unsigned i = 0; i < FC_SEGMENTS; i++) {
		const struct gm_segment *s = mb_record(fc->module[m].manifest, MB_SEGMENTS, i);
		uint32_t size = s->image == GM_NONE ? 0 : s->size;
		uint64_t entry = fc_module_frame(m, i) * 4096ull | FC_P | FC_W;
		unsigned page = (unsigned)((fc_seg(m, i) - FC_BASE) / 4096);

		if (fc_pte_now(page) != entry)
			fc_pte(page, entry);
		/* each word once, and only what differs: the journal is short */
		if (size)
			put_bytes(fc_module_frame(m, i), 0, image + s->image, size);
		put_bytes(fc_module_frame(m, i), size, i == FS_PRIVATE && !size ? old : zeros,
			  sizeof(zeros) - size);
	}
	for (uint32_t i = 0; i < h->relocs.count; i++)
		relocate(m, mb_record(fc->module[m].manifest, MB_RELOCS, i));
	put_bytes(fc_module_frame(m, FS_TEXT), FC_SITE, nop5, 5);
}
