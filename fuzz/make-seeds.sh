#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Makes the fuzzers' seeds anew: from the corpus' modules without their debug information, the
# scenarios, and, if it was fetched (make corpus-debian), small modules of Debian's kernel package.
#	fuzz/make-seeds.sh [OUT]
# With OWN=1 none of Debian's: few seeds, for a start within a second.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
: "${BUILD:=build/release}"
out=${1:-build/fuzz/seeds}
plain=$(mktemp -d "${TMPDIR:-/tmp}/seeds.XXXXXX")
trap 'rm -rf "$plain"' EXIT

for ko in "$BUILD"/corpus/modules/*.ko; do
	strip -g -o "$plain/${ko##*/}" "$ko"
done
debian=()
if [ "${OWN-}" != 1 ] && [ -d build/debian/modules/ ]; then
	mapfile -t debian < <(find -L build/debian/modules/ -name '*.ko' -size -20k -printf '%s %p\n' |
		sort -n | cut -d ' ' -f 2-)
fi
rm -rf "$out"
mkdir -p "$out"

# Dictionaries: the words of each format, as the sources have them.
words() {
	local target=$1
	shift
	grep -ohE '"[._a-zA-Z][a-zA-Z0-9_.-]*"' "$@" | sort -u >"$out/$target.dict"
}
words scenario scenario/*.c corpus/puppet/*.h model/names.h
words wrap check/names.c wrap/*.c
words check check/names.c
words manifest wrap/manifest_*.c

"$BUILD/fuzz/seeds" "$out" "$plain"/*.ko corpus/scenarios/*.scn "${debian[@]}"
