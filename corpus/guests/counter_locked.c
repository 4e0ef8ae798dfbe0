/* SPDX-License-Identifier: GPL-2.0-only */
/* counter once more under the policy mapping=locked: its page tables are watched, not walked. */
#define MODULE_LINE "module counter mapping=locked"
#include "corpus/guests/counter_flows.h"
