/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loads a guest image: a static ELF64 in the top 2 GiB, its bytes at guest-physical
 * p_vaddr - GH_KERNEL_BASE, mapped page by page with the rights of its program headers.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/elf.h"
#include "vmm/internal.h"

#define MAX_PHDRS 64u
/* Below this lies what we build before the image is known: tables, stacks, boot page. */
#define IMAGE_LOWEST_GPA 0x100000ull

struct image {
	uint64_t low, high; /* gva, whole pages */
	bool entry_ok;
};

static bool check_load(const struct vm *vm, const struct elfile *e, const Elf64_Phdr *ph,
		       uint64_t at, struct image *img, struct error *err)
{
	uint64_t gpa = ph->p_vaddr - GH_KERNEL_BASE, end;

	if (ph->p_vaddr < GH_KERNEL_BASE || ph->p_vaddr >= GH_MODULES_BASE ||
	    gpa < IMAGE_LOWEST_GPA)
		return elfile_bad(e, at + offsetof(Elf64_Phdr, p_vaddr), err,
				  "address 0x%llx: an image lies from 0x%llx to 0x%llx",
				  (unsigned long long)ph->p_vaddr,
				  (unsigned long long)(GH_KERNEL_BASE + IMAGE_LOWEST_GPA),
				  (unsigned long long)GH_MODULES_BASE);
	if (ph->p_vaddr % VM_PAGE)
		return elfile_bad(e, at + offsetof(Elf64_Phdr, p_vaddr), err,
				  "address 0x%llx does not start a page",
				  (unsigned long long)ph->p_vaddr);
	if (ph->p_filesz > ph->p_memsz)
		return elfile_bad(e, at + offsetof(Elf64_Phdr, p_filesz), err,
				  "0x%llx bytes of file for 0x%llx of memory",
				  (unsigned long long)ph->p_filesz,
				  (unsigned long long)ph->p_memsz);
	if (!elfile_in(e, ph->p_offset, ph->p_filesz))
		return elfile_bad(e, at + offsetof(Elf64_Phdr, p_offset), err,
				  "0x%llx bytes at 0x%llx are not all in the file",
				  (unsigned long long)ph->p_filesz,
				  (unsigned long long)ph->p_offset);
	/* An eighth of RAM at least stays free for tables, modules and the guest itself. */
	if (!ph->p_memsz || ph->p_memsz > vm->ram_size || gpa > vm->ram_size - ph->p_memsz ||
	    gpa + ph->p_memsz > vm->ram_size / 8 * 7)
		return elfile_bad(e, at + offsetof(Elf64_Phdr, p_memsz), err,
				  "0x%llx bytes of memory do not fit into RAM of 0x%llx",
				  (unsigned long long)ph->p_memsz,
				  (unsigned long long)vm->ram_size);
	if ((ph->p_flags & PF_X) && e->eh.e_entry >= ph->p_vaddr &&
	    e->eh.e_entry - ph->p_vaddr < ph->p_filesz)
		img->entry_ok = true;
	end = (ph->p_vaddr + ph->p_memsz + VM_PAGE - 1) & ~(VM_PAGE - 1);
	if (ph->p_vaddr < img->high)
		return elfile_bad(e, at + offsetof(Elf64_Phdr, p_vaddr), err,
				  "address 0x%llx: segments must ascend and not share a page",
				  (unsigned long long)ph->p_vaddr);
	if (!img->low)
		img->low = ph->p_vaddr;
	img->high = end;
	return true;
}

static bool guest_symbols(struct vm *vm, const struct elfile *e, const struct image *img)
{
	struct vm_symbol_list list = { 0 };
	Elf64_Sym sym;
	uint32_t i;

	for (i = 1; i < e->nsymbols; i++) {
		unsigned type, bind;

		elfile_symbol(e, i, &sym);
		type = ELF64_ST_TYPE(sym.st_info);
		bind = ELF64_ST_BIND(sym.st_info);
		if (type == STT_SECTION || type == STT_FILE || sym.st_shndx == SHN_UNDEF ||
		    sym.st_value < img->low || sym.st_value >= img->high)
			continue;
		if (!vm_symbol_add(&list, "", elfile_symbol_name(e, &sym), SIZE_MAX, sym.st_value,
				   sym.st_size, bind == STB_LOCAL ? VM_SYM_LOCAL : VM_SYM_GLOBAL)) {
			vm_symbol_list_free(&list);
			return false;
		}
	}
	if (vm_symbols_build(&vm->symbols, &list, img->low, img->high))
		return true;
	vm_symbol_list_free(&list);
	return false;
}

static bool map_segment(struct vm *vm, const struct elfile *e, const Elf64_Phdr *ph)
{
	uint64_t gpa = ph->p_vaddr - GH_KERNEL_BASE, off;
	uint64_t flags = ((ph->p_flags & PF_W) ? PTE_W : 0) | ((ph->p_flags & PF_X) ? 0 : PTE_NX);

	memcpy(vm->ram + gpa, elfile_bytes(e, ph->p_offset), ph->p_filesz);
	for (off = 0; off < ph->p_memsz; off += VM_PAGE)
		if (!vm_map_page(vm, ph->p_vaddr + off, gpa + off, flags))
			return false;
	return true;
}

static bool load_image(struct vm *vm, const struct elfile *e, struct error *err)
{
	struct image img = { 0 };
	Elf64_Phdr ph;
	uint64_t at;
	uint32_t i;

	if (e->eh.e_phnum > MAX_PHDRS)
		return elfile_bad(e, offsetof(Elf64_Ehdr, e_phnum), err,
				  "%u program headers, at most %u", e->eh.e_phnum, MAX_PHDRS);
	for (i = 0; i < e->eh.e_phnum; i++) {
		if (!elfile_phdr(e, i, &ph, &at, err))
			return false;
		if (ph.p_type == PT_LOAD && !check_load(vm, e, &ph, at, &img, err))
			return false;
	}
	if (!img.entry_ok)
		return elfile_bad(e, offsetof(Elf64_Ehdr, e_entry), err,
				  "entry 0x%llx is not in a segment that is loaded and executable",
				  (unsigned long long)e->eh.e_entry);
	if (vm->alloc_low > IMAGE_LOWEST_GPA)
		return error_set(err, "%s: memory below 0x%llx is full before the image is loaded",
				 e->path, IMAGE_LOWEST_GPA);
	vm->alloc_low = img.high - GH_KERNEL_BASE;
	for (i = 0; i < e->eh.e_phnum; i++)
		if (elfile_phdr(e, i, &ph, &at, err) && ph.p_type == PT_LOAD &&
		    !map_segment(vm, e, &ph))
			return elfile_bad(e, at, err, "no guest memory left for page tables");
	if (!guest_symbols(vm, e, &img))
		return error_set(err, "%s: out of memory for its symbols", e->path);
	vm->entry = e->eh.e_entry;
	return true;
}

bool vm_load_guest(struct vm *vm, const char *path, const struct blob *file, struct error *err)
{
	struct elfile e;
	bool ok;

	if (vm->entry)
		return error_set(err, "%s: this VM has a guest already", path);
	if (!elfile_open(&e, path, file, ET_EXEC, err))
		return false;
	ok = load_image(vm, &e, err);
	elfile_close(&e);
	if (!ok)
		return false;
	vm_boot_update(vm);
	vm_boot_vcpu(vm, 0);
	return true;
}
