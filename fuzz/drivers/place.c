// SPDX-License-Identifier: GPL-2.0-only
/* Operands: any byte is an address or a value that means something to a driver or to the guard. */
#include "fuzz/drivers/driver.h"
#include "hosted/guest_code.h"

#define NON_CANONICAL 0x0000900000000000ull
#define USER_HALF 0x0000000000401000ull

int64_t fk_delta(uint8_t k)
{
	static const int64_t deltas[16] = { 0, 0,  0,  1,  -1,	2,	3,	 4,
					    8, -8, 16, 21, -16, 0x1000, -0x1000, 0x40 };

	return deltas[k % 16];
}

uint64_t fk_entry(struct fk_bed *b, unsigned n)
{
	return hosted_entry_at(&b->h, n);
}

static uint64_t segment(struct fk_bed *b, enum gm_segment_kind kind)
{
	uint64_t bytes;

	return attack_segment(&b->a, kind, &bytes);
}

/* `off`: by its low half bytes further, by its high half which of several. */
uint64_t fk_value(struct fk_bed *b, uint8_t what, uint8_t off)
{
	struct attack *a = &b->a;
	unsigned n = off >> 4;
	struct guard_cpu cpu;
	uint64_t v = 0;

	switch (what % FK_VALUES) {
	case FK_V_ZERO: v = 0; break;
	case FK_V_ONE: v = 1; break;
	case FK_V_ALL_ONES: v = ~0ull; break;
	case FK_V_ENOMEM: v = (uint64_t)-12; break;
	case FK_V_NETDEV: v = b->h.netdev; break;
	case FK_V_BUFFER: v = a->buffer; break;
	case FK_V_SCRATCH: v = a->scratch + 0x800; break;
	case FK_V_PDEV: v = b->h.pdev; break;
	case FK_V_LEAVE_RETURN: v = attack_gate(a, GM_GATE_LEAVE_RETURN); break;
	case FK_V_ENTER_RETURN: v = attack_gate(a, GM_GATE_ENTER_RETURN); break;
	case FK_V_LEAVE: v = attack_gate(a, GM_GATE_LEAVE); break;
	case FK_V_LEAVE_INDIRECT: v = attack_gate(a, GM_GATE_LEAVE_INDIRECT); break;
	case FK_V_ENTRY: v = fk_entry(b, n); break;
	case FK_V_BODY: v = attack_body(a, fk_entry(b, n)); break;
	case FK_V_RETURN_SITE: v = attack_return_site(a, n); break;
	case FK_V_DATA: v = segment(b, GM_SEG_DATA); break;
	case FK_V_CARD: v = HOSTED_NIC_GVA; break;
	case FK_V_NON_CANONICAL: v = NON_CANONICAL; break;
	case FK_V_USER: v = USER_HALF; break;
	case FK_V_KERNEL_RETURN: v = image_code(guest_return); break;
	case FK_V_RSP:
		vm_get_cpu(b->h.vm, 0, &cpu);
		v = cpu.gpr[GUARD_RSP];
		break;
	case FK_V_TEXT: v = segment(b, GM_SEG_TEXT); break;
	case FK_V_PRIVATE: v = segment(b, GM_SEG_PRIVATE); break;
	case FK_V_TOP_BIT: v = 1ull << 63; break;
	case FK_V_STATS: v = a->stats; break;
	case FK_V_HANDLER: v = b->h.irq[n % HOSTED_MAX_IRQS].handler; break;
	case FK_V_DEVICE_ID: v = b->h.irq[n % HOSTED_MAX_IRQS].dev_id; break;
	case FK_V_NAPI: v = b->h.napi[n % HOSTED_MAX_NAPIS]; break;
	case FK_V_WORK: v = b->h.work[n].gva; break;
	case FK_V_TIMER: v = b->h.timer[n].gva; break;
	case FK_V_RODATA: v = segment(b, GM_SEG_RODATA); break;
	default: v = off; break; /* FK_V_NUMBER */
	}
	return v + (uint64_t)fk_delta(off);
}
