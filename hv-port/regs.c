/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Registers of a vCPU between two KVM_RUNs. With KVM_CAP_SYNC_REGS they lie in struct kvm_run and
 * cost no call; otherwise they are fetched and given back on demand.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "hv-port/kvm.h"

static void fetch(struct kv_vcpu *v, uint32_t what)
{
	if (v->valid & what)
		return;
	switch (what) {
	case KVM_SYNC_X86_REGS: ioctl(v->fd, KVM_GET_REGS, &v->s->regs); break;
	case KVM_SYNC_X86_SREGS: ioctl(v->fd, KVM_GET_SREGS, &v->s->sregs); break;
	default: ioctl(v->fd, KVM_GET_VCPU_EVENTS, &v->s->events); break;
	}
	v->valid |= what;
}

struct kvm_regs *kv_regs(struct kv_vcpu *v)
{
	fetch(v, KVM_SYNC_X86_REGS);
	return &v->s->regs;
}

struct kvm_regs *kv_regs_w(struct kv_vcpu *v)
{
	fetch(v, KVM_SYNC_X86_REGS);
	v->dirty |= KVM_SYNC_X86_REGS;
	return &v->s->regs;
}

struct kvm_sregs *kv_sregs(struct kv_vcpu *v)
{
	fetch(v, KVM_SYNC_X86_SREGS);
	return &v->s->sregs;
}

struct kvm_sregs *kv_sregs_w(struct kv_vcpu *v)
{
	fetch(v, KVM_SYNC_X86_SREGS);
	v->dirty |= KVM_SYNC_X86_SREGS;
	return &v->s->sregs;
}

struct kvm_vcpu_events *kv_events(struct kv_vcpu *v)
{
	fetch(v, KVM_SYNC_X86_EVENTS);
	return &v->s->events;
}

struct kvm_vcpu_events *kv_events_w(struct kv_vcpu *v)
{
	fetch(v, KVM_SYNC_X86_EVENTS);
	v->dirty |= KVM_SYNC_X86_EVENTS;
	return &v->s->events;
}

bool kv_regs_before_run(struct kv_vcpu *v)
{
	uint32_t dirty = v->dirty;

	v->dirty = 0;
	if (v->s == &v->run->s.regs && !(dirty & ~v->e->sync)) {
		v->run->kvm_valid_regs = v->e->sync;
		v->run->kvm_dirty_regs = dirty;
		return true;
	}
	/* Segments first: the flags that KVM accepts may depend on the mode. */
	if ((dirty & KVM_SYNC_X86_SREGS) && ioctl(v->fd, KVM_SET_SREGS, &v->s->sregs))
		return false;
	if ((dirty & KVM_SYNC_X86_REGS) && ioctl(v->fd, KVM_SET_REGS, &v->s->regs))
		return false;
	return !(dirty & KVM_SYNC_X86_EVENTS) || !ioctl(v->fd, KVM_SET_VCPU_EVENTS, &v->s->events);
}

void kv_regs_after_run(struct kv_vcpu *v)
{
	v->valid = v->s == &v->run->s.regs ? v->e->sync : 0;
}

uint64_t *kv_gpr(struct kvm_regs *r, unsigned n)
{
	switch (n) {
	case GUARD_RAX: return (uint64_t *)&r->rax;
	case GUARD_RCX: return (uint64_t *)&r->rcx;
	case GUARD_RDX: return (uint64_t *)&r->rdx;
	case GUARD_RBX: return (uint64_t *)&r->rbx;
	case GUARD_RSP: return (uint64_t *)&r->rsp;
	case GUARD_RBP: return (uint64_t *)&r->rbp;
	case GUARD_RSI: return (uint64_t *)&r->rsi;
	case GUARD_RDI: return (uint64_t *)&r->rdi;
	case GUARD_R8: return (uint64_t *)&r->r8;
	case GUARD_R9: return (uint64_t *)&r->r9;
	case GUARD_R10: return (uint64_t *)&r->r10;
	case GUARD_R11: return (uint64_t *)&r->r11;
	case GUARD_R12: return (uint64_t *)&r->r12;
	case GUARD_R13: return (uint64_t *)&r->r13;
	case GUARD_R14: return (uint64_t *)&r->r14;
	default: return (uint64_t *)&r->r15;
	}
}

