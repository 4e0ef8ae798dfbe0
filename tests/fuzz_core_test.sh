#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The fuzz target `core`: its honest inputs are accepted throughout; the same input gives the same
# log, twice and among others; two planted bugs of the core are found from the honest input, one of
# them by a guarantee, while the core itself is not; every patch of fuzz/mutants applies.
set -u
# shellcheck source=tests/support/tally.sh
. "$(dirname "$0")/support/tally.sh"

"$BUILD/fuzz/seeds" "$tmp/seeds" corpus/scenarios/C0*.scn >"$tmp/log" 2>&1
for seed in "$tmp"/seeds/core/*; do
	FUZZ_CORE_TRACE=1 timeout 20 "$BUILD/fuzz/core" "$seed" >"$tmp/out" 2>"$tmp/log"
	ok $? "$(basename "$seed") is no find" "$tmp/log"
	[ "$(basename "$seed")" = honest0 ] || continue
	[ "$(grep -c 'verdict=' "$tmp/log")" -gt 30 ] && ! grep 'verdict=' "$tmp/log" | grep -qvE 'verdict=(ok|again) '
	ok $? 'everything that is honest is accepted' "$tmp/log"
	# alone, or after others: one input does not see another
	FUZZ_CORE_TRACE=1 timeout 20 "$BUILD/fuzz/core" "$tmp"/seeds/core/honest[123] "$seed" >"$tmp/out" 2>"$tmp/again"
	tail -n "$(wc -l <"$tmp/log")" "$tmp/again" | cmp -s - "$tmp/log"
	ok $? 'an input has the same log after other inputs' "$tmp/log"
done

for p in fuzz/mutants/*.patch; do
	patch -p1 --dry-run --fuzz=0 -s -i "$p" >"$tmp/log" 2>&1 && head -n 1 "$p" | grep -qE '^[A-Z].*\.$'
	ok $? "$p applies, and its first line says what is wrong" "$tmp/log"
done

if ! command -v clang >/dev/null || ! [ -e "$(clang --print-file-name=libclang_rt.fuzzer-x86_64.a)" ]; then
	skip 'no clang with libFuzzer (make fuzz-parsers installs it)'
elif [[ $BUILD == *asan* ]]; then
	skip 'planted bugs are looked for by the release build'
else
	timeout 120 tools/fuzz_mutants.py --build "$BUILD" --control --once --budget 3 exit-unchecked not-wiped \
		>"$tmp/log" 2>&1
	ok $? 'two planted bugs are found, and nothing in the core itself' "$tmp/log"
	grep -qE '^not-wiped +guarantee .*G3 privacy' "$tmp/log"
	ok $? 'private memory that is not wiped breaks a guarantee' "$tmp/log"
	tail -n 1 "$tmp/log"
fi
finish
