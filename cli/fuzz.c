/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guardhouse fuzz: the campaigns themselves are a tool's (tools/fuzz_parsers.py, fuzz_mutants.py); here
 * are its options, and where it is. It needs the source tree that this binary was built in.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/corpus.h"
#include "cli/options.h"
#include "cli/verbs.h"

#define FOREVER 315360000u /* seconds: ten years */
#define MAX_JOBS 64u
#define MAX_SEEDS 1000u
#define NUMBER 24u

static void help(void)
{
	printf("usage: guardhouse fuzz TARGET [OPTION]...\n"
	       "       guardhouse fuzz [TARGET,...] --mutants [OPTION]...\n"
	       "       guardhouse fuzz --list\n\n"
	       "Fuzzes a target of fuzz/targets/, or shows which planted bugs of the core some targets find\n"
	       "(fuzz/mutants/). Ctrl-C ends it and keeps all, the same command goes on. docs/fuzzing.md\n"
	       "tells what is in the folder. Exit codes: 0 nothing was found, or all planted bugs were;\n"
	       "1 a find, or a planted bug that lives; 2 usage, or what cannot be used; 130 Ctrl-C.\n\n"
	       "      --time S          seconds (default: until Ctrl-C)\n"
	       "      --jobs N          processes (1); with afl its own main and secondary ones. With --mutants\n"
	       "                        planted bugs at a time, each on a core of its own\n"
	       "      --dir D           the campaign's folder (default: build/fuzz)\n"
	       "      --engine ENGINE   libfuzzer (default) or afl\n"
	       "      --mutants         each planted bug; targets in turn until one finds it (core,guest,ko)\n"
	       "      --budget S[,S...] seconds that each target has for each planted bug (60)\n"
	       "      --seeds N         the fifteen that took longest are found with N seeds (1)\n"
	       "      --out FILE.md     the table in Markdown, and beside it a plot, FILE.svg\n"
	       "      --list            the targets\n\n"
	       "--budget, --seeds and --out go with --mutants, --time does not.\n"
	       "`make fuzz-targets` with VARIANT=libfuzzer, afl, guard-libfuzzer or guard-afl builds them.\n");
}

struct fuzz {
	const char *target, *dir, *engine, *budget, *out;
	uint64_t time, jobs, seeds;
	bool mutants, list;
	const char *campaign, *hunt; /* an option of just one of the two that was given */
};

/* Into the folder of the source tree; false: there is none. */
static bool go_home(void)
{
	char own[CORPUS_PATH], root[CORPUS_PATH];

	return corpus_own_folder(own) &&
	       snprintf(root, sizeof(root), "%s/../..", own) < (int)sizeof(root) &&
	       chdir(root) == 0 && access("tools/fuzz_parsers.py", X_OK) == 0;
}

static int is_source(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return n > 2 && !strcmp(d->d_name + n - 2, ".c");
}

static int list(void)
{
	struct dirent **found;
	int n = scandir("fuzz/targets", &found, is_source, alphasort);

	if (n < 0)
		return verb_usage("fuzz", "fuzz/targets: %s", strerror(errno));
	for (int i = 0; i < n; i++) {
		printf("%.*s\n", (int)strlen(found[i]->d_name) - 2, found[i]->d_name);
		free(found[i]);
	}
	free(found);
	return EXIT_EXPECTED;
}

static bool is_target(const char *name)
{
	char path[128];

	return !strchr(name, '/') && !strchr(name, '.') &&
	       snprintf(path, sizeof(path), "fuzz/targets/%s.c", name) < (int)sizeof(path) &&
	       access(path, R_OK) == 0;
}

/* One number, or more with commas between; none is 0. */
static bool are_seconds(const char *list)
{
	char word[NUMBER];
	uint64_t value;

	for (;; list++) {
		size_t n = strcspn(list, ",");

		if (n >= sizeof(word))
			return false;
		memcpy(word, list, n);
		word[n] = '\0';
		if (!option_number(word, FOREVER, &value) || !value)
			return false;
		list += n;
		if (!*list)
			return true;
	}
}

static bool is_no_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

/* The campaign's folder is where the caller stands, not where the tree is. */
static char *whole_path(const char *dir)
{
	char here[CORPUS_PATH], *path;

	if (*dir == '/')
		return strdup(dir);
	if (!getcwd(here, sizeof(here)))
		return NULL;
	path = malloc(strlen(here) + strlen(dir) + 2);
	if (path)
		sprintf(path, "%s/%s", here, dir);
	return path;
}

static int run(const struct fuzz *f, const char *build)
{
	const char *args[28],
		*tool = f->mutants ? "tools/fuzz_mutants.py" : "tools/fuzz_parsers.py";
	char time[NUMBER], jobs[NUMBER], seeds[NUMBER], kept[CORPUS_PATH];
	unsigned n = 0;

	if (is_no_folder(f->dir))
		return verb_usage("fuzz", "%s: %s", f->dir, strerror(ENOTDIR));
	if (snprintf(kept, sizeof(kept), "%s/mutants.json", f->dir) >= (int)sizeof(kept))
		return verb_usage("fuzz", "%s: %s", f->dir, strerror(ENAMETOOLONG));

	snprintf(time, sizeof(time), "%llu", (unsigned long long)f->time);
	snprintf(jobs, sizeof(jobs), "%llu", (unsigned long long)f->jobs);
	snprintf(seeds, sizeof(seeds), "%llu", (unsigned long long)f->seeds);
	args[n++] = tool;
	if (f->mutants) {
		args[n++] = "--build";
		args[n++] = build;
		args[n++] = "--targets";
		args[n++] = f->target;
		args[n++] = "--engine";
		args[n++] = f->engine;
		args[n++] = "--budget";
		args[n++] = f->budget;
		args[n++] = "--seeds";
		args[n++] = seeds;
		args[n++] = "--jobs";
		args[n++] = jobs;
		args[n++] = "--control";
		args[n++] = "--steps";
		args[n++] = "--json";
		args[n++] = kept;
		args[n++] = "--resume";
		if (f->out) {
			args[n++] = "--out";
			args[n++] = f->out;
		}
	} else {
		args[n++] = "--targets";
		args[n++] = f->target;
		args[n++] = "--engines";
		args[n++] = f->engine;
		args[n++] = "--each";
		args[n++] = time;
		args[n++] = "--jobs";
		args[n++] = jobs;
		args[n++] = "--dir";
		args[n++] = f->dir;
	}
	args[n] = NULL;
	execv(tool, (char *const *)(uintptr_t)args);
	return verb_usage("fuzz", "%s: %s", tool, strerror(errno));
}

