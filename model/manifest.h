/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The binary manifest: what the guard knows about one guarded module.
 *
 * The toolchain writes it, the administrator's binding names its digest, the core reads it in
 * place. It comes from an attacker until guard_register() has looked at every record: the core
 * then relies on what gm_validate() proved and on nothing else. Little endian, no padding, every
 * table sorted and bounded by a number below; reserved fields are 0, and so is every bit of a flags
 * field that has no name here.
 *
 * Module offsets. All segments are laid end to end, each starting on a page, in manifest order.
 * A place in the module is one 32-bit number in that space, a *moff*; its guest address is
 * base[segment] + (moff - segment.start). Verified copies, frames and private pages are numbered
 * by moff / 4096.
 */
#ifndef MODEL_MANIFEST_H
#define MODEL_MANIFEST_H

#include <stdint.h>

#define GM_MAGIC "GHMANIF1"
#define GM_VERSION 1u
#define GM_NONE 0xffffffffu
#define GM_PAGE 4096u

/* Limits. A manifest beyond one of them is refused as bad-manifest, never truncated. */
#define GM_MAX_SEGMENTS 16u
#define GM_MAX_PAGES 8192u /* moff space: 32 MiB */
#define GM_MAX_GATES 32768u
#define GM_MAX_ENTRIES 16384u
#define GM_MAX_IMPORTS 8192u
#define GM_MAX_RELOCS 524288u
#define GM_MAX_SITES 262144u
#define GM_MAX_CHOICES 524288u
#define GM_MAX_CHOICE_RELOCS 524288u
#define GM_MAX_RETSITES 524288u
#define GM_MAX_UNWIND 2097152u
#define GM_MAX_FIXUPS 65536u
#define GM_MAX_JUMPS 65536u
#define GM_MAX_PRIVILEGES 16u
#define GM_MAX_SITE_BYTES 255u
#define GM_MAX_SITE_CHOICES 64u
#define GM_MAX_HEADROOM 8192u
#define GM_MIN_HEADROOM 512u
#define GM_MAX_TOTAL 0x10000000u
#define GM_GATE_BYTES 16u
#define GM_X_BYTES 3u

/* A run of records: byte offset from the start of the manifest (8-aligned), number of records. */
struct gm_table {
	uint32_t offset;
	uint32_t count;
};

/* The three bytes of a crossing instruction (spec 3, "Gates"). */
enum gm_x_kind {
	GM_X_VMMCALL, /* 0f 01 d9 */
	GM_X_VMCALL,  /* 0f 01 c1 */
	GM_X_OUT,     /* e6 b6 90 */
	GM_X_NOP,     /* 0f 1f 00: an ordinary module, never crosses */
	GM_X_KINDS
};

#define GM_FLAG_VIEWS 1u /* unwrapped: entries, exits and returns are execute faults */

struct gm_header {
	uint8_t magic[8];
	uint32_t version;
	uint32_t total; /* bytes of the whole manifest */
	uint32_t x_kind;
	uint32_t flags;
	uint32_t name; /* of the module: offset into names */
	uint32_t reserved;
	struct gm_table segments;      /* struct gm_segment */
	struct gm_table gates;	       /* struct gm_gate */
	struct gm_table entries;       /* struct gm_entry, by moff */
	struct gm_table imports;       /* struct gm_import */
	struct gm_table relocs;	       /* struct gm_reloc, by moff */
	struct gm_table sites;	       /* struct gm_site, by moff */
	struct gm_table choices;       /* struct gm_choice */
	struct gm_table choice_relocs; /* struct gm_reloc, moff relative to the site */
	struct gm_table retsites;      /* uint32_t moff, ascending: addresses after a call */
	struct gm_table unwind;	       /* struct gm_unwind, by moff */
	struct gm_table fixups;	       /* struct gm_fixup, by moff, one each */
	struct gm_table jumps;	       /* struct gm_jump, by moff, then target */
	struct gm_table privileges;    /* struct gm_privilege */
	struct gm_table image;	       /* bytes: segment contents and site contents */
	struct gm_table names;	       /* bytes: NUL-terminated strings; the core reads none */
};

