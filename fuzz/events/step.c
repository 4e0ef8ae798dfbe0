// SPDX-License-Identifier: GPL-2.0-only
/*
 * The steps of an input, four bytes each: what, and on which vCPU (bits 6 and 7 of the first byte's
 * successor), then three operands. Operands are small numbers of interesting values: the gates' X and
 * a byte beside them, return sites, slots that were used and eight bytes beside them, private memory,
 * another vCPU's registers. Any bytes are a meaningful input.
 *
 *	byte 0   step (modulo their number)
 *	byte 1   vCPU (low 2 bits), module (bit 2), first operand (the rest): of crossings how
 *	         they go (way()), of the others what their functions tell
 *	byte 2, 3   second and third operand
 */
#include <string.h>

#include "fuzz/events/core.h"

const char *const fc_step_names[FC_NSTEPS] = {
	"call",	  "callout", "ret",  "tail",	  "inner",   "depart",	      "resume",
	"switch", "jump",    "x",    "fetch",	  "poke",    "pte",	      "register",
	"flag",	  "mode",    "rsp",  "hypercall", "grant",   "administrator", "reset",
	"touch",  "fail",    "text", "cr3",	  "migrate", "heal"
};

/* A slot that a crossing used, and what lies beside it. */
static uint64_t some_slot(uint8_t a)
{
	static const int8_t beside[] = { 0, 8, -8, 16, -16, 0x30, 0x28, 1 };

	return fc->live->slot[a % FC_SLOTS] + (uint64_t)(int64_t)beside[a / FC_SLOTS % 8];
}

/* Where control may go, and what a return word may be. */
static uint64_t some_place(unsigned v, unsigned m, uint8_t a)
{
	static const int8_t beside[] = { 0, 1, -1, 3 };
	static const uint16_t inside[] = { 0,	    1,		 FC_BODY,  FC_RET,
					   FC_RET2, FC_END,	 FC_FAULT, FC_FIXUP,
					   FC_WARN, FC_WARN + 2, 0x81 };
	unsigned k = a / 8;
	(void)v;

	switch (a % 8) {
	case 0:
	case 1:
		return fc_gate_x(m, k % FC_GATES) +
		       (uint64_t)(int64_t)beside[a % 8 ? k / FC_GATES % 4 : 0];
	case 2: return fc_gate(m, k % FC_GATES);
	case 3: return fc_fn(m, k % FC_FNS, FC_RET);
	case 4: return fc_fn(m, k % 3 ? FN_W : FN_F, inside[k % (sizeof(inside) / 2)]);
	case 5:
		switch (k % 8) {
		case 0: return 0x0000800000000000ull; /* non-canonical */
		case 1: return 0x0000000000401000ull; /* user half */
		case 2: return 0;
		case 3: return fc_seg(m, FS_PRIVATE);
		case 4: return fc_seg(m, FS_DATA) + 8;
		case 5: return FC_AT(FC_MMIO_PAGE(m));
		case 6: return fc_gate(1 - m, FG_ENTER_RETURN);
		default: return 0xfffffffffffffff8ull;
		}
	case 6: return k % 2 ? FC_KRET : FC_IMPORT(k % FC_IMPORTS);
	default: return k % 2 ? fc->live->saved[k / 2 % FC_SAVED].rip : FC_HYPERCALL;
	}
}

static uint64_t some_value(unsigned v, unsigned m, uint8_t a)
{
	switch (a % 4) {
	case 0: return some_place(v, m, a / 4);
	case 1: return some_slot(a / 4);
	case 2: return fc->live->cpu[(v + 1) % FC_VCPUS].gpr[a / 4 % GUARD_GPRS];
	default: return fc->live->cpu[v].gpr[a / 4 % GUARD_GPRS] ^ 1ull << a / 8;
	}
}

/* ---- what the rest of the guest does ---- */

/* A register of its own, or how far a stack frame is from it. */
static uint64_t beside_register(unsigned v, bool frame, uint8_t b)
{
	const uint64_t *gpr = fc->live->cpu[v].gpr;

	return frame ? gpr[GUARD_RBP] + 8 * (uint64_t)(int64_t)(int8_t)b
		     : gpr[b / 16] + 8 * (uint64_t)(b % 16);
}

/* where: bit 0: beside RSP, else a slot; above: what is written, one of some values, or a frame's place. */
static void poke(unsigned v, unsigned m, uint8_t where, uint8_t a, uint8_t b)
{
	uint64_t at = where & 1 ? fc->live->cpu[v].gpr[GUARD_RSP] + 8 * (uint64_t)(a % 16)
				: some_slot(a) + 8 * (uint64_t)(a / 64);

	fc_put(fc->live->cpu[v].cr3, at & ~7ull,
	       where / 2 % 4 == 1 || where / 2 % 4 == 2 ? beside_register(v, where & 4, b)
							: some_value(v, m, b));
}

