#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# In the guest: each module of `list` ("NAME DEPENDENCY...", innermost first) is loaded from the
# folder `modules`, behind its dependencies, and all are unloaded. A line each to stdout; the
# kernel's messages follow a mark of this kind ($1), for `messages.py`.
kind=$1

unload() { # all that `loaded` names, the last first
	for m in $loaded; do
		rmmod "$m" 2>>complaints || echo "$name: rmmod $m: $?" >>complaints
	done
}

while read -r name needs; do
	echo "boot-test: $kind $name" >/dev/kmsg
	loaded='' load=0 unload=0
	for m in $needs; do
		if insmod "modules/$m.ko" 2>>complaints; then
			loaded="$m $loaded"
		fi
	done
	insmod "modules/$name.ko" 2>complaint
	load=$?
	if [ $load -eq 0 ]; then
		rmmod "$name" 2>>complaint
		unload=$?
	fi
	unload
	echo "boot-test: end" >/dev/kmsg
	# insmod names the file and the reason.
	echo "$name load=$load unload=$unload $(cat complaint)"
done <list
dmesg >messages
