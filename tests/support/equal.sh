# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# For the tests that compare the simulator with this machine's /dev/kvm; to be sourced. Without
# /dev/kvm it ends the test with a SKIP.
: "${BUILD:=build/release}" "${GUARDHOUSE:=$BUILD/guardhouse}"
here=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/equal.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
export GUARDHOUSE_CORPUS=$here/corpus
list=$here/hv-port/not-expressible.txt
passed=0 failed=0 skipped=0

ok() {
	passed=$((passed + 1))
}

fail() {
	failed=$((failed + 1))
	echo "FAIL: $1"
	sed 's/^/    /' "$2" | tail -n 40
}

finish() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ $failed -eq 0 ]
	exit
}

# The kind of host, as the list names it.
if ! host=$("$here/tools/kvm-host.sh"); then
	echo "SKIP: $host"
	skipped=1
	finish
fi

limit=120 # seconds for a run
both() {
	timeout $((limit + 60)) "$GUARDHOUSE" "$@" --engine sim,kvm --timeout $limit >"$tmp/out" 2>"$tmp/err"
}

# The reason of the list for a guest or scenario on this host; nothing: it has to be equal.
listed() {
	awk -v id="$1" -v host="$host" '
		!/^[ \t]*(#|$)/ && $2 == id ":" && ($1 == "any" || $1 == host) {
			sub(/^[^:]*:[ \t]*/, ""); print }' "$list"
}
