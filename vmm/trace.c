/* SPDX-License-Identifier: GPL-2.0-only */
/* --trace: each judged event told for people, one short paragraph a line of the log. */
#include <inttypes.h>

#include "vmm/internal.h"

static const char *deed(enum guard_event_name e)
{
	switch (e) {
	case GUARD_ENTER_CALL: return "calls into";
	case GUARD_LEAVE_RETURN: return "returns from";
	case GUARD_LEAVE_CALL: return "calls out of";
	case GUARD_ENTER_RETURN: return "comes back into";
	case GUARD_DEPART: return "is interrupted in";
	case GUARD_RESUME: return "resumes in";
	case GUARD_TOUCH: return "touches what belongs to";
	case GUARD_ANNOUNCE: return "announces";
	case GUARD_WITHDRAW: return "withdraws";
	case GUARD_VERIFY: return "has changed the text of";
	default: return NULL;
	}
}

static const char *view_text(const struct vm *vm, uint8_t view, char buf[40])
{
	if (view == GUARD_VIEW_U)
		return "unprivileged";
	snprintf(buf, 40, "privileged in %s", vm_module_name(vm, view));
	return buf;
}

void vm_trace_line(struct vm *vm, const struct vm_line *l)
{
	const struct guard_line *g = &l->line;
	const char *what = deed(g->event);
	const char *module = g->module == GUARD_VIEW_U ? "no module"
						       : vm_module_name(vm, g->module);
	char a[160], b[160], from[40], to[40];
	FILE *f = vm->cfg.trace;

	if (what)
		fprintf(f, "vCPU %u %s %s", l->vcpu, what, module);
	else
		fprintf(f, "administrator: %s %s, vCPU %u", guard_event_string(g->event), module,
			l->vcpu);
	if (g->rip)
		fprintf(f, " at %s", vm_symbolize(vm, g->rip, a, sizeof(a)));
	fprintf(f, ": %s\n    %s, cause %s", guard_verdict_string(g->verdict),
		guard_event_string(g->event), guard_cause_string(g->cause));
	if (g->act)
		fprintf(f, ", activation %" PRIu32, g->act);
	if (g->from == g->to)
		fprintf(f, "; stays %s\n", view_text(vm, g->to, to));
	else
		fprintf(f, "; was %s, now %s\n", view_text(vm, g->from, from),
			view_text(vm, g->to, to));
	if (g->slot)
		fprintf(f, "    stack word at 0x%" PRIx64 ": %s -> %s\n", g->slot,
			vm_symbolize(vm, g->old_word, a, sizeof(a)),
			vm_symbolize(vm, g->new_word, b, sizeof(b)));
}
