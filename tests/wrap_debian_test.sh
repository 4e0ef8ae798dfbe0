#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Debian's own modules: every 25th of the kernel package, and the odd ones. All are wrapped but for
# those that are known to be refused, each for its reason. (All 4,023: guardhouse wrap --all.)
set -u
: "${BUILD:=build/release}" "${GUARDHOUSE:=$BUILD/guardhouse}"
here=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/wrapdeb.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0

ok() {
	if [ "$2" -eq 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL: $1"
		head -n 12 "$tmp/out"
	fi
}

find -L "$here/build/debian/image/lib/modules" -name '*.ko' 2>/dev/null | sort >"$tmp/all"
if [ ! -s "$tmp/all" ]; then
	echo 'SKIP: no kernel package here: make corpus-debian fetches it'
	[ "${REQUIRE:-0}" != 1 ]
	status=$?
	echo "0 passed, $status failed, 1 skipped"
	exit $status
fi
mkdir "$tmp/in"
odd='/(kvm|kvm-amd|kvm-intel|vmwgfx|crc32c-intel|btrfs|i915|mce-inject|cast_common|test_bpf|bcache)\.ko$'
{ awk 'NR % 25 == 1' "$tmp/all" && grep -E "$odd" "$tmp/all"; } | sort -u >"$tmp/some"
while read -r ko; do cp "$ko" "$tmp/in/"; done <"$tmp/some"

timeout 300 "$GUARDHOUSE" wrap --all "$tmp/in" -o "$tmp/o" --crossing nop --json "$tmp/sum.json" >"$tmp/out" 2>&1
ok "$(wc -l <"$tmp/some") modules are gone through" $?
refused() {
	grep -qE "^refused: .*/$1.ko: offset 0x[0-9a-f]+: $2" "$tmp/out" && [ ! -e "$tmp/o/$1.ko" ]
	ok "$1 is refused: $2" $?
}
refused kvm '.*a label in code that is no function'
refused kvm-amd '.*vmsave: a hypervisor'
refused kvm-intel '.*vmxon: a hypervisor'
refused vmwgfx '.*no unwind data'
[ "$(grep -c '^refused' "$tmp/out")" -eq 4 ]
ok 'nothing else is refused' $?
python3 - "$tmp/sum.json" >>"$tmp/out" 2>&1 <<'END'
import json, sys
s = json.load(open(sys.argv[1]))
assert s["wrapped"] >= 160, s["wrapped"]
t = s["stats"]
assert t["entries"] > 4000 and t["exits"] > 6000 and t["sites"] > 3000 and t["inner_branches"] > 500, t
# the compiler makes all indirect branches through thunks, and pv_ops have gates
assert t["raw_branches"] == 0, t
END
ok 'the sums are of the right size, and no indirect branch is left raw' $?

# what the kernel would undo is gone, in every module; the rest of the code is as it was
bad=0
for ko in "$tmp"/o/*.ko; do
	readelf -SW "$ko" | grep -E '\] (__mcount_loc|\.return_sites|\.retpoline_sites|\.static_call_sites|\.parainstructions|\.smp_locks|\.static_call\.text) ' |
		grep -vE ' (PROGBITS) +0+ [0-9a-f]+ 000000 ' && bad=1 && echo "$ko" >>"$tmp/out"
	objcopy -O binary -j .text "$ko" "$tmp/a" 2>/dev/null
	objcopy -O binary -j .text "$tmp/in/${ko##*/}" "$tmp/b" 2>/dev/null
	cmp -s "$tmp/a" "$tmp/b" || { bad=1 && echo "$ko: .text differs" >>"$tmp/out"; }
	rm -f "$tmp/a" "$tmp/b"
done
ok 'tables of patches are empty, .text is the same' $bad

# the guard takes them as what they are: code, sites, trampolines, constants lie as the manifest says
for name in jbd2 intel-cstate mce-inject crc32c-intel snd-pcm sch_teql; do
	timeout 100 "$GUARDHOUSE" run --module "$(grep "/$name.ko$" "$tmp/all")" >"$tmp/out" 2>&1
	grep -q 'ANNOUNCE ok 1' "$tmp/out" && grep -q 'ENTER-CALL ok' "$tmp/out"
	ok "$name is announced in the simulator, and entered" $?
done

# init code that is called back says when it may be
"$GUARDHOUSE" inspect "$(grep '/sch_teql.ko$' "$tmp/all")" >"$tmp/out" 2>&1
[ "$(grep -c ' during-init$' "$tmp/out")" -eq 1 ] && grep -q 'teql_master_setup .* during-init$' "$tmp/out"
ok 'inspect tells which entry is open during init only' $?

echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
