/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a guest and every engine agree on: addresses, ports, the boot page. Included by guests, so
 * it needs nothing but <stdint.h>. Source: spec section 5.
 */
#ifndef VMM_ABI_H
#define VMM_ABI_H

#include <stdint.h>

#define GH_KERNEL_BASE 0xffffffff80000000ull /* guest image: linked here */
#define GH_MODULES_BASE 0xffffffffc0000000ull
#define GH_DIRECT_MAP 0xffff888000000000ull /* all RAM, writable, not executable */
#define GH_DEVICE_GPA 0xd0000000ull	    /* first device range; also in the direct map */
#define GH_STACK_BYTES 16384u

#define GH_PORT_CROSS 0xb6	/* X = out %al,$0xb6; nop */
#define GH_PORT_CONSOLE 0xe9	/* a byte */
#define GH_PORT_EXIT 0xf4	/* AL/EAX: status */
#define GH_PORT_START_VCPU 0xf5 /* AL: vCPU; starts at RDI=boot page like vCPU 0, RSI=vCPU */
#define GH_PORT_RAISE 0xf6	/* AL: vector, here, at the next instruction boundary */
#define GH_PORT_SEND 0xf7	/* AL: vector, AH: vCPU (out %ax) */
#define GH_PORT_HOST 0xf8	/* host services: hosted kernel, scenario expect, GH_HOST_* */
#define GH_HOST_RELOAD                                                                             \
	0x47480001u /* for guests in C: RAX = this, RBX = module; RAX = 0 if it was placed again */
#define GH_PORT_TIMER 0xf9 /* EAX: period in instructions, 0 off; vector GH_TIMER_VECTOR */
#define GH_TIMER_VECTOR 0x40
#define GH_STRIKE_VECTOR 0xee /* the puppet returns from it at once: vm_strike() */

#define GH_MAX_VCPUS 16
#define GH_MAX_MODULES 8
#define GH_MAX_SEGMENTS 16
#define GH_BOOT_MAGIC 0x746f6f4264726175ull
#define GH_BOOT_VERSION 1u

/* A named address: an exported gate or datum of a module. */
struct gh_symbol {
	char name[56];
	uint64_t address;
};

struct gh_boot_module {
	char name[32];
	uint64_t id;
	uint64_t base[GH_MAX_SEGMENTS]; /* in manifest order: the table that ANNOUNCE takes */
	uint32_t segments;
	uint32_t symbol_count;
	uint64_t symbols; /* GVA of struct gh_symbol[]: enter gates by function name, exports */
	uint64_t gates;	  /* GVA and bytes of the gate pages */
	uint64_t gates_size;
};

struct gh_boot {
	uint64_t magic;
	uint32_t version;
	uint32_t vcpus;
	uint64_t ram_size;
	uint64_t image_end; /* GPA of the first free byte after image, modules, tables */
	uint32_t x_kind;    /* enum gm_x_kind */
	uint32_t modules;
	uint64_t mailbox; /* GVA, e.g. the puppet's program */
	uint64_t mailbox_size;
	uint64_t device; /* GVA of the doorbell's registers, 0: none */
	uint64_t device_size;
	uint64_t status_page[GH_MAX_VCPUS]; /* GVA, read-only */
	struct gh_boot_module module[GH_MAX_MODULES];
};

/* doorbell device registers (32-bit) */
#define GH_DOORBELL_ID 0x00	/* reads 0x4c4c4542 */
#define GH_DOORBELL_RING 0x04	/* write: counts; the value is kept */
#define GH_DOORBELL_COUNT 0x08	/* reads number of rings */
#define GH_DOORBELL_SECRET 0x0c /* reads a value that only the module may see */
#define GH_DOORBELL_SIZE 0x1000

#endif
