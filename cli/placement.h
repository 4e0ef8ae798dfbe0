/* SPDX-License-Identifier: GPL-2.0-only */
/* `run --placement`: physical cores under the vCPUs, and what idling cost (vmm/placement.c). */
#ifndef CLI_PLACEMENT_H
#define CLI_PLACEMENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "lib/error.h"
#include "vmm/vm.h"

/* What --help says of the option's value. */
#define PLACEMENT_HELP                                                                                 \
	"  --placement P   a guest's vCPUs sit on physical cores: KEY=VALUE with commas between, of\n" \
	"                  policy=adaptive|mwait|hlt, cores=N, period=T (one vCPU moves),\n"           \
	"                  turn=T, wake=T, seed=S; times are the engine's (docs/guests.md)\n"

/* "policy=adaptive,cores=3": what is not said stays as it is in *p. */
bool placement_parse(const char *text, struct vm_placement *p, struct error *err);
/* Defaults of all that need not be said; the seed is the caller's. */
void placement_default(struct vm_placement *p);
const char *placement_policy(enum vm_idle_policy policy);
/* Nothing if the VM has no placement; JSON: null then. */
void placement_print(const struct vm *vm, const struct vm_placement *p, FILE *to);
json_t *placement_json(const struct vm *vm, const struct vm_placement *p);

#endif
