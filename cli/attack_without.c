/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guardhouse attack --without: a check cannot be taken out of this binary, whose core has no hooks
 * for that. `make without` links another one with a rewritten copy of the core, in the folder
 * `without` next to this binary's own; it takes over here, with the same arguments.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/attack.h"
#include "cli/verbs.h"

#define VARIABLE "GUARDHOUSE_WITHOUT"

/* Defined in the test build alone (tools/without.py): which checks are removed. */
extern const unsigned char gw_off[] __attribute__((weak));

/* `name` in the folder of the test build. */
static bool beside(const char *name, char path[CORPUS_PATH])
{
	char own[CORPUS_PATH];

	return corpus_own_folder(own) &&
	       snprintf(path, CORPUS_PATH, "%s/../without/%s", own, name) < CORPUS_PATH;
}

static int not_built(void)
{
	return verb_usage("attack", "--without: no test build beside this binary; "
				    "`make without` makes it");
}

static int list_checks(void)
{
	char path[CORPUS_PATH];
	FILE *f = beside("checks", path) ? fopen(path, "r") : NULL;
	int ch;

	if (!f)
		return not_built();
	while ((ch = getc(f)) != EOF)
		putchar(ch);
	fclose(f);
	return EXIT_EXPECTED;
}

bool attack_is_without(const char *checks)
{
	const char *now = getenv(VARIABLE);

	return gw_off && now && !strcmp(now, checks);
}

int attack_without(const char *checks, int argc, char **argv)
{
	char path[CORPUS_PATH], **args;

	if (!strcmp(checks, "list"))
		return list_checks();
	if (!*checks)
		return verb_usage("attack", "--without: no check named (--without list)");
	if (!beside("guardhouse", path) || access(path, X_OK) != 0)
		return not_built();
	args = calloc((size_t)argc + 2, sizeof(*args));
	if (!args || setenv(VARIABLE, checks, 1) != 0) {
		free(args);
		return verb_usage("attack", "out of memory");
	}
	args[0] = path;
	for (int i = 0; i < argc; i++)
		args[i + 1] = argv[i];
	execv(path, args);
	free(args);
	return verb_usage("attack", "--without: cannot run %s: %s", path, strerror(errno));
}
