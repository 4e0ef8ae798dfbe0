// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fewer and simpler steps that show the same: runs of steps are left out, long runs first, then
 * operands go towards 0; all over again until nothing helps. What is left depends on the input alone.
 */
#include <string.h>

#include "fuzz/find.h"

struct search {
	const struct find_target *t;
	const struct find_options *opt;
	struct find_minimize *m;
	struct find_report want;
	struct blob *best;
	FILE *log;
	bool stopped;
};

/* Takes `in` (which it frees or keeps) if it shows the same. */
static bool try(struct search *s, struct blob *in)
{
	struct find_report r;
	struct error err;

	s->stopped = s->stopped ||
		     (s->m->go_on && !s->m->go_on(s->m->ctx, s->m->tries, s->t->steps(s->best)));
	if (!s->stopped) {
		rewind(s->log);
		s->m->tries++;
		if (find_play(s->t, in, s->opt, s->log, &r, &err) && find_same(&r, &s->want)) {
			blob_free(s->best);
			*s->best = *in;
			s->m->report = r;
			return true;
		}
	}
	blob_free(in);
	return false;
}

static bool fewer(struct search *s)
{
	bool any = false;
	struct blob in;

	for (unsigned n = s->t->steps(s->best); n && !s->stopped; n /= 2) {
		/* from the end: what comes after the find needs not be tried one by one */
		unsigned at = s->t->steps(s->best);

		while (at && !s->stopped) {
			unsigned len = at < n ? at : n;

			at -= len;
			if (s->t->without(s->best, at, len, &in))
				any |= try(s, &in);
		}
	}
	return any;
}

static bool simpler(struct search *s)
{
	bool any = false;
	struct blob in;
	int more = 1;

	for (unsigned k = 0; more && !s->stopped; k++) {
		more = s->t->simpler(s->best, k, &in);
		if (more > 0)
			any |= try(s, &in);
	}
	return any;
}

bool find_minimize(const struct find_target *t, struct blob *best, const struct find_options *opt,
		   struct find_minimize *m, struct error *err)
{
	struct search s = { .t = t, .opt = opt, .m = m, .best = best, .log = tmpfile() };
	bool ok, more;

	m->tries = 0;
	if (!s.log)
		return error_set(err, "no temporary file can be made");
	ok = find_play(t, best, opt, s.log, &s.want, err);
	if (ok && !s.want.broken)
		ok = error_set(err, "%s: it shows nothing: there is nothing to keep", opt->name);
	m->report = s.want;
	for (more = ok; more && !s.stopped;) {
		more = fewer(&s);
		more |= simpler(&s);
	}
	fclose(s.log);
	return ok;
}
