#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The verbs about finds. A core with a check removed (make without) breaks a guarantee in a scenario and
# in an input of the target `core`: replay says which, minimize makes both shorter and keeps guarantee,
# event and verdict, and the core itself plays what is left without a word. Both forms of an input are
# the same input. What cannot be used ends with exit 2 and one line.
set -u
# shellcheck source=tests/support/tally.sh
. "$(dirname "$0")/support/tally.sh"

# gh STATUS WHAT WORDS...: the verb ends so
gh() {
	local want=$1 what=$2
	shift 2
	timeout 120 "$GUARDHOUSE" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	local status=$?
	cat "$tmp/err" >>"$tmp/out"
	[ $status -eq "$want" ] && ! grep -qE 'Sanitizer|runtime error' "$tmp/out"
	ok $? "$what (exit status $status)" "$tmp/out"
}
# refused WHAT PATTERN WORDS...: exit 2, and one line that has the pattern
refused() {
	local what=$1 pattern=$2
	shift 2
	timeout 120 "$GUARDHOUSE" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	[ $? -eq 2 ] && [ "$(wc -l <"$tmp/err")" -eq 1 ] && grep -qE -- "$pattern" "$tmp/err"
	ok $? "$what is refused in one line" "$tmp/err"
}
key() { sed -n 's/^ *key //p' "$1"; }

# ---- an input of the target core, in both forms ----

cat >"$tmp/find" <<'END'
guardhouse-core 1
world 2
call v0 m0 fn=w word=0
ret v0 m0 registers=keep
# what follows is what counts
call v0 m0 fn=f word=0x20
callout v0 m0 gate=leave
flag v1 m0 flag=ac
register v0 m0 reg=rbx value=0x1c
touch v2 m0 what=device offset=9
ret v0 m0 registers=clobber
ret v0 m0 registers=clobber
END
printf '\2\0\0\3\0\2\0\1\0\0\0\0\40\1\0\0\0\16\1\0\0\15\0\3\34\25\2\1\11\2\0\0\0\2\0\0\0' >"$tmp/raw"
gh 0 'the core plays the text' replay "$tmp/find" --log "$tmp/log"
[ "$(wc -l <"$tmp/log")" -ge 5 ] && grep -q 'ENTER-RETURN .* verdict=registers-changed' "$tmp/log"
ok $? 'its log has the verdicts' "$tmp/log"
gh 0 'the core plays the bytes' replay "$tmp/raw" --log "$tmp/log2"
grep -q 'taken for an input of the target core' "$tmp/out"
ok $? 'what bytes were taken for is said' "$tmp/out"
cmp -s "$tmp/log" "$tmp/log2"
ok $? 'text and bytes are one input' "$tmp/log2"
gh 0 'a target that is named' replay --target core "$tmp/raw"
grep -q 'taken for' "$tmp/out"
[ $? -eq 1 ]
ok $? 'nothing is assumed then' "$tmp/out"
gh 0 'a story' explain "$tmp/find"
[ "$(grep -c '^step ' "$tmp/out")" -eq 9 ] && grep -q 'm0:f+0x25 -> m0:enter-return+0x0 .*the slot' "$tmp/out"
ok $? 'it tells every step, and the stack around the slot' "$tmp/out"

# ---- a scenario ----

gh 0 'the core plays a scenario' replay corpus/scenarios/N1.scn --log "$tmp/log"
gh 0 'and once more' replay corpus/scenarios/N1.scn --log "$tmp/log2"
cmp -s "$tmp/log" "$tmp/log2" && grep -q 'RESUME .* verdict=registers-changed' "$tmp/log"
ok $? 'with the same log' "$tmp/log2"
gh 0 'its story' explain corpus/scenarios/N1.scn
grep -q '=> target:leave-return+0x5 .*vmmcall' "$tmp/out" && grep -q '<- the slot' "$tmp/out" &&
	grep -q 'has done line' "$tmp/out"
