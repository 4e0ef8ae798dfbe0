// SPDX-License-Identifier: GPL-2.0-only
/* What a step does, wherever the kernel is: at rest, in a call-out, in an interrupt handler. */
#include <string.h>

#include "fuzz/drivers/driver.h"
#include "hosted/guest_code.h"

#define DEEPEST 9u /* calls into the guest that are open; the engine allows 16 */
#define RFLAGS_FIXED 2ull
#define RFLAGS_TF 0x100ull
#define RFLAGS_IF 0x200ull
#define PAGE 4096u
#define PTE_PRESENT 1ull
#define PTE_USER 4ull
#define PTE_NX (1ull << 63)
#define VECTOR_NMI 2u
#define VECTOR_DEVICE 0x41u

bool fk_flag(struct hosted *h, uint64_t flag, bool on)
{
	struct guard_cpu cpu;
	bool was;

	vm_get_cpu(h->vm, h->vcpu, &cpu);
	was = cpu.rflags & flag;
	cpu.rflags = on ? cpu.rflags | flag : cpu.rflags & ~flag;
	vm_set_cpu(h->vm, h->vcpu, &cpu);
	return was;
}

/* Arguments that some entry may expect, else any. */
static void arguments(struct fk_bed *b, uint8_t which, uint8_t more, uint64_t *a)
{
	const struct hosted *h = &b->h;

	memset(a, 0, 4 * sizeof(*a));
	a[0] = h->netdev;
	switch (which % 16) {
	case 0:
		a[1] = b->a.buffer;
		a[2] = b->a.scratch;
		return;
	case 1: a[1] = more; return;
	case 2:
		a[0] = h->irq[0].line;
		a[1] = h->irq[0].dev_id;
		return;
	case 3:
		a[0] = h->napi[0];
		a[1] = 64;
		return;
	case 4: a[0] = h->work[more % HOSTED_MAX_WORKS].gva; return;
	case 5: a[0] = h->timer[more % HOSTED_MAX_TIMERS].gva; return;
	case 6:
		a[0] = h->pdev;
		a[1] = b->a.scratch;
		return;
	case 7: a[0] = h->pdev + h->off.pci_dev_dev; return;
	default:
		a[0] = fk_value(b, which, more);
		a[1] = fk_value(b, more, which);
		a[2] = fk_value(b, (uint8_t)(which ^ more), 0);
		a[3] = more;
	}
}

static void call(struct fk_play *p, const uint8_t *step)
{
	struct hosted *h = &p->bed->h;
	uint64_t a[4];

	arguments(p->bed, step[2], step[3] >> 1, a);
	fk_flag(h, RFLAGS_IF, step[3] & 1);
	hosted_call(h, fk_entry(p->bed, step[1]), a[0], a[1], a[2], a[3]);
	if (!h->dead)
		fk_flag(h, RFLAGS_IF, false);
}

static void op(struct fk_play *p, const uint8_t *step)
{
	enum { COUNTS, PACKET, PAUSE, ETHTOOL, INTERRUPT, WATCHDOG, DOWN, UP };
	static const uint8_t kinds[16] = { /* what takes long comes seldom */
					   COUNTS,    PACKET, PAUSE,  ETHTOOL, INTERRUPT, WATCHDOG,
					   DOWN,      UP,     COUNTS, PACKET,  INTERRUPT, COUNTS,
					   INTERRUPT, COUNTS, PACKET, COUNTS
	};
	struct hosted *h = &p->bed->h;

	switch (kinds[step[1] % sizeof(kinds)]) {
	case COUNTS:
		if (h->netdev)
			hosted_stats(h);
		return;
	case PACKET:
		if (h->netdev)
			hosted_send(h);
		return;
	case PAUSE: hosted_idle(h, 20); return;
	case ETHTOOL: hosted_ethtool(h); return;
	case INTERRUPT:
		if (h->irq[0].used)
			hosted_call(h, h->irq[0].handler, h->irq[0].line, h->irq[0].dev_id, 0, 0);
		return;
	case WATCHDOG: hosted_idle(h, 2100); return;
	case DOWN: hosted_net_stop(h); return;
	default:
		if (h->netdev && !h->up)
			hosted_net_open(h);
	}
}

static void jump(struct fk_play *p, const uint8_t *step)
{
	static const uint64_t flags[] = { 0, RFLAGS_TF, 0x400, 0x4000 };
	static const uint8_t words[] = { FK_V_KERNEL_RETURN, FK_V_LEAVE_RETURN, FK_V_ENTER_RETURN,
					 FK_V_RETURN_SITE,   FK_V_ENTRY,	FK_V_USER,
					 FK_V_NON_CANONICAL, FK_V_BODY };
	struct fk_bed *b = p->bed;
	struct attack *a = &b->a;
	struct guard_cpu cpu;

	attack_cpu(a, fk_value(b, step[1], step[2]), &cpu);
	a->word = fk_value(b, words[step[3] >> 3 & 7], step[2] & 0xf0);
	switch (step[3] & 7) {
	case 2: cpu.gpr[GUARD_RSP] += 8; break;
	case 3: cpu.gpr[GUARD_RSP] = fk_value(b, FK_V_NON_CANONICAL, 0); break;
	case 4: cpu.gpr[GUARD_RSP] = HOSTED_NIC_GVA + 0x1000; break;
	case 5: cpu.gpr[GUARD_RSP] = fk_value(b, FK_V_TEXT, 0) + 0x800; break;
	case 6:
		a->slot = a->scratch + 0x800; /* a stack of its own */
		cpu.gpr[GUARD_RSP] = a->slot;
		break;
	case 7: /* the slot of the innermost call-out, if one is open */
		cpu.gpr[GUARD_RSP] = fk_value(b, FK_V_RSP, step[2] & 0xf);
		break;
	default: break;
	}
	cpu.rflags = RFLAGS_FIXED | flags[step[3] >> 6];
	b->h.stepping = cpu.rflags & RFLAGS_TF;
	attack_go(a, &cpu);
	b->h.expect_fault = true;
	b->h.stepping = false;
}

