/* SPDX-License-Identifier: GPL-2.0-only */
/* counter once more under the policy stack=exact: every word between entry and call-out counts. */
#define MODULE_LINE "module counter stack=exact"
#define STACK_EXACT 1
#include "corpus/guests/counter_flows.h"
