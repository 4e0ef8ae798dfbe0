/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ANNOUNCE, WITHDRAW, STATUS and the VMM's own hypercalls: anyone at CPL 0 may ask, only the code
 * decides, and nothing is half done.
 */
#include "tests/support/check.h"

static uint64_t announce_at(struct world *w, struct wmodule *m, const uint64_t *base)
{
	uint64_t old[GM_MAX_SEGMENTS], result;

	memcpy(old, m->base, sizeof(old));
	memcpy(m->base, base, sizeof(old));
	result = w_announce(w, 0, m);
	memcpy(m->base, old, sizeof(old));
	return result;
}

static void expect_nothing_taken(struct world *w, struct wmodule *m)
{
	assert_int_equal(fake_frames_of(w->vmm, m->index), 0);
	assert_false(w_info(w, m).announced);
}

/* After an announcement every page has its role, and the copies are what was loaded. */
static void roles_and_copies(void **state)
{
	static const uint8_t roles[SEG_COUNT] = {
		[SEG_TEXT] = GUARD_ROLE_VERIFIED,	 [SEG_GATES] = GUARD_ROLE_GATES,
		[SEG_RODATA] = GUARD_ROLE_VERIFIED,	 [SEG_DATA] = GUARD_ROLE_SEGMENT,
		[SEG_PRIVATE] = GUARD_ROLE_PRIVATE,	 [SEG_INIT] = GUARD_ROLE_VERIFIED,
		[SEG_INIT_RODATA] = GUARD_ROLE_VERIFIED, [SEG_INIT_DATA] = GUARD_ROLE_SEGMENT,
		[SEG_LATE] = GUARD_ROLE_VERIFIED,
	};
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	struct gm_header *h = m->manifest;
	unsigned i;

	(void)state;
	assert_true(w_info(w, m).announced);
	assert_int_equal(w_status(w, 0, m), GUARD_STATUS_REGISTERED | GUARD_STATUS_ANNOUNCED);
	for (i = 0; i < SEG_COUNT; i++) {
		const struct gm_segment *s = mb_record(m->manifest, MB_SEGMENTS, i);
		uint32_t p, first = s->start / GM_PAGE, n = (s->size + GM_PAGE - 1) / GM_PAGE;

		assert_int_equal(w_info(w, m).base[i], m->base[i]);
		for (p = first; p < first + n; p++) {
			if (i == SEG_PERCPU) {
				assert_int_equal(w->vmm->module[0].gpa[p], 0);
				continue;
			}
			assert_int_equal(w->vmm->frame[m->gpa[p] / GM_PAGE].role, roles[i]);
			assert_int_equal(w->vmm->module[0].gpa[p], m->gpa[p]);
			assert_int_equal(w->vmm->module[0].verified[p] != NULL,
					 roles[i] == GUARD_ROLE_GATES ||
						 roles[i] == GUARD_ROLE_VERIFIED);
			if (w->vmm->module[0].verified[p])
				assert_memory_equal(w->vmm->module[0].verified[p],
						    fake_ram(w->vmm, m->gpa[p], GM_PAGE), GM_PAGE);
		}
	}
	/* private memory is the registered image, then zeros */
	{
		const struct gm_segment *s = mb_record(m->manifest, MB_SEGMENTS, SEG_PRIVATE);
		const uint8_t *image = (uint8_t *)m->manifest + h->image.offset + s->image;
		uint8_t *last = w->vmm->module[0].private[s->start / GM_PAGE + 1];

		assert_memory_equal(w->vmm->module[0].private[s->start / GM_PAGE], image, GM_PAGE);
		assert_memory_equal(last, image + GM_PAGE, 0x20);
		for (i = 0x20; i < GM_PAGE; i++)
			assert_int_equal(last[i], 0);
	}
	w_destroy(w);
}

