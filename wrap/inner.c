// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copies of pure leaf functions for the inside of a module (docs/toolchain.md, "Inner copies").
 *
 * Kernel code never runs with privilege, so each call of memcpy() would be two crossings. These
 * copies are our own, run with the module's privilege and reach only what their arguments reach:
 * no stack, no other memory, no import, no relocation. Each is called as the C function of that
 * name is, returns with a plain `ret`, and changes only registers that C lets a callee change, and
 * flags. DF stays clear: an interrupt finds nothing that the guard would not resume.
 *
 * Results are those of Linux 6.1's lib/string.c and lib/find_bit.c; of memcmp() only the sign.
 */
#include "wrap/inner.h"

#include <string.h>

#define INNER(name, code)                                                                          \
	__asm__(".pushsection .rodata.inner, \"a\"\n"                                              \
		".balign 16\n"                                                                     \
		"inner_" #name ":\n" code "inner_" #name "_end:\n"                                 \
		".popsection\n");                                                                  \
	extern const uint8_t inner_##name[] __attribute__((visibility("hidden")));                 \
	extern const uint8_t inner_##name##_end[] __attribute__((visibility("hidden")))

/* void *memcpy(void *rdi, const void *rsi, size_t rdx) */
INNER(memcpy, "	mov %rdi, %rax\n"
	      "	mov %rdx, %rcx\n"
	      "	rep movsb\n"
	      "	ret\n");

/* void *memset(void *rdi, int esi, size_t rdx) */
INNER(memset, "	mov %rdi, %r8\n"
	      "	mov %rdx, %rcx\n"
	      "	mov %esi, %eax\n"
	      "	rep stosb\n"
	      "	mov %r8, %rax\n"
	      "	ret\n");

/* void *memmove(void *rdi, const void *rsi, size_t rdx): from the end if rdi lies inside */
INNER(memmove, "	mov %rdi, %rax\n"
	       "	mov %rdx, %rcx\n"
	       "	mov %rdi, %r8\n"
	       "	sub %rsi, %r8\n"
	       "	cmp %rdx, %r8\n"
	       "	jb 1f\n"
	       "	rep movsb\n"
	       "	ret\n"
	       "1:	cmp $8, %rcx\n"
	       "	jb 2f\n"
	       "	mov -8(%rsi, %rcx), %r8\n"
	       "	mov %r8, -8(%rdi, %rcx)\n"
	       "	sub $8, %rcx\n"
	       "	jmp 1b\n"
	       "2:	test %rcx, %rcx\n"
	       "	je 3f\n"
	       "	movzbl -1(%rsi, %rcx), %r8d\n"
	       "	mov %r8b, -1(%rdi, %rcx)\n"
	       "	dec %rcx\n"
	       "	jmp 2b\n"
	       "3:	ret\n");

/* int memcmp(const void *rdi, const void *rsi, size_t rdx) */
INNER(memcmp, "1:	sub $1, %rdx\n"
	      "	jb 2f\n"
	      "	movzbl (%rdi), %eax\n"
	      "	movzbl (%rsi), %ecx\n"
	      "	inc %rdi\n"
	      "	inc %rsi\n"
	      "	sub %ecx, %eax\n"
	      "	je 1b\n"
	      "	ret\n"
	      "2:	xor %eax, %eax\n"
	      "	ret\n");

/* void *memchr(const void *rdi, int esi, size_t rdx) */
INNER(memchr, "1:	sub $1, %rdx\n"
	      "	jb 2f\n"
	      "	mov %rdi, %rax\n"
	      "	inc %rdi\n"
	      "	cmp %sil, (%rax)\n"
	      "	jne 1b\n"
	      "	ret\n"
	      "2:	xor %eax, %eax\n"
	      "	ret\n");

/* size_t strlen(const char *rdi) */
INNER(strlen, "	xor %eax, %eax\n"
	      "1:	cmpb $0, (%rdi, %rax)\n"
	      "	je 2f\n"
	      "	inc %rax\n"
	      "	jmp 1b\n"
	      "2:	ret\n");

/* size_t strnlen(const char *rdi, size_t rsi) */
INNER(strnlen, "	xor %eax, %eax\n"
	       "1:	cmp %rsi, %rax\n"
	       "	je 2f\n"
	       "	cmpb $0, (%rdi, %rax)\n"
	       "	je 2f\n"
	       "	inc %rax\n"
	       "	jmp 1b\n"
	       "2:	ret\n");

/* int strcmp(const char *rdi, const char *rsi): -1, 0, 1 */
INNER(strcmp, "1:	movzbl (%rdi), %eax\n"
	      "	movzbl (%rsi), %ecx\n"
	      "	inc %rdi\n"
	      "	inc %rsi\n"
	      "	cmp %cl, %al\n"
	      "	jne 2f\n"
	      "	test %eax, %eax\n"
	      "	jne 1b\n"
	      "	ret\n"
	      "2:	sbb %eax, %eax\n"
	      "	or $1, %eax\n"
	      "	ret\n");

