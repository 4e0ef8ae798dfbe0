/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * late: a module that the loader only placed; the guest announces it itself. Until then nothing
 * about it is guarded. A refused crossing then costs it everything: refusal=quarantine.
 */
#include "corpus/lib/guest.h"
#include "corpus/modules/counter.h"
#include "model/names.h"

GUARDHOUSE("module counter announce=no refusal=quarantine\\n");

#define CALL(function) ENTRY("counter", function)

int main(void)
{
	const struct gh_boot_module *m = module_find("counter");
	volatile unsigned long *secret;

	report_prefix_push("late");
	report(module_status(m) == STATUS_REGISTERED, "registered, not announced");
	secret = (volatile unsigned long *)CALL(counter_where)();
	report(CALL(counter_check)(COUNTER_SECRET) == 0, "its code runs without the secret");
	*secret = 0x1234;
	report(module_announce(m, m->base) == GUARD_V_OK, "it is announced");
	report(*secret == 0, "its private memory is hidden from then on");
	report(CALL(counter_check)(COUNTER_SECRET) == 1, "and holds the registered secret");
	report(module_init("counter") == 0 && CALL(counter_add)(2) == 2, "it starts and works");

	report(call_refused((void *)CALL(counter_get), 0, 0, 0) == false, "an honest call is ok");
	report(call_refused(module_symbol("counter", "enter-return"), 0, 0, 0),
	       "a return out of nowhere is refused");
	report((module_status(m) & STATUS_QUARANTINED) != 0, "and quarantines the module");
	report(call_refused(CALL(counter_get), 0, 0, 0), "honest entries are refused now, too");
	report(*secret == 0, "and the secret stays hidden");
	report_prefix_pop();
	return report_summary();
}
