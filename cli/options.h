/* SPDX-License-Identifier: GPL-2.0-only */
/* What the options of several verbs have in common. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"
#include "model/manifest.h"
#include "vmm/engine.h"

/* Decimal or 0x; the whole string must be a number. */
bool option_number(const char *text, uint64_t max, uint64_t *value);
/* "vmmcall", "vmcall", "out", "nop". */
bool option_x(const char *text, enum gm_x_kind *x);
const char *option_x_name(enum gm_x_kind x);
/* By name; NULL: there is none such. */
const struct engine_ops *option_engine(const char *text);
/* Tells on stderr what the engine cannot show, if anything. */
void option_engine_note(const struct engine_ops *engine);
/*
 * path[0] to path[inputs - 1] are read, the other ones up to n are written, NULL ones do not count.
 * false: what is written is the same file as another one.
 */
bool option_outputs(const char *const path[], size_t inputs, size_t n, struct error *err);

#endif