ok $? 'it shows steps, code and stack' "$tmp/out"

# ---- other forms ----

gh 0 'text to bytes' export "$tmp/find" --binary -o "$tmp/bytes"
cmp -s "$tmp/bytes" "$tmp/raw"
ok $? 'they are those of the same steps' "$tmp/out"
python3 - "$tmp" <<'END'
import random, sys
rng = random.Random(1)
for i in range(30):
    size = 257 if i < 10 else rng.randrange(1, 258)
    open(f"{sys.argv[1]}/any.{i}", "wb").write(bytes(rng.choice((rng.randrange(256), rng.randrange(8))) for _ in range(size)))
END
lost=0
for i in $(seq 0 29); do
	"$GUARDHOUSE" export --target core "$tmp/any.$i" --text -o "$tmp/t" && "$GUARDHOUSE" export "$tmp/t" --binary -o "$tmp/b" &&
		cmp -s "$tmp/any.$i" "$tmp/b" && "$GUARDHOUSE" export --target core "$tmp/b" --text | cmp -s - "$tmp/t" || lost=$((lost + 1))
done 2>"$tmp/out"
ok $lost 'any bytes are a text and come back' "$tmp/out"
gh 0 'a scenario to bytes' export corpus/scenarios/N1.scn --binary -o "$tmp/n1"
gh 0 'which can be played' replay "$tmp/n1" --log "$tmp/log2"
cmp -s "$tmp/log" "$tmp/log2"
ok $? 'with the same log' "$tmp/log2"

# crossings FILE: what the guest's kernel and modules did, with sites in modules
crossings() { sed -E 's/^[0-9]+ //; s/site=[^: ]+ /site=- /' "$1" | grep -E '(ENTER|LEAVE|DEPART|RESUME)'; }
for s in C0 R3 E8 P8; do
	gh 0 "$s to C" export "corpus/scenarios/$s.scn" --c -o "$tmp/$s.c"
	env -u MAKEFLAGS -u MAKELEVEL make -s BUILD="$BUILD" exported C="$tmp/$s.c" ELF="$tmp/$s.elf" >"$tmp/out" 2>&1
	ok $? "$s is a guest" "$tmp/out"
	gh 0 "$s runs as one" run "$tmp/$s.elf" --log "$tmp/guest"
	gh 0 "$s is played" replay "corpus/scenarios/$s.scn" --log "$tmp/log"
	crossings "$tmp/log" >"$tmp/log.x"
	crossings "$tmp/guest" >"$tmp/guest.x"
	[ -s "$tmp/log.x" ] && diff "$tmp/log.x" "$tmp/guest.x" >"$tmp/out"
	ok $? "$s: scenario and guest have the same crossings" "$tmp/out"
done
refused 'an administrator'\''s act in C' 'X67.scn:[0-9]+: cannot be exported: unregister' \
	export corpus/scenarios/X67.scn --c
refused 'a part of its privileges in C' 'A1-withheld.scn:[0-9]+: cannot be exported: target' \
	export corpus/scenarios/A1-withheld.scn --c
refused 'a core input in C' "$tmp/find: .*cannot be exported to C" export "$tmp/find" --c
refused 'no form' '--c, --text or --binary' export "$tmp/find"
refused 'two forms' 'one of --c' export "$tmp/find" --c --text

# ---- inputs of the target ko ----
printf 'guardhouse-ko 1\nworld 0\nop 0 0 0 # counts\nmisreturn 1 0 0\n' >"$tmp/ko.txt"
printf 'GHKO\377step' >"$tmp/ko.world"
mkdir "$tmp/no-drivers"
for verb in replay explain minimize; do
	FUZZ_KO_CORPUS=$tmp/no-drivers refused "$verb without drivers" \
		"^guardhouse $verb: $tmp/ko.txt: $tmp/no-drivers/e1000e.ko: cannot open" $verb "$tmp/ko.txt"
