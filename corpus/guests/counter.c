/* SPDX-License-Identifier: GPL-2.0-only */
/* counter: the sample module under the default policy. */
#define MODULE_LINE "module counter"
#include "corpus/guests/counter_flows.h"
