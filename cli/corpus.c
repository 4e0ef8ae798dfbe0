/* SPDX-License-Identifier: GPL-2.0-only */
#include "cli/corpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLACES 5u

bool corpus_own_folder(char path[CORPUS_PATH])
{
	ssize_t got = readlink("/proc/self/exe", path, CORPUS_PATH - 1);
	char *slash;

	if (got <= 0)
		return false;
	path[got] = '\0';
	slash = strrchr(path, '/');
	if (slash)
		*slash = '\0';
	return slash != NULL;
}

/* Place n, or false if there is none such here. */
static bool place(unsigned n, char *path, size_t len)
{
	static const char *const beside_binary[] = { "corpus", "../../corpus",
						     "../share/guardhouse/corpus" };
	const char *env = getenv("GUARDHOUSE_CORPUS");
	char own[CORPUS_PATH];

	if (n == 0)
		return env && *env && snprintf(path, len, "%s", env) < (int)len;
	if (n == PLACES - 1)
		return snprintf(path, len, "%s/corpus", GUARDHOUSE_DATADIR) < (int)len;
	return corpus_own_folder(own) &&
	       snprintf(path, len, "%s/%s", own, beside_binary[n - 1]) < (int)len;
}

bool corpus_folder(const char *rel, char path[CORPUS_PATH], struct error *err)
{
	char folder[CORPUS_PATH], file[CORPUS_PATH + 64];

	for (unsigned n = 0; n < PLACES; n++) {
		if (!place(n, folder, sizeof(folder)) ||
		    snprintf(file, sizeof(file), "%s/%s", folder, rel) >= (int)sizeof(file))
			continue;
		if (access(file, R_OK) == 0) {
			memcpy(path, folder, sizeof(folder));
			return true;
		}
	}
	return error_set(
		err,
		"no corpus with %s: looked in $GUARDHOUSE_CORPUS, beside the binary and in "
		"%s/corpus",
		rel, GUARDHOUSE_DATADIR);
}

bool corpus_find(const char *rel, char path[CORPUS_PATH], struct error *err)
{
	size_t len;

	if (!corpus_folder(rel, path, err))
		return false;
	len = strlen(path);
	if (snprintf(path + len, CORPUS_PATH - len, "/%s", rel) >= (int)(CORPUS_PATH - len))
		return error_set(err, "the path of %s is too long", rel);
	return true;
}
