/* SPDX-License-Identifier: GPL-2.0-only */
#include "tests/support/fakeengine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fakeengine *fake_last;

static struct fakeengine *fake(struct engine *e)
{
	return (struct fakeengine *)(void *)e;
}

static struct engine *create(struct vm *vm, const struct engine_config *cfg, struct error *err)
{
	struct fakeengine *f = calloc(1, sizeof(*f));

	if (!f) {
		error_set(err, "out of memory");
		return NULL;
	}
	f->vm = vm;
	f->cfg = *cfg;
	memset(f->view, GUARD_VIEW_U, sizeof(f->view));
	fake_last = f;
	return (struct engine *)(void *)f;
}

static void destroy(struct engine *e)
{
	free(e);
	fake_last = NULL;
}

static void run(struct engine *e, struct vm_exit *exit)
{
	struct fakeengine *f = fake(e);
	const struct fake_step *s;

	if (f->next == f->steps) {
		exit->reason = VM_EXIT_HALTED;
		return;
	}
	s = &f->step[f->next++];
	exit->reason = s->reason;
	exit->vcpu = s->vcpu;
	exit->rip = s->rip;
	f->cpu[s->vcpu].rip = s->rip;
	if (s->message)
		snprintf(exit->message, sizeof(exit->message), "%s", s->message);
}

void fake_script(struct fakeengine *e, enum vm_exit_reason reason, unsigned vcpu, uint64_t rip,
		 const char *message)
{
	if (e->steps == FAKE_STEPS)
		abort();
	e->step[e->steps++] = (struct fake_step){ reason, vcpu, rip, message };
}

static void interrupt(struct engine *e)
{
	fake(e)->interrupts++;
}

static void get_cpu(struct engine *e, unsigned vcpu, struct guard_cpu *cpu)
{
	*cpu = fake(e)->cpu[vcpu];
}

static void set_cpu(struct engine *e, unsigned vcpu, const struct guard_cpu *cpu)
{
	fake(e)->cpu[vcpu] = *cpu;
}

static void get_sys(struct engine *e, unsigned vcpu, struct engine_sys *sys)
{
	*sys = fake(e)->sys[vcpu];
}

static void set_sys(struct engine *e, unsigned vcpu, const struct engine_sys *sys)
{
	fake(e)->sys[vcpu] = *sys;
}

static enum engine_run_state run_state(struct engine *e, unsigned vcpu)
{
	return fake(e)->state[vcpu];
}

static void set_run_state(struct engine *e, unsigned vcpu, enum engine_run_state state)
{
	fake(e)->state[vcpu] = state;
}

static bool set_view(struct engine *e, unsigned vcpu, uint8_t view, bool dirty)
{
	struct fakeengine *f = fake(e);

	if (f->refuse_view)
		return false;
	f->views++;
	f->view[vcpu] = view;
	if (view != GUARD_VIEW_U)
		f->dirty[vcpu] = dirty;
	return true;
}

static uint8_t view(struct engine *e, unsigned vcpu)
{
	return fake(e)->view[vcpu];
}

static void invalidate(struct engine *e, uint32_t vcpus, uint64_t gva, uint64_t bytes)
{
	(void)vcpus;
	(void)gva;
	(void)bytes;
	fake(e)->invalidated++;
}

static void frames_changed(struct engine *e, uint64_t gpa, uint64_t bytes)
{
	(void)bytes;
	fake(e)->changed++;
	fake(e)->last_changed = gpa;
}

static void track(struct engine *e, uint64_t gpa, uint64_t bytes)
{
	(void)bytes;
	fake(e)->tracked++;
	fake(e)->last_tracked = gpa;
}

static void kick(struct engine *e, uint32_t vcpus)
{
	fake(e)->kicked |= vcpus;
}

static void raise_vector(struct engine *e, unsigned vcpu, uint8_t vector)
{
	(void)e;
	(void)vcpu;
	(void)vector;
}

static uint64_t time_now(struct engine *e)
{
	return fake(e)->next;
}

const struct engine_ops fake_engine = {
	.name = "fake",
	.create = create,
	.destroy = destroy,
	.run = run,
	.interrupt = interrupt,
	.get_cpu = get_cpu,
	.set_cpu = set_cpu,
	.get_sys = get_sys,
	.set_sys = set_sys,
	.run_state = run_state,
	.set_run_state = set_run_state,
	.set_view = set_view,
	.view = view,
	.invalidate = invalidate,
	.frames_changed = frames_changed,
	.track = track,
	.kick = kick,
	.raise_vector = raise_vector,
	.time = time_now,
};
