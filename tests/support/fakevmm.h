/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small VMM for the core's tests: guest RAM, real 4-level page tables in it, frame roles,
 * verified copies and private pages. It counts every callback, fails any one on demand, writes
 * a journal, and aborts the test when the core asks for something that the contract forbids.
 */
#ifndef TESTS_SUPPORT_FAKEVMM_H
#define TESTS_SUPPORT_FAKEVMM_H

#include "model/guard.h"

#define FAKE_RAM (4u << 20)
#define FAKE_FRAMES (FAKE_RAM / GM_PAGE)
#define FAKE_MAX_PAGES 512u		      /* of one module */
#define FAKE_MMIO 0xfe000000ull		      /* first address of the device hole */
#define FAKE_DIRECT_MAP 0xffff888000000000ull /* all RAM, in 2 MiB pages */

#define PTE_P 1ull
#define PTE_W 2ull
#define PTE_U 4ull
#define PTE_PS 0x80ull
#define PTE_ADDR 0x000ffffffffff000ull

enum fake_op {
	FAKE_TRANSLATE,
	FAKE_READ,
	FAKE_WRITE,
	FAKE_DIGEST,
	FAKE_RAISE,
	FAKE_LOWER,
	FAKE_VERIFIED_FILL,
	FAKE_VERIFIED_PATCH,
	FAKE_VERIFIED_READ,
	FAKE_GUEST_READ,
	FAKE_PRIVATE_FILL,
	FAKE_WRITTEN,
	FAKE_FRAME_ROLE,
	FAKE_DEVICE_ROLE,
	FAKE_MAPPING_LOCKED,
	FAKE_OPS
};

/* One callback as it happened. */
struct fake_call {
	enum fake_op op;
	bool ok;
	unsigned vcpu, module;
	uint32_t page; /* or moff, or privilege */
	uint64_t gpa;  /* or gva, or the privilege set */
	uint64_t arg;  /* length, pages, or role */
};

#define FAKE_JOURNAL 8192u

struct fake_frame {
	uint8_t role;
	uint8_t module;
	bool dirty;
	uint32_t page;
};

struct fake_module {
	uint8_t *verified[FAKE_MAX_PAGES];
	uint8_t *private[FAKE_MAX_PAGES];
	uint64_t gpa[FAKE_MAX_PAGES]; /* frame with a role, 0: none */
	struct guard_resource device[GM_MAX_PRIVILEGES];
	bool device_hidden[GM_MAX_PRIVILEGES];
	uint64_t locked_cr3; /* mapping=locked: the one CR3 that is locked; 0: none */
};

struct fake_vcpu {
	uint8_t view;
	uint64_t privileges;
	unsigned raises, lowers;
};

struct fakevmm {
	uint8_t *ram;
	uint64_t next_frame; /* plain frames, from 1 MiB up */
	uint64_t next_table; /* page tables, from the top down */
	struct fake_frame frame[FAKE_FRAMES];
	struct fake_module module[GUARD_MAX_MODULES];
	struct fake_vcpu vcpu[GUARD_MAX_VCPUS];

	uint64_t calls[FAKE_OPS], total, pte_reads, written_bytes;
	uint64_t fail_total; /* fail the n-th callback from now (counted down); 0: none */
	uint64_t fail_op[FAKE_OPS];
	bool fail_forever; /* having failed once, keep failing that operation */
	bool failed;	   /* an injected failure was consumed */
	enum fake_op failed_op;

	struct fake_call journal[FAKE_JOURNAL];
	size_t njournal; /* calls since fake_forget(); the first FAKE_JOURNAL are kept */
};

extern const struct guard_ops fake_ops;

struct fakevmm *fake_create(void);
void fake_destroy(struct fakevmm *f);

/* Guest-physical memory, as any guest write by whatever alias: marks frames as written. */
uint64_t fake_alloc(struct fakevmm *f, size_t pages);
void *fake_ram(struct fakevmm *f, uint64_t gpa, size_t len);
void fake_poke(struct fakevmm *f, uint64_t gpa, const void *buf, size_t len);

/* Page tables. `flags` are those of the leaf; upper levels allow all. gpa may be beyond RAM. */
uint64_t fake_new_cr3(struct fakevmm *f, uint64_t share_kernel_of);
void fake_map(struct fakevmm *f, uint64_t cr3, uint64_t gva, uint64_t gpa, uint64_t flags);
void fake_map_2m(struct fakevmm *f, uint64_t cr3, uint64_t gva, uint64_t gpa, uint64_t flags);
void fake_unmap(struct fakevmm *f, uint64_t cr3, uint64_t gva);
/* The leaf entry of gva, to be edited in place; NULL if an upper level is missing. */
uint64_t *fake_pte(struct fakevmm *f, uint64_t cr3, uint64_t gva);
struct guard_mapping fake_walk(struct fakevmm *f, uint64_t cr3, uint64_t gva);

/* Guest words by address, with no respect to views: the test plays kernel and module both. */
bool fake_get(struct fakevmm *f, uint64_t cr3, uint64_t gva, uint64_t *word);
bool fake_put(struct fakevmm *f, uint64_t cr3, uint64_t gva, uint64_t word);
void fake_copy_in(struct fakevmm *f, uint64_t cr3, uint64_t gva, const void *buf, size_t len);
void fake_copy_out(struct fakevmm *f, uint64_t cr3, uint64_t gva, void *buf, size_t len);

/* Forgets counters, journal and injected failures. */
void fake_forget(struct fakevmm *f);
/* Position in the journal of the first call of op with that role or (role < 0) any; -1: none. */
int fake_find(const struct fakevmm *f, enum fake_op op, int role);
int fake_find_last(const struct fakevmm *f, enum fake_op op, int role);
/* Frames that have a role in that module. */
unsigned fake_frames_of(const struct fakevmm *f, unsigned module);

#endif
