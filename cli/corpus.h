/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where guests, modules and scenarios are: $GUARDHOUSE_CORPUS, the build tree that the binary lies
 * in, the source tree around that, the place that it was installed to.
 */
#ifndef CLI_CORPUS_H
#define CLI_CORPUS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/error.h"

#define CORPUS_PATH 4096

/* The first of those places that has `rel`; false: none, and *err names what was looked for. */
bool corpus_find(const char *rel, char path[CORPUS_PATH], struct error *err);
/* The folder that this program lies in; false: nobody knows. */
bool corpus_own_folder(char path[CORPUS_PATH]);
/* The folder that has `rel` in it. */
bool corpus_folder(const char *rel, char path[CORPUS_PATH], struct error *err);

#endif
