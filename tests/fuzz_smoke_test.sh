#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Do the fuzz targets still build and run on both engines, and find nothing within seconds; and does
# an engine report a find? SMOKE_SECONDS for each target and engine (2).
set -u
# shellcheck source=tests/support/tally.sh
. "$(dirname "$0")/support/tally.sh"
export BUILD FUZZ_GUEST_CORPUS=$BUILD/corpus
: "${SMOKE_SECONDS:=2}"
targets=(fuzz/targets/*.c)
targets=("${targets[@]##*/}")
targets=("${targets[@]%.c}")

# The engines' programs lie beside this build, whatever variant it is.
build() {
	env -u BUILD -u MAKEFLAGS -u MFLAGS -u VARIANT make --no-print-directory -j2 VARIANT="$1" fuzz-targets \
		>"$tmp/log" 2>&1
}

# plant ENGINE COMPILER: a target that fails on some input. Must end with exit 1 and name the file.
plant() {
	local dir=$tmp/plant-$1
	mkdir -p "$dir/seeds/planted" "$tmp/builds/$1/fuzz" "$dir/finds"
	echo honest >"$dir/seeds/planted/a"
	"$2" -std=gnu11 -g '-fsanitize=fuzzer,address,undefined' -x c -o "$tmp/builds/$1/fuzz/planted" - >"$tmp/log" 2>&1 <<-'END' || return 1
		#include <stdint.h>
		#include <stdlib.h>
		#include <string.h>
		int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
		int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
		{
			if (size > 3 && data[0] == 'h' && data[1] > 'o')
				abort();
			return 0;
		}
	END
	if [ "$1" = afl ] && [ ! -e "$tmp/builds/libfuzzer/fuzz/planted" ]; then
		return 1
	fi
	tools/fuzz_parsers.py --each 5 --targets planted --engines "$1" --dir "$dir" --builds "$tmp/builds" \
		>"$tmp/log" 2>&1
	[ $? -eq 1 ] && grep -q "$dir/finds/planted/.*: " "$tmp/log"
}

# kept FOLDER: how many inputs libFuzzer keeps of the first guest, the same once more, and that one
kept() {
	build/guard-libfuzzer/fuzz/guest -runs=0 -shuffle=0 "$tmp/loop1" "$tmp/loop1.again" "$tmp/$1" >"$tmp/log" 2>&1
	sed -n 's/.*DONE.* corp: \([0-9]*\).*/\1/p' "$tmp/log"
}

# branches ENGINE: two guests whose crossings are alike, one of which goes round a loop of the module's;
# the engine must find that they are not.
branches() {
	local n
	for n in 1 3; do
		mkdir -p "$tmp/loop$n"
		printf '%s\n' 'scenario L' 'title a loop' 'class sync' 'vcpus 1' 'module counter' 'thread 0' \
			"call counter:enter/counter_spin $n" returns >"$tmp/loop.scn"
		"$GUARDHOUSE" export "$tmp/loop.scn" --binary -o "$tmp/loop$n/input" >"$tmp/log" 2>&1 || return 1
		[ "$1" = libfuzzer ] || afl-showmap -q -o "$tmp/map$n" -- build/guard-afl/fuzz/guest "$tmp/loop$n/input" \
			>"$tmp/log" 2>&1 || return 1
	done
	if [ "$1" = libfuzzer ]; then
		# the first input makes the VM, so the same one is given again before another can be told from it
		cp -r "$tmp/loop1" "$tmp/loop1.again"
		cp -r "$tmp/loop1" "$tmp/loop1.last"
		[ "$(kept loop1.last)" -eq 2 ] && [ "$(kept loop3)" -eq 3 ]
	else
		[ -s "$tmp/map1" ] && ! cmp "$tmp/map1" "$tmp/map3" >"$tmp/log" 2>&1
	fi
}

if ! command -v clang >/dev/null || ! [ -e "$(clang --print-file-name=libclang_rt.fuzzer-x86_64.a)" ]; then
	skip 'no clang with libFuzzer (make fuzz-parsers installs it)'
	finish
fi
OWN=1 fuzz/make-seeds.sh "$tmp/campaign/seeds" >"$tmp/log" 2>&1 || fail 'seeds' "$tmp/log"

