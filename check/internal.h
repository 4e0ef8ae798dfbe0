/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of check/: three files and what is known about them so far.
 *
 * Steps in the order of check.c: objects are opened (object.c), the manifest's bounds judged
 * (manifest.c), sections and symbols compared (sections.c), the loader's layout made again
 * (layout.c), gates (gates.c) and thunks (thunks.c) decoded, code decoded and each branch followed
 * (code.c, branch.c), data relocations followed (address.c), and then each table of the manifest is
 * compared with what the objects say: image.c, tables.c, unwind.c, entries.c.
 */
#ifndef CHECK_INTERNAL_H
#define CHECK_INTERNAL_H

#include "check/check.h"
#include "lib/elf.h"
#include "model/manifest.h"

#define NONE 0xffffffffu

/* What Linux and the guard do with a section; names.c says which name means what. */
enum use {
	USE_FILE,    /* not loaded */
	USE_CODE,    /* verified, executed */
	USE_CONST,   /* verified, read */
	USE_DATA,    /* ordinary memory */
	USE_TABLE,   /* the kernel's; code addresses in it are places, not functions to call */
	USE_POINTER, /* the kernel's; code addresses in it are functions that the kernel calls */
	USE_EMPTIED, /* patches that must not happen */
	USE_SPARE,   /* code that is copied into place: data where it lies */
	USE_TRAMP,   /* trampolines of static calls: executed without privilege */
	USE_PRIVATE,
	USE_PERCPU,
	USE_GATES,
	USE_UNKNOWN
};

/* A relocation of the original and what became of it. Sorted by offset. */
struct rel {
	uint32_t offset, type;
	uint32_t sym, wsym;
	int64_t addend, waddend;
	uint32_t index; /* of the record, in both files */
};

struct sec {
	Elf64_Shdr hdr;
	const char *name;
	const uint8_t *data; /* NULL: NOBITS */
	enum use use;
	uint32_t rela; /* section with its relocations, 0: none */
	const Elf64_Rela *records;
	uint32_t nrecords;
	/* of the wrapped object's sections only */
	struct rel *rels; /* without R_X86_64_NONE */
	uint32_t nrels;
	uint32_t segment, offset; /* NONE: in no segment */
	uint8_t *starts;	  /* bitmap: an instruction starts here */
	uint8_t *targets;	  /* bitmap: a branch leads here */
	uint8_t *functions;	  /* bitmap: a function starts here */
	uint8_t *contents;	  /* bitmap: one starts here if a replacement is applied */
	uint8_t *paravirt;	  /* bitmap: a paravirtual call starts here */
};

struct object {
	struct elfile elf;
	struct sec *sec;
	uint32_t nsec;
	const Elf64_Sym *sym;
	uint32_t nsym;
};

struct manifest {
	const char *path;
	const uint8_t *bytes;
	const struct gm_header *h;
	const struct gm_segment *segments;
	const struct gm_gate *gates;
	const struct gm_entry *entries;
	const struct gm_import *imports;
	const struct gm_reloc *relocs;
	const struct gm_site *sites;
	const struct gm_choice *choices;
	const struct gm_reloc *choice_relocs;
	const uint32_t *retsites;
	const struct gm_unwind *unwind;
	const struct gm_fixup *fixups;
	const struct gm_jump *jumps;
	const struct gm_privilege *privileges;
	const uint8_t *image;
	const char *names;
};

struct place {
	uint32_t section, offset;
};

/* A function of the original; aliases share one. Sorted by section, value. */
struct fn {
	uint32_t section;
	uint32_t value, size;
	uint32_t name; /* a symbol */
	uint8_t init, exit, global, taken, chosen;
	/* entries.c */
	uint32_t own;	 /* bytes below its slot where unwind rows count from RSP */
	uint32_t pushed; /* sum of all that its instructions take off RSP */
	uint32_t need;	 /* with what it calls */
	uint8_t word;	 /* 8 if it calls anything */
	uint8_t by_push; /* own does not say it all: some rows do not count from RSP */
	uint8_t endless; /* indirect call, variable frame: no bound */
};

/* A direct call or jump from one function to another. */
struct edge {
	uint32_t from, to;
	uint32_t frame; /* bytes below the slot at that place; NONE: not known */
	bool call;	/* takes a word more, and a frame of its own */
};