/* A leaf entry: of a stack's page, a module's, any; to a frame that means something. */
static void table_entry(unsigned m, uint8_t kind, uint8_t a, uint8_t b)
{
	static const uint8_t flags[] = { FC_P | FC_W, FC_P | FC_W, FC_P,	FC_P | FC_W | FC_U,
					 0,	      FC_P | FC_W, FC_P | FC_W, FC_P | FC_W };
	unsigned page, frame;

	switch (kind % 4) {
	case 0:
	case 1: page = FC_STACK_PAGE(a % FC_THREADS) + a / 4 % FC_STACK_PAGES; break;
	case 2: page = FC_MODULE_PAGE(m) + a % FC_SEGMENTS; break;
	default: page = a % FC_TABLE_PAGES;
	}
	switch (b / 8 % 8) {
	case 0:
	case 1: frame = fc_stack_frame(b % FC_THREADS, b / 64 % FC_STACK_PAGES); break;
	case 2: frame = fc_module_frame(m, b % FC_SEGMENTS); break;
	case 3: frame = fc_module_frame(1 - m, b % FC_SEGMENTS); break;
	case 4: frame = (unsigned)(FC_MMIO(m) / 4096); break;
	case 5: frame = 40 + b % 4; break;
	default: frame = (unsigned)(fc_pte_now(page) / 4096); break; /* other rights alone */
	}
	fc_pte(page, frame * 4096ull | flags[b % 8]);
}

static void heal(void)
{
	/* the entries of the third set of tables are the honest ones, but for two */
	for (unsigned i = 0; i < FC_TABLE_PAGES; i++) {
		uint64_t was;

		memcpy(&was, fc->ram + 62 * 4096 + i * 8, 8);
		if (i == FC_MODULE_PAGE(0))
			was = fc_module_frame(0, FS_TEXT) * 4096ull | FC_P | FC_W;
		if (i == FC_STACK_PAGE(1) + FC_STACK_PAGES - 1)
			was = fc_stack_frame(1, FC_STACK_PAGES - 1) * 4096ull | FC_P | FC_W;
		if (fc_pte_now(i) != was)
			fc_pte(i, was);
	}
}

static void text(unsigned m, uint8_t a, uint8_t b)
{
	uint64_t frame = fc_module_frame(m, a % 4 == 3 ? FS_GATES : FS_TEXT) * 4096ull;
	int32_t to = -(int32_t)(FC_SITE + 5);
	static const uint8_t nop5[5] = { 0x0f, 0x1f, 0x44, 0, 0 };
	uint8_t bytes[5] = { 0xe9 };

	switch (a % 4) {
	case 0: /* the other legal content */
		memcpy(bytes + 1, &to, 4);
		if (b & 1)
			memcpy(bytes, nop5, sizeof(nop5));
		fc_poke(frame + FC_SITE, bytes, 5);
		break;
	case 1: /* a poke in progress, or one that ends wrongly */
		fc_poke(frame + FC_SITE, b & 1 ? "\x90" : "\xcc", 1);
		break;
	default: fc_poke(frame + b * 16, "\xcc", 1);
	}
}

/* Where a segment is said to lie: 0 where it does, else any page, other segments' first. */
static uint64_t placed(unsigned m, unsigned s, unsigned x)
{
	if (!x)
		return fc_seg(m, s);
	if (x <= 2 * FC_SEGMENTS)
		return fc_seg(x <= FC_SEGMENTS ? 1 - m : m, (x - 1) % FC_SEGMENTS);
	return FC_AT((x - 2 * FC_SEGMENTS) * 3);
}

/* Reloaded elsewhere, or back, and one segment at `place`; its pages are as the loader leaves them. */
static void load_again(unsigned m, unsigned s, uint64_t place)
{
	struct fc_live *l = fc->live;

	if (l->index[m] < FC_MODULES && !l->of_page[l->index[m]][FS_TEXT]) {
		l->moved[m] ^= 1;
		memset(l->page[m], 0, sizeof(l->page[m]));
		if (place)
			l->page[m][s] = (uint8_t)((place - FC_BASE) / 4096);
	}
	fc_load(m);
}

