/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Builds binary manifests record by record, with real gate code, and takes them apart again:
 * a table of every field, so that a test can put a hostile value into each.
 */
#ifndef TESTS_SUPPORT_MANIFEST_BUILDER_H
#define TESTS_SUPPORT_MANIFEST_BUILDER_H

#include <stddef.h>
#include <stdint.h>

#include "model/manifest.h"

enum mb_table {
	MB_SEGMENTS,
	MB_GATES,
	MB_ENTRIES,
	MB_IMPORTS,
	MB_RELOCS,
	MB_SITES,
	MB_CHOICES,
	MB_CHOICE_RELOCS,
	MB_RETSITES,
	MB_UNWIND,
	MB_FIXUPS,
	MB_JUMPS,
	MB_PRIVILEGES,
	MB_IMAGE,
	MB_NAMES,
	MB_TABLES
};

struct mb_array {
	uint8_t *data;
	size_t size; /* of one record */
	size_t count, room;
};

struct mb {
	uint32_t x_kind, flags;
	struct mb_array table[MB_TABLES];
	int gates_segment; /* -1: none */
	uint32_t end;	   /* of the moff space so far */
};

void mb_init(struct mb *b, uint32_t x_kind, uint32_t flags);
void mb_free(struct mb *b);

/* Returns the segment's index. image NULL: none. The GATES segment gets its image at the end. */
unsigned mb_segment(struct mb *b, uint32_t kind, uint32_t size, const void *image);
struct gm_segment *mb_seg(struct mb *b, unsigned segment);
uint32_t mb_moff(struct mb *b, unsigned segment, uint32_t offset);
void mb_image(struct mb *b, uint32_t moff, const void *bytes, size_t len);

unsigned mb_gate(struct mb *b, uint8_t kind, uint8_t x, uint8_t reg, uint32_t index);
/* An entry and, unless this is a VIEWS manifest, its enter gate with X at `x`. */
unsigned mb_entry(struct mb *b, uint32_t moff, uint32_t headroom, uint32_t flags, uint8_t x);
unsigned mb_import(struct mb *b, uint32_t flags, uint32_t preserve);
void mb_reloc(struct mb *b, uint32_t moff, uint16_t type, uint16_t kind, uint32_t target,
	      int64_t addend);
/* A site, then its choices, then each choice's relocations, in this order. */
unsigned mb_site(struct mb *b, uint32_t moff, uint16_t size, uint16_t flags, uint32_t group);
unsigned mb_choice(struct mb *b, const void *bytes);
void mb_choice_reloc(struct mb *b, uint32_t at, uint16_t type, uint16_t kind, uint32_t target,
		     int64_t addend);
void mb_retsite(struct mb *b, uint32_t moff);
void mb_unwind(struct mb *b, uint32_t moff, uint8_t cfa_rule, uint8_t cfa_reg, int16_t cfa_offset,
	       uint8_t bp_rule, int16_t bp_offset);
void mb_fixup(struct mb *b, uint32_t moff, uint32_t target, uint32_t kind, uint32_t regs);
void mb_jump(struct mb *b, uint32_t moff, uint32_t target);
unsigned mb_privilege(struct mb *b, uint32_t kind, uint32_t first, uint32_t last);

/* The manifest in a buffer of exactly *len bytes, for ASan; the caller frees it. */
void *mb_finish(struct mb *b, size_t *len);

/* ---- taking apart ---- */

struct mb_field {
	enum mb_table table; /* MB_TABLES: the header */
	const char *name;
	uint32_t offset, size;
};
extern const struct mb_field mb_fields[];
extern const size_t mb_nfields;

struct gm_table mb_table_of(const void *manifest, enum mb_table t);
/* Record i of a table, in place. */
void *mb_record(void *manifest, enum mb_table t, uint32_t i);
uint64_t mb_get_field(const void *record, const struct mb_field *f);
void mb_set_field(void *record, const struct mb_field *f, uint64_t value);

#endif
