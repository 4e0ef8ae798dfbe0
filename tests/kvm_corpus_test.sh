#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The corpus on the KVM engine: every guest and every scenario must end as it does on the simulator,
# but for those that hv-port/not-expressible.txt names for this kind of host. And the command line:
# the note, --timeout, Ctrl-C, no /dev/kvm, no X that KVM would answer.
set -u
: "${BUILD:=build/release}" "${GUARDHOUSE:=$BUILD/guardhouse}"
here=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/kvm.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0

ok() {
	passed=$((passed + 1))
}

fail() {
	failed=$((failed + 1))
	echo "FAIL: $1"
	sed 's/^/    /' "${2:-/dev/null}" | tail -n 40
}

finish() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ $failed -eq 0 ]
	exit
}

# kvm ARG...: guardhouse ARG... --engine kvm
kvm() {
	timeout -k 10 120 "$GUARDHOUSE" "$@" --engine kvm >"$tmp/out" 2>"$tmp/err"
	status=$?
}

kvm run hello
if [ $status -eq 2 ]; then
	echo "SKIP: $(tail -n 1 "$tmp/err")"
	skipped=1
	finish
fi

# What guest code runs on: hardware, or KVM's instruction emulator.
if grep -qw svm /proc/cpuinfo; then
	host=svm
elif grep -qw vmx /proc/cpuinfo; then
	host=vmx
else
	host=pvm
fi

# not_expressible ID: prints the reason
not_expressible() {
	sed -nE "s/^(any|$host) $1: (.*)/\\2/p" "$here/hv-port/not-expressible.txt"
}

corpus() {
	left_out=0
	for elf in "$BUILD"/corpus/guests/*.elf; do
		name=$(basename "$elf" .elf)
		case $name in
		bench) continue ;;     # no test: loops that `make bench` drives from outside
		cpu_truth) continue ;; # differs by host: cpu_truth_test.sh
		esac
		why=$(not_expressible "$name")
		if [ -n "$why" ]; then
			echo "not expressible on $host: guest $name: $why"
			left_out=$((left_out + 1))
			continue
		fi
		kvm run "$elf"
		if [ $status -ne 0 ] || grep -q '^FAIL' "$tmp/out"; then
			cat "$tmp/err" >>"$tmp/out"
			fail "guest $name: exit status $status" "$tmp/out"
		elif [ "$name" != tour ] && ! grep -qE '^[1-9][0-9]* passed, 0 failed' "$tmp/out"; then
			fail "guest $name: no claim was checked" "$tmp/out"
		else
			ok
		fi
	done

	kvm attack --json
	if ! python3 - "$tmp/out" >"$tmp/rows" <<'END'; then
import json, sys
for r in json.load(open(sys.argv[1]))['attacks']:
    if r['ok'] is None:
        print('left %s: %s' % (r['id'], r['not_expressible']))
    else:
        print('%s %s: expected %s, got %s; %s' % ('ok' if r['ok'] else 'bad', r['id'],
                                                  r['expected'], r['got'], r['exit']))
END
		fail "attack --engine kvm --json cannot be read: exit status $status" "$tmp/err"
	fi
	while read -r result row; do
		case $result in
		ok) ok ;;
		left)
			echo "not expressible on $host: scenario $row"
			left_out=$((left_out + 1))
			;;
		*) fail "scenario $row" ;;
		esac
	done <"$tmp/rows"
	echo "host $host: $passed as on the simulator, $left_out not expressible"
	[ $passed -ge 60 ] || fail "only $passed guests and scenarios were compared"
}

# `make test-kvm` compares all of this line by line in engines_equal_*_test.sh.
[ -n "${KVM_HOST-}" ] || corpus

# ---- the command line ----

kvm run counter
if grep -q '^engine kvm: "gates" mode.*validates verdicts, not isolation$' "$tmp/err"; then
	ok
else
	fail 'the engine says what it cannot show' "$tmp/err"
fi

for x in vmmcall vmcall; do
	kvm run counter --x $x
	if [ $status -eq 2 ] && grep -q -- '--x out' "$tmp/err"; then
		ok
	else
		fail "--x $x is refused with exit status 2" "$tmp/err"
	fi
done

# An endless guest: `loops` spins with interrupts off.
cat >"$tmp/loops.S" <<'END'
	.globl _start
_start:	cli
1:	jmp 1b
END
as -o "$tmp/loops.o" "$tmp/loops.S"
ld -Ttext=0xffffffff80101000 -o "$tmp/loops" "$tmp/loops.o" || fail 'the endless guest cannot be built'

for engine in kvm sim; do
	start=$SECONDS
	timeout -k 5 30 "$GUARDHOUSE" run "$tmp/loops" --engine $engine --budget 100000000000 --timeout 1 \
		>"$tmp/out" 2>"$tmp/err"
	status=$?
	if [ $status -eq 1 ] && grep -q 'the --timeout of 1 s is over' "$tmp/err" &&
		[ $((SECONDS - start)) -lt 10 ]; then
		ok
	else
		fail "--timeout ends an endless guest on $engine (exit status $status)" "$tmp/err"
	fi
done

# Ctrl-C at any moment: exit status 1, no process and no signal death.
for pause in 0.01 0.05 0.1 0.3; do
	timeout -k 5 30 "$GUARDHOUSE" run "$tmp/loops" --engine kvm --budget 100000000000 >"$tmp/out" \
		2>"$tmp/err" &
	pid=$!
	sleep $pause
	child=$(pgrep -P $pid)
	[ -z "$child" ] || kill -INT "$child"
	wait $pid
	status=$?
	# before the handler is in place SIGINT ends it as any program
	if [ $status -eq 1 ] || { [ $pause != 0.3 ] && [ $status -eq 130 ]; }; then
		ok
	else
		fail "SIGINT after $pause s: exit status $status" "$tmp/err"
	fi
done

# Somebody without the right to /dev/kvm.
if [ "$(id -u)" -eq 0 ] && [ "$(stat -c %a /dev/kvm)" != 666 ] && command -v setpriv >/dev/null; then
	mkdir -p "$tmp/corpus"
	chmod 755 "$tmp"
	cp "$GUARDHOUSE" "$tmp/guardhouse"
	setpriv --reuid=65534 --regid=65534 --clear-groups "$tmp/guardhouse" run "$tmp/loops" --engine kvm \
		>"$tmp/out" 2>"$tmp/err"
	status=$?
	if [ $status -eq 2 ] && grep -q '/dev/kvm: Permission denied' "$tmp/err"; then
		ok
	else
		fail "no right to /dev/kvm: exit status $status" "$tmp/err"
	fi
else
	echo 'SKIP: nobody here is without the right to /dev/kvm'
	skipped=$((skipped + 1))
fi

finish
