// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attacks on a driver that is up: the frame around each, and what they share.
 *
 * Every attack gets a machine of its own. It is good if in each of its cases the lines of the log
 * are the event and verdict that the case names, and no other, if the card's registers gave their stand-in to guest
 * instructions outside of the driver afterwards, and if an honest entry still works then.
 */
#include "hosted/attack.h"

#include <stdlib.h>
#include <string.h>

#include "hosted/guest_code.h"

#define STACK_GAP 256u
#define LAUNCH_GAP 64u
#define CASE_TEXT 128u
#define PAGE 4096u

static const struct attack_case *const groups[] = { hosted_entry_attacks, hosted_return_attacks,
						    hosted_code_attacks };

/* ---- the log ---- */

static uint64_t log_end(const struct attack *a)
{
	return vm_log_lost(a->h->vm) + vm_log_count(a->h->vm);
}

static const struct guard_line *log_at(const struct attack *a, uint64_t n)
{
	uint64_t lost = vm_log_lost(a->h->vm);

	return n < lost ? NULL : &vm_log_line(a->h->vm, (size_t)(n - lost))->line;
}

void attack_begin(struct attack *a)
{
	a->mark = log_end(a);
	a->h->fault = (struct hosted_fault){ .vector = 0xff };
}

bool attack_logged(struct attack *a, enum guard_event_name event, enum guard_verdict verdict)
{
	const struct guard_line *l;

	for (uint64_t n = a->mark; n < log_end(a); n++) {
		l = log_at(a, n);
		if (l && l->event == event && l->verdict == verdict)
			return true;
	}
	return false;
}

/* A line after which this vCPU was privileged. */
static bool raised(struct attack *a)
{
	const struct guard_line *l;

	for (uint64_t n = a->mark; n < log_end(a); n++) {
		l = log_at(a, n);
		if (l && l->to != GUARD_VIEW_U)
			return true;
	}
	return false;
}

/* Adds an item to a list, unless it is there. */
static void add(char *list, size_t size, const char *item, const char *separator)
{
	size_t len = strlen(list);

	if (!strstr(list, item))
		snprintf(list + len, size - len, "%s%s", len ? separator : "", item);
}

void attack_got(struct attack *a, const char *text)
{
	add(a->row->got, sizeof(a->row->got), text, ", ");
}

static void name(char *text, enum guard_event_name event, enum guard_verdict verdict)
{
	snprintf(text, CASE_TEXT, "%s %s", guard_event_string(event),
		 guard_verdict_string(verdict));
}

static bool counts(const struct guard_line *l)
{
	return l && l->event != GUARD_TOUCH && l->verdict != GUARD_V_AGAIN;
}

/*
 * What was judged since attack_begin(): all that is not ok; else the last line, of `event` if there
 * is one; else nothing.
 */
static void judged(struct attack *a, enum guard_event_name event, char *text)
{
	const struct guard_line *l;
	char one[CASE_TEXT];
	bool matched = false;

	text[0] = '\0';
	for (uint64_t n = a->mark; n < log_end(a); n++) {
		l = log_at(a, n);
		if (!counts(l) || l->verdict == GUARD_V_OK)
			continue;
		name(one, l->event, l->verdict);
		add(text, CASE_TEXT, one, " + ");
	}
	if (text[0])
		return;
	for (uint64_t n = a->mark; n < log_end(a); n++) {
		l = log_at(a, n);
		if (!counts(l) || (matched && l->event != event))
			continue;
		matched |= l->event == event;
		name(text, l->event, l->verdict);
	}
}

static bool result(struct attack *a, const char *what, const char *expected, const char *got)
{
	bool good = !strcmp(expected, got);

	a->cases++;
	a->good += good;
	add(a->row->expected, sizeof(a->row->expected), expected, ", ");
	attack_got(a, got);
	hosted_printf(a->h, "attack %s: %s: %s%s%s\n", a->row->id, what, got,
		      good ? "" : ", EXPECTED ", good ? "" : expected);
	return good;
}

bool attack_expect(struct attack *a, const char *what, enum guard_event_name event,
		   enum guard_verdict verdict)
{
	bool may_raise = verdict == GUARD_V_OK || event == GUARD_VERIFY;
	char expected[CASE_TEXT], got[CASE_TEXT];

	name(expected, event, verdict);
	judged(a, event, got);
	if (!got[0])
		snprintf(got, sizeof(got), "nothing judged");
	if (!may_raise && raised(a))
		add(got, sizeof(got), "raised", " + ");
	return result(a, what, expected, got);
}

static void fault_name(char *text, unsigned vector)
{
	snprintf(text, CASE_TEXT, "exception %u", vector);
}

