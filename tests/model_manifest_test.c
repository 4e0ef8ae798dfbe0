/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * V1, I17: a manifest comes from an attacker until every record has been looked at. Hostile values
 * go into every field of every table; what is accepted all the same is then used. Manifests lie in
 * buffers of their exact size, so that ASan sees any byte read beyond.
 */
#include "tests/support/check.h"

/* A copy of exactly len bytes. */
static void *exact(const void *bytes, size_t len)
{
	void *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	return copy;
}

/* A world whose guest has loaded the honest module, which is not registered now. */
static struct world *attacked_world(bool views)
{
	struct std_options o = std_default();
	struct world *w = w_create(1);
	struct wmodule *m;

	o.views = views;
	o.policy.chains = 2;
	m = w_add(w, &o);
	expect_ok(guard_unregister(w->guard, m->index, &w->d));
	return w;
}

static enum guard_verdict register_as(struct world *w, const void *manifest, size_t len)
{
	struct wmodule *m = &w->module[0];
	size_t need = guard_work_size(manifest, len, &m->binding.policy);
	struct guard_binding b = m->binding;

	free(m->work);
	m->work_len = need;
	m->work = w_guarded_alloc(need);
	assert_true(fake_ops.digest(w->vmm, manifest, len, b.digest));
	memcpy(&m->id, b.digest, 8);
	return guard_register(w->guard, manifest, len, &b, m->work, m->work_len, &m->index, &w->d);
}

/* Whatever the manifest now says: the calls and jumps of an honest guest and of a hostile one. */
static void use(struct world *w)
{
	struct wmodule *m = &w->module[0];
	unsigned i;

	w_grant_all(w, m);
	if (w_announce(w, 0, m) != GUARD_V_OK)
		return;
	for (i = 0; i < 4; i++) {
		static const enum fn fns[] = { FN_F, FN_D, FN_W, FN_INIT };

		w_thread(w, 0, 0);
		if (w_enter(w, 0, m, fns[i]) != GUARD_V_OK)
			continue;
		w_frame(w, 0, m, fns[i]);
		w->cpu[0].rip = w_fn(m, fns[i], W_FAULT);
		if (w_depart(w, 0, GUARD_CAUSE_EXCEPTION, 14) == GUARD_V_OK)
			w_fetch(w, 0, w_fn(m, fns[i], i & 1 ? W_FAULT : W_FIXUP));
		w_callout(w, 0, m, fns[i], GATE_LEAVE + (i & 1 ? IMP_C : IMP_ASM));
		w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN));
		w_push(w, 0, w_fn(m, fns[i], FN_RET));
		w_x(w, 0, w_gate_x(m, GATE_LEAVE_R11));
		w_x(w, 0, w_gate_x(m, GATE_ENTER_RETURN));
		w_x(w, 0, w_gate_x(m, GATE_LEAVE_RETURN));
		w_fetch(w, 0, w_fn(m, fns[i], 0));
	}
	fake_poke(w->vmm, m->gpa[1] + 0x31, "\x90", 1);
	w_thread(w, 0, 0);
	w_enter(w, 0, m, FN_G);
	fake_poke(w->vmm, m->gpa[1] + 0x31, "\x1f", 1);
}

static void try(struct world *w, const void *manifest, size_t len, unsigned *accepted)
{
	enum guard_verdict v = register_as(w, manifest, len);

	assert_true(v == GUARD_V_OK || v == GUARD_V_BAD_MANIFEST || v == GUARD_V_NOT_BOUND ||
		    v == GUARD_V_NO_ROOM);
	if (v == GUARD_V_BAD_MANIFEST)
		assert_int_equal(w->module[0].work_len, 0);
	if (v != GUARD_V_OK)
		return;
	++*accepted;
	use(w);
	expect_ok(guard_unregister(w->guard, w->module[0].index, &w->d));
	assert_int_equal(fake_frames_of(w->vmm, w->module[0].index), 0);
}

