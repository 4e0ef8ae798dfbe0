#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# tools/cpu-truth.sh [OPTION of guardhouse run]...
#
# Runs the guest cpu_truth to its end and prints its lines (docs/engines.md). An item that ends the
# machine is left out in the next try; then its line is `NAME not-run` and a comment says why. For a
# POSIX shell, so that it works on a test bed, too. Exit status: 0 if the guest came to its end,
# whatever it found; 1 if not.
#
# Environment: GUARDHOUSE (default build/release/guardhouse), GUEST (default cpu_truth), TRY_SECONDS
# for one try (default 120), SKIP: items to leave out from the start, with commas.
set -u
: "${GUARDHOUSE:=build/release/guardhouse}" "${GUEST:=cpu_truth}" "${TRY_SECONDS:=120}"
tmp=$(mktemp -d "${TMPDIR:-/tmp}/cpu-truth.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
skip=${SKIP:-}
tries=0

while [ $tries -lt 200 ]; do
	tries=$((tries + 1))
	timeout $((TRY_SECONDS + 10)) "$GUARDHOUSE" run "$GUEST" "$@" --timeout "$TRY_SECONDS" \
		--arg "skip=$skip" >"$tmp/out" 2>"$tmp/err"
	if grep -q '^[0-9]* items: ' "$tmp/out"; then
		sed '/^[0-9]* items: /q' "$tmp/out"
		cat "$tmp/why" 2>/dev/null
		exit 0
	fi
	# The last line that begins with an item's name is the one that did not end.
	name=$(sed -n 's/--- .*: .* (.* vCPU.*)$//; s/^\([a-z0-9][a-z0-9.-]*\).*/\1/p' "$tmp/out" |
		grep '\.' | tail -n 1)
	if [ -z "$name" ] || [ "$name" = "${last:-}" ]; then
		cat "$tmp/out" "$tmp/err" >&2
		echo "cpu-truth: the guest ends early, at no item or twice at ${name:-none}" >&2
		exit 1
	fi
	last=$name
	skip="$skip${skip:+,}$name"
	# Only what was said first, without addresses and bytes: they change with every build.
	reason=$(sed -n 's/^guardhouse run: //p' "$tmp/err" | head -n 1 |
		sed 's/[,:] *bytes .*//; s/ on vCPU .*//')
	echo "# $name: ${reason:-ends the guest}" | tee -a "$tmp/why" >&2
done
echo "cpu-truth: more than $tries items end the guest" >&2
exit 1
