#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The core's own unit tests with the oracle between them and the core (tests/oracle/shim.c): in
# every event that any of them makes up, the reference model predicts what the core answers.

set -u
# shellcheck source=tests/support/tally.sh
. "$(dirname "$0")/support/tally.sh"

events=0
predicted=0
lost=0
for c in tests/model_*_test.c; do
	name=$(basename "$c" .c)
	timeout 300 "$BUILD/tests/oracle/$name" >"$tmp/out" 2>&1
	r=$?
	[ $r -eq 0 ] || tail -n 40 "$tmp/out"
	said=$(grep '^oracle: ' "$tmp/out" | tail -n 1)
	read -r e p l <<<"$(sed -E 's/^oracle: ([0-9]+) events, [0-9]+ lines, ([0-9]+) predicted, ([0-9]+) .*/\1 \2 \3/' <<<"$said")"
	events=$((events + ${e:-0}))
	predicted=$((predicted + ${p:-0}))
	lost=$((lost + ${l:-0}))
	[ -n "$said" ] || r=1
	ok $r "$name: $said"
done
[ $predicted -gt 1000000 ]
ok $? "$predicted lines were predicted"
[ $((lost * 50)) -lt $events ]
ok $? "of $events events $lost came after a callback's failure that left the oracle without knowledge"

finish
