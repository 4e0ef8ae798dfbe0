#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Bad input to every verb. What is no usable file at all (missing, a folder, a FIFO, empty, cut
# short, random, of another format) must end with exit 2 and one line that names the file, and the
# offset where there is one. A file with flipped bits may be refused like that or may still work
# (0 or 1). Nothing may crash, hang, or make a sanitizer speak.
set -u
: "${BUILD:=build/release}" "${GUARDHOUSE:=$BUILD/guardhouse}"
here=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/badinput.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0
# Flips of each format, and which ones: another seed, others. A failure names both.
FLIPS=${FLIPS:-40}
FLIP_SEED=${FLIP_SEED:-0}

fail() {
	failed=$((failed + 1))
	echo "FAIL: $1"
	sed 's/^/    /' "$tmp/err" | head -n 12
}

# gh WORDS...: @ in the words is the file in $file
gh() {
	local words=("${@/@/$file}")

	timeout 60 "$GUARDHOUSE" "${words[@]}" >"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
}

# refused WHAT OFFSET: exit 2, one line with the file's name, and an offset if OFFSET is yes
refused() {
	local lines
	lines=$(wc -l <"$tmp/err")
	if [ $status -ne 2 ]; then
		fail "$1: exit status $status instead of 2"
	elif [ "$lines" -ne 1 ]; then
		fail "$1: $lines lines of error instead of 1"
	elif ! grep -qF "$file" "$tmp/err"; then
		fail "$1: the error does not name $file"
	elif [ "$2" = yes ] && ! grep -qE 'offset 0x[0-9a-f]+|:[0-9]+:' "$tmp/err"; then
		fail "$1: the error names no offset or line"
	else
		passed=$((passed + 1))
	fi
}

survived() {
	if grep -qE 'Sanitizer|runtime error' "$tmp/err"; then
		fail "$1: a sanitizer report"
	elif [ $status -eq 2 ]; then
		refused "$1" yes
	elif [ $status -gt 2 ]; then
		fail "$1: exit status $status"
	else
		passed=$((passed + 1))
	fi
}

# ---- one good file of each format ----

mods=$BUILD/corpus/modules
cp "$BUILD/corpus/guests/counter.elf" "$tmp/good.guest" || exit 1
cp "$mods/counter.ko" "$tmp/good.ko" || exit 1
scn=$(find "$here/corpus/scenarios" -name '*.scn' | sort | head -n 1)
cp "$scn" "$tmp/good.scn" || exit 1
"$GUARDHOUSE" wrap "$tmp/good.ko" --output "$tmp/good.wrapped" --manifest "$tmp/good.manifest" \
	--json "$tmp/good.json" >"$tmp/out" 2>"$tmp/err" || {
	fail 'a good module cannot be wrapped'
}
"$GUARDHOUSE" bind --keygen "$tmp/key" >"$tmp/out" 2>"$tmp/err" || fail 'no key can be made'
"$GUARDHOUSE" bind "$tmp/good.manifest" --key "$tmp/key" --output "$tmp/good.binding" \
	>"$tmp/out" 2>"$tmp/err" || fail 'a good manifest cannot be bound'

# format: verb and words that read it. Everything else is one of the other formats.
cases=(
	'guest:run @ --budget 3000000'
	'scn:run @ --budget 3000000'
	'scn:replay @'
	'ko:wrap @ --output '"$tmp/o.ko"' --manifest '"$tmp/o.manifest"
	'manifest:inspect @'
	'wrapped:inspect @'
	'json:inspect @ --binary '"$tmp/o.binary"
	'ko:inspect @'
	'binding:inspect @'
	'binding:bind --show @ --pub '"$tmp/key.pub"
	'manifest:bind @ --key '"$tmp/key"' --output '"$tmp/o.binding"
)

mkfifo "$tmp/fifo"
mkdir "$tmp/folder"
: >"$tmp/empty"
head -c 5000 /dev/urandom >"$tmp/random"
printf 'hello, world\n' >"$tmp/text"