/* Private memory without a registered image starts as zeros, whatever lies beneath. */
static void private_without_image(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct gm_segment *s;
	struct wmodule *m;
	void *manifest;
	size_t len, i;

	(void)state;
	manifest = std_manifest(&o, &len);
	s = mb_record(manifest, MB_SEGMENTS, SEG_PRIVATE);
	s->image = GM_NONE;
	m = w_add_manifest(w, &o, manifest, len);
	for (i = 0; i < 2; i++)
		memset(fake_ram(w->vmm, m->gpa[s->start / GM_PAGE + i], 64), 0x77, 64);
	expect_ok(w_announce(w, 0, m));
	for (i = 0; i < 2ul * GM_PAGE; i++)
		assert_int_equal(
			w->vmm->module[0].private[s->start / GM_PAGE + i / GM_PAGE][i % GM_PAGE],
			0);
	assert_true(w_honest(w, 0, m, FN_F));
	w_destroy(w);
}

/* I1: wrong ids, counts, tables and addresses. */
static void bad_requests(void **state)
{
	static const uint64_t bad[] = { 0,
					1,
					0x400000,
					0x0000800000000000ull,
					0xffff7ffffffff000ull,
					0xffffffffc0000008ull,
					0xfffffffffffff000ull,
					0xffffffffffffe000ull,
					~0ull };
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *m = w_add(w, &o);
	uint64_t n = mb_table_of(m->manifest, MB_SEGMENTS).count, base[GM_MAX_SEGMENTS];
	unsigned i, k;

	(void)state;
	expect_ok(w_withdraw(w, 0, m)); /* never announced: nothing to give back */
	assert_int_equal(w->vmm->calls[FAKE_FRAME_ROLE], 0);
	expect(w_hypercall(w, 0, GUARD_CALL_ANNOUNCE, m->id ^ 1, m->bases_gva, n),
	       GUARD_V_UNKNOWN_MODULE);
	expect(w_hypercall(w, 0, GUARD_CALL_WITHDRAW, m->id ^ 1, 0, 0), GUARD_V_UNKNOWN_MODULE);
	expect(w_hypercall(w, 0, GUARD_CALL_STATUS, m->id ^ 1, 0, 0), GUARD_V_UNKNOWN_MODULE);
	assert_int_equal(w_status(w, 0, m), GUARD_STATUS_REGISTERED);
	for (i = 0; i < n; i++)
		w_set_word(w, 0, m->bases_gva + 8 * i, m->base[i]);
	expect(w_hypercall(w, 0, GUARD_CALL_ANNOUNCE, m->id, m->bases_gva, n - 1),
	       GUARD_V_BAD_MAPPING);
	expect(w_hypercall(w, 0, GUARD_CALL_ANNOUNCE, m->id, m->bases_gva, n + 1),
	       GUARD_V_BAD_MAPPING);
	expect(w_hypercall(w, 0, GUARD_CALL_ANNOUNCE, m->id, m->bases_gva, ~0ull),
	       GUARD_V_BAD_MAPPING);
	expect(w_hypercall(w, 0, GUARD_CALL_ANNOUNCE, m->id, m->bases_gva + 4, n),
	       GUARD_V_BAD_MAPPING);
	expect(w_hypercall(w, 0, GUARD_CALL_ANNOUNCE, m->id, W_KERNEL_DATA + 2 * GM_PAGE - 16, n),
	       GUARD_V_BAD_MAPPING);
	expect(w_hypercall(w, 0, GUARD_CALL_ANNOUNCE, m->id, 0x1000, n), GUARD_V_BAD_MAPPING);
	expect(w_hypercall(w, 0, GUARD_CALL_ANNOUNCE, m->id, ~7ull, n), GUARD_V_BAD_MAPPING);
	expect(w_hypercall(w, 0, GUARD_CALL_ANNOUNCE, m->id, 0xfffffffffffff008ull, n),
	       GUARD_V_BAD_MAPPING);
	for (k = 0; k < n; k++)
		for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			if (k == SEG_PERCPU || (bad[i] == 0 && k >= SEG_INIT))
				continue;
			memcpy(base, m->base, sizeof(base));
			base[k] = bad[i];
			expect(announce_at(w, m, base), GUARD_V_BAD_MAPPING);
			expect_nothing_taken(w, m);
		}
	expect_ok(w_announce(w, 0, m));
	w_destroy(w);
}

