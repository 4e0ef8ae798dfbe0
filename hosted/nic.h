/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A network card's registers, as Intel's 82574L has them: enough for its driver to find an EEPROM,
 * a PHY with a link, and rings that send and receive. What is sent comes back (a loopback plug).
 */
#ifndef HOSTED_NIC_H
#define HOSTED_NIC_H

#include <stdbool.h>
#include <stdint.h>

#define NIC_VENDOR 0x8086u
#define NIC_DEVICE 0x10d3u /* 82574L: its EEPROM is read through EERD */
#define NIC_BYTES 0x20000u
#define NIC_NVM_WORDS 64u
#define NIC_REG_STATUS 0x0008u
#define NIC_REG_CTRL 0x0000u

/* The card's DMA: guest-physical memory. false: not RAM. */
struct nic_dma {
	bool (*read)(void *ctx, uint64_t gpa, void *buf, uint32_t len);
	bool (*write)(void *ctx, uint64_t gpa, const void *buf, uint32_t len);
	void *ctx;
};

struct nic {
	uint32_t reg[NIC_BYTES / 4];
	uint16_t nvm[NIC_NVM_WORDS];
	uint16_t phy[32];
	uint64_t reads, writes; /* accesses that reached the registers */
	uint64_t sent, received;
	bool tx_kicked;
};

void nic_reset(struct nic *n);
uint64_t nic_read(void *nic, uint64_t offset, unsigned width);
void nic_write(void *nic, uint64_t offset, unsigned width, uint64_t value);
/* Sends what the driver has queued and puts it into the receive ring. */
void nic_run_rings(struct nic *n, const struct nic_dma *dma);
/* The interrupt line: a cause is set and enabled. */
bool nic_irq(const struct nic *n);

#endif
