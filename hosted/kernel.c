// SPDX-License-Identifier: GPL-2.0-only
/*
 * The machine under the hosted kernel: which host service was called, calls into the guest,
 * exceptions, and memory as view U has it.
 *
 * A call into the guest:
 *
 *	     | caller's frames   |
 *	RSP->| its return word   |  (the enter-return gate, if the driver called out)
 *	     |  gap              |
 *	     | guest_return      |  <- RSP of the callee: the slot that the guard exchanges
 *
 * Calls nest as call-outs do: an import that calls back runs the guest on the same stack, and
 * guest_return's host service ends the innermost run.
 */
#include "hosted/kernel.h"

#include <string.h>

#include "hosted/guest_code.h"

#define STACK_GAP 256u
#define RFLAGS_FIXED 2ull
#define RFLAGS_IF 0x200ull
#define FAILED (~0ull)
#define VECTOR_DB 1u
#define VECTOR_NMI 2u
#define VECTOR_UD 6u
#define VECTOR_PF 14u
#define PF_FETCH 0x10u
#define VECTORS 256u

/* ---- memory ---- */

static void bad_address(struct hosted *h, uint64_t gva)
{
	h->unexpected++;
	hosted_printf(h, "hosted kernel: no access to 0x%llx\n", (unsigned long long)gva);
}

bool hosted_read(struct hosted *h, uint64_t gva, void *buf, size_t len)
{
	if (vm_read_u(h->vm, h->vcpu, gva, buf, len))
		return true;
	memset(buf, 0, len);
	bad_address(h, gva);
	return false;
}

bool hosted_write(struct hosted *h, uint64_t gva, const void *buf, size_t len)
{
	if (vm_write_u(h->vm, h->vcpu, gva, buf, len))
		return true;
	bad_address(h, gva);
	return false;
}

uint64_t hosted_get(struct hosted *h, uint64_t gva, unsigned width)
{
	uint64_t v = 0;

	hosted_read(h, gva, &v, width);
	return v;
}

void hosted_put(struct hosted *h, uint64_t gva, unsigned width, uint64_t value)
{
	hosted_write(h, gva, &value, width);
}

void hosted_fill(struct hosted *h, uint64_t gva, uint8_t byte, uint64_t len)
{
	uint8_t page[4096];
	size_t n;

	memset(page, byte, sizeof(page));
	for (; len; gva += n, len -= n) {
		n = len < sizeof(page) ? (size_t)len : sizeof(page);
		if (!hosted_write(h, gva, page, n))
			return;
	}
}

size_t hosted_string(struct hosted *h, uint64_t gva, char *buf, size_t size)
{
	size_t i;

	for (i = 0; i + 1 < size; i++) {
		if (!hosted_read(h, gva + i, &buf[i], 1) || !buf[i])
			break;
	}
	buf[i] = '\0';
	return i;
}

static uint64_t alloc(struct hosted *h, uint64_t bytes, uint64_t align)
{
	uint64_t gva = heap_alloc(&h->heap, bytes, align);

	if (gva)
		hosted_fill(h, gva, 0, heap_size(&h->heap, gva));
	return gva;
}

uint64_t hosted_alloc(struct hosted *h, uint64_t bytes)
{
	return alloc(h, bytes, 64);
}

uint64_t hosted_alloc_pages(struct hosted *h, uint64_t bytes)
{
	return alloc(h, (bytes + 4095) & ~4095ull, 4096);
}

void hosted_free(struct hosted *h, uint64_t gva)
{
	if (gva && !heap_free(&h->heap, gva)) {
		h->unexpected++;
		hosted_printf(h, "hosted kernel: 0x%llx freed, but never allocated\n",
			      (unsigned long long)gva);
	}
}

/* ---- names ---- */

static const struct gm_header *manifest(const struct hosted *h)
{
	return (const void *)h->wrapped.manifest.data;
}

static const void *table(const struct hosted *h, const struct gm_table *t)
{
	return h->wrapped.manifest.data + t->offset;
}

/* The gates segment's index and place. */
static bool gates(const struct hosted *h, uint64_t *base, uint64_t *size)
{
	const struct gm_segment *s = table(h, &manifest(h)->segments);

	for (unsigned i = 0; i < manifest(h)->segments.count; i++) {
		if (s[i].kind != GM_SEG_GATES)
			continue;
		*base = vm_module_base(h->vm, h->module, i);
		*size = s[i].size;
		return true;
	}
	return false;
}

static uint64_t entry_gate(const struct hosted *h, const struct gm_entry *e)
{
	const struct gm_gate *g = table(h, &manifest(h)->gates);
	const struct gm_segment *s = table(h, &manifest(h)->segments);
	uint64_t base, size;

	/* unwrapped: what the kernel calls is the function itself */
	for (unsigned i = 0; h->opt->views && i < manifest(h)->segments.count; i++)
		if (e->moff - s[i].start < s[i].size)
			return vm_module_base(h->vm, h->module, i) + e->moff - s[i].start;
	if (e->gate >= manifest(h)->gates.count || !gates(h, &base, &size))
		return 0;
	return base + g[e->gate].offset;
}