done
refused 'a world that is none' "$tmp/ko.world: no input of the target ko" replay "$tmp/ko.world"
for bad in 'version:guardhouse-ko 2' 'world:guardhouse-ko 1\nworld 12' 'step:guardhouse-ko 1\nworld 0\nfly 1 2 3' \
	'operand:guardhouse-ko 1\nworld 0\nop 0 0 256' 'no world:guardhouse-ko 1\n'; do
	printf '%b\n' "${bad#*:}" >"$tmp/ko.bad"
	for verb in 'replay @' 'minimize @ -o /dev/stdout' 'explain @' 'export @ --text'; do
		# shellcheck disable=SC2086 # words
		refused "ko, $verb: ${bad%%:*}" "$tmp/ko.bad:[0-9]+: " ${verb/@/$tmp/ko.bad}
	done
done
gh 0 'ko as bytes' export "$tmp/ko.txt" --binary -o "$tmp/ko"
gh 0 'and as text again' export "$tmp/ko" --text -o "$tmp/ko.again"
sed 's/[ \t]*#.*//' "$tmp/ko.again" | cmp -s - <(sed 's/[ \t]*#.*//' "$tmp/ko.txt")
ok $? 'nothing is lost' "$tmp/ko.again"
refused 'a ko input in C' "$tmp/ko: .*cannot be exported to C" export "$tmp/ko" --c
if [ -e build/debian/e1000e.ko ]; then
	gh 0 'ko is played' replay "$tmp/ko" --log "$tmp/log"
	grep -q 'ENTER-RETURN .*verdict=registers-changed' "$tmp/log"
	ok $? 'what the input changed is refused' "$tmp/log"
	gh 0 'and once more' replay "$tmp/ko.txt" --log "$tmp/log2"
	cmp -s "$tmp/log" "$tmp/log2"
	ok $? 'with the same log' "$tmp/log2"
	gh 0 'ko is explained' explain "$tmp/ko"
	grep -q 'step 2: misreturn 1 0 0' "$tmp/out"
	ok $? 'step by step' "$tmp/out"
else
	skip 'ko: no driver (make corpus-debian)'
fi

# ---- a core with a bug ----

broken() { # CHECKS WHAT FILE KEY LEFT [crash]: replayed, minimized to at most LEFT steps, replayed again
	local checks=$1 what=$2 file=$3 key=$4 left=$5 real=$GUARDHOUSE
	GUARDHOUSE=$without
	export GUARDHOUSE_WITHOUT=$checks
	gh 1 "$what breaks" replay "$file"
	[ "$(key "$tmp/out")" = "$key" ]
	ok $? "$what: key $key" "$tmp/out"
	gh 0 "$what is minimized" minimize "$file" -o "$tmp/min"
	gh 1 "$what breaks when minimal" replay "$tmp/min" --json
	python3 - "$tmp/out" "$key" "$left" "${6:-guarantee}" <<'END'
import json, sys
text = open(sys.argv[1]).read()
r = json.loads(text[text.index("{"):text.rindex("}") + 1])
same = r["key"].split("/")[:3] == sys.argv[2].split("/")[:3]
sys.exit(not (r["broken"] and r["guarantee"] == (sys.argv[4] == "guarantee") and same and r["steps"] <= int(sys.argv[3]) and (r["log"] or not r["guarantee"])))
END
	ok $? "$what: at most $left steps break the same" "$tmp/out"
	GUARDHOUSE=$real
	unset GUARDHOUSE_WITHOUT
	gh 0 "$what: the core itself plays what is left" replay "$tmp/min"
}
if [ "$(basename "$BUILD")" != release ]; then
	skip "the test build is made of the release build's objects"
elif ! env -u MAKEFLAGS -u MAKELEVEL make -s without >"$tmp/out" 2>&1; then
	fail 'the test build is made' "$tmp/out"
