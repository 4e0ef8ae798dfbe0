// SPDX-License-Identifier: GPL-2.0-only
/* AFL++'s custom mutator (its docs/custom_mutators.md) around a target's own: in a library alone. */
#include "fuzz/afl_mutator.h"

#include <stdlib.h>
#include <string.h>

#define VISIBLE __attribute__((visibility("default")))

struct mutator {
	uint32_t next;
	uint8_t *out;
};

VISIBLE void *afl_custom_init(void *afl, unsigned seed);
VISIBLE size_t afl_custom_fuzz(struct mutator *m, uint8_t *buf, size_t size, uint8_t **out,
			       uint8_t *add, size_t add_size, size_t room);
VISIBLE void afl_custom_deinit(struct mutator *m);

void *afl_custom_init(void *afl, unsigned seed)
{
	struct mutator *m = calloc(1, sizeof(*m));

	(void)afl;
	if (!m)
		return NULL;
	m->next = seed;
	m->out = malloc(afl_mutator.most);
	if (!m->out) {
		free(m);
		return NULL;
	}
	return m;
}

size_t afl_custom_fuzz(struct mutator *m, uint8_t *buf, size_t size, uint8_t **out, uint8_t *add,
		       size_t add_size, size_t room)
{
	room = room < afl_mutator.most ? room : afl_mutator.most;
	size = size > room ? room : size;
	memcpy(m->out, buf, size);
	*out = m->out;
	return afl_mutator.mutate(m->out, size, room, add, add ? add_size : 0, m->next++);
}

void afl_custom_deinit(struct mutator *m)
{
	free(m->out);
	free(m);
}
