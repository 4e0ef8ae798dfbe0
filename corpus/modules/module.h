/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a sample module needs of a module loader's conventions. Section names and table layouts are
 * those of Linux 6.1, so that the toolchain sees in the samples what it sees in real drivers.
 */
#ifndef CORPUS_MODULE_H
#define CORPUS_MODULE_H

#include <stdint.h>

/* Lives in private memory: hidden from everything but this module's own instructions. */
#define __private __attribute__((section(".guard_private")))
#ifdef UNWRAPPED
/*
 * A module that stays as it is must have its private memory on pages of its own. Subsection 1 comes
 * behind all that the compiler puts into the section.
 */
__asm__(".pushsection .guard_private, 1, \"aw\", @progbits\n"
	".balign 4096\n"
	".popsection\n");
#endif
#define __init __attribute__((section(".init.text"), __noinline__))
#define __exit __attribute__((section(".exit.text"), __noinline__))
#define noinline __attribute__((__noinline__))

#define MODULE_INFO(tag, text)                                                                     \
	static const char modinfo_##tag[]                                                          \
		__attribute__((section(".modinfo"), used, aligned(1))) = #tag "=" text

/* One record of __ksymtab: symbol, name, namespace, each relative to the field that holds it. */
#define EXPORT_SYMBOL(sym)                                                                         \
	__asm__(".pushsection __ksymtab_strings, \"aMS\", @progbits, 1\n"                          \
		".Lkstr_" #sym ": .asciz \"" #sym "\"\n"                                           \
		".Lkns_" #sym ": .asciz \"\"\n"                                                    \
		".popsection\n"                                                                    \
		".pushsection __ksymtab, \"a\"\n"                                                  \
		".balign 4\n"                                                                      \
		"__ksymtab_" #sym ":\n"                                                            \
		".long " #sym " - .\n"                                                             \
		".long .Lkstr_" #sym " - .\n"                                                      \
		".long .Lkns_" #sym " - .\n"                                                       \
		".popsection\n")

/* Exception table: a fault at `insn` continues at `fixup` with GPR `reg` set to -EFAULT. */
#define EX_TYPE_IMM_REG 17
#define EX_EFAULT 14
#define EXTABLE_EFAULT(insn, fixup, reg)                                                           \
	".pushsection __ex_table, \"a\"\n"                                                         \
	".balign 4\n"                                                                              \
	".long " insn " - .\n"                                                                     \
	".long " fixup " - .\n"                                                                    \
	".long 17 | (" #reg " << 8) | (-14 << 16)\n"                                               \
	".popsection\n"

/* A warning: ud2, which the kernel reports and steps over. */
#define WARN_HERE()                                                                                \
	__asm__ volatile("1: ud2\n"                                                                \
			 ".pushsection __bug_table, \"aw\"\n"                                      \
			 "2: .long 1b - .\n" /* bug_addr_disp */                                   \
			 ".long 0\n"	     /* file_disp */                                       \
			 ".word %c0\n"	     /* line */                                            \
			 ".word 1\n"	     /* BUGFLAG_WARNING */                                 \
			 ".popsection\n"                                                           \
			 :                                                                         \
			 : "i"(__LINE__))

/*
 * A static key: 5 bytes that are a NOP while the key is off and a jump while it is on. The kernel
 * rewrites them at run time; `key` is only the key's identity.
 */
struct static_key {
	long enabled;
};

#define static_branch(key)                                                                         \
	({                                                                                         \
		__label__ on_, out_;                                                               \
		int result_ = 0;                                                                   \
		__asm__ goto("1: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n"                             \
			     ".pushsection __jump_table, \"aw\"\n"                                 \
			     ".balign 8\n"                                                         \
			     ".long 1b - ., %l[on_] - .\n"                                         \
			     ".quad %c0 - .\n"                                                     \
			     ".popsection\n"                                                       \
			     :                                                                     \
			     : "i"(&(key))                                                         \
			     :                                                                     \
			     : on_);                                                               \
		goto out_;                                                                         \
on_:                                                                                               \
		result_ = 1;                                                                       \
out_:                                                                                              \
		result_;                                                                           \
	})

/* ---- what the guest kernel offers (corpus/lib/services.c) ---- */

int printk(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
long kernel_callout(long n); /* the kernel does what it likes; default: returns n */
void kernel_fill(long *out); /* writes an out-parameter; default: 42 */
long kernel_sum8(long a, long b, long c, long d, long e, long f, long g, long h);

/* Every module has these two; the loader calls the first, an unload the second. */
int init_module(void);
void cleanup_module(void);

#endif
