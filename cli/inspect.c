/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guardhouse inspect: what a file is to the guard, for a person who decides whether to trust it. A
 * module, wrapped or not, a manifest (binary or JSON), a binding: the first bytes say which.
 */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/json.h"
#include "cli/options.h"
#include "cli/show.h"
#include "cli/verbs.h"
#include "lib/unpack.h"
#include "wrap/binding.h"
#include "wrap/report.h"

#define MAX_INPUT_BYTES (256u << 20)

static void help(void)
{
	printf("usage: guardhouse inspect FILE [OPTION]...\n\n"
	       "FILE is a kernel module, a wrapped module, a manifest (binary or JSON) or a binding.\n"
	       "For a module: entries with their source, exits by function and count, indirect\n"
	       "branches, patch sites, sizes; or why it would be refused (exit 2).\n\n"
	       "      --json           the same as JSON; for a manifest, its whole content\n"
	       "      --binary FILE    from a manifest in JSON, write the binary one\n"
	       "      --private SECTION  as for wrap\n");
}

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static long long num(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static void print_segments(const json_t *report)
{
	const json_t *s, *c;
	size_t i, k;

	printf("segments\n");
	json_array_foreach(json_object_get(report, "segments"), i, s)
	{
		printf("  0x%06llx %8lld %-12s", num(s, "start"), num(s, "size"), str(s, "kind"));
		json_array_foreach(json_object_get(s, "sections"), k, c)
			printf(" %s", str(c, "name"));
		printf("\n");
	}
}

static void print_places(const char *title, const json_t *list)
{
	const json_t *p;
	size_t i;

	printf("%s (%zu)\n", title, json_array_size(list));
	json_array_foreach(list, i, p)
	{
		if (json_is_string(p))
			printf("  %s\n", json_string_value(p));
		else
			printf("  %-8s%s%s%s\n", str(p, "kind"), str(p, "place"),
			       *str(p, "target") ? " -> " : "", str(p, "target"));
	}
}

static void print_module(const char *path, const json_t *r)
{
	const json_t *sizes = json_object_get(r, "sizes"), *t = json_object_get(r, "thunks");
	const json_t *e;
	size_t i;

	printf("%s: module %s%s: %lld bytes of code, %lld instructions, %lld gates\n", path,
	       str(r, "name"),
	       json_is_true(json_object_get(r, "linux")) ? "" : " (no Linux module)",
	       num(sizes, "code"), num(sizes, "instructions"), num(sizes, "gates"));
	print_segments(r);
	printf("entries (%zu): name, headroom, whose address is taken where\n",
	       json_array_size(json_object_get(r, "entries")));
	json_array_foreach(json_object_get(r, "entries"), i, e)
		printf("  %-40s %5lld  %s%s%s%s\n", str(e, "name"), num(e, "headroom"),
		       str(e, "source"), json_is_true(json_object_get(e, "init")) ? " init" : "",
		       json_is_true(json_object_get(e, "exit")) ? " exit" : "",
		       json_is_true(json_object_get(e, "init_call")) ? " during-init" : "");
	printf("exits (%zu): import, calls, jumps, uses as data\n",
	       json_array_size(json_object_get(r, "exits")));
	json_array_foreach(json_object_get(r, "exits"), i, e)
		printf("  %-40s %5lld %5lld %5lld\n", str(e, "import"), num(e, "calls"),
		       num(e, "jumps"), num(e, "data"));
	printf("inner copies (%zu): import, calls and jumps that need no crossing\n",
	       json_array_size(json_object_get(r, "inner_copies")));
	json_array_foreach(json_object_get(r, "inner_copies"), i, e)
		printf("  %-40s %5lld %5lld\n", str(e, "import"), num(e, "calls"), num(e, "jumps"));
	printf("thunks: %lld calls, %lld jumps by register, %lld returns, %lld of __fentry__\n",
	       num(t, "calls"), num(t, "jumps"), num(t, "returns"), num(t, "fentry"));
	print_places("indirect branches that stay raw", json_object_get(r, "raw_branches"));
	print_places("sites that are patched, at load or run time", json_object_get(r, "sites"));
	print_places("fixups", json_object_get(r, "fixups"));
	print_places("crossing instructions of its own", json_object_get(r, "own_crossings"));
}

static void print_wrapped(const char *path, const json_t *r)
{
	const json_t *g;
	size_t i;

	printf("%s: wrapped module\ngates (%zu): offset, kind, X at, target\n", path,
	       json_array_size(json_object_get(r, "gates")));
	json_array_foreach(json_object_get(r, "gates"), i, g)
		printf("  0x%05llx %-15s %lld  %s\n", num(g, "offset"), str(g, "kind"), num(g, "x"),
		       str(g, "target"));
}

static void print_manifest(const char *path, const json_t *r)
{
	static const char *const counts[] = { "gates", "entries",      "imports",     "relocations",
					      "sites", "return_sites", "unwind_rows", "fixups" };
	const json_t *p;
	size_t i;

	printf("%s: manifest of %s\n  sha256 %s\n", path, str(r, "name"), str(r, "sha256"));
	print_segments(r);
	for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		printf("  %6lld %s\n", num(r, counts[i]), counts[i]);
	printf("asks for:");
	json_array_foreach(json_object_get(r, "privileges"), i, p)
		printf(" %s", json_string_value(p));
	printf("\n");
}

/*
 * A report is made under a name that JSON can hold, whatever bytes the path has. For people, and in
 * errors, it is the path again.
 */
struct subject {
	const char *path, *name;
};

static int failed(const struct subject *s, struct error *err)
{
	struct error rest = *err;
	size_t len = strlen(s->name);

	if (strncmp(rest.text, s->name, len) == 0)
		error_set(err, "%s%s", s->path, rest.text + len);
	return verb_error("inspect", err);
}

static int print(const struct subject *s, json_t *report, struct error *err, bool as_json,
		 void (*as_text)(const char *path, const json_t *))
{
	char *text;

	if (!report)
		return failed(s, err);
	text = as_json ? json_dumps(report, JSON_INDENT(2)) : NULL;
	if (text)
		puts(text);
	else
		as_text(s->path, report);
	free(text);
	json_decref(report);
	return EXIT_EXPECTED;
}

static int inspect_json(const struct subject *s, const struct blob *in, const char *binary)
{
	struct blob manifest;
	struct error err;
	json_t *report;

	if (!manifest_from_json(s->path, (const char *)in->data, in->size, &manifest, &err))
		return verb_error("inspect", &err);
	if (binary && !blob_write(binary, manifest.data, manifest.size, &err)) {
		blob_free(&manifest);
		return verb_error("inspect", &err);
	}
	report = report_manifest(s->name, &manifest, &err);
	blob_free(&manifest);
	return print(s, report, &err, false, print_manifest);
}

static int inspect_manifest(const struct subject *s, const struct blob *in, bool as_json)
{
	struct error err;
	char *text;

	if (!as_json)
		return print(s, report_manifest(s->name, in, &err), &err, false, print_manifest);
	if (!manifest_to_json(s->path, in, &text, &err))
		return verb_error("inspect", &err);
	fputs(text, stdout);
	free(text);
	return EXIT_EXPECTED;
}

static bool starts(const struct blob *in, const char *magic)
{
	return in->size >= strlen(magic) && memcmp(in->data, magic, strlen(magic)) == 0;
}

static int inspect_as(const struct subject *s, const struct blob *in,
		      const struct wrap_options *opt, bool as_json, const char *binary)
{
	struct error err = { "" };
	struct guard_binding b;

	if (starts(in, "GHBIND"))
		return binding_peek(s->path, in, &b, &err)
			       ? show_binding(s->path, &b, false, NULL, as_json)
			       : verb_error("inspect", &err);
	if (starts(in, "GHMANIF"))
		return inspect_manifest(s, in, as_json);
	if (starts(in, "{"))
		return inspect_json(s, in, binary);
	if (report_is_wrapped(s->path, in))
		return print(s, report_wrapped(s->name, in, &err), &err, as_json, print_wrapped);
	return print(s, report_module(opt, s->name, in, &err), &err, as_json, print_module);
}

static int inspect(const char *path, const struct blob *in, const struct wrap_options *opt,
		   bool as_json, const char *binary)
{
	json_t *name = text_json(path);
	const struct subject s = { path, name ? json_string_value(name) : "?" };
	int rc = inspect_as(&s, in, opt, as_json, binary);

	json_decref(name);
	return rc;
}

int verb_inspect(int argc, char **argv)
{
	enum { OPT_JSON = 256, OPT_BINARY, OPT_PRIVATE, OPT_HELP };
	static const struct option options[] = {
		{ "json", no_argument, NULL, OPT_JSON },
		{ "binary", required_argument, NULL, OPT_BINARY },
		{ "private", required_argument, NULL, OPT_PRIVATE },
		{ "help", no_argument, NULL, OPT_HELP },
		{ NULL, 0, NULL, 0 },
	};
	const char *private_section, *binary = NULL, *paths[2];
	struct wrap_options opt = { .private_sections = &private_section };
	struct error err;
	struct blob in;
	bool json = false;
	int c, rc;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case OPT_JSON: json = true; break;
		case OPT_BINARY: binary = optarg; break;
		case OPT_PRIVATE:
			private_section = optarg;
			opt.private_count = 1;
			break;
		case 'h':
		case OPT_HELP: help(); return EXIT_EXPECTED;
		default:
			return verb_usage("inspect", "%s: unknown, or without its argument",
					  argv[optind - 1]);
		}
	}
	if (optind + 1 != argc)
		return verb_usage("inspect", "one file was expected");
	paths[0] = argv[optind];
	paths[1] = binary;
	if (!option_outputs(paths, 1, 2, &err) ||
	    !blob_read(&in, argv[optind], MAX_INPUT_BYTES, &err) ||
	    !blob_unpack(&in, argv[optind], MAX_INPUT_BYTES, &err))
		return verb_error("inspect", &err);
	rc = inspect(argv[optind], &in, &opt, json, binary);
	blob_free(&in);
	return rc;
}
