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

# What was built of the corpus, and what is data already; one tree, as in the build directory.
copy() {
	from=$1
	shift
	[ -d "$from" ] || return 0
	(cd "$from" && find . -type f \( "$@" \)) | sort | while read -r f; do
		install -D -m 644 "$from/$f" "$share/corpus/$f"
	done
}
copy "$build/corpus" -name '*.elf' -o -name '*.ko' -o -name '*.gm' -o -name '*.gmf' \
	-o -name '*.json' -o -name '*.bind' -o -name '*.pub'
copy corpus -name '*.scn' -o -name '*.cfg' -o -name '*.json' -o -name '*.txt'

for f in README.md CAVEATS.md CHANGELOG.md LICENSE docs/*.md; do
	if [ -f "$f" ]; then
		install -D -m 644 "$f" "$doc/$(basename "$f")"
	fi
done
install -D -m 644 model/LICENSE "$doc/LICENSE.model"
