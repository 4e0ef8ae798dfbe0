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
/* "gates" or "views": how a module is guarded (docs/semantics.md, "Without a gate"). */
bool option_mode(const char *text, bool *views);
const char *option_mode_name(bool views);
/* Tells on stderr what the engine cannot show, if anything. */
void option_engine_note(const struct engine_ops *engine);

/* What runs the guests: one engine, or two whose verdict logs are compared. */
struct engine_list {
	const struct engine_ops *engine[2];
	unsigned count;
};

/* "sim" or "A,B". false: *err names what is no engine. */
bool option_engines(const char *text, struct engine_list *list, struct error *err);
/* Can each of these engines run unwrapped modules? */
bool option_mode_fits(bool views, const struct engine_list *list, struct error *err);
/* NAME, or NAME on HOST if the engine knows what it runs on, for people. */
const char *engine_place(const struct engine_ops *engine, char *buf, size_t len);
/* Kind of X if --x says none: one for all of them, so that both of two run the same bytes. */
enum gm_x_kind option_default_x(const struct engine_list *list);
/*
 * path[0] to path[inputs - 1] are read, the other ones up to n are written, NULL ones do not count.
 * false: what is written is the same file as another one.
 */
bool option_outputs(const char *const path[], size_t inputs, size_t n, struct error *err);

#endif
