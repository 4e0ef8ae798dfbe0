#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# `make fuzz-smoke`, two minutes: all targets run on both engines and find nothing, and each engine
# kills ten planted bugs of the core. For CI, before anything else; a machine without the engines
# is told by SKIP.
set -u
export BUILD
# shellcheck source=tests/support/tally.sh
. "$(dirname "$0")/../tests/support/tally.sh"

# One or two from each part of the core, that a few seconds show.
mutants=(exit-unchecked not-wiped first-page-only wrong-parent stack-check-empty record-used-twice
	forgotten-vcpu quarantine-one-vcpu shared-privileges words-one-short)

if ! command -v clang >/dev/null || ! command -v afl-fuzz >/dev/null; then
	skip 'no clang or no AFL++ (tools/deps.sh fuzz installs them)'
	finish
fi
bash tests/fuzz_smoke_test.sh >"$tmp/log" 2>&1
grep -E '^(FAIL|SKIP)' "$tmp/log"
counts=$(tail -n 1 "$tmp/log")
if [[ $counts =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
	passed=${BASH_REMATCH[1]} failed=${BASH_REMATCH[2]} skipped=${BASH_REMATCH[3]}
else
	fail 'the targets run' "$tmp/log"
fi
for engine in libfuzzer afl; do
	tools/fuzz_mutants.py --build "$BUILD" --engine $engine --targets core --once --control --budget 10 "${mutants[@]}" \
		>"$tmp/log" 2>&1
	sed 's/^/    /' "$tmp/log"
	for m in "${mutants[@]}"; do
		grep -qE "^$m +(guarantee|model|crash) " "$tmp/log"
		ok $? "$engine kills $m"
	done
	grep -qE '^\(the core\) +nothing ' "$tmp/log"
	ok $? "$engine finds nothing in the core itself"
done
finish
