#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The guest cpu_truth (docs/engines.md): the outputs under results/cpu-truth/ are what this build
# gives, on the simulator and on this machine's /dev/kvm; the tables of docs/engines.md are made of
# them; and an item that is wrong is told as wrong.
set -u
: "${BUILD:=build/release}" "${GUARDHOUSE:=$BUILD/guardhouse}"
export GUARDHOUSE GUEST="$BUILD/corpus/guests/cpu_truth.elf"
results=results/cpu-truth
tmp=$(mktemp -d "${TMPDIR:-/tmp}/cpu-truth-test.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0

ok() {
	passed=$((passed + 1))
}

fail() {
	failed=$((failed + 1))
	echo "FAIL: $1"
	[ $# -lt 2 ] || sed 's/^/    /' "$2" | head -n 40
}

# check WHAT COMMAND...: it must end with 0
check() {
	local what=$1
	shift
	if "$@" >"$tmp/said" 2>&1; then ok; else fail "$what" "$tmp/said"; fi
}

# same HOST RESULT: what was run is what is recorded; comments aside, and of the CPUs of machines also
# what the manuals leave open: they differ in it (PF after BSF and BSR)
same() {
	local open=
	[ "$1" != pvm ] || open='s/ open=[0-9a-f]*//'
	sed "/^#/d; $open" "$2" >"$tmp/got" # no <(...): a test bed has no /dev/fd
	if sed "/^#/d; $open" "$results/$1.txt" | diff - "$tmp/got" >"$tmp/diff"; then
		ok
	else
		fail "$1: not what $results/$1.txt says (if it is right: tools/cpu-truth.sh >$results/$1.txt, then tools/cpu_truth.py --update)" "$tmp/diff"
	fi
}

# KVM, if what this host does is recorded: a PVM back end, or the SVM host of the test bed, where
# `make test-kvm` says so in KVM_HOST and KVM_EMULATED and the rest of this test is left to other
# machines. A real CPU's SVM does other things than an emulated one.
on_kvm() {
	local recorded=$1

	SKIP=$(sed -n 's/ not-run$//p' "$results/$recorded.txt" | tr '\n' ,)
	export SKIP
	if tools/cpu-truth.sh --engine kvm >"$tmp/kvm" 2>"$tmp/err"; then
		same "$recorded" "$tmp/kvm"
	else
		fail "the guest does not come to its end on /dev/kvm" "$tmp/err"
	fi
}

host=${KVM_HOST:-$(tools/kvm-host.sh)}
case ${KVM_EMULATED:+emulated-}$host in
pvm) on_kvm pvm ;;
emulated-svm)
	case $(cat /sys/module/kvm_amd/parameters/npt) in
	1 | Y) on_kvm svm-npt1 ;;
	*) on_kvm svm-npt0 ;;
	esac
	;;
*)
	echo "SKIP: what this machine's KVM does is not recorded: $host"
	skipped=$((skipped + 1))
	;;
esac

if [ -n "${KVM_HOST-}" ]; then
	echo "$passed passed, $failed failed, $skipped skipped"
	[ $failed -eq 0 ]
	exit
fi
unset SKIP

tools/cpu-truth.sh >"$tmp/sim" 2>"$tmp/err" || fail "the guest does not come to its end on sim" "$tmp/err"
same sim "$tmp/sim"
GUARDHOUSE_PRECISE=1 tools/cpu-truth.sh >"$tmp/precise" 2>"$tmp/err" || fail "precise mode" "$tmp/err"
same sim-precise "$tmp/precise"

# The summary counts the lines, and there are many.
read -r items _ good _ bad _ told _ skip _ < <(grep ' items: ' "$tmp/sim" | tr -d ,)
count() {
	grep -c "$1" "$tmp/sim"
}
if [ "$items" -ge 500 ] && [ "$good" -eq "$(count ' ok$')" ] && [ "$bad" -eq "$(count ' WRONG want=')" ] &&
	[ "$told" -eq "$(count ' told$')" ] && [ "$skip" -eq 0 ] && [ $((good + bad + told)) -eq "$items" ]; then
	ok
else
	fail "the summary does not count the lines: $(tail -n 1 "$tmp/sim")"
fi
if [ -z "$(cut -d ' ' -f 1 "$tmp/sim" | sort | uniq -d)" ]; then ok; else fail "two items have one name"; fi

# An item is left out on demand, alone or with all of its topic.
"$GUARDHOUSE" run "$GUEST" --arg 'skip=alu.add.carry,bit.*' >"$tmp/out" 2>&1
if grep -qx 'alu.add.carry not-run' "$tmp/out" && grep -q '^alu.add.byte .* ok$' "$tmp/out" &&
	grep -qx 'bit.bsf not-run' "$tmp/out" && ! grep -q '^bit\..* ok$' "$tmp/out" &&
	grep -q '^atomic.xadd .* ok$' "$tmp/out"; then
	ok
else
	fail "skip= leaves out something else" "$tmp/out"
fi

# A wrong CPU is found: here one whose ADD is a SUB, whose CLI is a NOP, whose pages are all writable.
# bend NAME FROM TO ITEM: the bytes of the guest's image, then the item must be WRONG
bend() {
	python3 - "$GUEST" "$tmp/bent.elf" "$2" "$3" <<'END' || { fail "bend $1: no such code"; return; }
import sys
image = open(sys.argv[1], "rb").read()
old, new = bytes.fromhex(sys.argv[3]), bytes.fromhex(sys.argv[4])
if image.count(old) < 1 or len(old) != len(new):
    sys.exit(1)
open(sys.argv[2], "wb").write(image.replace(old, new))
END
	"$GUARDHOUSE" run "$tmp/bent.elf" >"$tmp/out" 2>&1
	if grep -q "^$1 .* WRONG want=" "$tmp/out"; then
		ok
	else
		fail "bend $1: the item is still right" <(grep "^$1 " "$tmp/out")
	fi
}
bend alu.adc.full 10d8e9 00d8e9        # adc al,bl -> add al,bl
bend alu.sar.one 48d1f8e9 48d1e8e9    # sar rax,1 -> shr rax,1
bend string.rep-movsb f3a4e9 a490e9    # rep movsb -> movsb; nop
bend irq.sti-cli e6f6fbfa e6f6fb90     # sti; cli -> sti; nop
bend stack.push.imm-signed 6aff 6a7f   # push -1 -> push 127

check "the tables of docs/engines.md" tools/cpu_truth.py --check

# The tool itself: a difference without a meaning, a meaning without a difference, other tables.
mkdir "$tmp/r"
cp "$results"/* "$tmp/r/"
cp docs/engines.md "$tmp/doc.md"
sed -i 's/^alu.add.carry .*/alu.add.carry vec=100 a=1 WRONG want=a:0/' "$tmp/r/sim.txt"
if tools/cpu_truth.py --check "$tmp/r" "$tmp/doc.md" >"$tmp/said" 2>&1 ||
	! grep -q 'alu.add.carry: no meaning' "$tmp/said"; then
	fail "a new difference goes unnoticed" "$tmp/said"
else
	ok
fi
cp "$results/sim.txt" "$tmp/r/"
echo 'alu.none = nothing' >>"$tmp/r/meanings"
if tools/cpu_truth.py "$tmp/r" >"$tmp/said" 2>&1 || ! grep -q 'no difference matches alu.none' "$tmp/said"; then
	fail "a stale meaning goes unnoticed" "$tmp/said"
else
	ok
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
