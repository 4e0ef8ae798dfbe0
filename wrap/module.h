/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of wrap/: one module while it is read, changed and described.
 *
 * The order of the steps (wrap.c) is the order of the fields: the object is read (object.c), its
 * sections get roles (roles.c), its code is decoded (code.c), the tables that the kernel patches
 * from are read (tables.c, alternatives.c, paravirt.c, static_calls.c), relocations are judged and
 * gates planned (scan.c), gates and thunks are made (gates.c), unwind data is turned into rows
 * (orc.c, ehframe.c, unwind.c), stacks are measured (headroom.c), the layout is fixed (layout.c),
 * and both files are written (write_elf.c, write_manifest.c with write_sites.c).
 */
#ifndef WRAP_MODULE_H
#define WRAP_MODULE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/elf.h"
#include "wrap/inner.h"
#include "wrap/wrap.h"

#define WRAP_NONE 0xffffffffu

/* A growing array of fixed-size records. Out of memory ends the program: inputs are bounded. */
struct vec {
	void *data;
	size_t count, room, size; /* size: bytes of a record */
};

/* Appends n zeroed records and returns the first; later calls may move them. */
void *vec_add(struct vec *v, size_t size, size_t n);
void vec_free(struct vec *v);
/* calloc that never returns NULL: ends the program when memory is out. */
void *wrap_alloc(size_t count, size_t size);

/* What a section is to the guard; roles.c says which names get which. */
enum role {
	ROLE_OTHER,   /* not loaded: copied as it is */
	ROLE_TEXT,    /* code, verified */
	ROLE_RODATA,  /* constants that the module reads, verified */
	ROLE_DATA,    /* ordinary memory */
	ROLE_TABLE,   /* the kernel's own table, never read by the module: made writable, DATA */
	ROLE_EMPTIED, /* a table of patches that must not happen: loses contents and relocations */
	ROLE_SPARE, /* code that the kernel copies into sites and that never runs where it lies: DATA */
	ROLE_TRAMP, /* static-call trampolines: the kernel's to patch, run without privilege: DATA */
	ROLE_PRIVATE, /* private memory */
	ROLE_PERCPU,
	ROLE_GATES
};

struct rel {
	uint64_t offset; /* in the section that it patches */
	uint32_t type;
	uint32_t sym;
	int64_t addend;
	uint64_t file; /* offset of the record in the input, for messages */
};

enum insn_kind {
	INSN_PLAIN,
	INSN_CALL, /* relative call */
	INSN_JMP,  /* relative jump */
	INSN_JCC,
	INSN_CALL_IND,
	INSN_JMP_IND,
	INSN_RET,
	INSN_UD2,
	INSN_LEA,
	INSN_NOP,
	INSN_CROSSING /* vmcall or vmmcall of the module's own */
};

/* One instruction; deltas for headroom.c. */
struct insn {
	uint32_t offset;
	uint8_t length;
	uint8_t kind;	/* enum insn_kind */
	uint8_t field;	/* offset of its rel32 or disp32/imm32 field, 0: none */
	uint8_t pcrel;	/* a relative branch or RIP-relative operand */
	int64_t target; /* relative branches: offset in the section, before relocation */
	int32_t pushes; /* bytes that it takes off RSP; WRAP_ALLOCA: not known */
};
#define WRAP_ALLOCA INT32_MAX

struct section {
	Elf64_Shdr hdr; /* as read, then as it will be written (offsets aside) */
	const char *name;
	uint64_t file;	     /* of its contents in the input */
	const uint8_t *data; /* hdr.sh_size bytes; NULL: NOBITS, or none */
	uint8_t *own;	     /* data, if we made it */
	enum role role;
	struct rel *rels; /* sorted by offset */
	size_t nrels;
	uint32_t rela; /* index of its SHT_RELA section; 0: none */
	struct insn *insns;
	size_t ninsns;
	uint32_t segment; /* WRAP_NONE: none */
	uint32_t offset;  /* in the segment */
};

struct symbol {
	Elf64_Sym sym;
	const char *name;
};

/* A function that STT_FUNC symbols name; aliases share one. Sorted by section, then value. */
struct function {
	uint32_t section;
	uint32_t entry; /* index into module.entries, WRAP_NONE */
	uint64_t value, size;
	uint32_t sym;
	const char *name;
	uint32_t depth; /* headroom.c: bytes below its slot */
	uint8_t state;
	uint8_t init, exit, global;
	uint8_t chosen; /* by --entries */
};

