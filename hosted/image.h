/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hosted kernel's guest image: an ELF file made in memory from a module's list of imports.
 * One page of guest code, a stub for each of 256 vectors, a stub for each function that the
 * module imports, the IDT, and a page for each datum that it imports.
 */
#ifndef HOSTED_IMAGE_H
#define HOSTED_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/file.h"
#include "model/manifest.h"

#define IMAGE_BASE 0xffffffff80200000ull
#define IMAGE_VECTORS (IMAGE_BASE + 0x1000)
#define IMAGE_IMPORTS (IMAGE_BASE + 0x2000)
#define IMAGE_STUB_BYTES 16u
#define IMAGE_OUT_BYTES 2u /* of `out %al,$0xf8` */
#define IMAGE_DATUM_BYTES 0x1000u

struct image_import {
	const char *name;
	uint64_t gva; /* out: its stub, or its datum */
	bool data;
};

struct image {
	bool tickless; /* in: no timer interrupts */
	struct blob elf;
	uint64_t data;	     /* GVA of the data segment: the IDT first, the data imports last */
	uint64_t data_bytes; /* whole pages */
};

/* Gives every import an address and builds the file. Symbols bear the imports' names. */
bool image_build(struct image *img, struct image_import *imports, size_t n, enum gm_x_kind x,
		 struct error *err);
/* Where in the guest something of hosted/guest_code.h lies. */
uint64_t image_code(const uint8_t *label);

#endif