uint64_t hosted_entry(const struct hosted *h, const char *function)
{
	const struct gm_entry *e = table(h, &manifest(h)->entries);

	for (unsigned i = 0; i < manifest(h)->entries.count; i++)
		if (!strcmp(manifest_name(&h->wrapped.manifest, e[i].name), function))
			return entry_gate(h, &e[i]);
	return 0;
}

uint64_t hosted_entry_flag(const struct hosted *h, uint32_t flag)
{
	const struct gm_entry *e = table(h, &manifest(h)->entries);

	for (unsigned i = 0; i < manifest(h)->entries.count; i++)
		if (e[i].flags & flag)
			return entry_gate(h, &e[i]);
	return 0;
}

uint64_t hosted_entry_at(const struct hosted *h, unsigned n)
{
	const struct gm_entry *e = table(h, &manifest(h)->entries);

	return manifest(h)->entries.count ? entry_gate(h, &e[n % manifest(h)->entries.count]) : 0;
}

/* Does a call of this enter the module? */
static bool enters(const struct hosted *h, uint64_t gva)
{
	const struct gm_entry *e = table(h, &manifest(h)->entries);
	uint64_t base, size;

	for (unsigned i = 0; h->opt->views && i < manifest(h)->entries.count; i++)
		if (entry_gate(h, &e[i]) == gva)
			return true;
	return gates(h, &base, &size) && gva - base < size;
}

/* ---- calls ---- */

bool hosted_go(struct hosted *h, struct guard_cpu *cpu)
{
	struct vm_exit exit;
	bool ok;

	if (h->dead || h->depth == HOSTED_MAX_DEPTH)
		return false;
	vm_set_cpu(h->vm, h->vcpu, cpu);
	h->taken[++h->depth] = false;
	if (!vm_run_nested(h->vm, h->vcpu, image_code(guest_returned), &exit) && !h->dead) {
		h->dead = true;
		h->exit = exit;
	}
	ok = !h->dead && !h->taken[h->depth--];
	vm_get_cpu(h->vm, h->vcpu, cpu);
	return ok;
}

uint64_t hosted_call(struct hosted *h, uint64_t fn, uint64_t a0, uint64_t a1, uint64_t a2,
		     uint64_t a3)
{
	struct guard_cpu saved, cpu;
	bool came_back;

	vm_get_cpu(h->vm, h->vcpu, &saved);
	cpu = saved;
	cpu.gpr[GUARD_RSP] = ((saved.gpr[GUARD_RSP] - STACK_GAP) & ~15ull) - 8;
	cpu.gpr[GUARD_RDI] = a0;
	cpu.gpr[GUARD_RSI] = a1;
	cpu.gpr[GUARD_RDX] = a2;
	cpu.gpr[GUARD_RCX] = a3;
	cpu.rip = fn;
	cpu.rflags = RFLAGS_FIXED | (h->in_irq ? 0 : saved.rflags & RFLAGS_IF);
	hosted_put(h, cpu.gpr[GUARD_RSP], 8, image_code(guest_return));
	if (h->callout && enters(h, fn))
		h->callbacks++;
	came_back = hosted_go(h, &cpu);
	if (!h->dead)
		vm_set_cpu(h->vm, h->vcpu, &saved);
	return came_back ? cpu.gpr[GUARD_RAX] : FAILED;
}

/* ---- host services ---- */

static bool has_error_code(unsigned vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 ||
	       vector == 29 || vector == 30;
}

void hosted_abandon(struct hosted *h, struct guard_cpu *cpu)
{
	h->taken[h->depth] = true;
	if (!h->expect_fault)
		h->unexpected++;
	cpu->rip = image_code(guest_return);
	vm_set_cpu(h->vm, h->vcpu, cpu);
}

static void abort_call(struct hosted *h, struct guard_cpu *cpu, unsigned vector, uint64_t error,
		       uint64_t rip)
{
	char where[96];

	h->fault = (struct hosted_fault){ (uint8_t)vector, error, rip };
	if (!h->expect_fault)
		hosted_printf(h, "hosted kernel: exception %u, error code 0x%llx, at %s\n", vector,
			      (unsigned long long)error,
			      vm_symbolize(h->vm, rip, where, sizeof(where)));
	hosted_abandon(h, cpu);
}

/*
 * The driver called, by pointer, an import that looked like data: it is a function that is not
 * modelled. It returns 0: the frame that IRETQ takes goes on at the caller.
 */
static bool called_data(struct hosted *h, struct guard_cpu *cpu, uint64_t frame, uint64_t rip)
{
	uint64_t rsp;

	for (size_t i = 0; i < h->nimports; i++) {
		if (!h->addresses[i].data || h->addresses[i].gva != rip)
			continue;
		h->imports[i].calls++;
		rsp = hosted_get(h, frame + 24, 8);
		hosted_put(h, frame, 8, hosted_get(h, rsp, 8));
		hosted_put(h, frame + 24, 8, rsp + 8);
		cpu->gpr[GUARD_RAX] = 0;
		cpu->gpr[GUARD_RSP] = frame; /* past the error code */
		vm_set_cpu(h->vm, h->vcpu, cpu);
		return true;
	}
	return false;
}

