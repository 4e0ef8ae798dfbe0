/* SPDX-License-Identifier: GPL-2.0-only */
/* The corpus's scenarios: which of them are wanted, which an engine cannot show, one run. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/attack.h"
#include "cli/corpus.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "scenario/scenario.h"

/* "R3" means R3 and R3-b.scn's "R3-b", not R3d. */
static bool wanted(const char *id, char *const ids[], int nids, bool used[])
{
	bool any = nids == 0;

	for (int i = 0; i < nids; i++) {
		size_t len = strlen(ids[i]);

		if (strncmp(id, ids[i], len))
			continue;
		if (id[len] &&
		    strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
			   id[len]))
			continue;
		used[i] = any = true;
	}
	return any;
}

static int is_scenario(const struct dirent *d)
{
	size_t len = strlen(d->d_name);

	return len > 4 && d->d_name[0] != '.' && !strcmp(d->d_name + len - 4, ".scn");
}

/* C0, E2, E10: letter, then number, then the rest. */
static int compare_ids(const void *a, const void *b)
{
	const struct attack_case *x = a, *y = b;
	const char *p = scenario_id(x->scenario), *q = scenario_id(y->scenario);
	long m, n;

	if (p[0] != q[0])
		return p[0] < q[0] ? -1 : 1;
	m = p[0] ? strtol(p + 1, NULL, 10) : 0;
	n = q[0] ? strtol(q + 1, NULL, 10) : 0;
	if (m != n)
		return m < n ? -1 : 1;
	return strcmp(p, q) ? strcmp(p, q) : strcmp(x->path, y->path);
}

/* Could FOLDER/NAME.scn hold a wanted scenario? Its name tells, where its text cannot. */
static bool wanted_file(const char *name, char *const ids[], int nids)
{
	bool used[1];
	char id[SCN_MAX_WORD];
	size_t len = strlen(name) - strlen(".scn");

	if (len >= sizeof(id))
		return nids == 0;
	memcpy(id, name, len);
	id[len] = '\0';
	for (int i = 0; i < nids; i++)
		if (wanted(id, &ids[i], 1, used))
			return true;
	return nids == 0;
}

static bool load_one(struct attack_cases *all, const char *folder, const char *name,
		     char *const ids[], int nids, bool used[], struct error *err)
{
	struct attack_case *c = &all->item[all->count];
	size_t len = strlen(folder) + strlen(name) + 2;
	bool keep;

	c->path = malloc(len);
	if (!c->path)
		return error_set(err, "out of memory");
	snprintf(c->path, len, "%s/%s", folder, name);
	keep = scenario_load(c->path, &c->scenario, err);
	if (keep) {
		keep = wanted(scenario_id(c->scenario), ids, nids, used);
	} else if (wanted_file(name, ids, nids)) {
		verb_error("attack", err);
		all->unreadable++;
		for (int i = 0; i < nids; i++)
			used[i] = used[i] || wanted_file(name, &ids[i], 1);
	}
	if (keep) {
		all->count++;
		return true;
	}
	scenario_free(c->scenario);
	free(c->path);
	memset(c, 0, sizeof(*c));
	return true;
}

/* A folder as a reader names it: from where he stands, if it lies below. */
static void plain_path(char folder[CORPUS_PATH])
{
	char whole[PATH_MAX], here[PATH_MAX];
	size_t len;

	if (!realpath(folder, whole) || strlen(whole) >= CORPUS_PATH)
		return;
	len = getcwd(here, sizeof(here)) ? strlen(here) : 0;
	if (len > 1 && !strncmp(whole, here, len) && whole[len] == '/')
		snprintf(folder, CORPUS_PATH, "%s", whole + len + 1);
	else
		snprintf(folder, CORPUS_PATH, "%s", whole);
}

