#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# `guardhouse wrap` on compressed modules, on a folder of them, and with entries chosen by hand.
set -u
: "${BUILD:=build/release}" "${GUARDHOUSE:=$BUILD/guardhouse}"
tmp=$(mktemp -d "${TMPDIR:-/tmp}/wrapall.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0
mods=$BUILD/corpus/modules

ok() {
	if [ "$2" -eq 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL: $1"
		sed 's/^/    /' "$tmp/out" "$tmp/err" | head -n 12
	fi
}

skip() {
	skipped=$((skipped + 1))
	echo "SKIP: $1"
	[ "${REQUIRE:-0}" != 1 ] || failed=$((failed + 1))
}

gh() {
	timeout 120 "$GUARDHOUSE" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
}

# refuses WHAT PATTERN WORDS...: exit 2 and one line that matches
refuses() {
	local what=$1 pattern=$2
	shift 2
	gh "$@"
	[ $? -eq 2 ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -qE -e "$pattern" "$tmp/err"
	ok "$what" $?
}

# ---- compressed input: the same bytes out as from the plain file ----

mkdir -p "$tmp/in/a/b" "$tmp/plain"
cp "$mods/counter.ko" "$tmp/in/counter.ko" || exit 1
gh wrap "$tmp/in/counter.ko" -o "$tmp/plain/counter.ko"
ok 'a plain module' $?
for kind in xz zst; do
	tool=${kind/zst/zstd}
	if ! command -v "$tool" >/dev/null; then
		skip "no program $tool here to make a .ko.$kind"
		continue
	fi
	"$tool" -q -c "$tmp/in/counter.ko" >"$tmp/counter.ko.$kind"
	gh wrap "$tmp/counter.ko.$kind" -o "$tmp/$kind.ko" && cmp -s "$tmp/$kind.ko" "$tmp/plain/counter.ko" &&
		cmp -s "$tmp/$kind.manifest" "$tmp/plain/counter.manifest"
	ok ".ko.$kind is wrapped to the same bytes as .ko" $?
	size=$(stat -c %s "$tmp/counter.ko.$kind")
	head -c $((size / 2)) "$tmp/counter.ko.$kind" >"$tmp/short.ko.$kind"
	refuses "half a .ko.$kind" "short.ko.$kind: offset 0x[0-9a-f]+: $tool: " \
		wrap "$tmp/short.ko.$kind" -o "$tmp/x.ko"
	head -c 300000000 /dev/zero | "$tool" -q -c >"$tmp/bomb.ko.$kind"
	refuses "a .ko.$kind that unpacks to 300 MB" "bomb.ko.$kind: unpacks to more than" \
		wrap "$tmp/bomb.ko.$kind" -o "$tmp/x.ko"
	(cat "$tmp/counter.ko.$kind" && echo rubbish) >"$tmp/tail.ko.$kind"
	refuses "rubbish behind a .ko.$kind" "tail.ko.$kind: offset 0x" \
		wrap "$tmp/tail.ko.$kind" -o "$tmp/x.ko"
	cp "$tmp/counter.ko.$kind" "$tmp/in/a/b/"
	mv "$tmp/in/a/b/counter.ko.$kind" "$tmp/in/a/b/$kind.ko.$kind"
done

# ---- a folder ----

head -c 1000 "$tmp/in/counter.ko" >"$tmp/in/a/cut.ko"
echo text >"$tmp/in/a/README"
for jobs in 1 3; do
	gh wrap --all "$tmp/in" --output "$tmp/out$jobs" --jobs $jobs --json "$tmp/sum$jobs.json"
	ok "--all with $jobs jobs" $?
done
grep -qE "^refused: .*/in/a/cut.ko: offset 0x[0-9a-f]+: " "$tmp/out"
ok 'a refused module is listed with place and reason' $?
diff -r "$tmp/out1" "$tmp/out3" >"$tmp/err" 2>&1
ok 'the same bytes, however many jobs' $?
cmp -s "$tmp/out1/counter.ko" "$tmp/plain/counter.ko" && [ ! -e "$tmp/out1/a/cut.ko" ]
ok 'a module of a folder is wrapped like one alone' $?
for kind in xz zst; do
	[ -e "$tmp/in/a/b/$kind.ko.$kind" ] || continue
	[ -s "$tmp/out1/a/b/$kind.ko" ] && [ -s "$tmp/out1/a/b/$kind.manifest" ]
	ok ".ko.$kind in a folder" $?
done
python3 - "$tmp/sum1.json" "$(find "$tmp/in" -name '*.ko*' | wc -l)" >"$tmp/out" 2>&1 <<'END'
import json, sys
s = json.load(open(sys.argv[1]))
assert s["modules"] == int(sys.argv[2]) == len(s["each"]) and s["refused"] == 1, s
assert s["wrapped"] == s["modules"] - 1 == sum(m["wrapped"] for m in s["each"])
for key in s["stats"]:
    assert s["stats"][key] == sum(m["stats"][key] for m in s["each"] if m["wrapped"]), key
assert s["stats"]["gates"] > 0
assert ["cut.ko" in m["why"] for m in s["each"] if not m["wrapped"]] == [True]
END
ok 'the summary adds up' $?
refuses 'output inside of the input' 'must not lie in' wrap --all "$tmp/in" -o "$tmp/in/a/out"
mkdir -p "$tmp/none"
refuses 'a folder without modules' "$tmp/none: no .ko" wrap --all "$tmp/none" -o "$tmp/outx"
refuses 'no such folder' "$tmp/nowhere" wrap --all "$tmp/nowhere" -o "$tmp/outx"
refuses 'no jobs' '--jobs 0' wrap --all "$tmp/in" -o "$tmp/outx" --jobs 0
refuses 'a module beside --all' 'a module as well' wrap "$tmp/in/counter.ko" --all "$tmp/in" -o "$tmp/outx"

# ---- the developer's choice of entries ----

cat >"$tmp/e.c" <<'END'
long one(long a) { return a + 1; }
long two(long a) { return a + 2; }
long quiet(long a) { return a + 3; }
int init_module(void) { return 0; }
long (*const table[])(long) = { one, two };
END
${CC:-gcc} -c -O1 -fcf-protection=none -mcmodel=kernel -fno-pie -ffreestanding -o "$tmp/e.ko" "$tmp/e.c" || exit 1
printf '# entries\n  two  # the second\n\nquiet\n' >"$tmp/list"
gh wrap "$tmp/e.ko" -o "$tmp/e1.ko" --entries "$tmp/list" --json "$tmp/e.json"
ok '--entries' $?
names=$(python3 -c 'import json,sys
print(*sorted(e["name"] for e in json.load(open(sys.argv[1]))["entries"]["records"]))' "$tmp/e.json")
[ "$names" = 'init_module quiet two' ]
ok "the entries are those named, and init: $names" $?
echo three >>"$tmp/list"
refuses 'an entry that is no function' 'e.ko: offset 0x[0-9a-f]+: no function three' \
	wrap "$tmp/e.ko" -o "$tmp/e2.ko" --entries "$tmp/list"
refuses 'no such list' "$tmp/nolist" wrap "$tmp/e.ko" -o "$tmp/e2.ko" --entries "$tmp/nolist"
gh wrap "$tmp/e.ko" -o "$tmp/x1.ko" --crossing nop && gh wrap "$tmp/e.ko" -o "$tmp/x2.ko" --x nop &&
	cmp -s "$tmp/x1.ko" "$tmp/x2.ko"
ok '--crossing is --x' $?

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
