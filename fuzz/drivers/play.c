// SPDX-License-Identifier: GPL-2.0-only
/*
 * An input's steps, by one cursor whoever is on: the kernel at rest, a call-out, an interrupt handler.
 * A call-out takes steps until one says how it ends; when there are none left, all goes on honestly.
 */
#include <string.h>

#include "fuzz/drivers/driver.h"
#include "hosted/guest_code.h"

#define CALLOUTS 800u /* of one input: ethtool's questions take some hundred */
#define FRAME_BYTES 40u
#define ALL_ONES 0xffffffffu
#define RFLAGS_IF 0x200ull

const char *const fk_step_names[FK_NSTEPS] = {
	[FK_GO] = "go",	      [FK_ANSWER] = "answer", [FK_MISRETURN] = "misreturn",
	[FK_IRET] = "iret",   [FK_CALL] = "call",     [FK_OP] = "op",
	[FK_JUMP] = "jump",   [FK_STORE] = "store",   [FK_PTE] = "pte",
	[FK_ALIAS] = "alias", [FK_STRIKE] = "strike", [FK_CALLX] = "callx",
	[FK_GRANT] = "grant", [FK_FAIL] = "fail",     [FK_PEEK] = "peek",
};

void fk_broken(struct fk_play *p, const char *what)
{
	if (!p->r->failure[0])
		snprintf(p->r->failure, sizeof(p->r->failure), "%s", what);
}

static const uint8_t *next(struct fk_play *p)
{
	const uint8_t *step = p->step + (size_t)p->at * FK_STEP;

	if (p->at == p->steps || p->bed->h.dead)
		return NULL;
	p->at++;
	if (p->told)
		p->told(p->ctx, step, p->bed->h.depth);
	return step;
}

static void misreturn(struct fk_bed *b, const uint8_t *step)
{
	static const unsigned regs[] = { ATTACK_NO_REGISTER, GUARD_RBX,		GUARD_RBP,
					 GUARD_R12,	     GUARD_R13,		GUARD_R14,
					 GUARD_R15,	     ATTACK_NO_REGISTER };
	static const uint64_t rsp[] = { 0, 0, 0, 8, -8ull, 16, 0x1000, -0x1000ull };
	static const uint64_t flags[] = { 0, 0, 0x100, 0x400, 0x4000, 0x40000, 0x200, 0x3000 };

	attack_misreturn(&b->a, regs[step[1] % 8], rsp[step[2] % 8], flags[step[3] % 8]);
}

/* Registers of the kernel while it answers a call-out: it is free to do so. */
static void change_register(struct fk_bed *b, const uint8_t *step)
{
	unsigned reg = step[1] % GUARD_GPRS;
	struct guard_cpu cpu;

	if (reg == GUARD_RSP)
		return;
	vm_get_cpu(b->h.vm, 0, &cpu);
	cpu.gpr[reg] = fk_value(b, step[2], step[3]);
	vm_set_cpu(b->h.vm, 0, &cpu);
}

static bool on_callout(struct hosted *h, const char *import, uint64_t *answer, void *arg)
{
	struct fk_play *p = arg;
	const uint8_t *step;

	(void)import;
	if (++p->callouts > CALLOUTS) {
		h->dead = true;
		h->exit = (struct vm_exit){ .reason = VM_EXIT_BUDGET };
		snprintf(h->exit.message, sizeof(h->exit.message), "%u call-outs", CALLOUTS);
		return true;
	}
	if (p->skip) {
		p->skip--;
		return false;
	}
	while ((step = next(p))) {
		switch (step[0] % FK_NSTEPS) {
		case FK_GO: p->skip = step[1]; return false;
		case FK_ANSWER:
			*answer = fk_value(p->bed, step[1], step[2]);
			p->skip = step[3];
			return true;
		case FK_MISRETURN: misreturn(p->bed, step); return false;
		case FK_IRET: change_register(p->bed, step); break;
		default: fk_act(p, step);
		}
	}
	return h->dead;
}

/* RIP, CS, RFLAGS, RSP, SS at RSP, or a register: what the IRET will load. */
static void change_frame(struct fk_bed *b, const uint8_t *step)
{
	static const uint64_t flags[] = { 0x100, 0x400, 0x4000, 0x40000 };
	uint64_t frame[FRAME_BYTES / 8];
	struct guard_cpu cpu;

	vm_get_cpu(b->h.vm, 0, &cpu);
	if (!hosted_read(&b->h, cpu.gpr[GUARD_RSP], frame, sizeof(frame)))
		return;
	switch (step[1] % 6) {
	case 0: frame[0] = fk_value(b, step[2], step[3]); break;
	case 1: frame[0] += (uint64_t)fk_delta(step[2]); break;
	case 2: frame[3] += (uint64_t)fk_delta(step[2]); break;
	case 3: frame[2] ^= flags[step[2] % 4]; break;
	case 4: frame[3] = fk_value(b, step[2], step[3]); break;
	default: change_register(b, (const uint8_t[]){ 0, step[2], step[3], 0 }); return;
	}
	hosted_write(&b->h, cpu.gpr[GUARD_RSP], frame, sizeof(frame));
}

static void on_interrupt(struct hosted *h, void *arg)
{
	struct fk_play *p = arg;
	const uint8_t *step;

	(void)h;
	while (!p->quiet && (step = next(p))) {
		switch (step[0] % FK_NSTEPS) {
		case FK_GO:
		case FK_ANSWER:
		case FK_MISRETURN: return;
		case FK_IRET: change_frame(p->bed, step); break;
		default: fk_act(p, step);
		}
	}
}

void fk_peek(struct fk_play *p, uint32_t offset)
{
	struct hosted *h = &p->bed->h;
	uint64_t reads = h->nic.reads, writes = h->nic.writes, at = HOSTED_NIC_GVA + offset;
	bool on = fk_flag(h, RFLAGS_IF, false); /* a handler of the driver's may read, of course */
	uint32_t v;

	p->quiet = true; /* an NMI comes nevertheless */
	v = (uint32_t)hosted_call(h, image_code(guest_peek), at, 0, 0, 0);
	if (!h->dead)
		hosted_poke(h, at, 0x5a5a5a5a);
	p->quiet = false;
	if (h->dead)
		return;
	fk_flag(h, RFLAGS_IF, on);
	if (v != ALL_ONES || h->nic.reads != reads)
		fk_broken(p, "G1 privilege: a register of the card is read from outside");
	else if (h->nic.writes != writes)
		fk_broken(p, "G1 privilege: a register of the card is written from outside");
}

void fk_story(struct hosted *h, void *arg)
{
	struct fk_play *p = arg;
	const uint8_t *step;

	h->on_callout = on_callout;
	h->on_interrupt = on_interrupt;
	h->hook_arg = p;
	h->expect_fault = true;
	while ((step = next(p)))
		if (step[0] % FK_NSTEPS > FK_IRET)
			fk_act(p, step);
	h->on_callout = NULL;
	h->on_interrupt = NULL;
	if (!h->dead)
		fk_peek(p, NIC_REG_STATUS);
}
