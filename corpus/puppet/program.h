/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The puppet's program: what scenario/ compiles and what the puppet carries out.
 *
 * The steps are one X-macro list, so that text, binary form, compiler and puppet cannot forget
 * one. The host writes a program into the mailbox, the puppet writes one result per step behind
 * it. Included by guest code: needs nothing but <stdint.h>.
 */
#ifndef PUPPET_PROGRAM_H
#define PUPPET_PROGRAM_H

#include <stdint.h>

#define PP_MAGIC 0x7465707075703031ull
#define PP_MAX_VCPUS 4u
#define PP_THREADS 8u /* 0 to 3 belong to vCPUs, the rest to whoever switches to them */
#define PP_MAX_ARGS 12u
#define PP_MAX_KEYS 20u
#define PP_IMPORTS 64u /* call-out stubs */
#define PP_IMPORT_STRIDE 32u
#define PP_SHARED 16u /* data imports, 64 bytes each */
#define PP_LABELS 16u /* contexts by number, signals, spaces */
#define PP_VARIABLES 8u
#define PP_SPACES 4u
#define PP_STACKS 4u /* per vCPU, 16 KiB each */
#define PP_NO_LABEL 0xffu

/*
 * X(id, word, shape). The shape says what may follow the word in the text, in this order:
 *   w  width, glued to the word: 1 2 4 8          o  operand      O  optional operand
 *   *  any more operands                          n  number 0..15 s  name
 *   A  optional "as N"   F  optional "from N"     K  optional "keep"
 *   P  page rights       g  register name         k  key=operand...
 *   E  event, verdict    #  the rest of the line
 */
#define PP_OPS(X)                                                                                  \
	X(COMMENT, "#", "#")                                                                       \
	X(CALL, "call", "o*k")                                                                     \
	X(JUMP, "jump", "ok")                                                                      \
	X(CALLOUT, "callout", "sA")                                                                \
	X(RETURN, "return", "OFKk")                                                                \
	X(NEVER, "never", "")                                                                      \
	X(HANDLER, "handler", "oA")                                                                \
	X(IRET, "iret", "FKk")                                                                     \
	X(SETTLE, "settle", "")                                                                    \
	X(RETURNS, "returns", "O")                                                                 \
	X(HONEST, "honest", "oo*")                                                                 \
	X(OUTSIDE, "outside", "s")                                                                 \
	X(EXPECT, "expect", "Ek")                                                                  \
	X(MAYBE, "maybe", "Ek")                                                                    \
	X(EXPECT_OK, "expect-ok", "")                                                              \
	X(STOPS, "stops", "s")                                                                     \
	X(EXPECT_NONE, "expect-none", "")                                                          \
	X(EXPECT_GP, "expect-gp", "")                                                              \
	X(EXPECT_PF, "expect-pf", "O")                                                             \
	X(EXPECT_FAULT, "expect-fault", "o")                                                       \
	X(EXPECT_READ, "expect-read", "woo")                                                       \
	X(EXPECT_REG, "expect-reg", "go")                                                          \
	X(EXPECT_RESULT, "expect-result", "o")                                                     \
	X(EXPECT_CONFIG, "expect-config", "woo")                                                   \
	X(EXPECT_UNPRIVILEGED, "expect-unprivileged", "")                                          \
	X(EXPECT_SUSPENDED, "expect-suspended", "so")                                              \
	X(EXPECT_RINGS, "expect-rings", "o")                                                       \
	X(READ, "read", "wo")                                                                      \
	X(WRITE, "write", "woo")                                                                   \
	X(AWAIT, "await", "woo")                                                                   \
	X(CONFIG_READ, "config-read", "wo")                                                        \
	X(CONFIG_WRITE, "config-write", "woo")                                                     \
	X(POKE, "poke", "soo")                                                                     \
	X(COPY, "copy", "ooo")                                                                     \
	X(LET, "let", "no")                                                                        \
	X(FIND, "find", "nooo")                                                                    \
	X(MAP, "map", "ooP")                                                                       \
	X(MAP_GPA, "map-gpa", "ooP")                                                               \
	X(MAP_NEW, "map-new", "oP")                                                                \
	X(PROTECT, "protect", "oP")                                                                \
	X(UNMAP, "unmap", "oP")                                                                    \
	X(SWAP, "swap", "ooP")                                                                     \
	X(FLUSH, "flush", "o")                                                                     \
	X(CR3, "cr3", "n")                                                                         \
	X(CR0, "cr0", "o")                                                                         \
	X(CR4, "cr4", "o")                                                                         \
	X(EFER, "efer", "o")                                                                       \
	X(DR0, "dr0", "o")                                                                         \
	X(DR7, "dr7", "o")                                                                         \
	X(RAISE, "raise", "o")                                                                     \
	X(SEND, "send", "oo")                                                                      \
	X(TIMER, "timer", "o")                                                                     \
	X(IST, "ist", "no")                                                                        \
	X(GATE, "gate", "on")                                                                      \
	X(TSS, "tss", "o")                                                                         \
	X(IDT, "idt", "o")                                                                         \
	X(ANNOUNCE, "announce", "s")                                                               \
	X(ANNOUNCE_AT, "announce-at", "soo")                                                       \
	X(WITHDRAW, "withdraw", "s")                                                               \
	X(STATUS, "status", "s")                                                                   \
	X(HYPERCALL, "hypercall", "oooo")                                                          \
	X(RELOAD, "reload", "s")                                                                   \
	X(GRANT, "grant", "soO")                                                                   \
	X(WITHHOLD, "withhold", "soO")                                                             \
	X(UNREGISTER, "unregister", "s")                                                           \
	X(RESET, "reset-vcpu", "n")                                                                \
	X(START, "start-vcpu", "n")                                                                \
	X(REGISTER, "register", "soo")                                                             \
	X(FAIL_NEXT, "fail-next", "oo")                                                            \
	X(SWITCH, "switch", "n")                                                                   \
	X(YIELD, "yield", "")                                                                      \
	X(PREEMPT, "preempt", "o")                                                                 \
	X(SIGNAL, "signal", "n")                                                                   \
	X(WAIT, "wait", "n")

