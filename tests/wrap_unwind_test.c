/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Is the unwind map right? For the compiler's .eh_frame, elfutils' own interpreter is asked at
 * every byte of every function. For ORC, which nothing else on the system reads, the instructions
 * themselves are: what each does to RSP must be what two rows in sequence differ by.
 */
#include "tests/support/wraptest.h"

#include <Zydis/Zydis.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <fcntl.h>
#include <unistd.h>

/* DWARF numbers of GPRs by encoding number. */
static const unsigned dwarf_of[16] = { 0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15 };

static const struct gm_unwind *row_at(const struct wrap_result *r, uint32_t moff)
{
	const struct gm_header *h = wt_header(r);
	const struct gm_unwind *u = WT_TABLE(r, unwind);
	uint32_t lo = 0, hi = h->unwind.count;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (u[mid].moff <= moff)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? &u[lo - 1] : NULL;
}

static uint32_t segment_start(const struct wrap_result *r, uint32_t kind)
{
	const struct gm_segment *s = WT_TABLE(r, segments);

	for (uint32_t i = 0; i < wt_header(r)->segments.count; i++)
		if (s[i].kind == kind)
			return s[i].start;
	fail_msg("no segment of kind %u", kind);
	return 0;
}

/* One place: what libdw says against what the manifest says. */
static void compare(Dwarf_CFI *cfi, Dwarf_Addr pc, const struct gm_unwind *u, const char *name)
{
	Dwarf_Op *ops, mem[3];
	Dwarf_Frame *frame;
	size_t n;

	assert_int_equal(dwarf_cfi_addrframe(cfi, pc, &frame), 0);
	assert_int_equal(dwarf_frame_cfa(frame, &ops, &n), 0);
	if (!u || u->cfa_rule == GM_CFA_NONE) {
		fail_msg("%s: no rule at 0x%llx", name, (unsigned long long)pc);
		return;
	}
	if (n == 1) {
		assert_int_equal(ops[0].atom, DW_OP_bregx);
		assert_int_equal(u->cfa_rule, GM_CFA_REG);
		assert_int_equal(ops[0].number, dwarf_of[u->cfa_reg]);
		assert_int_equal((int64_t)ops[0].number2, u->cfa_offset);
	} else {
		assert_int_equal(n, 2);
		assert_int_equal(ops[0].atom, DW_OP_breg6);
		assert_int_equal(ops[1].atom, DW_OP_deref);
		assert_int_equal(u->cfa_rule, GM_CFA_DEREF);
		assert_int_equal(u->cfa_reg, 5);
		assert_int_equal((int64_t)ops[0].number, u->cfa_offset);
	}
	assert_int_equal(dwarf_frame_register(frame, dwarf_of[5], mem, &ops, &n), 0);
	if (n == 0) {
		assert_int_equal(u->bp_rule, GM_BP_SAME);
	} else if (n == 2 && ops[1].atom == DW_OP_breg6) {
		/* an expression starts with the CFA on its stack and leaves it there */
		assert_int_equal(u->bp_rule, GM_BP_AT_BP);
		assert_int_equal((int64_t)ops[1].number, u->bp_offset);
	} else {
		assert_int_equal(ops[0].atom, DW_OP_call_frame_cfa);
		assert_int_equal(u->bp_rule, GM_BP_AT_CFA);
		assert_int_equal(n == 1 ? 0 : (int64_t)ops[1].number, u->bp_offset);
	}
	free(frame);
}

/* The same code linked to fixed addresses, since elfutils reads frames of no relocatable object. */
static Elf *link_fixed(const struct blob *ko, int *fd)
{
	char path[] = "/tmp/wraptest.XXXXXX", out[64], command[512];
	Elf *elf;

	*fd = mkstemp(path);
	assert_true(*fd >= 0);
	assert_int_equal(write(*fd, ko->data, ko->size), (ssize_t)ko->size);
	close(*fd);
	snprintf(out, sizeof(out), "%s.out", path);
	snprintf(command, sizeof(command),
		 "ld -static -e 0 -Ttext 0x400000 --unresolved-symbols=ignore-all -o %s %s", out,
		 path);
	assert_int_equal(system(command), 0);
	*fd = open(out, O_RDONLY);
	assert_true(*fd >= 0);
	unlink(out);
	unlink(path);
	elf = elf_begin(*fd, ELF_C_READ, NULL);
	assert_non_null(elf);
	return elf;
}