static const uint64_t hostile[] = {
	0,
	1,
	2,
	3,
	4,
	5,
	7,
	8,
	13,
	14,
	16,
	0x7f,
	0x80,
	0xff,
	0x100,
	0x1ff,
	0x200,
	0xfff,
	0x1000,
	0x1001,
	0x2000,
	0x2001,
	0x7fff,
	0x8000,
	0xffff,
	0x10000,
	0x10001,
	0x1fffff,
	0x2000000,
	0x2001000,
	0x7ffffff8,
	0x7fffffff,
	0x80000000,
	0xaaaaaaaa,
	0xfffff000,
	0xfffffff8,
	0xfffffffe,
	0xffffffff,
	0x100000000ull,
	0x8000000000000000ull,
	0xffffffffffffffffull,
};
#define HOSTILE (sizeof(hostile) / sizeof(hostile[0]))

static void every_field(bool views)
{
	struct world *w = attacked_world(views);
	const struct wmodule *m = &w->module[0];
	unsigned accepted = 0, refused = 0, i, k, n;

	for (i = 0; i < mb_nfields; i++) {
		const struct mb_field *f = &mb_fields[i];
		uint32_t count = f->table == MB_TABLES ? 1
						       : mb_table_of(m->manifest, f->table).count;

		for (n = 0; n < count; n += n < 2 || n + 2 >= count ? 1 : (count - n) / 2) {
			for (k = 0; k < HOSTILE + 4; k++) {
				uint8_t *copy = exact(m->manifest, m->len);
				void *record = mb_record(copy, f->table, n);
				uint64_t old = mb_get_field(record, f), value = 0;
				unsigned before = accepted;

				if (k < HOSTILE)
					value = hostile[k];
				else if (k < HOSTILE + 2)
					value = old + (k == HOSTILE ? 1 : (uint64_t)-1);
				else
					value = old + (k == HOSTILE + 2 ? 8 : (uint64_t)-8);
				mb_set_field(record, f, value);
				try(w, copy, m->len, &accepted);
				refused += accepted == before;
				free(copy);
			}
		}
	}
	assert_true(refused > 1000);
	assert_true(accepted > 100);
	w_destroy(w);
}

static void every_field_wrapped(void **state)
{
	(void)state;
	every_field(false);
}

static void every_field_unwrapped(void **state)
{
	(void)state;
	every_field(true);
}

/* Cut short at every length, and longer than it says. */
static void every_length(void **state)
{
	struct world *w = attacked_world(false);
	const struct wmodule *m = &w->module[0];
	size_t len;
	void *copy;

	(void)state;
	for (len = 0; len < m->len; len += len < 1024 ? 1 : 37) {
		copy = exact(m->manifest, len);
		expect(register_as(w, copy, len), GUARD_V_BAD_MANIFEST);
		if (len >= sizeof(struct gm_header)) { /* and saying so itself */
			((struct gm_header *)copy)->total = (uint32_t)len;
			expect(register_as(w, copy, len), GUARD_V_BAD_MANIFEST);
		}
		free(copy);
	}
	copy = calloc(1, m->len + 8);
	memcpy(copy, m->manifest, m->len);
	expect(register_as(w, copy, m->len + 8), GUARD_V_BAD_MANIFEST);
	free(copy);
	/* the largest that may be, and one more byte; nearly all of it is never touched */
	for (len = GM_MAX_TOTAL; len <= GM_MAX_TOTAL + 8; len += 8) {
		copy = calloc(1, len);
		assert_non_null(copy);
		memcpy(copy, m->manifest, m->len);
		((struct gm_header *)copy)->total = (uint32_t)len;
		assert_int_equal(guard_work_size(copy, len, &m->binding.policy) != 0,
				 len == GM_MAX_TOTAL);
		free(copy);
	}
	/* an address that is not aligned */
	copy = calloc(1, m->len + 8);
	memmove((uint8_t *)copy + 4, m->manifest, m->len);
	expect(register_as(w, (uint8_t *)copy + 4, m->len), GUARD_V_BAD_MANIFEST);
	free(copy);
	w_destroy(w);
}

