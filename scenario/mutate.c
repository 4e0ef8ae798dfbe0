/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Manifests and bindings as hostile data: any one field changed, then REGISTER.
 *
 * The fields are lists made from the structures' own members, so that a test can go through all
 * of them and none has a second description here.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "scenario/run.h"

struct field {
	const char *name;
	size_t table;  /* of struct gm_table in the header; or one of the two below */
	size_t stride; /* of the table's records */
	size_t offset, width;
	unsigned count; /* for what is no table */
};

#define HEADER SIZE_MAX
#define BINDING (SIZE_MAX - 1)

#define WIDTH(type, member) sizeof(((type *)0)->member)
#define IN(record, list, type, member)                                                             \
	{ #record "." #member, offsetof(struct gm_header, list),                                   \
	  sizeof(type),	       offsetof(type, member),                                             \
	  WIDTH(type, member), 0 },
#define HEAD(member)                                                                               \
	{ "header." #member,                                                                       \
	  HEADER,                                                                                  \
	  0,                                                                                       \
	  offsetof(struct gm_header, member),                                                      \
	  WIDTH(struct gm_header, member),                                                         \
	  1 },
#define TABLE(member)                                                                              \
	{ "header." #member ".offset",                                                             \
	  HEADER,                                                                                  \
	  0,                                                                                       \
	  offsetof(struct gm_header, member) + offsetof(struct gm_table, offset),                  \
	  4,                                                                                       \
	  1 },                                                                                     \
		{ "header." #member ".count",                                                      \
		  HEADER,                                                                          \
		  0,                                                                               \
		  offsetof(struct gm_header, member) + offsetof(struct gm_table, count),           \
		  4,                                                                               \
		  1 },
#define BOUND(name, type, member, first, n)                                                        \
	{ (name),                                                                                  \
	  BINDING,                                                                                 \
	  sizeof(type),                                                                            \
	  offsetof(struct guard_binding, first) + offsetof(type, member),                          \
	  WIDTH(type, member),                                                                     \
	  (n) },

#define SEGMENT(m) IN(segment, segments, struct gm_segment, m)
#define GATE(m) IN(gate, gates, struct gm_gate, m)
#define ENTRY(m) IN(entry, entries, struct gm_entry, m)
#define IMPORT(m) IN(import, imports, struct gm_import, m)
#define RELOC(m) IN(reloc, relocs, struct gm_reloc, m)
#define SITE(m) IN(site, sites, struct gm_site, m)
#define CHOICE(m) IN(choice, choices, struct gm_choice, m)
#define CHOICE_RELOC(m) IN(choice_reloc, choice_relocs, struct gm_reloc, m)
#define UNWIND(m) IN(unwind, unwind, struct gm_unwind, m)
#define FIXUP(m) IN(fixup, fixups, struct gm_fixup, m)
#define JUMP(m) IN(jump, jumps, struct gm_jump, m)
#define PRIVILEGE(m) IN(privilege, privileges, struct gm_privilege, m)

