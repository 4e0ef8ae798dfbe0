/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names for addresses and addresses for names: of the guest image (its ELF symbols) and of each
 * module (ELF symbols, and from the manifest its gates: enter/f, leave/g, leave/%reg, leave-return,
 * enter-return). Names come from hostile files: they are bounded and made printable here, once.
 */
#include <stdlib.h>
#include <string.h>

#include "vmm/internal.h"

#define NAME_MAX_BYTES 128u

bool vm_symbol_add(struct vm_symbol_list *l, const char *prefix, const char *name, size_t max,
		   uint64_t address, uint64_t size, enum vm_symbol_kind kind)
{
	size_t plen = strlen(prefix), len = strnlen(name, max), i;
	char *text;

	if (len > NAME_MAX_BYTES)
		len = NAME_MAX_BYTES;
	if (!len)
		return true;
	if (l->count == l->room) {
		size_t room = l->room ? l->room * 2 : 256;
		struct vm_symbol *p = realloc(l->item, room * sizeof(*p));

		if (!p)
			return false;
		l->item = p;
		l->room = room;
	}
	text = malloc(plen + len + 1);
	if (!text)
		return false;
	memcpy(text, prefix, plen);
	for (i = 0; i < len; i++)
		text[plen + i] = name[i] > ' ' && name[i] < 0x7f ? name[i] : '_';
	text[plen + len] = 0;
	l->item[l->count++] = (struct vm_symbol){
		.address = address, .size = size, .name = text, .kind = (uint8_t)kind
	};
	return true;
}

static int by_address(const void *a, const void *b)
{
	const struct vm_symbol *x = a, *y = b;

	if (x->address != y->address)
		return x->address < y->address ? -1 : 1;
	/* The last of equal addresses is the one shown: gates, then globals, then locals. */
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return strcmp(y->name, x->name);
}

static int by_name(const void *a, const void *b)
{
	const struct vm_symbol *x = *(struct vm_symbol *const *)a;
	const struct vm_symbol *y = *(struct vm_symbol *const *)b;
	int order = strcmp(x->name, y->name);

	if (order)
		return order;
	if (x->kind != y->kind)
		return x->kind > y->kind ? -1 : 1;
	return x < y ? -1 : 1;
}

bool vm_symbols_build(struct vm_symbols *s, struct vm_symbol_list *l, uint64_t low, uint64_t high)
{
	struct vm_symbol **names = NULL;

	if (l->count) {
		names = malloc(l->count * sizeof(struct vm_symbol *));
		if (!names)
			return false;
		qsort(l->item, l->count, sizeof(*l->item), by_address);
		for (size_t i = 0; i < l->count; i++)
			names[i] = &l->item[i];
		qsort(names, l->count, sizeof(struct vm_symbol *), by_name);
	}
	vm_symbols_free(s);
	s->by_address = l->item;
	s->by_name = names;
	s->count = l->count;
	s->low = low;
	s->high = high;
	memset(l, 0, sizeof(*l));
	return true;
}

static void free_names(struct vm_symbol *item, size_t count)
{
	while (count)
		free(item[--count].name);
	free(item);
}

void vm_symbols_free(struct vm_symbols *s)
{
	free_names(s->by_address, s->count);
	free(s->by_name);
	memset(s, 0, sizeof(*s));
}

void vm_symbol_list_free(struct vm_symbol_list *l)
{
	free_names(l->item, l->count);
	memset(l, 0, sizeof(*l));
}

