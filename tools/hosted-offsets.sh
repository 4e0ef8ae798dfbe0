#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Compiles hosted/offsets.def against Debian's kernel headers and writes what it finds: one
# "name value" a line, after the kernel's release. Nothing is run, only the assembly is read.
#
# usage: tools/hosted-offsets.sh HEADERS-DIR OUTPUT
# HEADERS-DIR holds usr/src/linux-headers-*-amd64 and -common as the packages unpack.
set -eu

die() {
	echo "hosted-offsets: $*" >&2
	exit 1
}

[ $# -eq 2 ] || die 'usage: tools/hosted-offsets.sh HEADERS-DIR OUTPUT'
top=$(cd "$(dirname "$0")/.." && pwd)
arch=$(find "$1" -type d -name 'linux-headers-*-amd64' | sort | tail -n 1)
[ -n "$arch" ] || die "$1: no linux-headers-*-amd64 below it: make corpus-debian fetches it"
common=${arch%-amd64}-common
[ -d "$common" ] || die "$common: not there: make corpus-debian fetches it"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cat >"$tmp/offsets.c" <<'C'
#include <linux/pci.h>
#include <linux/netdevice.h>
#include <linux/ethtool.h>
#include <linux/interrupt.h>
#include <linux/skbuff.h>
#include <linux/moduleparam.h>
#include <linux/workqueue.h>
#include <linux/timecounter.h>
#include <linux/timer.h>
#include <generated/utsrelease.h>
#define EMIT(name, value) asm volatile("\n.ascii \"@" name " %c0\"" : : "i"((long)(value)))
#define O(id, type, member) EMIT(#id, offsetof(type, member));
#define S(id, type) EMIT(#id, sizeof(type));
#define C(id, value) EMIT(#id, value);
void offsets(void);
void offsets(void)
{
	asm volatile("\n.ascii \"@release " UTS_RELEASE "\"");
#include "hosted/offsets.def"
}
C
# The flags are those that change a structure's layout or that the headers insist on.
${CC:-gcc} -S -O2 -w -std=gnu11 -nostdinc -D__KERNEL__ -DCC_USING_FENTRY \
	-fshort-wchar -mcmodel=kernel -mno-sse -mno-red-zone -fno-pic -fno-pie -fcf-protection=none \
	-I"$common/arch/x86/include" -I"$arch/arch/x86/include/generated" \
	-I"$common/include" -I"$arch/include" \
	-I"$common/arch/x86/include/uapi" -I"$arch/arch/x86/include/generated/uapi" \
	-I"$common/include/uapi" -I"$arch/include/generated/uapi" -I"$top" \
	-include "$common/include/linux/compiler-version.h" \
	-include "$common/include/linux/kconfig.h" \
	-include "$common/include/linux/compiler_types.h" \
	-DKBUILD_MODNAME='"offsets"' -DKBUILD_BASENAME='"offsets"' \
	"$tmp/offsets.c" -o "$tmp/offsets.s" || die 'the headers do not compile with this compiler'
sed -n 's/^[[:space:]]*\.ascii[[:space:]]*"@\(.*\)"$/\1/p' "$tmp/offsets.s" >"$tmp/offsets.txt"
[ "$(wc -l <"$tmp/offsets.txt")" -gt 100 ] || die 'the compiler gave no offsets'
mkdir -p "$(dirname "$2")"
mv "$tmp/offsets.txt" "$2"
