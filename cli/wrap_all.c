// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many modules at once. Each worker is a process of its own, so that a module that kills it (or
 * takes for ever) costs that module alone: it is reported, and another worker goes on. Workers and
 * parent share one table: a worker takes the next number and fills in that record.
 */
#define _GNU_SOURCE /* nftw, asprintf */
#include "cli/wrap_all.h"

#include <errno.h>
#include <ftw.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/json.h"
#include "cli/progress.h"
#include "lib/unpack.h"

#define MAX_JOBS 64u
#define MODULE_SECONDS 120u /* amdgpu takes two; nothing may hang */

enum state { WAITING, STARTED, WRAPPED, REFUSED, DIED };

struct record {
	enum state state;
	uint64_t in, out, manifest; /* bytes */
	uint32_t microseconds;
	struct wrap_stats stats;
	char why[512];
};

struct shared {
	unsigned next; /* atomic */
	unsigned done; /* atomic */
	int current[MAX_JOBS];
	struct record records[];
};

struct names {
	char **path;
	off_t *size;
	size_t count, room;
};

static struct names found; /* nftw() has no argument for its callback */

bool wrap_read(struct blob *in, const char *path, struct error *err)
{
	return blob_read(in, path, MAX_MODULE_BYTES, err) &&
	       blob_unpack(in, path, MAX_MODULE_BYTES, err);
}

static bool ends(const char *s, const char *end)
{
	size_t n = strlen(s), k = strlen(end);

	return n > k && strcmp(s + n - k, end) == 0;
}

static int note(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)at;
	if (type != FTW_F || !S_ISREG(st->st_mode) ||
	    !(ends(path, ".ko") || ends(path, ".ko.xz") || ends(path, ".ko.zst")))
		return 0;
	if (found.count == found.room) {
		size_t room = found.room ? 2 * found.room : 1024;
		char **p = realloc(found.path, room * sizeof(*p));
		off_t *s = p ? realloc(found.size, room * sizeof(*s)) : NULL;

		if (p)
			found.path = p;
		if (!s)
			return ENOMEM;
		found.size = s;
		found.room = room;
	}
	found.path[found.count] = strdup(path);
	if (!found.path[found.count])
		return ENOMEM;
	found.size[found.count++] = st->st_size;
	return 0;
}

static void forget(void)
{
	while (found.count)
		free(found.path[--found.count]);
	free(found.path);
	free(found.size);
	found = (struct names){ 0 };
}

static int by_path(const void *a, const void *b)
{
	return strcmp(found.path[*(const uint32_t *)a], found.path[*(const uint32_t *)b]);
}

/* The largest first: whoever gets it last would work alone. */
static int by_size(const void *a, const void *b)
{
	off_t x = found.size[*(const uint32_t *)a], y = found.size[*(const uint32_t *)b];

	return x != y ? (x < y) - (x > y) : by_path(a, b);
}

/* "OUT/sub/dir/name" without ".ko*"; makes the folders. malloc'ed. */
static char *place_for(const char *input, const char *path, const char *output, struct error *err)
{
	const char *rel = path + strlen(input);
	char *at, *ko;

	while (*rel == '/')
		rel++;
	if (asprintf(&at, "%s/%s", output, rel) < 0) {
		error_set(err, "%s: out of memory", path);
		return NULL;
	}
	for (char *c = at + 1; *c; c++) {
		if (*c != '/')
			continue;
		*c = 0;
		if (mkdir(at, 0777) != 0 && errno != EEXIST) {
			error_set(err, "%s: cannot make the folder: %s", at, strerror(errno));
			free(at);
			return NULL;
		}
		*c = '/';
	}
	ko = strrchr(at, '/');
	ko = strstr(ko, ".ko");
	while (strstr(ko + 1, ".ko"))
		ko = strstr(ko + 1, ".ko");
	*ko = 0;
	return at;
}

