/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The truth about a module that a real Linux has loaded.
 *
 *	truth plan KO MANIFEST			what `dump` shall copy in the guest
 *	truth imports KO MANIFEST		names whose addresses are needed
 *	truth check KO MANIFEST DUMP KALLSYMS GUEST EACH
 *
 * `check` compares the memory in folder DUMP with our own relocation and announces it to a simulated
 * machine (with the kernel image GUEST), changing EACH bytes of every page. A line for each segment,
 * one for the announcements; exit 0 if nothing is unexplained and nothing changed was accepted.
 */
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/boot/truth.h"
#include "vmm/module_place.h"

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct kallsym *)a)->name, ((const struct kallsym *)b)->name);
}

/* Lines of /proc/kallsyms: "ADDRESS TYPE NAME [MODULE]"; only global names can be imported. */
bool kallsyms_read(struct kallsyms *k, const char *path, struct error *err)
{
	FILE *f = fopen(path, "r");
	struct kallsym s, *grown;
	char line[512], at[32], type;

	memset(k, 0, sizeof(*k));
	if (!f)
		return error_set(err, "%s: cannot be read", path);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%31s %c %127s", at, &type, s.name) != 3 ||
		    (type >= 'a' && type <= 'z'))
			continue;
		s.address = strtoull(at, NULL, 16);
		grown = realloc(k->symbol, (k->count + 1) * sizeof(s));
		if (!grown) {
			fclose(f);
			return error_set(err, "%s: out of memory", path);
		}
		k->symbol = grown;
		k->symbol[k->count++] = s;
	}
	fclose(f);
	if (!k->count)
		return error_set(err, "%s: no global symbol", path);
	qsort(k->symbol, k->count, sizeof(s), by_name);
	return true;
}

bool kallsyms_has(const struct kallsyms *k, const char *name, const uint64_t *at)
{
	size_t i;

	for (i = 0; i < k->count; i++)
		if (!strcmp(k->symbol[i].name, name) && (!at || k->symbol[i].address == *at))
			return true;
	return false;
}

bool kallsyms_resolve(void *ctx, const char *name, uint64_t *at)
{
	const struct kallsyms *k = ctx;
	struct kallsym key, *found;

	snprintf(key.name, sizeof(key.name), "%s", name);
	found = bsearch(&key, k->symbol, k->count, sizeof(key), by_name);
	if (found)
		*at = found->address;
	return found != NULL;
}

/* A segment's first section, to tell its base by, and where in the segment that starts. */
static int plan(const struct truth *t, struct error *err)
{
	const struct gm_segment *s = vm_segments(&t->m);
	struct vm_module m = t->m;
	struct placing p = { .m = &m, .err = err };
	uint32_t i, k;
	Elf64_Shdr sh;
	bool ok;

	if (!elfile_open(&p.elf, t->name, &m.ko, ET_REL, err))
		return 1;
	p.section = calloc(p.elf.nsections + 1, sizeof(*p.section));
	ok = p.section && module_layout(&p);
	for (i = 0; ok && i < vm_manifest(&m)->segments.count; i++) {
		for (k = 1; k < p.elf.nsections; k++) {
			elfile_section(&p.elf, k, &sh);
			if (p.section[k].loaded && p.section[k].segment == i && sh.sh_size)
				break;
		}
		if (k == p.elf.nsections) {
			ok = error_set(err, "%s: segment %u has no section", t->name, i);
			break;
		}
		/* Init memory is freed, per-CPU memory is elsewhere: the address alone. */
		printf("%u %s %u %llu\n", i, elfile_section_name(&p.elf, k), p.section[k].offset,
		       segment_init(&s[i]) || s[i].kind == GM_SEG_PERCPU
			       ? 0ull
			       : (s[i].size + VM_PAGE - 1) / VM_PAGE * VM_PAGE);
	}
	free(p.section);
	elfile_close(&p.elf);
	return ok ? 0 : 1;
}

static int imports(const struct truth *t, struct error *err)
{
	const char *name;
	struct elfile elf;
	Elf64_Sym sym;
	uint32_t i;

	if (!elfile_open(&elf, t->name, &t->m.ko, ET_REL, err))
		return 1;
	for (i = 1; i < elf.nsymbols; i++) {
		elfile_symbol(&elf, i, &sym);
		name = elfile_symbol_name(&elf, &sym);
		if (sym.st_shndx == SHN_UNDEF && *name)
			puts(name);
	}
	elfile_close(&elf);
	return 0;
}

