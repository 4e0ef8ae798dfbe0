/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names of a placed module: its ELF symbols, its gates by what they lead to, and the table that a
 * guest finds through the boot page.
 */
#include <string.h>

#include "vmm/module_place.h"

static const char *const gpr_names[GUARD_GPRS] = {
	"%rax", "%rcx", "%rdx", "%rbx", "%rsp", "%rbp", "%rsi", "%rdi",
	"%r8",	"%r9",	"%r10", "%r11", "%r12", "%r13", "%r14", "%r15",
};

struct names {
	struct placing *p;
	struct vm_symbol_list list;
	struct gh_symbol *boot; /* host copy of the guest's table */
	uint32_t nboot, room;
};

/* Too long for the guest's table: it is left out there. */
static void boot_symbol(struct names *n, const char *prefix, const char *name, uint64_t address)
{
	struct gh_symbol *s = &n->boot[n->nboot];
	size_t plen = strlen(prefix), len = strlen(name);

	if (n->nboot == n->room || plen + len >= sizeof(s->name))
		return;
	memset(s, 0, sizeof(*s));
	memcpy(s->name, prefix, plen);
	memcpy(s->name + plen, name, len);
	s->address = address;
	n->nboot++;
}

static bool elf_names(struct names *n)
{
	const struct placing *p = n->p;
	Elf64_Sym sym;
	uint32_t i;

	for (i = 1; i < p->elf.nsymbols; i++) {
		unsigned type, bind;
		uint64_t address;

		elfile_symbol(&p->elf, i, &sym);
		type = ELF64_ST_TYPE(sym.st_info);
		bind = ELF64_ST_BIND(sym.st_info);
		if (sym.st_shndx == SHN_UNDEF || sym.st_shndx >= p->elf.nsections ||
		    !p->section[sym.st_shndx].loaded ||
		    (type != STT_FUNC && type != STT_OBJECT &&
		     (type != STT_NOTYPE || bind == STB_LOCAL)))
			continue;
		address = p->base[p->section[sym.st_shndx].segment] +
			  p->section[sym.st_shndx].offset + sym.st_value;
		if (!vm_symbol_add(&n->list, "", elfile_symbol_name(&p->elf, &sym), SIZE_MAX,
				   address, sym.st_size,
				   bind == STB_LOCAL ? VM_SYM_LOCAL : VM_SYM_GLOBAL))
			return false;
		if (type == STT_OBJECT && bind != STB_LOCAL)
			boot_symbol(n, "", elfile_symbol_name(&p->elf, &sym), address);
	}
	return true;
}

static bool gate_name(struct names *n, const struct gm_gate *g, uint64_t address)
{
	const struct vm_module *m = n->p->m;
	const struct gm_header *h = vm_manifest(m);
	const struct gm_entry *entries = (const void *)(m->manifest.data + h->entries.offset);
	const struct gm_import *imports = (const void *)(m->manifest.data + h->imports.offset);
	const struct gm_segment *s = vm_segments(m);
	enum vm_symbol_kind kind = VM_SYM_GATE;
	const char *prefix = "", *name;
	uint32_t seg;

	switch (g->kind) {
	case GM_GATE_ENTER:
		prefix = "enter/";
		name = vm_manifest_name(m, entries[g->index].name);
		kind = VM_SYM_ENTER;
		boot_symbol(n, "", name, address);
		for (seg = h->segments.count - 1; seg && s[seg].start > entries[g->index].moff;)
			seg--;
		boot_symbol(n, "text/", name,
			    n->p->base[seg] + entries[g->index].moff - s[seg].start);
		break;
	case GM_GATE_LEAVE:
		prefix = "leave/";
		name = vm_manifest_name(m, imports[g->index].name);
		boot_symbol(n, prefix, name, address);
		break;
	case GM_GATE_LEAVE_INDIRECT:
		prefix = "leave/";
		name = gpr_names[g->reg % GUARD_GPRS];
		boot_symbol(n, prefix, name, address);
		break;
	case GM_GATE_LEAVE_RETURN:
		name = "leave-return";
		boot_symbol(n, prefix, name, address);
		break;
	case GM_GATE_ENTER_RETURN:
		name = "enter-return";
		boot_symbol(n, prefix, name, address);
		break;
	default: return true;
	}
	return vm_symbol_add(&n->list, prefix, name, SIZE_MAX, address, GM_GATE_BYTES, kind);
}