static bool write_both(const struct wrap_result *r, const char *place, struct error *err)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s.manifest", place) >= (int)sizeof(path))
		return error_set(err, "%s: this path is too long", place);
	if (!blob_write(path, r->manifest.data, r->manifest.size, err))
		return false;
	snprintf(path, sizeof(path), "%s.ko", place);
	return blob_write(path, r->ko.data, r->ko.size, err);
}

static void work_on(const struct wrap_options *opt, const char *input, const char *path,
		    const char *output, struct record *rec)
{
	struct wrap_result r = { 0 };
	struct timespec a, b;
	struct blob in = { 0 };
	struct error err;
	char *place;
	bool ok;

	clock_gettime(CLOCK_MONOTONIC, &a);
	place = place_for(input, path, output, &err);
	ok = place && wrap_read(&in, path, &err);
	if (ok) {
		rec->in = in.size;
		ok = wrap_module(opt, path, &in, &r, &err);
	}
	if (ok) {
		rec->out = r.ko.size;
		rec->manifest = r.manifest.size;
		rec->stats = r.stats;
		ok = write_both(&r, place, &err);
		wrap_result_free(&r);
	}
	blob_free(&in);
	free(place);
	clock_gettime(CLOCK_MONOTONIC, &b);
	rec->microseconds =
		(uint32_t)((b.tv_sec - a.tv_sec) * 1000000 + b.tv_nsec / 1000 - a.tv_nsec / 1000);
	if (!ok)
		snprintf(rec->why, sizeof(rec->why), "%s", err.text);
	rec->state = ok ? WRAPPED : REFUSED;
}

static void worker(const struct wrap_options *opt, const char *input, const char *output,
		   struct shared *sh, unsigned self, const uint32_t *order)
{
	for (;;) {
		unsigned n = __atomic_fetch_add(&sh->next, 1, __ATOMIC_RELAXED);
		struct record *rec;

		if (n >= found.count)
			_exit(0);
		rec = &sh->records[order[n]];
		sh->current[self] = (int)order[n];
		rec->state = STARTED;
		alarm(MODULE_SECONDS);
		work_on(opt, input, found.path[order[n]], output, rec);
		alarm(0);
		sh->current[self] = -1;
		__atomic_fetch_add(&sh->done, 1, __ATOMIC_RELAXED);
	}
}

