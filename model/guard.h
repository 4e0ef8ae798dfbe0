/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The guard core's interface: an event goes in, a decision comes out.
 *
 * One struct guard per VM. The VMM owns all memory, serialises the events of one guard, and
 * carries a decision out before that vCPU (and those in `kick`) runs another guest instruction.
 * Callbacks never re-enter. Rules: docs/semantics.md.
 */
#ifndef MODEL_GUARD_H
#define MODEL_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/manifest.h"
#include "model/names.h"

#define GUARD_MAX_VCPUS 16u
#define GUARD_MAX_MODULES 16u
#define GUARD_MAX_WALKED_PAGES 256u /* mapping=checked: more is no-room at REGISTER */
#define GUARD_MAX_FRAMES 64u	    /* call frames of one chain */
#define GUARD_MAX_NEST 8u	    /* activations of one chain */
#define GUARD_EXTENT_PAGES 8u	    /* pages of stack that one chain may span */
#define GUARD_MAX_LINES 8u	    /* log lines of one decision */
#define GUARD_VIEW_U 0xffu	    /* view: unprivileged; else the module's index */

/* GPR numbers, x86 encoding order. */
enum guard_gpr {
	GUARD_RAX,
	GUARD_RCX,
	GUARD_RDX,
	GUARD_RBX,
	GUARD_RSP,
	GUARD_RBP,
	GUARD_RSI,
	GUARD_RDI,
	GUARD_R8,
	GUARD_R9,
	GUARD_R10,
	GUARD_R11,
	GUARD_R12,
	GUARD_R13,
	GUARD_R14,
	GUARD_R15,
	GUARD_GPRS
};

#define GUARD_MODE_64 1u     /* CS.L = 1 */
#define GUARD_MODE_NESTED 2u /* in a nested guest */
#define GUARD_MODE_SMM 4u

/* What the core sees of a vCPU. For a DEPART: before any frame is pushed. */
struct guard_cpu {
	uint64_t gpr[GUARD_GPRS];
	uint64_t rip; /* first byte of X, of the faulting or of the next instruction */
	uint64_t rflags;
	uint64_t cr0, cr3, cr4, efer;
	uint8_t cpl;
	uint8_t mode; /* GUARD_MODE_* */
};

enum guard_event_type {
	GUARD_EV_X,	 /* a crossing instruction was executed at rip */
	GUARD_EV_FETCH,	 /* the present view refused the instruction fetch at rip */
	GUARD_EV_DEPART, /* an event is about to be delivered to the guest */
	GUARD_EV_TOUCH	 /* `gpa` was accessed without the privilege; a stand-in answered */
};

struct guard_event {
	enum guard_event_type type;
	unsigned vcpu;
	enum guard_cause cause; /* DEPART: irq, nmi, exception, kick, other */
	uint8_t vector;		/* DEPART: exception or interrupt number */
	uint64_t gpa;		/* TOUCH: what was accessed */
	struct guard_cpu cpu;
};

/* One line of the verdict log, without its number: the VMM prints and numbers it. */
struct guard_line {
	enum guard_event_name event;
	enum guard_verdict verdict;
	enum guard_cause cause;
	uint8_t module;	  /* index, or GUARD_VIEW_U: none */
	uint8_t from, to; /* views before and after */
	uint32_t act;	  /* serial of the activation in its module; 0: none */
	uint64_t rip;
	uint64_t slot, old_word, new_word; /* the word exchanged, if slot != 0: for --trace */
};

struct guard_decision {
	enum guard_verdict verdict; /* of the last line */
	bool inject_gp;		    /* #GP(0) at cpu.rip; if still privileged, DEPART comes first */
	bool foreign;	/* the X is the VMM's own hypercall; an exit may have been judged first */
	bool stop_vcpu; /* lower failed: this vCPU never runs again */
	uint32_t stop;	/* the same for any vCPU: bit v */
	bool stop_vm;	/* policy */
	uint8_t view;	/* of this vCPU from now on */
	uint32_t kick;	/* bit v: make vCPU v leave the guest before it executes more */
	unsigned nlines;
	struct guard_line line[GUARD_MAX_LINES];
	struct guard_cpu cpu; /* registers to load: gpr, rip and rflags may have changed */
};

/* ---- what the administrator decides ---- */

