/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Modules that were wrapped with a choice of entries: the checker, told the same choice, proves just
 * that one, and reports what differs. And a module with CRCs, which exports to others: each symbol
 * that it needs has one, and one that is gone is reported.
 */
#include "tests/support/plant.h"

static const char *const two[] = { "call_now", "cb_one" };
static const char *const one[] = { "call_now" };
static const char *const three[] = { "cb_one", "call_now", "cb_two", "cb_one" };
static const char *const wrong[] = { "call_now", "cb_one", "no_such_function" };

/* Without private memory: that would have to be whole pages. */
static const char plain[] = "static long cb_one(long n) { return n + 1; }\n"
			    "static long cb_two(long n) { return n + 2; }\n"
			    "long (*const ops[])(long) = { cb_one, cb_two };\n"
			    "long call_now(long n) { return ops[n](n); }\n"
			    "int init_module(void) { return 0; }\n"
			    "void cleanup_module(void) { }\n";

static struct plant wrap_chosen(const char *const *entries, size_t n, bool views)
{
	const struct wrap_options opt = {
		.name = "test", .entries = entries, .entries_count = n, .views = views
	};
	struct blob ko = wt_compile(views ? plain : wt_sample, WT_RETPOLINE);
	struct wrap_result r;
	struct error err;
	struct plant p;

	if (!wrap_module(&opt, "test.ko", &ko, &r, &err))
		fail_msg("refused: %s", err.text);
	p = plant_make(&ko, &r);
	wrap_result_free(&r);
	blob_free(&ko);
	return p;
}

/* Must be proved (class NULL), or at fault under this class with these words. */
static struct check_report judge(const struct plant *p, const char *const *entries, size_t n,
				 const char *class, const char *words)
{
	const struct check_options opt = { entries, n };
	struct check_report r;
	struct error err;
	bool said = false;

	assert_int_not_equal(plant_check_told(p, &opt, &r, &err), PLANT_BAD_INPUT);
	if (!class && r.faults)
		fail_msg("%s: %s", check_keys[r.fault[0].class], r.fault[0].text);
	for (uint32_t i = 0; class && i < r.stored_faults; i++)
		said |= strcmp(check_keys[r.fault[i].class], class) == 0 &&
			strstr(r.fault[i].text, words);
	if (class && !said)
		fail_msg("no fault of class %s that says: %s", class, words);
	return r;
}

static void judged(const struct plant *p, const char *const *entries, size_t n, const char *class,
		   const char *words)
{
	struct check_report r = judge(p, entries, n, class, words);

	check_report_free(&r);
}

static void just_this_choice(void **state)
{
	struct plant p = wrap_chosen(two, 2, false);
	struct check_report r = judge(&p, two, 2, NULL, NULL);

	(void)state;
	/* these two, init and exit */
	assert_int_equal(r.proved[CHECK_ENTRIES], 4);
	assert_int_equal(p.h->entries.count, 4);
	/* cb_two in ops and now, cb_early in init_module, and as an operand of taken() */
	assert_in_range(r.proved[CHECK_RAW_ADDRESSES], 3, 10);
	check_report_free(&r);
	judged(&p, NULL, 0, "addresses", "does not lead to its enter gate");
	judged(&p, one, 1, "entries", "is not among the chosen entries");
	judged(&p, one, 1, "raw_addresses", "was changed");
	judged(&p, three, 4, "entries", "no entry for cb_two, which was chosen");
	judged(&p, three, 4, "addresses", "does not lead to its enter gate");
	judged(&p, wrong, 3, "entries", "no function no_such_function");
	/* chosen, but none: only init and exit */
	judged(&p, two, 0, "entries", "is not among the chosen entries");
	plant_free(&p);

	p = wrap_chosen(two, 0, false);
	judged(&p, two, 0, NULL, NULL);
	judged(&p, two, 2, "entries", "which was chosen");
	plant_free(&p);
}

static void without_gates(void **state)
{
	struct plant p;

	(void)state;
	p = wrap_chosen(one, 1, true);
	judged(&p, one, 1, NULL, NULL);
	judged(&p, NULL, 0, "taken_functions", "no entry");
	judged(&p, two, 2, "entries", "no entry for cb_one, which was chosen");
	plant_free(&p);
}

/* The record of .rela.rodata or .rela.data whose original leads to this function. */
static Elf64_Rela *pointer_to(struct plant *p, const char *table, const char *name)
{
	uint32_t n, m;
	Elf64_Rela *w = plant_relas(&p->w, table, &n), *o = plant_relas(&p->o, table, &m);
	const Elf64_Sym *y;

	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 1;; k++) {
			y = plant_symbol(&p->o, k);
			if (strcmp(plant_symbol_name(&p->o, k), name) != 0)
				continue;
			if (plant_symbol(&p->o, (uint32_t)ELF64_R_SYM(o[i].r_info))->st_value +
					    (uint64_t)o[i].r_addend ==
				    y->st_value &&
			    plant_symbol(&p->o, (uint32_t)ELF64_R_SYM(o[i].r_info))->st_shndx ==
				    y->st_shndx)
				return &w[i];
			break;
		}
	fail_msg("%s: nothing leads to %s", table, name);
	return NULL;
}

