# shellcheck shell=bash disable=SC2154 # variables of `boot`
# SPDX-License-Identifier: GPL-2.0-only
#
# The guest's file tree, made into an initramfs. Sourced by `boot`, which sets $tree (an empty
# folder), $image (the unpacked kernel package) and $release, and provides die STATUS TEXT.

# tree_base BUSYBOX INIT: folders as Debian has them (/bin is /usr/bin), shell, first process
tree_base() {
	local d

	mkdir -p "$tree"/{applets,dev,job,proc,root,run,sys,testbed,tmp,usr/bin,usr/sbin,usr/lib,usr/lib64}
	for d in bin sbin lib lib64; do
		ln -s "usr/$d" "$tree/$d"
	done
	cp "$1" "$tree/applets/busybox"
	cp "$2" "$tree/init"
	chmod 755 "$tree/init" "$tree/applets/busybox"
	# The kernel starts /sbin/modprobe itself; scripts start with #!/bin/sh.
	ln -s /applets/busybox "$tree/usr/sbin/modprobe"
	ln -s /applets/busybox "$tree/usr/bin/sh"
	: >"$tree/testbed/load"
	: >"$tree/testbed/disks"
	: >"$tree/testbed/bring"
}

# Is it an ELF program or shared library (e_type 2 or 3)? A kernel module is neither.
is_program() {
	local head

	head=$(od -An -tx1 -N18 "$1" 2>/dev/null | tr -d ' \n')
	[[ $head == 7f454c46* && ${head:32:4} =~ ^0[23]00$ ]]
}

# tree_libs PROGRAM: its shared libraries and loader, where they are on this machine
tree_libs() {
	local lib list

	# ldd fails for a static program.
	list=$(ldd "$1" 2>/dev/null) || return 0
	if [[ $list == *'not found'* ]]; then
		die "$E_USE" "$1: a shared library is missing:$(grep -m 1 'not found' <<<"$list")"
	fi
	while read -r lib; do
		if [ ! -e "$tree$lib" ]; then
			mkdir -p "$tree${lib%/*}"
			cp -L "$lib" "$tree$lib"
		fi
	done < <(sed -nE 's/^\s*(.* => )?(\/[^ ]+) \(0x.*$/\2/p' <<<"$list")
}

# tree_take PATH DEST: a file or folder of this machine, with the libraries of what it can run
tree_take() {
	local to=$tree/${2#/} f

	mkdir -p "${to%/*}"
	if [ -d "$1" ]; then
		mkdir -p "$to"
		cp -a "$1/." "$to/"
		while IFS= read -r -d '' f; do
			if is_program "$f"; then
				tree_libs "$f"
			fi
		done < <(find "$1" -type f -perm /111 ! -name '*.ko' -print0)
	else
		rm -f "$to"
		cp -L "$1" "$to"
		if is_program "$1"; then
			tree_libs "$1"
		fi
	fi
}

# module_file NAME: its path below $image/lib/modules/$release; `-` and `_` are the same
module_file() {
	if [ -z "${module_list-}" ]; then
		module_list=$(cd "$image/lib/modules/$release" && find kernel -name '*.ko')
	fi
	grep -m 1 -E "/${1//[-_]/[-_]}\.ko$" <<<"$module_list"
}

# tree_modules NAME...: kernel modules with all that they depend on, known to the guest's modprobe.
# (The package brings no modules.dep: that is made when it is installed, which it is not.)
tree_modules() {
	local base=$image/lib/modules/$release todo=("$@") name file word
	local -A asked seen

	for name; do
		asked[$name]=1
	done
	mkdir -p "$tree/lib/modules/$release"
	cp "$base"/modules.{builtin,builtin.modinfo,order} "$tree/lib/modules/$release/"
	while [ ${#todo[@]} -gt 0 ]; do
		name=${todo[0]}
		todo=("${todo[@]:1}")
		[ -z "${seen[$name]-}" ] || continue
		seen[$name]=1
		if ! file=$(module_file "$name"); then
			# Soft dependencies name aliases, and a module may be built in.
			if [ -n "${asked[$name]-}" ] && ! grep -qE "/${name//[-_]/[-_]}\.ko$" "$base/modules.builtin"; then
				die "$E_USE" "no module '$name' in $release"
			fi
			continue
		fi
		mkdir -p "$tree/lib/modules/$release/${file%/*}"
		cp "$base/$file" "$tree/lib/modules/$release/$file"
		for word in $(/sbin/modinfo -F depends "$base/$file" | tr , ' ') \
			$(/sbin/modinfo -F softdep "$base/$file"); do
			case $word in
			pre: | post:) ;;
			# An alias of a crypto algorithm; the plain C one is enough.
			crc32c | crct10dif | crc64-rocksoft) todo+=("$word" "${word}_generic" "${word}_common") ;;
			*) todo+=("$word") ;;
			esac
		done
	done
	/sbin/depmod -b "$tree" "$release" || die "$E_TOOL" "depmod failed"
}

# tree_pack FILE: everything belongs to root there, whoever packs it
tree_pack() {
	(cd "$tree" && find . -print0 | LC_ALL=C sort -z | cpio -0 -o -H newc -R 0:0 --quiet) >"$1"
}
