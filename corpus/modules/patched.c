/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * patched: what a loader writes into a module's text, and counter does not have: two places that are
 * patched together for one CPU feature, and the address of a datum of the kernel, twice.
 */
#include "corpus/modules/module.h"

MODULE_INFO(license, "GPL");
MODULE_INFO(description, "sample: alternatives and a data import");

#define PATCHED_SECRET 0x9a7c4ed5ec2e7001ul

static unsigned long secret __private = PATCHED_SECRET;

long patched_check(unsigned long guess)
{
	return guess == secret;
}
EXPORT_SYMBOL(patched_check);

/* Two loads of one datum, by absolute address: the field is the fifth byte of each. */
long patched_clock(void);
long patched_again(void);
/* Begins with a call that a kernel's tracer turns into a NOP or aims at itself, 14 bytes behind
 * patched_clock where nothing is wrapped. */
long patched_traced(void);

#ifdef UNWRAPPED
#define RETURN "ret\n"
#else
#define RETURN "jmp	__x86_return_thunk\n"
#endif

/* One record of .altinstructions: instruction, replacement, feature, their lengths. */
#define ALTERNATIVE(old, new)                                                                      \
	"1:	" old "\n"                                                                         \
	"2:\n"                                                                                     \
	".pushsection .altinstructions, \"a\"\n"                                                   \
	".long 1b - .\n"                                                                           \
	".long 3f - .\n"                                                                           \
	".word 0x70\n"                                                                             \
	".byte 2b - 1b\n"                                                                          \
	".byte 4f - 3f\n"                                                                          \
	".popsection\n"                                                                            \
	".pushsection .altinstr_replacement, \"ax\"\n"                                             \
	"3:	" new "\n"                                                                         \
		      "4:\n"                                                                       \
		      ".popsection\n"

/* 33 as compiled, 66 with the feature: the half of one with the half of the other is neither. */
long patched_pair(void);
__asm__(".pushsection .text\n"
	".globl patched_clock, patched_traced, patched_again, patched_pair\n"
	".type patched_clock, @function\n"
	".type patched_traced, @function\n"
	".type patched_again, @function\n"
	".type patched_pair, @function\n"
	"patched_clock:\n"
	".cfi_startproc\n"
	"	mov	shared_clock, %rax\n"
	"	" RETURN ".cfi_endproc\n"
	".size patched_clock, . - patched_clock\n"
	"patched_traced:\n"
	".cfi_startproc\n"
	"1:	call	__fentry__\n"
	".pushsection __mcount_loc, \"a\"\n"
	".balign 8\n"
	".quad 1b\n"
	".popsection\n"
	"	mov	$5, %eax\n"
	"	" RETURN ".cfi_endproc\n"
	".size patched_traced, . - patched_traced\n"
	"patched_again:\n"
	".cfi_startproc\n"
	"	mov	shared_clock, %rax\n"
	"	" RETURN ".cfi_endproc\n"
	".size patched_again, . - patched_again\n"
	"patched_pair:\n"
	".cfi_startproc\n" ALTERNATIVE("mov $3, %eax", "mov $6, %eax")
		ALTERNATIVE("add $30, %rax",
			    "add $60, %rax") "	" RETURN ".cfi_endproc\n"
					     ".size patched_pair, . - patched_pair\n"
					     ".popsection\n");
EXPORT_SYMBOL(patched_clock);
EXPORT_SYMBOL(patched_traced);
EXPORT_SYMBOL(patched_again);
EXPORT_SYMBOL(patched_pair);

int __init init_module(void)
{
	return 0;
}

void __exit cleanup_module(void)
{
	secret = 0;
}
