/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * guardhouse bind: the administrator's signature under "this exact code gets these privileges".
 * Keys are one line of text each; the public one lies beside the secret one as FILE.pub.
 */
#define _GNU_SOURCE /* asprintf */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/options.h"
#include "cli/show.h"
#include "cli/verbs.h"
#include "wrap/binding.h"
#include "wrap/wrap.h"

#define SECRET_LABEL "guardhouse-ed25519-secret "
#define PUBLIC_LABEL "guardhouse-ed25519-public "
#define MAX_GRANTS GM_MAX_PRIVILEGES

struct bind_options {
	const char *manifest, *keygen, *key, *pub, *show, *output;
	char *grants[MAX_GRANTS];
	const char *required[MAX_GRANTS];
	unsigned ngrants, nrequired;
	struct guard_policy policy;
	bool json;
};

static void help(void)
{
	printf("usage: guardhouse bind MANIFEST --key FILE -o FILE [OPTION]...\n"
	       "       guardhouse bind --keygen FILE\n"
	       "       guardhouse bind --show FILE --pub KEY [MANIFEST]\n\n"
	       "Signs which privileges a module with exactly this manifest gets, or shows that.\n\n"
	       "      --keygen FILE      make a key pair: FILE and FILE.pub; may sign at once\n"
	       "      --key FILE         the administrator's secret key\n"
	       "      --grant NAME[=0xBASE+0xLENGTH]\n"
	       "                         bind this privilege of the manifest; a device needs its\n"
	       "                         guest-physical range; KIND:NAME works too\n"
	       "      --require NAME     entries are `withheld` while it is not granted\n"
	       "      --stack returns|exact|none        what is verified on the way back in\n"
	       "      --registers verify|scrub\n"
	       "      --mapping checked|locked\n"
	       "      --refusal gp|quarantine|stop      what follows a refused crossing\n"
	       "      --chains N         activations at once, 1 to %u (default 64)\n"
	       "  -o, --output FILE      the binding\n"
	       "      --show FILE        show a binding; --pub KEY verifies it; with MANIFEST,\n"
	       "                         exit 1 if it binds other code\n"
	       "      --json             show it as JSON\n",
	       GUARD_MAX_CHAINS);
}

/* ---- keys ---- */

