#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Every honest flow once for each instruction boundary inside of its modules, struck there by an
# interrupt; the table goes to FILE if all end as they do without.
#
# usage: tools/attack-interrupts.sh GUARDHOUSE FILE
set -u
[ $# -eq 2 ] || {
	echo 'usage: tools/attack-interrupts.sh GUARDHOUSE FILE' >&2
	exit 2
}
table=$(mktemp) || exit 2
trap 'rm -f "$table"' EXIT

"$1" attack --interrupt-every=1000000 --markdown >"$table"
status=$?
if [ $status -ne 0 ]; then
	cat "$table"
	exit $status
fi
{
	cat <<'END'
# Honest flows, an interrupt at every instruction boundary

Written by `make attack-interrupts`. Each flow that is accepted all through runs once for each boundary of
instructions inside of its modules, with an interrupt there; the oracle is on. *Departures*: the runs in
which it struck inside; in the others interrupts were off there, or another vCPU took the time.

END
	cat "$table"
} >"$2"
tail -n 1 "$2"