/* Every page must map to plain RAM that nobody owns. */
static void bad_pages(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *other = w_ready(w, &o), *m = w_add(w, &o);
	uint32_t pages = 0, p;
	unsigned i;

	(void)state;
	for (i = 0; i < SEG_PERCPU; i++) {
		const struct gm_segment *s = mb_record(m->manifest, MB_SEGMENTS, i);

		pages = s->start / GM_PAGE + (s->size + GM_PAGE - 1) / GM_PAGE;
	}
	for (p = 0; p < pages; p++) {
		uint64_t *pte = fake_pte(w->vmm, w->cr3, w_moff(m, p * GM_PAGE)), old = *pte;

		*pte = 0;
		expect(w_announce(w, 0, m), GUARD_V_BAD_MAPPING);
		expect_nothing_taken(w, m);
		*pte = FAKE_MMIO | PTE_P | PTE_W;
		/* the other module's bound device; anything else there is no RAM either */
		expect(w_announce(w, 0, m), GUARD_V_BAD_MAPPING);
		*pte = (FAKE_MMIO + 0x700000) | PTE_P | PTE_W;
		expect(w_announce(w, 0, m), GUARD_V_BAD_MAPPING);
		*pte = other->gpa[0] | PTE_P | PTE_W; /* I9: by frame */
		expect(w_announce(w, 0, m), GUARD_V_OVERLAP);
		expect_nothing_taken(w, m);
		*pte = old;
	}
	/* two pages of its own on one frame: each may be what is registered there, not both */
	{
		uint64_t *pte = fake_pte(w->vmm, w->cr3, w_seg(m, SEG_DATA, 0)), old = *pte;

		*pte = m->gpa[0] | PTE_P | PTE_W;
		expect(w_announce(w, 0, m), GUARD_V_OVERLAP);
		expect_nothing_taken(w, m);
		*pte = old;
	}
	expect_ok(w_announce(w, 0, m));
	w_destroy(w);
}

/* overlap by address: with another module, with its own other segments. */
static void overlap_by_address(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *other = w_ready(w, &o), *m = w_add(w, &o);
	uint64_t base[GM_MAX_SEGMENTS], fresh = fake_new_cr3(w->vmm, 0);
	unsigned i, k;

	(void)state;
	/* in an address space where the same addresses hold this module's frames */
	for (i = 0; i < SEG_PERCPU; i++) {
		const struct gm_segment *s = mb_record(m->manifest, MB_SEGMENTS, i);

		for (k = 0; k < (s->size + GM_PAGE - 1) / GM_PAGE; k++)
			fake_map(w->vmm, fresh, other->base[i] + k * GM_PAGE,
				 m->gpa[s->start / GM_PAGE + k], PTE_P | PTE_W);
	}
	for (i = 0; i < 2; i++)
		fake_map(w->vmm, fresh, W_KERNEL_DATA + i * GM_PAGE,
			 fake_walk(w->vmm, w->cr3, W_KERNEL_DATA + i * GM_PAGE).gpa, PTE_P | PTE_W);
	memcpy(base, m->base, sizeof(base));
	memcpy(m->base, other->base, sizeof(base));
	m->base[SEG_PERCPU] = base[SEG_PERCPU];
	w->cr3 = w->cpu[0].cr3 = fresh;
	w_load(w, m);
	expect(w_announce(w, 0, m), GUARD_V_OVERLAP);
	expect_nothing_taken(w, m);
	/* gone there, it may lie there */
	expect_ok(w_withdraw(w, 0, other));
	expect_ok(w_announce(w, 0, m));
	w_destroy(w);
}

