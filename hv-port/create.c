/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * /dev/kvm, a VM, its vCPUs. What the engine cannot do without is an error with one clear line; what
 * only makes it slower or less exact is told once on stderr.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hv-port/kvm.h"

#define CPUID_ENTRIES 256u
#define QUIRK_FIX_HYPERCALL 0x20u /* KVM_X86_QUIRK_FIX_HYPERCALL_INSN */

#ifndef KVM_CAP_EXIT_ON_EMULATION_FAILURE
#define KVM_CAP_EXIT_ON_EMULATION_FAILURE 204
#endif
#ifndef KVM_CAP_DISABLE_QUIRKS2
#define KVM_CAP_DISABLE_QUIRKS2 213
#endif

static int extension(struct engine *e, long cap)
{
	int n = ioctl(e->fd, KVM_CHECK_EXTENSION, cap);

	return n < 0 ? 0 : n;
}

static void degraded(const char *what)
{
	static bool told; /* once is enough for a run of many VMs */

	if (!told)
		fprintf(stderr, "engine kvm: this host's KVM has no %s\n", what);
	told = true;
}

static bool enable(struct engine *e, uint32_t cap, uint64_t arg)
{
	struct kvm_enable_cap c = { .cap = cap, .args = { arg } };

	return extension(e, cap) && !ioctl(e->fd, KVM_ENABLE_CAP, &c);
}

/* All MSRs come to us but TSC, the bases of FS and GS, and TSC_AUX, which no binding can name. */
static bool filter_msrs(struct engine *e)
{
	static uint8_t tsc[4] = { 1 }, bases[4] = { 0xf };
	struct kvm_msr_filter f;
	uint32_t both = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;

	memset(&f, 0, sizeof(f));
	f.flags = KVM_MSR_FILTER_DEFAULT_DENY;
	f.ranges[0].flags = both;
	f.ranges[0].base = 0x10;
	f.ranges[0].nmsrs = 1;
	f.ranges[0].bitmap = tsc;
	f.ranges[1].flags = both;
	f.ranges[1].base = 0xc0000100;
	f.ranges[1].nmsrs = 4;
	f.ranges[1].bitmap = bases;
	return enable(e, KVM_CAP_X86_USER_SPACE_MSR,
		      KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN |
			      KVM_MSR_EXIT_REASON_FILTER) &&
	       !ioctl(e->fd, KVM_X86_SET_MSR_FILTER, &f);
}

/*
 * As the host has it, less what would give the guest ways around us: nested guests, KVM's own
 * paravirtual areas in guest memory, 5-level tables, PCID, an APIC that nobody emulates.
 */
static bool set_cpuid(struct kv_vcpu *v, struct error *err)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + CPUID_ENTRIES * sizeof(c->entries[0]));
	unsigned i, k = 0;
	bool ok;

	if (!c)
		return error_set(err, "out of memory");
	c->nent = CPUID_ENTRIES;
	if (ioctl(v->e->kvm, KVM_GET_SUPPORTED_CPUID, c)) {
		error_set(err, "/dev/kvm: KVM_GET_SUPPORTED_CPUID: %s", strerror(errno));
		free(c);
		return false;
	}
	for (i = 0; i < c->nent; i++) {
		struct kvm_cpuid_entry2 *n = &c->entries[i];

		if (n->function >> 16 == 0x4000 || n->function == 0x8000000a)
			continue;
		if (n->function == 1) {
			/* MONITOR VMX PCID x2APIC TSC-deadline */
			n->ecx &= ~(1u << 3 | 1u << 5 | 1u << 17 | 1u << 21 | 1u << 24);
			n->ecx |= 1u << 31; /* a hypervisor */
			n->ebx = (n->ebx & 0xffffff) | v->id << 24;
		}
		if (n->function == 7 && !n->index)
			n->ecx &= ~(1u << 16); /* LA57 */
		if (n->function == 0x80000001)
			n->ecx &= ~(1u << 2); /* SVM */
		if (n->function == 0x80000008 && (n->eax & 0xff) > 40)
			n->eax = (n->eax & ~0xffu) | 40; /* as vm_walk() */
		c->entries[k++] = *n;
	}
	c->nent = k;
	ok = !ioctl(v->fd, KVM_SET_CPUID2, c) ||
	     error_set(err, "/dev/kvm: KVM_SET_CPUID2: %s", strerror(errno));
	free(c);
	return ok;
}

