/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of vmm/: what its files share. Engines and verbs use vmm/engine.h and vmm/vm.h.
 *
 * Memory in one picture. Guest RAM is one host mapping; a guest frame is ram + gpa. What the guard
 * keeps for itself, verified copies and private pages, lies in host memory of each module (`copy`,
 * numbered by moff / 4096) and has no guest-physical address at all: a view decides whether a
 * frame's address shows the frame, the copy, or a stand-in. So no walk, DMA or device model can
 * reach it by accident.
 */
#ifndef VMM_INTERNAL_H
#define VMM_INTERNAL_H

#include "vmm/engine.h"
#include "vmm/vm.h"

#define VM_PAGE 4096ull
#define VM_PAGE_MASK 0xffffffffff000ull
#define VM_LARGE 0x200000ull
#define VM_DEFAULT_RAM (64ull << 20)
#define VM_MAX_RAM (2048ull << 20)
#define VM_MAX_DEVICES 16u
#define VM_MAX_NESTED 16u
#define VM_CONSOLE_BYTES 65536u
#define VM_MAILBOX_BYTES 65536u
#define VM_STACKS 0xffffc90000000000ull /* per vCPU: unmapped guard pages, then the stack */
#define VM_STACK_STRIDE 0x8000ull
#define VM_STATUS_GPA (GH_DEVICE_GPA - 0x100000ull) /* status pages: a device, so read-only */

#define PTE_P 1ull
#define PTE_W 2ull
#define PTE_U 4ull
#define PTE_PCD 0x10ull
#define PTE_A 0x20ull
#define PTE_D 0x40ull
#define PTE_PS 0x80ull
#define PTE_NX (1ull << 63)

/* vm_frame.flags */
#define FRAME_TRACKED 1u /* under a verified page: writes set the module's dirty bit */
#define FRAME_WRITTEN 2u /* it is set: no need to report more writes */
#define FRAME_FETCHED 4u /* instructions were fetched here: host writes tell the engine */

/* One guest frame. `module` and `page` say under which page of which module, if role or TRACKED. */
struct vm_frame {
	uint8_t role; /* enum guard_role */
	uint8_t flags;
	uint8_t module;
	uint8_t reserved;
	uint32_t page;
};

struct vm_symbol {
	uint64_t address, size;
	char *name;
	uint8_t kind; /* enum vm_symbol_kind */
};

enum vm_symbol_kind {
	VM_SYM_ALIAS,  /* found by name, never shown for an address that has another one */
	VM_SYM_LOCAL,  /* function or datum that nobody else may import */
	VM_SYM_GLOBAL, /* may be imported; for a module, functions go by their gates */
	VM_SYM_ENTER,  /* gate "enter/f" */
	VM_SYM_GATE    /* any other gate */
};

/* Names of one image; by_name: the same, of equal names first those that are gates. */
struct vm_symbols {
	struct vm_symbol *by_address, **by_name;
	size_t count;
	uint64_t low, high; /* addresses that belong to this image */
};

struct vm_module {
	char name[32];	/* printable, without blanks */
	unsigned index; /* the guard's; GUARD_VIEW_U: not registered */
	struct blob ko, manifest;
	void *work;
	struct guard_binding binding;
	uint64_t id;
	uint64_t base[GM_MAX_SEGMENTS];
	uint32_t pages;	 /* of its moff space */
	uint8_t *copy;	 /* verified copies and private pages: pages * 4096 */
	uint64_t *frame; /* gpa under each page; 0: none */
	uint64_t *dirty; /* bit per page: guest frame written since last asked */
	uint64_t granted[GH_MAX_VCPUS];
	struct vm_symbols symbols;
	uint64_t boot_symbols; /* gpa of the table in the boot page, its room in entries */
	uint32_t boot_symbol_count, boot_symbol_room;
};

/*
 * Where a module was before the loader placed it anew, for lines of the log that speak of it. The
 * loader never gives an address twice.
 */
