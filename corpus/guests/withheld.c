/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * withheld: a module that is bound but has nothing granted. It is entered and left as ever, and
 * what it has no privilege for shows it the stand-in, as it does everyone.
 */
#include "corpus/lib/guest.h"
#include "corpus/modules/counter.h"
#include "corpus/modules/doorbell.h"

GUARDHOUSE("module counter grant=no\\n");
GUARDHOUSE("module doorbell device=doorbell grant=no\\n");

int main(void)
{
	report_prefix_push("withheld");
	report(ENTRY("counter", counter_get)() == -1, "an entry works, private memory reads zero");
	report(ENTRY("counter", counter_check)(COUNTER_SECRET) == 0, "the secret is not there");
	report(ENTRY("counter", counter_set)(0x55) == -1 &&
		       ENTRY("counter", counter_check)(0x55) == 0,
	       "writes to private memory are dropped");
	report(ENTRY("counter", counter_callout)(1) == -1, "call-outs work");
	report(ENTRY("doorbell", doorbell_probe)(NULL) == -19, "the device reads all ones");
	report_prefix_pop();
	return report_summary();
}