#define PP_ENUM_OP(id, word, shape) PP_##id,
enum pp_op { PP_OPS(PP_ENUM_OP) PP_OP_COUNT };

/* key=operand: registers first (x86 encoding order), then what only one or two steps take. */
#define PP_KEYS(X)                                                                                 \
	X(RAX, "rax")                                                                              \
	X(RCX, "rcx")                                                                              \
	X(RDX, "rdx")                                                                              \
	X(RBX, "rbx")                                                                              \
	X(RSP, "rsp")                                                                              \
	X(RBP, "rbp")                                                                              \
	X(RSI, "rsi")                                                                              \
	X(RDI, "rdi")                                                                              \
	X(R8, "r8")                                                                                \
	X(R9, "r9")                                                                                \
	X(R10, "r10")                                                                              \
	X(R11, "r11")                                                                              \
	X(R12, "r12")                                                                              \
	X(R13, "r13")                                                                              \
	X(R14, "r14")                                                                              \
	X(R15, "r15")                                                                              \
	X(RIP, "rip")                                                                              \
	X(FLAGS, "flags")                                                                          \
	X(RING, "ring")                                                                            \
	X(RET, "ret")                                                                              \
	X(SITE, "site")                                                                            \
	X(ACT, "act")                                                                              \
	X(CAUSE, "cause")                                                                          \
	X(MODULE, "module")                                                                        \
	X(VIEW, "view")                                                                            \
	X(OR, "or")

#define PP_ENUM_KEY(id, word) PP_KEY_##id,
enum pp_key { PP_KEYS(PP_ENUM_KEY) PP_KEY_COUNT };
#define PP_GPRS 16u

/* What an operand may add that only the running puppet knows; after @ in the text. */
#define PP_DYNS(X)                                                                                 \
	X(NONE, "")                                                                                \
	X(SAVED_RAX, "saved-rax")                                                                  \
	X(SAVED_RCX, "saved-rcx")                                                                  \
	X(SAVED_RDX, "saved-rdx")                                                                  \
	X(SAVED_RBX, "saved-rbx")                                                                  \
	X(SAVED_RSP, "saved-rsp")                                                                  \
	X(SAVED_RBP, "saved-rbp")                                                                  \
	X(SAVED_RSI, "saved-rsi")                                                                  \
	X(SAVED_RDI, "saved-rdi")                                                                  \
	X(SAVED_R8, "saved-r8")                                                                    \
	X(SAVED_R9, "saved-r9")                                                                    \
	X(SAVED_R10, "saved-r10")                                                                  \
	X(SAVED_R11, "saved-r11")                                                                  \
	X(SAVED_R12, "saved-r12")                                                                  \
	X(SAVED_R13, "saved-r13")                                                                  \
	X(SAVED_R14, "saved-r14")                                                                  \
	X(SAVED_R15, "saved-r15")                                                                  \
	X(SAVED_RIP, "saved-rip")                                                                  \
	X(SAVED_FLAGS, "saved-flags")                                                              \
	X(RESULT, "result")                                                                        \
	X(STACK, "stack")                                                                          \
	X(STACK0, "stack0")                                                                        \
	X(STACK1, "stack1")                                                                        \
	X(STACK2, "stack2")                                                                        \
	X(STACK3, "stack3")                                                                        \
	X(V0, "v0")                                                                                \
	X(V1, "v1")                                                                                \
	X(V2, "v2")                                                                                \
	X(V3, "v3")                                                                                \
	X(V4, "v4")                                                                                \
	X(V5, "v5")                                                                                \
	X(V6, "v6")                                                                                \
	X(V7, "v7")                                                                                \
	X(CR0, "cr0")                                                                              \
	X(CR4, "cr4")                                                                              \
	X(EFER, "efer")                                                                            \
	X(FAULT, "fault")