/* Every byte of every function; returns how many bytes were compared. */
static size_t compare_all(const struct blob *ko, const struct wrap_result *r)
{
	struct wt_elf e = wt_open(ko), l = { 0 };
	Dwarf_CFI *cfi;
	size_t bytes = 0, n;
	int fd;

	l.elf = link_fixed(ko, &fd);
	assert_int_equal(elf_getshdrnum(l.elf, &l.nsections), 0);
	assert_int_equal(elf_getshdrstrndx(l.elf, &l.shstr), 0);
	l.symtab = wt_find(&l, ".symtab");
	cfi = dwarf_getcfi_elf(l.elf);
	assert_non_null(cfi);
	n = wt_shdr(&l, l.symtab)->sh_size / sizeof(Elf64_Sym);
	for (size_t i = 0; i < n; i++) {
		const Elf64_Sym *sym = wt_symbol(&l, i), *raw = NULL;
		const char *name = wt_symbol_name(&l, i);
		uint32_t start;

		if (ELF64_ST_TYPE(sym->st_info) != STT_FUNC || sym->st_shndx == SHN_UNDEF)
			continue;
		for (size_t k = 0; !raw; k++) /* its offset in the object's section */
			if (strcmp(wt_symbol_name(&e, k), name) == 0)
				raw = wt_symbol(&e, k);
		if (strcmp(wt_section(&e, raw->st_shndx), ".text") == 0)
			start = segment_start(r, GM_SEG_TEXT);
		else if (strcmp(wt_section(&e, raw->st_shndx), ".init.text") == 0)
			start = segment_start(r, GM_SEG_INIT_TEXT);
		else
			continue;
		for (uint64_t k = 0; k < sym->st_size; k++, bytes++)
			compare(cfi, sym->st_value + k,
				row_at(r, start + (uint32_t)(raw->st_value + k)), name);
	}
	dwarf_cfi_end(cfi);
	wt_close(&l);
	close(fd);
	wt_close(&e);
	return bytes;
}

static void test_eh_frame_agrees_with_elfutils(void **state)
{
	static const char retpoline[] = WT_RETPOLINE; /* many words, one string */
	static const char *const flags[] = { WT_PLAIN, retpoline, "-fno-omit-frame-pointer",
					     "-O0",    "-Os",	  "-fno-omit-frame-pointer -O3" };

	(void)state;
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		struct blob ko = wt_compile(wt_sample, flags[i]);
		struct wrap_result r = wt_wrap(&ko, GM_X_OUT);

		assert_in_range(compare_all(&ko, &r), 300, 100000);
		wrap_result_free(&r);
		blob_free(&ko);
	}
}

/* Bytes by which RSP goes down; false: this test does not know. */
static bool effect(const ZydisDecodedInstruction *in, const ZydisDecodedOperand *op, int64_t *down)
{
	bool rsp = in->operand_count && op[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		   op[0].reg.value == ZYDIS_REGISTER_RSP;

	*down = 0;
	switch (in->mnemonic) {
	case ZYDIS_MNEMONIC_PUSH:
	case ZYDIS_MNEMONIC_PUSHFQ: *down = 8; return true;
	case ZYDIS_MNEMONIC_POP:
	case ZYDIS_MNEMONIC_POPFQ: *down = -8; return !rsp;
	case ZYDIS_MNEMONIC_SUB:
	case ZYDIS_MNEMONIC_ADD:
		if (!rsp)
			return true;
		if (op[1].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
			return false;
		*down = op[1].imm.value.s * (in->mnemonic == ZYDIS_MNEMONIC_ADD ? -1 : 1);
		return true;
	case ZYDIS_MNEMONIC_LEAVE: return false;
	default: return !rsp;
	}
}

static bool by_rsp(const struct gm_unwind *u)
{
	return u && u->cfa_rule == GM_CFA_REG && u->cfa_reg == 4;
}

/* Walks a code section; counts the pairs of instructions that were compared. */
static void check_flow(const struct wrap_result *r, const uint8_t *code, size_t n, uint32_t start,
		       size_t *pairs, size_t *jumps, size_t *saves)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction in;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (size_t at = 0; at < n; at += in.length) {
		const struct gm_unwind *u = row_at(r, start + (uint32_t)at), *v;
		int64_t down;

		assert_true(
			ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code + at, n - at, &in, op)));
		if (!by_rsp(u))
			continue;
		if (in.meta.category == ZYDIS_CATEGORY_UNCOND_BR ||
		    in.meta.category == ZYDIS_CATEGORY_COND_BR) {
			int64_t to = (int64_t)(at + in.length) + in.raw.imm[0].value.s;

			/* where no relocation is, the displacement is the jump */
			if (in.raw.imm[0].value.s && to >= 0 && to < (int64_t)n) {
				v = row_at(r, start + (uint32_t)to);
				if (by_rsp(v) && v->cfa_offset != u->cfa_offset)
					fail_msg("jump at 0x%zx: CFA %d, there %d", at,
						 u->cfa_offset, v->cfa_offset);
				++*jumps;
			}
			if (in.meta.category == ZYDIS_CATEGORY_UNCOND_BR)
				continue;
		}
		if (in.meta.category == ZYDIS_CATEGORY_RET || in.mnemonic == ZYDIS_MNEMONIC_UD2 ||
		    in.mnemonic == ZYDIS_MNEMONIC_CALL || in.mnemonic == ZYDIS_MNEMONIC_INT3 ||
		    in.mnemonic == ZYDIS_MNEMONIC_NOP || at + in.length >= n)
			continue; /* may not come back, or fills a gap */
		v = row_at(r, start + (uint32_t)(at + in.length));
		if (!by_rsp(v) || !effect(&in, op, &down))
			continue;
		if (in.mnemonic == ZYDIS_MNEMONIC_PUSH && u->bp_rule == GM_BP_SAME &&
		    op[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    op[0].reg.value == ZYDIS_REGISTER_RBP) {
			/* from here on the caller's RBP is where RSP points */
			assert_int_equal(v->bp_rule, GM_BP_AT_CFA);
			assert_int_equal(v->bp_offset, -v->cfa_offset);
			++*saves;
		}
		if (v->cfa_offset - u->cfa_offset != down)
			fail_msg("at 0x%zx: CFA goes from %d to %d, RSP by %lld", at, u->cfa_offset,
				 v->cfa_offset, (long long)down);
		++*pairs;
	}
}

