/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * reload: a module goes and comes back (P6), first at its old addresses on other frames, then
 * where the loader places it anew; it is withdrawn in all states (V2). Private memory is wiped in
 * between, and what stood in it starts anew.
 */
#include "corpus/lib/guest.h"
#include "corpus/modules/counter.h"
#include "model/names.h"

GUARDHOUSE("module counter\\n");

#define CALL(function) ENTRY("counter", function)

static unsigned long secret_at;
static uint64_t withdrawn_meanwhile;

static bool hidden(void)
{
	return *(volatile unsigned long *)secret_at == 0;
}

/*
 * Gives every page of the module another frame with the same contents, in the same place. The
 * segments' sizes are not the guest's to know: it moves what is mapped from each base on.
 */
static unsigned move_frames(const struct gh_boot_module *m)
{
	unsigned moved = 0;
	uint64_t cr3 = read_cr3();

	for (unsigned s = 0; s < m->segments; s++) {
		uint64_t next = ~0ull;

		if (!m->base[s])
			continue;
		for (unsigned t = 0; t < m->segments; t++)
			if (m->base[t] > m->base[s] && m->base[t] < next)
				next = m->base[t];
		for (uint64_t va = m->base[s]; va < next; va += PAGE_BYTES) {
			uint64_t *e = page_entry(cr3, va, false);
			void *fresh;

			if (!e || !(*e & PTE_PRESENT))
				break;
			fresh = alloc_pages(1);
			memcpy(fresh, phys_to_virt(*e & PTE_ADDRESS), PAGE_BYTES);
			*e = (*e & ~PTE_ADDRESS) | ((uint64_t)fresh - GH_DIRECT_MAP);
			invlpg(va);
			moved++;
		}
	}
	return moved;
}

static long callout_withdraw(long n)
{
	withdrawn_meanwhile = module_withdraw(module_find("counter"));
	return n;
}

/* P6 as a kernel does it: unloaded here, loaded there. Old entries are gone (I18). */
static void elsewhere(const struct gh_boot_module *m)
{
	uint64_t old_base = m->base[0], old_secret = secret_at;
	void *old_entry = CALL(counter_get);

	report(module_withdraw(m) == GUARD_V_OK, "P6: unloaded");
	if (!module_reload(m)) {
		report(false, "P6: the host loads the module again");
		return;
	}
	report(m->base[0] != old_base && CALL(counter_get) != old_entry,
	       "P6: loaded again, at other addresses");
	/* Nobody guards that place yet: its code runs, as any code of the guest does. */
	report(CALL(counter_check)(COUNTER_SECRET) == 0 && CALL(counter_get)() == -1,
	       "P6: before it is announced, its code runs without the secret");
	report(module_announce(m, m->base) == GUARD_V_OK && module_init("counter") == 0,
	       "P6: announced and started");
	secret_at = CALL(counter_where)();
	report(secret_at != old_secret && hidden(), "P6: its secret lies elsewhere, hidden");
	report(CALL(counter_add)(9) == 9 && CALL(counter_callout)(1) >= 9 &&
		       CALL(counter_check)(COUNTER_SECRET) == 1,
	       "P6: entries and call-outs work");
	report(((long (*)(void))old_entry)() == -1 && CALL(counter_get)() >= 9,
	       "I18: what stands in the old place is ordinary code without the secret");
}

int main(void)
{
	const struct gh_boot_module *m;
	struct attempt a;
	uint64_t bases[GH_MAX_SEGMENTS];

	report_prefix_push("reload");
	m = module_find("counter");
	memcpy(bases, m->base, sizeof(bases));
	report(module_status(m) == (STATUS_REGISTERED | STATUS_ANNOUNCED) ||
		       module_status(m) == STATUS_ANNOUNCED,
	       "the loader has announced the module");
	report(module_init("counter") == 0, "init_module() succeeds");
	secret_at = CALL(counter_where)();
	report(CALL(counter_set)(0x1111) == 0 && CALL(counter_add)(5) == 5,
	       "it holds a new secret and a total");

	report(module_announce(m, bases) == GUARD_V_OK, "the same announcement again is ok");
	report(CALL(counter_get)() == 5, "and changes nothing");
	report(module_withdraw(m) == GUARD_V_OK, "V2: WITHDRAW of an idle module");
	report(module_status(m) == STATUS_REGISTERED, "V2: it is no longer announced");
	report(*(volatile unsigned long *)secret_at != 0x1111,
	       "V2: its private memory was wiped, not given back");
	report(call_refused(CALL(counter_get), 0, 0, 0), "V2: its old entries are refused");
	report(module_withdraw(m) == GUARD_V_OK && module_status(m) == STATUS_REGISTERED,
	       "V2: a second WITHDRAW changes nothing");

	report(move_frames(m) > 2, "P6: its pages move to other frames");
	report(module_announce(m, bases) == GUARD_V_OK, "P6: and are announced");
	report(module_init("counter") == 0, "P6: init_module() runs once per ANNOUNCE");
	report(call_refused(module_symbol("counter", "init_module"), 0, 0, 0),
	       "I18: and not twice");
	report(CALL(counter_get)() == 0 && hidden(), "P6: entries work, with a fresh total");
	report(CALL(counter_check)(COUNTER_SECRET) == 1, "P6: and the registered secret");

	hooks.callout = callout_withdraw;
	a = (struct attempt){ .target = (uint64_t)CALL(counter_callout), .arg = { 1 } };
	report(!attempt(&a) && a.vector == VECTOR_GP && withdrawn_meanwhile == GUARD_V_OK,
	       "V2: WITHDRAW while the module waits: it never comes back");
	hooks.callout = NULL;
	report(module_announce(m, bases) == GUARD_V_OK && module_init("counter") == 0,
	       "P6: and once more");
	report(CALL(counter_add)(3) == 3 && hidden(), "P6: entries work");

	elsewhere(m);
	memcpy(bases, m->base, sizeof(bases));

	report(module_announce(&(struct gh_boot_module){ .id = 42, .segments = m->segments },
			       bases) == GUARD_V_UNKNOWN_MODULE,
	       "an id that nobody registered is unknown");
	report(module_withdraw(m) == GUARD_V_OK, "V2: WITHDRAW for the next attempts");
	bases[0] += PAGE_BYTES;
	report(module_announce(m, bases) != GUARD_V_OK, "I1: a wrong base is refused");
	bases[0] -= PAGE_BYTES;
	((uint8_t *)phys_to_virt(virt_to_phys((void *)bases[0])))[0] ^= 1;
	report(module_announce(m, bases) == GUARD_V_BAD_TEXT, "I6: altered text is refused");
	((uint8_t *)phys_to_virt(virt_to_phys((void *)bases[0])))[0] ^= 1;
	report(module_announce(m, bases) == GUARD_V_OK, "the module as registered is not");
	report_prefix_pop();
	return report_summary();
}
