/* SPDX-License-Identifier: GPL-2.0-only */
#include "cli/placement.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/json.h"
#include "cli/options.h"

#define DEFAULT_CORES 4u
#define DEFAULT_PERIOD 20000u
#define DEFAULT_TURN 4000u

static const char *const policies[] = {
	[VM_IDLE_ADAPTIVE] = "adaptive",
	[VM_IDLE_MWAIT] = "mwait",
	[VM_IDLE_HLT] = "hlt",
};

#define POLICIES (sizeof(policies) / sizeof(policies[0]))

const char *placement_policy(enum vm_idle_policy policy)
{
	return policies[policy];
}

void placement_default(struct vm_placement *p)
{
	memset(p, 0, sizeof(*p));
	p->policy = VM_IDLE_ADAPTIVE;
	p->cores = DEFAULT_CORES;
	p->period = DEFAULT_PERIOD;
	p->turn = DEFAULT_TURN;
}

static bool parse_policy(const char *value, struct vm_placement *p)
{
	for (unsigned i = 0; i < POLICIES; i++) {
		if (!strcmp(value, policies[i])) {
			p->policy = (enum vm_idle_policy)i;
			return true;
		}
	}
	return false;
}

bool placement_parse(const char *text, struct vm_placement *p, struct error *err)
{
	enum { POLICY, CORES, PERIOD, TURN, WAKE, SEED };
	static char *const keys[] = { "policy", "cores", "period", "turn", "wake", "seed", NULL };
	char *copy = strdup(text), *rest = copy, *value, *start;
	bool ok = copy != NULL;
	uint64_t n = 0;

	while (ok && *rest) {
		int key;

		start = rest;
		key = getsubopt(&rest, keys, &value);
		ok = key >= 0 && value && (key == POLICY || option_number(value, UINT64_MAX, &n));
		switch (ok ? key : -1) {
		case POLICY: ok = parse_policy(value, p); break;
		case CORES:
			ok = n && n <= VM_MAX_CORES;
			p->cores = (unsigned)n;
			break;
		case PERIOD: p->period = n; break;
		case TURN:
			ok = n > 0;
			p->turn = n;
			break;
		case WAKE: p->wake = n; break;
		case SEED: p->seed = n; break;
		default: break;
		}
		if (!ok)
			error_set(err, "--placement: no such key or value: '%.60s'", start);
	}
	if (!copy)
		error_set(err, "out of memory");
	free(copy);
	return ok;
}

static const struct {
	const char *name;
	size_t offset;
	const char *text;
} fields[] = {
	{ "exits", offsetof(struct vm_idle_counts, exits), "exits" },
	{ "crossings", offsetof(struct vm_idle_counts, crossings), "  crossings" },
	{ "faults", offsetof(struct vm_idle_counts, faults), "  execute faults (resumes)" },
	{ "departures", offsetof(struct vm_idle_counts, departures), "  departures" },
	{ "hlt", offsetof(struct vm_idle_counts, hlt), "  HLT" },
	{ "intercepted", offsetof(struct vm_idle_counts, intercepted),
	  "  MONITOR, MWAIT intercepted" },
	{ "sent", offsetof(struct vm_idle_counts, sent), "  interrupts sent" },
	{ "mwait", offsetof(struct vm_idle_counts, mwait), "sleeps in MWAIT" },
	{ "mwait_shared", offsetof(struct vm_idle_counts, mwait_shared), "  on a shared core" },
	{ "moves", offsetof(struct vm_idle_counts, moves), "moves" },
	{ "granted", offsetof(struct vm_idle_counts, granted), "  GRANT" },
	{ "withheld", offsetof(struct vm_idle_counts, withheld), "  WITHHOLD" },
	{ "woken", offsetof(struct vm_idle_counts, woken), "  asleep in MWAIT then" },
	{ "held", offsetof(struct vm_idle_counts, held),
	  "time that others waited for a core kept by MWAIT" },
	{ "status_reads", offsetof(struct vm_idle_counts, status_reads), "status page reads" },
};

static uint64_t field(const struct vm_idle_counts *c, size_t i)
{
	uint64_t n;

	memcpy(&n, (const char *)c + fields[i].offset, sizeof(n));
	return n;
}

void placement_print(const struct vm *vm, const struct vm_placement *p, FILE *to)
{
	struct vm_idle_counts c;

	if (!vm_idle_counts(vm, &c))
		return;
	fprintf(to,
		"placement: %s, %u cores, a move every %" PRIu64 ", turn %" PRIu64 ", wake %" PRIu64
		", seed %" PRIu64 "\n",
		placement_policy(p->policy), p->cores, p->period, p->turn, p->wake, p->seed);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		fprintf(to, "  %-50s %10" PRIu64 "\n", fields[i].text, field(&c, i));
}

json_t *placement_json(const struct vm *vm, const struct vm_placement *p)
{
	struct vm_idle_counts c;
	json_t *j;

	if (!vm_idle_counts(vm, &c))
		return json_null();
	j = json_pack("{s:s, s:i, s:o, s:o, s:o, s:o}", "policy", placement_policy(p->policy),
		      "cores", (int)p->cores, "period", number_json(p->period), "turn",
		      number_json(p->turn), "wake", number_json(p->wake), "seed",
		      number_json(p->seed));
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		json_object_set_new(j, fields[i].name, number_json(field(&c, i)));
	return j;
}
