# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# For tests that are scripts; to be sourced. Goes to the root of the tree, gives a folder $tmp that
# goes away at the end, counts, and says the last line that tests/run reads.
: "${BUILD:=build/release}" "${GUARDHOUSE:=$BUILD/guardhouse}"
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
tmp=$(mktemp -d "${TMPDIR:-/tmp}/$(basename "$0" _test.sh).XXXXXX") || exit 2
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0

# fail WHAT [FILE]: with the end of what was said
fail() {
	failed=$((failed + 1))
	echo "FAIL: $1"
	[ $# -lt 2 ] || tail -n 20 "$2" | sed 's/^/    /'
}

# ok STATUS WHAT [FILE]
ok() {
	if [ "$1" -eq 0 ]; then
		passed=$((passed + 1))
	else
		fail "${@:2}"
	fi
}

# skip WHY: what cannot be tested here
skip() {
	skipped=$((skipped + 1))
	echo "SKIP: $1"
}

finish() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ $failed -eq 0 ]
	exit
}
