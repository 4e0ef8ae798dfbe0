/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Does the checker notice faults in the manifest of a module that was not wrapped? Each plant is one
 * kind; it must be reported under its class. And of random single changes each must be a fault, bad
 * input, or a name that only people read.
 */
#include "tests/support/plant.h"

#include <unistd.h>

#include "check/check.h"

#define CHANGES 600u

static struct plant make(const struct blob *ko)
{
	const struct wrap_options opt = { .name = "test", .views = true };
	struct wrap_result r;
	struct error err;
	struct plant p;

	if (!wrap_module(&opt, "test.ko", ko, &r, &err))
		fail_msg("refused: %s", err.text);
	p = plant_make(ko, &r);
	wrap_result_free(&r);
	return p;
}

/* ---- the kinds; false: no place for it here ---- */

static bool object_byte(struct plant *p)
{
	plant_bytes(&p->w, ".text")[1] ^= 1;
	return true;
}

/* Nothing loads it, yet the file is another one. */
static bool object_comment(struct plant *p)
{
	uint8_t *comment = plant_bytes(&p->w, ".comment");

	return comment && (comment[0] ^= 1, true);
}

static bool entry_moved(struct plant *p)
{
	PLANT_TABLE(p, struct gm_entry, entries)[0].moff++;
	return true;
}

static bool entry_exit(struct plant *p)
{
	struct gm_entry *e = PLANT_TABLE(p, struct gm_entry, entries);

	for (uint32_t i = 0; i < p->h->entries.count; i++)
		if (!e[i].flags)
			return e[i].flags = GM_ENTRY_EXIT, true;
	return false;
}

static bool headroom(struct plant *p)
{
	struct gm_entry *e = PLANT_TABLE(p, struct gm_entry, entries);

	for (uint32_t i = 0; i < p->h->entries.count; i++)
		if (e[i].headroom == GM_MAX_HEADROOM)
			return e[i].headroom = GM_MIN_HEADROOM, true;
	return false;
}

static bool retsite(struct plant *p)
{
	uint32_t *r = PLANT_TABLE(p, uint32_t, retsites);

	for (uint32_t i = 0; i + 1 < p->h->retsites.count; i++)
		if (r[i] + 1 < r[i + 1])
			return r[i]++, true;
	return false;
}

static bool unwind_row(struct plant *p)
{
	PLANT_TABLE(p, struct gm_unwind, unwind)[0].cfa_offset += 8;
	return true;
}

static bool preserves(struct plant *p)
{
	if (!p->h->imports.count)
		return false;
	PLANT_TABLE(p, struct gm_import, imports)[0].preserve ^= 1u << 3;
	return true;
}

static bool import_data(struct plant *p)
{
	if (!p->h->imports.count)
		return false;
	PLANT_TABLE(p, struct gm_import, imports)[0].flags ^= GM_IMPORT_DATA;
	return true;
}

static bool reloc(struct plant *p)
{
	PLANT_TABLE(p, struct gm_reloc, relocs)[0].addend += 8;
	return true;
}

static bool image(struct plant *p)
{
	PLANT_TABLE(p, uint8_t, image)[0] ^= 0x40;
	return true;
}

static bool constants_as_data(struct plant *p)
{
	struct gm_segment *s = PLANT_TABLE(p, struct gm_segment, segments);

	for (uint32_t i = 0; i < p->h->segments.count; i++)
		if (s[i].kind == GM_SEG_RODATA)
			return s[i].kind = GM_SEG_DATA, s[i].image = GM_NONE, true;
	return false;
}

static bool fixup(struct plant *p)
{
	if (!p->h->fixups.count)
		return false;
	PLANT_TABLE(p, struct gm_fixup, fixups)[0].regs ^= 2;
	return PLANT_TABLE(p, struct gm_fixup, fixups)[0].kind == GM_FIXUP_EXTABLE;
}

/* The first site with a content of these bytes. */
static struct gm_site *site_with(struct plant *p, const char *bytes, size_t n,
				 struct gm_choice **choice)
{
	struct gm_site *s = PLANT_TABLE(p, struct gm_site, sites);
	struct gm_choice *c = PLANT_TABLE(p, struct gm_choice, choices);

