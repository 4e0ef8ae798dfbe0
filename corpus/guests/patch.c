/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * patch: the guest kernel rewrites the module's text at run time. P11: a static key, as legal
 * while the module is idle as while it is suspended. I7: anything else never runs with privilege.
 */
#include "corpus/lib/guest.h"
#include "corpus/modules/counter.h"

GUARDHOUSE("module counter\\n");

#define CALL(function) ENTRY("counter", function)

static unsigned long secret_at;
static uint8_t *site; /* alias of the key's 5 bytes in the direct map */
static uint8_t off[5] = { 0x0f, 0x1f, 0x44, 0x00, 0x00 };
static uint8_t on[5];

static bool hidden(void)
{
	return *(volatile unsigned long *)secret_at == 0;
}

/* key_value() is: NOP5; xor %eax,%eax; return; and the jump's target, mov $1,%eax. */
static bool find_site(void)
{
	uint64_t text = (uint64_t)module_symbol("counter", "text/counter_key");
	const uint8_t *page = (const uint8_t *)(text & ~(PAGE_BYTES - 1));
	static const uint8_t one[] = { 0xb8, 1, 0, 0, 0 };
	int32_t rel;

	for (unsigned i = 0; i + 64 < PAGE_BYTES; i += 16) {
		if (memcmp(page + i, off, 5) || page[i + 5] != 0x31 || page[i + 6] != 0xc0)
			continue;
		for (unsigned j = i + 7; j < i + 48; j++) {
			if (memcmp(page + j, one, sizeof(one)))
				continue;
			rel = (int32_t)(j - i - 5);
			on[0] = 0xe9;
			memcpy(on + 1, &rel, sizeof(rel));
			site = phys_to_virt(virt_to_phys(page + i));
			return true;
		}
	}
	return false;
}

/* As a kernel pokes text: a breakpoint first, then the tail, then the first byte. */
static void poke(const uint8_t *bytes)
{
	volatile uint8_t *p = site;

	p[0] = 0xcc;
	for (unsigned i = 1; i < 5; i++)
		p[i] = bytes[i];
	p[0] = bytes[0];
}

static long callout_on(long n)
{
	poke(on);
	return n;
}

static long callout_off(long n)
{
	poke(off);
	return n;
}

static long callout_half(long n)
{
	site[0] = 0xcc;
	return n;
}

int main(void)
{
	static const uint8_t evil[5] = { 0xe9, 0x10, 0x20, 0x00, 0x00 };
	static const uint8_t breakpoint[5] = { 0xcc, 0xcc, 0xcc, 0xcc, 0xcc };
	uint8_t kept;

	report_prefix_push("patch");
	report(module_init("counter") == 0, "init_module() succeeds");
	secret_at = CALL(counter_where)();
	if (!find_site()) {
		report(false, "the static key's site is found");
		return report_summary();
	}
	report(CALL(counter_key)() == 0, "the key is off");
	poke(on);
	report(CALL(counter_key)() == 1, "P11: switched on while the module is idle");
	poke(off);
	report(CALL(counter_key)() == 0, "P11: and off");
	hooks.callout = callout_on;
	report(CALL(counter_key_callout)(0) == 1, "P11: switched on while the module waits");
	hooks.callout = callout_off;
	report(CALL(counter_key_callout)(0) == 10, "P11: and off");
	hooks.callout = callout_half;
	report(CALL(counter_key_callout)(0) == 0, "P11: a poke in progress changes nothing yet");
	hooks.callout = NULL;
	poke(on);
	report(CALL(counter_key)() == 1, "P11: until it is complete");

	poke(evil);
	report(CALL(counter_key)() == 1, "I7: an illegal jump at the site is not taken over");
	poke(breakpoint);
	report(CALL(counter_key)() == 1, "I7: nor is a row of breakpoints");
	poke(off);
	report(CALL(counter_key)() == 0, "I7: a legal content is, afterwards");
	kept = site[5];
	site[5] ^= 0x55;
	report(CALL(counter_key)() == 0, "I7: a byte beside the site never runs");
	site[5] = kept;
	poke(on);
	report(CALL(counter_key)() == 1 && hidden(), "and the key still works");
	report(CALL(counter_check)(COUNTER_SECRET) == 1, "the secret is what it was");
	report_prefix_pop();
	return report_summary();
}
