// SPDX-License-Identifier: GPL-2.0-only
/* What finds on a simulated machine share: its verdict log, and what the oracle's report says. */
#include <string.h>

#include "fuzz/find.h"
#include "vmm/vm.h"

void find_logged(void *ctx, const struct vm *vm, const struct vm_line *l)
{
	struct find_teller *t = ctx;
	struct find_report *r = t->r;
	char text[512];

	r->lines++;
	snprintf(r->event, sizeof(r->event), "%s", guard_event_string(l->line.event));
	snprintf(r->verdict, sizeof(r->verdict), "%s", guard_verdict_string(l->line.verdict));
	vm_symbolize(vm, l->line.rip, r->place, sizeof(r->place));
	if (t->log) {
		vm_log_format(vm, l, text, sizeof(text));
		fprintf(t->log, "%s\n", text);
	}
}

/*
 * A run goes on for a while after the oracle has spoken: the line that it objects to is in its report,
 * "vcpu=V EVENT at PLACE: VERDICT, VIEW>VIEW ...", the last of several unless `why` names another.
 */
static void accused(const char *story, const char *why, struct find_report *r)
{
	const char *line = strstr(story, "  the core said:\n");
	char event[32], verdict[32];
	bool named = false;

	for (line = line ? strchr(line, '\n') : NULL; line && !named;
	     line = strchr(line + 1, '\n')) {
		const char *at = strstr(line, " at "), *says = at ? strstr(at, ": ") : NULL;

		if (sscanf(line, "\n    vcpu=%*u %31s at ", event) != 1 || !says ||
		    sscanf(says, ": %31[^,\n],", verdict) != 1)
			break;
		snprintf(r->event, sizeof(r->event), "%s", event);
		snprintf(r->verdict, sizeof(r->verdict), "%s", verdict);
		named = !strncmp(why, event, strlen(event));
	}
}

/* The first two lines of the oracle's report: what is broken; who and where, and why. */
void find_conclude(const char *story, struct find_report *r)
{
	static const char head[] = "disagree: ";
	const char *what = strstr(story, head), *at = strstr(story, " at "), *why;
	int len;

	r->broken = true;
	what = what ? what + strlen(head) : story;
	len = (int)strcspn(what, "\n");
	r->guarantee = what[0] == 'G' && strncmp(what, "G0", 2) != 0;
	snprintf(r->id, sizeof(r->id), "%.*s", r->guarantee ? 2 : 5, r->guarantee ? what : "model");
	why = at ? strstr(at, ": ") : NULL;
	if (why) {
		snprintf(r->place, sizeof(r->place), "%.*s", (int)(why - at - 4), at + 4);
		snprintf(r->what, sizeof(r->what), "%.*s: %.*s", len, what,
			 (int)strcspn(why + 2, "\n"), why + 2);
		accused(story, why + 2, r);
	} else {
		snprintf(r->what, sizeof(r->what), "%.*s", len, what);
	}
}