static void test_orc_agrees_with_the_code(void **state)
{
	struct blob ko = wt_e1000e();
	struct wrap_result r = wt_wrap(&ko, GM_X_OUT);
	struct wt_elf e = wt_open(&ko);
	size_t n, pairs = 0, jumps = 0, saves = 0, starts = 0, text = wt_find(&e, ".text");
	const uint8_t *code = wt_bytes(&e, text, &n);

	(void)state;
	check_flow(&r, code, n, segment_start(&r, GM_SEG_TEXT), &pairs, &jumps, &saves);
	assert_in_range(pairs, 15000, 100000);
	assert_in_range(jumps, 1000, 100000);
	assert_in_range(saves, 100, 10000);
	/* every function starts with the return address at RSP */
	for (size_t i = 0; i < wt_shdr(&e, e.symtab)->sh_size / sizeof(Elf64_Sym); i++) {
		const Elf64_Sym *y = wt_symbol(&e, i);
		const struct gm_unwind *u;

		if (ELF64_ST_TYPE(y->st_info) != STT_FUNC || y->st_shndx != text)
			continue;
		u = row_at(&r, segment_start(&r, GM_SEG_TEXT) + (uint32_t)y->st_value);
		assert_true(by_rsp(u));
		assert_int_equal(u->cfa_offset, 8);
		assert_int_equal(u->bp_rule, GM_BP_SAME);
		starts++;
	}
	assert_in_range(starts, 300, 1000);
	wt_close(&e);
	wrap_result_free(&r);
	blob_free(&ko);
}

/* Is every address after a call a return site, and nothing else? Found by decoding again. */
static void check_return_sites(const char *flags)
{
	struct blob ko = wt_compile(wt_sample, flags);
	struct wrap_result r = wt_wrap(&ko, GM_X_OUT);
	struct wt_elf e = wt_open(&ko);
	const uint32_t *sites = WT_TABLE(&r, retsites);
	uint32_t count = wt_header(&r)->retsites.count, seen = 0;
	static const struct {
		const char *section;
		uint32_t kind;
	} code[] = { { ".text", GM_SEG_TEXT }, { ".init.text", GM_SEG_INIT_TEXT } };

	for (size_t s = 0; s < 2; s++) {
		size_t n;
		const uint8_t *b = wt_bytes(&e, wt_find(&e, code[s].section), &n);
		uint32_t start = segment_start(&r, code[s].kind);
		ZydisDecodedInstruction in;
		ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
		ZydisDecoder d;

		ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
		for (size_t at = 0; at < n; at += in.length) {
			bool found = false;

			assert_true(
				ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, b + at, n - at, &in, op)));
			for (uint32_t i = 0; i < count; i++)
				found |= sites[i] == start + at + in.length;
			if (in.mnemonic == ZYDIS_MNEMONIC_CALL) {
				assert_true(found);
				seen++;
			} else {
				assert_false(found);
			}
		}
	}
	assert_in_range(count, 8, 100);
	/* cleanup_module(), in .exit.text, has none */
	assert_int_equal(seen, count);
	wt_close(&e);
	wrap_result_free(&r);
	blob_free(&ko);
}

static void test_return_sites(void **state)
{
	(void)state;
	check_return_sites(WT_RETPOLINE);
	check_return_sites(WT_PLAIN); /* with raw indirect calls */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_eh_frame_agrees_with_elfutils),
		cmocka_unit_test(test_orc_agrees_with_the_code),
		cmocka_unit_test(test_return_sites),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