/* What tables.c and alternatives.c found, to be compared with the manifest's. */
struct choice {
	uint8_t bytes[GM_MAX_SITE_BYTES]; /* relocated fields zero */
	uint32_t first, count;		  /* of choice_relocs */
};
struct choice_reloc {
	uint32_t offset, type; /* in the site */
	uint32_t sym;	       /* an import, 0: a segment's */
	bool outside;	       /* neither: wherever the kernel likes */
	uint32_t segment;
	int64_t addend;
};
struct site {
	uint32_t moff, size;
	uint32_t first, count;		  /* of choices */
	uint32_t first_alt, alternatives; /* records that it comes from; 0: a jump label */
	bool runtime;			  /* may change at any time, not only at load */
	bool owns;			  /* relocations there are of its contents, and no others */
};
/* One record of .altinstructions. */
struct alternative {
	uint32_t section, offset;   /* the place */
	uint32_t rsection, roffset; /* the replacement */
	uint32_t order;		    /* in the table */
	uint16_t feature;	    /* with the flag that inverts it */
	uint8_t size, rsize;
};
/* What a leave gate leads to, if it is no import. */
struct way {
	enum { WAY_IMPORT, WAY_TRAMP, WAY_PARAVIRT } kind;
	uint32_t offset; /* in the trampolines, in pv_ops */
};
/* A function of pv_ops that is called, and what all its sites let it preserve. */
struct pv_op {
	uint32_t offset, preserve;
};
/* The thunk of a jump through a table, and the jump it belongs to (section 0: none yet). */
struct jump_thunk {
	uint32_t offset, end, reg, targets;
	struct place at, table;
	uint32_t words;
};
/* An inner copy of a leaf function. */
struct copy {
	const char *name; /* its symbol, which says what it replaces */
	uint32_t offset, size;
};

struct vec {
	void *data;
	uint32_t count, room;
};

struct ck {
	struct object o, w;
	struct manifest m;
	struct check_report *report;
	const char **chosen;  /* the chosen entries, sorted; NULL: all may be entered */
	uint8_t *chosen_seen; /* is there a function of that name? */
	size_t nchosen;

	bool linux_module;
	bool views; /* not wrapped: the object must be the original, and crossings are faults */
	uint32_t gates, text;	  /* the new sections in w, 0: none */
	uint32_t tramps, words;	  /* trampolines; addresses of gates for paravirtual calls */
	uint32_t old_tramps;	  /* where the trampolines were */
	struct way *way;	  /* of a gate */
	uint32_t *tramp_gate;	  /* of an offset in the trampolines, NONE */
	uint32_t *tramp_sym;	  /* of an offset there: the symbol of a trampoline, 0 */
	uint32_t *preserve;	  /* of an import: what must be */
	struct vec copies;	  /* struct copy */
	struct vec jump_thunks;	  /* struct jump_thunk */
	struct vec jumps;	  /* struct gm_jump: what must be in the manifest */
	struct vec thunk_rows;	  /* struct row: of .guard.text */
	struct vec alternatives;  /* struct alternative, by place, then order */
	struct vec choice_relocs; /* struct choice_reloc */
	struct vec pv;		  /* struct pv_op */
	uint32_t *leave_gate;	  /* of a symbol: its gate, NONE */
	uint32_t *enter_gate;	  /* of an entry of the manifest: its gate, NONE */
	uint8_t *undefined_used;  /* of a symbol: a gate or relocation of w uses it */
	uint8_t *called;	  /* of a symbol: a branch leads there (views) */
	uint8_t *entry_seen;	  /* of an entry: its address is taken */
	uint8_t *import_seen;	  /* of an import: 1 called, 2 used as data */
	uint32_t *import_of;	  /* of a symbol: its import in the manifest, NONE */
	uint32_t ret_thunk;	  /* offset in .guard.text, NONE */
	uint32_t thunk[16];	  /* by register, NONE */
	uint32_t *order;	  /* sections that are in a segment, by place */
	uint32_t norder;
	struct fn *fn;
	uint32_t nfn;
	struct vec edges;	   /* struct edge */
	struct vec rows;	   /* struct row: the original's unwind data, sorted */
	bool no_rows;		   /* which could not be read */
	struct vec retsites;	   /* uint32_t: what must be in the manifest */
	struct vec sites, choices; /* struct site, struct choice: likewise */
	struct vec fixups;	   /* struct gm_fixup: likewise */
	struct vec used;	   /* struct check_label: what of image and names is used */
};