enum guard_stack_policy { GUARD_STACK_RETURNS, GUARD_STACK_EXACT, GUARD_STACK_NONE };
enum guard_regs_policy { GUARD_REGS_VERIFY, GUARD_REGS_SCRUB };
enum guard_mapping_policy { GUARD_MAPPING_CHECKED, GUARD_MAPPING_LOCKED };
enum guard_refusal_policy { GUARD_REFUSE_GP, GUARD_REFUSE_QUARANTINE, GUARD_REFUSE_STOP };

struct guard_policy {
	uint8_t stack, registers, mapping, refusal;
	uint32_t chains;   /* activations of this module at once, 1..GUARD_MAX_CHAINS */
	uint64_t required; /* privileges without which ENTER-CALL is withheld */
};

#define GUARD_MAX_CHAINS 256u

struct guard_resource {
	uint64_t base, length; /* GM_PRIV_DEVICE: guest-physical range, page aligned */
};

struct guard_binding {
	uint8_t digest[32]; /* of the manifest's bytes */
	uint64_t bound;	    /* bit i: privilege i of the manifest is given */
	struct guard_resource resource[GM_MAX_PRIVILEGES];
	struct guard_policy policy;
};

/* ---- what the VMM provides ---- */

/* Role of a guest frame, told by frame_role() and given back by translate(). */
enum guard_role {
	GUARD_ROLE_NONE,
	GUARD_ROLE_SEGMENT,  /* of an announced module, ordinary otherwise (DATA) */
	GUARD_ROLE_GATES,    /* executable in U, verified copy in P(m) */
	GUARD_ROLE_VERIFIED, /* not executable in U, verified copy in P(m) */
	GUARD_ROLE_PRIVATE,  /* hidden in U, private page in P(m) */
	GUARD_ROLE_DEVICE    /* bound registers: hidden in U */
};

#define GUARD_MAP_PRESENT 1u
#define GUARD_MAP_WRITE 2u
#define GUARD_MAP_USER 4u
#define GUARD_MAP_RAM 8u /* plain guest RAM, not a device or a hole */

struct guard_mapping {
	uint64_t gpa;	/* of the page */
	uint32_t flags; /* GUARD_MAP_*; 0: not mapped */
	uint32_t role;	/* enum guard_role of that frame */
};

/*
 * Every function returns false for "could not": the core then refuses. `module` is the index that
 * guard_register() gave, `page` is moff / 4096 in it.
 */
struct guard_ops {
	/*
	 * Translates `npages` pages from gva (page aligned) under cr3, with the rights of a CPL-0
	 * access in view U. Fills all of out; an unmapped page gets flags 0.
	 */
	void (*translate)(void *vmm, unsigned vcpu, uint64_t cr3, uint64_t gva, size_t npages,
			  struct guard_mapping *out);
	/* Guest RAM in view U; [gpa, gpa + len) lies in one page that translate() gave as RAM. */
	bool (*read)(void *vmm, uint64_t gpa, void *buf, size_t len);
	bool (*write)(void *vmm, uint64_t gpa, const void *buf, size_t len);
	/* 32-byte digest that ids and bindings use (SHA-256). */
	bool (*digest)(void *vmm, const void *data, size_t len, uint8_t out[32]);
	/* Sets what vCPU may use of m: the bits are the manifest's privileges; 0 is legal. */
	bool (*raise)(void *vmm, unsigned vcpu, unsigned module, uint64_t privileges);
	bool (*lower)(void *vmm, unsigned vcpu, unsigned module);
	/*
	 * Verified copy: take the guest frame's bytes; overwrite; read back. Addressed by moff,
	 * within one page.
	 */
	bool (*verified_fill)(void *vmm, unsigned module, uint32_t page, uint64_t gpa);
	bool (*verified_patch)(void *vmm, unsigned module, uint32_t moff, const void *buf,
			       size_t len);
	bool (*verified_read)(void *vmm, unsigned module, uint32_t moff, void *buf, size_t len);
	/*
	 * The guest's own bytes in the frame under a verified page, as they are now; addressed by
	 * moff, within one page. The one look at such a frame: what was written there since.
	 */
	bool (*guest_read)(void *vmm, unsigned module, uint32_t moff, void *buf, size_t len);
	/* Private page: set to `len` bytes and zeros behind (len 0: all zero = wipe). */
	bool (*private_fill)(void *vmm, unsigned module, uint32_t page, const void *bytes,
			     size_t len);
	/*
	 * Which of the verified pages [first, first + 64) of m had their guest frames written (by
	 * anything) since last asked; asking clears. *bits: bit i = page first + i.
	 */
	bool (*written)(void *vmm, unsigned module, uint32_t first, uint64_t *bits);
	/*
	 * Gives the frame under page of m a role, or NONE. Returns when every vCPU has acknowledged
	 * and no stale translation is left.
	 */
	bool (*frame_role)(void *vmm, unsigned module, uint32_t page, uint64_t gpa,
			   enum guard_role role);
	/* Device frames of m's privilege p become / cease to be hidden in U. */
	bool (*device_role)(void *vmm, unsigned module, unsigned privilege,
			    const struct guard_resource *range, bool bind);
	/* mapping=locked: true if under cr3 m's table path is write-trapped and unchanged. */
	bool (*mapping_locked)(void *vmm, unsigned vcpu, unsigned module, uint64_t cr3);
};