bool attack_expect_fault(struct attack *a, const char *what, unsigned vector)
{
	char expected[CASE_TEXT], got[CASE_TEXT];

	fault_name(expected, vector);
	judged(a, GUARD_NEVENTS, got);
	if (!got[0])
		fault_name(got, a->h->fault.vector);
	if (raised(a))
		add(got, sizeof(got), "raised", " + ");
	return result(a, what, expected, got);
}

void attack_check(struct attack *a, const char *what, bool good)
{
	char text[CASE_TEXT];

	a->cases++;
	a->good += good;
	if (good)
		return;
	hosted_printf(a->h, "attack %s: NOT SO: %s\n", a->row->id, what);
	snprintf(text, sizeof(text), "not so: %s", what);
	attack_got(a, text);
}

/* ---- calls ---- */

void attack_cpu(struct attack *a, uint64_t fn, struct guard_cpu *cpu)
{
	vm_get_cpu(a->h->vm, a->h->vcpu, cpu);
	cpu->gpr[GUARD_RSP] = ((cpu->gpr[GUARD_RSP] - STACK_GAP) & ~15ull) - 8;
	cpu->gpr[GUARD_RDI] = a->h->netdev;
	cpu->gpr[GUARD_RSI] = a->buffer;
	cpu->rip = fn;
	cpu->rflags = 2;
	a->slot = cpu->gpr[GUARD_RSP];
	a->word = image_code(guest_return);
}

bool attack_go(struct attack *a, struct guard_cpu *cpu)
{
	const struct guest_launch block = { .slot = a->slot,
					    .word = a->word,
					    .rflags = cpu->rflags,
					    .rip = cpu->rip,
					    .rsp = cpu->gpr[GUARD_RSP],
					    .rdi = cpu->gpr[GUARD_RDI],
					    .rsi = cpu->gpr[GUARD_RSI],
					    .rdx = cpu->gpr[GUARD_RDX] };
	struct guard_cpu saved;
	bool ok;

	hosted_write(a->h, a->block, &block, sizeof(block));
	vm_get_cpu(a->h->vm, a->h->vcpu, &saved);
	*cpu = saved;
	cpu->gpr[GUARD_RSP] = a->slot - LAUNCH_GAP;
	cpu->gpr[GUARD_RDI] = a->block;
	cpu->rip = image_code(guest_launch);
	cpu->rflags = 2;
	a->h->expect_fault = true;
	ok = hosted_go(a->h, cpu);
	a->h->expect_fault = false;
	if (!a->h->dead)
		vm_set_cpu(a->h->vm, a->h->vcpu, &saved);
	return ok;
}

void attack_misreturn(struct attack *a, unsigned reg, uint64_t rsp_delta, uint64_t flags)
{
	static const unsigned order[] = { GUARD_RBX, GUARD_RBP, GUARD_R12,
					  GUARD_R13, GUARD_R14, GUARD_R15 };
	uint64_t page = HOSTED_PERCPU_BASE + ((uint64_t)a->h->vcpu << 32);
	struct guard_cpu cpu;

	vm_get_cpu(a->h->vm, a->h->vcpu, &cpu);
	for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		attack_store(a, page + HOSTED_CPU_XOR + i * 8, order[i] == reg ? 8 : 0);
	attack_store(a, page + HOSTED_CPU_RSP, rsp_delta);
	attack_store(a, page + HOSTED_CPU_FLAGS, cpu.rflags | flags);
	attack_store(a, page + HOSTED_CPU_RETURN, image_code(guest_misreturn));
}

static bool at_callout(struct hosted *h, const char *import, uint64_t *answer, void *arg)
{
	struct attack *a = arg;

	(void)h;
	(void)import;
	(void)answer;
	if (a->struck || !a->at_callout)
		return false;
	a->struck = true; /* what the attack itself calls does not count */
	a->struck = a->at_callout(a);
	return false;
}

/* The driver dumps its registers for ethtool, the PHY's too: call-outs with many frames below. */
static bool call_deep(struct attack *a, struct guard_cpu *cpu)
{
	uint64_t ops = hosted_get(a->h, a->h->netdev + a->h->off.net_device_ethtool_ops, 8);
	uint64_t fn = ops ? hosted_get(a->h, ops + a->h->off.ethtool_get_regs, 8) : 0;

	if (!fn)
		return false;
	attack_cpu(a, fn, cpu);
	cpu->gpr[GUARD_RSI] = a->scratch;
	cpu->gpr[GUARD_RDX] = a->scratch + 0x100;
	return true;
}

