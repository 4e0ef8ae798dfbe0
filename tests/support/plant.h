/* SPDX-License-Identifier: GPL-2.0-only */
/* A wrapped module that tests change byte by byte, and what the checker then says. */
#ifndef TESTS_SUPPORT_PLANT_H
#define TESTS_SUPPORT_PLANT_H

#include "check/check.h"
#include "tests/support/wraptest.h"

/* Original, wrapped object and manifest; pointers into them are written through. */
struct plant {
	struct blob o, w, m;
	struct gm_header *h;
};

struct plant plant_make(const struct blob *original, const struct wrap_result *r);
struct plant plant_copy(const struct plant *p);
void plant_free(struct plant *p);
/* A table of the manifest, to be changed. */
#define PLANT_TABLE(p, type, t) ((type *)(void *)((p)->m.data + (p)->h->t.offset))

/* Of an object: the header of a section (NULL: none), its bytes, its symbols. */
Elf64_Shdr *plant_section(struct blob *b, const char *name);
uint32_t plant_index(struct blob *b, const char *name);
uint8_t *plant_bytes(struct blob *b, const char *name);
Elf64_Rela *plant_relas(struct blob *b, const char *name, uint32_t *n);
Elf64_Sym *plant_symbol(struct blob *b, uint32_t i);
const char *plant_symbol_name(struct blob *b, uint32_t i);

enum plant_verdict { PLANT_PROVED, PLANT_FAULT, PLANT_BAD_INPUT };
/* r: freed by the caller, whatever is returned. */
enum plant_verdict plant_check(const struct plant *p, struct check_report *r, struct error *err);
/* The same by a checker that is told more. */
enum plant_verdict plant_check_told(const struct plant *p, const struct check_options *opt,
				    struct check_report *r, struct error *err);

#endif
