/* SPDX-License-Identifier: GPL-2.0-only */
/* Says on a terminal that a long run is still at work, and lets Ctrl-C end it. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdio.h>

/* After 2 s, and only if stderr is a terminal: a line that is rewritten and wiped at the end. */
void progress_start(const char *what);
/* Changes the text; any thread. */
void progress_set(const char *what);
void progress_stop(void);
/* stdout; if a progress line is possible, one that wipes that line first. Close it if not stdout. */
FILE *progress_stdout(void);

/* SIGINT and SIGTERM stop the VM that runs, so that its verb can say where; twice: at once. */
void interrupt_catch(void);
bool interrupt_seen(void);

#define MAX_TIMEOUT 1000000u

/* After so many seconds the VM that runs is stopped as by SIGINT, and all that follow; 0: never. */
void timeout_start(unsigned seconds);
bool timeout_seen(void);

#endif
