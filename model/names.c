/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Strings for events, verdicts and causes, from the lists in names.h. */
#include "model/names.h"

#define STRING(id, string) string,

static const char *const events[] = { GUARD_EVENTS(STRING) };
static const char *const verdicts[] = { GUARD_VERDICTS(STRING) };
static const char *const causes[] = { GUARD_CAUSES(STRING) };

const char *guard_event_string(enum guard_event_name e)
{
	return (unsigned)e < GUARD_NEVENTS ? events[e] : "?";
}

const char *guard_verdict_string(enum guard_verdict v)
{
	return (unsigned)v < GUARD_NVERDICTS ? verdicts[v] : "?";
}

const char *guard_cause_string(enum guard_cause c)
{
	return (unsigned)c < GUARD_NCAUSES ? causes[c] : "?";
}
