/* SPDX-License-Identifier: GPL-2.0-only */
/* counter once more under the policy registers=scrub: registers are hidden and restored. */
#define MODULE_LINE "module counter registers=scrub"
#define REGISTERS_SCRUB 1
#include "corpus/guests/counter_flows.h"
