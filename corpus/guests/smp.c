/* SPDX-License-Identifier: GPL-2.0-only */
/* smp: two vCPUs in one module, under the default policy. */
#define MODULE_LINE "module counter"
#include "corpus/guests/smp_flows.h"
