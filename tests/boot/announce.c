/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A simulated machine gets a module's memory as a real Linux had it, at the addresses that it had
 * there, and its loader announces it: without the init segments, which are gone. As it is, that
 * must be accepted. Then, page by page, single bytes are changed, and each must be refused.
 *
 * Left out are patch sites (there, other contents are legal) and fields that lead to imports: where
 * an import lies is the untrusted kernel's word. compare.c proves those.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/boot/truth.h"
#include "wrap/wrap.h"

#define TABLE_GVA 0xffffffffe8000000ull
#define OWN_PLACE 0xffffffffe0000000ull /* where the machine loads a copy of its own */
#define MAX_CALLS 1000000u

struct machine {
	struct vm *vm;
	const struct vm_module *m;
	uint64_t segments;
};

static enum guard_verdict call(const struct machine *k, uint64_t number)
{
	struct guard_event ev = { .type = GUARD_EV_X, .cause = GUARD_CAUSE_X };
	struct guard_decision d;
	struct engine_sys sys;
	uint64_t result;
	unsigned calls = 0;

	vm_boot_state(k->vm, 0, &ev.cpu, &sys);
	ev.cpu.gpr[GUARD_RBX] = k->m->id;
	ev.cpu.gpr[GUARD_RCX] = TABLE_GVA;
	ev.cpu.gpr[GUARD_RDX] = k->segments;
	do {
		ev.cpu.gpr[GUARD_RAX] = number;
		vm_judge(k->vm, &ev, &d);
		result = d.foreign || d.inject_gp ? (uint64_t)d.verdict : d.cpu.gpr[GUARD_RAX];
	} while (result == GUARD_V_AGAIN && ++calls < MAX_CALLS);
	return (enum guard_verdict)result;
}

static bool place_dump(const struct machine *k, const struct truth *t, struct error *err)
{
	const struct gm_segment *s = vm_segments(&t->m);
	uint64_t table[GM_MAX_SEGMENTS] = { 0 };
	uint32_t i;

	for (i = 0; i < k->segments; i++) {
		const struct blob *mem = &t->dump.memory[i];

		table[i] = segment_init(&s[i]) ? 0 : t->dump.base[i];
		if (mem->size && (!vm_map_ram(k->vm, table[i], mem->size, false, NULL) ||
				  !vm_write_u(k->vm, 0, table[i], mem->data, mem->size)))
			return error_set(err, "%s: segment %u has no place in the machine", t->name,
					 i);
	}
	if (!vm_map_ram(k->vm, TABLE_GVA, VM_PAGE, false, NULL) ||
	    !vm_write_u(k->vm, 0, TABLE_GVA, table, sizeof(table)))
		return error_set(err, "%s: no room for the table of bases", t->name);
	return true;
}

