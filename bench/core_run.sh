#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The guard core's costs: runs BUILD/bench/core_bench natively for nanoseconds and under callgrind
# for instructions, and prints one table and whether each aim is met. Ratios are against an event
# that the core only passes on ("empty"), in the same run.
set -euo pipefail
bench=$BUILD/bench/core_bench
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

"$bench" >"$dir/ns"
: >"$dir/instructions"
if command -v valgrind >/dev/null; then
	valgrind --tool=callgrind --collect-atstart=no --callgrind-out-file="$dir/cg" "$bench" \
		>/dev/null 2>"$dir/log" || { cat "$dir/log" >&2; exit 1; }
	for f in "$dir"/cg.*; do
		awk '/^desc: Trigger/ { name = $NF } /^totals:/ { n = $2 } END { if (name ~ /:/) print name "\t" n }' "$f"
	done >"$dir/instructions"
else
	echo 'SKIP: instructions are not counted: valgrind is not installed (tools/deps.sh bench)'
fi

awk -F '\t' '
FILENAME ~ /instructions$/ { split($1, k, ":"); ins[k[1], k[2]] = $2; next }
{
	if ($1 != last) {
		printf "%s%-14s %-13s %8s %8s %8s %6s %6s\n", last ? "\n" : "", "configuration",
		       "event", "instr", "ns", "x empty", "calls", "PTEs"
		last = $1
	}
	row[++rows] = $1 SUBSEP $2
	i = (($1, $2) in ins) ? ins[$1, $2] : "-"
	e = ins[$1, "empty"] > 0 ? sprintf("%.1f", i / ins[$1, "empty"]) : "-"
	printf "%-14s %-13s %8s %8s %8s %6s %6s\n", $1, $2, i, $3, e, $4, $5
}
function pair(c, a, b) { return ins[c, a] + ins[c, b] }
function aim(text, value, limit) {
	printf "%-66s %6d  aim %4d  %s\n", text, value, limit, value <= limit ? "met" : "MISSED"
}
END {
	if (!(("base", "empty") in ins))
		exit
	print ""
	base = pair("base", "ENTER-CALL", "LEAVE-RETURN")
	aim("enter + leave, one page each of text, gates, private", base, 900)
	aim("each further text page of enter + leave",
	    (pair("text-64", "ENTER-CALL", "LEAVE-RETURN") - base) / 63, 60)
	small = pair("base", "LEAVE-CALL", "ENTER-RETURN")
	# a longer stack may lie on one page more, whose entries are read; bytes must not count
	aim("call-out + return growing from 0 to 512 bytes of stack, returns",
	    pair("returns-512", "LEAVE-CALL", "ENTER-RETURN") - small, 0 + 100)
	aim("call-out + return growing from 512 to 4096 bytes, returns",
	    pair("returns-4096", "LEAVE-CALL", "ENTER-RETURN") - \
	    pair("returns-512", "LEAVE-CALL", "ENTER-RETURN"), 0 + 100)
}' "$dir/instructions" "$dir/ns"