/* Random bytes over random places: seeded, so that a find can be found again. */
static void random_bytes(void **state)
{
	struct world *w = attacked_world(false);
	const struct wmodule *m = &w->module[0];
	uint64_t x = 0x1234567;
	unsigned i, k, accepted = 0;

	(void)state;
	for (i = 0; i < 1500; i++) {
		uint8_t *copy = exact(m->manifest, m->len);

		for (k = 0; k < 1 + i % 3; k++) {
			x = x * 6364136223846793005ull + 1442695040888963407ull;
			copy[(x >> 33) % m->len] = (uint8_t)(x >> 25);
		}
		try(w, copy, m->len, &accepted);
		free(copy);
	}
	assert_true(accepted > 10);
	w_destroy(w);
}

static const struct mb_field *field(const char *name, enum mb_table table)
{
	size_t i;

	for (i = 0; i < mb_nfields; i++)
		if (mb_fields[i].table == table && !strcmp(mb_fields[i].name, name))
			return &mb_fields[i];
	fail_msg("no field %s", name);
	return NULL;
}

struct rule {
	enum mb_table table;
	uint32_t record;
	const char *field;
	uint64_t value;
};

/* What the format forbids, one rule a line. Records are those of the standard module. */
static const struct rule rules[] = {
	{ MB_TABLES, 0, "magic", 0 },
	{ MB_TABLES, 0, "version", 0 },
	{ MB_TABLES, 0, "version", 2 },
	{ MB_TABLES, 0, "x_kind", GM_X_KINDS },
	{ MB_TABLES, 0, "flags", 2 },
	{ MB_TABLES, 0, "reserved", 1 },
	{ MB_TABLES, 0, "segments.count", 0 },
	{ MB_TABLES, 0, "segments.count", GM_MAX_SEGMENTS + 1 },
	{ MB_TABLES, 0, "segments.offset", 0 },
	{ MB_TABLES, 0, "segments.offset", sizeof(struct gm_header) + 4 },
	{ MB_TABLES, 0, "segments.offset", 0xfffffff8 },
	{ MB_TABLES, 0, "gates.count", 0 },
	{ MB_TABLES, 0, "gates.count", GM_MAX_GATES + 1 },
	{ MB_TABLES, 0, "gates.count", GATE_COUNT + 1 },
	{ MB_TABLES, 0, "entries.count", GM_MAX_ENTRIES + 1 },
	{ MB_TABLES, 0, "imports.count", GM_MAX_IMPORTS + 1 },
	{ MB_TABLES, 0, "relocs.count", GM_MAX_RELOCS + 1 },
	{ MB_TABLES, 0, "sites.count", GM_MAX_SITES + 1 },
	{ MB_TABLES, 0, "choices.count", GM_MAX_CHOICES + 1 },
	{ MB_TABLES, 0, "choices.count", 1 },
	{ MB_TABLES, 0, "choice_relocs.count", 0 },
	{ MB_TABLES, 0, "image.count", 0 },
	{ MB_TABLES, 0, "image.count", 0xffffffff },
	{ MB_TABLES, 0, "retsites.count", GM_MAX_RETSITES + 1 },
	{ MB_TABLES, 0, "unwind.count", GM_MAX_UNWIND + 1 },
	{ MB_TABLES, 0, "fixups.count", GM_MAX_FIXUPS + 1 },
	{ MB_TABLES, 0, "jumps.count", GM_MAX_JUMPS + 1 },
	{ MB_TABLES, 0, "privileges.count", GM_MAX_PRIVILEGES + 1 },
	{ MB_SEGMENTS, 0, "segment.kind", GM_SEG_KINDS },
	{ MB_SEGMENTS, 0, "segment.kind", GM_SEG_DATA }, /* no text */
	{ MB_SEGMENTS, 2, "segment.kind", GM_SEG_TEXT }, /* two of them */
	{ MB_SEGMENTS, 2, "segment.kind", GM_SEG_GATES },
	{ MB_SEGMENTS, 2, "segment.kind", GM_SEG_INIT_TEXT },
	{ MB_SEGMENTS, 0, "segment.start", GM_PAGE },
	{ MB_SEGMENTS, 1, "segment.start", 0 },
	{ MB_SEGMENTS, 2, "segment.start", 8 },
	{ MB_SEGMENTS, 3, "segment.size", 0 },
	{ MB_SEGMENTS, 3, "segment.size", GM_PAGE + 1 }, /* the next would overlap */
	{ MB_SEGMENTS, SEG_PERCPU, "segment.size", GM_MAX_PAGES *GM_PAGE },
	{ MB_SEGMENTS, SEG_PERCPU, "segment.size", 0xffffffff },
	{ MB_SEGMENTS, 0, "segment.image", GM_NONE },
	{ MB_SEGMENTS, 1, "segment.image", GM_NONE },
	{ MB_SEGMENTS, 2, "segment.image", GM_NONE },
	{ MB_SEGMENTS, 5, "segment.image", GM_NONE },
	{ MB_SEGMENTS, 0, "segment.image", 0xfffffff0 },
	{ MB_SEGMENTS, SEG_PERCPU, "segment.reserved", 0x80000000 },
	{ MB_SEGMENTS, SEG_PRIVATE, "segment.image", 0x1000000 },
	{ MB_GATES, 3, "gate.offset", 0x20 }, /* overlapping gates */
	{ MB_GATES, 3, "gate.offset", 0x38 },
	{ MB_GATES, 3, "gate.kind", GM_GATE_KINDS },
	{ MB_GATES, 3, "gate.kind", GM_GATE_PAD }, /* an entry without its gate */
	{ MB_GATES, 1, "gate.kind", GM_GATE_PAD }, /* no leave-return */
	{ MB_GATES, 2, "gate.kind", GM_GATE_PAD },
	{ MB_GATES, 0, "gate.kind", GM_GATE_LEAVE_RETURN }, /* two of them */
	{ MB_GATES, 0, "gate.kind", GM_GATE_ENTER_RETURN },
	{ MB_GATES, 3, "gate.x", 14 },
	{ MB_GATES, 3, "gate.x", 255 },
	{ MB_GATES, GATE_LEAVE_RAX, "gate.reg", 16 },
	{ MB_GATES, 3, "gate.reserved", 1 },
	{ MB_GATES, 3, "gate.index", FN_ENTRIES },
	{ MB_GATES, 3, "gate.index", 1 },
	{ MB_GATES, GATE_LEAVE, "gate.index", IMP_COUNT },
	{ MB_ENTRIES, 0, "entry.moff", 0x3000000 },
	{ MB_ENTRIES, 1, "entry.moff", 0 },		      /* not ascending */
	{ MB_ENTRIES, FN_ENTRIES - 1, "entry.moff", 0x4000 }, /* in the gates */
	{ MB_ENTRIES, 0, "entry.headroom", GM_MIN_HEADROOM - 1 },
	{ MB_ENTRIES, 0, "entry.headroom", GM_MAX_HEADROOM + 1 },
	{ MB_ENTRIES, 0, "entry.gate", GM_NONE },
	{ MB_ENTRIES, 0, "entry.gate", GATE_COUNT },
	{ MB_ENTRIES, 0, "entry.gate", GATE_LEAVE },
	{ MB_ENTRIES, 0, "entry.gate", GATE_ENTER + 1 },
	{ MB_ENTRIES, FN_INIT, "entry.flags", 0 }, /* in init text, but not init's */
	{ MB_ENTRIES, FN_INIT, "entry.flags", GM_ENTRY_INIT_CODE },
	{ MB_ENTRIES, FN_INIT, "entry.flags", GM_ENTRY_EXIT },
	{ MB_ENTRIES, 0, "entry.flags", GM_ENTRY_INIT_CALL }, /* outside of it */
	{ MB_ENTRIES, 0, "entry.flags", 8 },		      /* flags that nobody knows */
	{ MB_ENTRIES, FN_INIT, "entry.flags", GM_ENTRY_INIT | 0x80000000 },
	{ MB_IMPORTS, 0, "import.flags", 2 },
	{ MB_IMPORTS, IMP_COUNT - 1, "import.flags", 0x80000000 },
	{ MB_IMPORTS, 0, "import.preserve", 1u << GUARD_RSP },
	{ MB_IMPORTS, 0, "import.preserve", 1u << 16 },
	{ MB_RELOCS, 0, "reloc.type", 3 },
	{ MB_RELOCS, 0, "reloc.kind", GM_TARGET_OUTSIDE },
	{ MB_RELOCS, 0, "reloc.kind", GM_TARGETS },
	{ MB_RELOCS, 0, "reloc.target", SEG_COUNT },
	{ MB_RELOCS, 0, "reloc.reserved", 1 },
	{ MB_RELOCS, 0, "reloc.moff", 0x4fffff },
	{ MB_RELOCS, 1, "reloc.moff", RELOC_RODATA64 },
	{ MB_RELOCS, 1, "reloc.moff", RELOC_RODATA64 + 7 }, /* into the field before */
	{ MB_RELOCS, 0, "reloc.moff", SITE_FENTRY + 4 },    /* into a site */
	{ MB_RELOCS, 0, "reloc.moff", STD_TEXT_SIZE - 4 },  /* eight bytes do not fit */
	{ MB_SITES, 0, "site.size", 0 },
	{ MB_SITES, 0, "site.size", GM_MAX_SITE_BYTES + 1 },
	{ MB_SITES, 0, "site.size", 0x11 }, /* into the next */
	{ MB_SITES, 0, "site.moff", 0x4fffff },
	{ MB_SITES, 1, "site.moff", SITE_FENTRY },
	{ MB_SITES, 0, "site.group", 100 },
	{ MB_SITES, 1, "site.flags", GM_SITE_RUNTIME }, /* in a group */
	{ MB_SITES, 0, "site.flags", 2 },
	{ MB_SITES, 0, "site.flags", 0x8000 },
	{ MB_SITES, 0, "site.count", 0 },
	{ MB_SITES, 0, "site.count", 0x10000 },
	{ MB_SITES, 0, "site.count", 100 },
	{ MB_SITES, 0, "site.first", 100 },
	{ MB_SITES, 0, "site.first", 0xffffffff },
	{ MB_CHOICES, 0, "choice.bytes", 0xffffffff },
	{ MB_CHOICES, 0, "choice.bytes", 0x100000 },
	{ MB_CHOICES, 1, "choice.first_reloc", 100 },
	{ MB_CHOICES, 1, "choice.relocs", 100 },
	{ MB_CHOICES, 1, "choice.relocs", 0xffffffff },
	{ MB_CHOICES, 1, "choice.relocs", 6 },
	{ MB_CHOICE_RELOCS, 0, "reloc.moff", 2 }, /* four bytes do not fit behind */
	{ MB_CHOICE_RELOCS, 0, "reloc.moff", 6 },
	{ MB_CHOICE_RELOCS, 0, "reloc.type", GM_R_64 },
	{ MB_CHOICE_RELOCS, 0, "reloc.type", 9 },
	{ MB_CHOICE_RELOCS, 0, "reloc.kind", GM_TARGETS },
	{ MB_CHOICE_RELOCS, 1, "reloc.target", SEG_COUNT },
	{ MB_CHOICE_RELOCS, 1, "reloc.reserved", 1 },
	{ MB_RETSITES, 0, "retsite", 0x4000 },
	{ MB_RETSITES, 1, "retsite", FN_RET },
	{ MB_RETSITES, 1, "retsite", 0 },
	{ MB_UNWIND, 0, "unwind.cfa_rule", GM_CFA_RULES },
	{ MB_UNWIND, 0, "unwind.cfa_reg", 16 },
	{ MB_UNWIND, 0, "unwind.bp_rule", GM_BP_RULES },
	{ MB_UNWIND, 1, "unwind.moff", 0 },
	{ MB_UNWIND, 0, "unwind.reserved", 0x80 },
	{ MB_FIXUPS, 0, "fixup.moff", 0x4000 },
	{ MB_FIXUPS, 0, "fixup.target", 0x4000 },
	{ MB_FIXUPS, 0, "fixup.kind", GM_FIXUP_KINDS },
	{ MB_FIXUPS, 1, "fixup.regs", 1u << GUARD_RSP },
	{ MB_FIXUPS, 1, "fixup.regs", 1u << 16 },
	{ MB_FIXUPS, 1, "fixup.moff", 0 },
	{ MB_FIXUPS, 0, "fixup.target", FN_W * 0x100 + W_WARN + 3 }, /* a WARN */
	{ MB_FIXUPS, 0, "fixup.regs", 1 },
	{ MB_PRIVILEGES, 0, "privilege.kind", GM_PRIVS },
	{ MB_PRIVILEGES, PRIV_IOPORT, "privilege.first", 0x65 },
	{ MB_PRIVILEGES, PRIV_IOPORT, "privilege.last", 0x10000 },
	{ MB_PRIVILEGES, PRIV_MSR, "privilege.first", 0x11 },
};