struct entry {
	uint32_t function;
	uint32_t gate;
	uint32_t flags;
	const char *why; /* section whose relocation takes its address, for inspect */
	uint64_t why_at;
	uint32_t manifest; /* index in the manifest's table, sorted by moff */
};

struct import {
	uint32_t sym;
	uint32_t calls, jumps, data; /* relocations of each class in verified sections */
	uint32_t gate;		     /* of its leave gate, WRAP_NONE */
	uint32_t manifest;	     /* index in the manifest's table, WRAP_NONE: not used there */
};

/* What a leave gate leads to. */
enum gate_target {
	TO_IMPORT, /* index: the import's symbol */
	TO_TRAMP,  /* index: into module.tramps */
	TO_PV_OP   /* index: into module.pv_ops */
};

struct gate {
	uint8_t kind, x, reg;
	uint8_t to;	/* LEAVE: enum gate_target */
	uint32_t index; /* entry or target of this module's arrays */
};

/* A static-call trampoline of the module's own, called from its code through a leave gate. */
struct tramp {
	uint64_t offset; /* in its section */
	const char *name;
	uint32_t gate; /* WRAP_NONE: nobody calls it */
	uint32_t calls, jumps;
	uint32_t manifest;
};

/* One function pointer in the kernel's pv_ops, called through a constant and a leave gate. */
struct pv_op {
	int64_t offset; /* in pv_ops */
	uint32_t sym;	/* pv_ops */
	uint32_t preserve;
	uint32_t calls;
	uint32_t gate;
	uint32_t manifest;
	char name[32];
};

/* A call through pv_ops: its field is retargeted to the pointer's constant. */
struct pv_site {
	uint32_t section;
	uint64_t field; /* offset of the displacement */
	uint32_t op;	/* index into pv_ops */
};

/* A raw indirect branch: it stays, and an execute fault judges it. */
struct raw_branch {
	uint32_t section;
	uint32_t offset;
	uint8_t kind; /* INSN_CALL_IND or INSN_JMP_IND */
};

/* A jump through a table of places in its own function; jump_tables.c. */
struct jump_table {
	uint32_t section; /* of the jump */
	uint64_t at;	  /* its first byte */
	uint8_t reg;
	uint32_t table_section;
	uint64_t table, words;
	uint32_t first, count; /* jump_targets, each once, by offset */
	uint32_t thunk, end;   /* in .guard.text */
	char name[32];	       /* of its thunk */
};

struct jump_target {
	uint32_t jump;	 /* index of its table */
	uint64_t offset; /* in the jump's section */
	struct rel rel;	 /* of one word that holds it */
};

/* What the kernel makes of an unwrapped module's places that a wrapped one hides from it. */
enum patch {
	PATCH_NONE,   /* a jump label or an alternative */
	PATCH_FENTRY, /* call __fentry__ */
	PATCH_RETURN, /* jmp __x86_return_thunk */
	PATCH_THUNK,  /* call or jmp __x86_indirect_thunk_REG */
	PATCH_STATIC  /* call or jmp of a static call's trampoline */
};

/* A place that the kernel patches: a jump label, or an alternative (then `count` is not 0). */
struct patch_site {
	uint32_t section, target_section;
	uint64_t offset, target; /* target: jump labels */
	uint16_t size;
	uint8_t patch;	       /* enum patch */
	uint32_t first, count; /* alternatives [first, first + count), in the order of the table */
};

/* One replacement of a site's bytes, if the CPU has (or, INV, has not) a feature. */
struct alternative {
	uint32_t section; /* of the site */
	uint64_t offset;
	uint32_t order; /* in the table */
	uint32_t repl_section;
	uint64_t repl_offset;
	uint16_t feature; /* with ALT_INV */
	uint8_t size, repl_size;
};
#define ALT_INV 0x8000u
#define ALT_ALWAYS (3u * 32 + 21) /* a feature that every CPU has: X86_FEATURE_ALWAYS */

struct fixup {
	uint32_t section, target_section;
	uint64_t offset, target;
	uint32_t kind, regs;
};

struct unwind_row {
	uint32_t section;
	uint64_t offset;
	struct gm_unwind rule; /* moff not set */
};

struct segment {
	const char *name;
	uint32_t kind;
	uint32_t start, size;
};

struct module {
	const char *path; /* for messages */
	const struct wrap_options *opt;
	struct error *err;
	char name[64];

	struct elfile elf;
	struct section *sections;
	uint32_t nsections;
	uint32_t symtab; /* section indexes */
	struct symbol *symbols;
	uint32_t nsymbols;

	struct function *functions;
	uint32_t nfunctions;
	bool linux_module; /* has .gnu.linkonce.this_module */