enum gm_segment_kind {
	GM_SEG_TEXT,	    /* verified, executable in P(m); functions and inner thunks */
	GM_SEG_GATES,	    /* verified, executable in U and P(m) */
	GM_SEG_RODATA,	    /* verified, not executable */
	GM_SEG_DATA,	    /* ordinary guest memory */
	GM_SEG_PRIVATE,	    /* private memory: image or zero */
	GM_SEG_INIT_TEXT,   /* as TEXT, may be freed after init (base 0) */
	GM_SEG_INIT_RODATA, /* as RODATA, likewise */
	GM_SEG_INIT_DATA,   /* as DATA, likewise */
	GM_SEG_PERCPU,	    /* its base serves relocations, nothing else */
	GM_SEG_KINDS
};

struct gm_segment {
	uint32_t name;
	uint32_t kind;
	uint32_t start; /* moff of its first byte; page aligned; = end of the one before */
	uint32_t size;	/* bytes, > 0; occupies whole pages, the rest of the last is zero */
	uint32_t
		image; /* offset into image of `size` bytes; GM_NONE: none (DATA) or zero (PRIVATE) */
	uint32_t reserved;
};

enum gm_gate_kind {
	GM_GATE_PAD, /* unused 16 bytes */
	GM_GATE_ENTER,
	GM_GATE_LEAVE_RETURN,
	GM_GATE_LEAVE,
	GM_GATE_LEAVE_INDIRECT,
	GM_GATE_ENTER_RETURN,
	GM_GATE_KINDS
};

/* Gate i lies at offset 16*i of the GATES segment; the offset is stored and must say so. */
struct gm_gate {
	uint32_t offset;
	uint8_t kind;
	uint8_t x;   /* offset of X inside the gate: 0, 4 (after endbr64) or 5 (after the lea) */
	uint8_t reg; /* LEAVE_INDIRECT: GPR number that holds the target */
	uint8_t reserved;
	uint32_t index; /* ENTER: entry; LEAVE: import; else GM_NONE */
};

#define GM_ENTRY_INIT 1u /* module_init: accepted once per ANNOUNCE */
#define GM_ENTRY_EXIT 2u /* module_exit: not reachable through inner thunks */
/* Other code in INIT_TEXT that the kernel calls: accepted only while init's activation lives. */
#define GM_ENTRY_INIT_CALL 4u
#define GM_ENTRY_INIT_CODE (GM_ENTRY_INIT | GM_ENTRY_INIT_CALL)

struct gm_entry {
	uint32_t moff; /* first byte of f, in TEXT or INIT_TEXT */
	uint32_t name;
	uint32_t headroom; /* bytes below the slot that f may push inside m */
	uint32_t flags;
	uint32_t gate; /* index of its enter gate; GM_NONE in a VIEWS manifest */
};

#define GM_IMPORT_DATA 1u /* otherwise code */

struct gm_import {
	uint32_t name;
	uint32_t flags;
	uint32_t preserve; /* bit n: GPR n (x86 encoding order) comes back unchanged */
};

/* ELF x86-64 relocation types that the core computes; any other is bad-manifest. */
#define GM_R_64 1u
#define GM_R_PC32 2u
#define GM_R_PLT32 4u
#define GM_R_32 10u
#define GM_R_32S 11u
#define GM_R_PC64 24u

enum gm_target {
	GM_TARGET_SEGMENT, /* S = base of segment `target`; the addend holds the symbol's offset */
	GM_TARGET_IMPORT,  /* S = address of import `target`, learnt from the field itself */
	GM_TARGET_OUTSIDE, /* any address outside every announced module (choices only) */
	GM_TARGETS
};

struct gm_reloc {
	uint32_t moff;
	uint16_t type;
	uint16_t kind; /* enum gm_target */
	uint32_t target;
	uint32_t reserved;
	int64_t addend;
};

