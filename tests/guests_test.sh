#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Runs every guest of the corpus with every kind of crossing instruction and several schedules.
# Each must end with status 0 and without a failed claim, and the same seed must give the same log,
# byte for byte.
set -u
: "${BUILD:=build/release}" "${GUARDHOUSE:=$BUILD/guardhouse}"
tmp=$(mktemp -d "${TMPDIR:-/tmp}/guests.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0

ok() {
	passed=$((passed + 1))
}

fail() {
	failed=$((failed + 1))
	echo "FAIL: $1"
	sed 's/^/    /' "$2" | tail -n 60
}

# run GUEST X SEED LOG
run() {
	timeout 120 "$GUARDHOUSE" run "$1" --x "$2" --seed "$3" --log "$4" >"$tmp/out" 2>&1
}

for elf in "$BUILD"/corpus/guests/*.elf; do
	name=$(basename "$elf" .elf)
	seeds=1
	case $name in
	bench) continue ;;     # no test: loops that `make bench` drives from outside
	cpu_truth) continue ;; # cpu_truth_test.sh
	smp*) seeds='1 2 3 4 5 6 7 8' ;;
	traps* | threads* | idle) seeds='1 2 3' ;;
	esac
	for x in vmmcall vmcall out; do
		for seed in $seeds; do
			what="$name --x $x --seed $seed"
			run "$elf" "$x" "$seed" "$tmp/log1"
			status=$?
			if [ $status -ne 0 ] || grep -q '^FAIL' "$tmp/out"; then
				fail "$what: exit status $status" "$tmp/out"
				continue
			fi
			if [ "$name" != tour ] && ! grep -qE '^[1-9][0-9]* passed, 0 failed' "$tmp/out"; then
				fail "$what: no claim was checked" "$tmp/out"
				continue
			fi
			run "$elf" "$x" "$seed" "$tmp/log2"
			if ! cmp -s "$tmp/log1" "$tmp/log2"; then
				diff "$tmp/log1" "$tmp/log2" | head -n 20 >"$tmp/diff"
				fail "$what: the same seed gave another log" "$tmp/diff"
				continue
			fi
			if [ "$name" = reload ] && grep -q 'site=?' "$tmp/log1"; then
				fail "$what: the log does not name a place that was" "$tmp/log1"
				continue
			fi
			if [ "$name" != hello ] && [ "$name" != unbound ] && ! grep -q 'ENTER-CALL.*verdict=ok' "$tmp/log1"; then
				fail "$what: the log has no crossing" "$tmp/log1"
				continue
			fi
			ok
		done
	done
done

# A schedule is really another one: two vCPUs interleave differently under some other seed.
run "$BUILD/corpus/guests/smp.elf" vmmcall 1 "$tmp/log1"
different=no
for seed in 2 3 4 5; do
	run "$BUILD/corpus/guests/smp.elf" vmmcall "$seed" "$tmp/log2"
	cmp -s "$tmp/log1" "$tmp/log2" || different=yes
done
if [ $different = yes ]; then
	ok
else
	fail 'smp: five seeds, one and the same log' "$tmp/log1"
fi

# Crossing instructions differ, logs do not: byte for byte per vCPU, for every guest. Left out, as two
# logs are compared: numbering, and lines of interrupts and what resumes after one, since a timer
# strikes elsewhere when an X takes another time (RESUME names its way back, not what struck).
# plain LOG: what is compared of it
plain() {
	sed -E 's/^[0-9]+ //; / (DEPART|RESUME) .* cause=(irq|nmi|kick|fetch)$/d' "$1" | sort -s -k1,1
}
for elf in "$BUILD"/corpus/guests/*.elf; do
	name=$(basename "$elf" .elf)
	case $name in
	bench) continue ;;  # no test
	hello | cpu_truth) continue ;; # no module, so no log
	smp* | threads*) continue ;; # races: which vCPU or thread is first hangs on time, and so on X
	traps*) continue ;; # how often its timer strikes does, and the handler calls entries
	esac
	for x in vmmcall vmcall out; do
		run "$elf" "$x" 1 "$tmp/$x.log"
		plain "$tmp/$x.log" >"$tmp/$x"
	done
	if [ -s "$tmp/vmmcall" ] && cmp -s "$tmp/vmmcall" "$tmp/vmcall" && cmp -s "$tmp/vmmcall" "$tmp/out"; then
		ok
	else
		diff "$tmp/vmmcall" "$tmp/vmcall" | head -n 10 >"$tmp/diff"
		diff "$tmp/vmmcall" "$tmp/out" | head -n 10 >>"$tmp/diff"
		fail "$name: another kind of X, another log" "$tmp/diff"
	fi
done

# So it is for scenarios, but for races.
for scn in corpus/scenarios/*.scn; do
	grep -q '^class race' "$scn" && continue
	for x in vmmcall vmcall out; do
		run "$scn" "$x" 1 "$tmp/$x.log" || : >"$tmp/$x.log"
		plain "$tmp/$x.log" >"$tmp/$x"
	done
	if [ -s "$tmp/vmmcall" ] && cmp -s "$tmp/vmmcall" "$tmp/vmcall" && cmp -s "$tmp/vmmcall" "$tmp/out"; then
		ok
	else
		diff "$tmp/vmmcall" "$tmp/out" | head -n 10 >"$tmp/diff"
		fail "$(basename "$scn"): another kind of X, another log" "$tmp/diff"
	fi
done

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
