// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a file is, and playing it. Text and the scenarios' binary form say what they are; an input of the
 * target `core` is any bytes, so what is neither is taken for one, if it is short enough.
 */
#define _GNU_SOURCE /* dladdr */
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz/drivers/driver.h"
#include "fuzz/events/core.h"
#include "fuzz/find.h"
#include "scenario/scenario.h"

bool find_copy(const struct blob *in, struct blob *out)
{
	out->size = in->size;
	out->data = malloc(in->size ? in->size : 1);
	if (out->data && in->size)
		memcpy(out->data, in->data, in->size);
	return out->data != NULL;
}

bool find_cut(const struct blob *in, size_t from, size_t len, struct blob *out)
{
	if (from + len > in->size || !find_copy(in, out))
		return false;
	memmove(out->data + from, in->data + from + len, in->size - from - len);
	out->size -= len;
	return true;
}

bool find_less(unsigned value, unsigned way, unsigned *out)
{
	*out = way == 0 ? 0 : way == 1 ? value / 2 : value - 1;
	return value && (way == 0 || *out) && (way != 2 || *out != value / 2);
}

static bool begins(const struct blob *b, const char *with)
{
	return b->size >= strlen(with) && !memcmp(b->data, with, strlen(with));
}

/* Is this a text? Then a scenario's: an engine writes bytes of any kind. */
static bool is_text(const struct blob *b)
{
	bool letters = false;
	size_t odd = 0;

	for (size_t i = 0; i < b->size; i++) {
		uint8_t c = b->data[i];

		odd += (c < 0x20 && c != '\n' && c != '\t' && c != '\r') || c == 0x7f;
		letters |= c >= 'a' && c <= 'z';
	}
	/* A few printable bytes are no text yet: it has lines. A byte gone wrong leaves it one. */
	return letters && odd * 16 <= b->size && memchr(b->data, '\n', b->size);
}

static bool load_scenario(const char *path, const struct blob *file, struct find *f,
			  struct error *err)
{
	struct scenario *s = NULL;
	bool ok;

	f->target = &find_scenario;
	f->text = !begins(file, SCN_MAGIC);
	f->as = f->text ? "a scenario" : "a scenario in its binary form";
	ok = f->text ? scenario_parse(path, (const char *)file->data, file->size, &s, err)
		     : scenario_decode(path, file->data, file->size, &s, err);
	if (!ok)
		return false;
	if (!scenario_encode(s, &f->in))
		ok = error_set(err, "%s: out of memory", path);
	scenario_free(s);
	return ok;
}

static bool load_ko(const char *path, const struct blob *file, struct find *f, struct error *err)
{
	unsigned world;

	f->target = &find_ko;
	f->text = begins(file, FIND_KO_MAGIC);
	f->as = f->text ? "an input of the target ko, as text" : "an input of the target ko";
	if (f->text)
		return find_ko_parse(path, file, &f->in, err);
	if (!fk_world(file->data, file->size, &world) || file->size > FK_MAX_INPUT)
		return error_set(err,
				 "%s: no input of the target ko: " FK_MAGIC
				 ", a byte below %u, steps of %u bytes, %u bytes at most",
				 path, FK_WORLDS, FK_STEP, FK_MAX_INPUT);
	return find_copy(file, &f->in) || error_set(err, "%s: out of memory", path);
}

static bool load_core(const char *path, const struct blob *file, struct find *f, struct error *err)
{
	f->target = &find_core;
	f->text = begins(file, FIND_CORE_MAGIC);
	f->as = f->text ? "an input of the target core, as text" : "an input of the target core";
	if (f->text)
		return find_core_parse(path, file, &f->in, err);
	if (file->size > FC_MAX_INPUT)
		return error_set(err,
				 "%s: offset 0x%x: neither a scenario nor an input of the target "
				 "core, which has at most %u bytes",
				 path, FC_MAX_INPUT, FC_MAX_INPUT);
	return find_copy(file, &f->in) || error_set(err, "%s: out of memory", path);
}

bool find_load(const char *path, const char *target, struct find *f, struct error *err)
{
	struct blob file;
	bool scenario, ko, ok;

	memset(f, 0, sizeof(*f));
	if (!blob_read(&file, path, FIND_MAX_BYTES, err))
		return false;
	if (!file.size) {
		ok = error_set(err, "%s: offset 0x0: the file is empty", path);
	} else {
		ko = begins(&file, FK_MAGIC) || begins(&file, FIND_KO_MAGIC);
		scenario = begins(&file, SCN_MAGIC) ||
			   (!ko && !begins(&file, FIND_CORE_MAGIC) && is_text(&file));
		if (target) {
			scenario = !strcmp(target, find_scenario.name);
			ko = !strcmp(target, find_ko.name);
		} else {
			f->assumed = !ko && !scenario && !begins(&file, FIND_CORE_MAGIC);
		}
		ok = ko		? load_ko(path, &file, f, err)
		     : scenario ? load_scenario(path, &file, f, err)
				: load_core(path, &file, f, err);
	}
	blob_free(&file);
	if (!ok)
		find_free(f);
	return ok;
}

