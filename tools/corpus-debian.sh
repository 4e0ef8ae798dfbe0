#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Fetches the kernel package that Debian 12 ships now, with its headers of the very same version,
# and unpacks both (nothing is installed) into build/debian, which git never sees:
#   image/ headers/   the packages' trees
#   modules           -> image/lib/modules/RELEASE/kernel
#   e1000e.ko         -> the NIC driver that the tests use
#   headers-arch, headers-common -> the two header trees to compile against
#   VERSION           "RELEASE PACKAGE-VERSION"
#   hosted-offsets.txt  where Linux's structures have their members (tools/hosted-offsets.sh)
# The package's name changes with every update, so it is resolved here and never written down.
# Offline, what was unpacked earlier is kept.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
out=build/debian
quiet=(-qq -o APT::Sandbox::User=root -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)

die() {
	echo "corpus-debian: $*" >&2
	exit 1
}

if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
	die "needs apt-get and dpkg-deb (a Debian 12 system) to fetch the kernel package"
fi
[ "$(dpkg --print-architecture)" = amd64 ] || die "needs Debian for amd64"

update() {
	local as_root=()
	if [ "$(id -u)" != 0 ]; then
		as_root=(sudo -n)
	fi
	# One broken third-party source must not stop the others.
	"${as_root[@]}" apt-get "${quiet[@]}" update </dev/null || true
}

# Sets image (package), release (6.1.0-N-amd64) and version of what the archive has now.
resolve() {
	image=$(apt-cache depends linux-image-amd64 2>/dev/null |
		sed -n 's/^ *Depends: \(linux-image-[0-9].*-amd64\)$/\1/p' | head -n 1)
	[ -n "$image" ] || return 1
	release=${image#linux-image-}
	version=$(apt-cache policy "$image" | sed -n 's/^ *Candidate: \([^(]*\)$/\1/p')
	[ -n "$version" ]
}

complete() {
	[ -e "$out/VERSION" ] && [ -e "$out/e1000e.ko" ] && [ -d "$out/modules/" ] &&
		[ -d "$out/headers-arch/" ] && [ -d "$out/headers-common/" ]
}

# What the hosted kernel knows about the structures of this very kernel.
offsets() {
	if [ ! -e "$out/hosted-offsets.txt" ] || [ hosted/offsets.def -nt "$out/hosted-offsets.txt" ]; then
		tools/hosted-offsets.sh "$out/headers" "$out/hosted-offsets.txt"
	fi
}

# The packages to fetch: the image, its headers, and what those need from the same build.
packages() {
	local headers=linux-headers-$release name
	echo "$image=$version"
	echo "$headers=$version"
	apt-cache depends "$headers" | sed -n 's/^ *|\{0,1\}Depends: \(linux-[^ ]*\)$/\1/p' | sort -u |
		while read -r name; do
			case $name in
			linux-headers-*-common) echo "$name=$version" ;;
			linux-kbuild-*) echo "$name=$version" ;;
			esac
		done
}

download() {
	local list
	mapfile -t list < <(packages)
	[ ${#list[@]} -ge 3 ] || return 1
	(cd "$1" && apt-get "${quiet[@]}" download "${list[@]}" </dev/null)
}

if ! resolve; then
	update
	if ! resolve; then
		if complete; then
			echo "corpus-debian: cannot ask for the current version; keeping $(cat $out/VERSION)"
			offsets
			exit 0
		fi
		die "apt-cache does not know linux-image-amd64 (no network, or not Debian's sources?)"
	fi
fi
if complete && [ "$(cat $out/VERSION)" = "$release $version" ]; then
	offsets
	echo "corpus-debian: $release $version is there"
	exit 0
fi

mkdir -p build
tmp=$(mktemp -d build/debian.XXXXXX)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/debs"
echo "corpus-debian: fetching $image $version and its headers (about 80 MB)"
if ! download "$tmp/debs"; then
	# The lists may be older than the archive: a version that is gone cannot be downloaded.
	rm -f "$tmp"/debs/*
	update
	if ! { resolve && download "$tmp/debs"; }; then
		if complete; then
			echo "corpus-debian: cannot download $image; keeping $(cat $out/VERSION)"
			offsets
			exit 0
		fi
		die "cannot download $image=$version"
	fi
fi

for deb in "$tmp"/debs/*.deb; do
	case $deb in
	*/linux-image-*) dpkg-deb -x "$deb" "$tmp/image" ;;
	*) dpkg-deb -x "$deb" "$tmp/headers" ;;
	esac
done
rm -rf "$tmp/debs"

link() {
	local target
	target=$(cd "$tmp" && find "$2" -path "$3" -print -quit)
	[ -n "$target" ] || die "$3 is not in the package"
	ln -s "$target" "$tmp/$1"
}
link modules image "image/lib/modules/$release/kernel"
link e1000e.ko image "*/e1000e.ko"
link headers-arch headers "*/usr/src/linux-headers-$release"
link headers-common headers "*/usr/src/linux-headers-*-common"
chmod 755 "$tmp"
echo "$release $version" >"$tmp/VERSION"
# In its place at once, so that an interrupted run leaves what was there before.
rm -rf "$out"
mv "$tmp" "$out"
offsets
echo "corpus-debian: $release $version unpacked, $(find "$out/image" -name '*.ko' | wc -l) modules"