/* May every byte here only be what it is? 1 per byte of the moff space. */
static uint8_t *fixed_bytes(const struct truth *t)
{
	const struct gm_header *h = vm_manifest(&t->m);
	const struct gm_segment *s = vm_segments(&t->m);
	const struct gm_reloc *r = (const void *)(t->m.manifest.data + h->relocs.offset);
	const struct gm_site *site = (const void *)(t->m.manifest.data + h->sites.offset);
	const struct gm_segment *last = &s[h->segments.count - 1];
	uint8_t *fixed = malloc(last->start + (size_t)last->size + VM_PAGE);
	uint32_t i;

	if (!fixed)
		return NULL;
	memset(fixed, 1, last->start + (size_t)last->size + VM_PAGE);
	for (i = 0; i < h->relocs.count; i++)
		if (r[i].kind == GM_TARGET_IMPORT ||
		    (r[i].kind == GM_TARGET_SEGMENT && segment_init(&s[r[i].target])))
			memset(fixed + r[i].moff, 0,
			       r[i].type == GM_R_64 || r[i].type == GM_R_PC64 ? 8 : 4);
	for (i = 0; i < h->sites.count; i++)
		memset(fixed + site[i].moff, 0, site[i].size);
	return fixed;
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

/* One byte is changed, announced, and put back. */
static bool change(const struct machine *k, uint64_t gva, uint8_t flip, struct announced *a)
{
	enum guard_verdict v;
	uint8_t byte;

	if (!vm_read_u(k->vm, 0, gva, &byte, 1))
		return false;
	byte ^= flip;
	if (!vm_write_u(k->vm, 0, gva, &byte, 1))
		return false;
	v = call(k, GUARD_CALL_ANNOUNCE);
	a->tried++;
	if (v == GUARD_V_BAD_TEXT)
		a->refused++;
	else if (!a->accepted++)
		a->first_accepted = gva;
	byte ^= flip;
	return (v != GUARD_V_OK || call(k, GUARD_CALL_WITHDRAW) == GUARD_V_OK) &&
	       vm_write_u(k->vm, 0, gva, &byte, 1);
}

static bool change_pages(const struct machine *k, const struct truth *t, const uint8_t *fixed,
			 unsigned each_page, struct announced *a)
{
	const struct gm_segment *s = vm_segments(&t->m);
	uint32_t state = 1, i, page, n, tries, at;

	for (i = 0; i < k->segments; i++) {
		if (!segment_verified(&s[i]))
			continue;
		for (page = 0; page < t->dump.memory[i].size; page += (uint32_t)VM_PAGE) {
			a->pages++;
			for (n = tries = 0; n < each_page && tries < 100000; tries++) {
				at = page + next_random(&state) % (uint32_t)VM_PAGE;
				if (!fixed[s[i].start + at])
					continue;
				if (!change(k, t->dump.base[i] + at,
					    (uint8_t)(1u << next_random(&state) % 8), a))
					return false;
				n++;
			}
		}
	}
	return true;
}

static bool announce_all(struct machine *k, const struct truth *t, unsigned each_page,
			 struct announced *a, struct error *err)
{
	uint8_t *fixed = fixed_bytes(t);
	enum guard_verdict v;
	bool ok;

	v = call(k, GUARD_CALL_ANNOUNCE);
	if (v != GUARD_V_OK)
		error_set(err, "%s: the dump as it is: ANNOUNCE refused: %s", t->name,
			  guard_verdict_string(v));
	ok = fixed && v == GUARD_V_OK && call(k, GUARD_CALL_WITHDRAW) == GUARD_V_OK;
	if (ok && !change_pages(k, t, fixed, each_page, a))
		ok = error_set(err, "%s: memory of the machine cannot be changed", t->name);
	/* The last word is the first one: nothing of all that has stayed. */
	if (ok && call(k, GUARD_CALL_ANNOUNCE) != GUARD_V_OK)
		ok = error_set(err, "%s: the dump as it is: refused in the end", t->name);
	free(fixed);
	return ok;
}

bool announce_dump(const struct truth *t, const char *guest, unsigned each_page,
		   struct announced *a, struct error *err)
{
	struct vm_config cfg = { .engine = &sim_engine, .vcpus = 1, .x_kind = GM_X_NOP };
	struct guard_binding binding = { .policy.chains = 4 };
	struct vm_module_source src = {
		.name = t->name, .ko = t->m.ko, .manifest = t->m.manifest, .binding = &binding
	};
	struct machine k = { .segments = vm_manifest(&t->m)->segments.count };
	struct blob elf;
	unsigned index;
	bool ok = false;

	memset(a, 0, sizeof(*a));
	manifest_digest(&t->m.manifest, binding.digest);
	if (!blob_read(&elf, guest, 64u << 20, err))
		return false;
	k.vm = vm_create(&cfg, err);
	if (k.vm && vm_load_guest(k.vm, guest, &elf, err)) {
		k.vm->next_module = OWN_PLACE;
		if (vm_load_module(k.vm, &src, false, kallsyms_resolve,
				   (void *)(uintptr_t)&t->symbols, &index, err)) {
			k.m = k.vm->module[index];
			ok = place_dump(&k, t, err) && announce_all(&k, t, each_page, a, err);
		}
	}
	if (k.vm)
		vm_destroy(k.vm);
	blob_free(&elf);
	return ok;
}