	struct vec entries;	/* struct entry */
	struct import *imports; /* by symbol index; sym 0: no import */
	struct vec gates;	/* struct gate */
	struct vec raw;		/* struct raw_branch */
	uint32_t thunk_regs;	/* bit n: __x86_indirect_thunk of GPR n is used */
	uint32_t thunk_calls, thunk_jumps, return_thunks, fentries;
	uint32_t raw_pointers;	      /* to functions that --entries does not name */
	uint32_t first_plain, nplain; /* enter gates that thunks accept: a contiguous run */

	uint32_t gates_section, thunks_section; /* new sections */
	uint32_t gates_sym, thunks_sym;		/* new symbols: their section's start */
	uint32_t ret_thunk;			/* offset of the inner return thunk */
	uint32_t leaf_end; /* of .guard.text: before it only code that calls nothing */
	struct inner_use {
		uint32_t calls, jumps; /* branches to it */
		uint32_t offset;       /* in .guard.text */
	} inner[INNER_COPIES];
	uint32_t thunk[16]; /* offset of each register's thunk */
	uint32_t indirect_gate[16];

	struct segment segments[GM_MAX_SEGMENTS];
	uint32_t nsegments;

	struct vec sites;		   /* struct patch_site, by place after tables_read() */
	struct vec alternatives;	   /* struct alternative, by site, then order */
	struct vec fixups;		   /* struct fixup */
	struct vec pv_ops;		   /* struct pv_op */
	struct vec pv_sites;		   /* struct pv_site, by place */
	struct vec tramps;		   /* struct tramp, by offset */
	struct vec jump_tables;		   /* struct jump_table, by place */
	struct vec jump_targets;	   /* struct jump_target */
	uint32_t tramp_section, tramp_sym; /* 0: none */
	uint32_t rodata_section; /* .guard.rodata: constants that calls go through; 0: none */
	uint32_t rodata_sym;
	struct vec rows; /* struct unwind_row */
};

