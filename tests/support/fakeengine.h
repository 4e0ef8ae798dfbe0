/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An engine that runs nothing: it keeps registers, remembers what vmm/ asked of it, and run()
 * plays a script. For tests of vmm/ alone.
 */
#ifndef TESTS_SUPPORT_FAKEENGINE_H
#define TESTS_SUPPORT_FAKEENGINE_H

#include "vmm/engine.h"

#define FAKE_STEPS 64u

/* One return of run(): the vCPU gets this RIP. */
struct fake_step {
	enum vm_exit_reason reason;
	unsigned vcpu;
	uint64_t rip;
	const char *message;
};

struct fakeengine {
	struct vm *vm;
	struct engine_config cfg;
	struct guard_cpu cpu[GH_MAX_VCPUS];
	struct engine_sys sys[GH_MAX_VCPUS];
	enum engine_run_state state[GH_MAX_VCPUS];
	uint8_t view[GH_MAX_VCPUS];
	bool dirty[GH_MAX_VCPUS]; /* of the last set_view() into a module */
	bool refuse_view;
	unsigned views, changed, tracked, invalidated, interrupts;
	uint32_t kicked;
	uint64_t last_changed, last_tracked;
	struct fake_step step[FAKE_STEPS];
	unsigned steps, next;
};

extern const struct engine_ops fake_engine;
/* The engine of the last VM that was created with fake_engine. */
extern struct fakeengine *fake_last;

void fake_script(struct fakeengine *e, enum vm_exit_reason reason, unsigned vcpu, uint64_t rip,
		 const char *message);

#endif