	for (uint32_t i = 0; i < p->h->sites.count; i++)
		for (uint32_t k = s[i].first; k < s[i].first + s[i].count; k++)
			if (memcmp(PLANT_TABLE(p, uint8_t, image) + c[k].bytes, bytes, n) == 0)
				return *choice = &c[k], &s[i];
	return NULL;
}

static bool ret_content(struct plant *p)
{
	struct gm_choice *c;

	return site_with(p, "\xc3\xcc", 2, &c) &&
	       (PLANT_TABLE(p, uint8_t, image)[c->bytes + 1] = 0x90, true);
}

static bool direct_call(struct plant *p)
{
	struct gm_choice *c;

	/* call *%rax becomes jmp *%rax */
	return site_with(p, "\xff\xd0", 2, &c) &&
	       (PLANT_TABLE(p, uint8_t, image)[c->bytes + 1] = 0xe0, true);
}

static bool content_too_many(struct plant *p)
{
	struct gm_choice *c;
	struct gm_site *s = site_with(p, "\xc3\xcc", 2, &c);

	return s && (s->count++, true);
}

static bool at_run_time(struct plant *p)
{
	struct gm_choice *c;
	struct gm_site *s = site_with(p, "\xc3\xcc", 2, &c);

	return s && (s->flags = GM_SITE_RUNTIME, true);
}

static bool outside_inside(struct plant *p)
{
	struct gm_reloc *r = PLANT_TABLE(p, struct gm_reloc, choice_relocs);

	for (uint32_t i = 0; i < p->h->choice_relocs.count; i++)
		if (r[i].kind == GM_TARGET_OUTSIDE)
			return r[i].kind = GM_TARGET_SEGMENT, true;
	return false;
}

static bool outside_for_import(struct plant *p)
{
	struct gm_reloc *r = PLANT_TABLE(p, struct gm_reloc, choice_relocs);

	for (uint32_t i = 0; i < p->h->choice_relocs.count; i++)
		if (r[i].kind == GM_TARGET_IMPORT)
			return r[i].kind = GM_TARGET_OUTSIDE, r[i].target = 0, true;
	return false;
}

static bool gate_asked(struct plant *p)
{
	PLANT_TABLE(p, struct gm_entry, entries)[0].gate = 0;
	return true;
}

static bool flag_lost(struct plant *p)
{
	p->h->flags = 0;
	return true;
}

#define K(f, class)                                                                                \
	{                                                                                          \
#f, class, f                                                                       \
	}
