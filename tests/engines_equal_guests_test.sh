#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The same guests and modules on the simulator and on this machine's /dev/kvm give equal verdict
# logs: every guest of the corpus (and so every sample module), Debian's e1000e. What kvm cannot show
# is what hv-port/not-expressible.txt says, and no more: a line there about something that is equal
# after all is a failure, too. (Scenarios: engines_equal_scenarios_test.sh.)
set -u
# shellcheck source=tests/support/equal.sh
. "$(dirname "$0")/support/equal.sh"

# ---- guests ----
guests=0 lines=0 nothing=''
for elf in "$BUILD"/corpus/guests/*.elf; do
	name=$(basename "$elf" .elf)
	case $name in
	bench) continue ;; # no test: loops that `make bench` drives from outside
	esac
	[ -z "$(listed "$name")" ] || continue
	both run "$elf" --log "$tmp/log"
	status=$?
	if [ ! -s "$tmp/log.sim" ]; then
		nothing="$nothing $name"
		continue
	fi
	guests=$((guests + 1))
	if [ $status -eq 0 ]; then
		ok
		n=$(sed -n 's/^--- sim, kvm: .*equal; \([0-9]*\) lines compared.*/\1/p' "$tmp/out")
		lines=$((lines + n))
	else
		cat "$tmp/err" >>"$tmp/out"
		fail "guest $name" "$tmp/out"
	fi
done
echo "guests: $guests compared, $lines lines; without a module, so nothing to compare:$nothing"
if [ $guests -ge 10 ]; then
	ok
else
	fail "only $guests guests were compared" "$list"
fi

# ---- a real driver ----
ko=$here/build/debian/e1000e.ko
if [ -f "$ko" ]; then
	if both run --module "$ko"; then
		ok
		sed -n 's/^--- sim, kvm: /e1000e: /p' "$tmp/out"
	else
		cat "$tmp/err" >>"$tmp/out"
		fail 'the driver e1000e' "$tmp/out"
	fi
else
	echo "SKIP: build/debian/e1000e.ko is not there: make corpus-debian"
	skipped=$((skipped + 1))
fi

# ---- nothing stands in the list without need ----
# What is equal ends soon; a guest that is lost may go on for ever. But a busy machine is slow, and
# on one two logs may be equal by chance: what looks wrong is looked at again.
limit=5
unlike() {
	local try
	for try in 1 2 3; do
		! both run "$1" || continue
		try=unlike
		break
	done
	[ $try = unlike ] || return 1
	if ! grep -qE '^--- sim, kvm: |^--- .* on kvm( on [a-z]+)?: ' "$tmp/out"; then
		limit=60
		both run "$1"
		limit=5
	fi
	return 0
}
while read -r what id; do
	[ -n "$what" ] || continue
	case $what in
	any | "$host") ;;
	*) continue ;;
	esac
	id=${id%%:*}
	echo "not expressible on $what: $id: $(listed "$id")"
	if ! unlike "$id"; then
		fail "$id stands in the list, but its logs are equal" "$tmp/out"
	elif grep -qE '^--- sim, kvm: |^--- .* on kvm( on [a-z]+)?: ' "$tmp/out"; then
		ok
	else
		cat "$tmp/err" >>"$tmp/out"
		fail "$id stands in the list, and cannot even be run" "$tmp/out"
	fi
done < <(grep -vE '^[ 	]*(#|$)' "$list")

finish
