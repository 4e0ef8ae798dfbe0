/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guardhouse export: a find in another form. As text or bytes both kinds of inputs, as a C guest a
 * scenario alone: the steps of a core input are events, and no instruction makes just those.
 */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/corpus.h"
#include "cli/find.h"
#include "cli/options.h"
#include "cli/verbs.h"
#include "scenario/scenario.h"
#include "vmm/engine.h"

enum form { FORM_NONE, FORM_C, FORM_TEXT, FORM_BINARY };

static void help(void)
{
	printf("usage: guardhouse export FILE --c|--text|--binary [-o OUT] [--target scenario|core|ko]\n\n"
	       "Writes a scenario or an input of the targets `core`, `ko` in another form, to standard\n"
	       "output or OUT (docs/fuzzing.md, \"A find\").\n\n"
	       "  --c           a scenario as a guest in C, for any engine: make exported C=OUT ELF=...\n"
	       "                Refused: acts of the administrator, and what no guest can ask for\n"
	       "  --text        as text, without loss\n"
	       "  --binary      as the bytes that fuzzers mutate, without loss\n");
}

static bool as_c(const char *path, const struct find *f, char **text, size_t *size,
		 struct error *err)
{
	struct scenario_options so = {
		.engine = &sim_engine,
		.seed = 1,
		.x = (enum gm_x_kind)sim_engine.default_x,
	};
	struct scenario *s = NULL;
	char corpus[CORPUS_PATH];
	FILE *out;
	bool ok;

	if (f->target != &find_scenario)
		return error_set(
			err,
			"%s: %s cannot be exported to C: no guest's instructions alone make just its steps",
			path, f->as);
	if (!corpus_folder("puppet/puppet.elf", corpus, err) ||
	    !scenario_decode(path, f->in.data, f->in.size, &s, err))
		return false;
	so.corpus = corpus;
	out = open_memstream(text, size);
	ok = out ? scenario_export(s, &so, out, err) : error_set(err, "out of memory");
	if (out && fclose(out) && ok)
		ok = error_set(err, "out of memory");
	scenario_free(s);
	return ok;
}

static bool export(const char *path, const char *target, enum form form, const char *to,
		   struct error *err)
{
	struct find f = { 0 };
	char *text = NULL;
	size_t size = 0;
	bool ok;

	if (!find_load(path, target, &f, err))
		return false;
	find_say_kind("export", path, &f);
	switch (form) {
	case FORM_C: ok = as_c(path, &f, &text, &size, err); break;
	case FORM_TEXT:
		text = f.target->print(&f.in);
		size = text ? strlen(text) : 0;
		ok = text || error_set(err, "out of memory");
		break;
	default:
		ok = true;
		text = (char *)f.in.data;
		size = f.in.size;
		f.in.data = NULL;
	}
	if (ok && to)
		ok = blob_write(to, text, size, err);
	else if (ok)
		fwrite(text, 1, size, stdout);
	free(text);
	find_free(&f);
	return ok;
}

enum { OPT_C = 256, OPT_TEXT, OPT_BINARY, OPT_TARGET };

int verb_export(int argc, char **argv)
{
	static const struct option options[] = {
		{ "c", no_argument, NULL, OPT_C },
		{ "text", no_argument, NULL, OPT_TEXT },
		{ "binary", no_argument, NULL, OPT_BINARY },
		{ "target", required_argument, NULL, OPT_TARGET },
		{ "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *to = NULL, *target = NULL, *paths[2];
	enum form form = FORM_NONE;
	struct error err;
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, ":ho:", options, NULL)) != -1) {
		switch (c) {
		case OPT_C:
		case OPT_TEXT:
		case OPT_BINARY:
			if (form)
				return verb_usage("export", "one of --c, --text and --binary");
			form = c == OPT_C ? FORM_C : c == OPT_TEXT ? FORM_TEXT : FORM_BINARY;
			break;
		case OPT_TARGET:
			if (!find_target_known(optarg))
				return verb_usage("export", "--target %s: scenario, core or ko",
						  optarg);
			target = optarg;
			break;
		case 'o': to = optarg; break;
		case 'h': help(); return EXIT_EXPECTED;
		case ':': return verb_usage("export", "%s needs a value", argv[optind - 1]);
		default: return verb_usage("export", "no option %s", argv[optind - 1]);
		}
	}
	if (optind == argc)
		return verb_usage("export", "which file?");
	if (optind + 1 < argc)
		return verb_usage("export", "one file only, not also %s", argv[optind + 1]);
	if (!form)
		return verb_usage("export", "--c, --text or --binary?");
	paths[0] = argv[optind];
	paths[1] = to;
	if (!option_outputs(paths, 1, 2, &err) || (to && !blob_writable(to, &err)) ||
	    !export(argv[optind], target, form, to, &err))
		return verb_error("export", &err);
	return EXIT_EXPECTED;
}