/* ---- the calls ---- */

struct guard; /* opaque: guard_size() bytes, 64-aligned, zeroed or not */

size_t guard_size(void);

/*
 * Prepares `mem` (guard_size() bytes) for a VM with `vcpus` vCPUs (1..GUARD_MAX_VCPUS).
 * Returns NULL if vcpus is out of range.
 */
struct guard *guard_init(void *mem, unsigned vcpus, const struct guard_ops *ops, void *vmm);

/*
 * Bytes of work memory that guard_register() needs for this manifest under this policy; 0 if the
 * manifest's header or the policy is out of bounds.
 */
size_t guard_work_size(const void *manifest, size_t len, const struct guard_policy *policy);

/*
 * REGISTER. `manifest` must be 8-aligned and, like `work`, stay unchanged and out of the guest's
 * reach until guard_unregister(). *index is set if the verdict is ok. `binding` NULL: not-bound.
 */
enum guard_verdict guard_register(struct guard *g, const void *manifest, size_t len,
				  const struct guard_binding *binding, void *work, size_t work_len,
				  unsigned *index, struct guard_decision *d);

/* UNREGISTER: lowers running vCPUs, withdraws, forgets. The decision names vCPUs to kick. */
enum guard_verdict guard_unregister(struct guard *g, unsigned index, struct guard_decision *d);

/* GRANT (give) or WITHHOLD: makes privileges available to m on a vCPU. None are at the start. */
enum guard_verdict guard_grant(struct guard *g, unsigned vcpu, unsigned index, uint64_t privileges,
			       bool give, struct guard_decision *d);

/* The one entry for everything that the guest does. Fills *d whole. */
void guard_judge(struct guard *g, const struct guard_event *ev, struct guard_decision *d);

/* INIT, reset or removal of a vCPU: lowered, its running chain dropped. */
enum guard_verdict guard_vcpu_reset(struct guard *g, unsigned vcpu, struct guard_decision *d);

/* Numbered hypercalls: RAX = number; result in RAX (an enum guard_verdict; STATUS: a state). */
#define GUARD_CALL_ANNOUNCE 0x6000u /* RBX id, RCX address of u64 bases[], RDX count */
#define GUARD_CALL_WITHDRAW 0x6001u /* RBX id */
#define GUARD_CALL_STATUS 0x6002u   /* RBX id */

/* STATUS results; UNKNOWN_MODULE is the verdict of that name. */
#define GUARD_STATUS_REGISTERED 0x100u
#define GUARD_STATUS_ANNOUNCED 0x200u
#define GUARD_STATUS_QUARANTINED 0x400u

/* ---- for the VMM's log and for tests; they change nothing ---- */

struct guard_module_info {
	uint64_t id; /* first 8 bytes of the digest, little endian */
	bool announced, quarantined;
	uint64_t base[GM_MAX_SEGMENTS];
	uint32_t running;   /* bit v: vCPU v is privileged in m */
	uint32_t suspended; /* chains that wait in a call-out or departure */
	uint64_t touches;
};

bool guard_module_info(const struct guard *g, unsigned index, struct guard_module_info *info);
uint8_t guard_view(const struct guard *g, unsigned vcpu);

#endif
