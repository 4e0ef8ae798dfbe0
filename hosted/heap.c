// SPDX-License-Identifier: GPL-2.0-only
/*
 * First fit over freed blocks of at least the size asked for, else from the end. A driver makes a
 * few thousand allocations: a list is quick enough, and freed addresses are reused, as in Linux.
 */
#include "hosted/heap.h"

#include <stdlib.h>

#define HEAP_GRAIN 64u

bool heap_init(struct heap *heap, uint64_t start, uint64_t end)
{
	heap->next = start;
	heap->end = end;
	heap->blocks = 0;
	heap->live = 0;
	heap->block = calloc(HEAP_MAX_BLOCKS, sizeof(*heap->block));
	return heap->block;
}

void heap_destroy(struct heap *heap)
{
	free(heap->block);
	heap->block = NULL;
}

uint64_t heap_alloc(struct heap *heap, uint64_t bytes, uint64_t align)
{
	struct heap_block *b;
	uint64_t at;

	if (bytes > heap->end)
		return 0;
	bytes = (bytes ? bytes + HEAP_GRAIN - 1 : HEAP_GRAIN) / HEAP_GRAIN * HEAP_GRAIN;
	for (size_t i = 0; i < heap->blocks; i++) {
		b = &heap->block[i];
		if (!b->used && b->bytes >= bytes && b->bytes / 2 <= bytes &&
		    !(b->at & (align - 1))) {
			b->used = true;
			heap->live++;
			return b->at;
		}
	}
	at = (heap->next + align - 1) & ~(align - 1);
	if (heap->blocks == HEAP_MAX_BLOCKS || at > heap->end || bytes > heap->end - at)
		return 0;
	heap->block[heap->blocks++] = (struct heap_block){ at, bytes, true };
	heap->next = at + bytes;
	heap->live++;
	return at;
}

static struct heap_block *find(const struct heap *heap, uint64_t at)
{
	for (size_t i = 0; i < heap->blocks; i++)
		if (heap->block[i].at == at && heap->block[i].used)
			return &heap->block[i];
	return NULL;
}

bool heap_free(struct heap *heap, uint64_t at)
{
	struct heap_block *b = find(heap, at);

	if (!b)
		return false;
	b->used = false;
	heap->live--;
	return true;
}

uint64_t heap_size(const struct heap *heap, uint64_t at)
{
	struct heap_block *b = find(heap, at);

	return b ? b->bytes : 0;
}
