/* SPDX-License-Identifier: GPL-2.0-only */
/* The file of --entries: functions that may be entered, one name a line, # comments. */
#ifndef CLI_ENTRY_LIST_H
#define CLI_ENTRY_LIST_H

#include "lib/error.h"
#include "lib/file.h"

struct entry_list {
	struct blob text; /* cut up in place */
	const char **names;
	size_t count;
};

/* After a false there is nothing to free. */
bool entry_list_read(struct entry_list *l, const char *path, struct error *err);
void entry_list_free(struct entry_list *l);

#endif