static const struct field fields[] = {
	HEAD(magic) HEAD(version) HEAD(total) HEAD(x_kind) HEAD(flags) HEAD(name) HEAD(
		reserved) TABLE(segments) TABLE(gates) TABLE(entries) TABLE(imports) TABLE(relocs)
		TABLE(sites) TABLE(choices) TABLE(choice_relocs) TABLE(retsites) TABLE(
			unwind) TABLE(fixups) TABLE(jumps) TABLE(privileges) TABLE(image)
			TABLE(names) SEGMENT(name) SEGMENT(kind) SEGMENT(start) SEGMENT(
				size) SEGMENT(image) SEGMENT(reserved) GATE(offset) GATE(kind)
				GATE(x) GATE(reg) GATE(reserved) GATE(index) ENTRY(moff) ENTRY(
					name) ENTRY(headroom) ENTRY(flags) ENTRY(gate) IMPORT(name)
					IMPORT(flags) IMPORT(preserve) RELOC(moff) RELOC(type) RELOC(
						kind) RELOC(target) RELOC(reserved) RELOC(addend)
						SITE(moff) SITE(size) SITE(flags) SITE(group) SITE(
							first) SITE(count) CHOICE(bytes)
							CHOICE(first_reloc) CHOICE(relocs) CHOICE_RELOC(
								moff) CHOICE_RELOC(type)
								CHOICE_RELOC(kind) CHOICE_RELOC(
									target) CHOICE_RELOC(reserved)
									CHOICE_RELOC(addend){
										"retsite.moff",
										offsetof(struct
											 gm_header,
											 retsites),
										4, 0, 4, 0 },
	UNWIND(moff) UNWIND(cfa_offset) UNWIND(bp_offset) UNWIND(cfa_rule) UNWIND(cfa_reg)
		UNWIND(bp_rule) UNWIND(reserved) FIXUP(moff) FIXUP(target) FIXUP(kind) FIXUP(regs)
			JUMP(moff) JUMP(target) PRIVILEGE(kind) PRIVILEGE(name) PRIVILEGE(first)
				PRIVILEGE(last){ "binding.digest", BINDING, 1,
						 offsetof(struct guard_binding, digest), 1, 32 },
	{ "binding.bound", BINDING, 8, offsetof(struct guard_binding, bound), 8, 1 },
	BOUND("resource.base", struct guard_resource, base, resource, GM_MAX_PRIVILEGES) BOUND(
		"resource.length", struct guard_resource, length, resource,
		GM_MAX_PRIVILEGES) BOUND("policy.stack", struct guard_policy, stack, policy, 1)
		BOUND("policy.registers", struct guard_policy, registers, policy,
		      1) BOUND("policy.mapping", struct guard_policy, mapping, policy,
			       1) BOUND("policy.refusal", struct guard_policy, refusal, policy, 1)
			BOUND("policy.chains", struct guard_policy, chains, policy, 1)
				BOUND("policy.required", struct guard_policy, required, policy, 1)
};

const char *run_field(unsigned n)
{
	return n < sizeof(fields) / sizeof(fields[0]) ? fields[n].name : NULL;
}

/* Where the field lies in the copies, NULL: there is no such record. */
static uint8_t *place(const struct field *f, uint64_t index, uint8_t *manifest,
		      struct guard_binding *b)
{
	struct gm_table t;

	if (f->table == HEADER)
		return index == 0 ? manifest + f->offset : NULL;
	if (f->table == BINDING)
		return index < f->count ? (uint8_t *)b + f->offset + index * f->stride : NULL;
	memcpy(&t, manifest + f->table, sizeof(t));
	return index < t.count ? manifest + t.offset + index * f->stride + f->offset : NULL;
}

static const struct field *find(const char *name)
{
	for (unsigned i = 0; run_field(i); i++)
		if (strcmp(name, fields[i].name) == 0)
			return &fields[i];
	return NULL;
}

bool run_register(struct run *run, unsigned m, const char *field, uint64_t index, uint64_t value,
		  enum guard_verdict *verdict, struct error *err)
{
	const struct loaded *l = &run->loaded[m];
	const struct field *f = find(field);
	struct guard_binding b = l->binding;
	struct blob copy = { 0 };
	uint8_t *at;
	bool ok;

	if (!f)
		return error_set(err, "no such field: '%s'", field);
	copy.size = l->wrapped.manifest.size;
	copy.data = malloc(copy.size);
	if (!copy.data)
		return error_set(err, "out of memory");
	memcpy(copy.data, l->wrapped.manifest.data, copy.size);
	at = place(f, index, copy.data, &b);
	if (!at) {
		blob_free(&copy);
		return error_set(err, "%s: there is no record %" PRIu64, field, index);
	}
	for (size_t i = 0; i < f->width && i < 8; i++)
		at[i] = (uint8_t)(value >> 8 * i);
	/* The digest is what it is, unless it is the digest that is wrong. */
	if (f->table != BINDING)
		manifest_digest(&copy, b.digest);
	ok = vm_try_register(run->vm, &copy, &b, verdict) || error_set(err, "out of memory");
	blob_free(&copy);
	return ok;
}
