/* SPDX-License-Identifier: GPL-2.0-only */
/* guardhouse: finds the verb and lets it do the rest. */
#include "cli/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct verb {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} verbs[] = {
	{ "run", verb_run, "run a guest, a scenario, or a real driver under a hosted kernel" },
	{ "attack", verb_attack, "run the attack catalogue and compare with what must happen" },
	{ "wrap", verb_wrap, "turn a kernel module into a guarded module and a manifest" },
	{ "check", verb_check, "prove a wrapped module and its manifest against the original" },
	{ "inspect", verb_inspect, "show a manifest, a wrapped module or a binding" },
	{ "bind", verb_bind, "sign which privileges this exact module gets" },
	{ "replay", verb_replay, "play a find of a fuzzer's, or a scenario: what breaks?" },
	{ "minimize", verb_minimize, "fewer and simpler steps that still break the same" },
	{ "explain", verb_explain, "tell a find in words, step by step" },
	{ "export", verb_export, "a find in another form: text, bytes, a guest in C" },
	{ "fuzz", verb_fuzz, "fuzz what reads files, the core, and the core in a guest" },
	{ "compare-modes", verb_compare_modes, "what crossings cost, wrapped and unwrapped" },
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void help(FILE *to)
{
	fprintf(to, "usage: guardhouse VERB [OPTION]... [ARGUMENT]...\n\n");
	for (size_t i = 0; i < VERBS; i++)
		fprintf(to, "  %-13s %s\n", verbs[i].name, verbs[i].help);
	fprintf(to, "\n`guardhouse VERB --help` tells a verb's options.\n"
		    "Exit codes: 0 as expected, 1 a violation or failed expectation, "
		    "2 usage or bad input.\n");
}

int verb_error(const char *verb, const struct error *err)
{
	fflush(stdout);
	fprintf(stderr, "guardhouse %s: %s\n", verb, err->text);
	return EXIT_USAGE;
}

int verb_usage(const char *verb, const char *fmt, ...)
{
	struct error err;
	va_list ap;

	fflush(stdout);
	va_start(ap, fmt);
	error_vset(&err, fmt, ap);
	va_end(ap);
	fprintf(stderr, "guardhouse %s: %s (see guardhouse %s --help)\n", verb, err.text, verb);
	return EXIT_USAGE;
}

static int dispatch(int argc, char **argv)
{
	if (argc < 2) {
		help(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		help(stdout);
		return EXIT_EXPECTED;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("guardhouse %s\n", GUARDHOUSE_VERSION);
		return EXIT_EXPECTED;
	}
	for (size_t i = 0; i < VERBS; i++)
		if (!strcmp(argv[1], verbs[i].name))
			return verbs[i].run(argc - 1, argv + 1);
	fprintf(stderr, "guardhouse: no verb %s (see guardhouse --help)\n", argv[1]);
	return EXIT_USAGE;
}

/* A descriptor that is closed would be the next file's: stdout's text must not get in there. */
static void occupy_standard(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY) != fd)
			return;
}

int main(int argc, char **argv)
{
	int status;

	occupy_standard();
	status = dispatch(argc, argv);
	errno = 0;
	/* All three: the first has the reason, the second what got lost before, the third NFS's. */
	if (fflush(stdout) || ferror(stdout) || fclose(stdout)) {
		fprintf(stderr, "guardhouse: cannot write to standard output%s%s\n",
			errno ? ": " : "", errno ? strerror(errno) : "");
		return EXIT_USAGE;
	}
	return status;
}
