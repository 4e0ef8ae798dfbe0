/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * unbound: a module that the administrator never bound (G4). It is not registered, its gates are
 * no crossings, it runs as ordinary code, and its private memory is ordinary memory.
 */
#include "corpus/lib/guest.h"
#include "corpus/modules/counter.h"
#include "model/names.h"

GUARDHOUSE("module counter bind=no\\n");

#define CALL(function) ENTRY("counter", function)

int main(void)
{
	const struct gh_boot_module *m = module_find("counter");
	unsigned long *secret;

	report_prefix_push("unbound");
	report(module_status(m) == GUARD_V_UNKNOWN_MODULE, "the guard does not know the module");
	report(module_announce(m, m->base) == GUARD_V_UNKNOWN_MODULE, "nor can it be announced");
	secret = (unsigned long *)CALL(counter_where)();
	report(CALL(counter_check)(COUNTER_SECRET) == 0, "its code runs, without the secret");
	*secret = 0x77;
	report(CALL(counter_check)(0x77) == 1, "what it takes for private is ordinary memory");
	report(CALL(counter_callout)(1) != -1, "its call-outs are ordinary calls");
	report_prefix_pop();
	return report_summary();
}
