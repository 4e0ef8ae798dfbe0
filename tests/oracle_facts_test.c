/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the oracle says to single facts, told by hand: each rule of docs/oracle.md once broken, with
 * what is right beside it. That it agrees with honest runs is tests/oracle_guests_test.sh.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "oracle/oracle.h"
#include "tests/support/world.h"

#define RAM_BYTES 0x10000u
#define DEVICE 0xfe000000ull
#define STACK 0x8000u

static uint8_t memory[RAM_BYTES];

static bool ram(void *ctx, uint64_t gpa, void *buf, size_t len)
{
	(void)ctx;
	if (gpa >= RAM_BYTES || len > RAM_BYTES - gpa)
		return false;
	memcpy(buf, memory + gpa, len);
	return true;
}

/* Two vCPUs, the standard module as number 0, bound to a device and granted nothing. */
static struct oracle *start(void)
{
	struct oracle_callbacks cb = { .ram = ram };
	struct oracle *o = oracle_new(2, ORACLE_ALONE, &cb);
	struct oracle_binding b = { .id = 7, .bound = ~0ull, .chains = 2 };
	struct std_options opt = std_default();
	const struct gm_header *h;
	const struct gm_privilege *p;
	size_t len = 0;
	void *manifest = std_manifest(&opt, &len);

	assert_non_null(o);
	h = manifest;
	p = (const void *)((const uint8_t *)manifest + h->privileges.offset);
	for (uint32_t i = 0; i < h->privileges.count; i++)
		if (p[i].kind == GM_PRIV_DEVICE) {
			b.range[i].base = DEVICE;
			b.range[i].length = 0x1000;
		}
	oracle_registered(o, 0, manifest, len, &b);
	free(manifest);
	assert_null(oracle_failure(o));
	return o;
}

static void agrees(struct oracle *o)
{
	if (oracle_failure(o))
		fail_msg("%s", oracle_failure(o));
	oracle_free(o);
}

static void says(struct oracle *o, const char *what)
{
	if (!oracle_failure(o))
		fail_msg("no disagreement; expected: %s", what);
	if (!strstr(oracle_failure_line(o), what))
		fail_msg("expected: %s; got: %s", what, oracle_failure_line(o));
	assert_non_null(strstr(oracle_failure(o), "last crossings"));
	oracle_free(o);
}

static void a_view_without_a_crossing(void **state)
{
	struct oracle_place copy = { .backing = ORACLE_COPY };
	static const uint8_t code[15] = { 0x90 };
	struct oracle *o = start();

	(void)state;
	oracle_runs(o, 0, ORACLE_OUTSIDE);
	agrees(o);
	o = start();
	oracle_runs(o, 0, 0);
	says(o, "G2 exit");
	o = start();
	oracle_instruction(o, 1, 0, 0xffffffffc0000000ull, 0, 0, code, 1, &copy);
	says(o, "G1 entry");
}

