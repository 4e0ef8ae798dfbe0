/* SPDX-License-Identifier: GPL-2.0-only */
/* Book-keeping of the hosted kernel's allocations: addresses only, the memory is the guest's. */
#ifndef HOSTED_HEAP_H
#define HOSTED_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAP_MAX_BLOCKS 16384u

struct heap_block {
	uint64_t at, bytes;
	bool used;
};

struct heap {
	uint64_t next, end;
	struct heap_block *block;
	size_t blocks;
	uint64_t live; /* blocks in use */
};

bool heap_init(struct heap *heap, uint64_t start, uint64_t end);
void heap_destroy(struct heap *heap);
/* align a power of two; 0: none left. */
uint64_t heap_alloc(struct heap *heap, uint64_t bytes, uint64_t align);
/* false: not an address that heap_alloc() gave. */
bool heap_free(struct heap *heap, uint64_t at);
/* Size of the block that starts at `at`, 0: none. */
uint64_t heap_size(const struct heap *heap, uint64_t at);

#endif
