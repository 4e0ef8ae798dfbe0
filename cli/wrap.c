/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guardhouse wrap: a kernel module in, a guarded module and its manifest out; or a folder of them
 * (wrap_all.c).
 */
#define _GNU_SOURCE /* asprintf */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/entry_list.h"
#include "cli/options.h"
#include "cli/verbs.h"
#include "cli/wrap_all.h"
#include "wrap/wrap.h"

#define MAX_PRIVATE 16u

static const char *const privilege_kinds[GM_PRIVS] = {
	[GM_PRIV_PRIVATE] = "private", [GM_PRIV_DEVICE] = "device", [GM_PRIV_MWAIT] = "mwait",
	[GM_PRIV_IOPORT] = "ioport",   [GM_PRIV_MSR] = "msr",
};

static void help(void)
{
	printf("usage: guardhouse wrap IN.ko -o OUT.ko [OPTION]...\n"
	       "       guardhouse wrap --all DIR -o DIR [OPTION]...\n\n"
	       "Puts gates around a relocatable kernel module and describes it in a manifest.\n"
	       "IN may be compressed (.ko.xz, .ko.zst); OUT never is.\n\n"
	       "  -o, --output FILE     the wrapped module\n"
	       "      --all DIR         every module below DIR, to the same places below the output\n"
	       "                        folder; refused ones are listed. --json FILE: the summary\n"
	       "  -j, --jobs N          processes for --all (default: as many as CPUs)\n"
	       "  -m, --manifest FILE   the manifest (default: OUT.ko with .manifest for .ko)\n"
	       "      --json FILE       the manifest for people\n"
	       "      --crossing KIND, --x KIND\n"
	       "                        crossing instruction: vmmcall (default), vmcall, out, nop\n"
	       "      --mode MODE       gates (default), or views: OUT is a copy of IN byte for byte,\n"
	       "                        and the manifest makes every crossing an execute fault\n"
	       "      --entries FILE    functions that may be entered, one name a line, # comments;\n"
	       "                        init and exit always are. Default: all whose address is taken\n"
	       "      --no-inner-lib    calls of memcpy and the like leave the module, too\n"
	       "      --name NAME       of the module (default: from the file's name)\n"
	       "      --private SECTION make it private memory, as .guard_private always is\n"
	       "      --privilege KIND[:NAME[=FIRST[-LAST]]]\n"
	       "                        what the module asks for: device:regs, mwait,\n"
	       "                        ioport:uart=0x3f8-0x3ff, msr:pmc=0xc1\n");
}

/* "kind[:name[=first[-last]]]"; text is cut up in place and outlives the privilege. */
static bool parse_privilege(char *text, struct wrap_privilege *p)
{
	char *name = strchr(text, ':'), *first = NULL, *last = NULL;
	uint64_t value;
	unsigned kind = 0;

	if (name) {
		*name++ = 0;
		first = strchr(name, '=');
		if (first) {
			*first++ = 0;
			last = strchr(first, '-');
			if (last)
				*last++ = 0;
		}
	}
	while (kind < GM_PRIVS && strcmp(text, privilege_kinds[kind]) != 0)
		kind++;
	if (kind == GM_PRIVS || (name && !*name))
		return false;
	*p = (struct wrap_privilege){ .kind = (enum gm_privilege_kind)kind,
				      .name = name ? name : text };
	if ((kind == GM_PRIV_IOPORT || kind == GM_PRIV_MSR) != (first != NULL))
		return false;
	if (!first)
		return true;
	if (!option_number(first, kind == GM_PRIV_IOPORT ? 0xffff : 0xffffffff, &value))
		return false;
	p->first = p->last = (uint32_t)value;
	if (last && !option_number(last, kind == GM_PRIV_IOPORT ? 0xffff : 0xffffffff, &value))
		return false;
	p->last = (uint32_t)value;
	return p->first <= p->last;
}

static char *default_manifest(const char *output)
{
	size_t n = strlen(output);
	char *path;

	if (n > 3 && strcmp(output + n - 3, ".ko") == 0)
		n -= 3;
	return asprintf(&path, "%.*s.manifest", (int)n, output) < 0 ? NULL : path;
}

static unsigned cpus(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 ? (unsigned)n : 1;
}

static bool write_all(const struct wrap_result *r, const char *input, const char *output,
		      const char *manifest, const char *json, struct error *err)
{
	char *text = NULL;
	bool ok;

	ok = blob_write(output, r->ko.data, r->ko.size, err) &&
	     blob_write(manifest, r->manifest.data, r->manifest.size, err);
	if (ok && json)
		ok = manifest_to_json(input, &r->manifest, &text, err) &&
		     blob_write(json, text, strlen(text), err);
	free(text);
	return ok;
}