#define PP_ENUM_DYN(id, word) PP_DYN_##id,
enum pp_dyn { PP_DYNS(PP_ENUM_DYN) PP_DYN_COUNT };

/* Operand prefixes: ~ the direct-map alias of that address, * the 8 bytes that lie there. */
#define PP_ALIAS 1u
#define PP_LOAD 2u

/* Page rights (P). Pairs that are both absent leave a right as it is. */
#define PP_RO 0x01u
#define PP_RW 0x02u
#define PP_USER 0x04u
#define PP_KERNEL 0x08u
#define PP_NX 0x10u
#define PP_X 0x20u
#define PP_NOFLUSH 0x40u

/* `out $0xf8` with this + a vCPU in EAX asks the host: 1 in EAX if that executes nothing any more. */
#define PP_ASK_OFF 0xffff0000u

/* The same with this says: ready, and no program was looked at so far. */
#define PP_READY 0xffff1000u

#define PP_KEEP 1u /* return, iret: the context stays, so that it can be used once more */

struct pp_operand {
	uint64_t value;
	uint8_t dyn;
	uint8_t flags;
	uint8_t key; /* of a key=operand */
	uint8_t pad[5];
};

/* nargs operands, then nkeys operands, follow each step. */
struct pp_step {
	uint32_t size; /* with its operands */
	uint8_t op;
	uint8_t sub; /* width; register; space */
	uint8_t label;
	uint8_t flags;
	uint8_t nargs;
	uint8_t nkeys;
	uint16_t import; /* CALLOUT: number of the stub */
	uint32_t check;	 /* not 0: `out $0xf8` with EAX = index of this step when it is done */
};

enum pp_fail {
	PP_OK,
	PP_FAIL_VALUE,	  /* got, want */
	PP_FAIL_EVENT,	  /* an exception or interrupt nobody expected: got vector, want RIP */
	PP_FAIL_NO_EVENT, /* one was expected: want vector, got kind of arrival */
	PP_FAIL_CALLOUT,  /* got import (or none: ~0), want import */
	PP_FAIL_ABSENT,	  /* no such context, space, page or thread */
	PP_FAIL_TIMEOUT,  /* wait */
	PP_FAIL_RETURNED, /* the call should have returned: got kind of arrival */
	PP_FAIL_FULL	  /* contexts or pages used up */
};

enum pp_arrival { PP_ARRIVED_START, PP_ARRIVED_RETURN, PP_ARRIVED_CALLOUT, PP_ARRIVED_EVENT };

struct pp_result {
	uint32_t done;
	uint32_t fail; /* enum pp_fail */
	uint64_t got;
	uint64_t want;
};

struct pp_thread {
	uint32_t offset; /* of its first step, from the header */
	uint32_t first;	 /* index of its first step */
	uint32_t count;
	uint32_t stops; /* it does not reach its end, and nobody shall wait for it */
};

struct pp_program {
	uint64_t magic;
	uint32_t vcpus;
	uint32_t steps;
	uint32_t results; /* offset of struct pp_result[steps] */
	uint32_t rounds;  /* offset of uint64_t[PP_MAX_VCPUS]: what those did that keep company */
	uint32_t size;
	uint32_t company; /* vCPUs in all: from `vcpus` on they have no thread and keep company */
	struct pp_thread thread[PP_THREADS];
};

/* A number that no hypervisor knows; and what a vCPU writes for rounds that something struck. */
#define PP_NOBODYS_CALL 0x1234u
#define PP_STRUCK (1ull << 63)

#endif
