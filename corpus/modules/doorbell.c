/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * doorbell: a driver for the sample device (vmm/abi.h), whose registers only it may see.
 *
 * The address of the registers is kept in private memory: in ordinary memory the kernel could
 * make this code read and write elsewhere.
 */
#include "corpus/modules/doorbell.h"
#include "corpus/modules/module.h"
#include "vmm/abi.h"

#define DOORBELL_ID 0x4c4c4542u

MODULE_INFO(license, "GPL");
MODULE_INFO(description, "sample: device registers behind the guard");

static volatile uint32_t *registers __private = 0;

static uint32_t get(unsigned reg)
{
	return registers[reg / 4];
}

/* Takes the registers where the kernel says they are, or at the direct map's address. */
long doorbell_probe(volatile uint32_t *regs)
{
	registers = regs ? regs : (volatile uint32_t *)(GH_DIRECT_MAP + GH_DEVICE_GPA);
	if (get(GH_DOORBELL_ID) != DOORBELL_ID) {
		printk("doorbell: no device: id %x\n", get(GH_DOORBELL_ID));
		registers = 0;
		return -19; /* -ENODEV */
	}
	return 0;
}
EXPORT_SYMBOL(doorbell_probe);

long doorbell_ring(uint32_t value)
{
	if (!registers)
		return -19;
	registers[GH_DOORBELL_RING / 4] = value;
	return (long)get(GH_DOORBELL_COUNT);
}
EXPORT_SYMBOL(doorbell_ring);

/* Rings, tells the kernel how often so far, rings again. */
long doorbell_ring_tell(uint32_t value, long (*fn)(void *ctx, long count), void *ctx)
{
	long count = doorbell_ring(value);

	if (count < 0)
		return count;
	return doorbell_ring((uint32_t)fn(ctx, count));
}
EXPORT_SYMBOL(doorbell_ring_tell);

long doorbell_count(void)
{
	return registers ? (long)get(GH_DOORBELL_COUNT) : -19;
}
EXPORT_SYMBOL(doorbell_count);

long doorbell_check(uint32_t guess)
{
	return registers && get(GH_DOORBELL_SECRET) == guess;
}
EXPORT_SYMBOL(doorbell_check);

int __init init_module(void)
{
	printk("doorbell: ready\n");
	return 0;
}

void __exit cleanup_module(void)
{
	registers = 0;
}