unsigned kv_cpl(struct kv_vcpu *v)
{
	return kv_sregs(v)->cs.selector & 3;
}

bool kv_long64(struct kv_vcpu *v)
{
	return (kv_sregs(v)->efer & EFER_LMA) && kv_sregs(v)->cs.l;
}

void kv_get_cpu(struct kv_vcpu *v, struct guard_cpu *cpu)
{
	const struct kvm_sregs *s = kv_sregs(v);
	struct kvm_regs *r = kv_regs(v);
	unsigned i;

	for (i = 0; i < GUARD_GPRS; i++)
		cpu->gpr[i] = *kv_gpr(r, i);
	cpu->rip = v->at_insn ? v->insn : r->rip;
	cpu->rflags = r->rflags;
	cpu->cr0 = s->cr0;
	cpu->cr3 = s->cr3;
	cpu->cr4 = s->cr4;
	cpu->efer = s->efer;
	cpu->cpl = (uint8_t)kv_cpl(v);
	cpu->mode = kv_long64(v) ? GUARD_MODE_64 : 0;
}

void kv_set_cpu(struct kv_vcpu *v, const struct guard_cpu *cpu)
{
	struct kvm_sregs *s = kv_sregs(v);
	struct kvm_regs *r = kv_regs_w(v);
	unsigned i;

	for (i = 0; i < GUARD_GPRS; i++)
		*kv_gpr(r, i) = cpu->gpr[i];
	r->rip = cpu->rip;
	r->rflags = cpu->rflags;
	if (s->cr0 == cpu->cr0 && s->cr3 == cpu->cr3 && s->cr4 == cpu->cr4 && s->efer == cpu->efer)
		return;
	s = kv_sregs_w(v);
	s->cr0 = cpu->cr0;
	s->cr3 = cpu->cr3;
	s->cr4 = cpu->cr4;
	s->efer = cpu->efer;
}

static void to_engine(const struct kvm_segment *s, struct engine_segment *out)
{
	out->base = s->base;
	out->limit = s->limit;
	out->selector = s->selector;
	out->attr = (uint16_t)(s->type | s->s << 4 | s->dpl << 5 | s->present << 7 | s->avl << 8 |
			       s->l << 9 | s->db << 10 | s->g << 11);
}

static void from_engine(struct kvm_segment *s, const struct engine_segment *in)
{
	memset(s, 0, sizeof(*s));
	s->base = in->base;
	s->limit = in->limit;
	s->selector = in->selector;
	s->type = in->attr & 15;
	s->s = in->attr >> 4 & 1;
	s->dpl = in->attr >> 5 & 3;
	s->present = in->attr >> 7 & 1;
	s->avl = in->attr >> 8 & 1;
	s->l = in->attr >> 9 & 1;
	s->db = in->attr >> 10 & 1;
	s->g = in->attr >> 11 & 1;
	s->unusable = !s->present;
}

/* One entry, laid out as struct kvm_msrs with its entry behind it. */
struct one_msr {
	uint32_t nmsrs, pad;
	struct kvm_msr_entry entry;
};
_Static_assert(offsetof(struct one_msr, entry) == sizeof(struct kvm_msrs), "as the kernel has it");

bool kv_msr_get(struct kv_vcpu *v, uint32_t msr, uint64_t *value)
{
	struct one_msr m = { .nmsrs = 1, .entry.index = msr };

	if (ioctl(v->fd, KVM_GET_MSRS, &m) != 1)
		return false;
	*value = m.entry.data;
	return true;
}

bool kv_msr_set(struct kv_vcpu *v, uint32_t msr, uint64_t value)
{
	struct one_msr m = { .nmsrs = 1, .entry = { .index = msr, .data = value } };

	return ioctl(v->fd, KVM_SET_MSRS, &m) == 1;
}