static void rules_of_the_format(void **state)
{
	struct world *w = attacked_world(false);
	const struct wmodule *m = &w->module[0];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		const struct rule *r = &rules[i];
		const struct mb_field *f = field(r->field, r->table);
		uint8_t *copy = exact(m->manifest, m->len);
		void *record = mb_record(copy, r->table, r->record);

		assert_int_not_equal(mb_get_field(record, f), r->value);
		mb_set_field(record, f, r->value);
		if (register_as(w, copy, m->len) != GUARD_V_BAD_MANIFEST)
			fail_msg("%s = %#llx in record %u is accepted", r->field,
				 (unsigned long long)r->value, r->record);
		expect_line(w, 0, GUARD_REGISTER, GUARD_V_BAD_MANIFEST);
		free(copy);
	}
	w_destroy(w);
}

/* The other side of each bound: these are fine. */
static const struct rule allowed[] = {
	{ MB_ENTRIES, 0, "entry.headroom", GM_MAX_HEADROOM },
	{ MB_ENTRIES, 0, "entry.flags", GM_ENTRY_INIT },
	{ MB_ENTRIES, FN_INIT, "entry.flags", GM_ENTRY_INIT_CALL | GM_ENTRY_EXIT },
	{ MB_GATES, 0, "gate.x", 13 },
	{ MB_GATES, GATE_LEAVE_RAX, "gate.reg", 15 },
	{ MB_SITES, 0, "site.size", 4 },
	{ MB_SEGMENTS, SEG_PRIVATE, "segment.image", GM_NONE },
	{ MB_SEGMENTS, 3, "segment.size", GM_PAGE },
	{ MB_SEGMENTS, SEG_PERCPU, "segment.size", 240 * GM_PAGE },
	{ MB_PRIVILEGES, PRIV_IOPORT, "privilege.last", 0xffff },
	{ MB_PRIVILEGES, PRIV_MSR, "privilege.last", 0xffffffff },
	{ MB_RELOCS, 1, "reloc.moff", RELOC_RODATA64 + 8 },
	{ MB_IMPORTS, 0, "import.preserve", 0xffff & ~(1u << GUARD_RSP) },
	{ MB_FIXUPS, 1, "fixup.regs", 0xffff & ~(1u << GUARD_RSP) },
	{ MB_UNWIND, 0, "unwind.cfa_reg", 15 },
	{ MB_JUMPS, 0, "jump.moff", 0x4000 }, /* thunks enforce these; the core reads none */
	{ MB_CHOICES, 0, "choice.relocs", 1 },
};

