/* SPDX-License-Identifier: GPL-2.0-only */
/* Decoded instructions, for those files that need to know the decoder. */
#ifndef SIM_INSN_H
#define SIM_INSN_H

#include <Zydis/Zydis.h>

#include "sim/sim.h"

/* All operands (ZYDIS_MAX_OPERAND_COUNT), hidden ones too. */
bool sim_insn_decode(const uint8_t *code, unsigned len, ZydisDecodedInstruction *i,
		     ZydisDecodedOperand *op);

#endif
