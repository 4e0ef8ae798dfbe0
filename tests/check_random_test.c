/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A thousand single changes to gates, relocations and manifest: each is reported, or shown to be
 * inert by an argument that is computed here, never assumed:
 *
 *   label      the byte lies in a name that the checker says only a person reads
 *   headroom   an entry's headroom that the checker has proved to be enough, still
 *   same place the changed relocation leads to the very byte that it led to before
 *
 * A headroom above the need costs an honest guest stack, never privilege.
 */
#include "tests/support/plant.h"

#define CHANGES 1000u

enum region { GATES, THUNKS, RELOCATIONS, MANIFEST, REGIONS };
enum fate { REPORTED, REFUSED, LABEL, HEADROOM, SAME_PLACE, FATES };

static const char *const fate_names[FATES] = { "reported", "refused as bad input", "inert: label",
					       "inert: headroom", "inert: same place" };

/* Fixed sequence (splitmix64): a failure can be repeated. */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

/* Relocations of one loaded section, drawn by their share of all. */
static uint8_t *relocation_byte(struct plant *p, uint64_t *state, Elf64_Rela **record)
{
	Elf64_Ehdr *eh = (void *)p->w.data;
	Elf64_Shdr *s = (void *)(p->w.data + eh->e_shoff);
	uint64_t all = 0, at;

	for (uint32_t pass = 0; pass < 2; pass++) {
		at = pass && all ? draw(state) % all : 0;
		for (uint32_t i = 1; i < eh->e_shnum; i++) {
			if (s[i].sh_type != SHT_RELA || !(s[s[i].sh_info].sh_flags & SHF_ALLOC))
				continue;
			if (!pass) {
				all += s[i].sh_size;
			} else if (at < s[i].sh_size) {
				*record = (Elf64_Rela *)(void *)(p->w.data + s[i].sh_offset) +
					  at / sizeof(Elf64_Rela);
				return p->w.data + s[i].sh_offset + at;
			} else {
				at -= s[i].sh_size;
			}
		}
	}
	fail_msg("no relocations");
	return NULL;
}

static uint8_t *section_byte(struct plant *p, const char *name, uint64_t *state)
{
	return plant_bytes(&p->w, name) + draw(state) % plant_section(&p->w, name)->sh_size;
}

/* Section and offset that a record leads to, 0 if none. */
static uint64_t place(struct plant *p, const Elf64_Rela *r)
{
	const Elf64_Sym *y;

	if (ELF64_R_SYM(r->r_info) >= plant_section(&p->w, ".symtab")->sh_size / sizeof(*y))
		return 0;
	y = plant_symbol(&p->w, (uint32_t)ELF64_R_SYM(r->r_info));
	return y->st_shndx == SHN_UNDEF
		       ? 0
		       : ((uint64_t)y->st_shndx << 48) + y->st_value + (uint64_t)r->r_addend;
}

static bool is_label(const struct check_report *good, uint32_t at)
{
	for (uint32_t i = 0; i < good->stored_labels; i++)
		if (at - good->label[i].offset < good->label[i].size)
			return true;
	return false;
}

static bool is_headroom(const struct plant *p, uint32_t at)
{
	uint32_t first = p->h->entries.offset;

	return at >= first && at - first < p->h->entries.count * sizeof(struct gm_entry) &&
	       (at - first) % sizeof(struct gm_entry) / 4 ==
		       offsetof(struct gm_entry, headroom) / 4;
}

static enum fate change(const struct plant *good, const struct check_report *report,
			uint64_t *state)
{
	enum region region = (enum region)(draw(state) % REGIONS);
	struct plant p = plant_copy(good);
	struct check_report r = { 0 };
	Elf64_Rela *record = NULL, before = { 0 };
	enum fate fate = REPORTED;
	enum plant_verdict v;
	struct error err;
	uint8_t *at, old;

	switch (region) {
	case GATES: at = section_byte(&p, ".guard.gates", state); break;
	case THUNKS: at = section_byte(&p, ".guard.text", state); break;
	case RELOCATIONS:
		at = relocation_byte(&p, state, &record);
		if (record)
			before = *record;
		break;
	default: at = p.m.data + draw(state) % p.m.size; break;
	}
	old = *at;
	if (draw(state) % 2)
		*at ^= (uint8_t)(1u << draw(state) % 8);
	else
		*at += (uint8_t)(1 + draw(state) % 255);
	v = plant_check(&p, &r, &err);
	if (v == PLANT_BAD_INPUT) {
		fate = REFUSED;
		assert_non_null(strstr(err.text, "offset 0x"));
	} else if (v == PLANT_PROVED && record && place(&p, &before) &&
		   place(&p, &before) == place(&p, record) &&
		   ELF64_R_TYPE(before.r_info) == ELF64_R_TYPE(record->r_info) &&
		   before.r_offset == record->r_offset) {
		fate = SAME_PLACE;
	} else if (v == PLANT_PROVED && region == MANIFEST &&
		   is_label(report, (uint32_t)(at - p.m.data))) {
		fate = LABEL;
	} else if (v == PLANT_PROVED && region == MANIFEST &&
		   is_headroom(&p, (uint32_t)(at - p.m.data))) {
		fate = HEADROOM;
	} else if (v == PLANT_PROVED) {
		fail_msg("region %d, byte 0x%zx: %02x instead of %02x was not noticed", region,
			 region == MANIFEST ? (size_t)(at - p.m.data) : (size_t)(at - p.w.data),
			 *at, old);
	} else {
		assert_non_null(strstr(r.fault[0].text, "offset 0x"));
	}
	check_report_free(&r);
	plant_free(&p);
	return fate;
}

static void many(const struct blob *ko, unsigned changes, uint64_t seed)
{
	struct wrap_result w = wt_wrap(ko, GM_X_VMMCALL);
	struct plant good = plant_make(ko, &w);
	unsigned fates[FATES] = { 0 };
	struct check_report report;
	struct error err;

	assert_int_equal(plant_check(&good, &report, &err), PLANT_PROVED);
	for (unsigned i = 0; i < changes; i++)
		fates[change(&good, &report, &seed)]++;
	for (unsigned i = 0; i < FATES; i++)
		print_message("%5u %s\n", fates[i], fate_names[i]);
	check_report_free(&report);
	plant_free(&good);
	wrap_result_free(&w);
}

/* In a sample with private memory and .eh_frame? */
static void test_sample(void **state)
{
	struct blob ko = wt_compile(wt_sample, WT_RETPOLINE);

	(void)state;
	many(&ko, CHANGES / 2, 1);
	blob_free(&ko);
}

/* In a real driver with ORC, jump labels and CRCs? */
static void test_driver(void **state)
{
	struct blob ko = wt_e1000e();

	(void)state;
	many(&ko, CHANGES / 2, 2);
	blob_free(&ko);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sample),
		cmocka_unit_test(test_driver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
