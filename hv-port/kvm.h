/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The KVM engine: what its files share.
 *
 *   engine.c  the operations of vmm/engine.h          create.c   /dev/kvm, the VM, its vCPUs
 *   probe.c   what this host's KVM is like
 *   regs.c    registers, cached from exit to exit     slots.c    views as memory slots
 *   run.c     scheduler, slices, KVM_RUN              time.c     CPU time, the slice's timer
 *   exits.c   what an exit asks for                   access.c   memory and code of the guest
 *   ports.c   IN, OUT, the crossing X; MSRs           origin.c   where an instruction began
 *   mmio.c    accesses that no slot answers           cross.c    judge, carry the decision out
 *   emulate.c instructions that the host cannot do    deliver.c  delivery through the IDT
 *
 * One thread; one vCPU runs at a time. The memory slots are the VM's, so they always show the view
 * of the vCPU that runs now. A page that its view does not execute, or that is no memory, has no
 * slot: KVM then cannot fetch there (an emulation failure) and hands out data accesses (MMIO).
 *
 * KVM leaves an I/O, MMIO or MSR exit half done until its next KVM_RUN. kv_complete() finishes it
 * at once without running the guest, so everything here sees vCPUs between two instructions, on
 * hosts that advance RIP before the exit and on hosts that do it after.
 */
#ifndef HV_PORT_KVM_H
#define HV_PORT_KVM_H

#include <linux/kvm.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "vmm/engine.h"
#include "vmm/idt.h"

#define KV_PAGE 4096ull
#define KV_PAGE_MASK (~(KV_PAGE - 1))
#define KV_INSN 15u /* bytes of the longest instruction */

#define EFER_LMA (1ull << 10)
#define DR7_OFF 0x400ull

struct kv_slot {
	uint64_t gpa, bytes;
	uint8_t *host;
	bool readonly;
	uint32_t id;
};

struct kv_slots {
	struct kv_slot *now, *want; /* by gpa; room entries each */
	unsigned nnow, nwant, room;
	uint32_t *free; /* ids that are not in use */
	unsigned nfree, limit;
	bool stale; /* vm_page() may say something else now */
	bool flush; /* shadows of the guest's page tables must go */
	unsigned vcpu;
	uint8_t view; /* that `now` shows, for `vcpu` */
};

/* The instruction that touched a stand-in last: its next access is no new TOUCH. */
struct kv_touch {
	bool open; /* it is not finished */
	bool rep;  /* it is between two turns of its REP */
	bool write;
	uint64_t rip, gpa, rcx;
};

struct kv_vcpu {
	struct engine *e;
	unsigned id;
	int fd;
	struct kvm_run *run;
	enum engine_run_state state;
	bool mwait; /* asleep in MWAIT: a write to what is watched wakes too */
	bool guard_stopped;
	uint8_t view;

	struct kvm_sync_regs *s; /* in *run if KVM shares them there, else `own` */
	struct kvm_sync_regs own;
	uint32_t valid, dirty; /* KVM_SYNC_X86_* of *s */

	/* While an exit is handled: the first byte of its instruction, if RIP is not there. */
	bool at_insn;
	uint64_t insn;

	struct cpu_pending pending;
	bool nmi, kick;
	uint64_t timer_period, timer_next; /* of engine time */
	uint64_t dr7;			   /* the guest's, while it is taken away */
	bool dr7_taken;
	uint64_t monitor_gpa;
	bool monitor_armed;
	uint8_t monitor[64];
	struct kv_touch touch;
	bool waited;	     /* for a window, with interrupts off */
	uint64_t shadow_rip; /* an STI's shadow ends behind this instruction (deliver.c) */
	bool stepping;	     /* instruction by instruction, until a pending interrupt may come */
};

struct engine {
	struct vm *vm;
	int kvm, fd; /* /dev/kvm, the VM */
	size_t run_bytes;
	unsigned nvcpus;
	struct kv_vcpu vcpu[GH_MAX_VCPUS];
	uint32_t sync;	   /* KVM_SYNC_X86_* that KVM shares in struct kvm_run */
	bool late_windows; /* see probe.c */
	uint64_t overhead; /* nanoseconds of a KVM_RUN that does nothing */
	uint64_t ram_size;
	struct kv_slots slots;
	uint64_t budget;  /* in microseconds of guest time, see time.c */
	uint64_t clock;	  /* in nanoseconds of it */
	uint64_t entered; /* CPU time at KVM_RUN */
	unsigned turn;

	bool ended, replan;
	struct vm_exit exit;
	volatile sig_atomic_t interrupted;
	struct kvm_run *volatile running; /* KVM_RUN is under way: signal handlers look here */
	timer_t timer;
	bool has_timer;
	struct sigaction old_action;
};

/* ---- create.c ---- */
struct engine *kv_create(struct vm *vm, const struct engine_config *cfg, struct error *err);
void kv_destroy(struct engine *e);

/* ---- probe.c ---- */
/* Asks, once a process, and fills e->late_windows and e->overhead. */
void kv_probe(struct engine *e);
/* "svm", "vmx", or "pvm": a KVM that does without either and emulates guest code. */
const char *kv_host(void);

