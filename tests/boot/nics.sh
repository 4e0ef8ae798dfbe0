#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# In the guest: each driver of `drivers` (its module, then what that depends on, innermost first) is
# loaded, takes its card up, pings the user network's gateway and is unloaded; first as Debian
# ships it, then wrapped. One line a round to stdout; the kernel's messages follow a mark that
# `messages.py` looks for. Then the wrapped e1000e's memory is dumped in three states.

gateway=10.0.2.2

mark() {
	echo "boot-test: $*" >/dev/kmsg
}

# driver_of INTERFACE: a network driver sits on a device of its bus
driver_of() {
	basename "$(readlink "/sys/class/net/$1/device/driver" 2>/dev/null)"
}

find_card() { # DRIVER: an interface of it appears within ten seconds
	tries=0
	while [ $tries -lt 100 ]; do
		for path in /sys/class/net/*; do
			if [ "$(driver_of "${path##*/}")" = "$1" ]; then
				echo "${path##*/}"
				return
			fi
		done
		sleep 0.1
		tries=$((tries + 1))
	done
}

wait_link() { # INTERFACE
	tries=0
	while [ $tries -lt 200 ]; do
		if [ "$(cat "/sys/class/net/$1/carrier" 2>/dev/null)" = 1 ]; then
			echo up
			return
		fi
		sleep 0.1
		tries=$((tries + 1))
	done
	echo none
}

load() { # KIND MODULE...
	kind=$1
	shift
	for m in "$@"; do
		insmod "$kind/$m.ko" 2>>errors || return 1
	done
}

unload() { # MODULE: then, in reverse order, its dependencies
	rmmod "$1" 2>>errors || return 1
	shift
	back=
	for m in "$@"; do
		back="$m $back"
	done
	for m in $back; do
		rmmod "$m" 2>>errors || return 1
	done
}

# round KIND DRIVER DEPENDENCY...
round() {
	kind=$1 driver=$2
	shift 2
	mark "$as$kind $driver"
	card='' link=none replies=0 loaded=no unloaded=no
	if load "$kind" "$@" "$driver"; then
		loaded=yes
		card=$(find_card "$driver")
	fi
	if [ -n "$card" ]; then
		ip link set "$card" up
		link=$(wait_link "$card")
		ip addr add 10.0.2.15/24 dev "$card"
		replies=$(ping -c 3 -W 10 -I "$card" $gateway 2>/dev/null | grep -c 'bytes from')
		traced
		ip addr flush dev "$card"
		ip link set "$card" down
	fi
	if [ "$loaded" = yes ] && unload "$driver" "$@"; then
		unloaded=yes
	fi
	mark end
	echo "$kind $driver loaded=$loaded link=$link replies=$replies unloaded=$unloaded"
}

# While the card is up: what the function tracer saw of the driver.
traced() {
	[ "$kind $driver" = "$watch" ] || return
	echo "traced $kind e1000e: functions=$(grep -c ' e1000[a-z0-9_]* <-' $tracing/trace)" \
		"kernel=$(grep -c ' __napi_schedule <-' $tracing/trace)" >>traces
}

tracing=/sys/kernel/tracing
watch='' as=''
while read -r driver needs; do
	# shellcheck disable=SC2086 # a list of modules
	round original "$driver" $needs
	# shellcheck disable=SC2086
	round wrapped "$driver" $needs
done <drivers

# ---- e1000e's memory: as loaded, with tracing on, with tracing off again ----

# The filter is set before the module is there: the kernel takes its functions as it loads. One of
# the kernel's own, which every network card's driver calls, shows that the tracer is at work.
tracer() { # on|off
	if [ "$1" = on ]; then
		echo __napi_schedule >$tracing/set_ftrace_filter
		echo '*:mod:e1000e' >>$tracing/set_ftrace_filter
		echo function >$tracing/current_tracer
	else
		echo nop >$tracing/current_tracer
		echo >$tracing/set_ftrace_filter
	fi
}

dump() { # STATE [MODULE]
	mkdir -p "dumps/${2-e1000e}/$1"
	./dump "${2-e1000e}" "plan-${2-e1000e}" "dumps/${2-e1000e}/$1" || echo "dump: cannot copy ($*)"
}

# Modules without hardware that Linux patches more than e1000e: with tracepoints, which are switched
# on and off while it is loaded, and with instructions that the CPU decides about.
patched() { # MODULE
	load wrapped "$1" || echo "dump: cannot load $1"
	dump plain "$1"
	[ ! -d "$tracing/events/$1" ] || echo 1 >"$tracing/events/$1/enable"
	dump traced "$1"
	[ ! -d "$tracing/events/$1" ] || echo 0 >"$tracing/events/$1/enable"
	dump after "$1"
	unload "$1" || echo "dump: cannot unload $1"
}

dumps() {
	load wrapped e1000e || echo "dump: cannot load e1000e"
	dump plain
	unload e1000e || echo "dump: cannot unload e1000e"
	tracer on
	load wrapped e1000e || echo "dump: cannot load e1000e again"
	card=$(find_card e1000e)
	ip link set "$card" up
	echo "dump link=$(wait_link "$card")"
	ip addr add 10.0.2.15/24 dev "$card"
	echo "dump replies=$(ping -c 3 -W 10 -I "$card" $gateway 2>/dev/null | grep -c 'bytes from')"
	dump traced
	kind=wrapped driver=e1000e watch='wrapped e1000e'
	traced
	tracer off
	dump after
	awk 'NR == FNR { want[$1] = 1; next } $3 in want' imports /proc/kallsyms >dumps/kallsyms
	echo "kernel $(awk '$3 == "_text" { print $1; exit }' /proc/kallsyms)"
	unload e1000e || echo "dump: cannot unload e1000e"
}

# The original under the tracer shows that the tracer would see the module's functions.
tracer on
watch='original e1000e' as=traced-
round original e1000e >/dev/null
tracer off
mark dumps
dumps
patched jbd2
patched fuse
mark end
echo "machine cpus=$(grep -c ^processor /proc/cpuinfo) $(cat /proc/cmdline)"
cat traces errors 2>/dev/null
dmesg >messages
