#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# `make lint`: clang-format and clang-tidy over every C file, shellcheck over every script, and
# an SPDX line in each of them. `--fix` only lets clang-format rewrite the files. A C file that
# was found good is not looked at again until it, a header of its, the flags or the checks change
# (build/lint/ remembers by hash).
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C

# Files of the tree, committed or about to be. (A file may be deleted, but not committed so yet.)
files() {
	local f
	git ls-files -z --cached --others --exclude-standard -- "$@" | while IFS= read -r -d '' f; do
		if [ -f "$f" ]; then
			printf '%s\0' "$f"
		fi
	done
}

if [ "${1-}" = --fix ]; then
	files '*.c' '*.h' | xargs -0r clang-format -i
	exit 0
fi

# The flags that matter to a parser, by folder; what clang does not know is left out.
flags() {
	case $1 in
	model/*) echo "-std=c11 -I. -ffreestanding -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion" ;;
	corpus/modules/* | corpus/guests/* | corpus/lib/*)
		echo "-std=gnu11 -I. -ffreestanding -mcmodel=kernel -mno-red-zone -mno-sse -mno-mmx -Wall -Wextra -Wshadow" ;;
	*) echo "-std=gnu11 -I. $PKG_CFLAGS -DGUARDHOUSE_VERSION=\"0\" -DGUARDHOUSE_DATADIR=\"/\" -Wall -Wextra -Wshadow" ;;
	esac
}

tidy() {
	local file=$1 key checks=()
	local args
	read -r -a args <<<"$(flags "$file")"
	case $file in
	# The core has a bounded stack.
	model/*) checks=(--checks=misc-no-recursion) ;;
	esac
	# -C: a NOLINT is a comment.
	key=$({
		cat .clang-tidy
		echo "$file ${args[*]} ${checks[*]}"
		clang "${args[@]}" -w -E -C "$file"
	} | sha256sum | cut -d ' ' -f 1)
	if [ -e "build/lint/$key" ]; then
		return 0
	fi
	if clang-tidy --quiet "${checks[@]}" "$file" -- "${args[@]}" >"build/lint/$key.log" 2>&1; then
		mv "build/lint/$key.log" "build/lint/$key"
	else
		# Only the findings: the rest counts warnings in system headers.
		flock build/lint/lock grep -vE '^[0-9]+ warnings? (generated|treated)|^Suppressed|^Use -header' "build/lint/$key.log"
		rm -f "build/lint/$key.log"
		return 1
	fi
}

PKG_CFLAGS=$(pkg-config --cflags-only-I unicorn libelf jansson libsodium 2>/dev/null || true)
export PKG_CFLAGS
mkdir -p build/lint
if [ "${1-}" = --tidy ]; then
	tidy "$2"
	exit
fi

status=0
files '*.c' '*.h' | xargs -0r -n 16 -P 2 clang-format --dry-run -Werror || status=1
files '*.c' | xargs -0r -n 1 -P 2 "$0" --tidy || status=1

scripts=()
while IFS= read -r -d '' f; do
	if [[ $f == *.sh || $(head -c 30 "$f" | head -n 1 | tr -d '\0') =~ ^#!/bin/(ba)?sh ]]; then
		scripts+=("$f")
	fi
done < <(files)
if [ ${#scripts[@]} -gt 0 ]; then
	# SC1091: a sourced file is checked itself.
	shellcheck -e SC1091 "${scripts[@]}" || status=1
fi

while IFS= read -r -d '' f; do
	want='SPDX-License-Identifier: GPL-2.0-only'
	case $f in
	model/*) want='SPDX-License-Identifier: MIT OR GPL-2.0-only' ;;
	esac
	if ! head -n 3 "$f" | grep -qF "$want"; then
		echo "$f:1: expected '$want'" >&2
		status=1
	fi
done < <(files '*.c' '*.h' '*.S' '*.sh' '*.py' 'Makefile' 'mk/*.mk' 'tests/run' '.ci/run')

if [ $status -ne 0 ]; then
	echo 'lint: failed (make format rewrites the layout)' >&2
else
	echo "lint: $(files '*.c' '*.h' | tr -cd '\0' | wc -c) C files, ${#scripts[@]} scripts, clean"
fi
exit $status
