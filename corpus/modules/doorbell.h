/* SPDX-License-Identifier: GPL-2.0-only */
/* Entries of the sample module `doorbell`. */
#ifndef CORPUS_DOORBELL_H
#define CORPUS_DOORBELL_H

#include <stdint.h>

long doorbell_probe(volatile uint32_t *regs);
long doorbell_ring(uint32_t value);
long doorbell_ring_tell(uint32_t value, long (*fn)(void *ctx, long count), void *ctx);
long doorbell_count(void);
long doorbell_check(uint32_t guess);

#endif
