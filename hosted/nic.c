// SPDX-License-Identifier: GPL-2.0-only
/*
 * Register file of the 82574L. Register names, offsets and bits are those of Intel's "82574 GbE
 * Controller Family Datasheet", chapter 10; PHY registers are IEEE 802.3 clause 22's. A register
 * without a rule here keeps what was written.
 */
#include "hosted/nic.h"

#include <string.h>

enum {
	CTRL = NIC_REG_CTRL,
	STATUS = NIC_REG_STATUS,
	EECD = 0x0010,
	EERD = 0x0014,
	CTRL_EXT = 0x0018,
	MDIC = 0x0020,
	ICR = 0x00c0,
	ICS = 0x00c8,
	IMS = 0x00d0,
	IMC = 0x00d8,
	IAM = 0x00e0,
	RCTL = 0x0100,
	EEMNGCTL = 0x1010,
	RDBAL = 0x2800,
	RDBAH = 0x2804,
	RDLEN = 0x2808,
	RDH = 0x2810,
	RDT = 0x2818,
	TDBAL = 0x3800,
	TDBAH = 0x3804,
	TDLEN = 0x3808,
	TDH = 0x3810,
	TDT = 0x3818,
	STATS = 0x4000, /* statistics: cleared when read */
	STATS_END = 0x4128,
	GPRC = 0x4074,
	GPTC = 0x4080,
	RFCTL = 0x5008,
	RAL0 = 0x5400,
	RAH0 = 0x5404,
	SWSM = 0x5b50
};

#define CTRL_GIO_MASTER_DISABLE 0x00000004u
#define CTRL_SLU 0x00000040u
#define CTRL_RST 0x04000000u
#define CTRL_PHY_RST 0x80000000u
#define STATUS_FULL_DUPLEX 0x00000001u
#define STATUS_LINK_UP 0x00000002u
#define STATUS_SPEED_1000 0x00000080u
#define STATUS_ASDV_1000 0x00000200u
#define STATUS_GIO_MASTER 0x00080000u
#define EECD_REQUEST 0x00000040u
#define EECD_GRANT 0x00000080u
#define EECD_PRESENT 0x00000100u
#define EECD_AUTO_READ 0x00000200u
#define EERD_START 0x00000001u
#define EERD_DONE 0x00000002u
#define MDIC_WRITE 0x04000000u
#define MDIC_READ 0x08000000u
#define MDIC_READY 0x10000000u
#define MDIC_ERROR 0x40000000u
#define CTRL_EXT_IAME 0x08000000u
#define INT_TX_DONE 0x00000001u
#define INT_LINK 0x00000004u
#define INT_RX_TIMER 0x00000080u
#define INT_ASSERTED 0x80000000u
#define CFG_DONE_PORT0 0x00040000u
#define RAH_VALID 0x80000000u
#define RFCTL_EXTENDED 0x00008000u
#define NVM_SUM 0xbabau
#define PHY_ADDRESS 1u

static const uint8_t mac[6] = { 0x02, 0x47, 0x48, 0x00, 0x00, 0x01 };

static void nvm_fill(struct nic *n)
{
	uint16_t sum = 0;
	unsigned i;

	memset(n->nvm, 0xff, sizeof(n->nvm));
	for (i = 0; i < 3; i++)
		n->nvm[i] = (uint16_t)(mac[2 * i] | mac[2 * i + 1] << 8);
	n->nvm[0x03] = 0x0420; /* compatibility word: copper */
	n->nvm[0x04] = 0xf746; /* LEDs */
	n->nvm[0x05] = 0x2030; /* image version */
	n->nvm[0x0a] = 0x10a6; /* initialisation control 1: valid signature */
	n->nvm[0x0b] = 0x0000; /* subsystem */
	n->nvm[0x0c] = NIC_VENDOR;
	n->nvm[0x0d] = NIC_DEVICE;
	n->nvm[0x0e] = NIC_VENDOR;
	n->nvm[0x0f] = 0x2580; /* initialisation control 2 */
	for (i = 0; i < NIC_NVM_WORDS - 1; i++)
		sum = (uint16_t)(sum + n->nvm[i]);
	n->nvm[NIC_NVM_WORDS - 1] = (uint16_t)(NVM_SUM - sum);
}

static void phy_fill(struct nic *n)
{
	memset(n->phy, 0, sizeof(n->phy));
	n->phy[0] = 0x1140; /* control: auto-negotiation, 1000, full duplex */
	n->phy[1] = 0x796d; /* status: link, negotiation complete */
	n->phy[2] = 0x0141; /* identifier of the 82574's PHY */
	n->phy[3] = 0x0cb1;
	n->phy[4] = 0x0de1; /* what we offer */
	n->phy[5] = 0xcde1; /* what the partner offers */
	n->phy[6] = 0x0001;
	n->phy[9] = 0x0300;  /* 1000BASE-T control */
	n->phy[10] = 0x3c00; /* 1000BASE-T status: partner and receivers fine */
	n->phy[15] = 0x3000;
	n->phy[17] = 0xac08; /* specific status: 1000, full duplex, resolved, link */
}

