// SPDX-License-Identifier: GPL-2.0-only
/*
 * Scenarios as finds: played in the simulator with the oracle watching, whose word alone counts. What the
 * scenario itself expects is told, and is no find: steps that are left out fail it.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/find.h"
#include "scenario/scn.h"
#include "vmm/engine.h"
#include "vmm/vm.h"

static struct scenario *decode(const struct blob *in)
{
	struct scenario *s = NULL;

	return scenario_decode("input", in->data, in->size, &s, NULL) ? s : NULL;
}

/* Back to bytes, if what was changed is a scenario still. Frees s. */
static bool encode(struct scenario *s, struct blob *out)
{
	struct scenario *again;
	bool ok = scenario_encode(s, out);

	scenario_free(s);
	if (!ok)
		return false;
	again = decode(out);
	scenario_free(again);
	if (!again)
		blob_free(out);
	return again != NULL;
}

static char *print(const struct blob *in)
{
	struct scenario *s = decode(in);
	char *text = NULL;

	if (s && !scenario_print(s, &text))
		text = NULL;
	scenario_free(s);
	return text;
}

static unsigned steps(const struct blob *in)
{
	struct scenario *s = decode(in);
	unsigned n = s ? s->nsteps : 0;

	scenario_free(s);
	return n;
}

static bool without(const struct blob *in, unsigned at, unsigned n, struct blob *out)
{
	struct scenario *s = decode(in);

	if (!s || at + n > s->nsteps) {
		scenario_free(s);
		return false;
	}
	memmove(s->step + at, s->step + at + n, (s->nsteps - at - n) * sizeof(*s->step));
	s->nsteps -= n;
	return encode(s, out);
}

#define WAYS 3u
#define FIELDS (PP_MAX_KEYS + 1 + WAYS * PP_MAX_ARGS)

/* Towards 0, by one only where it is near. */
static bool less(uint64_t *value, unsigned way)
{
	uint64_t v = *value;

	*value = way == 0 ? 0 : way == 1 ? v / 2 : v - 1;
	return v && (way == 0 || *value) && (way != 2 || (v < 64 && *value != v / 2));
}

/* Leaves out a key or the last operand, or makes a number smaller. */
static bool change(struct scn_step *st, unsigned field)
{
	if (field < PP_MAX_KEYS) {
		if (field >= st->nkeys)
			return false;
		memmove(&st->key[field], &st->key[field + 1],
			(st->nkeys - field - 1u) * sizeof(st->key[0]));
		st->nkeys--;
		return true;
	}
	field -= PP_MAX_KEYS;
	if (!field)
		return st->nargs && st->nargs--;
	field--;
	return field / WAYS < st->nargs && less(&st->arg[field / WAYS].addend, field % WAYS);
}

static int simpler(const struct blob *in, unsigned k, struct blob *out)
{
	struct scenario *s = decode(in);

	if (!s || k / FIELDS >= s->nsteps) {
		scenario_free(s);
		return 0;
	}
	if (change(&s->step[k / FIELDS], k % FIELDS))
		return encode(s, out) ? 1 : -1;
	scenario_free(s);
	return -1;
}

/* ---- playing ---- */

/* The story names lines of the text as it is printed, so that comes first. */
static bool print_numbered(const struct scenario *s, FILE *log)
{
	char *text = NULL, *line, *end;
	unsigned n = 0;

	if (!scenario_print(s, &text))
		return false;
	for (line = text; (end = strchr(line, '\n')); line = end + 1)
		fprintf(log, "%5u  %.*s\n", ++n, (int)(end - line), line);
	fputc('\n', log);
	free(text);
	return true;
}

static bool run(const struct scenario *s, const struct find_options *opt, enum oracle_mode mode,
		FILE *log, struct find_report *r, struct scenario_result *res, struct error *err)
{
	struct find_teller t = { .log = opt->story ? NULL : log, .r = r };
	struct scenario_options so = {
		.engine = &sim_engine,
		.corpus = opt->corpus,
		.seed = opt->seed,
		.x = (enum gm_x_kind)sim_engine.default_x,
		.oracle = mode,
		.trace = opt->story ? log : NULL,
		.explain = opt->story,
		.logged = find_logged,
		.ctx = &t,
	};

	r->lines = 0;
	return scenario_run(s, &so, res, err);
}

/* As with the other target: where the model speaks first, it is left out once; a guarantee counts more. */
static bool play(const struct blob *in, const struct find_options *opt, FILE *log,
		 struct find_report *r, struct error *err)
{
	enum oracle_mode mode = opt->guarantees ? ORACLE_ALONE : ORACLE_MODEL;
	struct scenario_result *res = calloc(1, sizeof(*res));
	FILE *null = fopen("/dev/null", "w");
	struct scenario *s = NULL;
	bool ok = false;

	if (!res || !null) {
		error_set(err, "no memory, or no log can be written");
		goto out;
	}
	if (!scenario_decode(opt->name, in->data, in->size, &s, err))
		goto out;
	if (mode == ORACLE_MODEL) {
		if (!run(s, opt, mode, null, r, res, err))
			goto out;
		if (res->oracle[0])
			find_conclude(res->oracle, r);
		if (res->oracle[0] && !r->guarantee) {
			if (!run(s, opt, ORACLE_ALONE, null, r, res, err))
				goto out;
			if (res->oracle[0])
				mode = ORACLE_ALONE;
		}
		r->broken = false;
	}
	if (opt->story && !print_numbered(s, log)) {
		error_set(err, "out of memory");
		goto out;
	}
	ok = run(s, opt, mode, log, r, res, err);
	if (ok && res->oracle[0]) {
		find_conclude(res->oracle, r);
		if (opt->story)
			fputs(res->oracle, log);
	} else if (ok && res->killed) {
		snprintf(r->note, sizeof(r->note), "the guest killed the engine: %.150s",
			 res->exit);
	} else if (ok && !res->passed) {
		snprintf(r->note, sizeof(r->note),
			 "%u expectations of the scenario fail, which is no find", res->failures);
	}
out:
	if (null)
		fclose(null);
	scenario_free(s);
	free(res);
	return ok;
}

const struct find_target find_scenario = {
	.name = "scenario",
	.print = print,
	.steps = steps,
	.without = without,
	.simpler = simpler,
	.play = play,
};
