#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Modules that stay as they are (--mode views): does the guard judge them as it judges wrapped ones?
# The catalogue is run in views mode with the oracle on. Every scenario that applies to both modes is
# then run in both, and the verdict logs are compared line by line: event, module, verdict, views,
# activation. (Sites differ, as do causes: docs/semantics.md.) What does not apply is listed with its
# reason. Then all sample guests, a real driver, and what compare-modes counts: the guest `modes`
# counts its own calls and the call-outs that reach it, from which the crossings follow.
set -u
: "${BUILD:=build/release}" "${GUARDHOUSE:=$BUILD/guardhouse}"
list=corpus/scenarios/views.txt
tmp=$(mktemp -d "${TMPDIR:-/tmp}/views.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0

ok() {
	passed=$((passed + 1))
}

fail() {
	failed=$((failed + 1))
	echo "FAIL: $1"
	head -n 10 "${2:-$tmp/err}" | sed 's/^/    /'
}

# not_applicable ID
not_applicable() {
	grep -q "^any $1: " "$list"
}

grep '^any ' "$list" | sed 's/^any /does not apply in views mode: /'

# ---- the catalogue, with the oracle ----

timeout 200 "$GUARDHOUSE" attack --mode views --json >"$tmp/attack.json" 2>"$tmp/err" </dev/null
status=$?
if [ $status -ne 0 ]; then
	fail "attack --mode views: exit status $status"
else
	ok
fi
python3 - "$tmp/attack.json" "$list" >"$tmp/counts" 2>"$tmp/err" <<'END'
import json, re, sys
report = json.load(open(sys.argv[1]))
listed = {m.group(1) for m in (re.match(r"any (\S+):", l) for l in open(sys.argv[2])) if m}
rows = report["attacks"]
ran = [r for r in rows if not r.get("not_expressible")]
left = {r["id"] for r in rows if r.get("not_expressible")}
assert report["ran"] == len(ran) and report["ran"] >= 60, (report["ran"], len(ran))
assert report["surprises"] == 0 and all(r["ok"] for r in ran)
assert left <= listed, left - listed
assert report["not_expressible"] == len(left)
# what is asked without gates instead
assert {"E2-views", "E3-views", "R4-views", "P8-views"} <= {r["id"] for r in ran}
END
status=$?
if [ $status -eq 0 ]; then ok; else fail 'attack --mode views: its report'; fi

# ---- both modes, line by line ----

# plain LOG: per vCPU, without numbers, sites and the causes of crossings; ANNOUNCE again is pacing
plain() {
	sed -E '/verdict=again/d; / (DEPART|RESUME) .* cause=(irq|nmi|kick|timer)$/d
		s/^[0-9]+ //; s/ site=[^ ]+//
		/ ((ENTER|LEAVE)-(CALL|RETURN)|VERIFY) /s/ cause=[a-z]+$//' "$1" | sort -s -k1,1
}

lines=0
for scn in corpus/scenarios/*.scn; do
	id=$(basename "$scn" .scn)
	not_applicable "$id" && continue
	grep -q '^class race' "$scn" && continue
	for mode in gates views; do
		timeout 60 "$GUARDHOUSE" run --mode $mode --log "$tmp/$mode.log" "$scn" \
			>"$tmp/out" 2>"$tmp/err" </dev/null || fail "$id in $mode mode" "$tmp/out"
		plain "$tmp/$mode.log" >"$tmp/$mode"
	done
	if [ -s "$tmp/gates" ] && cmp -s "$tmp/gates" "$tmp/views"; then
		ok
		lines=$((lines + $(wc -l <"$tmp/gates")))
	else
		diff "$tmp/gates" "$tmp/views" >"$tmp/diff"
		fail "$id: other verdicts in views mode" "$tmp/diff"
	fi
done
if [ "$lines" -ge 1000 ]; then ok; else fail "only $lines lines compared"; fi
echo "$lines lines equal in both modes"

# every reason is about something that is there
while read -r id; do
	if [ -e "corpus/scenarios/$id.scn" ] || [ -e "$BUILD/corpus/guests/$id.elf" ]; then
		ok
	else
		fail "$list: there is no $id" "$list"
	fi
done < <(sed -nE 's/^any ([^:]+): .*/\1/p' "$list")

# ---- sample guests ----

for elf in "$BUILD"/corpus/guests/*.elf; do
	name=$(basename "$elf" .elf)
	case $name in bench | cpu_truth) continue ;; esac # no tests of modules
	not_applicable "$name" && continue
	if timeout 120 "$GUARDHOUSE" run --mode views --oracle "$elf" >"$tmp/out" 2>"$tmp/err" </dev/null; then
		ok
	else
		fail "guest $name in views mode" "$tmp/out"
	fi
done

# ---- what it costs ----

check_modes() {
	python3 - "$tmp/modes.json" "$1" 2>"$tmp/err" <<'END'
import json, sys
rows = json.load(open(sys.argv[1]))
samples = sys.argv[2] == "samples"
assert len(rows) == (5 if samples else 1), len(rows)
for row in rows:
    for mode in "gates", "views":
        c = row[mode]
        what = (row["module"], mode, c)
        assert c["ok"] and not c["refused"], what
        shown, other = ("by_x", "by_fault") if mode == "gates" else ("by_fault", "by_x")
        # a driver has no gate for a function that it finds only at run time
        assert c[other] <= (0 if samples else c["crossings"] // 100), what
        assert c[shown] + c[other] == c["crossings"], what
        assert c["events"] >= c["crossings"] and c["core_ns"] > 0 and c["simulated_time"] > 0, what
        if samples:
            assert c["calls"] >= 50, what
            assert c["crossings"] == 2 * (c["calls"] + c["callouts"] - c["tail_callouts"]), what
        else:
            assert c["crossings"] > 4000 and c["callouts"] > 2000, what
    if samples:
        assert row["gates"]["calls"] == row["views"]["calls"], row
        assert row["gates"]["crossings"] == row["views"]["crossings"], row
    else:
        # inner copies of memcpy and the like save crossings in a wrapped driver only
        assert row["gates"]["crossings"] < row["views"]["crossings"], row
END
}

if timeout 120 "$GUARDHOUSE" compare-modes counter doorbell pair_a pair_b target --json \
	>"$tmp/modes.json" 2>"$tmp/err" </dev/null && check_modes samples; then
	ok
else
	fail 'compare-modes: sample modules'
fi
if [ "$(timeout 120 "$GUARDHOUSE" compare-modes counter 2>"$tmp/err" | wc -l)" -eq 3 ]; then
	ok
else
	fail 'compare-modes: the table'
fi
for arguments in nonesuch '--seed x' '--timeout 0' '--bad' /nonesuch.ko; do
	# shellcheck disable=SC2086
	timeout 60 "$GUARDHOUSE" compare-modes $arguments >"$tmp/out" 2>"$tmp/err" </dev/null
	if [ $? -eq 2 ] && [ "$(wc -l <"$tmp/err")" -eq 1 ]; then ok; else fail "compare-modes $arguments"; fi
done

# ---- a real driver ----

driver=build/debian/e1000e.ko
if [ -r $driver ]; then
	if timeout 300 "$GUARDHOUSE" run --mode views --oracle --module $driver >"$tmp/out" 2>"$tmp/err" </dev/null &&
		grep -q '^packets: 1 sent, 1 received' "$tmp/out" && grep -q '^as expected' "$tmp/out"; then
		ok
	else
		fail "$driver in views mode" "$tmp/out"
	fi
	if timeout 300 "$GUARDHOUSE" compare-modes $driver --json >"$tmp/modes.json" 2>"$tmp/err" </dev/null &&
		check_modes driver; then
		ok
	else
		fail "compare-modes $driver"
	fi
else
	echo "SKIP: no $driver (make corpus-debian): no driver in views mode"
	skipped=$((skipped + 1))
fi

# ---- what cannot be done is said ----

for arguments in 'run --mode views --engine kvm hello' 'attack --mode views --engine sim,kvm' \
	'run --mode sideways hello' "attack --mode views --module $driver"; do
	# shellcheck disable=SC2086
	timeout 60 "$GUARDHOUSE" $arguments >"$tmp/out" 2>"$tmp/err" </dev/null
	if [ $? -eq 2 ] && grep -q -- '--mode' "$tmp/err"; then ok; else fail "$arguments"; fi
done

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