#define GM_SITE_RUNTIME 1u /* may change after ANNOUNCE (jump label, static call, ftrace) */

/* Bytes that the guest kernel patches. Relocations inside a site are its choices'. */
struct gm_site {
	uint32_t moff;
	uint16_t size; /* bytes, 1..GM_MAX_SITE_BYTES */
	uint16_t flags;
	uint32_t
		group; /* same group: same choice everywhere, load-time sites only; GM_NONE: alone */
	uint32_t first; /* choices [first, first + count) are the legal contents */
	uint32_t count;
};

struct gm_choice {
	uint32_t bytes;	      /* offset into image, site.size bytes, relocated fields zero */
	uint32_t first_reloc; /* choice_relocs [first_reloc, first_reloc + relocs) */
	uint32_t relocs;
};

enum gm_cfa_rule {
	GM_CFA_NONE,  /* nothing can be located here: fail closed */
	GM_CFA_REG,   /* CFA = cfa_reg + cfa_offset */
	GM_CFA_DEREF, /* CFA = *(cfa_reg + cfa_offset) */
	GM_CFA_RULES
};

enum gm_bp_rule {
	GM_BP_SAME,   /* the caller's RBP is RBP */
	GM_BP_AT_CFA, /* saved at CFA + bp_offset */
	GM_BP_AT_BP,  /* saved at RBP + bp_offset */
	GM_BP_RULES
};

/* Holds from moff to the next row's moff, inside one segment. The return address is at CFA - 8. */
struct gm_unwind {
	uint32_t moff;
	int16_t cfa_offset;
	int16_t bp_offset;
	uint8_t cfa_rule;
	uint8_t cfa_reg; /* GPR number; beyond the innermost frame only RSP and RBP are known */
	uint8_t bp_rule;
	uint8_t reserved;
};

enum gm_fixup_kind {
	GM_FIXUP_EXTABLE, /* an exception at moff may continue at target with `regs` changed */
	GM_FIXUP_WARN,	  /* ud2 at moff continues at moff + 2 */
	GM_FIXUP_KINDS
};

struct gm_fixup {
	uint32_t moff;
	uint32_t target;
	uint32_t kind;
	uint32_t regs; /* bit n: GPR n may differ */
};

/*
 * One legal target of the jump-table jump at moff. Its inner thunk enforces it, which is text like
 * any other; the core reads none of these, and check/ finds them anew.
 */
struct gm_jump {
	uint32_t moff;
	uint32_t target;
};

enum gm_privilege_kind {
	GM_PRIV_PRIVATE, /* the PRIVATE segments */
	GM_PRIV_DEVICE,	 /* a register range; the binding says which frames */
	GM_PRIV_MWAIT,
	GM_PRIV_IOPORT, /* ports first..last */
	GM_PRIV_MSR,	/* MSRs first..last */
	GM_PRIVS
};

/* What the module asks for; bit i of a privilege set is privilege i. */
struct gm_privilege {
	uint32_t kind;
	uint32_t name;
	uint32_t first;
	uint32_t last;
};

#define GM_ASSERT_SIZE(type, n) _Static_assert(sizeof(type) == (n), "layout of " #type)
GM_ASSERT_SIZE(struct gm_table, 8);
GM_ASSERT_SIZE(struct gm_header, 152);
GM_ASSERT_SIZE(struct gm_segment, 24);
GM_ASSERT_SIZE(struct gm_gate, 12);
GM_ASSERT_SIZE(struct gm_entry, 20);
GM_ASSERT_SIZE(struct gm_import, 12);
GM_ASSERT_SIZE(struct gm_reloc, 24);
GM_ASSERT_SIZE(struct gm_site, 20);
GM_ASSERT_SIZE(struct gm_choice, 12);
GM_ASSERT_SIZE(struct gm_unwind, 12);
GM_ASSERT_SIZE(struct gm_fixup, 16);
GM_ASSERT_SIZE(struct gm_jump, 8);
GM_ASSERT_SIZE(struct gm_privilege, 16);

#endif
