/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The configuration space of the sample device, emulated (spec section 4): bus 0, device 1,
 * function 0, by configuration mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2).
 *
 *	0xcf8  31 enable | 23-16 bus | 15-11 device | 10-8 function | 7-2 register
 *	0xcfc  the register's four bytes
 *
 * A kernel does honest things here from view U, so nothing needs privilege; but nothing reaches
 * the device either. What a guest may write is known bit by bit: BAR and command are a shadow that
 * moves no range, MSI is the VMM's to deliver, then what the binding allows. A write that would
 * change any other bit of a bound device is dropped there and reported as TOUCH.
 */
#include <string.h>

#include "vmm/internal.h"

#define PORT_ADDRESS 0xcf8u
#define PORT_DATA 0xcfcu
#define OUR_FUNCTION 0x80000800u /* enabled, bus 0, device 1, function 0 */

#define VENDOR 0x4847u
#define DEVICE 0x0001u
#define COMMAND 0x04u
#define STATUS_HAS_CAPABILITIES 0x0010u
#define BAR0 0x10u
#define CAPABILITIES 0x34u
#define MSI 0x40u
#define VENDOR_SPECIFIC 0x60u /* what only a binding's allow-list opens */

static void put(uint8_t *p, uint32_t value, unsigned width)
{
	for (unsigned i = 0; i < width; i++)
		p[i] = (uint8_t)(value >> 8 * i);
}

void vm_pci_create(struct vm *vm)
{
	uint8_t *c = vm->pci.config, *a = vm->pci.allowed;

	put(c, VENDOR | DEVICE << 16, 4);
	put(c + COMMAND, 2, 2); /* memory space is on */
	put(c + COMMAND + 2, STATUS_HAS_CAPABILITIES, 2);
	c[0x0b] = 0xff; /* no class fits */
	put(c + BAR0, (uint32_t)vm->doorbell.gpa, 4);
	c[CAPABILITIES] = MSI;
	c[0x3d] = 1;		      /* INTA */
	put(c + MSI, 0x00806005u, 4); /* 64-bit addresses; next: 0x60 */
	put(c + VENDOR_SPECIFIC, 0x00100009u, 4);

	put(a + COMMAND, 0x0407, 2); /* I/O, memory, bus master, INTx off */
	put(a + 0x0c, 0xffff, 2);    /* cache line, latency */
	put(a + BAR0, ~(uint32_t)(GH_DOORBELL_SIZE - 1), 4);
	a[0x3c] = 0xff;			  /* interrupt line: a note of the kernel's */
	put(a + MSI + 2, 0x0071, 2);	  /* enable, number of messages */
	put(a + MSI + 4, 0xfffffffcu, 4); /* address */
	put(a + MSI + 8, 0xffffffffu, 4); /* its upper half */
	put(a + MSI + 12, 0xffff, 2);	  /* data */
}

void vm_pci_allow(struct vm *vm, unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last && i < sizeof(vm->pci.allowed); i++)
		vm->pci.allowed[i] = 0xff;
}

/* Is this a byte of our function's space? *at: which. */
static bool selected(const struct vm *vm, uint16_t port, unsigned *at)
{
	*at = (vm->pci.address & 0xfc) + (port - PORT_DATA);
	return vm->doorbell.gpa && (vm->pci.address & ~0xffu) == OUR_FUNCTION;
}

static bool is_data(uint16_t port, unsigned width)
{
	return port >= PORT_DATA && port + width <= PORT_DATA + 4u;
}

bool vm_pci_in(struct vm *vm, uint16_t port, unsigned width, uint32_t *value)
{
	unsigned at;

	if (port == PORT_ADDRESS && width == 4) {
		*value = vm->pci.address;
		return true;
	}
	if (!is_data(port, width))
		return false;
	*value = 0xffffffff;
	if (selected(vm, port, &at)) {
		*value = 0;
		for (unsigned i = 0; i < width; i++)
			*value |= (uint32_t)vm->pci.config[at + i] << 8 * i;
	}
	return true;
}

bool vm_pci_out(struct vm *vm, unsigned vcpu, uint16_t port, unsigned width, uint32_t value)
{
	bool dropped = false;
	unsigned at;

	if (port == PORT_ADDRESS && width == 4) {
		vm->pci.address = value & 0x80fffffcu;
		return true;
	}
	if (!is_data(port, width))
		return false;
	if (!selected(vm, port, &at))
		return true;
	for (unsigned i = 0; i < width; i++) {
		uint8_t *c = &vm->pci.config[at + i], may = vm->pci.allowed[at + i];
		uint8_t byte = (uint8_t)(value >> 8 * i);

		/* The size of a BAR is asked for by writing ones to what cannot change. */
		dropped |= ((byte ^ *c) & ~may) != 0 && (at + i < BAR0 || at + i >= BAR0 + 4);
		*c = (uint8_t)((*c & ~may) | (byte & may));
	}
	if (dropped && vm_device_bound(vm, vm->doorbell.gpa))
		vm_touch_port(vm, vcpu);
	return true;
}
