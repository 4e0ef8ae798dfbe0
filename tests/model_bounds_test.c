/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Each bound of the manifest format alone: a manifest that is sound but for that one thing, so
 * that no other rule can hide a missing one, and next to it the last value that is fine.
 */
#include "tests/support/check.h"

#include <sys/mman.h>

#define SPARE 4096u /* bytes of names, for tables that are put there */

/* A manifest under the knife. */
struct subject {
	struct mb b;
	struct gm_header *h;
	size_t len;
};

static uint8_t *at(struct subject *s, uint32_t offset)
{
	return (uint8_t *)s->h + offset;
}

static void begin(struct subject *s)
{
	static const uint8_t text[0x200];

	mb_init(&s->b, GM_X_VMMCALL, 0);
	mb_segment(&s->b, GM_SEG_TEXT, sizeof(text), text);
	s->b.gates_segment = (int)mb_segment(&s->b, GM_SEG_GATES, 2 * GM_GATE_BYTES, NULL);
	mb_segment(&s->b, GM_SEG_RODATA, 0x100, text);
	mb_segment(&s->b, GM_SEG_DATA, 0x100, NULL);
	mb_gate(&s->b, GM_GATE_LEAVE_RETURN, 5, 0, GM_NONE);
	mb_gate(&s->b, GM_GATE_ENTER_RETURN, 5, 0, GM_NONE);
}

static void finish(struct subject *s)
{
	void *m = mb_finish(&s->b, &s->len);

	/* spare room as names */
	s->h = calloc(1, s->len + SPARE);
	assert_non_null(s->h);
	memcpy(s->h, m, s->len);
	free(m);
	s->h->names.offset = (uint32_t)s->len;
	s->h->names.count = SPARE;
	s->len += SPARE;
	s->h->total = (uint32_t)s->len;
}

static bool sound(const struct subject *s)
{
	return guard_work_size(s->h, s->len, &(struct guard_policy){ .chains = 1 }) != 0;
}

static void done(struct subject *s)
{
	free(s->h);
	mb_free(&s->b);
}

#define fine(s) assert_true(sound(s))
#define bad(s) assert_false(sound(s))

static void tables(void **state)
{
	struct subject s;
	unsigned n;

	(void)state;
	begin(&s);
	finish(&s);
	fine(&s);
	s.h->names.count = SPARE + 1;
	bad(&s);
	s.h->names.offset += 1;
	s.h->names.count = 8;
	bad(&s);
	s.h->names.offset = 0;
	bad(&s);
	done(&s);
	for (n = GM_MAX_PRIVILEGES; n <= GM_MAX_PRIVILEGES + 1; n++) {
		begin(&s);
		while (s.b.table[MB_PRIVILEGES].count < n)
			mb_privilege(&s.b, GM_PRIV_MSR, 1, 1);
		finish(&s);
		assert_int_equal(sound(&s), n == GM_MAX_PRIVILEGES);
		done(&s);
	}
}

static void segments(void **state)
{
	struct gm_segment *seg, more;
	struct subject s;
	uint32_t end;

	(void)state;
	begin(&s);
	mb_retsite(&s.b, 0x1ff);
	finish(&s);
	seg = (void *)at(&s, s.h->segments.offset);
	fine(&s);
	seg[3].size = 0; /* the last one, so that none moves */
	bad(&s);
	seg[3].size = 0x100;
	/* contents beyond the image, by one byte */
	seg[3].image = s.h->image.count - 0x100;
	fine(&s);
	seg[3].image++;
	bad(&s);
	seg[3].image = GM_NONE;
	/* a table of four, though a fifth would follow */
	end = seg[3].start + GM_PAGE;
	more = (struct gm_segment){ .kind = GM_SEG_INIT_TEXT, .start = end, .size = 0x100 };
	memcpy(at(&s, s.h->names.offset), seg, 4 * sizeof(*seg));
	memcpy(at(&s, s.h->names.offset) + 4 * sizeof(*seg), &more, sizeof(more));
	s.h->segments.offset = s.h->names.offset;
	fine(&s);
	*(uint32_t *)at(&s, s.h->retsites.offset) = end;
	bad(&s);
	s.h->segments.count = 5;
	fine(&s);
	done(&s);
}

static void gates(void **state)
{
	struct gm_segment *seg;
	struct subject s;

	(void)state;
	begin(&s);
	finish(&s);
	seg = (void *)at(&s, s.h->segments.offset);
	seg[1].size = 2 * GM_GATE_BYTES - 1;
	bad(&s);
	seg[1].size = 2 * GM_GATE_BYTES;
	fine(&s);
	done(&s);
}

