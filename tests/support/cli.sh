# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# For the tests of the command line; to be sourced. Runs guardhouse, keeps what it said in $tmp/out
# and $tmp/err and its exit status in $status, and counts what was expected of that.
: "${BUILD:=build/release}" "${GUARDHOUSE:=$BUILD/guardhouse}"
here=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/cli.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
# A build outside of the tree finds the scenarios too.
export GUARDHOUSE_CORPUS=${GUARDHOUSE_CORPUS:-$here/corpus}
passed=0 failed=0
# shellcheck disable=SC2034  # the tests count these themselves
skipped=0

# check WHAT CONDITION...: runs the condition
check() {
	local what=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL: $what"
		echo "    status ${status-}; stdout:"
		sed 's/^/      /' "$tmp/out" | head -n 15
		echo '    stderr:'
		sed 's/^/      /' "$tmp/err" | head -n 15
	fi
}

gh() {
	timeout 120 "$GUARDHOUSE" "$@" >"$tmp/out" 2>"$tmp/err"
	status=$?
}

status_is() {
	[ "$status" -eq "$1" ]
}

one_line_error() {
	[ "$status" -eq 2 ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] && [ ! -s "$tmp/out" ]
}
