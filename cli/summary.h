/* SPDX-License-Identifier: GPL-2.0-only */
/* What a run's verdict log amounts to: events by verdict. */
#ifndef CLI_SUMMARY_H
#define CLI_SUMMARY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "model/names.h"
#include "vmm/vm.h"

struct summary {
	uint64_t count[GUARD_NEVENTS][GUARD_NVERDICTS];
	uint64_t crossings; /* lines of the four crossings */
	uint64_t refused;   /* of all judged events but TOUCH: what was neither ok nor again */
	uint64_t lines, lost;
};

void summary_take(struct summary *s, const struct vm *vm);
void summary_print(const struct summary *s, FILE *to);
/* {"EVENT": {"verdict": n, ...}, ...}; NULL: out of memory. */
json_t *summary_json(const struct summary *s);
const char *exit_reason_name(enum vm_exit_reason r);
/* The last n log lines, for a run that ended badly. */
void summary_last_lines(const struct vm *vm, size_t n, FILE *to);

/* What the oracle has looked at; nothing if the VM has none. */
void summary_oracle(const struct vm *vm, FILE *to);

#endif