/* The two ways to fuzz have options of their own, and what is empty names nothing. */
static bool fits(const struct fuzz *f)
{
	if (f->list && (f->target || f->mutants))
		verb_usage("fuzz", "--list goes with nothing else");
	else if (f->mutants && f->campaign)
		verb_usage("fuzz", "%s: not with --mutants", f->campaign);
	else if (!f->mutants && f->hunt)
		verb_usage("fuzz", "%s: only with --mutants", f->hunt);
	else if ((f->target && !*f->target) || (f->dir && !*f->dir) || (f->out && !*f->out))
		verb_usage("fuzz", "an empty name");
	else
		return true;
	return false;
}

static bool parse(int argc, char **argv, struct fuzz *f, int *status)
{
	static const struct option options[] = { { "time", required_argument, NULL, 't' },
						 { "jobs", required_argument, NULL, 'j' },
						 { "dir", required_argument, NULL, 'd' },
						 { "engine", required_argument, NULL, 'e' },
						 { "mutants", no_argument, NULL, 'm' },
						 { "budget", required_argument, NULL, 'b' },
						 { "seeds", required_argument, NULL, 's' },
						 { "out", required_argument, NULL, 'o' },
						 { "list", no_argument, NULL, 'l' },
						 { "help", no_argument, NULL, 'h' },
						 { NULL, 0, NULL, 0 } };
	int c;

	*status = EXIT_USAGE;
	opterr = 0;
	while ((c = getopt_long(argc, argv, ":hj:", options, NULL)) != -1) {
		switch (c) {
		case 'h':
			help();
			*status = EXIT_EXPECTED;
			return false;
		case 'd': f->dir = optarg; break;
		case 'm': f->mutants = true; break;
		case 'l': f->list = true; break;
		case 'e':
			f->engine = optarg;
			if (strcmp(optarg, "afl") != 0 && strcmp(optarg, "libfuzzer") != 0) {
				verb_usage("fuzz", "--engine %s: expected libfuzzer or afl",
					   optarg);
				return false;
			}
			break;
		case 'o': f->out = optarg, f->hunt = "--out"; break;
		case 'b':
			f->budget = optarg;
			f->hunt = "--budget";
			if (!are_seconds(optarg)) {
				verb_usage("fuzz", "%s: no numbers of seconds", optarg);
				return false;
			}
			break;
		case 't':
			f->campaign = "--time";
			if (!option_number(optarg, FOREVER, &f->time) || !f->time) {
				verb_usage("fuzz", "%s: not a number of seconds", optarg);
				return false;
			}
			break;
		case 's':
			f->hunt = "--seeds";
			if (!option_number(optarg, MAX_SEEDS, &f->seeds) || !f->seeds) {
				verb_usage("fuzz", "--seeds %s: expected 1 to %u", optarg,
					   MAX_SEEDS);
				return false;
			}
			break;
		case 'j':
			if (!option_number(optarg, MAX_JOBS, &f->jobs) || !f->jobs) {
				verb_usage("fuzz", "--jobs %s: expected 1 to %u", optarg, MAX_JOBS);
				return false;
			}
			break;
		case ':': verb_usage("fuzz", "%s needs a value", argv[optind - 1]); return false;
		default: verb_usage("fuzz", "no option %s", argv[optind - 1]); return false;
		}
	}
	if (argc - optind > 1) {
		verb_usage("fuzz", "%s: one target at a time", argv[optind + 1]);
		return false;
	}
	if (optind < argc)
		f->target = argv[optind];
	return fits(f);
}

int verb_fuzz(int argc, char **argv)
{
	struct fuzz f = {
		.engine = "libfuzzer", .time = FOREVER, .jobs = 1, .seeds = 1, .budget = "60"
	};
	char own[CORPUS_PATH];
	char *dir = NULL, *out = NULL;
	int status;

	if (!parse(argc, argv, &f, &status))
		return status;
	if (!f.target && f.mutants)
		f.target = "core,guest,ko";
	if (!f.target && !f.list)
		return verb_usage("fuzz", "no target (--list)");
	if ((f.dir && !(dir = whole_path(f.dir))) || (f.out && !(out = whole_path(f.out)))) {
		free(dir);
		return verb_usage("fuzz", "%s: %s", f.dir ? f.dir : f.out, strerror(errno));
	}
	f.dir = dir ? dir : "build/fuzz";
	f.out = out;
	if (!corpus_own_folder(own) || !go_home())
		status =
			verb_usage("fuzz", "needs the source tree, and is not in its build folder");
	else if (f.list)
		status = list();
	else if (!f.mutants && !is_target(f.target)) /* which ones find mutants the tool knows */
		status = verb_usage("fuzz", "%s: no such target (--list)", f.target);
	else
		status = run(&f, own);
	free(dir);
	free(out);
	return status;
}
