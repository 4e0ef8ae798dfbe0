#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Proves that the guard core is freestanding: all of it, linked into one object, needs nothing but
# memcpy, memset, memcmp and memmove, and has no writable data. Part of the build, because a core
# that fails this cannot go into a kernel. Arguments: an archive, or object files.
set -eu

one=$(mktemp "${TMPDIR:-/tmp}/freestanding.XXXXXX")
trap 'rm -f "$one"' EXIT
ld -r -o "$one" --whole-archive "$@"

undefined=$(nm --undefined-only --format=posix "$one" | awk '{ print $1 }' |
	grep -vxE 'memcpy|memset|memcmp|memmove' || true)
# Constant tables of addresses are writable only until a position-independent program has started.
writable=$(readelf --wide --section-headers "$one" | sed -n 's/^ *\[ *[0-9]*\] //p' |
	awk '$7 ~ /W/ && $5 !~ /^0+$/ && $1 !~ /^\.data\.rel\.ro/ { print $1 " (0x" $5 " bytes)" }')
# A common symbol has no section yet.
common=$(nm --format=posix "$one" | awk '$2 == "C" { print $1 " (common)" }')

status=0
if [ -n "$undefined" ]; then
	printf '%s: not freestanding, it calls:\n%s\n' "$1" "$undefined" >&2
	status=1
fi
if [ -n "$writable$common" ]; then
	printf '%s: writable globals in:\n%s\n' "$1" "$writable$common" >&2
	nm --format=posix "$one" | awk '$2 ~ /^[dDbB]$/ { print "  " $1 }' >&2
	status=1
fi
exit $status
