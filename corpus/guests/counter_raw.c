/* SPDX-License-Identifier: GPL-2.0-only */
/* counter once more, built without thunks: indirect calls and returns are the compiler's own. */
#define MODULE_LINE "module counter file=counter-raw.ko"
#include "corpus/guests/counter_flows.h"
