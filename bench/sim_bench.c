/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The simulator's speed: three loops against the same code in a bare Unicorn with an empty block
 * hook, in the same process and turn by turn; crossings a second; the cost of a view switch; the
 * cost of the oracle.
 *
 * usage: sim_bench BENCH.ELF (the guest corpus/guests/bench.c)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unicorn/unicorn.h>

#include "cli/guest.h"
#include "sim/sim.h"
#include "vmm/internal.h"

#define TURNS 7
#define PAGE 4096ull
#define RAW_STACK 0x10000000ull
#define RAW_DATA 0x20000000ull
#define AIM 0.9

struct loop {
	const char *name;
	const char *symbol;
	uint64_t rounds;
	unsigned instructions; /* a round, see corpus/guests/bench.c */
};

static const struct loop loops[] = {
	{ "ALU", "loop_alu", 20000000, 8 },
	{ "load/store", "loop_memory", 5000000, 8 },
	{ "call/return", "loop_call", 5000000, 10 },
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void die(const char *what)
{
	fprintf(stderr, "sim_bench: %s\n", what);
	exit(1);
}

static uint64_t symbol(struct vm *vm, const char *name)
{
	uint64_t gva;

	if (!vm_symbol_address(vm, name, &gva))
		die(name);
	return gva;
}

/* Every function of the guest ends in bench_stop's host call. */
static bool stop(void *ctx, struct vm *vm, unsigned vcpu)
{
	(void)ctx;
	(void)vm;
	(void)vcpu;
	return false;
}

/* Seconds that fn(rounds, data) takes in the guest. */
static double in_guest(struct vm *vm, const struct guard_cpu *home, const char *fn, uint64_t rounds,
		       uint64_t data)
{
	struct guard_cpu cpu = *home;
	uint64_t back = symbol(vm, "bench_stop");
	struct vm_exit exit;
	double t;

	cpu.gpr[GUARD_RSP] = (cpu.gpr[GUARD_RSP] & ~15ull) - 8;
	if (!vm_write_u(vm, 0, cpu.gpr[GUARD_RSP], &back, sizeof(back)))
		die("no stack");
	cpu.gpr[GUARD_RDI] = rounds;
	cpu.gpr[GUARD_RSI] = data;
	cpu.rip = symbol(vm, fn);
	vm_set_cpu(vm, 0, &cpu);
	t = now();
	vm_run(vm, &exit);
	t = now() - t;
	if (exit.reason != VM_EXIT_HOST)
		die(exit.message);
	return t;
}

static void on_block(uc_engine *uc, uint64_t address, uint32_t size, void *ctx)
{
	(void)uc;
	(void)address;
	(void)size;
	(void)ctx;
}

/* A bare Unicorn with the loops' page at the same address. */
static uc_engine *raw_open(struct vm *vm)
{
	uint64_t page = symbol(vm, "loop_alu") & ~(PAGE - 1);
	uint8_t code[2 * PAGE];
	uc_engine *uc = NULL;
	uc_hook hook;

	if (!vm_read_u(vm, 0, page, code, sizeof(code)) ||
	    uc_open(UC_ARCH_X86, UC_MODE_64, &uc) != UC_ERR_OK ||
	    uc_mem_map(uc, page, sizeof(code), UC_PROT_ALL) != UC_ERR_OK ||
	    uc_mem_map(uc, RAW_STACK, PAGE, UC_PROT_READ | UC_PROT_WRITE) != UC_ERR_OK ||
	    uc_mem_map(uc, RAW_DATA, PAGE, UC_PROT_READ | UC_PROT_WRITE) != UC_ERR_OK ||
	    uc_mem_write(uc, page, code, sizeof(code)) != UC_ERR_OK ||
	    uc_hook_add(uc, &hook, UC_HOOK_BLOCK, (void *)on_block, NULL, 1, 0) != UC_ERR_OK)
		die("cannot set up a bare Unicorn");
	return uc;
}

static double in_raw(uc_engine *uc, uint64_t rip, uint64_t halt, uint64_t rounds)
{
	uint64_t rsp = RAW_STACK + PAGE - 64, data = RAW_DATA;
	double t;

	if (uc_mem_write(uc, rsp, &halt, sizeof(halt)) != UC_ERR_OK)
		die("bare Unicorn: no stack");
	uc_reg_write(uc, UC_X86_REG_RSP, &rsp);
	uc_reg_write(uc, UC_X86_REG_RDI, &rounds);
	uc_reg_write(uc, UC_X86_REG_RSI, &data);
	t = now();
	if (uc_emu_start(uc, rip, 0, 0, 0) != UC_ERR_OK)
		die("bare Unicorn: the loop failed");
	return now() - t;
}

static int compare_loops(struct vm *vm, const struct guard_cpu *home, uint64_t data)
{
	/* the loops' own page holds bench_stop; its out is replaced by hlt for the bare one */
	static const uint8_t hlt = 0xf4;
	uint64_t halt = symbol(vm, "bench_stop");
	uc_engine *uc = raw_open(vm);
	int missed = 0;

	uc_mem_write(uc, halt, &hlt, 1);
	printf("%-12s %14s %14s %8s\n", "loop", "guest MIPS", "bare MIPS", "ratio");
	for (size_t i = 0; i < sizeof(loops) / sizeof(loops[0]); i++) {
		const struct loop *l = &loops[i];
		double guest = 1e9, bare = 1e9, mips = (double)(l->rounds * l->instructions) * 1e-6;

		for (int turn = 0; turn < TURNS; turn++) {
			double t = in_guest(vm, home, l->symbol, l->rounds, data);

			guest = t < guest ? t : guest;
			t = in_raw(uc, symbol(vm, l->symbol), halt, l->rounds);
			bare = t < bare ? t : bare;
		}
		printf("%-12s %14.0f %14.0f %8.2f  aim %.1f  %s\n", l->name, mips / guest,
		       mips / bare, bare / guest, AIM, bare / guest >= AIM ? "met" : "MISSED");
		missed += bare / guest < AIM;
	}
	uc_close(uc);
	return missed;
}

static double best_of(struct vm *vm, const struct guard_cpu *home, const char *fn, double each)
{
	const uint64_t rounds = 50000;
	double best = 1e9;

	for (int turn = 0; turn < TURNS; turn++) {
		double t = in_guest(vm, home, fn, rounds, 0);

		best = t < best ? t : best;
	}
	return best / ((double)rounds * each) * 1e9;
}

/* A null X leaves the engine and comes back: what a crossing costs more is the core, the log and
 * the switch of the view. */
static void crossings(struct vm *vm, const struct guard_cpu *home)
{
	double null = best_of(vm, home, "bench_null", 1);
	double enter = best_of(vm, home, "bench_enter", 2);
	double out = best_of(vm, home, "bench_callout", 4);

	printf("\n%-18s %12s %12s %8s\n", "crossings", "a second", "ns each", "x null");
	printf("%-18s %12.0f %12.0f %8.1f\n", "null X", 1e9 / null, null, 1.0);
	printf("%-18s %12.0f %12.0f %8.1f\n", "enter + leave", 1e9 / enter, enter, enter / null);
	printf("%-18s %12.0f %12.0f %8.1f\n", "with a call-out", 1e9 / out, out, out / null);
}

/*
 * What a switch does besides running code: the engine is told, and the registers go from one
 * Unicorn instance to the other through a context, as in every crossing.
 */
static void view_switch(struct vm *vm, uint8_t module)
{
	const int rounds = 100000;
	uc_context *context;
	uc_engine *uc[2];
	double best = 1e9;

	if (uc_open(UC_ARCH_X86, UC_MODE_64, &uc[0]) != UC_ERR_OK ||
	    uc_open(UC_ARCH_X86, UC_MODE_64, &uc[1]) != UC_ERR_OK ||
	    uc_context_alloc(uc[0], &context) != UC_ERR_OK)
		die("cannot open two Unicorns");
	for (int turn = 0; turn < TURNS; turn++) {
		double t = now();

		for (int i = 0; i < rounds; i++) {
			vm->ops->set_view(vm->engine, 0, i & 1 ? GUARD_VIEW_U : module, false);
			uc_context_save(uc[i & 1], context);
			uc_context_restore(uc[!(i & 1)], context);
		}
		t = now() - t;
		best = t < best ? t : best;
	}
	printf("\nview switch: %.0f ns (registers from one instance to the other included)\n",
	       best / rounds * 1e9);
	uc_context_free(context);
	uc_close(uc[0]);
	uc_close(uc[1]);
}

/* The same guest with the oracle off, alone, and with its reference model (docs/oracle.md). */
static void oracle_cost(const char *path, const struct blob *elf)
{
	static const char *const names[] = { "off", "oracle alone", "with the model" };
	double first[3] = { 0 };

	printf("\n%-16s %10s %8s %14s %8s %14s %8s\n", "oracle", "ALU MIPS", "x off",
	       "enter+leave ns", "x off", "call-out ns", "x off");
	for (unsigned mode = ORACLE_OFF; mode <= ORACLE_MODEL; mode++) {
		struct vm_config cfg = { .engine = &sim_engine,
					 .budget = ~0ull >> 2,
					 .oracle = (enum oracle_mode)mode };
		struct guest g = { 0 };
		struct guard_cpu home;
		struct error err;
		struct vm_exit exit;
		double cost[3];

		if (!guest_build(&g, path, elf, &cfg, &err))
			die(err.text);
		vm_on_host_port(g.vm, stop, NULL);
		vm_run(g.vm, &exit);
		if (exit.reason != VM_EXIT_HOST)
			die(exit.message);
		vm_get_cpu(g.vm, 0, &home);
		cost[0] = 1e9;
		for (int turn = 0; turn < TURNS; turn++) {
			double t = in_guest(g.vm, &home, loops[0].symbol, loops[0].rounds, 0);

			cost[0] = t < cost[0] ? t : cost[0];
		}
		cost[1] = best_of(g.vm, &home, "bench_enter", 2);
		cost[2] = best_of(g.vm, &home, "bench_callout", 4);
		if (mode == ORACLE_OFF)
			memcpy(first, cost, sizeof(first));
		printf("%-16s %10.0f %8.2f %14.0f %8.1f %14.0f %8.1f\n", names[mode],
		       (double)(loops[0].rounds * loops[0].instructions) * 1e-6 / cost[0],
		       cost[0] / first[0], cost[1], cost[1] / first[1], cost[2],
		       cost[2] / first[2]);
		guest_free(&g);
	}
}

int main(int argc, char **argv)
{
	struct vm_config cfg = { .engine = &sim_engine, .budget = ~0ull >> 2 };
	struct guest g = { 0 };
	struct guard_cpu home;
	struct error err;
	struct vm_exit exit;
	struct blob elf;
	uint64_t data = GH_DIRECT_MAP;
	int missed;

	if (argc != 2) {
		fputs("usage: sim_bench BENCH.ELF\n", stderr);
		return 2;
	}
	if (!blob_read(&elf, argv[1], 1 << 24, &err) || !guest_build(&g, argv[1], &elf, &cfg, &err))
		die(err.text);
	vm_on_host_port(g.vm, stop, NULL);
	vm_run(g.vm, &exit);
	if (exit.reason != VM_EXIT_HOST)
		die(exit.message);
	vm_get_cpu(g.vm, 0, &home);
	data += vm_alloc_gpa(g.vm, PAGE);
	missed = compare_loops(g.vm, &home, data);
	crossings(g.vm, &home);
	view_switch(g.vm, (uint8_t)g.index[0]);
	guest_free(&g);
	oracle_cost(argv[1], &elf);
	blob_free(&elf);
	return missed ? 3 : 0;
}
