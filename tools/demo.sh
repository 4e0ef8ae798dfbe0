#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# What `make run` shows once everything is built: sample modules, honest and under attack, and
# the table of attack, expected and got. Takes the binary from $GUARDHOUSE.
set -eu

: "${GUARDHOUSE:=build/release/guardhouse}"
if [ ! -x "$GUARDHOUSE" ]; then
	echo "tools/demo.sh: $GUARDHOUSE is not built; try make" >&2
	exit 2
fi
# The scenarios are found from a binary outside of the tree, too.
: "${GUARDHOUSE_CORPUS:=$(cd "$(dirname "$0")/.." && pwd)/corpus}"
export GUARDHOUSE_CORPUS
exec "$GUARDHOUSE" attack --demo
