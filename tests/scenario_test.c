/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The scenario language: errors name their line, both forms hold the same, and no input, however
 * mutated, does harm. What the steps do when they run is tests/scenario_run_test.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>

#include <cmocka.h>

#include "scenario/scn.h"

#define HEAD "scenario T1\ntitle a test\nclass sync\nvcpus 2\nmodule counter\n"

static struct scenario *parse(const char *text)
{
	struct error err = { "" };
	struct scenario *s;

	if (!scenario_parse("t.scn", text, strlen(text), &s, &err))
		fail_msg("%s", err.text);
	return s;
}

/* The text must be refused, and the message must start with file and line and hold `what`. */
static void refused(const char *text, unsigned line, const char *what)
{
	struct error err = { "" };
	struct scenario *s;
	char where[32];

	assert_false(scenario_parse("t.scn", text, strlen(text), &s, &err));
	assert_null(s);
	snprintf(where, sizeof(where), "t.scn:%u: ", line);
	if (strncmp(err.text, where, strlen(where)) != 0 || !strstr(err.text, what))
		fail_msg("'%s' is not '%s...%s'", err.text, where, what);
}

static void test_errors_name_their_line(void **state)
{
	(void)state;
	refused("", 1, "no 'thread' line");
	refused("scenario\n", 1, "an ID is missing");
	refused("scenario A\nscenario B\n", 2, "twice");
	refused("bogus 1\n", 1, "not a header line: 'bogus'");
	refused("scenario A\ntitle\n", 2, "title is empty");
	refused("scenario A\ntitle x\nclass fast\n", 3, "sync, race or needs-nx");
	refused("scenario A\ntitle x\nvcpus 0\n", 3, "at least one");
	refused("scenario A\ntitle x\nvcpus 9\n", 3, "not a number up to");
	refused("scenario A\ntitle x\nram 1\n", 3, "ram is");
	refused("scenario A\ntitle x\nthread 1\n", 3, "not so many vCPUs");
	refused("thread 0\n", 1, "come before");
	refused("scenario A\ntitle x\nmodule a:b\n", 3, "not a module's name");
	refused("scenario A\ntitle x\nmodule a\nmodule a\n", 4, "twice");
	refused("scenario A\ntitle x\nmodule a wings\n", 3, "not a module option: 'wings'");
	refused("scenario A\ntitle x\nmodule a chains=0\n", 3, "chains are");
	refused("scenario A\ntitle x\nmodule a stack=deep\n", 3, "not a module option");
	refused("scenario A\ntitle x\nmodule a bound=gold\n", 3, "not a kind");
	refused("scenario A\ntitle x\nmodule a ioport 1\n", 3, "a number is missing");
	refused("scenario A\ntitle x\nmodule a config 0 3\n", 3, "configuration space");
	refused("scenario A\ntitle x\nmodule a config 0x44 0x43\n", 3, "configuration space");
	refused(HEAD "thread 1\nthread 0\n", 7, "ascending");
	refused(HEAD "thread 2\n", 6, "not so many vCPUs");
	refused(HEAD "thread 8\n", 6, "not a number up to 7");
	refused(HEAD "thread 0\nstops\n", 7, "a name is missing");
	refused(HEAD "thread 0\nregister counter:gate.x 1\n", 7, "an operand is missing");
	refused(HEAD "thread 0\nconfig-read3 1\n", 7, "no such step");
	refused(HEAD "thread 0\nsettle rax=1\n", 7, "not understood");
	refused(HEAD "thread 0\nfly\n", 7, "no such step: 'fly'");
	refused(HEAD "thread 0\n\n\ncall\n", 9, "an operand is missing");
	refused(HEAD "thread 0\nnever ever\n", 7, "not understood: 'ever'");
	refused(HEAD "thread 0\nwrite3 1 2\n", 7, "no such step");
	refused(HEAD "thread 0\nwrite 1 2\n", 7, "no such step");
	refused(HEAD "thread 0\ncall a rax=\n", 7, "an operand is missing");
	refused(HEAD "thread 0\ncall a rip=1\n", 7, "no such key here");
	refused(HEAD "thread 0\nread8 @nothing\n", 7, "unknown @value");
	refused(HEAD "thread 0\nread8 @v0+@v1\n", 7, "more than one @value");
	refused(HEAD "thread 0\nread8 a+b\n", 7, "more than one name");
	refused(HEAD "thread 0\nread8 8-a\n", 7, "neither");
	refused(HEAD "thread 0\nread8 0x1g\n", 7, "neither");
	refused(HEAD "thread 0\nread8 12345678901234567890123\n", 7, "neither");
	refused(HEAD "thread 0\nread8 0x10000000000000000\n", 7, "neither");
	refused(HEAD "thread 0\nread8 ~*8\n", 7, "prefixes");
	refused(HEAD "thread 0\nexpect FLY ok\n", 7, "not an event");
	refused(HEAD "thread 0\nexpect TOUCH fine\n", 7, "not a verdict");
	refused(HEAD "thread 0\nexpect-reg xmm0 1\n", 7, "not a register");
	refused(HEAD "thread 0\nprotect 1 pink\n", 7, "not a page right");
	refused(HEAD "thread 0\nsignal 99\n", 7, "not a number up to 15");
	refused(HEAD "thread 0\ncallout 9\n", 7, "not a name");
	refused(HEAD "thread 0\n# caf\303\251\n", 7, "not plain text");
	refused(HEAD "thread 0\ncall 1 2 3 4 5 6 7 8 9 10 11 12 13\n", 7, "too many operands");
}