static bool dump_read(struct truth *t, const char *folder, struct error *err)
{
	const struct gm_segment *s = vm_segments(&t->m);
	uint32_t n = vm_manifest(&t->m)->segments.count, i;
	uint64_t want;
	char path[4096], number[16], base[32];
	FILE *f;

	t->dump.folder = folder;
	snprintf(path, sizeof(path), "%s/bases", folder);
	f = fopen(path, "r");
	if (!f)
		return error_set(err, "%s: cannot be read", path);
	while (fscanf(f, "%15s %31s", number, base) == 2) {
		i = (uint32_t)strtoul(number, NULL, 10);
		if (i < n)
			t->dump.base[i] = strtoull(base, NULL, 16);
	}
	fclose(f);
	for (i = 0; i < n; i++) {
		if (!t->dump.base[i])
			return error_set(err, "%s: no base of segment %u", path, i);
		if (segment_init(&s[i]) || s[i].kind == GM_SEG_PERCPU)
			continue;
		snprintf(path, sizeof(path), "%s/%u", folder, i);
		if (!blob_read(&t->dump.memory[i], path, 64u << 20, err))
			return false;
		want = (s[i].size + VM_PAGE - 1) / VM_PAGE * VM_PAGE;
		if (t->dump.memory[i].size != want)
			return error_set(err, "%s: %zu bytes instead of %" PRIu64, path,
					 t->dump.memory[i].size, want);
		snprintf(path, sizeof(path), "%s/bases", folder);
	}
	return true;
}

static bool compare(const struct truth *t, struct error *err)
{
	const struct gm_segment *s = vm_segments(&t->m);
	uint8_t *own = relocated(t, err);
	struct compared c;
	bool ok = own;
	uint32_t i;

	for (i = 0; own && i < vm_manifest(&t->m)->segments.count; i++) {
		if (!segment_verified(&s[i]))
			continue;
		c = compare_segment(t, own, i);
		printf("segment %s at 0x%" PRIx64 ": %" PRIu64 " bytes, %" PRIu64
		       " as relocated, %" PRIu64 " in %u sites (%u not as in the file), %" PRIu64
		       " unexplained\n",
		       vm_manifest_name(&t->m, s[i].name), t->dump.base[i], c.bytes, c.equal,
		       c.in_sites, c.sites, c.moved, c.unexplained);
		if (c.unexplained)
			printf("  the first at 0x%" PRIx64 "\n", c.first_bad);
		ok = ok && !c.unexplained && c.bytes;
	}
	free(own);
	return ok;
}

static int check(struct truth *t, char **arg, struct error *err)
{
	struct announced a;
	bool ok;

	if (!dump_read(t, arg[0], err) || !kallsyms_read(&t->symbols, arg[1], err))
		return 1;
	ok = compare(t, err);
	if (!announce_dump(t, arg[2], (unsigned)strtoul(arg[3], NULL, 10), &a, err))
		return 1;
	printf("announced: accepted as it is; of %u changed bytes on %u pages %u refused, %u "
	       "accepted\n",
	       a.tried, a.pages, a.refused, a.accepted);
	if (a.accepted)
		printf("  the first at 0x%" PRIx64 "\n", a.first_accepted);
	return ok && a.tried && a.refused == a.tried ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct truth t = { .name = argc > 2 ? argv[2] : "" };
	struct error err = { "" };
	int status = 2, i;

	if (sodium_init() < 0 || argc < 4 || !blob_read(&t.m.ko, argv[2], 64u << 20, &err) ||
	    !blob_read(&t.m.manifest, argv[3], GM_MAX_TOTAL, &err)) {
		fprintf(stderr, "truth: %s\n", err.text[0] ? err.text : "see the head of truth.c");
		return 2;
	}
	if (!strcmp(argv[1], "plan"))
		status = plan(&t, &err);
	else if (!strcmp(argv[1], "imports"))
		status = imports(&t, &err);
	else if (!strcmp(argv[1], "check") && argc == 8)
		status = check(&t, argv + 4, &err);
	if (err.text[0])
		fprintf(stderr, "truth: %s\n", err.text);
	for (i = 0; i < (int)GM_MAX_SEGMENTS; i++)
		blob_free(&t.dump.memory[i]);
	free(t.symbols.symbol);
	blob_free(&t.m.ko);
	blob_free(&t.m.manifest);
	return status;
}
