/* SPDX-License-Identifier: GPL-2.0-only */
/* Modules for tests of wrap/: compiled on the spot, or Debian's e1000e where it is at hand. */
#ifndef TESTS_SUPPORT_WRAPTEST_H
#define TESTS_SUPPORT_WRAPTEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libelf.h>

#include "wrap/wrap.h"

#define WT_E1000E "build/debian/e1000e.ko"

/* As the kernel compiles its modules; WT_PLAIN: as the samples in corpus/ are. */
#define WT_RETPOLINE                                                                               \
	"-mindirect-branch=thunk-extern -mindirect-branch-register "                               \
	"-mfunction-return=thunk-extern -fno-jump-tables"
#define WT_PLAIN ""

/* Compiles C text to a relocatable object. Fails the test if the compiler does. */
struct blob wt_compile(const char *source, const char *flags);
/* Debian's e1000e.ko; skips the test if it has not been fetched. */
struct blob wt_e1000e(void);
/* Wraps; fails the test with the message if that is refused. */
struct wrap_result wt_wrap(const struct blob *ko, enum gm_x_kind x);
/* Is refused, with a message that names the file, an offset, and `about`. */
void wt_refused(const struct blob *ko, const char *about);

const struct gm_header *wt_header(const struct wrap_result *r);
#define WT_TABLE(r, t) ((const void *)((r)->manifest.data + wt_header(r)->t.offset))

/* An ELF object as libelf sees it: none of the code under test is involved. */
struct wt_elf {
	Elf *elf;
	size_t nsections, symtab, shstr;
};
struct wt_elf wt_open(const struct blob *b);
void wt_close(struct wt_elf *e);
const Elf64_Shdr *wt_shdr(const struct wt_elf *e, size_t i);
const char *wt_section(const struct wt_elf *e, size_t i);
size_t wt_find(const struct wt_elf *e, const char *name);
const uint8_t *wt_bytes(const struct wt_elf *e, size_t i, size_t *n);
const Elf64_Sym *wt_symbol(const struct wt_elf *e, size_t i);
const char *wt_symbol_name(const struct wt_elf *e, size_t i);

/* Manifest segments as they lie in memory, relocated by the test's own few lines. */
struct wt_image {
	uint8_t *data; /* moff-addressed, whole pages */
	uint32_t pages;
	uint64_t base;	 /* of moff 0 */
	uint64_t import; /* import i is at import + 16 * i */
};
struct wt_image wt_load(const struct wrap_result *r, uint64_t base, uint64_t import);

/* The sample that most tests use. */
extern const char wt_sample[];

#endif