static bool write_key(const char *path, const char *label, const uint8_t *bytes, size_t n,
		      mode_t mode, struct error *err)
{
	char hex[2 * BINDING_SECRET_BYTES + 1] = "", *text;
	bool ok;
	int size;

	for (size_t i = 0; i < n && i < BINDING_SECRET_BYTES; i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
	size = asprintf(&text, "%s%s\n", label, hex);
	if (size < 0)
		return error_set(err, "%s: out of memory", path);
	ok = blob_create(path, text, (size_t)size, mode, err);
	free(text);
	return ok;
}

static bool read_key(const char *path, const char *label, uint8_t *bytes, size_t n,
		     struct error *err)
{
	size_t skip = strlen(label);
	struct blob b;
	bool ok = true;

	memset(bytes, 0, n);
	if (!blob_read(&b, path, 4096, err))
		return false;
	if (b.size < skip || memcmp(b.data, label, skip) != 0) {
		error_set(err, "%s: offset 0x0: not a key: \"%s\" was expected", path, label);
		ok = false;
	} else if (b.size != skip + 2 * n + 1 || b.data[b.size - 1] != '\n') {
		error_set(err, "%s: offset 0x%zx: a line of %zu hex digits was expected", path,
			  skip, 2 * n);
		ok = false;
	}
	for (size_t i = 0; ok && i < 2 * n; i++) {
		uint8_t c = b.data[skip + i];
		int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

		if (v < 0)
			ok = error_set(err, "%s: offset 0x%zx: not a hex digit", path, skip + i);
		else
			bytes[i / 2] = (uint8_t)(i % 2 ? bytes[i / 2] | v : v << 4);
	}
	blob_free(&b);
	return ok;
}

/* The key pair at path and path.pub, as far as this run has made it. */
struct key_files {
	const char *secret;
	char *pub;
};

static bool make_keys(const char *path, struct binding_key *key, struct key_files *made,
		      struct error *err)
{
	char *pub;

	if (asprintf(&pub, "%s.pub", path) < 0)
		return error_set(err, "%s: out of memory", path);
	if (!binding_keygen(key, NULL, err) ||
	    !write_key(pub, PUBLIC_LABEL, key->public_key, BINDING_PUBLIC_BYTES, 0666, err)) {
		free(pub);
		return false;
	}
	made->pub = pub;
	if (!write_key(path, SECRET_LABEL, key->secret_key, BINDING_SECRET_BYTES, 0600, err))
		return false;
	made->secret = path;
	return true;
}

/* A run that fails leaves no keys behind: nobody would know of the secret one. */
static void forget_keys(struct key_files *made, bool remove)
{
	if (remove && made->secret)
		unlink(made->secret);
	if (remove && made->pub)
		unlink(made->pub);
	free(made->pub);
}

/* ---- what is bound ---- */

/* The privilege that "name" or "kind:name" means; GM_MAX_PRIVILEGES: none. */
static unsigned privilege_named(const struct blob *manifest, const char *text)
{
	const struct gm_header *h = (const void *)manifest->data;
	const struct gm_privilege *p = (const void *)(manifest->data + h->privileges.offset);
	const char *colon = strchr(text, ':');

	for (unsigned i = 0; i < h->privileges.count; i++) {
		const char *kind = show_privilege_kind(p[i].kind);
		const char *name = manifest_name(manifest, p[i].name);

		if (strcmp(text, name) == 0)
			return i;
		if (colon && strlen(kind) == (size_t)(colon - text) &&
		    strncmp(text, kind, strlen(kind)) == 0 && strcmp(colon + 1, name) == 0)
			return i;
	}
	return GM_MAX_PRIVILEGES;
}

static bool parse_range(char *text, struct guard_resource *r)
{
	char *plus = strchr(text, '+');

	if (!plus)
		return false;
	*plus = 0;
	return option_number(text, UINT64_MAX, &r->base) &&
	       option_number(plus + 1, UINT64_MAX, &r->length) && r->length;
}

static int fill(const struct bind_options *o, const struct blob *manifest, struct guard_binding *b)
{
	const struct gm_header *h = (const void *)manifest->data;
	const struct gm_privilege *p;

	if (!h)
		return verb_usage("bind", "no manifest");
	p = (const void *)(manifest->data + h->privileges.offset);
	*b = (struct guard_binding){ .policy = o->policy };
	manifest_digest(manifest, b->digest);
	for (unsigned i = 0; i < o->ngrants; i++) {
		char *range = strchr(o->grants[i], '=');
		unsigned n;

		if (range)
			*range++ = 0;
		n = privilege_named(manifest, o->grants[i]);
		if (n == GM_MAX_PRIVILEGES)
			return verb_usage("bind",
					  "--grant %s: the manifest asks for no such privilege",
					  o->grants[i]);
		if ((p[n].kind == GM_PRIV_DEVICE) != (range != NULL))
			return verb_usage("bind", "--grant %s: %s", o->grants[i],
					  range ? "only a device has a range"
						: "a device needs =0xBASE+0xLENGTH");
		if (range && !parse_range(range, &b->resource[n]))
			return verb_usage("bind", "--grant %s: the range is not 0xBASE+0xLENGTH",
					  o->grants[i]);
		b->bound |= 1ull << n;
	}
	for (unsigned i = 0; i < o->nrequired; i++) {
		unsigned n = privilege_named(manifest, o->required[i]);

		if (n == GM_MAX_PRIVILEGES || !(b->bound & 1ull << n))
			return verb_usage("bind", "--require %s: not among the --grants",
					  o->required[i]);
		b->policy.required |= 1ull << n;
	}
	return EXIT_EXPECTED;
}

/* The binding goes over neither manifest nor keys. */
static bool outputs(const struct bind_options *o, struct error *err)
{
	char *pub = NULL;
	bool ok;

	if (o->keygen && asprintf(&pub, "%s.pub", o->keygen) < 0)
		return error_set(err, "%s: out of memory", o->keygen);
	{
		const char *const paths[] = { o->manifest, o->key, o->keygen, pub, o->output };

		ok = option_outputs(paths, 2, sizeof(paths) / sizeof(paths[0]), err);
	}
	free(pub);
	return ok;
}

static int sign(const struct bind_options *o)
{
	struct guard_binding b;
	struct binding_key key = { 0 };
	struct blob manifest = { 0 }, file = { 0 };
	struct key_files made = { 0 };
	struct error err;
	int rc = EXIT_EXPECTED;

	if (!outputs(o, &err) ||
	    (o->manifest && (!blob_read(&manifest, o->manifest, GM_MAX_TOTAL, &err) ||
			     !manifest_check(o->manifest, &manifest, &err))))
		rc = verb_error("bind", &err);
	if (!rc && o->manifest)
		rc = fill(o, &manifest, &b);
	if (!rc && o->keygen && !make_keys(o->keygen, &key, &made, &err))
		rc = verb_error("bind", &err);
	if (!rc && o->key &&
	    !read_key(o->key, SECRET_LABEL, key.secret_key, BINDING_SECRET_BYTES, &err))
		rc = verb_error("bind", &err);
	if (!rc && o->manifest &&
	    (!binding_sign(&b, &key, &file, &err) ||
	     !blob_write(o->output, file.data, file.size, &err)))
		rc = verb_error("bind", &err);
	forget_keys(&made, rc != EXIT_EXPECTED);
	blob_free(&manifest);
	blob_free(&file);
	return rc;
}

static int show(const struct bind_options *o)
{
	uint8_t public_key[BINDING_PUBLIC_BYTES], digest[32];
	struct blob file = { 0 }, manifest = { 0 };
	struct guard_binding b;
	struct error err;
	int rc = EXIT_EXPECTED;

	if (!read_key(o->pub, PUBLIC_LABEL, public_key, sizeof(public_key), &err) ||
	    !blob_read(&file, o->show, 1 << 20, &err) ||
	    !binding_open(o->show, &file, public_key, &b, &err) ||
	    (o->manifest && (!blob_read(&manifest, o->manifest, GM_MAX_TOTAL, &err) ||
			     !manifest_check(o->manifest, &manifest, &err)))) {
		rc = verb_error("bind", &err);
	} else {
		rc = show_binding(o->show, &b, true, o->manifest ? &manifest : NULL, o->json);
		if (!rc && o->manifest) {
			manifest_digest(&manifest, digest);
			if (memcmp(digest, b.digest, sizeof(digest)) != 0) {
				fprintf(stderr, "guardhouse bind: %s binds other code than %s\n",
					o->show, o->manifest);
				rc = EXIT_VIOLATION;
			}
		}
	}
	blob_free(&file);
	blob_free(&manifest);
	return rc;
}

/* ---- options ---- */

/* Index of a word in a NULL-terminated list into *value. */
static bool choose(const char *word, const char *const *list, uint8_t *value)
{
	for (uint8_t i = 0; list[i]; i++)
		if (strcmp(word, list[i]) == 0) {
			*value = i;
			return true;
		}
	return false;
}

static int parse(int argc, char **argv, struct bind_options *o, bool *done)
{
	enum {
		OPT_KEYGEN = 256,
		OPT_KEY,
		OPT_PUB,
		OPT_SHOW,
		OPT_GRANT,
		OPT_REQUIRE,
		OPT_STACK,
		OPT_REGISTERS,
		OPT_MAPPING,
		OPT_REFUSAL,
		OPT_CHAINS,
		OPT_JSON,
		OPT_HELP
	};
	static const struct option options[] = {
		{ "keygen", required_argument, NULL, OPT_KEYGEN },
		{ "key", required_argument, NULL, OPT_KEY },
		{ "pub", required_argument, NULL, OPT_PUB },
		{ "show", required_argument, NULL, OPT_SHOW },
		{ "grant", required_argument, NULL, OPT_GRANT },
		{ "require", required_argument, NULL, OPT_REQUIRE },
		{ "stack", required_argument, NULL, OPT_STACK },
		{ "registers", required_argument, NULL, OPT_REGISTERS },
		{ "mapping", required_argument, NULL, OPT_MAPPING },
		{ "refusal", required_argument, NULL, OPT_REFUSAL },
		{ "chains", required_argument, NULL, OPT_CHAINS },
		{ "output", required_argument, NULL, 'o' },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "help", no_argument, NULL, OPT_HELP },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t n;
	bool ok = true;
	int c;

	optind = 0;
	opterr = 0;
	while (ok && (c = getopt_long(argc, argv, "o:h", options, NULL)) != -1) {
		switch (c) {
		case OPT_KEYGEN: o->keygen = optarg; break;
		case OPT_KEY: o->key = optarg; break;
		case OPT_PUB: o->pub = optarg; break;
		case OPT_SHOW: o->show = optarg; break;
		case 'o': o->output = optarg; break;
		case OPT_JSON: o->json = true; break;
		case OPT_GRANT:
			ok = o->ngrants < MAX_GRANTS;
			if (ok)
				o->grants[o->ngrants++] = optarg;
			break;
		case OPT_REQUIRE:
			ok = o->nrequired < MAX_GRANTS;
			if (ok)
				o->required[o->nrequired++] = optarg;
			break;
		case OPT_STACK: ok = choose(optarg, show_stack_policies, &o->policy.stack); break;
		case OPT_REGISTERS:
			ok = choose(optarg, show_register_policies, &o->policy.registers);
			break;
		case OPT_MAPPING:
			ok = choose(optarg, show_mapping_policies, &o->policy.mapping);
			break;
		case OPT_REFUSAL:
			ok = choose(optarg, show_refusal_policies, &o->policy.refusal);
			break;
		case OPT_CHAINS:
			ok = option_number(optarg, GUARD_MAX_CHAINS, &n) && n > 0;
			o->policy.chains = (uint32_t)n;
			break;
		case 'h':
		case OPT_HELP:
			help();
			*done = true;
			return EXIT_EXPECTED;
		default:
			return verb_usage("bind", "%s: unknown, or without its argument",
					  argv[optind - 1]);
		}
	}
	if (!ok)
		return verb_usage("bind", "%s: not understood, or too many", optarg);
	if (optind < argc)
		o->manifest = argv[optind++];
	if (optind < argc)
		return verb_usage("bind", "%s: one manifest was expected", argv[optind]);
	if (o->show)
		return o->pub ? EXIT_EXPECTED : verb_usage("bind", "--show needs --pub KEY");
	if (o->keygen && o->key)
		return verb_usage("bind", "--key or --keygen, not both");
	if (!o->manifest && !o->keygen)
		return verb_usage("bind", "a manifest was expected");
	if (o->manifest && (!o->output || !(o->key || o->keygen)))
		return verb_usage("bind", "-o FILE and --key FILE are needed");
	return EXIT_EXPECTED;
}

int verb_bind(int argc, char **argv)
{
	struct bind_options o = { .policy.chains = 64 };
	bool done = false;
	int rc = parse(argc, argv, &o, &done);

	if (rc || done)
		return rc;
	return o.show ? show(&o) : sign(&o);
}