static bool wrap_file(const struct wrap_options *opt, const char *input, const char *output,
		      const char *manifest, const char *json, struct error *err)
{
	const char *const paths[] = { input, output, manifest, json };
	struct wrap_result result;
	struct blob in;
	bool ok;

	if (!option_outputs(paths, 1, sizeof(paths) / sizeof(paths[0]), err) ||
	    !wrap_read(&in, input, err))
		return false;
	ok = wrap_module(opt, input, &in, &result, err);
	if (ok) {
		ok = write_all(&result, input, output, manifest, json, err);
		wrap_result_free(&result);
	}
	blob_free(&in);
	return ok;
}

int verb_wrap(int argc, char **argv)
{
	enum {
		OPT_JSON = 256,
		OPT_X,
		OPT_NAME,
		OPT_PRIVATE,
		OPT_PRIVILEGE,
		OPT_ALL,
		OPT_ENTRIES,
		OPT_NO_INNER,
		OPT_MODE,
		OPT_HELP
	};
	static const struct option options[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "manifest", required_argument, NULL, 'm' },
		{ "json", required_argument, NULL, OPT_JSON },
		{ "x", required_argument, NULL, OPT_X },
		{ "crossing", required_argument, NULL, OPT_X },
		{ "all", required_argument, NULL, OPT_ALL },
		{ "jobs", required_argument, NULL, 'j' },
		{ "entries", required_argument, NULL, OPT_ENTRIES },
		{ "no-inner-lib", no_argument, NULL, OPT_NO_INNER },
		{ "mode", required_argument, NULL, OPT_MODE },
		{ "name", required_argument, NULL, OPT_NAME },
		{ "private", required_argument, NULL, OPT_PRIVATE },
		{ "privilege", required_argument, NULL, OPT_PRIVILEGE },
		{ "help", no_argument, NULL, OPT_HELP },
		{ NULL, 0, NULL, 0 },
	};
	struct wrap_privilege privileges[GM_MAX_PRIVILEGES];
	const char *private_sections[MAX_PRIVATE];
	struct wrap_options opt = { .x = GM_X_VMMCALL,
				    .private_sections = private_sections,
				    .privileges = privileges };
	const char *output = NULL, *manifest = NULL, *json = NULL, *all = NULL, *entries = NULL;
	struct entry_list list = { 0 };
	uint64_t jobs = 0;
	struct error err;
	char *own;
	bool ok;
	int c;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "o:m:j:h", options, NULL)) != -1) {
		switch (c) {
		case 'o': output = optarg; break;
		case OPT_ALL: all = optarg; break;
		case OPT_ENTRIES: entries = optarg; break;
		case OPT_NO_INNER: opt.no_inner_lib = true; break;
		case OPT_MODE:
			if (!option_mode(optarg, &opt.views))
				return verb_usage("wrap", "--mode %s: gates or views", optarg);
			break;
		case 'j':
			if (!option_number(optarg, 1024, &jobs) || !jobs)
				return verb_usage("wrap", "--jobs %s: a number from 1", optarg);
			break;
		case 'm': manifest = optarg; break;
		case OPT_JSON: json = optarg; break;
		case OPT_NAME: opt.name = optarg; break;
		case OPT_X:
			if (!option_x(optarg, &opt.x))
				return verb_usage("wrap", "--x %s: vmmcall, vmcall, out or nop",
						  optarg);
			break;
		case OPT_PRIVATE:
			if (opt.private_count == MAX_PRIVATE)
				return verb_usage("wrap", "more than %u --private", MAX_PRIVATE);
			private_sections[opt.private_count++] = optarg;
			break;
		case OPT_PRIVILEGE:
			if (opt.privilege_count == GM_MAX_PRIVILEGES)
				return verb_usage("wrap", "more than %u --privilege",
						  GM_MAX_PRIVILEGES);
			if (!parse_privilege(optarg, &privileges[opt.privilege_count++]))
				return verb_usage("wrap", "--privilege %s: not understood", optarg);
			break;
		case 'h':
		case OPT_HELP: help(); return EXIT_EXPECTED;
		default:
			return verb_usage("wrap", "%s: unknown, or without its argument",
					  argv[optind - 1]);
		}
	}
	if (optind + !all != argc)
		return verb_usage("wrap",
				  all ? "--all, and a module as well" : "one module was expected");
	if (!output)
		return verb_usage("wrap", "-o OUT.ko is missing");
	if (all && (manifest || opt.name || entries))
		return verb_usage("wrap", "--manifest, --name and --entries are for one module");
	if (entries && !entry_list_read(&list, entries, &err))
		return verb_error("wrap", &err);
	opt.entries = list.names;
	opt.entries_count = list.count;
	own = manifest || all ? NULL : default_manifest(output);
	if (all)
		ok = wrap_all(&opt, all, output, jobs ? (unsigned)jobs : cpus(), json, &err);
	else if (manifest || own)
		ok = wrap_file(&opt, argv[optind], output, manifest ? manifest : own, json, &err);
	else
		ok = error_set(&err, "%s: out of memory", output);
	free(own);
	entry_list_free(&list);
	return ok ? EXIT_EXPECTED : verb_error("wrap", &err);
}