struct vm_old_place {
	const struct vm_module *module;
	uint64_t base[GM_MAX_SEGMENTS];
	struct vm_symbols symbols;
};

#define VM_OLD_PLACES 16u /* the latest: a guest may reload without end */

struct vm_bound_range {
	bool bound;
	uint64_t base, length;
};

struct vm_vcpu {
	uint8_t view;	 /* GUARD_VIEW_U or module index */
	uint64_t raised; /* privileges of that module */
	uint64_t last_raised[GUARD_MAX_MODULES];
	bool seen[GUARD_MAX_MODULES];	 /* last_raised holds */
	uint64_t lines;			 /* of the log, so far */
	bool stopped;			 /* for good: lower failed */
	unsigned fail_raise, fail_lower; /* so many calls from now on fail: tests of R20 */
};

/* One vm_run_nested() that is under way. */
struct vm_level {
	unsigned vcpu;
	uint64_t stop_rip;
	bool reached; /* while another one further in was waiting */
};

struct vm_log {
	struct vm_line *ring;
	size_t room, count, first;
	uint64_t lost;
};

enum vm_slept { VM_AWAKE, VM_SLEPT_HLT, VM_SLEPT_MWAIT };

/* Physical cores, by vCPU (placement.c). */
struct vm_place {
	bool on;
	struct vm_placement cfg;
	uint64_t rng, next_move;
	unsigned core[GH_MAX_VCPUS];
	enum vm_slept slept[GH_MAX_VCPUS]; /* the last time, until it is seen runnable */
	uint64_t ready[GH_MAX_VCPUS];	   /* not before */
	bool held[GH_MAX_VCPUS];
	uint64_t held_since[GH_MAX_VCPUS];
	bool exited[GH_MAX_VCPUS]; /* by HLT, and nothing was judged since */
	struct vm_idle_counts counts;
};

struct vm {
	struct vm_config cfg;
	struct vm_place place;
	const struct engine_ops *ops;
	struct engine *engine;
	struct guard *guard;
	void *guard_memory;
	struct oracle *oracle; /* NULL: nobody watches */
	struct vm_cost cost;

	uint8_t *ram;
	uint64_t ram_size;
	struct vm_frame *frame; /* [ram_size / 4096] */
	uint16_t *special;	/* per 2 MiB: frames with a role or TRACKED */
	uint64_t alloc_low, alloc_high;
	bool started;

	uint64_t cr3;	/* the tables that we build */
	uint64_t entry; /* of the guest image */
	uint64_t boot_gpa, gdt_gpa, mailbox_gpa, mailbox_size;
	uint64_t next_module; /* gva */
	struct vm_symbols symbols;

	struct vm_vcpu vcpu[GH_MAX_VCPUS];
	struct vm_module *loaded[GUARD_MAX_MODULES]; /* in load order */
	unsigned nloaded;
	struct vm_module *module[GUARD_MAX_MODULES]; /* by the guard's index */
	struct vm_bound_range range[GUARD_MAX_MODULES][GM_MAX_PRIVILEGES];

	struct vm_device device[VM_MAX_DEVICES];
	unsigned ndevices;
	struct vm_doorbell {
		uint32_t secret, value;
		uint64_t rings;
		uint64_t gpa;
	} doorbell;

	struct vm_pci {
		uint8_t config[256];
		uint8_t allowed[256]; /* bits that a guest may write */
		uint32_t address;     /* port 0xcf8 */
	} pci;

	struct vm_log log;
	struct vm_old_place old_place[VM_OLD_PLACES]; /* oldest first */
	unsigned old_places;
	char *console; /* two halves, so that the last 64 KiB are always in one piece */
	size_t console_len;

