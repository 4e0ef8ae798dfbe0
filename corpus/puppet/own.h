/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A program that the puppet carries with it: what `guardhouse export --c` writes. Linked with the puppet
 * it makes a guest of its own, which no host watches. Words that depend on where modules were loaded are
 * completed before the first step.
 */
#ifndef PUPPET_OWN_H
#define PUPPET_OWN_H

#include "corpus/puppet/program.h"

enum { OWN_SEGMENT, OWN_ID, OWN_TABLE, OWN_DEVICE };

/* program[word] += where that is now. */
struct puppet_patch {
	uint32_t word;
	uint8_t kind, module, segment; /* module: in the order of loading */
};

struct puppet_own {
	uint64_t *program;
	const struct puppet_patch *patch;
	uint32_t patches;
};

/* Defined by the exported file alone. */
extern const struct puppet_own puppet_own __attribute__((weak));

#define PUPPET_GUARDHOUSE(line)                                                                    \
	__asm__(".pushsection .guardhouse, \"\", @progbits\n"                                      \
		".ascii \"" line "\\n\"\n"                                                         \
		".popsection\n")
/* What a module imports, declared by its user: its call-outs land in the puppet's n-th stub. */
#define PUPPET_IMPORT(name, at)                                                                    \
	__asm__(".pushsection .text\n"                                                             \
		".globl " #name "\n" #name ": jmp puppet_imports + " #at "\n"                      \
		".popsection\n")

#endif