/* The last site and field of the module: nothing behind them that they could run into. */
static void patched_places(void **state)
{
	static const struct {
		uint32_t moff;
		uint16_t size;
		bool ok;
	} sites[] = {
		{ 0x10, 1, true },    { 0x10, 255, true },  { 0x10, 256, false },
		{ 0x10, 0, false },   { 0x1fc, 4, true },   { 0x1fc, 5, false },
		{ 0x2010, 4, true },  { 0x20fc, 5, false }, { 0x3010, 4, false },
		{ 0x4010, 4, false },
	};
	static const struct {
		uint32_t moff;
		bool ok;
	} fields[] = {
		{ 0x1f8, true },   { 0x1f9, false },  { 0x20f8, true },
		{ 0x3000, false }, { 0x5000, false },
	};
	static const uint8_t bytes[256];
	struct subject s;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(sites) / sizeof(sites[0]); i++) {
		begin(&s);
		mb_site(&s.b, sites[i].moff, sites[i].size, 0, GM_NONE);
		mb_choice(&s.b, bytes);
		finish(&s);
		assert_int_equal(sound(&s), sites[i].ok);
		done(&s);
	}
	for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		begin(&s);
		mb_reloc(&s.b, fields[i].moff, GM_R_64, GM_TARGET_SEGMENT, 0, 0);
		finish(&s);
		assert_int_equal(sound(&s), fields[i].ok);
		done(&s);
	}
}

static void choices(void **state)
{
	static const uint8_t bytes[8];
	struct gm_choice *c, two[2] = { { 0, 0, 0 }, { 0, 0, 0 } };
	struct gm_reloc r[2];
	struct gm_site *site;
	struct subject s;
	unsigned n;

	(void)state;
	for (n = GM_MAX_SITE_CHOICES; n <= GM_MAX_SITE_CHOICES + 1; n++) {
		begin(&s);
		mb_site(&s.b, 0x10, 8, 0, GM_NONE);
		while (s.b.table[MB_CHOICES].count < n)
			mb_choice(&s.b, bytes);
		finish(&s);
		assert_int_equal(sound(&s), n == GM_MAX_SITE_CHOICES);
		done(&s);
	}
	begin(&s);
	mb_site(&s.b, 0x10, 8, 0, GM_NONE);
	mb_choice(&s.b, bytes);
	mb_choice_reloc(&s.b, 0, GM_R_32, GM_TARGET_SEGMENT, 0, 0);
	mb_choice_reloc(&s.b, 4, GM_R_32, GM_TARGET_SEGMENT, 0, 0);
	finish(&s);
	fine(&s);
	site = (void *)at(&s, s.h->sites.offset);
	/* a second choice, and a second relocation, that the table does not have */
	c = (void *)at(&s, s.h->names.offset);
	memcpy(c, two, sizeof(two));
	n = s.h->choices.offset;
	s.h->choices.offset = s.h->names.offset;
	site->count = 2;
	bad(&s);
	s.h->choices.count = 2;
	fine(&s);
	s.h->choices.offset = n;
	s.h->choices.count = 1;
	site->count = 1;
	memcpy(r, at(&s, s.h->choice_relocs.offset), sizeof(r));
	memcpy(at(&s, s.h->names.offset), r, sizeof(r));
	s.h->choice_relocs.offset = s.h->names.offset;
	s.h->choice_relocs.count = 1;
	bad(&s);
	s.h->choice_relocs.count = 2;
	fine(&s);
	/* two fields that share bytes */
	((struct gm_reloc *)(void *)at(&s, s.h->names.offset))[1].moff = 3;
	bad(&s);
	done(&s);
}

/* A call's return address and a fixup lie in text, and nowhere else. */
static void places_in_text(void **state)
{
	static const uint32_t outside[] = { 0x200, 0x1000, 0x2010, 0x3010, 0x5000 };
	struct gm_fixup *f;
	struct subject s;
	uint32_t *r;
	size_t i;

	(void)state;
	begin(&s);
	mb_retsite(&s.b, 0x20);
	mb_fixup(&s.b, 0x20, 0x22, GM_FIXUP_WARN, 0);
	mb_fixup(&s.b, 0x30, 0x40, GM_FIXUP_EXTABLE, 1u << GUARD_RAX);
	finish(&s);
	fine(&s);
	r = (void *)at(&s, s.h->retsites.offset);
	f = (void *)at(&s, s.h->fixups.offset);
	for (i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
		uint32_t *const last[] = { &r[0], &f[1].moff, &f[1].target };

		for (size_t k = 0; k < sizeof(last) / sizeof(last[0]); k++) {
			uint32_t old = *last[k];

			*last[k] = outside[i];
			bad(&s);
			*last[k] = old;
		}
	}
	f[0].target = 0x24; /* a WARN goes on behind its ud2 */
	bad(&s);
	f[0].target = 0x22;
	f[0].regs = 1;
	bad(&s);
	f[0].regs = 0;
	fine(&s);
	done(&s);
}

/* Less than a header is not read, whatever it says: the next page is not there. */
static void shorter_than_a_header(void **state)
{
	const struct guard_policy policy = { .chains = 1 };
	uint8_t *map =
		mmap(NULL, 2 * GM_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct gm_header h = { .magic = GM_MAGIC, .version = GM_VERSION };

	(void)state;
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(mprotect(map + GM_PAGE, GM_PAGE, PROT_NONE), 0);
	for (h.total = 0; h.total < sizeof(h); h.total += 8) {
		uint8_t *end = map + GM_PAGE - h.total;

		memcpy(end, &h, h.total);
		assert_int_equal(guard_work_size(end, h.total, &policy), 0);
	}
	munmap(map, 2 * GM_PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables),
		cmocka_unit_test(segments),
		cmocka_unit_test(gates),
		cmocka_unit_test(patched_places),
		cmocka_unit_test(choices),
		cmocka_unit_test(places_in_text),
		cmocka_unit_test(shorter_than_a_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