/* class NULL: bad input, since the core would refuse it */
static const struct {
	const char *what, *class;
	bool (*put)(struct plant *p);
} kinds[] = {
	K(object_byte, "sections"),
	K(object_comment, "sections"),
	K(entry_moved, "entries"),
	K(entry_exit, "entries"),
	K(headroom, "headroom"),
	K(retsite, "return_sites"),
	K(unwind_row, "unwind"),
	K(preserves, "imports"),
	K(import_data, "imports"),
	K(reloc, "relocations"),
	K(image, "image"),
	K(constants_as_data, NULL),
	K(fixup, "fixups"),
	K(ret_content, "sites"),
	K(direct_call, "sites"),
	K(content_too_many, "sites"),
	K(at_run_time, "sites"),
	K(outside_inside, "sites"),
	K(outside_for_import, "sites"),
	K(gate_asked, NULL),
	K(flag_lost, NULL),
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static bool says(const struct check_report *r, const char *class)
{
	for (uint32_t i = 0; i < r->stored_faults; i++)
		if (strcmp(check_keys[r->fault[i].class], class) == 0)
			return true;
	return false;
}

static void plant_all(const struct plant *good, bool *put)
{
	struct check_report r = { 0 };
	struct error err;

	if (plant_check(good, &r, &err) != PLANT_PROVED)
		fail_msg("unchanged, but: %s", r.faults ? r.fault[0].text : err.text);
	check_report_free(&r);
	for (size_t k = 0; k < KINDS; k++) {
		struct plant p = plant_copy(good);
		enum plant_verdict v;

		if (kinds[k].put(&p)) {
			v = plant_check(&p, &r, &err);
			if (!kinds[k].class)
				assert_int_equal(v, PLANT_BAD_INPUT);
			else if (v != PLANT_FAULT || !says(&r, kinds[k].class))
				fail_msg("%s: not reported as %s, but: %s", kinds[k].what,
					 kinds[k].class,
					 v == PLANT_PROVED	? "proved"
					 : v == PLANT_BAD_INPUT ? err.text
								: r.fault[0].text);
			check_report_free(&r);
			put[k] = true;
		}
		plant_free(&p);
	}
}

/* A sample of ours, with constants that are verified and a fixup; then a driver with all tables. */
static void test_plants(void **state)
{
	static const char *const paths[] = { "corpus/views/target.ko", "corpus/views/counter.ko" };
	const char *build = getenv("BUILD");
	bool put[KINDS] = { false };
	char path[512];
	struct error err;

	(void)state;
	for (size_t i = 0; i <= 2; i++) {
		struct blob ko;
		struct plant p;

		snprintf(path, sizeof(path), "%s/%s", build ? build : "build/release",
			 i < 2 ? paths[i] : "");
		if (i == 2)
			ko = wt_e1000e();
		else if (!blob_read(&ko, path, 1 << 24, &err))
			fail_msg("%s", err.text);
		p = make(&ko);
		plant_all(&p, put);
		plant_free(&p);
		blob_free(&ko);
	}
	for (size_t k = 0; k < KINDS; k++)
		if (!put[k])
			fail_msg("no place for %s", kinds[k].what);
}

/* A wrapped module that calls itself unwrapped, and the reverse. */
static void test_wrong_mode(void **state)
{
	struct blob ko = wt_compile(
		"extern long out(long); long f(long n) { return out(n) + 1; }\n", WT_PLAIN);
	struct wrap_result r = wt_wrap(&ko, GM_X_VMMCALL);
	struct plant p = plant_make(&ko, &r), q = make(&ko);
	struct check_report rep;
	struct error err;

	(void)state;
	p.h->flags = GM_FLAG_VIEWS;
	assert_int_equal(plant_check(&p, &rep, &err), PLANT_FAULT);
	assert_true(says(&rep, "sections"));
	check_report_free(&rep);
	/* the manifest of the one with the object of the other */
	free(q.w.data);
	q.w = (struct blob){ r.ko.data, r.ko.size };
	assert_int_equal(plant_check(&q, &rep, &err), PLANT_FAULT);
	check_report_free(&rep);
	q.w.data = NULL;
	plant_free(&p);
	plant_free(&q);
	wrap_result_free(&r);
	blob_free(&ko);
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
	for (uint32_t k = 0; k < p->h->entries.count; k++)
		if (at - (p->h->entries.offset + k * sizeof(struct gm_entry) +
			  offsetof(struct gm_entry, headroom)) <
		    4)
			return true;
	return false;
}

/* Random single bytes of the manifest: nothing may pass unseen but names that people read. */
static void test_random(void **state)
{
	const char *build = getenv("BUILD");
	struct check_report good, r;
	uint64_t seed = 12345;
	unsigned names = 0;
	char path[512];
	struct error err;
	struct blob ko;
	struct plant p;

	(void)state;
	snprintf(path, sizeof(path), "%s/corpus/views/counter.ko", build ? build : "build/release");
	if (!blob_read(&ko, path, 1 << 24, &err))
		fail_msg("%s", err.text);
	p = make(&ko);
	assert_int_equal(plant_check(&p, &good, &err), PLANT_PROVED);
	for (unsigned i = 0; i < CHANGES; i++) {
		struct plant q = plant_copy(&p);
		uint32_t at;
		uint8_t bit;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		at = (uint32_t)((seed >> 33) % q.m.size);
		bit = (uint8_t)(1u << (seed >> 30 & 7));
		q.m.data[at] ^= bit;
		if (plant_check(&q, &r, &err) == PLANT_PROVED) {
			bool x = at - offsetof(struct gm_header, x_kind) < 4;

			/* without gates the kind of X is the guest's own; more headroom is safe */
			if (!is_label(&good, at) && !x && !is_headroom(&p, at))
				fail_msg("bit %02x of byte 0x%x passes unseen", bit, at);
			names++;
		}
		check_report_free(&r);
		plant_free(&q);
	}
	assert_in_range(names, 0, CHANGES / 10);
	check_report_free(&good);
	plant_free(&p);
	blob_free(&ko);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plants),
		cmocka_unit_test(test_wrong_mode),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
