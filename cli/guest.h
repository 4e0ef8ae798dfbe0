/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest in C, ready to run: what its image asks for (docs/guests.md), its modules wrapped and
 * bound, all in a VM.
 */
#ifndef CLI_GUEST_H
#define CLI_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/error.h"
#include "lib/file.h"
#include "model/guard.h"
#include "vmm/vm.h"
#include "wrap/wrap.h"

/* One `module` line. */
struct guest_module {
	char name[32];
	char file[128]; /* relative to the guest's folder or the corpus */
	bool device;	/* the doorbell's registers are among its privileges */
	bool mwait;	/* so is MWAIT */
	bool bind, grant, announce;
	struct guard_policy policy;
};

/* The section .guardhouse of a guest image. */
struct guest_spec {
	struct guest_module module[GH_MAX_MODULES];
	unsigned modules;
	unsigned vcpus;	 /* 0: not said */
	uint64_t budget; /* 0: not said */
	bool doorbell;
	uint32_t doorbell_secret;
};

struct guest {
	bool views; /* set before guest_build(): modules stay as they are */
	struct guest_spec spec;
	struct vm *vm;
	unsigned vcpus;
	struct wrap_result wrapped[GH_MAX_MODULES];
	struct guard_binding binding[GH_MAX_MODULES];
	unsigned index[GH_MAX_MODULES]; /* the guard's */
};

/* Reads what the image asks for. Errors name the file and the offset of the line. */
bool guest_spec_read(const char *path, const struct blob *elf, struct guest_spec *spec,
		     struct error *err);

/*
 * Builds the VM. cfg->vcpus 0 and cfg->budget 0: what the image asks for, or the default. *g must
 * be zero but for `views`; guest_free() also after a failure.
 */
bool guest_build(struct guest *g, const char *path, const struct blob *elf,
		 const struct vm_config *cfg, struct error *err);
void guest_free(struct guest *g);

#endif
