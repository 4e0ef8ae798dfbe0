// SPDX-License-Identifier: GPL-2.0-only
/*
 * The long story (guardhouse explain): under each judged event the code at its site and the stack
 * around the word that was exchanged, as both were before and after. The core writes that word and
 * nothing else, so what was before is known from what is there now.
 */
#include <Zydis/Zydis.h>
#include <inttypes.h>

#include "vmm/internal.h"

#define LINES 5
#define BYTES 64u
#define WORDS_BELOW 2u
#define WORDS 6u

/* A word by its symbol, or as a number if it has none. */
static const char *word_name(const struct vm *vm, uint64_t word, char *buf, size_t len)
{
	vm_symbolize(vm, word, buf, len);
	if (buf[0] == '?')
		snprintf(buf, len, "0x%" PRIx64, word);
	return buf;
}

/* From the site on: what lies before it cannot be read backwards without guessing. */
static void code(struct vm *vm, unsigned vcpu, uint64_t rip)
{
	uint8_t bytes[BYTES];
	ZydisDisassembledInstruction in;
	size_t len = 0, at = 0;
	char name[160];

	while (len < BYTES && vm_read_u(vm, vcpu, rip + len, bytes + len, 1))
		len++;
	for (unsigned i = 0; i < LINES && at < len; i++, at += in.info.length) {
		if (ZYAN_FAILED(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, rip + at,
						      bytes + at, len - at, &in)))
			break;
		fprintf(vm->cfg.trace, "      %s %-40s %s\n", i ? "  " : "=>",
			vm_symbolize(vm, rip + at, name, sizeof(name)), in.text);
	}
	if (!len)
		fprintf(vm->cfg.trace, "      => nothing can be read at 0x%" PRIx64 "\n", rip);
}

static void stack(struct vm *vm, unsigned vcpu, const struct guard_line *l, uint64_t rsp)
{
	uint64_t from = (l->slot ? l->slot : rsp) - 8ull * WORDS_BELOW, word;
	char now[160], was[160];
	FILE *f = vm->cfg.trace;

	if (from % 8)
		return;
	fprintf(f, "      stack%s\n", l->slot ? ", before -> after" : ", which nobody has changed");
	for (unsigned i = 0; i < WORDS; i++) {
		uint64_t at = from + 8ull * i;

		if (!vm_read_u(vm, vcpu, at, &word, 8))
			continue;
		fprintf(f, "      %s 0x%016" PRIx64 "  ", at == rsp ? "rsp>" : "    ", at);
		if (l->slot && at == l->slot)
			fprintf(f, "%s -> %s   <- the slot\n",
				word_name(vm, l->old_word, was, sizeof(was)),
				word_name(vm, l->new_word, now, sizeof(now)));
		else
			fprintf(f, "%s\n", word_name(vm, word, now, sizeof(now)));
	}
}

void vm_explain_line(struct vm *vm, unsigned vcpu, const struct guard_line *l,
		     const struct guard_decision *d)
{
	switch (l->event) {
	case GUARD_ENTER_CALL:
	case GUARD_ENTER_RETURN:
	case GUARD_LEAVE_CALL:
	case GUARD_LEAVE_RETURN:
	case GUARD_DEPART:
	case GUARD_RESUME:
		code(vm, vcpu, l->rip);
		stack(vm, vcpu, l, d->cpu.gpr[GUARD_RSP]);
		break;
	default: break;
	}
}
