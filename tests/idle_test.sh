#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Privileges in motion: guest `idle` on physical cores whose vCPUs move (docs/guests.md). What the
# three policies cost relative to each other is a claim, and so is that the adaptive one never has
# a vCPU asleep in MWAIT on a core that it shares. The counters that say so must be able to say
# otherwise.
set -u
: "${BUILD:=build/release}" "${GUARDHOUSE:=$BUILD/guardhouse}"
tmp=$(mktemp -d "${TMPDIR:-/tmp}/idle.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0

# check TEXT CONDITION...: the condition is a command
check() {
	local what=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL: $what"
		[ ! -s "$tmp/err" ] || sed 's/^/    /' "$tmp/err" | tail -n 5
	fi
}

# idle NAME SEED PLACEMENT [OPTION...]: runs it; NAME.json is its report
idle() {
	local name=$1 seed=$2 placement=$3
	shift 3
	timeout 120 "$GUARDHOUSE" run idle --json --seed "$seed" --placement "$placement" "$@" \
		>"$tmp/$name.json" 2>"$tmp/err"
	check "$name, seed $seed: exit status 0" [ $? -eq 0 ]
}

# n NAME KEY: a counter of its placement
n() {
	local got
	got=$(sed -n "/\"placement\": {/,/}/s/.*\"$2\": \([0-9]*\).*/\1/p" "$tmp/$1.json")
	echo "${got:--1}"
}

# delay NAME mean|max
delay() {
	local got
	got=$(sed -n "s/.*wake-ups [0-9]*, delay.* $2 \([0-9]*\).*/\1/p" "$tmp/$1.json")
	echo "${got:--1}"
}

less() {
	[ "$1" -ge 0 ] && [ "$2" -ge 0 ] && [ "$1" -lt "$2" ]
}

for seed in 1 2 3; do
	for wake in 0 2000; do
		at="seed $seed, wake $wake"
		for policy in adaptive mwait hlt; do
			idle $policy $seed policy=$policy,wake=$wake --oracle --log "$tmp/$policy.log"
			check "$at: no TOUCH, $policy" [ "$(grep -c TOUCH "$tmp/$policy.log")" = 0 ]
			check "$at: vCPUs move, $policy" less 20 "$(n $policy moves)"
		done
		idle alone $seed period=0,policy=mwait,wake=$wake --oracle

		check "$at: adaptive sleeps in MWAIT" less 100 "$(n adaptive mwait)"
		check "$at: adaptive halts" less 100 "$(n adaptive hlt)"
		check "$at: never in MWAIT on a shared core" [ "$(n adaptive mwait_shared)" = 0 ]
		check "$at: nobody waits for a core that MWAIT keeps" [ "$(n adaptive held)" = 0 ]
		check "$at: WITHHOLD woke sleepers" less 10 "$(n adaptive woken)"
		check "$at: MWAIT always sleeps on shared cores" less 100 "$(n mwait mwait_shared)"
		check "$at: and others wait for them" less 10000 "$(n mwait held)"
		check "$at: HLT always never sleeps in MWAIT" [ "$(n hlt mwait)" = 0 ]

		check "$at: exits, MWAIT < adaptive" less "$(n mwait exits)" "$(n adaptive exits)"
		check "$at: exits, adaptive < HLT" less "$(n adaptive exits)" "$(n hlt exits)"
		check "$at: mean delay, MWAIT alone < adaptive" \
			less "$(delay alone mean)" "$(delay adaptive mean)"
		check "$at: mean delay, adaptive < HLT" \
			less "$(delay adaptive mean)" "$(delay hlt mean)"
		check "$at: longest delay, adaptive < MWAIT on shared cores" \
			less "$(delay adaptive max)" "$(delay mwait max)"
	done
done

# What a vCPU chose inside is what the VMM saw (a look at the page may be out of date by a WITHHOLD).
chosen=$(sed -n 's/.*chosen inside: MWAIT \([0-9]*\),.*/\1/p' "$tmp/adaptive.json")
check "MWAITs chosen and seen" [ "${chosen:-0}" -ge "$(n adaptive mwait)" ]

# A halted vCPU wakes without the module's crossings: the baseline without any guard.
idle kernel 1 policy=hlt --arg kernel
check "without the module nothing of it is crossed" less "$(n kernel crossings)" 20
check "and a sleep is a HLT" less 600 "$(n kernel hlt)"

# The same seed, the same run; another one, other moves.
idle one 5 cores=3
idle two 5 cores=3
idle three 6 cores=3
check "the same seed gives the same report" cmp -s "$tmp/one.json" "$tmp/two.json"
check "another seed another one" [ "$(n one granted) $(n one held)" != "$(n three granted) $(n three held)" ]

for bad in cores=0 cores=65 turn=0 policy=both policy cores nothing=1 period=x 'cores=2,,'; do
	"$GUARDHOUSE" run idle --placement "$bad" >"$tmp/out" 2>"$tmp/err"
	check "--placement $bad is refused in one line" \
		[ "$? $(wc -l <"$tmp/err") $(grep -c placement "$tmp/err")" = "2 1 1" ]
done
"$GUARDHOUSE" run A1 --placement cores=2 >"$tmp/out" 2>"$tmp/err"
check "a scenario takes no placement" [ $? -eq 2 ]
: >"$tmp/err"

# On kvm time is a host's, so only what is counted can be compared. A host that executes MWAIT makes
# it a NOP: then the guest polls.
"$GUARDHOUSE" run hello --engine kvm >"$tmp/out" 2>"$tmp/err"
if [ $? -eq 2 ]; then
	echo "SKIP: $(tail -n 1 "$tmp/err")"
	skipped=1
else
	: >"$tmp/err"
	for policy in adaptive hlt; do
		idle kvm-$policy 1 policy=$policy --engine kvm
	done
	check "kvm: never in MWAIT on a shared core" [ "$(n kvm-adaptive mwait_shared)" = 0 ]
	check "kvm: WITHHOLD is judged" less 4 "$(n kvm-adaptive withheld)"
	check "kvm: exits, adaptive < HLT" less "$(n kvm-adaptive exits)" "$(n kvm-hlt exits)"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
