// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writing: we decide where everything lies (ELF_F_LAYOUT), so that the same input gives the same
 * bytes with any libelf; libelf puts it there. It writes to files only, hence the memfd.
 */
#define _GNU_SOURCE
#include "lib/elf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u

static uint64_t align_up(uint64_t n, uint64_t align)
{
	return (n + align - 1) / align * align;
}

/* A larger alignment than a page is a wish for memory, not for the file. */
static uint64_t lay_out(const Elf64_Ehdr *eh, struct elfile_part *parts, uint32_t n)
{
	uint64_t at = sizeof(*eh) + (uint64_t)eh->e_phnum * sizeof(Elf64_Phdr);

	for (uint32_t i = 1; i < n; i++) {
		Elf64_Shdr *sh = parts[i].hdr;
		uint64_t align = sh->sh_addralign ? sh->sh_addralign : 1;

		at = align_up(at, align < PAGE ? align : PAGE);
		sh->sh_offset = at;
		if (parts[i].data && sh->sh_type != SHT_NOBITS)
			at += sh->sh_size;
	}
	return align_up(at, 8);
}

static bool put_headers(Elf *elf, const Elf64_Ehdr *eh, const Elf64_Phdr *ph, uint64_t headers)
{
	Elf64_Ehdr *to = elf64_newehdr(elf);

	if (!to)
		return false;
	*to = *eh;
	to->e_ehsize = sizeof(*to);
	to->e_shoff = headers;
	to->e_shentsize = sizeof(Elf64_Shdr);
	if (eh->e_phnum) {
		Elf64_Phdr *table = elf64_newphdr(elf, eh->e_phnum);

		if (!table)
			return false;
		memcpy(table, ph, eh->e_phnum * sizeof(*ph));
		to->e_phoff = sizeof(*to);
		to->e_phentsize = sizeof(*ph);
	}
	return true;
}

static bool put_section(Elf_Scn *scn, struct elfile_part *part)
{
	Elf_Data *data;

	if (!scn || !gelf_update_shdr(scn, part->hdr))
		return false;
	if (!part->data || part->hdr->sh_type == SHT_NOBITS || !part->hdr->sh_size)
		return true;
	data = elf_newdata(scn);
	if (!data)
		return false;
	data->d_buf = (void *)part->data;
	data->d_size = part->hdr->sh_size;
	data->d_type = ELF_T_BYTE; /* the bytes are little endian already */
	data->d_align = 1;
	return true;
}

static bool put_all(Elf *elf, const Elf64_Ehdr *eh, const Elf64_Phdr *ph, struct elfile_part *parts,
		    uint32_t n)
{
	if (!put_headers(elf, eh, ph, lay_out(eh, parts, n)))
		return false;
	for (uint32_t i = 1; i < n; i++)
		if (!put_section(elf_newscn(elf), &parts[i]))
			return false;
	/* libelf makes section 0, which has no contents. */
	if (!gelf_update_shdr(elf_getscn(elf, 0), parts[0].hdr))
		return false;
	return elf_flagelf(elf, ELF_C_SET, ELF_F_LAYOUT) && elf_update(elf, ELF_C_WRITE) >= 0;
}

static bool take(int fd, struct blob *out)
{
	off_t size = lseek(fd, 0, SEEK_END);
	size_t got = 0;

	if (size <= 0)
		return false;
	out->size = (size_t)size;
	out->data = malloc(out->size);
	while (out->data && got < out->size) {
		ssize_t k = pread(fd, out->data + got, out->size - got, (off_t)got);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			blob_free(out);
		else
			got += (size_t)k;
	}
	return out->data != NULL;
}

static bool fail(const char *path, const char *why, struct error *err)
{
	return error_set(err, "%s: offset 0x0: cannot be written as an ELF file: %s", path, why);
}

bool elfile_write(const char *path, const Elf64_Ehdr *eh, const Elf64_Phdr *ph,
		  struct elfile_part *parts, uint32_t n, struct blob *out, struct error *err)
{
	int fd = memfd_create("elf", MFD_CLOEXEC);
	bool ok;
	Elf *elf;

	if (fd < 0)
		return fail(path, strerror(errno), err);
	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_WRITE, NULL);
	if (!elf || !put_all(elf, eh, ph, parts, n))
		ok = fail(path, elf_errmsg(-1), err);
	else
		ok = take(fd, out) || fail(path, "out of memory for it", err);
	elf_end(elf);
	close(fd);
	return ok;
}