else
	without=$(dirname "$BUILD")/without/guardhouse
	broken back-registers 'a text' "$tmp/find" 'G5/ENTER-RETURN/ok/m0:enter-return+0x5' 4
	head -n 1 "$tmp/min" | grep -q '^guardhouse-core 1$'
	ok $? 'a text stays one' "$tmp/min"
	broken back-registers 'an engine'\''s file' "$tmp/raw" 'G5/ENTER-RETURN/ok/m0:enter-return+0x5' 4
	[ "$(stat -c %s "$tmp/min")" -eq 17 ]
	ok $? 'bytes stay bytes' "$tmp/out"
	broken back-registers 'a scenario' corpus/scenarios/N1.scn 'G5/RESUME/ok/target:target_raise+0x5' 2
	printf '%s\n' 'guardhouse-core 1' 'world 0' 'call v1 m0' 'x v0 m0 place=0' >"$tmp/crash"
	broken leave-return-privileged 'a crash' "$tmp/crash" 'crash/-/-/cross_leave_return()' 1 crash
	broken leave-return-privileged 'a scenario that crashes' corpus/scenarios/E1.scn 'crash/-/-/cross_leave_return()' 1 crash
	# without the first three steps another guarantee breaks, and that is another find
	printf '%s\n' 'guardhouse-core 1' 'world 0' 'call v0 m0' 'callout v0 m0' 'register v0 m0 reg=rbx value=0x1c' \
		'ret v0 m0' 'flag v1 m0 flag=10' 'call v1 m0' >"$tmp/two"
	broken back-registers,flags-df 'one of two bugs' "$tmp/two" 'G5/ENTER-RETURN/ok/m0:enter-return+0x5' 4
fi

# ---- what cannot be used ----

refused 'to minimize what shows nothing' "$tmp/find: it shows nothing" minimize "$tmp/find" -o "$tmp/o"
mkdir "$tmp/folder"
: >"$tmp/empty"
head -c 300 /dev/zero >"$tmp/long"
for verb in replay minimize explain 'export --text'; do
	# shellcheck disable=SC2086 # the last one is two words
	set -- $verb
	refused "$verb of nothing" 'which file' "$@"
	for bad in missing folder; do
		refused "$verb of a $bad file" "$tmp/$bad" "$@" "$tmp/$bad"
	done
	refused "$verb of an empty file" "$tmp/empty: offset 0x0" "$@" "$tmp/empty"
	refused "$verb of too many bytes" "$tmp/long: offset 0x101" "$@" "$tmp/long"
	refused "$verb of no target" '--target phone' "$@" --target phone "$tmp/find"
	while IFS='|' read -r line pattern; do
		printf 'guardhouse-core 1\nworld 0\n%b\n' "$line" >"$tmp/bad"
		refused "$verb of '$line'" "$tmp/bad:3: .*$pattern" "$@" "$tmp/bad"
	done <<-'END'
		dance v0 m0|dance: no such step
		call v0 m0 fn=phone|phone: expected a number
		call v0 m0 fn=256|256: expected a number
		call v0 m2|m2: expected KEY=VALUE
		call v0 m0 gate=leave|call has no operand gate
		call v0 m0 kind=1|kind=1 is no call
		poke v0 m0 where=32|32: expected
		rest 1 2 3 4|bytes or more are a step
		world 1|world stands once
	END
	printf 'guardhouse-core 2\n' >"$tmp/bad"
	refused "$verb of another version" "$tmp/bad:1: version 2" "$@" "$tmp/bad"
	printf 'scenario X\nclass sync\n\nthread 0\n\tdance\n' >"$tmp/bad"
	refused "$verb of a bad scenario" "$tmp/bad:[0-9]+:" "$@" "$tmp/bad"
	printf 'GHSCN02\nabc' >"$tmp/bad"
	refused "$verb of a bad scenario in binary" "$tmp/bad: .*offset 0x" "$@" "$tmp/bad"
done
finish
