/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest for the core's tests: a kernel address space with thread stacks, a standard module with
 * every kind of segment, gate, frame and patch site, and helpers that do what guest instructions
 * would do between two events. After every event the world checks what must hold always.
 */
#ifndef TESTS_SUPPORT_WORLD_H
#define TESTS_SUPPORT_WORLD_H

#include "tests/support/fakevmm.h"
#include "tests/support/manifest_builder.h"

/* ---- the standard module ---- */

/* Functions of its text: function n starts at n * 0x100. The first ones are entries. */
enum fn {
	FN_F,	/* frame pointer */
	FN_G,	/* RSP-based */
	FN_D,	/* realigned frame: CFA through memory, RBP saved at RBP */
	FN_E,	/* RSP-based, RBP saved and used for something else */
	FN_B64, /* RSP-based, with that many bytes of locals */
	FN_B512,
	FN_B4096,
	FN_W,	  /* with a WARN and an exception-table fixup */
	FN_EXIT,  /* module_exit */
	FN_INIT,  /* module_init: its own segment */
	FN_ICALL, /* other init code that the kernel calls: there, at INIT_CALL_AT */
	FN_H,	  /* no entry: RSP-based */
	FN_I,	  /* no entry: frame pointer */
	FN_N,	  /* no entry: nothing can be located in its body */
	FN_T,	  /* no entry: a thunk, CFA = RSP + 8 throughout */
	FN_COUNT
};
#define FN_ENTRIES (FN_ICALL + 1)
#define INIT_CALL_AT 0x200u

/* Offsets in each function. Two calls; the frame stands from FN_BODY to FN_END. */
#define FN_BODY 0x08u
#define FN_CALL 0x20u
#define FN_RET 0x25u
#define FN_CALL2 0x28u
#define FN_RET2 0x2du
#define FN_END 0x40u /* also a return site: a call that never comes back ends the body */
#define FN_GAP 0x80u
/* In FN_W. */
#define W_WARN 0x30u
#define W_FAULT 0x34u
#define W_FIXUP 0x38u
#define W_FIXUP2 0x3cu
#define W_FIXUP_REGS ((1u << GUARD_RAX) | (1u << GUARD_RCX))

enum std_segment {
	SEG_TEXT,
	SEG_GATES,
	SEG_RODATA,
	SEG_DATA,
	SEG_PRIVATE,
	SEG_INIT,
	SEG_INIT_RODATA,
	SEG_INIT_DATA,
	SEG_LATE, /* constants behind init, with a relocation */
	SEG_PERCPU,
	SEG_COUNT
};

enum std_gate { /* the enter gates follow, in order of enum fn, then the leave gates */
		GATE_PAD,
		GATE_LEAVE_RETURN,
		GATE_ENTER_RETURN,
		GATE_ENTER
};

enum std_import {
	IMP_C,
	IMP_ASM,
	IMP_NONE,
	IMP_DATA,
	IMP_LATE,      /* code, in run-time contents only */
	IMP_LATE_DATA, /* data, likewise */
	IMP_COUNT
};
#define STD_PRESERVE_C                                                                             \
	((1u << GUARD_RBX) | (1u << GUARD_RBP) | (1u << GUARD_R12) | (1u << GUARD_R13) |           \
	 (1u << GUARD_R14) | (1u << GUARD_R15))
#define STD_PRESERVE_ASM (0xffffu & ~((1u << GUARD_RSP) | (1u << GUARD_RBX) | (1u << GUARD_RCX)))
#define GATE_LEAVE (GATE_ENTER + FN_ENTRIES)   /* + import */
#define GATE_LEAVE_RAX (GATE_LEAVE + IMP_DATA) /* leave-indirect */
#define GATE_LEAVE_R11 (GATE_LEAVE_RAX + 1)
#define GATE_COUNT (GATE_LEAVE_R11 + 1)

enum std_privilege { PRIV_PRIVATE, PRIV_DEVICE, PRIV_MWAIT, PRIV_IOPORT, PRIV_MSR, PRIV_COUNT };
#define ALL_PRIVILEGES ((1ull << PRIV_COUNT) - 1)

