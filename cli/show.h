/* SPDX-License-Identifier: GPL-2.0-only */
/* A binding, readable: for `bind --show` and `inspect`. */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include "lib/file.h"
#include "model/guard.h"

/* The words of the policies, NULL-terminated, in the order of model/guard.h's enums. */
extern const char *const show_stack_policies[], *const show_register_policies[],
							*const show_mapping_policies[],
								*const show_refusal_policies[];

const char *show_privilege_kind(uint32_t kind);
/* manifest NULL: privileges go by number. Returns an exit code. */
int show_binding(const char *path, const struct guard_binding *b, bool verified,
		 const struct blob *manifest, bool json);

#endif
