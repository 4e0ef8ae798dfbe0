/* SPDX-License-Identifier: GPL-2.0-only */
#include "cli/json.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the UTF-8 character that s begins with; 0: it begins with none. */
static size_t character(const char *s, size_t len)
{
	for (size_t n = 1; n <= 4 && n <= len; n++) {
		json_t *j = json_stringn(s, n);

		json_decref(j);
		if (j)
			return n;
	}
	return 0;
}

json_t *text_json(const char *text)
{
	json_t *j = json_string(text);
	char *copy = j ? NULL : strdup(text);

	for (size_t i = 0, len = copy ? strlen(copy) : 0; i < len;) {
		size_t n = character(copy + i, len - i);

		if (!n)
			copy[i] = '?';
		i += n ? n : 1;
	}
	if (copy)
		j = json_string(copy);
	free(copy);
	return j;
}

json_t *number_json(uint64_t n)
{
	char digits[24];

	if (n <= INT64_MAX)
		return json_integer((json_int_t)n);
	snprintf(digits, sizeof(digits), "%" PRIu64, n);
	return json_string(digits);
}