static void exception(struct hosted *h, unsigned vector)
{
	uint64_t frame, error = 0, rip;
	struct guard_cpu cpu;
	uint16_t insn = 0;

	if (vector == VECTOR_DB && h->stepping)
		return; /* IRETQ takes TF along */
	vm_get_cpu(h->vm, h->vcpu, &cpu);
	frame = cpu.gpr[GUARD_RSP];
	if (has_error_code(vector)) {
		error = hosted_get(h, frame, 8);
		frame += 8;
	}
	rip = hosted_get(h, frame, 8);
	if (vector == VECTOR_UD && vm_read_u(h->vm, h->vcpu, rip, &insn, 2) && insn == 0x0b0f) {
		char where[96];

		hosted_printf(h, "WARNING at %s\n", vm_symbolize(h->vm, rip, where, sizeof(where)));
		hosted_put(h, frame, 8, rip + 2);
		return;
	}
	if (vector == VECTOR_PF && error & PF_FETCH && called_data(h, &cpu, frame, rip))
		return;
	abort_call(h, &cpu, vector, error, rip);
}

static void event(struct hosted *h, unsigned vector)
{
	if (vector < 32 && vector != VECTOR_NMI) {
		exception(h, vector);
		return;
	}
	if (h->on_interrupt)
		h->on_interrupt(h, h->hook_arg);
	if (vector == VECTOR_NMI)
		return; /* of nobody that is modelled */
	h->jiffies++;
	if (h->jiffies_gva)
		hosted_put(h, h->jiffies_gva, 8, h->jiffies);
	hosted_interrupts(h);
}

/* A driver that waits for what never comes would sleep for ever. */
static void too_many(struct hosted *h, const char *import, uint64_t rip)
{
	h->dead = true;
	h->exit = (struct vm_exit){ .reason = VM_EXIT_BUDGET, .vcpu = h->vcpu, .rip = rip };
	snprintf(h->exit.message, sizeof(h->exit.message),
		 "%u call-outs on vCPU %u, the last to %s: the driver waits for ever",
		 HOSTED_MAX_CALLOUTS, h->vcpu, import);
}

static void import(struct hosted *h, struct hosted_import *imp)
{
	struct guard_cpu cpu;
	uint64_t a[6], result = 0;

	vm_get_cpu(h->vm, h->vcpu, &cpu);
	a[0] = cpu.gpr[GUARD_RDI];
	a[1] = cpu.gpr[GUARD_RSI];
	a[2] = cpu.gpr[GUARD_RDX];
	a[3] = cpu.gpr[GUARD_RCX];
	a[4] = cpu.gpr[GUARD_R8];
	a[5] = cpu.gpr[GUARD_R9];
	imp->calls++;
	if (++h->callouts > HOSTED_MAX_CALLOUTS) {
		too_many(h, imp->name, cpu.rip);
		return;
	}
	h->callout++;
	if (!(h->on_callout && h->on_callout(h, imp->name, &result, h->hook_arg)) && imp->fn)
		result = imp->fn(h, a);
	h->callout--;
	if (h->dead || imp->keeps_rax)
		return;
	vm_get_cpu(h->vm, h->vcpu, &cpu); /* the import may have changed flags */
	cpu.gpr[GUARD_RAX] = result;
	vm_set_cpu(h->vm, h->vcpu, &cpu);
}

/* Finds the service by RIP, which stands behind its `out`. */
static bool service(void *ctx, struct vm *vm, unsigned vcpu)
{
	struct hosted *h = ctx;
	struct guard_cpu cpu;
	unsigned was = h->vcpu;
	uint64_t at;

	vm_get_cpu(vm, vcpu, &cpu);
	h->vcpu = vcpu;
	at = cpu.rip - IMAGE_OUT_BYTES;
	if (cpu.rip == image_code(guest_booted)) {
		if (vcpu == 0 && !h->story_done) {
			h->story_done = true;
			h->story(h, h->story_arg);
			return false;
		}
	} else if (at - IMAGE_VECTORS < VECTORS * IMAGE_STUB_BYTES) {
		event(h, (unsigned)((at - IMAGE_VECTORS) / IMAGE_STUB_BYTES));
	} else {
		for (size_t i = 0; i < h->nimports; i++) {
			if (!h->addresses[i].data && h->addresses[i].gva == at) {
				import(h, &h->imports[i]);
				break;
			}
		}
	}
	h->vcpu = was;
	return !h->dead;
}

void hosted_boot(struct hosted *h, void (*story)(struct hosted *h, void *arg), void *arg)
{
	struct vm_exit exit;

	h->story = story;
	h->story_arg = arg;
	vm_on_host_port(h->vm, service, h);
	vm_run(h->vm, &exit);
	if (!h->dead)
		h->exit = exit;
}