/* x: where one segment is announced, b / 8: which. */
static void hypercall(unsigned v, unsigned m, uint8_t x, uint8_t a, uint8_t b)
{
	static const uint64_t numbers[] = { GUARD_CALL_WITHDRAW, GUARD_CALL_ANNOUNCE,
					    GUARD_CALL_STATUS, 0x1234 };
	struct fc_live *l = fc->live;
	struct guard_cpu *c = &l->cpu[v], before = *c;
	unsigned calls = b & 1 ? 1 : 4; /* a whole announcement, or a part */
	unsigned one = b / 8 % FC_SEGMENTS;

	if (a % 4 == 1 && b & 2 && fc_inside(v) < 0)
		load_again(m, one, x ? placed(m, one, x) : 0);
	for (unsigned s = 0; s < FC_SEGMENTS; s++)
		fc_put(fc->cr3[0], FC_DATA + 64 * m + 8 * s,
		       s != one ? fc_seg(m, s)
		       : b & 4	? some_place(v, m, b) & ~0xfffull
		       : b & 2	? fc_seg(m, s)
				: placed(m, s, x));
	while (calls--) {
		c->gpr[GUARD_RAX] = numbers[a % 4];
		c->gpr[GUARD_RBX] = fc->module[m].id;
		c->gpr[GUARD_RCX] = FC_DATA + 64 * m;
		c->gpr[GUARD_RDX] = FC_SEGMENTS;
		fc_x(v, FC_HYPERCALL);
		if (c->gpr[GUARD_RAX] != GUARD_V_AGAIN)
			break;
	}
	memcpy(c->gpr, before.gpr, sizeof(c->gpr));
	c->rip = before.rip;
}

static void mode(struct guard_cpu *c, uint8_t a)
{
	switch (a % 10) {
	case 0: c->cpl ^= 3; break;
	case 1: c->mode ^= GUARD_MODE_64; break;
	case 2: c->mode ^= GUARD_MODE_NESTED; break;
	case 3: c->mode ^= GUARD_MODE_SMM; break;
	case 4: c->cr0 ^= 1ull << 16; break;
	case 5: c->cr4 ^= 1ull << 20; break;
	case 6: c->cr4 ^= 1ull << 21; break;
	case 7: c->efer ^= 1ull << 11; break;
	case 8: c->cr0 ^= 1ull << 31; break;
	default: c->efer ^= 1ull << 10; break;
	}
}

/* Another thread runs here from now on: all that is a thread's. */
static void other_thread(unsigned v, unsigned t)
{
	struct fc_live *l = fc->live;

	if (fc_inside(v) >= 0)
		return;
	for (unsigned u = 0; u < FC_VCPUS; u++)
		if (u != v && l->on[u] == t)
			return; /* it runs there */
	l->thread[l->on[v]] = l->cpu[v];
	l->on[v] = (uint8_t)t;
	l->cpu[v] = l->thread[t];
}

/* Two vCPUs exchange their threads. */
static void migrate(unsigned v, unsigned u)
{
	struct fc_live *l = fc->live;
	struct guard_cpu c = l->cpu[v];
	uint8_t on = l->on[v];

	if (fc_inside(v) >= 0 || fc_inside(u) >= 0)
		return;
	l->cpu[v] = l->cpu[u];
	l->on[v] = l->on[u];
	l->cpu[u] = c;
	l->on[u] = on;
}

/* Only what view U hides has a stand-in that can be touched; else it is a port, of who runs here. */
static void touch(unsigned v, unsigned m, uint8_t a, uint8_t b)
{
	uint64_t gpa = a & 1 ? FC_MMIO(m) + b * 16u : fc_module_frame(m, FS_PRIVATE) * 4096ull + b;
	uint32_t role = fc_role(gpa);

	if (role != GUARD_ROLE_DEVICE && (role != GUARD_ROLE_PRIVATE || fc->live->torn))
		gpa = ~0ull;
	fc_judge(v, GUARD_EV_TOUCH, GUARD_CAUSE_ACCESS, 0, gpa);
}

static void administrator(unsigned m, uint8_t a)
{
	struct fc_live *l = fc->live;

	if (a & 1 && l->index[m] < FC_MODULES) {
		fc_unregister(m);
		return;
	}
	if (l->index[m] < FC_MODULES) {
		fc_unregister(m);
		if (l->index[m] < FC_MODULES)
			return;
	}
	fc_register(m);
	for (unsigned v = 0; a & 2 && v < FC_VCPUS; v++)
		fc_grant(v, m, FC_GIVEN, true);
}

/* Of a crossing: bit 0: by no gate (call-outs), bit 1: it stops at the crossing's instruction. */
static bool way(unsigned x)
{
	fc->live->halt = x & 2;
	return x & 1;
}