for engine in libfuzzer afl; do
	compiler=clang
	if [ $engine = afl ]; then
		compiler=afl-clang-fast
		if ! command -v afl-clang-fast >/dev/null || ! command -v afl-fuzz >/dev/null; then
			skip 'no AFL++ (make fuzz-parsers installs it)'
			continue
		fi
		export AFL_QUIET=1
	fi
	if ! build $engine || ! build guard-$engine; then
		fail "build for $engine" "$tmp/log"
		continue
	fi
	for target in "${targets[@]}"; do
		if [ "$target" = ko ] && [ ! -d build/debian/modules/ ]; then
			skip 'no real driver for the target ko (make corpus-debian)'
			continue
		fi
		tools/fuzz_parsers.py --each "$SMOKE_SECONDS" --targets "$target" --engines $engine \
			--dir "$tmp/campaign" >"$tmp/log" 2>&1
		ok $? "$target on $engine" "$tmp/log"
	done
	plant $engine $compiler
	ok $? "$engine reports a planted find" "$tmp/log"
	branches $engine
	ok $? "$engine hears of a guest's branches" "$tmp/log"
done
# The verb: a campaign in a folder of its own, gone on with by the same command; what it refuses.
verb() {
	"$GUARDHOUSE" fuzz "$@" >"$tmp/log" 2>&1
}
if [ "$(basename "$BUILD")" = release ]; then
	executions() {
		python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["core libfuzzer"]["executions"])' \
			"$tmp/verb/campaign.json"
	}
	verb core --time 1 --jobs 2 --dir "$tmp/verb" && first=$(executions) && [ "$first" -gt 0 ] &&
		verb core --time 1 --dir "$tmp/verb" && [ "$(executions)" -gt "$first" ]
	ok $? 'guardhouse fuzz core, twice: the second run goes on' "$tmp/log"
	verb core --mutants --budget 0
	[ $? -eq 2 ] && [ "$(wc -l <"$tmp/log")" -eq 1 ]
	ok $? 'a budget of 0: one line, exit code 2' "$tmp/log"
	# planted bugs: stopped after one, the same command goes on
	tried() {
		python3 -c 'import json, sys; print(len(json.load(open(sys.argv[1]))["mutants"]))' "$tmp/planted/mutants.json" 2>/dev/null ||
			echo 0
	}
	hunted() { # MORE: until so many more are tried; Ctrl-C, which ends with 130
		local had pid i
		had=$(tried)
		"$GUARDHOUSE" fuzz core --mutants --budget 20 --dir "$tmp/planted" >"$tmp/log" 2>&1 &
		pid=$!
		for ((i = 0; i < 600 && $(tried) < had + $1; i++)); do
			sleep 0.2
		done
		kill -INT $pid
		wait $pid
		[ $? -eq 130 ] && [ "$(tried)" -ge $((had + $1)) ]
	}
	set -m # else what runs behind is deaf to Ctrl-C
	hunted 1 && hunted 1 && ! grep -q 'all anew' "$tmp/log"
	ok $? 'guardhouse fuzz --mutants, stopped twice: what was tried is kept' "$tmp/log"
	set +m
	touch "$tmp/file"
	for bad in "--dir $tmp/file" "--dir $tmp/file/below" "--mutants --out $tmp" "--mutants --dir $tmp/file/below"; do
		# shellcheck disable=SC2086 # words
		verb core $bad
		[ $? -eq 2 ] && [ "$(wc -l <"$tmp/log")" -eq 1 ]
		ok $? "fuzz core $bad: one line, exit code 2" "$tmp/log"
	done
