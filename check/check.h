/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An independent check of a wrapped module, for someone who does not trust the toolchain.
 *
 * Nothing here comes from wrap/: the original object, the wrapped one and the manifest are read and
 * compared anew, against the ELF format, the tables that Linux 6.1 patches from, and the contract
 * (docs/semantics.md). Only libelf (lib/elf.h), Zydis and libdw are shared with the world.
 */
#ifndef CHECK_CHECK_H
#define CHECK_CHECK_H

#include "lib/error.h"
#include "lib/file.h"

/*
 * What is proved, one class a line: what a count of it means. A fault belongs to one, too.
 * X(name, key, sentence)
 */
#define CHECK_CLASSES(X)                                                                           \
	X(SECTIONS, "sections", "sections byte-identical to the original's")                       \
	X(CHANGED, "changed_sections", "sections changed as their name allows, and only so")       \
	X(SYMBOLS, "symbols", "symbols unchanged; new ones name what was added")                   \
	X(CODE, "instructions", "instructions decoded; relocations lie inside of one")             \
	X(CALLS, "calls", "calls of imports lead to the leave gate of just that import")           \
	X(JUMPS, "jumps", "jumps to imports lead to the leave gate of just that import")           \
	X(THUNK_CALLS, "thunk_calls",                                                              \
	  "calls by register lead to the inner thunk of that register")                            \
	X(THUNK_JUMPS, "thunk_jumps",                                                              \
	  "jumps by register lead to the inner thunk of that register")                            \
	X(TABLE_JUMPS, "table_jumps",                                                              \
	  "targets of jumps through tables: their own thunk finds these")                          \
	X(RETURNS, "returns", "jumps to the return thunk lead to the inner ret")                   \
	X(FENTRY, "fentry", "calls of __fentry__ lead to the inner ret")                           \
	X(COPY_CALLS, "copy_branches", "calls and jumps to leaf functions lead to the inner copy") \
	X(PARAVIRT, "paravirt", "calls through pv_ops lead to the leave gate of that function")    \
	X(OUTSIDE, "outside_branches",                                                             \
	  "calls and jumps to imports, unchanged: an execute fault judges each")                   \
	X(TAKEN, "taken_functions", "addresses of functions, unchanged: each is an entry")         \
	X(INNER, "inner_branches", "branches inside of the module, unchanged")                     \
	X(ADDRESSES, "addresses", "addresses of functions lead to their enter gates")              \
	X(RAW_ADDRESSES, "raw_addresses",                                                          \
	  "addresses of functions that are no chosen entries, unchanged")                          \
	X(PLACES, "places", "code addresses in tables of the kernel, and own labels, unchanged")   \
	X(KEPT, "kept", "relocations to data, unchanged")                                          \
	X(RAW_IMPORTS, "raw_imports", "addresses of imports that stay raw, unchanged")             \
	X(GATES, "gates", "gates that are exactly their template")                                 \
	X(THUNKS, "thunks", "inner thunks and stubs that are exactly their template")              \
	X(COPIES, "inner_copies", "inner copies of leaf functions that reach nothing else")        \
	X(ENTRIES, "entries",                                                                      \
	  "entries: each a function whose address is taken, with its gate (if any)")               \
	X(HEADROOM, "headroom", "entries whose headroom covers what they push inside")             \
	X(IMPORTS, "imports", "imports with the right name, use and preserved registers")          \
	X(CRCS, "crcs", "undefined symbols with their CRC")                                        \
	X(SEGMENTS, "segments", "segments laid out as the kernel's loader does")                   \
	X(IMAGE, "image", "bytes of the manifest's image equal to the object's")                   \
	X(RELOCS, "relocations", "relocations of the manifest equal to the object's")              \
	X(RETSITES, "return_sites", "return sites: every address after a call and no other")       \
	X(UNWIND, "unwind", "instruction boundaries where unwind map and unwind data agree")       \
	X(SITES, "sites", "patch sites with exactly the contents that the kernel can write")       \
	X(EMPTIED, "emptied", "patch records that are gone, so that those patches cannot happen")  \
	X(FIXUPS, "fixups", "fixups as in the exception and WARN tables")                          \
	X(PRIVILEGES, "privileges", "privileges: asked for, well formed")                          \
	X(CROSSINGS, "crossings", "crossing instructions at gates and nowhere else in gate pages") \
	X(MANIFEST, "manifest", "bytes of the manifest accounted for")                             \
	X(UNKNOWN, "unknown", "")

enum check_class {
#define X(name, key, text) CHECK_##name,
	CHECK_CLASSES(X)
#undef X
		CHECK_COUNT
};

extern const char *const check_keys[CHECK_COUNT];
extern const char *const check_texts[CHECK_COUNT];

#define CHECK_MAX_FAULTS 200u
#define CHECK_MAX_NOTES 4000u

struct check_fault {
	enum check_class class;
	char text[512]; /* "FILE: offset 0x..: what is wrong" */
};

/* Something that a person should know, or that is not proved; kind says which list. */
enum check_note_kind {
	CHECK_NOTE_CROSSING, /* X bytes outside of gates */
	CHECK_NOTE_RAW,	     /* an indirect branch that stays raw */
	CHECK_NOTE_PRIVATE,  /* a private section */
	CHECK_NOTE_ASKS,     /* a privilege that the module asks for */
	CHECK_NOTE_UNPROVED, /* what was not proved */
	CHECK_NOTES
};

extern const char *const check_note_keys[CHECK_NOTES];

struct check_note {
	enum check_note_kind kind;
	char text[240];
};

/* Bytes of the manifest on which nothing rests but what a person reads. */
struct check_label {
	uint32_t offset, size;
	const char *why;
};

struct check_report {
	uint64_t proved[CHECK_COUNT];
	uint64_t faults; /* all of them; `fault` has the first ones */
	uint64_t notes[CHECK_NOTES];
	struct check_fault *fault;
	struct check_note *note;
	struct check_label *label;
	uint32_t stored_faults, stored_notes, stored_labels;
	uint8_t digest[32]; /* SHA-256 of the manifest */
};

struct check_file {
	const char *path; /* for messages */
	const struct blob *blob;
};

/* What the checker is told beside the files. */
struct check_options {
	/*
	 * The functions that may be entered beside init and exit, by name, as wrapping was told
	 * (--entries). NULL: all whose address is taken.
	 */
	const char *const *entries;
	size_t entries_count;
};

/*
 * Compares the three. opt NULL: nothing is told. false: one of them cannot be used at all (err names file and offset).
 * Otherwise the report says what was proved, and faults > 0 that something is wrong.
 */
bool check_module(const struct check_file *original, const struct check_file *wrapped,
		  const struct check_file *manifest, const struct check_options *opt,
		  struct check_report *report, struct error *err);
void check_report_free(struct check_report *report);

#endif