/* What the worker had in hand when it died. */
static void bury(struct shared *sh, unsigned w, int status)
{
	struct record *rec;

	if (sh->current[w] < 0)
		return;
	rec = &sh->records[sh->current[w]];
	rec->state = DIED;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(rec->why, sizeof(rec->why), "%s: offset 0x0: not done after %u s",
			 found.path[sh->current[w]], MODULE_SECONDS);
	else
		snprintf(rec->why, sizeof(rec->why), "%s: offset 0x0: the worker died (%s %d)",
			 found.path[sh->current[w]], WIFSIGNALED(status) ? "signal" : "status",
			 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	sh->current[w] = -1;
	__atomic_fetch_add(&sh->done, 1, __ATOMIC_RELAXED);
}

static bool run_workers(const struct wrap_options *opt, const char *input, const char *output,
			struct shared *sh, unsigned jobs, const uint32_t *order, struct error *err)
{
	const struct timespec nap = { 0, 20000000 };
	pid_t pid[MAX_JOBS] = { 0 };
	unsigned alive = 0;
	bool ok = true;

	for (;;) {
		char text[80];

		for (unsigned w = 0; w < jobs && ok && !interrupt_seen(); w++) {
			if (pid[w] || __atomic_load_n(&sh->next, __ATOMIC_RELAXED) >= found.count)
				continue;
			sh->current[w] = -1;
			fflush(NULL);
			pid[w] = fork();
			if (pid[w] == 0)
				worker(opt, input, output, sh, w, order);
			if (pid[w] < 0) {
				ok = error_set(err, "cannot start a worker: %s", strerror(errno));
				pid[w] = 0;
			} else {
				alive++;
			}
		}
		if (!alive)
			break;
		for (unsigned w = 0; w < jobs; w++) {
			int status;

			if (pid[w] && interrupt_seen())
				kill(pid[w], SIGKILL);
			if (!pid[w] || waitpid(pid[w], &status, WNOHANG) != pid[w])
				continue;
			if (!interrupt_seen())
				bury(sh, w, status);
			pid[w] = 0;
			alive--;
		}
		snprintf(text, sizeof(text), "wrapping: %u of %zu modules", sh->done, found.count);
		progress_set(text);
		nanosleep(&nap, NULL);
	}
	if (ok && interrupt_seen())
		ok = error_set(err, "%s: interrupted after %u of %zu modules", input, sh->done,
			       found.count);
	return ok;
}

struct totals {
	uint32_t wrapped, refused;
	uint64_t in, out, manifest;
	struct wrap_stats s;
};

static void add(struct totals *t, const struct record *r)
{
	if (r->state != WRAPPED) {
		t->refused++;
		return;
	}
	t->wrapped++;
	t->in += r->in;
	t->out += r->out;
	t->manifest += r->manifest;
	t->s.code += r->stats.code;
	t->s.instructions += r->stats.instructions;
	t->s.entries += r->stats.entries;
	t->s.gates += r->stats.gates;
	t->s.exits += r->stats.exits;
	t->s.sites += r->stats.sites;
	t->s.unwind_rows += r->stats.unwind_rows;
	t->s.raw_branches += r->stats.raw_branches;
	t->s.leaving += r->stats.leaving;
	t->s.inner += r->stats.inner;
}

static json_t *stats_json(const struct wrap_stats *s)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "code",
			 (json_int_t)s->code, "instructions", (json_int_t)s->instructions,
			 "entries", (json_int_t)s->entries, "gates", (json_int_t)s->gates, "exits",
			 (json_int_t)s->exits, "sites", (json_int_t)s->sites, "unwind_rows",
			 (json_int_t)s->unwind_rows, "raw_branches", (json_int_t)s->raw_branches,
			 "leaving_branches", (json_int_t)s->leaving, "inner_branches",
			 (json_int_t)s->inner);
}

