// SPDX-License-Identifier: GPL-2.0-only
#include "cli/entry_list.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ENTRY_FILE (4u << 20)

void entry_list_free(struct entry_list *l)
{
	blob_free(&l->text);
	free(l->names);
	*l = (struct entry_list){ 0 };
}

bool entry_list_read(struct entry_list *l, const char *path, struct error *err)
{
	size_t lines = 1, n = 0;
	char *grown, *save = NULL;
	const uint8_t *zero;

	*l = (struct entry_list){ 0 };
	if (!blob_read(&l->text, path, MAX_ENTRY_FILE, err))
		return false;
	zero = l->text.size ? memchr(l->text.data, 0, l->text.size) : NULL;
	if (zero) {
		error_set(err, "%s: offset 0x%zx: a byte 0 among names", path,
			  (size_t)(zero - l->text.data));
		entry_list_free(l);
		return false;
	}
	grown = realloc(l->text.data, l->text.size + 1);
	if (grown) {
		l->text.data = (uint8_t *)grown;
		grown[l->text.size] = 0;
		for (size_t i = 0; i < l->text.size; i++)
			lines += grown[i] == '\n' || grown[i] == '\r';
		l->names = calloc(lines, sizeof(*l->names));
	}
	if (!l->names) {
		entry_list_free(l);
		return error_set(err, "%s: out of memory", path);
	}
	for (char *line = strtok_r(grown, "\r\n", &save); line;
	     line = strtok_r(NULL, "\r\n", &save)) {
		char *end = line + strcspn(line, "#");

		line += strspn(line, " \t");
		while (end > line && (end[-1] == ' ' || end[-1] == '\t'))
			end--;
		*(end > line ? end : line) = 0;
		if (*line)
			l->names[n++] = line;
	}
	l->count = n;
	return true;
}
