/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One verb, one file: main() looks the verb up in a table and calls it with argv[0] = its name.
 * What a verb returns is the process's exit code.
 */
#ifndef CLI_VERBS_H
#define CLI_VERBS_H

#include "lib/error.h"

enum {
	EXIT_EXPECTED = 0,  /* as expected */
	EXIT_VIOLATION = 1, /* a violation, or an expectation that failed */
	EXIT_USAGE = 2	    /* usage, or an input that cannot be used */
};

/* Prints "guardhouse VERB: text" to stderr, in one line; returns EXIT_USAGE. */
int verb_error(const char *verb, const struct error *err);
/* The same for wrong usage, with a pointer to --help. */
int verb_usage(const char *verb, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int verb_run(int argc, char **argv);
int verb_attack(int argc, char **argv);
int verb_wrap(int argc, char **argv);
int verb_check(int argc, char **argv);
int verb_fuzz(int argc, char **argv);
int verb_inspect(int argc, char **argv);
int verb_bind(int argc, char **argv);
int verb_replay(int argc, char **argv);
int verb_minimize(int argc, char **argv);
int verb_explain(int argc, char **argv);
int verb_export(int argc, char **argv);
int verb_compare_modes(int argc, char **argv);

#endif