/* I6: every byte of everything that is verified counts, up to the end of its last page. */
static void every_byte(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *m = w_add(w, &o);
	uint32_t changed = 0;
	unsigned i;

	(void)state;
	for (i = 0; i < SEG_PERCPU; i++) {
		const struct gm_segment *s = mb_record(m->manifest, MB_SEGMENTS, i);
		uint32_t bytes = (s->size + GM_PAGE - 1) & ~(GM_PAGE - 1), off;

		if (s->kind == GM_SEG_DATA || s->kind == GM_SEG_PRIVATE ||
		    s->kind == GM_SEG_INIT_DATA)
			continue;
		for (off = 0; off < bytes; off += off < s->size || off % 256 > 250 ? 1 : 61) {
			uint32_t moff = s->start + off;
			uint64_t gpa = m->gpa[moff / GM_PAGE] + moff % GM_PAGE;
			uint8_t *ram = fake_ram(w->vmm, gpa, 1);
			uint64_t result;

			*ram ^= 0x21;
			result = w_announce(w, 0, m);
			*ram ^= 0x21;
			/* an address outside may be any: the operand of the static call, and of the
			 * leave gates whose import no second field names */
			if (result == GUARD_V_OK) {
				bool site = moff > SITE_STATIC && moff < SITE_STATIC + 5;
				bool jmp = i == SEG_GATES && off % 16 >= 4 && off % 16 < 8 &&
					   (off / 16 == GATE_LEAVE + IMP_ASM ||
					    off / 16 == GATE_LEAVE + IMP_NONE);

				if (!site && !jmp)
					fail_msg("segment %u offset %#x may be changed", i, off);
				expect_ok(w_withdraw(w, 0, m));
				continue;
			}
			expect(result, GUARD_V_BAD_TEXT);
			changed++;
			if (changed % 512 == 0)
				expect_nothing_taken(w, m);
		}
	}
	assert_true(changed > STD_TEXT_SIZE);
	expect_ok(w_announce(w, 0, m));
	w_destroy(w);
}

/* I1: with one wrong base (all else as loaded), internal relocations tell. */
static void wrong_base(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *m = w_add(w, &o);
	unsigned i;

	(void)state;
	for (i = 0; i < SEG_COUNT; i++) {
		uint64_t base[GM_MAX_SEGMENTS];
		const struct gm_segment *s = mb_record(m->manifest, MB_SEGMENTS, i);
		uint32_t k;

		memcpy(base, m->base, sizeof(base));
		base[i] += i == SEG_PERCPU ? 8 : 0x10000;
		for (k = 0; i != SEG_PERCPU && k < (s->size + GM_PAGE - 1) / GM_PAGE; k++)
			fake_map(w->vmm, w->cr3, base[i] + k * GM_PAGE,
				 m->gpa[s->start / GM_PAGE + k], PTE_P | PTE_W);
		if (i == SEG_PRIVATE || i == SEG_INIT_DATA || i == SEG_LATE) {
			/* nothing in the text knows where these lie: the loader may say anything */
			expect_ok(announce_at(w, m, base));
			expect_ok(w_withdraw(w, 0, m));
			continue;
		}
		expect(announce_at(w, m, base), GUARD_V_BAD_TEXT);
		expect_nothing_taken(w, m);
	}
	w_destroy(w);
}

/* I9: a data import must not resolve into what is verified, private or a device, of any module. */
static void data_imports(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *other = w_ready(w, &o), *m = w_add(w, &o);
	const struct {
		uint64_t at;
		bool ok;
	} targets[] = {
		{ w_seg(other, SEG_TEXT, 0x10), false },
		{ w_seg(other, SEG_RODATA, 0), false },
		{ w_seg(other, SEG_PRIVATE, 0x20), false },
		{ w_seg(other, SEG_DATA, 0x20), true }, /* ordinary memory, even if exported */
		{ w_seg(m, SEG_TEXT, 0), false },
		{ w_seg(m, SEG_PRIVATE, 0), false },
		{ FAKE_DIRECT_MAP + other->gpa[0], false }, /* by another address */
		{ W_KERNEL_DATA + 0x20, true },
		{ 0xffffc90000ff0000ull, false }, /* mapped to the other module's device */
		{ 0xffffc90000fe0000ull, true },  /* mapped to nothing */
	};
	size_t i;

	(void)state;
	fake_map(w->vmm, w->cr3, 0xffffc90000ff0000ull, FAKE_MMIO, PTE_P | PTE_W);
	for (i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		uint64_t value = targets[i].at + 0x18;

		fake_copy_in(w->vmm, w->cr3, w_moff(m, RELOC_IMPORT_64), &value, 8);
		value = targets[i].at;
		fake_copy_in(w->vmm, w->cr3, w_seg(m, SEG_RODATA, 0x28), &value, 8);
		if (targets[i].ok) {
			expect_ok(w_announce(w, 0, m));
			expect_ok(w_withdraw(w, 0, m));
		} else {
			expect(w_announce(w, 0, m), GUARD_V_BAD_TEXT);
			expect_nothing_taken(w, m);
		}
	}
	/* two fields of one import that disagree */
	{
		uint64_t value = W_KERNEL_DATA + 0x30;

		fake_copy_in(w->vmm, w->cr3, w_seg(m, SEG_RODATA, 0x28), &value, 8);
	}
	expect(w_announce(w, 0, m), GUARD_V_BAD_TEXT);
	w_destroy(w);
}

