/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a uc_context keeps the registers.
 *
 * A crossing copies the whole context from one Unicorn instance to another anyway; with the
 * registers at known places in it, reading and changing them costs nothing more. The places are
 * found when the first engine starts, by writing marks through the public API and looking for
 * them, and every one of them is verified: another build of the library gives an error, never a
 * wrong register. Hidden parts of segment registers have no public API at all.
 */
#include <stdlib.h>
#include <string.h>

#include "sim/sim.h"

struct sim_layout sim_layout;

static const int gpr_id[16] = {
	UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RBX,
	UC_X86_REG_RSP, UC_X86_REG_RBP, UC_X86_REG_RSI, UC_X86_REG_RDI,
	UC_X86_REG_R8,	UC_X86_REG_R9,	UC_X86_REG_R10, UC_X86_REG_R11,
	UC_X86_REG_R12, UC_X86_REG_R13, UC_X86_REG_R14, UC_X86_REG_R15,
};

uint64_t sim_rflags(struct sim_vcpu *v)
{
	uint64_t f = 0;

	if (v->live)
		uc_reg_read(v->live->uc, UC_X86_REG_EFLAGS, &f);
	else
		uc_context_reg_read(v->ctx, UC_X86_REG_EFLAGS, &f);
	return f & 0xffffffff;
}

void sim_set_rflags(struct sim_vcpu *v, uint64_t rflags)
{
	uint64_t f = (rflags & 0x3f7fd5) | 2;

	uc_context_reg_write(v->ctx, UC_X86_REG_EFLAGS, &f);
}

/* Offset of the only place in the context that holds `mark`; 0: none or several. */
static unsigned find(const uint8_t *blob, size_t bytes, uint64_t mark)
{
	unsigned at = 0;
	size_t i;

	for (i = 16; i + 8 <= bytes; i += 8) {
		uint64_t word;

		memcpy(&word, blob + i, 8);
		if (word != mark)
			continue;
		if (at)
			return 0;
		at = (unsigned)i;
	}
	return at;
}

static bool stop_on_vector(uc_engine *uc, uint32_t vector, void *user)
{
	(void)vector;
	(void)user;
	uc_emu_stop(uc);
	return true;
}

/*
 * After an exception Unicorn remembers its vector for ever and takes the next one for a double
 * fault. What differs then, apart from registers, is put back by event.c.
 */
static bool find_residue(uc_engine *uc, uc_context *before, uc_context *after)
{
	static const uint8_t divide[] = { 0x31, 0xc9, 0xf7, 0xf1 }; /* xor %ecx,%ecx; div %ecx */
	struct sim_layout *l = &sim_layout;
	const uint8_t *a = (const uint8_t *)before, *b = (const uint8_t *)after;
	uint8_t *page = aligned_alloc(SIM_PAGE, SIM_PAGE);
	uc_hook hook;
	size_t i;
	bool ok = false;

	if (!page)
		return false;
	memset(page, 0xf4, SIM_PAGE);
	memcpy(page, divide, sizeof(divide));
	if (uc_mem_map_ptr(uc, 0x10000, SIM_PAGE, UC_PROT_READ | UC_PROT_EXEC, page) ||
	    uc_hook_add(uc, &hook, UC_HOOK_INTR, (void *)stop_on_vector, NULL, 1, 0))
		goto out;
	uc_emu_start(uc, 0x10000, 0, 0, 0);
	if (uc_context_save(uc, after))
		goto out;
	l->nresidue = 0;
	for (i = l->idt + sizeof(struct sim_seg); i + 4 <= l->bytes; i += 4) {
		if (!memcmp(a + i, b + i, 4))
			continue;
		if (l->nresidue == sizeof(l->residue) / sizeof(l->residue[0]))
			goto out;
		l->residue[l->nresidue++] = (unsigned)i;
	}
	ok = true;
out:
	free(page);
	return ok;
}