static void step(unsigned kind, unsigned v, unsigned m, unsigned x, uint8_t a, uint8_t b);

void fc_step(const uint8_t bytes[FC_STEP])
{
	unsigned v = bytes[1] % 4 % FC_VCPUS;

	if (fc->live->stopped[v])
		return;
	step(bytes[0] % FC_NSTEPS, v, bytes[1] >> 2 & 1, bytes[1] >> 3, bytes[2], bytes[3]);
	fc->live->halt = false; /* there was no crossing */
}

static void step(unsigned kind, unsigned v, unsigned m, unsigned x, uint8_t a, uint8_t b)
{
	static const enum guard_cause causes[] = { GUARD_CAUSE_IRQ, GUARD_CAUSE_EXCEPTION,
						   GUARD_CAUSE_NMI, GUARD_CAUSE_OTHER };
	static const uint8_t vectors[] = { 14, 6, 13, 1, 3, 32 };
	struct fc_live *l = fc->live;
	struct guard_cpu *c = &l->cpu[v];
	int in = fc_inside(v);

	switch (kind) {
	case ST_CALL:
		way(x);
		if (in >= 0 && in < (int)FC_MODULES && !(b & 1))
			m = (unsigned)in;
		fc_call(v, m, a % FN_ENTRIES, b >= 0x80 ? some_place(v, m, b) : fc_return_site(v));
		break;
	case ST_CALLOUT: fc_callout(v, FG_LEAVE + a % 3, false, way(x)); break;
	case ST_RET: fc_ret(v, !(a & 1), way(x)); break;
	case ST_TAIL: fc_callout(v, FG_LEAVE + a % 3, true, way(x)); break;
	case ST_INNER: fc_inner(v, a % 4 == 3 ? FN_H : a % 4); break;
	case ST_DEPART: fc_depart(v, causes[a % 4], vectors[b % 6]); break;
	case ST_RESUME:
		if (in >= 0) {
			fc_resume(v);
			break;
		}
		if (a & 1) /* by the latest that was saved, else any */
			l->cpu[v] = l->saved[a / 2 % FC_SAVED];
		else if (l->saved_at)
			l->cpu[v] = l->saved[(l->saved_at - 1u - a / 2 % 2) % FC_SAVED];
		if (b & 1)
			l->cpu[v].rip = some_place(v, m, b);
		fc_resume(v);
		break;
	case ST_SWITCH: other_thread(v, a % FC_THREADS); break;
	case ST_JUMP:
		if (in >= 0 && in < (int)FC_MODULES)
			c->rip = a & 1 ? fc_gate((unsigned)in, a / 2 % FC_GATES) + b % 16
				       : some_place(v, (unsigned)in, b);
		break;
	case ST_X: fc_x(v, some_place(v, m, a)); break;
	case ST_FETCH: fc_fetch(v, some_place(v, m, a)); break;
	case ST_POKE: poke(v, m, (uint8_t)x, a, b); break;
	case ST_PTE: table_entry(m, (uint8_t)x, a, b); break;
	case ST_REG:
		if (a % GUARD_GPRS != GUARD_RSP)
			c->gpr[a % GUARD_GPRS] = some_value(v, m, b);
		break;
	case ST_FLAG: c->rflags ^= 1ull << (a % 4 == 0 ? 18 : a % 4 == 1 ? 8 : a % 20); break;
	case ST_MODE: mode(c, a); break;
	case ST_RSP:
		if (in < 0 || x & 1)
			c->gpr[GUARD_RSP] =
				a & 1 ? some_slot(b)
				      : c->gpr[GUARD_RSP] + 8 * (uint64_t)(int64_t)(int8_t)b;
		break;
	case ST_HYPER: hypercall(v, m, (uint8_t)x, a, b); break;
	case ST_GRANT: fc_grant(v, m, b % 8, a & 1); break;
	case ST_REGISTER: administrator(m, a); break;
	case ST_RESET:
		fc_reset(v);
		fc_thread(c, l->on[v]);
		break;
	case ST_TOUCH: touch(v, m, a, b); break;
	case ST_FAIL:
		l->fail_op =
			FC_READ + a % (FC_OPS - FC_READ); /* a translation has no way to fail */
		l->fail_in = 1 + b % 8;
		break;
	case ST_TEXT: text(m, a, b); break;
	case ST_CR3: c->cr3 = fc->cr3[a % 3]; break;
	case ST_MIGRATE: migrate(v, a % FC_VCPUS); break;
	case ST_HEAL: heal(); break;
	default: break;
	}
}
