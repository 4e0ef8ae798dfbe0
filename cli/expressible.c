/* SPDX-License-Identifier: GPL-2.0-only */
#include "cli/expressible.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cli/corpus.h"
#include "lib/file.h"

/* Beside the corpus, in the source tree as where it is installed. */
#define LIST_FILE "../hv-port/not-expressible.txt"
#define VIEWS_FILE "scenarios/views.txt"
#define MAX_LIST_BYTES (256u << 10)
#define MAX_LINE 400u

static const char *const hosts[] = { "any", "pvm", "svm", "vmx" };

static bool is_host(const char *word, size_t len)
{
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
		if (strlen(hosts[i]) == len && !memcmp(word, hosts[i], len))
			return true;
	return false;
}

static bool id_char(char c)
{
	return isalnum((unsigned char)c) || c == '-' || c == '_' || c == '.';
}

/* What is wrong with the line, or NULL; *l is filled as far as it is right. */
static const char *parse_line(const char *p, const char *end, struct inexpressible_line *l)
{
	const char *word = p;
	size_t len;

	while (p < end && *p != ' ' && *p != '\t')
		p++;
	len = (size_t)(p - word);
	if (!is_host(word, len))
		return "expected a host: any, pvm, svm or vmx";
	memcpy(l->host, word, len);
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	for (word = p; p < end && id_char(*p);)
		p++;
	len = (size_t)(p - word);
	if (!len || len >= sizeof(l->id))
		return "expected a scenario or guest behind the host";
	memcpy(l->id, word, len);
	if (p == end || *p++ != ':')
		return "expected a colon behind the name";
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	while (end > p && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
		end--;
	if (p == end)
		return "expected a reason behind the colon";
	for (const char *c = p; c < end; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return "a control character in the reason";
	l->reason = strndup(p, (size_t)(end - p));
	return l->reason ? NULL : "out of memory";
}

/* Lines that would speak about the same scenario on the same host. */
static const struct inexpressible_line *same(const struct inexpressible *list,
					     const struct inexpressible_line *l)
{
	for (size_t i = 0; i < list->n; i++)
		if (!strcmp(list->v[i].id, l->id) &&
		    (!strcmp(list->v[i].host, l->host) || !strcmp(list->v[i].host, "any") ||
		     !strcmp(l->host, "any")))
			return &list->v[i];
	return NULL;
}

bool inexpressible_parse(struct inexpressible *list, const char *path, const char *text, size_t len,
			 struct error *err)
{
	const char *end = text + len;
	unsigned line = 0;

	memset(list, 0, sizeof(*list));
	list->path = strdup(path);
	list->v = calloc(INEXPRESSIBLE_MAX, sizeof(*list->v));
	if (!list->path || !list->v)
		return error_set(err, "%s: out of memory", path);
	for (const char *next; text < end; text = next) {
		const char *nl = memchr(text, '\n', (size_t)(end - text)), *stop = nl ? nl : end;
		const struct inexpressible_line *other;
		struct inexpressible_line *l = &list->v[list->n];
		const char *wrong;

		next = nl ? nl + 1 : end;
		line++;
		while (text < stop && (*text == ' ' || *text == '\t' || *text == '\r'))
			text++;
		if (text == stop || *text == '#')
			continue;
		if ((size_t)(stop - text) > MAX_LINE)
			return error_set(err, "%s:%u: longer than %u bytes", path, line, MAX_LINE);
		if (list->n == INEXPRESSIBLE_MAX - 1)
			return error_set(err, "%s:%u: more than %u lines", path, line,
					 INEXPRESSIBLE_MAX - 1);
		l->line = line;
		wrong = parse_line(text, stop, l);
		if (wrong)
			return error_set(err, "%s:%u: %s", path, line, wrong);
		other = same(list, l);
		list->n++;
		if (other)
			return error_set(err, "%s:%u: %s stands already in line %u", path, line,
					 l->id, other->line);
	}
	return true;
}

bool inexpressible_load(struct inexpressible *list, bool views, struct error *err)
{
	char path[CORPUS_PATH];
	struct blob file;
	bool ok;

	memset(list, 0, sizeof(*list));
	if (!corpus_find(views ? VIEWS_FILE : LIST_FILE, path, err) ||
	    !blob_read(&file, path, MAX_LIST_BYTES, err))
		return false;
	ok = inexpressible_parse(list, path, (const char *)file.data, file.size, err);
	blob_free(&file);
	return ok;
}

const struct inexpressible_line *inexpressible_find(const struct inexpressible *list,
						    const char *host, const char *id)
{
	for (size_t i = 0; i < list->n; i++)
		if (!strcmp(list->v[i].id, id) &&
		    (!strcmp(list->v[i].host, "any") || (host && !strcmp(list->v[i].host, host))))
			return &list->v[i];
	return NULL;
}

void inexpressible_free(struct inexpressible *list)
{
	for (size_t i = 0; i < INEXPRESSIBLE_MAX && list->v; i++)
		free(list->v[i].reason);
	free(list->v);
	free(list->path);
	memset(list, 0, sizeof(*list));
}