const struct vm_symbol *vm_symbols_find(const struct vm_symbols *s, const char *name)
{
	size_t lo = 0, hi = s->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(s->by_name[mid]->name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < s->count && !strcmp(s->by_name[lo]->name, name) ? s->by_name[lo] : NULL;
}

static int segment_at(const struct vm_module *m, const uint64_t *base, uint64_t gva)
{
	const struct gm_segment *s = vm_segments(m);
	uint32_t i, n = vm_manifest(m)->segments.count;

	for (i = 0; i < n && i < GM_MAX_SEGMENTS; i++)
		if (base[i] && gva - base[i] < ((s[i].size + VM_PAGE - 1) & ~(VM_PAGE - 1)))
			return (int)i;
	return -1;
}

int vm_module_segment(const struct vm_module *m, uint64_t gva)
{
	return segment_at(m, m->base, gva);
}

struct vm_module *vm_module_at(const struct vm *vm, uint64_t gva)
{
	unsigned i;

	for (i = 0; i < vm->nloaded; i++)
		if (vm_module_segment(vm->loaded[i], gva) >= 0)
			return vm->loaded[i];
	return NULL;
}

/* "module:name", also where the module was loaded twice: then the latest. */
bool vm_symbol_address(const struct vm *vm, const char *name, uint64_t *gva)
{
	const char *colon = strchr(name, ':');
	const struct vm_symbol *s;
	unsigned i;

	if (!colon) {
		s = vm_symbols_find(&vm->symbols, name);
		if (s)
			*gva = s->address;
		return s != NULL;
	}
	for (i = vm->nloaded; i-- > 0;) {
		const struct vm_module *m = vm->loaded[i];

		if (strlen(m->name) != (size_t)(colon - name) ||
		    memcmp(m->name, name, (size_t)(colon - name)) != 0)
			continue;
		s = vm_symbols_find(&m->symbols, colon + 1);
		if (s) {
			*gva = s->address;
			return true;
		}
	}
	return false;
}

/* The last symbol at or below gva. */
static const struct vm_symbol *nearest(const struct vm_symbols *s, uint64_t gva)
{
	size_t lo = 0, hi = s->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->by_address[mid].address <= gva)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? &s->by_address[lo - 1] : NULL;
}

void vm_symbols_retire(struct vm *vm, const struct vm_module *m, const uint64_t *base,
		       const struct vm_symbols *symbols)
{
	struct vm_old_place *p = vm->old_place;

	if (vm->old_places == VM_OLD_PLACES) {
		vm_symbols_free(&p->symbols);
		memmove(p, p + 1, (VM_OLD_PLACES - 1) * sizeof(*p));
		vm->old_places--;
	}
	p += vm->old_places++;
	p->module = m;
	memcpy(p->base, base, sizeof(p->base));
	p->symbols = *symbols;
}

const char *vm_symbolize(const struct vm *vm, uint64_t gva, char *buf, size_t len)
{
	const struct vm_module *m = vm_module_at(vm, gva);
	const struct vm_symbols *from = m ? &m->symbols : NULL;
	const struct vm_symbol *s = NULL;
	unsigned i;

	for (i = vm->old_places; !m && i-- > 0;)
		if (segment_at(vm->old_place[i].module, vm->old_place[i].base, gva) >= 0) {
			m = vm->old_place[i].module;
			from = &vm->old_place[i].symbols;
		}
	if (!m && gva >= vm->symbols.low && gva < vm->symbols.high)
		from = &vm->symbols;
	if (from)
		s = nearest(from, gva);
	if (s)
		snprintf(buf, len, "%s%s%s+0x%llx", m ? m->name : "", m ? ":" : "", s->name,
			 (unsigned long long)(gva - s->address));
	else
		snprintf(buf, len, "?+0x%llx", (unsigned long long)gva);
	return buf;
}

uint64_t vm_module_base(const struct vm *vm, unsigned module, unsigned segment)
{
	const struct vm_module *m = module < GUARD_MAX_MODULES ? vm->module[module] : NULL;

	return m && segment < GM_MAX_SEGMENTS ? m->base[segment] : 0;
}

const char *vm_module_name(const struct vm *vm, unsigned module)
{
	const struct vm_module *m = module < GUARD_MAX_MODULES ? vm->module[module] : NULL;

	return m ? m->name : "?";
}

const struct gm_header *vm_module_manifest(const struct vm *vm, unsigned module)
{
	const struct vm_module *m = module < GUARD_MAX_MODULES ? vm->module[module] : NULL;

	return m ? vm_manifest(m) : NULL;
}
