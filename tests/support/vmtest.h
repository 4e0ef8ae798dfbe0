/* SPDX-License-Identifier: GPL-2.0-only */
/* VMs for tests of vmm/: on the fake engine, with built guests and freshly wrapped modules. */
#ifndef TESTS_SUPPORT_VMTEST_H
#define TESTS_SUPPORT_VMTEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fakeengine.h"
#include "vmm/internal.h"
#include "wrap/wrap.h"

/* A file under $BUILD. */
struct blob vt_read(const char *rel);
struct vm *vt_create(unsigned vcpus, size_t log_lines);
/* The same with corpus/guests/hello.elf loaded. */
struct vm *vt_guest(unsigned vcpus);

struct vt_module {
	struct wrap_result wrapped;
	struct guard_binding binding;
	struct vm_module_source source;
};

/* Wraps corpus/modules/NAME.ko and binds all; device: the doorbell's registers too. */
void vt_wrap(struct vt_module *m, const char *name, bool device);
/* The same with privileges of the caller's choice. */
void vt_wrap_with(struct vt_module *m, const char *name, const struct wrap_privilege *p, size_t n);
/* Without privileges, but with another X than VMMCALL. */
void vt_wrap_x(struct vt_module *m, const char *name, enum gm_x_kind x);
void vt_free(struct vt_module *m);
/* Loads and announces; fails the test if that does not work. Returns the guard's index. */
unsigned vt_load(struct vm *vm, const struct vt_module *m);

/* Segment of the first kind in the manifest; fails the test if there is none. */
unsigned vt_segment(const struct vm *vm, unsigned module, uint32_t kind);
/* Frame under a kernel address, by the guest's tables. */
uint64_t vt_gpa(struct vm *vm, uint64_t gva);
uint64_t vt_symbol(const struct vm *vm, const char *name);

#endif
