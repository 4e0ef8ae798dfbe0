/* SPDX-License-Identifier: GPL-2.0-only */
/* Between load_module.c (the course of an insmod) and its steps. */
#ifndef VMM_MODULE_PLACE_H
#define VMM_MODULE_PLACE_H

#include "lib/elf.h"
#include "vmm/internal.h"

/* One module while it is placed. */
struct placing {
	struct vm *vm;
	struct vm_module *m;
	struct elfile elf;
	struct error *err;
	vm_resolve_fn resolve;
	void *ctx;
	uint64_t base[GM_MAX_SEGMENTS]; /* gva of each segment */
	uint64_t gpa[GM_MAX_SEGMENTS];
	bool code[GM_MAX_SEGMENTS]; /* its sections are executable */
	struct place {
		bool loaded;
		uint32_t segment, offset;
	} * section;	  /* [elf.nsections] */
	uint64_t *import; /* [elf.nsymbols] 0: not looked up yet */
};

/* module_layout.c: which section lies where in which segment; then memory and mappings. */
bool module_layout(struct placing *p);
bool module_map(struct placing *p);
/* module_reloc.c: contents, relocations, patch sites. */
bool module_fill(struct placing *p);
bool module_relocate(struct placing *p);
bool module_patch_sites(struct placing *p);
/* module_names.c: symbols for people, and the table in guest memory. */
bool module_names(struct placing *p);

/* Host address of [offset, offset + len) in a segment's frames; len was checked. */
static inline uint8_t *placing_host(const struct placing *p, uint32_t segment, uint64_t offset)
{
	return p->vm->ram + p->gpa[segment] + offset;
}

#endif