bool attack_call(struct attack *a, bool (*at)(struct attack *a))
{
	struct guard_cpu cpu;
	bool ok;

	attack_begin(a);
	a->at_callout = at;
	a->struck = false;
	a->h->on_callout = at_callout;
	a->h->hook_arg = a;
	if (!at || !call_deep(a, &cpu))
		attack_cpu(a, a->stats, &cpu);
	ok = attack_go(a, &cpu);
	a->h->on_callout = NULL;
	if (at && !a->struck)
		attack_check(a, "no call-out fitted", false);
	return ok;
}

/* ---- the module's places ---- */

static const struct gm_header *manifest(const struct attack *a)
{
	return (const void *)a->h->wrapped.manifest.data;
}

static const void *table(const struct attack *a, const struct gm_table *t)
{
	return a->h->wrapped.manifest.data + t->offset;
}

uint64_t attack_segment(struct attack *a, enum gm_segment_kind kind, uint64_t *bytes)
{
	const struct gm_segment *s = table(a, &manifest(a)->segments);

	for (unsigned i = 0; i < manifest(a)->segments.count; i++) {
		if (s[i].kind != (uint32_t)kind)
			continue;
		*bytes = s[i].size;
		return vm_module_base(a->h->vm, a->h->module, i);
	}
	return 0;
}

uint64_t attack_gate(struct attack *a, enum gm_gate_kind kind)
{
	const struct gm_gate *g = table(a, &manifest(a)->gates);
	uint64_t bytes, base = attack_segment(a, GM_SEG_GATES, &bytes);

	for (unsigned i = 0; base && i < manifest(a)->gates.count; i++)
		if (g[i].kind == kind)
			return base + g[i].offset;
	return 0;
}

static uint64_t address(struct attack *a, uint32_t moff)
{
	const struct gm_segment *s = table(a, &manifest(a)->segments);

	for (unsigned i = 0; i < manifest(a)->segments.count; i++)
		if (moff - s[i].start < s[i].size)
			return vm_module_base(a->h->vm, a->h->module, i) + (moff - s[i].start);
	return 0;
}

uint64_t attack_body(struct attack *a, uint64_t enter_gate)
{
	const struct gm_entry *e = table(a, &manifest(a)->entries);
	const struct gm_gate *g = table(a, &manifest(a)->gates);
	uint64_t bytes, base = attack_segment(a, GM_SEG_GATES, &bytes);

	for (unsigned i = 0; i < manifest(a)->gates.count; i++)
		if (g[i].kind == GM_GATE_ENTER && base + g[i].offset == enter_gate)
			return address(a, e[g[i].index].moff);
	return 0;
}

uint64_t attack_return_site(struct attack *a, unsigned n)
{
	const uint32_t *moff = table(a, &manifest(a)->retsites);

	return manifest(a)->retsites.count ? address(a, moff[n % manifest(a)->retsites.count]) : 0;
}

bool attack_is_return_site(struct attack *a, uint64_t gva)
{
	const uint32_t *moff = table(a, &manifest(a)->retsites);

	for (unsigned i = 0; i < manifest(a)->retsites.count; i++)
		if (address(a, moff[i]) == gva)
			return true;
	return false;
}

/* ---- memory ---- */

uint64_t attack_pte(struct attack *a, uint64_t gva, uint64_t *value)
{
	struct guard_cpu cpu;
	uint64_t at;

	vm_get_cpu(a->h->vm, a->h->vcpu, &cpu);
	*value = cpu.cr3;
	for (int shift = 39;; shift -= 9) {
		at = GH_DIRECT_MAP + (*value & PTE_ADDRESS) + (gva >> shift & 511) * 8;
		*value = hosted_get(a->h, at, 8);
		if (shift == 12 || !(*value & 1) || *value & 0x80)
			return shift == 12 ? at : 0;
	}
}

void attack_set_pte(struct attack *a, uint64_t gva, uint64_t value)
{
	uint64_t was, at = attack_pte(a, gva, &was);

	if (at)
		hosted_call(a->h, image_code(guest_poke_pte), at, value, gva, 0);
}

void attack_store(struct attack *a, uint64_t gva, uint64_t value)
{
	hosted_call(a->h, image_code(guest_poke_pte), gva, value, gva, 0);
}

/* ---- one attack ---- */

/* Neither reads nor writes reach the card from outside. */
static bool registers_kept(struct hosted *h)
{
	uint64_t reads = h->nic.reads, writes = h->nic.writes;
	uint32_t status = hosted_peek(h, HOSTED_NIC_GVA + NIC_REG_STATUS);
	uint32_t address = hosted_peek(h, HOSTED_NIC_GVA + 0x5400);

	hosted_poke(h, HOSTED_NIC_GVA + NIC_REG_CTRL, 0x04000000);
	return status == 0xffffffff && address == 0xffffffff && h->nic.reads == reads &&
	       h->nic.writes == writes;
}