static bool create_vcpu(struct engine *e, unsigned id, struct error *err)
{
	struct kv_vcpu *v = &e->vcpu[id];
	void *p;

	v->e = e;
	v->id = id;
	v->view = GUARD_VIEW_U;
	v->state = ENGINE_OFF;
	v->fd = ioctl(e->fd, KVM_CREATE_VCPU, (unsigned long)id);
	e->nvcpus = id + 1;
	if (v->fd < 0)
		return error_set(err, "/dev/kvm: vCPU %u: %s", id, strerror(errno));
	p = mmap(NULL, e->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (p == MAP_FAILED)
		return error_set(err, "/dev/kvm: vCPU %u cannot be mapped: %s", id,
				 strerror(errno));
	v->run = p;
	v->s = e->sync ? &v->run->s.regs : &v->own;
	if (!set_cpuid(v, err))
		return false;
	kv_sregs(v)->cr8 = 0;
	/* As the boot state of every vCPU that never started: long mode, no paging to speak of. */
	kv_sregs_w(v)->cr0 = 0x80010033;
	kv_sregs_w(v)->cr4 = 0x20;
	kv_sregs_w(v)->efer = 0xd00;
	return true;
}

static bool open_vm(struct engine *e, struct error *err)
{
	int n;

	e->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (e->kvm < 0)
		return error_set(err, "engine kvm: /dev/kvm: %s", strerror(errno));
	n = ioctl(e->kvm, KVM_GET_API_VERSION, 0);
	if (n != KVM_API_VERSION)
		return error_set(err, "engine kvm: /dev/kvm: API version %d, %d expected", n,
				 KVM_API_VERSION);
	do
		e->fd = ioctl(e->kvm, KVM_CREATE_VM, 0ul);
	while (e->fd < 0 && errno == EINTR);
	if (e->fd < 0)
		return error_set(err, "engine kvm: /dev/kvm gives no VM: %s", strerror(errno));
	n = ioctl(e->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (n < (int)sizeof(struct kvm_run))
		return error_set(err, "engine kvm: /dev/kvm: struct kvm_run of %d bytes", n);
	e->run_bytes = (size_t)n;
	return true;
}

static bool capabilities(struct engine *e, struct error *err)
{
	const uint32_t want = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;

	if (!extension(e, KVM_CAP_IMMEDIATE_EXIT) || !extension(e, KVM_CAP_READONLY_MEM))
		return error_set(err,
				 "engine kvm: this host's KVM has no KVM_CAP_IMMEDIATE_EXIT or "
				 "KVM_CAP_READONLY_MEM");
	if (((uint32_t)extension(e, KVM_CAP_SYNC_REGS) & want) == want)
		e->sync = want;
	else
		degraded("KVM_CAP_SYNC_REGS: exits are slower");
	if (!filter_msrs(e))
		return error_set(err, "engine kvm: this host's KVM has no MSR filter: bound MSRs "
				      "would not be judged");
	/* VMCALL where VMMCALL is meant, or the reverse: #UD instead of a loop that patches it. */
	if (!enable(e, KVM_CAP_DISABLE_QUIRKS2, QUIRK_FIX_HYPERCALL))
		degraded(
			"KVM_CAP_DISABLE_QUIRKS2: a guest that executes vmcall may only end by its "
			"budget");
	/* Without it CPL 0 still exits, and what is queued beside is taken back (exits.c). */
	if (!enable(e, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1))
		degraded("KVM_CAP_EXIT_ON_EMULATION_FAILURE: a refused fetch at CPL 3 is #UD");
	kv_probe(e);
	/* Intel hosts want a page of their own; the address is as good as any. */
	ioctl(e->fd, KVM_SET_TSS_ADDR, 0xfffbd000ul);
	return true;
}

/* RAM as the engine sees it: everything from 0 on. */
static uint64_t ram_size(struct vm *vm)
{
	struct engine_page page;
	uint64_t gpa = 0;

	for (;; gpa += page.pages * KV_PAGE) {
		vm_page(vm, 0, GUARD_VIEW_U, gpa, &page);
		if (page.kind != ENGINE_PAGE_RAM)
			return gpa;
	}
}

struct engine *kv_create(struct vm *vm, const struct engine_config *cfg, struct error *err)
{
	struct engine *e = calloc(1, sizeof(*e));
	unsigned i;

	if (!e) {
		error_set(err, "out of memory");
		return NULL;
	}
	e->vm = vm;
	e->kvm = e->fd = -1;
	e->budget = cfg->budget;
	e->ram_size = ram_size(vm);
	e->turn = cfg->vcpus - 1;
	if (cfg->x_kind == GM_X_VMMCALL || cfg->x_kind == GM_X_VMCALL) {
		error_set(err,
			  "engine kvm: a stock KVM answers %s itself: crossings must be `out` "
			  "(--x out)",
			  cfg->x_kind == GM_X_VMMCALL ? "vmmcall" : "vmcall");
		goto bad;
	}
	if (!open_vm(e, err) || !capabilities(e, err) || !kv_slots_create(e, err) ||
	    !kv_time_create(e, err))
		goto bad;
	for (i = 0; i < cfg->vcpus; i++)
		if (!create_vcpu(e, i, err))
			goto bad;
	return e;
bad:
	kv_destroy(e);
	return NULL;
}

void kv_destroy(struct engine *e)
{
	unsigned i;

	if (!e)
		return;
	kv_time_destroy(e);
	for (i = 0; i < e->nvcpus; i++) {
		if (e->vcpu[i].run)
			munmap(e->vcpu[i].run, e->run_bytes);
		if (e->vcpu[i].fd >= 0)
			close(e->vcpu[i].fd);
	}
	if (e->fd >= 0)
		close(e->fd);
	if (e->kvm >= 0)
		close(e->kvm);
	kv_slots_destroy(e);
	free(e);
}