/* MSRs that struct engine_sys names. */
static const struct {
	uint32_t msr;
	size_t offset;
} msrs[] = {
	{ 0xc0000102, offsetof(struct engine_sys, kernel_gs_base) },
	{ 0xc0000081, offsetof(struct engine_sys, star) },
	{ 0xc0000082, offsetof(struct engine_sys, lstar) },
	{ 0xc0000083, offsetof(struct engine_sys, cstar) },
	{ 0xc0000084, offsetof(struct engine_sys, fmask) },
	{ 0xc0000103, offsetof(struct engine_sys, tsc_aux) },
};

void kv_get_sys(struct kv_vcpu *v, struct engine_sys *sys)
{
	const struct kvm_sregs *s = kv_sregs(v);
	struct kvm_debugregs d;
	unsigned i;

	memset(sys, 0, sizeof(*sys));
	to_engine(&s->cs, &sys->cs);
	to_engine(&s->ss, &sys->ss);
	to_engine(&s->ds, &sys->ds);
	to_engine(&s->es, &sys->es);
	to_engine(&s->fs, &sys->fs);
	to_engine(&s->gs, &sys->gs);
	to_engine(&s->tr, &sys->tr);
	to_engine(&s->ldt, &sys->ldt);
	sys->gdt.base = s->gdt.base;
	sys->gdt.limit = s->gdt.limit;
	sys->idt.base = s->idt.base;
	sys->idt.limit = s->idt.limit;
	sys->cr2 = s->cr2;
	sys->cr8 = s->cr8;
	for (i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++)
		kv_msr_get(v, msrs[i].msr, (uint64_t *)(void *)((char *)sys + msrs[i].offset));
	memset(&d, 0, sizeof(d));
	ioctl(v->fd, KVM_GET_DEBUGREGS, &d);
	for (i = 0; i < 4; i++)
		sys->dr[i] = d.db[i];
	sys->dr[6] = d.dr6;
	sys->dr[7] = v->dr7_taken ? v->dr7 : d.dr7;
}

void kv_set_sys(struct kv_vcpu *v, const struct engine_sys *sys)
{
	struct kvm_sregs *s = kv_sregs_w(v);
	struct kvm_debugregs d;
	unsigned i;

	from_engine(&s->cs, &sys->cs);
	from_engine(&s->ss, &sys->ss);
	from_engine(&s->ds, &sys->ds);
	from_engine(&s->es, &sys->es);
	from_engine(&s->fs, &sys->fs);
	from_engine(&s->gs, &sys->gs);
	from_engine(&s->tr, &sys->tr);
	from_engine(&s->ldt, &sys->ldt);
	s->gdt.base = sys->gdt.base;
	s->gdt.limit = sys->gdt.limit;
	s->idt.base = sys->idt.base;
	s->idt.limit = sys->idt.limit;
	s->cr2 = sys->cr2;
	s->cr8 = sys->cr8;
	for (i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
		uint64_t value;

		memcpy(&value, (const char *)sys + msrs[i].offset, 8);
		kv_msr_set(v, msrs[i].msr, value);
	}
	memset(&d, 0, sizeof(d));
	for (i = 0; i < 4; i++)
		d.db[i] = sys->dr[i];
	d.dr6 = sys->dr[6];
	d.dr7 = sys->dr[7];
	if (v->dr7_taken) {
		v->dr7 = sys->dr[7];
		d.dr7 = DR7_OFF;
	}
	ioctl(v->fd, KVM_SET_DEBUGREGS, &d);
}

void kv_hide_dr7(struct kv_vcpu *v, bool hide)
{
	struct kvm_debugregs d;

	if (hide == v->dr7_taken)
		return;
	memset(&d, 0, sizeof(d));
	v->dr7_taken = hide;
	if (ioctl(v->fd, KVM_GET_DEBUGREGS, &d))
		return;
	if (hide)
		v->dr7 = d.dr7;
	else if (v->dr7 == d.dr7)
		return;
	if (hide && d.dr7 == DR7_OFF)
		return;
	d.dr7 = hide ? DR7_OFF : v->dr7;
	ioctl(v->fd, KVM_SET_DEBUGREGS, &d);
}
