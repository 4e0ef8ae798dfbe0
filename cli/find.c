/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guardhouse replay, minimize, explain: what to do with a find of a fuzzer's, or with any scenario.
 * What a file is, its content says (fuzz/find.h).
 */
#include "cli/find.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/corpus.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/verbs.h"

struct options {
	const char *verb, *file, *target, *out, *log;
	struct find_options play;
	char corpus[CORPUS_PATH];
	bool json;
};

#define COMMON_HELP                                                                                         \
	"FILE is a scenario (text or binary), or an input of the fuzz target `core` or `ko` (bytes as an\n" \
	"engine wrote them, or text). Content tells; bytes of no known form are taken for the\n"            \
	"latter (docs/fuzzing.md, \"A find\").\n\n"                                                         \
	"  --target T    take FILE for this: scenario, core or ko\n"                                        \
	"  --seed S      of a scenario: schedule of the vCPUs (default 1)\n"                                \
	"  --guarantees  the reference model is not asked\n"

static void help_replay(void)
{
	printf("usage: guardhouse replay FILE [OPTION]...\n\n"
	       "Plays a find, prints the verdict log and what breaks. Exit code 1: something breaks.\n" COMMON_HELP
	       "  --log FILE    the verdict log goes there, not to standard output\n"
	       "  --json        report in JSON\n");
}

static void help_explain(void)
{
	printf("usage: guardhouse explain FILE [OPTION]...\n\n"
	       "Plays a find and tells it in words: each step, each verdict, the stack around it; of a\n"
	       "scenario the code, too. Exit code 1: something breaks.\n" COMMON_HELP);
}

static void help_minimize(void)
{
	printf("usage: guardhouse minimize FILE [-o OUT] [OPTION]...\n\n"
	       "Leaves out steps and makes operands smaller as long as the same guarantee breaks with the\n"
	       "same event and verdict. OUT (FILE.min) has the form that FILE has. Ctrl-C: the best so far.\n" COMMON_HELP
	       "  --json        report in JSON\n");
}

enum { OPT_TARGET = 256, OPT_SEED, OPT_GUARANTEES, OPT_LOG, OPT_JSON };