/* ---- regs.c ---- */
/* Cached registers of a vCPU that does not run; the _w forms also mark them as changed. */
struct kvm_regs *kv_regs(struct kv_vcpu *v);
struct kvm_regs *kv_regs_w(struct kv_vcpu *v);
struct kvm_sregs *kv_sregs(struct kv_vcpu *v);
struct kvm_sregs *kv_sregs_w(struct kv_vcpu *v);
struct kvm_vcpu_events *kv_events(struct kv_vcpu *v);
struct kvm_vcpu_events *kv_events_w(struct kv_vcpu *v);
/* Gives KVM what was changed; forgets what the run makes old. false: KVM refuses. */
bool kv_regs_before_run(struct kv_vcpu *v);
void kv_regs_after_run(struct kv_vcpu *v);
uint64_t *kv_gpr(struct kvm_regs *r, unsigned n);
unsigned kv_cpl(struct kv_vcpu *v);
bool kv_long64(struct kv_vcpu *v);
void kv_get_cpu(struct kv_vcpu *v, struct guard_cpu *cpu);
void kv_set_cpu(struct kv_vcpu *v, const struct guard_cpu *cpu);
void kv_get_sys(struct kv_vcpu *v, struct engine_sys *sys);
void kv_set_sys(struct kv_vcpu *v, const struct engine_sys *sys);
/* Breakpoints are taken away inside of a module, and given back. */
void kv_hide_dr7(struct kv_vcpu *v, bool hide);
bool kv_msr_get(struct kv_vcpu *v, uint32_t msr, uint64_t *value);
bool kv_msr_set(struct kv_vcpu *v, uint32_t msr, uint64_t value);

/* ---- slots.c ---- */
bool kv_slots_create(struct engine *e, struct error *err);
void kv_slots_destroy(struct engine *e);
/* Makes the slots show the view of v. false: e->exit says why not. */
bool kv_slots_show(struct kv_vcpu *v);

/* ---- access.c ---- */
/* The CPU's own accesses for event delivery: in view U, as a supervisor. false: *ev says why. */
bool kv_read_u(struct kv_vcpu *v, uint64_t gva, void *buf, unsigned len, struct cpu_event *ev);
bool kv_write_u(struct kv_vcpu *v, uint64_t gva, const void *buf, unsigned len,
		struct cpu_event *ev);
/* As an instruction of v reads or writes, in its present view. false: *ev. */
bool kv_read(struct kv_vcpu *v, uint64_t gva, void *buf, unsigned len, struct cpu_event *ev);
bool kv_write(struct kv_vcpu *v, uint64_t gva, const void *buf, unsigned len, struct cpu_event *ev);
/* GPA under gva, without any effect. false: not mapped. */
bool kv_peek(struct kv_vcpu *v, uint64_t gva, uint64_t *gpa);
/* Up to `len` bytes of code at gva as v would fetch them; how many there are. */
unsigned kv_code(struct kv_vcpu *v, uint64_t gva, uint8_t *buf, unsigned len);

/* ---- mmio.c ---- */
/* One access of `len` bytes, 8 at most, that stays in its page, in v's view (or view U). */
void kv_physical(struct kv_vcpu *v, uint8_t view, uint64_t gpa, uint8_t *data, unsigned len,
		 bool write);
void kv_exit_mmio(struct kv_vcpu *v);

/* ---- origin.c ---- */
/* RIP of the instruction that has just stored len bytes at gpa and may be finished. */
uint64_t kv_origin_store(struct kv_vcpu *v, uint64_t gpa, const uint8_t *data, unsigned len);
/* The same for an OUT that KVM has finished. */
uint64_t kv_origin_out(struct kv_vcpu *v, uint16_t port, unsigned width);

/* ---- ports.c ---- */
void kv_exit_io(struct kv_vcpu *v);
void kv_exit_msr(struct kv_vcpu *v, bool write);

/* ---- emulate.c ---- */
/* Executes the instruction at RIP that KVM could not. false: nobody here can, e->exit is set. */
bool kv_emulate(struct kv_vcpu *v);

/* ---- deliver.c ---- */
/* Delivers an event, a double fault in its place, or ends the VM with a triple fault. */
void kv_deliver(struct kv_vcpu *v, const struct cpu_event *ev);
void kv_exception(struct kv_vcpu *v, uint8_t vector, bool has_error, uint32_t error);
/* Delivers what is pending and allowed; asks KVM to tell when more will be. */
void kv_deliver_pending(struct kv_vcpu *v);
void kv_raise_vector(struct kv_vcpu *v, uint8_t vector);

/* ---- cross.c ---- */
void kv_cross_x(struct kv_vcpu *v, uint64_t x, unsigned bytes);
void kv_cross_fetch(struct kv_vcpu *v);
/* DEPART, if v is privileged. false: v must not go on (stopped, VM ends). */
bool kv_depart(struct kv_vcpu *v, enum guard_cause cause, uint8_t vector);
/* Judges a TOUCH of gpa (or a port) by the instruction at rip. */
void kv_touch(struct kv_vcpu *v, uint64_t gpa, uint64_t rip, bool write);
void kv_kick(struct engine *e, uint32_t vcpus);

/* ---- exits.c ---- */
void kv_exit(struct kv_vcpu *v);
/* Lets KVM finish the instruction of the present exit. false: another exit came first. */
bool kv_complete(struct kv_vcpu *v);
uint64_t kv_rip(struct kv_vcpu *v);

/* ---- time.c ---- */
bool kv_time_create(struct engine *e, struct error *err);
void kv_time_destroy(struct engine *e);
void kv_time_begin(struct engine *e);
void kv_time_end(struct engine *e);
uint64_t kv_time(struct engine *e);
void kv_time_skip(struct engine *e, uint64_t to);
/* Around KVM_RUN. */
void kv_time_enter(struct engine *e);
void kv_time_leave(struct engine *e, bool step);
/* Nanoseconds that this ioctl takes at best. */
uint64_t kv_time_of_call(int fd, unsigned long request);

/* ---- run.c ---- */
void kv_end(struct engine *e, enum vm_exit_reason reason, unsigned vcpu, uint64_t rip,
	    const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void kv_run(struct engine *e);

#endif
