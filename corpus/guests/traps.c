/* SPDX-License-Identifier: GPL-2.0-only */
/* traps: events that strike inside, under the default policy. */
#define MODULE_LINE "module counter"
#include "corpus/guests/traps_flows.h"