/* A module that is announced onto what another one's data import has been pointing at. */
static void imported_memory_becomes_private(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *m = w_add(w, &o), *late = w_add(w, &o);
	uint64_t value = w_seg(late, SEG_PRIVATE, 0x20) + 0x18;

	(void)state;
	fake_copy_in(w->vmm, w->cr3, w_moff(m, RELOC_IMPORT_64), &value, 8);
	value -= 0x18;
	fake_copy_in(w->vmm, w->cr3, w_seg(m, SEG_RODATA, 0x28), &value, 8);
	expect_ok(w_announce(w, 0, m)); /* nobody's yet */
	expect(w_announce(w, 0, late), GUARD_V_BAD_TEXT);
	expect_nothing_taken(w, late);
	w_destroy(w);
}

/* Bounded work: every call does a bit, says `again`, and another request meanwhile is `busy`. */
static void bounded_work(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(2);
	struct wmodule *m;
	uint64_t n, calls = 0, worst = 0;
	unsigned i;

	(void)state;
	o.text_pages = 64;
	m = w_add(w, &o);
	n = mb_table_of(m->manifest, MB_SEGMENTS).count;
	for (i = 0; i < n; i++)
		w_set_word(w, 0, m->bases_gva + 8 * i, m->base[i]);
	for (;;) {
		uint64_t result;

		fake_forget(w->vmm);
		result = w_hypercall(w, calls & 1, GUARD_CALL_ANNOUNCE, m->id, m->bases_gva, n);
		worst = w->vmm->total > worst && result == GUARD_V_AGAIN ? w->vmm->total : worst;
		calls++;
		if (result == GUARD_V_OK)
			break;
		expect(result, GUARD_V_AGAIN);
		expect_line(w, 0, GUARD_ANNOUNCE, GUARD_V_AGAIN);
		assert_false(w->d.inject_gp);
		/* the table was read at the first call: changing it changes nothing */
		w_set_word(w, 0, m->bases_gva, 0x1234);
		expect(w_hypercall(w, 0, GUARD_CALL_ANNOUNCE, m->id, m->bases_gva + 8, n),
		       GUARD_V_BUSY);
		expect(w_hypercall(w, 0, GUARD_CALL_ANNOUNCE, m->id, m->bases_gva, n - 1),
		       GUARD_V_BUSY);
		/* nothing means anything before the end */
		expect_nothing_taken(w, m);
		w_x(w, 0, w_gate_x(m, GATE_ENTER + FN_F));
		assert_true(w->d.foreign);
		assert_true(calls < 1000);
	}
	assert_true(calls > 4);
	assert_true(worst < 2000);
	assert_true(w_honest(w, 0, m, FN_F));
	w_destroy(w);
}

/* Between the calls the guest changes bytes or mappings: what was taken is what is proved. */
static void changes_meanwhile(void **state)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *m;
	unsigned at, kind, i;

	(void)state;
	o.text_pages = 40;
	m = w_add(w, &o);
	for (kind = 0; kind < 4; kind++)
		for (at = 1; at < 12; at++) {
			uint64_t n = mb_table_of(m->manifest, MB_SEGMENTS).count, result;
			uint64_t *pte = fake_pte(w->vmm, w->cr3, w_fn(m, FN_F, 0)), old = *pte;
			unsigned calls = 0;

			for (i = 0; i < n; i++)
				w_set_word(w, 0, m->bases_gva + 8 * i, m->base[i]);
			do {
				if (++calls == at) {
					if (kind == 0)
						*pte = 0;
					else if (kind == 1)
						*pte = fake_alloc(w->vmm, 1) | PTE_P | PTE_W;
					else if (kind == 2)
						fake_poke(w->vmm, m->gpa[0] + 3, "\xee", 1);
				}
				result = w_hypercall(w, 0, GUARD_CALL_ANNOUNCE, m->id, m->bases_gva,
						     n);
			} while (result == GUARD_V_AGAIN);
			if (result == GUARD_V_OK) {
				/* verified copies hold the registered bytes, whatever lies there */
				assert_int_equal(w->vmm->module[0].verified[0][3], 21);
				assert_true(kind >= 2 || calls < at);
			} else {
				assert_int_equal(fake_frames_of(w->vmm, m->index), 0);
			}
			*pte = old;
			fake_poke(w->vmm, m->gpa[0] + 3, "\x15", 1);
			w_withdraw(w, 0, m);
			expect_nothing_taken(w, m);
		}
	w_destroy(w);
}

