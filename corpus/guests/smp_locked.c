/* SPDX-License-Identifier: GPL-2.0-only */
/* smp once more under mapping=locked: the guard watches the module's page tables. */
#define MODULE_LINE "module counter mapping=locked"
#include "corpus/guests/smp_flows.h"
