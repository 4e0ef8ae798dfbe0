// SPDX-License-Identifier: GPL-2.0-only
/* The fields of model/manifest.h by name; the only place where JSON's names are spelled. */
#include "wrap/manifest_fields.h"

#include "model/manifest.h"

#define SIZEOF(record, field) sizeof(((struct record *)0)->field)
#define NUM(record, field)                                                                         \
	{                                                                                          \
#field, offsetof(struct record, field), SIZEOF(record, field), FIELD_NUMBER, NULL  \
	}
#define SIGNED(record, field)                                                                      \
	{                                                                                          \
#field, offsetof(struct record, field), SIZEOF(record, field), FIELD_SIGNED, NULL  \
	}
#define NAME(record, field)                                                                        \
	{                                                                                          \
#field, offsetof(struct record, field), SIZEOF(record, field), FIELD_NAME, NULL    \
	}
#define ENUM(record, field, strings)                                                               \
	{                                                                                          \
#field, offsetof(struct record, field), SIZEOF(record, field), FIELD_ENUM, strings \
	}
#define END                                                                                        \
	{                                                                                          \
		NULL, 0, 0, FIELD_END, NULL                                                        \
	}

static const char *const x_kinds[] = { "vmmcall", "vmcall", "out", "nop", NULL };
static const char *const segment_kinds[] = { "text",	"gates",     "rodata",	    "data",
					     "private", "init-text", "init-rodata", "init-data",
					     "percpu",	NULL };
static const char *const gate_kinds[] = { "pad",   "enter",	     "leave-return",
					  "leave", "leave-indirect", "enter-return",
					  NULL };
static const char *const targets[] = { "segment", "import", "outside", NULL };
static const char *const cfa_rules[] = { "none", "register", "deref", NULL };
static const char *const bp_rules[] = { "same", "at-cfa", "at-bp", NULL };
static const char *const fixup_kinds[] = { "extable", "warn", NULL };
static const char *const privilege_kinds[] = {
	"private", "device", "mwait", "ioport", "msr", NULL
};

const struct manifest_field manifest_header_fields[] = {
	ENUM(gm_header, x_kind, x_kinds),
	NUM(gm_header, flags),
	NAME(gm_header, name),
	NUM(gm_header, total),
	END,
};

static const struct manifest_field segments[] = {
	NAME(gm_segment, name), ENUM(gm_segment, kind, segment_kinds),
	NUM(gm_segment, start), NUM(gm_segment, size),
	NUM(gm_segment, image), END,
};
static const struct manifest_field gates[] = {
	NUM(gm_gate, offset), ENUM(gm_gate, kind, gate_kinds),
	NUM(gm_gate, x),      NUM(gm_gate, reg),
	NUM(gm_gate, index),  END,
};
static const struct manifest_field entries[] = {
	NAME(gm_entry, name), NUM(gm_entry, moff), NUM(gm_entry, headroom),
	NUM(gm_entry, flags), NUM(gm_entry, gate), END,
};
static const struct manifest_field imports[] = {
	NAME(gm_import, name),
	NUM(gm_import, flags),
	NUM(gm_import, preserve),
	END,
};
static const struct manifest_field relocs[] = {
	NUM(gm_reloc, moff),   NUM(gm_reloc, type),	 ENUM(gm_reloc, kind, targets),
	NUM(gm_reloc, target), SIGNED(gm_reloc, addend), END,
};
static const struct manifest_field sites[] = {
	NUM(gm_site, moff),
	NUM(gm_site, size),
	NUM(gm_site, flags),
	NUM(gm_site, group),
	NUM(gm_site, first),
	NUM(gm_site, count),
	END,
};
static const struct manifest_field choices[] = {
	NUM(gm_choice, bytes),
	NUM(gm_choice, first_reloc),
	NUM(gm_choice, relocs),
	END,
};
static const struct manifest_field unwind[] = {
	NUM(gm_unwind, moff),
	ENUM(gm_unwind, cfa_rule, cfa_rules),
	NUM(gm_unwind, cfa_reg),
	SIGNED(gm_unwind, cfa_offset),
	ENUM(gm_unwind, bp_rule, bp_rules),
	SIGNED(gm_unwind, bp_offset),
	END,
};
static const struct manifest_field fixups[] = {
	NUM(gm_fixup, moff),
	NUM(gm_fixup, target),
	ENUM(gm_fixup, kind, fixup_kinds),
	NUM(gm_fixup, regs),
	END,
};
static const struct manifest_field jumps[] = {
	NUM(gm_jump, moff),
	NUM(gm_jump, target),
	END,
};
static const struct manifest_field privileges[] = {
	NAME(gm_privilege, name),
	ENUM(gm_privilege, kind, privilege_kinds),
	NUM(gm_privilege, first),
	NUM(gm_privilege, last),
	END,
};

const struct manifest_field *const manifest_fields[] = {
	segments, gates,  entries, imports, relocs,	sites, choices, relocs,
	NULL,	  unwind, fixups,  jumps,   privileges, NULL,  NULL,
};
