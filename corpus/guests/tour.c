/* SPDX-License-Identifier: GPL-2.0-only */
/* tour: the few calls that the demo tells crossing by crossing. */
#include "corpus/lib/guest.h"
#include "corpus/modules/counter.h"

GUARDHOUSE("module counter\\n");

#define CALL(function) ENTRY("counter", function)

static unsigned long secret_at;

static long look(long n)
{
	printk("kernel: called by the module; its secret reads %lx from here\n",
	       *(volatile unsigned long *)secret_at);
	return n;
}

int main(void)
{
	long ok = module_init("counter") == 0;

	secret_at = CALL(counter_where)();
	hooks.callout = look;
	printk("kernel: I call the module\n");
	ok &= CALL(counter_callout)(5) == 5;
	printk("kernel: it is home again; does it know its secret? %ld\n",
	       CALL(counter_check)(COUNTER_SECRET));
	printk("kernel: now I jump past the gate's crossing instruction\n");
	ok &= call_refused((uint8_t *)CALL(counter_get) + 3, 0, 0, 0);
	printk("kernel: that was a general protection fault\n");
	ok &= CALL(counter_get)() == 5;
	return !ok;
}
