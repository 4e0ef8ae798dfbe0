/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When two verdict logs are equal (docs/semantics.md, "Engines and the verdict log"): the same per
 * vCPU without N, without the DEPART and RESUME lines that only an engine's timing decides, and
 * with TOUCH once per instruction.
 *
 * A log is compared as a copy that outlives its VM, with sites and modules by name: engines run
 * one after the other, and what a name stands for may lie elsewhere.
 */
#ifndef VMM_COMPARE_H
#define VMM_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/error.h"
#include "model/names.h"

struct vm;

/* What is left out of a comparison, by class. */
#define COMPARE_CLASSES(X)                                                                         \
	X(DEPART_IRQ, "DEPART by interrupt")                                                       \
	X(DEPART_NMI, "DEPART by NMI")                                                             \
	X(DEPART_KICK, "DEPART by kick")                                                           \
	X(DEPART_OTHER, "DEPART by SMI or INIT")                                                   \
	X(RESUME, "RESUME after these")                                                            \
	X(TOUCH, "TOUCH repeated by one instruction")
#define COMPARE_ENUM(id, string) COMPARE_##id,
enum compare_class { COMPARE_CLASSES(COMPARE_ENUM) COMPARE_NCLASSES };
#define COMPARE_KEPT COMPARE_NCLASSES /* no class: the line is compared */

const char *compare_class_string(enum compare_class c);

/* One line of a log. */
struct compare_line {
	uint64_t n;
	unsigned vcpu;
	enum guard_event_name event;
	enum guard_cause cause;
	uint8_t module; /* as the log's guard numbered it */
	uint32_t act;
	uint8_t left; /* enum compare_class or COMPARE_KEPT: filled by log_compare() */
	size_t text;  /* offset of what is compared: the line behind N */
};

/* Zero is an empty one. */
struct log_copy {
	struct compare_line *line;
	size_t count, room;
	char *text;
	size_t size, text_room;
	uint64_t lost;
	char modules[1024]; /* "NAME ID" of all that were loaded, in order */
};

/* false: out of memory. `text`: the line as vm_log_format() has it, N and blank included. */
bool log_copy_add(struct log_copy *c, const struct compare_line *line, const char *text,
		  struct error *err);
/* All lines of a VM's log, their sites and modules named. *c must be zero. false: no memory. */
bool log_copy_take(struct log_copy *c, const struct vm *vm, struct error *err);
void log_copy_free(struct log_copy *c);

enum compare_verdict {
	COMPARE_EQUAL,
	COMPARE_DIFFERENT,
	COMPARE_NOTHING, /* not one line was compared: shows nothing */
	COMPARE_LOST,	 /* a ring overflowed: what is missing cannot be judged */
	COMPARE_MODULES	 /* they did not run the same modules */
};

#define COMPARE_END SIZE_MAX

struct compare_result {
	enum compare_verdict verdict;
	uint64_t lines[2]; /* of each log in all */
	uint64_t compared; /* pairs that were found equal */
	uint64_t left[2][COMPARE_NCLASSES];
	/* DIFFERENT: the first one, by the order of log 0. COMPARE_END: this log has no such line. */
	unsigned vcpu;
	size_t at[2];
};

/* Marks the lines of both (`left`). false: out of memory. */
bool log_compare(struct log_copy *a, struct log_copy *b, struct compare_result *r,
		 struct error *err);
uint64_t compare_left(const struct compare_result *r, unsigned side);
/* "equal", "different", ...: one word for tables and JSON. */
const char *compare_verdict_string(enum compare_verdict v);
/* The first difference, with what came before it on that vCPU, both sides; by line number. */
void compare_print_difference(const struct compare_result *r, const struct log_copy *a,
			      const struct log_copy *b, const char *const name[2], FILE *to);

#endif
