/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Wraps and checks every module of a folder, in memory, in a few processes: `make test-modules`.
 *
 *	modules DIR OUT.tsv [JOBS]
 *
 * One line a module, tab-separated, sorted by path; the first line names the columns. What a module
 * is refused for, or what the checker says against it, is the last one. Exit 1: the checker found a
 * fault, a module crashed or hung a worker; 2: usage.
 */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include <fts.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check/check.h"
#include "lib/unpack.h"
#include "wrap/wrap.h"

#define MAX_MODULE (256u << 20)
#define MAX_JOBS 64
#define TIMEOUT 120 /* seconds for one module */

enum state { NEW, STARTED, REFUSED, BAD_MANIFEST, FAULTY, PROVED };

static const char *const state_names[] = { "not-tried", "crashed",	"refused",
					   "bad-input", "check-faults", "proved" };

struct result {
	enum state state;
	uint64_t input, wrapped, manifest; /* bytes */
	struct wrap_stats stats;
	uint64_t proved[CHECK_COUNT];
	double wrap, check; /* seconds of CPU */
	char why[256];
};

/* Shared by all workers. */
struct board {
	unsigned next, done;
	struct result result[];
};

static double cpu_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void check(const char *path, const struct blob *in, const struct wrap_result *w,
		  struct result *r)
{
	const struct check_file o = { path, in }, k = { "wrapped", &w->ko },
				m = { "manifest", &w->manifest };
	struct check_report report;
	double start = cpu_now();
	struct error err;

	if (!check_module(&o, &k, &m, NULL, &report, &err)) {
		snprintf(r->why, sizeof(r->why), "%.255s", err.text);
		r->state = BAD_MANIFEST;
	} else if (report.faults) {
		snprintf(r->why, sizeof(r->why), "%.200s", report.fault[0].text);
		r->state = FAULTY;
	} else {
		r->state = PROVED;
	}
	memcpy(r->proved, report.proved, sizeof(r->proved));
	r->check = cpu_now() - start;
	check_report_free(&report);
}

static void one(const char *path, struct result *r)
{
	const struct wrap_options opt = { .x = GM_X_VMMCALL };
	struct wrap_result w;
	double start = cpu_now();
	struct error err;
	struct blob in;
	bool ok;

	r->state = STARTED;
	if (!blob_read(&in, path, MAX_MODULE, &err) || !blob_unpack(&in, path, MAX_MODULE, &err)) {
		snprintf(r->why, sizeof(r->why), "%.255s", err.text);
		r->state = BAD_MANIFEST;
		return;
	}
	r->input = in.size;
	ok = wrap_module(&opt, path, &in, &w, &err);
	r->wrap = cpu_now() - start;
	if (!ok) {
		snprintf(r->why, sizeof(r->why), "%.255s", err.text);
		r->state = REFUSED;
	} else {
		r->stats = w.stats;
		r->wrapped = w.ko.size;
		r->manifest = w.manifest.size;
		check(path, &in, &w, r);
		wrap_result_free(&w);
	}
	blob_free(&in);
}

static void work(struct board *b, char **paths, unsigned n)
{
	for (;;) {
		unsigned i = __atomic_fetch_add(&b->next, 1, __ATOMIC_RELAXED);

		if (i >= n)
			return;
		alarm(TIMEOUT);
		one(paths[i], &b->result[i]);
		__atomic_fetch_add(&b->done, 1, __ATOMIC_RELAXED);
	}
}

static bool start_worker(struct board *b, char **paths, unsigned n)
{
	pid_t pid = fork();

	if (pid == 0) {
		work(b, paths, n);
		_exit(0);
	}
	return pid > 0;
}

