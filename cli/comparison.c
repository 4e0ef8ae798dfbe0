/* SPDX-License-Identifier: GPL-2.0-only */
#include "cli/comparison.h"

#include <inttypes.h>
#include <stdlib.h>

#include "cli/json.h"

bool comparison_make(struct comparison *c, struct error *err)
{
	return log_compare(&c->log[0], &c->log[1], &c->result, err);
}

void comparison_free(struct comparison *c)
{
	log_copy_free(&c->log[0]);
	log_copy_free(&c->log[1]);
}

void comparison_sum(uint64_t total[2][COMPARE_NCLASSES], const struct compare_result *r)
{
	for (unsigned s = 0; s < 2; s++)
		for (unsigned i = 0; i < COMPARE_NCLASSES; i++)
			total[s][i] += r->left[s][i];
}

void comparison_print_left(const uint64_t left[2][COMPARE_NCLASSES], const char *const name[2],
			   FILE *to)
{
	bool any = false;

	for (unsigned i = 0; i < COMPARE_NCLASSES; i++) {
		if (!left[0][i] && !left[1][i])
			continue;
		if (!any)
			fprintf(to, "left out (%s/%s): ", name[0], name[1]);
		fprintf(to, "%s%" PRIu64 "/%" PRIu64 " %s", any ? ", " : "", left[0][i], left[1][i],
			compare_class_string((enum compare_class)i));
		any = true;
	}
	fprintf(to, "%s\n", any ? "" : "left out: nothing");
}

void comparison_print(const struct comparison *c, FILE *to)
{
	const struct compare_result *r = &c->result;

	fprintf(to,
		"--- %s, %s: %s; %" PRIu64 " lines compared, of %" PRIu64 " and %" PRIu64 "\n    ",
		c->name[0], c->name[1],
		r->verdict == COMPARE_EQUAL ? "the verdict logs are equal"
					    : "THE VERDICT LOGS ARE NOT EQUAL",
		r->compared, r->lines[0], r->lines[1]);
	comparison_print_left(r->left, c->name, to);
	compare_print_difference(r, &c->log[0], &c->log[1], c->name, to);
}

json_t *comparison_left_json(const uint64_t left[COMPARE_NCLASSES])
{
	json_t *j = json_object();

	for (unsigned i = 0; i < COMPARE_NCLASSES; i++)
		json_object_set_new(j, compare_class_string((enum compare_class)i),
				    json_integer((json_int_t)left[i]));
	return j;
}

json_t *comparison_json(const struct comparison *c)
{
	const struct compare_result *r = &c->result;
	json_t *sides = json_array(), *j;
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f) {
		json_decref(sides);
		return NULL;
	}
	compare_print_difference(r, &c->log[0], &c->log[1], c->name, f);
	if (fclose(f) != 0) {
		free(text);
		json_decref(sides);
		return NULL;
	}
	for (unsigned s = 0; s < 2; s++) {
		json_t *side = json_pack("{s:s, s:I, s:I, s:o}", "engine", c->name[s], "lines",
					 (json_int_t)r->lines[s], "lost",
					 (json_int_t)c->log[s].lost, "left_out",
					 comparison_left_json(r->left[s]));

		/* The first line that differs; null where this log has none. */
		if (r->verdict == COMPARE_DIFFERENT)
			json_object_set_new(side, "line",
					    r->at[s] == COMPARE_END
						    ? json_null()
						    : json_integer((json_int_t)r->at[s] + 1));
		json_array_append_new(sides, side);
	}
	j = json_pack("{s:s, s:I, s:o}", "result", compare_verdict_string(r->verdict), "compared",
		      (json_int_t)r->compared, "logs", sides);
	if (r->verdict == COMPARE_DIFFERENT)
		json_object_set_new(j, "vcpu", json_integer((json_int_t)r->vcpu));
	if (size)
		json_object_set_new(j, "difference", text_json(text));
	free(text);
	return j;
}
