#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Do the fuzz targets still build and run on both engines, and find nothing within seconds; and does
# an engine report a find? SMOKE_SECONDS for each target and engine (2).
set -u
# shellcheck source=tests/support/tally.sh
. "$(dirname "$0")/support/tally.sh"
export BUILD
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
	if ! build $engine; then
		fail "build for $engine" "$tmp/log"
		continue
	fi
	for target in "${targets[@]}"; do
		tools/fuzz_parsers.py --each "$SMOKE_SECONDS" --targets "$target" --engines $engine \
			--dir "$tmp/campaign" >"$tmp/log" 2>&1
		ok $? "$target on $engine" "$tmp/log"
	done
	plant $engine $compiler
	ok $? "$engine reports a planted find" "$tmp/log"
done
finish
