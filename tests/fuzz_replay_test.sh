#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# All that a fuzzer ever found (corpus/regressions/TARGET), and every seed, go through their target
# once more: nothing may crash, hang, break a property of the target, or make a sanitizer speak.
set -u
: "${BUILD:=build/release}"
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here" || exit 2
tmp=$(mktemp -d "${TMPDIR:-/tmp}/replay.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0

# goes WHAT TARGET FILE...
goes() {
	local what=$1 target=$2
	shift 2
	if timeout 300 "$BUILD/fuzz/$target" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null &&
		[ "$(wc -l <"$tmp/out")" -eq $# ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL: $what: after $(wc -l <"$tmp/out") of $# inputs, the last good one: $(tail -n 1 "$tmp/out")"
		sed 's/^/    /' "$tmp/err" | head -n 20
	fi
}

BUILD=$BUILD fuzz/make-seeds.sh "$tmp/seeds" >/dev/null || exit 2
for source in fuzz/targets/*.c; do
	target=$(basename "$source" .c)
	seeds=("$tmp/seeds/$target"/*)
	if [ -e "${seeds[0]}" ]; then
		goes "seeds of $target" "$target" "${seeds[@]}"
	else
		failed=$((failed + 1))
		echo "FAIL: no seeds for $target (fuzz/seeds.c)"
	fi
	# nothing at all is an input, too
	: >"$tmp/empty"
	goes "$target with an empty file" "$target" "$tmp/empty"
	for input in "corpus/regressions/$target"/*; do
		[ -e "$input" ] || continue
		goes "$input" "$target" "$input"
	done
done
for folder in corpus/regressions/*/; do
	if [ -d "$folder" ] && [ ! -e "fuzz/targets/$(basename "$folder").c" ]; then
		failed=$((failed + 1))
		echo "FAIL: $folder: no such target"
	fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
