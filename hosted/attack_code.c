// SPDX-License-Identifier: GPL-2.0-only
/* Attacks on the code itself: its mapping, its announcement, its bytes. */
#include <string.h>

#include "hosted/attack.h"
#include "hosted/guest_code.h"

#define PAGE 4096u
#define ANNOUNCE_ROUNDS 100000

static void enter(struct attack *a)
{
	struct guard_cpu cpu;

	attack_begin(a);
	attack_cpu(a, a->stats, &cpu);
	attack_go(a, &cpu);
}

/* The page at gva comes from the attacker's frame, with the very same bytes in it. */
static void remapped(struct attack *a, const char *what, uint64_t gva)
{
	uint64_t pte, mine;

	if (!gva)
		return;
	attack_pte(a, gva, &pte);
	attack_pte(a, a->scratch, &mine);
	hosted_call(a->h, image_code(guest_copy), a->scratch, GH_DIRECT_MAP + (pte & PTE_ADDRESS),
		    PAGE, 0);
	attack_set_pte(a, gva, (pte & ~PTE_ADDRESS) | (a->scratch - GH_DIRECT_MAP));
	enter(a);
	attack_expect(a, what, GUARD_ENTER_CALL, GUARD_V_BAD_MAPPING);
	attack_set_pte(a, gva, pte);
}

static void swapped(struct attack *a, uint64_t text)
{
	uint64_t first, second;

	attack_pte(a, text, &first);
	attack_pte(a, text + PAGE, &second);
	attack_set_pte(a, text, second);
	attack_set_pte(a, text + PAGE, first);
	enter(a);
	attack_expect(a, "two text pages swapped", GUARD_ENTER_CALL, GUARD_V_BAD_MAPPING);
	attack_set_pte(a, text, first);
	attack_set_pte(a, text + PAGE, second);
}

static void e7(struct attack *a)
{
	uint64_t bytes, text;

	remapped(a, "the function's page", attack_body(a, a->stats) & ~(PAGE - 1ull));
	remapped(a, "the gate's page", a->stats & ~(PAGE - 1ull));
	remapped(a, "a page of constants", attack_segment(a, GM_SEG_RODATA, &bytes));
	remapped(a, "a page of private memory", attack_segment(a, GM_SEG_PRIVATE, &bytes));
	text = attack_segment(a, GM_SEG_TEXT, &bytes);
	if (bytes > PAGE)
		swapped(a, text);
}

/* ---- announcements ---- */

static const struct gm_header *manifest(const struct attack *a)
{
	return (const void *)a->h->wrapped.manifest.data;
}

uint64_t attack_module_id(struct attack *a)
{
	uint8_t digest[32];
	uint64_t id;

	manifest_digest(&a->h->wrapped.manifest, digest);
	memcpy(&id, digest, sizeof(id));
	return id;
}

uint64_t attack_announce(struct attack *a, uint64_t module, const uint64_t *base, size_t n)
{
	uint64_t result = GUARD_V_AGAIN;

	hosted_write(a->h, a->scratch, base, n * sizeof(*base));
	for (int i = 0; i < ANNOUNCE_ROUNDS && result == GUARD_V_AGAIN; i++)
		result = hosted_call(a->h, image_code(guest_call_x), GUARD_CALL_ANNOUNCE, module,
				     a->scratch, n);
	return result;
}

static void announced(struct attack *a, const char *what, const uint64_t *base, size_t n,
		      enum guard_verdict verdict)
{
	uint64_t said;

	attack_begin(a);
	said = attack_announce(a, attack_module_id(a), base, n);
	attack_expect(a, what, GUARD_ANNOUNCE, verdict);
	attack_check(a, "the caller was told the verdict", said == verdict);
	enter(a);
	attack_expect(a, "an entry then", GUARD_ENTER_CALL, GUARD_V_UNANNOUNCED);
}