/* All of one folder that are wanted. */
static bool load_folder(struct attack_cases *all, const char *rel, char *const ids[], int nids,
			bool used[], struct error *err)
{
	char folder[CORPUS_PATH];
	struct dirent **names = NULL;
	struct attack_case *grown;
	bool ok = true;
	int n;

	if (!corpus_find(rel, folder, err))
		return false;
	plain_path(folder);
	n = scandir(folder, &names, is_scenario, alphasort);
	if (n <= 0)
		return error_set(err, "%s: there are no scenarios", folder);
	grown = realloc(all->item, (all->count + (size_t)n) * sizeof(*grown));
	if (grown) {
		memset(grown + all->count, 0, (size_t)n * sizeof(*grown));
		all->item = grown;
	} else {
		ok = error_set(err, "out of memory");
	}
	for (int i = 0; i < n; i++) {
		ok = ok && load_one(all, folder, names[i]->d_name, ids, nids, used, err);
		free(names[i]);
	}
	free(names);
	return ok;
}

bool attack_cases_load(struct attack_cases *all, bool views, char *const ids[], int nids,
		       struct error *err)
{
	bool *used, ok = false;

	memset(all, 0, sizeof(*all));
	if (!corpus_folder("puppet/puppet.elf", all->corpus, err))
		return false;
	used = calloc((size_t)nids + 1, sizeof(*used));
	if (!used)
		return error_set(err, "out of memory");
	if (!load_folder(all, "scenarios", ids, nids, used, err) ||
	    (views && !load_folder(all, "scenarios/views", ids, nids, used, err)))
		goto out;
	for (int i = 0; i < nids; i++) {
		if (!used[i]) {
			error_set(err, "%s: no scenario has this ID (see guardhouse attack --list)",
				  ids[i]);
			goto out;
		}
	}
	all->id_width = 8;
	for (size_t i = 0; i < all->count; i++) {
		int len = (int)strlen(scenario_id(all->item[i].scenario));

		if (len > all->id_width)
			all->id_width = len;
	}
	qsort(all->item, all->count, sizeof(*all->item), compare_ids);
	ok = true;
out:
	free(used);
	return ok;
}

/* A scenario or a guest: the list speaks of both. */
static bool in_corpus(const struct attack_cases *all, const char *id)
{
	char path[CORPUS_PATH], rel[128];

	snprintf(rel, sizeof(rel), "guests/%s.elf", id);
	if (corpus_find(rel, path, NULL))
		return true;
	for (size_t i = 0; i < all->count; i++)
		if (!strcmp(scenario_id(all->item[i].scenario), id))
			return true;
	return false;
}

static bool mark(struct attack_cases *all, const struct inexpressible *list, const char *host,
		 bool whole, struct error *err)
{
	for (size_t i = 0; whole && !all->unreadable && i < list->n; i++)
		if (!in_corpus(all, list->v[i].id))
			return error_set(err, "%s:%u: there is no scenario or guest %s", list->path,
					 list->v[i].line, list->v[i].id);
	for (size_t i = 0; i < all->count; i++) {
		struct attack_case *c = &all->item[i];
		const struct inexpressible_line *l =
			inexpressible_find(list, host, scenario_id(c->scenario));

		if (l && !c->unrun)
			c->unrun = l->reason;
	}
	return true;
}

bool attack_cases_mark(struct attack_cases *all, const struct attack_options *o, bool whole,
		       struct error *err)
{
	const struct engine_ops *other = NULL;
	const char *host;

	for (unsigned i = 0; i < o->engines.count; i++)
		if (o->engines.engine[i] != &sim_engine)
			other = o->engines.engine[i];
	host = other && other->host ? other->host() : NULL;
	if (o->views && (!inexpressible_load(&all->views_list, true, err) ||
			 !mark(all, &all->views_list, host, whole, err)))
		return false;
	if (!other)
		return true;
	if (!inexpressible_load(&all->list, false, err) || !mark(all, &all->list, host, whole, err))
		return false;
	for (size_t i = 0; i < all->count; i++)
		if (!all->item[i].unrun && scenario_class(all->item[i].scenario) == SCN_RACE)
			all->item[i].unrun = "a race: for the simulator alone";
	return true;
}

void attack_cases_free(struct attack_cases *all)
{
	for (size_t i = 0; i < all->count; i++) {
		scenario_free(all->item[i].scenario);
		free(all->item[i].path);
	}
	free(all->item);
	inexpressible_free(&all->list);
	inexpressible_free(&all->views_list);
	memset(all, 0, sizeof(*all));
}