static void test_errors_at_the_bounds(void **state)
{
	static char big[SCN_MAX_BYTES + 2];
	size_t n;

	(void)state;
	memset(big, '\n', SCN_MAX_BYTES + 1);
	big[SCN_MAX_BYTES + 1] = 0;
	{
		struct scenario *s;
		struct error err;

		assert_false(scenario_parse("t.scn", big, SCN_MAX_BYTES + 1, &s, &err));
		assert_non_null(strstr(err.text, "longer than"));
	}
	n = (size_t)sprintf(big, HEAD "thread 0\n");
	for (unsigned i = 0; i <= SCN_MAX_STEPS; i++)
		n += (size_t)sprintf(big + n, "never\n");
	refused(big, 6 + SCN_MAX_STEPS + 1, "more than");
	n = 0;
	for (unsigned i = 0; i <= SCN_MAX_REMARKS; i++)
		n += (size_t)sprintf(big + n, "# x\n");
	refused(big, SCN_MAX_REMARKS + 1, "too many comments");
	n = (size_t)sprintf(big, "scenario A\ntitle ");
	memset(big + n, 'x', SCN_MAX_TEXT);
	big[n + SCN_MAX_TEXT] = 0;
	refused(big, 2, "too long");
	n = (size_t)sprintf(big, HEAD "thread 0\nread8 ");
	memset(big + n, 'x', SCN_MAX_WORD);
	big[n + SCN_MAX_WORD] = 0;
	refused(big, 7, "neither");
}

static const struct scn_step *only_step(struct scenario *s)
{
	assert_int_equal(s->nsteps, 1);
	return &s->step[0];
}

static void test_parse_operands(void **state)
{
	struct scenario *s = parse(HEAD "thread 1\n  write2 *~counter:seg/text+@v3-8+0x10 -2\n");
	const struct scn_step *st = only_step(s);

	(void)state;
	assert_int_equal(st->op, PP_WRITE);
	assert_int_equal(st->sub, 2);
	assert_int_equal(st->thread, 1);
	assert_int_equal(st->line, 7);
	assert_int_equal(st->nargs, 2);
	assert_int_equal(st->arg[0].flags, PP_ALIAS | PP_LOAD);
	assert_int_equal(st->arg[0].dyn, PP_DYN_V3);
	assert_int_equal(st->arg[0].addend, 8);
	assert_string_equal(scn_word(s, st->arg[0].sym), "counter:seg/text");
	assert_true(st->arg[1].addend == (uint64_t)-2);
	scenario_free(s);
}

