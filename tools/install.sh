#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# `make install`: the binary, the sample guests, modules and scenarios, and the documents.
# Arguments: the build directory, the prefix (with DESTDIR before it, if any).
set -eu
build=$1
prefix=$2
share=$prefix/share/guardhouse
doc=$prefix/share/doc/guardhouse

install -D -m 755 "$build/guardhouse" "$prefix/bin/guardhouse"

# What was built of the corpus and what is data already, in one tree as in the build directory;
# not what either was made from.
for from in "$build/corpus" corpus; do
	[ -d "$from" ] || continue
	(cd "$from" && find . -type f ! -name '*.[oOdcChHS]' ! -name '*.ld' ! -name '*.stamp' ! -name '.*') |
		sort | while read -r f; do
		install -D -m 644 "$from/$f" "$share/corpus/$f"
	done
done

install -D -m 644 hv-port/not-expressible.txt "$share/hv-port/not-expressible.txt"

for f in README.md CAVEATS.md CHANGELOG.md LICENSE docs/*.md; do
	if [ -f "$f" ]; then
		install -D -m 644 "$f" "$doc/$(basename "$f")"
	fi
done
install -D -m 644 model/LICENSE "$doc/LICENSE.model"
