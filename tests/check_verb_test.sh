#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# guardhouse check as a command: exit codes, what it prints, --json, and hostile files. A file with
# flipped bytes is refused (2), found at fault (1), or as good as before (0); with one clear line on
# stderr where it is refused. Nothing may crash, hang, or make a sanitizer speak.
set -u
: "${BUILD:=build/release}" "${GUARDHOUSE:=$BUILD/guardhouse}"
tmp=$(mktemp -d "${TMPDIR:-/tmp}/check.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0
FLIPS=${FLIPS:-60}

ok() {
	passed=$((passed + 1))
}

fail() {
	failed=$((failed + 1))
	echo "FAIL: $1"
	head -n 8 "$tmp/err" "$tmp/out" | sed 's/^/    /'
}

# check ARGUMENT...: sets status
check() {
	timeout 60 "$GUARDHOUSE" check "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
}

# expect STATUS WHAT
expect() {
	if [ "$status" -ne "$1" ]; then
		fail "$2: exit status $status instead of $1"
	elif [ "$1" -eq 2 ] && [ "$(wc -l <"$tmp/err")" -ne 1 ]; then
		fail "$2: not one line of error"
	elif [ "$1" -ne 2 ] && [ -s "$tmp/err" ]; then
		fail "$2: something on stderr"
	else
		ok
	fi
}

# said PATTERN WHAT: on stdout or stderr
said() {
	if grep -qE -- "$1" "$tmp/out" "$tmp/err"; then ok; else fail "$2: does not say $1"; fi
}

mods=$BUILD/corpus/modules
cp "$mods/counter.ko" "$tmp/o.ko" || exit 1
"$GUARDHOUSE" wrap "$tmp/o.ko" -o "$tmp/w.ko" -m "$tmp/w.manifest" >"$tmp/out" 2>"$tmp/err" ||
	fail 'a sample cannot be wrapped'

check "$tmp/o.ko" "$tmp/w.ko" "$tmp/w.manifest"
expect 0 'a wrapped sample'
said '^  +[0-9]+  gates that are exactly their template' 'a wrapped sample'
said '^not proved' 'a wrapped sample'
for x in vmcall out nop; do
	"$GUARDHOUSE" wrap "$tmp/o.ko" -o "$tmp/x.ko" -m "$tmp/x.manifest" --x $x >"$tmp/out" 2>"$tmp/err"
	check "$tmp/o.ko" "$tmp/x.ko" "$tmp/x.manifest"
	expect 0 "a sample with --x $x"
done
if command -v xz >/dev/null; then
	xz -k "$tmp/o.ko"
	check "$tmp/o.ko.xz" "$tmp/w.ko" "$tmp/w.manifest"
	expect 0 'a compressed original'
else
	echo 'SKIP: no xz'
	skipped=$((skipped + 1))
fi
check "$tmp/o.ko" "$tmp/x.ko" "$tmp/w.manifest"
expect 1 'the manifest of another kind of X'
check "$mods/doorbell.ko" "$tmp/w.ko" "$tmp/w.manifest"
expect 1 'another original'
said '^faults \([0-9]+\)' 'another original'
check "$tmp/o.ko" "$tmp/o.ko" "$tmp/w.manifest"
expect 1 'a module that was not wrapped'

check --json "$tmp/o.ko" "$tmp/w.ko" "$tmp/w.manifest"
expect 0 '--json'
if python3 -c '
import json, sys
d = json.load(sys.stdin)
assert d["faults"] == 0 and d["proved"]["gates"] > 10 and d["not_proved"] and d["labels"], d
' <"$tmp/out" 2>>"$tmp/err"; then ok; else fail '--json: not what was expected'; fi
check --json "$tmp/o.ko" "$tmp/o.ko" "$tmp/w.manifest"
expect 1 '--json with a fault'
if python3 -c '
import json, sys
d = json.load(sys.stdin)
assert d["faults"] > 0 and d["fault"][0]["class"] and "offset 0x" in d["fault"][0]["text"], d
' <"$tmp/out" 2>>"$tmp/err"; then ok; else fail '--json: no fault with class and offset'; fi

check "$tmp/o.ko" "$tmp/w.ko"
expect 2 'two files'
said '--help' 'two files'
check --nonsense "$tmp/o.ko" "$tmp/w.ko" "$tmp/w.manifest"
expect 2 'an unknown option'
check --help
expect 0 '--help'

printf 'x' >"$tmp/short"
: >"$tmp/empty"
mkdir "$tmp/folder"
good=("$tmp/o.ko" "$tmp/w.ko" "$tmp/w.manifest")
for i in 0 1 2; do
	for bad in short empty folder missing; do
		files=("${good[@]}")
		files[i]=$tmp/$bad
		check "${files[@]}"
		expect 2 "file $i: $bad"
		said "$tmp/$bad" "file $i: $bad"
	done
	head -c 2000 "${good[i]}" >"$tmp/cut"
	files=("${good[@]}")
	files[i]=$tmp/cut
	check "${files[@]}"
	expect 2 "file $i: cut short"
	said 'offset 0x' "file $i: cut short"
done

# a choice of entries
printf '# two of many\r\n\ttarget_check\r\n  target_raise # the other\n\n' >"$tmp/two"
printf 'target_check\rtarget_raise\rtarget_leak\r' >"$tmp/three"
printf 'target_check\n' >"$tmp/one"
printf 'target_check\0target_raise\n' >"$tmp/zero"
"$GUARDHOUSE" wrap "$mods/target.ko" -o "$tmp/e.ko" -m "$tmp/e.manifest" --entries "$tmp/two" \
	>"$tmp/out" 2>"$tmp/err" || fail 'wrap --entries'
chosen=("$mods/target.ko" "$tmp/e.ko" "$tmp/e.manifest")
check "${chosen[@]}" --entries "$tmp/two"
expect 0 'a choice of entries'
said '^ +4  entries' 'a choice of entries'
said '^ +[0-9]+  addresses of functions that are no chosen entries' 'a choice of entries'
check "${chosen[@]}"
expect 1 'a choice that check was not told'
check "${chosen[@]}" --entries "$tmp/one"
expect 1 'an entry more than chosen'
said 'target_raise.* is not among the chosen entries' 'an entry more than chosen'
check "${chosen[@]}" --entries "$tmp/three"
expect 1 'an entry less than chosen'
said 'no entry for target_leak' 'an entry less than chosen'
check "${chosen[@]}" --entries "$tmp/zero"
expect 2 'a list with a byte 0'
said 'zero: offset 0xc: ' 'a list with a byte 0'
check "${chosen[@]}" --entries "$tmp/missing"
expect 2 'a list that is not there'

# a module that stays as it is
cp "$BUILD/corpus/views/counter.ko" "$tmp/vo.ko" || exit 1
if "$GUARDHOUSE" wrap --mode views "$tmp/vo.ko" -o "$tmp/vw.ko" -m "$tmp/vw.manifest" \
	>"$tmp/out" 2>"$tmp/err" && cmp -s "$tmp/vo.ko" "$tmp/vw.ko"; then ok; else fail 'wrap --mode views'; fi
check "$tmp/vo.ko" "$tmp/vw.ko" "$tmp/vw.manifest"
expect 0 'an unwrapped sample'
said 'where indirect branches lead inside of the module' 'an unwrapped sample'
said '^  +[0-9]+  calls and jumps to imports, unchanged' 'an unwrapped sample'
check "$tmp/o.ko" "$tmp/vw.ko" "$tmp/vw.manifest"
expect 1 'an unwrapped sample that is not the original'
said 'byte for byte' 'an unwrapped sample that is not the original'
check "$tmp/o.ko" "$tmp/w.ko" "$tmp/vw.manifest"
expect 1 'a wrapped sample with a manifest without gates'
timeout 60 "$GUARDHOUSE" wrap --mode views "$tmp/o.ko" -o "$tmp/no.ko" >"$tmp/out" 2>"$tmp/err"
status=$?
expect 2 'private memory that fills no pages'
said 'not whole pages' 'private memory that fills no pages'
timeout 60 "$GUARDHOUSE" wrap --mode gate "$tmp/o.ko" -o "$tmp/no.ko" >"$tmp/out" 2>"$tmp/err"
status=$?
expect 2 'a mode that is none'

# flip FROM TO SEED: three bytes of the copy become others
flip() {
	python3 - "$@" <<'END'
import random, sys
data = bytearray(open(sys.argv[1], "rb").read())
rng = random.Random(int(sys.argv[3]))
for _ in range(3):
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
open(sys.argv[2], "wb").write(data)
END
}

for i in 0 1 2; do
	for ((n = 0; n < FLIPS; n++)); do
		flip "${good[i]}" "$tmp/flipped" $((i * 1000 + n))
		files=("${good[@]}")
		files[i]=$tmp/flipped
		check "${files[@]}"
		if [ $status -gt 2 ] || grep -qE 'Sanitizer|runtime error' "$tmp/err"; then
			fail "file $i, flip $n: exit status $status"
		elif [ $status -eq 2 ]; then
			expect 2 "file $i, flip $n"
			said 'offset 0x' "file $i, flip $n"
		else
			ok
		fi
	done
done

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
