#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Every scenario but races gives equal verdict logs on the simulator and on this machine's /dev/kvm,
# but for those that hv-port/not-expressible.txt names; enough IDs of the catalogue are compared.
# (Guests and drivers: engines_equal_guests_test.sh.)
set -u
# shellcheck source=tests/support/equal.sh
. "$(dirname "$0")/support/equal.sh"
need_ids=30 # of the catalogue, at least so many compared
# shellcheck disable=SC2034 # for both(): an emulated host on a busy machine takes minutes
limit=400

both attack --json
status=$?
if [ $status -gt 1 ] || ! python3 - "$tmp/out" "$tmp/row" >"$tmp/rows" 2>"$tmp/why" <<'EOP'; then
import json, sys
j = json.load(open(sys.argv[1]))
place = j["places"][1].split()
print("host", place[2] if len(place) > 2 else "unknown")
for r in j["attacks"]:
    if "not_expressible" in r:
        print("unrun", r["id"], r["not_expressible"])
    else:
        print("ran", r["id"], "ok" if r["ok"] else "bad", r["comparison"]["compared"])
        with open(f"{sys.argv[2]}.{r['id']}", "w") as f:
            for run in r["runs"]:
                for n in run["failure"]:
                    print(f"{run['engine']}: line {n['line']}: {n['text']}", file=f)
                print(f"{run['engine']}: {run['exit']}", file=f)
            print(r["comparison"].get("difference", ""), file=f)
print("ids", j["ids"])
print("compared", j["compared"])
left = [", ".join(f"{n} {c}" for c, n in s.items() if n) or "nothing" for s in j["left_out"]]
print("left", "sim:", left[0] + "; kvm:", left[1])
EOP
	cat "$tmp/err" >>"$tmp/why"
	fail 'attack --engine sim,kvm --json does not run' "$tmp/why"
	finish
fi
# The engine itself says which list it went by.
if [ "$(sed -n 's/^host //p' "$tmp/rows")" = "$host" ]; then
	ok
else
	fail "this is a host of the kind $host, but the engine says otherwise" "$tmp/rows"
fi
ids=$(sed -n 's/^ids //p' "$tmp/rows")
ran=0 unrun=0
while read -r what id verdict _; do
	case $what in
	ran)
		ran=$((ran + 1))
		if [ "$verdict" = ok ]; then
			ok
		else
			fail "scenario $id on kvm ($host)" "$tmp/row.$id"
		fi
		;;
	unrun) unrun=$((unrun + 1)) ;;
	esac
done <"$tmp/rows"
echo "scenarios: $ran compared, $ids IDs of the catalogue, $(sed -n 's/^compared //p' "$tmp/rows") lines"
echo "left out of them: $(sed -n 's/^left //p' "$tmp/rows")"
sed -n 's/^unrun /not expressible: /p' "$tmp/rows"
# A comparison passes over a TOUCH that only one engine repeats; neither does, so none may be lost.
if ! grep '^left ' "$tmp/rows" | grep -q 'TOUCH repeated'; then
	ok
else
	fail 'one engine touches more often than the other' "$tmp/rows"
fi
if [ "$ids" -ge $need_ids ]; then
	ok
else
	fail "only $ids IDs of the catalogue were compared, not $need_ids" "$tmp/rows"
fi

finish