static void test_parse_keys_and_labels(void **state)
{
	struct scenario *s =
		parse(HEAD "thread 0\nreturn 7 from 3 keep rbx=@saved-rbx+1 flags=0x202\n");
	const struct scn_step *st = only_step(s);

	(void)state;
	assert_int_equal(st->label, 3);
	assert_int_equal(st->flags, PP_KEEP);
	assert_int_equal(st->nargs, 1);
	assert_int_equal(st->nkeys, 2);
	assert_int_equal(st->key[0].key, PP_KEY_RBX);
	assert_int_equal(st->key[0].o.dyn, PP_DYN_SAVED_RBX);
	assert_int_equal(st->key[1].key, PP_KEY_FLAGS);
	scenario_free(s);
}

static void test_parse_header(void **state)
{
	struct scenario *s = parse(
		"# a question\n#\nscenario E8-b\ntitle some words\nclass race\nvcpus 3\nram 32\n"
		"module counter device mwait ioport 16 31 msr 0x10 0x20 stack=exact "
		"config 0x60 0x63 registers=scrub mapping=locked refusal=quarantine chains=5 "
		"bound=private,device granted=none required=mwait unbound "
		"unannounced\nthread 0\n");
	const struct scn_module *m = &s->module[0];

	(void)state;
	assert_string_equal(scenario_id(s), "E8-b");
	assert_string_equal(scenario_title(s), "some words");
	assert_int_equal(scenario_class(s), SCN_RACE);
	assert_int_equal(scenario_vcpus(s), 3);
	assert_int_equal(s->ram_mib, 32);
	assert_int_equal(s->nremarks, 2);
	assert_int_equal(m->chains, 5);
	assert_int_equal(m->stack, 1);
	assert_int_equal(m->registers, 1);
	assert_int_equal(m->mapping, 1);
	assert_int_equal(m->refusal, 1);
	assert_int_equal(m->granted, 0);
	assert_int_equal(m->bound, 3);
	assert_int_equal(m->required, 1u << GM_PRIV_MWAIT);
	assert_int_equal(m->port_last, 31);
	assert_int_equal(m->msr_last, 32);
	assert_int_equal(m->config_first, 0x60);
	assert_int_equal(m->config_last, 0x63);
	assert_int_equal(m->flags, SCN_UNBOUND | SCN_UNANNOUNCED);
	scenario_free(s);
}

/* text -> binary -> text -> binary: both texts and both binaries are the same. */
static void round_trip(struct scenario *s)
{
	struct error err = { "" };
	struct blob a, b;
	struct scenario *t, *u;
	char *x, *y;

	assert_true(scenario_encode(s, &a));
	if (!scenario_decode("a", a.data, a.size, &t, &err))
		fail_msg("%s", err.text);
	assert_true(scenario_print(t, &x));
	if (!scenario_parse("x", x, strlen(x), &u, &err))
		fail_msg("%s in\n%s", err.text, x);
	assert_true(scenario_encode(u, &b));
	assert_int_equal(a.size, b.size);
	assert_memory_equal(a.data, b.data, a.size);
	assert_true(scenario_print(s, &y));
	assert_string_equal(x, y);
	/* and a decoded scenario knows the lines of its text */
	assert_int_equal(t->nsteps, u->nsteps);
	for (unsigned i = 0; i < t->nsteps; i++)
		assert_int_equal(t->step[i].line, u->step[i].line);
	for (unsigned i = 0; i < t->nmodules; i++)
		assert_int_equal(t->module[i].line, u->module[i].line);

	free(x);
	free(y);
	blob_free(&a);
	blob_free(&b);
	scenario_free(t);
	scenario_free(u);
}

