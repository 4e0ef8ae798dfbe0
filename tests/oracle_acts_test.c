/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reference model's word on what is no crossing, told by hand: TOUCH and the acts of the
 * administrator, each with the verdict that must come and with another one. VERIFY needs text and
 * guest memory: the scenarios I7 and the core's own tests have it (tests/oracle_world_test.sh).
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

#define DEVICE 0xfe000000ull
#define ID 7

static void *manifest;
static size_t manifest_len;
static unsigned device_privilege;

static bool ram(void *ctx, uint64_t gpa, void *buf, size_t len)
{
	(void)ctx;
	(void)gpa;
	memset(buf, 0, len);
	return false;
}

static struct oracle_binding binding(void)
{
	struct oracle_binding b = { .id = ID, .bound = 1ull << device_privilege, .chains = 2 };

	b.range[device_privilege].base = DEVICE;
	b.range[device_privilege].length = 0x1000;
	return b;
}

static struct oracle *empty(void)
{
	struct oracle_callbacks cb = { .ram = ram };
	struct oracle *o = oracle_new(2, ORACLE_MODEL, &cb);

	assert_non_null(o);
	return o;
}

/* The standard module as number 0, bound to a device alone. */
static struct oracle *start(void)
{
	struct oracle *o = empty();
	struct oracle_binding b = binding();

	oracle_registered(o, 0, manifest, manifest_len, &b);
	return o;
}

/* `what` NULL: it agrees. */
static void says(struct oracle *o, const char *what)
{
	const char *line = oracle_failure_line(o);

	if (!what && line)
		fail_msg("no disagreement expected; got: %s", line);
	if (what && (!line || !strstr(line, what)))
		fail_msg("expected: %s; got: %s", what, line ? line : "nothing");
	oracle_free(o);
}

static int make_manifest(void **state)
{
	struct std_options opt = std_default();
	const struct gm_privilege *p;

	(void)state;
	manifest = std_manifest(&opt, &manifest_len);
	p = (const void *)((const uint8_t *)manifest +
			   ((const struct gm_header *)manifest)->privileges.offset);
	while (p[device_privilege].kind != GM_PRIV_DEVICE)
		device_privilege++;
	return 0;
}

static int free_manifest(void **state)
{
	(void)state;
	free(manifest);
	return 0;
}

static void touch(uint64_t gpa, uint8_t module, enum guard_verdict verdict, unsigned lines,
		  const char *what)
{
	struct oracle_event ev = { .kind = ORACLE_TOUCH, .gpa = gpa };
	struct oracle_outcome out = { .lines = lines, .view = ORACLE_OUTSIDE };
	struct oracle *o = start();

	ev.cpu.rip = out.cpu.rip = 0xffffffff81000000ull;
	for (unsigned i = 0; i < lines; i++)
		out.line[i] = (struct oracle_line){ .event = GUARD_TOUCH,
						    .verdict = verdict,
						    .module = module,
						    .from = ORACLE_OUTSIDE,
						    .to = ORACLE_OUTSIDE };
	oracle_before(o, &ev);
	oracle_after(o, &ev, &out);
	if (what)
		assert_non_null(strstr(oracle_failure(o), "a stand-in was read or written"));
	says(o, what);
}

static void touches(void **state)
{
	(void)state;
	touch(DEVICE + 8, 0, GUARD_V_NOT_PRIVILEGED, 1, NULL);
	touch(DEVICE + 0x1000, ORACLE_OUTSIDE, GUARD_V_NOT_PRIVILEGED, 1, NULL);
	touch(UINT64_MAX, ORACLE_OUTSIDE, GUARD_V_NOT_PRIVILEGED, 1, NULL);
	touch(DEVICE + 8, ORACLE_OUTSIDE, GUARD_V_NOT_PRIVILEGED, 1, "TOUCH of module 0");
	touch(DEVICE + 0x1000, 0, GUARD_V_NOT_PRIVILEGED, 1, "TOUCH of module 255");
	touch(DEVICE, 0, GUARD_V_OK, 1, "not-privileged");
	touch(DEVICE, 0, GUARD_V_NOT_PRIVILEGED, 0, "must be judged");
	touch(DEVICE, 0, GUARD_V_NOT_PRIVILEGED, 2, "nothing more");
}

