#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The honest flows with an interrupt at every instruction boundary inside of the modules: none is
# refused, each ends as without; and the interrupts do strike, or nothing would be shown.

set -u
# shellcheck source=tests/support/tally.sh
. "$(dirname "$0")/support/tally.sh"

# number KEY: of the JSON report's top level
number() {
	sed -n "s/^  \"$1\": \([0-9]*\),*/\1/p" "$tmp/json" | head -n 1
}

"$GUARDHOUSE" attack --interrupt-every=1000 --json >"$tmp/json" 2>"$tmp/err"
status=$?
[ $status -eq 0 ] || {
	cat "$tmp/err"
	grep -B 3 -A 6 SURPRISE "$tmp/json"
}
ok $status "every honest flow is as without interrupts"
flows=$(number flows) runs=$(number runs)
for id in C0 C3 C4 R1 R2 R6 R17 P1 P2 P3 P4 P5 P6 P7 P8 P9 P10 P11 P12 P13; do
	grep -q "\"id\": \"$id\"" "$tmp/json" || { echo "$id was not struck"; false; } || break
done
ok $? "the flows that the catalogue wants accepted are among them"
[ "${flows:-0}" -ge 24 ] && [ "${runs:-0}" -ge 900 ]
ok $? "there are many: ${flows:-0} flows, ${runs:-0} runs"

# Where interrupts are on throughout, each of them departs.
"$GUARDHOUSE" attack --interrupt-every C0 C3 P8 >"$tmp/out" 2>&1 &&
	awk '$1 ~ /^(C0|C3|C3-nested|P8)$/ { n++; if ($(NF-3) != $(NF-2) || $(NF-2) != $(NF-1)) bad = 1 }
	     END { exit bad || n < 4 }' "$tmp/out"
ok $? "each interrupt strikes inside"

# Under scrub a departure at a gate's X and the crossing behind it are judged together.
"$GUARDHOUSE" attack --interrupt-every R7-scrub R21 >"$tmp/out" 2>&1
ok $? "under scrub, too"

"$GUARDHOUSE" attack --interrupt-every --no-oracle C0 >"$tmp/out" 2>&1
[ $? -eq 2 ]
ok $? "without the oracle nobody tells instructions: refused"
"$GUARDHOUSE" attack --interrupt-every=5 C0 >"$tmp/out" 2>&1
[ $? -eq 1 ] && grep -q 'too long, not run' "$tmp/out"
ok $? "what is too long is told, and all of it too long is no success"
"$GUARDHOUSE" attack --interrupt-every=x C0 >"$tmp/out" 2>&1
[ $? -eq 2 ]
ok $? "a limit that is no number is refused"

finish