/* Of the first n, those that differ. */
static unsigned distinct(uint64_t *v, unsigned n)
{
	unsigned count = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned k = 0;

		while (k < count && v[k] != v[i])
			k++;
		if (k == count)
			v[count++] = v[i];
	}
	return count;
}

/* Adds the words of one comma-separated list to another; false: one was not there yet. */
static bool unite(char list[160], const char *more)
{
	bool known = true;

	while (*more) {
		size_t n = strcspn(more, ","), len = strlen(list);
		char word[64];

		snprintf(word, sizeof(word), "%.*s", (int)n, more);
		if (!strstr(list, word)) {
			known = false;
			snprintf(list + len, 160 - len, "%s%s", len ? ", " : "", word);
		}
		more += n;
		more += strspn(more, ", ");
	}
	return known;
}

static void race_failure(struct scenario_result *r, const char *text)
{
	if (r->failures < SCN_MAX_FAILURES) {
		r->failure[r->failures].line = 0;
		snprintf(r->failure[r->failures].text, sizeof(r->failure[0].text), "%s", text);
	}
	r->failures++;
	r->passed = false;
}

/*
 * A race with many seeds: each must end in one of the ways that the scenario allows, every way that
 * it names must come, and nine in ten schedules must differ; or the seeds have shown nothing. Of fewer
 * seeds than usual not every way can be asked.
 */
static bool run_seeds(struct attack_case *c, struct scenario_options *so, unsigned seeds,
		      struct error *err)
{
	uint64_t *hash = calloc(2ull * seeds, sizeof(*hash));
	char got[160] = "", expected[160] = "", text[200];
	struct scenario_result r;

	if (!hash)
		return error_set(err, "out of memory");
	for (c->seeds = 0; c->seeds < seeds && !interrupt_seen(); so->seed++) {
		if (!scenario_run(c->scenario, so, &r, err)) {
			free(hash);
			return false;
		}
		hash[c->seeds] = r.schedule;
		hash[seeds + c->seeds] = r.order;
		c->seeds++;
		unite(got, r.got);
		unite(expected, r.expected);
		r.crossings += c->seeds > 1 ? c->result.crossings : 0;
		c->result = r;
		if (!r.passed) {
			snprintf(text, sizeof(text), "with seed %llu",
				 (unsigned long long)so->seed);
			race_failure(&c->result, text);
			break;
		}
	}
	c->schedules = distinct(hash, c->seeds);
	c->orders = distinct(hash + seeds, c->seeds);
	free(hash);
	if (!c->result.passed || interrupt_seen())
		return true;
	memcpy(c->result.got, got, sizeof(got));
	memcpy(c->result.expected, expected, sizeof(expected));
	if (c->seeds >= ATTACK_SEEDS && !unite(got, expected)) {
		snprintf(text, sizeof(text), "%u seeds came to: %s", c->seeds, c->result.got);
		race_failure(&c->result, text);
	}
	if (c->schedules * 10 < c->seeds * 9) {
		snprintf(text, sizeof(text), "%u seeds gave %u schedules only", c->seeds,
			 c->schedules);
		race_failure(&c->result, text);
	}
	return true;
}

bool attack_run(const struct attack_cases *all, struct attack_case *c,
		const struct attack_options *o, struct log_copy *copy, struct error *err)
{
	struct scenario_options so = {
		.engine = o->engine,
		.corpus = all->corpus,
		.seed = o->seed,
		.x = o->x,
		.vcpus = o->vcpus,
		.strike = o->strike,
		.views = o->views,
		.copy = copy,
		.oracle = o->engine == &sim_engine ? o->oracle : ORACLE_OFF,
	};
	struct timespec start, end;
	bool ok;

	clock_gettime(CLOCK_MONOTONIC, &start);
	if (scenario_class(c->scenario) == SCN_RACE && o->seeds > 1 && !o->strike)
		ok = run_seeds(c, &so, o->seeds, err);
	else
		ok = scenario_run(c->scenario, &so, &c->result, err);
	clock_gettime(CLOCK_MONOTONIC, &end);
	c->ms = (double)(end.tv_sec - start.tv_sec) * 1e3 +
		(double)(end.tv_nsec - start.tv_nsec) / 1e6;
	return ok;
}
