/* SPDX-License-Identifier: GPL-2.0-only */
/* A scenario that is being run: what compile.c, check.c and run.c share. */
#ifndef SCENARIO_RUN_H
#define SCENARIO_RUN_H

#include "scenario/scn.h"
#include "vmm/vm.h"
#include "wrap/wrap.h"

/* What the host does when the puppet tells it that a step is done. */
enum run_check {
	CHECK_NONE,
	CHECK_LINE,    /* expect: the next judged line */
	CHECK_MAYBE,   /* maybe: the same, if it is that */
	CHECK_OK,      /* expect-ok: all that is left */
	CHECK_NOTHING, /* expect-none */
	CHECK_HONEST,  /* ENTER-CALL ok, LEAVE-RETURN ok, and no more */
	CHECK_OUTSIDE, /* TOUCH lines and no others */
	CHECK_UNPRIVILEGED,
	CHECK_SUSPENDED,
	CHECK_RINGS,
	CHECK_GRANT, /* the rest are no checks but acts of the administrator */
	CHECK_WITHHOLD,
	CHECK_UNREGISTER,
	CHECK_RESET,
	CHECK_FAIL_NEXT,
	CHECK_REGISTER,
	CHECK_RELOAD
};

/* How a vCPU may end that does not come to its list's end: `stops`. */
enum run_stop {
	STOP_NONE,
	STOP_STOPPED, /* lower-failed: for good */
	STOP_RESET,   /* off, and nobody starts it again */
	STOP_TRIPLE,  /* a triple fault, which ends the run */
	STOP_VM	      /* the guard stops the VM */
};

/* One step of the puppet's program and where it came from. */
struct run_origin {
	uint16_t step;
	uint8_t check;
	uint8_t op; /* of the puppet's step */
	bool last;  /* of a group of expectations: nothing else may have been judged */
};

/* What one module is made of; kept until the VM is gone. */
struct loaded {
	struct blob object;
	struct wrap_result wrapped;
	struct guard_binding binding;
};

struct run {
	const struct scenario *s;
	const struct scenario_options *opt;
	struct scenario_result *r;
	struct vm *vm;
	unsigned vcpus; /* of the VM; from s->vcpus on they keep company */
	struct error *err;
	unsigned index[SCN_MAX_MODULES]; /* the guard's, by the scenario's */
	uint64_t boot, mailbox;
	unsigned nimports;
	char import[PP_IMPORTS][SCN_MAX_WORD];
	unsigned nshared;
	char shared[PP_SHARED][SCN_MAX_WORD];
	struct blob program;
	struct run_origin *origin;
	unsigned norigin;
	size_t first_line;     /* of the log that is the program's */
	bool ready;	       /* the puppet has started; what is scheduled counts from here */
	bool preempts;	       /* some step is `preempt` */
	struct loaded *loaded; /* what the modules were made of */
	size_t cursor[PP_MAX_VCPUS]; /* log lines of each vCPU that are accounted for */
};

/* ---- run.c ---- */
#define RUN_DOORBELL_SECRET 0x5ec2e7d0u
/* The VM with the puppet and the modules; nothing has run. Ends with run_end(), also after an error. */
bool run_create(struct run *run);
void run_end(struct run *run);
void run_free_program(struct run *run);

/* ---- compile.c ---- */
/* Steps to a puppet's program, with the addresses as they are now. Also again after a reload. */
bool run_compile(struct run *run);
/* Index in s->module of "NAME" or of "NAME:..."; -1: none. */
int run_module(const struct run *run, const char *name);
/* An operand without @value or prefix, as the host sees it. */
bool run_constant(struct run *run, const struct scn_step *st, const struct scn_operand *o,
		  uint64_t *v);
/* Number of the stub for an import, made up on first use; false: too many. */
bool run_import(struct run *run, const char *name, bool add, unsigned *n);
bool run_shared(struct run *run, const char *name, uint64_t *gva);
/* vm_resolve_fn: what no guest symbol or earlier module answers is a stub of the puppet. */
bool run_resolve(void *run, const char *name, uint64_t *gva);
/* Privileges of a loaded module, by kinds. */
uint64_t run_privileges(const struct gm_header *m, uint8_t kinds);

/* Of `stops`: STOP_NONE if there is no such word. */
enum run_stop run_stop_of(const char *word);

/* ---- mutate.c ---- */
/*
 * The administrator registers a copy of module m in which one field of the manifest or of the
 * binding is changed: the index-th record's. The binding names the changed manifest's digest, so
 * nothing but the field can be the reason of a refusal. What is accepted is unregistered at once.
 * false with *err: no such field or record.
 */
bool run_register(struct run *run, unsigned m, const char *field, uint64_t index, uint64_t value,
		  enum guard_verdict *verdict, struct error *err);
/* All fields, for tests: NULL behind the last. */
const char *run_field(unsigned n);

/* ---- check.c ---- */
/* vm_host_fn: the puppet has told that a step is done. */
bool run_on_port(void *run, struct vm *vm, unsigned vcpu);
/* After the run: lines nobody expected, steps that failed or were not reached. */
void run_finish(struct run *run, const struct vm_exit *exit);
void run_fail(struct run *run, uint32_t line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