static void bounds_themselves(void **state)
{
	struct world *w = attacked_world(false);
	const struct wmodule *m = &w->module[0];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
		const struct rule *r = &allowed[i];
		uint8_t *copy = exact(m->manifest, m->len);

		mb_set_field(mb_record(copy, r->table, r->record), field(r->field, r->table),
			     r->value);
		if (r->table == MB_SITES) /* its only relocation has to fit */
			((struct gm_choice *)mb_record(copy, MB_CHOICES, 1))->relocs = 0;
		if (register_as(w, copy, m->len) != GUARD_V_OK)
			fail_msg("%s = %#llx is refused", r->field, (unsigned long long)r->value);
		expect_ok(guard_unregister(w->guard, w->module[0].index, &w->d));
		free(copy);
	}
	w_destroy(w);
}

/* Small manifests: no gates at all, no code but text, empty tables. */
static void smallest(void **state)
{
	struct world *w = attacked_world(false);
	static const uint8_t code[16] = { 0xc3 };
	struct mb b;
	void *manifest;
	size_t len;
	unsigned i;

	(void)state;
	for (i = 0; i < 3; i++) {
		mb_init(&b, GM_X_VMCALL, i ? GM_FLAG_VIEWS : 0);
		mb_segment(&b, GM_SEG_TEXT, sizeof(code), code);
		if (i == 2)
			mb_segment(&b, GM_SEG_GATES, 1, NULL);
		if (i == 2)
			mb_gate(&b, GM_GATE_PAD, 0, 0, GM_NONE);
		manifest = mb_finish(&b, &len);
		w->module[0].binding.bound = 0;
		/* a wrapped module without its two return gates is none */
		expect(register_as(w, manifest, len), i ? GUARD_V_OK : GUARD_V_BAD_MANIFEST);
		if (i)
			expect_ok(guard_unregister(w->guard, w->module[0].index, &w->d));
		free(manifest);
		mb_free(&b);
	}
	w_destroy(w);
}

