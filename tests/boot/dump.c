/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * In the guest: copies a loaded module's segments out of kernel memory by /proc/kcore.
 *
 *	dump MODULE PLAN FOLDER
 *
 * Each line of PLAN, "FILE SECTION OFFSET BYTES", makes FOLDER/FILE: BYTES bytes from the address
 * of SECTION (/sys/module/MODULE/sections) less OFFSET. FOLDER/bases gets "FILE ADDRESS" of each.
 */
#include <fcntl.h>
#include <gelf.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fail(const char *what, const char *name)
{
	fprintf(stderr, "dump: %s %s\n", what, name);
	return 1;
}

static bool section_address(const char *module, const char *section, uint64_t *at)
{
	char path[256], text[32];
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), "/sys/module/%s/sections/%s", module, section);
	f = fopen(path, "r");
	if (!f)
		return false;
	ok = fgets(text, sizeof(text), f) != NULL;
	*at = ok ? strtoull(text, NULL, 16) : 0;
	ok = *at != 0;
	fclose(f);
	return ok;
}

/* Where in the core file this address lies. */
static bool file_offset(Elf *elf, uint64_t at, uint64_t size, uint64_t *offset)
{
	GElf_Phdr ph;
	size_t n, i;

	if (elf_getphdrnum(elf, &n))
		return false;
	for (i = 0; i < n; i++) {
		if (!gelf_getphdr(elf, (int)i, &ph) || ph.p_type != PT_LOAD || at < ph.p_vaddr ||
		    at - ph.p_vaddr > ph.p_memsz || size > ph.p_memsz - (at - ph.p_vaddr))
			continue;
		*offset = ph.p_offset + (at - ph.p_vaddr);
		return true;
	}
	return false;
}

static bool copy(int from, uint64_t offset, uint64_t size, const char *path)
{
	uint8_t *buf = malloc(size);
	FILE *to = fopen(path, "w");
	uint64_t done = 0;
	ssize_t n;
	bool ok;

	while (buf && to && done < size) {
		n = pread(from, buf + done, size - done, (off_t)(offset + done));
		if (n <= 0)
			break;
		done += (uint64_t)n;
	}
	ok = done == size && to && fwrite(buf, 1, size, to) == size;
	if (to)
		ok = !fclose(to) && ok;
	free(buf);
	return ok;
}

int main(int argc, char **argv)
{
	uint64_t at, less, size, offset;
	char file[64], section[128], path[512], from[32], bytes[32];
	FILE *plan, *bases;
	Elf *elf;
	int core;

	if (argc != 4)
		return fail("usage:", "dump MODULE PLAN FOLDER");
	core = open("/proc/kcore", O_RDONLY);
	if (core < 0 || elf_version(EV_CURRENT) == EV_NONE)
		return fail("cannot open", "/proc/kcore");
	elf = elf_begin(core, ELF_C_READ, NULL);
	plan = fopen(argv[2], "r");
	snprintf(path, sizeof(path), "%s/bases", argv[3]);
	bases = fopen(path, "w");
	if (!elf || !plan || !bases)
		return fail("cannot open", !elf ? "/proc/kcore" : !plan ? argv[2] : path);
	while (fscanf(plan, "%63s %127s %31s %31s", file, section, from, bytes) == 4) {
		less = strtoull(from, NULL, 10);
		size = strtoull(bytes, NULL, 10);
		if (!section_address(argv[1], section, &at))
			return fail("no address of section", section);
		at -= less;
		fprintf(bases, "%s %016" PRIx64 "\n", file, at);
		snprintf(path, sizeof(path), "%s/%s", argv[3], file);
		if (!size)
			continue;
		if (!file_offset(elf, at, size, &offset))
			return fail("/proc/kcore does not hold", section);
		if (!copy(core, offset, size, path))
			return fail("cannot copy", section);
	}
	fclose(plan);
	elf_end(elf);
	return fclose(bases) ? 1 : 0;
}