/* Text offsets of the patch sites and relocation fields (pages 1 and 2 of the text). */
#define SITE_FENTRY 0x1000u  /* load time: NOP5, or a call outside */
#define SITE_GROUP_A 0x1010u /* load time, one group: ret+int3, or jmp to the thunk */
#define SITE_GROUP_B 0x1020u
#define SITE_LABEL 0x1030u    /* run time: NOP5, or jmp inside the text */
#define SITE_STATIC 0x1040u   /* run time: call outside, a 5-byte NOP, or jmp to IMP_LATE */
#define SITE_MOV 0x1060u      /* run time: a 10-byte NOP, or mov $IMP_LATE_DATA,%rax */
#define SITE_TWO 0x1070u      /* load time: NOP, call IMP_LATE and F, or two calls outside */
#define SITE_INIT 0xffdu      /* of the init segment: run time, crosses a page */
#define RELOC_INIT64 0x80u    /* of the init segment */
#define SITE_STRADDLE 0x1ffdu /* run time, crosses from page 1 to page 2 */
#define SITE_LOCK 0x1050u     /* load time, 1 byte: lock, or ds */
#define RELOC_RODATA64 0x2100u
#define RELOC_DATA_PC32 0x2110u
#define RELOC_TEXT_32S 0x2120u
#define RELOC_PERCPU_32S 0x2130u
#define RELOC_IMPORT_64 0x2140u	  /* data import */
#define RELOC_IMPORT_PC32 0x2150u /* code import */
#define RELOC_GATE_PLT32 0x2160u
#define RELOC_STRADDLE64 0x2ffcu /* crosses from page 2 to page 3 */
#define RELOC_PC64 0x2170u
#define RELOC_32 0x2180u /* percpu, zero-extended */
#define STD_TEXT_SIZE 0x3100u

struct std_options {
	bool views;	 /* no gates */
	bool contiguous; /* segments follow each other in memory */
	bool reversed;	 /* segments lie in the opposite order */
	uint32_t relocs; /* so many more, on the extra text pages */
	uint32_t x_kind;
	uint32_t text_pages; /* extra text pages without content */
	struct guard_policy policy;
	uint64_t bound;	   /* 0: all */
	bool no_bound;	   /* bound = 0 */
	uint32_t headroom; /* 0: GM_MIN_HEADROOM */
	uint32_t seed;	   /* makes the manifest, and with it the id, different */
};

struct std_options std_default(void);
void *std_manifest(const struct std_options *o, size_t *len);

/* ---- the world ---- */

#define W_MODULES 4u
#define W_THREADS 8u
#define W_STACK_PAGES 8u
#define W_KERNEL 0xffffffff81000000ull /* code: return addresses, hypercalls */
#define W_KERNEL_PAGES 16u
#define W_KRET (W_KERNEL + 0x1234)
#define W_HYPERCALL (W_KERNEL + 0x2000)
#define W_IMPORTS (W_KERNEL + 0x4000) /* + 0x40 * import: code */
#define W_KERNEL_DATA 0xffffffff82000000ull
#define W_STACKS 0xffffc90000000000ull

struct wmodule {
	struct std_options options;
	void *manifest;
	size_t len;
	void *work;
	size_t work_len;
	struct guard_binding binding;
	unsigned index;
	uint64_t id;
	uint64_t base[GM_MAX_SEGMENTS];
	uint64_t gpa[FAKE_MAX_PAGES]; /* frame of each page */
	uint64_t bases_gva;	      /* the table that ANNOUNCE points to */
};

struct world {
	struct fakevmm *vmm;
	struct guard *guard;
	size_t guard_bytes;
	unsigned vcpus;
	uint64_t cr3;
	struct wmodule module[W_MODULES];
	unsigned modules;
	struct guard_cpu cpu[GUARD_MAX_VCPUS];
	bool stopped[GUARD_MAX_VCPUS];
	struct guard_decision d; /* of the last event */
	struct guard_event ev;	 /* the last event */
};

/* Memory for the core, with bytes behind it that w_destroy() finds untouched. */
void *w_guarded_alloc(size_t bytes);

struct world *w_create(unsigned vcpus);
void w_destroy(struct world *w);

/* Registers the standard module, grants all on every vCPU, loads it, does not announce it. */
struct wmodule *w_add(struct world *w, const struct std_options *o);
/* The same with a manifest of the test's own, which the world frees. */
struct wmodule *w_add_manifest(struct world *w, const struct std_options *o, void *manifest,
			       size_t len);