/* The same base again is ok without effect; elsewhere is busy while inside, and moves otherwise. */
static void again_and_elsewhere(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];

	(void)state;
	expect_ok(w_enter(w, 1, m, FN_F));
	w_frame(w, 1, m, FN_F);
	fake_forget(w->vmm);
	expect_ok(w_announce(w, 0, m));
	assert_int_equal(w->vmm->calls[FAKE_FRAME_ROLE] + w->vmm->calls[FAKE_VERIFIED_FILL], 0);
	expect_view(w, 1, m);
	w_move(w, m, 0x800000);
	expect(w_announce(w, 0, m), GUARD_V_BUSY);
	expect(w_withdraw(w, 0, m), GUARD_V_BUSY);
	expect_view(w, 1, m);
	w_move(w, m, (uint64_t)-0x800000);
	expect_ok(w_callout(w, 1, m, FN_F, GATE_LEAVE));
	w_move(w, m, 0x800000);
	expect_ok(w_announce(w, 0, m)); /* nothing runs: its records are dropped */
	assert_int_equal(w_info(w, m).suspended, 0);
	w_thread(w, 1, 1);
	assert_true(w_honest(w, 1, m, FN_F));
	w_destroy(w);
}

/* WITHDRAW: records, then execute permission, then private memory, then its frames. */
static void withdraw_in_order(void **state)
{
	struct world *w = w_simple(2, NULL);
	struct wmodule *m = &w->module[0];
	const struct gm_segment *s = mb_record(m->manifest, MB_SEGMENTS, SEG_PRIVATE);
	uint8_t *private = w->vmm->module[0].private[s->start / GM_PAGE];
	int last_executable = -1, first_wipe = 1 << 20, last_wipe = -1, first_hidden = 1 << 20;
	size_t i;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_callout(w, 0, m, FN_F, GATE_LEAVE));
	memset(private, 0x5e, 64); /* a secret */
	fake_forget(w->vmm);
	expect_ok(w_withdraw(w, 1, m));
	for (i = 0; i < w->vmm->njournal; i++) {
		const struct fake_call *c = &w->vmm->journal[i];

		if (c->op == FAKE_PRIVATE_FILL) {
			assert_int_equal(c->arg, 0);
			first_wipe = (int)i < first_wipe ? (int)i : first_wipe;
			last_wipe = (int)i;
		}
		if (c->op != FAKE_FRAME_ROLE)
			continue;
		if (!w->vmm->module[0].private[c->page])
			last_executable = (int)i;
		else if ((int)i < first_hidden)
			first_hidden = (int)i;
	}
	assert_true(last_executable >= 0 && last_executable < first_wipe);
	assert_true(first_wipe < first_hidden);
	assert_true(last_wipe >= 0);
	for (i = 0; i < 64; i++)
		assert_int_equal(private[i], 0);
	expect_nothing_taken(w, m);
	assert_int_equal(w_info(w, m).suspended, 0);
	assert_int_equal(w_status(w, 0, m), GUARD_STATUS_REGISTERED);
	/* its addresses are remembered; the record is gone */
	expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_UNANNOUNCED);
	expect(w_x(w, 0, w_gate_x(m, GATE_LEAVE)), GUARD_V_UNANNOUNCED);
	expect(w_x(w, 0, w_gate(m, 0) + 1), GUARD_V_BAD_SITE);
	fake_forget(w->vmm);
	expect_ok(w_withdraw(w, 1, m)); /* once more is harmless */
	assert_int_equal(w->vmm->calls[FAKE_PRIVATE_FILL] + w->vmm->calls[FAKE_FRAME_ROLE], 0);
	expect_ok(w_announce(w, 0, m)); /* P6 */
	w_thread(w, 0, 0);
	assert_true(w_honest(w, 0, m, FN_F));
	assert_int_equal(w->vmm->module[0].private[0] == NULL, 1);
	assert_memory_not_equal(private, "\0\0\0\0\0\0\0\0", 8); /* the image is back */
	w_destroy(w);
}

