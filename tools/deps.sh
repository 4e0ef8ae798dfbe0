#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Installs what is missing for a group of targets, and nothing else: `tools/deps.sh build test`.
# When nothing is missing it only asks dpkg, so every target can call it. `--list` prints the
# packages. What each one is for: docs/dependencies.md. GUARDHOUSE_NODEPS=1 skips all of it.
#
# shellcheck disable=SC2086,SC2206 # lists of packages are meant to be split into words
set -euo pipefail

declare -A group=(
	[build]="gcc make binutils libc6-dev pkg-config libunicorn-dev libzydis-dev libelf-dev
		 libdw-dev libjansson-dev libsodium-dev liblzma-dev libzstd-dev"
	[test]="libcmocka-dev python3"
	[lint]="clang clang-format clang-tidy shellcheck"
	[coverage]="gcovr python3"
	[mutants]="python3"
	[testbed]="qemu-system-x86 busybox-static cpio kmod e2fsprogs"
	[bench]="valgrind"
	[modules]="gnuplot-nox python3"
	[fuzz]="clang llvm afl++ python3"
)

list=
if [ "${1-}" = --list ]; then
	list=1
	shift
fi
if [ $# -eq 0 ]; then
	set -- "${!group[@]}"
fi
packages=()
for g in "$@"; do
	if [ -z "${group[$g]-}" ]; then
		echo "tools/deps.sh: no group '$g'; there are: ${!group[*]}" >&2
		exit 2
	fi
	packages+=(${group[$g]})
done
if [ -n "$list" ]; then
	printf '%s\n' "${packages[@]}" | sort -u
	exit 0
fi
if [ "${GUARDHOUSE_NODEPS-}" = 1 ]; then
	exit 0
fi

if ! grep -qsE '^ID=debian$' /etc/os-release || ! command -v apt-get >/dev/null; then
	cat >&2 <<-END
	This is not a Debian system, so nothing is installed here. Needed, by their Debian 12 names:
	$(printf '%s\n' "${packages[@]}" | sort -u | sed 's/^/    /')
	Install their like, then set GUARDHOUSE_NODEPS=1 and try again.
	END
	exit 1
fi

installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null |
	sed -n 's/^installed //p' || true)
missing=$(printf '%s\n' "${packages[@]}" | sort -u | grep -vxF "${installed:-none}" || true)
if [ -z "$missing" ]; then
	exit 0
fi

echo "Installing:" $missing
as_root=()
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "tools/deps.sh: needs root or sudo for: apt-get install" $missing >&2
		exit 1
	fi
	as_root=(sudo)
fi
apt() {
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null
}
# A third party's broken source is no reason to stop: the install says what could not be had.
apt update || echo "tools/deps.sh: apt-get update failed; trying with the lists at hand" >&2
if ! apt install -y --no-install-recommends $missing; then
	echo "tools/deps.sh: could not install:" $missing >&2
	exit 1
fi