enum guard_verdict w_register(struct world *w, struct wmodule *m);
void w_grant_all(struct world *w, struct wmodule *m);
/* Writes images, relocations and the first choice of every site, as a loader would. */
void w_load(struct world *w, struct wmodule *m);
/* Maps the module's frames at other bases. */
void w_move(struct world *w, struct wmodule *m, uint64_t delta);
/* A loaded and announced standard module. */
struct wmodule *w_ready(struct world *w, const struct std_options *o);
/* World with one vCPU or more and one module ready. */
struct world *w_simple(unsigned vcpus, const struct std_options *o);

/* ---- addresses ---- */

uint64_t w_moff(const struct wmodule *m, uint32_t moff);
uint64_t w_seg(const struct wmodule *m, unsigned segment, uint32_t offset);
uint64_t w_fn(const struct wmodule *m, enum fn fn, uint32_t offset);
uint64_t w_gate(const struct wmodule *m, unsigned gate);   /* offset 0 */
uint64_t w_gate_x(const struct wmodule *m, unsigned gate); /* its X */
uint64_t w_stack_top(unsigned thread);
uint64_t w_import(unsigned import);
uint64_t w_word(struct world *w, unsigned v, uint64_t gva);
void w_set_word(struct world *w, unsigned v, uint64_t gva, uint64_t word);

/* ---- events ---- */

/* All return the decision's verdict and load its registers. */
enum guard_verdict w_judge(struct world *w, const struct guard_event *ev);
enum guard_verdict w_x(struct world *w, unsigned v, uint64_t rip);
enum guard_verdict w_fetch(struct world *w, unsigned v, uint64_t rip);
enum guard_verdict w_depart(struct world *w, unsigned v, enum guard_cause cause, uint8_t vector);
uint64_t w_hypercall(struct world *w, unsigned v, uint64_t rax, uint64_t rbx, uint64_t rcx,
		     uint64_t rdx);
/* Until it is no longer `again`. */
uint64_t w_announce(struct world *w, unsigned v, struct wmodule *m);
uint64_t w_withdraw(struct world *w, unsigned v, struct wmodule *m);
uint64_t w_status(struct world *w, unsigned v, struct wmodule *m);

/* ---- what guest code does between events ---- */

/* Kernel, on thread's stack, registers set to recognisable values. */
void w_thread(struct world *w, unsigned v, unsigned thread);
void w_push(struct world *w, unsigned v, uint64_t word);
uint64_t w_pop(struct world *w, unsigned v);
/* The kernel calls an entry, from W_KRET. */
enum guard_verdict w_enter(struct world *w, unsigned v, struct wmodule *m, enum fn fn);
enum guard_verdict w_enter_from(struct world *w, unsigned v, struct wmodule *m, enum fn fn,
				uint64_t ret);
/* Module: builds fn's frame (RIP at fn's start, RSP at its return address), takes it down. */
void w_frame(struct world *w, unsigned v, struct wmodule *m, enum fn fn);
void w_unframe(struct world *w, unsigned v, struct wmodule *m, enum fn fn);
/* Module: from fn's frame calls inner function `callee`, whose frame is built. */
void w_inner(struct world *w, unsigned v, struct wmodule *m, enum fn fn, enum fn callee);
/* Module: in `callee`'s frame, takes it down and returns into fn's. */
void w_inner_done(struct world *w, unsigned v, struct wmodule *m, enum fn fn, enum fn callee);
/* Module: from fn's frame calls that leave gate. */
enum guard_verdict w_callout(struct world *w, unsigned v, struct wmodule *m, enum fn fn,
			     unsigned gate);
/* Kernel: clobbers what C may, returns from the call-out through the enter-return gate. */
enum guard_verdict w_back(struct world *w, unsigned v, struct wmodule *m);
/* Module: in fn's frame, takes it down and returns to the caller through the leave-return gate. */
enum guard_verdict w_exit(struct world *w, unsigned v, struct wmodule *m, enum fn fn);
/* A whole visit: enter, call out, come back, exit. true if all were ok and it ended in W_KRET. */
bool w_honest(struct world *w, unsigned v, struct wmodule *m, enum fn fn);

struct guard_module_info w_info(struct world *w, const struct wmodule *m);
/* Everything observable that a refusal must not change: guest RAM, views, module state. */
uint64_t w_snapshot(struct world *w);

#endif
