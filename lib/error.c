/* SPDX-License-Identifier: GPL-2.0-only */
#include "lib/error.h"

#include <stdarg.h>
#include <stdio.h>

bool error_set(struct error *err, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return false;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return false;
}
