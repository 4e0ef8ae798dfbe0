/* SPDX-License-Identifier: GPL-2.0-only */
/* traps once more under registers=scrub: handlers see no register of the module and change none. */
#define MODULE_LINE "module counter registers=scrub"
#define REGISTERS_SCRUB 1
#include "corpus/guests/traps_flows.h"