	vm_host_fn host_fn;
	void *host_ctx;
	struct vm_level level[VM_MAX_NESTED];
	unsigned nested;
	uint64_t boundaries, strike_at; /* of instructions inside modules */
	uint8_t strike_vector;
	struct vm_mark *mark; /* rewind.c; NULL: none */
	bool frames_moved;    /* a frame's role or tracking has changed */
	uint64_t msr_value;   /* the one register behind bound MSRs, and behind bound ports */
	uint32_t port_value;
};

/* ---- memory.c ---- */
bool vm_memory_create(struct vm *vm, struct error *err);
void vm_memory_destroy(struct vm *vm);
/* Is [gpa, gpa + len) RAM? */
static inline bool vm_is_ram(const struct vm *vm, uint64_t gpa, uint64_t len)
{
	return gpa < vm->ram_size && len <= vm->ram_size - gpa;
}
static inline struct vm_frame *vm_frame_of(const struct vm *vm, uint64_t gpa)
{
	return &vm->frame[gpa / VM_PAGE];
}
/* Sets a frame's role and flags, keeps vm->special in step. Tells no engine. */
void vm_frame_set(struct vm *vm, uint64_t gpa, enum guard_role role, uint8_t flags, uint8_t module,
		  uint32_t page);
/* The host wrote [gpa, gpa + len) of one page: dirty bits, stale code. */
void vm_host_wrote(struct vm *vm, uint64_t gpa, size_t len);
/* Maps one page in the tables of vm->cr3. flags: PTE_*. false: no memory, or hostile tables. */
bool vm_map_page(struct vm *vm, uint64_t gva, uint64_t gpa, uint64_t flags);
static inline uint64_t vm_direct(uint64_t gpa)
{
	return GH_DIRECT_MAP + gpa;
}

/* ---- walk.c ---- */
static inline bool vm_canonical(uint64_t gva)
{
	return (uint64_t)((int64_t)(gva << 16) >> 16) == gva;
}
/* guard_ops.translate */
void vm_translate(void *vmm, unsigned vcpu, uint64_t cr3, uint64_t gva, size_t npages,
		  struct guard_mapping *out);

/* ---- ops.c ---- */
extern const struct guard_ops vm_guard_ops;
/* No frame points to a page of m any more; its role and tracking end. */
void vm_forget_frames(struct vm *vm, struct vm_module *m);

/* ---- views.c ---- */
/* Is gpa in a device range that some module is bound to? */
bool vm_device_bound(const struct vm *vm, uint64_t gpa);
/* May this view use a device register at gpa: unbound, or bound and raised here? */
bool vm_device_open(const struct vm *vm, unsigned vcpu, uint8_t view, uint64_t gpa);
/* Is one of the view's privileges of this kind raised here (for this port or MSR number)? */
bool vm_raised_kind(const struct vm *vm, unsigned vcpu, uint8_t view, uint32_t kind,
		    uint32_t number);

/* ---- judge.c ---- */
/* Logs and traces all lines of a decision. */
void vm_record(struct vm *vm, unsigned vcpu, const struct guard_decision *d);

/* ---- watch.c: what vmm/ itself tells the oracle, if there is one ---- */
bool vm_watch_create(struct vm *vm, struct error *err);
/* Before each act of the administrator; after it, what came of it. */
void vm_watch_admin(struct vm *vm);
void vm_watch_register(struct vm *vm, const struct blob *manifest,
		       const struct guard_binding *binding, enum guard_verdict v, unsigned index);
void vm_watch_registered(struct vm *vm, const struct vm_module *m);
void vm_watch_unregistered(struct vm *vm, unsigned module, enum guard_verdict v,
			   const struct guard_decision *d);
void vm_watch_granted(struct vm *vm, unsigned vcpu, unsigned module, uint64_t privileges, bool give,
		      enum guard_verdict v, const struct guard_decision *d);
void vm_watch_reset(struct vm *vm, unsigned vcpu, enum guard_verdict v,
		    const struct guard_decision *d);
/* guard_judge() with the oracle looking on. */
void vm_watch_judge(struct vm *vm, const struct guard_event *ev, struct guard_decision *d);

