#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# All that a fuzzer ever found (corpus/regressions/TARGET), and every seed, go through their target
# once more: nothing may crash, hang, break a property of the target, or make a sanitizer speak.
set -u
# shellcheck source=tests/support/tally.sh
. "$(dirname "$0")/support/tally.sh"

export FUZZ_GUEST_CORPUS=$BUILD/corpus

# goes WHAT TARGET FILE...
goes() {
	local what=$1 target=$2
	shift 2
	if timeout 300 "$BUILD/fuzz/$target" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null &&
		[ "$(wc -l <"$tmp/out")" -eq $# ]; then
		passed=$((passed + 1))
	else
		fail "$what: after $(wc -l <"$tmp/out") of $# inputs, the last good one: $(tail -n 1 "$tmp/out")" "$tmp/err"
	fi
}

BUILD=$BUILD fuzz/make-seeds.sh "$tmp/seeds" >/dev/null || exit 2
for source in fuzz/targets/*.c; do
	target=$(basename "$source" .c)
	if [ "$target" = ko ] && [ ! -e build/debian/e1000e.ko ]; then
		skip 'ko: no drivers (make corpus-debian)'
		continue
	fi
	seeds=("$tmp/seeds/$target"/*)
	if [ -e "${seeds[0]}" ]; then
		goes "seeds of $target" "$target" "${seeds[@]}"
	else
		fail "no seeds for $target (fuzz/seeds.c)"
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
		fail "$folder: no such target"
	fi
done
finish