/* ---- check.c: memory and what is said ---- */
void *check_alloc(size_t count, size_t size);
/* n more records of this size; the first one. */
void *vec_more(struct vec *v, size_t size, uint32_t n);
/* A fault about a place in a file. Always false. */
bool fault(struct ck *ck, enum check_class class, const char *path, uint64_t offset,
	   const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void note(struct ck *ck, enum check_note_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static inline void proved(struct ck *ck, enum check_class class, uint64_t n)
{
	ck->report->proved[class] += n;
}

/* ---- object.c ---- */
bool object_open(struct object *ob, const struct check_file *file, struct error *err);
void object_close(struct object *ob);
const char *sym_name(const struct object *ob, uint32_t i);
/* Offset in the file of a place in a section, of record i of its relocations. */
uint64_t sec_at(const struct sec *s, uint64_t offset);
uint64_t rec_at(const struct object *ob, const struct sec *s, uint32_t i);
uint32_t sec_named(const struct object *ob, const char *name);
unsigned rel_bytes(uint32_t type); /* 0: a type that is not known */
static inline bool rel_is_pc(uint32_t type)
{
	return type == R_X86_64_PC32 || type == R_X86_64_PLT32 || type == R_X86_64_PC64;
}
/* Is sym defined in a section (not absolute, not undefined)? */
static inline bool sym_defined(const Elf64_Sym *y)
{
	return y->st_shndx != SHN_UNDEF && y->st_shndx < SHN_LORESERVE;
}
static inline bool bit(const uint8_t *map, uint32_t i)
{
	return map[i / 8] >> (i % 8) & 1;
}
static inline void set_bit(uint8_t *map, uint32_t i)
{
	map[i / 8] |= (uint8_t)(1u << (i % 8));
}
/* The relocation that starts at exactly this offset, NULL: none. */
const struct rel *sec_rel(const struct sec *s, uint64_t offset);

/* ---- names.c: facts about Linux 6.1 on x86-64 ---- */
enum use use_of(const char *name);
/* Registers that an import preserves; bit n is GPR n. */
uint32_t preserved_by(const char *name);
/* A GPR number for "__x86_indirect_thunk_REG", else NONE. */
uint32_t thunk_register(const char *name);
bool is_init_section(const char *name);
/* Is it a leaf function that may have an inner copy? NULL: no; else the copy's symbol. */
const char *copy_symbol(const char *name);
bool is_copy_symbol(const char *symbol);

/* ---- manifest.c ---- */
bool manifest_open(struct manifest *m, const struct check_file *file, struct error *err);
/* A string of the names table; NULL: none there. */
const char *man_name(const struct manifest *m, uint32_t n);
uint64_t man_at(const struct manifest *m, const void *record);
/* Marks bytes of the image or of names as used; why: only a person reads them. */
void man_uses(struct ck *ck, const void *bytes, uint32_t size, const char *why);
void man_uses_name(struct ck *ck, uint32_t n, const char *why);
void check_accounted(struct ck *ck);

/* added.c: what the wrapped object has and the original has not. */
bool check_added(struct ck *ck);
bool check_orc_rows(struct ck *ck);

/* ---- the steps; false: no sense in going on ---- */
bool check_sections(struct ck *ck);
/* Pairs the relocations of a section of both objects; k0: its number in the wrapped one. */
bool pair_records(struct ck *ck, uint32_t i, uint32_t k0);
/* Does the table at s have whole records? Said if not. */
bool check_whole(struct ck *ck, const struct sec *s, uint64_t size);
void check_crcs(struct ck *ck);
bool check_layout(struct ck *ck);
void check_gates(struct ck *ck);
void check_thunks(struct ck *ck);
void check_code(struct ck *ck);
void check_addresses(struct ck *ck);
void check_tables(struct ck *ck);
void check_image(struct ck *ck);
void check_unwind(struct ck *ck);
void check_entries(struct ck *ck);
void check_imports(struct ck *ck);
void check_headroom(struct ck *ck);

/* ---- copies.c ---- */
void find_copies(struct ck *ck);
/* Bytes of the copy that starts there, 0: none. */
uint32_t copy_at(const struct ck *ck, uint32_t offset);
/* Does it return, stay inside, and reach nothing but what its arguments name? Said if not. */
bool check_copy(struct ck *ck, uint32_t offset, uint32_t size);

/* ---- jumps.c ---- */
bool check_jump_thunk(struct ck *ck, uint32_t offset, uint32_t size);
struct jump_thunk *jump_thunk_at(struct ck *ck, uint32_t offset);
/* Is t the thunk of the jump by reg at `at`, which loads from `table`? Said if not. */
bool check_table_jump(struct ck *ck, struct jump_thunk *t, struct place at, struct place table,
		      uint32_t reg);
bool word_of_table(const struct ck *ck, uint32_t section, uint32_t offset);
void check_jumps(struct ck *ck);
void thunk_rows(struct ck *ck);

/* ---- views.c: objects that were not wrapped ---- */
void views_uses(struct ck *ck); /* of sections, before anything is compared */
bool views_sections(struct ck *ck);
/* Is this section private because the manifest has such a segment in just its place? */
bool views_private(const struct ck *ck, uint32_t section, uint32_t segment);
/* Does the kernel sort what lies on the same pages as these constants? */
bool views_sorted(const struct ck *ck, bool init);
void views_patches(struct ck *ck); /* what the kernel writes, into sites, choices, retsites */
void views_limits(struct ck *ck);

/* ---- alternatives.c, paravirt.c ---- */
/* The bytes of the file as a content of the place, with their relocations. */
void original_content(struct ck *ck, struct place at, uint32_t n);
/* 90 90 ... as the kernel's long NOPs. */
void lengthen_nops(uint8_t *bytes, uint32_t n);
void read_alternatives(struct ck *ck, const struct sec *s); /* into sites, choices, retsites */
void read_paravirt(struct ck *ck);			    /* before the code pass */
uint32_t pv_preserves(const struct ck *ck, uint32_t offset);
/* 32-bit distance in a table to an instruction of the module; said if it is none. */
bool place_at(struct ck *ck, const struct sec *s, uint64_t offset, struct place *p);
bool same_groups(struct ck *ck);
/* Is import i of the manifest the undefined symbol sym? (image.c) */
bool import_is(struct ck *ck, uint32_t i, uint32_t sym);
/* The segment that a symbol lies in and its offset there. */
bool sym_segment(const struct ck *ck, uint32_t sym, uint32_t *segment, int64_t *offset);

/* ---- branch.c: where relocations lead; said if wrong ---- */
/* r is the field of a relative branch that ends at `end`; the place inside it goes to, if any.
 * table: the offset of the jump-table thunk that it leads to, NONE */
struct place follow_branch(struct ck *ck, uint32_t section, const struct rel *r, uint32_t end,
			   bool call, bool *indirect, uint32_t *table);
/* r is the operand of a paravirtual call that ends at `end`. */
void follow_paravirt(struct ck *ck, uint32_t section, const struct rel *r, uint32_t end);
/* r is an operand or data; correction: of a PC-relative operand. */
void follow_address(struct ck *ck, uint32_t section, const struct rel *r, int64_t correction);

/* The place that symbol + addend is, in the wrapped object (PC-relative: corrected by the caller). */
struct place w_place(const struct ck *ck, uint32_t sym, int64_t addend);
struct place o_place(const struct ck *ck, uint32_t sym, int64_t addend);
/* The function that starts there, or that holds it; NULL. */
/* May it be entered? All may, unless the entries were chosen. */
static inline bool may_enter(const struct ck *ck, const struct fn *f)
{
	return !ck->chosen || f->chosen || f->init || f->exit;
}
/* Before the files are looked at: which functions were chosen as entries. */
void choose(struct ck *ck, const struct check_options *opt);
struct fn *fn_at(struct ck *ck, uint32_t section, uint32_t offset);
struct fn *fn_around(struct ck *ck, uint32_t section, uint32_t offset);
/* The entry at a moff, NONE. */
uint32_t entry_at(const struct ck *ck, uint32_t moff);
static inline uint32_t moff_of(const struct ck *ck, uint32_t section, uint32_t offset)
{
	const struct sec *s = &ck->w.sec[section];

	return ck->m.segments[s->segment].start + s->offset + offset;
}

/* ---- unwind.c: rules at places, from ORC or .eh_frame ---- */
struct row {
	uint32_t section, offset;
	uint32_t record; /* where it comes from, for order and messages */
	bool known;	 /* false: nothing can be located from here on */
	bool bad;	 /* cannot be expressed */
	struct gm_unwind rule;
};
/* Fills ck->rows; false: cannot be read (said so). */
bool orc_rows(struct ck *ck);
bool eh_rows(struct ck *ck);
void read_rows(struct ck *ck);
/* Is the ORC record that rule? */
bool orc_says(const uint8_t *record, const struct row *want);
/* The first row of a section, and the number of them from there to the end of all. */
const struct row *rows_of(const struct ck *ck, uint32_t section, uint32_t *n);

#endif
