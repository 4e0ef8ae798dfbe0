/* SPDX-License-Identifier: GPL-2.0-only */
/* guardhouse wrap: a kernel module in, a guarded module and its manifest out. */
#define _GNU_SOURCE /* asprintf */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"
#include "cli/verbs.h"
#include "wrap/wrap.h"

#define MAX_MODULE_BYTES (256u << 20)
#define MAX_PRIVATE 16u

static const char *const privilege_kinds[GM_PRIVS] = {
	[GM_PRIV_PRIVATE] = "private", [GM_PRIV_DEVICE] = "device", [GM_PRIV_MWAIT] = "mwait",
	[GM_PRIV_IOPORT] = "ioport",   [GM_PRIV_MSR] = "msr",
};

static void help(void)
{
	printf("usage: guardhouse wrap IN.ko -o OUT.ko [OPTION]...\n\n"
	       "Puts gates around a relocatable kernel module and describes it in a manifest.\n\n"
	       "  -o, --output FILE     the wrapped module\n"
	       "  -m, --manifest FILE   the manifest (default: OUT.ko with .manifest for .ko)\n"
	       "      --json FILE       the manifest for people\n"
	       "      --x KIND          crossing instruction: vmmcall (default), vmcall, out, nop\n"
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
	    !blob_read(&in, input, MAX_MODULE_BYTES, err))
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
	enum { OPT_JSON = 256, OPT_X, OPT_NAME, OPT_PRIVATE, OPT_PRIVILEGE, OPT_HELP };
	static const struct option options[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "manifest", required_argument, NULL, 'm' },
		{ "json", required_argument, NULL, OPT_JSON },
		{ "x", required_argument, NULL, OPT_X },
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
	const char *output = NULL, *manifest = NULL, *json = NULL;
	struct error err;
	char *own;
	bool ok;
	int c;

	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "o:m:h", options, NULL)) != -1) {
		switch (c) {
		case 'o': output = optarg; break;
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
	if (optind + 1 != argc)
		return verb_usage("wrap", "one module was expected");
	if (!output)
		return verb_usage("wrap", "-o OUT.ko is missing");
	own = manifest ? NULL : default_manifest(output);
	if (manifest || own)
		ok = wrap_file(&opt, argv[optind], output, manifest ? manifest : own, json, &err);
	else
		ok = error_set(&err, "%s: out of memory", output);
	free(own);
	return ok ? EXIT_EXPECTED : verb_error("wrap", &err);
}
