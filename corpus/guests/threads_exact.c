/* SPDX-License-Identifier: GPL-2.0-only */
/* threads once more under stack=exact and registers=scrub. */
#define MODULE_LINE "module counter chains=16 stack=exact registers=scrub"
#include "corpus/guests/threads_flows.h"