/* A worker that dies left its module behind as crashed; another one goes on with the next. */
static long run(struct board *b, char **paths, unsigned n, unsigned jobs, double *cpu)
{
	bool tty = isatty(STDERR_FILENO);
	unsigned running = 0;
	long peak = 0;

	for (; running < jobs; running++)
		if (!start_worker(b, paths, n))
			return -1;
	while (running) {
		struct rusage usage;
		int status;
		pid_t pid = wait4(-1, &status, tty ? WNOHANG : 0, &usage);

		if (tty)
			fprintf(stderr, "\r%u of %u modules wrapped and checked", b->done, n);
		if (pid == 0) {
			usleep(200000);
			continue;
		}
		if (pid < 0)
			return -1;
		running--;
		peak += usage.ru_maxrss;
		*cpu += (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
			((double)usage.ru_utime.tv_usec + (double)usage.ru_stime.tv_usec) * 1e-6;
		if (status != 0 && b->next < n) {
			if (!start_worker(b, paths, n))
				return -1;
			running++;
		}
	}
	if (tty)
		fprintf(stderr, "\r\033[K");
	return peak;
}

static bool is_module(const char *name)
{
	const char *ko = strstr(name, ".ko");

	return ko && (!strcmp(ko, ".ko") || !strcmp(ko, ".ko.xz") || !strcmp(ko, ".ko.zst"));
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static char **find(char *dir, unsigned *n)
{
	char *const roots[] = { dir, NULL };
	FTS *fts = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, by_name);
	char **paths = NULL;
	const FTSENT *e;

	*n = 0;
	while (fts && (e = fts_read(fts)) != NULL) {
		if (e->fts_info != FTS_F || !is_module(e->fts_name))
			continue;
		if (*n % 256 == 0)
			paths = realloc(paths, (*n + 256) * sizeof(*paths));
		if (!paths)
			break;
		paths[(*n)++] = strdup(e->fts_path);
	}
	if (fts)
		fts_close(fts);
	return paths;
}

static void clean(char *text)
{
	for (; *text; text++)
		if (*text == '\t' || *text == '\n')
			*text = ' ';
}

static bool write_all(const char *path, const char *dir, struct board *b, char **paths, unsigned n)
{
	FILE *f = fopen(path, "w");

	if (!f)
		return false;
	fprintf(f, "module\tstate\tinput\twrapped\tmanifest\tcode\tinstructions\tentries\tgates\t"
		   "exits\tsites\tunwind_rows\traw_branches\tleaving\tinner\twrap_s\tcheck_s");
	for (int k = 0; k < CHECK_UNKNOWN; k++)
		fprintf(f, "\tproved_%s", check_keys[k]);
	fprintf(f, "\twhy\n");
	for (unsigned i = 0; i < n; i++) {
		struct result *r = &b->result[i];
		const struct wrap_stats *s = &r->stats;

		fprintf(f,
			"%s\t%s\t%llu\t%llu\t%llu\t%llu\t%llu\t%u\t%u\t%u\t%u\t%u\t%u\t%u\t%u\t"
			"%.6f\t%.6f",
			paths[i] + strlen(dir) + 1, state_names[r->state],
			(unsigned long long)r->input, (unsigned long long)r->wrapped,
			(unsigned long long)r->manifest, (unsigned long long)s->code,
			(unsigned long long)s->instructions, s->entries, s->gates, s->exits,
			s->sites, s->unwind_rows, s->raw_branches, s->leaving, s->inner, r->wrap,
			r->check);
		for (int k = 0; k < CHECK_UNKNOWN; k++)
			fprintf(f, "\t%llu", (unsigned long long)r->proved[k]);
		clean(r->why);
		fprintf(f, "\t%s\n", r->why);
	}
	return fclose(f) == 0;
}

int main(int argc, char **argv)
{
	unsigned n, jobs = 2, count[PROVED + 1] = { 0 };
	struct board *b;
	double start = now(), cpu = 0;
	size_t length;
	static char **paths; /* to the end */
	long peak;

	if (argc == 4)
		jobs = (unsigned)strtoul(argv[3], NULL, 10);
	if (argc < 3 || argc > 4 || jobs < 1 || jobs > MAX_JOBS) {
		fprintf(stderr, "usage: modules DIR OUT.tsv [JOBS]\n");
		return 2;
	}
	length = strlen(argv[1]);
	while (length > 1 && argv[1][length - 1] == '/')
		argv[1][--length] = 0;
	paths = find(argv[1], &n);
	if (!n) {
		fprintf(stderr, "modules: %s: no modules\n", argv[1]);
		return 2;
	}
	b = mmap(NULL, sizeof(*b) + n * sizeof(b->result[0]), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	peak = b == MAP_FAILED ? -1 : run(b, paths, n, jobs, &cpu);
	if (peak < 0 || !write_all(argv[2], argv[1], b, paths, n)) {
		fprintf(stderr, "modules: cannot start workers, or write %s\n", argv[2]);
		return 2;
	}
	for (unsigned i = 0; i < n; i++)
		count[b->result[i].state]++;
	/* workers at their largest, all at once: an upper bound */
	printf("modules\t%u\nproved\t%u\nrefused\t%u\nseconds\t%.2f\ncpu_seconds\t%.2f\njobs\t%u\n"
	       "peak_kb\t%ld\n",
	       n, count[PROVED], count[REFUSED], now() - start, cpu, jobs, peak);
	for (unsigned i = 0; i < n; i++)
		if (b->result[i].state != PROVED && b->result[i].state != REFUSED)
			fprintf(stderr, "modules: %s: %s: %s\n", paths[i],
				state_names[b->result[i].state], b->result[i].why);
	return count[PROVED] + count[REFUSED] == n ? 0 : 1;
}