/* ---- log.c, trace.c, symbols.c ---- */
bool vm_log_create(struct vm *vm, struct error *err);
void vm_log_destroy(struct vm *vm);
void vm_log_append(struct vm *vm, unsigned vcpu, const struct guard_line *line);
void vm_trace_line(struct vm *vm, const struct vm_line *l);
/* explain.c: code around the site, and the stack around the slot before and after. */
void vm_explain_line(struct vm *vm, unsigned vcpu, const struct guard_line *l,
		     const struct guard_decision *d);
void vm_symbols_free(struct vm_symbols *s);
/* m was at these bases, with these symbols, which are taken over. */
void vm_symbols_retire(struct vm *vm, const struct vm_module *m, const uint64_t *base,
		       const struct vm_symbols *symbols);

struct vm_symbol_list {
	struct vm_symbol *item;
	size_t count, room;
};
bool vm_symbol_add(struct vm_symbol_list *l, const char *prefix, const char *name, size_t max,
		   uint64_t address, uint64_t size, enum vm_symbol_kind kind);
/* Takes the names over from the list; the old ones are freed. false: no memory, all as it was. */
bool vm_symbols_build(struct vm_symbols *s, struct vm_symbol_list *l, uint64_t low, uint64_t high);
void vm_symbol_list_free(struct vm_symbol_list *l);
/* The exact name in one image; NULL if there is none. */
const struct vm_symbol *vm_symbols_find(const struct vm_symbols *s, const char *name);
struct vm_module *vm_module_at(const struct vm *vm, uint64_t gva);
/* Segment of m that holds gva, or -1. */
int vm_module_segment(const struct vm_module *m, uint64_t gva);

/* ---- boot.c ---- */
bool vm_boot_create(struct vm *vm, struct error *err);
/* Loads a vCPU's registers as spec section 5 starts it and makes it runnable. */
void vm_boot_vcpu(struct vm *vm, unsigned vcpu);
void vm_boot_state(const struct vm *vm, unsigned vcpu, struct guard_cpu *cpu,
		   struct engine_sys *sys);
void vm_boot_update(struct vm *vm);

/* ---- rewind.c ---- */
void vm_mark_free(struct vm *vm);

/* ---- placement.c ---- */
/* An event is about to be judged. */
void vm_place_judged(struct vm *vm, const struct guard_event *ev);

/* ---- devices.c, ports.c ---- */
const struct vm_device *vm_device_at(const struct vm *vm, uint64_t gpa);
bool vm_status_create(struct vm *vm, struct error *err);
void vm_console_byte(struct vm *vm, char c);
/* No bound range of m has ports or MSRs that cannot be guarded. */
bool vm_ports_check(const struct vm_module *m, const char *name, struct error *err);

/* A number without a guest-physical address was touched: reported as TOUCH. */
void vm_touch_port(struct vm *vm, unsigned vcpu);

/* ---- pci.c: configuration space of the doorbell; true: these ports are its ---- */
void vm_pci_create(struct vm *vm);
bool vm_pci_in(struct vm *vm, uint16_t port, unsigned width, uint32_t *value);
bool vm_pci_out(struct vm *vm, unsigned vcpu, uint16_t port, unsigned width, uint32_t value);

/* ---- load_module.c ---- */
void vm_module_free(struct vm_module *m);
static inline const struct gm_header *vm_manifest(const struct vm_module *m)
{
	return (const struct gm_header *)(const void *)m->manifest.data;
}
static inline const struct gm_segment *vm_segments(const struct vm_module *m)
{
	return (const void *)(m->manifest.data + vm_manifest(m)->segments.offset);
}
static inline const char *vm_manifest_name(const struct vm_module *m, uint32_t n)
{
	const struct gm_table *t = &vm_manifest(m)->names;

	return n < t->count ? (const char *)m->manifest.data + t->offset + n : "";
}

#endif
