/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What this host's KVM is like, asked by running a few instructions in a VM of its own.
 *
 * Interrupt windows: with request_interrupt_window KVM_RUN must come back before the first
 * instruction at which an interrupt may strike. Hosts that emulate guest code in batches look only
 * now and then. The probe opens a window of three instructions and sees whether it is noticed.
 *
 * Overhead: what a KVM_RUN costs that runs nothing; it is taken off the guest's time.
 */
#include <cpuid.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hv-port/kvm.h"

#define RAM 0x10000u
#define CODE 0x8000u

struct probe {
	int kvm, vm, vcpu;
	uint8_t *ram;
	struct kvm_run *run;
	size_t run_bytes;
};

/* Real mode will do: flat segments at 0, code at CODE. */
static bool start(struct probe *p, const uint8_t *code, size_t bytes)
{
	struct kvm_userspace_memory_region r = { .memory_size = RAM };
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	struct kvm_sregs sregs;
	void *m;
	int n;

	p->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (p->kvm < 0)
		return false;
	n = ioctl(p->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	p->vm = ioctl(p->kvm, KVM_CREATE_VM, 0ul);
	if (n < (int)sizeof(struct kvm_run) || p->vm < 0)
		return false;
	ioctl(p->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);
	p->run_bytes = (size_t)n;
	p->vcpu = ioctl(p->vm, KVM_CREATE_VCPU, 0ul);
	if (p->vcpu < 0)
		return false;
	m = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return false;
	p->ram = m;
	m = mmap(NULL, p->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu, 0);
	if (m == MAP_FAILED)
		return false;
	p->run = m;
	memcpy(p->ram + CODE, code, bytes);
	r.userspace_addr = (uint64_t)(uintptr_t)p->ram;
	if (ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &r) || ioctl(p->vcpu, KVM_GET_SREGS, &sregs))
		return false;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	return !ioctl(p->vcpu, KVM_SET_SREGS, &sregs) && !ioctl(p->vcpu, KVM_SET_REGS, &regs);
}

static void stop(struct probe *p)
{
	if (p->run)
		munmap(p->run, p->run_bytes);
	if (p->ram)
		munmap(p->ram, RAM);
	if (p->vcpu >= 0)
		close(p->vcpu);
	if (p->vm >= 0)
		close(p->vm);
	if (p->kvm >= 0)
		close(p->kvm);
}

/* A window between STI's shadow and CLI; HLT with interrupts off if nobody looked. */
static bool late_windows(struct probe *p)
{
	p->run->request_interrupt_window = 1;
	return ioctl(p->vcpu, KVM_RUN, 0) || p->run->exit_reason != KVM_EXIT_IRQ_WINDOW_OPEN;
}

void kv_probe(struct engine *e)
{
	static const uint8_t code[] = { 0xfb, 0x90, 0x90, 0x90, 0xfa, 0xf4 };
	static bool known, late;
	static uint64_t overhead;

	if (!known) {
		struct probe p = { -1, -1, -1, NULL, NULL, 0 };

		known = late = true;
		if (start(&p, code, sizeof(code))) {
			late = late_windows(&p);
			p.run->immediate_exit = 1;
			overhead = kv_time_of_call(p.vcpu, KVM_RUN);
		}
		stop(&p);
	}
	e->late_windows = late;
	e->overhead = overhead;
}

const char *kv_host(void)
{
	unsigned a, b, c, d;

	/* CPUID 8000_0001 ECX.SVM, 1 ECX.VMX (AMD64 manual volume 3, appendix E) */
	if (__get_cpuid(0x80000001, &a, &b, &c, &d) && (c & 1u << 2))
		return "svm";
	if (__get_cpuid(1, &a, &b, &c, &d) && (c & 1u << 5))
		return "vmx";
	return "pvm";
}
