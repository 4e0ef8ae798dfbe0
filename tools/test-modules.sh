#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# `make test-modules`: wraps every module of Debian's kernel package and checks each against its
# original, in memory, two at a time. Writes results/modules.md, modules.svg and, with UPDATE=1,
# modules-refused.txt. Ends 0 only if at least 4,000 modules were wrapped and proved, and those
# that the toolchain refused are just the ones that modules-refused.txt names.
#
# Figures between "measured" marks depend on the machine; the rest depends on the package alone.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
: "${BUILD:=build/release}" "${JOBS:=2}"
modules=build/debian/modules
out=$BUILD/modules

if [ ! -d "$modules/" ]; then
	echo 'SKIP: no kernel package (make corpus-debian)'
	[ "${REQUIRE-}" != 1 ]
	exit
fi
mkdir -p "$out" results
status=0
"$BUILD/bench/modules" "$modules" "$out/modules.tsv" "$JOBS" >"$out/run.txt" || status=$?
[ -s "$out/modules.tsv" ] || exit 2
tools/modules-report.py "$out/modules.tsv" "$out/run.txt" build/debian/VERSION \
	results/modules-refused.txt results/modules.md "$out" ${UPDATE:+--update} || status=1
gnuplot -e "data='$out/plot.tsv'; out='results/modules.svg'" tools/modules.gnuplot
exit $status