/* -1: go on; else the exit code. */
static int parse(int argc, char **argv, struct options *o, void (*help)(void))
{
	static const struct option options[] = {
		{ "target", required_argument, NULL, OPT_TARGET },
		{ "seed", required_argument, NULL, OPT_SEED },
		{ "guarantees", no_argument, NULL, OPT_GUARANTEES },
		{ "log", required_argument, NULL, OPT_LOG },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	bool replay = !strcmp(o->verb, "replay"), minimize = !strcmp(o->verb, "minimize");
	int c;

	opterr = 0;
	o->play.seed = 1;
	while ((c = getopt_long(argc, argv, ":ho:", options, NULL)) != -1) {
		switch (c) {
		case OPT_TARGET:
			if (!find_target_known(optarg))
				return verb_usage(o->verb, "--target %s: scenario, core or ko",
						  optarg);
			o->target = optarg;
			break;
		case OPT_SEED:
			if (!option_number(optarg, UINT64_MAX, &o->play.seed))
				return verb_usage(o->verb, "--seed %s: not a number", optarg);
			break;
		case OPT_GUARANTEES: o->play.guarantees = true; break;
		case OPT_LOG:
			if (!replay)
				return verb_usage(o->verb, "--log goes with replay");
			o->log = optarg;
			break;
		case OPT_JSON:
			if (!replay && !minimize)
				return verb_usage(o->verb, "--json goes with replay and minimize");
			o->json = true;
			break;
		case 'o':
			if (!minimize)
				return verb_usage(o->verb, "-o goes with minimize");
			o->out = optarg;
			break;
		case 'h': help(); return EXIT_EXPECTED;
		case ':': return verb_usage(o->verb, "%s needs a value", argv[optind - 1]);
		default: return verb_usage(o->verb, "no option %s", argv[optind - 1]);
		}
	}
	if (optind == argc)
		return verb_usage(o->verb, "which file?");
	if (optind + 1 < argc)
		return verb_usage(o->verb, "one file only, not also %s", argv[optind + 1]);
	o->file = argv[optind];
	o->play.name = o->file;
	return -1;
}

bool find_target_known(const char *name)
{
	return !strcmp(name, find_scenario.name) || !strcmp(name, find_core.name) ||
	       !strcmp(name, find_ko.name);
}

void find_say_kind(const char *verb, const char *file, const struct find *f)
{
	if (f->assumed)
		fprintf(stderr, "guardhouse %s: %s: taken for %s, as it is nothing else\n", verb,
			file, f->as);
}

/* The file, and where scenarios find the puppet. */
static bool open_find(struct options *o, struct find *f, struct error *err)
{
	const char *const paths[] = { o->file, o->out, o->log };

	if (!option_outputs(paths, 1, 3, err))
		return false;
	for (unsigned i = 1; i < 3; i++)
		if (paths[i] && !blob_writable(paths[i], err))
			return false;
	if (!find_load(o->file, o->target, f, err))
		return false;
	o->play.corpus = o->corpus;
	if (f->target == &find_scenario && !corpus_folder("puppet/puppet.elf", o->corpus, err)) {
		find_free(f);
		return false;
	}
	find_say_kind(o->verb, o->file, f);
	interrupt_catch();
	return true;
}

/* All that is in a temporary file. */
static bool slurp(FILE *f, struct blob *b)
{
	long size;

	memset(b, 0, sizeof(*b));
	if (fseek(f, 0, SEEK_END) || (size = ftell(f)) < 0 || fseek(f, 0, SEEK_SET))
		return false;
	b->data = malloc((size_t)size + 1);
	if (!b->data || fread(b->data, 1, (size_t)size, f) != (size_t)size) {
		blob_free(b);
		return false;
	}
	b->size = (size_t)size;
	return true;
}

static bool play(const struct options *o, const struct find *f, struct find_report *r,
		 struct blob *log, struct error *err)
{
	FILE *tmp = tmpfile();
	bool ok;

	memset(log, 0, sizeof(*log));
	if (!tmp)
		return error_set(err, "no temporary file can be made");
	progress_start("it plays (Ctrl-C ends it)");
	ok = find_play(f->target, &f->in, &o->play, tmp, r, err);
	progress_stop();
	if (ok && !slurp(tmp, log))
		ok = error_set(err, "the verdict log is lost");
	fclose(tmp);
	return ok;
}

static void say(const struct options *o, const struct find_report *r)
{
	char key[256];

	if (r->note[0])
		printf("note: %s\n", r->note);
	if (!r->broken) {
		printf("--- %s: nothing breaks (%u verdicts)\n", o->file, r->lines);
		return;
	}
	find_key(r, key, sizeof(key));
	printf("--- %s: %s\n    at %s %s, %s\n    key %s\n", o->file, r->what, r->event, r->verdict,
	       r->place, key);
}

static json_t *report_json(const struct options *o, const struct find *f,
			   const struct find_report *r)
{
	char key[256];

	find_key(r, key, sizeof(key));
	return json_pack("{s:o, s:s, s:b, s:i, s:i, s:b, s:b, s:o, s:s, s:s, s:o, s:o, s:o}",
			 "input", text_json(o->file), "target", f->target->name, "assumed",
			 f->assumed, "steps", (int)f->target->steps(&f->in), "verdicts",
			 (int)r->lines, "broken", r->broken, "guarantee", r->guarantee, "what",
			 text_json(r->what), "event", r->event, "verdict", r->verdict, "place",
			 text_json(r->place), "key", text_json(r->broken ? key : ""), "note",
			 text_json(r->note));
}

static int print_json(const char *verb, json_t *j)
{
	char *text = j ? json_dumps(j, JSON_INDENT(2) | JSON_ENSURE_ASCII) : NULL;

	json_decref(j);
	if (!text) {
		fprintf(stderr, "guardhouse %s: out of memory\n", verb);
		return EXIT_USAGE;
	}
	puts(text);
	free(text);
	return EXIT_EXPECTED;
}

static json_t *log_json(const struct blob *log)
{
	json_t *lines = json_array();
	char *at = (char *)log->data, *end;

	for (; at && (end = memchr(at, '\n', log->size - (size_t)(at - (char *)log->data)));
	     at = end + 1) {
		*end = '\0';
		json_array_append_new(lines, text_json(at));
	}
	return lines;
}

/* ---- replay, explain ---- */

static int show(struct options *o)
{
	struct find_report r = { 0 };
	struct find f = { 0 };
	struct blob log = { 0 };
	struct error err;
	int status = EXIT_USAGE;

	if (!open_find(o, &f, &err) || !play(o, &f, &r, &log, &err) ||
	    (o->log && !blob_write(o->log, log.data, log.size, &err))) {
		verb_error(o->verb, &err);
		goto out;
	}
	status = r.broken ? EXIT_VIOLATION : EXIT_EXPECTED;
	if (o->json) {
		json_t *j = report_json(o, &f, &r);

		json_object_set_new(j, "log", log_json(&log));
		if (print_json(o->verb, j) != EXIT_EXPECTED)
			status = EXIT_USAGE;
	} else {
		if (!o->log)
			fwrite(log.data, 1, log.size, stdout);
		say(o, &r);
	}
out:
	blob_free(&log);
	find_free(&f);
	return status;
}

int verb_replay(int argc, char **argv)
{
	struct options o = { .verb = "replay" };
	int status = parse(argc, argv, &o, help_replay);

	return status < 0 ? show(&o) : status;
}

int verb_explain(int argc, char **argv)
{
	struct options o = { .verb = "explain", .play.story = true };
	int status = parse(argc, argv, &o, help_explain);

	return status < 0 ? show(&o) : status;
}

/* ---- minimize ---- */

static bool go_on(void *ctx, unsigned tries, unsigned steps)
{
	char text[80];

	(void)ctx;
	snprintf(text, sizeof(text), "%u steps after %u tries (Ctrl-C: the best so far)", steps,
		 tries);
	progress_set(text);
	return !interrupt_seen();
}

static bool write_find(const char *path, const struct find *f, struct error *err)
{
	char *text;
	bool ok;

	if (!f->text)
		return blob_write(path, f->in.data, f->in.size, err);
	text = f->target->print(&f->in);
	ok = text ? blob_write(path, text, strlen(text), err) : error_set(err, "out of memory");
	free(text);
	return ok;
}

static int minimize(struct options *o)
{
	struct find_minimize m = { .go_on = go_on };
	struct find f = { 0 };
	unsigned before;
	struct error err;
	bool ok;

	if (!open_find(o, &f, &err))
		return verb_error(o->verb, &err);
	before = f.target->steps(&f.in);
	progress_start("minimizes");
	ok = find_minimize(f.target, &f.in, &o->play, &m, &err);
	progress_stop();
	ok = ok && write_find(o->out, &f, &err);
	if (!ok) {
		verb_error(o->verb, &err);
	} else if (o->json) {
		json_t *j = report_json(o, &f, &m.report);

		json_object_set_new(j, "output", text_json(o->out));
		json_object_set_new(j, "steps_before", json_integer((json_int_t)before));
		json_object_set_new(j, "tries", json_integer((json_int_t)m.tries));
		ok = print_json(o->verb, j) == EXIT_EXPECTED;
	} else {
		printf("%s: %u steps of %u are left%s (%u tries)\n", o->out, f.target->steps(&f.in),
		       before, interrupt_seen() ? ", interrupted" : "", m.tries);
		say(o, &m.report);
	}
	find_free(&f);
	return ok ? EXIT_EXPECTED : EXIT_USAGE;
}

int verb_minimize(int argc, char **argv)
{
	struct options o = { .verb = "minimize" };
	char path[CORPUS_PATH];
	int status = parse(argc, argv, &o, help_minimize);

	if (status >= 0)
		return status;
	if (!o.out) {
		snprintf(path, sizeof(path), "%s.min", o.file);
		o.out = path;
	}
	return minimize(&o);
}