void find_free(struct find *f)
{
	blob_free(&f->in);
	memset(f, 0, sizeof(*f));
}

/* What both processes see. */
struct shared {
	struct find_report report;
	bool done, played;
	struct error err;
};

static struct shared *dying;

/*
 * Where it crashed: the innermost function that has a name, of the core's or of who calls it. Nothing here
 * is safe after a crash, but there is nothing left to lose either.
 */
static void on_crash(int sig)
{
	void *frame[32];
	int n = backtrace(frame, 32);
	Dl_info info;

	/* the first is this one, the second the signal's way here */
	for (int i = 2; i < n; i++)
		if (dladdr(frame[i], &info) && info.dli_sname) {
			snprintf(dying->report.site, sizeof(dying->report.site), "%s()",
				 info.dli_sname);
			break;
		}
	signal(sig, SIG_DFL);
	raise(sig);
}

static void watch_crashes(struct shared *s)
{
	static const int signals[] = { SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGABRT };
	static char stack[65536];
	struct sigaction sa = { .sa_handler = on_crash, .sa_flags = SA_ONSTACK };
	const stack_t other = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction was;
	void *frame[1];

	dying = s;
	backtrace(frame, 1); /* loads what it needs while that is possible */
	sigaltstack(&other, NULL);
	/* a sanitizer that is there already tells more */
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (!sigaction(signals[i], NULL, &was) && was.sa_handler == SIG_DFL)
			sigaction(signals[i], &sa, NULL);
}

static void child(const struct find_target *t, const struct blob *in,
		  const struct find_options *opt, FILE *log, struct shared *s)
{
	static const struct rlimit no_core = { 0, 0 };

	/* Ctrl-C is for who waits; an alarm ends what has no end. */
	signal(SIGINT, SIG_IGN);
	signal(SIGALRM, SIG_DFL);
	setrlimit(RLIMIT_CORE, &no_core);
	alarm(FIND_SECONDS);
	watch_crashes(s);
	setvbuf(log, NULL, _IOLBF, 0);
	s->played = t->play(in, opt, log, &s->report, &s->err);
	s->done = !fflush(log) || !s->played;
	_exit(0);
}

static void crashed(struct find_report *r, int status)
{
	size_t len;

	r->broken = true;
	r->guarantee = false;
	snprintf(r->id, sizeof(r->id), "crash");
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(r->what, sizeof(r->what), "crash: no end within %u seconds", FIND_SECONDS);
	else if (WIFSIGNALED(status))
		snprintf(r->what, sizeof(r->what), "crash: %s", strsignal(WTERMSIG(status)));
	else
		snprintf(r->what, sizeof(r->what), "crash: exit status %d", WEXITSTATUS(status));
	/* What was being judged came to no verdict: the last one is of another event. */
	snprintf(r->event, sizeof(r->event), "-");
	snprintf(r->verdict, sizeof(r->verdict), "-");
	len = strlen(r->what);
	if (r->site[0]) {
		snprintf(r->what + len, sizeof(r->what) - len, " in %s", r->site);
		snprintf(r->place, sizeof(r->place), "%s", r->site);
	}
}

bool find_play(const struct find_target *t, const struct blob *in, const struct find_options *opt,
	       FILE *log, struct find_report *r, struct error *err)
{
	struct shared *s =
		mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bool ok = true;
	int status = 0;
	pid_t pid;

	if (s == MAP_FAILED)
		return error_set(err, "out of memory");
	snprintf(s->report.event, sizeof(s->report.event), "-");
	snprintf(s->report.verdict, sizeof(s->report.verdict), "-");
	snprintf(s->report.place, sizeof(s->report.place), "-");
	fflush(NULL);
	pid = fork();
	if (!pid)
		child(t, in, opt, log, s);
	if (pid < 0) {
		munmap(s, sizeof(*s));
		return error_set(err, "cannot start a process to play in");
	}
	while (waitpid(pid, &status, 0) < 0)
		;
	*r = s->report;
	if (!s->done)
		crashed(r, status);
	else if (!s->played)
		ok = error_set(err, "%s", s->err.text);
	munmap(s, sizeof(*s));
	return ok;
}

bool find_same(const struct find_report *a, const struct find_report *b)
{
	return a->broken == b->broken && !strcmp(a->id, b->id) && !strcmp(a->event, b->event) &&
	       !strcmp(a->verdict, b->verdict) && !strcmp(a->site, b->site);
}

void find_key(const struct find_report *r, char *buf, size_t len)
{
	snprintf(buf, len, "%s/%s/%s/%s", r->id, r->event, r->verdict, r->place);
}
