/* SPDX-License-Identifier: GPL-2.0-only */
#include "cli/summary.h"

#include <inttypes.h>
#include <string.h>

static bool is_crossing(enum guard_event_name e)
{
	return e == GUARD_ENTER_CALL || e == GUARD_LEAVE_RETURN || e == GUARD_LEAVE_CALL ||
	       e == GUARD_ENTER_RETURN;
}

void summary_take(struct summary *s, const struct vm *vm)
{
	memset(s, 0, sizeof(*s));
	s->lines = vm_log_count(vm);
	s->lost = vm_log_lost(vm);
	for (size_t i = 0; i < s->lines; i++) {
		const struct guard_line *l = &vm_log_line(vm, i)->line;

		if (l->event >= GUARD_NEVENTS || l->verdict >= GUARD_NVERDICTS)
			continue;
		s->count[l->event][l->verdict]++;
		s->crossings += is_crossing(l->event);
		s->refused += l->event != GUARD_TOUCH && l->verdict != GUARD_V_OK &&
			      l->verdict != GUARD_V_AGAIN;
	}
}

void summary_print(const struct summary *s, FILE *to)
{
	fprintf(to, "%" PRIu64 " crossings, %" PRIu64 " refused\n", s->crossings, s->refused);
	for (unsigned e = 0; e < GUARD_NEVENTS; e++) {
		bool any = false;

		for (unsigned v = 0; v < GUARD_NVERDICTS; v++) {
			if (!s->count[e][v])
				continue;
			if (!any)
				fprintf(to, "  %-13s",
					guard_event_string((enum guard_event_name)e));
			any = true;
			fprintf(to, " %s %" PRIu64, guard_verdict_string((enum guard_verdict)v),
				s->count[e][v]);
		}
		if (any)
			fprintf(to, "\n");
	}
	if (s->lost)
		fprintf(to, "  the log is a ring: %" PRIu64 " older lines were lost\n", s->lost);
}

json_t *summary_json(const struct summary *s)
{
	json_t *all = json_object();

	for (unsigned e = 0; e < GUARD_NEVENTS; e++) {
		json_t *one = NULL;

		for (unsigned v = 0; v < GUARD_NVERDICTS; v++) {
			if (!s->count[e][v])
				continue;
			if (!one)
				one = json_object();
			json_object_set_new(one, guard_verdict_string((enum guard_verdict)v),
					    json_integer((json_int_t)s->count[e][v]));
		}
		if (one)
			json_object_set_new(all, guard_event_string((enum guard_event_name)e), one);
	}
	return all;
}

const char *exit_reason_name(enum vm_exit_reason r)
{
	static const char *const names[] = {
		[VM_EXIT_GUEST] = "guest",
		[VM_EXIT_HALTED] = "halted",
		[VM_EXIT_TRIPLE_FAULT] = "triple-fault",
		[VM_EXIT_ENGINE] = "engine",
		[VM_EXIT_BUDGET] = "budget",
		[VM_EXIT_INTERRUPTED] = "interrupted",
		[VM_EXIT_STOPPED] = "stopped",
		[VM_EXIT_HOST] = "host",
		[VM_EXIT_ORACLE] = "oracle",
	};

	return r < sizeof(names) / sizeof(names[0]) && names[r] ? names[r] : "?";
}

void summary_oracle(const struct vm *vm, FILE *to)
{
	struct oracle_counts c;

	if (!vm_oracle_counts(vm, &c))
		return;
	fprintf(to,
		"oracle: %s; looked at %llu lines, %llu instructions inside, %llu returns, %llu "
		"pages; stack races %llu; aliased %llu\n",
		vm_oracle_failure(vm) ? "DISAGREES" : "agrees", (unsigned long long)c.lines,
		(unsigned long long)c.instructions, (unsigned long long)c.returns,
		(unsigned long long)c.pages, (unsigned long long)c.stack_races,
		(unsigned long long)c.aliased);
}

void summary_last_lines(const struct vm *vm, size_t n, FILE *to)
{
	size_t count = vm_log_count(vm), i = count > n ? count - n : 0;
	char text[512];

	if (count)
		fprintf(to, "last judged events:\n");
	for (; i < count; i++) {
		vm_log_format(vm, vm_log_line(vm, i), text, sizeof(text));
		fprintf(to, "  %s\n", text);
	}
}
