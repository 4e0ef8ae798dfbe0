#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The fuzz target `core`: its honest inputs are accepted throughout; the same input gives the same
# log, twice and among others; five planted bugs of the core are found from the honest input, four of
# them certainly by a guarantee, while the core itself is not; every patch of fuzz/mutants applies.
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

# hostile INPUT: "steps, hostile ones", as the table of planted bugs counts them
hostile() {
	FUZZ_CORE_TRACE=1 timeout 20 "$BUILD/fuzz/core" "$1" 2>"$tmp/trace" >"$tmp/out"
	"$GUARDHOUSE" export --target core --text "$1" -o "$tmp/text" &&
		python3 -c 'import sys; sys.path.insert(0, "tools"); import fuzz_mutants_steps as s
print(*s.core(open(sys.argv[1]).read(), open(sys.argv[2]).read()))' "$tmp/text" "$tmp/trace"
}
[[ $(hostile "$tmp/seeds/core/honest0") =~ ^[0-9]+\ 0$ ]]
ok $? 'no step of the honest input is hostile'
printf '%s\n' 'guardhouse-core 1' 'world 0' 'pte v0 m0 page=stack number=0 entry=0x5d' 'call v0 m0 fn=f' >"$tmp/two"
"$GUARDHOUSE" export --target core --binary "$tmp/two" -o "$tmp/two.bin" && [ "$(hostile "$tmp/two.bin")" = '2 2' ]
ok $? 'a stack page remapped, and an entry that is refused for it: two hostile steps' "$tmp/text"

# What the oracle's walks found in one event says nothing about the next.
printf '%s\n' 'guardhouse-core 1' 'world 0' 'call v0 m0 fn=f word=0' 'ret v0 m0' 'pte v0 m0 page=stack number=8 entry=4' \
	'call v0 m0 fn=f word=0' 'heal v0 m0' 'call v0 m0 fn=f word=0' >"$tmp/stack"
"$GUARDHOUSE" replay --target core "$tmp/stack" >"$tmp/log" 2>&1 && grep -q '^3 .*verdict=bad-stack' "$tmp/log" &&
	grep -q '^4 .*verdict=ok' "$tmp/log"
ok $? 'a stack page that goes and comes back is seen by both judges' "$tmp/log"

for p in fuzz/mutants/*.patch; do
	patch -p1 --dry-run --fuzz=0 -s -i "$p" >"$tmp/log" 2>&1 && head -n 1 "$p" | grep -qE '^[A-Z].*\.$'
	ok $? "$p applies, and its first line says what is wrong" "$tmp/log"
done

if ! command -v clang >/dev/null || ! [ -e "$(clang --print-file-name=libclang_rt.fuzzer-x86_64.a)" ]; then
	skip 'no clang with libFuzzer (make fuzz-parsers installs it)'
elif [[ $BUILD == *asan* ]]; then
	skip 'planted bugs are looked for by the release build'
else
	timeout 120 tools/fuzz_mutants.py --build "$BUILD" --targets core --control --once --budget 3 --steps \
		--keep "$tmp/keep" --guardhouse --json "$tmp/table.json" --out "$tmp/table.md" exit-unchecked not-wiped \
		private-unfilled init-callback-for-ever outside-unseen >"$tmp/log" 2>&1
	ok $? 'five planted bugs are found, and nothing in the core itself' "$tmp/log"
	grep -qE '^not-wiped +guarantee .*G3 privacy' "$tmp/log"
	ok $? 'private memory that is not wiped breaks a guarantee' "$tmp/log"
	grep -qE '^private-unfilled +guarantee .*G4 binding' "$tmp/log"
	ok $? 'private memory that begins with the guest'"'"'s bytes breaks a guarantee' "$tmp/log"
	grep -qE '^init-callback-for-ever +guarantee .*G1 entry' "$tmp/log"
	ok $? 'a callback of init after init breaks a guarantee' "$tmp/log"
	grep -qE '^outside-unseen +guarantee .*G2 exit' "$tmp/log"
	ok $? 'whoever goes on privileged outside breaks a guarantee' "$tmp/log"
	tail -n 1 "$tmp/log"
	grep -qE '^\| exit-unchecked \| An exit .* \| .core. guarantee \|.*\| [0-9]+ \| [0-9]+ \|$' "$tmp/table.md" &&
		grep -qF "git tree \`$(git rev-parse --short=12 HEAD:model)" "$tmp/table.md" &&
		! grep -q Partial "$tmp/table.md"
	ok $? 'the table names target, judge, steps and the core' "$tmp/table.md"
	if command -v gnuplot >/dev/null; then
		grep -q '</svg>' "$tmp/table.svg" && grep -q 'table.svg' "$tmp/table.md"
		ok $? 'beside it is a plot'
	else
		skip 'no gnuplot (make fuzz-mutants installs it)'
	fi
	# What is kept is not done again; Ctrl-C ends at once, keeps it and says so.
	resume=(timeout -k 1 60 tools/fuzz_mutants.py --build "$BUILD" --targets core --once --budget 60
		--json "$tmp/kept.json" --resume --out "$tmp/kept.md" exit-unchecked)
	"${resume[@]}" >"$tmp/log" 2>&1 && grep -q '^exit-unchecked' "$tmp/log" && "${resume[@]}" >"$tmp/log" 2>&1 &&
		! grep -q '^exit-unchecked' "$tmp/log" && grep -q '^1 of 1 mutants killed' "$tmp/log"
	ok $? '--resume takes what --json kept' "$tmp/log"
	TMPDIR=$tmp "${resume[@]}" --control >"$tmp/log" 2>&1 &
	for ((i = 0; i < 150; i++)); do
		pgrep -f "^$tmp/.*-max_total_time" >/dev/null && break
		sleep 0.2
	done
	kill -INT $! && timeout 10 tail --pid=$! -f /dev/null && wait $!
	[ $? -eq 130 ] && grep -q '^\*\*Partial: 1 of 1' "$tmp/kept.md" && grep -q '^| exit-unchecked ' "$tmp/kept.md"
	ok $? 'Ctrl-C keeps what is done, and the table says that it is not whole' "$tmp/log"
	for bug in exit-unchecked not-wiped; do
		"$tmp/keep/$bug.guardhouse" replay --target core "$tmp/keep/$bug" >"$tmp/log" 2>&1
		[ $? -eq 1 ] && "$tmp/keep/$bug.guardhouse" minimize --target core "$tmp/keep/$bug" -o "$tmp/min" >>"$tmp/log" 2>&1
		ok $? "$bug: what killed it is played and minimized" "$tmp/log"
		"$tmp/keep/$bug.guardhouse" replay --target core "$tmp/min" >"$tmp/again" 2>&1
		[ $? -eq 1 ] && [ "$(stat -c %s "$tmp/min")" -le "$(stat -c %s "$tmp/keep/$bug")" ] &&
			[ "$(sed -n 's|^ *key \([^/]*/[^/]*/[^/]*\).*|\1|p' "$tmp/log" | sort -u)" = \
				"$(sed -n 's|^ *key \([^/]*/[^/]*/[^/]*\).*|\1|p' "$tmp/again")" ]
		ok $? "$bug: it is no longer than before and breaks the same" "$tmp/again"
		"$GUARDHOUSE" replay --target core "$tmp/min" >"$tmp/again" 2>&1
		ok $? "$bug: the core itself plays it without a word" "$tmp/again"
		grep tries "$tmp/log"
	done
fi
finish