static struct oracle_request request(void)
{
	struct oracle_request r = { .bound = true, .digested = true, .room = true };

	r.binding = binding();
	r.digest[0] = r.names[0] = ID + 1;
	return r;
}

/* `want` is what must come of it where one module is registered, or none. */
static void registers(const struct oracle_request *r, bool other, size_t len,
		      enum guard_verdict want)
{
	for (unsigned v = 0; v < GUARD_NVERDICTS; v++) {
		struct oracle *o = other ? start() : empty();
		/* our reader is no validator */
		bool either = v == GUARD_V_BAD_MANIFEST && r->digested;

		oracle_admin_begins(o);
		oracle_judged_register(o, manifest, len, r, (enum guard_verdict)v, other);
		says(o, v == want || either ? NULL : "REGISTER");
	}
}

static void registrations(void **state)
{
	struct oracle_request r = request();
	struct oracle *o;

	(void)state;
	registers(&r, false, manifest_len, GUARD_V_OK);
	registers(&r, true, manifest_len, GUARD_V_NOT_BOUND); /* the device is another one's */
	r.binding.range[device_privilege].base += 0x1000;
	registers(&r, true, manifest_len, GUARD_V_OK);
	r.binding.range[device_privilege].length = 0x800;
	registers(&r, false, manifest_len, GUARD_V_NOT_BOUND);
	r = request();
	r.names[31] = 1;
	registers(&r, false, manifest_len, GUARD_V_NOT_BOUND);
	r = request();
	r.binding.bound = 1ull << 15;
	registers(&r, false, manifest_len, GUARD_V_NOT_BOUND);
	r = request();
	r.binding.chains = 0;
	registers(&r, false, manifest_len, GUARD_V_NOT_BOUND);
	r = request();
	r.bound = false;
	registers(&r, false, manifest_len, GUARD_V_NOT_BOUND);
	r = request();
	r.room = false;
	registers(&r, false, manifest_len, GUARD_V_NO_ROOM);
	r = request();
	memset(r.digest, 0, sizeof(r.digest));
	r.digest[0] = ID;
	registers(&r, true, manifest_len, GUARD_V_NO_ROOM); /* twice the same */
	r.digested = false;
	registers(&r, false, manifest_len, GUARD_V_BAD_MANIFEST);
	r = request();
	o = empty();
	oracle_judged_register(o, manifest, manifest_len - 1, &r, GUARD_V_OK, 0);
	says(o, "bad-manifest");
	o = empty();
	oracle_judged_register(o, manifest, manifest_len, &r, GUARD_V_OK, 3);
	says(o, "module number 0");
	o = empty(); /* the platform will not hide that device */
	oracle_admin_begins(o);
	oracle_platform_failed(o);
	oracle_judged_register(o, manifest, manifest_len, &r, GUARD_V_NOT_BOUND, 0);
	says(o, NULL);
}

/* The truth alone, where the core has accepted this. */
static void accepted(const struct oracle_request *r, bool there, const char *what)
{
	struct oracle_callbacks cb = { .ram = ram };
	struct oracle *o = oracle_new(2, ORACLE_ALONE, &cb);
	struct oracle_binding b = binding();

	assert_non_null(o);
	if (there)
		oracle_registered(o, 0, manifest, manifest_len, &b);
	oracle_judged_register(o, manifest, manifest_len, r, GUARD_V_OK, there);
	says(o, what);
}

/* Without the model, too: nothing is bound but by a binding for exactly this code. */
static void bindings(void **state)
{
	struct oracle_request r = request();

	(void)state;
	accepted(&r, false, NULL);
	accepted(&r, true,
		 "G4 binding: a module is registered though a device is bound that is another");
	r.binding.range[device_privilege].base += 0x1000;
	accepted(&r, true, NULL);
	r.digest[0] = r.names[0] = ID;
	memset(r.digest + 1, 0, sizeof(r.digest) - 1);
	memset(r.names + 1, 0, sizeof(r.names) - 1);
	accepted(&r, false, NULL);
	accepted(&r, true, "G4 binding: a module is registered though this very code is bound");
	r = request();
	r.binding.range[device_privilege].base = 0 - 0x1000ull;
	r.binding.range[device_privilege].length = 0x2000;
	accepted(&r, false, "whole pages");
	r.binding.bound = 0;
	accepted(&r, false, NULL);
	r = request();
	r.names[31] = 1;
	accepted(&r, false, "names other code");
	r = request();
	r.binding.bound = 1ull << 15;
	accepted(&r, false, "more is bound than it declares");
	r = request();
	r.bound = false;
	accepted(&r, false, "nobody has bound it");
}