/* Reports a construct of the input: "FILE: offset 0x..: TEXT". Always false. */
bool refuse(struct module *m, uint64_t file_offset, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Offset in the file of a place in a section. */
uint64_t file_at(const struct section *s, uint64_t offset);

/* object.c: reads `in`, which must stay until object_free(): names and contents lie there. */
bool object_read(struct module *m, const struct blob *in);
void object_free(struct module *m);
/* Adds a section (contents not yet known) or a global hidden symbol; returns its index. */
uint32_t object_add_section(struct module *m, const char *name, uint32_t type, uint64_t flags,
			    uint64_t align);
uint32_t object_add_symbol(struct module *m, const char *name, uint32_t section, uint64_t value,
			   uint8_t type);
/* The function that starts exactly there, WRAP_NONE if none does; the one that holds it. */
uint32_t function_at(const struct module *m, uint32_t section, uint64_t offset);
uint32_t function_around(const struct module *m, uint32_t section, uint64_t offset);
uint32_t section_named(const struct module *m, const char *name);
/* The relocation at just this offset, NULL if there is none. */
const struct rel *rel_at(const struct section *s, uint64_t offset);
/* Index of the first relocation at or behind offset. */
size_t rel_from(const struct section *s, uint64_t offset);
/* Has instructions: what runs, and what is copied to where it runs. */
static inline bool section_is_code(const struct section *s)
{
	return s->role == ROLE_TEXT || s->role == ROLE_SPARE;
}
static inline bool section_loaded(const struct section *s)
{
	return s->role != ROLE_OTHER && s->role != ROLE_EMPTIED;
}
static inline bool section_verified(const struct section *s)
{
	return s->role == ROLE_TEXT || s->role == ROLE_RODATA || s->role == ROLE_GATES;
}
bool section_is_init(const struct section *s);
unsigned rel_width(uint32_t type);

/* roles.c */
bool roles_assign(struct module *m);

/* code.c: decodes every TEXT section. */
bool code_decode(struct module *m);
/* The instruction that starts at offset, or that holds it; NULL if none does. */
const struct insn *insn_at(const struct section *s, uint64_t offset);
const struct insn *insn_around(const struct section *s, uint64_t offset);

/* scan.c: decides what every relocation of a loaded section leads to. */
bool scan_plan(struct module *m);     /* entries, imports, thunks: before gates are made */
bool scan_retarget(struct module *m); /* rewrites relocations: after */
/* Where a relocation leads: section and offset in it, before the PC-relative correction. */
struct rel_target {
	uint32_t section; /* 0: an import */
	uint32_t sym;	  /* the import's symbol */
	int64_t offset;	  /* import: the addend without correction */
	bool pcrel;
};
/* Is this the name of a register's retpoline? */
bool indirect_thunk(const char *name, unsigned *reg);
bool rel_resolve(struct module *m, const struct section *s, const struct rel *r,
		 struct rel_target *t);

/* gates.c */
void gates_sections(struct module *m); /* new sections and symbols, without contents */
bool gates_plan(struct module *m);
bool gates_make(struct module *m);
/* The inner copy that branches to this import lead to, -1: none, they leave. */
int gates_inner(const struct module *m, const char *import);

/* layout.c */
bool layout_make(struct module *m);
/* moff of a place in a loaded section. */
static inline uint32_t moff_of(const struct module *m, uint32_t section, uint64_t offset)
{
	const struct section *s = &m->sections[section];

	return m->segments[s->segment].start + s->offset + (uint32_t)offset;
}

/* tables.c: jump labels, exception table, WARN sites. Before tables are emptied. */
bool tables_read(struct module *m);
/*
 * A field of a table that leads to code by a relocation of this type: *section and *offset say
 * where. It must be the start of an instruction.
 */
bool code_place(struct module *m, const struct section *s, uint64_t field, uint32_t type,
		uint32_t *section, uint64_t *offset);
/* Refuses a table with part of a record. */
bool whole_records(struct module *m, const struct section *s, uint64_t size);

/* alternatives.c: .altinstructions, one patch_site for each place */
bool alternatives_read(struct module *m, const struct section *s);
/* What the kernel leaves of `size` bytes: runs of one-byte NOPs become long ones. */
void optimize_nops(uint8_t *bytes, size_t size);

/* views.c: modules that stay as they are */
bool views_possible(struct module *m); /* after roles_assign() */
bool views_sites(struct module *m);    /* what the kernel will patch, into m->sites */
bool views_no_jump_tables(struct module *m);
/* Bytes of the branch that replaces a thunk's, without an LFENCE before it. */
unsigned views_direct(const struct module *m, const struct patch_site *p, uint8_t out[3]);

/* jump_tables.c */
bool jump_tables_find(struct module *m);
/* The table of the jump that starts at `branch`, NULL if it has none. */
const struct jump_table *jump_table_of(const struct module *m, const struct section *s,
				       uint64_t branch);
/* Is this a word of a table? */
bool in_jump_table(const struct module *m, const struct section *s, uint64_t offset);

/* paravirt.c: .parainstructions */
bool paravirt_read(struct module *m, const struct section *s);
/* The pv_op that the field at this place is to be called through, WRAP_NONE. */
uint32_t pv_op_at(const struct module *m, const struct section *s, uint64_t field);

/* static_calls.c: gives .static_call.text a section behind the gates; finds a trampoline. */
bool static_calls_move(struct module *m);
uint32_t tramp_at(const struct module *m, uint64_t offset);

/* unwind.c, orc.c, ehframe.c */
bool unwind_make(struct module *m);
bool orc_read(struct module *m);
void orc_extend(struct module *m); /* rows for what is new; after orc_read() */
bool ehframe_read(struct module *m);
void unwind_add(struct module *m, uint32_t section, uint64_t offset, const struct gm_unwind *rule);
/* The row that holds at a place, rows.count if none does; its rule, NULL. After unwind_make(). */
size_t unwind_from(const struct module *m, uint32_t section, uint64_t offset);
const struct gm_unwind *unwind_at(const struct module *m, uint32_t section, uint64_t offset);

/* headroom.c */
bool headroom_measure(struct module *m);
uint32_t headroom_of(const struct module *m, uint32_t function);

/* preserve.c: registers that an import's convention preserves, as a bit mask. */
uint32_t preserve_mask(const char *name);

/* write_elf.c, write_manifest.c */
bool write_elf(struct module *m, struct blob *out);
bool write_manifest(struct module *m, struct blob *out);

/* write_sites.c: between write_manifest.c and the contents of patch sites. */
struct builder {
	struct module *m;
	struct vec segments, gates, entries, imports, relocs, sites, choices, choice_relocs;
	struct vec retsites, unwind, fixups, jumps, privileges, image, names;
};
bool builder_reloc(struct builder *b, const struct section *s, const struct rel *r,
		   struct gm_reloc *g);
bool add_sites(struct builder *b);

void module_stats(const struct module *m, struct wrap_stats *s);
/* Everything up to, not including, the writing. Free with object_free(). */
bool module_wrap(struct module *m, const struct wrap_options *opt, const char *path,
		 const struct blob *in, struct error *err);

#endif