static bool marks(uc_engine *uc, uc_context *ctx)
{
	struct sim_layout *l = &sim_layout;
	const uint8_t *blob = (const uint8_t *)ctx;
	const uint64_t mark = 0x5a17000000000000ull;
	uc_x86_mmr mmr = { .selector = 0x40, .limit = 0x77, .flags = 0x8b00 };
	uint64_t value;
	unsigned i, fs, gs;

	for (i = 0; i < 16; i++) {
		value = mark + i + 1;
		if (uc_reg_write(uc, gpr_id[i], &value))
			return false;
	}
	value = mark + 0x101;
	uc_reg_write(uc, UC_X86_REG_RIP, &value);
	value = mark + 0x102;
	uc_reg_write(uc, UC_X86_REG_FS_BASE, &value);
	value = mark + 0x103;
	uc_reg_write(uc, UC_X86_REG_GS_BASE, &value);
	mmr.base = mark + 0x104;
	uc_reg_write(uc, UC_X86_REG_LDTR, &mmr);
	mmr.base = mark + 0x105;
	uc_reg_write(uc, UC_X86_REG_TR, &mmr);
	mmr.base = mark + 0x106;
	uc_reg_write(uc, UC_X86_REG_GDTR, &mmr);
	mmr.base = mark + 0x107;
	uc_reg_write(uc, UC_X86_REG_IDTR, &mmr);
	if (uc_context_save(uc, ctx))
		return false;
	l->regs = find(blob, l->bytes, mark + 1);
	for (i = 0; i < 16; i++)
		if (find(blob, l->bytes, mark + i + 1) != l->regs + 8 * i)
			return false;
	l->rip = find(blob, l->bytes, mark + 0x101);
	fs = find(blob, l->bytes, mark + 0x102);
	gs = find(blob, l->bytes, mark + 0x103);
	l->ldt = find(blob, l->bytes, mark + 0x104) - 8;
	l->tr = find(blob, l->bytes, mark + 0x105) - 8;
	l->gdt = find(blob, l->bytes, mark + 0x106) - 8;
	l->idt = find(blob, l->bytes, mark + 0x107) - 8;
	if (!l->regs || !l->rip || !fs || gs != fs + sizeof(struct sim_seg))
		return false;
	l->segs = fs - 8 - SEG_FS * (unsigned)sizeof(struct sim_seg);
	l->hflags = l->segs - 8;
	if (l->ldt != l->segs + 6 * sizeof(struct sim_seg) ||
	    l->idt != l->ldt + 3 * sizeof(struct sim_seg) || l->idt + 64 > l->bytes)
		return false;
	/* CPL 0, 64-bit code, with or without OSFXSR and the like above. */
	memcpy(&i, blob + l->hflags, 4);
	return (i & 0xffffu) == HF_64;
}

/* Called once a process. false: this library is not one that we know. */
bool sim_layout_find(struct error *err)
{
	struct sim_layout *l = &sim_layout;
	uc_context *clean = NULL, *a = NULL, *b = NULL;
	uc_engine *uc = NULL;
	unsigned major, minor;
	bool ok = false;

	if (l->clean)
		return true;
	uc_version(&major, &minor);
	if (uc_open(UC_ARCH_X86, UC_MODE_64, &uc))
		return error_set(err, "Unicorn %u.%u does not start", major, minor);
	l->bytes = uc_context_size(uc);
	if (!uc_context_alloc(uc, &clean) && !uc_context_alloc(uc, &a) &&
	    !uc_context_alloc(uc, &b) && !uc_context_save(uc, clean) && marks(uc, a))
		ok = find_residue(uc, a, b);
	if (ok) {
		l->clean = malloc(l->bytes);
		ok = l->clean != NULL;
	}
	if (ok)
		memcpy(l->clean, clean, l->bytes);
	uc_context_free(clean);
	uc_context_free(a);
	uc_context_free(b);
	uc_close(uc);
	return ok || error_set(err, "Unicorn %u.%u keeps registers in an unknown way: 2.0 expected",
			       major, minor);
}
