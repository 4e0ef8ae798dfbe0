#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The build of fuzz/oss-fuzz, without its container: what such a builder sets is set here, every target
# but `guest` and `ko` lands in $OUT with seeds and its libraries, and runs there as it would elsewhere.
set -u
# shellcheck source=tests/support/tally.sh
. "$(dirname "$0")/support/tally.sh"

if [ "$(basename "$BUILD")" != release ]; then
	skip 'it builds for itself: once is enough'
	finish
fi
if ! command -v clang >/dev/null || ! [ -e "$(clang --print-file-name=libclang_rt.fuzzer-x86_64.a)" ]; then
	skip 'no clang with libFuzzer (tools/deps.sh fuzz installs it)'
	finish
fi
mkdir "$tmp/out" "$tmp/work"
env CC=clang CXX=clang++ CFLAGS='-fsanitize=address -fsanitize=fuzzer-no-link' LIB_FUZZING_ENGINE=-fsanitize=fuzzer \
	OUT="$tmp/out" WORK="$tmp/work" SRC="$tmp" fuzz/oss-fuzz/build.sh >"$tmp/log" 2>&1
ok $? 'build.sh' "$tmp/log"
for source in fuzz/targets/*.c; do
	target=$(basename "$source" .c)
	case $target in guest | ko) continue ;; esac
	python3 -m zipfile -t "$tmp/out/${target}_seed_corpus.zip" >"$tmp/log" 2>&1
	ok $? "$target has seeds" "$tmp/log"
	mkdir "$tmp/$target"
	python3 -m zipfile -e "$tmp/out/${target}_seed_corpus.zip" "$tmp/$target"
	"$tmp/out/$target" -runs=50 -rss_limit_mb=2048 "$tmp/$target" >"$tmp/log" 2>&1
	ok $? "$target runs on its seeds" "$tmp/log"
	grep -q 'inline 8-bit counters' "$tmp/log"
	ok $? "$target is instrumented" "$tmp/log"
done
[ -e "$tmp/out/wrap.dict" ] && [ -e "$tmp/out/scenario.dict" ]
ok $? 'dictionaries go along'
ldd "$tmp/out/wrap" | grep -q "libelf.* => $tmp/out/lib/"
ok $? 'the libraries beside the target are the ones that it uses'
finish