struct odd {
	enum mb_table table;
	const char *field;
	uint64_t value;
};

/* What no reader knows is never registered: our reader says so, whatever the core does. */
static void unknown_is_refused(void **state)
{
	static const struct odd odds[] = {
		{ MB_TABLES, "flags", 2 },
		{ MB_TABLES, "reserved", 1 },
		{ MB_SEGMENTS, "segment.reserved", 1 },
		{ MB_GATES, "gate.reserved", 1 },
		{ MB_ENTRIES, "entry.flags", 8 },
		{ MB_IMPORTS, "import.flags", 2 },
		{ MB_RELOCS, "reloc.reserved", 1 },
		{ MB_SITES, "site.flags", 2 },
		{ MB_CHOICE_RELOCS, "reloc.reserved", 1 },
		{ MB_UNWIND, "unwind.reserved", 1 },
	};
	struct oracle_request r = request();

	(void)state;
	for (size_t i = 0; i < sizeof(odds) / sizeof(odds[0]); i++) {
		uint8_t *copy = malloc(manifest_len);
		struct oracle *o = empty();
		const struct mb_field *f = mb_fields;

		while (f->table != odds[i].table || strcmp(f->name, odds[i].field) != 0)
			assert_true(++f < mb_fields + mb_nfields);
		memcpy(copy, manifest, manifest_len);
		mb_set_field(mb_record(copy, f->table, 0), f, odds[i].value);
		oracle_admin_begins(o);
		oracle_judged_register(o, copy, manifest_len, &r, GUARD_V_OK, 0);
		says(o, "bad-manifest");
		free(copy);
	}
}

/* Nobody is inside: these depend on what is registered alone. */
static void acts(void **state)
{
	(void)state;
	for (unsigned v = 0; v < GUARD_NVERDICTS; v++) {
		enum guard_verdict verdict = (enum guard_verdict)v;
		struct oracle *o = start();

		oracle_admin_begins(o);
		oracle_judged_grant(o, 1, 0, true, verdict, 0);
		says(o, v == GUARD_V_OK ? NULL : "GRANT");
		o = start();
		oracle_admin_begins(o);
		oracle_judged_grant(o, 1, 0, false, verdict, 2);
		says(o, v == GUARD_V_OK ? NULL : "WITHHOLD");
		o = start();
		oracle_admin_begins(o);
		oracle_judged_grant(o, 2, 0, true, verdict, 0);
		says(o, v == GUARD_V_UNKNOWN_MODULE ? NULL : "GRANT");
		o = start();
		oracle_admin_begins(o);
		oracle_judged_unregister(o, 0, verdict, 0);
		says(o, v == GUARD_V_OK ? NULL : "UNREGISTER");
		o = start();
		oracle_admin_begins(o);
		oracle_judged_unregister(o, 1, verdict, 0);
		says(o, v == GUARD_V_UNKNOWN_MODULE ? NULL : "UNREGISTER");
		o = start();
		oracle_admin_begins(o);
		oracle_judged_reset(o, 0, verdict);
		says(o, v == GUARD_V_OK ? NULL : "RESET");
	}
}

static void kicks(void **state)
{
	struct oracle *o = start();

	(void)state;
	oracle_judged_grant(o, 1, 0, false, GUARD_V_OK, 0);
	says(o, "WITHHOLD kicks vCPUs 0x2");
	o = start();
	oracle_judged_unregister(o, 0, GUARD_V_OK, 1);
	says(o, "UNREGISTER kicks vCPUs 0x0");
	o = start();
	oracle_admin_begins(o);
	oracle_platform(o, true, true);
	oracle_judged_grant(o, 0, 0, true, GUARD_V_OK, 0);
	says(o, "nothing is raised");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(touches),  cmocka_unit_test(registrations),
		cmocka_unit_test(bindings), cmocka_unit_test(unknown_is_refused),
		cmocka_unit_test(acts),	    cmocka_unit_test(kicks),
	};

	return cmocka_run_group_tests(tests, make_manifest, free_manifest);
}