static void store(struct fk_play *p, const uint8_t *step)
{
	struct fk_bed *b = p->bed;
	uint64_t at;

	if (step[1] < 128)
		at = fk_value(b, FK_V_RSP, 0) + 8ull * step[1];
	else if (step[1] < 192)
		at = fk_value(b, FK_V_DATA, 0) + 8ull * (step[1] - 128u) * 8;
	else
		at = fk_value(b, step[1], 0);
	attack_store(&b->a, at, fk_value(b, step[2], step[3]));
}

static void remap(struct fk_play *p, const uint8_t *step)
{
	struct fk_bed *b = p->bed;
	struct attack *a = &b->a;
	uint64_t gva, pte, frame;
	unsigned n;

	if (!b->pages)
		return;
	n = step[1] % b->pages;
	gva = b->page[n];
	attack_pte(a, gva, &pte);
	frame = a->scratch - GH_DIRECT_MAP;
	switch (step[2] % 10) {
	case 0: /* the very same bytes in a frame of the attacker's */
		hosted_call(&b->h, image_code(guest_copy), a->scratch,
			    GH_DIRECT_MAP + (b->pte[n] & PTE_ADDRESS), PAGE, 0);
		pte = (pte & ~PTE_ADDRESS) | frame;
		break;
	case 1: pte = (pte & ~PTE_ADDRESS) | frame; break;
	case 2: pte = (pte & ~PTE_ADDRESS) | (b->pte[(n + 1) % b->pages] & PTE_ADDRESS); break;
	case 3: pte &= ~PTE_PRESENT; break;
	case 4: pte &= ~PTE_WRITE; break;
	case 5: pte |= PTE_WRITE; break;
	case 6: pte |= PTE_NX; break;
	case 7: pte &= ~PTE_NX; break;
	case 8: pte |= PTE_USER; break;
	default: pte = b->pte[n];
	}
	attack_set_pte(a, gva, pte);
}

/* The driver's frames by another way: the direct map, or a device. */
static void alias(struct fk_play *p, const uint8_t *step)
{
	static const uint64_t what[] = { 0xccccccccccccccccull, 0x9090909090909090ull,
					 0xc3c3c3c3c3c3c3c3ull, 0, 0xd9010fd9010fd901ull };
	struct fk_bed *b = p->bed;
	uint64_t gpa, bytes = what[(step[3] & 0x7f) % 5];

	if (!b->pages)
		return;
	gpa = (b->pte[step[1] % b->pages] & PTE_ADDRESS) + step[2] * 16u;
	if (step[3] & 0x80)
		vm_dma_write(b->h.vm, gpa, &bytes, sizeof(bytes));
	else
		attack_store(&b->a, GH_DIRECT_MAP + gpa, bytes);
}

static void strike(struct fk_play *p, const uint8_t *step)
{
	uint64_t n = 1u + step[1] + (step[2] & 15u) * 256u;

	fk_flag(&p->bed->h, RFLAGS_IF, true);
	vm_strike(p->bed->h.vm, vm_boundaries(p->bed->h.vm) + n,
		  step[3] & 1 ? VECTOR_NMI : VECTOR_DEVICE);
}

static void numbered_call(struct fk_play *p, const uint8_t *step)
{
	struct fk_bed *b = p->bed;
	const struct gm_header *m = (const void *)b->h.wrapped.manifest.data;
	uint64_t base[GM_MAX_SEGMENTS], id = b->id;
	unsigned n = m->segments.count;

	if (!n) /* the wrapper makes none like that */
		return;
	for (unsigned i = 0; i < n; i++)
		base[i] = vm_module_base(b->h.vm, b->h.module, i);
	switch (step[1] % 6) {
	case 0: break;
	case 1: base[step[2] % n] = fk_value(b, step[3], 0); break;
	case 2: base[step[2] % n] = base[step[3] % n]; break;
	case 3: n--; break;
	case 4: id ^= 1ull << (step[2] % 64); break;
	default:
		hosted_call(&b->h, image_code(guest_call_x),
			    step[2] & 1 ? GUARD_CALL_WITHDRAW : GUARD_CALL_ANNOUNCE + step[2] / 2u,
			    id, fk_value(b, step[3], 0), n);
		return;
	}
	attack_announce(&b->a, id, base, n);
}

void fk_act(struct fk_play *p, const uint8_t *step)
{
	struct hosted *h = &p->bed->h;
	unsigned what = step[0] % FK_NSTEPS;

	if (h->depth >= DEEPEST && (what == FK_CALL || what == FK_OP || what == FK_JUMP))
		return;
	switch (what) {
	case FK_CALL: call(p, step); break;
	case FK_OP: op(p, step); break;
	case FK_JUMP: jump(p, step); break;
	case FK_STORE: store(p, step); break;
	case FK_PTE: remap(p, step); break;
	case FK_ALIAS: alias(p, step); break;
	case FK_STRIKE: strike(p, step); break;
	case FK_CALLX: numbered_call(p, step); break;
	case FK_GRANT: vm_grant(h->vm, h->vcpu, h->module, 1, step[1] & 1); break;
	case FK_FAIL: vm_fail_next(h->vm, h->vcpu, step[1] & 1, step[1] >> 1 & 1); break;
	case FK_PEEK: fk_peek(p, (step[1] * 256u + step[2]) * 4u % NIC_BYTES); break;
	default: break;
	}
}