fi
# The campaigns against the core: --total counts what was done before, the report adds up and measures.
campaign() {
	tools/fuzz_parsers.py --guard --dir "$tmp/guard" --total 2 --slice 1 --targets core --engines libfuzzer >"$tmp/log" 2>&1
}
# The target core with gcov in the core alone; the rest is compiled already.
counting() {
	mkdir -p "$tmp/counted/cov/model" "$tmp/counted/cov/fuzz" "$tmp/counted/guard-libfuzzer" &&
		for c in model/*.c; do
			gcc -std=c11 -I. -ffreestanding -mgeneral-regs-only -O0 -g -w --coverage -c "$c" \
				-o "$tmp/counted/cov/${c%.c}.o" || return 1
		done
	# shellcheck disable=SC2046 # words
	gcc --coverage -rdynamic -pthread "$BUILD"/fuzz/targets/core.o "$BUILD"/fuzz/{fuzz,replay,steps}.o "$BUILD"/fuzz/events/*.o \
		"$BUILD/tests/support/manifest_builder.o" "$tmp"/counted/cov/model/*.o "$BUILD/libguardhouse.a" \
		$(pkg-config --libs unicorn libelf libdw jansson libsodium liblzma libzstd) -lZydis -lZycore -lm \
		-o "$tmp/counted/cov/fuzz/core" && ln -s "$PWD/build/guard-libfuzzer/fuzz" "$tmp/counted/guard-libfuzzer/"
}
report() {
	tools/fuzz_report.py --builds "$tmp/counted" --out "$tmp/fuzzing.md" "$@" >"$tmp/log" 2>&1
}
# The number of the field that grep -o cuts out of core's row: executions, or lines reached.
number() {
	grep -oE "$1" "$tmp/fuzzing.md" | head -n 1 | sed 's/^.*| //; s/ of.*//' | tr -d ,
}
executions='^. .core. . libfuzzer \| [0-9,]+ \| [0-9,]+'
lines='^. .core. \| [0-9,]+ \| [0-9,]+ of [^|]* \| [0-9,]+ of'
if [ "$(basename "$BUILD")" != release ] || ! command -v gcovr >/dev/null; then
	skip 'the report needs the release build and gcovr (make fuzzing installs it)'
else
	campaign && cp "$tmp/guard/campaign.json" "$tmp/once.json" && campaign && cmp "$tmp/guard/campaign.json" "$tmp/once.json" &&
		[ "$(grep -c '"rates"' "$tmp/once.json")" -eq 1 ]
	ok $? 'a campaign with --total, twice: the second time nothing is left to do' "$tmp/log"
	counting >"$tmp/log" 2>&1
	ok $? 'the target core with gcov' "$tmp/log"
	report --dir "$tmp/guard" && grep -q "^.model/. is git tree" "$tmp/fuzzing.md" && once=$(number "$executions") &&
		[ "$once" -gt 100 ] && all=$(number "$lines") && [ "$all" -gt 800 ]
	ok $? 'the report has executions and what they reach' "$tmp/fuzzing.md"
	mkdir -p "$tmp/other/seeds/core" && printf '\0' >"$tmp/other/seeds/core/nothing" && cp "$tmp/once.json" "$tmp/other/campaign.json"
	report --dir "$tmp/other" && [ "$(number "$lines")" -lt $((all * 3 / 4)) ] # making the world reaches half
	ok $? 'inputs that do nothing reach little' "$tmp/fuzzing.md"
	report --dir "$tmp/guard" --dir "$tmp/other" && [ "$(number "$executions")" -eq $((2 * once)) ]
	ok $? 'two folders add up' "$tmp/fuzzing.md"
	sed -i 's/"model": "[^"]*"/"model": "another"/' "$tmp/other/campaign.json"
	report --dir "$tmp/other"
	[ $? -eq 1 ] && grep -q 'Not clean' "$tmp/fuzzing.md" && grep -q 'against model/ another' "$tmp/fuzzing.md"
	ok $? 'a campaign against another core is told' "$tmp/fuzzing.md"
	sed -i 's/"model": "[^"]*"/"model": "another"/' "$tmp/guard/campaign.json"
	campaign && grep -q 'from 0' "$tmp/log" && ! grep -q another "$tmp/guard/campaign.json"
	ok $? 'against another core its sums begin at 0' "$tmp/log"
fi
verb no-such-target
[ $? -eq 2 ] && [ "$(wc -l <"$tmp/log")" -eq 1 ]
ok $? 'an unknown target: one line, exit code 2' "$tmp/log"
verb --list && printf '%s\n' "${targets[@]}" | cmp -s - "$tmp/log"
ok $? '--list names the targets, and nothing else' "$tmp/log"
finish