static bool honest_entry(struct attack *a)
{
	uint64_t reads = a->h->nic.reads;

	attack_begin(a);
	return attack_call(a, NULL) && attack_logged(a, GUARD_ENTER_CALL, GUARD_V_OK) &&
	       a->h->nic.reads > reads;
}

bool attack_ready(struct attack *a)
{
	struct hosted *h = a->h;
	struct guard_cpu cpu;
	uint64_t ops;

	hosted_idle(h, 2000);
	vm_get_cpu(h->vm, h->vcpu, &cpu);
	cpu.rflags = 2;
	vm_set_cpu(h->vm, h->vcpu, &cpu);
	ops = h->netdev ? hosted_get(h, h->netdev + h->off.net_device_netdev_ops, 8) : 0;
	a->stats = ops ? hosted_get(h, ops + h->off.ndo_get_stats64, 8) : 0;
	a->buffer = hosted_alloc(h, h->off.rtnl_link_stats64_size);
	a->scratch = hosted_alloc_pages(h, PAGE);
	a->block = hosted_alloc(h, sizeof(struct guest_launch));
	return a->buffer && a->scratch && a->block;
}

struct attack_run {
	const struct attack_case *c;
	struct hosted_attack_row *row;
};

static void story(struct hosted *h, void *arg)
{
	const struct attack_run *run = arg;
	struct attack a = { .h = h, .row = run->row };

	if (!hosted_bring_up(h)) {
		attack_got(&a, "the driver did not come up");
		return;
	}
	if (!attack_ready(&a) || !a.stats) {
		attack_got(&a, "the driver has no ndo_get_stats64 to attack");
		return;
	}
	run->c->run(&a);
	run->row->refused = a.cases && a.good == a.cases;
	run->row->kept = registers_kept(h);
	run->row->honest = !h->dead && honest_entry(&a);
	run->row->ok = run->row->refused && run->row->kept && run->row->honest && !h->dead;
}

bool hosted_attack_one(const struct hosted_options *opt, const struct attack_case *c,
		       struct hosted_attack_row *row, struct error *err)
{
	struct attack_run run = { c, row };
	struct hosted *h = calloc(1, sizeof(*h));
	bool opened;

	memset(row, 0, sizeof(*row));
	snprintf(row->id, sizeof(row->id), "%s", c->id);
	snprintf(row->title, sizeof(row->title), "%s", c->title);
	if (!h)
		return error_set(err, "out of memory for the hosted kernel");
	opened = hosted_open(h, opt, err);
	if (opened) {
		hosted_boot(h, story, &run);
		if (h->dead)
			snprintf(row->got, sizeof(row->got), "%.90s", h->exit.message);
	}
	hosted_close(h);
	free(h);
	return opened;
}

/* ---- the list ---- */

static const struct attack_case *attack_case_at(size_t n)
{
	for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
		for (const struct attack_case *c = groups[g]; c->id; c++)
			if (!n--)
				return c;
	return NULL;
}

const char *hosted_attack_id(size_t n, const char **title)
{
	const struct attack_case *c = attack_case_at(n);

	if (c && title)
		*title = c->title;
	return c ? c->id : NULL;
}

static bool wanted(const char *id, const char *const *ids, size_t nids)
{
	for (size_t i = 0; i < nids; i++)
		if (!strcmp(ids[i], id))
			return true;
	return !nids;
}

bool hosted_attack(const struct hosted_options *opt, const char *const *ids, size_t nids,
		   struct hosted_attack_row **rows, size_t *count, struct error *err)
{
	struct hosted_options o = *opt;
	const struct attack_case *c;
	size_t all = 0;

	*rows = NULL;
	*count = 0;
	if (!o.vcpus)
		o.vcpus = 1;
	while (attack_case_at(all))
		all++;
	for (size_t i = 0; i < nids; i++) {
		size_t n;

		for (n = 0; n < all && strcmp(attack_case_at(n)->id, ids[i]); n++)
			;
		if (n == all)
			return error_set(err, "%s: no such attack on a driver; --list names them",
					 ids[i]);
	}
	*rows = calloc(all + 1, sizeof(**rows));
	if (!*rows)
		return error_set(err, "out of memory for %zu rows", all);
	for (size_t n = 0; n < all; n++) {
		c = attack_case_at(n);
		if (!wanted(c->id, ids, nids))
			continue;
		if (!hosted_attack_one(&o, c, &(*rows)[*count], err))
			return false;
		if (o.stop && o.stop())
			break;
		++*count;
	}
	return true;
}