static void pages_that_show_too_much(void **state)
{
	static const struct {
		uint64_t gpa;
		enum oracle_backing backing;
		unsigned access;
		uint8_t view;
		const char *what; /* NULL: as it must be */
	} page[] = {
		{ 0x1000, ORACLE_GUEST, ORACLE_WRITE | ORACLE_EXEC, ORACLE_OUTSIDE, NULL },
		{ 0x1000, ORACLE_GUEST, ORACLE_WRITE, 0, NULL },
		{ 0x1000, ORACLE_GUEST, ORACLE_EXEC, 0, "executable inside" },
		{ 0x1000, ORACLE_COPY, 0, ORACLE_OUTSIDE, "page of the VMM's" },
		{ 0x1000, ORACLE_COPY, 0, 0, "page of the VMM's" },
		{ DEVICE, ORACLE_ONES, ORACLE_WRITE, ORACLE_OUTSIDE, NULL },
		{ DEVICE, ORACLE_DEVICE, 0, ORACLE_OUTSIDE, "bound device" },
		{ DEVICE, ORACLE_ZEROS, 0, ORACLE_OUTSIDE, "bound device" },
		{ DEVICE, ORACLE_DEVICE, 0, 0, "bound device" }, /* bound, and not granted */
		{ DEVICE + 0x1000, ORACLE_DEVICE, 0, ORACLE_OUTSIDE, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(page) / sizeof(page[0]); i++) {
		struct oracle_place w = { .backing = page[i].backing, .at = page[i].gpa };
		struct oracle *o = start();

		oracle_shows(o, 0, page[i].view, page[i].gpa, 1, &w, page[i].access);
		if (page[i].what)
			says(o, page[i].what);
		else
			agrees(o);
	}
}

static void uses_and_deliveries(void **state)
{
	struct oracle *o = start();

	(void)state;
	oracle_used(o, 0, GM_PRIV_DEVICE, DEVICE + 0x1000);
	oracle_delivers(o, 0, ORACLE_OUTSIDE);
	agrees(o);
	o = start();
	oracle_used(o, 0, GM_PRIV_DEVICE, DEVICE + 4);
	says(o, "G3 privacy");
	o = start();
	oracle_used(o, 0, GM_PRIV_MWAIT, 0);
	says(o, "G3 privacy");
	o = start();
	oracle_delivers(o, 0, 0);
	says(o, "still inside");
	o = start();
	oracle_registered(o, 0, NULL, 0, &(struct oracle_binding){ 0 });
	says(o, "given twice");
}

/* An X outside of every gate, on a stack at guest-physical STACK that nothing maps. */
static struct oracle_event event(void)
{
	struct oracle_event ev = { .kind = ORACLE_X, .vcpu = 0, .cause = GUARD_CAUSE_X };

	ev.cpu.rip = 0xffffffff81000000ull;
	ev.cpu.gpr[ORACLE_RSP] = 0xffffc90000000000ull + STACK;
	ev.cpu.plain64 = true;
	return ev;
}

static void claims(void **state)
{
	struct oracle_event ev = event();
	struct oracle_outcome out = { .lines = 1, .view = 0 };
	struct oracle *o = start();

	(void)state;
	out.line[0] = (struct oracle_line){
		.event = GUARD_ENTER_CALL, .verdict = GUARD_V_OK, .from = ORACLE_OUTSIDE, .to = 0
	};
	oracle_before(o, &ev);
	oracle_after(o, &ev, &out);
	says(o, "this is no enter gate");

	/* the engine raises, and nobody has said why */
	o = start();
	out.lines = 0;
	oracle_before(o, &ev);
	oracle_after(o, &ev, &out);
	says(o, "has the view of module 0");

	/* a refusal needs no proof */
	o = start();
	out.lines = 1;
	out.view = ORACLE_OUTSIDE;
	out.line[0].verdict = GUARD_V_BAD_FLAGS;
	out.line[0].to = ORACLE_OUTSIDE;
	oracle_before(o, &ev);
	oracle_after(o, &ev, &out);
	agrees(o);

	/* but a refusal that writes is none */
	o = start();
	oracle_before(o, &ev);
	memset(memory + STACK, 0, 8);
	oracle_core_wrote(o, STACK, memory + STACK, 8);
	memory[STACK] = 1;
	oracle_after(o, &ev, &out);
	says(o, "refuses and has written");
	o = start();
	oracle_before(o, &ev);
	oracle_core_wrote(o, STACK, memory + STACK, 8);
	memory[STACK] = 0;
	oracle_core_wrote(o, STACK, (const uint8_t[8]){ 0 }, 8);
	memory[STACK] = 1; /* put back */
	oracle_after(o, &ev, &out);
	agrees(o);

	/* the core's own idea of where the vCPU was */
	o = start();
	out.line[0].from = 0;
	oracle_before(o, &ev);
	oracle_after(o, &ev, &out);
	says(o, "elsewhere than it is");
}

static void a_stopped_vcpu_stays_so(void **state)
{
	struct oracle_event ev = event();
	struct oracle_outcome out = { .view = ORACLE_OUTSIDE, .stop = 1 };
	struct oracle *o = start();

	(void)state;
	oracle_before(o, &ev);
	oracle_after(o, &ev, &out);
	oracle_runs(o, 1, ORACLE_OUTSIDE);
	assert_null(oracle_failure(o));
	oracle_runs(o, 0, ORACLE_OUTSIDE);
	says(o, "could not be lowered");

	/* nor is it asked about: by an engine whose exit came too late there is one answer, stop */
	o = start();
	oracle_before(o, &ev);
	oracle_after(o, &ev, &out);
	oracle_before(o, &ev);
	oracle_after(o, &ev, &out);
	agrees(o);
	o = start();
	oracle_before(o, &ev);
	oracle_after(o, &ev, &out);
	out.lines = 1;
	out.line[0] = (struct oracle_line){ .event = GUARD_ENTER_CALL,
					    .verdict = GUARD_V_BAD_FLAGS,
					    .from = ORACLE_OUTSIDE,
					    .to = ORACLE_OUTSIDE };
	oracle_before(o, &ev);
	oracle_after(o, &ev, &out);
	says(o, "is judged again");
}

/* Numbered calls come from plain 64-bit mode at CPL 0, or not at all. */
static void an_announcement_from_elsewhere(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 3; n++) {
		struct oracle_event ev = event();
		struct oracle_outcome out = { .lines = 1, .view = ORACLE_OUTSIDE };
		struct oracle *o = start();

		ev.cpu.gpr[ORACLE_RBX] = 7;
		ev.cpu.cpl = n == 1 ? 3 : 0;
		ev.cpu.plain64 = n != 2;
		out.line[0] = (struct oracle_line){ .event = GUARD_WITHDRAW,
						    .verdict = GUARD_V_OK,
						    .from = ORACLE_OUTSIDE,
						    .to = ORACLE_OUTSIDE };
		oracle_before(o, &ev);
		oracle_after(o, &ev, &out);
		if (n)
			says(o, n == 1 ? "from CPL 3 is heard" : "not in plain 64-bit mode");
		else
			agrees(o);
	}
}

/* The first disagreement is what is told, whatever follows. */
static void the_first_one_counts(void **state)
{
	struct oracle *o = start();

	(void)state;
	oracle_delivers(o, 0, 0);
	oracle_runs(o, 0, 0);
	says(o, "still inside");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_view_without_a_crossing),
		cmocka_unit_test(pages_that_show_too_much),
		cmocka_unit_test(uses_and_deliveries),
		cmocka_unit_test(claims),
		cmocka_unit_test(a_stopped_vcpu_stays_so),
		cmocka_unit_test(an_announcement_from_elsewhere),
		cmocka_unit_test(the_first_one_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