/* P6: unload, reload elsewhere, enter; what lay at the old place is nobody's. */
static void reload_elsewhere(void **state)
{
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	uint64_t old_gate = w_gate_x(m, GATE_ENTER + FN_F);
	struct guard_cpu out;

	(void)state;
	expect_ok(w_enter(w, 0, m, FN_F));
	w_frame(w, 0, m, FN_F);
	expect_ok(w_callout(w, 0, m, FN_F, GATE_LEAVE));
	out = w->cpu[0];
	expect_ok(w_withdraw(w, 0, m));
	w_move(w, m, 0x40000000 - 0x30000000);
	expect_ok(w_announce(w, 0, m));
	/* the remembered word leads to no gate any more */
	w_x(w, 0, old_gate);
	assert_true(w->d.foreign);
	expect_u(w, 0);
	w->cpu[0] = out;
	expect(w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN)), GUARD_V_NO_RECORD);
	w_thread(w, 0, 0);
	assert_true(w_honest(w, 0, m, FN_F));
	w_destroy(w);
}

/* Numbered calls: CPL 0 and 64-bit only; every other number is the VMM's, and untouched. */
static void other_hypercalls(void **state)
{
	static const uint64_t numbers[] = { 0, 1, 0x5fff, 0x6003, 0x100006000ull, ~0ull, 0x4b564d };
	struct world *w = w_simple(1, NULL);
	struct wmodule *m = &w->module[0];
	struct guard_cpu before;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		w->cpu[0].gpr[GUARD_RAX] = numbers[i];
		w->cpu[0].gpr[GUARD_RBX] = m->id;
		w->cpu[0].rip = W_HYPERCALL;
		before = w->cpu[0];
		w_x(w, 0, W_HYPERCALL);
		assert_true(w->d.foreign);
		assert_false(w->d.inject_gp);
		assert_memory_equal(&w->cpu[0], &before, sizeof(before));
	}
	for (i = 0; i < 3; i++) {
		w->cpu[0].gpr[GUARD_RAX] = GUARD_CALL_ANNOUNCE + i;
		w->cpu[0].cpl = 3;
		expect(w_x(w, 0, W_HYPERCALL), GUARD_V_BAD_MODE);
		assert_true(w->d.inject_gp);
		assert_int_equal(w->cpu[0].gpr[GUARD_RAX], GUARD_CALL_ANNOUNCE + i);
		w->cpu[0].cpl = 0;
		w->cpu[0].mode = 0;
		expect(w_x(w, 0, W_HYPERCALL), GUARD_V_BAD_MODE);
		w->cpu[0].mode = GUARD_MODE_64;
		assert_true(w_info(w, m).announced);
	}
	/* a call that is carried out goes on behind its X, with a result in RAX alone */
	w->cpu[0].gpr[GUARD_RAX] = GUARD_CALL_STATUS;
	before = w->cpu[0];
	w_x(w, 0, W_HYPERCALL);
	before.rip = W_HYPERCALL + 3;
	before.gpr[GUARD_RAX] = GUARD_STATUS_REGISTERED | GUARD_STATUS_ANNOUNCED;
	assert_memory_equal(&w->cpu[0], &before, sizeof(before));
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(roles_and_copies),
		cmocka_unit_test(private_without_image),
		cmocka_unit_test(bad_requests),
		cmocka_unit_test(bad_pages),
		cmocka_unit_test(overlap_by_address),
		cmocka_unit_test(every_byte),
		cmocka_unit_test(wrong_base),
		cmocka_unit_test(data_imports),
		cmocka_unit_test(imported_memory_becomes_private),
		cmocka_unit_test(bounded_work),
		cmocka_unit_test(changes_meanwhile),
		cmocka_unit_test(again_and_elsewhere),
		cmocka_unit_test(withdraw_in_order),
		cmocka_unit_test(reload_elsewhere),
		cmocka_unit_test(other_hypercalls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
