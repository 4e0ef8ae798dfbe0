/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the files of `truth`: one module's memory, as dumped from a running Linux. */
#ifndef TESTS_BOOT_TRUTH_H
#define TESTS_BOOT_TRUTH_H

#include "lib/elf.h"
#include "vmm/internal.h"

struct dump {
	const char *folder;
	uint64_t base[GM_MAX_SEGMENTS];	     /* 0: not in memory any more */
	struct blob memory[GM_MAX_SEGMENTS]; /* whole pages; empty for init and per-CPU segments */
};

/* Addresses of kernel symbols, sorted by name; one name may have several. */
struct kallsyms {
	struct kallsym {
		char name[128];
		uint64_t address;
	} * symbol;
	size_t count;
};

bool kallsyms_read(struct kallsyms *k, const char *path, struct error *err);
/* Is `at` an address of this name? With `at` NULL: is there one? */
bool kallsyms_has(const struct kallsyms *k, const char *name, const uint64_t *at);
bool kallsyms_resolve(void *ctx, const char *name, uint64_t *at);

static inline bool segment_verified(const struct gm_segment *s)
{
	return s->kind == GM_SEG_TEXT || s->kind == GM_SEG_GATES || s->kind == GM_SEG_RODATA;
}
static inline bool segment_init(const struct gm_segment *s)
{
	return s->kind == GM_SEG_INIT_TEXT || s->kind == GM_SEG_INIT_RODATA ||
	       s->kind == GM_SEG_INIT_DATA;
}

/* What a comparison found in one segment. Bytes of whole pages. */
struct compared {
	uint64_t bytes, equal, in_sites, unexplained;
	uint32_t sites, moved; /* of them, sites that hold another content than the file */
	uint64_t first_bad;    /* address of the first unexplained byte */
};

struct truth {
	const char *name;
	struct vm_module m; /* ko and manifest only */
	struct dump dump;
	struct kallsyms symbols;
};

/* compare.c: the segments as our own relocation makes them, in one buffer indexed by moff. */
uint8_t *relocated(const struct truth *t, struct error *err);
struct compared compare_segment(const struct truth *t, const uint8_t *own, uint32_t segment);

/* announce.c: the dump in a simulated machine, as it is and with bytes changed. */
struct announced {
	uint32_t tried, refused, accepted; /* changed bytes outside of sites and import fields */
	uint32_t pages;
	uint64_t first_accepted;
};
bool announce_dump(const struct truth *t, const char *guest, unsigned each_page,
		   struct announced *a, struct error *err);

#endif
