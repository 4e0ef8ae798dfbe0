/* SPDX-License-Identifier: GPL-2.0-only */
#include "lib/error.h"

#include <stdio.h>

bool error_vset(struct error *err, const char *fmt, va_list ap)
{
	if (!err)
		return false;
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	for (char *c = err->text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	return false;
}

bool error_set(struct error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	error_vset(err, fmt, ap);
	va_end(ap);
	return false;
}

bool error_at(struct error *err, const char *path, uint64_t offset, const char *fmt, va_list ap)
{
	char text[400];

	vsnprintf(text, sizeof(text), fmt, ap);
	for (char *c = text; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return error_set(err, "%s: offset 0x%llx: %s", path, (unsigned long long)offset, text);
}

bool error_within(struct error *err, const char *path)
{
	struct error inner;

	if (!err)
		return false;
	inner = *err;
	return error_set(err, "%s: %s", path, inner.text);
}
