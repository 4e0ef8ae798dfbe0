/* SPDX-License-Identifier: GPL-2.0-only */
/* threads: several threads of one vCPU, under the default policy. */
#define MODULE_LINE "module counter chains=16"
#include "corpus/guests/threads_flows.h"
