/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What all fuzz targets share. A target is one file in fuzz/targets/ with LLVMFuzzerTestOneInput();
 * libFuzzer, AFL++ and fuzz/replay.c all call just that. It keeps nothing from one input to the
 * next, and what it must not see happen it reports by fuzz_must().
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/file.h"
#include "model/guard.h"

/* The engine's entry. Always 0: no input is kept out of the engine's corpus. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy of exactly these bytes on the heap, so that a sanitizer sees the first byte behind. */
struct blob fuzz_blob(const uint8_t *data, size_t size);
/* Cuts n bytes off the front, or what there is. */
struct blob fuzz_take(const uint8_t **data, size_t *size, size_t n);
/* Cuts a little-endian number off the front; 0 if there are not enough bytes. */
uint32_t fuzz_number(const uint8_t **data, size_t *size);
/* Says what does not hold, and aborts. */
void fuzz_broken(const char *what) __attribute__((noreturn));
/* A property of every input. */
static inline void fuzz_must(bool holds, const char *what)
{
	if (!holds)
		fuzz_broken(what);
}

/*
 * REGISTER in a guard of its own, whose VMM does nothing, and UNREGISTER again. The binding's digest
 * becomes the manifest's. Reads what the core reads: a manifest and a policy.
 */
enum guard_verdict fuzz_register(const struct blob *manifest, const struct guard_binding *binding);

#endif