/* int strncmp(const char *rdi, const char *rsi, size_t rdx): -1, 0, 1 */
INNER(strncmp, "1:	sub $1, %rdx\n"
	       "	jb 3f\n"
	       "	movzbl (%rdi), %eax\n"
	       "	movzbl (%rsi), %ecx\n"
	       "	inc %rdi\n"
	       "	inc %rsi\n"
	       "	cmp %cl, %al\n"
	       "	jne 2f\n"
	       "	test %eax, %eax\n"
	       "	jne 1b\n"
	       "	ret\n"
	       "2:	sbb %eax, %eax\n"
	       "	or $1, %eax\n"
	       "	ret\n"
	       "3:	xor %eax, %eax\n"
	       "	ret\n");

/* char *strcpy(char *rdi, const char *rsi) */
INNER(strcpy, "	mov %rdi, %rax\n"
	      "1:	movzbl (%rsi), %ecx\n"
	      "	mov %cl, (%rdi)\n"
	      "	inc %rsi\n"
	      "	inc %rdi\n"
	      "	test %ecx, %ecx\n"
	      "	jne 1b\n"
	      "	ret\n");

/* char *strchr(const char *rdi, int esi) */
INNER(strchr, "1:	movzbl (%rdi), %eax\n"
	      "	cmp %sil, %al\n"
	      "	je 2f\n"
	      "	inc %rdi\n"
	      "	test %eax, %eax\n"
	      "	jne 1b\n"
	      "	ret\n"
	      "2:	mov %rdi, %rax\n"
	      "	ret\n");

/* unsigned long _find_first_bit(const unsigned long *rdi, unsigned long rsi) */
INNER(find_first_bit, "	xor %eax, %eax\n"
		      "1:	cmp %rsi, %rax\n"
		      "	jae 3f\n"
		      "	mov (%rdi), %rcx\n"
		      "	test %rcx, %rcx\n"
		      "	jne 2f\n"
		      "	add $8, %rdi\n"
		      "	add $64, %rax\n"
		      "	jmp 1b\n"
		      "2:	bsf %rcx, %rcx\n"
		      "	add %rcx, %rax\n"
		      "	cmp %rsi, %rax\n"
		      "	jae 3f\n"
		      "	ret\n"
		      "3:	mov %rsi, %rax\n"
		      "	ret\n");

/* unsigned long _find_next_bit(const unsigned long *rdi, unsigned long rsi, unsigned long rdx) */
INNER(find_next_bit, "	cmp %rsi, %rdx\n"
		     "	jae 3f\n"
		     "	mov %rdx, %rcx\n"
		     "	mov %rdx, %rax\n"
		     "	and $-64, %rax\n"
		     "	mov %rax, %r8\n"
		     "	shr $3, %r8\n"
		     "	add %r8, %rdi\n"
		     "	mov (%rdi), %r8\n"
		     "	shr %cl, %r8\n"
		     "	shl %cl, %r8\n"
		     "1:	test %r8, %r8\n"
		     "	jne 2f\n"
		     "	add $64, %rax\n"
		     "	cmp %rsi, %rax\n"
		     "	jae 3f\n"
		     "	add $8, %rdi\n"
		     "	mov (%rdi), %r8\n"
		     "	jmp 1b\n"
		     "2:	bsf %r8, %r8\n"
		     "	add %r8, %rax\n"
		     "	cmp %rsi, %rax\n"
		     "	jae 3f\n"
		     "	ret\n"
		     "3:	mov %rsi, %rax\n"
		     "	ret\n");

#define COPY(import, name)                                                                         \
	{ import, "__guard_" #name, inner_##name, inner_##name##_end }

static const struct inner_copy copies[INNER_COPIES] = {
	COPY("memcpy", memcpy),
	COPY("__memcpy", memcpy),
	COPY("memset", memset),
	COPY("__memset", memset),
	COPY("memmove", memmove),
	COPY("__memmove", memmove),
	COPY("memcmp", memcmp),
	COPY("memchr", memchr),
	COPY("strlen", strlen),
	COPY("strnlen", strnlen),
	COPY("strcmp", strcmp),
	COPY("strncmp", strncmp),
	COPY("strcpy", strcpy),
	COPY("strchr", strchr),
	COPY("_find_first_bit", find_first_bit),
	COPY("_find_next_bit", find_next_bit),
};

const struct inner_copy *inner_copy(unsigned i)
{
	return i < INNER_COPIES ? &copies[i] : NULL;
}

int inner_find(const char *import)
{
	for (int i = 0; i < INNER_COPIES; i++)
		if (strcmp(copies[i].import, import) == 0)
			return i;
	return -1;
}
