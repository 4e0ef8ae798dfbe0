/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Crossings a second on the KVM engine, and where their time goes: the exit and the way back, the
 * core's judgement, the switch of the memory slots. The linker puts the clock around the latter two
 * (--wrap in the Makefile), so what is timed is what every run executes.
 *
 * usage: kvm_bench BENCH.ELF (the guest corpus/guests/bench.c). Without /dev/kvm: SKIP and status 0.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/guest.h"
#include "cli/options.h"
#include "hv-port/kvm.h"
#include "vmm/internal.h"

#define TURNS 5
#define FEW 20u	    /* rounds to see how long one takes */
#define TURN_NS 3e8 /* about so long is a turn: emulated hosts are slow */
#define MOST 2000u

struct part {
	uint64_t ns, calls;
};

static struct part core, slots;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the clock around two functions ---- */

void __real_guard_judge(struct guard *g, const struct guard_event *ev, struct guard_decision *d);
void __wrap_guard_judge(struct guard *g, const struct guard_event *ev, struct guard_decision *d);
bool __real_kv_slots_show(struct kv_vcpu *v);
bool __wrap_kv_slots_show(struct kv_vcpu *v);

void __wrap_guard_judge(struct guard *g, const struct guard_event *ev, struct guard_decision *d)
{
	uint64_t start = now();

	__real_guard_judge(g, ev, d);
	core.ns += now() - start;
	core.calls++;
}

bool __wrap_kv_slots_show(struct kv_vcpu *v)
{
	uint64_t start = now();
	bool ok = __real_kv_slots_show(v);

	slots.ns += now() - start;
	slots.calls++;
	return ok;
}

/* What reading the clock twice costs: taken off each part. */
static double clock_ns(void)
{
	uint64_t start = now();

	for (int i = 0; i < 10000; i++)
		now();
	return (double)(now() - start) / 10000;
}

/* ---- runs ---- */

static void die(const char *what)
{
	fprintf(stderr, "kvm_bench: %s\n", what);
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

/* One exit, in nanoseconds: in all, of that the core and the slots. */
struct cost {
	double all, core, slots;
};

static double part_ns(const struct part *p, double each, double tick)
{
	double ns = (double)p->ns - (double)p->calls * tick;

	return ns > 0 ? ns / each : 0;
}

/* fn(rounds), which exits `exits` times a round. */
static struct cost one_turn(struct vm *vm, const struct guard_cpu *home, const char *fn,
			    unsigned rounds, double exits)
{
	double tick = clock_ns(), each = rounds * exits, all;
	uint64_t back = symbol(vm, "bench_stop"), start;
	struct guard_cpu cpu = *home;
	struct vm_exit exit;

	cpu.gpr[GUARD_RSP] = (cpu.gpr[GUARD_RSP] & ~15ull) - 8;
	if (!vm_write_u(vm, 0, cpu.gpr[GUARD_RSP], &back, sizeof(back)))
		die("no stack");
	cpu.gpr[GUARD_RDI] = rounds;
	cpu.rip = symbol(vm, fn);
	vm_set_cpu(vm, 0, &cpu);
	memset(&core, 0, sizeof(core));
	memset(&slots, 0, sizeof(slots));
	start = now();
	vm_run(vm, &exit);
	all = (double)(now() - start) / each;
	if (exit.reason != VM_EXIT_HOST)
		die(exit.message);
	return (struct cost){ all, part_ns(&core, each, tick), part_ns(&slots, each, tick) };
}

/* The best of some turns. */
static struct cost measure(struct vm *vm, const struct guard_cpu *home, const char *fn,
			   double exits)
{
	struct cost best = one_turn(vm, home, fn, FEW, exits), c;
	double rounds = TURN_NS / (best.all * exits);

	rounds = rounds < FEW ? FEW : rounds > MOST ? MOST : rounds;
	for (int turn = 0; turn < TURNS; turn++) {
		c = one_turn(vm, home, fn, (unsigned)rounds, exits);
		if (c.all < best.all)
			best = c;
	}
	return best;
}

static void row(const char *what, const struct cost *c)
{
	printf("%-22s %10.0f %10.1f %12.1f %8.2f %14.1f\n", what, 1e9 / c->all, c->all / 1e3,
	       (c->all - c->core - c->slots) / 1e3, c->core / 1e3, c->slots / 1e3);
}

int main(int argc, char **argv)
{
	struct vm_config cfg = { .engine = &kvm_engine, .budget = ~0ull >> 2, .x_kind = GM_X_OUT };
	struct guest g = { 0 };
	struct guard_cpu home;
	struct cost port, null, enter, out;
	struct error err;
	struct vm_exit exit;
	struct blob elf;
	struct vm *probe;
	char place[48];

	if (argc != 2) {
		fputs("usage: kvm_bench BENCH.ELF\n", stderr);
		return 2;
	}
	cfg.vcpus = 1;
	probe = vm_create(&cfg, &err);
	if (!probe) {
		printf("SKIP: %s\n", err.text);
		return 0;
	}
	vm_destroy(probe);
	if (!blob_read(&elf, argv[1], 1 << 24, &err) || !guest_build(&g, argv[1], &elf, &cfg, &err))
		die(err.text);
	vm_on_host_port(g.vm, stop, NULL);
	vm_run(g.vm, &exit);
	if (exit.reason != VM_EXIT_HOST)
		die(exit.message);
	vm_get_cpu(g.vm, 0, &home);
	port = measure(g.vm, &home, "bench_port", 1);
	null = measure(g.vm, &home, "bench_null_out", 1);
	enter = measure(g.vm, &home, "bench_enter", 2);
	out = measure(g.vm, &home, "bench_callout", 4);
	printf("engine %s; microseconds of one exit, the best of %d turns\n",
	       engine_place(&kvm_engine, place, sizeof(place)), TURNS);
	printf("%-22s %10s %10s %12s %8s %14s\n", "", "a second", "all", "exit, guest", "core",
	       "slot switch");
	row("null port exit", &port);
	row("X of nobody's", &null);
	row("crossing, enter+leave", &enter);
	row("crossing, call-out", &out);
	guest_free(&g);
	blob_free(&elf);
	return 0;
}