/* One line of every step, with every optional part. */
static const char every_step[] = HEAD
	"thread 0\n# words of any kind: a=b \"c\"\n#\ncall a 1 2 3 4 5 6 7 8 ret=9 rax=1 flags=2 ring=3\n"
	"jump a+8 rsp=@stack-8\ncallout f as 2\nreturn\nreturn 1 from 2 keep r15=4\nnever\n"
	"handler 14 as 1\niret from 1 keep rip=@saved-rip+3 rax=-14\nreturns\nreturns 5\n"
	"honest a 1 2 3\noutside counter\nexpect ENTER-CALL ok site=a act=1 cause=x module=counter view=U\n"
	"expect-none\nexpect-gp\nexpect-pf\nexpect-pf 0x1000\nexpect-fault 6\nexpect-read4 a 5\n"
	"expect-reg rdi 7\nexpect-reg rip 7\nexpect-result busy\nexpect-unprivileged\n"
	"expect-suspended counter 1\nexpect-rings 4\nread1 a\nwrite8 *~a-8 -1\nawait4 a 1\n"
	"poke counter 0 1\ncopy a b 16\nlet 3 *@v2\nfind 0 @saved-rsp+8 a 16\nmap a b ro user nx noflush space 2\n"
	"map-gpa a 0xd0000000 rw kernel x\nmap-new a\nprotect a\nunmap a space 1\nswap a b\nflush a\n"
	"cr3 1\ncr0 @cr0\ncr4 @cr4+0x200000\nefer @efer\ndr0 1\ndr7 2\nraise 0x50\nsend 0x50 1\n"
	"timer 100\nist 2 a\ngate 0x50 2\nidt 0\nannounce counter\nannounce-at counter a 3\n"
	"withdraw counter\nstatus counter\nhypercall 1 2 3 4\nreload counter\ngrant counter device\ngrant counter mwait 1\n"
	"withhold counter private\nunregister counter\nreset-vcpu 1\nfail-next 1 0\nsignal 1\n"
	"maybe DEPART ok or=stack-changed or=lower-failed cause=irq\nsettle\nexpect-ok\ntss a\n"
	"config-read1 4\nconfig-write2 4 6\nexpect-config4 0x10 0xd0000000\nstart-vcpu 1\n"
	"register counter:gate.offset 1 0x10\nswitch 7\nyield\npreempt 300\nstops triple-fault\n"
	"thread 1\nwait 1\nread8 0xffffffffffffffff\nread2 @fault+counter:x.y/z-w-8\n"
	"thread 7\nsignal 2\n";

static void test_round_trip_every_step(void **state)
{
	struct scenario *s = parse(every_step);
	bool seen[PP_OP_COUNT] = { false };

	(void)state;
	for (unsigned i = 0; i < s->nsteps; i++)
		seen[s->step[i].op] = true;
	for (unsigned i = 0; i < PP_OP_COUNT; i++)
		if (!seen[i])
			fail_msg("step '%s' is not in this test", scn_ops[i].word);
	round_trip(s);
	scenario_free(s);
}

static const char *corpus(void)
{
	return "corpus/scenarios";
}

