/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instances wear out: code that is translated anew all the time fills an instance's buffer, which
 * at 1 GiB makes Unicorn crash. What a guest does for long must cost neither memory nor the run.
 */
#include <sys/resource.h>

#include "sim/sim.h"
#include "tests/support/simvm.h"

#define ROUNDS 100u
#define SPREAD (160ul << 20)

static unsigned long peak_bytes(void)
{
	struct rusage u;

	assert_int_equal(getrusage(RUSAGE_SELF, &u), 0);
	return (unsigned long)u.ru_maxrss * 1024;
}

/* A block for every two bytes of code; each round reloads CR3, after which all are made again. */
static void test_new_code_for_long(void **state)
{
	static const uint8_t head[] = {
		0xbb, ROUNDS, 0,    0,	  0,	      /* mov $ROUNDS,%ebx */
		0x90,				      /* nop */
		0x0f, 0x20,   0xd8, 0x0f, 0x22, 0xd8, /* mov %cr3,%rax; mov %rax,%cr3 */
	};
	static const uint8_t tail[] = { 0xff, 0xcb, 0x0f, 0x85 }; /* dec %ebx; jnz the reload */
	static uint8_t code[0x4000];
	const unsigned again = 6;
	unsigned long before;
	struct simvm *s;
	unsigned at;
	int32_t back;

	(void)state;
	memcpy(code, head, sizeof(head));
	for (at = sizeof(head); at < sizeof(code) - 0x40; at += 2)
		memcpy(code + at, (const uint8_t[]){ 0xeb, 0x00 }, 2); /* jmp to the next */
	memcpy(code + at, tail, sizeof(tail));
	at += sizeof(tail) + 4;
	back = (int32_t)again - (int32_t)at;
	memcpy(code + at - 4, &back, sizeof(back));
	memcpy(code + at, (const uint8_t[]){ 0x31, 0xc0, 0xe7, 0xf4 }, 4); /* exit 0 */

	s = sv_create(1, 1, 0);
	assert_true(sim_fast);
	sv_code(s, 0, code, sizeof(code));
	sv_start(s, 0, 0, false);
	before = peak_bytes();
	sv_run(s);
	assert_int_equal(s->exit.reason, VM_EXIT_GUEST);
	assert_int_equal(s->exit.status, 0);
	sv_destroy(s);
#ifdef __SANITIZE_ADDRESS__
	printf("SKIP: AddressSanitizer keeps what is freed, so memory cannot be measured\n");
	skip();
#endif
	assert_true(peak_bytes() - before < SPREAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_code_for_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
