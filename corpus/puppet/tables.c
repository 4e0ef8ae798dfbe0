/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The puppet's descriptor tables: flat segments for both rings, one TSS a vCPU, one IDT for all.
 *
 * Exceptions and NMI come in on IST 1: the registers under test may hold any RSP. Interrupts come
 * in on the stack that they strike, as a kernel's do, unless a `gate` step says otherwise.
 */
#include "corpus/puppet/puppet.h"

struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3, iomap;
} __attribute__((packed));

struct gate {
	uint16_t offset0, selector;
	uint8_t ist, type;
	uint16_t offset1;
	uint32_t offset2, reserved;
};

struct pseudo {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

struct tss puppet_tss[PP_MAX_VCPUS] __attribute__((aligned(4096)));
static uint64_t gdt[PP_MAX_VCPUS][7];
struct gate puppet_idt[256] __attribute__((aligned(4096)));
static uint8_t ist_stack[PP_MAX_VCPUS][2][PAGE] __attribute__((aligned(4096)));

static void fill_idt(void)
{
	for (unsigned v = 0; v < 256; v++) {
		uint64_t to = (uint64_t)puppet_events + 16 * v;

		if (v == GH_STRIKE_VECTOR)
			to = (uint64_t)puppet_strike;
		puppet_idt[v] = (struct gate){ .offset0 = (uint16_t)to,
					       .selector = KERNEL_CS,
					       .ist = v < 32 ? 1 : 0,
					       .type = 0x8e,
					       .offset1 = (uint16_t)(to >> 16),
					       .offset2 = (uint32_t)(to >> 32) };
	}
}

void tables_idt(uint64_t base)
{
	struct pseudo p = { sizeof(puppet_idt) - 1, base ? base : (uint64_t)puppet_idt };

	__asm__ volatile("lidt %0" : : "m"(p));
}

void tables_ist(unsigned vcpu, unsigned n, uint64_t rsp)
{
	if (n == 0)
		puppet_tss[vcpu].rsp[0] = rsp;
	else if (n <= 7)
		puppet_tss[vcpu].ist[n - 1] = rsp;
}

void tables_gate_ist(uint8_t vector, unsigned n)
{
	puppet_idt[vector].ist = n & 7;
}

void tables_tss(unsigned vcpu, uint64_t base)
{
	uint64_t *g = gdt[vcpu];

	if (!base)
		base = (uint64_t)&puppet_tss[vcpu];
	g[5] = (sizeof(struct tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
	       (base >> 24 & 0xff) << 56;
	g[6] = base >> 32;
	__asm__ volatile("ltr %w0" : : "r"(TSS_SEL));
}

void tables_load(unsigned vcpu)
{
	struct pseudo p = { sizeof(gdt[vcpu]) - 1, (uint64_t)gdt[vcpu] };
	uint64_t *g = gdt[vcpu];

	/* Not again for a vCPU 0 that was reset: `gate` steps may have changed it. */
	if (vcpu == 0 && !puppet_idt[0].type)
		fill_idt();
	puppet_tss[vcpu].rsp[0] = (uint64_t)(ist_stack[vcpu][0] + PAGE);
	for (unsigned i = 0; i < 7; i++)
		puppet_tss[vcpu].ist[i] = (uint64_t)(ist_stack[vcpu][1] + PAGE);
	puppet_tss[vcpu].iomap = sizeof(struct tss);
	g[1] = 0x00af9b000000ffffull; /* kernel code */
	g[2] = 0x00cf93000000ffffull; /* kernel data */
	g[3] = 0x00cff3000000ffffull; /* user data */
	g[4] = 0x00affb000000ffffull; /* user code */
	__asm__ volatile("lgdt %0" : : "m"(p));
	tables_tss(vcpu, 0);
	tables_idt(0);
}