static void i1(struct attack *a)
{
	const struct gm_segment *s =
		(const void *)(a->h->wrapped.manifest.data + manifest(a)->segments.offset);
	size_t n = manifest(a)->segments.count, text = n, rodata = n;
	uint64_t honest[GM_MAX_SEGMENTS], base[GM_MAX_SEGMENTS], copy;

	for (size_t i = 0; i < n; i++) {
		honest[i] = vm_module_base(a->h->vm, a->h->module, (unsigned)i);
		if (s[i].kind == GM_SEG_TEXT && text == n)
			text = i;
		if (s[i].kind == GM_SEG_RODATA && rodata == n)
			rodata = i;
	}
	copy = text < n ? hosted_alloc_pages(a->h, s[text].size) : 0;
	if (!copy) {
		attack_check(a, "no memory for the attacker's code", false);
		return;
	}
	memcpy(base, honest, sizeof(base));
	base[text] = copy;
	hosted_fill(a->h, copy, 0x90, s[text].size);
	announced(a, "the attacker's code under the driver's id", base, n, GUARD_V_BAD_TEXT);

	/* Only the first page is the driver's. */
	hosted_call(a->h, image_code(guest_copy), copy, honest[text], PAGE, 0);
	announced(a, "code of which one page matches", base, n, GUARD_V_BAD_TEXT);

	memcpy(base, honest, sizeof(base));
	base[text] = honest[text] + PAGE;
	announced(a, "text one page further", base, n, GUARD_V_BAD_TEXT);
	if (rodata < n) {
		memcpy(base, honest, sizeof(base));
		base[rodata] = honest[text];
		announced(a, "constants where the text is", base, n, GUARD_V_BAD_TEXT);
	}
	memcpy(base, honest, sizeof(base));
	base[text] = HOSTED_NIC_GVA;
	announced(a, "text in the registers", base, n, GUARD_V_BAD_MAPPING);
	base[text] = 0xffffb00000000000ull;
	announced(a, "text where nothing is mapped", base, n, GUARD_V_BAD_MAPPING);

	/* The loader says it right again; the init segment has been used before. */
	attack_begin(a);
	attack_announce(a, attack_module_id(a), honest, n);
	attack_expect(a, "the true announcement", GUARD_ANNOUNCE, GUARD_V_OK);
}

/* ---- bytes ---- */

enum way { BY_STORE, BY_DEVICE };

/*
 * Eight bytes of the driver are overwritten, at gva by a guest store, or in their frame by the DMA
 * of a card. The next entry must run the verified copy.
 */
static void altered(struct attack *a, const char *what, enum way way, uint64_t gva, uint64_t frame)
{
	static const uint64_t traps = 0xccccccccccccccccull;
	uint64_t was = hosted_get(a->h, frame, 8), reads = a->h->nic.reads;
	bool ran;

	if (way == BY_STORE)
		attack_store(a, gva, traps);
	else
		vm_dma_write(a->h->vm, frame - GH_DIRECT_MAP, &traps, sizeof(traps));
	attack_check(a, "the guest's bytes changed", hosted_get(a->h, frame, 8) == traps);
	attack_begin(a);
	ran = attack_call(a, NULL);
	attack_expect(a, what, GUARD_VERIFY, GUARD_V_BAD_TEXT);
	attack_check(a, "the registered code ran",
		     ran && a->h->nic.reads > reads &&
			     attack_logged(a, GUARD_ENTER_CALL, GUARD_V_OK));
	attack_store(a, frame, was);
}

static void i7(struct attack *a)
{
	uint64_t body = attack_body(a, a->stats), bytes, pte, frame;
	uint64_t rodata = attack_segment(a, GM_SEG_RODATA, &bytes);

	attack_pte(a, body, &pte);
	frame = GH_DIRECT_MAP + (pte & PTE_ADDRESS) + (body & (PAGE - 1));
	altered(a, "text written through an alias", BY_STORE, frame, frame);
	altered(a, "text written by a device", BY_DEVICE, 0, frame);
	attack_set_pte(a, body, pte | PTE_WRITE);
	altered(a, "text written at its own address", BY_STORE, body, frame);
	attack_set_pte(a, body, pte);
	attack_pte(a, a->stats, &pte);
	frame = GH_DIRECT_MAP + (pte & PTE_ADDRESS) + (a->stats & (PAGE - 1));
	altered(a, "the gate's jump written through an alias", BY_STORE, frame + GM_X_BYTES,
		frame + GM_X_BYTES);
	if (!rodata)
		return;
	attack_pte(a, rodata, &pte);
	frame = GH_DIRECT_MAP + (pte & PTE_ADDRESS);
	altered(a, "constants written through an alias", BY_STORE, frame, frame);
}

const struct attack_case hosted_code_attacks[] = {
	{ "E7", "pages of the driver remapped or swapped", e7 },
	{ "I1", "false announcements under the driver's id", i1 },
	{ "I7", "text and constants altered after the announcement", i7 },
	{ NULL, NULL, NULL },
};