/* Unwrapped: what a kernel calls is the function itself. */
static bool entry_names(struct names *n)
{
	const struct vm_module *m = n->p->m;
	const struct gm_header *h = vm_manifest(m);
	const struct gm_entry *e = (const void *)(m->manifest.data + h->entries.offset);
	const struct gm_segment *s = vm_segments(m);

	for (uint32_t i = 0; i < h->entries.count; i++) {
		const char *name = vm_manifest_name(m, e[i].name);
		uint32_t seg = h->segments.count - 1;
		uint64_t address;

		while (seg && s[seg].start > e[i].moff)
			seg--;
		address = n->p->base[seg] + e[i].moff - s[seg].start;
		boot_symbol(n, "", name, address);
		boot_symbol(n, "text/", name, address);
		if (!vm_symbol_add(&n->list, "enter/", name, SIZE_MAX, address, 0, VM_SYM_ALIAS))
			return false;
	}
	return true;
}

static bool manifest_names(struct names *n)
{
	const struct vm_module *m = n->p->m;
	const struct gm_header *h = vm_manifest(m);
	const struct gm_segment *s = vm_segments(m);
	const struct gm_gate *gates = (const void *)(m->manifest.data + h->gates.offset);
	uint32_t i, g;

	for (i = 0; i < h->segments.count; i++) {
		/* Where nothing else has a name, the segment's start is one. */
		if (!vm_symbol_add(&n->list, "", vm_manifest_name(m, s[i].name), SIZE_MAX,
				   n->p->base[i], s[i].size, VM_SYM_LOCAL))
			return false;
		if (s[i].kind != GM_SEG_GATES)
			continue;
		for (g = 0; g < h->gates.count; g++)
			if (!gate_name(n, &gates[g], n->p->base[i] + gates[g].offset))
				return false;
	}
	return !(h->flags & GM_FLAG_VIEWS) || entry_names(n);
}

/* The guest's table is made once; a later placing has as many names. */
static bool boot_table(struct names *n)
{
	struct vm_module *m = n->p->m;
	struct vm *vm = n->p->vm;
	uint32_t i, globals = 0;
	Elf64_Sym sym;

	for (i = 1; i < n->p->elf.nsymbols; i++) {
		elfile_symbol(&n->p->elf, i, &sym);
		globals += ELF64_ST_TYPE(sym.st_info) == STT_OBJECT &&
			   ELF64_ST_BIND(sym.st_info) != STB_LOCAL;
	}
	n->room = 2 * (vm_manifest(m)->flags & GM_FLAG_VIEWS ? vm_manifest(m)->entries.count
							     : vm_manifest(m)->gates.count) +
		  globals;
	if (!m->boot_symbols && n->room) {
		m->boot_symbols = vm_alloc_gpa(vm, n->room * sizeof(struct gh_symbol));
		m->boot_symbol_room = n->room;
	}
	if (n->room > m->boot_symbol_room)
		n->room = m->boot_symbol_room;
	if (!m->boot_symbols)
		n->room = 0;
	n->boot = (struct gh_symbol *)(void *)(vm->ram + m->boot_symbols);
	return true;
}

bool module_names(struct placing *p)
{
	struct names n = { .p = p };
	uint64_t low = UINT64_MAX, high = 0;
	uint32_t i;

	for (i = 0; i < vm_manifest(p->m)->segments.count; i++) {
		low = p->base[i] < low ? p->base[i] : low;
		high = p->base[i] + vm_segments(p->m)[i].size > high
			       ? p->base[i] + vm_segments(p->m)[i].size
			       : high;
	}
	if (!boot_table(&n) || !elf_names(&n) || !manifest_names(&n) ||
	    !vm_symbols_build(&p->m->symbols, &n.list, low, high)) {
		vm_symbol_list_free(&n.list);
		return error_set(p->err, "%s: out of memory for its symbols", p->elf.path);
	}
	p->m->boot_symbol_count = n.nboot;
	return true;
}
