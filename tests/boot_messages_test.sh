#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The judge of kernel messages (tests/boot/messages.py) by messages made up here: what the kernel
# says in the background makes no difference, a word of the driver's does, a warning always fails.
# shellcheck source=tests/support/tally.sh
. "$(dirname "$0")/support/tally.sh"

# boot ORIGINAL WRAPPED: the two rounds of one driver, their lines as printf takes them
boot() {
	printf '<6>[    1.0] boot-test: original e1000e\n%b<6>[    2.0] boot-test: end\n' "$1"
	printf '<6>[    3.0] boot-test: wrapped e1000e\n%b<6>[    4.0] boot-test: end\n' "$2"
}

# judged STATUS WHAT LINE ORIGINAL WRAPPED: it ends so and says the line
judged() {
	boot "$4" "$5" >"$tmp/messages"
	python3 tests/boot/messages.py "$tmp/messages" >"$tmp/said" 2>&1
	[ $? -eq "$1" ] && grep -qxF -- "$3" "$tmp/said"
	ok $? "$2" "$tmp/said"
}

clock='<6>[    1.5] registered PHC clock\n'
link='<6>[    1.6] NIC Link is Up\n'

judged 0 'other times' 'ok: messages of e1000e: the same 2' "$clock$link" "${clock/1.5/3.5}$link"
for said in 'tsc: Refined TSC clocksource calibration: 2596.107 MHz' \
	'clocksource: Switched to clocksource tsc' 'sched_clock: Marking unstable (1, 2)' \
	'hrtimer: interrupt took 12 ns' 'sched: RT throttling activated' 'IPv6: ADDRCONF(NETDEV_CHANGE): eth0: link becomes ready'; do
	judged 0 "in the background: $said" 'ok: messages of e1000e: the same 2' \
		"<6>[    1.5] $said\n$clock$link" "$clock$link"
	judged 0 "in the background, wrapped: $said" 'ok: messages of e1000e: the same 2' \
		"$clock$link" "$clock<6>[    1.5] $said\n$link"
done
judged 1 'a word less' "FAIL: messages of e1000e: 'NIC Link is Up' became '(nothing)'" \
	"$clock$link" "$clock"
judged 1 'a word about the clock of the driver itself' \
	"FAIL: messages of e1000e: 'registered PHC clock' became 'NIC Link is Up'" \
	"$clock$link" "$link"
judged 1 'a warning in both' "FAIL: the kernel complains: ('original', 'e1000e'): WARNING: CPU: 0" \
	'<4>[    1.5] WARNING: CPU: 0\n' '<4>[    1.5] WARNING: CPU: 0\n'
judged 1 'a warning about the clock' \
	"FAIL: the kernel complains: ('wrapped', 'e1000e'): clocksource: BUG: of the watchdog" \
	"$clock" "$clock<4>[    1.5] clocksource: BUG: of the watchdog\n"
: >"$tmp/messages"
python3 tests/boot/messages.py "$tmp/messages" >"$tmp/said" 2>&1
[ $? -eq 1 ] && grep -qxF "FAIL: no rounds in the kernel's messages" "$tmp/said"
ok $? 'no rounds at all' "$tmp/said"

finish