static uint32_t *reg(struct nic *n, uint32_t offset)
{
	return &n->reg[offset / 4];
}

/* What a CTRL reset leaves: the EEPROM's values. */
static void registers_fill(struct nic *n)
{
	memset(n->reg, 0, sizeof(n->reg));
	*reg(n, CTRL) = CTRL_SLU | 1u;
	*reg(n, STATUS) = STATUS_FULL_DUPLEX | STATUS_LINK_UP | STATUS_SPEED_1000 |
			  STATUS_ASDV_1000 | STATUS_GIO_MASTER;
	*reg(n, EECD) = EECD_PRESENT | EECD_AUTO_READ;
	*reg(n, EEMNGCTL) = CFG_DONE_PORT0;
	memcpy(reg(n, RAL0), mac, 4);
	*reg(n, RAH0) = RAH_VALID | (uint32_t)(mac[4] | mac[5] << 8);
}

void nic_reset(struct nic *n)
{
	memset(n, 0, sizeof(*n));
	nvm_fill(n);
	phy_fill(n);
	registers_fill(n);
}

bool nic_irq(const struct nic *n)
{
	return n->reg[ICR / 4] & n->reg[IMS / 4] & ~INT_ASSERTED;
}

static uint32_t read_icr(struct nic *n)
{
	uint32_t cause = *reg(n, ICR);

	if (nic_irq(n)) {
		cause |= INT_ASSERTED;
		if (*reg(n, CTRL_EXT) & CTRL_EXT_IAME)
			*reg(n, IMS) &= ~*reg(n, IAM);
	}
	*reg(n, ICR) = 0;
	return cause;
}

static uint32_t read32(struct nic *n, uint32_t offset)
{
	uint32_t v = *reg(n, offset);

	if (offset == ICR)
		return read_icr(n);
	if (offset == IMC || offset == ICS)
		return 0;
	if (offset == SWSM)
		*reg(n, SWSM) = v | 1u; /* reading takes the semaphore */
	else if (offset >= STATS && offset < STATS_END)
		*reg(n, offset) = 0;
	return v;
}

static void write_ctrl(struct nic *n, uint32_t v)
{
	if (v & CTRL_RST) {
		registers_fill(n);
		return;
	}
	if (v & CTRL_PHY_RST)
		phy_fill(n);
	*reg(n, CTRL) = v & ~CTRL_PHY_RST;
	if (v & CTRL_GIO_MASTER_DISABLE)
		*reg(n, STATUS) &= ~STATUS_GIO_MASTER;
	else
		*reg(n, STATUS) |= STATUS_GIO_MASTER;
}

static void write_eerd(struct nic *n, uint32_t v)
{
	uint32_t word = v >> 2 & 0x3fff;

	if (v & EERD_START)
		v = (v & 0xffff) | EERD_DONE |
		    (uint32_t)(word < NIC_NVM_WORDS ? n->nvm[word] : 0xffff) << 16;
	*reg(n, EERD) = v;
}

static void write_mdic(struct nic *n, uint32_t v)
{
	uint32_t r = v >> 16 & 31;

	if ((v >> 21 & 31) != PHY_ADDRESS) {
		*reg(n, MDIC) = v | MDIC_READY | MDIC_ERROR;
		return;
	}
	if (v & MDIC_WRITE) {
		/* Reset ends and negotiation completes at once; status and identifiers stay. */
		if (r == 0)
			n->phy[0] = (uint16_t)(v & 0x7dff);
		else if (r != 1 && r != 2 && r != 3 && r != 5 && r != 10 && r != 17)
			n->phy[r] = (uint16_t)v;
	} else if (v & MDIC_READ) {
		v = (v & 0xffff0000) | n->phy[r];
	}
	*reg(n, MDIC) = v | MDIC_READY;
}

static void write32(struct nic *n, uint32_t offset, uint32_t v)
{
	switch (offset) {
	case CTRL: write_ctrl(n, v); break;
	case STATUS: break; /* read only */
	case EECD:
		*reg(n, EECD) = v & EECD_REQUEST ? v | EECD_GRANT : v & ~EECD_GRANT;
		*reg(n, EECD) |= EECD_PRESENT | EECD_AUTO_READ;
		break;
	case EERD: write_eerd(n, v); break;
	case MDIC: write_mdic(n, v); break;
	case ICR: *reg(n, ICR) &= ~v; break;
	case ICS: *reg(n, ICR) |= v & ~INT_ASSERTED; break;
	case IMS: *reg(n, IMS) |= v; break;
	case IMC: *reg(n, IMS) &= ~v; break;
	case EEMNGCTL: *reg(n, EEMNGCTL) = v | CFG_DONE_PORT0; break;
	case TDT:
		*reg(n, TDT) = v;
		n->tx_kicked = true;
		break;
	default: *reg(n, offset) = v;
	}
}

