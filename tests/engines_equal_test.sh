#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The same guests, modules and scenarios on the simulator and on this machine's /dev/kvm give equal
# verdict logs: every guest of the corpus (and so every sample module), Debian's e1000e, every
# scenario but races. What kvm cannot show is what hv-port/not-expressible.txt says, and no more:
# a line there about something that is equal after all is a failure, too.
set -u
: "${BUILD:=build/release}" "${GUARDHOUSE:=$BUILD/guardhouse}"
here=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/equal.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
export GUARDHOUSE_CORPUS=$here/corpus
list=$here/hv-port/not-expressible.txt
need_ids=30 # of the catalogue, at least so many compared
passed=0 failed=0 skipped=0

ok() {
	passed=$((passed + 1))
}

fail() {
	failed=$((failed + 1))
	echo "FAIL: $1"
	sed 's/^/    /' "$2" | tail -n 40
}

finish() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ $failed -eq 0 ]
	exit
}

if [ ! -e /dev/kvm ] || ! (exec 3<>/dev/kvm) 2>/dev/null; then
	echo "SKIP: /dev/kvm is not there, or not to be opened by this user"
	skipped=1
	finish
fi

limit=120 # seconds for a run
both() {
	timeout $((limit + 60)) "$GUARDHOUSE" "$@" --engine sim,kvm --timeout $limit >"$tmp/out" 2>"$tmp/err"
}

# The reason of the list for a guest or scenario on this host; nothing: it has to be equal.
listed() {
	awk -v id="$1" -v host="$host" '
		!/^[ \t]*(#|$)/ && $2 == id ":" && ($1 == "any" || $1 == host) {
			sub(/^[^:]*:[ \t]*/, ""); print }' "$list"
}

# ---- scenarios ----
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
host=$(sed -n 's/^host //p' "$tmp/rows")
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

# ---- guests ----
guests=0 lines=0 nothing=''
for elf in "$BUILD"/corpus/guests/*.elf; do
	name=$(basename "$elf" .elf)
	case $name in
	bench) continue ;; # no test: loops that `make bench` drives from outside
	esac
	[ -z "$(listed "$name")" ] || continue
	timeout 100 "$GUARDHOUSE" run "$elf" --log "$tmp/log" >/dev/null 2>&1
	if [ ! -s "$tmp/log" ]; then
		nothing="$nothing $name"
		continue
	fi
	guests=$((guests + 1))
	if both run "$elf"; then
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
# (What is equal ends soon; a guest that is lost may go on for ever.)
limit=10
while read -r what id; do
	[ -n "$what" ] || continue
	case $what in
	any | "$host") ;;
	*) continue ;;
	esac
	id=${id%%:*}
	echo "not expressible on $what: $id: $(listed "$id")"
	if both run "$id"; then
		fail "$id stands in the list, but its logs are equal" "$tmp/out"
	elif grep -qE '^--- sim, kvm: |^--- .* on kvm( on [a-z]+)?: ' "$tmp/out"; then
		ok
	else
		cat "$tmp/err" >>"$tmp/out"
		fail "$id stands in the list, and cannot even be run" "$tmp/out"
	fi
done < <(grep -vE '^[ 	]*(#|$)' "$list")

finish