/* Two return gates of a kind in an unwrapped manifest are one too many as well. */
static void views_with_gates(void **state)
{
	struct world *w = attacked_world(false);
	const struct wmodule *m = &w->module[0];
	uint8_t *copy = exact(m->manifest, m->len);
	struct gm_header *h = (struct gm_header *)copy;
	struct gm_gate *g = mb_record(copy, MB_GATES, 0);

	(void)state;
	h->flags = GM_FLAG_VIEWS;
	expect_ok(register_as(w, copy, m->len));
	expect_ok(guard_unregister(w->guard, w->module[0].index, &w->d));
	g[0].kind = GM_GATE_LEAVE_RETURN;
	expect(register_as(w, copy, m->len), GUARD_V_BAD_MANIFEST);
	g[0].kind = GM_GATE_ENTER_RETURN;
	expect(register_as(w, copy, m->len), GUARD_V_BAD_MANIFEST);
	free(copy);
	w_destroy(w);
}

/* A relocation that no choice refers to is looked at like any other. */
static void choice_relocs_of_nobody(void **state)
{
	struct world *w = attacked_world(false);
	const struct wmodule *m = &w->module[0];
	uint8_t *copy = exact(m->manifest, m->len);
	struct gm_choice *c = mb_record(copy, MB_CHOICES, 1);
	struct gm_reloc *r = mb_record(copy, MB_CHOICE_RELOCS, c->first_reloc);

	(void)state;
	assert_int_equal(c->relocs, 1);
	c->relocs = 0;
	expect_ok(register_as(w, copy, m->len));
	expect_ok(guard_unregister(w->guard, w->module[0].index, &w->d));
	r->reserved = 1;
	expect(register_as(w, copy, m->len), GUARD_V_BAD_MANIFEST);
	free(copy);
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_wrapped),
		cmocka_unit_test(every_field_unwrapped),
		cmocka_unit_test(every_length),
		cmocka_unit_test(random_bytes),
		cmocka_unit_test(rules_of_the_format),
		cmocka_unit_test(bounds_themselves),
		cmocka_unit_test(smallest),
		cmocka_unit_test(views_with_gates),
		cmocka_unit_test(choice_relocs_of_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