static void test_round_trip_corpus(void **state)
{
	DIR *d = opendir(corpus());
	struct dirent *e;
	unsigned n = 0;

	(void)state;
	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		struct error err = { "" };
		struct scenario *s;
		char path[512];

		if (!strstr(e->d_name, ".scn"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", corpus(), e->d_name);
		if (!scenario_load(path, &s, &err))
			fail_msg("%s", err.text);
		/* named by its ID, with the question and the answer above */
		assert_true(strlen(e->d_name) == strlen(s->id) + 4 &&
			    strncmp(e->d_name, s->id, strlen(s->id)) == 0);
		assert_true(s->nremarks >= 2);
		round_trip(s);
		scenario_free(s);
		n++;
	}
	closedir(d);
	assert_true(n >= 30);
}

/* ---- hostile input ---- */

static uint32_t random_state = 1;

static uint32_t random_number(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state;
}

/* Either form; what is accepted must survive the round trip. A copy, so that ASan sees its end. */
static bool feed(const void *data, size_t len, bool binary)
{
	struct error err = { "" };
	void *copy = malloc(len ? len : 1);
	struct scenario *s;
	bool ok;

	assert_non_null(copy);
	memcpy(copy, data, len);
	ok = binary ? scenario_decode("fuzz", copy, len, &s, &err)
		    : scenario_parse("fuzz", copy, len, &s, &err);
	free(copy);
	if (ok) {
		round_trip(s);
		scenario_free(s);
	} else {
		assert_true(strncmp(err.text, "fuzz:", 5) == 0);
		assert_null(s);
	}
	return ok;
}

static void mutate(const uint8_t *data, size_t len, bool binary)
{
	uint8_t *m = malloc(len);
	unsigned accepted = 0;

	assert_non_null(m);
	for (size_t n = 0; n < len; n++)
		feed(data, n, binary);
	for (size_t i = 0; i < len; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			memcpy(m, data, len);
			m[i] ^= (uint8_t)(1u << bit);
			accepted += feed(m, len, binary);
		}
	}
	assert_true(accepted > 0);
	for (unsigned k = 0; k < 3000; k++) {
		memcpy(m, data, len);
		for (unsigned i = random_number() % 8 + 1; i > 0; i--)
			m[random_number() % len] = (uint8_t)random_number();
		feed(m, len, binary);
	}
	free(m);
}

static void test_mutated_text(void **state)
{
	(void)state;
	mutate((const uint8_t *)every_step, sizeof(every_step) - 1, false);
}

static void test_mutated_binary(void **state)
{
	struct scenario *s = parse(every_step);
	struct blob b;

	(void)state;
	assert_true(scenario_encode(s, &b));
	assert_true(feed(b.data, b.size, true));
	mutate(b.data, b.size, true);
	blob_free(&b);
	scenario_free(s);
}

static void test_random_bytes(void **state)
{
	static const uint8_t magic[8] = { 'G', 'H', 'S', 'C', 'N', '0', '1', '\n' };
	uint8_t buf[512];

	(void)state;
	for (unsigned k = 0; k < 3000; k++) {
		size_t n = random_number() % sizeof(buf);

		for (size_t i = 0; i < n; i++)
			buf[i] = (uint8_t)random_number();
		feed(buf, n, false);
		if (n > 8)
			memcpy(buf, magic, sizeof(magic));
		feed(buf, n, true);
	}
}

static void test_bytes_behind_the_end(void **state)
{
	struct scenario *s = parse(HEAD "thread 0\nnever\n");
	struct error err;
	struct blob b;
	uint8_t more[512] = { 0 };

	(void)state;
	assert_true(scenario_encode(s, &b));
	assert_true(b.size + 1 < sizeof(more));
	memcpy(more, b.data, b.size);
	scenario_free(s);
	assert_false(scenario_decode("b", more, b.size + 1, &s, &err));
	assert_non_null(strstr(err.text, "behind the end"));
	blob_free(&b);
}

static void test_load_says_which_file(void **state)
{
	struct error err = { "" };
	struct scenario *s;

	(void)state;
	assert_false(scenario_load("no/such/file.scn", &s, &err));
	assert_null(s);
	assert_non_null(strstr(err.text, "no/such/file.scn"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors_name_their_line),
		cmocka_unit_test(test_errors_at_the_bounds),
		cmocka_unit_test(test_parse_operands),
		cmocka_unit_test(test_parse_keys_and_labels),
		cmocka_unit_test(test_parse_header),
		cmocka_unit_test(test_round_trip_every_step),
		cmocka_unit_test(test_round_trip_corpus),
		cmocka_unit_test(test_mutated_text),
		cmocka_unit_test(test_mutated_binary),
		cmocka_unit_test(test_random_bytes),
		cmocka_unit_test(test_bytes_behind_the_end),
		cmocka_unit_test(test_load_says_which_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