for case in "${cases[@]}"; do
	format=${case%%:*}
	read -r -a words <<<"${case#*:}"
	good=$tmp/good.$format
	verb=${words[0]}
	[ -s "$good" ] || continue

	file=$good
	gh "${words[@]}"
	if [ $status -eq 0 ]; then
		passed=$((passed + 1))
	else
		fail "$verb of a good $format: exit status $status"
	fi

	file=$tmp/missing
	gh "${words[@]}"
	refused "$verb of a missing $format" no
	file=$tmp/folder
	gh "${words[@]}"
	refused "$verb of a folder for a $format" no
	file=$tmp/fifo
	gh "${words[@]}"
	refused "$verb of a FIFO for a $format" no
	for bad in empty random text; do
		file=$tmp/$bad
		gh "${words[@]}"
		refused "$verb of a $bad file for a $format" yes
	done

	# Cut short everywhere: in the header, in a table, before the last byte.
	size=$(stat -c %s "$good")
	for cut in 1 3 7 16 63 64 65 $((size / 4)) $((size / 2)) $((size * 3 / 4)) $((size - 1)); do
		[ "$cut" -lt "$size" ] || continue
		file=$tmp/cut
		head -c "$cut" "$good" >"$file"
		gh "${words[@]}"
		# A text without its tail may be a good text.
		if [ "$format" = scn ] || [ "$format" = json ]; then
			survived "$verb of a $format cut to $cut"
		else
			refused "$verb of a $format cut to $cut" yes
		fi
	done

	# Flipped bits: most of them where the structure is.
	python3 - "$good" "$tmp/flip" "$FLIPS" "$FLIP_SEED" <<'EOF'
import random, sys
good = open(sys.argv[1], "rb").read()
rng = random.Random(len(good) + int(sys.argv[4]))
for i in range(int(sys.argv[3])):
    b = bytearray(good)
    for _ in range(rng.choice((1, 1, 1, 8))):
        where = rng.choice((64, 512, len(b), len(b)))
        b[rng.randrange(min(where, len(b)))] ^= 1 << rng.randrange(8)
    open(f"{sys.argv[2]}.{i}", "wb").write(b)
EOF
	for flip in "$tmp"/flip.*; do
		file=$flip
		gh "${words[@]}"
		survived "$verb of a $format with flipped bits (${flip##*.}, FLIP_SEED=$FLIP_SEED)"
	done
	rm -f "$tmp"/flip.*
done

# What a guest asks for, in words that mean nothing.
bad_lines=('modul counter' 'module' 'module counter device' 'module counter device=phone' 'module counter stack=all'
	'module counter chains=0' 'module counter chains=257' 'module counter bind=maybe' 'vcpus 0' 'vcpus 17' 'vcpus'
	'vcpus 1 2' 'budget -1' 'doorbell 0x100000000' 'module no_such_module' 'module counter file=../../../none.ko'
	"module $(printf 'x%.0s' $(seq 40))" "$(printf 'module counter %.0s' $(seq 40))")
for line in "${bad_lines[@]}" $'\001\002\003' $'module counter\nmodule doorbell nonsense'; do
	printf '%s\n' "$line" >"$tmp/lines"
	file=$tmp/lines.guest
	objcopy --update-section .guardhouse="$tmp/lines" "$tmp/good.guest" "$file" || exit 1
	gh run @
	refused "run of a guest that says '${line:0:40}'" yes
done
file=$tmp/lines.guest
objcopy --redefine-sym printk=xrintk "$tmp/good.guest" "$file" || exit 1
gh run @
refused 'run of a guest without an import of its module' yes

printf 'module a\0b\n' >"$tmp/lines"
objcopy --update-section .guardhouse="$tmp/lines" "$tmp/good.guest" "$file" || exit 1
gh run @
refused 'run of a guest with a NUL in its lines' yes
for i in 1 2 3 4 5 6 7 8 9; do
	echo "module m$i file=counter.ko"
done >"$tmp/lines"
objcopy --update-section .guardhouse="$tmp/lines" "$tmp/good.guest" "$file" || exit 1
gh run @
refused 'run of a guest with nine modules' yes

# Verbs that take a real driver.
for verb in run attack; do
	for bad in missing folder fifo; do
		file=$tmp/$bad
		gh $verb --module @
		refused "$verb --module of $bad" no
	done
	for bad in empty random text good.guest; do
		file=$tmp/$bad
		gh $verb --module @
		refused "$verb --module of $bad" yes
	done
done

# A good file of a wrong kind.
for wrong in ko manifest binding wrapped; do
	file=$tmp/good.$wrong
	gh run @
	refused "run of a $wrong" yes
done
for wrong in guest scn binding; do
	file=$tmp/good.$wrong
	gh wrap @ --output "$tmp/o.ko" --manifest "$tmp/o.manifest"
	refused "wrap of a $wrong" yes
done
file=$tmp/good.wrapped
gh wrap @ --output "$tmp/o.ko" --manifest "$tmp/o.manifest"
refused 'wrap of a wrapped module' yes

# Nothing is left of what could not be written whole.
if find "$tmp" -name 'o.*.??????' | grep -q .; then
	fail 'temporary files stay behind'
else
	passed=$((passed + 1))
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
