/* SPDX-License-Identifier: GPL-2.0-only */
/* guardhouse check: is a wrapped module what it claims to be? For who does not trust the tool. */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "check/check.h"
#include "cli/entry_list.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/verbs.h"
#include "lib/unpack.h"

#define MAX_FILE_BYTES (256u << 20)
#define MAX_LINES 20u /* of one kind of note, without --json */

static void help(void)
{
	printf("usage: guardhouse check ORIGINAL WRAPPED MANIFEST [OPTION]...\n\n"
	       "Compares a module, its wrapped form and its manifest, without any of the code that\n"
	       "wraps. Prints what was proved, by class with counts, and what was not.\n"
	       "ORIGINAL may be compressed (.ko.xz, .ko.zst).\n"
	       "Exit codes: 0 proved, 1 a fault was found, 2 bad input.\n\n"
	       "      --entries FILE  the functions that the module was wrapped with as its entries;\n"
	       "                      proves that it has these, init and exit, and no other\n"
	       "      --json          the same as JSON\n");
}

static const char *const note_titles[CHECK_NOTES] = {
	[CHECK_NOTE_CROSSING] = "bytes of a crossing instruction outside of gates (no crossings)",
	[CHECK_NOTE_RAW] = "indirect branches that stay raw",
	[CHECK_NOTE_PRIVATE] = "sections that become private memory",
	[CHECK_NOTE_ASKS] = "the module asks for",
	[CHECK_NOTE_UNPROVED] = "not proved",
};

static void print_notes(const struct check_report *r, enum check_note_kind kind)
{
	unsigned shown = 0;

	if (!r->notes[kind])
		return;
	printf("%s (%llu)\n", note_titles[kind], (unsigned long long)r->notes[kind]);
	for (uint32_t i = 0; i < r->stored_notes && shown < MAX_LINES; i++)
		if (r->note[i].kind == kind) {
			printf("  %s\n", r->note[i].text);
			shown++;
		}
	if (r->notes[kind] > shown)
		printf("  ... and %llu more\n", (unsigned long long)(r->notes[kind] - shown));
}

static int print_report(const char *wrapped, const struct check_report *r)
{
	printf("%s: %s\nproved\n", wrapped, r->faults ? "FAULTS FOUND" : "proved");
	for (int i = 0; i < CHECK_UNKNOWN; i++)
		if (r->proved[i])
			printf("  %9llu  %s\n", (unsigned long long)r->proved[i], check_texts[i]);
	for (int k = 0; k < CHECK_NOTES; k++)
		print_notes(r, (enum check_note_kind)k);
	if (!r->faults)
		return EXIT_EXPECTED;
	printf("faults (%llu)\n", (unsigned long long)r->faults);
	for (uint32_t i = 0; i < r->stored_faults; i++)
		printf("  %s: %s\n", check_keys[r->fault[i].class], r->fault[i].text);
	if (r->faults > r->stored_faults)
		printf("  ... and %llu more\n", (unsigned long long)(r->faults - r->stored_faults));
	return EXIT_VIOLATION;
}

static json_t *faults_json(const struct check_report *r)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < r->stored_faults; i++)
		json_array_append_new(list, json_pack("{s:s, s:o}", "class",
						      check_keys[r->fault[i].class], "text",
						      text_json(r->fault[i].text)));
	return list;
}

static json_t *notes_json(const struct check_report *r, enum check_note_kind kind)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < r->stored_notes; i++)
		if (r->note[i].kind == kind)
			json_array_append_new(list, text_json(r->note[i].text));
	return list;
}

static json_t *labels_json(const struct check_report *r)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < r->stored_labels; i++)
		json_array_append_new(
			list, json_pack("{s:i, s:i, s:s}", "offset", (int)r->label[i].offset,
					"size", (int)r->label[i].size, "why", r->label[i].why));
	return list;
}

static int print_json(const char *wrapped, const struct check_report *r)
{
	json_t *root = json_object(), *proved = json_object();
	char digest[65], *text;

	for (int i = 0; i < 32; i++)
		snprintf(digest + 2 * (size_t)i, 3, "%02x", r->digest[i]);
	for (int i = 0; i < CHECK_UNKNOWN; i++)
		json_object_set_new(proved, check_keys[i], number_json(r->proved[i]));
	json_object_set_new(root, "file", text_json(wrapped));
	json_object_set_new(root, "manifest_sha256", json_string(digest));
	json_object_set_new(root, "proved", proved);
	json_object_set_new(root, "faults", number_json(r->faults));
	json_object_set_new(root, "fault", faults_json(r));
	for (int k = 0; k < CHECK_NOTES; k++)
		json_object_set_new(root, check_note_keys[k],
				    notes_json(r, (enum check_note_kind)k));
	json_object_set_new(root, "labels", labels_json(r));
	text = json_dumps(root, JSON_INDENT(2));
	json_decref(root);
	if (!text) {
		fprintf(stderr, "guardhouse check: out of memory\n");
		return EXIT_USAGE;
	}
	puts(text);
	free(text);
	return r->faults ? EXIT_VIOLATION : EXIT_EXPECTED;
}

static int check(const char *const path[3], const struct check_options *opt, bool as_json)
{
	struct blob blob[3] = { { 0 } };
	struct check_file file[3];
	struct check_report report;
	struct error err;
	int rc, n = 0;

	/* the original may be as a distribution ships it: .ko.xz, .ko.zst */
	while (n < 3 && blob_read(&blob[n], path[n], MAX_FILE_BYTES, &err) &&
	       blob_unpack(&blob[n], path[n], MAX_FILE_BYTES, &err)) {
		file[n] = (struct check_file){ path[n], &blob[n] };
		n++;
	}
	if (n < 3) {
		rc = verb_error("check", &err);
	} else if (!check_module(&file[0], &file[1], &file[2], opt, &report, &err)) {
		rc = verb_error("check", &err);
		check_report_free(&report);
	} else {
		rc = as_json ? print_json(path[1], &report) : print_report(path[1], &report);
		check_report_free(&report);
	}
	while (n > 0)
		blob_free(&blob[--n]);
	return rc;
}

int verb_check(int argc, char **argv)
{
	enum { OPT_JSON = 256, OPT_ENTRIES };
	static const struct option options[] = {
		{ "entries", required_argument, NULL, OPT_ENTRIES },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *entries = NULL;
	struct check_options opt = { 0 };
	struct entry_list list = { 0 };
	struct error err;
	bool json = false;
	int c, rc;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case OPT_ENTRIES: entries = optarg; break;
		case OPT_JSON: json = true; break;
		case 'h': help(); return EXIT_EXPECTED;
		default:
			return verb_usage("check", "%s: unknown, or without its argument",
					  argv[optind - 1]);
		}
	}
	if (optind + 3 != argc)
		return verb_usage("check", "expected: ORIGINAL WRAPPED MANIFEST");
	if (entries && !entry_list_read(&list, entries, &err))
		return verb_error("check", &err);
	opt.entries = list.names;
	opt.entries_count = list.count;
	rc = check((const char *const[3]){ argv[optind], argv[optind + 1], argv[optind + 2] }, &opt,
		   json);
	entry_list_free(&list);
	return rc;
}
