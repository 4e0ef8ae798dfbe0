/* SPDX-License-Identifier: GPL-2.0-only */
/* The oracle's own reader of the binary manifest (layout: docs/toolchain.md). */
#ifndef ORACLE_MANIFEST_H
#define ORACLE_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define M_NONE 0xffffffffu
#define M_SEGMENTS 16u

enum {
	S_TEXT,
	S_GATES,
	S_RODATA,
	S_DATA,
	S_PRIVATE,
	S_INIT_TEXT,
	S_INIT_RODATA,
	S_INIT_DATA,
	S_PERCPU
};
enum { G_PAD, G_ENTER, G_LEAVE_RETURN, G_LEAVE, G_LEAVE_INDIRECT, G_ENTER_RETURN };
enum { P_PRIVATE, P_DEVICE, P_MWAIT, P_IOPORT, P_MSR };
enum { R_SEGMENT, R_IMPORT, R_OUTSIDE };
#define M_ENTRY_INIT 1u
#define M_ENTRY_INIT_CALL 4u
#define M_INIT_CODE (M_ENTRY_INIT | M_ENTRY_INIT_CALL)
#define M_ENTRY_FLAGS 7u /* and 2, exit */
#define M_IMPORT_DATA 1u
#define M_SITE_RUNTIME 1u
#define M_VIEWS 1u

struct m_segment {
	uint32_t kind, start, size, image;
	uint32_t pages;
};
struct m_gate {
	uint8_t kind, x, reg;
	uint32_t index;
};
struct m_entry {
	uint32_t moff, headroom, flags;
};
struct m_import {
	uint32_t flags, preserve;
};
struct m_reloc {
	uint32_t moff;
	uint16_t type, kind;
	uint32_t target;
	int64_t addend;
};
struct m_site {
	uint32_t moff;
	uint16_t size, flags;
	uint32_t group, first, count;
};
struct m_choice {
	uint32_t bytes, first_reloc, relocs;
};
struct m_unwind {
	uint32_t moff;
	int16_t cfa_offset, bp_offset;
	uint8_t cfa_rule, cfa_reg, bp_rule;
};
struct m_fixup {
	uint32_t moff, target, kind, regs;
};
struct m_privilege {
	uint32_t kind, first, last;
};

struct m_manifest {
	uint32_t flags, pages;
	uint32_t nsegments, ngates, nentries, nimports, nrelocs, nsites, nchoices, nchoice_relocs;
	uint32_t nretsites, nunwind, nfixups, nprivileges, nimage;
	struct m_segment segment[M_SEGMENTS];
	struct m_gate *gate;
	struct m_entry *entry;
	struct m_import *import;
	struct m_reloc *reloc, *choice_reloc;
	struct m_site *site;
	struct m_choice *choice;
	uint32_t *retsite;
	struct m_unwind *unwind;
	struct m_fixup *fixup;
	struct m_privilege privilege[16];
	uint8_t *image;
};

/* false: not a manifest; *m is empty then. */
bool m_read(struct m_manifest *m, const uint8_t *data, size_t len);
void m_free(struct m_manifest *m);
/* Segment of a module offset, M_SEGMENTS: none. */
unsigned m_segment_of(const struct m_manifest *m, uint32_t moff);

static inline bool m_verified(uint32_t kind)
{
	return kind == S_TEXT || kind == S_GATES || kind == S_RODATA || kind == S_INIT_TEXT ||
	       kind == S_INIT_RODATA;
}
static inline bool m_executes(uint32_t kind)
{
	return kind == S_TEXT || kind == S_GATES || kind == S_INIT_TEXT;
}
static inline bool m_init(uint32_t kind)
{
	return kind == S_INIT_TEXT || kind == S_INIT_RODATA || kind == S_INIT_DATA;
}
/* Bytes of a relocated field. */
static inline uint32_t m_field(const struct m_reloc *r)
{
	return r->type == 1 || r->type == 24 ? 8 : 4;
}

#endif
