/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an engine on a host cannot show (hv-port/not-expressible.txt): lines
 *
 *     HOST ID: reason
 *
 * ID is a scenario's, or the name of a guest. HOST is pvm, svm, vmx or any. A blank line or one that starts with # says nothing.
 */
#ifndef CLI_EXPRESSIBLE_H
#define CLI_EXPRESSIBLE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/error.h"

#define INEXPRESSIBLE_MAX 1024u

struct inexpressible_line {
	char host[8];
	char id[96]; /* of a scenario, or a guest's name */
	char *reason;
	unsigned line;
};

struct inexpressible {
	char *path;
	struct inexpressible_line *v;
	size_t n;
};

/* Errors name file and line. Free in either case. */
bool inexpressible_parse(struct inexpressible *list, const char *path, const char *text, size_t len,
			 struct error *err);
/*
 * The project's own list, wherever it is installed: of what engine kvm cannot show, or of what does
 * not apply to modules that stay as they are.
 */
bool inexpressible_load(struct inexpressible *list, bool views, struct error *err);
/* host NULL: unknown, only lines for any host count. NULL: nothing speaks against running it. */
const struct inexpressible_line *inexpressible_find(const struct inexpressible *list,
						    const char *host, const char *id);
void inexpressible_free(struct inexpressible *list);

#endif
