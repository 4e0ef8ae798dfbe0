#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# All guests and all scenarios with the oracle on: it agrees, it has looked at something, and what
# it watches goes on as if it were not there (the same verdict log to the byte).

set -u
# shellcheck source=tests/support/tally.sh
. "$(dirname "$0")/support/tally.sh"

inside=0
for c in corpus/guests/*.c; do
	guest=$(basename "$c" .c)
	[ "$guest" = bench ] && continue # only a benchmark answers its host calls
	"$GUARDHOUSE" run "$guest" --log "$tmp/without" >"$tmp/out" 2>&1
	without=$?
	"$GUARDHOUSE" run "$guest" --oracle --log "$tmp/with" >"$tmp/out" 2>&1
	with=$?
	[ $with -eq $without ] && [ $with -le 1 ] && grep -q '^oracle: agrees' "$tmp/out" &&
		cmp "$tmp/with" "$tmp/without"
	r=$?
	[ $r -eq 0 ] || tail -n 40 "$tmp/out"
	ok $r "$guest: the oracle agrees, and changes nothing"
	n=$(sed -n 's/^oracle: .* \([0-9]*\) instructions inside.*/\1/p' "$tmp/out")
	inside=$((inside + ${n:-0}))
done
[ $inside -gt 10000 ]
ok $? "it has seen $inside instructions inside modules"

for x in vmmcall vmcall out; do
	"$GUARDHOUSE" attack --x $x >"$tmp/out" 2>&1
	r=$?
	grep -q 'the oracle and the core disagree' "$tmp/out" && r=1
	[ $r -eq 0 ] || grep -A 30 -E 'SURPRISE|disagree' "$tmp/out" | head -n 60
	ok $r "all scenarios with X $x: $(tail -n 1 "$tmp/out")"
done

# A real driver under the hosted kernel: nested call-outs, long call chains, its own stack frames.
ko=build/debian/e1000e.ko
if [ -f $ko ]; then
	"$GUARDHOUSE" run --module $ko --oracle >"$tmp/out" 2>&1
	r=$?
	[ $r -eq 0 ] || tail -n 40 "$tmp/out"
	ok $r "e1000e runs and the oracle agrees"
	"$GUARDHOUSE" attack --module $ko >"$tmp/out" 2>&1
	r=$?
	[ $r -eq 0 ] || tail -n 40 "$tmp/out"
	ok $r "so it does in the attacks on e1000e: $(tail -n 1 "$tmp/out")"
else
	skip "no $ko (make corpus-debian)"
fi

# An engine that cannot tell what it executes: it says so.
"$GUARDHOUSE" run counter --oracle --engine kvm >"$tmp/out" 2>&1
[ $? -eq 2 ] && grep -q -- '--oracle goes with' "$tmp/out"
ok $? "--oracle on another engine is refused by name"

finish
