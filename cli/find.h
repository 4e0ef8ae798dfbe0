/* SPDX-License-Identifier: GPL-2.0-only */
/* What the verbs about finds share: replay, minimize, explain (find.c), export (export.c). */
#ifndef CLI_FIND_H
#define CLI_FIND_H

#include "fuzz/find.h"

bool find_target_known(const char *name);
/* Says on stderr what a file was taken for, if its content does not tell. */
void find_say_kind(const char *verb, const char *file, const struct find *f);

#endif
