// SPDX-License-Identifier: GPL-2.0-only
/*
 * The inputs that the engines start from, made from real modules and scenarios:
 *
 *	seeds OUT FILE...
 *
 * writes OUT/TARGET/NAME... for the targets of fuzz/targets/. A FILE is a scenario (.scn) or a module.
 * Of modules only those become seeds that are small and have something new: a section, a kind of
 * gate, or a symbol of the toolchain that none before had.
 */
#define _GNU_SOURCE /* asprintf */
#include <elf.h>
#include <errno.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zstd.h>

#include "fuzz/drivers/driver.h"
#include "fuzz/events/core.h"
#include "fuzz/puppet/puppet.h"
#include "lib/elf.h"
#include "scenario/scenario.h"
#include "wrap/binding.h"
#include "wrap/wrap.h"

#define MAX_MODULE (20u << 10)
#define MAX_SEEN 1024u

static const char *out;
static char *seen[MAX_SEEN];
static unsigned nseen, written;

static void die(const char *what)
{
	fprintf(stderr, "seeds: %s\n", what);
	exit(2);
}

static void put(const char *target, const char *name, const char *tag, const void *data,
		size_t size)
{
	char *folder = NULL, *path = NULL;
	struct error err;

	if (asprintf(&folder, "%s/%s", out, target) < 0 ||
	    asprintf(&path, "%s/%s%s", folder, name, tag) < 0)
		die("out of memory");
	if ((mkdir(out, 0777) && errno != EEXIST) || (mkdir(folder, 0777) && errno != EEXIST))
		die(folder);
	if (!blob_write(path, data, size, &err))
		die(err.text);
	written++;
	free(folder);
	free(path);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* ---- modules ---- */

static bool is_new(const char *word)
{
	for (unsigned i = 0; i < nseen; i++)
		if (strcmp(seen[i], word) == 0)
			return false;
	if (nseen < MAX_SEEN)
		seen[nseen++] = strdup(word);
	return true;
}

/* Has it something that no module before had? */
static bool interesting(const struct blob *in)
{
	struct elfile e;
	struct error err;
	bool found = false;

	if (!elfile_open(&e, "seed", in, ET_REL, &err))
		return false;
	for (uint32_t i = 1; i < e.nsections; i++)
		if (is_new(elfile_section_name(&e, i)))
			found = true;
	for (uint32_t i = 1; i < e.nsymbols; i++) {
		const char *name;
		Elf64_Sym y;

		elfile_symbol(&e, i, &y);
		name = elfile_symbol_name(&e, &y);
		if (y.st_shndx == SHN_UNDEF && strncmp(name, "__", 2) == 0 && is_new(name))
			found = true;
	}
	elfile_close(&e);
	return found;
}

/* The framing of fuzz/targets/check.c. */
static void put_check(const char *name, const char *tag, const struct blob *in,
		      const struct wrap_result *w)
{
	size_t size = 8 + in->size + w->ko.size + w->manifest.size;
	uint32_t sizes[2] = { (uint32_t)in->size, (uint32_t)w->ko.size };
	uint8_t *all = malloc(size);

	if (!all)
		die("out of memory");
	memcpy(all, sizes, 8);
	memcpy(all + 8, in->data, in->size);
	memcpy(all + 8 + in->size, w->ko.data, w->ko.size);
	memcpy(all + 8 + in->size + w->ko.size, w->manifest.data, w->manifest.size);
	put("check", name, tag, all, size);
	free(all);
}

static void put_binding(const char *name, const struct blob *manifest)
{
	static const uint8_t seed[32] = { 1 };
	const struct gm_header *h = (const void *)manifest->data;
	struct guard_binding b = { .policy.chains = 64 };
	struct binding_key key;
	struct blob file, both;
	struct error err;

	for (uint32_t i = 0; i < h->privileges.count; i++)
		b.bound |= 1ull << i;
	if (b.bound)
		b.resource[0] = (struct guard_resource){ 0xfe000000, 0x2000 };
	manifest_digest(manifest, b.digest);
	if (!binding_keygen(&key, seed, &err) || !binding_sign(&b, &key, &file, &err))
		die(err.text);
	both.size = file.size + manifest->size;
	both.data = realloc(file.data, both.size);
	if (!both.data)
		die("out of memory");
	memcpy(both.data + file.size, manifest->data, manifest->size);
	put("binding", name, ".bind", both.data, both.size);
	blob_free(&both);
}

static void put_packed(const char *name, const struct blob *in)
{
	size_t room = ZSTD_compressBound(in->size) + lzma_stream_buffer_bound(in->size), n = 0;
	uint8_t *buf = malloc(room);

	if (!buf)
		die("out of memory");
	if (lzma_easy_buffer_encode(0, LZMA_CHECK_CRC32, NULL, in->data, in->size, buf, &n, room) !=
	    LZMA_OK)
		die("xz does not pack");
	put("unpack", name, ".xz", buf, n);
	n = ZSTD_compress(buf, room, in->data, in->size, 1);
	if (ZSTD_isError(n))
		die("zstd does not pack");
	put("unpack", name, ".zst", buf, n);
	free(buf);
}

/* The same module wrapped in different ways, in turn. */
static void module(const char *path, unsigned turn)
{
	static const struct wrap_privilege asks[] = { { GM_PRIV_DEVICE, "regs", 0, 0 },
						      { GM_PRIV_MSR, "pmc", 0xc1, 0xc4 } };
	struct wrap_options opt = { .name = "input", .x = (enum gm_x_kind)(turn % 4) };
	const char *name = base_name(path);
	struct wrap_result w;
	struct error err;
	struct blob in;
	uint8_t *grown;
	char *json;

	if (!blob_read(&in, path, 1u << 26, &err))
		die(err.text);
	if (in.size > MAX_MODULE || !interesting(&in)) {
		blob_free(&in);
		return;
	}
	grown = realloc(in.data, in.size + 1);
	if (!grown)
		die("out of memory");
	in.data = grown;
	/* the byte behind: fuzz/targets/wrap.c */
	grown[in.size] = (uint8_t)turn;
	put("wrap", name, "", in.data, in.size + 1);
	opt.no_inner_lib = turn & 4;
	opt.views = turn % 8 == 7;
	if (turn & 1) {
		opt.privileges = asks;
		opt.privilege_count = 2;
	}
	if (wrap_module(&opt, path, &in, &w, &err)) {
		put_check(name, ".check", &in, &w);
		put("manifest", name, ".manifest", w.manifest.data, w.manifest.size);
		put_binding(name, &w.manifest);
		if (turn < 4 && manifest_to_json(path, &w.manifest, &json, &err)) {
			put("manifest", name, ".json", json, strlen(json));
			free(json);
		}
		wrap_result_free(&w);
	}
	if (turn < 4)
		put_packed(name, &in);
	blob_free(&in);
}

/* ---- scenarios ---- */

static void scenario(const char *path)
{
	struct blob text, binary, seed;
	struct scenario *s = NULL;
	struct error err;

	if (!blob_read(&text, path, SCN_MAX_BYTES, &err) || !scenario_load(path, &s, &err))
		die(err.text);
	put("scenario", base_name(path), "", text.data, text.size);
	if (!scenario_encode(s, &binary))
		die("out of memory");
	put("scenario", base_name(path), ".bin", binary.data, binary.size);
	if (fg_seed(s, &seed))
		put("guest", base_name(path), "", seed.data, seed.size);
	blob_free(&seed);
	scenario_free(s);
	blob_free(&binary);
	blob_free(&text);
}

/* ---- sequences of events ---- */

static void core(void)
{
	uint8_t input[FC_MAX_INPUT];

	for (unsigned i = 0; i < FC_CONFIGS; i++) {
		char tag[] = { (char)('0' + i), 0 };

		put("core", "honest", tag, input, fc_seed(i, input));
	}
}

static void guest(void)
{
	struct scenario *s;
	struct blob binary;
	struct error err;

	if (!scenario_parse("honest", fg_honest, strlen(fg_honest), &s, &err))
		die(err.text);
	if (!scenario_encode(s, &binary))
		die("out of memory");
	put("guest", "honest", "", binary.data, binary.size);
	scenario_free(s);
	blob_free(&binary);
}

static void ko(void)
{
	uint8_t input[FK_MAX_INPUT];
	char tag[8] = "";

	for (unsigned w = 0; w < FK_WORLDS; w++) {
		if (w)
			snprintf(tag, sizeof(tag), "%u", w);
		put("ko", "honest", tag, input, fk_seed(w, input));
	}
}

int main(int argc, char **argv)
{
	unsigned turn = 0;

	if (argc < 3) {
		fprintf(stderr, "usage: seeds OUT FILE...\n");
		return 2;
	}
	out = argv[1];
	for (int i = 2; i < argc; i++) {
		size_t n = strlen(argv[i]);

		if (n > 4 && strcmp(argv[i] + n - 4, ".scn") == 0)
			scenario(argv[i]);
		else
			module(argv[i], turn++);
	}
	core();
	guest();
	ko();
	printf("%u seeds\n", written);
	while (nseen)
		free(seen[--nseen]);
	return 0;
}
