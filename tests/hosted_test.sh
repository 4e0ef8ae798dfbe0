#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Debian's own e1000e.ko, unmodified, under the hosted kernel: it comes up, its entries run, its
# registers are its own, and it withstands the attacks. Needs `make corpus-debian`; without it
# this skips, or fails under REQUIRE=1.
# shellcheck disable=SC2317 # functions are reached through check()
set -u
: "${BUILD:=build/release}" "${GUARDHOUSE:=$BUILD/guardhouse}"
here=$(cd "$(dirname "$0")/.." && pwd)
ko=$here/build/debian/e1000e.ko
offsets=$here/build/debian/hosted-offsets.txt
tmp=$(mktemp -d "${TMPDIR:-/tmp}/hosted.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0
attacks='E1 E2 E3 E4 E7 E8 E9 E10 R3 R4 R5 R7 I1 I7'

finish() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" -eq 0 ]
	exit
}

# check WHAT COMMAND...
check() {
	local what=$1
	shift
	if "$@" >"$tmp/why" 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL: $what"
		head -n 20 "$tmp/why" | sed 's/^/    /'
	fi
}

# value NAME: a number of the last run's JSON
value() {
	sed -n "s/^ *\"$1\": \(-\{0,1\}[0-9][0-9]*\),\{0,1\}\$/\1/p" "$tmp/run.json" | head -n 1
}

# counted NAME: the keys of an object of the last run's JSON
counted() {
	sed -n "/^ *\"$1\": {/,/}/s/^ *\"\([^\"]*\)\": [0-9].*/\1/p" "$tmp/run.json" | grep -vx "$1"
}

# is NAME OP NUMBER
is() {
	local v
	v=$(value "$1")
	echo "$1 is '$v', wanted $2 $3"
	[ -n "$v" ] && test "$v" "$2" "$3"
}

same() {
	echo "$1 is '$(value "$1")', $2 is '$(value "$2")'"
	[ "$(value "$1")" = "$(value "$2")" ]
}

has_entry() {
	echo "entries: $(counted entries | tr '\n' ' ')"
	counted entries | grep -qx "$1"
}

ten_entries() {
	echo "entries: $(counted entries | tr '\n' ' ')"
	[ "$(counted entries | wc -l)" -ge 10 ]
}

# refuses FILE PATTERN: exit 2 and one line that says so
refuses() {
	"$GUARDHOUSE" run --module "$1" >"$tmp/out" 2>"$tmp/err" </dev/null
	local status=$?
	cat "$tmp/err"
	[ "$status" -eq 2 ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -qE "$2" "$tmp/err"
}

if [ ! -f "$ko" ]; then
	if [ "${REQUIRE:-}" = 1 ]; then
		echo 'FAIL: build/debian/e1000e.ko is missing: make corpus-debian'
		failed=1
	else
		echo 'SKIP: no kernel package here: make corpus-debian'
		skipped=1
	fi
	finish
fi
if [ ! -f "$offsets" ] || [ "$here/hosted/offsets.def" -nt "$offsets" ]; then
	check 'structure offsets' "$here/tools/hosted-offsets.sh" "$here/build/debian/headers" "$offsets"
fi

# ---- an honest run, for each kind of X ----

for x in vmmcall vmcall out; do
	"$GUARDHOUSE" run --module "$ko" --x $x --json --log "$tmp/$x.log" >"$tmp/run.json" \
		2>"$tmp/err" </dev/null
	status=$?
	cp "$tmp/run.json" "$tmp/$x.json"
	check "X=$x: exit 0" sh -c "cat '$tmp/err'; tail -n 60 '$tmp/run.json'; exit $status"
	check "X=$x: init returned 0" is init_result -eq 0
	check "X=$x: probe was called and returned 0" is probe_result -eq 0
	check "X=$x: open returned 0" is open_result -eq 0
	check "X=$x: ten distinct entries" ten_entries
	check "X=$x: callbacks while a call-out was open" is callbacks -ge 1
	check "X=$x: registers were read from inside" is reads -ge 1
	check "X=$x: registers were written from inside" is writes -ge 1
	check "X=$x: all reads from outside gave all ones" same outside_reads outside_ones
	check "X=$x: outside was tried" is outside_reads -ge 1
	check "X=$x: no write from outside arrived" is outside_written -eq 0
	check "X=$x: no fault that was not asked for" is faults -eq 0
	check "X=$x: interrupted inside the driver" is departures -ge 1
	check "X=$x: a packet was sent" is packets_sent -ge 1
	check "X=$x: and came back" is packets_received -ge 1
done
for f in init_module e1000_probe e1000e_open e1000e_get_stats64 e1000e_set_rx_mode \
	e1000_xmit_frame e1000_get_drvinfo e1000_get_ringparam e1000_watchdog \
	e1000_watchdog_task e1000e_close e1000_remove cleanup_module; do
	check "entry $f ran" has_entry $f
done

# ---- what the driver says ----

"$GUARDHOUSE" run --module "$ko" >"$tmp/text" 2>&1 </dev/null
check 'its messages: link' grep -F 'NIC Link is Up 1000 Mbps Full Duplex' "$tmp/text"
check 'its messages: the address from the EEPROM' grep -F '02:47:48:00:00:01' "$tmp/text"
check 'its statistics' grep -F '1 packets sent, 1 received, says the driver' "$tmp/text"
check 'what is not modelled is named' grep -E '^not modelled, returned 0: .*[a-z_]+ [0-9]+' "$tmp/text"

# ---- the same run twice ----

"$GUARDHOUSE" run --module "$ko" --x out --json --log "$tmp/again.log" >"$tmp/again.json" 2>&1 </dev/null
check 'same seed: the same verdict log' cmp "$tmp/out.log" "$tmp/again.log"

# ---- attacks ----

"$GUARDHOUSE" attack --module "$ko" >"$tmp/attacks" 2>"$tmp/err" </dev/null
status=$?
check 'attacks: exit 0' sh -c "cat '$tmp/err' '$tmp/attacks'; exit $status"
for id in $attacks; do
	check "attack $id" grep -E "^$id +.* ok\$" "$tmp/attacks"
done

# ---- what it refuses ----

cp "$ko" "$tmp/e1000e.ko"
sed 's/^release .*/release 6.1.0-0-other/' "$offsets" >"$tmp/hosted-offsets.txt"
check 'offsets of another kernel' refuses "$tmp/e1000e.ko" 'structure offsets are of 6.1.0-0-other'
sed '/^pci_dev_irq/d' "$offsets" >"$tmp/hosted-offsets.txt"
check 'offsets that lack a name' refuses "$tmp/e1000e.ko" 'lacks pci_dev_irq.*make corpus-debian'
head -c 5000 "$ko" >"$tmp/e1000e.ko"
cp "$offsets" "$tmp/hosted-offsets.txt"
check 'a module cut short' refuses "$tmp/e1000e.ko" "$tmp/e1000e.ko: offset"
finish
