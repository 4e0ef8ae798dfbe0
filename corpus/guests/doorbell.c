/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * doorbell: device registers that only the driver may see. The guest kernel reads all ones there,
 * before, after and while the driver waits for it, and its writes ring nothing.
 */
#include "corpus/lib/guest.h"
#include "corpus/modules/doorbell.h"

GUARDHOUSE("module doorbell device=doorbell\\n");
GUARDHOUSE("doorbell 0x0d00be11\\n");

#define SECRET 0x0d00be11u
#define CALL(function) ENTRY("doorbell", function)

static volatile uint32_t *regs;

/* Every register reads all ones, and a ring from here is dropped. */
static bool shut(void)
{
	for (unsigned reg = 0; reg <= GH_DOORBELL_SECRET; reg += 4)
		if (regs[reg / 4] != ~0u)
			return false;
	if (*(volatile uint64_t *)regs != ~0ull || *(volatile uint8_t *)regs != 0xff)
		return false;
	regs[GH_DOORBELL_RING / 4] = 1;
	return true;
}

static bool shut_meanwhile;

static long told(void *ctx, long count)
{
	*(long *)ctx = count;
	shut_meanwhile = shut();
	return 77;
}

int main(void)
{
	volatile uint32_t *alias = (volatile uint32_t *)0xffffea0000000000ull;
	long count = 0;

	report_prefix_push("doorbell");
	regs = (volatile uint32_t *)boot->device;
	report(regs && boot->device_size >= GH_DOORBELL_SIZE, "the boot page names the device");
	report(shut(), "its registers read all ones before the driver is there");
	report(module_init("doorbell") == 0, "init_module() succeeds");
	report(CALL(doorbell_ring)(1) == -19, "without a probe there is no device");
	report(CALL(doorbell_probe)((volatile uint32_t *)alloc_pages(1)) == -19,
	       "nor is there one in ordinary memory");
	report(CALL(doorbell_probe)(NULL) == 0, "the driver finds it at its place");
	report(CALL(doorbell_probe)(regs) == 0, "and where the kernel says it is");
	report(CALL(doorbell_count)() == 0, "nobody has rung so far");
	report(CALL(doorbell_ring)(5) == 1 && CALL(doorbell_ring)(6) == 2, "the driver rings");
	report(CALL(doorbell_check)(SECRET) == 1, "and sees the secret");
	report(CALL(doorbell_check)(~0u) == 0, "which is not all ones");
	report(shut(), "registers read all ones after the driver has left");

	report(CALL(doorbell_ring_tell)(7, told, &count) == 4 && count == 3,
	       "the driver rings, tells, rings");
	report(shut_meanwhile, "registers read all ones while the driver waits for the kernel");
	report(CALL(doorbell_count)() == 4, "only the driver's own rings count");

	map_page((uint64_t)alias, GH_DEVICE_GPA, PTE_PRESENT | PTE_WRITE);
	report(alias[GH_DOORBELL_SECRET / 4] == ~0u, "an alias of the registers reads all ones");
	alias[GH_DOORBELL_RING / 4] = 1;
	report(CALL(doorbell_probe)(alias) == 0 && CALL(doorbell_count)() == 4,
	       "the driver may use that alias, and nothing rang");
	report_prefix_pop();
	return report_summary();
}
