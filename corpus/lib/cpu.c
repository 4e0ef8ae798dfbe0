/* SPDX-License-Identifier: GPL-2.0-only */
/* vCPUs and threads: start, switch, wait. Threads run until they switch away. */
#include "corpus/lib/guest.h"

#define MSR_GS_BASE 0xc0000101u
#define WAIT_SPINS 20000000l

const struct gh_boot *boot;

static struct cpu cpus[GH_MAX_VCPUS];
static struct {
	void (*fn)(void *);
	void *arg;
} starts[GH_MAX_VCPUS];

int main(void);
void trap_init(void);
void module_start(void);
void thread_swap(struct thread *from, struct thread *to);
void thread_begin(void);
void thread_main(void);
void guest_start(const struct gh_boot *page, unsigned id);

struct cpu *this_cpu(void)
{
	uint64_t id;

	/* volatile: a thread may go on on another vCPU after any switch. */
	__asm__ volatile("mov %%gs:8, %0" : "=r"(id));
	return &cpus[(unsigned)id];
}

void exit(int status)
{
	outl(GH_PORT_EXIT, (uint32_t)status);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void guest_start(const struct gh_boot *page, unsigned id)
{
	struct cpu *c = &cpus[id];

	c->id = id;
	c->thread = &c->idle;
	c->idle.name = "idle";
	c->idle.on_cpu = 1;
	wrmsr(MSR_GS_BASE, (uint64_t)c);
	trap_init();
	if (id == 0) {
		boot = page;
		if (page->magic != GH_BOOT_MAGIC || page->version != GH_BOOT_VERSION) {
			printk("boot page: wrong magic or version\n");
			exit(3);
		}
		module_start();
		exit(main());
	}
	starts[id].fn(starts[id].arg);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void cpu_start(unsigned n, void (*fn)(void *), void *arg)
{
	if (n >= boot->vcpus || n >= GH_MAX_VCPUS) {
		printk("cpu_start: this machine has %u vCPUs\n", boot->vcpus);
		exit(3);
	}
	starts[n].fn = fn;
	starts[n].arg = arg;
	outb(GH_PORT_START_VCPU, (uint8_t)n);
}

void wait_for(volatile long *flag, long value, const char *what)
{
	for (long i = 0; i < WAIT_SPINS; i++) {
		if (__atomic_load_n(flag, __ATOMIC_ACQUIRE) >= value)
			return;
		pause();
	}
	printk("FAIL: vCPU %u waits in vain for %s\n", cpu_id(), what);
	exit(3);
}

void raise_here(uint8_t vector)
{
	outb(GH_PORT_RAISE, vector);
}

void raise_on(unsigned cpu, uint8_t vector)
{
	outw(GH_PORT_SEND, (uint16_t)(cpu << 8 | vector));
}

void thread_init(struct thread *t, const char *name, void (*fn)(void *), void *arg, uint8_t *stack)
{
	uint64_t *sp;

	t->stack = stack ? stack : alloc_pages(THREAD_STACK_BYTES / PAGE_BYTES);
	t->name = name;
	t->fn = fn;
	t->arg = arg;
	t->attempt = NULL;
	t->on_cpu = 0;
	t->done = false;
	/* As thread_swap() leaves a stack: six registers, then where to go on. */
	sp = (uint64_t *)(t->stack + THREAD_STACK_BYTES) - 8;
	memset(sp, 0, 8 * sizeof(*sp));
	sp[6] = (uint64_t)thread_begin;
	t->rsp = (uint64_t)sp;
}

void thread_main(void)
{
	struct thread *t = this_cpu()->thread;

	t->fn(t->arg);
	this_cpu()->thread->done = true;
	thread_yield();
}

void thread_switch(struct thread *t)
{
	struct thread *self = this_cpu()->thread;

	if (t == self)
		return;
	/* It may still be on its way off another vCPU. */
	for (long i = 0; __atomic_load_n(&t->on_cpu, __ATOMIC_ACQUIRE); i++) {
		if (i > WAIT_SPINS) {
			printk("FAIL: thread %s never leaves its vCPU\n", t->name);
			exit(3);
		}
		pause();
	}
	__atomic_store_n(&t->on_cpu, 1, __ATOMIC_RELAXED);
	thread_swap(self, t);
}

void thread_yield(void)
{
	thread_switch(&this_cpu()->idle);
}
