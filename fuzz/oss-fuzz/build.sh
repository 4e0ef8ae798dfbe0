#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What OSS-Fuzz and ClusterFuzzLite run in their builder: every target of fuzz/targets/ that reads a file,
# with their compiler, flags and engine, its seeds and its dictionary, to $OUT. The libraries go along, as
# what runs the targets later has none. `guest` and `ko` are left out: they need the corpus or Debian's
# drivers beside them.
#	CC CXX CFLAGS LIB_FUZZING_ENGINE OUT WORK
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
[ -e fuzz/targets ] || cd "${SRC:?}/guardhouse" 2>/dev/null || cd ../..
: "${CC:?}" "${CXX:?}" "${CFLAGS?}" "${LIB_FUZZING_ENGINE:?}" "${OUT:?}" "${WORK:?}"
unset MAKEFLAGS MAKELEVEL MFLAGS BUILD VARIANT
build=$WORK/engine plain=$WORK/plain
make=(make --no-print-directory -j"$(nproc)")

# The engine's own flags are in CFLAGS; where to find the libraries: beside the target.
"${make[@]}" VARIANT=libfuzzer BUILD="$build" CC="$CC" FUZZ_LD="$CXX" OPT='-O1 -g' SANITIZE="$CFLAGS" \
	FUZZ_ENGINE="$LIB_FUZZING_ENGINE '-Wl,-rpath,\$\$ORIGIN/lib'" fuzz-targets

# Seeds are made by plain programs: the engine's and the sanitizers' variables are not for them.
env -u CFLAGS -u CXXFLAGS -u CC -u CXX "${make[@]}" VARIANT=release BUILD="$plain" CC=gcc corpus "$plain/fuzz/seeds"
BUILD=$plain OWN=1 fuzz/make-seeds.sh "$WORK/seeds" >/dev/null

mkdir -p "$OUT/lib"
for source in fuzz/targets/*.c; do
	target=$(basename "$source" .c)
	[ -x "$build/fuzz/$target" ] || continue
	cp "$build/fuzz/$target" "$OUT/"
	ldd "$build/fuzz/$target" | awk '$3 ~ /^\// && $3 !~ /\/(libc|libm|libpthread|libdl|librt|ld-linux[^\/]*)\.so/ { print $3 }' |
		xargs -r cp -L -t "$OUT/lib"
	python3 - "$OUT/${target}_seed_corpus.zip" "$WORK/seeds/$target" <<-'END'
		import os, sys, zipfile
		with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED) as z:
		    for name in sorted(os.listdir(sys.argv[2])):
		        z.write(os.path.join(sys.argv[2], name), name)
	END
	[ ! -e "$WORK/seeds/$target.dict" ] || sed 's/^\(".*"\)$/\1/' "$WORK/seeds/$target.dict" >"$OUT/$target.dict"
done