uint64_t nic_read(void *nic, uint64_t offset, unsigned width)
{
	struct nic *n = nic;
	uint64_t v;

	if (offset >= NIC_BYTES)
		return ~0ull;
	n->reads++;
	v = read32(n, (uint32_t)offset & ~3u);
	if (width == 8 && offset + 4 < NIC_BYTES)
		v |= (uint64_t)read32(n, ((uint32_t)offset & ~3u) + 4) << 32;
	return v >> (offset & 3) * 8;
}

/* The card takes 32 bits at a time; other widths are dropped, as the datasheet leaves them open. */
void nic_write(void *nic, uint64_t offset, unsigned width, uint64_t value)
{
	struct nic *n = nic;

	if (offset >= NIC_BYTES || width != 4 || offset & 3)
		return;
	n->writes++;
	write32(n, (uint32_t)offset, (uint32_t)value);
}

/* ---- the rings: 16-byte descriptors, head and tail in registers ---- */

#define DESC_BYTES 16u
#define TX_CMD_EOP 0x01u
#define TX_CMD_DEXT 0x20u
#define TX_DONE 0x01u
#define RX_DONE_EOP 0x03u
#define FRAME_MAX 2048u

static bool ring(struct nic *n, uint32_t base, uint64_t *gpa, uint32_t *count)
{
	*gpa = *reg(n, base) | (uint64_t)*reg(n, base + 4) << 32;
	*count = *reg(n, base + 8) / DESC_BYTES;
	return *count && *count <= 4096;
}

/* Legacy and extended receive descriptors alike start with the buffer's address. */
static void receive(struct nic *n, const struct nic_dma *dma, const uint8_t *frame, uint32_t len)
{
	uint32_t count, head = *reg(n, RDH);
	uint8_t desc[DESC_BYTES];
	uint64_t gpa, buffer;

	if (!(*reg(n, RCTL) & 2u) || !ring(n, RDBAL, &gpa, &count) || head >= count ||
	    head == *reg(n, RDT))
		return;
	if (!dma->read(dma->ctx, gpa + head * DESC_BYTES, desc, DESC_BYTES))
		return;
	memcpy(&buffer, desc, 8);
	if (!dma->write(dma->ctx, buffer, frame, len))
		return;
	memset(desc, 0, sizeof(desc));
	len += 4; /* the card leaves room for the checksum that the driver cuts off */
	if (*reg(n, RFCTL) & RFCTL_EXTENDED) {
		desc[8] = RX_DONE_EOP;
		desc[12] = (uint8_t)len;
		desc[13] = (uint8_t)(len >> 8);
	} else {
		memcpy(desc, &buffer, 8);
		desc[8] = (uint8_t)len;
		desc[9] = (uint8_t)(len >> 8);
		desc[12] = RX_DONE_EOP;
	}
	if (!dma->write(dma->ctx, gpa + head * DESC_BYTES, desc, DESC_BYTES))
		return;
	*reg(n, RDH) = (head + 1) % count;
	*reg(n, ICR) |= INT_RX_TIMER;
	*reg(n, GPRC) += 1;
	n->received++;
}

void nic_run_rings(struct nic *n, const struct nic_dma *dma)
{
	uint8_t desc[DESC_BYTES], frame[FRAME_MAX];
	uint32_t count, head, len, used = 0;
	uint64_t gpa, buffer;

	if (!n->tx_kicked || !ring(n, TDBAL, &gpa, &count) || *reg(n, TDT) >= count)
		return;
	n->tx_kicked = false;
	for (head = *reg(n, TDH); head < count && head != *reg(n, TDT); head = (head + 1) % count) {
		if (!dma->read(dma->ctx, gpa + head * DESC_BYTES, desc, DESC_BYTES))
			break;
		memcpy(&buffer, desc, 8);
		len = desc[8] | (uint32_t)desc[9] << 8;
		/* Extended descriptors of type 0 set up offloads and carry no data. */
		if (!(desc[11] & TX_CMD_DEXT) || desc[10] >> 4) {
			if (len > FRAME_MAX - used ||
			    !dma->read(dma->ctx, buffer, frame + used, len))
				break;
			used += len;
		}
		desc[12] |= TX_DONE;
		if (!dma->write(dma->ctx, gpa + head * DESC_BYTES, desc, DESC_BYTES))
			break;
		if (desc[11] & TX_CMD_EOP) {
			n->sent++;
			*reg(n, GPTC) += 1;
			receive(n, dma, frame, used);
			used = 0;
		}
	}
	*reg(n, TDH) = head;
	*reg(n, ICR) |= INT_TX_DONE;
}