static void planted(void **state)
{
	struct plant good = wrap_chosen(two, 2, false), p;
	Elf64_Rela *raw, *gate;

	(void)state;
	/* a raw pointer leads to another function's gate: an entry that nobody chose */
	p = plant_copy(&good);
	raw = pointer_to(&p, ".rela.rodata", "cb_two");
	gate = pointer_to(&p, ".rela.rodata", "cb_one");
	raw->r_info = gate->r_info;
	raw->r_addend = gate->r_addend;
	judged(&p, two, 2, "raw_addresses", "was changed");
	plant_free(&p);
	/* a raw pointer leads past its function's start */
	p = plant_copy(&good);
	pointer_to(&p, ".rela.rodata", "cb_two")->r_addend += 1;
	judged(&p, two, 2, "raw_addresses", "was changed");
	plant_free(&p);
	/* a chosen one is left raw */
	p = plant_copy(&good);
	raw = pointer_to(&p, ".rela.rodata", "cb_two");
	gate = pointer_to(&p, ".rela.rodata", "cb_one");
	gate->r_info = raw->r_info;
	gate->r_addend = raw->r_addend;
	judged(&p, two, 2, "addresses", "does not lead to its enter gate");
	plant_free(&p);
	plant_free(&good);
}

/* ---- CRCs ---- */

#define CRC(name) ".quad 0x1234\\n1: .ascii \\\"" name "\\\"\\n.skip 56 - (. - 1b)\\n"
static const char versions[] = "__asm__(\".pushsection __versions,\\\"a\\\"\\n.balign 32\\n" CRC(
	"out1") CRC("say")
	CRC("shared") ".popsection\\n\");\n"
		      "__asm__(\".pushsection __ksymtab_gpl,\\\"a\\\"\\n.long call_out - .\\n.long 0\\n"
		      ".long 0\\n.popsection\\n.pushsection __kcrctab_gpl,\\\"a\\\"\\n"
		      ".long 0xdeadbeef\\n.popsection\\n\");\n"
		      "extern long out1(long), shared;\n"
		      "extern int say(const char *, ...);\n"
		      "long call_out(long n) { return out1(n) + shared; }\n"
		      "int init_module(void) { return say(\"hi\"); }\n"
		      "void cleanup_module(void) { }\n";

static struct plant wrap_versions(void)
{
	struct blob ko = wt_compile(versions, WT_PLAIN);
	struct wrap_result r = wt_wrap(&ko, GM_X_VMMCALL);
	struct plant p = plant_make(&ko, &r);

	wrap_result_free(&r);
	blob_free(&ko);
	return p;
}

static void every_import_has_its_crc(void **state)
{
	struct plant good = wrap_versions(), p;
	struct check_report r = judge(&good, NULL, 0, NULL, NULL);

	(void)state;
	assert_int_equal(r.proved[CHECK_CRCS], 3);
	check_report_free(&r);
	/* the name of the last record is another one's, in both: what a new import would be */
	p = plant_copy(&good);
	memcpy(plant_bytes(&p.w, "__versions") + 128 + 8, "other", 6);
	memcpy(plant_bytes(&p.o, "__versions") + 128 + 8, "other", 6);
	judged(&p, NULL, 0, "crcs", "symbol shared has no CRC");
	plant_free(&p);
	/* the records are gone, in both */
	p = plant_copy(&good);
	plant_section(&p.w, "__versions")->sh_size = 0;
	plant_section(&p.o, "__versions")->sh_size = 0;
	judged(&p, NULL, 0, "crcs", "symbol out1 has no CRC");
	plant_free(&p);
	/* one is there twice */
	p = plant_copy(&good);
	memcpy(plant_bytes(&p.w, "__versions") + 64, plant_bytes(&p.w, "__versions"), 64);
	memcpy(plant_bytes(&p.o, "__versions") + 64, plant_bytes(&p.o, "__versions"), 64);
	judged(&p, NULL, 0, "crcs", "a second CRC");
	plant_free(&p);
	/* the value of one is not the original's */
	p = plant_copy(&good);
	plant_bytes(&p.w, "__versions")[64] ^= 1;
	judged(&p, NULL, 0, "sections", "__versions");
	plant_free(&p);
	/* nor is that of the symbol which this module gives to others */
	p = plant_copy(&good);
	plant_bytes(&p.w, "__kcrctab_gpl")[0] ^= 1;
	judged(&p, NULL, 0, "sections", "__kcrctab_gpl");
	plant_free(&p);
	plant_free(&good);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(just_this_choice),
		cmocka_unit_test(without_gates),
		cmocka_unit_test(planted),
		cmocka_unit_test(every_import_has_its_crc),
	};

	return cmocka_run_group_tests_name("check_chosen", tests, NULL, NULL);
}
