/* SPDX-License-Identifier: GPL-2.0-only */
/* A comparison of two engines' verdict logs, for people and as JSON. */
#ifndef CLI_COMPARISON_H
#define CLI_COMPARISON_H

#include <jansson.h>
#include <stdio.h>

#include "vmm/compare.h"

struct comparison {
	const char *name[2]; /* of the engines */
	struct log_copy log[2];
	struct compare_result result;
};

/* Compares what the copies hold. false: out of memory. */
bool comparison_make(struct comparison *c, struct error *err);
void comparison_free(struct comparison *c);
/* "40 lines compared and equal; left out: ...", and the first difference. */
void comparison_print(const struct comparison *c, FILE *to);
/* The same; NULL: out of memory. */
json_t *comparison_json(const struct comparison *c);
/* Adds up what was left out. */
void comparison_sum(uint64_t total[2][COMPARE_NCLASSES], const struct compare_result *r);
/* "sim/kvm: 12/3 DEPART by kick, ..." or "nothing". */
void comparison_print_left(const uint64_t left[2][COMPARE_NCLASSES], const char *const name[2],
			   FILE *to);
json_t *comparison_left_json(const uint64_t left[COMPARE_NCLASSES]);

#endif