static bool write_json(const struct shared *sh, const uint32_t *order, const struct totals *t,
		       double seconds, const char *path, struct error *err)
{
	json_t *modules = json_array(), *all;
	char *text;
	bool ok;

	for (size_t i = 0; i < found.count; i++) {
		const struct record *r = &sh->records[order[i]];
		json_t *o = json_object();

		json_object_set_new(o, "path", text_json(found.path[order[i]]));
		json_object_set_new(o, "wrapped", json_boolean(r->state == WRAPPED));
		if (r->state == WRAPPED) {
			json_object_set_new(o, "bytes", number_json(r->in));
			json_object_set_new(o, "wrapped_bytes", number_json(r->out));
			json_object_set_new(o, "manifest_bytes", number_json(r->manifest));
			json_object_set_new(o, "microseconds", number_json(r->microseconds));
			json_object_set_new(o, "stats", stats_json(&r->stats));
		} else {
			json_object_set_new(o, "why", text_json(r->why));
		}
		json_array_append_new(modules, o);
	}
	all = json_pack("{s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:o, s:o}", "modules",
			(json_int_t)found.count, "wrapped", (json_int_t)t->wrapped, "refused",
			(json_int_t)t->refused, "seconds", seconds, "bytes", (json_int_t)t->in,
			"wrapped_bytes", (json_int_t)t->out, "manifest_bytes",
			(json_int_t)t->manifest, "stats", stats_json(&t->s), "each", modules);
	text = all ? json_dumps(all, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
	ok = text ? blob_write(path, text, strlen(text), err)
		  : error_set(err, "%s: out of memory", path);
	free(text);
	json_decref(all);
	return ok;
}

static void print(const struct shared *sh, const uint32_t *order, const struct totals *t,
		  double seconds)
{
	struct rusage u;

	getrusage(RUSAGE_CHILDREN, &u);
	for (size_t i = 0; i < found.count; i++) {
		const struct record *r = &sh->records[order[i]];

		if (r->state != WRAPPED)
			printf("refused: %s\n", r->why);
	}
	printf("%zu modules: %u wrapped, %u refused, %.1f s (%.1f s of CPU), at most %ld MB each "
	       "worker\n",
	       found.count, t->wrapped, t->refused, seconds,
	       (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
		       ((double)u.ru_utime.tv_usec + (double)u.ru_stime.tv_usec) / 1e6,
	       u.ru_maxrss / 1024);
	printf("%.1f MB of code, %.1f million instructions; files %.1f MB -> %.1f MB, manifests "
	       "%.1f MB\n",
	       (double)t->s.code / 1e6, (double)t->s.instructions / 1e6, (double)t->in / 1e6,
	       (double)t->out / 1e6, (double)t->manifest / 1e6);
	printf("%u gates: %u entries, %u exits; %u patch sites; %u unwind rows; %u raw branches\n",
	       t->s.gates, t->s.entries, t->s.exits, t->s.sites, t->s.unwind_rows,
	       t->s.raw_branches);
	printf("%u branches leave; %u more would without inner copies\n", t->s.leaving, t->s.inner);
}

static bool wrap_found(const struct wrap_options *opt, const char *input, const char *output,
		       unsigned jobs, const char *json, struct error *err)
{
	size_t bytes = sizeof(struct shared) + found.count * sizeof(struct record);
	uint32_t *order = calloc(found.count, sizeof(*order));
	struct totals t = { 0 };
	struct timespec a, b;
	struct shared *sh;
	double seconds;
	bool ok;

	sh = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!order || sh == MAP_FAILED) {
		free(order);
		return error_set(err, "%s: out of memory for %zu modules", input, found.count);
	}
	for (uint32_t i = 0; i < found.count; i++)
		order[i] = i;
	qsort(order, found.count, sizeof(*order), by_size);
	clock_gettime(CLOCK_MONOTONIC, &a);
	interrupt_catch();
	progress_start("wrapping");
	ok = run_workers(opt, input, output, sh, jobs, order, err);
	progress_stop();
	clock_gettime(CLOCK_MONOTONIC, &b);
	seconds = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	qsort(order, found.count, sizeof(*order), by_path);
	for (size_t i = 0; i < found.count && ok; i++)
		add(&t, &sh->records[i]);
	if (ok)
		print(sh, order, &t, seconds);
	if (ok && json)
		ok = write_json(sh, order, &t, seconds, json, err);
	free(order);
	munmap(sh, bytes);
	return ok;
}

bool wrap_all(const struct wrap_options *opt, const char *input, const char *output, unsigned jobs,
	      const char *json, struct error *err)
{
	char *in = realpath(input, NULL), *out;
	int failed;
	bool ok;

	if (!in)
		return error_set(err, "%s: %s", input, strerror(errno));
	if (mkdir(output, 0777) != 0 && errno != EEXIST) {
		free(in);
		return error_set(err, "%s: cannot make the folder: %s", output, strerror(errno));
	}
	out = realpath(output, NULL);
	if (!out || strncmp(out, in, strlen(in)) == 0) {
		ok = error_set(err, "%s: must not lie in %s", output, input);
		goto done;
	}
	failed = nftw(in, note, 32, FTW_PHYS);
	if (failed)
		ok = error_set(err, "%s: %s", input, strerror(failed > 0 ? failed : errno));
	else if (!found.count)
		ok = error_set(err, "%s: no .ko, .ko.xz or .ko.zst in it", input);
	else
		ok = wrap_found(opt, in, out, jobs < MAX_JOBS ? jobs : MAX_JOBS, json, err);
	forget();
done:
	free(in);
	free(out);
	return ok;
}
