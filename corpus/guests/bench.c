/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bench: loops that `make bench` times, not a test. main() makes the module ready and stops at a
 * host call; the benchmark then sets RIP to one of the functions below, RDI to a count and RSI to
 * a page, and every function ends in bench_stop.
 */
#include "corpus/lib/guest.h"
#include "corpus/modules/counter.h"

GUARDHOUSE("module counter\\n");

/* Each iteration of a loop is LOOP_INSTRUCTIONS of bench/sim_bench.c. */
__asm__(".text\n"
	".globl loop_alu, loop_memory, loop_call, bench_stop\n"
	".balign 64\n"
	"loop_alu:\n"
	"	add %rdi, %rax\n"
	"	xor %rax, %rdx\n"
	"	rol $7, %rdx\n"
	"	lea 3(%rax,%rdx), %rcx\n"
	"	sub %rcx, %rax\n"
	"	and $0x7fffffff, %rdx\n"
	"	dec %rdi\n"
	"	jnz loop_alu\n"
	"	ret\n"
	".balign 64\n"
	"loop_memory:\n"
	"	mov (%rsi), %rax\n"
	"	add %rdi, %rax\n"
	"	mov %rax, (%rsi)\n"
	"	mov 64(%rsi), %rdx\n"
	"	mov %rdx, 128(%rsi)\n"
	"	add 256(%rsi), %rdx\n"
	"	dec %rdi\n"
	"	jnz loop_memory\n"
	"	ret\n"
	".balign 64\n"
	"1:	add $1, %rax\n"
	"	ret\n"
	"loop_call:\n"
	"	call 1b\n"
	"	xor %rax, %rdx\n"
	"	add %rdi, %rdx\n"
	"	call 1b\n"
	"	dec %rdi\n"
	"	jnz loop_call\n"
	"	ret\n"
	".balign 64\n"
	"bench_stop:\n"
	"	out %al, $0xf8\n"
	"	jmp bench_stop\n");

void bench_stop(void);
void bench_null(unsigned long n);
void bench_null_out(unsigned long n);
void bench_port(unsigned long n);
void bench_enter(unsigned long n);
void bench_callout(unsigned long n);

static long same(long n)
{
	return n;
}

/* An X that is the VMM's own business: out of the engine, judged as foreign, back. */
void bench_null(unsigned long n)
{
	while (n--)
		__asm__ volatile("vmmcall" : : "a"(0x1234) : "memory");
}

/* The same with the X that is an OUT. */
void bench_null_out(unsigned long n)
{
	while (n--)
		__asm__ volatile("out %%al, $0xb6\n\tnop" : : "a"(0x1234) : "memory");
}

/* A port that nobody knows: out of the engine and back, and nothing is judged. */
void bench_port(unsigned long n)
{
	while (n--)
		__asm__ volatile("out %%al, $0x80" : : "a"(0) : "memory");
}

/* Two crossings a round. */
void bench_enter(unsigned long n)
{
	unsigned long (*get)(void) = (unsigned long (*)(void))ENTRY("counter", counter_get);

	while (n--)
		get();
}

/* Four crossings a round. */
void bench_callout(unsigned long n)
{
	long (*out)(long) = (long (*)(long))ENTRY("counter", counter_callout);

	while (n--)
		out(1);
}

int main(void)
{
	hooks.callout = same;
	if (module_init("counter") != 0)
		return 1;
	bench_stop();
	return 0;
}
